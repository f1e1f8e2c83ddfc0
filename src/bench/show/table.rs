//! Comparisons, changes and searches as tables for a terminal.

use std::fmt;

use comfy_table::{CellAlignment, Table, presets};

use crate::bench::show::label::{harmless, rate, shorten};
use crate::bench::show::rows::{NOTHING, column, rounds};
use crate::bench::show::sentences::{notices, setup};
use crate::bench::study::comparison::{Comparison, Contest};
use crate::bench::study::search::{Found, Probe};
use crate::load::measure::figures::Micros;
use crate::load::measure::histogram::Summary;

/// Longer names are shortened in the middle.
const NAME_COLUMNS_MAX: usize = 24;

/// Columns two blanks apart, numbers to the right; `words` are the places of columns of text.
pub(super) fn table(words: &[usize], columns: &[Vec<String>]) -> String {
    let mut table = Table::new();
    let height = columns.first().map_or(0, Vec::len);
    let rows = (0..height).map(|row| columns.iter().map(move |column| &column[row]));
    table.load_preset(presets::NOTHING).add_rows(rows);
    for (place, column) in table.column_iter_mut().enumerate() {
        column.set_padding((2, 0));
        if !words.contains(&place) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.trim_fmt()
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, contest) in self.contests.iter().enumerate() {
            if at > 0 {
                writeln!(f)?;
            }
            contest.fmt_table(f, self.rounds)?;
        }
        Ok(())
    }
}

impl Contest {
    fn fmt_table(&self, f: &mut fmt::Formatter<'_>, rounds_made: usize) -> fmt::Result {
        let setup = setup(self, rounds_made);
        let setup: Vec<_> = setup.iter().map(|sentence| harmless(sentence)).collect();
        writeln!(f, "bench {}: {}", self.mode, setup.join("\n"))?;
        let names = self.contenders.iter().map(|one| short(&one.name));
        let mut columns = vec![column("server", names)];
        columns.extend(rounds(self, self.contenders.len() == 1));
        if columns.len() > 1 {
            writeln!(f, "{}", table(&[0], &columns))?;
        }
        for notice in notices(self) {
            writeln!(f, "  {}", harmless(&notice))?;
        }
        Ok(())
    }
}

pub(super) fn short(name: &str) -> String {
    shorten(name, NAME_COLUMNS_MAX)
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "highest rate with {}, no errors, no backlog (a failed rate is retried once; the last that held is confirmed):",
            self.objectives.join(", ")
        )?;
        let columns = PROBED.map(|(name, cell)| column(name, self.probes.iter().map(cell)));
        writeln!(f, "{}", table(&[5], &columns))?;
        let has_held = self.probes.iter().any(|probe| probe.broken.is_empty());
        match self.rate_per_s {
            Some(found) => write!(f, "  found      {} /s holds", rate(found))?,
            None if has_held => f.write_str(
                "  found      no rate that held once holds again, so measure longer (-d)",
            )?,
            None => write!(
                f,
                "  found      no rate holds down to {} /s; a probe of a lower rate has too few requests to tell, so measure longer (-d)",
                rate(self.least_per_s)
            )?,
        }
        if let Some(failed) = self.failed_per_s {
            write!(f, ", {} /s does not", rate(failed))?;
        }
        if self.generator_was_the_limit {
            f.write_str("\n  generator  was the limit at that rate: the server may do more")?;
        }
        Ok(())
    }
}

/// What is said of a probe, and how.
type Probed = (&'static str, fn(&Probe) -> String);

const PROBED: [Probed; 6] = [
    ("asked /s", |probe| rate(probe.rate_per_s)),
    ("answered /s", |probe| rate(probe.answered_per_s)),
    ("p50", |probe| within(probe, |of| of.p50)),
    ("p99", |probe| within(probe, |of| of.p99)),
    ("p99.9", |probe| within(probe, |of| of.p99_9)),
    ("", |probe| match probe.broken.as_slice() {
        [] => "holds".to_owned(),
        broken => format!("not: {}", broken.join(", ")),
    }),
];

/// 0 µs would be wrong where there was no answer.
fn within(probe: &Probe, point: fn(&Summary) -> f64) -> String {
    match probe.latency_us.count {
        0 => NOTHING.to_owned(),
        _ => Micros(point(&probe.latency_us)).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::run::report::SCHEMA;

    #[test]
    fn a_rate_that_held_once_is_not_said_to_hold_and_not_said_to_fail_at_once() {
        let probe = |rate_per_s, broken: &[&str]| Probe {
            rate_per_s,
            seed: None,
            answered_per_s: rate_per_s,
            latency_us: Summary::default(),
            broken: broken.iter().map(|one| (*one).to_owned()).collect(),
            generator_was_the_limit: false,
        };
        let said = |first: &[&str]| {
            let found = Found {
                schema: SCHEMA,
                objectives: vec!["p99<5ms".to_owned()],
                rate_per_s: None,
                failed_per_s: Some(900.0),
                least_per_s: 100.0,
                generator_was_the_limit: false,
                probes: vec![probe(900.0, first), probe(900.0, &["no errors"])],
                report: None,
            };
            found.to_string()
        };
        let again = "found      no rate that held once holds again, so measure longer (-d), 900 /s does not";
        assert!(said(&[]).ends_with(again), "{}", said(&[]));
        let said = said(&["no errors"]);
        assert!(
            said.contains("found      no rate holds down to 100 /s"),
            "{said}"
        );
    }

    #[test]
    fn wide_and_empty_cells_are_in_their_columns() {
        let columns = [
            ["server", "名前", "a"],
            ["rate /s", "7", "1,000"],
            ["", "holds", ""],
        ];
        let columns = columns.map(|cells| cells.map(str::to_owned).to_vec());
        let lines = [
            "  server  rate /s",
            "  名前          7  holds",
            "  a         1,000",
        ];
        assert_eq!(table(&[0, 2], &columns), lines.join("\n"));
    }
}
