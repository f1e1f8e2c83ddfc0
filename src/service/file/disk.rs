//! The files beneath a root, as Linux has them: openat2(2) confines every name to it, and follows no symbolic link.
//!
//! Knows descriptors and names; what is here waits for no disk but where a page is not in the cache. What syncs, or
//! reads a whole file, is an [errand](super::work).

use std::fmt::Debug;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use rustix::event::{Timespec, poll};
use rustix::fs::{
    AtFlags, Dir, FallocateFlags, FileType, FlockOperation, Mode, OFlags, fallocate, flock, fstat,
    ftruncate, mkdirat, open, openat2, statat, unlinkat,
};
use rustix::io::{Errno, ioctl_fionbio, pread, pwrite, write};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::geteuid;

use super::known::Stamp;
use crate::config::limits::FILE_TIMES_SETTLED;
use crate::config::{CONFINED, open_confined};
use crate::service::Occasion;
use crate::wire::{FileName, Sha256};

/// The directory beneath the root in which a file is until it is whole. Its name begins with a dot, so no client can
/// name anything in it.
const STAGING: &str = ".onepoll";

/// Who has it locked has the root.
const LOCK: &str = "lock";

/// Between two tries to lock it.
const PAUSE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 5_000_000,
};

/// How often that is tried at the start: for half a second.
const LOCK_TRIES: u32 = 100;

/// How often it is looked whether a child of a server that was killed still stores files: for ten seconds.
const STORED_TRIES: u32 = 2_000;

/// What a file is called there that cannot be resumed, and one that can.
const TEMPORARY: &str = "tmp-";
const PARTIAL: &str = "part-";

/// How often a lookup is tried again that something was renamed under.
const TRIES: u32 = 16;

/// What the service does with files; the tests have one that fails.
pub(super) trait Disk: Debug {
    /// Root and staging directory, for errands.
    fn directories(&self) -> Vec<Arc<OwnedFd>>;
    /// A file that is served: regular, and whole.
    fn open(&self, name: &FileName) -> io::Result<Found>;
    /// How large what has this name is, if anything has.
    fn size_of(&self, name: &FileName) -> io::Result<Option<u64>>;
    /// A file that is to come, locked; what is in it already stays.
    fn stage(&self, name: &str) -> io::Result<Found>;
    /// How large it is by now.
    fn staged_size(&self, file: &OwnedFd) -> io::Result<u64>;
    /// Takes the root for this process, if another had it when it was opened and has ended since.
    fn take_over(&mut self);
    /// Removes what has this name there; if a file is given, only if it is that one. It may be under its own name by
    /// now, and the next upload of that name have taken its place.
    fn unstage(&self, name: &str, file: Option<&OwnedFd>);
    /// What is kept of it from here on.
    fn cut(&self, file: &OwnedFd, bytes: u64) -> io::Result<()>;
    /// Takes room for it.
    fn reserve(&self, file: &OwnedFd, bytes: u64) -> io::Result<()>;
    /// Writes once.
    fn write(&self, file: &OwnedFd, bytes: &[u8], at: u64) -> io::Result<usize>;
    /// The same file for a child that does not store it: it does not have it locked, so that it is nobody's when
    /// the server is killed.
    fn lend(&self, file: &OwnedFd) -> io::Result<Arc<OwnedFd>>;
    /// Reads once.
    fn read(&self, file: &OwnedFd, into: &mut [u8], at: u64) -> io::Result<usize>;
}

/// An open file.
#[derive(Debug)]
pub(in crate::service) struct Found {
    pub(in crate::service) file: Arc<OwnedFd>,
    pub(in crate::service) size: u64,
    /// When it was last changed, in seconds since 1970.
    pub(in crate::service) modified: u64,
    pub(super) stamp: Stamp,
    /// Whether its stamp will be another when it is changed from now on: its times are not of this moment.
    pub(super) is_settled: bool,
}

/// A root, opened once.
#[derive(Debug)]
pub(super) struct Root {
    dir: Arc<OwnedFd>,
    /// None: nothing is stored here.
    staging: Option<Staging>,
}

#[derive(Debug)]
struct Staging {
    dir: Arc<OwnedFd>,
    /// Closing it unlocks. None: the server that was taken over has it.
    lock: Option<Arc<OwnedFd>>,
}

/// What was left of an upload that was cut off.
#[derive(Debug)]
pub(super) struct Leftover {
    pub(super) name: String,
    pub(super) bytes: u64,
    /// How long ago it was written to.
    pub(super) age: Duration,
}

