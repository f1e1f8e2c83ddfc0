//! A connection on which commands are run, one after another, and what is said of each.

use std::fmt;
use std::io;
use std::time::Duration;

use super::codes::{
    EXIT_CONNECTION, EXIT_NOT_EXECUTABLE, EXIT_NOT_FOUND, EXIT_SIGNAL, EXIT_TIMEOUT,
};
use super::input::may_have_input;
use super::lines::show;
use super::output::Unwritable;
use super::raw_lines::{RawLines, RawStop};
use super::relay::{Ending, Relay, RelayError};
use super::signals::{Signals, number};
use super::way_out::{way_out, way_out_in_lines};
use crate::cli::streams::is_reader_gone;
use crate::cli::{Failure, complain, is_quiet};
use crate::client::{ClientError, CommandFate, CommandStream, Exec, RawExec, ServerAddress};
use crate::wire::{
    CommandEnd, CommandError, CommandErrorKind, Escaped, RunCommand, StreamedCommand, WhyEnded,
};

/// How long a connection may take that no `--timeout` limits, and with it a command line, whose output comes at
/// its end.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// How long a server may take to say that it ended a command whose time was over: SIGTERM, a second, SIGKILL.
const TIMEOUT_GRACE: Duration = Duration::from_secs(3);

/// The number of SIGPIPE, of which a command dies whose output nobody reads.
const SIGPIPE: u8 = 13;

/// A connection, and how commands are run on it.
#[derive(Debug)]
pub(super) struct Session {
    way: Way,
    terms: Terms,
}

/// What holds for all commands.
#[derive(Debug)]
pub(super) struct Terms {
    pub(super) address: ServerAddress,
    pub(super) timeout: Option<Duration>,
    /// What acts on a terminal is shown to it as it is.
    pub(super) is_raw: bool,
    /// A secret was proven.
    pub(super) is_proven: bool,
}

#[derive(Debug)]
enum Way {
    /// C5.
    Stream(Box<CommandStream>, Signals),
    /// C2 to C4.
    Lines(Exec),
    /// C1.
    Raw(Box<RawLines>),
    /// The connection is over.
    Over,
}

impl Session {
    /// Commands as streams.
    pub(super) fn of_streams(exec: Exec, terms: Terms) -> Result<Session, Failure> {
        let stream = CommandStream::new(exec).map_err(Failure::usage)?;
        let signals = Signals::take().map_err(anyhow::Error::new)?;
        let way = Way::Stream(Box::new(stream), signals);
        Ok(Session { way, terms })
    }

    /// Commands as lines.
    pub(super) fn of_lines(exec: Exec, terms: Terms) -> Session {
        let way = Way::Lines(exec);
        Session { way, terms }
    }

    /// Commands as lines. No mark ends an output.
    pub(super) fn of_raw(exec: Exec, terms: Terms) -> Result<Session, Failure> {
        let raw = RawExec::new(exec).map_err(Failure::usage)?;
        let lines = RawLines::new(raw, terms.timeout, terms.is_raw);
        let way = Way::Raw(Box::new(lines));
        Ok(Session { way, terms })
    }

    /// Where nothing marks the end of an output, it is one when nothing came for so long.
    pub(super) fn await_outputs(&mut self, silence: Duration) {
        if let Way::Raw(lines) = &mut self.way {
            lines.await_outputs(silence);
            if !is_quiet() {
                self.says(format_args!(
                    "nothing marks the end of an output here; one is taken to be over when nothing came for {} ms, \
                     and an empty line shows what came later",
                    silence.as_millis()
                ));
            }
        }
    }

    /// Shows what came of an output that was taken to be over.
    pub(super) fn show_late(&mut self) -> Result<Option<u8>, Failure> {
        self.with_raw(|lines| lines.show_more())
    }

    /// Asks for nothing more, and shows what is owed; the exit code, where only the end tells it.
    pub(super) fn finish(&mut self) -> Result<Option<u8>, Failure> {
        self.with_raw(|lines| lines.finish())
    }

    fn with_raw(
        &mut self,
        what: impl FnOnce(&mut RawLines) -> Result<(), RawStop>,
    ) -> Result<Option<u8>, Failure> {
        let Way::Raw(lines) = &mut self.way else {
            return Ok(None);
        };
        match what(lines) {
            Ok(()) => Ok(Some(0)),
            Err(stop) => self.stopped(stop).map(Some),
        }
    }

    /// Nothing more can be run; says why.
    fn stopped(&mut self, stop: RawStop) -> Result<u8, Failure> {
        self.way = Way::Over;
        match stop {
            RawStop::Client(error) => self.fails(error),
            RawStop::Output(Unwritable::ReaderGone) => Ok(EXIT_SIGNAL + SIGPIPE),
            RawStop::Output(Unwritable::Failed(error)) => Err(unwritable("output", error)),
        }
    }

    /// Where they are run.
    pub(super) fn address(&self) -> &ServerAddress {
        &self.terms.address
    }

