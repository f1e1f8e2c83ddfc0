//! How long a connection is waited for.

use std::time::Duration;

use super::Reactor;
use super::connection::{Input, Pause, Stage};
use super::os::Os;
use super::trace::TraceEvent;
use crate::config::limits::{LEAVING, PROGRESS_BYTES_PER_SECOND_MIN, PROGRESS_GRACE};
use crate::service::Backlog;
use crate::turn::{Closed, Fate, Moment};

impl<O: Os> Reactor<O> {
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
}
