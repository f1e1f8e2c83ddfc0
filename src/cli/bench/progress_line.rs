//! One line on the terminal that says how far a run is, and is gone when it ends.
//!
//! Not indicatif's: its write waits for a terminal that was stopped with Ctrl-S, and the run would wait with it.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::ops::ControlFlow;
use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::tcgetwinsize;
use unicode_width::UnicodeWidthChar;

use super::interrupt::Interrupt;
use crate::bench::show::terminal::COLUMNS;
use crate::cli::is_quiet;

/// The line. It is written to terminals only, and not with `-q`.
#[derive(Debug)]
pub(super) struct ProgressLine<'i> {
    is_shown: bool,
    interrupt: &'i Interrupt,
}

/// Back to the beginning of the line, and nothing behind it.
const CLEAR: &str = "\r\x1b[K";

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
            let text = cut(&text.to_string(), columns(io::stderr()));
            let mut err = io::stderr().lock();
            let _ = write!(err, "{CLEAR}{text}").and_then(|()| err.flush());
        }
        self.interrupt.flow()
    }
}

/// How wide a terminal is now: its user may make it narrower at any time.
pub(super) fn columns(terminal: impl AsFd) -> usize {
    match tcgetwinsize(terminal) {
        Ok(size) if size.ws_col > 0 => size.ws_col.into(),
        _ => COLUMNS,
    }
}

/// As much of `text` as stays in a line of so many columns. The last is free: a full line may wrap, and could not be cleared.
fn cut(text: &str, columns: usize) -> String {
    let mut left = columns.saturating_sub(1);
    let fits = |c: &char| {
        let wide = c.width().unwrap_or(0);
        let fits = wide <= left;
        left = left.saturating_sub(wide);
        fits
    };
    text.chars().take_while(fits).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_stays_within_the_columns_but_the_last() {
        assert_eq!(cut("four", 5), "four");
        assert_eq!(
            (cut("four", 4), cut("four", 1), cut("four", 0)),
            ("fou".into(), String::new(), String::new())
        );
        // Two columns each: none is cut in half.
        assert_eq!(cut("a你好", 4), "a你");
        assert_eq!(cut("a你好b", 5), "a你");
    }
}
