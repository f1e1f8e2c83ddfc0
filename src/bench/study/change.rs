//! Whether a server does better or worse than another, or than it did before, by more than chance.
//!
//! What is measured in a row depends on what was measured before it: the machine is as it was a moment ago. So rounds are no
//! independent measurements, and a test that takes them for such finds a difference where there is none. Here the
//! unit is a block of them.
//!
//! - In turn ([`Change::in_turn`]): a block is two rounds of each, in an order and its mirror image (A B B A), so that what
//!   rises steadily hurts both alike; and by lot one or the other order. If both servers are the same, either sign of
//!   each block's difference was as likely, however its rounds depend on each other and on those of other blocks:
//!   the test is exact.
//! - Beside an earlier result ([`Change::since`]) there is no such lot. A block is as many rounds as it takes until blocks
//!   hardly depend on each other, as far as they themselves tell.

use serde::Serialize;

use crate::bench::study::comparison::Contender;
use crate::bench::study::objective::Metric;
use crate::bench::study::statistic::{
    CONFIDENCE, Spread, autocorrelation, block_length, blocks, chance, chance_of_signs,
    least_chance, least_chance_of_signs,
};
use crate::bench::study::turns::ROUNDS_OF_A_BLOCK;
use crate::load::measure::figures::round;
use crate::load::plan::mode::{ModeName, ModelName};
use crate::load::run::report::Report;

/// So many figures are judged of a server. Each may be found to differ by chance in its part of what all may: five in a
/// hundred (Bonferroni).
const FIGURES: f64 = 4.0;

/// What chance may do to one figure.
pub(super) fn chance_of_a_figure() -> f64 {
    (1.0 - CONFIDENCE) / FIGURES
}

/// How one figure of a server is beside that of its earlier self, or of the server that it is asked in turn with.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Change {
    /// In which mode.
    pub mode: ModeName,
    /// Which server.
    pub name: String,
    /// The server that it was asked in turn with; none for its earlier self.
    pub against: Option<String>,
    /// Of which figure.
    pub metric: ChangeMetric,
    /// As it was, or as the other server has it: over rounds; of failures the mean stands where the median does else, since
    /// most rounds may have none.
    pub before: Spread,
    /// As it is.
    pub now: Spread,
    /// Now by before: of the medians, or of servers in turn the median over blocks. Not a number where there is nothing to
    /// divide by.
    pub ratio: f64,
    /// Of servers in turn: that ratio, block by block.
    pub ratios: Option<Spread>,
    /// How many blocks were weighed, before and now.
    pub blocks: [usize; 2],
    /// Of how many rounds of a server each is.
    pub rounds_of_a_block: usize,
    /// How much a round is like the one before it, from 0 to 1; none of servers in turn, where it does not matter.
    pub autocorrelation: Option<f64>,
    /// In how many rounds the generator was the limit, before and now.
    pub generator_was_the_limit: [usize; 2],
    /// How likely chance alone parts them so far.
    pub chance: f64,
    /// What follows.
    pub verdict: ChangeVerdict,
}

/// A figure that may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChangeMetric {
    /// Answers a second.
    Rate,
    /// The latency that 99 % of the requests had at most, in microseconds: without end where more than 1 % were never
    /// answered.
    P99,
    /// Failures for each request, those of the warm-up included.
    Errors,
    /// Answers per second of the server's processor time, where that was watched.
    PerCpu,
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
    /// It looks better or worse, but where it is worse the generator was the limit in most rounds: the server may
    /// do more.
    Limited,
    /// So few blocks that no difference at all could be told from chance.
    TooFew,
    /// The same, since so many rounds make one block: each is much like the one before it.
    Dependent,
    /// Other processes had too much of the machine.
    Busy,
}

