use serde::Serialize;

use super::head::{Scan, encode};
use crate::wire::headed::{Body, at_the_end};
use crate::wire::object::{Object, malformed, unknown};
use crate::wire::{Decode, Encode, HEADER_BYTES_MAX, Md5Sum, Prefixed, Sha256Sum, Sum, WireError};

/// The largest size of a file: what `off_t` holds.
pub const FILE_SIZE_MAX: u64 = i64::MAX as u64;

/// How many bytes one part of a file may have, where a file comes in parts: 1 MiB.
pub const FILE_PART_BYTES_MAX: u64 = 1 << 20;

/// What a client asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileRequest<'b> {
    /// Store a file; its bytes follow.
    Upload(Box<Upload>),
    /// The next bytes of the file that is stored.
    Bytes(&'b [u8]),
    /// A file ends here whose size was not known, or whose end was announced; its digest may be told only now.
    End(Option<Sha256Sum>),
    /// How much of an upload of this name and size have you kept?
    Resume {
        /// The name of the file.
        name: String,
        /// Its size.
        size: u64,
    },
    /// What is the digest of the file, or of its first bytes?
    Verify {
        /// The name of the file.
        name: String,
        /// Of how many of its first bytes; none: all.
        bytes: Option<u64>,
    },
    /// Send the file.
    Download {
        /// The name of the file.
        name: String,
        /// What the client has of it.
        kept: Option<Kept>,
    },
    /// Which files are there?
    List,
    /// Bytes were taken, and say nothing by themselves.
    Part,
}

/// A file that is to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
    /// The name it is to have.
    pub name: String,
    /// Its size; none: it comes in parts, and its end is told.
    pub size: Option<u64>,
    /// Its MD5, if it is told.
    pub md5: Option<Md5Sum>,
    /// Its SHA-256, if it is told.
    pub sha256: Option<Sha256Sum>,
    /// What of it is there already; only the rest follows.
    pub kept: Option<Kept>,
    /// Whether an [end](FileRequest::End) with its digest follows its bytes. What comes in parts has one anyway.
    pub has_end: bool,
    /// How it was asked for.
    pub form: UploadForm,
}

impl Upload {
    /// How many bytes follow, if that is known.
    pub fn follows(&self) -> Option<u64> {
        let kept = self.kept.map_or(0, |kept| kept.bytes);
        self.size.map(|size| size.saturating_sub(kept))
    }
}

/// The first bytes of a file, and their digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// How many; 1 or more.
    pub bytes: u64,
    /// Their digest.
    pub sha256: Sha256Sum,
}

/// How an upload is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UploadForm {
    /// F1: a header behind its length.
    Framed,
    /// F2: a header that is glued to the bytes, with no length before it.
    Naive,
    /// F3: as F1, and what came of it is kept if the connection breaks.
    Resumable,
}

/// Takes requests off the front; see [`FileRequest`]. The bytes of files are handed on in the pieces in which they
/// came. In a header of F1 and F2, keys that are not known are ignored; in one of F3 they are an error.
///
/// # Errors
///
/// [`WireError::Negative`] and [`WireError::TooLong`] on the length alone, before any JSON has come.
/// [`WireError::Malformed`] when the header is no request: the detail names the key, what it was and what it must
/// be, and is safe to log. [`WireError::Truncated`] at an end inside of a header or of a file.
///
/// ```
/// use onepoll::wire::{Decode, FileRequest, FileRequests};
///
/// let sent = br#"{"filename":"a.txt","filesize":5}hello"#;
/// let mut requests = FileRequests::new();
/// let (request, taken) = requests.decode(sent)?.unwrap();
/// assert!(matches!(request, FileRequest::Upload(upload) if upload.name == "a.txt"));
/// assert_eq!(requests.decode(&sent[taken..])?, Some((FileRequest::Bytes(b"hello"), 5)));
/// # Ok::<(), onepoll::wire::WireError>(())
/// ```
#[derive(Debug, Clone)]
pub struct FileRequests {
    framed: Prefixed,
    naive: Scan,
    /// How many bytes of the file, or of the part of it, have not come.
    body: Body,
    /// What comes of a file behind these.
    behind: Behind,
}

