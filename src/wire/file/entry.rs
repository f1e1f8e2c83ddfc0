use serde::{Deserialize, Serialize};

use crate::wire::object::{Object, malformed};
use crate::wire::{Encode, WireError};

/// A file in a list: one line of JSON.
///
/// ```
/// use onepoll::wire::{Encode, FileEntry};
///
/// let entry = FileEntry { name: "a.txt".to_owned(), size: 5, modified: 1_700_000_000 };
/// let mut out = Vec::new();
/// entry.encode(&mut out);
/// assert_eq!(out, b"{\"file_name\":\"a.txt\",\"file_size\":5,\"modified\":1700000000}\n");
/// assert_eq!(FileEntry::parse(&out)?, entry);
/// # Ok::<(), onepoll::wire::WireError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Its name; with its directories, joined by `/`, where the server serves a tree.
    #[serde(rename = "file_name")]
    pub name: String,
    /// Its length in bytes.
    #[serde(rename = "file_size")]
    pub size: u64,
    /// When it was last changed, in seconds since 1970 (UTC); 0 if before.
    pub modified: u64,
}

impl FileEntry {
    /// Reads one line, with or without its end. Keys that are not known are ignored.
    ///
    /// # Errors
    ///
    /// [`WireError::Malformed`], which names the key.
    pub fn parse(line: &[u8]) -> Result<FileEntry, WireError> {
        let mut object = Object::parse(line)?;
        Ok(FileEntry {
            name: object
                .text("file_name")?
                .ok_or_else(|| malformed("`file_name` is missing"))?,
            size: object.required("file_size", u64::MAX)?,
            modified: object.required("modified", u64::MAX)?,
        })
    }
}

impl Encode for FileEntry {
    fn encode(&self, out: &mut Vec<u8>) {
        serde_json::to_writer(&mut *out, self).expect("writing to a Vec does not fail");
        out.push(b'\n');
    }
}
