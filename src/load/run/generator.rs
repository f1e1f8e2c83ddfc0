//! How busy the generator was, and whether it was the limit.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::load::measure::clock::nanos;
use crate::load::measure::cpu::CpuTime;
use crate::load::measure::figures::{ratio, round};
use crate::load::measure::histogram::{Latencies, Summary};

/// A generator that has less of its time to spare measured itself.
const LIMIT_SHARE: f64 = 0.9;
/// A generator that was on its processor, or waiting for it, for less of the time found it free enough.
const CROWDED_SHARE: f64 = 0.2;
/// The kernel tells idle time so coarsely.
const IDLE_TICK: Duration = Duration::from_millis(10);
/// A schedule that 1 % of many requests (10 % of a few) missed by this much was not kept.
const DELAY_US: f64 = 1_000.0;
const MANY: u64 = 1_000;
/// So much of the time is seen by the 99th percentile.
const PAUSED_SHARE: f64 = 0.01;
/// What is shorter is noise of the machine.
const STALL_US: f64 = 50_000.0;

/// Whether so many began so late that the schedule was not kept.
pub(crate) fn is_delayed(delays: &Summary) -> bool {
    // Of a few hundred, 1 % is one that the machine kept.
    let delay = match delays.count {
        MANY.. => delays.p99,
        10.. => delays.p90,
        _ => delays.max,
    };
    delay >= DELAY_US
}

/// How busy the generator was while measuring; shares of one processor.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Generator {
    /// Time on a processor.
    pub cpu_share: f64,
    /// That, less polling in vain (`--spin`).
    pub busy_share: f64,
    /// Time ready to run while something else had the processor.
    pub queued_share: f64,
    /// How busy the only processor was that it may use, with all processes on it; none where it may use
    /// several. A server on the same processor is asked less the more it does: both wait for each
    /// other in turn, and neither is seen to.
    pub processor_share: Option<f64>,
    /// How long its turns took, from waking to the next wait: what came meanwhile was seen late.
    pub turn_us: Summary,
    /// Open model: how long after its time a request began although a connection was free.
    pub lag_us: Summary,
    /// How often and how long it was away against its will.
    #[serde(default)] // an earlier result does not say
    pub pauses: Pauses,
    /// Whether it or its only processor had no time to spare, or it was away or missed its schedule: then the
    /// figures are its own rather than the server's.
    pub was_the_limit: bool,
}

/// Times in which the generator looked at nothing although it was to, each of 10 ms or more: it was woken later than it had
/// asked to be, or a turn took so long. It was stopped, throttled, or others had its processor. What came meanwhile was
/// seen late, and no stall of the server's is told from it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Pauses {
    /// How many.
    pub count: u64,
    /// All of them together, in microseconds.
    pub total_us: f64,
    /// The longest.
    pub longest_us: f64,
    /// Whether that is so long that figures are more the generator's than the server's: a share of the time that
    /// percentiles show, or once as long as a stall.
    pub are_long: bool,
}

impl Pauses {
    /// One more.
    #[cold]
    pub(crate) fn add(&mut self, from: u64, to: u64) {
        let us = round(to.saturating_sub(from) as f64 / 1e3, 1);
        self.count += 1;
        self.total_us = round(self.total_us + us, 1);
        self.longest_us = self.longest_us.max(us);
    }

    /// The same, judged for a time of so many nanoseconds.
    fn within(self, wall: u64) -> Self {
        let is_share = self.total_us * 1e3 >= wall as f64 * PAUSED_SHARE;
        Self {
            are_long: self.count > 0 && (is_share || self.longest_us >= STALL_US),
            ..self
        }
    }
}

impl Generator {
    /// From nanoseconds of processor, of the clock on the wall, and of polling in vain.
    pub fn new(
        cpu: CpuTime,
        wall: u64,
        spun: u64,
        turns: &Latencies,
        lag: &Latencies,
        pauses: Pauses,
    ) -> Self {
        let share = |nanos: u64| {
            if wall == 0 {
                0.0
            } else {
                ratio(nanos, wall).min(1.0)
            }
        };
        let busy = share(cpu.used.saturating_sub(spun));
        let queued = share(cpu.queued);
        let lag_us = lag.summary();
        // In doubt there was time: a tick that was not over is counted as idle.
        let spare = |idle: u64| share(idle.saturating_add(nanos(IDLE_TICK)).saturating_add(spun));
        let taken = cpu.idle.map(|idle| round(1.0 - spare(idle), 3));
        let mut generator = Self {
            turn_us: turns.summary(),
            lag_us,
            cpu_share: round(share(cpu.used), 3),
            busy_share: round(busy, 3),
            queued_share: round(queued, 3),
            processor_share: taken,
            pauses: pauses.within(wall),
            was_the_limit: false,
        };
        generator.was_the_limit = !generator.has_time()
            || generator.is_crowded()
            || is_delayed(&lag_us)
            || generator.pauses.are_long;
        generator
    }

    /// Whether its only processor was full, and the generator needed its share of it: other processes on a
    /// processor that the generator hardly uses do not hold it up.
    pub(crate) fn is_crowded(&self) -> bool {
        let taken = self.processor_share.unwrap_or(0.0);
        taken >= LIMIT_SHARE && self.wanted_share() >= CROWDED_SHARE
    }

    /// Whether it had time to spare.
    pub(crate) fn has_time(&self) -> bool {
        self.wanted_share() < LIMIT_SHARE
    }

