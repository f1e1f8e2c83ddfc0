use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustix::process::{Signal, getpid, kill_process};
use rustyline::ExternalPrinter as _;
use rustyline::Result as Edited;

use super::board::{Board, Typed};
use super::editor::LineReader;
use super::manner::Manner;
use super::mode::Mode;
use crate::cli::Failure;
use crate::cli::streams::print_bytes;

/// How long a terminal may take to show the last, and then to be given back: somebody may have stopped it (Ctrl-S).
const PATIENCE: Duration = Duration::from_secs(1);

/// How often the thread that reads is asked to stop.
const ASKED_EVERY: Duration = Duration::from_millis(10);

/// A terminal with a line that is edited below what comes.
#[derive(Debug)]
pub(super) struct Terminal {
    board: Arc<Board>,
    mode: Arc<Mode>,
}

impl Terminal {
    pub(super) fn begin(manner: Manner) -> Edited<Terminal> {
        let mode = Arc::new(Mode::take()?);
        let board = Arc::new(Board::new()?);
        let mut reader = LineReader::new(manner, &board, &mode)?;
        let mut printer = reader.printer()?;
        let texts = Arc::clone(&board);
        spawn("printer", move || {
            while let Some(text) = texts.next_text() {
                if printer.print(text).is_err() {
                    // The terminal has gone, which the thread that reads it finds out.
                    break;
                }
                texts.given();
            }
        })?;
        spawn("reader", move || reader.run())?;
        Ok(Terminal { board, mode })
    }

    pub(super) fn next(&self) -> Result<Option<Typed>, Failure> {
        match self.board.next() {
            Some(Typed::Failed(why)) => {
                Err(anyhow::Error::msg(format!("the terminal cannot be used: {why}")).into())
            }
            typed => Ok(typed),
        }
    }

    pub(super) fn next_signal(&self) -> Option<Typed> {
        self.board.next_signal()
    }

    pub(super) fn has_room(&self) -> bool {
        self.board.has_room()
    }

    /// Shows lines, in which nothing acts on the terminal but our own marks.
    pub(super) fn show(&self, text: &str) -> Result<(), Failure> {
        match self.board.add(text) {
            Some(text) => print_bytes(text.as_bytes()),
            None => Ok(()),
        }
    }

    pub(super) fn clear(&self) {
        self.board.clear();
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.board.finish(PATIENCE);
        // Nothing else makes rustyline return. Where it does not wait, the signal is one of those that were taken.
        let mut is_given_back = false;
        for _ in 0..PATIENCE.as_millis() / ASKED_EVERY.as_millis() {
            is_given_back = self.board.has_ended_within(Duration::ZERO)
                || kill_process(getpid(), Signal::INT).is_err()
                || self.board.has_ended_within(ASKED_EVERY);
            if is_given_back {
                break;
            }
        }
        if !is_given_back {
            self.mode.give_back();
        }
        // There is nobody to tell that they could not be written.
        let _ = print_bytes(self.board.take_rest().as_bytes());
    }
}

impl AsFd for Terminal {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.board.as_fd()
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let thread = thread::Builder::new().name(name.to_owned());
    thread.spawn(work).map(drop)
}
