//! A challenge and its proof: how one side of a connection shows the other that it knows their
//! secret (A1 to A3).
//!
//! Knows keyed digests (HMAC). Does not know which side it is on, where a secret is kept, or where a
//! challenge comes from: that must be random and never the same twice, or a recorded proof
//! is accepted again. A proof identifies the peer when a connection begins; it does not protect what
//! follows.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use thiserror::Error;
use zeroize::Zeroizing;

/// How long a challenge is.
pub const CHALLENGE_BYTES: usize = 32;
/// As long as the shorter of the digests: a shorter secret would be the easier thing to guess.
pub const SECRET_BYTES_MIN: usize = 16;
/// HMAC hashes what is longer than a block of 64 bytes first, so more is no stronger; this leaves
/// room for a secret written in words.
pub const SECRET_BYTES_MAX: usize = 4096;

/// What is to be proven against.
pub type Challenge = [u8; CHALLENGE_BYTES];

/// What proves the knowledge of one secret, and checks such proofs.
///
/// ```
/// use onepoll::wire::{Digest, HmacKey, Secret};
///
/// let secret = Secret::new(b"sixteen bytes or more\n".to_vec())?;
/// let (server, client) = (HmacKey::new(&secret, Digest::Sha256), HmacKey::new(&secret, Digest::Sha256));
/// let challenge = [7; 32]; // from the operating system's random source
/// let proof = client.prove(&challenge);
/// assert_eq!(proof.as_ref().len(), 32);
/// assert!(server.verify(&[&challenge], proof.as_ref()));
/// assert!(!server.verify(&[&[8; 32]], proof.as_ref()));
/// # Ok::<(), onepoll::wire::SecretError>(())
/// ```
#[derive(Clone)]
pub struct HmacKey(Keyed);

/// The key is in it, digested: enough to prove with, and wiped when dropped.
#[derive(Clone)]
enum Keyed {
    Sha256(Hmac<Sha256>),
    Md5(Hmac<md5::Md5>),
}

impl HmacKey {
    /// For `secret`, with `digest`.
    pub fn new(secret: &Secret, digest: Digest) -> Self {
        let key = &secret.0[..];
        let any = "HMAC takes keys of any length";
        Self(match digest {
            Digest::Sha256 => Keyed::Sha256(Hmac::new_from_slice(key).expect(any)),
            Digest::Md5 => Keyed::Md5(Hmac::new_from_slice(key).expect(any)),
        })
    }

    /// Which digest it was made with.
    pub fn digest(&self) -> Digest {
        match self.0 {
            Keyed::Sha256(_) => Digest::Sha256,
            Keyed::Md5(_) => Digest::Md5,
        }
    }

    /// What answers `challenge`. Nothing is allocated.
    pub fn prove(&self, challenge: &Challenge) -> Proof {
        self.code(&[challenge])
    }

    /// What answers `challenge` on a connection that has this channel binding, and on no other.
    pub fn prove_bound(&self, challenge: &Challenge, binding: &[u8; 32]) -> Proof {
        self.code(&[challenge, binding])
    }

    /// Whether `proof` answers these parts of a message, one behind the other: a challenge, or a challenge
    /// and what binds it to its connection. How long that takes does not depend on where it differs; one
    /// of the wrong length proves nothing.
    pub fn verify(&self, message: &[&[u8]], proof: &[u8]) -> bool {
        match &self.0 {
            Keyed::Sha256(hmac) => fed(hmac, message).verify_slice(proof),
            Keyed::Md5(hmac) => fed(hmac, message).verify_slice(proof),
        }
        .is_ok()
    }

    fn code(&self, message: &[&[u8]]) -> Proof {
        let mut bytes = [0; PROOF_BYTES_MAX];
        match &self.0 {
            Keyed::Sha256(hmac) => {
                let code = fed(hmac, message).finalize();
                bytes.copy_from_slice(&code.into_bytes());
            }
            Keyed::Md5(hmac) => {
                let code = fed(hmac, message).finalize();
                bytes[..Digest::Md5.bytes()].copy_from_slice(&code.into_bytes());
            }
        }
        Proof {
            digest: self.digest(),
            bytes,
        }
    }
}

/// With this message, of which it is to be the code.
fn fed<M: Mac + Clone>(keyed: &M, message: &[&[u8]]) -> M {
    let mut hmac = keyed.clone();
    message.iter().for_each(|part| hmac.update(part));
    hmac
}

impl fmt::Debug for HmacKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("HmacKey").field(&self.digest()).finish()
    }
}

/// Which digest a proof is made with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "kebab-case")]
pub enum Digest {
    /// SHA-256.
    #[default]
    Sha256,
    /// MD5, for clients written when Python's `hmac.new` defaulted to it. What is broken of it
    /// (collisions) does not break HMAC; nothing new should begin with it.
    Md5,
}

impl Digest {
    /// How long a proof made with it is.
    pub const fn bytes(self) -> usize {
        match self {
            Digest::Sha256 => 32,
            Digest::Md5 => 16,
        }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Digest::Sha256 => "HMAC-SHA256",
            Digest::Md5 => "HMAC-MD5",
        })
    }
}

const PROOF_BYTES_MAX: usize = Digest::Sha256.bytes();

/// The answer to a challenge, as it is sent: the raw digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proof {
    digest: Digest,
    bytes: [u8; PROOF_BYTES_MAX],
}

impl AsRef<[u8]> for Proof {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.digest.bytes()]
    }
}

