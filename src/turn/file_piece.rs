use std::os::fd::OwnedFd;
use std::sync::Arc;

/// Bytes of a file that are sent from where they lie.
#[derive(Debug, Clone)]
pub struct FilePiece {
    /// The file.
    pub file: Arc<OwnedFd>,
    /// The first of them.
    pub at: u64,
    /// How many.
    pub bytes: u64,
}
