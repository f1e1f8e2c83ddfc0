//! What experiments are made with: connections over loopback, ways to wait for something, an epoll.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{PollFd, PollFlags, Timespec, epoll, poll};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::notebook::{Notebook, Shown};
use crate::socket::*;

pub(super) use epoll::EventFlags;

/// Nothing on loopback takes this long: a wait of this length is in vain.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long to look before saying that nothing comes.
pub(super) const A_WHILE: Duration = Duration::from_millis(20);

/// A server that listens on a port of its own.
pub(super) fn server(note: &mut Notebook) -> Result<Socket, SocketError> {
    note.make("server = create_server(('127.0.0.1', 0))", || {
        impatient(create_server(("127.0.0.1", 0))?)
    })
}

/// The two ends of a TCP connection over loopback, under these names: the one that connected, the one that
/// accepted.
pub(super) fn tcp_pair(
    note: &mut Notebook,
    names: [&str; 2],
) -> Result<(Socket, Socket), SocketError> {
    let server = server(note)?;
    connected(note, &server, names)
}

/// The same, with little room on the way from the first to the second: each end's queue for it has about
/// so many bytes.
pub(super) fn narrow_pair(
    note: &mut Notebook,
    names: [&str; 2],
    to_send: i32,
    unread: i32,
) -> Result<(Socket, Socket), SocketError> {
    let server = server(note)?;
    note.make(
        format!("server.setsockopt(SOL_SOCKET, SO_RCVBUF, {unread})"),
        || server.setsockopt(SOL_SOCKET, SO_RCVBUF, unread),
    )?;
    let (from, to) = connected(note, &server, names)?;
    note.make(
        format!("{}.setsockopt(SOL_SOCKET, SO_SNDBUF, {to_send})", names[0]),
        || from.setsockopt(SOL_SOCKET, SO_SNDBUF, to_send),
    )?;
    Ok((from, to))
}

/// A client of this server, and the server's end of it, under these names.
pub(super) fn connected(
    note: &mut Notebook,
    server: &Socket,
    [connects, accepted]: [&str; 2],
) -> Result<(Socket, Socket), SocketError> {
    let client = impatient(stream(note, connects)?)?;
    note.make(format!("{connects}.connect(server.getsockname())"), || {
        client.connect(server.getsockname()?)
    })?;
    let (conn, _) = note.make(format!("{accepted}, _ = server.accept()"), || {
        server.accept()
    })?;
    Ok((client, impatient(conn)?))
}

/// A TCP socket that is not connected yet, under this name.
pub(super) fn stream(note: &mut Notebook, name: &str) -> Result<Socket, SocketError> {
    note.make(format!("{name} = socket(AF_INET, SOCK_STREAM)"), || {
        Socket::new(AF_INET, SOCK_STREAM)
    })
}

/// Two UDP sockets under these names, each bound to a port of its own.
pub(super) fn udp_pair(
    note: &mut Notebook,
    [one, other]: [&str; 2],
) -> Result<(Socket, Socket), SocketError> {
    let mut bound = |name: &str| {
        let socket = note.make(format!("{name} = socket(AF_INET, SOCK_DGRAM)"), || {
            Socket::new(AF_INET, SOCK_DGRAM)
        })?;
        note.make(format!("{name}.bind(('127.0.0.1', 0))"), || {
            socket.bind(("127.0.0.1", 0))
        })?;
        impatient(socket)
    };
    Ok((bound(one)?, bound(other)?))
}

/// `setblocking(False)`, where that belongs to how a socket is made.
pub(super) fn non_blocking(
    note: &mut Notebook,
    name: &str,
    socket: &Socket,
) -> Result<(), SocketError> {
    note.make(format!("{name}.setblocking(False)"), || {
        socket.setblocking(false)
    })
}

/// No experiment hangs, not even in blocking mode.
fn impatient(socket: Socket) -> Result<Socket, SocketError> {
    let (seconds, micros) = (PATIENCE.as_secs(), 0_u64);
    let timeval = [seconds, micros].map(u64::to_ne_bytes).concat();
    socket.setsockopt(SOL_SOCKET, SO_RCVTIMEO, timeval.clone())?;
    socket.setsockopt(SOL_SOCKET, SO_SNDTIMEO, timeval)?;
    Ok(socket)
}

/// Waits until so many bytes lie in a TCP socket's receive queue, and leaves them there.
pub(super) fn arrived(socket: &Socket, bytes: usize) -> anyhow::Result<()> {
    let mode = socket.gettimeout();
    socket.setblocking(true)?;
    let there = socket.recv_with(bytes, MSG_PEEK | MSG_WAITALL)?.len();
    socket.settimeout(mode)?;
    anyhow::ensure!(there == bytes, "{there} bytes came of {bytes}");
    Ok(())
}

/// Whether there is something to read, an end included, within this time.
pub(super) fn readable(socket: &Socket, within: Duration) -> Result<bool, SocketError> {
    ready(socket, PollFlags::IN, within)
}

/// Whether there is something to read at all.
pub(super) fn will_be_readable(socket: &Socket) -> Result<bool, SocketError> {
    readable(socket, PATIENCE)
}

/// Whether there is room to write, or a connection is made, or has failed, within this time.
pub(super) fn writable(socket: &Socket, within: Duration) -> Result<bool, SocketError> {
    ready(socket, PollFlags::OUT, within)
}

/// Whether one may write at all.
pub(super) fn will_be_writable(socket: &Socket) -> Result<bool, SocketError> {
    writable(socket, PATIENCE)
}

