//! Processes, whose parent we need not be.

use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::DEADLINE;

/// Waits for the end of a process.
#[track_caller]
pub(crate) fn ended(pid: Pid) {
    assert!(ends(pid, DEADLINE), "process {pid:?} does not end");
}

/// Whether a process runs.
pub(crate) fn lives(pid: Pid) -> bool {
    !ends(pid, Duration::ZERO)
}

fn ends(pid: Pid, within: Duration) -> bool {
    let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else {
        return true;
    };
    let within = Timespec::try_from(within).unwrap();
    let mut fds = [PollFd::new(&pidfd, PollFlags::IN)];
    poll(&mut fds, Some(&within)).unwrap() == 1
}
