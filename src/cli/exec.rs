//! `onepoll exec`: runs commands on a server.

use std::io::{self, BufRead, IsTerminal};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::ValueEnum;

use super::streams::{input, is_reader_gone, say};
use super::terminal::safe_to_show;
use super::{Failure, Outcome, complain, print_bytes};
use crate::client::{ClientError, Exec, ExecOutput, Framing, ServerAddress};
use crate::config::parse_duration;

/// The client gave up waiting, as `timeout` says it.
const EXIT_TIMEOUT: u8 = 124;
/// There was no connection, or no longer, as `ssh` says it.
const EXIT_CONNECTION: u8 = 255;

/// Runs a command on a server; its output and its exit code come back
///
/// Exits with the command's own code, with 124 when no whole answer came in time, with 255 when the
/// connection failed. Without a command it reads command lines from standard input.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// HOST:PORT, [::1]:PORT, unix:///PATH or a path; without one, your private socket of `onepoll serve`
    address: Option<ServerAddress>,
    /// How the server marks the end of an output; only json brings the exit code
    #[arg(long, value_enum, default_value_t = FramingArg::Json)]
    framing: FramingArg,
    /// How long one command may take in all: `500ms`, `5s`, `1m`
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = parse_duration)]
    timeout: Duration,
    /// Shows terminal control characters of an output instead of disarming them
    #[arg(long)]
    raw: bool,
    /// The command, its words joined by spaces, as ssh does
    #[arg(last = true)]
    command: Vec<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum FramingArg {
    I32,
    Json,
}

/// Runs one command, or those that standard input holds.
pub fn run(args: Args) -> Outcome {
    let command = args.command.join(" ");
    if !args.command.is_empty() && command.trim().is_empty() {
        return Err(Failure::Usage("the command is empty".to_owned()));
    }
    match converse(&args, &command) {
        Ok(code) => Ok(ExitCode::from(code)),
        Err(ExecError::Client(ClientError::Request(why))) => Err(Failure::Usage(why.to_owned())),
        Err(ExecError::Client(error)) => {
            complain(&error);
            Ok(ExitCode::from(match error {
                ClientError::Timeout { .. } => EXIT_TIMEOUT,
                _ => EXIT_CONNECTION,
            }))
        }
        Err(ExecError::Local(failure)) => Err(failure),
    }
}

#[derive(Debug)]
enum ExecError {
    Client(ClientError),
    Local(Failure),
}

impl From<ClientError> for ExecError {
    fn from(error: ClientError) -> Self {
        Self::Client(error)
    }
}

impl From<Failure> for ExecError {
    fn from(failure: Failure) -> Self {
        Self::Local(failure)
    }
}

fn converse(args: &Args, command: &str) -> Result<u8, ExecError> {
    let address = args.address.clone().unwrap_or_else(ServerAddress::private);
    let framing = match args.framing {
        FramingArg::I32 => Framing::I32,
        FramingArg::Json => Framing::Json,
    };
    let mut exec = Exec::connect(&address, framing, args.timeout)?;
    if !args.command.is_empty() {
        return show(&exec.run(command, args.timeout)?, args.raw).map_err(ExecError::from);
    }
    let prompt = io::stdin().is_terminal();
    let mut last = 0;
    let mut lines = input();
    let mut line = Vec::new();
    loop {
        if prompt {
            say(&format!("{address}> "));
        }
        line.clear();
        let read = lines.read_until(b'\n', &mut line);
        let read = read.context("standard input cannot be read");
        if read.map_err(Failure::from)? == 0 {
            if prompt {
                say("\n");
            }
            return Ok(last);
        }
        let Ok(command) = std::str::from_utf8(&line) else {
            return Err(ClientError::Request("a command must be UTF-8").into());
        };
        let command = command.trim_end_matches(['\n', '\r']);
        // The server ignores an empty request, so no answer would come.
        if !command.trim().is_empty() {
            last = show(&exec.run(command, args.timeout)?, args.raw)?;
            if is_reader_gone() {
                return Ok(last);
            }
        }
    }
}

/// Prints an output as it is, disarmed on a terminal; returns the exit code to pass on.
fn show(output: &ExecOutput, raw: bool) -> Result<u8, Failure> {
    if io::stdout().is_terminal() && !raw {
        print_bytes(&safe_to_show(&output.bytes))?;
    } else {
        print_bytes(&output.bytes)?;
    }
    Ok(match output.exit {
        // A shell shows the low eight bits of larger codes; none of them may become a success.
        Some(code) => u8::try_from(code).unwrap_or(1),
        None if output.refusal.is_some() => 1,
        None => 0,
    })
}
