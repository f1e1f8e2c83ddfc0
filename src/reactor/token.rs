use crate::turn::ConnId;

/// What an event is about: a kind, a slot, and which of the slot's owners it means.
///
/// ```text
/// 63      61 60                32 31                 0
/// [ kind:3 ][ generation:29     ][ slot:32           ]
/// ```
///
/// A generation comes again after half a thousand million connections; for an event to be taken
/// for another connection's, it would have to wait in one batch for all of that time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token(u64);

/// What is registered with the poll.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A connection.
    Connection(ConnId),
    /// A listening socket, by its place in the list.
    Listener(u32),
    /// A datagram socket, by its place in the list.
    Datagram(u32),
    /// A child's standard output.
    ChildOut(ConnId),
    /// A child's standard error.
    ChildErr(ConnId),
    /// A child itself, which has ended.
    ChildExit(ConnId),
    /// A child's standard input.
    ChildIn(ConnId),
    /// Signals have come.
    Signals,
    /// A [`Handle`](super::Handle) was used.
    Caller,
    /// What the code that runs the loop watches, by its number.
    Watched(u32),
}

/// Generations count from 1 to this and then start over.
pub(super) const GENERATION_MAX: u32 = (1 << 29) - 1;

const SLOT_BITS: u32 = 32;
const KIND_BITS: u32 = 61;

/// What there is one of, in the place of a slot.
const SIGNALS: u32 = 0;
const CALLER: u32 = 1;
/// In the same place, what there are several of begins here.
const WATCHED: u32 = 2;

impl Token {
    /// The token of this source.
    pub fn of(source: Source) -> Token {
        let (kind, slot, generation) = match source {
            Source::Connection(id) => (0, id.slot, id.generation),
            Source::ChildOut(id) => (1, id.slot, id.generation),
            Source::ChildErr(id) => (2, id.slot, id.generation),
            Source::ChildExit(id) => (3, id.slot, id.generation),
            Source::Listener(n) => (4, n, 0),
            Source::Datagram(n) => (5, n, 0),
            Source::Signals => (6, SIGNALS, 0),
            Source::Caller => (6, CALLER, 0),
            Source::Watched(n) => (6, WATCHED + n, 0),
            Source::ChildIn(id) => (7, id.slot, id.generation),
        };
        debug_assert!(generation <= GENERATION_MAX);
        Token(kind << KIND_BITS | u64::from(generation) << SLOT_BITS | u64::from(slot))
    }

    /// What the token stands for.
    pub fn source(self) -> Source {
        let slot = (self.0 & u64::from(u32::MAX)) as u32;
        let generation = (self.0 >> SLOT_BITS) as u32 & GENERATION_MAX;
        let id = ConnId { slot, generation };
        match self.0 >> KIND_BITS {
            0 => Source::Connection(id),
            1 => Source::ChildOut(id),
            2 => Source::ChildErr(id),
            3 => Source::ChildExit(id),
            4 => Source::Listener(slot),
            5 => Source::Datagram(slot),
            6 if slot == SIGNALS => Source::Signals,
            6 if slot == CALLER => Source::Caller,
            6 => Source::Watched(slot - WATCHED),
            _ => Source::ChildIn(id),
        }
    }

    /// The token as the number that the poll carries.
    pub fn as_u64(self) -> u64 {
        self.0
    }

    /// The token that the poll carried.
    pub fn from_u64(number: u64) -> Token {
        Token(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_says_what_it_was_made_of() {
        let id = ConnId {
            slot: u32::MAX,
            generation: GENERATION_MAX,
        };
        for source in [
            Source::Connection(id),
            Source::ChildOut(id),
            Source::ChildErr(ConnId {
                slot: 0,
                generation: 1,
            }),
            Source::ChildExit(id),
            Source::ChildIn(id),
            Source::Listener(3),
            Source::Datagram(u32::MAX),
            Source::Signals,
            Source::Caller,
            Source::Watched(0),
            Source::Watched(129),
        ] {
            assert_eq!(Token::from_u64(Token::of(source).as_u64()).source(), source);
        }
    }
}
