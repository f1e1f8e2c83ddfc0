//! Frames behind an `i32` length: the tutorials' `struct.pack('i', n)` (C3, C4, F1).
//!
//! Knows the four bytes, signed and little-endian, and that a length from outside is a claim: it is
//! checked against a limit before anything is done with it. Does not know what a payload says.
//!
//! Nothing is remembered between calls: the four bytes are read anew each time, and no other byte
//! is looked at.

use super::{Decode, Encode, WireError};

/// The length of the length: four bytes.
pub const LENGTH_BYTES: usize = 4;

/// How many bytes the payload of a frame may have unless told otherwise: 64 KiB.
pub const FRAME_BYTES_MAX: usize = 64 * 1024;

/// The largest length four signed bytes can say.
const I32_MAX: u64 = 0x7fff_ffff;

/// A length that fits its four bytes, to be sent before a payload that is sent separately.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prefix(i32);

impl Prefix {
    /// The prefix of a payload of `len` bytes.
    ///
    /// # Errors
    ///
    /// [`WireError::TooLong`] when `len` is above 2147483647, which no `i32` can say.
    pub fn new(len: usize) -> Result<Self, WireError> {
        i32::try_from(len)
            .map(Self)
            .map_err(|_| too_long("frame", len, I32_MAX))
    }
}

impl Encode for Prefix {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0.to_le_bytes());
    }
}

/// A payload with its length before it, to be sent.
///
/// ```
/// use onepoll::wire::{Decode, Encode, Framed, Prefixed};
///
/// let mut out = Vec::new();
/// Framed::new(b"sbzz")?.encode(&mut out);
/// assert_eq!(out, b"\x04\0\0\0sbzz");
/// assert_eq!(Prefixed::default().decode(&out)?, Some((&b"sbzz"[..], 8)));
/// # Ok::<(), onepoll::wire::WireError>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Framed<'b> {
    prefix: Prefix,
    payload: &'b [u8],
}

impl<'b> Framed<'b> {
    /// `payload` as one frame; an empty one is a frame too.
    ///
    /// # Errors
    ///
    /// As [`Prefix::new`].
    pub fn new(payload: &'b [u8]) -> Result<Self, WireError> {
        let prefix = Prefix::new(payload.len())?;
        Ok(Self { prefix, payload })
    }
}

impl Encode for Framed<'_> {
    fn encode(&self, out: &mut Vec<u8>) {
        out.reserve(LENGTH_BYTES.saturating_add(self.payload.len()));
        self.prefix.encode(out);
        out.extend_from_slice(self.payload);
    }
}

/// Takes a length alone off the front, for a payload that is streamed and never held whole.
///
/// The frame is the length in bytes, from zero to `max`.
///
/// # Errors
///
/// [`WireError::Negative`] and [`WireError::TooLong`], both on the four bytes themselves.
#[derive(Debug, Clone)]
pub struct Length {
    what: &'static str,
    max: usize,
}

impl Length {
    /// A decoder of lengths of at most `max` bytes; `what` names the thing in errors ("output").
    pub const fn new(what: &'static str, max: usize) -> Self {
        Self { what, max }
    }
}

impl Decode for Length {
    type Frame<'b> = usize;

    fn decode(&mut self, unread: &[u8]) -> Result<Option<(usize, usize)>, WireError> {
        let Some(bytes) = unread.first_chunk::<LENGTH_BYTES>() else {
            return Ok(None);
        };
        let said = i32::from_le_bytes(*bytes);
        // The one conversion of a length from outside, and it can say no.
        let Ok(len) = usize::try_from(said) else {
            return Err(WireError::Negative {
                what: self.what,
                len: i64::from(said),
            });
        };
        if len > self.max {
            let max = u64::try_from(self.max).unwrap_or(u64::MAX);
            return Err(too_long(self.what, len, max));
        }
        Ok(Some((len, LENGTH_BYTES)))
    }
}

/// Takes whole frames off the front; a frame is the payload without its length.
///
/// # Errors
///
/// As [`Length`], on the header and before any of the payload has come: an impossible length costs
/// its sender the connection and us nothing. [`WireError::Truncated`] when the input ends inside a
/// frame.
#[derive(Debug, Clone)]
pub struct Prefixed {
    length: Length,
}

impl Prefixed {
    /// A decoder of payloads of at most `max` bytes, the length's four not counted.
    pub const fn new(max: usize) -> Self {
        Self::named("frame", max)
    }

    /// As [`new`](Self::new), where errors say `what` was too long ("header").
    pub const fn named(what: &'static str, max: usize) -> Self {
        Self {
            length: Length::new(what, max),
        }
    }
}

impl Default for Prefixed {
    /// Payloads of at most [`FRAME_BYTES_MAX`].
    fn default() -> Self {
        Self::new(FRAME_BYTES_MAX)
    }
}

impl Decode for Prefixed {
    type Frame<'b> = &'b [u8];

    fn decode<'b>(&mut self, unread: &'b [u8]) -> Result<Option<(&'b [u8], usize)>, WireError> {
        let Some((len, header)) = self.length.decode(unread)? else {
            return Ok(None);
        };
        let Some(payload) = unread[header..].get(..len) else {
            return Ok(None);
        };
        Ok(Some((payload, header + len)))
    }
}

fn too_long(what: &'static str, len: usize, max: u64) -> WireError {
    WireError::TooLong {
        what,
        len: u64::try_from(len).unwrap_or(u64::MAX),
        max,
    }
}
