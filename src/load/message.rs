//! Messages that begin with their number, so that whatever comes back is recognised.

use crate::load::payload::Payload;
use crate::load::plan::limits::NUMBER_BYTES;

const LETTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
/// In how many places of the payload messages begin, at most.
const PLACES: u64 = 1 << 16;

/// The message of a number: that, and a stretch of the payload.
pub(crate) fn write_message(out: &mut [u8], number: u64, payload: &Payload) {
    // The remainder fits whatever it is cast to.
    let at = payload.start((number % PLACES) as usize);
    out.copy_from_slice(payload.stretch(at, out.len()));
    if let Some(head) = out.first_chunk_mut::<NUMBER_BYTES>() {
        for (place, letter) in head.iter_mut().enumerate() {
            *letter = LETTERS[(number >> (5 * place)) as usize % 32];
        }
    }
}

/// The number a message begins with.
pub(crate) fn number_of(message: &[u8]) -> Option<u64> {
    let head = message.first_chunk::<NUMBER_BYTES>()?;
    head.iter().rev().try_fold(0, |number, letter| {
        let digit = LETTERS.iter().position(|one| one == letter)?;
        Some(number << 5 | digit as u64)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

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
