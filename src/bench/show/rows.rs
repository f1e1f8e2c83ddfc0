//! Each figure once: its name, where it is found, and how it is written.
//!
//! A line of text, a column of a comparison and a row of the page's table are made of the same rows.

use crate::bench::show::label::{factor, rate};
use crate::bench::show::phrases::{apart, failed, kinds, several};
use crate::bench::study::comparison::{Contender, Contest, Figures};
use crate::bench::study::statistic::Spread;
use crate::load::measure::figures::{Grouped, Micros};
use crate::load::measure::histogram::Summary;
use crate::load::plan::mode::ModeName;
use crate::load::run::report::{Held, Report};

/// A figure of a run: its name, which may follow it in a sentence, and how it is written; none where the
/// run has no such figure.
pub(super) type Row = (&'static str, fn(&Report) -> Option<String>);

/// What figures are about, and the figures.
pub(super) type Group = (&'static str, &'static [Row]);

pub(super) const RATE: Group = (
    "rate",
    &[
        ("/s", |r| {
            let unit = match (r.deliveries, several(r)) {
                (Some(_), _) => " deliveries",
                (None, Some(_)) => " connections",
                (None, None) => "",
            };
            asks(r).then(|| rate(r.rate_per_s) + unit)
        }),
        ("requests /s", |r| {
            several(r).map(|_| rate(r.requests_per_s))
        }),
        ("lines /s", |r| Some(rate(r.deliveries?.lines_per_s))),
    ],
);

pub(super) const REQUESTS: Group = (
    "requests",
    &[
        ("asked", |r| asks(r).then(|| number(r.requests.asked))),
        ("answered", |r| asks(r).then(|| number(r.requests.answered))),
        ("late", |r| asks(r).then(|| number(r.requests.late))),
        ("never answered", |r| {
            asks(r).then(|| number(r.requests.unanswered))
        }),
    ],
);

pub(super) const DATAGRAMS: Group = (
    "datagrams",
    &[
        ("sent", |r| Some(number(r.datagrams?.sent))),
        ("lost", |r| Some(number(r.datagrams?.lost))),
        ("duplicated", |r| {
            let seen = r.datagrams.filter(|seen| seen.numbered)?;
            Some(number(seen.duplicates))
        }),
        ("reordered", |r| {
            let seen = r.datagrams.filter(|seen| seen.numbered)?;
            Some(number(seen.reordered))
        }),
        ("late", |r| Some(number(r.datagrams?.late))),
        ("wrong", |r| Some(number(r.datagrams?.wrong))),
        ("refused", |r| Some(number(r.datagrams?.refused))),
    ],
);

pub(super) const DELIVERIES: Group = (
    "deliveries",
    &[
        ("delivered", |r| {
            let seen = r.deliveries?;
            Some(part(seen.delivered, seen.expected))
        }),
        ("lines sent (warm-up included)", |r| {
            Some(number(r.deliveries?.lines))
        }),
        ("lost", |r| Some(number(r.deliveries?.lost))),
        ("late", |r| Some(number(r.deliveries?.late))),
        ("duplicated", |r| Some(number(r.deliveries?.duplicates))),
        ("reordered", |r| Some(number(r.deliveries?.reordered))),
        ("wrong", |r| Some(number(r.deliveries?.wrong))),
        ("notices", |r| Some(number(r.deliveries?.notices))),
    ],
);

pub(super) const HELD: Group = (
    "held",
    &[
        ("connections", |r| {
            let all = r.connections;
            (r.datagrams.is_none()).then(|| part(all.held as u64, all.asked as u64))
        }),
        ("gone", |r| Some(number(r.deliveries?.gone))),
    ],
);

pub(super) const WARMUP: Group = (
    "warm-up",
    &[("", |r| {
        (r.warmup_errors.total > 0).then(|| failed(r.mode, &r.warmup_errors))
    })],
);

pub(super) const ERRORS: Group = (
    "errors",
    &[("", |r| {
        Some(match r.errors.total {
            0 => number(0),
            total => format!("{}: {}", number(total), kinds(r.mode, &r.errors)),
        })
    })],
);

pub(super) const SERVER: Group = (
    "server",
    &[
        ("of one processor", |r| {
            Some(share(r.server.as_ref()?.cpu_share))
        }),
        ("sleeps /s", |r| Some(rate(r.server.as_ref()?.sleeps_per_s))),
        ("of memory before", |r| {
            Some(memory(r.server.as_ref()?.memory_before_bytes))
        }),
        ("of memory after", |r| {
            Some(memory(r.server.as_ref()?.memory_after_bytes))
        }),
        ("answers per second of processor", |r| {
            Some(rate(r.per_cpu()?))
        }),
        ("more a connection", |r| {
            let bytes = r.server.as_ref()?.memory_per_connection_bytes?;
            Some(format!("{} B", rate(bytes)))
        }),
    ],
);

pub(super) const GENERATOR: Group = (
    "generator",
    &[
        ("of one processor", |r| Some(share(r.generator.busy_share))),
        ("waiting for it", |r| Some(share(r.generator.queued_share))),
    ],
);

/// A point of a distribution.
type Point = (&'static str, fn(&Summary) -> f64);

/// A part of a latency.
type Phase = (&'static str, fn(&Report) -> Option<Summary>);

/// In the order of a report, without the latencies.
pub(super) const GROUPS: [Group; 9] = [
    RATE, REQUESTS, DATAGRAMS, DELIVERIES, HELD, WARMUP, ERRORS, SERVER, GENERATOR,
];

/// Percentiles, and the longest.
pub(super) const POINTS: [Point; 5] = [
    ("p50", |of| of.p50),
    ("p90", |of| of.p90),
    ("p99", |of| of.p99),
    ("p99.9", |of| of.p99_9),
    ("max", |of| of.max),
];

/// In the order in which they pass.
pub(super) const PHASES: &[Phase] = &[
    ("to first", |r| Some(r.deliveries?.first_us)),
    ("to median", |r| Some(r.deliveries?.median_us)),
    ("connect", |r| taken(r.phases_us.connect)),
    ("first byte", |r| taken(r.phases_us.first_byte)),
    ("last byte", |r| taken(r.phases_us.last_byte)),
    ("close", |r| taken(r.phases_us.close)),
    ("sent late", |r| taken(r.generator.lag_us)),
];

/// What took no time at all did not happen.
fn taken(phase: Summary) -> Option<Summary> {
    (phase.max > 0.0).then_some(phase)
}

/// A figure of all rounds of one server: its name, how far they lie apart, and how a number of it is written.
type Column = (
    &'static str,
    fn(&Contender) -> Option<Spread>,
    fn(f64) -> String,
);

/// How the names of columns begin whose figures are by the first server's.
const RATIO: &str = "ratio";

const COLUMNS: &[Column] = &[
    ("rate /s", |one| Some(answers(one)?.rate_per_s), rate),
    (RATIO, |one| Some(one.ratios?.rate), factor),
    ("/cpu s", |one| answers(one)?.per_cpu_s, rate),
    ("ratio /cpu s", |one| one.ratios?.per_cpu, factor),
    ("p50", |one| answers(one)?.p50_us, micros),
    ("p99", |one| answers(one)?.p99_us, micros),
    // The least of all rounds: the question is how many stay.
    (
        "held",
        |one| Spread::of(held(one).map(|all| all.held as f64).reduce(f64::min)),
        rate,
    ),
    (
        "asked",
        |one| Spread::of(held(one).map(|all| all.asked as f64).reduce(f64::max)),
        rate,
    ),
    (
        "B a connection",
        |one| {
            let servers = one
                .reports
                .iter()
                .filter_map(|report| report.server.as_ref());
            Spread::of(servers.filter_map(|server| server.memory_per_connection_bytes))
        },
        rate,
    ),
    (
        "errors",
        |one| Spread::of([one.figures?.errors.total as f64]),
        rate,
    ),
];

/// The figures of all rounds by name, one for each server; those that no server has are left out.
///
/// How far the rounds lie apart is said of all figures if `is_wide`, else of ratios only.
pub(super) fn rounds(
    contest: &Contest,
    is_wide: bool,
) -> impl Iterator<Item = (&'static str, Vec<Option<String>>)> {
    COLUMNS.iter().filter_map(move |(name, spread, write)| {
        let is_ratio = name.starts_with(RATIO);
        let mut cells: Vec<_> = contest
            .contenders
            .iter()
            .map(|one| {
                let spread = spread(one)?;
                Some(if is_wide || is_ratio {
                    apart(&spread, write)
                } else {
                    write(spread.median)
                })
            })
            .collect();
        cells.iter().any(Option::is_some).then(|| {
            if let (true, Some(first)) = (is_ratio, cells.first_mut()) {
                *first = Some("1".to_owned());
            }
            (*name, cells)
        })
    })
}

/// The figures of requests; `hold` sends none.
fn answers(contender: &Contender) -> Option<Figures> {
    let is_idle = held(contender).next().is_some();
    contender.figures.filter(|_| !is_idle)
}

/// What each round of `hold` held.
fn held(contender: &Contender) -> impl Iterator<Item = Held> {
    let idle = contender.reports.iter().filter(|report| !asks(report));
    idle.map(|report| report.connections)
}

/// Whether requests are sent: in every mode but `hold`.
fn asks(report: &Report) -> bool {
    report.mode != ModeName::Hold
}

fn number(number: u64) -> String {
    Grouped(number).to_string()
}

fn part(part: u64, of: u64) -> String {
    format!("{} of {}", Grouped(part), Grouped(of))
}

fn micros(us: f64) -> String {
    Micros(us).to_string()
}

/// Of one processor.
fn share(of_one: f64) -> String {
    format!("{:.0} %", of_one * 100.0)
}

fn memory(bytes: u64) -> String {
    format!("{} KiB", Grouped(bytes / 1024))
}
