//! What is done with files in a child: it syncs and digests, and puts a file under its name.
//!
//! Knows descriptors that it was given, and says what came of it in the format of the answers to clients. It knows
//! no connection.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::os::fd::OwnedFd;

use rustix::fs::{
    AtFlags, Dir, FileType, Mode, RenameFlags, fdatasync, fstat, fsync, linkat, mkdirat, renameat,
    renameat_with, statat, unlinkat,
};
use rustix::io::{Errno, pread, read};
use serde::{Deserialize, Serialize};

use super::disk::{DIRECTORY, confined, reserve};
use super::options::Overwrite;
use super::syncing::sync_all;
use crate::wire::{
    Encode, FILE_NAME_BYTES_MAX, FileAnswer, FileEntry, FileError, FileErrorKind, FileFacts,
    FileName, Md5, Md5Sum, Names, Sha256, Sha256Sum,
};

/// What a child is to do.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Order {
    /// Put these under their names. Files: root, staging directory, and each of them.
    Store {
        /// Whether they are synced.
        sync: bool,
        overwrite: Overwrite,
        files: Vec<Store>,
    },
    /// Take room. File: the one it is for.
    Reserve { bytes: u64 },
    /// Digest the first bytes of a file, if that is asked, and then all of them. File: that one.
    Digest {
        first: Option<u64>,
        size: Option<u64>,
    },
    /// Digest a file of this size while it comes. Files: that one, and a pipe that says a byte when there is more, and ends
    /// when no more comes.
    Follow { size: u64 },
    /// Answer a `verify`. File: that one.
    Verify {
        name: String,
        modified: u64,
        size: u64,
        bytes: u64,
    },
    /// Answer a `list`. File: the root.
    List { is_tree: bool },
    /// Count bytes and files. File: the root.
    Count,
}

/// A file that has come, and its name.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Store {
    pub(super) staged: String,
    pub(super) name: String,
    pub(super) size: u64,
    pub(super) md5: Option<String>,
    pub(super) sha256: Option<String>,
    /// The SHA-256 of what is on the disk, if a child has read it while it came; no MD5 is told then.
    pub(super) digested: Option<String>,
}

impl Order {
    /// As the child reads it.
    pub(super) fn text(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings and numbers make JSON")
    }
}

/// How much is read at a time.
const READ_BYTES: usize = 256 * 1024;

/// How much of a list is told at a time.
const LIST_BYTES: usize = 32 * 1024;

/// How many names are tried with `overwrite=rename`.
const NAMES_MAX: u32 = 10_000;

/// How deep directories are looked into.
const DEPTH_MAX: usize = crate::wire::FILE_PATH_PARTS_MAX;

