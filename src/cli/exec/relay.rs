//! The loop of a command in progress: standard input to the server, both outputs from it, signals.
//!
//! poll(2), and not epoll as the server has it: there are five descriptors, a file or `/dev/null` as standard input
//! is none that epoll takes, and here it is always ready. Nothing in the loop waits but the poll, and it asks only
//! for what can be dealt with, so an output without room stops the reading, and the server slows the command down.

use std::io;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::stdio::{stderr, stdout};

use super::input::{Input, Taken};
use super::output::{Output, Unwritable};
use super::signals::Signals;
use crate::cli::complain;
use crate::client::{ClientError, CommandStream, StreamNews};
use crate::wire::{CommandAnswer, CommandEnd, CommandError, CommandErrorKind, CommandSignal};

/// How many answers are dealt with before signals and standard input have their turn.
const ANSWERS_PER_TURN: usize = 64;

/// How a command came to its end here.
#[derive(Debug)]
pub(super) enum Ending {
    /// It has ended, and all that it wrote was written.
    Ended(CommandEnd),
    /// It did not run.
    NotRun(CommandError),
    /// Nothing was run: the server speaks no C5.
    OnlyLines,
    /// Somebody wants to wait no longer.
    Interrupted(CommandSignal),
    /// Its output is read by nobody.
    ReaderGone,
    /// No more time is left, and the server has not said so.
    OutOfTime,
}

/// Why it did not.
#[derive(Debug)]
pub(super) enum RelayError {
    Client(ClientError),
    /// Standard output or standard error, by name.
    Output(&'static str, io::Error),
    Poll(io::Error),
}

impl From<ClientError> for RelayError {
    fn from(error: ClientError) -> RelayError {
        RelayError::Client(error)
    }
}

/// What happens between a command that was asked for and our standard streams.
#[derive(Debug)]
pub(super) struct Relay<'s> {
    stream: &'s mut CommandStream,
    signals: &'s mut Signals,
    /// None: the command was asked for without.
    input: Option<Input>,
    out: Output,
    err: Output,
    /// SIGINT was passed on.
    was_interrupted: bool,
    /// The last signal that was.
    passed: Option<CommandSignal>,
    /// The last that the server said of the command; what it wrote before may not all have been written.
    ending: Option<Ending>,
}

/// What a descriptor is ready for, as the last poll said.
#[derive(Debug, Default)]
struct Ready {
    input: bool,
    signals: bool,
    socket: bool,
}

