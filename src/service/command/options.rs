use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::programs::Programs;
use crate::config::limits::{COMMAND_OUTPUT_BYTES_MAX, TAIL_HISTORY_LINES_MAX};
use crate::config::{Confinement, Limits, Policy, Settle, Trouble, format_size, quoted, with};
use crate::service::{Checked, Class, Encoding, Several};
use crate::wire::CommandFraming;

/// Options of `command`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Options {
    /// How the answer is framed.
    pub framing: CommandFraming,
    /// The one word that releases the output of `decimal` framing; without it any burst does.
    pub ack: Option<String>,
    /// Which of the two outputs is the answer.
    pub output: CommandOutput,
    /// How the request is encoded.
    pub encoding: Encoding,
    /// When a request without a newline is over.
    pub settle: Settle,
    /// Wall time a command may take; absent: the `command-timeout` of the limits.
    #[serde(with = "with::some_time_or_absent")]
    pub timeout: Option<Duration>,
    /// Bytes of output that are collected; absent: the `command-output` of the limits.
    #[serde(with = "with::size_or_absent")]
    pub max_output: Option<usize>,
    /// The only programs that are run, with patterns of their arguments, and without a shell; may be repeated.
    pub programs: Vec<String>,
    /// Whether lines go to the shell; absent: unless there are `programs`.
    pub shell: Option<bool>,
    /// The user as whom commands run, `USER` or `USER:GROUP`; absent: the server's.
    pub run_as: Option<String>,
    /// Where commands run, unless a request says; absent: where the server does.
    pub cwd: Option<PathBuf>,
    /// Variables of the server's environment that commands have too, and that a request may set; may be repeated.
    pub env: Vec<String>,
    /// Processes of the user, in all (RLIMIT_NPROC).
    pub limit_nproc: Option<u64>,
    /// Bytes of address space of a process (RLIMIT_AS).
    #[serde(with = "with::size_or_absent")]
    pub limit_memory: Option<usize>,
    /// CPU time of a process (RLIMIT_CPU).
    #[serde(with = "with::some_time_or_absent")]
    pub limit_cpu: Option<Duration>,
    /// Descriptors of a process (RLIMIT_NOFILE).
    pub limit_files: Option<u64>,
    /// Bytes of a file that is written (RLIMIT_FSIZE).
    #[serde(with = "with::size_or_absent")]
    pub limit_file_size: Option<usize>,
    /// Whether no program gives a command more rights than it began with (prctl(2), PR_SET_NO_NEW_PRIVS).
    pub no_new_privs: bool,
    /// Paths beneath which commands may read and run files, and nowhere else; may be repeated.
    pub readable: Vec<PathBuf>,
    /// Paths beneath which commands may write files too, and nowhere else; may be repeated.
    pub writable: Vec<PathBuf>,
    /// A directory of cgroup v2 in which each command gets a cgroup of its own.
    pub cgroup: Option<PathBuf>,
    /// Processes in that cgroup at once (`pids.max`).
    pub cgroup_pids: Option<u64>,
    /// Bytes of memory of that cgroup (`memory.max`).
    #[serde(with = "with::size_or_absent")]
    pub cgroup_memory: Option<usize>,
    /// The command that runs as long as the endpoint is served; absent: clients say what is run.
    pub run: Option<String>,
    /// Whether clients read what that command writes, and say nothing.
    pub tail: bool,
    /// Whether that command is started again when it ends.
    pub restart: Restart,
    /// How many earlier lines of it a new reader is shown; absent: 10.
    pub history: Option<u32>,
}

impl Checked for Options {
    fn check(&self) -> Result<(), Trouble> {
        self.check_policy()?;
        self.check_run()?;
        match (&self.ack, self.max_output) {
            (Some(_), _) if self.framing != CommandFraming::Decimal => Err(Trouble::with(
                "ack",
                "only `framing=decimal` waits for an acknowledgement",
            )),
            (Some(word), _) if word.is_empty() => Err(Trouble::with(
                "ack",
                "an empty acknowledgement cannot be sent",
            )),
            (_, Some(max)) if max > COMMAND_OUTPUT_BYTES_MAX => Err(Trouble::with(
                "max-output",
                format!(
                    "it is above {COMMAND_OUTPUT_BYTES_MAX}, the largest length that an i32 announces"
                ),
            )),
            _ => Ok(()),
        }
    }

