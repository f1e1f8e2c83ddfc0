//! Requests on connections: nothing is allocated per request.
//!
//! It does not know what a server is for: a message goes out, and what the judge takes for its answer
//! comes back.
//!
//! A kept connection is watched once, for good. A connection of `conn` lives for one answer, so it is
//! not watched at first: with many in flight, the answer of the oldest is usually there by the time
//! the others have been sent, and one read takes it. Only a connection that has to wait is registered with
//! the poll.

use std::collections::{HashMap, VecDeque};

use mio::{Events, Token};

use crate::load::drive::connections::{Connection, ConnectionStage, Connections};
use crate::load::drive::event_loop::Traffic;
use crate::load::drive::heads::Heads;
use crate::load::drive::pacer;
use crate::load::drive::start_times::{Start, StartTimes};
use crate::load::drive::streams::Streams;
use crate::load::exchange::http::is_refusal;
use crate::load::exchange::judge::Judge;
use crate::load::exchange::outputs::EndedOutput;
use crate::load::exchange::requests::Requests;
use crate::load::exchange::terms::Terms;
use crate::load::measure::failures::{Failure, FailureKind};
use crate::load::measure::stages::FailureStage;
use crate::load::net::dial::DIALLING_MAX;
use crate::load::net::poller::Poller;
use crate::load::plan::Plan;
use crate::load::plan::error::LoadError;
use crate::load::plan::mode::{Close, Mode, Model};
use crate::load::plan::target::TargetAddress;
use crate::load::run::failed_answer::FailedAnswer;
use crate::load::run::report::{Held, Report};
use crate::load::run::schedule::Schedule;
use crate::load::run::tally::{Phase, Tally};
use crate::load::run::{Run, Watcher};
use crate::wire::CommandFraming;

/// A run over connections in progress.
#[derive(Debug)]
pub(super) struct Driver<'p> {
    pub(super) run: Run<'p>,
    terms: Terms,
    pub(super) connections: Connections<Requests>,
    times: StartTimes,
    heads: Heads,
    /// How many answers came in each slot while measuring.
    answers: Box<[u64]>,
    /// Unwatched connections that await an answer, the oldest first.
    unpolled: VecDeque<usize>,
    /// Open model: slots in which a request may begin, by dialling or on a kept connection, once for each;
    /// and since when there has been one. What was free on a connection that has ended is not on the next.
    free: VecDeque<Token>,
    free_since: u64,
    /// Requests of kept connections that the server has ended in good order: they are sent again on the next.
    carried: HashMap<usize, Requests>,
    /// Slots of kept connections that failed before the load began: they are dialled for again when it does.
    missing: Vec<usize>,
    /// When a kept connection was open last, and how often since then none could be opened.
    open_at: u64,
    refusals: u64,
    /// Whether no kept connection is dialled any more.
    is_closing: bool,
}

/// After so long without any connection, and none to be had, the load has died.
const DEAD_AFTER: u64 = 1_000_000_000;

impl<'p> Driver<'p> {
    /// Gets everything ready that a run needs, so that it need not allocate later.
    pub(crate) fn new(
        plan: &'p Plan,
        target: &TargetAddress,
        watcher: Watcher<'p>,
    ) -> Result<Self, LoadError> {
        let run = Run::new(plan, watcher);
        let mut driver = Self {
            terms: Terms::new(plan),
            connections: Connections::new(plan.connections, &run, target)?,
            times: StartTimes::new(plan.connections, plan.mode.depth()),
            heads: Heads::new(plan.connections),
            answers: vec![0; plan.connections].into_boxed_slice(),
            unpolled: VecDeque::with_capacity(plan.connections),
            free: VecDeque::with_capacity(plan.connections * plan.mode.depth()),
            free_since: 0,
            carried: HashMap::new(),
            missing: Vec::new(),
            open_at: 0,
            refusals: 0,
            is_closing: false,
            run,
        };
        if driver.keeps_time_by_dialling() {
            while let Some((index, _)) = driver.connections.next_vacant() {
                driver.free(index, 1, 0);
            }
        }
        Ok(driver)
    }

    fn keeps_time_by_dialling(&self) -> bool {
        self.run.plan.model != Model::Closed && !self.run.plan.mode.keeps()
    }

    /// The first requests of kept connections, once all are connected.
    fn start_if_connected(&mut self, now: u64) {
        if self.run.phase == Phase::Connecting
            && self.connections.dialling == 0
            && self.connections.none_to_dial()
        {
            // One time for both: of a schedule that began later, the last requests would be left out.
            self.run.schedule = Schedule::of(self.run.plan.model, self.run.plan.seed, now);
            self.run.warm_up(now, self.connections.poller.spun);
            self.start_all(now);
            if self.replaces() && self.connections.open == 0 {
                self.run.die(now, self.connections.poller.spun);
            }
        }
    }

    fn start_all(&mut self, now: u64) {
        for index in 0..self.connections.len() {
            if self.connections.get(index).is_some() {
                let started = self.start(index);
                self.settle(index, started);
            }
        }
        for index in std::mem::take(&mut self.missing) {
            self.connections.back_off(index, None, now);
        }
    }

