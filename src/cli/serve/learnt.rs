use sha2::{Digest as _, Sha256};

use crate::config::Lookups;

/// What a configuration's files and hosts were, digested: enough to tell whether one of them changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Learnt([u8; 32]);

impl Learnt {
    pub(super) fn of(lookups: &Lookups) -> Learnt {
        Learnt(Sha256::digest(lookups.record().as_bytes()).into())
    }
}
