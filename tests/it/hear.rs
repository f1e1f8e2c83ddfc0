//! What a decoder makes of bytes, however they were cut.

use onepoll::wire::{Decode, WireError};

/// Plays the read buffer: keeps what was not taken, and asks until the answer is "not yet".
pub(crate) fn hear<'c, D: Decode, H>(
    mut decoder: D,
    chunks: impl IntoIterator<Item = &'c [u8]>,
    mut note: impl FnMut(&mut Vec<H>, D::Frame<'_>),
) -> (Vec<H>, Result<(), WireError>) {
    let mut heard = Vec::new();
    let mut unread = Vec::new();
    for chunk in chunks {
        unread.extend_from_slice(chunk);
        loop {
            let taken = match decoder.decode(&unread) {
                Ok(None) => break,
                Ok(Some((frame, taken))) => {
                    note(&mut heard, frame);
                    taken
                }
                Err(error) => {
                    let again = decoder.decode(&unread).err();
                    assert_eq!(again.as_ref(), Some(&error), "never is never");
                    return (heard, Err(error));
                }
            };
            assert!(taken > 0, "a frame of no bytes would spin");
            unread.drain(..taken);
        }
    }
    let end = decoder.decode_eof(&unread).map(|frame| {
        assert!(frame.is_none() && unread.is_empty(), "the end left bytes");
    });
    (heard, end)
}
