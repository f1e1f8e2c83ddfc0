//! A cgroup for each command (cgroups(7), version 2): what is in it cannot leave it, whatever it does to its session
//! and its environment, so killing it kills all that a command left behind.
//!
//! Knows directories and files in them. Which of them are made is for the launcher, which are removed for the keeper.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use rustix::fs::statfs;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// How the names of our cgroups begin; a command's mark follows.
const PREFIX: &str = "onepoll-";

/// What the file system of version 2 calls itself (statfs(2)).
const CGROUP2_SUPER_MAGIC: u64 = 0x6367_7270;

/// The cgroup of one command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cgroup(PathBuf);

impl Cgroup {
    /// That of the command with this mark, in this directory.
    pub(super) fn of(directory: &Path, mark: &str) -> Cgroup {
        Cgroup(directory.join(format!("{PREFIX}{mark}")))
    }

    /// Makes it with these limits, and moves this process in.
    pub(super) fn enter(&self, pids: Option<u64>, memory: Option<u64>) -> io::Result<()> {
        let enter = || {
            for (name, limit) in [("pids.max", pids), ("memory.max", memory)] {
                if let Some(limit) = limit {
                    self.set(name, &limit.to_string())?;
                }
            }
            // 0 stands for the process that writes it.
            self.set("cgroup.procs", "0")
        };
        let (made, place) = (fs::create_dir(&self.0), self.0.display());
        made.map_err(|error| io::Error::other(format!("{place} cannot be made: {error}")))?;
        enter().inspect_err(|_| {
            // Nothing is in it.
            let _ = fs::remove_dir(&self.0);
        })
    }

    fn set(&self, name: &str, value: &str) -> io::Result<()> {
        let file = self.0.join(name);
        let written = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .open(&file);
        let written = written.and_then(|mut file| file.write_all(value.as_bytes()));
        written.map_err(|error| {
            let place = file.display();
            let why = match error.kind() {
                // The kernel makes the file, where its controller is on.
                ErrorKind::PermissionDenied | ErrorKind::NotFound if name != "cgroup.procs" => {
                    let controller = name.split('.').next().unwrap_or_default();
                    format!("; the controller `{controller}` may be off in that directory (cgroup.subtree_control)")
                }
                _ => String::new(),
            };
            io::Error::other(format!("{place} cannot be set to {value}: {error}{why}"))
        })
    }

    /// Kills what is in it, and removes it. `WouldBlock`: something in it is still on its way out.
    pub(super) fn remove(&self) -> io::Result<()> {
        match self.kill().and_then(|()| fs::remove_dir(&self.0)) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) if error.kind() == ErrorKind::ResourceBusy => {
                Err(ErrorKind::WouldBlock.into())
            }
            removed => removed,
        }
    }

    fn kill(&self) -> io::Result<()> {
        match OpenOptions::new()
            .write(true)
            .open(self.0.join("cgroup.kill"))
        {
            Ok(mut file) => file.write_all(b"1"),
            // Linux has it since 5.14.
            Err(error) if error.kind() == ErrorKind::NotFound => self.kill_each(),
            Err(error) => Err(error),
        }
    }

    fn kill_each(&self) -> io::Result<()> {
        let is_in = |pid: Pid| {
            let pids = fs::read_to_string(self.0.join("cgroup.procs"));
            pids.map(|pids| pids.lines().any(|line| line == pid.to_string()))
        };
        let pids = match fs::read_to_string(self.0.join("cgroup.procs")) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            pids => pids?,
        };
        for pid in pids
            .lines()
            .filter_map(|line| line.parse().ok().and_then(Pid::from_raw))
        {
            // Held fast before it is looked at once more: by then the number could be another's.
            if let Ok(process) = pidfd_open(pid, PidfdFlags::empty())
                && is_in(pid)?
            {
                let _ = pidfd_send_signal(process, Signal::KILL);
            }
        }
        Ok(())
    }
}

/// Whether a directory is one in which commands can have cgroups; else why not.
pub(super) fn check(directory: &Path) -> io::Result<()> {
    let place = directory.display();
    let found = statfs(directory).map_err(|error| {
        io::Error::new(io::Error::from(error).kind(), format!("{place}: {error}"))
    })?;
    #[expect(
        clippy::cast_sign_loss,
        reason = "a magic number, compared for being the same"
    )]
    if found.f_type as u64 != CGROUP2_SUPER_MAGIC {
        return Err(io::Error::other(format!(
            "{place} is no directory of cgroup version 2 (mount -t cgroup2)"
        )));
    }
    Ok(())
}

