//! Addresses as Python writes them.

use std::borrow::Cow;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, ToSocketAddrs};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::net::{SocketAddrAny, SocketAddrUnix};

use super::constants::Family;
use super::error::{Exception, SocketError};

/// `sizeof(sun_path)`; a path needs one for the zero at its end.
const PATH_BYTES: usize = 108;

/// Where a socket is, or its peer: looked up, as the kernel has it. Prints as Python does.
///
/// ```
/// use onepoll::socket::Address;
///
/// let host: Address = Address::Inet("127.0.0.1:5000".parse()?);
/// assert_eq!(host.to_string(), "('127.0.0.1', 5000)");
/// assert_eq!(host.port(), 5000);
/// assert_eq!(Address::Unix(b"/run/x".to_vec()).to_string(), "'/run/x'");
/// assert_eq!(Address::Unix(b"\0x".to_vec()).to_string(), r"b'\x00x'"); // abstract
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Address {
    /// `(host, port)`.
    Inet(SocketAddrV4),
    /// `(host, port, flowinfo, scope_id)`.
    Inet6(SocketAddrV6),
    /// A path; an abstract name, if the first byte is zero; unnamed, if empty.
    Unix(Vec<u8>),
}

impl Address {
    /// Its family.
    pub fn family(&self) -> Family {
        match self {
            Self::Inet(_) => Family::Inet,
            Self::Inet6(_) => Family::Inet6,
            Self::Unix(_) => Family::Unix,
        }
    }

    /// `address[1]`; 0 for a Unix address, which has none.
    pub fn port(&self) -> u16 {
        match self {
            Self::Inet(v4) => v4.port(),
            Self::Inet6(v6) => v6.port(),
            Self::Unix(_) => 0,
        }
    }

    /// The same as a [`SocketAddr`], if it is an IP address.
    pub fn to_socket_addr(&self) -> Option<SocketAddr> {
        match self {
            Self::Inet(v4) => Some((*v4).into()),
            Self::Inet6(v6) => Some((*v6).into()),
            Self::Unix(_) => None,
        }
    }

    /// For a system call.
    pub(super) fn to_any(&self) -> Result<SocketAddrAny, SocketError> {
        Ok(match self {
            Self::Inet(v4) => SocketAddrAny::from(*v4),
            Self::Inet6(v6) => SocketAddrAny::from(*v6),
            Self::Unix(name) => {
                let too_long = |_| SocketError::raised(Exception::OSError, "AF_UNIX path too long");
                let unix = match name.split_first() {
                    // An empty name asks the kernel for an abstract one.
                    None => SocketAddrUnix::new_unnamed(),
                    Some((0, rest)) => SocketAddrUnix::new_abstract_name(rest).map_err(too_long)?,
                    Some(_) if name.len() >= PATH_BYTES => {
                        return Err(too_long(Errno::NAMETOOLONG));
                    }
                    // With a zero inside. The kernel would cut it there, without a word.
                    Some(_) => SocketAddrUnix::new(name.as_slice()).map_err(|_| {
                        SocketError::raised(Exception::ValueError, "embedded null byte")
                    })?,
                };
                SocketAddrAny::from(unix)
            }
        })
    }

    /// From a system call.
    pub(super) fn from_any(any: SocketAddrAny) -> Result<Self, SocketError> {
        /// The family, which is all that the address of a socket without a name has.
        const FAMILY_BYTES: u32 = 2;
        let len = any.addr_len();
        if let Ok(v4) = SocketAddrV4::try_from(any.clone()) {
            return Ok(Self::Inet(v4));
        }
        if let Ok(v6) = SocketAddrV6::try_from(any.clone()) {
            return Ok(Self::Inet6(v6));
        }
        if len == FAMILY_BYTES {
            return Ok(Self::Unix(Vec::new()));
        }
        // The kernel says one more when a path fills it without a zero at its end, as we never do.
        if usize::try_from(len - FAMILY_BYTES).is_ok_and(|len| len > PATH_BYTES) {
            return Err(Errno::NAMETOOLONG.into());
        }
        let unix = SocketAddrUnix::try_from(any)?;
        Ok(Self::Unix(match unix.abstract_name() {
            Some(name) => [b"\0", name].concat(),
            None => unix.path_bytes().map_or_else(Vec::new, without_nul),
        }))
    }

    /// What `getsockname` and `accept` say when the kernel says nothing: a socket without a name.
    pub(super) fn unnamed(family: Family) -> Self {
        match family {
            Family::Inet => Self::Inet(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0)),
            Family::Inet6 => Self::Inet6(SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, 0, 0, 0)),
            Family::Unix => Self::Unix(Vec::new()),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inet(v4) => write!(f, "('{}', {})", v4.ip(), v4.port()),
            Self::Inet6(v6) => write!(
                f,
                "('{}', {}, {}, {})",
                v6.ip(),
                v6.port(),
                v6.flowinfo(),
                v6.scope_id()
            ),
            Self::Unix(name) => match (name.first(), String::from_utf8_lossy(name)) {
                (Some(0), _) | (_, Cow::Owned(_)) => write!(f, "b'{}'", name.escape_ascii()),
                (_, Cow::Borrowed(path)) => write!(f, "'{path}'"),
            },
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        match address {
            SocketAddr::V4(v4) => Self::Inet(v4),
            SocketAddr::V6(v6) => Self::Inet6(v6),
        }
    }
}

