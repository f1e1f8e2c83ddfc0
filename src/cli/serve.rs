//! `onepoll serve`: which service opens on which door.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use jiff::tz::TimeZone;
use rustix::net::{AddressFamily, SocketType, getsockname, sockopt};
use rustix::process::geteuid;
use serde_json::json;

use super::{Configuration, Failure, Outcome, Sources, complain, log_level, logging, print};
use crate::config::{
    Address, ConfigError, Host, HostPort, Limits, UnixAddress, command_socket, descriptor_limit,
    make_private_dir, parse_duration, raise_descriptor_limit,
};
use crate::endpoint::{Endpoint, PlanError, Planned, Reached, check_together, exposure, plan};
use crate::reactor::{
    DatagramOptions, DatagramSocket, Epoll, ListenerOptions, Reactor, begin_to_listen, bind_tcp,
    bind_unix, close_on_exec, inherited, open_udp,
};
use crate::service::Setting;

/// The server; without endpoints and file: the default table
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    sources: Sources,

    /// Poll for this long before each sleep (such as 50us): faster answers at the price of a core
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    spin: Option<Duration>,

    /// Tell on standard error, as text, what each turn of the loop did
    #[arg(long)]
    trace: bool,

    /// When ready, print one JSON object with the endpoints to standard output
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub fn run(args: Args) -> Outcome {
    let configuration = args.sources.read()?;
    // Before anything of our own is open: what we inherited must not reach commands.
    close_on_exec().context("cannot read the list of open descriptors")?;
    let (of_commands, nofile) = (descriptor_limit(), raise_descriptor_limit());
    let plans = plans(&configuration)?;
    let connections_max = check_together(&plans, &configuration.limits, nofile)?;

    let mut bound = Vec::<Bound>::new();
    for planned in plans {
        match not_twice(&planned, &bound).and_then(|()| bind(&planned)) {
            Ok(sockets) => bound.extend(sockets),
            Err(problem) if configuration.is_default_table => {
                complain(format_args!("{problem}; skipped"));
            }
            Err(problem) => return Err(problem.into()),
        }
    }
    if bound.is_empty() {
        return Err(
            anyhow::anyhow!("no endpoint could be bound, so there is nothing to serve").into(),
        );
    }

    logging::begin(log_level(configuration.log.level), configuration.log.format);
    let epoll = Epoll::new()
        .and_then(|epoll| epoll.spin(args.spin.unwrap_or_default()).with_signals())
        .and_then(Epoll::as_init)
        .map(|epoll| epoll.descriptors_of_commands(of_commands))
        .context("cannot set up the poll")?;
    let mut reactor = Reactor::new(
        epoll,
        configuration.limits.clone(),
        connections_max as usize,
    );
    let urls: Vec<String> = bound
        .iter()
        .map(|bound| bound.endpoint.to_string())
        .collect();
    let own_ports: Vec<u16> = bound.iter().filter_map(Bound::udp_port).collect();
    let _files: Vec<SocketFile> = bound.iter_mut().filter_map(|b| b.file.take()).collect();
    let zone = TimeZone::system();
    for bound in bound {
        open(
            &mut reactor,
            bound,
            &configuration.limits,
            &zone,
            &own_ports,
        )?;
    }

    for url in &urls {
        complain(format_args!("listening on {url}"));
    }
    if args.json {
        print(json!({ "listening": urls, "connections_max": connections_max }))?;
    }
    complain("ready");
    if args.trace {
        reactor.trace_to(logging::tracer());
    }
    reactor.run().context("the poll failed")?;
    Ok(ExitCode::SUCCESS)
}

/// A socket that was bound, and the endpoint as it came to be: with the port that the system chose.
struct Bound {
    endpoint: Endpoint,
    socket: OwnedFd,
    file: Option<SocketFile>,
}

impl Bound {
    fn udp_port(&self) -> Option<u16> {
        match self.endpoint.address() {
            Address::Udp(at) => Some(at.port),
            _ => None,
        }
    }
}

/// The file of a Unix socket of ours; removed when the server ends, also when it never began
/// because another endpoint could not be bound (fault H6).
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    /// Device and inode: what another server has put there since is not ours.
    identity: (u64, u64),
}