    /// Requests may begin on a kept connection: those first that one before it has left unanswered.
    fn start(&mut self, index: usize) -> Result<(), Failure> {
        let Some(conn) = self.connections.get_mut(index) else {
            return Ok(());
        };
        conn.stage = ConnectionStage::Active;
        let plan = self.run.plan;
        if plan.mode == Mode::Hold {
            return Ok(());
        }
        let carried = self.carried.remove(&index);
        let had = carried.as_ref().map_or(0, |carried| carried.flight);
        if let Some(carried) = carried {
            conn.payload.carry_on(&carried, &self.terms);
        }
        let now = self.run.watch.nanos();
        if plan.model == Model::Closed {
            return self.ask(index, plan.mode.depth() - had, now);
        }
        self.free(index, plan.mode.depth() - had, now);
        self.write(index)
    }

    /// Whether a kept connection that ends is replaced: the load is to stay up. In `hold` those are counted that stay.
    fn replaces(&self) -> bool {
        self.run.plan.mode.keeps() && self.run.plan.mode != Mode::Hold
    }

    /// Whether requests may still begin: in the open model also those that have waited for a connection since before the
    /// end.
    fn is_asking(&self) -> bool {
        match self.run.phase {
            Phase::Connecting => false,
            Phase::WarmUp { .. } | Phase::Measured => true,
            Phase::Draining => !self.run.schedule_is_done(),
        }
    }

    /// When there will be no load any more, if no kept connection is open by then.
    fn dies_at(&self) -> u64 {
        if !self.replaces() || self.connections.open > 0 || !self.is_asking() {
            return u64::MAX;
        }
        // Those that were turned away are not dialled for again.
        if self.connections.dialling == 0 && self.connections.none_to_dial() {
            return self.open_at;
        }
        match self.refusals {
            0 => u64::MAX,
            _ => self.open_at.saturating_add(DEAD_AFTER),
        }
    }

    /// Ends a run that has no load any more, as of when it had; and dials only for what is owed once nothing is asked.
    fn watch_load(&mut self, now: u64) {
        if self.connections.open > 0 {
            (self.open_at, self.refusals) = (now, 0);
        }
        if now >= self.dies_at() {
            self.run.die(self.open_at, self.connections.poller.spun);
        }
        let is_done = self.run.phase == Phase::Draining && !self.is_asking();
        if is_done && self.replaces() && !self.is_closing {
            self.is_closing = true;
            let carried = &self.carried;
            self.connections
                .dial_only(|index| carried.contains_key(&index));
        }
    }
}

impl<'p> Traffic<'p> for Driver<'p> {
    fn parts(&mut self) -> (&mut Run<'p>, &mut Poller) {
        (&mut self.run, &mut self.connections.poller)
    }

    /// Ends connections that took longer than the timeout, and backoffs that are over.
    fn expire(&mut self, now: u64) {
        self.connections.end_backoff(now);
        let times = &self.times;
        let waiting_since = |index, requests: &Requests| times.oldest_sent(index, requests);
        for index in self.connections.overdue(now, &self.run, waiting_since) {
            self.fail(index, FailureKind::Timeout.into());
        }
    }

    fn begin(&mut self, now: u64) {
        self.start_if_connected(now);
        self.call_roll(now);
        self.watch_load(now);
        self.dial();
        self.begin_due();
        self.try_unpolled();
    }

    fn dispatch(&mut self, events: &Events) {
        self.serve_all(events);
    }

    fn next_event(&self, now: u64) -> u64 {
        if !self.unpolled.is_empty() {
            return now;
        }
        let due = pacer::next_event(&self.run, !self.free.is_empty());
        let phase = self.run.next_phase();
        let dead = self.dies_at();
        let dialled = self.connections.next_event();
        dialled.min(phase).min(due).min(dead).max(now)
    }

    fn is_over(&self) -> bool {
        // Those that `hold` has lost are not replaced: without any the run is over.
        let none_can = self.run.plan.mode.keeps() && self.connections.open == 0;
        match self.run.phase {
            Phase::Connecting => false,
            Phase::WarmUp { .. } | Phase::Measured => none_can && !self.replaces(),
            Phase::Draining => {
                self.times.outstanding + self.connections.dialling == 0
                    && self.connections.none_to_dial()
                    && (none_can || self.run.schedule_is_done())
            }
        }
    }

    fn report(mut self, now: u64) -> Report {
        self.end_roll_call();
        let held = Held {
            asked: self.run.plan.connections,
            held: match self.run.plan.mode {
                Mode::Conn { .. } => self.connections.open_max,
                _ => self.connections.open,
            },
        };
        let mut report = self.run.report(now, self.connections.poller.spun, held);
        report.join_connections(&self.answers);
        report
    }
}

