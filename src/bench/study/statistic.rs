//! What several measurements of one thing say: no distribution is assumed, since on a shared machine
//! there is none worth assuming.

use serde::{Deserialize, Serialize};

/// More measurements of one thing are not weighed exactly: the counts of orders would not fit.
pub const ROUNDS_MAX: usize = 100;

/// How sure an interval is to hold the true median, and when a difference is taken for one.
pub const CONFIDENCE: f64 = 0.95;

/// The middle of several measurements, and how far they lie apart.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// Half are at most this.
    #[serde(with = "crate::load::measure::figures::or_null")]
    pub median: f64,
    /// The lower end of the interval that holds the true median with at least 95 % confidence; the least
    /// where there are too few for that.
    #[serde(with = "crate::load::measure::figures::or_null")]
    pub low: f64,
    /// The upper end; the greatest where there are too few.
    #[serde(with = "crate::load::measure::figures::or_null")]
    pub high: f64,
    /// Whether there were enough (six) for an interval of that confidence.
    pub is_interval: bool,
}

impl Spread {
    /// Of at least one value; none of none.
    ///
    /// The interval lies between two of the values in their order: the true median is outside only if
    /// almost all of them fell on one side of it, which is as likely as a coin that falls so (the sign
    /// test; Conover, "Practical Nonparametric Statistics", 3.2).
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let n = values.len();
        let last = n.checked_sub(1)?;
        let cut = ends_to_cut(n);
        Some(Self {
            median: f64::midpoint(values[last / 2], values[n / 2]),
            low: values[cut.unwrap_or(0)],
            high: values[last - cut.unwrap_or(0)],
            is_interval: cut.is_some(),
        })
    }

    /// Whether a ratio is surely not 1.
    pub fn excludes_one(&self) -> bool {
        self.is_interval && !(self.low..=self.high).contains(&1.0)
    }
}

/// How many of `n` values in their order may be left out at each end, so that what is between them
/// still is an interval of [`CONFIDENCE`].
fn ends_to_cut(n: usize) -> Option<usize> {
    // The chance of at most `k` heads of `n`, for as long as both tails together stay below it.
    let mut chance = 0.5f64.powi(i32::try_from(n).ok()?);
    let mut sum = chance;
    let mut cut = None;
    for k in 0..n {
        if 2.0 * sum > 1.0 - CONFIDENCE {
            break;
        }
        cut = Some(k);
        chance *= (n - k) as f64 / (k + 1) as f64;
        sum += chance;
    }
    cut
}

/// How likely it is that two sets of measurements lie as far apart as these, or farther, if nothing
/// but chance parts them: the exact two-sided test of Mann and Whitney (1947).
///
/// Equal values count half on each side, which makes the test a little more careful. One set of fewer
/// than four beside one of four cannot be told apart at 0.05, whatever they are.
pub fn chance(one: &[f64], other: &[f64]) -> f64 {
    let (m, n) = (one.len(), other.len());
    if m == 0 || n == 0 {
        return 1.0;
    }
    // How many pairs the first set wins, doubled, so that a draw is one.
    let pairs = one.iter().flat_map(|a| other.iter().map(move |b| (a, b)));
    let wins: usize = pairs
        .map(|(a, b)| usize::from(a > b) + usize::from(a >= b))
        .sum();
    let pairs = m * n;
    // The rarer side, rounded towards the middle.
    let extreme = wins.min(2 * pairs - wins).div_ceil(2);
    let ways = orders(m, n);
    let all: f64 = ways.iter().sum();
    let tail: f64 = ways.iter().take(extreme + 1).sum();
    (2.0 * tail / all).min(1.0)
}

/// What [`chance`] is where all of `m` measurements lie on one side of all of `n`: the least there is.
pub fn least_chance(m: usize, n: usize) -> f64 {
    // Two of all binomial(m + n, n) orders.
    let orders: f64 = (1..=n).map(|k| (m + k) as f64 / k as f64).product();
    (2.0 / orders).min(1.0)
}

