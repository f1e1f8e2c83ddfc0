//! Commands whose output has no frame (C1).
//!
//! Knows lines, silence, and the end of a connection. Does not know where an output ends, since nothing says it:
//! that no more came for a while is a guess, and only the end of the connection is certain.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::ClientError;
use super::connection::{ClientConnection, Received};
use super::deadline::RequestDeadline;
use super::exec::{Exec, request_of};
use crate::buf::WriteBuf;

/// A connection to a server that sends what commands write and nothing else (C1).
///
/// Reads while it sends, so a server that waits for its output to be read is not waited for.
#[derive(Debug)]
pub struct RawExec {
    line: ClientConnection,
    socket: Arc<OwnedFd>,
    outgoing: WriteBuf,
    input: AskedInput,
    deadline: Option<RequestDeadline>,
    /// Sending failed: to be said when what had come was handed on.
    failure: Option<ClientError>,
}

/// What a server of [`RawExec`] has to say.
#[derive(Debug, PartialEq, Eq)]
pub enum RawNews {
    /// This was written by a command.
    Output(Vec<u8>),
    /// Nothing for as long as was waited, and all that was asked has left.
    Silence,
    /// The connection has ended, and nothing more was to be asked.
    End,
}

/// Whether more is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AskedInput {
    Open,
    /// No, which the server is told when the rest has left.
    Ending,
    Ended,
}

impl RawExec {
    /// Goes on with a connection on which nothing was run yet.
    ///
    /// # Errors
    ///
    /// [`ClientError::Request`] if that connection was given up.
    pub fn new(exec: Exec) -> Result<RawExec, ClientError> {
        let Some(line) = exec.into_line() else {
            return Err(ClientError::Request(
                "the connection was given up in the middle of an answer",
            ));
        };
        let socket = line.descriptor()?;
        Ok(RawExec {
            line,
            socket,
            outgoing: WriteBuf::default(),
            input: AskedInput::Open,
            deadline: None,
            failure: None,
        })
    }

    /// Asks for a command; `patience` is how long all may take from now on.
    ///
    /// # Errors
    ///
    /// [`ClientError::Request`] for what is no line, or an empty one.
    pub fn ask(&mut self, command: &str, patience: Option<Duration>) -> Result<(), ClientError> {
        let request = request_of(command)?;
        self.deadline = patience.map(RequestDeadline::after);
        self.line.seal(request.as_bytes(), self.outgoing.tail())
    }

    /// Asks for nothing more: the server closes when all is answered.
    pub fn end_input(&mut self) {
        if self.input == AskedInput::Open {
            self.line.seal_end(self.outgoing.tail());
            self.input = AskedInput::Ending;
        }
    }

    /// Waits for the next that comes, at most for `silence`; without one, until the connection ends.
    ///
    /// # Errors
    ///
    /// The deadline has passed, or the connection has ended before [its input](RawExec::end_input) had, or broken.
    pub fn next(&mut self, silence: Option<Duration>) -> Result<RawNews, ClientError> {
        loop {
            match self.line.receive_at_once()? {
                Received::Something => {
                    // What TLS has to say by itself, such as a new key.
                    self.line.seal(b"", self.outgoing.tail())?;
                    let output = self.line.take(self.line.unread().len());
                    if !output.is_empty() {
                        return Ok(RawNews::Output(output));
                    }
                    continue;
                }
                Received::End if self.input != AskedInput::Open => return Ok(RawNews::End),
                Received::End => {
                    return Err(ClientError::HungUp {
                        address: self.line.address().to_owned(),
                        progress: "it may not have run all that it was asked".to_owned(),
                    });
                }
                Received::Nothing => {}
            }
            if let Some(failure) = self.failure.take() {
                return Err(failure);
            }
            if !self.wait(silence)? {
                return Ok(RawNews::Silence);
            }
        }
    }

    /// Sends what there is room for, and waits until there is more room, or something has come; `false`: nothing
    /// came for as long as that.
    fn wait(&mut self, silence: Option<Duration>) -> Result<bool, ClientError> {
        if let Err(error) = self.send() {
            // The server may have said why: all that came is heard first.
            self.failure = Some(error);
            return Ok(true);
        }
        let is_sent = self.outgoing.is_empty();
        let left = match self.deadline.map(|deadline| (deadline, deadline.left())) {
            Some((deadline, None)) => {
                return Err(ClientError::Timeout {
                    address: self.line.address().to_owned(),
                    after: deadline.given(),
                    progress: "its connection is open, so there may be more".to_owned(),
                });
            }
            deadline => deadline.and_then(|(_, left)| left),
        };
        let silence = silence.filter(|_| is_sent);
        let wait = [silence, left].into_iter().flatten().min();
        let mut flags = PollFlags::IN;
        flags.set(PollFlags::OUT, !is_sent);
        let wait = wait.and_then(|wait| Timespec::try_from(wait).ok());
        match poll(&mut [PollFd::new(&self.socket, flags)], wait.as_ref()) {
            Ok(0) => Ok(silence.is_none_or(|silence| left.is_some_and(|left| left < silence))),
            Ok(_) | Err(Errno::INTR) => Ok(true),
            Err(errno) => Err(ClientError::Broken {
                address: self.line.address().to_owned(),
                cause: io::Error::from(errno),
            }),
        }
    }

    fn send(&mut self) -> Result<(), ClientError> {
        while !self.outgoing.is_empty() {
            if self.line.send_queued(&mut self.outgoing)? == 0 {
                return Ok(());
            }
        }
        if self.input == AskedInput::Ending {
            self.input = AskedInput::Ended;
            self.line.end_sending()?;
        }
        Ok(())
    }
}
