use crate::config::limits::COMMAND_KILL_GRACE;
use crate::turn::{Moment, Severity, Turn};

/// How far a command is, and until when it may go on.
///
/// ```text
/// Waiting ──begin──> Running ──ask: TERM──> Asked ──grace: KILL──> Forced
///                       └─────────────── force: KILL ────────────────^
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    /// For others to end; this time is not counted.
    Waiting,
    /// It may run until then.
    Running(Moment),
    /// It was asked to end, and has until then.
    Asked(Moment),
    /// It was ended.
    Forced,
}

impl Pace {
    /// It runs, and may until then.
    pub(super) fn begin(&mut self, t: &mut Turn<'_>, until: Moment) {
        *self = Pace::Running(until);
        t.wake_at(until);
    }

    /// A moment that was asked for has come; says whether it is the one until which it might run.
    pub(super) fn wake(&mut self, t: &mut Turn<'_>) -> bool {
        match *self {
            Pace::Running(until) if until <= t.now => {
                self.ask(t);
                return true;
            }
            Pace::Asked(until) if until <= t.now => self.force(t),
            Pace::Running(until) | Pace::Asked(until) => t.wake_at(until),
            Pace::Waiting | Pace::Forced => {}
        }
        false
    }

    /// It is to end, and may clean up.
    pub(super) fn ask(&mut self, t: &mut Turn<'_>) {
        let grace = t.now.after(COMMAND_KILL_GRACE);
        *self = Pace::Asked(grace);
        t.kill(Severity::Ask);
        t.wake_at(grace);
    }

    /// It ends now.
    pub(super) fn force(&mut self, t: &mut Turn<'_>) {
        *self = Pace::Forced;
        t.kill(Severity::Force);
        t.wake_at(Moment::NEVER);
    }
}
