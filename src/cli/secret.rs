//! `onepoll secret`: makes a secret, in a file that only its owner may read.

use std::path::PathBuf;
use std::process::ExitCode;

use super::{Failure, Outcome, complain, is_quiet, print};
use crate::endpoint::{make_secret, make_token};

/// Make a secret: 32 random bytes in hexadecimal digits, in a new file that only you may read
///
/// An endpoint with `secret-file=FILE` asks for it, and `exec` and `bench` answer with --secret-file FILE or
/// with the environment's ONEPOLL_SECRET_FILE. A file that is there is never overwritten.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The file to make
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Let NAME belong to whoever has a new token, which is printed this once: FILE is the `names` of a chat, which
    /// has digests of tokens only
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
}

/// Runs it.
pub fn run(args: Args) -> Outcome {
    if let Some(name) = &args.name {
        let token = make_token(&args.file, name).map_err(|wrong| Failure::Run(wrong.into()))?;
        print(&*token)?;
        if !is_quiet() {
            let file = args.file.display();
            complain(format_args!(
                "{name} belongs to whoever has this token, in a chat with `names={file}`, which reads it when it starts or on SIGHUP: `/login TOKEN` there; it is kept nowhere"
            ));
        }
        return Ok(ExitCode::SUCCESS);
    }
    make_secret(&args.file).map_err(|wrong| Failure::Run(wrong.into()))?;
    if !is_quiet() {
        let file = args.file.display();
        complain(format_args!(
            "made {file}; an endpoint with `secret-file={file}` asks for it, and `--secret-file {file}` answers"
        ));
    }
    Ok(ExitCode::SUCCESS)
}
