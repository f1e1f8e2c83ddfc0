//! TLS, by rustls: the sessions of a server whose certificate was read.

use std::fmt;
use std::io::{self, IoSlice, Read, Write};
use std::sync::Arc;

use rustls::server::{
    ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::{Error, RootCertStore, ServerConfig, ServerConnection};

use super::tls_stock::Stock;
use crate::tls::{NothingYet, Out, Records, channel_binding, tls_provider, tls_versions};
use crate::turn::{Broken, Secure, Session, Taken, Written};
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
        Ok(Box::new(TlsSession {
            connection,
            records: Records::default(),
            has_begun: false,
            holds: 0,
            unwritten: 0,
        }))
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

struct TlsSession {
    connection: ServerConnection,
    records: Records,
    /// Whether anything came.
    has_begun: bool,
    /// Plaintext, in bytes, that was opened and not given.
    holds: usize,
    /// Bytes of records that were not written.
    unwritten: usize,
}

impl TlsSession {
    /// Looks how much there is to be written, since rustls does not say.
    fn measure_unwritten(&mut self) {
        self.unwritten = 0;
        if self.connection.wants_write() {
            let mut measure = Out {
                write: &mut |_| Err(io::ErrorKind::WouldBlock.into()),
                offered: 0,
            };
            // It fails, so that nothing is taken.
            let _ = self.connection.write_tls(&mut measure);
            self.unwritten = measure.offered;
        }
    }
}

impl fmt::Debug for TlsSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let connection = &self.connection;
        f.debug_struct("TlsSession")
            .field("is_handshaking", &connection.is_handshaking())
            .field("wants_write", &connection.wants_write())
            .finish_non_exhaustive()
    }
}

/// How much is shown of what is no TLS.
const SHOWN_BYTES_MAX: usize = 24;

/// The first byte of a record of the handshake, with which every session begins.
const HANDSHAKE: u8 = 22;

impl Session for TlsSession {
    fn take(&mut self, cipher: &mut &[u8], records: &mut u32) -> Result<Taken, Broken> {
        if !self.has_begun && cipher.first().is_some_and(|first| *first != HANDSHAKE) {
            let shown = Escaped(&cipher[..cipher.len().min(SHOWN_BYTES_MAX)]);
            return Err(Broken(format!(
                "plain bytes came (\"{shown}\"), and this endpoint speaks TLS"
            )));
        }
        self.has_begun = true;
        // One record, so that its plaintext is taken before the next one's: no buffer is ever full.
        let (mut record, rest) = cipher.split_at(self.records.measure(cipher));
        *cipher = rest;
        while !record.is_empty() {
            match self.connection.read_tls(&mut record) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) => return Err(Broken(error.to_string())),
            }
        }
        *records = records.saturating_sub(1);
        let state = self.connection.process_new_packets();
        self.measure_unwritten();
        let state = state.map_err(|error| Broken(error.to_string()))?;
        self.holds = state.plaintext_bytes_to_read();
        Ok(Taken {
            is_open: !self.connection.is_handshaking(),
            has_ended: state.peer_has_closed(),
        })
    }

    fn give(&mut self, into: &mut [u8]) -> usize {
        let mut given = 0;
        while given < into.len() {
            match self.connection.reader().read(&mut into[given..]) {
                // Nothing more is held; or it never will be, since the peer has ended.
                Ok(0) | Err(_) => break,
                Ok(n) => given += n,
            }
        }
        self.holds -= given;
        given
    }

    fn holds(&self) -> usize {
        self.holds
    }

    fn unopened(&self) -> usize {
        self.records.begun()
    }

    fn unwritten(&self) -> usize {
        self.unwritten
    }

    fn seal(&mut self, plain: &[u8]) -> usize {
        // Its buffer is memory, which takes what there is room for.
        let sealed = self.connection.writer().write(plain).unwrap_or(0);
        self.measure_unwritten();
        sealed
    }

    fn write(
        &mut self,
        write: &mut dyn FnMut(&[IoSlice<'_>]) -> io::Result<usize>,
    ) -> io::Result<Written> {
        let mut out = Out { write, offered: 0 };
        let taken = self.connection.write_tls(&mut out)?;
        let offered = out.offered;
        self.measure_unwritten();
        Ok(Written { taken, offered })
    }

    fn wants_write(&self) -> bool {
        self.connection.wants_write()
    }

    fn bye(&mut self) {
        self.connection.send_close_notify();
        self.measure_unwritten();
    }

    fn binding(&self) -> Option<[u8; 32]> {
        channel_binding(&self.connection)
    }

    fn shrink(&mut self) {
        // With nothing in its buffer, rustls gives back what it has too much of when it is about to read.
        let _ = self.connection.read_tls(&mut NothingYet);
    }
}
