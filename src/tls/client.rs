//! What a client needs to begin sessions, and in words why one failed.

use std::sync::{Arc, Mutex};

use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::{AlertDescription, ClientConfig, ClientConnection, Error};

use super::fingerprint::Fingerprint;
use super::identity::{Identity, Introduction};
use super::plain_answer::plain_answer;
use super::provider::{tls_provider, tls_versions};
use super::trust::Trust;
use super::verifier::Verifier;
use crate::config::{Host, Lookups, ServerAddress};

/// Begins a client's sessions: made once, for as many as there will be.
#[derive(Debug, Clone)]
pub struct ClientTls {
    config: Arc<ClientConfig>,
    trust: Trust,
    seen: Arc<Mutex<Option<Fingerprint>>>,
    introduction: Arc<Introduction>,
    remedies: Remedies,
}

/// What to do about a server that is otherwise than expected, in the words of whoever is to do it: options of a command, or
/// keys of a file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Remedies {
    /// It speaks no TLS.
    pub(crate) plain: &'static str,
    /// It asks for a certificate, and there is none.
    pub(crate) ask: &'static str,
    /// What names the certificate that it does not accept.
    pub(crate) cert: &'static str,
}

impl Remedies {
    /// Those of our commands.
    const OPTIONS: Remedies = Remedies {
        plain: "leave out --tls",
        ask: "--cert FILE and --key FILE",
        cert: "--cert",
    };
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
    /// The server wants another certificate of ours, or one at all, and has served us nothing; in words.
    #[error("{0}")]
    NotAdmitted(String),
    /// What went wrong, in words.
    #[error("{0}")]
    Broken(String),
}

impl ClientTls {
    /// With servers that are trusted so, and this certificate for those that ask; fails, in words, if what vouches
    /// for servers cannot be read.
    ///
    /// Every session begins with a whole handshake: none is resumed.
    pub fn new(trust: Trust, identity: Option<Identity>) -> Result<ClientTls, String> {
        ClientTls::look_up(trust, identity, Remedies::OPTIONS, &mut Lookups::live())
    }

    /// The same, with these remedies, and what vouches for servers as it is looked up.
    pub(crate) fn look_up(
        trust: Trust,
        identity: Option<Identity>,
        remedies: Remedies,
        lookups: &mut Lookups,
    ) -> Result<ClientTls, String> {
        let provider = Arc::new(tls_provider());
        let seen = Arc::default();
        let introduction = Arc::new(Introduction::of(identity));
        let verifier = Verifier::of(&trust, &provider, Arc::clone(&seen), lookups)?;
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(tls_versions(true))
            .map_err(|error| error.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_cert_resolver(Arc::clone(&introduction) as _);
        config.resumption = Resumption::disabled();
        Ok(ClientTls {
            config: Arc::new(config),
            trust,
            seen,
            introduction,
            remedies,
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
            _ => match (self.why_plain(first), self.why_not_admitted(error)) {
                (Some(why), _) => TlsError::Broken(why),
                (None, Some(why)) => TlsError::NotAdmitted(why),
                (None, None) => TlsError::Broken(error.to_string()),
            },
        }
    }

    /// What is wrong with a server that began with `first`, if that is no TLS.
    pub(crate) fn why_plain(&self, first: &[u8]) -> Option<String> {
        plain_answer(first, self.remedies.plain)
    }

    /// Why a session failed whose server ended the connection without a word.
    pub(crate) fn why_cut(&self) -> String {
        let cut =
            "the connection ended and the server did not say so: somebody may have cut it off";
        match self.why_gone() {
            Some(why) => format!("{cut}; {why}"),
            None => cut.to_owned(),
        }
    }

    /// Why a server may have ended the connection without a word.
    pub(crate) fn why_gone(&self) -> Option<String> {
        let lacks_one = self.introduction.was_asked() && !self.introduction.has_certificate();
        lacks_one.then(|| self.asked())
    }

    /// What a server means that has asked for a certificate of ours, and then says this.
    fn why_not_admitted(&self, error: &Error) -> Option<String> {
        use AlertDescription as Alert;
        if !self.introduction.was_asked() {
            return None;
        }
        match error {
            // TLS 1.3 has a word for it, TLS 1.2 had not.
            Error::AlertReceived(
                Alert::CertificateRequired | Alert::HandshakeFailure | Alert::BadCertificate,
            ) if !self.introduction.has_certificate() => Some(self.asked()),
            Error::AlertReceived(
                alert @ (Alert::AccessDenied
                | Alert::BadCertificate
                | Alert::CertificateExpired
                | Alert::CertificateRevoked
                | Alert::CertificateUnknown
                | Alert::DecryptError
                | Alert::UnknownCA
                | Alert::UnsupportedCertificate),
            ) => Some(format!(
                "the server does not accept the certificate of {}: {alert:?}",
                self.remedies.cert
            )),
            _ => None,
        }
    }

    /// What a server wants that lets in only clients with a certificate.
    fn asked(&self) -> String {
        let remedy = self.remedies.ask;
        format!("the server asks its clients for a certificate, and none was given: {remedy}")
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
