use std::io;

use thiserror::Error;

use crate::wire::WireError;

/// Why a connection ended: a sentence each, logged once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Closed {
    /// The service had said all it had to say.
    #[error("the service was done")]
    Done,
    /// The peer ended its input and got everything it was owed.
    #[error("the peer ended its input")]
    Ended,
    /// The peer reset the connection, or hung up while it was owed something.
    #[error("the peer is gone ({0})")]
    Gone(io::ErrorKind),
    /// Nothing was heard for as long as the endpoint allows.
    #[error("nothing was heard within the idle timeout")]
    Idle,
    /// A frame was begun and not ended in time.
    #[error("a started frame did not end in time")]
    SlowFrame,
    /// The peer reads slower than others speak.
    #[error("the peer did not keep up with what it was sent")]
    TooSlow,
    /// All buffers together were near their limit, and it had the largest.
    #[error("all buffers together were near their limit, and it had the largest")]
    Evicted,
    /// We refused: the peer's bytes make no sense, or ask for too much.
    #[error("refused")]
    Refused,
    /// What the peer answered the challenge with proves no secret of the endpoint.
    #[error("the proof was wrong")]
    WrongProof,
    /// The peer had not logged in by the deadline, which counts from when it was accepted.
    #[error("the peer did not log in in time")]
    LoginTimeout,
    /// The server is stopping.
    #[error("the server is stopping")]
    Stopping,
    /// The connection ended, and no message of its TLS session said so: somebody between may have cut it.
    #[error("the TLS session was cut off: the connection ended without close_notify")]
    Cut,
    /// A TLS handshake did not come to its end, or a record was not what the peer sent.
    #[error("TLS failed")]
    Insecure,
    /// What was owed did not leave in time after the end.
    #[error("what was owed did not leave in time")]
    Stuck,
}

/// What a service refuses to go on with. It ends one connection, after what was said has left.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Fault {
    /// Their bytes can never become a frame.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// Our refusal, as a sentence for the log.
    #[error("{0}")]
    Refused(&'static str),
    /// They do not prove what they were asked to prove.
    #[error("the proof is wrong")]
    WrongProof,
}

impl Fault {
    /// Why the connection ends.
    pub(crate) fn closes(&self) -> Closed {
        match self {
            Fault::Wire(_) | Fault::Refused(_) => Closed::Refused,
            Fault::WrongProof => Closed::WrongProof,
        }
    }
}

/// Where a connection's lane stands.
///
/// ```text
/// Open ──close / fault / end of input──> Leaving ──all sent──> Left ──> (the reactor closes)
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// What is sent to it is delivered.
    Open,
    /// What is owed leaves; then the connection ends for this reason. `linger`: unread
    /// input may be on its way, so the end must not become a reset.
    Leaving { why: Closed, linger: bool },
    /// Everything was sent and writing is shut down: what is sent from here on goes nowhere. A write
    /// would fail, and its failure would cut short the end of the connection.
    Left,
}
