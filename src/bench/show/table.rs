//! Comparisons, changes and searches as tables for a terminal.

use std::fmt;

use comfy_table::{CellAlignment, Table, presets};

use crate::bench::show::label::{harmless, rate, shorten};
use crate::bench::show::rows::rounds;
use crate::bench::show::sentences::{notices, setup};
use crate::bench::study::baseline::{Change, ChangeVerdict};
use crate::bench::study::comparison::{Comparison, Contest};
use crate::bench::study::search::{Found, Probe};
use crate::load::measure::figures::Micros;

/// Longer names are shortened in the middle.
const NAME_COLUMNS_MAX: usize = 24;

/// A cell of what is not known.
pub(super) const NOTHING: &str = "–";

/// Columns two blanks apart, numbers to the right; `left` are the places of those that are words.
pub(super) fn table(left: &[usize], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).add_rows(rows);
    for (place, column) in table.column_iter_mut().enumerate() {
        column.set_padding((2, 0));
        column.set_cell_alignment(if left.contains(&place) {
            CellAlignment::Left
        } else {
            CellAlignment::Right
        });
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
        let mut rows = vec![vec!["server".to_owned()]];
        let names = self.contenders.iter().map(|one| short(&one.name));
        rows.extend(names.map(|name| vec![name]));
        for (name, cells) in rounds(self, self.contenders.len() == 1) {
            let cells = cells
                .into_iter()
                .map(|cell| cell.unwrap_or_else(|| NOTHING.to_owned()));
            let column = [name.to_owned()].into_iter().chain(cells);
            for (row, cell) in rows.iter_mut().zip(column) {
                row.push(cell);
            }
        }
        if rows[0].len() > 1 {
            writeln!(f, "{}", table(&[0], rows))?;
        }
        for notice in notices(self) {
            writeln!(f, "  {}", harmless(&notice))?;
        }
        Ok(())
    }
}

fn short(name: &str) -> String {
    shorten(name, NAME_COLUMNS_MAX)
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let figure = |median: f64| match self.metric {
            "p99" if median.is_infinite() => "never".to_owned(),
            "p99" => Micros(median).to_string(),
            _ => format!("{} /s", rate(median)),
        };
        write!(
            f,
            "{} of {}: {} {} before, {} now",
            self.mode,
            short(&self.name),
            self.metric,
            figure(self.before.median),
            figure(self.now.median),
        )?;
        if self.ratio.is_finite() {
            write!(f, ", {:.3} of it", self.ratio)?;
        }
        let said = match self.verdict {
            ChangeVerdict::TooFew => {
                return f.write_str(
                    "; too few rounds to tell a difference from chance: at least four on each side (--rounds)",
                );
            }
            ChangeVerdict::Same => "not shown to differ",
            ChangeVerdict::Better => "BETTER",
            ChangeVerdict::Worse => "WORSE",
        };
        write!(f, "; {said} (chance alone: {:.3})", self.chance)
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "highest rate with {}, no errors, no backlog (a failed rate is retried once; the last that held is confirmed):",
            self.objectives.join(", ")
        )?;
        let head = ["asked /s", "answered /s", "p50", "p99", "p99.9", ""];
        let head = head.map(str::to_owned).to_vec();
        let rows = [head].into_iter().chain(self.probes.iter().map(cells));
        writeln!(f, "{}", table(&[5], rows))?;
        match self.rate_per_s {
            Some(found) => write!(f, "  found      {} /s holds", rate(found))?,
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

fn cells(probe: &Probe) -> Vec<String> {
    // 0 µs would be wrong where there was no answer.
    let us = |figure: f64| match probe.latency_us.count {
        0 => NOTHING.to_owned(),
        _ => Micros(figure).to_string(),
    };
    let verdict = match probe.broken.as_slice() {
        [] => "holds".to_owned(),
        broken => format!("not: {}", broken.join(", ")),
    };
    vec![
        rate(probe.rate_per_s),
        rate(probe.answered_per_s),
        us(probe.latency_us.p50),
        us(probe.latency_us.p99),
        us(probe.latency_us.p99_9),
        verdict,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_and_empty_cells_are_in_their_columns() {
        let rows = [
            ["server", "rate /s", ""],
            ["名前", "7", "holds"],
            ["a", "1,000", ""],
        ];
        let rows = rows.map(|row| row.map(str::to_owned).to_vec());
        let lines = [
            "  server  rate /s",
            "  名前          7  holds",
            "  a         1,000",
        ];
        assert_eq!(table(&[0, 2], rows), lines.join("\n"));
    }
}
