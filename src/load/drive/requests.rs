//! Requests on connections: nothing is allocated per request.
//!
//! It does not know what a server is for: a message goes out, and what the judge takes for its answer
//! comes back.
//!
//! A kept connection is watched once, for good. A connection of `conn` lives for one answer, so it is
//! not watched at first: with many in flight, the answer of the oldest is usually there by the time
//! the others have been sent, and one read takes it. Only a connection that has to wait is registered with
//! the poll.

use mio::event::Event;
use mio::{Events, Token};
use rustix::io::Errno;

use crate::load::drive::connections::{ConnectionStage, Connections, LoadConnection};
use crate::load::drive::event_loop::{ExpiryCheck, READ_BYTES, READS_PER_TURN, Traffic};
use crate::load::drive::pacer;
use crate::load::exchange::judge::Judge;
use crate::load::exchange::payload::Payload;
use crate::load::exchange::requests::Requests;
use crate::load::measure::clock::nanos;
use crate::load::measure::failures::{Failure, FailureKind};
use crate::load::net::dial::{BACKOFF, DIALLING_MAX, Dialer, Dialled};
use crate::load::net::handshake::Handshake;
use crate::load::net::poller::{Poller, TIMER};
use crate::load::plan::Plan;
use crate::load::plan::error::LoadError;
use crate::load::plan::mode::{Close, Mode, Model};
use crate::load::plan::target::TargetAddress;
use crate::load::run::report::{Held, Report};
use crate::load::run::schedule::Schedule;
use crate::load::run::tally::Phase;
use crate::load::run::{Run, Watcher};
use crate::wire::CommandFraming;

/// What became of reading or writing once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Nothing more can be done now.
    Wait,
    /// One request of `conn` is over and well.
    Done,
    /// The connection failed.
    Failed(Failure),
}

/// A run over connections in progress.
#[derive(Debug)]
pub(super) struct Driver<'p> {
    run: Run<'p>,
    payload: Payload,
    judge: Judge,
    dialer: Dialer,
    poller: Poller,
    incoming: Box<[u8]>,
    connections: Connections,
    /// Connections whose budget is spent, and that may have more to be read: no edge will come for that.
    unread: Vec<Token>,
    expiry: ExpiryCheck,
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
                Some(text) => Payload::fixed(text, plan.mode.depth()),
                None => Payload::new(plan.size, plan.mode.depth()),
            },
            judge: Judge::new(plan),
            dialer: Dialer::new(plan, &target)?,
            poller: Poller::new(run.watch, plan.spin, plan.model != Model::Closed)?,
            incoming: vec![0; READ_BYTES].into_boxed_slice(),
            connections: Connections::new(plan.connections, plan.mode.depth()),
            unread: Vec::new(),
            expiry: ExpiryCheck::default(),
            run,
        })
    }

    /// The first requests of kept connections, once all are connected.
    fn start_if_connected(&mut self, now: u64) {
        if self.run.phase == Phase::Connecting
            && self.connections.dialling == 0
            && self.connections.none_to_dial()
        {
            // One time for both: of a schedule that began later, the last requests would be left out.
            self.run.schedule = Schedule::of(self.run.plan.model, now);
            // One time for both: of a schedule that began later, the last requests would be left out.
            self.run.schedule = Schedule::of(self.run.plan.model, now);
            self.run.warm_up(now, self.poller.spun);
            self.start_all(now);
        }
    }

    /// Whether there is room for a request of the open model.
    fn has_room(&self) -> bool {
        match self.run.plan.mode {
            Mode::Conn { .. } => !self.connections.vacant.is_empty(),
            _ => !self.connections.free.is_empty(),
        }
    }
}

