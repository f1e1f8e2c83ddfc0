//! Comparisons as they are printed.

use std::fmt;

use super::baseline::{Change, Verdict};
use super::comparison::{Comparison, Contender, Contest};
use super::figures::{Grouped, Micros, whole};
use super::search::{Found, Probe};
use super::statistic::Spread;

/// Longer names are cut.
const NAME_CHARS_MAX: usize = 24;

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
        match &self.differences()[..] {
            [] => writeln!(f, "{}", report.terms())?,
            each => {
                for (name, terms) in each {
                    writeln!(f, "{}: {terms}", short(name))?;
                }
            }
        }
        let is_interval = self.contenders.iter().any(|one| {
            one.figures
                .is_some_and(|figures| figures.rate_per_s.is_interval)
        });
        writeln!(
            f,
            "medians, and in brackets {}{}",
            match is_interval {
                true => "where the true median lies with 95 % confidence",
                false => "the least and the greatest: six rounds would allow an interval of 95 %",
            },
            match self.contenders.len() {
                1 => "",
                _ => "; ratios to the first, round by round",
            }
        )?;
        let width = self
            .contenders
            .iter()
            .map(|one| short(&one.name).chars().count());
        let width = width.max().unwrap_or(0).max("server".len());
        let has_cpu = self
            .contenders
            .iter()
            .any(|one| one.figures.is_some_and(|all| all.per_cpu_s.is_some()));
        write!(
            f,
            "  {:width$}  {:>29}  {:>19}  {:>9}  {:>9}  {:>7}",
            "server", "rate /s", "ratio", "p50", "p99", "errors"
        )?;
        if has_cpu {
            write!(f, "  {:>10}  {:>19}", "/cpu s", "ratio")?;
        }
        writeln!(f, "  generator")?;
        for contender in &self.contenders {
            contender.fmt_row(f, width, has_cpu, rounds)?;
        }
        for contender in &self.contenders {
            contender.fmt_errors(f)?;
        }
        Ok(())
    }
}

impl Contender {
    fn fmt_row(
        &self,
        f: &mut fmt::Formatter<'_>,
        width: usize,
        has_cpu: bool,
        rounds: usize,
    ) -> fmt::Result {
        let Some(figures) = &self.figures else {
            return writeln!(f, "  {:width$}  nothing was measured", short(&self.name));
        };
        write!(
            f,
            "  {:width$}  {:>29}  {:>19}  {:>9}  {:>9}  {:>7}",
            short(&self.name),
            rates(&figures.rate_per_s),
            self.ratios
                .map_or_else(|| "1".to_owned(), |ratios| ratio(&ratios.rate)),
            Micros(figures.p50_us.median),
            Micros(figures.p99_us.median),
            Grouped(figures.errors.total)
        )?;
        if has_cpu {
            let per_cpu = figures
                .per_cpu_s
                .map_or_else(String::new, |rate| Grouped(whole(rate.median)).to_string());
            let by = match (&self.ratios, figures.per_cpu_s) {
                (None, Some(_)) => "1".to_owned(),
                (Some(ratios), _) => ratios.per_cpu.as_ref().map_or_else(String::new, ratio),
                (None, None) => String::new(),
            };
            write!(f, "  {per_cpu:>10}  {by:>19}")?;
        }
        match figures.generator_was_the_limit {
            0 => writeln!(f, "  had time"),
            all if all == rounds => writeln!(f, "  was the limit: the server may do more"),
            some => writeln!(f, "  was the limit in {some} of {rounds}"),
        }
    }
}

impl Contender {
    fn fmt_errors(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(figures) = self.figures.filter(|figures| figures.errors.total > 0) else {
            return Ok(());
        };
        let kinds: Vec<_> = figures
            .errors
            .by_kind()
            .map(|(count, name)| format!("{} {name}", Grouped(count)))
            .collect();
        writeln!(f, "  errors of {}: {}", short(&self.name), kinds.join(", "))
    }
}

fn short(name: &str) -> String {
    match name.char_indices().nth(NAME_CHARS_MAX) {
        None => name.to_owned(),
        Some(_) => {
            let kept: String = name.chars().take(NAME_CHARS_MAX - 1).collect();
            format!("{kept}…")
        }
    }
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
            "p99" => Micros(spread.median).to_string(),
            _ => format!("{} /s", Grouped(whole(spread.median))),
        };
        write!(
            f,
            "{} of {}: {} {} before, {} now, {:.3} of it",
            self.mode,
            short(&self.name),
            self.metric,
            figure(&self.before),
            figure(&self.now),
            self.ratio
        )?;
        match self.verdict {
            Verdict::TooFew => f.write_str(
                "; too few rounds to tell from chance: four on each side at least (--rounds)",
            ),
            Verdict::Same => write!(
                f,
                "; not shown to differ (chance alone: {:.3})",
                self.chance
            ),
            Verdict::Better => write!(f, "; BETTER (chance alone: {:.3})", self.chance),
            Verdict::Worse => write!(f, "; WORSE (chance alone: {:.3})", self.chance),
        }
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "the highest rate with {} and without errors, keeping up:",
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
            None => write!(f, "  found      no rate holds")?,
        }
        if let Some(failed) = self.failed_per_s {
            write!(f, ", {} /s does not", Grouped(whole(failed)))?;
        }
        if self.generator_was_the_limit {
            write!(
                f,
                "\n  generator  it was the limit there: the server may do more"
            )?;
        }
        Ok(())
    }
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "  {:>12}  {:>12}  {:>9}  {:>9}  {:>9}  {}",
            Grouped(whole(self.rate_per_s)),
            Grouped(whole(self.answered_per_s)),
            Micros(self.latency_us.p50),
            Micros(self.latency_us.p99),
            Micros(self.latency_us.p99_9),
            match self.broken.is_empty() {
                true => "holds".to_owned(),
                false => format!("not: {}", self.broken.join(", ")),
            }
        )
    }
}
