//! What happened, counted.

use crate::load::measure::clock::nanos;
use crate::load::measure::failures::{Errors, FailureKind};
use crate::load::measure::histogram::Latencies;
use crate::load::measure::series::{SecondSeen, Series};
use crate::load::plan::Plan;
use crate::load::plan::mode::{Amount, Mode, Model};
use crate::load::run::outcome::{Breakdown, RequestCounts};
use crate::load::run::schedule::Schedule;

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
/// In sums and latencies a request of the open model, and of [`Amount::Count`], counts when it *began*
/// then (was meant to), so that they are exact.
#[derive(Debug)]
pub struct Tally {
    amount: Amount,
    /// Whether a request counts by its beginning.
    by_beginning: bool,
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
    /// The longest time without any answer.
    pub longest_gap: u64,
    /// When the last answer came.
    last_answer: u64,
    series: Series,
    /// What failed, connecting included.
    pub errors: Errors,
    /// What failed during warm-up.
    pub warmup_errors: Errors,
    /// The first error of [`FailureKind::Other`], in words.
    pub other: Option<String>,
}

impl Tally {
    /// Empty.
    pub fn new(plan: &Plan) -> Self {
        let amount = plan.amount;
        Self {
            amount,
            is_exact: plan.warmup.is_zero() || matches!(amount, Amount::Count(_)),
            by_beginning: plan.model != Model::Closed || matches!(amount, Amount::Count(_)),
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
            longest_gap: 0,
            last_answer: 0,
            series: Series::default(),
            errors: Errors::default(),
            warmup_errors: Errors::default(),
            other: None,
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

    /// Whether what began then and ended now is counted.
    #[inline]
    pub fn counts(&self, began: u64, now: u64) -> bool {
        self.since <= if self.by_beginning { began } else { now }
    }

    /// Whether all that was to be asked has been.
    pub fn is_spent(&self) -> bool {
        self.left == 0
    }

    /// Whole and right answers, `count` of them, to requests that began together.
    #[inline]
    pub fn answered(&mut self, began: u64, now: u64, count: u64) {
        let nanos = now.saturating_sub(began);
        let counts = self.counts(began, now);
        let has_come = match self.amount {
            Amount::For(_) => (self.since..self.until).contains(&now),
            Amount::Count(_) => counts,
        };
        if has_come {
            self.requests.came += count;
            self.series.answered(now, nanos, count);
            self.longest_gap = self.longest_gap.max(now.saturating_sub(self.last_answer));
            self.last_answer = now;
        }
        if !counts {
            return;
        }
        self.last = now;
        if now < self.until {
            self.requests.answered += count;
        } else {
            self.requests.late += count;
        }
        self.latencies.record(nanos, count);
    }

    /// So many members heard a line that [counts](Self::counts).
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
    pub fn lost(&mut self, began: u64, now: u64) {
        if self.counts(began, now) {
            self.requests.unanswered += 1;
        }
    }

    /// A request or a connection that failed; `began` is when the request did.
    pub fn failed(&mut self, phase: Phase, kind: FailureKind, began: u64, now: u64) {
        self.last = now;
        let warming = match phase {
            Phase::WarmUp { .. } => true,
            Phase::Connecting => false,
            Phase::Measured | Phase::Draining => !self.counts(began, now),
        };
        if !warming && now < self.until {
            self.series.failed(now);
        }
        if warming {
            &mut self.warmup_errors
        } else {
            &mut self.errors
        }
        .count(kind);
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
                self.requests.unanswered += 1;
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
        self.longest_gap = self.longest_gap.max(end.saturating_sub(self.last_answer));
        end.saturating_sub(self.since)
    }

    /// Measuring ends now, before its time.
    pub fn stop(&mut self, now: u64) {
        self.until = self.until.min(now);
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
