//! SIGHUP: the configuration is read again, and what has changed in it takes effect.
//!
//! A helper reads (see `look_up.rs`), since a disk and a resolver are waited for. The loop then plans all
//! endpoints from what the helper has learnt, finds for each the socket that it has already, binds what is new
//! before anything else changes, and only then lets go of what vanished. A configuration that is wrong, or that
//! cannot be served, changes nothing at all.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use anyhow::Context as _;
use jiff::tz::TimeZone;
use log::Level;
use rustix::fs::fstat;

use super::handing_over::is_being_taken_over;
use super::keeping;
use super::learnt::Learnt;
use super::making::{Made, Making};
use super::open_socket::OpenSocket;
use super::serving::{Reading, Serving};
use super::supervisor::Supervisor;
use super::wanted::Wanted;
use crate::cli::logging::announce;
use crate::cli::{Failure, Sources};
use crate::config::limits::HELPER_TIMEOUT;
use crate::config::{Limits, Lookups, format_duration};
use crate::endpoint::{Bound, Handed, SocketFile};
use crate::reactor::{Cut, Epoll, Helped, Reactor, SocketId};
use crate::service::{Occasion, Secrets, Service};
use crate::turn::{ConnId, Exit};
use crate::wire::SocketDescription;

/// How many endpoints a reload changed, by what it did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Changes {
    pub(super) opened: usize,
    pub(super) changed: usize,
    pub(super) vanished: usize,
}

impl Serving {
    /// Has a helper read the configuration.
    pub(super) fn begin_reload(&mut self, reactor: &mut Reactor<Epoll>) {
        if reactor.is_stopping() {
            return log::info!("SIGHUP was ignored: the server is stopping");
        }
        let Self {
            sources,
            supervisor,
            reading,
            ..
        } = self;
        if let Err(problem) = begin(reactor, self.taker, sources, supervisor, reading) {
            self.stays(reactor, &[problem]);
        }
    }

    /// A helper has read the configuration, or found out what is wrong with it.
    pub(super) fn end_reload(&mut self, reactor: &mut Reactor<Epoll>, helped: Helped) {
        let once_more = self.reading == Reading::ReadsOnceMore;
        self.reading = Reading::Rests;
        if reactor.is_stopping() {
            return;
        }
        match learn(&helped).and_then(|lookups| self.reload(reactor, lookups, Vec::new())) {
            Ok(Changes {
                opened,
                changed,
                vanished,
            }) => {
                reactor.reopen_transcripts();
                log::info!(opened, changed, vanished; "reloaded the configuration");
                reactor.audit_reload(None);
                self.supervisor.ready(&self.status());
            }
            Err(problems) => self.stays(reactor, &problems),
        }
        if once_more {
            self.begin_reload(reactor);
        }
    }

    /// Nothing has changed, for these reasons, but files may have been moved away.
    fn stays(&self, reactor: &mut Reactor<Epoll>, problems: &[String]) {
        reactor.reopen_transcripts();
        tell_unchanged(reactor, &self.supervisor, &self.status(), problems);
    }

