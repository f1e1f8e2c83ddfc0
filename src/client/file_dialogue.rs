//! What is asked of a file server, and what it says (F3): requests in, bytes out; bytes in, news out.
//!
//! Knows the order of questions and answers, and what a server may say to each. Does not know sockets, time or
//! disks, and believes nothing that can be checked here: another name, more or fewer bytes than were told, an offset
//! that was not offered, a line without an end.

use std::collections::VecDeque;

use memchr::memchr;

use crate::wire::{
    Decode, Encode, FileAnswer, FileAnswers, FileEntry, FileError, FileFacts, FilePart,
    FileRequest, Sha256Sum, WireError,
};

/// How long a line of a list may be: a name of 1024 bytes, each escaped as six, and two numbers.
const LINE_BYTES_MAX: usize = 8192;

/// What a file server says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileNews<'b> {
    /// Bytes were taken, and say nothing by themselves.
    Part,
    /// The answer to an upload (`size` and `sha256` are there), to `resume` (`offset` is, and `sha256` if that is
    /// not 0) or to `verify` (`size`, `bytes` and `sha256` are).
    Done(FileFacts),
    /// A file that was asked for begins.
    Begins {
        /// How long all of it is.
        size: u64,
        /// From where on it is sent: 0, or how much of it the request said that there is.
        offset: u64,
    },
    /// The next bytes of that file.
    Bytes(&'b [u8]),
    /// It has ended, and all of it has this digest.
    Ends(Sha256Sum),
    /// A file in the list.
    Entry(FileEntry),
    /// The list has ended.
    Listed {
        /// How many files no request can name.
        skipped: u64,
    },
    /// It was not done, or not to its end.
    Refused(FileError),
}

/// Questions that were asked on one connection, and their answers, in the same order.
///
/// ```
/// use onepoll::client::{FileDialogue, FileNews};
/// use onepoll::wire::{FileRequest, WireError};
///
/// let mut dialogue = FileDialogue::new();
/// dialogue.ask(&FileRequest::Download { name: "a.txt".to_owned(), kept: None })?;
/// assert_eq!(&dialogue.out()[4..], br#"{"onepoll":"download","file_name":"a.txt"}"#);
/// let answer = b"\x38\0\0\0{\"ok\":true,\"file_name\":\"a.txt\",\"file_size\":5,\"offset\":0}";
/// let (news, taken) = dialogue.next(answer)?.unwrap();
/// assert_eq!((news, taken), (FileNews::Begins { size: 5, offset: 0 }, answer.len()));
/// # Ok::<(), WireError>(())
/// ```
#[derive(Debug, Default)]
pub struct FileDialogue {
    out: Vec<u8>,
    asked: VecDeque<Asked>,
    answers: FileAnswers,
    inside: Inside,
    /// What came of a list and was not handed on, from `at` on; no line end before `searched`.
    lines: Vec<u8>,
    at: usize,
    searched: usize,
}

/// What is to be answered.
#[derive(Debug)]
enum Asked {
    Upload { size: Option<u64> },
    Resume { size: u64 },
    Verify { name: String, bytes: Option<u64> },
    Download { name: String, kept: u64 },
    List,
}

/// Of which answer a part has come.
#[derive(Debug, Default)]
enum Inside {
    #[default]
    Nothing,
    /// So many bytes have not come of a file of this length.
    File { left: u64, size: u64 },
    /// So many files were listed.
    List { files: u64 },
}

impl FileDialogue {
    /// One in which nothing was said.
    pub fn new() -> FileDialogue {
        FileDialogue::default()
    }

    /// Asks, behind what was asked before.
    ///
    /// # Errors
    ///
    /// [`WireError::TooLong`] if no header can hold it; then nothing was asked.
    pub fn ask(&mut self, request: &FileRequest<'_>) -> Result<(), WireError> {
        request.encode(&mut self.out)?;
        self.asked.push_back(match request {
            FileRequest::Upload(upload) => Asked::Upload { size: upload.size },
            FileRequest::Resume { size, .. } => Asked::Resume { size: *size },
            FileRequest::Verify { name, bytes } => Asked::Verify {
                name: name.clone(),
                bytes: *bytes,
            },
            FileRequest::Download { name, kept } => Asked::Download {
                name: name.clone(),
                kept: kept.map_or(0, |kept| kept.bytes),
            },
            FileRequest::List => Asked::List,
            // They belong to what was asked.
            FileRequest::Bytes(_) | FileRequest::End(_) | FileRequest::Part => return Ok(()),
        });
        Ok(())
    }