impl Streams for Driver<'_> {
    type Payload = Requests;

    fn connections(&mut self) -> &mut Connections<Requests> {
        &mut self.connections
    }

    fn arrive(&mut self, index: usize) -> Result<bool, Failure> {
        let has_arrived =
            !self.connections.watches_all || self.connections.arrive(index, &mut self.run)?;
        if has_arrived && !self.run.plan.mode.keeps() {
            return self.write_first(index);
        }
        // The first wait for each other; one that takes the place of another does not.
        if has_arrived && self.run.phase != Phase::Connecting {
            self.start(index)?;
        }
        Ok(has_arrived)
    }

    /// Writes what is unsent, in one go.
    #[inline]
    fn write(&mut self, index: usize) -> Result<(), Failure> {
        let Some(conn) = self.connections.get_mut(index) else {
            return Ok(());
        };
        if conn.stream.session().is_some() {
            return self.write_secured(index);
        }
        let unsent = conn.payload.unsent(&self.terms);
        // Less than all means full; being writable again is an event.
        if !unsent.is_empty()
            && let Some(n) = conn.stream.write_plain(unsent)?
        {
            self.run.sent_bytes(n);
            conn.payload.sent(n, &self.terms);
        }
        Ok(())
    }

    /// Reads, and compares.
    #[inline]
    fn receive(&mut self, index: usize, to_the_end: bool) -> Result<bool, Failure> {
        let Some((conn, bytes, may_have_more)) = self.connections.read(index)? else {
            return Ok(false);
        };
        if bytes.is_empty() {
            self.end(index)?;
            return Ok(false);
        }
        self.run.received_bytes(bytes.len());
        let goes_on = may_have_more || to_the_end;
        let answered = match self.run.plan.mode {
            // `hold` discards what the server sends before it is asked.
            Mode::Hold if conn.payload.flight == 0 => Ok(0),
            _ => conn.payload.feed(bytes, &self.terms),
        };
        if conn.stamps.first_byte == 0 {
            conn.stamps.first_byte = self.run.watch.nanos();
            conn.is_admitted = true;
        }
        if answered == Ok(0) {
            self.heads.keep(index, conn.stamps.first_byte, bytes);
        }
        match (answered?, &self.run.plan.mode) {
            (0, _) if matches!(self.terms.judge, Judge::Framed(CommandFraming::Decimal)) => {
                self.acknowledge(index)?;
            }
            (0, _) => {}
            (_, Mode::Conn { .. }) if is_refused(conn, &mut self.run.tally) => {
                conn.stage = ConnectionStage::Leaving;
                return Err(FailureKind::TurnedDown.into());
            }
            // In the sums and in the ring it is still the same request.
            (_, Mode::Conn { .. }) if conn.payload.more > 0 => {
                conn.payload.more -= 1;
                conn.payload.ask(1, &self.terms);
                self.write(index)?;
            }
            (_, Mode::Conn { close, .. }) => {
                conn.stage = ConnectionStage::Leaving;
                conn.stamps.last_byte = self.run.watch.nanos();
                if *close == Close::Server {
                    return Ok(true);
                }
                self.finish(index);
                return Ok(false);
            }
            (count, _) => self.answered(index, count)?,
        }
        Ok(goes_on)
    }

    #[cold]
    fn fail(&mut self, index: usize, failure: Failure) {
        if let Some(conn) = self.connections.get(index) {
            let began = conn.began;
            self.tell_failed(index, failure.kind);
            self.give_up(index, failure, began);
        }
    }
}

/// Requests of the open model that are begun before answers are looked at.
const BEGUN_PER_TURN: usize = 256;

