//! Whether a server's certificate is one that a client trusts.

use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::fingerprint::Fingerprint;
use super::trust::Trust;
use crate::config::Lookups;

/// Judges a server's certificate, and remembers it.
#[derive(Debug)]
pub(super) struct Verifier {
    judge: Judge,
    provider: Arc<CryptoProvider>,
    seen: Arc<Mutex<Option<Fingerprint>>>,
}

#[derive(Debug)]
enum Judge {
    Roots(Arc<WebPkiServerVerifier>),
    One(Option<Fingerprint>),
}

impl Verifier {
    /// Judges as `trust` says; fails, in words, if that cannot be read.
    pub(super) fn of(
        trust: &Trust,
        provider: &Arc<CryptoProvider>,
        seen: Arc<Mutex<Option<Fingerprint>>>,
        lookups: &mut Lookups,
    ) -> Result<Verifier, String> {
        let judge = match trust {
            Trust::Certificate(fingerprint) => Judge::One(Some(*fingerprint)),
            Trust::Nobody => Judge::One(None),
            Trust::System => Judge::Roots(by_roots(&system_roots(lookups)?, provider, lookups)?),
            Trust::Roots(file) => Judge::Roots(by_roots(file, provider, lookups)?),
        };
        Ok(Verifier {
            judge,
            provider: Arc::clone(provider),
            seen,
        })
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let seen = Fingerprint::of(end_entity);
        if let Ok(mut remembered) = self.seen.lock() {
            *remembered = Some(seen);
        }
        match &self.judge {
            Judge::Roots(roots) => {
                roots.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
            }
            Judge::One(Some(right)) if *right == seen => Ok(ServerCertVerified::assertion()),
            Judge::One(_) => Err(CertificateError::UnknownIssuer.into()),
        }
    }

    // Whoever shows a certificate must have its key.
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

fn by_roots(
    file: &Path,
    provider: &Arc<CryptoProvider>,
    lookups: &mut Lookups,
) -> Result<Arc<WebPkiServerVerifier>, String> {
    let named = |what: &dyn fmt::Display| format!("{}: {what}", file.display());
    let content = lookups.file(file, FILE_BYTES_MAX);
    let bytes = content.map_err(|error| named(&error))?.bytes;
    if bytes.len() > FILE_BYTES_MAX {
        return Err(named(&format_args!(
            "it has more than {FILE_BYTES_MAX} bytes, so it is no PEM file"
        )));
    }
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(&bytes) {
        let root = root.map_err(|error| named(&error))?;
        // A system's file may hold some that are of no use here.
        let _ = roots.add(root);
    }
    if roots.is_empty() {
        return Err(named(
            &"it holds no certificate (PEM) that can vouch for another",
        ));
    }
    let builder = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    builder.build().map_err(|error| named(&error))
}

/// Where systems keep the authorities that they trust: Debian and Alpine, Fedora, SUSE, OpenSSL's own.
const SYSTEM_ROOTS: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Longer than what a system has, and not as long as a device that never ends.
const FILE_BYTES_MAX: usize = 1 << 20;

fn system_roots(lookups: &mut Lookups) -> Result<PathBuf, String> {
    let named = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    let usual = SYSTEM_ROOTS.iter().map(PathBuf::from);
    let mut all = named.into_iter().chain(usual);
    let mut is_there = |file: &PathBuf| {
        let found = lookups.file(file, FILE_BYTES_MAX);
        found.map_or_else(|error| error.kind() != ErrorKind::NotFound, |_| true)
    };
    all.find(|file| is_there(file)).ok_or_else(|| {
        let usual = SYSTEM_ROOTS.join(", ");
        format!(
            "this machine has no file of authorities that it trusts (looked for: $SSL_CERT_FILE, {usual})"
        )
    })
}
