//! The loop of the load generator: one thread, one poll, nothing allocated per request.
//!
//! It does not know what a server is for: a message goes out, and what the judge takes for its answer
//! comes back.
//!
//! A kept connection is watched once, for good. A connection of `conn` lives for one answer, so it is
//! not watched at first: with many in flight, the answer of the oldest is usually there by the time
//! the others have been sent, and one read takes it. Only a connection that has to wait is registered with the poll.

mod beginning;
mod conversation;

use std::time::Duration;

use mio::Token;
use rustix::io::Errno;

use crate::load::connections::Connections;
use crate::load::exchange::judge::Judge;
use crate::load::exchange::payload::Payload;
use crate::load::measure::clock::nanos;
use crate::load::measure::failures::FailureKind;
use crate::load::net::dial::Dialer;
use crate::load::net::poller::Poller;
use crate::load::plan::Plan;
use crate::load::plan::error::LoadError;
use crate::load::plan::mode::{Mode, Model};
use crate::load::plan::target::TargetAddress;
use crate::load::run::report::{Held, Report};
use crate::load::run::tally::Phase;
use crate::load::run::{Run, Watcher};

/// One read takes at most this much; also what is read at once of a long answer.
const READ_BYTES: usize = 256 * 1024;
/// Reads of one connection before the others have their turn, and the clock is looked at.
const READS_PER_TURN: usize = 16;
/// Deadlines are looked at this often at most, and at least.
const LOOK: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(50));

/// What became of reading or writing once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Nothing more can be done now.
    Wait,
    /// One request of `conn` is over and well.
    Done,
    /// The connection failed.
    Failed(FailureKind, Option<Errno>),
}

/// A run over connections in progress.
#[derive(Debug)]
pub struct Driver<'p> {
    run: Run<'p>,
    payload: Payload,
    judge: Judge,
    dialer: Dialer,
    poller: Poller,
    incoming: Box<[u8]>,
    connections: Connections,
    /// Connections whose budget is spent, and that may have more to be read: no edge will come for that.
    unread: Vec<Token>,
    next_look: u64,
}

impl<'p> Driver<'p> {
    /// Gets everything ready that a run needs, so that it need not allocate later.
    pub(crate) fn new(
        plan: &'p Plan,
        target: TargetAddress,
        watcher: Watcher<'p>,
    ) -> Result<Self, LoadError> {
        let run = if plan.mode.keeps() {
            Run::connecting(plan, watcher)
        } else {
            Run::asking(plan, watcher)
        };
        Ok(Self {
            payload: match &plan.text {
                Some(text) => Payload::fixed(text, plan.pipeline),
                None => Payload::new(plan.size, plan.pipeline),
            },
            judge: Judge::new(plan),
            dialer: Dialer::new(plan, &target)?,
            poller: Poller::new(run.watch, plan.spin, plan.model != Model::Closed)?,
            incoming: vec![0; READ_BYTES].into_boxed_slice(),
            connections: Connections::new(plan.connections, plan.pipeline),
            unread: Vec::new(),
            next_look: 0,
            run,
        })
    }

    /// Runs to the end.
    pub(crate) fn run(mut self) -> Result<Report, LoadError> {
        let mut now = self.run.watch.nanos();
        let mut woke = now;
        while !self.is_over() {
            self.advance_phase(now); // warm-up, measuring, the end
            self.expire(now); // timeouts, and backoffs that end
            self.dial(); // connections that are to be opened
            self.begin_due(); // requests whose time has come
            self.try_unpolled(); // whether unpolled connections have their answer already
            let asleep = self.run.turned(woke);
            self.wait(asleep)?; // the only place that sleeps
            woke = self.run.watch.nanos();
            self.dispatch(); // connections that became readable or writable
            now = self.run.watch.nanos(); // what began before this belongs to the phase before
        }
        Ok(self.report(now))
    }

    fn is_over(&self) -> bool {
        match self.run.phase {
            Phase::Connecting => false,
            // A kept connection that failed is not replaced: without any the run is over.
            Phase::WarmUp { .. } | Phase::Measured => {
                self.run.plan.mode.keeps() && self.connections.open == 0
            }
            Phase::Draining => {
                let nobody_waits = self.connections.outstanding + self.connections.dialling == 0;
                if self.run.schedule.is_none() {
                    return nobody_waits && self.connections.none_to_dial();
                }
                let nobody_can = self.run.plan.mode.keeps() && self.connections.open == 0;
                let schedule_is_done = nobody_can || self.run.schedule_is_done();
                nobody_waits && schedule_is_done && self.connections.next_backoff_end().is_none()
            }
        }
    }

    fn advance_phase(&mut self, now: u64) {
        if self.run.phase == Phase::Connecting
            && self.connections.dialling == 0
            && self.connections.none_to_dial()
        {
            self.run.warm_up(now, self.poller.spun);
            self.start_all();
        }
        self.run.advance_phase(now, self.poller.spun);
    }

    /// Ends connections that took longer than the timeout, and backoffs that are over.
    fn expire(&mut self, now: u64) {
        self.connections.end_backoff(now);
        if now < self.next_look {
            return;
        }
        let timeout = nanos(self.run.plan.timeout);
        self.next_look = now + (timeout / 8).clamp(nanos(LOOK.0), nanos(LOOK.1));
        for index in 0..self.connections.len() {
            match self.connections.waiting_since(index) {
                Some(since) if now.saturating_sub(since) >= timeout => {
                    self.settle(index, Step::Failed(FailureKind::Timeout, None));
                }
                _ => {}
            }
        }
    }

    fn wait(&mut self, now: u64) -> Result<(), LoadError> {
        let must_go_on = !self.unread.is_empty()
            || !self.connections.unpolled.is_empty()
            || !self.connections.vacant.is_empty()
                && self.may_dial()
                && !self.keeps_time_by_dialling();
        let until = if must_go_on {
            now
        } else {
            self.next_event(now)
        };
        Ok(self.poller.wait(now, until)?)
    }

    /// When the loop has something to do next, even without an event.
    fn next_event(&self, now: u64) -> u64 {
        let page = self.run.next_phase();
        let rested = self.connections.next_backoff_end().unwrap_or(u64::MAX);
        let due = match &self.run.schedule {
            Some(schedule)
                if self.run.phase != Phase::Draining || self.run.tally.has_due(schedule.next()) =>
            {
                let has_room = match self.run.plan.mode {
                    Mode::Conn { .. } => !self.connections.vacant.is_empty(),
                    _ => !self.connections.free.is_empty(),
                };
                if has_room { schedule.next() } else { u64::MAX }
            }
            _ => u64::MAX,
        };
        self.next_look.min(page).min(rested).min(due).max(now)
    }

    fn report(self, now: u64) -> Report {
        let held = Held {
            asked: self.run.plan.connections,
            held: match self.run.plan.mode {
                Mode::Conn { .. } => self.connections.open_max,
                _ => self.connections.open,
            },
        };
        self.run.report(now, self.poller.spun, held)
    }
}
