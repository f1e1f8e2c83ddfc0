//! The supervisor: what it keeps, and what it does about news of its loop.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::ExitCode;

use anyhow::Context as _;
use log::Level;
use serde_json::json;

use super::channel::{Channel, Packet, Received, file_with};
use super::roster::Roster;
use super::shared::Shared;
use crate::cli::logging::announce;
use crate::cli::serve::Args;
use crate::cli::serve::bindings::Bindings;
use crate::cli::serve::open_socket::{ControlPath, OpenSocket};
use crate::cli::serve::reload::Changes;
use crate::cli::serve::serving::Reading;
use crate::cli::serve::supervisor::Supervisor;
use crate::cli::serve::{poll, taking_over};
use crate::cli::streams::print_in_passing;
use crate::cli::{Configuration, Failure, Outcome, Sources, level_arguments};
use crate::config::limits::{ATTENDANT_RETRY, PROCESS_END_GRACE};
use crate::config::{Limits, format_duration};
use crate::endpoint::{Bound, Rest};
use crate::reactor::{Companion, Epoll, News, Reactor};
use crate::turn::{ConnId, Exit, Moment};
use crate::wire::{FromProcess, SOCKETS_PER_MESSAGE_MAX, SocketDescription, ToProcess, unpacked};

/// So many pings without an answer, and a process is killed: then a whole `WATCHDOG_USEC` is over.
const PINGS_MAX: u32 = 2;

/// What the supervisor has.
pub(super) struct Supervising {
    pub(super) sources: Sources,
    /// How many descriptors a process may have.
    pub(super) nofile: u64,
    /// What each process is started with, besides its number.
    pub(super) arguments: Vec<OsString>,
    pub(super) supervisor: Supervisor,
    pub(super) control: Option<OpenSocket>,
    pub(super) shared: Vec<Shared>,
    /// As it is in force.
    pub(super) configuration: Configuration,
    /// What the files and hosts were that it names, in memory.
    pub(super) record: OwnedFd,
    pub(super) reading: Reading,
    /// The processes that are to follow a reload.
    pub(super) following: Option<Following>,
    pub(super) taker: Option<ConnId>,
    pub(super) roster: Roster,
    pub(super) members: Vec<Member>,
    /// Those whose clients go to others, since they did not hold.
    resting: BTreeSet<usize>,
    /// When systemd is to be told again that the loop turns.
    pub(super) watchdog_at: Option<Moment>,
    pub(super) stage: Stage,
}

/// A process, as far as it is there.
#[derive(Debug, Default)]
pub(super) struct Member {
    pub(super) companion: Option<Companion>,
    pub(super) channel: Option<Channel>,
    /// Pings that it has not answered.
    pub(super) unanswered: u32,
}

/// How far the server is.
pub(super) enum Stage {
    /// Its processes prepare: nothing is served before all could.
    Preparing(Box<Preparing>),
    Serves,
    /// Another server has its sockets, and processes that end are not replaced.
    Released,
    /// It stops.
    Stops,
    /// It could not begin.
    Failed(Failure),
}

/// What is done when all processes could serve.
pub(super) struct Preparing {
    bound: Vec<Bound>,
    bindings: Bindings,
    control: ControlPath,
    is_instead: bool,
    json: bool,
}

/// A reload that is under way in the processes.
pub(super) struct Following {
    /// Those that have not answered.
    pub(super) left: BTreeSet<usize>,
    pub(super) until: Moment,
    pub(super) changes: Changes,
}

