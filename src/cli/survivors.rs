//! What is left of commands that have ended: found in /proc, held fast, and killed.
//!
//! A process belongs to a command if the command's mark is in its environment, or if it is in the command's session.
//! Both are what it began with: one that has changed both is not found here, and only a cgroup holds it.
//!
//! A number in /proc may be another process's a moment later. So a process is killed through a descriptor of it
//! (pidfd_open(2)), after a second look with that in hand: the same number with the same time of its beginning.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// The variable that has the mark of a command.
const VARIABLE: &[u8] = b"ONEPOLL_COMMAND=";

/// What is read of a file: what we put into an environment comes first.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Few files have more.
const USUAL_BYTES: usize = 8 << 10;

/// A process, as it is in /proc.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) pid: u32,
    /// When it began, in clock ticks since the machine did: two processes of one number differ in it.
    pub(super) start: u64,
    /// The number of its session's leader.
    pub(super) session: u32,
    /// It has ended, and its parent has not asked how.
    is_zombie: bool,
    /// The mark in its environment, if that can be read and has one.
    pub(super) mark: Option<String>,
}

/// All processes that began no earlier than this.
pub(super) fn since(start: u64) -> io::Result<HashMap<u32, Found>> {
    let mut all = HashMap::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let pid = name.to_str().and_then(|name| name.parse().ok());
        // It may have ended since it was listed. The environment, which takes longest, is not read of the others.
        let found = pid.and_then(without_mark);
        if let Some(found) = found.filter(|found| found.start >= start) {
            all.insert(found.pid, found.marked());
        }
    }
    Ok(all)
}

/// The process of this number, if there is one.
pub(super) fn look_at(pid: u32) -> Option<Found> {
    without_mark(pid).map(Found::marked)
}

fn without_mark(pid: u32) -> Option<Found> {
    let stat = all_of(&format!("/proc/{pid}/stat"))?;
    // The name of its program is in parentheses, and may have some itself.
    let after = stat.iter().rposition(|&byte| byte == b')')? + 1;
    let fields: Vec<&str> = std::str::from_utf8(&stat[after..])
        .ok()?
        .split_ascii_whitespace()
        .collect();
    // Fields 3, 6 and 22 of proc_pid_stat(5).
    let (state, session, start) = (fields.first()?, fields.get(3)?, fields.get(19)?);
    Some(Found {
        pid,
        start: start.parse().ok()?,
        session: session.parse().ok()?,
        is_zombie: ["Z", "X"].contains(state),
        mark: None,
    })
}

fn mark_of(pid: u32) -> Option<String> {
    let environment = all_of(&format!("/proc/{pid}/environ"))?;
    let mut variables = environment.split(|&byte| byte == 0);
    let mark = variables.find_map(|variable| variable.strip_prefix(VARIABLE))?;
    String::from_utf8(mark.to_vec()).ok()
}

/// What is in a file of /proc, which does not tell how much that is: most of them with two calls.
fn all_of(path: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(USUAL_BYTES);
    let file = File::open(path).ok()?;
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// A process that cannot become another one while this value lives.
#[derive(Debug)]
pub(super) struct Held(OwnedFd);

impl Found {
    /// Whether there is something to kill.
    pub(super) fn lives(&self) -> bool {
        !self.is_zombie
    }

    fn marked(self) -> Found {
        let mark = mark_of(self.pid).filter(|_| !self.is_zombie);
        Found { mark, ..self }
    }

    /// Holds it fast, if it is still the process that was found.
    pub(super) fn hold(&self) -> Option<Held> {
        let pid = Pid::from_raw(i32::try_from(self.pid).ok()?)?;
        let held = Held(pidfd_open(pid, PidfdFlags::empty()).ok()?);
        let is_same = without_mark(self.pid).is_some_and(|now| now.start == self.start);
        is_same.then_some(held)
    }
}

impl Held {
    pub(super) fn kill(self) {
        let _ = pidfd_send_signal(&self.0, Signal::KILL);
    }

    /// It does nothing more, but for ending.
    pub(super) fn stop(self) -> Stopped {
        let _ = pidfd_send_signal(&self.0, Signal::STOP);
        Stopped(self.0)
    }
}

/// A process that was stopped. It is killed with this value, wherever that goes: nobody would ever let it go on.
#[derive(Debug)]
pub(super) struct Stopped(OwnedFd);

impl Drop for Stopped {
    fn drop(&mut self) {
        let _ = pidfd_send_signal(&self.0, Signal::KILL);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::{Child, Command, Stdio};

    use super::*;

    /// Ends with the test, however that ends.
    struct Sleeper(Child);

    impl Sleeper {
        /// One that has become what it is: on its way there, a process has no environment for a moment.
        fn with(mark: &str) -> Sleeper {
            let mut sleep = Command::new("sleep");
            sleep.arg("1000").env("ONEPOLL_COMMAND", mark);
            let quiet = sleep
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            let sleeper = Sleeper(quiet.spawn().unwrap());
            while sleeper.found().mark.is_none() {
                std::thread::yield_now();
            }
            sleeper
        }

        fn found(&self) -> Found {
            look_at(self.0.id()).unwrap()
        }

        fn signal(&mut self) -> Option<i32> {
            self.0.wait().unwrap().signal()
        }
    }

    impl Drop for Sleeper {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[test]
    fn fault_f4_a_process_is_found_by_its_mark_and_killed_as_itself() {
        let mut sleeper = Sleeper::with("7-8-9-1");
        let found = sleeper.found();
        assert!(found.lives());
        assert_eq!(found.mark.as_deref(), Some("7-8-9-1"));
        let all = since(found.start).unwrap();
        assert_eq!(all[&found.pid], found);
        // Those of before are not looked at.
        assert!(!since(found.start + 1).unwrap().contains_key(&found.pid));

        // Another process of that number would have begun at another time.
        let reused = Found {
            start: found.start + 1,
            ..found.clone()
        };
        assert!(reused.hold().is_none());
        let held = found.hold().unwrap();
        held.kill();
        assert_eq!(sleeper.signal(), Some(9));
        // Reaped: nobody has the number, or somebody else.
        assert!(found.hold().is_none());
    }

    #[test]
    fn fault_f22_what_is_stopped_is_killed_whatever_becomes_of_the_look() {
        let mut sleeper = Sleeper::with("7-8-9-3");
        drop(sleeper.found().hold().unwrap().stop());
        assert_eq!(sleeper.signal(), Some(9));
    }

    #[test]
    fn one_that_has_ended_is_left_to_its_parent() {
        let mut sleeper = Sleeper::with("7-8-9-2");
        sleeper.found().hold().unwrap().kill();
        while sleeper.found().lives() {
            std::thread::yield_now();
        }
        assert_eq!(sleeper.found().mark, None);
        assert_eq!(sleeper.signal(), Some(9));
    }

    #[test]
    fn a_process_without_a_mark_has_none() {
        let own = look_at(std::process::id()).unwrap();
        assert_eq!(own.mark, None);
        assert!(own.lives());
        assert_eq!(look_at(0), None);
    }
}