/// Beginning: connections and requests whose time has come.
impl Driver<'_> {
    fn dial(&mut self) {
        // With many ports in use one `connect` takes a millisecond: those already open must not wait for all.
        for _ in 0..DIALLING_MAX {
            let Some((index, delayed)) = self.connections.next_vacant() else {
                return;
            };
            let now = self.run.watch.nanos();
            self.dial_one(index, delayed, now);
        }
    }

    /// Dials for a new request, if there is one left, or for one that was `delayed` since then.
    fn dial_one(&mut self, index: usize, delayed: Option<u64>, now: u64) {
        if self.run.plan.mode.keeps()
            || delayed.is_some()
            || self.run.tally.take(self.run.phase, 1) == 1
        {
            self.dial_for(index, delayed.unwrap_or(now), now);
        }
    }

    /// Dials for a request that began, or was meant to, at `began`.
    fn dial_for(&mut self, index: usize, began: u64, now: u64) {
        let start = self.connections.next_number(index);
        let mut requests = Requests::new(self.terms.payload.start(start), &self.terms);
        requests.more = self.run.plan.mode.messages() - 1;
        match self
            .connections
            .dial(index, (began, now), requests, &self.run)
        {
            // On loopback the connection is there when `connect` returns, and the write says so.
            Ok(true) if !self.connections.watches_all => match self.write_first(index) {
                Ok(_) => self.unpolled.push_back(index),
                Err(failure) => self.fail(index, failure),
            },
            Ok(_) => {}
            Err(failure) => self.give_up(index, failure, began),
        }
    }

    /// Begins what is due, as far as there are connections for it.
    fn begin_due(&mut self) {
        if self.run.schedule.is_none() {
            return;
        }
        for _ in 0..BEGUN_PER_TURN {
            let now = self.run.watch.nanos();
            let room_since = self.room_since();
            let Some(began) = pacer::next_due(&mut self.run, now, room_since) else {
                return;
            };
            let token = self.free.pop_front();
            let Some(index) = token.and_then(|token| self.connections.index(token)) else {
                return;
            };
            if self.run.plan.mode.keeps() {
                let start = Start {
                    meant: began,
                    sent: now,
                };
                let asked = self.ask_taken(index, 1, start);
                self.settle(index, asked);
            } else {
                self.dial_for(index, began, now);
            }
        }
    }

    /// `count` more requests may begin in a slot.
    #[inline]
    fn free(&mut self, index: usize, count: usize, now: u64) {
        if self.free.is_empty() {
            self.free_since = now;
        }
        let token = self.connections.token(index);
        self.free.extend(std::iter::repeat_n(token, count));
    }

    /// Since when a request has been able to begin; none while it cannot. Kept connections that failed
    /// meanwhile are passed over.
    #[inline]
    fn room_since(&mut self) -> Option<u64> {
        while let Some(token) = self.free.front()
            && self.run.plan.mode.keeps()
            && self
                .connections
                .index(*token)
                .is_none_or(|index| self.connections.get(index).is_none())
        {
            self.free.pop_front();
        }
        (!self.free.is_empty()).then_some(self.free_since)
    }

    /// One try for each unpolled connection; the poll watches those that have nothing yet.
    fn try_unpolled(&mut self) {
        for _ in 0..self.unpolled.len() {
            let Some(index) = self.unpolled.pop_front() else {
                return;
            };
            let Some(conn) = self.connections.get(index) else {
                continue;
            };
            if conn.is_watched {
                continue;
            }
            let token = self.connections.token(index);
            let tried = match conn.stage {
                ConnectionStage::Dialling => Ok(()),
                _ => self.read(index, false),
            };
            // If it is over already, there may be another one in its place.
            let is_there = self.connections.index(token).is_some();
            let tried = match tried {
                Ok(()) if is_there => self.connections.watch(index),
                tried => tried,
            };
            self.settle(index, tried);
        }
    }

    /// The first write of `conn`, which also tells whether it is connected. Where the server sends a
    /// challenge, the proof was sent before.
    fn write_first(&mut self, index: usize) -> Result<bool, Failure> {
        let Some(conn) = self.connections.get_mut(index) else {
            return Ok(false);
        };
        let start = Start {
            meant: conn.began,
            sent: conn.stamps.dialled,
        };
        let Some(n) = conn.stream.write(conn.payload.first(&self.terms))? else {
            return Ok(false);
        };
        self.run.sent_bytes(n);
        if let Some(conn) = self.connections.get(index) {
            self.connections.dialer.check_peer(&conn.stream)?;
        }
        self.connections
            .open(index, ConnectionStage::Active, &mut self.run);
        if let Some(conn) = self.connections.get_mut(index) {
            self.times.begin(index, &conn.payload, 1, start);
            conn.payload.ask(1, &self.terms);
            conn.payload.sent(n, &self.terms);
        }
        Ok(true)
    }
}

