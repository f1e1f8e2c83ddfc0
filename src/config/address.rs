//! Where an endpoint listens, as it was written: nothing is opened or bound here.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::vec;

use super::text::{PercentEncoded, one_of, quoted};

/// How bytes reach an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// A TCP listener.
    Tcp,
    /// A UDP socket.
    Udp,
    /// A Unix stream listener.
    Unix,
    /// A socket that the process that started us opened already.
    Fd,
}

impl Transport {
    /// The name in `SERVICE+TRANSPORT`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Unix => "unix",
            Self::Fd => "fd",
        }
    }

    pub(crate) const ALL: [Self; 4] = [Self::Tcp, Self::Udp, Self::Unix, Self::Fd];
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Where an endpoint listens; the variant is its transport.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Address {
    /// A TCP listener here.
    Tcp(HostPort),
    /// A UDP socket here.
    Udp(HostPort),
    /// A Unix stream listener here.
    Unix(UnixAddress),
    /// An inherited descriptor.
    Fd(FdAddress),
}

impl Address {
    /// Reads the part between `://` and `?`, or a file's `address`; not percent-encoded.
    pub(crate) fn parse(transport: Transport, text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err(format!("the address is missing; {}", example(transport)));
        }
        Ok(match transport {
            Transport::Tcp => Self::Tcp(HostPort::parse(text)?),
            Transport::Udp => Self::Udp(HostPort::parse(text)?),
            Transport::Unix => Self::Unix(UnixAddress::parse(text)?),
            Transport::Fd => Self::Fd(FdAddress::parse(text)?),
        })
    }

    /// As a file has it, where nothing is percent-encoded. `None`: its path is not UTF-8.
    #[cfg(feature = "cli")]
    pub(crate) fn text(&self) -> Option<String> {
        Some(match self {
            Self::Tcp(at) | Self::Udp(at) => at.to_string(),
            Self::Unix(UnixAddress::Path(path)) => path.to_str()?.to_owned(),
            Self::Unix(at) => at.to_string(),
            Self::Fd(which) => which.to_string(),
        })
    }

    /// The transport that this address belongs to.
    pub fn transport(&self) -> Transport {
        match self {
            Self::Tcp(_) => Transport::Tcp,
            Self::Udp(_) => Transport::Udp,
            Self::Unix(_) => Transport::Unix,
            Self::Fd(_) => Transport::Fd,
        }
    }
}

/// As a URL has it, percent-encoded where needed.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(at) | Self::Udp(at) => write!(f, "{}", PercentEncoded(&at.to_string())),
            Self::Unix(at) => write!(f, "{}", PercentEncoded(&at.to_string())),
            Self::Fd(which) => write!(f, "{}", PercentEncoded(&which.to_string())),
        }
    }
}

/// What an address of this transport looks like.
fn example(transport: Transport) -> &'static str {
    match transport {
        Transport::Tcp | Transport::Udp => "write HOST:PORT such as 127.0.0.1:9000 or [::1]:9000",
        Transport::Unix => "write a path such as /run/user/1000/echo.sock, or @NAME",
        Transport::Fd => "write the number of an inherited descriptor such as 3, or its name",
    }
}

/// A host, not yet resolved, and a port; port 0 lets the system choose.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HostPort {
    /// The host.
    pub host: Host,
    /// The port.
    pub port: u16,
}

/// An address, or a name that still has to be resolved.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Host {
    /// An address; IPv6 stands in brackets where it is written.
    Ip(IpAddr),
    /// A name, or a link-local address with its zone (`fe80::1%eth0`): the resolver knows both.
    Name(String),
}

impl HostPort {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (inside, after) = rest
                    .split_once(']')
                    .ok_or_else(|| format!("{} has a `[` without its `]`", quoted(text)))?;
                let host = bracketed(inside)
                    .ok_or_else(|| format!("{} is not an IPv6 address", quoted(inside)))?;
                (host, after.strip_prefix(':'))
            }
            None => {
                let (host, port) = match text.rsplit_once(':') {
                    Some((host, port)) => (host, Some(port)),
                    None => (text, None),
                };
                if host.contains(':') {
                    return Err(format!(
                        "{} has more than one colon; an IPv6 address stands in brackets, [::1]:9000",
                        quoted(text)
                    ));
                }
                (plain_host(host, text)?, port)
            }
        };
        let port = port
            .filter(|port| !port.is_empty())
            .ok_or_else(|| format!("{} has no port; {}", quoted(text), example(Transport::Tcp)))?;
        let port = Some(port)
            .filter(|port| port.bytes().all(|b| b.is_ascii_digit()))
            .and_then(|port| port.parse().ok())
            .ok_or_else(|| format!("{} is not a port from 0 to 65535", quoted(port)))?;
        Ok(Self { host, port })
    }
}

