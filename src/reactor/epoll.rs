use std::ffi::OsString;
use std::fmt;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::{Duration, Instant, SystemTime};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Waker};
use nix::sys::signal::{SigSet, Signal as UnixSignal};
use rustix::cmsg_space;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::sendfile;
use rustix::io::ioctl_fionbio;
use rustix::net::sockopt::socket_peercred;
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, Shutdown,
    SocketFlags, SocketType, acceptfrom_with, recv, send, sendmsg, shutdown, socketpair,
};
use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};
use rustix::process::{
    Pid, PidfdFlags, WaitId, WaitIdOptions, WaitIdStatus, kill_process_group, pidfd_open, waitid,
};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGXFSZ};
use signal_hook_mio::v1_0::Signals;

use super::datagram_socket::DatagramSocket;
use super::kept::{Kept, Marks};
use super::launching::refusal;
use super::os::{HandedOver, Os, Readiness, Received, Seen, Signal, Spawned, Woke};
use super::socket::{connect_tcp, is_connected};
use super::spawn::{Spawner, Started};
use super::strays::{Left, Strays};
use super::token::{Source, Token};
use crate::adopt::wait;
use crate::config::limits::{AUDIT_PIPE_BYTES, COMMAND_PIPE_BYTES, SPAWN_WARN};
use crate::service::Peer;
use crate::turn::{Errand, Exit, Job, Moment, Severity, Usage};
use crate::wire::CommandSignal;

/// How many events one poll may bring.
const EVENTS_MAX: usize = 1024;

/// How many polls one wait may take, while each brings as many events as it may. The kernel hands events
/// on in the order in which they came: after one poll of eight thousand events, the last of them would
/// wait for eight turns.
const POLLS_MAX: usize = 16;

/// Everything at once and once and for all: what is registered is never registered again.
/// `PRIORITY` too, or urgent data would strand what follows it.
const EVERYTHING: Interest = Interest::READABLE
    .add(Interest::WRITABLE)
    .add(Interest::PRIORITY);

/// The kernel, through mio: edge-triggered epoll.
pub struct Epoll {
    poll: Poll,
    events: Events,
    began: Instant,
    spin: Option<Duration>,
    signals: Option<Signals>,
    spawner: Spawner,
    strays: Strays,
    calls: Arc<Calls>,
    writer: Option<Fed>,
    marks: Marks,
    kept: Option<Kept>,
}

/// A child that is told things.
#[derive(Debug)]
struct Fed {
    arguments: Vec<OsString>,
    input: OwnedFd,
}

/// Our end of the writer's input: it takes what there is room for, and never waits.
#[derive(Debug)]
struct Feed(OwnedFd);

impl io::Write for Feed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::io::write(&self.0, bytes)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A pipe of which our end never waits.
fn new_feed() -> io::Result<(OwnedFd, Box<dyn io::Write>)> {
    let (input, feed) = pipe_with(PipeFlags::CLOEXEC)?;
    // Only our end: the child's is a description of its own.
    ioctl_fionbio(&feed, true)?;
    // As large as it is allowed to be; the usual 64 KiB will do.
    let _ = fcntl_setpipe_size(&feed, AUDIT_PIPE_BYTES);
    Ok((input, Box::new(Feed(feed))))
}

/// What a [`Handle`] asked for.
#[derive(Debug)]
struct Calls {
    waker: Waker,
    asked: AtomicU8,
}

/// What [`Epoll::with_signals`] handles.
const HANDLED: [UnixSignal; 6] = [
    UnixSignal::SIGTERM,
    UnixSignal::SIGINT,
    UnixSignal::SIGHUP,
    UnixSignal::SIGUSR1,
    UnixSignal::SIGCHLD,
    UnixSignal::SIGXFSZ,
];

const ASKED_STOP: u8 = 1;
const ASKED_REPORT: u8 = 2;
const ASKED_REAP: u8 = 4;
const ASKED_RELOAD: u8 = 8;