/// What comes of a file behind the bytes that are awaited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Behind {
    Nothing,
    /// More parts, and its end.
    Parts,
    /// Its end, with its digest.
    End,
}

impl FileRequests {
    /// A decoder that has seen nothing.
    pub const fn new() -> FileRequests {
        FileRequests {
            framed: Prefixed::named("header", HEADER_BYTES_MAX),
            naive: Scan::new(),
            body: Body::none(),
            behind: Behind::Nothing,
        }
    }

    /// Whether nothing more belongs to the last request.
    pub fn is_whole(&self) -> bool {
        self.body.is_whole() && self.behind == Behind::Nothing
    }

    /// Whether a file comes in parts, and has not ended.
    pub fn is_in_parts(&self) -> bool {
        self.behind == Behind::Parts
    }

    /// How many bytes of the file, or of the part of it, have not come.
    pub fn left(&self) -> u64 {
        self.body.left()
    }

    /// The header at the front, and how many bytes it takes with its length.
    fn header(&mut self, unread: &[u8]) -> Result<Option<(Object, UploadForm, usize)>, WireError> {
        let is_naive = match unread {
            // As a length of at most 4 KiB these four would end in two zeros, which no JSON has.
            [b'{', _, third, fourth, ..] => (*third, *fourth) != (0, 0),
            [_, _, _, _, ..] => false,
            _ => return Ok(None),
        };
        if is_naive {
            let Some(taken) = self.naive.end(unread)? else {
                return Ok(None);
            };
            let object = Object::parse(&unread[..taken])?;
            return Ok(Some((object, UploadForm::Naive, taken)));
        }
        let Some((json, taken)) = self.framed.decode(unread)? else {
            return Ok(None);
        };
        Ok(Some((Object::parse(json)?, UploadForm::Framed, taken)))
    }

    fn request<'b>(
        &mut self,
        mut object: Object,
        form: UploadForm,
    ) -> Result<FileRequest<'b>, WireError> {
        if self.behind != Behind::Nothing {
            return self.part(object, form);
        }
        let Some(word) = object.text("onepoll")? else {
            let upload = plain_upload(&mut object, form)?;
            self.body = Body::of(upload.size.unwrap_or(0));
            return Ok(FileRequest::Upload(Box::new(upload)));
        };
        is_framed(form)?;
        let request = match word.as_str() {
            "upload" => {
                let upload = our_upload(&mut object)?;
                object.ends()?;
                self.behind = match upload.size {
                    None => Behind::Parts,
                    Some(_) if upload.has_end => Behind::End,
                    Some(_) => Behind::Nothing,
                };
                self.body = Body::of(upload.follows().unwrap_or(0));
                return Ok(FileRequest::Upload(Box::new(upload)));
            }
            "resume" => FileRequest::Resume {
                name: name(&mut object)?,
                size: object.required("file_size", FILE_SIZE_MAX)?,
            },
            "verify" => FileRequest::Verify {
                name: name(&mut object)?,
                bytes: object.number("bytes", FILE_SIZE_MAX)?,
            },
            "download" => FileRequest::Download {
                name: name(&mut object)?,
                kept: kept(&mut object, FILE_SIZE_MAX)?,
            },
            "list" => FileRequest::List,
            other => {
                let known = "one of upload, resume, verify, download, list";
                return Err(unknown("onepoll", other, known));
            }
        };
        object.ends()?;
        Ok(request)
    }

    /// A header inside of a file, or that ends it.
    fn part<'b>(
        &mut self,
        mut object: Object,
        form: UploadForm,
    ) -> Result<FileRequest<'b>, WireError> {
        is_framed(form)?;
        let has_parts = self.behind == Behind::Parts;
        let word = object.text("onepoll")?.unwrap_or_default();
        let request = match word.as_str() {
            "part" if has_parts => {
                let size = object.required("data_size", FILE_PART_BYTES_MAX)?;
                object.ends()?;
                self.body = Body::of(size);
                return Ok(FileRequest::Part);
            }
            "end" => match sum(&mut object, "sha256")? {
                None if !has_parts => return Err(malformed("`sha256` is missing")),
                sha256 => FileRequest::End(sha256),
            },
            other if has_parts => {
                return Err(unknown("onepoll", other, "part or end inside of a file"));
            }
            other => return Err(unknown("onepoll", other, "end behind this file")),
        };
        object.ends()?;
        self.behind = Behind::Nothing;
        Ok(request)
    }
}

