use std::collections::HashMap;
use std::hint::black_box;

use sha2::{Digest as _, Sha256};

use super::name::Name;

/// How long a file of names may be, in bytes: 4,096 names of 100 bytes a line, their digests among them.
pub const NAMES_BYTES_MAX: usize = 4096 * 100;

/// How often a connection may be wrong about a token: it is pasted, not guessed.
pub const LOGIN_TRIES: u8 = 3;

const DIGEST_BYTES: usize = 32;

/// The names that belong to somebody, and the SHA-256 of the token that proves it.
///
/// A token is 32 random bytes, so there is nothing that a slow digest would make harder to guess.
#[derive(Debug, Default)]
pub(super) struct Owned {
    /// By key.
    names: HashMap<Name, (Name, [u8; DIGEST_BYTES])>,
}

impl Owned {
    /// Reads a file of lines `NAME SHA256`; empty ones and those that begin with `#` mean nothing.
    pub(super) fn parse(content: &[u8]) -> Result<Owned, String> {
        if content.len() > NAMES_BYTES_MAX {
            return Err(format!("it has more than {NAMES_BYTES_MAX} bytes"));
        }
        let mut names = HashMap::new();
        for (n, line) in content.split(|&byte| byte == b'\n').enumerate() {
            let line = line.trim_ascii();
            if line.is_empty() || line.starts_with(b"#") {
                continue;
            }
            let at = n + 1;
            let (name, digest) = read_line(line).ok_or_else(|| {
                format!(
                    "line {at} is not `NAME SHA256`, as `onepoll secret --name NAME FILE` writes it"
                )
            })?;
            if name.is_guest() {
                return Err(format!(
                    "line {at}: names that begin with guest- are given by the server"
                ));
            }
            if names.insert(name.key(), (name, digest)).is_some() {
                return Err(format!("line {at}: {name} is there twice"));
            }
        }
        Ok(Owned { names })
    }

    /// Whether no name belongs to anybody.
    pub(super) fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Whether this name belongs to somebody, however it is written.
    pub(super) fn has(&self, name: Name) -> bool {
        !self.names.is_empty() && self.names.contains_key(&name.key())
    }

    /// The name whose token this is. All are compared, and each whole, so that the time it takes tells nothing.
    pub(super) fn of_token(&self, token: &[u8]) -> Option<Name> {
        let digest: [u8; DIGEST_BYTES] = Sha256::digest(token).into();
        let mut found = None;
        for (name, known) in self.names.values() {
            if is_equal(known, &digest) {
                found = Some(*name);
            }
        }
        found
    }
}

fn is_equal(one: &[u8; DIGEST_BYTES], other: &[u8; DIGEST_BYTES]) -> bool {
    let differs = one
        .iter()
        .zip(other)
        .fold(0, |differs, (a, b)| differs | (a ^ b));
    black_box(differs) == 0
}

fn read_line(line: &[u8]) -> Option<(Name, [u8; DIGEST_BYTES])> {
    let end = line.iter().position(u8::is_ascii_whitespace)?;
    let (name, digest) = (Name::parse(&line[..end])?, line[end..].trim_ascii());
    let digest = std::str::from_utf8(digest)
        .ok()
        .filter(|text| text.len() == 2 * DIGEST_BYTES)?;
    let mut bytes = [0; DIGEST_BYTES];
    for (byte, pair) in bytes.iter_mut().zip(digest.as_bytes().chunks(2)) {
        let pair = std::str::from_utf8(pair).ok()?;
        *byte = u8::from_str_radix(pair, 16)
            .ok()
            .filter(|_| !pair.starts_with('+'))?;
    }
    Some((name, bytes))
}

/// The line by which `name` belongs to whoever has this token, for a file that has `content` already.
///
/// # Errors
///
/// What is wrong with the name or the file, in a sentence for people.
pub fn line_of_name(name: &str, token: &[u8], content: &[u8]) -> Result<String, String> {
    let owned = Owned::parse(content)?;
    let parsed = Name::parse(name.as_bytes()).filter(|name| !name.is_guest());
    let Some(parsed) = parsed else {
        return Err(format!(
            "'{}' is no name that could belong to anybody: 1 to {} ASCII letters, digits, - _ or ., \
             beginning with a letter or a digit, and not with guest-",
            crate::wire::Escaped(name.as_bytes()),
            super::NAME_BYTES_MAX
        ));
    };
    if owned.has(parsed) {
        return Err(format!(
            "{parsed} is in it already; take its line out first, and the old token is worth nothing"
        ));
    }
    let digest = Sha256::digest(token);
    let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let line = format!("{parsed} {digest}\n");
    if content.len() + line.len() > NAMES_BYTES_MAX {
        return Err(format!("it would have more than {NAMES_BYTES_MAX} bytes"));
    }
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_names_says_whose_token_is_whose() {
        let mut content = b"# people\n\n".to_vec();
        for name in ["Eva", "bob"] {
            let token = format!("the token of {name}");
            let line = line_of_name(name, token.as_bytes(), &content).unwrap();
            content.extend_from_slice(line.as_bytes());
        }
        let owned = Owned::parse(&content).unwrap();
        let name = |token: &[u8]| owned.of_token(token).map(|name| name.to_string());
        assert_eq!(name(b"the token of Eva").as_deref(), Some("Eva"));
        assert_eq!(name(b"the token of bob").as_deref(), Some("bob"));
        for wrong in [&b"the token of Eva\n"[..], b"the token of eva", b"", b"bob"] {
            assert_eq!(name(wrong), None);
        }
        let has = |text: &str| owned.has(Name::parse(text.as_bytes()).unwrap());
        assert!(has("eva") && has("EVA") && has("Bob") && !has("ann"));
        assert!(!Owned::default().has(Name::parse(b"eva").unwrap()) && Owned::default().is_empty());
    }

    #[test]
    fn what_is_wrong_with_a_file_of_names_is_said_with_its_line() {
        let digest = "0f".repeat(32);
        for (content, why) in [
            (
                format!("eva {digest}\nEVA {digest}\n"),
                "line 2: EVA is there twice",
            ),
            (
                format!("guest-7 {digest}\n"),
                "line 1: names that begin with guest-",
            ),
            (
                format!("\neva {}\n", &digest[1..]),
                "line 2 is not `NAME SHA256`",
            ),
            (format!("eva {digest} x\n"), "line 1 is not `NAME SHA256`"),
            (
                format!("eva {}\n", "+f".repeat(32)),
                "line 1 is not `NAME SHA256`",
            ),
            (format!("e a {digest}\n"), "line 1 is not `NAME SHA256`"),
            ("eva\n".into(), "line 1 is not `NAME SHA256`"),
            ("#".repeat(NAMES_BYTES_MAX + 1), "more than 409600 bytes"),
        ] {
            let said = Owned::parse(content.as_bytes()).unwrap_err();
            assert!(said.contains(why), "{said}");
        }
        let good = format!(" eva \t{}\r\n", digest.to_uppercase());
        assert!(Owned::parse(good.as_bytes()).is_ok());
        let taken = line_of_name("EVA", b"x", good.as_bytes()).unwrap_err();
        assert!(taken.starts_with("EVA is in it already"), "{taken}");
        for bad in ["", "e a", "guest-1", "Guest-x", "e\u{301}va"] {
            let said = line_of_name(bad, b"x", b"").unwrap_err();
            assert!(said.contains("is no name that could belong"), "{said}");
        }
        let full = "#".repeat(NAMES_BYTES_MAX - 10);
        assert!(line_of_name("eva", b"x", full.as_bytes()).is_err());
    }
}
