//! Remote commands: a line for the shell, and its output in one of the tutorials' four framings
//! (C1 to C4); or commands as streams (C5), on the same connection, if a request begins with a frame.
//!
//! Does not know processes, pipes or signals: it asks for a command and is told what becomes of
//! it. Nor does it know how many run: the loop, which runs them, says "busy". Time is what it is told.
//!
//! What the tutorials leave open, and what is done here:
//!
//! - A request that is an HTTP request line ends the connection, as in a chat: any web page can have
//!   one sent to a loopback port, with lines of its own behind it.
//! - A request that is not in the endpoint's encoding is refused, not guessed. Output that is not
//!   UTF-8 passes unchanged to a GBK client; a character that GBK lacks becomes `?`.
//! - C2: an acknowledgement is a line or what settles, as a request is, and a blank one is none: a
//!   newline that came late must not release an output. One that comes before the length counts.
//!   After a half-close no acknowledgement can come, so the length is all there is. A client that
//!   acknowledges nothing for 30 s is let go, since what it says after that could be taken for a
//!   request.
//! - The wall time of a command counts from its start, not from when it began to wait for others.
//!   The output of one that took too long is that one line; only C1 has told some of it before.
//! - C4: a command that a signal killed exits with 128 and the signal, as shells have it.
//! - C1 collects standard error (it comes last), and everything where standard error replaces
//!   standard output: `max-output` applies to what is collected.

mod answer;
mod encoding;
mod execution;
mod job;
mod options;
mod pace;
mod programs;
mod session;
#[cfg(test)]
mod stream_tests;
mod streaming;
mod tail;
mod terms;
#[cfg(test)]
mod tests;

use self::answer::Answer;
use self::execution::Execution;
use self::session::{Last, Phase, Session};
use self::terms::Terms;
use super::{Manner, OverStreams, Peer, Row, Service, Sessions, Settling};
use crate::buf::ReadBuf;
use crate::config::{Limits, Settle, Transport};
use crate::turn::{ChildEvent, Closed, Fault, Job, Severity, Turn};
use crate::wire::is_http_request;

pub use self::options::{CommandOutput, Options, Restart};
pub use self::tail::Tail;
pub use super::Encoding;
pub use crate::wire::CommandFraming;

/// Its row in the table.
pub const ROW: Row = Row {
    name: "command",
    summary: "runs command lines",
    usual: Transport::Tcp,
    stream: Some(&OverStreams {
        build: |options: &Options, setting| match &options.run {
            Some(line) => Box::new(Tail::new(line, options, setting.limits)),
            None => Box::new(Command::new(options, setting.limits)),
        },
    }),
    datagrams: None,
};

/// A shell for remote commands (C1 to C4): one after another per connection, in order.
///
/// ```
/// use onepoll::config::Limits;
/// use onepoll::turn::{ChildEvent, Exit, Output};
/// use onepoll::service::command::{CommandFraming, Options};
/// use onepoll::service::{Command, rehearsal::Stage};
///
/// let options = Options { framing: CommandFraming::I32, ..Options::default() };
/// let mut stage = Stage::new(Command::new(&options, &Limits::default()));
/// let client = stage.enters();
/// stage.says(client, b"echo hi\n");
/// assert_eq!(stage.job(client).unwrap().line, b"echo hi");
/// stage.cannot(client, ChildEvent::Started);
/// stage.writes(client, Output::Out, b"hi\n");
/// stage.exits(client, Exit::Code(0));
/// assert_eq!(stage.hears(client), b"\x03\0\0\0hi\n");
/// ```
#[derive(Debug)]
pub struct Command {
    terms: Terms,
    settling: Settling,
    sessions: Sessions<Session>,
}

impl Command {
    /// The service of an endpoint with these options; what they leave open, the limits say.
    pub fn new(options: &Options, limits: &Limits) -> Command {
        let terms = Terms::new(options, limits);
        Command {
            settling: Settling::new(terms.settle),
            sessions: Sessions::default(),
            terms,
        }
    }

    /// Takes requests until one runs or nothing whole is left.
    fn serve(&mut self, t: &mut Turn<'_>, input: &mut ReadBuf) -> Result<(), Fault> {
        let Command {
            terms,
            settling,
            sessions,
        } = self;
        let Some(session) = sessions.get_mut(t.id) else {
            return Ok(());
        };
        while !t.is_leaving() {
            match &session.phase {
                Phase::Running(_) => break,
                Phase::Listening => match session.frame(settling, t, input)? {
                    None => break,
                    Some(b"") => {}
                    // What comes after it would be run: the headers, and a body that somebody wrote.
                    Some(request) if is_http_request(request) => {
                        return Err(Fault::Refused("an HTTP request instead of a command"));
                    }
                    Some(request) => match job(terms, request) {
                        Ok(job) => {
                            session.phase = Phase::Running(Box::new(Execution::new(terms)));
                            t.hold();
                            // Until it has begun, which may be long.
                            t.keeps(job.line.capacity());
                            t.spawn(job);
                        }
                        Err(reason) => session.answer(terms, t, Answer::refusal(reason)),
                    },
                },
                Phase::Parked(_) => {
                    let acknowledged = session.acknowledged(terms, settling, t, input)?;
                    let Phase::Parked(parked) = &mut session.phase else {
                        break;
                    };
                    let Some(is_due) = acknowledged else {
                        // What is unread has a wake of its own, if silence completes it.
                        parked.begun = !input.is_empty() && terms.settle != Settle::Never;
                        if !parked.begun {
                            t.wake_at(parked.until);
                        }
                        break;
                    };
                    if is_due {
                        t.reply(&parked.output[..]);
                    }
                    session.next(t);
                }
            }
        }
        Ok(())
    }
}

