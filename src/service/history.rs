use std::collections::VecDeque;

use crate::wire::Encode;

/// How many bytes of earlier lines are kept: 1,024 of an ordinary length, and 64 MiB with
/// every room there may be. What is longer than that is not kept at all.
pub const HISTORY_BYTES_MAX: usize = 64 * 1024;

/// The last lines that were said to many, as they were sent, for those that come later.
#[derive(Debug)]
pub(super) struct History {
    bytes: VecDeque<u8>,
    lines: usize,
    lines_max: usize,
}

impl History {
    /// Nothing yet; at most `lines_max` lines.
    pub(super) fn new(lines_max: u32) -> History {
        History {
            bytes: VecDeque::new(),
            lines: 0,
            lines_max: usize::try_from(lines_max).unwrap_or(usize::MAX),
        }
    }

    /// How many lines there are.
    pub(super) fn len(&self) -> usize {
        self.lines
    }

    /// How long they are together.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The memory that it has, in bytes.
    pub(super) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Forgets all of it.
    pub(super) fn clear(&mut self) {
        (self.bytes, self.lines) = (VecDeque::new(), 0);
    }

    /// Remembers whole lines, and forgets the oldest for them.
    pub(super) fn keep(&mut self, said: &[u8]) {
        if self.lines_max == 0 {
            return;
        }
        for line in said.split_inclusive(|&byte| byte == b'\n') {
            self.lines += 1;
            self.bytes.extend(line);
            while self.lines > self.lines_max || self.bytes.len() > HISTORY_BYTES_MAX {
                self.forget_oldest();
            }
        }
        self.bytes.shrink_to(HISTORY_BYTES_MAX);
    }

    fn forget_oldest(&mut self) {
        let end = self.bytes.iter().position(|&byte| byte == b'\n');
        self.bytes
            .drain(..end.map_or(self.bytes.len(), |end| end + 1));
        self.lines -= 1;
    }
}

impl Encode for History {
    fn encode(&self, out: &mut Vec<u8>) {
        let (older, newer) = self.bytes.as_slices();
        out.extend_from_slice(older);
        out.extend_from_slice(newer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replayed(history: &History) -> Vec<u8> {
        let mut out = Vec::new();
        history.encode(&mut out);
        out
    }

    #[test]
    fn the_last_lines_are_kept() {
        let mut history = History::new(3);
        history.keep(b"1\n2\n");
        history.keep(b"3\n4\n5\n");
        assert_eq!(replayed(&history), b"3\n4\n5\n");
        assert_eq!(history.len(), 3);
        let mut none = History::new(0);
        none.keep(b"1\n");
        assert_eq!((none.len(), replayed(&none)), (0, vec![]));
    }

    #[test]
    fn what_one_long_input_needed_is_given_back() {
        for lines_max in [1, 1024] {
            let mut history = History::new(lines_max);
            // One input of many lines, and one line that is too long to be kept.
            history.keep(&b"short\n".repeat(100_000));
            assert!(history.bytes.capacity() <= HISTORY_BYTES_MAX, "{history:?}");
            history.keep(&[&b"x".repeat(8 * HISTORY_BYTES_MAX)[..], b"\n"].concat());
            assert!(history.bytes.capacity() <= HISTORY_BYTES_MAX);
            history.keep(b"again\n");
            assert!(history.bytes.capacity() <= HISTORY_BYTES_MAX);
        }
    }

    #[test]
    fn what_is_kept_is_told_whole_wherever_it_lies() {
        // The bytes go round in their storage, so that the beginning is often behind the end.
        let mut history = History::new(7);
        for n in 0..100_000_u32 {
            history.keep(format!("line {n}\n").as_bytes());
        }
        let expected: String = (99_993..100_000).map(|n| format!("line {n}\n")).collect();
        assert_eq!(replayed(&history), expected.as_bytes());
        assert_eq!(history.bytes(), expected.len());
    }

    #[test]
    fn bytes_are_bounded_as_lines_are() {
        let mut history = History::new(u32::MAX);
        let line = [&b"x".repeat(999)[..], b"\n"].concat();
        (0..1000).for_each(|_| history.keep(&line));
        assert_eq!(history.len(), HISTORY_BYTES_MAX / 1000);
        history.keep(&[&b"x".repeat(HISTORY_BYTES_MAX)[..], b"\n"].concat());
        assert_eq!((history.len(), replayed(&history).len()), (0, 0));
        history.keep(b"again\n");
        assert_eq!(replayed(&history), b"again\n");
    }
}
