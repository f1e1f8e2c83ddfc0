//! Several runs beside each other: rounds of the same run, of one server or of several in turn.

use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};

use crate::bench::study::objective::Metric;
use crate::bench::study::percentile::widened;
use crate::bench::study::statistic::Spread;
use crate::bench::study::turns::Turns;
use crate::load::measure::failures::Errors;
use crate::load::plan::Plan;
use crate::load::plan::error::LoadError;
use crate::load::plan::mode::ModeName;
use crate::load::run::progress::Progress;
use crate::load::run::report::{Report, SCHEMA};

/// One server, and what is asked of it.
#[derive(Debug, Clone)]
pub struct Entrant {
    /// What to call it.
    pub name: String,
    /// What is asked.
    pub plan: Plan,
}

/// Servers asked in turn, A B A B …, so that what the machine does meanwhile hurts all of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// [`SCHEMA`].
    pub schema: u32,
    /// How often each was asked.
    pub rounds: usize,
    /// Whether it ended before all were asked as often as they were to be: then it has the rounds that were whole by
    /// then. A file of before there was this field is of a whole one.
    #[serde(default)]
    pub interrupted: bool,
    /// One for each mode.
    pub contests: Vec<Contest>,
}

/// All servers in one mode.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Contest {
    /// The mode.
    pub mode: ModeName,
    /// The first is what the others are compared with.
    pub contenders: Vec<Contender>,
}

/// One server in one mode.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Contender {
    /// As it was called, or its endpoint.
    pub name: String,
    /// Its figures over the rounds; none where no round could be made.
    pub figures: Option<Figures>,
    /// Its figures by those of the first contender in the same round; none for the first itself, nor where blocks of rounds are
    /// judged.
    pub ratios: Option<Ratios>,
    /// What each round saw.
    pub reports: Vec<Report>,
}

/// What several rounds saw.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// Answers a second.
    pub rate_per_s: Spread,
    /// The latency that half of the requests had at most, in microseconds; none if no request was answered. The interval
    /// holds that of all requests in the long run, too.
    pub p50_us: Option<Spread>,
    /// The latency that 99 % of the requests had at most, likewise.
    pub p99_us: Option<Spread>,
    /// Answers per second of the server's processor time, where it was watched.
    pub per_cpu_s: Option<Spread>,
    /// Failures in all rounds together, those of warm-ups included.
    pub errors: Errors,
    /// In how many rounds the generator was the limit.
    pub generator_was_the_limit: usize,
}

/// One server's figures by another's, round by round.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Ratios {
    /// Above 1: answers more a second.
    pub rate: Spread,
    /// Below 1: answers sooner; none where one of them did not answer.
    pub p99: Option<Spread>,
    /// Above 1: needs less processor time for an answer; none where one of them was not watched.
    pub per_cpu: Option<Spread>,
}

impl Comparison {
    /// Of contests, as far as they came.
    pub fn of(contests: Vec<Contest>) -> Self {
        let contenders = contests.iter().flat_map(|contest| &contest.contenders);
        Self {
            schema: SCHEMA,
            rounds: contenders.map(|one| one.reports.len()).max().unwrap_or(0),
            interrupted: false,
            contests,
        }
    }

    /// Of contests that were to be so many, and each of them so many rounds of every server.
    pub fn of_planned(contests: Vec<Contest>, modes: usize, rounds: usize) -> Self {
        let is_whole = |contest: &Contest| {
            let mut contenders = contest.contenders.iter();
            contenders.all(|one| one.reports.len() == rounds)
        };
        let interrupted = contests.len() < modes || !contests.iter().all(is_whole);
        Self {
            interrupted,
            ..Self::of(contests)
        }
    }

    /// Of one run, with nothing to compare it with.
    pub fn of_one(name: &str, report: Report) -> Self {
        let contest = Contest::of(report.mode, vec![(name.to_owned(), vec![report])]);
        Self::of(vec![contest])
    }

    /// All contenders, with their modes.
    pub fn contenders(&self) -> impl Iterator<Item = (ModeName, &Contender)> {
        self.contests.iter().flat_map(|contest| {
            let contenders = contest.contenders.iter();
            contenders.map(|contender| (contest.mode, contender))
        })
    }
}

