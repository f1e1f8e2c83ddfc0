//! Every figure, with its unit.

use crate::bench::show::html::line_chart::contender;
use crate::bench::show::html::markup::Markup;
use crate::bench::show::sentences;
use crate::bench::study::comparison::{Contender, Contest};
use crate::load::measure::figures::{Grouped, Micros, whole};
use crate::load::measure::histogram::Summary;
use crate::load::plan::mode::ModeName;
use crate::load::run::report::Report;

/// A name, and the figure of one contender's typical round, where it has one.
type Row = (String, Vec<Option<String>>);
/// What a row looks up.
type Figure = fn(&Report) -> Option<String>;

/// The groups of figures, in the order of a report.
const GROUPS: &[(&str, &[(&str, Figure)])] = &[
    (
        "Answers",
        &[
            ("rate of this round, a second", |r| {
                asking(r, whole(r.rate_per_s))
            }),
            ("asked", |r| asking(r, r.requests.asked)),
            ("answered while measuring", |r| {
                asking(r, r.requests.answered)
            }),
            ("answered late", |r| more_than_none(r.requests.late)),
            ("never answered", |r| more_than_none(r.requests.unanswered)),
            ("measured", |r| Some(format!("{:.3} s", r.elapsed_s))),
            ("connections held", |r| {
                let of = Grouped(r.connections.asked as u64);
                (r.datagrams.is_none())
                    .then(|| format!("{} of {of}", Grouped(r.connections.held as u64)))
            }),
        ],
    ),
    (
        "Datagrams",
        &[
            ("sent", |r| some(r.datagrams?.sent)),
            ("lost", |r| some(r.datagrams?.lost)),
            ("duplicated", |r| numbered(r, r.datagrams?.duplicates)),
            ("reordered", |r| numbered(r, r.datagrams?.reordered)),
            ("late", |r| some(r.datagrams?.late)),
            ("wrong", |r| some(r.datagrams?.wrong)),
            ("refused", |r| some(r.datagrams?.refused)),
        ],
    ),
    (
        "Latency, from beginning to end",
        &[
            ("mean", |r| micros(&r.latency_us, r.latency_us.mean)),
            ("half within", |r| micros(&r.latency_us, r.latency_us.p50)),
            ("90 % within", |r| micros(&r.latency_us, r.latency_us.p90)),
            ("99 % within", |r| micros(&r.latency_us, r.latency_us.p99)),
            ("99.9 % within", |r| {
                micros(&r.latency_us, r.latency_us.p99_9)
            }),
            ("the longest", |r| micros(&r.latency_us, r.latency_us.max)),
            ("longest time without an answer", |r| {
                Some(Micros(r.hidden?.stall_us).to_string())
            }),
        ],
    ),
    (
        "Phases: half · 99 % within",
        &[
            ("connect", |r| phase(&r.phases_us.connect)),
            ("first byte", |r| phase(&r.phases_us.first_byte)),
            ("last byte", |r| phase(&r.phases_us.last_byte)),
            ("close", |r| phase(&r.phases_us.close)),
        ],
    ),
    (
        "The server's process",
        &[
            ("share of one processor", |r| {
                share(r.server.as_ref()?.cpu_share)
            }),
            ("answers per second of processor", |r| {
                some(whole(r.server.as_ref()?.per_cpu_s?))
            }),
            ("sleeps a second", |r| {
                some(whole(r.server.as_ref()?.sleeps_per_s))
            }),
            ("memory before", |r| {
                memory(r.server.as_ref()?.memory_before_bytes)
            }),
            ("memory after", |r| {
                memory(r.server.as_ref()?.memory_after_bytes)
            }),
            ("memory a connection", |r| {
                let bytes = whole(r.server.as_ref()?.memory_per_connection_bytes?);
                Some(format!("{} B", Grouped(bytes)))
            }),
        ],
    ),
    (
        "The generator",
        &[
            ("busy, of one processor", |r| share(r.generator.busy_share)),
            ("waiting for a processor", |r| {
                share(r.generator.queued_share)
            }),
            ("a turn took: half · 99 %", |r| phase(&r.generator.turn_us)),
            ("sent late: half · 99 %", |r| phase(&r.generator.lag_us)),
            ("was the limit", |r| {
                let was = r.generator.was_the_limit;
                Some(if was { "yes" } else { "no" }.to_owned())
            }),
        ],
    ),
];

