use std::fs;

use nix::errno::Errno;
use nix::sys::wait::{Id, WaitPidFlag, waitid as nix_waitid};
use rustix::process::{Pid, WaitId, WaitIdOptions, child_subreaper, getpid, waitid};

/// How many are reaped in one turn of the loop: one signal may tell of thousands, and connections
/// are served in between.
const REAPED_PER_TURN: usize = 256;

const LOOK: WaitIdOptions = WaitIdOptions::EXITED
    .union(WaitIdOptions::NOHANG)
    .union(WaitIdOptions::NOWAIT);

const REAP: WaitIdOptions = WaitIdOptions::EXITED.union(WaitIdOptions::NOHANG);

/// Children that are no commands of ours, and that no other process can reap. What a command left
/// behind comes to us if we are PID 1 of a container or a subreaper (prctl(2)); and a shell that
/// became the server by `exec` may have started some before.
///
/// A child that has ended is first looked at (`WNOWAIT`), and reaped by its number only if that is
/// no command's: a command's status is for the service that asked for it. Until it is reaped no
/// other process gets its number.
#[derive(Debug, Default)]
pub(super) struct Strays {
    /// The commands that are not reaped yet; a handful.
    commands: Vec<Pid>,
    /// The kernel shows only the first child that has ended, and that was a command: there may be
    /// more behind it.
    hidden: bool,
}

/// What is left after a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Left {
    /// Nothing; or a command that has ended is in the way, and it is time to look again when that
    /// is reaped.
    Nothing,
    /// As many as may be reaped in one turn were; there may be more.
    Perhaps,
}

impl Strays {
    /// Whether there is any or can be: if not, there is no need ever to look.
    pub(super) fn may_come() -> bool {
        let adopts = getpid().is_init() || matches!(child_subreaper(), Ok(Some(_)));
        let childless = Err(rustix::io::Errno::CHILD);
        adopts || waitid(WaitId::All, LOOK).map(drop) != childless
    }

    pub(super) fn command_started(&mut self, pid: Pid) {
        self.commands.push(pid);
    }

    /// A command was reaped. True if one was in the way, and it is time to look again.
    pub(super) fn command_reaped(&mut self, pid: Pid) -> bool {
        self.commands.retain(|command| *command != pid);
        std::mem::take(&mut self.hidden)
    }

    /// Reaps those that have ended, so many at a time.
    pub(super) fn reap(&mut self) -> Left {
        for _ in 0..REAPED_PER_TURN {
            let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
            let pid = match nix_waitid(Id::All, flags) {
                Ok(status) => status.pid(),
                // It ended by a signal that nix has no name for, a real-time one.
                Err(Errno::EINVAL) => {
                    self.reap_each();
                    return Left::Nothing;
                }
                Err(_) => None,
            };
            let Some(pid) = pid.and_then(|pid| Pid::from_raw(pid.as_raw())) else {
                return Left::Nothing;
            };
            if self.commands.contains(&pid) {
                self.hidden = true;
                return Left::Nothing;
            }
            let _ = waitid(WaitId::Pid(pid), REAP);
        }
        Left::Perhaps
    }

    /// Asks each child that is no command by its number.
    fn reap_each(&mut self) {
        let threads = fs::read_dir("/proc/self/task");
        for thread in threads.into_iter().flatten().flatten() {
            let children = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            for pid in children.split_ascii_whitespace() {
                let pid = pid.parse().ok().and_then(Pid::from_raw);
                if let Some(pid) = pid.filter(|pid| !self.commands.contains(pid)) {
                    let _ = waitid(WaitId::Pid(pid), REAP);
                }
            }
        }
        // A command may have been in front all the same.
        self.hidden = !self.commands.is_empty();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_was_reaped_is_forgotten_and_no_other() {
        let pid = |n| Pid::from_raw(n).unwrap();
        let mut strays = Strays::default();
        for n in 1..=1000 {
            strays.command_started(pid(n));
            strays.command_started(pid(10_000 + n));
            assert!(!strays.command_reaped(pid(n)));
        }
        assert_eq!(strays.commands.len(), 1000);
        assert!(strays.commands.iter().all(|pid| pid.as_raw_pid() > 10_000));
        // What was hidden behind a command is looked for once.
        strays.hidden = true;
        assert!(strays.command_reaped(pid(10_001)));
        assert!(!strays.command_reaped(pid(10_002)));
        assert_eq!(strays.commands.len(), 998);
    }
}
