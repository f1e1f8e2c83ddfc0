use std::net::SocketAddr;
use std::time::Duration;

/// How many packets may wait for an acknowledgement at once.
pub const IPMSG_UNACKNOWLEDGED_MAX: usize = 256;

/// What was sent and not acknowledged yet.
#[derive(Debug)]
pub(super) struct Unacknowledged {
    pub(super) number: u32,
    pub(super) to: SocketAddr,
    pub(super) bytes: Vec<u8>,
    pub(super) what: What,
    /// How often it was sent.
    pub(super) tries: u32,
    /// When it is sent again, or given up.
    pub(super) due: Duration,
}

/// What it is that is to be acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    Message,
    /// That the message with this number was read.
    Reading(u32),
}
