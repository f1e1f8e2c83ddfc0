//! The kernel, simulated: what the loop may see, when it may see it, and a clock that only moves
//! while the loop sleeps.
//!
//! Edge-triggering is modelled as epoll does it. A change puts its source on a list, once; a wait
//! takes sources off the list, looks at each, and tells all that is so *now*; what is not so any
//! more is not told, and what changed twice is told once. There is an edge when data or an end
//! arrives, when a full socket has room again, and when a socket is watched that is ready already.
//! There is none otherwise.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, VecDeque};
use std::ffi::OsString;
use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use onepoll::config::limits::{DATAGRAM_FAILURES_IN_A_ROW_MAX, EMFILE_RETRY};
use onepoll::reactor::{
    HandedOver, ListenerOptions, Os, Readiness, Received, Refused, Seen, Signal, Source, Spawned,
    Token, Woke,
};
use onepoll::service::Peer;
use onepoll::turn::{Errand, Exit, Job, Moment, Output, Severity, Usage};
use onepoll::wire::CommandSignal;
use rustix::io::{Errno, pread};

use crate::family::{Child, PIPE_BYTES_MAX, Step, Steps, steps_of};
use crate::faults::Faults;
use crate::link::{Link, Watch, take};
use crate::occasions::{Occasion, Occasions};
use crate::partings::Partings;
use crate::random::Random;
use crate::readers::Script;
use crate::sealed::{Mischief, Tunnel};
use crate::sources::{Account, Debts, Objection, Place, any_place, is_loopback, peer};

pub(crate) const MICRO: u64 = 1_000;
pub(crate) const MILLI: u64 = 1_000_000;
pub(crate) const SECOND: u64 = 1_000_000_000;
/// Wall time when a simulation begins, since the Unix epoch.
pub(crate) const WALL: Duration = Duration::from_secs(1_700_000_000);

/// Turns in a row that may do nothing the kernel hears of: frames that were read together are served
/// a few a turn, and what is said to a connection that is full is only kept.
const SPINS_MAX: u32 = 1_000;

/// Everything outside the loop: the kernel, and the clients behind it.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) net: Net,
    pub(crate) clients: Vec<Box<dyn Client>>,
    /// By client: steps in a row that changed nothing.
    lazy: Vec<u32>,
}

/// A client at the other end, which does one thing at a time.
pub(crate) trait Client: std::fmt::Debug {
    /// Does one thing, and says how long it rests then; `None`: it has gone home.
    fn step(&mut self, net: &mut Net) -> Option<u64>;
    /// Whether it has gone home.
    fn is_home(&self) -> bool;
}

/// The kernel itself.
#[derive(Debug)]
pub(crate) struct Net {
    pub(crate) random: Random,
    pub(crate) faults: Faults,
    pub(crate) now: u64,
    /// From here on nothing goes wrong any more, and clients come to an end.
    pub(crate) calm: bool,
    /// The loop may not sleep beyond this: then `rests` is set.
    pub(crate) horizon: u64,
    pub(crate) rests: bool,
    pub(crate) links: Vec<Link>,
    pub(crate) listeners: Vec<Backlog>,
    pub(crate) datagrams: Vec<DatagramQueue>,
    pub(crate) children: Vec<Child>,
    /// What the next commands do, in directed tests; without, their lines decide.
    pub(crate) next_children: VecDeque<Steps>,
    pub(crate) signals: Vec<Signal>,
    pub(crate) stop_sent: bool,
    /// Changes that are due, for the operator.
    pub(crate) changes: u32,
    /// By service: how often its secrets have changed.
    pub(crate) generations: Vec<u64>,
    /// Command lines of broadcasts that have begun.
    broadcasts: BTreeSet<Vec<u8>>,
    /// What is held against sources that did not log in, and how often loopback has not.
    debts: Debts,
    loopback_failures: u32,
    /// All clients of the world come from there.
    pub(crate) only_place: Option<Place>,
    pub(crate) occasions: Occasions,
    pub(crate) partings: Partings,
    /// The loop took the first signal to stop: what waits to be accepted now must be served.
    drains: bool,
    /// The loop gives up what is left.
    pub(crate) gives_up: bool,
    /// Connections that the server lets in, and those that are open.
    pub(crate) connections_max: usize,
    /// Connections that it waits for to log in.
    pub(crate) logins_max: usize,
    /// It may close connections, since it has so little memory for buffers.
    pub(crate) may_evict: bool,
    open: usize,
    /// What must not be let in.
    pub(crate) refused: Refused,
    /// Descriptors that may be open.
    pub(crate) descriptors_max: usize,
    pub(crate) descriptors: usize,
    no_descriptors_until: u64,
    /// What the next calls of `accept` fail with, in directed tests.
    pub(crate) next_accepts: VecDeque<Errno>,
    /// What the next writes may take, in directed tests.
    pub(crate) next_writes: VecDeque<usize>,
    /// Events for which there is no reason, in directed tests.
    pub(crate) inject: Vec<Seen>,
    ready: VecDeque<Thing>,
    agenda: BinaryHeap<Reverse<(u64, u64, Due)>>,
    agenda_len: u64,
    /// What clients did that changed something.
    doings: u64,
    ghosts: Vec<Token>,
    /// What the last wait told.
    pub(crate) told: Vec<Seen>,
    /// How calls have ended since then, and which connection they were about; none: the poll does not
    /// watch it yet.
    pub(crate) deeds: Vec<(Option<Token>, Deed)>,
    /// The time of this turn, as the loop was told.
    pub(crate) woke: u64,
    pub(crate) turn: u64,
    pub(crate) work: Work,
    pub(crate) total: Total,
    /// Turns in a row that were wanted at once and did nothing.
    idle_turns: u32,
    told_something: bool,
    /// What the loop did that it must not do.
    pub(crate) broken: Option<String>,
    /// The most that a turn may do.
    pub(crate) bounds: Work,
    /// The same of the next, if it is not the same.
    bounds_next: Option<Work>,
    /// Time passes while the loop works.
    pub(crate) turn_costs: bool,
}

/// Steps of handshakes in a turn.
const HANDSHAKES_PER_TURN: u64 = 8;

/// What a turn did, or may do.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Work {
    pub(crate) calls: u64,
    pub(crate) accepts: u64,
    pub(crate) budgets: u32,
    pub(crate) read_bytes: usize,
    pub(crate) datagrams: u64,
    /// Reads of connections whose handshake goes on.
    pub(crate) handshakes: u64,
}

/// What all turns did.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Total {
    pub(crate) read: u64,
    pub(crate) written: u64,
    pub(crate) told: u64,
    pub(crate) calls: u64,
    pub(crate) refused: u64,
    /// Times that `accept` was called.
    pub(crate) accepts: u64,
    /// Looks whether a connection waits to be accepted.
    pub(crate) looks: u64,
    /// Looks at the wall clock.
    pub(crate) walls: u64,
}

/// A listening socket and the connections that wait there.
#[derive(Debug)]
pub(crate) struct Backlog {
    pub(crate) waiting: VecDeque<usize>,
    pub(crate) closed: bool,
    /// Connections that it lets in, and those that are open.
    pub(crate) connections_max: usize,
    open: usize,
    /// The user that it lets in.
    pub(crate) only_uid: Option<u32>,
    /// A client that is silent for so long is disconnected.
    pub(crate) idle: Option<u64>,
    /// What it serves.
    pub(crate) service: usize,
    /// It retires: clients go to that one.
    successor: Option<usize>,
    /// The sources that it lets in.
    pub(crate) sources: Account,
    /// It stands behind a gate.
    pub(crate) is_gated: bool,
    /// Another process goes on with it.
    pub(crate) is_taken: bool,
    /// Its service reads what a client says.
    pub(crate) reads: bool,
    /// Its connections have sessions.
    pub(crate) is_secure: bool,
    /// Something was lacking when the loop last called `accept`: it rests until then.
    rests_until: Option<u64>,
    /// A connection was closed since, which ends the rest.
    closed_since: bool,
    watch: Watch,
}

impl Default for Backlog {
    fn default() -> Backlog {
        Backlog {
            waiting: VecDeque::new(),
            closed: false,
            connections_max: usize::MAX,
            open: 0,
            only_uid: None,
            idle: None,
            service: 0,
            successor: None,
            sources: Account::default(),
            is_gated: false,
            is_taken: false,
            reads: true,
            is_secure: false,
            rests_until: None,
            closed_since: false,
            watch: Watch::default(),
        }
    }
}

impl Backlog {
    /// Connections that come from now on have these.
    pub(crate) fn take_options(&mut self, options: &ListenerOptions) {
        self.connections_max = options.connections_max;
        self.only_uid = options.only_uid;
        self.idle = options.idle.map(|idle| idle.as_nanos() as u64);
        self.is_secure = options.secure.is_some();
    }

