//! One line on the terminal that says how far a run is, and is gone when it ends.
//!
//! Not indicatif's: its write waits for a terminal that was stopped with Ctrl-S, and the run would wait with it.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::ops::ControlFlow;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::interrupt::Interrupt;
use crate::cli::is_quiet;

/// The line. It is written to terminals only, and not with `-q`.
#[derive(Debug)]
pub(super) struct ProgressLine<'i> {
    is_shown: bool,
    interrupt: &'i Interrupt,
}

/// Back to the beginning of the line, and nothing behind it.
const CLEAR: &str = "\r\x1b[K";
/// What a terminal shows without wrapping, which could not be cleared.
const CHARS_MAX: usize = 79;

impl<'i> ProgressLine<'i> {
    pub(super) fn new(interrupt: &'i Interrupt) -> Self {
        Self {
            interrupt,
            is_shown: io::stderr().is_terminal() && !is_quiet(),
        }
    }

    /// Shows `text` instead of what was there, and says whether to go on: until an interrupt. It never
    /// waits for a stopped terminal (Ctrl-S).
    pub(super) fn show(&mut self, text: impl fmt::Display) -> ControlFlow<()> {
        if self.is_shown && can_write() {
            let text: String = text.to_string().chars().take(CHARS_MAX).collect();
            let mut err = io::stderr().lock();
            let _ = write!(err, "{CLEAR}{text}").and_then(|()| err.flush());
        }
        self.interrupt.flow()
    }
}

/// Whether standard error takes something without waiting.
fn can_write() -> bool {
    let err = io::stderr();
    let mut ready = [PollFd::new(&err, PollFlags::OUT)];
    matches!(poll(&mut ready, Some(&Timespec::default())), Ok(1))
        && ready[0].revents().contains(PollFlags::OUT)
}

impl Drop for ProgressLine<'_> {
    fn drop(&mut self) {
        if self.is_shown && can_write() {
            let _ = write!(io::stderr().lock(), "{CLEAR}");
        }
    }
}
