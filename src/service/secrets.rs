use serde::{Deserialize, Serialize};

use crate::turn::CHANNEL_BINDING_BYTES;
use crate::wire::{Challenge, Digest, HmacKey, Secret};

/// The secrets that a gate accepts, and how they are to be proven.
///
/// All of them are good, so that one can be replaced by another without a moment at which some clients
/// have the wrong one (fault D18).
#[derive(Debug, Clone)]
pub struct Secrets {
    keys: Vec<HmacKey>,
    pub(super) digest: Digest,
    proof: ProofOf,
}

impl Secrets {
    /// These, which must be some: without any, nobody could ever come in.
    pub fn new(secrets: &[Secret], digest: Digest, proof: ProofOf) -> Option<Secrets> {
        let keys: Vec<HmacKey> = secrets
            .iter()
            .map(|secret| HmacKey::new(secret, digest))
            .collect();
        (!keys.is_empty()).then_some(Secrets {
            keys,
            digest,
            proof,
        })
    }

    /// Whether `proof` proves one of them. Every one is computed, whichever is right, so that the time
    /// it takes does not tell which.
    pub(super) fn are_proven(
        &self,
        challenge: &Challenge,
        binding: Option<&[u8; CHANNEL_BINDING_BYTES]>,
        proof: &[u8],
    ) -> bool {
        let challenge = &challenge[..];
        let mut is_right = false;
        for key in &self.keys {
            if self.proof == ProofOf::Challenge {
                is_right |= key.verify(&[challenge], proof);
            }
            if let Some(binding) = binding {
                is_right |= key.verify(&[challenge, binding], proof);
            }
        }
        is_right
    }
}

/// What a client has to prove its knowledge of a secret by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProofOf {
    /// By the HMAC of the challenge; over TLS also by that of the challenge and the exporter.
    #[default]
    Challenge,
    /// Only by the HMAC of the challenge and the exporter (RFC 9266), which fits one connection: what is
    /// sent on by somebody in between proves nothing (fault D7).
    Exporter,
}
