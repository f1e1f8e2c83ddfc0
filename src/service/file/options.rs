use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Access as May, AtFlags, Mode, OFlags, accessat, open};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::config::limits::{DESCRIPTORS_OF_FILES, FILE_KEEP_PARTIAL, FILES_OPEN_MAX};
use crate::config::{Trouble, quoted, with};
use crate::service::{Checked, Class, Several};
use crate::wire::Names;

/// Options of `file`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Options {
    /// The directory beneath which all files are, an absolute path. There is none without it.
    pub root: Option<PathBuf>,
    /// What clients may do.
    pub access: Access,
    /// Whether everybody may read.
    pub public: bool,
    /// What a name with directories in it means.
    pub names: Names,
    /// What is done where a file of that name is there already.
    pub overwrite: Overwrite,
    /// What is synced before an upload is acknowledged, and with how many others.
    pub sync: Sync,
    /// The largest file that may be stored, in bytes; absent: any.
    #[serde(with = "with::size_or_absent")]
    pub max_file: Option<usize>,
    /// How many files may be beneath the root when another is stored; absent: any number.
    pub max_files: Option<u64>,
    /// How many bytes all files beneath the root may have, with what was begun and is kept; absent: any number.
    #[serde(with = "with::size_or_absent")]
    pub quota: Option<usize>,
    /// How long an upload that was cut off can be resumed.
    #[serde(with = "with::some_time")]
    pub keep_partial: Duration,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            root: None,
            access: Access::default(),
            public: false,
            names: Names::default(),
            overwrite: Overwrite::default(),
            sync: Sync::default(),
            max_file: None,
            max_files: None,
            quota: None,
            keep_partial: FILE_KEEP_PARTIAL,
        }
    }
}

/// What clients may do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Access {
    /// Fetch and list.
    Read,
    /// Send, and resume what was sent.
    Write,
    /// All of it.
    #[default]
    Both,
}

impl Access {
    /// Whether clients may fetch and list.
    pub fn reads(self) -> bool {
        self != Access::Write
    }

    /// Whether clients may send.
    pub fn writes(self) -> bool {
        self != Access::Read
    }
}

/// What is done where a file of that name is there already.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Overwrite {
    /// The upload is refused.
    #[default]
    Refuse,
    /// It gets another name: `a-2.txt`.
    Rename,
    /// It takes the place of the other.
    Replace,
}

/// What is synced before an upload is acknowledged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sync {
    /// Each file by itself, and its directory.
    #[default]
    Each,
    /// Those that have come meanwhile together.
    Batch,
    /// Nothing: what is acknowledged may be lost when the machine stops.
    Off,
}

impl Checked for Options {
    fn several(&self) -> Several {
        if self.access.writes() {
            Several::No(
                "one has the lock of its root and counts what is stored there; `access=read` may be served by several",
            )
        } else {
            Several::Yes
        }
    }

    fn check(&self) -> Result<(), Trouble> {
        let Some(root) = &self.root else {
            return Err(Trouble::of(
                "root",
                "`file` needs `root=DIRECTORY`, beneath which all files are",
            ));
        };
        let shown = root.to_string_lossy();
        if !root.is_absolute() {
            return Err(Trouble::with(
                "root",
                format!("{} is no absolute path", quoted(&shown)),
            ));
        }
        if shown.contains('\0') {
            return Err(Trouble::with("root", "it has a NUL byte"));
        }
        if self.public && self.access.writes() {
            return Err(Trouble::with(
                "public",
                "it frees reading alone, and here everybody would write too: say `access=read`, and let others write at an endpoint of their own",
            ));
        }
        if !self.access.writes() {
            let usual = Options::default();
            let of_uploads = [
                ("overwrite", self.overwrite != usual.overwrite),
                ("sync", self.sync != usual.sync),
                ("max-file", self.max_file != usual.max_file),
                ("max-files", self.max_files != usual.max_files),
                ("quota", self.quota != usual.quota),
                ("keep-partial", self.keep_partial != usual.keep_partial),
            ];
            if let Some((option, _)) = of_uploads.iter().find(|(_, is_given)| *is_given) {
                return Err(Trouble::with(
                    option,
                    "it is for uploads, and `access=read` allows none",
                ));
            }
        }
        Ok(())
    }

    fn class(&self) -> Class {
        match (self.access.writes(), self.public) {
            (true, _) => Class::Uploads,
            (false, false) => Class::Downloads,
            (false, true) => Class::Plain,
        }
    }

    fn allows(&self) -> Option<String> {
        let root = self.root.as_deref().unwrap_or(Path::new("/")).display();
        if !self.access.writes() {
            return Some(format!("clients fetch and list the files beneath {root}"));
        }
        let fetch = if self.access.reads() {
            ", and fetch and list those that are there"
        } else {
            ""
        };
        let overwrite = match self.overwrite {
            Overwrite::Refuse => "a file that is there stays",
            Overwrite::Rename => "one that has the name of another gets a new name",
            Overwrite::Replace => "one that has the name of another replaces it",
        };
        let sync = match self.sync {
            Sync::Each => "each is synced before it is acknowledged",
            Sync::Batch => "they are synced together before they are acknowledged",
            Sync::Off => {
                "nothing is synced: what is acknowledged may be lost when the machine stops"
            }
        };
        Some(format!(
            "clients store files beneath {root}{fetch}; {overwrite}; {sync}"
        ))
    }

    fn probe(&self) -> Result<(), Trouble> {
        let Some(root) = &self.root else {
            return Ok(());
        };
        let wrong = |what: &str, error: Errno| {
            let error = io::Error::from(error);
            Err(Trouble::with(
                "root",
                format!("{what} {}: {error}", root.display()),
            ))
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match open(root, flags, Mode::empty()) {
            Err(error) => wrong("cannot open", error),
            Ok(dir) if self.access.writes() => {
                let access = May::WRITE_OK | May::EXEC_OK;
                match accessat(&dir, ".", access, AtFlags::EACCESS) {
                    Ok(()) => Ok(()),
                    Err(error) => wrong("cannot store files in", error),
                }
            }
            Ok(_) => Ok(()),
        }
    }

    fn descriptors(&self) -> usize {
        FILES_OPEN_MAX + DESCRIPTORS_OF_FILES
    }
}
