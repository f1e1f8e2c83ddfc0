//! A file that has not come whole: beside the place that it is for, under a hidden name, for its owner alone.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::OwnedFd;

use rustix::fs::{
    AtFlags, FlockOperation, Mode, OFlags, RenameFlags, Stat, fchmod, flock, fstat, fsync, linkat,
    renameat, renameat_with, unlinkat,
};
use rustix::io::Errno;
use rustix::process::geteuid;

use super::place::{kind, look, open_beneath, size};
use crate::service::file::sync_all;
use crate::wire::{FILE_NAME_BYTES_MAX, Sha256};

/// How often somebody may put another file in its place while we open it.
const TRIES: u32 = 8;

/// How its name ends.
const SUFFIX: &str = ".onepoll-part";

/// A file that has not come whole. It stays when this is dropped, unless nothing is in it.
#[derive(Debug)]
pub(in crate::cli) struct Partial {
    directory: OwnedFd,
    file: File,
    hidden: String,
    len: u64,
    is_gone: bool,
    /// Nobody would go on with it later.
    is_for_once: bool,
}

impl Partial {
    /// What was kept of the file of this name, to be read from its beginning; none if nothing was.
    pub(super) fn find(directory: &OwnedFd, name: &str) -> io::Result<Option<Partial>> {
        let hidden = hidden_name(name);
        for _ in 0..TRIES {
            let opened = open_beneath(directory, &*hidden, OFlags::RDWR, Mode::empty());
            let file = match opened {
                Ok(file) => file,
                Err(Errno::NOENT) => return Ok(None),
                Err(errno) => return Err(errno.into()),
            };
            if let Some(found) = lock(directory, &file, &hidden)? {
                return Partial::of(directory, file, hidden, size(&found)).map(Some);
            }
        }
        Err(io::Error::other(format!(
            "{hidden} does not stay what it is"
        )))
    }

    /// A new one for the file of this name.
    pub(in crate::cli) fn make(directory: &OwnedFd, name: &str) -> io::Result<Partial> {
        let hidden = hidden_name(name);
        for _ in 0..TRIES {
            if let Some(mut found) = Partial::find(directory, name)? {
                found.cut(0)?;
                return Ok(found);
            }
            let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL;
            let mode = Mode::RUSR | Mode::WUSR;
            let file = match open_beneath(directory, &*hidden, flags, mode) {
                Ok(file) => file,
                Err(Errno::EXIST) => continue,
                Err(errno) => return Err(errno.into()),
            };
            if lock(directory, &file, &hidden)?.is_some() {
                return Partial::of(directory, file, hidden, 0);
            }
        }
        Err(io::Error::other(format!(
            "{hidden} does not stay what it is"
        )))
    }

    fn of(directory: &OwnedFd, file: OwnedFd, hidden: String, len: u64) -> io::Result<Partial> {
        Ok(Partial {
            directory: directory.try_clone()?,
            file: file.into(),
            hidden,
            len,
            is_gone: false,
            is_for_once: false,
        })
    }

    /// The same, which does not stay when it is dropped before it is whole.
    pub(in crate::cli) fn for_once(mut self) -> Partial {
        self.is_for_once = true;
        self
    }

    /// How long it is.
    pub(in crate::cli) fn len(&self) -> u64 {
        self.len
    }

    /// Reads on from where reading stopped.
    pub(super) fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.file.read(into)
    }

    /// Only so many of its first bytes stay, and what is written goes behind them.
    pub(super) fn cut(&mut self, len: u64) -> io::Result<()> {
        self.file.set_len(len)?;
        self.file.seek(SeekFrom::Start(len))?;
        self.len = len;
        Ok(())
    }

    /// Nothing in it is of use.
    pub(super) fn remove(self) {
        drop(self.for_once());
    }

    /// Writes behind what is there.
    pub(in crate::cli) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.len += bytes.len() as u64;
        Ok(())
    }

    /// It is whole: it goes where it is for, so that it is there whatever happens now. What is there is replaced
    /// only if it `may_replace` it.
    pub(in crate::cli) fn finish(
        &mut self,
        name: &str,
        mode: Mode,
        may_replace: bool,
    ) -> io::Result<()> {
        fchmod(&self.file, mode)?;
        fsync(&self.file)?;
        self.rename(name, may_replace)?;
        Ok(fsync(&self.directory)?)
    }

    /// It is on the disk: it gets the name that it is for. What is there is replaced only if it `may_replace` it.
    fn rename(&mut self, name: &str, may_replace: bool) -> io::Result<()> {
        let directory = &self.directory;
        if may_replace {
            renameat(directory, &*self.hidden, directory, name)?;
        } else {
            match renameat_with(
                directory,
                &*self.hidden,
                directory,
                name,
                RenameFlags::NOREPLACE,
            ) {
                // A file system that has no such thing makes no second name in place of a first one.
                Err(Errno::INVAL | Errno::NOSYS) => {
                    linkat(directory, &*self.hidden, directory, name, AtFlags::empty())?;
                    unlinkat(directory, &*self.hidden, AtFlags::empty())?;
                }
                renamed => renamed?,
            }
        }
        self.is_gone = true;
        Ok(())
    }
}