/// A column for each contender; rows without any figure are left out.
pub(super) fn table(page: &mut Markup, contest: &Contest) {
    let typical: Vec<_> = contest.contenders.iter().map(Contender::typical).collect();
    page.element("div", &[("class", &"table")], |page| {
        page.element("table", &[], |page| {
            page.element("thead", &[], |page| {
                page.element("tr", &[], |page| {
                    page.line("td", &[], "");
                    for (place, one) in contest.contenders.iter().enumerate() {
                        page.element("th", &[("scope", &"col")], |page| {
                            page.line("span", &[("class", &contender(place))], &one.name);
                        });
                    }
                });
            });
            group(page, "Rounds", contest, rounds(contest));
            for (name, figures) in GROUPS {
                let row = |(name, figure): &(&str, Figure)| {
                    let cell = |report: &Option<&Report>| report.and_then(figure);
                    ((*name).to_owned(), typical.iter().map(cell).collect())
                };
                group(page, name, contest, figures.iter().map(row).collect());
            }
            group(page, "Errors", contest, errors(&typical));
        });
    });
}

fn group(page: &mut Markup, name: &str, contest: &Contest, mut rows: Vec<Row>) {
    rows.retain(|(_, cells)| cells.iter().any(Option::is_some));
    if rows.is_empty() {
        return;
    }
    page.element("tbody", &[], |page| {
        page.element("tr", &[("class", &"group")], |page| {
            let span = contest.contenders.len() + 1;
            let with: crate::bench::show::html::markup::Attributes<'_> =
                &[("scope", &"rowgroup"), ("colspan", &span)];
            page.element("th", with, |page| page.line("span", &[], name));
        });
        for (name, cells) in rows {
            page.element("tr", &[], |page| {
                page.line("th", &[("scope", &"row")], name);
                for cell in cells {
                    page.line("td", &[], cell.as_deref().unwrap_or("–"));
                }
            });
        }
    });
}

/// What all rounds say together, if there were several.
fn rounds(contest: &Contest) -> Vec<Row> {
    let of = |name: &str, figure: fn(&Contender) -> Option<String>| {
        let several = |one: &Contender| (one.reports.len() > 1).then(|| figure(one)).flatten();
        (
            name.to_owned(),
            contest.contenders.iter().map(several).collect(),
        )
    };
    vec![
        of("made", |one| some(one.reports.len() as u64)),
        of("rate, a second", |one| {
            Some(sentences::spread(&one.figures?.rate_per_s))
        }),
        of("half within, µs", |one| {
            Some(sentences::spread(&one.figures?.p50_us?))
        }),
        of("99 % within, µs", |one| {
            Some(sentences::spread(&one.figures?.p99_us?))
        }),
        of("answers per second of processor", |one| {
            Some(sentences::spread(&one.figures?.per_cpu_s?))
        }),
        of("errors in all", |one| some(one.figures?.errors.total)),
        of("the generator was the limit", |one| {
            some(one.figures?.generator_was_the_limit as u64)
        }),
    ]
}

/// A row for each kind that occurred, and their sum.
fn errors(typical: &[Option<&Report>]) -> Vec<Row> {
    let mut rows: Vec<Row> = vec![(
        "all of this round".to_owned(),
        typical
            .iter()
            .map(|report| {
                some(report.as_ref()?.errors.total + report.as_ref()?.warmup_errors.total)
            })
            .collect(),
    )];
    for (at, report) in typical.iter().enumerate() {
        let Some(report) = report else { continue };
        for (errors, when) in [
            (&report.warmup_errors, " during warm-up"),
            (&report.errors, ""),
        ] {
            for (count, kind) in errors.by_kind() {
                let name = format!("{kind}{when}");
                let row = match rows.iter().position(|(known, _)| *known == name) {
                    Some(row) => row,
                    None => {
                        rows.push((name, vec![None; typical.len()]));
                        rows.len() - 1
                    }
                };
                rows[row].1[at] = some(count);
            }
        }
    }
    rows
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "every figure is one that may be missing"
)]
fn some(number: u64) -> Option<String> {
    Some(Grouped(number).to_string())
}

/// `hold` sends no requests.
fn asking(report: &Report, number: u64) -> Option<String> {
    (report.mode != ModeName::Hold).then(|| Grouped(number).to_string())
}

fn more_than_none(number: u64) -> Option<String> {
    (number > 0).then(|| Grouped(number).to_string())
}

/// Not known where datagrams carry no number.
fn numbered(report: &Report, number: u64) -> Option<String> {
    report
        .datagrams?
        .numbered
        .then(|| Grouped(number).to_string())
}

fn micros(summary: &Summary, us: f64) -> Option<String> {
    (summary.count > 0).then(|| Micros(us).to_string())
}

fn phase(summary: &Summary) -> Option<String> {
    (summary.max > 0.0).then(|| format!("{} · {}", Micros(summary.p50), Micros(summary.p99)))
}

fn share(of_one: f64) -> Option<String> {
    Some(format!("{:.0} %", of_one * 100.0))
}

fn memory(bytes: u64) -> Option<String> {
    Some(format!("{} KiB", Grouped(bytes / 1024)))
}
