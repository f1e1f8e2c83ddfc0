//! TLS at a client's end: the records between its socket and its bytes.
//!
//! A client that was told of no certificate says which one it saw, and sends nothing.

use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex};

use rustls::crypto::ring::default_provider;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, Error};

use crate::tls::{Fingerprint, Trust, Verifier, channel_binding};

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
        let verifier =
            Verifier::of(trust, &provider, Arc::clone(&seen)).map_err(TlsError::Broken)?;
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
        channel_binding(&self.connection)
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
