//! What the server's process used, as the kernel tells it: by pid, all its threads.

use std::fs;

use serde::Serialize;

/// What a process has used since it began, and what it holds now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Nanoseconds on a processor.
    pub cpu: u64,
    /// Bytes of memory: its proportional share of what it maps.
    pub memory: u64,
    /// How often it went to sleep by itself.
    pub sleeps: u64,
}

impl Usage {
    /// As of now; none where there is no such process, or not one of ours.
    pub fn of(pid: u32) -> Option<Self> {
        let mut usage = Self {
            memory: kibibytes(&format!("/proc/{pid}/smaps_rollup"), "Pss:")? * 1024,
            ..Self::default()
        };
        for task in fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten() {
            let task = task.path();
            // A thread may end between being listed and being read.
            let schedule = fs::read_to_string(task.join("schedstat")).unwrap_or_default();
            let on_cpu = schedule.split_ascii_whitespace().next();
            usage.cpu += on_cpu
                .and_then(|word| word.parse::<u64>().ok())
                .unwrap_or(0);
            let status = fs::read_to_string(task.join("status")).unwrap_or_default();
            usage.sleeps += number(&status, "voluntary_ctxt_switches:").unwrap_or(0);
        }
        Some(usage)
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

/// What the server's process used in a run.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Server {
    /// Which process.
    pub pid: u32,
    /// Its share of one processor while measuring.
    pub cpu_share: f64,
    /// How often a second it went to sleep by itself while measuring.
    pub sleeps_per_s: f64,
    /// Answers per second of its processor time; none where it used none to speak of,
    /// and none in `exec`, whose work is done by processes of its own that are not looked at.
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
        let usage = Usage::of(std::process::id()).unwrap();
        assert!(usage.memory > 100_000 && usage.cpu > 0, "{usage:?}");
        assert_eq!(Usage::of(u32::MAX), None);
    }

    #[test]
    fn a_name_is_found_at_the_beginning_of_a_line_only() {
        let status = "x\nnonvoluntary_ctxt_switches:\t7\nvoluntary_ctxt_switches:\t5\n";
        assert_eq!(number(status, "voluntary_ctxt_switches:"), Some(5));
        assert_eq!(number(status, "Pss:"), None);
    }
}
