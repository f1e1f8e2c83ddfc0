//! The seed of a user of NATS, an nkey: what `nk -gen user` and `nsc` write.
//!
//! Knows the [text](https://docs.nats.io/running-a-nats-service/configuration/securing_nats/auth_intro/nkey_auth) of it,
//! both ways. Signs nothing.

use std::fmt;

use data_encoding::BASE32_NOPAD;
use zeroize::Zeroizing;

/// How many bytes a key of Ed25519 has, the secret one and the public one.
pub const NKEY_BYTES: usize = 32;

/// How long the text of a seed is: 2 bytes say what it is, the key, and 2 bytes of a checksum, in base32.
const SEED_TEXT: usize = 58;

/// With these five bits a seed begins: an `S`.
const SEED: u8 = 18;

/// And with these the public key of a user: a `U`.
const USER: u8 = 20;

/// The secret key of a user.
#[derive(Clone, PartialEq, Eq)]
pub struct NkeySeed(Zeroizing<[u8; NKEY_BYTES]>);

impl NkeySeed {
    /// Reads `SU…`.
    ///
    /// # Errors
    ///
    /// What is wrong, in words that show nothing of it.
    pub fn read(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let is_public = text.len() == 56 && !text.starts_with('S');
        if is_public {
            return Err("is a public key; a seed begins with SU".into());
        }
        if text.len() != SEED_TEXT {
            return Err(format!(
                "has {} characters, and the seed of an nkey {SEED_TEXT}: write it alone on one line",
                text.len()
            ));
        }
        // Into a buffer that is wiped, also when it is half a seed.
        let mut bytes = Zeroizing::new([0; NKEY_BYTES + 4]);
        BASE32_NOPAD
            .decode_mut(text.as_bytes(), &mut bytes[..])
            .map_err(|partial| {
                format!(
                    "is no seed of an nkey: character {} is none of A to Z and 2 to 7",
                    partial.error.position + 1
                )
            })?;
        let [first, second, key @ .., low, high] = &bytes[..] else {
            return Err("is no seed of an nkey".into());
        };
        // Five bits say that it is a seed, the next five whose.
        let (kind, whose) = (first >> 3, (first & 0b111) << 2 | second >> 6);
        if checksum(&bytes[..bytes.len() - 2]) != u16::from_le_bytes([*low, *high]) {
            return Err("has a typing error: its checksum is wrong".into());
        }
        if kind != SEED {
            return Err("is no seed of an nkey; one of a user begins with SU".into());
        }
        if whose != USER {
            return Err(format!(
                "is the seed of {}; write that of a user, which begins with SU",
                owner(whose)
            ));
        }
        let mut seed = Zeroizing::new([0; NKEY_BYTES]);
        seed.copy_from_slice(key);
        Ok(Self(seed))
    }

    /// The key itself.
    pub fn bytes(&self) -> &[u8; NKEY_BYTES] {
        &self.0
    }
}

impl fmt::Debug for NkeySeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NkeySeed")
    }
}

/// The text of a user's public key, by which servers know the user: `U…`.
pub fn nkey_user(public: &[u8; NKEY_BYTES]) -> String {
    let mut bytes = vec![USER << 3];
    bytes.extend_from_slice(public);
    let sum = checksum(&bytes);
    bytes.extend_from_slice(&sum.to_le_bytes());
    BASE32_NOPAD.encode(&bytes)
}

/// Whose a key is, in words.
fn owner(kind: u8) -> &'static str {
    match kind {
        0 => "an account",
        2 => "a cluster",
        13 => "a server",
        14 => "an operator",
        23 => "an encryption key",
        _ => "something else",
    }
}

/// CRC-16/XMODEM, as nkeys have it.
fn checksum(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |sum: u16, byte| {
        let sum = sum ^ u16::from(*byte) << 8;
        (0..8).fold(sum, |sum, _| match sum & 0x8000 {
            0 => sum << 1,
            _ => sum << 1 ^ 0x1021,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An example of NATS' own documentation, which nobody uses.
    const DOCUMENTED: &str = "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY";

    /// The text of a key with these first bytes.
    fn text(first: &[u8], key: &[u8]) -> String {
        let mut bytes = [first, key].concat();
        let sum = checksum(&bytes);
        bytes.extend_from_slice(&sum.to_le_bytes());
        BASE32_NOPAD.encode(&bytes)
    }

    fn seed_of(kind: u8) -> String {
        text(&[SEED << 3 | kind >> 2, kind << 6], &[7; NKEY_BYTES])
    }

    #[test]
    fn the_seed_of_a_user_is_read() {
        assert!(NkeySeed::read(DOCUMENTED).is_ok());
        let ours = seed_of(USER);
        assert!(ours.starts_with("SU"), "{ours}");
        for text in [ours.clone(), format!(" {ours}\r\n")] {
            assert_eq!(NkeySeed::read(&text).unwrap().bytes(), &[7; NKEY_BYTES]);
        }
    }

    #[test]
    fn whatever_else_is_refused_by_what_it_is() {
        let public = nkey_user(&[7; NKEY_BYTES]);
        assert!(public.starts_with('U') && public.len() == 56, "{public}");
        for (wrong, why) in [
            (public, "is a public key"),
            (seed_of(0), "the seed of an account"),
            (seed_of(13), "the seed of a server"),
            (seed_of(14), "the seed of an operator"),
            (text(&[USER << 3, 0], &[7; 32]), "no seed of an nkey"),
            (DOCUMENTED[..57].to_owned(), "has 57 characters"),
            (format!("{DOCUMENTED}A"), "has 59 characters"),
            (DOCUMENTED.to_lowercase(), "character 1 is none of A to Z"),
            (String::new(), "has 0 characters"),
        ] {
            let said = NkeySeed::read(&wrong).unwrap_err();
            assert!(said.contains(why), "{wrong}: {said}");
        }
    }

    #[test]
    fn every_wrong_character_is_found_and_none_is_shown() {
        for at in 0..DOCUMENTED.len() {
            for wrong in ["A", "7", "1", "a", " "] {
                let mut text = DOCUMENTED.to_owned();
                text.replace_range(at..=at, wrong);
                if text != DOCUMENTED {
                    let said = NkeySeed::read(&text).unwrap_err();
                    assert!(!said.contains(&text[..8]), "{said}");
                }
            }
        }
        assert_eq!(
            format!("{:?}", NkeySeed::read(DOCUMENTED).unwrap()),
            "NkeySeed"
        );
    }
}
