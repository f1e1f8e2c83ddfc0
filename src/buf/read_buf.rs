use std::io;

use crate::wire::{Decode, WireError};

/// Bytes that have come and are not yet understood.
///
/// Filled at the back from a socket, read off the front through a decoder:
///
/// ```
/// use onepoll::buf::ReadBuf;
/// use onepoll::wire::Line;
///
/// let mut input = ReadBuf::default();
/// let mut lines = Line::default();
/// input.fill(64, |room| { room[..9].copy_from_slice(b"hello\nwor"); Ok(9) })?;
/// assert_eq!(input.next(&mut lines)?, Some(&b"hello"[..]));
/// assert_eq!(input.next(&mut lines)?, None);
/// assert_eq!(input.unread(), b"wor");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct ReadBuf {
    /// Everything up to `storage.len()` is initialised once and never zeroed again: re-zeroing
    /// a 64 KiB buffer per read cost a quarter of the throughput.
    storage: Vec<u8>,
    /// Where what is lent begins; equals `start` when nothing is.
    lent: usize,
    /// Where the unread begins.
    start: usize,
    /// Where it ends.
    end: usize,
    /// Frames this budget may still take.
    frames: u32,
}

impl Default for ReadBuf {
    /// Owns nothing until something is read into it; its frames are not counted.
    fn default() -> ReadBuf {
        ReadBuf {
            storage: Vec::new(),
            lent: 0,
            start: 0,
            end: 0,
            frames: u32::MAX,
        }
    }
}

impl ReadBuf {
    /// Bytes that no decoder has taken yet.
    pub fn unread(&self) -> &[u8] {
        &self.storage[self.start..self.end]
    }

    /// The same, for services that answer with what they were sent, changed in place.
    pub fn unread_mut(&mut self) -> &mut [u8] {
        &mut self.storage[self.start..self.end]
    }

    /// Whether there is nothing unread.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// How many bytes are unread.
    pub fn len(&self) -> usize {
        self.end - self.start
    }

    /// How many bytes it has memory for.
    pub(crate) fn capacity(&self) -> usize {
        self.storage.capacity()
    }

