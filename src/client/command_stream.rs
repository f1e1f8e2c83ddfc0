//! Commands as streams (C5), for a caller that waits itself.
//!
//! Knows the order of the frames, how much input may be sent, and what is certain of a command when the
//! connection breaks. Does not wait, and does not know where input comes from or output goes.
//!
//! A server of an earlier kind takes a frame for a line, refuses it on account of its NUL bytes, and would run
//! what follows as lines of their own. So until a server has answered in frames, nothing is sent to it but one
//! request that arrives whole and ends its line itself.

use std::mem::take;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use super::deadline::RequestDeadline;
use super::duplex::Duplex;
use super::exec::{Exec, ExecFraming};
use super::other_service::{no_command_server, notice};
use super::{ClientError, OUTPUT_BYTES_MAX};
use crate::wire::{
    CommandAnswer, CommandAnswers, CommandEnd, CommandError, CommandErrorKind, CommandHeader,
    CommandRequest, CommandSignal, Decode, Encode, Escaped, JsonHeader, Length, RunCommand,
    STDIN_CREDIT_BYTES, StreamedCommand, WireError,
};

/// How much input is offered room for at once: what a pipe of Linux holds.
const INPUT_BYTES_MAX: u64 = 64 * 1024;

/// No input is taken while more than this waits for the socket.
const QUEUED_BYTES_MAX: usize = 128 * 1024;

/// The longest first request. A segment of TCP has room for it on any usual path, so it arrives in one piece; of a
/// longer one, a server of an earlier kind could take the second half for a line.
const FIRST_BYTES_MAX: usize = 1024;

/// How much is shown of what came unasked.
const SHOWN_BYTES: usize = 40;

/// A connection to a command server on which commands run as streams (C5), one after another. Nothing in it waits:
/// the caller polls [its socket](AsFd), for reading unless it has no room for output, and for writing while
/// [something is queued](CommandStream::wants_to_send).
///
/// After an error, [`fate`](CommandStream::fate) says what is certain of the command, and nothing more can be
/// asked: a command is never asked for twice, and so no connection is ever made anew.
#[derive(Debug)]
pub struct CommandStream {
    duplex: Duplex,
    answers: CommandAnswers,
    stage: Stage,
    /// Whether the last command that was asked for has run to its end.
    has_ended: bool,
    /// The server has answered in frames.
    is_known: bool,
    input: Input,
    /// The first request, by which a server is known that sends back what it is sent.
    first: Vec<u8>,
    deadline: Option<RequestDeadline>,
}

/// How far the command in progress is.
///
/// ```text
///             ┌──────────────────── end, or error ────────────────────┐
///             v                                                       │
/// ──begin──> Idle ──> Probing ──refused──> Asked ──started──> Running ┘
///              └──────────────────────────────^
/// ```
#[derive(Debug)]
enum Stage {
    /// There is none.
    Idle,
    /// The server shows by its answer to a command that is none whether it speaks C5; this request waits.
    Probing(Vec<u8>),
    /// Of the request, so many bytes have not left.
    Asked(usize),
    Running,
}

#[derive(Debug, Default)]
struct Input {
    /// More of it may come.
    is_open: bool,
    /// So much may be sent.
    credit: u64,
}

/// What a server has to say.
#[derive(Debug, PartialEq, Eq)]
pub enum StreamNews<'b> {
    /// This of the command; never a part without meaning, nor credit, which
    /// [`input_room`](CommandStream::input_room) tells of.
    Answer(CommandAnswer<'b>),
    /// It speaks no C5 and has run nothing: see [`into_lines`](CommandStream::into_lines).
    OnlyLines,
}

/// What is certain of the last command that was asked for, when a connection breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommandFate {
    /// It was not run: the server cannot have had the whole request, or has said that it did not.
    NotRun,
    /// The server said that it had started, and not that it had ended.
    WasRunning,
    /// The server may or may not have started it.
    Unknown,
    /// It has ended.
    Ended,
}

