//! The loop.
//!
//! This folder is the only one that sees the poll. It knows listeners, connections, the one clock and
//! the order in which connections are served. It does not know formats, nicknames or commands.
//!
//! Start at [`Reactor::turn`]: six lines, each of which says what only it may do. Then
//! `Reactor::serve_one`, the walk of a byte.

mod attendant;
mod audit;
mod broadcast;
mod changing;
mod child;
mod company;
mod connection;
mod counters;
mod datagram;
mod datagram_socket;
mod dialling;
mod dropping;
mod ending;
mod epoll;
mod errand;
mod eviction;
mod expiring;
mod feed;
mod figures;
mod give_back;
mod half;
mod handing_over;
mod handshake;
mod hello;
mod helper;
mod histogram;
mod incoming;
mod invariants;
mod keepalive;
mod keeper;
mod kept;
mod launching;
mod linking;
mod listener;
mod login;
mod news;
mod os;
mod patience;
mod penalties;
mod recorder;
mod refusal;
mod reply_limiter;
mod scribe;
mod secured;
mod sent_files;
mod socket;
mod source_key;
mod sources;
mod spawn;
mod standing;
mod stopping;
mod strays;
mod tally;
#[cfg(test)]
mod tests;
mod timer;
#[cfg(feature = "tls")]
mod tls;
#[cfg(feature = "tls")]
mod tls_client;
#[cfg(feature = "tls")]
mod tls_session;
#[cfg(feature = "tls")]
mod tls_stock;
mod token;
mod trace;
mod traced_io;
mod transport;
mod writer;

use std::collections::VecDeque;
use std::fmt;
use std::io;

use slab::Slab;

use self::broadcast::Broadcasts;
use self::child::Children;
use self::company::Company;
use self::connection::{Connection, Input, Pause, Stage};
use self::datagram::Datagram;
use self::errand::Errands;
use self::eviction::share;
use self::half::Half;
use self::hello::is_client_hello;
use self::listener::{Listener, listener_of};
use self::patience::set_deadline;
use self::recorder::Recorder;
use self::reply_limiter::ReplyLimiter;
use self::scribe::Scribes;
use self::secured::flush_sealed;
use self::sent_files::SentFiles;
use self::sources::Sources;
use self::standing::{After, Standing, depends_on_sending, next_input};
use self::stopping::Stopping;
use self::tally::{DatagramTally, Tally};
use self::timer::Timers;
use self::trace::TraceEvent;
use self::traced_io::{new_of, read_event, write, write_plain};
use self::writer::Writer;
use crate::buf::ReadBuf;
use crate::config::limits::{BUFFERS_HIGH_PERCENT, DATAGRAM_BYTES_MAX};
use crate::config::{CLIENT_PORTS_DEFAULT, Limits, client_ports};
use crate::service::{Datagrams, Service, Set};
use crate::turn::{
    ARENA_BYTES_MAX, Closed, ConnId, Effect, Fate, Fault, Moment, Outbox, REPLY_AT_ONCE_BYTES, Turn,
};

pub use self::attendant::Attendant;
pub use self::company::Companion;
pub use self::counters::{ClosedBy, Counters, Refused, TlsHandshakes};
pub use self::datagram::{DatagramId, DatagramOptions, DatagramsId};
pub use self::datagram_socket::DatagramSocket;
pub use self::epoll::{Epoll, Handle};
pub use self::handing_over::SocketId;
pub use self::invariants::{Look, State};
pub use self::keepalive::Keepalive;
pub use self::listener::{ListenerId, ListenerOptions, ServiceId};
pub use self::news::{Cut, Helped, News};
pub use self::os::{HandedOver, Os, Readiness, Received, Seen, Signal, Spawned, Woke};
pub use self::socket::{
    LISTEN_BACKLOG, begin_to_listen, bind_abstract, bind_tcp, bind_tcp_beside, bind_unix, is_stale,
    listen_again, listen_tcp, open_udp, open_udp_beside, rest_from_listening, share_address,
};
pub use self::sources::{AddressRules, SourceRules};
#[cfg(feature = "tls")]
pub use self::tls::{Tls, TlsOptions};
#[cfg(feature = "tls")]
pub use self::tls_client::TlsClient;
pub use self::token::{Source, Token};
pub use self::trace::TracedBytes;
pub use crate::adopt::{close_on_exec, inherited};
pub use crate::turn::{Broken, Secure, Session, Taken, Written};