    /// Makes room for `room` bytes, lets `read` put some there, and returns how many it put.
    ///
    /// Takes a closure, not a socket: this folder imports nothing that stands above it.
    pub fn fill(
        &mut self,
        room: usize,
        read: impl FnOnce(&mut [u8]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        self.make_room(room);
        let n = read(&mut self.storage[self.end..self.end + room])?;
        assert!(
            n <= room,
            "a read returns no more than it was given room for"
        );
        self.end += n;
        Ok(n)
    }

    /// The next frame, or `None` for "not yet": the bytes are not all here, or this budget has
    /// had its share of frames.
    pub fn next<'b, D: Decode>(
        &'b mut self,
        decoder: &mut D,
    ) -> Result<Option<D::Frame<'b>>, WireError> {
        if self.is_budget_spent() {
            return Ok(None);
        }
        match decoder.decode(&self.storage[self.start..self.end])? {
            Some((frame, taken)) => {
                self.start += taken;
                self.lent = self.start;
                self.frames -= 1;
                Ok(Some(frame))
            }
            None => Ok(None),
        }
    }

    /// As [`next`](ReadBuf::next), when no further byte will come.
    pub fn last<'b, D: Decode>(
        &'b mut self,
        decoder: &mut D,
    ) -> Result<Option<D::Frame<'b>>, WireError> {
        match decoder.decode_eof(&self.storage[self.start..self.end])? {
            Some((frame, taken)) => {
                self.start += taken;
                self.lent = self.start;
                Ok(Some(frame))
            }
            None => Ok(None),
        }
    }

    /// Takes `n` unread bytes off the front without a decoder.
    pub fn consume(&mut self, n: usize) {
        assert!(n <= self.len(), "only what is unread can be taken");
        self.start += n;
        self.lent = self.start;
    }

    /// Lets `filter` take bytes out of what is unread behind its first `from` bytes: it moves what
    /// stays to the front, and says how much that is.
    pub fn filter(&mut self, from: usize, filter: impl FnOnce(&mut [u8]) -> usize) {
        assert!(from <= self.len(), "only what is unread can be filtered");
        let from = self.start + from;
        let kept = filter(&mut self.storage[from..self.end]);
        assert!(kept <= self.end - from, "a filter adds nothing");
        self.end = from + kept;
    }

    /// How many frames this budget may still take.
    pub(crate) fn frames_left(&self) -> u32 {
        self.frames
    }

    /// Whether the frame budget, not a lack of bytes, ended the last [`next`](ReadBuf::next).
    pub(crate) fn is_budget_spent(&self) -> bool {
        self.frames == 0
    }

    /// A new budget of this many frames begins: a peer that sends thousands of tiny frames in one
    /// segment is served in turn with the others.
    pub(crate) fn begin_budget(&mut self, frames: u32) {
        self.frames = frames;
    }

    /// What was just done for a frame cost as much as this many more: they are off this budget.
    pub(crate) fn charge(&mut self, frames: u32) {
        self.frames = self.frames.saturating_sub(frames);
    }

    /// Takes everything unread, and leaves it in place for the reactor to write from: what an
    /// echo answers is never copied. Returned by [`lent`](ReadBuf::lent), until
    /// [`repay`](ReadBuf::repay).
    pub(crate) fn lend(&mut self) {
        self.start = self.end;
    }

    /// What is lent to the writer.
    pub(crate) fn lent(&self) -> &[u8] {
        &self.storage[self.lent..self.start]
    }

    /// The writer has taken what was lent.
    pub(crate) fn repay(&mut self) {
        self.lent = self.start;
    }

    /// Appends `bytes`, as if they had just been read.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.make_room(bytes.len());
        self.storage[self.end..self.end + bytes.len()].copy_from_slice(bytes);
        self.end += bytes.len();
    }

    /// Gives storage of more than `bytes` back, if nothing is in it.
    pub(crate) fn give_back(&mut self, bytes: usize) {
        if self.is_empty() && self.lent().is_empty() && self.storage.capacity() > bytes {
            *self = ReadBuf::default();
        }
    }

    /// Forgets every byte and keeps the storage.
    pub(crate) fn clear(&mut self) {
        (self.lent, self.start, self.end) = (0, 0, 0);
    }

    fn make_room(&mut self, room: usize) {
        debug_assert!(
            self.lent().is_empty(),
            "what is lent is repaid before reading on"
        );
        if self.is_empty() {
            (self.lent, self.start, self.end) = (0, 0, 0);
        }
        if self.storage.len() - self.end >= room {
            return;
        }
        if self.start > 0 {
            // Moving what is unread to the front is paid for by the bytes that were taken since.
            self.storage.copy_within(self.start..self.end, 0);
            (self.lent, self.start, self.end) = (0, 0, self.end - self.start);
        }
        if self.storage.len() - self.end < room {
            self.storage.resize(self.end + room, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Line;

    fn filled(bytes: &[u8]) -> ReadBuf {
        let mut buf = ReadBuf::default();
        buf.push(bytes);
        buf
    }

    #[test]
    fn what_is_lent_is_no_longer_unread_and_leaves_once() {
        let mut buf = filled(b"hello");
        buf.lend();
        assert!(buf.is_empty());
        assert_eq!(buf.lent(), b"hello");
        buf.repay();
        assert_eq!(buf.lent(), b"");
        buf.push(b"again");
        assert_eq!(buf.unread(), b"again");
        assert_eq!(buf.lent(), b"");
    }

    #[test]
    fn fault_b1_single_bytes_do_not_grow_the_storage_beyond_the_frame() {
        let mut buf = ReadBuf::default();
        for round in 0..10_000u32 {
            buf.push(b"x");
            if round % 100 == 99 {
                buf.consume(100);
            }
        }
        assert!(buf.is_empty());
        assert!(buf.storage.len() <= 200, "grew to {}", buf.storage.len());
    }

    #[test]
    fn a_large_buffer_is_given_back_when_nothing_is_in_it() {
        let mut buf = ReadBuf::default();
        buf.push(&[0; 100_000]);
        buf.give_back(1000);
        assert_eq!(buf.len(), 100_000, "it holds something");
        buf.lend();
        buf.give_back(1000);
        assert_eq!(buf.lent().len(), 100_000, "it lends something");
        buf.repay();
        buf.give_back(buf.storage.capacity());
        assert!(buf.storage.capacity() >= 100_000, "it is not larger");
        buf.give_back(1000);
        assert_eq!(buf.storage.capacity(), 0);
    }

    #[test]
    fn bytes_that_are_taken_make_room_before_more_is_asked_for() {
        let mut buf = ReadBuf::default();
        buf.push(b"half");
        for _ in 0..10_000 {
            // It is never empty.
            buf.fill(64, |room| Ok(room.len())).unwrap();
            buf.consume(64);
        }
        assert!(buf.storage.len() <= 128, "grew to {}", buf.storage.len());
        // What is unread is never forgotten for it.
        let mut buf = filled(b"0123456789");
        buf.consume(6);
        buf.fill(8, |room| {
            room[..2].copy_from_slice(b"ab");
            Ok(2)
        })
        .unwrap();
        assert_eq!(buf.unread(), b"6789ab");
    }

    #[test]
    fn fault_b20_offsets_start_over_when_everything_was_taken() {
        let mut buf = filled(b"abc");
        buf.consume(3);
        buf.push(b"d");
        assert_eq!((buf.start, buf.end), (0, 1));
    }

    #[test]
    fn a_budget_is_spent_by_frames_and_by_what_they_cost() {
        let (mut buf, mut lines) = (filled(b"a\nb\nc\nd\n"), Line::default());
        buf.begin_budget(3);
        assert_eq!(buf.next(&mut lines).unwrap(), Some(&b"a"[..]));
        assert_eq!((buf.frames_left(), buf.is_budget_spent()), (2, false));
        buf.charge(1);
        assert_eq!(buf.next(&mut lines).unwrap(), Some(&b"b"[..]));
        assert_eq!((buf.frames_left(), buf.is_budget_spent()), (0, true));
        assert_eq!(buf.next(&mut lines).unwrap(), None);
        buf.charge(1);
        assert_eq!(buf.frames_left(), 0, "it cannot owe");
        assert_eq!(buf.unread(), b"c\nd\n");
        buf.begin_budget(1);
        assert_eq!(buf.next(&mut lines).unwrap(), Some(&b"c"[..]));
        // At the end of input there is no next turn to wait for.
        assert_eq!(buf.last(&mut lines).unwrap(), Some(&b"d"[..]));
    }
}
