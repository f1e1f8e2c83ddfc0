//! The helper of a server that reads its configuration again: what would make the loop wait is done here.
//!
//! It reads the file and what the file names, resolves its hosts, and says whether all of it is right. What it
//! has learnt goes to standard output, which is a pipe of the server's: secrets are among it.

use std::process::ExitCode;

use rustix::process::{Resource, getrlimit};

use super::verdict::Verdict;
use super::{Outcome, Sources, print_bytes, trial};
use crate::config::{Address, Lookups};
use crate::endpoint::Judged;

/// Look up what a configuration names, for a server that runs
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    sources: Sources,
}

/// Runs it.
pub(super) fn run(args: Args) -> Outcome {
    let mut lookups = Lookups::live();
    let configuration = args.sources.read(&mut lookups)?;
    configuration.look_up_bus(&mut lookups)?;
    let nofile = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
    let (endpoints, limits) = (&configuration.endpoints, &configuration.limits_of_one());
    let judged = configuration.judge(Judged::again(endpoints, limits, nofile, lookups));
    let record = judged.lookups().record();
    let mut opening = judged.refuse();
    // Inherited sockets are the server's, which judges them itself.
    opening
        .attempts
        .retain(|attempt| !matches!(attempt.endpoint.address(), Address::Fd(_)));
    let mut verdict = Verdict::of(&configuration, &opening);
    verdict.problems.extend(trial::problems(&configuration));
    if let Some(failure) = verdict.failure() {
        return Err(failure);
    }
    print_bytes(record.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}