/// One thread, one poll, and all that is served by them.
pub struct Reactor<O: Os> {
    os: O,
    limits: Limits,
    /// Bytes in buffers above which connections are closed.
    buffers_high: usize,
    /// Connections in all; more are refused.
    connections_max: usize,
    now: Moment,
    /// Until when the last wait was, at most: what was due before this turn began was due by then.
    due: Moment,
    /// What the poll saw and was not dispatched yet.
    seen: Vec<Seen>,

    // Columns over the same keys: the connections, what they are owed, when they are due.
    conns: Slab<Connection<O::Stream>>,
    outbox: Outbox,
    deadlines: Timers,
    wakes: Timers,

    services: Vec<Box<dyn Service>>,
    /// Those of them that several endpoints share.
    sets: Vec<(Set, ServiceId)>,
    scribes: Scribes,
    /// Places among the services that none has any more.
    vacant: Vec<usize>,
    /// Whether some service tells the time, for which the wall clock is read once a turn.
    tells_time: bool,
    listeners: Vec<Listener<O::Listener>>,
    /// Whether a connection may be waiting at some listener, be it one that rests.
    may_accept: bool,
    /// How many listening sockets there have been.
    sockets: u32,
    answerers: Vec<Box<dyn Datagrams>>,
    /// Places among the datagram services that none has any more.
    vacant_answerers: Vec<usize>,
    datagrams: Vec<Datagram<O::Datagram>>,
    /// Counts of endpoints that have gone, together.
    gone: Tally,
    gone_datagrams: DatagramTally,
    reply_limiter: ReplyLimiter,
    sources: Sources,
    children: Children<O>,
    broadcasts: Broadcasts,
    errands: Errands,
    /// When a service has something to do that is about no connection.
    tended: Moment,
    sent_files: SentFiles,

    /// Connections with something to read, in the order in which they are served.
    ready: Vec<ConnId>,
    /// Connections of a listener that has spent its deliveries (a delivery: one message to one
    /// connection): they are served first in the next turn.
    put_off: Vec<ConnId>,
    /// Whether some listener has spent them.
    any_spent: bool,
    /// Connections whose handshake can go on, in the order in which they are served.
    shaking: VecDeque<ConnId>,
    /// Connections the poll does not watch yet.
    fresh: Vec<ConnId>,
    /// Connections that are to be asked to finish, since the server stops, when they have had their turn.
    unasked: Vec<ConnId>,
    /// Connections that have not logged in.
    logging_in: usize,
    /// Connections that were closed in this turn.
    dead: Vec<u32>,
    /// Whether connections were freed since memory was last given back.
    has_reaped: bool,
    /// The last connection's generation.
    generation: u32,

    /// A signal or a [`Handle`] has asked for something.
    called: bool,
    stopping: Stopping,
    /// What is to be told between this turn and the next.
    news: VecDeque<News>,
    /// When there is to be news, whatever happens.
    alarm: Option<Moment>,
    recorder: Recorder,
    /// The child that writes the audit, if it has a file.
    writer: Option<Box<Writer>>,
    keeper: Option<Attendant>,
    /// Whether others serve the same endpoints.
    company: Company,

    // Shared by all turns, so that a connection at rest owns nothing.
    input: ReadBuf,
    cipher: ReadBuf,
    datagram_buf: Vec<u8>,
    answer: Vec<u8>,
    slots: Vec<u32>,
}

impl<O: Os> Reactor<O> {
    /// A loop over this system, with nothing to serve yet.
    ///
    /// It accepts up to `connections_max` connections, for which the caller has made sure that there
    /// are descriptors; more are refused.
    pub fn new(os: O, limits: Limits, connections_max: usize) -> Reactor<O> {
        Reactor {
            os,
            buffers_high: share(limits.buffers, BUFFERS_HIGH_PERCENT),
            connections_max,
            now: Moment::START,
            due: Moment::START,
            seen: Vec::new(),
            conns: Slab::new(),
            outbox: Outbox::default(),
            deadlines: Timers::default(),
            wakes: Timers::default(),
            services: Vec::new(),
            sets: Vec::new(),
            scribes: Scribes::default(),
            vacant: Vec::new(),
            tells_time: false,
            listeners: Vec::new(),
            may_accept: false,
            sockets: 0,
            answerers: Vec::new(),
            vacant_answerers: Vec::new(),
            datagrams: Vec::new(),
            gone: Tally::default(),
            gone_datagrams: DatagramTally::default(),
            reply_limiter: ReplyLimiter::new(client_ports().unwrap_or(CLIENT_PORTS_DEFAULT)),
            sources: Sources::default(),
            children: Children::new(limits.read_per_turn),
            broadcasts: Broadcasts::default(),
            errands: Errands::default(),
            tended: Moment::NEVER,
            sent_files: SentFiles::default(),
            ready: Vec::new(),
            put_off: Vec::new(),
            any_spent: false,
            shaking: VecDeque::new(),
            fresh: Vec::new(),
            unasked: Vec::new(),
            logging_in: 0,
            dead: Vec::new(),
            has_reaped: false,
            generation: 0,
            called: false,
            stopping: Stopping::No,
            news: VecDeque::new(),
            alarm: None,
            recorder: Recorder::default(),
            writer: None,
            keeper: None,
            company: Company::default(),
            input: ReadBuf::default(),
            cipher: ReadBuf::default(),
            datagram_buf: vec![0; DATAGRAM_BYTES_MAX],
            answer: Vec::new(),
            slots: Vec::new(),
            limits,
        }
    }

