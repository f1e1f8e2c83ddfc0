//! ASCII as Python's `bytes` methods see it.
//!
//! Knows which single bytes are letters and which are white space. Does not know any encoding:
//! bytes of 0x80 and above (UTF-8, GBK) are left as they are.

use super::Encode;

/// `bytes`, upper-cased in place as Python's `bytes.upper()` does it: `a` to `z` and nothing else.
///
/// Every byte of a UTF-8 sequence is 0x80 or above and stays. The second byte of a GBK pair may lie
/// among `a` to `z`, and Python changes it there; so does this.
pub fn upper(bytes: &mut [u8]) {
    bytes.make_ascii_uppercase();
}

/// Appends its bytes upper-cased as [`upper`] does.
///
/// ```
/// use onepoll::wire::{Encode, UpperCase};
///
/// let mut out = b"so far: ".to_vec();
/// UpperCase("grüße".as_bytes()).encode(&mut out);
/// assert_eq!(out, "so far: GRüßE".as_bytes());
/// ```
#[derive(Debug, Clone, Copy)]
pub struct UpperCase<'b>(pub &'b [u8]);

impl Encode for UpperCase<'_> {
    fn encode(&self, out: &mut Vec<u8>) {
        let from = out.len();
        out.extend_from_slice(self.0);
        upper(&mut out[from..]);
    }
}

/// `bytes` without white space at both ends, as Python's `bytes.strip()` does it.
///
/// White space is space, `\t`, `\n`, `\r`, `\x0b` and `\x0c`. The standard library's
/// `trim_ascii` is not the same: it leaves the vertical tab.
///
/// ```
/// use onepoll::wire::trim_ascii_white;
///
/// assert_eq!(trim_ascii_white(b"\x0b\thi there\r\n"), b"hi there");
/// ```
pub fn trim_ascii_white(bytes: &[u8]) -> &[u8] {
    let Some(first) = bytes.iter().position(|&b| !is_white(b)) else {
        return &[];
    };
    let last = bytes.iter().rposition(|&b| !is_white(b)).unwrap_or(first);
    &bytes[first..=last]
}

fn is_white(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}
