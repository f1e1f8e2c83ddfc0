//! What the real binary asks of the kernel, counted by strace: counts only, no timing.
//!
//! Each figure is the difference of two runs, a short and a long one, so that starting and
//! stopping fall out. Skipped where there is no strace or it may not trace; with
//! `ONEPOLL_TEST_REQUIRE_ALL=1` that is a failure.
#![cfg(feature = "cli")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use onepoll::load::{self, Amount, Close, Mode, Plan};
use rustix::process::{Signal, kill_process};

use support::DEADLINE;
use support::peer::{Peer, dial};
use support::program::{command, skip, skipped};
use support::server::Served;

/// Connections or messages in the short and in the long run.
const FEW: u64 = 256;
const MANY: u64 = FEW + 2000;
/// Connections at once: a busy server finds several in one turn.
const AT_ONCE: usize = 64;

/// Calls by name.
type Counts = BTreeMap<String, u64>;

/// `onepoll serve` under strace. An error is why nothing can be traced here.
fn traced(counts: &Path) -> Result<Served, String> {
    // Quiet: on a busy machine a line about a slow turn would be one write more. And with a control socket of its
    // own: at the usual place only the first of several servers has one, and makes the calls for it.
    let mut serve = command(&["serve", "-qqq", "echo://127.0.0.1:0", "--control"]);
    serve.arg(counts.with_file_name("control.sock"));
    let mut strace = Command::new("strace");
    strace.args(["-f", "-c", "-o"]).arg(counts);
    strace.arg(serve.get_program()).args(serve.get_args());
    Served::by(strace.env_remove("ONEPOLL_CONFIG"))
}

/// What is counted while `work` runs; `None`: skipped.
fn count(work: impl FnOnce(SocketAddr)) -> Option<Counts> {
    if skipped("strace") {
        return None;
    }
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("counts");
    let mut strace = match traced(&file) {
        Ok(strace) => strace,
        Err(why) => {
            skip(&format!("system calls cannot be counted here: {why}"));
            return None;
        }
    };
    work(strace.address());
    // The server is strace's only child, which counts until its end.
    let server = strace.children()[0];
    kill_process(server, Signal::TERM).unwrap();
    strace.ended();
    Some(parse(&fs::read_to_string(file).unwrap()))
}

/// The table of `strace -c`: `% seconds usecs calls [errors] name`.
fn parse(table: &str) -> Counts {
    let row = |line: &str| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let calls = fields.get(3)?.parse().ok()?;
        let name = fields.last().filter(|name| **name != "total")?;
        Some(((*name).to_owned(), calls))
    };
    let mut counts: Counts = table.lines().filter_map(row).collect();
    if cfg!(debug_assertions) {
        // The standard library then asks before each close whether the descriptor is open.
        counts.remove("fcntl");
    }
    assert!(counts.contains_key("epoll_wait"), "{table}");
    counts
}

/// What `MANY` need beyond what `FEW` do, by name.
fn difference(work: impl Fn(SocketAddr, u64)) -> Option<Counts> {
    let few = count(|at| work(at, FEW))?;
    let many = count(|at| work(at, MANY))?;
    let more = |(name, &calls): (&String, &u64)| {
        let more = calls.saturating_sub(few.get(name).copied().unwrap_or(0));
        (more > 0).then(|| (name.clone(), more))
    };
    Some(many.iter().filter_map(more).collect())
}

fn connections(close: Close) -> Option<(f64, Counts)> {
    let counts = difference(|at, count| {
        let mode = Mode::Conn { close, requests: 1 };
        let mut plan = Plan::new(at.to_string().parse().unwrap(), mode);
        plan.connections = AT_ONCE;
        plan.amount = Amount::Count(count);
        plan.warmup = Duration::ZERO;
        plan.timeout = DEADLINE;
        let report = load::run(&plan).unwrap();
        assert!(!report.has_errors(), "{report}");
        assert_eq!(report.requests.answered, count, "{report}");
    })?;
    let each = counts.values().sum::<u64>() as f64 / (MANY - FEW) as f64;
    println!("{close}: {each:.3} calls a connection: {counts:?}");
    Some((each, counts))
}

#[test]
fn a_connection_that_is_reset_takes_five_calls_and_a_share() {
    let Some((each, counts)) = connections(Close::ClientRst) else {
        return;
    };
    assert!(each <= 5.2, "{each}: {counts:?}");
    // Registered once, and closing is what unregisters.
    assert!(counts["epoll_ctl"] <= MANY - FEW, "{counts:?}");
}

#[test]
fn a_connection_that_ends_takes_six_calls_and_a_share() {
    let Some((each, counts)) = connections(Close::ClientFin) else {
        return;
    };
    assert!(each <= 6.2, "{each}: {counts:?}");
    assert!(counts["epoll_ctl"] <= MANY - FEW, "{counts:?}");
}

#[test]
fn a_message_on_a_kept_connection_takes_one_receive_and_one_send() {
    let counts = difference(|at, messages| {
        let mut peer = dial(at);
        for _ in 0..messages {
            peer.says([b'x'; 64]).hears([b'x'; 64]);
        }
    });
    let Some(counts) = counts else {
        return;
    };
    println!("{} messages, one at a time: {counts:?}", MANY - FEW);
    let of = |name: &str| counts.get(name).copied().unwrap_or(0);
    // One look at a connection that has just come may find nothing yet: in one run, not in the other.
    assert!(of("recvfrom").abs_diff(MANY - FEW) <= 1, "{counts:?}");
    assert_eq!(of("sendto"), MANY - FEW, "{counts:?}");
    // No look for signals, nor for connections, without an event.
    for other in ["read", "write", "ppoll"] {
        assert_eq!(of(other), 0, "{other}: {counts:?}");
    }
    // The look of the first turn finds nothing, or the connection if that came before: in one run, not in the other.
    assert!(of("accept4") <= 1, "{counts:?}");
    assert_eq!(of("epoll_ctl"), 0, "{counts:?}");
    assert_eq!(of("close"), 0, "{counts:?}");
    // The two runs differ by a few waits that strace itself interrupts.
    assert!(of("epoll_wait") <= MANY - FEW + MANY / 100, "{counts:?}");
}

#[test]
fn connections_that_stay_are_registered_once() {
    let counts = difference(|at, messages| {
        let mut peers: Vec<Peer> = (0..messages / 8).map(|_| dial(at)).collect();
        for peer in &mut peers {
            for _ in 0..8 {
                peer.says([b'x'; 64]).hears([b'x'; 64]);
            }
        }
        drop(peers);
        // Once one that came after them is answered, they were seen to be gone: the server is not told
        // to stop with connections open.
        dial(at).says("x").hears("x");
    });
    let Some(counts) = counts else {
        return;
    };
    let connections = (MANY - FEW) / 8;
    println!("{connections} connections, 8 messages each: {counts:?}");
    assert_eq!(counts["epoll_ctl"], connections, "{counts:?}");
    assert_eq!(counts["close"], connections, "{counts:?}");
    assert_eq!(counts["sendto"], MANY - FEW, "{counts:?}");
    // Beyond one per message: the look at who has just come, and the end.
    assert!(
        counts["recvfrom"] <= MANY - FEW + 2 * connections + 2,
        "{counts:?}"
    );
}