    /// The next bytes of an upload that comes in parts.
    pub fn give_part(&mut self, bytes: &[u8]) {
        let part = FilePart {
            bytes,
            is_request: true,
        };
        part.encode(&mut self.out);
    }

    /// What is to be sent; for the next bytes of an upload, too. Who sends it clears it.
    pub fn out(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    /// How many questions have no answer, or only a part of one.
    pub fn unanswered(&self) -> usize {
        self.asked.len()
    }

    /// How many bytes the server may have to read before it can answer the first of them.
    pub(super) fn to_be_read(&self) -> u64 {
        match self.asked.front() {
            Some(Asked::Upload { size }) => size.unwrap_or(0),
            Some(Asked::Resume { size }) => *size,
            Some(Asked::Verify { bytes, .. }) => bytes.unwrap_or(0),
            Some(Asked::Download { kept, .. }) if matches!(self.inside, Inside::Nothing) => *kept,
            Some(Asked::Download { .. } | Asked::List) | None => 0,
        }
    }

    /// Whether no answer has come in part.
    pub(super) fn is_between_answers(&self) -> bool {
        matches!(self.inside, Inside::Nothing) && self.answers.is_whole()
    }

    /// The next of what came, and how many bytes of it that took: none, where a list goes on. `None`: not yet.
    ///
    /// # Errors
    ///
    /// What came is no answer, or none to what was asked. Nothing that comes after it can be told from it.
    pub fn next<'b>(
        &mut self,
        unread: &'b [u8],
    ) -> Result<Option<(FileNews<'b>, usize)>, WireError> {
        if let Some(entry) = self.entry()? {
            return Ok(Some((FileNews::Entry(entry), 0)));
        }
        let Some((answer, taken)) = self.answers.decode(unread)? else {
            return Ok(None);
        };
        let news = match answer {
            FileAnswer::Error(error) => {
                self.asked.pop_front();
                self.inside = Inside::Nothing;
                self.forget_lines();
                FileNews::Refused(error)
            }
            FileAnswer::Ok(facts) => self.facts(facts)?,
            FileAnswer::Bytes(piece) => self.piece(piece)?,
            FileAnswer::Part if matches!(self.inside, Inside::Nothing) => {
                match self.asked.front() {
                    Some(Asked::List) => self.inside = Inside::List { files: 0 },
                    _ => return Err(wrong("a part came of what was not asked for")),
                }
                FileNews::Part
            }
            FileAnswer::Part => FileNews::Part,
        };
        Ok(Some((news, taken)))
    }

