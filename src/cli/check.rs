//! `onepoll check`: what `serve` would do, or why it would refuse.
//!
//! Tries what leaves no trace: it resolves names, binds each address for a moment without
//! listening, and looks at Unix paths and inherited descriptors. It never connects, since a live
//! server would see that, and makes no file. Its exit code is the one `serve` would end with.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::process::ExitCode;

use rustix::fs::{Access, access};
use rustix::net::{AddressFamily, SocketAddrAny, SocketType, bind, getsockname, socket, sockopt};
use rustix::process::{
    PidfdFlags, PidfdGetfdFlags, Resource, geteuid, getpid, getrlimit, pidfd_getfd, pidfd_open,
};
use serde_json::{Value, json};

use super::{Configuration, Outcome, Sources, complain, print};
use crate::config::{
    Address, ConfigError, Transport, UnixAddress, check_private_dir, command_socket,
};
use crate::endpoint::{
    Endpoint, Exposure, PlanError, Planned, Reached, check_together, exposure, plan,
};
use crate::service;

/// Say what serve would do, or why it would refuse
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    sources: Sources,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub fn run(args: Args) -> Outcome {
    let configuration = match args.sources.read() {
        Ok(configuration) => configuration,
        Err(failure) => {
            if args.json {
                let errors: Vec<String> = failure.to_string().lines().map(Into::into).collect();
                print(json!({ "ok": false, "endpoints": [], "errors": errors }))?;
            }
            return Err(failure);
        }
    };
    let rows: Vec<Row> = configuration.endpoints.iter().map(Row::of).collect();
    let planned: Vec<Planned> = rows.iter().filter_map(|row| row.planned.clone()).collect();
    let nofile = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
    let together = check_together(&planned, &configuration.limits, nofile);
    let verdict = Verdict::of(&rows, &together, configuration.is_default_table);
    if args.json {
        print(as_json(&configuration, &rows, &together, &verdict))?
    } else {
        for row in &rows {
            if let Some(line) = row.line() {
                print(line)?;
            }
        }
        if let (Ok(connections), 0) = (&together, verdict.exit_code) {
            print(format_args!("at most {connections} connections in all"))?;
        }
    }
    for problem in &verdict.problems {
        complain(problem);
    }
    Ok(ExitCode::from(verdict.exit_code))
}

/// What is known about one endpoint.
struct Row {
    endpoint: Endpoint,
    planned: Option<Planned>,
    trouble: Option<Trouble>,
}

/// Why it would not be served.
enum Trouble {
    /// Must not be: exit code 2.
    Refused(String),
    /// Cannot be, here and now: exit code 1.
    Unavailable(String),
}

impl Row {
    fn of(endpoint: &Endpoint) -> Self {
        let mut row = Self {
            endpoint: endpoint.clone(),
            planned: None,
            trouble: None,
        };
        let tried = plan(endpoint, geteuid().is_root()).map_err(|wrong| match wrong {
            PlanError::Refused(wrong) => Trouble::Refused(wrong.to_string()),
            PlanError::Unresolved(wrong) => Trouble::Unavailable(wrong.to_string()),
        });
        match tried {
            Err(trouble) => row.trouble = Some(trouble),
            Ok(mut planned) => {
                row.trouble = attempt(&mut planned).err();
                row.planned = Some(planned);
            }
        }
        row
    }

    fn places(&self) -> Vec<String> {
        let planned = self.planned.iter().flat_map(|planned| &planned.at);
        planned.map(SocketAddr::to_string).collect()
    }

    fn exposure(&self) -> Option<Exposure> {
        self.planned.as_ref().and_then(|planned| planned.exposure)
    }

    /// The line for people; none if it would not be served.
    fn line(&self) -> Option<String> {
        if self.trouble.is_some() {
            return None;
        }
        let address = self.endpoint.address();
        let places = match self.places() {
            none if none.is_empty() => address.to_string(),
            places => places.join(" and "),
        };
        let reach = match self.exposure() {
            Some(exposure) => exposure.reach.to_string(),
            None => "judged when its address is known".into(),
        };
        let service = self.endpoint.row().name;
        let mut line = format!("{service} on {} {places} ({reach})", address.transport());
        for (name, value) in self.endpoint.options() {
            line.push_str(&format!(" {name}={}", value.escape_debug()));
        }
        if let Some(warning) = self.exposure().and_then(|exposure| exposure.warning) {
            line.push_str(&format!("; warning: {warning}"));
        }
        Some(line)
    }
}

