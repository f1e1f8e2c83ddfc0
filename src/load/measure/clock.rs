//! The stopwatch of a run: the only place in `load` that reads the time.

use std::time::{Duration, Instant};

use rustix::event::{Timespec, poll};

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
        nanos(self.origin.elapsed())
    }
}

/// A duration as the stopwatch counts: the greatest number there is for one that does not fit.
pub fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Waits for so long, or until a signal comes.
pub(crate) fn rest(time: Duration) {
    // A signal ends it early; nothing else can go wrong.
    let _ = poll(&mut [], Timespec::try_from(time).ok().as_ref());
}