    /// Changes what is served to what the configuration says now; `given` are sockets that the supervisor of this
    /// process has for what is new.
    pub(super) fn reload(
        &mut self,
        reactor: &mut Reactor<Epoll>,
        lookups: Lookups,
        given: Vec<(SocketDescription, OwnedFd)>,
    ) -> Result<Changes, Vec<String>> {
        let (handed, owners) = self
            .own_sockets(reactor, given)
            .map_err(Failure::into_problems)?;
        let served = self.sockets.iter().filter_map(|s| s.endpoint.as_ref());
        let from = (&self.sources, &self.configuration);
        let mut wanted = Wanted::bind(from, self.nofile, lookups, handed, served)?;
        let connections_max = match &wanted.opening.connections_max {
            Ok(connections_max) => *connections_max,
            Err(wrong) => return Err(vec![wrong.to_string()]),
        };
        let all = std::mem::take(&mut wanted.opening.bound);
        let own: Vec<SocketAddr> = all.iter().filter_map(Bound::datagram_address).collect();
        let zone = TimeZone::system();
        let limits = in_force(
            &self.configuration.limits,
            &wanted.configuration.limits_of_one(),
        );
        let bus = wanted.bus.take().or_else(|| self.bus.clone());
        let making = Making {
            limits: &limits,
            zone: &zone,
            bus: bus.as_ref(),
            own: &own,
            processes: self.configuration.processes,
            occasion: Occasion::Reload,
        };
        // Whatever can go wrong does so before anything changes.
        let mut planned = Vec::new();
        for bound in all {
            let owner = owner(&bound, &owners);
            if owner.is_none() {
                let listens = bound.begin();
                listens
                    .with_context(|| format!("{}: cannot listen", bound.endpoint))
                    .map_err(|wrong| Failure::from(wrong).into_problems())?;
            }
            let made = making.make(&bound).map_err(Failure::into_problems)?;
            planned.push((owner, bound, made));
        }
        let mut sockets: Vec<OpenSocket> = Vec::new();
        let mut changes = Changes::default();
        let (old, new): (Vec<_>, Vec<_>) = planned.into_iter().partition(|plan| plan.0.is_some());
        // Nothing runs that nobody looks after.
        let mut endpoints = wanted.configuration.endpoints.iter();
        if endpoints.any(|endpoint| endpoint.policy().is_some()) {
            keeping::begin(reactor).map_err(|wrong| Failure::from(wrong).into_problems())?;
        }
        for (_, bound, made) in new {
            match making.watch(reactor, bound, made) {
                Ok(socket) => sockets.push(socket),
                Err(wrong) => {
                    sockets.into_iter().for_each(|new| retire(reactor, new));
                    return Err(wrong.into_problems());
                }
            }
        }
        changes.opened = sockets.len();
        if !self.is_member {
            for opened in sockets.iter().filter_map(|socket| socket.endpoint.as_ref()) {
                announce(Level::Info, "listening", Some(&opened.to_string()));
            }
        }
        let learnt = Learnt::of(&wanted.record);
        let is_learnt = learnt == self.learnt;
        let mut before: Vec<Option<OpenSocket>> = std::mem::take(&mut self.sockets)
            .into_iter()
            .map(Some)
            .collect();
        for (owner, bound, made) in old {
            let Some(was) = owner.and_then(|owner| before[owner].take()) else {
                continue;
            };
            let change = Change {
                making: &making,
                limits_changed: limits != self.configuration.limits,
                is_learnt,
                owns_files: !self.is_member,
            };
            let (socket, changed) = change.apply(reactor, was, bound, made);
            changes.changed += usize::from(changed);
            sockets.push(socket);
        }
        for was in before.into_iter().flatten() {
            if was.endpoint.is_none() {
                sockets.push(was);
            } else {
                changes.vanished += 1;
                retire(reactor, was);
            }
        }
        if let Some(bus) = &bus {
            reactor.change_bus(bus);
        }
        reactor.change_limits(limits.clone(), connections_max as usize);
        if !self.is_member {
            wanted.warn(&self.configuration);
        }
        self.sockets = sockets;
        self.learnt = learnt;
        self.bus = bus;
        wanted.replace(&mut self.configuration);
        self.configuration.limits = limits;
        Ok(changes)
    }

    /// A duplicate of every socket that an endpoint is served on, among which the endpoints of the new
    /// configuration find theirs; and the place in our own list of each, by the number that the kernel gave it.
    fn own_sockets(
        &self,
        reactor: &Reactor<Epoll>,
        given: Vec<(SocketDescription, OwnedFd)>,
    ) -> Result<(Handed, HashMap<u64, usize>), Failure> {
        let mut all = Vec::new();
        let mut owners = HashMap::new();
        for (n, socket) in self.sockets.iter().enumerate() {
            let again = reactor.duplicate(socket.socket);
            let again = again.context("cannot duplicate the descriptor of a socket")?;
            let (Some(again), true) = (again, socket.endpoint.is_some()) else {
                continue;
            };
            owners.insert(number(&again), n);
            let description = SocketDescription {
                place: socket.place.clone(),
                file: socket.file.as_ref().and_then(SocketFile::numbers),
            };
            all.push((n as u32, description, again));
        }
        let more = (all.len() as u32..).zip(given);
        all.extend(more.map(|(n, (description, socket))| (n, description, socket)));
        let handed = Handed::of(all);
        let handed = match self.is_member {
            true => handed.everything(),
            false => handed,
        };
        Ok((handed, owners))
    }
}

