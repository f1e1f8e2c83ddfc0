//! Rooms on a bus: several loops, a scripted NATS between them, and people who speak. A seed decides what is delayed,
//! refused, cut off, kept and not told; the invariants of every loop are looked at after each of its turns.
//!
//! A small world of its own: here loops share a clock, and what matters is not the kernel but what becomes of a line.

mod hazards;
mod nats;
mod people;
mod seeds;
mod tls;

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsString;
use std::io::{self, IoSlice};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use onepoll::config::{Limits, Written};
use onepoll::reactor::{
    HandedOver, ListenerId, ListenerOptions, Os, Reactor, Readiness, Received, Secure, Seen,
    ServiceId, Signal, Source, Spawned, Token, TracedBytes, Woke,
};
use onepoll::service::{Bus, BusLogin, BusServer, Chat, Peer, Terms, chat};
use onepoll::turn::{Exit, Job, Moment, Severity, Usage};
use onepoll::wire::CommandSignal;

use self::hazards::Hazard;
use self::nats::{Nats, Says, Way};
use crate::kernel::{MILLI, SECOND};
use crate::random::Random;
use crate::sealed::{StandIn, StandInClient};

/// How long a name is somebody's when its server is dead.
const LEASE: u64 = 15 * SECOND;

/// How long the bus may be away before people are told.
const PATIENCE: u64 = 20 * SECOND;

/// The line by which they are.
const ALONE: &str =
    "* the bus is away: only people of this server hear you; what you say is kept for the others";

/// So many turns at one moment are too many.
const TURNS_MAX: u32 = 10_000;

/// What a person who reads slowly has room for.
const ROOM_BYTES: usize = 256;

/// One of several loops, as its system calls see the world.
#[derive(Debug, Clone)]
struct BusOs {
    world: Rc<RefCell<World>>,
    server: usize,
}

#[derive(Debug)]
struct World {
    now: u64,
    random: Random,
    wires: Vec<Wire>,
    servers: Vec<Server>,
    nats: Nats,
    /// What happens by itself, and when.
    agenda: BTreeMap<(u64, u64), Due>,
    agenda_len: u64,
    /// What becomes of the next dials; answered otherwise.
    dials: VecDeque<Dialled>,
    /// How often something goes wrong, of 256.
    faults: u8,
    /// What is said is printed.
    is_traced: bool,
    /// A connection to the bus is cut when so much more was said by it, and by the bus.
    severs: [Option<usize>; 2],
}

#[derive(Debug, Default)]
struct Server {
    /// Until when its dials are refused.
    away_until: u64,
    seen: Vec<Seen>,
    listener: Option<Token>,
    waiting: VecDeque<usize>,
    until: u64,
    signals: Vec<Signal>,
}

