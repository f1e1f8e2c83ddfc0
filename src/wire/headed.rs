//! Headers behind a length, and the bytes that belong to them (C5, F1 to F3).

use super::{Encode, LENGTH_BYTES, Prefix, WireError};

/// The bytes that belong to the last header. They are handed on as they come and never held whole.
#[derive(Debug, Clone)]
pub(super) struct Body {
    /// How many of them have not come.
    left: u64,
}

impl Body {
    /// There was no header yet.
    pub(super) const fn none() -> Body {
        Body { left: 0 }
    }

    /// So many belong to the header that was just taken.
    pub(super) const fn of(bytes: u64) -> Body {
        Body { left: bytes }
    }

    /// How many have not come.
    pub(super) const fn left(&self) -> u64 {
        self.left
    }

    /// Whether all have come: a header is next.
    pub(super) const fn is_whole(&self) -> bool {
        self.left == 0
    }

    /// Those that `unread` begins with, which may be none yet; `None`: all have come.
    pub(super) fn next<'b>(&mut self, unread: &'b [u8]) -> Option<&'b [u8]> {
        if self.is_whole() {
            return None;
        }
        let left = usize::try_from(self.left).unwrap_or(usize::MAX);
        let piece = &unread[..unread.len().min(left)];
        self.left -= piece.len() as u64;
        Some(piece)
    }
}

/// What a decoder says at the end of the stream: the rest of what has begun will never come.
pub(super) fn at_the_end<T>(
    frame: Option<T>,
    unread: &[u8],
    is_whole: bool,
) -> Result<Option<T>, WireError> {
    match frame {
        None if !unread.is_empty() || !is_whole => Err(WireError::Truncated { have: unread.len() }),
        frame => Ok(frame),
    }
}

/// Appends a header behind its length, or nothing if it has more bytes than `max`.
pub(super) fn append_header(json: &[u8], max: usize, out: &mut Vec<u8>) -> Result<(), WireError> {
    if json.len() > max {
        return Err(WireError::TooLong {
            what: "header",
            len: json.len() as u64,
            max: max as u64,
        });
    }
    out.reserve(LENGTH_BYTES + json.len());
    Prefix::new(json.len())
        .expect("it was measured")
        .encode(out);
    out.extend_from_slice(json);
    Ok(())
}
