//! How members join: dialled, greeted with a hello, and sent probes until all of them receive one.

use std::io;
use std::time::Duration;

use mio::Token;
use rustix::io::Errno;

use crate::load::fanout::room::MemberSlot;
use crate::load::fanout::{Fanout, RoomStage};
use crate::load::measure::clock::nanos;
use crate::load::measure::failures::FailureKind;
use crate::load::net::dial::{self, BACKOFF, DIALLING_MAX, Dialled};
use crate::load::net::handshake::Handshake;
use crate::load::run::schedule::Schedule;

/// After this long the sender sends another probe, then after twice as long: a server may take a while to
/// let all members in, and does not say when.
const PROBE_AFTER: Duration = Duration::from_millis(100);
/// The longest time between two probes.
const PROBE_AFTER_MAX: Duration = Duration::from_secs(1);
/// Timeouts of connecting members are checked at most, and at least, this often.
const LOOK: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(50));

/// Probes: lines that find out which members receive.
#[derive(Debug)]
pub(super) struct Probing {
    since: u64,
    /// The last of them.
    last: Option<u64>,
    /// The first slot that is not known to have received it.
    unserved: usize,
    next: u64,
    pause: u64,
}

impl Probing {
    pub(super) fn new(now: u64) -> Self {
        Self {
            since: now,
            last: None,
            unserved: 0,
            next: now,
            pause: nanos(PROBE_AFTER),
        }
    }

    /// When something is to be done about it.
    pub(super) fn next_event(&self, timeout: u64) -> u64 {
        self.next.min(self.since.saturating_add(timeout))
    }
}

impl Fanout<'_> {
    /// Ends lines and connection attempts that took longer than the timeout.
    pub(super) fn expire(&mut self, now: u64) {
        self.ledger.give_up(now, &mut self.run);
        if self.room.dialling == 0 || now < self.next_look {
            return;
        }
        let timeout = nanos(self.run.plan.timeout);
        self.next_look = now + (timeout / 8).clamp(nanos(LOOK.0), nanos(LOOK.1));
        for index in 0..self.room.len() {
            match self.room.slot(index) {
                MemberSlot::Dialling { since, .. } if now.saturating_sub(*since) >= timeout => {
                    self.fail(index, FailureKind::Timeout, None);
                }
                _ => {}
            }
        }
    }

    /// Dials for vacant slots, as far as a listener's queue may be able to take it.
    pub(super) fn dial(&mut self, now: u64) {
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
                        self.fail(index, FailureKind::Other, Errno::from_io_error(&error));
                    }
                }
                Ok(Dialled::Later) => {
                    let since = *self.delayed_since.get_or_insert(now);
                    if now - since < nanos(self.run.plan.timeout) {
                        self.rests_until = now + nanos(BACKOFF);
                    } else {
                        self.fail(index, FailureKind::Timeout, None);
                    }
                }
                Err(errno) => self.fail(index, dial::kind(errno), Some(errno)),
            }
        }
    }

    /// One on the way may have arrived.
    pub(super) fn complete_connect(&mut self, index: usize) {
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
            (Ok(true), _) if self.dialer.met_itself(stream) => {
                Err((FailureKind::SelfConnect, None))
            }
            (Ok(true), Some(hmac_key)) => proving
                .get_or_insert(Handshake::new())
                .go_on(stream, hmac_key),
            (Ok(is_connected), _) => Ok(is_connected),
            (Err(errno), _) => Err((dial::kind(errno), Some(errno))),
        };
        match arrived {
            Ok(true) => {
                let took = self.run.watch.nanos().saturating_sub(since);
                self.run.tally.breakdown.connect.record(took, 1);
                self.room.arrive(index, self.lines.next());
            }
            Ok(false) => {}
            Err((kind, errno)) => self.fail(index, kind, errno),
        }
    }

    /// Sends the hello, or the rest of it; whether that is done.
    pub(super) fn send_hello(&mut self, index: usize) -> bool {
        let hello = &self.run.plan.hello;
        let Some(conn) = self.room.get_mut(index) else {
            return false;
        };
        while conn.hello_sent < hello.len() {
            match conn.stream.write(&hello[conn.hello_sent..]) {
                Ok(n) => conn.hello_sent += n,
                Err(Errno::AGAIN) => return false,
                Err(errno) => {
                    self.fail(index, dial::kind(errno), Some(errno));
                    return false;
                }
            }
        }
        true
    }

    /// From dialling over probing to the measured lines.
    pub(super) fn join(&mut self, now: u64) {
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
                    self.fail(index, FailureKind::Timeout, None);
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
    pub(super) fn fail(&mut self, index: usize, kind: FailureKind, errno: Option<Errno>) {
        let now = self.run.watch.nanos();
        let must_prove = self.run.plan.hmac_key.is_some();
        // Closed after the proof and before the first line: not admitted.
        let kind = match (kind, &self.stage, self.room.get_mut(index)) {
            (
                FailureKind::ShortAnswer | FailureKind::Reset,
                RoomStage::Dialling | RoomStage::Probing(_),
                Some(conn),
            ) if must_prove && conn.matcher.is_new() => FailureKind::NotAdmitted,
            _ => kind,
        };
        if kind == FailureKind::Other && self.run.tally.other.is_none() {
            self.run.tally.other = errno.map(|errno| io::Error::from(errno).to_string());
        }
        self.run.tally.failed(self.run.phase, kind, now, now);
        if let Some(matcher) = self.room.leave(index) {
            self.ledger.lose(&matcher, now, &mut self.run);
        }
    }
}
