//! A connection with a deadline per operation.

use std::io;
use std::net::ToSocketAddrs;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with, sockopt,
};
use rustix::process::geteuid;

use super::deadline::{RequestDeadline, is_patience};
#[cfg(feature = "tls")]
use super::tls::TlsClient;
use super::{ClientError, ServerAddress};
use crate::buf::WriteBuf;
use crate::config::{HostPort, check_private_socket, private_places};
use crate::socket::{
    AF_INET, AF_INET6, Exception, IPPROTO_TCP, SHUT_WR, SOCK_STREAM, Socket, SocketError,
    TCP_NODELAY,
};
#[cfg(feature = "tls")]
use crate::tls::{ClientTls, TlsError};
use crate::wire::{CHALLENGE_BYTES, Challenge, Escaped, HmacKey};

/// How much is read at once.
const READ_BYTES: usize = 64 * 1024;

/// How much is shown of what came unasked.
const SHOWN_BYTES: usize = 40;

/// A connected socket, and the bytes received on it that were not taken yet.
#[derive(Debug)]
pub(super) struct ClientConnection {
    socket: Socket,
    address: String,
    unread: Vec<u8>,
    incoming: Box<[u8]>,
    #[cfg(feature = "tls")]
    tls: Option<Box<TlsClient>>,
}

/// What came of receiving once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Received {
    Nothing,
    /// Something, which over TLS may be a part of a record.
    Something,
    /// Nothing more will.
    End,
}

/// Why nothing was received.
enum Failed {
    Socket(SocketError),
    #[cfg(feature = "tls")]
    Tls(TlsError),
}

impl From<SocketError> for Failed {
    fn from(error: SocketError) -> Failed {
        Failed::Socket(error)
    }
}

impl ClientConnection {
    /// Connects; of a name's addresses, the first that takes the connection.
    pub(super) fn connect(
        address: &ServerAddress,
        deadline: &RequestDeadline,
    ) -> Result<Self, ClientError> {
        let named = address.to_string();
        let socket = match address {
            ServerAddress::Host(host) => connect_tcp(host, deadline)?,
            ServerAddress::Unix(path) => connect_checked(path, deadline).map_err(|cause| {
                let address = named.clone();
                match cause.kind() {
                    io::ErrorKind::PermissionDenied if cause.raw_os_error().is_none() => {
                        ClientError::Untrusted { address, cause }
                    }
                    _ => ClientError::Connect { address, cause },
                }
            })?,
        };
        Ok(Self::of(socket, named))
    }

    /// A connection that somebody else made, at `address`.
    pub(super) fn accepted(socket: OwnedFd, address: String) -> Result<Self, ClientError> {
        match Socket::from_fd(socket) {
            Ok(socket) => {
                send_at_once(&socket);
                Ok(Self::of(socket, address))
            }
            Err(error) => Err(ClientError::Broken {
                address,
                cause: error.into(),
            }),
        }
    }

    fn of(socket: Socket, address: String) -> Self {
        Self {
            socket,
            address,
            unread: Vec::new(),
            incoming: vec![0; READ_BYTES].into_boxed_slice(),
            #[cfg(feature = "tls")]
            tls: None,
        }
    }

    /// From here on it speaks TLS, with a server that is trusted so.
    #[cfg(feature = "tls")]
    pub(super) fn secure(
        &mut self,
        address: &ServerAddress,
        tls: &ClientTls,
        deadline: &RequestDeadline,
    ) -> Result<(), ClientError> {
        let tls = TlsClient::begin(address, tls).map_err(|error| self.insecure(error))?;
        self.tls = Some(Box::new(tls));
        let late = |_| "in the TLS handshake".to_owned();
        while self.tls.as_ref().is_some_and(|tls| tls.is_handshaking()) {
            self.send(b"", deadline)?;
            if !self.fill(deadline, late)? {
                return Err(self.insecure(TlsError::Broken("it hung up in the handshake".into())));
            }
        }
        self.send(b"", deadline)
    }

