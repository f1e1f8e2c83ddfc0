//! Lines: `bytes LF` or `bytes CR LF`.
//!
//! Knows where a line ends. Does not know what a line says, or whether it is text at all: the frame
//! is bytes, and UTF-8 is the caller's question.

use std::ops::Range;

use super::{Decode, WireError};

/// How many bytes a line may have unless told otherwise: 64 KiB, its terminator not counted.
///
/// The limit of a chat line and of a command line; beanstalkd's largest job is as long. One read of
/// the loop is as long too, so a line at the limit costs one carry and not several.
pub const LINE_BYTES_MAX: usize = 64 * 1024;

/// Takes lines off the front; a frame is a line without its terminator.
///
/// A line ends in LF, and one CR right before it belongs to the terminator. Empty lines are frames.
/// At the end of input, a last line without LF is a frame as well, less a CR at its end.
///
/// # Errors
///
/// [`WireError::TooLong`] when a line has more than `max` bytes, told as soon as that is certain:
/// at most two bytes after the limit, without waiting for the LF. The length it names is `max + 1`
/// however much more had come, because nothing beyond that was looked at.
///
/// Where another decoder takes bytes in between (an acknowledgement between two requests), begin with
/// a new `Line` behind them: this one remembers how far it searched, and would not look again.
///
/// ```
/// use onepoll::wire::{Decode, Line};
///
/// let mut line = Line::default();
/// assert_eq!(line.decode(b"hel"), Ok(None));
/// assert_eq!(line.decode(b"hello\r\negg"), Ok(Some((&b"hello"[..], 7))));
/// assert_eq!(line.decode_eof(b"egg"), Ok(Some((&b"egg"[..], 3))));
/// ```
#[derive(Debug, Clone)]
pub struct Line {
    /// The longest line, in bytes, terminator not counted.
    max: usize,
    /// How many bytes at the front of the unread ones are known to hold no LF. Zero after a frame.
    searched: usize,
}

impl Line {
    /// A decoder of lines of at most `max` bytes, their terminator not counted.
    pub const fn new(max: usize) -> Self {
        Self { max, searched: 0 }
    }

    /// The limit in bytes, for a caller that sizes a buffer by it (which needs two more, for CR LF).
    pub const fn max(&self) -> usize {
        self.max
    }

    /// `line`, if it is not longer than the limit.
    fn measured<'b>(&self, line: &'b [u8]) -> Result<&'b [u8], WireError> {
        if line.len() <= self.max {
            return Ok(line);
        }
        let max = u64::try_from(self.max).unwrap_or(u64::MAX);
        Err(WireError::TooLong {
            what: "line",
            len: max.saturating_add(1),
            max,
        })
    }
}

impl Default for Line {
    /// Lines of at most [`LINE_BYTES_MAX`].
    fn default() -> Self {
        Self::new(LINE_BYTES_MAX)
    }
}

impl Decode for Line {
    type Frame<'b> = &'b [u8];

    fn decode<'b>(&mut self, unread: &'b [u8]) -> Result<Option<(&'b [u8], usize)>, WireError> {
        if self.searched > unread.len() {
            // Another decoder took bytes that were searched: what is known is about other bytes.
            self.searched = 0;
        }
        // The LF of a line at the limit is at most here: behind `max` bytes and a CR. Looking no
        // further makes the answer the same however much arrived at once.
        let reach = unread.len().min(self.max.saturating_add(2));
        let from = self.searched.min(reach);

        if let Some(at) = memchr::memchr(b'\n', &unread[from..reach]) {
            let at = from + at;
            let line = self.measured(without_cr(&unread[..at]))?;
            self.searched = 0;
            return Ok(Some((line, at + 1)));
        }
        // Not yet, unless the line is over the limit already. A CR in the one place behind the
        // limit may still turn out to be half of the terminator.
        self.measured(without_cr(&unread[..reach]))?;
        self.searched = reach;
        Ok(None)
    }

    fn decode_eof<'b>(&mut self, unread: &'b [u8]) -> Result<Option<(&'b [u8], usize)>, WireError> {
        match self.decode(unread)? {
            None if !unread.is_empty() => {
                self.searched = 0;
                Ok(Some((without_cr(unread), unread.len())))
            }
            answer => Ok(answer),
        }
    }
}

