use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use super::connection::ClientConnection;
use super::deadline::RequestDeadline;
use super::duplex::Duplex;
use super::{ClientError, ServerAddress};
#[cfg(feature = "tls")]
use crate::tls::ClientTls;
use crate::wire::HmacKey;

/// A connection on which both ends say what they like, whenever they like. Nothing in it waits: the caller polls
/// [its socket](AsFd), for reading, and for writing while [something is queued](TextStream::wants_to_send).
#[derive(Debug)]
pub struct TextStream {
    duplex: Duplex,
    /// How many bytes the socket has taken.
    sent: u64,
    saying: Saying,
}

/// Whether more will be said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Saying {
    Open,
    /// No, which the other end is told when the rest has left.
    Ending,
    Ended,
}

impl TextStream {
    /// Connects within `timeout`; of a name's addresses, to the first that takes the connection.
    pub fn connect(address: &ServerAddress, timeout: Duration) -> Result<TextStream, ClientError> {
        let deadline = RequestDeadline::after(timeout);
        TextStream::of(ClientConnection::connect(address, &deadline)?)
    }

    /// The same over TLS, with a server that is trusted so.
    #[cfg(feature = "tls")]
    pub fn connect_tls(
        address: &ServerAddress,
        tls: &ClientTls,
        timeout: Duration,
    ) -> Result<TextStream, ClientError> {
        let deadline = RequestDeadline::after(timeout);
        let mut line = ClientConnection::connect(address, &deadline)?;
        line.secure(address, tls, &deadline)?;
        TextStream::of(line)
    }

    /// A connection that another end at `address` made.
    ///
    /// # Errors
    ///
    /// The descriptor is no socket.
    pub fn accepted(socket: OwnedFd, address: String) -> Result<TextStream, ClientError> {
        TextStream::of(ClientConnection::accepted(socket, address)?)
    }

    fn of(line: ClientConnection) -> Result<TextStream, ClientError> {
        Ok(TextStream {
            duplex: Duplex::new(line)?,
            sent: 0,
            saying: Saying::Open,
        })
    }

    /// Answers the challenge of a server that asks for a secret, within `timeout`, before anything else. To a wrong
    /// proof a server says nothing, and hangs up.
    pub fn prove(&mut self, key: &HmacKey, timeout: Duration) -> Result<(), ClientError> {
        let deadline = RequestDeadline::after(timeout);
        self.duplex.line.prove(key, &deadline)
    }

    /// The other end, as it was given.
    pub fn address(&self) -> &str {
        self.duplex.line.address()
    }

    /// Takes what has come, without waiting; says whether there may be more.
    pub fn receive(&mut self) -> bool {
        self.duplex.receive()
    }

    /// What has come and was not [taken](TextStream::consume).
    pub fn unread(&self) -> &[u8] {
        self.duplex.line.unread()
    }

    /// Drops so many bytes off the front of what has come.
    pub fn consume(&mut self, len: usize) {
        self.duplex.line.consume(len);
    }

    /// Why nothing more will come, if that is so. Said once, and to be asked when all that came was dealt with.
    pub fn end(&mut self) -> Option<ClientError> {
        self.duplex.end.take()
    }

    /// Queues this to be sent. Returns how many bytes the socket has to have [taken](TextStream::sent) when all of it
    /// is theirs.
    pub fn queue(&mut self, text: &[u8]) -> Result<u64, ClientError> {
        let duplex = &mut self.duplex;
        duplex.line.seal(text, duplex.outgoing.tail())?;
        Ok(self.sent + self.duplex.outgoing.len() as u64)
    }

    /// How many bytes the socket has taken. They may or may not arrive.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// How much waits for room in the socket.
    pub fn queued(&self) -> usize {
        self.duplex.outgoing.len()
    }

    /// Queues the end of what is said: what comes is received as before.
    pub fn end_saying(&mut self) {
        if self.saying == Saying::Open {
            let duplex = &mut self.duplex;
            duplex.line.seal_end(duplex.outgoing.tail());
            self.saying = Saying::Ending;
        }
    }

    /// Whether more may be said.
    pub fn is_open(&self) -> bool {
        self.saying == Saying::Open
    }

    /// Whether all that was said has left, and the end of it.
    pub fn has_ended_saying(&self) -> bool {
        self.saying == Saying::Ended
    }

    /// Whether something waits for room in the socket.
    pub fn wants_to_send(&self) -> bool {
        self.duplex.wants_to_send()
    }

    /// Offers the socket what is queued. That it failed shows when all that came was dealt with.
    pub fn send(&mut self) {
        while self.wants_to_send() {
            let sent = self.duplex.send_once();
            if sent == 0 {
                return;
            }
            self.sent += sent as u64;
        }
        if self.saying == Saying::Ending && self.duplex.outgoing.is_empty() {
            self.saying = Saying::Ended;
            if let Err(error) = self.duplex.line.end_sending() {
                self.duplex.end.get_or_insert(error);
            }
        }
    }
}

impl AsFd for TextStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.duplex.as_fd()
    }
}
