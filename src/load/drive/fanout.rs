//! One member of a chat sends, the others receive: how many lines reach them a second, and how long it
//! takes until the first, the median and the last of them has a line.
//!
//! All it knows of the chat's protocol: a line that one member sends comes to every other member as a
//! line, with something before it. Which member received which line is in `ledger`.
//!
//! Before anything is measured, the sender sends probes until every member has received one, so that a
//! member that is slow to join is not taken for one that loses lines. The model is *closed*, where a line
//! follows one that every member has, with `depth` of them in flight, or *open*, where each line has
//! its time.

use std::cmp::Reverse;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use mio::Events;

use crate::load::drive::connections::{Connection, Connections};
use crate::load::drive::event_loop::Traffic;
use crate::load::drive::ledger::Ledger;
use crate::load::drive::pacer::{self, WindowRoom};
use crate::load::drive::streams::Streams;
use crate::load::exchange::line_matcher::LineMatcher;
use crate::load::exchange::lines::Lines;
use crate::load::measure::clock::nanos;
use crate::load::measure::failures::{Failure, FailureKind};
use crate::load::measure::stages::FailureStage;
use crate::load::net::dial::Stream;
use crate::load::net::poller::Poller;
use crate::load::plan::Plan;
use crate::load::plan::error::LoadError;
use crate::load::plan::mode::Model;
use crate::load::plan::target::TargetAddress;
use crate::load::run::outcome::LackingMember;
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

/// What goes over one connection.
#[derive(Debug)]
pub(super) struct Member<'p> {
    /// What is sent first, as far as it is unsent.
    hello: &'p [u8],
    /// The sender's is not used: whether a server sends it its own lines back is left to the server.
    matcher: LineMatcher,
}

impl Member<'_> {
    /// Whether the hello was sent; sends what is left of it.
    #[inline]
    fn is_greeted(&mut self, stream: &mut Stream) -> Result<bool, Failure> {
        while !self.hello.is_empty() {
            match stream.write(self.hello)? {
                Some(n) => self.hello = &self.hello[n..],
                None => return Ok(false),
            }
        }
        Ok(true)
    }
}

/// A fan-out in progress.
#[derive(Debug)]
pub(crate) struct Fanout<'p> {
    run: Run<'p>,
    stage: RoomStage,
    /// A slot for each member, and the last one for the sender.
    connections: Connections<Member<'p>>,
    lines: Lines,
    /// What every connection sends first.
    hello: &'p [u8],
    sender: Sender,
    ledger: Ledger,
    /// How many lines the plan lets be in flight.
    in_flight_max: usize,
    /// Open model: places for lines.
    places: WindowRoom,
    /// Members whose connection failed where lines are measured.
    gone: Vec<LackingMember>,
}

impl<'p> Fanout<'p> {
    /// Gets everything ready that a run needs, so that it need not allocate later.
    pub(super) fn new(
        plan: &'p Plan,
        (hello, any_prefix): (&'p [u8], bool),
        target: &TargetAddress,
        watcher: Watcher<'p>,
    ) -> Result<Self, LoadError> {
        let run = Run::new(plan, watcher);
        let (in_flight_max, window) = match plan.model {
            Model::Closed => (plan.mode.depth(), plan.mode.depth()),
            Model::Open { .. } => (usize::MAX, Lines::window_of(plan.size)),
        };
        // A number of its own for each run: what the server tells of an earlier one, or of one beside
        // it, is not ours. What is left of the numbers lasts for days.
        let first = RandomState::new().hash_one(plan.size) >> 25;
        let lines = Lines::new(plan.size, window, first, any_prefix);
        Ok(Self {
            stage: RoomStage::Dialling,
            connections: Connections::new(plan.connections + 1, &run, target)?,
            hello,
            sender: Sender {
                is_connected: false,
                line: first,
                part: 0,
            },
            ledger: Ledger::new(lines.slots()),
            in_flight_max,
            lines,
            places: WindowRoom::default(),
            gone: Vec::new(),
            run,
        })
    }

    /// The slot behind those of the members.
    fn sender_slot(&self) -> usize {
        self.run.plan.connections
    }

    /// What a member lacks.
    fn lacking(&self, index: usize, conn: &Connection<Member<'p>>, is_gone: bool) -> LackingMember {
        LackingMember {
            member: index + 1,
            address: conn.stream.local_address().map(|own| own.to_string()),
            lines: self.ledger.lacking(&conn.payload.matcher),
            is_gone,
        }
    }

    /// How many members are connected.
    fn members(&self) -> usize {
        self.connections.open - usize::from(self.sender.is_connected)
    }
}

impl<'p> Traffic<'p> for Fanout<'p> {
    fn parts(&mut self) -> (&mut Run<'p>, &mut Poller) {
        (&mut self.run, &mut self.connections.poller)
    }

