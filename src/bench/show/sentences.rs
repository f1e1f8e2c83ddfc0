//! What was measured in a comparison, and the result, in sentences.

use crate::bench::show::label::{factor, plain, rate};
use crate::bench::show::phrases::{self, apart, asked, count, failed, model};
use crate::bench::study::comparison::{Contender, Contest, Ratios};
use crate::load::measure::figures::{Grouped, Micros};
use crate::load::plan::mode::ModeName;

/// What a contest is about, and what is counted.
pub(super) fn subject(mode: ModeName) -> (&'static str, &'static str) {
    match mode {
        ModeName::Conn => ("Connections a second", "connections"),
        ModeName::Echo => ("Messages a second, on connections that stay", "messages"),
        ModeName::Exec => ("Commands a second", "commands"),
        ModeName::Udp => ("Datagrams a second", "datagrams"),
        ModeName::Hold => ("Idle connections", "connections"),
        ModeName::Fanout => (
            "Deliveries a second: lines of one sender, to each member",
            "deliveries",
        ),
    }
}

/// How the servers were asked, and how to read the figures.
pub(super) fn setup(contest: &Contest, rounds: usize) -> Vec<String> {
    let mut measured = contest.contenders.iter();
    let Some((one, report)) = measured.find_map(|one| Some((one, one.typical()?))) else {
        return vec!["nothing was measured".to_owned()];
    };
    let servers = match contest.contenders.len() {
        1 => "one server".to_owned(),
        count => format!("{count} servers in turn"),
    };
    let warmup = if report.warmup_s > 0.0 {
        format!(" after {} s of warm-up", plain(report.warmup_s))
    } else {
        String::new()
    };
    let mut sentences = vec![format!(
        "{servers}, {} of {} s{warmup}",
        count(rounds as u64, "round"),
        plain(report.elapsed_s)
    )];
    let requests = requests(contest);
    match requests.as_slice() {
        [(request, _)] => sentences.push(request.clone()),
        several => sentences.extend(
            several
                .iter()
                .map(|(request, names)| format!("{}: {request}", names.join(", "))),
        ),
    }
    if report.mode != ModeName::Hold {
        sentences.push(format!("{} model: {}", report.model, model(&one.reports)));
        sentences.extend(reading(contest, rounds));
    }
    sentences
}

/// What was asked of the servers, with their names: several where not all were asked the same.
fn requests(contest: &Contest) -> Vec<(String, Vec<&str>)> {
    let mut all: Vec<(String, Vec<&str>)> = Vec::new();
    for contender in &contest.contenders {
        let Some(report) = contender.reports.first() else {
            continue;
        };
        let request = asked(report);
        match all.iter_mut().find(|(known, _)| *known == request) {
            Some((_, names)) => names.push(&contender.name),
            None => all.push((request, vec![&contender.name])),
        }
    }
    all
}

/// What stands in brackets, and what ratios are of.
fn reading(contest: &Contest, rounds: usize) -> Option<String> {
    let mut figures = contest.contenders.iter().filter_map(|one| one.figures);
    let certainty = match figures.any(|figures| figures.rate_per_s.is_interval) {
        true => {
            "an interval that holds the true median with 95 % confidence, if rounds do not depend on each other"
        }
        false => "the least and the greatest (an interval of 95 % takes six rounds)",
    };
    let ratios = match contest.contenders.iter().any(|one| one.ratios.is_some()) {
        false => "",
        true => "; ratios to the first, round by round, are no verdict: --against gives one",
    };
    (rounds > 1).then(|| format!("medians, and in brackets {certainty}{ratios}"))
}

