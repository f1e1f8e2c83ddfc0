//! Which members received which line, counted: a line reached all members, or it is lost to some.
//!
//! It does not know bytes. Each line in flight has one count, whatever the number of members: only at the
//! first, the median and the last delivery more is done than adding one.

use crate::load::exchange::line_matcher::{LineMatcher, ReceivedLine};
use crate::load::measure::clock::nanos;
use crate::load::measure::failures::FailureKind;
use crate::load::measure::figures::round;
use crate::load::measure::histogram::Latencies;
use crate::load::measure::stages::FailureStage;
use crate::load::run::Run;
use crate::load::run::outcome::Deliveries;

/// A line in flight.
#[derive(Debug, Clone, Copy, Default)]
struct LineInFlight {
    /// When it was meant to be sent, and when it was.
    began: u64,
    sent: u64,
    first: u64,
    median: u64,
    /// Members when it was sent; those that received it; those that failed without it.
    expected: u32,
    received: u32,
    missed: u32,
    /// The count of `received` at which the next thing is to be done.
    landmark: u32,
    is_over: bool,
}

impl LineInFlight {
    fn half(&self) -> u32 {
        self.expected.div_ceil(2)
    }

    /// How many can hear it at all.
    fn can(&self) -> u32 {
        self.expected - self.missed
    }

    fn aim(&mut self) {
        self.landmark = match self.received {
            0 => 1,
            received if received < self.half() => self.half(),
            _ => self.expected,
        }
        .min(self.can());
    }
}

/// All lines of a run, those in flight one by one.
#[derive(Debug)]
pub(crate) struct Ledger {
    lines: Box<[LineInFlight]>,
    /// The line that counts first: those before it were probes.
    first: u64,
    /// The oldest that may be in flight, and the one to be sent next.
    oldest: u64,
    next: u64,
    in_flight: usize,
    /// All but the rate and the latencies.
    seen: Deliveries,
    to_first: Latencies,
    to_median: Latencies,
}

impl Ledger {
    /// For as many lines in flight as there are `slots`, a power of two.
    pub(crate) fn new(slots: u64) -> Self {
        Self {
            lines: (0..slots).map(|_| LineInFlight::default()).collect(),
            first: u64::MAX,
            oldest: 0,
            next: 0,
            in_flight: 0,
            seen: Deliveries::default(),
            to_first: Latencies::new(),
            to_median: Latencies::new(),
        }
    }

    /// The lines from `first` on count.
    pub(crate) fn open(&mut self, first: u64) {
        (self.first, self.oldest, self.next) = (first, first, first);
    }

    /// How many lines have neither reached all members nor been given up.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// How many more there are places for.
    pub(crate) fn places(&self) -> u64 {
        self.lines.len() as u64 - (self.next - self.oldest)
    }

    /// When the oldest line in flight was sent.
    pub(crate) fn waiting_since(&self) -> Option<u64> {
        (self.in_flight > 0).then(|| self.lines[self.slot(self.oldest)].sent)
    }

    /// The next line is sent to so many members, at least one; it was meant to begin at `began`.
    pub(crate) fn begin(&mut self, members: u32, began: u64, now: u64) {
        let slot = self.slot(self.next);
        self.lines[slot] = LineInFlight {
            began,
            sent: now,
            expected: members,
            landmark: 1,
            ..LineInFlight::default()
        };
        self.next += 1;
        self.in_flight += 1;
        self.seen.lines += 1;
        self.seen.expected += u64::from(members);
    }

    /// What one member received.
    #[inline]
    pub(crate) fn feed(&mut self, received: ReceivedLine, now: u64, run: &mut Run<'_>) {
        match received {
            ReceivedLine::InTurn { from, count } => {
                self.deliver(from.max(self.first), from + count, now, run);
            }
            received => self.note(received, now, run),
        }
    }

    /// A member has received the lines of these numbers.
    #[inline]
    fn deliver(&mut self, from: u64, to: u64, now: u64, run: &mut Run<'_>) {
        let mut counted = 0;
        for number in from..to {
            if number < self.oldest {
                self.seen.late += 1;
                continue;
            }
            let slot = self.slot(number);
            let line = &mut self.lines[slot];
            line.received += 1;
            self.seen.delivered += 1;
            counted += u64::from(run.tally.has_come(line.began, now));
            if line.received == line.landmark {
                self.reach(slot, now, run);
            }
        }
        run.tally.delivered(now, counted);
    }

