//! Latencies, kept to three significant digits in constant space.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// The longest latency told apart: what takes longer is counted as this long.
const NANOS_MAX: u64 = 3_600 * 1_000_000_000;
/// Three significant digits: an error of at most 0.1 %, and some 260 KiB.
const DIGITS: u8 = 3;

/// Latencies in nanoseconds, and those that have none: what was never answered took for ever, and is slower than all
/// others in every percentile.
#[derive(Debug, Clone)]
pub struct Latencies {
    nanos: Histogram<u64>,
    never: u64,
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
        Self { nanos, never: 0 }
    }

    /// Counts a latency `count` times.
    #[inline]
    pub fn record(&mut self, nanos: u64, count: u64) {
        self.nanos.saturating_record_n(nanos, count);
    }

    /// Counts one that never ends.
    pub fn record_never(&mut self) {
        self.never += 1;
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.nanos.reset();
        self.never = 0;
    }

    /// How many there are, those that never end among them.
    fn total(&self) -> u64 {
        self.nanos.len() + self.never
    }

    /// The mean of those that end, in microseconds.
    pub(crate) fn mean_of_ended(&self) -> f64 {
        self.nanos.mean() / 1e3
    }

    /// The latencies in microseconds that so many are at most, for each of these numbers, which rise; infinite where fewer
    /// end.
    fn at(&self, ranks: impl IntoIterator<Item = u64>) -> Vec<f64> {
        let mut recorded = self.nanos.iter_recorded();
        let (mut sum, mut nanos) = (0, 0);
        let at = |rank: u64| {
            while sum < rank.max(1) {
                let Some(next) = recorded.next() else {
                    return f64::INFINITY;
                };
                sum += next.count_since_last_iteration();
                nanos = self.nanos.highest_equivalent(next.value_iterated_to());
            }
            micros(nanos as f64)
        };
        ranks.into_iter().map(at).collect()
    }

    /// Points of the distribution, ten for each tenth of what is left above: 0, 10 % … 90 %,
    /// 91 % … 99 %, 99.1 % …, as far as what was counted reaches, and the longest. What never ends has none: then the
    /// last is that of the longest that did, and of a share below 1.
    pub fn spectrum(&self) -> Vec<Quantile> {
        let (count, total) = (self.nanos.len(), self.total());
        if count == 0 {
            return Vec::new();
        }
        let mut shares = vec![0.0];
        let mut left = 1.0;
        // Above the last full tenth there is one latency, the longest.
        while left * total as f64 >= 10.0 {
            shares.extend((1..=9).map(|tenth| 1.0 - left + left * f64::from(tenth) / 10.0));
            left /= 10.0;
        }
        let last = count as f64 / total as f64;
        shares.retain(|share| *share < last);
        shares.push(last);
        let us = self.at(shares.iter().map(|share| rank(*share, total).min(count)));
        let points = shares.into_iter().zip(us);
        points.map(|(share, us)| Quantile { share, us }).collect()
    }

    /// How many are at least this long, and how long they are together.
    pub(crate) fn at_least(&self, nanos: u64) -> (u64, u64) {
        let long = self.nanos.iter_recorded();
        let long = long.filter(|step| step.value_iterated_to() >= nanos);
        long.fold((0, 0_u64), |(count, sum), step| {
            let more = step.count_since_last_iteration();
            let nanos = step.value_iterated_to().saturating_mul(more);
            (count + more, sum.saturating_add(nanos))
        })
    }

    /// The same figures, corrected for what a closed model did not ask: where a request took longer than the usual time until
    /// the next, those that would have followed it meanwhile count as if they had waited for its end (`copyCorrected` of
    /// HdrHistogram, with the median as the expected interval). None where nothing was counted, or something was never answered:
    /// nobody knows how many would have followed that.
    pub fn corrected(&self) -> Option<Corrected> {
        let interval = self.at([rank(0.5, self.total())]).first().copied()?;
        let interval = (interval * 1e3).round();
        if self.never > 0 || self.nanos.is_empty() || interval < 1.0 {
            return None;
        }
        // A float-to-int `as` saturates.
        let correction = Correction {
            interval: interval as u64,
            steps: self
                .nanos
                .iter_recorded()
                .map(|step| (step.value_iterated_to(), step.count_since_last_iteration()))
                .collect(),
        };
        let raw = self.summary();
        let total = correction.at_most(u64::MAX);
        let at = |share, raw: f64| match raw.is_nan() {
            true => f64::NAN,
            false => micros(correction.at(rank(share, total)) as f64),
        };
        Some(Corrected {
            interval_us: micros(interval),
            latency_us: Summary {
                count: total,
                never: 0,
                mean: micros(correction.mean()),
                p50: at(0.5, raw.p50),
                p90: at(0.9, raw.p90),
                p99: at(0.99, raw.p99),
                p99_9: at(0.999, raw.p99_9),
                max: raw.max,
            },
        })
    }

    /// The figures of what was counted.
    pub fn summary(&self) -> Summary {
        let (count, total) = (self.nanos.len(), self.total());
        if total == 0 {
            return Summary::default();
        }
        let shares = [0.5, 0.9, 0.99, 0.999];
        let at = self.at(shares.map(|share| rank(share, total)));
        // Of fewer than one in so many there is no such percentile.
        let established = |place: usize, one_in: u64| {
            if total >= one_in { at[place] } else { f64::NAN }
        };
        let or_never = |figure: f64| {
            if self.never > 0 {
                f64::INFINITY
            } else {
                figure
            }
        };
        Summary {
            count,
            never: self.never,
            mean: or_never(micros(self.nanos.mean())),
            p50: established(0, 1),
            p90: established(1, 10),
            p99: established(2, 100),
            p99_9: established(3, 1_000),
            max: or_never(micros(self.nanos.max() as f64)),
        }
    }
}