    /// 32 bytes that belong to this TLS session and to no other; none without TLS.
    fn channel_binding(&self) -> Option<[u8; 32]> {
        #[cfg(feature = "tls")]
        return self.tls.as_ref().and_then(|tls| tls.binding());
        #[cfg(not(feature = "tls"))]
        None
    }

    #[cfg(feature = "tls")]
    fn insecure(&self, error: TlsError) -> ClientError {
        let address = self.address.clone();
        match error {
            TlsError::Unknown(fingerprint) => ClientError::UnknownServer {
                address,
                fingerprint: fingerprint.to_string(),
            },
            TlsError::Other { shown, expected } => ClientError::OtherServer {
                address,
                shown: shown.to_string(),
                expected: expected.to_string(),
            },
            TlsError::NotAdmitted(cause) => ClientError::NotAdmitted { address, cause },
            TlsError::Broken(cause) => ClientError::Tls { address, cause },
        }
    }

    /// Receives once, behind what has come; says how much, which may be nothing of a TLS record that is not
    /// whole. `None` at the end.
    fn receive(&mut self) -> Result<Option<usize>, Failed> {
        #[cfg(feature = "tls")]
        if let Some(tls) = &mut self.tls {
            if tls.has_ended {
                return Ok(None);
            }
            let had = self.unread.len();
            let n = self.socket.recv_into(&mut self.incoming)?;
            if n == 0 {
                return Err(Failed::Tls(TlsError::Broken(tls.why_cut())));
            }
            let opened = tls.open(&self.incoming[..n], &mut self.unread);
            opened.map_err(Failed::Tls)?;
            let got = self.unread.len() - had;
            return Ok((got > 0 || !tls.has_ended).then_some(got));
        }
        let n = self.socket.recv_into(&mut self.incoming)?;
        self.unread.extend_from_slice(&self.incoming[..n]);
        Ok((n > 0).then_some(n))
    }

    /// The address it leads to, as it was given.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// What has come and was not taken.
    pub(super) fn unread(&self) -> &[u8] {
        &self.unread
    }

    /// Drops `len` bytes off the front of what has come.
    pub(super) fn consume(&mut self, len: usize) {
        self.unread.drain(..len);
    }

    /// Takes `len` bytes off the front of what has come.
    pub(super) fn take(&mut self, len: usize) -> Vec<u8> {
        let rest = self.unread.split_off(len);
        std::mem::replace(&mut self.unread, rest)
    }

    /// Waits for a challenge, which nothing else may come with, and answers it.
    pub(super) fn prove(
        &mut self,
        key: &HmacKey,
        deadline: &RequestDeadline,
    ) -> Result<(), ClientError> {
        let progress = |have| format!("{have} of {CHALLENGE_BYTES} bytes of a challenge came");
        let other = |address: &str, what: String| ClientError::NotChallenged {
            address: address.to_owned(),
            what,
        };
        while self.unread.len() < CHALLENGE_BYTES {
            match self.fill(deadline, progress) {
                Ok(true) => {}
                Ok(false) => {
                    let what = format!("it hung up: {}", progress(self.unread.len()));
                    return Err(other(&self.address, what));
                }
                Err(ClientError::Timeout { after, .. }) => {
                    let came = progress(self.unread.len());
                    let what = format!("within {} ms, {came}", after.as_millis());
                    return Err(other(&self.address, what));
                }
                Err(error) => return Err(error),
            }
        }
        let Ok(challenge) = Challenge::try_from(&self.unread[..]) else {
            let shown = Escaped(&self.unread[..self.unread.len().min(SHOWN_BYTES)]).to_string();
            return Err(other(&self.address, format!("it sent \"{shown}\"")));
        };
        self.unread.clear();
        let proof = match self.channel_binding() {
            Some(binding) => key.prove_bound(&challenge, &binding),
            None => key.prove(&challenge),
        };
        self.send(proof.as_ref(), deadline)
    }