    fn facts(&mut self, facts: FileFacts) -> Result<FileNews<'static>, WireError> {
        let news = match (self.asked.front(), &self.inside) {
            (None, _) => return Err(wrong("nothing was asked")),
            (Some(Asked::Upload { size }), _) => {
                let stored = needed(facts.size, "file_size")?;
                needed(facts.sha256, "sha256")?;
                if size.is_some_and(|size| size != stored) {
                    return Err(wrong("`file_size` is not that of the file that was sent"));
                }
                FileNews::Done(facts)
            }
            (Some(Asked::Resume { size }), _) => {
                let offset = needed(facts.offset, "offset")?;
                if offset > *size {
                    return Err(wrong("`offset` is behind the end of the file"));
                }
                if offset > 0 {
                    needed(facts.sha256, "sha256")?;
                }
                FileNews::Done(facts)
            }
            (Some(Asked::Verify { name, bytes }), _) => {
                same_name(&facts, name)?;
                let size = needed(facts.size, "file_size")?;
                needed(facts.sha256, "sha256")?;
                if needed(facts.bytes, "bytes")? != bytes.map_or(size, |bytes| bytes.min(size)) {
                    return Err(wrong("`bytes` is not what was asked for"));
                }
                FileNews::Done(facts)
            }
            (Some(Asked::Download { name, kept }), Inside::Nothing) => {
                same_name(&facts, name)?;
                let size = needed(facts.size, "file_size")?;
                let offset = needed(facts.offset, "offset")?;
                if offset != 0 && offset != *kept {
                    return Err(wrong("`offset` is none that was offered"));
                }
                let Some(left) = size.checked_sub(offset) else {
                    return Err(wrong("`offset` is behind the end of the file"));
                };
                self.inside = Inside::File { left, size };
                return Ok(FileNews::Begins { size, offset });
            }
            (Some(Asked::Download { name, .. }), Inside::File { left, size }) => {
                same_name(&facts, name)?;
                if *left > 0 {
                    return Err(wrong("fewer bytes of the file came than were told"));
                }
                if facts.size.is_some_and(|told| told != *size) {
                    return Err(wrong("`file_size` was another before"));
                }
                FileNews::Ends(needed(facts.sha256, "sha256")?)
            }
            (Some(Asked::Download { .. }), Inside::List { .. }) => {
                unreachable!("a list is inside of its own question")
            }
            (Some(Asked::List), inside) => {
                if self.at < self.lines.len() {
                    return Err(wrong("the last line of the list has no end"));
                }
                let listed = match inside {
                    Inside::List { files } => *files,
                    _ => 0,
                };
                if needed(facts.files, "files")? != listed {
                    return Err(wrong("`files` is not how many were listed"));
                }
                FileNews::Listed {
                    skipped: facts.skipped.unwrap_or(0),
                }
            }
        };
        self.asked.pop_front();
        self.inside = Inside::Nothing;
        self.forget_lines();
        Ok(news)
    }

    fn piece<'b>(&mut self, piece: &'b [u8]) -> Result<FileNews<'b>, WireError> {
        match &mut self.inside {
            Inside::File { left, .. } => {
                let Some(rest) = left.checked_sub(piece.len() as u64) else {
                    return Err(wrong("more bytes of the file came than were told"));
                };
                *left = rest;
                Ok(FileNews::Bytes(piece))
            }
            Inside::List { .. } => {
                self.lines.drain(..self.at);
                self.searched -= self.at;
                self.at = 0;
                self.lines.extend_from_slice(piece);
                Ok(FileNews::Part)
            }
            Inside::Nothing => Err(wrong("a part came of what was not asked for")),
        }
    }

    /// The next whole line of a list.
    fn entry(&mut self) -> Result<Option<FileEntry>, WireError> {
        let Some(len) = memchr(b'\n', &self.lines[self.searched..]) else {
            self.searched = self.lines.len();
            if self.lines.len() - self.at > LINE_BYTES_MAX {
                return Err(WireError::TooLong {
                    what: "line of the list",
                    len: (self.lines.len() - self.at) as u64,
                    max: LINE_BYTES_MAX as u64,
                });
            }
            return Ok(None);
        };
        let end = self.searched + len;
        let entry = FileEntry::parse(&self.lines[self.at..end])?;
        self.at = end + 1;
        self.searched = self.at;
        if let Inside::List { files } = &mut self.inside {
            *files += 1;
        }
        Ok(Some(entry))
    }

    fn forget_lines(&mut self) {
        self.lines.clear();
        self.at = 0;
        self.searched = 0;
    }
}

/// What is told of a file must be told of the one that was asked for.
fn same_name(facts: &FileFacts, asked: &str) -> Result<(), WireError> {
    match &facts.name {
        Some(name) if name != asked => Err(wrong("`file_name` is another than was asked for")),
        _ => Ok(()),
    }
}

fn needed<T>(value: Option<T>, key: &str) -> Result<T, WireError> {
    value.ok_or_else(|| wrong(&format!("`{key}` is missing")))
}

fn wrong(detail: &str) -> WireError {
    WireError::Malformed {
        what: "answer",
        detail: detail.to_owned(),
    }
}
