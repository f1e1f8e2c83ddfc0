use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{FileType, fstat};
use rustix::io::Errno;
use rustix::net::{SendFlags, send};

use crate::cli::streams::own;
use crate::cli::terminal::safe_to_show;

/// What a pipe that is said to have room takes without waiting (`PIPE_BUF` in pipe(7)).
const ROOM_BYTES: usize = 4096;

/// Standard output or standard error, written to without waiting; its mode is not touched, see [`own`].
#[derive(Debug)]
pub(in crate::cli) struct Output {
    stream: BorrowedFd<'static>,
    way: Way,
    /// On a terminal, what would act on it is disarmed.
    is_disarmed: bool,
    /// The beginning of a character whose rest has not come, where that matters.
    begun: Vec<u8>,
    /// What it did not take yet, from `written` on: no more than what came in one read.
    pending: Vec<u8>,
    written: usize,
}

#[derive(Debug)]
enum Way {
    /// A description of our own, which does not block.
    Own(OwnedFd),
    /// A socket, which can be told not to wait.
    Socket,
    /// A file or a device, which takes what it takes; or what could not be opened anew, and is asked first.
    Plain { bytes_max: usize },
}

/// Why nothing can be written any more.
#[derive(Debug)]
pub(in crate::cli) enum Unwritable {
    /// Its reader has gone away.
    ReaderGone,
    Failed(io::Error),
}

impl Output {
    pub(in crate::cli) fn new(stream: BorrowedFd<'static>, is_raw: bool) -> Output {
        let kind = fstat(stream).map(|found| FileType::from_raw_mode(found.st_mode));
        let way = match (own(stream), kind) {
            (Ok(own), _) => Way::Own(own),
            (_, Ok(FileType::Socket)) => Way::Socket,
            (_, Ok(FileType::Fifo | FileType::CharacterDevice)) => Way::Plain {
                bytes_max: ROOM_BYTES,
            },
            _ => Way::Plain {
                bytes_max: usize::MAX,
            },
        };
        Output {
            stream,
            way,
            is_disarmed: stream.is_terminal() && !is_raw,
            begun: Vec::new(),
            pending: Vec::new(),
            written: 0,
        }
    }

    /// Whether it has not taken all that it was given.
    pub(in crate::cli) fn is_full(&self) -> bool {
        self.written < self.pending.len()
    }

    /// Gives it this, of which it takes what it has room for; the rest is kept. Nothing may be given while it
    /// [is full](Output::is_full).
    pub(in crate::cli) fn give(&mut self, bytes: &[u8]) -> Result<(), Unwritable> {
        if self.is_disarmed {
            let bytes = self.whole_characters(bytes);
            self.pending = safe_to_show(&bytes);
            self.written = 0;
            return self.flush();
        }
        let written = self.write(bytes)?;
        if written < bytes.len() {
            self.pending.clear();
            self.pending.extend_from_slice(&bytes[written..]);
            self.written = 0;
        }
        Ok(())
    }

    /// Gives it this, and waits until it has taken all of it.
    pub(super) fn give_all(&mut self, bytes: &[u8]) -> Result<(), Unwritable> {
        self.give(bytes)?;
        while self.is_full() {
            match poll(&mut [PollFd::new(self, PollFlags::OUT)], None) {
                Ok(_) | Err(Errno::INTR) => self.flush()?,
                Err(errno) => return Err(Unwritable::Failed(errno.into())),
            }
        }
        Ok(())
    }

    /// Gives it what it had to wait for.
    pub(in crate::cli) fn flush(&mut self) -> Result<(), Unwritable> {
        while self.is_full() {
            let pending = std::mem::take(&mut self.pending);
            let written = self.write(&pending[self.written..]);
            self.pending = pending;
            match written? {
                0 => break,
                written => self.written += written,
            }
        }
        Ok(())
    }

    /// No more will come: a character that was begun is as whole as it will be.
    pub(in crate::cli) fn finish(&mut self) -> Result<(), Unwritable> {
        let begun = std::mem::take(&mut self.begun);
        if !begun.is_empty() {
            self.pending = safe_to_show(&begun);
            self.written = 0;
        }
        self.flush()
    }

    fn write(&mut self, bytes: &[u8]) -> Result<usize, Unwritable> {
        let mut written = 0;
        while written < bytes.len() {
            let rest = &bytes[written..];
            let outcome = match &self.way {
                Way::Own(own) => rustix::io::write(own, rest),
                Way::Socket => {
                    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
                    send(self.stream, rest, flags)
                }
                Way::Plain { bytes_max } => {
                    rustix::io::write(self.stream, &rest[..rest.len().min(*bytes_max)])
                }
            };
            match outcome {
                // No device takes nothing for ever; one that does is no place for a result.
                Ok(0) => return Err(Unwritable::Failed(Errno::IO.into())),
                Ok(taken) => written += taken,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                // A socket may say it in its own words first.
                Err(Errno::PIPE | Errno::CONNRESET) => return Err(Unwritable::ReaderGone),
                Err(errno) => return Err(Unwritable::Failed(errno.into())),
            }
            if matches!(
                self.way,
                Way::Plain {
                    bytes_max: ROOM_BYTES
                }
            ) {
                // Whether it has room for more is to be asked.
                break;
            }
        }
        Ok(written)
    }

    /// These bytes behind those that were kept, but for a character at the end whose rest may come.
    fn whole_characters(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut all = std::mem::take(&mut self.begun);
        all.extend_from_slice(bytes);
        let whole = all.len() - begun_at_end(&all);
        self.begun = all.split_off(whole);
        all
    }
}

impl AsFd for Output {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.way {
            Way::Own(own) => own.as_fd(),
            Way::Socket | Way::Plain { .. } => self.stream,
        }
    }
}

/// How many bytes at the end are the beginning of a character of UTF-8.
fn begun_at_end(bytes: &[u8]) -> usize {
    let last = bytes.utf8_chunks().last();
    let invalid = last.map_or(&[][..], |chunk| chunk.invalid());
    let is_begun = std::str::from_utf8(invalid).is_err_and(|wrong| wrong.error_len().is_none());
    if is_begun { invalid.len() } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_character_that_is_cut_waits_for_its_rest_and_no_other_byte_does() {
        let text = "a你👋".as_bytes();
        let waiting: Vec<usize> = (0..=text.len())
            .map(|end| begun_at_end(&text[..end]))
            .collect();
        assert_eq!(waiting, [0, 0, 1, 2, 0, 1, 2, 3, 0]);
        assert_eq!(begun_at_end(b"a\xff"), 0);
        assert_eq!(begun_at_end(b"\xe4x"), 0);
        assert_eq!(begun_at_end(b"\xff\xe4"), 1);
    }
}
