//! What a run is told to take for an answer.

use std::fmt;

use crate::wire::CommandFraming;

/// What counts as the answer to a request.
///
/// Only an echo tells every answer from its neighbours. Where all answers are alike, a second one that
/// comes after the next request was sent is taken for the answer to that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expect {
    /// What was sent.
    Echo,
    /// These bytes.
    Exact(Vec<u8>),
    /// So many, whatever they are.
    Bytes(usize),
    /// Anything up to these bytes, them included.
    Until(Vec<u8>),
    /// At least one byte, until the server ends the connection; in [`Mode::Conn`](super::mode::Mode::Conn) only.
    Eof,
    /// A response of HTTP/1.1 (RFC 9112) with a status below 400, to any request but HEAD.
    Http,
    /// The output of a command, in any framing but [`CommandFraming::Raw`], which has no end. A refusal looks
    /// like an output, but in [`CommandFraming::Json`]. [`CommandFraming::Decimal`] goes with
    /// [`Mode::Exec`](super::mode::Mode::Exec) only, one request at a time: what one read returns is taken for
    /// the whole length, as every client of it must guess.
    Framed(CommandFraming),
}

impl fmt::Display for Expect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Expect::Echo => f.write_str("echo"),
            Expect::Exact(bytes) => write!(f, "exactly {} bytes", bytes.len()),
            Expect::Bytes(bytes) => write!(f, "any {bytes} bytes"),
            Expect::Until(bytes) => write!(f, "until={}", bytes.escape_ascii()),
            Expect::Eof => f.write_str("eof"),
            Expect::Http => f.write_str("http"),
            Expect::Framed(framing) => write!(f, "output after {framing}"),
        }
    }
}
