//! What the loop keeps when its connections have gone: up to named limits; the rest is given back.

use slab::Slab;

use super::Reactor;
use super::os::Os;
use crate::config::limits::{KEPT_BYTES, KEPT_PLACES};
use crate::turn::column::{give_back, is_oversized};

impl<O: Os> Reactor<O> {
    /// Gives back what connections that have gone needed. Called when the loop comes to rest.
    pub(super) fn give_back(&mut self) {
        if !std::mem::take(&mut self.has_reaped) {
            return;
        }
        give_back_slab(&mut self.conns);
        self.outbox.give_back();
        self.deadlines.give_back();
        self.wakes.give_back();
        self.sources.give_back();
        give_back(&mut self.seen);
        for ids in [&mut self.ready, &mut self.put_off, &mut self.fresh] {
            give_back(ids);
        }
        for slots in [&mut self.dead, &mut self.slots] {
            give_back(slots);
        }
        self.shaking.shrink_to(KEPT_PLACES);
        self.answer.shrink_to(KEPT_BYTES);
        for buf in [&mut self.input, &mut self.cipher] {
            buf.give_back(self.limits.read_per_turn + KEPT_BYTES);
        }
    }
}

/// A slab whose last entries are vacant shrinks to those that are not.
fn give_back_slab<T>(slab: &mut Slab<T>) {
    if is_oversized(slab.capacity(), slab.len()) {
        slab.shrink_to_fit();
    }
}