/// Serves what was bound by processes; `of_commands` is the limit on descriptors that commands have.
pub(in crate::cli::serve) fn run(
    args: Args,
    configuration: Configuration,
    mut bindings: Bindings,
    control: ControlPath,
    (of_commands, nofile): (Option<u64>, u64),
) -> Outcome {
    let processes = configuration.processes;
    let audit = args.audit.as_deref().or(configuration.log.audit.as_deref());
    let (epoll, audit) = poll::open(None, of_commands, audit)?;
    // It lets processes finish that let connections finish.
    let limits = Limits {
        drain_timeout: configuration.limits.drain_timeout + PROCESS_END_GRACE,
        ..configuration.limits.clone()
    };
    let mut reactor = Reactor::new(epoll, limits, bindings.connections_max as usize);
    reactor.wait_for_others(true);
    let (mut shared, mut all) = (Vec::new(), Vec::new());
    let bound = std::mem::take(&mut bindings.bound);
    for (bound, beside) in bound.into_iter().zip(std::mem::take(&mut bindings.beside)) {
        let (one, sockets) =
            Shared::of_bound(bound, beside, processes).context("cannot keep a socket")?;
        shared.push(one);
        all.extend(sockets);
    }
    let record = bindings.record.take().unwrap_or_default();
    let record = file_with(record.as_bytes()).context("cannot make a file in memory")?;
    let mut supervising = Supervising {
        arguments: arguments(&args),
        nofile,
        supervisor: Supervisor::find(),
        control: None,
        shared,
        record,
        reading: Reading::Rests,
        following: None,
        taker: None,
        roster: Roster::new(processes, reactor.now()),
        members: (0..processes).map(|_| Member::default()).collect(),
        resting: BTreeSet::new(),
        watchdog_at: None,
        configuration,
        sources: args.sources,
        stage: Stage::Preparing(Box::new(Preparing {
            bound: all,
            bindings,
            control,
            is_instead: args.take_over,
            json: args.json,
        })),
    };
    audit.begin(&mut reactor);
    supervising.start_due(&mut reactor);
    supervising.wind(&mut reactor);
    let served = reactor.run_with(|reactor, news| {
        supervising.hear(reactor, news);
        supervising.wind(reactor);
    });
    supervising.end(&mut reactor);
    served.context("the poll failed")?;
    match supervising.stage {
        Stage::Failed(failure) => Err(failure),
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// What a process is started with.
fn arguments(args: &Args) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = vec!["process".into()];
    arguments.extend(level_arguments());
    if let Some(spin) = args.spin {
        arguments.extend(["--spin".into(), format_duration(spin).into()]);
    }
    if let Some(audit) = &args.audit {
        arguments.extend(["--audit".into(), audit.into()]);
    }
    arguments
}

impl Supervising {
    fn hear(&mut self, reactor: &mut Reactor<Epoll>, news: News) {
        match news {
            News::Ready(number) => match of_number(number) {
                Watched::End(n) => self.look_after(reactor, n),
                Watched::Channel(n) => self.listen(reactor, n),
            },
            News::Alarm => self.act_by_the_clock(reactor),
            News::Reload => {
                self.tell_all(reactor, &ToProcess::Reopen);
                self.begin_reload(reactor);
            }
            News::Report => self.tell_all(reactor, &ToProcess::Report),
            News::Helper(helped) => self.end_reload(reactor, &helped),
            News::HandOver(id, wanted) => self.hand_over(reactor, id, wanted),
            News::Stopping => self.stop(reactor),
            // It serves no such service.
            News::Figures(_) => {}
        }
    }

    /// Asks to be told when something is to be done.
    fn wind(&self, reactor: &mut Reactor<Epoll>) {
        let roster = self.roster.due().filter(|_| self.starts_processes());
        let following = self.following.as_ref().map(|following| following.until);
        let all = [roster, following, self.watchdog_at];
        reactor.alarm_at(all.into_iter().flatten().min());
    }

    fn act_by_the_clock(&mut self, reactor: &mut Reactor<Epoll>) {
        let now = reactor.now();
        if self.starts_processes() {
            while let Some(n) = self.roster.late(now) {
                log::error!(process = n + 1; "a process that should serve by now does not, and is killed");
                self.kill(reactor, n);
                self.roster.put_off(n, now);
            }
            self.start_due(reactor);
        }
        if let Some(following) = self.following.as_ref().filter(|f| f.until <= now) {
            for n in following.left.clone() {
                log::error!(process = n + 1; "a process does not read its configuration again, and is replaced");
                self.kill(reactor, n);
            }
            self.following = None;
            self.finish_reload(reactor, None);
        }
        if self.watchdog_at.is_some_and(|at| at <= now) {
            self.watch(reactor);
        }
    }

    /// Whether processes that end are replaced.
    fn starts_processes(&self) -> bool {
        matches!(self.stage, Stage::Preparing(_) | Stage::Serves)
    }

    fn start_due(&mut self, reactor: &mut Reactor<Epoll>) {
        let now = reactor.now();
        while let Some(n) = self.roster.to_start(now) {
            match self.start(reactor, n) {
                Ok(()) => self.roster.started(n, now),
                Err(error) => {
                    let wait = self.roster.ended(n, now);
                    log::error!(process = n + 1, error:%, wait:?; "a process cannot be started");
                    if let Stage::Preparing(_) = self.stage {
                        let why = format!("process {} cannot be started: {error}", n + 1);
                        return self.fail(reactor, anyhow::anyhow!(why).into());
                    }
                }
            }
        }
    }

    fn start(&mut self, reactor: &mut Reactor<Epoll>, n: usize) -> io::Result<()> {
        let (channel, its) = Channel::pair()?;
        let record = self.record.try_clone()?;
        let mut arguments = self.arguments.clone();
        arguments.extend(["--number".into(), (n + 1).to_string().into()]);
        // What a reload has left as it was is not what the file says by now.
        if let Some(bus) = &self.configuration.bus {
            arguments.extend(["--replicas".into(), bus.replicas.to_string().into()]);
            arguments.extend(["--lease".into(), format_duration(bus.lease).into()]);
        }
        let sources = Sources {
            processes: Some(self.configuration.processes),
            ..self.sources.clone()
        };
        arguments.extend(sources.as_arguments());
        reactor.watch_for(&channel, Watched::Channel(n).number())?;
        let companion = reactor.start_companion(&arguments, &its, Watched::End(n).number())?;
        self.members[n] = Member {
            companion: Some(companion),
            channel: Some(channel),
            unanswered: 0,
        };
        self.give(reactor, n, |_| true);
        self.tell(reactor, n, &ToProcess::Begin, &[record.as_fd()]);
        Ok(())
    }

    /// Gives a process its sockets of these endpoints.
    pub(super) fn give(
        &mut self,
        reactor: &mut Reactor<Epoll>,
        n: usize,
        which: impl Fn(&Shared) -> bool,
    ) {
        let given = self.shared.iter().filter(|shared| which(shared));
        let sockets = given.filter_map(|shared| {
            let socket = shared.of(n)?.try_clone();
            Some(socket.map(|socket| (shared.description(), socket)))
        });
        let all: Vec<(SocketDescription, OwnedFd)> = match sockets.collect() {
            Ok(all) => all,
            Err(error) => {
                let error: io::Error = error;
                return log::error!(process = n + 1, error:%; "its sockets cannot be passed on");
            }
        };
        for some in all.chunks(SOCKETS_PER_MESSAGE_MAX) {
            let message = ToProcess::Sockets {
                sockets: some.iter().map(|(which, _)| which.clone()).collect(),
            };
            let sockets: Vec<BorrowedFd<'_>> = some.iter().map(|(_, fd)| fd.as_fd()).collect();
            self.tell(reactor, n, &message, &sockets);
        }
    }

    pub(super) fn tell(
        &mut self,
        reactor: &mut Reactor<Epoll>,
        n: usize,
        message: &ToProcess,
        beside: &[BorrowedFd<'_>],
    ) {
        let Some(channel) = &mut self.members[n].channel else {
            return;
        };
        if let Err(error) = channel.send(message, beside) {
            log::error!(process = n + 1, error:%; "a process cannot be told anything, and is killed");
            self.kill(reactor, n);
        }
    }

    pub(super) fn tell_all(&mut self, reactor: &mut Reactor<Epoll>, message: &ToProcess) {
        for n in 0..self.members.len() {
            self.tell(reactor, n, message, &[]);
        }
    }

    /// Its end is told as that of one that died.
    pub(super) fn kill(&self, reactor: &mut Reactor<Epoll>, n: usize) {
        if let Some(companion) = &self.members[n].companion {
            reactor.kill_companion(companion);
        }
    }

    /// Something has become of a process: perhaps its end.
    fn look_after(&mut self, reactor: &mut Reactor<Epoll>, n: usize) {
        let Some(companion) = &self.members[n].companion else {
            return;
        };
        let exit = match reactor.ended(companion) {
            Ok(None) => return,
            Ok(Some(exit)) => exit,
            Err(error) => return log::error!(process = n + 1, error:%; "cannot be waited for"),
        };
        // What it said last.
        self.listen(reactor, n);
        let member = std::mem::take(&mut self.members[n]);
        if let Some(companion) = member.companion {
            reactor.reap_companion(companion);
        }
        if let Some(following) = &mut self.following {
            following.left.remove(&n);
        }
        self.ended(reactor, n, exit);
        self.finish_following(reactor);
    }

    fn ended(&mut self, reactor: &mut Reactor<Epoll>, n: usize, exit: Exit) {
        let wait = self.roster.ended(n, reactor.now());
        match self.stage {
            Stage::Preparing(_) => {
                let why = format!("process {} has ended before it could serve: {exit}", n + 1);
                self.fail(reactor, anyhow::anyhow!(why).into());
            }
            Stage::Serves => {
                log::warn!(process = n + 1, exit:%, wait:?; "a process has ended; another is started");
                // Once, its clients wait for the next one. If that does not hold, they are not to wait for longer and
                // longer.
                if wait > ATTENDANT_RETRY && self.resting.insert(n) {
                    self.rest(n);
                }
                self.supervisor.status(&self.status());
            }
            Stage::Released | Stage::Stops | Stage::Failed(_) => {
                let is_last = self.members.iter().all(|member| member.companion.is_none());
                reactor.wait_for_others(!is_last);
            }
        }
    }

    fn rest(&self, n: usize) {
        for shared in &self.shared {
            if let Err(error) = shared.rest(n) {
                log::error!(process = n + 1, endpoint:% = shared.endpoint, error:%; "its queue cannot be given up");
            }
        }
        log::warn!(process = n + 1; "new connections go to the other processes until it serves again");
    }

    fn end_rest(&mut self, n: usize) {
        if self.resting.remove(&n) {
            for shared in &self.shared {
                if let Err(error) = shared.listen_again(n) {
                    log::error!(process = n + 1, endpoint:% = shared.endpoint, error:%; "it cannot listen again");
                }
            }
        }
    }

    /// Hears what a process says.
    fn listen(&mut self, reactor: &mut Reactor<Epoll>, n: usize) {
        loop {
            let Some(channel) = &mut self.members[n].channel else {
                return;
            };
            let heard = channel.flush().and_then(|()| channel.receive());
            let heard = heard.and_then(|received| match received {
                Received::Packet(packet) => Ok(Some((unpacked(&packet.bytes)?, packet))),
                Received::Nothing => Ok(None),
                Received::End => Err(io::ErrorKind::UnexpectedEof.into()),
            });
            match heard {
                Ok(Some((message, packet))) => self.answer(reactor, n, message, &packet),
                Ok(None) => return,
                Err(error) => {
                    self.members[n].channel = None;
                    if error.kind() != io::ErrorKind::UnexpectedEof {
                        log::error!(process = n + 1, error:%; "a process is not understood, and is killed");
                        self.kill(reactor, n);
                    }
                    return;
                }
            }
        }
    }

    fn answer(
        &mut self,
        reactor: &mut Reactor<Epoll>,
        n: usize,
        message: FromProcess,
        packet: &Packet,
    ) {
        match message {
            FromProcess::Ready => self.ready(reactor, n),
            FromProcess::Failed { problems } => match self.stage {
                Stage::Preparing(_) => {
                    self.fail(reactor, anyhow::anyhow!(problems.join("\n")).into());
                }
                _ => {
                    for problem in problems {
                        log::error!(process = n + 1; "a process cannot serve: {problem}");
                    }
                }
            },
            FromProcess::Reloaded {
                opened,
                changed,
                vanished,
            } => {
                if let Some(following) = &mut self.following {
                    following.left.remove(&n);
                    following.changes = Changes {
                        opened,
                        changed,
                        vanished,
                    };
                }
                self.finish_following(reactor);
            }
            FromProcess::NotReloaded { problems } => {
                for problem in problems {
                    log::error!(process = n + 1; "a process cannot follow, and is replaced: {problem}");
                }
                self.tell(reactor, n, &ToProcess::Stop, &[]);
                if let Some(following) = &mut self.following {
                    following.left.remove(&n);
                }
                self.finish_following(reactor);
            }
            FromProcess::Alive => self.members[n].unanswered = 0,
            FromProcess::AskFigures => {
                let of = self.roster.states();
                self.tell(reactor, n, &ToProcess::Told { of }, &[]);
                let to = n as u32 + 1;
                for other in (0..self.members.len()).filter(|other| *other != n) {
                    if self.roster.is_serving(other) {
                        self.tell(reactor, other, &ToProcess::Figures { to }, &[]);
                    }
                }
            }
            FromProcess::Page { to } => {
                let to = (to as usize).wrapping_sub(1);
                if let (Some(file), true) = (packet.descriptors.first(), to < self.members.len()) {
                    let process = n as u32 + 1;
                    self.tell(reactor, to, &ToProcess::Page { process }, &[file.as_fd()]);
                }
            }
        }
    }

    /// A process could serve.
    fn ready(&mut self, reactor: &mut Reactor<Epoll>, n: usize) {
        self.roster.serves(n);
        match self.stage {
            Stage::Serves => {
                self.end_rest(n);
                self.tell(reactor, n, &ToProcess::Go, &[]);
                log::info!(process = n + 1; "a process serves");
                self.supervisor.status(&self.status());
            }
            Stage::Preparing(_) if self.roster.serving() == self.members.len() => {
                self.open(reactor);
            }
            Stage::Preparing(_) | Stage::Released | Stage::Stops | Stage::Failed(_) => {}
        }
    }

    /// All could serve: now everything listens, another server lets go, and they do.
    fn open(&mut self, reactor: &mut Reactor<Epoll>) {
        let Stage::Preparing(preparing) = std::mem::replace(&mut self.stage, Stage::Serves) else {
            return;
        };
        let is_instead = preparing.is_instead;
        if let Err(failure) = self.begin_to_listen(reactor, *preparing) {
            return self.fail(reactor, failure);
        }
        self.tell_all(reactor, &ToProcess::Go);
        announce(Level::Info, "ready", None);
        if is_instead {
            self.supervisor.ready_instead(&self.status());
        } else {
            self.supervisor.ready(&self.status());
        }
        let watchdog = self.supervisor.watchdog();
        self.watchdog_at = watchdog.map(|time| reactor.now().after(time));
    }

    fn begin_to_listen(
        &mut self,
        reactor: &mut Reactor<Epoll>,
        preparing: Preparing,
    ) -> Result<(), Failure> {
        let Preparing {
            bound,
            bindings,
            control,
            json,
            ..
        } = preparing;
        let mut rests: Vec<Rest> = Vec::new();
        for bound in &bound {
            rests.extend(bound.rest().context("cannot take a socket over")?);
            bound
                .begin()
                .with_context(|| format!("{}: cannot listen", bound.endpoint))?;
        }
        self.control = control.open(reactor, bindings.control)?;
        let own = self.control.iter_mut().filter_map(|own| own.file.as_mut());
        let files = self.shared.iter_mut().filter_map(|one| one.file.as_mut());
        taking_over::finish(bindings.asked, bindings.handed, files.chain(own), rests)?;
        let urls = self.shared.iter().map(|one| one.endpoint.to_string());
        let urls: Vec<String> = urls.collect();
        for url in &urls {
            announce(Level::Info, "listening", Some(url));
        }
        if json {
            let pids = self.members.iter().map(|member| &member.companion);
            let pids: Vec<u32> = pids.flatten().map(Companion::pid).collect();
            print_in_passing(json!({
                "listening": urls,
                "connections_max": bindings.connections_max,
                "processes": pids,
            }))?;
        }
        Ok(())
    }

    fn fail(&mut self, reactor: &mut Reactor<Epoll>, failure: Failure) {
        // The first reason is the reason.
        if !matches!(self.stage, Stage::Failed(_)) {
            self.stage = Stage::Failed(failure);
            reactor.stop_now();
        }
    }

    /// Tells systemd that the loop turns, and looks whether those of the processes do.
    fn watch(&mut self, reactor: &mut Reactor<Epoll>) {
        for n in 0..self.members.len() {
            if !self.roster.is_serving(n) {
                continue;
            }
            if self.members[n].unanswered >= PINGS_MAX {
                log::error!(process = n + 1; "the loop of a process does not turn, and it is killed");
                self.kill(reactor, n);
            } else {
                self.members[n].unanswered += 1;
                self.tell(reactor, n, &ToProcess::Ping, &[]);
            }
        }
        self.supervisor.alive();
        let watchdog = self.supervisor.watchdog();
        self.watchdog_at = watchdog.map(|time| reactor.now().after(time));
    }

    /// In a line, for systemd.
    pub(super) fn status(&self) -> String {
        let (endpoints, all) = (self.shared.len(), self.members.len());
        let what = match endpoints {
            0 => "serving nothing".into(),
            1 => "serving 1 endpoint".into(),
            more => format!("serving {more} endpoints"),
        };
        match self.roster.serving() {
            serving if serving == all => format!("{what} with {all} processes"),
            serving => format!("{what} with {serving} of {all} processes"),
        }
    }

    /// Everything stops: processes accept what is in their queues, which close with them.
    fn stop(&mut self, reactor: &mut Reactor<Epoll>) {
        if matches!(self.stage, Stage::Preparing(_) | Stage::Serves) {
            self.supervisor.stopping();
        }
        self.stage = Stage::Stops;
        self.tell_all(reactor, &ToProcess::Stop);
        self.shared.iter_mut().for_each(Shared::close);
        let is_alone = self.members.iter().all(|member| member.companion.is_none());
        reactor.wait_for_others(!is_alone);
    }

    /// The loop is over, and no process outlives it.
    fn end(&mut self, reactor: &mut Reactor<Epoll>) {
        self.tell_all(reactor, &ToProcess::StopNow);
        for (n, member) in self.members.iter_mut().enumerate() {
            let Some(companion) = member.companion.take() else {
                continue;
            };
            reactor.wait_for_end(&companion, PROCESS_END_GRACE);
            if !matches!(reactor.ended(&companion), Ok(Some(_))) {
                log::warn!(process = n + 1; "a process did not end in time, and is killed");
                reactor.kill_companion(&companion);
            }
            reactor.reap_companion(companion);
        }
    }
}

/// What the loop watches for the supervisor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Watched {
    End(usize),
    Channel(usize),
}

impl Watched {
    fn number(self) -> u32 {
        match self {
            Watched::End(n) => 2 * n as u32,
            Watched::Channel(n) => 2 * n as u32 + 1,
        }
    }
}

fn of_number(number: u32) -> Watched {
    let n = number as usize / 2;
    match number % 2 {
        0 => Watched::End(n),
        _ => Watched::Channel(n),
    }
}