/// Tries what can be tried without a trace.
fn attempt(planned: &mut Planned) -> Result<(), Trouble> {
    let endpoint = planned.endpoint.clone();
    let unavailable =
        |problem: String| Trouble::Unavailable(ConfigError::at(&endpoint, problem).to_string());
    match endpoint.address() {
        Address::Tcp(_) | Address::Udp(_) => planned.at.iter().try_for_each(|at| {
            attempt_bind(endpoint.address().transport(), *at).map_err(|wrong| {
                let remedy = match wrong.kind() {
                    io::ErrorKind::AddrInUse => "; stop what listens there, or choose another port",
                    io::ErrorKind::PermissionDenied => "; ports below 1024 are for root",
                    io::ErrorKind::AddrNotAvailable => "; no interface of this machine has it",
                    _ => "",
                };
                unavailable(format!("{at} cannot be bound: {wrong}{remedy}"))
            })
        }),
        Address::Unix(at) => attempt_unix(&endpoint, at).map_err(unavailable),
        Address::Fd(number) => {
            let reached = look_at_descriptor(endpoint.row(), *number).map_err(unavailable)?;
            if let Some(at) = reached {
                let judged = exposure(&endpoint, at, geteuid().is_root()).map_err(|refusal| {
                    Trouble::Refused(ConfigError::at(&endpoint, refusal.to_string()).to_string())
                })?;
                planned.exposure = Some(judged);
                if let Reached::Inet(at) = at {
                    planned.at = vec![at];
                }
            }
            Ok(())
        }
    }
}

/// Binds and lets go. Never listens, so nobody can connect in between; and a datagram in that
/// moment would have found nobody anyway.
fn attempt_bind(transport: Transport, at: SocketAddr) -> io::Result<()> {
    let family = if at.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let datagrams = transport == Transport::Udp;
    let kind = if datagrams {
        SocketType::DGRAM
    } else {
        SocketType::STREAM
    };
    let socket = socket(family, kind, None)?;
    if !datagrams {
        // As the server does: connections that linger from the last run are no obstacle.
        sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    Ok(bind(&socket, &at)?)
}

fn attempt_unix(endpoint: &Endpoint, at: &UnixAddress) -> Result<(), String> {
    let Some(path) = at.path() else {
        return if is_listening(&at.to_string()) {
            Err(format!("a live server listens at {at}"))
        } else {
            Ok(())
        };
    };
    let parent = match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => Path::new("/"),
    };
    let is_private_place =
        *endpoint.address() == Address::Unix(UnixAddress::Path(command_socket()));
    if is_private_place && parent.symlink_metadata().is_err() {
        // The server makes this one directory itself, in one that is there.
        return writable(parent.parent().unwrap_or(parent));
    }
    if is_private_place {
        check_private_dir(parent, geteuid().as_raw()).map_err(|wrong| wrong.to_string())?;
    }
    writable(parent)?;
    match fs::symlink_metadata(path) {
        Err(_) => Ok(()),
        Ok(found) if !found.file_type().is_socket() => Err(format!(
            "{} is there and is no socket; move it away or choose another path",
            path.display()
        )),
        Ok(_) if is_listening(&path.display().to_string()) => Err(format!(
            "a live server listens at {}; stop it or choose another path",
            path.display()
        )),
        // A stale one is replaced.
        Ok(_) => Ok(()),
    }
}

fn writable(dir: &Path) -> Result<(), String> {
    access(dir, Access::WRITE_OK | Access::EXEC_OK).map_err(|wrong| {
        format!(
            "no socket can be made in {}: {}",
            dir.display(),
            io::Error::from(wrong)
        )
    })
}

/// Whether a Unix socket listens under this name, by the kernel's own list; connecting would tell
/// too, and disturb.
fn is_listening(name: &str) -> bool {
    const SO_ACCEPTCON: &str = "00010000";
    let Ok(list) = fs::read_to_string("/proc/net/unix") else {
        return false;
    };
    list.lines().any(|line| {
        // Num RefCount Protocol Flags Type St Inode Path, where the path may hold blanks.
        let mut rest = line;
        let mut fields = [""; 7];
        for field in &mut fields {
            match rest.trim_start().split_once(' ') {
                Some((first, after)) => (*field, rest) = (first, after),
                None => return false,
            }
        }
        fields[3] == SO_ACCEPTCON && rest == name
    })
}

