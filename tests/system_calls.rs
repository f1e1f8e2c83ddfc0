//! What the real binary asks of the kernel, counted by strace: counts only, no timing.
//!
//! Each figure is the difference of two runs, a short and a long one, so that starting and
//! stopping fall out. Skipped where there is no strace or it may not trace; with
//! `ONEPOLL_TEST_REQUIRE_ALL=1` that is a failure.
#![cfg(feature = "cli")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use onepoll::load::{self, Amount, Close, Mode, Plan};
use rustix::process::{Pid, Signal, kill_process};

const DEADLINE: Duration = Duration::from_secs(20);
/// Connections or messages in the short and in the long run.
const FEW: u64 = 256;
const MANY: u64 = FEW + 2000;
/// Connections at once: a busy server finds several in one turn.
const AT_ONCE: usize = 64;

/// Calls by name.
type Counts = BTreeMap<String, u64>;

/// `onepoll serve` under strace; both are ended, by their ids, when this is dropped.
struct Traced {
    strace: Child,
    server: Option<Pid>,
    address: SocketAddr,
}

impl Traced {
    /// `None` with the reason if nothing can be traced here.
    fn serve(counts: &Path) -> Result<Traced, String> {
        let mut strace = Command::new("strace")
            .args(["-f", "-c", "-o"])
            .arg(counts)
            .arg(env!("CARGO_BIN_EXE_onepoll"))
            // Quiet: on a busy machine a line about a slow turn would be one write more.
            .args(["serve", "-qqq", "echo://127.0.0.1:0"])
            .env_remove("ONEPOLL_CONFIG")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("strace: {error}"))?;
        let stderr = strace.stderr.take().expect("it was asked for");
        let mut traced = Traced {
            strace,
            server: None,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
        };
        let mut said = String::new();
        let mut lines = BufReader::new(stderr);
        loop {
            let from = said.len();
            if lines.read_line(&mut said).map_err(|e| e.to_string())? == 0 {
                return Err(said);
            }
            let line = &said[from..];
            traced.server = traced.server.or_else(|| traced.child());
            if let Some((_, at)) = line.split_once("listening on echo://") {
                traced.address = at.trim().parse().expect("an address was announced");
            } else if line.trim_end().ends_with("ready") {
                break;
            }
        }
        // What it still says must not fill the pipe.
        std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
        match traced.server {
            Some(_) => Ok(traced),
            None => Err("the kernel does not tell whose child is whose".into()),
        }
    }

    /// The server: strace's only child.
    fn child(&self) -> Option<Pid> {
        let id = self.strace.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).ok()?;
        let first = children.split_ascii_whitespace().next()?;
        Pid::from_raw(first.parse().ok()?)
    }

    /// Stops the server and waits for the counts.
    fn stop(mut self) {
        let server = self.server.expect("a server was started");
        kill_process(server, Signal::TERM).unwrap();
        self.strace.wait().unwrap();
        self.server = None;
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        // The server first, while strace has not reaped it and its id is nobody else's.
        if let Ok(None) = self.strace.try_wait() {
            if let Some(server) = self.server.or_else(|| self.child()) {
                let _ = kill_process(server, Signal::KILL);
            }
            let _ = self.strace.kill();
            let _ = self.strace.wait();
        }
    }
}

/// What is counted while `work` runs; `None`: skipped.
fn count(work: impl FnOnce(SocketAddr)) -> Option<Counts> {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("counts");
    let traced = match Traced::serve(&file) {
        Ok(traced) => traced,
        Err(why) => {
            let required = std::env::var("ONEPOLL_TEST_REQUIRE_ALL").is_ok_and(|v| v == "1");
            assert!(!required, "system calls cannot be counted: {why}");
            // Not `println!`, whose lines the test runner keeps to itself.
            let _ = writeln!(
                std::io::stderr(),
                "skipped: system calls cannot be counted here: {}",
                why.trim()
            );
            return None;
        }
    };
    work(traced.address);
    traced.stop();
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
        let mut plan = Plan::new(at.to_string().parse().unwrap(), Mode::Conn { close });
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
        let mut stream = TcpStream::connect(at).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let (message, mut answer) = ([b'x'; 64], [0; 64]);
        for _ in 0..messages {
            stream.write_all(&message).unwrap();
            stream.read_exact(&mut answer).unwrap();
            assert_eq!(answer, message);
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
    for other in ["read", "write", "accept4", "ppoll"] {
        assert_eq!(of(other), 0, "{other}: {counts:?}");
    }
    assert_eq!(of("epoll_ctl"), 0, "{counts:?}");
    assert_eq!(of("close"), 0, "{counts:?}");
    // The two runs differ by a few waits that strace itself interrupts.
    assert!(of("epoll_wait") <= MANY - FEW + MANY / 100, "{counts:?}");
}

#[test]
fn connections_that_stay_are_registered_once() {
    let counts = difference(|at, messages| {
        let mut streams: Vec<_> = (0..messages / 8)
            .map(|_| TcpStream::connect(at).unwrap())
            .collect();
        for stream in &mut streams {
            stream.set_read_timeout(Some(DEADLINE)).unwrap();
            for _ in 0..8 {
                stream.write_all(&[b'x'; 64]).unwrap();
                stream.read_exact(&mut [0; 64]).unwrap();
            }
        }
        drop(streams);
        // Whoever is answered after them knows that they were seen to be gone: it is not told to
        // stop with guests in the house.
        let mut last = TcpStream::connect(at).unwrap();
        last.write_all(b"x").unwrap();
        last.read_exact(&mut [0]).unwrap();
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
