//! What counts as the answer to a request.

use super::delimiter::Delimiter;
use super::payload::Payload;
use crate::load::plan::Plan;
use crate::load::plan::expect::Expect;
use crate::wire::CommandFraming;

/// Judges the answers of one run.
#[derive(Debug)]
pub(crate) enum Judge {
    /// What was sent, and not before it was.
    Echo,
    /// These bytes.
    Exact(Payload, usize),
    /// So many, whatever they are.
    Bytes(usize),
    /// Anything up to these bytes.
    Until(Delimiter),
    /// Anything, until the server ends the connection.
    Eof,
    /// A response of HTTP.
    Http,
    /// An output of a command, in a frame.
    Framed(CommandFraming),
}

impl Judge {
    pub(crate) fn new(plan: &Plan) -> Self {
        match &plan.expect {
            Expect::Echo => Self::Echo,
            Expect::Exact(bytes) => {
                Self::Exact(Payload::fixed(bytes, plan.mode.depth()), bytes.len())
            }
            Expect::Bytes(bytes) => Self::Bytes(*bytes),
            Expect::Until(bytes) => Self::Until(Delimiter::new(bytes)),
            Expect::Eof => Self::Eof,
            Expect::Http => Self::Http,
            Expect::Framed(framing) => Self::Framed(*framing),
        }
    }

    /// How long an answer to `size` bytes is, where that is known.
    pub(crate) fn size(&self, size: usize) -> Option<usize> {
        match self {
            Self::Echo => Some(size),
            Self::Exact(_, size) | Self::Bytes(size) => Some(*size),
            Self::Until(_) | Self::Eof | Self::Http | Self::Framed(_) => None,
        }
    }
}
