//! The conditions that are the same for all servers of a call.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::{Arg, Args, Command};

use crate::bench::study::objective::Objective;
use crate::bench::study::statistic::ROUNDS_MAX;
use crate::cli::Failure;
use crate::config::{parse_duration, random_bytes};
use crate::load::{Amount, Arrivals, Mode, Model, Plan, SourceRange};

/// Rounds of a comparison, where nothing else was said: enough for an interval of 95 %.
const ROUNDS: usize = 7;

#[derive(Debug, clap::Args)]
pub(super) struct Conditions {
    /// Open model: requests a second, however fast the server answers; latency counts from the time at
    /// which each request was meant to begin
    #[arg(short, long, value_name = "RATE")]
    rate: Option<f64>,
    /// How regularly the requests of --rate come [default: poisson]
    #[arg(long, value_enum)]
    arrivals: Option<Arrivals>,
    /// Which random times these are: those of the run that printed this number. Each round, and each probe of
    /// --find-rate, has the next one [default: another one in each call]
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u32>,
    /// Searches for the highest rate, in the open model, at which all these objectives hold: `p99<5ms`,
    /// `p99.9<20ms,errors<1`. No error and no backlog are required too
    #[arg(long, value_name = "OBJECTIVE,…", value_delimiter = ',', conflicts_with_all = ["rate", "count", "rounds"])]
    pub(super) find_rate: Vec<Objective>,
    /// Connections open at once; with --rate in `conn`, at most; in `fanout` members that receive, beside
    /// one that sends [default: 50, and 100 in `fanout`]
    #[arg(short, long, value_name = "COUNT")]
    connections: Option<usize>,
    /// How long to measure: `500ms`, `10s`, `1m`
    #[arg(short, long, value_name = "DURATION", default_value = "1s", value_parser = parse_duration, conflicts_with = "count")]
    duration: Duration,
    /// Measures this many requests, instead of a duration
    #[arg(short = 'n', long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// How long to run before anything is counted [default: 200ms, none with --count]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    warmup: Option<Duration>,
    /// How long one request may take, from its beginning to the last byte of the answer
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = parse_duration)]
    timeout: Duration,
    /// How long to poll before sleeping: lower latency, at the price of a processor
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = parse_duration)]
    spin: Duration,
    /// Local addresses to connect from, in turn, each with ports of its own: a list of addresses and
    /// ranges, such as 127.0.0.2-127.0.0.20,127.0.0.40
    #[arg(long, value_name = "ADDRESS[-LAST],…", value_delimiter = ',')]
    source: Vec<SourceRange>,
    /// Rounds: each server is measured so often, in turn: A B A B … [default: 1, and 7 in a comparison]
    #[arg(long, value_name = "COUNT")]
    rounds: Option<usize>,
    /// A file with an earlier result of --json to compare with; exit code 3 if this result is worse by more
    /// than chance
    #[arg(long, value_name = "FILE", conflicts_with = "find_rate")]
    pub(super) baseline: Option<PathBuf>,
    /// A difference from the baseline of no more than this counts as none
    #[arg(
        long,
        value_name = "PERCENT",
        default_value = "5",
        requires = "baseline"
    )]
    pub(super) tolerance: f64,
    /// Objectives that must hold, or the exit code is 3: `rate>=10k`, `p99<5ms`, `errors<1`, and in a
    /// comparison `ratio>=0.95`: the rate of each other server by that of the first
    #[arg(
        long,
        value_name = "OBJECTIVE,…",
        value_delimiter = ',',
        conflicts_with = "find_rate"
    )]
    pub(super) require: Vec<Objective>,
    /// Writes the result with charts to an HTML file, which opens offline in any browser
    #[arg(long, value_name = "FILE")]
    pub(super) html: Option<PathBuf>,
    /// Prints the result as JSON
    #[arg(long)]
    pub(super) json: bool,
}

impl Conditions {
    /// The names of all of them.
    pub(super) fn names() -> Vec<String> {
        let command = Self::augment_args(Command::new("bench"));
        let longs = command.get_arguments().filter_map(Arg::get_long);
        longs.map(str::to_owned).collect()
    }

    /// How regularly requests come in the open model.
    pub(super) fn arrivals(&self) -> Arrivals {
        self.arrivals.unwrap_or(Arrivals::Poisson)
    }

    /// What contradicts itself.
    pub(super) fn check(&self) -> Result<(), Failure> {
        if self.arrivals.is_some() && self.rate.is_none() && self.find_rate.is_empty() {
            return Err(Failure::usage("--arrivals needs --rate or --find-rate"));
        }
        let is_random = self.rate.is_some() || !self.find_rate.is_empty();
        if self.seed.is_some() && !(is_random && self.arrivals() != Arrivals::Constant) {
            return Err(Failure::usage(
                "--seed needs --rate or --find-rate, with arrivals other than constant: nothing else is random",
            ));
        }
        if !(0.0..100.0).contains(&self.tolerance) {
            let why = format!(
                "--tolerance is a percentage from 0 to below 100, not {}",
                self.tolerance
            );
            return Err(Failure::Usage(why));
        }
        match self.rounds {
            Some(rounds) if !(1..=ROUNDS_MAX).contains(&rounds) => Err(Failure::Usage(format!(
                "--rounds must be between 1 and {ROUNDS_MAX}, not {rounds}"
            ))),
            _ => Ok(()),
        }
    }

    /// That of the call, where none was asked for: a short one, since it may be typed again.
    pub(super) fn seed(&self) -> Result<u64, Failure> {
        match self.seed {
            Some(seed) => Ok(seed.into()),
            None => {
                let bytes = random_bytes().context("there is no random number to be had")?;
                Ok(u32::from_le_bytes(bytes).into())
            }
        }
    }

    /// Whether requests have a schedule or a number.
    pub(super) fn count_requests(&self) -> bool {
        self.rate.is_some() || self.count.is_some() || !self.find_rate.is_empty()
    }

    /// How often each of `servers` is measured.
    pub(super) fn rounds(&self, servers: usize) -> usize {
        let is_comparison = servers > 1 || self.baseline.is_some();
        self.rounds
            .unwrap_or(if is_comparison { ROUNDS } else { 1 })
    }

    /// `plan` under these conditions.
    pub(super) fn apply(&self, plan: &mut Plan) -> Result<(), Failure> {
        if let Some(rate) = self.rate {
            let arrivals = self.arrivals();
            plan.model = Model::Open { rate, arrivals };
        }
        if let Some(connections) = self.connections {
            plan.connections = connections;
        }
        plan.amount = self.count.map_or(Amount::For(self.duration), Amount::Count);
        plan.warmup = match self.warmup {
            // `hold` sends no requests, so there is nothing to warm up.
            _ if plan.mode == Mode::Hold => Duration::ZERO,
            Some(warmup) => warmup,
            None if self.count.is_some() => Duration::ZERO,
            None => plan.warmup,
        };
        plan.timeout = self.timeout;
        plan.spin = self.spin;
        plan.sources =
            SourceRange::all(&self.source).map_err(|wrong| Failure::Usage(wrong.to_string()))?;
        Ok(())
    }
}