/// Has a helper read the configuration, or read it once more if one does; the error says why none can be started.
pub(super) fn begin(
    reactor: &mut Reactor<Epoll>,
    taker: Option<ConnId>,
    sources: &Sources,
    supervisor: &Supervisor,
    reading: &mut Reading,
) -> Result<(), String> {
    if is_being_taken_over(reactor, taker) {
        log::warn!(
            "SIGHUP was ignored: another process is taking this server over, and has read the configuration itself"
        );
        return Ok(());
    }
    if *reading != Reading::Rests {
        *reading = Reading::ReadsOnceMore;
        return Ok(());
    }
    supervisor.reloading();
    let mut arguments = vec!["look-up".into()];
    arguments.extend(sources.as_arguments());
    reactor
        .help(&arguments, HELPER_TIMEOUT)
        .map_err(|error| format!("no helper can be started to read it: {error}"))?;
    *reading = Reading::Reads;
    Ok(())
}

/// Says in the log, in the audit and to systemd why everything stays as it was.
pub(super) fn tell_unchanged(
    reactor: &mut Reactor<Epoll>,
    supervisor: &Supervisor,
    status: &str,
    problems: &[String],
) {
    reactor.audit_reload(Some(&problems.join("; ")));
    for problem in problems {
        log::error!("not reloaded, and everything stays as it was: {problem}");
    }
    supervisor.ready(&format!(
        "{status}; the configuration is wrong, see the log"
    ));
}

/// What is done to a socket that is served already.
struct Change<'a> {
    making: &'a Making<'a>,
    limits_changed: bool,
    /// Whether all files and hosts are what they were.
    is_learnt: bool,
    /// Whether the files of sockets are this process's to remove.
    owns_files: bool,
}

impl Change<'_> {
    /// The socket as it is served from now on, and whether that is another way than before.
    fn apply(
        &self,
        reactor: &mut Reactor<Epoll>,
        mut was: OpenSocket,
        mut bound: Bound,
        made: Made,
    ) -> (OpenSocket, bool) {
        let endpoint = bound.endpoint.clone();
        let is_same = was.endpoint.as_ref() == Some(&endpoint);
        let keeps = was.endpoint.as_ref().is_some_and(|old| {
            old.is_same_service(&endpoint) && old.common().open == endpoint.common().open
        });
        let changed = match (was.socket, made) {
            (SocketId::Datagram(id), Made::Datagrams(service)) => {
                let service = match reactor.datagrams_of(id) {
                    same if keeps => same,
                    _ => reactor.add_datagrams(service),
                };
                // Which sockets are our own may have changed.
                reactor.replace_datagrams(id, self.making.datagrams(&endpoint, service));
                !is_same
            }
            (SocketId::Datagram(id), Made::Stream(service)) => {
                if let Some(set) = endpoint.set() {
                    let service = reactor.datagrams_of_service(set, service);
                    reactor.replace_datagrams(id, self.making.datagrams(&endpoint, service));
                }
                !is_same
            }
            (SocketId::Listener(id), Made::Stream(service)) => {
                let reads =
                    bound.secure.is_some() || bound.secrets.is_some() || bound.content.is_some();
                if is_same && (self.is_learnt || !reads) && !self.limits_changed {
                    false
                } else {
                    let service = match endpoint.set() {
                        // The value that its set has, and the gate before it asks by listener.
                        Some(set) => reactor.share(set, service),
                        None => {
                            let (same, value) = reactor.service_of(id);
                            let stays = keeps
                                && (!self.limits_changed || value.manner().is_shared)
                                && has_secrets(value, bound.secrets.as_ref());
                            if stays { same } else { reactor.add(service) }
                        }
                    };
                    let options = self.making.listener(&bound, service);
                    match reactor.replace(id, options) {
                        Ok(id) => was.socket = SocketId::Listener(id),
                        Err(error) => log::error!("{endpoint} stays as it was: {error}"),
                    }
                    true
                }
            }
            // A socket does not become another kind.
            (SocketId::Listener(_), Made::Datagrams(_)) => false,
        };
        if let Ok(Some(rest)) = bound.rest()
            && let Err(error) = rest.finish()
        {
            log::warn!("{endpoint}: {error}");
        }
        if let Some(mut file) = bound.file.take().filter(|_| self.owns_files) {
            if let Err(error) = file.own() {
                log::warn!("{endpoint}: {error}");
            }
            if let Some(mut before) = was.file.replace(file) {
                before.give_up();
            }
        }
        was.place = bound.place;
        was.endpoint = Some(endpoint);
        (was, changed)
    }
}

