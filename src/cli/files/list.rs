//! `onepoll list`: which files a server has.

use std::process::ExitCode;

use super::listing::Listing;
use super::pump::pump;
use super::server::{Server, ServerArgs};
use crate::cli::exec::signals::Signals;
use crate::cli::{Outcome, complain, is_quiet};
use crate::client::ServerAddress;

/// Lists the files of a `file` endpoint: size in bytes, when it was last changed (UTC), name
///
/// In a name, what acts on a terminal is shown as U+FFFD; --json has it as it is.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// HOST:PORT, [::1]:PORT, unix:///PATH or a path
    address: ServerAddress,
    #[command(flatten)]
    server: ServerArgs,
}

/// Runs it.
pub fn run(args: Args) -> Outcome {
    let server = Server::new(&args.address, &args.server)?;
    let mut stream = server
        .connect()
        .map_err(|error| anyhow::anyhow!(server.explain(&error)))?;
    let mut signals = Signals::take().map_err(anyhow::Error::new)?;
    let mut listing = Listing::new(args.server.json);
    if let Err(stop) = pump(&mut stream, &mut listing, &mut signals) {
        let Some((why, code)) = stop.explained(&server) else {
            return Ok(ExitCode::SUCCESS);
        };
        complain(why);
        return Ok(ExitCode::from(code));
    }
    if listing.skipped > 0 && !is_quiet() && !args.server.json {
        complain(format_args!(
            "{} more are there under names that no request can say",
            listing.skipped
        ));
    }
    Ok(ExitCode::SUCCESS)
}
