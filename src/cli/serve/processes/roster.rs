//! Which processes there are, and when which is started.
//!
//! Knows the time that it is told, and no process. Each is started at once, and after it has ended again after a wait,
//! which doubles as long as it does not hold: so one that cannot run costs little, and one that ran for long and died
//! is back at once.

use std::time::Duration;

use crate::config::limits::PROCESS_START_TIMEOUT;
use crate::reactor::Attendant;
use crate::turn::Moment;
use crate::wire::ProcessState;

/// All of them, counted from 0 here, and from 1 where people read it.
#[derive(Debug)]
pub(super) struct Roster(Vec<Place>);

#[derive(Debug)]
struct Place {
    attendant: Attendant,
    stage: Stage,
    starts: u64,
}

/// ```text
/// Absent ──when its wait is over──> Starting ──it says so──> Serves
///   ^──────────it has ended────────────┴──────────────────────┘
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Absent,
    /// It prepares, until then.
    Starting(Moment),
    Serves,
}

impl Roster {
    /// So many, to be started now.
    pub(super) fn new(count: u32, now: Moment) -> Roster {
        let place = || Place {
            attendant: Attendant::new(now),
            stage: Stage::Absent,
            starts: 0,
        };
        Roster((0..count).map(|_| place()).collect())
    }

    /// When the next is to be started, or was to be ready.
    pub(super) fn due(&self) -> Option<Moment> {
        let due = |place: &Place| match place.stage {
            Stage::Absent => place.attendant.due(),
            Stage::Starting(until) => Some(until),
            Stage::Serves => None,
        };
        self.0.iter().filter_map(due).min()
    }

    /// The next that is to be started by now.
    pub(super) fn to_start(&self, now: Moment) -> Option<usize> {
        let is_due = |place: &Place| {
            let due = place
                .attendant
                .due()
                .filter(|_| place.stage == Stage::Absent);
            due.is_some_and(|due| due <= now)
        };
        self.0.iter().position(is_due)
    }

    /// The next that should have been ready by now.
    pub(super) fn late(&self, now: Moment) -> Option<usize> {
        let is_late = |place: &Place| matches!(place.stage, Stage::Starting(until) if until <= now);
        self.0.iter().position(is_late)
    }

    /// It was started.
    pub(super) fn started(&mut self, n: usize, now: Moment) {
        let place = &mut self.0[n];
        place.attendant.started(now);
        place.stage = Stage::Starting(now.after(PROCESS_START_TIMEOUT));
        place.starts += 1;
    }

    /// It is late, and looked for again later.
    pub(super) fn put_off(&mut self, n: usize, now: Moment) {
        self.0[n].stage = Stage::Starting(now.after(PROCESS_START_TIMEOUT));
    }

    /// It serves.
    pub(super) fn serves(&mut self, n: usize) {
        self.0[n].stage = Stage::Serves;
    }

    /// It has ended, or could not be started: how long the next is waited with.
    pub(super) fn ended(&mut self, n: usize, now: Moment) -> Duration {
        let place = &mut self.0[n];
        place.stage = Stage::Absent;
        place.attendant.failed(now)
    }

    /// Those that are waited with are started now: what was in their way may be gone.
    pub(super) fn hurry(&mut self, now: Moment) {
        let waiting = |place: &&mut Place| place.stage == Stage::Absent;
        for place in self.0.iter_mut().filter(waiting) {
            place.attendant.hurry(now);
        }
    }

    /// Whether it serves.
    pub(super) fn is_serving(&self, n: usize) -> bool {
        self.0[n].stage == Stage::Serves
    }

    /// How many serve.
    pub(super) fn serving(&self) -> usize {
        let serves = |place: &&Place| place.stage == Stage::Serves;
        self.0.iter().filter(serves).count()
    }

    /// What is known of each.
    pub(super) fn states(&self) -> Vec<ProcessState> {
        let state = |(process, place): (u32, &Place)| ProcessState {
            process,
            serves: place.stage == Stage::Serves,
            restarts: place.starts.saturating_sub(1),
        };
        (1..).zip(&self.0).map(state).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::limits::{ATTENDANT_RETRY, ATTENDANT_RETRY_MAX};

    /// What is started from `now` on until `end`, and when.
    fn starts(roster: &mut Roster, now: &mut Moment, end: Moment) -> Vec<(usize, Duration)> {
        let (begin, mut all) = (*now, Vec::new());
        while let Some(due) = roster.due().filter(|due| *due <= end) {
            *now = due.max(*now);
            while let Some(n) = roster.to_start(*now) {
                roster.started(n, *now);
                all.push((n, now.since(begin)));
                assert!(all.len() < 1000, "nothing is waited for");
                // The second cannot run.
                if n == 1 {
                    roster.ended(n, *now);
                } else {
                    roster.serves(n);
                }
            }
        }
        all
    }

    #[test]
    fn a_process_that_always_dies_is_waited_with_longer_and_longer_and_the_others_serve() {
        let mut now = Moment::START;
        let mut roster = Roster::new(3, now);
        let end = now.after(Duration::from_secs(3600));
        let all = starts(&mut roster, &mut now, end);
        let of = |n: usize| {
            let of = all.iter().filter(|(which, _)| *which == n);
            of.map(|(_, at)| *at).collect::<Vec<_>>()
        };
        assert_eq!((of(0), of(2)), (vec![Duration::ZERO], vec![Duration::ZERO]));
        let waits: Vec<Duration> = of(1).windows(2).map(|two| two[1] - two[0]).collect();
        let mut expected = ATTENDANT_RETRY;
        for wait in waits {
            assert_eq!(wait, expected);
            expected = (2 * expected).min(ATTENDANT_RETRY_MAX);
        }
        assert_eq!(expected, ATTENDANT_RETRY_MAX);
        assert_eq!(roster.serving(), 2);
        let second = roster.states()[1];
        assert_eq!((second.process, second.serves), (2, false));
        assert_eq!(second.restarts, of(1).len() as u64 - 1);
    }

    #[test]
    fn one_that_held_is_back_soon_and_one_that_waits_can_be_hurried() {
        let mut now = Moment::START;
        let mut roster = Roster::new(2, now);
        for n in 0..2 {
            assert_eq!(roster.to_start(now), Some(n));
            roster.started(n, now);
            roster.serves(n);
        }
        for _ in 0..5 {
            roster.ended(0, now);
            now = roster.due().unwrap();
            roster.started(0, now);
        }
        now = now.after(ATTENDANT_RETRY_MAX);
        assert_eq!(roster.ended(0, now), ATTENDANT_RETRY);
        assert_eq!(roster.to_start(now), None);
        roster.hurry(now);
        assert_eq!(roster.to_start(now), Some(0));
        assert!(roster.is_serving(1));
    }

    #[test]
    fn one_that_is_never_ready_is_found_out() {
        let now = Moment::START;
        let mut roster = Roster::new(1, now);
        roster.started(0, now);
        let until = now.after(PROCESS_START_TIMEOUT);
        assert_eq!((roster.due(), roster.late(now)), (Some(until), None));
        assert_eq!(roster.late(until), Some(0));
        roster.put_off(0, until);
        assert_eq!(roster.late(until), None);
        assert!(!roster.is_serving(0));
    }
}
