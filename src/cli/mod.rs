//! The command line: one file per subcommand, each with an `Args` and a `run`.
//!
//! Results go to standard output, everything else to standard error. Exit codes: 0 done, 1 failed
//! at run time, a result that cannot be written included, 2 wrong usage or configuration; `exec` passes
//! the remote exit code on. Neither stream needs a reader: one that has gone away changes no exit code,
//! see `streams.rs`.

mod access;
mod audit;
mod audit_file;
mod audit_writer;
pub mod bench;
#[cfg(feature = "tls")]
pub mod certificate;
mod cgroup;
pub mod chat;
pub mod check;
pub mod completions;
mod conversation;
mod errand;
pub mod exec;
pub mod files;
mod help;
mod identity;
pub mod ipmsg;
mod keeper;
pub mod lab;
#[cfg(feature = "landlock")]
mod landlock;
mod launch;
mod logging;
mod look_up;
pub mod man;
mod proof;
pub mod secret;
pub mod serve;
mod sources;
mod streams;
mod suggestion;
mod survivors;
pub mod talk;
mod terminal;
mod tether;
pub mod time;
mod trial;
#[cfg(feature = "tls")]
mod trust;
pub mod unit;
mod verdict;
mod way;

use std::ffi::OsString;
use std::fmt;
use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::sync::atomic::{AtomicI8, Ordering};

use clap::error::ErrorKind;
use clap::{ArgAction, CommandFactory, Parser, Subcommand};
use log::{Level, LevelFilter};

use crate::wire::acts_on_a_terminal;

pub use sources::{Configuration, Sources};
pub use streams::{print, print_bytes};
use suggestion::corrected;

/// The exit code after an interrupt: 128 and the number of SIGINT.
const INTERRUPTED: u8 = SIGNALLED + 2;

/// With the number of a signal: that ended it.
const SIGNALLED: u8 = 128;

/// How a subcommand ends when it does not end well.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// What was asked for makes no sense; exit code 2. One line per thing that is wrong.
    #[error("{0}")]
    Usage(String),
    /// Somebody did not want to wait; exit code 130, as the shell has it for SIGINT.
    #[error("interrupted")]
    Interrupted,
    /// It made sense and could not be done; exit code 1.
    #[error("{0:#}")]
    Run(#[from] anyhow::Error),
}

impl Failure {
    /// What was asked for makes no sense.
    pub fn usage(why: impl fmt::Display) -> Self {
        Self::Usage(why.to_string())
    }

    /// The exit code that goes with it.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Usage(_) => ExitCode::from(2),
            Self::Interrupted => ExitCode::from(INTERRUPTED),
            Self::Run(_) => ExitCode::from(1),
        }
    }

    /// What is wrong, a line each.
    fn into_problems(self) -> Vec<String> {
        self.to_string().lines().map(ToOwned::to_owned).collect()
    }
}

impl From<crate::config::ConfigError> for Failure {
    fn from(wrong: crate::config::ConfigError) -> Self {
        Self::Usage(wrong.to_string())
    }
}

/// How every subcommand ends.
pub type Outcome = Result<ExitCode, Failure>;

#[derive(Debug, Parser)]
#[command(name = "onepoll", version, about, propagate_version = true)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,

    /// Say more on standard error, about each connection; twice for what mio registers, too
    #[arg(short, long, global = true, action = ArgAction::Count)]
    verbose: u8,

    /// Say less on standard error; three times for nothing
    #[arg(short, long, global = true, action = ArgAction::Count)]
    quiet: u8,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Args),
    Check(check::Args),
    Secret(secret::Args),
    Exec(exec::Args),
    Chat(chat::Args),
    // With what is said of TLS and secrets, a large one.
    Talk(Box<talk::Args>),
    Send(files::send::Args),
    Fetch(files::fetch::Args),
    List(files::list::Args),
    #[cfg(feature = "tls")]
    Certificate(certificate::Args),
    Time(time::Args),
    Ipmsg(ipmsg::Args),
    // By far the largest.
    Bench(Box<bench::Args>),
    Lab(lab::Args),
    Unit(unit::Args),
    Man(man::Args),
    Completions(completions::Args),
    #[command(hide = true)]
    AuditWriter(audit_writer::Args),
    #[command(hide = true)]
    Errand(errand::Args),
    #[command(hide = true)]
    Keeper(keeper::Args),
    #[command(hide = true)]
    Launch(launch::Args),
    #[command(hide = true)]
    LookUp(look_up::Args),
    #[command(hide = true)]
    Process(serve::ProcessArgs),
    #[command(hide = true)]
    Tether(tether::Args),
}

impl Command {
    fn run(self) -> Outcome {
        match self {
            Self::Serve(args) => serve::run(args),
            Self::Check(args) => check::run(args),
            Self::Secret(args) => secret::run(args),
            Self::Exec(args) => exec::run(args),
            Self::Chat(args) => chat::run(args),
            Self::Talk(args) => talk::run(*args),
            Self::Send(args) => files::send::run(args),
            Self::Fetch(args) => files::fetch::run(args),
            Self::List(args) => files::list::run(args),
            #[cfg(feature = "tls")]
            Self::Certificate(args) => certificate::run(args),
            Self::Time(args) => time::run(args),
            Self::Ipmsg(args) => ipmsg::run(args),
            Self::Bench(args) => bench::run(*args),
            Self::Lab(args) => lab::run(args),
            Self::Unit(args) => unit::run(args),
            Self::Man(args) => man::run(args, shown_commands()),
            Self::Completions(args) => completions::run(args, shown_commands()),
            Self::AuditWriter(args) => audit_writer::run(args),
            Self::Errand(_) => errand::run(),
            Self::Keeper(args) => keeper::run(args),
            Self::Launch(args) => launch::run(args),
            Self::LookUp(args) => look_up::run(args),
            Self::Process(args) => serve::run_process(args),
            Self::Tether(args) => tether::run(args),
        }
    }
}

