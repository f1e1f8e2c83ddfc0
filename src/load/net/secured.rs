//! A TLS session of the load generator: what lies between the socket of a connection and its bytes.
//!
//! It owns no buffer of its own: rustls holds half a record that came, and records that the socket did not
//! take, 64 KiB of them at most.

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendFlags, sendmsg};
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, ProtocolVersion};

use crate::load::measure::failures::{Failure, FailureKind};
use crate::load::net::at_once::at_once;
use crate::load::plan::Plan;
use crate::tls::{ClientTls, NothingYet, Out, channel_binding, server_name};

/// How much ciphertext is read at once: what it holds, and the rest of a record before it, is less than a
/// read of plaintext has room for.
pub(crate) const CIPHER_BYTES: usize = 64 * 1024;
/// So much is read at once before a session stands, whose plaintext nobody has asked for yet: rustls holds this much.
const HANDSHAKE_READ_BYTES: usize = 16 * 1024;
/// What rustls keeps room for at rest; a longer read leaves more behind.
const REST_BYTES: usize = 4 * 1024;
/// So much of what came first tells what a server speaks, and is worth showing.
const FIRST_BYTES: usize = 24;

/// Begins the sessions of a run, all with one configuration.
#[derive(Debug)]
pub(crate) struct Sessions {
    tls: ClientTls,
    name: ServerName<'static>,
    says_bye: bool,
}

impl Sessions {
    /// None for a run without TLS.
    pub(crate) fn of(plan: &Plan, says_bye: bool) -> io::Result<Option<Sessions>> {
        let Some(tls) = plan.tls.clone() else {
            return Ok(None);
        };
        let name = server_name(&plan.endpoint.server()).map_err(io::Error::other)?;
        Ok(Some(Sessions {
            tls,
            name,
            says_bye,
        }))
    }

    /// One more.
    pub(crate) fn begin(&self) -> Result<Session, Failure> {
        match self.tls.begin(self.name.clone()) {
            Ok(connection) => Ok(Session {
                connection,
                tls: self.tls.clone(),
                first: Vec::new(),
                says_bye: self.says_bye,
                has_ended: false,
                holds: 0,
                why: None,
            }),
            Err(_) => Err(FailureKind::Tls.into()),
        }
    }
}

/// What was read of a session at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Opened {
    /// Bytes of plaintext; 0 at the end.
    pub(crate) n: usize,
    /// Whether the next read may find more without another event: of the socket, or of what is held here.
    pub(crate) may_have_more: bool,
}

/// One session.
#[derive(Debug)]
pub(crate) struct Session {
    connection: ClientConnection,
    tls: ClientTls,
    /// How the server began.
    first: Vec<u8>,
    says_bye: bool,
    /// The server has said that it will send nothing more.
    has_ended: bool,
    /// Plaintext, in bytes, that was opened and not taken.
    holds: usize,
    why: Option<String>,
}

impl Session {
    /// Goes on with the handshake as far as the socket allows: whether it is over.
    pub(crate) fn shake_hands(&mut self, fd: &OwnedFd, cipher: &mut [u8]) -> Result<bool, Failure> {
        let room = cipher.len().min(HANDSHAKE_READ_BYTES);
        loop {
            self.flush(fd)?;
            if !self.connection.is_handshaking() {
                return Ok(true);
            }
            let Some(n) = at_once(|| rustix::io::read(fd, &mut cipher[..room]))? else {
                return Ok(false);
            };
            if n == 0 {
                let why = "the server ended the connection in the handshake: if it speaks no TLS, leave out --tls";
                return Err(self.broken(fd, why.to_owned()));
            }
            self.open(fd, &cipher[..n], &mut [])?;
        }
    }