    /// Ends lines and connection attempts that took longer than the timeout.
    fn expire(&mut self, now: u64) {
        self.ledger.give_up(now, &mut self.run);
        if matches!(self.stage, RoomStage::Dialling) {
            self.connections.end_backoff(now);
            for index in self.connections.overdue(now, &self.run, |_, _| None) {
                self.fail(index, FailureKind::Timeout.into());
            }
        }
    }

    fn begin(&mut self, now: u64) {
        if matches!(self.stage, RoomStage::Dialling) {
            self.dial();
        }
        self.join(now);
        self.begin_lines();
    }

    fn dispatch(&mut self, events: &Events) {
        self.serve_all(events);
    }

    fn next_event(&self, now: u64) -> u64 {
        // The phase that has just begun may be the last.
        if self.is_over() {
            return now;
        }
        let timeout = nanos(self.run.plan.timeout);
        let joining = match &self.stage {
            RoomStage::Probing(probing) => probing.next.min(probing.since.saturating_add(timeout)),
            RoomStage::Dialling | RoomStage::Talking => u64::MAX,
        };
        let joining = self.connections.next_event().min(joining);
        let lost = self.ledger.waiting_since();
        let lost = lost.map_or(u64::MAX, |since| since.saturating_add(timeout));
        let due = if self.sender.is_connected {
            pacer::next_event(&self.run, self.places() > 0)
        } else {
            u64::MAX
        };
        let phase = self.run.next_phase();
        phase.min(joining).min(lost).min(due).max(now)
    }

    fn is_over(&self) -> bool {
        let none_waits = self.ledger.in_flight() == 0;
        match (&self.stage, self.run.phase) {
            (RoomStage::Dialling, _) => false,
            (_, Phase::Draining) if none_waits && self.run.schedule_is_done() => true,
            _ => self.members() == 0 || none_waits && !self.sender.is_connected,
        }
    }

    fn report(self, now: u64) -> Report {
        let held = Held {
            asked: self.run.plan.connections,
            held: self.members(),
        };
        let members = (0..self.run.plan.connections).filter_map(|index| {
            let conn = self.connections.get(index)?;
            let is_there = !conn.stage.is_arriving();
            is_there.then(|| self.lacking(index, conn, false))
        });
        let lacking = members.filter(|member| member.lines > 0);
        let mut lacking: Vec<_> = self.gone.iter().cloned().chain(lacking).collect();
        lacking.sort_by_key(|member| (Reverse(member.lines), member.member));
        let mut report = self.run.report(now, self.connections.poller.spun, held);
        let lines_per_s = report.answered_per_s();
        report.lacking = lacking;
        report.deliveries = Some(self.ledger.deliveries(lines_per_s));
        report
    }
}

impl<'p> Streams for Fanout<'p> {
    type Payload = Member<'p>;

