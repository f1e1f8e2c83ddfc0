//! The socket.

use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;

use rustix::io::Errno;
use rustix::net::{
    self, RecvFlags, SendFlags, Shutdown, SocketAddrAny, SocketFlags, SocketType, sockopt,
};

use super::address::{Address, IntoAddress};
use super::constants::{Family, Kind, SHUT_RD, SHUT_RDWR, SHUT_WR, SOCK_STREAM};
use super::core::{Core, PIECE_BYTES, Stop, Want};
use super::deadline::CallDeadline;
use super::error::{Exception, SocketError};
use super::file::SocketFile;
use super::option::{self, OptionValue};
use super::timeout::{IntoTimeout, Timeout, default_timeout};

/// How many connections `listen()` lets wait when it is not told.
pub const BACKLOG: i32 = 128;

/// A socket as Python has it.
///
/// Like a Python object it may be used from several threads at once, and dropping it closes it, unless a
/// file made of it is still open.
///
/// ```
/// // s = socket.socket(AF_INET, SOCK_STREAM)
/// use onepoll::socket::{AF_INET, SOCK_STREAM, Socket};
///
/// let s = Socket::new(AF_INET, SOCK_STREAM)?;
/// assert_eq!(s.gettimeout(), None);
/// # Ok::<(), onepoll::socket::SocketError>(())
/// ```
#[derive(Debug)]
pub struct Socket {
    core: Arc<Core>,
    family: Family,
    kind: Kind,
    proto: i32,
}

/// Where sockets come from.
impl Socket {
    /// `socket.socket(family, type)`. It is in the mode that `setdefaulttimeout` says; with
    /// `SOCK_NONBLOCK`, in non-blocking mode.
    ///
    /// ```
    /// // s = socket.socket(AF_INET6, SOCK_DGRAM)
    /// use onepoll::socket::{AF_UNIX, SOCK_DGRAM, SOCK_NONBLOCK, SOCK_STREAM, Socket};
    ///
    /// let s = Socket::new(AF_UNIX, SOCK_DGRAM)?;
    /// assert_eq!((s.family(), s.kind(), s.proto()), (AF_UNIX, SOCK_DGRAM, 0));
    ///
    /// let s = Socket::new(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK)?;
    /// assert_eq!((s.kind(), s.gettimeout()), (SOCK_STREAM, Some(0.0)));
    /// # Ok::<(), onepoll::socket::SocketError>(())
    /// ```
    pub fn new(family: Family, kind: Kind) -> Result<Self, SocketError> {
        Self::with_protocol(family, kind, 0)
    }

    /// `socket.socket(family, type, proto)`.
    pub fn with_protocol(family: Family, kind: Kind, proto: i32) -> Result<Self, SocketError> {
        let mut flags = SocketFlags::CLOEXEC;
        if kind.is_non_blocking() {
            flags |= SocketFlags::NONBLOCK;
        }
        let protocol = u32::try_from(proto).map_err(|_| Errno::PROTONOSUPPORT)?;
        let protocol = std::num::NonZeroU32::new(protocol).map(net::Protocol::from_raw);
        let base = SocketType::from_raw(kind.base().number());
        let fd = net::socket_with(family.raw(), base, flags, protocol)?;
        Self::born(fd, family, kind, proto)
    }

    /// `socket.socket(fileno=fd)`, for a descriptor that this program owns: family, type and protocol are
    /// asked of it. Whether it blocks is left as it is, unless there is a default timeout.
    ///
    /// ```
    /// // s = socket.socket(fileno=fd)
    /// use onepoll::socket::{AF_UNIX, SOCK_STREAM, Socket};
    ///
    /// let (fd, _peer) = std::os::unix::net::UnixStream::pair().unwrap();
    /// let s = Socket::from_fd(fd.into())?;
    /// assert_eq!((s.family(), s.kind()), (AF_UNIX, SOCK_STREAM));
    /// # Ok::<(), onepoll::socket::SocketError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// `ENOTSOCK` for what is no socket, `EAFNOSUPPORT` for a family that is not known here.
    pub fn from_fd(fd: OwnedFd) -> Result<Self, SocketError> {
        let family = Family::from_raw(sockopt::socket_domain(&fd)?).ok_or(Errno::AFNOSUPPORT)?;
        let kind = Kind::from_number(sockopt::socket_type(&fd)?.as_raw());
        let proto = sockopt::socket_protocol(&fd)?.map_or(0, |protocol| protocol.as_raw().get());
        Self::born(fd, family, kind, i32::try_from(proto).unwrap_or(0))
    }