    /// Whether nothing came that nobody asked for: an answer that came late or twice would be taken for
    /// that to the next request (fault E15), and everything after it for the one after it. What is still
    /// on the way cannot be seen.
    pub(super) fn check_silent(&mut self) -> Result<(), ClientError> {
        if self.unread.is_empty() {
            // Not `MSG_DONTWAIT`: with a timeout, a call waits before it asks, as in Python.
            let ready = self.socket.setblocking(false).map_err(Failed::from);
            match ready.and_then(|()| self.receive()) {
                Ok(None) => {
                    return Err(ClientError::HungUp {
                        address: self.address.clone(),
                        progress: "after its last answer, so nothing more was asked".to_owned(),
                    });
                }
                Ok(Some(0)) => return Ok(()),
                Ok(Some(_)) => {}
                Err(Failed::Socket(error)) if error.exception() == Exception::BlockingIOError => {
                    return Ok(());
                }
                Err(failed) => return Err(self.failed(failed)),
            }
        }
        let shown = &self.unread[..self.unread.len().min(SHOWN_BYTES)];
        Err(ClientError::Unasked {
            address: self.address.clone(),
            bytes: self.unread.len(),
            shown: Escaped(shown).to_string(),
        })
    }

    /// Whether nothing comes for so long; what comes sooner is behind what has come.
    pub(super) fn is_silent_for(&mut self, silence: Duration) -> bool {
        let ready = self.socket.settimeout(silence).map_err(Failed::from);
        match ready.and_then(|()| self.receive()) {
            // That nothing more will come is for others to find.
            Ok(received) => received.is_none(),
            Err(_) => true,
        }
    }

    /// Reads what has come, without waiting; the end and errors are for others to find.
    pub(super) fn gather(&mut self) {
        while self.unread.len() < READ_BYTES {
            let ready = self.socket.setblocking(false).map_err(Failed::from);
            match ready.and_then(|()| self.receive()) {
                Ok(None | Some(0)) | Err(_) => break,
                Ok(Some(_)) => {}
            }
        }
    }

    /// Sends all of `bytes`.
    pub(super) fn send(
        &mut self,
        bytes: &[u8],
        deadline: &RequestDeadline,
    ) -> Result<(), ClientError> {
        #[cfg(feature = "tls")]
        if let Some(tls) = &mut self.tls {
            let sealed = tls.seal(bytes).map_err(|error| self.broken(error))?;
            return self.send_all(&sealed, deadline);
        }
        self.send_all(bytes, deadline)
    }

    /// Receives once, behind what has come, and waits for nothing. That the connection has ended, or failed, is
    /// said again each time.
    pub(super) fn receive_at_once(&mut self) -> Result<Received, ClientError> {
        let ready = self.socket.setblocking(false).map_err(Failed::from);
        match ready.and_then(|()| self.receive()) {
            Ok(Some(_)) => Ok(Received::Something),
            Ok(None) => Ok(Received::End),
            Err(Failed::Socket(error)) if error.exception() == Exception::BlockingIOError => {
                Ok(Received::Nothing)
            }
            Err(failed) => Err(self.failed(failed)),
        }
    }

    /// Offers the socket these bytes once, and waits for nothing: how many it took.
    pub(super) fn send_at_once(&mut self, bytes: &[u8]) -> Result<usize, ClientError> {
        let ready = self.socket.setblocking(false);
        match ready.and_then(|()| self.socket.send(bytes)) {
            Ok(sent) => Ok(sent),
            Err(error) if error.exception() == Exception::BlockingIOError => Ok(0),
            Err(error) => Err(self.broken(error.into())),
        }
    }

    /// Offers the socket what is queued once, and waits for nothing: how many bytes it took.
    pub(super) fn send_queued(&mut self, queue: &mut WriteBuf) -> Result<usize, ClientError> {
        let mut sent = Ok(0);
        let taken = queue.flush(|bytes| {
            sent = self.send_at_once(bytes);
            Ok(*sent.as_ref().unwrap_or(&0))
        });
        sent.map(|_| taken.unwrap_or(0))
    }

