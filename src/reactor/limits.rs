use std::time::Duration;

/// How many connections one turn accepts, so that a flood of them starves nobody (lighttpd: 100).
pub(super) const ACCEPTS_PER_TURN: usize = 64;

/// How many datagrams one turn takes from one socket.
pub(super) const DATAGRAMS_PER_TURN: usize = 64;

/// How long a listener rests when there are no descriptors or no memory; any close ends the rest
/// (haproxy: 100 ms, nginx: 500 ms).
pub(super) const ACCEPT_REST: Duration = Duration::from_millis(100);

/// How long a started frame may take, besides a second for each KiB of it
/// (Apache's mod_reqtimeout, `MinRate`).
pub(super) const FRAME_PATIENCE: Duration = Duration::from_secs(30);

/// How long a connection that is leaving may go without taking a byte.
pub(super) const LEAVING_PATIENCE: Duration = Duration::from_secs(10);

/// How long the peer has to end its side after we ended ours.
pub(super) const LINGER_PATIENCE: Duration = Duration::from_secs(2);

/// How much of what it still sends is discarded meanwhile, in bytes.
pub(super) const LINGER_BYTES_MAX: u32 = 1024 * 1024;

/// How long a peer may owe more than the soft limit before it is let go.
pub(super) const BEHIND_PATIENCE: Duration = Duration::from_secs(10);

/// A turn longer than this is logged with what it was busy with.
pub(super) const TURN_SLOW: Duration = Duration::from_millis(100);

/// The limits a user may set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Connections in all; more are refused.
    pub connections: usize,
    /// Owed bytes from which a connection that asks faster than it reads is no longer read.
    pub pause_bytes: usize,
    /// Owed bytes down to which it must come to be read again.
    pub resume_bytes: usize,
    /// Owed bytes that a peer who does not keep up may have for [`BEHIND_PATIENCE`].
    pub behind_bytes: usize,
    /// Owed bytes at which it is let go at once.
    pub behind_bytes_max: usize,
    /// Commands that run at once; each needs three descriptors.
    pub commands: usize,
    /// Commands that wait for one of those to end; more are told "busy".
    pub commands_waiting: usize,
    /// How long stopping may take.
    pub drain: Duration,
    /// A turn longer than this ends the process, so that a supervisor starts a new one; `None`: never.
    pub turn_max: Option<Duration>,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections: 10_000,
            pause_bytes: 256 * 1024,
            resume_bytes: 64 * 1024,
            behind_bytes: 1024 * 1024,
            behind_bytes_max: 4 * 1024 * 1024,
            commands: 16,
            commands_waiting: 64,
            drain: Duration::from_secs(8),
            turn_max: None,
        }
    }
}
