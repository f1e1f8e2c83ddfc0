use std::time::Duration;

use super::expiring::Expiring;
use super::source_key::SourceKey;
use crate::config::limits::{PENALTY_BITES, PENALTY_MAX, SOURCES_MAX};
use crate::turn::Moment;

/// Sources that did not prove what they were asked to, and for how long that is held against them.
///
/// As OpenSSH has it (`PerSourcePenalties`, sshd_config(5)): each failure adds its time, the sum runs down with
/// the clock, and once it has come to [`PENALTY_BITES`] the source is not let in until it has run down to
/// nothing. So a few slips cost nothing, and whoever guesses waits longer than it takes to guess.
#[derive(Debug)]
pub(super) struct Penalties {
    /// Whether it bites; until it has run down.
    table: Expiring<SourceKey, bool>,
}

impl Default for Penalties {
    fn default() -> Penalties {
        Penalties {
            table: Expiring::new(SOURCES_MAX),
        }
    }
}

impl Penalties {
    /// Whether this source is not to be let in.
    #[inline]
    pub(super) fn bites(&self, now: Moment, key: SourceKey) -> bool {
        self.table.len() > 0 && self.table.get(now, key).is_some_and(|(_, bites)| *bites)
    }

    /// This source has failed again. Says for how long it is not let in, if it was until now.
    pub(super) fn add(&mut self, now: Moment, key: SourceKey, more: Duration) -> Option<Duration> {
        let (until, did_bite) = self
            .table
            .get(now, key)
            .map_or((now, false), |(until, bites)| (until, *bites));
        let until = until.after(more).min(now.after(PENALTY_MAX));
        let left = until.since(now);
        let bites = did_bite || left >= PENALTY_BITES;
        self.table.set(key, until, bites);
        (bites && !did_bite).then_some(left)
    }

    /// Forgets sources whose penalty has run down, so many at most.
    pub(super) fn forget(&mut self, now: Moment, most: u32) {
        if self.table.len() > 0 {
            self.table.forget(now, most);
        }
    }

    /// When the last has run down.
    pub(super) fn last_end(&self) -> Option<Moment> {
        self.table.last_end()
    }

    /// How many sources have one.
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// For the invariants: whether the table agrees with itself, and nothing lasts longer than it may.
    pub(super) fn is_whole(&self, now: Moment) -> bool {
        let longest = now.after(PENALTY_MAX);
        self.table.is_whole() && self.table.last_end().is_none_or(|last| last <= longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::limits::{PENALTY_LOGIN_TIMEOUT, PENALTY_WRONG_PROOF};

    const SOURCE: SourceKey = SourceKey::V4(7);

    fn second(n: u64) -> Moment {
        Moment::START.after(Duration::from_secs(n))
    }

    /// Failures at these seconds; says after which of them it bit.
    fn bitten(failures: &[(u64, Duration)]) -> (Penalties, Vec<bool>) {
        let mut penalties = Penalties::default();
        let mut after = |&(at, penalty): &(u64, Duration)| {
            penalties.add(second(at), SOURCE, penalty);
            penalties.bites(second(at), SOURCE)
        };
        let bitten = failures.iter().map(&mut after).collect();
        (penalties, bitten)
    }

    #[test]
    fn fault_d15_a_few_slips_cost_nothing_and_guessing_does() {
        let (wrong, late) = (PENALTY_WRONG_PROOF, PENALTY_LOGIN_TIMEOUT);
        for (failures, expected) in [
            // 5 and 5 and 5 make 15.
            (
                &[(0, wrong), (0, wrong), (0, wrong)][..],
                &[false, false, true][..],
            ),
            (&[(0, late), (0, wrong)], &[false, true]),
            (&[(0, late), (0, late)], &[false, true]),
            // What has run down meanwhile does not count.
            (
                &[(0, wrong), (1, wrong), (2, wrong), (3, wrong)],
                &[false, false, false, true],
            ),
            (
                &[(0, wrong), (5, wrong), (10, wrong), (15, wrong)],
                &[false; 4],
            ),
            (&[(0, late), (10, late), (20, late)], &[false; 3]),
            (&[(0, late), (5, late), (6, wrong)], &[false, true, true]),
        ] {
            assert_eq!(bitten(failures).1, expected, "{failures:?}");
        }
    }

    #[test]
    fn fault_d15_what_bites_does_so_until_it_has_run_down() {
        let (mut penalties, _) = bitten(&[(100, PENALTY_WRONG_PROOF); 3]);
        assert!(penalties.bites(second(114), SOURCE));
        assert!(!penalties.bites(second(115), SOURCE));
        assert!(!penalties.bites(second(100), SourceKey::V4(8)));
        assert!(!penalties.bites(second(100), SourceKey::V6(7)));
        // It begins anew then.
        assert_eq!(
            penalties.add(second(115), SOURCE, PENALTY_WRONG_PROOF),
            None
        );
        assert!(!penalties.bites(second(115), SOURCE));
    }

    #[test]
    fn fault_d15_it_is_told_once_when_it_begins_to_bite_and_for_how_long() {
        let mut penalties = Penalties::default();
        let mut add = |at| penalties.add(second(at), SOURCE, PENALTY_WRONG_PROOF);
        assert_eq!([add(0), add(0)], [None, None]);
        assert_eq!(add(0), Some(Duration::from_secs(15)));
        assert_eq!(add(0), None, "it does already");
        assert_eq!([add(100), add(100)], [None, None]);
        assert_eq!(add(100), Some(Duration::from_secs(15)));
    }

    #[test]
    fn fault_d15_it_lasts_no_longer_than_it_may() {
        let mut penalties = Penalties::default();
        (0..1000).for_each(|_| {
            penalties.add(second(50), SOURCE, PENALTY_LOGIN_TIMEOUT);
        });
        let last = second(50).after(PENALTY_MAX);
        assert_eq!(penalties.last_end(), Some(last));
        assert!(penalties.bites(second(50 + 599), SOURCE));
        assert!(!penalties.bites(last, SOURCE));
        assert!(penalties.is_whole(second(50)));
        penalties.forget(last, 1);
        assert_eq!((penalties.len(), penalties.last_end()), (0, None));
    }

    #[test]
    fn fault_d15_a_flood_of_sources_forgets_the_slightest_first() {
        let mut penalties = Penalties::default();
        for _ in 0..3 {
            penalties.add(second(0), SOURCE, PENALTY_WRONG_PROOF);
        }
        for n in 0..SOURCES_MAX as u64 + 1000 {
            penalties.add(second(0), SourceKey::V6(n), PENALTY_WRONG_PROOF);
        }
        assert_eq!(penalties.len(), SOURCES_MAX);
        assert!(penalties.bites(second(0), SOURCE));
    }
}