/// In how many orders of `m` and `n` things the first kind wins 0, 1, 2 … of all pairs.
fn orders(m: usize, n: usize) -> Vec<f64> {
    // `ways[j]`: for as many of the first kind as were laid so far and `j` of the second.
    let mut ways: Vec<Vec<f64>> = vec![vec![1.0]; n + 1];
    for _ in 0..m {
        for j in 1..=n {
            // The greatest is one of the first kind, which beats `j`, or one of the second.
            let mut sum = vec![0.0; j];
            sum.append(&mut ways[j]);
            for (sum, count) in sum.iter_mut().zip(&ways[j - 1]) {
                *sum += count;
            }
            ways[j] = sum;
        }
    }
    ways.swap_remove(n)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_needs_six_and_narrows_with_more() {
        let of = |n: u32| Spread::of((1..=n).map(f64::from)).unwrap();
        let four = of(4);
        assert_eq!((four.median, four.low, four.high), (2.5, 1.0, 4.0));
        assert!(!four.is_interval && !of(5).is_interval);
        let six = of(6);
        assert_eq!((six.low, six.high, six.is_interval), (1.0, 6.0, true));
        // Tables of the sign test: 9 values leave out one at each end, 12 two, 20 five.
        assert_eq!((of(9).low, of(9).high), (2.0, 8.0));
        assert_eq!((of(12).low, of(12).high), (3.0, 10.0));
        assert_eq!((of(20).low, of(20).high), (6.0, 15.0));
        assert_eq!(Spread::of([]), None);
        assert!(Spread::of([1.1; 6]).unwrap().excludes_one());
        assert!(!Spread::of([1.1; 5]).unwrap().excludes_one());
        assert!(!six.excludes_one());
    }

    #[test]
    fn the_test_of_mann_and_whitney_is_exact() {
        let is = |one: &[f64], other: &[f64], expected: f64| {
            let found = chance(one, other);
            assert!(
                (found - expected).abs() < 1e-9,
                "{one:?} {other:?}: {found}"
            );
        };
        // Complete separation: 2 of all binomial(m + n, n) orders.
        is(&[1.0, 2.0, 3.0, 4.0], &[5.0, 6.0, 7.0, 8.0], 2.0 / 70.0);
        is(&[5.0, 6.0, 7.0], &[1.0, 2.0, 3.0], 2.0 / 20.0);
        // One pair the other way: 4 of 70.
        is(&[1.0, 2.0, 3.0, 5.0], &[4.0, 6.0, 7.0, 8.0], 4.0 / 70.0);
        // Alike is as likely as can be.
        is(&[1.0, 2.0, 3.0], &[1.0, 2.0, 3.0], 1.0);
        is(&[2.0; 5], &[2.0; 5], 1.0);
        is(&[], &[1.0], 1.0);
        // Counted out over all 462 orders of five and six.
        let six = [3.1, 4.1, 5.1, 6.1, 7.1, 8.1];
        is(&[1.1, 2.2, 3.3, 4.4, 5.5], &six, 58.0 / 462.0);
    }

    #[test]
    fn the_least_chance_is_that_of_sets_that_do_not_overlap() {
        let most = (ROUNDS_MAX, ROUNDS_MAX);
        for (m, n) in [(1, 1), (1, 9), (3, 3), (4, 4), (7, 5), most] {
            let found = chance(&vec![0.0; m], &vec![1.0; n]);
            let error = (found / least_chance(m, n) - 1.0).abs();
            assert!(error <= 1e-9, "{m} {n}: {found}");
        }
    }

    #[test]
    fn the_orders_are_all_orders() {
        let sum: f64 = orders(7, 7).iter().sum();
        assert_eq!(sum, 3432.0);
        assert_eq!(orders(2, 2), [1.0, 1.0, 2.0, 1.0, 1.0]);
    }

    #[test]
    fn a_tie_counts_half_for_each_and_makes_a_difference_less_sure() {
        let is = |one: &[f64], other: &[f64], expected: f64| {
            for found in [chance(one, other), chance(other, one)] {
                assert!(
                    (found - expected).abs() < 1e-9,
                    "{one:?} {other:?}: {found}"
                );
            }
        };
        // One tie beside complete separation: not the 2 of 70 orders, but as one pair the other way.
        is(&[1.0, 2.0, 3.0, 4.0], &[4.0, 5.0, 6.0, 7.0], 4.0 / 70.0);
        // Two are one pair, and no rounding is left.
        is(&[1.0, 2.0, 3.0, 4.0], &[4.0, 4.0, 6.0, 7.0], 4.0 / 70.0);
        is(&[1.0, 2.0, 4.0, 4.0], &[4.0, 5.0, 6.0, 7.0], 4.0 / 70.0);
        // As many wins as defeats, by ties alone and beside others.
        is(&[1.0, 3.0], &[2.0, 2.0], 1.0);
        is(&[1.0, 2.0, 2.0, 3.0], &[2.0; 4], 1.0);
        // What never came ties with what never came.
        is(&[f64::INFINITY; 4], &[f64::INFINITY; 4], 1.0);
        is(&[f64::INFINITY; 4], &[1.0; 4], 2.0 / 70.0);
    }

    #[test]
    fn one_beside_39_is_exactly_enough() {
        let many: Vec<f64> = (1..40).map(f64::from).collect();
        // 2 of 40 orders are 5 %.
        assert!(least_chance(1, 39) <= 1.0 - CONFIDENCE && least_chance(39, 1) <= 1.0 - CONFIDENCE);
        assert!(chance(&[0.0], &many) <= 1.0 - CONFIDENCE);
        assert!(chance(&many, &[40.0]) <= 1.0 - CONFIDENCE);
        assert!(least_chance(1, 38) > 1.0 - CONFIDENCE);
    }

    #[test]
    fn equal_values_have_no_spread_and_a_ratio_of_one_is_no_difference() {
        let same = Spread::of([7.0; 6]).unwrap();
        assert_eq!((same.median, same.low, same.high), (7.0, 7.0, 7.0));
        assert!(same.is_interval);
        // One at either end of the interval is in it.
        for ratios in [
            [1.0; 6],
            [1.0, 1.1, 1.1, 1.2, 1.2, 1.3],
            [0.7, 0.8, 0.8, 0.9, 0.9, 1.0],
        ] {
            assert!(!Spread::of(ratios).unwrap().excludes_one(), "{ratios:?}");
        }
        let mut ratios = [1.0, 1.1, 1.1, 1.2, 1.2, 1.3];
        ratios[0] = 1.000_001;
        assert!(Spread::of(ratios).unwrap().excludes_one());
        // The middle of an even number lies between two, whichever came first.
        assert_eq!(Spread::of([3.0, 1.0, 2.0, 2.0]).unwrap().median, 2.0);
        assert_eq!(Spread::of([4.0, 1.0, 2.0, 3.0]).unwrap().median, 2.5);
    }
}
