//! When a call must be over, and the only place of this folder that looks at a clock.

use std::time::{Duration, Instant};

/// The end of one operation, however many system calls it takes.
#[derive(Debug, Clone, Copy)]
pub(super) struct CallDeadline(Instant);

impl CallDeadline {
    /// `after` from now; none when that is later than any clock can say.
    #[expect(
        clippy::disallowed_methods,
        reason = "a socket for study has no loop that could tell it the time"
    )]
    pub(super) fn after(after: Duration) -> Option<Self> {
        Instant::now().checked_add(after).map(Self)
    }

    /// What is left; none when it has passed.
    #[expect(
        clippy::disallowed_methods,
        reason = "a socket for study has no loop that could tell it the time"
    )]
    pub(super) fn left(self) -> Option<Duration> {
        self.0.checked_duration_since(Instant::now())
    }
}