impl<'p> Traffic<'p> for Driver<'p> {
    fn run(&mut self) -> &mut Run<'p> {
        &mut self.run
    }

    fn poller(&mut self) -> &mut Poller {
        &mut self.poller
    }

    /// Ends connections that took longer than the timeout, and backoffs that are over.
    fn expire(&mut self, now: u64) {
        self.connections.end_backoff(now);
        if !self.expiry.is_due(now, &self.run) {
            return;
        }
        let timeout = nanos(self.run.plan.timeout);
        for index in 0..self.connections.len() {
            match self.connections.waiting_since(index) {
                Some(since) if now.saturating_sub(since) >= timeout => {
                    self.settle(index, Step::Failed(FailureKind::Timeout.into()));
                }
                _ => {}
            }
        }
    }

    fn begin(&mut self, now: u64) {
        self.start_if_connected(now);
        self.dial();
        self.begin_due();
        self.try_unpolled();
    }

    fn dispatch(&mut self, events: &Events) {
        for token in std::mem::take(&mut self.unread) {
            if let Some(index) = self.connections.index(token) {
                let step = self.read(index, true);
                self.settle(index, step);
            }
        }
        for event in events {
            if event.token() == TIMER {
                continue;
            }
            if let Some(index) = self.connections.index(event.token()) {
                let step = self.serve(index, event);
                self.settle(index, step);
            }
        }
    }

    fn next_event(&self, now: u64) -> u64 {
        let must_go_on = !self.unread.is_empty()
            || !self.connections.unpolled.is_empty()
            || !self.connections.vacant.is_empty()
                && self.may_dial()
                && !self.keeps_time_by_dialling();
        if must_go_on {
            return now;
        }
        let backoff = self.connections.next_backoff_end().unwrap_or(u64::MAX);
        let due = pacer::next_event(&self.run, self.has_room());
        let phase = self.run.next_phase();
        self.expiry.next.min(phase).min(backoff).min(due).max(now)
    }

    fn is_over(&self) -> bool {
        match self.run.phase {
            Phase::Connecting => false,
            // A kept connection that failed is not replaced: without any the run is over.
            Phase::WarmUp { .. } | Phase::Measured => {
                self.run.plan.mode.keeps() && self.connections.open == 0
            }
            Phase::Draining => {
                let none_waits = self.connections.outstanding + self.connections.dialling == 0;
                if self.run.schedule.is_none() {
                    return none_waits && self.connections.none_to_dial();
                }
                let none_can = self.run.plan.mode.keeps() && self.connections.open == 0;
                let schedule_is_done = none_can || self.run.schedule_is_done();
                none_waits && schedule_is_done && self.connections.next_backoff_end().is_none()
            }
        }
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

/// Requests of the open model that are begun before answers are looked at.
const BEGUN_PER_TURN: usize = 256;

impl Driver<'_> {
    /// All are connected, as of `now`: the first requests of the kept connections.
    fn start_all(&mut self, now: u64) {
        if self.run.plan.mode == Mode::Hold {
            for index in 0..self.connections.len() {
                if let Some(conn) = self.connections.get_mut(index) {
                    conn.stage = ConnectionStage::Active;
                }
            }
            return;
        }
        if let Model::Open { .. } = self.run.plan.model {
            for index in 0..self.connections.len() {
                if let Some(conn) = self.connections.get_mut(index) {
                    conn.stage = ConnectionStage::Active;
                    self.connections
                        .free(index, self.run.plan.mode.depth(), now);
                }
            }
            return;
        }
        for index in 0..self.connections.len() {
            if let Some(conn) = self.connections.get_mut(index) {
                conn.stage = ConnectionStage::Active;
                let now = self.run.watch.nanos();
                self.ask(index, self.run.plan.mode.depth(), now);
                let step = self.write(index);
                self.settle(index, step);
            }
        }
    }

    /// Begins what is due, as far as there are connections for it.
    fn begin_due(&mut self) {
        if self.run.schedule.is_none() {
            return;
        }
        let is_dialled = !self.run.plan.mode.keeps();
        for _ in 0..BEGUN_PER_TURN {
            let now = self.run.watch.nanos();
            let room_since = self.connections.room_since(is_dialled);
            let Some(began) = pacer::next_due(&mut self.run, now, room_since) else {
                return;
            };
            let Some(index) = self.connections.take_room(is_dialled) else {
                return;
            };
            if is_dialled {
                self.dial_for(index, began, now);
            } else {
                self.connections
                    .ask(index, (1, self.run.plan.size), &self.judge, began);
                let step = self.write(index);
                self.settle(index, step);
            }
        }
    }

    fn dial(&mut self) {
        if self.keeps_time_by_dialling() {
            // Vacant slots wait for their time; only a delayed request goes on.
            while let Some(index) = self.connections.vacant.front().copied()
                && let Some(began) = self.connections.delayed(index)
            {
                self.connections.vacant.pop_front();
                let now = self.run.watch.nanos();
                self.dial_for(index, began, now);
            }
            return;
        }
        // With many ports in use one `connect` takes a millisecond: those already open must not wait for all.
        for _ in 0..DIALLING_MAX {
            if !self.may_dial() {
                break;
            }
            let Some(index) = self.connections.vacant.pop_front() else {
                break;
            };
            let now = self.run.watch.nanos();
            self.dial_one(index, now);
        }
    }

    fn keeps_time_by_dialling(&self) -> bool {
        self.run.plan.model != Model::Closed && !self.run.plan.mode.keeps()
    }

    fn may_dial(&self) -> bool {
        !self.run.plan.mode.keeps() || self.connections.dialling < DIALLING_MAX
    }

    fn dial_one(&mut self, index: usize, now: u64) {
        let delayed = self.connections.delayed(index);
        if !self.run.plan.mode.keeps()
            && delayed.is_none()
            && self.run.tally.take(self.run.phase, 1) == 0
        {
            return self.connections.abandon(index);
        }
        self.dial_for(index, delayed.unwrap_or(now), now);
    }

    /// Dials for a request that began, or was meant to, at `began`.
    fn dial_for(&mut self, index: usize, began: u64, now: u64) {
        let stream = match self.dialer.dial() {
            Ok(Dialled::Begun(stream)) => stream,
            Ok(Dialled::Later) if now.saturating_sub(began) < nanos(self.run.plan.timeout) => {
                return self
                    .connections
                    .back_off(index, now + nanos(BACKOFF), Some(began));
            }
            Ok(Dialled::Later) => {
                self.count_failure(FailureKind::Timeout.into(), began, now);
                return self.after_failure(index, FailureKind::Timeout, now);
            }
            Err(errno) => {
                let failure = Failure::from(errno);
                self.count_failure(failure, began, now);
                return self.after_failure(index, failure.kind, now);
            }
        };
        let at = self.payload.start(self.connections.next_number(index));
        let more = self.run.plan.mode.messages() - 1;
        let requests = Requests::new(at, &self.judge);
        self.connections
            .insert(index, stream, (began, now), more, requests);
        if self.run.plan.mode.keeps() || self.run.plan.hmac_key.is_some() {
            return self.register(index);
        }
        // On loopback the connection is there when `connect` returns, and the write says so.
        match self.write_first(index) {
            Step::Wait => self.connections.unpolled.push_back(index),
            step => self.settle(index, step),
        }
    }

    /// The first write of `conn`, which also tells whether it is connected. Where the server sends a
    /// challenge, the proof was sent before.
    fn write_first(&mut self, index: usize) -> Step {
        let Some(conn) = self.connections.get_mut(index) else {
            return Step::Wait;
        };
        match conn
            .stream
            .write(conn.requests.first(&self.payload, self.run.plan.size))
        {
            Ok(_) if self.dialer.met_itself(&conn.stream) => {
                Step::Failed(FailureKind::SelfConnect.into())
            }
            Ok(n) => {
                conn.stage = ConnectionStage::Active;
                conn.stamps.connected = self.run.watch.nanos();
                let began = conn.began;
                self.connections.connected();
                self.connections
                    .ask(index, (1, self.run.plan.size), &self.judge, began);
                if let Some(conn) = self.connections.get_mut(index) {
                    conn.requests.sent(n, &self.payload);
                }
                Step::Wait
            }
            Err(Errno::AGAIN) => Step::Wait,
            Err(errno) => Step::Failed(errno.into()),
        }
    }

    /// Shows a connection to the poll.
    fn register(&mut self, index: usize) {
        let token = self.connections.token(index);
        let Some(conn) = self.connections.get_mut(index) else {
            return;
        };
        match self.poller.register(&conn.stream, token) {
            Ok(()) => conn.watched = true,
            Err(error) => {
                let failure = Failure {
                    kind: FailureKind::Other,
                    errno: Errno::from_io_error(&error),
                };
                self.settle(index, Step::Failed(failure));
            }
        }
    }

    /// One try for each unpolled connection; the poll watches those that have nothing yet.
    fn try_unpolled(&mut self) {
        for _ in 0..self.connections.unpolled.len() {
            let Some(index) = self.connections.unpolled.pop_front() else {
                break;
            };
            let Some(conn) = self.connections.get_mut(index) else {
                continue;
            };
            if conn.watched {
                continue;
            }
            if conn.stage == ConnectionStage::Dialling {
                self.register(index);
                continue;
            }
            match self.read(index, false) {
                Step::Wait => self.register(index),
                step => self.settle(index, step),
            }
        }
    }

    /// A connection on the way may have arrived.
    fn complete_connect(&mut self, index: usize) -> Step {
        let must_prove = self.run.plan.hmac_key.is_some();
        if !self.run.plan.mode.keeps() && !must_prove {
            return self.write_first(index);
        }
        let Some(conn) = self.connections.get_mut(index) else {
            return Step::Wait;
        };
        if conn.stage == ConnectionStage::Dialling {
            match conn.stream.is_connected() {
                Ok(true) if self.dialer.met_itself(&conn.stream) => {
                    return Step::Failed(FailureKind::SelfConnect.into());
                }
                Ok(true) if must_prove => conn.stage = ConnectionStage::Proving(Handshake::new()),
                Ok(true) => self.set_ready(index),
                Ok(false) => {}
                Err(errno) => return Step::Failed(errno.into()),
            }
        }
        if must_prove {
            return self.prove(index);
        }
        Step::Wait
    }

    /// A kept connection is as far as it gets before all others are, too.
    fn set_ready(&mut self, index: usize) {
        let Some(conn) = self.connections.get_mut(index) else {
            return;
        };
        conn.stage = ConnectionStage::Ready;
        let took = self.run.watch.nanos().saturating_sub(conn.stamps.dialled);
        self.run.tally.breakdown.connect.record(took, 1);
        self.connections.connected();
    }

    /// Goes on answering the challenge. Whether the server accepts the proof shows in what it does next.
    #[cold]
    fn prove(&mut self, index: usize) -> Step {
        let (Some(conn), Some(hmac_key)) =
            (self.connections.get_mut(index), &self.run.plan.hmac_key)
        else {
            return Step::Wait;
        };
        let ConnectionStage::Proving(handshake) = &mut conn.stage else {
            return Step::Wait;
        };
        match handshake.go_on(&conn.stream, hmac_key) {
            Ok(true) => {}
            Ok(false) => return Step::Wait,
            Err(failure) => return Step::Failed(failure),
        }
        // Where nothing is asked, a server that refuses and one that tires of us look alike.
        conn.is_admitted = self.run.plan.mode == Mode::Hold;
        if self.run.plan.mode.keeps() {
            self.set_ready(index);
            return Step::Wait;
        }
        self.write_first(index)
    }
}

