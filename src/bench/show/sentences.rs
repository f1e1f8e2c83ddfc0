//! What was measured, and the result, in sentences.

use crate::bench::show::{label, phrases};
use crate::bench::study::comparison::{Contender, Contest, Ratios};
use crate::bench::study::statistic::Spread;
use crate::load::measure::figures::{Grouped, Micros, whole};
use crate::load::plan::mode::ModeName;
use crate::load::run::report::Report;

/// What a contest is about.
pub(super) fn subject(mode: ModeName) -> &'static str {
    match mode {
        ModeName::Conn => "Connections a second",
        ModeName::Echo => "Messages a second, on connections that stay",
        ModeName::Exec => "Commands a second",
        ModeName::Udp => "Datagrams a second",
        ModeName::Hold => "Idle connections",
        ModeName::Fanout => "Deliveries a second: lines of one sender, to each member",
    }
}

fn noun(mode: ModeName) -> &'static str {
    match mode {
        ModeName::Conn => "connections",
        ModeName::Echo => "messages",
        ModeName::Exec => "commands",
        ModeName::Udp => "datagrams",
        ModeName::Fanout => "deliveries",
        ModeName::Hold => "answers",
    }
}

/// How the servers were asked: the conditions of the first report, which are those of all in a contest.
pub(super) fn setup(contest: &Contest, rounds: usize) -> Vec<String> {
    let Some(report) = contest.contenders.iter().find_map(Contender::typical) else {
        return Vec::new();
    };
    let connections = count(report.connections.asked as u64, "connection");
    let size = Grouped(report.size_bytes as u64);
    let in_flight = Grouped(report.pipeline as u64);
    let terms = contest.terms();
    let is_one = terms.len() < 2;
    let how = match report.mode {
        ModeName::Hold => format!("{connections}, idle"),
        ModeName::Udp => format!("{in_flight} datagrams in flight, {size} B each"),
        ModeName::Fanout => format!(
            "{connections} that receive and one that sends, {in_flight} lines of {size} B in flight"
        ),
        _ if !is_one => format!("{connections} at once"),
        _ => match (report.close, report.requests_per_connection) {
            (Some(close), None | Some(1)) => {
                format!("{connections} at once, one message of {size} B on each, close: {close}")
            }
            (Some(close), Some(count)) => format!(
                "{connections} at once, {count} messages of {size} B on each, close: {close}"
            ),
            (None, _) => {
                format!("{connections}, {in_flight} in flight on each, {size} B a message")
            }
        },
    };
    let warmup = if report.warmup_s > 0.0 {
        format!(" after {} s of warm-up", label::plain(report.warmup_s))
    } else {
        String::new()
    };
    let turns = match (rounds, contest.contenders.len()) {
        (0 | 1, _) => String::new(),
        (rounds, 1) => format!(", in {rounds} rounds"),
        (rounds, servers) => format!(", in {rounds} rounds of all {servers} in turn"),
    };
    let mut sentences = vec![format!(
        "{how}; measured for {} s{warmup}{turns}.",
        label::plain(report.elapsed_s)
    )];
    if !is_one {
        let each = terms.iter();
        sentences.extend(each.map(|(terms, names)| format!("{}: {terms}.", names.join(", "))));
    } else if report.expect != "echo" {
        sentences.push(format!("What counts as the answer: {}.", report.expect));
    }
    sentences.extend(model(report));
    sentences
}

fn model(report: &Report) -> Option<String> {
    let (_, rule) = phrases::model(report);
    match report.schedule {
        _ if report.mode == ModeName::Hold => None,
        Some(_) => Some(format!("Open model: {rule}.")),
        None => Some(format!(
            "Closed model: {rule}; waiting behind a stall is only partly seen."
        )),
    }
}

/// The result, for a reader of one sentence.
pub(super) fn headline(contest: &Contest, rounds: usize) -> Vec<String> {
    let Some((first, others)) = contest.contenders.split_first() else {
        return vec!["No server was measured.".to_owned()];
    };
    let alone = || contest.contenders.iter().map(|one| absolute(one, rounds));
    if others.is_empty() || contest.mode == ModeName::Hold {
        return alone().collect();
    }
    let compared = others.iter().map(|one| match &one.ratios {
        Some(ratios) if answered(one) => relative(&one.name, &first.name, contest.mode, ratios),
        _ => absolute(one, rounds),
    });
    let mut sentences = vec![absolute(first, rounds)];
    sentences.extend(compared);
    let answering = || others.iter().filter(|one| answered(one));
    let ratios = || answering().filter_map(|one| one.ratios);
    if ratios().next().is_some() && !ratios().any(|ratios| ratios.rate.is_interval) {
        sentences.push(format!(
            "{}: too few to tell a difference from chance, which takes six.",
            count(rounds as u64, "round")
        ));
    }
    sentences
}

