//! What happened, counted.

use std::collections::BTreeMap;

use crate::load::measure::clock::nanos;
use crate::load::measure::failures::{Errors, FailureKind};
use crate::load::measure::histogram::Latencies;
use crate::load::measure::series::{SecondSeen, Series};
use crate::load::measure::stages::{ByStage, FailureStage, FailureStages};
use crate::load::plan::Plan;
use crate::load::plan::mode::{Amount, Mode};
use crate::load::run::failed_answer::FailedAnswer;
use crate::load::run::outcome::{Breakdown, RequestCounts};
use crate::load::run::schedule::Schedule;

/// What is shorter is no gap between answers that anybody is told of.
pub const GAP: u64 = 10_000_000;

/// How far a run is.
///
/// ```text
/// Connecting -> WarmUp -> Measured -> Draining
/// ```
/// `Mode::Conn` begins with `WarmUp`; a warm-up of nothing ends at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The connections that stay are being opened; nothing that counts is asked yet.
    Connecting,
    /// Asking, and not counting, until then.
    WarmUp {
        /// When measuring begins.
        until: u64,
    },
    /// Asking and counting.
    Measured,
    /// Asking no more; what is owed may still come.
    Draining,
}

/// Decides what counts, and counts it. Times are nanoseconds of the run's stopwatch.
///
/// With [`Amount::For`] an answer counts towards the rate when it *came* while measuring, whenever it was
/// asked for: else a server that keeps up, but takes its time, would seem slower than it was asked.
/// In sums and latencies a request counts when it *began* then (was meant to), so that they are exact: of
/// those that are in flight at a moment, many are slow ones, and a latency that counted by its end would be that of
/// what an inspector meets, not of what was asked.
#[derive(Debug)]
pub struct Tally {
    amount: Amount,
    /// Measuring starts at the next scheduled request, so that exactly the asked number counts.
    is_exact: bool,
    /// When measuring began; never, before that.
    since: u64,
    /// When it ended: given by the amount, or by the last request of a count.
    until: u64,
    left: u64,
    /// When the last request ended, well or not.
    last: u64,
    /// Requests and answers.
    pub requests: RequestCounts,
    /// In a fan-out, where an answer is a line that every member has: whole and right lines that members
    /// heard while measuring, one for each member.
    pub deliveries: Option<u64>,
    /// Of the answers, early and late, from beginning to end.
    pub latencies: Latencies,
    /// What these consist of.
    pub breakdown: Breakdown<Latencies>,
    /// Open model: how long after its time a request began although a connection was free: the
    /// generator's own fault.
    pub lag: Latencies,
    /// Open model: how long before that no connection was free: for want of more of them.
    pub blocked: Latencies,
    /// Responses of HTTP, right ones and refusals, by the first digit of their status from 1 on.
    pub statuses: [u64; 5],
    /// Bytes that were sent and received while measuring, without what TLS adds.
    pub sent_bytes: u64,
    /// Likewise.
    pub received_bytes: u64,
    /// Of commands: how many ended with which exit code.
    pub exits: BTreeMap<i32, u64>,
    /// Kept connections that the server ended in good order, and that were replaced.
    pub reconnects: u64,
    /// The longest time without any answer.
    pub longest_gap: u64,
    /// All that took at least [`GAP`].
    pub gaps: Latencies,
    /// When the last answer came.
    last_answer: u64,
    series: Series,
    /// What failed, connecting included.
    pub errors: Errors,
    /// What failed during warm-up.
    pub warmup_errors: Errors,
    /// How far all of that was.
    pub stages: FailureStages,
    /// The first error of [`FailureKind::Other`], in words.
    pub other: Option<String>,
    /// What came of the first answer that failed, in words.
    pub failed_answer: Option<String>,
    /// The first failure of a TLS session, in words.
    pub tls_error: Option<String>,
    /// What the first session agreed upon.
    pub tls_session: Option<String>,
}

