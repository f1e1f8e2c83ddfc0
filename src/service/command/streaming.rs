use std::io;
use std::mem::take;
use std::time::Duration;

use super::job;
use super::pace::Pace;
use super::terms::Terms;
use crate::buf::ReadBuf;
use crate::config::limits::COMMAND_INPUT_BYTES_MAX;
use crate::turn::{ChildEvent, Exit, Fault, Moment, Output, Severity, Turn, Usage};
use crate::wire::{
    CommandAnswer, CommandEnd, CommandError, CommandErrorKind, CommandRequest, CommandRequests,
    CommandSignal, LINE_BYTES_MAX, OutputChunk, RunCommand, STDIN_CREDIT_BYTES, StreamedCommand,
    WhyEnded, WireError,
};

/// How much of what comes behind a `run` that waits for another is taken. More is left where it is.
const BEHIND_BYTES_MAX: usize = LINE_BYTES_MAX;

/// A connection that speaks C5: one command after another, each at its own [`Pace`].
#[derive(Debug, Default)]
pub(super) struct Streaming {
    requests: CommandRequests,
    /// The command in progress.
    run: Option<Run>,
    /// A command that is to be run after it.
    next: Option<Box<RunCommand>>,
    /// The memory of that, in bytes.
    next_bytes: usize,
    /// What came behind that.
    behind: ReadBuf,
    /// No other command is run: the server is stopping.
    is_last: bool,
    /// The client ended its input, or is refused: nothing more is said to it.
    is_gone: bool,
}

/// One command, from its request to its end.
#[derive(Debug)]
struct Run {
    id: u64,
    pace: Pace,
    /// The memory of what is to be run while it waits, in bytes.
    waiting_bytes: usize,
    began: Moment,
    /// It may run until so long after it began.
    time: Option<Duration>,
    /// Why we end it, when we do.
    why: Option<WhyEnded>,
    input: Input,
    out: u64,
    err: u64,
    usage: Usage,
}

/// The standard input of a command: what the client may send, has sent, and what of it was taken.
#[derive(Debug, Default)]
struct Input {
    stage: Stage,
    granted: u64,
    sent: u64,
    taken: u64,
    /// What came before the command began.
    early: Vec<u8>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Stage {
    /// There is none, and none may be sent.
    #[default]
    None,
    /// It comes.
    Open,
    /// The client has ended it.
    Ended,
    /// The command has closed it: what still comes is dropped.
    Closed,
}

impl Streaming {
    /// Bytes have come.
    pub(super) fn input(
        &mut self,
        terms: &Terms,
        t: &mut Turn<'_>,
        input: &mut ReadBuf,
    ) -> Result<(), Fault> {
        if self.behind.is_empty() && self.next.is_none() {
            self.serve(terms, t, input)?;
        }
        if !self.behind.is_empty() || self.next.is_some() {
            self.behind.push(input.unread());
            input.consume(input.len());
            self.go_on(terms, t)?;
        }
        self.keep(t);
        Ok(())
    }

    /// The client is gone: its command must not go on.
    pub(super) fn eof(&mut self, t: &mut Turn<'_>, rest: &ReadBuf) -> Result<(), Fault> {
        self.is_gone = true;
        t.kill(Severity::Force);
        let have = rest.len() + self.behind.len();
        if have > 0 || !self.requests.is_whole() {
            return Err(Fault::Wire(WireError::Truncated { have }));
        }
        t.close();
        Ok(())
    }

