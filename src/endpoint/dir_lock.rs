//! One process at a time looks at a directory's socket files and replaces them.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::event::{Timespec, poll};
use rustix::fs::{FlockOperation, Mode, OFlags, flock, open};
use rustix::io::Errno;

/// Between two tries.
const PAUSE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 5_000_000,
};

/// How often it is tried: for two seconds. Other servers hold the lock for some system calls.
const TRIES: u32 = 400;

/// Whether a socket file is stale, its removal and the making of the next are three steps, and binding
/// cannot replace a file: without a lock, two servers that start at once each remove the other's file.
///
/// An advisory lock (flock(2)) on the directory itself leaves nothing behind, also after SIGKILL.
#[derive(Debug)]
pub(super) struct DirLock(#[expect(dead_code, reason = "closing it unlocks")] Option<OwnedFd>);

impl DirLock {
    /// Locks the directory that this file is in. One that cannot be read cannot be locked, and is not.
    pub(super) fn around(file: &Path) -> io::Result<DirLock> {
        DirLock::within(file, TRIES)
    }

    /// The same, without waiting for another process.
    pub(super) fn at_once(file: &Path) -> io::Result<DirLock> {
        DirLock::within(file, 1)
    }

    fn within(file: &Path, tries: u32) -> io::Result<DirLock> {
        let dir = match file.parent() {
            Some(dir) if !dir.as_os_str().is_empty() => dir,
            _ => Path::new("."),
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = match open(dir, flags, Mode::empty()) {
            Ok(dir) => dir,
            Err(Errno::ACCESS) => return Ok(DirLock(None)),
            Err(wrong) => return Err(wrong.into()),
        };
        for nth in 1..=tries {
            match flock(&dir, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(DirLock(Some(dir))),
                Err(Errno::WOULDBLOCK) if nth == tries => break,
                Err(Errno::WOULDBLOCK) => {
                    poll(&mut [], Some(&PAUSE))?;
                }
                Err(Errno::INTR) => {}
                // Some network file systems have no locks.
                Err(_) => return Ok(DirLock(None)),
            }
        }
        Err(io::Error::new(
            io::ErrorKind::WouldBlock,
            "another process has locked the directory",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_locked_until_the_lock_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.sock");
        let other = open(dir.path(), OFlags::RDONLY, Mode::empty()).unwrap();
        let try_other = || flock(&other, FlockOperation::NonBlockingLockExclusive);
        let lock = DirLock::around(&file).unwrap();
        assert_eq!(try_other(), Err(Errno::WOULDBLOCK));
        let refused = DirLock::at_once(&file).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::WouldBlock);
        drop(lock);
        drop(DirLock::at_once(&file).unwrap());
        assert_eq!(try_other(), Ok(()));
    }
}
