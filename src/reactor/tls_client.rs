//! TLS, by rustls: the sessions of a client with one server.

use std::io;

use rustls::Error;
use rustls::pki_types::ServerName;

use super::tls_session::{End, TlsSession};
use crate::config::ServerAddress;
use crate::tls::{ClientTls, server_name};
use crate::turn::{Secure, Session};

/// TLS for connections to one server, which is known by its name or by its certificate.
#[derive(Debug, Clone)]
pub struct TlsClient {
    tls: ClientTls,
    name: ServerName<'static>,
}

impl TlsClient {
    /// Sessions with the server of this address; fails, in words, if no certificate can have its name.
    pub fn new(tls: ClientTls, server: &ServerAddress) -> Result<TlsClient, String> {
        let name = server_name(server)?;
        Ok(TlsClient { tls, name })
    }
}

impl Secure for TlsClient {
    fn begin(&self) -> io::Result<Box<dyn Session>> {
        let connection = self.tls.begin(self.name.clone());
        let client = Client {
            tls: self.tls.clone(),
            first: Vec::new(),
        };
        let connection = connection.map_err(io::Error::other)?;
        Ok(Box::new(TlsSession::new(connection, client)))
    }

    fn handshake_bytes_max(&self) -> u32 {
        // A server's chain of certificates, and the names of all whose certificates it would accept of us.
        64 << 10
    }
}

/// The end of a client.
#[derive(Debug)]
struct Client {
    tls: ClientTls,
    /// How the server began.
    first: Vec<u8>,
}

/// So much of that tells what a server speaks, and is worth showing.
const FIRST_BYTES: usize = 24;

impl End for Client {
    fn begins(&mut self, first: &[u8]) -> Option<String> {
        self.first = first[..first.len().min(FIRST_BYTES)].to_vec();
        self.tls.why_plain(&self.first)
    }

    fn why(&self, error: &Error) -> String {
        self.tls.why(error, &self.first).to_string()
    }

    fn why_gone(&self) -> Option<String> {
        self.tls.why_gone()
    }
}
