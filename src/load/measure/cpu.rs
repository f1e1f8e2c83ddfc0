//! What the generator's thread used of its processor.

use std::fs;

use rustix::param::clock_ticks_per_second;
use rustix::time::{ClockId, clock_gettime};

/// What this thread has used and missed of a CPU, in nanoseconds since it began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CpuTime {
    /// Time on a CPU.
    pub used: u64,
    /// Time ready to run while something else had the CPU; zero where the kernel does not tell.
    pub queued: u64,
    /// Time that its CPU had nothing to do, since the machine started and to 10 ms; none where it may
    /// use several, or the kernel does not tell.
    pub idle: Option<u64>,
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
            idle: idle(),
        }
    }

    /// What was used and missed since `earlier`.
    pub fn since(self, earlier: Self) -> Self {
        Self {
            used: self.used.saturating_sub(earlier.used),
            queued: self.queued.saturating_sub(earlier.queued),
            idle: self
                .idle
                .zip(earlier.idle)
                .map(|(now, then)| now.saturating_sub(then)),
        }
    }
}

/// What the only CPU that this thread may use has idled.
fn idle() -> Option<u64> {
    let status = fs::read_to_string("/proc/thread-self/status").ok()?;
    let allowed = |line: &str| Some(line.strip_prefix("Cpus_allowed_list:")?.trim().to_owned());
    let cpu: u32 = status.lines().find_map(allowed)?.parse().ok()?;
    let stat = fs::read_to_string("/proc/stat").ok()?;
    idle_of(&format!("cpu{cpu} "), &stat, clock_ticks_per_second())
}

/// Nanoseconds, to a tick, that `/proc/stat` says this line's processor was idle.
pub(crate) fn idle_of(line: &str, stat: &str, ticks_per_second: u64) -> Option<u64> {
    let times = stat.lines().find_map(|one| one.strip_prefix(line))?;
    // user nice system idle iowait …
    let ticks = times.split_ascii_whitespace().skip(3).take(2);
    let ticks: u64 = ticks.map(|ticks| ticks.parse().unwrap_or(0)).sum();
    Some(ticks * (1_000_000_000 / ticks_per_second.max(1)))
}