impl CommandStream {
    /// Goes on with a connection on which nothing was run yet.
    ///
    /// # Errors
    ///
    /// [`ClientError::Request`] if that connection was given up.
    pub fn new(exec: Exec) -> Result<CommandStream, ClientError> {
        let Some(line) = exec.into_line() else {
            return Err(ClientError::Request(
                "the connection was given up in the middle of an answer",
            ));
        };
        Ok(CommandStream {
            duplex: Duplex::new(line)?,
            answers: CommandAnswers::new(),
            stage: Stage::Idle,
            has_ended: false,
            is_known: false,
            input: Input::default(),
            first: Vec::new(),
            deadline: None,
        })
    }

    /// Asks for a command; `patience` is how long all of it may take.
    ///
    /// # Errors
    ///
    /// [`ClientError::Request`] if one is in progress, [`ClientError::Unsendable`] if the request is longer than
    /// may be; and what the server has said, or that it has hung up. In all of them nothing was asked.
    pub fn begin(
        &mut self,
        run: &RunCommand,
        patience: Option<Duration>,
    ) -> Result<(), ClientError> {
        if !matches!(self.stage, Stage::Idle) {
            return Err(ClientError::Request("one command runs at a time"));
        }
        self.has_ended = false;
        let mut request = Vec::new();
        run.encode(&mut request)
            .map_err(|cause| ClientError::Unsendable { cause })?;
        self.check_silent()?;
        self.deadline = patience.map(RequestDeadline::after);
        self.input = Input {
            is_open: run.has_input,
            credit: STDIN_CREDIT_BYTES,
        };
        if self.is_known || (request.len() <= FIRST_BYTES_MAX && is_text(run)) {
            return self.ask(request);
        }
        let mut probe = Vec::new();
        RunCommand::new(StreamedCommand::Program(Vec::new()))
            .encode(&mut probe)
            .map_err(|cause| ClientError::Unsendable { cause })?;
        self.stage = Stage::Probing(request);
        self.queue_first(probe)
    }

    /// Takes what has come, without waiting; says whether there may be more.
    pub fn receive(&mut self) -> bool {
        self.duplex.receive()
    }

