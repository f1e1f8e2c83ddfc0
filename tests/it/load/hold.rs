//! Connections that are held: how many, and what that says of the server's end. Every count is exact.

use std::net::{TcpListener, TcpStream};
use std::ops::ControlFlow;
use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::TcpRepair;
use onepoll::load::{self, Amount, Mode};
use serde_json::Value;

use super::{LOST_AFTER, failed, run};
use crate::support::program::{bench, skip};
use crate::support::script::{Reply, Request, conversations, replies};
use crate::support::{ANY, DEADLINE};

#[test]
fn idle_connections_are_held_and_those_that_are_not_have_a_reason() {
    let server = conversations(|number, mut peer| match number % 4 {
        0 => {}
        1 => peer.resets(),
        2 => drop(peer.rest()),
        _ => drop(peer.says("welcome\n").rest()),
    });
    let mut plan = super::plan(server, Mode::Hold, 80, 1);
    plan.amount = Amount::For(Duration::from_secs(1));
    plan.pids = vec![std::process::id()];
    let report = run(&plan);
    assert_eq!(
        (report.connections.asked, report.connections.held),
        (80, 40),
        "{report}"
    );
    failed(&report, &[("reset", 20), ("short_answer", 20)]);
    let text = report.to_string();
    assert!(text.contains("held       40 of 80 connections"), "{text}");
    assert!(text.contains("errors     40: "), "{text}");
    assert!(text.contains("20 reset"), "{text}");
    assert!(text.contains("20 hung up"), "{text}");
    let server = report.server.unwrap();
    assert_eq!(server.pids, [std::process::id()]);
    assert!(server.memory_before_bytes > 100_000, "{server:?}");
    assert!(server.memory_per_connection_bytes.is_some(), "{server:?}");
}

#[test]
fn a_connection_that_is_held_says_nothing() {
    let (tell, told) = mpsc::channel();
    let server = conversations(move |_, mut peer| tell.send(peer.rest()).unwrap());
    let _ = bench(format!("hold {server} -c 1 -d 50ms"));
    assert_eq!(told.recv_timeout(DEADLINE), Ok(vec![]));
}

/// What is known of the connections that were held: connected, established, accepted, waiting, gone, answered.
fn roll(json: &Value) -> [Option<u64>; 6] {
    let roll = &json["roll_call"];
    let keys = [
        "connected",
        "established",
        "accepted",
        "waiting",
        "gone",
        "answered",
    ];
    keys.map(|key| roll[key].as_u64())
}

#[test]
fn connections_that_nobody_accepts_are_not_held() {
    let listener = TcpListener::bind(ANY).unwrap();
    let tcp = listener.local_addr().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let unix = dir.path().join("listener");
    let _queue = UnixListener::bind(&unix).unwrap();
    let unix = unix.display();
    for url in [format!("{tcp}"), format!("unix://{unix}")] {
        let line = format!("hold {url} -c 20 -d 50ms");
        let json = bench(format!("{line} --json")).exits(1).json();
        let known = [Some(20), Some(20), Some(0), Some(20), Some(0), None];
        assert_eq!(roll(&json), known, "{json}");
        assert_eq!(json["connections"]["held"], 0, "{json}");
        assert_eq!(json["errors"]["not_accepted"], 20, "{json}");
        let text = bench(line).exits(1).out.clone();
        for said in [
            "held       0 of 20 connections, 20 connected until the end\n",
            "kernel     20 established, 0 accepted by the server, 20 waiting to be accepted",
            "errors     20: 20 not accepted by the server\n",
            "notice     the service was not asked: ",
        ] {
            assert!(text.contains(said), "{said}: {text}");
        }
    }
    // Where it is asked, it is its silence that counts.
    for url in [format!("echo://{tcp}"), format!("echo+unix://{unix}")] {
        let line = format!("hold {url} -c 20 -d 50ms --timeout 200ms --json");
        let json = bench(line).exits(1).json();
        let known = [Some(20), Some(20), Some(0), Some(20), Some(0), Some(0)];
        assert_eq!(roll(&json), known, "{json}");
        assert_eq!(json["errors"]["timeout"], 20, "{json}");
    }
}

/// Lets the kernel forget the server's end, and sends nothing: TCP_REPAIR, for which it takes CAP_NET_ADMIN.
fn vanishes(stream: &TcpStream) -> nix::Result<()> {
    setsockopt(stream, TcpRepair, &1)
}

