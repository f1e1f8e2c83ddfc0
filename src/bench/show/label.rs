//! Text in a place that has only so much room, and numbers as charts write them.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::load::measure::figures::{Grouped, whole};
use crate::wire::neutralise;

/// `text` without anything that a terminal or a parser of XML would act on or refuse.
pub(super) fn harmless(text: &str) -> String {
    let mut safe = Vec::with_capacity(text.len());
    neutralise(text.as_bytes(), &mut safe);
    String::from_utf8_lossy(&safe).replace(['\t', '\u{fffe}', '\u{ffff}'], "\u{fffd}")
}

/// How many columns a terminal needs for `text`; close to it in a chart, too.
pub(super) fn columns(text: &str) -> usize {
    text.width()
}

/// At most so many columns of `text`: its beginning and its end, since names differ there.
pub(super) fn shorten(text: &str, columns_max: usize) -> String {
    let text = harmless(text);
    if columns(&text) <= columns_max {
        return text;
    }
    let left = columns_max.saturating_sub(1);
    let end: String = {
        let kept = fitting(text.chars().rev(), left / 2);
        kept.chars().rev().collect()
    };
    let beginning = fitting(text.chars(), left - columns(&end));
    format!("{beginning}…{end}")
}

fn fitting(chars: impl Iterator<Item = char>, columns_max: usize) -> String {
    let mut used = 0;
    chars
        .take_while(|&c| {
            used += c.width().unwrap_or(0);
            used <= columns_max
        })
        .collect()
}

/// A latency in microseconds as an axis has it: 1, 2 or 5 of something.
pub(super) fn latency(us: f64) -> String {
    let (number, unit) = match us {
        us if us < 0.999 => (us * 1e3, "ns"),
        us if us < 999.0 => (us, "µs"),
        us if us < 999_000.0 => (us / 1e3, "ms"),
        us => (us / 1e6, "s"),
    };
    format!("{} {unit}", plain(number))
}

/// Without digits that say nothing.
pub(super) fn plain(number: f64) -> String {
    if number >= 1000.0 {
        return Grouped(whole(number)).to_string();
    }
    let text = format!("{number:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A rate: whole, unless it is a small one.
pub(super) fn rate(per_s: f64) -> String {
    match per_s {
        rate if rate < 100.0 => plain((rate * 10.0).round() / 10.0),
        rate => Grouped(whole(rate)).to_string(),
    }
}

/// How many times as much: to a hundredth, or to two digits that mean something.
pub(super) fn factor(ratio: f64) -> String {
    match ratio {
        r if r >= 100.0 => Grouped(whole(r)).to_string(),
        r if r >= 10.0 => format!("{r:.1}"),
        r if r >= 0.1 => format!("{r:.2}"),
        r if r > 1e-9 => {
            let zeros = -r.log10().floor();
            format!("{r:.digits$}", digits = zeros as usize + 1)
        }
        _ => "0".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_keep_both_ends() {
        assert_eq!(shorten("short", 5), "short");
        assert_eq!(shorten("tcp://127.0.0.1:9100", 12), "tcp://…:9100");
        assert_eq!(shorten("你好世界你好世界", 7), "你好…界");
        for most in 0..30 {
            let short = shorten("a name with 你好 and more of it", most);
            assert!(columns(&short) <= most.max(1), "{short} {most}");
        }
    }

    #[test]
    fn numbers_say_no_more_than_they_know() {
        assert_eq!(latency(0.05), "50 ns");
        assert_eq!(latency(20.0), "20 µs");
        assert_eq!(latency(1_000.0), "1 ms");
        assert_eq!(latency(50_000_000.0), "50 s");
        assert_eq!(plain(0.25), "0.25");
        assert_eq!(plain(25_000.0), "25,000");
        assert_eq!(rate(12.34), "12.3");
        assert_eq!(rate(83_210.4), "83,210");
        assert_eq!(factor(0.834), "0.83");
        assert_eq!(factor(123.4), "123");
        assert_eq!(factor(12_345.6), "12,346");
        assert_eq!(factor(0.000_421), "0.00042");
        assert_eq!(factor(0.0), "0");
    }
}
