//! Whether the result meets the requirements, and the exit code that says so.

use std::process::ExitCode;

use crate::bench::study::change::{Change, ChangeMetric, ChangeVerdict};
use crate::bench::study::comparison::{Comparison, Contender};
use crate::bench::study::objective::{Metric, Objective};
use crate::bench::study::search::Found;
use crate::bench::study::statistic::Spread;
use crate::cli::complain;
use crate::load::{ModeName, Report};

/// A threshold was missed.
pub(super) const MISSED: u8 = 3;
/// The machine was too busy to compare anything.
pub(super) const BUSY: u8 = 4;

/// What became of a call: errors make 1, a busy machine 4, a missed threshold 3, whatever else went wrong.
#[derive(Debug, Default)]
pub(super) struct Ending {
    has_errors: bool,
    has_missed: bool,
    is_busy: bool,
}

impl Ending {
    /// Of one run.
    pub(super) fn of_run(report: &Report, required: &[Objective]) -> Self {
        let mut ending = Self {
            has_errors: report.has_errors(),
            ..Self::default()
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
                let has_changed = |change: &Change| change.name == contender.name;
                if !changes.is_empty() && !changes.iter().any(has_changed) {
                    // It is only there for the other to be compared with.
                    continue;
                }
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
        let is = |verdict| changes.iter().any(|change| change.verdict == verdict);
        ending.has_missed |= is(ChangeVerdict::Worse);
        ending.is_busy = is(ChangeVerdict::Busy);
        ending
    }

    /// Of a search, which found a rate or missed it; where nothing answered, there was none to be found.
    pub(super) fn of_search(found: &Found, required: &[Objective]) -> Self {
        let mut ending = Self {
            has_errors: found.unanswered.is_some(),
            has_missed: found.rate_per_s.is_none() && found.unanswered.is_none(),
            ..Self::default()
        };
        for objective in required {
            let figure = match objective.metric {
                Metric::Rate => found.rate_per_s,
                metric => found.report.as_ref().and_then(|report| metric.of(report)),
            };
            ending.require(objective, figure, &found.endpoint);
        }
        ending
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
                    "{subject}: {objective} does not hold, there is no such figure: nothing was answered, or fewer than it takes (p90 ten, p99 a hundred, p99.9 a thousand)"
                )),
            }
        }
    }

    pub(super) fn code(&self) -> ExitCode {
        match (self.has_missed, self.is_busy, self.has_errors) {
            (true, ..) => ExitCode::from(MISSED),
            (_, true, _) => ExitCode::from(BUSY),
            (.., true) => ExitCode::FAILURE,
            (.., false) => ExitCode::SUCCESS,
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
    let change = changes.find(|change| {
        let is_rate = change.metric == ChangeMetric::Rate;
        is_rate && change.mode == mode && change.name == contender.name
    })?;
    Some(change.ratio).filter(|ratio| ratio.is_finite())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::study::comparison::Contest;
    use crate::load::measure::failures::{Errors, FailureKind};
    use crate::load::{Endpoint, Mode, Plan};

    fn round(rate_per_s: f64) -> Report {
        let plan = Plan::new(Endpoint::Unix("/x".into()), Mode::Echo { depth: 1 });
        let mut report = Report::before(&plan);
        report.rate_per_s = rate_per_s;
        (report.latency_us.count, report.latency_us.p99) = (100, 250.0);
        report
    }

    fn comparison(rates: &[&[f64]]) -> Comparison {
        let rounds = |rates: &&[f64]| rates.iter().map(|rate| round(*rate)).collect();
        let names = ["a", "b", "c"].map(str::to_owned);
        let contenders = names.into_iter().zip(rates.iter().map(rounds)).collect();
        Comparison::of(vec![Contest::of(ModeName::Echo, contenders)])
    }

    fn code(ending: &Ending) -> String {
        format!("{:?}", ending.code())
    }

    fn exits(code: u8) -> String {
        format!("{:?}", ExitCode::from(code))
    }

    #[test]
    fn a_threshold_that_is_met_exactly_by_a_run_is_met() {
        for (required, expected) in [
            ("rate>=100", 0),
            ("rate<=100", 0),
            ("rate>100", MISSED),
            ("rate<100", MISSED),
            ("p99<=250us", 0),
            ("p99<250us", MISSED),
            ("errors<=0", 0),
            ("errors<1", 0),
            ("errors<0", MISSED),
        ] {
            let ending = Ending::of_run(&round(100.0), &[required.parse().unwrap()]);
            assert_eq!(code(&ending), exits(expected), "{required}");
        }
    }

    #[test]
    fn a_threshold_is_met_exactly_by_the_median_of_rounds_and_by_a_ratio() {
        // The median of two lies between them, and that of the ratios too.
        let tied = comparison(&[&[90.0, 110.0], &[110.0, 90.0], &[90.0, 110.0]]);
        let close = comparison(&[&[100.0], &[95.0]]);
        for (comparison, required, expected) in [
            (&tied, "rate>=100", 0),
            (&tied, "rate>100", MISSED),
            (&tied, "ratio>=1", 0),
            (&tied, "ratio>1", MISSED),
            (&close, "ratio>=0.95", 0),
            (&close, "ratio>0.95", MISSED),
            (&close, "rate>=95", 0),
            (&close, "rate>95", MISSED),
        ] {
            let ending = Ending::of_comparison(comparison, &[required.parse().unwrap()], &[]);
            assert_eq!(code(&ending), exits(expected), "{required}");
        }
    }

    #[test]
    fn errors_of_a_warm_up_are_errors_whatever_was_measured() {
        let mut report = round(100.0);
        report.warmup_errors.count(FailureKind::Reset);
        assert_eq!(code(&Ending::of_run(&report, &[])), exits(1));
        let required = ["errors<1".parse().unwrap()];
        assert_eq!(code(&Ending::of_run(&report, &required)), exits(MISSED));
        let contest = Contest::of(
            ModeName::Echo,
            vec![("a".to_owned(), vec![round(1.0), report])],
        );
        let comparison = Comparison::of(vec![contest]);
        let ending = |required: &[Objective]| Ending::of_comparison(&comparison, required, &[]);
        assert_eq!(code(&ending(&[])), exits(1));
        assert_eq!(code(&ending(&required)), exits(MISSED));
        // Of all rounds together there is one.
        assert_eq!(code(&ending(&["errors<=1".parse().unwrap()])), exits(1));
    }

    fn change(before: f64, now: f64, verdict: ChangeVerdict) -> Change {
        Change {
            mode: ModeName::Echo,
            name: "a".to_owned(),
            metric: ChangeMetric::Rate,
            before: Spread::of([before]).unwrap(),
            now: Spread::of([now]).unwrap(),
            ratio: now / before,
            ratios: None,
            blocks: [7, 7],
            rounds_of_a_block: 1,
            autocorrelation: Some(0.0),
            generator_was_the_limit: [0, 0],
            against: None,
            chance: 1.0,
            verdict,
        }
    }

    #[test]
    fn what_is_not_shown_to_differ_from_the_baseline_is_no_miss() {
        let one = comparison(&[&[95.0]]);
        let ending = |verdict, required: &[Objective]| {
            let changes = [change(100.0, 95.0, verdict)];
            code(&Ending::of_comparison(&one, required, &changes))
        };
        for (verdict, expected) in [
            (ChangeVerdict::Same, 0),
            (ChangeVerdict::Better, 0),
            (ChangeVerdict::TooFew, 0),
            (ChangeVerdict::Dependent, 0),
            (ChangeVerdict::Limited, 0),
            (ChangeVerdict::Busy, BUSY),
            (ChangeVerdict::Worse, MISSED),
        ] {
            assert_eq!(ending(verdict, &[]), exits(expected), "{verdict:?}");
        }
        let at_least = ["ratio>=0.95".parse().unwrap()];
        assert_eq!(ending(ChangeVerdict::Same, &at_least), exits(0));
        let above = ["ratio>0.95".parse().unwrap()];
        assert_eq!(ending(ChangeVerdict::Same, &above), exits(MISSED));
    }

    #[test]
    fn where_there_was_nothing_before_there_is_no_ratio() {
        for now in [0.0, 100.0] {
            let one = comparison(&[&[now]]);
            let changes = [change(0.0, now, ChangeVerdict::Same)];
            assert_eq!(
                ratio(&one.contests[0].contenders[0], &changes, ModeName::Echo),
                None
            );
            let required = ["ratio>=0".parse().unwrap()];
            let ending = Ending::of_comparison(&one, &required, &changes);
            assert_eq!(code(&ending), exits(MISSED), "{now}");
        }
    }

    #[test]
    fn a_round_without_the_figure_is_a_miss() {
        let mut silent = round(100.0);
        silent.latency_us.count = 0;
        let rounds = vec![round(100.0), round(100.0), silent];
        let contest = Contest::of(ModeName::Echo, vec![("a".to_owned(), rounds)]);
        let comparison = Comparison::of(vec![contest]);
        let required = ["p99<60s".parse().unwrap()];
        let ending = Ending::of_comparison(&comparison, &required, &[]);
        assert_eq!(code(&ending), exits(MISSED));
    }

    #[test]
    fn what_is_required_of_a_search_is_required_of_the_rate_that_was_found() {
        let found = |rate_per_s: Option<f64>, unanswered| Found {
            schema: 4,
            mode: ModeName::Echo,
            endpoint: "unix:///x".to_owned(),
            connections: 1,
            objectives: Vec::new(),
            unanswered,
            interrupted: false,
            held_per_s: rate_per_s,
            rate_per_s,
            failed_per_s: None,
            least_per_s: 1.0,
            generator_was_the_limit: false,
            probes: Vec::new(),
            // Chance asked for a little less than that.
            report: rate_per_s.map(|rate| round(0.99 * rate)),
        };
        let nobody = Some(Errors::default());
        for (rate, unanswered, required, expected) in [
            (Some(100.0), None, "", 0),
            (None, None, "", MISSED),
            (None, nobody, "", 1),
            (Some(100.0), None, "rate>=100,p99<=250us", 0),
            (Some(100.0), None, "rate>100", MISSED),
            (Some(100.0), None, "p99<250us", MISSED),
            (None, None, "rate>=0", MISSED),
            (None, nobody, "rate>=0", MISSED),
        ] {
            let objectives = required.split(',').filter(|one| !one.is_empty());
            let objectives: Vec<Objective> = objectives.map(|one| one.parse().unwrap()).collect();
            let ending = Ending::of_search(&found(rate, unanswered), &objectives);
            assert_eq!(code(&ending), exits(expected), "{rate:?} {required}");
        }
    }
}
