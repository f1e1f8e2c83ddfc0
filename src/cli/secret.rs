//! A secret from its file, which only its owner may read. It is never an argument, since every user of
//! the machine can see those.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::Failure;
use crate::wire::{SECRET_BYTES_MAX, Secret};

/// Bits of a file's mode that let others in.
const OTHERS: u32 = 0o077;

/// Reads the secret in `path`.
pub(super) fn read_secret(path: &Path) -> Result<Secret, Failure> {
    let name = path.display();
    let unreadable = |error: io::Error| Failure::Usage(format!("{name} cannot be read: {error}"));
    let file = File::open(path).map_err(unreadable)?;
    // Of the file that was opened, whatever the path names by now.
    let mode = file.metadata().map_err(unreadable)?.mode();
    if mode & OTHERS != 0 {
        return Err(Failure::Usage(format!(
            "{name} is open to others (mode {:04o}), so what is in it is no secret: chmod 600 {name}",
            mode & 0o7777
        )));
    }
    // One byte for the newline, and one that shows that it is too long. Room for all of them, since
    // a buffer that moved would leave what it held behind.
    let most = SECRET_BYTES_MAX + 2;
    let mut content = Vec::with_capacity(most);
    let read = file.take(most as u64).read_to_end(&mut content);
    let secret = Secret::new(content);
    read.map_err(unreadable)?;
    secret.map_err(|error| Failure::Usage(format!("{name}: {error}")))
}
