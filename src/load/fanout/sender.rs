//! When lines begin, after those before or at their time, and how they are sent.

use rustix::io::Errno;

use crate::load::exchange::lines::Lines;
use crate::load::fanout::{Fanout, RoomStage};
use crate::load::measure::clock::nanos;
use crate::load::measure::failures::FailureKind;
use crate::load::net::dial;
use crate::load::plan::mode::Model;

/// How far the sender has come with the lines that began.
#[derive(Debug)]
pub(super) struct Sender {
    /// The line that is being sent, and how many bytes of it were.
    line: u64,
    part: usize,
}

impl Sender {
    /// Begins with this line.
    pub(super) fn new(line: u64) -> Self {
        Self { line, part: 0 }
    }

    /// Whether nothing is left to be sent.
    pub(super) fn is_done(&self, lines: &Lines) -> bool {
        self.line == lines.next()
    }
}

impl Fanout<'_> {
    /// Begins the lines that are due, and sends them in one write.
    pub(super) fn begin_lines(&mut self) {
        if !matches!(self.stage, RoomStage::Talking)
            || !self.room.has_sender()
            || self.room.members == 0
        {
            return;
        }
        if self.run.schedule.is_some() {
            self.begin_due();
        } else {
            let count = self.run.tally.take(self.run.phase, self.places());
            if count > 0 {
                let now = self.run.watch.nanos();
                (0..count).for_each(|_| self.begin_one(now, now));
            }
        }
        self.flush();
    }

    /// Begins the lines whose time has come, as far as there is a place for them.
    fn begin_due(&mut self) {
        let Some(mut schedule) = self.run.schedule.take() else {
            return;
        };
        let timeout = nanos(self.run.plan.timeout);
        if self.was_full && self.places() > 0 {
            (self.was_full, self.room_since) = (false, self.run.watch.nanos());
        }
        loop {
            let now = self.run.watch.nanos();
            let began = schedule.next();
            if began > now {
                break;
            }
            let is_too_late = now - began >= timeout;
            if !is_too_late && self.places() == 0 {
                self.was_full = true;
                break;
            }
            if !self.run.tally.take_due(self.run.phase, began) {
                break;
            }
            schedule.advance();
            if is_too_late {
                // It was never said: there was no place for it in all that time.
                let tally = &mut self.run.tally;
                tally.lost(began, now);
                tally.failed(self.run.phase, FailureKind::Timeout, began, now);
                continue;
            }
            if self.run.tally.counts(began, now) {
                let lag = now.saturating_sub(began.max(self.room_since));
                self.run.tally.lag.record(lag, 1);
            }
            self.begin_one(began, now);
        }
        self.run.schedule = Some(schedule);
    }

    /// How many more lines there may be in flight. A line keeps its place until every member has it or it
    /// is given up, and until it has left.
    pub(super) fn places(&self) -> usize {
        let unsent = self.lines.next() - self.sender.line;
        let free = self.ledger.places().min(self.lines.slots() - unsent);
        let free = usize::try_from(free).unwrap_or(usize::MAX);
        match self.run.plan.model {
            Model::Closed => free.min(
                self.run
                    .plan
                    .pipeline
                    .saturating_sub(self.ledger.in_flight()),
            ),
            Model::Open { .. } => free,
        }
    }

    fn begin_one(&mut self, began: u64, now: u64) {
        self.lines.add();
        let members = u32::try_from(self.room.members).unwrap_or(u32::MAX);
        self.ledger.begin(members, began, now);
    }

    /// Sends what is not sent yet, as far as the socket takes it.
    pub(super) fn flush(&mut self) {
        let index = self.room.sender();
        if self.sender.is_done(&self.lines) || !self.send_hello(index) {
            return;
        }
        loop {
            let unsent = self.lines.outgoing(self.sender.line, self.sender.part);
            let Some(sender) = self.room.get_mut(index) else {
                return;
            };
            if unsent.is_empty() {
                return;
            }
            match sender.stream.write(unsent) {
                Ok(n) => {
                    let (all, len) = (self.sender.part + n, self.run.plan.size + 1);
                    self.sender.line += (all / len) as u64;
                    self.sender.part = all % len;
                }
                Err(Errno::AGAIN) => return,
                Err(errno) => return self.fail(index, dial::kind(errno), Some(errno)),
            }
        }
    }
}
