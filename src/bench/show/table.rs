//! Comparisons as they are printed.

use std::fmt;

use crate::bench::show::label::shorten;
use crate::bench::show::phrases;
use crate::bench::study::baseline::{Change, ChangeVerdict};
use crate::bench::study::comparison::{Comparison, Contender, Contest};
use crate::bench::study::search::{Found, Probe};
use crate::bench::study::statistic::Spread;
use crate::load::measure::figures::{Grouped, Micros, whole};
use crate::load::plan::mode::ModeName;

/// Longer names are shortened in the middle.
const NAME_COLUMNS_MAX: usize = 24;

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
    fn fmt_table(&self, f: &mut fmt::Formatter<'_>, rounds: usize) -> fmt::Result {
        let Some(report) = self.contenders.iter().find_map(|one| one.reports.first()) else {
            return write!(f, "bench {}: nothing was measured", self.mode);
        };
        let servers = match self.contenders.len() {
            1 => "one server".to_owned(),
            count => format!("{count} servers in turn"),
        };
        writeln!(
            f,
            "bench {}: {servers}, {rounds} rounds of {:.1} s, {} connections; {} model",
            self.mode,
            report.elapsed_s,
            Grouped(report.connections.asked as u64),
            report.model
        )?;
        if self.mode == ModeName::Hold {
            return self.fmt_held(f);
        }
        let terms = self.terms();
        for (said, names) in &terms {
            match terms.len() {
                1 => writeln!(f, "{said}")?,
                _ => writeln!(f, "{said}: {}", names.join(", "))?,
            }
        }
        let is_interval = report_is_interval(&self.contenders);
        writeln!(
            f,
            "medians, and in brackets {}{}",
            if is_interval {
                "an interval that holds the true median with 95 % confidence"
            } else {
                "the least and the greatest (an interval of 95 % takes six rounds)"
            },
            match self.contenders.len() {
                1 => "",
                _ => "; ratios to the first, round by round",
            }
        )?;
        let columns = Columns::of(&self.contenders);
        columns.fmt_head(f)?;
        for (place, contender) in self.contenders.iter().enumerate() {
            columns.fmt_row(f, place, contender, rounds)?;
        }
        let limited = self.contenders.iter().filter_map(|one| one.figures);
        if limited
            .map(|figures| figures.generator_was_the_limit)
            .sum::<usize>()
            > 0
        {
            writeln!(
                f,
                "  generator: in so many rounds the generator was the limit, and the server may do more; its own processor time (column /cpu s, with ?pid=) holds all the same"
            )?;
        }
        for contender in &self.contenders {
            contender.fmt_errors(f)?;
        }
        Ok(())
    }
}

impl Contest {
    /// Idle connections: how many stayed (the least of all rounds), and what each costs.
    fn fmt_held(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = Columns::of(&self.contenders).name;
        writeln!(
            f,
            "  {:width$}  {:>10}  {:>10}  {:>14}  {:>7}",
            "server", "held", "asked", "B a connection", "errors"
        )?;
        for contender in &self.contenders {
            let name = short(&contender.name);
            let reports = || contender.reports.iter();
            let held = reports().map(|report| report.connections.held as u64).min();
            let asked = reports()
                .map(|report| report.connections.asked as u64)
                .max();
            let costs =
                reports().filter_map(|report| report.server.as_ref()?.memory_per_connection_bytes);
            let cost = Spread::of(costs).map_or_else(
                || "–".to_owned(),
                |cost| Grouped(whole(cost.median)).to_string(),
            );
            let errors = contender.figures.map_or(0, |figures| figures.errors.total);
            writeln!(
                f,
                "  {name:width$}  {:>10}  {:>10}  {cost:>14}  {:>7}",
                Grouped(held.unwrap_or(0)),
                Grouped(asked.unwrap_or(0)),
                Grouped(errors)
            )?;
        }
        for contender in &self.contenders {
            contender.fmt_errors(f)?;
        }
        Ok(())
    }
}

fn report_is_interval(contenders: &[Contender]) -> bool {
    let mut figures = contenders.iter().filter_map(|one| one.figures);
    figures.any(|figures| figures.rate_per_s.is_interval)
}

/// Which columns there are, and how wide the first is.
struct Columns {
    name: usize,
    /// Ratios to the first.
    has_ratios: bool,
    /// Processor time, where `--pid` names a process.
    has_cpu: bool,
}

impl Columns {
    fn of(contenders: &[Contender]) -> Self {
        let names = contenders
            .iter()
            .map(|one| short(&one.name).chars().count());
        let mut figures = contenders.iter().filter_map(|one| one.figures);
        Self {
            name: names.max().unwrap_or(0).max("server".len()),
            has_ratios: contenders.len() > 1,
            has_cpu: figures.any(|figures| figures.per_cpu_s.is_some()),
        }
    }