    /// Connections that are open.
    pub(crate) fn connections(&self) -> usize {
        self.open
    }

    /// A change may end its rest.
    pub(crate) fn rest_may_end(&mut self) {
        self.closed_since = true;
    }
}

/// A datagram socket.
#[derive(Debug, Default)]
pub(crate) struct DatagramQueue {
    pub(crate) inbox: VecDeque<(Vec<u8>, SocketAddr)>,
    pub(crate) outbox: VecDeque<(Vec<u8>, SocketAddr)>,
    /// What the next sends fail with, in directed tests.
    pub(crate) next_sends: VecDeque<Errno>,
    /// What the next receives fail with.
    pub(crate) next_receives: VecDeque<Errno>,
    pub(crate) posted: Vec<(Vec<u8>, SocketAddr)>,
    closed: bool,
    /// Receives that failed since one did not.
    failures: u32,
    /// They went on failing: it rests until then.
    rests_until: Option<u64>,
    watch: Watch,
}

/// Something that can be watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Thing {
    Link(usize),
    Listener(usize),
    Datagram(usize),
    Pipe(usize, Output),
    Input(usize),
    Exit(usize),
    Signals,
}

/// Something that happens by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Due {
    Client(usize),
    Room(usize),
    Child(usize),
    Stop,
    Calm,
    Change,
    DrainsReleased,
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deed {
    ReadSome,
    ReadNothing,
    ReadEnd,
    ReadFailed,
    WroteAll,
    WroteSome,
    WroteNothing,
    WriteFailed,
    ShutdownFailed,
}

impl Deed {
    fn of_read(read: &io::Result<usize>) -> Deed {
        match read {
            Ok(0) => Deed::ReadEnd,
            Ok(_) => Deed::ReadSome,
            Err(error) if is_passing(error) => Deed::ReadNothing,
            Err(_) => Deed::ReadFailed,
        }
    }

    fn of_write(written: &io::Result<usize>, of: usize) -> Deed {
        match written {
            Ok(n) if *n == of => Deed::WroteAll,
            Ok(_) => Deed::WroteSome,
            Err(error) if is_passing(error) => Deed::WroteNothing,
            Err(_) => Deed::WriteFailed,
        }
    }
}

/// Whether the same call may do better later.
fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}

/// What a client finds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Bytes(Vec<u8>),
    Nothing,
    End,
    Reset,
}

impl Net {
    pub(crate) fn new(random: Random) -> Net {
        Net {
            random,
            faults: Faults::default(),
            now: 0,
            calm: false,
            horizon: u64::MAX,
            rests: false,
            links: Vec::new(),
            listeners: Vec::new(),
            datagrams: Vec::new(),
            children: Vec::new(),
            next_children: VecDeque::new(),
            signals: Vec::new(),
            stop_sent: false,
            changes: 0,
            generations: Vec::new(),
            broadcasts: BTreeSet::new(),
            debts: Debts::default(),
            loopback_failures: 0,
            only_place: None,
            occasions: Occasions::default(),
            partings: Partings::default(),
            drains: false,
            gives_up: false,
            connections_max: usize::MAX,
            logins_max: usize::MAX,
            may_evict: false,
            open: 0,
            refused: Refused::default(),
            descriptors_max: usize::MAX,
            descriptors: 0,
            no_descriptors_until: 0,
            next_accepts: VecDeque::new(),
            next_writes: VecDeque::new(),
            inject: Vec::new(),
            ready: VecDeque::new(),
            agenda: BinaryHeap::new(),
            agenda_len: 0,
            doings: 0,
            ghosts: Vec::new(),
            told: Vec::new(),
            deeds: Vec::new(),
            woke: 0,
            turn: 0,
            work: Work::default(),
            total: Total::default(),
            idle_turns: 0,
            told_something: false,
            broken: None,
            bounds: Work {
                calls: u64::MAX,
                accepts: u64::MAX,
                budgets: 1,
                read_bytes: usize::MAX,
                datagrams: u64::MAX,
                handshakes: HANDSHAKES_PER_TURN,
            },
            bounds_next: None,
            turn_costs: false,
        }
    }

    /// What a turn may do changes. The turn that has just been is not judged yet.
    pub(crate) fn bound(&mut self, change: impl FnOnce(&mut Work)) {
        change(self.bounds_next.get_or_insert(self.bounds));
    }

    // What happens by itself.

    pub(crate) fn plan(&mut self, wait: u64, due: Due) {
        self.agenda_len += 1;
        let at = self.now.saturating_add(wait);
        self.agenda.push(Reverse((at, self.agenda_len, due)));
    }

    fn is_due(&mut self) -> Option<Due> {
        let Reverse((at, _, due)) = self.agenda.peek()?;
        let due = (*at <= self.now).then_some(*due)?;
        self.agenda.pop();
        Some(due)
    }

    fn next_due(&self) -> Option<u64> {
        self.agenda.peek().map(|Reverse((at, _, _))| *at)
    }

    pub(crate) fn calm_down(&mut self) {
        self.calm = true;
        self.faults = Faults::default();
        self.no_descriptors_until = 0;
    }

    pub(crate) fn signal(&mut self, signal: Signal) {
        self.stop_sent |= signal == Signal::Stop;
        self.signals.push(signal);
        self.wake(Thing::Signals);
    }

    // What the loop must do about those that wait to be accepted.

    /// The loop calls `accept`.
    fn asks(&mut self, listener: usize) {
        let (now, queue) = (self.woke, &mut self.listeners[listener]);
        let too_early = queue.rests_until.take().filter(|until| now < *until);
        if let Some(until) = too_early
            && !queue.closed_since
        {
            self.accuse(|| format!("listener {listener} did not rest until {until}: it is {now}"));
        }
    }

    /// There is no descriptor, or no memory: the listener rests.
    fn lacks(&mut self, listener: usize, error: Errno) -> io::Error {
        let rest = EMFILE_RETRY.as_nanos() as u64;
        // By the loop's clock, which stands still in a turn.
        self.listeners[listener].rests_until = Some(self.woke.saturating_add(rest));
        self.listeners[listener].closed_since = false;
        error.into()
    }

    /// The loop receives.
    fn receives(&mut self, socket: usize) {
        let (now, queue) = (self.woke, &mut self.datagrams[socket]);
        if let Some(until) = queue.rests_until.take().filter(|until| now < *until) {
            self.accuse(|| format!("socket {socket} did not rest until {until}: it is {now}"));
        }
    }

    /// A receive fails; after so many the socket rests.
    fn receive_fails(&mut self, socket: usize, error: Errno) -> io::Error {
        let rest = self.woke.saturating_add(EMFILE_RETRY.as_nanos() as u64);
        let queue = &mut self.datagrams[socket];
        queue.failures += 1;
        if queue.failures == DATAGRAM_FAILURES_IN_A_ROW_MAX {
            queue.failures = 0;
            queue.rests_until = Some(rest);
        }
        error.into()
    }

    /// The loop is given this connection, which it may have to refuse.
    fn admits(&mut self, k: usize) {
        let is_penalised = self.is_penalised(k);
        let has_to_log_in = self.links[k].logs_in_until.is_some();
        // Only then: a crowd would be counted once for each of it.
        let are_logins_full = has_to_log_in && {
            let logins = self.links.iter().filter(|link| link.is_logging_in());
            logins.count() >= self.logins_max
        };
        let link = &mut self.links[k];
        let queue = &mut self.listeners[link.listener];
        let is_other = link.local && queue.only_uid.is_some_and(|uid| uid != link.uid)
            || !link.local && link.reset && queue.only_uid.is_some();
        (link.service, link.idle) = (queue.service, queue.idle);
        let place = (!link.local && !link.reset).then_some(link.place);
        let refused = match () {
            () if is_other => Some(&mut self.refused.other_user),
            () if !queue.sources.serves(place) => Some(&mut self.refused.denied),
            () if is_penalised => Some(&mut self.refused.penalised),
            () if self.open >= self.connections_max => Some(&mut self.refused.full),
            () if queue.open >= queue.connections_max => Some(&mut self.refused.listener_full),
            () if are_logins_full => {
                self.occasions.note(Occasion::LoginsFull);
                Some(&mut self.refused.logins_full)
            }
            () => match queue.sources.counts(self.woke, place) {
                Some(Objection::SourceFull) => Some(&mut self.refused.source_full),
                Some(Objection::SourceTooFast) => Some(&mut self.refused.source_too_fast),
                None => {
                    link.is_counted = place.is_some();
                    None
                }
            },
        };
        if let Some(refused) = refused {
            *refused += 1;
            link.must_refuse = true;
        }
        self.open += 1;
        queue.open += 1;
    }

