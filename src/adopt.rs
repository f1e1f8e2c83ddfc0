//! Descriptors that somebody else opened, and what a child used: the one place that trusts a number.
//!
//! Knows neither the reactor nor the sockets for study: both come here, so that there is one file of `unsafe` to
//! audit.

use std::fs;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use nix::libc;
use rustix::io::{FdFlags, fcntl_getfd, fcntl_setfd};
use rustix::process::Pid;

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

/// What a child that was waited for used (getrusage(2)).
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Used {
    pub(crate) user: Option<Duration>,
    pub(crate) system: Option<Duration>,
    /// In bytes.
    pub(crate) peak: Option<u64>,
}

/// Waits for a child, reaps it and says what it used. No crate has wait4(2) for a number, and waitid(2) does not
/// tell it.
///
/// # Errors
///
/// `ECHILD` if it is no child of ours, or was reaped.
#[expect(unsafe_code, reason = "no crate that we have calls wait4(2)")]
pub(crate) fn wait(child: Pid) -> io::Result<Used> {
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    loop {
        // SAFETY: the kernel writes one `rusage` to where `usage` lies, which lives until after the call and has
        // room for it, and nothing where the status would go.
        let reaped = unsafe {
            let nowhere = std::ptr::null_mut();
            libc::wait4(child.as_raw_pid(), nowhere, 0, usage.as_mut_ptr())
        };
        match reaped {
            -1 => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::Interrupted => {}
                error => return Err(error),
            },
            _ => break,
        }
    }
    // SAFETY: it was zeroed, and all its fields are integers.
    let usage = unsafe { usage.assume_init() };
    let time = |time: libc::timeval| {
        let (seconds, micros) = (u64::try_from(time.tv_sec), u64::try_from(time.tv_usec));
        Some(Duration::from_secs(seconds.ok()?) + Duration::from_micros(micros.ok()?))
    };
    Ok(Used {
        user: time(usage.ru_utime),
        system: time(usage.ru_stime),
        peak: u64::try_from(usage.ru_maxrss).ok().map(|kib| kib * 1024),
    })
}
