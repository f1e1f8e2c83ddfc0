//! `onepoll fetch`: downloads files.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;

use rustix::stdio::stdout;

use super::fetching::{Fetching, Target, Wanted};
use super::place::Place;
use super::progress::Progress;
use super::pump::pump;
use super::report::Report;
use super::server::{Server, ServerArgs};
use crate::cli::exec::output::Output;
use crate::cli::exec::signals::Signals;
use crate::cli::{Failure, Outcome};
use crate::client::ServerAddress;
use crate::wire::{FileName, Names};

/// Downloads files of a `file` endpoint, whole or not at all
///
/// A file is there under its name when all of it has come, its digest is the one that the server tells, and it is on the
/// disk. Until then it is beside that place, as .NAME.onepoll-part, for you alone to read; the same command goes on
/// where it stopped, if the server's file still begins so. The digests of all files are printed as `sha256sum -c` reads
/// them. A file that is there already is compared with the server's by its digest, and replaced only with --force.
///
/// Exits with 1 when a file did not come, each with its reason, and with 130 after Ctrl-C, which leaves what came.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// HOST:PORT, [::1]:PORT, unix:///PATH or a path
    address: ServerAddress,
    /// Names of files, with their directories where the server has any; `onepoll list` says them
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    /// Where they go, and their directories with them; `-`: to standard output, one behind the other
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    output: PathBuf,
    /// Replaces other files that are there
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// Runs it.
pub fn run(args: Args) -> Outcome {
    let mut wanted = wanted(&args.names)?;
    let is_stdout = args.output.as_os_str() == "-";
    if is_stdout && args.server.json {
        return Err(Failure::usage(
            "--json is for standard output, and so is `--output -`: say one of them",
        ));
    }
    let target = if is_stdout {
        Target::Stdout(Output::new(stdout(), false))
    } else {
        let place = Place::open(&args.output);
        let shown = args.output.display();
        Target::Directory {
            place: place.map_err(|error| {
                Failure::Run(anyhow::anyhow!(
                    "the directory {shown} cannot be opened: {error}"
                ))
            })?,
            is_forced: args.force,
        }
    };
    let server = Server::new(&args.address, &args.server)?;
    let mut stream = server
        .connect()
        .map_err(|error| anyhow::anyhow!(server.explain(&error)))?;
    let files = wanted.len() as u64;
    let mut signals = Signals::take().map_err(anyhow::Error::new)?;
    let progress = Progress::new(files, 0, files);
    let mut report = Report::new(progress, args.server.json);
    if is_stdout {
        report = report.beside_the_files();
    }
    let mut fetching = Fetching::new(&mut wanted, target, &mut report);
    let ended = pump(&mut stream, &mut fetching, &mut signals);
    drop(stream);
    let (why, code) = match ended {
        Ok(()) => {
            let code = u8::from(report.failures() > 0);
            return Ok(ExitCode::from(code));
        }
        Err(stop) => match stop.explained(&server) {
            Some(explained) => explained,
            None => return Ok(ExitCode::SUCCESS),
        },
    };
    fetching.give_up(&why)?;
    report.go_on();
    Ok(ExitCode::from(code))
}

/// The names, each once.
fn wanted(names: &[String]) -> Result<Vec<Wanted>, Failure> {
    let mut seen = BTreeSet::new();
    let mut wanted = Vec::new();
    for name in names {
        let named = FileName::new(name, Names::Tree).map_err(|wrong| {
            Failure::usage(format_args!("no server has a file {name:?}: {wrong}"))
        })?;
        if seen.insert(named.clone()) {
            wanted.push(Wanted::new(named));
        }
    }
    Ok(wanted)
}
