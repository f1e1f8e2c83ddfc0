//! The line that is being typed.

use std::borrow::Cow;
use std::cell::Cell;
use std::sync::Arc;

use rustyline::completion::Completer;
use rustyline::config::{Behavior, ColorMode, CompletionType, Config};
use rustyline::error::ReadlineError;
use rustyline::highlight::{CmdKind, Highlighter};
use rustyline::hint::Hinter;
use rustyline::history::MemHistory;
use rustyline::validate::Validator;
use rustyline::{Context, Editor, Helper, Result as Edited};

use super::board::{Board, Typed};
use super::manner::{Completions, Manner};
use super::mode::Mode;
use crate::cli::streams::print_bytes;
use crate::wire::acts_on_a_terminal;

/// How many lines may be had again. They are not kept in a file: what people say to each other is theirs.
const HISTORY_LINES_MAX: usize = 1000;

/// Reads line after line.
pub(super) struct LineReader {
    editor: Editor<Watch, MemHistory>,
    board: Arc<Board>,
    mode: Arc<Mode>,
    prompt: &'static str,
    is_secret: fn(&str) -> bool,
}

impl LineReader {
    pub(super) fn new(manner: Manner, board: &Arc<Board>, mode: &Arc<Mode>) -> Edited<LineReader> {
        let config = Config::builder()
            // A terminal of our own description: nobody else can make it non-blocking.
            .behavior(Behavior::PreferTerm)
            .completion_type(CompletionType::List)
            .history_ignore_space(true)
            .max_history_size(HISTORY_LINES_MAX)?
            // It colours nothing, but tells when it paints.
            .color_mode(ColorMode::Forced)
            .build();
        let history = MemHistory::with_config(&config);
        let mut editor = Editor::with_history(config, history)?;
        editor.set_helper(Some(Watch {
            board: Arc::clone(board),
            complete: manner.complete,
            painting: Cell::new(Painting::Text),
            is_empty: Cell::new(true),
        }));
        Ok(LineReader {
            editor,
            board: Arc::clone(board),
            mode: Arc::clone(mode),
            prompt: manner.prompt,
            is_secret: manner.is_secret,
        })
    }

    /// What shows texts above the line.
    pub(super) fn printer(&mut self) -> Edited<impl rustyline::ExternalPrinter + Send + 'static> {
        self.editor.create_external_printer()
    }

    /// Reads until there is nothing more to be read, or no more is wanted.
    pub(super) fn run(mut self) {
        while !self.board.is_over() {
            let read = self.editor.readline(self.prompt);
            let was_empty = self
                .editor
                .helper()
                .is_none_or(|watch| watch.is_empty.get());
            match read {
                Ok(line) => {
                    if !(self.is_secret)(&line) {
                        // It refuses a line that is as the one before.
                        let _ = self.editor.add_history_entry(line.as_str());
                    }
                    // What is pasted may be several.
                    let lines = line
                        .split('\n')
                        .map(|line| Typed::Line(line.as_bytes().to_vec()));
                    self.board.typed(lines);
                }
                Err(ReadlineError::Interrupted) if self.board.is_over() => {
                    self.board.typed([]);
                    erase_if(was_empty);
                }
                // Ctrl-C gives a line up, as in a shell, and leaves if there is none.
                Err(ReadlineError::Interrupted) if !was_empty => self.board.typed([]),
                Err(ReadlineError::Interrupted) => {
                    self.board.typed([Typed::Signal(SIGINT)]);
                }
                Err(ReadlineError::Eof) => {
                    erase_if(was_empty);
                    self.board.typed([Typed::End]);
                    break;
                }
                Err(error) => {
                    self.board.typed([Typed::Failed(error.to_string())]);
                    break;
                }
            }
        }
        // The terminal is as it was before others may use it.
        let board = self.board;
        drop(self.editor);
        self.mode.give_back();
        board.ended();
    }
}

/// Its number.
const SIGINT: u8 = 2;

/// Takes away the prompt at which nothing was typed, on the line above the cursor.
fn erase_if(was_empty: bool) {
    if was_empty {
        // A terminal that cannot be written has nothing to be erased.
        let _ = print_bytes(b"\x1b[A\r\x1b[K");
    }
}

/// Tells what the editor is about.
///
/// It asks how its line is to look whenever it paints that; before that it says why, but when it has shown a text.
struct Watch {
    board: Arc<Board>,
    complete: Box<dyn Fn(&str) -> Completions + Send>,
    painting: Cell<Painting>,
    /// Nothing is typed.
    is_empty: Cell<bool>,
}

/// Why the line is painted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Painting {
    /// A text was shown above it.
    Text,
    /// It has changed.
    Change,
    /// It is done.
    Last,
}

impl Highlighter for Watch {
    fn highlight_char(&self, line: &str, _pos: usize, kind: CmdKind) -> bool {
        self.is_empty.set(line.is_empty());
        if kind == CmdKind::ForcedRefresh {
            self.painting.set(Painting::Last);
            self.board.close();
        } else {
            self.painting.set(Painting::Change);
        }
        // So it is painted whole each time, and asks.
        true
    }

    fn highlight_prompt<'b, 's: 'b, 'p: 'b>(
        &'s self,
        prompt: &'p str,
        _default: bool,
    ) -> Cow<'b, str> {
        match self.painting.replace(Painting::Text) {
            Painting::Text => self.board.shown(),
            Painting::Change => self.board.open(),
            Painting::Last => {}
        }
        Cow::Borrowed(prompt)
    }
}

impl Completer for Watch {
    type Candidate = String;

    fn complete(&self, line: &str, pos: usize, _ctx: &Context<'_>) -> Edited<(usize, Vec<String>)> {
        let Completions { at, mut words } = (self.complete)(&line[..pos]);
        words.retain(|word| !word.chars().any(acts_on_a_terminal));
        Ok((at.min(pos), words))
    }
}

impl Hinter for Watch {
    type Hint = String;
}

impl Validator for Watch {}

impl Helper for Watch {}