impl Contest {
    /// Asks all of `entries` in turn, so many rounds, each with a seed of its own: that of the plans, and those that
    /// follow it. Rounds of one schedule would be one round, repeated. In a round all have the same. `between` is called
    /// before each round; `watcher` is told the round (from 1), the name, and how far that run is, and says whether to go
    /// on. A run that was interrupted is left out, and the last.
    pub fn hold(
        mode: ModeName,
        entries: &[Entrant],
        rounds: usize,
        turns: Turns,
        between: &mut dyn FnMut(),
        watcher: &mut dyn FnMut(usize, &str, Progress) -> ControlFlow<()>,
    ) -> Result<Self, LoadError> {
        let names = entries.iter().map(|entry| entry.name.clone());
        let mut contenders: Vec<_> = names.map(|name| (name, Vec::new())).collect();
        'rounds: for round in 1..=rounds {
            between();
            let mut asked: Vec<_> = entries.iter().zip(&mut contenders).collect();
            if turns.are_reversed(round - 1) {
                asked.reverse();
            }
            for (entry, (_, reports)) in asked {
                let mut told = |progress| watcher(round, &entry.name, progress);
                let plan = entry.plan.with_seed_after(round - 1);
                let report = crate::load::run_watched(&plan, &mut told)?;
                if report.interrupted {
                    break 'rounds;
                }
                reports.push(report);
            }
        }
        let contest = Self::of(mode, contenders);
        Ok(match turns {
            Turns::Alike => contest,
            Turns::ByLot { .. } => contest.without_ratios(),
        })
    }

    /// Of servers that are judged by blocks of rounds: the ratios of rounds would be a second answer to one question.
    fn without_ratios(mut self) -> Self {
        self.contenders.iter_mut().for_each(|one| one.ratios = None);
        self
    }

    /// Of what each contender's rounds saw: names and reports, in the order they were asked.
    pub fn of(mode: ModeName, contenders: Vec<(String, Vec<Report>)>) -> Self {
        let mut all: Vec<Contender> = Vec::with_capacity(contenders.len());
        for (name, reports) in contenders {
            let first = all.first();
            all.push(Contender {
                name,
                figures: Figures::of(&reports),
                ratios: first.and_then(|first| Ratios::of(&reports, &first.reports)),
                reports,
            });
        }
        Self {
            mode,
            contenders: all,
        }
    }
}

impl Contender {
    /// The round in the middle: what is shown of it is typical.
    pub fn typical(&self) -> Option<&Report> {
        let mut reports: Vec<_> = self.reports.iter().collect();
        reports.sort_by(|a, b| a.rate_per_s.total_cmp(&b.rate_per_s));
        reports.get(reports.len() / 2).copied()
    }
}

impl Figures {
    fn of(reports: &[Report]) -> Option<Self> {
        let of = |figure: fn(&Report) -> f64| Spread::of(reports.iter().map(figure));
        let spectra: Vec<_> = reports.iter().map(|one| one.spectrum.as_slice()).collect();
        let latency = |metric: Metric, share| {
            let spread = Spread::of(reports.iter().filter_map(|one| metric.of(one)))?;
            Some(widened(spread, share, &spectra))
        };
        Some(Self {
            rate_per_s: of(|report| report.rate_per_s)?,
            p50_us: latency(Metric::P50, 0.5),
            p99_us: latency(Metric::P99, 0.99),
            per_cpu_s: Spread::of(reports.iter().filter_map(Report::per_cpu)),
            errors: reports.iter().fold(Errors::default(), |all, report| {
                all.and(&report.errors).and(&report.warmup_errors)
            }),
            generator_was_the_limit: reports
                .iter()
                .filter(|report| report.generator.was_the_limit)
                .count(),
        })
    }
}