    /// Appends these bytes as the socket is to be given them.
    pub(super) fn seal(&mut self, bytes: &[u8], into: &mut Vec<u8>) -> Result<(), ClientError> {
        #[cfg(feature = "tls")]
        if let Some(tls) = &mut self.tls {
            let sealed = tls.seal(bytes).map_err(|error| self.broken(error))?;
            into.extend_from_slice(&sealed);
            return Ok(());
        }
        into.extend_from_slice(bytes);
        Ok(())
    }

    /// Appends them all, and takes them: without TLS they are not copied where nothing waits before them.
    pub(super) fn seal_all(
        &mut self,
        bytes: &mut Vec<u8>,
        into: &mut Vec<u8>,
    ) -> Result<(), ClientError> {
        #[cfg(feature = "tls")]
        let is_plain = self.tls.is_none();
        #[cfg(not(feature = "tls"))]
        let is_plain = true;
        if is_plain && into.is_empty() {
            std::mem::swap(bytes, into);
            return Ok(());
        }
        let sealed = self.seal(bytes, into);
        bytes.clear();
        sealed
    }

    /// Appends what tells the server, behind all else, that nothing more will be asked; none without TLS.
    #[cfg_attr(
        not(feature = "tls"),
        expect(
            clippy::unused_self,
            reason = "without TLS the end is the socket's alone"
        )
    )]
    pub(super) fn seal_end(&mut self, into: &mut Vec<u8>) {
        #[cfg(feature = "tls")]
        if let Some(tls) = &mut self.tls {
            into.extend_from_slice(&tls.last_words());
        }
        #[cfg(not(feature = "tls"))]
        let _ = into;
    }

    /// Ends what is sent; what comes is received as before.
    pub(super) fn end_sending(&mut self) -> Result<(), ClientError> {
        let ended = self.socket.shutdown(SHUT_WR);
        ended.map_err(|error| self.broken(error.into()))
    }

    /// What can be polled.
    pub(super) fn descriptor(&self) -> Result<Arc<OwnedFd>, ClientError> {
        let descriptor = self.socket.descriptor();
        descriptor.map_err(|error| self.broken(error.into()))
    }

    fn send_all(&mut self, bytes: &[u8], deadline: &RequestDeadline) -> Result<(), ClientError> {
        let late = |sent| self.timeout(deadline, format!("sent {sent} of {} bytes", bytes.len()));
        let Some(left) = deadline.left() else {
            return Err(late(0));
        };
        // The timeout of `sendall` is for all of it.
        let ready = self.socket.settimeout(left);
        match ready.and_then(|()| self.socket.sendall(bytes)) {
            Ok(()) => Ok(()),
            Err(error) if error.exception() == Exception::TimeoutError => Err(late(error.sent())),
            Err(error) => Err(self.broken(error.into())),
        }
    }

    /// Reads once, behind what has come; false at the end. `progress` is what to say when it is late.
    pub(super) fn fill(
        &mut self,
        deadline: &RequestDeadline,
        progress: impl Fn(usize) -> String,
    ) -> Result<bool, ClientError> {
        let Some(left) = deadline.left() else {
            return Err(self.timeout(deadline, progress(self.unread.len())));
        };
        let ready = self.socket.settimeout(left).map_err(Failed::from);
        match ready.and_then(|()| self.receive()) {
            Ok(received) => Ok(received.is_some()),
            Err(Failed::Socket(error)) if error.exception() == Exception::TimeoutError => {
                Err(self.timeout(deadline, progress(self.unread.len())))
            }
            Err(failed) => Err(self.failed(failed)),
        }
    }

    fn timeout(&self, deadline: &RequestDeadline, progress: String) -> ClientError {
        ClientError::Timeout {
            address: self.address.clone(),
            after: deadline.given(),
            progress,
        }
    }

    fn failed(&self, failed: Failed) -> ClientError {
        match failed {
            Failed::Socket(error) => self.broken(error.into()),
            #[cfg(feature = "tls")]
            Failed::Tls(error) => self.insecure(error),
        }
    }

    fn broken(&self, cause: io::Error) -> ClientError {
        ClientError::Broken {
            address: self.address.clone(),
            cause,
        }
    }
}