    /// The next of what came; none: receive more.
    ///
    /// # Errors
    ///
    /// What ended the connection, when all that came before was handed on; or what is wrong with what came.
    #[expect(
        clippy::should_implement_trait,
        reason = "an iterator's items cannot borrow from it"
    )]
    pub fn next(&mut self) -> Result<Option<StreamNews<'_>>, ClientError> {
        loop {
            let at = self.duplex.taken;
            let unread = &self.duplex.line.unread()[at..];
            let (step, taken) = match self.answers.decode(unread) {
                Ok(Some((answer, taken))) => (Step::of(answer), taken),
                Ok(None) => {
                    return match self.duplex.all_was_taken() {
                        Some(end) => Err(self.ended(end)),
                        None => Ok(None),
                    };
                }
                Err(cause) if !self.is_known => return self.no_stream(cause),
                Err(cause) => return Err(self.wire(cause)),
            };
            self.duplex.taken += taken;
            self.is_known = true;
            self.first = Vec::new();
            let answer = match (step, &mut self.stage) {
                (Step::Part, _) => continue,
                (Step::Output { is_error }, Stage::Running) => {
                    let bytes = &self.duplex.line.unread()[at..at + taken];
                    if is_error {
                        CommandAnswer::Stderr(bytes)
                    } else {
                        CommandAnswer::Stdout(bytes)
                    }
                }
                (Step::Credit(bytes), Stage::Running) => {
                    self.input.credit = self.input.credit.saturating_add(bytes);
                    continue;
                }
                (Step::Started(id), Stage::Asked(_)) => {
                    self.stage = Stage::Running;
                    CommandAnswer::Started { id }
                }
                (Step::StdinClosed, Stage::Running) => {
                    self.input.is_open = false;
                    CommandAnswer::StdinClosed
                }
                (Step::End(end), Stage::Running) => {
                    self.stage = Stage::Idle;
                    self.has_ended = true;
                    CommandAnswer::End(end)
                }
                (Step::Error(error), Stage::Probing(request))
                    if error.kind == CommandErrorKind::Refused =>
                {
                    let request = take(request);
                    self.ask(request)?;
                    continue;
                }
                (Step::Error(error), Stage::Probing(_) | Stage::Asked(_)) => {
                    self.stage = Stage::Idle;
                    CommandAnswer::Error(error)
                }
                // What stands between the server and the command did not become it.
                (Step::Error(error), Stage::Running)
                    if error.kind == CommandErrorKind::CannotStart =>
                {
                    self.stage = Stage::Idle;
                    CommandAnswer::Error(error)
                }
                // It gives the connection up in the middle.
                (Step::Error(error), Stage::Running) => {
                    return Err(ClientError::Refused {
                        address: self.duplex.line.address().to_owned(),
                        reason: error.message,
                    });
                }
                (step, _) => return Err(self.out_of_order(&step)),
            };
            return Ok(Some(StreamNews::Answer(answer)));
        }
    }

    /// Whether something waits for room in the socket.
    pub fn wants_to_send(&self) -> bool {
        self.duplex.wants_to_send()
    }

    /// Offers the socket what is queued. That it failed shows when all that came was handed on.
    pub fn send(&mut self) {
        loop {
            let sent = self.duplex.send_once();
            if sent == 0 {
                return;
            }
            if let Stage::Asked(left) = &mut self.stage {
                *left = left.saturating_sub(sent);
            }
        }
    }

    /// How many bytes of standard input may be [given](CommandStream::give_input) now. None before the command
    /// has started: what a server of an earlier kind is sent, it runs.
    pub fn input_room(&self) -> usize {
        let may = matches!(self.stage, Stage::Running)
            && self.input.is_open
            && !self.duplex.is_deaf
            && self.duplex.outgoing.len() < QUEUED_BYTES_MAX;
        if !may {
            return 0;
        }
        usize::try_from(self.input.credit.min(INPUT_BYTES_MAX)).unwrap_or(0)
    }

    /// Queues standard input, no more than there is room for; what the command no longer takes is dropped.
    pub fn give_input(&mut self, bytes: &[u8]) -> Result<(), ClientError> {
        if !matches!(self.stage, Stage::Running) || !self.input.is_open {
            return Ok(());
        }
        let Some(credit) = self.input.credit.checked_sub(bytes.len() as u64) else {
            return Err(ClientError::Request("more input than was granted"));
        };
        self.input.credit = credit;
        self.queue(&CommandRequest::Stdin(bytes))
    }

    /// Queues the end of standard input.
    pub fn end_input(&mut self) -> Result<(), ClientError> {
        if !matches!(self.stage, Stage::Running) || !self.input.is_open {
            return Ok(());
        }
        self.input.is_open = false;
        self.queue(&CommandRequest::StdinEnd)
    }

    /// Queues a signal to the command. Before it has started the server gives it up instead. `false`: there is no
    /// command, or no server that would understand.
    pub fn signal(&mut self, signal: CommandSignal) -> Result<bool, ClientError> {
        let may = match self.stage {
            Stage::Running => true,
            Stage::Asked(_) => self.is_known,
            Stage::Idle | Stage::Probing(_) => false,
        };
        if may {
            self.queue(&CommandRequest::Signal(signal))?;
        }
        Ok(may)
    }

    /// How long the command may take yet; none: as long as it likes.
    pub fn time_left(&self) -> Option<Duration> {
        let deadline = self.deadline.as_ref()?;
        Some(deadline.left().unwrap_or(Duration::ZERO))
    }

    /// Whether the server has answered in frames, and so speaks C5.
    pub fn is_known(&self) -> bool {
        self.is_known
    }

    /// What is certain of the last command that was asked for.
    pub fn fate(&self) -> CommandFate {
        match self.stage {
            Stage::Idle if self.has_ended => CommandFate::Ended,
            Stage::Idle | Stage::Probing(_) | Stage::Asked(1..) => CommandFate::NotRun,
            Stage::Asked(0) => CommandFate::Unknown,
            Stage::Running => CommandFate::WasRunning,
        }
    }

    /// The same connection for commands as lines (C4), on a server that has [said](StreamNews::OnlyLines) that it
    /// speaks nothing else. Its one answer to the one request was read whole, so the next is the next line's.
    pub fn into_lines(self) -> Exec {
        Exec::of(self.duplex.line, ExecFraming::Json)
    }

    /// Whether nothing came that nobody asked for.
    fn check_silent(&mut self) -> Result<(), ClientError> {
        while self.receive() {}
        self.duplex.line.consume(self.duplex.taken);
        self.duplex.taken = 0;
        let unread = self.duplex.line.unread();
        if unread.is_empty() {
            return match self.duplex.end.take() {
                None => Ok(()),
                Some(ClientError::HungUp { address, .. }) => Err(ClientError::HungUp {
                    address,
                    progress: "before it was asked".to_owned(),
                }),
                Some(error) => Err(error),
            };
        }
        let address = self.duplex.line.address().to_owned();
        let said = match self.answers.clone().decode(unread) {
            Ok(Some((CommandAnswer::Error(CommandError { message, .. }), _))) => Some(message),
            _ => refusal_of_lines(unread).map(|(reason, _)| reason),
        };
        Err(match said {
            Some(reason) => ClientError::Refused { address, reason },
            None => ClientError::Unasked {
                address,
                bytes: unread.len(),
                shown: Escaped(&unread[..unread.len().min(SHOWN_BYTES)]).to_string(),
            },
        })
    }

    fn ask(&mut self, request: Vec<u8>) -> Result<(), ClientError> {
        let had = self.duplex.outgoing.len();
        if self.is_known {
            self.duplex
                .line
                .seal(&request, self.duplex.outgoing.tail())?;
        } else {
            self.queue_first(request)?;
        }
        self.stage = Stage::Asked(self.duplex.outgoing.len() - had);
        Ok(())
    }

    /// Queues what a server of an earlier kind takes for a line, since it ends as one, and refuses.
    fn queue_first(&mut self, request: Vec<u8>) -> Result<(), ClientError> {
        self.duplex
            .line
            .seal(&request, self.duplex.outgoing.tail())?;
        self.first = request;
        Ok(())
    }

    fn queue(&mut self, request: &CommandRequest<'_>) -> Result<(), ClientError> {
        let mut frame = Vec::new();
        request.encode(&mut frame);
        self.duplex.line.seal(&frame, self.duplex.outgoing.tail())
    }

    /// What came first is no frame.
    fn no_stream(&mut self, cause: WireError) -> Result<Option<StreamNews<'_>>, ClientError> {
        let unread = self.duplex.line.unread();
        match refusal_of_lines(unread) {
            Some((reason, Some(taken))) if reason == NUL_REFUSED => {
                self.duplex.line.consume(taken);
                self.stage = Stage::Idle;
                Ok(Some(StreamNews::OnlyLines))
            }
            Some((reason, _)) => {
                self.stage = Stage::Idle;
                let address = self.duplex.line.address().to_owned();
                Err(if reason == NUL_REFUSED {
                    ClientError::OnlyLines { address }
                } else {
                    ClientError::Refused { address, reason }
                })
            }
            // Of an answer in C4, the line behind the header has not come.
            None if is_header_of_lines(unread) && self.duplex.end.is_none() => Ok(None),
            None => Err(no_command_server(
                &self.duplex.line,
                &self.first,
                self.wire(cause),
            )),
        }
    }

    /// What to say of an end, now that all was heard that came before it.
    fn ended(&self, end: ClientError) -> ClientError {
        let progress = match self.stage {
            _ if !self.duplex.line.unread().is_empty() || !self.answers.is_whole() => {
                "in the middle of a frame"
            }
            Stage::Running => "before it said that the command had ended",
            Stage::Idle | Stage::Probing(_) | Stage::Asked(_) => "before it answered",
        };
        match end {
            ClientError::HungUp { address, .. } => ClientError::HungUp {
                address,
                progress: progress.to_owned(),
            },
            other => other,
        }
    }

    fn wire(&self, cause: WireError) -> ClientError {
        ClientError::Wire {
            address: self.duplex.line.address().to_owned(),
            cause,
        }
    }

    fn out_of_order(&self, step: &Step) -> ClientError {
        let when = match self.stage {
            Stage::Idle => "when nothing was asked",
            Stage::Probing(_) | Stage::Asked(_) => "before the command had started",
            Stage::Running => "when the command had started",
        };
        ClientError::Damaged {
            address: self.duplex.line.address().to_owned(),
            detail: format!("`{}` came {when}", step.name()),
        }
    }
}

