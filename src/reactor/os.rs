use std::ffi::OsString;
use std::fmt::Debug;
use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::SystemTime;

use super::token::Token;
use crate::service::Peer;
use crate::turn::{Errand, Exit, Job, Moment, Severity, Usage};
use crate::wire::CommandSignal;

/// The one seam under the loop: what waits, accepts, reads, writes and tells the time.
///
/// [`Epoll`](super::Epoll) is the kernel; the tests have a seeded simulator that models
/// edge-triggering exactly. Nothing here blocks but [`wait`](Os::wait).
pub trait Os: Debug {
    /// A listening socket.
    type Listener: Debug;
    /// A connected socket.
    type Stream: Debug;
    /// A datagram socket.
    type Datagram: Debug;
    /// Our end of a child's output, or of its input.
    type Pipe: Debug;
    /// A child that can be waited for and killed without mistaking another for it.
    type Process: Debug;

    /// Sleeps until something happens or `until` has come (`None`: however long it takes), adds
    /// what was seen, and tells the time. The only place that sleeps, the only look at the clock.
    fn wait(&mut self, seen: &mut Vec<Seen>, until: Option<Moment>) -> io::Result<Woke>;

    /// Wall time, for display.
    fn wall(&self) -> SystemTime;

    /// Watches a listener from now on, until it is closed.
    fn watch_listener(&mut self, listener: &Self::Listener, token: Token) -> io::Result<()>;
    /// Watches a listener that is watched already under another token. Tells at once if a connection
    /// waits.
    fn rewatch_listener(&mut self, listener: &Self::Listener, token: Token) -> io::Result<()>;
    /// Watches a datagram socket.
    fn watch_datagram(&mut self, socket: &Self::Datagram, token: Token) -> io::Result<()>;
    /// Watches a connection, once, for everything. Tells at once what is already so.
    fn watch(&mut self, stream: &Self::Stream, token: Token) -> io::Result<()>;
    /// Watches a child's output.
    fn watch_pipe(&mut self, pipe: &Self::Pipe, token: Token) -> io::Result<()>;
    /// Watches a child's input: for room, and for the end of whoever reads it.
    fn watch_input(&mut self, pipe: &Self::Pipe, token: Token) -> io::Result<()>;
    /// Watches for a child's end.
    fn watch_process(&mut self, process: &Self::Process, token: Token) -> io::Result<()>;

    /// The next connection that waits, and its peer.
    fn accept(&mut self, listener: &Self::Listener) -> io::Result<(Self::Stream, Peer)>;
    /// Whether a connection waits to be accepted. `false` is a proof, as `WouldBlock` is: an edge will
    /// tell of the next one.
    fn has_pending(&mut self, listener: &Self::Listener) -> bool;
    /// Closes a listener, and with it the connections that wait there, unless another process has it too.
    fn close_listener(&mut self, listener: Self::Listener);

    /// Reads once.
    fn read(&mut self, stream: &Self::Stream, into: &mut [u8]) -> io::Result<usize>;
    /// Writes once. Less than all of it: the socket is full, and an edge will tell when it is not.
    fn write(&mut self, stream: &Self::Stream, bytes: &[u8]) -> io::Result<usize>;
    /// Writes several slices once, in order, as if they were one.
    fn write_vectored(
        &mut self,
        stream: &Self::Stream,
        slices: &[IoSlice<'_>],
    ) -> io::Result<usize>;
    /// Sends bytes of a file once, from where they lie. 0: it has none there.
    fn send_file(
        &mut self,
        _stream: &Self::Stream,
        _file: &OwnedFd,
        _at: u64,
        _bytes: usize,
    ) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }
    /// A stream that is on its way to this address. It is writable, or failed, when that is decided.
    fn connect(&mut self, _to: SocketAddr) -> io::Result<Self::Stream> {
        Err(io::ErrorKind::Unsupported.into())
    }
    /// Whether it has arrived; why it never will.
    fn is_connected(&mut self, _stream: &Self::Stream) -> io::Result<bool> {
        Err(io::ErrorKind::Unsupported.into())
    }
    /// Two streams that are connected to each other.
    fn pair(&mut self) -> io::Result<(Self::Stream, Self::Stream)> {
        Err(io::ErrorKind::Unsupported.into())
    }
    /// Says that nothing more will be written.
    fn shutdown(&mut self, stream: &Self::Stream) -> io::Result<()>;
    /// Closes a connection; no further event is about it.
    fn close(&mut self, stream: Self::Stream);

