//! An earlier result, and whether the present one differs from it by more than chance.

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use crate::bench::study::comparison::{Comparison, Contender};
use crate::bench::study::objective::Metric;
use crate::bench::study::statistic::{CONFIDENCE, ROUNDS_MAX, Spread, chance, least_chance};
use crate::load::measure::figures::round;
use crate::load::plan::Plan;
use crate::load::plan::mode::ModeName;
use crate::load::run::report::{Report, SCHEMA};
use crate::wire::Escaped;

/// An earlier comparison, read back from what `--json` printed.
#[derive(Debug, Clone, PartialEq)]
pub struct Baseline(Comparison);

/// Why a file is no baseline for this call.
#[derive(Debug, thiserror::Error)]
pub enum BaselineError {
    /// Not what `--json` prints.
    #[error("it is no result of `onepoll bench … --json`: {0}")]
    Format(#[from] serde_json::Error),
    /// Another version of the format, whose fields may mean something else.
    #[error("it has schema {0}, and this is schema {SCHEMA}: measure the baseline again")]
    Schema(u32),
    /// More than can be weighed.
    #[error("it has {0} rounds of one server, and more than {ROUNDS_MAX} are not weighed")]
    Rounds(usize),
    /// It knows nothing of what is measured now.
    #[error("it has no {contender}, but {there}")]
    Missing {
        /// The mode and the server that are measured now.
        contender: String,
        /// What the file has.
        there: String,
    },
    /// So few that no difference at all could be told from chance.
    #[error(
        "{before} rounds before and {now} now are too few to tell a difference from chance: at least 4 and 4 (--rounds 4 … --json)"
    )]
    TooFew {
        /// Rounds in the file.
        before: usize,
        /// Rounds to come.
        now: usize,
    },
    /// It was measured in another way.
    #[error("its {contender} was measured with {what} {before}, and now it is {now}")]
    Setting {
        /// Which mode and server.
        contender: String,
        /// What differs.
        what: &'static str,
        /// As it was.
        before: String,
        /// As it is.
        now: String,
    },
}

/// What tells the two kinds of results apart.
#[derive(Debug, Deserialize)]
struct Head {
    schema: u32,
    contests: Option<IgnoredAny>,
}

/// Each thing that must be alike for two results to be comparable, by its name.
fn setting(report: &Report) -> [(&'static str, String); 10] {
    fn or_none(value: Option<impl ToString>) -> String {
        value.map_or_else(|| "none".to_owned(), |value| value.to_string())
    }
    let schedule = report.schedule.map(|schedule| {
        let (rate, arrivals) = (schedule.rate_per_s, schedule.arrivals);
        format!("{rate} requests a second, {arrivals}")
    });
    [
        ("the model", report.model.to_string()),
        ("the schedule", or_none(schedule)),
        (
            "as many connections as",
            report.connections.asked.to_string(),
        ),
        ("a pipeline of", report.pipeline.to_string()),
        ("bytes of a message:", report.size_bytes.to_string()),
        ("the answer", report.expect.clone()),
        ("close", or_none(report.close)),
        (
            "requests on a connection:",
            or_none(report.requests_per_connection),
        ),
        ("the digest", or_none(report.digest)),
        (
            "a transport that is",
            if report.tls { "TLS" } else { "plain" }.to_owned(),
        ),
    ]
}

/// How one server does beside its earlier self.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Change {
    /// In which mode.
    pub mode: ModeName,
    /// Which server.
    pub name: String,
    /// Of which figure: `rate` in the closed model; `p99` in the open one, where the rate is given.
    pub metric: &'static str,
    /// As it was.
    pub before: Spread,
    /// As it is.
    pub now: Spread,
    /// The median now by the median before.
    pub ratio: f64,
    /// How likely chance alone parts them so far.
    pub chance: f64,
    /// What follows.
    pub verdict: ChangeVerdict,
}

/// What a change amounts to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChangeVerdict {
    /// By more than chance, and by more than what is tolerated.
    Better,
    /// By more than chance, and by more than what is tolerated.
    Worse,
    /// Not shown to differ, or not by more than what is tolerated.
    Same,
    /// So few rounds that no difference at all could be told from chance.
    TooFew,
}

