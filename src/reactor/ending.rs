//! How a connection ends.

use std::io;

use super::Reactor;
use super::connection::{Input, Must, Stage};
use super::half::Half;
use super::listener::listener_of;
use super::os::{Os, Readiness};
use super::standing::After;
use super::trace::{TraceEvent, Verdict};
use crate::config::limits::{LINGER, LINGER_BYTES_MAX};
use crate::turn::{Closed, Fate, Fault, Turn};

impl<O: Os> Reactor<O> {
    /// Our refusal, or bytes that make no sense: what was said leaves, then the connection ends.
    pub(super) fn refuse(&mut self, slot: u32, fault: &Fault) {
        let conn = &self.conns[slot as usize];
        let options = &listener_of(&self.listeners, conn).options;
        self.recorder.faulted(&options.name, &conn.peer, fault);
        self.penalise(slot, fault.closes());
        self.outbox.leave(slot, fault.closes(), true);
    }

    /// Holds it against a connection's source if it failed to log in, at once: a peer that makes the end of its
    /// connection last, or last no longer, has failed all the same.
    pub(super) fn penalise(&mut self, slot: u32, why: Closed) {
        let conn = &self.conns[slot as usize];
        if let Some(time) = self.sources.penalise(self.now, &conn.peer, why) {
            let name = &listener_of(&self.listeners, conn).options.name;
            self.recorder.penalised(name, &conn.peer, time);
        }
    }

    /// A connection's socket failed when it was written to. Its peer has gone, and what it said before that is
    /// read, where its service wants it: the poll may not have told of any of it yet.
    #[cold]
    pub(super) fn cannot_send(&mut self, slot: u32, kind: io::ErrorKind) {
        let conn = &mut self.conns[slot as usize];
        let has_gone = matches!(
            kind,
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
        );
        let manner = &listener_of(&self.listeners, conn).manner;
        let reads_on = has_gone
            && manner.reads_after_reset
            && conn.secured.is_none()
            && !conn.is_logging_in()
            && !conn.incoming.has_ended()
            && self.outbox.fate(slot) == Fate::Open;
        if !reads_on {
            return self.close_now(slot, Closed::Gone(kind));
        }
        let hung_up = Readiness {
            hung_up: true,
            ..Readiness::default()
        };
        conn.learn(hung_up);
        conn.must = Must::Nothing;
        self.recorder.dropped(self.outbox.drop_owed(slot));
        self.after_turn(slot, After::Turn);
    }

    /// Everything was said and has left: ends our side, so that it arrives.
    pub(super) fn finish(&mut self, slot: u32, why: Closed, linger: bool) {
        let conn = &mut self.conns[slot as usize];
        if !conn.is_open() {
            return;
        }
        let why = if conn.has_ended() && why == Closed::Done {
            Closed::Ended
        } else {
            why
        };
        if conn.secured.is_some() && !self.say_bye(slot, why, linger) {
            return;
        }
        // With nothing unread in the kernel, closing sends a FIN. With something, it sends a
        // reset, which destroys on its way what the peer has not read yet.
        let conn = &mut self.conns[slot as usize];
        conn.incoming = conn.incoming.of_kernel();
        if conn.incoming.has_ended() || !linger && !conn.incoming.may_have_more() {
            return self.close_now(slot, why);
        }
        self.linger(slot, why);
    }

    /// Shuts down writing, and discards what still comes until the peer has ended its side.
    pub(super) fn linger(&mut self, slot: u32, why: Closed) {
        let conn = &mut self.conns[slot as usize];
        if let Err(error) = self.os.shutdown(&conn.stream) {
            return self.close_now(slot, Closed::Gone(error.kind()));
        }
        self.outbox.resized(conn.carried(), 0);
        conn.carry = None;
        conn.stage = Stage::Lingering { why, discarded: 0 };
        let id = conn.id(slot);
        self.recorder.trace(|| TraceEvent::Lingers(id));
        self.outbox.mark_left(slot);
        self.deadlines.set(slot, self.now.after(LINGER));
        self.wakes.cancel(slot);
        // A connection that is on the queue already stays there.
        if conn.input != Input::Queued {
            conn.input = Input::Waiting;
            if conn.incoming.may_have_more() {
                self.enqueue(slot);
            }
        }
    }

