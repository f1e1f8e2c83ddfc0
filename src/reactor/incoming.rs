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
///
/// Perhaps, Beyond, Last ── the end was read in a message ──> Over ── 0 read ──> End
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
    /// The end was read in a message of the session; the kernel may hold more, and none of it is input.
    Over,
    /// The end was read.
    End,
    /// The end was read, and the peer will read no answer.
    Gone,
}

impl Incoming {
    /// Whether a read may bring something.
    pub(super) fn may_have_more(self) -> bool {
        matches!(
            self,
            Incoming::Perhaps | Incoming::Beyond | Incoming::Last | Incoming::Over
        )
    }

    /// Whether the end was read.
    pub(super) fn has_ended(self) -> bool {
        matches!(self, Incoming::End | Incoming::Gone | Incoming::Over)
    }

    /// Whether the peer hung up, and will read no answer.
    pub(super) fn peer_gone(self) -> bool {
        matches!(self, Incoming::Last | Incoming::Gone)
    }

    pub(super) fn after_edge(self, seen: Readiness) -> Incoming {
        match self {
            Incoming::End | Incoming::Gone | Incoming::Over if seen.hung_up => Incoming::Gone,
            Incoming::End | Incoming::Gone | Incoming::Over | Incoming::Last => self,
            _ if seen.hung_up => Incoming::Last,
            _ if seen.read_closed || seen.urgent => Incoming::Beyond,
            Incoming::Nothing if seen.readable => Incoming::Perhaps,
            _ => self,
        }
    }

    /// A message of the session said that nothing more will come.
    pub(super) fn after_bye(self) -> Incoming {
        if self == Incoming::Last {
            Incoming::Gone
        } else {
            Incoming::Over
        }
    }

    /// What the kernel may hold, when none of it is input any more.
    pub(super) fn of_kernel(self) -> Incoming {
        if self == Incoming::Over {
            Incoming::Beyond
        } else {
            self
        }
    }

    /// Something that was read is still to be looked at: no edge will tell of it.
    pub(super) fn with_more(self) -> Incoming {
        if self == Incoming::Nothing {
            Incoming::Perhaps
        } else {
            self
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
