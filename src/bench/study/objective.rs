//! What a run is to reach: `p99<5ms`, `rate>=10k`, `errors<1`.

use std::fmt;
use std::str::FromStr;

use crate::config::parse_duration;
use crate::load::measure::clock::nanos;
use crate::load::measure::figures::{Grouped, Micros, whole};
use crate::load::run::report::Report;

/// One condition on a figure.
#[derive(Debug, Clone, PartialEq)]
pub struct Objective {
    /// Which figure.
    pub metric: Metric,
    /// On which side of the limit it must be.
    pub order: Order,
    /// The limit: microseconds for a latency.
    pub limit: f64,
    /// As it was written.
    text: String,
}

/// A figure that an objective can be about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metric {
    /// Answers a second.
    Rate,
    /// The mean latency.
    Mean,
    /// The latency that half of the requests had at most.
    P50,
    /// The latency that 90 % had at most.
    P90,
    /// The latency that 99 % had at most.
    P99,
    /// The latency that 99.9 % had at most.
    P999,
    /// The longest latency.
    Max,
    /// Failures, those of the warm-up included.
    Errors,
    /// The rate by that of the first server, or of the baseline.
    Ratio,
}

/// On which side of its limit a figure must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// `<`
    Below,
    /// `<=`
    AtMost,
    /// `>`
    Above,
    /// `>=`
    AtLeast,
}

const METRICS: [(&str, Metric); 9] = [
    ("rate", Metric::Rate),
    ("mean", Metric::Mean),
    ("p50", Metric::P50),
    ("p90", Metric::P90),
    ("p99", Metric::P99),
    ("p99.9", Metric::P999),
    ("max", Metric::Max),
    ("errors", Metric::Errors),
    ("ratio", Metric::Ratio),
];

/// The longer ones first: `<=` begins with `<`.
const ORDERS: [(&str, Order); 4] = [
    ("<=", Order::AtMost),
    (">=", Order::AtLeast),
    ("<", Order::Below),
    (">", Order::Above),
];

impl Metric {
    /// The figure of one run: none for a latency where nothing was asked, or fewer than the percentile takes; infinite where
    /// what was never answered reaches it. None for the ratio, which one run does not have.
    pub fn of(self, report: &Report) -> Option<f64> {
        let latency = report.latency_us;
        let us = |figure: f64| (!latency.is_empty() && !figure.is_nan()).then_some(figure);
        match self {
            Self::Rate => Some(report.rate_per_s),
            Self::Mean => us(latency.mean),
            Self::P50 => us(latency.p50),
            Self::P90 => us(latency.p90),
            Self::P99 => us(latency.p99),
            Self::P999 => us(latency.p99_9),
            Self::Max => us(latency.max),
            Self::Errors => Some((report.errors.total + report.warmup_errors.total) as f64),
            Self::Ratio => None,
        }
    }

    /// A figure with its unit.
    pub fn shown(self, figure: f64) -> String {
        match self {
            Self::Rate | Self::Errors => Grouped(whole(figure)).to_string(),
            Self::Ratio => format!("{figure:.3}"),
            _ => Micros(figure).to_string(),
        }
    }
}

impl Objective {
    /// Whether a figure is on the right side of the limit; one that is not there is not.
    pub fn holds(&self, figure: Option<f64>) -> bool {
        figure.is_some_and(|figure| match self.order {
            Order::Below => figure < self.limit,
            Order::AtMost => figure <= self.limit,
            Order::Above => figure > self.limit,
            Order::AtLeast => figure >= self.limit,
        })
    }
}

impl fmt::Display for Objective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Objective {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "{text:?} is no objective: write one such as p99<5ms, rate>=10k, errors<1 or ratio>=0.95"
            )
        };
        let compact: String = text.split_ascii_whitespace().collect();
        let at = compact.find(['<', '>']).ok_or_else(wrong)?;
        let (name, rest) = compact.split_at(at);
        let Some((_, metric)) = METRICS.into_iter().find(|(known, _)| *known == name) else {
            let names = METRICS.map(|(name, _)| name).join(", ");
            return Err(format!(
                "{text:?}: there is no figure {name:?}, but {names}"
            ));
        };
        let mut orders = ORDERS.into_iter();
        let (value, order) = orders
            .find_map(|(sign, order)| Some((rest.strip_prefix(sign)?, order)))
            .ok_or_else(wrong)?;
        let limit = match metric {
            Metric::Rate | Metric::Errors | Metric::Ratio => number(value).ok_or_else(wrong)?,
            _ => latency_us(value).map_err(|why| format!("{text:?}: {why}"))?,
        };
        Ok(Self {
            metric,
            order,
            limit,
            text: compact,
        })
    }
}

fn latency_us(text: &str) -> Result<f64, String> {
    let duration = parse_duration(&text.replace('µ', "u"))?;
    // Not by way of seconds, which would be rounded twice: the limit is to be the very number of the report.
    Ok(nanos(duration) as f64 / 1_000.0)
}

