use std::time::Duration;

use crate::turn::Moment;

/// How many lines may be said at once: a pasted paragraph.
pub const LINES_AT_ONCE: u32 = 20;

/// How often after that: faster than anybody types, slower than anybody floods.
pub const LINE_EVERY: Duration = Duration::from_millis(100);

/// How much a member has said lately: a bucket of [`LINES_AT_ONCE`], refilled once every
/// [`LINE_EVERY`].
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Pace {
    /// When the bucket is full again.
    full: Moment,
}

impl Pace {
    /// Until when nothing more may be said, if that is later than now.
    pub(super) fn held_until(&self, now: Moment) -> Option<Moment> {
        let owed = self.full.since(now);
        let wait = owed.checked_sub(LINE_EVERY * (LINES_AT_ONCE - 1))?;
        (!wait.is_zero()).then(|| now.after(wait))
    }

    /// A line was said.
    pub(super) fn spend(&mut self, now: Moment) {
        self.full = self.full.max(now).after(LINE_EVERY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twenty_at_once_and_ten_a_second_after_that() {
        let mut pace = Pace::default();
        let mut now = Moment::from_nanos(5);
        let mut said = 0;
        let end = now.after(Duration::from_secs(3));
        while now <= end {
            match pace.held_until(now) {
                Some(until) => now = until,
                None => {
                    pace.spend(now);
                    said += 1;
                }
            }
        }
        assert_eq!(said, 20 + 30);
        now = now.after(Duration::from_secs(60));
        for _ in 0..LINES_AT_ONCE {
            assert_eq!(pace.held_until(now), None);
            pace.spend(now);
        }
        assert_eq!(pace.held_until(now), Some(now.after(LINE_EVERY)));
    }
}
