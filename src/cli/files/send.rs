//! `onepoll send`: uploads files.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use super::plan::{FILES_MAX, Plan};
use super::progress::Progress;
use super::pump::{Stop, pump};
use super::report::Report;
use super::sending::{Sending, State};
use super::server::{Server, ServerArgs};
use crate::cli::exec::signals::Signals;
use crate::cli::{Failure, Outcome};
use crate::client::ServerAddress;
use crate::wire::{FileName, Names};

/// Uploads files to a `file` endpoint, which has each of them whole or not at all
///
/// Directories are sent with all that is in them, under names that begin with their own: the server needs
/// `names=tree` for that. Sockets, devices, symbolic links in them, hidden names and names that the protocol cannot
/// carry are skipped and said. Of a file that was sent in part before, the server is asked how much it has kept; if
/// that has the digest of what our file begins with, only the rest is sent. One that is there already, with the same
/// digest, is not sent again. The digests of all files are printed as `sha256sum -c` reads them, and are those that the
/// server says of what it has on its disk.
///
/// Exits with 1 when a file was not sent or skipped, each with its reason, and with 130 after Ctrl-C: the same command
/// goes on then.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// HOST:PORT, [::1]:PORT, unix:///PATH or a path
    address: ServerAddress,
    /// Files and directories; `-`: standard input, which needs --name, and cannot be resumed
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The name that the file or directory has there, or standard input [default: its own]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
}

/// Runs it.
pub fn run(args: Args) -> Outcome {
    let plan = plan(&args)?;
    let server = Server::new(&args.address, &args.server)?;
    let mut signals = Signals::take().map_err(anyhow::Error::new)?;
    let bytes = plan.items.iter().map(|item| item.size).sum();
    let inputs = plan.items.iter().filter(|item| item.is_stdin()).count() as u64;
    let progress = Progress::new(plan.items.len() as u64, bytes, inputs);
    let mut report = Report::new(progress, args.server.json);
    for problem in &plan.problems {
        if problem.is_skipped {
            report.skipped(&problem.path, &problem.why)?;
        } else {
            report.failed(&problem.path, &problem.why)?;
        }
    }
    let mut states: Vec<State> = plan.items.iter().map(|_| State::default()).collect();
    let stop = loop {
        if Sending::settled(&states) == states.len() {
            let code = u8::from(report.failures() > 0);
            return Ok(ExitCode::from(code));
        }
        // Until there is a connection, a signal does what it usually does.
        signals.set_idle(true);
        let connected = server.connect();
        signals.set_idle(false);
        let mut stream = match connected {
            Ok(stream) => stream,
            Err(error) => break Stop::Client(error),
        };
        let had = progress_of(&states);
        let mut sending = Sending::new(&plan.items, &mut states, &mut report);
        match pump(&mut stream, &mut sending, &mut signals) {
            Ok(()) => {}
            // Each connection has to bring something, or there would be no end of them.
            Err(Stop::Reconnect) if progress_of(&states) > had => {}
            Err(stop) => break stop,
        }
    };
    let Some((why, code)) = stop.explained(&server) else {
        return Ok(ExitCode::SUCCESS);
    };
    Sending::give_up(&plan.items, &mut states, &mut report, &why)?;
    report.go_on();
    Ok(ExitCode::from(code))
}

/// What can only grow.
fn progress_of(states: &[State]) -> usize {
    let anew = states.iter().filter(|state| state.is_anew).count();
    Sending::settled(states) + anew
}

fn plan(args: &Args) -> Result<Plan, Failure> {
    if args.name.is_some() && args.files.len() > 1 {
        return Err(Failure::usage(
            "--name is for one file, and there are several",
        ));
    }
    let mut plan = Plan::default();
    for file in &args.files {
        if file.as_os_str() != "-" {
            plan.add(file, args.name.as_deref());
            continue;
        }
        let Some(name) = &args.name else {
            return Err(Failure::usage(
                "standard input has no name: say --name NAME; a file that is called so is ./-",
            ));
        };
        let name = FileName::new(name, Names::Tree)
            .map_err(|wrong| Failure::usage(format_args!("--name {name:?}: {wrong}")))?;
        plan.add_stdin(name);
    }
    if plan.items.len() > FILES_MAX {
        return Err(Failure::usage(format_args!(
            "these are more than {FILES_MAX} files: send them a directory at a time"
        )));
    }
    let mut names = BTreeMap::new();
    for item in &plan.items {
        if let Some(other) = names.insert(&item.name, &item.path) {
            return Err(Failure::usage(format_args!(
                "{} and {} would both be called {:?} there: send one of them with --name",
                other.display(),
                item.path.display(),
                item.name.as_str()
            )));
        }
    }
    Ok(plan)
}
