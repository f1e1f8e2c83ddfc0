//! What services have said and not yet sent.
//!
//! A lane per connection, and one arena that holds what was said in this turn: a chat line that
//! goes to a thousand members is in memory once, and each lane refers to its stretch. Only what a
//! socket did not take is copied out, into a buffer of the lane's own.
//!
//! This folder does not know what letters say, nor what a socket is. It promises that a letter to
//! somebody who is gone goes nowhere, and to nobody else.

mod fate;
mod job;
mod moment;
mod turn;

use std::collections::VecDeque;

use crate::buf::WriteBuf;

pub(crate) use fate::Fate;
pub use fate::{Closed, Fault};
pub use job::{ChildEvent, Exit, Job, Output, Severity};
pub use moment::Moment;
pub use turn::Turn;

/// How much may be said before it is sent within the turn: bounds the arena.
pub const ARENA_BYTES_MAX: usize = 1024 * 1024;

/// A reply of this size leaves right after its input; smaller ones leave together at the end of
/// the turn. Everything at the end made 16 KiB echoes 0.44 of the floor.
pub const REPLY_AT_ONCE_BYTES: usize = 4096;

/// One connection, and never another: slots are used again, generations are not.
///
/// A stale id is silence, not somebody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnId {
    /// The key in the slab of connections.
    pub slot: u32,
    /// Counts up over all connections, so no two that share a slot share it.
    pub generation: u32,
}

/// What was said to one connection and has not left.
#[derive(Debug)]
struct Lane {
    /// 0: nobody is here.
    generation: u32,
    /// Whether the slot is on the list of those with mail.
    listed: bool,
    /// Whether its service asked not to be given input for now.
    held: bool,
    fate: Fate,
    /// The stretch of the arena that was said in this turn, after what is in `kept`.
    said: Stretch,
    /// What a socket did not take; older than `said`.
    kept: Option<Box<WriteBuf>>,
}

/// Part of the arena. Offsets fit: the arena ends at [`ARENA_BYTES_MAX`] and one frame.
#[derive(Debug, Clone, Copy, Default)]
struct Stretch {
    start: u32,
    len: u32,
}

impl Stretch {
    fn range(self) -> std::ops::Range<usize> {
        self.start as usize..self.start as usize + self.len as usize
    }

    fn end(self) -> u32 {
        self.start + self.len
    }
}

impl Lane {
    const NOBODY: Lane = Lane {
        generation: 0,
        listed: false,
        held: false,
        fate: Fate::Open,
        said: Stretch { start: 0, len: 0 },
        kept: None,
    };

    fn owed(&self) -> usize {
        self.said.len as usize + self.kept.as_ref().map_or(0, |kept| kept.len())
    }
}

/// What a service asked of the reactor besides sending bytes.
#[derive(Debug)]
pub(crate) enum Effect {
    /// Wake the service at this moment.
    Wake(Moment),
    /// Offer the unread input again, and read on.
    Resume,
    /// Run a command and tell the service what comes of it.
    Spawn(Box<Job>),
    /// End its command.
    Kill(Severity),
}

/// A lane per connection, who has mail, who leaves and why.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    lanes: Vec<Lane>,
    arena: Vec<u8>,
    /// Slots with something to send or a wish to leave.
    listed: Vec<u32>,
    effects: VecDeque<(ConnId, Effect)>,
    /// Bytes said to anybody so far, once for each.
    said_in_all: u64,
}

impl Outbox {
    /// A connection moves in.
    pub(crate) fn open(&mut self, id: ConnId) {
        let slot = id.slot as usize;
        while self.lanes.len() <= slot {
            self.lanes.push(Lane::NOBODY);
        }
        debug_assert_eq!(self.lanes[slot].generation, 0, "a lane has one owner");
        self.lanes[slot] = Lane {
            generation: id.generation,
            ..Lane::NOBODY
        };
    }

    /// A connection moves out; what it was owed is dropped. Returns how many bytes that were.
    pub(crate) fn shut(&mut self, slot: u32) -> usize {
        let lane = &mut self.lanes[slot as usize];
        let dropped = lane.owed();
        // The slot may still be on the list; `take_listed` drops it there, since nobody is here.
        let listed = lane.listed;
        *lane = Lane {
            listed,
            ..Lane::NOBODY
        };
        dropped
    }

    fn lane(&mut self, id: ConnId) -> Option<&mut Lane> {
        self.lanes
            .get_mut(id.slot as usize)
            .filter(|lane| lane.generation == id.generation)
    }

    /// Appends what `write` writes to the arena, and to the lanes of `ids`.
    pub(crate) fn say(
        &mut self,
        ids: impl IntoIterator<Item = ConnId>,
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        let start = self.arena.len();
        write(&mut self.arena);
        let len = self.arena.len() - start;
        if len == 0 {
            return;
        }
        let said = Stretch {
            start: u32::try_from(start).expect("the arena is flushed long before 4 GiB"),
            len: u32::try_from(len).expect("a frame is far below 4 GiB"),
        };
        for id in ids {
            let Some(lane) = self
                .lanes
                .get_mut(id.slot as usize)
                .filter(|l| l.generation == id.generation && l.fate != Fate::Left)
            else {
                continue;
            };
            self.said_in_all += u64::from(said.len);
            if lane.said.len == 0 {
                lane.said = said;
            } else if lane.said.end() == said.start {
                lane.said.len += said.len;
            } else {
                // Two stretches that do not touch: the older one moves into the lane's own buffer.
                let kept = lane.kept.get_or_insert_default();
                kept.tail()
                    .extend_from_slice(&self.arena[lane.said.range()]);
                lane.said = said;
            }
            if !lane.listed {
                lane.listed = true;
                self.listed.push(id.slot);
            }
        }
    }