impl AsFd for CommandStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.duplex.as_fd()
    }
}

/// An answer without what it borrows.
enum Step {
    Part,
    Started(u64),
    Output { is_error: bool },
    Credit(u64),
    StdinClosed,
    End(CommandEnd),
    Error(CommandError),
}

impl Step {
    fn of(answer: CommandAnswer<'_>) -> Step {
        match answer {
            CommandAnswer::Part => Step::Part,
            CommandAnswer::Started { id } => Step::Started(id),
            CommandAnswer::Stdout(_) => Step::Output { is_error: false },
            CommandAnswer::Stderr(_) => Step::Output { is_error: true },
            CommandAnswer::Credit(bytes) => Step::Credit(bytes),
            CommandAnswer::StdinClosed => Step::StdinClosed,
            CommandAnswer::End(end) => Step::End(end),
            CommandAnswer::Error(error) => Step::Error(error),
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Step::Part => "nothing",
            Step::Started(_) => "started",
            Step::Output { is_error: false } => "stdout",
            Step::Output { is_error: true } => "stderr",
            Step::Credit(_) => "credit",
            Step::StdinClosed => "stdin-closed",
            Step::End(_) => "end",
            Step::Error(_) => "error",
        }
    }
}

/// How a server of an earlier kind refuses a frame.
const NUL_REFUSED: &str = "the request contains a NUL byte";

