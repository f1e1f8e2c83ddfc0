//! How long a connection is waited for, and what happens when it was waited for long enough.

use std::time::Duration;

use super::connection::{Input, Stage};
use super::os::Os;
use super::standing::{
    After, Deadline, Standing, deadline, depends_on_sending, frame_ends, next_input,
};
use super::trace::TraceEvent;
use super::{Reactor, standing_of};
use crate::turn::Closed;

impl<O: Os> Reactor<O> {
    /// Looks whether a connection keeps up with what it is owed, after a write that left it owed so
    /// many bytes.
    pub(super) fn check_backlog(&mut self, slot: u32, owed: usize, after: After) {
        let Some(conn) = self.conns.get_mut(slot as usize).filter(|c| c.is_open()) else {
            return;
        };
        if owed == 0 && !depends_on_sending(conn) {
            return;
        }
        let standing = standing_of(&self.outbox, &self.listeners, conn, slot);
        if standing.is_too_slow(&self.limits) {
            return self.close_now(slot, Closed::TooSlow);
        }
        let was_behind = std::mem::replace(&mut conn.behind, standing.is_behind(&self.limits));
        let next = next_input(conn, &standing, &self.limits);
        conn.input = next;
        // One that caught up is waited for as it was before it fell behind.
        let caught_up = was_behind && !conn.behind && standing.is_open();
        self.set_deadline(slot, &standing, if caught_up { After::Turn } else { after });
        if next == Input::Queued {
            self.enqueue(slot);
        }
    }

    /// Sets the deadline that fits what the connection is in the middle of.
    pub(super) fn set_deadline(&mut self, slot: u32, standing: &Standing, after: After) {
        let conn = &mut self.conns[slot as usize];
        let was = self.deadlines.due(slot);
        let Deadline { due, begun } = deadline(conn, standing, &self.limits, self.now, was, after);
        conn.stage = Stage::Open { begun };
        if due != was {
            self.deadlines.set(slot, due);
        }
    }

    /// A deadline has come.
    pub(super) fn expire(&mut self, slot: u32) {
        let Some(conn) = self.conns.get_mut(slot as usize) else {
            return;
        };
        let id = conn.id(slot);
        self.recorder.trace(|| TraceEvent::Expired(id));
        let standing = standing_of(&self.outbox, &self.listeners, conn, slot);
        match conn.stage {
            Stage::Dead { .. } => {}
            Stage::Lingering { why, .. } => self.close_now(slot, why),
            Stage::Open { .. } if !standing.is_open() => self.close_now(slot, Closed::Stuck),
            Stage::Open { .. } if conn.behind => self.close_now(slot, Closed::TooSlow),
            // What came in time wins over the timer: it is looked at before anything else.
            Stage::Open { .. } if conn.input == Input::Queued => {
                self.deadlines.set(slot, self.now.after(SOON));
            }
            Stage::Open { begun } if begun != 0 => {
                let until = frame_ends(begun, conn.carry.as_ref().map_or(0, |carry| carry.len()));
                if until > self.now {
                    self.deadlines.set(slot, until);
                } else {
                    self.give_up(slot, Closed::SlowFrame);
                }
            }
            Stage::Open { .. } => self.give_up(slot, Closed::Idle),
        }
    }

    /// Waits no longer: what is owed leaves, then the connection ends for this reason.
    fn give_up(&mut self, slot: u32, why: Closed) {
        self.outbox.leave(slot, why, true);
        self.settle(slot);
    }
}

/// When a deadline is looked at again that came while input was still to be looked at.
const SOON: Duration = Duration::from_millis(1);
