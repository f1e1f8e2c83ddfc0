//! `onepoll bench`: the load generator.
//!
//! - `args`: what is typed. `call`: from that to runs. Here they are made, and printed.
//! - `target`, `http_url`, `request`: which server is asked, and for what. `own_options`: one server alone.
//!   `literal`, `number`: bytes and numbers as they are typed. `heed`: what has no effect in a mode.
//! - `rival`: the server to ask in turn with. `conditions`: how often, for how long, from which addresses.
//! - `certificate`: which one a server shows. `verdict`: the exit code.
//! - `progress_line`: how far a run is. `interrupt`: Ctrl-C. `html`: the file with the charts.

mod args;
mod call;
#[cfg(feature = "tls")]
mod certificate;
mod conditions;
mod heed;
mod html;
mod http_url;
mod interrupt;
mod literal;
mod number;
mod own_options;
mod progress_line;
mod request;
mod rival;
mod target;
mod verdict;

use std::fmt;
use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use serde::Serialize;

pub use self::args::Args;
use self::call::{Call, Entries};
#[cfg(feature = "tls")]
use self::certificate::{check_plain, check_trust};
use self::conditions::Conditions;
use self::html::HtmlFile;
pub(super) use self::interrupt::Interrupt;
use self::progress_line::{ProgressLine, columns};
use self::rival::Program;
use self::verdict::{BUSY, Ending};
use super::{Failure, Outcome, complain, is_quiet, print};
use crate::bench::show::changes;
use crate::bench::show::html::{page, page_of_search};
use crate::bench::show::phrases::INTERRUPTED;
use crate::bench::show::terminal::{self, COLUMNS};
use crate::bench::show::wrap::wrap;
use crate::bench::study::baseline::Baseline;
use crate::bench::study::change::{Change, ChangeVerdict};
use crate::bench::study::comparison::{Comparison, Contest, Entrant};
use crate::bench::study::forecast::{forecast_of, hear_greeting};
use crate::bench::study::provenance::Provenance;
use crate::bench::study::quiet::{Looks, Others};
use crate::bench::study::search::find_rate;
use crate::bench::study::turns::Turns;
use crate::load;
use crate::load::plan::error::LoadError;

/// Runs the load and prints the result.
pub fn run(args: Args) -> Outcome {
    let mut call = Call::of(args)?;
    let interrupt = Interrupt::take().context("signals cannot be taken over")?;
    let html = call.conditions.html.clone();
    let html = html.map(HtmlFile::open).transpose()?;
    let mut looks = Looks::default();
    if call.conditions.is_judged() {
        looks.look(FIRST_LOOK);
        if let Some(others) = too_busy(&call.conditions, looks) {
            complain(format_args!(
                "{}: nothing that is measured now could be compared. Wait, or say --max-busy if that is usual here",
                changes::others(&others)
            ));
            return Ok(ExitCode::from(BUSY));
        }
    }
    let rival = call.program.as_ref().map(Program::start).transpose()?;
    for (_, entries) in &mut call.contests {
        if let (Some(rival), Some(entry)) = (&rival, entries.first_mut()) {
            entry.plan.endpoint = rival.endpoint.clone();
            if !entry.plan.pids.is_empty() {
                entry.plan.pids = vec![rival.pid()];
            }
        }
    }
    #[cfg(feature = "tls")]
    check_trust(&call.contests)?;
    foresee(&mut call.contests)?;
    match call.only() {
        Some(entry) if call.conditions.find_rate.is_empty() => {
            measure(&call.conditions, &interrupt, entry, html)
        }
        Some(entry) => search(&call.conditions, &interrupt, entry, html),
        None => compare(&call, &interrupt, looks, html),
    }
}

/// How long the machine is looked at before anything is measured, and then before each round.
const FIRST_LOOK: Duration = Duration::from_millis(200);
const LOOK: Duration = Duration::from_millis(10);

/// What others use, if that is too much.
fn too_busy(conditions: &Conditions, looks: Looks) -> Option<Others> {
    let others = looks.others();
    others.filter(|others| others.share > conditions.max_busy())
}