    /// News of its command.
    pub(super) fn child(&mut self, terms: &Terms, t: &mut Turn<'_>, event: ChildEvent<'_>) {
        let Some(run) = self.run.as_mut().filter(|_| !self.is_gone) else {
            return;
        };
        match event {
            ChildEvent::Started => run.started(terms, t),
            ChildEvent::Wrote(which, bytes) => run.wrote(t, which, bytes),
            ChildEvent::Took(bytes) => run.took(terms, t, bytes),
            ChildEvent::InputClosed => run.input_closed(t),
            ChildEvent::Used(usage) => run.usage = usage,
            ChildEvent::Ended(exit) => {
                let end = run.end(exit, t.now);
                self.answer(terms, t, &CommandAnswer::End(end));
            }
            ChildEvent::Busy => {
                let reason = "as many commands run and wait as may";
                self.fail(terms, t, CommandErrorKind::Busy, None, reason);
            }
            ChildEvent::Failed(error) => self.cannot_start(terms, t, &error),
        }
        self.keep(t);
    }

    /// A moment that was asked for has come.
    pub(super) fn wake(&mut self, t: &mut Turn<'_>) {
        if let Some(run) = &mut self.run
            && run.pace.wake(t)
        {
            run.why = run.why.or(Some(WhyEnded::Timeout));
        }
    }

    /// What it was owed has left.
    pub(super) fn drained(&mut self, terms: &Terms, t: &mut Turn<'_>) {
        if let Some(run) = &mut self.run {
            run.grant(terms, t);
        }
    }

    /// The server is stopping: the command in progress may end.
    pub(super) fn stopping(&mut self, terms: &Terms, t: &mut Turn<'_>) {
        self.is_last = true;
        match &self.run {
            None => t.close_lingering(),
            Some(run) if run.pace == Pace::Waiting => {
                t.kill(Severity::Force);
                self.stop(terms, t);
            }
            Some(_) => {}
        }
    }

    /// Says why the connection ends, and nothing after that; its command ends too.
    pub(super) fn refuse(&mut self, t: &mut Turn<'_>, fault: &Fault) {
        self.is_gone = true;
        t.kill(Severity::Force);
        t.wake_at(Moment::NEVER);
        t.reply(&CommandAnswer::Error(CommandError {
            kind: CommandErrorKind::Protocol,
            errno: None,
            message: fault.to_string(),
        }));
    }

    fn stop(&mut self, terms: &Terms, t: &mut Turn<'_>) {
        let kind = CommandErrorKind::Stopping;
        self.fail(terms, t, kind, None, "the server is stopping");
    }

    fn cannot_start(&mut self, terms: &Terms, t: &mut Turn<'_>, error: &io::Error) {
        let reason = format!("cannot start: {error}");
        let kind = CommandErrorKind::CannotStart;
        self.fail(terms, t, kind, errno_of(error), &reason);
    }

    /// Takes requests until nothing whole is left, or one has to wait.
    fn serve(&mut self, terms: &Terms, t: &mut Turn<'_>, input: &mut ReadBuf) -> Result<(), Fault> {
        while self.next.is_none() && !t.is_leaving() {
            let Some(request) = input.next(&mut self.requests)? else {
                break;
            };
            match request {
                CommandRequest::Part => {}
                CommandRequest::Run(run) if self.run.is_none() => self.run(terms, t, &run),
                CommandRequest::Run(run) => {
                    self.next_bytes = bytes_of(&run.command);
                    self.next = Some(run);
                }
                // Too late for the command before, and too early for the next.
                _ if self.run.is_none() => {}
                CommandRequest::Stdin(bytes) => self.stdin(t, bytes)?,
                CommandRequest::StdinEnd => self.end_stdin(t),
                CommandRequest::Signal(signal) => self.signal(terms, t, signal),
                CommandRequest::Cancel => self.cancel(terms, t),
            }
        }
        Ok(())
    }

    /// Takes what came behind a command that had to wait.
    fn go_on(&mut self, terms: &Terms, t: &mut Turn<'_>) -> Result<(), Fault> {
        let mut behind = take(&mut self.behind);
        let outcome = self.serve(terms, t, &mut behind);
        if !behind.is_empty() {
            self.behind = behind;
        }
        if self.next.is_some() && self.behind.len() > BEHIND_BYTES_MAX {
            t.hold();
        } else if t.is_held() {
            t.resume();
        }
        outcome
    }

