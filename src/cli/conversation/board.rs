//! What the two threads of a terminal and the one of the network tell each other.

use std::collections::VecDeque;
use std::io;
use std::mem::take;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::event::{EventfdFlags, eventfd};

/// So much may wait to be shown before there is [no room](Board::has_room): some thousand lines.
const TEXT_BYTES_MAX: usize = 256 * 1024;

/// How long a text is waited for that was given to the editor before it is given the next one: as long as a person
/// searches the history, it shows none.
const SHOWN_WITHIN: Duration = Duration::from_secs(2);

/// How long the editor waits, before it lets go of the terminal, for a text that is just being given to it.
const GIVEN_WITHIN: Duration = Duration::from_millis(100);

/// What a person did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) enum Typed {
    /// A line, without its end.
    Line(Vec<u8>),
    /// The end of input: Ctrl-D, the end of a file.
    End,
    /// This signal came, by its number; Ctrl-C on an empty line is SIGINT.
    Signal(u8),
    /// Nothing can be read any more.
    Failed(String),
}

/// What is to be shown, and what was typed.
#[derive(Debug)]
pub(super) struct Board {
    state: Mutex<State>,
    changed: Condvar,
    /// Readable: something was typed, or there is room again.
    wake: OwnedFd,
}

#[derive(Debug, Default)]
struct State {
    /// What is to be shown, whole lines.
    text: String,
    typed: VecDeque<Typed>,
    /// The editor shows its line and waits for keys, so that a text goes above that.
    is_open: bool,
    /// A text was given to the editor, which has not shown it.
    is_given: bool,
    /// It is just being given.
    is_giving: bool,
    /// No more lines are to be read.
    is_over: bool,
    /// No more lines are read: nobody shows anything.
    has_ended: bool,
}

impl Board {
    pub(super) fn new() -> io::Result<Board> {
        Ok(Board {
            state: Mutex::default(),
            changed: Condvar::new(),
            wake: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
        })
    }

    /// Adds whole lines to what is to be shown; gives them back if nobody shows anything any more.
    pub(super) fn add<'t>(&self, text: &'t str) -> Option<&'t str> {
        let mut state = self.state();
        if state.has_ended {
            return Some(text);
        }
        state.text.push_str(text);
        self.changed.notify_all();
        None
    }

    pub(super) fn has_room(&self) -> bool {
        self.state().text.len() < TEXT_BYTES_MAX
    }

    /// The next that was typed.
    pub(super) fn next(&self) -> Option<Typed> {
        self.state().typed.pop_front()
    }

    /// The next signal that was typed; lines before it stay.
    pub(super) fn next_signal(&self) -> Option<Typed> {
        let mut state = self.state();
        let is_signal = |typed: &Typed| matches!(typed, Typed::Signal(_));
        let at = state.typed.iter().position(is_signal)?;
        state.typed.remove(at)
    }

    /// Not readable any more.
    pub(super) fn clear(&self) {
        let mut count = [0; 8];
        // It does not block, and what it has to say is known.
        let _ = rustix::io::read(&self.wake, &mut count);
    }

    /// Wants no more lines. Waits until all was shown, or for so long.
    pub(super) fn finish(&self, within: Duration) {
        let state = self.state();
        let waited = self.changed.wait_timeout_while(state, within, |state| {
            !state.has_ended && (state.is_given || state.is_giving || !state.text.is_empty())
        });
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.is_over = true;
    }

    /// Waits for so long until no more lines are read; says whether that is so.
    pub(super) fn has_ended_within(&self, within: Duration) -> bool {
        let waited = self
            .changed
            .wait_timeout_while(self.state(), within, |state| !state.has_ended);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.has_ended
    }

    /// What was not shown, when nobody shows anything any more.
    pub(super) fn take_rest(&self) -> String {
        take(&mut self.state().text)
    }

    // For the thread that gives texts to the editor.

    /// Waits for a text that can be shown; none: nobody shows anything any more. [`given`](Board::given) follows.
    pub(super) fn next_text(&self) -> Option<String> {
        let waited = self.changed.wait_while(self.state(), |state| {
            !state.has_ended && (state.text.is_empty() || !state.is_open)
        });
        let mut state = waited.unwrap_or_else(PoisonError::into_inner);
        if state.has_ended {
            return None;
        }
        state.is_given = true;
        state.is_giving = true;
        if state.text.len() >= TEXT_BYTES_MAX {
            self.wake();
        }
        Some(take(&mut state.text))
    }

    /// It was given to the editor: waits until that has shown it.
    pub(super) fn given(&self) {
        let mut state = self.state();
        state.is_giving = false;
        self.changed.notify_all();
        let waited = self
            .changed
            .wait_timeout_while(state, SHOWN_WITHIN, |state| {
                state.is_given && !state.has_ended
            });
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.is_given = false;
        self.changed.notify_all();
    }

    // For the editor.

    /// Its line is on the screen, and it waits for keys.
    pub(super) fn open(&self) {
        self.state().is_open = true;
        self.changed.notify_all();
    }

    /// It has shown what it was given.
    pub(super) fn shown(&self) {
        self.state().is_given = false;
        self.changed.notify_all();
    }

    /// It lets go of the terminal: from now on it is given nothing.
    pub(super) fn close(&self) {
        let mut state = self.state();
        state.is_open = false;
        let waited = self
            .changed
            .wait_timeout_while(state, GIVEN_WITHIN, |state| state.is_giving);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    /// This was typed. Whatever it was given is shown with the next line.
    pub(super) fn typed(&self, typed: impl IntoIterator<Item = Typed>) {
        let mut state = self.state();
        state.is_open = false;
        state.is_given = false;
        state.typed.extend(typed);
        self.changed.notify_all();
        self.wake();
    }

    pub(super) fn is_over(&self) -> bool {
        self.state().is_over
    }

    /// It reads no more.
    pub(super) fn ended(&self) {
        let mut state = self.state();
        state.is_open = false;
        state.has_ended = true;
        self.changed.notify_all();
        self.wake();
    }

    fn wake(&self) {
        // Its count may be full, and then it is readable.
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsFd for Board {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}
