//! One deadline for a whole operation, and the only place of this folder that looks at a clock.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

/// When an operation must be over, however many system calls it takes.
#[derive(Debug, Clone, Copy)]
pub(super) struct RequestDeadline {
    began: Instant,
    after: Duration,
}

impl RequestDeadline {
    /// Begins now.
    #[expect(
        clippy::disallowed_methods,
        reason = "a blocking client has no loop that could tell it the time"
    )]
    pub(super) fn after(after: Duration) -> Self {
        let began = Instant::now();
        Self { began, after }
    }

    /// How long it has been.
    pub(super) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// How long was given.
    pub(super) fn given(&self) -> Duration {
        self.after
    }

    /// What is left; none when it has passed. Never zero, which sockets take for "no timeout".
    pub(super) fn left(&self) -> Option<Duration> {
        self.after
            .checked_sub(self.elapsed())
            .filter(|left| !left.is_zero())
    }

    /// What is left, at most `most`; in the socket's own resolution.
    pub(super) fn left_up_to(&self, most: Duration) -> Option<Duration> {
        Some(self.left()?.min(most).max(Duration::from_micros(1)))
    }
}

/// Errors that only mean "not yet": whether there is still time is the deadline's to say.
pub(super) fn is_patience(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::Interrupted | ErrorKind::WouldBlock | ErrorKind::TimedOut
    )
}
