//! A connection with a deadline per operation.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with, sockopt,
};

use super::deadline::{Deadline, is_patience};
use super::{Address, ClientError};

/// How much is read at once.
const READ_BYTES: usize = 64 * 1024;

/// A stream, and the bytes of it that nobody has taken yet.
#[derive(Debug)]
pub(super) struct Line {
    stream: Stream,
    address: String,
    unread: Vec<u8>,
    incoming: Box<[u8]>,
}

#[derive(Debug)]
enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Line {
    /// Connects; of a name's addresses, the first that takes the connection.
    pub(super) fn connect(address: &Address, deadline: &Deadline) -> Result<Self, ClientError> {
        let named = address.to_string();
        let stream = match address {
            Address::Host(host) => connect_tcp(host, deadline)?,
            Address::Unix(path) => {
                connect_unix(path, deadline).map_err(|source| ClientError::Connect {
                    address: named.clone(),
                    source,
                })?
            }
        };
        let incoming = vec![0; READ_BYTES].into_boxed_slice();
        Ok(Self {
            stream,
            address: named,
            unread: Vec::new(),
            incoming,
        })
    }

    /// Whom it leads to.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// What has come and was not taken.
    pub(super) fn unread(&self) -> &[u8] {
        &self.unread
    }

    /// Takes `len` bytes off the front of what has come.
    pub(super) fn take(&mut self, len: usize) -> Vec<u8> {
        let rest = self.unread.split_off(len);
        std::mem::replace(&mut self.unread, rest)
    }

    /// Sends all of `bytes`.
    pub(super) fn send(&mut self, bytes: &[u8], deadline: &Deadline) -> Result<(), ClientError> {
        let mut sent = 0;
        while sent < bytes.len() {
            let Some(left) = deadline.left_up_to(Duration::MAX) else {
                return Err(self.timeout(deadline, format!("sent {sent} of {} bytes", bytes.len())));
            };
            let wrote = match &mut self.stream {
                Stream::Tcp(tcp) => tcp
                    .set_write_timeout(Some(left))
                    .and_then(|()| tcp.write(&bytes[sent..])),
                Stream::Unix(unix) => unix
                    .set_write_timeout(Some(left))
                    .and_then(|()| unix.write(&bytes[sent..])),
            };
            match wrote {
                Ok(n) => sent += n,
                Err(error) if is_patience(error.kind()) => {}
                Err(source) => return Err(self.broken(source)),
            }
        }
        Ok(())
    }

    /// Reads once, behind what has come; false at the end. `progress` is what to say when it is late.
    pub(super) fn fill(
        &mut self,
        deadline: &Deadline,
        progress: impl Fn(usize) -> String,
    ) -> Result<bool, ClientError> {
        loop {
            let Some(left) = deadline.left_up_to(Duration::MAX) else {
                return Err(self.timeout(deadline, progress(self.unread.len())));
            };
            let read = match &mut self.stream {
                Stream::Tcp(tcp) => tcp
                    .set_read_timeout(Some(left))
                    .and_then(|()| tcp.read(&mut self.incoming)),
                Stream::Unix(unix) => unix
                    .set_read_timeout(Some(left))
                    .and_then(|()| unix.read(&mut self.incoming)),
            };
            match read {
                Ok(0) => return Ok(false),
                Ok(n) => {
                    self.unread.extend_from_slice(&self.incoming[..n]);
                    return Ok(true);
                }
                Err(error) if is_patience(error.kind()) => {}
                Err(source) => return Err(self.broken(source)),
            }
        }
    }

    fn timeout(&self, deadline: &Deadline, progress: String) -> ClientError {
        ClientError::Timeout {
            address: self.address.clone(),
            after: deadline.given(),
            progress,
        }
    }

    fn broken(&self, source: io::Error) -> ClientError {
        ClientError::Broken {
            address: self.address.clone(),
            source,
        }
    }
}

fn connect_tcp(host: &str, deadline: &Deadline) -> Result<Stream, ClientError> {
    let resolve = |source| ClientError::Resolve {
        address: host.to_owned(),
        source,
    };
    let mut failure = None;
    for peer in host.to_socket_addrs().map_err(resolve)? {
        let Some(left) = deadline.left() else { break };
        match TcpStream::connect_timeout(&peer, left) {
            Ok(tcp) => {
                // A request is one write; waiting for more of it would only be late.
                _ = tcp.set_nodelay(true);
                return Ok(Stream::Tcp(tcp));
            }
            Err(error) => failure = Some(error),
        }
    }
    let source = failure.unwrap_or_else(|| io::Error::new(ErrorKind::TimedOut, "no time left"));
    if is_patience(source.kind()) {
        let progress = "not connected".to_owned();
        return Err(ClientError::Timeout {
            address: host.to_owned(),
            after: deadline.given(),
            progress,
        });
    }
    Err(ClientError::Connect {
        address: host.to_owned(),
        source,
    })
}

/// A listener whose queue is full makes `connect` wait, for as long as sending may.
fn connect_unix(path: &Path, deadline: &Deadline) -> io::Result<Stream> {
    let address = SocketAddrUnix::new(path)?;
    loop {
        let Some(left) = deadline.left_up_to(Duration::MAX) else {
            return Err(io::Error::new(
                ErrorKind::TimedOut,
                "the server does not take connections",
            ));
        };
        let fd = socket_with(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::CLOEXEC,
            None,
        )?;
        sockopt::set_socket_timeout(&fd, sockopt::Timeout::Send, Some(left))?;
        match connect(&fd, &address).map_err(io::Error::from) {
            Ok(()) => return Ok(Stream::Unix(UnixStream::from(fd))),
            Err(error) if is_patience(error.kind()) => {}
            Err(error) => return Err(error),
        }
    }
}
