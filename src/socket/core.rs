//! What a socket and the files made of it share: the descriptor, the mode, what still needs it.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, ioctl_fionread};
use rustix::net::{self, RecvFlags, SendFlags, SocketAddrAny};

use super::deadline::CallDeadline;
use super::error::SocketError;
use super::timeout::{SharedTimeout, Timeout};

/// For how much memory is taken before it is known how much has come.
pub(super) const PIECE_BYTES: usize = 64 * 1024;

/// So much room that nothing came into is not worth giving back.
const SPARE_BYTES_MAX: usize = 4096;

/// Shared by a [`Socket`](super::Socket) and its files, as Python objects share it: the last to be closed
/// closes the descriptor.
#[derive(Debug)]
pub(super) struct Core {
    life: Mutex<Life>,
    timeout: SharedTimeout,
}

/// What still needs the descriptor.
#[derive(Debug)]
struct Life {
    /// None after the last close. A call that is waiting holds it too: closing does not pull it from
    /// under another thread, whose number it might then no longer be.
    fd: Option<Arc<OwnedFd>>,
    /// Files made of the socket and not yet closed.
    files: usize,
    /// `close` was called.
    closed: bool,
}

/// Why a call ended without a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// Its time was over.
    TimedOut,
    /// The kernel said so.
    Errno(Errno),
}

impl From<Errno> for Stop {
    fn from(errno: Errno) -> Self {
        Self::Errno(errno)
    }
}

impl From<Stop> for SocketError {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::TimedOut => Self::timed_out(),
            Stop::Errno(errno) => errno.into(),
        }
    }
}

/// What a call waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Want {
    Read,
    Write,
    Connect,
}

impl Core {
    pub(super) fn new(fd: OwnedFd, timeout: Timeout) -> Self {
        Self {
            life: Mutex::new(Life {
                fd: Some(Arc::new(fd)),
                files: 0,
                closed: false,
            }),
            timeout: SharedTimeout::new(timeout),
        }
    }

    pub(super) fn timeout(&self) -> Timeout {
        self.timeout.get()
    }

    pub(super) fn set_timeout(&self, timeout: Timeout) {
        self.timeout.set(timeout);
    }

    /// The descriptor; `EBADF` when it is closed.
    pub(super) fn fd(&self) -> Result<Arc<OwnedFd>, Errno> {
        self.life().fd.clone().ok_or(Errno::BADF)
    }

    /// A file was made of the socket.
    pub(super) fn open_file(&self) {
        self.life().files += 1;
    }

    /// A file was closed.
    pub(super) fn close_file(&self) {
        let mut life = self.life();
        life.files = life.files.saturating_sub(1);
        let last = life.release();
        drop(life);
        drop(last);
    }

    /// The socket was closed. Again does nothing.
    pub(super) fn close(&self) {
        let mut life = self.life();
        life.closed = true;
        let last = life.release();
        drop(life);
        drop(last);
    }

    /// Gives the descriptor away; none when it is closed.
    pub(super) fn detach(&self) -> Option<Arc<OwnedFd>> {
        let mut life = self.life();
        life.closed = true;
        life.fd.take()
    }

    /// One system call in the socket's mode: with a timeout, `poll` waits before it. This is CPython's
    /// `sock_call_impl`, and all of what a timeout is.
    pub(super) fn call<T>(
        &self,
        want: Want,
        timeout: Timeout,
        mut call: impl FnMut(&OwnedFd) -> Result<T, Errno>,
    ) -> Result<T, Stop> {
        let deadline = timeout.duration().and_then(CallDeadline::after);
        let mut left = timeout.duration();
        loop {
            // A connection is waited for in blocking mode too: it is under way by itself.
            if left.is_some() || want == Want::Connect {
                match wait(&*self.fd()?, want, left) {
                    Ok(true) => {}
                    Ok(false) => return Err(Stop::TimedOut),
                    Err(Errno::INTR) => {
                        left = still_left(deadline, left)?;
                        continue;
                    }
                    Err(errno) => return Err(errno.into()),
                }
            }
            // Asked again: another thread may have closed it meanwhile.
            let fd = self.fd()?;
            let result = rustix::io::retry_on_intr(|| call(&fd));
            match result {
                // Readiness is a hint: another thread was faster, or a checksum was wrong.
                Err(Errno::AGAIN) if self.timeout().duration().is_some() => {
                    left = still_left(deadline, left)?;
                }
                result => return result.map_err(Stop::Errno),
            }
        }
    }

