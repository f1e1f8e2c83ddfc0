//! One of several processes: it serves what its supervisor gives it, and says how it is.
//!
//! It reads no file, resolves no name and binds nothing: what its configuration says, and the sockets, come through
//! its standard input. When that ends, so does the server, in the order of a SIGTERM.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use jiff::tz::TimeZone;
use rustix::fs::{Mode, OFlags, open};
use rustix::io::fcntl_dupfd_cloexec;
use rustix::net::SocketType;
use rustix::net::sockopt::socket_type;
use rustix::stdio::{dup2_stdin, stdin};
use zeroize::Zeroizing;

use super::channel::{Channel, Packet, Received, file_with};
use super::collecting::Collecting;
use crate::cli::audit::Audit;
use crate::cli::serve::learnt::Learnt;
use crate::cli::serve::making::Making;
use crate::cli::serve::open_socket::OpenSocket;
use crate::cli::serve::reload::number;
use crate::cli::serve::serving::{Reading, Serving};
use crate::cli::serve::supervisor::Supervisor;
use crate::cli::serve::{keeping, poll};
use crate::cli::verdict::Verdict;
use crate::cli::{Configuration, Failure, Outcome, Sources, log_level, logging};
use crate::config::limits::FIGURES_TIMEOUT;
use crate::config::{
    BusOptions, Lookups, descriptor_limit, parse_duration, raise_descriptor_limit,
};
use crate::endpoint::{Bound, Handed, Intent, Judged};
use crate::reactor::{Epoll, News, Reactor, SocketId, close_on_exec};
use crate::service::Occasion;
use crate::turn::ConnId;
use crate::wire::{Encode as _, FromProcess, SocketDescription, ToProcess, unpacked};

/// The descriptors above the standard ones.
const FIRST_OWN: i32 = 3;

/// The number under which the loop watches the channel.
const CHANNEL: u32 = 0;

/// What is said when what comes through the channel makes no sense: both ends are the same program.
const NOT_UNDERSTOOD: &str = "the supervisor is not understood";

/// Sockets, and which they are.
type Given = Vec<(SocketDescription, OwnedFd)>;

/// They, and what the configuration says.
type Told = (Given, Zeroizing<Vec<u8>>);

/// Serve what a supervisor gives
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    #[command(flatten)]
    sources: Sources,

    /// Which of the processes this is, from 1
    #[arg(long)]
    number: u32,

    #[arg(long, value_parser = parse_duration)]
    spin: Option<Duration>,

    #[arg(long)]
    audit: Option<String>,

    #[arg(long)]
    replicas: Option<u32>,

    #[arg(long, value_parser = parse_duration)]
    lease: Option<Duration>,
}

/// What it has besides what every server has.
struct Member {
    number: u32,
    channel: Channel,
    serving: Serving,
    /// Sockets that have come for the next reload.
    given: Given,
    collecting: Option<Collecting>,
}

/// Runs it.
pub(in crate::cli) fn run(args: Args) -> Outcome {
    let mut channel = take_channel()?;
    let Some((given, record)) = hear_what_to_serve(&mut channel)? else {
        return Ok(ExitCode::SUCCESS);
    };
    let prepared = prepare(&args, given, &record);
    drop(record);
    let (mut reactor, serving, audit) = match prepared {
        Ok(prepared) => prepared,
        Err(failure) => {
            let problems = failure.into_problems();
            send(&mut channel, &FromProcess::Failed { problems }, &[])?;
            return Ok(ExitCode::FAILURE);
        }
    };
    send(&mut channel, &FromProcess::Ready, &[])?;
    if !may_go(&mut channel)? {
        return Ok(ExitCode::SUCCESS);
    }
    reactor
        .watch_for(&channel, CHANNEL)
        .context("cannot watch the channel to the supervisor")?;
    audit.begin(&mut reactor);
    let mut member = Member {
        number: args.number,
        channel,
        serving,
        given: Vec::new(),
        collecting: None,
    };
    // What came before it was watched.
    member.listen(&mut reactor);
    reactor
        .run_with(|reactor, news| member.hear(reactor, news))
        .context("the poll failed")?;
    Ok(ExitCode::SUCCESS)
}

