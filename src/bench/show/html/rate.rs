//! Answers second by second.

use crate::bench::show::html::line_chart::{Curve, LineChart, Point};
use crate::bench::show::label;
use crate::bench::show::scale::{SECONDS_MIN, Scale};
use crate::bench::study::comparison::{Contender, Contest};
use crate::load::measure::figures::Micros;
use crate::load::measure::series::SecondSeen;
use crate::load::run::report::Report;

/// More would be nearer to each other than pixels.
const GROUPS_MAX: usize = 300;

/// Of the typical round of each contender that was measured long enough; none if none was.
pub(super) fn rates(contest: &Contest) -> Option<LineChart> {
    let lines = Curve::of_each(contest, points_of);
    let points = || lines.iter().flat_map(|line| &line.points);
    let longest = contest
        .contenders
        .iter()
        .filter_map(|contender| Some(contender.typical()?.whole_seconds().len()));
    points().next()?;
    let most = points().map(|point| point.y).fold(0.0, f64::max);
    Some(LineChart {
        title: format!("{}: rate over time", contest.mode),
        description: lines.iter().map(describe).collect(),
        x: Scale::seconds(longest.max().unwrap_or(0) as f64),
        x_name: "seconds since measuring began",
        // Answers are whole, and so are the steps of their axis.
        y: Scale::linear(most.max(5.0)),
        y_name: "answers in each second",
        lines,
    })
}

fn points_of(contender: &Contender) -> Vec<Point> {
    let seconds = contender.typical().map_or(&[][..], Report::whole_seconds);
    if seconds.len() < SECONDS_MIN {
        return Vec::new();
    }
    let all: Vec<_> = seconds.iter().enumerate().collect();
    all.chunks(seconds.len().div_ceil(GROUPS_MAX))
        .flat_map(ends)
        .map(|(at, second)| point(&contender.name, at, second))
        .collect()
}

/// The least and the greatest of a group, in their order: a mean would hide both.
fn ends<'s>(group: &[(usize, &'s SecondSeen)]) -> Vec<(usize, &'s SecondSeen)> {
    let least = group.iter().min_by_key(|(_, second)| second.answered);
    let most = group.iter().max_by_key(|(_, second)| second.answered);
    let mut ends: Vec<_> = least.into_iter().chain(most).copied().collect();
    ends.sort_by_key(|(at, _)| *at);
    ends.dedup_by_key(|(at, _)| *at);
    ends
}

fn point(name: &str, at: usize, second: &SecondSeen) -> Point {
    let mut says = format!(
        "{name}, second {}: {} answers",
        at + 1,
        label::rate(second.answered as f64)
    );
    if second.answered > 0 {
        says += &format!(
            ", half within {}, 99 % within {}, the longest {}",
            Micros(second.p50_us),
            Micros(second.p99_us),
            Micros(second.max_us)
        );
    }
    if second.errors > 0 {
        says += &format!(", {} errors", second.errors);
    }
    Point {
        // A second's answers stand in its middle.
        x: at as f64 + 0.5,
        y: second.answered as f64,
        says,
        is_marked: second.errors > 0,
    }
}

fn describe(line: &Curve) -> String {
    let rates = || line.points.iter().map(|point| point.y);
    format!(
        "{}: from {} to {} a second. ",
        line.name,
        label::rate(rates().fold(f64::INFINITY, f64::min)),
        label::rate(rates().fold(0.0, f64::max))
    )
}
