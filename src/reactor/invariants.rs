//! What is always true at the end of a turn: checked after every turn in debug builds and by the
//! simulator. Each says what it is about by a name such as I3, which its message begins with.

use super::Reactor;
use super::connection::{Connection, Input, Must, Pause, Stage};
use super::listener::listener_of;
use super::os::Os;
use super::patience::SOON;
use super::secured::SEALED_BYTES_MAX;
use super::tally::Tally;
use crate::config::limits::{LEAVING, LINGER, LOGIN_BYTES_MAX, PROGRESS_GRACE};
use crate::service::Backlog;
use crate::turn::{ConnId, Fate, Moment};
use crate::wire::CHALLENGE_BYTES;

/// A look at one connection at the end of a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// Which.
    pub id: ConnId,
    /// How it stands.
    pub state: State,
    /// Until when the loop waits for it.
    pub due: Moment,
}

/// How a connection stands at the end of a turn: its stage, what its reading half waits for, and
/// whether its lane is leaving.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// For an edge, and has not logged in.
    LoggingIn,
    /// Dialled, and not answered.
    Connecting,
    /// In its handshake: its service does not know of it.
    Handshaking,
    /// For an edge, with nothing unread.
    Waiting,
    /// For the rest of a frame.
    InFrame,
    /// On the ready queue.
    Queued,
    /// Owed more than the soft limit, whatever its reading half does.
    Behind,
    /// Not read until it has taken some of what it is owed.
    PausedOwed,
    /// Not read until its service takes input again.
    PausedHeld,
    /// Not read any more; what it is owed leaves.
    Leaving,
    /// The end of its input was read, and its service has not said all.
    AnswerDue,
    /// The end of its input was read; what it is owed leaves.
    Ended,
    /// Our side has ended; what still comes is discarded.
    Lingering,
    /// The same, and there is something to discard.
    LingeringQueued,
    /// Closed, and not freed in its turn, which would have cost too much.
    Dead,
}

/// What came and went at all endpoints. Of the counters these are checked after each turn of a debug build, and to add up
/// all of them would take longer than the turn.
#[derive(Debug, Default)]
struct Flow {
    opened: u64,
    closed: u64,
    bytes_out: u64,
}

impl Flow {
    fn add(&mut self, tally: &Tally) {
        self.opened += tally.opened;
        self.closed += tally.closed.sum();
        self.bytes_out += tally.bytes_out;
    }
}

