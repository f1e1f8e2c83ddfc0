use std::io;

/// Bytes that were said and that the socket did not take yet.
#[derive(Debug, Default)]
pub struct WriteBuf {
    bytes: Vec<u8>,
    /// How many of `bytes` have left already.
    sent: usize,
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

    /// Offers what is queued to `write` once, and returns how many bytes it took.
    pub fn flush(&mut self, write: impl FnOnce(&[u8]) -> io::Result<usize>) -> io::Result<usize> {
        let n = write(&self.bytes[self.sent..])?;
        assert!(n <= self.len(), "a write takes no more than it was given");
        self.sent += n;
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
}
