//! What a search tried, probe by probe.

use crate::bench::show::html::markup::{Attributes, Markup};
use crate::bench::show::label::{plain, rate};
use crate::bench::show::rows::NOTHING;
use crate::bench::show::search::{PROBED, Probed};
use crate::bench::study::search::Found;

/// What there is room for on a page, before the verdict.
const MORE: [Probed; 3] = [
    ("asked", |probe| rate(probe.asked as f64)),
    ("backlog", |probe| plain(probe.backlog.max(0.0))),
    ("seed", |probe| {
        probe
            .seed
            .map_or_else(|| NOTHING.to_owned(), |seed| seed.to_string())
    }),
];

/// A row for each.
pub(super) fn table(page: &mut Markup, found: &Found) {
    let [figures @ .., (_, verdict)] = PROBED;
    let columns: Vec<Probed> = figures.into_iter().chain(MORE).collect();
    page.element("div", &[("class", &"table probes")], |page| {
        page.element("table", &[], |page| {
            page.element("thead", &[], |page| {
                page.element("tr", &[], |page| {
                    let with: Attributes<'_> = &[("scope", &"col")];
                    page.line("th", with, "verdict");
                    for (name, _) in &columns {
                        page.line("th", with, name);
                    }
                });
            });
            page.element("tbody", &[], |page| {
                for probe in &found.probes {
                    page.element("tr", &[], |page| {
                        page.line("th", &[("scope", &"row")], verdict(probe));
                        for (_, cell) in &columns {
                            page.line("td", &[], cell(probe));
                        }
                    });
                }
            });
        });
    });
}
