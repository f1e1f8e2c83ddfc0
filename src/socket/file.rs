//! A socket as a file: what `makefile` returns.

use std::io::{self, BufRead, Read, Write};
use std::sync::Arc;

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};

use super::core::{Core, PIECE_BYTES, Stop};
use super::error::{Exception, SocketError};

/// `io.DEFAULT_BUFFER_SIZE`.
pub(super) const BUFFER_BYTES: usize = 8192;

/// A socket as a file, with a buffer in each direction that it was opened for.
///
/// Reading reads ahead, so the socket itself should not be read meanwhile. Writing waits for
/// [`flush`](Self::flush), a full buffer or [`close`](Self::close). In non-blocking mode what would wait
/// is `None`, as in Python's `io`. After a timeout a file cannot be read any more (Python's rule): what
/// it has read ahead is still there, [`buffered`](Self::buffered).
///
/// [`Read`], [`BufRead`] and [`Write`] are implemented, so `for line in f` is `for line in f.lines()`.
#[derive(Debug)]
pub struct SocketFile {
    /// None when the file is closed.
    core: Option<Arc<Core>>,
    mode: FileMode,
    buffering: usize,
    /// Read ahead; the unread begins at `taken`.
    ahead: Vec<u8>,
    taken: usize,
    /// Written, and not yet sent.
    behind: Vec<u8>,
    /// A read has timed out.
    timed_out: bool,
}

/// What a file was opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FileMode {
    Read,
    Write,
    Both,
}

impl SocketFile {
    pub(super) fn new(core: &Arc<Core>, mode: &str, buffering: usize) -> Result<Self, SocketError> {
        let invalid = || {
            SocketError::raised(
                Exception::ValueError,
                format!("invalid mode '{mode}' (only r, w, b allowed)"),
            )
        };
        if !mode.chars().all(|letter| "rwb".contains(letter)) {
            return Err(invalid());
        }
        let mode = match (mode.contains('r'), mode.contains('w')) {
            (true, true) => FileMode::Both,
            (_, true) => FileMode::Write,
            (true, _) => FileMode::Read,
            _ if mode.is_empty() => FileMode::Read,
            _ => return Err(invalid()),
        };
        core.open_file();
        Ok(Self {
            core: Some(Arc::clone(core)),
            mode,
            buffering,
            ahead: Vec::new(),
            taken: 0,
            behind: Vec::new(),
            timed_out: false,
        })
    }

    /// Whether it was opened for reading.
    pub fn readable(&self) -> bool {
        self.mode != FileMode::Write
    }

    /// Whether it was opened for writing.
    pub fn writable(&self) -> bool {
        self.mode != FileMode::Read
    }

    /// Whether it was closed.
    pub fn closed(&self) -> bool {
        self.core.is_none()
    }

    /// What was read ahead.
    pub fn buffered(&self) -> &[u8] {
        &self.ahead[self.taken..]
    }

    /// `f.read(size)`: exactly `size` bytes, fewer only at the end; `f.read()`, which is `read(None)`: all
    /// until the end. `Ok(None)` in non-blocking mode when nothing has come; what has come, if fewer.
    ///
    /// ```
    /// use onepoll::socket::socketpair;
    ///
    /// let (a, b) = socketpair()?;
    /// let mut f = b.makefile("rb")?;
    /// b.setblocking(false)?;
    /// assert_eq!(f.read(Some(3))?, None);
    /// a.send(b"abcde")?;
    /// assert_eq!(f.read(Some(3))?.unwrap(), b"abc");
    /// a.close();
    /// assert_eq!(f.read(Some(3))?.unwrap(), b"de");
    /// assert_eq!(f.read(Some(3))?.unwrap(), b"");
    /// # Ok::<(), onepoll::socket::SocketError>(())
    /// ```
    pub fn read(&mut self, size: Option<usize>) -> Result<Option<Vec<u8>>, SocketError> {
        self.check_readable()?;
        if self.buffering == 0 && size.is_some() {
            return self.read1(size);
        }
        let size = size.unwrap_or(usize::MAX);
        // What has come stays in the buffer until all of it is there: a timeout loses no byte.
        while self.buffered().len() < size {
            let missing = size - self.buffered().len();
            match self.fill(missing.max(self.buffering))? {
                Some(0) => break,
                Some(_) => {}
                None if self.buffered().is_empty() => return Ok(None),
                None => break,
            }
        }
        Ok(Some(self.take(size)))
    }

