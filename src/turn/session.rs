//! What opens what comes by a connection and seals what goes, as TLS does: for whoever begins one, and for the loop, which
//! runs it.
//!
//! Two traits keep the library that does it out of the loop, out of the options of a listener and out of services; the
//! tests have a stand-in. Neither knows a socket: bytes are handed in and out in slices.
//!
//! ```text
//! socket ── ciphertext ──> take ──> give ── plaintext ──> service
//! socket <─ ciphertext ─── write <── seal <─ plaintext ── service
//! ```

use std::fmt::Debug;
use std::io::{self, IoSlice};

use thiserror::Error;

/// Begins sessions: those of a listener's connections, which a client has begun; or those of a connection that was dialled,
/// which we begin.
pub trait Secure: Debug + Send + Sync {
    /// The session of one connection.
    fn begin(&self) -> io::Result<Box<dyn Session>>;

    /// The most bytes that a peer may have sent when its handshake ends.
    fn handshake_bytes_max(&self) -> u32;
}

/// The session of one connection.
///
/// It begins with a handshake, in which both sides send what no service sees. It ends twice: each side
/// says so by a message of its own, so that an end that somebody between the two made is not taken for one.
pub trait Session: Debug {
    /// Takes bytes that came off the front of `cipher`, and opens the records that are whole: no more
    /// of them than `records`, which it counts down. Called again until `cipher` is empty, and never
    /// after the peer has [ended](Taken::has_ended) or after an error.
    ///
    /// What is to be sent for it, an alert after an error for one, is there to be
    /// [written](Session::write).
    fn take(&mut self, cipher: &mut &[u8], records: &mut u32) -> Result<Taken, Broken>;

    /// Moves plaintext that was opened into `into`, and says how much: less than there is room for only
    /// if no more is held.
    fn give(&mut self, into: &mut [u8]) -> usize;

    /// Plaintext, in bytes, that was opened and not given.
    fn holds(&self) -> usize;

    /// Puts plaintext from the front of `plain` into records, and says how much of it.
    fn seal(&mut self, plain: &[u8]) -> usize;

    /// Offers records to `write`, once; it says how many bytes of all slices it took.
    fn write(
        &mut self,
        write: &mut dyn FnMut(&[IoSlice<'_>]) -> io::Result<usize>,
    ) -> io::Result<Written>;

    /// Whether there is something to be written.
    fn wants_write(&self) -> bool;

    /// Nothing more will be sealed: says so to the peer. Called once.
    fn bye(&mut self);

    /// 32 bytes that both ends of this session know and that belong to no other one (RFC 9266).
    fn binding(&self) -> Option<[u8; 32]>;

    /// Bytes that came of a record that has not ended; 0: none has begun.
    fn unopened(&self) -> usize;

    /// Bytes of records that were not written.
    fn unwritten(&self) -> usize;

    /// The bytes of records and of plaintext that it has, which it has not at rest: they count for the budget
    /// of all buffers.
    fn buffered(&self) -> usize {
        self.holds() + self.unopened() + self.unwritten()
    }

    /// Why the peer may have ended the connection without a word, if something is known.
    fn why_gone(&self) -> Option<String> {
        None
    }

    /// Gives back the memory that is not needed while nothing comes.
    fn shrink(&mut self);
}

/// What was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// Whether the handshake is over.
    pub is_open: bool,
    /// The peer has said that it will send nothing more.
    pub has_ended: bool,
}

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Bytes that the socket took.
    pub taken: usize,
    /// Of so many.
    pub offered: usize,
}

/// Why a session cannot go on: the bytes that came cannot be what the peer meant to send.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct Broken(pub String);
