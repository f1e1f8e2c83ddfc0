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
    Transport, UNIX_PATH_BYTES_MAX, check_private_socket, command_sockets, nearest,
};

/// A server, as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// A host and a port over TCP.
    Tcp(String),
    /// A Unix stream socket.
    Unix(PathBuf),
    /// A host and a port over UDP.
    Udp(String),
}

impl Endpoint {
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
        Self::of_service(text, &[])
    }
}

impl Endpoint {
    /// Reads a URL, whose scheme may also be one of these services: each has a name, and a transport
    /// that goes without saying.
    pub fn of_service(text: &str, services: &[(&str, Transport)]) -> Result<Self, PlanError> {
        let malformed = || PlanError::Endpoint(text.to_owned());
        let (scheme, rest) = text.split_once("://").unwrap_or(("tcp", text));
        // A service or a transport, or both: only the transport matters here.
        let (name, transport) = match scheme.split_once('+') {
            Some((service, transport)) => (service, Some(transport)),
            None => (scheme, None),
        };
        let schemes: Vec<(&str, Transport)> = [&SCHEMES, services].concat();
        let usual = schemes.iter().find(|(known, _)| *known == name);
        let Some((_, usual)) = usual else {
            return Err(PlanError::Scheme(name.to_owned(), meant(name, &schemes)));
        };
        let transport = transport.unwrap_or(usual.name());
        // The options of a URL of `serve` have no meaning for a client.
        let address = rest.split_once('?').map_or(rest, |(address, _)| address);
        let with_port;
        let address = match scheme {
            "https" => return Err(PlanError::Tls(text.to_owned())),
            // The path is part of the request, which the caller writes; the port may be left out.
            "http" => {
                let host = address.split('/').next().unwrap_or_default();
                let has_port = host
                    .rsplit_once(':')
                    .is_some_and(|(_, port)| !port.ends_with(']'));
                with_port = if has_port {
                    host.to_owned()
                } else {
                    format!("{host}:80")
                };
                &with_port
            }
            _ => address,
        };
        match transport {
            "tcp" | "udp" => {
                let address = address.strip_suffix('/').unwrap_or(address);
                let (host, port) = address.rsplit_once(':').ok_or_else(malformed)?;
                let bare_v6 = host.contains(':') && !(host.starts_with('[') && host.ends_with(']'));
                match port.parse::<u16>() {
                    Ok(port) if port > 0 && !host.is_empty() && !host.contains('/') && !bare_v6 => {
                        Ok(match transport {
                            "udp" => Self::Udp(address.to_owned()),
                            _ => Self::Tcp(address.to_owned()),
                        })
                    }
                    _ => Err(malformed()),
                }
            }
            "unix" if address.is_empty() => Err(malformed()),
            "unix" if address.len() > UNIX_PATH_BYTES_MAX => Err(PlanError::Path(address.len())),
            "unix" => Ok(Self::Unix(PathBuf::from(address))),
            _ => Err(PlanError::Transport(text.to_owned())),
        }
    }
}

/// What may stand before `://` besides services.
const SCHEMES: [(&str, Transport); 6] = [
    ("tcp", Transport::Tcp),
    ("udp", Transport::Udp),
    ("unix", Transport::Unix),
    ("http", Transport::Tcp),
    ("https", Transport::Tcp),
    ("fd", Transport::Fd),
];

/// Of these, what is known and cannot be asked: a list of schemes leaves them out.
const UNSPOKEN: [&str; 2] = ["https", "fd"];

/// What was probably meant by an unknown scheme.
fn meant(name: &str, schemes: &[(&str, Transport)]) -> String {
    let known: Vec<&str> = schemes.iter().map(|(name, _)| *name).collect();
    match nearest(name, &known) {
        Some(near) => format!(": perhaps `{near}` was meant"),
        None => {
            let spoken = known.into_iter().filter(|name| !UNSPOKEN.contains(name));
            let spoken: Vec<_> = spoken.collect();
            format!(": write one of {}", spoken.join(", "))
        }
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

impl Endpoint {
    /// Looks the host up. Of several addresses it takes the first at which something listens, as every client
    /// of ours does: that costs the server one idle connection, or one empty datagram. A single address is
    /// not tried.
    pub(super) fn resolve(&self, timeout: Duration) -> Result<TargetAddress, LoadError> {
        let host = match self {
            Endpoint::Unix(path) => {
                // What another user may have put where our own server should be is not asked.
                if command_sockets().contains(path)
                    && let Err(wrong) = check_private_socket(path, geteuid().as_raw())
                    && wrong.kind() != ErrorKind::NotFound
                {
                    return Err(LoadError::Untrusted(wrong));
                }
                return Ok(TargetAddress::Unix(path.clone()));
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
        let chosen = match addresses.len() {
            1 => first,
            _ => addresses.into_iter().find(answers).unwrap_or(first),
        };
        Ok(if is_udp {
            TargetAddress::Udp(chosen)
        } else {
            TargetAddress::Tcp(chosen)
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
        let services = [
            ("echo", Transport::Tcp),
            ("upper", Transport::Tcp),
            ("chat", Transport::Tcp),
            ("time", Transport::Udp),
        ];
        let read = |text: &str| Endpoint::of_service(text, &services);
        let tcp = |address: &str| Ok(Endpoint::Tcp(address.to_owned()));
        let unix = |path: &str| Ok(Endpoint::Unix(PathBuf::from(path)));
        for (text, meant) in [
            ("tcp://127.0.0.1:9000", tcp("127.0.0.1:9000")),
            ("127.0.0.1:9000", tcp("127.0.0.1:9000")),
            ("localhost:9000", tcp("localhost:9000")),
            ("echo://127.0.0.1:9000", tcp("127.0.0.1:9000")),
            ("echo+tcp://[::1]:9000/", tcp("[::1]:9000")),
            (
                "upper://127.0.0.1:9999?once=true&strip=true",
                tcp("127.0.0.1:9999"),
            ),
            ("http://127.0.0.1:8080/a/b:c?pid=1", tcp("127.0.0.1:8080")),
            ("http://localhost", tcp("localhost:80")),
            ("http://[::1]/", tcp("[::1]:80")),
            ("unix:///run/echo.sock", unix("/run/echo.sock")),
            ("echo+unix:///run/echo.sock", unix("/run/echo.sock")),
        ] {
            assert_eq!(read(text), meant, "{text}");
        }
        for text in [
            "",
            "host",
            "host:",
            ":9000",
            "host:0",
            "host:65536",
            "host:x",
            "::1:9000",
            "http://",
            "http://host:x/",
            "unix://",
            "/run/x:1",
        ] {
            assert_eq!(
                read(text),
                Err(PlanError::Endpoint(text.to_owned())),
                "{text}"
            );
        }
        for text in [
            "echo+udp://[::1]:9000",
            "udp://[::1]:9000",
            "time://[::1]:9000",
        ] {
            let udp = Endpoint::Udp("[::1]:9000".to_owned());
            assert_eq!(read(text), Ok(udp), "{text}");
        }
        for text in ["echo+unixgram:///x", "chat+fd://3"] {
            assert_eq!(
                read(text),
                Err(PlanError::Transport(text.to_owned())),
                "{text}"
            );
        }
        for text in ["gopher://h:1", "tmie://h:1"] {
            let Err(PlanError::Scheme(_, meant)) = read(text) else {
                panic!("{text} was understood");
            };
            assert!(meant.contains("time"), "{meant}");
        }
        // Nobody said which services there are.
        assert!("echo://h:1".parse::<Endpoint>().is_err());
    }
}
