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
/// … and to see it hold again.
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
    /// The highest rate that held, requests a second; none when none did.
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
    // Where requests are counted, a low rate only takes longer.
    let least = match plan.amount {
        Amount::For(time) => round(REQUESTS_MIN / time.as_secs_f64().max(1e-3), 1),
        Amount::Count(_) => 0.1,
    };
    let mut search = Search {
        plan,
        objectives,
        watcher,
        probes: Vec::new(),
    };
    // The rate of the closed model is near what the server can do at most.
    let mut bounds = Bounds::around(search.closed_rate()?, least);
    let mut best = None;
    while search.probes.len() < PROBES_MAX
        && let Some(rate) = bounds.next()
    {
        // A rate that fails once may have met a bad moment of the machine.
        let mut held = search.probe(rate, arrivals)?;
        if held.is_none() {
            held = search.probe(rate, arrivals)?;
        }
        bounds.tell(rate, held.is_some());
        best = held.or(best);
    }
    // The last that held, held once; it must hold again, or a little less must.
    let mut rate = bounds.held;
    while let Some(again) = rate
        && search.probes.len() < PROBES_MAX + CONFIRMATIONS_MAX
    {
        best = search.probe(again, arrivals)?;
        if best.is_some() {
            break;
        }
        bounds.failed = Some(again);
        rate = (again / PRECISION >= least).then_some(round(again / PRECISION, 1));
    }
    let mut failed = search.probes.iter();
    Ok(Found {
        schema: SCHEMA,
        objectives: objectives.iter().map(Objective::to_string).collect(),
        rate_per_s: best.as_ref().and(rate),
        failed_per_s: bounds.failed,
        least_per_s: least,
        generator_was_the_limit: failed
            .any(|probe| Some(probe.rate_per_s) == bounds.failed && probe.generator_was_the_limit),
        probes: search.probes,
        report: best,
    })
}

struct Search<'s> {
    plan: &'s Plan,
    objectives: &'s [Objective],
    watcher: Watcher<'s>,
    probes: Vec<Probe>,
}

impl Search<'_> {
    fn closed_rate(&mut self) -> Result<f64, LoadError> {
        let amount = match self.plan.amount {
            Amount::For(time) => Amount::For(time.min(Duration::from_secs(1))),
            count => count,
        };
        Ok(self.measure(Model::Closed, amount)?.answered_per_s())
    }

    fn measure(&mut self, model: Model, amount: Amount) -> Result<Report, LoadError> {
        let plan = Plan {
            model,
            amount,
            ..self.plan.clone()
        };
        let report = crate::load::run_watched(&plan, self.watcher)?;
        if report.interrupted {
            return Err(LoadError::Interrupted);
        }
        Ok(report)
    }

    /// What one run at this rate saw, if all objectives held.
    fn probe(&mut self, rate: f64, arrivals: Arrivals) -> Result<Option<Report>, LoadError> {
        let report = self.measure(Model::Open { rate, arrivals }, self.plan.amount)?;
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
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
