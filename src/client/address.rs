//! Where a server is, as people write it.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::config::{UNIX_PATH_BYTES_MAX, command_socket};

/// A host and port, or the path of a Unix socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerAddress {
    /// `HOST:PORT` or `[::1]:PORT`, not yet looked up.
    Host(String),
    /// `unix:///PATH`, or a path with a slash in it.
    Unix(PathBuf),
}

/// Not an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct AddressError(String);

impl ServerAddress {
    /// The private Unix socket where `onepoll serve` runs commands for its own user.
    pub fn private() -> Self {
        Self::Unix(command_socket())
    }
}

impl FromStr for ServerAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let malformed = || {
            AddressError(format!(
                "{text:?} is no address: write HOST:PORT, [::1]:PORT, unix:///PATH, or a path with a slash in it"
            ))
        };
        // An endpoint of `serve` is an address too: its service and options mean nothing to a client.
        let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
        let rest = match scheme {
            "" => rest,
            _ => rest.split_once('?').map_or(rest, |(address, _)| address),
        };
        let is_unix = scheme == "unix" || scheme.ends_with("+unix");
        if is_unix || scheme.is_empty() && rest.contains('/') {
            return match rest.len() {
                0 => Err(malformed()),
                1..=UNIX_PATH_BYTES_MAX => Ok(Self::Unix(PathBuf::from(rest))),
                bytes => Err(AddressError(format!(
                    "the path of {bytes} bytes is longer than the {UNIX_PATH_BYTES_MAX} that a Unix socket's address holds; a relative path may be shorter"
                ))),
            };
        }
        let (host, port) = rest.rsplit_once(':').ok_or_else(malformed)?;
        let bracketed = host.starts_with('[') && host.ends_with(']');
        let valid_port = port.parse::<u16>().is_ok_and(|port| port > 0);
        let bad_host = host.is_empty() || host.contains('/') || host.contains(':') && !bracketed;
        if bad_host || !valid_port || scheme.ends_with("+fd") || scheme.ends_with("+unixgram") {
            return Err(malformed());
        }
        Ok(Self::Host(rest.to_owned()))
    }
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ServerAddress::Host(host) => f.write_str(host),
            ServerAddress::Unix(path) => write!(f, "unix://{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_as_they_are_typed() {
        let host = |text: &str| Ok(ServerAddress::Host(text.to_owned()));
        let unix = |text: &str| Ok(ServerAddress::Unix(PathBuf::from(text)));
        for (text, meant) in [
            ("localhost:9000", host("localhost:9000")),
            ("[::1]:9000", host("[::1]:9000")),
            ("time://127.0.0.1:9000", host("127.0.0.1:9000")),
            (
                "command+tcp://127.0.0.1:8080?framing=json",
                host("127.0.0.1:8080"),
            ),
            ("unix:///run/x.sock", unix("/run/x.sock")),
            ("command+unix:///run/x.sock?mode=0600", unix("/run/x.sock")),
            ("/run/x.sock", unix("/run/x.sock")),
            ("./x.sock", unix("./x.sock")),
            ("/run/a:1", unix("/run/a:1")),
        ] {
            assert_eq!(text.parse(), meant, "{text}");
        }
        for text in [
            "",
            "x",
            "x:",
            ":1",
            "x:0",
            "x:65536",
            "::1:9000",
            "unix://",
            "chat+fd://3",
        ] {
            assert!(text.parse::<ServerAddress>().is_err(), "{text}");
        }
    }
}
