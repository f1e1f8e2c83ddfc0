//! Whether a machine is quiet enough to compare what is measured on it.

use std::fs;
use std::time::Duration;

use rustix::param::clock_ticks_per_second;
use serde::Serialize;

use crate::load::measure::clock::{Stopwatch, nanos, rest};
use crate::load::measure::cpu::idle_of;
use crate::load::measure::figures::{ratio, round};

/// How much of the processors others used while neither the generator nor a server had anything to do.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Looks {
    /// Nanoseconds of all processors in which looks were taken …
    all: u64,
    /// … and in which they were idle.
    idle: u64,
}

/// What looks have found.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Others {
    /// Of the time of all processors, what other processes used before and between rounds.
    pub share: f64,
    /// Processors.
    pub processors: usize,
    /// Processes that ran or were ready to, on average over the last minute (`/proc/loadavg`), those of this measuring
    /// among them.
    pub load_average: f64,
}

/// What the kernel counts of all processors: nanoseconds idle, to a tick, and how many there are.
fn idle() -> Option<(u64, usize)> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    idle_of_all(&stat, clock_ticks_per_second())
}

fn idle_of_all(stat: &str, ticks_per_second: u64) -> Option<(u64, usize)> {
    let idle = idle_of("cpu ", stat, ticks_per_second)?;
    let processors = stat
        .lines()
        .skip(1)
        .take_while(|line| line.starts_with("cpu"))
        .count();
    (processors > 0).then_some((idle, processors))
}

impl Looks {
    /// Looks on for so long; where the kernel does not tell, nothing is seen.
    pub fn look(&mut self, time: Duration) {
        let Some((before, processors)) = idle() else {
            return;
        };
        let watch = Stopwatch::start();
        rest(time);
        let passed = watch.nanos().max(nanos(time));
        if let Some((after, _)) = idle() {
            self.add(passed * processors as u64, after.saturating_sub(before));
        }
    }

    fn add(&mut self, all: u64, idle: u64) {
        self.all += all;
        self.idle += idle;
    }

    /// What was seen; none where nothing was.
    pub fn others(&self) -> Option<Others> {
        let (_, processors) = idle()?;
        let average = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let average = average.split_ascii_whitespace().next();
        (self.all > 0).then(|| Others {
            share: self.share(),
            processors,
            load_average: average.and_then(|text| text.parse().ok()).unwrap_or(0.0),
        })
    }

    fn share(&self) -> f64 {
        // The kernel counts in ticks, which may have begun before: only all looks together are right.
        round((1.0 - ratio(self.idle, self.all.max(1))).max(0.0), 3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_use_is_what_is_not_idle() {
        let stat =
            "cpu  10 20 30 400 50 6 7 0 0 0\ncpu0 1 2 3 200 5 6 7\ncpu1 1 2 3 200 45 6 7\nintr 5\n";
        assert_eq!(idle_of_all(stat, 100), Some((4_500_000_000, 2)));
        assert_eq!(idle_of_all("", 100), None);
        assert_eq!(idle_of_all("cpu  1 2 3 4 5\nintr 5", 100), None);
        let mut looks = Looks::default();
        assert_eq!(looks.others(), None);
        looks.add(400, 410);
        assert_eq!(looks.share(), 0.0);
        looks.add(400, 190);
        assert_eq!(looks.share(), 0.25);
        looks.add(200, 200);
        assert_eq!(looks.share(), 0.2);
    }

    #[test]
    fn this_machine_is_looked_at() {
        let mut looks = Looks::default();
        looks.look(Duration::from_millis(1));
        let others = looks.others().unwrap();
        assert!(
            others.processors > 0 && (0.0..=1.0).contains(&others.share),
            "{others:?}"
        );
    }
}
