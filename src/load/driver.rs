//! The loop of the load generator: one thread, one poll, nothing allocated per request.
//!
//! It does not know what a server is for: a message goes out, the same bytes come back.
//!
//! A kept connection is watched once, for good. A connection of `conn` lives for one answer, so it is
//! not watched at first: with many in flight, the answer of the oldest is usually there by the time
//! the others have been sent, and one read takes it. Only who has to wait is shown to the poll.

use std::io;
use std::time::Duration;

use mio::event::Event;
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::LoadError;
use super::answer::Judge;
use super::book::{Book, Kind, Phase, nanos};
use super::crowd::{Crowd, Stage};
use super::dial::{self, Dialer, Dialled};
use super::histogram::Latencies;
use super::lookout::{ALARM, Lookout};
use super::payload::Payload;
use super::plan::{Close, Mode, Model, Plan, Target};
use super::process::Usage;
use super::report::{Generator, Held, Report};
use super::schedule::Schedule;
use super::stopwatch::{CpuTime, Stopwatch};
use super::talk::Talk;

/// One read takes at most this much; also what is read at once of a long answer.
const READ_BYTES: usize = 256 * 1024;
/// A listener's queue is often 128 long, and what does not fit waits a second.
const DIALLING_MAX: usize = 100;
/// Who was refused, or found no port or descriptor, tries again after this long: a run against nobody
/// counts errors, it does not burn a processor.
const REST: Duration = Duration::from_millis(5);
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
    Failed(Kind, Option<Errno>),
}

/// A run in progress.
#[derive(Debug)]
pub struct Driver<'p> {
    plan: &'p Plan,
    watch: Stopwatch,
    phase: Phase,
    book: Book,
    /// In the open model.
    schedule: Option<Schedule>,
    /// How long the turns took, from waking to the next wait.
    turns: Latencies,
    /// The server's process before the first connection, and when measuring began.
    before: Option<Usage>,
    measured: Option<Usage>,
    payload: Payload,
    judge: Judge,
    dialer: Dialer,
    lookout: Lookout,
    incoming: Box<[u8]>,
    crowd: Crowd,
    next_look: u64,
    cpu: CpuTime,
    cpu_at: u64,
    spun_before: u64,
}

impl<'p> Driver<'p> {
    /// Gets everything ready that a run needs, so that it need not allocate later.
    pub fn new(plan: &'p Plan, target: Target) -> Result<Self, LoadError> {
        raise_descriptor_limit();
        let watch = Stopwatch::start();
        Ok(Self {
            plan,
            watch,
            phase: match plan.mode {
                Mode::Conn { .. } => Phase::WarmUp {
                    until: nanos(plan.warmup),
                },
                _ => Phase::Connecting,
            },
            book: Book::new(plan),
            schedule: match (plan.model, plan.mode) {
                (Model::Open { rate, arrivals }, Mode::Conn { .. }) => {
                    Some(Schedule::new(arrivals, rate, watch.nanos()))
                }
                _ => None,
            },
            turns: Latencies::new(),
            before: plan.pid.and_then(Usage::of),
            measured: None,
            payload: match &plan.text {
                Some(text) => Payload::fixed(text, plan.pipeline),
                None => Payload::new(plan.size, plan.pipeline),
            },
            judge: Judge::new(plan),
            dialer: Dialer::new(plan, &target)?,
            lookout: Lookout::new(watch, plan.spin, plan.model != Model::Closed)?,
            incoming: vec![0; READ_BYTES].into_boxed_slice(),
            crowd: Crowd::new(plan.connections, plan.pipeline),
            next_look: 0,
            cpu: CpuTime::now(),
            cpu_at: 0,
            spun_before: 0,
        })
    }

    /// Runs to the end.
    pub fn run(mut self) -> Result<Report, LoadError> {
        let mut now = self.watch.nanos();
        let mut woke = now;
        while !self.is_over() {
            self.turn_the_page(now); // warm-up, measuring, the end
            self.let_go(now); // who took too long; who has rested
            self.dial(); // who is to be connected
            self.keep_time(); // whose time has come
            self.look(); // whether young connections have their answer already
            let asleep = self.watch.nanos();
            self.turns.record(asleep.saturating_sub(woke), 1);
            self.wait(asleep)?; // the only place that sleeps
            woke = self.watch.nanos();
            self.attend(); // who became readable, who became writable
            now = self.watch.nanos(); // what began before this is of the page before
        }
        Ok(self.report(now))
    }

