//! Latency by percentile, the slowest as wide as the others.

use crate::bench::show::html::line_chart::{Curve, LineChart, Point};
use crate::bench::show::scale::{Scale, last_share};
use crate::bench::study::comparison::{Contender, Contest};
use crate::load::measure::figures::Micros;
use crate::load::measure::histogram::Quantile;
use crate::load::run::report::Report;

/// Of the typical round of each contender that answered; none if none did.
pub(super) fn percentiles(contest: &Contest) -> Option<LineChart> {
    let lines = Curve::of_each(contest, points_of);
    let points = || lines.iter().flat_map(|line| &line.points);
    let counts = contest
        .contenders
        .iter()
        .filter_map(|contender| Some(total(contender.typical()?)));
    points().next()?;
    Some(LineChart {
        title: format!("{}: latency by percentile", contest.mode),
        description: lines
            .iter()
            .filter_map(|line| line.points.last())
            .map(|point| format!("{} at the end of its line. ", point.says))
            .collect(),
        x: Scale::shares(counts.max().unwrap_or(0)),
        x_name: "for this share of the requests",
        y: Scale::latencies(points().map(|point| point.y)),
        y_name: "latency at most",
        lines,
    })
}

fn points_of(contender: &Contender) -> Vec<Point> {
    let Some(report) = contender.typical() else {
        return Vec::new();
    };
    let last = last_share(total(report));
    let point = |quantile: &Quantile| {
        let share = match quantile.share {
            1.0 => "all".to_owned(),
            share => percent(share),
        };
        Point {
            x: quantile.share.min(last),
            y: quantile.us,
            says: format!("{}: {share} within {}", contender.name, Micros(quantile.us)),
            is_marked: false,
        }
    };
    report.spectrum.iter().map(point).collect()
}

/// All requests, those that were never answered among them: of them there are shares.
fn total(report: &Report) -> u64 {
    report.latency_us.count + report.latency_us.never
}

/// With as many nines as there are.
fn percent(share: f64) -> String {
    let text = format!("{:.8}", share * 100.0);
    format!("{} %", text.trim_end_matches('0').trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_has_as_many_digits_as_it_needs() {
        assert_eq!(percent(0.0), "0 %");
        assert_eq!(percent(0.5), "50 %");
        assert_eq!(percent(0.999), "99.9 %");
        assert_eq!(percent(0.999_999_9), "99.99999 %");
    }
}
