//! What a client answers a server's challenge with.

use std::env;
use std::path::{Path, PathBuf};

use super::Failure;
use crate::endpoint::read_secret;
use crate::wire::{Digest, HmacKey};

/// The environment's name for the file, where no flag names one.
const SECRET_FILE: &str = "ONEPOLL_SECRET_FILE";

/// How a client proves that it knows the server's secret.
#[derive(Debug, Clone, Default, clap::Args)]
#[group(skip)]
pub(super) struct ProofArgs {
    /// A file with the secret of a server that asks for one: its content without a newline at its end, 16
    /// bytes or more, which only you may be able to read [default: $ONEPOLL_SECRET_FILE]
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
    /// With which digest the challenge is answered [default: sha256]
    #[arg(long, value_enum)]
    digest: Option<Digest>,
}

impl ProofArgs {
    /// The key that answers, if there is a secret.
    pub(super) fn key(&self) -> Result<Option<HmacKey>, Failure> {
        let named = self.secret_file.clone().or_else(named_by_environment);
        key(named.as_deref(), self.digest)
    }
}

/// The file that the environment names, if it does.
pub(super) fn named_by_environment() -> Option<PathBuf> {
    let named = env::var_os(SECRET_FILE)?;
    (!named.is_empty()).then(|| named.into())
}

/// The key of the secret in this file.
pub(super) fn key(file: Option<&Path>, digest: Option<Digest>) -> Result<Option<HmacKey>, Failure> {
    match file {
        Some(path) => {
            let secret = read_secret(path).map_err(Failure::usage)?;
            Ok(Some(HmacKey::new(&secret, digest.unwrap_or_default())))
        }
        None if digest.is_some() => Err(Failure::usage(
            "--digest says how a challenge is answered: --secret-file with what",
        )),
        None => Ok(None),
    }
}