    fn is_over(&self) -> bool {
        match self.phase {
            Phase::Connecting => false,
            // A kept connection that failed is not replaced: without any there is nobody to ask.
            Phase::WarmUp { .. } | Phase::Measured => {
                self.plan.mode.keeps() && self.crowd.open == 0
            }
            Phase::Draining => {
                let nobody_waits = self.crowd.outstanding + self.crowd.dialling == 0;
                match &self.schedule {
                    None => nobody_waits && self.crowd.all_are_seated(),
                    Some(schedule) => {
                        let nobody_can = self.plan.mode.keeps() && self.crowd.open == 0;
                        let nobody_comes = nobody_can || !self.book.has_due(schedule.next());
                        nobody_waits && nobody_comes && self.crowd.next_rested().is_none()
                    }
                }
            }
        }
    }

    fn turn_the_page(&mut self, now: u64) {
        if self.phase == Phase::Connecting
            && self.crowd.dialling == 0
            && self.crowd.all_are_seated()
        {
            self.phase = Phase::WarmUp {
                until: now.saturating_add(nanos(self.plan.warmup)),
            };
            if self.plan.warmup.is_zero() {
                self.begin_measuring(now);
            }
            self.start_everybody();
        }
        match self.phase {
            Phase::WarmUp { until } if now >= until => self.begin_measuring(now),
            Phase::Measured if now >= self.book.until() || self.book.is_spent() => {
                self.phase = Phase::Draining;
            }
            _ => {}
        }
    }

    fn begin_measuring(&mut self, now: u64) {
        self.phase = Phase::Measured;
        self.book.begin(now, self.schedule.as_ref());
        self.turns.clear();
        self.measured = self.plan.pid.and_then(Usage::of);
        self.cpu = CpuTime::now();
        self.cpu_at = now;
        self.spun_before = self.lookout.spun;
    }

    /// Everybody is connected: the first requests of `echo`.
    fn start_everybody(&mut self) {
        if self.plan.mode == Mode::Hold {
            for index in 0..self.crowd.len() {
                if let Some(guest) = self.crowd.guest(index) {
                    guest.stage = Stage::Talking;
                }
            }
            return;
        }
        if let Model::Open { rate, arrivals } = self.plan.model {
            let now = self.watch.nanos();
            self.schedule = Some(Schedule::new(arrivals, rate, now));
            for index in 0..self.crowd.len() {
                if let Some(guest) = self.crowd.guest(index) {
                    guest.stage = Stage::Talking;
                    self.crowd.free(index, self.plan.pipeline, now);
                }
            }
            return;
        }
        for index in 0..self.crowd.len() {
            if let Some(guest) = self.crowd.guest(index) {
                guest.stage = Stage::Talking;
                let now = self.watch.nanos();
                self.ask(index, self.plan.pipeline, now);
                let step = self.write(index);
                self.settle(index, step);
            }
        }
    }

    /// Ends what is older than the timeout, and wakes who has rested.
    fn let_go(&mut self, now: u64) {
        self.crowd.wake(now);
        if now < self.next_look {
            return;
        }
        let timeout = nanos(self.plan.timeout);
        self.next_look = now + (timeout / 8).clamp(nanos(LOOK.0), nanos(LOOK.1));
        for index in 0..self.crowd.len() {
            match self.crowd.waiting_since(index) {
                Some(since) if now.saturating_sub(since) >= timeout => {
                    self.settle(index, Step::Failed(Kind::Timeout, None));
                }
                _ => {}
            }
        }
    }