/// Whether a command goes in the header, where JSON escapes what would end a line.
fn is_text(run: &RunCommand) -> bool {
    match &run.command {
        StreamedCommand::Line(line) => std::str::from_utf8(line).is_ok(),
        StreamedCommand::Program(arguments) => arguments
            .iter()
            .all(|argument| std::str::from_utf8(argument).is_ok()),
    }
}

/// Why a server did not run a line, said as it answers lines; and how long that was, if it was said in C4.
fn refusal_of_lines(unread: &[u8]) -> Option<(String, Option<usize>)> {
    if let Ok(Some((header, taken))) = JsonHeader::<CommandHeader>::new().decode(unread) {
        let end = taken.checked_add(usize::try_from(header.data_size).ok()?)?;
        return (unread.len() >= end).then_some((header.error?, Some(end)));
    }
    let said = match Length::new("output", OUTPUT_BYTES_MAX).decode(unread) {
        Ok(Some((len, taken))) => unread[taken..].get(..len).and_then(notice),
        _ => None,
    };
    Some((said.or_else(|| notice(unread))?, None))
}

/// Whether an answer in C4 begins so.
fn is_header_of_lines(unread: &[u8]) -> bool {
    matches!(
        JsonHeader::<CommandHeader>::new().decode(unread),
        Ok(Some((CommandHeader { error: Some(_), .. }, _)))
    )
}
