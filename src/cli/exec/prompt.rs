//! Where command lines come from: the lines of standard input, or a person at a terminal.

use std::fs::DirBuilder;
use std::io::{self, BufRead, IsTerminal, Read};
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

use anyhow::Context as _;
use rustyline::config::{Behavior, Config};
use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{Editor, Result as Edited};

use crate::cli::streams::input;
use crate::cli::{Failure, complain};
use crate::client::ServerAddress;

/// The longest line of standard input that is asked: what a server takes as a request.
const LINE_BYTES_MAX: u64 = 64 * 1024;

/// How many lines the history remembers.
const HISTORY_LINES_MAX: usize = 1000;

/// A source of command lines.
#[derive(Debug)]
pub(super) enum Prompt {
    /// What is no terminal is read as it is.
    Lines,
    /// A person types, and what was typed before is at hand.
    Editor(Box<LineEditor>),
}

impl Prompt {
    pub(super) fn new(address: &ServerAddress) -> Result<Prompt, Failure> {
        if !io::stdin().is_terminal() {
            return Ok(Prompt::Lines);
        }
        let editor = LineEditor::new(format!("{address}> "));
        let editor = editor.context("the terminal cannot be used")?;
        Ok(Prompt::Editor(Box::new(editor)))
    }

    /// Whether a person types: each output is shown before the next line is asked for.
    pub(super) fn has_person(&self) -> bool {
        matches!(self, Prompt::Editor(_))
    }

    /// The next line, without its end; none at the end of input.
    pub(super) fn line(&mut self) -> Result<Option<String>, Failure> {
        match self {
            Prompt::Lines => next_line(),
            Prompt::Editor(editor) => Ok(editor.line().context("the terminal cannot be used")?),
        }
    }
}

fn next_line() -> Result<Option<String>, Failure> {
    let mut line = Vec::new();
    let read = input()
        .by_ref()
        .take(LINE_BYTES_MAX + 1)
        .read_until(b'\n', &mut line);
    if read.context("standard input cannot be read")? == 0 {
        return Ok(None);
    }
    if line.len() as u64 > LINE_BYTES_MAX {
        return Err(Failure::usage("a command line has at most 65536 bytes"));
    }
    let Ok(line) = String::from_utf8(line) else {
        return Err(Failure::usage("a command must be UTF-8"));
    };
    Ok(Some(line.trim_end_matches(['\n', '\r']).to_owned()))
}

/// A line that is edited, with a history.
#[derive(Debug)]
pub(super) struct LineEditor {
    editor: Editor<(), FileHistory>,
    shown: String,
    /// Where the history is kept; none: nowhere.
    history: Option<PathBuf>,
}

impl LineEditor {
    fn new(shown: String) -> Edited<LineEditor> {
        let config = Config::builder()
            // Standard output may be somewhere else: the prompt is no result.
            .behavior(Behavior::PreferTerm)
            .max_history_size(HISTORY_LINES_MAX)?
            .history_ignore_space(true)
            .build();
        let mut editor = Editor::with_config(config)?;
        let history = history_file();
        if let Some(path) = history.as_ref().filter(|path| path.exists())
            && let Err(error) = editor.load_history(path)
        {
            complain(format_args!("{}: {error}", path.display()));
        }
        Ok(LineEditor {
            editor,
            shown,
            history,
        })
    }

    fn line(&mut self) -> Edited<Option<String>> {
        loop {
            match self.editor.readline(&self.shown) {
                Ok(line) => {
                    self.remember(&line);
                    return Ok(Some(line));
                }
                // Ctrl-C gives the line up, as in a shell.
                Err(ReadlineError::Interrupted) => {}
                Err(ReadlineError::Eof) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }

    /// Keeps the line at once: what ends us need not be Ctrl-D.
    fn remember(&mut self, line: &str) {
        if line.trim().is_empty() || !self.editor.add_history_entry(line).unwrap_or(false) {
            return;
        }
        let Some(path) = self.history.take() else {
            return;
        };
        // A command line may have a password in it: the file is for its owner alone.
        match self.editor.append_history(&path) {
            Ok(()) => self.history = Some(path),
            Err(error) => complain(format_args!("{}: {error}", path.display())),
        }
    }
}

/// `$XDG_STATE_HOME/onepoll/exec-history`, or in `~/.local/state`; its directory is made. None: there is no such
/// place.
fn history_file() -> Option<PathBuf> {
    let absolute = |name| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let state = absolute("XDG_STATE_HOME")
        .or_else(|| Some(absolute("HOME")?.join(".local").join("state")))?;
    let dir = state.join("onepoll");
    let made = DirBuilder::new().recursive(true).mode(0o700).create(&dir);
    made.is_ok().then(|| dir.join("exec-history"))
}