/// Whether a service can go on with these secrets; if it can, it does. A service without a gate cannot get
/// one while it runs: its connections have proven nothing.
fn has_secrets(service: &mut dyn Service, secrets: Option<&Secrets>) -> bool {
    match (service.manner().is_gated, secrets) {
        (true, Some(secrets)) => service.replace_secrets(secrets),
        (is_gated, secrets) => !is_gated && secrets.is_none(),
    }
}

/// What the helper has learnt, or what is wrong.
pub(super) fn learn(helped: &Helped) -> Result<Lookups, Vec<String>> {
    let one = |problem: String| Err(vec![problem]);
    match (helped.cut, helped.exit) {
        (Some(Cut::TooLate), _) => one(format!(
            "to read the configuration and to resolve its names took more than {}",
            format_duration(HELPER_TIMEOUT)
        )),
        (Some(Cut::TooLong), _) => one("the files that it names are too large together".into()),
        (None, Exit::Code(0)) => match Lookups::replay(&helped.out) {
            Some(lookups) => Ok(lookups),
            None => one("the helper that reads it does not make sense".into()),
        },
        (None, exit) => {
            let said = String::from_utf8_lossy(&helped.err);
            let problems = said.lines().filter(|line| !line.is_empty());
            let problems: Vec<String> = problems
                .map(|line| line.strip_prefix("onepoll: ").unwrap_or(line).to_owned())
                .collect();
            match (problems.is_empty(), exit) {
                (false, _) => Err(problems),
                (true, Exit::Code(code)) => {
                    one(format!("the helper that reads it ended with {code}"))
                }
                (true, Exit::Signal(n)) => {
                    one(format!("the helper that reads it was killed by signal {n}"))
                }
            }
        }
    }
}

/// Which of the sockets that are served this is.
fn owner(bound: &Bound, owners: &HashMap<u64, usize>) -> Option<usize> {
    owners.get(&number(&bound.socket)).copied()
}

/// The number of a socket, which all its descriptors have in common.
pub(super) fn number(socket: &OwnedFd) -> u64 {
    fstat(socket).map_or(0, |found| found.st_ino)
}

/// Lets go of a socket: what is in its queue is served, and so are its connections, until they end.
fn retire(reactor: &mut Reactor<Epoll>, socket: OpenSocket) {
    match socket.socket {
        SocketId::Listener(id) => reactor.retire(id),
        SocketId::Datagram(id) => reactor.retire_datagrams(id),
    }
    if let Some(file) = socket.file {
        file.remove();
    }
}

/// These limits, but for those that stay as they are.
fn in_force(now: &Limits, wanted: &Limits) -> Limits {
    Limits {
        frame: now.frame,
        read_per_turn: now.read_per_turn,
        ..wanted.clone()
    }
}
