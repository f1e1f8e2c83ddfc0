//! IPMSG, which Feige speaks as well (U4): datagrams, lists of files in them, and what goes over TCP for those:
//! the bytes of a file, or a directory with what is in it.
//!
//! Knows the format, as real programs write it: `version:number:user:host:command:additional`, and what follows
//! behind NULs. Does not know addresses, time, or whom an answer goes to.

mod command;
mod entry;
mod file;
mod packet;
mod record;
mod request;
mod text;
mod tree;

pub use command::IpmsgCommand;
pub use entry::IpmsgEntry;
pub use file::{IPMSG_FILES_MAX, IpmsgFile, IpmsgFileKind};
pub use packet::{IPMSG_DATAGRAM_BYTES_MAX, IPMSG_PORT, IPMSG_VERSION, IpmsgPacket};
pub use record::{IPMSG_RECORD_BYTES_MAX, IpmsgRecord, IpmsgRecords};
pub use request::{IPMSG_REQUEST_BYTES_MAX, IpmsgFileRequest, IpmsgFileRequests};
pub use text::{IpmsgEncoding, ipmsg_text};
pub use tree::{IPMSG_TREE_DEPTH_MAX, IPMSG_TREE_ENTRIES_MAX, IpmsgTree, IpmsgTreePart};