impl Baseline {
    /// Reads what `--json` printed: of one run, or of rounds of them.
    pub fn parse(text: &str) -> Result<Self, BaselineError> {
        let head: Head = serde_json::from_str(text)?;
        if head.schema != SCHEMA {
            return Err(BaselineError::Schema(head.schema));
        }
        if head.contests.is_none() {
            let report: Report = serde_json::from_str(text)?;
            let name = report.endpoint.clone();
            return Ok(Self(Comparison::of_one(&name, report)));
        }
        let earlier: Comparison = serde_json::from_str(text)?;
        let rounds = earlier.contenders().map(|(_, one)| one.reports.len());
        match rounds.max() {
            Some(many) if many > ROUNDS_MAX => Err(BaselineError::Rounds(many)),
            _ => Ok(Self(earlier)),
        }
    }

    /// Whether it has what is about to be measured in so many rounds, by mode and name, and measured it so.
    pub fn has(
        &self,
        mode: ModeName,
        name: &str,
        plan: &Plan,
        now: usize,
    ) -> Result<(), BaselineError> {
        let contender = self.find(mode, name)?;
        let before = contender.reports.len();
        if least_chance(before, now) > 1.0 - CONFIDENCE {
            return Err(BaselineError::TooFew { before, now });
        }
        let present = setting(&Report::before(plan));
        let earlier = contender.reports.iter().flat_map(setting);
        for ((what, before), (_, now)) in earlier.zip(present.into_iter().cycle()) {
            if before != now {
                return Err(BaselineError::Setting {
                    contender: format!("{mode} of {name}"),
                    what,
                    before: Escaped(before.as_bytes()).to_string(),
                    now,
                });
            }
        }
        Ok(())
    }

    /// What has changed for each server; a difference of no more than `tolerance` (a share of 1) is none.
    pub fn changes(&self, now: &Comparison, tolerance: f64) -> Vec<Change> {
        let contenders = now.contenders().filter_map(|(mode, contender)| {
            let before = self.find(mode, &contender.name).ok()?;
            Change::of(mode, before, contender, tolerance)
        });
        contenders.collect()
    }

    fn find(&self, mode: ModeName, name: &str) -> Result<&Contender, BaselineError> {
        let mut all = self.0.contenders();
        let found = all.find(|(known, one)| *known == mode && one.name == name);
        found.map(|(_, one)| one).ok_or_else(|| {
            let all = self.0.contenders();
            let there: Vec<_> = all
                .map(|(mode, one)| format!("{mode} of {}", one.name))
                .collect();
            BaselineError::Missing {
                contender: format!("{mode} of {name}"),
                there: Escaped(there.join(", ").as_bytes()).to_string(),
            }
        })
    }
}

impl Change {
    fn of(mode: ModeName, earlier: &Contender, now: &Contender, tolerance: f64) -> Option<Self> {
        let is_open = earlier.reports.first()?.schedule.is_some();
        // Where the rate is given, how long it took says more; a round in which more than 1 % was never answered took
        // for ever, and so did one in which nothing was even asked.
        let metric = if is_open { Metric::P99 } else { Metric::Rate };
        let figure = |report: &Report| match is_open && report.latency_us.is_empty() {
            true => Some(f64::INFINITY),
            false => metric.of(report),
        };
        let figures =
            |one: &Contender| -> Vec<f64> { one.reports.iter().filter_map(figure).collect() };
        let (earlier, later) = (figures(earlier), figures(now));
        let chance = chance(&earlier, &later);
        let rounds = (earlier.len(), later.len());
        let (before, is) = (Spread::of(earlier)?, Spread::of(later)?);
        let medians = (before.median, is.median);
        Some(Self {
            mode,
            name: now.name.clone(),
            metric: if is_open { "p99" } else { "rate" },
            before,
            now: is,
            ratio: round(is.median / before.median, 4),
            chance: round(chance, 4),
            verdict: ChangeVerdict::of(medians, chance, tolerance, rounds, is_open),
        })
    }
}

