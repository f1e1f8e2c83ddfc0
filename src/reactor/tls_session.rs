//! A session of TLS, by rustls, whichever end of it we are.

use std::fmt;
use std::io::{self, IoSlice, Read, Write};
use std::ops::DerefMut;

use rustls::{ConnectionCommon, Error};

use crate::tls::{NothingYet, Out, Records, channel_binding};
use crate::turn::{Broken, Session, Taken, Written};

/// Which end of a session we are: what is to be said of the other one.
pub(super) trait End: fmt::Debug + Send + 'static {
    /// It begins with these bytes. What is wrong, if they cannot be those of a session.
    fn begins(&mut self, first: &[u8]) -> Option<String>;

    /// Why the session failed.
    fn why(&self, error: &Error) -> String {
        error.to_string()
    }

    /// Why the other end may be gone without a word.
    fn why_gone(&self) -> Option<String> {
        None
    }
}

/// A session over this connection of rustls.
pub(super) struct TlsSession<C, E> {
    connection: C,
    end: E,
    records: Records,
    /// Whether anything came.
    has_begun: bool,
    /// Plaintext, in bytes, that was opened and not given.
    holds: usize,
    /// Bytes of records that were not written.
    unwritten: usize,
}

impl<C, D, E> TlsSession<C, E>
where
    C: DerefMut<Target = ConnectionCommon<D>>,
{
    /// One that has just begun.
    pub(super) fn new(connection: C, end: E) -> TlsSession<C, E> {
        let mut session = TlsSession {
            connection,
            end,
            records: Records::default(),
            has_begun: false,
            holds: 0,
            unwritten: 0,
        };
        session.measure_unwritten();
        session
    }

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

impl<C, D, E> fmt::Debug for TlsSession<C, E>
where
    C: DerefMut<Target = ConnectionCommon<D>>,
    E: End,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let connection = &self.connection;
        f.debug_struct("TlsSession")
            .field("end", &self.end)
            .field("is_handshaking", &connection.is_handshaking())
            .field("wants_write", &connection.wants_write())
            .finish_non_exhaustive()
    }
}

impl<C, D, E> Session for TlsSession<C, E>
where
    C: DerefMut<Target = ConnectionCommon<D>>,
    E: End,
{
    fn take(&mut self, cipher: &mut &[u8], records: &mut u32) -> Result<Taken, Broken> {
        if !std::mem::replace(&mut self.has_begun, true)
            && let Some(wrong) = self.end.begins(cipher)
        {
            return Err(Broken(wrong));
        }
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
        let state = state.map_err(|error| Broken(self.end.why(&error)))?;
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

    fn why_gone(&self) -> Option<String> {
        self.end.why_gone()
    }

    fn shrink(&mut self) {
        // With nothing in its buffer, rustls gives back what it has too much of when it is about to read.
        let _ = self.connection.read_tls(&mut NothingYet);
    }
}
