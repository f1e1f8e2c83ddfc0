//! Digests as the tutorials print them: lower-case hexadecimal.
//!
//! Knows MD5, which finds accidents and stops no attacker: two outputs with one MD5 are easily made. Does
//! not know secrets.

use std::fmt::Write;

use md5::Digest;

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
        let digest = self.0.finalize();
        let mut hex = String::with_capacity(2 * digest.len());
        for byte in digest {
            write!(hex, "{byte:02x}").expect("writing to a String does not fail");
        }
        hex
    }
}

/// The MD5 of `bytes`, as Python's `hashlib.md5(bytes).hexdigest()`.
pub fn md5_hex(bytes: &[u8]) -> String {
    let mut md5 = Md5::new();
    md5.update(bytes);
    md5.finish()
}
