//! Servers under test: the loop on a thread of its own, and the real binary.

#[cfg(feature = "cli")]
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
#[cfg(feature = "cli")]
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use onepoll::config::Limits;
use onepoll::reactor::{
    Counters, Epoll, Handle, ListenerOptions, Reactor, close_on_exec, listen_tcp,
};
use onepoll::service::Service;
use rustix::net::getsockname;
#[cfg(feature = "cli")]
use rustix::process::{Pid, Signal, kill_process};

use super::peer::{Peer, dial};
use super::{ANY, DEADLINE};
#[cfg(feature = "cli")]
use super::{process, program};

#[cfg(feature = "cli")]
const ONEPOLL: &str = env!("CARGO_BIN_EXE_onepoll");

/// A loop on a thread of its own; it stops when this is dropped.
#[derive(Debug)]
pub(crate) struct Running<P = SocketAddr> {
    /// Where it is reached.
    pub(crate) place: P,
    pub(crate) handle: Handle,
    thread: Option<JoinHandle<Counters>>,
}

impl Running {
    /// One service, over TCP.
    pub(crate) fn serving(service: impl FnOnce() -> Box<dyn Service> + Send + 'static) -> Running {
        Running::start(Limits::default(), |reactor| listen(reactor, service()))
    }

    pub(crate) fn dial(&self) -> Peer {
        dial(self.place)
    }
}

impl<P: Send + 'static> Running<P> {
    /// `open` opens what the loop serves, and says where that is reached.
    pub(crate) fn start(
        limits: Limits,
        open: impl FnOnce(&mut Reactor<Epoll>) -> P + Send + 'static,
    ) -> Running<P> {
        Running::watched(limits, open, |_| {})
    }

    /// The same; `watch` is shown the loop after each turn.
    pub(crate) fn watched(
        limits: Limits,
        open: impl FnOnce(&mut Reactor<Epoll>) -> P + Send + 'static,
        mut watch: impl FnMut(&Reactor<Epoll>) + Send + 'static,
    ) -> Running<P> {
        // What cargo lets us inherit is not the server's doing.
        close_on_exec().unwrap();
        let (tell, told) = mpsc::channel();
        // A reactor is not `Send`: it is built where it runs.
        let thread = thread::spawn(move || {
            let epoll = Epoll::new().unwrap();
            // This test is not the program whose launcher and keeper are started.
            #[cfg(feature = "cli")]
            let epoll = epoll.program(ONEPOLL.as_ref()).unwrap();
            let handle = epoll.handle();
            let mut reactor = Reactor::new(epoll, limits, usize::MAX);
            tell.send((open(&mut reactor), handle)).unwrap();
            while !reactor.is_stopped() {
                reactor.turn().unwrap();
                watch(&reactor);
            }
            let counters = reactor.counters();
            // Whoever is left is out of time.
            reactor.run().unwrap();
            counters
        });
        let (place, handle) = told.recv_timeout(DEADLINE).unwrap();
        Running {
            place,
            handle,
            thread: Some(thread),
        }
    }

    /// Stops it; what it had counted by then.
    pub(crate) fn stops(mut self) -> Counters {
        self.handle.stop().unwrap();
        self.thread.take().unwrap().join().unwrap()
    }
}

impl<P> Drop for Running<P> {
    fn drop(&mut self) {
        let Some(thread) = self.thread.take() else {
            return;
        };
        self.handle.stop().unwrap();
        let ended = thread.join();
        if !thread::panicking() {
            ended.unwrap();
        }
    }
}

/// Opens a service on a free port.
pub(crate) fn listen(reactor: &mut Reactor<Epoll>, service: Box<dyn Service>) -> SocketAddr {
    let service = reactor.add(service);
    let socket = listen_tcp(ANY).unwrap();
    let address = getsockname(&socket).unwrap().try_into().unwrap();
    reactor
        .listen(socket, ListenerOptions::to(service))
        .unwrap();
    address
}

/// The real binary as `onepoll serve`; killed, by its own id, when this is dropped.
#[cfg(feature = "cli")]
#[derive(Debug)]
pub(crate) struct Served {
    child: Child,
    /// Where it listens first, as it says itself.
    pub(crate) endpoint: String,
    /// Everywhere that it listens.
    pub(crate) endpoints: Vec<String>,
    lines: mpsc::Receiver<String>,
}

#[cfg(feature = "cli")]
impl Served {
    pub(crate) fn start(endpoint: &str) -> Served {
        Served::by(&mut program::command(&["serve", endpoint])).unwrap()
    }

    /// Started by this command, which may be another program that runs it. An error is what it said
    /// instead of listening.
    pub(crate) fn by(command: &mut Command) -> Result<Served, String> {
        let started = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn();
        let child = started.map_err(|error| error.to_string())?;
        let (tell, told) = mpsc::channel();
        let mut served = Served {
            child,
            endpoint: String::new(),
            endpoints: Vec::new(),
            lines: told,
        };
        let stderr = served.child.stderr.take().expect("it was asked for");
        thread::spawn(move || {
            // To the end, or what it still says would fill the pipe.
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let _ = tell.send(line);
            }
        });
        let mut said = String::new();
        while let Ok(line) = served.lines.recv_timeout(DEADLINE) {
            if let Some((_, endpoint)) = line.split_once("listening on ") {
                if served.endpoint.is_empty() {
                    served.endpoint = endpoint.trim().to_owned();
                }
                served.endpoints.push(endpoint.trim().to_owned());
            }
            if line.ends_with("ready") {
                return Ok(served);
            }
            said = said + &line + "\n";
        }
        Err(said)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        let (_, address) = self.endpoint.split_once("://").expect("it is a URL");
        address
            .split('?')
            .next()
            .unwrap_or(address)
            .parse()
            .unwrap()
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// The next line that it says in which this occurs.
    #[track_caller]
    pub(crate) fn says(&self, what: &str) -> String {
        loop {
            let line = self.lines.recv_timeout(DEADLINE);
            let line = line.unwrap_or_else(|_| panic!("it does not say {what}"));
            if line.contains(what) {
                return line;
            }
        }
    }

    /// Waits for its end, and says its exit code.
    pub(crate) fn exits(&mut self) -> Option<i32> {
        process::ended(self.pid());
        self.child.wait().unwrap().code()
    }

    /// What it runs, when it is a program that runs others.
    pub(crate) fn children(&self) -> Vec<Pid> {
        let id = self.child.id();
        let list = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children"));
        let ids = list.unwrap_or_default();
        let pids = ids.split_ascii_whitespace().map(|id| id.parse().ok());
        pids.filter_map(|id| Pid::from_raw(id?)).collect()
    }

    /// Waits for its end.
    pub(crate) fn ended(&mut self) {
        self.exits();
    }
}

#[cfg(feature = "cli")]
fn is_keeper(pid: Pid) -> bool {
    let line = std::fs::read(format!("/proc/{}/cmdline", pid.as_raw_pid())).unwrap_or_default();
    line.split(|&byte| byte == 0).nth(1) == Some(b"keeper")
}

#[cfg(feature = "cli")]
impl Drop for Served {
    fn drop(&mut self) {
        if let Ok(Some(_)) = self.child.try_wait() {
            return;
        }
        // Those first: until it reaps them, their ids are nobody else's. But for a keeper, which ends what the server
        // leaves behind, and then itself.
        for pid in self.children() {
            if !is_keeper(pid) {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
