//! The floor: one thread, edge-triggered epoll, one read and one write per message, and nothing
//! else. No limits, no timers, no counters, no fairness.
//!
//! A connection is registered once for everything. A short read means that there is no more,
//! unless the peer has ended its side. Closing the descriptor is what unregisters it.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::{Errno, read, write};
use rustix::net::{
    RecvFlags, SendFlags, SocketAddrAny, SocketFlags, accept_with, getsockname, recvfrom, sendto,
};

use super::addresses::Addresses;

const EVENTS_MAX: usize = 512;
const READ_BYTES: usize = 64 * 1024;

/// How much of a connection is read at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Budget {
    /// Until a read is short.
    Short,
    /// Until there is nothing more, however long others wait: what most epoll programs do.
    Everything,
}

struct Conn {
    fd: OwnedFd,
    /// What the socket did not take.
    pending: Vec<u8>,
}

/// The floor, ready to serve.
pub(crate) struct Floor {
    epoll: OwnedFd,
    listener: OwnedFd,
    datagrams: OwnedFd,
    /// By descriptor.
    conns: Vec<Option<Conn>>,
    buf: Vec<u8>,
    events: Vec<Event>,
    budget: Budget,
}

/// Serves until the process ends.
pub(crate) fn run(budget: Budget, tell: impl FnOnce(Addresses)) -> io::Result<()> {
    let (mut floor, addresses) = Floor::open(budget)?;
    tell(addresses);
    loop {
        floor.turn()?;
    }
}

fn token(fd: &OwnedFd) -> EventData {
    EventData::new_u64(fd.as_raw_fd() as u64)
}

impl Floor {
    /// Listens, and says where.
    pub(crate) fn open(budget: Budget) -> io::Result<(Floor, Addresses)> {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        // The same sockets as ours, backlog and TCP_NODELAY included: what is compared is the loop.
        let listener = onepoll::reactor::listen_tcp(any)?;
        let datagrams = onepoll::reactor::open_udp(any)?;
        let addresses = Addresses::tcp(SocketAddr::try_from(getsockname(&listener)?)?)
            .and_udp(SocketAddr::try_from(getsockname(&datagrams)?)?);
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &listener, token(&listener), EventFlags::IN)?;
        let readable = EventFlags::IN | EventFlags::ET;
        epoll::add(&epoll, &datagrams, token(&datagrams), readable)?;
        let floor = Floor {
            epoll,
            listener,
            datagrams,
            conns: Vec::new(),
            buf: vec![0; READ_BYTES],
            events: Vec::with_capacity(EVENTS_MAX),
            budget,
        };
        Ok((floor, addresses))
    }

    /// Waits, and serves the connections that are ready.
    pub(crate) fn turn(&mut self) -> io::Result<()> {
        let mut events = std::mem::take(&mut self.events);
        events.clear();
        match epoll::wait(&self.epoll, spare_capacity(&mut events), None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in &events {
            let (fd, flags) = (event.data.u64() as RawFd, event.flags);
            if fd == self.listener.as_raw_fd() {
                self.accept()?;
            } else if fd == self.datagrams.as_raw_fd() {
                self.answer();
            } else if self.serve(fd, flags).is_none() {
                self.conns[fd as usize] = None;
            }
        }
        self.events = events;
        Ok(())
    }

    fn accept(&mut self) -> io::Result<()> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        while let Ok(fd) = accept_with(&self.listener, flags) {
            let interest = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
            epoll::add(&self.epoll, &fd, token(&fd), interest)?;
            let at = fd.as_raw_fd() as usize;
            if self.conns.len() <= at {
                self.conns.resize_with(at + 1, || None);
            }
            self.conns[at] = Some(Conn {
                fd,
                pending: Vec::new(),
            });
        }
        Ok(())
    }

    /// `None`: the connection is over.
    #[inline]
    fn serve(&mut self, fd: RawFd, flags: EventFlags) -> Option<()> {
        let Some(Some(conn)) = self.conns.get_mut(fd as usize) else {
            return Some(());
        };
        if flags.intersects(EventFlags::ERR | EventFlags::HUP) {
            return None;
        }
        let mut readable = flags.intersects(EventFlags::IN | EventFlags::RDHUP);
        if !conn.pending.is_empty() {
            match write(&conn.fd, &conn.pending) {
                Ok(n) => conn.pending.drain(..n),
                Err(Errno::AGAIN) => return Some(()),
                Err(_) => return None,
            };
            if !conn.pending.is_empty() {
                return Some(());
            }
            // Back at rest it owns nothing; what came meanwhile brings no second edge.
            conn.pending = Vec::new();
            readable = true;
        }
        while readable {
            let n = match read(&conn.fd, &mut self.buf[..]) {
                Ok(0) => return None,
                Ok(n) => n,
                Err(Errno::AGAIN) => return Some(()),
                Err(_) => return None,
            };
            let sent = match write(&conn.fd, &self.buf[..n]) {
                Ok(sent) => sent,
                Err(Errno::AGAIN) => 0,
                Err(_) => return None,
            };
            if sent < n {
                conn.pending.extend_from_slice(&self.buf[sent..n]);
                return Some(());
            }
            readable = n == READ_BYTES
                || flags.contains(EventFlags::RDHUP)
                || self.budget == Budget::Everything;
        }
        Some(())
    }

    fn answer(&mut self) {
        loop {
            let flags = RecvFlags::empty();
            let Ok((_, n, from)) = recvfrom(&self.datagrams, &mut self.buf[..], flags) else {
                return;
            };
            let from: Option<SocketAddrAny> = from;
            if let Some(from) = from {
                let _ = sendto(&self.datagrams, &self.buf[..n], SendFlags::empty(), &from);
            }
        }
    }
}
