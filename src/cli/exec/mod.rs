//! `onepoll exec`: runs commands on a server.

mod codes;
pub(super) mod input;
mod lines;
pub(super) mod output;
mod prompt;
mod raw_lines;
mod relay;
mod session;
pub(super) mod signals;
mod way_out;

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::process::ExitCode;
use std::time::Duration;

use super::access::{Access, AccessArgs};
use super::{Failure, Outcome, complain, is_quiet};
use crate::client::{ClientError, Exec, ExecFraming, ServerAddress};
use crate::config::{command_socket, parse_duration, quoted};
use crate::wire::{RunCommand, StreamedCommand};
use input::may_have_input;
use prompt::Prompt;
use session::{PATIENCE, Session, Terms, complain_of};

/// Runs a command on a server, as a local one would run: streams, signals, exit code
///
/// One argument behind `--` is a line for the server's shell; several are a program and its arguments, which no
/// shell sees. What the command writes appears as it is written, its standard output and its standard error each on
/// our own; standard input goes to it; SIGINT (Ctrl-C), SIGTERM, SIGHUP, SIGQUIT, SIGUSR1 and SIGUSR2 are passed
/// on, and a second SIGINT ends exec. What the server or exec itself has to say goes to standard error. A reader of
/// standard output that goes away (`| head`) ends the command.
///
/// Exits with the command's own code (128 + N for signal N); with 124 when its time ran out, exec's or the server's,
/// which the message says; with 126 or 127 when the program cannot be executed or is not there; with 141 when
/// nobody reads the output; with 255 when it was not run to its end for another reason: no connection or a broken
/// one, a busy server, a command that is refused. Nothing is tried twice: where a connection breaks, the message
/// says whether the command was not run, was running, or that this is unknown.
///
/// Without a command it reads command lines from standard input, and runs them one after another, without input;
/// the exit code is the last one's. On a terminal there is a prompt, with a history.
///
/// An older server takes lines only: then a command has no input, and its output comes when it has ended, what it
/// wrote to its standard output and then what it wrote to its standard error, both on standard output. No server says
/// how it answers lines. One of onepoll understands `stream`, whatever its option `framing` is, or `json`; for any
/// other, --framing says what its operator chose.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// HOST:PORT, [::1]:PORT, unix:///PATH or a path; without one, your private socket of `onepoll serve`
    #[arg(value_parser = parse_address)]
    address: Option<ServerAddress>,
    /// How commands are asked for, and how the end of an output is marked
    #[arg(long, value_enum, default_value_t = Framing::Stream)]
    framing: Framing,
    /// The word by which an output is asked for when its length has come, with `--framing decimal`
    #[arg(long, value_name = "WORD", default_value = "recv_ready")]
    ack: String,
    /// For how long nothing more may come before an output of `raw`, or the length of one of `decimal`, is taken to be
    /// whole: `100ms`, `2s` [default: 300ms for `raw`, 20ms for `decimal`]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    settle: Option<Duration>,
    /// How long one command may take in all: `500ms`, `5s`, `1m` [default: without an end; 60s for a connection,
    /// and for a line, but those of `raw`]
    #[arg(long, value_name = "DURATION", value_parser = parse_timeout)]
    timeout: Option<Duration>,
    /// The directory to run in, an absolute path [default: the server's]
    #[arg(long, value_name = "DIRECTORY")]
    cwd: Option<String>,
    /// A variable of the command's environment, with our own value if none is given: COLORTERM, COLUMNS, LANG,
    /// LANGUAGE, LC_…, LINES, NO_COLOR, TERM or TZ, and what the endpoint's option `env` names. One that we do not
    /// have is left out. May be repeated
    #[arg(long, value_name = "NAME[=VALUE]")]
    env: Vec<String>,
    /// The command has no standard input: nothing of ours is read
    #[arg(short = 'n', long)]
    no_input: bool,
    /// Not to be had: see the message
    #[arg(long, hide = true)]
    tty: bool,
    #[command(flatten)]
    access: AccessArgs,
    /// Shows terminal control characters of an output instead of disarming them
    #[arg(long)]
    raw: bool,
    /// A line for the shell, or a program and its arguments
    #[arg(last = true)]
    command: Vec<OsString>,
}

/// After how much silence a person is asked for the next line where nothing marks the end of an output.
const RAW_SETTLE: Duration = Duration::from_millis(300);

/// How commands are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Framing {
    /// C5: as streams; to a server that does not speak it, as `json`
    Stream,
    /// C4: as lines, each output with its exit code
    Json,
    /// C3: as lines. The exit code is not told, and a refusal looks like an output
    I32,
    /// C2: as `i32`, but the length comes in digits, and the output when it was asked for
    Decimal,
    /// C1: as lines. Output appears as it is produced, and nothing says where it ends; nor is the exit code told
    Raw,
}

impl Framing {
    /// How the end of an output is marked that answers a line. `Raw` has none to be found, and is not asked.
    fn of_lines(self) -> ExecFraming {
        match self {
            Framing::Decimal => ExecFraming::Decimal,
            Framing::I32 => ExecFraming::I32,
            Framing::Stream | Framing::Json | Framing::Raw => ExecFraming::Json,
        }
    }
}

