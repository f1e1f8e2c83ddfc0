//! Latencies, kept to three significant digits in constant space.

use hdrhistogram::Histogram;
use serde::Serialize;

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

    /// The figures of what was counted.
    pub fn summary(&self) -> Summary {
        let at = |quantile| micros(self.nanos.value_at_quantile(quantile));
        Summary {
            count: self.nanos.len(),
            mean: (self.nanos.mean() / 100.0).round() / 10.0,
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p99_9: at(0.999),
            max: micros(self.nanos.max()),
        }
    }
}

/// Percentiles in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
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
fn micros(nanos: u64) -> f64 {
    #[expect(
        clippy::cast_precision_loss,
        reason = "an hour of nanoseconds is below 2^53"
    )]
    let tenths = (nanos as f64 / 100.0).round();
    tenths / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_within_the_resolution() {
        let mut latencies = Latencies::new();
        latencies.record(10_000_000, 990);
        for _ in 0..10 {
            latencies.record(200_000_000, 1);
        }
        let summary = latencies.summary();
        assert_eq!(summary.count, 1000);
        assert!((summary.p50 - 10_000.0).abs() <= 10.0, "{summary:?}");
        assert!((summary.p99 - 10_000.0).abs() <= 10.0, "{summary:?}");
        assert!((summary.p99_9 - 200_000.0).abs() <= 200.0, "{summary:?}");
    }

    #[test]
    fn what_is_too_long_saturates() {
        let mut latencies = Latencies::new();
        latencies.record(u64::MAX, 1);
        assert_eq!(latencies.summary().count, 1);
        assert!(latencies.summary().max >= 3_600_000_000.0);
    }

    #[test]
    fn nothing_recorded_is_all_zero() {
        let summary = Latencies::new().summary();
        assert_eq!((summary.count, summary.p50, summary.max), (0, 0.0, 0.0));
    }
}
