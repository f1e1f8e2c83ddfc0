//! Descriptors that somebody else opened: the one place that trusts a number.
//!
//! Knows neither the reactor nor the sockets for study: both adopt through it, so that there is one
//! file of `unsafe` to audit.

use std::fs;
use std::io;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::io::{FdFlags, fcntl_getfd, fcntl_setfd};

/// Adopts descriptor `fd` as it is: it is closed with what is made of it, and nothing else about it
/// changes. This is `socket.socket(fileno=fd)`.
///
/// # Errors
///
/// One that is not open cannot be adopted (`EBADF`). The caller adopts each number once, and only one
/// that no other value owns: it was inherited, or given away with `into_raw_fd`.
#[expect(
    unsafe_code,
    reason = "a number that somebody gave away becomes a descriptor here only"
)]
pub(crate) fn adopt(fd: RawFd) -> io::Result<OwnedFd> {
    if fd < 0 {
        return Err(rustix::io::Errno::BADF.into());
    }
    // SAFETY: borrowed for this call only, to learn whether it is open at all; fcntl(2) on a
    // number that is not answers EBADF and touches nothing.
    fcntl_getfd(unsafe { BorrowedFd::borrow_raw(fd) })?;
    // SAFETY: it is open, and no value of ours owns it: a number is adopted once, after the code or
    // process that opened it gave it away (`endpoint` refuses a number named twice; `Socket::from_fileno` asks
    // it of its caller, as Python does).
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Adopts descriptor `fd`, as socket activation hands it over: it is closed with what is made of
/// it, and is not inherited further. Whether it blocks is left as it was, since that is a property of the
/// socket, which the process that passed it on may still use.
///
/// # Errors
///
/// Descriptors 1 and 2 are what we print to, and one that is not open cannot be adopted (`EBADF`).
/// The caller adopts each number once, at start, before anything else could have opened it.
pub fn inherited(fd: RawFd) -> io::Result<OwnedFd> {
    if fd == 1 || fd == 2 || fd < 0 {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("descriptor {fd} cannot be adopted: 1 and 2 are for what we print"),
        ));
    }
    let owned = adopt(fd)?;
    fcntl_setfd(&owned, FdFlags::CLOEXEC)?;
    Ok(owned)
}

/// Marks every descriptor but 0 to 2 close-on-exec, so that what we inherited by accident does
/// not reach the commands we run (fault F16). Called once, at start.
#[expect(unsafe_code, reason = "the numbers come from the kernel's own list")]
pub fn close_on_exec() -> io::Result<()> {
    for entry in fs::read_dir("/proc/self/fd")? {
        let name = entry?.file_name();
        let Some(fd) = name.to_str().and_then(|name| name.parse::<RawFd>().ok()) else {
            continue;
        };
        if fd > 2 {
            // SAFETY: borrowed for this call only; a number that was closed since (the directory
            // itself is one) answers EBADF.
            let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
            let _ = fcntl_setfd(borrowed, FdFlags::CLOEXEC);
        }
    }
    Ok(())
}
