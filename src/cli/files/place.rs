//! A directory in which files are made and read, and nothing outside of it.
//!
//! The kernel keeps the paths inside (`RESOLVE_BENEATH` in openat2(2)), whatever somebody else does to the
//! directories meanwhile; and no symbolic link is followed below it.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, fsync, mkdirat, open, statat};
use rustix::io::Errno;
use rustix::process::umask;

use crate::config::open_confined;
use crate::wire::FileName;

/// How often the kernel is asked again where directories were moved while it looked (openat2(2), `EAGAIN`).
const TRIES: u32 = 64;

/// A directory.
#[derive(Debug)]
pub(in crate::cli) struct Place {
    root: OwnedFd,
    path: OsString,
    /// The mode that files have there.
    pub(in crate::cli) file_mode: Mode,
}

impl Place {
    /// The directory at this path, which was named here and is followed wherever it leads.
    pub(in crate::cli) fn open(path: &Path) -> io::Result<Place> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = open(path, flags, Mode::empty())?;
        let masked = umask(Mode::empty());
        umask(masked);
        Ok(Place {
            root,
            path: path.into(),
            file_mode: Mode::from_raw_mode(0o666) - masked,
        })
    }

    /// As it was named.
    pub(super) fn path(&self) -> &OsStr {
        &self.path
    }

    /// The directory of this name; none if it is not there.
    pub(super) fn find(&self, name: &FileName) -> io::Result<Option<OwnedFd>> {
        match open_beneath(
            &self.root,
            name.split().0.unwrap_or("."),
            directory(),
            Mode::empty(),
        ) {
            Ok(found) => Ok(Some(found)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    /// The directory of this name, made where it is missing.
    pub(in crate::cli) fn make(&self, name: &FileName) -> io::Result<OwnedFd> {
        let mut here = open_beneath(&self.root, ".", directory(), Mode::empty())?;
        for part in name.split().0.iter().flat_map(|path| path.split('/')) {
            let next = match open_beneath(&here, part, directory(), Mode::empty()) {
                Err(Errno::NOENT) => {
                    match mkdirat(&here, part, Mode::from_raw_mode(0o777)) {
                        Ok(()) => fsync(&here)?,
                        Err(Errno::EXIST) => {}
                        Err(errno) => return Err(errno.into()),
                    }
                    open_beneath(&here, part, directory(), Mode::empty())?
                }
                found => found?,
            };
            here = next;
        }
        Ok(here)
    }

    /// Makes a directory of this name, which has no directories, right beneath it; an error if something is there.
    pub(in crate::cli) fn make_new(&self, name: &str) -> io::Result<OwnedFd> {
        make_new(&self.root, name)
    }

    /// What was made right beneath it is there, whatever happens now.
    pub(in crate::cli) fn sync(&self) -> io::Result<()> {
        Ok(fsync(&self.root)?)
    }
}

/// Makes a directory of this name in this one, for who syncs it; an error if something is there. If somebody puts
/// something else in its place at once, that is an error, too.
pub(in crate::cli) fn make_new(here: &OwnedFd, name: &str) -> io::Result<OwnedFd> {
    mkdirat(here, name, Mode::from_raw_mode(0o777))?;
    Ok(open_beneath(here, name, directory(), Mode::empty())?)
}

fn directory() -> OFlags {
    OFlags::RDONLY | OFlags::DIRECTORY
}

/// Opens what is beneath this directory, and is reached through no symbolic link.
pub(super) fn open_beneath(
    directory: impl AsFd,
    path: impl rustix::path::Arg + Copy,
    flags: OFlags,
    mode: Mode,
) -> Result<OwnedFd, Errno> {
    // What is no regular file must not make us wait, nor become our terminal.
    let flags = flags | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    open_confined(directory, path, flags, mode, TRIES)
}

/// What is there under this name, itself and not what it leads to.
pub(super) fn look(directory: impl AsFd, name: &str) -> io::Result<Option<Stat>> {
    match statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(found) => Ok(Some(found)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// What kind of a file that is.
pub(super) fn kind(found: &Stat) -> FileType {
    FileType::from_raw_mode(found.st_mode)
}

/// How long a regular file is.
pub(super) fn size(found: &Stat) -> u64 {
    u64::try_from(found.st_size).unwrap_or(0)
}

/// What is no regular file, in words.
pub(super) fn kind_name(kind: FileType) -> &'static str {
    match kind {
        FileType::RegularFile => "a file",
        FileType::Directory => "a directory",
        FileType::Symlink => "a symbolic link",
        FileType::Fifo => "a FIFO",
        FileType::Socket => "a socket",
        FileType::CharacterDevice | FileType::BlockDevice => "a device",
        FileType::Unknown => "no regular file",
    }
}
