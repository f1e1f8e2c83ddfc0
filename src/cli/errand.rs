//! `onepoll errand`: what `serve` starts for work on files that would make its loop wait.
//!
//! The order comes through standard input, the files it is about are descriptors from 3 on, and what came of it goes
//! to standard output.

use std::io::{self, BufWriter, Read};
use std::os::fd::{OwnedFd, RawFd};
use std::process::ExitCode;

use anyhow::Context as _;

use super::Outcome;
use crate::reactor::inherited;
use crate::service::file::perform;

/// The one that `serve` starts; nobody else has a use for it
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

/// Its one argument.
pub(super) const NAME: &str = "errand";

/// The first descriptor of a file.
const FIRST: RawFd = 3;

/// How much of what is to be said is collected before it is: a pipe takes that much at once.
const SAID_BYTES: usize = 64 * 1024;

/// Runs it.
pub(super) fn run() -> Outcome {
    // Before anything else is opened: what is not a file of the order has no number from 3 on.
    let files: Vec<OwnedFd> = (FIRST..).map_while(|fd| inherited(fd).ok()).collect();
    let mut order = Vec::new();
    io::stdin()
        .lock()
        .read_to_end(&mut order)
        .context("no order: this is what `serve` works on files with")?;
    // Said by many lines at once, or whenever that is asked for.
    let mut out = BufWriter::with_capacity(SAID_BYTES, io::stdout().lock());
    perform(&order, &files, &mut out).context("the order was not carried out")?;
    Ok(ExitCode::SUCCESS)
}
