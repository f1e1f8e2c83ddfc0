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

/// How likely differences lie as far to one side as these, or farther, if each might as well have had the other sign: the
/// exact two-sided signed-rank test of Wilcoxon (1945).
///
/// Those of equal size share their rank, and those of nothing say nothing. Nothing is assumed of how they depend on
/// each other, as long as it was drawn by lot which side of each pair is which.
pub fn chance_of_signs(differences: &[f64]) -> f64 {
    let differ = differences.iter().filter(|one| **one != 0.0);
    let mut differences: Vec<f64> = differ.copied().collect();
    differences.sort_by(|a, b| a.abs().total_cmp(&b.abs()));
    let ranks = doubled_ranks(&differences, |a, b| a.abs() == b.abs());
    let all: usize = ranks.iter().sum();
    let signed = ranks.iter().zip(&differences);
    let up: usize = signed
        .filter(|(_, one)| **one > 0.0)
        .map(|(rank, _)| rank)
        .sum();
    // In how many of all ways to give signs the positive ones have this sum of ranks.
    let mut ways = vec![0.0; all + 1];
    ways[0] = 1.0;
    for &rank in &ranks {
        for sum in (rank..=all).rev() {
            ways[sum] += ways[sum - rank];
        }
    }
    let tail: f64 = ways[..=up.min(all - up)].iter().sum();
    (tail * least_chance_of_signs(ranks.len())).min(1.0)
}

/// What [`chance_of_signs`] is where all of `n` differences have one sign: the least there is. Before it is at most 1, it
/// is what each way to give signs counts for, twice.
pub fn least_chance_of_signs(n: usize) -> f64 {
    2.0 * 0.5f64.powi(i32::try_from(n).unwrap_or(i32::MAX))
}

/// Twice the rank of each of these, which are in their order: those that are alike share the mean of theirs.
fn doubled_ranks(sorted: &[f64], alike: impl Fn(&f64, &f64) -> bool) -> Vec<usize> {
    let mut ranks = Vec::with_capacity(sorted.len());
    for group in sorted.chunk_by(alike) {
        let (before, count) = (ranks.len(), group.len());
        ranks.extend(vec![2 * before + count + 1; count]);
    }
    ranks
}

/// How much each measurement is like the one before it, in series that were measured alike: from 0, not at all, to below 1.
///
/// Of ranks, so that one outlier, or what took for ever, counts for no more than its place. What is found in a few
/// measurements is too low, the more so the more they depend on each other: that is corrected (Kendall, "Note on bias in
/// the estimation of autocorrelation", 1954).
pub fn autocorrelation(series: &[&[f64]]) -> f64 {
    let (mut together, mut each, mut count) = (0.0, 0.0, 0);
    for values in series {
        let mut order: Vec<usize> = (0..values.len()).collect();
        order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
        let sorted: Vec<f64> = order.iter().map(|at| values[*at]).collect();
        let mean = values.len() as f64 + 1.0;
        let mut apart = vec![0.0; values.len()];
        for (at, rank) in order.iter().zip(doubled_ranks(&sorted, |a, b| a == b)) {
            apart[*at] = rank as f64 - mean;
        }
        together += apart.windows(2).map(|pair| pair[0] * pair[1]).sum::<f64>();
        each += apart.iter().map(|one| one * one).sum::<f64>();
        count += values.len();
    }
    if each == 0.0 {
        // All are alike.
        return 0.0;
    }
    let (n, found) = (count as f64 / series.len() as f64, together / each);
    (found + (1.0 + 4.0 * found) / n).clamp(0.0, LIKE_MAX)
}

/// More than this is not told apart from always the same.
const LIKE_MAX: f64 = 0.99;
/// What is found in independent measurements, too.
const LIKE_MIN: f64 = 0.1;

/// How many measurements that are so much like each other make one that stands for itself: half as many again as it takes
/// until a mean varies as that of independent ones, `(1 + r) / (1 - r)` of them (Kish, "Survey Sampling", 1965; Geyer,
/// "Practical Markov chain Monte Carlo", 1992).
pub fn block_length(autocorrelation: f64) -> usize {
    if autocorrelation < LIKE_MIN {
        return 1;
    }
    (1.5 * (1.0 + autocorrelation) / (1.0 - autocorrelation)).ceil() as usize
}

/// The means of so many neighbours each; the first are left out where they do not come out even.
pub fn blocks(values: &[f64], length: usize) -> Vec<f64> {
    let blocks = values.rchunks_exact(length).rev();
    blocks
        .map(|block| block.iter().sum::<f64>() / length as f64)
        .collect()
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
    fn the_signed_rank_test_is_exact() {
        let is = |differences: &[f64], expected: f64| {
            let other: Vec<f64> = differences.iter().map(|one| -one).collect();
            for found in [chance_of_signs(differences), chance_of_signs(&other)] {
                assert!((found - expected).abs() < 1e-12, "{differences:?}: {found}");
            }
        };
        // All of one sign: 2 of all 2^n.
        is(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0], 2.0 / 128.0);
        // The smallest has the other sign, then the next: 4 and 6 of 256.
        is(&[-1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0], 4.0 / 256.0);
        is(&[1.0, -2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0], 6.0 / 256.0);
        // A table of Wilcoxon's: of ten, sums of at most 8 are 25 of 1,024 ways.
        is(
            &[-1.0, -7.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 9.0, 10.0],
            50.0 / 1_024.0,
        );
        // What does not differ says nothing; what is alike shares a rank.
        is(&[0.0, 0.0, 5.0, 5.0, 5.0], 2.0 / 8.0);
        is(&[-5.0, 5.0, 5.0], 1.0);
        is(&[f64::INFINITY, 1.0, 2.0], 2.0 / 8.0);
        is(&[], 1.0);
        is(&[0.0], 1.0);
        assert_eq!(least_chance_of_signs(8), 2.0 / 256.0);
    }

    #[test]
    fn what_follows_the_one_before_it_is_one_measurement() {
        // One up, one down: the opposite of alike.
        let turns: Vec<f64> = (0..20).map(|at| f64::from(at % 2)).collect();
        assert_eq!(autocorrelation(&[&turns, &turns]), 0.0);
        assert_eq!(autocorrelation(&[&[7.0; 20], &[f64::INFINITY; 20]]), 0.0);
        assert_eq!((block_length(0.0), block_length(0.09)), (1, 1));
        // A slow wave, which ends where measurements have no end.
        let wave: Vec<f64> = (0..20)
            .map(|at| match at {
                0..10 => f64::from(at),
                _ => f64::INFINITY,
            })
            .collect();
        assert_eq!(autocorrelation(&[&wave, &wave]), LIKE_MAX);
        assert!(block_length(LIKE_MAX) > ROUNDS_MAX);
        // Counted out: twice the ranks lie -3, -5, 3, -1, 5, 1 from their mean. What one has of the next is -3 of 70.
        let few = [20.0, 10.0, 50.0, 30.0, 60.0, 40.0];
        let found = -3.0 / 70.0;
        let expected = found + (1.0 + 4.0 * found) / 6.0;
        assert!((autocorrelation(&[&few]) - expected).abs() < 1e-12);
        // A third in each is that of the one before it: twice as many for one that stands for itself, and half more.
        assert_eq!(block_length(1.0 / 3.0), 3);
        assert_eq!(block_length(0.87), 22);
        assert_eq!(blocks(&[9.0, 1.0, 3.0, 5.0, 7.0], 2), [2.0, 6.0]);
        assert_eq!(blocks(&[1.0, 3.0], 3), [0.0; 0]);
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
