//! What members write, as names and as text that is kept, and lists of what is here.

use std::fmt;

use super::name::Name;
use crate::wire::{Escaped, neutralise};

/// How many names or rooms one list shows: an answer is bounded, whatever it is asked about.
pub const LISTED_MAX: usize = 100;

/// How much of what nobody understands is quoted back.
const QUOTED_BYTES_MAX: usize = 32;

/// `#rust` and `rust` are one room: whoever knows IRC writes the one, whoever does not the other.
pub(super) fn room_name(text: &[u8]) -> Option<Name> {
    Name::parse(text.strip_prefix(b"#").unwrap_or(text))
}

/// Text that is kept, with nothing in it that acts on a terminal; none, if it is too long.
pub(super) fn plain(text: &[u8], bytes_max: usize) -> Option<String> {
    let mut plain = Vec::new();
    // At most three bytes for each: no more is copied than may be kept.
    neutralise(&text[..text.len().min(bytes_max + 1)], &mut plain);
    let plain = String::from_utf8(plain).ok()?;
    (plain.len() <= bytes_max).then_some(plain)
}

/// The beginning of what was written, for a notice.
pub(super) fn quoted(text: &[u8]) -> Escaped<'_> {
    Escaped(&text[..text.len().min(QUOTED_BYTES_MAX)])
}

/// Some of `items`, of which there are so many, commas between them.
pub(super) fn list(
    f: &mut fmt::Formatter<'_>,
    items: impl Iterator<Item = impl fmt::Display>,
    len: usize,
) -> fmt::Result {
    for (n, item) in items.take(LISTED_MAX).enumerate() {
        let comma = if n == 0 { "" } else { ", " };
        write!(f, "{comma}{item}")?;
    }
    match len.saturating_sub(LISTED_MAX) {
        0 => Ok(()),
        more => write!(f, " and {more} more"),
    }
}
