//! One member of a chat sends, the others receive: how many lines reach them a second, and how long it
//! takes until the first, the median and the last of them has a line.
//!
//! All it knows of the chat's protocol: a line that one member sends comes to every other member as a
//! line, with something before it. The connections are in `members`; which member received which line is in
//! `ledger`.
//!
//! Before anything is measured, the sender sends probes until every member has received one, so that a
//! member that is slow to join is not taken for one that loses lines. The model is *closed*, where a line
//! follows one that every member has, with `pipeline` of them in flight, or *open*, where each line has
//! its time.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use mio::event::Event;
use mio::{Events, Token};
use rustix::io::Errno;

use crate::load::drive::event_loop::{ExpiryCheck, READ_BYTES, READS_PER_TURN, Traffic};
use crate::load::drive::ledger::Ledger;
use crate::load::drive::members::{MemberSlot, Members};
use crate::load::drive::pacer::{self, WindowRoom};
use crate::load::exchange::lines::Lines;
use crate::load::measure::clock::nanos;
use crate::load::measure::failures::{Failure, FailureKind};
use crate::load::net::dial::{BACKOFF, DIALLING_MAX, Dialer, Dialled};
use crate::load::net::handshake::Handshake;
use crate::load::net::poller::{Poller, TIMER};
use crate::load::plan::Plan;
use crate::load::plan::error::LoadError;
use crate::load::plan::mode::Model;
use crate::load::plan::target::TargetAddress;
use crate::load::run::report::{Held, Report};
use crate::load::run::schedule::Schedule;
use crate::load::run::tally::Phase;
use crate::load::run::{Run, Watcher};

/// How far the members are.
#[derive(Debug)]
enum RoomStage {
    /// On the way.
    Dialling,
    /// Connected; the sender sends probes.
    Probing(Probing),
    /// In the room.
    Talking,
}

/// A fan-out in progress.
#[derive(Debug)]
pub(crate) struct Fanout<'p> {
    run: Run<'p>,
    stage: RoomStage,
    dialer: Dialer,
    poller: Poller,
    incoming: Box<[u8]>,
    room: Members,
    lines: Lines,
    /// What every connection sends first.
    hello: &'p [u8],
    sender: Sender,
    ledger: Ledger,
    /// Slots whose budget is spent, and that have more to be read.
    unread: Vec<usize>,
    /// Since when a listener's queue has been full, and until when it is left alone.
    delayed_since: Option<u64>,
    rests_until: u64,
    expiry: ExpiryCheck,
    /// Open model: places for lines.
    places: WindowRoom,
}