/// Shortages of all runs are reported before the first run begins.
fn foresee(contests: &mut [Entries]) -> Result<(), Failure> {
    for (mode, entries) in contests {
        for entry in entries {
            for shortage in forecast_of(&mut entry.plan)? {
                complain(format_args!("bench {mode} {}: {shortage}", entry.name));
            }
        }
    }
    Ok(())
}

/// One run.
fn measure(
    conditions: &Conditions,
    interrupt: &Interrupt,
    entry: &Entrant,
    html: Option<HtmlFile>,
) -> Outcome {
    let mut line = ProgressLine::new(interrupt);
    let mut report = load::run_watched(&entry.plan, &mut |progress| line.show(progress))?;
    drop(line);
    hear_greeting(&entry.plan, std::slice::from_mut(&mut report));
    let shown = show(
        conditions,
        &report,
        &terminal::report(&report, picture_columns()),
    );
    let ending = Ending::of_run(&report, &conditions.require);
    if let Some(html) = html {
        let alone = Comparison::of_one(&entry.name, report.clone());
        html.write(&page(&alone, &[], Some(&conditions.made)))?;
    }
    shown?;
    #[cfg(feature = "tls")]
    check_plain(report.mode, entry, std::slice::from_ref(&report));
    Ok(interrupt.code_or(ending.code()))
}

/// The highest rate that holds.
fn search(
    conditions: &Conditions,
    interrupt: &Interrupt,
    entry: &Entrant,
    html: Option<HtmlFile>,
) -> Outcome {
    let mut line = ProgressLine::new(interrupt);
    let found = find_rate(
        &entry.plan,
        conditions.arrivals(),
        &conditions.find_rate,
        &mut |progress| line.show(progress),
    )?;
    drop(line);
    let shown = show(conditions, &found, "");
    let ending = Ending::of_search(&found, &conditions.require);
    if let Some(html) = html {
        html.write(&page_of_search(&found, Some(&conditions.made)))?;
    }
    shown?;
    Ok(interrupt.code_or(ending.code()))
}

/// All servers in turn, mode by mode.
fn compare(
    call: &Call,
    interrupt: &Interrupt,
    mut looks: Looks,
    html: Option<HtmlFile>,
) -> Outcome {
    let (rounds, conditions) = (call.rounds, &call.conditions);
    let mut line = ProgressLine::new(interrupt);
    let mut held = Vec::with_capacity(call.contests.len());
    for (mode, entries) in &call.contests {
        if interrupt.came() {
            break;
        }
        let turns = match (&conditions.against, entries.first()) {
            (Some(_), Some(entry)) => Turns::ByLot {
                seed: entry.plan.seed,
            },
            _ => Turns::Alike,
        };
        let mut look = || {
            if conditions.is_judged() && !interrupt.came() {
                looks.look(LOOK);
            }
        };
        let mut told = |round, name: &str, progress| {
            line.show(format_args!(
                "{mode} {round} of {rounds}, {name}: {progress}"
            ))
        };
        let contest = Contest::hold(*mode, entries, rounds, turns, &mut look, &mut told);
        let mut contest = contest?;
        for (entry, contender) in entries.iter().zip(&mut contest.contenders) {
            hear_greeting(&entry.plan, &mut contender.reports);
        }
        held.push(contest);
    }
    drop(line);
    let comparison = Comparison::of_planned(held, call.contests.len(), rounds);
    let mut changes = changes_of(call, &comparison);
    let others = looks.others().filter(|_| conditions.is_judged());
    if too_busy(conditions, looks).is_some() {
        let verdicts = changes.iter_mut().map(|change| &mut change.verdict);
        verdicts.for_each(|verdict| *verdict = ChangeVerdict::Busy);
    }
    let result = With {
        verdicts: changes::verdicts(&changes),
        comparison: &comparison,
        changes: &changes,
        others,
        commands: call.baseline.iter().flat_map(Baseline::commands).collect(),
    };
    let shown = show(
        conditions,
        &result,
        &terminal::comparison(&comparison, picture_columns()),
    );
    if let Some(html) = html {
        html.write(&page(&comparison, &changes, Some(&conditions.made)))?;
    }
    shown?;
    #[cfg(feature = "tls")]
    for ((mode, entries), contest) in call.contests.iter().zip(&comparison.contests) {
        for (entry, contender) in entries.iter().zip(&contest.contenders) {
            check_plain(*mode, entry, &contender.reports);
        }
    }
    let ending = Ending::of_comparison(&comparison, &conditions.require, result.changes);
    Ok(interrupt.code_or(ending.code()))
}

