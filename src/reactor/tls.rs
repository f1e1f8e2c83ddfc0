//! TLS, by rustls: the sessions of a server whose certificate was read.

use std::fmt;
use std::io;
use std::sync::Arc;

use rustls::server::{
    ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::{Error, RootCertStore, ServerConfig};

use super::tls_session::{End, TlsSession};
use super::tls_stock::Stock;
use crate::tls::{tls_provider, tls_versions};
use crate::turn::{Secure, Session};
use crate::wire::Escaped;

/// What a server that is asked for its certificate answers with, and what it asks of its clients.
#[derive(Debug)]
pub struct TlsOptions {
    /// The certificate, what links it to a root, and its key.
    pub certified: Arc<CertifiedKey>,
    /// Roots of the certificates that clients must have; none: they need none.
    pub client_roots: Option<RootCertStore>,
    /// Whether TLS 1.2 will do.
    pub allows_tls12: bool,
}

/// TLS for the connections of a listener.
#[derive(Clone)]
pub struct Tls {
    stock: Arc<Stock>,
    asks_clients: bool,
}

impl Tls {
    /// Sessions with these options; fails if they contradict each other.
    pub fn new(options: TlsOptions) -> Result<Tls, Error> {
        let provider = Arc::new(tls_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(tls_versions(options.allows_tls12))?;
        let asks_clients = options.client_roots.is_some();
        let builder = match options.client_roots {
            None => builder.with_no_client_auth(),
            Some(roots) => {
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                let verifier = verifier
                    .build()
                    .map_err(|wrong| Error::General(wrong.to_string()))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut config = builder.with_cert_resolver(Arc::new(One(options.certified)));
        config.ignore_client_order = true;
        // A resumed handshake costs the server as much as a full one, and tickets would have to be
        // written when nobody asked for anything.
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        // Without it a session of TLS 1.2 has no value that is its own (RFC 9266, 4.1).
        config.require_ems = true;
        Ok(Tls {
            stock: Arc::new(Stock::new(config)),
            asks_clients,
        })
    }
}

impl Secure for Tls {
    fn begin(&self) -> io::Result<Box<dyn Session>> {
        let connection = self.stock.take().map_err(io::Error::other)?;
        Ok(Box::new(TlsSession::new(connection, Server)))
    }

    fn handshake_bytes_max(&self) -> u32 {
        // A ClientHello with post-quantum keys is 1.7 KiB; a client's chain of certificates is longer.
        if self.asks_clients {
            64 << 10
        } else {
            16 << 10
        }
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("asks_clients", &self.asks_clients)
            .finish_non_exhaustive()
    }
}

/// One certificate, whatever name a client asks for.
#[derive(Debug)]
struct One(Arc<CertifiedKey>);

impl ResolvesServerCert for One {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

/// The end of a server.
#[derive(Debug)]
struct Server;

/// How much is shown of what is no TLS.
const SHOWN_BYTES_MAX: usize = 24;

/// The first byte of a record of the handshake, with which every session begins.
const HANDSHAKE: u8 = 22;

impl End for Server {
    fn begins(&mut self, first: &[u8]) -> Option<String> {
        if first.first().is_none_or(|first| *first == HANDSHAKE) {
            return None;
        }
        let shown = Escaped(&first[..first.len().min(SHOWN_BYTES_MAX)]);
        Some(format!(
            "plain bytes came (\"{shown}\"), and this endpoint speaks TLS"
        ))
    }
}
