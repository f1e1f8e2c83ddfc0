//! How far a run is, for a user who waits for its end.

use std::fmt;
use std::time::Duration;

use crate::load::measure::figures::{Grouped, Micros};
use crate::load::plan::Plan;
use crate::load::plan::mode::Amount;
use crate::load::run::tally::{Phase, Tally};

/// A look at a run while it goes on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    /// How far it is.
    pub phase: Phase,
    /// How long it has been measuring.
    pub measured: Duration,
    /// How long, or how many requests, it is to measure.
    pub amount: Amount,
    /// Answers so far.
    pub answers: u64,
    /// Answers a second so far; in a fan-out deliveries.
    pub rate_per_s: f64,
    /// Half of the answers took at most this long, and 99 % of them at most that, in microseconds.
    pub latency_us: (f64, f64),
    /// Failures so far, those of the warm-up included.
    pub errors: u64,
}

impl Progress {
    pub(crate) fn of(plan: &Plan, tally: &Tally, phase: Phase, now: u64) -> Self {
        let measured = Duration::from_nanos(tally.measured(now));
        let sum = tally.latencies.summary();
        Self {
            phase,
            measured,
            amount: plan.amount,
            answers: tally.requests.came,
            rate_per_s: if measured.is_zero() {
                0.0
            } else {
                tally.achieved() as f64 / measured.as_secs_f64()
            },
            latency_us: (sum.p50, sum.p99),
            errors: tally.errors.total + tally.warmup_errors.total,
        }
    }
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.phase {
            Phase::Connecting => return f.write_str("connecting"),
            Phase::WarmUp { .. } => return f.write_str("warming up"),
            Phase::Measured | Phase::Draining => {}
        }
        match self.amount {
            Amount::For(time) => write!(
                f,
                "{:.0} of {:.0} s",
                self.measured.as_secs_f64().floor(),
                time.as_secs_f64()
            )?,
            Amount::Count(count) => {
                write!(f, "{} of {}", Grouped(self.answers), Grouped(count))?;
            }
        }
        write!(
            f,
            "   {} /s   p50 {}   p99 {}",
            Grouped(self.rate_per_s as u64),
            Micros(self.latency_us.0),
            Micros(self.latency_us.1)
        )?;
        match self.errors {
            0 => Ok(()),
            1 => f.write_str("   1 error"),
            errors => write!(f, "   {} errors", Grouped(errors)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::measure::failures::FailureKind;
    use crate::load::plan::mode::Mode;
    use crate::load::plan::target::Endpoint;

    #[test]
    fn what_the_warm_up_saw_is_no_progress_but_its_failures_are_shown() {
        let mut plan = Plan::new(Endpoint::Unix("/x".into()), Mode::Echo { depth: 1 });
        plan.amount = Amount::For(Duration::from_secs(2));
        let mut tally = Tally::new(&plan);
        let warm_up = Phase::WarmUp { until: 1_000 };
        tally.answered(500, 600, 10);
        tally.failed(warm_up, FailureKind::Reset, 500, 600);
        let seen = Progress::of(&plan, &tally, warm_up, 700);
        assert_eq!(
            (seen.measured, seen.answers, seen.rate_per_s),
            (Duration::ZERO, 0, 0.0)
        );
        assert_eq!(seen.errors, 1);
        assert_eq!(seen.to_string(), "warming up");
        // As measuring begins, nothing was measured.
        tally.begin(1_000, None);
        let seen = Progress::of(&plan, &tally, Phase::Measured, 1_000);
        assert_eq!((seen.measured, seen.rate_per_s), (Duration::ZERO, 0.0));
        let (second, end) = (1_000_001_000, 2_000_001_000);
        tally.answered(500, second, 10);
        tally.failed(Phase::Measured, FailureKind::Reset, 500, second);
        let seen = Progress::of(&plan, &tally, Phase::Measured, second);
        assert_eq!((seen.answers, seen.rate_per_s, seen.errors), (10, 10.0, 2));
        // The drain measures no more.
        let seen = Progress::of(&plan, &tally, Phase::Draining, end + 7);
        assert_eq!(
            (seen.measured, seen.rate_per_s),
            (Duration::from_secs(2), 5.0)
        );
        assert!(seen.to_string().starts_with("2 of 2 s   5 /s"), "{seen}");
    }
}
