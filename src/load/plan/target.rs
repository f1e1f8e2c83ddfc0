//! The server of a run, as it is typed and as the kernel addresses it.

use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs, UdpSocket};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use rustix::process::geteuid;

use super::error::{LoadError, PlanError};
use crate::config::{
    AddressError, HostPort, ServerAddress, ServerUrl, Transport, check_private_socket,
    command_sockets,
};

/// A server, as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// A host and a port over TCP.
    Tcp(HostPort),
    /// A Unix stream socket.
    Unix(PathBuf),
    /// A host and a port over UDP.
    Udp(HostPort),
}

/// What may stand before `://` besides a service: no other scheme is known here.
pub const SCHEMES: [&str; 4] = ["tcp", "udp", "unix", "http"];

impl Endpoint {
    /// The server at `url`, whose scheme means `usual` where it names no transport.
    pub fn at(url: &ServerUrl<'_>, usual: Transport) -> Result<Self, PlanError> {
        let transport = url.transport().unwrap_or(usual);
        let address = url.address().map_err(|wrong| match wrong {
            AddressError::Malformed(text) => PlanError::Endpoint(text),
            wrong => PlanError::Address(wrong),
        })?;
        Ok(match address {
            ServerAddress::Host(host) if transport == Transport::Udp => Self::Udp(host),
            ServerAddress::Host(host) => Self::Tcp(host),
            ServerAddress::Unix(path) => Self::Unix(path),
        })
    }

    /// Its address, without what is spoken there.
    #[cfg(feature = "tls")]
    pub(crate) fn server(&self) -> ServerAddress {
        match self {
            Self::Tcp(host) | Self::Udp(host) => ServerAddress::Host(host.clone()),
            Self::Unix(path) => ServerAddress::Unix(path.clone()),
        }
    }

    /// Where only a host and a port were given, or a service, datagrams are meant.
    #[must_use]
    pub fn over_udp(self) -> Self {
        match self {
            Self::Tcp(address) => Self::Udp(address),
            other => other,
        }
    }
}

/// Without any service: a transport and an address, or `http://`.
impl FromStr for Endpoint {
    type Err = PlanError;

    fn from_str(text: &str) -> Result<Self, PlanError> {
        let url = ServerUrl::of(text);
        match url.scheme {
            "" | "fd" => {}
            "https" => return Err(PlanError::Tls(text.to_owned())),
            scheme if SCHEMES.contains(&scheme) => {}
            scheme => return Err(PlanError::Scheme(scheme.to_owned())),
        }
        Self::at(&url, Transport::Tcp)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Tcp(address) => write!(f, "tcp://{address}"),
            Endpoint::Udp(address) => write!(f, "udp://{address}"),
            Endpoint::Unix(path) => write!(f, "unix://{}", path.display()),
        }
    }
}

/// A server, as the kernel addresses it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TargetAddress {
    /// An address over TCP.
    Tcp(SocketAddr),
    /// A Unix stream socket.
    Unix(PathBuf),
    /// An address over UDP.
    Udp(SocketAddr),
}

/// Where a server was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located {
    /// The address that is asked.
    pub address: TargetAddress,
    /// All that its name has, in the order of the resolver; none of a path.
    pub all: Vec<SocketAddr>,
}

impl fmt::Display for TargetAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) | Self::Udp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

impl Endpoint {
    /// Looks the host up. Of several addresses it takes the first at which something listens, as every client
    /// of ours does: that costs the server one idle connection, or one empty datagram. A single address is
    /// not tried.
    pub(super) fn resolve(&self, timeout: Duration) -> Result<Located, LoadError> {
        let host = match self {
            Endpoint::Unix(path) => {
                // What another user may have put where our own server should be is not asked.
                if command_sockets().contains(path)
                    && let Err(wrong) = check_private_socket(path, geteuid().as_raw())
                    && wrong.kind() != ErrorKind::NotFound
                {
                    return Err(LoadError::Untrusted(wrong));
                }
                return Ok(Located {
                    address: TargetAddress::Unix(path.clone()),
                    all: Vec::new(),
                });
            }
            Endpoint::Tcp(host) | Endpoint::Udp(host) => host,
        };
        let failed = |cause| LoadError::Resolve {
            endpoint: self.to_string(),
            cause,
        };
        let addresses: Vec<_> = host.to_socket_addrs().map_err(failed)?.collect();
        let none = || failed(io::Error::new(ErrorKind::NotFound, "no address"));
        let first = *addresses.first().ok_or_else(none)?;
        let is_udp = matches!(self, Endpoint::Udp(_));
        let answers = |address: &SocketAddr| {
            if is_udp {
                takes_datagrams(*address, timeout)
            } else {
                TcpStream::connect_timeout(address, timeout).is_ok()
            }
        };
        let chosen = match addresses.as_slice() {
            [only] => *only,
            several => several.iter().copied().find(answers).unwrap_or(first),
        };
        Ok(Located {
            address: match is_udp {
                true => TargetAddress::Udp(chosen),
                false => TargetAddress::Tcp(chosen),
            },
            all: addresses,
        })
    }
}

/// Whether no error says that nothing listens there. Silence is no such error: a datagram may be lost, and
/// some services never answer.
fn takes_datagrams(address: SocketAddr, timeout: Duration) -> bool {
    /// As long as a client waits for its first answer.
    const SILENCE: Duration = Duration::from_millis(250);
    let any: IpAddr = match address {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let asked = UdpSocket::bind((any, 0)).and_then(|socket| {
        socket.set_read_timeout(Some(timeout.clamp(Duration::from_millis(1), SILENCE)))?;
        socket.connect(address)?;
        socket.send(&[])?;
        socket.recv(&mut [0])
    });
    match asked {
        Ok(_) => true,
        Err(error) => matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_as_they_are_typed() {
        for (text, meant) in [
            ("tcp://127.0.0.1:9000", "tcp://127.0.0.1:9000"),
            ("127.0.0.1:9000", "tcp://127.0.0.1:9000"),
            ("http://localhost/a?pid=1", "tcp://localhost:80"),
            ("udp://[::1]:9000", "udp://[::1]:9000"),
            ("unix:///run/echo.sock", "unix:///run/echo.sock"),
        ] {
            let read = text.parse().map(|endpoint: Endpoint| endpoint.to_string());
            assert_eq!(read, Ok(meant.to_owned()), "{text}");
        }
        for text in ["", "host", "host:x", "/run/x:1", "unix://"] {
            let malformed = Err(PlanError::Endpoint(text.to_owned()));
            assert_eq!(text.parse::<Endpoint>(), malformed, "{text}");
        }
        let inherited = PlanError::Address(AddressError::Transport("fd://3".to_owned()));
        assert_eq!("fd://3".parse::<Endpoint>(), Err(inherited));
        // Nobody said which services there are.
        for scheme in ["gopher", "echo"] {
            let unknown = Err(PlanError::Scheme(scheme.to_owned()));
            assert_eq!(format!("{scheme}://h:1").parse::<Endpoint>(), unknown);
        }
        for (text, usual, meant) in [
            ("time://[::1]:9000", Transport::Udp, "udp://[::1]:9000"),
            ("time+tcp://[::1]:9000", Transport::Udp, "tcp://[::1]:9000"),
            ("echo+udp://[::1]:9000", Transport::Tcp, "udp://[::1]:9000"),
            (
                "echo+unix:///run/echo.sock",
                Transport::Tcp,
                "unix:///run/echo.sock",
            ),
        ] {
            let read = Endpoint::at(&ServerUrl::of(text), usual);
            assert_eq!(read.unwrap().to_string(), meant, "{text}");
        }
    }
}