/// What is ours has its length before it.
fn is_framed(form: UploadForm) -> Result<(), WireError> {
    match form {
        UploadForm::Naive => Err(malformed(
            "a header with `onepoll` has its length before it",
        )),
        UploadForm::Framed | UploadForm::Resumable => Ok(()),
    }
}

/// F1 and F2: either spelling of a key, and whatever else a client adds.
fn plain_upload(object: &mut Object, form: UploadForm) -> Result<Upload, WireError> {
    let one_of = |object: &Object, one: &'static str, other: &'static str| match (
        object.has(one),
        object.has(other),
    ) {
        (true, true) => Err(malformed(&format!("`{one}` and `{other}` are one key"))),
        (false, true) => Ok(other),
        _ => Ok(one),
    };
    let name_key = one_of(object, "file_name", "filename")?;
    let size_key = one_of(object, "file_size", "filesize")?;
    let name = object
        .text(name_key)?
        .ok_or_else(|| malformed("`file_name` is missing"))?;
    Ok(Upload {
        name,
        size: Some(object.required(size_key, FILE_SIZE_MAX)?),
        md5: sum(object, "md5")?,
        sha256: sum(object, "sha256")?,
        kept: None,
        has_end: false,
        form,
    })
}

fn our_upload(object: &mut Object) -> Result<Upload, WireError> {
    let size = object.number("file_size", FILE_SIZE_MAX)?;
    let kept = match size {
        Some(size) => kept(object, size)?,
        None => None,
    };
    let sha256 = sum(object, "sha256")?;
    let has_end = object.flag("end")?;
    if has_end && sha256.is_some() {
        return Err(malformed("`sha256` comes with the `end` that is announced"));
    }
    Ok(Upload {
        name: name(object)?,
        size,
        md5: sum(object, "md5")?,
        sha256,
        kept,
        has_end: has_end && size.is_some(),
        form: UploadForm::Resumable,
    })
}

fn name(object: &mut Object) -> Result<String, WireError> {
    object
        .text("file_name")?
        .ok_or_else(|| malformed("`file_name` is missing"))
}

/// `offset` and `kept_sha256`: both, or none of them; an offset of 0 is none.
fn kept(object: &mut Object, size: u64) -> Result<Option<Kept>, WireError> {
    let bytes = object.number("offset", size)?.unwrap_or(0);
    let sha256 = sum(object, "kept_sha256")?;
    match (bytes, sha256) {
        (0, None) => Ok(None),
        (0, Some(_)) => Err(malformed("`kept_sha256` has no `offset`")),
        (_, None) => Err(malformed("`kept_sha256` is missing: `offset` needs it")),
        (bytes, Some(sha256)) => Ok(Some(Kept { bytes, sha256 })),
    }
}

/// A digest in hexadecimal.
pub(super) fn sum<const N: usize>(
    object: &mut Object,
    key: &str,
) -> Result<Option<Sum<N>>, WireError> {
    let Some(text) = object.text(key)? else {
        return Ok(None);
    };
    match text.parse() {
        Ok(sum) => Ok(Some(sum)),
        Err(error) => Err(malformed(&format!(
            "`{key}` is {error}, not {} bytes that are something else",
            text.len()
        ))),
    }
}

impl Default for FileRequests {
    fn default() -> FileRequests {
        FileRequests::new()
    }
}

impl Decode for FileRequests {
    type Frame<'b> = FileRequest<'b>;

    fn decode<'b>(
        &mut self,
        unread: &'b [u8],
    ) -> Result<Option<(FileRequest<'b>, usize)>, WireError> {
        if let Some(piece) = self.body.next(unread) {
            return Ok((!piece.is_empty()).then_some((FileRequest::Bytes(piece), piece.len())));
        }
        let Some((object, form, taken)) = self.header(unread)? else {
            return Ok(None);
        };
        let request = self.request(object, form)?;
        self.naive = Scan::new();
        Ok(Some((request, taken)))
    }

    fn decode_eof<'b>(
        &mut self,
        unread: &'b [u8],
    ) -> Result<Option<(FileRequest<'b>, usize)>, WireError> {
        let frame = self.decode(unread)?;
        at_the_end(frame, unread, self.is_whole())
    }
}