impl Root {
    /// Opens a root; to store files there as well, takes it for this process, and removes what was left behind.
    pub(super) fn open(
        path: &Path,
        writes: bool,
        occasion: Occasion,
    ) -> Result<(Root, Vec<Leftover>), String> {
        let shown = path.display();
        let dir = open(path, DIRECTORY, Mode::empty())
            .map_err(|error| format!("`root`: {shown}: {}", io::Error::from(error)))?;
        // Whether the kernel confines names at all is found out before anybody sends one.
        openat2(&dir, ".", DIRECTORY, Mode::empty(), CONFINED).map_err(|error| {
            let error = io::Error::from(error);
            format!("`root`: the kernel does not confine names to {shown} (openat2): {error}")
        })?;
        let dir = Arc::new(dir);
        if !writes {
            return Ok((Root { dir, staging: None }, Vec::new()));
        }
        let wrong = |what: &str, error: Errno| {
            format!(
                "`root`: {what} {shown}/{STAGING}: {}",
                io::Error::from(error)
            )
        };
        match mkdirat(&dir, STAGING, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(wrong("cannot make", error)),
        }
        let staging = openat2(&dir, STAGING, DIRECTORY, Mode::empty(), CONFINED)
            .map_err(|error| wrong("cannot open", error))?;
        let stat = fstat(&staging).map_err(|error| wrong("cannot look at", error))?;
        if stat.st_uid != geteuid().as_raw() || stat.st_mode & 0o022 != 0 {
            return Err(format!(
                "`root`: {shown}/{STAGING} belongs to another user, or others may write to it: \
                 they could change what is stored; remove it"
            ));
        }
        let tries = match occasion {
            // A child of a server that was killed has its lock until it runs its own program (exec).
            Occasion::Start => LOCK_TRIES,
            Occasion::Reload | Occasion::TakeOver => 1,
        };
        let lock = match take(&staging, tries) {
            Ok(lock) => Some(lock),
            // The server that is taken over has it until its uploads have ended; each file has a lock of its own.
            Err(Errno::WOULDBLOCK) if occasion == Occasion::TakeOver => None,
            Err(Errno::WOULDBLOCK) => {
                return Err(format!(
                    "`root`: another server stores files in {shown}; one server has a root"
                ));
            }
            Err(error) => return Err(wrong("cannot lock", error)),
        };
        // Where this process had the lock already, what is locked is its own.
        let is_first = lock
            .as_ref()
            .is_some_and(|lock| Arc::strong_count(lock) == 1);
        if occasion == Occasion::Start && is_first {
            wait_until_stored(&staging).map_err(|error| wrong("cannot look at", error))?;
        }
        let leftovers = clean(&staging).map_err(|error| wrong("cannot clean", error))?;
        let dir_of_staging = Arc::new(staging);
        let staging = Some(Staging {
            dir: dir_of_staging,
            lock,
        });
        Ok((Root { dir, staging }, leftovers))
    }

    /// The directory of this name beneath it.
    pub(super) fn open_directory(&self, name: &FileName) -> io::Result<OwnedFd> {
        Ok(confined(&self.dir, name.as_str(), DIRECTORY)?)
    }

    fn staging(&self) -> io::Result<&OwnedFd> {
        match &self.staging {
            Some(staging) => Ok(&staging.dir),
            None => Err(io::ErrorKind::PermissionDenied.into()),
        }
    }
}

/// How a directory is opened.
pub(super) const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

impl Disk for Root {
    fn directories(&self) -> Vec<Arc<OwnedFd>> {
        let staging = self.staging.as_ref().map(|staging| staging.dir.clone());
        std::iter::once(self.dir.clone()).chain(staging).collect()
    }

    fn open(&self, name: &FileName) -> io::Result<Found> {
        // A FIFO would wait for whoever writes to it (fault G3).
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        found(confined(&self.dir, name.as_str(), flags)?)
    }

    fn size_of(&self, name: &FileName) -> io::Result<Option<u64>> {
        // Whatever it is, a link included: it is in the way.
        match confined(&self.dir, name.as_str(), OFlags::PATH | OFlags::CLOEXEC) {
            Ok(file) => {
                let stat = fstat(&file)?;
                Ok(Some(u64::try_from(stat.st_size).unwrap_or(0)))
            }
            Err(Errno::NOENT) => Ok(None),
            // A link is there.
            Err(Errno::LOOP) => Ok(Some(0)),
            Err(error) => Err(error.into()),
        }
    }

