//! When requests of the open model begin: one rule for all kinds of traffic.

use crate::load::measure::clock::nanos;
use crate::load::run::Run;
use crate::load::run::tally::Phase;

/// The next request that begins now: when it was meant to; none if none is due, or there is no room.
///
/// `room_since` says since when there has been room for a request, a free connection or a place in the
/// window; none while there is not. Requests that found no room within the timeout never begin: they are
/// counted as never sent, not sent late without a word: what the server is asked late, on top of what it owes
/// already, would only make it later. The delay of the others is the generator's own as far as
/// there was room.
#[inline]
pub(super) fn next_due(run: &mut Run<'_>, now: u64, room_since: Option<u64>) -> Option<u64> {
    let timeout = nanos(run.plan.timeout);
    loop {
        let began = run.schedule.as_ref()?.next();
        if began > now {
            return None;
        }
        let is_too_late = now - began >= timeout;
        if !is_too_late && room_since.is_none() || !run.tally.take_due(run.phase, began) {
            return None;
        }
        if let Some(schedule) = &mut run.schedule {
            schedule.advance();
        }
        if is_too_late {
            run.unsent(began, now);
            continue;
        }
        if run.tally.counts(began) {
            let could_begin = began.max(room_since.unwrap_or(began));
            run.tally.lag.record(now.saturating_sub(could_begin), 1);
            run.tally.blocked.record(could_begin - began, 1);
        }
        return Some(began);
    }
}

/// When the schedule has something to be done next: its next request, or without room that it is too late.
pub(super) fn next_event(run: &Run<'_>, has_room: bool) -> u64 {
    match &run.schedule {
        Some(schedule) if run.phase != Phase::Draining || run.tally.has_due(schedule.next()) => {
            let wait = if has_room { 0 } else { nanos(run.plan.timeout) };
            schedule.next().saturating_add(wait)
        }
        _ => u64::MAX,
    }
}

/// Since when there has been room, where nothing tells when there is again.
#[derive(Debug, Default)]
pub(super) struct WindowRoom {
    is_full: bool,
    since: u64,
}

impl WindowRoom {
    /// As of `now`.
    pub(super) fn since(&mut self, has_room: bool, now: u64) -> Option<u64> {
        if !has_room {
            self.is_full = true;
            return None;
        }
        if std::mem::take(&mut self.is_full) {
            self.since = now;
        }
        Some(self.since)
    }
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;
    use std::time::Duration;

    use super::*;
    use crate::load::plan::Plan;
    use crate::load::plan::mode::{Amount, Arrivals, Mode, Model};
    use crate::load::plan::target::Endpoint;
    use crate::load::run::outcome::RequestCounts;
    use crate::load::run::schedule::Schedule;