    /// Whether this connection's source has failed too often to be asked again.
    fn is_penalised(&mut self, k: usize) -> bool {
        let queue = &self.listeners[self.links[k].listener];
        let (is_gated, has_to_log_in) = (queue.is_gated, queue.is_gated || queue.is_secure);
        let link = &mut self.links[k];
        link.is_gated = is_gated;
        if has_to_log_in {
            link.logs_in_until = Some(self.woke.saturating_add(10 * SECOND));
        }
        if !is_gated || link.local || link.reset {
            return false;
        }
        let place = link.place;
        if self.may_be_late(place) {
            // Whether one was too late depends on what the loop saw of it when: so none comes from there
            // again. What that costs has tests of its own.
            self.links[k].place = 0;
        }
        let place = self.links[k].place;
        if is_loopback(place) {
            if self.loopback_failures >= 3 {
                self.occasions.note(Occasion::Spared);
            }
            return false;
        }
        let (bites, had_bitten) = self.debts.bites(self.woke, place);
        match (bites, had_bitten) {
            (true, _) => self.occasions.note(Occasion::Penalised),
            (false, true) => self.occasions.note(Occasion::Forgiven),
            (false, false) => {}
        }
        bites
    }

    /// Whether one of this source may not have logged in in time.
    fn may_be_late(&self, place: Place) -> bool {
        self.links.iter().any(|link| {
            let end = if link.closed {
                link.times.closed
            } else {
                self.now
            };
            !is_loopback(place)
                && Debts::are_one(place, link.place)
                && !link.has_logged_in()
                && link.logs_in_until.is_some_and(|until| until <= end)
        })
    }

    /// A gate was given a wrong proof by this connection.
    pub(crate) fn fails_to_log_in(&mut self, k: usize) {
        let (place, is_local) = (self.links[k].place, self.links[k].local);
        if is_local {
            return;
        }
        if is_loopback(place) {
            self.loopback_failures += 1;
        } else {
            self.occasions.note(Occasion::Failed);
            self.debts.fails(self.woke, place);
        }
    }

    /// A service was told of this connection, which may be a gate.
    pub(crate) fn is_told(&mut self, k: usize) {
        self.links[k].is_known = true;
    }

    /// A service behind a gate was told of this connection.
    pub(crate) fn comes_in(&mut self, k: usize) {
        let link = &mut self.links[k];
        link.is_inside = true;
        if link.tunnel.is_some() {
            let is_from_afar = !link.local && !is_loopback(link.place);
            self.occasions.note(Occasion::InsideTunnel);
            if is_from_afar {
                self.occasions.note(Occasion::InsideTunnelFromAfar);
            }
        }
    }

    /// Whether the loop may sleep until then, though somebody waits to be accepted.
    fn may_sleep(&mut self, until: u64) {
        let forgets = |queue: &Backlog| {
            let told = !queue.waiting.is_empty() && !queue.watch.listed && !queue.closed;
            told && queue.rests_until.is_none_or(|rest| rest < until)
        };
        let ignores = |queue: &DatagramQueue| {
            let told = !queue.inbox.is_empty() && !queue.watch.listed;
            told && queue.rests_until.is_none_or(|rest| rest < until)
        };
        if let Some(socket) = self.datagrams.iter().position(ignores) {
            self.accuse(|| format!("sleeps until {until}, and at socket {socket} is a datagram"));
        }
        if let Some(listener) = self.listeners.iter().position(forgets) {
            let queue = &self.listeners[listener];
            let sketch = format!("{queue:?}");
            self.accuse(|| {
                format!("sleeps until {until}, and at listener {listener} waits: {sketch}")
            });
        }
    }

    fn accuse(&mut self, what: impl FnOnce() -> String) {
        if self.broken.is_none() {
            self.broken = Some(what());
        }
    }

    // The poll's list.

    fn watch_of(&mut self, thing: Thing) -> Option<&mut Watch> {
        Some(match thing {
            Thing::Link(link) => &mut self.links[link].watch,
            Thing::Listener(listener) => &mut self.listeners[listener].watch,
            Thing::Datagram(socket) => &mut self.datagrams[socket].watch,
            Thing::Pipe(child, output) => &mut self.children[child].pipe(output).watch,
            Thing::Input(child) => &mut self.children[child].input.as_mut()?.watch,
            Thing::Exit(child) => &mut self.children[child].watch,
            Thing::Signals => return None,
        })
    }

    /// Something changed: the poll will tell so, once.
    fn wake(&mut self, thing: Thing) {
        if let Some(watch) = self.watch_of(thing) {
            if watch.token.is_none() || watch.listed {
                return;
            }
            watch.listed = true;
        }
        self.ready.push_back(thing);
    }

    fn watch(&mut self, thing: Thing, token: Token) -> io::Result<()> {
        self.work.calls += 1;
        if let Thing::Link(link) = thing
            && self.random.chance(self.faults.watch)
        {
            self.links[link].excused = true;
            return Err(Errno::NOSPC.into());
        }
        let watch = self.watch_of(thing).expect("signals are always watched");
        if watch.token.is_some() {
            self.accuse(|| format!("{thing:?} was watched twice"));
            return Err(Errno::EXIST.into());
        }
        watch.token = Some(token);
        // What is already so is told at once.
        if self.readiness(thing) != Readiness::default() {
            self.wake(thing);
        }
        Ok(())
    }

    fn readiness(&mut self, thing: Thing) -> Readiness {
        let readable = |readable| Readiness {
            readable,
            ..Readiness::default()
        };
        match thing {
            Thing::Link(link) => self.links[link].readiness(self.now),
            Thing::Listener(listener) => readable(!self.listeners[listener].waiting.is_empty()),
            Thing::Datagram(socket) => readable(!self.datagrams[socket].inbox.is_empty()),
            Thing::Pipe(child, output) => {
                let pipe = self.children[child].pipe(output);
                let (some, over) = (!pipe.bytes.is_empty(), !pipe.is_held());
                Readiness {
                    readable: some,
                    read_closed: over,
                    ..Readiness::default()
                }
            }
            Thing::Input(child) => {
                let input = self.children[child].input.as_ref();
                let input = input.expect("only what is fed is watched");
                Readiness {
                    writable: input.bytes.len() < PIPE_BYTES_MAX,
                    error: input.is_deaf,
                    ..Readiness::default()
                }
            }
            Thing::Exit(child) => readable(self.children[child].exit.is_some()),
            Thing::Signals => readable(!self.signals.is_empty()),
        }
    }

    /// Takes sources off the list and tells what is so of each.
    fn tell(&mut self, seen: &mut Vec<Seen>) {
        if self.random.chance(self.faults.shuffle) {
            let list = self.ready.make_contiguous();
            for k in (1..list.len()).rev() {
                list.swap(k, self.random.index(k + 1));
            }
        }
        let mut n = self.ready.len();
        if n > 1 && self.random.chance(self.faults.few) {
            n = self.random.some(n);
        }
        let before = seen.len();
        for _ in 0..n {
            let thing = self.ready.pop_front().expect("there are as many");
            let token = match self.watch_of(thing) {
                None => Some(Token::of(Source::Signals)),
                Some(watch) => {
                    watch.listed = false;
                    watch.token
                }
            };
            let Some(token) = token else { continue };
            let readiness = self.readiness(thing);
            if readiness != Readiness::default() {
                seen.push(Seen { token, readiness });
            }
        }
        self.haunt(seen);
        seen.append(&mut self.inject);
        self.total.told += (seen.len() - before) as u64;
        self.told_something = seen.len() > before;
        self.told.clear();
        self.deeds.clear();
        self.told.extend_from_slice(&seen[before..]);
    }

    /// Events without a reason, and about sources that are gone.
    fn haunt(&mut self, seen: &mut Vec<Seen>) {
        let some = |random: &mut Random| Readiness {
            readable: random.once_in(2),
            writable: random.once_in(2),
            urgent: random.once_in(8),
            ..Readiness::default()
        };
        if self.random.chance(self.faults.spurious) {
            let watched = self.links.iter().filter_map(|link| link.watch.token);
            let listeners = self
                .listeners
                .iter()
                .filter_map(|listener| listener.watch.token);
            let sockets = self
                .datagrams
                .iter()
                .filter_map(|socket| socket.watch.token);
            let all: Vec<Token> = watched.chain(listeners).chain(sockets).collect();
            if !all.is_empty() {
                let token = self.random.pick(&all);
                let readiness = some(&mut self.random);
                let at = self.random.index(seen.len() + 1);
                seen.insert(at, Seen { token, readiness });
            }
        }
        if !self.ghosts.is_empty() && self.random.chance(self.faults.ghost) {
            let token = self.random.pick(&self.ghosts);
            let mut readiness = some(&mut self.random);
            readiness.error = self.random.once_in(2);
            let at = self.random.index(seen.len() + 1);
            seen.insert(at, Seen { token, readiness });
        }
    }