    /// `socket.socket(fileno=number)`, for a number: what socket activation and `into_raw_fd` hand over.
    ///
    /// It is closed with the socket, so nothing else may own it. One place in this crate trusts a number:
    /// the one by which `onepoll serve` adopts its listeners.
    ///
    /// ```
    /// use onepoll::socket::{Socket, socketpair};
    /// use std::os::fd::IntoRawFd;
    ///
    /// let (a, b) = socketpair()?;
    /// let number = a.detach().expect("it is open").into_raw_fd();
    /// let a = Socket::from_fileno(number)?;
    /// assert_eq!(a.fileno(), number);
    /// a.send(b"still the same")?;
    /// assert_eq!(b.recv(100)?, b"still the same");
    ///
    /// let raised = Socket::from_fileno(-1).unwrap_err();
    /// assert_eq!(raised.to_string(), "negative file descriptor");
    /// # Ok::<(), onepoll::socket::SocketError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// `ValueError` for a negative number, `EBADF` for one that is not open, `ENOTSOCK` for one that is
    /// no socket, which then stays open.
    pub fn from_fileno(number: RawFd) -> Result<Self, SocketError> {
        if number < 0 {
            return Err(SocketError::raised(
                Exception::ValueError,
                "negative file descriptor",
            ));
        }
        let fd = crate::adopt::adopt(number)?;
        if let Err(errno) = sockopt::socket_type(&fd) {
            // What is no socket is not ours to close.
            _ = std::os::fd::IntoRawFd::into_raw_fd(fd);
            return Err(errno.into());
        }
        Self::from_fd(fd)
    }

    /// Every socket begins here, also an accepted one: in the default mode.
    pub(super) fn born(
        fd: OwnedFd,
        family: Family,
        kind: Kind,
        proto: i32,
    ) -> Result<Self, SocketError> {
        let timeout = if kind.is_non_blocking() {
            Timeout::NonBlocking
        } else {
            default_timeout()
        };
        if timeout != Timeout::Blocking && !kind.is_non_blocking() {
            rustix::io::ioctl_fionbio(&fd, true)?;
        }
        Ok(Self {
            core: Arc::new(Core::new(fd, timeout)),
            family,
            kind: kind.base(),
            proto,
        })
    }

    /// `s.dup()`: another descriptor of the same socket, in the same mode.
    ///
    /// ```
    /// // t = s.dup()
    /// use onepoll::socket::socketpair;
    ///
    /// let (a, b) = socketpair()?;
    /// a.settimeout(0.5)?;
    /// let c = a.dup()?;
    /// assert_ne!(a.fileno(), c.fileno());
    /// assert_eq!(c.gettimeout(), Some(0.5));
    /// a.close(); // the other still holds the connection
    /// c.send(b"x")?;
    /// assert_eq!(b.recv(1)?, b"x");
    /// # Ok::<(), onepoll::socket::SocketError>(())
    /// ```
    pub fn dup(&self) -> Result<Self, SocketError> {
        let fd = rustix::io::fcntl_dupfd_cloexec(&*self.core.fd()?, 0)?;
        let twin = Self::born(fd, self.family, self.kind, self.proto)?;
        twin.settimeout(self.core.timeout())?;
        Ok(twin)
    }
}

/// What a socket is.
impl Socket {
    /// `s.family`.
    pub fn family(&self) -> Family {
        self.family
    }

    /// `s.type`, without flags.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// `s.proto`.
    pub fn proto(&self) -> i32 {
        self.proto
    }

    /// `s.fileno()`: its number, or -1 when it is closed.
    ///
    /// ```
    /// use onepoll::socket::socketpair;
    ///
    /// let (a, _b) = socketpair()?;
    /// assert!(a.fileno() > 2);
    /// a.close();
    /// assert_eq!(a.fileno(), -1);
    /// # Ok::<(), onepoll::socket::SocketError>(())
    /// ```
    pub fn fileno(&self) -> RawFd {
        self.core.fd().map_or(-1, |fd| fd.as_raw_fd())
    }

    /// The descriptor itself, where Python hands its number to `select.epoll` and friends. It stays open
    /// for as long as a holder of the `Arc` is left.
    ///
    /// ```
    /// // ep.register(s, EPOLLIN)
    /// use onepoll::socket::socketpair;
    /// use rustix::event::epoll;
    ///
    /// let (a, b) = socketpair()?;
    /// let ep = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    /// epoll::add(&ep, a.descriptor()?, epoll::EventData::new_u64(1), epoll::EventFlags::IN)?;
    /// b.send(b"x")?;
    /// let mut seen = Vec::with_capacity(8);
    /// epoll::wait(&ep, rustix::buffer::spare_capacity(&mut seen), None)?;
    /// assert_eq!(seen.len(), 1);
    /// # Ok::<(), onepoll::socket::SocketError>(())
    /// ```
    pub fn descriptor(&self) -> Result<Arc<OwnedFd>, SocketError> {
        Ok(self.core.fd()?)
    }

    /// `s.getsockname()`: where it is.
    ///
    /// ```
    /// use onepoll::socket::{AF_INET, SOCK_STREAM, Socket};
    ///
    /// let s = Socket::new(AF_INET, SOCK_STREAM)?;
    /// assert_eq!(s.getsockname()?.to_string(), "('0.0.0.0', 0)");
    /// s.bind(("127.0.0.1", 0))?;
    /// assert_ne!(s.getsockname()?.port(), 0);
    /// # Ok::<(), onepoll::socket::SocketError>(())
    /// ```
    pub fn getsockname(&self) -> Result<Address, SocketError> {
        Address::from_any(net::getsockname(&*self.core.fd()?)?)
    }

