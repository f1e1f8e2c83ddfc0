//! Whether the bus is there, as those who are here are told.

use std::time::Duration;

use crate::turn::Moment;

/// How long the bus may be away before those who are here are told that they are alone: a cluster of NATS takes up to nine
/// seconds to elect a leader, and until then it only seems to be away.
const PATIENCE: Duration = Duration::from_secs(20);

/// ```text
/// New ──is looked for─┐
///                     v
/// Here ──is lost──> Away ──for too long──> Alone
///  ^                 │                       │
///  └─────────────────┴──── is ready again ───┘
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Presence {
    /// It was never looked for.
    New,
    /// What is said comes back.
    Here,
    /// It does not since this moment, and nobody was told.
    Away(Moment),
    /// Those who are here hear each other alone, and know it.
    Alone,
}

impl Presence {
    /// When they are to be told.
    pub(super) fn due(self) -> Moment {
        match self {
            Presence::Away(since) => since.after(PATIENCE),
            Presence::New | Presence::Here | Presence::Alone => Moment::NEVER,
        }
    }

    /// It is looked for.
    pub(super) fn seek(&mut self, now: Moment) {
        if *self == Presence::New {
            *self = Presence::Away(now);
        }
    }

    /// It is lost, unless it was before.
    pub(super) fn end(&mut self, now: Moment) {
        if *self == Presence::Here {
            *self = Presence::Away(now);
        }
    }

    /// Whether they are to be told now: once.
    pub(super) fn expire(&mut self, now: Moment) -> bool {
        let is_over = self.due() <= now;
        if is_over {
            *self = Presence::Alone;
        }
        is_over
    }

    /// It is ready. Whether they were told that it was away.
    pub(super) fn begin(&mut self) -> bool {
        std::mem::replace(self, Presence::Here) == Presence::Alone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_who_are_here_are_told_once_and_not_of_a_short_absence() {
        let mut presence = Presence::New;
        // Nobody waits for what was not looked for.
        let first = Moment::START.after(10 * PATIENCE);
        assert!(!presence.expire(first));
        presence.seek(first);
        presence.seek(first.after(PATIENCE));
        assert_eq!(presence.due(), first.after(PATIENCE));
        assert!(!presence.begin());
        assert_eq!(presence.due(), Moment::NEVER);
        let lost = Moment::START.after(Duration::from_secs(100));
        presence.end(lost);
        // Lost once more, before it was ready: it has been away since the first time.
        presence.end(lost.after(PATIENCE / 2));
        assert_eq!(presence.due(), lost.after(PATIENCE));
        assert!(!presence.expire(lost.after(PATIENCE / 2)));
        assert!(presence.expire(lost.after(PATIENCE)));
        assert!(!presence.expire(lost.after(2 * PATIENCE)));
        presence.end(lost.after(2 * PATIENCE));
        assert_eq!(presence, Presence::Alone);
        assert!(presence.begin() && !presence.begin());
    }
}
