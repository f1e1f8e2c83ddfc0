//! What happened in each second of a run.

use serde::{Deserialize, Serialize};

use crate::load::measure::histogram::Latencies;

const SECOND: u64 = 1_000_000_000;
/// A day; what comes later is in the sums only.
const SECONDS_MAX: usize = 86_400;

/// One second of a run; the last may be shorter.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SecondSeen {
    /// Whole and right answers that came in it.
    pub answered: u64,
    /// What failed in it.
    pub errors: u64,
    /// Half of its answers took at most this long, in microseconds.
    #[serde(with = "crate::load::measure::figures::or_null")]
    pub p50_us: f64,
    /// 99 % of them did; not known of fewer than a hundred.
    #[serde(with = "crate::load::measure::figures::or_null")]
    pub p99_us: f64,
    /// The longest of them.
    #[serde(with = "crate::load::measure::figures::or_null")]
    pub max_us: f64,
}

/// The seconds so far, and the one that is being counted.
#[derive(Debug)]
pub struct Series {
    seconds: Vec<SecondSeen>,
    current: Latencies,
    errors: u64,
    /// When the first began.
    since: u64,
    /// When the current one is over.
    until: u64,
}

impl Default for Series {
    fn default() -> Self {
        Self {
            seconds: Vec::with_capacity(64),
            current: Latencies::new(),
            errors: 0,
            since: 0,
            until: u64::MAX,
        }
    }
}

impl Series {
    /// The first second begins.
    pub fn begin(&mut self, now: u64) {
        self.since = now;
        self.until = now.saturating_add(SECOND);
    }

    /// `count` answers after `nanos` each.
    #[inline]
    pub fn answered(&mut self, now: u64, nanos: u64, count: u64) {
        if now >= self.until {
            self.turn(now);
        }
        self.current.record(nanos, count);
    }

    /// Something failed at `at`, of which it may be known only now; before the first second begins it is in none.
    pub fn failed(&mut self, at: u64) {
        if self.until == u64::MAX || at < self.since {
            return;
        }
        if at >= self.until {
            self.turn(at);
        }
        let second = usize::try_from((at - self.since) / SECOND).unwrap_or(usize::MAX);
        match self.seconds.get_mut(second) {
            Some(over) => over.errors += 1,
            None => self.errors += 1,
        }
    }

    /// Everything until `end`.
    pub fn end(mut self, end: u64) -> Vec<SecondSeen> {
        if self.until == u64::MAX {
            return self.seconds;
        }
        // A second that ends with the run is the last.
        self.turn(end.saturating_sub(1));
        self.close();
        self.seconds
    }

    #[cold]
    fn turn(&mut self, now: u64) {
        while now >= self.until {
            self.close();
        }
    }

    fn close(&mut self) {
        let sum = self.current.summary();
        if self.seconds.len() < SECONDS_MAX {
            self.seconds.push(SecondSeen {
                answered: sum.count,
                errors: self.errors,
                p50_us: sum.p50,
                p99_us: sum.p99,
                max_us: sum.max,
            });
        }
        self.current.clear();
        self.errors = 0;
        self.until = self.until.saturating_add(SECOND);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_without_an_answer_is_there_and_empty() {
        let mut series = Series::default();
        series.begin(10);
        series.answered(20, 1_000, 3);
        series.failed(30);
        series.answered(10 + 2 * SECOND, 2_000, 1);
        let seconds = series.end(10 + 5 * SECOND / 2);
        let counts = seconds
            .iter()
            .map(|second| (second.answered, second.errors));
        assert!(counts.eq([(3, 1), (0, 0), (1, 0)]), "{seconds:?}");
    }

    #[test]
    fn what_happens_as_a_second_ends_is_in_the_next() {
        let mut series = Series::default();
        series.begin(10);
        series.answered(9 + SECOND, 1_000, 1);
        series.answered(10 + SECOND, 1_000, 1);
        series.failed(10 + 2 * SECOND);
        // As the run ends with its second: none begins that would be empty.
        let counts = |seconds: Vec<SecondSeen>| {
            let each = seconds
                .iter()
                .map(|second| (second.answered, second.errors));
            each.collect::<Vec<_>>()
        };
        assert_eq!(
            counts(series.end(10 + 3 * SECOND)),
            [(1, 0), (1, 0), (0, 1)]
        );
        let mut series = Series::default();
        series.begin(10);
        assert_eq!(counts(series.end(10 + SECOND)), [(0, 0)]);
    }

    #[test]
    fn what_failed_before_the_first_second_is_in_none() {
        let mut series = Series::default();
        series.failed(5);
        series.begin(10);
        series.failed(10);
        let seconds = series.end(20);
        assert_eq!((seconds.len(), seconds[0].errors), (1, 1));
        let mut never = Series::default();
        never.failed(5);
        assert_eq!(never.end(20), []);
    }
}
