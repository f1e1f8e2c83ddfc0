//! Bursts: what came, until it ends in a newline or nothing more comes.
//!
//! The tutorials' requests carry no length; they trusted one `recv` to return one request. Knows
//! which bytes belong to a burst once the caller says that it is over. Does not know time: how long
//! the silence must be before [`DecodeSettled::settled`] is called is the caller's (20 ms unless set).
//!
//! These are the only formats whose frames depend on how the bytes were cut, and no decoder can
//! change that: two requests glued without a newline cannot be told apart. That is the sticky
//! packet.

use super::{Decode, Line, WireError};

/// How many bytes a burst or a request may have unless told otherwise: 64 KiB.
///
/// The same as [`LINE_BYTES_MAX`](super::LINE_BYTES_MAX), since a request is a line or a burst and
/// should not fit as one and not as the other.
pub const BURST_BYTES_MAX: usize = super::LINE_BYTES_MAX;

/// A decoder whose frames may be completed by silence.
pub trait DecodeSettled: Decode {
    /// As [`decode`](Decode::decode), when nothing more came for as long as the caller waits.
    ///
    /// Takes what is there. `Ok(None)` only when nothing is. There may be several frames: call
    /// until `Ok(None)`.
    fn settled<'b>(
        &mut self,
        unread: &'b [u8],
    ) -> Result<Option<(Self::Frame<'b>, usize)>, WireError>;
}

/// Takes everything unread as one frame, once it ends in a newline, settles, or the input ends.
///
/// The frame is all of it, with the newline, and with newlines inside. Looks at the last byte only.
///
/// # Errors
///
/// [`WireError::TooLong`] when more than `max` bytes are unread, newline and all.
///
/// ```
/// use onepoll::wire::{Burst, Decode, DecodeSettled};
///
/// let mut burst = Burst::default();
/// assert_eq!(burst.decode(b"two\nlines\n"), Ok(Some((&b"two\nlines\n"[..], 10))));
/// assert_eq!(burst.decode(b"hello"), Ok(None));
/// assert_eq!(burst.settled(b"hello"), Ok(Some((&b"hello"[..], 5))));
/// ```
#[derive(Debug, Clone)]
pub struct Burst {
    max: usize,
}

impl Burst {
    /// A decoder of bursts of at most `max` bytes.
    pub const fn new(max: usize) -> Self {
        Self { max }
    }

    fn measured(&self, unread: &[u8]) -> Result<(), WireError> {
        if unread.len() <= self.max {
            return Ok(());
        }
        Err(WireError::TooLong {
            what: "burst",
            len: u64::try_from(unread.len()).unwrap_or(u64::MAX),
            max: u64::try_from(self.max).unwrap_or(u64::MAX),
        })
    }
}

impl Default for Burst {
    /// Bursts of at most [`BURST_BYTES_MAX`].
    fn default() -> Self {
        Self::new(BURST_BYTES_MAX)
    }
}

impl Decode for Burst {
    type Frame<'b> = &'b [u8];

    fn decode<'b>(&mut self, unread: &'b [u8]) -> Result<Option<(&'b [u8], usize)>, WireError> {
        self.measured(unread)?;
        Ok(unread.ends_with(b"\n").then_some((unread, unread.len())))
    }

    fn decode_eof<'b>(&mut self, unread: &'b [u8]) -> Result<Option<(&'b [u8], usize)>, WireError> {
        self.settled(unread)
    }
}

impl DecodeSettled for Burst {
    fn settled<'b>(&mut self, unread: &'b [u8]) -> Result<Option<(&'b [u8], usize)>, WireError> {
        self.measured(unread)?;
        Ok((!unread.is_empty()).then_some((unread, unread.len())))
    }
}

/// Takes remote-command requests (C1 to C4): each line is one, and what settles without a newline
/// is one too.
///
/// A frame is the request without LF or CR LF; a CR at the end of a settled one is dropped as well.
/// Empty requests come out as empty frames: ignoring them is the service's decision. When a burst
/// settles just before its newline arrives, that newline is such an empty request.
///
/// # Errors
///
/// [`WireError::TooLong`] as [`Line`] does.
///
/// ```
/// use onepoll::wire::{Decode, Request, DecodeSettled};
///
/// let mut request = Request::default();
/// assert_eq!(request.decode(b"ls -l\ndate"), Ok(Some((&b"ls -l"[..], 6))));
/// assert_eq!(request.decode(b"date"), Ok(None));
/// assert_eq!(request.settled(b"date"), Ok(Some((&b"date"[..], 4))));
/// ```
#[derive(Debug, Clone)]
pub struct Request {
    line: Line,
}

impl Request {
    /// A decoder of requests of at most `max` bytes, their terminator not counted.
    pub const fn new(max: usize) -> Self {
        Self {
            line: Line::new(max),
        }
    }
}

impl Default for Request {
    /// Requests of at most [`BURST_BYTES_MAX`].
    fn default() -> Self {
        Self::new(BURST_BYTES_MAX)
    }
}

impl Decode for Request {
    type Frame<'b> = &'b [u8];

    fn decode<'b>(&mut self, unread: &'b [u8]) -> Result<Option<(&'b [u8], usize)>, WireError> {
        self.line.decode(unread)
    }

    fn decode_eof<'b>(&mut self, unread: &'b [u8]) -> Result<Option<(&'b [u8], usize)>, WireError> {
        self.line.decode_eof(unread)
    }
}

impl DecodeSettled for Request {
    fn settled<'b>(&mut self, unread: &'b [u8]) -> Result<Option<(&'b [u8], usize)>, WireError> {
        // To a line, silence and the end of input are the same: what is there is all there is.
        self.line.decode_eof(unread)
    }
}