/// What stands in brackets: an IPv6 address, with a zone (which only the system can read) or not.
fn bracketed(inside: &str) -> Option<Host> {
    match inside.split_once('%') {
        None => inside
            .parse::<Ipv6Addr>()
            .ok()
            .map(|ip| Host::Ip(ip.into())),
        Some((ip, zone)) => {
            let fits = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
            (ip.parse::<Ipv6Addr>().is_ok() && !zone.is_empty() && zone.chars().all(fits))
                .then(|| Host::Name(inside.into()))
        }
    }
}

fn plain_host(host: &str, whole: &str) -> Result<Host, String> {
    if host.is_empty() {
        return Err(format!(
            "{} has no host before its port; 127.0.0.1 serves this machine",
            quoted(whole)
        ));
    }
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(Host::Ip(ip));
    }
    let fits = |c: char| c.is_alphanumeric() || "._-".contains(c);
    // A last label of digits alone is a mistyped address, and resolvers read it in surprising ways.
    let last = host
        .trim_end_matches('.')
        .rsplit('.')
        .next()
        .unwrap_or_default();
    if !host.chars().all(fits) || last.bytes().all(|b| b.is_ascii_digit()) {
        return Err(format!(
            "{} is neither an address nor a host name",
            quoted(host)
        ));
    }
    Ok(Host::Name(host.into()))
}

/// All addresses of the host, in the resolver's order.
impl ToSocketAddrs for HostPort {
    type Iter = vec::IntoIter<SocketAddr>;

    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        match &self.host {
            Host::Ip(ip) => Ok(vec![SocketAddr::new(*ip, self.port)].into_iter()),
            Host::Name(name) => (name.as_str(), self.port).to_socket_addrs(),
        }
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Ip(IpAddr::V4(ip)) => write!(f, "{ip}:{}", self.port),
            Host::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]:{}", self.port),
            Host::Name(name) if name.contains(':') => write!(f, "[{name}]:{}", self.port),
            Host::Name(name) => write!(f, "{name}:{}", self.port),
        }
    }
}

/// Where a Unix socket lives.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum UnixAddress {
    /// In the file system.
    Path(PathBuf),
    /// In Linux' abstract namespace: `@name`, without a file and its mode.
    Abstract(String),
}

/// The longest path `sockaddr_un` holds, less the byte that ends it (or begins an abstract name).
pub const UNIX_PATH_BYTES_MAX: usize = 107;

impl UnixAddress {
    fn parse(text: &str) -> Result<Self, String> {
        if text.contains('\0') {
            return Err("a Unix socket's path has no NUL byte".into());
        }
        let (address, bytes) = match text.strip_prefix('@') {
            Some("") => return Err("`@` lacks the name of an abstract socket".into()),
            Some(name) => (Self::Abstract(name.into()), name.len()),
            None => (Self::Path(text.into()), text.len()),
        };
        if bytes > UNIX_PATH_BYTES_MAX {
            return Err(format!(
                "the path of {bytes} bytes is longer than the {UNIX_PATH_BYTES_MAX} that a Unix socket's address holds"
            ));
        }
        let begins = ["/", "./", "../", "@"];
        if !begins.iter().any(|begin| text.starts_with(begin)) {
            return Err(format!(
                "{} does not begin with {} (after `://`, an absolute path makes three slashes: `echo+unix:///run/echo.sock`)",
                quoted(text),
                one_of(&begins)
            ));
        }
        if text.ends_with('/') || text.ends_with("/.") || text.ends_with("/..") {
            return Err(format!(
                "{} names a directory, and a socket is a file",
                quoted(text)
            ));
        }
        Ok(address)
    }
}

impl fmt::Display for UnixAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => write!(f, "{}", path.display()),
            Self::Abstract(name) => write!(f, "@{name}"),
        }
    }
}

/// Which inherited descriptor.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum FdAddress {
    /// 0, or 3 and above.
    Number(i32),
    /// Those that have this name in `LISTEN_FDNAMES` (sd_listen_fds(3)).
    Name(String),
}

/// The longest name of a descriptor, systemd.socket(5).
const FD_NAME_BYTES_MAX: usize = 255;

impl FdAddress {
    fn parse(text: &str) -> Result<Self, String> {
        let fits = |b: u8| b.is_ascii_graphic() && b != b':';
        let number = Some(text).filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
        match number.map(str::parse) {
            Some(Ok(number @ (1 | 2))) => Err(format!(
                "descriptor {number} is where results or messages are printed; pass the socket as 0, or as 3 and above"
            )),
            Some(Ok(number)) => Ok(Self::Number(number)),
            None if text.len() <= FD_NAME_BYTES_MAX
                && text.bytes().all(fits)
                && !text.starts_with(['-', '+']) =>
            {
                Ok(Self::Name(text.into()))
            }
            _ => Err(format!(
                "{} is neither the number of a descriptor nor a name of one (`FileDescriptorName=`)",
                quoted(text)
            )),
        }
    }
}

impl fmt::Display for FdAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}