impl<'s> Relay<'s> {
    pub(super) fn new(
        stream: &'s mut CommandStream,
        signals: &'s mut Signals,
        has_input: bool,
        is_raw: bool,
    ) -> Relay<'s> {
        Relay {
            stream,
            signals,
            input: has_input.then(Input::new),
            out: Output::new(stdout(), is_raw),
            err: Output::new(stderr(), is_raw),
            was_interrupted: false,
            passed: None,
            ending: None,
        }
    }

    /// Goes on until the command has come to an end.
    pub(super) fn run(mut self) -> Result<Ending, RelayError> {
        let mut ready = Ready::default();
        loop {
            if ready.signals
                && let Some(signal) = self.pass_signals()?
            {
                return Ok(Ending::Interrupted(signal));
            }
            if ready.input {
                self.read_input()?;
            }
            let may_have_more = match self.pass_output(ready.socket) {
                Ok(may_have_more) => may_have_more,
                Err(Stop::ReaderGone) => return Ok(Ending::ReaderGone),
                Err(Stop::Error(error)) => return Err(error),
            };
            self.stream.send();
            if !self.is_full()
                && let Some(ending) = self.ending.take()
            {
                return Ok(ending);
            }
            let time_left = self.stream.time_left();
            if time_left.is_some_and(|left| left.is_zero()) {
                return Ok(Ending::OutOfTime);
            }
            let wait = time_left.and_then(|left| Timespec::try_from(left).ok());
            let at_once = Timespec::default();
            let wait = if may_have_more {
                Some(&at_once)
            } else {
                wait.as_ref()
            };
            ready = self.poll(wait).map_err(RelayError::Poll)?;
        }
    }

    /// Waits for what can be dealt with.
    fn poll(&self, wait: Option<&Timespec>) -> io::Result<Ready> {
        // What nothing is asked of is left out: that it has broken would be said again and again.
        let mut asked = vec![PollFd::new(self.signals, PollFlags::IN)];
        let room = self.stream.input_room();
        let input = self.input.as_ref().filter(|input| input.is_open());
        if let Some(input) = input.filter(|_| room > 0) {
            asked.push(PollFd::new(input, PollFlags::IN));
        }
        let inputs = asked.len();
        let mut flags = PollFlags::empty();
        flags.set(PollFlags::IN, !self.is_full() && self.ending.is_none());
        flags.set(PollFlags::OUT, self.stream.wants_to_send());
        if !flags.is_empty() {
            asked.push(PollFd::new(&*self.stream, flags));
        }
        let sockets = asked.len();
        for output in [&self.out, &self.err] {
            if output.is_full() {
                asked.push(PollFd::new(output, PollFlags::OUT));
            }
        }
        match poll(&mut asked, wait) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let is_ready = |asked: &PollFd<'_>| !asked.revents().is_empty();
        Ok(Ready {
            signals: is_ready(&asked[0]),
            input: asked[1..inputs].iter().any(is_ready),
            socket: asked[inputs..sockets].iter().any(is_ready),
        })
    }

    /// Whether an output has to be read before more of either is dealt with: what was written first comes first.
    fn is_full(&self) -> bool {
        self.out.is_full() || self.err.is_full()
    }

    /// Passes signals on; returns one that ends us instead.
    fn pass_signals(&mut self) -> Result<Option<CommandSignal>, ClientError> {
        for signal in self.signals.came() {
            let is_second = signal == CommandSignal::Int && self.was_interrupted;
            self.was_interrupted |= signal == CommandSignal::Int;
            if is_second || !self.stream.signal(signal)? {
                return Ok(Some(signal));
            }
            self.passed = Some(signal);
        }
        Ok(None)
    }

    fn read_input(&mut self) -> Result<(), ClientError> {
        let room = self.stream.input_room();
        let Some(input) = self.input.as_mut().filter(|_| room > 0) else {
            return Ok(());
        };
        match input.read(room) {
            Ok(Taken::Bytes(bytes)) => self.stream.give_input(bytes),
            Ok(Taken::Nothing) => Ok(()),
            Ok(Taken::End) => self.stream.end_input(),
            Err(error) => {
                complain(format_args!("standard input cannot be read: {error}"));
                self.stream.end_input()
            }
        }
    }

    /// Writes what came for as long as there is room; says whether there may be more without waiting.
    fn pass_output(&mut self, mut may_receive: bool) -> Result<bool, Stop> {
        self.out
            .flush()
            .map_err(|wrong| Stop::of("output", wrong))?;
        self.err.flush().map_err(|wrong| Stop::of("error", wrong))?;
        for _ in 0..ANSWERS_PER_TURN {
            if self.is_full() || self.ending.is_some() {
                return Ok(false);
            }
            if self.deal_with_next()? {
                continue;
            }
            if !may_receive {
                return Ok(false);
            }
            may_receive = self.stream.receive();
        }
        Ok(true)
    }

    /// Deals with the next of what came; `false`: there is nothing.
    fn deal_with_next(&mut self) -> Result<bool, Stop> {
        let news = self.stream.next().map_err(RelayError::Client)?;
        let answer = match news {
            None => return Ok(false),
            Some(StreamNews::OnlyLines) => {
                self.ending = Some(Ending::OnlyLines);
                return Ok(true);
            }
            Some(StreamNews::Answer(answer)) => answer,
        };
        match answer {
            CommandAnswer::Stdout(bytes) => {
                let given = self.out.give(bytes);
                given.map_err(|wrong| Stop::of("output", wrong))?;
            }
            CommandAnswer::Stderr(bytes) => {
                let given = self.err.give(bytes);
                given.map_err(|wrong| Stop::of("error", wrong))?;
            }
            CommandAnswer::StdinClosed => {
                if let Some(input) = &mut self.input {
                    input.close();
                }
            }
            CommandAnswer::End(end) => {
                let finished = self.out.finish();
                finished.map_err(|wrong| Stop::of("output", wrong))?;
                let finished = self.err.finish();
                finished.map_err(|wrong| Stop::of("error", wrong))?;
                self.ending = Some(Ending::Ended(end));
            }
            CommandAnswer::Error(error) => {
                self.ending = Some(match (error.kind, self.passed) {
                    (CommandErrorKind::Cancelled, Some(signal)) => Ending::Interrupted(signal),
                    _ => Ending::NotRun(error),
                });
            }
            CommandAnswer::Started { .. } | CommandAnswer::Credit(_) | CommandAnswer::Part => {}
        }
        Ok(true)
    }
}

/// Why no more output is passed on.
enum Stop {
    ReaderGone,
    Error(RelayError),
}

impl Stop {
    fn of(stream: &'static str, wrong: Unwritable) -> Stop {
        match wrong {
            Unwritable::ReaderGone => Stop::ReaderGone,
            Unwritable::Failed(error) => Stop::Error(RelayError::Output(stream, error)),
        }
    }
}

impl From<RelayError> for Stop {
    fn from(error: RelayError) -> Stop {
        Stop::Error(error)
    }
}
