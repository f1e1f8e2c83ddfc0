use std::fmt;

use serde::Serialize;

use super::head::encode as encode_header;
use super::name::{FileName, Names};
use super::request::{FILE_PART_BYTES_MAX, FILE_SIZE_MAX, sum};
use crate::wire::headed::{Body, at_the_end};
use crate::wire::object::{Object, malformed, unknown};
use crate::wire::{Decode, Encode, HEADER_BYTES_MAX, Prefixed, Sha256Sum, WireError};

/// How many bytes of a reason are sent: JSON writes one byte as six at worst, so it fits beside the name.
const REASON_BYTES_MAX: usize = 256;

/// What a server says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileAnswer<'b> {
    /// It was done, or begins.
    Ok(FileFacts),
    /// It was not done.
    Error(FileError),
    /// The next bytes of a file, or of a list.
    Bytes(&'b [u8]),
    /// Bytes were taken, and say nothing by themselves.
    Part,
}

/// What is known of a file; which of it is there depends on what was asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileFacts {
    /// The name that it has, which may be another than the one that was asked for.
    pub name: Option<String>,
    /// Its length in bytes.
    pub size: Option<u64>,
    /// From which byte on it is sent, or is to be sent.
    pub offset: Option<u64>,
    /// Of how many of its first bytes the digest is.
    pub bytes: Option<u64>,
    /// The digest.
    pub sha256: Option<Sha256Sum>,
    /// When it was last changed, in seconds since 1970 (UTC).
    pub modified: Option<u64>,
    /// How many files were listed.
    pub files: Option<u64>,
    /// How many were not, since no request can name them.
    pub skipped: Option<u64>,
}

/// Why something was not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileError {
    /// What it is about.
    pub kind: FileErrorKind,
    /// The reason, for people.
    pub reason: String,
    /// The name that was asked for, as it was understood.
    pub name: Option<String>,
    /// How many of the bytes that were sent are of the file; what follows them is filling.
    pub valid: Option<u64>,
}

impl FileError {
    /// An error that is about no name.
    pub fn new(kind: FileErrorKind, reason: impl Into<String>) -> FileError {
        FileError {
            kind,
            reason: reason.into(),
            name: None,
            valid: None,
        }
    }

    /// The same, about this name.
    #[must_use]
    pub fn about(self, name: &str) -> FileError {
        FileError {
            name: Some(name.to_owned()),
            ..self
        }
    }
}

/// What an error is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileErrorKind {
    /// No file may have this name.
    Name,
    /// A file of this name is there, and is not replaced.
    Exists,
    /// There is no such file.
    NotFound,
    /// It is larger than a file may be.
    TooLarge,
    /// The server keeps no more bytes, or no more files.
    Quota,
    /// The disk is full.
    NoRoom,
    /// The digest that was told is not that of the bytes.
    Digest,
    /// The file, or what was kept of it, is not what it was.
    Changed,
    /// The endpoint does not allow it.
    Denied,
    /// As much is going on as may.
    Busy,
    /// The system said no.
    System,
    /// It came more slowly than a sender may be.
    TooSlow,
    /// The server is stopping.
    Stopping,
    /// What came is no request, or does not fit where it came. The connection ends.
    Protocol,
}

impl FileErrorKind {
    /// All of them.
    pub const ALL: [FileErrorKind; 14] = [
        FileErrorKind::Name,
        FileErrorKind::Exists,
        FileErrorKind::NotFound,
        FileErrorKind::TooLarge,
        FileErrorKind::Quota,
        FileErrorKind::NoRoom,
        FileErrorKind::Digest,
        FileErrorKind::Changed,
        FileErrorKind::Denied,
        FileErrorKind::Busy,
        FileErrorKind::System,
        FileErrorKind::TooSlow,
        FileErrorKind::Stopping,
        FileErrorKind::Protocol,
    ];

    /// The word on the wire.
    pub fn name(self) -> &'static str {
        match self {
            FileErrorKind::Name => "name",
            FileErrorKind::Exists => "exists",
            FileErrorKind::NotFound => "not-found",
            FileErrorKind::TooLarge => "too-large",
            FileErrorKind::Quota => "quota",
            FileErrorKind::NoRoom => "no-room",
            FileErrorKind::Digest => "digest",
            FileErrorKind::Changed => "changed",
            FileErrorKind::Denied => "denied",
            FileErrorKind::Busy => "busy",
            FileErrorKind::System => "system",
            FileErrorKind::TooSlow => "too-slow",
            FileErrorKind::Stopping => "stopping",
            FileErrorKind::Protocol => "protocol",
        }
    }

    /// The kind of this word.
    pub fn named(word: &str) -> Option<FileErrorKind> {
        FileErrorKind::ALL
            .into_iter()
            .find(|kind| kind.name() == word)
    }
}

