//! The file of the audit: made with mode 0600, appended to, and for nobody else.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use jiff::Timestamp;
use rustix::fs::OFlags;
use rustix::process::geteuid;
use serde_json::json;

/// What anybody but the owner may do with the file that a group may not: a group may read it.
const OF_OTHERS: u32 = 0o037;

/// What is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The audit: lines of JSON.
    Audit,
    /// What people say: lines of text.
    Transcript,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Audit => "audit file",
            Kind::Transcript => "transcript",
        }
    }
}

/// Opens it, and makes it if it is not there.
pub(super) fn open(path: &Path, kind: Kind) -> anyhow::Result<File> {
    // Not blocking: a FIFO is refused below, and must not be waited for before.
    let flags = OFlags::NOFOLLOW | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(flags.bits() as i32)
        .open(path)
        .with_context(|| cannot_be_opened(path, kind))?;
    let what = kind.name();
    let metadata = file.metadata().with_context(|| format!("the {what}"))?;
    let (shown, mode) = (path.display(), metadata.mode());
    if !metadata.is_file() {
        bail!("the {what} {shown} is no regular file");
    }
    if mode & OF_OTHERS != 0 {
        bail!(
            "the {what} {shown} has mode {:04o}, and others must not read or write it; `chmod 600 {shown}`",
            mode & 0o7777
        );
    }
    Ok(file)
}

fn cannot_be_opened(path: &Path, kind: Kind) -> String {
    let (user, path, what) = (geteuid().as_raw(), path.display(), kind.name());
    format!(
        "the {what} {path} cannot be opened by user {user}, who must own it (`chown {user} {path}`), or be able to write to its directory"
    )
}

/// Whether a user that root becomes will be able to open it: one that is there must be that user's.
pub(super) fn check_owner(path: &Path, user: u32) -> anyhow::Result<()> {
    match path.symlink_metadata() {
        Ok(found) if found.uid() != user => {
            let (path, owner) = (path.display(), found.uid());
            bail!(
                "the audit file {path} is user {owner}'s, and user {user}, who serves, must own it: `chown {user} {path}`"
            )
        }
        _ => Ok(()),
    }
}

/// The file while it is written.
#[derive(Debug)]
pub(super) struct AuditFile {
    path: PathBuf,
    kind: Kind,
    file: File,
    /// The last line that was written is not whole.
    is_torn: bool,
    /// Lines that could not be written, since a line told of some, and why.
    lost: u64,
    why: String,
}

impl AuditFile {
    pub(super) fn open(path: PathBuf, kind: Kind) -> anyhow::Result<AuditFile> {
        Ok(AuditFile {
            file: open(&path, kind)?,
            path,
            kind,
            is_torn: false,
            lost: 0,
            why: String::new(),
        })
    }

    /// What it is, in a word.
    pub(super) fn what(&self) -> &'static str {
        match self.kind {
            Kind::Audit => "audit",
            Kind::Transcript => "transcript",
        }
    }

    /// Opens what has this name now. If that fails, the file stays that it is.
    pub(super) fn reopen(&mut self) -> anyhow::Result<()> {
        self.file = open(&self.path, self.kind)?;
        self.is_torn = false;
        Ok(())
    }

    /// Appends whole lines. Says why, when it is for the first time that they cannot be written.
    pub(super) fn append(&mut self, lines: &[u8]) -> Option<io::Error> {
        let count = lines.iter().filter(|byte| **byte == b'\n').count() as u64;
        let was_lost = self.lost > 0;
        let mut text = Vec::new();
        if self.is_torn {
            text.push(b'\n');
        }
        if was_lost {
            text.extend_from_slice(self.told().as_bytes());
        }
        let before = text.len();
        text.extend_from_slice(lines);
        let mut done = 0;
        while done < text.len() {
            match self.file.write(&text[done..]) {
                Ok(n @ 1..) => done += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                failed => {
                    let whole = text[before.min(done)..done].iter();
                    let whole = whole.filter(|byte| **byte == b'\n').count() as u64;
                    if done >= before {
                        self.lost = 0;
                    }
                    self.lost += count - whole;
                    self.is_torn = match done {
                        0 => self.is_torn,
                        done => text[done - 1] != b'\n',
                    };
                    let error = failed
                        .err()
                        .unwrap_or_else(|| io::ErrorKind::WriteZero.into());
                    self.why = error.to_string();
                    return (!was_lost).then_some(error);
                }
            }
        }
        (self.lost, self.is_torn) = (0, false);
        None
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "a line bears the wall time at which it was written"
    )]
    fn told(&self) -> String {
        if self.kind == Kind::Transcript {
            return format!(
                "* lines missing here, which could not be written: {} ({})\n",
                self.lost, self.why
            );
        }
        let time = format!("{:.3}", Timestamp::now());
        let why = format!("they could not be written: {}", self.why);
        format!(
            "{}\n",
            json!({ "time": time, "event": "lost", "lines": self.lost, "why": why })
        )
    }
}
