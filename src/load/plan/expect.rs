//! What a run is told to take for an answer.

use std::fmt;

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
    /// At least one byte, until the server ends the connection; in [`Mode::Conn`](super::Mode::Conn) only.
    Eof,
    /// A response of HTTP/1.1 (RFC 9112) with a status below 400, to any request but HEAD.
    Http,
    /// The output of a command.
    Framed(Framing),
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
            Expect::Framed(Framing::Decimal) => f.write_str("output after decimal"),
            Expect::Framed(Framing::I32) => f.write_str("output after i32"),
            Expect::Framed(Framing::Json) => f.write_str("output after json"),
        }
    }
}

/// How a server says where an output ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// C2: its length in decimal digits, and then a wait for our acknowledgement. In
    /// [`Mode::Exec`](super::Mode::Exec) only, one request at a time. What one read returns is taken
    /// for the whole length, as every client of it must guess; a refusal looks like an output.
    Decimal,
    /// C3: its length before it. A refusal looks like an output.
    I32,
    /// C4: a JSON header before it, which also tells a refusal.
    Json,
}
