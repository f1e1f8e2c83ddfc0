//! Latencies, kept to three significant digits in constant space.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// The longest latency told apart: what takes longer is counted as this long.
const NANOS_MAX: u64 = 3_600 * 1_000_000_000;
/// Three significant digits: an error of at most 0.1 %, and some 260 KiB.
const DIGITS: u8 = 3;

/// A histogram of nanoseconds that never refuses a value.
#[derive(Debug, Clone)]
pub struct Latencies {
    nanos: Histogram<u64>,
}

impl Default for Latencies {
    fn default() -> Self {
        Self::new()
    }
}

impl Latencies {
    /// An empty one.
    pub fn new() -> Self {
        let nanos = Histogram::new_with_bounds(1, NANOS_MAX, DIGITS)
            .expect("bounds of 1 and an hour with three digits are valid");
        Self { nanos }
    }

    /// Counts a latency `count` times.
    #[inline]
    pub fn record(&mut self, nanos: u64, count: u64) {
        self.nanos.saturating_record_n(nanos, count);
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.nanos.reset();
    }

    /// Points of the whole distribution, ten for each tenth of what is left above: 0, 10 % … 90 %,
    /// 91 % … 99 %, 99.1 % …, as far as what was counted reaches, and the longest.
    pub fn spectrum(&self) -> Vec<Quantile> {
        let count = self.nanos.len();
        if count == 0 {
            return Vec::new();
        }
        let at = |share: f64| Quantile {
            share,
            us: micros(self.nanos.value_at_quantile(share) as f64),
        };
        let mut points = vec![at(0.0)];
        let mut left = 1.0;
        // Above the last full tenth there is one latency, the longest.
        while left * count as f64 >= 10.0 {
            points.extend((1..=9).map(|tenth| at(1.0 - left + left * f64::from(tenth) / 10.0)));
            left /= 10.0;
        }
        points.push(at(1.0));
        points
    }

    /// The figures of what was counted.
    pub fn summary(&self) -> Summary {
        let at = |quantile| micros(self.nanos.value_at_quantile(quantile) as f64);
        Summary {
            count: self.nanos.len(),
            mean: micros(self.nanos.mean()),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p99_9: at(0.999),
            max: micros(self.nanos.max() as f64),
        }
    }
}

/// One point of a distribution.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Quantile {
    /// This share of all, from 0 to 1 …
    pub share: f64,
    /// … took at most so many microseconds.
    pub us: f64,
}

/// Percentiles in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// How many latencies these are the figures of; all others are 0 when this is.
    pub count: u64,
    /// The arithmetic mean.
    pub mean: f64,
    /// Half were at most this long.
    pub p50: f64,
    /// 90 % were at most this long.
    pub p90: f64,
    /// 99 % were at most this long.
    pub p99: f64,
    /// 99.9 % were at most this long.
    pub p99_9: f64,
    /// The longest.
    pub max: f64,
}

/// Microseconds with one decimal.
fn micros(nanos: f64) -> f64 {
    (nanos / 100.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_within_the_resolution() {
        let mut latencies = Latencies::new();
        latencies.record(10_000_000, 990);
        (0..10).for_each(|_| latencies.record(200_000_000, 1));
        let found = latencies.summary();
        assert_eq!(found.count, 1000);
        for (us, expected) in [(found.p50, 1e4), (found.p99, 1e4), (found.p99_9, 2e5)] {
            assert!((us - expected).abs() <= expected / 1e3, "{found:?}");
        }
    }

    #[test]
    fn what_is_too_long_saturates() {
        let mut latencies = Latencies::new();
        latencies.record(u64::MAX, 1);
        assert_eq!(latencies.summary().count, 1);
        assert!(latencies.summary().max >= 3_600_000_000.0);
    }

    #[test]
    fn a_spectrum_is_dense_where_it_matters() {
        let mut latencies = Latencies::new();
        assert_eq!(latencies.spectrum(), []);
        for nanos in 1..=1_000 {
            latencies.record(nanos * 1_000_000, 1);
        }
        let points = latencies.spectrum();
        // From 0 in three times nine steps to 99.9 %, and the longest.
        assert_eq!(points.len(), 1 + 3 * 9 + 1, "{points:?}");
        for pair in points.windows(2) {
            assert!(pair[0].share < pair[1].share && pair[0].us <= pair[1].us);
        }
        for point in points {
            let expected = (point.share * 1e6).max(1_000.0);
            assert!((point.us - expected).abs() <= expected / 500.0, "{point:?}");
        }
    }

    #[test]
    fn nothing_recorded_is_all_zero() {
        let summary = Latencies::new().summary();
        assert_eq!((summary.count, summary.p50, summary.max), (0, 0.0, 0.0));
    }

    #[test]
    fn a_percentile_is_the_one_that_so_many_are_at_most() {
        for (slow, p90, p99, p99_9) in [
            (1, 10.0, 10.0, 10.0),
            (2, 10.0, 10.0, 200.0),
            (10, 10.0, 10.0, 200.0),
            (11, 10.0, 200.0, 200.0),
            (100, 10.0, 200.0, 200.0),
            (101, 200.0, 200.0, 200.0),
        ] {
            let mut latencies = Latencies::new();
            latencies.record(200_000, slow);
            latencies.record(10_000, 1_000 - slow);
            let found = latencies.summary();
            let near = |us: f64, expected: f64| (us - expected).abs() <= expected / 1e3;
            assert!(
                near(found.p90, p90) && near(found.p99, p99),
                "{slow} {found:?}"
            );
            assert!(
                near(found.p99_9, p99_9) && near(found.max, 200.0),
                "{slow} {found:?}"
            );
        }
        // Of two the lower is the middle, and of equal ones any.
        let mut two = Latencies::new();
        two.record(1_000, 1);
        two.record(2_000, 1);
        assert_eq!((two.summary().p50, two.summary().max), (1.0, 2.0));
        two.record(2_000, 1);
        assert_eq!(two.summary().p50, 2.0);
    }
}