/// A request as it is written.
#[derive(Default, Serialize)]
struct Header<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    onepoll: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file_size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    md5: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kept_sha256: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_size: Option<usize>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    end: bool,
}

impl<'a> Header<'a> {
    fn named(word: &'static str, name: &'a str, kept: Option<Kept>) -> Header<'a> {
        Header {
            onepoll: Some(word),
            file_name: Some(name),
            offset: kept.map(|kept| kept.bytes),
            kept_sha256: kept.map(|kept| kept.sha256.to_string()),
            ..Header::default()
        }
    }
}

impl FileRequest<'_> {
    /// Appends the request; the bytes of a file are appended as they are, as F1 and a file of known size have them.
    ///
    /// # Errors
    ///
    /// [`WireError::TooLong`] if the name makes the header longer than [`HEADER_BYTES_MAX`]; nothing is appended then.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), WireError> {
        match self {
            FileRequest::Upload(upload) => return upload.encode(out),
            FileRequest::Bytes(bytes) => out.extend_from_slice(bytes),
            FileRequest::Part => {}
            FileRequest::End(sha256) => {
                let header = Header {
                    onepoll: Some("end"),
                    sha256: sha256.map(|sum| sum.to_string()),
                    ..Header::default()
                };
                encode(&header, out)?;
            }
            FileRequest::Resume { name, size } => {
                let header = Header {
                    file_size: Some(*size),
                    ..Header::named("resume", name, None)
                };
                encode(&header, out)?;
            }
            FileRequest::Verify { name, bytes } => {
                let header = Header {
                    bytes: *bytes,
                    ..Header::named("verify", name, None)
                };
                encode(&header, out)?;
            }
            FileRequest::Download { name, kept } => {
                encode(&Header::named("download", name, *kept), out)?;
            }
            FileRequest::List => {
                let header = Header {
                    onepoll: Some("list"),
                    ..Header::default()
                };
                encode(&header, out)?;
            }
        }
        Ok(())
    }
}

impl Upload {
    /// Appends the header. F2 has no length before it, and what F3 alone has is left out of it and of F1.
    ///
    /// # Errors
    ///
    /// As [`FileRequest::encode`].
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), WireError> {
        let is_ours = self.form == UploadForm::Resumable;
        let header = Header {
            onepoll: is_ours.then_some("upload"),
            file_size: self.size,
            md5: self.md5.map(|sum| sum.to_string()),
            sha256: self.sha256.map(|sum| sum.to_string()),
            end: is_ours && self.has_end,
            ..Header::named("upload", &self.name, self.kept.filter(|_| is_ours))
        };
        let from = out.len();
        encode(&header, out)?;
        if self.form == UploadForm::Naive {
            out.drain(from..from + crate::wire::LENGTH_BYTES);
        }
        Ok(())
    }
}

/// What a server says before so many bytes of a file, which follow; at most [`FILE_PART_BYTES_MAX`].
#[derive(Debug, Clone, Copy)]
pub struct FilePartHead(pub u64);

impl Encode for FilePartHead {
    fn encode(&self, out: &mut Vec<u8>) {
        assert!(self.0 <= FILE_PART_BYTES_MAX, "more than a part may have");
        let header = Header {
            data_size: usize::try_from(self.0).ok(),
            ..Header::default()
        };
        encode(&header, out).expect("a number fits");
    }
}

/// The next bytes of a file that is sent in parts, in either direction; at most [`FILE_PART_BYTES_MAX`].
#[derive(Debug, Clone, Copy)]
pub struct FilePart<'b> {
    /// The bytes.
    pub bytes: &'b [u8],
    /// Whether it is a client that sends them.
    pub is_request: bool,
}

impl Encode for FilePart<'_> {
    fn encode(&self, out: &mut Vec<u8>) {
        assert!(
            self.bytes.len() as u64 <= FILE_PART_BYTES_MAX,
            "more than a part may have"
        );
        let header = Header {
            onepoll: self.is_request.then_some("part"),
            data_size: Some(self.bytes.len()),
            ..Header::default()
        };
        encode(&header, out).expect("two numbers fit");
        out.extend_from_slice(self.bytes);
    }
}