impl ChangeVerdict {
    fn of(
        (before, now): (f64, f64),
        chance: f64,
        tolerance: f64,
        (rounds_before, rounds_now): (usize, usize),
        less_is_better: bool,
    ) -> Self {
        if least_chance(rounds_before, rounds_now) > 1.0 - CONFIDENCE {
            return Self::TooFew;
        }
        // Written so that nothing, and no answer at all, can be compared too.
        let is_far = if before.is_finite() {
            (now - before).abs() > tolerance * before
        } else {
            now.is_finite()
        };
        match (
            chance <= 1.0 - CONFIDENCE && is_far,
            (now > before) == less_is_better,
        ) {
            (false, _) => Self::Same,
            (true, true) => Self::Worse,
            (true, false) => Self::Better,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::study::comparison::Contest;
    use crate::load::measure::histogram::{Latencies, Summary};
    use crate::load::plan::mode::{Arrivals, Mode, Model};
    use crate::load::plan::target::Endpoint;

    #[test]
    fn a_verdict_needs_rounds_and_a_difference() {
        let of = |ratio, chance, rounds, less| {
            ChangeVerdict::of((100.0, 100.0 * ratio), chance, 0.05, rounds, less)
        };
        assert_eq!(of(0.5, 0.01, (7, 7), false), ChangeVerdict::Worse);
        assert_eq!(of(1.5, 0.01, (7, 7), false), ChangeVerdict::Better);
        assert_eq!(of(1.5, 0.01, (7, 7), true), ChangeVerdict::Worse);
        assert_eq!(of(0.5, 0.01, (7, 7), true), ChangeVerdict::Better);
        assert_eq!(of(0.5, 0.06, (7, 7), false), ChangeVerdict::Same);
        assert_eq!(of(0.96, 0.01, (7, 7), false), ChangeVerdict::Same);
        assert_eq!(of(0.5, 0.1, (3, 3), false), ChangeVerdict::TooFew);
        assert_eq!(of(0.5, 0.1, (1, 9), false), ChangeVerdict::TooFew);
        assert_eq!(of(0.5, 0.02, (4, 4), false), ChangeVerdict::Worse);
        let never = f64::INFINITY;
        let of = |before, now, less| ChangeVerdict::of((before, now), 0.01, 0.05, (7, 7), less);
        assert_eq!(of(100.0, never, true), ChangeVerdict::Worse);
        assert_eq!(of(never, 100.0, true), ChangeVerdict::Better);
        assert_eq!(of(0.0, 100.0, false), ChangeVerdict::Better);
        assert_eq!(of(100.0, 0.0, false), ChangeVerdict::Worse);
        assert_eq!(of(0.0, 0.0, false), ChangeVerdict::Same);
    }

    #[test]
    fn what_is_no_baseline_says_why() {
        let why = |text: &str| Baseline::parse(text).unwrap_err().to_string();
        assert!(why("x").contains("it is no result"), "{}", why("x"));
        assert!(why("{}").contains("schema"), "{}", why("{}"));
        assert!(why(r#"{"schema":1}"#).contains("it has schema 1"));
        let bare = format!(r#"{{"schema":{SCHEMA}}}"#);
        assert!(why(&bare).contains("missing field"), "{}", why(&bare));
    }

    /// What rounds of the open or of the closed model saw.
    fn rounds(model: Model, reports: &[fn(&mut Report)]) -> Comparison {
        let mut plan = Plan::new(Endpoint::Unix("/x".into()), Mode::Echo { depth: 1 });
        plan.model = model;
        let reports = reports.iter().map(|change| {
            let mut report = Report::before(&plan);
            (report.rate_per_s, report.latency_us.p99) = (100.0, 100.0);
            report.latency_us.count = 100;
            change(&mut report);
            report
        });
        let one = ("it".to_owned(), reports.collect());
        Comparison::of(vec![Contest::of(ModeName::Echo, vec![one])])
    }

    const OPEN: Model = Model::Open {
        rate: 100.0,
        arrivals: Arrivals::Constant,
    };

    fn changed(before: Comparison, now: Comparison, tolerance: f64) -> Change {
        let changes = Baseline(before).changes(&now, tolerance);
        changes.into_iter().next().unwrap()
    }

    #[test]
    fn a_difference_of_exactly_what_is_tolerated_is_none() {
        let of =
            |now, tolerance, less| ChangeVerdict::of((100.0, now), 0.01, tolerance, (7, 7), less);
        assert_eq!(of(95.0, 0.05, false), ChangeVerdict::Same);
        assert_eq!(of(105.0, 0.05, false), ChangeVerdict::Same);
        assert_eq!(of(94.9, 0.05, false), ChangeVerdict::Worse);
        assert_eq!(of(105.1, 0.05, true), ChangeVerdict::Worse);
        // Nothing is tolerated, and there is nothing.
        assert_eq!(of(100.0, 0.0, false), ChangeVerdict::Same);
        assert_eq!(of(100.0, 0.0, true), ChangeVerdict::Same);
        assert_eq!(of(99.9, 0.0, false), ChangeVerdict::Worse);
        // Chance alone parts them exactly as often as it may.
        let chance = |chance| ChangeVerdict::of((100.0, 50.0), chance, 0.05, (1, 39), false);
        assert_eq!(chance(0.05), ChangeVerdict::Worse);
        assert_eq!(chance(0.050_1), ChangeVerdict::Same);
        let never = f64::INFINITY;
        let both = ChangeVerdict::of((never, never), 0.01, 0.05, (7, 7), true);
        assert_eq!(both, ChangeVerdict::Same);
    }

    #[test]
    fn rounds_that_tie_with_those_before_are_the_same() {
        let same: [fn(&mut Report); 5] = [|_| {}; 5];
        for (model, metric) in [(Model::Closed, "rate"), (OPEN, "p99")] {
            let change = changed(rounds(model, &same), rounds(model, &same), 0.0);
            assert_eq!(
                (change.verdict, change.metric),
                (ChangeVerdict::Same, metric)
            );
            assert_eq!((change.ratio, change.chance), (1.0, 1.0));
        }
        // All but one are slower, and that one ties: chance may have done it (4 of 70 orders).
        let before: [fn(&mut Report); 4] = [|r| r.rate_per_s = 90.0, |_| {}, |_| {}, |_| {}];
        let slower: [fn(&mut Report); 4] = [|r| r.rate_per_s = 50.0; 4];
        let mut with_tie = slower;
        with_tie[0] = |r| r.rate_per_s = 90.0;
        let verdict = |now: &[fn(&mut Report)]| {
            let (before, now) = (rounds(Model::Closed, &before), rounds(Model::Closed, now));
            changed(before, now, 0.05).verdict
        };
        assert_eq!(verdict(&slower), ChangeVerdict::Worse);
        assert_eq!(verdict(&with_tie), ChangeVerdict::Same);
    }

    #[test]
    fn as_many_rounds_as_it_takes_are_enough() {
        let plan = Plan::new(Endpoint::Unix("/x".into()), Mode::Echo { depth: 1 });
        let has = |before: usize, now| {
            let before = rounds(Model::Closed, &vec![(|_| {}) as fn(&mut Report); before]);
            Baseline(before).has(ModeName::Echo, "it", &plan, now)
        };
        assert!(has(4, 4).is_ok() && has(3, 5).is_ok() && has(1, 39).is_ok());
        for (before, now) in [(3, 4), (4, 3), (1, 38)] {
            let too_few = has(before, now);
            assert!(
                matches!(too_few, Err(BaselineError::TooFew { .. })),
                "{before} {now}"
            );
        }
    }

    #[test]
    fn a_round_in_which_too_many_were_never_answered_took_for_ever() {
        let good: [fn(&mut Report); 4] = [|_| {}; 4];
        // Quicker, as far as it answers: 1 % may be missing, and no more.
        fn seen(answered: u64, never: u64) -> Summary {
            let mut latencies = Latencies::new();
            latencies.record(50_000, answered);
            (0..never).for_each(|_| latencies.record_never());
            latencies.summary()
        }
        let lossy: [fn(&mut Report); 4] = [|r| r.latency_us = seen(98, 2); 4];
        let exact: [fn(&mut Report); 4] = [|r| r.latency_us = seen(99, 1); 4];
        let change =
            |now: &[fn(&mut Report)]| changed(rounds(OPEN, &good), rounds(OPEN, now), 0.05);
        assert_eq!(change(&lossy).verdict, ChangeVerdict::Worse);
        assert_eq!(change(&lossy).now.median, f64::INFINITY);
        assert_eq!(change(&exact).verdict, ChangeVerdict::Better);
        let none: [fn(&mut Report); 4] = [|r| r.latency_us.count = 0; 4];
        assert_eq!(change(&none).verdict, ChangeVerdict::Worse);
    }
}
