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

/// As many descriptors as we may have; how many that are.
pub(crate) fn raise_descriptor_limit() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    let now = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    now.unwrap_or(u64::MAX)
}
