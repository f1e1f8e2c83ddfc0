use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use super::connection::ClientConnection;
use super::deadline::RequestDeadline;
use super::duplex::Duplex;
use super::file_dialogue::{FileDialogue, FileNews};
use super::other_service::notice;
use super::{ClientError, ServerAddress};
#[cfg(feature = "tls")]
use crate::tls::ClientTls;
use crate::wire::{HmacKey, WireError};

/// So many bytes are progress: a peer that takes or sends fewer in all the time that it has is given up, even if it
/// goes on byte by byte. An answer is progress, too, and so is it when all has left.
const PROGRESS_BYTES: u64 = 4096;

/// How fast a server reads a file whose digest it was asked for, at the least: 16 MiB/s.
const DIGESTED_PER_MILLI: u64 = (16 << 20) / 1000;

/// A connection to a file server. Nothing in it waits: the caller polls [its socket](AsFd), for reading unless it
/// has no room for what comes, and for writing while [something is queued](FileStream::wants_to_send).
#[derive(Debug)]
pub struct FileStream {
    duplex: Duplex,
    dialogue: FileDialogue,
    patience: Duration,
    deadline: RequestDeadline,
    /// How much came and left since the deadline was last renewed.
    moved: u64,
}

impl FileStream {
    /// Connects within `patience`, which is also how long the server may make no progress later.
    pub fn connect(address: &ServerAddress, patience: Duration) -> Result<FileStream, ClientError> {
        let deadline = RequestDeadline::after(patience);
        FileStream::of(ClientConnection::connect(address, &deadline)?, patience)
    }

    /// The same over TLS.
    #[cfg(feature = "tls")]
    pub fn connect_tls(
        address: &ServerAddress,
        tls: &ClientTls,
        patience: Duration,
    ) -> Result<FileStream, ClientError> {
        let deadline = RequestDeadline::after(patience);
        let mut line = ClientConnection::connect(address, &deadline)?;
        line.secure(address, tls, &deadline)?;
        FileStream::of(line, patience)
    }

    fn of(line: ClientConnection, patience: Duration) -> Result<FileStream, ClientError> {
        Ok(FileStream {
            duplex: Duplex::new(line)?,
            dialogue: FileDialogue::new(),
            patience,
            deadline: RequestDeadline::after(patience),
            moved: 0,
        })
    }

    /// Answers the challenge of a server that asks for a secret, before anything else. Whether it was the right one
    /// shows when something is asked: to a wrong proof a server says nothing.
    pub fn prove(&mut self, key: &HmacKey) -> Result<(), ClientError> {
        self.duplex
            .line
            .prove(key, &RequestDeadline::after(self.patience))?;
        self.renew();
        Ok(())
    }

    /// What is asked and answered here.
    pub fn dialogue(&mut self) -> &mut FileDialogue {
        &mut self.dialogue
    }

    /// Takes what has come, without waiting; says whether there may be more.
    pub fn receive(&mut self) -> bool {
        let had = self.duplex.line.unread().len();
        let may_have_more = self.duplex.receive();
        self.moves(self.duplex.line.unread().len() - had);
        may_have_more
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
    pub fn next(&mut self) -> Result<Option<FileNews<'_>>, ClientError> {
        loop {
            let at = self.duplex.taken;
            let step = match self.dialogue.next(&self.duplex.line.unread()[at..]) {
                Ok(Some((FileNews::Bytes(piece), taken))) => (Step::Bytes(piece.len()), taken),
                Ok(Some((news, taken))) => (Step::of(news), taken),
                Ok(None) => {
                    return match self.duplex.all_was_taken() {
                        Some(end) => Err(self.ended(end)),
                        None => Ok(None),
                    };
                }
                Err(cause) => return Err(self.wire(at, cause)),
            };
            self.duplex.taken += step.1;
            match step.0 {
                Step::Part => {}
                Step::Bytes(len) => {
                    let end = at + step.1;
                    return Ok(Some(FileNews::Bytes(
                        &self.duplex.line.unread()[end - len..end],
                    )));
                }
                Step::News(news) => {
                    self.renew();
                    return Ok(Some(news));
                }
            }
        }
    }

