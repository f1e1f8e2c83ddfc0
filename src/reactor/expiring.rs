use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;

use crate::turn::Moment;

/// A table of bounded size whose entries end, each at a moment of its own.
///
/// When it is full, the entry that ends first makes room: it says the least about what comes. The keys are
/// hashed with a seed of this process, so that nobody chooses those that fall together.
#[derive(Debug)]
pub(super) struct Expiring<K, V> {
    entries: HashMap<K, (Moment, V)>,
    /// The same entries in the order in which they end.
    ends: BTreeSet<(Moment, K)>,
    places: usize,
}

impl<K: Copy + Ord + Hash, V> Expiring<K, V> {
    /// An empty table of so many places.
    pub(super) fn new(places: usize) -> Expiring<K, V> {
        Expiring {
            entries: HashMap::new(),
            ends: BTreeSet::new(),
            places,
        }
    }

    /// When the entry of this key ends, and what it is; none, if it has ended.
    pub(super) fn get(&self, now: Moment, key: K) -> Option<(Moment, &V)> {
        let (ends, value) = self.entries.get(&key)?;
        (*ends > now).then_some((*ends, value))
    }

    /// From now on the entry of this key is that, until then.
    pub(super) fn set(&mut self, key: K, ends: Moment, value: V) {
        if let Some((was, _)) = self.entries.insert(key, (ends, value)) {
            self.ends.remove(&(was, key));
        } else if self.entries.len() > self.places
            && let Some((_, first)) = self.ends.pop_first()
        {
            self.entries.remove(&first);
        }
        self.ends.insert((ends, key));
    }

    /// Forgets entries that have ended, so many at most; an empty table owns nothing.
    pub(super) fn forget(&mut self, now: Moment, most: u32) {
        for _ in 0..most {
            match self.ends.first() {
                Some((ends, _)) if *ends <= now => {}
                _ => break,
            }
            if let Some((_, key)) = self.ends.pop_first() {
                self.entries.remove(&key);
            }
        }
        if self.entries.is_empty() {
            self.entries = HashMap::new();
        }
    }

    /// When the last entry ends.
    pub(super) fn last_end(&self) -> Option<Moment> {
        self.ends.last().map(|(ends, _)| *ends)
    }

    /// How many entries there are, those that have ended and were not forgotten among them.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// For the invariants: whether both orders have the same entries, and no more than there is room for.
    pub(super) fn is_whole(&self) -> bool {
        let is_listed = |(key, (ends, _)): (&K, &(Moment, V))| self.ends.contains(&(*ends, *key));
        self.entries.len() == self.ends.len()
            && self.entries.len() <= self.places
            && self.entries.iter().all(is_listed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(nanos: u64) -> Moment {
        Moment::from_nanos(nanos)
    }

    #[test]
    fn an_entry_is_there_until_it_ends_and_is_replaced_by_a_later_one() {
        let mut table = Expiring::new(8);
        table.set('a', at(10), 1);
        assert_eq!(table.get(at(9), 'a'), Some((at(10), &1)));
        assert_eq!(table.get(at(10), 'a'), None);
        assert_eq!(table.get(at(9), 'b'), None);
        table.set('a', at(20), 2);
        assert_eq!(table.get(at(10), 'a'), Some((at(20), &2)));
        assert_eq!(table.len(), 1);
        assert!(table.is_whole());
    }

    #[test]
    fn when_it_is_full_the_first_to_end_makes_room() {
        let mut table = Expiring::new(3);
        for (key, ends) in [('a', 30), ('b', 10), ('c', 20)] {
            table.set(key, at(ends), ());
        }
        // One that is there already needs no room.
        table.set('c', at(25), ());
        assert_eq!(table.len(), 3);
        table.set('d', at(40), ());
        let is_there = |key| table.get(at(0), key).is_some();
        assert_eq!(
            ['a', 'b', 'c', 'd'].map(is_there),
            [true, false, true, true]
        );
        assert!(table.is_whole());
    }

    #[test]
    fn what_has_ended_is_forgotten_a_few_at_a_time_and_an_empty_table_owns_nothing() {
        let mut table = Expiring::new(1000);
        (0..1000).for_each(|n| table.set(n, at(n), ()));
        assert_eq!(table.last_end(), Some(at(999)));
        table.forget(at(499), 100);
        assert_eq!(table.len(), 900);
        table.forget(at(499), 1000);
        assert_eq!(table.len(), 500);
        table.forget(at(999), 1000);
        assert_eq!((table.len(), table.last_end()), (0, None));
        assert_eq!(table.entries.capacity(), 0);
        assert!(table.is_whole());
    }
}
