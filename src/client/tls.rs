//! TLS at a client's end: whom it trusts, and the records between its socket and its bytes.
//!
//! A certificate that no authority vouches for is known by its fingerprint, the SHA-256 of its DER; a client
//! that was told neither says which one it saw, and sends nothing.

use std::fmt;
use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, Mutex};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring::default_provider;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, Error, RootCertStore,
    SignatureScheme,
};
use sha2::{Digest, Sha256};

/// Which servers a client takes for the right one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// Those for whose name an authority of this machine vouches.
    System,
    /// Those for whose name a certificate in this file, PEM, vouches.
    Roots(PathBuf),
    /// The one whose certificate has this fingerprint, whatever its name.
    Certificate(Fingerprint),
    /// None: it says which certificate it saw.
    Nobody,
}

/// The SHA-256 of a certificate, as `openssl x509 -fingerprint -sha256` prints it.
///
/// ```
/// use onepoll::client::Fingerprint;
///
/// let text = ["AB"; 32].join(":");
/// let fingerprint: Fingerprint = text.parse()?;
/// assert_eq!(fingerprint.to_string(), text);
/// assert_eq!("ab".repeat(32).parse(), Ok(fingerprint));
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Of this certificate, DER.
    pub fn of(certificate: &[u8]) -> Fingerprint {
        Fingerprint(Sha256::digest(certificate).into())
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, byte) in self.0.iter().enumerate() {
            let colon = if nth == 0 { "" } else { ":" };
            write!(f, "{colon}{byte:02X}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Fingerprint {
    type Err = String;

    fn from_str(text: &str) -> Result<Fingerprint, String> {
        let digits: Vec<u32> = text
            .chars()
            .filter(|c| *c != ':')
            .map(|c| c.to_digit(16))
            .collect::<Option<_>>()
            .unwrap_or_default();
        let bytes: Vec<u8> = digits
            .chunks(2)
            .filter_map(|pair| match pair {
                [high, low] => u8::try_from(high << 4 | low).ok(),
                _ => None,
            })
            .collect();
        match <[u8; 32]>::try_from(bytes) {
            Ok(bytes) if digits.len() == 64 => Ok(Fingerprint(bytes)),
            _ => Err(
                "a fingerprint is the SHA-256 of a certificate: 64 hexadecimal digits, with or without colons"
                    .to_owned(),
            ),
        }
    }
}

/// Why there is no session, or no longer.
#[derive(Debug)]
pub(super) enum TlsError {
    /// Nothing is known of the server whose certificate has this fingerprint.
    Unknown(Fingerprint),
    /// Its certificate has this fingerprint, and another one was expected.
    Other(Fingerprint),
    /// What went wrong, in words.
    Broken(String),
}

/// A session over a socket that somebody else reads and writes.
#[derive(Debug)]
pub(super) struct TlsClient {
    connection: ClientConnection,
    seen: Arc<Mutex<Option<Fingerprint>>>,
    trust: Trust,
    /// The server has said that it will send nothing more.
    pub(super) has_ended: bool,
}

impl TlsClient {
    /// Begins a session with the server of this name or address.
    pub(super) fn begin(host: &str, trust: &Trust) -> Result<TlsClient, TlsError> {
        let broken = |error: Error| TlsError::Broken(error.to_string());
        let provider = Arc::new(default_provider());
        let seen = Arc::default();
        let verifier = Verifier::of(trust, &provider, Arc::clone(&seen))?;
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(broken)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| TlsError::Broken(format!("`{host}` is no name of a server")))?;
        let connection = ClientConnection::new(Arc::new(config), name).map_err(broken)?;
        Ok(TlsClient {
            connection,
            seen,
            trust: trust.clone(),
            has_ended: false,
        })
    }

    pub(super) fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// Takes what came off the wire, and appends what it says to `into`.
    pub(super) fn open(&mut self, mut cipher: &[u8], into: &mut Vec<u8>) -> Result<(), TlsError> {
        while !cipher.is_empty() && !self.has_ended {
            let read = self.connection.read_tls(&mut cipher);
            read.map_err(|error| TlsError::Broken(error.to_string()))?;
            let state = match self.connection.process_new_packets() {
                Ok(state) => state,
                Err(error) => return Err(self.why(&error)),
            };
            let had = into.len();
            into.resize(had + state.plaintext_bytes_to_read(), 0);
            let given = self.connection.reader().read_exact(&mut into[had..]);
            given.map_err(|error| TlsError::Broken(error.to_string()))?;
            self.has_ended = state.peer_has_closed();
        }
        Ok(())
    }

    /// Puts `plain` into records.
    pub(super) fn seal(&mut self, plain: &[u8]) -> io::Result<Vec<u8>> {
        let mut cipher = Vec::new();
        for part in plain.chunks(16 << 10) {
            self.connection.writer().write_all(part)?;
            self.outgoing(&mut cipher)?;
        }
        self.outgoing(&mut cipher)?;
        Ok(cipher)
    }

    /// What is left to be said when nothing more will be: the end, or why there was no session.
    pub(super) fn last_words(&mut self) -> Vec<u8> {
        if !self.connection.is_handshaking() {
            self.connection.send_close_notify();
        }
        let mut cipher = Vec::new();
        // It is written to memory.
        let _ = self.outgoing(&mut cipher);
        cipher
    }

    fn outgoing(&mut self, cipher: &mut Vec<u8>) -> io::Result<()> {
        while self.connection.wants_write() {
            self.connection.write_tls(cipher)?;
        }
        Ok(())
    }

    /// 32 bytes that both ends of this session know, and that belong to no other one (RFC 9266).
    pub(super) fn binding(&self) -> Option<[u8; 32]> {
        let label = b"EXPORTER-Channel-Binding";
        let secret = self
            .connection
            .export_keying_material([0; 32], label, Some(b""));
        secret.ok()
    }

    fn why(&self, error: &Error) -> TlsError {
        let seen = self.seen.lock().ok().and_then(|seen| *seen);
        match (&self.trust, seen, error) {
            (Trust::Nobody, Some(seen), Error::InvalidCertificate(_)) => TlsError::Unknown(seen),
            (Trust::Certificate(_), Some(seen), Error::InvalidCertificate(_)) => {
                TlsError::Other(seen)
            }
            _ => TlsError::Broken(error.to_string()),
        }
    }
}

