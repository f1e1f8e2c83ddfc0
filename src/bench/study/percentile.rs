//! How sure a percentile is that several rounds saw.
//!
//! The percentile of a round is too low on average where latencies come in bursts, as they do behind a queue: a round without a
//! long queue knows nothing of it. The median of such percentiles is too low then, too, and an interval around it is the
//! surer of that the more rounds there are. The share of requests that took longer than some time is on average
//! right, however short a round is: so an interval for a percentile is made of the times for which those shares, over
//! the rounds, agree with it.

use crate::bench::study::statistic::Spread;
use crate::load::measure::histogram::Quantile;

/// The normal quantile of an interval of 95 %.
const NORMAL: f64 = 1.959_964;

/// `spread` of the percentiles that rounds saw for this share, as wide as it must be to hold the percentile in the long run.
///
/// Shares within a time lie skewed around their mean; the test corrects Student's for that (Johnson, "Modified t tests and
/// confidence intervals for asymmetrical populations", 1978).
pub(super) fn widened(spread: Spread, share: f64, rounds: &[&[Quantile]]) -> Spread {
    if !spread.is_interval || rounds.iter().any(|round| round.is_empty()) {
        return spread;
    }
    let mut times: Vec<f64> = rounds
        .iter()
        .flat_map(|round| round.iter())
        .map(|point| point.us)
        .collect();
    times.sort_by(f64::total_cmp);
    times.dedup();
    let most = student(rounds.len() - 1);
    // How far the rounds are from agreeing at each time: from far below the share to far above it.
    let far = times.iter().map(|us| {
        let shares: Vec<f64> = rounds.iter().map(|round| within(round, *us)).collect();
        (*us, distance(&shares, share))
    });
    let mut agreeing = far.skip_while(|(_, far)| *far < -most).peekable();
    let low = agreeing.peek().map_or(f64::INFINITY, |(us, _)| *us);
    // Where even the longest is not surely beyond it, what was never answered may be within.
    let high = agreeing
        .find(|(_, far)| *far > most)
        .map_or(f64::INFINITY, |(us, _)| us);
    Spread {
        low: spread.low.min(low),
        high: spread.high.max(high),
        ..spread
    }
}

/// The share of a round's requests that took at most so long.
fn within(round: &[Quantile], us: f64) -> f64 {
    let next = round.partition_point(|point| point.us <= us);
    match (next.checked_sub(1).map(|last| round[last]), round.get(next)) {
        (None, _) => 0.0,
        (Some(last), None) => last.share,
        (Some(last), Some(next)) => {
            last.share + (next.share - last.share) * (us - last.us) / (next.us - last.us)
        }
    }
}

/// How many standard errors the mean of `shares` lies above `share`, corrected for their skew.
fn distance(shares: &[f64], share: f64) -> f64 {
    let n = shares.len() as f64;
    let mean = shares.iter().sum::<f64>() / n;
    let moment = |power| {
        shares
            .iter()
            .map(|one| (one - mean).powi(power))
            .sum::<f64>()
    };
    let deviation = (moment(2) / (n - 1.0)).sqrt();
    if deviation < 1e-12 {
        // All rounds agree.
        return match mean - share {
            none if none.abs() < 1e-12 => 0.0,
            above => above.signum() * f64::INFINITY,
        };
    }
    let (skew, off) = (
        moment(3) / n / deviation.powi(3),
        (mean - share) / deviation,
    );
    // The correction is for what lies near: far away, it must not turn the distance round.
    let corrected = off + skew / (6.0 * n) + skew / 3.0 * off * off;
    let corrected = if corrected * off < 0.0 && off.abs() * n.sqrt() > NORMAL {
        off
    } else {
        corrected
    };
    n.sqrt() * corrected
}

/// Student's quantile of an interval of 95 % for so many degrees of freedom, from five on: by the expansion of Fisher and
/// Cornish (1960), to 0.004.
fn student(freedom: usize) -> f64 {
    let (z, v) = (NORMAL, freedom as f64);
    let first = (z.powi(3) + z) / 4.0;
    let second = (5.0 * z.powi(5) + 16.0 * z.powi(3) + 3.0 * z) / 96.0;
    let third = (3.0 * z.powi(7) + 19.0 * z.powi(5) + 17.0 * z.powi(3) - 15.0 * z) / 384.0;
    z + first / v + second / v.powi(2) + third / v.powi(3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quantiles_are_those_of_the_tables() {
        for (freedom, known) in [(5, 2.571), (6, 2.447), (19, 2.093), (99, 1.984)] {
            let found = student(freedom);
            assert!((found - known).abs() < 0.004, "{freedom}: {found}");
        }
    }

    fn round(points: &[(f64, f64)]) -> Vec<Quantile> {
        points
            .iter()
            .map(|&(share, us)| Quantile { share, us })
            .collect()
    }

    #[test]
    fn a_share_lies_between_its_points() {
        let round = round(&[(0.0, 10.0), (0.5, 10.0), (0.9, 20.0), (1.0, 40.0)]);
        for (us, share) in [
            (9.9, 0.0),
            (10.0, 0.5),
            (15.0, 0.7),
            (30.0, 0.95),
            (40.0, 1.0),
            (50.0, 1.0),
        ] {
            assert!((within(&round, us) - share).abs() < 1e-12, "{us}");
        }
    }

    #[test]
    fn a_burst_that_one_round_saw_widens_the_interval_and_agreement_does_not() {
        let calm = round(&[(0.0, 10.0), (0.98, 10.0), (0.99, 20.0), (1.0, 30.0)]);
        let burst = round(&[(0.0, 10.0), (0.7, 10.0), (0.99, 900.0), (1.0, 1_000.0)]);
        let spread = Spread::of([20.0; 7]).unwrap();
        let same = widened(spread, 0.99, &[calm.as_slice(); 7]);
        assert_eq!((same.low, same.high), (20.0, 30.0));
        let mut rounds = vec![calm.as_slice(); 6];
        rounds.push(&burst);
        let wide = widened(spread, 0.99, &rounds);
        assert!(wide.low <= 20.0 && wide.high >= 900.0, "{wide:?}");
        assert_eq!(wide.median, 20.0);
        // Fewer make no interval at all.
        let few = Spread::of([20.0; 3]).unwrap();
        assert_eq!(widened(few, 0.99, &rounds[4..]), few);
        // What was never answered may be within.
        let lossy = round(&[(0.0, 10.0), (0.985, 10.0)]);
        assert_eq!(
            widened(spread, 0.99, &[lossy.as_slice(); 7]).high,
            f64::INFINITY
        );
    }
}
