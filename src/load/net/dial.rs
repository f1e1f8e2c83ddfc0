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
use crate::load::measure::failures::FailureKind;
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
    sources: Vec<SocketAddr>,
    next_source: usize,
    reset_on_close: bool,
    no_delay: bool,
    may_meet_itself: bool,
}

impl Dialer {
    /// For the connections of one run.
    pub fn new(plan: &Plan, target: &TargetAddress) -> io::Result<Self> {
        let (target, tcp_port): (SocketAddrAny, _) = match target {
            TargetAddress::Tcp(address) => ((*address).into(), Some(address.port())),
            TargetAddress::Unix(path) => (SocketAddrUnix::new(path.as_path())?.into(), None),
            TargetAddress::Udp(_) => return Err(io::ErrorKind::Unsupported.into()),
        };
        let is_tcp = tcp_port.is_some();
        Ok(Self {
            target,
            sources: plan.sources.clone(),
            next_source: 0,
            reset_on_close: is_tcp
                && matches!(
                    plan.mode,
                    Mode::Conn {
                        close: Close::ClientRst,
                        ..
                    }
                ),
            no_delay: is_tcp && (plan.mode.keeps() || plan.message_bytes() > SEGMENT_BYTES),
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
            Ok(()) | Err(Errno::INPROGRESS) => Ok(Some(Stream(fd))),
            Err(Errno::AGAIN) if family == AddressFamily::UNIX => Ok(None),
            Err(errno) => Err(errno),
        }
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

/// What a system call did, if it did not have to wait for that.
#[inline]
fn at_once<T>(call: impl FnMut() -> Result<T, Errno>) -> Result<Option<T>, Errno> {
    match rustix::io::retry_on_intr(call) {
        Ok(done) => Ok(Some(done)),
        Err(Errno::AGAIN) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// One connection, TCP or Unix: on both, bytes go the same way. Never blocks; closes when dropped.
#[derive(Debug)]
pub struct Stream(OwnedFd);

impl Stream {
    /// Reads once; none if nothing is there now.
    #[inline]
    pub fn read(&self, into: &mut [u8]) -> Result<Option<usize>, Errno> {
        at_once(|| rustix::io::read(&self.0, &mut *into))
    }

    /// Writes once; none if there is no room, or it is not connected yet.
    #[inline]
    pub fn write(&self, bytes: &[u8]) -> Result<Option<usize>, Errno> {
        at_once(|| send(&self.0, bytes, SendFlags::NOSIGNAL))
    }

    /// Whether dialling is over: connected, failed, or not yet.
    pub fn is_connected(&self) -> Result<bool, Errno> {
        sockopt::socket_error(&self.0)??;
        match getpeername(&self.0) {
            Ok(_) => Ok(true),
            Err(Errno::NOTCONN) => Ok(false),
            Err(errno) => Err(errno),
        }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
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