/// These are whole: they go where they are for, so that they are there whatever happens now. What is there is replaced
/// only if they `may_replace` it. What takes a disk long is asked of it for all of them together.
pub(in crate::cli) fn finish_all(
    mut all: Vec<(Partial, &str)>,
    mode: Mode,
    may_replace: bool,
) -> Vec<io::Result<()>> {
    let mut outcomes = sync_all(&all, |(partial, _)| {
        fchmod(&partial.file, mode)?;
        Ok(fsync(&partial.file)?)
    });
    // Each once, by whichever path it was reached.
    let mut directories: BTreeMap<_, Vec<usize>> = BTreeMap::new();
    for (n, (partial, name)) in all.iter_mut().enumerate() {
        if outcomes[n].is_err() {
            continue;
        }
        let renamed = partial.rename(name, may_replace);
        match renamed.and_then(|()| Ok(fstat(&partial.directory)?)) {
            Ok(found) => directories
                .entry((found.st_dev, found.st_ino))
                .or_default()
                .push(n),
            Err(error) => outcomes[n] = Err(error),
        }
    }
    for files in directories.values() {
        if let Err(errno) = fsync(&all[files[0]].0.directory) {
            for &n in files {
                outcomes[n] = Err(errno.into());
            }
        }
    }
    outcomes
}

impl Drop for Partial {
    fn drop(&mut self) {
        if (self.len == 0 || self.is_for_once) && !self.is_gone {
            // It is of no use; that it stays harms nobody.
            let _ = unlinkat(&self.directory, &*self.hidden, AtFlags::empty());
        }
    }
}

/// Takes it for ourselves, if it is still what has this name: another process may have finished it meanwhile.
fn lock(directory: &OwnedFd, file: &OwnedFd, hidden: &str) -> io::Result<Option<Stat>> {
    let own = fstat(file)?;
    if kind(&own) != rustix::fs::FileType::RegularFile
        || own.st_uid != geteuid().as_raw()
        || own.st_nlink > 1
    {
        return Err(io::Error::other(format!(
            "{hidden} is there, and not a file of ours alone"
        )));
    }
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => {
            return Err(io::Error::other(format!(
                "another process writes to {hidden}"
            )));
        }
        Err(errno) => return Err(errno.into()),
    }
    let own = fstat(file)?;
    let there = look(directory, hidden)?;
    let is_same =
        there.is_some_and(|there| (there.st_dev, there.st_ino) == (own.st_dev, own.st_ino));
    Ok(is_same.then_some(own))
}

