//! The file of a Unix socket, from the moment it is bound until it is removed.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    Access, AtFlags, CWD, Gid, Mode, OFlags, RenameFlags, Uid, accessat, chmod, chownat, fstat,
    open, renameat_with,
};
use rustix::net::{SocketAddrUnix, getsockname};
use rustix::process::geteuid;

use super::dir_lock::DirLock;
use crate::config::make_private_dir;
use crate::reactor::{bind_unix, is_stale};
use crate::wire::FileNumbers;

/// What endpoints are bound for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Intent {
    /// To be served.
    Serve,
    /// To be served by a loop that runs, and does not wait: where another process looks at the directory of a
    /// socket file, it fails.
    Reload,
    /// To learn whether they could be: afterwards everything is as it was.
    Check,
}

/// The file of a Unix socket of ours; removed when the server ends, also when it never began
/// because another endpoint could not be bound (fault H6).
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    /// The file itself, once it is bound: as long as we hold it, no other gets its inode.
    held: Option<OwnedFd>,
    /// The mode that it is to have.
    mode: u32,
    /// Whether it is ours to remove. It is not while another server has the socket too.
    is_ours: bool,
    /// Whether it is removed by a loop that does not wait: else it is left behind, stale, for the next server.
    is_in_a_hurry: bool,
    before: Before,
}

/// Device and inode: which file it is, while it is held.
pub(super) type Identity = (u64, u64);

/// What was there, as far as it is put back.
#[derive(Debug, Default)]
struct Before {
    /// Where the stale file waits that a check found.
    stale: Option<PathBuf>,
    /// The private directory that was made for a check.
    made: Option<PathBuf>,
}

impl SocketFile {
    /// Binds a socket at `path`; `is_private` if its directory is ours to make.
    ///
    /// A stale file is replaced. A check puts it back, and removes the directory that it made.
    pub(super) fn bind(
        path: &Path,
        mode: u32,
        is_private: bool,
        intent: Intent,
    ) -> io::Result<(OwnedFd, SocketFile)> {
        // Dropped on the way out, it undoes what was done so far.
        let mut file = SocketFile {
            path: path.into(),
            held: None,
            mode,
            is_ours: true,
            is_in_a_hurry: intent == Intent::Reload,
            before: Before::default(),
        };
        if let Some(dir) = path.parent().filter(|_| is_private) {
            let was_there = dir.symlink_metadata().is_ok();
            make_private_dir(dir)?;
            file.before.made = (!was_there && intent == Intent::Check).then(|| dir.into());
        }
        let _until_bound = match intent {
            Intent::Reload => DirLock::at_once(path)?,
            Intent::Serve | Intent::Check => DirLock::around(path)?,
        };
        if is_stale(path)? {
            if intent == Intent::Check {
                let aside = aside(path);
                fs::rename(path, &aside)?;
                file.before.stale = Some(aside);
            } else {
                fs::remove_file(path)?;
            }
        }
        let socket = bind_unix(path, mode)?;
        file.held = Some(hold(path)?);
        Ok((socket, file))
    }

    /// The file of a socket that another server hands over: the one with these numbers, which is at this path
    /// now. It is not ours until we [own](SocketFile::own) it.
    pub(super) fn handed(path: &Path, mode: u32, numbers: FileNumbers) -> io::Result<SocketFile> {
        let file = SocketFile {
            path: path.into(),
            held: Some(hold(path)?),
            mode,
            is_ours: false,
            is_in_a_hurry: false,
            before: Before::default(),
        };
        if file.numbers() == Some(numbers) {
            Ok(file)
        } else {
            Err(io::Error::new(
                io::ErrorKind::AddrInUse,
                "another server has put its socket there meanwhile",
            ))
        }
    }

