//! Whether a client speaks TLS, and which servers it takes for the right one.

use std::path::PathBuf;

use super::Failure;
use crate::tls::{ClientTls, Fingerprint, Identity, Trust};

/// Options of every client that speaks TLS
#[derive(Debug, Clone, Default, clap::Args)]
#[group(skip)]
pub(super) struct TlsArgs {
    /// Speak TLS; with neither --ca nor --fingerprint, print the certificate's fingerprint and stop
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "true|false")]
    tls: Option<bool>,
    /// Trust a server for whose name a certificate in this file (PEM) vouches; `system`: those of this machine
    #[arg(long, value_name = "FILE|system")]
    ca: Option<PathBuf>,
    /// Trust the server whose certificate has this fingerprint, as `onepoll certificate` prints it
    #[arg(long, value_name = "SHA256", conflicts_with = "ca")]
    fingerprint: Option<String>,
}

impl TlsArgs {
    /// What begins sessions; `None`: no TLS. What it needs of files is read here, before any server is asked.
    pub(super) fn client(&self, identity: Option<Identity>) -> Result<Option<ClientTls>, Failure> {
        if self.tls != Some(true) {
            return Ok(None);
        }
        let (trust, option) = match (&self.ca, &self.fingerprint) {
            (Some(file), _) if file.as_os_str() == "system" => (Trust::System, "--ca system: "),
            (Some(file), _) => (Trust::Roots(file.clone()), "--ca "),
            (None, Some(text)) => {
                let fingerprint: Fingerprint = text
                    .parse()
                    .map_err(|wrong| Failure::usage(format_args!("--fingerprint: {wrong}")))?;
                (Trust::Certificate(fingerprint), "")
            }
            (None, None) => (Trust::Nobody, ""),
        };
        let client = ClientTls::new(trust, identity);
        client
            .map(Some)
            .map_err(|wrong| Failure::usage(format_args!("{option}{wrong}")))
    }

    /// Fails where something is said of a server that speaks TLS, and none is to.
    pub(super) fn check_needed(&self) -> Result<(), Failure> {
        let said = [
            ("ca", self.ca.is_some()),
            ("fingerprint", self.fingerprint.is_some()),
        ];
        match said.iter().find(|(_, is_said)| *is_said) {
            Some((name, _)) => Err(Failure::usage(format_args!(
                "--{name} is about a server that speaks TLS: say --tls, too"
            ))),
            None => Ok(()),
        }
    }
}

/// The certificate of a client, for servers that ask for one
#[derive(Debug, Clone, Default, clap::Args)]
#[group(skip)]
pub(super) struct IdentityArgs {
    /// Our own certificate (PEM), for a server that asks its clients for one; with --tls and --key
    #[arg(long, value_name = "FILE")]
    cert: Option<String>,
    /// The private key of --cert (PEM), which only you may be able to read
    #[arg(long, value_name = "FILE")]
    key: Option<String>,
}

impl IdentityArgs {
    /// What is shown to a server that asks. It is read here, before any server is asked.
    pub(super) fn identity(&self) -> Result<Option<Identity>, Failure> {
        match (&self.cert, &self.key) {
            (None, None) => Ok(None),
            (Some(cert), Some(key)) => Identity::read(cert, key).map(Some).map_err(Failure::usage),
            (Some(_), None) => Err(Failure::usage(
                "--cert needs its private key, too: --key FILE (`onepoll certificate DIR` makes both)",
            )),
            (None, Some(_)) => Err(Failure::usage(
                "--key needs the certificate that it belongs to, too: --cert FILE (`onepoll certificate DIR` makes both)",
            )),
        }
    }

    /// Fails where there is a certificate, and no server that speaks TLS.
    pub(super) fn check_needed(&self) -> Result<(), Failure> {
        match (&self.cert, &self.key) {
            (None, None) => Ok(()),
            _ => Err(Failure::usage(
                "--cert and --key are for a server that speaks TLS: say --tls, too",
            )),
        }
    }
}

/// What to do about a server whose certificate has this fingerprint, and of which nothing is known.
pub(super) fn trust_it(fingerprint: &str) -> String {
    format!("; if that is the one that its operator told you, say --fingerprint {fingerprint}")
}