    /// Reads once, and opens it; none if nothing is there now.
    #[cold] // and so not in the way of plain connections
    pub(crate) fn read(
        &mut self,
        fd: &OwnedFd,
        cipher: &mut [u8],
        into: &mut [u8],
    ) -> Result<Option<Opened>, Failure> {
        let room = cipher.len().min(into.len());
        let mut n = self.take(into);
        let mut is_short = false;
        while n == 0 && !self.has_ended {
            let Some(came) = at_once(|| rustix::io::read(fd, &mut cipher[..room]))? else {
                return Ok(None);
            };
            if came == 0 {
                // Somebody between could have done that.
                self.why = Some(self.tls.why_cut());
                return Err(FailureKind::CutOff.into());
            }
            is_short = came < room;
            n = self.open(fd, &cipher[..came], into)?;
        }
        Ok(Some(Opened {
            n,
            may_have_more: !is_short || self.has_ended || self.holds > 0,
        }))
    }

    /// Takes bytes as far as their records leave, and at most 64 KiB that do not: how many; none if there
    /// is no room.
    #[cold]
    pub(crate) fn write(&mut self, fd: &OwnedFd, bytes: &[u8]) -> Result<Option<usize>, Failure> {
        let mut taken = 0;
        while self.flush(fd)? && taken < bytes.len() {
            // It is memory with room in it.
            match self.connection.writer().write(&bytes[taken..]) {
                Ok(n) if n > 0 => taken += n,
                _ => break,
            }
        }
        Ok((taken > 0).then_some(taken))
    }

    /// Writes the records that are there: whether all have left. Being writable again is an event.
    #[cold]
    pub(crate) fn flush(&mut self, fd: &OwnedFd) -> Result<bool, Errno> {
        while self.connection.wants_write() {
            let mut out = Out {
                write: &mut |slices| send(fd, slices),
                offered: 0,
            };
            match self.connection.write_tls(&mut out) {
                Ok(n) if n == out.offered => {}
                Ok(_) => return Ok(false),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(Errno::from_io_error(&error).unwrap_or(Errno::IO)),
            }
        }
        Ok(true)
    }

    /// Says that nothing more will be said, as far as that leaves at once.
    pub(crate) fn bye(&mut self, fd: &OwnedFd) {
        if self.says_bye && !self.connection.is_handshaking() {
            self.connection.send_close_notify();
            let _ = self.flush(fd);
        }
    }

    /// 32 bytes that belong to this session and to no other.
    pub(crate) fn binding(&self) -> Option<[u8; 32]> {
        channel_binding(&self.connection)
    }

    /// Why it failed, in words.
    pub(crate) fn why(&self) -> Option<&str> {
        self.why.as_deref()
    }

    /// What was agreed upon: version and cipher suite, as their standards name them.
    pub(crate) fn agreed(&self) -> Option<String> {
        let version = match self.connection.protocol_version()? {
            ProtocolVersion::TLSv1_3 => "1.3",
            ProtocolVersion::TLSv1_2 => "1.2",
            _ => return None,
        };
        let suite = self.connection.negotiated_cipher_suite()?.suite();
        let suite = suite.as_str()?.replace("TLS13_", "TLS_");
        Some(format!("TLS {version}, {suite}"))
    }

    /// Opens all that came; what `into` has no room for is held.
    fn open(&mut self, fd: &OwnedFd, mut cipher: &[u8], into: &mut [u8]) -> Result<usize, Failure> {
        let is_long = cipher.len() > REST_BYTES;
        if self.first.len() < FIRST_BYTES {
            let lacks = FIRST_BYTES - self.first.len();
            self.first
                .extend_from_slice(&cipher[..cipher.len().min(lacks)]);
        }
        let mut taken = 0;
        while !cipher.is_empty() && !self.has_ended {
            if let Err(error) = self.connection.read_tls(&mut cipher) {
                return Err(self.broken(fd, error.to_string()));
            }
            match self.connection.process_new_packets() {
                Ok(state) => {
                    self.holds = state.plaintext_bytes_to_read();
                    self.has_ended = state.peer_has_closed();
                }
                Err(error) => {
                    let why = self.tls.why(&error, &self.first);
                    return Err(self.broken(fd, why.to_string()));
                }
            }
            taken += self.take(&mut into[taken..]);
        }
        if is_long {
            // With nothing in its buffer, rustls gives back what it has too much of when it is about to read.
            let _ = self.connection.read_tls(&mut NothingYet);
        }
        // An answer to a change of keys.
        self.flush(fd)?;
        Ok(taken)
    }

