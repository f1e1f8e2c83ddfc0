//! Whether a client speaks TLS, and which servers it takes for the right one.

use std::path::PathBuf;

use super::Failure;
use crate::tls::{Fingerprint, Trust};

/// Options of every client that speaks TLS
#[derive(Debug, clap::Args)]
pub(super) struct TlsArgs {
    /// Speak TLS; with neither --ca nor --fingerprint, print the certificate's fingerprint and stop
    #[arg(long)]
    tls: bool,
    /// Trust a server for whose name a certificate in this file (PEM) vouches; `system`: those of this machine
    #[arg(long, value_name = "FILE|system", requires = "tls")]
    ca: Option<PathBuf>,
    /// Trust the server whose certificate has this fingerprint, as `onepoll certificate` prints it
    #[arg(long, value_name = "SHA256", requires = "tls", conflicts_with = "ca")]
    fingerprint: Option<String>,
}

impl TlsArgs {
    /// Which servers are trusted; `None`: no TLS.
    pub(super) fn trust(&self) -> Result<Option<Trust>, Failure> {
        if !self.tls {
            return Ok(None);
        }
        Ok(Some(match (&self.ca, &self.fingerprint) {
            (Some(file), _) if file.as_os_str() == "system" => Trust::System,
            (Some(file), _) => Trust::Roots(file.clone()),
            (None, Some(text)) => {
                let fingerprint: Fingerprint = text
                    .parse()
                    .map_err(|wrong| Failure::usage(format_args!("--fingerprint: {wrong}")))?;
                Trust::Certificate(fingerprint)
            }
            (None, None) => Trust::Nobody,
        }))
    }
}