    /// The end of a turn: looks at what it did.
    fn end_turn(&mut self, until: Option<Moment>) {
        let wanted = until.is_some_and(|until| until.as_nanos() <= self.now);
        let did = self.work.calls > 0 || self.told_something;
        self.idle_turns = if wanted && !did {
            self.idle_turns + 1
        } else {
            0
        };
        if self.idle_turns > SPINS_MAX {
            self.accuse(|| "spins: turns in a row that were wanted at once and did nothing".into());
        }
        let (work, bounds) = (self.work, self.bounds);
        if work.accepts > bounds.accepts
            || work.datagrams > bounds.datagrams
            || work.handshakes > bounds.handshakes
        {
            self.accuse(|| format!("I10: {work:?} in a turn, of {bounds:?}"));
        }
        if work.handshakes == bounds.handshakes {
            self.occasions.note(Occasion::HandshakesInFull);
        }
        if let Some(next) = self.bounds_next.take() {
            self.bounds = next;
        }
        self.total.calls += work.calls;
        self.work = Work::default();
        self.turn += 1;
        if self.turn_costs {
            self.now = self.now.saturating_add(1 + self.random.below(20 * MICRO));
        }
    }

    /// The loop begins to drain: what waits to be accepted now must be served.
    pub(crate) fn wait_in_time(&mut self) {
        if std::mem::replace(&mut self.drains, true) {
            return;
        }
        for listener in &self.listeners {
            for &k in &listener.waiting {
                self.links[k].was_in_time = true;
            }
        }
    }

    /// Connections that are open.
    pub(crate) fn connections(&self) -> usize {
        self.open
    }

    /// A listener retires: what is in its queue must be served, and clients go to another.
    pub(crate) fn retires(&mut self, listener: usize, successor: usize) {
        let queue = &mut self.listeners[listener];
        queue.successor = Some(successor);
        if !queue.waiting.is_empty() {
            self.occasions.note(Occasion::RetiredWithQueue);
        }
        for &k in &queue.waiting {
            self.links[k].was_in_time = true;
        }
    }

    // The clients' side.

    /// A client connects that will say, or hear, so much, which must fit in some hundred pieces.
    pub(crate) fn connect(&mut self, mut listener: usize, says: usize) -> Option<usize> {
        while let Some(successor) = self.listeners[listener].successor {
            listener = successor;
        }
        if self.listeners[listener].closed {
            return None;
        }
        let least = says / 128;
        let (up, down) = if self.random.once_in(3) {
            (
                1 + least + self.random.size(200),
                3 + least + self.random.size(200),
            )
        } else {
            (
                64 + self.random.size(1 << 17),
                64 + self.random.size(1 << 17),
            )
        };
        let link = self.connect_with(listener, up, down);
        self.links[link].local = self.random.chance(self.faults.local);
        self.links[link].uid = self.random.pick(&[0, 1000]);
        if self.links[link].tunnel.is_some() {
            let mischief = Mischief::of(&mut self.random, says);
            let random = Random::new(self.random.next());
            self.links[link].tunnel = Some(Tunnel::new(mischief, random));
        }
        self.links[link].place = match self.only_place {
            Some(place) => place,
            None => any_place(&mut self.random),
        };
        Some(link)
    }

    pub(crate) fn connect_with(
        &mut self,
        listener: usize,
        up_max: usize,
        down_max: usize,
    ) -> usize {
        let link = self.links.len();
        self.links.push(Link::new(listener, up_max, down_max));
        if self.listeners[listener].is_secure {
            let random = Random::new(self.random.next());
            self.links[link].tunnel = Some(Tunnel::new(Mischief::default(), random));
        }
        self.listeners[listener].waiting.push_back(link);
        self.wake(Thing::Listener(listener));
        link
    }

    /// The client writes what fits; `None`: the connection is reset.
    fn raw_write(&mut self, k: usize, bytes: &[u8]) -> Option<usize> {
        let link = &mut self.links[k];
        if link.closed && !link.reset {
            link.reset_by_server();
        }
        if link.reset {
            return None;
        }
        let n = bytes.len().min(link.up_max - link.up.len());
        self.doings += u64::from(n > 0);
        link.up.extend(&bytes[..n]);
        if n > 0 {
            self.wake(Thing::Link(k));
        }
        Some(n)
    }

    /// The client says what fits; `None`: the connection is reset.
    pub(crate) fn client_write(&mut self, k: usize, bytes: &[u8]) -> Option<usize> {
        if self.links[k].tunnel.is_none() {
            return self.raw_write(k, bytes);
        }
        self.pump(k)?;
        let said = self.links[k]
            .tunnel
            .as_mut()
            .map_or(0, |tunnel| tunnel.say(bytes));
        self.doings += u64::from(said > 0);
        self.pump(k)?;
        Some(said)
    }

    pub(crate) fn client_read(&mut self, k: usize, most: usize) -> Found {
        if self.links[k].tunnel.is_none() {
            return self.raw_read(k, most);
        }
        let _ = self.pump(k);
        let found = self.raw_read(k, most);
        if let Found::Bytes(bytes) = &found
            && let Some(tunnel) = &mut self.links[k].tunnel
        {
            tunnel.hear(bytes);
        }
        let _ = self.pump(k);
        let Link {
            tunnel: Some(tunnel),
            shut,
            ..
        } = &mut self.links[k]
        else {
            return found;
        };
        let is_rude = *shut && tunnel.is_open && !tunnel.heard_bye && !tunnel.heard_alert;
        match found {
            _ if tunnel.holds() => Found::Bytes(tunnel.take(most)),
            Found::Reset => Found::Reset,
            _ if tunnel.heard_bye => Found::End,
            Found::End if is_rude && tunnel.heard_data => {
                self.accuse(|| format!("link {k} ended without a word"));
                Found::End
            }
            Found::End => Found::End,
            Found::Bytes(_) | Found::Nothing => Found::Nothing,
        }
    }

    pub(crate) fn client_shut(&mut self, k: usize) {
        let Some(tunnel) = &mut self.links[k].tunnel else {
            return self.raw_shut(k);
        };
        tunnel.end();
        if tunnel.is_cut() {
            self.links[k].excused = true;
            self.raw_shut(k);
        }
        let _ = self.pump(k);
    }

    pub(crate) fn client_close(&mut self, k: usize) {
        let _ = self.pump(k);
        self.raw_close(k);
    }

    /// Moves the records that its tunnel has made onto the wire, as many as fit.
    fn pump(&mut self, k: usize) -> Option<()> {
        loop {
            let link = &mut self.links[k];
            let Some(tunnel) = link.tunnel.as_mut().filter(|_| !link.fin) else {
                return Some(());
            };
            let (bytes, is_changed) = tunnel.pass(link.up_max - link.up.len());
            link.excused |= is_changed;
            if bytes.is_empty() {
                break;
            }
            self.raw_write(k, &bytes)?;
        }
        if self.links[k].tunnel.as_ref().is_some_and(Tunnel::shuts) {
            self.raw_shut(k);
        }
        Some(())
    }

    /// The client sends one urgent byte, which the server does not ask for.
    pub(crate) fn client_urge(&mut self, k: usize) {
        let link = &mut self.links[k];
        if link.closed || link.reset || link.fin || link.mark.is_some() {
            return;
        }
        link.mark = Some(link.up.len());
        self.wake(Thing::Link(k));
    }

    fn raw_read(&mut self, k: usize, most: usize) -> Found {
        let link = &mut self.links[k];
        if link.client_reset {
            return Found::Reset;
        }
        if link.down.is_empty() {
            return if link.shut || link.closed {
                Found::End
            } else {
                Found::Nothing
            };
        }
        self.doings += 1;
        let mut bytes = vec![0; most.min(link.down.len())];
        take(&mut link.down, &mut bytes);
        if link.no_space && link.is_writable(self.now) {
            link.no_space = false;
            self.wake(Thing::Link(k));
        }
        Found::Bytes(bytes)
    }

    fn raw_shut(&mut self, k: usize) {
        let link = &mut self.links[k];
        if !link.reset && !link.fin {
            link.fin = true;
            self.wake(Thing::Link(k));
        }
    }

