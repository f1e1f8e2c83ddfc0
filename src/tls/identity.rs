//! A client's own certificate, for servers that ask for one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::sign::CertifiedKey;

use super::certified::{Problem, certified};
use crate::config::Lookups;

/// A certificate and its key, which a client shows to a server that asks for it.
#[derive(Debug, Clone)]
pub struct Identity(Arc<CertifiedKey>);

impl Identity {
    /// The certificates in the file `cert`, and the key in `key`, both PEM; fails, in words behind the name of the
    /// option, if they cannot be used.
    pub fn read(cert: &str, key: &str) -> Result<Identity, String> {
        let read = Identity::look_up(cert, key, &mut Lookups::live());
        read.map_err(|Problem { option, what }| format!("--{option}: {what}"))
    }

    /// The same, as they are looked up.
    pub(crate) fn look_up(
        cert: &str,
        key: &str,
        lookups: &mut Lookups,
    ) -> Result<Identity, Problem> {
        certified(cert, key, lookups).map(Identity)
    }
}

/// What a client answers with when a server asks for its certificate.
#[derive(Debug, Default)]
pub(super) struct Introduction {
    identity: Option<Identity>,
    was_asked: AtomicBool,
}

impl Introduction {
    pub(super) fn of(identity: Option<Identity>) -> Introduction {
        Introduction {
            identity,
            was_asked: AtomicBool::new(false),
        }
    }

    /// Whether a server has asked.
    pub(super) fn was_asked(&self) -> bool {
        self.was_asked.load(Ordering::Relaxed)
    }

    /// Whether there is a certificate to be shown.
    pub(super) fn has_certificate(&self) -> bool {
        self.identity.is_some()
    }
}

impl ResolvesClientCert for Introduction {
    fn resolve(&self, _roots: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.was_asked.store(true, Ordering::Relaxed);
        let identity = self.identity.as_ref();
        identity.map(|identity| Arc::clone(&identity.0))
    }

    fn has_certs(&self) -> bool {
        self.has_certificate()
    }
}
