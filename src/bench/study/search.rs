//! The highest rate at which objectives hold.
//!
//! Each probe is a run in the open model, where a rate that is too high shows: requests pile up, and
//! their latency counts from when they were meant to begin. No two probes give the same figures, so a
//! rate that failed is retried once before it counts as too high, and the highest that held is confirmed
//! at the end; if it fails then, a slightly lower one is.

use std::time::Duration;

use serde::Serialize;

use crate::bench::study::objective::Objective;
use crate::load::measure::figures::round;
use crate::load::measure::histogram::Summary;
use crate::load::plan::Plan;
use crate::load::plan::error::LoadError;
use crate::load::plan::limits::RATE_MAX;
use crate::load::plan::mode::{Amount, Arrivals, Model};
use crate::load::run::Watcher;
use crate::load::run::report::{Report, SCHEMA};

/// When the answer is exact enough: the lowest rate that failed is at most this much above it.
const PRECISION: f64 = 1.05;
/// As many probes at the most to find a rate …
const PROBES_MAX: usize = 40;
/// … and so many more, with those that were not needed for that, to see it hold again.
const CONFIRMATIONS_MAX: usize = 10;
/// A probe of fewer requests cannot tell keeping up from falling behind: no lower rate is tried.
const REQUESTS_MIN: f64 = 100.0;
/// A probe must answer this share of what its schedule asked, less what chance does to it.
const KEPT_UP: f64 = 0.98;

/// What was found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Found {
    /// [`SCHEMA`].
    pub schema: u32,
    /// What was to hold.
    pub objectives: Vec<String>,
    /// The highest rate that held, and held again, requests a second; none when none did.
    pub rate_per_s: Option<f64>,
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
    let search = Search {
        plan,
        arrivals,
        objectives,
        measure: &mut |plan| crate::load::run_watched(plan, watcher),
        probes: Vec::new(),
    };
    search.find()
}

struct Search<'s> {
    plan: &'s Plan,
    arrivals: Arrivals,
    objectives: &'s [Objective],
    /// Makes one run.
    measure: &'s mut dyn FnMut(&Plan) -> Result<Report, LoadError>,
    probes: Vec<Probe>,
}

impl Search<'_> {
    fn find(mut self) -> Result<Found, LoadError> {
        // Where requests are counted, a low rate only takes longer.
        let least = match self.plan.amount {
            Amount::For(time) => round(REQUESTS_MIN / time.as_secs_f64().max(1e-3), 1),
            Amount::Count(_) => 0.1,
        };
        // The rate of the closed model is near what the server can do at most.
        let mut bounds = Bounds::around(self.closed_rate()?, least);
        while self.probes.len() < PROBES_MAX
            && let Some(rate) = bounds.next()
        {
            // A rate that fails once may have met a bad moment of the machine.
            let holds = self.probe(rate)?.is_some() || self.probe(rate)?.is_some();
            bounds.tell(rate, holds);
        }
        // The last that held, held once; it must hold again, or a little less must.
        let mut best = None;
        let mut rate = bounds.held;
        while let Some(again) = rate
            && self.probes.len() < PROBES_MAX + CONFIRMATIONS_MAX
        {
            best = self.probe(again)?;
            if best.is_some() {
                break;
            }
            bounds.tell(again, false);
            rate = bounds.below(again);
        }
        let mut probes = self.probes.iter();
        Ok(Found {
            schema: SCHEMA,
            objectives: self.objectives.iter().map(Objective::to_string).collect(),
            rate_per_s: best.as_ref().and(rate),
            failed_per_s: bounds.failed,
            least_per_s: least,
            generator_was_the_limit: probes.any(|probe| {
                // The same rate may have held before.
                Some(probe.rate_per_s) == bounds.failed
                    && !probe.broken.is_empty()
                    && probe.generator_was_the_limit
            }),
            probes: self.probes,
            report: best,
        })
    }

    fn closed_rate(&mut self) -> Result<f64, LoadError> {
        let amount = match self.plan.amount {
            Amount::For(time) => Amount::For(time.min(Duration::from_secs(1))),
            count => count,
        };
        Ok(self.run(Model::Closed, amount)?.answered_per_s())
    }

    fn run(&mut self, model: Model, amount: Amount) -> Result<Report, LoadError> {
        // Arrivals of its own for each probe: else all would see the same bursts.
        let plan = Plan {
            model,
            amount,
            ..self.plan.with_seed_after(self.probes.len())
        };
        let report = (self.measure)(&plan)?;
        if report.interrupted {
            return Err(LoadError::Interrupted);
        }
        Ok(report)
    }

    /// What one run at this rate saw, if all objectives held.
    fn probe(&mut self, rate: f64) -> Result<Option<Report>, LoadError> {
        let arrivals = self.arrivals;
        let report = self.run(Model::Open { rate, arrivals }, self.plan.amount)?;
        let mut broken: Vec<String> = self
            .objectives
            .iter()
            .filter(|objective| !objective.holds(objective.metric.of(&report)))
            .map(Objective::to_string)
            .collect();
        if report.has_errors() {
            broken.push("no errors".to_owned());
        }
        if !kept_up(&report) {
            broken.push("no backlog".to_owned());
        }
        let held = broken.is_empty();
        self.probes.push(Probe {
            rate_per_s: rate,
            seed: report.schedule.and_then(|schedule| schedule.seed),
            answered_per_s: report.answered_per_s(),
            latency_us: report.latency_us,
            broken,
            generator_was_the_limit: report.generator.was_the_limit,
        });
        Ok(held.then_some(report))
    }
}