/// Prints a result as it is wanted, and the picture that goes with it. Where that fails, the page is
/// still written: what was measured for minutes is not lost with the terminal.
fn show(
    conditions: &Conditions,
    result: &(impl Serialize + fmt::Display),
    picture: &str,
) -> Result<(), Failure> {
    if conditions.json {
        let json = serde_json::to_string(&Made {
            result,
            made: &conditions.made,
        });
        return print(json.context("the result cannot be written as JSON")?);
    }
    let text = match terminal_columns() {
        Some(width) => format!("{result:width$}"),
        None => result.to_string(),
    };
    print_wrapped(&text)?;
    if picture.is_empty() || is_quiet() {
        return Ok(());
    }
    print_wrapped(picture)
}

/// On a terminal in lines that are no longer than it is wide.
fn print_wrapped(text: &str) -> Result<(), Failure> {
    match terminal_columns() {
        Some(width) => print(wrap(text, width).trim_end()),
        None => print(text.trim_end()),
    }
}

/// How wide the terminal is, where the result goes to one.
fn terminal_columns() -> Option<usize> {
    let stdout = io::stdout();
    stdout.is_terminal().then(|| columns(stdout))
}

/// How wide a picture is: as wide as the terminal, but no wider than is usual; elsewhere as usual.
fn picture_columns() -> usize {
    terminal_columns().map_or(COLUMNS, |width| width.min(COLUMNS))
}

/// Whether servers are better or worse than before, or than the one that they were asked in turn with.
fn changes_of(call: &Call, comparison: &Comparison) -> Vec<Change> {
    let tolerance = call.conditions.tolerance();
    if let Some(baseline) = &call.baseline {
        return baseline.changes(comparison, tolerance);
    }
    if call.conditions.against.is_none() {
        return Vec::new();
    }
    let pairs = comparison.contests.iter().filter_map(|contest| {
        let [other, now] = contest.contenders.as_slice() else {
            return None;
        };
        Some(Change::in_turn(contest.mode, other, now, tolerance))
    });
    pairs.flatten().collect()
}

/// A result, and beside its fields where it was made.
#[derive(Serialize)]
struct Made<'r, R> {
    #[serde(flatten)]
    result: &'r R,
    made: &'r Provenance,
}

/// A comparison with what has changed; in JSON they stand beside each other.
#[derive(Serialize)]
struct With<'c> {
    /// What follows from `changes`, a sentence for each server in each mode.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    verdicts: Vec<String>,
    #[serde(flatten)]
    comparison: &'c Comparison,
    #[serde(skip_serializing_if = "<[Change]>::is_empty")]
    changes: &'c [Change],
    /// What other processes used, where it matters.
    #[serde(skip_serializing_if = "Option::is_none")]
    others: Option<Others>,
    /// How the servers of a baseline were started, as far as that is known.
    #[serde(skip)]
    commands: Vec<(&'c str, &'c str)>,
}

/// Tables are no wider than the formatter's width.
impl fmt::Display for With<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.comparison.interrupted {
            writeln!(f, "{INTERRUPTED}")?;
        }
        // What was asked for first, then what it follows from.
        for verdict in &self.verdicts {
            writeln!(f, "{verdict}")?;
        }
        write!(f, "{}", changes::text(self.changes, f.width()))?;
        self.comparison.fmt(f)?;
        if let Some(others) = &self.others {
            writeln!(f, "  machine    {}", changes::others(others))?;
        }
        for (name, command) in &self.commands {
            writeln!(f, "  before     {}", changes::earlier(name, command))?;
        }
        Ok(())
    }
}

impl From<LoadError> for Failure {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Plan(error) => Self::usage(error),
            LoadError::Interrupted => Self::Interrupted,
            error => Self::Run(error.into()),
        }
    }
}