    /// `s.getpeername()`: where its peer is; `ENOTCONN` without one.
    ///
    /// ```
    /// use onepoll::socket::{AF_INET, SOCK_STREAM, Socket};
    ///
    /// let raised = Socket::new(AF_INET, SOCK_STREAM)?.getpeername().unwrap_err();
    /// assert_eq!(raised.errno(), Some(107)); // ENOTCONN
    /// # Ok::<(), onepoll::socket::SocketError>(())
    /// ```
    pub fn getpeername(&self) -> Result<Address, SocketError> {
        match net::getpeername(&*self.core.fd()?)? {
            Some(any) => Address::from_any(any),
            None => Ok(Address::unnamed(self.family)),
        }
    }

    /// `s.getsockopt(level, option)`, as a number.
    ///
    /// ```
    /// // s.getsockopt(SOL_SOCKET, SO_TYPE)
    /// use onepoll::socket::{AF_INET, SO_TYPE, SOCK_STREAM, SOL_SOCKET, Socket};
    ///
    /// let s = Socket::new(AF_INET, SOCK_STREAM)?;
    /// assert_eq!(s.getsockopt(SOL_SOCKET, SO_TYPE)?, 1);
    /// # Ok::<(), onepoll::socket::SocketError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// `ENOPROTOOPT` for an option that has no [name](super::option_by_name) here.
    pub fn getsockopt(&self, level: i32, option: i32) -> Result<i32, SocketError> {
        let bytes = option::get(&*self.core.fd()?, level, option)?;
        Ok(bytes
            .first_chunk()
            .map_or(0, |word| i32::from_ne_bytes(*word)))
    }

    /// `s.getsockopt(level, option, buflen)`, as the bytes of its structure.
    ///
    /// ```
    /// // struct.unpack('ii', s.getsockopt(SOL_SOCKET, SO_LINGER, 8))
    /// use onepoll::socket::{AF_INET, SO_LINGER, SOCK_STREAM, SOL_SOCKET, Socket};
    ///
    /// let s = Socket::new(AF_INET, SOCK_STREAM)?;
    /// assert_eq!(s.getsockopt_bytes(SOL_SOCKET, SO_LINGER, 8)?, [0; 8]);
    /// # Ok::<(), onepoll::socket::SocketError>(())
    /// ```
    pub fn getsockopt_bytes(
        &self,
        level: i32,
        option: i32,
        buflen: usize,
    ) -> Result<Vec<u8>, SocketError> {
        if buflen == 0 || buflen > 1024 {
            return Err(SocketError::raised(
                Exception::OSError,
                "getsockopt buflen out of range",
            ));
        }
        let mut bytes = option::get(&*self.core.fd()?, level, option)?;
        bytes.truncate(buflen);
        Ok(bytes)
    }

    /// `s.setsockopt(level, option, value)`: a number, a bool, or bytes as `struct.pack` makes them.
    ///
    /// ```
    /// // s.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
    /// use onepoll::socket::*;
    ///
    /// let s = Socket::new(AF_INET, SOCK_STREAM)?;
    /// s.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)?;
    /// assert_eq!(s.getsockopt(SOL_SOCKET, SO_REUSEADDR)?, 1);
    ///
    /// // s.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack('ii', 1, 0)): close resets the connection
    /// s.setsockopt(SOL_SOCKET, SO_LINGER, &[1, 0, 0, 0, 0, 0, 0, 0])?;
    ///
    /// // The kernel doubles what is asked for, here as in Python.
    /// s.setsockopt(SOL_SOCKET, SO_RCVBUF, 8192)?;
    /// assert_eq!(s.getsockopt(SOL_SOCKET, SO_RCVBUF)?, 16384);
    /// # Ok::<(), onepoll::socket::SocketError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// `ENOPROTOOPT` for an option that cannot be set, or has no [name](super::option_by_name) here.
    pub fn setsockopt<'v>(
        &self,
        level: i32,
        option: i32,
        value: impl Into<OptionValue<'v>>,
    ) -> Result<(), SocketError> {
        Ok(option::set(
            &*self.core.fd()?,
            level,
            option,
            &value.into(),
        )?)
    }
}

/// The three modes.
impl Socket {
    /// `s.setblocking(flag)`: `settimeout(None)` or `settimeout(0)`.
    ///
    /// ```
    /// use onepoll::socket::socketpair;
    ///
    /// let (a, _b) = socketpair()?;
    /// a.setblocking(false)?;
    /// assert_eq!((a.getblocking(), a.gettimeout()), (false, Some(0.0)));
    /// a.setblocking(true)?;
    /// assert_eq!((a.getblocking(), a.gettimeout()), (true, None));
    /// # Ok::<(), onepoll::socket::SocketError>(())
    /// ```
    pub fn setblocking(&self, flag: bool) -> Result<(), SocketError> {
        self.settimeout(if flag {
            Timeout::Blocking
        } else {
            Timeout::NonBlocking
        })
    }

