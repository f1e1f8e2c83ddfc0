//! System calls that never wait.

use rustix::io::Errno;

/// What a system call did, if it did not have to wait for that.
#[inline]
pub(super) fn at_once<T>(call: impl FnMut() -> Result<T, Errno>) -> Result<Option<T>, Errno> {
    match rustix::io::retry_on_intr(call) {
        Ok(done) => Ok(Some(done)),
        Err(Errno::AGAIN) => Ok(None),
        Err(errno) => Err(errno),
    }
}
