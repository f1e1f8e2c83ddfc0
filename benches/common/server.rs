//! A server in a process of its own: the bench runs itself again with `serve NAME`.
//!
//! The child says its addresses in one line, answers each byte on its standard input with what it
//! has used of a processor, and ends when that input does: however the parent dies, it goes too.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::str::FromStr;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};

use super::addresses::Addresses;
use super::floor::Budget;
use super::{broadcast, calloop, floor, mio, ours, threads};

/// Which server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The least that is possible.
    Floor,
    /// The same without an end to a budget.
    Greedy,
    /// The reactor.
    Ours,
    /// mio without anything around it.
    Mio,
    /// Callbacks on smol's poller.
    Calloop,
    /// A thread per connection.
    Threads,
    /// The least that is possible where one speaks to many.
    Broadcast,
    /// The reactor with the chat service.
    Chat,
    /// The reactor with an echo and a chat.
    EchoAndRoom,
}

impl Kind {
    const ALL: [Kind; 9] = [
        Kind::Floor,
        Kind::Greedy,
        Kind::Ours,
        Kind::Mio,
        Kind::Calloop,
        Kind::Threads,
        Kind::Broadcast,
        Kind::Chat,
        Kind::EchoAndRoom,
    ];

    /// As it is called on the command line and in tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Floor => "floor",
            Kind::Greedy => "floor without budget",
            Kind::Ours => "onepoll",
            Kind::Mio => "mio",
            Kind::Calloop => "calloop",
            Kind::Threads => "threads",
            Kind::Broadcast => "floor of fan-out",
            Kind::Chat => "onepoll chat",
            Kind::EchoAndRoom => "onepoll echo and chat",
        }
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(name: &str) -> Result<Kind, String> {
        Kind::ALL
            .into_iter()
            .find(|kind| kind.name() == name)
            .ok_or_else(|| format!("there is no server {name:?}"))
    }
}

/// A running server; killed, by its own id, when this is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    /// Where it is reached.
    pub(crate) at: Addresses,
}

impl Server {
    /// Starts one; comes back when it listens.
    pub(crate) fn start(kind: Kind) -> io::Result<Server> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["serve", kind.name()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let (Some(stdin), Some(stdout)) = (stdin, stdout) else {
            unreachable!("both were asked for");
        };
        let somewhere = SocketAddr::from(([0, 0, 0, 0], 0));
        let mut server = Server {
            child,
            stdin,
            stdout: BufReader::new(stdout),
            at: Addresses::tcp(somewhere),
        };
        // From here on it is dropped, and so ended, on every path.
        server.at = server.hear_addresses()?;
        Ok(server)
    }

    /// Nanoseconds of a processor that it has used, all its threads together, also those that
    /// have ended.
    pub(crate) fn cpu(&mut self) -> io::Result<u64> {
        self.stdin.write_all(b"?")?;
        let line = self.hear()?;
        line.parse().map_err(io::Error::other)
    }

    /// Nanoseconds that its first thread was ready to run while something else had the processor:
    /// other programs, whose doing is not the server's.
    pub(crate) fn queued(&self) -> io::Result<u64> {
        let told = std::fs::read_to_string(format!("/proc/{}/schedstat", self.child.id()))?;
        let queued = told.split_ascii_whitespace().nth(1);
        queued
            .and_then(|nanos| nanos.parse().ok())
            .ok_or(io::ErrorKind::InvalidData.into())
    }

    fn hear_addresses(&mut self) -> io::Result<Addresses> {
        let line = self.hear()?;
        Addresses::read(&line).ok_or(io::ErrorKind::InvalidData.into())
    }

    fn hear(&mut self) -> io::Result<String> {
        let mut line = String::new();
        match self.stdout.read_line(&mut line)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(line.trim_end().to_owned()),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // An id is its child's until it was waited for, so this is no other process.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The child's side: serves, if the command line says so.
pub(crate) fn serve_if_asked() -> io::Result<bool> {
    let mut args = std::env::args().skip(1);
    let (Some(verb), Some(kind)) = (args.next(), args.next()) else {
        return Ok(false);
    };
    if verb != "serve" {
        return Ok(false);
    }
    let kind: Kind = kind.parse().map_err(io::Error::other)?;
    super::raise_descriptor_limit();
    pin(0);
    std::thread::spawn(heed_parent);
    let tell = |at: Addresses| println!("{}", at.line());
    match kind {
        Kind::Floor => floor::run(Budget::Short, tell),
        Kind::Greedy => floor::run(Budget::Everything, tell),
        Kind::Ours => ours::run(tell),
        Kind::Mio => mio::run(tell),
        Kind::Calloop => calloop::run(tell),
        Kind::Threads => threads::run(tell),
        Kind::Broadcast => broadcast::run(tell),
        Kind::Chat => ours::run_chat(tell),
        Kind::EchoAndRoom => ours::run_echo_and_room(tell),
    }?;
    Ok(true)
}

fn heed_parent() {
    let mut byte = [0];
    while let Ok(1) = io::stdin().read(&mut byte) {
        let used = clock_gettime(ClockId::ProcessCPUTime);
        println!("{}", used.tv_sec * 1_000_000_000 + used.tv_nsec);
    }
    std::process::exit(0);
}

/// Binds this thread, and those it starts, to the `nth` of the processors it may use, if there are
/// as many: server and load then do not move about, nor onto each other.
pub(crate) fn pin(nth: usize) -> bool {
    let Ok(allowed) = sched_getaffinity(None) else {
        return false;
    };
    let mut cpus = (0..CpuSet::MAX_CPU).filter(|&cpu| allowed.is_set(cpu));
    if allowed.count() < 2 {
        return false;
    }
    let Some(cpu) = cpus.nth(nth) else {
        return false;
    };
    let mut one = CpuSet::new();
    one.set(cpu);
    sched_setaffinity(None, &one).is_ok()
}