    /// Whether another command could be run.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.way, Way::Over) || is_reader_gone()
    }

    /// Whether signals do what they usually do.
    pub(super) fn set_idle(&self, is_idle: bool) {
        if let Way::Stream(_, signals) = &self.way {
            signals.set_idle(is_idle);
        }
    }

    /// Runs a command; its output goes out, and its exit code comes back.
    pub(super) fn run(&mut self, command: &RunCommand) -> Result<u8, Failure> {
        match std::mem::replace(&mut self.way, Way::Over) {
            Way::Over => Ok(EXIT_CONNECTION),
            Way::Lines(mut exec) => {
                let line = line_of(command).map_err(Failure::usage)?;
                let code = self.run_line(&mut exec, &line)?;
                if let Ok(code) = code {
                    self.way = Way::Lines(exec);
                    return Ok(code);
                }
                code.or_else(|error| self.fails(error))
            }
            Way::Raw(lines) => {
                self.way = Way::Raw(lines);
                self.run_raw(command, RawLines::run)
            }
            Way::Stream(stream, signals) => self.run_stream(stream, signals, command),
        }
    }

    /// Runs a command, and none after it.
    pub(super) fn run_last(&mut self, command: &RunCommand) -> Result<u8, Failure> {
        match self.way {
            Way::Raw(_) => self.run_raw(command, RawLines::run_last),
            _ => self.run(command),
        }
    }

    fn run_raw(
        &mut self,
        command: &RunCommand,
        run: impl FnOnce(&mut RawLines, &str) -> Result<(), RawStop>,
    ) -> Result<u8, Failure> {
        let line = line_of(command).map_err(Failure::usage)?;
        let code = self.with_raw(|lines| run(lines, &line))?;
        Ok(code.unwrap_or(EXIT_CONNECTION))
    }

    fn run_stream(
        &mut self,
        mut stream: Box<CommandStream>,
        mut signals: Signals,
        command: &RunCommand,
    ) -> Result<u8, Failure> {
        let patience = self.terms.timeout.map(|time| time + TIMEOUT_GRACE);
        match stream.begin(command, patience) {
            Ok(()) => {}
            Err(error @ ClientError::Unsendable { .. }) => return Err(Failure::usage(error)),
            Err(error) => return Ok(self.broke(&error, &stream)),
        }
        let relay = Relay::new(
            &mut stream,
            &mut signals,
            command.has_input,
            self.terms.is_raw,
        );
        let code = match relay.run() {
            Ok(Ending::Ended(end)) => self.ended(&end),
            Ok(Ending::NotRun(error)) if error.kind == CommandErrorKind::Protocol => {
                self.says(format_args!("{}: the command was not run", error.message));
                return Ok(EXIT_CONNECTION);
            }
            Ok(Ending::NotRun(error)) => self.not_run(command, &error),
            Ok(Ending::OnlyLines) => return self.go_on_in_lines(*stream, command),
            Ok(Ending::Interrupted(signal)) => {
                self.interrupted(stream.fate());
                return Ok(EXIT_SIGNAL + number(signal));
            }
            Ok(Ending::ReaderGone) => return Ok(EXIT_SIGNAL + SIGPIPE),
            Ok(Ending::OutOfTime) => {
                let after = patience.unwrap_or_default();
                self.says(format_args!(
                    "nothing of an end within {after:?}, --timeout and {TIMEOUT_GRACE:?} more: {}",
                    certain(stream.fate())
                ));
                return Ok(EXIT_TIMEOUT);
            }
            Err(RelayError::Client(error)) => return Ok(self.broke(&error, &stream)),
            Err(RelayError::Output(stream, error)) => return Err(unwritable(stream, error)),
            Err(RelayError::Poll(error)) => return Err(anyhow::Error::new(error).into()),
        };
        self.way = Way::Stream(stream, signals);
        Ok(code)
    }

    /// The server speaks no C5, and has run nothing.
    fn go_on_in_lines(
        &mut self,
        stream: CommandStream,
        command: &RunCommand,
    ) -> Result<u8, Failure> {
        let mut exec = stream.into_lines();
        let line = match line_of(command) {
            Ok(_) if command.has_input && may_have_input() => Err(
                "a command has no input there, and this one would have some: -n runs it without",
            ),
            other => other,
        };
        let line = match line {
            Ok(line) => line,
            Err(why) => {
                self.says(format_args!(
                    "the server takes command lines only (C4), and {why}: the command was not run"
                ));
                return Ok(EXIT_CONNECTION);
            }
        };
        match self.run_line(&mut exec, &line)? {
            Ok(code) => {
                self.way = Way::Lines(exec);
                Ok(code)
            }
            Err(error) => self.fails(error),
        }
    }

    fn run_line(&self, exec: &mut Exec, line: &str) -> Result<Result<u8, ClientError>, Failure> {
        let Terms {
            address,
            timeout,
            is_raw,
            ..
        } = &self.terms;
        match exec.run(line, timeout.unwrap_or(PATIENCE)) {
            Ok(output) => show(&output, address, *is_raw).map(Ok),
            Err(error) => Ok(Err(error)),
        }
    }

    /// Says why there is no answer to a line.
    fn fails(&self, error: ClientError) -> Result<u8, Failure> {
        if let ClientError::Request(why) = error {
            return Err(Failure::usage(why));
        }
        Ok(complain_of(
            &error,
            &self.terms.address,
            self.terms.is_proven,
        ))
    }

    /// Says why there is no end of a command, and what is certain of it.
    fn broke(&self, error: &ClientError, stream: &CommandStream) -> u8 {
        let Terms {
            address, is_proven, ..
        } = &self.terms;
        let way_out = if stream.is_known() {
            way_out(error, address, *is_proven)
        } else {
            way_out_in_lines(error, address, *is_proven)
        };
        let fate = match error {
            // Whatever was sent to it, such a server has looked at nothing.
            ClientError::NotAdmitted { .. } => CommandFate::NotRun,
            _ => stream.fate(),
        };
        complain(format_args!("{error}: {}{way_out}", certain(fate)));
        EXIT_CONNECTION
    }

    fn ended(&self, end: &CommandEnd) -> u8 {
        if end.is_cut {
            self.says(
                "a process that the command left behind still had its output, which was not waited for",
            );
        }
        if end.why == Some(WhyEnded::Timeout) {
            let whose = match self.terms.timeout {
                Some(time) if time <= end.wall => {
                    "this is the limit of exec itself, --timeout raises it"
                }
                _ => "this is the limit of the server, its option `timeout`",
            };
            let after = end.wall.as_millis();
            self.says(format_args!("timeout after {after} ms; {whose}"));
            return EXIT_TIMEOUT;
        }
        match (end.exit, end.signal) {
            (Some(code), _) => u8::try_from(code).unwrap_or(1),
            (None, Some(signal)) => u8::try_from(128 + signal).unwrap_or(EXIT_CONNECTION),
            (None, None) => EXIT_CONNECTION,
        }
    }

    fn not_run(&self, command: &RunCommand, error: &CommandError) -> u8 {
        /// How a server begins where the directory is wrong, and not the program.
        const WRONG_DIRECTORY: &str = "cannot start: cwd: ";
        /// `ENOENT` and `EACCES`, and what is no program: `ENOEXEC`.
        const ERRNOS: [(i32, u8); 3] = [
            (2, EXIT_NOT_FOUND),
            (13, EXIT_NOT_EXECUTABLE),
            (8, EXIT_NOT_EXECUTABLE),
        ];
        let is_of_program = error.kind == CommandErrorKind::CannotStart
            && !error.message.starts_with(WRONG_DIRECTORY);
        let known = ERRNOS
            .into_iter()
            .find(|(errno, _)| is_of_program && error.errno == Some(*errno));
        let code = known.map_or(EXIT_CONNECTION, |(_, code)| code);
        let program = match &command.command {
            StreamedCommand::Program(words) => words.first().map_or(&[][..], Vec::as_slice),
            // The shell says itself what it cannot find.
            StreamedCommand::Line(_) => b"/bin/sh",
        };
        let program = Escaped(program);
        let way_out = match code {
            EXIT_NOT_FOUND => {
                format!("; there is no program {program} there, or not its interpreter")
            }
            EXIT_NOT_EXECUTABLE => {
                format!("; {program} is no program there, or none that may be run")
            }
            _ => String::new(),
        };
        let message = &error.message;
        self.says(format_args!("{message}: the command was not run{way_out}"));
        code
    }

    fn interrupted(&self, fate: CommandFate) {
        match fate {
            CommandFate::WasRunning => {
                self.says("interrupted twice: the server ends the command");
            }
            CommandFate::Ended => {}
            fate => self.says(format_args!("interrupted: {}", certain(fate))),
        }
    }

    fn says(&self, what: impl fmt::Display) {
        complain(format_args!("{}: {what}", self.terms.address));
    }
}