    fn run(&mut self, terms: &Terms, t: &mut Turn<'_>, asked: &RunCommand) {
        if self.is_last {
            return self.stop(terms, t);
        }
        match job::of(terms, asked) {
            Ok(job) => {
                let time = asked.timeout.into_iter().chain(terms.stream_timeout).min();
                let id = t.spawn(job);
                let mut run = Run::new(id, time, asked.has_input);
                // As it is, and as a person would type it.
                run.waiting_bytes = 2 * bytes_of(&asked.command);
                self.run = Some(run);
                t.listen_always(true);
            }
            Err(reason) => self.fail(terms, t, CommandErrorKind::Refused, None, &reason),
        }
    }

    fn stdin(&mut self, t: &mut Turn<'_>, bytes: &[u8]) -> Result<(), Fault> {
        let Some(run) = &mut self.run else {
            return Ok(());
        };
        let input = &mut run.input;
        input.sent += bytes.len() as u64;
        match input.stage {
            Stage::None => return Err(Fault::Refused("standard input for a command without")),
            Stage::Ended => return Err(Fault::Refused("standard input after its end")),
            _ if input.sent > input.granted => {
                return Err(Fault::Refused("more standard input than was granted"));
            }
            Stage::Closed => {}
            Stage::Open if run.pace == Pace::Waiting => input.early.extend_from_slice(bytes),
            Stage::Open => t.feed(bytes.to_vec()),
        }
        Ok(())
    }

    fn end_stdin(&mut self, t: &mut Turn<'_>) {
        if let Some(run) = &mut self.run
            && run.input.stage == Stage::Open
        {
            run.input.stage = Stage::Ended;
            if run.pace != Pace::Waiting {
                t.end_feed();
            }
        }
    }

    fn signal(&mut self, terms: &Terms, t: &mut Turn<'_>, signal: CommandSignal) {
        match &self.run {
            // All of them end a process that has not said what to do about them.
            Some(run) if run.pace == Pace::Waiting => self.cancel(terms, t),
            _ => t.signal(signal),
        }
    }

    fn cancel(&mut self, terms: &Terms, t: &mut Turn<'_>) {
        let Some(run) = &mut self.run else {
            return;
        };
        match run.pace {
            Pace::Waiting => {
                t.kill(Severity::Force);
                let reason = "ended by the client before it began";
                self.fail(terms, t, CommandErrorKind::Cancelled, None, reason);
            }
            Pace::Running(_) => {
                run.why = run.why.or(Some(WhyEnded::Cancel));
                run.pace.ask(t);
            }
            Pace::Asked(_) => run.pace.force(t),
            Pace::Forced => {}
        }
    }

    fn fail(
        &mut self,
        terms: &Terms,
        t: &mut Turn<'_>,
        kind: CommandErrorKind,
        errno: Option<i32>,
        reason: &str,
    ) {
        let error = CommandError {
            kind,
            errno,
            message: reason.to_owned(),
        };
        self.answer(terms, t, &CommandAnswer::Error(error));
    }

    /// Says the last there is to say of a command, and goes on with the next.
    fn answer(&mut self, terms: &Terms, t: &mut Turn<'_>, last: &CommandAnswer<'_>) {
        t.reply(last);
        self.run = None;
        t.wake_at(Moment::NEVER);
        t.listen_always(false);
        if let Some(next) = self.next.take() {
            self.run(terms, t, &next);
            if let Err(fault) = self.go_on(terms, t) {
                self.refuse(t, &fault);
                t.close_lingering();
            }
        } else if self.is_last {
            t.close_lingering();
        }
    }

