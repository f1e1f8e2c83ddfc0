//! What lies between a connection's socket and its service: nothing, or a [`Session`] that opens what comes
//! and seals what goes.

use crate::turn::{Closed, Session};

/// Records that one connection may have opened in a turn. 64 KiB of the shortest are 2,800, which take
/// 0.8 ms to open.
pub(super) const RECORDS_PER_TURN: u32 = 256;

/// The most plaintext, in bytes, that a record holds (RFC 8446, 5.1).
pub(super) const RECORD_BYTES_MAX: usize = 16 << 10;

/// A connection's session, and how far it has come.
#[derive(Debug)]
pub(super) struct Secured {
    pub(super) session: Box<dyn Session>,
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
    /// The last read brought something, if not a whole record.
    pub(super) has_heard: bool,
    /// The last write took something.
    pub(super) has_moved: bool,
    /// The memory of its buffers, in bytes, as it was last counted.
    pub(super) counted: usize,
}

impl Secured {
    pub(super) fn new(session: Box<dyn Session>) -> Secured {
        Secured {
            session,
            left: Vec::new(),
            sealed: 0,
            is_open: false,
            bye: None,
            has_heard: false,
            has_moved: false,
            counted: 0,
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
