//! Which servers a client takes for the right one.

use std::path::PathBuf;

use super::fingerprint::Fingerprint;

/// Which servers a client takes for the right one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// Those for whose name an authority of this machine vouches.
    System,
    /// Those for whose name a certificate in this file, PEM, vouches.
    Roots(PathBuf),
    /// The one whose certificate has this fingerprint, whatever its name.
    Certificate(Fingerprint),
    /// None: it says which certificate it saw.
    Nobody,
}
