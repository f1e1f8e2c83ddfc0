//! The bytes that are sent and must come back: a stream that repeats itself, and messages that begin with
//! their number, so that whatever comes back is recognised.

use crate::load::plan::limits::NUMBER_BYTES;

/// A stream of bytes that repeats itself, laid out so that any stretch in flight is one slice: nothing
/// is copied to be sent, and what comes back is compared where it lies.
///
/// No message is a multiple of the cycle long, so neighbouring messages differ, and connections begin
/// at different places of it: an answer which is lost, doubled, or another connection's is not mistaken
/// for the right one. The alphabet is capital letters and digits: upper-casing changes nothing, so a server
/// that answers in capitals can be measured as well.
#[derive(Debug)]
pub struct Payload {
    bytes: Vec<u8>,
    cycle: usize,
    is_fixed: bool,
}

/// How long a cycle may be: prime, and short enough for the cache to hold it and a message.
const CYCLE_BYTES: [usize; 2] = [8191, 8179];
const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

impl Payload {
    /// For messages of `size` bytes, of which up to `in_flight` are read or written in one go.
    pub fn new(size: usize, in_flight: usize) -> Self {
        let [usual, other] = CYCLE_BYTES;
        let is_multiple = size.is_multiple_of(usual);
        let cycle = if is_multiple { other } else { usual };
        let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
        let mut bytes: Vec<u8> = (0..cycle)
            .map(|_| {
                // xorshift: the same bytes in every run
                seed ^= seed << 13;
                seed ^= seed >> 7;
                seed ^= seed << 17;
                ALPHABET[(seed >> 59) as usize]
            })
            .collect();
        // And again from its head, for the stretch that begins at its end.
        for at in 0..size * in_flight {
            bytes.push(bytes[at]);
        }
        Self {
            bytes,
            cycle,
            is_fixed: false,
        }
    }

    /// The same text over and over, of which up to `in_flight` are read or written in one go. Messages
    /// are all alike then: a lost one and its neighbour cannot be told apart.
    pub fn fixed(text: &[u8], in_flight: usize) -> Self {
        Self {
            bytes: text.repeat(in_flight + 1),
            cycle: text.len(),
            is_fixed: true,
        }
    }

    /// The `len` bytes from `at` on; at most the bytes in flight.
    #[inline]
    pub fn stretch(&self, at: usize, len: usize) -> &[u8] {
        &self.bytes[at..at + len]
    }

    /// Where the stream goes on, `len` bytes behind `at`.
    #[inline]
    pub fn advance(&self, at: usize, len: usize) -> usize {
        let at = at + len;
        if at < self.cycle { at } else { at % self.cycle }
    }

    /// Where connection `index` begins.
    pub fn start(&self, index: usize) -> usize {
        if self.is_fixed {
            return 0;
        }
        index.wrapping_mul(2477) % self.cycle
    }
}

/// In how many places of the payload messages begin, at most.
const PLACES: u64 = 1 << 16;

/// The message of a number: that, and a stretch of the payload.
pub(crate) fn write_message(out: &mut [u8], number: u64, payload: &Payload) {
    // The remainder fits whatever it is cast to.
    let at = payload.start((number % PLACES) as usize);
    out.copy_from_slice(payload.stretch(at, out.len()));
    if let Some(head) = out.first_chunk_mut::<NUMBER_BYTES>() {
        for (place, letter) in head.iter_mut().enumerate() {
            *letter = ALPHABET[(number >> (5 * place)) as usize % 32];
        }
    }
}

/// The number a message begins with.
pub(crate) fn number_of(message: &[u8]) -> Option<u64> {
    let head = message.first_chunk::<NUMBER_BYTES>()?;
    head.iter().rev().try_fold(0, |number, letter| {
        let digit = ALPHABET.iter().position(|one| one == letter)?;
        Some(number << 5 | digit as u64)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stretch_crosses_the_end_of_the_cycle() {
        for (size, in_flight) in [(1, 1), (64, 16), (20_000, 8), (3, 40_000), (8191, 2)] {
            let payload = Payload::new(size, in_flight);
            let last = payload.cycle - 1;
            let across = payload.stretch(last, size * in_flight);
            assert_eq!(payload.advance(last, 1), 0);
            for (at, byte) in across.iter().enumerate() {
                assert_eq!(*byte, payload.bytes[(last + at) % payload.cycle]);
            }
        }
    }

    #[test]
    fn neighbours_differ_and_capitals_stay() {
        for size in [16, 64, 8191, 8179, 16_384, 2 * 8191] {
            let payload = Payload::new(size, 1);
            let [one, next] = [0, payload.advance(0, size)].map(|at| payload.stretch(at, size));
            assert_ne!(one, next, "{size}");
            assert_eq!(payload.bytes.to_ascii_uppercase(), payload.bytes);
        }
        let payload = Payload::new(64, 1);
        assert_ne!(payload.start(0), payload.start(1));
    }

    #[test]
    fn a_number_survives_its_letters() {
        let payload = Payload::new(64, 1);
        let mut message = [0; 64];
        for number in [0, 1, 31, 32, 65_535, 65_536, (1 << 40) - 1] {
            write_message(&mut message, number, &payload);
            assert_eq!(number_of(&message), Some(number));
            assert_eq!(message.to_ascii_uppercase(), message);
        }
        assert_eq!(number_of(b"AAAAAAA"), None);
        assert_eq!(number_of(b"aaaaaaaa"), None);
    }
}