    fn raw_close(&mut self, k: usize) {
        let link = &mut self.links[k];
        if !link.down.is_empty() {
            // Unread input: the kernel sends a reset instead of an end.
            return self.client_reset(k);
        }
        self.raw_shut(k);
        self.links[k].client_gone = true;
        if self.links[k].local {
            self.wake(Thing::Link(k));
        }
    }

    pub(crate) fn client_reset(&mut self, k: usize) {
        let link = &mut self.links[k];
        if !link.reset {
            link.reset_by_client();
            self.wake(Thing::Link(k));
        }
    }

    pub(crate) fn post(&mut self, socket: usize, bytes: &[u8], from: SocketAddr) {
        if self.datagrams[socket].closed {
            return;
        }
        self.datagrams[socket]
            .inbox
            .push_back((bytes.to_vec(), from));
        self.datagrams[socket].posted.push((bytes.to_vec(), from));
        self.wake(Thing::Datagram(socket));
    }

    // The children's side.

    fn step_child(&mut self, k: usize) {
        let child = &mut self.children[k];
        let Some((_, step)) = child.steps.front().cloned() else {
            return;
        };
        if child.exit.is_some() {
            return;
        }
        let mut done = true;
        let mut woken = Vec::new();
        match step {
            // It closed that one itself.
            Step::Say(output, _) if !child.pipe(output).leader => {}
            Step::Say(output, bytes) => {
                let pipe = child.pipe(output);
                if pipe.closed {
                    return self.end_child(k, Exit::Signal(13));
                }
                let n = bytes.len().min(PIPE_BYTES_MAX - pipe.bytes.len());
                pipe.bytes.extend(&bytes[..n]);
                pipe.said.extend(&bytes[..n]);
                if n > 0 {
                    woken.push(output);
                }
                if n < bytes.len() {
                    child.steps[0].1 = Step::Say(output, bytes[n..].to_vec());
                    done = false;
                }
            }
            Step::Perform => {
                let out = child.perform();
                // A part of it may be all that it says.
                let said = match child.steps.get(1) {
                    Some((_, Step::Exit(0))) => out.len(),
                    _ => out.len() / 2,
                };
                child.steps[0].1 = Step::Say(Output::Out, out[..said].to_vec());
                done = false;
            }
            Step::Shut(output) => {
                child.pipe(output).leader = false;
                woken.push(output);
            }
            Step::Escape => (child.out.escaped, child.err.escaped) = (true, true),
            Step::Fork => (child.out.group, child.err.group) = (true, true),
            Step::Exit(code) => return self.end_child(k, Exit::Code(code)),
            Step::Deafen => self.deafen_child(k),
            Step::Take(most) => {
                let (taken, is_over) = self.read_input(k, most);
                if taken.len() < most && !is_over {
                    self.children[k].steps[0].1 = Step::Take(most - taken.len());
                    done = false;
                }
            }
            Step::Copy => {
                if child.out.closed {
                    return self.end_child(k, Exit::Signal(13));
                }
                let room = PIPE_BYTES_MAX - child.out.bytes.len();
                let (taken, is_over) = self.read_input(k, room);
                done = is_over;
                let pipe = &mut self.children[k].out;
                pipe.bytes.extend(&taken);
                pipe.said.extend(&taken);
                if !taken.is_empty() {
                    woken.push(Output::Out);
                }
            }
        }
        let child = &mut self.children[k];
        let wait = if done {
            child.steps.pop_front();
            child.steps.front().map_or(0, |(wait, _)| *wait)
        } else {
            MILLI
        };
        for output in woken {
            self.wake(Thing::Pipe(k, output));
        }
        self.plan(wait, Due::Child(k));
    }

    /// A child begins, and does its first step after this.
    fn starts(&mut self, world: &Rc<RefCell<World>>, child: Child, wait: u64) -> Spawned<SimOs> {
        let has_input = child.input.is_some();
        self.children.push(child);
        self.descriptors += 3 + usize::from(has_input);
        let child = self.children.len() - 1;
        self.plan(wait, Due::Child(child));
        let pipe = |output| SimPipe {
            child,
            output,
            world: Rc::clone(world),
        };
        Spawned {
            out: pipe(Some(Output::Out)),
            err: pipe(Some(Output::Err)),
            input: has_input.then(|| pipe(None)),
            process: SimProcess(child),
        }
    }

    /// A child reads its input: what it got, and whether nothing more will come.
    fn read_input(&mut self, k: usize, most: usize) -> (Vec<u8>, bool) {
        let Some(input) = &mut self.children[k].input else {
            return (Vec::new(), true);
        };
        let taken: Vec<u8> = input.bytes.drain(..most.min(input.bytes.len())).collect();
        let is_over = input.bytes.is_empty() && (input.is_over || input.is_deaf);
        if !taken.is_empty() && std::mem::take(&mut input.was_full) {
            self.wake(Thing::Input(k));
        }
        (taken, is_over)
    }

    fn deafen_child(&mut self, k: usize) {
        if let Some(input) = &mut self.children[k].input {
            // What is in the pipe is nobody's any more.
            input.is_deaf = true;
            input.bytes.clear();
            self.wake(Thing::Input(k));
        }
    }

    fn end_child(&mut self, k: usize, exit: Exit) {
        let child = &mut self.children[k];
        child.exit.get_or_insert(exit);
        child.steps.clear();
        // Its descriptors are closed.
        child.errand = None;
        (child.out.leader, child.err.leader) = (false, false);
        self.deafen_child(k);
        // In whatever order: the process may be seen to end before its pipes do.
        let mut things = [
            Thing::Exit(k),
            Thing::Pipe(k, Output::Out),
            Thing::Pipe(k, Output::Err),
        ];
        let first = self.random.index(3);
        things.swap(0, first);
        for thing in things {
            self.wake(thing);
        }
    }
}

/// The port that a connection comes from.
fn port_of(link: usize) -> u16 {
    1024 + u16::try_from(link).expect("a world has fewer links than ports")
}

/// The connection of a peer that has a port, or a process.
pub(crate) fn link_of(peer: &Peer) -> Option<usize> {
    match *peer {
        Peer::V4(_, port) | Peer::V6(_, port, _) => Some(usize::from(port - 1024)),
        Peer::Local { pid, .. } => Some(pid as usize - 1),
        Peer::Unknown => None,
    }
}

/// The seam, simulated.
#[derive(Debug, Clone)]
pub(crate) struct SimOs(pub(crate) Rc<RefCell<World>>);

/// A connection's descriptor.
#[derive(Debug)]
pub(crate) struct SimStream(pub(crate) usize);

/// A listener's descriptor.
#[derive(Debug)]
pub(crate) struct SimListener(pub(crate) usize);

/// A datagram socket's descriptor.
#[derive(Debug)]
pub(crate) struct SimDatagram(pub(crate) usize);

/// A child's.
#[derive(Debug)]
pub(crate) struct SimProcess(pub(crate) usize);

/// A pipe's; closed when it is dropped.
#[derive(Debug)]
pub(crate) struct SimPipe {
    child: usize,
    /// None: its input.
    output: Option<Output>,
    world: Rc<RefCell<World>>,
}

impl Drop for SimPipe {
    fn drop(&mut self) {
        // In a test that is panicking the world may be in use; then there is no look.
        if let Ok(mut world) = self.world.try_borrow_mut() {
            world.net.descriptors -= 1;
            let child = &mut world.net.children[self.child];
            let (closed, watch) = match (self.output, &mut child.input) {
                (Some(output), _) => {
                    let pipe = child.pipe(output);
                    (&mut pipe.closed, &mut pipe.watch)
                }
                (None, Some(input)) => (&mut input.is_over, &mut input.watch),
                (None, None) => return,
            };
            (*closed, *watch) = (true, Watch::default());
        }
    }
}

impl SimOs {
    pub(crate) fn new(random: Random) -> SimOs {
        SimOs(Rc::new(RefCell::new(World {
            net: Net::new(random),
            clients: Vec::new(),
            lazy: Vec::new(),
        })))
    }

    pub(crate) fn net<T>(&self, look: impl FnOnce(&mut Net) -> T) -> T {
        look(&mut self.0.borrow_mut().net)
    }

    pub(crate) fn listener(&self) -> SimListener {
        self.net(|net| {
            net.listeners.push(Backlog::default());
            SimListener(net.listeners.len() - 1)
        })
    }

    pub(crate) fn datagram(&self) -> SimDatagram {
        self.net(|net| {
            net.datagrams.push(DatagramQueue::default());
            SimDatagram(net.datagrams.len() - 1)
        })
    }

    pub(crate) fn invite(&self, client: Box<dyn Client>, wait: u64) {
        let mut world = self.0.borrow_mut();
        world.clients.push(client);
        world.lazy.push(0);
        let number = world.clients.len() - 1;
        world.net.plan(wait, Due::Client(number));
    }

