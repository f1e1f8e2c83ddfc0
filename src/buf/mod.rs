//! Bytes at rest: what has come and is not yet understood, what was said and is not yet sent.
//!
//! This folder does not know what any byte means, nor where it comes from. It promises: every
//! byte once, in order, and never more of them than the limit.

mod read_buf;
mod write_buf;

pub use read_buf::ReadBuf;
pub use write_buf::WriteBuf;
