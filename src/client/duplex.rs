use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use super::ClientError;
use super::connection::{ClientConnection, Received};
use crate::buf::WriteBuf;

/// A connection whose two directions go on beside each other, for a caller that waits itself.
#[derive(Debug)]
pub(super) struct Duplex {
    pub(super) line: ClientConnection,
    socket: Arc<OwnedFd>,
    /// How many of the bytes that came were looked at.
    pub(super) taken: usize,
    pub(super) outgoing: WriteBuf,
    /// Why nothing more will come, to be said when all that came was handed on.
    pub(super) end: Option<ClientError>,
    /// Sending failed; what the server said before that may tell why.
    pub(super) is_deaf: bool,
}

impl Duplex {
    pub(super) fn new(line: ClientConnection) -> Result<Duplex, ClientError> {
        Ok(Duplex {
            socket: line.descriptor()?,
            line,
            taken: 0,
            outgoing: WriteBuf::default(),
            end: None,
            is_deaf: false,
        })
    }

    /// Takes what has come, without waiting; says whether there may be more.
    pub(super) fn receive(&mut self) -> bool {
        if self.end.is_some() {
            return false;
        }
        match self.line.receive_at_once() {
            Ok(Received::Something) => {
                // What TLS has to say by itself, such as a new key.
                if let Err(error) = self.line.seal(b"", self.outgoing.tail()) {
                    self.end = Some(error);
                }
                true
            }
            Ok(Received::Nothing) => false,
            Ok(Received::End) => {
                self.end = Some(ClientError::HungUp {
                    address: self.line.address().to_owned(),
                    progress: String::new(),
                });
                false
            }
            Err(error) => {
                self.end = Some(error);
                false
            }
        }
    }

    /// All that is whole of what came was handed on. Says why nothing more will come, if that is so.
    pub(super) fn all_was_taken(&mut self) -> Option<ClientError> {
        self.line.consume(self.taken);
        self.taken = 0;
        self.end.take()
    }

    /// Whether something waits for room in the socket.
    pub(super) fn wants_to_send(&self) -> bool {
        !self.is_deaf && !self.outgoing.is_empty()
    }

    /// Offers the socket what is queued once: how many bytes it took. That it failed shows when all that came was
    /// handed on.
    pub(super) fn send_once(&mut self) -> usize {
        if !self.wants_to_send() {
            return 0;
        }
        match self.line.send_queued(&mut self.outgoing) {
            Ok(sent) => sent,
            Err(error) => {
                self.is_deaf = true;
                // It may have been told why first.
                while self.receive() {}
                if matches!(self.end, Some(ClientError::HungUp { .. }) | None) {
                    self.end = Some(error);
                }
                0
            }
        }
    }
}

impl AsFd for Duplex {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