impl ChangeMetric {
    /// In the order in which they are told: where the rate is given, how long it took says more.
    fn all(model: ModelName) -> [Self; 4] {
        match model {
            ModelName::Closed => [Self::Rate, Self::P99, Self::Errors, Self::PerCpu],
            ModelName::Open => [Self::P99, Self::Rate, Self::Errors, Self::PerCpu],
        }
    }

    /// Of one round; none where it has no such figure. A round in which nothing was even asked took for ever.
    fn of(self, report: &Report) -> Option<f64> {
        match self {
            Self::Rate => Metric::Rate.of(report),
            Self::P99 if report.latency_us.is_empty() => Some(f64::INFINITY),
            Self::P99 => Metric::P99.of(report),
            Self::Errors => {
                let errors = Metric::Errors.of(report)?;
                Some(errors / (report.requests.asked as f64).max(1.0))
            }
            Self::PerCpu => report.per_cpu(),
        }
    }

    /// Of all rounds, if each has it.
    fn of_rounds(self, reports: &[Report]) -> Option<Vec<f64>> {
        reports.iter().map(|report| self.of(report)).collect()
    }

    fn less_is_better(self) -> bool {
        matches!(self, Self::P99 | Self::Errors)
    }

    /// Whether a generator that had no time to spare has a part in it.
    fn depends_on_the_generator(self) -> bool {
        matches!(self, Self::Rate | Self::P99)
    }

    /// Of several rounds or blocks; none of none.
    fn spread(self, figures: &[f64]) -> Option<Spread> {
        let mut spread = Spread::of(figures.iter().copied())?;
        if self == Self::Errors {
            spread.median = figures.iter().sum::<f64>() / figures.len() as f64;
        }
        Some(spread)
    }
}

/// What is known of two sets of measurements, from which a verdict follows.
#[derive(Debug, Clone, Copy)]
struct Evidence {
    before: f64,
    now: f64,
    /// That chance alone parts them so far, and the least it could be.
    chance: f64,
    least_chance: f64,
    /// Whether more blocks could be made of these rounds, if they depended less on each other.
    is_dependent: bool,
    /// Whether the generator was the limit before, and now.
    is_limited: [bool; 2],
}

impl Change {
    /// All figures of a server that was measured before and now.
    pub fn since(
        mode: ModeName,
        earlier: &Contender,
        now: &Contender,
        tolerance: f64,
    ) -> Vec<Self> {
        Self::all(
            mode,
            earlier,
            now,
            |metric, before, is| {
                let like = autocorrelation(&[before, is]);
                let length = block_length(like);
                let (early, late) = (blocks(before, length), blocks(is, length));
                let evidence = Evidence {
                    before: metric.spread(before)?.median,
                    now: metric.spread(is)?.median,
                    chance: chance(&early, &late),
                    least_chance: least_chance(early.len(), late.len()),
                    is_dependent: length > 1,
                    is_limited: limited(metric, earlier, now),
                };
                let weighed = Weighed {
                    blocks: [early.len(), late.len()],
                    rounds_of_a_block: length,
                    autocorrelation: Some(round(like, 2)),
                    ratios: None,
                    ratio: evidence.now / evidence.before,
                };
                Some((weighed, evidence))
            },
            tolerance,
        )
    }