    /// `f.read1(size)`: what is there, reading at most once. `Ok(None)` when that would wait.
    pub fn read1(&mut self, size: Option<usize>) -> Result<Option<Vec<u8>>, SocketError> {
        self.check_readable()?;
        let most = match size {
            Some(size) => size,
            None => self.buffering.max(1),
        };
        if self.buffered().is_empty() && most > 0 {
            // Without a buffer not a byte more than was asked for may leave the socket.
            let room = if self.buffering == 0 {
                most
            } else {
                self.buffering
            };
            if self.fill(room)?.is_none() {
                return Ok(None);
            }
        }
        Ok(Some(self.take(most)))
    }

    /// `f.readline()`: up to and with the next newline, or the rest. In non-blocking mode what has come.
    pub fn readline(&mut self) -> Result<Vec<u8>, SocketError> {
        self.readline_within(usize::MAX)
    }

    /// `f.readline(limit)`: at most `limit` bytes of it.
    pub fn readline_within(&mut self, limit: usize) -> Result<Vec<u8>, SocketError> {
        self.check_readable()?;
        let mut searched = 0;
        loop {
            let unread = self.buffered();
            let window = &unread[searched..unread.len().min(limit)];
            if let Some(at) = memchr::memchr(b'\n', window) {
                return Ok(self.take(searched + at + 1));
            }
            searched += window.len();
            if searched >= limit {
                return Ok(self.take(limit));
            }
            // Without a buffer each byte is read alone: the next may not belong to the line.
            match self.fill(self.buffering.max(1))? {
                Some(0) | None => return Ok(self.take(searched)),
                Some(_) => {}
            }
        }
    }

    /// `f.write(data)`: into the buffer, or as far as the socket takes it when that is full. `Ok(None)`
    /// without a buffer in non-blocking mode, when the socket takes nothing.
    ///
    /// # Errors
    ///
    /// `BlockingIOError`, in non-blocking mode, when neither takes all of it: [`SocketError::sent`] tells
    /// how much of `data` was taken.
    pub fn write(&mut self, data: &[u8]) -> Result<Option<usize>, SocketError> {
        self.check_writable()?;
        if self.buffering == 0 {
            return self.send(data);
        }
        let free = self.buffering.saturating_sub(self.behind.len());
        if data.len() <= free {
            self.behind.extend_from_slice(data);
            return Ok(Some(data.len()));
        }
        let mut taken = 0;
        if !self.drain()? {
            // The socket is full: the buffer takes what it can.
            taken = self.buffer(data);
            return self.took(taken, data.len());
        }
        while data.len() - taken > self.buffering {
            match self.send(&data[taken..])? {
                Some(n) => taken += n,
                None => {
                    taken += self.buffer(&data[taken..]);
                    return self.took(taken, data.len());
                }
            }
        }
        taken += self.buffer(&data[taken..]);
        self.took(taken, data.len())
    }

    /// `f.flush()`: sends what was written.
    ///
    /// # Errors
    ///
    /// `BlockingIOError` in non-blocking mode, when the socket does not take all of it. What it did not
    /// take is kept, after this and any other error.
    pub fn flush(&mut self) -> Result<(), SocketError> {
        self.core()?;
        if self.drain()? {
            Ok(())
        } else {
            Err(would_block(0))
        }
    }

    /// `f.close()`: flushes, and lets go of the socket, also when flushing fails. Once more does nothing.
    pub fn close(&mut self) -> Result<(), SocketError> {
        let flushed = if self.closed() { Ok(()) } else { self.flush() };
        if let Some(core) = self.core.take() {
            core.close_file();
        }
        flushed
    }

    /// Sends until the buffer is empty; false when the socket would block.
    fn drain(&mut self) -> Result<bool, SocketError> {
        let mut gone = 0;
        let result = loop {
            if gone == self.behind.len() {
                break Ok(true);
            }
            match self.send(&self.behind[gone..]) {
                Ok(Some(n)) => gone += n,
                Ok(None) => break Ok(false),
                Err(error) => break Err(error),
            }
        };
        self.behind.drain(..gone);
        result
    }

