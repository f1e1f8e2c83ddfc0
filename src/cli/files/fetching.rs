//! Fetching files: what is asked of the server, and what is done with its answers.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;

use rustix::fs::{FileType, Mode, OFlags};

use super::partial::{Partial, finish_all};
use super::place::{Place, kind, kind_name, look, open_beneath, size};
use super::pump::{Stop, Transfer, Waits};
use super::report::{Arrived, Outcome, Report, joined};
use crate::cli::Failure;
use crate::cli::exec::output::{Output, Unwritable};
use crate::client::{FileDialogue, FileNews};
use crate::wire::{FileError, FileName, FileRequest, Kept, Sha256, Sha256Sum};

/// How many files are asked for before the first of them has come.
const ASKED_MAX: usize = 128;

/// How many whole files wait to be put on the disk together: two descriptors each, …
const WHOLE_MAX: usize = 64;

/// … and how long a file may be that waits, since what is large waits for the disk by itself.
const WHOLE_BYTES_MAX: u64 = 256 * 1024;

/// How much is read at once.
const READ_BYTES: usize = 128 * 1024;

/// How much is digested before the server has its turn.
const DIGESTED_PER_TURN: usize = 4 << 20;

/// A file that is wanted.
#[derive(Debug)]
pub(super) struct Wanted {
    name: FileName,
    /// Whether it was said what became of it.
    is_settled: bool,
    is_known: bool,
}

impl Wanted {
    /// One that was not asked for yet.
    pub(super) fn new(name: FileName) -> Wanted {
        Wanted {
            name,
            is_settled: false,
            is_known: false,
        }
    }
}

/// Where files go.
#[derive(Debug)]
pub(super) enum Target {
    Directory {
        place: Place,
        /// What is there may be replaced.
        is_forced: bool,
    },
    Stdout(Output),
}

/// Files that are fetched on one connection.
#[derive(Debug)]
pub(super) struct Fetching<'r> {
    wanted: &'r mut [Wanted],
    target: Target,
    report: &'r mut Report,
    next: usize,
    /// What is to be asked for though something else is there.
    again: VecDeque<usize>,
    /// Of which the server has told the digest, and ours is to be compared with it.
    to_compare: VecDeque<Told>,
    asked: VecDeque<Question>,
    work: Work,
    arriving: Option<Arriving>,
    whole: Vec<Whole>,
    buffer: Box<[u8]>,
}

/// What the server was asked.
#[derive(Debug)]
enum Question {
    /// Is this the file that is there already, of this length?
    Same { index: usize, size: u64 },
    /// Send it; so much of it is there.
    File {
        index: usize,
        kept: Option<(Partial, Sha256)>,
    },
}

/// What is digested here.
#[derive(Debug)]
enum Work {
    Nothing,
    /// What was kept of a file.
    Kept {
        index: usize,
        partial: Partial,
        sha256: Sha256,
    },
    /// A file that is there, which is the server's if it has this digest.
    There {
        told: Told,
        file: File,
        sha256: Sha256,
    },
}

/// The digest that the server tells of a file that is here already and has the same length.
#[derive(Debug, Clone, Copy)]
struct Told {
    index: usize,
    size: u64,
    sum: Sha256Sum,
}

/// The file that comes.
#[derive(Debug)]
struct Arriving {
    index: usize,
    /// None: it goes to standard output.
    partial: Option<Partial>,
    sha256: Sha256,
    size: u64,
    offset: u64,
    at: u64,
}

/// A file that has come, and is not under its name.
#[derive(Debug)]
struct Whole {
    index: usize,
    partial: Partial,
    size: u64,
    offset: u64,
    sum: Sha256Sum,
}