    fn fits(&self, limits: &Limits) -> Result<(), Trouble> {
        // The output of one command must fit what all buffers may have.
        match self.max_output {
            Some(max) if max > limits.buffers => Err(Trouble::with(
                "max-output",
                format!(
                    "{} is above the limit `buffers` of {}, the memory of all buffers together",
                    format_size(max as u64),
                    format_size(limits.buffers as u64)
                ),
            )),
            _ => Ok(()),
        }
    }

    fn several(&self) -> Several {
        match self.run {
            Some(_) => {
                Several::No("its command runs once for all connections, and each would run it")
            }
            None => Several::Yes,
        }
    }

    fn class(&self) -> Class {
        match self.run {
            Some(_) => Class::Output,
            None => Class::Commands,
        }
    }

    fn policy(&self) -> Option<Policy> {
        let bytes = |size: Option<usize>| size.map(|bytes| bytes as u64);
        Some(Policy {
            run: self.run.clone(),
            programs: self.programs.clone(),
            directory: self.cwd.clone(),
            variables: self.env.clone(),
            confinement: Confinement {
                user: self.run_as.clone(),
                processes: self.limit_nproc,
                memory: bytes(self.limit_memory),
                cpu: self.limit_cpu,
                files: self.limit_files,
                file_size: bytes(self.limit_file_size),
                no_new_privs: self.no_new_privs,
                readable: self.readable.clone(),
                writable: self.writable.clone(),
                cgroup: self.cgroup.clone(),
                cgroup_pids: self.cgroup_pids,
                cgroup_memory: bytes(self.cgroup_memory),
            },
        })
    }
}

/// Variables that decide what a program does before it does anything: nobody but us sets them (fault F15).
const NEVER_PASSED: [&str; 6] = ["BASH_ENV", "ENV", "IFS", "LD_", "ONEPOLL_COMMAND", "PATH"];

impl Options {
    fn check_policy(&self) -> Result<(), Trouble> {
        let wrong = |option, problem: &str| Err(Trouble::with(option, problem));
        match (self.programs.is_empty(), self.shell) {
            (false, Some(true)) => {
                return wrong(
                    "shell",
                    "a shell runs whatever it is told, and `programs` says what may be run: one of them goes",
                );
            }
            (true, Some(false)) => {
                return wrong(
                    "shell",
                    "without it nothing can be run but `programs`, and there are none",
                );
            }
            _ => {}
        }
        Programs::parse(&self.programs).map_err(|wrong| Trouble::with("programs", wrong))?;
        if let Some(user) = &self.run_as {
            let mut parts = user.split(':');
            let is_whole = parts.clone().count() <= 2 && parts.all(|part| !part.is_empty());
            if !is_whole {
                return wrong(
                    "run-as",
                    &format!("{} is neither USER nor USER:GROUP", quoted(user)),
                );
            }
        }
        for name in &self.env {
            check_name(name).map_err(|wrong| Trouble::with("env", wrong))?;
        }
        let paths = [
            ("cwd", self.cwd.as_slice()),
            ("readable", &self.readable),
            ("writable", &self.writable),
            ("cgroup", self.cgroup.as_slice()),
        ];
        for (option, paths) in paths {
            for path in paths {
                check_path(path).map_err(|wrong| Trouble::with(option, wrong))?;
            }
        }
        let numbers = [
            ("limit-nproc", self.limit_nproc),
            ("limit-files", self.limit_files),
            ("cgroup-pids", self.cgroup_pids),
        ];
        for (option, number) in numbers {
            if number == Some(0) {
                return wrong(option, "with 0 of them no command runs");
            }
        }
        if self.limit_cpu.is_some_and(|time| time.subsec_nanos() != 0) {
            return wrong("limit-cpu", "the kernel counts whole seconds");
        }
        if self.cgroup.is_none() {
            let of_cgroups = [
                ("cgroup-pids", self.cgroup_pids.is_some()),
                ("cgroup-memory", self.cgroup_memory.is_some()),
            ];
            if let Some((option, _)) = of_cgroups.iter().find(|(_, is_given)| *is_given) {
                return wrong(option, "it limits a cgroup, and there is no `cgroup`");
            }
        }
        if (!self.readable.is_empty() || !self.writable.is_empty()) && !cfg!(feature = "landlock") {
            return wrong(
                "readable",
                "this program was built without landlock (cargo's feature `landlock`)",
            );
        }
        Ok(())
    }
}

