use std::fmt;
use std::io::Write;

/// How many bytes a name has at most: nine letters were enough for IRC's first decade, thirty for
/// its last; a list of names stays readable.
pub const NAME_BYTES_MAX: usize = 32;

/// What the names begin with that the server gives; nobody else may have such a one.
const GUEST: &[u8] = b"guest-";

/// The name of a member or a room.
///
/// ASCII letters, digits, `-`, `_` and `.`, the first a letter or a digit: nothing that hides,
/// reorders, imitates a letter of another alphabet, ends a line, or means something to a format
/// (faults C9, C10). Held in place, so that a name costs no allocation.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Name {
    len: u8,
    /// Zero behind `len`, so that equal names are equal bytes.
    bytes: [u8; NAME_BYTES_MAX],
}

impl Name {
    /// `text` as a name, if it is one.
    pub(super) fn parse(text: &[u8]) -> Option<Name> {
        let allowed = |b: &u8| b.is_ascii_alphanumeric() || b"-_.".contains(b);
        if !text.first()?.is_ascii_alphanumeric() || !text.iter().all(allowed) {
            return None;
        }
        let mut bytes = [0; NAME_BYTES_MAX];
        bytes.get_mut(..text.len())?.copy_from_slice(text);
        let len = u8::try_from(text.len()).ok()?;
        Some(Name { len, bytes })
    }

    /// The name the server gives to its `n`th guest.
    pub(super) fn guest(n: u64) -> Name {
        let mut bytes = [0; NAME_BYTES_MAX];
        let mut room = &mut bytes[..];
        write!(room, "guest-{n}").expect("a number of 20 digits fits behind the word");
        let left = room.len();
        let len = (NAME_BYTES_MAX - left) as u8;
        Name { len, bytes }
    }

    /// The same, of the server that has this tag, which is short, among several.
    pub(super) fn guest_of(tag: &str, n: u64) -> Name {
        // The number of a server's guests has 18 digits at most as long as it lives.
        let text = format!("guest-{tag}-{n}");
        Name::parse(text.as_bytes()).unwrap_or_else(|| Name::guest(n))
    }

    /// Whether only the server may give this name.
    pub(super) fn is_guest(&self) -> bool {
        self.as_bytes()
            .get(..GUEST.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(GUEST))
    }

    /// What two names share that differ in case only: there is one of them at a time.
    pub(super) fn key(mut self) -> Name {
        self.bytes.make_ascii_lowercase();
        self
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(self.as_bytes()).expect("a name is ASCII"))
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fault_c9_c10_a_name_is_plain_and_short() {
        for good in ["eva", "Eva-2_x.y", "7", &"x".repeat(32)] {
            assert_eq!(Name::parse(good.as_bytes()).unwrap().to_string(), good);
        }
        let bad = [
            "",
            "-eva",
            ".eva",
            "*",
            "eva smith",
            "eva:",
            "{}",
            "%s%n",
            "еva",
            "ev\u{200b}a",
            "eva\u{202e}",
            "eva\n",
            "eva\0",
            &"x".repeat(33),
            &"x".repeat(300),
        ];
        for bad in bad {
            assert_eq!(Name::parse(bad.as_bytes()), None, "{bad:?}");
        }
    }

    #[test]
    fn guests_have_names_of_their_own() {
        assert_eq!(Name::guest(7).to_string(), "guest-7");
        assert_eq!(
            Name::guest(u64::MAX).to_string(),
            "guest-18446744073709551615"
        );
        assert!(Name::guest(7).is_guest());
        assert!(Name::parse(b"GUEST-7").unwrap().is_guest());
        assert!(!Name::parse(b"guest").unwrap().is_guest());
    }
}
