use crate::turn::Moment;
use crate::turn::column::{give_back, give_back_end, is_oversized};

/// A moment per slot, and a heap of slots with at most one entry each.
///
/// The reactor has two of these, since a service's wish to be woken and the reactor's patience
/// (idle, a started frame, leaving) have nothing to do with each other.
///
/// Putting a moment off, which happens with every message on a connection that has an idle
/// timeout, only writes it down: the entry stays where it is in the heap, and is put back when
/// it comes to the top too early. So the heap is as large as there are slots, however many
/// connections a second come and go.
#[derive(Debug, Default)]
pub(super) struct Timers {
    /// By slot: when it is due; `NEVER` if it is not set.
    due: Vec<Moment>,
    /// By slot: where its entry is in the heap; `NOWHERE` if it has none.
    place: Vec<u32>,
    /// A binary heap, the earliest entry first. An entry is never later than its slot is due.
    heap: Vec<(Moment, u32)>,
    set: usize,
}

const NOWHERE: u32 = u32::MAX;

impl Timers {
    /// Sets the timer, replacing what it was set to; `NEVER` cancels it.
    pub(super) fn set(&mut self, slot: u32, at: Moment) {
        let k = slot as usize;
        if self.due.len() <= k {
            if at == Moment::NEVER {
                return;
            }
            self.due.resize(k + 1, Moment::NEVER);
            self.place.resize(k + 1, NOWHERE);
        }
        self.set += usize::from(at != Moment::NEVER);
        self.set -= usize::from(self.due[k] != Moment::NEVER);
        self.due[k] = at;
        match self.place[k] {
            _ if at == Moment::NEVER => {}
            NOWHERE => {
                self.heap.push((at, slot));
                self.rise(self.heap.len() - 1);
            }
            place if at < self.heap[place as usize].0 => {
                self.heap[place as usize].0 = at;
                self.rise(place as usize);
            }
            _ => {}
        }
    }

    /// Cancels the timer.
    pub(super) fn cancel(&mut self, slot: u32) {
        self.set(slot, Moment::NEVER);
    }

    /// When the timer is due; `NEVER` if it is not set.
    pub(super) fn due(&self, slot: u32) -> Moment {
        self.due
            .get(slot as usize)
            .copied()
            .unwrap_or(Moment::NEVER)
    }

    /// No timer is due before this moment.
    pub(super) fn earliest(&self) -> Option<Moment> {
        self.heap.first().map(|&(at, _)| at)
    }

    /// Takes one timer that is due.
    #[inline]
    pub(super) fn fire(&mut self, now: Moment) -> Option<u32> {
        if self.earliest().is_none_or(|at| at > now) {
            return None;
        }
        self.fire_first(now)
    }

    fn fire_first(&mut self, now: Moment) -> Option<u32> {
        while let Some(&(at, slot)) = self.heap.first() {
            if at > now {
                return None;
            }
            let due = self.due[slot as usize];
            if due > now {
                self.put_back(due);
                continue;
            }
            self.put_back(Moment::NEVER);
            self.due[slot as usize] = Moment::NEVER;
            self.set -= 1;
            return Some(slot);
        }
        None
    }

    /// Gives back the places of slots without a timer.
    pub(super) fn give_back(&mut self) {
        if is_oversized(self.heap.capacity(), self.set) {
            self.forget_cancelled();
        }
        give_back_end(&mut self.place, |place| *place == NOWHERE);
        self.due.truncate(self.place.len());
        give_back(&mut self.due);
        give_back(&mut self.heap);
    }

    /// How many timers are set.
    pub(super) fn len(&self) -> usize {
        self.set
    }

    /// The slots whose timers are set.
    pub(super) fn slots(&self) -> impl Iterator<Item = usize> {
        let set = self
            .due
            .iter()
            .enumerate()
            .filter(|(_, due)| **due != Moment::NEVER);
        set.map(|(slot, _)| slot)
    }

    /// How many places are allocated, in the largest of its tables.
    #[cfg(test)]
    pub(super) fn places(&self) -> usize {
        let tables = [
            self.heap.capacity(),
            self.due.capacity(),
            self.place.capacity(),
        ];
        tables.into_iter().fold(0, usize::max)
    }

    /// Takes the entries of cancelled timers out of the heap, where they are until they come to the top:
    /// for an idle timeout of hours, that is hours.
    fn forget_cancelled(&mut self) {
        let entries = std::mem::take(&mut self.heap);
        for (at, slot) in entries {
            self.place[slot as usize] = NOWHERE;
            if self.due[slot as usize] != Moment::NEVER {
                self.heap.push((at, slot));
                self.rise(self.heap.len() - 1);
            }
        }
    }

    /// Moves the first entry to `due`, or out of the heap if that is never.
    fn put_back(&mut self, due: Moment) {
        let slot = self.heap[0].1;
        if due == Moment::NEVER {
            self.place[slot as usize] = NOWHERE;
            let last = self.heap.pop().expect("the heap has a first entry");
            if self.heap.is_empty() {
                return;
            }
            self.heap[0] = last;
        } else {
            self.heap[0].0 = due;
        }
        self.sink(0);
    }

    fn rise(&mut self, mut at: usize) {
        while at > 0 && self.heap[at].0 < self.heap[(at - 1) / 2].0 {
            self.swap(at, (at - 1) / 2);
            at = (at - 1) / 2;
        }
        self.place[self.heap[at].1 as usize] = at as u32;
    }

    fn sink(&mut self, mut at: usize) {
        loop {
            let (left, right) = (2 * at + 1, 2 * at + 2);
            let mut least = at;
            for child in [left, right] {
                if child < self.heap.len() && self.heap[child].0 < self.heap[least].0 {
                    least = child;
                }
            }
            if least == at {
                self.place[self.heap[at].1 as usize] = at as u32;
                return;
            }
            self.swap(at, least);
            at = least;
        }
    }

