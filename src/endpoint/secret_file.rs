//! A secret in its file, which only its owner may read. It is never an argument, since every user of the
//! machine can see those.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::Path;

use thiserror::Error;
use zeroize::Zeroizing;

use crate::config::{Content, Lookups, random_bytes, write_new};
use crate::service::chat::{NAMES_BYTES_MAX, line_of_name};
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
    let made_by = format!("onepoll secret {name}");
    // One byte for the newline; what is longer comes with one more, which shows that it is.
    let Content { mut bytes, .. } = look_up_private(path, SECRET_BYTES_MAX + 1, &made_by, lookups)?;
    // The bytes themselves, not a copy: they are wiped when the secret is dropped.
    Secret::new(std::mem::take(&mut *bytes)).map_err(|error| {
        SecretFileError(format!("{name}: {error}; `onepoll secret FILE` makes one"))
    })
}

/// The content of a file that nobody but its owner may read or write; a longer one comes with one byte more than
/// `most`.
pub(super) fn look_up_private(
    path: &Path,
    most: usize,
    made_by: &str,
    lookups: &mut Lookups,
) -> Result<Content, SecretFileError> {
    let name = path.display();
    let content = lookups.file(path, most).map_err(|error| {
        let remedy = match error.kind() {
            io::ErrorKind::NotFound => format!("; `{made_by}` makes one"),
            _ => String::new(),
        };
        SecretFileError(format!("{name} cannot be read: {error}{remedy}"))
    })?;
    check_mode(path, content.mode)?;
    Ok(content)
}

fn check_mode(path: &Path, mode: u32) -> Result<(), SecretFileError> {
    if mode & OTHERS == 0 {
        return Ok(());
    }
    let name = path.display();
    Err(SecretFileError(format!(
        "{name} is open to others (mode {:04o}), so what is in it is no secret: chmod 600 {name}",
        mode & 0o7777
    )))
}

/// Makes a token, and writes the line into a file of names by which `name` belongs to whoever has it: into a new
/// file of mode 0600, or behind what is there.
pub fn make_token(path: &Path, name: &str) -> Result<Zeroizing<String>, SecretFileError> {
    let file = path.display();
    let failed = |error: io::Error| SecretFileError(format!("{file} cannot be written: {error}"));
    let token = random_digits().map_err(failed)?;
    let before = match Lookups::live().file(path, NAMES_BYTES_MAX) {
        Ok(content) => Some(content),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(SecretFileError(format!("{file} cannot be read: {error}"))),
    };
    if let Some(content) = &before {
        check_mode(path, content.mode)?;
    }
    let content = before.as_ref().map_or(&b""[..], |content| &content.bytes);
    let line = line_of_name(name, token.as_bytes(), content)
        .map_err(|wrong| SecretFileError(format!("{file}: {wrong}")))?;
    if before.is_none() {
        write_new(path, 0o600, line.as_bytes()).map_err(failed)?;
    } else {
        let is_open_line = content.last().is_some_and(|&last| last != b'\n');
        let line = if is_open_line {
            format!("\n{line}")
        } else {
            line
        };
        // In one piece, behind what somebody else may have written meanwhile.
        let mut file = OpenOptions::new().append(true).open(path).map_err(failed)?;
        let written = file.write_all(line.as_bytes());
        written.and_then(|()| file.sync_all()).map_err(failed)?;
    }
    Ok(token)
}

/// 32 random bytes in hexadecimal digits.
fn random_digits() -> io::Result<Zeroizing<String>> {
    let bytes = Zeroizing::new(random_bytes::<MADE_BYTES>()?);
    let mut text = Zeroizing::new(String::with_capacity(2 * MADE_BYTES + 1));
    for byte in bytes.iter() {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    Ok(text)
}

/// Makes a secret in a file that is not there yet, with mode 0600.
pub fn make_secret(path: &Path) -> Result<(), SecretFileError> {
    let name = path.display();
    let failed = |error: io::Error| SecretFileError(format!("{name} cannot be made: {error}"));
    let mut text = random_digits().map_err(failed)?;
    text.push('\n');
    write_new(path, 0o600, text.as_bytes()).map_err(|error| match error.kind() {
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

    #[test]
    fn a_token_is_in_no_file_and_its_digest_is_behind_what_was_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("names");
        let eva = make_token(&path, "Eva").unwrap();
        assert_eq!(metadata(&path).unwrap().mode() & 0o777, 0o600);
        let before = read(&path).unwrap();
        // Whoever edits it may leave the last line without its end.
        write(&path, before.trim_ascii_end()).unwrap();
        let bob = make_token(&path, "bob").unwrap();
        assert!(eva.len() == 64 && bob.len() == 64 && *eva != *bob);
        let content = String::from_utf8(read(&path).unwrap()).unwrap();
        let lines: Vec<&str> = content.lines().collect();
        assert!(lines.len() == 2 && lines[0].starts_with("Eva ") && lines[1].starts_with("bob "));
        assert!(!content.contains(&**eva) && !content.contains(&**bob));
        let again = make_token(&path, "BOB").unwrap_err().to_string();
        assert!(again.contains("BOB is in it already"), "{again}");
        assert!(make_token(&path, "a b").is_err());
        assert_eq!(read(&path).unwrap(), content.as_bytes());
        set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        let open = make_token(&path, "ann").unwrap_err().to_string();
        assert!(open.contains("is open to others (mode 0644)"), "{open}");
    }
}
