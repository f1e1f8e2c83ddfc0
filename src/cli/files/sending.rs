//! What a server is asked that is sent files, and what it is given.
//!
//! A small file is sent at once, with its digest. Of a large one it is asked first what the server has: all of it, or
//! a part, which counts only if our file begins with the same bytes. Such questions are asked ahead, so that no file
//! waits for an answer about the one before it.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::AsFd;

use rustix::fs::{Stat, fstat};

use super::place::size;
use super::plan::{Item, Source};
use super::pump::{Stop, Transfer, Waits};
use super::report::{Arrived, Outcome, Report};
use crate::cli::Failure;
use crate::cli::exec::input::{Input, Taken};
use crate::client::{ClientError, FileDialogue, FileNews};
use crate::wire::{
    FileError, FileErrorKind, FileFacts, FileRequest, Kept, Sha256, Sha256Sum, Upload, UploadForm,
};

/// What is not longer is read at once, and sent without a question before it.
const SMALL_BYTES: u64 = 64 * 1024;

/// How many questions may have no answer.
const ASKED_MAX: usize = 256;

/// Of how many files it is asked ahead what the server has of them.
const AHEAD_MAX: usize = 16;

/// What is longer ends the connection where it is refused.
const DROPPED_BYTES_MAX: u64 = 1 << 20;

/// How much is read at once.
const READ_BYTES: usize = 64 * 1024;

/// How much is digested before the server has its turn.
const DIGESTED_PER_TURN: usize = 4 << 20;

/// Files that are sent on one connection.
#[derive(Debug)]
pub(super) struct Sending<'r> {
    items: &'r [Item],
    states: &'r mut [State],
    report: &'r mut Report,
    /// The next to be sent, and the next of which it is to be asked what the server has of it.
    next: usize,
    ahead: usize,
    /// Small files of which one is there already.
    to_compare: VecDeque<usize>,
    asked: VecDeque<Question>,
    /// The last of which it was asked how much was kept.
    asked_last: Option<usize>,
    current: Current,
    /// There was no room for more.
    is_full: bool,
    /// Standard input, while it is read.
    input: Option<Input>,
    buffer: Box<[u8]>,
}

/// What is known of a file, on whichever connection.
#[derive(Debug, Default)]
pub(super) struct State {
    /// It was said what became of it.
    pub(super) is_settled: bool,
    /// What is kept of it does not go on.
    pub(super) is_anew: bool,
    /// From where on it was sent.
    offset: u64,
    /// How much of it was sent, with what the server had.
    at: u64,
    sum: Option<Sha256Sum>,
    /// How long it was when its digest was made.
    size: u64,
    known: Known,
}

/// What the server has said of a file on this connection.
#[derive(Debug, Default, Clone)]
struct Known {
    /// How long the file is that is there, if there is one.
    there: Option<Option<u64>>,
    /// How much is kept of ours.
    kept: Option<Result<Option<Kept>, FileError>>,
    /// The digest of the file that is there.
    sum_there: Option<Option<Sha256Sum>>,
}

/// What the server was asked.
#[derive(Debug, Clone, Copy)]
enum Question {
    There(usize),
    Kept(usize),
    Same(usize),
    Upload(usize),
}

/// What is done now.
#[derive(Debug)]
enum Current {
    Nothing,
    /// A large file is digested: its beginning, or all of it.
    Digesting {
        index: usize,
        open: Open,
        left: u64,
        why: Why,
    },
    /// It is sent.
    Sending {
        index: usize,
        open: Open,
        left: u64,
    },
    /// Standard input is sent.
    Input {
        index: usize,
        sha256: Sha256,
    },
}

/// A file that is read.
#[derive(Debug)]
struct Open {
    file: File,
    found: Stat,
    sha256: Sha256,
}

#[derive(Debug, Clone, Copy)]
enum Why {
    /// Is it what was kept?
    Kept(Kept),
    /// Is it what is there?
    There,
}

