//! The server, how it is reached, and what to do where it is not.

use std::time::Duration;

use crate::cli::Failure;
use crate::cli::access::{Access, AccessArgs};
use crate::client::{ClientError, FileStream, ServerAddress};
use crate::config::parse_duration;

/// What all that ask a file server have in common.
#[derive(Debug, clap::Args)]
pub(super) struct ServerArgs {
    /// How long the server may take to make any progress: `500ms`, `5s`, `1m`
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = parse_duration)]
    timeout: Duration,
    #[command(flatten)]
    access: AccessArgs,
    /// Prints a line of JSON for each file
    #[arg(long)]
    pub(super) json: bool,
}

/// A server that can be connected to more than once.
#[derive(Debug)]
pub(super) struct Server<'a> {
    address: &'a ServerAddress,
    access: Access,
    patience: Duration,
}

impl<'a> Server<'a> {
    pub(super) fn new(
        address: &'a ServerAddress,
        args: &ServerArgs,
    ) -> Result<Server<'a>, Failure> {
        Ok(Server {
            address,
            access: args.access.access()?,
            patience: args.timeout,
        })
    }

    /// A connection on which nothing was asked yet.
    pub(super) fn connect(&self) -> Result<FileStream, ClientError> {
        #[cfg(feature = "tls")]
        let connected = match &self.access.tls {
            None => FileStream::connect(self.address, self.patience),
            Some(tls) => FileStream::connect_tls(self.address, tls, self.patience),
        };
        #[cfg(not(feature = "tls"))]
        let connected = FileStream::connect(self.address, self.patience);
        let mut stream = connected?;
        if let Some(key) = &self.access.key {
            stream.prove(key)?;
        }
        Ok(stream)
    }

    /// What went wrong, and what to do about it.
    pub(super) fn explain(&self, error: &ClientError) -> String {
        let of_service = match error {
            ClientError::Wire { .. } => {
                Some("; is it a `file` endpoint, and does it ask for a secret (--secret-file)?")
            }
            _ => None,
        };
        self.access.explain(error, self.address, of_service)
    }
}