/// Does what the order says with these files, and writes what came of it.
///
/// # Errors
///
/// If the order is none, or what came of it cannot be written.
pub fn perform(order: &[u8], files: &[OwnedFd], out: &mut dyn Write) -> io::Result<()> {
    let order: Order = serde_json::from_slice(order)?;
    let file = |n: usize| {
        files
            .get(n)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a file is missing"))
    };
    match order {
        Order::Store {
            sync,
            overwrite,
            files: stored,
        } => {
            let staged = files.get(2..).unwrap_or_default();
            let storing = Storing {
                root: file(0)?,
                staging: file(1)?,
                sync,
                overwrite,
            };
            for answer in storing.all(&stored, staged) {
                say(out, &answer)?;
            }
        }
        Order::Reserve { bytes } => {
            if let Err(error) = reserve(file(0)?, bytes) {
                say(out, &FileAnswer::Error(of_system(&error)))?;
            }
        }
        Order::Digest { first, size } => {
            let answers = digests(file(0)?, first, size);
            match answers {
                Ok(all) => {
                    for (bytes, sha256) in all {
                        let facts = FileFacts {
                            bytes: Some(bytes),
                            sha256: Some(sha256),
                            ..FileFacts::default()
                        };
                        say(out, &FileAnswer::Ok(facts))?;
                    }
                }
                Err(error) => say(out, &FileAnswer::Error(of_system(&error)))?,
            }
        }
        Order::Follow { size } => {
            let (file, news) = (file(0)?, file(1)?);
            if let Some(sha256) = digest_while_it_comes(file, news, size)? {
                let facts = FileFacts {
                    bytes: Some(size),
                    sha256: Some(sha256),
                    ..FileFacts::default()
                };
                say(out, &FileAnswer::Ok(facts))?;
            }
        }
        Order::Verify {
            name,
            modified,
            size,
            bytes,
        } => {
            let mut sha256 = Sha256::new();
            let answer = match read_to(file(0)?, 0, bytes, |piece| sha256.update(piece)) {
                Ok(()) => FileAnswer::Ok(FileFacts {
                    name: Some(name),
                    size: Some(size),
                    bytes: Some(bytes),
                    sha256: Some(sha256.finish()),
                    modified: Some(modified),
                    ..FileFacts::default()
                }),
                Err(error) => FileAnswer::Error(of_system(&error).about(&name)),
            };
            say(out, &answer)?;
        }
        Order::List { is_tree } => {
            let mut list = List {
                out,
                lines: Vec::new(),
                files: 0,
                bytes: 0,
                skipped: 0,
                is_told: true,
            };
            let outcome = list.directory(file(0)?, "", if is_tree { DEPTH_MAX } else { 1 });
            list.end(outcome)?;
        }
        Order::Count => {
            let mut list = List {
                out,
                lines: Vec::new(),
                files: 0,
                bytes: 0,
                skipped: 0,
                is_told: false,
            };
            let outcome = list.directory(file(0)?, "", DEPTH_MAX);
            list.end(outcome)?;
        }
    }
    out.flush()
}

fn say(out: &mut dyn Write, answer: &FileAnswer<'_>) -> io::Result<()> {
    let mut bytes = Vec::new();
    answer.encode(&mut bytes);
    out.write_all(&bytes)
}

/// What the system's error means to a client.
pub(super) fn of_system(error: &io::Error) -> FileError {
    let kind = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => FileErrorKind::NoRoom,
        io::ErrorKind::FileTooLarge => FileErrorKind::TooLarge,
        io::ErrorKind::NotFound => FileErrorKind::NotFound,
        io::ErrorKind::AlreadyExists => FileErrorKind::Exists,
        io::ErrorKind::UnexpectedEof => FileErrorKind::Changed,
        _ => FileErrorKind::System,
    };
    FileError::new(kind, error.to_string())
}

