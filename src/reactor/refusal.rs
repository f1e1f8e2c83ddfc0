/// Why a connection was not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    Full,
    ListenerFull,
    LoginsFull,
    OtherUser,
    /// Its address is not among those that are served.
    Denied,
    /// Its source has failed to log in too often.
    Penalised,
    /// Its source has as many connections as it may.
    SourceFull,
    /// Its source connects faster than it may.
    SourceTooFast,
}

impl Refusal {
    /// The reason in a word, by which it is counted.
    pub(super) fn name(self) -> &'static str {
        match self {
            Refusal::Full => "full",
            Refusal::ListenerFull => "listener_full",
            Refusal::LoginsFull => "logins_full",
            Refusal::OtherUser => "other_user",
            Refusal::Denied => "denied",
            Refusal::Penalised => "penalised",
            Refusal::SourceFull => "source_full",
            Refusal::SourceTooFast => "source_too_fast",
        }
    }

    /// The reason, for the log and, unless it is not told, for the peer.
    pub(super) fn words(self) -> &'static str {
        match self {
            Refusal::Full => "the server has as many connections as it holds",
            Refusal::ListenerFull => "this endpoint has as many connections as it holds",
            Refusal::LoginsFull => "as many connections as may have not logged in",
            Refusal::OtherUser => "this socket is another user's",
            Refusal::Denied => "its address is not among those that are served",
            Refusal::Penalised => "this address has failed to log in too often",
            Refusal::SourceFull => "this address has as many connections as one may have",
            Refusal::SourceTooFast => "this address connects more often than one may",
        }
    }

    /// Whether the peer is told: not one that has no business here.
    pub(super) fn is_told(self) -> bool {
        !matches!(self, Refusal::Denied | Refusal::Penalised)
    }
}