impl Ratios {
    /// Of the rounds in which both were asked, and answered.
    fn of(reports: &[Report], first: &[Report]) -> Option<Self> {
        let pairs = || reports.iter().zip(first);
        let of = |figure: fn(&Report) -> Option<f64>| {
            Spread::of(pairs().filter_map(|(one, other)| {
                let (one, other) = (figure(one)?, figure(other)?);
                // Never is as long as never.
                let ratio = if one == other { 1.0 } else { one / other };
                (other > 0.0).then_some(ratio)
            }))
        };
        Some(Self {
            rate: of(|report| Some(report.rate_per_s))?,
            p99: of(|report| Metric::P99.of(report)),
            per_cpu: of(Report::per_cpu),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::measure::failures::FailureKind;
    use crate::load::plan::mode::Mode;
    use crate::load::plan::target::Endpoint;

    /// What a round saw that had this rate.
    fn round(rate_per_s: f64, p99: f64) -> Report {
        let plan = Plan::new(Endpoint::Unix("/x".into()), Mode::Echo { depth: 1 });
        let mut report = Report::before(&plan);
        report.rate_per_s = rate_per_s;
        (report.latency_us.count, report.latency_us.p99) = (1_000, p99);
        report
    }

    fn rounds(rates: &[f64]) -> Vec<Report> {
        rates.iter().map(|rate| round(*rate, 100.0)).collect()
    }

    fn beside(one: Vec<Report>, other: Vec<Report>) -> [Contender; 2] {
        let both = vec![("a".to_owned(), one), ("b".to_owned(), other)];
        let contest = Contest::of(ModeName::Echo, both);
        contest.contenders.try_into().unwrap()
    }

    #[test]
    fn what_lacks_a_contest_or_a_round_was_interrupted() {
        let contest = |one: &[f64], other: &[f64]| {
            let both = [("a", one), ("b", other)];
            let both = both.map(|(name, rates)| (name.to_owned(), rounds(rates)));
            Contest::of(ModeName::Echo, both.to_vec())
        };
        let (whole, short) = (contest(&[1.0; 2], &[1.0; 2]), contest(&[1.0; 2], &[1.0]));
        for (contests, interrupted) in [
            (vec![whole.clone(), whole.clone()], false),
            (vec![whole.clone()], true),
            (vec![whole, short], true),
            (vec![], true),
        ] {
            let comparison = Comparison::of_planned(contests, 2, 2);
            assert_eq!(comparison.interrupted, interrupted, "{comparison:?}");
        }
    }

    #[test]
    fn rounds_that_tie_have_a_ratio_of_one_and_no_winner() {
        let [first, other] = beside(rounds(&[50.0; 6]), rounds(&[50.0; 6]));
        assert_eq!((first.ratios, first.figures), (None, other.figures));
        let ratios = other.ratios.unwrap();
        for ratio in [ratios.rate, ratios.p99.unwrap()] {
            assert_eq!((ratio.low, ratio.median, ratio.high), (1.0, 1.0, 1.0));
            assert!(ratio.is_interval && !ratio.excludes_one());
        }
        // Equal medians of rounds that differ: it is the rounds that are compared.
        let (up, down) = ([10.0, 20.0, 30.0], [30.0, 20.0, 10.0]);
        let [first, other] = beside(rounds(&up), rounds(&down));
        let median = |one: &Contender| one.figures.unwrap().rate_per_s.median;
        assert_eq!((median(&first), median(&other)), (20.0, 20.0));
        let ratio = other.ratios.unwrap().rate;
        assert_eq!((ratio.low, ratio.median, ratio.high), (1.0 / 3.0, 1.0, 3.0));
    }

    #[test]
    fn the_typical_round_of_equal_ones_is_the_one_in_the_middle() {
        let typical = |rates: &[f64]| {
            let mut reports = rounds(rates);
            for (at, report) in reports.iter_mut().enumerate() {
                report.requests.asked = at as u64;
            }
            let [one, _] = beside(reports, Vec::new());
            one.typical().map(|report| report.requests.asked)
        };
        assert_eq!(typical(&[]), None);
        assert_eq!(typical(&[5.0; 5]), Some(2));
        assert_eq!(typical(&[5.0; 4]), Some(2));
        assert_eq!(typical(&[9.0, 5.0, 5.0, 1.0, 5.0]), Some(2));
        // Of two the faster one.
        assert_eq!(typical(&[9.0, 5.0]), Some(0));
    }

    #[test]
    fn a_round_in_which_there_is_nothing_to_divide_by_has_no_ratio() {
        let [_, other] = beside(rounds(&[0.0, 50.0, 50.0]), rounds(&[0.0, 50.0]));
        // The second round alone: the third was made by one of them only.
        let ratio = other.ratios.unwrap().rate;
        assert_eq!((ratio.low, ratio.high), (1.0, 1.0));
        let [_, other] = beside(rounds(&[0.0; 3]), rounds(&[0.0; 3]));
        assert_eq!(other.ratios, None);
    }

    #[test]
    fn errors_of_warm_ups_are_errors_of_a_contender() {
        let mut one = rounds(&[50.0; 2]);
        one[0].warmup_errors.count(FailureKind::Reset);
        one[1].warmup_errors.count(FailureKind::Reset);
        one[1].errors.count(FailureKind::Timeout);
        one[1].generator.was_the_limit = true;
        let [one, other] = beside(one, rounds(&[50.0; 2]));
        let figures = one.figures.unwrap();
        let errors = figures.errors;
        assert_eq!((errors.total, errors.reset, errors.timeout), (3, 2, 1));
        assert_eq!(figures.generator_was_the_limit, 1);
        let figures = other.figures.unwrap();
        assert_eq!(
            (figures.errors.total, figures.generator_was_the_limit),
            (0, 0)
        );
    }
}
