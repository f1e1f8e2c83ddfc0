//! Occasions that seeds must meet, besides the pairs of the table: each is counted where it happens, and a run
//! in which one never did fails.

/// What may happen in a world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Occasion {
    /// A listener got other options, and no connection was on it.
    Replaced,
    /// The same, with connections on it.
    ReplacedInUse,
    /// The same, behind a gate.
    ReplacedInUseGated,
    /// A listener got another service, with connections on it.
    ServiceReplacedInUse,
    /// The same, behind a gate.
    ServiceReplacedInUseGated,
    /// A listener retired with connections on it, and clients went to another.
    RetiredInUse,
    /// The same, behind a gate.
    RetiredInUseGated,
    /// A listener retired with connections in its queue.
    RetiredWithQueue,
    /// The secrets of a gate changed, and nothing else.
    SecretsAlone,
    /// The same, with connections that were inside.
    SecretsAloneInside,
    /// Limits changed, with no connection there.
    LimitsChanged,
    /// The same, with some.
    LimitsChangedInUse,
    /// Lines were dropped that a member of a chat did not read.
    LinesDropped,
    /// A client proved a secret that was good before.
    OldSecret,
    /// A client from off loopback failed to prove one.
    Failed,
    /// A source that had failed so often was refused for it.
    Penalised,
    /// One from loopback that had failed as often was not.
    Spared,
    /// One that had been refused was let in when its penalty had run down.
    Forgiven,
    /// As many had not logged in as may.
    LoginsFull,
    /// A turn took as many steps of handshakes as it may.
    HandshakesInFull,
    /// A client passed a gate through a tunnel.
    InsideTunnel,
    /// The same, from off loopback.
    InsideTunnelFromAfar,
    /// The command of a broadcast began, when its listener opened.
    BroadcastBegan,
    /// It ended, and began again.
    BroadcastBeganAgain,
    /// A reader heard it from its beginning again.
    ReaderHeardAgain,
    /// A reader heard the end of one that is not started again.
    ReaderHeardTheEnd,
    /// A reader that did not keep up was let go.
    ReaderLetGo,
    /// A listener of readers retired with readers on it.
    ReadersRetired,
    /// A broadcast whose listeners and readers had gone was asked to end.
    BroadcastAskedToEnd,
    /// It did not, and was killed.
    BroadcastKilled,
    /// Another process was sent the listeners, which are served on.
    HandedOver,
    /// They were let go of for it.
    Released,
    /// The same, with connections in the queue of one, which are the other's to serve.
    ReleasedWithQueue,
    /// The same, with connections that went on.
    ReleasedInUse,
    /// It was gone before that, and another or none asked.
    TakerGone,
}

/// Every one, in order.
pub(crate) const OCCASIONS: [Occasion; 35] = [
    Occasion::Replaced,
    Occasion::ReplacedInUse,
    Occasion::ReplacedInUseGated,
    Occasion::ServiceReplacedInUse,
    Occasion::ServiceReplacedInUseGated,
    Occasion::RetiredInUse,
    Occasion::RetiredInUseGated,
    Occasion::RetiredWithQueue,
    Occasion::SecretsAlone,
    Occasion::SecretsAloneInside,
    Occasion::LimitsChanged,
    Occasion::LimitsChangedInUse,
    Occasion::LinesDropped,
    Occasion::OldSecret,
    Occasion::Failed,
    Occasion::Penalised,
    Occasion::Spared,
    Occasion::Forgiven,
    Occasion::LoginsFull,
    Occasion::HandshakesInFull,
    Occasion::InsideTunnel,
    Occasion::InsideTunnelFromAfar,
    Occasion::BroadcastBegan,
    Occasion::BroadcastBeganAgain,
    Occasion::ReaderHeardAgain,
    Occasion::ReaderHeardTheEnd,
    Occasion::ReaderLetGo,
    Occasion::ReadersRetired,
    Occasion::BroadcastAskedToEnd,
    Occasion::BroadcastKilled,
    Occasion::HandedOver,
    Occasion::Released,
    Occasion::ReleasedWithQueue,
    Occasion::ReleasedInUse,
    Occasion::TakerGone,
];

/// How often each was met.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Occasions([u64; OCCASIONS.len()]);

impl Default for Occasions {
    fn default() -> Occasions {
        Occasions([0; OCCASIONS.len()])
    }
}

impl Occasions {
    pub(crate) fn note(&mut self, occasion: Occasion) {
        self.0[occasion as usize] += 1;
    }

    pub(crate) fn add(&mut self, other: &Occasions) {
        for (mine, theirs) in self.0.iter_mut().zip(&other.0) {
            *mine += theirs;
        }
    }

    pub(crate) fn each(&self) -> impl Iterator<Item = (Occasion, u64)> {
        OCCASIONS.into_iter().zip(self.0)
    }
}