/// Asking and being answered.
impl Driver<'_> {
    /// Writes what is unsent through a session, or what it has sealed before.
    #[cold] // and so not in the way of plain connections, whose writing needs no frame of the stack
    fn write_secured(&mut self, index: usize) -> Result<(), Failure> {
        let Some(conn) = self.connections.get_mut(index) else {
            return Ok(());
        };
        let unsent = conn.payload.unsent(&self.terms);
        if unsent.is_empty() {
            return Ok(conn.stream.flush()?);
        }
        if let Some(n) = conn.stream.write(unsent)? {
            self.run.sent_bytes(n);
            conn.payload.sent(n, &self.terms);
        }
        Ok(())
    }

    /// Puts `count` more requests on a connection, as far as there are any left.
    #[inline]
    fn ask(&mut self, index: usize, count: usize, now: u64) -> Result<(), Failure> {
        let count = self.run.tally.take(self.run.phase, count);
        self.ask_taken(index, count, Start::at(now))
    }

    /// Puts `count` requests on a connection that were taken out of those that are left.
    #[inline]
    pub(super) fn ask_taken(
        &mut self,
        index: usize,
        count: usize,
        start: Start,
    ) -> Result<(), Failure> {
        if let Some(conn) = self.connections.get_mut(index) {
            self.times.begin(index, &conn.payload, count, start);
            conn.payload.ask(count, &self.terms);
        }
        self.write(index)
    }

    /// The server has ended the connection: well where it was to, or where its end is that of the answer.
    #[cold]
    fn end(&mut self, index: usize) -> Result<(), Failure> {
        let (keeps, replaces) = (self.run.plan.mode.keeps(), self.replaces());
        let Some(conn) = self.connections.get_mut(index) else {
            return Ok(());
        };
        if conn.stage == ConnectionStage::Leaving {
            self.finish(index);
            return Ok(());
        }
        // It was held until it was asked, and has answered.
        if self.run.plan.asks_at_end
            && self.run.phase == Phase::Draining
            && conn.payload.flight == 0
        {
            return Ok(());
        }
        // Between two requests a server may hang up.
        let is_idle = replaces && conn.payload.flight == 0;
        let is_answer = conn.payload.may_end(&self.terms)
            && conn.stamps.first_byte > 0
            && conn.payload.more == 0
            && !is_idle;
        if !is_answer && !is_idle {
            return Err(FailureKind::ShortAnswer.into());
        }
        if is_answer {
            conn.payload.ended_with_the_connection();
            conn.stamps.last_byte = self.run.watch.nanos();
        }
        if keeps {
            if is_answer {
                self.count_answers(index, 1);
            }
            if replaces {
                self.renew(index);
            }
            return Ok(());
        }
        // Its one request is answered, well or not; `leave` takes the end of it out of the sums.
        conn.stage = ConnectionStage::Leaving;
        if is_refused(conn, &mut self.run.tally) {
            return Err(FailureKind::TurnedDown.into());
        }
        self.finish(index);
        Ok(())
    }

    /// A length may have come, and the output behind it waits for our word (C2).
    #[cold] // and so not in the way of what is read of an echo
    fn acknowledge(&mut self, index: usize) -> Result<(), Failure> {
        let Some(conn) = self.connections.get_mut(index) else {
            return Ok(());
        };
        let Some(word) = conn.payload.acknowledgement() else {
            return Ok(());
        };
        if conn.stream.write(word)? != Some(word.len()) {
            // A server that read the request has room for ten bytes; if not, it is not acknowledging.
            return Err(FailureKind::WrongAnswer.into());
        }
        match conn.payload.acknowledged(&self.terms)? {
            0 => Ok(()),
            answered => self.answered(index, answered),
        }
    }

    /// The oldest `count` requests of a kept connection are answered: asks as many again.
    #[inline]
    fn answered(&mut self, index: usize, count: usize) -> Result<(), Failure> {
        let now = self.count_answers(index, count);
        if self
            .connections
            .get(index)
            .is_some_and(|conn| conn.payload.is_last())
        {
            if self.replaces() {
                self.renew(index);
            }
            return Ok(());
        }
        if self.run.plan.model != Model::Closed {
            self.free(index, count, now);
            return Ok(());
        }
        self.ask(index, count, now)
    }

    /// Counts that the oldest `count` requests of a kept connection are answered now.
    #[inline]
    fn count_answers(&mut self, index: usize, count: usize) -> u64 {
        let before = self.run.tally.requests.came;
        let now = self.count_each(index, count);
        self.answers[index] += self.run.tally.requests.came - before;
        now
    }

    #[inline]
    fn count_each(&mut self, index: usize, count: usize) -> u64 {
        let now = self.run.watch.nanos();
        let Some(conn) = self.connections.get_mut(index) else {
            return now;
        };
        // Only the oldest can have come in part before.
        let mut first_byte = std::mem::take(&mut conn.stamps.first_byte);
        if conn.payload.is_inside(&self.terms) {
            conn.stamps.first_byte = now;
        }
        let run = &mut self.run;
        let requests = &mut conn.payload;
        if matches!(self.terms.judge, Judge::Http) {
            // Each has a status, and one that says no is none.
            let (since, mut refused) = (first_byte, None);
            for at in 0..count {
                let status = requests.statuses().get(at).copied().unwrap_or(0);
                self.times.answered(index, requests, 1, |start, _| {
                    run.tally.tell_status(status, start.meant);
                    if is_refusal(status) {
                        let (kind, stage) = (FailureKind::TurnedDown, FailureStage::Reading);
                        run.lost(kind, stage, start.meant, now);
                        refused = refused.or(Some(status));
                    } else {
                        count_run(&mut run.tally, start, 1, first_byte, now);
                    }
                });
                first_byte = 0;
            }
            if let Some(status) = refused {
                self.tell_refused(index, status, since, count);
            }
            return now;
        }
        if matches!(self.terms.judge, Judge::Framed(_)) {
            // Each has an exit code, where that is told, and may be another output than was asked for.
            for at in 0..count {
                let ended = requests.outputs().get(at).copied();
                let failure = ended.and_then(|ended| is_other(ended, &self.terms));
                self.times.answered(index, requests, 1, |start, _| {
                    if let Some(exit) = ended.and_then(|ended| ended.exit) {
                        run.tally.tell_exit(exit, start.meant);
                    }
                    match failure {
                        Some(kind) => run.lost(kind, FailureStage::Reading, start.meant, now),
                        None => count_run(&mut run.tally, start, 1, first_byte, now),
                    }
                });
                first_byte = 0;
            }
            return now;
        }
        self.times.answered(index, requests, count, |start, count| {
            count_run(
                &mut run.tally,
                start,
                count as u64,
                std::mem::take(&mut first_byte),
                now,
            );
        });
        now
    }
}