    /// Begins what is due, as far as there are connections for it.
    fn keep_time(&mut self) {
        let Some(mut schedule) = self.schedule.take() else {
            return;
        };
        let timeout = nanos(self.plan.timeout);
        loop {
            let now = self.watch.nanos();
            let began = schedule.next();
            if began > now {
                break;
            }
            let is_too_late = now - began >= timeout;
            let index = match self.plan.mode {
                _ if is_too_late => None,
                Mode::Conn { .. } => self.crowd.vacant.pop_front(),
                _ => self.free_guest(),
            };
            if !is_too_late && index.is_none() || !self.book.take_due(self.phase, began) {
                if let Some(index) = index {
                    self.give_back(index);
                }
                break;
            }
            schedule.advance();
            let Some(index) = index else {
                // It never began: no connection was free in all that time.
                self.book.lost(began, now);
                self.book.failed(self.phase, Kind::Timeout, began, now);
                continue;
            };
            if self.book.counts(began, now) {
                self.book.lag.record(self.crowd.lag(began, now), 1);
            }
            match self.plan.mode {
                Mode::Conn { .. } => self.dial_for(index, began, now),
                _ => {
                    self.crowd
                        .ask(index, (1, self.plan.size), &self.judge, began);
                    let step = self.write(index);
                    self.settle(index, step);
                }
            }
        }
        self.schedule = Some(schedule);
    }

    /// A kept connection on which a request may begin; those that failed meanwhile are passed over.
    fn free_guest(&mut self) -> Option<usize> {
        loop {
            let index = self.crowd.free.pop_front()?;
            if self.crowd.guest(index).is_some() {
                return Some(index);
            }
        }
    }

    fn give_back(&mut self, index: usize) {
        match self.plan.mode {
            Mode::Conn { .. } => self.crowd.vacant.push_front(index),
            _ => self.crowd.free.push_front(index),
        }
    }

    fn dial(&mut self) {
        if self.keeps_time_by_dialling() {
            // Vacant seats wait for their time; only a delayed request goes on.
            while let Some(index) = self.crowd.vacant.front().copied()
                && let Some(began) = self.crowd.delayed(index)
            {
                self.crowd.vacant.pop_front();
                let now = self.watch.nanos();
                self.dial_for(index, began, now);
            }
            return;
        }
        while self.may_dial() {
            let Some(index) = self.crowd.vacant.pop_front() else {
                break;
            };
            let now = self.watch.nanos();
            self.dial_one(index, now);
        }
    }

    fn keeps_time_by_dialling(&self) -> bool {
        self.plan.model != Model::Closed && !self.plan.mode.keeps()
    }

    fn may_dial(&self) -> bool {
        !self.plan.mode.keeps() || self.crowd.dialling < DIALLING_MAX
    }

    fn dial_one(&mut self, index: usize, now: u64) {
        let delayed = self.crowd.delayed(index);
        if !self.plan.mode.keeps() && delayed.is_none() && self.book.take(self.phase, 1) == 0 {
            return self.crowd.abandon(index);
        }
        self.dial_for(index, delayed.unwrap_or(now), now);
    }

    /// Dials for a request that began, or was meant to, at `began`.
    fn dial_for(&mut self, index: usize, began: u64, now: u64) {
        let stream = match self.dialer.dial() {
            Ok(Dialled::Begun(stream)) => stream,
            Ok(Dialled::Later) if now.saturating_sub(began) < nanos(self.plan.timeout) => {
                return self.crowd.rest(index, now + nanos(REST), Some(began));
            }
            Ok(Dialled::Later) => {
                self.count_failure(Kind::Timeout, None, began, now);
                return self.after_failure(index, Kind::Timeout, now);
            }
            Err(errno) => {
                let kind = dial::kind(errno);
                self.count_failure(kind, Some(errno), began, now);
                return self.after_failure(index, kind, now);
            }
        };
        let at = self.payload.start(self.crowd.next_number(index));
        self.crowd
            .seat(index, stream, (began, now), Talk::new(at, &self.judge));
        if self.plan.mode.keeps() {
            return self.show(index);
        }
        // On loopback the connection is there when `connect` returns, and the write says so.
        match self.write_first(index) {
            Step::Wait => self.crowd.young.push_back(index),
            step => self.settle(index, step),
        }
    }

