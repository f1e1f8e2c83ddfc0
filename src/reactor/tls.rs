//! TLS, by rustls: the sessions of a server whose certificate was read.

use std::fmt;
use std::io::{self, IoSlice, Read, Write};
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::{cipher_suite, default_provider};
use rustls::server::{
    ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{Error, RootCertStore, ServerConfig, ServerConnection, SupportedProtocolVersion};

use super::transport::{Broken, Secure, Session, Taken, Written};
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
    config: Arc<ServerConfig>,
    asks_clients: bool,
}

/// The algorithms that we use, ours first: AES-128 costs a quarter less of a handshake than the
/// client's usual first choice, and is as far from being broken.
pub fn tls_provider() -> CryptoProvider {
    let mut provider = default_provider();
    let suites = &mut provider.cipher_suites;
    suites.sort_by_key(|suite| *suite != cipher_suite::TLS13_AES_128_GCM_SHA256);
    provider
}

/// The versions of TLS: 1.3, and 1.2 where that is allowed.
pub fn tls_versions(allows_tls12: bool) -> &'static [&'static SupportedProtocolVersion] {
    static BOTH: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];
    if allows_tls12 { &BOTH } else { &BOTH[..1] }
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
            config: Arc::new(config),
            asks_clients,
        })
    }
}

impl Secure for Tls {
    fn begin(&self) -> io::Result<Box<dyn Session>> {
        let connection =
            ServerConnection::new(Arc::clone(&self.config)).map_err(io::Error::other)?;
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
        let secret = self.connection.export_keying_material(
            [0; 32],
            b"EXPORTER-Channel-Binding",
            // In TLS 1.2 none would be something else than an empty one.
            Some(b""),
        );
        secret.ok()
    }

    fn shrink(&mut self) {
        // With nothing in its buffer, rustls gives back what it has too much of when it is about to read.
        let _ = self.connection.read_tls(&mut NothingYet);
    }
}

/// Takes what rustls writes.
struct Out<'a> {
    write: &'a mut dyn FnMut(&[IoSlice<'_>]) -> io::Result<usize>,
    offered: usize,
}

impl Write for Out<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.offered = slices.iter().map(|slice| slice.len()).sum();
        (self.write)(slices)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A socket with nothing to read.
struct NothingYet;

impl Read for NothingYet {
    fn read(&mut self, _into: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }
}

/// Where records end, in bytes that come in pieces.
#[derive(Debug, Default)]
struct Records {
    /// What came of the header: type, version, and the length of what follows.
    header: [u8; HEADER_BYTES],
    have: usize,
    /// What is to come of the record, once its header is here.
    left: usize,
}

const HEADER_BYTES: usize = 5;

impl Records {
    /// How many bytes came of the record that has not ended.
    fn begun(&self) -> usize {
        if self.have < HEADER_BYTES {
            return self.have;
        }
        let body = usize::from(u16::from_be_bytes([self.header[3], self.header[4]]));
        HEADER_BYTES + body - self.left
    }

    /// How many bytes at the front are of the record that they begin with, or go on with.
    fn measure(&mut self, bytes: &[u8]) -> usize {
        let head = bytes.len().min(HEADER_BYTES - self.have);
        if head > 0 {
            self.header[self.have..self.have + head].copy_from_slice(&bytes[..head]);
            self.have += head;
            if self.have < HEADER_BYTES {
                return head;
            }
            self.left = usize::from(u16::from_be_bytes([self.header[3], self.header[4]]));
        }
        let body = self.left.min(bytes.len() - head);
        self.left -= body;
        if self.left == 0 {
            self.have = 0;
        }
        head + body
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_measured_whole_and_in_pieces() {
        let record = |len: u16| {
            let mut bytes = vec![23, 3, 3];
            bytes.extend(len.to_be_bytes());
            bytes.resize(HEADER_BYTES + usize::from(len), 7);
            bytes
        };
        let lens = [0, 1, 17, 300, 16_640];
        let all: Vec<u8> = lens.into_iter().flat_map(record).collect();
        for piece in [1, 2, 5, 7, 100, all.len()] {
            let (mut records, mut ends, mut at) = (Records::default(), Vec::new(), 0);
            for bytes in all.chunks(piece) {
                let mut bytes = bytes;
                while !bytes.is_empty() {
                    let n = records.measure(bytes);
                    assert!(n > 0);
                    (at, bytes) = (at + n, &bytes[n..]);
                    if records.begun() == 0 {
                        ends.push(at);
                    }
                    assert_eq!(records.begun(), at - ends.last().unwrap_or(&0));
                }
            }
            let mut end = 0;
            let right: Vec<usize> = lens
                .into_iter()
                .map(|len| {
                    end += HEADER_BYTES + usize::from(len);
                    end
                })
                .collect();
            assert_eq!(ends, right, "in pieces of {piece}");
        }
    }
}
