//! The standard streams of a command that somebody waits for: results go out here, and nowhere else.
//!
//! Knows nothing of what is printed. The descriptors are inherited, and so is their blocking mode:
//! whoever started us may have made them non-blocking, and may do so at any time, since it belongs to
//! everybody who shares them (`O_NONBLOCK` in fcntl(2)). So `EAGAIN` means "not yet", in all three.
//!
//! A result that cannot be written is an error with its cause. A reader that has gone away (`| head`)
//! wanted no more: that is no failure, nothing is said, and the exit code is that of the work, as if
//! all had been read. `ls` dies of SIGPIPE there, which a shell shows as 141; we have an exit code of
//! somebody else's to pass on, and thresholds that were missed or not, so we do not.

use std::fmt;
use std::io::{self, BufReader, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use rustix::event::{PollFd, PollFlags, poll};
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
        Err(errno) => Err(anyhow::Error::new(io::Error::from(errno))
            .context("standard output cannot be written")
            .into()),
    }
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
/// of its own, and who reads a result may take their time.
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
