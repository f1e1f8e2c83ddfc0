//! A report as text for a terminal.

use std::{fmt, iter};

use crate::bench::show::label::harmless;
use crate::bench::show::phrases::{
    asked_at_end, count, died, model, notices, request, several, unread,
};
use crate::bench::show::rows::{self, CORRECTED, Group, PHASES, POINTS, Row};
use crate::load::measure::figures::Micros;
use crate::load::measure::histogram::Summary;
use crate::load::plan::mode::ModeName;
use crate::load::run::report::Report;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(died) = died(self) {
            writeln!(f, "{died}")?;
        }
        write!(
            f,
            "bench {} {}: {}",
            self.mode,
            harmless(&self.endpoint),
            request(self)
        )?;
        if self.mode == ModeName::Hold {
            writeln!(f, " for {:.3} s{}", self.elapsed_s, asked_at_end(self))?;
            line(f, rows::ADDRESS, self)?;
        } else {
            writeln!(f)?;
            if let Some(request) = &self.request {
                writeln!(f, "  request    {}", harmless(request))?;
            }
            let runs = std::slice::from_ref(self);
            line(f, rows::ADDRESS, self)?;
            writeln!(f, "  model      {}: {}", self.model, model(runs))?;
            self.fmt_rate(f)?;
        }
        for group in [
            rows::BYTES,
            rows::REQUESTS,
            rows::STATUSES,
            rows::EXIT_CODES,
            rows::DATAGRAMS,
            rows::DELIVERIES,
            rows::LACKING,
            rows::HELD,
            rows::KERNEL,
        ] {
            line(f, group, self)?;
        }
        self.fmt_latencies(f)?;
        for group in [
            rows::WARMUP,
            rows::WARMUP_STAGES,
            rows::ERRORS,
            rows::STAGES,
            rows::SERVER,
        ] {
            line(f, group, self)?;
        }
        if let Some(why) = self.server_unread {
            writeln!(f, "  server     {}", unread(why))?;
        }
        line(f, rows::GENERATOR, self)?;
        for notice in notices(std::slice::from_ref(self)) {
            writeln!(f, "  notice     {notice}")?;
        }
        Ok(())
    }
}

impl Report {
    fn fmt_rate(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let came = self.requests.came;
        let came = match (self.deliveries, several(self)) {
            (Some(_), _) => count(came, "line") + " that every member received",
            (None, Some(_)) => count(came, "connection"),
            (None, None) => count(came, "answer"),
        };
        writeln!(
            f,
            "  rate       {}   ({came} in {:.3} s, after {:.3} s of warm-up{})",
            figures(rows::RATE, self),
            self.elapsed_s,
            self.warmup_s,
            if self.interrupted {
                ", interrupted"
            } else {
                ""
            }
        )
    }

    fn fmt_latencies(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = if self.deliveries.is_some() {
            "to last"
        } else {
            "latency"
        };
        match self.latency_us.count {
            _ if self.mode == ModeName::Hold => {}
            0 => writeln!(f, "  {name:10} none: no answer came")?,
            _ => writeln!(f, "  {name:10} {}", self.latency_us)?,
        }
        for (name, phase) in iter::once(&CORRECTED).chain(PHASES) {
            if let Some(phase) = phase(self) {
                writeln!(f, "    {name:10} {phase}")?;
            }
        }
        Ok(())
    }
}

/// Figures of a run behind what they are about; nothing if it has none.
fn line(f: &mut fmt::Formatter<'_>, group: Group, report: &Report) -> fmt::Result {
    let (label, _) = group;
    match figures(group, report) {
        none if none.is_empty() => Ok(()),
        figures => writeln!(f, "  {label:10} {figures}"),
    }
}

fn figures((_, rows): Group, report: &Report) -> String {
    let figure = |(name, figure): &Row| {
        let text = figure(report)? + " " + name;
        Some(text.trim_end().to_owned())
    };
    rows.iter()
        .filter_map(figure)
        .collect::<Vec<_>>()
        .join(", ")
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let points = POINTS.iter().map(|(name, point)| (name, point(self)));
        // What there are too few for is not printed.
        let known = points.filter(|(_, us)| !us.is_nan());
        let points: Vec<_> = known
            .map(|(name, us)| format!("{name} {}", Micros(us)))
            .collect();
        f.write_str(&points.join("   "))
    }
}
