//! The command line: one file per subcommand, each with an `Args` and a `run`.
//!
//! Results go to standard output, everything else to standard error. Exit codes: 0 done, 1 failed
//! at run time, 2 wrong usage or configuration; `exec` passes the remote exit code on.

mod common;

pub mod bench;
pub mod exec;
pub mod time;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// How a subcommand ends when it does not end well.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// What was asked for makes no sense; exit code 2.
    #[error("{0}")]
    Usage(String),
    /// It made sense and could not be done; exit code 1.
    #[error("{0:#}")]
    Run(#[from] anyhow::Error),
}

/// How every subcommand ends.
pub type Outcome = Result<ExitCode, Failure>;

#[derive(Debug, Parser)]
#[command(name = "onepoll", version, about, propagate_version = true)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Bench(bench::Args),
    Exec(exec::Args),
    Time(time::Args),
}

/// Runs the subcommand that the arguments name.
pub fn main() -> ExitCode {
    let outcome = match CommandLine::parse().command {
        Command::Bench(args) => bench::run(args),
        Command::Exec(args) => exec::run(args),
        Command::Time(args) => time::run(args),
    };
    outcome.unwrap_or_else(|failure| {
        eprintln!("onepoll: {failure}");
        ExitCode::from(match failure {
            Failure::Usage(_) => 2,
            Failure::Run(_) => 1,
        })
    })
}
