//! The loop.
//!
//! This folder is the only one that sees the poll. It knows doors, connections, the one clock and
//! whose turn it is. It does not know formats, nicknames or commands.
//!
//! Start at [`Reactor::turn`]: six lines, each of which says what only it may do. Then
//! `Reactor::serve_one`, the walk of a byte.

mod child;
mod connection;
mod counters;
mod datagram;
mod ending;
mod epoll;
mod incoming;
mod invariants;
mod listener;
mod os;
mod patience;
mod recorder;
mod reply_limiter;
mod socket;
mod spawn;
mod stopping;
mod timer;
mod token;
mod trace;

use std::fmt;
use std::io;

use slab::Slab;

use self::child::Children;
use self::connection::{Connection, Input, Pause, Stage};
use self::datagram::Datagram;
use self::listener::Listener;
use self::recorder::Recorder;
use self::reply_limiter::ReplyLimiter;
use self::stopping::Stopping;
use self::timer::Timers;
use self::trace::TraceEvent;
use crate::buf::ReadBuf;
use crate::config::Limits;
use crate::config::limits::DATAGRAM_BYTES_MAX;
use crate::service::{Backlog, Datagrams, Service};
use crate::turn::{
    ARENA_BYTES_MAX, Closed, ConnId, Effect, Fate, Fault, Moment, Outbox, REPLY_AT_ONCE_BYTES, Turn,
};

pub use self::counters::{ClosedBy, Counters, Refused};
pub use self::datagram::DatagramOptions;
pub use self::epoll::{Epoll, Handle};
pub use self::listener::ListenerOptions;
pub use self::os::{Os, Readiness, Seen, Signal, Spawned, Woke};
pub use self::socket::{
    LISTEN_BACKLOG, begin_to_listen, bind_abstract, bind_tcp, bind_unix, listen_tcp, open_udp,
};
pub use self::token::{Source, Token};
pub use crate::adopt::{close_on_exec, inherited};

/// A stream service that was added to the reactor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServiceId(usize);

/// A datagram service that was added to the reactor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DatagramsId(usize);

/// One thread, one poll, and everybody who is served.
pub struct Reactor<O: Os> {
    os: O,
    limits: Limits,
    /// Connections in all; more are refused.
    connections_max: usize,
    now: Moment,
    /// What the poll saw and nobody noted yet.
    seen: Vec<Seen>,

    // Columns over the same keys: the connections' entries, what they are owed, when they are due.
    conns: Slab<Connection<O::Stream>>,
    outbox: Outbox,
    deadlines: Timers,
    wakes: Timers,

    services: Vec<Box<dyn Service>>,
    /// Whether some service tells the time, for which the wall clock is read once a turn.
    tells_time: bool,
    listeners: Vec<Listener<O::Listener>>,
    answerers: Vec<Box<dyn Datagrams>>,
    datagrams: Vec<Datagram<O::Datagram>>,
    reply_limiter: ReplyLimiter,
    children: Children<O>,

    /// Connections with something to read, in the order in which they are served.
    ready: Vec<ConnId>,
    /// Connections the poll does not watch yet.
    fresh: Vec<ConnId>,
    /// Connections that were closed in this turn.
    dead: Vec<u32>,
    /// The last connection's generation.
    generation: u32,

    /// Signals or callers wait to be heard.
    called: bool,
    stopping: Stopping,
    recorder: Recorder,

    // Shared by all turns, so that a connection at rest owns nothing.
    input: ReadBuf,
    datagram_buf: Vec<u8>,
    answer: Vec<u8>,
    slots: Vec<u32>,
}

