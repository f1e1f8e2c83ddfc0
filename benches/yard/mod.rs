//! What the benches share: the servers that are compared, each in a process of its own, and the
//! load on them.
//!
//! - [`floor`]: the least a single-threaded server can do. [`threads`]: a thread per connection.
//!   [`ours`]: the reactor.
//! - [`server`]: one of them in a child process, pinned, and gone when its parent is.
//! - [`udp`]: a window of datagrams; streams are asked by `onepoll::load`.
//! - [`options`]: the command line. [`figures`]: medians and ratios.

#![allow(dead_code, reason = "every bench takes what it needs")]

pub(crate) mod figures;
pub(crate) mod floor;
pub(crate) mod options;
pub(crate) mod ours;
pub(crate) mod server;
pub(crate) mod threads;
pub(crate) mod udp;

pub(crate) use onepoll::config::raise_descriptor_limit;