fn without_cr(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// Which whole lines at the front of `bytes` are to go so that no more than `most` bytes are left; none, if none may.
///
/// The first `fixed` bytes stay, and the line that has begun before them: `before` is the byte in front of `bytes`,
/// none if they begin a line.
pub(crate) fn oldest_lines(
    bytes: &[u8],
    before: Option<u8>,
    fixed: usize,
    most: usize,
) -> Option<Range<usize>> {
    let last_fixed = fixed
        .checked_sub(1)
        .map_or(before, |last| bytes.get(last).copied());
    let start = match last_fixed {
        None | Some(b'\n') => fixed,
        Some(_) => fixed + end_of_line(bytes.get(fixed..)?)?,
    };
    let beyond = bytes
        .len()
        .checked_sub(most)
        .filter(|&much| much > 0)?
        .max(start + 1)
        - 1;
    let end = beyond + end_of_line(bytes.get(beyond..)?)?;
    (end > start).then_some(start..end)
}

/// How many bytes there are up to the end of the first line.
fn end_of_line(bytes: &[u8]) -> Option<usize> {
    bytes
        .iter()
        .position(|&byte| byte == b'\n')
        .map(|at| at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_lines_are_whole_and_no_more_than_are_needed() {
        let bytes = b"one\ntwo\nthree\nfour\n";
        let goes = |before, fixed, most| {
            let range = oldest_lines(bytes, before, fixed, most);
            range.map(|range| std::str::from_utf8(&bytes[range]).unwrap())
        };
        assert_eq!(goes(None, 0, 18), Some("one\n"));
        assert_eq!(goes(None, 0, 15), Some("one\n"));
        assert_eq!(goes(None, 0, 14), Some("one\ntwo\n"));
        assert_eq!(goes(None, 0, 0), Some("one\ntwo\nthree\nfour\n"));
        assert_eq!(goes(None, 0, 20), None, "they are no more than that");
        // A line that has begun to leave stays, and so does what is fixed.
        assert_eq!(goes(Some(b'\n'), 0, 14), Some("one\ntwo\n"));
        assert_eq!(goes(Some(b'x'), 0, 14), Some("two\n"));
        assert_eq!(goes(Some(b'x'), 4, 14), Some("two\n"));
        assert_eq!(goes(Some(b'x'), 5, 0), Some("three\nfour\n"));
        assert_eq!(goes(None, 8, 18), Some("three\n"));
        assert_eq!(goes(None, 19, 0), None);
        assert_eq!(goes(None, 15, 0), None, "the last line has begun");
        assert_eq!(oldest_lines(b"no end", None, 0, 0), None);
        assert_eq!(oldest_lines(b"a\nno end", None, 0, 0), None);
        assert_eq!(oldest_lines(b"", None, 0, 0), None);
    }

    #[test]
    fn what_is_left_of_lines_begins_and_ends_as_lines_do_wherever_they_are_cut() {
        let bytes = b"a\n\nbcd\nef\n\n\nghijk\nl\n";
        for sent in 0..bytes.len() {
            let (left, before) = (&bytes[sent..], sent.checked_sub(1).map(|n| bytes[n]));
            for fixed in 0..=left.len() {
                for most in 0..=left.len() {
                    let Some(range) = oldest_lines(left, before, fixed, most) else {
                        continue;
                    };
                    assert!(range.start >= fixed && range.end <= left.len());
                    let (start, end) = (sent + range.start, sent + range.end);
                    assert!(start == 0 || bytes[start - 1] == b'\n');
                    assert_eq!(bytes[end - 1], b'\n');
                    assert!(
                        left.len() - range.len() <= most.max(range.start + left.len() - range.end)
                    );
                }
            }
        }
    }
}
