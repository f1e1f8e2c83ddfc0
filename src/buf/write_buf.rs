use std::io;
use std::ops::Range;

/// Bytes that were said and that the socket did not take yet.
#[derive(Debug, Default)]
pub struct WriteBuf {
    bytes: Vec<u8>,
    /// How many of `bytes` have left already.
    sent: usize,
    /// The byte before the first that is still to be sent; none, if none has left.
    before: Option<u8>,
}

impl WriteBuf {
    /// How many bytes are still to be sent.
    pub fn len(&self) -> usize {
        self.bytes.len() - self.sent
    }

    /// How many bytes it has memory for.
    pub(crate) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Whether everything has left.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The end of the queue, for appending.
    pub fn tail(&mut self) -> &mut Vec<u8> {
        // What has left is dropped when it outweighs what has not: each byte moves once on average.
        if self.sent > self.bytes.len() / 2 {
            self.bytes.drain(..self.sent);
            self.sent = 0;
        }
        &mut self.bytes
    }

    /// A buffer for what is left of bytes of which the last that left is this.
    pub fn after(before: Option<u8>) -> WriteBuf {
        WriteBuf {
            before,
            ..WriteBuf::default()
        }
    }

    /// What is still to be sent.
    pub fn unsent(&self) -> &[u8] {
        &self.bytes[self.sent..]
    }

    /// The byte before that.
    pub fn before(&self) -> Option<u8> {
        self.before
    }

    /// Puts other bytes in the place of some that are still to be sent, counted from the first of those.
    pub fn replace(&mut self, range: Range<usize>, with: &[u8]) {
        let range = range.start + self.sent..range.end + self.sent;
        self.bytes.splice(range, with.iter().copied());
        self.bytes.drain(..self.sent);
        self.sent = 0;
        // What is kept is read more slowly than it came, so much more may come; not more than there was.
        self.bytes.shrink_to(2 * self.bytes.len());
    }

    /// Offers what is queued to `write` once, and returns how many bytes it took.
    pub fn flush(&mut self, write: impl FnOnce(&[u8]) -> io::Result<usize>) -> io::Result<usize> {
        let n = write(&self.bytes[self.sent..])?;
        assert!(n <= self.len(), "a write takes no more than it was given");
        self.sent += n;
        if n > 0 {
            self.before = Some(self.bytes[self.sent - 1]);
        }
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_left_needs_no_memory_though_the_queue_is_never_empty() {
        // Of one of them exactly a half has left at some time, of the other never.
        for first in [1000, 1050] {
            let mut buf = WriteBuf::default();
            buf.tail().resize(first, 0);
            for _ in 0..100_000 {
                buf.tail().extend_from_slice(&[0; 100]);
                assert_eq!(buf.flush(|_| Ok(100)).unwrap(), 100);
            }
            assert_eq!(buf.len(), first);
            assert!(buf.bytes.capacity() <= 8 * 1000, "{}", buf.bytes.capacity());
        }
    }

    #[test]
    fn a_long_queue_is_not_moved_with_every_write() {
        let mut buf = WriteBuf::default();
        buf.tail().extend_from_slice(&[0; 1 << 20]);
        let first = buf.tail().as_ptr();
        // Less has left than is left: nothing is worth moving.
        for _ in 0..1000 {
            assert_eq!(buf.flush(|_| Ok(100)).unwrap(), 100);
            buf.tail();
            assert_eq!(buf.bytes.len() - buf.sent, buf.len());
        }
        assert_eq!((buf.sent, buf.bytes.as_ptr()), (100_000, first));
    }

    #[test]
    fn fault_b19_short_writes_lose_and_repeat_nothing() {
        let mut buf = WriteBuf::default();
        let (mut said, mut sent) = (Vec::new(), Vec::new());
        for round in 0..200u8 {
            let word = vec![round; usize::from(round % 7) + 1];
            said.extend_from_slice(&word);
            buf.tail().extend_from_slice(&word);
            buf.flush(|bytes| {
                let n = bytes.len().min(usize::from(round % 5));
                sent.extend_from_slice(&bytes[..n]);
                Ok(n)
            })
            .unwrap();
        }
        while !buf.is_empty() {
            buf.flush(|bytes| {
                sent.push(bytes[0]);
                Ok(1)
            })
            .unwrap();
        }
        assert_eq!(said, sent);
    }

    #[test]
    fn bytes_that_are_still_to_be_sent_can_be_replaced() {
        let mut buf = WriteBuf::after(Some(b'x'));
        assert_eq!((buf.unsent(), buf.before()), (&b""[..], Some(b'x')));
        buf.tail().extend_from_slice(b"0123456789");
        buf.flush(|_| Ok(0)).unwrap();
        assert_eq!(buf.before(), Some(b'x'));
        buf.flush(|_| Ok(3)).unwrap();
        assert_eq!((buf.unsent(), buf.before()), (&b"3456789"[..], Some(b'2')));
        buf.replace(1..4, b"ab");
        assert_eq!((buf.unsent(), buf.before()), (&b"3ab789"[..], Some(b'2')));
        buf.flush(|bytes| Ok(bytes.len())).unwrap();
        assert_eq!((buf.is_empty(), buf.before()), (true, Some(b'9')));
    }

    #[test]
    fn what_was_replaced_by_less_gives_its_memory_back() {
        let mut buf = WriteBuf::default();
        buf.tail().resize(1 << 20, 0);
        buf.replace(0..1 << 19, b"");
        assert!(buf.capacity() <= 1 << 20);
        buf.replace(0..(1 << 19) - 10, b"");
        assert!(buf.capacity() <= 20, "{}", buf.capacity());
    }
}
