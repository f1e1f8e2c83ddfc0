//! How many descriptors this process may have open, and those that other processes give to it.

use std::io;
use std::os::fd::OwnedFd;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, ReturnFlags};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The descriptors that came beside a message, which are this process's from then on; an error if its limit had no room for
/// all of them.
pub fn descriptors_beside(
    beside: &mut RecvAncillaryBuffer<'_>,
    flags: ReturnFlags,
) -> io::Result<Vec<OwnedFd>> {
    let mut all = Vec::new();
    for message in beside.drain() {
        if let RecvAncillaryMessage::ScmRights(some) = message {
            all.extend(some);
        }
    }
    if flags.contains(ReturnFlags::CTRUNC) {
        return Err(io::Error::other(
            "some sockets did not fit this process's descriptor limit; raise it with `ulimit -n`",
        ));
    }
    Ok(all)
}

/// The soft limit on descriptors as it is now; `None`: there is none.
pub fn descriptor_limit() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}

/// Raises the soft limit on descriptors to the hard one, and returns what it is then.
pub fn raise_descriptor_limit() -> u64 {
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