    /// A call about a connection, whose outcome is noted.
    fn call_about<T>(
        &self,
        stream: &SimStream,
        deed: impl FnOnce(&io::Result<T>) -> Deed,
        work: impl FnOnce(&mut Net) -> io::Result<T>,
    ) -> io::Result<T> {
        let outcome = self.call_while(Some(stream.0), work);
        self.net(|net| {
            let token = net.links[stream.0].watch.token;
            net.deeds.push((token, deed(&outcome)));
        });
        outcome
    }

    /// A call, which is counted.
    fn call<T>(&self, work: impl FnOnce(&mut Net) -> io::Result<T>) -> io::Result<T> {
        self.call_while(None, work)
    }

    /// The same, about a link whose client may be quicker.
    fn call_while<T>(
        &self,
        about: Option<usize>,
        work: impl FnOnce(&mut Net) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut world = self.0.borrow_mut();
        world.meanwhile(about);
        world.net.work.calls += 1;
        work(&mut world.net)
    }
}

impl World {
    /// The clients do not wait while the loop works.
    fn meanwhile(&mut self, about: Option<usize>) {
        let net = &mut self.net;
        if !net.random.chance(net.faults.meanwhile) || self.clients.is_empty() {
            return;
        }
        let owner = about.and_then(|link| net.links[link].client);
        let any = net.random.index(self.clients.len());
        let client = owner.filter(|_| net.random.once_in(2)).unwrap_or(any);
        if !self.clients[client].is_home() {
            self.step(client);
        }
    }

    /// A client does one thing; the connection that it makes is its own.
    fn step(&mut self, client: usize) -> Option<u64> {
        let links = self.net.links.len();
        let wait = self.clients[client].step(&mut self.net);
        for link in &mut self.net.links[links..] {
            link.client = Some(client);
        }
        wait
    }

    /// Everything that is due by now.
    fn go_on(&mut self) {
        while let Some(due) = self.net.is_due() {
            match due {
                Due::Client(k) if self.clients[k].is_home() => {}
                Due::Client(k) => {
                    let before = self.net.doings;
                    let Some(wait) = self.step(k) else {
                        continue;
                    };
                    // A client that waits for something looks less and less often, or most of the work
                    // of a seed is clients looking.
                    let lazy = &mut self.lazy[k];
                    *lazy = if self.net.doings == before {
                        *lazy + 1
                    } else {
                        0
                    };
                    let wait = wait.max(MICRO << (*lazy).min(16));
                    self.net.plan(wait, Due::Client(k));
                }
                Due::Room(k) => {
                    let (now, link) = (self.net.now, &mut self.net.links[k]);
                    if link.no_space && link.is_writable(now) {
                        link.no_space = false;
                        self.net.wake(Thing::Link(k));
                    }
                }
                Due::Child(k) => self.net.step_child(k),
                Due::Stop => self.net.signal(Signal::Stop),
                Due::Calm => self.net.calm_down(),
                Due::DrainsReleased => self.net.stop_sent = true,
                Due::Change => {
                    self.net.changes += 1;
                    self.net.signal(Signal::Reload);
                }
            }
        }
    }
}

impl Os for SimOs {
    type Listener = SimListener;
    type Stream = SimStream;
    type Datagram = SimDatagram;
    type Pipe = SimPipe;
    type Process = SimProcess;

    fn wait(&mut self, seen: &mut Vec<Seen>, until: Option<Moment>) -> io::Result<Woke> {
        let mut world = self.0.borrow_mut();
        world.net.end_turn(until);
        let asleep = Moment::from_nanos(world.net.now);
        loop {
            world.go_on();
            let net = &mut world.net;
            net.rests = false;
            net.tell(seen);
            let until = until.map_or(u64::MAX, Moment::as_nanos);
            if net.told_something || until <= net.now {
                break;
            }
            net.may_sleep(until);
            let next = until.min(net.next_due().unwrap_or(u64::MAX));
            if next == u64::MAX || next > net.horizon {
                net.rests = true;
                if net.horizon < u64::MAX {
                    net.now = net.now.max(net.horizon);
                }
                break;
            }
            if net.random.chance(net.faults.early) {
                net.now += net.random.below(next - net.now);
                break;
            }
            net.now = next;
            if next == until && net.random.chance(net.faults.late) {
                let late = net.random.below(5 * MILLI);
                net.now = net.now.saturating_add(late);
            }
        }
        world.net.woke = world.net.now;
        Ok(Woke {
            asleep,
            awake: Moment::from_nanos(world.net.now),
        })
    }

    fn wall(&self) -> SystemTime {
        self.net(|net| {
            net.total.walls += 1;
            SystemTime::UNIX_EPOCH + WALL + Duration::from_nanos(net.now)
        })
    }

    fn watch_listener(&mut self, listener: &SimListener, token: Token) -> io::Result<()> {
        self.net(|net| net.watch(Thing::Listener(listener.0), token))
    }

    fn rewatch_listener(&mut self, listener: &SimListener, token: Token) -> io::Result<()> {
        self.net(|net| {
            net.work.calls += 1;
            let watch = &mut net.listeners[listener.0].watch;
            if watch.token.replace(token).is_none() {
                net.accuse(|| "a listener that was not watched was watched again".into());
            }
            // As EPOLL_CTL_MOD does: what is already so is told at once.
            if !net.listeners[listener.0].waiting.is_empty() {
                net.wake(Thing::Listener(listener.0));
            }
            Ok(())
        })
    }

    fn watch_datagram(&mut self, socket: &SimDatagram, token: Token) -> io::Result<()> {
        self.net(|net| net.watch(Thing::Datagram(socket.0), token))
    }

    fn watch(&mut self, stream: &SimStream, token: Token) -> io::Result<()> {
        self.net(|net| net.watch(Thing::Link(stream.0), token))
    }

    fn watch_pipe(&mut self, pipe: &SimPipe, token: Token) -> io::Result<()> {
        let output = pipe.output.expect("an output");
        self.net(|net| net.watch(Thing::Pipe(pipe.child, output), token))
    }

    fn watch_input(&mut self, pipe: &SimPipe, token: Token) -> io::Result<()> {
        self.net(|net| net.watch(Thing::Input(pipe.child), token))
    }

    fn watch_process(&mut self, process: &SimProcess, token: Token) -> io::Result<()> {
        self.net(|net| net.watch(Thing::Exit(process.0), token))
    }