    #[cold]
    fn note(&mut self, received: ReceivedLine, now: u64, run: &mut Run<'_>) {
        let kind = match received {
            ReceivedLine::InTurn { .. } => return,
            ReceivedLine::Notice => {
                self.seen.notices += 1;
                return;
            }
            // A probe found out who receives, and its order is not measured.
            ReceivedLine::Overtaken(number) if number < self.first => return,
            ReceivedLine::Overtaken(number) => {
                let is_late = number < self.oldest;
                self.deliver(number, number + 1, now, run);
                if is_late {
                    return;
                }
                self.seen.reordered += 1;
                FailureKind::Reordered
            }
            ReceivedLine::Duplicate => {
                self.seen.duplicates += 1;
                FailureKind::Duplicate
            }
            ReceivedLine::Wrong => {
                self.seen.wrong += 1;
                FailureKind::WrongAnswer
            }
        };
        run.failed(kind, FailureStage::Reading, now, now);
    }

    /// A count at which something happens.
    fn reach(&mut self, slot: usize, now: u64, run: &mut Run<'_>) {
        let line = &mut self.lines[slot];
        if line.received == 1 {
            line.first = now;
        }
        if line.received == line.half() {
            line.median = now;
        }
        if line.received < line.can() {
            return line.aim();
        }
        line.is_over = true;
        let line = *line;
        self.in_flight -= 1;
        if line.missed > 0 {
            run.tally.lost(line.began);
        } else {
            run.tally.answered(line.began, now, 1);
            if run.tally.counts(line.began) {
                self.to_first
                    .record(line.first.saturating_sub(line.began), 1);
                self.to_median
                    .record(line.median.saturating_sub(line.began), 1);
            }
        }
        self.pass_over();
    }

    /// What is over is not in flight.
    fn pass_over(&mut self) {
        while self.oldest < self.next && self.lines[self.slot(self.oldest)].is_over {
            self.oldest += 1;
        }
    }

    /// Lines that did not reach all members within the timeout are lost to the others; they were sent in
    /// order, so the oldest come first.
    pub(crate) fn give_up(&mut self, now: u64, run: &mut Run<'_>) {
        let timeout = nanos(run.plan.timeout);
        while self.oldest < self.next {
            let slot = self.slot(self.oldest);
            let line = &mut self.lines[slot];
            if now.saturating_sub(line.sent) < timeout {
                break;
            }
            line.is_over = true;
            let (began, left) = (line.began, line.can() - line.received);
            self.in_flight -= 1;
            self.seen.lost += u64::from(left);
            run.lost(FailureKind::Timeout, FailureStage::Waiting, began, now);
            self.pass_over();
        }
    }

    /// A connection of a member failed: what it lacks it will never receive.
    pub(crate) fn lose(&mut self, matcher: &LineMatcher, now: u64, run: &mut Run<'_>) {
        self.seen.gone += 1;
        for number in self.oldest..self.next {
            let slot = self.slot(number);
            let line = &mut self.lines[slot];
            if line.is_over || !matcher.lacks(number) {
                continue;
            }
            line.missed += 1;
            self.seen.lost += 1;
            if line.received == line.can() {
                self.reach(slot, now, run);
            } else {
                line.aim();
            }
        }
    }

    /// How many of the lines that count a member has not received.
    pub(crate) fn lacking(&self, matcher: &LineMatcher) -> u64 {
        matcher.lacking(self.first, self.next)
    }

    /// All that was seen; `lines_per_s` is known elsewhere.
    pub(crate) fn deliveries(&self, lines_per_s: f64) -> Deliveries {
        Deliveries {
            lines_per_s: round(lines_per_s, 1),
            first_us: self.to_first.summary(),
            median_us: self.to_median.summary(),
            ..self.seen
        }
    }

