//! Commands as streams (C5): frames of a JSON header and the bytes that belong to it, in both directions.
//!
//! Knows the frames and their limits. Does not know which of them fits when: that is the server's and the
//! client's business.
//!
//! ```text
//! client                                              server
//!  │ {"type":"run","line":"sort","stdin":true}         │
//!  │ {"type":"stdin","data_size":4} b\na\n             │  65536 bytes may come before anything is granted
//!  │ {"type":"stdin-end"}                              │
//!  │ ────────────────────────────────────────────────> │
//!  │                    {"type":"started","id":1}      │
//!  │                    {"type":"credit","bytes":4}    │
//!  │   {"type":"stdout","data_size":4} a\nb\n          │
//!  │                    {"type":"end","exit":0,…}      │
//!  │ <──────────────────────────────────────────────── │
//! ```
//!
//! Each frame is an `i32` length, little-endian as in C4, the header, and as many bytes as its `data_size` says.

mod answer;
mod frame;
mod request;

pub use self::answer::{
    CommandAnswer, CommandAnswers, CommandEnd, CommandError, CommandErrorKind, OutputChunk,
    WhyEnded,
};
pub use self::frame::{STREAM_CHUNK_BYTES_MAX, STREAM_HEADER_BYTES_MAX};
pub use self::request::{
    CommandRequest, CommandRequests, CommandSignal, Opening, RunCommand, STDIN_CREDIT_BYTES,
    STREAM_ARGUMENTS_MAX, STREAM_COMMAND_BYTES_MAX, StdinChunk, StreamedCommand,
};
