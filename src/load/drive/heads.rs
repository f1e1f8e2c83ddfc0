//! The first bytes of answers of which a part has come: they are shown if the rest does not.

/// So much of an answer is kept: more than is shown, so that it is seen whether there is more.
pub(super) const HEAD_BYTES: usize = 40;

/// What came first of the oldest answer on a connection.
#[derive(Debug, Clone, Copy)]
struct Head {
    /// When; of another time it is of another answer.
    since: u64,
    len: usize,
    bytes: [u8; HEAD_BYTES],
}

impl Head {
    const NONE: Self = Self {
        since: 0,
        len: 0,
        bytes: [0; HEAD_BYTES],
    };
}

/// One for each slot; nothing is allocated once they stand.
#[derive(Debug)]
pub(super) struct Heads {
    slots: Box<[Head]>,
}

impl Heads {
    pub(super) fn new(count: usize) -> Self {
        Self {
            slots: vec![Head::NONE; count].into_boxed_slice(),
        }
    }

    /// These bytes came of an answer whose first came then.
    pub(super) fn keep(&mut self, index: usize, since: u64, bytes: &[u8]) {
        let head = &mut self.slots[index];
        if head.since != since {
            head.since = since;
            head.len = bytes.len().min(HEAD_BYTES);
            head.bytes[..head.len].copy_from_slice(&bytes[..head.len]);
        }
    }

    /// How the answer begins whose first byte came then; empty where nothing was kept.
    pub(super) fn of(&self, index: usize, since: u64) -> &[u8] {
        let head = &self.slots[index];
        if since != 0 && head.since == since {
            &head.bytes[..head.len]
        } else {
            &[]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_of_an_answer_are_kept_and_those_of_another_are_not_its() {
        let mut heads = Heads::new(2);
        assert!(heads.of(1, 0).is_empty() && heads.of(1, 7).is_empty());
        heads.keep(1, 7, b"abc");
        heads.keep(1, 7, b"def");
        assert_eq!(heads.of(1, 7), b"abc");
        assert!(heads.of(1, 8).is_empty() && heads.of(0, 7).is_empty());
        heads.keep(1, 8, &[b'x'; 100]);
        assert_eq!(heads.of(1, 8), [b'x'; HEAD_BYTES]);
    }
}