impl<O: Os> Reactor<O> {
    /// A loop over this system, with nobody to serve yet.
    ///
    /// It lets `connections_max` connections in, which the caller knows that descriptors allow.
    pub fn new(os: O, limits: Limits, connections_max: usize) -> Reactor<O> {
        Reactor {
            os,
            connections_max,
            now: Moment::START,
            seen: Vec::new(),
            conns: Slab::new(),
            outbox: Outbox::default(),
            deadlines: Timers::default(),
            wakes: Timers::default(),
            services: Vec::new(),
            tells_time: false,
            listeners: Vec::new(),
            answerers: Vec::new(),
            datagrams: Vec::new(),
            reply_limiter: ReplyLimiter::new(),
            children: Children::new(limits.read_per_turn),
            ready: Vec::new(),
            fresh: Vec::new(),
            dead: Vec::new(),
            generation: 0,
            called: false,
            stopping: Stopping::No,
            recorder: Recorder::default(),
            input: ReadBuf::default(),
            datagram_buf: vec![0; DATAGRAM_BYTES_MAX],
            answer: Vec::new(),
            slots: Vec::new(),
            limits,
        }
    }

    /// Tells the story of each turn to `out`, as text that a person can follow.
    pub fn trace_to(&mut self, out: Box<dyn io::Write>) {
        self.recorder.trace_to(out);
    }

    /// Adds a service; doors are opened to it with [`listen`](Reactor::listen).
    pub fn add(&mut self, service: Box<dyn Service>) -> ServiceId {
        self.services.push(service);
        ServiceId(self.services.len() - 1)
    }

    /// Adds a datagram service; see [`answer`](Reactor::answer).
    pub fn add_datagrams(&mut self, service: Box<dyn Datagrams>) -> DatagramsId {
        self.answerers.push(service);
        DatagramsId(self.answerers.len() - 1)
    }

    /// Serves until it is told to stop, and whoever is here then has been served or is out of time.
    pub fn run(&mut self) -> io::Result<()> {
        while !self.stopped() {
            self.turn()?;
        }
        self.abandon();
        Ok(())
    }

    /// One turn of the loop.
    pub fn turn(&mut self) -> io::Result<()> {
        self.wait()?; // the only place that sleeps, and the only look at the clock
        self.dispatch(); // who became readable, who became writable; who knocks
        self.serve(); // socket -> read buffer -> parser -> service -> write buffer; one helping each
        self.wake(); // timers that are due, signals that came
        self.flush(); // write buffer -> socket, once per connection; then watch who is new
        self.reap(); // the only place a connection is freed
        self.recorder.turn_ends();
        debug_assert_eq!(self.check(), Ok(()), "the invariants of invariants.rs");
        Ok(())
    }

    fn wait(&mut self) -> io::Result<()> {
        let until = if self.has_work() {
            Some(self.now)
        } else {
            self.next_deadline()
        };
        let Woke { asleep, awake } = self.os.wait(&mut self.seen, until)?;
        self.watch_turn(asleep.since(self.now));
        self.now = self.now.max(awake);
        if self.tells_time {
            self.outbox.set_wall(self.os.wall());
        }
        self.recorder.turn(self.now);
        self.recorder.trace(|| TraceEvent::Woke {
            slept: awake.since(asleep),
            events: self.seen.len(),
        });
        Ok(())
    }

    fn dispatch(&mut self) {
        let mut seen = std::mem::take(&mut self.seen);
        for Seen { token, readiness } in seen.drain(..) {
            self.recorder
                .trace(|| TraceEvent::Saw(token.source(), readiness));
            match token.source() {
                Source::Connection(id) => self.dispatch_connection(id, readiness),
                Source::Listener(n) => self.dispatch_listener(n),
                Source::Datagram(n) => self.dispatch_datagram(n),
                child @ (Source::ChildOut(_) | Source::ChildErr(_) | Source::ChildExit(_)) => {
                    self.dispatch_child(child);
                }
                Source::Signals | Source::Caller => self.called = true,
            }
        }
        self.seen = seen;
    }

