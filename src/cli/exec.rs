//! `onepoll exec`: runs commands on a server.

use std::io::{self, BufRead, ErrorKind, IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, SeekFrom, fstat, seek};
use rustix::stdio::stdin;

use super::proof::ProofArgs;
use super::streams::{input, is_reader_gone, say};
use super::terminal::safe_to_show;
use super::{Failure, Outcome, complain, is_quiet, print_bytes};
use crate::client::{ClientError, Exec, ExecFraming, ExecOutput, ServerAddress};
use crate::config::{command_socket, command_sockets, parse_duration};
use crate::wire::HmacKey;

/// Time ran out, ours or the server's, as `timeout` says it.
const EXIT_TIMEOUT: u8 = 124;
/// There was no connection, or no longer, or no whole answer on it, as `ssh` says it.
const EXIT_CONNECTION: u8 = 255;
/// The longest line of standard input that is asked: what a server takes as a request.
const LINE_BYTES_MAX: u64 = 64 * 1024;

/// Runs a command on a server; its output and its exit code come back
///
/// Prints what the command wrote to its standard output, then what it wrote to its standard error (the
/// server may be told otherwise: `output=stderr-or-stdout`), both to standard output and when it has
/// ended; what the server or exec itself has to say goes to standard error.
///
/// Exits with the command's own code (128 + N for signal N); with 124 when its time ran out, exec's or
/// the server's, which the message says; with 255 when it was not run to its end for another reason:
/// no connection or a broken one, a busy server, a command that cannot be started, an output that was cut.
///
/// Without a command it reads command lines from standard input, and runs them one after another; the
/// exit code is the last one's. With a command, standard input is not read: commands have none.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// HOST:PORT, [::1]:PORT, unix:///PATH or a path; without one, your private socket of `onepoll serve`
    #[arg(value_parser = parse_address)]
    address: Option<ServerAddress>,
    /// How the server marks the end of an output; only json brings the exit code, and tells a refusal from
    /// an output
    #[arg(long, value_enum, default_value_t = ExecFraming::Json)]
    framing: ExecFraming,
    /// How long one command may take in all: `500ms`, `5s`, `1m`
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = parse_duration)]
    timeout: Duration,
    #[command(flatten)]
    proof: ProofArgs,
    #[cfg(feature = "tls")]
    #[command(flatten)]
    tls: super::trust::TlsArgs,
    /// Shows terminal control characters of an output instead of disarming them
    #[arg(long)]
    raw: bool,
    /// The command, its words joined by spaces, as ssh does
    #[arg(last = true)]
    command: Vec<String>,
}

/// Where no address is, a command was meant.
fn parse_address(text: &str) -> Result<ServerAddress, String> {
    text.parse().map_err(|wrong| {
        let quoted = text.replace('\'', r"'\''");
        format!("{wrong}; a command stands behind `--`: onepoll exec -- '{quoted}'")
    })
}

/// Runs one command, or those that standard input holds.
pub fn run(args: Args) -> Outcome {
    let command = args.command.join(" ");
    if !args.command.is_empty() && command.trim().is_empty() {
        return Err(Failure::Usage("the command is empty".to_owned()));
    }
    let address = args
        .address
        .clone()
        .unwrap_or_else(|| ServerAddress::Unix(command_socket()));
    let key = args.proof.key()?;
    let outcome = converse(&args, key.as_ref(), &address, &command);
    if !args.command.is_empty() && !is_quiet() && may_have_input() {
        complain("standard input was not read: a command was given, and commands have no input");
    }
    match outcome {
        Ok(code) => Ok(ExitCode::from(code)),
        Err(ExecError::Client(ClientError::Request(why))) => Err(Failure::Usage(why.to_owned())),
        Err(ExecError::Client(error)) => {
            let is_proven = key.is_some();
            complain(format_args!(
                "{error}{}",
                way_out(&error, &address, is_proven)
            ));
            Ok(ExitCode::from(match error {
                ClientError::Timeout { .. } => EXIT_TIMEOUT,
                _ => EXIT_CONNECTION,
            }))
        }
        Err(ExecError::Local(failure)) => Err(failure),
    }
}

/// What to do about it, to be said behind it.
fn way_out(error: &ClientError, address: &ServerAddress, is_proven: bool) -> String {
    match (error, address) {
        (ClientError::NotChallenged { .. }, _) => {
            "; if it asks for no secret, leave out --secret-file and ONEPOLL_SECRET_FILE".to_owned()
        }
        (ClientError::HungUp { .. } | ClientError::Broken { .. }, _) if is_proven => {
            "; to a wrong proof a server says nothing: is the secret its own, and is --digest?"
                .to_owned()
        }
        (ClientError::Timeout { .. }, _) => {
            "; this is the limit of exec itself, --timeout raises it".to_owned()
        }
        (ClientError::Connect { cause, .. }, ServerAddress::Unix(path))
            if matches!(
                cause.kind(),
                ErrorKind::NotFound | ErrorKind::ConnectionRefused
            ) =>
        {
            no_server_at(path)
        }
        (ClientError::Connect { cause, .. }, ServerAddress::Host(_))
            if cause.kind() == ErrorKind::ConnectionRefused =>
        {
            "; no server listens on that port".to_owned()
        }
        (ClientError::Untrusted { .. }, _) => {
            "; find out whose it is, or name the address of a server that you trust".to_owned()
        }
        (ClientError::UnknownServer { fingerprint, .. }, _) => format!(
            "; if that is the one that its operator told you, say --fingerprint {fingerprint}"
        ),
        (ClientError::NotCommands { .. }, _) => format!(
            "; name a `command` endpoint, such as the one of `onepoll serve`, unix://{}",
            command_socket().display()
        ),
        (ClientError::Unasked { .. }, _) => {
            "; it may be another service, or ask for a secret: --secret-file FILE".to_owned()
        }
        (ClientError::Wire { .. }, _) => {
            "; is it a `command` endpoint, is --framing the one that it was given, and does it ask for a \
             secret (--secret-file)?"
                .to_owned()
        }
        _ => String::new(),
    }
}