    fn swap(&mut self, a: usize, b: usize) {
        self.heap.swap(a, b);
        self.place[self.heap[a].1 as usize] = a as u32;
        self.place[self.heap[b].1 as usize] = b as u32;
    }

    /// Every entry knows its place, none is later than its slot is due, every slot that is due has
    /// an entry, and parents come before their children.
    pub(super) fn check(&self) -> Result<(), String> {
        for (at, &(when, slot)) in self.heap.iter().enumerate() {
            if self.place[slot as usize] as usize != at {
                return Err(format!("timer {slot} is at {at} and believes otherwise"));
            }
            if when > self.due[slot as usize] {
                return Err(format!("timer {slot} would fire late"));
            }
            if at > 0 && self.heap[(at - 1) / 2].0 > when {
                return Err(format!("timer {slot} is above an earlier one"));
            }
        }
        let set = self.due.iter().filter(|&&due| due != Moment::NEVER).count();
        let lost = self.due.iter().zip(&self.place);
        if lost
            .into_iter()
            .any(|(&due, &place)| due != Moment::NEVER && place == NOWHERE)
        {
            return Err("a timer is set and in no heap".into());
        }
        if set != self.set {
            return Err(format!("{} timers are set and {set} counted", self.set));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::limits::KEPT_PLACES;

    fn at(nanos: u64) -> Moment {
        Moment::from_nanos(nanos)
    }

    #[test]
    fn a_timer_put_off_fires_once_and_late() {
        let mut timers = Timers::default();
        timers.set(3, at(10));
        timers.set(3, at(30));
        assert_eq!(timers.heap.len(), 1, "one entry a slot");
        assert_eq!(timers.fire(at(20)), None);
        assert_eq!(timers.fire(at(30)), Some(3));
        assert_eq!(timers.fire(at(99)), None);
    }

    #[test]
    fn a_timer_that_was_not_set_and_is_cancelled_needs_no_entry() {
        let mut timers = Timers::default();
        timers.set(1, at(10));
        timers.cancel(0);
        timers.cancel(7);
        assert_eq!(
            (timers.len(), timers.heap.len(), timers.due.len()),
            (1, 1, 2)
        );
    }

    /// The invariants of the loop depend on it.
    #[test]
    fn the_check_sees_what_is_broken() {
        let set = || {
            let mut timers = Timers::default();
            (0..4).for_each(|slot| timers.set(slot, at(10 + u64::from(slot))));
            timers
        };
        assert_eq!(set().check(), Ok(()));
        type Break = fn(&mut Timers);
        let breaks: [(&str, Break); 5] = [
            ("is at 3 and believes otherwise", |t| t.place[3] = 0),
            ("would fire late", |t| t.due[1] = at(10)),
            ("is above an earlier one", |t| {
                t.swap(1, 3);
            }),
            ("is set and in no heap", |t| {
                t.heap.pop();
                t.place[3] = NOWHERE;
            }),
            ("4 timers are set and 3 counted", |t| {
                t.due[3] = Moment::NEVER
            }),
        ];
        for (expected, breaks) in breaks {
            let mut timers = set();
            breaks(&mut timers);
            let found = timers.check().unwrap_err();
            assert!(found.ends_with(expected), "{found}");
        }
    }

    #[test]
    fn places_of_timers_that_were_cancelled_are_given_back_long_before_they_are_due() {
        let mut timers = Timers::default();
        let many = 16 * KEPT_PLACES as u32;
        let far = u64::MAX / 2;
        (0..many).for_each(|slot| timers.set(slot, at(far + u64::from(slot))));
        (1..many).for_each(|slot| timers.cancel(slot));
        timers.give_back();
        assert!(timers.places() <= 2 * KEPT_PLACES, "{}", timers.places());
        assert_eq!((timers.len(), timers.earliest()), (1, Some(at(far))));
        timers.check().unwrap();
        // A slot whose place was given back has a timer again.
        timers.set(many - 1, at(5));
        assert_eq!(timers.fire(at(5)), Some(many - 1));
    }

    #[test]
    fn fault_a15_the_last_moment_is_a_moment_like_others() {
        let mut timers = Timers::default();
        timers.set(0, at(u64::MAX - 1));
        timers.set(1, Moment::NEVER);
        assert_eq!(timers.len(), 1);
        assert_eq!(timers.fire(at(u64::MAX - 1)), Some(0));
        assert_eq!(timers.len(), 0);
    }

    proptest! {
        /// Against the simplest thing that is right: a list that is searched.
        #[test]
        fn the_heap_agrees_with_a_list(steps in prop::collection::vec((0u32..16, 0u64..50), 0..200)) {
            let (mut timers, mut list, mut now) = (Timers::default(), vec![Moment::NEVER; 16], 0);
            for (slot, wait) in steps {
                let due = if wait == 49 { Moment::NEVER } else { at(now + wait) };
                timers.set(slot, due);
                list[slot as usize] = due;
                if slot == 0 {
                    timers.forget_cancelled();
                }
                prop_assert!(timers.check().is_ok(), "{:?}", timers.check());
                now += wait / 4;
                let mut fired = Vec::new();
                while let Some(slot) = timers.fire(at(now)) {
                    fired.push(slot as usize);
                    prop_assert!(timers.check().is_ok(), "{:?}", timers.check());
                }
                fired.sort_unstable();
                let due: Vec<usize> = (0..16).filter(|&k| list[k] <= at(now)).collect();
                prop_assert_eq!(&fired, &due);
                due.iter().for_each(|&k| list[k] = Moment::NEVER);
            }
        }
    }
}