impl Options {
    /// Where the command is fixed, clients read it, and what is said of requests means nothing.
    fn check_run(&self) -> Result<(), Trouble> {
        let wrong = |option, problem: &str| Err(Trouble::with(option, problem));
        let Some(line) = &self.run else {
            let option = match () {
                () if self.tail => "tail",
                () if self.restart != Restart::Always => "restart",
                () if self.history.is_some() => "history",
                () => return Ok(()),
            };
            return wrong(option, "it needs `run=LINE`, a command to read from");
        };
        if !self.tail {
            return wrong(
                "run",
                "it needs `tail=true`: clients read what it writes, and say nothing",
            );
        }
        if line.trim().is_empty() || line.contains('\0') {
            return wrong("run", "it is no command line");
        }
        if self
            .history
            .is_some_and(|lines| lines > TAIL_HISTORY_LINES_MAX)
        {
            return wrong(
                "history",
                &format!("at most {TAIL_HISTORY_LINES_MAX} lines"),
            );
        }
        let usual = Options::default();
        let of_requests = [
            ("framing", self.framing != usual.framing),
            ("ack", self.ack != usual.ack),
            ("output", self.output != usual.output),
            ("encoding", self.encoding != usual.encoding),
            ("settle", self.settle != usual.settle),
            ("timeout", self.timeout != usual.timeout),
            ("max-output", self.max_output != usual.max_output),
        ];
        if let Some((option, _)) = of_requests.iter().find(|(_, is_given)| *is_given) {
            return wrong(
                option,
                "it is for requests, and with `tail=true` none is read",
            );
        }
        if let Ok(Some(programs)) =
            Programs::parse(&self.programs).map(|all| (!self.programs.is_empty()).then_some(all))
        {
            programs
                .of_line(line.as_bytes())
                .map_err(|why| Trouble::with("run", why))?;
        }
        Ok(())
    }
}

fn check_name(name: &str) -> Result<(), String> {
    let shown = quoted(name);
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty()
        || !name.chars().all(is_plain)
        || name.starts_with(|c: char| c.is_ascii_digit())
    {
        return Err(format!("{shown} is not the name of a variable"));
    }
    let is_never =
        |never: &&str| name == *never || never.ends_with('_') && name.starts_with(*never);
    if NEVER_PASSED.iter().any(is_never) {
        return Err(format!(
            "{shown} decides what a program does, so neither the server's nor a client's is passed on"
        ));
    }
    Ok(())
}

/// A path is the same for whoever reads it, and no part of it is left to the place where the server began.
fn check_path(path: &Path) -> Result<(), String> {
    let text = path.to_string_lossy();
    let shown = quoted(&text);
    match () {
        () if !path.is_absolute() => Err(format!("{shown} is no absolute path")),
        () if text.contains('\0') => Err(format!("{shown} has a NUL byte")),
        () if text.len() > PATH_BYTES_MAX => {
            Err(format!("it is longer than {PATH_BYTES_MAX} bytes"))
        }
        () => Ok(()),
    }
}

/// Shorter than the system's, so that the name of a cgroup fits behind it.
const PATH_BYTES_MAX: usize = 1024;

/// What is done when the command of an endpoint ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Restart {
    /// It is started again, after a wait that grows.
    #[default]
    Always,
    /// Its readers are told all of it, and disconnected.
    Never,
}

/// Which of a command's outputs is the answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CommandOutput {
    /// Standard output, then standard error.
    #[default]
    Both,
    /// Standard error if there is any, else standard output.
    StderrOrStdout,
}
