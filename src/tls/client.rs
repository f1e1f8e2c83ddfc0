//! What a client needs to begin sessions, and in words what becomes of them.

use std::sync::{Arc, Mutex};

use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::{AlertDescription, ClientConfig, ClientConnection, Error};

use super::fingerprint::Fingerprint;
use super::plain_answer::plain_answer;
use super::provider::{tls_provider, tls_versions};
use super::trust::Trust;
use super::verifier::Verifier;
use crate::config::{Host, ServerAddress};

/// Begins a client's sessions: made once, for as many as there will be.
#[derive(Debug, Clone)]
pub struct ClientTls {
    config: Arc<ClientConfig>,
    trust: Trust,
    seen: Arc<Mutex<Option<Fingerprint>>>,
}

/// Why there is no session, or no longer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// Nothing is known of the server whose certificate has this fingerprint.
    #[error("it shows a certificate of which nothing is known here: {0}")]
    Unknown(Fingerprint),
    /// The server shows one certificate, and another one was expected.
    #[error(
        "it shows a certificate with the fingerprint {shown}, and the expected one has {expected}"
    )]
    Other {
        /// The fingerprint of what it showed.
        shown: Fingerprint,
        /// The one that was expected.
        expected: Fingerprint,
    },
    /// What went wrong, in words.
    #[error("{0}")]
    Broken(String),
}

impl ClientTls {
    /// With servers that are trusted so; fails, in words, if what vouches for them cannot be read.
    ///
    /// Every session begins with a whole handshake: none is resumed.
    pub fn new(trust: Trust) -> Result<ClientTls, String> {
        let provider = Arc::new(tls_provider());
        let seen = Arc::default();
        let verifier = Verifier::of(&trust, &provider, Arc::clone(&seen))?;
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(tls_versions(true))
            .map_err(|error| error.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        config.resumption = Resumption::disabled();
        Ok(ClientTls {
            config: Arc::new(config),
            trust,
            seen,
        })
    }

    /// Which servers are trusted.
    pub fn trust(&self) -> &Trust {
        &self.trust
    }

    /// A session with the server of this name.
    pub(crate) fn begin(&self, name: ServerName<'static>) -> Result<ClientConnection, TlsError> {
        let begun = ClientConnection::new(Arc::clone(&self.config), name);
        begun.map_err(|error| TlsError::Broken(error.to_string()))
    }

    /// Why a session failed, whose server had begun with `first`.
    pub(crate) fn why(&self, error: &Error, first: &[u8]) -> TlsError {
        let seen = self.seen.lock().ok().and_then(|seen| *seen);
        match (&self.trust, seen, error) {
            (Trust::Nobody, Some(seen), Error::InvalidCertificate(_)) => TlsError::Unknown(seen),
            (Trust::Certificate(expected), Some(shown), Error::InvalidCertificate(_)) => {
                let expected = *expected;
                TlsError::Other { shown, expected }
            }
            _ => TlsError::Broken(plain_answer(first).unwrap_or_else(|| words(error))),
        }
    }
}

/// The name that the certificate of a server at this address is to have.
pub(crate) fn server_name(address: &ServerAddress) -> Result<ServerName<'static>, String> {
    let host = match address {
        ServerAddress::Host(at) => match &at.host {
            Host::Name(name) => name.clone(),
            Host::Ip(ip) => ip.to_string(),
        },
        ServerAddress::Unix(_) => "localhost".to_owned(),
    };
    ServerName::try_from(host.as_str())
        .map(|name| name.to_owned())
        .map_err(|_| format!("`{host}` cannot be the name of a server with a certificate"))
}

fn words(error: &Error) -> String {
    match error {
        Error::AlertReceived(AlertDescription::CertificateRequired) => {
            "the server asks its clients for a certificate".to_owned()
        }
        error => error.to_string(),
    }
}
