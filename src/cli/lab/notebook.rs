//! An experiment, and what is written down while it runs.

use std::fmt::Write as _;
use std::io::BufRead as _;

use serde_json::{Value, json};

use crate::cli::streams::{input, is_reader_gone};
use crate::cli::{Failure, print_bytes};
use crate::socket::{Address, SocketError};

/// How a run ends: an error when a call failed that should not have, or a claim did not hold.
pub(super) type Done = anyhow::Result<()>;

/// Something to try, and what it teaches.
#[derive(Debug)]
pub(super) struct Experiment {
    /// As it is asked for.
    pub(super) name: &'static str,
    /// One line of what it shows.
    pub(super) title: &'static str,
    /// Does it, and notes what is seen.
    pub(super) run: fn(&mut Notebook) -> Done,
    /// The same in plain Python; its tests hold it to what this one notes.
    pub(super) python: &'static str,
    /// Why it is so.
    pub(super) why: &'static str,
    /// What to try next.
    pub(super) next: &'static str,
    /// Where our own code heeds it: a file, and a line of it.
    pub(super) ours: &'static [(&'static str, &'static str)],
}

/// How an experiment is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Narration {
    /// Not while it runs.
    Silent,
    /// As it happens.
    Telling,
    /// As it happens, and each step waits for Enter.
    Waiting,
}

/// The protocol of one run.
#[derive(Debug)]
pub(super) struct Notebook {
    experiment: &'static Experiment,
    pace: Narration,
    entries: Vec<Entry>,
    /// Why it did not go as described.
    trouble: Option<String>,
    /// Why it could not be told.
    untold: Option<Failure>,
}

