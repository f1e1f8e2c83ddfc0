//! How long a connection is waited for, and what happens when it was waited for long enough.

use std::time::Duration;

use super::Reactor;
use super::connection::{Connection, Input, Must, Stage};
use super::os::Os;
use super::standing::{After, Deadline, Standing, deadline, frame_ends, next_input};
use super::timer::Timers;
use super::trace::TraceEvent;
use crate::config::Limits;
use crate::turn::{Closed, Moment};

impl<O: Os> Reactor<O> {
    /// Looks whether a connection keeps up with what it is owed, after a write.
    pub(super) fn check_backlog(&mut self, slot: u32, after: After) {
        let Some(conn) = self.conns.get_mut(slot as usize).filter(|c| c.is_open()) else {
            return;
        };
        let mut standing = Standing::of(conn, slot, &self.listeners, &self.outbox);
        if standing.is_too_slow(&self.limits) {
            return self.close_now(slot, Closed::TooSlow);
        }
        // What one is owed that has not logged in are no lines.
        if standing.loses_lines(&self.limits) && !conn.is_logging_in() {
            self.drop_oldest(slot);
            standing.owed = self.outbox.owed(slot);
        }
        let Some(conn) = self.conns.get_mut(slot as usize) else {
            return;
        };
        let was_behind = conn.is_behind();
        if !conn.is_logging_in() {
            let is_behind = standing.is_behind(&self.limits);
            conn.must = if is_behind {
                Must::CatchUp
            } else {
                conn.must_besides()
            };
        }
        let next = next_input(conn, &standing, &self.limits);
        conn.input = next;
        // One that caught up is waited for as it was before it fell behind.
        let caught_up = was_behind && !conn.is_behind() && standing.is_open();
        let after = if caught_up { After::Heard } else { after };
        let limits = &self.limits;
        set_deadline(
            &mut self.deadlines,
            slot,
            conn,
            &standing,
            limits,
            self.now,
            after,
        );
        if next == Input::Queued {
            self.enqueue(slot);
        }
    }

    /// A deadline has come.
    pub(super) fn expire(&mut self, slot: u32) {
        let Some(conn) = self.conns.get_mut(slot as usize) else {
            return;
        };
        let id = conn.id(slot);
        self.recorder.trace(|| TraceEvent::Expired(id));
        let standing = Standing::of(conn, slot, &self.listeners, &self.outbox);
        match conn.stage {
            Stage::Dead { .. } => {}
            Stage::Connecting => self.close_now(slot, Closed::Gone(std::io::ErrorKind::TimedOut)),
            Stage::Handshaking { .. } if !conn.was_made() => {
                self.close_now(slot, Closed::Gone(std::io::ErrorKind::TimedOut));
            }
            Stage::Handshaking { .. } => {
                self.penalise(slot, Closed::LoginTimeout);
                self.close_now(slot, Closed::LoginTimeout);
            }
            Stage::Lingering { why, .. } => self.close_now(slot, why),
            Stage::Open { .. } if !standing.is_open() => self.close_now(slot, Closed::Stuck),
            Stage::Open { .. } if conn.is_behind() => self.close_now(slot, Closed::TooSlow),
            // What came in time wins over the timer: it is looked at before anything else.
            Stage::Open { .. } if conn.input == Input::Queued => {
                self.deadlines.set(slot, self.now.after(SOON));
            }
            // Nothing was said to it that would have to arrive.
            Stage::Open { .. } if conn.is_logging_in() => {
                self.penalise(slot, Closed::LoginTimeout);
                self.give_up(slot, Closed::LoginTimeout, false);
            }
            Stage::Open { begun }
                if begun != 0 && frame_ends(begun, conn.incomplete(), self.now) <= self.now =>
            {
                self.give_up(slot, Closed::SlowFrame, true);
            }
            Stage::Open { .. } => self.give_up(slot, Closed::Idle, true),
        }
    }

    /// Waits no longer: what is owed leaves, then the connection ends for this reason.
    fn give_up(&mut self, slot: u32, why: Closed, linger: bool) {
        self.outbox.leave(slot, why, linger);
        self.after_turn(slot, After::Turn);
    }
}

/// Sets the deadline that fits what an open connection is in the middle of.
#[inline]
pub(super) fn set_deadline<S>(
    deadlines: &mut Timers,
    slot: u32,
    conn: &mut Connection<S>,
    standing: &Standing,
    limits: &Limits,
    now: Moment,
    after: After,
) {
    let was = deadlines.due(slot);
    let Deadline { due, begun } = deadline(conn, standing, limits, now, was, after);
    conn.stage = Stage::Open { begun };
    if due != was {
        deadlines.set(slot, due);
    }
}

/// When a deadline is looked at again that came while input was still to be looked at.
pub(super) const SOON: Duration = Duration::from_millis(1);
