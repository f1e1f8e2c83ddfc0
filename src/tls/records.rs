//! The records of TLS, as far as their ends can be seen from outside.

/// Where records end, in bytes that come in pieces.
#[derive(Debug, Default)]
pub(crate) struct Records {
    /// What came of the header: type, version, and the length of what follows.
    header: [u8; HEADER_BYTES],
    have: usize,
    /// What is to come of the record, once its header is here.
    left: usize,
}

const HEADER_BYTES: usize = 5;

impl Records {
    /// How many bytes came of the record that has not ended.
    pub(crate) fn begun(&self) -> usize {
        if self.have < HEADER_BYTES {
            return self.have;
        }
        let body = usize::from(u16::from_be_bytes([self.header[3], self.header[4]]));
        HEADER_BYTES + body - self.left
    }

    /// How many bytes at the front are of the record that they begin with, or go on with.
    pub(crate) fn measure(&mut self, bytes: &[u8]) -> usize {
        let head = bytes.len().min(HEADER_BYTES - self.have);
        if head > 0 {
            self.header[self.have..self.have + head].copy_from_slice(&bytes[..head]);
            self.have += head;
            if self.have < HEADER_BYTES {
                return head;
            }
            self.left = usize::from(u16::from_be_bytes([self.header[3], self.header[4]]));
        }
        let body = self.left.min(bytes.len() - head);
        self.left -= body;
        if self.left == 0 {
            self.have = 0;
        }
        head + body
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_measured_whole_and_in_pieces() {
        let record = |len: u16| {
            let mut bytes = vec![23, 3, 3];
            bytes.extend(len.to_be_bytes());
            bytes.resize(HEADER_BYTES + usize::from(len), 7);
            bytes
        };
        let lens = [0, 1, 17, 300, 16_640];
        let all: Vec<u8> = lens.into_iter().flat_map(record).collect();
        for piece in [1, 2, 5, 7, 100, all.len()] {
            let (mut records, mut ends, mut at) = (Records::default(), Vec::new(), 0);
            for bytes in all.chunks(piece) {
                let mut bytes = bytes;
                while !bytes.is_empty() {
                    let n = records.measure(bytes);
                    assert!(n > 0);
                    (at, bytes) = (at + n, &bytes[n..]);
                    if records.begun() == 0 {
                        ends.push(at);
                    }
                    assert_eq!(records.begun(), at - ends.last().unwrap_or(&0));
                }
            }
            let mut end = 0;
            let right: Vec<usize> = lens
                .into_iter()
                .map(|len| {
                    end += HEADER_BYTES + usize::from(len);
                    end
                })
                .collect();
            assert_eq!(ends, right, "in pieces of {piece}");
        }
    }
}