impl fmt::Display for FileErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Takes answers off the front; see [`FileAnswer`]. Bytes are handed on in the pieces in which they came, and keys
/// that are not known are ignored: a later server may say more.
///
/// # Errors
///
/// As [`FileRequests`](super::FileRequests).
///
/// ```
/// use onepoll::wire::{Decode, Encode, FileAnswer, FileAnswers, FileFacts};
///
/// let facts = FileFacts { name: Some("a.txt".to_owned()), size: Some(5), ..FileFacts::default() };
/// let mut out = Vec::new();
/// FileAnswer::Ok(facts.clone()).encode(&mut out);
/// assert_eq!(&out[4..], br#"{"ok":true,"file_name":"a.txt","file_size":5}"#);
/// let (answer, taken) = FileAnswers::new().decode(&out)?.unwrap();
/// assert_eq!((answer, taken), (FileAnswer::Ok(facts), out.len()));
/// # Ok::<(), onepoll::wire::WireError>(())
/// ```
#[derive(Debug, Clone)]
pub struct FileAnswers {
    framed: Prefixed,
    body: Body,
}

impl FileAnswers {
    /// A decoder that has seen nothing.
    pub const fn new() -> FileAnswers {
        FileAnswers {
            framed: Prefixed::named("header", HEADER_BYTES_MAX),
            body: Body::none(),
        }
    }

    /// Whether all that belongs to the last header has come.
    pub fn is_whole(&self) -> bool {
        self.body.is_whole()
    }

    fn answer<'b>(&mut self, mut object: Object) -> Result<FileAnswer<'b>, WireError> {
        if !object.has("ok") {
            self.body = Body::of(object.required("data_size", FILE_PART_BYTES_MAX)?);
            return Ok(FileAnswer::Part);
        }
        let is_ok = object.flag("ok")?;
        let name = object.text("file_name")?;
        if !is_ok {
            // A server of F1 that is not ours says no kind.
            let kind = match object.text("kind")? {
                None => FileErrorKind::System,
                Some(word) => match FileErrorKind::named(&word) {
                    Some(kind) => kind,
                    None => return Err(unknown("kind", &word, "one of those that are documented")),
                },
            };
            return Ok(FileAnswer::Error(FileError {
                kind,
                reason: object
                    .text("error")?
                    .ok_or_else(|| malformed("`error` is missing"))?,
                name,
                valid: object.number("valid", FILE_SIZE_MAX)?,
            }));
        }
        Ok(FileAnswer::Ok(FileFacts {
            name,
            size: object.number("file_size", FILE_SIZE_MAX)?,
            offset: object.number("offset", FILE_SIZE_MAX)?,
            bytes: object.number("bytes", FILE_SIZE_MAX)?,
            sha256: sum(&mut object, "sha256")?,
            modified: object.number("modified", u64::MAX)?,
            files: object.number("files", u64::MAX)?,
            skipped: object.number("skipped", u64::MAX)?,
        }))
    }
}

impl Default for FileAnswers {
    fn default() -> FileAnswers {
        FileAnswers::new()
    }
}

impl Decode for FileAnswers {
    type Frame<'b> = FileAnswer<'b>;

    fn decode<'b>(
        &mut self,
        unread: &'b [u8],
    ) -> Result<Option<(FileAnswer<'b>, usize)>, WireError> {
        if let Some(piece) = self.body.next(unread) {
            return Ok((!piece.is_empty()).then_some((FileAnswer::Bytes(piece), piece.len())));
        }
        let Some((json, taken)) = self.framed.decode(unread)? else {
            return Ok(None);
        };
        Ok(Some((self.answer(Object::parse(json)?)?, taken)))
    }

    fn decode_eof<'b>(
        &mut self,
        unread: &'b [u8],
    ) -> Result<Option<(FileAnswer<'b>, usize)>, WireError> {
        let frame = self.decode(unread)?;
        at_the_end(frame, unread, self.is_whole())
    }
}

/// An answer as it is written.
#[derive(Default, Serialize)]
struct Header<'a> {
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    valid: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file_size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    modified: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    files: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    skipped: Option<u64>,
}

/// A name that a file may have; what a client asked for instead may be as long as a header.
fn fitting(name: Option<&str>) -> Option<&str> {
    name.filter(|name| FileName::new(name, Names::Tree).is_ok())
}

impl Encode for FileAnswer<'_> {
    /// Bytes are a part with its header.
    fn encode(&self, out: &mut Vec<u8>) {
        let header = match self {
            FileAnswer::Ok(facts) => Header {
                ok: true,
                file_name: fitting(facts.name.as_deref()),
                file_size: facts.size,
                offset: facts.offset,
                bytes: facts.bytes,
                sha256: facts.sha256.map(|sum| sum.to_string()),
                modified: facts.modified,
                files: facts.files,
                skipped: facts.skipped,
                ..Header::default()
            },
            FileAnswer::Error(error) => Header {
                ok: false,
                kind: Some(error.kind.name()),
                error: Some(&error.reason[..error.reason.floor_char_boundary(REASON_BYTES_MAX)]),
                file_name: fitting(error.name.as_deref()),
                valid: error.valid,
                ..Header::default()
            },
            FileAnswer::Bytes(bytes) => {
                return super::request::FilePart {
                    bytes,
                    is_request: false,
                }
                .encode(out);
            }
            FileAnswer::Part => return,
        };
        encode_header(&header, out).expect("a name and a reason were measured");
    }
}