    /// `s.settimeout(value)`: `None`, `Some(seconds)`, seconds, or a [`Duration`](std::time::Duration).
    ///
    /// With any timeout the *descriptor* does not block: it is `poll` that waits, before each call.
    ///
    /// ```
    /// use onepoll::socket::{Exception, socketpair};
    /// use std::time::Duration;
    ///
    /// let (a, _b) = socketpair()?;
    /// a.settimeout(0.01)?;
    /// let raised = a.recv(1).unwrap_err(); // after 10 ms
    /// assert_eq!(raised.exception(), Exception::TimeoutError);
    ///
    /// a.settimeout(Duration::from_millis(250))?;
    /// assert_eq!(a.gettimeout(), Some(0.25));
    /// a.settimeout(None)?;
    /// assert_eq!(a.gettimeout(), None);
    /// assert_eq!(a.settimeout(-1.0).unwrap_err().exception(), Exception::ValueError);
    /// # Ok::<(), onepoll::socket::SocketError>(())
    /// ```
    pub fn settimeout(&self, timeout: impl IntoTimeout) -> Result<(), SocketError> {
        let timeout = timeout.into_timeout()?;
        self.core.set_timeout(timeout);
        let non_blocking = timeout != Timeout::Blocking;
        Ok(rustix::io::ioctl_fionbio(&*self.core.fd()?, non_blocking)?)
    }

    /// `s.gettimeout()`: `None`, or seconds.
    pub fn gettimeout(&self) -> Option<f64> {
        self.core.timeout().seconds()
    }

    /// `s.getblocking()`: true in timeout mode too, since calls do wait then.
    ///
    /// ```
    /// use onepoll::socket::socketpair;
    ///
    /// let (a, _b) = socketpair()?;
    /// a.settimeout(0.5)?;
    /// assert!(a.getblocking());
    /// # Ok::<(), onepoll::socket::SocketError>(())
    /// ```
    pub fn getblocking(&self) -> bool {
        self.core.timeout() != Timeout::NonBlocking
    }
}

/// Meeting.
impl Socket {
    /// `s.bind(address)`.
    ///
    /// ```
    /// // s.bind(('localhost', 0))
    /// use onepoll::socket::{AF_INET, Exception, SOCK_DGRAM, SOCK_STREAM, Socket};
    ///
    /// let s = Socket::new(AF_INET, SOCK_STREAM)?;
    /// s.bind(("localhost", 0))?;
    /// s.listen(5)?;
    /// let t = Socket::new(AF_INET, SOCK_STREAM)?;
    /// let raised = t.bind(s.getsockname()?).unwrap_err();
    /// assert_eq!(raised.errno(), Some(98)); // EADDRINUSE
    /// # Ok::<(), onepoll::socket::SocketError>(())
    /// ```
    pub fn bind(&self, address: impl IntoAddress) -> Result<(), SocketError> {
        let address = address.into_address(self.family)?;
        Ok(net::bind(&*self.core.fd()?, &address.to_any()?)?)
    }

    /// `s.listen(backlog)`; Python's own choice when it is not told is [`BACKLOG`].
    ///
    /// ```
    /// use onepoll::socket::{AF_INET, SOCK_STREAM, Socket};
    ///
    /// let s = Socket::new(AF_INET, SOCK_STREAM)?;
    /// s.listen(5)?; // not bound: the kernel takes any port
    /// assert_ne!(s.getsockname()?.port(), 0);
    /// # Ok::<(), onepoll::socket::SocketError>(())
    /// ```
    pub fn listen(&self, backlog: i32) -> Result<(), SocketError> {
        Ok(net::listen(&*self.core.fd()?, backlog.max(0))?)
    }

    /// `conn, address = s.accept()`. Waits for a connection as the mode says; the new socket is in the
    /// *default* mode, not in the listener's.
    ///
    /// ```
    /// use onepoll::socket::{create_connection, create_server};
    ///
    /// let server = create_server(("127.0.0.1", 0))?;
    /// server.settimeout(5.0)?;
    /// let client = create_connection(("127.0.0.1", server.getsockname()?.port()))?;
    /// let (conn, address) = server.accept()?;
    /// assert_eq!(address, client.getsockname()?);
    /// assert_eq!(conn.gettimeout(), None);
    ///
    /// server.setblocking(false)?;
    /// assert_eq!(server.accept().unwrap_err().errno(), Some(11)); // EAGAIN
    /// # Ok::<(), onepoll::socket::SocketError>(())
    /// ```
    pub fn accept(&self) -> Result<(Self, Address), SocketError> {
        let (fd, any) = self.core.call(Want::Read, self.core.timeout(), |fd| {
            net::acceptfrom_with(fd, SocketFlags::CLOEXEC)
        })?;
        let conn = Self::born(fd, self.family, self.kind, self.proto)?;
        // Python insists, for systems on which the new socket is born like its listener.
        if default_timeout() == Timeout::Blocking && self.core.timeout().duration().is_some() {
            conn.setblocking(true)?;
        }
        let address = match any {
            Some(any) => Address::from_any(any)?,
            None => Address::unnamed(self.family),
        };
        Ok((conn, address))
    }

