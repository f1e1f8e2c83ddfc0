//! In which order servers are asked, round by round.

use crate::load::run::schedule::lot;

/// Rounds of each server in a block of [`Turns::ByLot`].
pub const ROUNDS_OF_A_BLOCK: usize = 2;

/// In which order servers are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turns {
    /// A B, A B, A B …
    Alike,
    /// A B, B A, or the reverse of both, by lot: `A B B A B A A B …`. What rises or falls steadily hurts both alike, and
    /// what comes and goes either, as likely as the other.
    ByLot {
        /// Which lots.
        seed: u64,
    },
}

impl Turns {
    /// Whether the last is asked first in this round, counted from 0.
    pub(super) fn are_reversed(self, round: usize) -> bool {
        match self {
            Self::Alike => false,
            Self::ByLot { seed } => {
                let block = (round / ROUNDS_OF_A_BLOCK) as u64;
                let is_mirrored = !round.is_multiple_of(ROUNDS_OF_A_BLOCK);
                lot(seed.wrapping_add(block)) != is_mirrored
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_by_lot_are_mirrored_within_each_block() {
        let turns = Turns::ByLot { seed: 7 };
        let order: Vec<bool> = (0..200).map(|round| turns.are_reversed(round)).collect();
        assert!(order.chunks(2).all(|block| block[0] != block[1]));
        let first = order
            .iter()
            .step_by(2)
            .filter(|reversed| **reversed)
            .count();
        assert!((35..=65).contains(&first), "{first} of 100");
        let other: Vec<bool> = (0..200)
            .map(|round| Turns::ByLot { seed: 8 }.are_reversed(round))
            .collect();
        assert_ne!(order, other);
        assert!((0..200).all(|round| !Turns::Alike.are_reversed(round)));
    }
}