    /// The other server has let go of the socket: from here on its file is ours, with the mode that it is to
    /// have.
    pub fn own(&mut self) -> io::Result<()> {
        self.is_ours = true;
        Ok(chmod(&self.path, Mode::from_raw_mode(self.mode))?)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A check made the directory of both for the other, and removes it with the last of its files: this one.
    pub(super) fn inherit_directory(&mut self, other: &mut SocketFile) {
        let is_its = |made: &mut PathBuf| self.path.parent() == Some(&**made);
        if let Some(made) = other.before.made.take_if(is_its) {
            self.before.made = Some(made);
        }
    }

    /// Whether this process may remove it: the directory lets it, and not only the owners of what is in it.
    pub fn is_removable(&self) -> bool {
        let dir = self.path.parent().filter(|dir| !dir.as_os_str().is_empty());
        let dir = dir.unwrap_or(Path::new("."));
        let Ok(found) = dir.metadata() else {
            return false;
        };
        let is_ours = |uid: u32| uid == geteuid().as_raw();
        let is_sticky = Mode::from_raw_mode(found.mode()).contains(Mode::SVTX);
        let owns =
            is_ours(found.uid()) || self.path.symlink_metadata().is_ok_and(|f| is_ours(f.uid()));
        let access = accessat(
            CWD,
            dir,
            Access::WRITE_OK | Access::EXEC_OK,
            AtFlags::EACCESS,
        );
        access.is_ok() && (!is_sticky || owns)
    }

    /// Gives the file to this user and group.
    pub fn give_to(&self, (uid, gid): (u32, u32)) -> io::Result<()> {
        let (owner, group) = (Uid::from_raw(uid), Gid::from_raw(gid));
        // The link, if somebody has put one there: never what it leads to.
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        Ok(chownat(CWD, &self.path, Some(owner), Some(group), flags)?)
    }

    /// Removes the file, if that is possible without waiting.
    pub fn remove(mut self) {
        self.is_in_a_hurry = true;
    }

    /// Another server goes on with the socket, so the file is not ours any more.
    pub fn give_up(&mut self) {
        self.is_ours = false;
    }

    /// Which file it is, for another server.
    pub fn numbers(&self) -> Option<FileNumbers> {
        let (device, inode) = self.identity()?;
        Some(FileNumbers { device, inode })
    }

    /// Which file it is. What another server has put at the path since is another.
    pub(super) fn identity(&self) -> Option<Identity> {
        let found = fstat(self.held.as_ref()?).ok()?;
        Some((found.st_dev, found.st_ino))
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if let Some(ours) = self.identity().filter(|_| self.is_ours) {
            // A server that starts now waits for the lock, or finds the file gone.
            let lock = if self.is_in_a_hurry {
                DirLock::at_once(&self.path)
            } else {
                DirLock::around(&self.path)
            };
            if lock.is_ok() && identity(&self.path) == Some(ours) {
                // Left behind, it would be stale, and replaced by the next server.
                let _ = fs::remove_file(&self.path);
            }
        }
        self.before.restore(&self.path);
    }
}

impl Before {
    /// Puts back what a check found.
    fn restore(&self, path: &Path) {
        if let Some(aside) = &self.stale {
            let kept = renameat_with(CWD, aside, CWD, path, RenameFlags::NOREPLACE);
            if kept.is_err() {
                // Another server has its socket there by now, and would have replaced this file.
                let _ = fs::remove_file(aside);
            }
        }
        if let Some(dir) = &self.made {
            // Only if it is empty, as it was when we made it.
            let _ = fs::remove_dir(dir);
        }
    }
}

/// The file at the path, whatever it is.
fn hold(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(open(path, flags, Mode::empty())?)
}

/// A name beside the path that no other process uses.
fn aside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.check", std::process::id()));
    path.with_file_name(name)
}

/// Which file is there now.
pub(super) fn identity(path: &Path) -> Option<Identity> {
    let found = path.symlink_metadata().ok()?;
    Some((found.dev(), found.ino()))
}

/// The file of a Unix socket that another process opened: what is at the path that it is bound to.
pub(super) fn numbers_of_its_file(socket: &OwnedFd) -> Option<FileNumbers> {
    let name = SocketAddrUnix::try_from(getsockname(socket).ok()?).ok()?;
    let path = Path::new(OsStr::from_bytes(name.path_bytes()?));
    let (device, inode) = identity(path)?;
    Some(FileNumbers { device, inode })
}