/// Hands a file on from here to there, piece by piece.
fn read_to(file: &OwnedFd, from: u64, to: u64, mut take: impl FnMut(&[u8])) -> io::Result<()> {
    let room = usize::try_from(to.saturating_sub(from)).unwrap_or(usize::MAX);
    let mut buffer = vec![0; room.min(READ_BYTES)];
    let mut at = from;
    while at < to {
        let room = usize::try_from(to - at)
            .unwrap_or(usize::MAX)
            .min(READ_BYTES);
        match pread(file, &mut buffer[..room], at) {
            Ok(0) => {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    format!("the file has {at} bytes, not {to}"),
                ));
            }
            Ok(n) => {
                take(&buffer[..n]);
                at += n as u64;
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// The digest of a file that is being written; none if it does not become as long as it was to.
fn digest_while_it_comes(
    file: &OwnedFd,
    news: &OwnedFd,
    size: u64,
) -> io::Result<Option<Sha256Sum>> {
    let (mut sha256, mut at, mut has_ended) = (Sha256::new(), 0, size == 0);
    let mut said = [0; 4096];
    loop {
        let there = u64::try_from(fstat(file)?.st_size).unwrap_or(0).min(size);
        if there > at {
            read_to(file, at, there, |piece| sha256.update(piece))?;
            at = there;
            continue;
        }
        if at == size || has_ended {
            return Ok((at == size).then(|| sha256.finish()));
        }
        match read(news, &mut said) {
            // What came last is looked at once more.
            Ok(0) => has_ended = true,
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// The digests that were asked for, each with how many bytes it is of.
fn digests(
    file: &OwnedFd,
    first: Option<u64>,
    size: Option<u64>,
) -> io::Result<Vec<(u64, Sha256Sum)>> {
    let mut sha256 = Sha256::new();
    let mut all = Vec::new();
    let mut at = 0;
    for to in first.into_iter().chain(size) {
        read_to(file, at, to, |piece| sha256.update(piece))?;
        all.push((to, sha256.clone().finish()));
        at = to;
    }
    Ok(all)
}

/// Puts files under their names.
#[derive(Debug)]
struct Storing<'a> {
    root: &'a OwnedFd,
    staging: &'a OwnedFd,
    sync: bool,
    overwrite: Overwrite,
}

impl Storing<'_> {
    /// Each file, or why it is not stored. Nothing is said of one before all directories are synced.
    fn all(&self, all: &[Store], files: &[OwnedFd]) -> Vec<FileAnswer<'static>> {
        let mut checked: Vec<_> = all
            .iter()
            .enumerate()
            .map(|(n, one)| match files.get(n) {
                Some(file) => check(one, file),
                None => Err(FileError::new(FileErrorKind::System, "its file is missing")),
            })
            .collect();
        if self.sync {
            let (mut outcomes, whole): (Vec<_>, Vec<_>) = checked
                .iter_mut()
                .zip(files)
                .filter(|(checked, _)| checked.is_ok())
                .unzip();
            let synced = sync_all(&whole, |file| Ok(fdatasync(file)?));
            for (checked, synced) in outcomes.iter_mut().zip(synced) {
                // An error is final: what was not written is forgotten by the kernel (fault G5).
                if let Err(error) = synced {
                    **checked = Err(of_system(&error));
                }
            }
        }
        let mut directories = Directories::new(self.root);
        let named: Vec<Result<_, FileError>> = all
            .iter()
            .zip(checked)
            .map(|(one, checked)| {
                let sha256 = checked?;
                Ok((self.name(one, &mut directories)?, sha256))
            })
            .collect();
        let synced = if self.sync {
            directories.sync()
        } else {
            Ok(())
        };
        let answer = |(one, named): (&Store, Result<(String, Sha256Sum), FileError>)| match named {
            Ok((name, sha256)) => FileAnswer::Ok(FileFacts {
                name: Some(name),
                size: Some(one.size),
                sha256: Some(sha256),
                ..FileFacts::default()
            }),
            Err(error) => {
                // The server would do it as well, if it is still there. It may be under its own name by now.
                let _ = unlinkat(self.staging, &one.staged, AtFlags::empty());
                FileAnswer::Error(error.about(&one.name))
            }
        };
        let named = named.into_iter().map(|named| {
            let named = named?;
            match &synced {
                Ok(()) => Ok(named),
                // It is there, and may not be after a loss of power: that is no success (fault G5).
                Err(error) => Err(of_system(error)),
            }
        });
        all.iter().zip(named).map(answer).collect()
    }

    /// Gives a file its name, or another with `overwrite=rename`. Says which.
    fn name(&self, one: &Store, directories: &mut Directories<'_>) -> Result<String, FileError> {
        let bad = |_| FileError::new(FileErrorKind::Name, "it is no name");
        let name = FileName::new(&one.name, Names::Tree).map_err(bad)?;
        let (path, last) = name.split();
        let path = path.unwrap_or_default();
        let system = |error: Errno| of_system(&error.into());
        let dir = directories.open(path).map_err(system)?;
        let joined = |last: &str| match path {
            "" => last.to_owned(),
            path => format!("{path}/{last}"),
        };
        if self.overwrite == Overwrite::Replace {
            return match renameat(self.staging, &one.staged, dir, last) {
                Ok(()) => Ok(joined(last)),
                Err(Errno::ISDIR | Errno::EXIST | Errno::NOTEMPTY) => Err(exists()),
                Err(error) => Err(system(error)),
            };
        }
        for n in 1..=NAMES_MAX {
            let tried = if n == 1 {
                last.to_owned()
            } else {
                other_name(last, n)
            };
            match self.name_new(&one.staged, dir, &tried) {
                Ok(()) => return Ok(joined(&tried)),
                Err(Errno::EXIST) if self.overwrite == Overwrite::Rename => {}
                Err(Errno::EXIST) => return Err(exists()),
                Err(error) => return Err(system(error)),
            }
        }
        Err(exists())
    }

    /// Gives a file a name that none has.
    fn name_new(&self, staged: &str, dir: &OwnedFd, name: &str) -> Result<(), Errno> {
        match renameat_with(self.staging, staged, dir, name, RenameFlags::NOREPLACE) {
            // Not every file system can; a second name is as good, since it is refused where one is.
            Err(Errno::INVAL | Errno::NOSYS) => {
                linkat(self.staging, staged, dir, name, AtFlags::empty())?;
                unlinkat(self.staging, staged, AtFlags::empty())
            }
            answer => answer,
        }
    }
}

/// Whether what is on the disk is what was announced.
fn check(one: &Store, file: &OwnedFd) -> Result<Sha256Sum, FileError> {
    let system = |error: io::Error| of_system(&error);
    let stat = fstat(file).map_err(|error| system(error.into()))?;
    if u64::try_from(stat.st_size) != Ok(one.size) {
        return Err(FileError::new(
            FileErrorKind::Changed,
            format!("{} bytes are on the disk, not {}", stat.st_size, one.size),
        ));
    }
    let (mut sha256, mut md5) = (Sha256::new(), one.md5.is_some().then(Md5::new));
    let digested = one.digested.as_deref().and_then(|sum| sum.parse().ok());
    let to_be_read = if digested.is_some() { 0 } else { one.size };
    read_to(file, 0, to_be_read, |piece| {
        sha256.update(piece);
        if let Some(md5) = &mut md5 {
            md5.update(piece);
        }
    })
    .map_err(system)?;
    let sha256 = digested.unwrap_or_else(|| sha256.finish());
    let told = one.sha256.as_deref().map(str::parse::<Sha256Sum>);
    if told.is_some_and(|told| told != Ok(sha256)) {
        return Err(FileError::new(
            FileErrorKind::Digest,
            format!("the SHA-256 of what arrived is {sha256}"),
        ));
    }
    if let (Some(md5), Some(told)) = (md5, &one.md5) {
        let md5 = md5.sum();
        if told.parse::<Md5Sum>() != Ok(md5) {
            return Err(FileError::new(
                FileErrorKind::Digest,
                format!("the MD5 of what arrived is {md5}"),
            ));
        }
    }
    Ok(sha256)
}

fn exists() -> FileError {
    FileError::new(FileErrorKind::Exists, "a file of this name is there")
}

/// `a.txt` is `a-2.txt`; what is too long becomes shorter before the number.
fn other_name(name: &str, n: u32) -> String {
    let (stem, extension) = match name.rfind('.') {
        Some(at) if at > 0 => name.split_at(at),
        _ => (name, ""),
    };
    let end = format!("-{n}{extension}");
    let room = FILE_NAME_BYTES_MAX.saturating_sub(end.len());
    let stem = &stem[..stem.floor_char_boundary(room.min(stem.len()))];
    format!("{stem}{end}")
}

/// The directories in which files get their names, each opened once, and made where it is missing.
#[derive(Debug)]
struct Directories<'a> {
    root: &'a OwnedFd,
    opened: BTreeMap<String, OwnedFd>,
    /// Whether a file got its name in the root, or a directory was made there.
    is_root_touched: bool,
}

impl<'a> Directories<'a> {
    fn new(root: &'a OwnedFd) -> Directories<'a> {
        Directories {
            root,
            opened: BTreeMap::new(),
            is_root_touched: false,
        }
    }

    fn open(&mut self, path: &str) -> Result<&OwnedFd, Errno> {
        if path.is_empty() {
            self.is_root_touched = true;
            return Ok(self.root);
        }
        if !self.opened.contains_key(path) {
            let (above, last) = path.rsplit_once('/').unwrap_or(("", path));
            let dir = self.open(above)?;
            match mkdirat(dir, last, Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error),
            }
            let opened = confined(dir, last, DIRECTORY)?;
            self.opened.insert(path.to_owned(), opened);
        }
        self.opened.get(path).ok_or(Errno::NOENT)
    }

    fn sync(&self) -> io::Result<()> {
        for dir in self.opened.values() {
            fsync(dir)?;
        }
        if self.is_root_touched {
            fsync(self.root)?;
        }
        Ok(())
    }
}

/// The files that are there, as lines, or only how many.
struct List<'a> {
    out: &'a mut dyn Write,
    lines: Vec<u8>,
    files: u64,
    bytes: u64,
    /// Files that no request can name.
    skipped: u64,
    is_told: bool,
}

