//! A peer: calloop, a loop of callbacks on smol's poller, as compositors use it.
//!
//! Each source has a closure of its own, boxed and reference-counted, and what it needs is handed
//! to it: the price of a loop whose sources do not know each other. Edge-triggered, as the others.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};

use calloop::generic::Generic;
use calloop::{EventLoop, Interest, LoopHandle, Mode, PostAction};

use super::addresses::Addresses;

const READ_BYTES: usize = 64 * 1024;

struct Shared {
    handle: LoopHandle<'static, Shared>,
    buf: Vec<u8>,
}

/// Serves until the process ends.
pub(crate) fn run(tell: impl FnOnce(Addresses)) -> io::Result<()> {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let listener = TcpListener::from(onepoll::reactor::listen_tcp(any)?);
    tell(Addresses::tcp(listener.local_addr()?));
    let mut event_loop: EventLoop<'static, Shared> =
        EventLoop::try_new().map_err(io::Error::other)?;
    let mut shared = Shared {
        handle: event_loop.handle(),
        buf: vec![0; READ_BYTES],
    };
    let arrivals = Generic::new(listener, Interest::READ, Mode::Level);
    let inserted = shared
        .handle
        .insert_source(arrivals, |_, listener, shared: &mut Shared| {
            while let Ok((stream, _)) = listener.accept() {
                stream.set_nonblocking(true)?;
                watch(stream, shared)?;
            }
            Ok(PostAction::Continue)
        });
    inserted.map_err(io::Error::other)?;
    loop {
        event_loop
            .dispatch(None, &mut shared)
            .map_err(io::Error::other)?;
    }
}

fn watch(stream: TcpStream, shared: &Shared) -> io::Result<()> {
    let mut pending = Vec::new();
    let source = Generic::new(stream, Interest::BOTH, Mode::Edge);
    let inserted = shared
        .handle
        .insert_source(source, move |_, stream, shared: &mut Shared| {
            match serve(stream, &mut pending, &mut shared.buf) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(PostAction::Continue),
                _ => Ok(PostAction::Remove),
            }
        });
    inserted.map_err(io::Error::other)?;
    Ok(())
}

/// Until the socket blocks, or the connection is over.
fn serve(mut stream: &TcpStream, pending: &mut Vec<u8>, buf: &mut [u8]) -> io::Result<()> {
    loop {
        while !pending.is_empty() {
            let n = stream.write(pending)?;
            pending.drain(..n);
        }
        let n = match stream.read(buf)? {
            0 => return Ok(()),
            n => n,
        };
        let sent = match stream.write(&buf[..n]) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            other => other?,
        };
        pending.extend_from_slice(&buf[sent..n]);
    }
}