    fn connections(&mut self) -> &mut Connections<Member<'p>> {
        &mut self.connections
    }

    fn arrive(&mut self, index: usize) -> Result<bool, Failure> {
        let has_arrived = self.connections.arrive(index, &mut self.run)?;
        self.sender.is_connected |= has_arrived && index == self.sender_slot();
        Ok(has_arrived)
    }

    #[inline]
    fn write(&mut self, index: usize) -> Result<(), Failure> {
        let Some(conn) = self.connections.get_mut(index) else {
            return Ok(());
        };
        conn.stream.flush()?;
        if conn.payload.is_greeted(&mut conn.stream)? && index == self.sender_slot() {
            return self.send_lines();
        }
        Ok(())
    }

    /// Reads what is there, and hears it.
    #[inline]
    fn receive(&mut self, index: usize, to_the_end: bool) -> Result<bool, Failure> {
        let is_sender = index == self.sender_slot();
        let Some((conn, bytes, may_have_more)) = self.connections.read(index)? else {
            return Ok(false);
        };
        if bytes.is_empty() {
            return Err(FailureKind::ShortAnswer.into());
        }
        if !is_sender {
            self.run.received_bytes(bytes.len());
            // One look at the clock for all that came at once.
            let now = self.run.watch.nanos();
            let (ledger, run) = (&mut self.ledger, &mut self.run);
            let mut tell = |received| ledger.feed(received, now, run);
            let matcher = &mut conn.payload.matcher;
            matcher.feed(bytes, &mut self.lines, &mut tell)?;
        }
        Ok(may_have_more || to_the_end)
    }

    /// A connection that cannot go on, or could not be dialled.
    #[cold]
    fn fail(&mut self, index: usize, failure: Failure) {
        let now = self.run.watch.nanos();
        let Some(mut conn) = self.connections.leave(index) else {
            let stage = FailureStage::Connecting;
            return self.run.failed(failure, stage, now, now);
        };
        // Where lines are measured, all were let in; before that, those that have received one.
        let is_measured = matches!(self.stage, RoomStage::Talking);
        conn.is_admitted |= is_measured || !conn.payload.matcher.is_new();
        let failure = conn.explain(failure, &mut self.run);
        let is_sending = index == self.sender_slot() && !self.sender.is_done(&self.lines);
        let stage = match conn.stage.arriving(failure.kind) {
            Some(stage) => stage,
            None if is_sending => FailureStage::Sending,
            None => FailureStage::Waiting,
        };
        self.run.failed(failure, stage, now, now);
        if index == self.sender_slot() {
            self.sender.is_connected = false;
        } else if !conn.stage.is_arriving() {
            if is_measured {
                self.gone.push(self.lacking(index, &conn, true));
            }
            self.ledger.lose(&conn.payload.matcher, now, &mut self.run);
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

impl Fanout<'_> {
    /// Dials for vacant slots, as far as a listener's queue may be able to take it; for the sender last.
    fn dial(&mut self) {
        while let Some((index, delayed)) = self.connections.next_vacant() {
            let now = self.run.watch.nanos();
            let member = Member {
                hello: self.hello,
                matcher: LineMatcher::new(self.lines.next()),
            };
            let began = delayed.unwrap_or(now);
            let dialled = self
                .connections
                .dial(index, (began, now), member, &self.run);
            self.settle(index, dialled.map(drop));
        }
    }

    /// From dialling over probing to the measured lines.
    fn join(&mut self, now: u64) {
        if matches!(self.stage, RoomStage::Dialling)
            && self.connections.none_to_dial()
            && self.connections.dialling == 0
        {
            // From now on nothing but lines can take too long.
            self.connections.next_check = u64::MAX;
            self.stage = RoomStage::Probing(Probing {
                since: now,
                last: None,
                unserved: 0,
                next: now,
                pause: nanos(PROBE_AFTER),
            });
        }
        let RoomStage::Probing(probing) = &mut self.stage else {
            return;
        };
        let members = self.run.plan.connections;
        // A member whose connection failed meanwhile is not waited for.
        while probing.unserved < members
            && let Some(last) = probing.last
            && self
                .connections
                .get(probing.unserved)
                .is_none_or(|conn| !conn.payload.matcher.lacks(last))
        {
            probing.unserved += 1;
        }
        if probing.unserved == members {
            return self.begin();
        }
        if now.saturating_sub(probing.since) >= nanos(self.run.plan.timeout) {
            for index in 0..members {
                let conn = self.connections.get(index);
                if conn.is_some_and(|conn| conn.payload.matcher.is_new()) {
                    self.fail(index, FailureKind::Timeout.into());
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
        self.run.schedule = Schedule::of(self.run.plan.model, self.run.plan.seed, now);
        self.run.warm_up(now, self.connections.poller.spun);
    }
}

/// How far the sender has come with the lines that began.
#[derive(Debug)]
struct Sender {
    is_connected: bool,
    /// The line that is being sent, and how many bytes of it were.
    line: u64,
    part: usize,
}

impl Sender {
    /// Whether nothing is left to be sent.
    fn is_done(&self, lines: &Lines) -> bool {
        self.line == lines.next()
    }
}

impl Fanout<'_> {
    /// Begins the lines that are due, and sends them in one write.
    fn begin_lines(&mut self) {
        if !matches!(self.stage, RoomStage::Talking)
            || !self.sender.is_connected
            || self.members() == 0
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
        free.min(self.in_flight_max.saturating_sub(self.ledger.in_flight()))
    }

    fn begin_one(&mut self, began: u64, now: u64) {
        self.lines.add();
        let members = u32::try_from(self.members()).unwrap_or(u32::MAX);
        self.ledger.begin(members, began, now);
    }

    fn flush(&mut self) {
        let sent = self.send_lines();
        self.settle(self.sender_slot(), sent);
    }

    /// Sends what is not sent yet, as far as the socket takes it.
    fn send_lines(&mut self) -> Result<(), Failure> {
        while !self.sender.is_done(&self.lines) {
            let index = self.sender_slot();
            let Some(conn) = self.connections.get_mut(index) else {
                return Ok(());
            };
            let unsent = self.lines.outgoing(self.sender.line, self.sender.part);
            if unsent.is_empty() || !conn.payload.is_greeted(&mut conn.stream)? {
                return Ok(());
            }
            let Some(n) = conn.stream.write(unsent)? else {
                return Ok(());
            };
            self.run.sent_bytes(n);
            let (all, len) = (self.sender.part + n, self.run.plan.size + 1);
            self.sender.line += (all / len) as u64;
            self.sender.part = all % len;
        }
        Ok(())
    }
}