/// How to have a server there, and where one could be instead.
fn no_server_at(path: &Path) -> String {
    let places = command_sockets();
    if !places.iter().any(|place| place == path) {
        return format!(
            "; `onepoll serve command+unix://{}` starts a server there",
            path.display()
        );
    }
    let mut text = "; `onepoll serve` starts a server there".to_owned();
    let others = places.iter().filter(|place| *place != path);
    let (there, missing): (Vec<_>, Vec<_>) =
        others.partition(|place| place.symlink_metadata().is_ok());
    let list = |places: Vec<&PathBuf>| {
        let urls = places
            .iter()
            .map(|place| format!("unix://{}", place.display()));
        urls.collect::<Vec<_>>().join(" or ")
    };
    if !there.is_empty() {
        text.push_str(&format!("; there is one at {}", list(there)));
    }
    if !missing.is_empty() {
        text.push_str(&format!("; there is none at {} either", list(missing)));
    }
    text
}

/// Whether somebody may expect that standard input is read: a file or a pipe that is not at its end.
fn may_have_input() -> bool {
    let Ok(found) = fstat(stdin()) else {
        return false;
    };
    match FileType::from_raw_mode(found.st_mode) {
        FileType::RegularFile => seek(stdin(), SeekFrom::Current(0))
            .is_ok_and(|at| u64::try_from(found.st_size).is_ok_and(|size| at < size)),
        FileType::Fifo => {
            let input = stdin();
            let mut there = [PollFd::new(&input, PollFlags::IN)];
            let asked = poll(&mut there, Some(&Timespec::default()));
            let seen = there[0].revents();
            asked.is_ok() && (seen.contains(PollFlags::IN) || !seen.contains(PollFlags::HUP))
        }
        _ => false,
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

fn converse(
    args: &Args,
    key: Option<&HmacKey>,
    address: &ServerAddress,
    command: &str,
) -> Result<u8, ExecError> {
    #[cfg(feature = "tls")]
    let mut exec = match args.tls.trust()? {
        None => Exec::connect(address, args.framing, args.timeout)?,
        Some(trust) => Exec::connect_tls(address, &trust, args.framing, args.timeout)?,
    };
    #[cfg(not(feature = "tls"))]
    let mut exec = Exec::connect(address, args.framing, args.timeout)?;
    if let Some(key) = key {
        exec.prove(key, args.timeout)?;
    }
    if !args.command.is_empty() {
        let output = exec.run(command, args.timeout)?;
        return show(&output, address, args.raw).map_err(ExecError::from);
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
        let read = lines
            .by_ref()
            .take(LINE_BYTES_MAX + 1)
            .read_until(b'\n', &mut line);
        let read = read.context("standard input cannot be read");
        if read.map_err(Failure::from)? == 0 {
            if prompt {
                say("\n");
            }
            return Ok(last);
        }
        if line.len() as u64 > LINE_BYTES_MAX {
            return Err(ClientError::Request("a command line has at most 65536 bytes").into());
        }
        let Ok(command) = std::str::from_utf8(&line) else {
            return Err(ClientError::Request("a command must be UTF-8").into());
        };
        let command = command.trim_end_matches(['\n', '\r']);
        // The server ignores an empty request, so no answer would come.
        if !command.trim().is_empty() {
            last = show(&exec.run(command, args.timeout)?, address, args.raw)?;
            if is_reader_gone() {
                return Ok(last);
            }
        }
    }
}

/// Prints an output as it is, disarmed on a terminal, and says why it is not a whole one; returns the
/// exit code to pass on.
fn show(output: &ExecOutput, address: &ServerAddress, raw: bool) -> Result<u8, Failure> {
    if io::stdout().is_terminal() && !raw {
        print_bytes(&safe_to_show(&output.bytes))?;
    } else {
        print_bytes(&output.bytes)?;
    }
    if let Some(reason) = &output.refusal {
        let (hint, code) = if output.timed_out() {
            (
                "; this is the limit of the server, its option `timeout`",
                EXIT_TIMEOUT,
            )
        } else {
            ("", EXIT_CONNECTION)
        };
        complain(format_args!("{address}: {reason}{hint}"));
        return Ok(code);
    }
    // A shell shows the low eight bits of larger codes; none of them may become a success.
    Ok(output
        .exit
        .map_or(0, |code| u8::try_from(code).unwrap_or(1)))
}