/// A connection: of a person to a server, or of a server to the bus.
#[derive(Debug)]
struct Wire {
    server: usize,
    token: Option<Token>,
    is_bus: bool,
    /// Which of the servers of the bus it is to.
    to: u16,
    /// What the peer of the server says.
    up: VecDeque<u8>,
    is_over: bool,
    /// What a person has heard.
    heard: Vec<u8>,
    is_closed: bool,
    /// When what the bus was told last arrives, and what it says.
    arrives: [u64; 2],
    /// When the last answer leaves that comes by this way.
    leaves: [u64; 5],
    /// What comes behind a pause in the middle of a frame.
    late: Vec<u8>,
    /// Nothing that is said on it arrives, and neither end knows.
    is_mute: bool,
    /// Whoever hears reads only now and then, and did not take all.
    is_slow: bool,
    is_full: bool,
    dialled: Dialled,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dialled {
    Waits,
    Answered,
    Refused,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Due {
    /// A dial is decided.
    Decided(usize, Dialled),
    /// What a server wrote comes to the bus.
    ToBus(usize, Vec<u8>),
    /// What the bus said comes to a server.
    ToServer(usize, Vec<u8>),
    /// An answer of the bus leaves, which had to come from somewhere else.
    Says(usize, Vec<u8>, Way),
    /// The rest of what the bus said comes.
    Late(usize),
    /// A connection to the bus is cut.
    Cut(usize),
    /// The bus learns that a server has ended a connection.
    Gone(usize),
    /// Whoever leads has all.
    CatchesUp,
    /// A server that died begins anew.
    Starts(usize),
    Beat,
    Leads(bool),
    Speaks(bool),
    Person(usize),
}

impl World {
    fn plan(&mut self, wait: u64, due: Due) {
        self.plan_at(self.now + wait, due);
    }

    fn plan_at(&mut self, at: u64, due: Due) {
        self.agenda_len += 1;
        self.agenda.insert((at, self.agenda_len), due);
    }

    fn wire(&mut self, server: usize, is_bus: bool) -> usize {
        self.wires.push(Wire {
            server,
            token: None,
            is_bus,
            to: 0,
            up: VecDeque::new(),
            is_over: false,
            heard: Vec::new(),
            is_closed: false,
            arrives: [0; 2],
            leaves: [0; 5],
            late: Vec::new(),
            is_mute: false,
            is_slow: false,
            is_full: false,
            dialled: Dialled::Waits,
        });
        self.wires.len() - 1
    }

    fn tell(&mut self, wire: usize) {
        let Wire { server, token, .. } = self.wires[wire];
        if let Some(token) = token {
            let readiness = self.readiness(wire);
            self.servers[server].seen.push(Seen { token, readiness });
        }
    }

    fn readiness(&self, wire: usize) -> Readiness {
        let wire = &self.wires[wire];
        Readiness {
            readable: !wire.up.is_empty() || wire.is_over,
            read_closed: wire.is_over,
            writable: match wire.is_bus {
                true => wire.dialled != Dialled::Waits,
                false => !wire.is_slow || wire.heard.len() < ROOM_BYTES,
            },
            error: wire.dialled == Dialled::Refused,
            ..Readiness::default()
        }
    }

    /// What the bus has said goes on its way: in the order in which it was said, but for answers.
    fn send_said(&mut self) {
        for Says { to, bytes, way } in std::mem::take(&mut self.nats.says) {
            let leaves = self.wires[to].leaves[way as usize];
            if matches!(way, Way::Bare | Way::Straight) || self.faults == 0 && leaves <= self.now {
                self.send(to, bytes, way);
                continue;
            }
            let wait = match self.faults > 0 && self.random.once_in(8) {
                true => self.random.below(300 * MILLI),
                false => 0,
            };
            let at = leaves.max(self.now + wait);
            if at > self.now {
                self.nats.hazards.count(Hazard::AnswerOvertaken);
                self.wires[to].leaves[way as usize] = at;
                self.plan_at(at, Due::Says(to, bytes, way));
            } else {
                self.send(to, bytes, way);
            }
        }
        for client in std::mem::take(&mut self.nats.ends) {
            let at = self.wires[client].arrives[1].max(self.now);
            self.plan_at(at, Due::Cut(client));
        }
    }

    /// Something that the bus says leaves, in a record if it speaks TLS.
    fn send(&mut self, wire: usize, bytes: Vec<u8>, way: Way) {
        self.trace(wire, "said", &bytes);
        let sealed = match way {
            Way::Bare => Some(bytes),
            _ => self.nats.seals(wire, bytes),
        };
        let Some(mut bytes) = sealed else {
            return;
        };
        let delay = self.delay();
        let at = self.wires[wire].arrives[1].max(self.now + delay);
        self.wires[wire].arrives[1] = at;
        let severs = self.severs(1, &mut bytes);
        self.plan_at(at, Due::ToServer(wire, bytes));
        if severs {
            self.plan_at(at, Due::Cut(wire));
        }
    }

    /// Whether the connection is cut when these bytes, of which no more go, have gone by it.
    fn severs(&mut self, way: usize, bytes: &mut Vec<u8>) -> bool {
        let Some(left) = self.severs[way] else {
            return false;
        };
        if bytes.len() < left {
            self.severs[way] = Some(left - bytes.len());
            return false;
        }
        bytes.truncate(left);
        self.severs[way] = None;
        true
    }

    /// Whether this goes wrong now; the rarer the greater `rarity` is.
    fn befalls(&mut self, hazard: Hazard, rarity: u64) -> bool {
        let does = self.faults > 0 && self.random.below(256 * rarity) < self.faults.into();
        if does {
            self.nats.hazards.count(hazard);
        }
        does
    }

    fn delay(&mut self) -> u64 {
        match self.faults {
            0 => 0,
            _ if self.random.once_in(20) => self.random.below(500 * MILLI),
            _ => self.random.below(5 * MILLI),
        }
    }

    /// A connection to the bus ends, as both ends will know.
    fn cut(&mut self, wire: usize) {
        self.nats.loses(wire);
        self.wires[wire].is_over = true;
        self.tell(wire);
    }

    /// The connections of this server to the bus that are open.
    fn links(&self, server: usize) -> Vec<usize> {
        let wires = self.wires.iter().enumerate();
        let open = wires.filter(|(_, wire)| {
            let is_its = wire.server == server && wire.is_bus;
            is_its && !wire.is_closed && !wire.is_over && wire.dialled == Dialled::Answered
        });
        open.map(|(n, _)| n).collect()
    }

    fn happens(&mut self, due: Due) {
        match due {
            Due::Decided(wire, dialled) => {
                self.wires[wire].dialled = dialled;
                self.tell(wire);
                if dialled == Dialled::Answered {
                    self.nats.greets(wire);
                }
            }
            Due::ToBus(wire, bytes) => self.comes_to_bus(wire, &bytes),
            Due::ToServer(wire, bytes) => self.comes_to_server(wire, bytes),
            Due::Says(wire, bytes, way) => self.send(wire, bytes, way),
            Due::Late(wire) => {
                let late = std::mem::take(&mut self.wires[wire].late);
                self.comes_to_server(wire, late);
            }
            Due::Cut(wire) => {
                if !self.wires[wire].is_over && !self.wires[wire].is_closed {
                    self.cut(wire);
                }
            }
            Due::Gone(wire) => {
                self.wires[wire].is_over = true;
                self.nats.loses(wire);
            }
            Due::Beat => {
                self.nats.beats();
                self.plan(SECOND, Due::Beat);
            }
            Due::Leads(false) => {
                self.nats.has_no_leader = true;
                self.nats.hazards.count(Hazard::NoLeader);
            }
            Due::Leads(true) => {
                let behind = match self.faults > 0 && self.random.once_in(2) {
                    true => self.random.some(20) as u64,
                    false => 0,
                };
                if behind > 0 {
                    let wait = self.random.below(4 * SECOND);
                    self.plan(wait, Due::CatchesUp);
                }
                let other = self.random.once_in(2);
                self.nats.elects(other, behind);
                self.nats.deliver();
            }
            Due::CatchesUp => {
                self.nats.behind_by = 0;
                self.nats.deliver();
            }
            Due::Speaks(speaks) => {
                self.nats.is_silent = !speaks;
                self.nats.deliver();
            }
            Due::Person(_) | Due::Starts(_) => unreachable!("this is not for the world to do"),
        }
        self.send_said();
    }

    fn comes_to_bus(&mut self, wire: usize, bytes: &[u8]) {
        if self.wires[wire].is_over || self.wires[wire].is_mute {
            return;
        }
        self.trace(wire, "to the bus", bytes);
        if self.befalls(Hazard::CutInACommand, 64) {
            let part = self.random.index(bytes.len());
            self.nats.hears(wire, &bytes[..part], self.now);
            return self.cut(wire);
        }
        self.nats.hears(wire, bytes, self.now);
        // It is kept, and nobody is told: neither who said it nor who would hear it here.
        if self.befalls(Hazard::KeptUntold, 32) {
            self.nats.says.retain(|says| says.to != wire);
            self.cut(wire);
        }
    }

    fn comes_to_server(&mut self, wire: usize, bytes: Vec<u8>) {
        let Wire {
            is_over,
            is_closed,
            is_mute,
            ..
        } = self.wires[wire];
        if is_over || is_closed || is_mute || bytes.is_empty() {
            return;
        }
        if !self.wires[wire].late.is_empty() {
            return self.wires[wire].late.extend(bytes);
        }
        self.trace(wire, "to the server", &bytes);
        let part = match self.faults > 0 && self.random.once_in(16) {
            true => self.random.index(bytes.len()),
            false => bytes.len(),
        };
        let (first, rest) = bytes.split_at(part);
        self.wires[wire].up.extend(first);
        if !rest.is_empty() {
            if self.befalls(Hazard::CutInAFrame, 2) {
                return self.cut(wire);
            }
            self.nats.hazards.count(Hazard::Torn);
            self.wires[wire].late = rest.to_vec();
            let wait = self.random.below(50 * MILLI);
            self.plan(wait, Due::Late(wire));
        }
        self.tell(wire);
    }

    /// A server ends a connection to the bus, which learns of it behind all that was said before; or a while later, if
    /// it hears nothing any more.
    fn ends(&mut self, wire: usize) {
        let Wire {
            is_mute, arrives, ..
        } = self.wires[wire];
        match is_mute {
            true => self.plan(10 * SECOND, Due::Gone(wire)),
            false => self.plan_at(arrives[0].max(self.now), Due::Gone(wire)),
        }
    }

    fn trace(&self, wire: usize, what: &str, bytes: &[u8]) {
        if self.is_traced {
            let Wire { server, .. } = self.wires[wire];
            let text = String::from_utf8_lossy(bytes);
            let text = text.trim_end().replace("\r\n", " | ").replace('\n', " / ");
            eprintln!(
                "{:10.6} {server} {what} by {wire}: {text}",
                self.now as f64 / 1e9
            );
        }
    }
}

impl Os for BusOs {
    type Listener = ();
    type Stream = usize;
    type Datagram = ();
    type Pipe = ();
    type Process = ();

    fn wait(&mut self, seen: &mut Vec<Seen>, until: Option<Moment>) -> io::Result<Woke> {
        let mut world = self.world.borrow_mut();
        let now = Moment::from_nanos(world.now);
        let server = &mut world.servers[self.server];
        // What a turn leaves undone only the wait behind it tells of.
        server.until = match server.seen.is_empty() {
            true => until.map_or(u64::MAX, Moment::as_nanos),
            false => 0,
        };
        seen.append(&mut server.seen);
        Ok(Woke {
            asleep: now,
            awake: now,
        })
    }

    fn wall(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_nanos(self.world.borrow().now)
    }

    fn watch_listener(&mut self, _: &(), token: Token) -> io::Result<()> {
        self.world.borrow_mut().servers[self.server].listener = Some(token);
        Ok(())
    }

    fn rewatch_listener(&mut self, (): &(), token: Token) -> io::Result<()> {
        self.watch_listener(&(), token)
    }

    fn watch_datagram(&mut self, _: &(), _: Token) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn watch(&mut self, wire: &usize, token: Token) -> io::Result<()> {
        let mut world = self.world.borrow_mut();
        world.wires[*wire].token = Some(token);
        if world.readiness(*wire) != Readiness::default() {
            world.tell(*wire);
        }
        Ok(())
    }

    fn watch_pipe(&mut self, _: &(), _: Token) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn watch_input(&mut self, _: &(), _: Token) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn watch_process(&mut self, _: &(), _: Token) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn accept(&mut self, _: &()) -> io::Result<(usize, Peer)> {
        let mut world = self.world.borrow_mut();
        let wire = world.servers[self.server].waiting.pop_front();
        let wire = wire.ok_or(io::Error::from(io::ErrorKind::WouldBlock))?;
        Ok((wire, Peer::V4(Ipv4Addr::LOCALHOST, 4000)))
    }

    fn has_pending(&mut self, _: &()) -> bool {
        !self.world.borrow().servers[self.server].waiting.is_empty()
    }

    fn close_listener(&mut self, _: ()) {}

    fn connect(&mut self, to: SocketAddr) -> io::Result<usize> {
        let mut world = self.world.borrow_mut();
        let wire = world.wire(self.server, true);
        world.wires[wire].to = to.port();
        let is_away = world.servers[self.server].away_until > world.now;
        let by_chance = if is_away || world.befalls(Hazard::DialRefused, 1) {
            Dialled::Refused
        } else if world.befalls(Hazard::DialUnanswered, 4) {
            Dialled::Waits
        } else {
            Dialled::Answered
        };
        let dialled = world.dials.pop_front().unwrap_or(by_chance);
        if dialled != Dialled::Waits {
            let delay = world.delay();
            world.plan(delay, Due::Decided(wire, dialled));
        }
        Ok(wire)
    }

    fn is_connected(&mut self, wire: &usize) -> io::Result<bool> {
        match self.world.borrow().wires[*wire].dialled {
            Dialled::Waits => Ok(false),
            Dialled::Answered => Ok(true),
            Dialled::Refused => Err(io::ErrorKind::ConnectionRefused.into()),
        }
    }

    fn read(&mut self, wire: &usize, into: &mut [u8]) -> io::Result<usize> {
        let wire = &mut self.world.borrow_mut().wires[*wire];
        match wire.up.is_empty() {
            true if wire.is_over => Ok(0),
            true => Err(io::ErrorKind::WouldBlock.into()),
            false => io::Read::read(&mut wire.up, into),
        }
    }

    fn write(&mut self, wire: &usize, bytes: &[u8]) -> io::Result<usize> {
        let mut world = self.world.borrow_mut();
        if world.wires[*wire].is_over && world.wires[*wire].is_bus {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if world.wires[*wire].is_bus {
            let delay = world.delay();
            let at = world.wires[*wire].arrives[0].max(world.now + delay);
            world.wires[*wire].arrives[0] = at;
            let mut sent = bytes.to_vec();
            let severs = world.severs(0, &mut sent);
            world.plan_at(at, Due::ToBus(*wire, sent));
            if severs {
                world.plan_at(at, Due::Cut(*wire));
            }
            return Ok(bytes.len());
        }
        let this = &mut world.wires[*wire];
        let room = match this.is_slow {
            true => ROOM_BYTES.saturating_sub(this.heard.len()),
            false => usize::MAX,
        };
        let taken = bytes.len().min(room);
        this.heard.extend_from_slice(&bytes[..taken]);
        if taken < bytes.len() {
            this.is_full = true;
            world.nats.hazards.count(Hazard::Unread);
        }
        match taken {
            0 if !bytes.is_empty() => Err(io::ErrorKind::WouldBlock.into()),
            taken => Ok(taken),
        }
    }

    fn write_vectored(&mut self, wire: &usize, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let bytes: Vec<u8> = slices.iter().flat_map(|slice| slice.to_vec()).collect();
        self.write(wire, &bytes)
    }

    fn shutdown(&mut self, _: &usize) -> io::Result<()> {
        Ok(())
    }

    fn close(&mut self, wire: usize) {
        let mut world = self.world.borrow_mut();
        world.wires[wire].is_closed = true;
        world.wires[wire].token = None;
        if world.wires[wire].is_bus {
            world.ends(wire);
        }
    }

    fn send_sockets(
        &mut self,
        _: &usize,
        _: &[u8],
        _: &[HandedOver<'_, BusOs>],
    ) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn receive(&mut self, _: &mut (), _: &mut [u8]) -> io::Result<Received> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn send(&mut self, _: &mut (), _: &[u8], _: SocketAddr, _: Option<IpAddr>) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn close_datagram(&mut self, (): ()) {}

    fn spawn(&mut self, _: &Job) -> io::Result<Spawned<BusOs>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn spawn_helper(&mut self, _: &[OsString]) -> io::Result<Spawned<BusOs>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn read_pipe(&mut self, _: &(), _: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn write_pipe(&mut self, _: &(), _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn kill(&mut self, _: &(), _: Severity) {}

    fn signal(&mut self, _: &(), _: CommandSignal) {}

    fn ended(&mut self, _: &()) -> io::Result<Option<Exit>> {
        Ok(None)
    }

    fn reap(&mut self, _: ()) -> Usage {
        Usage::default()
    }

    fn signals(&mut self, into: &mut Vec<Signal>) {
        into.append(&mut self.world.borrow_mut().servers[self.server].signals);
    }
}

/// Loops that share a bus.
struct Servers {
    world: Rc<RefCell<World>>,
    loops: Vec<Option<Reactor<BusOs>>>,
    listeners: Vec<ListenerId>,
    /// The servers of the bus of which each of them knows.
    listed: Vec<Vec<u16>>,
    options: chat::Options,
    limits: Limits,
    /// How many buses were begun so far.
    begun: u64,
    /// What begins their sessions with the bus; none: they speak no TLS.
    secure: Option<Arc<dyn Secure>>,
    /// By what the bus knows those that start.
    login: BusLogin,
    /// Whether the people of those that start are operators.
    operators: bool,
}

impl Servers {
    fn new(count: usize) -> Servers {
        Servers::with(count, Random::new(0), 0, 0)
    }

    fn with(count: usize, random: Random, faults: u8, history: u32) -> Servers {
        Servers::through(count, random, faults, history, [false, false])
    }

    /// The same; whether the servers speak TLS, and whether the bus does.
    fn through(count: usize, random: Random, faults: u8, history: u32, tls: [bool; 2]) -> Servers {
        let options = chat::Options {
            history,
            ..chat::Options::default()
        };
        Servers::of(count, (random, faults), (options, Limits::default()), tls)
    }

    fn of(
        count: usize,
        (mut random, faults): (Random, u8),
        (options, limits): (chat::Options, Limits),
        [these, bus]: [bool; 2],
    ) -> Servers {
        let mut nats = Nats::new(Random::new(random.next()));
        nats.secure = bus.then(|| Arc::new(StandIn { body: 700 }) as Arc<dyn Secure>);
        let world = World {
            now: SECOND,
            random,
            wires: Vec::new(),
            servers: Vec::new(),
            nats,
            agenda: BTreeMap::new(),
            agenda_len: 0,
            dials: VecDeque::new(),
            faults,
            is_traced: std::env::var_os("ONEPOLL_SIM_TRACE").is_some(),
            severs: [None; 2],
        };
        let mut servers = Servers {
            world: Rc::new(RefCell::new(world)),
            loops: Vec::new(),
            listeners: Vec::new(),
            listed: Vec::new(),
            operators: options.operator,
            options,
            limits,
            begun: 0,
            secure: these.then(|| Arc::new(StandInClient { body: 900 }) as Arc<dyn Secure>),
            login: BusLogin::Nothing,
        };
        servers.world.borrow_mut().plan(SECOND, Due::Beat);
        for _ in 0..count {
            servers.starts();
        }
        servers
    }

    /// One server more; its number.
    fn starts(&mut self) -> usize {
        let server = self.loops.len();
        self.world.borrow_mut().servers.push(Server::default());
        self.listed.push(vec![1, 2]);
        let (reactor, listener) = self.begin(server);
        self.loops.push(Some(reactor));
        self.listeners.push(listener);
        server
    }

    /// A server that died begins anew.
    fn starts_again(&mut self, server: usize) {
        if self.loops[server].is_none() {
            let (reactor, listener) = self.begin(server);
            (self.loops[server], self.listeners[server]) = (Some(reactor), listener);
            self.counts(Hazard::StartedAgain);
        }
    }

    fn begin(&mut self, server: usize) -> (Reactor<BusOs>, ListenerId) {
        let os = BusOs {
            world: self.world.clone(),
            server,
        };
        let mut reactor = Reactor::new(os, self.limits.clone(), 1000);
        if self.world.borrow().is_traced {
            reactor.trace_to(Box::new(io::stderr()), TracedBytes::All);
        }
        let chat = self.chat(server);
        let service = reactor.add(Box::new(chat));
        let options = listens_for(service, &self.options());
        let listener = reactor.listen((), options).expect("it listens");
        (reactor, listener)
    }

    /// Rooms with a bus of their own.
    fn chat(&mut self, server: usize) -> Chat {
        let (bus, options) = (self.bus(server), self.options());
        Chat::new(&options, self.limits.frame).on_bus(bus, &options)
    }

    /// The bus as a server knows it by now.
    fn bus(&mut self, server: usize) -> Arc<Bus> {
        self.begun += 1;
        let one = |port: &u16| BusServer {
            name: format!("nats://{port}"),
            to: SocketAddr::from((Ipv4Addr::LOCALHOST, *port)),
            secure: self.secure.clone(),
        };
        Arc::new(Bus {
            servers: self.listed[server].iter().map(one).collect(),
            login: self.login.clone(),
            replicas: 1,
            lease: Duration::from_nanos(LEASE),
            nonce: (self.begun << 48).into(),
        })
    }

    /// A server knows of these servers of the bus from now on, as after a reload.
    fn relists(&mut self, server: usize, listed: &[u16]) {
        self.listed[server] = listed.to_vec();
        let bus = self.bus(server);
        let Some(reactor) = &mut self.loops[server] else {
            return;
        };
        reactor.change_bus(&bus);
        let mut world = self.world.borrow_mut();
        world.servers[server].until = 0;
        world.nats.hazards.count(Hazard::Relisted);
        if self.unlisted(&world, server) {
            world.nats.hazards.count(Hazard::Unlisted);
        }
    }

    /// Whether a server is connected to one of the bus of which it does not know any more.
    fn unlisted(&self, world: &World, server: usize) -> bool {
        let mut links = world.links(server).into_iter();
        links.any(|link| !self.listed[server].contains(&world.wires[link].to))
    }

    /// Options of those that start.
    fn options(&self) -> chat::Options {
        chat::Options {
            operator: self.operators,
            ..self.options.clone()
        }
    }

    /// Who comes from now on is in rooms with a bus of their own, as after a reload that changed it.
    fn reloads(&mut self, server: usize) {
        let (chat, options) = (self.chat(server), self.options());
        let Some(reactor) = &mut self.loops[server] else {
            return;
        };
        let service = reactor.add(Box::new(chat));
        let options = listens_for(service, &options);
        let listener = reactor.replace(self.listeners[server], options);
        self.listeners[server] = listener.expect("it is replaced");
        self.counts(Hazard::Reloaded);
    }

    /// A server is killed: what it had is gone, and its connections end.
    fn dies(&mut self, server: usize) {
        self.loops[server] = None;
        let mut world = self.world.borrow_mut();
        world.servers[server] = Server::default();
        for wire in 0..world.wires.len() {
            if world.wires[wire].server == server && !world.wires[wire].is_closed {
                world.wires[wire].is_closed = true;
                world.wires[wire].token = None;
                if world.wires[wire].is_bus {
                    world.ends(wire);
                }
            }
        }
    }

    /// A server is told to stop.
    fn stops(&self, server: usize) {
        let of = &mut self.world.borrow_mut().servers[server];
        of.signals.push(Signal::Stop);
        of.seen.push(Seen {
            token: Token::of(Source::Signals),
            readiness: Readiness {
                readable: true,
                ..Readiness::default()
            },
        });
    }

    fn counts(&self, hazard: Hazard) {
        self.world.borrow_mut().nats.hazards.count(hazard);
    }

    /// Somebody connects.
    fn dials(&mut self, server: usize) -> usize {
        let mut world = self.world.borrow_mut();
        let wire = world.wire(server, false);
        let of = &mut world.servers[server];
        of.waiting.push_back(wire);
        let readiness = Readiness {
            readable: true,
            ..Readiness::default()
        };
        of.seen
            .extend(of.listener.map(|token| Seen { token, readiness }));
        wire
    }

    fn says(&mut self, wire: usize, text: &str) {
        let mut world = self.world.borrow_mut();
        world.wires[wire].up.extend(text.bytes());
        world.tell(wire);
    }

    fn leaves(&mut self, wire: usize) {
        let mut world = self.world.borrow_mut();
        world.wires[wire].is_over = true;
        world.tell(wire);
    }

    /// What somebody has heard since they were last asked: whole lines.
    fn hears(&mut self, wire: usize) -> Vec<String> {
        let mut world = self.world.borrow_mut();
        let this = &mut world.wires[wire];
        let end = this.heard.iter().rposition(|byte| *byte == b'\n');
        let heard: Vec<u8> = this.heard.drain(..end.map_or(0, |end| end + 1)).collect();
        if std::mem::take(&mut this.is_full) {
            world.tell(wire);
        }
        drop(world);
        let heard = String::from_utf8(heard).expect("the chat speaks UTF-8");
        heard.lines().map(ToOwned::to_owned).collect()
    }

    /// Whether one of the lines that somebody has heard since is this.
    fn hears_line(&mut self, wire: usize, line: &str) -> bool {
        self.hears(wire).iter().any(|heard| heard == line)
    }

    /// Whoever says this is told that.
    fn is_told(&mut self, wire: usize, says: &str, line: &str) {
        self.says(wire, says);
        self.settles();
        let heard = self.hears(wire);
        assert!(heard.iter().any(|heard| heard == line), "{line}: {heard:?}");
    }

    /// Lets time pass; `person` is called for each who is due.
    fn passes_with(&mut self, time: u64, mut person: impl FnMut(&mut Servers, usize)) {
        let end = self.world.borrow().now + time;
        for _ in 0..2_000_000 {
            let mut next = end;
            for server in 0..self.loops.len() {
                let Some(reactor) = &mut self.loops[server] else {
                    continue;
                };
                for turn in 0.. {
                    assert!(turn < TURNS_MAX, "a loop that never sleeps");
                    let world = self.world.borrow();
                    let of = &world.servers[server];
                    if of.seen.is_empty() && of.until > world.now {
                        next = next.min(of.until);
                        break;
                    }
                    drop(world);
                    reactor.turn().expect("the poll does not fail");
                    // In a debug build the turn has looked.
                    if !cfg!(debug_assertions) {
                        reactor.check().expect("what holds after every turn");
                    }
                    if reactor.is_stopped() {
                        self.dies(server);
                        break;
                    }
                }
            }
            let mut world = self.world.borrow_mut();
            // One loop may have given another something to do.
            if world
                .servers
                .iter()
                .enumerate()
                .any(|(n, of)| !of.seen.is_empty() && self.loops[n].is_some())
            {
                continue;
            }
            match world.agenda.first_key_value() {
                Some((&(at, n), _)) if at <= next => {
                    world.now = world.now.max(at);
                    let due = world.agenda.remove(&(at, n)).expect("it is the first");
                    drop(world);
                    match due {
                        Due::Person(number) => person(self, number),
                        Due::Starts(server) => self.starts_again(server),
                        due => self.world.borrow_mut().happens(due),
                    }
                }
                _ if next >= end => {
                    world.now = end;
                    return;
                }
                _ => world.now = next,
            }
        }
        panic!("the world does not come to rest");
    }

    fn passes(&mut self, time: u64) {
        self.passes_with(time, |_, _| {});
    }

    /// Until all that there is to do now is done.
    fn settles(&mut self) {
        self.passes(10 * MILLI);
    }

    fn cut(&mut self, server: usize) {
        let mut world = self.world.borrow_mut();
        for wire in world.links(server) {
            world.cut(wire);
        }
    }

    /// Two people, each on a server of their own, who have heard of each other.
    fn pair(&mut self) -> [usize; 2] {
        self.settles();
        let pair = [self.dials(0), self.dials(1)];
        self.settles();
        pair.map(|wire| {
            self.hears(wire);
            wire
        })
    }
}

/// Options of a listener for rooms with these.
fn listens_for(service: ServiceId, options: &chat::Options) -> ListenerOptions {
    ListenerOptions {
        terms: Terms {
            options: Written::of(options),
            ..Terms::default()
        },
        ..ListenerOptions::to(service)
    }
}

/// Lines with the names of guests less what differs from server to server.
fn texts(lines: &[String]) -> Vec<&str> {
    let said = lines.iter().filter(|line| !line.starts_with("* "));
    said.map(|line| line.split_once(": ").map_or(&**line, |(_, text)| text))
        .collect()
}

#[test]
fn all_servers_hear_what_is_said_in_one_order_and_nobody_themselves() {
    let mut servers = Servers::new(2);
    let [eva, bob] = servers.pair();
    let ann = servers.dials(1);
    servers.settles();
    servers.hears(ann);
    servers.says(eva, "one\n");
    servers.says(bob, "two\nthree\n");
    servers.says(ann, "four\n");
    servers.settles();
    let heard = [eva, bob, ann].map(|wire| servers.hears(wire));
    let heard = heard.each_ref().map(|lines| texts(lines));
    assert_eq!(heard[0], ["two", "three", "four"]);
    assert_eq!(heard[1], ["one", "four"]);
    assert_eq!(heard[2], ["one", "two", "three"]);
}

#[test]
fn a_line_is_said_once_whatever_reconnects_meanwhile() {
    let mut servers = Servers::new(2);
    let [eva, bob] = servers.pair();
    servers.says(eva, "before\n");
    servers.settles();
    assert_eq!(texts(&servers.hears(bob)), ["before"]);
    // It is kept, and the connection is cut before anybody is told.
    servers.world.borrow_mut().nats.is_silent = true;
    servers.says(eva, "kept\n/ping one\n");
    servers.settles();
    servers.cut(0);
    servers.cut(1);
    servers.world.borrow_mut().nats.is_silent = false;
    servers.world.borrow_mut().nats.leader += 1;
    servers.passes(3 * SECOND);
    assert_eq!(texts(&servers.hears(bob)), ["kept"]);
    assert!(
        servers.hears_line(eva, "* pong one"),
        "and who said it knows that it is"
    );
    // It is lost on its way, and goes again.
    servers.world.borrow_mut().nats.has_no_leader = true;
    servers.says(eva, "lost\n/ping two\n");
    servers.settles();
    assert!(servers.hears(eva).is_empty());
    servers.world.borrow_mut().nats.has_no_leader = false;
    servers.passes(10 * SECOND);
    assert_eq!(texts(&servers.hears(bob)), ["lost"]);
    assert!(servers.hears_line(eva, "* pong two"));
}

#[test]
fn a_name_is_one_persons_on_all_servers_and_free_when_its_server_is_dead() {
    let mut servers = Servers::new(2);
    let [eva, bob] = servers.pair();
    servers.is_told(eva, "/nick eva\n", "* you are now eva");
    servers.is_told(bob, "/nick Eva\n", "* Eva is somebody else's name");
    // It is renewed for as long as its server lives.
    servers.passes(3 * LEASE);
    servers.is_told(bob, "/nick eva\n", "* eva is somebody else's name");
    servers.dies(0);
    servers.is_told(bob, "/nick eva\n", "* eva is somebody else's name");
    servers.passes(LEASE);
    servers.says(bob, "/nick eva\n");
    servers.settles();
    assert!(
        servers.hears_line(bob, "* you are now eva"),
        "its lease is over"
    );
}

/// Two operators, each on a server of their own.
fn operators() -> (Servers, [usize; 2]) {
    let mut servers = Servers::new(0);
    servers.operators = true;
    let both = [servers.starts(), servers.starts()];
    servers.passes(2 * SECOND);
    let both = both.map(|server| servers.dials(server));
    servers.settles();
    (servers, both)
}

/// Each says something, the second one before it is told what the first one said.
fn cross(servers: &mut Servers, [one, other]: [usize; 2], says: [&str; 2]) {
    servers.world.borrow_mut().nats.is_silent = true;
    servers.says(one, says[0]);
    servers.settles();
    servers.says(other, says[1]);
    servers.settles();
    servers.world.borrow_mut().nats.is_silent = false;
    servers.passes(8 * SECOND);
    servers.hears(one);
    servers.hears(other);
}

#[test]
fn of_topics_that_cross_each_other_all_servers_keep_the_later_one() {
    let (mut servers, both) = operators();
    for wire in both {
        servers.says(wire, "/join den\n");
    }
    servers.settles();
    for [earlier, later] in [["cats", "dogs"], ["dogs", "cats"]] {
        let topics = [earlier, later].map(|topic| format!("/topic {topic}\n"));
        cross(&mut servers, both, topics.each_ref().map(|topic| &**topic));
        for wire in both {
            servers.is_told(wire, "/topic\n", &format!("* topic of den: {later}"));
        }
    }
}

#[test]
fn of_bans_that_cross_each_other_all_servers_keep_the_later_one() {
    for (says, bans) in [
        (["/unban zoe\n", "/unban zoe\n/ban zoe again\n"], true),
        (["/ban zoe more\n", "/unban zoe\n"], false),
    ] {
        let (mut servers, both) = operators();
        servers.is_told(both[0], "/ban zoe out\n", "* zoe is banned; removed: 0");
        cross(&mut servers, both, says);
        for wire in both {
            match bans {
                true => servers.is_told(
                    wire,
                    "/nick zoe\n",
                    "* nobody may be called that: zoe (again)",
                ),
                false => servers.is_told(wire, "/nick zoe\n/nick o\n", "* you are now zoe"),
            }
            servers.leaves(wire);
            servers.settles();
        }
    }
}

#[test]
fn an_operator_who_bans_themselves_by_a_slip_stays_when_that_comes_back() {
    let (mut servers, [op, other]) = operators();
    servers.is_told(op, "/nick op\n", "* you are now op");
    servers.is_told(op, "/ban op slip\n", "* op is banned; removed: 0");
    servers.passes(2 * SECOND);
    servers.is_told(op, "/unban op\n", "* op is banned no more");
    servers.is_told(other, "/ban op out\n", "* op is banned; removed: 0");
    servers.passes(2 * SECOND);
    assert!(
        servers
            .hears(op)
            .iter()
            .any(|line| line.contains("banned: out"))
    );
}

#[test]
fn names_are_renewed_as_often_as_the_bucket_needs_that_somebody_else_made() {
    let mut servers = Servers::new(2);
    let short = LEASE / 5;
    let bucket = |servers: &Servers| {
        let mut world = servers.world.borrow_mut();
        let bucket = world.nats.streams.get_mut("KV_ONEPOLL__");
        bucket.expect("it was made").max_age = short;
    };
    let [eva, bob] = servers.pair();
    bucket(&servers);
    servers.cut(0);
    servers.passes(SECOND);
    servers.is_told(eva, "/nick eva\n", "* you are now eva");
    servers.passes(2 * LEASE);
    servers.is_told(bob, "/nick eva\n", "* eva is somebody else's name");
    assert!(servers.hears(eva).is_empty(), "and she has noticed nothing");
}

#[test]
fn a_name_is_kept_whose_renewal_was_written_and_not_answered() {
    let mut servers = Servers::new(2);
    let [eva, bob] = servers.pair();
    servers.is_told(eva, "/nick eva\n", "* you are now eva");
    let writes = |servers: &Servers| servers.world.borrow().nats.writers("eva").count();
    assert_eq!(writes(&servers), 1);
    servers.world.borrow_mut().nats.is_silent = true;
    servers.passes(LEASE / 2);
    assert_eq!(writes(&servers), 2, "it was renewed, and nobody was told");
    servers.world.borrow_mut().nats.is_silent = false;
    servers.passes(2 * LEASE);
    assert!(servers.hears(eva).is_empty(), "it is hers");
    assert!(writes(&servers) > 3);
    servers.is_told(bob, "/nick eva\n", "* eva is somebody else's name");
}

#[test]
fn a_name_that_is_given_back_is_free_at_once() {
    let mut servers = Servers::new(2);
    let [eva, bob] = servers.pair();
    servers.says(eva, "/nick eva\n/nick ann\n");
    servers.settles();
    servers.is_told(bob, "/nick eva\n", "* you are now eva");
    servers.leaves(eva);
    servers.settles();
    servers.is_told(bob, "/nick ann\n", "* you are now ann");
}

#[test]
fn while_the_bus_is_away_local_rooms_go_on_and_are_told_so() {
    let mut servers = Servers::new(2);
    let [eva, bob] = servers.pair();
    let ann = servers.dials(0);
    servers.settles();
    servers.hears(ann);
    servers.hears(eva);
    servers.hears(bob);
    servers
        .world
        .borrow_mut()
        .dials
        .extend([Dialled::Refused; 20]);
    servers.cut(0);
    servers.settles();
    servers.says(eva, "early\n");
    servers.passes(PATIENCE - SECOND);
    assert!(
        servers.hears(ann).is_empty(),
        "it may be back at any moment"
    );
    servers.passes(2 * SECOND);
    assert_eq!(servers.hears(eva), [ALONE]);
    assert_eq!(texts(&servers.hears(ann)), ["early"]);
    let newcomer = servers.dials(0);
    servers.settles();
    assert!(servers.hears_line(newcomer, ALONE));
    servers.leaves(newcomer);
    servers.settles();
    servers.hears(eva);
    servers.hears(ann);
    servers.says(eva, "late\n/ping 1\n/nick eva\n");
    servers.settles();
    assert_eq!(texts(&servers.hears(ann)), ["late"]);
    let told = servers.hears(eva);
    assert_eq!(told[0], "* pong 1");
    assert!(
        told[1].starts_with("* names cannot be taken while the bus is away"),
        "{told:?}"
    );
    assert!(servers.hears(bob).is_empty());
    servers.world.borrow_mut().dials.clear();
    servers.passes(10 * SECOND);
    assert_eq!(
        texts(&servers.hears(bob)),
        ["early", "late"],
        "it was kept for him"
    );
    let back = "* the bus is back: other servers hear you again";
    assert_eq!(
        servers.hears(ann),
        [back],
        "who heard it does not hear it again"
    );
}

#[test]
fn what_waits_for_the_bus_is_bounded_and_who_loses_a_line_is_told() {
    let mut servers = Servers::new(1);
    servers.settles();
    let eva = servers.dials(0);
    servers.settles();
    servers
        .world
        .borrow_mut()
        .dials
        .extend([Dialled::Refused; 100]);
    servers.cut(0);
    servers.passes(PATIENCE + SECOND);
    servers.hears(eva);
    let line = format!("{}\n", "x".repeat(10_000));
    for _ in 0..120 {
        servers.says(eva, &line);
        servers.settles();
    }
    let told = servers.hears(eva);
    assert!(told.len() > 10 && told.len() < 20, "{}", told.len());
    assert!(
        told[0].starts_with("* people of other servers will not hear that"),
        "{}",
        told[0]
    );
}

#[test]
fn a_server_that_is_about_to_go_is_left_at_once() {
    let mut servers = Servers::new(2);
    let [eva, bob] = servers.pair();
    let link = servers.world.borrow().links(0)[0];
    {
        let mut world = servers.world.borrow_mut();
        world.nats.is_lame(link);
        world.send_said();
    }
    servers.says(eva, "meanwhile\n");
    servers.passes(SECOND);
    let links = servers.world.borrow().links(0);
    assert!(links.len() == 1 && links[0] != link);
    assert_eq!(texts(&servers.hears(bob)), ["meanwhile"]);
}

#[test]
fn a_server_that_is_still_listed_is_kept_and_another_left_with_nothing_lost_or_doubled() {
    let mut servers = Servers::new(2);
    let [eva, bob] = servers.pair();
    let link = servers.world.borrow().links(0)[0];
    let to = servers.world.borrow().wires[link].to;
    servers.relists(0, &[4, 3, to]);
    servers.says(eva, "one\n");
    servers.passes(SECOND);
    assert_eq!(servers.world.borrow().links(0), [link]);
    // It is kept, and not told to who said it, nor to anybody of that server.
    servers.world.borrow_mut().nats.is_silent = true;
    servers.says(eva, "two\n/ping two\n");
    servers.says(bob, "meanwhile\n");
    servers.settles();
    servers.relists(0, &[3]);
    servers.says(eva, "three\n/ping three\n");
    servers.settles();
    servers.world.borrow_mut().nats.is_silent = false;
    servers.passes(3 * SECOND);
    let links = servers.world.borrow().links(0);
    assert_eq!(links.len(), 1);
    assert_eq!(servers.world.borrow().wires[links[0]].to, 3);
    assert_eq!(texts(&servers.hears(bob)), ["one", "two", "three"]);
    let told = servers.hears(eva);
    let told: Vec<&str> = told
        .iter()
        .map(|line| line.trim_start_matches(|c| c != ' '))
        .collect();
    assert_eq!(told, [" pong two", " meanwhile", " pong three"]);
}

#[test]
fn other_servers_are_dialled_at_once_while_the_bus_is_away() {
    let mut servers = Servers::new(2);
    let [eva, bob] = servers.pair();
    servers
        .world
        .borrow_mut()
        .dials
        .extend([Dialled::Refused; 20]);
    servers.cut(0);
    servers.passes(PATIENCE + SECOND);
    assert_eq!(servers.hears(eva), [ALONE]);
    servers.world.borrow_mut().dials.clear();
    servers.relists(0, &[3]);
    servers.says(eva, "hello\n");
    servers.settles();
    let world = servers.world.borrow();
    assert_eq!(world.wires[world.links(0)[0]].to, 3);
    drop(world);
    assert_eq!(texts(&servers.hears(bob)), ["hello"]);
    // What is dialled, and is listed no more, is left when it has answered.
    servers.world.borrow_mut().dials.extend([Dialled::Waits]);
    servers.cut(0);
    servers.passes(SECOND);
    servers.relists(0, &[5]);
    servers.passes(4 * SECOND);
    let world = servers.world.borrow();
    assert_eq!(world.wires[world.links(0)[0]].to, 5);
}

#[test]
fn a_server_that_stops_keeps_its_connection_until_all_is_said_whatever_is_listed() {
    let mut servers = Servers::new(2);
    let [eva, bob] = servers.pair();
    servers.world.borrow_mut().nats.has_no_leader = true;
    servers.says(eva, "last\n");
    servers.settles();
    servers.stops(0);
    servers.settles();
    servers.relists(0, &[3]);
    servers.passes(SECOND);
    assert!(servers.hears(bob).is_empty());
    servers.world.borrow_mut().nats.has_no_leader = false;
    servers.passes(10 * SECOND);
    assert_eq!(texts(&servers.hears(bob)), ["last"]);
}

#[test]
fn what_the_bus_refuses_is_counted_by_what_it_is() {
    let mut servers = Servers::new(1);
    servers.settles();
    for why in [
        "Slow Consumer Detected",
        "Permissions Violation for Publish to \"x\"",
        "?",
    ] {
        let link = servers.world.borrow().links(0)[0];
        let mut world = servers.world.borrow_mut();
        world.nats.refuses(link, why);
        world.send_said();
        drop(world);
        servers.settles();
    }
    let figures = servers.loops[0].as_ref().expect("it lives").figures();
    let shown = format!("{figures:?}");
    for reason in ["slow-consumer", "permissions", "other"] {
        let at = shown.find(reason).expect(reason);
        assert!(shown[at..].contains("Count(1)"), "{reason}");
    }
}

#[cfg(feature = "tls")]
#[test]
fn a_server_that_knows_users_by_their_keys_lets_in_who_has_signed_its_nonce() {
    use onepoll::config::NkeySeed;
    // The pair of NATS' documentation.
    let seed = "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY";
    let user = "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4";
    let mut servers = Servers::with(0, Random::new(0), 0, 0);
    servers.world.borrow_mut().nats.user = Some(user.into());
    let stranger = servers.starts();
    servers.login = BusLogin::Nkey(NkeySeed::read(seed).expect("a seed"));
    let [known, other] = [servers.starts(), servers.starts()];
    servers.passes(SECOND);
    let [eva, bob, ann] = [known, other, stranger].map(|server| servers.dials(server));
    servers.settles();
    // Each connection is told another nonce.
    servers.cut(known);
    servers.passes(SECOND);
    for wire in [bob, ann] {
        servers.hears(wire);
    }
    servers.says(eva, "hello\n");
    servers.settles();
    assert_eq!(texts(&servers.hears(bob)), ["hello"]);
    servers.passes(PATIENCE + SECOND);
    assert_eq!(servers.hears(ann), [ALONE]);
    let figures = servers.loops[stranger].as_ref().expect("it lives");
    let shown = format!("{:?}", figures.figures());
    let at = shown.find("authorization").expect("it is counted");
    let counted = shown[at..].split("Count(").nth(1).expect("a count");
    assert!(!counted.starts_with("0)"), "{counted:.9}");
}

#[test]
fn questions_and_orders_reach_people_of_other_servers() {
    let mut servers = Servers::new(2);
    let [eva, bob] = servers.pair();
    servers.says(eva, "/nick eva\n");
    servers.says(bob, "/nick bob\n/away tea\n");
    servers.passes(2 * SECOND);
    servers.hears(eva);
    servers.hears(bob);
    servers.says(eva, "/who\n/msg bob psst\n/msg ann hi\n/rooms\n");
    servers.passes(3 * SECOND);
    assert_eq!(
        servers.hears(eva),
        [
            "* in lobby: eva, bob (away)",
            "* bob is away: tea",
            "* nobody is called ann",
            "* rooms: lobby (2)"
        ]
    );
    assert_eq!(servers.hears(bob), ["eva (private): psst"]);
    servers.says(bob, "/join den\n/topic cats\n");
    servers.settles();
    servers.is_told(eva, "/join den\n", "* topic of den: cats");
}

#[test]
fn somebody_of_another_server_is_ignored_by_name_however_they_are_called() {
    let mut servers = Servers::new(2);
    let [eva, bob] = servers.pair();
    let ann = servers.dials(1);
    servers.says(eva, "/nick eva\n");
    servers.passes(2 * SECOND);
    servers.says(bob, "/ignore Eva\n/ignore\n/ignore eva\n/ignore nobody\n");
    servers.passes(3 * SECOND);
    let told = servers.hears(bob);
    assert_eq!(
        told[told.len() - 4..],
        [
            "* you ignore eva until one of you leaves; /unignore eva ends that",
            "* you ignore eva",
            "* you ignore eva already",
            "* nobody is called nobody",
        ]
    );
    servers.hears(ann);
    servers.says(eva, "one\n/me waves\n");
    servers.settles();
    servers.says(eva, "two\n/nick carl\n");
    servers.settles();
    servers.says(eva, "three\n");
    servers.settles();
    assert_eq!(servers.hears(bob), ["* eva is now carl"]);
    let all = [
        "eva: one",
        "~ eva waves",
        "eva: two",
        "* eva is now carl",
        "carl: three",
    ];
    assert_eq!(servers.hears(ann), all);
    // Who writes to somebody who does not hear them is not told that.
    let whole = servers.hears(eva);
    let name = whole.iter().find_map(|line| line.strip_suffix(" joined"));
    assert!(name.is_some(), "{whole:?}");
    servers.says(bob, "/nick bob\n");
    servers.settles();
    servers.hears(eva);
    servers.says(eva, "/msg bob psst\n/ping 1\n");
    servers.settles();
    assert_eq!(servers.hears(eva), ["* pong 1"]);
    assert_eq!(servers.hears(bob), ["* you are now bob"]);
    // Whoever takes the name later is somebody else.
    servers.leaves(eva);
    servers.settles();
    let dora = servers.dials(0);
    servers.settles();
    servers.hears(bob);
    servers.says(dora, "/nick carl\n");
    servers.settles();
    servers.says(dora, "hello\n");
    servers.settles();
    assert_eq!(servers.hears(bob)[1..], ["carl: hello"]);
    servers.says(bob, "/ignore\n/ignore carl\n/unignore carl\n");
    servers.passes(3 * SECOND);
    assert_eq!(
        servers.hears(bob),
        [
            "* you ignore nobody",
            "* you ignore carl until one of you leaves; /unignore carl ends that",
            "* you hear carl again",
        ]
    );
}

#[test]
fn where_somebody_of_another_server_is_only_operators_are_told() {
    let mut servers = Servers::with(1, Random::new(0), 0, 0);
    servers.operators = true;
    let operators = servers.starts();
    servers.settles();
    let [eva, op] = [servers.dials(0), servers.dials(operators)];
    servers.says(eva, "/nick eva\n/join den\n");
    servers.says(op, "/nick op\n");
    servers.passes(2 * SECOND);
    servers.hears(eva);
    servers.hears(op);
    servers.says(op, "/whois Eva\n/whois nobody\n");
    servers.says(eva, "/whois op\n/watch lobby\n");
    servers.passes(3 * SECOND);
    assert_eq!(
        servers.hears(op),
        [
            "* eva is in den, from 127.0.0.1:4000",
            "* nobody is called nobody"
        ]
    );
    let refused = "* only an operator may do that, and you are none";
    assert_eq!(servers.hears(eva), [refused; 2]);
}

#[test]
fn an_operator_watches_rooms_in_which_only_people_of_other_servers_are() {
    let mut servers = Servers::with(1, Random::new(0), 0, 0);
    servers.operators = true;
    let operators = servers.starts();
    servers.settles();
    let [eva, op] = [servers.dials(0), servers.dials(operators)];
    servers.says(eva, "/nick eva\n/join den\n");
    servers.passes(2 * SECOND);
    servers.hears(op);
    servers.says(op, "/watch den\n/watch nowhere\n/watch\n");
    servers.settles();
    assert_eq!(
        servers.hears(op),
        [
            "* you watch den; /unwatch den ends that",
            "* there is no room nowhere",
            "* you watch den",
        ]
    );
    servers.says(eva, "hello\n/topic tea\n");
    servers.settles();
    assert_eq!(
        servers.hears(op),
        ["#den eva: hello", "#den * eva set the topic: tea"]
    );
    // In the room and out of it, every line is heard once.
    servers.says(op, "/join den\n");
    servers.settles();
    servers.hears(op);
    servers.says(eva, "to you\n");
    servers.settles();
    assert_eq!(servers.hears(op), ["eva: to you"]);
    servers.says(op, "/part\n");
    servers.settles();
    servers.hears(op);
    servers.says(eva, "behind you\n");
    servers.settles();
    assert_eq!(servers.hears(op), ["#den eva: behind you"]);
    servers.says(op, "/unwatch den\n");
    servers.settles();
    servers.hears(op);
    servers.says(eva, "alone\n");
    servers.settles();
    assert!(servers.hears(op).is_empty());
}

#[test]
fn a_server_that_comes_later_knows_what_was_said_before() {
    let mut servers = Servers::with(1, Random::new(0), 0, 3);
    servers.settles();
    let eva = servers.dials(0);
    servers.settles();
    servers.says(eva, "1\n2\n3\n4\n/join den\nin the den\n");
    servers.settles();
    let later = servers.starts();
    servers.settles();
    let bob = servers.dials(later);
    servers.settles();
    let told = servers.hears(bob);
    assert_eq!(told[1], "* earlier lines: 3");
    assert!(
        told[2].ends_with(": 2") && told[4].ends_with(": 4"),
        "{told:?}"
    );
    servers.says(bob, "/join den\n");
    servers.settles();
    let told = servers.hears(bob);
    assert_eq!(told[1], "* earlier lines: 1");
    assert!(told[2].ends_with(": in the den"), "{told:?}");
}

#[test]
fn what_anybody_can_publish_does_nothing_that_a_member_cannot() {
    let mut servers = Servers::new(1);
    servers.settles();
    let eva = servers.dials(0);
    servers.settles();
    servers.hears(eva);
    {
        let mut world = servers.world.borrow_mut();
        let lobby = "onepoll._.room.6c6f626279";
        let intruder = world.wire(usize::MAX, true);
        world.nats.greets(intruder);
        world.nats.says.clear();
        let payload = "eva: \u{1b}[2Jhi\nno name: x\n* \u{202e}notice\n~ eva waves\n~ e*a x\njust text\n[x] y: z\n";
        let publish = format!("PUB {lobby} {}\r\n{payload}\r\n", payload.len());
        let now = world.now;
        world.nats.hears(intruder, publish.as_bytes(), now);
        for wrong in [
            "{}",
            "[",
            "{\"who\": 3}",
            "{\"kick\":{\"name\":\"guest-000100-1\",\"reason\":5}}",
        ] {
            let ask = format!("PUB onepoll._.ask _INBOX.x {}\r\n{wrong}\r\n", wrong.len());
            world.nats.hears(intruder, ask.as_bytes(), now);
            let alive = format!("PUB onepoll._.alive {}\r\n{wrong}\r\n", wrong.len());
            world.nats.hears(intruder, alive.as_bytes(), now);
        }
        // It answers at no subject but one for answers: it may say there what whoever asks may not.
        let ask = format!("PUB onepoll._.ask {lobby} 15\r\n{{\"who\":\"lobby\"}}\r\n");
        world.nats.hears(intruder, ask.as_bytes(), now);
        world.nats.loses(intruder);
        world.send_said();
    }
    let kept = |servers: &Servers| servers.world.borrow().nats.streams["ONEPOLL__"].last;
    let before = kept(&servers);
    servers.passes(2 * SECOND);
    let heard = servers.hears(eva);
    assert_eq!(
        heard,
        ["eva: \u{fffd}[2Jhi", "* \u{fffd}notice", "~ eva waves"]
    );
    assert_eq!(kept(&servers), before);
}