    /// How much waits for room in the socket.
    pub fn queued(&mut self) -> usize {
        self.duplex.outgoing.len() + self.dialogue.out().len()
    }

    /// Whether something waits for room in the socket.
    pub fn wants_to_send(&self) -> bool {
        self.duplex.wants_to_send()
    }

    /// Offers the socket what is queued. That it failed shows when all that came was handed on.
    pub fn send(&mut self) {
        if !self.dialogue.out().is_empty() {
            let queue = self.duplex.outgoing.tail();
            let sealed = self.duplex.line.seal_all(self.dialogue.out(), queue);
            if let Err(error) = sealed {
                self.duplex.end = Some(error);
                self.duplex.is_deaf = true;
            }
        }
        let had_some = self.wants_to_send();
        while self.wants_to_send() {
            let sent = self.duplex.send_once();
            if sent == 0 {
                return;
            }
            self.moves(sent);
        }
        if had_some {
            self.renew();
        }
    }

    /// How long the server may take yet before it makes progress. Where it has been asked for the digest of a file,
    /// it has to read that first, and has the time for it.
    pub fn time_left(&self) -> Duration {
        let reading = if self.duplex.outgoing.is_empty() {
            self.dialogue.to_be_read() / DIGESTED_PER_MILLI
        } else {
            0
        };
        let late = self.deadline.elapsed();
        (self.patience + Duration::from_millis(reading)).saturating_sub(late)
    }

    /// The server has all its time from now on: it was not its turn.
    pub fn renew(&mut self) {
        self.deadline = RequestDeadline::after(self.patience);
        self.moved = 0;
    }

    /// What to say when no time is left.
    pub fn timeout(&self, progress: String) -> ClientError {
        ClientError::Timeout {
            address: self.duplex.line.address().to_owned(),
            after: self.patience,
            progress,
        }
    }

    fn moves(&mut self, bytes: usize) {
        self.moved += bytes as u64;
        if self.moved >= PROGRESS_BYTES {
            self.renew();
        }
    }

    /// What to say of an end, now that all was heard that came before it.
    fn ended(&self, end: ClientError) -> ClientError {
        let address = self.duplex.line.address().to_owned();
        match end {
            ClientError::HungUp { .. } => ClientError::HungUp {
                address,
                progress: if !self.duplex.line.unread().is_empty()
                    || !self.dialogue.is_between_answers()
                {
                    "in the middle of an answer".to_owned()
                } else if self.dialogue.unanswered() > 0 {
                    "before it answered".to_owned()
                } else {
                    "when nothing was asked".to_owned()
                },
            },
            other => other,
        }
    }

    /// What came is no answer; a server of ours may have turned the connection down in a line.
    fn wire(&self, at: usize, cause: WireError) -> ClientError {
        let address = self.duplex.line.address().to_owned();
        match notice(&self.duplex.line.unread()[at..]) {
            Some(reason) => ClientError::Refused { address, reason },
            None => ClientError::Wire { address, cause },
        }
    }
}

impl AsFd for FileStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.duplex.as_fd()
    }
}

/// News without what they borrow.
enum Step {
    Part,
    Bytes(usize),
    News(FileNews<'static>),
}

impl Step {
    fn of(news: FileNews<'_>) -> Step {
        Step::News(match news {
            FileNews::Part | FileNews::Bytes(_) => return Step::Part,
            FileNews::Done(facts) => FileNews::Done(facts),
            FileNews::Begins { size, offset } => FileNews::Begins { size, offset },
            FileNews::Ends(sum) => FileNews::Ends(sum),
            FileNews::Entry(entry) => FileNews::Entry(entry),
            FileNews::Listed { skipped } => FileNews::Listed { skipped },
            FileNews::Refused(error) => FileNews::Refused(error),
        })
    }
}
