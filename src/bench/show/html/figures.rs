//! Every figure, with its unit.

use std::iter;

use crate::bench::show::html::line_chart::contender;
use crate::bench::show::html::markup::{Attributes, Markup};
use crate::bench::show::rows::{
    CORRECTED, GROUPS, NOTHING, PHASES, POINTS, Phase, Point, column, rounds,
};
use crate::bench::study::comparison::{Contender, Contest};
use crate::load::measure::figures::Micros;
use crate::load::run::report::Report;

/// A column for each contender; rows without any figure are left out.
pub(super) fn table(page: &mut Markup, contest: &Contest) {
    let names: Vec<&str> = contest
        .contenders
        .iter()
        .map(|one| one.name.as_str())
        .collect();
    let add = |page: &mut Markup, label, rows: &mut dyn Iterator<Item = Vec<String>>| {
        group(page, label, rows, &names);
    };
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
            if contest.contenders.iter().any(|one| one.reports.len() > 1) {
                add(page, "all rounds", &mut rounds(contest, true));
            }
            for (label, rows) in GROUPS {
                add(
                    page,
                    label,
                    &mut rows
                        .iter()
                        .filter_map(|(name, figure)| row(contest, name, figure)),
                );
            }
            let mean: Point = ("mean", |of| of.mean);
            let mut points = iter::once(mean).chain(POINTS).filter_map(|(name, point)| {
                row(contest, name, |report| {
                    let latency = report.latency_us;
                    let us = point(&latency);
                    (!latency.is_empty() && !us.is_nan()).then(|| Micros(us).to_string())
                })
            });
            add(page, "latency, from beginning to end", &mut points);
            let (_, corrected) = CORRECTED;
            let mut points = POINTS.iter().filter_map(|(name, point)| {
                row(contest, name, |report| {
                    let us = point(&corrected(report)?);
                    (!us.is_nan()).then(|| Micros(us).to_string())
                })
            });
            add(
                page,
                "the same, corrected for what a closed model did not ask while it waited",
                &mut points,
            );
            let turn: Phase = ("a turn of the generator", |r| Some(r.generator.turn_us));
            let mut phases = PHASES
                .iter()
                .copied()
                .chain([turn])
                .filter_map(|(name, phase)| {
                    row(contest, name, |report| {
                        let phase = phase(report)?;
                        Some(format!("{} · {}", Micros(phase.p50), Micros(phase.p99)))
                    })
                });
            add(page, "phases: p50 · p99", &mut phases);
        });
    });
}

/// A name, and a figure of the typical round of each contender; none where none has it.
fn row(
    contest: &Contest,
    name: &str,
    figure: impl Fn(&Report) -> Option<String>,
) -> Option<Vec<String>> {
    let typical = contest.contenders.iter().map(Contender::typical);
    let figures: Vec<_> = typical.map(|report| figure(report?)).collect();
    figures.iter().flatten().next()?;
    let cells = figures
        .into_iter()
        .map(|figure| figure.unwrap_or_else(|| NOTHING.to_owned()));
    let name = if name.is_empty() { "in all" } else { name };
    Some(column(name, cells))
}

/// Rows of one kind below its name; nothing of none. Each cell has the name of its column, where there are several: on a
/// narrow screen it stands beside it, and the head of the table is not shown.
fn group(
    page: &mut Markup,
    name: &str,
    rows: &mut dyn Iterator<Item = Vec<String>>,
    names: &[&str],
) {
    let mut rows = rows.peekable();
    let Some(first) = rows.peek() else { return };
    let span = first.len();
    page.element("tbody", &[], |page| {
        page.element("tr", &[("class", &"group")], |page| {
            let with: Attributes<'_> = &[("scope", &"rowgroup"), ("colspan", &span)];
            page.element("th", with, |page| page.line("span", &[], name));
        });
        for cells in rows {
            page.element("tr", &[], |page| {
                page.line("th", &[("scope", &"row")], &cells[0]);
                for (place, (cell, name)) in cells[1..].iter().zip(names).enumerate() {
                    let of: Attributes<'_> = &[("class", &contender(place)), ("data-name", name)];
                    page.line("td", if names.len() > 1 { of } else { &[] }, cell);
                }
            });
        }
    });
}
