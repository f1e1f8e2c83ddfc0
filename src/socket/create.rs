//! Functions that make sockets ready for use: `socketpair`, `create_connection`, `create_server`.

use std::net::ToSocketAddrs;
use std::num::NonZeroU32;

use rustix::net::{self, SocketFlags, SocketType};

use super::address::{Address, IntoAddress};
use super::constants::{
    AF_INET, AF_INET6, AF_UNIX, Family, IPPROTO_IPV6, IPV6_V6ONLY, Kind, SO_REUSEADDR,
    SO_REUSEPORT, SOCK_STREAM, SOL_SOCKET,
};
use super::error::{Exception, SocketError};
use super::socket::{BACKLOG, Socket};
use super::timeout::{IntoTimeout, Timeout, default_timeout};

/// `a, b = socket.socketpair()`: two Unix stream sockets, connected to each other.
///
/// ```
/// // a, b = socket.socketpair()
/// let (a, b) = onepoll::socket::socketpair()?;
/// a.send(b"x")?;
/// assert_eq!(b.recv(1)?, b"x");
/// # Ok::<(), onepoll::socket::SocketError>(())
/// ```
pub fn socketpair() -> Result<(Socket, Socket), SocketError> {
    socketpair_with(AF_UNIX, SOCK_STREAM, 0)
}

/// `a, b = socket.socketpair(family, type, proto)`.
///
/// ```
/// // a, b = socket.socketpair(AF_UNIX, SOCK_DGRAM)
/// use onepoll::socket::{AF_UNIX, SOCK_DGRAM, socketpair_with};
///
/// let (a, b) = socketpair_with(AF_UNIX, SOCK_DGRAM, 0)?;
/// a.send(b"one")?;
/// a.send(b"two")?;
/// assert_eq!(b.recv(100)?, b"one"); // datagrams do not stick together
/// # Ok::<(), onepoll::socket::SocketError>(())
/// ```
pub fn socketpair_with(
    family: Family,
    kind: Kind,
    proto: i32,
) -> Result<(Socket, Socket), SocketError> {
    let mut flags = SocketFlags::CLOEXEC;
    if kind.is_non_blocking() {
        flags |= SocketFlags::NONBLOCK;
    }
    let protocol = u32::try_from(proto).map_err(|_| rustix::io::Errno::PROTONOSUPPORT)?;
    let protocol = NonZeroU32::new(protocol).map(net::Protocol::from_raw);
    let base = SocketType::from_raw(kind.base().number());
    let (a, b) = net::socketpair(family.raw(), base, flags, protocol)?;
    Ok((
        Socket::born(a, family, kind, proto)?,
        Socket::born(b, family, kind, proto)?,
    ))
}

/// `s = socket.create_connection((host, port))`: tries each address of a name, in the default mode.
///
/// ```
/// // s = socket.create_connection(('localhost', port))
/// use onepoll::socket::{create_connection, create_server};
///
/// let server = create_server(("127.0.0.1", 0))?;
/// let s = create_connection(("localhost", server.getsockname()?.port()))?;
/// assert_eq!(s.getpeername()?, server.getsockname()?);
/// # Ok::<(), onepoll::socket::SocketError>(())
/// ```
///
/// # Errors
///
/// `gaierror` when the name has no address, else what the last address answered.
pub fn create_connection(address: impl ToSocketAddrs) -> Result<Socket, SocketError> {
    create_connection_with(address, default_timeout(), None)
}

/// `s = socket.create_connection(address, timeout, source_address)`. The socket stays in that mode. The
/// timeout is for each address, not for all of them: Python's rule.
///
/// ```
/// // s = socket.create_connection(address, timeout=5.0)
/// use onepoll::socket::{create_connection_with, create_server};
///
/// let server = create_server(("127.0.0.1", 0))?;
/// let there = server.getsockname()?.to_socket_addr().expect("an IP address");
/// let s = create_connection_with(there, 5.0, Some(("127.0.0.2", 0)))?;
/// assert_eq!(s.gettimeout(), Some(5.0));
/// assert!(s.getsockname()?.to_string().starts_with("('127.0.0.2', "));
/// # Ok::<(), onepoll::socket::SocketError>(())
/// ```
///
/// # Errors
///
/// As [`create_connection`].
pub fn create_connection_with(
    address: impl ToSocketAddrs,
    timeout: impl IntoTimeout,
    source_address: Option<(&str, u16)>,
) -> Result<Socket, SocketError> {
    let timeout = timeout.into_timeout()?;
    let found = address
        .to_socket_addrs()
        .map_err(|error| SocketError::from_resolver(&error))?;
    let mut last = None;
    for peer in found {
        match connect_one(peer.into(), timeout, source_address) {
            Ok(socket) => return Ok(socket),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| {
        SocketError::raised(Exception::OSError, "getaddrinfo returns an empty list")
    }))
}

