//! Servers that keep to a script. Each runs on threads of its own, which end with the test program.

use std::fmt;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, ToSocketAddrs, UdpSocket};
use std::os::fd::AsFd;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use rustix::net::sockopt::set_socket_linger;

use super::peer::{Peer, uninterrupted};
use super::{ANY, DEADLINE};

/// What is one request.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Request {
    /// Whatever a read brings.
    Any,
    /// So many bytes.
    Bytes(usize),
    /// Everything up to this, and this too.
    Until(&'static str),
}

/// What is done about a request.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// These bytes are said.
    Bytes(Vec<u8>),
    /// They are said in two parts, the first a little longer: less than an answer comes, or more than one.
    Halves(Vec<u8>),
    /// They are said byte by byte.
    Drip(Vec<u8>),
    /// They are said when this time has passed.
    After(Duration, Vec<u8>),
    /// They are said, and then the connection is closed.
    Last(Vec<u8>),
    /// The connection is reset.
    Reset,
}

impl From<Vec<u8>> for Reply {
    fn from(bytes: Vec<u8>) -> Reply {
        Reply::Bytes(bytes)
    }
}

/// A server that keeps to a script, and a book.
#[derive(Debug)]
pub(crate) struct Scripted {
    pub(crate) address: SocketAddr,
    book: Receiver<Entry>,
}

/// What the book says of a connection that is over.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Entry {
    /// Its number, in the order in which they came.
    pub(crate) connection: usize,
    pub(crate) from: SocketAddr,
    pub(crate) requests: usize,
}

impl Scripted {
    /// The next so many connections that were over, in the order in which they came.
    pub(crate) fn entries(&self, count: usize) -> Vec<Entry> {
        let next = || self.book.recv_timeout(DEADLINE).unwrap();
        let mut entries: Vec<Entry> = (0..count).map(|_| next()).collect();
        entries.sort();
        entries
    }
}

impl fmt::Display for Scripted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)
    }
}

/// Answers each request as `script` says, given the number of its connection, its own number there, and its
/// bytes. Each connection has a copy of the script, and so a state of its own.
pub(crate) fn replies<R: Into<Reply>>(
    request: Request,
    script: impl FnMut(usize, usize, &[u8]) -> R + Clone + Send + 'static,
) -> Scripted {
    let listener = TcpListener::bind(ANY).unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, book) = mpsc::channel();
    thread::spawn(move || {
        for connection in 0.. {
            let (stream, from) = listener.accept().unwrap();
            stream.set_nodelay(true).unwrap();
            let (tell, mut script) = (tell.clone(), script.clone());
            thread::spawn(move || {
                let requests = converse(stream, request, |number, bytes| {
                    script(connection, number, bytes).into()
                });
                let _ = tell.send(Entry {
                    connection,
                    from,
                    requests,
                });
            });
        }
    });
    Scripted { address, book }
}

/// Says everything back.
pub(crate) fn echo() -> Scripted {
    replies(Request::Any, |_, _, bytes| bytes.to_vec())
}

/// Answers the requests of one connection; how many there were.
pub(crate) fn converse(
    mut stream: impl Read + Write + AsFd,
    request: Request,
    mut reply: impl FnMut(usize, &[u8]) -> Reply,
) -> usize {
    let mut unread = Vec::new();
    let mut chunk = vec![0; 1 << 16];
    for number in 0.. {
        let length = loop {
            match request.length(&unread) {
                Some(length) => break length,
                None => match uninterrupted(|| stream.read(&mut chunk)) {
                    Ok(n @ 1..) => unread.extend_from_slice(&chunk[..n]),
                    _ => return number,
                },
            }
        };
        let reply = reply(number, &unread[..length]);
        unread.drain(..length);
        // Whoever asked may have gone.
        let said = match reply {
            Reply::Bytes(bytes) => stream.write_all(&bytes),
            Reply::Halves(bytes) => {
                let (head, tail) = bytes.split_at((bytes.len() / 2 + 1).min(bytes.len()));
                stream.write_all(head).and_then(|()| stream.write_all(tail))
            }
            Reply::Drip(bytes) => bytes.iter().try_for_each(|&byte| stream.write_all(&[byte])),
            Reply::After(time, bytes) => {
                pause(time);
                stream.write_all(&bytes)
            }
            Reply::Last(bytes) => {
                let _ = stream.write_all(&bytes);
                return number + 1;
            }
            Reply::Reset => {
                set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
                return number + 1;
            }
        };
        if said.is_err() {
            return number + 1;
        }
    }
    unreachable!("the numbers do not end");
}

impl Request {
    /// How long the first request is, if it has come.
    fn length(self, unread: &[u8]) -> Option<usize> {
        match self {
            Request::Any => Some(unread.len()).filter(|&length| length > 0),
            Request::Bytes(length) => Some(length).filter(|&length| unread.len() >= length),
            Request::Until(end) => {
                let mut windows = unread.windows(end.len());
                windows
                    .position(|at| at == end.as_bytes())
                    .map(|at| at + end.len())
            }
        }
    }
}

/// A server that is as slow as its script: it waits this long, and not less.
pub(crate) fn pause(time: Duration) {
    let (_keep, never) = mpsc::channel::<()>();
    assert_eq!(never.recv_timeout(time), Err(RecvTimeoutError::Timeout));
}

/// Talks with each that comes as `script` says, which is told the number of the connection.
pub(crate) fn conversations(script: impl Fn(usize, Peer) + Clone + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind(ANY).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for connection in 0.. {
            let peer = Peer::of(listener.accept().unwrap().0);
            let script = script.clone();
            thread::spawn(move || script(connection, peer));
        }
    });
    address
}

/// Answers each datagram with what `script` makes of it, given how many came before.
pub(crate) fn datagrams(
    at: impl ToSocketAddrs,
    mut script: impl FnMut(usize, &[u8]) -> Vec<Vec<u8>> + Send + 'static,
) -> SocketAddr {
    let socket = UdpSocket::bind(at).unwrap();
    let address = socket.local_addr().unwrap();
    thread::spawn(move || {
        let mut datagram = vec![0; 1 << 16];
        for number in 0.. {
            let (n, from) = socket.recv_from(&mut datagram).unwrap();
            for answer in script(number, &datagram[..n]) {
                // Whoever asked may have gone.
                let _ = socket.send_to(&answer, from);
            }
        }
    });
    address
}
