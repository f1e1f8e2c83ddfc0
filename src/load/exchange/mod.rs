//! Bytes out, bytes back: what is sent, and what counts as the answer. No sockets, no time.
//!
//! - [`payload`]: the bytes of messages. `requests`: those in flight on one connection.
//! - `judge`: what counts as an answer. `terms`: that, and what is asked. `delimiter`, `outputs`, `http`: where
//!   an answer ends.
//! - `lines`: the lines of a chat. `line_matcher`: what one member receives of them.

pub(crate) mod delimiter;
pub(crate) mod http;
pub(crate) mod judge;
pub(crate) mod line_matcher;
pub(crate) mod lines;
pub(crate) mod outputs;
pub mod payload;
pub(crate) mod requests;
pub(crate) mod terms;