    fn fmt_head(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "  {:1$}", "server", self.name)?;
        if self.has_ratios {
            write!(f, "  {:>10}  {:>19}", "rate /s", "ratio")?
        } else {
            write!(f, "  {:>29}", "rate /s")?
        }
        if self.has_cpu {
            write!(f, "  {:>9}", "/cpu s")?;
            if self.has_ratios {
                write!(f, "  {:>19}", "ratio")?;
            }
        }
        writeln!(
            f,
            "  {:>9}  {:>9}  {:>6}  generator",
            "p50", "p99", "errors"
        )
    }

    fn fmt_row(
        &self,
        f: &mut fmt::Formatter<'_>,
        place: usize,
        contender: &Contender,
        rounds: usize,
    ) -> fmt::Result {
        let (name, width) = (short(&contender.name), self.name);
        let Some(figures) = &contender.figures else {
            return writeln!(f, "  {name:width$}  nothing was measured");
        };
        write!(f, "  {name:width$}")?;
        let one = || if place == 0 { "1" } else { "–" }.to_owned();
        if self.has_ratios {
            let by = contender
                .ratios
                .map_or_else(one, |ratios| ratio(&ratios.rate));
            write!(
                f,
                "  {:>10}  {by:>19}",
                Grouped(whole(figures.rate_per_s.median))
            )?;
        } else {
            write!(f, "  {:>29}", rates(&figures.rate_per_s))?
        }
        if self.has_cpu {
            let rate = figures
                .per_cpu_s
                .map(|rate| Grouped(whole(rate.median)).to_string());
            write!(f, "  {:>9}", rate.unwrap_or_default())?;
            if self.has_ratios {
                let by = match contender.ratios {
                    None => figures.per_cpu_s.map(|_| one()),
                    Some(ratios) => ratios.per_cpu.map(|by| ratio(&by)),
                };
                write!(f, "  {:>19}", by.unwrap_or_default())?;
            }
        }
        writeln!(
            f,
            "  {:>9}  {:>9}  {:>6}  {}",
            micros(figures.p50_us),
            micros(figures.p99_us),
            Grouped(figures.errors.total),
            match figures.generator_was_the_limit {
                0 => "had time".to_owned(),
                some => format!("{some} of {rounds}"),
            }
        )
    }
}

impl Contender {
    fn fmt_errors(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(figures) = self.figures.filter(|figures| figures.errors.total > 0) else {
            return Ok(());
        };
        let kinds = phrases::kinds(&figures.errors);
        writeln!(f, "  errors of {}: {kinds}", short(&self.name))
    }
}

fn short(name: &str) -> String {
    shorten(name, NAME_COLUMNS_MAX)
}

/// A dash where there was no answer, since 0 µs would be wrong.
fn micros(spread: Option<Spread>) -> String {
    spread.map_or_else(
        || "–".to_owned(),
        |spread| Micros(spread.median).to_string(),
    )
}

fn rates(spread: &Spread) -> String {
    format!(
        "{} ({} to {})",
        Grouped(whole(spread.median)),
        Grouped(whole(spread.low)),
        Grouped(whole(spread.high))
    )
}

fn ratio(spread: &Spread) -> String {
    format!(
        "{:.2} ({:.2} to {:.2})",
        spread.median, spread.low, spread.high
    )
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let figure = |spread: &Spread| match self.metric {
            "p99" if spread.median.is_infinite() => "never".to_owned(),
            "p99" => Micros(spread.median).to_string(),
            _ => format!("{} /s", Grouped(whole(spread.median))),
        };
        write!(
            f,
            "{} of {}: {} {} before, {} now",
            self.mode,
            short(&self.name),
            self.metric,
            figure(&self.before),
            figure(&self.now),
        )?;
        if self.ratio.is_finite() {
            write!(f, ", {:.3} of it", self.ratio)?;
        }
        match self.verdict {
            ChangeVerdict::TooFew => f.write_str(
                "; too few rounds to tell a difference from chance: at least four on each side (--rounds)",
            ),
            ChangeVerdict::Same => write!(
                f,
                "; not shown to differ (chance alone: {:.3})",
                self.chance
            ),
            ChangeVerdict::Better => write!(f, "; BETTER (chance alone: {:.3})", self.chance),
            ChangeVerdict::Worse => write!(f, "; WORSE (chance alone: {:.3})", self.chance),
        }
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "highest rate with {}, no errors, no backlog (a failed rate is retried once; the last that held is confirmed):",
            self.objectives.join(", ")
        )?;
        writeln!(
            f,
            "  {:>12}  {:>12}  {:>9}  {:>9}  {:>9}",
            "asked /s", "answered /s", "p50", "p99", "p99.9"
        )?;
        for probe in &self.probes {
            writeln!(f, "{probe}")?;
        }
        match self.rate_per_s {
            Some(rate) => write!(f, "  found      {} /s holds", Grouped(whole(rate)))?,
            None => write!(
                f,
                "  found      no rate holds down to {} /s; a probe of a lower rate has too few requests to tell, so measure longer (-d)",
                Grouped(whole(self.least_per_s))
            )?,
        }
        if let Some(failed) = self.failed_per_s {
            write!(f, ", {} /s does not", Grouped(whole(failed)))?;
        }
        if self.generator_was_the_limit {
            write!(
                f,
                "\n  generator  was the limit at that rate: the server may do more"
            )?;
        }
        Ok(())
    }
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // 0 µs would be wrong where there was no answer.
        let us = |figure: f64| match self.latency_us.count {
            0 => "–".to_owned(),
            _ => Micros(figure).to_string(),
        };
        write!(
            f,
            "  {:>12}  {:>12}  {:>9}  {:>9}  {:>9}  {}",
            Grouped(whole(self.rate_per_s)),
            Grouped(whole(self.answered_per_s)),
            us(self.latency_us.p50),
            us(self.latency_us.p99),
            us(self.latency_us.p99_9),
            if self.broken.is_empty() {
                "holds".to_owned()
            } else {
                format!("not: {}", self.broken.join(", "))
            }
        )
    }
}