    /// Reads what a lingering connection still sends, and throws it away.
    pub(super) fn discard(&mut self, slot: u32) {
        let conn = &mut self.conns[slot as usize];
        let Stage::Lingering { why, discarded } = conn.stage else {
            return;
        };
        conn.input = Input::Waiting;
        self.input.clear();
        let room = self.limits.read_per_turn;
        let result = conn.read(&mut self.os, &mut self.input, room);
        let (id, got) = (conn.id(slot), self.input.unread());
        self.recorder.trace(|| TraceEvent::Read {
            id,
            moved: listener_of(&self.listeners, conn).moved(got),
            room,
            verdict: match &result {
                Ok(n) => Verdict::of(*n, conn.incoming),
                Err(error) => Verdict::Failed(error.kind()),
            },
        });
        let discarded = discarded.saturating_add(self.input.len() as u32);
        self.input.clear();
        conn.stage = Stage::Lingering { why, discarded };
        if result.is_err() || conn.incoming.has_ended() || discarded >= LINGER_BYTES_MAX {
            return self.close_now(slot, why);
        }
        if conn.incoming.may_have_more() {
            self.enqueue(slot);
        }
    }

    /// The connection is over. It is freed at the end of the turn, not now: an event of this very
    /// batch may still be about its slot.
    pub(super) fn close_now(&mut self, slot: u32, why: Closed) {
        let conn = &mut self.conns[slot as usize];
        let why = match conn.stage {
            Stage::Dead { .. } => return,
            Stage::Lingering { why, .. } => why,
            Stage::Connecting | Stage::Handshaking { .. } | Stage::Open { .. } => why,
        };
        conn.stage = Stage::Dead { why };
        self.outbox.resized(conn.buffered(), 0);
        conn.carry = None;
        if let Some(secured) = &mut conn.secured {
            secured.counted = 0;
        }
        // From here on what is sent to it goes nowhere, also what other connections still send in this turn.
        self.recorder.dropped(self.outbox.shut(slot));
        self.dead.push(slot);
    }

    /// Frees connections that were closed; the only place that does.
    pub(super) fn reap(&mut self) {
        if self.dead.is_empty() {
            return;
        }
        self.has_reaped = true;
        while let Some(slot) = self.dead.pop() {
            let mut conn = self.conns.remove(slot as usize);
            let Stage::Dead { why } = conn.stage else {
                unreachable!("only `close_now` puts connections on this list")
            };
            let id = conn.id(slot);
            self.logging_in -= usize::from(conn.is_logging_in());
            self.kill(id, crate::turn::Severity::Force);
            self.deadlines.cancel(slot);
            self.wakes.cancel(slot);
            self.sent_files.forget(id);
            let (is_known, was_made) = (conn.is_known(), conn.was_made());
            let secured = conn.secured.take();
            self.os.close(conn.stream);
            let listener = &mut self.listeners[usize::from(conn.listener)];
            listener.connections -= 1;
            let successor = listener.successor;
            let rules = &listener.options.sources;
            self.sources.closed(listener.number, rules, &conn.peer);
            let (tally, name) = (&mut listener.tally, &listener.options.name);
            if listener.is_dialled {
                // Its service says why.
                self.recorder.hung_up(tally, id, name, &conn.peer, why);
            } else {
                self.recorder.closed(tally, id, name, &conn.peer, why);
            }
            if secured.as_ref().is_some_and(|secured| !secured.is_open) {
                self.recorder.counters.tls_handshakes.failed += 1;
            }
            let service = listener.options.service;
            if is_known {
                let mut turn = Turn::new(self.now, id, &mut self.outbox);
                match (Half::of(&mut self.services, listener), secured) {
                    (Half::Accepted(service), _) => service.closed(&mut turn, &why),
                    (Half::Dialled(dialled), None) => dialled.0.closed(&mut turn, &why),
                    (Half::Dialled(dialled), Some(secured)) => {
                        dialled.0.closed(&mut turn, &secured.why_gone(why));
                    }
                }
                self.ask_due(service);
                if self.outbox.has_effects() {
                    for note in self.outbox.last_notes(id) {
                        self.note_file_of(service, id, &note);
                    }
                }
            } else if !was_made {
                self.tell_dial_failed(service, why, secured.as_deref());
            }
            if let Some(successor) = successor {
                self.listeners[usize::from(successor)].older -= 1;
            }
            self.free_unused_listener(usize::from(conn.listener));
            self.end_rests();
            // What a room is told of thousands that leave at once is told over several turns.
            if self.outbox.deliveries() > self.limits.deliveries_per_turn {
                break;
            }
        }
        // What `closed` asked for its own connection is void; what it told others leaves next turn.
        self.carry_out();
    }
}
