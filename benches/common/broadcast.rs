//! The floor of fan-out: what the connections of one turn said goes to all the others, in one write
//! each.
//!
//! No names, no rooms, no history, no limits: bytes are passed on as they came, whole lines or not.
//! A member that is behind keeps what is missing; none is held back or disconnected.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::{Errno, read, write};
use rustix::net::{SocketFlags, accept_with, getsockname};

use super::addresses::Addresses;

const EVENTS_MAX: usize = 512;
const READ_BYTES: usize = 64 * 1024;

#[derive(Debug)]
struct Member {
    fd: OwnedFd,
    /// What the socket did not take.
    pending: Vec<u8>,
}

struct Room {
    epoll: OwnedFd,
    listener: OwnedFd,
    members: Vec<Member>,
    /// Where a descriptor's member is.
    seats: Vec<usize>,
    buf: Vec<u8>,
}

/// Serves until the process ends.
pub(crate) fn run(tell: impl FnOnce(Addresses)) -> io::Result<()> {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let listener = onepoll::reactor::listen_tcp(any)?;
    tell(Addresses::tcp(SocketAddr::try_from(getsockname(
        &listener,
    )?)?));
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    epoll::add(&epoll, &listener, token(&listener), EventFlags::IN)?;
    let mut room = Room {
        epoll,
        listener,
        members: Vec::new(),
        seats: Vec::new(),
        buf: vec![0; READ_BYTES],
    };
    let mut events: Vec<Event> = Vec::with_capacity(EVENTS_MAX);
    // The members that spoke in this turn, and what: one entry for each read.
    let (mut said, mut spoke) = (Vec::new(), Vec::new());
    loop {
        events.clear();
        match epoll::wait(&room.epoll, spare_capacity(&mut events), None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in &events {
            let (fd, flags) = (event.data.u64() as RawFd, event.flags);
            if fd == room.listener.as_raw_fd() {
                room.accept()?;
            } else if room.hear(fd, flags, &mut said, &mut spoke).is_none() {
                room.leave(fd);
            }
        }
        room.pass_on(&said, &spoke);
        said.clear();
        spoke.clear();
    }
}

fn token(fd: &OwnedFd) -> EventData {
    EventData::new_u64(fd.as_raw_fd() as u64)
}

impl Room {
    fn accept(&mut self) -> io::Result<()> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        while let Ok(fd) = accept_with(&self.listener, flags) {
            let interest = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
            epoll::add(&self.epoll, &fd, token(&fd), interest)?;
            let at = fd.as_raw_fd() as usize;
            self.seats.resize(self.seats.len().max(at + 1), usize::MAX);
            self.seats[at] = self.members.len();
            self.members.push(Member {
                fd,
                pending: Vec::new(),
            });
        }
        Ok(())
    }

    /// `None`: the connection is over.
    fn hear(
        &mut self,
        fd: RawFd,
        flags: EventFlags,
        said: &mut Vec<u8>,
        spoke: &mut Vec<(RawFd, usize)>,
    ) -> Option<()> {
        let member = &mut self.members[self.seats[fd as usize]];
        if flags.intersects(EventFlags::ERR | EventFlags::HUP) {
            return None;
        }
        if !member.pending.is_empty() {
            member.send(&[])?;
        }
        let mut readable = flags.intersects(EventFlags::IN | EventFlags::RDHUP);
        while readable {
            let n = match read(&member.fd, &mut self.buf[..]) {
                Ok(0) => return None,
                Ok(n) => n,
                Err(Errno::AGAIN) => return Some(()),
                Err(_) => return None,
            };
            said.extend_from_slice(&self.buf[..n]);
            spoke.push((fd, said.len()));
            readable = n == READ_BYTES || flags.contains(EventFlags::RDHUP);
        }
        Some(())
    }

    /// One write for each member, and one for each gap where it spoke itself.
    fn pass_on(&mut self, said: &[u8], spoke: &[(RawFd, usize)]) {
        if said.is_empty() {
            return;
        }
        for member in &mut self.members {
            let (mut from, own) = (0, member.fd.as_raw_fd());
            let mut begins = 0;
            for &(speaker, until) in spoke {
                if speaker == own {
                    // A connection that is broken comes again as an event.
                    let _ = member.send(&said[from..begins]);
                    from = until;
                }
                begins = until;
            }
            let _ = member.send(&said[from..]);
        }
    }

    /// Whoever sat in the last seat sits there then.
    fn leave(&mut self, fd: RawFd) {
        let seat = self.seats[fd as usize];
        self.members.swap_remove(seat);
        if let Some(moved) = self.members.get(seat) {
            self.seats[moved.fd.as_raw_fd() as usize] = seat;
        }
    }
}

impl Member {
    /// What it is owed, then this; `None`: the connection is over.
    fn send(&mut self, bytes: &[u8]) -> Option<()> {
        if !self.pending.is_empty() {
            self.pending.extend_from_slice(bytes);
            match write(&self.fd, &self.pending) {
                Ok(n) => drop(self.pending.drain(..n)),
                Err(Errno::AGAIN) => {}
                Err(_) => return None,
            }
            return Some(());
        }
        let sent = match bytes {
            [] => return Some(()),
            _ => match write(&self.fd, bytes) {
                Ok(sent) => sent,
                Err(Errno::AGAIN) => 0,
                Err(_) => return None,
            },
        };
        self.pending.extend_from_slice(&bytes[sent..]);
        Some(())
    }
}
