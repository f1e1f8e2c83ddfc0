use std::time::Duration;

/// A point on the loop's own clock: nanoseconds since it began, monotonic.
///
/// The loop looks at the clock once a turn and hands the result around; nothing else reads it.
/// Arithmetic saturates, so that a deadline "beyond the end of time" is never.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Moment(u64);

impl Moment {
    /// The beginning.
    pub const START: Moment = Moment(0);
    /// Later than every deadline.
    pub const NEVER: Moment = Moment(u64::MAX);

    /// The moment `nanos` nanoseconds after the beginning.
    pub const fn from_nanos(nanos: u64) -> Moment {
        Moment(nanos)
    }

    /// Nanoseconds since the beginning.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Whole seconds since the beginning, up to 136 years.
    pub fn as_secs(self) -> u32 {
        u32::try_from(self.0 / 1_000_000_000).unwrap_or(u32::MAX)
    }

    /// This much later.
    pub fn after(self, wait: Duration) -> Moment {
        let nanos = u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX);
        Moment(self.0.saturating_add(nanos))
    }

    /// Whether it comes at the end of this wait from `now`, or before.
    pub fn is_within(self, now: Moment, wait: Duration) -> bool {
        self <= now.after(wait)
    }

    /// How long it is from `earlier` to here; zero if it is not earlier.
    pub fn since(self, earlier: Moment) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fault_a15_arithmetic_saturates_at_the_end_of_time() {
        let late = Moment::from_nanos(u64::MAX - 1);
        assert_eq!(late.after(Duration::from_secs(1)), Moment::NEVER);
        assert_eq!(Moment::START.after(Duration::MAX), Moment::NEVER);
        assert_eq!(Moment::START.since(late), Duration::ZERO);
        assert_eq!(Moment::NEVER.as_secs(), u32::MAX);
    }
}
