//! The compact picture, for a terminal: text only, no colour, no line longer than asked.

use std::fmt::Write;

use crate::bench::show::label::{self, columns, shorten};
use crate::bench::show::rows::{RATE_PER_S, beside_bars, column};
use crate::bench::show::scale::{SECONDS_MIN, Scale};
use crate::bench::show::table::table;
use crate::bench::study::comparison::{Comparison, Contender, Contest};
use crate::load::measure::figures::Micros;
use crate::load::run::report::Report;

/// The usual width of a terminal.
pub const COLUMNS: usize = 80;
/// With less there is no room for words beside a bar.
const COLUMNS_MIN: usize = 36;
/// A shorter bar tells little.
const BAR_MIN: usize = 12;
/// Eighths of a column, from none to seven.
const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
const HEIGHTS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// A second in which nothing came.
const NOTHING: char = '·';

/// Latency by percentile, and the rate second by second if there were at least three; empty if no
/// answer came.
pub fn report(report: &Report, width: usize) -> String {
    let width = width.max(COLUMNS_MIN);
    let mut text = String::new();
    latencies(&mut text, report, width);
    rates(&mut text, report, width);
    text
}

/// A bar for each contender of each contest.
pub fn comparison(comparison: &Comparison, width: usize) -> String {
    let width = width.max(COLUMNS_MIN);
    let mut text = String::new();
    for contest in &comparison.contests {
        contenders(&mut text, contest, comparison.rounds, width);
    }
    text
}

fn latencies(text: &mut String, report: &Report, width: usize) {
    let l = &report.latency_us;
    let (Some(least), Some(longest)) = (report.spectrum.first(), report.spectrum.last()) else {
        return;
    };
    let rows = [
        ("50 %", l.p50),
        ("90 %", l.p90),
        ("99 %", l.p99),
        ("99.9 %", l.p99_9),
        ("all", l.max),
    ];
    let scale = Scale::latencies([least.us, longest.us]);
    line(text, format_args!("  latency    within; log scale"));
    for (name, us) in rows {
        if us.is_nan() {
            continue;
        }
        let words = format!("    {name:<6} {:>9}  ", Micros(us));
        // What never comes has no place on the scale.
        let bar = match us.is_finite() {
            true => bar(scale.place(us), width - columns(&words)),
            false => String::new(),
        };
        line(text, format_args!("{}", (words + &bar).trim_end()));
    }
}

fn rates(text: &mut String, report: &Report, width: usize) {
    let seconds = report.whole_seconds();
    if seconds.len() < SECONDS_MIN {
        return;
    }
    let counts = || seconds.iter().map(|second| second.answered);
    let (least, most) = (counts().min().unwrap_or(0), counts().max().unwrap_or(0));
    let each = seconds.len().div_ceil(width - 4);
    let marks: String = seconds
        .chunks(each)
        // The slowest of several: a stall must not vanish in a mean.
        .filter_map(|group| group.iter().map(|second| second.answered).min())
        .map(|answered| match answered {
            0 => NOTHING,
            some => HEIGHTS[(some * 8 / (most + 1)) as usize % 8],
        })
        .collect();
    let span = match each {
        1 => "each second".to_owned(),
        more => format!("each {more} s, its slowest"),
    };
    line(
        text,
        format_args!(
            "  rate       {span}: {} to {} {}/s{}",
            label::rate(least as f64),
            label::rate(most as f64),
            // A second counts the lines that every member received.
            if report.deliveries.is_some() {
                "lines "
            } else {
                ""
            },
            if least == 0 { ", · none" } else { "" }
        ),
    );
    line(text, format_args!("    {marks}"));
}

fn contenders(text: &mut String, contest: &Contest, rounds_made: usize, width: usize) {
    let beside = beside_bars(contest);
    if beside.is_empty() {
        return;
    }
    let of = match rounds_made {
        1 => "one round".to_owned(),
        more => format!("the median of {more} rounds"),
    };
    line(
        text,
        format_args!("{}: answers a second, {of}", contest.mode),
    );
    let wide = |texts: &[String]| {
        let columns = texts.iter().map(|text| 2 + columns(text));
        columns.max().unwrap_or(0)
    };
    let left = width.saturating_sub(beside.iter().map(|column| wide(column)).sum());
    let name_max = (left / 2).min(width / 3);
    let names = contest
        .contenders
        .iter()
        .map(|one| shorten(&one.name, name_max));
    let names = column("server", names);
    let bar_max = left.saturating_sub(wide(&names) + 2);
    let rate = |one: &Contender| one.figures.map_or(0.0, |figures| figures.rate_per_s.median);
    let most = contest
        .contenders
        .iter()
        .map(rate)
        .fold(f64::MIN_POSITIVE, f64::max);
    if bar_max < BAR_MIN {
        // Beside figures there is no room for bars: below each other there is.
        for (place, one) in contest.contenders.iter().enumerate() {
            line(text, format_args!("  {}", shorten(&one.name, width - 2)));
            let bar = bar(rate(one) / most, width - 4);
            line(text, format_args!("    {bar}"));
            let cells = beside.iter().map(|column| match column[0].as_str() {
                RATE_PER_S => format!("{} /s", column[place + 1]),
                name => format!("{name} {}", column[place + 1]),
            });
            line(
                text,
                format_args!("    {}", cells.collect::<Vec<_>>().join(", ")),
            );
        }
        return;
    }
    let bars = contest
        .contenders
        .iter()
        .map(|one| bar(rate(one) / most, bar_max));
    let all = [vec![names, column("", bars)], beside].concat();
    line(text, format_args!("{}", table(&[0, 1], &all, None)));
}

/// So much of so many columns, to an eighth of one; what is not nothing is seen.
fn bar(share: f64, columns: usize) -> String {
    let wanted = share.clamp(0.0, 1.0) * columns as f64 * 8.0;
    let eighths = if wanted > 0.0 {
        wanted.round().max(1.0) as usize
    } else {
        0
    };
    "█".repeat(eighths / 8) + EIGHTHS[eighths % 8]
}

fn line(text: &mut String, what: std::fmt::Arguments<'_>) {
    let start = text.len();
    let _ = text.write_fmt(what);
    text.truncate(text.trim_end().len().max(start));
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_as_long_as_its_share() {
        assert_eq!(bar(0.0, 10), "");
        assert_eq!(bar(0.001, 10), "▏");
        assert_eq!(bar(0.25, 10), "██▌");
        assert_eq!(bar(1.0, 4), "████");
        assert_eq!(bar(7.0, 4), "████");
    }
}
