//! Blocking clients: one request, one answer, one deadline for all of it.
//!
//! They do not know the reactor, and wait in plain system calls. What came of an answer before its
//! deadline is said, never handed out as if it were the whole; a connection on which an answer was
//! cut off is closed, since there is no telling where the next would begin (fault B22).

mod address;
mod connection;
mod deadline;
mod exec;
mod time;

use std::io;
use std::time::Duration;

pub use address::{AddressError, ServerAddress};
pub use exec::{Exec, ExecOutput, Framing, OUTPUT_BYTES_MAX};
pub use time::{TimeAnswer, ask_time};

use crate::wire::WireError;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The host has no address.
    #[error("cannot resolve {address}: {source}")]
    Resolve {
        /// As it was given.
        address: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// Nothing listens there, or the listener does not take the connection.
    #[error("cannot connect to {address}: {source}")]
    Connect {
        /// The address that was dialled.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// Where a server of this user's own should be, something is that another user may have made.
    #[error("{address} is not trusted, and nothing was sent: {source}")]
    Untrusted {
        /// Where it is.
        address: String,
        /// What is wrong with it.
        source: io::Error,
    },
    /// The deadline passed.
    #[error("{address}: no whole answer within {}: {progress}", Millis(*.after))]
    Timeout {
        /// The server that did not answer.
        address: String,
        /// How long it had.
        after: Duration,
        /// How far it got.
        progress: String,
    },
    /// The connection ended inside an answer.
    #[error("{address} hung up: {progress}")]
    HungUp {
        /// The server that ended it.
        address: String,
        /// How far it got.
        progress: String,
    },
    /// The connection failed under the request or the answer.
    #[error("{address}: {source}")]
    Broken {
        /// The server at the other end.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// Something came before anything was asked; the next answer could not be told from it.
    #[error(
        "{address} sent {bytes} bytes that nobody asked for, so its next answer could not be told from them"
    )]
    Unasked {
        /// Who.
        address: String,
        /// How many, at the least.
        bytes: usize,
    },
    /// What came is no answer.
    #[error("{address} sent no valid answer: {source}")]
    Wire {
        /// The server that sent it.
        address: String,
        /// What was wrong with it.
        source: WireError,
    },
    /// The bytes of an answer are not those that its header describes.
    #[error("{address}: the answer is damaged: {detail}")]
    Damaged {
        /// The server that sent it.
        address: String,
        /// What differs.
        detail: String,
    },
    /// The request cannot be said in this protocol.
    #[error("{0}")]
    Request(&'static str),
}

/// A duration in words.
struct Millis(Duration);

impl std::fmt::Display for Millis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ms", self.0.as_millis())
    }
}