impl<'r> Fetching<'r> {
    pub(super) fn new(
        wanted: &'r mut [Wanted],
        target: Target,
        report: &'r mut Report,
    ) -> Fetching<'r> {
        Fetching {
            wanted,
            target,
            report,
            next: 0,
            again: VecDeque::new(),
            to_compare: VecDeque::new(),
            asked: VecDeque::new(),
            work: Work::Nothing,
            arriving: None,
            whole: Vec::new(),
            buffer: vec![0; READ_BYTES].into_boxed_slice(),
        }
    }

    /// Says what came of those that did not come to their end.
    pub(super) fn give_up(mut self, why: &str) -> Result<(), Failure> {
        self.finish()?;
        if let Some(arriving) = self.arriving.take() {
            let Arriving {
                index,
                partial,
                size,
                at,
                ..
            } = arriving;
            let kept = if partial.is_some() {
                ", and is kept"
            } else {
                ""
            };
            let how_far = format!("{at} of {size} bytes came{kept}: {why}");
            self.fail(index, &how_far)?;
        }
        for index in 0..self.wanted.len() {
            if !self.wanted[index].is_settled {
                self.wanted[index].is_settled = true;
                let path = self.path(index);
                let why = format_args!("nothing of it came: {why}");
                self.report.not_begun(&path, why)?;
            }
        }
        Ok(())
    }

    fn fail(&mut self, index: usize, why: &str) -> Result<(), Failure> {
        self.wanted[index].is_settled = true;
        self.knows(index, 0);
        let path = self.path(index);
        self.report.failed(&path, why)
    }

    /// It is known how long a file is.
    fn knows(&mut self, index: usize, size: u64) {
        let wanted = &mut self.wanted[index];
        if !std::mem::replace(&mut wanted.is_known, true) {
            self.report.progress.expect_file(size);
        }
    }

    /// Where a file goes, as a person would write it.
    fn path(&self, index: usize) -> OsString {
        let name = self.wanted[index].name.as_str();
        match &self.target {
            Target::Directory { place, .. } => joined(place.path(), name),
            Target::Stdout(_) => name.into(),
        }
    }

    fn arrived(
        &mut self,
        outcome: Outcome,
        index: usize,
        (size, resumed_at): (u64, u64),
        sum: Sha256Sum,
    ) -> Result<(), Failure> {
        self.wanted[index].is_settled = true;
        let path = self.path(index);
        self.report.arrived(&Arrived {
            outcome,
            file: &path,
            name: self.wanted[index].name.as_str(),
            size,
            resumed_at,
            sum,
        })
    }

    /// Asks for a file, or first whether it is the one that is there.
    fn begin(
        &mut self,
        dialogue: &mut FileDialogue,
        index: usize,
        is_again: bool,
    ) -> Result<(), Failure> {
        match self.prepare(index, is_again) {
            Ok(Prepared::Nothing) => self.ask(dialogue, index, None),
            Ok(Prepared::Kept(partial)) => {
                self.work = Work::Kept {
                    index,
                    partial,
                    sha256: Sha256::new(),
                };
                Ok(())
            }
            Ok(Prepared::There(size)) => {
                let request = FileRequest::Verify {
                    name: self.wanted[index].name.as_str().to_owned(),
                    bytes: Some(size),
                };
                dialogue.ask(&request).map_err(anyhow::Error::new)?;
                self.asked.push_back(Question::Same { index, size });
                Ok(())
            }
            Ok(Prepared::Never(why)) => self.fail(index, &why),
            Err(error) => self.fail(index, &error.to_string()),
        }
    }

    /// What is there of it.
    fn prepare(&self, index: usize, is_again: bool) -> io::Result<Prepared> {
        let Target::Directory { place, is_forced } = &self.target else {
            return Ok(Prepared::Nothing);
        };
        let name = &self.wanted[index].name;
        let Some(directory) = place.find(name)? else {
            return Ok(Prepared::Nothing);
        };
        let last = name.split().1;
        match look(&directory, last)? {
            Some(found) if kind(&found) == FileType::Directory => {
                return Ok(Prepared::Never("a directory is there".to_owned()));
            }
            Some(found) if kind(&found) == FileType::RegularFile && !is_again => {
                return Ok(Prepared::There(size(&found)));
            }
            Some(found) if !is_forced => {
                return Ok(Prepared::Never(format!(
                    "{} is there; --force replaces it",
                    kind_name(kind(&found))
                )));
            }
            _ => {}
        }
        Ok(match Partial::find(&directory, last)? {
            Some(partial) if partial.len() > 0 => Prepared::Kept(partial),
            _ => Prepared::Nothing,
        })
    }

    fn ask(
        &mut self,
        dialogue: &mut FileDialogue,
        index: usize,
        kept: Option<(Partial, Sha256)>,
    ) -> Result<(), Failure> {
        let request = FileRequest::Download {
            name: self.wanted[index].name.as_str().to_owned(),
            kept: kept.as_ref().map(|(partial, sha256)| Kept {
                bytes: partial.len(),
                sha256: sha256.clone().finish(),
            }),
        };
        dialogue.ask(&request).map_err(anyhow::Error::new)?;
        self.asked.push_back(Question::File { index, kept });
        Ok(())
    }

    /// Goes on with what is digested; `false`: there is nothing.
    fn digest(&mut self, dialogue: &mut FileDialogue) -> Result<bool, Failure> {
        let (index, read) = match &mut self.work {
            Work::Nothing => return Ok(false),
            Work::Kept {
                index,
                partial,
                sha256,
            } => (
                *index,
                digest(sha256, &mut self.buffer, |into| partial.read(into)),
            ),
            Work::There { told, file, sha256 } => (
                told.index,
                digest(sha256, &mut self.buffer, |into| file.read(into)),
            ),
        };
        match read {
            Ok(true) => return Ok(true),
            Ok(false) => {}
            Err(error) => {
                self.work = Work::Nothing;
                self.fail(index, &format!("what is there cannot be read: {error}"))?;
                return Ok(true);
            }
        }
        match std::mem::replace(&mut self.work, Work::Nothing) {
            Work::Nothing => {}
            Work::Kept {
                partial, sha256, ..
            } => self.ask(dialogue, index, Some((partial, sha256)))?,
            Work::There { told, sha256, .. } if sha256.clone().finish() == told.sum => {
                self.knows(index, told.size);
                self.report.progress.has(told.size);
                self.arrived(Outcome::There, index, (told.size, 0), told.sum)?;
            }
            Work::There { .. } => self.differs(index)?,
        }
        Ok(true)
    }

    /// Another file is there.
    fn differs(&mut self, index: usize) -> Result<(), Failure> {
        match &self.target {
            Target::Directory {
                is_forced: true, ..
            } => {
                self.again.push_back(index);
                Ok(())
            }
            _ => self.fail(index, "another file is there; --force replaces it"),
        }
    }

    /// A file that is there: is it the one that the server has?
    fn compare(&mut self, told: Told) -> Result<(), Failure> {
        let Target::Directory { place, .. } = &self.target else {
            return Ok(());
        };
        let name = &self.wanted[told.index].name;
        let opened = place.find(name).and_then(|directory| {
            let directory = directory.ok_or(io::ErrorKind::NotFound)?;
            let file = open_beneath(directory, name.split().1, OFlags::RDONLY, Mode::empty());
            Ok(File::from(file?))
        });
        match opened {
            Ok(file) => {
                self.work = Work::There {
                    told,
                    file,
                    sha256: Sha256::new(),
                };
                Ok(())
            }
            Err(error) => {
                let why = format!("what is there cannot be read: {error}");
                self.fail(told.index, &why)
            }
        }
    }

    fn begins(
        &mut self,
        index: usize,
        kept: Option<(Partial, Sha256)>,
        size: u64,
        offset: u64,
    ) -> Result<(), Stop> {
        self.report
            .progress
            .works_at(self.wanted[index].name.as_str());
        self.knows(index, size);
        let (partial, sha256) = match (&self.target, kept) {
            (Target::Stdout(_), _) => (None, Sha256::new()),
            (Target::Directory { .. }, Some((mut partial, sha256))) if offset > 0 => {
                self.report.progress.has(offset);
                let cut = partial.cut(offset);
                cut.map_err(|error| self.broken(index, &error))?;
                (Some(partial), sha256)
            }
            (Target::Directory { place, .. }, kept) => {
                // It is locked, and is made anew.
                drop(kept);
                let name = &self.wanted[index].name;
                let made = place
                    .make(name)
                    .and_then(|directory| Partial::make(&directory, name.split().1));
                let partial = made.map_err(|error| self.broken(index, &error))?;
                (Some(partial), Sha256::new())
            }
        };
        self.arriving = Some(Arriving {
            index,
            partial,
            sha256,
            size,
            offset,
            at: offset,
        });
        Ok(())
    }

    fn bytes(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        let Some(arriving) = &mut self.arriving else {
            return Ok(());
        };
        arriving.sha256.update(bytes);
        arriving.at += bytes.len() as u64;
        self.report.progress.moves(bytes.len());
        if let Some(partial) = &mut arriving.partial {
            let written = partial.write(bytes);
            let index = arriving.index;
            return written.map_err(|error| self.broken(index, &error));
        }
        match &mut self.target {
            Target::Stdout(output) => output.give(bytes).map_err(unwritable),
            Target::Directory { .. } => Ok(()),
        }
    }

    fn ends(&mut self, told: Sha256Sum) -> Result<(), Stop> {
        let Some(arriving) = self.arriving.take() else {
            return Ok(());
        };
        let Arriving {
            index,
            partial,
            sha256,
            size,
            offset,
            ..
        } = arriving;
        let sum = sha256.finish();
        if sum != told {
            if let Some(partial) = partial {
                partial.remove();
            }
            let why = format!(
                "what came has the digest {sum}, and the server's file {told}: nothing of it is kept"
            );
            return Ok(self.fail(index, &why)?);
        }
        let Some(partial) = partial else {
            return Ok(self.arrived(Outcome::Done, index, (size, offset), sum)?);
        };
        self.whole.push(Whole {
            index,
            partial,
            size,
            offset,
            sum,
        });
        if size > WHOLE_BYTES_MAX || self.whole.len() == WHOLE_MAX {
            self.finish()?;
        }
        Ok(())
    }

    /// Has files that have come on the disk, under their names.
    fn finish(&mut self) -> Result<(), Failure> {
        let Target::Directory { place, is_forced } = &self.target else {
            return Ok(());
        };
        let mut files = Vec::new();
        let mut all = Vec::new();
        for whole in self.whole.drain(..) {
            files.push((whole.index, (whole.size, whole.offset), whole.sum));
            all.push((whole.partial, self.wanted[whole.index].name.split().1));
        }
        let outcomes = finish_all(all, place.file_mode, *is_forced);
        for ((index, sizes, sum), outcome) in files.into_iter().zip(outcomes) {
            match outcome {
                Ok(()) => self.arrived(Outcome::Done, index, sizes, sum)?,
                Err(error) => {
                    let why = match error.kind() {
                        io::ErrorKind::AlreadyExists => {
                            "a file was made there meanwhile; --force replaces it".to_owned()
                        }
                        _ => format!("it came, and cannot be put there: {error}"),
                    };
                    self.fail(index, &why)?;
                }
            }
        }
        Ok(())
    }

    fn refused(&mut self, index: usize, error: &FileError) -> Result<(), Failure> {
        let mut why = error.reason.clone();
        if let Some(mut arriving) = self.arriving.take() {
            // Of what was sent, the end may be none of the file.
            let sent = arriving.at - arriving.offset;
            let whole = arriving.offset + error.valid.unwrap_or(sent).min(sent);
            if let Some(partial) = &mut arriving.partial
                && let Err(error) = partial.cut(whole)
            {
                why.push_str(&format!("; what came of it cannot be cut: {error}"));
            }
            why = format!("{whole} of {} bytes came: {why}", arriving.size);
        }
        self.fail(index, &why)
    }

    /// Nothing more can be written here, and so nothing more is fetched.
    fn broken(&mut self, index: usize, error: &io::Error) -> Stop {
        let path = self.path(index);
        let shown = path.to_string_lossy();
        Stop::Local(Failure::Run(anyhow::anyhow!(
            "{shown} cannot be written: {error}"
        )))
    }
}

