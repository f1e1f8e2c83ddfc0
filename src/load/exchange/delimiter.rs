//! Answers that end with a delimiter.

/// Finds the end of answers in a stream, however it is cut: looks at every byte once.
#[derive(Debug)]
pub(crate) struct Delimiter {
    bytes: Vec<u8>,
    /// After a mismatch behind so many bytes, how many still match (Knuth, Morris and Pratt).
    fallback: Vec<usize>,
}

impl Delimiter {
    pub(crate) fn new(bytes: &[u8]) -> Self {
        let mut fallback = vec![0; bytes.len() + 1];
        let mut matched = 0;
        for at in 1..bytes.len() {
            while matched > 0 && bytes[at] != bytes[matched] {
                matched = fallback[matched];
            }
            matched += usize::from(bytes[at] == bytes[matched]);
            fallback[at + 1] = matched;
        }
        Self {
            bytes: bytes.to_vec(),
            fallback,
        }
    }

    /// How many delimiters end in `bytes`, where `matched` bytes of one had come before; and whether bytes
    /// follow the last.
    pub(crate) fn count(&self, matched: &mut usize, bytes: &[u8]) -> (usize, bool) {
        if let [one] = self.bytes[..] {
            let count = memchr::memchr_iter(one, bytes).count();
            return (count, bytes.last().is_some_and(|last| *last != one));
        }
        let (mut count, mut rest) = (0, false);
        for byte in bytes {
            while *matched > 0 && *byte != self.bytes[*matched] {
                *matched = self.fallback[*matched];
            }
            *matched += usize::from(*byte == self.bytes[*matched]);
            rest = true;
            if *matched == self.bytes.len() {
                (*matched, rest) = (0, false);
                count += 1;
            }
        }
        (count, rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delimiter_is_found_however_it_was_cut() {
        for (delimiter, text, ends) in [
            (&b"\n"[..], &b"a\nbb\n\nc"[..], 3),
            (b"\r\n\r\n", b"x\r\n\r\r\n\r\ny\r\n\r\n", 2),
            (b"aab", b"aaabaab", 2),
            (b"aa", b"aaaaa", 2),
        ] {
            let delimiter = Delimiter::new(delimiter);
            for cut in 1..=text.len() {
                let mut matched = 0;
                let parts = text.chunks(cut);
                let counts = parts.map(|part| delimiter.count(&mut matched, part).0);
                assert_eq!(counts.sum::<usize>(), ends, "{cut}");
            }
        }
    }
}
