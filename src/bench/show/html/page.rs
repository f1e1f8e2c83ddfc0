//! One HTML file with everything in it.

use crate::bench::show::html::axis::WIDTHS;
use crate::bench::show::html::bars::bars;
use crate::bench::show::html::figures::table;
use crate::bench::show::html::line_chart::{LineChart, contender};
use crate::bench::show::html::markup::{Attributes, Markup};
use crate::bench::show::html::percentiles::percentiles;
use crate::bench::show::html::probes;
use crate::bench::show::html::rate::rates;
use crate::bench::show::phrases::INTERRUPTED;
use crate::bench::show::scale::SECONDS_MIN;
use crate::bench::show::{changes, search, sentences};
use crate::bench::study::change::Change;
use crate::bench::study::comparison::{Comparison, Contest};
use crate::bench::study::provenance::Provenance;
use crate::bench::study::search::Found;
use crate::load::plan::mode::ModeName;

const STYLE: &str = include_str!("style.css");
/// The page could fetch nothing and run nothing if it wanted to.
const HEAD: &str = r#"
<meta charset="utf-8"/>
<meta http-equiv="Content-Security-Policy" content="default-src &#39;none&#39;; style-src &#39;unsafe-inline&#39;"/>
<meta name="viewport" content="width=device-width, initial-scale=1"/>"#;

/// A comparison to be looked at in a browser: one file that needs no other, no network and no script.
///
/// A single run is a comparison of one contender in one round.
pub fn page(comparison: &Comparison, changes: &[Change], made: Option<&Provenance>) -> String {
    document(&title(comparison), made, |page| {
        if comparison.interrupted {
            page.line(
                "p",
                &[("class", &"headline")],
                capital(INTERRUPTED.to_owned()) + ".",
            );
        }
        for contest in &comparison.contests {
            page.element("section", &[], |page| {
                section(page, contest, comparison.rounds, changes);
            });
        }
    })
}

/// A search for the highest rate: what was found, what was tried, and the run at that rate.
pub fn page_of_search(found: &Found, made: Option<&Provenance>) -> String {
    document(
        &format!("onepoll bench: {}", found.endpoint),
        made,
        |page| {
            page.element("section", &[], |page| {
                page.line("h2", &[], "The highest rate that holds");
                let result = capital(search::result(found));
                page.line(
                    "p",
                    &[("class", &"headline")],
                    format!("{}: {result}.", found.endpoint),
                );
                for notice in search::notices(found) {
                    let with: Attributes<'_> = &[("class", &"notice"), ("role", &"note")];
                    page.line("p", with, capital(notice) + ".");
                }
                let sought = format!("bench {}: {}.", found.mode, search::sought(found));
                page.line("p", &[("class", &"setup")], sought);
                if !found.probes.is_empty() {
                    page.element("figure", &[], |page| {
                        caption(page, "All probes", "In the order in which they were made.");
                        probes::table(page, found);
                    });
                }
            });
            if let Some(report) = &found.report {
                let run = Comparison::of_one(&found.endpoint, report.clone());
                for contest in &run.contests {
                    page.element("section", &[], |page| {
                        section(page, contest, run.rounds, &[])
                    });
                }
            }
        },
    )
}

/// A page around `body`, which says where it was made.
fn document(title: &str, made: Option<&Provenance>, body: impl FnOnce(&mut Markup)) -> String {
    let mut page = Markup::default();
    page.raw("<!DOCTYPE html>");
    page.element("html", &[("lang", &"en")], |page| {
        page.element("head", &[], |page| {
            page.raw(HEAD);
            page.line("title", &[], title);
            page.element("style", &[], |page| page.raw(STYLE));
        });
        page.element("body", &[], |page| {
            page.element("main", &[], |page| {
                page.line("h1", &[], "onepoll bench");
                body(page);
                page.element("footer", &[], |page| {
                    if let Some(made) = made {
                        page.line("p", &[("class", &"made")], made.sentence());
                    }
                    page.line("p", &[], FOOTER);
                });
            });
        });
    });
    page.finish() + "\n"
}

const FOOTER: &str = concat!(
    "Written by onepoll ",
    env!("CARGO_PKG_VERSION"),
    ". Point at a bar or a line for its figures. This file needs nothing else: it can be kept and sent as it is."
);

