//! The highest rate at which objectives hold.
//!
//! Each probe is a run in the open model, where a rate that is too high shows: requests pile up, and
//! their latency counts from when they were meant to begin. No two probes give the same figures, so a
//! rate that failed is retried once before it counts as too high, and the highest that held is confirmed
//! at the end; if it fails then, a slightly lower one is.
//!
//! A rate holds only if the backlog does not grow. What was in flight as measuring began is no excuse for what is at its end,
//! and what grew in one probe at a rate is added to what grows in the next. Behind a probe that failed, the server is
//! asked one request at a time until it has done what it owed: else the next probe would begin with that queue.

use std::time::Duration;

use serde::Serialize;

use crate::bench::study::objective::Objective;
use crate::load::measure::failures::Errors;
use crate::load::measure::figures::round;
use crate::load::measure::histogram::Summary;
use crate::load::plan::Plan;
use crate::load::plan::error::LoadError;
use crate::load::plan::limits::RATE_MAX;
use crate::load::plan::mode::{Amount, Arrivals, Mode, ModeName, Model};
use crate::load::run::Watcher;
use crate::load::run::report::{Crowded, Report, SCHEMA};

/// When the answer is exact enough: the lowest rate that failed is at most this much above it.
const PRECISION: f64 = 1.05;
/// As many probes at the most to find a rate …
const PROBES_MAX: usize = 40;
/// … and so many more, with those that were not needed for that, to see it hold again.
const CONFIRMATIONS_MAX: usize = 10;
/// A probe of fewer requests cannot tell keeping up from falling behind: no lower rate is tried.
const REQUESTS_MIN: f64 = 100.0;
/// A backlog may grow by this share of what was asked, or, where that is less, by what chance does at the most that a server
/// can do: the root of how many were asked.
const GROWN: f64 = 0.02;
/// A server that owes nothing takes at most so many times as long for one request as with all connections busy …
const DRAINED: f64 = 2.0;
/// … or so many microseconds.
const DRAINED_US: f64 = 1_000.0;
/// It is asked at most so often whether it has done what it owed.
const DRAINS_MAX: usize = 20;

/// What was found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Found {
    /// [`SCHEMA`].
    pub schema: u32,
    /// What a request was.
    pub mode: ModeName,
    /// The server, as it was given.
    pub endpoint: String,
    /// How many connections there were.
    pub connections: usize,
    /// What was to hold.
    pub objectives: Vec<String>,
    /// Why nothing was searched for: what failed in a first run, in which no answer came.
    pub unanswered: Option<Errors>,
    /// Whether it was ended before its time: then all this is as of then.
    pub interrupted: bool,
    /// The highest rate that held, and held again, requests a second; none when none did.
    pub rate_per_s: Option<f64>,
    /// The highest that held once, and has not failed since.
    pub held_per_s: Option<f64>,
    /// The lowest rate that failed; none where all held up to the highest that was tried.
    pub failed_per_s: Option<f64>,
    /// The lowest rate that could be tried: a probe of its length would have too few requests at less.
    pub least_per_s: f64,
    /// Whether the generator was the limit in the lowest probe that failed: the server may do more.
    pub generator_was_the_limit: bool,
    /// What was tried, in order.
    pub probes: Vec<Probe>,
    /// The run at the rate that was found.
    pub report: Option<Report>,
}

/// One rate that was tried.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Probe {
    /// Requests a second, as they were meant to come.
    pub rate_per_s: f64,
    /// Which times these were, for `--seed`; none where none is random.
    pub seed: Option<u64>,
    /// Answers a second.
    pub answered_per_s: f64,
    /// From the intended beginning of a request.
    pub latency_us: Summary,
    /// What did not hold; nothing when all did.
    pub broken: Vec<String>,
    /// How many requests were asked.
    pub asked: u64,
    /// By how many requests the backlog grew: so many more waited for an answer at the end of it than at the beginning, less those
    /// that the least latency explains.
    pub backlog: f64,
    /// That there were too few connections, if there were.
    pub crowded: Option<Crowded>,
    /// Whether the generator was the limit.
    pub generator_was_the_limit: bool,
}

/// Searches for the highest rate at which all `objectives` hold. `plan` says everything but the model;
/// each probe takes its amount of time.
pub fn find_rate(
    plan: &Plan,
    arrivals: Arrivals,
    objectives: &[Objective],
    watcher: Watcher<'_>,
) -> Result<Found, LoadError> {
    let mut measure = |plan: &Plan| crate::load::run_watched(plan, watcher);
    let search = Search::of(plan, arrivals, objectives, &mut measure);
    search.find()
}

