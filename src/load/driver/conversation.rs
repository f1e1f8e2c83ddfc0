//! What happens on a connection: writing, reading, and how that ends.

use std::io;

use mio::event::Event;
use rustix::io::Errno;

use crate::load::connections::{ConnectionStage, LoadConnection};
use crate::load::driver::{Driver, READS_PER_TURN, Step};
use crate::load::exchange::judge::Judge;
use crate::load::measure::clock::nanos;
use crate::load::measure::failures::FailureKind;
use crate::load::net::dial::{self, BACKOFF};
use crate::load::net::poller::TIMER;
use crate::load::plan::expect::Framing;
use crate::load::plan::mode::{Close, Mode, Model};
use crate::load::run::tally::Phase;

impl Driver<'_> {
    /// Puts `count` more requests on a connection, as far as there are any left.
    #[inline]
    pub(super) fn ask(&mut self, index: usize, count: usize, now: u64) {
        let count = self.run.tally.take(self.run.phase, count);
        self.connections
            .ask(index, (count, self.run.plan.size), &self.judge, now);
    }

    /// Writes what is unsent, in one go.
    #[inline]
    pub(super) fn write(&mut self, index: usize) -> Step {
        let Some(conn) = self.connections.get_mut(index) else {
            return Step::Wait;
        };
        let unsent = conn.requests.unsent(&self.payload);
        if unsent.is_empty() {
            return Step::Wait;
        }
        match conn.stream.write(unsent) {
            // Less than all means full; being writable again is an event.
            Ok(n) => {
                conn.requests.sent(n, &self.payload);
                Step::Wait
            }
            Err(Errno::AGAIN) => Step::Wait,
            Err(errno) => Step::Failed(dial::kind(errno), Some(errno)),
        }
    }

    /// Reads until there is no more, and compares; `to_the_end` when a short read proves nothing.
    #[inline]
    pub(super) fn read(&mut self, index: usize, to_the_end: bool) -> Step {
        for _ in 0..READS_PER_TURN {
            let Some(conn) = self.connections.get_mut(index) else {
                return Step::Wait;
            };
            let n = match conn.stream.read(&mut self.incoming) {
                Ok(0) if conn.stage == ConnectionStage::Leaving => return Step::Done,
                Ok(0)
                    if conn.requests.may_end(&self.judge)
                        && conn.stamps.first_byte > 0
                        && !self.run.plan.mode.keeps()
                        && conn.more == 0 =>
                {
                    conn.stamps.last_byte = self.run.watch.nanos();
                    // Its one request is answered; `leave` takes the end of it out of the sums.
                    conn.requests.flight = 0;
                    conn.stage = ConnectionStage::Leaving;
                    return Step::Done;
                }
                Ok(0) => return Step::Failed(FailureKind::ShortAnswer, None),
                Ok(n) => n,
                Err(Errno::AGAIN) => return Step::Wait,
                Err(errno) => return Step::Failed(dial::kind(errno), Some(errno)),
            };
            if self.run.plan.mode == Mode::Hold {
                // `hold` discards what the server sends.
                if n < self.incoming.len() && !to_the_end {
                    return Step::Wait;
                }
                continue;
            }
            let outcome = conn.requests.feed(
                &self.incoming[..n],
                &self.payload,
                self.run.plan.size,
                &self.judge,
            );
            if conn.stamps.first_byte == 0 {
                conn.stamps.first_byte = self.run.watch.nanos();
                conn.is_admitted = true;
            }
            match outcome {
                Err(kind) => return Step::Failed(kind, None),
                Ok(0) if matches!(self.judge, Judge::Framed(Framing::Decimal)) => {
                    if let Step::Failed(kind, errno) = self.acknowledge(index) {
                        return Step::Failed(kind, errno);
                    }
                }
                Ok(0) => {}
                Ok(answered) => match self.run.plan.mode {
                    // In the sums and in the ring it is still the same request.
                    Mode::Conn { .. } if conn.more > 0 => {
                        conn.more -= 1;
                        conn.requests.ask(1, self.run.plan.size, &self.judge);
                        match self.write(index) {
                            Step::Wait => {}
                            step => return step,
                        }
                    }
                    Mode::Conn { close } => {
                        conn.stage = ConnectionStage::Leaving;
                        conn.stamps.last_byte = self.run.watch.nanos();
                        if close != Close::Server {
                            return Step::Done;
                        }
                        continue;
                    }
                    _ => {
                        if let Step::Failed(kind, errno) = self.answered(index, answered) {
                            return Step::Failed(kind, errno);
                        }
                    }
                },
            }
            if n < self.incoming.len() && !to_the_end {
                return Step::Wait;
            }
        }
        self.read_on(index)
    }

    /// Its budget is spent: the others come first, and then it again.
    #[cold]
    fn read_on(&mut self, index: usize) -> Step {
        let token = self.connections.token(index);
        if !self.unread.contains(&token) {
            self.unread.push(token);
        }
        Step::Wait
    }

    /// A length may have come, and the output behind it waits for our word (C2).
    #[cold] // and so not in the way of what is read of an echo
    fn acknowledge(&mut self, index: usize) -> Step {
        let Some(conn) = self.connections.get_mut(index) else {
            return Step::Wait;
        };
        let Some(word) = conn.requests.acknowledgement() else {
            return Step::Wait;
        };
        match conn.stream.write(word) {
            Ok(n) if n == word.len() => match conn.requests.acknowledged(&self.judge) {
                Ok(0) => Step::Wait,
                Ok(answered) => self.answered(index, answered),
                Err(kind) => Step::Failed(kind, None),
            },
            // A server that read the request has room for ten bytes; if not, it is not acknowledging.
            Ok(_) | Err(Errno::AGAIN) => Step::Failed(FailureKind::WrongAnswer, None),
            Err(errno) => Step::Failed(dial::kind(errno), Some(errno)),
        }
    }

    /// The oldest `count` requests of a kept connection are answered: asks as many again.
    #[inline]
    pub(super) fn answered(&mut self, index: usize, count: usize) -> Step {
        let Some(conn) = self.connections.get_mut(index) else {
            return Step::Wait;
        };
        let mut first_byte = std::mem::take(&mut conn.stamps.first_byte);
        let now = self.run.watch.nanos();
        if conn.requests.is_inside(self.run.plan.size, &self.judge) {
            conn.stamps.first_byte = now;
        }
        let tally = &mut self.run.tally;
        self.connections.answered(index, count, |began, run| {
            tally.answered(began, now, run as u64);
            if tally.counts(began, now) {
                let mut rest = run as u64;
                // Only the oldest can have come in part before.
                if first_byte != 0 {
                    tally
                        .breakdown
                        .first_byte
                        .record(first_byte.saturating_sub(began), 1);
                    tally.breakdown.last_byte.record(now - first_byte, 1);
                    (first_byte, rest) = (0, rest - 1);
                }
                if rest > 0 {
                    tally
                        .breakdown
                        .first_byte
                        .record(now.saturating_sub(began), rest);
                    tally.breakdown.last_byte.record(0, rest);
                }
            }
        });
        if self.run.plan.model != Model::Closed {
            self.connections.free(index, count, now);
            return Step::Wait;
        }
        self.ask(index, count, now);
        self.write(index)
    }

    /// What follows from a step.
    pub(super) fn settle(&mut self, index: usize, step: Step) {
        match step {
            Step::Wait => {}
            Step::Done => {
                let conn = self.connections.get_mut(index);
                let Some((began, stamps)) = conn.map(|conn| (conn.began, conn.stamps)) else {
                    return;
                };
                self.connections.leave(index);
                let now = self.run.watch.nanos();
                self.run.tally.answered(began, now, 1);
                if self.run.tally.counts(began, now) {
                    let phases = &mut self.run.tally.breakdown;
                    for (phase, from, to) in [
                        (&mut phases.connect, stamps.dialled, stamps.connected),
                        (&mut phases.first_byte, stamps.connected, stamps.first_byte),
                        (&mut phases.last_byte, stamps.first_byte, stamps.last_byte),
                        (&mut phases.close, stamps.last_byte, now),
                    ] {
                        phase.record(to.saturating_sub(from), 1);
                    }
                }
                if self.run.plan.model != Model::Closed {
                    self.connections.vacate(index, now);
                } else if self.run.phase != Phase::Draining {
                    self.dial_one(index, now);
                }
            }
            Step::Failed(kind, errno) => {
                let now = self.run.watch.nanos();
                let Some(conn) = self.connections.get_mut(index) else {
                    return;
                };
                let began = conn.began;
                let kind = match kind {
                    FailureKind::ShortAnswer | FailureKind::Reset if !conn.is_admitted => {
                        FailureKind::NotAdmitted
                    }
                    kind => kind,
                };
                let mut last = began;
                if self.run.plan.mode.keeps() {
                    for began in self.connections.in_flight(index) {
                        self.run.tally.lost(began, now);
                        last = began;
                    }
                }
                self.count_failure(kind, errno, last, now);
                self.connections.leave(index);
                self.after_failure(index, kind, now);
            }
        }
    }

    pub(super) fn count_failure(
        &mut self,
        kind: FailureKind,
        errno: Option<Errno>,
        began: u64,
        now: u64,
    ) {
        if kind == FailureKind::Other && self.run.tally.other.is_none() {
            self.run.tally.other = errno.map(|errno| io::Error::from(errno).to_string());
        }
        if !self.run.plan.mode.keeps() {
            self.run.tally.lost(began, now);
        }
        self.run.tally.failed(self.run.phase, kind, began, now);
    }

    /// `conn` goes on with the next request; `echo` goes on without this connection.
    pub(super) fn after_failure(&mut self, index: usize, kind: FailureKind, now: u64) {
        if self.keeps_time_by_dialling() {
            return self.connections.vacate(index, now);
        }
        if self.run.plan.mode.keeps() || self.run.phase == Phase::Draining {
            return self.connections.abandon(index);
        }
        match kind {
            FailureKind::Reset
            | FailureKind::Timeout
            | FailureKind::ShortAnswer
            | FailureKind::WrongAnswer
            | FailureKind::TurnedDown
            | FailureKind::Duplicate
            | FailureKind::Reordered => {
                self.connections.vacate(index, now);
            }
            FailureKind::Refused
            | FailureKind::NotAdmitted
            | FailureKind::NoPort
            | FailureKind::NoDescriptor
            | FailureKind::SelfConnect
            | FailureKind::Other => {
                self.connections.back_off(index, now + nanos(BACKOFF), None);
            }
        }
    }

    pub(super) fn dispatch(&mut self) {
        for token in std::mem::take(&mut self.unread) {
            if let Some(index) = self.connections.index(token) {
                let step = self.read(index, true);
                self.settle(index, step);
            }
        }
        let events = self.poller.take();
        for event in &events {
            if event.token() == TIMER {
                continue;
            }
            if let Some(index) = self.connections.index(event.token()) {
                let step = self.serve(index, event);
                self.settle(index, step);
            }
        }
        self.poller.give_back(events);
    }

    #[inline]
    pub(super) fn serve(&mut self, index: usize, event: &Event) -> Step {
        let Some(conn) = self.connections.get_mut(index) else {
            return Step::Wait;
        };
        if conn.stage.is_arriving() {
            let step = self.complete_connect(index);
            let arrived = |conn: &mut LoadConnection| !conn.stage.is_arriving();
            if step != Step::Wait || !self.connections.get_mut(index).is_some_and(arrived) {
                return step;
            }
        }
        if event.is_writable() {
            let step = self.write(index);
            if step != Step::Wait {
                return step;
            }
        }
        if event.is_readable() || event.is_error() || event.is_priority() {
            let to_the_end = event.is_read_closed() || event.is_error() || event.is_priority();
            return self.read(index, to_the_end);
        }
        Step::Wait
    }
}