/// Judges a server's certificate, and remembers it.
#[derive(Debug)]
struct Verifier {
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
    fn of(
        trust: &Trust,
        provider: &Arc<CryptoProvider>,
        seen: Arc<Mutex<Option<Fingerprint>>>,
    ) -> Result<Verifier, TlsError> {
        let judge = match trust {
            Trust::Certificate(fingerprint) => Judge::One(Some(*fingerprint)),
            Trust::Nobody => Judge::One(None),
            Trust::System => Judge::Roots(by_roots(&system_roots()?, provider)?),
            Trust::Roots(file) => Judge::Roots(by_roots(file, provider)?),
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
) -> Result<Arc<WebPkiServerVerifier>, TlsError> {
    let named = |what: &dyn fmt::Display| TlsError::Broken(format!("{}: {what}", file.display()));
    let bytes = fs::read(file).map_err(|error| named(&error))?;
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

fn system_roots() -> Result<PathBuf, TlsError> {
    let named = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    let usual = SYSTEM_ROOTS.iter().map(PathBuf::from);
    let mut all = named.into_iter().chain(usual);
    all.find(|file| file.is_file()).ok_or_else(|| {
        let usual = SYSTEM_ROOTS.join(", ");
        TlsError::Broken(format!(
            "this machine has no file of authorities that it trusts (looked for: $SSL_CERT_FILE, {usual})"
        ))
    })
}