impl Fetching<'_> {
    fn has_work(&self) -> bool {
        !matches!(self.work, Work::Nothing) || !self.to_compare.is_empty() || !self.again.is_empty()
    }

    /// Whether nothing is left to be asked or answered.
    fn has_all_answers(&self) -> bool {
        !self.has_work() && self.asked.is_empty() && self.next == self.wanted.len()
    }

    fn hears(&mut self, news: FileNews<'_>) -> Result<(), Stop> {
        match news {
            FileNews::Bytes(bytes) => return self.bytes(bytes),
            FileNews::Part | FileNews::Entry(_) | FileNews::Listed { .. } => return Ok(()),
            FileNews::Begins { size, offset } => {
                let Some(Question::File { index, kept }) = self.asked.front_mut() else {
                    return Ok(());
                };
                let (index, kept) = (*index, kept.take());
                return self.begins(index, kept, size, offset);
            }
            FileNews::Ends(_) | FileNews::Done(_) | FileNews::Refused(_) => {}
        }
        match (self.asked.pop_front(), news) {
            (Some(Question::File { .. }), FileNews::Ends(sum)) => self.ends(sum),
            (Some(Question::Same { index, size }), FileNews::Done(facts)) => {
                let (Some(there), Some(sum)) = (facts.size, facts.sha256) else {
                    return Ok(());
                };
                if size != there {
                    return Ok(self.differs(index)?);
                }
                self.to_compare.push_back(Told { index, size, sum });
                Ok(())
            }
            (Some(Question::Same { index, .. } | Question::File { index, .. }), news) => {
                let FileNews::Refused(error) = news else {
                    return Ok(());
                };
                Ok(self.refused(index, &error)?)
            }
            (None, FileNews::Refused(error)) => Err(Stop::Local(Failure::Run(anyhow::anyhow!(
                "the server says: {}",
                error.reason
            )))),
            (None, _) => Ok(()),
        }
    }
}