    /// Takes plaintext that is held.
    fn take(&mut self, into: &mut [u8]) -> usize {
        let mut taken = 0;
        while self.holds > 0 && taken < into.len() {
            match self.connection.reader().read(&mut into[taken..]) {
                Ok(n) if n > 0 => (taken, self.holds) = (taken + n, self.holds - n),
                _ => break,
            }
        }
        taken
    }

    /// Tells the server why, as far as rustls has a word for it.
    fn broken(&mut self, fd: &OwnedFd, why: String) -> Failure {
        let _ = self.flush(fd);
        self.why = Some(why);
        FailureKind::Tls.into()
    }
}

fn send(fd: &OwnedFd, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    let mut nothing = SendAncillaryBuffer::default();
    let sent = rustix::io::retry_on_intr(|| sendmsg(fd, slices, &mut nothing, SendFlags::NOSIGNAL));
    sent.map_err(io::Error::from)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;
    use std::sync::{Arc, mpsc};
    use std::thread::{self, JoinHandle};

    use rcgen::{CertificateParams, KeyPair};
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::net::sockopt::set_socket_send_buffer_size;
    use rustls::pki_types::PrivateKeyDer;
    use rustls::{ServerConfig, ServerConnection, Stream};

    use super::*;
    use crate::tls::{Fingerprint, Trust, tls_provider};

    /// A server that reads nothing before it is told to, and then says how much came in all.
    fn idle_server(socket: UnixStream) -> (Fingerprint, mpsc::Sender<()>, JoinHandle<usize>) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap().der().clone();
        let fingerprint = Fingerprint::of(&certificate);
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(tls_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        let (tell, told) = mpsc::channel();
        let server = thread::spawn(move || {
            let mut socket = socket;
            let mut tls = ServerConnection::new(Arc::new(config)).unwrap();
            while tls.is_handshaking() {
                tls.complete_io(&mut socket).unwrap();
            }
            told.recv().unwrap();
            let mut all = Vec::new();
            let mut stream = Stream::new(&mut tls, &mut socket);
            stream.read_to_end(&mut all).unwrap();
            assert!(all.iter().all(|byte| *byte == 7));
            all.len()
        });
        (fingerprint, tell, server)
    }

    #[test]
    fn what_a_server_does_not_read_is_taken_up_to_a_limit_and_leaves_later() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (fingerprint, tell, server) = idle_server(theirs);
        ours.set_nonblocking(true).unwrap();
        set_socket_send_buffer_size(&ours, 32 * 1024).unwrap();
        let fd = OwnedFd::from(ours);
        let sessions = Sessions {
            tls: ClientTls::new(Trust::Certificate(fingerprint), None).unwrap(),
            name: "localhost".try_into().unwrap(),
            says_bye: true,
        };
        let mut session = sessions.begin().unwrap();
        let mut cipher = vec![0; CIPHER_BYTES];
        let wait = |what| {
            let limit = Timespec {
                tv_sec: 60,
                tv_nsec: 0,
            };
            assert_eq!(poll(&mut [PollFd::new(&fd, what)], Some(&limit)), Ok(1));
        };
        while !session.shake_hands(&fd, &mut cipher).unwrap() {
            wait(PollFlags::IN);
        }
        let bytes = vec![7; 4 << 20];
        let taken = session.write(&fd, &bytes).unwrap().unwrap();
        // What is held, and at the most what the socket took, twice over for its own accounts.
        assert!((64 << 10..192 << 10).contains(&taken), "{taken}");
        assert_eq!(session.write(&fd, &bytes), Ok(None));
        tell.send(()).unwrap();
        let mut sent = taken;
        while sent < bytes.len() {
            match session.write(&fd, &bytes[sent..]).unwrap() {
                Some(n) => sent += n,
                None => wait(PollFlags::OUT),
            }
        }
        while !session.flush(&fd).unwrap() {
            wait(PollFlags::OUT);
        }
        session.bye(&fd);
        drop(fd);
        assert_eq!(server.join().unwrap(), bytes.len());
    }
}
