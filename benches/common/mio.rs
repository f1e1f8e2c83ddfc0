//! A peer: mio alone, as its documentation has it, over the tricks that it allows.
//!
//! Edge-triggered, registered once for both directions, never taken out by hand, and read until
//! there is nothing more: mio promises an edge only after that.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};

use mio::net::{TcpListener, TcpStream, UdpSocket};
use mio::{Events, Interest, Poll, Token};
use slab::Slab;

use super::addresses::Addresses;

const EVENTS_MAX: usize = 512;
const READ_BYTES: usize = 64 * 1024;
const LISTENER: Token = Token(usize::MAX - 1);
const DATAGRAMS: Token = Token(usize::MAX - 2);

struct Conn {
    stream: TcpStream,
    /// What the socket did not take.
    pending: Vec<u8>,
}

/// Serves until the process ends.
pub(crate) fn run(tell: impl FnOnce(Addresses)) -> io::Result<()> {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    // The same listener as ours: mio's own asks for a backlog of 128, and floods would stall.
    let mut listener = TcpListener::from_std(onepoll::reactor::listen_tcp(any)?.into());
    let mut datagrams = UdpSocket::bind(any)?;
    let mut poll = Poll::new()?;
    let (registry, readable) = (poll.registry(), Interest::READABLE);
    registry.register(&mut listener, LISTENER, readable)?;
    registry.register(&mut datagrams, DATAGRAMS, readable)?;
    tell(Addresses::tcp(listener.local_addr()?).and_udp(datagrams.local_addr()?));
    let mut conns: Slab<Conn> = Slab::new();
    let mut events = Events::with_capacity(EVENTS_MAX);
    let mut buf = vec![0; READ_BYTES];
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => other?,
        }
        for event in &events {
            match event.token() {
                LISTENER => {
                    while let Ok((mut stream, _)) = listener.accept() {
                        let entry = conns.vacant_entry();
                        let both = Interest::READABLE | Interest::WRITABLE;
                        let token = Token(entry.key());
                        poll.registry().register(&mut stream, token, both)?;
                        entry.insert(Conn {
                            stream,
                            pending: Vec::new(),
                        });
                    }
                }
                DATAGRAMS => {
                    while let Ok((n, from)) = datagrams.recv_from(&mut buf) {
                        let _ = datagrams.send_to(&buf[..n], from);
                    }
                }
                Token(key) => {
                    let is_over = conns.get_mut(key).is_some_and(|conn| {
                        serve(conn, &mut buf)
                            .is_err_and(|error| error.kind() != io::ErrorKind::WouldBlock)
                    });
                    if is_over {
                        conns.remove(key);
                    }
                }
            }
        }
    }
}

/// Until the socket blocks, or the connection is over.
fn serve(conn: &mut Conn, buf: &mut [u8]) -> io::Result<()> {
    loop {
        while !conn.pending.is_empty() {
            let n = conn.stream.write(&conn.pending)?;
            conn.pending.drain(..n);
        }
        let n = match conn.stream.read(buf)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n => n,
        };
        let sent = match conn.stream.write(&buf[..n]) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            other => other?,
        };
        conn.pending.extend_from_slice(&buf[sent..n]);
    }
}
