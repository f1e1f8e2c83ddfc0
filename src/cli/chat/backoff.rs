use std::time::Duration;

use crate::config::random_bytes;

/// The longest wait.
const LONGEST: Duration = Duration::from_secs(30);

/// How long to wait before something is tried again: twice as long each time, and not as long as others who lost the
/// same server.
#[derive(Debug, Clone, Copy)]
pub(super) struct Backoff {
    first: Duration,
    next: Duration,
}

impl Backoff {
    pub(super) fn new(first: Duration) -> Backoff {
        Backoff { first, next: first }
    }

    /// It went well.
    pub(super) fn reset(&mut self) {
        self.next = self.first;
    }

    /// How long to wait now: between half of the wait and all of it.
    pub(super) fn next(&mut self) -> Duration {
        let wait = self.next.min(LONGEST);
        self.next = wait.saturating_mul(2);
        // Without randomness there is no jitter, which is no reason to fail.
        let part = random_bytes::<1>().map_or(255, |[byte]| byte);
        wait / 2 + wait / 2 * u32::from(part) / 255
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_limit_and_none_is_longer_or_less_than_half() {
        let mut backoff = Backoff::new(Duration::from_secs(1));
        for seconds in [1, 2, 4, 8, 16, 30, 30, 30] {
            let (wait, most) = (backoff.next(), Duration::from_secs(seconds));
            assert!(wait <= most && wait >= most / 2, "{wait:?} of {most:?}");
        }
        backoff.reset();
        assert!(backoff.next() <= Duration::from_secs(1));
    }
}