/// The cgroups that servers left in a directory that are no more: killed, or with the machine's power. `lives` is asked
/// whether the server of a mark is.
pub(super) fn stale(directory: &Path, lives: impl Fn(&str) -> bool) -> io::Result<Vec<Cgroup>> {
    let mut stale = Vec::new();
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        let mark = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        if let Some(mark) = mark.filter(|mark| !lives(mark)) {
            stale.push(Cgroup::of(directory, mark));
        }
    }
    Ok(stale)
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::{Command, Stdio};

    use super::*;

    fn read(directory: &Path, name: &str) -> String {
        fs::read_to_string(directory.join("onepoll-m").join(name)).unwrap()
    }

    #[test]
    fn fault_f6_limits_are_set_before_anything_is_in_a_cgroup() {
        let directory = tempfile::tempdir().unwrap();
        let cgroup = Cgroup::of(directory.path(), "m");
        cgroup.enter(Some(64), Some(1 << 20)).unwrap();
        assert_eq!(read(directory.path(), "pids.max"), "64");
        assert_eq!(read(directory.path(), "memory.max"), "1048576");
        assert_eq!(read(directory.path(), "cgroup.procs"), "0");
        // Two commands never share one.
        let twice = cgroup.enter(None, None).unwrap_err().to_string();
        assert!(twice.contains("onepoll-m cannot be made"), "{twice}");
    }

    #[test]
    fn fault_f5_a_limit_that_cannot_be_set_leaves_no_cgroup() {
        let directory = tempfile::tempdir().unwrap();
        let cgroup = Cgroup::of(directory.path(), "m");
        fs::create_dir(directory.path().join("onepoll-m")).unwrap();
        let wrong = cgroup.enter(Some(1), None).unwrap_err().to_string();
        assert!(wrong.contains("cannot be made"), "{wrong}");
        cgroup.remove().unwrap();
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
        // What is gone already was removed by somebody else.
        cgroup.remove().unwrap();
    }

    #[test]
    fn fault_f4_what_is_in_a_cgroup_is_killed_where_the_kernel_has_no_file_for_it() {
        let directory = tempfile::tempdir().unwrap();
        let mut sleeper = Command::new("sleep")
            .arg("1000")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let inside = directory.path().join("onepoll-m");
        fs::create_dir(&inside).unwrap();
        fs::write(inside.join("cgroup.procs"), format!("{}\n", sleeper.id())).unwrap();
        // A directory of plain files stays as long as it has some, as a cgroup does while it has processes.
        let cgroup = Cgroup::of(directory.path(), "m");
        assert!(cgroup.remove().is_err());
        assert_eq!(sleeper.wait().unwrap().signal(), Some(9));
        fs::remove_file(inside.join("cgroup.procs")).unwrap();
        cgroup.remove().unwrap();
        assert!(!inside.exists());
    }

    #[test]
    fn fault_f22_cgroups_of_servers_that_are_gone_are_removed_and_no_others() {
        let directory = tempfile::tempdir().unwrap();
        for name in [
            "onepoll-1-dead",
            "onepoll-2-lives",
            "onepoll-3-dead",
            "other",
            "onepoll",
        ] {
            fs::create_dir(directory.path().join(name)).unwrap();
        }
        let stale = stale(directory.path(), |mark| mark.ends_with("lives")).unwrap();
        assert_eq!(stale.len(), 2);
        stale.iter().for_each(|cgroup| cgroup.remove().unwrap());
        let mut left: Vec<_> = fs::read_dir(directory.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        left.sort();
        assert_eq!(left, ["onepoll", "onepoll-2-lives", "other"]);
    }

    #[test]
    fn a_directory_that_is_none_of_cgroups_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let wrong = check(directory.path()).unwrap_err().to_string();
        assert!(
            wrong.contains("no directory of cgroup version 2"),
            "{wrong}"
        );
        assert!(check(&directory.path().join("none")).is_err());
    }
}
