//! TLS sessions that are made before they are needed, so that their buffers lie side by side.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::{Error, ServerConfig, ServerConnection};

use crate::tls::NothingYet;

/// Sessions that are made at once: those that wait have some 350 KiB. Of 400 connections that had echoed a line first
/// and moved a mebibyte later each had 11.9 KiB when none was made ahead, 10.0 with 16 at once, 9.1 with 32, and 8.8
/// with 64.
const AT_ONCE: usize = 64;

/// Sessions that no connection has yet, in the order of their buffers in memory.
///
/// Rustls keeps a buffer of 4 KiB for each session. It grows with a long record, at another place where there is
/// room, shrinks there, and leaves a gap where it was, into which nothing fits but the buffer of a session that
/// begins later. Between other allocations that would cost 4 KiB for each connection that has ever moved data. Side
/// by side, the gaps of some connections are one in which the buffers of the next can grow.
pub(super) struct Stock {
    config: Arc<ServerConfig>,
    made: Mutex<VecDeque<ServerConnection>>,
}

impl Stock {
    pub(super) fn new(config: ServerConfig) -> Stock {
        Stock {
            config: Arc::new(config),
            made: Mutex::default(),
        }
    }

    /// A session for the next connection. It knows of no secret before its client has said hello.
    pub(super) fn take(&self) -> Result<ServerConnection, Error> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(session) = made.pop_front() {
            return Ok(session);
        }
        let session = || ServerConnection::new(Arc::clone(&self.config));
        let mut first = session()?;
        for _ in 1..AT_ONCE {
            made.push_back(session()?);
        }
        // One after the other, with nothing else between: each makes its buffer when it is about to read.
        let _ = first.read_tls(&mut NothingYet);
        for session in &mut *made {
            let _ = session.read_tls(&mut NothingYet);
        }
        Ok(first)
    }
}
