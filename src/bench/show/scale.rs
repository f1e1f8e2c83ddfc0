//! From a figure to its place on an axis, and which places get a number.

use crate::bench::show::label;

/// With fewer seconds there is no rate over time to see.
pub(super) const SECONDS_MIN: usize = 3;

/// An axis may say so much; more is noise.
const TICKS_MAX: usize = 7;

/// One direction of a chart.
#[derive(Debug, Clone)]
pub(super) struct Scale {
    /// What makes equal steps of what is drawn equally long.
    bend: fn(f64) -> f64,
    /// The ends, bent.
    low: f64,
    high: f64,
    /// In the order in which they deserve their room.
    pub(super) ticks: Vec<Tick>,
}

/// A place with a number.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Tick {
    /// In the figure's own unit.
    pub(super) at: f64,
    pub(super) label: String,
}

impl Scale {
    /// From nothing to `high` of something that is counted.
    pub(super) fn linear(high: f64) -> Self {
        let high = if high > 0.0 {
            high.clamp(COUNT_LEAST, COUNT_MOST)
        } else {
            1.0
        };
        let step = nice_above(high / 5.0);
        let steps = (high / step - 1e-9).ceil().max(1.0);
        Self {
            bend: |value| value,
            low: 0.0,
            high: steps * step,
            ticks: (0..=steps as u32)
                .map(|n| Tick::new(f64::from(n) * step, label::plain))
                .collect(),
        }
    }

    /// From nothing to exactly `high` seconds: what comes after was not measured.
    pub(super) fn seconds(high: f64) -> Self {
        let mut scale = Self::linear(high);
        scale
            .ticks
            .retain(|tick| tick.at <= high && tick.at.fract() == 0.0);
        scale.high = high;
        scale
    }

    /// Latencies in microseconds, each step a multiple of the one before.
    pub(super) fn latencies(values: impl IntoIterator<Item = f64>) -> Self {
        let (least, most) = values
            .into_iter()
            .filter(|us| us.is_finite())
            .fold(None, |ends: Option<(f64, f64)>, us| {
                let us = us.clamp(LATENCY_LEAST_US, LATENCY_MOST_US);
                Some(ends.map_or((us, us), |(low, high)| (low.min(us), high.max(us))))
            })
            .unwrap_or((1.0, 1_000.0));
        // Half a step of room at both ends: a line on the frame looks cut off.
        let (low, high) = (nice_below(least / 1.2), nice_above(most * 1.2));
        let ticks = (1..=TICKS_MAX as i32)
            .find_map(|sparseness| {
                let ticks = log_ticks(low, high, sparseness);
                (ticks.len() <= TICKS_MAX).then_some(ticks)
            })
            .unwrap_or_default();
        Self {
            bend: |us| us.max(LATENCY_LEAST_US).log10(),
            low: low.log10(),
            high: high.log10(),
            ticks,
        }
    }

    /// Shares of so many answers, each tenth of what is left above as wide as the one before.
    pub(super) fn shares(count: u64) -> Self {
        let bend = |share: f64| -(1.0 - share.clamp(0.0, 1.0 - SHARE_LEAST)).log10();
        let high = bend(last_share(count)).max(1.0);
        // How many nines: 0 is 0 %, 1 is 90 %.
        let nines = |n: i32| {
            let digits = usize::try_from(n - 2).unwrap_or(0);
            let at = 1.0 - 0.1f64.powi(n);
            Tick {
                at,
                label: format!("{:.digits$} %", at * 100.0),
            }
        };
        let mut ticks = vec![Tick {
            at: 0.5,
            label: "50 %".to_owned(),
        }];
        ticks.extend((1..=high.floor() as i32).map(nines));
        ticks.push(nines(0));
        Self {
            bend,
            low: 0.0,
            high,
            ticks,
        }
    }

    /// Where `value` is, from 0 to 1, whatever it is.
    pub(super) fn place(&self, value: f64) -> f64 {
        let place = ((self.bend)(value) - self.low) / (self.high - self.low);
        if place.is_finite() {
            place.clamp(0.0, 1.0)
        } else {
            0.0
        }
    }
}

impl Tick {
    fn new(at: f64, label: fn(f64) -> String) -> Self {
        Self {
            at,
            label: label(at),
        }
    }
}

/// Where the longest of so many stands: in the middle of what is above all others.
pub(super) fn last_share(count: u64) -> f64 {
    1.0 - 0.5 / count.max(1) as f64
}

/// Below a nanosecond nothing is measured, and a logarithm needs something.
const LATENCY_LEAST_US: f64 = 0.001;
/// Thirty years.
const LATENCY_MOST_US: f64 = 1e15;
/// What is counted, or was divided by a time, lies between; beyond, steps would be lost in rounding.
const COUNT_LEAST: f64 = 1e-6;
const COUNT_MOST: f64 = 1e15;
/// As many nines as a double tells apart well.
const SHARE_LEAST: f64 = 1e-12;

