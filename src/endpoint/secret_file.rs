//! A secret in its file, which only its owner may read. It is never an argument, since every user of the
//! machine can see those.

use std::io;
use std::path::Path;

use thiserror::Error;
use zeroize::Zeroizing;

use crate::config::{Content, Lookups, random_bytes, write_new};
use crate::wire::{SECRET_BYTES_MAX, Secret};

/// Bits of a file's mode that let others in.
const OTHERS: u32 = 0o077;

/// Random bytes in a secret that we make; in its file they are twice as many hexadecimal digits.
const MADE_BYTES: usize = 32;

/// Why there is no secret: which file, what is wrong with it, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct SecretFileError(String);

/// Reads the secret in `path`. It may wait: for a pipe, or for a disk.
pub fn read_secret(path: &Path) -> Result<Secret, SecretFileError> {
    look_up_secret(path, &mut Lookups::live())
}

/// The secret in `path`, as it is looked up.
pub(super) fn look_up_secret(
    path: &Path,
    lookups: &mut Lookups,
) -> Result<Secret, SecretFileError> {
    let name = path.display();
    // One byte for the newline; what is longer comes with one more, which shows that it is.
    let content = lookups.file(path, SECRET_BYTES_MAX + 1);
    let Content { mut bytes, mode } = content.map_err(|error| {
        let remedy = match error.kind() {
            io::ErrorKind::NotFound => format!("; `onepoll secret {name}` makes one"),
            _ => String::new(),
        };
        SecretFileError(format!("{name} cannot be read: {error}{remedy}"))
    })?;
    if mode & OTHERS != 0 {
        return Err(SecretFileError(format!(
            "{name} is open to others (mode {:04o}), so what is in it is no secret: chmod 600 {name}",
            mode & 0o7777
        )));
    }
    // The bytes themselves, not a copy: they are wiped when the secret is dropped.
    Secret::new(std::mem::take(&mut *bytes)).map_err(|error| {
        SecretFileError(format!("{name}: {error}; `onepoll secret FILE` makes one"))
    })
}

/// Makes a secret in a file that is not there yet, with mode 0600.
pub fn make_secret(path: &Path) -> Result<(), SecretFileError> {
    let name = path.display();
    let failed = |error: io::Error| SecretFileError(format!("{name} cannot be made: {error}"));
    let bytes = Zeroizing::new(random_bytes::<MADE_BYTES>().map_err(failed)?);
    let mut text = Zeroizing::new(Vec::with_capacity(2 * MADE_BYTES + 1));
    for byte in bytes.iter() {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        text.push(DIGITS[usize::from(byte >> 4)]);
        text.push(DIGITS[usize::from(byte & 15)]);
    }
    text.push(b'\n');
    write_new(path, 0o600, &text).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => SecretFileError(format!(
            "{name} is there already, and a secret is never overwritten; remove it, or name another file"
        )),
        _ => failed(error),
    })
}

#[cfg(test)]
mod tests {
    use std::fs::{Permissions, metadata, read, set_permissions, write};
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::*;
    use crate::wire::{Digest, HmacKey};

    /// What reading a file with this content and mode says.
    fn said(content: &[u8], mode: u32) -> Result<Secret, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        write(&path, content).unwrap();
        set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        let whole = path.display().to_string();
        read_secret(&path).map_err(|error| error.to_string().replace(&whole, "FILE"))
    }

    #[test]
    fn fault_d16_a_file_that_others_may_read_is_no_secret() {
        let good = b"sixteen bytes...";
        for mode in [0o600, 0o400, 0o700] {
            assert!(said(good, mode).is_ok(), "{mode:o}");
        }
        for mode in [0o644, 0o640, 0o620, 0o604, 0o602, 0o601, 0o610, 0o666] {
            let said = said(good, mode).unwrap_err();
            let whole = format!(
                "FILE is open to others (mode {mode:04o}), so what is in it is no secret: chmod 600 FILE"
            );
            assert_eq!(said, whole);
        }
    }

    #[test]
    fn fault_d15_a_secret_that_could_be_guessed_is_none() {
        for (content, have) in [
            (&b""[..], 0),
            (b"\n", 0),
            (b"0123456789abcde\n", 15),
            (&[7; 4097], 4097),
            (&[7; 100_000], 4098),
        ] {
            let said = said(content, 0o600).unwrap_err();
            assert!(
                said.starts_with("FILE: a secret has 16 to 4096 bytes"),
                "{said}"
            );
            assert!(said.contains(&format!("not {have};")), "{said}");
        }
        // One newline at the end is the editor's, every other byte counts.
        let key = |content| HmacKey::new(&said(content, 0o600).unwrap(), Digest::Sha256);
        let proof = key(b"0123456789abcdef\n").prove(&[7; 32]);
        assert!(key(b"0123456789abcdef").verify(&[&[7; 32]], proof.as_ref()));
        assert!(!key(b"0123456789abcdef\r\n").verify(&[&[7; 32]], proof.as_ref()));
        assert!(!key(b" 0123456789abcdef").verify(&[&[7; 32]], proof.as_ref()));
    }

    #[test]
    fn fault_d16_what_cannot_be_read_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("none");
        let said = read_secret(&missing).unwrap_err().to_string();
        assert!(said.contains("none cannot be read: No such file"), "{said}");
        assert!(said.ends_with("none` makes one"), "{said}");
        set_permissions(dir.path(), Permissions::from_mode(0o700)).unwrap();
        let said = read_secret(dir.path()).unwrap_err().to_string();
        assert!(said.contains("Is a directory"), "{said}");
    }

    #[test]
    fn a_secret_that_was_made_is_whole_private_and_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        make_secret(&path).unwrap();
        let first = read(&path).unwrap();
        assert_eq!(first.len(), 65);
        assert!(first[..64].iter().all(u8::is_ascii_hexdigit) && first[64] == b'\n');
        assert_eq!(metadata(&path).unwrap().mode() & 0o7777, 0o600);
        assert!(read_secret(&path).is_ok());
        let said = make_secret(&path).unwrap_err().to_string();
        assert!(said.contains("is there already"), "{said}");
        assert_eq!(read(&path).unwrap(), first);
        // Nor through a link that leads nowhere yet.
        let link = dir.path().join("link");
        symlink(dir.path().join("elsewhere"), &link).unwrap();
        assert!(make_secret(&link).is_err());
        assert!(!dir.path().join("elsewhere").exists());
        let other = dir.path().join("other");
        make_secret(&other).unwrap();
        assert_ne!(read(&other).unwrap(), first);
        let said = make_secret(&dir.path().join("no/where")).unwrap_err();
        assert!(said.to_string().contains("cannot be made"), "{said}");
    }
}
