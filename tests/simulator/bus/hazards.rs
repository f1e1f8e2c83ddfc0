//! What may befall servers that share a bus: each is counted where it happens, and a run of enough seeds in which one
//! never did fails.

use std::fmt;

/// Something that happens to a bus, or that comes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[rustfmt::skip]
pub(crate) enum Hazard {
    // A connection to the bus.
    DialRefused, DialUnanswered, Cut, CutInAFrame, CutInACommand, HalfOpen, Torn, AwayForLong,
    // What is said on it, or not.
    LameDuck, SlowConsumer, StaleConnection, NotAuthorized, TooManyConnections, NotPermitted, BusPings,
    // What JetStream answers.
    Unacknowledged, AnswerLost, AnswerOvertaken, NameInUse, NoResources, StreamFull, Duplicate,
    // Who leads.
    NoLeader, OtherLeader, LeaderBehind, OtherLeaderBehind, KeptUntold,
    // What it delivers.
    ConsumerGone, DeliveryLost, DeliveredAgain, FlowControl, Stalled,
    // Names.
    LeaseOver, NameTaken, NameRefused, NameContended, NameLost, NameUnsure, NameNotNow,
    // The servers.
    Killed, Stopped, StartedAgain, Reloaded, Relisted, Unlisted,
    // The people.
    Alone, Together, ToldLost, Private, NobodyCalled, Who, Removed, RemovedAfar, Banned, Unread, LinesDropped, TooSlow,
}

use Hazard as H;

/// Every one of them, in order.
#[rustfmt::skip]
const ALL: [Hazard; 57] = [
    H::DialRefused, H::DialUnanswered, H::Cut, H::CutInAFrame, H::CutInACommand, H::HalfOpen, H::Torn, H::AwayForLong,
    H::LameDuck, H::SlowConsumer, H::StaleConnection, H::NotAuthorized, H::TooManyConnections, H::NotPermitted, H::BusPings,
    H::Unacknowledged, H::AnswerLost, H::AnswerOvertaken, H::NameInUse, H::NoResources, H::StreamFull, H::Duplicate,
    H::NoLeader, H::OtherLeader, H::LeaderBehind, H::OtherLeaderBehind, H::KeptUntold,
    H::ConsumerGone, H::DeliveryLost, H::DeliveredAgain, H::FlowControl, H::Stalled,
    H::LeaseOver, H::NameTaken, H::NameRefused, H::NameContended, H::NameLost, H::NameUnsure, H::NameNotNow,
    H::Killed, H::Stopped, H::StartedAgain, H::Reloaded, H::Relisted, H::Unlisted,
    H::Alone, H::Together, H::ToldLost, H::Private, H::NobodyCalled, H::Who, H::Removed, H::RemovedAfar, H::Banned,
    H::Unread, H::LinesDropped, H::TooSlow,
];

/// How often each of them happened.
#[derive(Debug, Clone)]
pub(crate) struct Hazards([u64; ALL.len()]);

impl Default for Hazards {
    fn default() -> Hazards {
        Hazards([0; ALL.len()])
    }
}

impl Hazards {
    pub(crate) fn count(&mut self, hazard: Hazard) {
        self.0[hazard as usize] += 1;
    }

    pub(crate) fn add(&mut self, other: &Hazards) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine += theirs;
        }
    }

    /// Those that never happened.
    pub(crate) fn missing(&self) -> Vec<Hazard> {
        let all = ALL.into_iter().zip(self.0);
        all.filter(|(_, times)| *times == 0)
            .map(|(hazard, _)| hazard)
            .collect()
    }
}

impl fmt::Display for Hazards {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (hazard, times) in ALL.into_iter().zip(self.0) {
            writeln!(f, "{times:12} {hazard:?}")?;
        }
        Ok(())
    }
}