    /// All figures of a server that was asked in turn with another: in the rounds of a block in an order and its mirror image.
    pub fn in_turn(
        mode: ModeName,
        other: &Contender,
        now: &Contender,
        tolerance: f64,
    ) -> Vec<Self> {
        Self::all(
            mode,
            other,
            now,
            |metric, before, is| {
                let means = |figures: &[f64]| {
                    let whole = figures.chunks_exact(ROUNDS_OF_A_BLOCK);
                    whole
                        .map(|block| block.iter().sum::<f64>() / block.len() as f64)
                        .collect()
                };
                let (early, late): (Vec<f64>, Vec<f64>) = (means(before), means(is));
                // Never is as long as never, and nothing as much as nothing.
                let ratio = |(was, is): (&f64, &f64)| if was == is { 1.0 } else { is / was };
                let ratios: Vec<f64> = early.iter().zip(&late).map(ratio).collect();
                let differences: Vec<f64> = match metric {
                    ChangeMetric::Errors => {
                        early.iter().zip(&late).map(|(was, is)| is - was).collect()
                    }
                    _ => ratios.iter().map(|ratio| ratio.ln()).collect(),
                };
                let spread = Spread::of(ratios)?;
                let (was, is) = match metric {
                    ChangeMetric::Errors => {
                        (metric.spread(&early)?.median, metric.spread(&late)?.median)
                    }
                    _ => (1.0, spread.median),
                };
                let evidence = Evidence {
                    before: was,
                    now: is,
                    chance: chance_of_signs(&differences),
                    least_chance: least_chance_of_signs(differences.len()),
                    is_dependent: false,
                    is_limited: limited(metric, other, now),
                };
                let weighed = Weighed {
                    blocks: [differences.len(); 2],
                    rounds_of_a_block: ROUNDS_OF_A_BLOCK,
                    autocorrelation: None,
                    ratio: is / was,
                    ratios: Some(spread),
                };
                Some((weighed, evidence))
            },
            tolerance,
        )
    }

    /// The figures that both have in all rounds, as `weigh` finds them.
    fn all(
        mode: ModeName,
        earlier: &Contender,
        now: &Contender,
        weigh: impl Fn(ChangeMetric, &[f64], &[f64]) -> Option<(Weighed, Evidence)>,
        tolerance: f64,
    ) -> Vec<Self> {
        let Some(report) = now.reports.first() else {
            return Vec::new();
        };
        let change = |metric: ChangeMetric| {
            let before = metric.of_rounds(&earlier.reports)?;
            let is = metric.of_rounds(&now.reports)?;
            let (weighed, evidence) = weigh(metric, &before, &is)?;
            Some(Self {
                mode,
                name: now.name.clone(),
                against: weighed.ratios.is_some().then(|| earlier.name.clone()),
                metric,
                before: metric.spread(&before)?,
                now: metric.spread(&is)?,
                ratio: round(weighed.ratio, 4),
                ratios: weighed.ratios,
                blocks: weighed.blocks,
                rounds_of_a_block: weighed.rounds_of_a_block,
                autocorrelation: weighed.autocorrelation,
                generator_was_the_limit: [earlier, now].map(limits),
                chance: round(evidence.chance, 4),
                verdict: evidence.verdict(tolerance, metric.less_is_better()),
            })
        };
        let all = ChangeMetric::all(report.model).into_iter();
        all.filter_map(change).collect()
    }
}

/// How a figure was weighed.
struct Weighed {
    blocks: [usize; 2],
    rounds_of_a_block: usize,
    autocorrelation: Option<f64>,
    ratio: f64,
    ratios: Option<Spread>,
}

/// In how many rounds the generator was the limit.
fn limits(contender: &Contender) -> usize {
    let reports = contender.reports.iter();
    reports.filter(|one| one.generator.was_the_limit).count()
}

/// Whether it was in most of them, before and now, and this figure would then say more of the generator.
fn limited(metric: ChangeMetric, before: &Contender, now: &Contender) -> [bool; 2] {
    let most = |one: &Contender| 2 * limits(one) > one.reports.len();
    [before, now].map(|one| metric.depends_on_the_generator() && most(one))
}