    /// Puts `count` more requests on a connection, as far as there are any left.
    #[inline]
    fn ask(&mut self, index: usize, count: usize, now: u64) {
        let count = self.book.take(self.phase, count);
        self.crowd
            .ask(index, (count, self.plan.size), &self.judge, now);
    }

    /// The first write of `conn`, which also tells whether it is connected.
    fn write_first(&mut self, index: usize) -> Step {
        let Some(guest) = self.crowd.guest(index) else {
            return Step::Wait;
        };
        match guest
            .stream
            .write(guest.talk.first(&self.payload, self.plan.size))
        {
            Ok(_) if self.dialer.met_itself(&guest.stream) => Step::Failed(Kind::SelfConnect, None),
            Ok(n) => {
                guest.stage = Stage::Talking;
                guest.stamps.connected = self.watch.nanos();
                let began = guest.began;
                self.crowd.connected();
                self.crowd
                    .ask(index, (1, self.plan.size), &self.judge, began);
                if let Some(guest) = self.crowd.guest(index) {
                    guest.talk.sent(n, &self.payload);
                }
                Step::Wait
            }
            Err(Errno::AGAIN) => Step::Wait,
            Err(errno) => Step::Failed(dial::kind(errno), Some(errno)),
        }
    }

    /// Writes what is unsent, in one go.
    #[inline]
    fn write(&mut self, index: usize) -> Step {
        let Some(guest) = self.crowd.guest(index) else {
            return Step::Wait;
        };
        let unsent = guest.talk.unsent(&self.payload);
        if unsent.is_empty() {
            return Step::Wait;
        }
        match guest.stream.write(unsent) {
            // Less than all means full; being writable again is an event.
            Ok(n) => {
                guest.talk.sent(n, &self.payload);
                Step::Wait
            }
            Err(Errno::AGAIN) => Step::Wait,
            Err(errno) => Step::Failed(dial::kind(errno), Some(errno)),
        }
    }

