//! Whether the result meets the requirements, and the exit code that says so.

use std::process::ExitCode;

use crate::bench::study::baseline::{Change, ChangeVerdict};
use crate::bench::study::comparison::{Comparison, Contender};
use crate::bench::study::objective::{Metric, Objective};
use crate::bench::study::statistic::Spread;
use crate::cli::complain;
use crate::load::{ModeName, Report};

/// A threshold was missed.
pub(super) const MISSED: u8 = 3;

/// What became of a call: errors make 1, a missed threshold 3, whatever else went wrong.
#[derive(Debug, Default)]
pub(super) struct Ending {
    has_errors: bool,
    has_missed: bool,
}

impl Ending {
    /// Of one run.
    pub(super) fn of_run(report: &Report, required: &[Objective]) -> Self {
        let mut ending = Self {
            has_errors: report.has_errors(),
            has_missed: false,
        };
        for objective in required {
            ending.require(objective, objective.metric.of(report), &report.endpoint);
        }
        ending
    }

    /// Of several.
    pub(super) fn of_comparison(
        comparison: &Comparison,
        required: &[Objective],
        changes: &[Change],
    ) -> Self {
        let mut ending = Self::default();
        for contest in &comparison.contests {
            for (place, contender) in contest.contenders.iter().enumerate() {
                let figures = contender.figures.as_ref();
                ending.has_errors |= figures.is_some_and(|figures| figures.errors.total > 0);
                let subject = format!("{} of {}", contest.mode, contender.name);
                for objective in required {
                    let figure = match objective.metric {
                        // The first contender can only be compared with its baseline.
                        Metric::Ratio if place == 0 && changes.is_empty() => continue,
                        Metric::Ratio => ratio(contender, changes, contest.mode),
                        metric => middle(contender, metric),
                    };
                    ending.require(objective, figure, &subject);
                }
            }
        }
        ending.has_missed |= changes
            .iter()
            .any(|change| change.verdict == ChangeVerdict::Worse);
        ending
    }

    /// Something was searched for.
    pub(super) fn of_search(found: bool) -> Self {
        Self {
            has_errors: false,
            has_missed: !found,
        }
    }

    fn require(&mut self, objective: &Objective, figure: Option<f64>, subject: &str) {
        if !objective.holds(figure) {
            self.has_missed = true;
            match figure {
                Some(figure) => complain(format_args!(
                    "{subject}: {objective} does not hold, it is {}",
                    objective.metric.shown(figure)
                )),
                None => complain(format_args!(
                    "{subject}: {objective} does not hold, there is no such figure"
                )),
            }
        }
    }

    pub(super) fn code(&self) -> ExitCode {
        match (self.has_missed, self.has_errors) {
            (true, _) => ExitCode::from(MISSED),
            (false, true) => ExitCode::FAILURE,
            (false, false) => ExitCode::SUCCESS,
        }
    }
}

/// To the baseline where there is one, else to the first contender; none where there is nothing to divide
/// by, which holds nothing.
fn ratio(contender: &Contender, changes: &[Change], mode: ModeName) -> Option<f64> {
    if changes.is_empty() {
        return contender.ratios.map(|ratios| ratios.rate.median);
    }
    let mut changes = changes.iter();
    let change = changes.find(|change| change.mode == mode && change.name == contender.name)?;
    Some(change.ratio)
}

/// The median over the rounds; of errors, all of them.
fn middle(contender: &Contender, metric: Metric) -> Option<f64> {
    let figures = || contender.reports.iter().map(|report| metric.of(report));
    match metric {
        Metric::Errors => figures().sum(),
        // A round without the figure counts as a miss, not as nothing.
        _ => Spread::of(figures().collect::<Option<Vec<_>>>()?).map(|spread| spread.median),
    }
}