/// Reaches a running loop from elsewhere, such as a test that started it on a thread of its own.
#[derive(Debug, Clone)]
pub struct Handle(Arc<Calls>);

impl Handle {
    /// As SIGTERM: drain and stop.
    pub fn stop(&self) -> io::Result<()> {
        self.call(ASKED_STOP)
    }

    /// As SIGHUP: read the configuration again.
    pub fn reload(&self) -> io::Result<()> {
        self.call(ASKED_RELOAD)
    }

    /// As SIGUSR1: print the counters.
    pub fn report(&self) -> io::Result<()> {
        self.call(ASKED_REPORT)
    }

    fn call(&self, what: u8) -> io::Result<()> {
        self.0.asked.fetch_or(what, Ordering::Relaxed);
        self.0.waker.wake()
    }
}

impl Epoll {
    /// A poll with nothing registered.
    pub fn new() -> io::Result<Epoll> {
        let poll = Poll::new()?;
        let token = mio_token(Token::of(Source::Caller));
        let waker = Waker::new(poll.registry(), token)?;
        Ok(Epoll {
            poll,
            events: Events::with_capacity(EVENTS_MAX),
            began: now(),
            spin: None,
            signals: None,
            spawner: Spawner::new()?,
            strays: Strays::default(),
            calls: Arc::new(Calls {
                waker,
                asked: AtomicU8::new(0),
            }),
            writer: None,
            marks: Marks::new(),
            kept: None,
        })
    }

    /// Polls for this long before each sleep: an answer a scheduler's wake-up sooner, at the
    /// price of a core.
    pub fn spin(mut self, spin: Duration) -> Epoll {
        self.spin = Some(spin).filter(|spin| !spin.is_zero());
        self
    }

    /// Gives commands this soft limit on descriptors (`None`: no limit) instead of the process's
    /// own. What raised its own for the sake of many connections tells here what it was before:
    /// select(2) cannot take a descriptor above 1023.
    pub fn descriptors_of_commands(mut self, soft: Option<u64>) -> Epoll {
        self.spawner.soft_descriptors(soft);
        self
    }