/// Latencies, each with those that would have followed it: of one of 7 with an interval of 2 there are 7, 5 and 3.
struct Correction {
    interval: u64,
    /// Each latency, and how many there are.
    steps: Vec<(u64, u64)>,
}

impl Correction {
    /// How many would have followed one that took so long.
    fn followed(&self, nanos: u64) -> u64 {
        (nanos / self.interval).saturating_sub(1)
    }

    /// How many are at most this long.
    fn at_most(&self, most: u64) -> u64 {
        let each = self.steps.iter().map(|&(nanos, count)| {
            let followed = self.followed(nanos);
            let too_long = nanos.saturating_sub(most).div_ceil(self.interval);
            // The latency itself, and those that followed; the first of them are the longest.
            count * (1 + followed).saturating_sub(too_long)
        });
        each.sum()
    }

    /// The latency that so many are at most.
    fn at(&self, rank: u64) -> u64 {
        let longest = self.steps.last().map_or(0, |(nanos, _)| *nanos);
        let (mut below, mut at) = (0, longest);
        while at - below > 1 {
            let middle = below + (at - below) / 2;
            if self.at_most(middle) >= rank {
                at = middle;
            } else {
                below = middle;
            }
        }
        at
    }

    fn mean(&self) -> f64 {
        let sum: f64 = self
            .steps
            .iter()
            .map(|&(nanos, count)| {
                let followed = self.followed(nanos) as f64;
                let missed = followed * (followed + 1.0) / 2.0 * self.interval as f64;
                count as f64 * ((followed + 1.0) * nanos as f64 - missed)
            })
            .sum();
        sum / self.at_most(u64::MAX).max(1) as f64
    }
}

/// Latencies of a closed model with those that it did not ask for.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Corrected {
    /// The expected time between two requests of one connection, in microseconds: the median of the latencies.
    pub interval_us: f64,
    /// What they would be; `count` has those that were not asked, too.
    pub latency_us: Summary,
}