impl Evidence {
    fn verdict(&self, tolerance: f64, less_is_better: bool) -> ChangeVerdict {
        if self.least_chance > chance_of_a_figure() {
            return match self.is_dependent {
                true => ChangeVerdict::Dependent,
                false => ChangeVerdict::TooFew,
            };
        }
        let (before, now) = (self.before, self.now);
        // Written so that nothing, and no answer at all, can be compared too.
        let is_far = if before.is_finite() {
            (now - before).abs() > tolerance * before
        } else {
            now.is_finite()
        };
        if !is_far || self.chance > chance_of_a_figure() {
            return ChangeVerdict::Same;
        }
        let is_worse = (now > before) == less_is_better;
        // Where the generator was the limit the server may do more: the worse side may not be as bad as it looks.
        let [was_limited, is_limited] = self.is_limited;
        match is_worse {
            true if is_limited => ChangeVerdict::Limited,
            false if was_limited => ChangeVerdict::Limited,
            true => ChangeVerdict::Worse,
            false => ChangeVerdict::Better,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::study::turns::Turns;
    use crate::load::measure::failures::FailureKind;
    use crate::load::measure::histogram::{Latencies, Summary};
    use crate::load::plan::Plan;
    use crate::load::plan::mode::{Arrivals, Mode, Model};
    use crate::load::plan::target::Endpoint;
    use crate::load::run::schedule::Schedule;

    const OPEN: Model = Model::Open {
        rate: 100.0,
        arrivals: Arrivals::Constant,
    };

    fn evidence(before: f64, now: f64, chance: f64) -> Evidence {
        Evidence {
            before,
            now,
            chance,
            least_chance: 0.001,
            is_dependent: false,
            is_limited: [false; 2],
        }
    }

    #[test]
    fn a_verdict_needs_blocks_and_a_difference() {
        let of = |ratio, chance, less| evidence(100.0, 100.0 * ratio, chance).verdict(0.05, less);
        assert_eq!(of(0.5, 0.01, false), ChangeVerdict::Worse);
        assert_eq!(of(1.5, 0.01, false), ChangeVerdict::Better);
        assert_eq!(of(1.5, 0.01, true), ChangeVerdict::Worse);
        assert_eq!(of(0.5, 0.01, true), ChangeVerdict::Better);
        assert_eq!(of(0.5, 0.06, false), ChangeVerdict::Same);
        assert_eq!(of(0.96, 0.01, false), ChangeVerdict::Same);
        let few = |is_dependent| Evidence {
            least_chance: 0.013,
            is_dependent,
            ..evidence(100.0, 50.0, 0.013)
        };
        assert_eq!(few(false).verdict(0.0, false), ChangeVerdict::TooFew);
        assert_eq!(few(true).verdict(0.0, false), ChangeVerdict::Dependent);
        let never = f64::INFINITY;
        let of = |before, now, less| evidence(before, now, 0.01).verdict(0.05, less);
        assert_eq!(of(100.0, never, true), ChangeVerdict::Worse);
        assert_eq!(of(never, 100.0, true), ChangeVerdict::Better);
        assert_eq!(of(never, never, true), ChangeVerdict::Same);
        assert_eq!(of(0.0, 100.0, false), ChangeVerdict::Better);
        assert_eq!(of(100.0, 0.0, false), ChangeVerdict::Worse);
        assert_eq!(of(0.0, 0.0, false), ChangeVerdict::Same);
        assert_eq!(of(0.0, 0.001, true), ChangeVerdict::Worse);
    }

    #[test]
    fn a_difference_of_exactly_what_is_tolerated_is_none() {
        let of = |now, tolerance, less| evidence(100.0, now, 0.01).verdict(tolerance, less);
        assert_eq!(of(95.0, 0.05, false), ChangeVerdict::Same);
        assert_eq!(of(105.0, 0.05, false), ChangeVerdict::Same);
        assert_eq!(of(94.9, 0.05, false), ChangeVerdict::Worse);
        assert_eq!(of(105.1, 0.05, true), ChangeVerdict::Worse);
        // Nothing is tolerated, and there is nothing.
        assert_eq!(of(100.0, 0.0, false), ChangeVerdict::Same);
        assert_eq!(of(100.0, 0.0, true), ChangeVerdict::Same);
        assert_eq!(of(99.9, 0.0, false), ChangeVerdict::Worse);
        // Chance alone parts them exactly as often as it may.
        let most = chance_of_a_figure();
        let chance = |chance| evidence(100.0, 50.0, chance).verdict(0.05, false);
        assert_eq!(chance(most), ChangeVerdict::Worse);
        assert_eq!(chance(most + 1e-9), ChangeVerdict::Same);
    }

    #[test]
    fn the_generator_may_be_what_is_slower_but_not_what_is_faster() {
        let of = |before, now| Evidence {
            is_limited: [before, now],
            ..evidence(100.0, 50.0, 0.001)
        };
        // Of the rate, less is worse; of a latency better.
        for (before, now, of_rate, of_latency) in [
            (false, false, ChangeVerdict::Worse, ChangeVerdict::Better),
            (true, false, ChangeVerdict::Worse, ChangeVerdict::Limited),
            (false, true, ChangeVerdict::Limited, ChangeVerdict::Better),
            (true, true, ChangeVerdict::Limited, ChangeVerdict::Limited),
        ] {
            assert_eq!(of(before, now).verdict(0.05, false), of_rate);
            assert_eq!(of(before, now).verdict(0.05, true), of_latency);
        }
    }

    /// One server whose rounds were changed so.
    fn contender(
        name: &str,
        model: Model,
        rounds: usize,
        change: impl Fn(usize, &mut Report),
    ) -> Contender {
        contender_of(&round_of(model), name, rounds, change)
    }

    /// A round as it is before it is changed.
    fn round_of(model: Model) -> Report {
        let mut plan = Plan::new(Endpoint::Unix("/x".into()), Mode::Echo { depth: 1 });
        plan.model = model;
        let mut one = Report::before(&plan);
        (one.rate_per_s, one.latency_us.p99) = (100.0, 100.0);
        (one.latency_us.count, one.requests.asked) = (100, 100);
        one
    }

    fn contender_of(
        one: &Report,
        name: &str,
        rounds: usize,
        change: impl Fn(usize, &mut Report),
    ) -> Contender {
        let reports = (0..rounds).map(|round| {
            let mut report = one.clone();
            change(round, &mut report);
            report
        });
        Contender {
            name: name.to_owned(),
            figures: None,
            ratios: None,
            reports: reports.collect(),
        }
    }

    fn verdicts(changes: &[Change]) -> Vec<(ChangeMetric, ChangeVerdict)> {
        changes
            .iter()
            .map(|one| (one.metric, one.verdict))
            .collect()
    }

    #[test]
    fn rounds_that_tie_with_those_before_are_the_same() {
        for (model, first) in [
            (Model::Closed, ChangeMetric::Rate),
            (OPEN, ChangeMetric::P99),
        ] {
            let one = contender("it", model, 16, |_, _| {});
            for changes in [
                Change::since(ModeName::Echo, &one, &one, 0.0),
                Change::in_turn(ModeName::Echo, &one, &one, 0.0),
            ] {
                assert_eq!((changes.len(), changes[0].metric), (3, first));
                for change in changes {
                    assert_eq!((change.verdict, change.chance), (ChangeVerdict::Same, 1.0));
                }
            }
        }
        // All but one are slower, and that one ties: chance may have done it (4 of 252 orders).
        let with = |rates: [f64; 5]| {
            contender("it", Model::Closed, 5, move |round, one| {
                one.rate_per_s = rates[round]
            })
        };
        let before = with([100.0, 100.0, 90.0, 100.0, 100.0]);
        let verdict = |now| Change::since(ModeName::Echo, &before, &with(now), 0.05)[0].verdict;
        assert_eq!(verdict([50.0; 5]), ChangeVerdict::Worse);
        assert_eq!(verdict([50.0, 50.0, 90.0, 50.0, 50.0]), ChangeVerdict::Same);
    }

    #[test]
    fn a_round_in_which_too_many_were_never_answered_took_for_ever() {
        // Quicker, as far as it answers: 1 % may be missing, and no more.
        fn seen(answered: u64, never: u64) -> Summary {
            let mut latencies = Latencies::new();
            latencies.record(50_000, answered);
            (0..never).for_each(|_| latencies.record_never());
            latencies.summary()
        }
        for model in [OPEN, Model::Closed] {
            let good = contender("good", model, 16, |_, _| {});
            let with = |latency_us: Summary| {
                let now = contender("it", model, 16, move |_, one| one.latency_us = latency_us);
                [
                    Change::since(ModeName::Echo, &good, &now, 0.05),
                    Change::in_turn(ModeName::Echo, &good, &now, 0.05),
                ]
                .map(|changes| {
                    let p99 = changes
                        .into_iter()
                        .find(|one| one.metric == ChangeMetric::P99);
                    p99.unwrap()
                })
            };
            for change in with(seen(98, 2)) {
                assert_eq!(
                    (change.verdict, change.now.median),
                    (ChangeVerdict::Worse, f64::INFINITY)
                );
            }
            for change in with(seen(99, 1)) {
                assert_eq!(change.verdict, ChangeVerdict::Better);
            }
            // Nothing was asked at all.
            for change in with(Summary::default()) {
                assert_eq!(change.verdict, ChangeVerdict::Worse);
            }
        }
    }

    #[test]
    fn errors_are_part_of_the_verdict_and_may_have_been_none() {
        let good = contender("good", OPEN, 20, |_, _| {});
        let fails = |every: usize| {
            contender("it", OPEN, 20, move |round, one| {
                if round % every == 0 {
                    one.warmup_errors.count(FailureKind::Reset);
                    one.errors.count(FailureKind::Timeout);
                }
            })
        };
        let same =
            [ChangeMetric::P99, ChangeMetric::Rate].map(|metric| (metric, ChangeVerdict::Same));
        for (every, expected) in [(1, ChangeVerdict::Worse), (20, ChangeVerdict::Same)] {
            for changes in [
                Change::since(ModeName::Echo, &good, &fails(every), 0.05),
                Change::in_turn(ModeName::Echo, &good, &fails(every), 0.05),
            ] {
                assert_eq!(verdicts(&changes)[..2], same);
                assert_eq!(
                    verdicts(&changes)[2],
                    (ChangeMetric::Errors, expected),
                    "{every}"
                );
                // Two of a hundred requests in each such round.
                let share = changes[2].now.median * every as f64;
                assert!((share - 0.02).abs() < 1e-12, "{share}");
            }
        }
        let better = Change::since(ModeName::Echo, &fails(1), &good, 0.05);
        assert_eq!(better[2].verdict, ChangeVerdict::Better);
    }

    #[test]
    fn rounds_that_are_like_the_one_before_are_taken_together_or_nothing_is_known() {
        // Up in one half and down in the other, a little more each time.
        let wave = |rounds: usize, level: f64| {
            contender("it", Model::Closed, rounds, move |round, one| {
                let far = (2 * round).abs_diff(rounds) as f64;
                one.rate_per_s = level + far / 1e3;
            })
        };
        let change = |rounds| {
            let changes = Change::since(
                ModeName::Echo,
                &wave(rounds, 100.0),
                &wave(rounds, 50.0),
                0.05,
            );
            let [rate, ..] = <[Change; 3]>::try_from(changes).unwrap();
            rate
        };
        let rate = change(20);
        assert_eq!(rate.verdict, ChangeVerdict::Dependent, "{rate:?}");
        assert!(
            rate.autocorrelation > Some(0.5) && rate.rounds_of_a_block > 4,
            "{rate:?}"
        );
        assert!(rate.blocks[0] < 5, "{rate:?}");
        // In turn it does not matter.
        let (other, now) = (wave(20, 100.0), wave(20, 50.0));
        let [rate, ..] =
            <[Change; 3]>::try_from(Change::in_turn(ModeName::Echo, &other, &now, 0.05)).unwrap();
        assert_eq!(
            (rate.verdict, rate.blocks, rate.ratios.is_some()),
            (ChangeVerdict::Worse, [10, 10], true)
        );
    }

    #[test]
    fn most_rounds_limited_by_the_generator_make_no_verdict_of_its_figures() {
        let with = |rate: f64, limited: usize, fails: bool| {
            contender("it", Model::Closed, 20, move |round, one| {
                one.rate_per_s = rate;
                one.generator.was_the_limit = round < limited;
                if fails {
                    one.errors.count(FailureKind::Reset);
                }
            })
        };
        let changes = |limited| {
            let (before, now) = (with(100.0, 0, false), with(50.0, limited, true));
            Change::since(ModeName::Echo, &before, &now, 0.05)
        };
        assert_eq!(changes(10)[0].verdict, ChangeVerdict::Worse);
        assert_eq!(changes(11)[0].verdict, ChangeVerdict::Limited);
        assert_eq!(changes(11)[0].generator_was_the_limit, [0, 11]);
        // A request that failed has failed.
        assert_eq!(changes(11)[2].verdict, ChangeVerdict::Worse);
    }

    /// A machine that is now faster and now slower: each round has so much of the one before it.
    struct Machine {
        like: f64,
        level: f64,
        chances: Schedule,
    }

    impl Machine {
        fn new(like: f64, seed: u64) -> Self {
            Self {
                like,
                level: 0.0,
                chances: Schedule::new(Arrivals::Uniform, 1.0, seed, 0),
            }
        }

        fn round(&mut self) -> f64 {
            let before = self.chances.next();
            self.chances.advance();
            // From -1 to 1, and as wide as the level.
            let chance = (self.chances.next() - before) as f64 / 1e9 - 1.0;
            self.level = self.like * self.level + (1.0 - self.like * self.like).sqrt() * chance;
            // A tenth up or down.
            1_000.0 * (1.0 + self.level / 10.0)
        }
    }

    /// In how many of 100 comparisons of a server with itself it was found better or worse.
    fn wrong(like: f64, rounds: usize, in_turn: bool) -> usize {
        // Made once: a report has many histograms.
        let unchanged = round_of(Model::Closed);
        let of = |rates: &[f64]| {
            contender_of(&unchanged, "it", rates.len(), |round, one| {
                one.rate_per_s = rates[round];
                one.latency_us.p99 = 1e6 / rates[round];
            })
        };
        let is_wrong = |seed: &u64| {
            let mut machine = Machine::new(like, *seed);
            let (mut one, mut other) = (Vec::new(), Vec::new());
            if in_turn {
                for round in 0..rounds {
                    let mut pair = [(); 2].map(|()| machine.round());
                    if (Turns::ByLot { seed: *seed }).are_reversed(round) {
                        pair.reverse();
                    }
                    one.push(pair[0]);
                    other.push(pair[1]);
                }
            } else {
                one.extend((0..rounds).map(|_| machine.round()));
                // Hours later.
                machine = Machine::new(like, !seed);
                for _ in 0..100 {
                    machine.round();
                }
                other.extend((0..rounds).map(|_| machine.round()));
            }
            let (one, other) = (of(&one), of(&other));
            let changes = match in_turn {
                true => Change::in_turn(ModeName::Echo, &one, &other, 0.0),
                false => Change::since(ModeName::Echo, &one, &other, 0.0),
            };
            let decided = [ChangeVerdict::Better, ChangeVerdict::Worse];
            changes
                .iter()
                .any(|change| decided.contains(&change.verdict))
        };
        (0..100).filter(is_wrong).count()
    }

    #[test]
    fn a_server_beside_itself_on_a_machine_that_drifts_is_found_to_differ_in_five_of_a_hundred_at_most()
     {
        for like in [0.0, 0.6, 0.87] {
            for in_turn in [true, false] {
                let wrong = wrong(like, 20, in_turn);
                assert!(wrong <= 5, "{like} {in_turn}: {wrong} of 100");
            }
        }
    }
}