    /// Listens to SIGTERM, SIGINT, SIGHUP and SIGUSR1 from now on.
    ///
    /// Two more get a handler that does nothing, instead of what we inherited or what is usual.
    /// Ignored, SIGCHLD would have the kernel reap commands before we learn how they ended; SIGXFSZ
    /// would end the process when the log is a file that may not grow (fault C12).
    ///
    /// None of these stays blocked in this thread, as the process that started us may have left it:
    /// a blocked SIGTERM would never come.
    pub fn with_signals(mut self) -> io::Result<Epoll> {
        for signal in [SIGCHLD, SIGXFSZ] {
            signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)))?;
        }
        let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP, SIGUSR1])?;
        let token = mio_token(Token::of(Source::Signals));
        self.poll
            .registry()
            .register(&mut signals, token, Interest::READABLE)?;
        self.signals = Some(signals);
        HANDLED.into_iter().collect::<SigSet>().thread_unblock()?;
        Ok(self)
    }

    /// Prepares a writer for the audit, which is this program once more with these arguments: it reads what
    /// is written to the other value. [`Reactor::keep_writer`](super::Reactor::keep_writer) starts it.
    pub fn with_writer(
        mut self,
        arguments: Vec<OsString>,
    ) -> io::Result<(Epoll, Box<dyn io::Write>)> {
        let (input, feed) = new_feed()?;
        self.writer = Some(Fed { arguments, input });
        Ok((self, feed))
    }

    /// Prepares a keeper for commands, which is this program once more with these arguments: it reads what is told of
    /// each, and kills what it leaves behind. [`Reactor::keep_keeper`](super::Reactor::keep_keeper) starts it.
    pub fn with_keeper(mut self, arguments: Vec<OsString>) -> io::Result<Epoll> {
        self.kept = Some(Kept::new(arguments)?);
        Ok(self)
    }

    /// How the marks of this loop's commands begin: what `ONEPOLL_COMMAND` is in their environment.
    pub fn marks_begin(&self) -> &str {
        self.marks.prefix()
    }

    /// Starts this program where it needs one of its own: launchers, helpers, the writer, the keeper. Without it, that
    /// is the one that runs (`/proc/self/exe`), which must have their subcommands.
    pub fn program(mut self, path: &Path) -> io::Result<Epoll> {
        self.spawner.program(path)?;
        Ok(self)
    }

    /// Takes on the duties of an init where they fall to us (PID 1 of a container, a subreaper):
    /// from now on every child that ends is reaped, also one that no service asked for. Only for a
    /// process that starts no children but commands: it takes the status of others. Listens to
    /// signals as [`with_signals`](Epoll::with_signals) does.
    pub fn as_init(self) -> io::Result<Epoll> {
        let mut epoll = if self.signals.is_none() {
            self.with_signals()?
        } else {
            self
        };
        if let Some(signals) = epoll.signals.as_ref().filter(|_| Strays::may_come()) {
            signals.add_signal(SIGCHLD)?;
            // No signal will tell of those that ended before this.
            epoll.reap_strays();
        }
        Ok(epoll)
    }

    fn reap_strays(&mut self) {
        if self.strays.reap() == Left::Perhaps {
            // The next turn goes on, and others are served in between.
            let _ = self.handle().call(ASKED_REAP);
        }
    }

    /// A handle that reaches this loop.
    pub fn handle(&self) -> Handle {
        Handle(Arc::clone(&self.calls))
    }

    fn register(&self, fd: &impl AsFd, token: Token, interest: Interest) -> io::Result<()> {
        self.poll.registry().register(
            &mut SourceFd(&fd.as_fd().as_raw_fd()),
            mio_token(token),
            interest,
        )
    }

    /// Takes out of the poll what is about to be closed: while another process has the same socket, closing
    /// our descriptor of it would leave it there.
    fn deregister(&self, fd: &impl AsFd) {
        let _ = self
            .poll
            .registry()
            .deregister(&mut SourceFd(&fd.as_fd().as_raw_fd()));
    }

    /// Watches what the code that runs the loop has.
    pub(super) fn watch_own(&self, descriptor: &impl AsFd, token: Token) -> io::Result<()> {
        self.register(descriptor, token, Interest::READABLE | Interest::WRITABLE)
    }

    /// Waits until a process has ended, or for so long.
    pub(super) fn wait_for_end(&self, process: &Process, within: Duration) {
        let until = now() + within;
        loop {
            let left = until.saturating_duration_since(now());
            let mut ended = [PollFd::new(&process.pidfd, PollFlags::IN)];
            let left = Timespec::try_from(left).unwrap_or_default();
            // A signal that comes meanwhile has been handled: the loop is at its end.
            match poll(&mut ended, Some(&left)) {
                Err(rustix::io::Errno::INTR) => {}
                _ => return,
            }
        }
    }

    /// Starts this program once more, with this as its standard input, and with standard output and error as ours are.
    pub(super) fn spawn_companion(
        &mut self,
        arguments: &[OsString],
        input: &OwnedFd,
    ) -> io::Result<Process> {
        let pid = self.spawner.start_companion(arguments, input)?;
        self.watched(pid, None)
    }

    /// A child that can be waited for without mistaking another for it, or none.
    fn watched_by_pidfd(&mut self, started: Started) -> io::Result<Spawned<Epoll>> {
        let Started {
            pid,
            out,
            err,
            input,
            order,
        } = started;
        let process = self.watched(pid, order)?;
        Ok(Spawned {
            out,
            err,
            input,
            process,
        })
    }

    fn watched(&mut self, pid: Pid, order: Option<OwnedFd>) -> io::Result<Process> {
        match pidfd_open(pid, PidfdFlags::NONBLOCK) {
            Ok(pidfd) => {
                self.strays.command_started(pid);
                Ok(Process {
                    pidfd,
                    pid,
                    mark: None,
                    order,
                })
            }
            Err(error) => {
                // There is no way to wait for it, so it must not go on.
                let _ = kill_process_group(pid, rustix::process::Signal::KILL);
                let _ = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED);
                Err(error.into())
            }
        }
    }

    /// Polls once, for at most `timeout`.
    fn poll_once(&mut self, timeout: Option<Duration>) -> io::Result<bool> {
        match self.poll.poll(&mut self.events, timeout) {
            Ok(()) => Ok(!self.events.is_empty()),
            // A signal came; what it means is in its own socket.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Hands on what the last poll saw, and what it had no room for.
    fn hand_on(&mut self, seen: &mut Vec<Seen>) -> io::Result<()> {
        for _ in 1..POLLS_MAX {
            let had = seen.len();
            self.hand_on_events(seen);
            if seen.len() - had < EVENTS_MAX {
                return Ok(());
            }
            self.poll_once(Some(Duration::ZERO))?;
        }
        self.hand_on_events(seen);
        Ok(())
    }

    fn hand_on_events(&self, seen: &mut Vec<Seen>) {
        seen.extend(self.events.iter().map(|event| Seen {
            token: Token::from_u64(event.token().0 as u64),
            readiness: Readiness {
                readable: event.is_readable(),
                writable: event.is_writable(),
                read_closed: event.is_read_closed(),
                // EPOLLHUP alone, without EPOLLERR.
                hung_up: event.is_write_closed() && !event.is_error(),
                urgent: event.is_priority(),
                error: event.is_error(),
            },
        }));
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one look at the clock, and how long a start takes"
)]
fn now() -> Instant {
    Instant::now()
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the platform is 64-bit Linux, see lib.rs"
)]
fn mio_token(token: Token) -> mio::Token {
    mio::Token(token.as_u64() as usize)
}

