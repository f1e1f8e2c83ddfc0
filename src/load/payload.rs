//! The bytes that are sent and must come back.

/// A cycle of messages, laid out so that any stretch in flight is one slice: nothing is copied to
/// be sent, and what comes back is compared where it lies.
///
/// Neighbouring messages differ, and connections begin at different places of the cycle, so that an
/// answer which is lost, doubled, or somebody else's is not mistaken for the right one. The alphabet
/// is capital letters and digits: upper-casing changes nothing, so a server that answers in capitals
/// can be measured as well.
#[derive(Debug)]
pub struct Payload {
    bytes: Vec<u8>,
    cycle: usize,
    size: usize,
}

/// The cycle is about this long: enough for messages to differ, little enough to stay in the cache.
const CYCLE_BYTES: usize = 8 * 1024;
/// However long a message is, the cycle has a few.
const CYCLE_MESSAGES_MIN: usize = 3;
const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

impl Payload {
    /// Messages of `size` bytes, of which up to `in_flight` are read or written in one go.
    pub fn new(size: usize, in_flight: usize) -> Self {
        let cycle = (CYCLE_BYTES / size).max(CYCLE_MESSAGES_MIN) * size;
        let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
        let mut bytes: Vec<u8> = (0..cycle)
            .map(|_| {
                // xorshift: the same bytes in every run, without a period that a message size divides
                seed ^= seed << 13;
                seed ^= seed >> 7;
                seed ^= seed << 17;
                ALPHABET[(seed >> 59) as usize]
            })
            .collect();
        // The head again behind the tail, as often as it takes.
        for at in 0..size * in_flight {
            bytes.push(bytes[at]);
        }
        Self { bytes, cycle, size }
    }

    /// The `len` bytes from `at` on; at most the bytes in flight.
    #[inline]
    pub fn stretch(&self, at: usize, len: usize) -> &[u8] {
        &self.bytes[at..at + len]
    }

    /// Where the cycle goes on, `len` bytes behind `at`.
    #[inline]
    pub fn advance(&self, at: usize, len: usize) -> usize {
        let at = at + len;
        // A stretch may be longer than the cycle, but hardly ever is.
        if at < self.cycle { at } else { at % self.cycle }
    }

    /// Where connection `index` begins.
    pub fn start(&self, index: usize) -> usize {
        let messages = self.cycle / self.size;
        index.wrapping_mul(7) % messages * self.size
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stretch_crosses_the_end_of_the_cycle() {
        for (size, in_flight) in [(1, 1), (64, 16), (20_000, 8), (3, 40_000)] {
            let payload = Payload::new(size, in_flight);
            let last = payload.cycle - size;
            let across = payload.stretch(last, size * in_flight);
            assert_eq!(across[..size], *payload.stretch(last, size));
            let next = payload.advance(last, size);
            assert_eq!(next, 0);
            for (at, byte) in across[size..].iter().enumerate() {
                assert_eq!(*byte, payload.bytes[at % payload.cycle]);
            }
        }
    }

    #[test]
    fn neighbours_differ_and_capitals_stay() {
        let payload = Payload::new(64, 1);
        assert_ne!(payload.stretch(0, 64), payload.stretch(64, 64));
        assert_ne!(payload.start(0), payload.start(1));
        let mut upper = payload.bytes.clone();
        upper.make_ascii_uppercase();
        assert_eq!(upper, payload.bytes);
    }
}