/// Whether the answers came as fast as the requests: a server that only falls behind slowly fails no
/// percentile at first.
fn kept_up(report: &Report) -> bool {
    let asked = report.requests.asked as f64;
    let came = report.requests.came as f64;
    // At the end of the time some requests are in flight. As many as the least latency explains are no
    // backlog; more than that is a queue.
    let least = report.spectrum.first().map_or(0.0, |point| point.us);
    let in_flight = report.answered_per_s() * least / 1e6;
    asked - came <= asked * (1.0 - KEPT_UP) + in_flight + 1.0
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
    use super::*;
    use crate::load::measure::failures::FailureKind;
    use crate::load::measure::histogram::Quantile;
    use crate::load::plan::mode::Mode;
    use crate::load::plan::target::Endpoint;

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
        report.elapsed_s = 1.0;
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
        let search = Search {
            plan: &plan,
            arrivals: Arrivals::Constant,
            objectives: &["rate>=0".parse().unwrap()],
            measure: &mut |plan| {
                let Model::Open { rate, .. } = plan.model else {
                    return Ok(seen(plan, |report| report.requests.came = closed as u64));
                };
                let before = tried.iter().filter(|known| **known == rate).count();
                tried.push(rate);
                Ok(seen(plan, |report| script(rate, before, report)))
            },
            probes: Vec::new(),
        };
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
    fn a_search_that_is_interrupted_finds_nothing() {
        let plan = Plan::new(Endpoint::Unix("/x".into()), Mode::Echo { depth: 1 });
        for at in [0, 1, 5] {
            let mut runs = 0;
            let search = Search {
                plan: &plan,
                arrivals: Arrivals::Constant,
                objectives: &[],
                measure: &mut |plan| {
                    runs += 1;
                    Ok(seen(plan, |report| report.interrupted = runs > at))
                },
                probes: Vec::new(),
            };
            assert!(matches!(search.find(), Err(LoadError::Interrupted)));
            assert_eq!(runs, at + 1);
        }
    }

    #[test]
    fn keeping_up_exactly_as_far_as_it_must_is_keeping_up() {
        let plan = Plan::new(Endpoint::Unix("/x".into()), Mode::Echo { depth: 1 });
        let came = |came: u64, asked: u64| {
            kept_up(&seen(&plan, |report| {
                (report.requests.asked, report.requests.came) = (asked, came);
            }))
        };
        // 2 %, and one.
        assert!(came(97, 100) && !came(96, 100));
        assert!(came(979, 1_000) && !came(978, 1_000));
        // More may come than were asked for: those of the warm-up.
        assert!(came(120, 100) && came(0, 0) && came(0, 1) && !came(0, 2));
        // A tenth of a second in flight is not a backlog where the least latency is as long.
        let in_flight = |came: u64, least_us: f64| {
            kept_up(&seen(&plan, |report| {
                (report.requests.asked, report.requests.came) = (1_000, came);
                report.spectrum = vec![Quantile {
                    share: 0.0,
                    us: least_us,
                }];
            }))
        };
        assert!(in_flight(900, 100_000.0) && !in_flight(888, 100_000.0) && !in_flight(900, 0.0));
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
