//! What `hold` has held, looked at when its time is over: by the kernel, and by the service where that is asked.

use crate::load::drive::connections::ConnectionStage;
use crate::load::drive::requests::Driver;
use crate::load::drive::start_times::Start;
use crate::load::drive::streams::Streams;
use crate::load::measure::failures::FailureKind;
use crate::load::net::standing::{Standing, standings};
use crate::load::plan::mode::Mode;
use crate::load::run::outcome::RollCall;
use crate::load::run::tally::Phase;

impl Driver<'_> {
    /// Looks at each connection once, when nothing is measured any more. One that the service is to answer, and that is
    /// not answered within the timeout, has failed; where it is not asked, one that it has not accepted or does not know.
    pub(super) fn call_roll(&mut self, now: u64) {
        let is_time = self.run.plan.mode == Mode::Hold && self.run.phase == Phase::Draining;
        if !is_time || self.run.roll_call().is_some() {
            return;
        }
        let held: Vec<usize> = self.connections.open_ones().collect();
        let streams = held.iter().filter_map(|index| self.connections.get(*index));
        let streams = streams.map(|conn| &conn.stream);
        // A kernel without this tells nothing.
        let standings = standings(streams, self.connections.dialer.target()).ok();
        self.run
            .call_roll(roll_call(held.len(), standings.as_deref()), now);
        if self.run.plan.asks_at_end {
            return self.ask_all(&held);
        }
        let standings = standings.unwrap_or_default();
        for (index, standing) in held.into_iter().zip(standings) {
            let kind = match standing {
                Standing::Waiting => FailureKind::NotAccepted,
                Standing::Gone => FailureKind::Forgotten,
                Standing::Elsewhere | Standing::Accepted | Standing::Broken => continue,
            };
            self.fail(index, kind.into());
        }
    }

    /// A message on each; those that are not answered leave.
    fn ask_all(&mut self, held: &[usize]) {
        for index in held {
            // A greeting that nobody has read yet is no answer.
            let read = self.read(*index, true);
            self.settle(*index, read);
            let start = Start::at(self.run.watch.nanos());
            if let Some(conn) = self.connections.get_mut(*index) {
                conn.stage = ConnectionStage::Active;
            }
            let asked = self.ask_taken(*index, 1, start);
            self.settle(*index, asked);
        }
    }

    /// Whatever is left was answered, where it was asked.
    pub(super) fn end_roll_call(&mut self) {
        let answered = self.run.plan.asks_at_end.then_some(self.connections.open);
        if let Some(roll) = self.run.roll_call() {
            roll.answered = answered;
        }
    }
}

fn roll_call(connected: usize, standings: Option<&[Standing]>) -> RollCall {
    use Standing::{Accepted, Broken, Elsewhere, Gone, Waiting};
    let count = |is_so: fn(&Standing) -> bool| {
        standings.map(|all| all.iter().filter(|one| is_so(one)).count())
    };
    // Of another machine it is not known.
    let is_here = standings.is_some_and(|all| all.iter().any(|one| *one != Elsewhere));
    let here = |of: Option<usize>| of.filter(|_| is_here);
    RollCall {
        connected,
        established: count(|one| *one != Broken),
        accepted: here(count(|one| *one == Accepted)),
        waiting: here(count(|one| *one == Waiting)),
        gone: here(count(|one| *one == Gone)),
        answered: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_on_another_machine_is_not_known() {
        use Standing::{Accepted, Broken, Elsewhere, Gone, Waiting};
        let unknown = RollCall {
            connected: 2,
            ..RollCall::default()
        };
        assert_eq!(roll_call(2, None), unknown);
        let elsewhere = RollCall {
            established: Some(2),
            ..unknown
        };
        assert_eq!(roll_call(2, Some(&[Elsewhere; 2])), elsewhere);
        let here = RollCall {
            connected: 6,
            established: Some(5),
            accepted: Some(2),
            waiting: Some(1),
            gone: Some(2),
            answered: None,
        };
        let all = [Accepted, Gone, Waiting, Accepted, Broken, Gone];
        assert_eq!(roll_call(6, Some(&all)), here);
    }
}