impl<O: Os> Reactor<O> {
    /// Says which invariant does not hold, and of which connection.
    pub fn check(&self) -> Result<(), String> {
        let (lanes, _) = self.outbox.count();
        // I1: one lane per connection that is not closed, and back.
        let live = self.conns.len() - self.dead.len();
        if lanes != live {
            return Err(format!("I1: {live} connections and {lanes} lanes"));
        }
        // I10: what is not freed in its turn would have cost more than a turn may.
        if !self.dead.is_empty() && self.outbox.deliveries() <= self.limits.deliveries_per_turn {
            return Err(format!(
                "I10: {} connections are not freed",
                self.dead.len()
            ));
        }
        for (slot, conn) in &self.conns {
            self.check_connection(slot as u32, conn)
                .map_err(|broken| format!("connection {slot}: {broken}: {conn:?}"))?;
        }
        // I3, I10: one place on the ready queue, so one budget a turn.
        let mut queued: Vec<u64> = self
            .ready
            .iter()
            .map(|id| u64::from(id.slot) << 32 | u64::from(id.generation))
            .collect();
        queued.sort_unstable();
        if queued.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err("I10: on the ready queue twice".into());
        }
        if self.listeners.iter().any(|l| l.pending) && !self.may_accept {
            return Err("I3: a connection may wait at a listener, and nobody looks".into());
        }
        // I7: what is counted equals a recount.
        let flow = self.flow();
        if flow.opened - flow.closed != self.conns.len() as u64 {
            return Err("I7: connections opened less closed are not those that are here".into());
        }
        let by_listener: usize = self.listeners.iter().map(|l| l.connections).sum();
        if by_listener != self.conns.len() {
            return Err(format!("I7: the listeners count {by_listener} connections"));
        }
        let sources = self.conns.iter().map(|(_, conn)| {
            let listener = listener_of(&self.listeners, conn);
            (listener.number, &listener.options.sources, &conn.peer)
        });
        self.sources.check(self.now, sources)?;
        // Nearly always none was replaced. Nothing is allocated for a check: tests count that.
        let first = self.listeners.iter().position(|l| l.successor.is_some());
        let replaced = first.map_or(&[][..], |first| &self.listeners[first..]);
        for (n, listener) in self.listeners.iter().enumerate() {
            let before = replaced.iter();
            let before = before.filter(|l| l.successor.map(usize::from) == Some(n));
            let older: usize = before.map(|l| l.connections).sum();
            if listener.older != older {
                let counted = listener.older;
                return Err(format!(
                    "I7: listener {n} counts {counted} older connections, and they are {older}"
                ));
            }
        }
        let logging_in = self.conns.iter().filter(|(_, c)| c.is_logging_in()).count();
        // There may be more than the limit, if it was lowered since they came.
        if logging_in != self.logging_in {
            return Err(format!(
                "I7: {logging_in} connections have not logged in, and {} are counted",
                self.logging_in
            ));
        }
        // I6, I7: buffers are counted as they are, and within their budget.
        let shared = self.services.iter().map(|service| service.shared_bytes());
        let mut recount: usize = shared.sum();
        for (slot, conn) in &self.conns {
            if conn
                .secured
                .as_ref()
                .is_some_and(|s| !conn.is_dead() && s.counted != s.buffered())
            {
                return Err(format!(
                    "I7: the session of connection {slot} has other buffers than were counted"
                ));
            }
            recount += self.buffered_for(slot as u32, conn);
        }
        let buffered = self.outbox.buffered() - self.outbox.arena_bytes();
        if buffered != recount {
            return Err(format!(
                "I7: {buffered} bytes of buffers are counted, and there are {recount}"
            ));
        }
        if buffered > self.buffers_high && !self.outbox.has_dirty() {
            return Err(format!("I6: buffers have {buffered} bytes"));
        }
        // I5: what was said was sent, is owed, or was dropped with its connection.
        let (said, (_, owed)) = (self.outbox.said_in_all(), self.outbox.count());
        let (sent, dropped) = (flow.bytes_out, self.recorder.counters.bytes_dropped);
        if said != sent + owed as u64 + dropped {
            return Err(format!(
                "I5: {said} bytes were said, {sent} sent, {owed} are owed, {dropped} dropped"
            ));
        }
        let timed = |slot: usize| self.conns.contains(slot);
        if let Some(slot) = self
            .deadlines
            .slots()
            .chain(self.wakes.slots())
            .find(|&s| !timed(s))
        {
            return Err(format!(
                "I9: a timer of slot {slot} outlived its connection"
            ));
        }
        self.deadlines.check()?;
        self.wakes.check()
    }

    fn flow(&self) -> Flow {
        let mut flow = Flow::default();
        flow.add(&self.gone);
        for listener in &self.listeners {
            flow.add(&listener.tally);
        }
        flow
    }

    /// The connections, and how each stands, for tests that ask what has met which state.
    pub fn looks(&self) -> impl Iterator<Item = Look> {
        self.conns.iter().map(|(slot, conn)| {
            let id = conn.id(slot as u32);
            Look {
                id,
                state: self.state(id.slot, conn),
                due: self.deadlines.due(id.slot),
            }
        })
    }

    fn state(&self, slot: u32, conn: &Connection<O::Stream>) -> State {
        let is_open = self.outbox.fate(slot) == Fate::Open;
        match (conn.stage, conn.input) {
            (Stage::Dead { .. }, _) => State::Dead,
            (Stage::Connecting, _) => State::Connecting,
            (Stage::Handshaking { .. }, _) => State::Handshaking,
            (Stage::Lingering { .. }, Input::Queued) => State::LingeringQueued,
            (Stage::Lingering { .. }, _) => State::Lingering,
            (Stage::Open { .. }, _) if conn.is_behind() && is_open => State::Behind,
            (Stage::Open { .. }, Input::Waiting) if conn.is_logging_in() => State::LoggingIn,
            (Stage::Open { .. }, Input::Waiting) if conn.carry.is_some() => State::InFrame,
            (Stage::Open { .. }, Input::Waiting) => State::Waiting,
            (Stage::Open { .. }, Input::Queued) => State::Queued,
            (Stage::Open { .. }, Input::Paused(Pause::Owed)) => State::PausedOwed,
            (Stage::Open { .. }, Input::Paused(Pause::Held)) => State::PausedHeld,
            (Stage::Open { .. }, Input::Paused(Pause::Leaving)) => State::Leaving,
            (Stage::Open { .. }, Input::Ended) if is_open => State::AnswerDue,
            (Stage::Open { .. }, Input::Ended) => State::Ended,
        }
    }

    fn check_connection(&self, slot: u32, conn: &Connection<O::Stream>) -> Result<(), String> {
        // Near the end of time a deadline is beyond it, which is never.
        let time_ends = self.now.after(PROGRESS_GRACE) == Moment::NEVER;
        let due = self.deadlines.due(slot);
        let deadline = due != Moment::NEVER || time_ends;
        let (owed, fate) = (self.outbox.owed(slot), self.outbox.fate(slot));
        let listed = self.outbox.is_dirty(slot);
        let err = |what: &str| Err(what.to_owned());
        if !self.fresh.is_empty() {
            return err("I3: not watched at the end of a turn");
        }
        match conn.stage {
            // I10 says why it was not freed in its turn.
            Stage::Dead { .. } => return Ok(()),
            Stage::Connecting if !deadline => return err("I4: is dialled without a deadline"),
            Stage::Connecting if owed > 0 || conn.input != Input::Waiting => {
                return err("I3: is served, and was not answered");
            }
            Stage::Connecting => return Ok(()),
            Stage::Handshaking { .. } => return self.check_handshake(slot, conn, due),
            Stage::Lingering { .. } if !deadline => return err("I4: lingers without a deadline"),
            Stage::Lingering { .. } if due > self.now.after(LINGER) => {
                return err("I4: lingers longer than it may");
            }
            Stage::Lingering { .. } if conn.carry.is_some() => {
                return err("I6: lingers, and keeps input");
            }
            Stage::Lingering { .. } => {
                let waits = conn.input == Input::Waiting && !conn.incoming.may_have_more();
                let queued = conn.input == Input::Queued && self.is_queued(slot, conn);
                return if waits || queued {
                    Ok(())
                } else {
                    err("I3: lingers unserved")
                };
            }
            Stage::Open { .. } => {}
        }
        self.check_session(slot, conn)?;
        match conn.input {
            Input::Waiting if conn.incoming.may_have_more() => {
                err("I3: waits for an edge that has come")
            }
            Input::Waiting if conn.unserved => err("I3: waits with bytes the service has not seen"),
            Input::Waiting if conn.incoming.has_ended() => err("I3: waits after the end"),
            Input::Queued if !self.is_queued(slot, conn) => err("I3: queued in no queue"),
            Input::Paused(Pause::Held) if !self.outbox.is_held(slot) => {
                err("I3: paused as held, and not held")
            }
            Input::Paused(Pause::Owed)
                if owed <= self.limits.out_resume && owed < self.limits.out_pause && !listed =>
            {
                err("I3: paused and owed nothing")
            }
            Input::Paused(Pause::Leaving) if fate == Fate::Open => err("I3: leaves nowhere"),
            Input::Ended if !conn.incoming.has_ended() => err("I3: ended before the end"),
            _ => Ok(()),
        }?;
        if conn.incoming.peer_gone() && fate == Fate::Open && conn.input != Input::Queued {
            return err("I3: its peer is gone, and it waits");
        }
        // The writing half: what is owed has an edge to wait for, or a place on the list.
        if owed > 0 && !conn.full && !listed {
            return err("I3: owed something, and nothing will send it");
        }
        if fate == Fate::Open && self.outbox.awaits_sent(slot) && !listed {
            return err("I3: its service was not told that nothing is owed");
        }
        if fate != Fate::Open && !deadline && !listed {
            return err("I4: leaves without a deadline");
        }
        if fate != Fate::Open && !listed && due > self.now.after(LEAVING) {
            return err("I4: is waited for longer than one that leaves may be");
        }
        if conn.is_logging_in() && fate == Fate::Open {
            self.check_login(slot, conn)?;
        }
        let soft = self.now.after(self.limits.chat_soft_time);
        if conn.is_behind() && fate == Fate::Open && !listed && due > soft {
            return err("I4: is behind for longer than it may be");
        }
        let idle = listener_of(&self.listeners, conn).options.idle;
        let is_due_for_nothing =
            due != Moment::NEVER && idle.is_none_or(|idle| due > self.now.after(idle.max(SOON)));
        let is_at_rest = fate == Fate::Open && conn.must == Must::Nothing && !listed;
        if is_at_rest && conn.stage == (Stage::Open { begun: 0 }) && is_due_for_nothing {
            return err("I4: is waited for until a moment that nothing asks for");
        }
        if !matches!(conn.stage, Stage::Open { begun: 0 }) && !deadline {
            return err("I4: in the middle of a frame without a deadline");
        }
        // I6: no connection is owed, and no input kept, beyond the limits and one budget.
        let backlog = listener_of(&self.listeners, conn).manner.backlog;
        let limits = &self.limits;
        match backlog {
            Backlog::Disconnect if owed > limits.chat_hard && fate == Fate::Open && !listed => {
                return err("I6: owed more than the hard limit");
            }
            // The line that has begun to leave, what is sealed, and what tells of the others are beside it.
            Backlog::DropOldest
                if owed > limits.chat_soft + SEALED_BYTES_MAX + 4 * limits.frame
                    && fate == Fate::Open
                    && !listed =>
            {
                return err("I6: owed more than lines are kept for it");
            }
            Backlog::Pause
                if owed >= limits.out_pause
                    && conn.input == Input::Waiting
                    && !self.outbox.is_always_heard(slot) =>
            {
                return err("I6: read on, and owed too much");
            }
            _ => {}
        }
        let kept = conn.carry.as_ref().map_or(0, |carry| carry.len());
        let besides = conn.opens_besides() + listener_of(&self.listeners, conn).frame_besides();
        if kept > limits.frame + limits.read_per_turn + besides
            && fate == Fate::Open
            && !self.outbox.is_held(slot)
        {
            return err("I6: keeps more input than a frame");
        }
        if conn.carry.as_ref().is_some_and(|carry| carry.is_empty()) {
            return err("I6: a connection at rest owns a buffer");
        }
        if self.outbox.owns_for_nothing(slot) {
            return err("I6: owed nothing, and its lane owns a buffer");
        }
        Ok(())
    }

    fn check_handshake(
        &self,
        slot: u32,
        conn: &Connection<O::Stream>,
        due: Moment,
    ) -> Result<(), String> {
        let err = |what: &str| Err(what.to_owned());
        let until = self.now.after(self.limits.login_timeout.max(SOON));
        let is_late = match conn.must {
            // As long as its service says.
            Must::Connect => due == Moment::NEVER && until != Moment::NEVER,
            must => must != Must::LogIn || due > until,
        };
        if is_late {
            return err("I4: its handshake may take longer than any may");
        }
        if self.outbox.owed(slot) > 0 || conn.carry.is_some() {
            return err("I8: owes or is owed something before its handshake has ended");
        }
        let waits = conn.input == Input::Waiting && !conn.incoming.may_have_more();
        let is_queued = self
            .shaking
            .iter()
            .any(|id| id.slot == slot && conn.is(*id));
        let queued = conn.input == Input::Queued && (is_queued || self.is_queued(slot, conn));
        if !waits && !queued {
            return err("I3: nobody goes on with its handshake");
        }
        self.check_session(slot, conn)
    }

    /// What a session holds has an edge to wait for, or a place on a list.
    fn check_session(&self, slot: u32, conn: &Connection<O::Stream>) -> Result<(), String> {
        let Some(secured) = &conn.secured else {
            return Ok(());
        };
        let err = |what: &str| Err(what.to_owned());
        if secured.session.holds() > 0 {
            return err("I3: its session holds what its service was not given");
        }
        if !secured.left.is_empty() && !conn.incoming.may_have_more() {
            return err("I3: no edge will tell of the records that were left");
        }
        if secured.session.wants_write() && !conn.full && !self.outbox.is_dirty(slot) {
            return err("I3: its session has something to send, and nothing will send it");
        }
        if secured.sealed > self.outbox.owed(slot) {
            return err("I5: more is sealed than it is owed");
        }
        Ok(())
    }

    /// Of a connection that is served only when it has logged in.
    fn check_login(&self, slot: u32, conn: &Connection<O::Stream>) -> Result<(), String> {
        let due = self.deadlines.due(slot);
        let until = self.now.after(self.limits.login_timeout.max(SOON));
        let kept = conn.carry.as_ref().map_or(0, |carry| carry.len());
        let err = |what: &str| Err(what.to_owned());
        match () {
            () if until == Moment::NEVER => Ok(()),
            () if due > until => err("I4: has longer to log in than it may"),
            () if kept > LOGIN_BYTES_MAX && !conn.unserved => {
                err("I6: keeps more input than before a login")
            }
            // I8: no code of the service that is behind the gate has run.
            () if self.outbox.owed(slot) > CHALLENGE_BYTES => err("I8: owed more than a challenge"),
            () if self.outbox.is_held(slot) => err("I8: held before it has logged in"),
            () if self.wakes.due(slot) != Moment::NEVER => {
                err("I8: has a timer before it has logged in")
            }
            () if self.children.has(conn.id(slot)) => err("I8: a command before it has logged in"),
            () => Ok(()),
        }
    }

    fn is_queued(&self, slot: u32, conn: &Connection<O::Stream>) -> bool {
        self.ready.iter().any(|id| id.slot == slot && conn.is(*id))
    }
}