    /// `s.connect(address)`. Blocking: waits as long as the kernel does. With a timeout: begins, then waits
    /// in `poll`, then asks `SO_ERROR`. Non-blocking: `BlockingIOError` with `EINPROGRESS`, and the
    /// connection is under way.
    ///
    /// ```
    /// use onepoll::socket::{AF_INET, Exception, SOCK_STREAM, Socket, create_server};
    ///
    /// let server = create_server(("127.0.0.1", 0))?;
    /// let s = Socket::new(AF_INET, SOCK_STREAM)?;
    /// s.connect(("127.0.0.1", server.getsockname()?.port()))?;
    ///
    /// let s = Socket::new(AF_INET, SOCK_STREAM)?;
    /// s.setblocking(false)?;
    /// let raised = s.connect(server.getsockname()?).unwrap_err();
    /// assert_eq!((raised.exception(), raised.errno()), (Exception::BlockingIOError, Some(115)));
    /// # Ok::<(), onepoll::socket::SocketError>(())
    /// ```
    pub fn connect(&self, address: impl IntoAddress) -> Result<(), SocketError> {
        let address = address.into_address(self.family)?;
        Ok(self.dial(&address)??)
    }

    /// `code = s.connect_ex(address)`: the errno instead of an exception, 0 for success. A connection that
    /// timed out is `EAGAIN` (11). Not every error is a code: a name without address still raises.
    ///
    /// ```
    /// use onepoll::socket::{AF_INET, SOCK_STREAM, Socket, create_server};
    ///
    /// let server = create_server(("127.0.0.1", 0))?;
    /// let there = server.getsockname()?;
    /// let s = Socket::new(AF_INET, SOCK_STREAM)?;
    /// s.setblocking(false)?;
    /// assert_eq!(s.connect_ex(&there)?, 115); // EINPROGRESS
    /// let (_conn, _) = server.accept()?;
    /// assert_eq!(s.connect_ex(&there)?, 0); // done: Linux says so once
    /// assert_eq!(s.connect_ex(&there)?, 106); // EISCONN
    ///
    /// server.close();
    /// let s = Socket::new(AF_INET, SOCK_STREAM)?;
    /// assert_eq!(s.connect_ex(&there)?, 111); // ECONNREFUSED
    /// # Ok::<(), onepoll::socket::SocketError>(())
    /// ```
    pub fn connect_ex(&self, address: impl IntoAddress) -> Result<i32, SocketError> {
        let address = address.into_address(self.family)?;
        Ok(match self.dial(&address)? {
            Ok(()) => 0,
            Err(Stop::TimedOut) => Errno::AGAIN.raw_os_error(),
            Err(Stop::Errno(errno)) => errno.raw_os_error(),
        })
    }

    /// CPython's `internal_connect`.
    fn dial(&self, address: &Address) -> Result<Result<(), Stop>, SocketError> {
        let any = address.to_any()?;
        let timeout = self.core.timeout();
        let begun = self
            .core
            .fd()
            .and_then(|fd| net::connect(&*fd, &any))
            .map_err(Stop::Errno);
        let waits = match begun {
            // Interrupted, the connection goes on by itself: it must not be asked for again (PEP 475).
            Err(Stop::Errno(Errno::INTR)) => timeout != Timeout::NonBlocking,
            Err(Stop::Errno(Errno::INPROGRESS)) => timeout.duration().is_some(),
            _ => false,
        };
        if !waits {
            return Ok(begun);
        }
        Ok(self.core.call(Want::Connect, timeout, |fd| {
            match sockopt::socket_error(fd)? {
                Ok(()) | Err(Errno::ISCONN) => Ok(()),
                Err(errno) => Err(errno),
            }
        }))
    }
}

/// Speaking.
impl Socket {
    /// `n = s.send(data)`: how many bytes the kernel took, which may be fewer.
    ///
    /// ```
    /// use onepoll::socket::{Exception, socketpair};
    ///
    /// let (a, b) = socketpair()?;
    /// a.setblocking(false)?;
    /// let big = vec![b'x'; 10_000_000];
    /// let n = a.send(&big)?;
    /// assert!(n < big.len()); // the rest is the caller's to send again
    ///
    /// b.close();
    /// let raised = a.send(b"anyone?").unwrap_err();
    /// assert_eq!(raised.exception(), Exception::BrokenPipeError);
    /// # Ok::<(), onepoll::socket::SocketError>(())
    /// ```
    pub fn send(&self, data: &[u8]) -> Result<usize, SocketError> {
        self.send_with(data, 0)
    }

    /// `n = s.send(data, flags)`.
    pub fn send_with(&self, data: &[u8], flags: u32) -> Result<usize, SocketError> {
        let timeout = self.core.timeout();
        Ok(self.core.send(data, send_flags(flags), timeout)?)
    }

    /// `s.sendall(data)`: all of it, or an error. A timeout is for all of it, not for each call.
    ///
    /// ```
    /// use onepoll::socket::{Exception, socketpair};
    ///
    /// let (a, b) = socketpair()?;
    /// a.sendall(b"hello")?;
    /// assert_eq!(b.recv(100)?, b"hello");
    ///
    /// // The peer does not read: after 20 ms some of it has gone, and Python does not say how much. We do.
    /// a.settimeout(0.02)?;
    /// let raised = a.sendall(&vec![0; 10_000_000]).unwrap_err();
    /// assert_eq!(raised.exception(), Exception::TimeoutError);
    /// assert!(raised.sent() > 0);
    /// # Ok::<(), onepoll::socket::SocketError>(())
    /// ```
    pub fn sendall(&self, data: &[u8]) -> Result<(), SocketError> {
        self.sendall_with(data, 0)
    }

