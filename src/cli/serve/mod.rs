//! `onepoll serve`: binds what was asked for, and lets the loop serve it.

mod handing_over;
mod identity;
mod learnt;
mod making;
mod open_socket;
mod reload;
mod remark;
mod serving;
mod supervisor;
mod taking_over;

use std::fs::File;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use jiff::tz::TimeZone;
use log::Level;
use serde_json::json;

pub(super) use self::identity::Identity;
use self::learnt::Learnt;
use self::making::Making;
use self::open_socket::ControlPath;
use self::remark::remark;
use self::serving::{Reading, Serving};
use self::supervisor::Supervisor;
use super::audit::Audit;
use super::check::unclaimed;
use super::logging::announce;
use super::streams::print_in_passing;
use super::verdict::Verdict;
use super::{Failure, Outcome, Sources, help, log_level, logging};
use crate::config::{Lookups, descriptor_limit, parse_duration, raise_descriptor_limit};
use crate::endpoint::{Bound, Handed, Intent, Judged};
use crate::reactor::{Epoll, Reactor, TracedBytes, close_on_exec};

/// The server; without endpoints and file: the default table
#[derive(Debug, clap::Args)]
#[command(after_long_help = help::of_serve())]
pub struct Args {
    #[command(flatten)]
    sources: Sources,

    /// Poll for this long before each sleep (such as 50us): faster answers at the price of a core
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    spin: Option<Duration>,

    /// Tell on standard error, as text, what each turn of the loop did: the system calls, and the first 32
    /// bytes of what they moved; those of commands only with `=bytes`
    #[arg(long, value_name = "WHAT", num_args = 0..=1, require_equals = true, default_missing_value = "calls")]
    trace: Option<Traced>,

    /// Take the sockets of the running server over: it serves until this one is ready, then lets its connections
    /// finish, and ends
    #[arg(long)]
    take_over: bool,

    /// Where a server is taken over, for both sides (`control.sock` in the user's runtime directory)
    #[arg(long, value_name = "PATH")]
    control: Option<PathBuf>,

    /// Append a line of JSON to FILE for each connection that logs in or is refused, each command, each reload;
    /// `log`: to standard error, among what else is logged
    #[arg(long, value_name = "FILE")]
    audit: Option<String>,

    /// When ready, print one JSON object with the endpoints to standard output
    #[arg(long)]
    json: bool,
}

/// What a trace shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Traced {
    /// The calls, and no byte of commands
    Calls,
    /// Bytes of commands too
    Bytes,
}

