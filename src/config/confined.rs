//! Files beneath a directory, and none outside of it, whatever somebody else does to what is there: openat2(2) sees to that.
//!
//! The service of files opens by it what it serves, and `fetch` what it stores.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;
use rustix::path::Arg;

/// Nothing above the directory that a lookup begins in, no symbolic link, and none of /proc.
pub(crate) const CONFINED: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS);

/// Opens what has this path beneath a directory. Where something was renamed meanwhile, so that the kernel cannot tell
/// whether it is beneath, it is asked again, so often.
pub(crate) fn open_confined(
    directory: impl AsFd,
    path: impl Arg + Copy,
    flags: OFlags,
    mode: Mode,
    tries: u32,
) -> Result<OwnedFd, Errno> {
    let mut tried = 0;
    loop {
        match openat2(directory.as_fd(), path, flags, mode, CONFINED) {
            Err(Errno::AGAIN | Errno::INTR) if tried < tries => tried += 1,
            opened => return opened,
        }
    }
}