    /// `s.sendall(data, flags)`.
    pub fn sendall_with(&self, data: &[u8], flags: u32) -> Result<(), SocketError> {
        let mut timeout = self.core.timeout();
        let deadline = timeout.duration().and_then(CallDeadline::after);
        let mut sent = 0;
        // Once at least: an empty datagram is a datagram.
        loop {
            let step = self.core.send(&data[sent..], send_flags(flags), timeout);
            sent += step.map_err(|stop| SocketError::from(stop).after_sending(sent))?;
            if sent >= data.len() {
                return Ok(());
            }
            if let Some(deadline) = deadline {
                match deadline.left().filter(|left| !left.is_zero()) {
                    Some(left) => timeout = Timeout::After(left),
                    None => return Err(SocketError::timed_out().after_sending(sent)),
                }
            }
        }
    }

    /// `n = s.sendto(data, address)`: names the receiver, on a datagram socket that is not connected.
    ///
    /// ```
    /// use onepoll::socket::{AF_INET, Exception, SOCK_DGRAM, Socket};
    ///
    /// let server = Socket::new(AF_INET, SOCK_DGRAM)?;
    /// server.bind(("127.0.0.1", 0))?;
    /// let client = Socket::new(AF_INET, SOCK_DGRAM)?;
    /// client.sendto(b"", server.getsockname()?)?; // an empty datagram is a datagram
    /// client.sendto(b"hello", server.getsockname()?)?;
    /// assert_eq!(server.recvfrom(100)?.0, b"");
    /// let (data, from) = server.recvfrom(100)?;
    /// assert_eq!(data, b"hello");
    /// server.sendto(b"to you too", from.unwrap())?;
    ///
    /// let too_long = vec![0; 65_508];
    /// let raised = client.sendto(&too_long, server.getsockname()?).unwrap_err();
    /// assert_eq!(raised.errno(), Some(90)); // EMSGSIZE
    /// # Ok::<(), onepoll::socket::SocketError>(())
    /// ```
    pub fn sendto(&self, data: &[u8], address: impl IntoAddress) -> Result<usize, SocketError> {
        self.sendto_with(data, 0, address)
    }

    /// `n = s.sendto(data, flags, address)`.
    pub fn sendto_with(
        &self,
        data: &[u8],
        flags: u32,
        address: impl IntoAddress,
    ) -> Result<usize, SocketError> {
        let any = address.into_address(self.family)?.to_any()?;
        let flags = send_flags(flags);
        let sent = self.core.call(Want::Write, self.core.timeout(), |fd| {
            net::sendto(fd, data, flags, &any)
        })?;
        Ok(sent)
    }

    /// `s.shutdown(how)`: [`SHUT_WR`] says that nothing more will be sent, and the peer reads `b''` after the
    /// last byte.
    ///
    /// ```
    /// use onepoll::socket::{SHUT_WR, socketpair};
    ///
    /// let (a, b) = socketpair()?;
    /// a.send(b"question")?;
    /// a.shutdown(SHUT_WR)?;
    /// assert_eq!(b.recv(100)?, b"question");
    /// assert_eq!(b.recv(100)?, b""); // the end of input, and nothing else:
    /// b.send(b"answer")?;
    /// assert_eq!(a.recv(100)?, b"answer");
    /// # Ok::<(), onepoll::socket::SocketError>(())
    /// ```
    pub fn shutdown(&self, how: i32) -> Result<(), SocketError> {
        let fd = self.core.fd()?;
        let how = match how {
            SHUT_RD => Shutdown::Read,
            SHUT_WR => Shutdown::Write,
            SHUT_RDWR => Shutdown::Both,
            _ => return Err(Errno::INVAL.into()),
        };
        Ok(net::shutdown(&*fd, how)?)
    }
}

/// Listening.
impl Socket {
    /// `data = s.recv(bufsize)`: what has come, at most `bufsize` bytes; `b''` at the end of a stream.
    ///
    /// A large `bufsize` costs nothing by itself: memory is taken for what came. So of a stream, beyond
    /// 64 KiB, the rest that is there is asked for in a second call (`FIONREAD`, then `recvfrom`).
    ///
    /// ```
    /// use onepoll::socket::socketpair;
    ///
    /// let (a, b) = socketpair()?;
    /// a.send(b"hello ")?;
    /// a.send(b"egg")?;
    /// assert_eq!(b.recv(2)?, b"he");
    /// assert_eq!(b.recv(10)?, b"llo egg"); // a stream has no messages: two sends, one recv
    /// a.close();
    /// assert_eq!(b.recv(10)?, b"");
    /// # Ok::<(), onepoll::socket::SocketError>(())
    /// ```
    pub fn recv(&self, bufsize: usize) -> Result<Vec<u8>, SocketError> {
        self.recv_with(bufsize, 0)
    }