/// How far a search is.
struct Sought {
    bounds: Bounds,
    /// What failed where no answer came at all.
    unanswered: Option<Errors>,
    /// The rate that held again, and its run.
    best: Option<(f64, Report)>,
}

struct Search<'s> {
    plan: &'s Plan,
    arrivals: Arrivals,
    objectives: &'s [Objective],
    /// Makes one run.
    measure: &'s mut dyn FnMut(&Plan) -> Result<Report, LoadError>,
    probes: Vec<Probe>,
    /// How long a request takes at the most where the server owes nothing else.
    usual_us: f64,
    /// Whether it may still owe what a probe has asked.
    owes: bool,
}

impl Search<'_> {
    /// The search, or as much of it as there was when it was interrupted.
    fn find(mut self) -> Result<Found, LoadError> {
        // Where requests are counted, a low rate only takes longer.
        let least = match self.plan.amount {
            Amount::For(time) => round(REQUESTS_MIN / time.as_secs_f64().max(1e-3), 1),
            Amount::Count(_) => 0.1,
        };
        let mut sought = Sought {
            bounds: Bounds::around(least, least),
            unanswered: None,
            best: None,
        };
        let interrupted = match self.seek(least, &mut sought) {
            Ok(()) => false,
            Err(LoadError::Interrupted) => true,
            Err(error) => return Err(error),
        };
        let (rate_per_s, report) = sought.best.unzip();
        let failed_per_s = sought.bounds.failed;
        let mut probes = self.probes.iter();
        Ok(Found {
            schema: SCHEMA,
            mode: self.plan.mode.name(),
            endpoint: self.plan.endpoint.to_string(),
            connections: self.plan.connections,
            unanswered: sought.unanswered,
            objectives: self.objectives.iter().map(Objective::to_string).collect(),
            interrupted,
            rate_per_s,
            held_per_s: sought.bounds.held,
            failed_per_s,
            least_per_s: least,
            generator_was_the_limit: probes.any(|probe| {
                // The same rate may have held before.
                Some(probe.rate_per_s) == failed_per_s
                    && !probe.broken.is_empty()
                    && probe.generator_was_the_limit
            }),
            probes: self.probes,
            report,
        })
    }

    fn seek(&mut self, least: f64, sought: &mut Sought) -> Result<(), LoadError> {
        // The rate of the closed model is near what the server can do at most.
        let closed = self.closed()?;
        sought.unanswered = nothing_but_errors(&closed);
        sought.bounds = Bounds::around(closed.answered_per_s(), least);
        let bounds = &mut sought.bounds;
        while self.probes.len() < PROBES_MAX
            && sought.unanswered.is_none()
            && let Some(rate) = bounds.next()
        {
            // A rate that fails once may have met a bad moment of the machine.
            let holds = self.probe(rate)?.is_some() || self.probe(rate)?.is_some();
            bounds.tell(rate, holds);
        }
        // The last that held, held once; it must hold again, or a little less must.
        let mut rate = bounds.held;
        while let Some(again) = rate
            && self.probes.len() < PROBES_MAX + CONFIRMATIONS_MAX
        {
            if let Some(report) = self.probe(again)? {
                sought.best = Some((again, report));
                break;
            }
            bounds.tell(again, false);
            rate = bounds.below(again);
        }
        Ok(())
    }

    /// What the server does where each request waits for the one before it.
    fn closed(&mut self) -> Result<Report, LoadError> {
        let amount = match self.plan.amount {
            Amount::For(time) => Amount::For(time.min(Duration::from_secs(1))),
            count => count,
        };
        let plan = self.with(Model::Closed, amount);
        let report = self.run(&plan)?;
        // No number where there was no answer.
        self.usual_us = DRAINED_US.max(DRAINED * report.latency_us.p50);
        Ok(report)
    }

    /// Waits until the server has done what it owes: a request then takes no longer than usual.
    fn drain(&mut self) -> Result<(), LoadError> {
        let mut plan = self.with(Model::Closed, Amount::Count(1));
        plan.warmup = Duration::ZERO;
        if !matches!(plan.mode, Mode::Fanout { .. }) {
            plan.connections = 1;
        }
        for _ in 0..DRAINS_MAX {
            let report = self.run(&plan)?;
            // What fails at once is no queue.
            let took = report.latency_us;
            let is_late = took.count > 0 && took.max > self.usual_us;
            self.owes = is_late || report.errors.timeout > 0;
            if !self.owes {
                break;
            }
        }
        Ok(())
    }

    fn with(&self, model: Model, amount: Amount) -> Plan {
        // Arrivals of its own for each probe: else all would see the same bursts.
        Plan {
            model,
            amount,
            ..self.plan.with_seed_after(self.probes.len())
        }
    }

    fn run(&mut self, plan: &Plan) -> Result<Report, LoadError> {
        let report = (self.measure)(plan)?;
        if report.interrupted {
            return Err(LoadError::Interrupted);
        }
        Ok(report)
    }

    /// What one run at this rate saw, if all objectives held.
    fn probe(&mut self, rate: f64) -> Result<Option<Report>, LoadError> {
        if self.owes {
            self.drain()?;
        }
        let arrivals = self.arrivals;
        let plan = self.with(Model::Open { rate, arrivals }, self.plan.amount);
        let report = self.run(&plan)?;
        let mut broken: Vec<String> = self
            .objectives
            .iter()
            .filter(|objective| !objective.holds(objective.metric.of(&report)))
            .map(Objective::to_string)
            .collect();
        if report.has_errors() {
            broken.push("no errors".to_owned());
        }
        let backlog = grown(&report);
        if !self.kept_up(rate, backlog, report.requests.asked) {
            broken.push("no backlog".to_owned());
        }
        if self.owes {
            broken.push("no backlog of the probe before".to_owned());
        }
        let held = broken.is_empty();
        self.owes = !held;
        self.probes.push(Probe {
            asked: report.requests.asked,
            backlog: round(backlog, 1),
            crowded: report.crowded,
            rate_per_s: rate,
            seed: report.schedule.and_then(|schedule| schedule.seed),
            answered_per_s: report.answered_per_s(),
            latency_us: report.latency_us,
            broken,
            generator_was_the_limit: report.generator.was_the_limit,
        });
        Ok(held.then_some(report))
    }

    /// Whether the answers came as fast as the requests, in this probe and in all that held at this rate together: a server
    /// that only falls behind slowly fails no percentile at first.
    fn kept_up(&self, rate: f64, backlog: f64, asked: u64) -> bool {
        let before = self.probes.iter();
        let before = before.filter(|probe| probe.rate_per_s == rate && probe.broken.is_empty());
        let (all, all_asked) = before.fold((backlog, asked), |(all, sum), probe| {
            (all + probe.backlog, sum + probe.asked)
        });
        backlog <= may_grow(asked) && all <= may_grow(all_asked)
    }

    fn of<'s>(
        plan: &'s Plan,
        arrivals: Arrivals,
        objectives: &'s [Objective],
        measure: &'s mut dyn FnMut(&Plan) -> Result<Report, LoadError>,
    ) -> Search<'s> {
        Search {
            plan,
            arrivals,
            objectives,
            measure,
            probes: Vec::new(),
            usual_us: 0.0,
            owes: false,
        }
    }
}