impl SocketFile {
    fn at(path: &Path) -> Option<SocketFile> {
        Some(SocketFile {
            path: path.into(),
            identity: identity(path)?,
        })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path) == Some(self.identity) {
            // Left behind, it would be stale, and replaced by the next server.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    let found = path.symlink_metadata().ok()?;
    Some((found.dev(), found.ino()))
}

/// Resolves and judges every endpoint before the first is bound.
fn plans(configuration: &Configuration) -> Result<Vec<Planned>, Failure> {
    let is_root = geteuid().is_root();
    let (mut plans, mut refused, mut unresolved) = (Vec::new(), Vec::new(), Vec::new());
    for endpoint in &configuration.endpoints {
        match plan(endpoint, is_root) {
            Ok(planned) => plans.push(planned),
            Err(PlanError::Refused(error)) => refused.push(error.to_string()),
            Err(PlanError::Unresolved(error)) => unresolved.push(error.to_string()),
        }
    }
    if !refused.is_empty() {
        return Err(Failure::Usage(refused.join("\n")));
    }
    if !unresolved.is_empty() {
        return Err(anyhow::anyhow!(unresolved.join("\n")).into());
    }
    for planned in &plans {
        if let Some(warning) = planned.exposure.and_then(|exposure| exposure.warning) {
            complain(format_args!("warning: {}: {warning}", planned.endpoint));
        }
    }
    Ok(plans)
}

/// Why an endpoint could not be bound, with the exit code that goes with it.
#[derive(Debug, thiserror::Error)]
enum BindError {
    #[error("{0}")]
    Refused(ConfigError),
    #[error("{0}")]
    Failed(ConfigError),
}

impl From<BindError> for Failure {
    fn from(error: BindError) -> Failure {
        match error {
            BindError::Refused(error) => error.into(),
            BindError::Failed(error) => anyhow::Error::new(error).into(),
        }
    }
}

/// Refuses to take a socket file that another endpoint of ours has by another name: bound and not
/// listening yet, it would look stale, and be replaced.
fn not_twice(planned: &Planned, bound: &[Bound]) -> Result<(), BindError> {
    let Address::Unix(UnixAddress::Path(path)) = planned.endpoint.address() else {
        return Ok(());
    };
    let there = identity(path);
    let of = |b: &&Bound| b.file.as_ref().map(|file| file.identity) == there;
    match bound.iter().find(of).filter(|_| there.is_some()) {
        None => Ok(()),
        Some(other) => Err(BindError::Refused(ConfigError::at(
            &planned.endpoint,
            format!(
                "it is the socket file of {}; each endpoint needs a place of its own",
                other.endpoint
            ),
        ))),
    }
}

/// Binds every address of an endpoint.
fn bind(planned: &Planned) -> Result<Vec<Bound>, BindError> {
    let endpoint = &planned.endpoint;
    let failed = |at: &dyn std::fmt::Display, error: io::Error| {
        let has_port = matches!(endpoint.address(), Address::Tcp(_) | Address::Udp(_));
        let remedy = match error.kind() {
            io::ErrorKind::AddrInUse => "; stop what listens there, or choose another",
            io::ErrorKind::PermissionDenied if has_port => "; ports below 1024 are for root",
            io::ErrorKind::AddrNotAvailable => "; no interface of this machine has it",
            _ => "",
        };
        BindError::Failed(ConfigError::at(
            endpoint,
            format!("cannot bind {at}: {error}{remedy}"),
        ))
    };
    match endpoint.address() {
        Address::Tcp(_) | Address::Udp(_) => {
            let mut bound = Vec::new();
            let mut chosen = 0;
            for at in &planned.at {
                // A name with several addresses and port 0 gets one port for all of them.
                let at = SocketAddr::new(at.ip(), if at.port() == 0 { chosen } else { at.port() });
                let open = match endpoint.address() {
                    Address::Udp(_) => open_udp,
                    _ => bind_tcp,
                };
                let socket = open(at).map_err(|error| failed(&at, error))?;
                let at = local_address(&socket).map_err(|error| failed(&at, error))?;
                chosen = at.port();
                bound.push(
                    Bound {
                        endpoint: endpoint.clone(),
                        socket,
                        file: None,
                    }
                    .at(at),
                );
            }
            Ok(bound)
        }
        Address::Unix(UnixAddress::Path(path)) => {
            let mode = endpoint.common().mode.unwrap_or(0o600);
            if *path == command_socket()
                && let Some(directory) = path.parent()
            {
                make_private_dir(directory).map_err(|error| failed(&path.display(), error))?;
            }
            let socket = bind_unix(path, mode).map_err(|error| failed(&path.display(), error))?;
            Ok(vec![Bound {
                endpoint: endpoint.clone(),
                socket,
                file: SocketFile::at(path),
            }])
        }
        Address::Unix(UnixAddress::Abstract(name)) => {
            let socket = crate::reactor::bind_abstract(name.as_bytes())
                .map_err(|error| failed(&format_args!("@{name}"), error))?;
            Ok(vec![Bound {
                endpoint: endpoint.clone(),
                socket,
                file: None,
            }])
        }
        Address::Fd(number) => adopt(endpoint, *number).map(|bound| vec![bound]),
    }
}

impl Bound {
    /// The endpoint with the address that it came to have.
    fn at(mut self, at: SocketAddr) -> Bound {
        let place = place(at);
        let address = match self.endpoint.address() {
            Address::Udp(_) => Address::Udp(place),
            _ => Address::Tcp(place),
        };
        self.endpoint = self.endpoint.at(address);
        self
    }
}

fn place(at: SocketAddr) -> HostPort {
    HostPort {
        host: Host::Ip(at.ip()),
        port: at.port(),
    }
}

fn local_address(socket: &OwnedFd) -> io::Result<SocketAddr> {
    Ok(SocketAddr::try_from(getsockname(socket)?)?)
}

/// Adopts an inherited descriptor, and judges it by where it turns out to be.
fn adopt(endpoint: &Endpoint, number: i32) -> Result<Bound, BindError> {
    let failed = |problem: String| BindError::Failed(ConfigError::at(endpoint, problem));
    let socket = inherited(number)
        .map_err(|error| failed(format!("cannot adopt descriptor {number}: {error}")))?;
    let service = endpoint.row();
    let takes_datagrams = service.datagrams.is_some();
    let takes_streams = service.stream.is_some();
    let listens = sockopt::socket_acceptconn(&socket).unwrap_or(false);
    let is_datagram = match sockopt::socket_type(&socket) {
        Ok(SocketType::STREAM) if listens && takes_streams => false,
        Ok(SocketType::DGRAM) if takes_datagrams => true,
        _ => {
            let wanted = match (takes_streams, takes_datagrams) {
                (true, true) => "a listening stream socket or a datagram socket",
                (false, _) => "a datagram socket",
                (true, false) => "a listening stream socket",
            };
            return Err(failed(format!("descriptor {number} is not {wanted}")));
        }
    };
    // Only a Unix socket has peers whose user the kernel knows: another family that has no address
    // of ours (vsock) must not pass for one, and with it for private.
    let reached = match (sockopt::socket_domain(&socket), local_address(&socket)) {
        (Ok(AddressFamily::UNIX), _) if !is_datagram => Reached::Unix,
        (Ok(AddressFamily::INET | AddressFamily::INET6), Ok(at)) => Reached::Inet(at),
        _ => {
            return Err(failed(format!(
                "descriptor {number} is neither a TCP, UDP nor Unix stream socket"
            )));
        }
    };
    exposure(endpoint, reached, geteuid().is_root())
        .map_err(|refusal| BindError::Refused(ConfigError::at(endpoint, refusal.to_string())))?;
    let mut endpoint = endpoint.clone();
    if let (true, Reached::Inet(at)) = (is_datagram, reached) {
        endpoint = endpoint.at(Address::Udp(place(at)));
    }
    Ok(Bound {
        endpoint,
        socket,
        file: None,
    })
}

/// Opens the door that was bound to the service that was asked for.
fn open(
    reactor: &mut Reactor<Epoll>,
    Bound {
        endpoint, socket, ..
    }: Bound,
    limits: &Limits,
    zone: &TimeZone,
    own_ports: &[u16],
) -> Result<(), Failure> {
    let name = endpoint.to_string();
    let common = endpoint.common();
    let setting = Setting {
        limits,
        zone,
        is_open: common.open,
    };
    let is_local = matches!(endpoint.address(), Address::Unix(_) | Address::Fd(_));
    if let Address::Udp(_) = endpoint.address() {
        let service = reactor.add_datagrams(endpoint.datagrams(&setting)?);
        let mailbox = DatagramOptions {
            name: name.clone(),
            service,
            own_ports: own_ports.to_vec(),
        };
        DatagramSocket::new(socket)
            .and_then(|socket| reactor.answer(socket, mailbox))
            .with_context(|| name)?;
        return Ok(());
    }
    let service = reactor.add(endpoint.service(&setting)?);
    let door = ListenerOptions {
        name: name.clone(),
        service,
        connections_max: common
            .max_connections
            .map_or(usize::MAX, |max| max as usize),
        idle: common.idle_timeout,
        only_uid: (is_local && !common.any_user).then(|| geteuid().as_raw()),
    };
    begin_to_listen(&socket).with_context(|| format!("{name}: cannot listen"))?;
    reactor.listen(socket, door).with_context(|| name)?;
    Ok(())
}
