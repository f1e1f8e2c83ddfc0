//! Opening one connection, and why that failed.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::IpBindAddressNoPort;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SendFlags, SocketAddrAny, SocketAddrUnix, SocketFlags, SocketType, bind,
    connect, getpeername, getsockname, send, socket_with, sockopt,
};

use crate::config::client_ports;
use crate::load::measure::failures::{Failure, FailureKind};
use crate::load::net::at_once::at_once;
use crate::load::net::secured::{Opened, Session, Sessions};
use crate::load::plan::Plan;
use crate::load::plan::mode::{Close, Mode};
use crate::load::plan::target::TargetAddress;

/// A message this long may leave in several segments, of which Nagle would hold back the last.
const SEGMENT_BYTES: usize = 1024;
/// A listener's queue is often 128 long, and what does not fit waits a second.
pub(crate) const DIALLING_MAX: usize = 100;
/// After a refusal, or without a port or descriptor, a connection is dialled again after this long: a run
/// against a closed port counts errors and does not burn a processor.
pub(crate) const BACKOFF: Duration = Duration::from_millis(5);
const FLAGS: SocketFlags = SocketFlags::NONBLOCK.union(SocketFlags::CLOEXEC);

/// Opens connections, all in the same way.
#[derive(Debug)]
pub struct Dialer {
    target: SocketAddrAny,
    /// The same, as it was looked up.
    server: TargetAddress,
    sources: Vec<SocketAddr>,
    next_source: usize,
    reset_on_close: bool,
    no_delay: bool,
    may_meet_itself: bool,
    /// What begins sessions, where connections are to have one.
    sessions: Option<Sessions>,
}

impl Dialer {
    /// For the connections of one run.
    pub fn new(plan: &Plan, target: &TargetAddress) -> io::Result<Self> {
        let server = target.clone();
        let (target, tcp_port): (SocketAddrAny, _) = match target {
            TargetAddress::Tcp(address) => ((*address).into(), Some(address.port())),
            TargetAddress::Unix(path) => (SocketAddrUnix::new(path.as_path())?.into(), None),
            TargetAddress::Udp(_) => return Err(io::ErrorKind::Unsupported.into()),
        };
        let is_tcp = tcp_port.is_some();
        let reset_on_close = is_tcp
            && matches!(
                plan.mode,
                Mode::Conn {
                    close: Close::ClientRst,
                    ..
                }
            );
        Ok(Self {
            target,
            server,
            sources: plan.sources.clone(),
            next_source: 0,
            reset_on_close,
            // What a reset takes with it need not be said.
            sessions: Sessions::of(plan, !reset_on_close)?,
            // The end of a TLS handshake is one segment, and the first message another.
            no_delay: is_tcp
                && (plan.mode.keeps() || plan.is_secured() || plan.message_bytes() > SEGMENT_BYTES),
            // Without an answer, the kernel might pick any port.
            may_meet_itself: tcp_port
                .is_some_and(|port| client_ports().is_none_or(|ports| ports.contains(&port))),
        })
    }

    /// Begins one connection, and never waits: it is connected or on the way, and the first write will
    /// tell. None while the queue of a Unix listener is full; the kernel does not tell when that changes.
    pub fn dial(&mut self) -> Result<Option<Stream>, Errno> {
        let family = self.target.address_family();
        let fd = socket_with(family, SocketType::STREAM, FLAGS, None)?;
        if let Some(source) = self.sources.get(self.next_source) {
            self.next_source = (self.next_source + 1) % self.sources.len();
            bind_to(&fd, source)?;
        }
        if self.reset_on_close {
            sockopt::set_socket_linger(&fd, Some(Duration::ZERO))?;
        }
        if self.no_delay {
            sockopt::set_tcp_nodelay(&fd, true)?;
        }
        match connect(&fd, &self.target) {
            Ok(()) | Err(Errno::INPROGRESS) => Ok(Some(Stream { fd, session: None })),
            Err(Errno::AGAIN) if family == AddressFamily::UNIX => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    /// What it dials.
    pub(crate) fn target(&self) -> &TargetAddress {
        &self.server
    }

    /// Whether connections have a session.
    pub(crate) fn secures(&self) -> bool {
        self.sessions.is_some()
    }

    /// Begins the session of a connection, where it is to have one.
    pub(crate) fn secure(&self, stream: &mut Stream) -> Result<(), Failure> {
        if let Some(sessions) = &self.sessions {
            stream.session = Some(Box::new(sessions.begin()?));
        }
        Ok(())
    }

    /// Fails where `stream`, once connected, is connected to itself (fault B21): where nothing listens on a
    /// port of the ephemeral range, the kernel may pick that very port to dial from.
    #[inline]
    pub fn check_peer(&self, stream: &Stream) -> Result<(), FailureKind> {
        if self.met_itself(stream) {
            return Err(FailureKind::SelfConnect);
        }
        Ok(())
    }

    fn met_itself(&self, stream: &Stream) -> bool {
        self.may_meet_itself
            && match (getsockname(stream), getpeername(stream)) {
                (Ok(own), Ok(peer)) => Some(own) == peer,
                _ => false,
            }
    }
}

/// Binds to `source`. Where that names no port, one is picked when the connection begins rather than
/// now: then it need only differ from those to the same destination, not from all of this address, so
/// one port serves several destinations.
fn bind_to(fd: &OwnedFd, source: &SocketAddr) -> Result<(), Errno> {
    if source.port() == 0 {
        // A kernel that does not know this (before Linux 4.2) picks now: fewer ports, and none wrong.
        let _ = setsockopt(fd, IpBindAddressNoPort, &true);
    }
    bind(fd, source)
}

/// One connection, TCP or Unix, plain or through TLS: in all of them, bytes go the same way. Never blocks;
/// closes when dropped.
#[derive(Debug)]
pub struct Stream {
    fd: OwnedFd,
    session: Option<Box<Session>>,
}

/// What one read found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// How many bytes; none at the end.
    pub n: usize,
    /// Whether another read may find more without another event: this one filled all the room that it had.
    pub may_have_more: bool,
}

/// Inlined, whatever the compiler thinks of that: as calls, these would be 60 instructions more for a request of 1,700.
impl Stream {
    /// Reads once; none if nothing is there now. `cipher` is room for what is read of a session.
    #[inline(always)]
    pub fn read(
        &mut self,
        into: &mut [u8],
        cipher: &mut [u8],
    ) -> Result<Option<Received>, Failure> {
        if let Some(session) = &mut self.session {
            let opened = session.read(&self.fd, cipher, into)?;
            return Ok(opened.map(|Opened { n, may_have_more }| Received { n, may_have_more }));
        }
        let read = at_once(|| rustix::io::read(&self.fd, &mut *into))?;
        Ok(read.map(|n| Received {
            n,
            may_have_more: n == into.len(),
        }))
    }