impl Tally {
    /// Empty.
    pub fn new(plan: &Plan) -> Self {
        let amount = plan.amount;
        Self {
            amount,
            is_exact: plan.warmup.is_zero() || matches!(amount, Amount::Count(_)),
            since: u64::MAX,
            until: u64::MAX,
            left: match amount {
                // Never spent: at a billion a second it would take centuries.
                Amount::For(_) => u64::MAX,
                Amount::Count(count) => count,
            },
            last: 0,
            requests: RequestCounts::default(),
            deliveries: matches!(plan.mode, Mode::Fanout { .. }).then_some(0),
            latencies: Latencies::new(),
            breakdown: Breakdown::default(),
            lag: Latencies::new(),
            blocked: Latencies::new(),
            statuses: [0; 5],
            sent_bytes: 0,
            received_bytes: 0,
            exits: BTreeMap::new(),
            reconnects: 0,
            longest_gap: 0,
            gaps: Latencies::new(),
            last_answer: 0,
            series: Series::default(),
            errors: Errors::default(),
            warmup_errors: Errors::default(),
            stages: FailureStages::default(),
            other: None,
            failed_answer: None,
            tls_error: None,
            tls_session: None,
        }
    }

    /// Measuring begins.
    ///
    /// Exactly as many as were asked for count, also those that are late already: with a count, and
    /// without a warm-up, it begins when the next one on the schedule was meant to.
    pub fn begin(&mut self, now: u64, schedule: Option<&Schedule>) {
        let now = match schedule {
            Some(schedule) if self.is_exact => schedule.next().min(now),
            _ => now,
        };
        self.since = now;
        self.last_answer = now;
        self.series.begin(now);
        if let Amount::For(time) = self.amount {
            self.until = now.saturating_add(nanos(time));
        }
    }

    /// The generator looked at nothing in this time: that no answer came in it says nothing of the server, and so it is in
    /// no gap.
    pub fn paused(&mut self, from: u64, to: u64) {
        let pause = to.saturating_sub(from);
        self.last_answer = self.last_answer.saturating_add(pause).min(to);
    }

    /// When measuring ends, as far as that is known.
    pub fn until(&self) -> u64 {
        self.until
    }

    /// Takes up to `count` requests out of those that are left; returns how many there were.
    #[inline]
    pub fn take(&mut self, phase: Phase, count: usize) -> usize {
        match phase {
            Phase::WarmUp { .. } => count,
            Phase::Measured => {
                let count = count.min(usize::try_from(self.left).unwrap_or(usize::MAX));
                self.left -= count as u64;
                self.requests.asked += count as u64;
                count
            }
            Phase::Connecting | Phase::Draining => 0,
        }
    }

    /// Whether a request that is meant to begin at `began` is one of the run; takes it out of those
    /// that are left.
    #[inline]
    pub fn take_due(&mut self, phase: Phase, began: u64) -> bool {
        match phase {
            Phase::WarmUp { .. } => true,
            Phase::Measured | Phase::Draining => {
                let is_due = began < self.until && self.left > 0;
                if is_due && began >= self.since {
                    self.left -= 1;
                    self.requests.asked += 1;
                }
                is_due
            }
            Phase::Connecting => false,
        }
    }

    /// Whether the open model still has requests that were meant to begin before the end.
    pub fn has_due(&self, next: u64) -> bool {
        self.left > 0 && next < self.until && self.until != u64::MAX
    }

    /// Whether what began then is counted.
    #[inline]
    pub fn counts(&self, began: u64) -> bool {
        self.since <= began
    }

    /// Whether the answer to what began then counts for the rate if it comes now.
    #[inline]
    pub fn has_come(&self, began: u64, now: u64) -> bool {
        match self.amount {
            Amount::For(_) => (self.since..self.until).contains(&now),
            Amount::Count(_) => self.counts(began),
        }
    }

    /// Whether all that was to be asked has been.
    pub fn is_spent(&self) -> bool {
        self.left == 0
    }

    /// Whole and right answers, `count` of them, to requests that began together.
    #[inline]
    pub fn answered(&mut self, began: u64, now: u64, count: u64) {
        let nanos = now.saturating_sub(began);
        let counts = self.counts(began);
        if self.has_come(began, now) {
            self.requests.came += count;
            self.series.answered(now, nanos, count);
            self.gap(now);
            self.last_answer = now;
        }
        if !counts {
            return;
        }
        self.last = self.last.max(now);
        if now < self.until {
            self.requests.answered += count;
        } else {
            self.requests.late += count;
        }
        self.latencies.record(nanos, count);
    }

