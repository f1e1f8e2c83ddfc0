//! The server, how it is reached, and what to do where it is not.

use std::io::ErrorKind;
use std::time::Duration;

use crate::cli::Failure;
use crate::cli::proof::ProofArgs;
use crate::client::{ClientError, FileStream, ServerAddress};
use crate::config::parse_duration;
use crate::wire::HmacKey;

/// What all that ask a file server have in common.
#[derive(Debug, clap::Args)]
pub(super) struct ServerArgs {
    /// How long the server may take to make any progress: `500ms`, `5s`, `1m`
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = parse_duration)]
    timeout: Duration,
    #[command(flatten)]
    proof: ProofArgs,
    #[cfg(feature = "tls")]
    #[command(flatten)]
    tls: crate::cli::trust::TlsArgs,
    #[cfg(feature = "tls")]
    #[command(flatten)]
    identity: crate::cli::trust::IdentityArgs,
    /// Prints a line of JSON for each file
    #[arg(long)]
    pub(super) json: bool,
}

/// A server that can be connected to more than once.
#[derive(Debug)]
pub(super) struct Server<'a> {
    address: &'a ServerAddress,
    args: &'a ServerArgs,
    key: Option<HmacKey>,
}

impl<'a> Server<'a> {
    pub(super) fn new(
        address: &'a ServerAddress,
        args: &'a ServerArgs,
    ) -> Result<Server<'a>, Failure> {
        let key = args.proof.key()?;
        Ok(Server { address, args, key })
    }

    /// A connection on which nothing was asked yet.
    pub(super) fn connect(&self) -> Result<Result<FileStream, ClientError>, Failure> {
        let patience = self.args.timeout;
        #[cfg(feature = "tls")]
        let connected = match self.args.tls.client(self.args.identity.identity()?)? {
            None => {
                self.args.tls.check_needed()?;
                self.args.identity.check_needed()?;
                FileStream::connect(self.address, patience)
            }
            Some(tls) => FileStream::connect_tls(self.address, &tls, patience),
        };
        #[cfg(not(feature = "tls"))]
        let connected = FileStream::connect(self.address, patience);
        Ok(connected.and_then(|mut stream| {
            if let Some(key) = &self.key {
                stream.prove(key)?;
            }
            Ok(stream)
        }))
    }

    /// What went wrong, and what to do about it.
    pub(super) fn explain(&self, error: &ClientError) -> String {
        let way_out = match (error, self.address) {
            (ClientError::NotChallenged { .. }, ServerAddress::Host(_)) => {
                "; if it is over TLS, say --tls; if it asks for no secret, leave out --secret-file and \
                 ONEPOLL_SECRET_FILE"
                    .to_owned()
            }
            (ClientError::NotChallenged { .. }, ServerAddress::Unix(_)) => {
                "; if it asks for no secret, leave out --secret-file and ONEPOLL_SECRET_FILE".to_owned()
            }
            (ClientError::HungUp { .. } | ClientError::Broken { .. }, _) if self.key.is_some() => {
                "; to a wrong proof a server says nothing: is the secret its own, and is --digest?"
                    .to_owned()
            }
            (ClientError::Timeout { .. }, _) => "; --timeout raises this limit".to_owned(),
            (ClientError::Connect { cause, .. }, _)
                if matches!(cause.kind(), ErrorKind::ConnectionRefused | ErrorKind::NotFound) =>
            {
                "; no server listens there".to_owned()
            }
            #[cfg(feature = "tls")]
            (ClientError::UnknownServer { fingerprint, .. }, _) => {
                crate::cli::trust::trust_it(fingerprint)
            }
            (ClientError::Wire { .. }, _) => {
                "; is it a `file` endpoint, and does it ask for a secret (--secret-file)?".to_owned()
            }
            _ => String::new(),
        };
        format!("{error}{way_out}")
    }
}
