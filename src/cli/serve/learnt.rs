use sha2::{Digest as _, Sha256};

/// What a configuration's files and hosts were, digested: enough to tell whether one of them changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Learnt([u8; 32]);

impl Learnt {
    /// As this [record](crate::config::Lookups::record) of them says.
    pub(super) fn of(record: &str) -> Learnt {
        Learnt(Sha256::digest(record.as_bytes()).into())
    }
}