    /// Of the first answer that fails, what came of it is kept in words.
    #[cold]
    pub fn tell_failed(&mut self, answer: FailedAnswer<'_>) {
        self.failed_answer.get_or_insert_with(|| answer.to_string());
    }

    /// A command that began at `began` has ended with this exit code.
    pub fn tell_exit(&mut self, exit: i32, began: u64) {
        if self.counts(began) {
            *self.exits.entry(exit).or_default() += 1;
        }
    }

    /// No answer has come since the last one.
    #[inline]
    fn gap(&mut self, now: u64) {
        let gap = now.saturating_sub(self.last_answer);
        self.longest_gap = self.longest_gap.max(gap);
        if gap >= GAP {
            self.gaps.record(gap, 1);
        }
    }

    /// A response to what began then has this status.
    #[inline]
    pub fn tell_status(&mut self, status: u16, began: u64) {
        let class = usize::from(status / 100).wrapping_sub(1);
        if self.counts(began)
            && let Some(count) = self.statuses.get_mut(class)
        {
            *count += 1;
        }
    }

    /// So many members heard a line that [has come](Self::has_come).
    #[inline]
    pub fn delivered(&mut self, now: u64, count: u64) {
        if let Some(deliveries) = &mut self.deliveries
            && now < self.until
        {
            *deliveries += count;
        }
    }

    /// What the rate is of: deliveries in a fan-out, else answers.
    pub fn achieved(&self) -> u64 {
        self.deliveries.unwrap_or(self.requests.came)
    }

    /// A request that will not be answered.
    pub fn lost(&mut self, began: u64) {
        if self.counts(began) {
            self.requests.unanswered += 1;
            self.latencies.record_never();
        }
    }

    /// A request that was never sent, and so will not be answered either.
    pub fn unsent(&mut self, began: u64) {
        self.lost(began);
        if self.counts(began) {
            self.requests.unsent += 1;
        }
    }

    /// A request or a connection that failed at `at`; `began` is when the request did. In what is returned, how far it was
    /// is to be counted.
    pub fn failed(&mut self, phase: Phase, kind: FailureKind, began: u64, at: u64) -> &mut ByStage {
        let is_warming = match phase {
            Phase::WarmUp { .. } => true,
            Phase::Connecting => false,
            Phase::Measured | Phase::Draining => !self.counts(began),
        };
        if is_warming {
            self.warmup_errors.count(kind);
            return &mut self.stages.warm_up;
        }
        self.last = self.last.max(at);
        self.errors.count(kind);
        if at >= self.until {
            return &mut self.stages.draining;
        }
        self.series.failed(at);
        match phase {
            Phase::Connecting => &mut self.stages.opening,
            _ => &mut self.stages.measured,
        }
    }

    /// The requests that the schedule still has, from the next on, will never begin: no connection is left.
    pub fn lose_the_rest(&mut self, schedule: &mut Schedule) {
        if self.since == u64::MAX {
            // It never came to measuring.
            return;
        }
        while self.left > 0 && schedule.next() < self.until {
            let began = schedule.next();
            if !self.take_due(Phase::Draining, began) {
                return;
            }
            if began >= self.since {
                self.unsent(began);
                self.errors.count(FailureKind::Unsent);
                self.stages.measured.count(FailureStage::Queued);
            }
            schedule.advance();
        }
        // So many requests take as many gaps, however soon the last was answered.
        self.last = self.last.max(schedule.next());
    }

    /// Measuring is over; returns how many nanoseconds it took. A run by duration whose connections were
    /// all gone before it was over took all its time: no request was answered in the rest of it.
    pub fn end(&mut self) -> u64 {
        let end = match self.amount {
            Amount::For(_) => self.until,
            Amount::Count(_) => self.last,
        };
        self.gap(end);
        end.saturating_sub(self.since)
    }

    /// Measuring ends then, if not before.
    pub fn end_at(&mut self, at: u64) {
        self.until = self.until.min(at);
    }

    /// Measuring ends now, before its time, and nothing more is asked.
    pub fn stop(&mut self, now: u64) {
        self.end_at(now);
        self.left = 0;
    }

    /// How many nanoseconds have been measured so far.
    pub fn measured(&self, now: u64) -> u64 {
        now.min(self.until).saturating_sub(self.since)
    }

