//! How connections and requests begin: by the answer before, or by their time.

use rustix::io::Errno;

use crate::load::connections::ConnectionStage;
use crate::load::driver::{Driver, Step};
use crate::load::exchange::requests::Requests;
use crate::load::measure::clock::nanos;
use crate::load::measure::failures::FailureKind;
use crate::load::net::dial::{self, BACKOFF, DIALLING_MAX, Dialled};
use crate::load::net::handshake::Handshake;
use crate::load::plan::mode::{Mode, Model};
use crate::load::run::schedule::Schedule;

/// Requests of the open model that are begun before answers are looked at.
const BEGUN_PER_TURN: usize = 256;

impl Driver<'_> {
    /// All are connected: the first requests of the kept connections.
    pub(super) fn start_all(&mut self) {
        if self.run.plan.mode == Mode::Hold {
            for index in 0..self.connections.len() {
                if let Some(conn) = self.connections.get_mut(index) {
                    conn.stage = ConnectionStage::Active;
                }
            }
            return;
        }
        if let Model::Open { rate, arrivals } = self.run.plan.model {
            let now = self.run.watch.nanos();
            self.run.schedule = Some(Schedule::new(arrivals, rate, now));
            for index in 0..self.connections.len() {
                if let Some(conn) = self.connections.get_mut(index) {
                    conn.stage = ConnectionStage::Active;
                    self.connections.free(index, self.run.plan.pipeline, now);
                }
            }
            return;
        }
        for index in 0..self.connections.len() {
            if let Some(conn) = self.connections.get_mut(index) {
                conn.stage = ConnectionStage::Active;
                let now = self.run.watch.nanos();
                self.ask(index, self.run.plan.pipeline, now);
                let step = self.write(index);
                self.settle(index, step);
            }
        }
    }

    /// Begins what is due, as far as there are connections for it.
    pub(super) fn begin_due(&mut self) {
        let Some(mut schedule) = self.run.schedule.take() else {
            return;
        };
        let timeout = nanos(self.run.plan.timeout);
        let mut begun = 0;
        while begun < BEGUN_PER_TURN {
            let now = self.run.watch.nanos();
            let began = schedule.next();
            if began > now {
                break;
            }
            let is_too_late = now - began >= timeout;
            let index = match self.run.plan.mode {
                _ if is_too_late => None,
                Mode::Conn { .. } => self.connections.vacant.pop_front(),
                _ => self.free_connection(),
            };
            if !is_too_late && index.is_none() || !self.run.tally.take_due(self.run.phase, began) {
                if let Some(index) = index {
                    self.give_back(index);
                }
                break;
            }
            schedule.advance();
            let Some(index) = index else {
                // It never began: no connection was free in all that time. Counting it costs nothing, so it
                // takes no share of the budget: there may be any number of these, and no event for them.
                self.run.tally.lost(began, now);
                self.run
                    .tally
                    .failed(self.run.phase, FailureKind::Timeout, began, now);
                continue;
            };
            begun += 1;
            if self.run.tally.counts(began, now) {
                self.run
                    .tally
                    .lag
                    .record(self.connections.lag(began, now), 1);
            }
            match self.run.plan.mode {
                Mode::Conn { .. } => self.dial_for(index, began, now),
                _ => {
                    self.connections
                        .ask(index, (1, self.run.plan.size), &self.judge, began);
                    let step = self.write(index);
                    self.settle(index, step);
                }
            }
        }
        self.run.schedule = Some(schedule);
    }

    /// A kept connection on which a request may begin; those that failed meanwhile are passed over.
    pub(super) fn free_connection(&mut self) -> Option<usize> {
        loop {
            let index = self.connections.free.pop_front()?;
            if self.connections.get_mut(index).is_some() {
                return Some(index);
            }
        }
    }

    pub(super) fn give_back(&mut self, index: usize) {
        match self.run.plan.mode {
            Mode::Conn { .. } => self.connections.vacant.push_front(index),
            _ => self.connections.free.push_front(index),
        }
    }

    pub(super) fn dial(&mut self) {
        if self.keeps_time_by_dialling() {
            // Vacant slots wait for their time; only a delayed request goes on.
            while let Some(index) = self.connections.vacant.front().copied()
                && let Some(began) = self.connections.delayed(index)
            {
                self.connections.vacant.pop_front();
                let now = self.run.watch.nanos();
                self.dial_for(index, began, now);
            }
            return;
        }
        // With many ports in use one `connect` takes a millisecond: those already open must not wait for all.
        for _ in 0..DIALLING_MAX {
            if !self.may_dial() {
                break;
            }
            let Some(index) = self.connections.vacant.pop_front() else {
                break;
            };
            let now = self.run.watch.nanos();
            self.dial_one(index, now);
        }
    }

    pub(super) fn keeps_time_by_dialling(&self) -> bool {
        self.run.plan.model != Model::Closed && !self.run.plan.mode.keeps()
    }

    pub(super) fn may_dial(&self) -> bool {
        !self.run.plan.mode.keeps() || self.connections.dialling < DIALLING_MAX
    }

    pub(super) fn dial_one(&mut self, index: usize, now: u64) {
        let delayed = self.connections.delayed(index);
        if !self.run.plan.mode.keeps()
            && delayed.is_none()
            && self.run.tally.take(self.run.phase, 1) == 0
        {
            return self.connections.abandon(index);
        }
        self.dial_for(index, delayed.unwrap_or(now), now);
    }

    /// Dials for a request that began, or was meant to, at `began`.
    pub(super) fn dial_for(&mut self, index: usize, began: u64, now: u64) {
        let stream = match self.dialer.dial() {
            Ok(Dialled::Begun(stream)) => stream,
            Ok(Dialled::Later) if now.saturating_sub(began) < nanos(self.run.plan.timeout) => {
                return self
                    .connections
                    .back_off(index, now + nanos(BACKOFF), Some(began));
            }
            Ok(Dialled::Later) => {
                self.count_failure(FailureKind::Timeout, None, began, now);
                return self.after_failure(index, FailureKind::Timeout, now);
            }
            Err(errno) => {
                let kind = dial::kind(errno);
                self.count_failure(kind, Some(errno), began, now);
                return self.after_failure(index, kind, now);
            }
        };
        let at = self.payload.start(self.connections.next_number(index));
        let more = self.run.plan.requests_per_connection - 1;
        let requests = Requests::new(at, &self.judge);
        self.connections
            .insert(index, stream, (began, now), more, requests);
        if self.run.plan.mode.keeps() || self.run.plan.hmac_key.is_some() {
            return self.register(index);
        }
        // On loopback the connection is there when `connect` returns, and the write says so.
        match self.write_first(index) {
            Step::Wait => self.connections.unpolled.push_back(index),
            step => self.settle(index, step),
        }
    }

    /// The first write of `conn`, which also tells whether it is connected. Where the server sends a
    /// challenge, the proof was sent before.
    pub(super) fn write_first(&mut self, index: usize) -> Step {
        let Some(conn) = self.connections.get_mut(index) else {
            return Step::Wait;
        };
        match conn
            .stream
            .write(conn.requests.first(&self.payload, self.run.plan.size))
        {
            Ok(_) if self.dialer.met_itself(&conn.stream) => {
                Step::Failed(FailureKind::SelfConnect, None)
            }
            Ok(n) => {
                conn.stage = ConnectionStage::Active;
                conn.stamps.connected = self.run.watch.nanos();
                let began = conn.began;
                self.connections.connected();
                self.connections
                    .ask(index, (1, self.run.plan.size), &self.judge, began);
                if let Some(conn) = self.connections.get_mut(index) {
                    conn.requests.sent(n, &self.payload);
                }
                Step::Wait
            }
            Err(Errno::AGAIN) => Step::Wait,
            Err(errno) => Step::Failed(dial::kind(errno), Some(errno)),
        }
    }

    /// Shows a connection to the poll.
    pub(super) fn register(&mut self, index: usize) {
        let token = self.connections.token(index);
        let Some(conn) = self.connections.get_mut(index) else {
            return;
        };
        match self.poller.register(&conn.stream, token) {
            Ok(()) => conn.watched = true,
            Err(error) => {
                let errno = Errno::from_io_error(&error);
                self.settle(index, Step::Failed(FailureKind::Other, errno));
            }
        }
    }

    /// One try for each unpolled connection; the poll watches those that have nothing yet.
    pub(super) fn try_unpolled(&mut self) {
        for _ in 0..self.connections.unpolled.len() {
            let Some(index) = self.connections.unpolled.pop_front() else {
                break;
            };
            let Some(conn) = self.connections.get_mut(index) else {
                continue;
            };
            if conn.watched {
                continue;
            }
            if conn.stage == ConnectionStage::Dialling {
                self.register(index);
                continue;
            }
            match self.read(index, false) {
                Step::Wait => self.register(index),
                step => self.settle(index, step),
            }
        }
    }

    /// A connection on the way may have arrived.
    pub(super) fn complete_connect(&mut self, index: usize) -> Step {
        let must_prove = self.run.plan.hmac_key.is_some();
        if !self.run.plan.mode.keeps() && !must_prove {
            return self.write_first(index);
        }
        let Some(conn) = self.connections.get_mut(index) else {
            return Step::Wait;
        };
        if conn.stage == ConnectionStage::Dialling {
            match conn.stream.is_connected() {
                Ok(true) if self.dialer.met_itself(&conn.stream) => {
                    return Step::Failed(FailureKind::SelfConnect, None);
                }
                Ok(true) if must_prove => conn.stage = ConnectionStage::Proving(Handshake::new()),
                Ok(true) => self.set_ready(index),
                Ok(false) => {}
                Err(errno) => return Step::Failed(dial::kind(errno), Some(errno)),
            }
        }
        if must_prove {
            return self.prove(index);
        }
        Step::Wait
    }

    /// A kept connection is as far as it gets before all others are, too.
    fn set_ready(&mut self, index: usize) {
        let Some(conn) = self.connections.get_mut(index) else {
            return;
        };
        conn.stage = ConnectionStage::Ready;
        let took = self.run.watch.nanos().saturating_sub(conn.stamps.dialled);
        self.run.tally.breakdown.connect.record(took, 1);
        self.connections.connected();
    }

    /// Goes on answering the challenge. Whether the server accepts the proof shows in what it does next.
    #[cold]
    fn prove(&mut self, index: usize) -> Step {
        let (Some(conn), Some(hmac_key)) =
            (self.connections.get_mut(index), &self.run.plan.hmac_key)
        else {
            return Step::Wait;
        };
        let ConnectionStage::Proving(handshake) = &mut conn.stage else {
            return Step::Wait;
        };
        match handshake.go_on(&conn.stream, hmac_key) {
            Ok(true) => {}
            Ok(false) => return Step::Wait,
            Err((kind, errno)) => return Step::Failed(kind, errno),
        }
        // Where nothing is asked, a server that refuses and one that tires of us look alike.
        conn.is_admitted = self.run.plan.mode == Mode::Hold;
        if self.run.plan.mode.keeps() {
            self.set_ready(index);
            return Step::Wait;
        }
        self.write_first(index)
    }
}
