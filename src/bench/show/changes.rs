//! What is better or worse than it was, or than another: as a table for a terminal, and in sentences.

use std::fmt::Write as _;

use crate::bench::show::label::{factor, harmless, rate};
use crate::bench::show::phrases::{apart, count};
use crate::bench::show::rows::{NOTHING, column};
use crate::bench::show::table::{short, table};
use crate::bench::study::change::{Change, ChangeMetric, ChangeVerdict};
use crate::bench::study::quiet::Others;
use crate::load::measure::figures::Micros;

/// What follows for each server in each mode, in one sentence: what is worse first, and what is not known last.
pub fn verdicts(changes: &[Change]) -> Vec<String> {
    of_servers(changes).map(overall).collect()
}

fn overall(changes: &[Change]) -> String {
    let first = &changes[0];
    let beside = match &first.against {
        Some(other) => short(other),
        None => "the baseline".to_owned(),
    };
    let mut parts = Vec::new();
    for said in [WORSE, BETTER, SAME, NOT_KNOWN] {
        let of_it = changes.iter().filter(|one| verdict(one.verdict) == said);
        let figures: Vec<_> = of_it.map(|one| figure_name(one.metric)).collect();
        if let Some((last, others)) = figures.split_last() {
            let others = others.join(", ");
            let and = if others.is_empty() { "" } else { " and " };
            parts.push(format!("{said} in {others}{and}{last}"));
        }
    }
    let (mode, name) = (first.mode, short(&first.name));
    format!("{mode} of {name} beside {beside}: {}", parts.join("; "))
}

fn of_servers(changes: &[Change]) -> impl Iterator<Item = &[Change]> {
    changes.chunk_by(|a, b| (a.mode, &a.name) == (b.mode, &b.name))
}

/// A table for each server, no wider than this, and below it what its verdicts mean.
pub fn text(changes: &[Change], most: Option<usize>) -> String {
    let mut text = String::new();
    for changes in of_servers(changes) {
        let first = &changes[0];
        let (before, beside) = match &first.against {
            Some(other) => (short(other), format!("asked in turn with {}", short(other))),
            None => ("before".to_owned(), "beside the baseline".to_owned()),
        };
        let _ = writeln!(
            text,
            "{} of {}, {beside}: {}",
            first.mode,
            short(&first.name),
            weighed(first)
        );
        let cells = |cell: fn(&Change) -> String| changes.iter().map(cell);
        let columns = [
            column("", cells(|one| figure_name(one.metric).to_owned())),
            column(&before, cells(|one| written(one.metric, middle(one, 0)))),
            column("now", cells(|one| written(one.metric, middle(one, 1)))),
            column("ratio", cells(ratio)),
            column("chance", cells(|one| format!("{:.3}", one.chance))),
            column("", cells(|one| verdict(one.verdict).to_owned())),
        ];
        let _ = writeln!(text, "{}", table(&[0, 5], &columns, most));
        if !changes.iter().any(|one| one.metric == ChangeMetric::P99) {
            let _ = writeln!(
                text,
                "  p99 is not known: each round takes a hundred requests for it"
            );
        }
        let mut told = Vec::new();
        for change in changes {
            let why = why(change);
            if !why.is_empty() && !told.contains(&why) {
                let _ = writeln!(text, "  {why}");
                told.push(why);
            }
        }
    }
    text
}

/// One change.
pub(super) fn sentence(change: &Change) -> String {
    let (name, metric) = (harmless(&change.name), figure_name(change.metric));
    let other = match &change.against {
        Some(other) => format!("of {}, in turn", harmless(other)),
        None => "before".to_owned(),
    };
    let (was, is) = (middle(change, 0), middle(change, 1));
    let mut text = format!(
        "{name}, {metric}: {}; {} beside {} {other}",
        verdict(change.verdict),
        written(change.metric, is),
        written(change.metric, was)
    );
    let ratio = ratio(change);
    if ratio != NOTHING {
        let _ = write!(text, ", which is {ratio} times as much");
    }
    let _ = write!(
        text,
        " (chance alone: {:.3}; {})",
        change.chance,
        weighed(change)
    );
    let why = why(change);
    match why.is_empty() {
        true => text,
        false => format!("{text}: {why}"),
    }
}

/// What other processes used.
pub fn others(others: &Others) -> String {
    format!(
        "other processes used {:.0} % of {} before and between rounds, load average {:.1}",
        others.share * 100.0,
        count(others.processors as u64, "processor"),
        others.load_average
    )
}

/// How the server of a baseline was started.
pub fn earlier(name: &str, command: &str) -> String {
    format!(
        "{} was `{}`: if that program is still there, --against asks it in turn, which is surer",
        harmless(name),
        harmless(command)
    )
}

/// What was weighed.
fn weighed(change: &Change) -> String {
    let rounds = count(change.rounds_of_a_block as u64, "round");
    match (change.blocks, change.autocorrelation) {
        ([blocks, _], None) => format!(
            "{} of {rounds} each, mirrored and by lot",
            count(blocks as u64, "block")
        ),
        ([before, now], Some(like)) => format!(
            "{before} and {now} blocks of {rounds}, each round like the one before it by {like:.2} (0 to 1)"
        ),
    }
}

