//! `onepoll secret`: makes a secret, in a file that only its owner may read.

use std::path::PathBuf;
use std::process::ExitCode;

use super::{Failure, Outcome, complain, is_quiet};
use crate::endpoint::make_secret;

/// Make a secret: 32 random bytes in hexadecimal digits, in a new file that only you may read
///
/// An endpoint with `secret-file=FILE` asks for it, and `exec` and `bench` answer with --secret-file FILE or
/// with the environment's ONEPOLL_SECRET_FILE. A file that is there is never overwritten.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The file to make
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// Runs it.
pub fn run(args: Args) -> Outcome {
    make_secret(&args.file).map_err(|wrong| Failure::Run(wrong.into()))?;
    if !is_quiet() {
        let file = args.file.display();
        complain(format_args!(
            "made {file}; an endpoint with `secret-file={file}` asks for it, and `--secret-file {file}` answers"
        ));
    }
    Ok(ExitCode::SUCCESS)
}