/// The result, for a reader of one sentence. Of servers that have no ratios, each for itself.
pub(super) fn headline(contest: &Contest, rounds: usize) -> Vec<String> {
    let Some((first, others)) = contest.contenders.split_first() else {
        return vec!["No server was measured.".to_owned()];
    };
    let mut sentences = vec![absolute(first)];
    sentences.extend(others.iter().map(|one| match &one.ratios {
        Some(ratios) if answered(one) => relative(&one.name, &first.name, contest.mode, ratios),
        _ => absolute(one),
    }));
    let answering = others.iter().filter(|one| answered(one));
    let mut ratios = answering.filter_map(|one| one.ratios).peekable();
    if ratios.peek().is_some() && !ratios.any(|ratios| ratios.rate.is_interval) {
        sentences.push(format!(
            "{}: too few to tell a difference from chance, which takes six.",
            count(rounds as u64, "round")
        ));
    }
    sentences
}

/// One contender for itself.
fn absolute(contender: &Contender) -> String {
    let name = &contender.name;
    let (Some(report), Some(figures)) = (contender.typical(), contender.figures) else {
        return format!("{name}: no round could be made.");
    };
    if report.mode == ModeName::Hold {
        let (held, asked) = (
            report.connections.held as u64,
            report.connections.asked as u64,
        );
        let answered = report.roll_call.and_then(|roll| roll.answered);
        return format!(
            "{name} held {} of {}{}.",
            Grouped(held),
            count(asked, "connection"),
            match answered {
                Some(_) => ", and answered on each of them at the end",
                None => "; the service was not asked",
            }
        );
    }
    if !answered(contender) {
        return format!("No answer came from {name}.");
    }
    let (_, noun) = subject(report.mode);
    let parts = [
        figures.p50_us.map(|us| within("half", "half", us.median)),
        figures
            .p99_us
            .map(|us| within("99\u{a0}%", "more than 1\u{a0}%", us.median)),
    ];
    // The longest of those that were answered.
    let longest = contender
        .reports
        .iter()
        .filter_map(|one| one.spectrum.last());
    let longest = longest.fold(0.0, |longest: f64, point| longest.max(point.us));
    let longest = Some(format!("the longest took {}", Micros(longest)));
    let parts: Vec<String> = parts.into_iter().chain([longest]).flatten().collect();
    format!(
        "{name} answered {} {} a second: {}.",
        apart(&figures.rate_per_s, rate),
        noun,
        parts.join(", ")
    )
}

/// That `share` took so long at most; or that others never were answered.
fn within(share: &str, others: &str, us: f64) -> String {
    if us.is_finite() {
        format!("{share} within {}", Micros(us))
    } else {
        format!("{others} never answered")
    }
}

/// Whether any round of it saw an answer.
fn answered(contender: &Contender) -> bool {
    let figures = contender.figures;
    figures.is_some_and(|figures| figures.rate_per_s.high > 0.0)
}

/// One contender by another.
fn relative(name: &str, first: &str, mode: ModeName, ratios: &Ratios) -> String {
    let (ratio, (_, noun)) = (&ratios.rate, subject(mode));
    let times = format!("{} times as many {noun} a second", apart(ratio, factor));
    let mut text = if ratio.excludes_one() {
        format!("{name} answers {times} as {first}")
    } else if ratio.is_interval {
        format!("{name} and {first} cannot be told apart: {times}")
    } else {
        format!("{name} answered {times} as {first}")
    };
    if let Some(p99) = &ratios.p99 {
        let times = apart(p99, factor);
        text += &format!("; its 99th percentile of latency is {times} times as long");
    }
    text + "."
}

/// What a reader must know before believing a figure, and all failures, by server.
pub(super) fn notices(contest: &Contest) -> Vec<String> {
    let of_one = |one: &Contender| {
        let errors = one.figures.map(|figures| figures.errors);
        let errors = errors.filter(|errors| errors.total > 0);
        let errors = errors.map(|errors| failed(contest.mode, &errors));
        let notices = errors.into_iter().chain(phrases::notices(&one.reports));
        let named = |notice| format!("{}: {notice}", one.name);
        notices.map(named).collect::<Vec<_>>()
    };
    contest.contenders.iter().flat_map(of_one).collect()
}