    /// As much of `data` as fits.
    fn buffer(&mut self, data: &[u8]) -> usize {
        let n = data.len().min(self.buffering - self.behind.len());
        self.behind.extend_from_slice(&data[..n]);
        n
    }

    fn took(&self, taken: usize, all: usize) -> Result<Option<usize>, SocketError> {
        if taken == all {
            Ok(Some(taken))
        } else {
            Err(would_block(taken))
        }
    }

    /// One `send`; `None` when it would block.
    fn send(&self, data: &[u8]) -> Result<Option<usize>, SocketError> {
        let core = self.core()?;
        match core.send(data, SendFlags::NOSIGNAL, core.timeout()) {
            Ok(n) => Ok(Some(n)),
            Err(Stop::Errno(Errno::AGAIN)) => Ok(None),
            Err(stop) => Err(stop.into()),
        }
    }

    /// One `recv` behind what was read ahead; `None` when it would block.
    fn fill(&mut self, most: usize) -> Result<Option<usize>, SocketError> {
        if self.timed_out {
            return Err(SocketError::raised(
                Exception::OSError,
                "cannot read from timed out object",
            ));
        }
        let core = Arc::clone(self.core()?);
        self.ahead.drain(..self.taken);
        self.taken = 0;
        // `read()` asks for everything, which comes in pieces.
        match core.receive(most.min(PIECE_BYTES), RecvFlags::empty()) {
            Ok((more, _)) if self.ahead.is_empty() => {
                self.ahead = more;
                Ok(Some(self.ahead.len()))
            }
            Ok((more, _)) => {
                self.ahead.extend_from_slice(&more);
                Ok(Some(more.len()))
            }
            Err(Stop::Errno(Errno::AGAIN)) => Ok(None),
            Err(stop) => {
                self.timed_out |= stop == Stop::TimedOut;
                Err(stop.into())
            }
        }
    }

    fn take(&mut self, most: usize) -> Vec<u8> {
        let unread = self.buffered();
        let taken = unread[..unread.len().min(most)].to_vec();
        self.taken += taken.len();
        taken
    }

    fn core(&self) -> Result<&Arc<Core>, SocketError> {
        self.core.as_ref().ok_or_else(|| {
            SocketError::raised(Exception::ValueError, "I/O operation on closed file.")
        })
    }

    fn check_readable(&self) -> Result<(), SocketError> {
        self.check(self.readable(), "read")
    }

    fn check_writable(&self) -> Result<(), SocketError> {
        self.check(self.writable(), "write")
    }

    fn check(&self, able: bool, verb: &str) -> Result<(), SocketError> {
        let unsupported = || SocketError::raised(Exception::UnsupportedOperation, verb);
        // Python's buffered classes do not even have the other verb; the bare one looks first whether
        // it is closed.
        if self.buffering > 0 && !able {
            return Err(unsupported());
        }
        self.core()?;
        if able { Ok(()) } else { Err(unsupported()) }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // There is no caller left to return an error to; one that wants it calls `close`.
        _ = self.close();
    }
}

impl Read for SocketFile {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self.read1(Some(buf.len()))? {
            Some(data) => {
                buf[..data.len()].copy_from_slice(&data);
                Ok(data.len())
            }
            None => Err(would_block(0).into()),
        }
    }
}

impl BufRead for SocketFile {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.check_readable()?;
        if self.buffered().is_empty() && self.fill(self.buffering.max(1))?.is_none() {
            return Err(would_block(0).into());
        }
        Ok(self.buffered())
    }

    fn consume(&mut self, amount: usize) {
        self.taken += amount.min(self.buffered().len());
    }
}

impl Write for SocketFile {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match SocketFile::write(self, buf) {
            Ok(Some(n)) => Ok(n),
            Ok(None) => Err(would_block(0).into()),
            Err(error)
                if error.errno() == Some(Errno::AGAIN.raw_os_error()) && error.sent() > 0 =>
            {
                Ok(error.sent())
            }
            Err(error) => Err(error.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(SocketFile::flush(self)?)
    }
}

fn would_block(taken: usize) -> SocketError {
    SocketError::from_errno(Errno::AGAIN.raw_os_error())
        .with_text("write could not complete without blocking".to_owned())
        .after_sending(taken)
}
