//! Bytes and answers as they are typed.

use std::fs::File;
use std::io::Read;

use super::number::size;
use crate::cli::Failure;
use crate::load::Expect;
use crate::load::plan::limits::SIZE_BYTES_MAX;

/// Text as it is typed, or the contents of a file.
pub(super) fn bytes_of(text: &str) -> Result<Vec<u8>, Failure> {
    if let Some(path) = text.strip_prefix('@') {
        let mut bytes = Vec::new();
        // One byte more, so that too much is noticed and not cut.
        let most = SIZE_BYTES_MAX as u64 + 1;
        let read = File::open(path).and_then(|file| file.take(most).read_to_end(&mut bytes));
        return match read {
            Ok(len) if len > SIZE_BYTES_MAX => Err(Failure::Usage(format!(
                "{path} is too long: at most {SIZE_BYTES_MAX} bytes"
            ))),
            Ok(_) => Ok(bytes),
            Err(error) => Err(Failure::Usage(format!("{path} cannot be read: {error}"))),
        };
    }
    unescaped(text).map_err(Failure::Usage)
}

fn unescaped(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut left = text.bytes();
    while let Some(byte) = left.next() {
        bytes.push(match byte {
            b'\\' => match left.next() {
                Some(b'n') => b'\n',
                Some(b'r') => b'\r',
                Some(b't') => b'\t',
                Some(b'0') => 0,
                Some(b'\\') => b'\\',
                _ => {
                    return Err(format!(
                        r"{text:?}: write \n, \r, \t, \0 or \\ after a backslash"
                    ));
                }
            },
            byte => byte,
        });
    }
    Ok(bytes)
}

/// A request of a command server.
pub(super) fn command_line(command: &str) -> Result<Vec<u8>, Failure> {
    if command.trim().is_empty() || command.contains(['\n', '\r']) {
        return Err(Failure::usage(
            "a command must be one line that is not empty: others are not answered",
        ));
    }
    Ok(format!("{command}\n").into_bytes())
}

/// What counts as the answer.
pub(super) fn answer(text: &str) -> Result<Expect, Failure> {
    match text {
        "echo" => Ok(Expect::Echo),
        "eof" => Ok(Expect::Eof),
        "http" => Ok(Expect::Http),
        _ => ended(text)?.ok_or_else(|| {
            Failure::Usage(format!(
                "--expect {text:?}: write echo, http, a number of bytes, until=DELIMITER, eof or exact=@FILE"
            ))
        }),
    }
}

/// What a server says first.
pub(super) fn greeting(text: &str) -> Result<Expect, Failure> {
    ended(text)?.ok_or_else(|| {
        Failure::Usage(format!(
            "--await-greeting {text:?}: write until=DELIMITER, a number of bytes or exact=TEXT"
        ))
    })
}

/// What says itself where it ends; none of anything else.
fn ended(text: &str) -> Result<Option<Expect>, Failure> {
    if let Some(delimiter) = text.strip_prefix("until=") {
        return Ok(Some(Expect::Until(bytes_of(delimiter)?)));
    }
    if let Some(exact) = text.strip_prefix("exact=") {
        return Ok(Some(Expect::Exact(bytes_of(exact)?)));
    }
    Ok(size(text).map(Expect::Bytes).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_are_unescaped() {
        assert_eq!(unescaped(r"a\r\n\0\\b"), Ok(b"a\r\n\0\\b".to_vec()));
        assert!(unescaped(r"\x").is_err());
        assert!(unescaped("\\").is_err());
    }
}
