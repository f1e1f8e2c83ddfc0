//! The modes of the load generator beside connections and echoes: datagrams, and connections that
//! say nothing. Every count is exact.

use std::io::Read;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::process::Command;
use std::thread;
use std::time::Duration;

use onepoll::load::{self, Amount, Arrivals, Mode, Model, Plan, Report};

fn plan(endpoint: String, mode: Mode, count: u64) -> Plan {
    let mut plan = Plan::new(endpoint.parse().unwrap(), mode);
    plan.amount = Amount::Count(count);
    plan.warmup = Duration::ZERO;
    plan.timeout = Duration::from_millis(200);
    plan
}

fn open(rate: f64) -> Model {
    Model::Open {
        rate,
        arrivals: Arrivals::Constant,
    }
}

/// Answers each datagram with what `answers` makes of it, given how many came before.
fn datagrams(mut answers: impl FnMut(usize, &[u8]) -> Vec<Vec<u8>> + Send + 'static) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    thread::spawn(move || {
        let mut datagram = [0; 65_536];
        for number in 0.. {
            let (n, peer) = socket.recv_from(&mut datagram).unwrap();
            for answer in answers(number, &datagram[..n]) {
                // Whoever asked may have gone.
                let _ = socket.send_to(&answer, peer);
            }
        }
    });
    address
}

fn fates(report: &Report) -> [u64; 7] {
    let seen = report.datagrams.unwrap();
    [
        seen.sent,
        seen.lost,
        seen.duplicates,
        seen.reordered,
        seen.late,
        seen.wrong,
        seen.refused,
    ]
}

#[test]
fn a_good_datagram_server_loses_nothing() {
    let address = datagrams(|_, datagram| vec![datagram.to_ascii_uppercase()]);
    for (size, window, model) in [
        (1, 1, Model::Closed),
        (7, 5, Model::Closed),
        (8, 64, Model::Closed),
        (64, 8, open(5_000.0)),
        (65_507, 1, Model::Closed),
    ] {
        let mut plan = plan(format!("echo+udp://{address}"), Mode::Udp, 100);
        (plan.size, plan.pipeline, plan.model) = (size, window, model);
        plan.timeout = Duration::from_secs(5);
        let report = load::run(&plan).unwrap();
        assert_eq!(fates(&report), [100, 0, 0, 0, 0, 0, 0], "{report}");
        assert_eq!(
            (report.requests.asked, report.requests.answered),
            (100, 100),
            "{report}"
        );
        assert!(!report.has_errors(), "{report}");
    }
}

#[test]
fn lost_doubled_overtaken_and_false_datagrams_are_told_apart_exactly() {
    let mut held = None;
    let address = datagrams(move |number, datagram| {
        let mut answer = datagram.to_vec();
        match number % 10 {
            0 => vec![],
            1 => vec![answer.clone(), answer],
            2 => {
                held = Some(answer);
                vec![]
            }
            3 => vec![answer, held.take().unwrap()],
            4 => {
                answer[40] ^= 1;
                vec![answer]
            }
            5 => {
                answer.pop();
                vec![answer]
            }
            _ => vec![answer],
        }
    });
    let mut plan = plan(format!("udp://{address}"), Mode::Udp, 200);
    plan.model = open(4_000.0);
    let report = load::run(&plan).unwrap();
    // Of each ten one is dropped and two are falsified, so three are never answered.
    assert_eq!(fates(&report), [200, 60, 20, 20, 0, 40, 0], "{report}");
    assert_eq!(report.requests.asked, 200, "{report}");
    assert_eq!(report.requests.answered, 140, "{report}");
    assert_eq!(report.requests.unanswered, 60, "{report}");
    assert_eq!(report.errors.timeout, 60, "{report}");
    assert_eq!(report.errors.wrong_answer, 40, "{report}");
}

