//! `onepoll check`: what `serve` would do, or why it would refuse.
//!
//! It does what `serve` does before it listens, and ends there: names are resolved, inherited
//! descriptors adopted, addresses bound, all of them together. Nobody can connect in between, and at
//! the end nothing is left: a socket file that was made is removed, a stale one is where it was (while
//! it is looked at, it is beside that, with `.PID.check` after its name). Its exit code is the one that
//! `serve` would end with.

use std::net::SocketAddr;
use std::process::ExitCode;

use rustix::process::{Resource, getrlimit};
use serde_json::{Value, json};

use super::identity::Identity;
use super::verdict::Verdict;
use super::{Configuration, Outcome, Sources, audit, complain, print, print_bytes, trial};
use crate::config::Lookups;
use crate::endpoint::{Attempt, Handed, Intent, Judged, Opening, Unserved};

/// Say what serve would do, or why it would refuse
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    sources: Sources,

    /// Print one JSON object
    #[arg(long)]
    json: bool,

    /// Print the configuration in force as TOML that can be read again: the file, with what the arguments add and
    /// all limits
    #[arg(long, conflicts_with = "json")]
    print: bool,
}

/// Runs it.
pub fn run(args: Args) -> Outcome {
    let read = args.sources.read(&mut Lookups::live());
    let checked = read.and_then(|configuration| {
        let (user, group) = (&configuration.user, &configuration.group);
        let identity = Identity::find(user.as_deref(), group.as_deref())?;
        let user = identity.map(|identity| identity.owner().0);
        audit::check(configuration.log.audit.as_deref(), user)?;
        configuration.look_up_bus(&mut Lookups::live())?;
        Ok(configuration)
    });
    let configuration = match checked {
        Ok(configuration) => configuration,
        Err(failure) => {
            if args.json {
                let errors: Vec<String> = failure.to_string().lines().map(Into::into).collect();
                print(json!({ "ok": false, "endpoints": [], "errors": errors }))?;
            }
            return Err(failure);
        }
    };
    let nofile = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
    let (endpoints, limits) = (&configuration.endpoints, &configuration.limits_of_one());
    let judged = configuration.judge(Judged::of(endpoints, limits, nofile));
    let opening = judged.bind(Intent::Check, &mut Handed::default());
    let mut verdict = Verdict::of(&configuration, &opening);
    verdict.problems.extend(trial::problems(&configuration));
    if args.print {
        // Whatever `serve` says to it: to print it may be how one finds out.
        print_bytes(configuration.to_file().write()?.as_bytes())?;
    } else if args.json {
        print(as_json(&configuration, &opening, &verdict))?;
    } else {
        for attempt in opening.attempts.iter().filter(|a| a.unserved.is_none()) {
            print(line(attempt))?;
        }
        if let (Ok(connections), None) = (&opening.connections_max, verdict.failure()) {
            print(match configuration.processes {
                1 => format!("at most {connections} connections in all"),
                processes => format!(
                    "{processes} processes, each with at most {connections} connections in all"
                ),
            })?;
        }
    }
    for problem in &verdict.skipped {
        complain(format_args!(
            "{problem}; of the default table, it would be skipped"
        ));
    }
    for name in &opening.unclaimed {
        complain(unclaimed(name));
    }
    match verdict.failure() {
        None => Ok(ExitCode::SUCCESS),
        Some(failure) => Err(failure),
    }
}

/// What is said of a descriptor that was handed over for nothing.
pub(super) fn unclaimed(name: &str) -> String {
    format!(
        "warning: a descriptor named {name:?} was handed over, and no endpoint is at its address or has its name"
    )
}

/// What would be served, for people.
fn line(attempt: &Attempt) -> String {
    let endpoint = &attempt.endpoint;
    let places = match places(attempt) {
        none if none.is_empty() => endpoint.address().to_string(),
        places => places.join(" and "),
    };
    let (service, transport) = (endpoint.row().name, endpoint.address().transport());
    let mut line = format!("{service} on {transport} {places}");
    if let Some(exposure) = attempt.exposure {
        line.push_str(&format!(" ({})", exposure.reach));
    }
    for (name, value) in endpoint.options() {
        line.push_str(&format!(" {name}={}", value.escape_debug()));
    }
    if let Some(policy) = endpoint.policy() {
        line.push_str(&format!("; {policy}"));
    }
    if let Some(allows) = endpoint.allows() {
        line.push_str(&format!("; {allows}"));
    }
    if let Some(absent) = attempt.absence() {
        line.push_str(&format!("; {absent}"));
    }
    if let Some(warning) = attempt.exposure.and_then(|exposure| exposure.warning) {
        line.push_str(&format!("; warning: {warning}"));
    }
    line
}

fn places(attempt: &Attempt) -> Vec<String> {
    attempt.at.iter().map(SocketAddr::to_string).collect()
}

fn as_json(configuration: &Configuration, opening: &Opening, verdict: &Verdict) -> Value {
    let endpoint = |attempt: &Attempt| {
        let endpoint = &attempt.endpoint;
        let would = match &attempt.unserved {
            None => "serve",
            Some(Unserved::Refused(_)) => "refuse",
            Some(Unserved::Failed(_)) if configuration.is_default_table => "skip",
            Some(Unserved::Failed(_) | Unserved::NotPrivate(_)) => "fail",
        };
        let options: Vec<Value> = endpoint
            .options()
            .iter()
            .map(|(name, value)| json!([name, value]))
            .collect();
        json!({
            "endpoint": endpoint.to_string(),
            "service": endpoint.row().name,
            "transport": endpoint.address().transport().name(),
            "address": endpoint.address().to_string(),
            "resolved": places(attempt),
            "absent": attempt.absent.iter().map(SocketAddr::to_string).collect::<Vec<_>>(),
            "options": options,
            "runs": endpoint.policy().map(|policy| policy.to_string()),
            "allows": endpoint.allows(),
            "exposure": attempt.exposure.map(|exposure| exposure.reach.name()),
            "warning": attempt.exposure.and_then(|exposure| exposure.warning),
            "would": would,
            "error": attempt.unserved.as_ref().map(Unserved::to_string),
        })
    };
    let errors = [&verdict.skipped[..], &verdict.problems].concat();
    json!({
        "ok": verdict.problems.is_empty(),
        "endpoints": opening.attempts.iter().map(endpoint).collect::<Vec<_>>(),
        "default_table": configuration.is_default_table,
        "processes": configuration.processes,
        "connections": opening.connections_max.as_ref().ok(),
        "limits": configuration.limits,
        "log": configuration.log,
        "bus": configuration.bus,
        "errors": errors,
    })
}