/// Why an output is not the one that was asked for, if it is not.
fn is_other(ended: EndedOutput, terms: &Terms) -> Option<FailureKind> {
    if ended.exit.is_some_and(|exit| exit != terms.exit) {
        return Some(FailureKind::Exited);
    }
    (!ended.is_right).then_some(FailureKind::WrongAnswer)
}

/// Whether an answer on a connection of `conn` says no; counts what it says.
fn is_refused(conn: &Connection<Requests>, tally: &mut Tally) -> bool {
    let statuses = conn.payload.statuses();
    for status in statuses {
        tally.tell_status(*status, conn.began);
    }
    statuses.iter().copied().any(is_refusal)
}

/// `count` requests that began together are answered; the oldest in part at `first_byte`, if that is not 0.
#[inline]
fn count_run(tally: &mut Tally, start: Start, count: u64, first_byte: u64, now: u64) {
    let Start { meant, sent } = start;
    tally.answered(meant, now, count);
    if !tally.counts(meant) {
        return;
    }
    let breakdown = &mut tally.breakdown;
    if sent > meant {
        breakdown.wait.record(sent - meant, count);
    }
    let mut rest = count;
    if first_byte != 0 {
        let waited = first_byte.saturating_sub(sent);
        breakdown.first_byte.record(waited, 1);
        breakdown.last_byte.record(now - first_byte, 1);
        rest -= 1;
    }
    if rest > 0 {
        breakdown.first_byte.record(now.saturating_sub(sent), rest);
        breakdown.last_byte.record(0, rest);
    }
}