fn unwritable(stream: &'static str, cause: io::Error) -> Failure {
    let why = format!("standard {stream} cannot be written");
    anyhow::Error::new(cause).context(why).into()
}

/// Says why there is no connection, or no answer; the exit code.
pub(super) fn complain_of(error: &ClientError, address: &ServerAddress, is_proven: bool) -> u8 {
    let way_out = way_out(error, address, is_proven);
    complain(format_args!("{error}{way_out}"));
    match error {
        ClientError::Timeout { .. } => EXIT_TIMEOUT,
        _ => EXIT_CONNECTION,
    }
}

/// What is certain of a command whose end is not known.
fn certain(fate: CommandFate) -> &'static str {
    match fate {
        CommandFate::NotRun => "the command was not run",
        CommandFate::WasRunning => "the command was running, and a server that goes on ends it",
        CommandFate::Unknown => "whether the command was run is unknown",
        CommandFate::Ended => "the command had ended",
    }
}

/// The command as a line, if it can be one.
fn line_of(command: &RunCommand) -> Result<String, &'static str> {
    if command.directory.is_some() {
        return Err("no line says where: --cwd cannot be kept");
    }
    if !command.environment.is_empty() {
        return Err("no line has an environment: --env cannot be kept");
    }
    let line = String::from_utf8(command.command.typed()).map_err(|_| "a line must be UTF-8")?;
    if line.contains(['\n', '\r']) {
        return Err("a command must be one line: each line is a request of its own");
    }
    Ok(line)
}
