//! What came of each file: its digest as `sha256sum` prints it, or JSON.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::{self, IsTerminal};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use serde::Serialize;

use super::progress::Progress;
use crate::cli::streams::say;
use crate::cli::terminal::safe_to_show;
use crate::cli::{Failure, complain, is_quiet, print_bytes};
use crate::wire::Sha256Sum;

/// What is said of the files, and how many of them failed.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) progress: Progress,
    is_json: bool,
    /// Standard output is for the files themselves.
    is_beside: bool,
    failed: u64,
    /// Of how many with which nothing was begun the first was said alone.
    not_begun: u64,
}

/// What came of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Outcome {
    /// It was moved, all of it or what was missing.
    Done,
    /// It was there already, with these bytes.
    There,
    /// It was not moved to its end.
    Failed,
    /// It is none that can be moved.
    Skipped,
}

/// A line of JSON.
#[derive(Debug, Serialize)]
struct Line<'a> {
    schema: u32,
    outcome: Outcome,
    file: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    file_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file_size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resumed_at: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

/// A file that is where it was to be.
#[derive(Debug)]
pub(super) struct Arrived<'a> {
    pub(super) outcome: Outcome,
    /// Its path here.
    pub(super) file: &'a OsStr,
    /// Its name there.
    pub(super) name: &'a str,
    pub(super) size: u64,
    /// From where on it was moved, if not from its beginning.
    pub(super) resumed_at: u64,
    pub(super) sum: Sha256Sum,
}

impl Report {
    /// Nothing was said yet.
    pub(super) fn new(progress: Progress, is_json: bool) -> Report {
        Report {
            progress,
            is_json,
            is_beside: false,
            failed: 0,
            not_begun: 0,
        }
    }

    /// The same where files go to standard output.
    pub(super) fn beside_the_files(self) -> Report {
        Report {
            is_beside: true,
            ..self
        }
    }

    /// A file is where it was to be.
    pub(super) fn arrived(&mut self, arrived: &Arrived<'_>) -> Result<(), Failure> {
        self.progress.finishes_file();
        if self.is_beside {
            if !is_quiet() {
                let line = sum_line(&arrived.sum, arrived.file);
                let shown = String::from_utf8_lossy(&safe_to_show(&line)).into_owned();
                self.progress.beside(|| say(&shown));
            }
            return Ok(());
        }
        if self.is_json {
            return self.line(&Line {
                schema: 1,
                outcome: arrived.outcome,
                file: &arrived.file.to_string_lossy(),
                file_name: Some(arrived.name),
                file_size: Some(arrived.size),
                resumed_at: (arrived.resumed_at > 0).then_some(arrived.resumed_at),
                sha256: Some(arrived.sum.to_string()),
                error: None,
            });
        }
        let line = sum_line(&arrived.sum, arrived.file);
        let line = if io::stdout().is_terminal() {
            safe_to_show(&line)
        } else {
            line
        };
        self.progress.beside(|| print_bytes(&line))
    }

    /// A file is not where it was to be.
    pub(super) fn failed(&mut self, file: &OsStr, why: impl fmt::Display) -> Result<(), Failure> {
        self.progress.finishes_file();
        self.problem(Outcome::Failed, file, &why.to_string())
    }

    /// Nothing was begun with a file, for a reason that is not its own: the first is said, the others are counted.
    pub(super) fn not_begun(
        &mut self,
        file: &OsStr,
        why: impl fmt::Display,
    ) -> Result<(), Failure> {
        self.not_begun += 1;
        if self.not_begun == 1 || self.is_json {
            return self.failed(file, why);
        }
        self.progress.finishes_file();
        self.failed += 1;
        Ok(())
    }

    /// Says how it can be gone on with.
    pub(super) fn go_on(&self) {
        if self.not_begun > 1 {
            self.says(format_args!("and so are {} more", self.not_begun - 1));
        }
        self.says(format_args!("go on with: {}", same_command()));
    }

    /// A file is none that can be moved.
    pub(super) fn skipped(&mut self, file: &OsStr, why: impl fmt::Display) -> Result<(), Failure> {
        self.problem(Outcome::Skipped, file, &format!("skipped: {why}"))
    }

    fn problem(&mut self, outcome: Outcome, file: &OsStr, why: &str) -> Result<(), Failure> {
        self.failed += 1;
        let shown = file.to_string_lossy();
        self.progress
            .beside(|| complain(format_args!("{}: {why}", one_line(&shown))));
        if self.is_json && !self.is_beside {
            self.line(&Line {
                schema: 1,
                outcome,
                file: &shown,
                file_name: None,
                file_size: None,
                resumed_at: None,
                sha256: None,
                error: Some(why),
            })?;
        }
        Ok(())
    }

    /// Says something that belongs to no file.
    pub(super) fn says(&self, what: impl fmt::Display) {
        self.progress.beside(|| complain(what));
    }

    /// How many files are not where they were to be.
    pub(super) fn failures(&self) -> u64 {
        self.failed
    }

    fn line(&self, line: &Line<'_>) -> Result<(), Failure> {
        let mut json = serde_json::to_vec(line).map_err(anyhow::Error::new)?;
        json.push(b'\n');
        self.progress.beside(|| print_bytes(&json))
    }
}

/// A name on one line, whatever is in it.
pub(super) fn one_line(name: &str) -> String {
    name.replace('\n', "\\n")
}

/// The command that was typed, to be typed again.
fn same_command() -> String {
    let args = std::env::args_os().skip(1);
    let words = args.map(|word| word.to_string_lossy().into_owned());
    shell_words::join(["onepoll".to_owned()].into_iter().chain(words))
}

/// A line that `sha256sum -c` reads. In a name with a line end or a backslash they are escaped, and a backslash
/// before the digest says so.
fn sum_line(sum: &Sha256Sum, file: &OsStr) -> Vec<u8> {
    let mut name = Vec::new();
    for &byte in file.as_bytes() {
        match byte {
            b'\\' => name.extend_from_slice(b"\\\\"),
            b'\n' => name.extend_from_slice(b"\\n"),
            b'\r' => name.extend_from_slice(b"\\r"),
            other => name.push(other),
        }
    }
    let mark = if name == file.as_bytes() { "" } else { "\\" };
    let mut line = format!("{mark}{sum}  ").into_bytes();
    line.append(&mut name);
    line.push(b'\n');
    line
}

/// `directory/name`, as a person would write it.
pub(super) fn joined(directory: &OsStr, name: &str) -> OsString {
    if directory == "." {
        return name.into();
    }
    let mut path = directory.as_bytes().to_vec();
    if !path.ends_with(b"/") {
        path.push(b'/');
    }
    path.extend_from_slice(name.as_bytes());
    OsString::from_vec(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Sum;

    #[test]
    fn a_line_is_one_that_sha256sum_reads() {
        let line =
            |name: &str| String::from_utf8(sum_line(&Sum([0xab; 32]), name.as_ref())).unwrap();
        let digits = "ab".repeat(32);
        assert_eq!(line("a b"), format!("{digits}  a b\n"));
        assert_eq!(line("a\\b\nc\r"), format!("\\{digits}  a\\\\b\\nc\\r\n"));
    }

    #[test]
    fn a_path_is_as_it_would_be_typed() {
        assert_eq!(joined(".".as_ref(), "a/b"), "a/b");
        assert_eq!(joined("/".as_ref(), "a"), "/a");
        assert_eq!(joined("d".as_ref(), "a"), "d/a");
        assert_eq!(joined("d/".as_ref(), "a"), "d/a");
    }
}