impl Transfer for Fetching<'_> {
    fn hear(&mut self, news: FileNews<'_>) -> Result<(), Stop> {
        self.hears(news)?;
        // After the last answer the server may go, and before that is heard these are there.
        if !self.whole.is_empty() && self.has_all_answers() {
            self.finish()?;
        }
        Ok(())
    }

    fn go_on(
        &mut self,
        dialogue: &mut FileDialogue,
        _room: usize,
        _is_ready: bool,
    ) -> Result<(), Stop> {
        if let Target::Stdout(output) = &mut self.target {
            output.flush().map_err(unwritable)?;
        }
        while self.asked.len() < ASKED_MAX {
            if self.digest(dialogue)? {
                if !matches!(self.work, Work::Nothing) {
                    break;
                }
            } else if let Some(told) = self.to_compare.pop_front() {
                self.compare(told)?;
            } else if let Some(index) = self.again.pop_front() {
                self.begin(dialogue, index, true)?;
            } else if self.next < self.wanted.len() {
                let index = self.next;
                self.next += 1;
                self.begin(dialogue, index, false)?;
            } else {
                break;
            }
        }
        Ok(())
    }

    /// What came meanwhile is synced together: the longer the disk takes, the more that is.
    fn rests(&mut self) -> Result<(), Stop> {
        Ok(self.finish()?)
    }

    fn waits(&self) -> Waits<'_> {
        if let Target::Stdout(output) = &self.target
            && output.is_full()
        {
            return Waits::Output(output.as_fd());
        }
        if self.has_work() && self.asked.len() < ASKED_MAX {
            Waits::Nothing
        } else if self.has_all_answers() && self.whole.is_empty() {
            Waits::Done
        } else {
            Waits::Server
        }
    }
}

/// What is there of a wanted file.
enum Prepared {
    Nothing,
    /// A part of it.
    Kept(Partial),
    /// A file of this length, which may be it.
    There(u64),
    /// What cannot be replaced.
    Never(String),
}

/// Digests a part of a file; `false`: it is at its end.
fn digest(
    sha256: &mut Sha256,
    buffer: &mut [u8],
    mut read: impl FnMut(&mut [u8]) -> io::Result<usize>,
) -> io::Result<bool> {
    let mut left = DIGESTED_PER_TURN;
    while left > 0 {
        let n = match read(buffer) {
            Ok(0) => return Ok(false),
            Ok(n) => n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        sha256.update(&buffer[..n]);
        left = left.saturating_sub(n);
    }
    Ok(true)
}

fn unwritable(wrong: Unwritable) -> Stop {
    match wrong {
        Unwritable::ReaderGone => Stop::ReaderGone,
        Unwritable::Failed(error) => {
            let error = anyhow::Error::new(error);
            Stop::Local(error.context("standard output cannot be written").into())
        }
    }
}