fn connect_one(
    peer: Address,
    timeout: Timeout,
    source: Option<(&str, u16)>,
) -> Result<Socket, SocketError> {
    // The protocol is named, as `getaddrinfo` names it to Python.
    let tcp = super::constants::IPPROTO_TCP;
    let socket = Socket::with_protocol(peer.family(), SOCK_STREAM, tcp)?;
    if timeout != default_timeout() {
        socket.settimeout(timeout)?;
    }
    if let Some(source) = source {
        socket.bind(source)?;
    }
    socket.connect(peer)?;
    Ok(socket)
}

/// What [`create_server_with`] may be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerOptions {
    /// `family`.
    pub family: Family,
    /// `backlog`; [`BACKLOG`] when it is not told.
    pub backlog: Option<i32>,
    /// `reuse_port`: several sockets may listen at one address.
    pub reuse_port: bool,
    /// `dualstack_ipv6`: an `AF_INET6` socket takes IPv4 connections too.
    pub dualstack_ipv6: bool,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            family: AF_INET,
            backlog: None,
            reuse_port: false,
            dualstack_ipv6: false,
        }
    }
}

/// `s = socket.create_server(address)`: bound, with `SO_REUSEADDR`, and listening.
///
/// ```
/// // s = socket.create_server(('127.0.0.1', 0))
/// use onepoll::socket::{SO_REUSEADDR, SOL_SOCKET, create_server};
///
/// let s = create_server(("127.0.0.1", 0))?;
/// assert_eq!(s.getsockopt(SOL_SOCKET, SO_REUSEADDR)?, 1);
///
/// let raised = create_server(s.getsockname()?).unwrap_err();
/// assert!(raised.strerror().starts_with("Address already in use (while attempting to bind on address"));
/// # Ok::<(), onepoll::socket::SocketError>(())
/// ```
pub fn create_server(address: impl IntoAddress) -> Result<Socket, SocketError> {
    create_server_with(address, ServerOptions::default())
}

/// `s = socket.create_server(address, family=…, backlog=…, reuse_port=…, dualstack_ipv6=…)`.
///
/// ```
/// // s = socket.create_server(('', 0), family=AF_INET6, dualstack_ipv6=True)
/// use onepoll::socket::{AF_INET6, ServerOptions, create_connection, create_server_with};
/// # if !onepoll::socket::has_dualstack_ipv6() { return Ok(()); }
///
/// let both = ServerOptions { family: AF_INET6, dualstack_ipv6: true, ..Default::default() };
/// let server = create_server_with(("", 0), both)?;
/// let _client = create_connection(("127.0.0.1", server.getsockname()?.port()))?;
/// let (_conn, from) = server.accept()?;
/// assert!(from.to_string().starts_with("('::ffff:127.0.0.1', "));
/// # Ok::<(), onepoll::socket::SocketError>(())
/// ```
///
/// # Errors
///
/// `ValueError` when `dualstack_ipv6` is asked of another family or system; else what the system says.
pub fn create_server_with(
    address: impl IntoAddress,
    options: ServerOptions,
) -> Result<Socket, SocketError> {
    let refuse = |text| Err(SocketError::raised(Exception::ValueError, text));
    if options.dualstack_ipv6 {
        if !has_dualstack_ipv6() {
            return refuse("dualstack_ipv6 not supported on this platform");
        }
        if options.family != AF_INET6 {
            return refuse("dualstack_ipv6 requires AF_INET6 family");
        }
    }
    let socket = Socket::new(options.family, SOCK_STREAM)?;
    _ = socket.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1);
    if options.reuse_port {
        socket.setsockopt(SOL_SOCKET, SO_REUSEPORT, 1)?;
    }
    if options.family == AF_INET6 {
        socket.setsockopt(IPPROTO_IPV6, IPV6_V6ONLY, !options.dualstack_ipv6)?;
    }
    let address = address.into_address(options.family)?;
    socket.bind(&address).map_err(|error| {
        let text = format!(
            "{} (while attempting to bind on address {address})",
            error.strerror()
        );
        error.with_text(text)
    })?;
    socket.listen(options.backlog.unwrap_or(BACKLOG))?;
    Ok(socket)
}

/// `socket.has_dualstack_ipv6()`: whether one `AF_INET6` socket can take IPv4 connections too.
///
/// ```
/// // socket.has_dualstack_ipv6()
/// println!("{}", onepoll::socket::has_dualstack_ipv6());
/// ```
pub fn has_dualstack_ipv6() -> bool {
    Socket::new(AF_INET6, SOCK_STREAM)
        .and_then(|socket| socket.setsockopt(IPPROTO_IPV6, IPV6_V6ONLY, 0))
        .is_ok()
}