impl Service for Command {
    fn open(&mut self, t: &mut Turn<'_>, _peer: &Peer) {
        self.sessions.insert(t.id, Session::new(&self.terms));
    }

    fn input(&mut self, t: &mut Turn<'_>, input: &mut ReadBuf) -> Result<(), Fault> {
        let Command {
            terms,
            settling,
            sessions,
        } = self;
        if let Some(session) = sessions.get_mut(t.id) {
            if session.streaming.is_none() && session.reads_lines(settling, terms.settle, t, input)
            {
                session.telnet.filter(t, input);
            } else if let Some(streaming) = &mut session.streaming {
                let outcome = streaming.input(terms, t, input);
                return outcome.inspect_err(|fault| streaming.refuse(t, fault));
            } else {
                return Ok(());
            }
        }
        let outcome = self.serve(t, input);
        if let Some(session) = self.sessions.get_mut(t.id) {
            session.telnet.leave(input);
        }
        outcome.inspect_err(|fault| {
            let mut words = Vec::new();
            self.refusal(&fault.to_string(), &mut words);
            t.reply(&words[..]);
        })
    }

    fn drained(&mut self, t: &mut Turn<'_>) {
        if let Some(session) = self.sessions.get_mut(t.id)
            && let Some(streaming) = &mut session.streaming
        {
            streaming.drained(&self.terms, t);
        }
    }

    fn wake(&mut self, t: &mut Turn<'_>) {
        let Some(session) = self.sessions.get_mut(t.id) else {
            return;
        };
        if let Some(streaming) = &mut session.streaming {
            return streaming.wake(t);
        }
        match &mut session.phase {
            Phase::Running(run) => run.wake(t),
            Phase::Parked(parked) if !parked.begun && parked.until <= t.now => {
                session.phase = Phase::Listening;
                t.keeps(0);
                t.close_lingering();
            }
            Phase::Parked(_) | Phase::Listening => self.settling.wake(t),
        }
    }

    fn child(&mut self, t: &mut Turn<'_>, event: ChildEvent<'_>) {
        let Command {
            terms, sessions, ..
        } = self;
        let Some(session) = sessions.get_mut(t.id) else {
            return;
        };
        if let Some(streaming) = &mut session.streaming {
            return streaming.child(terms, t, event);
        }
        let Phase::Running(run) = &mut session.phase else {
            return;
        };
        let answer = match event {
            ChildEvent::Started => {
                t.keeps(0);
                return run.started(terms, t);
            }
            ChildEvent::Wrote(which, bytes) => {
                run.wrote(terms, t, which, bytes);
                return t.keeps(run.collected_capacity());
            }
            // Lines have no input, and their answers have no place for it.
            ChildEvent::Took(_) | ChildEvent::InputClosed | ChildEvent::Used(_) => return,
            ChildEvent::Ended(exit) => run.ended(terms, exit),
            ChildEvent::Busy => Answer::refusal("busy: as many commands run and wait as may"),
            ChildEvent::Failed(error) => Answer::refusal(&format!("cannot start: {error}")),
        };
        session.answer(terms, t, answer);
    }

    fn eof(&mut self, t: &mut Turn<'_>, rest: &mut ReadBuf) -> Result<(), Fault> {
        if let Some(session) = self.sessions.get_mut(t.id) {
            session.last = Last::Ended;
            if let Some(streaming) = &mut session.streaming {
                let outcome = streaming.eof(t, rest);
                return outcome.inspect_err(|fault| streaming.refuse(t, fault));
            }
        }
        self.input(t, rest)?;
        // What runs is still answered. An output that was not acknowledged never will be.
        if !t.is_held() {
            t.close();
        }
        Ok(())
    }

    fn closed(&mut self, t: &mut Turn<'_>, _why: &Closed) {
        self.settling.forget(t.id);
        self.sessions.remove(t.id);
    }

    fn stopping(&mut self, t: &mut Turn<'_>) {
        let Some(session) = self.sessions.get_mut(t.id) else {
            return t.close_lingering();
        };
        if let Some(streaming) = &mut session.streaming {
            return streaming.stopping(&self.terms, t);
        }
        if session.last == Last::No {
            session.last = Last::Stopping;
        }
        match &session.phase {
            Phase::Listening => t.close_lingering(),
            Phase::Running(run) if run.waits() => {
                t.kill(Severity::Force);
                let answer = Answer::refusal("the server is stopping");
                session.answer(&self.terms, t, answer);
            }
            Phase::Running(_) | Phase::Parked(_) => {}
        }
    }

    fn manner(&self) -> Manner {
        Manner {
            // Command lines have passwords in them, and their output has more.
            is_private: true,
            ..Manner::ANSWERS
        }
    }

    fn refusal(&self, reason: &str, out: &mut Vec<u8>) {
        Answer::last_words(reason, self.terms.framing, out);
    }
}

/// The job that a request asks for, or why it is refused.
fn job(terms: &Terms, request: &[u8]) -> Result<Job, &'static str> {
    let line = encoding::decode(terms.encoding, request).ok_or("the request is not GBK")?;
    // An argument ends at a NUL: the shell would be given another line than was sent.
    if line.contains(&0) {
        return Err("the request contains a NUL byte");
    }
    job::of_line(terms, line.into_owned())
}
