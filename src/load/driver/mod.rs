//! The loop of the load generator: one thread, one poll, nothing allocated per request.
//!
//! It does not know what a server is for: a message goes out, the same bytes come back.
//!
//! A kept connection is watched once, for good. A connection of `conn` lives for one answer, so it is
//! not watched at first: with many in flight, the answer of the oldest is usually there by the time
//! the others have been sent, and one read takes it. Only who has to wait is shown to the poll.

mod beginning;
mod conversation;

use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::load::LoadError;
use crate::load::answer::Judge;
use crate::load::book::{Book, Kind, Phase, nanos};
use crate::load::crowd::Crowd;
use crate::load::dial::Dialer;
use crate::load::histogram::Latencies;
use crate::load::lookout::Lookout;
use crate::load::payload::Payload;
use crate::load::plan::{Mode, Model, Plan, Target};
use crate::load::process::Usage;
use crate::load::report::{Generator, Held, Report};
use crate::load::schedule::Schedule;
use crate::load::stopwatch::{CpuTime, Stopwatch};

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
