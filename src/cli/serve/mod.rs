//! `onepoll serve`: binds what was asked for, and lets the loop serve it.

mod bindings;
mod handing_over;
mod keeping;
mod learnt;
mod making;
mod open_socket;
mod poll;
mod processes;
mod reload;
mod remark;
mod serving;
mod supervisor;
mod taking_over;
mod wanted;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use jiff::tz::TimeZone;
use log::Level;
use rustix::fs::{Access, AtFlags, CWD, accessat};
use serde_json::json;

use self::bindings::Bindings;
use self::making::Making;
use self::open_socket::{ControlPath, OpenSocket};
use self::serving::{Reading, Serving};
use self::supervisor::Supervisor;
use super::identity::Identity;
use super::logging::announce;
use super::streams::print_in_passing;
use super::{Configuration, Failure, Outcome, Sources, help, log_level, logging, trial};
use crate::config::{Limits, Lookups, descriptor_limit, parse_duration, raise_descriptor_limit};
use crate::endpoint::Bound;
use crate::reactor::{Epoll, Reactor, TracedBytes, close_on_exec};
use crate::service::{Bus, Occasion};

pub(super) use self::processes::{ProcessArgs, run_process};

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
    let configuration = read(&args.sources, &mut lookups)?;
    let bus = configuration.look_up_bus(&mut lookups)?;
    let identity = Identity::find(
        configuration.user.as_deref(),
        configuration.group.as_deref(),
    )?;
    // Before anything of our own is open: what we inherited must not reach commands.
    close_on_exec().context("cannot read the list of open descriptors")?;
    let (of_commands, nofile) = (descriptor_limit(), raise_descriptor_limit());
    let control = ControlPath::of(args.control.clone(), identity.as_ref());
    let takes_over = args.take_over.then_some(&control);
    let bindings = Bindings::of(&configuration, nofile, lookups, takes_over)?;

    logging::take_own_stderr();
    if let Some(identity) = &identity {
        become_user(identity, &bindings)?;
    }
    let problems = trial::problems(&configuration);
    if !problems.is_empty() {
        return Err(anyhow::anyhow!(problems.join("\n")).into());
    }
    if configuration.processes > 1 {
        if args.trace.is_some() {
            return Err(Failure::usage(
                "`--trace` follows one loop, and several processes have several: say `--processes 1`",
            ));
        }
        let descriptors = (of_commands, nofile);
        return processes::run(args, configuration, bindings, control, descriptors);
    }
    let audit = args.audit.as_deref().or(configuration.log.audit.as_deref());
    let (epoll, audit) = poll::open(args.spin, of_commands, audit)?;
    let (limits, connections_max) = (&configuration.limits, bindings.connections_max);
    let policies = keeping::policies(&bindings.bound);
    let epoll = keeping::prepare(epoll, &policies)?;
    let mut reactor = Reactor::new(epoll, limits.clone(), connections_max as usize);

    let learnt = bindings.learnt;
    let urls: Vec<String> = bindings
        .bound
        .iter()
        .map(|bound| bound.endpoint.to_string())
        .collect();
    let sockets = open(bindings, limits, bus.as_ref(), &control, &mut reactor)?;
    if !policies.is_empty() {
        keeping::begin(&mut reactor)?;
    }
    let mut serving = Serving {
        sources: args.sources,
        nofile,
        supervisor: Supervisor::find(),
        sockets,
        learnt,
        reading: Reading::Rests,
        is_member: false,
        taker: None,
        bus,
        configuration,
    };
    for url in &urls {
        announce(Level::Info, "listening", Some(url));
    }
    if args.json {
        print_in_passing(json!({ "listening": urls, "connections_max": connections_max }))?;
    }
    announce(Level::Info, "ready", None);
    serving.begin(&mut reactor, args.take_over);
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

/// What is to be served; from then on whatever is said is said as the file has it, also what is wrong with the
/// file.
fn read(sources: &Sources, lookups: &mut Lookups) -> Result<Configuration, Failure> {
    let file = sources.file(lookups);
    let log = match &file {
        Ok(file) => file.log.clone(),
        Err(_) => sources.log_of_a_wrong_file(),
    };
    logging::begin(log_level(log.level), log.format);
    sources.complete(file?)
}

/// Root binds, then somebody else serves. What root made is to be that user's, so that it can be removed and
/// connected to.
fn become_user(identity: &Identity, bindings: &Bindings) -> Result<(), Failure> {
    for file in bindings.socket_files() {
        file.give_to(identity.owner()).with_context(|| {
            let path = file.path().display();
            format!("{path}: cannot give the file to the user")
        })?;
    }
    identity.assume()?;
    let name = identity.name();
    announce(Level::Info, &format!("serving as user {name}"), None);
    let warn = |warning: String| announce(Level::Warn, &format!("warning: {warning}"), None);
    // A reload reads as that user.
    for file in &bindings.files {
        if let Err(error) = accessat(CWD, file, Access::READ_OK, AtFlags::EACCESS) {
            let file = file.display();
            warn(format!(
                "user {name} cannot read {file}, so no reload can: {error}"
            ));
        }
    }
    for file in bindings.socket_files().filter(|file| !file.is_removable()) {
        let file = file.path().display();
        warn(format!(
            "user {name} cannot remove {file}, so it stays when the server ends; its directory must be one that {name} can write to"
        ));
    }
    Ok(())
}

/// Has the loop serve every socket that was bound, and the control socket; a server that is taken over lets go
/// then.
fn open(
    bindings: Bindings,
    limits: &Limits,
    bus: Option<&Arc<Bus>>,
    control: &ControlPath,
    reactor: &mut Reactor<Epoll>,
) -> Result<Vec<OpenSocket>, Failure> {
    let own: Vec<SocketAddr> = bindings
        .bound
        .iter()
        .filter_map(Bound::datagram_address)
        .collect();
    let mut rests = Vec::new();
    for bound in &bindings.bound {
        rests.extend(bound.rest().context("cannot take a socket over")?);
    }
    let making = Making {
        limits,
        zone: &TimeZone::system(),
        bus,
        own: &own,
        processes: 1,
        occasion: match bindings.asked {
            Some(_) => Occasion::TakeOver,
            None => Occasion::Start,
        },
    };
    let mut sockets = Vec::new();
    for bound in bindings.bound {
        sockets.push(making.open(reactor, bound)?);
    }
    sockets.extend(control.open(reactor, bindings.control)?);
    let files = sockets.iter_mut().filter_map(|socket| socket.file.as_mut());
    taking_over::finish(bindings.asked, bindings.handed, files, rests)?;
    Ok(sockets)
}
