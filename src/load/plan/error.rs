//! Why a run cannot be made.

use std::io;
use std::net::SocketAddr;

use super::limits::RATE_MAX;
use super::mode::ModeName;
use crate::config::AddressError;
use crate::load::measure::figures::Grouped;

/// Why a run could not be made at all; what goes wrong during one is counted in its [`Report`](crate::load::Report).
///
/// Its text is the whole sentence, the cause at its end, and no cause is a
/// [`source`](std::error::Error::source) besides: printed with its chain, it says nothing twice.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The plan contradicts itself or exceeds a limit.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The endpoint's host has no address.
    #[error("cannot resolve {endpoint}: {cause}")]
    Resolve {
        /// The endpoint as it was given.
        endpoint: String,
        /// What the resolver said.
        cause: io::Error,
    },
    /// No socket can be made that asks the endpoint.
    #[error("cannot ask {endpoint}: {cause}")]
    Socket {
        /// The endpoint as it was given.
        endpoint: String,
        /// What the system said.
        cause: io::Error,
    },
    /// Where a server of this user's own should be, something is that another user may have made.
    #[error("{0}, so it is not asked")]
    Untrusted(io::Error),
    /// The watcher stopped the run.
    #[error("interrupted before anything was found")]
    Interrupted,
    /// The poll itself failed; nothing can go on.
    #[error("the poll failed: {0}")]
    Poll(io::Error),
}

impl From<io::Error> for LoadError {
    fn from(cause: io::Error) -> Self {
        Self::Poll(cause)
    }
}

/// What a run would need and cannot have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// A number below what makes sense or above its limit.
    #[error("{what} must be between {} and {}, not {}", Grouped(*.min as u64), Grouped(*.max as u64), Grouped(*.given as u64))]
    Bounds {
        /// Which number.
        what: &'static str,
        /// The least that makes sense.
        min: usize,
        /// The limit.
        max: usize,
        /// What was asked for.
        given: usize,
    },
    /// A time that is none, or longer than can be counted.
    #[error("{0} must be more than 0, and at most 500 years")]
    Time(&'static str),
    /// Several answers, of which the first is to end its connection.
    #[error("--expect eof: the first answer ends its connection, so --requests must be 1, not {0}")]
    AfterTheEnd(usize),
    /// An answer that this mode cannot await.
    #[error("--expect {0} does not go with `bench {1}`")]
    Expect(String, ModeName),
    /// A greeting that has no end.
    #[error("--await-greeting {0}: write until=DELIMITER, a number of bytes or exact=TEXT")]
    Greeting(String),
    /// A greeting that this mode does not await.
    #[error("--await-greeting does not go with `bench {0}`")]
    NoGreeting(ModeName),
    /// A secret, and nothing that a challenge could come on.
    #[error("--secret-file: a challenge comes on a connection, and `bench udp` has none")]
    HmacKey,
    /// A host that no certificate can be for.
    #[error("--tls: {0}")]
    ServerName(String),
    /// TLS, and nothing that it could go through.
    #[error("--tls: a TLS session needs a connection, and `bench udp` has none")]
    NoStream,
    /// No rate that could be kept.
    #[error("the rate must be above 0 and at most {} a second, not {rate}", Grouped(RATE_MAX as u64), rate = .0)]
    Rate(String),
    /// Not an endpoint.
    #[error(
        "{0:?} is no endpoint: write tcp://HOST:PORT, HOST:PORT, echo://HOST:PORT, http://HOST:PORT/PATH, unix:///PATH or echo+unix:///PATH"
    )]
    Endpoint(String),
    /// An endpoint that nobody can dial.
    #[error(transparent)]
    Address(AddressError),
    /// Nothing that is known.
    #[error("there is no {0}://: write tcp, udp, unix or http")]
    Scheme(String),
    /// Something that is spoken through TLS.
    #[error(
        "{0:?}: write http://HOST:PORT/PATH and say --tls, with --ca FILE|system or --fingerprint SHA256"
    )]
    Tls(String),
    /// Datagrams for a mode of streams, or the other way round.
    #[error("`bench {0}` cannot ask {1}")]
    Mode(ModeName, String),
    /// No such process, or no permission to read it.
    #[error("--pid {0}: there is no such process, or not one we may look at")]
    Pid(u32),
    /// A local address where there can be none, or of the other family.
    #[error("--source {} cannot be used with {}", .0.ip(), .1)]
    Source(SocketAddr, String),
}