/// By how many requests the backlog grew while measuring, less those that the least latency explains.
fn grown(report: &Report) -> f64 {
    let requests = report.requests;
    // What was in flight as measuring began was answered meanwhile, and so takes the place of as much that is at its end. That
    // is all of it, but where a warm-up was too short to have as many in flight as there must be.
    let before = requests.came.saturating_sub(requests.answered) as f64;
    let least = report.spectrum.first().map_or(0.0, |point| point.us);
    let in_flight = report.answered_per_s() * least / 1e6;
    requests.asked as f64 - requests.came as f64 - (in_flight - before).max(0.0)
}

/// By how many it may grow where so many are asked.
fn may_grow(asked: u64) -> f64 {
    let asked = asked as f64;
    1.0 + (asked * GROWN).min(asked.sqrt())
}

/// What failed in a run in which nothing else happened.
fn nothing_but_errors(report: &Report) -> Option<Errors> {
    let requests = report.requests;
    let errors = report.errors.and(&report.warmup_errors);
    let answers = requests.came + requests.answered + requests.late;
    (answers == 0 && errors.total > 0).then_some(errors)
}

/// Between which rates the answer lies.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Bounds {
    start: f64,
    least: f64,
    held: Option<f64>,
    failed: Option<f64>,
}

impl Bounds {
    fn around(start: f64, least: f64) -> Self {
        Self {
            start: start.clamp(least, RATE_MAX),
            least,
            held: None,
            failed: None,
        }
    }

