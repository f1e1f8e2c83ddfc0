//! One member of a chat sends, the others receive: how many lines reach them a second, and how long it
//! takes until the first, the median and the last of them has a line.
//!
//! All it knows of the chat's protocol: a line that one member sends comes to every other member as a
//! line, with something before it. In reading order:
//!
//! - `ledger`: which members received which line.
//! - `room`: the connections. `joining`: how they are made. `sender`: how lines leave.
//!
//! Before anything is measured, the sender sends probes until every member has received one, so that a
//! member that is slow to join is not taken for one that loses lines. The model is *closed*, where a line
//! follows one that every member has, with `pipeline` of them in flight, or *open*, where each line has
//! its time.

mod joining;
mod ledger;
mod room;
mod sender;

use std::hash::{BuildHasher, RandomState};

use mio::event::Event;
use rustix::io::Errno;

use crate::load::exchange::lines::Lines;
use crate::load::fanout::joining::Probing;
use crate::load::fanout::ledger::Ledger;
use crate::load::fanout::room::{MemberSlot, Members};
use crate::load::fanout::sender::Sender;
use crate::load::measure::clock::nanos;
use crate::load::measure::failures::FailureKind;
use crate::load::net::dial::{self, Dialer};
use crate::load::net::poller::{Poller, TIMER};
use crate::load::plan::Plan;
use crate::load::plan::error::LoadError;
use crate::load::plan::mode::{Mode, Model};
use crate::load::plan::target::TargetAddress;
use crate::load::run::report::{Held, Report};
use crate::load::run::tally::Phase;
use crate::load::run::{Run, Watcher};

/// One read takes at most this much.
const READ_BYTES: usize = 256 * 1024;
/// Reads of one member before the others have their turn: a server that never stops sending must not
/// stop the loop.
const READS_PER_TURN: usize = 16;

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
    sender: Sender,
    ledger: Ledger,
    /// Slots whose budget is spent, and that have more to be read.
    unread: Vec<usize>,
    /// Since when a listener's queue has been full, and until when it is left alone.
    delayed_since: Option<u64>,
    rests_until: u64,
    next_look: u64,
    /// Open model: whether there was no place for a line that was due, and since when there is one.
    was_full: bool,
    room_since: u64,
}

impl<'p> Fanout<'p> {
    /// Gets everything ready that a run needs, so that it need not allocate later.
    pub(super) fn new(
        plan: &'p Plan,
        target: &TargetAddress,
        watcher: Watcher<'p>,
    ) -> Result<Self, LoadError> {
        let run = Run::connecting(plan, watcher);
        let (is_open, window) = match plan.model {
            Model::Closed => (false, plan.pipeline),
            Model::Open { .. } => (true, Lines::window_of(plan.size)),
        };
        // A number of its own for each run: what the server tells of an earlier one, or of one beside
        // it, is not ours. What is left of the numbers lasts for days.
        let first = RandomState::new().hash_one(plan.size) >> 25;
        let any_prefix = matches!(plan.mode, Mode::Fanout { any_prefix: true });
        let lines = Lines::new(plan.size, window, first, any_prefix);
        Ok(Self {
            stage: RoomStage::Dialling,
            dialer: Dialer::new(plan, target)?,
            poller: Poller::new(run.watch, plan.spin, is_open)?,
            incoming: vec![0; READ_BYTES].into_boxed_slice(),
            room: Members::new(plan.connections),
            sender: Sender::new(first),
            ledger: Ledger::new(lines.slots()),
            lines,
            unread: Vec::new(),
            delayed_since: None,
            rests_until: 0,
            next_look: 0,
            was_full: false,
            room_since: 0,
            run,
        })
    }

    /// Runs to the end.
    pub(crate) fn run(mut self) -> Result<Report, LoadError> {
        let mut now = self.run.watch.nanos();
        let mut woke = now;
        while !self.is_over() {
            self.run.advance_phase(now, self.poller.spun); // warm-up, measuring, the end
            self.expire(now); // lines and connection attempts that took too long
            self.dial(now); // connections that are to be opened
            self.join(now); // whether all members receive
            self.begin_lines(); // the lines that are due
            let asleep = self.run.turned(woke);
            let until = self.next_event(asleep);
            self.poller.wait(asleep, until)?; // the only place that sleeps
            woke = self.run.watch.nanos();
            self.dispatch(); // connections that became readable or writable
            now = self.run.watch.nanos(); // what began before this belongs to the phase before
        }
        Ok(self.report(now))
    }

    fn is_over(&self) -> bool {
        let nobody_waits = self.ledger.in_flight() == 0;
        let nobody_hears = self.room.members == 0;
        let nobody_speaks = !self.room.has_sender() && nobody_waits;
        match (&self.stage, self.run.phase) {
            (RoomStage::Dialling, _) => false,
            (_, Phase::Draining) if nobody_waits && self.run.schedule_is_done() => true,
            _ => nobody_hears || nobody_speaks,
        }
    }

    /// When the loop has something to do, even if nothing is received.
    fn next_event(&self, now: u64) -> u64 {
        // The phase that has just begun may be the last.
        if !self.unread.is_empty() || self.is_over() {
            return now;
        }
        let timeout = nanos(self.run.plan.timeout);
        let joining = match &self.stage {
            RoomStage::Dialling if self.room.dialling > 0 => self.next_look,
            RoomStage::Dialling => self.rests_until,
            RoomStage::Probing(probing) => probing.next_event(timeout),
            RoomStage::Talking => u64::MAX,
        };
        let lost = self.ledger.waiting_since();
        let lost = lost.map_or(u64::MAX, |since| since.saturating_add(timeout));
        let due = match &self.run.schedule {
            Some(schedule) if self.room.has_sender() => {
                // Without a place, the next thing is that it is too late.
                let wait = if self.places() > 0 { 0 } else { timeout };
                let is_due =
                    self.run.phase != Phase::Draining || self.run.tally.has_due(schedule.next());
                if is_due {
                    schedule.next().saturating_add(wait)
                } else {
                    u64::MAX
                }
            }
            _ => u64::MAX,
        };
        let page = self.run.next_phase();
        page.min(joining).min(lost).min(due).max(now)
    }

    fn dispatch(&mut self) {
        for index in std::mem::take(&mut self.unread) {
            if let Some(conn) = self.room.get_mut(index) {
                conn.is_unread = false;
            }
            self.read(index, true);
        }
        let events = self.poller.take();
        for event in &events {
            if event.token() != TIMER {
                self.serve(event.token().0, event);
            }
        }
        self.poller.give_back(events);
    }

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
                Ok(0) => return self.fail(index, FailureKind::ShortAnswer, None),
                Ok(n) => n,
                Err(Errno::AGAIN) => return,
                Err(errno) => return self.fail(index, dial::kind(errno), Some(errno)),
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
                    return self.fail(index, FailureKind::WrongAnswer, None);
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