    /// What happened in each second.
    pub fn series(&mut self, elapsed: u64) -> Vec<SecondSeen> {
        std::mem::take(&mut self.series).end(self.since.saturating_add(elapsed))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::load::plan::mode::{Arrivals, Model};
    use crate::load::plan::target::Endpoint;

    const OPEN: Model = Model::Open {
        // One request every 10 ns.
        rate: 1e8,
        arrivals: Arrivals::Constant,
    };
    const FOR: Amount = Amount::For(Duration::from_nanos(100));
    const COUNT: Amount = Amount::Count(3);
    const WARM_UP: Phase = Phase::WarmUp { until: 1_000 };

    /// A tally that has warmed up until 1,000.
    fn tally(model: Model, amount: Amount) -> Tally {
        let mut tally = cold(model, amount);
        tally.begin(1_000, Schedule::of(model, 1, 1_000).as_ref());
        tally
    }

    fn cold(model: Model, amount: Amount) -> Tally {
        let mut plan = Plan::new(Endpoint::Unix("/x".into()), Mode::Echo { depth: 1 });
        (plan.model, plan.amount) = (model, amount);
        plan.warmup = Duration::from_nanos(1_000);
        Tally::new(&plan)
    }

    /// Answers: came, answered, late, and in the latencies.
    fn answers(tally: &Tally) -> [u64; 4] {
        let requests = tally.requests;
        let latencies = tally.latencies.summary().count;
        [requests.came, requests.answered, requests.late, latencies]
    }

    fn errors(tally: &Tally) -> (u64, u64) {
        (tally.warmup_errors.total, tally.errors.total)
    }

    #[test]
    fn an_answer_at_the_beginning_of_measuring_counts_and_one_at_its_end_is_late() {
        let mut closed = tally(Model::Closed, FOR);
        for (began, now, seen) in [
            (900, 999, [0, 0, 0, 0]),
            // It counts for the rate, and nothing is said of how long it took.
            (900, 1_000, [1, 0, 0, 0]),
            (1_000, 1_000, [2, 1, 0, 1]),
            (1_000, 1_099, [3, 2, 0, 2]),
            (1_000, 1_100, [3, 2, 1, 3]),
        ] {
            closed.answered(began, now, 1);
            assert_eq!(answers(&closed), seen, "{began} {now}");
        }
        assert_eq!(closed.end(), 100);
        let seconds = closed.series(100);
        assert_eq!((seconds.len(), seconds[0].answered), (1, 3));
    }

    #[test]
    fn a_request_of_the_warm_up_counts_for_the_rate_of_a_time_and_for_nothing_else() {
        let mut open = tally(OPEN, FOR);
        open.answered(999, 1_000, 1);
        assert_eq!(answers(&open), [1, 0, 0, 0]);
        // One that began with the measuring is no longer of the warm-up.
        open.answered(1_000, 1_000, 1);
        assert_eq!(answers(&open), [2, 1, 0, 1]);
        open.answered(999, 1_100, 1);
        assert_eq!(answers(&open), [2, 1, 0, 1]);
        open.answered(1_099, 1_100, 1);
        assert_eq!(answers(&open), [2, 1, 1, 2]);
        let seconds = open.series(100);
        assert_eq!((seconds[0].answered, open.longest_gap), (2, 0));

        for model in [Model::Closed, OPEN] {
            let mut count = tally(model, COUNT);
            count.answered(999, 1_005, 1);
            assert_eq!(answers(&count), [0, 0, 0, 0]);
            count.answered(1_000, 1_010, 3);
            assert_eq!(answers(&count), [3, 3, 0, 3]);
            // Nor does it move the end.
            count.answered(999, 5_000, 1);
            assert_eq!((answers(&count), count.end()), ([3, 3, 0, 3], 10));
        }
    }

    #[test]
    fn requests_that_begin_together_are_counted_one_by_one() {
        let mut tally = tally(Model::Closed, FOR);
        tally.answered(1_000, 1_050, 4);
        tally.answered(1_000, 1_050, 1);
        assert_eq!(answers(&tally), [5, 5, 0, 5]);
        let sum = tally.latencies.summary();
        assert_eq!((sum.p50, sum.max), (0.1, 0.1));
        assert_eq!(tally.longest_gap, 50);
    }

    #[test]
    fn a_failure_is_one_of_the_warm_up_as_its_answer_would_have_been() {
        let drain = Phase::Draining;
        for (model, amount, phase, began, is_warm_up) in [
            (Model::Closed, FOR, WARM_UP, 500, true),
            (OPEN, FOR, WARM_UP, 500, true),
            (Model::Closed, COUNT, WARM_UP, 500, true),
            // What fails while connecting was never warming up.
            (Model::Closed, FOR, Phase::Connecting, 500, false),
            (OPEN, COUNT, Phase::Connecting, 500, false),
            // Whatever the model: it counts when it was asked for.
            (Model::Closed, FOR, Phase::Measured, 999, true),
            (OPEN, FOR, Phase::Measured, 999, true),
            (Model::Closed, COUNT, Phase::Measured, 999, true),
            (OPEN, COUNT, drain, 999, true),
            (OPEN, FOR, drain, 999, true),
            (OPEN, FOR, Phase::Measured, 1_000, false),
            (Model::Closed, COUNT, drain, 1_000, false),
            (OPEN, COUNT, Phase::Measured, 1_000, false),
        ] {
            let is_cold = matches!(phase, WARM_UP | Phase::Connecting);
            let mut tally = if is_cold {
                cold(model, amount)
            } else {
                tally(model, amount)
            };
            let now = if is_cold { 600 } else { 1_050 };
            tally.lost(began);
            tally.failed(phase, FailureKind::Timeout, began, now);
            let expected = if is_warm_up { (1, 0) } else { (0, 1) };
            let what = format!("{model:?} {amount:?} {phase:?} {began}");
            assert_eq!(errors(&tally), expected, "{what}");
            // A request that counts and is lost is never without its error.
            let counts = !is_cold && !is_warm_up;
            assert_eq!(tally.requests.unanswered, u64::from(counts), "{what}");
            if !is_cold {
                let seconds = tally.series(100);
                assert_eq!(seconds[0].errors, u64::from(counts), "{what}");
            }
        }
    }

    #[test]
    fn what_began_in_the_warm_up_and_fails_at_the_end_does_not_lengthen_a_count() {
        for model in [Model::Closed, OPEN] {
            let mut tally = tally(model, COUNT);
            tally.answered(1_000, 1_030, 3);
            tally.failed(Phase::Draining, FailureKind::Timeout, 990, 9_000);
            assert_eq!((tally.end(), tally.longest_gap), (30, 30));
            // One of its own does.
            tally.failed(Phase::Draining, FailureKind::Timeout, 1_000, 9_000);
            assert_eq!((tally.end(), tally.longest_gap), (8_000, 7_970));
        }
    }

    #[test]
    fn what_failed_before_the_first_second_is_in_none() {
        let mut tally = cold(Model::Closed, FOR);
        tally.failed(Phase::Connecting, FailureKind::Refused, 0, 10);
        tally.failed(WARM_UP, FailureKind::Refused, 0, 20);
        tally.begin(1_000, None);
        tally.failed(Phase::Measured, FailureKind::Reset, 900, 1_000);
        tally.failed(Phase::Measured, FailureKind::Reset, 1_000, 1_000);
        tally.failed(Phase::Measured, FailureKind::Reset, 1_000, 1_099);
        // With the end measuring is over.
        tally.failed(Phase::Draining, FailureKind::Reset, 1_000, 1_100);
        let seconds = tally.series(100);
        assert_eq!((seconds.len(), seconds[0].errors), (1, 2), "{seconds:?}");
        assert_eq!(errors(&tally), (2, 4));
    }

    #[test]
    fn the_warm_up_asks_as_much_as_it_likes_and_takes_nothing_from_a_count() {
        let mut tally = cold(Model::Closed, COUNT);
        assert_eq!(tally.take(Phase::Connecting, 5), 0);
        assert_eq!(tally.take(WARM_UP, 50), 50);
        assert!(tally.take_due(WARM_UP, 500) && !tally.take_due(Phase::Connecting, 500));
        assert_eq!((tally.requests.asked, tally.is_spent()), (0, false));
        tally.begin(1_000, None);
        assert_eq!(tally.take(Phase::Measured, 2), 2);
        assert_eq!(tally.take(Phase::Measured, 2), 1);
        assert_eq!(
            (tally.take(Phase::Measured, 2), tally.is_spent()),
            (0, true)
        );
        assert_eq!(tally.requests.asked, 3);
        assert_eq!(tally.take(Phase::Draining, 1), 0);
    }

    #[test]
    fn a_request_is_of_the_run_from_its_beginning_to_just_before_its_end() {
        let mut tally = tally(OPEN, FOR);
        for (began, is_due, asked) in [
            (999, true, 0),
            (1_000, true, 1),
            (1_099, true, 2),
            (1_100, false, 2),
        ] {
            assert_eq!(tally.has_due(began), is_due, "{began}");
            assert_eq!(tally.take_due(Phase::Measured, began), is_due, "{began}");
            assert_eq!(tally.requests.asked, asked, "{began}");
        }
    }

    #[test]
    fn a_count_begins_with_the_next_on_the_schedule_and_a_time_does_not() {
        let late = |amount| {
            let mut tally = cold(OPEN, amount);
            // The one of 990 has not found a place.
            tally.begin(1_000, Schedule::of(OPEN, 1, 990).as_ref());
            (tally.counts(990), tally.counts(989))
        };
        assert_eq!((late(COUNT), late(FOR)), ((true, false), (false, false)));
        // One that is still to come does not put measuring off.
        let mut tally = cold(OPEN, COUNT);
        tally.begin(1_000, Schedule::of(OPEN, 1, 1_005).as_ref());
        assert!(tally.counts(1_000));
    }

    #[test]
    fn those_that_will_never_begin_are_counted_to_the_end_and_not_from_the_warm_up() {
        // From 980 on: two are of the warm-up, and ten of the time that is measured.
        let mut schedule = Schedule::of(OPEN, 1, 980).unwrap();
        let mut open = tally(OPEN, FOR);
        open.lose_the_rest(&mut schedule);
        assert_eq!((open.requests.asked, open.requests.unanswered), (10, 10));
        assert_eq!(schedule.next(), 1_100);

        let mut count = tally(OPEN, COUNT);
        count.lose_the_rest(&mut Schedule::of(OPEN, 1, 980).unwrap());
        assert_eq!((count.requests.asked, count.requests.unanswered), (3, 3));
        assert_eq!(count.end(), 30);

        // It never came to measuring.
        let mut never = cold(OPEN, COUNT);
        never.lose_the_rest(&mut Schedule::of(OPEN, 1, 980).unwrap());
        assert_eq!((never.requests.unanswered, never.end()), (0, 0));
    }

    #[test]
    fn the_longest_gap_begins_with_the_measuring_and_ends_with_it() {
        let mut tally = tally(Model::Closed, FOR);
        tally.answered(0, 1_040, 1);
        tally.answered(0, 1_050, 1);
        assert_eq!(tally.longest_gap, 40);
        tally.answered(0, 1_100, 1);
        assert_eq!((tally.end(), tally.longest_gap), (100, 50));
    }

    #[test]
    fn a_pause_of_the_generator_is_in_no_gap() {
        let mut tally = tally(Model::Closed, FOR);
        tally.answered(1_000, 1_010, 1);
        // Away for 60 of the 80 until the next.
        tally.paused(1_020, 1_080);
        tally.answered(1_000, 1_090, 1);
        assert_eq!(tally.longest_gap, 20);
        // What came in a turn that took long came in it.
        tally.paused(1_085, 1_095);
        assert_eq!((tally.end(), tally.longest_gap), (100, 20));
    }

    #[test]
    fn a_run_that_is_ended_before_its_time_has_what_came_before_that() {
        let mut tally = tally(Model::Closed, FOR);
        tally.answered(1_000, 1_020, 1);
        tally.stop(1_030);
        tally.answered(1_000, 1_030, 1);
        assert_eq!((answers(&tally), tally.end()), ([1, 1, 1, 2], 30));
        assert!(tally.is_spent());
        // In the warm-up: nothing was measured.
        let mut never = cold(Model::Closed, FOR);
        never.stop(500);
        assert_eq!((never.end(), never.measured(700)), (0, 0));
    }
}
