//! What a client proves to a server, which servers it takes for the right one, and what to do where that fails.

use std::io::ErrorKind;

use super::Failure;
use super::proof::ProofArgs;
#[cfg(feature = "tls")]
use super::trust::{IdentityArgs, TlsArgs, trust_it};
use crate::client::{ClientError, ServerAddress};
#[cfg(feature = "tls")]
use crate::tls::ClientTls;
use crate::wire::HmacKey;

/// Options of every client that dials a server of ours
#[derive(Debug, Clone, Default, clap::Args)]
#[group(skip)]
pub(super) struct AccessArgs {
    #[command(flatten)]
    proof: ProofArgs,
    #[cfg(feature = "tls")]
    #[command(flatten)]
    tls: TlsArgs,
    #[cfg(feature = "tls")]
    #[command(flatten)]
    identity: IdentityArgs,
}

impl AccessArgs {
    /// What they come to. What that needs of files is read here, once, before any server is asked.
    pub(super) fn access(&self) -> Result<Access, Failure> {
        let key = self.proof.key()?;
        #[cfg(feature = "tls")]
        let tls = self.tls.client(self.identity.identity()?)?;
        #[cfg(feature = "tls")]
        if tls.is_none() {
            self.tls.check_needed()?;
            self.identity.check_needed()?;
        }
        Ok(Access {
            key,
            #[cfg(feature = "tls")]
            tls,
        })
    }
}

/// How a server is entered; by default as one that asks for nothing.
#[derive(Debug, Default)]
pub(super) struct Access {
    /// What answers a challenge.
    pub(super) key: Option<HmacKey>,
    /// What begins a session; `None`: no TLS.
    #[cfg(feature = "tls")]
    pub(super) tls: Option<ClientTls>,
}

impl Access {
    /// What went wrong, and what to do about it: what `of_service` says, if anything, or what holds for any.
    pub(super) fn explain(
        &self,
        error: &ClientError,
        address: &ServerAddress,
        of_service: Option<&str>,
    ) -> String {
        let way_out = match (of_service, error) {
            (Some(way_out), _) => way_out.to_owned(),
            (None, ClientError::Timeout { .. }) => "; --timeout raises this limit".to_owned(),
            (None, ClientError::Connect { cause, .. })
                if matches!(
                    cause.kind(),
                    ErrorKind::ConnectionRefused | ErrorKind::NotFound
                ) =>
            {
                "; no server listens there".to_owned()
            }
            _ => way_out(error, address, self.key.is_some()).unwrap_or_default(),
        };
        format!("{error}{way_out}")
    }
}

/// What to do about a server that was not entered, to be said behind the reason.
pub(super) fn way_out(
    error: &ClientError,
    address: &ServerAddress,
    is_proven: bool,
) -> Option<String> {
    match (error, address) {
        (ClientError::NotChallenged { .. }, address) => {
            let over_tls = match address {
                ServerAddress::Host(_) => "; if it is over TLS, say --tls",
                ServerAddress::Unix(_) => "",
            };
            Some(format!(
                "{over_tls}; if it asks for no secret, leave out --secret-file and ONEPOLL_SECRET_FILE"
            ))
        }
        (ClientError::HungUp { .. } | ClientError::Broken { .. }, _) if is_proven => Some(
            "; to a wrong proof a server says nothing: is the secret its own, and is --digest?"
                .to_owned(),
        ),
        #[cfg(feature = "tls")]
        (ClientError::UnknownServer { fingerprint, .. }, _) => Some(trust_it(fingerprint)),
        _ => None,
    }
}
