//! Blocking clients: one request, one answer, one deadline for all of it. One of them,
//! [`CommandStream`], leaves waiting to its caller: what it talks about goes on for as long as a command runs. So do
//! [`FileStream`], since files are as long as they are, and [`TextStream`] with [`TalkStream`] on top of it,
//! [`TalkDatagrams`] and [`IpmsgSocket`], since people are. Another, [`RawExec`], has no answer that would end, and
//! hands on what comes.
//!
//! They do not know the reactor, and wait in plain system calls. What came of an answer before its
//! deadline is said, never handed out as if it were the whole; a connection on which an answer was
//! cut off is closed, since there is no telling where the next would begin (fault B22).

#[cfg(feature = "tls")]
mod certificate;
mod command_stream;
mod connection;
mod deadline;
mod duplex;
mod exec;
mod file_dialogue;
mod file_stream;
mod ipmsg;
mod other_service;
mod raw_exec;
mod take_over;
mod talk_datagrams;
mod talk_stream;
mod text_stream;
mod time;
#[cfg(feature = "tls")]
mod tls;

use std::io;
use std::time::Duration;

#[cfg(feature = "tls")]
pub use crate::tls::{ClientTls, Fingerprint, Identity, Trust};
#[cfg(feature = "tls")]
pub use certificate::ask_certificate;
pub use command_stream::{CommandFate, CommandStream, StreamNews};
pub use exec::{Exec, ExecFraming, ExecOutput, OUTPUT_BYTES_MAX};
pub use file_dialogue::{FileDialogue, FileNews};
pub use file_stream::FileStream;
pub use ipmsg::{
    IpmsgBell, IpmsgFetch, IpmsgFetchError, IpmsgOffer, IpmsgOffered, IpmsgSocket,
    ipmsg_broadcast_addresses, ipmsg_walk,
};
pub use raw_exec::{RawExec, RawNews};
pub use take_over::{HandedSocket, Released, TakeOver};
pub use talk_datagrams::{DatagramNews, TalkDatagrams};
pub use talk_stream::{TalkForm, TalkNews, TalkStream};
pub use text_stream::TextStream;
pub use time::{TimeAnswer, ask_time};

pub use crate::config::{AddressError, ServerAddress};
use crate::wire::{CHALLENGE_BYTES, WireError};

/// Why there is no answer.
///
/// Its text is the whole sentence, the cause at its end: so no cause is a [`source`](std::error::Error::source)
/// besides, and a caller that prints the chain does not print it twice.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The host has no address.
    #[error("cannot resolve {address}: {cause}")]
    Resolve {
        /// As it was given.
        address: String,
        /// What the resolver said.
        cause: io::Error,
    },
    /// Nothing listens there, or the listener does not take the connection.
    #[error("cannot connect to {address}: {cause}")]
    Connect {
        /// The address that was dialled.
        address: String,
        /// What the system said.
        cause: io::Error,
    },
    /// Where a server of this user's own should be, something is that another user may have made.
    #[error("{address} is not trusted, and nothing was sent: {cause}")]
    Untrusted {
        /// Where it is.
        address: String,
        /// What is wrong with it.
        cause: io::Error,
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
    /// A challenge was to come first, and something else came, or nothing.
    #[error("{address} sent no challenge of {CHALLENGE_BYTES} bytes first: {what}")]
    NotChallenged {
        /// The server that was to send it.
        address: String,
        /// What came instead.
        what: String,
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
    #[error("{address}: {cause}")]
    Broken {
        /// The server at the other end.
        address: String,
        /// What the system said.
        cause: io::Error,
    },
    /// Something came before anything was asked; the next answer could not be told from it.
    #[error(
        "{address} sent {bytes} bytes that nobody asked for (\"{shown}\"), so its next answer could not be told from them"
    )]
    Unasked {
        /// The server that sent them.
        address: String,
        /// How many, at the least.
        bytes: usize,
        /// How they begin, escaped.
        shown: String,
    },
    /// The server turned the connection down.
    #[error("{address}: {reason}")]
    Refused {
        /// The server.
        address: String,
        /// In its own words.
        reason: String,
    },
    /// It takes command lines only, and answers them in another way than was expected.
    #[error("{address} takes command lines only, and does not answer with a JSON header (C4)")]
    OnlyLines {
        /// The server that was asked.
        address: String,
    },
    /// Another service listens there.
    #[error("{address} is no command server: {what}")]
    NotCommands {
        /// The server that was asked.
        address: String,
        /// How that shows.
        what: String,
    },
    /// Nobody has said which certificate the server there has.
    #[error("{address} shows a certificate of which nothing is known here: {fingerprint}")]
    UnknownServer {
        /// The server.
        address: String,
        /// The fingerprint of what it showed.
        fingerprint: String,
    },
    /// Another server is there, or somebody between.
    #[error(
        "{address} shows a certificate with the fingerprint {shown}, and the expected one has {expected}: it may be another server, or somebody between"
    )]
    OtherServer {
        /// The server.
        address: String,
        /// The fingerprint of what it showed.
        shown: String,
        /// The one that was expected.
        expected: String,
    },
    /// The server asks for a certificate of ours, and for another one than it was shown; it has served nothing.
    #[error("{address}: {cause}")]
    NotAdmitted {
        /// The server.
        address: String,
        /// What it wants.
        cause: String,
    },
    /// There is no TLS session, or no longer.
    #[error("{address}: TLS failed: {cause}")]
    Tls {
        /// The server at the other end.
        address: String,
        /// What was wrong.
        cause: String,
    },
    /// What came is no answer.
    #[error("{address} sent no valid answer: {cause}")]
    Wire {
        /// The server that sent it.
        address: String,
        /// What was wrong with it.
        cause: WireError,
    },
    /// The bytes of an answer are not those that its header describes.
    #[error("{address}: the answer is damaged: {detail}")]
    Damaged {
        /// The server that sent it.
        address: String,
        /// What differs.
        detail: String,
    },
    /// The request is longer than may be, or there is something in it that cannot be sent.
    #[error("the request cannot be sent: {cause}")]
    Unsendable {
        /// What is wrong with it.
        cause: WireError,
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