    /// Writes once, and sends descriptors of these sockets beside the first byte.
    fn send_sockets(
        &mut self,
        stream: &Self::Stream,
        bytes: &[u8],
        sockets: &[HandedOver<'_, Self>],
    ) -> io::Result<usize>;

    /// Receives one datagram.
    fn receive(&mut self, socket: &mut Self::Datagram, into: &mut [u8]) -> io::Result<Received>;
    /// Sends one datagram, from the address of ours that was `asked`, if that is known.
    fn send(
        &mut self,
        socket: &mut Self::Datagram,
        bytes: &[u8],
        to: SocketAddr,
        asked: Option<IpAddr>,
    ) -> io::Result<()>;
    /// Closes a datagram socket.
    fn close_datagram(&mut self, socket: Self::Datagram);

    /// Starts a command, in a session and a process group of its own.
    fn spawn(&mut self, job: &Job) -> io::Result<Spawned<Self>>;
    /// Starts this program once more, with these arguments, likewise.
    fn spawn_helper(&mut self, arguments: &[OsString]) -> io::Result<Spawned<Self>>;
    /// Starts this program once more, to do this.
    fn spawn_errand(&mut self, _errand: &Errand) -> io::Result<Spawned<Self>> {
        Err(io::ErrorKind::Unsupported.into())
    }
    /// Starts the writer of the audit, which reads what the audit is told.
    fn spawn_writer(&mut self) -> io::Result<Spawned<Self>> {
        Err(io::ErrorKind::Unsupported.into())
    }
    /// Starts the keeper of commands, which is told of each that begins and ends.
    fn spawn_keeper(&mut self) -> io::Result<Spawned<Self>> {
        Err(io::ErrorKind::Unsupported.into())
    }
    /// A pipe to a child that is told things: the end that it reads, and ours, which takes what there is room for and
    /// never waits.
    fn new_feed(&mut self) -> io::Result<(OwnedFd, Box<dyn io::Write>)> {
        Err(io::ErrorKind::Unsupported.into())
    }
    /// Starts this program once more with these arguments, to read that end.
    fn spawn_fed(
        &mut self,
        _arguments: &[OsString],
        _input: &OwnedFd,
    ) -> io::Result<Spawned<Self>> {
        Err(io::ErrorKind::Unsupported.into())
    }
    /// Ends the writer's input, when nobody else tells it anything any more.
    fn end_writer(&mut self) {}
    /// Reads once from a child's output.
    fn read_pipe(&mut self, pipe: &Self::Pipe, into: &mut [u8]) -> io::Result<usize>;
    /// Writes once to a child's input. Less than all of it: the pipe is full, and an edge will tell when it is
    /// not.
    fn write_pipe(&mut self, pipe: &Self::Pipe, bytes: &[u8]) -> io::Result<usize>;
    /// Gives a pipe of a child more room, since much goes through it. Whether it has more now.
    fn widen(&mut self, _pipe: &Self::Pipe) -> bool {
        false
    }
    /// Signals a child's whole process group.
    fn kill(&mut self, process: &Self::Process, severity: Severity);
    /// Sends this signal to it.
    fn signal(&mut self, process: &Self::Process, signal: CommandSignal);
    /// How the child ended, if it has. It stays a zombie, so that its number is not another process's.
    fn ended(&mut self, process: &Self::Process) -> io::Result<Option<Exit>>;
    /// Why a child that has ended never became the command that was asked for, if it did not.
    fn refusal(&mut self, _process: &Self::Process) -> Option<io::Error> {
        None
    }
    /// Lets go of a child that has ended, and says what it used.
    fn reap(&mut self, process: Self::Process) -> Usage;

    /// Signals that have come since the last call.
    fn signals(&mut self, into: &mut Vec<Signal>);
}

/// A socket whose descriptor is sent to another process.
#[derive(Debug)]
pub enum HandedOver<'a, O: Os + ?Sized> {
    /// A listener.
    Listener(&'a O::Listener),
    /// A datagram socket.
    Datagram(&'a O::Datagram),
    /// Either, which is not served here.
    Kept(&'a OwnedFd),
}

/// A datagram that came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// How many bytes it has.
    pub n: usize,
    /// Where an answer goes.
    pub from: SocketAddr,
    /// The address of ours that it was sent to, if the socket is bound to more than one.
    pub asked: Option<IpAddr>,
}

/// When the loop slept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Woke {
    /// When it began to wait: its last turn ended then.
    pub asleep: Moment,
    /// When it woke: the time of the next turn.
    pub awake: Moment,
}

/// A child that was just started.
#[derive(Debug)]
pub struct Spawned<O: Os + ?Sized> {
    /// Its standard output.
    pub out: O::Pipe,
    /// Its standard error.
    pub err: O::Pipe,
    /// Its standard input, if it is fed.
    pub input: Option<O::Pipe>,
    /// Itself.
    pub process: O::Process,
}

/// What the loop does about a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM, SIGINT: drain and stop; a second one: stop at once.
    Stop,
    /// SIGHUP.
    Reload,
    /// SIGUSR1: print the counters.
    Report,
}

/// One event of the poll: which source, and what it became ready for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// The source, as it was registered.
    pub token: Token,
    /// What it became ready for.
    pub readiness: Readiness,
}

/// What a source became ready for. Readiness is what we got; interest, what we ask, is always
/// everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Readiness {
    /// There may be something to read.
    pub readable: bool,
    /// There may be room to write.
    pub writable: bool,
    /// The peer has ended its input: a short read does not mean that nothing follows.
    pub read_closed: bool,
    /// The peer hung up: both halves are shut down, and it will read no answer.
    pub hung_up: bool,
    /// Urgent data is on its way: a short read ends at its mark, not where the data ends.
    pub urgent: bool,
    /// The connection was reset.
    pub error: bool,
}