    /// `recv_into`.
    pub(super) fn recv_into(&self, buffer: &mut [u8], flags: RecvFlags) -> Result<usize, Stop> {
        if buffer.is_empty() {
            // As in Python, reading no bytes makes no call, and succeeds on a closed socket too.
            return Ok(0);
        }
        let (n, _) = self.call(Want::Read, self.timeout(), |fd| {
            net::recv(fd, &mut *buffer, flags)
        })?;
        Ok(n)
    }

    /// `recv` and `recvfrom`: at most `most` bytes, into memory that is neither zeroed nor touched before
    /// something came. Exactly `most`, since what leaves a socket cannot be put back.
    pub(super) fn receive(
        &self,
        most: usize,
        flags: RecvFlags,
    ) -> Result<(Vec<u8>, Option<SocketAddrAny>), Stop> {
        let mut data = Vec::new();
        data.try_reserve_exact(most).map_err(|_| Errno::NOMEM)?;
        let from = self.call(Want::Read, self.timeout(), |fd| {
            if most == 0 {
                let (_, _, from) = net::recvfrom(fd, &mut [0_u8; 0][..], flags)?;
                return Ok(from);
            }
            let (_, _, from) = net::recvfrom(fd, spare_capacity(&mut data), flags)?;
            Ok(from)
        })?;
        // A caller that keeps a few bytes must not keep the room for many.
        if data.capacity() > SPARE_BYTES_MAX && data.len() < data.capacity() / 2 {
            data.shrink_to_fit();
        }
        Ok((data, from))
    }

    /// How many bytes of a stream are there, unread; none where that cannot be told.
    pub(super) fn unread(&self) -> usize {
        let there = self.fd().and_then(|fd| ioctl_fionread(&*fd));
        there.map_or(0, |there| usize::try_from(there).unwrap_or(usize::MAX))
    }

    /// `send`, within another time than the socket's own.
    pub(super) fn send(
        &self,
        data: &[u8],
        flags: SendFlags,
        timeout: Timeout,
    ) -> Result<usize, Stop> {
        self.call(Want::Write, timeout, |fd| net::send(fd, data, flags))
    }

    fn life(&self) -> MutexGuard<'_, Life> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Life {
    /// The descriptor, if nothing needs it any more.
    fn release(&mut self) -> Option<Arc<OwnedFd>> {
        if self.closed && self.files == 0 {
            self.fd.take()
        } else {
            None
        }
    }
}

/// What is left of `before`, recomputed; a timeout that no clock can count does not pass.
fn still_left(
    deadline: Option<CallDeadline>,
    before: Option<Duration>,
) -> Result<Option<Duration>, Stop> {
    match deadline {
        Some(deadline) => deadline.left().map(Some).ok_or(Stop::TimedOut),
        None => Ok(before),
    }
}

/// Waits until the socket is ready, or reports false when the time is over.
fn wait(fd: &OwnedFd, want: Want, left: Option<Duration>) -> Result<bool, Errno> {
    let flags = match want {
        Want::Read => PollFlags::IN,
        Want::Write => PollFlags::OUT,
        Want::Connect => PollFlags::OUT | PollFlags::ERR,
    };
    let mut fds = [PollFd::from_borrowed_fd(fd.as_fd(), flags)];
    Ok(poll(&mut fds, left.map(whole_millis).as_ref())? > 0)
}

/// In milliseconds, rounded up, as Python gives it to `poll`.
fn whole_millis(left: Duration) -> Timespec {
    const NANOS_PER_MILLI: u128 = 1_000_000;
    let millis = left.as_nanos().div_ceil(NANOS_PER_MILLI);
    let millis = i64::try_from(millis).unwrap_or(i64::MAX);
    Timespec {
        tv_sec: millis / 1000,
        tv_nsec: millis % 1000 * 1_000_000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_as_long_as_it_was_asked_for_in_whole_milliseconds() {
        let waits = |nanos| {
            let wait = whole_millis(Duration::from_nanos(nanos));
            (wait.tv_sec, wait.tv_nsec)
        };
        assert_eq!(waits(0), (0, 0));
        for nanos in [1, 999_999, 1_000_000] {
            assert_eq!(waits(nanos), (0, 1_000_000), "{nanos}");
        }
        assert_eq!(waits(1_000_001), (0, 2_000_000));
        assert_eq!(waits(999_000_001), (1, 0));
        assert_eq!(waits(1_000_000_001), (1, 1_000_000));
        assert!(whole_millis(Duration::MAX).tv_sec > 0);
    }
}