/// Where an inherited descriptor's socket is, if we may look; an error if it is none of the kind
/// that the service needs.
fn look_at_descriptor(service: &service::Row, number: i32) -> Result<Option<Reached>, String> {
    let link = fs::read_link(format!("/proc/self/fd/{number}"))
        .map_err(|_| format!("no descriptor {number} was inherited"))?;
    if !link.to_string_lossy().starts_with("socket:") {
        return Err(format!(
            "descriptor {number} is {}, not a socket",
            link.display()
        ));
    }
    // A copy of our own descriptor, by a call that needs no trust in a bare number; some sandboxes
    // forbid it, and then the server will tell.
    let copy: Result<OwnedFd, _> = pidfd_open(getpid(), PidfdFlags::empty())
        .and_then(|this| pidfd_getfd(this, number, PidfdGetfdFlags::empty()));
    let Ok(copy) = copy else { return Ok(None) };
    let failed = |wrong: rustix::io::Errno| {
        format!(
            "descriptor {number} cannot be examined: {}",
            io::Error::from(wrong)
        )
    };
    let kind = sockopt::socket_type(&copy).map_err(failed)?;
    let streams = service.stream.is_some();
    let either = streams && service.datagrams.is_some();
    match kind {
        SocketType::STREAM if !streams => {
            return Err(format!(
                "descriptor {number} is a stream socket, and `{}` is for datagrams",
                service.name
            ));
        }
        SocketType::STREAM if !sockopt::socket_acceptconn(&copy).map_err(failed)? => {
            return Err(format!(
                "descriptor {number} does not listen; whoever opens it calls listen()"
            ));
        }
        SocketType::STREAM => {}
        SocketType::DGRAM if streams && !either => {
            return Err(format!(
                "descriptor {number} is a datagram socket, and `{}` needs a listening stream socket",
                service.name
            ));
        }
        SocketType::DGRAM => {}
        _ => {
            return Err(format!(
                "descriptor {number} is neither a stream nor a datagram socket"
            ));
        }
    }
    let at: SocketAddrAny = getsockname(&copy).map_err(failed)?;
    match at.address_family() {
        AddressFamily::UNIX if kind == SocketType::STREAM => Ok(Some(Reached::Unix)),
        AddressFamily::UNIX => Err(format!(
            "descriptor {number} is a Unix datagram socket, which is not served yet"
        )),
        _ => SocketAddr::try_from(at)
            .map(|at| Some(Reached::Inet(at)))
            .map_err(|_| format!("descriptor {number} is neither an internet nor a Unix socket")),
    }
}

struct Verdict {
    problems: Vec<String>,
    exit_code: u8,
}

impl Verdict {
    fn of(rows: &[Row], together: &Result<u32, ConfigError>, is_default_table: bool) -> Self {
        let mut verdict = Self {
            problems: Vec::new(),
            exit_code: 0,
        };
        let mut skipped = 0;
        for row in rows {
            match &row.trouble {
                None => {}
                Some(Trouble::Refused(problem)) => verdict.add(problem.clone(), 2),
                Some(Trouble::Unavailable(problem)) if is_default_table => {
                    skipped += 1;
                    verdict.add(
                        format!("{problem}; of the default table, it would be skipped"),
                        0,
                    );
                }
                Some(Trouble::Unavailable(problem)) => verdict.add(problem.clone(), 1),
            }
        }
        if skipped == rows.len() {
            verdict.add("nothing is left of the default table".into(), 1);
        }
        if let Err(wrong) = together {
            verdict.add(wrong.to_string(), 2);
        }
        verdict
    }

    fn add(&mut self, problem: String, exit_code: u8) {
        self.problems.push(problem);
        self.exit_code = self.exit_code.max(exit_code);
    }
}

fn as_json(
    configuration: &Configuration,
    rows: &[Row],
    together: &Result<u32, ConfigError>,
    verdict: &Verdict,
) -> Value {
    let endpoints: Vec<Value> = rows
        .iter()
        .map(|row| {
            let (would, error) = match &row.trouble {
                None => ("serve", None),
                Some(Trouble::Refused(problem)) => ("refuse", Some(problem)),
                Some(Trouble::Unavailable(problem)) if configuration.is_default_table => {
                    ("skip", Some(problem))
                }
                Some(Trouble::Unavailable(problem)) => ("fail", Some(problem)),
            };
            let options: Vec<Value> = row
                .endpoint
                .options()
                .iter()
                .map(|(name, value)| json!([name, value]))
                .collect();
            json!({
                "endpoint": row.endpoint.to_string(),
                "service": row.endpoint.row().name,
                "transport": row.endpoint.address().transport().name(),
                "address": row.endpoint.address().to_string(),
                "resolved": row.places(),
                "options": options,
                "exposure": row.exposure().map(|exposure| exposure.reach.name()),
                "warning": row.exposure().and_then(|exposure| exposure.warning),
                "would": would,
                "error": error,
            })
        })
        .collect();
    json!({
        "ok": verdict.exit_code == 0,
        "endpoints": endpoints,
        "default_table": configuration.is_default_table,
        "connections": together.as_ref().ok(),
        "limits": configuration.limits,
        "log": configuration.log,
        "errors": verdict.problems,
    })
}