/// A plain number, with `k` and `M` for a thousand and a million.
fn number(text: &str) -> Option<f64> {
    let (digits, exponent) = match text.strip_suffix(['k', 'K']) {
        Some(digits) => (digits, "e3"),
        None => text
            .strip_suffix('M')
            .map_or((text, ""), |digits| (digits, "e6")),
    };
    // Not multiplied, which would round twice.
    let number: f64 = format!("{digits}{exponent}").parse().ok()?;
    (number.is_finite() && number >= 0.0).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::measure::failures::FailureKind;
    use crate::load::measure::histogram::Latencies;
    use crate::load::plan::Plan;
    use crate::load::plan::mode::Mode;
    use crate::load::plan::target::Endpoint;

    #[test]
    fn objectives_as_they_are_typed() {
        for (text, metric, order, limit) in [
            ("p99<5ms", Metric::P99, Order::Below, 5_000.0),
            ("p99.9 <= 250µs", Metric::P999, Order::AtMost, 250.0),
            ("max<1s", Metric::Max, Order::Below, 1e6),
            ("rate>=10k", Metric::Rate, Order::AtLeast, 10_000.0),
            ("rate>1.5M", Metric::Rate, Order::Above, 1.5e6),
            ("errors<1", Metric::Errors, Order::Below, 1.0),
            ("ratio>=0.95", Metric::Ratio, Order::AtLeast, 0.95),
        ] {
            let objective: Objective = text.parse().unwrap();
            assert_eq!(
                (objective.metric, objective.order, objective.limit),
                (metric, order, limit),
                "{text}"
            );
        }
        for (text, why) in [
            ("p99", "is no objective"),
            ("p98<5ms", "there is no figure"),
            ("p99<5", "not a duration"),
            ("rate>", "is no objective"),
            ("rate>fast", "is no objective"),
            ("rate>inf", "is no objective"),
            ("rate>-1", "is no objective"),
            ("<5ms", "there is no figure"),
            ("p99=5ms", "is no objective"),
        ] {
            let wrong = text.parse::<Objective>().unwrap_err();
            assert!(wrong.contains(why), "{text}: {wrong}");
        }
    }

    #[test]
    fn a_figure_that_is_not_there_holds_nothing() {
        let objective: Objective = "p99<5ms".parse().unwrap();
        assert!(objective.holds(Some(4_999.9)) && !objective.holds(Some(5_000.0)));
        assert!(!objective.holds(None));
    }

    #[test]
    fn a_limit_that_is_met_exactly_is_met_where_it_is_within() {
        for (text, holds) in [
            ("rate<100", [true, false, false]),
            ("rate<=100", [true, true, false]),
            ("rate>=100", [false, true, true]),
            ("rate>100", [false, false, true]),
        ] {
            let objective: Objective = text.parse().unwrap();
            for (figure, holds) in [99.9, 100.0, 100.1].into_iter().zip(holds) {
                assert_eq!(objective.holds(Some(figure)), holds, "{text} {figure}");
            }
        }
    }

    #[test]
    fn a_limit_as_it_is_typed_is_the_figure_as_it_is_reported() {
        // Figures have one decimal: microseconds, and answers a second.
        for tenths in (1..100_000_u32).step_by(7) {
            let figure = f64::from(tenths) / 10.0;
            let (us, rest) = (tenths / 10, tenths % 10);
            let (thousands, ones) = (tenths / 10_000, tenths % 10_000);
            for text in [
                format!("p99<={us}us{rest}00ns"),
                format!("max<={tenths}00ns"),
                format!("rate<={thousands}.{ones:04}k"),
                format!("rate>=0.{tenths:07}M"),
            ] {
                let objective: Objective = text.parse().unwrap();
                assert_eq!(objective.limit, figure, "{text}");
                assert!(objective.holds(Some(figure)), "{text}");
            }
        }
        for text in ["rate>k", "rate>1e3k", "rate>infk", "rate>1kk"] {
            assert!(text.parse::<Objective>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_percentile_is_there_as_long_as_no_more_is_missing_than_it_leaves_out() {
        let plan = Plan::new(Endpoint::Unix("/x".into()), Mode::Echo { depth: 1 });
        let figure = |metric: Metric, answered, never| {
            let mut latencies = Latencies::new();
            latencies.record(1_000, answered);
            (0..never).for_each(|_| latencies.record_never());
            let mut report = Report::before(&plan);
            report.latency_us = latencies.summary();
            metric.of(&report)
        };
        for (metric, left_out) in [
            (Metric::P50, 500),
            (Metric::P90, 100),
            (Metric::P99, 10),
            (Metric::P999, 1),
            (Metric::Mean, 0),
            (Metric::Max, 0),
        ] {
            for times in [1, 3, 7, 1_000] {
                let never = times * left_out;
                let all = times * 1_000;
                let what = format!("{metric:?} {times}");
                assert_eq!(figure(metric, all - never, never), Some(1.0), "{what}");
                // One more, and it takes for ever.
                let longer = figure(metric, all - never - 1, never + 1);
                assert_eq!(longer, Some(f64::INFINITY), "{what}");
            }
            assert_eq!(figure(metric, 0, 0), None);
        }
    }

    #[test]
    fn a_percentile_takes_as_many_as_it_needs() {
        let plan = Plan::new(Endpoint::Unix("/x".into()), Mode::Echo { depth: 1 });
        for (metric, needs) in [(Metric::P90, 10), (Metric::P99, 100), (Metric::P999, 1_000)] {
            for (answered, figure) in [(needs - 1, None), (needs, Some(1.0))] {
                let mut latencies = Latencies::new();
                latencies.record(1_000, answered);
                let mut report = Report::before(&plan);
                report.latency_us = latencies.summary();
                assert_eq!(metric.of(&report), figure, "{metric:?} {answered}");
            }
        }
    }

    #[test]
    fn errors_of_the_warm_up_are_errors_and_its_requests_are_in_no_percentile() {
        let plan = Plan::new(Endpoint::Unix("/x".into()), Mode::Echo { depth: 1 });
        let mut report = Report::before(&plan);
        report.warmup_errors.count(FailureKind::Timeout);
        report.errors.count(FailureKind::Reset);
        assert_eq!(Metric::Errors.of(&report), Some(2.0));
        // Nothing was lost that counts.
        (report.latency_us.count, report.latency_us.max) = (1, 7.0);
        assert_eq!(Metric::Max.of(&report), Some(7.0));
    }
}