    fn stage(&self, name: &str) -> io::Result<Found> {
        let staging = self.staging()?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOCTTY;
        // The mode is ours, whatever its sender had (fault G15); the umask takes from it.
        let mode = Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::ROTH;
        for _ in 0..TRIES {
            let file = openat2(staging, name, flags, mode, CONFINED)?;
            flock(&file, FlockOperation::NonBlockingLockExclusive)?;
            // A child of a server that was killed may have put it under its own name since it was opened, and
            // unlocked it by its end: what is cut or written then would be a file that is there (fault G12).
            if is_called(staging, name, &file)? {
                return found(file);
            }
        }
        Err(io::ErrorKind::WouldBlock.into())
    }

    fn staged_size(&self, file: &OwnedFd) -> io::Result<u64> {
        Ok(u64::try_from(fstat(file)?.st_size).unwrap_or(0))
    }

    fn take_over(&mut self) {
        if let Some(staging) = &mut self.staging
            && staging.lock.is_none()
        {
            staging.lock = take(&staging.dir, 1).ok();
        }
    }

    fn unstage(&self, name: &str, file: Option<&OwnedFd>) {
        // Who has it open has it locked, so that nobody puts another in its place in between.
        if let Ok(staging) = self.staging()
            && file.is_none_or(|file| is_called(staging, name, file) == Ok(true))
        {
            let _ = unlinkat(staging, name, AtFlags::empty());
        }
    }

    fn cut(&self, file: &OwnedFd, bytes: u64) -> io::Result<()> {
        Ok(ftruncate(file, bytes)?)
    }

    fn reserve(&self, file: &OwnedFd, bytes: u64) -> io::Result<()> {
        reserve(file, bytes)
    }

    fn write(&self, file: &OwnedFd, bytes: &[u8], at: u64) -> io::Result<usize> {
        Ok(pwrite(file, bytes, at)?)
    }

    fn lend(&self, file: &OwnedFd) -> io::Result<Arc<OwnedFd>> {
        Ok(Arc::new(without_lock(file, OFlags::RDWR)?))
    }

    fn read(&self, file: &OwnedFd, into: &mut [u8], at: u64) -> io::Result<usize> {
        Ok(pread(file, into, at)?)
    }
}

