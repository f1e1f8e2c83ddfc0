//! TLS at a blocking client's end: the records between its socket and its bytes.

use std::io::{self, Read, Write};

use rustls::ClientConnection;

use super::ServerAddress;
use crate::tls::{ClientTls, TlsError, channel_binding, server_name};

/// A session over a socket that somebody else reads and writes.
#[derive(Debug)]
pub(super) struct TlsClient {
    connection: ClientConnection,
    tls: ClientTls,
    /// How the server began, as far as a reader has to see it to know what it is.
    first: Vec<u8>,
    /// The server has said that it will send nothing more.
    pub(super) has_ended: bool,
}

/// So much tells what a server speaks, and is worth showing.
const FIRST_BYTES: usize = 24;

impl TlsClient {
    /// Begins a session with the server at this address.
    pub(super) fn begin(address: &ServerAddress, tls: &ClientTls) -> Result<TlsClient, TlsError> {
        let name = server_name(address).map_err(TlsError::Broken)?;
        Ok(TlsClient {
            connection: tls.begin(name)?,
            tls: tls.clone(),
            first: Vec::new(),
            has_ended: false,
        })
    }

    pub(super) fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// Takes what came off the wire, and appends what it says to `into`.
    pub(super) fn open(&mut self, mut cipher: &[u8], into: &mut Vec<u8>) -> Result<(), TlsError> {
        let lacks = FIRST_BYTES - self.first.len();
        self.first
            .extend_from_slice(&cipher[..cipher.len().min(lacks)]);
        while !cipher.is_empty() && !self.has_ended {
            let read = self.connection.read_tls(&mut cipher);
            read.map_err(|error| TlsError::Broken(error.to_string()))?;
            let state = match self.connection.process_new_packets() {
                Ok(state) => state,
                Err(error) => return Err(self.tls.why(&error, &self.first)),
            };
            let had = into.len();
            into.resize(had + state.plaintext_bytes_to_read(), 0);
            let given = self.connection.reader().read_exact(&mut into[had..]);
            given.map_err(|error| TlsError::Broken(error.to_string()))?;
            self.has_ended = state.peer_has_closed();
        }
        Ok(())
    }

    /// Why it failed, if the connection ended and the server had not said that it would.
    pub(super) fn why_cut(&self) -> String {
        self.tls.why_cut()
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
}