/// The command line without the subcommands that are for ourselves.
fn shown_commands() -> clap::Command {
    let whole = CommandLine::command();
    let shown = whole.get_subcommands().filter(|sub| !sub.is_hide_set());
    clap::Command::new("onepoll")
        .version(env!("CARGO_PKG_VERSION"))
        .about(env!("CARGO_PKG_DESCRIPTION"))
        .propagate_version(true)
        .args(whole.get_arguments())
        .subcommands(shown.cloned())
}

/// Runs the subcommand that the arguments name.
pub fn main() -> ExitCode {
    // One for each file, at times: to read its one word with all that is known of the others takes a third of its time.
    if std::env::args_os().skip(1).eq([errand::NAME]) {
        return errand::run().unwrap_or_else(conclude);
    }
    let line = match CommandLine::try_parse() {
        Ok(line) => line,
        Err(answer) => {
            let words = std::env::args_os().skip(1);
            return usage(&corrected(answer, CommandLine::command(), words));
        }
    };
    let step = i16::from(line.verbose) - i16::from(line.quiet);
    LEVEL_STEP.store(
        i8::try_from(step.clamp(-9, 9)).unwrap_or(0),
        Ordering::Relaxed,
    );
    line.command.run().unwrap_or_else(conclude)
}

/// Says why it failed.
fn conclude(failure: Failure) -> ExitCode {
    let code = failure.exit_code();
    for problem in failure.into_problems() {
        complain(problem);
    }
    code
}

/// What clap has to say: help and version are results, the rest is wrong usage.
fn usage(answer: &clap::Error) -> ExitCode {
    let text = answer.render();
    match answer.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            let shown = if is_colourful(&io::stdout()) {
                text.ansi().to_string()
            } else {
                text.to_string()
            };
            print_bytes(shown.as_bytes()).map_or_else(conclude, |()| ExitCode::SUCCESS)
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            streams::say(&if is_colourful(&io::stderr()) {
                text.ansi().to_string()
            } else {
                text.to_string()
            });
            ExitCode::from(2)
        }
        _ => {
            let text = text.to_string();
            complain(text.strip_prefix("error: ").unwrap_or(&text).trim_end());
            ExitCode::from(2)
        }
    }
}

/// Whether this is a terminal, and nobody asked for `NO_COLOR`.
fn is_colourful(stream: &impl IsTerminal) -> bool {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    stream.is_terminal()
        && !is_set("NO_COLOR")
        && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// How far `-v` and `-q` went from where the level would be.
static LEVEL_STEP: AtomicI8 = AtomicI8::new(0);

/// The level to log at: `base`, moved by `-v` and `-q`.
pub fn log_level(base: impl Into<LevelFilter>) -> LevelFilter {
    moved(base.into(), LEVEL_STEP.load(Ordering::Relaxed))
}

/// `-v` and `-q` as they were given, for another process of this program.
pub(super) fn level_arguments() -> Vec<OsString> {
    let step = LEVEL_STEP.load(Ordering::Relaxed);
    let flag = if step < 0 { "-q" } else { "-v" };
    vec![flag.into(); step.unsigned_abs().into()]
}

/// Whether less is to be said than usual.
pub(super) fn is_quiet() -> bool {
    LEVEL_STEP.load(Ordering::Relaxed) < 0
}

fn moved(base: LevelFilter, step: i8) -> LevelFilter {
    let at = (base as usize).saturating_add_signed(step.into());
    LevelFilter::iter().nth(at).unwrap_or(LevelFilter::Trace)
}

/// Says on standard error what is wrong, as `onepoll: …`; a closed standard error is no reason to stop.
///
/// What is wrong may quote a user, a peer or a path, so what acts on a terminal is escaped.
pub fn complain(problem: impl fmt::Display) {
    if logging::has_begun() {
        return logging::announce(Level::Error, &problem.to_string(), None);
    }
    streams::say(&format!("onepoll: {}\n", shown(&problem.to_string())));
}

/// The text on as many lines as it has, with nothing else in it that acts on a terminal.
fn shown(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c != '\n' && acts_on_a_terminal(c) {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn a_message_does_not_act_on_the_terminal() {
        assert_eq!(
            shown("two\nlines \u{1b}[2J 你好\u{9b}1m a\u{202e}b"),
            "two\nlines \\u{1b}[2J 你好\\u{9b}1m a\\u{202e}b"
        );
    }

    #[test]
    fn verbosity_stops_at_both_ends() {
        assert_eq!(moved(LevelFilter::Info, 0), LevelFilter::Info);
        assert_eq!(moved(LevelFilter::Info, 1), LevelFilter::Debug);
        assert_eq!(moved(LevelFilter::Info, 9), LevelFilter::Trace);
        assert_eq!(moved(LevelFilter::Info, -1), LevelFilter::Warn);
        assert_eq!(moved(LevelFilter::Info, -9), LevelFilter::Off);
    }
}
