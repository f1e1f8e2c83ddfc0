//! What two people say to each other over a stream (T5): lines, or, of peers that mark no end, bursts.
//!
//! Knows where one message ends and which one hangs up. Does not know time, as with every burst, nor who shows a
//! message to whom.

use super::{Burst, Decode, DecodeSettled, Encode, Line, WireError};

/// Takes messages off the front; a frame is one without the line end behind it.
///
/// Of lines the end of a message is a newline, and what settles without one is a part of a line that is on its
/// way. A burst is all that is unread once it ends in a newline or settles, with newlines inside.
///
/// # Errors
///
/// [`WireError::TooLong`] as [`Line`] and [`Burst`] have it.
///
/// ```
/// use onepoll::wire::{Decode, DecodeSettled, TalkMessages};
///
/// let mut lines = TalkMessages::lines(80);
/// assert_eq!(lines.decode(b"hello\r\nq"), Ok(Some((&b"hello"[..], 7))));
/// assert_eq!(lines.settled(b"q"), Ok(None));
/// let mut bursts = TalkMessages::bursts(80);
/// assert_eq!(bursts.decode(b"hello"), Ok(None));
/// assert_eq!(bursts.settled(b"hello"), Ok(Some((&b"hello"[..], 5))));
/// assert_eq!(bursts.decode(b"two\nlines\n"), Ok(Some((&b"two\nlines"[..], 10))));
/// ```
#[derive(Debug, Clone)]
pub struct TalkMessages(Form);

#[derive(Debug, Clone)]
enum Form {
    Lines(Line),
    Bursts(Burst),
}

impl TalkMessages {
    /// Each line of at most `bytes_max` bytes is a message.
    pub const fn lines(bytes_max: usize) -> TalkMessages {
        TalkMessages(Form::Lines(Line::new(bytes_max)))
    }

    /// Each burst of at most `bytes_max` bytes is one.
    pub const fn bursts(bytes_max: usize) -> TalkMessages {
        TalkMessages(Form::Bursts(Burst::new(bytes_max)))
    }
}

/// The burst, or what there is of one, without the line end behind it.
fn trimmed(
    frame: Result<Option<(&[u8], usize)>, WireError>,
) -> Result<Option<(&[u8], usize)>, WireError> {
    Ok(frame?.map(|(burst, taken)| (without_end(burst), taken)))
}

fn without_end(burst: &[u8]) -> &[u8] {
    let line = burst.strip_suffix(b"\n").unwrap_or(burst);
    line.strip_suffix(b"\r").unwrap_or(line)
}

impl Decode for TalkMessages {
    type Frame<'b> = &'b [u8];

    fn decode<'b>(&mut self, unread: &'b [u8]) -> Result<Option<(&'b [u8], usize)>, WireError> {
        match &mut self.0 {
            Form::Lines(line) => line.decode(unread),
            Form::Bursts(burst) => trimmed(burst.decode(unread)),
        }
    }

    fn decode_eof<'b>(&mut self, unread: &'b [u8]) -> Result<Option<(&'b [u8], usize)>, WireError> {
        match &mut self.0 {
            Form::Lines(line) => line.decode_eof(unread),
            Form::Bursts(burst) => trimmed(burst.decode_eof(unread)),
        }
    }
}

impl DecodeSettled for TalkMessages {
    fn settled<'b>(&mut self, unread: &'b [u8]) -> Result<Option<(&'b [u8], usize)>, WireError> {
        match &mut self.0 {
            Form::Lines(line) => line.decode(unread),
            Form::Bursts(burst) => trimmed(burst.settled(unread)),
        }
    }
}

/// Whether this message, which came or was typed, hangs up: `q` or `Q` alone.
pub fn hangs_up(message: &[u8]) -> bool {
    matches!(message, b"q" | b"Q")
}

/// What a person says: as a line, or bare, with nothing appended.
#[derive(Debug, Clone, Copy)]
pub struct TalkMessage<'t> {
    /// Without its end.
    pub text: &'t [u8],
    /// Whether nothing is appended, for peers that take a burst for a message.
    pub is_bare: bool,
}

impl Encode for TalkMessage<'_> {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.text);
        if !self.is_bare {
            out.push(b'\n');
        }
    }
}
