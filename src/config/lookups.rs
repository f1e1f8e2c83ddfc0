//! What a configuration names and does not hold: files, and hosts.
//!
//! Reading a file and resolving a name may wait, which the loop never does. So whatever reads a configuration
//! asks here. At start that is the machine. At a reload a helper asks the machine and writes down all that it
//! learnt; the loop reads the configuration with that, and learns the same without waiting.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::iter::Peekable;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::address::HostPort;

/// Asks the machine for files and addresses, or a record of what it has said.
#[derive(Debug, Default)]
pub struct Lookups {
    /// Whether there is only the record.
    is_replay: bool,
    /// By path, and by how much was asked for.
    files: Vec<(PathBuf, usize, Result<Content, Failed>)>,
    hosts: Vec<(String, Result<Vec<SocketAddr>, Failed>)>,
}

/// What was in a file when it was read.
#[derive(Clone)]
pub struct Content {
    /// All of it, or one byte more than was asked for. It may be a secret.
    pub bytes: Zeroizing<Vec<u8>>,
    /// Who may do what with it.
    pub mode: u32,
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Content")
            .field("mode", &self.mode)
            .finish_non_exhaustive()
    }
}

/// Why a look-up failed: an error number where there is one.
#[derive(Debug, Clone)]
enum Failed {
    Number(i32),
    Text(String),
}

impl Lookups {
    /// Asks the machine.
    pub fn live() -> Lookups {
        Lookups::default()
    }

    /// The content of a file that has `most` bytes or fewer; of a longer one, one byte more than that. Its mode
    /// is that of the file that was read, whatever the path names by now.
    pub fn file(&mut self, path: &Path, most: usize) -> io::Result<Content> {
        let is_known = |(known, asked, _): &&(PathBuf, usize, _)| known == path && *asked == most;
        let result = match self.files.iter().find(is_known) {
            Some((_, _, result)) => result.clone(),
            None if self.is_replay => return Err(not_recorded(&path.display())),
            None => {
                let result = read(path, most).map_err(|error| Failed::of(&error));
                self.files.push((path.into(), most, result.clone()));
                result
            }
        };
        result.map_err(Failed::into_error)
    }

    /// All addresses of a host and port, in the resolver's order. An address needs no resolver.
    pub fn host(&mut self, host: &HostPort) -> io::Result<Vec<SocketAddr>> {
        let name = host.to_string();
        let known = self.hosts.iter().find(|(known, _)| *known == name);
        let result = match known {
            Some((_, result)) => result.clone(),
            None if self.is_replay => return Err(not_recorded(&name)),
            None => {
                let resolved = host.to_socket_addrs().map(Iterator::collect);
                let result = resolved.map_err(|error| Failed::of(&error));
                self.hosts.push((name, result.clone()));
                result
            }
        };
        result.map_err(Failed::into_error)
    }

