//! What commands of an endpoint may be, and within what they run, as it was written.
//!
//! Does not know how any of it is enforced.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::text::{format_duration, format_size, quoted};

/// Which commands an endpoint runs, and within what. What nobody asked for is as the server has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    /// The one command that is run, which clients read.
    pub run: Option<String>,
    /// The only programs that are run, without a shell; empty: any line, by the shell.
    pub programs: Vec<String>,
    /// Where commands run.
    pub directory: Option<PathBuf>,
    /// Variables of the server's that they have besides the usual ones, and that a request may set.
    pub variables: Vec<String>,
    /// What takes code of ours in the child, before it becomes the command.
    pub confinement: Confinement,
}

/// What is done in a child before it becomes a command, beside what is done for every command.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confinement {
    /// `USER` or `USER:GROUP`, names or numbers.
    pub user: Option<String>,
    /// RLIMIT_NPROC: processes of that user, in all.
    pub processes: Option<u64>,
    /// RLIMIT_AS: bytes of address space of each process.
    pub memory: Option<u64>,
    /// RLIMIT_CPU: CPU time of each process, in whole seconds.
    pub cpu: Option<Duration>,
    /// RLIMIT_NOFILE: descriptors of each process.
    pub files: Option<u64>,
    /// RLIMIT_FSIZE: bytes of each file that is written.
    pub file_size: Option<u64>,
    /// No program that is run gives more rights than the command has.
    pub no_new_privs: bool,
    /// Paths beneath which they may read and run files; none, unless `writable` has some: everywhere.
    pub readable: Vec<PathBuf>,
    /// Paths beneath which they may write too; none, unless `readable` has some: everywhere.
    pub writable: Vec<PathBuf>,
    /// A directory of cgroup v2 in which each command gets a cgroup of its own.
    pub cgroup: Option<PathBuf>,
    /// `pids.max` of that.
    pub cgroup_pids: Option<u64>,
    /// `memory.max` of that, in bytes.
    pub cgroup_memory: Option<u64>,
}

impl Confinement {
    /// Whether nothing is to be done.
    pub fn is_none(&self) -> bool {
        *self == Confinement::default()
    }

    /// Whether files are out of reach.
    pub fn confines_files(&self) -> bool {
        !self.readable.is_empty() || !self.writable.is_empty()
    }
}

/// For people, in one line: `runs any line by /bin/sh, as the server's user`.
impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let listed: Vec<String> = self.programs.iter().map(|entry| quoted(entry)).collect();
        match (&self.run, listed.is_empty()) {
            (None, true) => f.write_str("runs any line, by /bin/sh,")?,
            (None, false) => write!(f, "runs {}, without a shell,", listed.join(", "))?,
            (Some(line), true) => write!(f, "runs {} for its readers, by /bin/sh,", quoted(line))?,
            (Some(line), false) => {
                write!(f, "runs {} for its readers, without a shell,", quoted(line))?;
            }
        }
        match &self.confinement.user {
            Some(user) => write!(f, " as user {}", user.escape_debug())?,
            None => f.write_str(" as the server's user")?,
        }
        if let Some(directory) = &self.directory {
            write!(f, ", in {}", directory.display().to_string().escape_debug())?;
        }
        if !self.variables.is_empty() {
            write!(f, ", with {}", self.variables.join(", "))?;
        }
        let within = self.confinement.within();
        if !within.is_empty() {
            write!(f, ", within {}", within.join(", "))?;
        }
        Ok(())
    }
}

impl Confinement {
    fn within(&self) -> Vec<String> {
        let size = |bytes: u64| format_size(bytes);
        let paths = |paths: &[PathBuf]| {
            let shown = paths.iter().map(|path| path.display().to_string());
            shown
                .collect::<Vec<_>>()
                .join(" ")
                .escape_debug()
                .to_string()
        };
        let mut within = Vec::new();
        let mut say = |what: Option<String>| within.extend(what);
        say(self.processes.map(|n| format!("{n} processes of the user")));
        say(self.memory.map(|n| format!("{} of address space", size(n))));
        say(self
            .cpu
            .map(|time| format!("{} of CPU time", format_duration(time))));
        say(self.files.map(|n| format!("{n} descriptors")));
        say(self.file_size.map(|n| format!("files of {}", size(n))));
        say(self
            .no_new_privs
            .then(|| "the rights it begins with".into()));
        let confines = self.confines_files();
        let readable = match paths(&self.readable) {
            none if none.is_empty() => "reading everywhere".into(),
            some => format!("reading beneath {some}"),
        };
        let writable = match paths(&self.writable) {
            none if none.is_empty() => "writing nowhere".into(),
            some => format!("writing beneath {some}"),
        };
        say(confines.then_some(readable));
        say(confines.then_some(writable));
        say(self.cgroup.as_ref().map(|cgroup| {
            let place = cgroup.display().to_string();
            let mut what = format!("a cgroup in {}", place.escape_debug());
            if let Some(n) = self.cgroup_pids {
                what.push_str(&format!(" of {n} processes"));
            }
            if let Some(n) = self.cgroup_memory {
                what.push_str(&format!(" of {}", size(n)));
            }
            what
        }));
        within
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_said_in_one_line() {
        let free = Policy::default();
        assert_eq!(
            free.to_string(),
            "runs any line, by /bin/sh, as the server's user"
        );
        assert!(free.confinement.is_none());
        let fixed = Policy {
            run: Some("make watch".into()),
            ..Policy::default()
        };
        assert_eq!(
            fixed.to_string(),
            "runs `make watch` for its readers, by /bin/sh, as the server's user"
        );
        let narrow = Policy {
            run: None,
            programs: vec!["git pull".into(), "ls *".into()],
            directory: Some("/srv/app".into()),
            variables: vec!["CI".into()],
            confinement: Confinement {
                user: Some("www-data".into()),
                processes: Some(64),
                memory: Some(1 << 30),
                cpu: Some(Duration::from_secs(90)),
                no_new_privs: true,
                readable: vec!["/usr".into(), "/etc".into()],
                cgroup: Some("/sys/fs/cgroup/onepoll".into()),
                cgroup_pids: Some(32),
                ..Confinement::default()
            },
        };
        assert!(!narrow.confinement.is_none());
        assert_eq!(
            narrow.to_string(),
            "runs `git pull`, `ls *`, without a shell, as user www-data, in /srv/app, with CI, within 64 processes of the user, 1G of address space, 90s of CPU time, the rights it begins with, reading beneath /usr /etc, writing nowhere, a cgroup in /sys/fs/cgroup/onepoll of 32 processes"
        );
    }
}
