//! The standard streams of a subcommand with a result: results go out here, and nowhere else.
//!
//! Knows nothing of what is printed. The descriptors are inherited, and so is their blocking mode:
//! the process that started us may have made them non-blocking, and may do so at any time, since the mode
//! belongs to all that share them (`O_NONBLOCK` in fcntl(2)). So `EAGAIN` means "not yet", in all three.
//!
//! A result that cannot be written is an error with its cause. A reader that has gone away (`| head`)
//! wanted no more: that is no failure, nothing is said, and the exit code is that of the work, as if
//! all had been read: there are thresholds that were missed or not. Only `exec` ends with 141 there, as `ls` does,
//! which dies of SIGPIPE, since its command is to end as one here would.

use std::fmt;
use std::io::{self, BufReader, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, Mode, OFlags, fstat, open};
use rustix::io::Errno;
use rustix::stdio::{stderr, stdin, stdout};

use super::Failure;

/// Whether the reader of standard output has gone away.
static READER_GONE: AtomicBool = AtomicBool::new(false);

/// Prints a line of the result.
pub fn print(line: impl fmt::Display) -> Result<(), Failure> {
    print_bytes(format!("{line}\n").as_bytes())
}

/// Prints a part of the result as it is.
pub fn print_bytes(bytes: &[u8]) -> Result<(), Failure> {
    if is_reader_gone() {
        return Ok(());
    }
    match write_all(stdout(), bytes) {
        Ok(()) => Ok(()),
        // A socket as standard output may say it in its own words first.
        Err(Errno::PIPE | Errno::CONNRESET) => {
            READER_GONE.store(true, Ordering::Relaxed);
            Ok(())
        }
        Err(errno) => Err(unwritable(io::Error::from(errno))),
    }
}

/// Prints a line of the result of a command that goes on working: it does not wait for a reader that has
/// stopped. A standard output that has had no room for a second is one that cannot be written.
pub(super) fn print_in_passing(line: impl fmt::Display) -> Result<(), Failure> {
    let Ok(own) = own(stdout()) else {
        // A file or a device takes what it takes at once.
        return print(line);
    };
    let line = format!("{line}\n");
    let mut rest = line.as_bytes();
    while !rest.is_empty() {
        match rustix::io::write(&own, rest) {
            Ok(n) => rest = &rest[n..],
            Err(Errno::INTR) => {}
            Err(Errno::PIPE) => return Ok(()),
            Err(Errno::AGAIN) if has_room_within(&own, A_SECOND) => {}
            Err(Errno::AGAIN) => {
                return Err(unwritable(io::Error::other(
                    "it is full, and its reader has taken nothing for a second",
                )));
            }
            Err(errno) => return Err(unwritable(io::Error::from(errno))),
        }
    }
    Ok(())
}

fn unwritable(cause: io::Error) -> Failure {
    anyhow::Error::new(cause)
        .context("standard output cannot be written")
        .into()
}

const A_SECOND: Timespec = Timespec {
    tv_sec: 1,
    tv_nsec: 0,
};

fn has_room_within(fd: &OwnedFd, wait: Timespec) -> bool {
    let mut fds = [PollFd::new(fd, PollFlags::OUT)];
    matches!(poll(&mut fds, Some(&wait)), Ok(1..) | Err(Errno::INTR))
}

/// Opens the pipe or terminal behind a standard stream anew, for a description that does not block and is
/// ours alone. Not a file: a description of its own would write from the beginning. A socket cannot be
/// opened, and needs no such thing, since a single `send` can be told not to wait.
pub(super) fn own(stream: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    opened_anew(stream, OFlags::WRONLY)
}

/// The same of standard input.
pub(super) fn own_for_reading(stream: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    opened_anew(stream, OFlags::RDONLY)
}

fn opened_anew(stream: BorrowedFd<'_>, way: OFlags) -> io::Result<OwnedFd> {
    let kind = FileType::from_raw_mode(fstat(stream)?.st_mode);
    if !matches!(kind, FileType::Fifo | FileType::CharacterDevice) {
        return Err(io::ErrorKind::Unsupported.into());
    }
    let flags = way | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let path = format!("/proc/self/fd/{}", stream.as_raw_fd());
    Ok(open(path, flags, Mode::empty())?)
}

/// Whether what is printed from now on is read by nobody, so that making more of it is in vain.
pub(super) fn is_reader_gone() -> bool {
    READER_GONE.load(Ordering::Relaxed)
}

/// Says something on standard error as it is; if nobody listens, so be it.
pub(super) fn say(text: &str) {
    let _ = write_all(stderr(), text.as_bytes());
}

/// Standard input, by the line: one buffer for everybody, since what it read ahead is in no other.
pub(super) fn input() -> MutexGuard<'static, BufReader<Input>> {
    static INPUT: LazyLock<Mutex<BufReader<Input>>> =
        LazyLock::new(|| Mutex::new(BufReader::new(Input)));
    INPUT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Standard input.
#[derive(Debug)]
pub(super) struct Input;

impl Read for Input {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            match rustix::io::read(stdin(), &mut *into) {
                Ok(n) => return Ok(n),
                Err(errno) => wait_out(errno, stdin(), PollFlags::IN)?,
            }
        }
    }
}

fn write_all(to: BorrowedFd<'_>, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match rustix::io::write(to, bytes) {
            // No device takes nothing for ever; one that does is no place for a result.
            Ok(0) => return Err(Errno::IO),
            Ok(n) => bytes = &bytes[n..],
            Err(errno) => wait_out(errno, to, PollFlags::OUT)?,
        }
    }
    Ok(())
}

/// Waits where `errno` only means "not yet", for as long as it takes: what was asked for has a deadline
/// of its own, and the reader of a result may take its time.
fn wait_out(errno: Errno, fd: impl AsFd, flags: PollFlags) -> Result<(), Errno> {
    match errno {
        Errno::INTR => Ok(()),
        Errno::AGAIN => match poll(&mut [PollFd::new(&fd, flags)], None) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(errno),
        },
        errno => Err(errno),
    }
}