impl<'p> Fanout<'p> {
    /// Gets everything ready that a run needs, so that it need not allocate later.
    pub(super) fn new(
        plan: &'p Plan,
        (hello, any_prefix): (&'p [u8], bool),
        target: &TargetAddress,
        watcher: Watcher<'p>,
    ) -> Result<Self, LoadError> {
        let run = Run::connecting(plan, watcher);
        let (is_open, window) = match plan.model {
            Model::Closed => (false, plan.mode.depth()),
            Model::Open { .. } => (true, Lines::window_of(plan.size)),
        };
        // A number of its own for each run: what the server tells of an earlier one, or of one beside
        // it, is not ours. What is left of the numbers lasts for days.
        let first = RandomState::new().hash_one(plan.size) >> 25;
        let lines = Lines::new(plan.size, window, first, any_prefix);
        Ok(Self {
            stage: RoomStage::Dialling,
            dialer: Dialer::new(plan, target)?,
            poller: Poller::new(run.watch, plan.spin, is_open)?,
            incoming: vec![0; READ_BYTES].into_boxed_slice(),
            room: Members::new(plan.connections),
            hello,
            sender: Sender::new(first),
            ledger: Ledger::new(lines.slots()),
            lines,
            unread: Vec::new(),
            delayed_since: None,
            rests_until: 0,
            expiry: ExpiryCheck::default(),
            places: WindowRoom::default(),
            run,
        })
    }
}

impl<'p> Traffic<'p> for Fanout<'p> {
    fn run(&mut self) -> &mut Run<'p> {
        &mut self.run
    }

    fn poller(&mut self) -> &mut Poller {
        &mut self.poller
    }

    /// Ends lines and connection attempts that took longer than the timeout.
    fn expire(&mut self, now: u64) {
        self.ledger.give_up(now, &mut self.run);
        if self.room.dialling == 0 || !self.expiry.is_due(now, &self.run) {
            return;
        }
        let timeout = nanos(self.run.plan.timeout);
        for index in 0..self.room.len() {
            match self.room.slot(index) {
                MemberSlot::Dialling { since, .. } if now.saturating_sub(*since) >= timeout => {
                    self.fail(index, FailureKind::Timeout);
                }
                _ => {}
            }
        }
    }

    fn begin(&mut self, now: u64) {
        self.dial(now);
        self.join(now);
        self.begin_lines();
    }

    fn dispatch(&mut self, events: &Events) {
        for index in std::mem::take(&mut self.unread) {
            if let Some(conn) = self.room.get_mut(index) {
                conn.is_unread = false;
            }
            self.read(index, true);
        }
        for event in events {
            if event.token() != TIMER {
                self.serve(event.token().0, event);
            }
        }
    }

    fn next_event(&self, now: u64) -> u64 {
        // The phase that has just begun may be the last.
        if !self.unread.is_empty() || self.is_over() {
            return now;
        }
        let timeout = nanos(self.run.plan.timeout);
        let joining = match &self.stage {
            RoomStage::Dialling if self.room.dialling > 0 => self.expiry.next,
            RoomStage::Dialling => self.rests_until,
            RoomStage::Probing(probing) => probing.next_event(timeout),
            RoomStage::Talking => u64::MAX,
        };
        let lost = self.ledger.waiting_since();
        let lost = lost.map_or(u64::MAX, |since| since.saturating_add(timeout));
        let due = if self.room.has_sender() {
            pacer::next_event(&self.run, self.places() > 0)
        } else {
            u64::MAX
        };
        let phase = self.run.next_phase();
        phase.min(joining).min(lost).min(due).max(now)
    }

    fn is_over(&self) -> bool {
        let none_waits = self.ledger.in_flight() == 0;
        let none_receives = self.room.members == 0;
        let none_sends = !self.room.has_sender() && none_waits;
        match (&self.stage, self.run.phase) {
            (RoomStage::Dialling, _) => false,
            (_, Phase::Draining) if none_waits && self.run.schedule_is_done() => true,
            _ => none_receives || none_sends,
        }
    }

    fn report(self, now: u64) -> Report {
        let held = Held {
            asked: self.run.plan.connections,
            held: self.room.members,
        };
        let mut report = self.run.report(now, self.poller.spun, held);
        let lines_per_s = report.requests.answered as f64 / report.elapsed_s.max(1e-6);
        report.deliveries = Some(self.ledger.deliveries(lines_per_s));
        report
    }
}

impl Fanout<'_> {
    /// No slot is taken twice, so an event for a closed connection finds an empty slot.
    #[inline]
    fn serve(&mut self, index: usize, event: &Event) {
        if let MemberSlot::Dialling { .. } = self.room.slot(index) {
            self.complete_connect(index);
        }
        if event.is_writable() {
            if index == self.room.sender() {
                self.flush();
            }
            self.send_hello(index);
        }
        if event.is_readable() || event.is_error() || event.is_priority() {
            let to_the_end = event.is_read_closed() || event.is_error() || event.is_priority();
            self.read(index, to_the_end);
        }
    }

    /// Reads what is there, and hears it; `to_the_end` when a short read proves nothing.
    #[inline]
    fn read(&mut self, index: usize, to_the_end: bool) {
        for _ in 0..READS_PER_TURN {
            let is_sender = index == self.room.sender();
            let Some(conn) = self.room.get_mut(index) else {
                return;
            };
            let n = match conn.stream.read(&mut self.incoming) {
                Ok(0) => return self.fail(index, FailureKind::ShortAnswer),
                Ok(n) => n,
                Err(Errno::AGAIN) => return,
                Err(errno) => return self.fail(index, errno),
            };
            if !is_sender {
                // One look at the clock for all that came at once.
                let now = self.run.watch.nanos();
                let (ledger, run) = (&mut self.ledger, &mut self.run);
                let received =
                    conn.matcher
                        .feed(&self.incoming[..n], &mut self.lines, &mut |received| {
                            ledger.feed(received, now, run);
                        });
                if received.is_err() {
                    return self.fail(index, FailureKind::WrongAnswer);
                }
            }
            if n < self.incoming.len() && !to_the_end {
                return;
            }
        }
        if let Some(conn) = self.room.get_mut(index)
            && !std::mem::replace(&mut conn.is_unread, true)
        {
            self.unread.push(index);
        }
    }
}

/// After this long the sender sends another probe, then after twice as long: a server may take a while to
/// let all members in, and does not say when.
const PROBE_AFTER: Duration = Duration::from_millis(100);
/// The longest time between two probes.
const PROBE_AFTER_MAX: Duration = Duration::from_secs(1);

