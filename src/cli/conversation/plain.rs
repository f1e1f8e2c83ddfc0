use std::io;

use anyhow::Context as _;
use memchr::memchr;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::stdio::stdout;

use super::board::Typed;
use crate::cli::Failure;
use crate::cli::exec::input::{Input, Taken};
use crate::cli::exec::output::{Output, Unwritable};
use crate::cli::exec::signals::Signals;

/// The longest line of standard input that is sent: what our servers take.
const LINE_BYTES_MAX: usize = 64 * 1024;

/// How much is read at once.
const READ_BYTES: usize = 16 * 1024;

/// Lines from standard input, and lines to standard output.
#[derive(Debug)]
pub(super) struct Plain {
    input: Input,
    /// What was read of lines that were not handed on.
    read: Vec<u8>,
    /// So much of it was handed on.
    taken: usize,
    /// That it has ended was said.
    has_said_end: bool,
    output: Output,
    /// What standard output has no room for.
    kept: Vec<u8>,
}

impl Plain {
    pub(super) fn new() -> Plain {
        Plain {
            input: Input::new(),
            read: Vec::new(),
            taken: 0,
            has_said_end: false,
            output: Output::new(stdout(), false),
            kept: Vec::new(),
        }
    }

    /// Adds to what is waited for.
    pub(super) fn ask<'p>(&'p self, is_wanted: bool, asked: &mut Vec<PollFd<'p>>) {
        if is_wanted && self.input.is_open() {
            asked.push(PollFd::new(&self.input, PollFlags::IN));
        }
        if self.output.is_full() {
            asked.push(PollFd::new(&self.output, PollFlags::OUT));
        }
    }

    /// The next line, or that there is none.
    pub(super) fn next(&mut self) -> Result<Option<Typed>, Failure> {
        loop {
            let unread = &self.read[self.taken..];
            if let Some(end) = memchr(b'\n', unread) {
                let line = &unread[..end];
                let line = line.strip_suffix(b"\r").unwrap_or(line).to_vec();
                self.taken += end + 1;
                return Ok(Some(Typed::Line(checked(line)?)));
            }
            checked(unread)?;
            self.read.drain(..self.taken);
            self.taken = 0;
            if !self.input.is_open() {
                // A last line without its end counts.
                let line = std::mem::take(&mut self.read);
                if !line.is_empty() {
                    return Ok(Some(Typed::Line(line)));
                }
                let is_said = std::mem::replace(&mut self.has_said_end, true);
                return Ok((!is_said).then_some(Typed::End));
            }
            let read = self.input.read(READ_BYTES);
            match read.context("standard input cannot be read")? {
                Taken::Bytes(bytes) => self.read.extend_from_slice(bytes),
                Taken::Nothing => return Ok(None),
                Taken::End => {}
            }
        }
    }

    pub(super) fn has_room(&self) -> bool {
        !self.output.is_full()
    }

    /// Writes a line as it is; on a terminal, disarmed.
    pub(super) fn show(&mut self, line: &[u8]) -> Result<(), Failure> {
        self.kept.extend_from_slice(line);
        self.kept.push(b'\n');
        self.flush()
    }

    pub(super) fn flush(&mut self) -> Result<(), Failure> {
        written(self.output.flush())?;
        if !self.output.is_full() && !self.kept.is_empty() {
            written(self.output.give(&self.kept))?;
            self.kept.clear();
        }
        Ok(())
    }

    /// Writes the rest, for as long as that takes, unless a signal comes.
    pub(super) fn end(mut self, mut signals: Signals) -> Result<(), Failure> {
        loop {
            self.flush()?;
            if !self.output.is_full() && self.kept.is_empty() {
                return written(self.output.finish());
            }
            let mut asked = [
                PollFd::new(&self.output, PollFlags::OUT),
                PollFd::new(&signals, PollFlags::IN),
            ];
            match poll(&mut asked, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => {
                    return Err(anyhow::Error::new(io::Error::from(errno)).into());
                }
            }
            if !signals.came().is_empty() {
                return Ok(());
            }
        }
    }
}

fn checked<L: AsRef<[u8]>>(line: L) -> Result<L, Failure> {
    if line.as_ref().len() > LINE_BYTES_MAX {
        return Err(Failure::usage(format_args!(
            "a line has at most {LINE_BYTES_MAX} bytes"
        )));
    }
    Ok(line)
}

/// A reader that has gone away wanted no more: nothing is shown any more, and that is no failure.
fn written(outcome: Result<(), Unwritable>) -> Result<(), Failure> {
    match outcome {
        Ok(()) | Err(Unwritable::ReaderGone) => Ok(()),
        Err(Unwritable::Failed(error)) => {
            Err(error).context("standard output cannot be written")?
        }
    }
}