    /// Time on its processor, or ready for it. Rounded as both are: 0.7 and 0.2 are a little less than 0.9.
    fn wanted_share(&self) -> f64 {
        round(self.busy_share + self.queued_share, 3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generator_that_waited_for_its_processor_was_the_limit() {
        let wall = 1_000_000_000;
        let used = |used, queued| CpuTime {
            used,
            queued,
            idle: None,
        };
        let none = Latencies::new();
        let limit = |cpu, spun| {
            Generator::new(cpu, wall, spun, &none, &none, Pauses::default()).was_the_limit
        };
        assert!(limit(used(wall, 0), 0));
        assert!(limit(used(wall / 2, wall / 2), 0));
        assert!(!limit(used(wall / 2, 0), 0));
        assert!(!limit(used(wall, 0), wall / 2));
        let mut late = Latencies::new();
        late.record(2_000_000, 1);
        assert!(Generator::new(used(0, 0), wall, 0, &none, &late, Pauses::default()).was_the_limit);
    }

    #[test]
    fn a_generator_whose_only_processor_the_server_needed_too_was_the_limit() {
        let none = Latencies::new();
        let limit = |used, idle, wall, spun| {
            let cpu = CpuTime {
                used,
                queued: 0,
                idle,
            };
            Generator::new(cpu, wall, spun, &none, &none, Pauses::default()).was_the_limit
        };
        let (wall, ms) = (1_000_000_000, 1_000_000);
        assert!(limit(wall / 2, Some(0), wall, 0));
        assert!(limit(wall / 2, Some(80 * ms), wall, 0));
        assert!(!limit(wall / 2, Some(100 * ms), wall, 0));
        // Others filled it, and made way.
        let polite = CpuTime {
            used: wall / 50,
            queued: wall / 50,
            idle: Some(0),
        };
        assert!(!Generator::new(polite, wall, 0, &none, &none, Pauses::default()).was_the_limit);
        // It may use another one, or that is not known.
        assert!(!limit(wall / 2, None, wall, 0));
        // The time was too short to tell an idle processor from a busy one.
        assert!(!limit(ms, Some(0), 50 * ms, 0));
        // It polls in vain, and so its processor is never idle.
        assert!(!limit(wall, Some(0), wall, wall / 2));
    }

    #[test]
    fn a_generator_at_exactly_the_limit_was_the_limit() {
        let none = Latencies::new();
        let wall = 1_000_000_000;
        let cpu = |used, queued, idle| CpuTime { used, queued, idle };
        let of = |cpu| Generator::new(cpu, wall, 0, &none, &none, Pauses::default());
        // In thousandths: whatever 0.7 and 0.2 are together.
        for busy in (0..=900).step_by(10) {
            let (used, queued) = (busy * 1_000_000, (900 - busy) * 1_000_000);
            assert!(of(cpu(used, queued, None)).was_the_limit, "{busy}");
        }
        assert!(!of(cpu(699_000_000, 200_000_000, None)).was_the_limit);
        for busy in (0..=200).step_by(10) {
            let (used, queued) = (busy * 1_000_000, (200 - busy) * 1_000_000);
            assert!(of(cpu(used, queued, Some(0))).is_crowded(), "{busy}");
        }
        assert!(!of(cpu(100_000_000, 99_000_000, Some(0))).is_crowded());
        // A tick of idle time that was not over, and 90 ms that were.
        assert!(of(cpu(200_000_000, 0, Some(90_000_000))).is_crowded());
        assert!(!of(cpu(200_000_000, 0, Some(91_000_000))).is_crowded());
    }

    #[test]
    fn a_schedule_is_missed_where_exactly_too_many_were_late() {
        let missed = |late: u64, on_time: u64, nanos: u64| {
            let (none, mut lag) = (Latencies::new(), Latencies::new());
            lag.record(nanos, late);
            lag.record(10, on_time);
            Generator::new(CpuTime::default(), 1_000, 0, &none, &lag, Pauses::default())
                .was_the_limit
        };
        // One of a thousand, or ten, is the machine's; with the eleventh it is 1 %.
        assert!(!missed(10, 990, 2_000_000) && missed(11, 989, 2_000_000));
        // Of fewer it takes a tenth.
        assert!(!missed(11, 988, 2_000_000));
        assert!(!missed(10, 90, 2_000_000) && missed(11, 89, 2_000_000));
        // By a millisecond, and no less.
        assert!(missed(100, 0, 1_000_000) && !missed(100, 0, 998_000));
    }

    #[test]
    fn a_generator_that_was_away_for_long_was_the_limit() {
        let none = Latencies::new();
        let limit = |pauses: &[u64], wall| {
            let mut all = Pauses::default();
            pauses.iter().for_each(|pause| all.add(7, 7 + pause));
            Generator::new(CpuTime::default(), wall, 0, &none, &none, all).was_the_limit
        };
        let ms = 1_000_000;
        // A hundredth of the time, or once as long as a stall.
        assert!(!limit(&[], 0) && !limit(&[], 1_000 * ms));
        assert!(limit(&[10 * ms], 1_000 * ms) && !limit(&[10 * ms], 1_001 * ms));
        assert!(limit(&[10 * ms; 3], 3_000 * ms) && !limit(&[10 * ms; 3], 3_001 * ms));
        assert!(limit(&[50 * ms], 60_000 * ms) && !limit(&[49 * ms], 60_000 * ms));
    }
}