    /// The files that were asked for.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(|(path, ..)| &**path)
    }

    /// What was learnt, a line each, for [`replay`](Lookups::replay).
    pub fn record(&self) -> Zeroizing<String> {
        let hex = |bytes: &[u8]| bytes.len() * 2;
        let file = |(path, _, result): &(PathBuf, usize, Result<Content, Failed>)| {
            let content = result.as_ref().map_or(0, |content| hex(&content.bytes));
            hex(path.as_os_str().as_bytes()) + content + LINE_BYTES
        };
        // Room for all of it, since a text that moved would leave what it held behind.
        let room: usize = self.files.iter().map(file).sum();
        let mut record = Zeroizing::new(String::with_capacity(room));
        for (path, most, result) in &self.files {
            record.push_str("file ");
            push_hex(&mut record, path.as_os_str().as_bytes());
            record.push_str(&format!(" {most}"));
            match result {
                Ok(Content { bytes, mode }) => {
                    record.push_str(&format!(" {mode} "));
                    push_hex(&mut record, bytes);
                }
                Err(failed) => failed.push(&mut record),
            }
            record.push('\n');
        }
        for (name, result) in &self.hosts {
            record.push_str("host ");
            push_hex(&mut record, name.as_bytes());
            match result {
                Ok(all) => all.iter().for_each(|at| record.push_str(&format!(" {at}"))),
                Err(failed) => failed.push(&mut record),
            }
            record.push('\n');
        }
        record
    }

    /// Answers with what was learnt elsewhere, and with nothing else. `None`: this is no record.
    pub fn replay(record: &[u8]) -> Option<Lookups> {
        let mut lookups = Lookups {
            is_replay: true,
            ..Lookups::default()
        };
        let record = std::str::from_utf8(record).ok()?;
        for line in record.lines() {
            let mut words = line.split(' ');
            let (kind, key) = (words.next()?, from_hex(words.next()?)?);
            let mut rest = words.peekable();
            match kind {
                "file" => {
                    let most = rest.next()?.parse().ok()?;
                    let result = match read_failed(&mut rest)? {
                        Some(failed) => Err(failed),
                        None => Ok(Content {
                            mode: rest.next()?.parse().ok()?,
                            bytes: from_hex(rest.next()?)?,
                        }),
                    };
                    lookups.files.push((path(&key), most, result));
                }
                "host" => {
                    let result = match read_failed(&mut rest)? {
                        Some(failed) => Err(failed),
                        None => Ok(rest
                            .by_ref()
                            .map(|at| at.parse().ok())
                            .collect::<Option<_>>()?),
                    };
                    lookups.hosts.push((text(&key)?, result));
                }
                _ => return None,
            }
            if rest.next().is_some() {
                return None;
            }
        }
        Some(lookups)
    }
}

/// More than a line has beside its path and its content.
const LINE_BYTES: usize = 128;

impl Failed {
    fn of(error: &io::Error) -> Failed {
        match error.raw_os_error() {
            Some(number) => Failed::Number(number),
            None => Failed::Text(error.to_string()),
        }
    }

    fn into_error(self) -> io::Error {
        match self {
            Failed::Number(number) => io::Error::from_raw_os_error(number),
            Failed::Text(text) => io::Error::other(text),
        }
    }

    fn push(&self, record: &mut String) {
        match self {
            Failed::Number(number) => record.push_str(&format!(" failed number {number}")),
            Failed::Text(text) => {
                record.push_str(" failed text ");
                push_hex(record, text.as_bytes());
            }
        }
    }
}

/// Why a look-up failed, if the line says so; `None`: that part of it is no such thing.
fn read_failed<'a>(words: &mut Peekable<impl Iterator<Item = &'a str>>) -> Option<Option<Failed>> {
    if words.next_if_eq(&"failed").is_none() {
        return Some(None);
    }
    let (kind, value) = (words.next()?, words.next()?);
    Some(Some(match kind {
        "number" => Failed::Number(value.parse().ok()?),
        "text" => Failed::Text(text(&from_hex(value)?)?),
        _ => return None,
    }))
}

fn read(path: &Path, most: usize) -> io::Result<Content> {
    let file = File::open(path)?;
    let mode = file.metadata()?.mode();
    // Room for all of it, since a buffer that moved would leave what it held behind. What is read is counted,
    // not what the file system promises: a device promises nothing.
    let promised = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
    let room = promised.saturating_add(1).min(most.saturating_add(1));
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    file.take(most as u64 + 1).read_to_end(&mut bytes)?;
    Ok(Content { bytes, mode })
}

fn not_recorded(what: &dyn fmt::Display) -> io::Error {
    io::Error::other(format!("{what} changed while it was read"))
}

fn path(bytes: &[u8]) -> PathBuf {
    std::ffi::OsStr::from_bytes(bytes).into()
}

fn text(bytes: &[u8]) -> Option<String> {
    String::from_utf8(bytes.to_vec()).ok()
}

