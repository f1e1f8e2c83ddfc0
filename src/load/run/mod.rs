//! What all kinds of runs share: the phase, the tally, and what the generator and the server used.
//!
//! It does not know sockets. A loop asks it for the phase, tells it how long its turns took, and calls
//! `Run::report` at the end.
//!
//! - [`schedule`]: when requests are meant to begin, in the open model. [`tally`]: what happened, counted.
//! - [`report`]: all that a run saw, with [`outcome`], [`generator`] and a [`failed_answer`]. [`progress`]: a look at it before.

pub mod failed_answer;
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
use crate::load::measure::stages::FailureStage;
use crate::load::plan::Plan;
use crate::load::plan::mode::{Amount, Mode};
use crate::load::run::generator::{Generator, Pauses};
use crate::load::run::outcome::RollCall;
use crate::load::run::progress::Progress;
use crate::load::run::report::{Held, Report};
use crate::load::run::schedule::Schedule;
use crate::load::run::tally::{Phase, Tally};

/// A loop that was away for so long, and not of its own will, tells of it: what is shorter is the machine's.
pub(crate) const PAUSE: u64 = 10_000_000;

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
    /// Whether there was no load any more before its time.
    died: bool,
    /// How long the turns took, from waking to the next wait.
    turns: Latencies,
    /// How long it was away against its will.
    pauses: Pauses,
    /// The server's process before the first connection.
    before: Option<Usage>,
    /// What was used until measuring began, and then while it lasted.
    begun: Books,
    window: Option<Window>,
    /// In `hold`: what became of each connection, and the server's process when the roll was called.
    roll_call: Option<(RollCall, Option<Usage>)>,
}

/// What generator and server had used at a moment.
#[derive(Debug, Clone, Copy)]
struct Books {
    at: u64,
    cpu: CpuTime,
    /// Nanoseconds polled in vain.
    spun: u64,
    server: Option<Usage>,
}

/// What they used while measuring.
#[derive(Debug, Clone, Copy)]
struct Window {
    wall: u64,
    cpu: CpuTime,
    spun: u64,
    /// The server at its end.
    server: Option<Usage>,
}

impl Books {
    /// As of now. Reading them takes time, in which nothing is sent or received.
    fn close(pids: &[u32], at: u64, spun: u64) -> Self {
        Self {
            at,
            server: Usage::of_work(pids),
            cpu: CpuTime::now(),
            spun,
        }
    }