/// How many of `total` are this share, upwards: in thousandths first, since 1 - 0.9 is less than 0.1.
fn rank(share: f64, total: u64) -> u64 {
    // A float-to-int `as` saturates; a histogram counts far below 2^53.
    ((share * total as f64 * 1e6).round() / 1e6).ceil() as u64
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
///
/// A figure is infinite where what was never answered reaches it, and no number where there are too few latencies for it (1 %
/// takes a hundred): in JSON both are `null`, and `never` tells them apart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "Written")]
pub struct Summary {
    /// How many latencies these are the figures of; all others are 0 when this and `never` are.
    pub count: u64,
    /// How many besides were never answered.
    pub never: u64,
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

impl Summary {
    /// Whether it is of anything.
    pub(crate) fn is_empty(&self) -> bool {
        self.count + self.never == 0
    }
}

/// A summary as JSON has it.
#[derive(Debug, Deserialize)]
struct Written {
    count: u64,
    #[serde(default)]
    never: u64,
    mean: Option<f64>,
    p50: Option<f64>,
    p90: Option<f64>,
    p99: Option<f64>,
    p99_9: Option<f64>,
    max: Option<f64>,
}

impl From<Written> for Summary {
    fn from(written: Written) -> Self {
        let Written { count, never, .. } = written;
        let total = count.saturating_add(never);
        let read = |figure: Option<f64>, share: f64| {
            figure.unwrap_or(if rank(share, total) > count {
                f64::INFINITY
            } else {
                f64::NAN
            })
        };
        Self {
            count,
            never,
            mean: read(written.mean, 1.0),
            p50: read(written.p50, 0.5),
            p90: read(written.p90, 0.9),
            p99: read(written.p99, 0.99),
            p99_9: read(written.p99_9, 0.999),
            max: read(written.max, 1.0),
        }
    }
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

    #[test]
    fn what_never_ends_is_the_slowest() {
        for (never, p50, p90, p99) in [
            (1, 1.0, 1.0, 1.0),
            (2, 1.0, 1.0, f64::INFINITY),
            (10, 1.0, 1.0, f64::INFINITY),
            (11, 1.0, f64::INFINITY, f64::INFINITY),
            (50, 1.0, f64::INFINITY, f64::INFINITY),
            (51, f64::INFINITY, f64::INFINITY, f64::INFINITY),
        ] {
            let mut latencies = Latencies::new();
            latencies.record(1_000, 100 - never);
            (0..never).for_each(|_| latencies.record_never());
            let found = latencies.summary();
            assert_eq!(
                (found.p50, found.p90, found.p99),
                (p50, p90, p99),
                "{never}"
            );
            assert_eq!((found.count, found.never), (100 - never, never));
            assert!(found.max.is_infinite() && found.mean.is_infinite());
            let spectrum = latencies.spectrum();
            assert!(spectrum.iter().all(|point| point.us == 1.0), "{spectrum:?}");
            let last = spectrum.last().unwrap().share;
            assert!(
                (last - (100 - never) as f64 / 100.0).abs() < 1e-9,
                "{spectrum:?}"
            );
        }
        let mut all = Latencies::new();
        all.record_never();
        assert!(all.summary().p50.is_infinite() && all.spectrum().is_empty());
        all.clear();
        assert!(all.summary().is_empty());
    }

    #[test]
    fn what_is_corrected_is_what_hdrhistogram_corrects() {
        let mut latencies = Latencies::new();
        latencies.record(1_000, 800);
        latencies.record(1_500, 150);
        for slow in 0..50 {
            latencies.record(7_000 + slow * 333, 1);
        }
        let corrected = latencies.corrected().unwrap();
        assert_eq!(corrected.interval_us, 1.0);
        let theirs = latencies.nanos.clone_correct(1_000);
        let ours = corrected.latency_us;
        assert_eq!(ours.count, theirs.len());
        for (ours, theirs) in [
            (ours.p50, theirs.value_at_quantile(0.5)),
            (ours.p90, theirs.value_at_quantile(0.9)),
            (ours.p99, theirs.value_at_quantile(0.99)),
            (ours.p99_9, theirs.value_at_quantile(0.999)),
            (ours.max, theirs.max()),
            (ours.mean, theirs.mean() as u64),
        ] {
            let theirs = theirs as f64 / 1e3;
            assert!((ours - theirs).abs() <= 0.1, "{ours} {theirs}");
        }
    }

    #[test]
    fn what_is_not_established_is_not_corrected() {
        let mut latencies = Latencies::new();
        assert_eq!(latencies.corrected(), None);
        latencies.record(1_000, 50);
        latencies.record(60_000, 1);
        let corrected = latencies.corrected().unwrap().latency_us;
        // Of 51 there is no p99, however many would have followed.
        assert_eq!((corrected.count, corrected.max), (110, 60.0));
        assert!(
            corrected.p90 > 40.0 && corrected.p99.is_nan(),
            "{corrected:?}"
        );
        latencies.record_never();
        assert_eq!(latencies.corrected(), None);
    }

    #[test]
    fn those_that_are_long_are_counted_together() {
        let mut latencies = Latencies::new();
        latencies.record(10, 2);
        latencies.record(20, 3);
        latencies.record(30, 1);
        assert_eq!(latencies.at_least(20), (4, 90));
        assert_eq!(
            (latencies.at_least(31), latencies.at_least(0).0),
            ((0, 0), 6)
        );
    }

    #[test]
    fn of_too_few_there_is_no_percentile() {
        let mut latencies = Latencies::new();
        latencies.record(1_000, 9);
        let few = latencies.summary();
        assert!(few.p50 == 1.0 && few.p90.is_nan() && few.max == 1.0);
        latencies.record(1_000, 90);
        assert!(latencies.summary().p90 == 1.0 && latencies.summary().p99.is_nan());
        latencies.record(1_000, 900);
        assert!(latencies.summary().p99 == 1.0 && latencies.summary().p99_9.is_nan());
        latencies.record(1_000, 1);
        assert_eq!(latencies.summary().p99_9, 1.0);
    }

    #[test]
    fn json_tells_never_from_too_few() {
        let mut latencies = Latencies::new();
        latencies.record(1_000, 20);
        (0..5).for_each(|_| latencies.record_never());
        let json = serde_json::to_string(&latencies.summary()).unwrap();
        assert!(
            json.contains(r#""never":5,"mean":null,"p50":1.0,"p90":null,"p99":null"#),
            "{json}"
        );
        let read: Summary = serde_json::from_str(&json).unwrap();
        assert!(read.mean.is_infinite() && read.p90.is_infinite() && read.max.is_infinite());
        assert_eq!((read.count, read.never, read.p50), (20, 5, 1.0));
        let mut few = Latencies::new();
        few.record(1_000, 20);
        let json = serde_json::to_string(&few.summary()).unwrap();
        let read: Summary = serde_json::from_str(&json).unwrap();
        assert!(read.p99.is_nan() && read.max == 1.0, "{json}");
    }
}
