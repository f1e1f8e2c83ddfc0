//! Lines that are too long for a terminal, broken between words.

use crate::bench::show::label::columns;

/// Where figures stand behind what they are about.
const FIGURES_AT: usize = 13;
/// In less there is no room for that beside words.
const NARROW: usize = 60;
/// What goes on is this far in, at the least.
const INDENT: usize = 4;
/// Percentiles stand so far apart: what belongs together is not broken apart there.
const APART: &str = "   ";

/// `text` in lines of at most so many columns, as far as its words are no longer. What goes on stands below the figures,
/// or in a narrow terminal a little further in than the line.
pub fn wrap(text: &str, most: usize) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / 8);
    for line in text.lines() {
        if columns(line) <= most {
            out += line;
        } else {
            wrap_line(&mut out, line, most);
        }
        out.push('\n');
    }
    out
}

fn wrap_line(out: &mut String, line: &str, most: usize) {
    let begins = line.len() - line.trim_start().len();
    let has_label = begins > 0 && most >= NARROW;
    let indent = if has_label {
        FIGURES_AT
    } else {
        begins + INDENT
    };
    // A label and its figures stay together.
    let head = line
        .char_indices()
        .nth(if begins > 0 { FIGURES_AT } else { 0 });
    let (head, rest) = line.split_at(head.map_or(0, |(at, _)| at));
    let separator = if rest.contains(APART) { APART } else { " " };
    out.push_str(head);
    let mut used = columns(head);
    let mut is_first = true;
    for piece in rest.split(separator) {
        let wide = columns(piece);
        if is_first {
            is_first = false;
        } else if used + separator.len() + wide <= most {
            out.push_str(separator);
            used += separator.len();
        } else {
            out.truncate(out.trim_end().len());
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', indent));
            used = indent;
        }
        out.push_str(piece);
        used += wide;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_are_broken_between_words_and_go_on_below_the_figures() {
        let notice = "  notice     the generator was the limit, since it had no processor time to spare: the server may do more";
        let expected = "  notice     the generator was the limit, since it had no processor time to
             spare: the server may do more\n";
        assert_eq!(wrap(notice, 80), expected);
        let narrow = "  notice     the generator was the
      limit, since it had no processor
      time to spare: the server may do
      more\n";
        assert_eq!(wrap(notice, 40), narrow);
    }

    #[test]
    fn a_percentile_stays_with_its_name_and_what_fits_stays_as_it_is() {
        let phase =
            "    connect    p50 28.1 µs   p90 29.1 µs   p99 37.9 µs   p99.9 178.6 µs   max 3.57 ms";
        let expected = "    connect    p50 28.1 µs   p90 29.1 µs   p99 37.9 µs   p99.9 178.6 µs\n             max 3.57 ms\n";
        assert_eq!(wrap(phase, 80), expected);
        assert_eq!(wrap(phase, 85), format!("{phase}\n"));
        assert_eq!(wrap("a\n\nb\n", 5), "a\n\nb\n");
        let narrow = wrap(phase, 40);
        assert!(narrow.lines().all(|line| columns(line) <= 40), "{narrow}");
    }

    #[test]
    fn nothing_but_space_is_lost_or_added_at_any_width() {
        let text = "bench conn tcp://127.0.0.1:9000: 50 connections, one message of 64 B each\n  model      closed: each request waits\n    99.9 %   4.46 ms  ████████████";
        let words = |text: &str| {
            text.split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        for most in 0..100 {
            assert_eq!(words(&wrap(text, most)), words(text), "{most}");
        }
    }
}
