//! A root whose files are only read: its names stay beneath it, and lead through no symbolic link.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::Dir;

use super::disk::{Disk, Found, Root};
use crate::service::Occasion;
use crate::wire::FileName;

/// A directory whose files are read.
#[derive(Debug)]
pub(in crate::service) struct OpenRoot(Root);

impl OpenRoot {
    /// The directory at this path.
    ///
    /// # Errors
    ///
    /// What is wrong with it, in a sentence for people.
    pub(in crate::service) fn open(path: &Path) -> Result<OpenRoot, String> {
        Ok(OpenRoot(Root::open(path, false, Occasion::Reload)?.0))
    }

    /// The regular file of this name.
    pub(in crate::service) fn find(&self, name: &FileName) -> io::Result<Found> {
        self.0.open(name)
    }

    /// The directory of this name.
    pub(in crate::service) fn find_directory(&self, name: &FileName) -> io::Result<OwnedFd> {
        self.0.open_directory(name)
    }

    /// Names of what is right beneath it and not hidden, in order; of the first so many that the directory has.
    pub(in crate::service) fn names(&self, max: usize) -> Vec<String> {
        let directories = self.0.directories();
        let entries = directories.first().and_then(|dir| Dir::read_from(dir).ok());
        let entries = entries.into_iter().flatten().take(max).flatten();
        let names = entries.filter_map(|entry| Some(entry.file_name().to_str().ok()?.to_owned()));
        let mut names: Vec<String> = names.filter(|name| !name.starts_with('.')).collect();
        names.sort();
        names
    }
}
