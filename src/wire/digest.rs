//! Digests as the tutorials print them: lower-case hexadecimal.
//!
//! Knows SHA-256, and MD5, which finds accidents and stops no attacker: two outputs with one MD5 are easily made.
//! Does not know secrets.

use std::fmt::{self, Write as _};
use std::str::FromStr;

use md5::Digest;
use thiserror::Error;

/// The SHA-256 of some bytes.
pub type Sha256Sum = Sum<32>;

/// The MD5 of some bytes.
pub type Md5Sum = Sum<16>;

/// A digest of `N` bytes. Shown as lower-case hexadecimal, read in either case.
///
/// ```
/// use onepoll::wire::{Sha256, Sha256Sum};
///
/// let mut sha256 = Sha256::new();
/// sha256.update(b"hello");
/// let sum = sha256.finish();
/// assert_eq!(sum.to_string().parse::<Sha256Sum>(), Ok(sum));
/// assert!(sum.to_string().starts_with("2cf24dba5fb0a30e26e83b2ac5b9e29e"));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sum<const N: usize>(pub [u8; N]);

impl<const N: usize> fmt::Display for Sum<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digit = |half: u8| char::from(b"0123456789abcdef"[usize::from(half)]);
        self.0.iter().try_for_each(|byte| {
            f.write_char(digit(byte >> 4))?;
            f.write_char(digit(byte & 15))
        })
    }
}

impl<const N: usize> fmt::Debug for Sum<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<const N: usize> FromStr for Sum<N> {
    type Err = NoSum;

    fn from_str(text: &str) -> Result<Sum<N>, NoSum> {
        let no_sum = NoSum { digits: 2 * N };
        if text.len() != 2 * N {
            return Err(no_sum);
        }
        let mut sum = [0; N];
        for (byte, pair) in sum.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let digit = |digit: u8| char::from(digit).to_digit(16);
            let (Some(high), Some(low)) = (digit(pair[0]), digit(pair[1])) else {
                return Err(no_sum);
            };
            *byte = u8::try_from(16 * high + low).map_err(|_| NoSum { digits: 2 * N })?;
        }
        Ok(Sum(sum))
    }
}

/// A text is no digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{digits} hexadecimal digits")]
pub struct NoSum {
    /// How many digits one has.
    pub digits: usize,
}

/// A SHA-256 digest that is fed piece by piece.
#[derive(Debug, Clone, Default)]
pub struct Sha256(sha2::Sha256);

impl Sha256 {
    /// The digest of nothing so far.
    pub fn new() -> Sha256 {
        Sha256::default()
    }

    /// Adds `bytes`; how they are cut makes no difference.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all that was added.
    pub fn finish(self) -> Sha256Sum {
        Sum(self.0.finalize().into())
    }
}

/// An MD5 digest that is fed piece by piece.
///
/// ```
/// use onepoll::wire::{Md5, md5_hex};
///
/// let mut md5 = Md5::new();
/// md5.update(b"hello ");
/// md5.update(b"egg");
/// assert_eq!(md5.finish(), md5_hex(b"hello egg"));
/// ```
#[derive(Debug, Clone, Default)]
pub struct Md5(md5::Md5);

impl Md5 {
    /// The digest of nothing so far.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds `bytes`; how they are cut makes no difference.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all that was added: 32 lower-case hexadecimal digits.
    pub fn finish(self) -> String {
        self.sum().to_string()
    }

    /// The digest of all that was added.
    pub fn sum(self) -> Md5Sum {
        Sum(self.0.finalize().into())
    }
}

/// The MD5 of `bytes`, as Python's `hashlib.md5(bytes).hexdigest()`.
pub fn md5_hex(bytes: &[u8]) -> String {
    let mut md5 = Md5::new();
    md5.update(bytes);
    md5.finish()
}
