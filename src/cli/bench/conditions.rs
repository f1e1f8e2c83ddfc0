//! The conditions that are the same for all servers of a call.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::{Arg, Args, Command};

use super::number::{count, rate as per_second};
use crate::bench::study::objective::Objective;
use crate::bench::study::provenance::Provenance;
use crate::bench::study::statistic::ROUNDS_MAX;
use crate::cli::Failure;
use crate::config::{parse_duration, random_bytes};
use crate::load::{Amount, Arrivals, Mode, Model, Plan, SourceRange};

/// Rounds of a comparison, where nothing else was said: enough for an interval of 95 %.
const ROUNDS: usize = 7;
/// Where it is to be found out whether a server is better or worse: enough for that where each round is somewhat
/// like the one before it.
const ROUNDS_JUDGED: usize = 20;
/// The least from which anything can follow: see [`Change`](crate::bench::study::change::Change).
const ROUNDS_AGAINST_MIN: usize = 16;
/// Per cent of a figure.
const TOLERANCE: f64 = 5.0;
/// Per cent of all processors.
const BUSY: f64 = 10.0;

#[derive(Debug, clap::Args)]
pub(super) struct Conditions {
    /// Open model: requests a second (`500`, `10k`, `1.5M`), however fast the server answers; latency counts from the
    /// time at which each request was meant to begin
    #[arg(short, long, value_name = "RATE", value_parser = per_second, allow_negative_numbers = true)]
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
    /// one that sends; `10k` is 10,000 [default: 50, and 100 in `fanout`]
    #[arg(short, long, value_name = "COUNT", value_parser = count::<usize>, allow_negative_numbers = true)]
    connections: Option<usize>,
    /// How long to measure: `500ms`, `10s`, `1m`
    #[arg(short, long, value_name = "DURATION", default_value = "1s", value_parser = parse_duration, conflicts_with = "count")]
    duration: Duration,
    /// Measures this many requests (`500`, `10k`, `1.5M`), instead of a duration
    #[arg(short = 'n', long, value_name = "COUNT", value_parser = count::<u64>, allow_negative_numbers = true)]
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
    /// Rounds: each server is measured so often, in turn: A B A B … [default: 1; 7 in a comparison, 20 with
    /// --baseline or --against]
    #[arg(long, value_name = "COUNT", value_parser = count::<usize>)]
    rounds: Option<usize>,
    /// A file with an earlier result of --json to compare with; exit code 3 if this result is worse by more
    /// than chance. --against is surer: what the machine does then hurts both alike
    #[arg(long, value_name = "FILE", conflicts_with = "find_rate")]
    pub(super) baseline: Option<PathBuf>,
    /// Another server, or a program of one, to ask in turn with this one: exit code 3 if this one is worse by more than
    /// chance. A program is started as the other server was (as the process of --pid, or by `serve URL` for a
    /// service of ours), on a port of its own
    #[arg(long, value_name = "PROGRAM|URL", conflicts_with_all = ["find_rate", "baseline"])]
    pub(super) against: Option<String>,
    /// With --baseline or --against, a difference of no more than this counts as none [default: 5]
    #[arg(long, value_name = "PERCENT")]
    tolerance: Option<f64>,
    /// With --baseline or --against: where other processes use more than this share of the machine's processors, nothing is
    /// compared, and the exit code is 4 [default: 10]
    #[arg(long, value_name = "PERCENT")]
    max_busy: Option<f64>,
    /// Objectives that must hold, or the exit code is 3: `rate>=10k`, `p99<5ms`, `errors<1`, and in a
    /// comparison `ratio>=0.95`: the rate of each other server by that of the first
    /// With --find-rate, of the highest rate that holds, and of the run at that rate
    #[arg(long, value_name = "OBJECTIVE,…", value_delimiter = ',')]
    pub(super) require: Vec<Objective>,
    /// Writes the result with charts to an HTML file, which opens offline in any browser
    #[arg(long, value_name = "FILE")]
    pub(super) html: Option<PathBuf>,
    /// Prints the result as JSON
    #[arg(long)]
    pub(super) json: bool,
    /// Where the result was made: read when the arguments are, so before anything is measured.
    #[arg(skip = Provenance::of_this_call())]
    pub(super) made: Provenance,
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
        let is_open = self.rate.is_some() || !self.find_rate.is_empty();
        let is_random = is_open && self.arrivals() != Arrivals::Constant || self.against.is_some();
        if self.seed.is_some() && !is_random {
            return Err(Failure::usage(
                "--seed needs --rate or --find-rate, with arrivals other than constant, or --against: nothing else is random",
            ));
        }
        let shares = [
            ("--tolerance", self.tolerance, 99.999_999_999_9),
            ("--max-busy", self.max_busy, 100.0),
        ];
        for (name, share, most) in shares {
            let Some(share) = share else { continue };
            if !self.is_judged() {
                return Err(Failure::Usage(format!(
                    "{name} needs --baseline or --against"
                )));
            }
            if !(0.0..=most).contains(&share) {
                return Err(Failure::Usage(format!(
                    "{name} is a percentage from 0 to {most:.0}, not {share}"
                )));
            }
        }
        if let (Some(_), Some(rounds)) = (&self.against, self.rounds)
            && rounds < ROUNDS_AGAINST_MIN
        {
            return Err(Failure::Usage(format!(
                "--against takes at least {ROUNDS_AGAINST_MIN} rounds to tell a difference from chance, not {rounds}: blocks of two of each, of which it takes eight"
            )));
        }
        if self.count == Some(0) {
            return Err(Failure::usage("--count must be at least 1, not 0"));
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
        self.rounds.unwrap_or(match servers {
            _ if self.is_judged() => ROUNDS_JUDGED,
            1 => 1,
            _ => ROUNDS,
        })
    }

    /// Whether it is to be found out if a server is better or worse.
    pub(super) fn is_judged(&self) -> bool {
        self.baseline.is_some() || self.against.is_some()
    }

    /// Which share of a figure is no difference.
    pub(super) fn tolerance(&self) -> f64 {
        self.tolerance.unwrap_or(TOLERANCE) / 100.0
    }

    /// Which share of the processors others may use.
    pub(super) fn max_busy(&self) -> f64 {
        self.max_busy.unwrap_or(BUSY) / 100.0
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