    /// Ten requests, one every 100 ns from 0 on, with a timeout of 250 ns.
    fn with(test: impl FnOnce(&mut Run<'_>)) {
        warming_up(0, Amount::Count(10), test);
    }

    /// The same, where so many nanoseconds are warm-up.
    fn warming_up(warmup: u64, amount: Amount, test: impl FnOnce(&mut Run<'_>)) {
        let mut plan = Plan::new(Endpoint::Unix("/x".into()), Mode::Echo { depth: 1 });
        plan.model = Model::Open {
            rate: 1e7,
            arrivals: Arrivals::Constant,
        };
        (plan.amount, plan.warmup) = (amount, Duration::from_nanos(warmup));
        plan.timeout = Duration::from_nanos(250);
        let mut watcher = |_| ControlFlow::Continue(());
        let mut run = Run::new(&plan, &mut watcher);
        run.schedule = Schedule::of(plan.model, 1, 0);
        run.warm_up(0, 0);
        test(&mut run);
    }

    #[test]
    fn a_request_begins_at_its_time_or_when_there_is_room() {
        with(|run| {
            assert_eq!(next_due(run, 0, Some(0)), Some(0));
            assert_eq!(next_due(run, 99, Some(0)), None);
            assert_eq!(next_event(run, true), 100);
            // No room: it waits, and its delay is not the generator's.
            assert_eq!(next_due(run, 150, None), None);
            assert_eq!(next_event(run, false), 350);
            assert_eq!(next_due(run, 200, Some(190)), Some(100));
            assert_eq!(run.tally.lag.summary().count, 2);
            assert_eq!(run.tally.lag.summary().max, 0.0);
            assert_eq!(run.tally.blocked.summary().max, 0.1);
            assert_eq!((run.tally.requests.asked, run.tally.errors.total), (2, 0));
        });
    }

    #[test]
    fn a_request_that_found_no_room_in_time_is_counted_and_never_begins() {
        with(|run| {
            // Those of 0, 100 and 200 are too late at 450; that of 300 is not.
            assert_eq!(next_due(run, 450, Some(450)), Some(300));
            assert_eq!((run.tally.requests.unsent, run.tally.errors.unsent), (3, 3));
            assert_eq!(run.tally.requests.asked, 4);
            // So are all others, with nobody to send them.
            assert_eq!(next_due(run, 10_000, None), None);
            assert_eq!(
                (run.tally.requests.unanswered, run.tally.errors.unsent),
                (9, 9)
            );
            assert_eq!(next_event(run, true), 1_000);
        });
    }

    #[test]
    fn a_request_is_late_once_the_whole_timeout_is_over() {
        with(|run| {
            assert_eq!(next_due(run, 249, Some(249)), Some(0));
            assert_eq!(next_due(run, 349, Some(349)), Some(100));
            assert_eq!(next_due(run, 450, Some(450)), Some(300));
            assert_eq!(run.tally.errors.unsent, 1);
        });
    }

    #[test]
    fn the_warm_up_begins_requests_that_are_not_asked_for() {
        warming_up(250, Amount::Count(2), |run| {
            for began in [0, 100, 200] {
                assert_eq!(next_due(run, began + 20, Some(0)), Some(began));
            }
            assert_eq!((run.tally.requests.asked, run.tally.is_spent()), (0, false));
            assert_eq!(run.tally.lag.summary().count, 0);
            run.advance_phase(250, 0);
            assert_eq!(next_due(run, 320, Some(0)), Some(300));
            assert_eq!(next_due(run, 420, Some(0)), Some(400));
            assert_eq!(next_due(run, 520, Some(0)), None);
            assert_eq!((run.tally.requests.asked, run.tally.is_spent()), (2, true));
            assert_eq!(run.tally.lag.summary().count, 2);
        });
    }

    #[test]
    fn what_the_warm_up_left_waiting_is_sent_or_lost_and_not_counted() {
        let time = Amount::For(Duration::from_nanos(200));
        warming_up(250, time, |run| {
            // No place for anything until measuring has begun.
            assert_eq!(next_due(run, 240, None), None);
            run.advance_phase(250, 0);
            assert_eq!(next_due(run, 250, None), None);
            // That of 0 never began; 100 and 200 begin late.
            assert_eq!(
                (run.tally.errors.total, run.tally.warmup_errors.unsent),
                (0, 1)
            );
            assert_eq!(next_due(run, 260, Some(255)), Some(100));
            assert_eq!(next_due(run, 260, Some(255)), Some(200));
            assert_eq!(run.tally.requests, RequestCounts::default());
            assert_eq!(run.tally.lag.summary().count, 0);
            assert_eq!(next_due(run, 300, Some(255)), Some(300));
            assert_eq!(next_due(run, 400, Some(255)), Some(400));
            // The end of the time is no longer in it.
            assert!(!run.tally.has_due(450));
            assert_eq!(next_due(run, 500, Some(255)), None);
            assert_eq!(
                (run.tally.requests.asked, run.tally.lag.summary().count),
                (2, 2)
            );
        });
        // A count begins with the one that waits.
        warming_up(150, Amount::Count(2), |run| {
            assert_eq!(next_due(run, 10, Some(0)), Some(0));
            run.advance_phase(150, 0);
            assert_eq!(next_due(run, 160, Some(155)), Some(100));
            assert_eq!(next_due(run, 200, Some(155)), Some(200));
            assert_eq!((run.tally.requests.asked, run.tally.is_spent()), (2, true));
        });
    }

    #[test]
    fn there_has_been_room_since_it_came_back() {
        let mut room = WindowRoom::default();
        assert_eq!(room.since(true, 5), Some(0));
        assert_eq!((room.since(false, 6), room.since(false, 7)), (None, None));
        assert_eq!(
            (room.since(true, 7), room.since(true, 9)),
            (Some(7), Some(7))
        );
    }
}
