//! Sockets that go to another process: the loop sends their descriptors, and at the end lets go of them.
//!
//! Does not know which socket is for what, nor what is said about it: what runs the loop does, and is told of
//! requests as [`News::HandOver`](super::News).

use std::io;
use std::os::fd::OwnedFd;

use super::Reactor;
use super::audit::AuditEvent;
use super::connection::Connection;
use super::datagram::DatagramId;
use super::listener::ListenerId;
use super::os::{HandedOver, Os};
use super::stopping::Stopping;
use crate::service::Peer;
use crate::turn::ConnId;
use crate::wire::Encode;

/// A socket that is open: a listener, or a datagram socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SocketId {
    /// A listener.
    Listener(ListenerId),
    /// A datagram socket.
    Datagram(DatagramId),
}

impl<O: Os> Reactor<O> {
    /// Sends `answer` through a connection, and beside it the descriptors of these sockets. Here they go on to
    /// be served.
    pub fn hand_over(
        &mut self,
        to: ConnId,
        answer: &impl Encode,
        sockets: &[SocketId],
    ) -> io::Result<()> {
        let conn = live(&self.conns, to).ok_or(io::ErrorKind::NotConnected)?;
        if self.outbox.owed(to.slot) > 0 {
            // They would overtake what was said before.
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let mut handed = Vec::with_capacity(sockets.len());
        for socket in sockets {
            let found = match *socket {
                SocketId::Listener(id) => {
                    let listener = self.listeners.get(usize::from(id.0));
                    let socket = listener.and_then(|listener| listener.socket.as_ref());
                    socket.map(HandedOver::Listener)
                }
                SocketId::Datagram(id) => {
                    let datagram = self.datagrams.get(id.0 as usize);
                    let socket = datagram.and_then(|datagram| datagram.socket.as_ref());
                    socket.map(HandedOver::Datagram)
                }
            };
            handed.push(found.ok_or(io::ErrorKind::NotFound)?);
        }
        let mut bytes = Vec::new();
        answer.encode(&mut bytes);
        let sent = self.os.send_sockets(&conn.stream, &bytes, &handed)?;
        self.handed_over(to, &bytes, sent)
    }

    /// As [`hand_over`](Reactor::hand_over), with sockets that are not served here.
    pub fn hand_over_kept(
        &mut self,
        to: ConnId,
        answer: &impl Encode,
        sockets: &[&OwnedFd],
    ) -> io::Result<()> {
        let conn = live(&self.conns, to).ok_or(io::ErrorKind::NotConnected)?;
        if self.outbox.owed(to.slot) > 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let handed: Vec<HandedOver<'_, O>> =
            sockets.iter().map(|kept| HandedOver::Kept(kept)).collect();
        let mut bytes = Vec::new();
        answer.encode(&mut bytes);
        let sent = self.os.send_sockets(&conn.stream, &bytes, &handed)?;
        self.handed_over(to, &bytes, sent)
    }

    fn handed_over(&mut self, to: ConnId, bytes: &[u8], sent: usize) -> io::Result<()> {
        // They went with the first byte; the rest is sent as everything is.
        self.outbox.say([to], |out| out.extend_from_slice(bytes));
        self.outbox.flush(to.slot, |_| Ok(sent))?;
        let conn = &self.conns[to.slot as usize];
        self.listeners[usize::from(conn.listener)].tally.bytes_out += sent as u64;
        self.outbox.mark_dirty(to.slot);
        self.ask_service(to, |_, turn| turn.resume());
        Ok(())
    }

    /// Lets go of these sockets, whose other owner serves them from now on, says so through this connection, and
    /// closes what sockets there are besides as [`stop`](Reactor::stop) does.
    ///
    /// Connections go on for `drain-timeout`, and only then are they asked to finish: there is no hurry, since
    /// the other process serves those that come, and a connection whose request is on its way would lose it.
    ///
    /// # Errors
    ///
    /// If the other process is gone, or this one is stopping, nothing changes.
    pub fn release(
        &mut self,
        to: ConnId,
        answer: &impl Encode,
        taken: &[SocketId],
    ) -> io::Result<()> {
        self.release_with(to, answer, taken, 0)
    }

    /// The same, where the other process has so many sockets besides that are [kept](Reactor::hand_over_kept).
    pub fn release_with(
        &mut self,
        to: ConnId,
        answer: &impl Encode,
        taken: &[SocketId],
        kept: usize,
    ) -> io::Result<()> {
        if self.stopping != Stopping::No {
            return Err(io::Error::other("the server is stopping"));
        }
        // One whose peer has hung up was closed in the turn in which that was seen.
        let by = live(&self.conns, to)
            .ok_or(io::ErrorKind::NotConnected)?
            .peer;
        self.recorder
            .note(|| AuditEvent::TakeOver(by, taken.len() + kept));
        self.let_go_of(taken);
        self.ask_service(to, |_, turn| {
            turn.reply(answer);
            turn.close();
        });
        Ok(())
    }

    /// Lets go of these sockets, and closes the others, as [`release`](Reactor::release) does; who has them now was
    /// told so elsewhere. Nothing changes in a loop that is stopping already.
    pub fn let_go_of(&mut self, taken: &[SocketId]) {
        if self.stopping != Stopping::No {
            return;
        }
        self.stopping = Stopping::Released(self.now.after(self.limits.drain_timeout));
        for socket in taken {
            match *socket {
                SocketId::Listener(id) => self.let_go(id),
                SocketId::Datagram(id) => self.retire_datagrams(id),
            }
        }
        self.drain_listeners();
        for n in 0..self.datagrams.len() {
            self.retire_datagrams(DatagramId(n as u32));
        }
    }

    /// Says why nothing changes, and ends the connection.
    pub fn refuse_hand_over(&mut self, to: ConnId, answer: &impl Encode) {
        self.ask_service(to, |_, turn| {
            turn.reply(answer);
            turn.close_lingering();
        });
    }

    /// The process at the other end of a connection.
    pub fn peer(&self, id: ConnId) -> Option<Peer> {
        live(&self.conns, id).map(|conn| conn.peer)
    }

    /// How many connections there are.
    pub fn connections(&self) -> usize {
        self.conns.len()
    }

    /// Whether a connection is open.
    pub fn is_open(&self, id: ConnId) -> bool {
        self.is_live(id)
    }

    /// Whether the server is on its way out, or has let go of its sockets.
    pub fn is_stopping(&self) -> bool {
        self.stopping != Stopping::No
    }
}

fn live<S>(conns: &slab::Slab<Connection<S>>, id: ConnId) -> Option<&Connection<S>> {
    let conn = conns.get(id.slot as usize)?;
    (conn.is(id) && !conn.is_dead()).then_some(conn)
}