/// What both sides know and no third party may. It is wiped when dropped, and never printed.
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// What is in its file: all of that, less one newline at the end, which an editor leaves there.
    pub fn new(content: Vec<u8>) -> Result<Self, SecretError> {
        let mut bytes = Zeroizing::new(content);
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
        }
        match bytes.len() {
            SECRET_BYTES_MIN..=SECRET_BYTES_MAX => Ok(Self(bytes)),
            have => Err(SecretError { have }),
        }
    }
}

#[cfg(feature = "cli")]
impl Secret {
    /// The bytes themselves, where they are to be said: a token.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// A secret of a length that none may have. (An empty key would do for HMAC.)
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a secret has {SECRET_BYTES_MIN} to {SECRET_BYTES_MAX} bytes, not {have}")]
pub struct SecretError {
    have: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seal(key: &[u8], digest: Digest) -> HmacKey {
        HmacKey::new(&Secret::new(key.to_vec()).unwrap(), digest)
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    const LARGER: &[u8] = b"Test Using Larger Than Block-Size Key - Hash Key First";

    #[test]
    fn rfc_4231_and_rfc_2202_agree() {
        let counted: Vec<u8> = (1..=25).collect();
        for (digest, key, message, code) in [
            (
                Digest::Sha256,
                &[0x0b; 20][..],
                &b"Hi There"[..],
                "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
            ),
            (
                Digest::Sha256,
                &[0xaa; 20],
                &[0xdd; 50],
                "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe",
            ),
            (
                Digest::Sha256,
                &counted,
                &[0xcd; 50],
                "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b",
            ),
            (
                Digest::Sha256,
                &[0xaa; 131],
                LARGER,
                "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
            ),
            (
                Digest::Md5,
                &[0x0b; 16],
                b"Hi There",
                "9294727a3638bb1c13f48ef8158bfc9d",
            ),
            (
                Digest::Md5,
                &[0xaa; 16],
                &[0xdd; 50],
                "56be34521d144c88dbb8c733f0e8b3f6",
            ),
            (
                Digest::Md5,
                &counted,
                &[0xcd; 50],
                "697eaf0aca3a3aea3a75164746ffaa79",
            ),
            (
                Digest::Md5,
                &[0xaa; 80],
                LARGER,
                "6b1ab7fe4bd7bf8f0b62e6ce61b9d0cd",
            ),
        ] {
            assert_eq!(hex(seal(key, digest).code(&[message]).as_ref()), code);
        }
    }

    #[test]
    fn a_proof_is_whole_and_of_this_challenge_or_none() {
        for digest in [Digest::Sha256, Digest::Md5] {
            let (ours, other) = (
                seal(b"one secret of us", digest),
                seal(b"one secret of uz", digest),
            );
            let challenge = [7; CHALLENGE_BYTES];
            let proof = ours.prove(&challenge);
            let proof = proof.as_ref();
            assert_eq!(proof.len(), digest.bytes());
            assert!(ours.verify(&[&challenge], proof));
            assert!(!ours.verify(&[&[8; CHALLENGE_BYTES]], proof));
            assert!(!other.verify(&[&challenge], proof));
            assert!(!ours.verify(&[&challenge], &proof[1..]));
            assert!(!ours.verify(&[&challenge], &proof[..proof.len() - 1]));
            assert!(!ours.verify(&[&challenge], &[proof, b"\0"].concat()));
            assert!(!ours.verify(&[&challenge], b""));
            for at in 0..proof.len() {
                let mut false_one = proof.to_vec();
                false_one[at] ^= 1;
                assert!(!ours.verify(&[&challenge], &false_one));
            }
        }
    }

    #[test]
    fn a_message_is_its_parts_one_behind_the_other() {
        let ours = seal(b"one secret of us", Digest::Sha256);
        let whole: [u8; CHALLENGE_BYTES] = std::array::from_fn(|n| n as u8);
        let proof = ours.prove(&whole);
        for at in 0..=whole.len() {
            let (first, second) = whole.split_at(at);
            assert!(ours.verify(&[first, second], proof.as_ref()));
        }
        assert!(!ours.verify(&[&whole, &whole], proof.as_ref()));
        assert!(!ours.verify(&[], proof.as_ref()));
    }

    #[test]
    fn a_secret_is_its_file_less_one_newline() {
        let of = |content: &[u8]| Secret::new(content.to_vec()).map(|secret| secret.0.to_vec());
        assert_eq!(of(b"0123456789abcdef\n"), Ok(b"0123456789abcdef".to_vec()));
        assert_eq!(
            of(b"0123456789abcde\n\n"),
            Ok(b"0123456789abcde\n".to_vec())
        );
        assert_eq!(of(&[b'\n'; 17]), Ok(vec![b'\n'; 16]));
        assert_eq!(of(b"0123456789abcde\n"), Err(SecretError { have: 15 }));
        assert_eq!(of(b""), Err(SecretError { have: 0 }));
        assert!(of(&[1; SECRET_BYTES_MAX]).is_ok());
        assert!(of(&[1; SECRET_BYTES_MAX + 1]).is_err());
    }

    #[test]
    fn neither_shows_the_secret() {
        let secret = Secret::new(b"0123456789abcdef".to_vec()).unwrap();
        assert_eq!(format!("{secret:?}"), "Secret(…)");
        let seal = HmacKey::new(&secret, Digest::Md5);
        assert_eq!(format!("{seal:?}"), "HmacKey(Md5)");
    }

    #[test]
    fn a_digest_has_the_length_that_its_name_promises() {
        for (digest, bytes, name) in [
            (Digest::Sha256, 256 / 8, "HMAC-SHA256"),
            (Digest::Md5, 128 / 8, "HMAC-MD5"),
        ] {
            assert_eq!((digest.bytes(), &*digest.to_string()), (bytes, name));
        }
    }
}
