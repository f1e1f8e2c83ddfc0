use std::time::Duration;

use crate::config::limits::{ATTENDANT_RETRY, ATTENDANT_RETRY_MAX};
use crate::turn::Moment;

/// A child that runs for as long as the loop does: when it ends, another is started after a wait that grows as long as
/// that happens again.
#[derive(Debug, Clone)]
pub struct Attendant {
    runs: bool,
    since: Moment,
    /// When it is started, if it does not run.
    starts_at: Moment,
    /// How long the next one is waited with.
    wait: Duration,
}

impl Attendant {
    /// One that is to be started now.
    pub fn new(now: Moment) -> Attendant {
        Attendant {
            runs: false,
            since: now,
            starts_at: now,
            wait: ATTENDANT_RETRY,
        }
    }

    /// When it is to be started, if it does not run.
    pub fn due(&self) -> Option<Moment> {
        (!self.runs).then_some(self.starts_at)
    }

    /// It is not waited with any longer.
    pub fn hurry(&mut self, now: Moment) {
        self.starts_at = now;
    }

    /// It was started.
    pub fn started(&mut self, now: Moment) {
        (self.runs, self.since) = (true, now);
    }

    /// It has ended, or could not be started. Says how long the next one is waited with.
    pub fn failed(&mut self, now: Moment) -> Duration {
        if self.runs && now.since(self.since) >= ATTENDANT_RETRY_MAX {
            self.wait = ATTENDANT_RETRY;
        }
        self.runs = false;
        let wait = self.wait;
        self.starts_at = now.after(wait);
        self.wait = (2 * wait).min(ATTENDANT_RETRY_MAX);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_goes_on_ending_is_waited_with_longer_and_longer() {
        let mut now = Moment::START;
        let mut attendant = Attendant::new(now);
        assert_eq!(attendant.due(), Some(now));
        let mut waits = Vec::new();
        for _ in 0..12 {
            attendant.started(now);
            assert_eq!(attendant.due(), None);
            waits.push(attendant.failed(now));
            now = attendant.due().unwrap();
        }
        assert_eq!(waits[..3], [100, 200, 400].map(Duration::from_millis));
        assert_eq!(waits[11], ATTENDANT_RETRY_MAX);
        // One that ran for long is started at once when it ends.
        attendant.started(now);
        assert_eq!(
            attendant.failed(now.after(ATTENDANT_RETRY_MAX)),
            ATTENDANT_RETRY
        );
    }
}
