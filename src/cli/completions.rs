//! `onepoll completions`: what a shell needs to complete this command line.

use std::process::ExitCode;

use clap::Command;
use clap_complete::Shell;

use super::{Outcome, print_bytes};

/// Print a script with which a shell completes this command line
///
/// For bash: `onepoll completions bash > ~/.local/share/bash-completion/completions/onepoll`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// For which shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

/// Runs it, for this command line.
pub(super) fn run(args: Args, mut command: Command) -> Outcome {
    let mut script = Vec::new();
    let name = command.get_name().to_owned();
    clap_complete::generate(args.shell, &mut command, name, &mut script);
    print_bytes(&script)?;
    Ok(ExitCode::SUCCESS)
}