fn figure_name(metric: ChangeMetric) -> &'static str {
    match metric {
        ChangeMetric::Rate => "rate",
        ChangeMetric::P99 => "p99",
        ChangeMetric::Errors => "errors",
        ChangeMetric::PerCpu => "rate /cpu s",
    }
}

/// Before, and now.
fn middle(change: &Change, place: usize) -> f64 {
    [change.before, change.now][place].median
}

fn written(metric: ChangeMetric, figure: f64) -> String {
    match metric {
        ChangeMetric::Rate => format!("{} /s", rate(figure)),
        ChangeMetric::PerCpu => rate(figure),
        ChangeMetric::P99 => Micros(figure).to_string(),
        ChangeMetric::Errors if figure > 0.0 => format!("{} %", factor(figure * 100.0)),
        ChangeMetric::Errors => "0".to_owned(),
    }
}

/// Now by before: of errors that says nothing, since there may have been none.
fn ratio(change: &Change) -> String {
    match (change.metric, &change.ratios) {
        (ChangeMetric::Errors, _) => NOTHING.to_owned(),
        (_, Some(spread)) if spread.high.is_finite() => apart(spread, factor3),
        _ if change.ratio.is_finite() => factor3(change.ratio),
        _ => NOTHING.to_owned(),
    }
}

/// To a thousandth, where differences are small.
fn factor3(ratio: f64) -> String {
    match ratio {
        0.1..10.0 => format!("{ratio:.3}"),
        _ => factor(ratio),
    }
}

const WORSE: &str = "WORSE";
const BETTER: &str = "BETTER";
const SAME: &str = "not shown to differ";
const NOT_KNOWN: &str = "not known";

fn verdict(verdict: ChangeVerdict) -> &'static str {
    match verdict {
        ChangeVerdict::Better => BETTER,
        ChangeVerdict::Worse => WORSE,
        ChangeVerdict::Same => SAME,
        ChangeVerdict::Limited
        | ChangeVerdict::TooFew
        | ChangeVerdict::Dependent
        | ChangeVerdict::Busy => NOT_KNOWN,
    }
}

/// Why nothing is known.
fn why(change: &Change) -> String {
    match change.verdict {
        ChangeVerdict::Limited => {
            let [before, now] = change.generator_was_the_limit;
            format!(
                "not known, since the generator was the limit ({} before, {now} now): the slower server may do more. Ask at a --rate, or watch the server's processor time (--pid)",
                count(before as u64, "round")
            )
        }
        ChangeVerdict::TooFew => {
            "not known, since so few rounds cannot be told from chance (--rounds)".to_owned()
        }
        ChangeVerdict::Dependent => format!(
            "not known, since a round is much like the one before it, and {} make one that counts: that takes at least {} on each side (--rounds), longer ones (-d), or --against",
            change.rounds_of_a_block,
            5 * change.rounds_of_a_block
        ),
        ChangeVerdict::Busy => {
            "not known, since other processes had too much of the machine (--max-busy)".to_owned()
        }
        ChangeVerdict::Better | ChangeVerdict::Worse | ChangeVerdict::Same => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::study::statistic::Spread;
    use crate::load::plan::mode::ModeName;

    fn change(metric: ChangeMetric, verdict: ChangeVerdict, against: Option<&str>) -> Change {
        let one = Spread::of([1.0]).unwrap();
        Change {
            mode: ModeName::Echo,
            name: "new".to_owned(),
            against: against.map(str::to_owned),
            metric,
            before: one,
            now: one,
            ratio: 1.0,
            ratios: None,
            blocks: [8, 8],
            rounds_of_a_block: 2,
            autocorrelation: None,
            generator_was_the_limit: [0, 0],
            chance: 1.0,
            verdict,
        }
    }

    #[test]
    fn there_is_one_verdict_for_a_server_and_what_is_worse_is_said_first() {
        use ChangeMetric::{Errors, P99, PerCpu, Rate};
        use ChangeVerdict::{Better, Limited, Same, TooFew, Worse};
        let told = |all: &[(ChangeMetric, ChangeVerdict)], against| {
            let all = all.iter();
            let all: Vec<_> = all.map(|(m, v)| change(*m, *v, against)).collect();
            verdicts(&all)
        };
        let mixed = [
            (Rate, Limited),
            (P99, Worse),
            (Errors, Worse),
            (PerCpu, Better),
        ];
        assert_eq!(
            told(&mixed, Some("old")),
            [
                "echo of new beside old: WORSE in p99 and errors; BETTER in rate /cpu s; not known in rate"
            ]
        );
        let alike = [(Rate, Same), (P99, Same), (Errors, Same), (PerCpu, TooFew)];
        assert_eq!(
            told(&alike, None),
            [
                "echo of new beside the baseline: not shown to differ in rate, p99 and errors; not known in rate /cpu s"
            ]
        );
        assert!(told(&[], None).is_empty());
    }
}