    /// Puts the connection on the list of those to be looked at when the turn ends.
    pub(crate) fn list(&mut self, slot: u32) {
        let lane = &mut self.lanes[slot as usize];
        if !lane.listed && lane.generation != 0 {
            lane.listed = true;
            self.listed.push(slot);
        }
    }

    /// Who has mail or leaves; they are off the list then.
    pub(crate) fn take_listed(&mut self, into: &mut Vec<u32>) {
        std::mem::swap(&mut self.listed, into);
        into.retain(|&slot| {
            let lane = &mut self.lanes[slot as usize];
            lane.listed = false;
            lane.generation != 0
        });
    }

    /// Whether anybody has mail or leaves.
    pub(crate) fn has_listed(&self) -> bool {
        !self.listed.is_empty()
    }

    /// How many bytes this connection is owed.
    pub(crate) fn owed(&self, slot: u32) -> usize {
        self.lanes[slot as usize].owed()
    }

    /// How many of them were said in this turn.
    pub(crate) fn said(&self, slot: u32) -> usize {
        self.lanes[slot as usize].said.len as usize
    }

    pub(crate) fn fate(&self, slot: u32) -> Fate {
        self.lanes[slot as usize].fate
    }

    pub(crate) fn is_listed(&self, slot: u32) -> bool {
        self.lanes[slot as usize].listed
    }

    pub(crate) fn is_held(&self, slot: u32) -> bool {
        self.lanes[slot as usize].held
    }

    /// From now on the connection leaves, unless it already does: the first reason counts.
    pub(crate) fn leave(&mut self, slot: u32, why: Closed, linger: bool) {
        let lane = &mut self.lanes[slot as usize];
        if lane.generation != 0 && lane.fate == Fate::Open {
            lane.fate = Fate::Leaving { why, linger };
        }
        self.list(slot);
    }

    /// The connection has left, all but its farewell: letters to it go nowhere.
    pub(crate) fn seal(&mut self, slot: u32) {
        let lane = &mut self.lanes[slot as usize];
        debug_assert_eq!(lane.owed(), 0, "who is owed something has not left");
        lane.fate = Fate::Left;
    }

    /// Offers what a connection is owed to `write`; what it does not take is kept for it.
    /// Returns how many bytes it took.
    pub(crate) fn deliver(
        &mut self,
        slot: u32,
        write: impl FnOnce(&[u8]) -> std::io::Result<usize>,
    ) -> std::io::Result<usize> {
        let lane = &mut self.lanes[slot as usize];
        let said = lane.said;
        let Some(kept) = &mut lane.kept else {
            // The common case: one write, straight from the arena.
            let bytes = &self.arena[said.range()];
            let n = write(bytes)?;
            lane.said = Stretch::default();
            assert!(n <= bytes.len(), "a write takes no more than it was given");
            if n < bytes.len() {
                lane.kept
                    .get_or_insert_default()
                    .tail()
                    .extend_from_slice(&bytes[n..]);
            }
            return Ok(n);
        };
        if said.len > 0 {
            kept.tail().extend_from_slice(&self.arena[said.range()]);
            lane.said = Stretch::default();
        }
        let n = kept.flush(write)?;
        if kept.is_empty() {
            lane.kept = None;
        }
        Ok(n)
    }

    /// Counts bytes that are offered from where they lie, and were never in the arena.
    pub(crate) fn lent(&mut self, bytes: usize) {
        self.said_in_all += bytes as u64;
    }

    /// For the invariants: bytes said to anybody so far, once for each.
    pub(crate) fn said_in_all(&self) -> u64 {
        self.said_in_all
    }

    /// Keeps bytes that a socket did not take, behind everything else that is owed.
    pub(crate) fn keep(&mut self, slot: u32, bytes: &[u8]) {
        let lane = &mut self.lanes[slot as usize];
        debug_assert_eq!(lane.said.len, 0, "what is kept is older than what was said");
        lane.kept
            .get_or_insert_default()
            .tail()
            .extend_from_slice(bytes);
    }

    /// How much was said since the arena was emptied.
    pub(crate) fn arena_bytes(&self) -> usize {
        self.arena.len()
    }

    /// Empties the arena. Every lane must have been delivered: a stretch that is still referred to
    /// would become somebody else's words (a bug that one simulated seed in 3,500 found).
    pub(crate) fn trim(&mut self) {
        debug_assert!(
            self.lanes.iter().all(|lane| lane.said.len == 0),
            "no lane refers to the arena when it is trimmed"
        );
        self.arena.clear();
        self.arena.shrink_to(ARENA_BYTES_MAX);
    }

    pub(crate) fn ask(&mut self, id: ConnId, effect: Effect) {
        self.effects.push_back((id, effect));
    }

    pub(crate) fn next_effect(&mut self) -> Option<(ConnId, Effect)> {
        self.effects.pop_front()
    }

    /// For the invariants: lanes somebody owns, and bytes that are owed in all.
    pub(crate) fn count(&self) -> (usize, usize) {
        let open = self.lanes.iter().filter(|lane| lane.generation != 0);
        open.fold((0, 0), |(n, owed), lane| (n + 1, owed + lane.owed()))
    }
}

#[cfg(test)]
mod tests;
