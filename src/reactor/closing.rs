//! How connections end, one by one and all together.

use std::io;
use std::time::Duration;

use super::Reactor;
use super::Stopping;
use super::connection::{Connection, Input, Pause, Stage};
use super::os::{Os, Signal};
use super::recorder::Counters;
use super::trace::TraceEvent;
use crate::config::limits::{
    LEAVING, LINGER, LINGER_BYTES_MAX, PROGRESS_BYTES_PER_SECOND_MIN, PROGRESS_GRACE,
};
use crate::service::Backlog;
use crate::turn::{Closed, ConnId, Fate, Fault, Moment, Turn};

impl<S> Connection<S> {
    pub(super) fn is(&self, id: ConnId) -> bool {
        self.generation == id.generation
    }

    /// Its id: only the slab knows its slot.
    pub(super) fn id(&self, slot: u32) -> ConnId {
        ConnId {
            slot,
            generation: self.generation,
        }
    }

    /// Writes once, and remembers if the socket is full.
    pub(super) fn write<O: Os<Stream = S>>(
        &mut self,
        os: &mut O,
        bytes: &[u8],
    ) -> io::Result<usize> {
        if self.full || bytes.is_empty() {
            return Ok(0);
        }
        loop {
            match os.write(&self.stream, bytes) {
                Ok(n) => {
                    self.full = n < bytes.len();
                    return Ok(n);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.full = true;
                    return Ok(0);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl<O: Os> Reactor<O> {
    /// Our refusal, or bytes that make no sense: what was said leaves, then the connection ends.
    pub(super) fn refuse(&mut self, slot: u32, fault: &Fault) {
        let conn = &self.conns[slot as usize];
        let options = &self.listeners[usize::from(conn.listener)].options;
        self.recorder.faulted(&options.name, &conn.peer, fault);
        self.outbox.leave(slot, Closed::Refused, true);
    }

    /// Everything was said and has left: ends our side, so that it arrives.
    pub(super) fn finish(&mut self, slot: u32, why: Closed, linger: bool) {
        let conn = &mut self.conns[slot as usize];
        if !conn.is_open() {
            return;
        }
        // With nothing unread in the kernel, closing sends a FIN. With something, it sends a
        // reset, which destroys on its way what the peer has not read yet.
        if conn.incoming.has_ended() || !linger && !conn.incoming.may_have_more() {
            let why = if conn.incoming.has_ended() && why == Closed::Done {
                Closed::Ended
            } else {
                why
            };
            return self.close_now(slot, why);
        }
        if let Err(error) = self.os.shutdown(&conn.stream) {
            return self.close_now(slot, Closed::Gone(error.kind()));
        }
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
        let result = conn.read(&mut self.os, &mut self.input, self.limits.read_per_turn);
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
            Stage::Open { .. } => why,
        };
        conn.stage = Stage::Dead { why };
        conn.carry = None;
        // From here on letters to it go nowhere, also those that others still write in this turn.
        self.recorder.dropped(self.outbox.shut(slot));
        self.dead.push(slot);
    }

    /// Frees connections that were closed; the only place that does.
    pub(super) fn reap(&mut self) {
        while let Some(slot) = self.dead.pop() {
            let conn = self.conns.remove(slot as usize);
            let Stage::Dead { why } = conn.stage else {
                unreachable!("only `close_now` puts connections on this list")
            };
            let id = conn.id(slot);
            self.kill(id, crate::turn::Severity::Force);
            self.deadlines.cancel(slot);
            self.wakes.cancel(slot);
            self.os.close(conn.stream);
            let listener = &mut self.listeners[usize::from(conn.listener)];
            listener.connections -= 1;
            self.recorder
                .closed(id, &listener.options.name, &conn.peer, why);
            let service = listener.options.service;
            let mut turn = Turn::new(self.now, id, &mut self.outbox);
            self.services[service.0].closed(&mut turn, &why);
            self.end_rests();
        }
        // What `closed` asked for its own connection is void; what it told others leaves next turn.
        self.carry_out();
    }

    /// Looks whether a connection keeps up with what it is owed.
    pub(super) fn check_backlog(&mut self, slot: u32, owed: usize, progress: bool) {
        let Some(conn) = self.conns.get_mut(slot as usize).filter(|c| c.is_open()) else {
            return;
        };
        if self.outbox.fate(slot) != Fate::Open {
            if progress || self.deadlines.due(slot) == Moment::NEVER {
                self.deadlines.set(slot, self.now.after(LEAVING));
            }
            if conn.input == Input::Waiting {
                conn.input = Input::Paused(Pause::Leaving);
            }
            return;
        }
        match self.listeners[usize::from(conn.listener)].manner.backlog {
            Backlog::Pause => {
                if owed >= self.limits.out_pause && conn.input == Input::Waiting {
                    conn.input = Input::Paused(Pause::Owed);
                }
                if owed <= self.limits.out_resume && conn.input == Input::Paused(Pause::Owed) {
                    // No edge will come for what is already there: the queue is the wake-up.
                    self.enqueue(slot);
                }
            }
            Backlog::Disconnect => {
                if owed > self.limits.chat_hard {
                    return self.close_now(slot, Closed::TooSlow);
                }
                let behind = owed > self.limits.chat_soft;
                if behind != conn.behind {
                    conn.behind = behind;
                    self.set_deadline(slot);
                }
            }
        }
    }

    /// Sets the deadline that fits what the connection is in the middle of.
    pub(super) fn set_deadline(&mut self, slot: u32) {
        let conn = &mut self.conns[slot as usize];
        if !conn.is_open() {
            return;
        }
        // While its service is busy with it, or it is owed an answer after the end of its input, a
        // peer has nothing to say: its silence is patience.
        let is_silent_by_right = self.outbox.is_held(slot) || conn.input == Input::Ended;
        let idle = self.listeners[usize::from(conn.listener)].options.idle;
        let idle = idle.filter(|_| !is_silent_by_right);
        if self.outbox.fate(slot) != Fate::Open {
            return self.deadlines.set(slot, self.now.after(LEAVING));
        }
        if conn.behind {
            // Counts from when it fell behind, not from its last sign of life.
            if !self
                .deadlines
                .due(slot)
                .is_within(self.now, self.limits.chat_soft_time)
            {
                self.deadlines
                    .set(slot, self.now.after(self.limits.chat_soft_time));
            }
            return;
        }
        let in_frame = conn.carry.is_some() && !conn.unserved;
        if in_frame {
            let begun = conn.begun().expect("it is open");
            if *begun == 0 {
                *begun = self.now.as_secs().max(1);
                self.deadlines.set(slot, self.now.after(PROGRESS_GRACE));
            }
            return;
        }
        let was_in_frame = conn.begun().is_some_and(|begun| std::mem::take(begun) != 0);
        match idle {
            Some(idle) => self.deadlines.set(slot, self.now.after(idle)),
            None if was_in_frame || self.deadlines.due(slot) != Moment::NEVER => {
                self.deadlines.cancel(slot);
            }
            None => {}
        }
    }

    /// A deadline has come.
    pub(super) fn expire(&mut self, slot: u32) {
        let Some(conn) = self.conns.get_mut(slot as usize) else {
            return;
        };
        let id = conn.id(slot);
        self.recorder.trace(|| TraceEvent::Expired(id));
        match conn.stage {
            Stage::Dead { .. } => {}
            Stage::Lingering { why, .. } => self.close_now(slot, why),
            Stage::Open { .. } if self.outbox.fate(slot) != Fate::Open => {
                self.close_now(slot, Closed::Stuck);
            }
            Stage::Open { .. } if conn.behind => self.close_now(slot, Closed::TooSlow),
            // What came in time wins over the timer: it is looked at before anything else.
            Stage::Open { .. } if conn.input == Input::Queued => {
                self.deadlines
                    .set(slot, self.now.after(Duration::from_millis(1)));
            }
            Stage::Open { begun } if begun != 0 => {
                let bytes = conn.carry.as_ref().map_or(0, |carry| carry.len() as u64);
                let patience =
                    PROGRESS_GRACE + Duration::from_secs(bytes / PROGRESS_BYTES_PER_SECOND_MIN);
                let until = Moment::START
                    .after(Duration::from_secs(u64::from(begun)))
                    .after(patience);
                if until > self.now {
                    self.deadlines.set(slot, until);
                } else {
                    self.outbox.leave(slot, Closed::SlowFrame, true);
                    self.settle(slot);
                }
            }
            Stage::Open { .. } => {
                self.outbox.leave(slot, Closed::Idle, true);
                self.settle(slot);
            }
        }
    }

    /// Does what signals and callers ask for.
    pub(super) fn handle_signals(&mut self) {
        let mut signals = Vec::new();
        self.os.signals(&mut signals);
        for signal in signals {
            match signal {
                Signal::Stop => self.stop(),
                Signal::Reload => log::warn!("there is nothing to reload yet: SIGHUP was ignored"),
                Signal::Report => self.report(),
            }
        }
    }

    /// Stops: lets nobody new in, and gives whoever is here `drain-timeout` to
    /// finish. Asked again, stops at once.
    pub fn stop(&mut self) {
        if self.stopping != Stopping::No {
            self.stopping = Stopping::Now;
            return;
        }
        self.stopping = Stopping::Draining(self.now.after(self.limits.drain_timeout));
        self.close_listeners();
        let ids = self.ids();
        log::info!(connections = ids.len(); "stopping");
        for id in ids {
            self.ask_service(id, |service, turn| service.stopping(turn));
            if self.is_live(id) {
                self.settle(id.slot);
            }
        }
    }

    /// Whether there is nothing left to do.
    pub fn stopped(&self) -> bool {
        match self.stopping {
            Stopping::No => false,
            Stopping::Now => true,
            Stopping::Draining(until) => self.conns.is_empty() || self.now >= until,
        }
    }

    /// Lets go of whatever is left: no connection, child or socket outlives the loop.
    pub(super) fn abandon(&mut self) {
        self.kill_all();
        for id in self.ids() {
            self.close_now(id.slot, Closed::Stopping);
        }
        self.reap();
    }

    fn ids(&self) -> Vec<ConnId> {
        let conns = self.conns.iter();
        conns.map(|(slot, conn)| conn.id(slot as u32)).collect()
    }

    /// What has been done and what there is, for logs, tests and people.
    pub fn counters(&self) -> Counters {
        let (children, children_waiting) = self.children.count();
        let (_, owed) = self.outbox.count();
        Counters {
            connections: self.conns.len() as u64,
            children: children as u64,
            children_waiting: children_waiting as u64,
            timers: (self.deadlines.len() + self.wakes.len()) as u64,
            ready: self.ready.len() as u64,
            owed: owed as u64,
            ..self.recorder.counters.clone()
        }
    }

    fn report(&self) {
        match serde_json::to_string(&self.counters()) {
            Ok(counters) => log::warn!(target: "onepoll::counters", "{counters}"),
            Err(error) => log::error!(error:%; "could not print the counters"),
        }
    }

    /// Says so when a turn took long, and ends the process when the user asked for that.
    pub(super) fn watch_turn(&mut self, took: Duration) {
        if took < self.limits.turn_warn {
            return;
        }
        let counters = self.counters();
        self.recorder.slow_turn(took, &counters);
        if self.limits.turn_abort.is_some_and(|max| took > max) {
            log::error!(took_ms = took.as_millis() as u64; "a turn took longer than the user allows");
            std::process::abort();
        }
    }
}