/// A session ends with a word, or its server takes the end for the work of somebody between.
#[cfg(feature = "tls")]
impl Drop for ClientConnection {
    fn drop(&mut self) {
        if let Some(tls) = &mut self.tls {
            let words = tls.last_words();
            // As far as they leave without waiting.
            let _ = self
                .socket
                .setblocking(false)
                .and_then(|()| self.socket.sendall(&words));
        }
    }
}

fn connect_tcp(host: &HostPort, deadline: &RequestDeadline) -> Result<Socket, ClientError> {
    let resolve = |cause| ClientError::Resolve {
        address: host.to_string(),
        cause,
    };
    let late = || ClientError::Timeout {
        address: host.to_string(),
        after: deadline.given(),
        progress: "not connected".to_owned(),
    };
    let mut failure = None;
    for peer in host.to_socket_addrs().map_err(resolve)? {
        // As Python's `create_connection`, but with one deadline for all addresses.
        let Some(left) = deadline.left() else {
            return Err(late());
        };
        let family = if peer.is_ipv4() { AF_INET } else { AF_INET6 };
        let connected = Socket::new(family, SOCK_STREAM).and_then(|socket| {
            socket.settimeout(left)?;
            socket.connect(peer)?;
            Ok(socket)
        });
        match connected {
            Ok(socket) => {
                send_at_once(&socket);
                return Ok(socket);
            }
            Err(error) => failure = Some(error),
        }
    }
    match failure {
        Some(error) if error.exception() != Exception::TimeoutError => Err(ClientError::Connect {
            address: host.to_string(),
            cause: error.into(),
        }),
        _ => Err(late()),
    }
}

/// A request is one write; waiting for more of it would only be late. A Unix socket waits for nothing anyway.
fn send_at_once(socket: &Socket) {
    _ = socket.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1);
}

/// Where a server of this user's own is looked for, whatever answers is believed, and may be asked to run
/// anything: so it is checked as the server checks its clients. Before connecting, the directory and the
/// socket: another user may have made them first, `/tmp/onepoll-UID` above all. After it, the user that listens,
/// since a path may lead elsewhere by now. A place that somebody named is theirs to judge.
fn connect_checked(path: &Path, deadline: &RequestDeadline) -> io::Result<Socket> {
    if !private_places().iter().any(|place| place == path) {
        return Ok(Socket::from_fd(connect_unix(path, deadline)?)?);
    }
    check_private_socket(path, geteuid().as_raw())?;
    let socket = connect_unix(path, deadline)?;
    check_server(&socket)?;
    Ok(Socket::from_fd(socket)?)
}

/// Whether the user that listens at the other end of a Unix socket is this process' own.
pub(super) fn check_server(socket: &OwnedFd) -> io::Result<()> {
    check_server_of(socket, &[geteuid().as_raw()])
}

/// Whether it is one of these users.
pub(super) fn check_server_of(socket: &OwnedFd, users: &[u32]) -> io::Result<()> {
    let theirs = sockopt::socket_peercred(socket)?.uid.as_raw();
    if users.contains(&theirs) {
        return Ok(());
    }
    let ours = users.last().copied().unwrap_or_default();
    let why = format!("the server there is user {theirs}'s, not {ours}'s");
    Err(io::Error::new(io::ErrorKind::PermissionDenied, why))
}

/// A listener whose queue is full makes `connect` wait, for as long as sending may; with a timeout of
/// Python's it would fail at once (`EAGAIN`), since there is nothing to poll for.
pub(super) fn connect_unix(path: &Path, deadline: &RequestDeadline) -> io::Result<OwnedFd> {
    let address = SocketAddrUnix::new(path)?;
    loop {
        let Some(left) = deadline.left_up_to(Duration::MAX) else {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "the server does not take connections",
            ));
        };
        let fd = socket_with(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::CLOEXEC,
            None,
        )?;
        sockopt::set_socket_timeout(&fd, sockopt::Timeout::Send, Some(left))?;
        match connect(&fd, &address).map_err(io::Error::from) {
            Ok(()) => return Ok(fd),
            Err(error) if is_patience(error.kind()) => {}
            Err(error) => return Err(error),
        }
    }
}