/// Without any time nothing is run, not even a connection made.
fn parse_timeout(text: &str) -> Result<Duration, String> {
    match parse_duration(text)? {
        Duration::ZERO => Err(format!("{} leaves no time at all", quoted(text))),
        timeout => Ok(timeout),
    }
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
    if args.tty {
        return Err(Failure::usage(
            "--tty: a command has no terminal here, since its two outputs stay apart and its exit code is its own; \
             one that asks for a terminal can be given one there: -- script -qec 'COMMAND' /dev/null",
        ));
    }
    let command = command(&args)?;
    let address = args
        .address
        .clone()
        .unwrap_or_else(|| ServerAddress::Unix(command_socket()));
    let access = args.access.access()?;
    let is_proven = access.key.is_some();
    let exec = match connect(&args, &access, &address) {
        Ok(exec) => exec,
        Err(error) => return Ok(complain_of(&error, &address, is_proven).into()),
    };
    let terms = Terms {
        address,
        timeout: args.timeout,
        is_raw: args.raw,
        is_proven,
    };
    let mut session = match args.framing {
        Framing::Stream => Session::of_streams(exec, terms)?,
        Framing::Json | Framing::I32 | Framing::Decimal => Session::of_lines(exec, terms),
        Framing::Raw => Session::of_raw(exec, terms)?,
    };
    let Some(command) = command else {
        return converse(&args, session);
    };
    let code = session.run_last(&command)?;
    if args.framing != Framing::Stream && !args.no_input && !is_quiet() && may_have_input() {
        complain("standard input was not read: a command was given, and lines have no input");
    }
    Ok(ExitCode::from(code))
}

/// What is to be run, if it was given.
fn command(args: &Args) -> Result<Option<RunCommand>, Failure> {
    let mut words = args.command.iter().cloned().map(OsString::into_vec);
    let command = match (words.len(), words.next()) {
        (0 | 1, Some(line)) if line.trim_ascii().is_empty() => {
            return Err(Failure::usage("the command is empty"));
        }
        (1, Some(line)) => StreamedCommand::Line(line),
        (_, Some(program)) if program.is_empty() => {
            return Err(Failure::usage("the name of the program is empty"));
        }
        (_, Some(program)) => {
            StreamedCommand::Program([program].into_iter().chain(words).collect())
        }
        (_, None) => return Ok(None),
    };
    let with_input = RunCommand {
        has_input: args.framing == Framing::Stream && !args.no_input,
        ..described(args, command)?
    };
    Ok(Some(with_input))
}

/// A command with what the flags say of it.
fn described(args: &Args, command: StreamedCommand) -> Result<RunCommand, Failure> {
    if let Some(directory) = args.cwd.as_ref().filter(|path| !path.starts_with('/')) {
        return Err(Failure::usage(format_args!(
            "--cwd {directory}: an absolute path, since it is the server's directory"
        )));
    }
    let mut environment = Vec::new();
    for variable in &args.env {
        if variable.contains('=') {
            environment.push(variable.clone());
        } else if let Some(value) = std::env::var_os(variable) {
            let Ok(value) = value.into_string() else {
                return Err(Failure::usage(format_args!(
                    "--env {variable}: its value is not UTF-8"
                )));
            };
            environment.push(format!("{variable}={value}"));
        }
    }
    Ok(RunCommand {
        directory: args.cwd.clone(),
        environment,
        timeout: args.timeout,
        ..RunCommand::new(command)
    })
}

/// A connection on which nothing was asked yet.
fn connect(args: &Args, access: &Access, address: &ServerAddress) -> Result<Exec, ClientError> {
    let timeout = args.timeout.unwrap_or(PATIENCE);
    let framing = args.framing.of_lines();
    #[cfg(feature = "tls")]
    let connected = match &access.tls {
        None => Exec::connect(address, framing, timeout),
        Some(tls) => Exec::connect_tls(address, tls, framing, timeout),
    };
    #[cfg(not(feature = "tls"))]
    let connected = Exec::connect(address, framing, timeout);
    let mut exec = connected?.acknowledge_with(&args.ack);
    if let Some(settle) = args.settle {
        exec = exec.settle(settle);
    }
    if let Some(key) = &access.key {
        exec.prove(key, timeout)?;
    }
    Ok(exec)
}

/// Runs the lines of standard input.
fn converse(args: &Args, mut session: Session) -> Outcome {
    let mut prompt = Prompt::new(session.address())?;
    if prompt.has_person() {
        session.await_outputs(args.settle.unwrap_or(RAW_SETTLE));
    }
    let mut last = 0;
    loop {
        session.set_idle(true);
        let line = prompt.line()?;
        session.set_idle(false);
        let Some(line) = line else {
            return Ok(ExitCode::from(session.finish()?.unwrap_or(last)));
        };
        // A server ignores an empty line, so no answer would come.
        let code = if line.trim().is_empty() {
            session.show_late()?
        } else {
            let command = described(args, StreamedCommand::Line(line.into_bytes()))?;
            Some(session.run(&command)?)
        };
        last = code.unwrap_or(last);
        if session.is_over() {
            return Ok(ExitCode::from(last));
        }
    }
}