/// Takes room on the disk, and leaves the size as it is: that says how much has come. Some file systems have no such
/// call; there a full disk is found out when it is.
pub(super) fn reserve(file: &OwnedFd, bytes: u64) -> io::Result<()> {
    if bytes == 0 {
        return Ok(());
    }
    loop {
        match fallocate(file, FallocateFlags::KEEP_SIZE, 0, bytes) {
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Whether a file has this name still.
fn is_called(directory: &OwnedFd, name: &str, file: &OwnedFd) -> Result<bool, Errno> {
    let own = fstat(file)?;
    match statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(there) => Ok((there.st_dev, there.st_ino) == (own.st_dev, own.st_ino)),
        Err(Errno::NOENT) => Ok(false),
        Err(error) => Err(error),
    }
}

/// The same file, opened once more: who has this does not have it locked.
fn without_lock(file: &OwnedFd, flags: OFlags) -> io::Result<OwnedFd> {
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    Ok(open(path, flags | OFlags::CLOEXEC, Mode::empty())?)
}

/// A pipe through which a child that [digests a file while it comes](super::following) is told of more: its end, which
/// waits, and ours, which does not.
pub(super) fn news() -> io::Result<(OwnedFd, OwnedFd)> {
    let (its, ours) = pipe_with(PipeFlags::CLOEXEC)?;
    ioctl_fionbio(&ours, true)?;
    Ok((its, ours))
}

/// Says that there is more. That it does not fit says that enough was said.
pub(super) fn tell(news: &OwnedFd) {
    let _ = write(news, b"\n");
}

/// Opens what has this name beneath a directory.
pub(super) fn confined(dir: impl AsFd, name: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
    open_confined(dir, name, flags, Mode::empty(), TRIES)
}

/// What is known of a file, if it is a regular one.
fn found(file: OwnedFd) -> io::Result<Found> {
    let stat = fstat(&file)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(io::Error::new(
            io::ErrorKind::NotFound,
            "it is no regular file",
        ));
    }
    let size = u64::try_from(stat.st_size).unwrap_or(0);
    let changed = Duration::from_secs(u64::try_from(stat.st_ctime).unwrap_or(u64::MAX));
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    Ok(Found {
        file: Arc::new(file),
        size,
        modified: u64::try_from(stat.st_mtime).unwrap_or(0),
        stamp: Stamp {
            device: stat.st_dev,
            inode: stat.st_ino,
            size,
            modified: (stat.st_mtime, stat.st_mtime_nsec),
            changed: (stat.st_ctime, stat.st_ctime_nsec),
        },
        // A second more, since the time has parts of one.
        is_settled: now.saturating_sub(changed) > FILE_TIMES_SETTLED + Duration::from_secs(1),
    })
}

/// What a file is called while it comes, if it cannot be resumed.
pub(super) fn temporary(random: u64) -> String {
    format!("{TEMPORARY}{random:016x}")
}

/// What it is called if it can: the same for a file of the same name and size.
pub(super) fn partial(name: &FileName, size: u64) -> String {
    let mut sha256 = Sha256::new();
    sha256.update(name.as_str().as_bytes());
    sha256.update(format!("\0{size}").as_bytes());
    format!("{PARTIAL}{}", sha256.finish())
}

/// The locks that this process has, by what is locked: two endpoints with one root share it, and so do the
/// services of one endpoint before and after a reload. What one of them opens anew is another lock to the kernel.
static LOCKS: Mutex<Vec<Locked>> = Mutex::new(Vec::new());

/// Device and inode of what is locked, and the lock.
type Locked = ((u64, u64), Weak<OwnedFd>);

/// Takes the lock, or the one that this process has; the more tries, the longer another process is waited for.
fn take(staging: &OwnedFd, tries: u32) -> Result<Arc<OwnedFd>, Errno> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC;
    let file = openat2(staging, LOCK, flags, Mode::RUSR | Mode::WUSR, CONFINED)?;
    let stat = fstat(&file)?;
    let place = (stat.st_dev, stat.st_ino);
    let mut locks = LOCKS.lock().unwrap_or_else(PoisonError::into_inner);
    locks.retain(|(_, lock)| lock.strong_count() > 0);
    let ours = locks.iter().find(|(at, _)| *at == place);
    if let Some(lock) = ours.and_then(|(_, lock)| lock.upgrade()) {
        return Ok(lock);
    }
    for _ in 1..tries {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => {}
            _ => break,
        }
        pause()?;
    }
    // Once more, also where it is locked already.
    flock(&file, FlockOperation::NonBlockingLockExclusive)?;
    let lock = Arc::new(file);
    locks.push((place, Arc::downgrade(&lock)));
    Ok(lock)
}

fn pause() -> Result<(), Errno> {
    match poll(&mut [], Some(&PAUSE)) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(wrong) => Err(wrong),
    }
}

/// Waits until no child of a server that was killed has a file there that it is still to give its name: else that takes
/// the place of a later one that this server has acknowledged (fault G12). One that takes too long is not waited for.
fn wait_until_stored(staging: &OwnedFd) -> Result<(), Errno> {
    for _ in 0..STORED_TRIES {
        let mut is_stored = true;
        for entry in Dir::read_from(staging)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().to_str() else {
                continue;
            };
            if (name.starts_with(PARTIAL) || name.starts_with(TEMPORARY))
                && let Ok(file) = confined(staging, name, OFlags::RDONLY | OFlags::NONBLOCK)
            {
                is_stored &= flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok();
            }
        }
        if is_stored {
            break;
        }
        pause()?;
    }
    Ok(())
}

/// Removes what nobody can go on with, and says what can be: what a server that was killed had begun. A file that
/// is locked is somebody's.
fn clean(staging: &OwnedFd) -> Result<Vec<Leftover>, Errno> {
    let mut kept = Vec::new();
    for entry in Dir::read_from(staging)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().to_str() else {
            continue;
        };
        let is_partial = name.starts_with(PARTIAL);
        if !is_partial && !name.starts_with(TEMPORARY) {
            continue;
        }
        let Ok(file) = confined(staging, name, OFlags::RDONLY | OFlags::NONBLOCK) else {
            continue;
        };
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err()
            || !is_called(staging, name, &file)?
        {
            continue;
        }
        if !is_partial {
            unlinkat(staging, name, AtFlags::empty())?;
            continue;
        }
        let stat = fstat(&file)?;
        let modified = Duration::from_secs(u64::try_from(stat.st_mtime).unwrap_or(0));
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        kept.push(Leftover {
            name: name.to_owned(),
            bytes: u64::try_from(stat.st_size).unwrap_or(0),
            age: now.saturating_sub(modified),
        });
    }
    Ok(kept)
}
