use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

/// How a thread that works on a file gets the attention of the one that waits for datagrams.
#[derive(Debug, Clone)]
pub struct IpmsgBell(Arc<UnixStream>);

/// The side that hears it.
#[derive(Debug)]
pub(super) struct Heard(UnixStream);

impl IpmsgBell {
    pub(super) fn new() -> io::Result<(IpmsgBell, Heard)> {
        let (rung, heard) = UnixStream::pair()?;
        rung.set_nonblocking(true)?;
        heard.set_nonblocking(true)?;
        Ok((IpmsgBell(Arc::new(rung)), Heard(heard)))
    }

    /// Whoever waits wakes up. One that was rung already rings.
    pub fn ring(&self) {
        let _ = (&*self.0).write(&[0]);
    }
}

impl Heard {
    /// Stops ringing.
    pub(super) fn silence(&self) {
        while matches!((&self.0).read(&mut [0; 64]), Ok(1..)) {}
    }
}

impl AsFd for Heard {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