/// What `bind`, `connect` and `sendto` take: `(host, port)`, a [`SocketAddr`], the path or abstract name
/// of a Unix socket, or the [`Address`] that another call returned.
pub trait IntoAddress {
    /// Looked up, for a socket of this family.
    ///
    /// # Errors
    ///
    /// `gaierror` when a name has no address, `TypeError` for an address of another family.
    fn into_address(self, family: Family) -> Result<Address, SocketError>;
}

impl IntoAddress for Address {
    fn into_address(self, family: Family) -> Result<Address, SocketError> {
        if self.family() == family {
            return Ok(self);
        }
        match (&self, family) {
            (Self::Inet6(_), Family::Inet) => Err(SocketError::raised(
                Exception::TypeError,
                "AF_INET address must be a pair (host, port)",
            )),
            // Python looks up what it is given: to IPv6, the numbers of IPv4 are a name without address.
            (Self::Inet(_), Family::Inet6) => Err(other_family()),
            (_, Family::Unix) => Err(SocketError::raised(
                Exception::TypeError,
                "a bytes-like object is required, not 'tuple'",
            )),
            _ => Err(SocketError::raised(
                Exception::TypeError,
                format!("{family} address must be tuple, not str"),
            )),
        }
    }
}

impl IntoAddress for &Address {
    fn into_address(self, family: Family) -> Result<Address, SocketError> {
        self.clone().into_address(family)
    }
}

impl IntoAddress for SocketAddr {
    fn into_address(self, family: Family) -> Result<Address, SocketError> {
        Address::from(self).into_address(family)
    }
}

impl IntoAddress for (&str, u16) {
    fn into_address(self, family: Family) -> Result<Address, SocketError> {
        (self.0, self.1, 0, 0).into_address(family)
    }
}

/// With flow information and scope, for `AF_INET6`.
impl IntoAddress for (&str, u16, u32, u32) {
    fn into_address(self, family: Family) -> Result<Address, SocketError> {
        let (host, port, flow, scope) = self;
        match (host, family) {
            (_, Family::Unix) => Err(SocketError::raised(
                Exception::TypeError,
                "a bytes-like object is required, not 'tuple'",
            )),
            ("", Family::Inet) => Ok(Address::Inet(SocketAddrV4::new(
                Ipv4Addr::UNSPECIFIED,
                port,
            ))),
            ("", Family::Inet6) => Ok(Address::Inet6(SocketAddrV6::new(
                Ipv6Addr::UNSPECIFIED,
                port,
                flow,
                scope,
            ))),
            ("<broadcast>" | "255.255.255.255", Family::Inet) => {
                Ok(Address::Inet(SocketAddrV4::new(Ipv4Addr::BROADCAST, port)))
            }
            _ => look_up(host, port, flow, scope, family),
        }
    }
}

/// The path of a Unix socket; an abstract name, if its first byte is zero.
impl IntoAddress for &str {
    fn into_address(self, family: Family) -> Result<Address, SocketError> {
        self.as_bytes().into_address(family)
    }
}

/// The path of a Unix socket; an abstract name, if its first byte is zero.
impl IntoAddress for &[u8] {
    fn into_address(self, family: Family) -> Result<Address, SocketError> {
        Address::Unix(self.to_vec()).into_address(family)
    }
}

impl IntoAddress for &Path {
    fn into_address(self, family: Family) -> Result<Address, SocketError> {
        self.as_os_str().as_bytes().into_address(family)
    }
}

impl IntoAddress for &PathBuf {
    fn into_address(self, family: Family) -> Result<Address, SocketError> {
        self.as_path().into_address(family)
    }
}

/// The first address of a name in this family.
fn look_up(
    host: &str,
    port: u16,
    flow: u32,
    scope: u32,
    family: Family,
) -> Result<Address, SocketError> {
    let found = (host, port)
        .to_socket_addrs()
        .map_err(|error| SocketError::from_resolver(&error))?;
    let mut found = found.map(Address::from);
    match found.find(|address| address.family() == family) {
        Some(Address::Inet6(v6)) => {
            let scope = if scope == 0 { v6.scope_id() } else { scope };
            Ok(Address::Inet6(SocketAddrV6::new(
                *v6.ip(),
                v6.port(),
                flow,
                scope,
            )))
        }
        Some(address) => Ok(address),
        None => Err(other_family()),
    }
}

fn other_family() -> SocketError {
    SocketError::gaierror(-9, "Address family for hostname not supported")
}

/// A path may come with the zeros that follow it.
fn without_nul(path: &[u8]) -> Vec<u8> {
    path.split(|byte| *byte == 0)
        .next()
        .unwrap_or_default()
        .to_vec()
}
