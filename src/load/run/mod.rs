//! What all kinds of runs share: the phase, the tally, and what the generator and the server used.
//!
//! It does not know sockets. A loop asks it for the phase, tells it how long its turns took, and calls
//! `Run::report` at the end.
//!
//! - [`schedule`]: when requests are meant to begin, in the open model. [`tally`]: what happened, counted.
//! - [`report`]: all that a run saw, with [`outcome`] and [`generator`]. [`progress`]: a look at it before.

pub mod generator;
pub mod outcome;
pub mod progress;
pub mod report;
pub mod schedule;
pub mod tally;

use std::io;
use std::ops::ControlFlow;

use crate::load::measure::clock::{Stopwatch, nanos};
use crate::load::measure::cpu::CpuTime;
use crate::load::measure::failures::{Failure, FailureKind};
use crate::load::measure::histogram::Latencies;
use crate::load::measure::process::Usage;
use crate::load::plan::Plan;
use crate::load::plan::mode::Mode;
use crate::load::run::generator::Generator;
use crate::load::run::progress::Progress;
use crate::load::run::report::{Held, Report};
use crate::load::run::schedule::Schedule;
use crate::load::run::tally::{Phase, Tally};

/// How often it is said how far a run is.
const TICK: u64 = 200_000_000;

/// Told now and then how far a run is, and says whether it is to go on. It must not wait: what it takes is in
/// the latencies.
pub type Watcher<'w> = &'w mut dyn FnMut(Progress) -> ControlFlow<()>;

/// A run in progress.
pub(crate) struct Run<'p> {
    pub(crate) plan: &'p Plan,
    pub(crate) watch: Stopwatch,
    pub(crate) phase: Phase,
    pub(crate) tally: Tally,
    /// In the open model.
    pub(crate) schedule: Option<Schedule>,
    watcher: Watcher<'p>,
    next_tick: u64,
    /// Whether the watcher has had enough.
    is_interrupted: bool,
    /// How long the turns took, from waking to the next wait.
    turns: Latencies,
    /// The server's process before the first connection, and when measuring began.
    before: Option<Usage>,
    measured: Option<Usage>,
    cpu: CpuTime,
    cpu_at: u64,
    spun_before: u64,
}

impl std::fmt::Debug for Run<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut debug = f.debug_struct("Run");
        debug
            .field("phase", &self.phase)
            .field("tally", &self.tally);
        debug.finish_non_exhaustive()
    }
}

impl<'p> Run<'p> {
    /// Begins with connecting those that stay; where no connection is opened first, with the warm-up.
    pub(crate) fn new(plan: &'p Plan, watcher: Watcher<'p>) -> Self {
        let watch = Stopwatch::start();
        let (phase, schedule) = match plan.mode {
            Mode::Conn { .. } | Mode::Udp { .. } => (
                Phase::WarmUp {
                    until: nanos(plan.warmup),
                },
                Schedule::of(plan.model, watch.nanos()),
            ),
            Mode::Echo { .. } | Mode::Exec | Mode::Hold | Mode::Fanout { .. } => {
                (Phase::Connecting, None)
            }
        };
        Self {
            plan,
            watch,
            phase,
            tally: Tally::new(plan),
            schedule,
            watcher,
            next_tick: 0,
            is_interrupted: false,
            turns: Latencies::new(),
            before: Usage::of(&plan.pids),
            measured: None,
            cpu: CpuTime::now(),
            cpu_at: 0,
            spun_before: 0,
        }
    }

    /// Goes on from warm-up to measuring to the end when it is time; `spun` nanoseconds were polled
    /// in vain since the run began.
    pub(crate) fn advance_phase(&mut self, now: u64, spun: u64) {
        if now >= self.next_tick {
            self.next_tick = now.saturating_add(TICK);
            let progress = Progress::of(self.plan, &self.tally, self.phase, now);
            if (self.watcher)(progress).is_break() {
                self.is_interrupted = true;
                self.tally.stop(now);
                self.phase = Phase::Draining;
            }
        }
        match self.phase {
            Phase::WarmUp { until } if now >= until => self.begin_measuring(now, spun),
            Phase::Measured if now >= self.tally.until() || self.tally.is_spent() => {
                self.phase = Phase::Draining;
            }
            _ => {}
        }
    }

    /// All are connected. Without a warm-up, measuring begins before the first request does.
    pub(crate) fn warm_up(&mut self, now: u64, spun: u64) {
        if self.is_interrupted {
            return;
        }
        self.phase = Phase::WarmUp {
            until: now.saturating_add(nanos(self.plan.warmup)),
        };
        if self.plan.warmup.is_zero() {
            self.begin_measuring(now, spun);
        }
    }

    fn begin_measuring(&mut self, now: u64, spun: u64) {
        self.phase = Phase::Measured;
        self.tally.begin(now, self.schedule.as_ref());
        self.turns.clear();
        self.measured = Usage::of(&self.plan.pids);
        self.cpu = CpuTime::now();
        self.cpu_at = now;
        self.spun_before = spun;
    }

    /// Counts a request that failed, and that nobody will answer any more.
    #[cold]
    pub(crate) fn lost(&mut self, failure: impl Into<Failure>, began: u64, now: u64) {
        self.tally.lost(began, now);
        self.failed(failure, began, now);
    }

    /// Counts a failed request or connection; `began` is when the request did. The first error of no named
    /// kind is kept in words.
    #[cold]
    pub(crate) fn failed(&mut self, failure: impl Into<Failure>, began: u64, now: u64) {
        let Failure { kind, errno } = failure.into();
        if kind == FailureKind::Other && self.tally.other.is_none() {
            self.tally.other = errno.map(|errno| io::Error::from(errno).to_string());
        }
        self.tally.failed(self.phase, kind, began, now);
    }

    /// A turn of the loop is over, and it goes to sleep: returns the time.
    pub(crate) fn turned(&mut self, woke: u64) -> u64 {
        let now = self.watch.nanos();
        self.turns.record(now.saturating_sub(woke), 1);
        now
    }

    /// When the page is to be turned, as far as that depends on the clock.
    pub(crate) fn next_phase(&self) -> u64 {
        match self.phase {
            Phase::WarmUp { until } => until,
            Phase::Measured => self.tally.until(),
            Phase::Connecting | Phase::Draining => u64::MAX,
        }
    }

    /// Whether the open model will ask no more.
    pub(crate) fn schedule_is_done(&self) -> bool {
        match &self.schedule {
            Some(schedule) => !self.tally.has_due(schedule.next()),
            None => true,
        }
    }

    /// All that was seen.
    pub(crate) fn report(mut self, now: u64, spun: u64, held: Held) -> Report {
        let wall = now.saturating_sub(self.cpu_at);
        if let Some(schedule) = &mut self.schedule
            && !self.is_interrupted
        {
            self.tally.lose_the_rest(schedule);
        }
        if self.plan.mode == Mode::Hold {
            // `hold` has nothing outstanding: stop the clock now.
            self.tally.stop(now);
        }
        let elapsed = self.tally.end();
        let generator = Generator::new(
            CpuTime::now().since(self.cpu),
            wall,
            spun.saturating_sub(self.spun_before),
            &self.turns,
            &self.tally.lag,
        );
        let usage = (self.before, self.measured, Usage::of(&self.plan.pids));
        let mut report = Report::new(self.plan, self.tally, held, elapsed, generator);
        report.interrupted = self.is_interrupted;
        report.join_server(usage, wall);
        report
    }
}