/// Standard input is the channel to the supervisor, and nothing afterwards.
fn take_channel() -> Result<Channel, Failure> {
    let not_ours = "this is for the server itself: `onepoll serve --processes N`";
    let socket = fcntl_dupfd_cloexec(stdin(), FIRST_OWN).context(not_ours)?;
    let is_channel = socket_type(&socket) == Ok(SocketType::SEQPACKET);
    if !is_channel {
        return Err(Failure::usage(not_ours));
    }
    let null = open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    dup2_stdin(null.context("cannot open /dev/null")?).context("cannot replace standard input")?;
    Ok(Channel::over(socket))
}

/// The sockets, and what the configuration says; nothing, if the supervisor stops before.
fn hear_what_to_serve(channel: &mut Channel) -> Result<Option<Told>, Failure> {
    let mut given = Given::new();
    loop {
        let heard = channel.wait().context(NOT_UNDERSTOOD)?;
        let Some(packet) = heard else {
            return Ok(None);
        };
        match unpacked(&packet.bytes).context(NOT_UNDERSTOOD)? {
            ToProcess::Sockets { sockets } => {
                given.extend(sockets.into_iter().zip(packet.descriptors));
            }
            ToProcess::Begin => {
                let record = packet.content().context(NOT_UNDERSTOOD)?;
                return Ok(Some((given, record)));
            }
            _ => return Ok(None),
        }
    }
}

/// Waits until it may serve; not, if the supervisor stops before.
fn may_go(channel: &mut Channel) -> Result<bool, Failure> {
    loop {
        let Some(packet) = channel.wait().context(NOT_UNDERSTOOD)? else {
            return Ok(false);
        };
        match unpacked(&packet.bytes).context(NOT_UNDERSTOOD)? {
            ToProcess::Go => return Ok(true),
            ToProcess::Reopen | ToProcess::Report => {}
            // What it prepared to serve is not what it should serve: another process is started.
            _ => return Ok(false),
        }
    }
}

/// Stops in the order of a SIGTERM.
fn drain(reactor: &mut Reactor<Epoll>) {
    if let Err(error) = reactor.drain() {
        log::error!(error:%; "the loop cannot be woken to stop, and stops at once");
        reactor.stop_now();
    }
}

