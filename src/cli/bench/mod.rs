//! `onepoll bench`: the load generator.
//!
//! - `target`, `request`: which server is asked, and for what. `literal`: bytes as they are typed.
//! - `conditions`: how often, for how long, from which addresses.
//! - `progress_line`: how far a run is. `interrupt`: Ctrl-C. `html`: the file with the charts. `verdict`: the exit code.

mod conditions;
mod html;
mod interrupt;
mod literal;
mod progress_line;
mod request;
mod target;
mod verdict;

use std::fmt;
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use anyhow::Context;
use clap::{CommandFactory, Subcommand};
use serde::Serialize;

use self::conditions::Conditions;
use self::html::HtmlFile;
use self::interrupt::Interrupt;
use self::progress_line::ProgressLine;
use self::request::{
    ConnArgs, DepthArgs, ExecArgs, FanoutArgs, MessageArgs, ModeName, RequestArgs, UdpArgs,
};
use self::target::NamedTarget;
use self::verdict::Ending;
use super::{Failure, Outcome, complain, is_quiet, print};
use crate::bench::show::terminal::{self, COLUMNS};
use crate::bench::study::baseline::{Baseline, BaselineError, Change};
use crate::bench::study::comparison::{Comparison, Contest, Entrant};
use crate::bench::study::forecast::forecast_of;
use crate::bench::study::objective::{Metric, Objective};
use crate::bench::study::search::find_rate;
use crate::load::plan::error::LoadError;
use crate::load::{self};

/// Measures servers: sends requests, checks every byte of the answers, reports rates and latencies
///
/// An ENDPOINT is a URL, of any server: `tcp://HOST:PORT`, `HOST:PORT`, `echo://HOST:PORT`,
/// `unix:///PATH`, `udp://HOST:PORT`. Several are measured in turn and compared. `NAME=URL` gives one a name
/// in the result; options behind the URL are for that server alone:
/// `old=tcp://HOST:7?payload=hi%0A&expect=3`. An http:// URL is requested with GET.
///
/// Ctrl-C stops measuring and prints the result so far; a second Ctrl-C ends the program at once.
///
/// Exit codes: 0 done, 1 a run or a request failed, 2 wrong usage, 3 a requirement does not hold, 130
/// interrupted.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    mode: ModeArgs,
}

#[derive(Debug, Subcommand)]
enum ModeArgs {
    /// A connection per request: connect, send, receive the whole answer, close
    ///
    /// The latency is that of the whole cycle, including the close. Unless --expect says otherwise, the
    /// server must send back what it received; capital letters are sent, so `upper` passes too.
    Conn {
        #[command(flatten)]
        conn: ConnArgs,
        #[command(flatten)]
        common: CommonArgs,
    },
    /// Connections that stay open: send, receive the whole answer, send again
    Echo {
        #[command(flatten)]
        depth: DepthArgs,
        #[command(flatten)]
        common: CommonArgs,
    },
    /// Commands a second: send a command line on a connection that stays open, receive its whole output
    Exec {
        #[command(flatten)]
        exec: ExecArgs,
        #[command(flatten)]
        common: CommonArgs,
    },
    /// Datagrams: send one, receive the same; counts those that were lost, duplicated or reordered
    ///
    /// A datagram of 8 bytes or more begins with its number. One without an answer within --timeout is lost.
    Udp {
        #[command(flatten)]
        udp: UdpArgs,
        #[command(flatten)]
        common: CommonArgs,
    },
    /// One sender to many members of a chat: deliveries a second, and how long it takes until the first,
    /// the median and the last member has a line
    ///
    /// The chat must send each line to every other member, and may put a name before it. Before measuring,
    /// the sender waits until all members receive its lines. The rate counts deliveries: one for each line
    /// and member. A delivery that takes longer than --timeout is lost. The chat of `onepoll serve` limits
    /// how fast a member may send if it was started with `flood=on`.
    Fanout {
        #[command(flatten)]
        depth: DepthArgs,
        #[command(flatten)]
        fanout: FanoutArgs,
        #[command(flatten)]
        common: CommonArgs,
    },
    /// Idle connections: how many are held, why not more, and (with --pid) how much memory each costs
    Hold {
        #[command(flatten)]
        common: CommonArgs,
    },
    /// Several modes, one after the other, for all servers
    Compare {
        /// Which modes
        #[arg(
            long,
            value_enum,
            value_name = "MODE,…",
            value_delimiter = ',',
            default_value = "conn,echo"
        )]
        mode: Vec<ModeName>,
        #[command(flatten)]
        conn: ConnArgs,
        #[command(flatten)]
        depth: DepthArgs,
        #[command(flatten)]
        exec: ExecArgs,
        #[command(flatten)]
        udp: UdpArgs,
        #[command(flatten)]
        fanout: FanoutArgs,
        #[command(flatten)]
        common: CommonArgs,
    },
}