impl<'r> Sending<'r> {
    /// Sends what is not settled.
    pub(super) fn new(
        items: &'r [Item],
        states: &'r mut [State],
        report: &'r mut Report,
    ) -> Sending<'r> {
        for state in states.iter_mut() {
            // What another connection said holds no longer.
            state.known = Known::default();
            state.sum = None;
        }
        Sending {
            items,
            states,
            report,
            next: 0,
            ahead: 0,
            to_compare: VecDeque::new(),
            asked: VecDeque::new(),
            asked_last: None,
            current: Current::Nothing,
            is_full: false,
            input: None,
            buffer: vec![0; READ_BYTES].into_boxed_slice(),
        }
    }

    /// How many files are settled.
    pub(super) fn settled(states: &[State]) -> usize {
        states.iter().filter(|state| state.is_settled).count()
    }

    /// Says what came of those that were not sent to their end.
    pub(super) fn give_up(
        items: &[Item],
        states: &mut [State],
        report: &mut Report,
        why: &str,
    ) -> Result<(), Failure> {
        for (item, state) in items.iter().zip(states) {
            if state.is_settled {
                continue;
            }
            state.is_settled = true;
            let size = item.size;
            match (&item.source, state.at) {
                (_, 0) => report.not_begun(&item.path, format_args!("not sent: {why}"))?,
                (Source::Stdin, at) => {
                    let how_far = format!("{at} bytes were sent, and are not kept: {why}");
                    report.failed(&item.path, how_far)?;
                }
                (_, at) => {
                    let how_far = format!("{at} of {size} bytes were sent: {why}");
                    report.failed(&item.path, how_far)?;
                }
            }
        }
        Ok(())
    }

    fn fail(&mut self, index: usize, why: &str) -> Result<(), Failure> {
        self.states[index].is_settled = true;
        self.report.failed(&self.items[index].path, why)
    }

    fn arrived(
        &mut self,
        index: usize,
        outcome: Outcome,
        name: Option<&str>,
        sum: Sha256Sum,
    ) -> Result<(), Failure> {
        let (item, state) = (&self.items[index], &mut self.states[index]);
        state.is_settled = true;
        let named = item.name.as_str();
        let name = name.unwrap_or(named);
        if name != named {
            let path = item.path.to_string_lossy();
            self.report
                .says(format_args!("{path}: it is called {name:?} there"));
        }
        self.report.arrived(&Arrived {
            outcome,
            file: &item.path,
            name,
            size: state.size,
            resumed_at: state.offset,
            sum,
        })
    }

    fn ask(
        &mut self,
        dialogue: &mut FileDialogue,
        request: &FileRequest<'_>,
        question: Question,
    ) -> Result<(), Failure> {
        dialogue.ask(request).map_err(anyhow::Error::new)?;
        self.asked.push_back(question);
        Ok(())
    }

    fn name(&self, index: usize) -> String {
        self.items[index].name.as_str().to_owned()
    }

    fn ask_kept(&mut self, dialogue: &mut FileDialogue, index: usize) -> Result<(), Failure> {
        self.asked_last = Some(index);
        self.states[index].known.kept = None;
        let request = FileRequest::Resume {
            name: self.name(index),
            size: self.items[index].size,
        };
        self.ask(dialogue, &request, Question::Kept(index))
    }

    fn ask_same(&mut self, dialogue: &mut FileDialogue, index: usize) -> Result<(), Failure> {
        let request = FileRequest::Verify {
            name: self.name(index),
            bytes: Some(self.states[index].size),
        };
        self.ask(dialogue, &request, Question::Same(index))
    }

    /// Asks ahead what the server has of large files.
    fn look_ahead(&mut self, dialogue: &mut FileDialogue) -> Result<(), Failure> {
        self.ahead = self.ahead.max(self.next);
        while self.ahead < self.items.len()
            && self.ahead < self.next + AHEAD_MAX
            && self.asked.len() < ASKED_MAX
        {
            let index = self.ahead;
            self.ahead += 1;
            if self.states[index].is_settled || !self.is_large(index) {
                continue;
            }
            let request = FileRequest::Verify {
                name: self.name(index),
                bytes: Some(0),
            };
            self.ask(dialogue, &request, Question::There(index))?;
            self.ask_kept(dialogue, index)?;
        }
        Ok(())
    }

    fn is_large(&self, index: usize) -> bool {
        let item = &self.items[index];
        !item.is_stdin() && item.size > SMALL_BYTES
    }

    /// Begins with the next thing that can be done; `false`: there is none before something is answered.
    fn begin(&mut self, dialogue: &mut FileDialogue) -> Result<bool, Stop> {
        self.look_ahead(dialogue)?;
        if self.asked.len() >= ASKED_MAX {
            return Ok(false);
        }
        if let Some(index) = self.to_compare.pop_front() {
            self.ask_same(dialogue, index)?;
            return Ok(true);
        }
        let index = self.next;
        let Some(item) = self.items.get(index) else {
            return Ok(false);
        };
        if self.states[index].is_settled {
            self.next += 1;
            return Ok(true);
        }
        if item.is_stdin() {
            self.next += 1;
            self.begin_input(dialogue, index)?;
            return Ok(true);
        }
        if self.is_large(index) {
            return self.begin_large(dialogue, index);
        }
        self.next += 1;
        self.send_small(dialogue, index)?;
        Ok(true)
    }

    fn begin_input(&mut self, dialogue: &mut FileDialogue, index: usize) -> Result<(), Failure> {
        let upload = self.upload(index, None);
        let request = FileRequest::Upload(Box::new(upload));
        self.ask(dialogue, &request, Question::Upload(index))?;
        self.input = Some(Input::new());
        self.current = Current::Input {
            index,
            sha256: Sha256::new(),
        };
        Ok(())
    }

    fn upload(&self, index: usize, size: Option<u64>) -> Upload {
        Upload {
            name: self.name(index),
            size,
            md5: None,
            sha256: None,
            kept: None,
            has_end: false,
            form: UploadForm::Resumable,
        }
    }

    fn send_small(&mut self, dialogue: &mut FileDialogue, index: usize) -> Result<(), Failure> {
        let room = usize::try_from(self.items[index].size).unwrap_or(0) + 1;
        // With room for its end to be seen by the second read.
        let mut bytes = Vec::with_capacity(room);
        let read = self.items[index].open().and_then(|(file, _)| {
            File::from(file)
                .take(SMALL_BYTES + 1)
                .read_to_end(&mut bytes)
        });
        match read {
            Ok(_) if bytes.len() as u64 > SMALL_BYTES => {
                let why = format!(
                    "it grew while it was sent: it had {} bytes",
                    self.items[index].size
                );
                return self.fail(index, &why);
            }
            Ok(_) => {}
            Err(error) => return self.fail(index, &format!("it cannot be read: {error}")),
        }
        let mut sha256 = Sha256::new();
        sha256.update(&bytes);
        let sum = sha256.finish();
        let state = &mut self.states[index];
        state.sum = Some(sum);
        state.size = bytes.len() as u64;
        state.at = state.size;
        let upload = Upload {
            sha256: Some(sum),
            ..self.upload(index, Some(bytes.len() as u64))
        };
        let request = FileRequest::Upload(Box::new(upload));
        self.ask(dialogue, &request, Question::Upload(index))?;
        dialogue.out().extend_from_slice(&bytes);
        self.report
            .progress
            .works_at(self.items[index].name.as_str());
        self.report.progress.moves(bytes.len());
        Ok(())
    }

    /// Goes on with a large file as far as is known what the server has of it.
    fn begin_large(&mut self, dialogue: &mut FileDialogue, index: usize) -> Result<bool, Stop> {
        let Known {
            there,
            kept,
            sum_there,
        } = self.states[index].known.clone();
        let (Some(there), Some(kept)) = (there, kept) else {
            return Ok(false);
        };
        let size_here = self.items[index].size;
        self.report
            .progress
            .works_at(self.items[index].name.as_str());
        if there == Some(size_here) && sum_there.is_none() && self.states[index].sum.is_none() {
            self.states[index].size = size_here;
            self.ask_same(dialogue, index)?;
            return self.digest(index, size_here, Why::There);
        }
        if there == Some(size_here) {
            let Some(sum_there) = sum_there else {
                return Ok(false);
            };
            if sum_there.is_some() && sum_there == self.states[index].sum {
                self.next += 1;
                self.report.progress.has(size_here);
                if let Some(sum) = sum_there {
                    self.arrived(index, Outcome::There, None, sum)?;
                }
                return Ok(true);
            }
        }
        match kept {
            Err(error) => {
                self.next += 1;
                self.fail(index, &reason(&error))?;
                Ok(true)
            }
            Ok(Some(_)) if self.asked_last != Some(index) => {
                // What counts is what was said last.
                self.ask_kept(dialogue, index)?;
                Ok(true)
            }
            Ok(Some(kept)) if !self.states[index].is_anew => {
                self.digest(index, kept.bytes, Why::Kept(kept))
            }
            Ok(_) => {
                let Some(open) = self.open_large(index)? else {
                    return Ok(true);
                };
                self.send_from(dialogue, index, open, None)?;
                Ok(true)
            }
        }
    }

    /// A large file as it was when it was asked about; none: that was said.
    fn open_large(&mut self, index: usize) -> Result<Option<Open>, Failure> {
        let item = &self.items[index];
        let why = match item.open() {
            Ok((file, found)) if size(&found) == item.size => {
                return Ok(Some(Open {
                    file: File::from(file),
                    found,
                    sha256: Sha256::new(),
                }));
            }
            Ok((_, found)) => format!(
                "it changed: it had {} bytes, and has {}",
                item.size,
                size(&found)
            ),
            Err(error) => format!("it cannot be read: {error}"),
        };
        self.next += 1;
        self.fail(index, &why)?;
        Ok(None)
    }

    fn digest(&mut self, index: usize, left: u64, why: Why) -> Result<bool, Stop> {
        if let Some(open) = self.open_large(index)? {
            self.current = Current::Digesting {
                index,
                open,
                left,
                why,
            };
        }
        Ok(true)
    }

    /// Sends what is behind that which was kept.
    fn send_from(
        &mut self,
        dialogue: &mut FileDialogue,
        index: usize,
        open: Open,
        kept: Option<Kept>,
    ) -> Result<(), Failure> {
        self.next += 1;
        let offset = kept.map_or(0, |kept| kept.bytes);
        let item_size = self.items[index].size;
        let state = &mut self.states[index];
        state.size = item_size;
        state.offset = offset;
        state.at = offset;
        self.report.progress.has(offset);
        // Its digest follows, so that the file is there only if all of it is right.
        let upload = Upload {
            kept,
            has_end: true,
            ..self.upload(index, Some(item_size))
        };
        let request = FileRequest::Upload(Box::new(upload));
        self.ask(dialogue, &request, Question::Upload(index))?;
        self.current = Current::Sending {
            index,
            open,
            left: item_size - offset,
        };
        if item_size == offset {
            self.ends(dialogue, index)?;
        }
        Ok(())
    }

    /// All of a large file was given, and its digest ends it.
    fn ends(&mut self, dialogue: &mut FileDialogue, index: usize) -> Result<(), Failure> {
        if let Current::Sending { open, .. } =
            std::mem::replace(&mut self.current, Current::Nothing)
        {
            let sum = open.sha256.finish();
            self.states[index].sum = Some(sum);
            let end = FileRequest::End(Some(sum));
            dialogue.ask(&end).map_err(anyhow::Error::new)?;
        }
        Ok(())
    }

    /// Reads a part of what is digested.
    fn digest_more(&mut self, dialogue: &mut FileDialogue) -> Result<(), Stop> {
        let Current::Digesting {
            index,
            open,
            left,
            why,
        } = &mut self.current
        else {
            return Ok(());
        };
        let (index, why) = (*index, *why);
        let mut budget = DIGESTED_PER_TURN;
        while *left > 0 && budget > 0 {
            match open.read(&mut self.buffer, *left) {
                Ok(0) => return Ok(self.shrank(index)?),
                Ok(n) => {
                    *left -= n as u64;
                    budget = budget.saturating_sub(n);
                }
                Err(error) => return Ok(self.unreadable(index, &error)?),
            }
        }
        if *left > 0 {
            return Ok(());
        }
        let Current::Digesting { mut open, .. } =
            std::mem::replace(&mut self.current, Current::Nothing)
        else {
            unreachable!("it was a moment ago");
        };
        let sum = open.sha256.clone().finish();
        match why {
            Why::There => self.states[index].sum = Some(sum),
            Why::Kept(kept) if kept.sha256 == sum => {
                self.send_from(dialogue, index, open, Some(kept))?;
            }
            Why::Kept(_) => {
                // What was kept is of another file.
                if let Err(error) = open.file.seek(SeekFrom::Start(0)) {
                    return Ok(self.unreadable(index, &error)?);
                }
                open.sha256 = Sha256::new();
                self.send_from(dialogue, index, open, None)?;
            }
        }
        Ok(())
    }

    /// Before anything of it was sent.
    fn shrank(&mut self, index: usize) -> Result<(), Failure> {
        self.current = Current::Nothing;
        self.next += 1;
        self.fail(index, "it shrank while it was read")
    }

    fn unreadable(&mut self, index: usize, error: &io::Error) -> Result<(), Failure> {
        self.current = Current::Nothing;
        self.next += 1;
        self.fail(index, &format!("it cannot be read: {error}"))
    }

    /// Gives the next bytes of the file that is sent; how many.
    fn give(&mut self, dialogue: &mut FileDialogue) -> Result<usize, Stop> {
        let Current::Sending { index, open, left } = &mut self.current else {
            return Ok(0);
        };
        let index = *index;
        let n = match open.read(&mut self.buffer, *left) {
            Ok(0) => return Err(self.abandon(index, "it shrank while it was sent")?),
            Ok(n) => n,
            Err(error) => {
                let why = format!("it cannot be read: {error}");
                return Err(self.abandon(index, &why)?);
            }
        };
        *left -= n as u64;
        let is_last = *left == 0;
        // The last bytes would make the file complete: they go only if it is still what it was.
        if is_last && open.has_changed() {
            return Err(self.abandon(index, "it changed while it was sent")?);
        }
        dialogue.out().extend_from_slice(&self.buffer[..n]);
        self.states[index].at += n as u64;
        self.report.progress.moves(n);
        if is_last {
            self.ends(dialogue, index)?;
        }
        Ok(n)
    }

    /// What is sent cannot come to its end, so that the connection has to.
    fn abandon(&mut self, index: usize, why: &str) -> Result<Stop, Failure> {
        let (at, size) = (self.states[index].at, self.items[index].size);
        self.fail(index, &format!("{at} of {size} bytes were sent: {why}"))?;
        Ok(Stop::Reconnect)
    }

    fn give_input(&mut self, dialogue: &mut FileDialogue, room: usize) -> Result<usize, Stop> {
        let (Current::Input { index, sha256 }, Some(input)) = (&mut self.current, &mut self.input)
        else {
            return Ok(0);
        };
        let index = *index;
        match input.read(room) {
            Ok(Taken::Nothing) => Ok(0),
            Ok(Taken::Bytes(bytes)) => {
                sha256.update(bytes);
                dialogue.give_part(bytes);
                let n = bytes.len();
                self.states[index].at += n as u64;
                self.report.progress.expect(n as u64);
                self.report.progress.moves(n);
                Ok(n)
            }
            Ok(Taken::End) => {
                let sum = sha256.clone().finish();
                let end = FileRequest::End(Some(sum));
                dialogue
                    .ask(&end)
                    .map_err(|cause| Failure::Run(cause.into()))?;
                let state = &mut self.states[index];
                state.sum = Some(sum);
                state.size = state.at;
                self.current = Current::Nothing;
                self.input = None;
                Ok(0)
            }
            Err(error) => {
                let why = format!("standard input cannot be read: {error}");
                Err(self.abandon(index, &why)?)
            }
        }
    }

    fn stored(&mut self, index: usize, facts: &FileFacts) -> Result<(), Stop> {
        let is_whole = !matches!(
            &self.current,
            Current::Sending { index: at, .. } | Current::Input { index: at, .. } if *at == index
        );
        let ours = self.states[index].sum.filter(|_| is_whole);
        match (ours, facts.sha256) {
            (Some(ours), Some(theirs))
                if ours == theirs && facts.size == Some(self.states[index].size) =>
            {
                Ok(self.arrived(index, Outcome::Done, facts.name.as_deref(), ours)?)
            }
            (Some(ours), Some(theirs)) => {
                let why = format!(
                    "the server has stored another file: its digest is {theirs}, and that of what was sent {ours}"
                );
                Ok(self.fail(index, &why)?)
            }
            _ => {
                self.fail(
                    index,
                    "the server says that it was stored before all of it was sent",
                )?;
                Err(Stop::Reconnect)
            }
        }
    }

    fn refused(&mut self, index: usize, error: &FileError) -> Result<(), Stop> {
        let follows = self.states[index].size - self.states[index].offset;
        let is_input = self.items[index].is_stdin();
        let is_current = matches!(
            &self.current,
            Current::Sending { index: at, .. } | Current::Input { index: at, .. } if *at == index
        );
        if error.kind == FileErrorKind::Exists && !is_input && !self.is_large(index) {
            self.to_compare.push_back(index);
            return Ok(());
        }
        if error.kind == FileErrorKind::Changed && self.states[index].offset > 0 {
            // What was kept is no longer.
            self.states[index].is_anew = true;
            self.states[index].at = 0;
            return Err(Stop::Reconnect);
        }
        self.fail(index, &reason(error))?;
        // The server drops what is on its way, or ends the connection.
        if is_current && (is_input || follows > DROPPED_BYTES_MAX) {
            return Err(Stop::Reconnect);
        }
        Ok(())
    }
}