fn send(
    channel: &mut Channel,
    message: &FromProcess,
    beside: &[BorrowedFd<'_>],
) -> Result<(), Failure> {
    Ok(channel
        .send(message, beside)
        .context("the supervisor does not listen")?)
}

/// Everything that is needed to serve.
fn prepare(
    args: &Args,
    given: Given,
    record: &[u8],
) -> Result<(Reactor<Epoll>, Serving, Audit), Failure> {
    let mut lookups = Lookups::replay(record).ok_or_else(|| anyhow!(NOT_UNDERSTOOD))?;
    let file = args.sources.file(&mut lookups)?;
    logging::of_process(args.number);
    logging::begin(log_level(file.log.level), file.log.format);
    let configuration = args.sources.complete(file)?;
    close_on_exec().context("cannot read the list of open descriptors")?;
    let (of_commands, nofile) = (descriptor_limit(), raise_descriptor_limit());
    logging::take_own_stderr();
    let made = |bus: BusOptions| BusOptions {
        replicas: args.replicas.unwrap_or(bus.replicas),
        lease: args.lease.unwrap_or(bus.lease),
        ..bus
    };
    let configuration = Configuration {
        limits: configuration.limits_of_one(),
        bus: configuration.bus.map(made),
        ..configuration
    };
    let bus = configuration.look_up_bus(&mut lookups)?;
    let (endpoints, limits) = (&configuration.endpoints, &configuration.limits);
    let judged = Judged::again(endpoints, limits, nofile, lookups);
    let judged = configuration.judge(judged);
    let learnt = Learnt::of(&judged.lookups().record());
    let numbered = (0..).zip(given);
    let sockets = numbered.map(|(n, (description, socket))| (n, description, socket));
    let mut handed = Handed::of(sockets).everything();
    let opening = judged.bind(Intent::Serve, &mut handed);
    drop(handed);
    if let Some(failure) = Verdict::of(&configuration, &opening).failure() {
        return Err(failure);
    }
    let connections_max = opening.connections_max?;
    let audit = args.audit.as_deref().or(configuration.log.audit.as_deref());
    let (epoll, audit) = poll::open(args.spin, of_commands, audit)?;
    let policies = keeping::policies(&opening.bound);
    let epoll = keeping::prepare(epoll, &policies)?;
    let mut reactor = Reactor::new(epoll, limits.clone(), connections_max as usize);
    reactor.join(args.number);
    let own = opening.bound.iter().filter_map(Bound::datagram_address);
    let own: Vec<SocketAddr> = own.collect();
    let making = Making {
        limits,
        zone: &TimeZone::system(),
        bus: bus.as_ref(),
        own: &own,
        processes: configuration.processes,
        occasion: Occasion::Start,
    };
    let mut sockets: Vec<OpenSocket> = Vec::new();
    for bound in opening.bound {
        sockets.push(making.open(&mut reactor, bound)?);
    }
    if !policies.is_empty() {
        keeping::begin(&mut reactor)?;
    }
    let serving = Serving {
        sources: args.sources.clone(),
        nofile,
        supervisor: Supervisor::default(),
        sockets,
        learnt,
        reading: Reading::Rests,
        is_member: true,
        taker: None,
        bus,
        configuration,
    };
    Ok((reactor, serving, audit))
}

impl Member {
    fn hear(&mut self, reactor: &mut Reactor<Epoll>, news: News) {
        match news {
            News::Ready(_) => self.listen(reactor),
            News::Figures(id) => self.collect(reactor, id),
            News::Alarm => self.tell_figures(reactor),
            News::Reload => log::warn!(
                "SIGHUP was ignored: it is for the supervisor, which has all processes read the configuration again"
            ),
            // It asks for no helper, has no control socket, and its supervisor speaks to others.
            News::Helper(_) | News::HandOver(..) | News::Report | News::Stopping => {}
        }
    }

    /// Hears what the supervisor says.
    fn listen(&mut self, reactor: &mut Reactor<Epoll>) {
        loop {
            let received = self.channel.flush().and_then(|()| self.channel.receive());
            let heard = received.and_then(|received| match received {
                Received::Packet(packet) => Ok(Some((unpacked(&packet.bytes)?, packet))),
                Received::Nothing => Ok(None),
                Received::End => Err(io::ErrorKind::UnexpectedEof.into()),
            });
            match heard {
                Ok(Some((message, packet))) => self.obey(reactor, message, packet),
                Ok(None) => return,
                Err(error) => {
                    if !reactor.is_stopping() {
                        log::error!(error:%; "the supervisor is gone, and so is this process when its connections have finished");
                    }
                    self.tell_figures(reactor);
                    return drain(reactor);
                }
            }
        }
    }

    fn obey(&mut self, reactor: &mut Reactor<Epoll>, message: ToProcess, packet: Packet) {
        match message {
            ToProcess::Sockets { sockets } => {
                self.given
                    .extend(sockets.into_iter().zip(packet.descriptors));
            }
            ToProcess::Reload => self.reload(reactor, &packet),
            ToProcess::Reopen => reactor.reopen_files(),
            ToProcess::Report => reactor.print_counters(),
            ToProcess::Release { taken } => {
                let is_taken = |socket: &&OpenSocket| {
                    let again = reactor.duplicate(socket.socket).ok().flatten();
                    again.is_some_and(|again| taken.contains(&number(&again)))
                };
                let taken = self.serving.sockets.iter().filter(is_taken);
                let taken: Vec<SocketId> = taken.map(|socket| socket.socket).collect();
                reactor.let_go_of(&taken);
            }
            ToProcess::Stop => drain(reactor),
            ToProcess::StopNow => reactor.stop_now(),
            ToProcess::Ping => self.say(&FromProcess::Alive, None),
            ToProcess::Figures { to } => {
                let mut page = Vec::new();
                reactor.figures().encode(&mut page);
                match file_with(&page) {
                    Ok(file) => self.say(&FromProcess::Page { to }, Some(&file)),
                    Err(error) => log::error!(error:%; "the figures cannot be told"),
                }
            }
            ToProcess::Told { of } => {
                if let Some(collecting) = &mut self.collecting {
                    collecting.told(of);
                }
                self.tell_figures_if_complete(reactor);
            }
            ToProcess::Page { process } => {
                if let (Some(collecting), Ok(page)) = (&mut self.collecting, packet.content()) {
                    collecting.page(process, page.to_vec());
                }
                self.tell_figures_if_complete(reactor);
            }
            // It has begun, and goes.
            ToProcess::Begin | ToProcess::Go => {}
        }
    }

    fn say(&mut self, message: &FromProcess, file: Option<&OwnedFd>) {
        let beside: Vec<BorrowedFd<'_>> = file.iter().map(|file| file.as_fd()).collect();
        if let Err(error) = self.channel.send(message, &beside) {
            log::error!(error:%; "the supervisor does not listen");
        }
    }

    fn reload(&mut self, reactor: &mut Reactor<Epoll>, packet: &Packet) {
        let given = std::mem::take(&mut self.given);
        let lookups = match packet.content() {
            Ok(record) => Lookups::replay(&record).ok_or_else(|| NOT_UNDERSTOOD.to_owned()),
            Err(error) => Err(error.to_string()),
        };
        let reloaded = lookups
            .map_err(|problem| vec![problem])
            .and_then(|lookups| self.serving.reload(reactor, lookups, given));
        match reloaded {
            Ok(changes) => {
                reactor.audit_reload(None);
                let reloaded = FromProcess::Reloaded {
                    opened: changes.opened,
                    changed: changes.changed,
                    vanished: changes.vanished,
                };
                self.say(&reloaded, None);
            }
            Err(problems) => {
                reactor.audit_reload(Some(&problems.join("; ")));
                self.say(&FromProcess::NotReloaded { problems }, None);
            }
        }
    }

    /// A service asks for the figures of all.
    fn collect(&mut self, reactor: &mut Reactor<Epoll>, id: ConnId) {
        if let Some(collecting) = &mut self.collecting {
            return collecting.asked.push(id);
        }
        let until = reactor.now().after(FIGURES_TIMEOUT);
        self.collecting = Some(Collecting::new(id));
        reactor.alarm_at(Some(until));
        self.say(&FromProcess::AskFigures, None);
    }

    fn tell_figures_if_complete(&mut self, reactor: &mut Reactor<Epoll>) {
        let is_complete = |collecting: &Collecting| collecting.is_complete(self.number);
        if self.collecting.as_ref().is_some_and(is_complete) {
            self.tell_figures(reactor);
        }
    }

    /// Tells those who asked what has come.
    fn tell_figures(&mut self, reactor: &mut Reactor<Epoll>) {
        let Some(mut collecting) = self.collecting.take() else {
            return;
        };
        reactor.alarm_at(None);
        let asked = std::mem::take(&mut collecting.asked);
        let page = collecting.into_page(self.number, reactor.figures());
        for id in asked {
            reactor.tell_page(id, &page);
        }
    }
}
