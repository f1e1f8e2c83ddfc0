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
