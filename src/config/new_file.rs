use std::fs::{OpenOptions, remove_file};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Writes a file that is not there yet, with this mode, to the disk; one that is there is `AlreadyExists`, and
/// stays as it is. If it cannot be written whole it is removed: half a secret, or half a key, would pass for one.
pub(crate) fn write_new(path: &Path, mode: u32, bytes: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(mode).open(path)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    if written.is_err() {
        let _ = remove_file(path);
    }
    written
}

#[cfg(test)]
mod tests {
    use std::fs::{metadata, read};
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn a_new_file_has_its_mode_and_is_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new");
        write_new(&path, 0o600, b"one").unwrap();
        let again = write_new(&path, 0o644, b"two").unwrap_err();
        assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(read(&path).unwrap(), b"one");
        assert_eq!(metadata(&path).unwrap().mode() & 0o777, 0o600);
    }
}
