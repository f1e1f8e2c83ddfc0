//! Every figure, with its unit.

use crate::bench::show::html::line_chart::contender;
use crate::bench::show::html::markup::{Attributes, Markup};
use crate::bench::show::rows::{GROUPS, PHASES, POINTS, rounds};
use crate::bench::show::table::NOTHING;
use crate::bench::study::comparison::{Contender, Contest};
use crate::load::measure::figures::Micros;
use crate::load::measure::histogram::Summary;
use crate::load::run::report::Report;

/// A name, and the figure of each contender, where it has one.
type Row<'n> = (&'n str, Vec<Option<String>>);

/// A column for each contender; rows without any figure are left out.
pub(super) fn table(page: &mut Markup, contest: &Contest) {
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
                group(page, "all rounds", contest, rounds(contest, true).collect());
            }
            for (label, figures) in GROUPS {
                let rows = figures.iter().map(|(name, figure)| {
                    let name = if name.is_empty() { label } else { name };
                    row(contest, name, figure)
                });
                group(page, label, contest, rows.collect());
            }
            let points = [("mean", (|of| of.mean) as fn(&Summary) -> f64)];
            let points = points.iter().chain(&POINTS).map(|(name, point)| {
                row(contest, name, |report| {
                    let latency = report.latency_us;
                    (latency.count > 0).then(|| Micros(point(&latency)).to_string())
                })
            });
            group(
                page,
                "latency, from beginning to end",
                contest,
                points.collect(),
            );
            let phases = PHASES
                .iter()
                .map(|(name, phase)| row(contest, name, |report| phase(report).map(half_and_most)));
            let turn = row(contest, "a turn of the generator", |report| {
                Some(half_and_most(report.generator.turn_us))
            });
            let phases = phases.chain([turn]).collect();
            group(page, "phases: p50 · p99", contest, phases);
        });
    });
}

/// Of the typical round of each contender.
fn row<'n>(
    contest: &Contest,
    name: &'n str,
    figure: impl Fn(&Report) -> Option<String>,
) -> Row<'n> {
    let typical = contest.contenders.iter().map(Contender::typical);
    (name, typical.map(|report| figure(report?)).collect())
}

fn half_and_most(summary: Summary) -> String {
    format!("{} · {}", Micros(summary.p50), Micros(summary.p99))
}

fn group(page: &mut Markup, name: &str, contest: &Contest, mut rows: Vec<Row<'_>>) {
    rows.retain(|(_, cells)| cells.iter().any(Option::is_some));
    if rows.is_empty() {
        return;
    }
    page.element("tbody", &[], |page| {
        page.element("tr", &[("class", &"group")], |page| {
            let span = contest.contenders.len() + 1;
            let with: Attributes<'_> = &[("scope", &"rowgroup"), ("colspan", &span)];
            page.element("th", with, |page| page.line("span", &[], name));
        });
        for (name, cells) in rows {
            page.element("tr", &[], |page| {
                page.line("th", &[("scope", &"row")], name);
                for cell in cells {
                    page.line("td", &[], cell.as_deref().unwrap_or(NOTHING));
                }
            });
        }
    });
}