/// All contests are between the same servers.
fn title(comparison: &Comparison) -> String {
    let contenders = comparison.contests.first().map(|one| one.contenders.iter());
    let names: Vec<_> = contenders
        .into_iter()
        .flatten()
        .map(|one| one.name.as_str())
        .collect();
    format!("onepoll bench: {}", names.join(", "))
}

fn section(page: &mut Markup, contest: &Contest, rounds: usize, changes: &[Change]) {
    let (subject, _) = sentences::subject(contest.mode);
    page.line("h2", &[], subject);
    let of_it = changes.iter().filter(|change| change.mode == contest.mode);
    let of_it: Vec<_> = of_it.cloned().collect();
    for verdict in changes::verdicts(&of_it) {
        page.line("p", &[("class", &"headline")], capital(verdict) + ".");
    }
    for sentence in sentences::headline(contest, rounds) {
        page.line("p", &[("class", &"headline")], sentence);
    }
    for change in &of_it {
        page.line("p", &[("class", &"setup")], changes::sentence(change) + ".");
    }
    for notice in sentences::notices(contest) {
        let with: Attributes<'_> = &[("class", &"notice"), ("role", &"note")];
        page.line("p", with, notice + ".");
    }
    let setup = sentences::setup(contest, rounds).into_iter().map(capital);
    let setup: Vec<_> = setup.map(|sentence| sentence + ".").collect();
    page.line("p", &[("class", &"setup")], setup.join(" "));
    names(page, contest);
    if let Some(bars) = bars(contest) {
        let rate = if rounds == 1 {
            "The rate"
        } else {
            "The median rate"
        };
        let has_ratios = contest.contenders.iter().any(|one| one.ratios.is_some());
        let ratio = if has_ratios {
            ", and its ratio to the first"
        } else {
            ""
        };
        let whisker = match rounds {
            1 => "",
            _ => "; a whisker is the interval of the rate",
        };
        let why = format!("{rate}{ratio}{whisker}.");
        figure(page, "Answers a second", &why, bars);
    }
    let typical = if rounds > 1 {
        "Of the round with the middle rate. "
    } else {
        ""
    };
    if let Some(lines) = percentiles(contest) {
        let why = format!(
            "{typical}Each step to the right is a tenth of what is left: the rare and slow are as wide as the many. Both scales are logarithmic."
        );
        figure(page, "Latency by percentile", &why, draw(&lines));
    }
    let nothing = contest.mode == ModeName::Hold
        || contest.contenders.iter().all(|one| one.reports.is_empty());
    if let Some(lines) = rates(contest) {
        let why = format!(
            "{typical}Whole seconds only: a part of one would look like a drop. A dot is a second in which something failed."
        );
        figure(page, "Rate over time", &why, draw(&lines));
    } else if !nothing {
        let why = format!("Measured for less than {SECONDS_MIN} s: there is no course to draw.");
        figure(page, "Rate over time", &why, |_, _, _| {});
    }
    page.element("figure", &[], |page| {
        caption(page, "All figures", typical);
        table(page, contest);
    });
}

/// Which name stands for which endpoint, where they differ.
fn names(page: &mut Markup, contest: &Contest) {
    let mut named = contest
        .contenders
        .iter()
        .enumerate()
        .filter_map(|(place, one)| Some((place, &one.name, &one.typical()?.endpoint)))
        .filter(|(_, name, endpoint)| name != endpoint)
        .peekable();
    if named.peek().is_none() {
        return;
    }
    page.element("ul", &[("class", &"names")], |page| {
        for (place, name, endpoint) in named {
            page.element("li", &[("class", &contender(place))], |page| {
                page.line("b", &[], name);
                page.text(format_args!(" {endpoint}"));
            });
        }
    });
}

/// As a sentence begins.
fn capital(sentence: String) -> String {
    let mut chars = sentence.chars();
    let first = chars.next().into_iter().flat_map(char::to_uppercase);
    first.chain(chars).collect()
}

fn draw(lines: &LineChart) -> impl Fn(&mut Markup, &str, f64) {
    |page, class, width| lines.draw(page, class, width)
}

fn figure(page: &mut Markup, title: &str, why: &str, draw: impl Fn(&mut Markup, &str, f64)) {
    page.element("figure", &[], |page| {
        caption(page, title, why);
        for (class, width) in WIDTHS {
            draw(page, class, width);
        }
    });
}

fn caption(page: &mut Markup, title: &str, why: &str) {
    page.element("figcaption", &[], |page| {
        page.line("h3", &[], title);
        if !why.is_empty() {
            page.line("p", &[], why.trim_end());
        }
    });
}