    fn dispatch_connection(&mut self, id: ConnId, readiness: Readiness) {
        let Some(conn) = self.conns.get_mut(id.slot as usize).filter(|c| c.is(id)) else {
            return self.recorder.stale();
        };
        if conn.is_dead() {
            return;
        }
        let manner = &self.listeners[usize::from(conn.listener)].manner;
        // After the end of input there are no last words: what would find the error is a read, and
        // nobody reads any more.
        if readiness.error && (conn.incoming.has_ended() || !manner.reads_after_reset) {
            return self.close_now(id.slot, Closed::Gone(io::ErrorKind::ConnectionReset));
        }
        if readiness.writable && conn.full {
            conn.full = false;
            self.outbox.mark_dirty(id.slot);
        }
        if conn.learn(readiness) && conn.input == Input::Waiting {
            self.enqueue(id.slot);
        } else if readiness.hung_up {
            self.settle(id.slot);
        }
    }

    fn serve(&mut self) {
        self.accept_all();
        let mut ready = std::mem::take(&mut self.ready);
        for id in ready.drain(..) {
            self.serve_one(id);
            if self.outbox.arena_bytes() > ARENA_BYTES_MAX {
                self.deliver_all();
            }
        }
        // Whoever was put back during the budgets waits for the next turn.
        ready.append(&mut self.ready);
        self.ready = ready;
        self.serve_datagrams();
        self.serve_children();
    }

    /// The walk of a byte, one helping:
    /// readable socket -> read buffer -> frame parser -> service -> write buffer -> writable socket.
    fn serve_one(&mut self, id: ConnId) {
        let slot = id.slot;
        let Some(conn) = self.conns.get_mut(slot as usize).filter(|c| c.is(id)) else {
            return self.recorder.stale();
        };
        conn.queued = false;
        match (conn.input, conn.stage) {
            (Input::Queued, Stage::Open { .. }) => conn.input = Input::Waiting,
            (Input::Queued, Stage::Lingering { .. }) => return self.discard(slot),
            _ => return,
        }

        // The socket fills the read buffer, unless the service has not seen all of it.
        let own = conn.reads_into_its_own();
        let mut input = conn.take_input(&mut self.input);
        input.begin_budget(self.limits.frames_per_turn);
        let (had, room) = (input.len(), self.limits.read_per_turn);
        let read = if conn.incoming.may_have_more() && !conn.unserved {
            conn.read(&mut self.os, &mut input, room)
        } else {
            Ok(0)
        };
        self.recorder.served(input.len() - had);
        self.recorder
            .trace(|| conn.trace_read(id, input.len() - had, room));

        // The service parses what is there and says what it has to say.
        let service =
            &mut self.services[self.listeners[usize::from(conn.listener)].options.service.0];
        let mut turn = Turn::new(self.now, id, &mut self.outbox);
        let mut outcome = Ok(());
        if input.len() > had || conn.unserved {
            outcome = service.input(&mut turn, &mut input);
        }
        conn.unserved = input.is_budget_spent() && !input.is_empty();
        if outcome.is_ok() && input.len() > self.limits.frame + room && !turn.is_held() {
            outcome = Err(Fault::Refused(
                "more bytes than the longest frame, and no frame",
            ));
        }
        let may_end =
            conn.incoming.has_ended() && !conn.unserved && !turn.is_held() && !turn.is_leaving();
        if outcome.is_ok() && may_end {
            conn.input = Input::Ended;
            input.begin_budget(self.limits.frames_per_turn);
            outcome = service.eof(&mut turn, &mut input);
        }

        self.recorder.trace(|| TraceEvent::Served {
            id,
            frames: self.limits.frames_per_turn - input.frames_left(),
            unread: input.len(),
            says: self.outbox.owed(slot) + input.lent().len(),
        });

        // A large answer leaves at once, from where it lies.
        let mut write = Ok(());
        if !input.lent().is_empty() {
            self.outbox.lent(input.lent().len());
            write = conn.write(&mut self.os, input.lent()).map(|n| {
                self.recorder.wrote(id, n, input.lent().len());
                if n < input.lent().len() {
                    self.outbox.keep(slot, &input.lent()[n..]);
                    self.outbox.mark_dirty(slot);
                }
            });
            if write.is_err() {
                self.recorder.dropped(input.lent().len());
            }
            input.repay();
        }
        conn.keep_input(input, &mut self.input, own);

        if let Err(error) = read.and(write) {
            return self.close_now(slot, Closed::Gone(error.kind()));
        }
        if let Err(fault) = outcome {
            self.refuse(slot, &fault);
        }
        self.carry_out();
        if self.outbox.said(slot) >= REPLY_AT_ONCE_BYTES {
            self.deliver(slot);
        }
        self.settle(slot);
    }