/// The end of a connection.
impl Driver<'_> {
    /// A connection of `conn` is over and well: on with the next.
    fn finish(&mut self, index: usize) {
        let Some(Connection { began, stamps, .. }) = self.leave(index) else {
            return;
        };
        let now = self.run.watch.nanos();
        let tally = &mut self.run.tally;
        tally.answered(began, now, 1);
        if tally.counts(began) {
            let phases = &mut tally.breakdown;
            for (phase, from, to) in [
                (&mut phases.wait, began, stamps.dialled),
                (&mut phases.connect, stamps.dialled, stamps.connected),
                (&mut phases.first_byte, stamps.connected, stamps.first_byte),
                (&mut phases.last_byte, stamps.first_byte, stamps.last_byte),
                (&mut phases.close, stamps.last_byte, now),
            ] {
                phase.record(to.saturating_sub(from), 1);
            }
        }
        if self.run.plan.model != Model::Closed {
            self.free(index, 1, now);
        } else if self.run.phase != Phase::Draining {
            self.dial_one(index, None, now);
        }
    }

    /// The server has ended a kept connection in good order: another one takes its place, and what it has left unanswered
    /// is asked there again.
    #[cold]
    fn renew(&mut self, index: usize) {
        let Some(conn) = self.connections.leave(index) else {
            return;
        };
        if conn.payload.flight > 0 {
            self.carried.insert(index, conn.payload);
        }
        self.open_at = self.run.watch.nanos();
        self.run.tally.reconnects += 1;
        self.connections.vacate(index);
    }

    /// Requests of a connection that failed, and those that were to be sent again on it: when they began.
    fn in_flight(&self, index: usize, conn: Option<&Connection<Requests>>) -> Vec<u64> {
        let requests = conn
            .map(|conn| &conn.payload)
            .into_iter()
            .chain(self.carried.get(&index));
        requests
            .flat_map(|requests| self.times.in_flight(index, requests))
            .collect()
    }

    /// Of the first answer that fails, what came of it is kept.
    #[cold]
    fn tell_failed(&mut self, index: usize, kind: FailureKind) {
        let Some(conn) = self.connections.get(index) else {
            return;
        };
        // What failed by what was read begins with it, unless part of it had come before.
        let is_read = matches!(kind, FailureKind::WrongAnswer | FailureKind::TurnedDown);
        if self.run.plan.mode == Mode::Hold || !is_read && !self.has_begun(conn) {
            return;
        }
        let read = if is_read {
            self.connections.last_read()
        } else {
            &[]
        };
        let bytes = match self.heads.of(index, conn.stamps.first_byte) {
            [] => read,
            // That of the first on a connection is not that of another.
            _ if self.run.plan.mode.messages() > 1 => read,
            head => head,
        };
        let is_wrong = kind == FailureKind::WrongAnswer;
        self.run.tally.tell_failed(FailedAnswer {
            kind,
            status: conn.payload.statuses().first().copied().filter(|_| is_read),
            came: conn.payload.come(&self.terms).filter(|_| !is_wrong),
            bytes,
            difference: match is_wrong {
                true => conn.payload.difference(read, &self.terms),
                false => None,
            },
        });
    }

    /// The same of a refusal among `count` answers, the oldest of which had come in part at `since`: of several, nobody knows
    /// how each begins.
    #[cold]
    fn tell_refused(&mut self, index: usize, status: u16, since: u64, count: usize) {
        let bytes = match self.heads.of(index, since) {
            _ if count > 1 => &[],
            [] => self.connections.last_read(),
            head => head,
        };
        self.run.tally.tell_failed(FailedAnswer {
            kind: FailureKind::TurnedDown,
            status: Some(status),
            came: None,
            bytes,
            difference: None,
        });
    }

    /// Whether part of the oldest answer on a connection has come.
    fn has_begun(&self, conn: &Connection<Requests>) -> bool {
        match self.run.plan.mode {
            // There it is the first byte of the first.
            Mode::Conn { requests: 2.., .. } => conn.payload.is_inside(&self.terms),
            _ => conn.stamps.first_byte != 0,
        }
    }

    /// How far a connection was that failed so; none could be dialled where there is none.
    fn failure_stage(
        &self,
        conn: Option<&Connection<Requests>>,
        kind: FailureKind,
    ) -> FailureStage {
        let Some(conn) = conn else {
            return FailureStage::Connecting;
        };
        if let Some(stage) = conn.stage.arriving(kind) {
            return stage;
        }
        let requests = &conn.payload;
        match conn.stage {
            // A refusal is an answer, of which nothing is owed any more.
            ConnectionStage::Leaving if kind != FailureKind::TurnedDown => FailureStage::Closing,
            ConnectionStage::Leaving => FailureStage::Reading,
            _ if kind == FailureKind::WrongAnswer || self.has_begun(conn) => FailureStage::Reading,
            _ if requests.is_sending() => FailureStage::Sending,
            _ if requests.flight > 0 => FailureStage::Waiting,
            _ => FailureStage::Idle,
        }
    }

    /// A connection failed, or could not be dialled; in `conn` its request began at `began`, and the next one
    /// takes its place. Another connection takes the place of a kept one, too.
    #[cold]
    fn give_up(&mut self, index: usize, mut failure: Failure, began: u64) {
        let now = self.run.watch.nanos();
        let keeps = self.run.plan.mode.keeps();
        // A kept one fails as its youngest request does, so that no request that counts is lost without an error that
        // counts; if nothing was asked, it fails now, however long ago it was dialled.
        let mut last = if keeps { now } else { began };
        let conn = self.leave(index);
        if let Some(conn) = &conn {
            failure = conn.explain(failure, &mut self.run);
        }
        match &conn {
            Some(conn) if !conn.stage.is_arriving() => self.open_at = now,
            _ => self.refusals += 1,
        }
        if keeps {
            for began in self.in_flight(index, conn.as_ref()) {
                self.run.tally.lost(began);
                last = began;
            }
            if let Some(carried) = self.carried.remove(&index) {
                self.times.outstanding -= carried.flight;
            }
        }
        if !keeps {
            self.run.tally.lost(began);
        }
        let stage = self.failure_stage(conn.as_ref(), failure.kind);
        self.run.failed(failure, stage, last, now);
        if self.keeps_time_by_dialling() {
            return self.free(index, 1, now);
        }
        if keeps && !self.is_replaced_after(failure.kind) {
            return;
        }
        match self.run.phase {
            Phase::Connecting if keeps => return self.missing.push(index),
            Phase::Draining if !self.is_asking() => return,
            _ => {}
        }
        match failure.kind {
            FailureKind::Reset
            | FailureKind::Timeout
            | FailureKind::OwnBuffer
            | FailureKind::Unsent
            | FailureKind::ShortAnswer
            | FailureKind::WrongAnswer
            | FailureKind::TurnedDown
            | FailureKind::Exited
            | FailureKind::Duplicate
            | FailureKind::Reordered
            | FailureKind::CutOff => self.connections.vacate(index),
            FailureKind::Refused
            | FailureKind::NotAdmitted
            | FailureKind::NoPort
            | FailureKind::NoDescriptor
            | FailureKind::SelfConnect
            | FailureKind::Tls
            | FailureKind::NotAccepted
            | FailureKind::Forgotten
            | FailureKind::Other => self.connections.back_off(index, None, now),
        }
    }

    /// Whether another one takes the place of a kept connection that failed so. A server that turns us away does so again,
    /// and may hold it against us.
    fn is_replaced_after(&self, kind: FailureKind) -> bool {
        let is_turned_away = matches!(
            kind,
            FailureKind::NotAdmitted | FailureKind::Tls | FailureKind::SelfConnect
        );
        self.replaces() && !is_turned_away
    }

    /// Closes a connection, and takes it and what is in flight on it out of the sums.
    fn leave(&mut self, index: usize) -> Option<Connection<Requests>> {
        let conn = self.connections.leave(index)?;
        // `conn` still awaited the end of its last request.
        let leaving = usize::from(conn.stage == ConnectionStage::Leaving);
        self.times.outstanding -= conn.payload.flight + leaving;
        Some(conn)
    }
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;
    use std::os::unix::net::UnixListener;
    use std::time::Duration;

    use super::*;
    use crate::load::plan::mode::{Amount, Arrivals};
    use crate::load::plan::target::Endpoint;

    /// A run in the open model with one connection, a warm-up of 10 ns and then a second to measure.
    fn listened_to(mode: Mode, test: impl FnOnce(&mut Driver<'_>)) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("listener");
        let _listener = UnixListener::bind(&path).unwrap();
        let mut plan = Plan::new(Endpoint::Unix(path.clone()), mode);
        plan.model = Model::Open {
            rate: 1.0,
            arrivals: Arrivals::Constant,
        };
        plan.amount = Amount::For(Duration::from_secs(1));
        plan.warmup = Duration::from_nanos(10);
        plan.connections = 1;
        let mut watcher = |_| ControlFlow::Continue(());
        let target = TargetAddress::Unix(path);
        test(&mut Driver::new(&plan, &target, &mut watcher).unwrap());
    }

    /// A kept connection whose warm-up is from 1 ns to 11 ns.
    fn warming_up(test: impl FnOnce(&mut Driver<'_>)) {
        listened_to(Mode::Echo { depth: 4 }, |driver| {
            driver.dial();
            assert_eq!(driver.arrive(0), Ok(true));
            // On the time of this test it was dialled before.
            driver.connections.get_mut(0).unwrap().began = 0;
            driver.start_if_connected(1);
            assert_eq!(driver.run.phase, Phase::WarmUp { until: 11 });
            test(driver);
        });
    }

    fn reset(driver: &mut Driver<'_>) {
        driver.fail(0, FailureKind::Reset.into());
        assert_eq!((driver.connections.open, driver.times.outstanding), (0, 0));
    }

    /// Errors of the warm-up, errors, and requests that are counted and lost.
    fn lost(driver: &Driver<'_>) -> (u64, u64, u64) {
        let tally = &driver.run.tally;
        let unanswered = tally.requests.unanswered;
        (tally.warmup_errors.reset, tally.errors.reset, unanswered)
    }

    #[test]
    fn a_connection_that_is_lost_while_it_is_idle_is_lost_when_it_is() {
        warming_up(|driver| {
            reset(driver);
            assert_eq!(lost(driver), (1, 0, 0));
        });
        warming_up(|driver| {
            driver.run.advance_phase(11, 0);
            reset(driver);
            assert_eq!(lost(driver), (0, 1, 0));
        });
    }

    #[test]
    fn a_connection_that_is_lost_with_a_request_that_counts_is_an_error_that_counts() {
        // What began in the warm-up alone is the warm-up's, whenever it is lost.
        warming_up(|driver| {
            driver.ask_taken(0, 2, Start::at(5)).unwrap();
            driver.run.advance_phase(11, 0);
            reset(driver);
            assert_eq!(lost(driver), (1, 0, 0));
        });
        // The oldest of the warm-up, the others not.
        warming_up(|driver| {
            driver.ask_taken(0, 1, Start::at(10)).unwrap();
            driver.run.advance_phase(11, 0);
            driver.ask_taken(0, 2, Start::at(11)).unwrap();
            reset(driver);
            assert_eq!(lost(driver), (0, 1, 2));
        });
    }

    #[test]
    fn an_answer_to_the_warm_up_counts_for_the_rate_and_has_no_latency() {
        warming_up(|driver| {
            driver.ask_taken(0, 2, Start::at(10)).unwrap();
            driver.run.advance_phase(11, 0);
            driver.ask_taken(0, 1, Start::at(11)).unwrap();
            driver.connections.get_mut(0).unwrap().payload.flight = 0;
            driver.answered(0, 3).unwrap();
            let tally = &driver.run.tally;
            assert_eq!((tally.requests.came, tally.requests.answered), (3, 1));
            assert_eq!(tally.latencies.summary().count, 1);
            assert_eq!(tally.breakdown.first_byte.summary().count, 1);
            assert_eq!(tally.breakdown.last_byte.summary().count, 1);
        });
    }

    #[test]
    fn a_connection_of_the_warm_up_counts_for_the_rate_and_has_no_phases() {
        let mode = Mode::Conn {
            close: Close::ClientFin,
            requests: 1,
        };
        listened_to(mode, |driver| {
            assert_eq!(driver.run.phase, Phase::WarmUp { until: 10 });
            for (began, came, counted) in [(9, 1, 0), (10, 2, 1)] {
                driver.dial_for(0, began, began);
                driver.run.advance_phase(10, 0);
                let conn = driver.connections.get_mut(0).unwrap();
                (conn.stage, conn.payload.flight) = (ConnectionStage::Leaving, 0);
                driver.finish(0);
                let tally = &driver.run.tally;
                assert_eq!(
                    (tally.requests.came, tally.requests.answered),
                    (came, counted)
                );
                let phases = tally.breakdown.map(|phase| phase.summary().count);
                let all = [
                    phases.connect,
                    phases.first_byte,
                    phases.last_byte,
                    phases.close,
                ];
                assert_eq!(all, [counted; 4]);
                assert_eq!(driver.times.outstanding, 0);
            }
        });
    }
}
