//! A server to be dialled, as people write it: the same for the load generator and all clients.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use super::address::{HostPort, Transport, UNIX_PATH_BYTES_MAX};

/// `[SCHEME://]ADDRESS[?OPTIONS]`, taken apart: an endpoint of `serve` is the URL of a server, too, and its
/// options mean nothing to clients.
///
/// The scheme is `SERVICE[+TRANSPORT]`, a transport or `http`. No service is known here, so what a
/// scheme means is for the caller to judge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerUrl<'t> {
    /// What stands before `+` or `://`; nothing where there is neither.
    pub scheme: &'t str,
    transport: Option<&'t str>,
    address: &'t str,
    text: &'t str,
}

/// A server to be dialled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerAddress {
    /// `HOST:PORT` or `[::1]:PORT`, not yet looked up; the port is not 0.
    Host(HostPort),
    /// A Unix stream socket.
    Unix(PathBuf),
}

/// Not an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Neither a host and a port nor a path.
    #[error(
        "{0:?} is no address: write HOST:PORT, [::1]:PORT, unix:///PATH, or a path with a slash in it"
    )]
    Malformed(String),
    /// A path that no Unix socket can have.
    #[error(
        "the path of {0} bytes is longer than the {UNIX_PATH_BYTES_MAX} that a Unix socket's address holds; a relative path may be shorter"
    )]
    Path(usize),
    /// What nobody can dial, such as an inherited descriptor.
    #[error("{0:?}: clients speak TCP, Unix stream sockets and UDP")]
    Transport(String),
}

impl<'t> ServerUrl<'t> {
    /// Takes `text` apart.
    pub fn of(text: &'t str) -> Self {
        let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
        let (scheme, transport) = match scheme.split_once('+') {
            Some((service, transport)) => (service, Some(transport)),
            None => (scheme, None),
        };
        Self {
            scheme,
            transport,
            address: rest.split_once('?').map_or(rest, |(address, _)| address),
            text,
        }
    }

    /// The transport, if it is written, behind a service or by itself.
    pub fn transport(&self) -> Option<Transport> {
        let name = self.transport.unwrap_or(self.scheme);
        Transport::ALL.into_iter().find(|one| one.name() == name)
    }

    /// The address. The path, the query and the fragment of an `http` URL are not of it, and its port may be left out.
    pub fn address(&self) -> Result<ServerAddress, AddressError> {
        match (self.transport(), self.transport) {
            (Some(Transport::Unix), _) => return self.path(),
            (Some(Transport::Fd), _) | (None, Some(_)) => {
                return Err(AddressError::Transport(self.text.to_owned()));
            }
            _ => {}
        }
        let at = match self.scheme {
            "http" => {
                let host = self.address.split(['/', '#']).next().unwrap_or_default();
                HostPort::parse(host).or_else(|_| HostPort::parse(&format!("{host}:80")))
            }
            _ => HostPort::parse(self.address.strip_suffix('/').unwrap_or(self.address)),
        };
        match at {
            Ok(at) if at.port > 0 => Ok(ServerAddress::Host(at)),
            _ => Err(AddressError::Malformed(self.text.to_owned())),
        }
    }

    fn path(&self) -> Result<ServerAddress, AddressError> {
        match self.address.len() {
            0 => Err(AddressError::Malformed(self.text.to_owned())),
            1..=UNIX_PATH_BYTES_MAX => Ok(ServerAddress::Unix(self.address.into())),
            bytes => Err(AddressError::Path(bytes)),
        }
    }
}

/// As clients take it, whatever the scheme is; a path with a slash in it needs none.
impl FromStr for ServerAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let url = ServerUrl::of(text);
        if text.contains('/') && !text.contains("://") {
            return ServerUrl {
                address: text,
                ..url
            }
            .path();
        }
        url.address()
    }
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ServerAddress::Host(host) => write!(f, "{host}"),
            ServerAddress::Unix(path) => write!(f, "unix://{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_as_they_are_typed() {
        for (text, meant) in [
            ("localhost:9000", "localhost:9000"),
            ("[::1]:9000", "[::1]:9000"),
            ("[fe80::1%eth0]:9000", "[fe80::1%eth0]:9000"),
            ("time://127.0.0.1:9000", "127.0.0.1:9000"),
            (
                "command+tcp://127.0.0.1:8080?framing=json",
                "127.0.0.1:8080",
            ),
            ("echo+tcp://[::1]:9000/", "[::1]:9000"),
            ("http://127.0.0.1:8080/a/b:c?pid=1", "127.0.0.1:8080"),
            ("http://localhost", "localhost:80"),
            ("http://localhost?a/b", "localhost:80"),
            ("http://localhost#a/b", "localhost:80"),
            ("http://[::1]/", "[::1]:80"),
            ("unix:///run/x.sock", "unix:///run/x.sock"),
            ("unix://x.sock", "unix://x.sock"),
            ("command+unix:///run/x.sock?mode=0600", "unix:///run/x.sock"),
            ("/run/x.sock", "unix:///run/x.sock"),
            ("./x.sock", "unix://./x.sock"),
            ("/run/a:1?b", "unix:///run/a:1?b"),
        ] {
            let read = text
                .parse()
                .map(|address: ServerAddress| address.to_string());
            assert_eq!(read, Ok(meant.to_owned()), "{text}");
        }
        for text in [
            "",
            "x",
            "x:",
            ":1",
            "x:0",
            "x:65536",
            "x:y",
            "::1:9000",
            "[::1]",
            "[::g]:1",
            "[::1:9",
            "http://",
            "http://host:x/",
            "unix://",
            "tcp://",
        ] {
            let malformed = Err(AddressError::Malformed(text.to_owned()));
            assert_eq!(text.parse::<ServerAddress>(), malformed, "{text}");
        }
        for text in ["chat+fd://3", "fd://3", "echo+unixgram:///x"] {
            let unspoken = Err(AddressError::Transport(text.to_owned()));
            assert_eq!(text.parse::<ServerAddress>(), unspoken, "{text}");
        }
        let long = format!("unix:///{}", "x".repeat(UNIX_PATH_BYTES_MAX));
        assert_eq!(long.parse::<ServerAddress>(), Err(AddressError::Path(108)));
    }
}
