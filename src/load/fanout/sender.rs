//! How lines begin, by those before or by their time, and how they leave.

use rustix::io::Errno;

use super::lines::Script;
use super::{Fanout, Stage};
use crate::load::dial;
use crate::load::plan::Model;
use crate::load::tally::{Kind, nanos};

/// How far the speaker has come with what is to be said.
#[derive(Debug)]
pub(super) struct Speech {
    /// The line that is being sent, and how many bytes of it were.
    line: u64,
    part: usize,
}

impl Speech {
    /// Begins with this line.
    pub(super) fn new(line: u64) -> Self {
        Self { line, part: 0 }
    }

    /// Whether nothing is left to be sent.
    pub(super) fn is_said(&self, script: &Script) -> bool {
        self.line == script.next()
    }
}

impl Fanout<'_> {
    /// Says what is due, in one go.
    pub(super) fn say(&mut self) {
        if !matches!(self.stage, Stage::Talking)
            || !self.room.has_speaker()
            || self.room.members == 0
        {
            return;
        }
        if self.run.schedule.is_some() {
            self.keep_time();
        } else {
            let count = self.run.book.take(self.run.phase, self.places());
            if count > 0 {
                let now = self.run.watch.nanos();
                (0..count).for_each(|_| self.say_one(now, now));
            }
        }
        self.speak();
    }

    /// Begins the lines whose time has come, as far as there is a place for them.
    fn keep_time(&mut self) {
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
            if !self.run.book.take_due(self.run.phase, began) {
                break;
            }
            schedule.advance();
            if is_too_late {
                // It was never said: there was no place for it in all that time.
                let book = &mut self.run.book;
                book.lost(began, now);
                book.failed(self.run.phase, Kind::Timeout, began, now);
                continue;
            }
            if self.run.book.counts(began, now) {
                let lag = now.saturating_sub(began.max(self.room_since));
                self.run.book.lag.record(lag, 1);
            }
            self.say_one(began, now);
        }
        self.run.schedule = Some(schedule);
    }

    /// How many more lines there may be in flight. A line keeps its place until everybody has it or it
    /// is given up, and until it has left.
    pub(super) fn places(&self) -> usize {
        let unsent = self.script.next() - self.speech.line;
        let free = self.ledger.places().min(self.script.slots() - unsent);
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

    fn say_one(&mut self, began: u64, now: u64) {
        self.script.say();
        let members = u32::try_from(self.room.members).unwrap_or(u32::MAX);
        self.ledger.say(members, began, now);
    }

    /// Sends what is not sent yet, as far as the socket takes it.
    pub(super) fn speak(&mut self) {
        let index = self.room.speaker();
        if self.speech.is_said(&self.script) || !self.greet(index) {
            return;
        }
        loop {
            let unsent = self.script.spoken(self.speech.line, self.speech.part);
            let Some(speaker) = self.room.guest(index) else {
                return;
            };
            if unsent.is_empty() {
                return;
            }
            match speaker.stream.write(unsent) {
                Ok(n) => {
                    let (all, len) = (self.speech.part + n, self.run.plan.size + 1);
                    self.speech.line += (all / len) as u64;
                    self.speech.part = all % len;
                }
                Err(Errno::AGAIN) => return,
                Err(errno) => return self.fail(index, dial::kind(errno), Some(errno)),
            }
        }
    }
}
