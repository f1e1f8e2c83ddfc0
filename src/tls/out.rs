//! A socket to write to, for rustls.

use std::io::{self, IoSlice, Write};

/// Takes what rustls writes.
pub(crate) struct Out<'a> {
    /// Offers slices to the socket: how many bytes it took.
    pub(crate) write: &'a mut dyn FnMut(&[IoSlice<'_>]) -> io::Result<usize>,
    /// How many bytes were offered last.
    pub(crate) offered: usize,
}

impl Write for Out<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.offered = slices.iter().map(|slice| slice.len()).sum();
        (self.write)(slices)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
