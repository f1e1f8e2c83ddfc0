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
    seed: u64,
}

impl Schedule {
    /// Of the open model, from `start` nanoseconds on; the closed one has none.
    pub fn of(model: Model, start: u64) -> Option<Self> {
        match model {
            Model::Closed => None,
            Model::Open { rate, arrivals } => Some(Self::new(arrivals, rate, start)),
        }
    }

    /// `rate` a second, from `start` nanoseconds on.
    pub fn new(arrivals: Arrivals, rate: f64, start: u64) -> Self {
        Self {
            arrivals,
            gap: 1e9 / rate,
            next: start as f64,
            // The same schedule in every run.
            seed: 0x9e37_79b9_7f4a_7c15,
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
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.seed;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((bits ^ (bits >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Mean and standard deviation of the gaps, in means.
    fn shape(arrivals: Arrivals) -> (f64, f64) {
        let mut schedule = Schedule::new(arrivals, 1_000.0, 5);
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
}
