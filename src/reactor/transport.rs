//! What lies between a connection's socket and its service: nothing, or a [`Session`] that opens what comes
//! and seals what goes.

use std::io;

use crate::turn::{Broken, Closed, Secure, Session};

/// Records that one connection may have opened in a turn. 64 KiB of the shortest are 2,800, which take
/// 0.8 ms to open.
pub(super) const RECORDS_PER_TURN: u32 = 256;

/// The most plaintext, in bytes, that a record holds (RFC 8446, 5.1).
pub(super) const RECORD_BYTES_MAX: usize = 16 << 10;

/// A connection's session, and how far it has come.
#[derive(Debug)]
pub(super) struct Secured {
    pub(super) session: Box<dyn Session>,
    /// The most bytes that a peer may have sent when its handshake ends.
    pub(super) handshake_bytes_max: u32,
    /// Ciphertext that came and was not taken yet, since a turn had its records.
    pub(super) left: Vec<u8>,
    /// Of what the connection is owed, so many bytes at the front are in records already. They stay
    /// owed until those have left.
    pub(super) sealed: usize,
    /// The handshake is over, and the service was told of the connection.
    pub(super) is_open: bool,
    /// We have said that nothing more will follow: why the connection ends when that has left, and
    /// whether it lingers.
    pub(super) bye: Option<(Closed, bool)>,
    /// Why it broke, for whoever has dialled.
    pub(super) broken: Option<Box<Broken>>,
    /// The last read brought something, if not a whole record.
    pub(super) has_heard: bool,
    /// The last write took something.
    pub(super) has_moved: bool,
    /// The memory of its buffers, in bytes, as it was last counted.
    pub(super) counted: usize,
}

impl Secured {
    pub(super) fn begin(secure: &dyn Secure) -> io::Result<Box<Secured>> {
        Ok(Box::new(Secured {
            session: secure.begin()?,
            handshake_bytes_max: secure.handshake_bytes_max(),
            left: Vec::new(),
            sealed: 0,
            is_open: false,
            bye: None,
            broken: None,
            has_heard: false,
            has_moved: false,
            counted: 0,
        }))
    }

    /// Why it is no more, in words, for whoever has dialled.
    pub(super) fn why_gone(&self, why: Closed) -> String {
        let why = match (&self.broken, why) {
            (Some(broken), _) => return broken.to_string(),
            (None, Closed::Gone(kind)) if !self.is_open => format!("in the TLS handshake: {kind}"),
            (None, why) if !self.is_open => format!("in the TLS handshake: {why}"),
            (None, why) => why.to_string(),
        };
        match self.session.why_gone() {
            Some(perhaps) => format!("{why}; {perhaps}"),
            None => why,
        }
    }

    /// The memory of its buffers, in bytes.
    pub(super) fn buffered(&self) -> usize {
        self.left.capacity() + self.session.buffered()
    }

    /// Counts the memory of its buffers anew; says how much it was, and is.
    pub(super) fn recount(&mut self) -> (usize, usize) {
        let is = self.buffered();
        (std::mem::replace(&mut self.counted, is), is)
    }
}
