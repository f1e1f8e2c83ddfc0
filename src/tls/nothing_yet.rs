//! A socket to read from, for rustls to give back memory.

use std::io::{self, Read};

/// A socket with nothing to read.
pub(crate) struct NothingYet;

impl Read for NothingYet {
    fn read(&mut self, _into: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }
}