/// Runs it.
pub fn run(args: Args) -> Outcome {
    let mut lookups = Lookups::live();
    let file = args.sources.file(&mut lookups);
    // From here on whatever is said is said as the file has it, also what is wrong with the file.
    let log = match &file {
        Ok(file) => file.log.clone(),
        Err(_) => args.sources.log_of_a_wrong_file(),
    };
    logging::begin(log_level(log.level), log.format);
    let file = file?;
    let configuration = args.sources.complete(file)?;
    let identity = Identity::find(
        configuration.user.as_deref(),
        configuration.group.as_deref(),
    )?;
    // Before anything of our own is open: what we inherited must not reach commands.
    close_on_exec().context("cannot read the list of open descriptors")?;
    let (of_commands, nofile) = (descriptor_limit(), raise_descriptor_limit());
    let limits = &configuration.limits;
    let judged = Judged::at_start(&configuration.endpoints, limits, nofile, lookups);
    let learnt = Learnt::of(judged.lookups());
    let control = ControlPath::of(args.control);
    let mut taking = None;
    let mut handed = Handed::default();
    let opening = if !args.take_over {
        judged.bind(Intent::Serve, &mut handed)
    } else if judged.is_hopeless() && !configuration.is_default_table {
        judged.refuse()
    } else {
        let (asked, sockets) = taking_over::ask(&control)?;
        (taking, handed) = (Some(asked), sockets);
        judged.bind(Intent::Serve, &mut handed)
    };
    let verdict = Verdict::of(&configuration, &opening);
    for problem in &verdict.skipped {
        announce(Level::Warn, &format!("{problem}; skipped"), None);
    }
    if let Some(failure) = verdict.failure() {
        return Err(failure);
    }
    opening.attempts.iter().for_each(remark);
    for name in &opening.unclaimed {
        announce(Level::Warn, &unclaimed(name), None);
    }
    let connections_max = opening.connections_max?;

    logging::take_own_stderr();
    if let Some(identity) = &identity {
        become_user(identity, &opening.bound, &args.sources)?;
    }
    let epoll = Epoll::new()
        .and_then(|epoll| epoll.spin(args.spin.unwrap_or_default()).with_signals())
        .and_then(Epoll::as_init)
        .map(|epoll| epoll.descriptors_of_commands(of_commands))
        .context("cannot set up the poll")?;
    let audit = args.audit.as_deref().or(log.audit.as_deref());
    let (epoll, audit) = Audit::prepare(audit, epoll)?;
    let mut reactor = Reactor::new(epoll, limits.clone(), connections_max as usize);
    let urls: Vec<String> = opening
        .bound
        .iter()
        .map(|b| b.endpoint.to_string())
        .collect();
    let own: Vec<SocketAddr> = opening
        .bound
        .iter()
        .filter_map(Bound::datagram_address)
        .collect();
    let mut rests = Vec::new();
    for bound in &opening.bound {
        rests.extend(bound.rest().context("cannot take a socket over")?);
    }
    let making = Making {
        limits,
        zone: &TimeZone::system(),
        own: &own,
    };
    let mut sockets = Vec::new();
    for bound in opening.bound {
        sockets.push(making.open(&mut reactor, bound)?);
    }
    sockets.extend(control.open(&mut reactor, &mut handed)?);
    match taking {
        Some(taking) => taking_over::finish(taking, handed, &mut sockets, rests)?,
        None => {
            for rest in rests {
                rest.finish()
                    .context("cannot set up a socket that was handed over")?;
            }
        }
    }

    let is_instead = args.take_over;
    let mut serving = Serving {
        sources: args.sources,
        nofile,
        supervisor: Supervisor::find(),
        sockets,
        learnt,
        reading: Reading::Rests,
        taker: None,
        configuration,
    };
    for url in &urls {
        announce(Level::Info, "listening", Some(url));
    }
    if args.json {
        print_in_passing(json!({ "listening": urls, "connections_max": connections_max }))?;
    }
    announce(Level::Info, "ready", None);
    serving.begin(&mut reactor, is_instead);
    if let Some(traced) = args.trace {
        let shown = match traced {
            Traced::Calls => TracedBytes::Public,
            Traced::Bytes => TracedBytes::All,
        };
        reactor.trace_to(logging::tracer(), shown);
    }
    audit.begin(&mut reactor);
    reactor
        .run_with(|reactor, news| serving.hear(reactor, news))
        .context("the poll failed")?;
    Ok(ExitCode::SUCCESS)
}

/// Root binds, then somebody else serves. What root made is to be that user's, so that it can be removed and
/// connected to.
fn become_user(identity: &Identity, bound: &[Bound], sources: &Sources) -> Result<(), Failure> {
    for bound in bound {
        if let Some(file) = &bound.file {
            file.give_to(identity.owner())
                .with_context(|| format!("{}: cannot give its file to the user", bound.endpoint))?;
        }
    }
    identity.assume()?;
    let name = identity.name();
    announce(Level::Info, &format!("serving as user {name}"), None);
    // A reload reads as that user.
    if let Some(file) = &sources.config
        && let Err(error) = File::open(file)
    {
        let file = file.display();
        announce(
            Level::Warn,
            &format!("warning: user {name} cannot read {file}, so no reload can: {error}"),
            None,
        );
    }
    Ok(())
}