impl List<'_> {
    fn directory(&mut self, dir: &OwnedFd, path: &str, depth: usize) -> io::Result<()> {
        for entry in Dir::read_from(dir)? {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") || path.is_empty() && name == c".onepoll" {
                continue;
            }
            let stat = match statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => stat,
                // Removed meanwhile.
                Err(Errno::NOENT) => continue,
                Err(error) => return Err(error.into()),
            };
            let kind = FileType::from_raw_mode(stat.st_mode);
            let size = u64::try_from(stat.st_size).unwrap_or(0);
            let joined = name.to_str().ok().map(|name| match path {
                "" => name.to_owned(),
                path => format!("{path}/{name}"),
            });
            let named = joined.filter(|name| FileName::new(name, Names::Tree).is_ok());
            match (kind, named) {
                (FileType::RegularFile, Some(name)) => {
                    let modified = u64::try_from(stat.st_mtime).unwrap_or(0);
                    self.file(FileEntry {
                        name,
                        size,
                        modified,
                    })?;
                }
                (FileType::RegularFile, None) => {
                    self.skipped += 1;
                    self.bytes += size;
                }
                (FileType::Directory, Some(path)) if depth > 1 => {
                    // Replaced by something else meanwhile, or not ours to read: its files cannot be named either.
                    match confined(dir, &name.to_string_lossy(), DIRECTORY) {
                        Ok(dir) => self.directory(&dir, &path, depth - 1)?,
                        Err(_) => self.skipped += 1,
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn file(&mut self, entry: FileEntry) -> io::Result<()> {
        self.files += 1;
        self.bytes += entry.size;
        if self.is_told {
            entry.encode(&mut self.lines);
            if self.lines.len() >= LIST_BYTES {
                self.part()?;
            }
        }
        Ok(())
    }

    fn part(&mut self) -> io::Result<()> {
        if !self.lines.is_empty() {
            say(self.out, &FileAnswer::Bytes(&self.lines))?;
            self.lines.clear();
        }
        Ok(())
    }

    fn end(&mut self, outcome: io::Result<()>) -> io::Result<()> {
        self.part()?;
        let answer = match outcome {
            Ok(()) => FileAnswer::Ok(FileFacts {
                files: Some(self.files),
                skipped: Some(self.skipped),
                bytes: (!self.is_told).then_some(self.bytes),
                ..FileFacts::default()
            }),
            Err(error) => FileAnswer::Error(of_system(&error)),
        };
        say(self.out, &answer)
    }
}
