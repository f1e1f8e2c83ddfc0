//! What the server's processes used, as the kernel tells it: by pid, with all their threads and children.

use std::collections::BTreeSet;
use std::fs;

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
    pub fn of(pids: &[u32]) -> Option<Self> {
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
            if usage.add(pid, &mut left).is_none() && is_asked_for {
                return None;
            }
        }
        (!pids.is_empty()).then_some(usage)
    }

    fn add(&mut self, pid: u32, children: &mut Vec<u32>) -> Option<()> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let mut threads = 0;
        // A process that has ended and was not yet waited for has no memory.
        self.memory += match kibibytes(&format!("/proc/{pid}/smaps_rollup"), "Pss:") {
            Some(kibibytes) => kibibytes * 1024,
            None if is_zombie(&stat) => 0,
            None => return None,
        };
        for task in fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten() {
            let task = task.path();
            // A thread may end between being listed and being read.
            let schedule = fs::read_to_string(task.join("schedstat")).unwrap_or_default();
            let on_cpu = schedule.split_ascii_whitespace().next();
            threads += on_cpu
                .and_then(|word| word.parse::<u64>().ok())
                .unwrap_or(0);
            let status = fs::read_to_string(task.join("status")).unwrap_or_default();
            self.sleeps += number(&status, "voluntary_ctxt_switches:").unwrap_or(0);
            let listed = fs::read_to_string(task.join("children")).unwrap_or_default();
            children.extend(
                listed
                    .split_ascii_whitespace()
                    .filter_map(|pid| pid.parse::<u32>().ok()),
            );
        }
        let [own, ended] = times(&stat).unwrap_or_default();
        // Threads are told exactly while they live; the sum with those that have ended, to a clock tick.
        self.cpu += threads.max(own) + ended;
        Some(())
    }
}

fn is_zombie(stat: &str) -> bool {
    stat.rsplit_once(')')
        .is_some_and(|(_, rest)| rest.trim_start().starts_with('Z'))
}

/// Nanoseconds on a processor of all threads of a process, and of its children that have ended and were
/// waited for: fields 14 to 17 of proc_pid_stat(5), counted from behind the name, which may hold anything.
fn times(stat: &str) -> Option<[u64; 2]> {
    let tick = 1_000_000_000 / rustix::param::clock_ticks_per_second().max(1);
    let fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let ticks: Vec<u64> = fields
        .take(4)
        .map_while(|field| field.parse().ok())
        .collect();
    match ticks[..] {
        [user, system, children_user, children_system] => Some([
            (user + system) * tick,
            (children_user + children_system) * tick,
        ]),
        _ => None,
    }
}

fn kibibytes(path: &str, name: &str) -> Option<u64> {
    number(&fs::read_to_string(path).ok()?, name)
}

/// The number behind `name` at the beginning of a line.
fn number(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_ascii_whitespace().next()?.parse().ok()
}

/// What the server's processes used in a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Server {
    /// Which processes; their children count too.
    pub pids: Vec<u32>,
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
    use super::*;

    #[test]
    fn this_process_uses_something_and_no_process_nothing() {
        let own = std::process::id();
        let usage = Usage::of(&[own]).unwrap();
        assert!(usage.memory > 100_000 && usage.cpu > 0, "{usage:?}");
        // Named twice, it counts once.
        let twice = Usage::of(&[own, own]).unwrap();
        assert!(twice.memory < usage.memory * 3 / 2, "{twice:?} {usage:?}");
        assert_eq!(Usage::of(&[u32::MAX]), None);
        assert_eq!(Usage::of(&[own, u32::MAX]), None);
        assert_eq!(Usage::of(&[]), None);
    }

    #[test]
    fn times_are_behind_any_name() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 98 12 0 0 3 4 50 60 20 0 1 0 9 8 7";
        let tick = 1_000_000_000 / rustix::param::clock_ticks_per_second();
        assert_eq!(times(stat), Some([7 * tick, 110 * tick]));
        assert_eq!(times("7 (x) S 1"), None);
    }

    #[test]
    fn what_ended_children_and_threads_used_counts() {
        let before = Usage::of(&[std::process::id()]).unwrap();
        let busy = "i=0; while [ $i -lt 60000 ]; do i=$((i+1)); done";
        let status = std::process::Command::new("sh").args(["-c", busy]).status();
        assert!(status.unwrap().success());
        let after = Usage::of(&[std::process::id()]).unwrap();
        // Some 50 ms of a processor, however long that took.
        assert!(after.cpu - before.cpu >= 10_000_000, "{before:?} {after:?}");
    }

    #[test]
    fn a_name_is_found_at_the_beginning_of_a_line_only() {
        let status = "x\nnonvoluntary_ctxt_switches:\t7\nvoluntary_ctxt_switches:\t5\n";
        assert_eq!(number(status, "voluntary_ctxt_switches:"), Some(5));
        assert_eq!(number(status, "Pss:"), None);
    }
}
