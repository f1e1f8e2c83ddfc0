//! `onepoll tether`: what `bench --against PROGRAM` starts. It becomes the program, which then ends with `bench`, also with
//! one that was killed and had no time for anything.
//!
//! The kernel sees to that (PR_SET_PDEATHSIG, which outlives execve(2)), as it does for commands of a server. It forgets it where the
//! program has rights of its own (set-user-ID, capabilities of its file); and of what the program starts in turn it knows nothing.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::getppid;

use super::Outcome;

/// The one that `bench` starts; nobody else has a use for it
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The process to end with, which is our parent
    parent: u32,

    /// What to become
    program: PathBuf,

    /// Its arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<OsString>,
}

/// Runs it.
pub(super) fn run(args: Args) -> Outcome {
    end_with(args.parent)?;
    let wrong = Command::new(&args.program).args(&args.words).exec();
    Err(anyhow::Error::from(wrong)
        .context(format!("{} cannot be run", args.program.display()))
        .into())
}

/// Whatever this process becomes ends with its parent.
pub(super) fn end_with(parent: u32) -> anyhow::Result<()> {
    set_pdeathsig(Signal::SIGKILL).context("PR_SET_PDEATHSIG")?;
    // It may be too late to be told.
    if i64::from(getppid().as_raw()) != i64::from(parent) {
        bail!("process {parent}, which started this one, has ended");
    }
    Ok(())
}

/// A command that becomes `program`, and ends with this process.
pub(super) fn tethered(program: &Path) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command
        .args(["tether", &std::process::id().to_string()])
        .arg(program);
    command
}
