use std::net::SocketAddr;

use crate::wire::Sha256Sum;

/// What an operator may want to know of a file later: for the audit, and for the counters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileNote {
    /// What became of it.
    pub fate: FileFate,
    /// Its name; of an upload that was refused, the one that was asked for.
    pub name: String,
    /// How many bytes it has, or of them were sent.
    pub bytes: u64,
    /// Its digest, if it is known.
    pub sha256: Option<Sha256Sum>,
    /// Why it was not stored or not sent.
    pub why: Option<String>,
    /// The other end, since it may be gone: an address, or process and user on this machine.
    pub peer: Option<SocketAddr>,
    /// The same of a process of this machine: its id and its user.
    pub local: Option<(u32, u32)>,
}

/// What became of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileFate {
    /// It is on the disk under its name, and that was synced as the endpoint says.
    Stored,
    /// It came, or was to come, and is not stored.
    Refused,
    /// It was sent to its end.
    Sent,
    /// It was not.
    Unsent,
}