/// Nothing is `-`, so that there is a word for it.
fn push_hex(record: &mut String, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    if bytes.is_empty() {
        record.push('-');
    }
    for byte in bytes {
        for half in [byte >> 4, byte & 15] {
            record.push(char::from(DIGITS[usize::from(half)]));
        }
    }
}

fn from_hex(word: &str) -> Option<Zeroizing<Vec<u8>>> {
    let digits: &[u8] = if word == "-" { b"" } else { word.as_bytes() };
    let (pairs, rest) = digits.as_chunks::<2>();
    let mut bytes = Zeroizing::new(Vec::with_capacity(pairs.len()));
    let digit = |digit: u8| char::from(digit).to_digit(16);
    for [high, low] in pairs {
        bytes.push(u8::try_from(digit(*high)? << 4 | digit(*low)?).ok()?);
    }
    rest.is_empty().then_some(bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_record_says_what_the_machine_said() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at("secret"), b"\0\xff sixteen bytes or more\n").unwrap();
        std::fs::set_permissions(at("secret"), std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::write(at("empty"), b"").unwrap();
        let mut live = Lookups::live();
        let names = [
            "localhost:7",
            "127.0.0.1:0",
            "[::1]:9",
            "no.such.host.invalid:7",
        ];
        let names = names.map(|name| HostPort::parse(name).unwrap());
        let paths = [at("secret"), at("empty"), at("missing"), dir.path().into()];
        let ask = |lookups: &mut Lookups| {
            let files = paths.iter().map(|path| match lookups.file(path, 5) {
                Ok(Content { bytes, mode }) => Ok((bytes.to_vec(), mode)),
                Err(error) => Err((error.kind(), error.to_string())),
            });
            let files: Vec<_> = files.collect();
            let hosts = names
                .iter()
                .map(|name| lookups.host(name).map_err(|e| e.to_string()));
            (files, hosts.collect::<Vec<_>>())
        };
        let said = ask(&mut live);
        assert_eq!(said.0[0], Ok((b"\0\xff six"[..6].to_vec(), 0o100_600)));
        assert!(said.0[2].is_err() && said.0[3].is_err() && said.1[3].is_err());
        let record = live.record();
        let mut replayed = Lookups::replay(record.as_bytes()).unwrap();
        // What has changed since makes no difference.
        std::fs::remove_file(at("secret")).unwrap();
        assert_eq!(ask(&mut replayed), said);
        assert_eq!(replayed.record(), record);
        let other = replayed.file(&at("other"), 5).unwrap_err();
        assert!(other.to_string().ends_with("changed while it was read"));
        assert!(
            !format!("{replayed:?}").contains("115, 105, 120"),
            "a secret"
        );
    }

    #[test]
    fn what_is_no_record_is_none() {
        for text in [
            "\n",
            "file",
            "file 2f",
            "file 2f 5",
            "file 2f 5 384",
            "file 2f 5 x -",
            "file 2 5 384 -",
            "host 61 1.2.3.4",
            "file 2f 5 failed",
            "file 2f 5 failed number x",
            "file 2f failed number 2",
            "file 2f 5 failed text 2f more",
            "socket 61 failed number 2",
            "file 2f 5 384 - -",
            "host ff",
            "\u{7f}",
        ] {
            assert!(Lookups::replay(text.as_bytes()).is_none(), "{text:?}");
        }
        assert!(Lookups::replay(b"").is_some());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]
        #[test]
        fn no_bytes_are_trouble(bytes: Vec<u8>, text in "((file|host) ([0-9a-f]{2}|-)( (failed|number|[0-9]{1,4}|-)){0,3}\n){0,3}") {
            for record in [&bytes[..], text.as_bytes()] {
                if let Some(lookups) = Lookups::replay(record) {
                    let again = Lookups::replay(lookups.record().as_bytes());
                    prop_assert!(again.is_some());
                }
            }
        }
    }
}