    /// Writes what happens in each turn to `out`, as text that a person can follow: the system calls, the
    /// first 32 bytes of what they moved, and what the loop decides.
    pub fn trace_to(&mut self, out: Box<dyn io::Write>, shown: TracedBytes) {
        self.recorder.trace_to(out, shown);
    }

    /// Serves until it is told to [stop](Reactor::stop), and until the connections of that moment have
    /// ended or `drain-timeout` is over. Fails only if the poll does.
    pub fn run(&mut self) -> io::Result<()> {
        self.run_with(|_, _| {})
    }

    /// Runs, and calls `told` between two turns with what has happened that is not for the loop to decide.
    pub fn run_with(&mut self, mut told: impl FnMut(&mut Reactor<O>, News)) -> io::Result<()> {
        while !self.is_stopped() {
            self.turn()?;
            while let Some(news) = self.news.pop_front() {
                told(self, news);
            }
        }
        self.abandon();
        self.finish_audit();
        Ok(())
    }

    /// One turn of the loop.
    pub fn turn(&mut self) -> io::Result<()> {
        self.wait()?; // the only place that sleeps, and the only look at the clock
        self.dispatch(); // readiness from the poll -> connections, listeners, children
        self.serve(); // socket -> read buffer -> parser -> service -> write buffer; one budget each
        self.wake(); // timers that are due, signals that came
        self.flush(); // write buffer -> socket, once per connection; then watch the new ones
        self.reap(); // the only place a connection is freed
        self.recorder.turn_ends();
        debug_assert_eq!(self.check(), Ok(()), "the invariants of invariants.rs");
        Ok(())
    }

