//! What the server's processes used, as the kernel tells it: by pid, with all their threads and children.

use std::collections::BTreeSet;
use std::fs;

use procfs::process::Process;
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};
use serde::{Deserialize, Serialize};

/// So many processes are looked at; a server that forks for each connection has one for each.
const PROCESSES_MAX: usize = 4_096;

/// What processes have used since they began, and what they hold now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Nanoseconds on a processor, those of children that have ended included.
    pub cpu: u64,
    /// Bytes of memory: their proportional share of what they map.
    pub memory: u64,
    /// How often those that are alive went to sleep by themselves.
    pub sleeps: u64,
}

impl Usage {
    /// As of now, of these processes and their children; none where there is no such process, or not
    /// one of ours.
    ///
    /// The kernel walks all that they map to say how much memory that is: 30 ms for 3 GiB.
    pub fn of(pids: &[u32]) -> Option<Self> {
        Self::read(pids, share_of_memory)
    }

    /// The same without their memory, which then is 0: for a moment at which requests are in flight.
    pub fn of_work(pids: &[u32]) -> Option<Self> {
        Self::read(pids, |_| Some(0))
    }

    fn read(pids: &[u32], memory: fn(&Process) -> Option<u64>) -> Option<Self> {
        let mut usage = Self::default();
        let mut left = pids.to_vec();
        let mut seen = BTreeSet::new();
        while let Some(pid) = left.pop()
            && seen.len() < PROCESSES_MAX
        {
            if !seen.insert(pid) {
                continue;
            }
            // A child may end between being listed and being read.
            let is_asked_for = pids.contains(&pid);
            if usage.add(pid, memory, &mut left).is_none() && is_asked_for {
                return None;
            }
        }
        (!pids.is_empty()).then_some(usage)
    }

    fn add(
        &mut self,
        pid: u32,
        memory: fn(&Process) -> Option<u64>,
        children: &mut Vec<u32>,
    ) -> Option<()> {
        let process = Process::new(pid.try_into().ok()?).ok()?;
        let stat = process.stat().ok()?;
        // A process that has ended and was not yet waited for has no memory.
        self.memory += match memory(&process) {
            Some(bytes) => bytes,
            None if stat.state == 'Z' => 0,
            None => return None,
        };
        let mut threads = 0;
        // A thread may end between being listed and being read.
        for task in process.tasks().ok()?.flatten() {
            threads += task.schedstat().map_or(0, |times| times.sum_exec_runtime);
            let status = task.status().ok();
            self.sleeps += status
                .and_then(|status| status.voluntary_ctxt_switches)
                .unwrap_or(0);
            children.extend(task.children().unwrap_or_default());
        }
        let tick = 1_000_000_000 / procfs::ticks_per_second().max(1);
        let own = (stat.utime + stat.stime) * tick;
        let ended = u64::try_from(stat.cutime + stat.cstime).unwrap_or(0) * tick;
        // Threads are told exactly while they live; the sum with those that have ended, to a clock tick.
        self.cpu += threads.max(own) + ended;
        Some(())
    }
}

/// The command line of a process, quoted as a shell takes it; none where it has ended.
pub(crate) fn command_line(pid: u32) -> Option<String> {
    let words = Process::new(pid.try_into().ok()?).ok()?.cmdline().ok()?;
    (!words.is_empty()).then(|| shell_words::join(words))
}

/// Bytes that a process maps, those shared with others divided by their number.
fn share_of_memory(process: &Process) -> Option<u64> {
    let rollup = process.smaps_rollup().ok()?.memory_map_rollup;
    rollup.0.first()?.extension.map.get("Pss").copied()
}

/// Why nothing is known of processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unread {
    /// One of them has ended.
    Ended,
    /// They are there, and this process has no descriptor left to read of them.
    NoDescriptor,
    /// They are there, and the kernel does not tell.
    Untold,
}

impl Unread {
    /// Why these cannot be read; `ran_out` says whether there was a moment without a descriptor.
    pub(crate) fn of(pids: &[u32], ran_out: bool) -> Self {
        let has_ended = |pid: &u32| {
            let pid = i32::try_from(*pid).ok().and_then(Pid::from_raw);
            pid.is_none_or(|pid| test_kill_process(pid) == Err(Errno::SRCH))
        };
        let none_left = || {
            let opened = fs::File::open("/proc/self/stat");
            let errno = opened.err().and_then(|error| Errno::from_io_error(&error));
            matches!(errno, Some(Errno::MFILE | Errno::NFILE))
        };
        if pids.iter().any(has_ended) {
            Self::Ended
        } else if ran_out || none_left() {
            Self::NoDescriptor
        } else {
            Self::Untold
        }
    }
}