    /// Writes once; none if there is no room, or it is not connected yet. Of a session it may be that records
    /// have not left: see [`flush`](Self::flush).
    #[inline(always)]
    pub fn write(&mut self, bytes: &[u8]) -> Result<Option<usize>, Failure> {
        if let Some(session) = &mut self.session {
            return session.write(&self.fd, bytes);
        }
        Ok(self.write_plain(bytes)?)
    }

    /// The same of a connection that is known to have no session.
    #[inline(always)]
    pub(crate) fn write_plain(&self, bytes: &[u8]) -> Result<Option<usize>, Errno> {
        at_once(|| send(&self.fd, bytes, SendFlags::NOSIGNAL))
    }

    /// Writes what a session has left to write, as far as there is room for it.
    #[inline(always)]
    pub fn flush(&mut self) -> Result<(), Errno> {
        match &mut self.session {
            None => Ok(()),
            Some(session) => session.flush(&self.fd).map(drop),
        }
    }

    /// Whether dialling is over: connected, failed, or not yet.
    pub fn is_connected(&self) -> Result<bool, Errno> {
        sockopt::socket_error(&self.fd)??;
        match getpeername(&self.fd) {
            Ok(_) => Ok(true),
            Err(Errno::NOTCONN) => Ok(false),
            Err(errno) => Err(errno),
        }
    }

    /// Goes on with the handshake of its session: whether that is over, or there is none.
    pub(crate) fn shake_hands(&mut self, cipher: &mut [u8]) -> Result<bool, Failure> {
        match &mut self.session {
            None => Ok(true),
            Some(session) => session.shake_hands(&self.fd, cipher),
        }
    }

    /// Where it is on this side, of TCP.
    pub(crate) fn local_address(&self) -> Option<SocketAddr> {
        getsockname(&self.fd).ok()?.try_into().ok()
    }

    /// Its session, if it has one.
    #[inline]
    pub(crate) fn session(&self) -> Option<&Session> {
        self.session.as_deref()
    }
}

/// A session ends with a word: without it, the server could not tell the end from a cut.
impl Drop for Stream {
    #[inline]
    fn drop(&mut self) {
        if let Some(session) = &mut self.session {
            session.bye(&self.fd);
        }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use nix::sys::socket::getsockopt;

    use super::*;

    #[test]
    fn a_source_without_a_port_gets_it_when_it_connects() {
        let bound = |source: &str| {
            let source: SocketAddr = source.parse().unwrap();
            let family = if source.is_ipv4() {
                AddressFamily::INET
            } else {
                AddressFamily::INET6
            };
            let fd = socket_with(family, SocketType::STREAM, FLAGS, None).unwrap();
            bind_to(&fd, &source).unwrap();
            let own: SocketAddr = getsockname(&fd).unwrap().try_into().unwrap();
            (getsockopt(&fd, IpBindAddressNoPort).unwrap(), own)
        };
        let (is_late, own) = bound("127.0.0.9:0");
        assert_eq!((is_late, own.to_string().as_str()), (true, "127.0.0.9:0"));
        let (is_late, own) = bound("[::1]:0");
        assert_eq!((is_late, own.to_string().as_str()), (true, "[::1]:0"));

        let free = TcpListener::bind("127.0.0.9:0")
            .unwrap()
            .local_addr()
            .unwrap();
        assert_eq!(bound(&free.to_string()), (false, free));
    }

    #[test]
    fn fault_b21_a_connection_to_itself_is_recognised() {
        // A port that was free a moment ago, dialled from itself: what chance does in a long run.
        let free = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let mut plan = Plan::new(free.to_string().parse().unwrap(), Mode::Echo { depth: 1 });
        plan.sources = vec![free];
        let mut dialer = Dialer::new(&plan, &TargetAddress::Tcp(free)).unwrap();
        dialer.may_meet_itself = true;
        let Ok(Some(stream)) = dialer.dial() else {
            panic!("not dialled")
        };
        assert_eq!(stream.is_connected(), Ok(true));
        assert!(dialer.met_itself(&stream));

        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        plan.sources.clear();
        let mut dialer = Dialer::new(&plan, &TargetAddress::Tcp(address)).unwrap();
        dialer.may_meet_itself = true;
        let Ok(Some(stream)) = dialer.dial() else {
            panic!("not dialled")
        };
        assert!(!dialer.met_itself(&stream));
    }
}