impl Os for Epoll {
    type Listener = OwnedFd;
    type Stream = OwnedFd;
    type Datagram = DatagramSocket;
    type Pipe = OwnedFd;
    type Process = Process;

    fn wait(&mut self, seen: &mut Vec<Seen>, until: Option<Moment>) -> io::Result<Woke> {
        let clock = |began: Instant| Moment::START.after(now() - began);
        let asleep = clock(self.began);
        // mio rounds up to a whole millisecond, so the last one is not spent in a busy wait.
        let timeout = until.map(|until| until.since(asleep));
        let mut any = false;
        if let Some(spin) = self.spin.filter(|_| timeout != Some(Duration::ZERO)) {
            let spun = asleep.after(timeout.unwrap_or(spin).min(spin));
            while !any && clock(self.began) < spun {
                any = self.poll_once(Some(Duration::ZERO))?;
            }
        }
        if !any {
            self.poll_once(timeout)?;
        }
        self.hand_on(seen)?;
        let mut awake = asleep;
        if timeout != Some(Duration::ZERO) {
            awake = clock(self.began);
            // A deadline has passed. A process that was suspended meanwhile wakes without events,
            // although data came in time: what is said to be due by `awake` was looked for after
            // the clock was (fault A17).
            if until.is_some_and(|until| until <= awake) {
                self.poll_once(Some(Duration::ZERO))?;
                self.hand_on(seen)?;
            }
        }
        Ok(Woke { asleep, awake })
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "wall time, for display, on behalf of the loop"
    )]
    fn wall(&self) -> SystemTime {
        SystemTime::now()
    }

    fn watch_listener(&mut self, listener: &OwnedFd, token: Token) -> io::Result<()> {
        self.register(listener, token, Interest::READABLE)
    }

    fn rewatch_listener(&mut self, listener: &OwnedFd, token: Token) -> io::Result<()> {
        self.poll.registry().reregister(
            &mut SourceFd(&listener.as_raw_fd()),
            mio_token(token),
            Interest::READABLE,
        )
    }

    fn watch_datagram(&mut self, socket: &DatagramSocket, token: Token) -> io::Result<()> {
        self.register(socket, token, Interest::READABLE)
    }

    fn watch(&mut self, stream: &OwnedFd, token: Token) -> io::Result<()> {
        self.register(stream, token, EVERYTHING)
    }

    fn watch_pipe(&mut self, pipe: &OwnedFd, token: Token) -> io::Result<()> {
        self.register(pipe, token, Interest::READABLE)
    }

    fn watch_input(&mut self, pipe: &OwnedFd, token: Token) -> io::Result<()> {
        self.register(pipe, token, Interest::WRITABLE)
    }

    fn watch_process(&mut self, process: &Process, token: Token) -> io::Result<()> {
        self.register(&process.pidfd, token, Interest::READABLE)
    }

    fn accept(&mut self, listener: &OwnedFd) -> io::Result<(OwnedFd, Peer)> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let (stream, address) = acceptfrom_with(listener, flags)?;
        // The address that accept returned, never `getpeername`: a connection that was reset
        // before it was accepted is accepted all the same, and has no peer any more.
        let peer = match address.map(SocketAddr::try_from) {
            Some(Ok(address)) => Peer::from(address),
            _ => match socket_peercred(&stream) {
                Ok(peer) => Peer::Local {
                    pid: peer.pid.as_raw_pid().unsigned_abs(),
                    uid: peer.uid.as_raw(),
                },
                Err(_) => Peer::Unknown,
            },
        };
        Ok((stream, peer))
    }

    fn connect(&mut self, to: SocketAddr) -> io::Result<OwnedFd> {
        connect_tcp(to)
    }

    fn is_connected(&mut self, stream: &OwnedFd) -> io::Result<bool> {
        is_connected(stream)
    }

    fn pair(&mut self) -> io::Result<(OwnedFd, OwnedFd)> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        Ok(socketpair(
            AddressFamily::UNIX,
            SocketType::STREAM,
            flags,
            None,
        )?)
    }

    fn has_pending(&mut self, listener: &OwnedFd) -> bool {
        let mut wanted = [PollFd::new(listener, PollFlags::IN)];
        // What is wrong with a listener that cannot be asked, `accept` says.
        poll(&mut wanted, Some(&Timespec::default())) != Ok(0)
    }

    fn close_listener(&mut self, listener: OwnedFd) {
        self.deregister(&listener);
        drop(listener);
    }

    fn read(&mut self, stream: &OwnedFd, into: &mut [u8]) -> io::Result<usize> {
        // `recv` and `send` know that it is a socket: 3 % less of an echo than `read` and `write`.
        let (n, _) = recv(stream, into, RecvFlags::empty())?;
        Ok(n)
    }

    fn write(&mut self, stream: &OwnedFd, bytes: &[u8]) -> io::Result<usize> {
        Ok(send(stream, bytes, SendFlags::NOSIGNAL)?)
    }

    fn write_vectored(&mut self, stream: &OwnedFd, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut nothing_besides = SendAncillaryBuffer::default();
        let flags = SendFlags::NOSIGNAL;
        Ok(sendmsg(stream, slices, &mut nothing_besides, flags)?)
    }

    fn send_file(
        &mut self,
        stream: &OwnedFd,
        file: &OwnedFd,
        mut at: u64,
        bytes: usize,
    ) -> io::Result<usize> {
        Ok(sendfile(stream, file, Some(&mut at), bytes)?)
    }

    fn shutdown(&mut self, stream: &OwnedFd) -> io::Result<()> {
        Ok(shutdown(stream, Shutdown::Write)?)
    }

    fn close(&mut self, stream: OwnedFd) {
        drop(stream);
    }

    fn send_sockets(
        &mut self,
        stream: &OwnedFd,
        bytes: &[u8],
        sockets: &[HandedOver<'_, Epoll>],
    ) -> io::Result<usize> {
        let descriptors: Vec<BorrowedFd<'_>> = sockets
            .iter()
            .map(|socket| match socket {
                HandedOver::Listener(listener) => listener.as_fd(),
                HandedOver::Datagram(socket) => socket.as_fd(),
                HandedOver::Kept(socket) => socket.as_fd(),
            })
            .collect();
        let mut room = vec![MaybeUninit::uninit(); cmsg_space!(ScmRights(descriptors.len()))];
        let mut beside = SendAncillaryBuffer::new(&mut room);
        if !descriptors.is_empty() {
            beside.push(SendAncillaryMessage::ScmRights(&descriptors));
        }
        let bytes = [IoSlice::new(bytes)];
        Ok(sendmsg(stream, &bytes, &mut beside, SendFlags::NOSIGNAL)?)
    }

    fn receive(&mut self, socket: &mut DatagramSocket, into: &mut [u8]) -> io::Result<Received> {
        socket.receive(into)
    }

    fn send(
        &mut self,
        socket: &mut DatagramSocket,
        bytes: &[u8],
        to: SocketAddr,
        asked: Option<IpAddr>,
    ) -> io::Result<()> {
        socket.send(bytes, to, asked)
    }

    fn close_datagram(&mut self, socket: DatagramSocket) {
        self.deregister(&socket);
        drop(socket);
    }

    fn spawn(&mut self, job: &Job) -> io::Result<Spawned<Epoll>> {
        if let Some(errand) = &job.errand {
            return self.spawn_errand(errand);
        }
        let mark = self.marks.next();
        let cgroup = job.confinement.as_ref().and_then(|c| c.cgroup.as_ref());
        let cgroup = cgroup.map(|directory| directory.to_string_lossy().into_owned());
        if let Some(kept) = &mut self.kept {
            kept.begins(&mark, cgroup.clone())?;
        }
        let before = now();
        let started = self.spawner.start(job, &mark);
        let took = now() - before;
        if took >= SPAWN_WARN {
            log::warn!(took:?; "starting a command stopped the loop");
        }
        let spawned = started.and_then(|started| self.watched_by_pidfd(started));
        let Some(kept) = &mut self.kept else {
            return spawned;
        };
        match spawned {
            Ok(mut spawned) => {
                kept.runs(&mark, spawned.process.pid, cgroup);
                spawned.process.mark = Some(mark);
                Ok(spawned)
            }
            Err(error) => {
                kept.ended(&mark);
                Err(error)
            }
        }
    }

    fn spawn_helper(&mut self, arguments: &[OsString]) -> io::Result<Spawned<Epoll>> {
        let started = self.spawner.start_helper(arguments)?;
        self.watched_by_pidfd(started)
    }

    fn spawn_errand(&mut self, errand: &Errand) -> io::Result<Spawned<Epoll>> {
        let started = self.spawner.start_errand(errand)?;
        self.watched_by_pidfd(started)
    }

    fn spawn_writer(&mut self) -> io::Result<Spawned<Epoll>> {
        let Some(Fed { arguments, input }) = &self.writer else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let started = self.spawner.start_writer(arguments, input)?;
        self.watched_by_pidfd(started)
    }

    fn spawn_keeper(&mut self) -> io::Result<Spawned<Epoll>> {
        let Some(kept) = &mut self.kept else {
            return Err(io::ErrorKind::NotFound.into());
        };
        kept.tell_all()?;
        let started = self.spawner.start_writer(&kept.arguments, &kept.input)?;
        self.watched_by_pidfd(started)
    }

    fn new_feed(&mut self) -> io::Result<(OwnedFd, Box<dyn io::Write>)> {
        new_feed()
    }

    fn spawn_fed(&mut self, arguments: &[OsString], input: &OwnedFd) -> io::Result<Spawned<Epoll>> {
        let started = self.spawner.start_writer(arguments, input)?;
        self.watched_by_pidfd(started)
    }

    fn end_writer(&mut self) {
        self.writer = None;
    }

    fn read_pipe(&mut self, pipe: &OwnedFd, into: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::io::read(pipe, into)?)
    }

    fn write_pipe(&mut self, pipe: &OwnedFd, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::io::write(pipe, bytes)?)
    }

    fn widen(&mut self, pipe: &OwnedFd) -> bool {
        fcntl_setpipe_size(pipe, COMMAND_PIPE_BYTES).is_ok()
    }

    fn kill(&mut self, process: &Process, severity: Severity) {
        process.signal(match severity {
            Severity::Ask => rustix::process::Signal::TERM,
            Severity::Force => rustix::process::Signal::KILL,
        });
    }

    fn signal(&mut self, process: &Process, signal: CommandSignal) {
        use rustix::process::Signal as Unix;
        process.signal(match signal {
            CommandSignal::Int => Unix::INT,
            CommandSignal::Term => Unix::TERM,
            CommandSignal::Kill => Unix::KILL,
            CommandSignal::Hup => Unix::HUP,
            CommandSignal::Quit => Unix::QUIT,
            CommandSignal::Usr1 => Unix::USR1,
            CommandSignal::Usr2 => Unix::USR2,
        });
    }

    fn ended(&mut self, process: &Process) -> io::Result<Option<Exit>> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        Ok(waitid(WaitId::PidFd(process.pidfd.as_fd()), options)?.map(|status| exit(&status)))
    }

    fn refusal(&mut self, process: &Process) -> Option<io::Error> {
        refusal(process.order.as_ref()?)
    }

    fn reap(&mut self, process: Process) -> Usage {
        // By its number, which is its own until this: only wait4(2) tells what it used.
        let usage = wait(process.pid).unwrap_or_default();
        if let (Some(kept), Some(mark)) = (&mut self.kept, &process.mark) {
            kept.ended(mark);
        }
        if self.strays.command_reaped(process.pid) {
            self.reap_strays();
        }
        Usage {
            user: usage.user,
            system: usage.system,
            peak: usage.peak,
            is_cut: false,
        }
    }

    fn signals(&mut self, into: &mut Vec<Signal>) {
        let mut a_child_ended = false;
        if let Some(signals) = &mut self.signals {
            for signal in signals.pending() {
                match signal {
                    SIGCHLD => a_child_ended = true,
                    SIGHUP => into.push(Signal::Reload),
                    SIGUSR1 => into.push(Signal::Report),
                    _ => into.push(Signal::Stop),
                }
            }
        }
        let asked = self.calls.asked.swap(0, Ordering::Relaxed);
        into.extend((asked & ASKED_RELOAD != 0).then_some(Signal::Reload));
        into.extend((asked & ASKED_REPORT != 0).then_some(Signal::Report));
        into.extend((asked & ASKED_STOP != 0).then_some(Signal::Stop));
        if a_child_ended || asked & ASKED_REAP != 0 {
            self.reap_strays();
        }
    }
}

/// A child: its descriptor, which never becomes another process's, and the number of its group.
#[derive(Debug)]
pub struct Process {
    pidfd: OwnedFd,
    pid: Pid,
    /// What the keeper knows it by, if it is a command and there is a keeper.
    mark: Option<String>,
    /// What its launcher was told, if it has one.
    order: Option<OwnedFd>,
}

impl Process {
    /// Its number.
    pub(super) fn pid(&self) -> u32 {
        self.pid.as_raw_pid().unsigned_abs()
    }

    /// The leader is not reaped while this value lives, so the number is still its group's; and the leader of a
    /// session cannot leave its group (setpgid(2)).
    fn signal(&self, signal: rustix::process::Signal) {
        let _ = kill_process_group(self.pid, signal);
    }
}

fn exit(status: &WaitIdStatus) -> Exit {
    match status.exit_status() {
        Some(code) => Exit::Code(code),
        None => Exit::Signal(status.terminating_signal().unwrap_or(0)),
    }
}

impl fmt::Debug for Epoll {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Epoll")
            .field("spin", &self.spin)
            .finish_non_exhaustive()
    }
}