    /// Decides what the reading half does until its next helping, and how long it may take.
    fn settle(&mut self, slot: u32) {
        let Some(conn) = self.conns.get_mut(slot as usize).filter(|c| c.is_open()) else {
            return;
        };
        let pauses = self.listeners[usize::from(conn.listener)].manner.backlog == Backlog::Pause;
        let unread = conn.carry.as_ref().map_or(0, |carry| carry.len());
        if conn.input != Input::Ended {
            let more = conn.incoming.may_have_more() || conn.unserved || conn.incoming.has_ended();
            let next = if self.outbox.fate(slot) != Fate::Open {
                Input::Paused(Pause::Leaving)
            } else if self.outbox.is_held(slot) {
                conn.unserved = unread > 0;
                Input::Paused(Pause::Held)
            } else if pauses && self.outbox.owed(slot) >= self.limits.out_pause {
                Input::Paused(Pause::Owed)
            } else if more {
                Input::Queued
            } else {
                Input::Waiting
            };
            conn.input = next;
            let id = conn.id(slot);
            self.recorder.trace(|| TraceEvent::Rests(id, next));
        }
        let (peer_gone, is_read) = (conn.incoming.peer_gone(), conn.input == Input::Queued);
        if is_read {
            self.enqueue(slot);
        }
        if peer_gone && !is_read && self.outbox.fate(slot) == Fate::Open {
            // What it said is heard or never will be, and nobody is left to hear what it is owed.
            return self.close_now(slot, Closed::Gone(io::ErrorKind::BrokenPipe));
        }
        self.set_deadline(slot);
    }

    /// Carries out what services asked for besides sending bytes.
    fn carry_out(&mut self) {
        while let Some((id, effect)) = self.outbox.next_effect() {
            if !self.is_live(id) {
                continue;
            }
            match effect {
                Effect::Wake(at) => self.wakes.set(id.slot, at),
                Effect::Resume => self.resume(id.slot),
                Effect::Spawn(job) => self.spawn(id, job),
                Effect::Kill(severity) => self.kill(id, severity),
            }
        }
    }

    /// Puts a connection whose reason not to be read is over back on the ready queue.
    fn resume(&mut self, slot: u32) {
        let Some(conn) = self.conns.get_mut(slot as usize) else {
            return;
        };
        // Also of a connection that is paused because it is owed too much: when that is over, what
        // is unread is offered, though nothing new was read.
        conn.unserved |= conn.carry.is_some() && conn.input != Input::Ended;
        if matches!(conn.input, Input::Waiting | Input::Paused(Pause::Held)) {
            self.enqueue(slot);
        }
    }

    /// Puts a connection on the ready queue, where it is at most once: a place that it had when it
    /// was paused is its place again, or it would get two budgets in one turn.
    fn enqueue(&mut self, slot: u32) {
        let conn = &mut self.conns[slot as usize];
        conn.input = Input::Queued;
        if !std::mem::replace(&mut conn.queued, true) {
            self.ready.push(conn.id(slot));
        }
    }