    fn accept(&mut self, listener: &SimListener) -> io::Result<(SimStream, Peer)> {
        self.call(|net| {
            net.work.accepts += 1;
            net.total.accepts += 1;
            net.asks(listener.0);
            // The kernel looks for a descriptor before it looks at the queue.
            if net.random.chance(net.faults.no_descriptors) {
                let wait = 1 + net.random.below(SECOND);
                net.no_descriptors_until = net.now.saturating_add(wait);
            }
            if net.descriptors >= net.descriptors_max || net.now < net.no_descriptors_until {
                return Err(net.lacks(listener.0, Errno::MFILE));
            }
            if let Some(error) = net.next_accepts.pop_front() {
                return Err(match error {
                    Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM => {
                        net.lacks(listener.0, error)
                    }
                    error => error.into(),
                });
            }
            if net.random.chance(net.faults.accept_lack) {
                let lack = [Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
                let error = net.random.pick(&lack);
                return Err(net.lacks(listener.0, error));
            }
            let queue = &mut net.listeners[listener.0];
            let Some(&k) = queue.waiting.front() else {
                return Err(Errno::AGAIN.into());
            };
            if net.random.chance(net.faults.accept_one) {
                let errors = [
                    Errno::INTR,
                    Errno::CONNABORTED,
                    Errno::PROTO,
                    Errno::PERM,
                    Errno::NETDOWN,
                    Errno::TIMEDOUT,
                ];
                let error = net.random.pick(&errors);
                if error != Errno::INTR {
                    net.listeners[listener.0].waiting.pop_front();
                    let link = &mut net.links[k];
                    link.excused = true;
                    link.closed = true;
                    link.reset_by_server();
                }
                return Err(error.into());
            }
            net.listeners[listener.0].waiting.pop_front();
            net.admits(k);
            let link = &mut net.links[k];
            link.accepted = true;
            link.asked = !link.up.is_empty();
            link.times.accepted = net.now;
            link.times.read = net.now;
            link.times.written = net.now;
            net.descriptors += 1;
            let port = port_of(k);
            let peer = match (link.local, link.reset) {
                (true, _) => Peer::Local {
                    pid: 1 + k as u32,
                    uid: link.uid,
                },
                (false, true) => Peer::Unknown,
                (false, false) => peer(link.place, port),
            };
            Ok((SimStream(k), peer))
        })
    }

    fn has_pending(&mut self, listener: &SimListener) -> bool {
        self.net(|net| {
            net.total.looks += 1;
            !net.listeners[listener.0].waiting.is_empty()
        })
    }

    fn close_listener(&mut self, listener: SimListener) {
        self.net(|net| {
            let queue = &mut net.listeners[listener.0];
            queue.closed = true;
            // Another process that holds the socket (the one that started us may) still causes events.
            net.ghosts.extend(queue.watch.token.take());
            let is_taken = queue.is_taken;
            if is_taken && !queue.waiting.is_empty() {
                net.occasions.note(Occasion::ReleasedWithQueue);
            }
            for k in std::mem::take(&mut net.listeners[listener.0].waiting) {
                if is_taken {
                    // The other process accepts it, and ends it.
                    (net.links[k].excused, net.links[k].closed) = (true, true);
                    continue;
                }
                if net.links[k].was_in_time {
                    net.accuse(|| {
                        format!(
                            "link {k} was in the queue when the drain began, and was not served"
                        )
                    });
                }
                net.links[k].excused = true;
                net.links[k].closed = true;
                net.links[k].reset_by_server();
            }
        });
    }

    fn read(&mut self, stream: &SimStream, into: &mut [u8]) -> io::Result<usize> {
        self.call_about(stream, Deed::of_read, |net| {
            let link = &mut net.links[stream.0];
            // What is read after our end is only discarded.
            link.served |= !link.shut;
            if net.random.chance(net.faults.read_interrupted) {
                return Err(Errno::INTR.into());
            }
            let link = &net.links[stream.0];
            if link.tunnel.is_some() && !link.is_known && !link.shut {
                net.work.handshakes += 1;
            }
            let turn = net.turn;
            let (bounds, calm) = (net.bounds, net.calm);
            let link = &mut net.links[stream.0];
            if link.closed {
                let broken = format!("link {} was read after it was closed", stream.0);
                net.accuse(|| broken);
                return Err(Errno::BADF.into());
            }
            if link.must_refuse {
                let broken = format!("link {} was let in over the limits", stream.0);
                net.accuse(|| broken);
                return Err(Errno::BADF.into());
            }
            link.tried = true;
            link.budget = match link.budget {
                (last, n) if last == turn => (turn, n + 1),
                _ => (turn, 1),
            };
            let budgets = link.budget.1;
            let found = link.readable();
            if budgets > bounds.budgets || into.len() > bounds.read_bytes {
                let (n, room) = (budgets, into.len());
                net.accuse(|| {
                    format!("I10: budget {n} of {room} bytes for one connection in a turn")
                });
            }
            let found = match found {
                Ok(0) => return Ok(0),
                found => found?,
            };
            if !calm && net.random.chance(net.faults.read_again) {
                net.wake(Thing::Link(stream.0));
                return Err(Errno::AGAIN.into());
            }
            let mut n = found.min(into.len());
            if !calm && net.random.chance(net.faults.read_short) {
                let less = net.random.some(n);
                if less < n {
                    // The rest comes just after this.
                    net.wake(Thing::Link(stream.0));
                }
                n = less;
            }
            net.links[stream.0].take_up(&mut into[..n]);
            if !net.links[stream.0].shut {
                net.links[stream.0].times.read = net.now;
            }
            net.total.read += n as u64;
            Ok(n)
        })
    }

    fn write(&mut self, stream: &SimStream, bytes: &[u8]) -> io::Result<usize> {
        let deed = |written: &_| Deed::of_write(written, bytes.len());
        self.call_about(stream, deed, |net| {
            if net.random.chance(net.faults.write_interrupted) {
                net.links[stream.0].was_full = true;
                return Err(Errno::INTR.into());
            }
            let k = stream.0;
            let link = &mut net.links[k];
            if link.closed || link.shut {
                let broken = format!("link {k} was written to after its end");
                net.accuse(|| broken);
                return Err(Errno::PIPE.into());
            }
            if let Some(error) = link.error.take() {
                return Err(error.into());
            }
            if link.reset || link.local && link.client_gone {
                return Err(Errno::PIPE.into());
            }
            if link.client_gone {
                // Taken, and answered by a reset.
                link.reset_by_client();
                net.wake(Thing::Link(k));
                net.total.written += bytes.len() as u64;
                return Ok(bytes.len());
            }
            let mut room = link.down_max - link.down.len();
            if net.now < link.squeezed_until {
                room = 0;
            } else if let Some(most) = net.next_writes.pop_front() {
                room = room.min(most);
            } else if net.random.chance(net.faults.write_again) {
                room = 0;
            } else if net.random.chance(net.faults.write_short) {
                room = room.min(net.random.index(bytes.len()));
            }
            let n = bytes.len().min(room);
            let link = &mut net.links[k];
            link.down.extend(&bytes[..n]);
            if n > 0 {
                link.times.written = net.now;
            }
            if n < bytes.len() {
                (link.no_space, link.was_full) = (true, true);
                if link.is_writable(net.now) {
                    // The kernel is short of memory, which passes.
                    let wait = 1 + net.random.size(20 * MILLI as usize) as u64;
                    net.links[k].squeezed_until = net.now.saturating_add(wait);
                    net.plan(wait, Due::Room(k));
                }
            }
            net.total.written += n as u64;
            match n {
                0 => Err(Errno::AGAIN.into()),
                n => Ok(n),
            }
        })
    }

    fn write_vectored(&mut self, stream: &SimStream, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let bytes: Vec<u8> = slices
            .iter()
            .flat_map(|slice| slice.iter().copied())
            .collect();
        self.write(stream, &bytes)
    }

    fn shutdown(&mut self, stream: &SimStream) -> io::Result<()> {
        self.call_while(Some(stream.0), |net| {
            let link = &mut net.links[stream.0];
            if link.reset {
                let token = link.watch.token;
                net.deeds.push((token, Deed::ShutdownFailed));
                return Err(Errno::NOTCONN.into());
            }
            link.shut = true;
            link.times.shut = net.now;
            // The other end acknowledges it, which changes the state of the connection.
            net.wake(Thing::Link(stream.0));
            Ok(())
        })
    }

    fn close(&mut self, stream: SimStream) {
        self.net(|net| {
            net.work.calls += 1;
            for listener in &mut net.listeners {
                listener.closed_since = true;
            }
            let link = &mut net.links[stream.0];
            if link.closed {
                let k = stream.0;
                return net.accuse(|| format!("I9: link {k} was closed twice"));
            }
            link.closed = true;
            link.times.closed = net.now;
            net.descriptors -= 1;
            net.open -= 1;
            let listener = &mut net.listeners[link.listener];
            listener.open -= 1;
            if link.is_counted {
                listener.sources.ends(link.place);
            }
            // One that does not take what others say to it may be disconnected first.
            let is_gone = link.reset || link.client_gone;
            let is_excused = link.excused || is_gone || link.must_refuse || link.no_space;
            let is_served = link.served || is_excused || !listener.reads;
            // Nor does one wait for its turn that is closed since all buffers together are near their limit.
            let may_end = net.gives_up || net.may_evict;
            if link.was_in_time && link.asked && !is_served && !may_end {
                let k = stream.0;
                net.accuse(|| format!("link {k} was in the queue at the drain, and was not read"));
            }
            let link = &mut net.links[stream.0];
            net.total.refused += u64::from(!link.tried);
            let token = link.watch.token.take();
            if !link.reset && (!link.up.is_empty() || link.mark.is_some()) {
                link.reset_by_server();
            }
            net.ghosts.extend(token);
            if net.ghosts.len() > 64 {
                net.ghosts.swap_remove(0);
            }
        });
    }

    fn send_sockets(
        &mut self,
        stream: &SimStream,
        bytes: &[u8],
        _sockets: &[HandedOver<'_, SimOs>],
    ) -> io::Result<usize> {
        // How many there are is looked at where they are released.
        self.write(stream, bytes)
    }

    fn receive(&mut self, socket: &mut SimDatagram, into: &mut [u8]) -> io::Result<Received> {
        self.call(|net| {
            net.receives(socket.0);
            if let Some(error) = net.datagrams[socket.0].next_receives.pop_front() {
                return Err(net.receive_fails(socket.0, error));
            }
            if net.random.chance(net.faults.receive) {
                let errors = [Errno::INTR, Errno::CONNREFUSED];
                let error = net.random.pick(&errors);
                return Err(net.receive_fails(socket.0, error));
            }
            let Some((bytes, from)) = net.datagrams[socket.0].inbox.pop_front() else {
                return Err(Errno::AGAIN.into());
            };
            net.work.datagrams += 1;
            net.datagrams[socket.0].failures = 0;
            let n = bytes.len().min(into.len());
            into[..n].copy_from_slice(&bytes[..n]);
            Ok(Received {
                n,
                from,
                asked: None,
            })
        })
    }

    fn send(
        &mut self,
        socket: &mut SimDatagram,
        bytes: &[u8],
        to: SocketAddr,
        _asked: Option<IpAddr>,
    ) -> io::Result<()> {
        self.call(|net| {
            if let Some(error) = net.datagrams[socket.0].next_sends.pop_front() {
                return Err(error.into());
            }
            if net.random.chance(net.faults.send) {
                let errors = [
                    Errno::AGAIN,
                    Errno::MSGSIZE,
                    Errno::INVAL,
                    Errno::NOBUFS,
                    Errno::PERM,
                ];
                return Err(net.random.pick(&errors).into());
            }
            net.datagrams[socket.0]
                .outbox
                .push_back((bytes.to_vec(), to));
            Ok(())
        })
    }

    fn close_datagram(&mut self, socket: SimDatagram) {
        self.net(|net| {
            let queue = &mut net.datagrams[socket.0];
            queue.watch.token = None;
            queue.closed = true;
            queue.inbox.clear();
        });
    }

    fn spawn_helper(&mut self, arguments: &[OsString]) -> io::Result<Spawned<SimOs>> {
        let line = arguments.join(" ".as_ref()).into_encoded_bytes();
        self.spawn(&Job::line(line))
    }

    fn spawn_errand(&mut self, errand: &Errand) -> io::Result<Spawned<SimOs>> {
        let world = Rc::clone(&self.0);
        self.call(|net| {
            let may_fail = !net.calm && net.random.chance(net.faults.errand);
            let fate = if may_fail { net.random.below(5) } else { 5 };
            if fate == 0 {
                return Err(net
                    .random
                    .pick(&[Errno::AGAIN, Errno::NOMEM, Errno::MFILE])
                    .into());
            }
            let long = if net.calm { MILLI } else { 50 * MILLI };
            let mut wait = net.random.pick(&[0, MICRO, MILLI, long]);
            let mut steps = Steps::new();
            match fate {
                // Killed before it does anything, or when it has done it and said half of that.
                1 => steps.push_back((wait, Step::Exit(137))),
                2 => steps.extend([(wait, Step::Perform), (0, Step::Exit(137))]),
                3 => steps.push_back((wait, Step::Exit(0))),
                4 => {
                    // So slow that it is ended.
                    wait = 125 * SECOND;
                    steps.extend([(wait, Step::Perform), (0, Step::Exit(0))]);
                }
                _ => steps.extend([(wait, Step::Perform), (0, Step::Exit(0))]),
            }
            let mut child = Child::new(steps, false);
            child.has_errand = true;
            child.errand = Some(errand.clone());
            Ok(net.starts(&world, child, wait))
        })
    }

    fn send_file(
        &mut self,
        stream: &SimStream,
        file: &OwnedFd,
        at: u64,
        bytes: usize,
    ) -> io::Result<usize> {
        if self.net(|net| net.random.once_in(32)) {
            return Err(Errno::INVAL.into());
        }
        let mut piece = vec![0; bytes];
        let found = pread(file, &mut piece[..], at)?;
        match found {
            0 => Ok(0),
            found => self.write(stream, &piece[..found]),
        }
    }

    fn spawn(&mut self, job: &Job) -> io::Result<Spawned<SimOs>> {
        if let Some(errand) = &job.errand {
            return self.spawn_errand(errand);
        }
        let world = Rc::clone(&self.0);
        self.call(|net| {
            if net.random.chance(net.faults.spawn) {
                let errors = [
                    Errno::AGAIN,
                    Errno::NOMEM,
                    Errno::MFILE,
                    Errno::NOENT,
                    Errno::TOOBIG,
                ];
                return Err(net.random.pick(&errors).into());
            }
            let broadcast = Script::steps(&job.line);
            let is_broadcast = broadcast.is_some();
            if is_broadcast {
                let was_there = !net.broadcasts.insert(job.line.clone());
                net.occasions.note(match was_there {
                    true => Occasion::BroadcastBeganAgain,
                    false => Occasion::BroadcastBegan,
                });
            }
            let steps = broadcast
                .or_else(|| net.next_children.pop_front())
                .unwrap_or_else(|| steps_of(&job.line, job.has_input));
            let wait = steps.front().map_or(0, |(wait, _)| *wait);
            let mut child = Child::new(steps, job.has_input);
            child.is_broadcast = is_broadcast;
            Ok(net.starts(&world, child, wait))
        })
    }

    fn read_pipe(&mut self, pipe: &SimPipe, into: &mut [u8]) -> io::Result<usize> {
        self.call(|net| {
            if net.random.chance(net.faults.read_interrupted) {
                return Err(Errno::INTR.into());
            }
            let output = pipe.output.expect("an output");
            let end = net.children[pipe.child].pipe(output);
            let n = end.bytes.len().min(into.len());
            if n == 0 {
                return if end.is_held() {
                    Err(Errno::AGAIN.into())
                } else {
                    Ok(0)
                };
            }
            take(&mut end.bytes, &mut into[..n]);
            Ok(n)
        })
    }

    fn write_pipe(&mut self, pipe: &SimPipe, bytes: &[u8]) -> io::Result<usize> {
        self.call(|net| {
            if net.random.chance(net.faults.read_interrupted) {
                return Err(Errno::INTR.into());
            }
            let input = net.children[pipe.child].input.as_mut().expect("it is fed");
            if input.is_deaf {
                return Err(Errno::PIPE.into());
            }
            let n = bytes.len().min(PIPE_BYTES_MAX - input.bytes.len());
            input.was_full = n < bytes.len();
            if n == 0 {
                return Err(Errno::AGAIN.into());
            }
            input.bytes.extend(&bytes[..n]);
            Ok(n)
        })
    }

    fn signal(&mut self, process: &SimProcess, signal: CommandSignal) {
        self.net(|net| {
            net.work.calls += 1;
            let k = process.0;
            if net.children[k].reaped {
                return net.accuse(|| format!("child {k} was sent {signal} after it was reaped"));
            }
            let number = match signal {
                CommandSignal::Kill => 9,
                // Some do not listen.
                _ if net.random.once_in(4) => return,
                CommandSignal::Hup => 1,
                CommandSignal::Int => 2,
                CommandSignal::Quit => 3,
                CommandSignal::Usr1 => 10,
                CommandSignal::Usr2 => 12,
                CommandSignal::Term => 15,
            };
            let child = &mut net.children[k];
            (child.out.group, child.err.group) = (false, false);
            net.end_child(k, Exit::Signal(number));
        });
    }

    fn kill(&mut self, process: &SimProcess, severity: Severity) {
        self.net(|net| {
            net.work.calls += 1;
            let k = process.0;
            if net.children[k].reaped {
                return net.accuse(|| format!("child {k} was killed after it was reaped"));
            }
            let child = &net.children[k];
            if child.is_broadcast && child.exit.is_none() && !net.gives_up {
                net.occasions.note(match severity {
                    Severity::Ask => Occasion::BroadcastAskedToEnd,
                    Severity::Force => Occasion::BroadcastKilled,
                });
            }
            let signal = match severity {
                Severity::Force => 9,
                // Some do not listen.
                Severity::Ask if net.random.once_in(4) => return,
                Severity::Ask => 15,
            };
            let child = &mut net.children[k];
            child.killed = true;
            (child.out.group, child.err.group) = (false, false);
            net.end_child(k, Exit::Signal(signal));
        });
    }

    fn ended(&mut self, process: &SimProcess) -> io::Result<Option<Exit>> {
        self.call(|net| Ok(net.children[process.0].exit))
    }

    fn reap(&mut self, process: SimProcess) -> Usage {
        self.net(|net| {
            net.work.calls += 1;
            let k = process.0;
            let child = &mut net.children[k];
            let (ended, twice, killed) = (child.exit.is_some(), child.reaped, child.killed);
            child.reaped = true;
            child.watch = Watch::default();
            net.descriptors -= 1;
            if !ended || twice || !killed {
                net.accuse(|| {
                    format!(
                        "child {k} was reaped: ended {ended}, before {twice}, group killed {killed}"
                    )
                });
            }
        });
        Usage::default()
    }

    fn signals(&mut self, into: &mut Vec<Signal>) {
        self.net(|net| {
            if net.signals.contains(&Signal::Stop) {
                net.wait_in_time();
            }
            into.append(&mut net.signals);
        });
    }
}