/// One contender for itself.
fn absolute(contender: &Contender, rounds: usize) -> String {
    let name = &contender.name;
    let (Some(report), Some(figures)) = (contender.typical(), contender.figures) else {
        return format!("{name}: no round could be made.");
    };
    if report.mode == ModeName::Hold {
        return format!(
            "{name} held {} of {} connections.",
            Grouped(report.connections.held as u64),
            Grouped(report.connections.asked as u64)
        );
    }
    if !answered(contender) {
        return format!("No answer came from {name}.");
    }
    let rate = figures.rate_per_s;
    let mut text = format!(
        "{name} answered {} {} a second",
        label::rate(rate.median),
        noun(report.mode)
    );
    if rounds > 1 {
        text += &format!(
            " ({} to {}, {})",
            label::rate(rate.low),
            label::rate(rate.high),
            certainty(&rate, rounds)
        );
    }
    // As the table has them: of several rounds the medians.
    let middle = |spread: Option<Spread>| spread.map_or(0.0, |spread| spread.median);
    let longest = contender.reports.iter().map(|one| one.latency_us.max);
    text + &format!(
        ": half within {}, 99\u{a0}% within {}, the longest took {}.",
        Micros(middle(figures.p50_us)),
        Micros(middle(figures.p99_us)),
        Micros(longest.fold(0.0, f64::max))
    )
}

/// Whether any round of it saw an answer.
fn answered(contender: &Contender) -> bool {
    contender
        .figures
        .is_some_and(|figures| figures.rate_per_s.high > 0.0)
}

/// One contender by another.
fn relative(name: &str, first: &str, mode: ModeName, ratios: &Ratios) -> String {
    let (rate, noun) = (&ratios.rate, noun(mode));
    let times = format!("{} times as many {noun} a second", factors(rate));
    let mut text = if rate.excludes_one() {
        format!("{name} answers {times} as {first}")
    } else if rate.is_interval {
        format!("{name} and {first} cannot be told apart: {times}")
    } else {
        format!("{name} answered {times} as {first}")
    };
    if let Some(p99) = &ratios.p99 {
        let times = factors(p99);
        text += &format!("; its 99th percentile of latency is {times} times as long");
    }
    text + "."
}

/// A ratio, and how far the rounds lie apart if there were several.
pub(super) fn factors(ratio: &Spread) -> String {
    let of = label::factor;
    if ratio.low == ratio.high {
        return of(ratio.median);
    }
    format!(
        "{} ({} to {})",
        of(ratio.median),
        of(ratio.low),
        of(ratio.high)
    )
}

/// What an interval, or a range, is.
pub(super) fn certainty(spread: &Spread, rounds: usize) -> String {
    if spread.is_interval {
        format!("with 95 % confidence, of {rounds} rounds")
    } else {
        format!("the least and the greatest of {rounds} rounds")
    }
}

/// What a reader must know before believing a figure.
pub(super) fn notices(contest: &Contest) -> Vec<String> {
    contest.contenders.iter().flat_map(notices_of).collect()
}

fn notices_of(contender: &Contender) -> Vec<String> {
    let name = &contender.name;
    let mut notices = Vec::new();
    let rounds = contender.reports.len();
    let limited = || {
        contender
            .reports
            .iter()
            .filter(|report| report.generator.was_the_limit)
    };
    let why = limited().find_map(|report| phrases::limit(&report.generator));
    if let Some(why) = why {
        let when = if rounds > 1 {
            format!(" in {} of {rounds} rounds", limited().count())
        } else {
            String::new()
        };
        notices.push(format!(
            "{name}: the generator was the limit{when}, since {why}."
        ));
    }
    let hidden = contender
        .reports
        .iter()
        .filter_map(|report| Some((report.mode, report.hidden?)));
    if let Some((mode, worst)) = hidden.max_by(|(_, a), (_, b)| a.stall_us.total_cmp(&b.stall_us)) {
        notices.push(format!(
            "{name}: no answer came for {}. The closed model hides what that means: {}.",
            Micros(worst.stall_us),
            phrases::missed(&worst, mode)
        ));
    }
    notices.extend(errors(contender));
    notices
}

/// All failures of all rounds, by kind.
fn errors(contender: &Contender) -> Option<String> {
    let errors = contender.figures?.errors;
    let other = contender
        .reports
        .iter()
        .find_map(|report| report.other_error.as_deref());
    let other = other.map_or(String::new(), |text| {
        format!(" The first of the others: {text}.")
    });
    (errors.total > 0).then(|| {
        format!(
            "{}: {}: {}.{other}",
            contender.name,
            count(errors.total, "error"),
            phrases::kinds(&errors)
        )
    })
}

fn count(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", Grouped(number))
}

/// A rate and how far its rounds lie apart.
pub(super) fn spread(spread: &Spread) -> String {
    let median = Grouped(whole(spread.median));
    if spread.high > spread.low {
        let (low, high) = (Grouped(whole(spread.low)), Grouped(whole(spread.high)));
        format!("{median} ({low} to {high})")
    } else {
        median.to_string()
    }
}
