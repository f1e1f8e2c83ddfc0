use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, Mode, OFlags, SeekFrom, fstat, open, seek};
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use rustix::stdio::{dup2_stdin, stdin};

use crate::cli::streams::own_for_reading;

/// How much is read at once: what a pipe of Linux holds.
const READ_BYTES: usize = 64 * 1024;

/// Standard input, read without waiting where it can be.
///
/// The descriptor may be shared with other processes, and so is its mode: it is never made non-blocking. A pipe or
/// a terminal is opened anew for a description of its own, a socket is asked not to wait, and a file does not.
#[derive(Debug)]
pub(in crate::cli) struct Input {
    own: Option<OwnedFd>,
    is_socket: bool,
    buffer: Box<[u8]>,
    has_ended: bool,
}

/// What reading once brought.
#[derive(Debug)]
pub(in crate::cli) enum Taken<'b> {
    Bytes(&'b [u8]),
    /// Nothing yet.
    Nothing,
    End,
}

impl Input {
    pub(in crate::cli) fn new() -> Input {
        let kind = fstat(stdin()).map(|found| FileType::from_raw_mode(found.st_mode));
        Input {
            own: own_for_reading(stdin()).ok(),
            is_socket: kind == Ok(FileType::Socket),
            buffer: vec![0; READ_BYTES].into_boxed_slice(),
            has_ended: false,
        }
    }

    /// Whether there may be more.
    pub(in crate::cli) fn is_open(&self) -> bool {
        !self.has_ended
    }

    /// Reads once, at most so much.
    pub(in crate::cli) fn read(&mut self, bytes_max: usize) -> io::Result<Taken<'_>> {
        if self.has_ended {
            return Ok(Taken::Nothing);
        }
        let bytes_max = bytes_max.min(self.buffer.len());
        let into = &mut self.buffer[..bytes_max];
        let read = match &self.own {
            Some(own) => rustix::io::read(own, into),
            None if self.is_socket => {
                recv(stdin(), into, RecvFlags::DONTWAIT).map(|(read, _)| read)
            }
            None => rustix::io::read(stdin(), into),
        };
        match read {
            Ok(0) => {
                self.has_ended = true;
                Ok(Taken::End)
            }
            Ok(read) => Ok(Taken::Bytes(&self.buffer[..read])),
            Err(Errno::INTR | Errno::AGAIN) => Ok(Taken::Nothing),
            Err(errno) => {
                self.has_ended = true;
                Err(errno.into())
            }
        }
    }

    /// Lets go of it: what writes to it learns that nobody reads any more.
    pub(in crate::cli) fn close(&mut self) {
        self.has_ended = true;
        self.own = None;
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        if let Ok(null) = open("/dev/null", flags, Mode::empty()) {
            // Never none at all: the next descriptor would take its number.
            let _ = dup2_stdin(null);
        }
    }
}

impl AsFd for Input {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.own {
            Some(own) => own.as_fd(),
            None => stdin(),
        }
    }
}

/// Whether somebody may expect that standard input is read: a file or a pipe that is not at its end.
pub(in crate::cli) fn may_have_input() -> bool {
    let Ok(found) = fstat(stdin()) else {
        return false;
    };
    match FileType::from_raw_mode(found.st_mode) {
        FileType::RegularFile => seek(stdin(), SeekFrom::Current(0))
            .is_ok_and(|at| u64::try_from(found.st_size).is_ok_and(|size| at < size)),
        FileType::Fifo => {
            let input = stdin();
            let mut there = [PollFd::new(&input, PollFlags::IN)];
            let asked = poll(&mut there, Some(&Timespec::default()));
            let seen = there[0].revents();
            asked.is_ok() && (seen.contains(PollFlags::IN) || !seen.contains(PollFlags::HUP))
        }
        _ => false,
    }
}
