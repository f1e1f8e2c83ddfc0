use super::record::{IpmsgRecord, IpmsgRecords};
use crate::wire::{Decode, WireError};

/// How many entries a directory has in all, the directories in it included, and how many of those are one in the other:
/// more than a person sends by this protocol, and few enough that somebody hostile is soon done.
pub const IPMSG_TREE_ENTRIES_MAX: u32 = 65_536;
/// See [`IPMSG_TREE_ENTRIES_MAX`].
pub const IPMSG_TREE_DEPTH_MAX: u32 = 256;

/// What comes next of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IpmsgTreePart<'b> {
    /// Something begins or ends in the last directory that has not ended, which the first record begins. Behind a file, and
    /// behind what is [something else](IpmsgRecord::Other), its bytes follow. Names are as they were sent: nothing that
    /// anything may be called before it was looked at.
    Record(IpmsgRecord),
    /// So many bytes of what began last; how they are cut says nothing.
    Bytes(&'b [u8]),
    /// The first directory ends, and with it everything: what comes behind it is not read.
    End,
}

/// Takes a directory off the front of a TCP stream, in parts.
///
/// It promises that directories end as often as they begin, and that the bytes of a file are as many as were announced.
///
/// ```
/// use onepoll::wire::{Decode, IpmsgTree, IpmsgTreePart};
///
/// let mut tree = IpmsgTree::new(1024);
/// let mut unread = &b"000b:d:0:2:000b:a:2:1:hi000b:.:0:3:"[..];
/// let mut parts = Vec::new();
/// while let Some((part, taken)) = tree.decode(unread)? {
///     parts.push(part);
///     unread = &unread[taken..];
/// }
/// assert_eq!(parts.len(), 4);
/// assert_eq!(parts[2], IpmsgTreePart::Bytes(b"hi"));
/// assert!(tree.is_over());
/// # Ok::<(), onepoll::wire::WireError>(())
/// ```
///
/// # Errors
///
/// [`WireError::Malformed`] when it does not begin with a directory, or a record is none; [`WireError::TooLong`] when it
/// has more bytes than it may have, more than [`IPMSG_TREE_ENTRIES_MAX`] entries, or more than [`IPMSG_TREE_DEPTH_MAX`]
/// directories one in the other: each known from a head, before any of it was taken.
#[derive(Debug, Clone)]
pub struct IpmsgTree {
    bytes_max: u64,
    /// How many bytes were announced in all, and how many of those of the last record are to come.
    bytes: u64,
    left: u64,
    entries: u32,
    depth: u32,
    is_over: bool,
}

impl IpmsgTree {
    /// A directory of which nothing has come, and whose files may have so many bytes in all.
    pub fn new(bytes_max: u64) -> IpmsgTree {
        IpmsgTree {
            bytes_max,
            bytes: 0,
            left: 0,
            entries: 0,
            depth: 0,
            is_over: false,
        }
    }

    /// Whether it has come to its end.
    pub fn is_over(&self) -> bool {
        self.is_over
    }

    /// How many bytes of the file that began last have not come.
    pub fn left(&self) -> u64 {
        self.left
    }

    fn begin(&mut self, record: &IpmsgRecord) -> Result<(), WireError> {
        if self.depth == 0 && !matches!(record, IpmsgRecord::Enter { .. }) {
            return Err(WireError::Malformed {
                what: "IPMSG directory",
                detail: "it does not begin with a directory".to_owned(),
            });
        }
        let (entries, depth, size) = match record {
            IpmsgRecord::Enter { .. } => (self.entries + 1, self.depth + 1, 0),
            IpmsgRecord::File { size, .. } | IpmsgRecord::Other { size } => {
                (self.entries + 1, self.depth, *size)
            }
            IpmsgRecord::Up => (self.entries, self.depth - 1, 0),
        };
        let bytes = self.bytes.saturating_add(size);
        let (entries_max, depth_max) = (IPMSG_TREE_ENTRIES_MAX, IPMSG_TREE_DEPTH_MAX);
        within(ENTRIES, entries.into(), entries_max.into())?;
        within(DEPTH, depth.into(), depth_max.into())?;
        within(BYTES, bytes, self.bytes_max)?;
        (self.entries, self.depth) = (entries, depth);
        (self.bytes, self.left) = (bytes, size);
        self.is_over = depth == 0;
        Ok(())
    }
}

fn within(what: &'static str, len: u64, max: u64) -> Result<(), WireError> {
    if len > max {
        return Err(WireError::TooLong { what, len, max });
    }
    Ok(())
}

const ENTRIES: &str = "number of entries of a directory";
const DEPTH: &str = "depth of a directory";
const BYTES: &str = "all of a directory";

impl Decode for IpmsgTree {
    type Frame<'b> = IpmsgTreePart<'b>;

    fn decode<'b>(
        &mut self,
        unread: &'b [u8],
    ) -> Result<Option<(IpmsgTreePart<'b>, usize)>, WireError> {
        if self.is_over || unread.is_empty() {
            return Ok(None);
        }
        if self.left > 0 {
            let here =
                usize::try_from(self.left).map_or(unread.len(), |left| left.min(unread.len()));
            self.left -= here as u64;
            return Ok(Some((IpmsgTreePart::Bytes(&unread[..here]), here)));
        }
        let Some((record, taken)) = IpmsgRecords.decode(unread)? else {
            return Ok(None);
        };
        self.begin(&record)?;
        let part = if self.is_over {
            IpmsgTreePart::End
        } else {
            IpmsgTreePart::Record(record)
        };
        Ok(Some((part, taken)))
    }

    fn decode_eof<'b>(
        &mut self,
        unread: &'b [u8],
    ) -> Result<Option<(IpmsgTreePart<'b>, usize)>, WireError> {
        match self.decode(unread)? {
            None if !self.is_over => Err(WireError::Truncated { have: unread.len() }),
            part => Ok(part),
        }
    }
}