/// 1, 2 or 5 of some power of ten, at least `value`.
fn nice_above(value: f64) -> f64 {
    let power = 10f64.powf(value.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0];
    let fits = |step: &f64| step * power >= value * (1.0 - 1e-9);
    steps.into_iter().find(fits).unwrap_or(10.0) * power
}

/// 1, 2 or 5 of some power of ten, at most `value`.
fn nice_below(value: f64) -> f64 {
    let power = 10f64.powf(value.log10().floor());
    let steps = [5.0, 2.0];
    let fits = |step: &f64| step * power <= value * (1.0 + 1e-9);
    steps.into_iter().find(fits).unwrap_or(1.0) * power
}

/// 1, 2 and 5 of each power of ten; with more sparseness only powers, every second power …
fn log_ticks(low: f64, high: f64, sparseness: i32) -> Vec<Tick> {
    let (digits, every): (&[f64], i32) = match sparseness {
        1 => (&[1.0, 2.0, 5.0], 1),
        more => (&[1.0], more - 1),
    };
    let powers = low.log10().floor() as i32..=high.log10().ceil() as i32;
    powers
        .filter(|power| power.rem_euclid(every) == 0)
        .flat_map(|power| digits.iter().map(move |digit| digit * 10f64.powi(power)))
        .filter(|at| (low * 0.999..=high * 1.001).contains(at))
        .map(|at| Tick::new(at, label::latency))
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn labels(scale: &Scale) -> Vec<&str> {
        scale.ticks.iter().map(|tick| tick.label.as_str()).collect()
    }

    #[test]
    fn ticks_are_round_numbers() {
        assert_eq!(
            labels(&Scale::linear(83_210.0)),
            ["0", "20,000", "40,000", "60,000", "80,000", "100,000"]
        );
        assert_eq!(
            labels(&Scale::linear(0.0)),
            ["0", "0.2", "0.4", "0.6", "0.8", "1"]
        );
        assert_eq!(labels(&Scale::seconds(7.0)), ["0", "2", "4", "6"]);
        assert_eq!(
            labels(&Scale::latencies([30.0, 800.0])),
            ["20 µs", "50 µs", "100 µs", "200 µs", "500 µs", "1 ms"]
        );
        assert_eq!(
            labels(&Scale::latencies([10.0, 5e6])),
            ["10 µs", "100 µs", "1 ms", "10 ms", "100 ms", "1 s", "10 s"]
        );
        assert_eq!(
            labels(&Scale::shares(40_000)),
            ["50 %", "90 %", "99 %", "99.9 %", "99.99 %", "0 %"]
        );
    }

    #[test]
    fn an_axis_of_one_value_or_none_is_one_all_the_same() {
        for scale in [
            Scale::latencies([]),
            Scale::latencies([0.0]),
            Scale::latencies([f64::NAN, 7.0]),
            Scale::shares(0),
            Scale::shares(1),
            Scale::linear(f64::NAN),
            // Steps too small or too many to be counted once never ended.
            Scale::linear(5e-324),
            Scale::linear(f64::MAX),
            Scale::latencies([1.0, f64::MAX]),
        ] {
            assert!(scale.ticks.len() >= 2, "{scale:?}");
            for tick in &scale.ticks {
                assert!((0.0..=1.0).contains(&scale.place(tick.at)), "{scale:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn whatever_comes_has_a_place(
            values in prop::collection::vec(any::<f64>(), 0..20),
            count in any::<u64>(),
            other in any::<f64>(),
        ) {
            let scales = [
                Scale::linear(other),
                Scale::latencies(values.iter().copied()),
                Scale::shares(count),
            ];
            for scale in &scales {
                for value in values.iter().chain([&other, &0.0, &1.0]) {
                    prop_assert!((0.0..=1.0).contains(&scale.place(*value)));
                }
            }
        }

        #[test]
        fn latencies_are_between_the_ends_and_have_numbers(
            low in 0.001f64..1e9,
            times in 1.0f64..1e6,
        ) {
            let scale = Scale::latencies([low, low * times]);
            prop_assert!(scale.place(low) > 0.0 && scale.place(low * times) < 1.0);
            prop_assert!((2..=TICKS_MAX).contains(&scale.ticks.len()), "{scale:?}");
            prop_assert!(scale.place(low) <= scale.place(low * times));
        }

        #[test]
        fn a_count_reaches_the_last_step(high in 1e-5f64..1e15) {
            let scale = Scale::linear(high);
            prop_assert!(scale.place(high) > 0.66, "{scale:?}");
            prop_assert!((3..=TICKS_MAX).contains(&scale.ticks.len()), "{scale:?}");
        }
    }
}