#[test]
fn connections_that_the_servers_kernel_has_forgotten_are_not_held() {
    let [one, _other] = {
        let listener = TcpListener::bind(ANY).unwrap();
        let one = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        [one, listener.accept().unwrap().0]
    };
    if let Err(wrong) = vanishes(&one) {
        return skip(&format!(
            "a connection cannot vanish without a word here: {wrong}"
        ));
    }
    // Of every five two stay.
    let seen = Arc::new(AtomicU64::new(0));
    let count = seen.clone();
    let server = conversations(move |number, mut peer| {
        if number % 5 < 2 {
            count.fetch_add(1, Ordering::SeqCst);
            drop(peer.rest());
            return;
        }
        vanishes(&peer.stream).unwrap();
        drop(peer);
        count.fetch_add(1, Ordering::SeqCst);
    });
    let mut plan = super::plan(server, Mode::Hold, 20, 1);
    plan.amount = Amount::For(DEADLINE);
    let report = load::run_watched(&plan, &mut |_| match seen.load(Ordering::SeqCst) {
        20.. => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    let report = report.unwrap();
    let json = serde_json::to_value(&report).unwrap();
    let known = [Some(20), Some(20), Some(8), Some(0), Some(12), None];
    assert_eq!(roll(&json), known, "{json}");
    assert_eq!(json["connections"]["held"], 8, "{json}");
    failed(&report, &[("forgotten", 12)]);
    let text = report.to_string();
    for said in [
        "held       8 of 20 connections, 20 connected until the end\n",
        "kernel     20 established, 8 accepted by the server, 0 waiting to be accepted, 12 unknown to the server's end\n",
        "errors     12: 12 unknown to the server's end\n",
    ] {
        assert!(text.contains(said), "{said}: {text}");
    }
}

#[test]
fn connections_that_the_service_has_forgotten_are_not_held() {
    // It accepts all, and answers every fifth and tenth.
    let accepted = Arc::new(AtomicU64::new(0));
    let count = accepted.clone();
    let server = conversations(move |number, mut peer| {
        count.fetch_add(1, Ordering::SeqCst);
        let is_served = number % 5 < 2;
        while let Some(message) = peer.may_take(1) {
            if is_served && peer.may_say(message).is_err() {
                return;
            }
        }
    });
    let mut plan = super::plan(server, Mode::Hold, 100, 1);
    (plan.size, plan.timeout) = (1, LOST_AFTER);
    plan.amount = Amount::For(DEADLINE);
    let mut held = |asks_at_end| {
        plan.asks_at_end = asks_at_end;
        accepted.store(0, Ordering::SeqCst);
        // Until the server has them all, however busy the machine is.
        let report = load::run_watched(&plan, &mut |_| match accepted.load(Ordering::SeqCst) {
            100.. => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        });
        let report = report.unwrap();
        let json = serde_json::to_value(&report).unwrap();
        (json, report.to_string())
    };
    let (json, text) = held(true);
    let known = [Some(100), Some(100), Some(100), Some(0), Some(0), Some(40)];
    assert_eq!(roll(&json), known, "{json}");
    assert_eq!(json["connections"]["held"], 40, "{json}");
    assert_eq!(json["errors"]["timeout"], 60, "{json}");
    assert_eq!(json["errors"]["total"], 60, "{json}");
    for said in [
        "held       40 of 100 connections, 100 connected until the end, 40 answered when asked then\n",
        "100 idle connections for ",
        " s, each asked at the end with 1 B\n",
    ] {
        assert!(text.contains(said), "{said}: {text}");
    }
    assert!(!text.contains("was not asked"), "{text}");
    // Without that nobody knows better, and that is said.
    let (json, text) = held(false);
    assert_eq!(json["errors"]["total"], 0, "{json}");
    for said in [
        "held       100 of 100 connections, 100 connected until the end\n",
        "kernel     100 established, 100 accepted by the server, 0 waiting",
        "notice     the service was not asked: that the server has accepted a connection does not say that it still serves it",
    ] {
        assert!(text.contains(said), "{said}: {text}");
    }
}

#[test]
fn what_is_asked_at_the_end_may_be_said() {
    let server = replies(Request::Until("\n"), |_, _, line| match line {
        b"ping\n" => Reply::Last(b"pong\n".to_vec()),
        line => panic!("{line:?}"),
    });
    let json = bench(format!(
        "hold {server} -c 10 -d 50ms --payload ping\\n --expect until=\\n --json"
    ));
    let json = json.exits(0).json();
    assert_eq!(roll(&json)[5], Some(10), "{json}");
    assert_eq!(json["connections"]["held"], 10, "{json}");
    assert_eq!(json["request"], "ping", "{json}");
    // An answer over HTTP that is the last on its connection is one.
    let server = replies(Request::Until("\r\n\r\n"), |_, _, _| {
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        Reply::Last(head.into())
    });
    let json = bench(format!("hold http://{server}/x -c 10 -d 50ms --json"));
    let json = json.exits(0).json();
    assert_eq!(roll(&json)[5], Some(10), "{json}");
    assert_eq!(json["reconnects"], 0, "{json}");
}
