//! Files: uploads as the tutorials send them (F1, F2), and what is ours (F3).
//!
//! Knows the headers, the bytes that belong to them, and which names a file may have. Does not know what is on a
//! disk, nor which side it is on.
//!
//! ```text
//! client                                                      server
//!  │ {"file_name":"a.txt","file_size":5} hello                 │  F1; F2 without the length before it
//!  │ {"onepoll":"resume","file_name":"b","file_size":9}        │  F3: what have you kept of it?
//!  │ ────────────────────────────────────────────────────────> │
//!  │   {"ok":true,"file_name":"a.txt","file_size":5,"sha256":…} │
//!  │   {"ok":true,…,"offset":4,"sha256":…}                     │
//!  │ <──────────────────────────────────────────────────────── │
//!  │ {"onepoll":"upload",…,"offset":4,"kept_sha256":…} fghij   │  the client has the same four bytes
//!  │ ────────────────────────────────────────────────────────> │
//! ```
//!
//! Each header is JSON behind an `i32` length, little-endian, at most [`HEADER_BYTES_MAX`](super::HEADER_BYTES_MAX).

mod answer;
mod entry;
mod head;
mod name;
mod request;

pub use self::answer::{FileAnswer, FileAnswers, FileError, FileErrorKind, FileFacts};
pub use self::entry::FileEntry;
pub use self::name::{
    BadName, FILE_NAME_BYTES_MAX, FILE_PATH_BYTES_MAX, FILE_PATH_PARTS_MAX, FileName, Names,
};
pub use self::request::{
    FILE_PART_BYTES_MAX, FILE_SIZE_MAX, FilePart, FilePartHead, FileRequest, FileRequests, Kept,
    Upload, UploadForm,
};
