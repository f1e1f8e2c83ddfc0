use super::file::{Fields, IpmsgFileKind, encode_name, number};
use super::text::{IpmsgEncoding, ipmsg_text};
use crate::wire::{Decode, WireError};

/// How many bytes the head of a record has at most: a name of 255 bytes, doubled, numbers, and attributes.
pub const IPMSG_RECORD_BYTES_MAX: usize = 4096;

/// The number of a record that goes up.
const UP: u8 = 3;

/// How many digits of its own length a head begins with, at most: what the limit needs, and zeros.
const LENGTH_DIGITS_MAX: usize = 8;

/// The attribute that is a time of change, and that of a creation.
const MODIFIED: u64 = 0x14;
const CREATED: u64 = 0x16;

/// What a directory is sent as: `length:name:size:kind:` and attributes, the contents of a file behind its record.
///
/// The attributes are `number=value:` in hexadecimal; of those that come only the time of the last change is read.
///
/// ```
/// use onepoll::wire::{Decode, IpmsgRecord, IpmsgRecords};
///
/// let (record, taken) = IpmsgRecords.decode(b"0019:a::b:5:1:14=65e0123:hello")?.unwrap();
/// assert_eq!(record, IpmsgRecord::File { name: "a:b".into(), size: 5, modified: 0x65e_0123 });
/// assert_eq!(taken, 0x19);
/// # Ok::<(), onepoll::wire::WireError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IpmsgRecord {
    /// What comes now is in this directory, which is in the last one.
    Enter {
        /// Its name.
        name: String,
        /// When it was changed last, in seconds since 1970; 0 if that was not said.
        modified: u64,
    },
    /// A file with so many bytes, which follow.
    File {
        /// Its name.
        name: String,
        /// Its size in bytes.
        size: u64,
        /// When it was changed last, in seconds since 1970; 0 if that was not said.
        modified: u64,
    },
    /// What comes now is in the directory above.
    Up,
    /// So many bytes of something else follow.
    Other {
        /// Its size in bytes.
        size: u64,
    },
}

impl IpmsgRecord {
    /// Appends its head.
    ///
    /// It always has both times, though only one is known: iptux looks for the second behind the first, and where there
    /// is none in what follows the head.
    pub fn encode(&self, encoding: IpmsgEncoding, out: &mut Vec<u8>) {
        let (name, size, kind, modified) = match self {
            IpmsgRecord::Enter { name, modified } => (name.as_str(), 0, 2, *modified),
            IpmsgRecord::File {
                name,
                size,
                modified,
            } => (name.as_str(), *size, 1, *modified),
            IpmsgRecord::Up => (".", 0, UP, 0),
            IpmsgRecord::Other { size } => ("_", *size, 0, 0),
        };
        let mut rest = Vec::new();
        encode_name(name, encoding, &mut rest);
        let times = format!("{MODIFIED:x}={modified:x}:{CREATED:x}={modified:x}:");
        rest.extend_from_slice(format!(":{size:x}:{kind:x}:{times}").as_bytes());
        // The length counts its own four digits and their colon.
        out.extend_from_slice(format!("{:04x}:", rest.len() + 5).as_bytes());
        out.extend_from_slice(&rest);
    }
}

/// Takes heads of records off the front of a TCP stream; the caller counts off the contents.
///
/// # Errors
///
/// [`WireError::TooLong`] when a head has more than [`IPMSG_RECORD_BYTES_MAX`] bytes, known from its length;
/// [`WireError::Malformed`] when it is none.
#[derive(Debug, Clone, Copy, Default)]
pub struct IpmsgRecords;

impl Decode for IpmsgRecords {
    type Frame<'b> = IpmsgRecord;

    fn decode(&mut self, unread: &[u8]) -> Result<Option<(IpmsgRecord, usize)>, WireError> {
        let reach = &unread[..unread.len().min(LENGTH_DIGITS_MAX + 1)];
        let Some(colon) = memchr::memchr(b':', reach) else {
            let digits = &reach[..reach.len().min(LENGTH_DIGITS_MAX)];
            return if reach.len() > LENGTH_DIGITS_MAX || !digits.iter().all(u8::is_ascii_hexdigit) {
                Err(wrong("it does not begin with its length"))
            } else {
                Ok(None)
            };
        };
        let len = number(&unread[..colon], 16);
        let len = len.ok_or_else(|| wrong("it does not begin with its length"))?;
        let max = IPMSG_RECORD_BYTES_MAX as u64;
        if len > max {
            return Err(WireError::TooLong {
                what: "IPMSG record",
                len,
                max,
            });
        }
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        if len <= colon {
            return Err(wrong("its length is shorter than its number"));
        }
        match unread.get(colon + 1..len) {
            Some(head) => Ok(Some((record(head)?, len))),
            None => Ok(None),
        }
    }
}

fn record(head: &[u8]) -> Result<IpmsgRecord, WireError> {
    let mut fields = Fields(head);
    let name = fields.next().ok_or_else(|| wrong("it has no name"))?;
    let mut hex = |what| {
        let field = fields.next();
        field
            .and_then(|field| number(&field, 16))
            .ok_or_else(|| wrong(what))
    };
    let size = hex("its size is not hexadecimal")?;
    let kind = hex("its kind is not hexadecimal")?;
    let modified = modified(fields);
    let name = ipmsg_text(&name, false).0;
    Ok(match IpmsgFileKind::of(kind) {
        IpmsgFileKind::File => IpmsgRecord::File {
            name,
            size,
            modified,
        },
        IpmsgFileKind::Directory => IpmsgRecord::Enter { name, modified },
        IpmsgFileKind::Other(UP) => IpmsgRecord::Up,
        IpmsgFileKind::Other(_) => IpmsgRecord::Other { size },
    })
}

/// The time of the last change among the attributes; what cannot be read there says nothing.
fn modified(mut attributes: Fields<'_>) -> u64 {
    while let Some(attribute) = attributes.next() {
        let mut sides = attribute.splitn(2, |byte| *byte == b'=');
        let number_of = |side: Option<&[u8]>| number(side?, 16);
        if number_of(sides.next()) == Some(MODIFIED) {
            return number_of(sides.next()).unwrap_or(0);
        }
    }
    0
}

fn wrong(detail: &str) -> WireError {
    WireError::Malformed {
        what: "IPMSG record",
        detail: detail.to_owned(),
    }
}