    fn wait(&mut self) -> io::Result<()> {
        self.due = if self.has_work() {
            self.now
        } else {
            self.give_back();
            self.next_deadline()
        };
        let until = (self.due != Moment::NEVER).then_some(self.due);
        let Woke { asleep, awake } = self.os.wait(&mut self.seen, until)?;
        self.watch_turn(self.now, asleep);
        self.now = self.now.max(awake);
        if self.tells_time {
            self.outbox.set_wall(self.os.wall());
        }
        self.recorder.turn(self.now, self.seen.len());
        if self.recorder.audits() {
            self.recorder.begin_audit(self.now, self.os.wall());
        }
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
                Source::ChildIn(id) => self.dispatch_input(id, readiness),
                Source::Signals | Source::Caller => self.called = true,
                Source::Watched(n) => self.tell(News::Ready(n)),
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
        if conn.stage == Stage::Connecting {
            return self.dispatch_connecting(id, readiness);
        }
        let manner = &listener_of(&self.listeners, conn).manner;
        // What came before the reset can still be read, if the service wants it; after the end of input
        // there is nothing to read.
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
            // Nobody is left to read what it is owed: the connection ends, also while it is paused.
            self.after_turn(id.slot, After::Turn);
        }
    }

    fn serve(&mut self) {
        self.begin_deliveries();
        self.accept_all();
        let mut ready = std::mem::take(&mut self.ready);
        for id in ready.drain(..) {
            if self.any_spent && self.is_spent(id) {
                self.put_off.push(id);
                continue;
            }
            self.serve_one(id);
            if self.outbox.deliveries() > self.limits.deliveries_per_turn {
                self.mark_spent(id);
            }
            if self.outbox.arena_bytes() > ARENA_BYTES_MAX || self.may_be_over_budget() {
                self.flush_dirty();
                self.keep_to_budget();
            }
        }
        // Connections queued again during this pass wait for the next turn.
        // Those put off come first.
        ready.append(&mut self.put_off);
        ready.append(&mut self.ready);
        self.ready = ready;
        self.serve_handshakes();
        self.serve_datagrams();
        self.serve_children();
    }

    /// The walk of a byte, one budget of it:
    /// readable socket -> read buffer -> frame parser -> service -> write buffer -> writable socket.
    fn serve_one(&mut self, id: ConnId) {
        let slot = id.slot;
        let Some(mut conn) = self.conns.get_mut(slot as usize).filter(|c| c.is(id)) else {
            return self.recorder.stale();
        };
        conn.queued = false;
        match (conn.input, conn.stage) {
            (Input::Queued, Stage::Open { .. }) => conn.input = Input::Waiting,
            (Input::Queued, Stage::Lingering { .. }) => return self.discard(slot),
            (Input::Queued, Stage::Handshaking { .. }) => return self.queue_handshake(id),
            _ => return,
        }

        // The socket fills the read buffer, unless the service has not seen all of it.
        let own = conn.reads_into_its_own();
        if own {
            // Taken out of its entry: one that ends meanwhile has nothing there to be counted.
            self.outbox.resized(conn.carried(), 0);
        }
        let mut input = conn.take_input(&mut self.input);
        let room = self.limits.read_per_turn;
        let read = if conn.secured.is_none() {
            conn.fill(&mut self.os, &mut input, room)
        } else {
            let read = self.fill_secured(slot, &mut input);
            conn = &mut self.conns[slot as usize];
            read
        };
        let got = read.as_ref().map_or(0, |n| n.unwrap_or(0));
        let listener = &mut self.listeners[usize::from(conn.listener)];
        if is_client_hello(new_of(&input, got)) && conn.secured.is_none() {
            self.recorder.speaks_tls(&listener.options.name, &conn.peer);
        }
        self.recorder
            .trace(|| read_event(conn, id, &read, new_of(&input, got), room, listener));

        // The service parses what is there and says what it has to say.
        let mut half = Half::of(&mut self.services, listener);
        let mut turn = Turn::new(self.now, id, &mut self.outbox);
        let most = self.limits.frame + self.limits.read_per_turn + listener.frame_besides();
        let (outcome, frames) = offer(
            half.service(),
            &mut turn,
            conn,
            &mut input,
            got,
            &self.limits,
            most,
        );
        self.recorder.trace(|| TraceEvent::Served {
            id,
            frames,
            unread: input.len(),
            says: self.outbox.owed(slot) + input.lent().len(),
        });

        // A large answer leaves at once, from where it lies; half a frame stays where it is.
        let lent = input.lent().len();
        let (os, recorder) = (&mut self.os, &mut self.recorder);
        let write = conn.write_lent(&mut self.outbox, slot, &mut input, |conn, bytes| {
            write(conn, slot, os, bytes, recorder, listener)
        });
        self.recorder.served(&mut listener.tally, got, frames);
        self.recorder.lent(&mut listener.tally, &write, lent);
        let carried = conn.carried();
        conn.keep_input(input, &mut self.input, own);
        self.outbox.resized(carried, conn.carried());
        if conn.secured.is_some() {
            self.recount(slot);
        }

        // What follows: the end, what the service asked for besides, and what is read next.
        if let Err(error) = read.and(write) {
            return self.close_now(slot, Closed::Gone(error.kind()));
        }
        if let Err(fault) = outcome {
            self.refuse(slot, &fault);
        }
        self.carry_out();
        if self.outbox.said(slot) >= REPLY_AT_ONCE_BYTES {
            self.flush_one(slot);
        }
        let has_heard = got > 0 || self.has_heard(slot);
        let after = if has_heard { After::Heard } else { After::Turn };
        self.after_turn(slot, after);
    }

    /// Decides what the reading half does until its next budget, and how long it is waited for.
    fn after_turn(&mut self, slot: u32, after: After) {
        let Some(conn) = self.conns.get_mut(slot as usize).filter(|c| c.is_open()) else {
            return;
        };
        let standing = Standing::of(conn, slot, &self.listeners, &self.outbox);
        let next = next_input(conn, &standing, &self.limits);
        if next == Input::Paused(Pause::Held) {
            // What is unread is offered when the service takes input again, though nothing new came.
            conn.unserved = conn.carry.is_some();
        }
        conn.input = next;
        if next != Input::Ended {
            let id = conn.id(slot);
            self.recorder.trace(|| TraceEvent::Rests(id, next));
        }
        if conn.incoming.peer_gone() && next != Input::Queued && standing.is_open() {
            // All that it sent was read, or never will be, and it will read nothing of what it is owed.
            return self.close_now(slot, Closed::Gone(io::ErrorKind::BrokenPipe));
        }
        let limits = &self.limits;
        set_deadline(
            &mut self.deadlines,
            slot,
            conn,
            &standing,
            limits,
            self.now,
            after,
        );
        if next == Input::Queued {
            self.enqueue(slot);
        }
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
                Effect::Admit => self.log_in(id),
                Effect::Spawn(job) => self.spawn(id, job),
                Effect::Kill(severity) => self.kill(id, severity),
                Effect::Signal(signal) => self.signal(id, signal),
                Effect::Feed(bytes) => self.feed(id, &bytes),
                Effect::EndFeed => self.end_feed(id),
                Effect::SendFile(piece) => self.begin_file(id, piece),
                Effect::Note(note) => self.note_file(id, &note),
                Effect::Errand(errand) => self.send_on_errand(id, *errand),
                Effect::Figures if self.company.member.is_some() => self.tell(News::Figures(id)),
                Effect::Figures => self.tell_figures(id),
                Effect::HandOver(wanted) => self.tell(News::HandOver(id, wanted)),
                Effect::Secure(beginning) => self.begin_session(id, &beginning),
            }
        }
    }

    /// Takes input of a connection again, beginning with what is unread. What comes of it is decided
    /// after its turn.
    fn resume(&mut self, slot: u32) {
        if let Some(conn) = self.conns.get_mut(slot as usize) {
            conn.unserved |= conn.carry.is_some() && conn.input != Input::Ended;
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

    /// Gives a service its turn for one connection, unless that has ended.
    fn ask_service(&mut self, id: ConnId, ask: impl FnOnce(&mut dyn Service, &mut Turn<'_>)) {
        self.ask_half(id, |mut half, turn| ask(half.service(), turn));
    }

    /// The same, for whom it matters which half of the service that is.
    fn ask_half(&mut self, id: ConnId, ask: impl FnOnce(Half<'_>, &mut Turn<'_>)) {
        let Some(conn) = self
            .conns
            .get(id.slot as usize)
            .filter(|c| c.is(id) && !c.is_dead())
        else {
            return;
        };
        let half = Half::of(&mut self.services, listener_of(&self.listeners, conn));
        ask(half, &mut Turn::new(self.now, id, &mut self.outbox));
        self.carry_out();
        self.after_turn(id.slot, After::Turn);
    }

    fn wake(&mut self) {
        // After the input that came before them.
        if self.stopping != Stopping::No {
            self.stop_released();
            self.stop_fresh();
        }
        if std::mem::take(&mut self.called) {
            self.handle_signals();
        }
        if self.due <= self.now {
            self.run_errands();
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
        self.sources.forget(self.now, self.limits.timers_per_turn);
        self.speak();
    }

    /// What the loop is asked to do at a moment, beside what its connections are waited for. A turn sets none
    /// of these for itself.
    fn run_errands(&mut self) {
        self.ring_alarm();
        self.expire_helper();
        self.start_writer_if_due();
        self.tend_scribes();
        self.start_keeper_if_due();
        self.tend_broadcasts();
        self.expire_errands();
        self.tend_services();
    }

    fn flush(&mut self) {
        self.flush_dirty();
        self.keep_to_budget();
        let mut fresh = std::mem::take(&mut self.fresh);
        for id in fresh.drain(..) {
            let Some(conn) = self
                .conns
                .get(id.slot as usize)
                .filter(|c| c.is(id) && !c.is_dead())
            else {
                // Answered and closed in its first turn: it is never registered.
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

    fn flush_dirty(&mut self) {
        let mut slots = std::mem::take(&mut self.slots);
        self.outbox.take_dirty(&mut slots);
        for slot in slots.drain(..) {
            self.flush_one(slot);
        }
        self.slots = slots;
        self.outbox.trim();
        self.tell_sent();
        self.tell_files();
    }

    /// Tells services that what they said has left. What they say then leaves in the next turn; if they
    /// were told before all lanes are flushed, a producer would keep the arena from ever being empty.
    ///
    /// When the arena is full, the rest are told in the next turn.
    fn tell_sent(&mut self) {
        while self.outbox.arena_bytes() <= ARENA_BYTES_MAX
            && let Some(id) = self.outbox.next_sent()
        {
            self.ask_service(id, |service, turn| service.drained(turn));
        }
    }

    /// A lane of the outbox -> its socket, in one write.
    fn flush_one(&mut self, slot: u32) {
        let Some(conn) = self.conns.get_mut(slot as usize).filter(|c| !c.is_dead()) else {
            return;
        };
        let listener = &mut self.listeners[usize::from(conn.listener)];
        let (os, recorder) = (&mut self.os, &mut self.recorder);
        let sent = if conn.secured.is_none() {
            let write = |bytes: &[u8]| write_plain(conn, slot, os, bytes, recorder, listener);
            self.outbox.flush(slot, write)
        } else {
            flush_sealed(conn, slot, os, &mut self.outbox, recorder)
        };
        let sent = match sent {
            Ok(sent) => sent,
            Err(error) => return self.cannot_send(slot, error.kind()),
        };
        let (fate, _, left) = self.outbox.standing(slot);
        listener.tally.bytes_out += sent as u64;
        match fate {
            Fate::Leaving { why, linger } if left == 0 => self.finish(slot, why, linger),
            Fate::Left => self.part(slot),
            // All of it left, and nothing depended on that: nearly every time.
            Fate::Open if left == 0 && !depends_on_sending(conn) => {}
            _ if sent > 0 || conn.has_moved() => self.check_backlog(slot, After::Sent),
            _ => self.check_backlog(slot, After::Stalled),
        }
        if left > 0 {
            self.keep_to_budget();
        } else if !self.sent_files.is_empty() {
            self.send_piece(slot);
        }
    }

    fn has_work(&self) -> bool {
        !self.ready.is_empty()
            || self.outbox.has_dirty()
            || self.outbox.has_sent()
            || !self.dead.is_empty()
            || !self.shaking.is_empty()
            || self.has_pending_accepts()
            || self.has_datagrams()
            || self.has_child_news()
    }

    /// `NEVER`: nothing is due, whatever time it is.
    fn next_deadline(&self) -> Moment {
        let draining = match self.stopping {
            Stopping::Released(until) | Stopping::Draining(until) => Some(until),
            _ => None,
        };
        // One after the other: a loop over an array of them is not unrolled, and takes 200 instructions.
        let due = |at: Option<Moment>| at.unwrap_or(Moment::NEVER);
        due(self.deadlines.earliest())
            .min(due(self.wakes.earliest()))
            .min(due(self.rest_ends()))
            .min(due(self.sources.forgets_at()))
            .min(due(self.datagram_rest_ends()))
            .min(due(self.datagrams_wake_at()))
            .min(due(self.helper_due()))
            .min(due(self.writer_due()))
            .min(due(self.scribes.due()))
            .min(due(self.keeper_due()))
            .min(due(self.broadcasts.due()))
            .min(due(self.errands_due()))
            .min(self.tended)
            .min(due(self.alarm))
            .min(due(draining))
    }

    fn is_live(&self, id: ConnId) -> bool {
        self.conns
            .get(id.slot as usize)
            .is_some_and(|c| c.is(id) && !c.is_dead())
    }
}

/// Offers a service what is in the read buffer, if some of it is new to it, and then the end of input.
/// Says what came of it, and how many frames it took.
fn offer<S>(
    service: &mut dyn Service,
    turn: &mut Turn<'_>,
    conn: &mut Connection<S>,
    input: &mut ReadBuf,
    got: usize,
    limits: &Limits,
    most: usize,
) -> (Result<(), Fault>, u32) {
    let budget = limits.frames_per_turn;
    input.begin_budget(budget);
    let mut outcome = Ok(());
    if got > 0 || conn.unserved {
        outcome = service.input(turn, input);
        conn.unserved = input.is_budget_spent() && !input.is_empty();
    }
    let frames = budget - input.frames_left();
    if outcome.is_err() {
        return (outcome, frames);
    }
    if !input.is_empty() {
        if frames > 0 {
            // What is left is of another frame, which has a time of its own.
            conn.begins_anew();
        }
        if input.len() > most && input.len() > most + conn.opens_besides() && !turn.is_held() {
            let fault = Fault::Refused("more bytes than the longest frame, and no frame");
            return (Err(fault), frames);
        }
    }
    if conn.incoming.has_ended() && !conn.unserved && !turn.is_held() && !turn.is_leaving() {
        conn.input = Input::Ended;
        input.begin_budget(budget);
        let outcome = service.eof(turn, input);
        return (outcome, frames + (budget - input.frames_left()));
    }
    (outcome, frames)
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
