//! What the keeper is told of commands, and the mark that each of them has.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::io::ioctl_fionbio;
use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};
use rustix::process::Pid;

use crate::config::limits::KEEPER_PIPE_BYTES;
use crate::wire::{Encode, Keeping};

/// The marks of this loop's commands.
#[derive(Debug)]
pub(super) struct Marks {
    prefix: String,
    last: u64,
}

impl Marks {
    /// Marks that no other loop's commands have, as long as this machine runs: this process by its number and its
    /// beginning, and which of its loops.
    pub(super) fn new() -> Marks {
        static LOOPS: AtomicU32 = AtomicU32::new(0);
        let (pid, start) = (
            std::process::id(),
            start_of_this_process().unwrap_or_default(),
        );
        let nth = LOOPS.fetch_add(1, Ordering::Relaxed);
        Marks {
            prefix: format!("{pid}-{start}-{nth}-"),
            last: 0,
        }
    }

    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    pub(super) fn next(&mut self) -> String {
        self.last += 1;
        format!("{}{}", self.prefix, self.last)
    }
}

/// In clock ticks since the machine's own: field 22 of proc_pid_stat(5), behind the name in parentheses.
fn start_of_this_process() -> Option<u64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let (_, fields) = stat.rsplit_once(") ")?;
    fields.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// The pipe to a keeper, and what it has to know.
///
/// We have both ends: what a keeper has not read when it ends is for the next one. When we end, nobody has the end that
/// is written to.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) arguments: Vec<OsString>,
    pub(super) input: OwnedFd,
    feed: OwnedFd,
    running: HashMap<String, Running>,
    /// Commands that have ended, which there was no room to tell.
    untold: Vec<String>,
}

#[derive(Debug)]
struct Running {
    pid: u32,
    cgroup: Option<String>,
}

impl Kept {
    /// For a keeper that is started with these arguments.
    pub(super) fn new(arguments: Vec<OsString>) -> io::Result<Kept> {
        let (input, feed) = pipe_with(PipeFlags::CLOEXEC)?;
        ioctl_fionbio(&feed, true)?;
        // As large as it is allowed to be; the usual 64 KiB will do.
        let _ = fcntl_setpipe_size(&feed, KEEPER_PIPE_BYTES);
        Ok(Kept {
            arguments,
            input,
            feed,
            running: HashMap::new(),
            untold: Vec::new(),
        })
    }

    /// A command is about to be started. If the keeper cannot be told so it must not be: what the keeper does not know
    /// it takes for something that was left behind.
    pub(super) fn begins(&mut self, mark: &str, cgroup: Option<String>) -> io::Result<()> {
        self.catch_up();
        let mark = mark.to_owned();
        self.tell(&Keeping::Begins { mark, cgroup })
    }

    /// It runs.
    pub(super) fn runs(&mut self, mark: &str, pid: Pid, cgroup: Option<String>) {
        let pid = pid.as_raw_pid().unsigned_abs();
        let line = Keeping::Runs {
            mark: mark.to_owned(),
            pid,
        };
        // Without it the mark alone tells what belongs to the command.
        let _ = self.tell(&line);
        self.running
            .insert(mark.to_owned(), Running { pid, cgroup });
    }

    /// It has ended, or was not started.
    pub(super) fn ended(&mut self, mark: &str) {
        self.running.remove(mark);
        self.untold.push(mark.to_owned());
        self.catch_up();
    }

    /// Another keeper begins: the last one may have heard more than it had time for.
    pub(super) fn tell_all(&mut self) -> io::Result<()> {
        self.catch_up();
        for (mark, Running { pid, cgroup }) in &self.running {
            let (mark, cgroup) = (mark.clone(), cgroup.clone());
            self.tell(&Keeping::Begins {
                mark: mark.clone(),
                cgroup,
            })?;
            self.tell(&Keeping::Runs { mark, pid: *pid })?;
        }
        Ok(())
    }

    fn catch_up(&mut self) {
        while let Some(mark) = self.untold.last() {
            let line = Keeping::Ended { mark: mark.clone() };
            if self.tell(&line).is_err() {
                return;
            }
            self.untold.pop();
        }
    }

    /// A line is shorter than what a pipe takes whole or not at all (pipe(7)).
    fn tell(&self, line: &Keeping) -> io::Result<()> {
        let mut text = Vec::new();
        line.encode(&mut text);
        match rustix::io::write(&self.feed, &text) {
            Ok(_) => Ok(()),
            Err(error) => Err(io::Error::new(
                io::Error::from(error).kind(),
                "the keeper of commands is too far behind",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(kept: &Kept) -> Vec<Keeping> {
        ioctl_fionbio(&kept.input, true).unwrap();
        let mut bytes = vec![0; 1 << 20];
        let n = rustix::io::read(&kept.input, &mut bytes).unwrap_or(0);
        let lines = bytes[..n]
            .split(|&byte| byte == b'\n')
            .filter(|line| !line.is_empty());
        lines.map(|line| Keeping::of_line(line).unwrap()).collect()
    }

    fn begins(mark: &str) -> Keeping {
        Keeping::Begins {
            mark: mark.into(),
            cgroup: None,
        }
    }

    fn ended(mark: &str) -> Keeping {
        Keeping::Ended { mark: mark.into() }
    }

    #[test]
    fn two_loops_of_one_process_have_different_marks() {
        let (mut one, mut other) = (Marks::new(), Marks::new());
        let marks = [one.next(), one.next(), other.next()];
        assert_ne!(marks[0], marks[1]);
        assert_ne!(marks[1], marks[2]);
        assert!(marks[0].starts_with(one.prefix()) && !marks[2].starts_with(one.prefix()));
        let start = start_of_this_process().unwrap();
        assert!(
            one.prefix()
                .starts_with(&format!("{}-{start}-", std::process::id()))
        );
    }

    #[test]
    fn the_next_keeper_is_told_what_runs() {
        let mut kept = Kept::new(Vec::new()).unwrap();
        let pid = |n| Pid::from_raw(n).unwrap();
        kept.begins("a", None).unwrap();
        kept.runs("a", pid(7), None);
        kept.begins("b", None).unwrap();
        kept.runs("b", pid(8), None);
        kept.ended("a");
        assert_eq!(lines(&kept).len(), 5);
        kept.tell_all().unwrap();
        let runs = Keeping::Runs {
            mark: "b".into(),
            pid: 8,
        };
        assert_eq!(lines(&kept), [begins("b"), runs]);
    }

    #[test]
    fn a_keeper_that_is_behind_hears_of_every_end_and_no_command_begins_unheard() {
        let mut kept = Kept::new(Vec::new()).unwrap();
        let mut told = 0;
        while kept.begins(&told.to_string(), None).is_ok() {
            told += 1;
        }
        assert!(told > 100, "{told}");
        kept.ended("0");
        kept.ended("1");
        assert!(kept.begins("more", None).is_err());
        assert_eq!(lines(&kept).len(), told);
        kept.begins("more", None).unwrap();
        assert_eq!(lines(&kept), [ended("1"), ended("0"), begins("more")]);
    }
}