#[test]
fn an_answer_after_its_time_is_late_and_not_an_answer() {
    let mut held = None;
    let address = datagrams(move |number, datagram| match number {
        0 => {
            held = Some(datagram.to_vec());
            vec![]
        }
        // Half a second after the first.
        50 => vec![held.take().unwrap(), datagram.to_vec()],
        _ => vec![datagram.to_vec()],
    });
    let mut plan = plan(format!("udp://{address}"), Mode::Udp, 60);
    plan.model = open(100.0);
    let report = load::run(&plan).unwrap();
    assert_eq!(fates(&report), [60, 1, 0, 0, 1, 0, 0], "{report}");
    assert_eq!(report.requests.answered, 59, "{report}");
}

#[test]
fn where_nobody_listens_every_datagram_is_lost_and_the_kernel_says_why() {
    let nobody = UdpSocket::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let mut plan = plan(format!("udp://{nobody}"), Mode::Udp, 20);
    plan.pipeline = 20;
    let report = load::run(&plan).unwrap();
    assert_eq!(
        (report.requests.answered, report.errors.timeout),
        (0, 20),
        "{report}"
    );
    assert!(report.datagrams.unwrap().refused > 0, "{report}");
}

#[test]
fn idle_connections_are_held_and_those_that_are_not_have_a_reason() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let mut guests = Vec::new();
        for (number, stream) in listener.incoming().enumerate() {
            let stream = stream.unwrap();
            match number % 4 {
                0 => drop(stream),
                1 => {
                    rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
                }
                2 => guests.push(stream),
                _ => {
                    std::io::Write::write_all(&mut &stream, b"welcome\n").unwrap();
                    guests.push(stream);
                }
            }
        }
    });
    let mut plan = plan(address.to_string(), Mode::Hold, 1);
    plan.amount = Amount::For(Duration::from_millis(200));
    plan.connections = 80;
    plan.pids = vec![std::process::id()];
    let report = load::run(&plan).unwrap();
    assert_eq!(
        (report.connections.asked, report.connections.held),
        (80, 40),
        "{report}"
    );
    assert_eq!(
        (report.errors.short_answer, report.errors.reset),
        (20, 20),
        "{report}"
    );
    assert_eq!(report.errors.total, 40, "{report}");
    let text = report.to_string();
    assert!(text.contains("held       40 of 80, because"), "{text}");
    assert!(text.contains("20 reset"), "{text}");
    assert!(text.contains("20 hung up"), "{text}");
    let server = report.server.unwrap();
    assert_eq!(server.pids, [std::process::id()]);
    assert!(server.memory_before_bytes > 100_000, "{server:?}");
    assert!(server.memory_per_connection_bytes.is_some(), "{server:?}");
}

#[test]
fn a_mode_refuses_what_it_cannot_ask() {
    let code = |args: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_onepoll"))
            .arg("bench")
            .args(args)
            .output()
            .unwrap();
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    for (args, why) in [
        (
            &["conn", "udp://127.0.0.1:9"][..],
            "`bench conn` cannot ask udp://127.0.0.1:9",
        ),
        (&["udp", "unix:///x"], "`bench udp` cannot ask unix:///x"),
        (
            &["udp", "127.0.0.1:9", "-s", "65508"],
            "the size of a datagram",
        ),
        (&["hold", "127.0.0.1:9", "--rate", "5"], "sends no requests"),
        (
            &["hold", "127.0.0.1:9", "--pid", "4294967295"],
            "no such process",
        ),
        (
            &["echo", "127.0.0.1:9", "--rate", "0"],
            "the rate must be above 0",
        ),
        (&["echo", "127.0.0.1:9", "--arrivals", "poisson"], "--rate"),
    ] {
        let (code, error) = code(args);
        assert_eq!(code, Some(2), "{args:?}: {error}");
        assert!(error.contains(why), "{args:?}: {error}");
    }
    // The far side of a held connection, to be read to its end: nothing was said.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let heard = thread::spawn(move || {
        let mut said = Vec::new();
        let read = listener.accept().unwrap().0.read_to_end(&mut said);
        (read.unwrap_or(0), said)
    });
    let (code, error) = code(&["hold", &address, "-c", "1", "-d", "50ms"]);
    assert_eq!(code, Some(0), "{error}");
    assert_eq!(heard.join().unwrap(), (0, vec![]));
}