/// Waits until the peer has reset the connection.
pub(super) fn was_reset(socket: &Socket) -> Result<bool, SocketError> {
    // `poll` reports errors even where it is asked for no event.
    ready(socket, PollFlags::empty(), PATIENCE)
}

/// Waits until the peer has ended its side.
pub(super) fn was_ended(socket: &Socket) -> Result<bool, SocketError> {
    ready(socket, PollFlags::RDHUP, PATIENCE)
}

fn ready(socket: &Socket, flags: PollFlags, within: Duration) -> Result<bool, SocketError> {
    let fd = socket.descriptor()?;
    let mut fds = [PollFd::new(&*fd, flags)];
    let within = Timespec::try_from(within).map_err(|_| rustix::io::Errno::INVAL)?;
    Ok(rustix::io::retry_on_intr(|| poll(&mut fds, Some(&within)))? > 0)
}

/// Everything that is there, read until the socket says that it would block, or the stream has ended.
pub(super) fn drain(socket: &Socket) -> Result<Vec<u8>, SocketError> {
    let mut all = Vec::new();
    loop {
        match socket.recv_with(65536, MSG_DONTWAIT) {
            Ok(some) if some.is_empty() => return Ok(all),
            Ok(some) => all.extend(some),
            Err(raised) if raised.exception() == Exception::BlockingIOError => return Ok(all),
            Err(raised) => return Err(raised),
        }
    }
}

/// Reads to the end: how many bytes came, and what raised if it was not the end of the stream.
pub(super) fn hear_out(socket: &Socket) -> (usize, Option<SocketError>) {
    let mut heard = 0;
    loop {
        match socket.recv(65536) {
            Ok(some) if some.is_empty() => return (heard, None),
            Ok(some) => heard += some.len(),
            Err(raised) => return (heard, Some(raised)),
        }
    }
}

/// Lets this process open no descriptor more, until it is dropped.
#[derive(Debug)]
pub(super) struct NoDescriptors(Rlimit);

impl NoDescriptors {
    pub(super) fn left() -> anyhow::Result<Self> {
        // The next descriptor would have the lowest number that is free: that is one too high.
        let lowest = Socket::new(AF_INET, SOCK_DGRAM)?.fileno();
        let before = getrlimit(Resource::Nofile);
        let current = Some(u64::try_from(lowest)?);
        setrlimit(Resource::Nofile, Rlimit { current, ..before })?;
        Ok(Self(before))
    }
}

impl Drop for NoDescriptors {
    fn drop(&mut self) {
        _ = setrlimit(Resource::Nofile, self.0);
    }
}

/// Python's `select.epoll`.
#[derive(Debug)]
pub(super) struct PythonEpoll(OwnedFd);

/// What `poll` of an epoll returned: for each event the number it was registered with, and the flags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SeenEvents(pub(super) Vec<(u64, EventFlags)>);

impl PythonEpoll {
    /// `select.epoll()`, under this name.
    pub(super) fn new(note: &mut Notebook, name: &str) -> Result<Self, SocketError> {
        note.make(format!("{name} = epoll()"), || {
            Ok(Self(epoll::create(epoll::CreateFlags::CLOEXEC)?))
        })
    }

    /// `ep.register(socket, flags)`, with a number of our own choosing: the token.
    pub(super) fn register(
        &self,
        socket: &Socket,
        token: u64,
        flags: EventFlags,
    ) -> Result<(), SocketError> {
        let data = epoll::EventData::new_u64(token);
        Ok(epoll::add(&self.0, socket.descriptor()?, data, flags)?)
    }

    /// `ep.poll(timeout)`.
    pub(super) fn poll(&self, within: Duration) -> Result<SeenEvents, SocketError> {
        let within = Timespec::try_from(within).map_err(|_| rustix::io::Errno::INVAL)?;
        let mut events = Vec::with_capacity(16);
        rustix::io::retry_on_intr(|| {
            epoll::wait(&self.0, spare_capacity(&mut events), Some(&within))
        })?;
        let seen = events.iter().map(|event| (event.data.u64(), event.flags));
        Ok(SeenEvents(seen.collect()))
    }

    /// `ep.poll()`, which would wait for ever.
    pub(super) fn poll_patiently(&self) -> Result<SeenEvents, SocketError> {
        self.poll(PATIENCE)
    }
}

impl Shown for SeenEvents {
    fn shown(&self) -> String {
        const NAMES: [(EventFlags, &str); 6] = [
            (EventFlags::IN, "EPOLLIN"),
            (EventFlags::PRI, "EPOLLPRI"),
            (EventFlags::OUT, "EPOLLOUT"),
            (EventFlags::RDHUP, "EPOLLRDHUP"),
            (EventFlags::ERR, "EPOLLERR"),
            (EventFlags::HUP, "EPOLLHUP"),
        ];
        let one = |(token, flags): &(u64, EventFlags)| {
            let names = NAMES.iter().filter(|(flag, _)| { *flags }.contains(*flag));
            let names: Vec<&str> = names.map(|(_, name)| *name).collect();
            format!("({token}, {})", names.join("|"))
        };
        format!(
            "[{}]",
            self.0.iter().map(one).collect::<Vec<_>>().join(", ")
        )
    }
}

/// Measures how long something took, for what is shown, not for what is waited for.
#[derive(Debug)]
pub(super) struct LabClock(Instant);

impl LabClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "an experiment has no loop that tells it the time"
    )]
    pub(super) fn start() -> Self {
        Self(Instant::now())
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "an experiment has no loop that tells it the time"
    )]
    pub(super) fn millis(&self) -> u64 {
        let passed = Instant::now().duration_since(self.0);
        u64::try_from(passed.as_millis()).unwrap_or(u64::MAX)
    }
}
