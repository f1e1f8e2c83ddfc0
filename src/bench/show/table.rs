//! Comparisons as tables for a terminal.

use std::fmt;

use comfy_table::{CellAlignment, Table, presets};

use crate::bench::show::label::{self, harmless, shorten};
use crate::bench::show::rows::{column, rounds};
use crate::bench::show::sentences::{notices, setup};
use crate::bench::study::comparison::{Comparison, Contest};

/// Longer names are shortened in the middle.
const NAME_COLUMNS_MAX: usize = 24;
/// Values stand below each other behind names of so many columns; behind a longer one, further right.
const FIELD_COLUMNS_MAX: usize = 12;

/// Columns two blanks apart, numbers to the right; `words` are the places of columns of text. Where that is wider than
/// `most`, a field a line: a row that is broken somewhere can be read by nobody.
pub(super) fn table(words: &[usize], columns: &[Vec<String>], most: Option<usize>) -> String {
    let beside = rows(words, columns);
    let is_wide = |most: usize| beside.lines().any(|line| label::columns(line) > most);
    match most.filter(|most| is_wide(*most)) {
        Some(most) => fields(words, columns, most),
        None => beside,
    }
}

/// A row is its first cell, by name where that is not a word, and below it all others by theirs; those without a name first.
fn fields(words: &[usize], columns: &[Vec<String>], most: usize) -> String {
    let Some((first, others)) = columns.split_first() else {
        return String::new();
    };
    let (unnamed, named): (Vec<_>, Vec<_>) = others.iter().partition(|column| column[0].is_empty());
    let names = named.iter().map(|column| label::columns(&column[0]));
    let name_max = names.max().unwrap_or(0).min(FIELD_COLUMNS_MAX);
    let mut lines = Vec::new();
    for row in 1..first.len() {
        lines.push(match words.contains(&0) {
            true => format!("  {}", first[row]),
            false => format!("  {} {}", first[0], first[row]),
        });
        let unnamed = unnamed.iter().map(|column| &column[row]);
        let unnamed = unnamed.filter(|cell| !cell.is_empty());
        lines.extend(unnamed.map(|cell| format!("    {cell}")));
        for column in &named {
            let (name, cell) = (&column[0], &column[row]);
            let pad = " ".repeat(name_max.saturating_sub(label::columns(name)));
            let line = format!("    {name}{pad}  {cell}");
            match label::columns(&line) > most {
                true => lines.extend([format!("    {name}"), format!("      {cell}")]),
                false => lines.push(line),
            }
        }
    }
    lines.join("\n")
}

fn rows(words: &[usize], columns: &[Vec<String>]) -> String {
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

/// Tables are no wider than the formatter's width.
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
            writeln!(f, "{}", table(&[0], &columns, f.width()))?;
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
        for most in [None, Some(24), Some(80)] {
            assert_eq!(table(&[0, 2], &columns, most), lines.join("\n"));
        }
    }

    #[test]
    fn where_there_is_no_room_for_a_row_a_field_has_a_line() {
        let columns = [
            ["server", "名前", "a"],
            ["rate /s", "7", "1,000"],
            ["a name that is long", "0.63 (0.61 to 0.67)", "1"],
            ["", "holds", ""],
        ];
        let columns = columns.map(|cells| cells.map(str::to_owned).to_vec());
        let lines = [
            "  名前",
            "    holds",
            "    rate /s       7",
            "    a name that is long",
            "      0.63 (0.61 to 0.67)",
            "  a",
            "    rate /s       1,000",
            "    a name that is long  1",
        ];
        assert_eq!(table(&[0, 3], &columns, Some(40)), lines.join("\n"));
        let numbers = &columns[1..];
        let text = table(&[], numbers, Some(10));
        assert!(text.starts_with("  rate /s 7\n    holds\n"), "{text}");
    }
}