    /// What to try next; nothing when the answer is exact enough.
    fn next(&self) -> Option<f64> {
        let next = match (self.held, self.failed) {
            // Half of what a server can do at most is a rate that most can keep.
            (None, None) => (self.start / 2.0).max(self.least),
            (Some(held), None) => held * 2.0,
            (None, Some(failed)) if failed > self.least => (failed / 4.0).max(self.least),
            (None, Some(_)) => return None,
            (Some(held), Some(failed)) if failed / held <= PRECISION => return None,
            (Some(held), Some(failed)) => (held * failed).sqrt(),
        };
        let next = round(next, 1);
        ((self.least..=RATE_MAX).contains(&next)
            && Some(next) != self.held
            && Some(next) != self.failed)
            .then_some(next)
    }

    fn tell(&mut self, rate: f64, held: bool) {
        if held {
            self.held = Some(rate);
        } else {
            self.failed = Some(rate);
        }
    }

    /// What to try where `rate` held once, and then did not; nothing below the least.
    fn below(&self, rate: f64) -> Option<f64> {
        // Of one decimal: where that is the same rate again, the next.
        let next = round(rate / PRECISION, 1).min(round(rate - 0.1, 1));
        (rate > self.least).then(|| next.max(self.least))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;
    use crate::load::measure::clock::nanos;
    use crate::load::measure::cpu::CpuTime;
    use crate::load::measure::failures::FailureKind;
    use crate::load::measure::histogram::{Latencies, Quantile};
    use crate::load::plan::target::Endpoint;
    use crate::load::run::generator::{Generator, Pauses};
    use crate::load::run::report::Held;
    use crate::load::run::schedule::Schedule;
    use crate::load::run::tally::{Phase, Tally};

    fn search(start: f64, limit: f64) -> (Bounds, usize) {
        let mut bounds = Bounds::around(start, 0.1);
        let mut tries = 0;
        while let Some(rate) = bounds.next() {
            bounds.tell(rate, rate <= limit);
            tries += 1;
            assert!(tries <= PROBES_MAX, "{bounds:?}");
        }
        (bounds, tries)
    }

    #[test]
    fn the_bounds_close_in_on_any_limit() {
        for start in [0.0, 1.0, 100.0, 50_000.0, f64::INFINITY] {
            for limit in [0.5, 3.0, 777.0, 12_345.0, 2_000_000.0] {
                let (bounds, tries) = search(start, limit);
                let (held, failed) = (bounds.held.unwrap(), bounds.failed.unwrap());
                assert!(
                    held <= limit && limit < failed,
                    "{start} {limit} {bounds:?}"
                );
                assert!(
                    failed / held <= PRECISION || failed - held < 0.11,
                    "{bounds:?}"
                );
                assert!(tries <= 35, "{start} {limit}: {tries}");
            }
        }
    }

    #[test]
    fn a_limit_beyond_all_rates_ends_too() {
        let (bounds, _) = search(1_000.0, f64::INFINITY);
        assert_eq!(bounds.failed, None);
        assert!(bounds.held.unwrap() > RATE_MAX / 2.0);
        let (bounds, _) = search(1_000.0, 0.0);
        assert_eq!((bounds.held, bounds.failed), (None, Some(0.1)));
    }

    /// What a run at `rate` sees, if the server answers all that is asked; `after` is what else there was.
    fn seen(plan: &Plan, after: impl FnOnce(&mut Report)) -> Report {
        let mut report = Report::before(plan);
        (report.requests.asked, report.requests.came) = (1_000, 1_000);
        (report.requests.answered, report.elapsed_s) = (1_000, 1.0);
        after(&mut report);
        report
    }

    /// Searches by what each run sees: that of the closed model, then each probe by its rate and by how often
    /// that rate was tried before.
    fn searched(
        amount: Amount,
        closed: f64,
        mut script: impl FnMut(f64, usize, &mut Report),
    ) -> Found {
        let mut plan = Plan::new(Endpoint::Unix("/x".into()), Mode::Echo { depth: 1 });
        plan.amount = amount;
        let mut tried: Vec<f64> = Vec::new();
        let mut measure = |plan: &Plan| {
            let Model::Open { rate, .. } = plan.model else {
                return Ok(seen(plan, |report| {
                    report.requests.came = closed as u64;
                    report.latency_us.count = 1;
                }));
            };
            let before = tried.iter().filter(|known| **known == rate).count();
            tried.push(rate);
            Ok(seen(plan, |report| script(rate, before, report)))
        };
        let objectives = ["rate>=0".parse().unwrap()];
        let search = Search::of(&plan, Arrivals::Constant, &objectives, &mut measure);
        search.find().unwrap()
    }

    fn fails(report: &mut Report) {
        report.errors.count(FailureKind::Timeout);
    }

    fn tried(found: &Found, rate: f64) -> usize {
        let rates = found.probes.iter().map(|probe| probe.rate_per_s);
        rates.filter(|known| *known == rate).count()
    }

    const COUNT: Amount = Amount::Count(1_000);
    const SECOND: Amount = Amount::For(Duration::from_secs(1));

    #[test]
    fn a_rate_that_held_once_and_not_again_is_too_high_and_is_not_tried_a_third_time() {
        // All up to 1,000 holds, but nothing above 600 a second time.
        let found = searched(SECOND, 1_500.0, |rate, before, report| {
            if rate > 1_000.0 || before > 0 && rate > 600.0 {
                fails(report);
            }
        });
        let confirmed = found
            .probes
            .iter()
            .rposition(|probe| probe.broken.is_empty());
        assert_eq!(confirmed, Some(found.probes.len() - 1), "{found:?}");
        // Each that failed so is at most 5 % above the next, down to one that nothing was known of.
        let rates: Vec<f64> = found.probes.iter().map(|probe| probe.rate_per_s).collect();
        let first = rates
            .iter()
            .rposition(|rate| tried(&found, *rate) == 2)
            .unwrap();
        for pair in rates[first..].windows(2) {
            assert_eq!(pair[1], round(pair[0] / PRECISION, 1), "{rates:?}");
            assert!(tried(&found, pair[1]) == 1, "{rates:?}");
        }
        let [.., failed, last] = rates.as_slice() else {
            panic!("{rates:?}");
        };
        assert!(rates[first] > 950.0 && *failed > 600.0, "{rates:?}");
        assert_eq!(found.rate_per_s, Some(*last));
        assert_eq!(found.failed_per_s, Some(*failed));
        let schedule = found.report.unwrap().schedule.unwrap();
        assert_eq!(schedule.rate_per_s, *last);
    }

    #[test]
    fn the_rate_that_is_found_held_twice() {
        let found = searched(SECOND, 1_500.0, |rate, before, report| {
            report.requests.late = before as u64;
            if rate > 1_000.0 {
                fails(report);
            }
        });
        let rate = found.rate_per_s.unwrap();
        // What is shown of it is the second time.
        let late = found.report.as_ref().map(|report| report.requests.late);
        assert_eq!(late, Some(1));
        let failed = found.failed_per_s.unwrap();
        assert_eq!((tried(&found, rate), tried(&found, failed)), (2, 2));
        assert!(rate <= 1_000.0 && 1_000.0 < failed, "{found:?}");
    }

    #[test]
    fn a_rate_that_fails_once_in_the_search_is_tried_once_more() {
        let found = searched(SECOND, 1_500.0, |rate, before, report| {
            if rate > 1_000.0 || before == 0 {
                fails(report);
            }
        });
        let rate = found.rate_per_s.unwrap();
        assert!((950.0..=1_000.0).contains(&rate), "{found:?}");
        // It failed, held, and was confirmed.
        assert_eq!(tried(&found, rate), 3, "{found:?}");
    }

    #[test]
    fn what_never_holds_again_is_not_found_and_the_search_ends() {
        for (amount, closed, limit) in [
            (SECOND, 1_500.0, 1_000.0),
            (SECOND, 300.0, 140.0),
            (COUNT, 1_500.0, 1_000.0),
            (COUNT, 3.0, 0.9),
            (COUNT, 0.0, 0.3),
        ] {
            // With the first confirmation nothing holds any more.
            let mut confirmed = None;
            let found = searched(amount, closed, |rate, before, report| {
                if rate <= limit && before > 0 {
                    confirmed.get_or_insert(rate);
                }
                if rate > limit || confirmed.is_some() {
                    fails(report);
                }
            });
            assert_eq!(
                (found.rate_per_s, &found.report),
                (None, &None),
                "{found:?}"
            );
            let rates: Vec<f64> = found.probes.iter().map(|probe| probe.rate_per_s).collect();
            let is_first = |at: &usize| Some(rates[*at]) == confirmed;
            let first = (0..rates.len()).filter(is_first).nth(1).unwrap();
            let falls = |pair: &[f64]| pair[1] < pair[0];
            assert!(rates[first..].windows(2).all(falls), "{rates:?}");
            // It ends where no less can be tried, or where it has tried enough.
            let last = rates.last().copied();
            assert_eq!(found.failed_per_s, last);
            let most = PROBES_MAX + CONFIRMATIONS_MAX;
            assert!(rates.len() <= most, "{rates:?}");
            assert!(
                last == Some(found.least_per_s) || rates.len() == most,
                "{rates:?}"
            );
        }
    }

    #[test]
    fn a_server_that_holds_nothing_is_asked_twice_at_the_least_rate_and_no_more() {
        let found = searched(SECOND, 1_500.0, |_, _, report| fails(report));
        assert_eq!((found.rate_per_s, found.failed_per_s), (None, Some(100.0)));
        assert_eq!(
            (tried(&found, 100.0), found.probes.len()),
            (2, 6),
            "{found:?}"
        );
    }

    #[test]
    fn the_generator_was_the_limit_where_that_probe_failed() {
        // At the highest rate that holds once it was, when it held; when it failed then, it was not.
        let limited = |in_failing: bool| {
            searched(SECOND, 1_500.0, move |rate, before, report| {
                let fails_now = rate > 1_000.0 || before > 0 && rate > 900.0;
                if fails_now {
                    fails(report);
                }
                report.generator.was_the_limit = fails_now == in_failing;
            })
        };
        assert!(limited(true).generator_was_the_limit);
        assert!(!limited(false).generator_was_the_limit);
    }

    #[test]
    fn what_fails_in_the_warm_up_of_a_probe_breaks_it() {
        let found = searched(SECOND, 1_500.0, |rate, _, report| {
            if rate > 1_000.0 {
                report.warmup_errors.count(FailureKind::Reset);
            }
        });
        let broken = found
            .probes
            .iter()
            .filter(|probe| probe.rate_per_s > 1_000.0);
        assert!(broken.clone().count() > 0);
        for probe in broken {
            assert_eq!(probe.broken, ["no errors"], "{found:?}");
        }
    }

    #[test]
    fn a_search_that_is_interrupted_tells_what_it_has_found() {
        let plan = Plan::new(Endpoint::Unix("/x".into()), Mode::Echo { depth: 1 });
        for at in [0_usize, 1, 5] {
            let mut runs = 0;
            let mut measure = |plan: &Plan| {
                runs += 1;
                Ok(seen(plan, |report| report.interrupted = runs > at))
            };
            let search = Search::of(&plan, Arrivals::Constant, &[], &mut measure);
            let found = search.find().unwrap();
            assert_eq!(runs, at + 1);
            // The run that was interrupted is left out.
            assert!(found.interrupted && found.rate_per_s.is_none(), "{found:?}");
            assert_eq!(found.probes.len(), at.saturating_sub(1), "{found:?}");
            let held = found.probes.last().map(|probe| probe.rate_per_s);
            assert_eq!(found.held_per_s, held, "{found:?}");
        }
    }

    #[test]
    fn keeping_up_exactly_as_far_as_it_must_is_keeping_up() {
        let plan = Plan::new(Endpoint::Unix("/x".into()), Mode::Echo { depth: 1 });
        let kept_up = |report: &Report| grown(report) <= may_grow(report.requests.asked);
        let came = |came: u64, asked: u64| {
            kept_up(&seen(&plan, |report| {
                report.requests.asked = asked;
                (report.requests.came, report.requests.answered) = (came, came);
            }))
        };
        // 2 %, and one.
        assert!(came(97, 100) && !came(96, 100));
        assert!(came(979, 1_000) && !came(978, 1_000));
        // Of many, what chance does: the root.
        assert!(came(9_899, 10_000) && !came(9_898, 10_000));
        assert!(came(998_999, 1_000_000) && !came(998_998, 1_000_000));
        // More may come than were asked for: those of the warm-up.
        assert!(came(120, 100) && came(0, 0) && came(0, 1) && !came(0, 2));
        // A tenth of a second in flight is not a backlog where the least latency is as long.
        let in_flight = |came: u64, least_us: f64| {
            kept_up(&seen(&plan, |report| {
                report.requests.asked = 1_000;
                (report.requests.came, report.requests.answered) = (came, came);
                report.spectrum = vec![Quantile {
                    share: 0.0,
                    us: least_us,
                }];
            }))
        };
        assert!(in_flight(900, 100_000.0) && !in_flight(888, 100_000.0) && !in_flight(900, 0.0));
        // Where as many were in flight before, which were answered meanwhile, they are no excuse.
        let twice = seen(&plan, |report| {
            report.requests.asked = 1_000;
            (report.requests.came, report.requests.answered) = (900, 800);
            report.spectrum = vec![Quantile {
                share: 0.0,
                us: 100_000.0,
            }];
        });
        assert!(!kept_up(&twice));
        assert_eq!(grown(&twice), 100.0);
    }

    #[test]
    fn what_grew_in_a_probe_is_added_to_what_grows_in_the_next_at_that_rate() {
        let found = |growth: u64| {
            searched(SECOND, 1_500.0, move |rate, _, report| {
                (report.requests.asked, report.requests.came) = (10_000, 10_000 - growth);
                report.requests.answered = report.requests.came;
                if rate > 1_000.0 {
                    fails(report);
                }
            })
        };
        // Of 10,000 by 101 at most, and of 20,000 by 142.
        let held = found(71);
        assert!(held.rate_per_s.is_some() && held.probes.iter().all(|probe| probe.backlog == 71.0));
        let grows = found(72);
        let failed = grows.failed_per_s.unwrap();
        let of_it = grows
            .probes
            .iter()
            .filter(|probe| probe.rate_per_s == failed);
        let broken: Vec<&[String]> = of_it.map(|probe| probe.broken.as_slice()).collect();
        assert_eq!(broken, [&[][..], &["no backlog".to_owned()]], "{grows:?}");
        // Alone it grows by less than it may.
        assert!(
            grows.rate_per_s.is_some_and(|rate| rate < failed) && held.rate_per_s == Some(failed)
        );
    }

    #[test]
    fn where_nothing_is_answered_nothing_is_searched_for() {
        let plan = Plan::new(Endpoint::Unix("/x".into()), Mode::Echo { depth: 1 });
        let mut runs = 0;
        let mut measure = |plan: &Plan| {
            runs += 1;
            let mut report = Report::before(plan);
            report.errors.count(FailureKind::Refused);
            report.warmup_errors.count(FailureKind::Refused);
            Ok(report)
        };
        let found = Search::of(&plan, Arrivals::Constant, &[], &mut measure)
            .find()
            .unwrap();
        assert_eq!(
            (found.rate_per_s, found.failed_per_s, found.probes.len()),
            (None, None, 0)
        );
        assert_eq!(
            found
                .unanswered
                .map(|errors| (errors.total, errors.refused)),
            Some((2, 2))
        );
        assert_eq!(runs, 1);
    }

    /// A server of which everything is known: it answers so many requests at once, each in the same time and in the
    /// order in which they came, whoever still waits for that. No clock passes but this one.
    struct Simulated {
        now: u64,
        /// When each place is free, the first first: what comes later is answered later.
        places: VecDeque<u64>,
        service: u64,
        /// By how much the server was behind at the beginning of each run of the open model.
        behind: Vec<u64>,
    }

    impl Simulated {
        fn answer(&mut self, came: u64) -> u64 {
            let first = self.places.pop_front().unwrap();
            let done = came.max(first) + self.service;
            self.places.push_back(done);
            done
        }

        fn behind(&self) -> u64 {
            self.places[0].saturating_sub(self.now)
        }

        fn run(&mut self, plan: &Plan) -> Report {
            let mut tally = Tally::new(plan);
            let start = self.now;
            match (plan.model, plan.amount) {
                (Model::Open { rate, arrivals }, Amount::For(time)) => {
                    self.behind.push(self.behind());
                    let mut schedule = Schedule::new(arrivals, rate, plan.seed, start);
                    let since = start + nanos(plan.warmup);
                    let until = since + nanos(time);
                    let mut answers = Vec::new();
                    while schedule.next() < until {
                        let began = schedule.next();
                        answers.push((began, self.answer(began)));
                        schedule.advance();
                    }
                    tally.begin(since, None);
                    answers.sort_by_key(|(_, came)| *came);
                    for (began, came) in answers {
                        tally.take_due(Phase::Measured, began);
                        // The generator goes on soon after the end, and forgets what it has not heard by then.
                        match came < until + nanos(plan.timeout) {
                            true => tally.answered(began, came, 1),
                            false => tally.lost(began),
                        }
                    }
                    self.now = until + nanos(plan.timeout);
                }
                (Model::Closed, Amount::Count(count)) => {
                    tally.begin(start, None);
                    for _ in 0..count {
                        tally.take(Phase::Measured, 1);
                        let came = self.answer(self.now);
                        tally.answered(self.now, came, 1);
                        self.now = came;
                    }
                }
                (_, Amount::For(time)) => {
                    // As many as there are places, again and again.
                    tally.begin(start, None);
                    while self.now < start + nanos(time) {
                        let count = self.places.len();
                        tally.take(Phase::Measured, count);
                        let began = self.now;
                        self.now += self.service;
                        tally.answered(began, self.now, count as u64);
                    }
                    self.places.iter_mut().for_each(|free| *free = self.now);
                }
                (Model::Open { .. }, Amount::Count(_)) => unreachable!("a probe takes its time"),
            }
            let held = Held { asked: 1, held: 1 };
            let none = Latencies::new();
            let idle = Generator::new(CpuTime::default(), 1, 0, &none, &none, Pauses::default());
            let elapsed = tally.end();
            Report::new(plan, tally, held, elapsed, idle)
        }
    }

    #[test]
    fn no_more_is_found_than_a_server_of_known_capacity_can_do() {
        let objectives = ["p99<60s".parse().unwrap()];
        let mut plan = Plan::new(Endpoint::Unix("/x".into()), Mode::Echo { depth: 1 });
        plan.timeout = Duration::from_millis(60);
        for (places, service_ms, arrivals) in [
            // 8,000 a second, of which 8,354 were said to hold.
            (400_u32, 50_u32, Arrivals::Constant),
            (400, 50, Arrivals::Poisson),
            (8, 1, Arrivals::Poisson),
        ] {
            let capacity = f64::from(places) * 1e3 / f64::from(service_ms);
            for seed in 0..3 {
                plan.seed = 1_000 * seed;
                let mut server = Simulated {
                    now: 0,
                    places: vec![0; places as usize].into(),
                    service: 1_000_000 * u64::from(service_ms),
                    behind: Vec::new(),
                };
                let mut measure = |plan: &Plan| Ok(server.run(plan));
                let found = Search::of(&plan, arrivals, &objectives, &mut measure)
                    .find()
                    .unwrap();
                let what = format!("{places} {arrivals} {seed}: {found:?}");
                let rate = found.rate_per_s.unwrap();
                assert!((0.9 * capacity..1.01 * capacity).contains(&rate), "{what}");
                for probe in &found.probes {
                    let must_fail = probe.rate_per_s > 1.02 * capacity;
                    assert!(
                        !must_fail || probe.broken.contains(&"no backlog".to_owned()),
                        "{what}"
                    );
                    assert!(
                        !probe
                            .broken
                            .contains(&"no backlog of the probe before".to_owned()),
                        "{what}"
                    );
                }
                // No probe begins with the queue of the one before it, which lasts longer than anybody waits.
                assert!(
                    server.behind.iter().all(|behind| *behind <= 1_000_000 * 50),
                    "{what}"
                );
            }
        }
    }

    #[test]
    fn rates_that_are_exactly_as_far_apart_as_they_may_be_are_near_enough() {
        let next = |held, failed| {
            Bounds {
                start: 1.0,
                least: 0.1,
                held,
                failed,
            }
            .next()
        };
        assert_eq!(next(Some(100.0), Some(105.0)), None);
        assert_eq!(next(Some(100.0), Some(105.1)), Some(102.5));
        // Nothing lies between two rates of one decimal: neither is tried again.
        assert_eq!(next(Some(0.1), Some(0.2)), None);
        assert_eq!(next(Some(0.2), Some(0.3)), None);
        // At the ends there is no other rate to try.
        assert_eq!(next(None, Some(0.1)), None);
        assert_eq!(next(None, Some(0.2)), Some(0.1));
        assert_eq!(next(Some(RATE_MAX), None), None);
        assert_eq!(next(Some(RATE_MAX / 2.0), None), Some(RATE_MAX));
    }
}
