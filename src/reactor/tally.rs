//! What came and went at one endpoint. The counters of the loop are the sums of these and of what has no
//! endpoint, so that nothing is counted twice.

use std::collections::BTreeMap;

use super::counters::{ClosedBy, Counters, Refused};

/// Counts of one stream endpoint.
#[derive(Debug, Clone, Default)]
pub(super) struct Tally {
    pub(super) opened: u64,
    pub(super) logged_in: u64,
    pub(super) accepts_failed: u64,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    /// What services took of `frames-per-turn`.
    pub(super) frames: u64,
    pub(super) refused: Refused,
    pub(super) closed: ClosedBy,
}

/// Counts of one datagram endpoint.
#[derive(Debug, Clone, Default)]
pub(super) struct DatagramTally {
    pub(super) received: u64,
    pub(super) sent: u64,
    pub(super) unanswerable: u64,
    pub(super) denied: u64,
    pub(super) failed: u64,
}

impl Tally {
    pub(super) fn add(&mut self, other: &Tally) {
        let Tally {
            opened,
            logged_in,
            accepts_failed,
            bytes_in,
            bytes_out,
            frames,
            refused,
            closed,
        } = other;
        self.opened += opened;
        self.logged_in += logged_in;
        self.accepts_failed += accepts_failed;
        self.bytes_in += bytes_in;
        self.bytes_out += bytes_out;
        self.frames += frames;
        self.refused.add(refused);
        self.closed.add(closed);
    }

    /// Adds it to the counters of the loop.
    pub(super) fn add_to(&self, counters: &mut Counters) {
        counters.connections_opened += self.opened;
        counters.logged_in += self.logged_in;
        counters.accepts_failed += self.accepts_failed;
        counters.bytes_in += self.bytes_in;
        counters.bytes_out += self.bytes_out;
        counters.refused.add(&self.refused);
        counters.closed.add(&self.closed);
    }
}

impl DatagramTally {
    pub(super) fn add(&mut self, other: &DatagramTally) {
        self.received += other.received;
        self.sent += other.sent;
        self.unanswerable += other.unanswerable;
        self.denied += other.denied;
        self.failed += other.failed;
    }

    /// Adds it to the counters of the loop.
    pub(super) fn add_to(&self, counters: &mut Counters) {
        counters.datagrams_in += self.received;
        counters.datagrams_out += self.sent;
        counters.datagrams_unanswerable += self.unanswerable;
        counters.datagrams_denied += self.denied;
        counters.datagrams_failed += self.failed;
    }
}

/// Things by endpoint: two of one name are one.
pub(super) type ByEndpoint<'a, T> = BTreeMap<&'a str, T>;

/// An endpoint's name without its options: they may change, and it is the same endpoint.
pub(super) fn place(name: &str) -> &str {
    name.split('?').next().unwrap_or(name)
}