/// Probes: lines that find out which members receive.
#[derive(Debug)]
struct Probing {
    since: u64,
    /// The last of them.
    last: Option<u64>,
    /// The first slot that is not known to have received it.
    unserved: usize,
    next: u64,
    pause: u64,
}

impl Probing {
    fn new(now: u64) -> Self {
        Self {
            since: now,
            last: None,
            unserved: 0,
            next: now,
            pause: nanos(PROBE_AFTER),
        }
    }

    /// When something is to be done about it.
    fn next_event(&self, timeout: u64) -> u64 {
        self.next.min(self.since.saturating_add(timeout))
    }
}

impl Fanout<'_> {
    /// Dials for vacant slots, as far as a listener's queue may be able to take it.
    fn dial(&mut self, now: u64) {
        while self.room.dialling < DIALLING_MAX
            && self.rests_until <= now
            && let Some(index) = self.room.vacant()
        {
            match self.dialer.dial() {
                Ok(Dialled::Begun(stream)) => {
                    let shown = self.poller.register(&stream, Token(index));
                    let now = self.run.watch.nanos();
                    self.room.dial(stream, now);
                    self.delayed_since = None;
                    if let Err(error) = shown {
                        self.fail(
                            index,
                            Failure {
                                kind: FailureKind::Other,
                                errno: Errno::from_io_error(&error),
                            },
                        );
                    }
                }
                Ok(Dialled::Later) => {
                    let since = *self.delayed_since.get_or_insert(now);
                    if now - since < nanos(self.run.plan.timeout) {
                        self.rests_until = now + nanos(BACKOFF);
                    } else {
                        self.fail(index, FailureKind::Timeout);
                    }
                }
                Err(errno) => self.fail(index, errno),
            }
        }
    }

    /// One on the way may have arrived.
    fn complete_connect(&mut self, index: usize) {
        let MemberSlot::Dialling {
            stream,
            since,
            proving,
        } = self.room.slot_mut(index)
        else {
            return;
        };
        let since = *since;
        let arrived = match (stream.is_connected(), &self.run.plan.hmac_key) {
            (Ok(true), _) if self.dialer.met_itself(stream) => Err(FailureKind::SelfConnect.into()),
            (Ok(true), Some(hmac_key)) => proving
                .get_or_insert(Handshake::new())
                .go_on(stream, hmac_key),
            (Ok(is_connected), _) => Ok(is_connected),
            (Err(errno), _) => Err(errno.into()),
        };
        match arrived {
            Ok(true) => {
                let took = self.run.watch.nanos().saturating_sub(since);
                self.run.tally.breakdown.connect.record(took, 1);
                self.room.arrive(index, self.lines.next());
            }
            Ok(false) => {}
            Err(failure) => self.fail(index, failure),
        }
    }

    /// Sends the hello, or the rest of it; whether that is done.
    fn send_hello(&mut self, index: usize) -> bool {
        let hello = self.hello;
        let Some(conn) = self.room.get_mut(index) else {
            return false;
        };
        while conn.hello_sent < hello.len() {
            match conn.stream.write(&hello[conn.hello_sent..]) {
                Ok(n) => conn.hello_sent += n,
                Err(Errno::AGAIN) => return false,
                Err(errno) => {
                    self.fail(index, errno);
                    return false;
                }
            }
        }
        true
    }

    /// From dialling over probing to the measured lines.
    fn join(&mut self, now: u64) {
        if matches!(self.stage, RoomStage::Dialling)
            && self.room.vacant().is_none()
            && self.room.dialling == 0
        {
            self.stage = RoomStage::Probing(Probing::new(now));
        }
        let RoomStage::Probing(probing) = &mut self.stage else {
            return;
        };
        // A member whose connection failed meanwhile is not waited for.
        let hears = |slot: &MemberSlot, last| match slot {
            MemberSlot::Taken(conn) => !conn.matcher.lacks(last),
            _ => true,
        };
        while probing.unserved < self.room.listeners()
            && let Some(last) = probing.last
            && hears(self.room.slot(probing.unserved), last)
        {
            probing.unserved += 1;
        }
        if probing.unserved == self.room.listeners() {
            return self.begin();
        }
        if now.saturating_sub(probing.since) >= nanos(self.run.plan.timeout) {
            for index in 0..self.room.listeners() {
                let is_deaf = |slot: &MemberSlot| matches!(slot, MemberSlot::Taken(conn) if conn.matcher.is_new());
                if is_deaf(self.room.slot(index)) {
                    self.fail(index, FailureKind::Timeout);
                }
            }
            return self.begin();
        }
        if now >= probing.next && self.sender.is_done(&self.lines) {
            probing.last = Some(self.lines.add());
            probing.unserved = 0;
            probing.next = now + probing.pause;
            probing.pause = (2 * probing.pause).min(nanos(PROBE_AFTER_MAX));
            self.flush();
        }
    }

    /// All members receive: the lines from now on are measured.
    fn begin(&mut self) {
        let now = self.run.watch.nanos();
        self.stage = RoomStage::Talking;
        self.ledger.open(self.lines.next());
        self.run.schedule = Schedule::of(self.run.plan.model, now);
        self.run.warm_up(now, self.poller.spun);
    }

    /// A connection that cannot go on.
    fn fail(&mut self, index: usize, failure: impl Into<Failure>) {
        let mut failure = failure.into();
        let now = self.run.watch.nanos();
        let must_prove = self.run.plan.hmac_key.is_some();
        // Closed after the proof and before the first line: not admitted.
        if must_prove
            && matches!(failure.kind, FailureKind::ShortAnswer | FailureKind::Reset)
            && matches!(self.stage, RoomStage::Dialling | RoomStage::Probing(_))
            && self
                .room
                .get_mut(index)
                .is_some_and(|conn| conn.matcher.is_new())
        {
            failure.kind = FailureKind::NotAdmitted;
        }
        self.run.failed(failure, now, now);
        if let Some(matcher) = self.room.leave(index) {
            self.ledger.lose(&matcher, now, &mut self.run);
        }
    }
}

