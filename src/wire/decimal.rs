//! A length in ASCII decimal digits with nothing behind it (C2).
//!
//! Knows digits. Does not know where a number ends, because the format does not say: the sender
//! waits for an acknowledgement before it sends more, so a reader takes what one burst holds.

use std::io::Write;

use super::{Decode, DecodeSettled, Encode, WireError};

/// The digits of `u64::MAX`: no length that means anything has more.
const DIGITS_MAX: usize = 20;

/// Appends a length in bytes as decimal digits, as the tutorials' `str(len(x)).encode()` does.
///
/// ```
/// use onepoll::wire::{Decimal, Encode};
///
/// let mut out = Vec::new();
/// Decimal(10_240).encode(&mut out);
/// assert_eq!(out, b"10240");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decimal(pub u64);

impl Encode for Decimal {
    fn encode(&self, out: &mut Vec<u8>) {
        write!(out, "{}", self.0).expect("writing to a Vec does not fail");
    }
}

/// Takes a burst of digits as a length in bytes.
///
/// [`decode`](Decode::decode) never has a frame, since another digit may follow; it does say
/// "never" at once. [`settled`](DecodeSettled::settled) and the end of input take what is there. A client
/// on a slow path must therefore wait before it trusts the number: a length cut in two by the
/// network (`10` and `240`) is read wrong by every client of this format, and only a longer wait
/// makes that rare. The other framings do not have this fault.
///
/// The digits, at most 20, are looked at on each call; remembering the sum would cost more state
/// than it saves work.
///
/// # Errors
///
/// [`WireError::Malformed`] for anything but digits, and for more than 20 of them;
/// [`WireError::TooLong`] for a length above `max`.
#[derive(Debug, Clone)]
pub struct DecimalLength {
    max: u64,
}

impl DecimalLength {
    /// A decoder of lengths of at most `max` bytes.
    pub const fn new(max: u64) -> Self {
        Self { max }
    }

    fn value(&self, unread: &[u8]) -> Result<u64, WireError> {
        let mut value = Some(0_u64);
        for (at, byte) in unread.iter().enumerate() {
            if at == DIGITS_MAX {
                return Err(malformed(format!("more than {DIGITS_MAX} digits")));
            }
            if !byte.is_ascii_digit() {
                return Err(malformed(format!("byte {byte:#04x} at {at} is no digit")));
            }
            let digit = u64::from(byte - b'0');
            value = value
                .and_then(|v| v.checked_mul(10))
                .and_then(|v| v.checked_add(digit));
        }
        // What overflows is above any limit; how far above does not matter.
        match value {
            Some(value) if value <= self.max => Ok(value),
            over => Err(WireError::TooLong {
                what: "output",
                len: over.unwrap_or(u64::MAX),
                max: self.max,
            }),
        }
    }
}

impl Decode for DecimalLength {
    type Frame<'b> = u64;

    fn decode(&mut self, unread: &[u8]) -> Result<Option<(u64, usize)>, WireError> {
        self.value(unread)?;
        Ok(None)
    }

    fn decode_eof(&mut self, unread: &[u8]) -> Result<Option<(u64, usize)>, WireError> {
        self.settled(unread)
    }
}

impl DecodeSettled for DecimalLength {
    fn settled(&mut self, unread: &[u8]) -> Result<Option<(u64, usize)>, WireError> {
        let value = self.value(unread)?;
        Ok((!unread.is_empty()).then_some((value, unread.len())))
    }
}

fn malformed(detail: String) -> WireError {
    WireError::Malformed {
        what: "decimal length",
        detail,
    }
}
