//! `onepoll bench`: the load generator.
//!
//! - `args`: what is typed. `call`: from that to runs. Here they are made, and printed.
//! - `target`, `request`: which server is asked, and for what. `literal`: bytes as they are typed.
//! - `conditions`: how often, for how long, from which addresses.
//! - `progress_line`: how far a run is. `interrupt`: Ctrl-C. `html`: the file with the charts. `verdict`: the exit code.

mod args;
mod call;
mod conditions;
mod html;
mod interrupt;
mod literal;
mod progress_line;
mod request;
mod target;
mod verdict;

use std::fmt;

use anyhow::Context;
use serde::Serialize;

pub use self::args::Args;
use self::call::{Call, Entries};
use self::conditions::Conditions;
use self::html::HtmlFile;
use self::interrupt::Interrupt;
use self::progress_line::ProgressLine;
use self::verdict::Ending;
use super::{Failure, Outcome, complain, is_quiet, print};
use crate::bench::show::terminal::{self, COLUMNS};
use crate::bench::study::baseline::{Baseline, Change};
use crate::bench::study::comparison::{Comparison, Contest, Entrant};
use crate::bench::study::forecast::forecast_of;
use crate::bench::study::search::find_rate;
use crate::load;
use crate::load::plan::error::LoadError;

/// Runs the load and prints the result.
pub fn run(args: Args) -> Outcome {
    let call = Call::of(args)?;
    let interrupt = Interrupt::take().context("signals cannot be taken over")?;
    let mut contests = call.entries()?;
    let baseline = call.baseline(&contests)?;
    let html = call
        .conditions
        .html
        .clone()
        .map(HtmlFile::open)
        .transpose()?;
    foresee(&mut contests)?;
    match (contests.as_slice(), &baseline) {
        ([(_, entries)], None) if entries.len() == 1 && call.rounds() == 1 => {
            if call.conditions.find_rate.is_empty() {
                measure(&call, &interrupt, &entries[0], html)
            } else {
                search(&call, &interrupt, &entries[0], html)
            }
        }
        _ => compare(&call, &interrupt, &contests, baseline.as_ref(), html),
    }
}

/// Shortages of all runs are reported before the first run begins.
fn foresee(contests: &mut [Entries]) -> Result<(), Failure> {
    for (mode, entries) in contests {
        for entry in entries {
            for shortage in forecast_of(&mut entry.plan).map_err(failure)? {
                complain(format_args!("bench {mode} {}: {shortage}", entry.name));
            }
        }
    }
    Ok(())
}

/// One run.
fn measure(call: &Call, interrupt: &Interrupt, entry: &Entrant, html: Option<HtmlFile>) -> Outcome {
    let mut line = ProgressLine::new();
    let mut watch = |progress| {
        line.show(progress);
        interrupt.flow()
    };
    let report = load::run_watched(&entry.plan, &mut watch).map_err(failure)?;
    drop(line);
    let shown = show(
        &call.conditions,
        &report,
        &report,
        &terminal::report(&report, COLUMNS),
    );
    let ending = Ending::of_run(&report, &call.conditions.require);
    if let Some(html) = html {
        html.write(&Comparison::of_one(&entry.name, report))?;
    }
    shown?;
    Ok(interrupt.code_or(ending.code()))
}

/// The highest rate that holds.
fn search(call: &Call, interrupt: &Interrupt, entry: &Entrant, html: Option<HtmlFile>) -> Outcome {
    let mut line = ProgressLine::new();
    let objectives = &call.conditions.find_rate;
    let arrivals = call.conditions.arrivals();
    let mut watch = |progress| {
        line.show(progress);
        interrupt.flow()
    };
    let found = find_rate(&entry.plan, arrivals, objectives, &mut watch).map_err(failure)?;
    drop(line);
    let shown = show(&call.conditions, &found, &found, "");
    let ending = Ending::of_search(found.rate_per_s.is_some());
    if let (Some(html), Some(report)) = (html, found.report) {
        html.write(&Comparison::of_one(&entry.name, report))?;
    }
    shown?;
    Ok(ending.code())
}

/// All servers in turn, mode by mode.
fn compare(
    call: &Call,
    interrupt: &Interrupt,
    contests: &[Entries],
    baseline: Option<&Baseline>,
    html: Option<HtmlFile>,
) -> Outcome {
    let rounds = call.rounds();
    let mut line = ProgressLine::new();
    let mut held = Vec::with_capacity(contests.len());
    for (mode, entries) in contests {
        let mut told = |round: usize, name: &str, progress: load::Progress| {
            line.show(format_args!(
                "{mode} {round} of {rounds}, {name}: {progress}"
            ));
            interrupt.flow()
        };
        if interrupt.came() {
            break;
        }
        held.push(Contest::hold(*mode, entries, rounds, &mut told).map_err(failure)?);
    }
    drop(line);
    let comparison = Comparison::of(held);
    let tolerance = call.conditions.tolerance / 100.0;
    let changes = baseline.map(|baseline| baseline.changes(&comparison, tolerance));
    let changes = changes.unwrap_or_default();
    let result = With {
        comparison: &comparison,
        changes: &changes,
    };
    let picture = terminal::comparison(&comparison, COLUMNS);
    let shown = show(&call.conditions, &result, &result, &picture);
    if let Some(html) = html {
        html.write(&comparison)?;
    }
    shown?;
    let ending = Ending::of_comparison(&comparison, &call.conditions.require, &changes);
    Ok(interrupt.code_or(ending.code()))
}

/// Prints a result as it is wanted, and the picture that goes with it. Where that fails, the page is
/// still written: what was measured for minutes is not lost with the terminal.
fn show(
    conditions: &Conditions,
    result: &impl Serialize,
    text: &impl fmt::Display,
    picture: &str,
) -> Result<(), Failure> {
    if conditions.json {
        return print(
            serde_json::to_string(result).context("the result cannot be written as JSON")?,
        );
    }
    print(text.to_string().trim_end())?;
    if picture.is_empty() || is_quiet() {
        return Ok(());
    }
    print(picture.trim_end())
}

/// A comparison with what has changed since the baseline; in JSON they stand beside each other.
#[derive(Serialize)]
struct With<'c> {
    #[serde(flatten)]
    comparison: &'c Comparison,
    #[serde(skip_serializing_if = "<[Change]>::is_empty")]
    changes: &'c [Change],
}

impl fmt::Display for With<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.comparison)?;
        for change in self.changes {
            writeln!(f, "  baseline   {change}")?;
        }
        Ok(())
    }
}

fn failure(error: LoadError) -> Failure {
    match error {
        LoadError::Plan(error) => Failure::Usage(error.to_string()),
        LoadError::Interrupted => Failure::Interrupted,
        error => Failure::Run(error.into()),
    }
}