    /// `data = s.recv(bufsize, flags)`.
    ///
    /// ```
    /// use onepoll::socket::{MSG_DONTWAIT, MSG_PEEK, socketpair};
    ///
    /// let (a, b) = socketpair()?;
    /// a.send(b"hello")?;
    /// assert_eq!(b.recv_with(100, MSG_PEEK)?, b"hello"); // looked at, not taken
    /// assert_eq!(b.recv(100)?, b"hello");
    /// assert_eq!(b.recv_with(100, MSG_DONTWAIT).unwrap_err().errno(), Some(11));
    /// # Ok::<(), onepoll::socket::SocketError>(())
    /// ```
    pub fn recv_with(&self, bufsize: usize, flags: u32) -> Result<Vec<u8>, SocketError> {
        if bufsize == 0 {
            // Python asks nobody for no bytes, not even a closed socket.
            return Ok(Vec::new());
        }
        Ok(self.receive(bufsize, flags)?.0)
    }

    /// `n = s.recv_into(buffer)`. To ask for fewer bytes, lend a shorter slice.
    ///
    /// ```
    /// use onepoll::socket::socketpair;
    ///
    /// let (a, b) = socketpair()?;
    /// a.send(b"hello")?;
    /// let mut buffer = [0; 4];
    /// assert_eq!(b.recv_into(&mut buffer)?, 4);
    /// assert_eq!(&buffer, b"hell");
    /// # Ok::<(), onepoll::socket::SocketError>(())
    /// ```
    pub fn recv_into(&self, buffer: &mut [u8]) -> Result<usize, SocketError> {
        self.recv_into_with(buffer, 0)
    }

    /// `n = s.recv_into(buffer, 0, flags)`.
    pub fn recv_into_with(&self, buffer: &mut [u8], flags: u32) -> Result<usize, SocketError> {
        let flags = RecvFlags::from_bits_retain(flags);
        Ok(self.core.recv_into(buffer, flags)?)
    }

    /// `data, address = s.recvfrom(bufsize)`. One datagram: what does not fit into `bufsize` is lost. The
    /// address is absent for a stream, whose peer is known.
    ///
    /// ```
    /// use onepoll::socket::{AF_INET, SOCK_DGRAM, Socket, socketpair};
    ///
    /// let (a, b) = socketpair()?;
    /// a.send(b"x")?;
    /// assert_eq!(b.recvfrom(1)?, (b"x".to_vec(), None));
    ///
    /// let s = Socket::new(AF_INET, SOCK_DGRAM)?;
    /// s.bind(("127.0.0.1", 0))?;
    /// s.sendto(b"to myself", s.getsockname()?)?;
    /// assert_eq!(s.recvfrom(2)?, (b"to".to_vec(), Some(s.getsockname()?)));
    /// s.setblocking(false)?;
    /// assert_eq!(s.recvfrom(2).unwrap_err().errno(), Some(11)); // the rest is nowhere
    /// # Ok::<(), onepoll::socket::SocketError>(())
    /// ```
    pub fn recvfrom(&self, bufsize: usize) -> Result<(Vec<u8>, Option<Address>), SocketError> {
        self.recvfrom_with(bufsize, 0)
    }

    /// `data, address = s.recvfrom(bufsize, flags)`.
    pub fn recvfrom_with(
        &self,
        bufsize: usize,
        flags: u32,
    ) -> Result<(Vec<u8>, Option<Address>), SocketError> {
        let (data, from) = self.receive(bufsize, flags)?;
        Ok((data, from.map(Address::from_any).transpose()?))
    }

    /// `n, address = s.recvfrom_into(buffer)`.
    ///
    /// ```
    /// use onepoll::socket::{AF_INET, SOCK_DGRAM, Socket};
    ///
    /// let s = Socket::new(AF_INET, SOCK_DGRAM)?;
    /// s.bind(("127.0.0.1", 0))?;
    /// s.sendto(b"hello", s.getsockname()?)?;
    /// let mut buffer = [0; 100];
    /// let (n, from) = s.recvfrom_into(&mut buffer)?;
    /// assert_eq!((&buffer[..n], from), (&b"hello"[..], Some(s.getsockname()?)));
    /// # Ok::<(), onepoll::socket::SocketError>(())
    /// ```
    pub fn recvfrom_into(
        &self,
        buffer: &mut [u8],
    ) -> Result<(usize, Option<Address>), SocketError> {
        self.recvfrom_into_with(buffer, 0)
    }

    /// `n, address = s.recvfrom_into(buffer, 0, flags)`.
    pub fn recvfrom_into_with(
        &self,
        buffer: &mut [u8],
        flags: u32,
    ) -> Result<(usize, Option<Address>), SocketError> {
        let flags = RecvFlags::from_bits_retain(flags);
        let (n, _, from) = self.core.call(Want::Read, self.core.timeout(), |fd| {
            net::recvfrom(fd, &mut *buffer, flags)
        })?;
        Ok((n, from.map(Address::from_any).transpose()?))
    }