/// Under which name it is kept.
fn hidden_name(name: &str) -> String {
    let readable = format!(".{name}{SUFFIX}");
    if readable.len() <= FILE_NAME_BYTES_MAX {
        return readable;
    }
    let mut sha256 = Sha256::new();
    sha256.update(name.as_bytes());
    format!(".{}{SUFFIX}", sha256.finish())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn here(path: &std::path::Path) -> OwnedFd {
        File::open(path).unwrap().into()
    }

    #[test]
    fn what_has_not_come_whole_is_kept_for_its_owner_and_found_again() {
        let temporary = tempfile::tempdir().unwrap();
        let directory = here(temporary.path());
        let mut partial = Partial::make(&directory, "a").unwrap();
        partial.write(b"hello").unwrap();
        // Two cannot have it.
        let error = Partial::find(&directory, "a").unwrap_err().to_string();
        assert_eq!(error, "another process writes to .a.onepoll-part");
        drop(partial);
        let hidden = temporary.path().join(".a.onepoll-part");
        let mode = fs::metadata(&hidden).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);

        let mut partial = Partial::find(&directory, "a").unwrap().unwrap();
        let mut bytes = [0; 8];
        assert_eq!((partial.len(), partial.read(&mut bytes).unwrap()), (5, 5));
        partial.cut(4).unwrap();
        partial.write(b"!").unwrap();
        let mode = Mode::from_raw_mode(0o640);
        let synced = finish_all(vec![(partial, "a")], mode, false);
        assert!(synced[0].is_ok());
        let whole = temporary.path().join("a");
        assert_eq!(fs::read(&whole).unwrap(), b"hell!");
        let mode = fs::metadata(&whole).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o640);
        assert!(!hidden.exists());
    }

    #[test]
    fn what_is_there_is_replaced_only_if_that_was_asked_for() {
        let temporary = tempfile::tempdir().unwrap();
        let directory = here(temporary.path());
        fs::write(temporary.path().join("a"), "old").unwrap();
        let partial = || {
            let mut partial = Partial::make(&directory, "a").unwrap();
            partial.write(b"new").unwrap();
            partial
        };
        let mode = Mode::from_raw_mode(0o600);
        let finish = |may_replace| finish_all(vec![(partial(), "a")], mode, may_replace).remove(0);
        assert_eq!(
            finish(false).unwrap_err().kind(),
            io::ErrorKind::AlreadyExists
        );
        assert_eq!(fs::read(temporary.path().join("a")).unwrap(), b"old");
        finish(true).unwrap();
        assert_eq!(fs::read(temporary.path().join("a")).unwrap(), b"new");
        // Nothing is left of an empty one, nor of one of no use.
        drop(Partial::make(&directory, "b").unwrap());
        partial().remove();
        assert_eq!(fs::read_dir(temporary.path()).unwrap().count(), 1);
    }

    #[test]
    fn of_many_that_are_whole_each_has_an_outcome_of_its_own() {
        let temporary = tempfile::tempdir().unwrap();
        let names: Vec<String> = (0..40).map(|n| format!("f{n}")).collect();
        fs::write(temporary.path().join("f7"), "old").unwrap();
        fs::create_dir(temporary.path().join("other")).unwrap();
        let top = here(temporary.path());
        let other = here(&temporary.path().join("other"));
        let all = names.iter().enumerate().map(|(n, name)| {
            let directory = if n % 2 == 0 { &other } else { &top };
            let mut partial = Partial::make(directory, name).unwrap();
            partial.write(name.as_bytes()).unwrap();
            (partial, name.as_str())
        });
        let outcomes = finish_all(all.collect(), Mode::from_raw_mode(0o600), false);
        for (n, (name, outcome)) in names.iter().zip(outcomes).enumerate() {
            let directory = if n % 2 == 0 { "other" } else { "." };
            let read = fs::read_to_string(temporary.path().join(directory).join(name)).unwrap();
            let is_new = if n == 7 { "old" } else { name };
            assert_eq!((outcome.is_ok(), read.as_str()), (n != 7, is_new));
        }
    }

    #[test]
    fn what_others_put_in_its_place_is_not_written_to() {
        let temporary = tempfile::tempdir().unwrap();
        let directory = here(temporary.path());
        let precious = temporary.path().join("precious");
        let hidden = temporary.path().join(".a.onepoll-part");
        fs::write(&precious, "mine").unwrap();
        fs::hard_link(&precious, &hidden).unwrap();
        let error = Partial::make(&directory, "a").unwrap_err().to_string();
        assert!(error.contains("not a file of ours alone"), "{error}");
        fs::remove_file(&hidden).unwrap();
        std::os::unix::fs::symlink(&precious, &hidden).unwrap();
        assert!(Partial::make(&directory, "a").is_err());
        fs::remove_file(&hidden).unwrap();
        fs::create_dir(&hidden).unwrap();
        assert!(Partial::make(&directory, "a").is_err());
        assert_eq!(fs::read(&precious).unwrap(), b"mine");
    }

    #[test]
    fn a_long_name_has_a_hidden_one_too() {
        let long = "x".repeat(255);
        let hidden = hidden_name(&long);
        assert!(hidden.len() <= 255 && hidden.starts_with('.'), "{hidden}");
        assert_ne!(hidden, hidden_name(&"y".repeat(255)));
    }
}
