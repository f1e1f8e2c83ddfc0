//! What the server's processes used, as the kernel tells it: by pid, with all their threads and children.

use std::collections::BTreeSet;
use std::fs;

use serde::Serialize;

/// So many processes are looked at; a server that forks for each connection has one for each.
const PROCESSES_MAX: usize = 4_096;

/// What processes have used since they began, and what they hold now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Nanoseconds on a processor, those of children that have ended included.
    pub cpu: u64,
    /// Bytes of memory: their proportional share of what they map.
    pub memory: u64,
    /// How often they went to sleep by themselves.
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
        self.memory += kibibytes(&format!("/proc/{pid}/smaps_rollup"), "Pss:")? * 1024;
        for task in fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten() {
            let task = task.path();
            // A thread may end between being listed and being read.
            let schedule = fs::read_to_string(task.join("schedstat")).unwrap_or_default();
            let on_cpu = schedule.split_ascii_whitespace().next();
            self.cpu += on_cpu
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
        self.cpu += ended_children(pid).unwrap_or(0);
        Some(())
    }
}

/// Nanoseconds that children used which have ended and were waited for, in steps of a clock tick.
fn ended_children(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    ticks_of_children(&stat)
        .map(|ticks| ticks * (1_000_000_000 / rustix::param::clock_ticks_per_second()))
}

/// `cutime` and `cstime` of proc_pid_stat(5), fields 16 and 17: counted from behind the name, which may
/// hold anything.
fn ticks_of_children(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(13);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
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
#[derive(Debug, Clone, PartialEq, Serialize)]
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
    fn the_time_of_ended_children_is_behind_any_name() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 98 12 0 0 3 4 50 60 20 0 1 0 9 8 7";
        assert_eq!(ticks_of_children(stat), Some(110));
        assert_eq!(ticks_of_children("7 (x) S 1"), None);
    }

    #[test]
    fn a_name_is_found_at_the_beginning_of_a_line_only() {
        let status = "x\nnonvoluntary_ctxt_switches:\t7\nvoluntary_ctxt_switches:\t5\n";
        assert_eq!(number(status, "voluntary_ctxt_switches:"), Some(5));
        assert_eq!(number(status, "Pss:"), None);
    }
}