    /// What has come, at most `bufsize` bytes, at the cost of what has come.
    fn receive(
        &self,
        bufsize: usize,
        flags: u32,
    ) -> Result<(Vec<u8>, Option<SocketAddrAny>), SocketError> {
        let flags = RecvFlags::from_bits_retain(flags);
        let waits_for_all = flags.contains(RecvFlags::WAITALL)
            && self.core.timeout() == Timeout::Blocking
            && !flags.contains(RecvFlags::DONTWAIT);
        let is_stream = self.kind == SOCK_STREAM;
        let first = match (is_stream, self.family) {
            // All of it is there at once, or it is not looked at.
            (true, _) if waits_for_all && flags.contains(RecvFlags::PEEK) => bufsize,
            // A datagram cannot be taken in pieces, and only those of this family may be larger.
            (false, Family::Unix) => bufsize,
            _ => bufsize.min(PIECE_BYTES),
        };
        let (mut data, from) = self.core.receive(first, flags)?;
        // A full piece of a stream may not be all: what there is besides is asked for until a piece is
        // not full. An error then is the next call's to tell, as after a call that took a part.
        while is_stream && data.len() >= first && data.len() < bufsize {
            let wanted = bufsize - data.len();
            let more = if waits_for_all {
                let piece = data.len().min(wanted);
                self.core
                    .receive(piece, flags)
                    .map(|(more, _)| (more, piece))
            } else if flags.contains(RecvFlags::PEEK) {
                let all = self.core.unread().min(bufsize);
                let peeked = self.core.receive(all, flags | RecvFlags::DONTWAIT);
                return Ok(match peeked {
                    Ok((all, from)) if all.len() > data.len() => (all, from),
                    _ => (data, from),
                });
            } else {
                let piece = self.core.unread().min(wanted);
                if piece == 0 {
                    break;
                }
                let more = self.core.receive(piece, flags | RecvFlags::DONTWAIT);
                // Once: a sender faster than this reads must not keep it here.
                more.map(|(more, _)| (more, usize::MAX))
            };
            let Ok((more, piece)) = more else { break };
            data.extend_from_slice(&more);
            if more.len() < piece {
                break;
            }
        }
        Ok((data, from))
    }

    /// `f = s.makefile(mode)`: the socket as a file, in bytes; modes `r`, `w`, `rw`, with or without `b`.
    ///
    /// ```
    /// // f = s.makefile('rwb')
    /// use onepoll::socket::socketpair;
    ///
    /// let (a, b) = socketpair()?;
    /// let mut f = a.makefile("rwb")?;
    /// a.close(); // the file holds the connection open
    /// f.write(b"hello\nyou")?; // into a buffer: nothing has gone yet
    /// f.flush()?;
    /// assert_eq!(b.recv(100)?, b"hello\nyou");
    /// b.sendall(b"one\ntwo\nrest")?;
    /// b.close();
    /// assert_eq!(f.readline()?, b"one\n");
    /// assert_eq!(f.readline()?, b"two\n");
    /// assert_eq!(f.read(None)?.unwrap(), b"rest");
    /// # Ok::<(), onepoll::socket::SocketError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// `ValueError` for another mode.
    pub fn makefile(&self, mode: &str) -> Result<SocketFile, SocketError> {
        self.makefile_with(mode, super::file::BUFFER_BYTES)
    }

    /// `f = s.makefile(mode, buffering)`: with a buffer of this size; 0 for none.
    pub fn makefile_with(&self, mode: &str, buffering: usize) -> Result<SocketFile, SocketError> {
        SocketFile::new(&self.core, mode, buffering)
    }
}

/// Leaving.
impl Socket {
    /// `s.close()`. Once more does nothing; everything else on a closed socket is `EBADF`. Files made of the
    /// socket keep it open until they are closed.
    ///
    /// ```
    /// use onepoll::socket::socketpair;
    ///
    /// let (a, _b) = socketpair()?;
    /// a.close();
    /// a.close();
    /// assert_eq!(a.recv(1).unwrap_err().errno(), Some(9)); // EBADF
    /// # Ok::<(), onepoll::socket::SocketError>(())
    /// ```
    pub fn close(&self) {
        self.core.close();
    }

    /// `fd = s.detach()`: gives the descriptor away and is closed from now on. `None` where Python says -1:
    /// it was closed already.
    ///
    /// ```
    /// use onepoll::socket::socketpair;
    /// use std::io::Write;
    ///
    /// let (a, b) = socketpair()?;
    /// let fd = a.detach().expect("it is open");
    /// assert_eq!(a.fileno(), -1);
    /// std::os::unix::net::UnixStream::from(fd).write_all(b"x").unwrap();
    /// assert_eq!(b.recv(1)?, b"x");
    /// # Ok::<(), onepoll::socket::SocketError>(())
    /// ```
    pub fn detach(&self) -> Option<OwnedFd> {
        let fd = self.core.detach()?;
        // A call that another thread waits in keeps its own.
        Arc::try_unwrap(fd).or_else(|fd| fd.try_clone()).ok()
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.core.close();
    }
}

impl Read for &Socket {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        Ok(self.recv_into(buf)?)
    }
}

impl Write for &Socket {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        Ok(self.send(buf)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A closed peer is an error, never a signal: Python ignores SIGPIPE, and a library cannot know (fault B17).
fn send_flags(flags: u32) -> SendFlags {
    SendFlags::from_bits_retain(flags) | SendFlags::NOSIGNAL
}