    /// What was used since `earlier`.
    fn since(&self, earlier: &Self) -> Window {
        Window {
            wall: self.at.saturating_sub(earlier.at),
            cpu: self.cpu.since(earlier.cpu),
            spun: self.spun.saturating_sub(earlier.spun),
            server: self.server,
        }
    }
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
                Schedule::of(plan.model, plan.seed, watch.nanos()),
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
            died: false,
            turns: Latencies::new(),
            pauses: Pauses::default(),
            before: Usage::of(&plan.pids),
            begun: Books::close(&[], 0, 0),
            window: None,
            roll_call: None,
        }
    }

    /// What `hold` has held is looked at now, and nothing is measured any more.
    pub(crate) fn call_roll(&mut self, roll: RollCall, now: u64) {
        self.tally.stop(now);
        self.roll_call = Some((roll, Usage::of(&self.plan.pids)));
    }

    /// What the service has answered since, where it was asked.
    pub(crate) fn roll_call(&mut self) -> Option<&mut RollCall> {
        self.roll_call.as_mut().map(|(roll, _)| roll)
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
                self.drain(now, spun);
            }
        }
        match self.phase {
            Phase::WarmUp { until } if now >= until => self.begin_measuring(now, spun),
            Phase::Measured if now >= self.tally.until() || self.tally.is_spent() => {
                self.drain(now, spun);
            }
            _ => {}
        }
    }

    /// Asks no more. What is used from now on is none of what the answers per second cost.
    fn drain(&mut self, now: u64, spun: u64) {
        if self.phase == Phase::Measured {
            let books = Books::close(&self.plan.pids, now, spun);
            self.window = Some(books.since(&self.begun));
        }
        self.phase = Phase::Draining;
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
        self.begun = Books::close(&self.plan.pids, now, spun);
        if !self.plan.pids.is_empty() {
            // What was read is no request's delay: measuring begins behind it, and so does all that is still to come.
            let read = self.watch.nanos().saturating_sub(now);
            self.begun.at += read;
            if let Some(schedule) = &mut self.schedule {
                schedule.postpone(read);
            }
        }
        self.phase = Phase::Measured;
        self.tally.begin(self.begun.at, self.schedule.as_ref());
        self.turns.clear();
        self.pauses = Pauses::default();
    }

    /// Counts a request that failed at `at`, and that nobody will answer any more.
    #[cold]
    pub(crate) fn lost(
        &mut self,
        failure: impl Into<Failure>,
        stage: FailureStage,
        began: u64,
        at: u64,
    ) {
        self.tally.lost(began);
        self.failed(failure, stage, began, at);
    }

    /// So many bytes have left.
    #[inline]
    pub(crate) fn sent_bytes(&mut self, n: usize) {
        if self.counts_bytes() {
            self.tally.sent_bytes += n as u64;
        }
    }

    /// So many bytes came.
    #[inline]
    pub(crate) fn received_bytes(&mut self, n: usize) {
        if self.counts_bytes() {
            self.tally.received_bytes += n as u64;
        }
    }

    /// Whether it is still measured: of a run by count, until the last answer.
    #[inline]
    fn counts_bytes(&self) -> bool {
        match self.phase {
            Phase::Measured => true,
            Phase::Draining => matches!(self.plan.amount, Amount::Count(_)),
            Phase::Connecting | Phase::WarmUp { .. } => false,
        }
    }

    /// Counts a request that was meant to begin at `began` and found no connection in time.
    #[cold]
    pub(crate) fn unsent(&mut self, began: u64, now: u64) {
        self.tally.unsent(began);
        self.failed(FailureKind::Unsent, FailureStage::Queued, began, now);
    }

    /// Counts a request or connection that failed in `stage`, at `at`; `began` is when the request did. The first error of no
    /// named kind is kept in words.
    #[cold]
    pub(crate) fn failed(
        &mut self,
        failure: impl Into<Failure>,
        stage: FailureStage,
        began: u64,
        at: u64,
    ) {
        let Failure { kind, errno } = failure.into();
        if kind == FailureKind::Other && self.tally.other.is_none() {
            self.tally.other = errno.map(|errno| io::Error::from(errno).to_string());
        }
        let by_stage = self.tally.failed(self.phase, kind, began, at);
        by_stage.count(stage);
    }

    /// A turn of the loop is over, and it goes to sleep: returns the time.
    pub(crate) fn turned(&mut self, woke: u64) -> u64 {
        let now = self.watch.nanos();
        if self.phase != Phase::Draining {
            self.turns.record(now.saturating_sub(woke), 1);
        }
        self.was_away(woke, now);
        now
    }

    /// The loop was to sleep until `until`, and woke at `woke`: whether that is a pause.
    pub(crate) fn slept(&mut self, until: u64, woke: u64) -> bool {
        self.was_away(until, woke)
    }

    /// Between these moments the loop looked at nothing: what came is seen late, and what was due is sent late.
    #[inline]
    fn was_away(&mut self, from: u64, to: u64) -> bool {
        let is_pause = to.saturating_sub(from) >= PAUSE;
        if is_pause {
            self.pauses.add(from, to);
            self.tally.paused(from, to);
        }
        is_pause
    }

    /// There has been no load since `at`: measuring ended then, for requests that have waited since before, too.
    #[cold]
    pub(crate) fn die(&mut self, at: u64, spun: u64) {
        self.died = true;
        self.tally.end_at(at);
        if let Some(schedule) = &mut self.schedule {
            self.tally.lose_the_rest(schedule);
        }
        self.tally.stop(at);
        self.drain(at, spun);
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
        let window = self
            .window
            .unwrap_or_else(|| Books::close(&self.plan.pids, now, spun).since(&self.begun));
        if let Some(schedule) = &mut self.schedule
            && !self.is_interrupted
            && !self.died
        {
            self.tally.lose_the_rest(schedule);
        }
        if self.plan.mode == Mode::Hold && self.roll_call.is_none() {
            // None was left, and so it ended before its time.
            self.call_roll(RollCall::default(), now);
        }
        let elapsed = self.tally.end();
        let generator = Generator::new(
            window.cpu,
            window.wall,
            window.spun,
            &self.turns,
            &self.tally.lag,
            self.pauses,
        );
        // Only now, when nobody waits for an answer, how much memory there is.
        let (roll, after) = match self.roll_call {
            Some((roll, after)) => (Some(roll), after),
            None => (None, Usage::of(&self.plan.pids)),
        };
        let after = after.zip(window.server);
        let after = after.map(|(now, then)| Usage {
            memory: now.memory,
            ..then
        });
        let usage = (self.before, self.begun.server, after);
        let mut report = Report::new(self.plan, self.tally, held, elapsed, generator);
        report.interrupted = self.is_interrupted;
        report.died = self.died;
        report.roll_call = roll;
        report.join_server(usage, window.wall);
        report
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::load::plan::mode::{Arrivals, Model};
    use crate::load::plan::target::Endpoint;

    const NONE: Held = Held { asked: 1, held: 1 };

    /// A run that warms up for 100 ns from 1,000 on, and is told when to stop by `goes_on`.
    fn with(
        model: Model,
        amount: Amount,
        mut watcher: impl FnMut(Progress) -> ControlFlow<()>,
        test: impl FnOnce(Run<'_>),
    ) {
        let mut plan = Plan::new(Endpoint::Unix("/x".into()), Mode::Echo { depth: 1 });
        (plan.model, plan.amount) = (model, amount);
        plan.warmup = Duration::from_nanos(100);
        let mut run = Run::new(&plan, &mut watcher);
        assert_eq!(run.phase, Phase::Connecting);
        run.warm_up(1_000, 0);
        test(run);
    }

    const GOES_ON: fn(Progress) -> ControlFlow<()> = |_| ControlFlow::Continue(());
    const FOR: Amount = Amount::For(Duration::from_nanos(50));

    #[test]
    fn a_phase_ends_at_its_time_and_not_before() {
        with(Model::Closed, FOR, GOES_ON, |mut run| {
            assert_eq!(run.next_phase(), 1_100);
            for (now, phase) in [
                (1_099, Phase::WarmUp { until: 1_100 }),
                (1_100, Phase::Measured),
                (1_149, Phase::Measured),
                (1_150, Phase::Draining),
            ] {
                run.advance_phase(now, 0);
                assert_eq!(run.phase, phase, "{now}");
            }
        });
        // A turn that took long has not measured what it did not see.
        with(Model::Closed, FOR, GOES_ON, |mut run| {
            run.advance_phase(1_175, 0);
            assert_eq!((run.phase, run.next_phase()), (Phase::Measured, 1_225));
            run.tally.answered(1_000, 1_174, 1);
            run.tally.answered(1_000, 1_175, 1);
            assert_eq!(run.tally.requests.came, 1);
        });
        with(Model::Closed, Amount::Count(2), GOES_ON, |mut run| {
            run.advance_phase(1_100, 0);
            assert_eq!(run.tally.take(run.phase, 3), 2);
            run.advance_phase(1_101, 0);
            assert_eq!(run.phase, Phase::Draining);
        });
    }

    #[test]
    fn turns_and_polls_of_the_warm_up_are_not_the_generators_share() {
        with(Model::Closed, FOR, GOES_ON, |mut run| {
            (0..5).for_each(|_| assert!(run.turned(0) > 0));
            run.advance_phase(1_100, 1_000_000_000_000);
            (0..2).for_each(|_| assert!(run.turned(0) > 0));
            // It measured for a nanosecond, and was busy for longer: all that was polled in vain was before.
            let report = run.report(1_101, 1_000_000_000_000, NONE);
            assert_eq!(report.generator.turn_us.count, 2);
            assert_eq!(report.generator.busy_share, 1.0);
        });
        with(Model::Closed, FOR, GOES_ON, |mut run| {
            run.advance_phase(1_100, 7);
            // Polled in vain for longer than it ran.
            let report = run.report(1_101, 1_000_000_000_007, NONE);
            assert_eq!(report.generator.busy_share, 0.0);
        });
    }

    #[test]
    fn time_on_a_processor_before_the_measuring_is_not_in_its_share() {
        const LATE: u64 = 1_000_000_000_000_000;
        const BURNT: u64 = 10_000_000;
        let plan = Plan::new(Endpoint::Unix("/x".into()), Mode::Echo { depth: 1 });
        let busy_share = |measured: u64| {
            let mut watcher = GOES_ON;
            let mut run = Run::new(&plan, &mut watcher);
            let before = CpuTime::now().used;
            while CpuTime::now().used - before < BURNT {}
            run.warm_up(LATE, 0);
            let begun = run.next_phase();
            run.advance_phase(begun, 0);
            let report = run.report(begun + measured, 0, NONE);
            report.generator.busy_share
        };
        // It takes longer than a nanosecond to measure that, and less than what was burnt before.
        assert_eq!(busy_share(1), 1.0);
        let share = busy_share(BURNT);
        assert!(share < 1.0, "{share}");
    }

    #[test]
    fn what_the_warm_up_lost_is_said_and_not_counted() {
        let open = Model::Open {
            rate: 1e9,
            arrivals: Arrivals::Constant,
        };
        with(open, FOR, GOES_ON, |mut run| {
            run.lost(FailureKind::Reset, FailureStage::Waiting, 1_000, 1_050);
            let other = Failure {
                kind: FailureKind::Other,
                errno: Some(rustix::io::Errno::NOBUFS),
            };
            run.failed(other, FailureStage::Waiting, 1_000, 1_060);
            run.advance_phase(1_100, 0);
            // It began in the warm-up, and is lost in the drain.
            run.lost(FailureKind::Timeout, FailureStage::Waiting, 1_099, 1_300);
            run.lost(FailureKind::Timeout, FailureStage::Waiting, 1_100, 1_300);
            let report = run.report(1_300, 0, NONE);
            assert_eq!((report.warmup_errors.total, report.errors.total), (3, 1));
            assert_eq!(report.warmup_errors.reset, 1);
            assert_eq!(
                (report.warmup_errors.timeout, report.errors.timeout),
                (1, 1)
            );
            assert_eq!(report.requests.unanswered, 1);
            assert!(report.has_errors() && report.other_error.is_some());
            let stages = report.failure_stages;
            assert_eq!((stages.warm_up.waiting, stages.draining.waiting), (3, 1));
            assert_eq!((stages.warm_up.total(), stages.counted().total()), (3, 1));
        });
    }

    #[test]
    fn a_count_that_is_ended_before_its_time_does_not_last_for_what_it_did_not_begin() {
        let open = Model::Open {
            rate: 1e9,
            arrivals: Arrivals::Constant,
        };
        let mut looks = 0;
        let twice = |_| {
            looks += 1;
            match looks {
                1 => ControlFlow::Continue(()),
                _ => ControlFlow::Break(()),
            }
        };
        with(open, Amount::Count(9), twice, |mut run| {
            run.advance_phase(1_100, 0);
            run.tally.answered(1_100, 1_100 + TICK, 1);
            run.schedule = Schedule::of(open, 1, 100 * TICK);
            run.advance_phase(1_100 + TICK, 0);
            let report = run.report(1_100 + TICK, 0, NONE);
            assert!(report.interrupted);
            assert_eq!((report.elapsed_s, report.requests.unanswered), (0.2, 0));
        });
    }

    #[test]
    fn a_run_that_ends_in_its_warm_up_has_measured_nothing() {
        with(
            Model::Closed,
            FOR,
            |_| ControlFlow::Break(()),
            |mut run| {
                run.tally.answered(1_000, 1_040, 1);
                run.advance_phase(1_050, 0);
                assert_eq!(run.phase, Phase::Draining);
                run.warm_up(1_060, 0);
                assert_eq!((run.phase, run.next_phase()), (Phase::Draining, u64::MAX));
                let report = run.report(1_070, 0, NONE);
                assert!(report.interrupted);
                assert_eq!((report.elapsed_s, report.rate_per_s), (0.0, 0.0));
                assert_eq!((report.requests.came, report.latency_us.count), (0, 0));
                assert_eq!((report.seconds.as_slice(), report.hidden), (&[][..], None));
            },
        );
        // Its connections were gone before: the schedule has lost nothing that counts.
        let open = Model::Open {
            rate: 1e9,
            arrivals: Arrivals::Constant,
        };
        with(open, FOR, GOES_ON, |mut run| {
            run.schedule = Schedule::of(open, 1, 1_000);
            run.failed(FailureKind::Reset, FailureStage::Waiting, 1_000, 1_050);
            let report = run.report(1_070, 0, NONE);
            assert_eq!((report.requests.asked, report.requests.unanswered), (0, 0));
            assert_eq!((report.warmup_errors.reset, report.errors.total), (1, 0));
            assert_eq!(report.elapsed_s, 0.0);
        });
    }

    #[test]
    fn what_the_server_used_is_looked_at_again_as_measuring_begins() {
        let mut plan = Plan::new(Endpoint::Unix("/x".into()), Mode::Echo { depth: 1 });
        plan.pids = vec![std::process::id()];
        plan.warmup = Duration::from_nanos(100);
        let mut watcher = GOES_ON;
        let mut run = Run::new(&plan, &mut watcher);
        run.warm_up(1_000, 0);
        let before = run.before.unwrap().cpu;
        // The kernel tells it tick by tick.
        let deadline = Stopwatch::start();
        while Usage::of(&plan.pids).unwrap().cpu == before {
            assert!(deadline.nanos() < 60_000_000_000, "60 s of no processor");
        }
        run.advance_phase(1_100, 0);
        assert!(run.begun.server.unwrap().cpu > before);
        assert_eq!(run.before.unwrap().cpu, before);
    }
}