#[derive(Debug)]
enum Entry {
    /// From here on: the wrong way, the right way.
    Way(&'static str, &'static str),
    /// How something was made that the steps need, as Python writes it.
    Made(String),
    /// What was done, as Python writes it, and what came of it.
    Step(String, String),
    /// What was counted or measured.
    Saw(&'static str, Value),
    /// What the text claims, and whether it is so.
    Claim(&'static str, bool),
}

/// Where the results of steps stand.
const RESULT_COLUMN: usize = 40;
/// How wide a line of text is.
const TEXT_COLUMNS: usize = 92;

impl Notebook {
    /// Runs the experiment, and tells it at this pace; a failure is that it could not be told.
    pub(super) fn of(experiment: &'static Experiment, pace: Narration) -> Result<Self, Failure> {
        let mut note = Self {
            experiment,
            pace,
            entries: Vec::new(),
            trouble: None,
            untold: None,
        };
        note.tell(&note.heading());
        if let Err(error) = (experiment.run)(&mut note) {
            note.trouble = Some(format!("{error:#}"));
        }
        note.tell(&note.conclusion());
        note.untold.take().map_or(Ok(note), Err)
    }

    /// Begins the wrong way of doing it.
    pub(super) fn wrong(&mut self, what: &'static str) {
        self.add(Entry::Way("wrong", what));
    }

    /// Begins the right way of doing it.
    pub(super) fn right(&mut self, what: &'static str) {
        self.add(Entry::Way("right", what));
    }

    /// Makes something that the steps need, and notes the line of Python that makes it. Nothing waits
    /// here: the steps are what there is to see.
    pub(super) fn make<T>(&mut self, python: impl Into<String>, act: impl FnOnce() -> T) -> T {
        self.add(Entry::Made(python.into()));
        act()
    }

    /// Does something, and notes it as the line of Python that it is.
    pub(super) fn step<T: Shown>(
        &mut self,
        python: impl Into<String>,
        act: impl FnOnce() -> T,
    ) -> T {
        let python = python.into();
        self.wait(&python);
        let result = act();
        self.add(Entry::Step(python, result.shown()));
        result
    }

    /// Notes what was counted or measured.
    pub(super) fn saw(&mut self, what: &'static str, value: impl Into<Value>) {
        self.add(Entry::Saw(what, value.into()));
    }

    /// Claims something of what was seen: if it is not so, the run has failed and ends here.
    pub(super) fn expect(&mut self, claim: &'static str, holds: bool) -> Done {
        self.add(Entry::Claim(claim, holds));
        anyhow::ensure!(holds, "this was not seen: {claim}");
        Ok(())
    }

    /// Whether everything was as described.
    pub(super) fn held(&self) -> bool {
        self.trouble.is_none()
    }

    /// All of it as text.
    pub(super) fn as_text(&self) -> String {
        let entries: String = self.entries.iter().map(Entry::as_text).collect();
        [self.heading(), entries, self.conclusion()].concat()
    }

    /// All of it for programs, and for teachers.
    pub(super) fn as_json(&self, run: u32) -> Value {
        let of = |pick: fn(&Entry) -> Option<(&'static str, Value)>| -> Value {
            let picked = self.entries.iter().filter_map(pick);
            picked
                .map(|(name, value)| (name.to_owned(), value))
                .collect()
        };
        let steps: Vec<Value> = self.entries.iter().map(Entry::as_json).collect();
        json!({
            "schema": 1,
            "experiment": self.experiment.name,
            "title": self.experiment.title,
            "run": run,
            "ok": self.held(),
            "trouble": self.trouble,
            "steps": steps,
            "observations": of(|entry| match entry {
                Entry::Saw(what, value) => Some((what, value.clone())),
                _ => None,
            }),
            "claims": of(|entry| match entry {
                Entry::Claim(claim, holds) => Some((claim, (*holds).into())),
                _ => None,
            }),
            "why": self.experiment.why,
            "next": self.experiment.next,
            "ours": self.experiment.ours,
        })
    }

    fn heading(&self) -> String {
        let Experiment { name, title, .. } = self.experiment;
        format!("{name}: {title}\n")
    }

    fn conclusion(&self) -> String {
        let mut text = String::new();
        if let Some(trouble) = &self.trouble {
            _ = write!(text, "\n  NOT AS DESCRIBED\n{}", wrapped(trouble));
        }
        _ = write!(text, "\n  why\n{}", wrapped(self.experiment.why));
        _ = write!(text, "\n  try next\n{}", wrapped(self.experiment.next));
        for (n, (file, line)) in self.experiment.ours.iter().enumerate() {
            let heading = if n == 0 { "\n  in our code\n" } else { "" };
            _ = write!(text, "{heading}    {file}\n      {line}\n");
        }
        text.push('\n');
        text
    }

    fn add(&mut self, entry: Entry) {
        let text = entry.as_text();
        self.entries.push(entry);
        match (self.pace, self.entries.last()) {
            // The line itself stands there already: it was shown before the step was done.
            (Narration::Waiting, Some(Entry::Step(_, result))) if result.is_empty() => {}
            (Narration::Waiting, Some(Entry::Step(_, result))) => {
                self.tell(&format!("    {:RESULT_COLUMN$}  {result}\n", ""));
            }
            _ => self.tell(&text),
        }
    }

    fn tell(&mut self, text: &str) {
        if self.pace != Narration::Silent && self.untold.is_none() {
            self.untold = print_bytes(text.as_bytes()).err();
        }
    }

    /// Shows what will be done, and waits for Enter; at the end of input it goes on by itself, and also
    /// when nobody can see what there is to wait for.
    fn wait(&mut self, python: &str) {
        if self.pace == Narration::Waiting {
            self.tell(&format!("    {python}  [Enter] "));
            if self.untold.is_some() || is_reader_gone() {
                return;
            }
            if !matches!(input().read_line(&mut String::new()), Ok(1..)) {
                self.tell("\n");
            }
        }
    }
}

impl Entry {
    fn as_text(&self) -> String {
        match self {
            Self::Way(way, what) => format!("\n  the {way} way: {what}\n"),
            Self::Made(python) => format!("    {python}\n"),
            Self::Step(python, result) if result.is_empty() => format!("    {python}\n"),
            Self::Step(python, result) => format!("    {python:RESULT_COLUMN$}  {result}\n"),
            Self::Saw(what, value) => format!("    [{what}: {value}]\n"),
            Self::Claim(claim, true) => format!("    = {claim}\n"),
            Self::Claim(claim, false) => format!("    NOT SEEN: {claim}\n"),
        }
    }

    fn as_json(&self) -> Value {
        match self {
            Self::Way(way, what) => json!({ "way": way, "what": what }),
            Self::Made(python) => json!({ "made": python }),
            Self::Step(python, result) => json!({ "python": python, "result": result }),
            Self::Saw(what, value) => json!({ "observed": what, "value": value }),
            Self::Claim(claim, holds) => json!({ "claim": claim, "holds": holds }),
        }
    }
}

/// What can be noted as the result of a step: as Python would print it.
pub(super) trait Shown {
    fn shown(&self) -> String;
}

impl Shown for Vec<u8> {
    fn shown(&self) -> String {
        const BYTES_MAX: usize = 24;
        let (some, dots) = match self.get(..BYTES_MAX) {
            Some(some) => (some, format!("... ({} bytes)", self.len())),
            None => (&self[..], String::new()),
        };
        format!("b'{}'{dots}", some.escape_ascii())
    }
}

impl Shown for () {
    fn shown(&self) -> String {
        // As at Python's prompt: nothing.
        String::new()
    }
}

impl Shown for bool {
    fn shown(&self) -> String {
        if *self { "True" } else { "False" }.to_owned()
    }
}

impl Shown for usize {
    fn shown(&self) -> String {
        self.to_string()
    }
}

impl Shown for i32 {
    fn shown(&self) -> String {
        self.to_string()
    }
}

impl Shown for String {
    fn shown(&self) -> String {
        self.clone()
    }
}

impl Shown for Address {
    fn shown(&self) -> String {
        self.to_string()
    }
}

impl Shown for Option<f64> {
    fn shown(&self) -> String {
        self.map_or_else(|| "None".to_owned(), |seconds| format!("{seconds:?}"))
    }
}

impl<A: Shown, B: Shown> Shown for (A, B) {
    fn shown(&self) -> String {
        format!("({}, {})", self.0.shown(), self.1.shown())
    }
}

impl Shown for Option<Vec<u8>> {
    fn shown(&self) -> String {
        self.as_ref()
            .map_or_else(|| "None".to_owned(), Shown::shown)
    }
}

impl<T: Shown> Shown for Result<T, SocketError> {
    fn shown(&self) -> String {
        match self {
            Ok(value) => value.shown(),
            Err(error) => format!("{}: {error}", error.exception()),
        }
    }
}

/// Text in lines, indented.
fn wrapped(text: &str) -> String {
    let mut lines = String::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() && line.len() + 1 + word.len() > TEXT_COLUMNS {
            _ = writeln!(lines, "    {line}");
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    _ = writeln!(lines, "    {line}");
    lines
}
