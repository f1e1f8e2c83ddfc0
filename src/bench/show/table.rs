//! Comparisons as tables for a terminal.

use std::fmt;

use comfy_table::{CellAlignment, Table, presets};

use crate::bench::show::label::{harmless, shorten};
use crate::bench::show::phrases::INTERRUPTED;
use crate::bench::show::rows::{column, rounds};
use crate::bench::show::sentences::{notices, setup};
use crate::bench::study::comparison::{Comparison, Contest};

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
        if self.interrupted {
            writeln!(f, "{INTERRUPTED}")?;
        }
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

#[cfg(test)]
mod tests {
    use super::*;

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