    /// Reads until there is no more, and compares; `to_the_end` when a short read proves nothing.
    #[inline]
    fn read(&mut self, index: usize, to_the_end: bool) -> Step {
        loop {
            let Some(guest) = self.crowd.guest(index) else {
                return Step::Wait;
            };
            let n = match guest.stream.read(&mut self.incoming) {
                Ok(0) if guest.stage == Stage::Leaving => return Step::Done,
                Ok(0) if matches!(self.judge, Judge::Eof) && guest.stamps.first_byte > 0 => {
                    guest.stamps.last_byte = self.watch.nanos();
                    // Its one request is answered; `leave` takes the end of it out of the sums.
                    guest.talk.flight = 0;
                    guest.stage = Stage::Leaving;
                    return Step::Done;
                }
                Ok(0) => return Step::Failed(Kind::ShortAnswer, None),
                Ok(n) => n,
                Err(Errno::AGAIN) => return Step::Wait,
                Err(errno) => return Step::Failed(dial::kind(errno), Some(errno)),
            };
            if self.plan.mode == Mode::Hold {
                // Whatever it says: idle is who asks nothing.
                if n < self.incoming.len() && !to_the_end {
                    return Step::Wait;
                }
                continue;
            }
            let heard = guest.talk.hear(
                &self.incoming[..n],
                &self.payload,
                self.plan.size,
                &self.judge,
            );
            if guest.stamps.first_byte == 0 {
                guest.stamps.first_byte = self.watch.nanos();
            }
            match heard {
                Err(kind) => return Step::Failed(kind, None),
                Ok(0) => {}
                Ok(answered) => match self.plan.mode {
                    Mode::Conn { close } => {
                        guest.stage = Stage::Leaving;
                        guest.stamps.last_byte = self.watch.nanos();
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
    }

    /// The oldest `count` requests of a kept connection are answered: asks as many again.
    #[inline]
    fn answered(&mut self, index: usize, count: usize) -> Step {
        let Some(guest) = self.crowd.guest(index) else {
            return Step::Wait;
        };
        let mut first_byte = std::mem::take(&mut guest.stamps.first_byte);
        let now = self.watch.nanos();
        if guest.talk.is_inside(self.plan.size, &self.judge) {
            guest.stamps.first_byte = now;
        }
        let book = &mut self.book;
        self.crowd.answered(index, count, |began, run| {
            book.answered(began, now, run as u64);
            if book.counts(began, now) {
                let mut rest = run as u64;
                // Only the oldest can have come in part before.
                if first_byte != 0 {
                    book.phases
                        .first_byte
                        .record(first_byte.saturating_sub(began), 1);
                    book.phases.last_byte.record(now - first_byte, 1);
                    (first_byte, rest) = (0, rest - 1);
                }
                if rest > 0 {
                    book.phases
                        .first_byte
                        .record(now.saturating_sub(began), rest);
                    book.phases.last_byte.record(0, rest);
                }
            }
        });
        if self.plan.model != Model::Closed {
            self.crowd.free(index, count, now);
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
                let guest = self.crowd.guest(index);
                let Some((began, stamps)) = guest.map(|guest| (guest.began, guest.stamps)) else {
                    return;
                };
                self.crowd.leave(index);
                let now = self.watch.nanos();
                self.book.answered(began, now, 1);
                if self.book.counts(began, now) {
                    let phases = &mut self.book.phases;
                    for (phase, from, to) in [
                        (&mut phases.connect, stamps.dialled, stamps.connected),
                        (&mut phases.first_byte, stamps.connected, stamps.first_byte),
                        (&mut phases.last_byte, stamps.first_byte, stamps.last_byte),
                        (&mut phases.close, stamps.last_byte, now),
                    ] {
                        phase.record(to.saturating_sub(from), 1);
                    }
                }
                if self.plan.model != Model::Closed {
                    self.crowd.vacate(index, now);
                } else if self.phase != Phase::Draining {
                    self.dial_one(index, now);
                }
            }
            Step::Failed(kind, errno) => {
                let now = self.watch.nanos();
                let Some(began) = self.crowd.guest(index).map(|guest| guest.began) else {
                    return;
                };
                let mut last = began;
                if self.plan.mode.keeps() {
                    for began in self.crowd.in_flight(index) {
                        self.book.lost(began, now);
                        last = began;
                    }
                }
                self.count_failure(kind, errno, last, now);
                self.crowd.leave(index);
                self.after_failure(index, kind, now);
            }
        }
    }

    fn count_failure(&mut self, kind: Kind, errno: Option<Errno>, began: u64, now: u64) {
        if kind == Kind::Other && self.book.other.is_none() {
            self.book.other = errno.map(|errno| io::Error::from(errno).to_string());
        }
        if !self.plan.mode.keeps() {
            self.book.lost(began, now);
        }
        self.book.failed(self.phase, kind, began, now);
    }

    /// `conn` goes on with the next request; `echo` goes on without this connection.
    fn after_failure(&mut self, index: usize, kind: Kind, now: u64) {
        if self.keeps_time_by_dialling() {
            return self.crowd.vacate(index, now);
        }
        if self.plan.mode.keeps() || self.phase == Phase::Draining {
            return self.crowd.abandon(index);
        }
        match kind {
            Kind::Reset
            | Kind::Timeout
            | Kind::ShortAnswer
            | Kind::WrongAnswer
            | Kind::TurnedDown => {
                self.crowd.vacate(index, now);
            }
            Kind::Refused | Kind::NoPort | Kind::NoDescriptor | Kind::SelfConnect | Kind::Other => {
                self.crowd.rest(index, now + nanos(REST), None);
            }
        }
    }

    /// Shows a connection to the poll.
    fn show(&mut self, index: usize) {
        let token = self.crowd.token(index);
        let Some(guest) = self.crowd.guest(index) else {
            return;
        };
        match self.lookout.show(&guest.stream, token) {
            Ok(()) => guest.watched = true,
            Err(error) => {
                let errno = Errno::from_io_error(&error);
                self.settle(index, Step::Failed(Kind::Other, errno));
            }
        }
    }

    /// One try for each young connection; who has nothing yet is shown to the poll.
    fn look(&mut self) {
        for _ in 0..self.crowd.young.len() {
            let Some(index) = self.crowd.young.pop_front() else {
                break;
            };
            let Some(guest) = self.crowd.guest(index) else {
                continue;
            };
            if guest.watched {
                continue;
            }
            if guest.stage == Stage::Dialling {
                self.show(index);
                continue;
            }
            match self.read(index, false) {
                Step::Wait => self.show(index),
                step => self.settle(index, step),
            }
        }
    }

    fn wait(&mut self, now: u64) -> Result<(), LoadError> {
        let must_go_on = !self.crowd.young.is_empty()
            || !self.crowd.vacant.is_empty() && self.may_dial() && !self.keeps_time_by_dialling();
        let until = if must_go_on {
            now
        } else {
            self.next_event(now)
        };
        Ok(self.lookout.wait(now, until)?)
    }

    /// When the loop has something to do, even if nobody answers.
    fn next_event(&self, now: u64) -> u64 {
        let page = match self.phase {
            Phase::WarmUp { until } => until,
            Phase::Measured => self.book.until(),
            Phase::Connecting | Phase::Draining => u64::MAX,
        };
        let rested = self.crowd.next_rested().unwrap_or(u64::MAX);
        let due = match &self.schedule {
            Some(schedule)
                if self.phase != Phase::Draining || self.book.has_due(schedule.next()) =>
            {
                let has_room = match self.plan.mode {
                    Mode::Conn { .. } => !self.crowd.vacant.is_empty(),
                    _ => !self.crowd.free.is_empty(),
                };
                if has_room { schedule.next() } else { u64::MAX }
            }
            _ => u64::MAX,
        };
        self.next_look.min(page).min(rested).min(due).max(now)
    }

    fn attend(&mut self) {
        let events = self.lookout.take();
        for event in &events {
            if event.token() == ALARM {
                continue;
            }
            if let Some(index) = self.crowd.index(event.token()) {
                let step = self.serve(index, event);
                self.settle(index, step);
            }
        }
        self.lookout.give_back(events);
    }

    #[inline]
    fn serve(&mut self, index: usize, event: &Event) -> Step {
        let Some(guest) = self.crowd.guest(index) else {
            return Step::Wait;
        };
        if guest.stage == Stage::Dialling {
            let step = self.welcome(index);
            let arrived = |guest: &mut super::crowd::Guest| guest.stage != Stage::Dialling;
            if step != Step::Wait || !self.crowd.guest(index).is_some_and(arrived) {
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

    /// A connection on the way may have arrived.
    fn welcome(&mut self, index: usize) -> Step {
        if !self.plan.mode.keeps() {
            return self.write_first(index);
        }
        let Some(guest) = self.crowd.guest(index) else {
            return Step::Wait;
        };
        match guest.stream.is_connected() {
            Ok(true) if self.dialer.met_itself(&guest.stream) => {
                Step::Failed(Kind::SelfConnect, None)
            }
            Ok(true) => {
                guest.stage = Stage::Ready;
                let took = self.watch.nanos().saturating_sub(guest.stamps.dialled);
                self.book.phases.connect.record(took, 1);
                self.crowd.connected();
                Step::Wait
            }
            Ok(false) => Step::Wait,
            Err(errno) => Step::Failed(dial::kind(errno), Some(errno)),
        }
    }

    fn report(mut self, now: u64) -> Report {
        let cpu = CpuTime::now().since(self.cpu);
        let wall = now.saturating_sub(self.cpu_at);
        let spun = self.lookout.spun - self.spun_before;
        let elapsed = self.book.end(now);
        let held = Held {
            asked: self.plan.connections,
            held: match self.plan.mode {
                Mode::Conn { .. } => self.crowd.open_max,
                _ => self.crowd.open,
            },
        };
        let generator = Generator::new(cpu, wall, spun, &self.turns, &self.book.lag);
        let usage = (
            self.before,
            self.measured,
            self.plan.pid.and_then(Usage::of),
        );
        let mut report = Report::new(self.plan, self.book, held, elapsed, generator);
        report.join_server(usage, wall);
        report
    }
}

/// As many descriptors as we may have; what is missing then is counted.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if setrlimit(Resource::Nofile, raised).is_err() {
        log::warn!("the descriptor limit stays at {:?}", limit.current);
    }
}
