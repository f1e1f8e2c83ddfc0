//! One budget for all buffers, and what happens when it is nearly spent.
//!
//! What each connection may be owed, and may have sent, has limits of its own; but with many connections their
//! sum has none. Buffers are counted as they grow and shrink, never looked for; only when
//! [nine tenths](crate::config::limits::BUFFERS_HIGH_PERCENT) of [`Limits::buffers`](crate::config::Limits::buffers) are in use do services
//! give back what they can do without, and are owners looked at, and the first of them closed: those that
//! have not logged in, then the largest.

use std::cmp::Reverse;

use super::Reactor;
use super::connection::Connection;
use super::listener::listener_of;
use super::os::Os;
use crate::config::limits::BUFFERS_LOW_PERCENT;
use crate::turn::Closed;

impl<O: Os> Reactor<O> {
    /// Whether buffers have come near their limit, or would if no socket took a byte of what was just said.
    #[inline]
    pub(super) fn may_be_over_budget(&self) -> bool {
        self.outbox.buffered_at_most() > self.buffers_high
    }

    /// Closes connections until buffers are well below their limit, if they came near it: those that have not
    /// logged in first, and then the largest. An evicted connection is told nothing: that would need memory.
    #[inline]
    pub(super) fn keep_to_budget(&mut self) {
        if self.outbox.buffered() > self.buffers_high {
            self.evict();
        }
    }

    /// Looks at every connection. What is freed besides pays for that: growing to the limit again takes as much.
    #[cold]
    fn evict(&mut self) {
        let low = share(self.limits.buffers, BUFFERS_LOW_PERCENT);
        for service in &mut self.services {
            let had = service.shared_bytes();
            if had > 0 {
                service.give_back();
                self.outbox.resized(had, service.shared_bytes());
            }
        }
        if self.outbox.buffered() <= low {
            return;
        }
        let owner = |(slot, conn): (usize, &Connection<O::Stream>)| {
            let bytes = self.buffered_for(slot as u32, conn);
            let is_unknown = conn.is_logging_in();
            (!conn.is_dead() && bytes > 0).then_some((is_unknown, bytes, slot as u32))
        };
        let mut owners: Vec<(bool, usize, u32)> = self.conns.iter().filter_map(owner).collect();
        owners.sort_unstable_by_key(|&owner| Reverse(owner));
        for (_, bytes, slot) in owners {
            let buffered = self.outbox.buffered();
            if buffered <= low {
                break;
            }
            let conn = &self.conns[slot as usize];
            let name = &listener_of(&self.listeners, conn).options.name;
            self.recorder.evicted(name, &conn.peer, bytes, buffered);
            self.close_now(slot, Closed::Evicted);
        }
    }

    /// Counts the buffers of a connection's session anew.
    pub(super) fn recount(&mut self, slot: u32) {
        if let Some(conn) = self.conns.get_mut(slot as usize).filter(|c| !c.is_dead()) {
            conn.recount(&mut self.outbox);
        }
    }

    /// The memory of the buffers of one connection, in bytes.
    pub(super) fn buffered_for(&self, slot: u32, conn: &Connection<O::Stream>) -> usize {
        let lane = if conn.is_dead() {
            0
        } else {
            self.outbox.buffered_for(slot)
        };
        conn.buffered() + lane
    }
}

/// So much of a budget.
pub(super) fn share(of: usize, percent: usize) -> usize {
    of / 100 * percent + of % 100 * percent / 100
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_any_budget_is_exact_and_never_overflows() {
        assert_eq!(share(256 << 20, 90), 241_591_910);
        assert_eq!([share(10, 90), share(99, 50), share(0, 90)], [9, 49, 0]);
        assert!(share(usize::MAX, 90) < usize::MAX);
    }
}
