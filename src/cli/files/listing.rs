//! The files that a server has, as it says them.

use std::io::{self, IsTerminal};

use serde::Serialize;

use super::pump::{Stop, Transfer, Waits};
use crate::cli::streams::is_reader_gone;
use crate::cli::{Failure, print_bytes};
use crate::client::{FileDialogue, FileNews};
use crate::wire::{FileRequest, WireError, neutralise};

/// How many files are listed at the most: what goes on behind them is no list.
const FILES_MAX: u64 = 10_000_000;

/// How much is collected before it is printed.
const PRINTED_BYTES: usize = 64 * 1024;

/// A list that is printed as it comes.
#[derive(Debug)]
pub(super) struct Listing {
    is_json: bool,
    is_terminal: bool,
    stage: Stage,
    text: Vec<u8>,
    files: u64,
    bytes: u64,
    /// How many files no request can name.
    pub(super) skipped: u64,
}

#[derive(Debug, PartialEq, Eq)]
enum Stage {
    New,
    Asked,
    Done,
}

/// A line of JSON for each file.
#[derive(Debug, Serialize)]
struct Line<'a> {
    schema: u32,
    file_name: &'a str,
    file_size: u64,
    modified: u64,
}

/// And the last one.
#[derive(Debug, Serialize)]
struct LastLine {
    schema: u32,
    files: u64,
    bytes: u64,
    skipped: u64,
}

impl Listing {
    pub(super) fn new(is_json: bool) -> Listing {
        Listing {
            is_json,
            is_terminal: io::stdout().is_terminal(),
            stage: Stage::New,
            text: Vec::new(),
            files: 0,
            bytes: 0,
            skipped: 0,
        }
    }

    fn print(&mut self) -> Result<(), Stop> {
        print_bytes(&self.text)?;
        self.text.clear();
        if is_reader_gone() {
            return Err(Stop::ReaderGone);
        }
        Ok(())
    }

    fn json(&mut self, line: &impl Serialize) -> Result<(), Failure> {
        serde_json::to_writer(&mut self.text, line).map_err(anyhow::Error::new)?;
        self.text.push(b'\n');
        Ok(())
    }
}

impl Transfer for Listing {
    fn hear(&mut self, news: FileNews<'_>) -> Result<(), Stop> {
        match news {
            FileNews::Entry(entry) => {
                self.files += 1;
                self.bytes = self.bytes.saturating_add(entry.size);
                if self.files > FILES_MAX {
                    return Err(Stop::Client(crate::client::ClientError::Damaged {
                        address: "the server".to_owned(),
                        detail: format!("its list has more than {FILES_MAX} files"),
                    }));
                }
                if self.is_json {
                    self.json(&Line {
                        schema: 1,
                        file_name: &entry.name,
                        file_size: entry.size,
                        modified: entry.modified,
                    })?;
                } else {
                    let time = time_text(entry.modified);
                    let head = format!("{:>12}  {time}  ", entry.size);
                    self.text.extend_from_slice(head.as_bytes());
                    neutralise(entry.name.as_bytes(), &mut self.text);
                    self.text.push(b'\n');
                }
                if self.is_terminal || self.text.len() >= PRINTED_BYTES {
                    self.print()?;
                }
            }
            FileNews::Listed { skipped } => {
                self.skipped = skipped;
                if self.is_json {
                    self.json(&LastLine {
                        schema: 1,
                        files: self.files,
                        bytes: self.bytes,
                        skipped,
                    })?;
                }
                self.print()?;
                self.stage = Stage::Done;
            }
            FileNews::Refused(error) => {
                self.print()?;
                return Err(Stop::Local(Failure::Run(anyhow::anyhow!(
                    "the server says: {}",
                    error.reason
                ))));
            }
            FileNews::Part
            | FileNews::Done(_)
            | FileNews::Begins { .. }
            | FileNews::Bytes(_)
            | FileNews::Ends(_) => {}
        }
        Ok(())
    }

    fn go_on(
        &mut self,
        dialogue: &mut FileDialogue,
        _room: usize,
        _is_ready: bool,
    ) -> Result<(), Stop> {
        if self.stage == Stage::New {
            let asked = dialogue.ask(&FileRequest::List);
            asked.map_err(|cause: WireError| Failure::Run(cause.into()))?;
            self.stage = Stage::Asked;
        }
        Ok(())
    }

    fn waits(&self) -> Waits<'_> {
        match self.stage {
            Stage::New => Waits::Nothing,
            Stage::Asked => Waits::Server,
            Stage::Done => Waits::Done,
        }
    }
}

/// A moment as everybody reads it: UTC.
fn time_text(seconds: u64) -> String {
    let moment = i64::try_from(seconds)
        .ok()
        .and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    match moment {
        Some(moment) => moment.to_string(),
        None => format!("{:<20}", "-"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_that_no_calendar_has_is_none() {
        assert_eq!(time_text(1_764_263_833), "2025-11-27T17:17:13Z");
        assert_eq!(time_text(u64::MAX).trim(), "-");
    }
}