    #[inline]
    fn slot(&self, number: u64) -> usize {
        // Below the number of slots, which fits.
        (number & (self.lines.len() as u64 - 1)) as usize
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::load::plan::Plan;
    use crate::load::plan::mode::{Amount, Arrivals, Mode, Model};
    use crate::load::plan::target::Endpoint;

    /// A run of ten lines in which everything counts, to be told what is received.
    fn with(test: impl FnOnce(&mut Ledger, &mut Run<'_>)) {
        warming_up(Model::Closed, Amount::Count(10), Duration::ZERO, test);
    }

    /// The same, from a warm-up on that begins at 0.
    fn warming_up(
        model: Model,
        amount: Amount,
        warmup: Duration,
        test: impl FnOnce(&mut Ledger, &mut Run<'_>),
    ) {
        let endpoint = Endpoint::Unix("/x".into());
        let mut plan = Plan::new(
            endpoint,
            Mode::Fanout {
                depth: 1,
                hello: Vec::new(),
                any_prefix: false,
            },
        );
        (plan.model, plan.amount, plan.warmup) = (model, amount, warmup);
        plan.timeout = Duration::from_nanos(1_000);
        let mut watcher = |_| std::ops::ControlFlow::Continue(());
        let mut run = Run::new(&plan, &mut watcher);
        run.warm_up(0, 0);
        let mut ledger = Ledger::new(16);
        ledger.open(100);
        test(&mut ledger, &mut run);
    }

    fn in_turn(from: u64, count: u64) -> ReceivedLine {
        ReceivedLine::InTurn { from, count }
    }

    #[test]
    fn a_line_is_looked_at_at_its_first_its_half_and_its_last() {
        with(|ledger, run| {
            ledger.begin(5, 1_000, 2_000);
            for at in [11_000, 12_000, 21_000, 22_000, 31_000] {
                assert_eq!(ledger.in_flight(), 1);
                ledger.feed(in_turn(100, 1), at, run);
            }
            assert_eq!((ledger.in_flight(), ledger.places()), (0, 16));
            let deliveries = ledger.deliveries(0.0);
            assert_eq!((deliveries.expected, deliveries.delivered), (5, 5));
            assert_eq!((run.tally.requests.answered, run.tally.achieved()), (1, 5));
            assert_eq!(deliveries.first_us.max, 10.0);
            assert_eq!(deliveries.median_us.max, 20.0);
            assert_eq!(run.tally.latencies.summary().max, 30.0);
        });
    }

    #[test]
    fn who_goes_has_lost_what_it_had_not_heard() {
        with(|ledger, run| {
            (0..2).for_each(|_| ledger.begin(3, 0, 0));
            // One hears the first line and goes, one hears both.
            ledger.feed(in_turn(100, 1), 5, run);
            ledger.feed(in_turn(100, 2), 5, run);
            ledger.lose(&LineMatcher::new(101), 6, run);
            assert_eq!((ledger.seen.lost, ledger.in_flight()), (1, 2));
            // The third receives both: the first has reached all, the second has not.
            ledger.feed(in_turn(100, 2), 7, run);
            let seen = ledger.seen;
            assert_eq!((seen.expected, seen.delivered, seen.lost), (6, 5, 1));
            assert_eq!((seen.gone, ledger.in_flight()), (1, 0));
            assert_eq!(
                (run.tally.requests.answered, run.tally.requests.unanswered),
                (1, 1)
            );
            // Where no member is left that could receive it, a line is over at once.
            ledger.begin(1, 8, 8);
            ledger.lose(&LineMatcher::new(102), 9, run);
            assert_eq!((ledger.seen.lost, ledger.in_flight()), (2, 0));
        });
    }

    #[test]
    fn what_is_not_everywhere_in_time_is_lost_and_then_late() {
        with(|ledger, run| {
            ledger.begin(2, 0, 0);
            ledger.begin(2, 0, 500);
            ledger.feed(in_turn(100, 2), 900, run);
            ledger.feed(in_turn(101, 1), 950, run);
            // The second has reached all, but keeps its place as long as the first.
            assert_eq!((ledger.in_flight(), ledger.places()), (1, 14));
            ledger.give_up(999, run);
            assert_eq!(ledger.in_flight(), 1);
            ledger.give_up(1_000, run);
            assert_eq!((ledger.in_flight(), ledger.places()), (0, 16));
            ledger.feed(ReceivedLine::Overtaken(100), 1_100, run);
            let seen = ledger.seen;
            assert_eq!((seen.expected, seen.delivered, seen.lost), (4, 3, 1));
            assert_eq!((seen.late, seen.reordered), (1, 0));
            assert_eq!((run.tally.errors.timeout, run.tally.errors.total), (1, 1));
        });
    }

    #[test]
    fn probes_are_not_deliveries() {
        with(|ledger, run| {
            ledger.begin(1, 0, 0);
            ledger.feed(in_turn(98, 3), 5, run);
            ledger.feed(ReceivedLine::Overtaken(97), 5, run);
            let seen = ledger.seen;
            assert_eq!((seen.delivered, seen.late, seen.reordered), (1, 0, 0));
            assert_eq!(run.tally.errors.total, 0);
        });
    }

    #[test]
    fn members_that_hear_a_line_at_once_hear_it_first_at_half_and_last_then() {
        for members in [1, 2, 3, 4] {
            with(|ledger, run| {
                ledger.begin(members, 1_000, 1_000);
                for _ in 0..members {
                    assert_eq!(ledger.in_flight(), 1);
                    ledger.feed(in_turn(100, 1), 11_000, run);
                }
                let deliveries = ledger.deliveries(0.0);
                assert_eq!(ledger.in_flight(), 0);
                assert_eq!(deliveries.first_us.max, 10.0, "{members}");
                assert_eq!(deliveries.median_us.max, 10.0, "{members}");
                assert_eq!(run.tally.latencies.summary().max, 10.0, "{members}");
                assert_eq!(run.tally.requests.answered, 1);
            });
        }
    }

    #[test]
    fn a_line_that_is_everywhere_as_its_time_is_over_is_lost_if_that_was_looked_at_first() {
        for is_given_up_first in [false, true] {
            with(|ledger, run| {
                ledger.begin(1, 0, 0);
                if is_given_up_first {
                    ledger.give_up(1_000, run);
                }
                ledger.feed(in_turn(100, 1), 1_000, run);
                ledger.give_up(1_000, run);
                let seen = ledger.seen;
                let lost = u64::from(is_given_up_first);
                assert_eq!(
                    (seen.delivered, seen.lost, seen.late),
                    (1 - lost, lost, lost)
                );
                let requests = run.tally.requests;
                assert_eq!((requests.answered, requests.unanswered), (1 - lost, lost));
                assert_eq!(run.tally.errors.total, lost);
            });
        }
    }

    #[test]
    fn a_line_of_the_warm_up_is_delivered_and_does_not_count() {
        let warmup = Duration::from_nanos(100);
        warming_up(Model::Closed, Amount::Count(10), warmup, |ledger, run| {
            (0..3).for_each(|_| ledger.begin(2, 0, 0));
            ledger.feed(in_turn(100, 1), 50, run);
            ledger.feed(in_turn(100, 1), 60, run);
            run.advance_phase(100, 0);
            // The second is everywhere while measuring, and the third nowhere in time.
            (0..2).for_each(|_| ledger.feed(in_turn(101, 1), 150, run));
            ledger.give_up(1_000, run);
            assert_eq!((run.tally.requests.came, run.tally.achieved()), (0, 0));
            assert_eq!(
                (run.tally.errors.total, run.tally.warmup_errors.timeout),
                (0, 1)
            );
            assert_eq!(run.tally.requests.unanswered, 0);
            ledger.begin(2, 1_000, 1_000);
            (0..2).for_each(|_| ledger.feed(in_turn(103, 1), 1_001, run));
            assert_eq!((run.tally.requests.came, run.tally.achieved()), (1, 2));
            let deliveries = ledger.deliveries(0.0);
            assert_eq!(
                (deliveries.lines, deliveries.delivered, deliveries.lost),
                (4, 6, 2)
            );
            // Only of those that count is told how long they took.
            assert_eq!(
                (deliveries.first_us.count, deliveries.median_us.count),
                (1, 1)
            );
        });
    }

    #[test]
    fn deliveries_count_for_the_rate_of_the_time_in_which_they_come() {
        let open = Model::Open {
            rate: 1e7,
            arrivals: Arrivals::Constant,
        };
        let amount = Amount::For(Duration::from_nanos(100));
        for model in [Model::Closed, open] {
            warming_up(model, amount, Duration::from_nanos(100), |ledger, run| {
                ledger.begin(4, 90, 90);
                ledger.feed(in_turn(100, 1), 99, run);
                run.advance_phase(100, 0);
                // Three of four while measuring, of a line that began before.
                for now in [100, 150, 199] {
                    ledger.feed(in_turn(100, 1), now, run);
                }
                assert_eq!((run.tally.achieved(), run.tally.requests.came), (3, 1));
                ledger.begin(1, 199, 199);
                ledger.feed(in_turn(101, 1), 200, run);
                assert_eq!((run.tally.achieved(), run.tally.requests.came), (3, 1));
                assert_eq!(ledger.deliveries(0.0).delivered, 5);
            });
        }
    }
}
