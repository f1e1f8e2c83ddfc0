//! The handshakes of connections whose listener has sessions: a stage that no service knows of.
//!
//! One step of one costs as much as a hundred messages, so they have a queue of their own, and a turn
//! takes a few off its front.

use super::Reactor;
use super::connection::{Input, Must, Stage};
use super::listener::listener_of;
use super::os::Os;
use super::secured::Opened;
use super::transport::Secured;
use crate::buf::ReadBuf;
use crate::turn::{Beginning, Broken, Closed, ConnId, Fate};

/// Steps of handshakes in one turn: 500 clients that began at once delayed others by 75 ms; with this
/// budget it was 4 to 6.
pub(super) const HANDSHAKES_PER_TURN: usize = 8;

impl<O: Os> Reactor<O> {
    /// A connection was accepted whose service is told of it when its handshake is over.
    pub(super) fn begin_handshake(&mut self, slot: u32) {
        self.conns[slot as usize].stage = Stage::Handshaking { heard: 0 };
        self.enqueue(slot);
    }

    /// A service begins a session on a connection that it dialled. Until that is there, the connection was not made: what
    /// becomes of it is told as of a dial.
    pub(super) fn begin_session(&mut self, id: ConnId, beginning: &Beginning) {
        let slot = id.slot;
        let conn = &mut self.conns[slot as usize];
        let is_dialled = listener_of(&self.listeners, conn).is_dialled;
        debug_assert!(
            is_dialled,
            "a session of what was accepted is its listener's"
        );
        if !conn.is_open() || self.outbox.fate(slot) != Fate::Open {
            return;
        }
        let secured = match Secured::begin(&*beginning.secure) {
            Ok(secured) if is_dialled && conn.secured.is_none() => secured,
            Ok(_) => return self.close_now(slot, Closed::Insecure),
            Err(error) => {
                let options = &listener_of(&self.listeners, conn).options;
                let broken = Broken(error.to_string());
                self.recorder.broke(&options.name, &conn.peer, &broken);
                return self.close_now(slot, Closed::Insecure);
            }
        };
        conn.secured = Some(secured);
        (conn.stage, conn.must) = (Stage::Handshaking { heard: 0 }, Must::Connect);
        let is_first = conn.carry.is_none() && self.outbox.owed(slot) == 0;
        self.deadlines.set(slot, self.now.after(beginning.within));
        self.recount(slot);
        if !is_first {
            // Whoever is between may have put it there, and it would be taken for what came through the session.
            let broken = "plaintext came before the session began that nobody had asked for";
            if let Some(secured) = &mut self.conns[slot as usize].secured {
                secured.broken = Some(Box::new(Broken(broken.to_owned())));
            }
            return self.close_now(slot, Closed::Insecure);
        }
        self.outgoing(slot);
        let conn = &mut self.conns[slot as usize];
        conn.input = Input::Waiting;
        if conn.incoming.has_ended() {
            self.close_now(slot, Closed::Gone(std::io::ErrorKind::UnexpectedEof));
        } else if conn.incoming.may_have_more() {
            self.enqueue(slot);
        }
    }

    /// A connection on the ready queue is in its handshake: its place is on the other queue.
    pub(super) fn queue_handshake(&mut self, id: ConnId) {
        let conn = &mut self.conns[id.slot as usize];
        conn.queued = true;
        self.shaking.push_back(id);
    }

    /// A step for each of the handshakes that have waited longest.
    pub(super) fn serve_handshakes(&mut self) {
        for _ in 0..HANDSHAKES_PER_TURN.min(self.shaking.len()) {
            if let Some(id) = self.shaking.pop_front() {
                self.shake(id);
                self.recount(id.slot);
            }
        }
    }

    /// Reads once, and takes what came; at its end the service is told of the connection.
    fn shake(&mut self, id: ConnId) {
        let slot = id.slot;
        let Some(conn) = self.conns.get_mut(slot as usize).filter(|c| c.is(id)) else {
            return self.recorder.stale();
        };
        conn.queued = false;
        let Stage::Handshaking { heard } = conn.stage else {
            return;
        };
        conn.input = Input::Waiting;
        let most = conn
            .secured
            .as_ref()
            .map_or(0, |secured| secured.handshake_bytes_max);
        let room = self.limits.read_per_turn;
        if let Err(error) = self.read_cipher(slot, room) {
            return self.close_now(slot, Closed::Gone(error.kind()));
        }
        let conn = &mut self.conns[slot as usize];
        if conn.incoming.has_ended() {
            return self.close_now(slot, Closed::Gone(std::io::ErrorKind::UnexpectedEof));
        }
        let heard = heard.saturating_add(self.cipher.len() as u32);
        conn.stage = Stage::Handshaking { heard };
        let mut input = ReadBuf::default();
        match self.open_cipher(slot, &mut input) {
            Err(broken) => self.break_off(slot, &broken),
            Ok(Opened { is_open: true, .. }) => self.open_secured(id, input),
            Ok(_) if heard > most => {
                let much = Broken(format!(
                    "{heard} bytes came, and its handshake has not ended"
                ));
                self.break_off(slot, &much);
            }
            Ok(_) => {
                self.outgoing(slot);
                let conn = &mut self.conns[slot as usize];
                if conn.incoming.has_ended() {
                    self.close_now(slot, Closed::Gone(std::io::ErrorKind::UnexpectedEof));
                } else if conn.incoming.may_have_more() {
                    conn.input = Input::Queued;
                    self.queue_handshake(id);
                }
            }
        }
    }

    /// The handshake is over: the service is told of the connection, and offered what came with it.
    fn open_secured(&mut self, id: ConnId, input: ReadBuf) {
        let conn = &mut self.conns[id.slot as usize];
        let is_dialled = !conn.was_made();
        let peer = conn.peer;
        let listener = conn.listener;
        let is_gated = listener_of(&self.listeners, conn).manner.is_gated;
        let mut binding = None;
        conn.stage = Stage::Open { begun: 0 };
        if let Some(secured) = &mut conn.secured {
            secured.is_open = true;
            if is_gated {
                binding = secured.session.binding();
            }
        }
        self.recorder.counters.tls_handshakes.completed += 1;
        let tally = &mut self.listeners[usize::from(conn.listener)].tally;
        self.recorder.served(tally, input.len(), 0);
        if !input.is_empty() {
            conn.carry = Some(Box::new(input));
            conn.unserved = true;
            self.outbox.resized(0, conn.carried());
        }
        self.outgoing(id.slot);
        if is_dialled {
            let conn = &mut self.conns[id.slot as usize];
            conn.must = conn.must_besides();
            self.deadlines.cancel(id.slot);
            return self.tell_secured(id);
        }
        if is_gated {
            self.outbox.set_channel_binding(binding);
        } else {
            self.need_not_log_in(id.slot);
        }
        self.outbox.set_listener(listener);
        self.ask_service(id, |service, turn| service.open(turn, &peer));
        self.outbox.set_channel_binding(None);
    }
}