#[derive(Debug, clap::Args)]
struct CommonArgs {
    /// [NAME=]URL, such as echo://127.0.0.1:9000, HOST:PORT or unix:///PATH
    #[arg(value_name = "ENDPOINT", required = true)]
    targets: Vec<NamedTarget>,
    #[command(flatten)]
    message: MessageArgs,
    #[command(flatten)]
    conditions: Conditions,
}

/// A call, whatever its mode.
struct Call {
    modes: Vec<ModeName>,
    targets: Vec<NamedTarget>,
    /// The request, for targets whose URL does not say otherwise.
    ask: RequestArgs,
    conditions: Conditions,
    interrupt: Interrupt,
}

/// Runs the load and prints the result.
pub fn run(args: Args) -> Outcome {
    let call = Call::of(args)?;
    call.check()?;
    let mut contests = call.entries()?;
    let baseline = call.baseline(&contests)?;
    let html = call
        .conditions
        .html
        .clone()
        .map(HtmlFile::open)
        .transpose()?;
    foresee(&mut contests)?;
    let rounds = call.conditions.rounds(call.targets.len());
    match (contests.as_slice(), &baseline) {
        ([(_, entries)], None) if entries.len() == 1 && rounds == 1 => {
            if call.conditions.find_rate.is_empty() {
                call.measure(&entries[0], html)
            } else {
                call.search(&entries[0], html)
            }
        }
        _ => call.compare(&contests, rounds, baseline.as_ref(), html),
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

/// The name of a mode, and the servers to measure in it.
type Entries = (&'static str, Vec<Entrant>);

impl Call {
    fn of(args: Args) -> Result<Self, Failure> {
        let (modes, common, mut ask) = match args.mode {
            ModeArgs::Conn { conn, common } => (
                vec![ModeName::Conn],
                common,
                RequestArgs {
                    conn,
                    ..RequestArgs::default()
                },
            ),
            ModeArgs::Echo { depth, common } => (
                vec![ModeName::Echo],
                common,
                RequestArgs {
                    depth,
                    ..RequestArgs::default()
                },
            ),
            ModeArgs::Exec { exec, common } => (
                vec![ModeName::Exec],
                common,
                RequestArgs {
                    exec,
                    ..RequestArgs::default()
                },
            ),
            ModeArgs::Udp { udp, common } => (
                vec![ModeName::Udp],
                common,
                RequestArgs {
                    udp,
                    ..RequestArgs::default()
                },
            ),
            ModeArgs::Fanout {
                depth,
                fanout,
                common,
            } => {
                let ask = RequestArgs {
                    depth,
                    fanout,
                    ..RequestArgs::default()
                };
                (vec![ModeName::Fanout], common, ask)
            }
            ModeArgs::Hold { common } => (vec![ModeName::Hold], common, RequestArgs::default()),
            ModeArgs::Compare {
                mode,
                conn,
                depth,
                exec,
                udp,
                fanout,
                common,
            } => {
                let ask = RequestArgs {
                    conn,
                    depth,
                    exec,
                    udp,
                    fanout,
                    ..RequestArgs::default()
                };
                (mode, common, ask)
            }
        };
        ask.message = common.message;
        for target in &common.targets {
            heeded(target, &modes)?;
        }
        Ok(Self {
            modes,
            targets: common.targets,
            ask,
            conditions: common.conditions,
            interrupt: Interrupt::take().context("signals cannot be taken over")?,
        })
    }

    /// What contradicts itself.
    fn check(&self) -> Result<(), Failure> {
        let conditions = &self.conditions;
        conditions.check()?;
        if self.modes.contains(&ModeName::Hold) && conditions.count_requests() {
            let why = "`bench hold` sends no requests: it takes --connections and --duration, not --rate or --count";
            return Err(Failure::Usage(why.to_owned()));
        }
        if self.modes.contains(&ModeName::Hold) && conditions.baseline.is_some() {
            let why = "`bench hold` has no rate to compare with a --baseline";
            return Err(Failure::Usage(why.to_owned()));
        }
        for (at, target) in self.targets.iter().enumerate() {
            if self.targets[..at].iter().any(|one| one.name == target.name) {
                let why = format!(
                    "{} is given twice: name each, as in a=URL b=URL",
                    target.name
                );
                return Err(Failure::Usage(why));
            }
        }
        for (at, mode) in self.modes.iter().enumerate() {
            if self.modes[..at].contains(mode) {
                let why = format!("--mode names {} twice", mode.name());
                return Err(Failure::Usage(why));
            }
        }
        if let Some(said) = self.ask.message.unheeded(&self.modes) {
            let names: Vec<_> = self.modes.iter().map(|mode| mode.name()).collect();
            let why = format!("--{said} has no effect in `bench {}`", names.join(","));
            return Err(Failure::Usage(why));
        }
        let is_ratio = |objective: &Objective| objective.metric == Metric::Ratio;
        if conditions.find_rate.iter().any(is_ratio) {
            let why = "--find-rate measures one server, so there is no ratio";
            return Err(Failure::Usage(why.to_owned()));
        }
        if !conditions.find_rate.is_empty() && self.modes.len() * self.targets.len() > 1 {
            let why = "--find-rate takes one mode and one endpoint";
            return Err(Failure::Usage(why.to_owned()));
        }
        let is_lonely = self.targets.len() < 2 && conditions.baseline.is_none();
        if is_lonely && conditions.require.iter().any(is_ratio) {
            let why = "--require ratio… needs several endpoints, or a --baseline";
            return Err(Failure::Usage(why.to_owned()));
        }
        Ok(())
    }

    /// Shows the progress, and says whether to go on.
    fn watch(&self, line: &mut ProgressLine, progress: impl fmt::Display) -> ControlFlow<()> {
        line.show(progress);
        self.interrupt.flow()
    }

    /// One run.
    fn measure(&self, entry: &Entrant, html: Option<HtmlFile>) -> Outcome {
        let mut line = ProgressLine::new();
        let mut watch = |progress| self.watch(&mut line, progress);
        let report = load::run_watched(&entry.plan, &mut watch).map_err(failure)?;
        drop(line);
        let shown = self.show(&report, &report, &terminal::report(&report, COLUMNS));
        let ending = Ending::of_run(&report, &self.conditions.require);
        if let Some(html) = html {
            html.write(&Comparison::of_one(&entry.name, report))?;
        }
        shown?;
        Ok(self.interrupt.code_or(ending.code()))
    }

    /// The highest rate that holds.
    fn search(&self, entry: &Entrant, html: Option<HtmlFile>) -> Outcome {
        let mut line = ProgressLine::new();
        let objectives = &self.conditions.find_rate;
        let arrivals = self.conditions.arrivals();
        let mut watch = |progress| self.watch(&mut line, progress);
        let found = find_rate(&entry.plan, arrivals, objectives, &mut watch).map_err(failure)?;
        drop(line);
        let shown = self.show(&found, &found, "");
        let ending = Ending::of_search(found.rate_per_s.is_some());
        if let (Some(html), Some(report)) = (html, found.report) {
            html.write(&Comparison::of_one(&entry.name, report))?;
        }
        shown?;
        Ok(ending.code())
    }

    /// All servers in turn, mode by mode.
    fn compare(
        &self,
        contests: &[Entries],
        rounds: usize,
        baseline: Option<&Baseline>,
        html: Option<HtmlFile>,
    ) -> Outcome {
        let mut line = ProgressLine::new();
        let mut held = Vec::with_capacity(contests.len());
        for (mode, entries) in contests {
            let mut told = |round: usize, name: &str, progress: load::Progress| {
                let text = format_args!("{mode} {round} of {rounds}, {name}: {progress}");
                self.watch(&mut line, text)
            };
            if self.interrupt.came() {
                break;
            }
            held.push(Contest::hold(mode, entries, rounds, &mut told).map_err(failure)?);
        }
        drop(line);
        let comparison = Comparison::of(held);
        let tolerance = self.conditions.tolerance / 100.0;
        let changes = baseline.map(|baseline| baseline.changes(&comparison, tolerance));
        let changes = changes.unwrap_or_default();
        let result = With {
            comparison: &comparison,
            changes: &changes,
        };
        let picture = terminal::comparison(&comparison, COLUMNS);
        let shown = self.show(&result, &result, &picture);
        if let Some(html) = html {
            html.write(&comparison)?;
        }
        shown?;
        let ending = Ending::of_comparison(&comparison, &self.conditions.require, &changes);
        Ok(self.interrupt.code_or(ending.code()))
    }

    /// Everything that is to be run, by mode.
    fn entries(&self) -> Result<Vec<Entries>, Failure> {
        let mut contests = Vec::with_capacity(self.modes.len());
        for mode in &self.modes {
            let mut entries = Vec::with_capacity(self.targets.len());
            for target in &self.targets {
                let ask = target.asked(&self.ask);
                let asked = ask.in_mode(*mode)?;
                let endpoint = match mode {
                    ModeName::Udp => target.endpoint.clone().over_udp(),
                    _ => target.endpoint.clone(),
                };
                let plan = self.conditions.plan(endpoint, asked, ask.message.pid)?;
                plan.check()
                    .map_err(|wrong| Failure::Usage(wrong.to_string()))?;
                entries.push(Entrant {
                    name: target.name.clone(),
                    plan,
                });
            }
            let name = entries.first().map_or("", |entry| entry.plan.mode.name());
            contests.push((name, entries));
        }
        Ok(contests)
    }

    /// The earlier result, if there is to be one: read before anything is measured.
    fn baseline(&self, contests: &[Entries]) -> Result<Option<Baseline>, Failure> {
        let Some(path) = &self.conditions.baseline else {
            return Ok(None);
        };
        let text = fs::read_to_string(path)
            .map_err(|wrong| Failure::Usage(format!("--baseline {}: {wrong}", path.display())))?;
        let no_baseline = |wrong| self.no_baseline(&wrong);
        let rounds = self.conditions.rounds(self.targets.len());
        let baseline = Baseline::parse(&text).map_err(no_baseline)?;
        for (mode, entries) in contests {
            for entry in entries {
                baseline
                    .has(mode, &entry.name, &entry.plan, rounds)
                    .map_err(no_baseline)?;
            }
        }
        Ok(Some(baseline))
    }

    fn no_baseline(&self, wrong: &BaselineError) -> Failure {
        let path = self
            .conditions
            .baseline
            .as_deref()
            .unwrap_or(Path::new("?"));
        Failure::Usage(format!("--baseline {}: {wrong}", path.display()))
    }

    /// Prints a result as it is wanted, and the picture that goes with it. Where that fails, the page is
    /// still written: what was measured for minutes is not lost with the terminal.
    fn show(
        &self,
        result: &impl Serialize,
        text: &impl fmt::Display,
        picture: &str,
    ) -> Result<(), Failure> {
        if self.conditions.json {
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
}

/// Refuses what the URL of a target says and none of the modes heeds.
fn heeded(target: &NamedTarget, modes: &[ModeName]) -> Result<(), Failure> {
    let command = Modes::command();
    let takes = |mode: &ModeName, option: &str| {
        let name = clap::ValueEnum::to_possible_value(mode);
        name.and_then(|name| command.find_subcommand(name.get_name()))
            .is_some_and(|mode| {
                mode.get_arguments()
                    .any(|arg| arg.get_long() == Some(option))
            })
    };
    for option in &target.said {
        if !modes.iter().any(|mode| takes(mode, option)) {
            let names: Vec<_> = modes
                .iter()
                .map(|mode| format!("`bench {}`", mode.name()))
                .collect();
            let why = format!(
                "{}: `{option}` has no effect in {}",
                target.name,
                names.join(" or ")
            );
            return Err(Failure::Usage(why));
        }
    }
    Ok(())
}

/// The modes with their flags, to be asked which mode takes which.
#[derive(Debug, clap::Parser)]
struct Modes {
    #[command(subcommand)]
    _mode: ModeArgs,
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