    /// Says how much memory it has.
    fn keep(&self, t: &mut Turn<'_>) {
        let run = self
            .run
            .as_ref()
            .map_or(0, |run| run.waiting_bytes + run.input.queued());
        let next = self.next.as_ref().map_or(0, |_| self.next_bytes);
        t.keeps(run + next + self.behind.capacity() + self.requests.capacity());
    }
}

/// The memory of a command, in bytes.
fn bytes_of(command: &StreamedCommand) -> usize {
    match command {
        StreamedCommand::Line(line) => line.len(),
        StreamedCommand::Program(arguments) => arguments
            .iter()
            .map(|argument| size_of::<Vec<u8>>() + argument.len())
            .sum(),
    }
}

impl Input {
    /// How much of it waits for the command, in bytes.
    fn queued(&self) -> usize {
        match self.stage {
            // What came was dropped.
            Stage::Closed => 0,
            _ => usize::try_from(self.sent - self.taken).unwrap_or(usize::MAX),
        }
    }
}

impl Run {
    fn new(id: u64, time: Option<Duration>, has_input: bool) -> Run {
        let input = Input {
            stage: if has_input { Stage::Open } else { Stage::None },
            granted: STDIN_CREDIT_BYTES,
            ..Input::default()
        };
        Run {
            id,
            pace: Pace::Waiting,
            waiting_bytes: 0,
            began: Moment::START,
            time,
            why: None,
            input,
            out: 0,
            err: 0,
            usage: Usage::default(),
        }
    }

    fn started(&mut self, terms: &Terms, t: &mut Turn<'_>) {
        t.reply(&CommandAnswer::Started { id: self.id });
        self.began = t.now;
        self.waiting_bytes = 0;
        let until = self.time.map_or(Moment::NEVER, |time| t.now.after(time));
        self.pace.begin(t, until);
        if !self.input.early.is_empty() {
            t.feed(take(&mut self.input.early));
        }
        if self.input.stage == Stage::Ended {
            t.end_feed();
        }
        self.grant(terms, t);
    }

    fn wrote(&mut self, t: &mut Turn<'_>, which: Output, bytes: &[u8]) {
        let is_error = which == Output::Err;
        let count = if is_error {
            &mut self.err
        } else {
            &mut self.out
        };
        *count += bytes.len() as u64;
        t.reply(&OutputChunk { is_error, bytes });
    }

    fn took(&mut self, terms: &Terms, t: &mut Turn<'_>, bytes: usize) {
        self.input.taken += bytes as u64;
        self.grant(terms, t);
    }

    fn input_closed(&mut self, t: &mut Turn<'_>) {
        if self.input.stage == Stage::Open {
            t.reply(&CommandAnswer::StdinClosed);
        }
        self.input.stage = Stage::Closed;
    }

    /// Lets the client send more, if there is room for much. A client that does not read what it is sent is not
    /// sent this either: it is told when that has left.
    fn grant(&mut self, terms: &Terms, t: &mut Turn<'_>) {
        let input = &mut self.input;
        let room = (input.taken + COMMAND_INPUT_BYTES_MAX).saturating_sub(input.granted);
        let is_worth_it = room >= COMMAND_INPUT_BYTES_MAX / 4;
        if input.stage == Stage::Open && is_worth_it && t.owed() < terms.out_pause {
            input.granted += room;
            t.reply(&CommandAnswer::Credit(room));
        }
    }

    fn end(&self, exit: Exit, now: Moment) -> CommandEnd {
        let (exit, signal) = match exit {
            Exit::Code(code) => (Some(code), None),
            Exit::Signal(signal) => (None, Some(signal)),
        };
        CommandEnd {
            exit,
            signal,
            why: self.why,
            is_cut: self.usage.is_cut,
            wall: now.since(self.began),
            user: self.usage.user,
            system: self.usage.system,
            peak: self.usage.peak,
            stdin: self.input.taken,
            stdout: self.out,
            stderr: self.err,
        }
    }
}

/// The number of the system's error, also where something was said of where it happened.
fn errno_of(error: &io::Error) -> Option<i32> {
    let beneath = || error.get_ref()?.source()?.downcast_ref::<io::Error>();
    let of_system = |error: &io::Error| error.raw_os_error();
    of_system(error).or_else(|| beneath().and_then(of_system))
}