/// How far the sender has come with the lines that began.
#[derive(Debug)]
struct Sender {
    /// The line that is being sent, and how many bytes of it were.
    line: u64,
    part: usize,
}

impl Sender {
    /// Begins with this line.
    fn new(line: u64) -> Self {
        Self { line, part: 0 }
    }

    /// Whether nothing is left to be sent.
    fn is_done(&self, lines: &Lines) -> bool {
        self.line == lines.next()
    }
}

impl Fanout<'_> {
    /// Begins the lines that are due, and sends them in one write.
    fn begin_lines(&mut self) {
        if !matches!(self.stage, RoomStage::Talking)
            || !self.room.has_sender()
            || self.room.members == 0
        {
            return;
        }
        if self.run.schedule.is_some() {
            self.begin_due();
        } else {
            let count = self.run.tally.take(self.run.phase, self.places());
            if count > 0 {
                let now = self.run.watch.nanos();
                (0..count).for_each(|_| self.begin_one(now, now));
            }
        }
        self.flush();
    }

    /// Begins the lines whose time has come, as far as there is a place for them.
    fn begin_due(&mut self) {
        loop {
            let now = self.run.watch.nanos();
            let has_room = self.places() > 0;
            let room_since = self.places.since(has_room, now);
            let Some(began) = pacer::next_due(&mut self.run, now, room_since) else {
                return;
            };
            self.begin_one(began, now);
        }
    }

    /// How many more lines there may be in flight. A line keeps its place until every member has it or it
    /// is given up, and until it has left.
    fn places(&self) -> usize {
        let unsent = self.lines.next() - self.sender.line;
        let free = self.ledger.places().min(self.lines.slots() - unsent);
        let free = usize::try_from(free).unwrap_or(usize::MAX);
        match self.run.plan.model {
            Model::Closed => free.min(
                self.run
                    .plan
                    .mode
                    .depth()
                    .saturating_sub(self.ledger.in_flight()),
            ),
            Model::Open { .. } => free,
        }
    }

    fn begin_one(&mut self, began: u64, now: u64) {
        self.lines.add();
        let members = u32::try_from(self.room.members).unwrap_or(u32::MAX);
        self.ledger.begin(members, began, now);
    }

    /// Sends what is not sent yet, as far as the socket takes it.
    fn flush(&mut self) {
        let index = self.room.sender();
        if self.sender.is_done(&self.lines) || !self.send_hello(index) {
            return;
        }
        loop {
            let unsent = self.lines.outgoing(self.sender.line, self.sender.part);
            let Some(sender) = self.room.get_mut(index) else {
                return;
            };
            if unsent.is_empty() {
                return;
            }
            match sender.stream.write(unsent) {
                Ok(n) => {
                    let (all, len) = (self.sender.part + n, self.run.plan.size + 1);
                    self.sender.line += (all / len) as u64;
                    self.sender.part = all % len;
                }
                Err(Errno::AGAIN) => return,
                Err(errno) => return self.fail(index, errno),
            }
        }
    }
}