impl Transfer for Sending<'_> {
    fn hear(&mut self, news: FileNews<'_>) -> Result<(), Stop> {
        let question = self.asked.pop_front();
        match (question, news) {
            (Some(Question::There(index)), FileNews::Done(facts)) => {
                self.states[index].known.there = Some(facts.size);
            }
            // What may not be read may be written.
            (Some(Question::There(index)), FileNews::Refused(_)) => {
                self.states[index].known.there = Some(None);
            }
            (Some(Question::Kept(index)), FileNews::Done(facts)) => {
                let kept = match (facts.offset, facts.sha256) {
                    (Some(bytes @ 1..), Some(sha256)) => Some(Kept { bytes, sha256 }),
                    _ => None,
                };
                self.states[index].known.kept = Some(Ok(kept));
            }
            (Some(Question::Kept(index)), FileNews::Refused(error)) => {
                self.states[index].known.kept = Some(Err(error));
            }
            (Some(Question::Same(index)), news) => {
                let size_here = self.states[index].size;
                let sum = match news {
                    FileNews::Done(facts) if facts.size == Some(size_here) => facts.sha256,
                    _ => None,
                };
                if self.is_large(index) {
                    self.states[index].known.sum_there = Some(sum);
                } else if let Some(sum) = sum.filter(|sum| self.states[index].sum == Some(*sum)) {
                    self.arrived(index, Outcome::There, None, sum)?;
                } else {
                    self.fail(index, "another file is there under its name")?;
                }
            }
            (Some(Question::Upload(index)), FileNews::Done(facts)) => {
                self.stored(index, &facts)?;
            }
            (Some(Question::Upload(index)), FileNews::Refused(error)) => {
                self.refused(index, &error)?;
            }
            (None, FileNews::Refused(error)) => {
                return Err(Stop::Client(ClientError::Refused {
                    address: "the server".to_owned(),
                    reason: error.reason,
                }));
            }
            // The dialogue has no other answers to these.
            (question, _) => self.asked.extend(question),
        }
        Ok(())
    }

    fn go_on(
        &mut self,
        dialogue: &mut FileDialogue,
        mut room: usize,
        _is_ready: bool,
    ) -> Result<(), Stop> {
        self.is_full = false;
        loop {
            if room == 0 {
                self.is_full = true;
                break;
            }
            let had = dialogue.out().len();
            match &self.current {
                Current::Nothing => {
                    if !self.begin(dialogue)? {
                        break;
                    }
                }
                Current::Digesting { .. } => {
                    self.digest_more(dialogue)?;
                    if matches!(self.current, Current::Digesting { .. }) {
                        break;
                    }
                }
                Current::Sending { .. } => {
                    self.give(dialogue)?;
                }
                Current::Input { .. } => {
                    let n = self.give_input(dialogue, room)?;
                    if n == 0 && self.input.is_some() {
                        break;
                    }
                }
            }
            room = room.saturating_sub(dialogue.out().len() - had);
        }
        Ok(())
    }

    fn waits(&self) -> Waits<'_> {
        match (&self.current, &self.input) {
            _ if self.is_full => Waits::Room,
            (Current::Digesting { .. }, _) => Waits::Nothing,
            (Current::Input { .. }, Some(input)) => Waits::Input(input.as_fd()),
            (Current::Nothing, _)
                if self.asked.is_empty()
                    && self.to_compare.is_empty()
                    && self.next == self.items.len() =>
            {
                Waits::Done
            }
            (Current::Nothing, _) if self.asked.is_empty() => Waits::Nothing,
            _ => Waits::Server,
        }
    }
}

impl Open {
    /// Reads on, no more than so much, and digests it.
    fn read(&mut self, buffer: &mut [u8], left: u64) -> io::Result<usize> {
        let most = usize::try_from(left)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        loop {
            match self.file.read(&mut buffer[..most]) {
                Ok(n) => {
                    self.sha256.update(&buffer[..n]);
                    return Ok(n);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether it is no longer what it was when it was opened.
    fn has_changed(&self) -> bool {
        let of = |stat: &Stat| (stat.st_size, stat.st_mtime, stat.st_mtime_nsec);
        fstat(&self.file).is_ok_and(|now| of(&now) != of(&self.found))
    }
}

fn reason(error: &FileError) -> String {
    format!("refused: {}", error.reason)
}
