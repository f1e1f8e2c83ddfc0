use std::fmt::Write as _;

use super::text::{IpmsgEncoding, ipmsg_text};

/// How many files of one message are looked at.
pub const IPMSG_FILES_MAX: usize = 100;

/// A file that is offered with a message.
///
/// Behind the text, after a NUL: `id:name:size:modified:kind:`, and U+0007 behind each. The id is decimal; size, time
/// and kind are hexadecimal; a colon in the name is doubled.
///
/// ```
/// use onepoll::wire::{IpmsgFile, IpmsgFileKind};
///
/// let (files, is_whole) = IpmsgFile::list(b"0:a::b.txt:1f:65e0:1:\x07", false);
/// assert!(is_whole);
/// assert_eq!((files[0].name.as_str(), files[0].size), ("a:b.txt", 0x1f));
/// assert_eq!(files[0].kind, IpmsgFileKind::File);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IpmsgFile {
    /// By which it is asked for, with the number of the packet.
    pub id: u32,
    /// Its name, as it was sent: nothing that a file may be called before it was looked at.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
    /// When it was changed last, in seconds since 1970; 0 if that was not said.
    pub modified: u64,
    /// What it is.
    pub kind: IpmsgFileKind,
}

/// What is offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IpmsgFileKind {
    /// A regular file.
    File,
    /// A directory with what is in it.
    Directory,
    /// Something else, by its number: a link, a device, a piece of the clipboard.
    Other(u8),
}

impl IpmsgFileKind {
    /// The one of this number; what stands above the low 8 bits are attributes.
    pub(super) fn of(attributes: u64) -> IpmsgFileKind {
        match attributes.to_le_bytes()[0] {
            1 => IpmsgFileKind::File,
            2 => IpmsgFileKind::Directory,
            other => IpmsgFileKind::Other(other),
        }
    }

    /// Its number.
    pub fn number(self) -> u8 {
        match self {
            IpmsgFileKind::File => 1,
            IpmsgFileKind::Directory => 2,
            IpmsgFileKind::Other(other) => other,
        }
    }
}

impl IpmsgFile {
    /// The files of a list, up to the first that cannot be read or is one too many; whether that was all.
    pub fn list(bytes: &[u8], is_utf8: bool) -> (Vec<IpmsgFile>, bool) {
        let mut files = Vec::new();
        let mut rest = bytes;
        loop {
            // Programs part the files by `\a`, `:\a`, `\a:` and `:\a:`.
            while let [0 | 7 | b':', more @ ..] = rest {
                rest = more;
            }
            if rest.is_empty() {
                return (files, true);
            }
            let end = memchr::memchr(7, rest).unwrap_or(rest.len());
            match IpmsgFile::parse(&rest[..end], is_utf8) {
                Some(file) if files.len() < IPMSG_FILES_MAX => files.push(file),
                _ => return (files, false),
            }
            rest = &rest[end..];
        }
    }

    fn parse(bytes: &[u8], is_utf8: bool) -> Option<IpmsgFile> {
        let mut fields = Fields(bytes);
        let id = fields.next()?;
        let name = fields.next()?;
        let mut hex = || number(&fields.next()?, 16);
        let (size, modified, attributes) = (hex()?, hex()?, hex()?);
        Some(IpmsgFile {
            id: u32::try_from(number(&id, 10)?).ok()?,
            name: ipmsg_text(&name, is_utf8).0,
            size,
            modified,
            kind: IpmsgFileKind::of(attributes),
        })
    }

    /// Appends its place in a list.
    pub fn encode(&self, encoding: IpmsgEncoding, out: &mut Vec<u8>) {
        out.extend_from_slice(format!("{}:", self.id).as_bytes());
        encode_name(&self.name, encoding, out);
        let mut rest = String::new();
        let kind = self.kind.number();
        // Writing to a string cannot fail.
        let _ = write!(rest, ":{:x}:{:x}:{kind:x}:\x07", self.size, self.modified);
        out.extend_from_slice(rest.as_bytes());
    }
}

/// A name as it is written among colons.
///
/// Colons are doubled in the text and not in its bytes, which is the same: no second byte of GBK is one.
pub(super) fn encode_name(name: &str, encoding: IpmsgEncoding, out: &mut Vec<u8>) {
    let is_kept = |c: &char| !matches!(c, '\0' | '\x07');
    let name: String = name.chars().filter(is_kept).collect();
    out.extend_from_slice(&encoding.encode(&name.replace(':', "::")));
}

/// Fields that end in a colon, or at the end; two colons are one that belongs to the field.
#[derive(Debug)]
pub(super) struct Fields<'b>(pub(super) &'b [u8]);

impl Fields<'_> {
    pub(super) fn next(&mut self) -> Option<Vec<u8>> {
        let mut field = Vec::new();
        loop {
            match self.0 {
                [] if field.is_empty() => return None,
                [] => return Some(field),
                [b':', b':', rest @ ..] => {
                    field.push(b':');
                    self.0 = rest;
                }
                [b':', rest @ ..] => {
                    self.0 = rest;
                    return Some(field);
                }
                [byte, rest @ ..] => {
                    field.push(*byte);
                    self.0 = rest;
                }
            }
        }
    }
}

/// A number of at most 64 bits, of digits alone.
pub(super) fn number(digits: &[u8], radix: u32) -> Option<u64> {
    let text = std::str::from_utf8(digits).ok()?;
    let is_number = !text.is_empty() && text.chars().all(|c| c.is_digit(radix));
    u64::from_str_radix(text, radix).ok().filter(|_| is_number)
}
