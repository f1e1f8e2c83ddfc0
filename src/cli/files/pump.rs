//! The loop between a file server and what is sent or fetched.
//!
//! poll(2), as in `exec`: there are three descriptors. It reads whenever something can be dealt with, also while it
//! has bytes to send, so a server whose answers must be read before it takes more is never waited for in vain.

use std::io;
use std::os::fd::BorrowedFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::server::Server;
use crate::cli::exec::signals::{Signals, number};
use crate::cli::{Failure, SIGNALLED};
use crate::client::{ClientError, FileDialogue, FileNews, FileStream};

/// How much may wait for the socket.
const QUEUED_BYTES_MAX: usize = 256 * 1024;

/// How many reads are dealt with before signals have their turn.
const READS_PER_TURN: usize = 16;

/// What is done on a connection.
pub(super) trait Transfer {
    /// Deals with what the server says.
    fn hear(&mut self, news: FileNews<'_>) -> Result<(), Stop>;

    /// Asks and gives, about `room` bytes, and does a part of what it has to do itself.
    /// `is_ready`: what it [waited for](Waits) is.
    fn go_on(
        &mut self,
        dialogue: &mut FileDialogue,
        room: usize,
        is_ready: bool,
    ) -> Result<(), Stop>;

    /// Nothing more has come: does what it has put off until then.
    fn rests(&mut self) -> Result<(), Stop> {
        Ok(())
    }

    /// What it waits for.
    fn waits(&self) -> Waits<'_>;
}

/// What a transfer waits for.
#[derive(Debug)]
pub(super) enum Waits<'f> {
    /// The server's answers.
    Server,
    /// That the server takes what is queued: there is more.
    Room,
    /// Nothing: it has something to do itself.
    Nothing,
    /// Our standard input; the server may speak meanwhile, and need not.
    Input(BorrowedFd<'f>),
    /// Our standard output; nothing is heard before.
    Output(BorrowedFd<'f>),
    /// All was done.
    Done,
}

/// Why a connection is given up before all was done.
#[derive(Debug)]
pub(super) enum Stop {
    /// It failed.
    Client(ClientError),
    /// It can be of no more use, and another one may.
    Reconnect,
    /// This signal came.
    Signal(u8),
    /// Something here failed, and no other connection would help.
    Local(Failure),
    /// Nobody reads standard output.
    ReaderGone,
}

impl Stop {
    /// Why, and the exit code; none if nothing was wrong, since nobody wants to read any more.
    pub(super) fn explained(self, server: &Server<'_>) -> Option<(String, u8)> {
        match self {
            Stop::Client(error) => Some((server.explain(&error), 1)),
            Stop::Reconnect => Some(("the server ended the connection".to_owned(), 1)),
            Stop::Signal(number) => Some(("interrupted".to_owned(), SIGNALLED + number)),
            Stop::Local(failure) => Some((failure.to_string(), 1)),
            Stop::ReaderGone => None,
        }
    }
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Stop {
        Stop::Local(failure)
    }
}

/// Goes on until all is done.
pub(super) fn pump(
    stream: &mut FileStream,
    transfer: &mut impl Transfer,
    signals: &mut Signals,
) -> Result<(), Stop> {
    let mut ready = Ready::default();
    loop {
        if let Some(&signal) = signals.came().first() {
            return Err(Stop::Signal(number(signal)));
        }
        let mut reads = 0;
        let may_have_more = loop {
            while !matches!(transfer.waits(), Waits::Output(_) | Waits::Done) {
                match stream.next().map_err(Stop::Client)? {
                    Some(news) => transfer.hear(news)?,
                    None => break,
                }
            }
            match transfer.waits() {
                // What has come is not all heard, and `go_on` may make room for it.
                Waits::Output(_) => break true,
                Waits::Done => break false,
                _ if !ready.socket => break false,
                _ if reads == READS_PER_TURN => break true,
                _ => {}
            }
            reads += 1;
            ready.socket = stream.receive();
        };
        let room = QUEUED_BYTES_MAX.saturating_sub(stream.queued());
        transfer.go_on(stream.dialogue(), room, ready.local)?;
        stream.send();
        if !may_have_more {
            transfer.rests()?;
        }
        let at_once = Timespec::default();
        let wait = match transfer.waits() {
            Waits::Done if !stream.wants_to_send() => return Ok(()),
            Waits::Nothing => Some(at_once),
            Waits::Room if !stream.wants_to_send() => Some(at_once),
            // It is not the server's turn.
            Waits::Output(_) if !stream.wants_to_send() => None,
            Waits::Server | Waits::Room | Waits::Input(_) if may_have_more => Some(at_once),
            Waits::Input(_) if !stream.wants_to_send() => None,
            _ => {
                let left = stream.time_left();
                if left.is_zero() {
                    let progress = "it has made no progress".to_owned();
                    return Err(Stop::Client(stream.timeout(progress)));
                }
                Timespec::try_from(left).ok()
            }
        };
        ready = wait_for(stream, transfer, signals, wait.as_ref())
            .map_err(|error| Failure::Run(anyhow::Error::new(error)))?;
        if wait.is_none() {
            stream.renew();
        }
    }
}

/// What a descriptor is ready for, as the last poll said.
#[derive(Debug, Default)]
struct Ready {
    socket: bool,
    local: bool,
}

fn wait_for(
    stream: &FileStream,
    transfer: &impl Transfer,
    signals: &Signals,
    wait: Option<&Timespec>,
) -> io::Result<Ready> {
    let waits = transfer.waits();
    // What nothing is asked of is left out: that it has broken would be said again and again.
    let mut asked = vec![PollFd::new(signals, PollFlags::IN)];
    let mut flags = PollFlags::empty();
    flags.set(
        PollFlags::IN,
        !matches!(waits, Waits::Output(_) | Waits::Done),
    );
    flags.set(PollFlags::OUT, stream.wants_to_send());
    if !flags.is_empty() {
        asked.push(PollFd::new(stream, flags));
    }
    let sockets = asked.len();
    match &waits {
        Waits::Input(input) => asked.push(PollFd::new(input, PollFlags::IN)),
        Waits::Output(output) => asked.push(PollFd::new(output, PollFlags::OUT)),
        Waits::Server | Waits::Room | Waits::Nothing | Waits::Done => {}
    }
    match poll(&mut asked, wait) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(errno) => return Err(errno.into()),
    }
    let is_ready = |asked: &PollFd<'_>| !asked.revents().is_empty();
    Ok(Ready {
        socket: asked[1..sockets].iter().any(is_ready),
        local: asked[sockets..].iter().any(is_ready),
    })
}
