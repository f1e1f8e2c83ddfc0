use super::os::Readiness;

/// What is known of the bytes that the kernel holds for us: readiness is remembered until the
/// socket disproves it.
///
/// ```text
///            ┌──────────────── an edge ────────────────┐
///            v                                         │
/// accept ─> Perhaps ── a short read, or WouldBlock ─> Nothing
///            │ FIN or urgent data seen                 ^
///            ├──> Beyond ─────── WouldBlock ───────────┘
///            │ hang-up seen     │
///            └──> Last <────────┘          Perhaps, Beyond ── 0 read ──> End
///                   └── 0 read ──> Gone
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Incoming {
    /// Nothing: the last read proved it.
    Nothing,
    /// There may be something. A short read proves that nothing follows.
    Perhaps,
    /// There may be something, and a short read proves nothing: a FIN, or the mark of urgent
    /// data, may be what made it short.
    Beyond,
    /// The peer hung up: what it sent before can be read, but it will read no answer.
    Last,
    /// The end was read.
    End,
    /// The end was read, and the peer will read no answer.
    Gone,
}

impl Incoming {
    /// Whether a read may bring something.
    pub(super) fn may_have_more(self) -> bool {
        matches!(self, Incoming::Perhaps | Incoming::Beyond | Incoming::Last)
    }

    /// Whether the end was read.
    pub(super) fn has_ended(self) -> bool {
        matches!(self, Incoming::End | Incoming::Gone)
    }

    /// Whether the peer hung up, and will read no answer.
    pub(super) fn peer_gone(self) -> bool {
        matches!(self, Incoming::Last | Incoming::Gone)
    }

    pub(super) fn after_edge(self, seen: Readiness) -> Incoming {
        match self {
            Incoming::End | Incoming::Gone if seen.hung_up => Incoming::Gone,
            Incoming::End | Incoming::Gone | Incoming::Last => self,
            _ if seen.hung_up => Incoming::Last,
            _ if seen.read_closed || seen.urgent => Incoming::Beyond,
            Incoming::Nothing if seen.readable => Incoming::Perhaps,
            _ => self,
        }
    }

    pub(super) fn after_read(self, n: usize, room: usize) -> Incoming {
        match self {
            Incoming::Last if n == 0 => Incoming::Gone,
            _ if n == 0 => Incoming::End,
            Incoming::Perhaps if n < room => Incoming::Nothing,
            _ => self,
        }
    }
}
