//! When requests are meant to begin, whatever the server does: the open model.

use crate::load::plan::mode::{Arrivals, Model};

/// One intended beginning after the other. A late one is not skipped and delays no other, so nothing
/// need be stored of those that wait: they are simply not yet taken.
#[derive(Debug)]
pub struct Schedule {
    arrivals: Arrivals,
    gap: f64,
    /// The next intended beginning; fractions of a nanosecond add up at high rates.
    next: f64,
    /// Of the random numbers.
    state: u64,
}

impl Schedule {
    /// Of the open model, from `start` nanoseconds on; the closed one has none.
    pub fn of(model: Model, seed: u64, start: u64) -> Option<Self> {
        match model {
            Model::Closed => None,
            Model::Open { rate, arrivals } => Some(Self::new(arrivals, rate, seed, start)),
        }
    }

    /// `rate` a second, from `start` nanoseconds on. The gaps are those of `seed`: the same in every run that has it, and
    /// others in one that has the next.
    pub fn new(arrivals: Arrivals, rate: f64, seed: u64, start: u64) -> Self {
        Self {
            arrivals,
            gap: 1e9 / rate,
            next: start as f64,
            state: mixed(seed),
        }
    }

    /// When the next request is meant to begin.
    #[inline]
    pub fn next(&self) -> u64 {
        // A float-to-int `as` saturates.
        self.next as u64
    }

    /// All that are still to come are so much later.
    pub fn postpone(&mut self, nanos: u64) {
        self.next += nanos as f64;
    }

    /// That one has begun, or never will.
    #[inline]
    pub fn advance(&mut self) {
        self.next += match self.arrivals {
            Arrivals::Constant => self.gap,
            Arrivals::Uniform => self.gap * 2.0 * self.chance(),
            Arrivals::Poisson => self.gap * -(1.0 - self.chance()).ln(),
        };
    }

    /// Equally likely from 0 to below 1: splitmix64.
    fn chance(&mut self) -> f64 {
        self.state = self.state.wrapping_add(STEP);
        (mixed(self.state) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Heads or tails, of a seed.
pub(crate) fn lot(seed: u64) -> bool {
    mixed(seed.wrapping_add(STEP)) >> 63 == 1
}

/// From one state of splitmix64 to the next: 2^64 by the golden ratio.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// What splitmix64 makes of a state. Seeds go through it too: those of two neighbours lie far apart then, and no
/// sequence is a part of the other.
fn mixed(state: u64) -> u64 {
    let mut bits = state;
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Mean and standard deviation of the gaps, in means.
    fn shape(arrivals: Arrivals) -> (f64, f64) {
        let mut schedule = Schedule::new(arrivals, 1_000.0, 7, 5);
        assert_eq!(schedule.next(), 5);
        let gaps: Vec<f64> = (0..100_000)
            .map(|_| {
                let before = schedule.next;
                schedule.advance();
                (schedule.next - before) / 1e6
            })
            .collect();
        let mean = gaps.iter().sum::<f64>() / 1e5;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / 1e5;
        (mean, variance.sqrt())
    }

    #[test]
    fn gaps_have_the_shape_that_was_asked_for() {
        for (arrivals, spread) in [
            (Arrivals::Constant, 0.0),
            (Arrivals::Uniform, 3f64.sqrt().recip()),
            (Arrivals::Poisson, 1.0),
        ] {
            let (mean, deviation) = shape(arrivals);
            assert!((mean - 1.0).abs() < 0.02, "{arrivals}: {mean}");
            assert!((deviation - spread).abs() < 0.02, "{arrivals}: {deviation}");
        }
    }

    fn begins(seed: u64) -> Vec<u64> {
        let mut schedule = Schedule::new(Arrivals::Poisson, 1_000.0, seed, 0);
        let next = |_| {
            schedule.advance();
            schedule.next()
        };
        (0..1_000).map(next).collect()
    }

    #[test]
    fn a_seed_repeats_a_schedule_and_the_next_one_has_nothing_of_it() {
        assert_eq!(begins(41), begins(41));
        let gaps = |seed| -> Vec<f64> {
            let begins = begins(seed);
            let gaps = begins.windows(2).map(|pair| (pair[1] - pair[0]) as f64);
            gaps.collect()
        };
        // No correlation of the gaps, at any shift of up to a hundred: of 999 it is 0.03 by chance, and 0.13 never.
        for (one, other) in [(0, 1), (41, 42), (42, 44), (u64::MAX, 0)] {
            let (one, other) = (gaps(one), gaps(other));
            for shift in 0..100 {
                let pairs = one.iter().skip(shift).zip(&other);
                let (n, sum) = pairs.fold((0.0, 0.0), |(n, sum), (a, b)| {
                    (n + 1.0, sum + (a / 1e6 - 1.0) * (b / 1e6 - 1.0))
                });
                assert!((sum / n).abs() < 0.15, "{shift}: {}", sum / n);
            }
        }
    }
}