    /// Gives a service its turn for one connection, if that is still here.
    fn ask_service(&mut self, id: ConnId, ask: impl FnOnce(&mut dyn Service, &mut Turn<'_>)) {
        let Some(conn) = self
            .conns
            .get(id.slot as usize)
            .filter(|c| c.is(id) && !c.is_dead())
        else {
            return;
        };
        let service = self.listeners[usize::from(conn.listener)].options.service;
        let mut turn = Turn::new(self.now, id, &mut self.outbox);
        ask(&mut *self.services[service.0], &mut turn);
        self.carry_out();
        self.settle(id.slot);
    }

    fn wake(&mut self) {
        // After what came before them was served.
        if std::mem::take(&mut self.called) {
            self.handle_signals();
        }
        for _ in 0..self.limits.timers_per_turn {
            let Some(slot) = self.wakes.fire(self.now) else {
                break;
            };
            if let Some(conn) = self.conns.get(slot as usize) {
                let id = conn.id(slot);
                self.recorder.trace(|| TraceEvent::Woken(id));
                self.ask_service(id, |service, turn| service.wake(turn));
            }
        }
        for _ in 0..self.limits.timers_per_turn {
            let Some(slot) = self.deadlines.fire(self.now) else {
                break;
            };
            self.expire(slot);
        }
    }

    fn flush(&mut self) {
        self.deliver_all();
        let mut fresh = std::mem::take(&mut self.fresh);
        for id in fresh.drain(..) {
            let Some(conn) = self
                .conns
                .get(id.slot as usize)
                .filter(|c| c.is(id) && !c.is_dead())
            else {
                // Answered and closed in its first turn: never registered at all.
                continue;
            };
            if let Err(error) = self
                .os
                .watch(&conn.stream, Token::of(Source::Connection(id)))
            {
                self.close_now(id.slot, Closed::Gone(error.kind()));
                continue;
            }
            self.recorder.trace(|| TraceEvent::Watched(id));
        }
        self.fresh = fresh;
    }

    fn deliver_all(&mut self) {
        let mut slots = std::mem::take(&mut self.slots);
        self.outbox.take_dirty(&mut slots);
        for slot in slots.drain(..) {
            self.deliver(slot);
        }
        self.slots = slots;
        self.outbox.trim();
        self.tell_sent();
    }

    /// Tells services that what they said has left: only now, since what they say then is for the
    /// next turn, and the arena could never be emptied while a producer speaks in between.
    ///
    /// Whoever comes after the arena is full waits for the next turn, too.
    fn tell_sent(&mut self) {
        while self.outbox.arena_bytes() <= ARENA_BYTES_MAX
            && let Some(id) = self.outbox.next_sent()
        {
            self.ask_service(id, |service, turn| service.drained(turn));
        }
    }

    /// Write buffer -> socket, once.
    fn deliver(&mut self, slot: u32) {
        let Some(conn) = self.conns.get_mut(slot as usize).filter(|c| !c.is_dead()) else {
            return;
        };
        let id = conn.id(slot);
        let owed = self.outbox.owed(slot);
        let os = &mut self.os;
        let sent = match self.outbox.deliver(slot, |bytes| conn.write(os, bytes)) {
            Ok(sent) => sent,
            Err(error) => return self.close_now(slot, Closed::Gone(error.kind())),
        };
        if owed > 0 {
            self.recorder.wrote(id, sent, owed);
        }
        let owed = self.outbox.owed(slot);
        if owed == 0
            && let Fate::Leaving { why, linger } = self.outbox.fate(slot)
        {
            return self.finish(slot, why, linger);
        }
        self.check_backlog(slot, owed, sent > 0);
    }

    fn has_work(&self) -> bool {
        !self.ready.is_empty()
            || self.outbox.has_dirty()
            || self.outbox.has_sent()
            || !self.dead.is_empty()
            || self.has_pending_accepts()
            || self.has_datagrams()
            || self.has_child_news()
    }

    fn next_deadline(&self) -> Option<Moment> {
        let draining = match self.stopping {
            Stopping::Draining(until) => Some(until),
            _ => None,
        };
        [
            self.deadlines.earliest(),
            self.wakes.earliest(),
            self.rest_ends(),
            draining,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn is_live(&self, id: ConnId) -> bool {
        self.conns
            .get(id.slot as usize)
            .is_some_and(|c| c.is(id) && !c.is_dead())
    }
}

impl<O: Os> fmt::Debug for Reactor<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reactor")
            .field("now", &self.now)
            .field("connections", &self.conns.len())
            .field("listeners", &self.listeners)
            .field("stopping", &self.stopping)
            .finish_non_exhaustive()
    }
}