/// What the server's processes used in a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Server {
    /// Which processes; their children count too.
    pub pids: Vec<u32>,
    /// The command line of the first, quoted as a shell takes it: what would have to be run to measure it again.
    #[serde(default)] // an earlier result does not say
    pub command: Option<String>,
    /// Their share of one processor while measuring.
    pub cpu_share: f64,
    /// How often a second it went to sleep by itself while measuring.
    pub sleeps_per_s: f64,
    /// Answers per second of their processor time; none where they used none to speak of.
    pub per_cpu_s: Option<f64>,
    /// Bytes of memory before the first connection.
    pub memory_before_bytes: u64,
    /// Bytes of memory at the end, with all connections still open.
    pub memory_after_bytes: u64,
    /// The difference by the connections held, kernel memory not included.
    pub memory_per_connection_bytes: Option<f64>,
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::process::{Command, Stdio};

    use rustix::process::{WaitId, WaitIdOptions, waitid};

    use super::*;

    #[test]
    fn this_process_uses_something_and_no_process_nothing() {
        let own = std::process::id();
        let usage = Usage::of(&[own]).unwrap();
        assert!(usage.memory > 100_000 && usage.cpu > 0, "{usage:?}");
        assert_eq!(Usage::of(&[u32::MAX]), None);
        assert_eq!(Usage::of(&[own, u32::MAX]), None);
        assert_eq!(Usage::of(&[]), None);
        let work = Usage::of_work(&[own]).unwrap();
        // Other tests end beside this one: of what their threads used, two figures are known, each to a clock tick.
        let ticks = 2 * 1_000_000_000 / procfs::ticks_per_second();
        assert!(
            work.memory == 0 && work.cpu + ticks >= usage.cpu,
            "{work:?} {usage:?}"
        );
        assert_eq!(Usage::of_work(&[u32::MAX]), None);
    }

    #[test]
    fn a_process_counts_once_whatever_its_name() {
        // Another end of the name, another state, and another number; then some 50 ms of a processor.
        let script = "printf 'a) Z 7 (b' > /proc/$$/comm
            i=0; while [ $i -lt 60000 ]; do i=$((i+1)); done; echo; read line";
        let mut child = Command::new("sh")
            .args(["-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdout.take().unwrap().read_exact(&mut [0]).unwrap();
        let name = fs::read_to_string(format!("/proc/{}/comm", child.id())).unwrap();
        let usage = Usage::of(&[child.id()]).unwrap();
        let twice = Usage::of(&[child.id(), child.id()]).unwrap();
        drop(child.stdin.take());
        child.wait().unwrap();
        assert_eq!(name, "a) Z 7 (b\n");
        assert!(usage.memory > 0, "{usage:?}");
        // Named twice, it counts once.
        assert!(twice.cpu < usage.cpu * 3 / 2, "{twice:?} {usage:?}");
        assert_eq!(Usage::of(&[child.id()]), None);
    }

    #[test]
    fn a_process_that_nobody_waited_for_has_no_memory() {
        let mut child = Command::new("true").spawn().unwrap();
        let pid = Pid::from_child(&child);
        waitid(
            WaitId::Pid(pid),
            WaitIdOptions::EXITED | WaitIdOptions::NOWAIT,
        )
        .unwrap();
        let usage = Usage::of(&[child.id()]).unwrap();
        assert_eq!(usage.memory, 0, "{usage:?}");
        child.wait().unwrap();
    }

    #[test]
    fn a_process_that_has_ended_is_told_from_one_that_cannot_be_read() {
        let own = std::process::id();
        let mut child = Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        assert_eq!(Unread::of(&[own, child.id()], true), Unread::Ended);
        assert_eq!(Unread::of(&[u32::MAX], false), Unread::Ended);
        assert_eq!(Unread::of(&[own], true), Unread::NoDescriptor);
        assert_eq!(Unread::of(&[own], false), Unread::Untold);
    }

    #[test]
    fn what_ended_children_and_threads_used_counts() {
        let before = Usage::of(&[std::process::id()]).unwrap();
        let busy = "i=0; while [ $i -lt 60000 ]; do i=$((i+1)); done";
        let status = Command::new("sh").args(["-c", busy]).status();
        assert!(status.unwrap().success());
        let after = Usage::of(&[std::process::id()]).unwrap();
        // Some 50 ms of a processor, however long that took.
        assert!(after.cpu - before.cpu >= 10_000_000, "{before:?} {after:?}");
        // This thread slept until the shell had ended.
        assert!(after.sleeps > 0, "{after:?}");
    }
}
