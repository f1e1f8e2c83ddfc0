//! The only place of this folder that looks at a clock.

use std::fs;
use std::time::Instant;

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds since a run began.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch {
    origin: Instant,
}

impl Stopwatch {
    /// Starts at zero.
    #[expect(
        clippy::disallowed_methods,
        reason = "the load generator measures: its stopwatch is the one place that reads the clock"
    )]
    pub fn start() -> Self {
        Self {
            origin: Instant::now(),
        }
    }

    /// Nanoseconds since the start; 584 years fit.
    pub fn nanos(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// What this thread has used and missed of a CPU, in nanoseconds since it began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CpuTime {
    /// Time on a CPU.
    pub used: u64,
    /// Time ready to run while something else had the CPU; zero where the kernel does not tell.
    pub queued: u64,
}

impl CpuTime {
    /// As of now, for the calling thread.
    pub fn now() -> Self {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
        let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
        let queued = fs::read_to_string("/proc/thread-self/schedstat")
            .ok()
            .and_then(|line| line.split_ascii_whitespace().nth(1)?.parse().ok())
            .unwrap_or(0);
        Self {
            used: seconds * 1_000_000_000 + nanos,
            queued,
        }
    }

    /// What was used and missed since `earlier`.
    pub fn since(self, earlier: Self) -> Self {
        Self {
            used: self.used.saturating_sub(earlier.used),
            queued: self.queued.saturating_sub(earlier.queued),
        }
    }
}