impl Driver<'_> {
    /// Puts `count` more requests on a connection, as far as there are any left.
    #[inline]
    fn ask(&mut self, index: usize, count: usize, now: u64) {
        let count = self.run.tally.take(self.run.phase, count);
        self.connections
            .ask(index, (count, self.run.plan.size), &self.judge, now);
    }

    /// Writes what is unsent, in one go.
    #[inline]
    fn write(&mut self, index: usize) -> Step {
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
            Err(errno) => Step::Failed(errno.into()),
        }
    }

    /// Reads until there is no more, and compares; `to_the_end` when a short read proves nothing.
    #[inline]
    fn read(&mut self, index: usize, to_the_end: bool) -> Step {
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
                Ok(0) => return Step::Failed(FailureKind::ShortAnswer.into()),
                Ok(n) => n,
                Err(Errno::AGAIN) => return Step::Wait,
                Err(errno) => return Step::Failed(errno.into()),
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
                Err(kind) => return Step::Failed(kind.into()),
                Ok(0) if matches!(self.judge, Judge::Framed(CommandFraming::Decimal)) => {
                    if let Step::Failed(failure) = self.acknowledge(index) {
                        return Step::Failed(failure);
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
                    Mode::Conn { close, .. } => {
                        conn.stage = ConnectionStage::Leaving;
                        conn.stamps.last_byte = self.run.watch.nanos();
                        if close != Close::Server {
                            return Step::Done;
                        }
                        continue;
                    }
                    _ => {
                        if let Step::Failed(failure) = self.answered(index, answered) {
                            return Step::Failed(failure);
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
                Err(kind) => Step::Failed(kind.into()),
            },
            // A server that read the request has room for ten bytes; if not, it is not acknowledging.
            Ok(_) | Err(Errno::AGAIN) => Step::Failed(FailureKind::WrongAnswer.into()),
            Err(errno) => Step::Failed(errno.into()),
        }
    }

    /// The oldest `count` requests of a kept connection are answered: asks as many again.
    #[inline]
    fn answered(&mut self, index: usize, count: usize) -> Step {
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
    fn settle(&mut self, index: usize, step: Step) {
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
            Step::Failed(mut failure) => {
                let now = self.run.watch.nanos();
                let Some(conn) = self.connections.get_mut(index) else {
                    return;
                };
                let began = conn.began;
                if !conn.is_admitted
                    && matches!(failure.kind, FailureKind::ShortAnswer | FailureKind::Reset)
                {
                    failure.kind = FailureKind::NotAdmitted;
                }
                let mut last = began;
                if self.run.plan.mode.keeps() {
                    for began in self.connections.in_flight(index) {
                        self.run.tally.lost(began, now);
                        last = began;
                    }
                }
                self.count_failure(failure, last, now);
                self.connections.leave(index);
                self.after_failure(index, failure.kind, now);
            }
        }
    }

    fn count_failure(&mut self, failure: Failure, began: u64, now: u64) {
        if !self.run.plan.mode.keeps() {
            self.run.tally.lost(began, now);
        }
        self.run.failed(failure, began, now);
    }

    /// `conn` goes on with the next request; `echo` goes on without this connection.
    fn after_failure(&mut self, index: usize, kind: FailureKind, now: u64) {
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

    #[inline]
    fn serve(&mut self, index: usize, event: &Event) -> Step {
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
