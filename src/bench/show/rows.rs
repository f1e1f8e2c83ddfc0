//! Each figure once: its name, where it is found, and how it is written.
//!
//! A line of text, a column of a comparison and a row of the page's table are made of the same rows.

use std::iter;

use crate::bench::show::label::{factor, harmless, rate};
use crate::bench::show::phrases::{apart, count, failed, kinds, several, stages};
use crate::bench::study::comparison::{Contender, Contest, Figures};
use crate::bench::study::statistic::Spread;
use crate::load::measure::figures::{Grouped, Micros};
use crate::load::measure::histogram::Summary;
use crate::load::measure::process::Server;
use crate::load::plan::mode::ModeName;
use crate::load::run::outcome::{DatagramCounts, LackingMember, RequestCounts, Throughput};
use crate::load::run::report::{Held, Report};

/// A figure of a run: its name, which may follow it in a sentence, and how it is written; none where the
/// run has no such figure.
pub(super) type Row = (&'static str, fn(&Report) -> Option<String>);

/// What figures are about, and the figures.
pub(super) type Group = (&'static str, &'static [Row]);

pub(super) const ADDRESS: Group = (
    "address",
    &[("", |r| {
        let address = r.address.as_ref().filter(|one| !one.all.is_empty())?;
        let asked = harmless(&address.asked);
        match address.all.as_slice() {
            // It was written so.
            [_] if r.endpoint.ends_with(&format!("://{asked}")) => None,
            [_] => Some(asked),
            all => Some(format!("{asked}, of {}", all.join(" and "))),
        }
    })],
);

pub(super) const RATE: Group = (
    "rate",
    &[
        ("/s", |r| {
            let unit = match (r.deliveries, several(r)) {
                (Some(_), _) => " deliveries",
                (None, Some(_)) => " connections",
                (None, None) => "",
            };
            requests(r).map(|_| rate(r.rate_per_s) + unit)
        }),
        ("requests /s", |r| {
            several(r).map(|_| rate(r.requests_per_s))
        }),
        ("lines /s", |r| Some(rate(r.deliveries?.lines_per_s))),
    ],
);

pub(super) const BYTES: Group = (
    "bytes",
    &[
        ("sent", |r| Some(bytes_per_s(throughput(r)?.sent))),
        ("received", |r| Some(bytes_per_s(throughput(r)?.received))),
    ],
);

pub(super) const REQUESTS: Group = (
    "requests",
    &[
        ("asked", |r| Some(number(requests(r)?.asked))),
        ("answered", |r| Some(number(requests(r)?.answered))),
        ("late", |r| Some(number(requests(r)?.late))),
        ("never answered", |r| Some(number(requests(r)?.unanswered))),
        ("of these never sent", |r| {
            let unsent = requests(r)?.unsent;
            (unsent > 0).then(|| number(unsent))
        }),
    ],
);

pub(super) const STATUSES: Group = (
    "status",
    &[
        ("2xx", |r| Some(number(r.statuses?.success))),
        ("3xx", |r| Some(number(r.statuses?.redirection))),
        ("4xx", |r| Some(number(r.statuses?.client_error))),
        ("5xx", |r| Some(number(r.statuses?.server_error))),
    ],
);

pub(super) const EXIT_CODES: Group = (
    "exit codes",
    &[("", |r| {
        let codes = r.exit_codes.as_ref().filter(|codes| !codes.is_empty())?;
        let code = |(code, count): (&i32, &u64)| format!("{code}: {}", Grouped(*count));
        Some(codes.iter().map(code).collect::<Vec<_>>().join(", "))
    })],
);

pub(super) const DATAGRAMS: Group = (
    "datagrams",
    &[
        ("sent", |r| Some(number(r.datagrams?.sent))),
        ("lost", |r| Some(number(r.datagrams?.lost))),
        ("of these by the server or on the way", |r| {
            let seen = r.datagrams?;
            let dropped = seen.dropped.filter(|dropped| *dropped > 0)?;
            Some(number(seen.lost.saturating_sub(dropped)))
        }),
        ("lost in our own receive buffer", |r| {
            let dropped = r.datagrams?.dropped?;
            (dropped > 0).then(|| number(dropped))
        }),
        ("duplicated", |r| Some(number(numbered(r)?.duplicates))),
        ("reordered", |r| Some(number(numbered(r)?.reordered))),
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

pub(super) const LACKING: Group = (
    "lost by",
    &[("", |r| {
        /// More would be a document; JSON has all.
        const SHOWN: usize = 5;
        let member = |one: &LackingMember| {
            let address = one.address.as_ref().map(|own| format!(" ({own})"));
            let gone = if one.is_gone { ", gone" } else { "" };
            format!(
                "member {}{}: {}{gone}",
                one.member,
                address.unwrap_or_default(),
                count(one.lines, "line")
            )
        };
        let mut parts: Vec<_> = r.lacking.iter().take(SHOWN).map(member).collect();
        let more = r.lacking.len().saturating_sub(SHOWN) as u64;
        if more > 0 {
            parts.push(format!("and {} more", count(more, "member")));
        }
        (!parts.is_empty()).then(|| parts.join("; "))
    })],
);

pub(super) const HELD: Group = (
    "held",
    &[
        ("", |r| {
            let Held { held, asked } = r.connections;
            let of = count(asked as u64, "connection");
            (r.datagrams.is_none()).then(|| format!("{} of {of}", Grouped(held as u64)))
        }),
        ("replaced", |r| {
            (r.reconnects > 0).then(|| number(r.reconnects))
        }),
        ("answers on each", |r| {
            let seen = r.per_connection.filter(|_| r.connections.asked > 1)?;
            Some(match seen.least == seen.most {
                true => number(seen.most),
                false => format!("{} to {}", number(seen.least), number(seen.most)),
            })
        }),
        ("gone", |r| Some(number(r.deliveries?.gone))),
        ("connected until the end", |r| {
            Some(number(r.roll_call?.connected as u64))
        }),
        ("answered when asked then", |r| {
            Some(number(r.roll_call?.answered? as u64))
        }),
    ],
);

pub(super) const KERNEL: Group = (
    "kernel",
    &[
        ("established", |r| {
            Some(number(r.roll_call?.established? as u64))
        }),
        ("accepted by the server", |r| {
            Some(number(r.roll_call?.accepted? as u64))
        }),
        ("waiting to be accepted", |r| {
            Some(number(r.roll_call?.waiting? as u64))
        }),
        ("unknown to the server's end", |r| {
            Some(number(r.roll_call?.gone? as u64))
        }),
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

pub(super) const WARMUP_STAGES: Group = (
    "failed",
    &[("", |r| {
        let warm_up = &r.failure_stages.warm_up;
        (warm_up.total() > 0).then(|| stages(warm_up))
    })],
);

pub(super) const STAGES: Group = (
    "failed",
    &[
        ("", |r| {
            let counted = r.failure_stages.counted();
            (counted.total() > 0).then(|| stages(&counted))
        }),
        ("of these before the load began", |r| {
            let opening = r.failure_stages.opening.total();
            (opening > 0).then(|| number(opening))
        }),
        ("of these after the end", |r| {
            let draining = r.failure_stages.draining.total();
            (draining > 0).then(|| number(draining))
        }),
    ],
);

pub(super) const SERVER: Group = (
    "server",
    &[
        ("of one processor", |r| Some(share(server(r)?.cpu_share))),
        ("sleeps /s", |r| Some(rate(server(r)?.sleeps_per_s))),
        ("before", |r| Some(memory(server(r)?.memory_before_bytes))),
        ("after", |r| Some(memory(server(r)?.memory_after_bytes))),
        ("answers per second of processor", |r| {
            Some(rate(server(r)?.per_cpu_s?))
        }),
        ("more a connection", |r| {
            let bytes = server(r)?.memory_per_connection_bytes?;
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
pub(super) type Point = (&'static str, fn(&Summary) -> f64);

/// A part of a latency.
pub(super) type Phase = (&'static str, fn(&Report) -> Option<Summary>);

/// In the order of a report, without the latencies.
pub(super) const GROUPS: [Group; 17] = [
    ADDRESS,
    RATE,
    BYTES,
    REQUESTS,
    STATUSES,
    EXIT_CODES,
    DATAGRAMS,
    DELIVERIES,
    LACKING,
    HELD,
    KERNEL,
    WARMUP,
    WARMUP_STAGES,
    ERRORS,
    STAGES,
    SERVER,
    GENERATOR,
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
    ("waiting", |r| taken(r.phases_us.wait)),
    ("connect", |r| taken(r.phases_us.connect)),
    ("first byte", |r| taken(r.phases_us.first_byte)),
    ("last byte", |r| taken(r.phases_us.last_byte)),
    ("close", |r| taken(r.phases_us.close)),
    ("sent late", |r| taken(r.generator.lag_us)),
];

/// What a closed model's latencies would be with the requests that it did not ask.
pub(super) const CORRECTED: Phase = ("corrected", |r| Some(r.corrected?.latency_us));

/// What took no time at all did not happen.
fn taken(phase: Summary) -> Option<Summary> {
    (phase.max > 0.0).then_some(phase)
}

/// None where nothing was sent while measuring.
fn throughput(report: &Report) -> Option<Throughput> {
    report.bytes_per_s.filter(|bytes| bytes.sent > 0.0)
}

/// Bytes a second, in units of a thousand.
fn bytes_per_s(bytes: f64) -> String {
    let (number, unit) = match bytes {
        b if b < 999.5 => return format!("{b:.0} B/s"),
        b if b < 999_500.0 => (b / 1e3, "kB"),
        b if b < 999_500_000.0 => (b / 1e6, "MB"),
        b => (b / 1e9, "GB"),
    };
    let digits = match number {
        n if n >= 99.95 => 0,
        n if n >= 9.995 => 1,
        _ => 2,
    };
    format!("{number:.digits$} {unit}/s")
}

/// A figure of all rounds of one server: its name, how far they lie apart, and how a number of it is written.
type Column = (
    &'static str,
    fn(&Contender) -> Option<Spread>,
    fn(f64) -> String,
);

/// A cell of what is not known.
pub(super) const NOTHING: &str = "–";

pub(super) const RATE_PER_S: &str = "rate /s";
/// The name of a column of ratios to the first server begins with this.
const RATIO: &str = "ratio";

const COLUMNS: &[Column] = &[
    (RATE_PER_S, |one| Some(answers(one)?.rate_per_s), rate),
    (RATIO, |one| Some(one.ratios?.rate), factor),
    ("/cpu s", |one| answers(one)?.per_cpu_s, rate),
    ("ratio /cpu s", |one| one.ratios?.per_cpu, factor),
    ("p50", |one| answers(one)?.p50_us, micros),
    ("p99", |one| answers(one)?.p99_us, micros),
    ("held", held, rate),
    ("B a connection", cost, rate),
    ("errors", failures, rate),
];

/// The figures of all rounds: a name, and then one for each server; those that no server has are left out.
///
/// How far the rounds lie apart is said of all figures if `is_wide`, else of ratios only.
pub(super) fn rounds(contest: &Contest, is_wide: bool) -> impl Iterator<Item = Vec<String>> {
    COLUMNS.iter().filter_map(move |(name, spread, write)| {
        let is_ratio = name.starts_with(RATIO);
        let spreads = contest.contenders.iter().map(spread).enumerate();
        spreads.clone().find_map(|(_, spread)| spread)?;
        let cells = spreads.map(|(place, spread)| match spread {
            Some(spread) if is_wide || is_ratio => apart(&spread, write),
            Some(spread) => write(spread.median),
            None if is_ratio && place == 0 => "1".to_owned(),
            None => NOTHING.to_owned(),
        });
        Some(column(name, cells))
    })
}

/// Cells below a name.
pub(super) fn column(name: &str, cells: impl Iterator<Item = String>) -> Vec<String> {
    iter::once(name.to_owned()).chain(cells).collect()
}

/// The rates, and their ratios to the first.
pub(super) fn beside_bars(contest: &Contest) -> Vec<Vec<String>> {
    let wanted = |column: &Vec<String>| [RATE_PER_S, RATIO].contains(&column[0].as_str());
    rounds(contest, false).filter(wanted).collect()
}

/// The figures of requests, if there were any.
fn answers(contender: &Contender) -> Option<Figures> {
    requests(contender.reports.first()?).and(contender.figures)
}

/// The least that a round of `hold` held: the question is how many stay.
fn held(contender: &Contender) -> Option<Spread> {
    let idle = contender
        .reports
        .iter()
        .filter(|one| requests(one).is_none());
    let held = idle.map(|report| report.connections.held as f64);
    Spread::of(held.reduce(f64::min))
}

/// What a connection that is held costs in memory.
fn cost(contender: &Contender) -> Option<Spread> {
    let servers = contender.reports.iter().filter_map(server);
    Spread::of(servers.filter_map(|server| server.memory_per_connection_bytes))
}

/// All of all rounds.
fn failures(contender: &Contender) -> Option<Spread> {
    Spread::of([contender.figures?.errors.total as f64])
}

/// None in `hold`, which sends none.
fn requests(report: &Report) -> Option<RequestCounts> {
    (report.mode != ModeName::Hold).then_some(report.requests)
}

/// Datagrams that can be told apart.
fn numbered(report: &Report) -> Option<DatagramCounts> {
    report.datagrams.filter(|seen| seen.numbered)
}

fn server(report: &Report) -> Option<&Server> {
    report.server.as_ref()
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
    format!("{} KiB of memory", Grouped(bytes / 1024))
}
