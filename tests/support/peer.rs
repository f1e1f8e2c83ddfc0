//! The other side of a connection, in the words of `onepoll::service::rehearsal::Stage`.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use onepoll::reactor::bind_tcp;
use rustix::net::getsockname;
use rustix::net::sockopt::set_socket_linger;

use super::{ANY, DEADLINE};

/// More than any test sends: what is longer has no end.
const REST_BYTES_MAX: u64 = 256 << 20;

/// One side of a connection; a wait that is too long is a panic.
#[derive(Debug)]
pub(crate) struct Peer<S = TcpStream> {
    pub(crate) stream: S,
    /// What came with a line that was asked for.
    unread: Vec<u8>,
}

/// Connects to a server over TCP.
pub(crate) fn dial(address: SocketAddr) -> Peer {
    Peer::of(TcpStream::connect(address).unwrap())
}

/// Connects to a server at a path.
pub(crate) fn dial_unix(path: &Path) -> Peer<UnixStream> {
    let stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.set_write_timeout(Some(DEADLINE)).unwrap();
    let unread = Vec::new();
    Peer { stream, unread }
}

impl Peer {
    pub(crate) fn of(stream: TcpStream) -> Peer {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        let unread = Vec::new();
        Peer { stream, unread }
    }

    /// Ends its output; it goes on listening.
    pub(crate) fn ends(&mut self) -> &mut Peer {
        self.stream.shutdown(Shutdown::Write).unwrap();
        self
    }

    /// The same connection, for another thread.
    pub(crate) fn twin(&self) -> Peer {
        Peer::of(self.stream.try_clone().unwrap())
    }
}

impl<S: Read + Write> Peer<S> {
    pub(crate) fn says(&mut self, bytes: impl AsRef<[u8]>) -> &mut Peer<S> {
        self.stream.write_all(bytes.as_ref()).unwrap();
        self
    }

    /// As [`says`](Peer::says), to one that may have gone.
    pub(crate) fn may_say(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref())
    }

    /// These bytes come next.
    #[track_caller]
    pub(crate) fn hears(&mut self, expected: impl AsRef<[u8]>) -> &mut Peer<S> {
        let heard = self.takes(expected.as_ref().len());
        same(&heard, expected.as_ref());
        self
    }

    /// These bytes come next, and then the end.
    #[track_caller]
    pub(crate) fn hears_last(&mut self, expected: impl AsRef<[u8]>) {
        same(&self.rest(), expected.as_ref());
    }

    /// The next so many bytes.
    #[track_caller]
    pub(crate) fn takes(&mut self, len: usize) -> Vec<u8> {
        self.may_take(len).expect("more bytes, and not the end")
    }

    /// The next so many bytes; none if the end comes before.
    #[track_caller]
    pub(crate) fn may_take(&mut self, len: usize) -> Option<Vec<u8>> {
        let had = self.unread.len().min(len);
        let mut bytes: Vec<u8> = self.unread.drain(..had).collect();
        bytes.resize(len, 0);
        match self.stream.read_exact(&mut bytes[had..]) {
            Err(error) if is_timeout(&error) => panic!("nothing comes: {error}"),
            outcome => outcome.ok().map(|()| bytes),
        }
    }

    /// The next line, without its end; none if the end comes before.
    #[track_caller]
    pub(crate) fn may_hear_line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.unread.iter().position(|&byte| byte == b'\n') {
                let mut line: Vec<u8> = self.unread.drain(..=end).collect();
                line.pop();
                return Some(String::from_utf8(line).unwrap());
            }
            let mut chunk = [0; 4096];
            match uninterrupted(|| self.stream.read(&mut chunk)) {
                Ok(n @ 1..) => self.unread.extend_from_slice(&chunk[..n]),
                Err(error) if is_timeout(&error) => panic!("nothing comes: {error}"),
                _ => return None,
            }
        }
    }

    /// The next line, without its end.
    #[track_caller]
    pub(crate) fn line(&mut self) -> String {
        self.may_hear_line().expect("a line, and not the end")
    }

    /// Everything until the end, which must come.
    #[track_caller]
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        let mut rest = std::mem::take(&mut self.unread);
        let mut stream = (&mut self.stream).take(REST_BYTES_MAX);
        stream.read_to_end(&mut rest).unwrap();
        assert!(
            (rest.len() as u64) < REST_BYTES_MAX,
            "there is no end to it"
        );
        rest
    }
}

impl<S: AsFd> Peer<S> {
    /// Goes without a word: the other side is told that the connection is reset.
    pub(crate) fn resets(self) {
        self.will_reset();
    }

    /// Whenever it goes, the connection is reset.
    pub(crate) fn will_reset(&self) {
        set_socket_linger(&self.stream, Some(Duration::ZERO)).unwrap();
    }
}

/// Calls again after a signal: the kernel does so for sockets that have no timeout only
/// (signal(7)), and a command that ends sends SIGCHLD to any thread of this process.
pub(crate) fn uninterrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            outcome => return outcome,
        }
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

#[track_caller]
fn same(heard: &[u8], expected: &[u8]) {
    // Escaped only where they differ: some are large.
    if heard != expected {
        let [heard, expected] = [heard, expected].map(|bytes| bytes.escape_ascii().to_string());
        assert_eq!(heard, expected);
    }
}

/// An address at which nobody listens, and nobody will while this is kept.
#[derive(Debug)]
pub(crate) struct Nobody {
    pub(crate) address: SocketAddr,
    _bound: OwnedFd,
}

impl Nobody {
    pub(crate) fn new() -> Nobody {
        // Bound, so that it is nobody else's, and it does not listen.
        let bound = bind_tcp(ANY).unwrap();
        let address = getsockname(&bound).unwrap().try_into().unwrap();
        Nobody {
            address,
            _bound: bound,
        }
    }
}

impl fmt::Display for Nobody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)
    }
}
