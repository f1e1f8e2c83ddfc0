//! Errands: what would make the loop wait, done by children for services, whatever becomes of the connections that
//! it is about.
//!
//! Knows orders as bytes, and when a child has had its time. Does not know what is done.

use std::collections::VecDeque;
use std::io;

use super::Reactor;
use super::audit::Who;
use super::helper::Owner;
use super::listener::{ServiceId, listener_of};
use super::os::Os;
use super::standing::After;
use crate::service::Peer;
use crate::turn::{
    BroadcastTurn, ConnId, Errand, ErrandEvent, Exit, FileNote, Moment, Severity, Turn,
};

/// The errands of services.
#[derive(Debug, Default)]
pub(super) struct Errands {
    running: Vec<Running>,
    /// Asked for, and not begun.
    asked: VecDeque<(ServiceId, Errand)>,
    /// How many there have been.
    count: u32,
}

#[derive(Debug)]
struct Running {
    /// No other has had it.
    id: u32,
    service: ServiceId,
    /// What the service knows it by.
    number: u64,
    /// It is killed then.
    until: Moment,
}

impl<O: Os> Reactor<O> {
    /// Has a child do this for the service of a connection.
    pub(super) fn send_on_errand(&mut self, id: ConnId, errand: Errand) {
        let Some(conn) = self.conns.get(id.slot as usize).filter(|c| c.is(id)) else {
            return;
        };
        let service = listener_of(&self.listeners, conn).options.service;
        self.errands.asked.push_back((service, errand));
        self.begin_errands();
    }

    /// One after the other: what a service asks for when one has failed waits for its turn.
    fn begin_errands(&mut self) {
        while let Some((service, errand)) = self.errands.asked.pop_front() {
            let errands = &mut self.errands;
            errands.count = errands.count.wrapping_add(1);
            let id = errands.count;
            let begun = self.os.spawn_errand(&errand);
            match begun.and_then(|spawned| self.watch_child(Owner::Errand(id), spawned)) {
                Ok(_) => self.errands.running.push(Running {
                    id,
                    service,
                    number: errand.number,
                    until: self.now.after(errand.within),
                }),
                Err(error) => {
                    self.recorder.spawn_failed(&error);
                    self.tell_errand(service, errand.number, ErrandEvent::Failed(error));
                }
            }
        }
    }

    pub(super) fn errand_wrote(&mut self, id: u32, bytes: &[u8]) {
        if let Some((service, number)) = self.errands.find(id) {
            self.tell_errand(service, number, ErrandEvent::Wrote(bytes));
            self.begin_errands();
        }
    }

    pub(super) fn errand_ended(&mut self, id: u32, exit: Exit) {
        let found = self.errands.find(id);
        self.errands.running.retain(|running| running.id != id);
        if let Some((service, number)) = found {
            self.tell_errand(service, number, ErrandEvent::Ended(exit));
            self.begin_errands();
            // What has come for it was done, though its last listener and connection had gone before.
            self.free_unused_service(service);
        }
    }

    fn tell_errand(&mut self, service: ServiceId, number: u64, event: ErrandEvent<'_>) {
        let mut turn = BroadcastTurn::new(self.now, &mut self.outbox);
        self.services[service.0].errand(&mut turn, number, event);
        let notes = turn.take_notes();
        let (visited, errands) = turn.take_asked();
        for id in turn.into_ended() {
            self.after_turn(id.slot, After::Turn);
        }
        let asked = errands.into_iter().map(|errand| (service, errand));
        self.errands.asked.extend(asked);
        for (id, note) in notes {
            self.note_file_of(service, id, &note);
        }
        for id in visited {
            // One that lingers has no turn of its own any more.
            let conn = self.conns.get(id.slot as usize);
            if conn.is_some_and(|conn| conn.is(id) && conn.is_open()) {
                self.ask_service(id, |service, turn| service.wake(turn));
            }
        }
    }

    /// Tells the audit and the counters of a file of a connection that is here.
    pub(super) fn note_file(&mut self, id: ConnId, note: &FileNote) {
        if let Some(conn) = self.conns.get(id.slot as usize).filter(|c| c.is(id)) {
            let service = listener_of(&self.listeners, conn).options.service;
            self.note_file_of(service, id, note);
        }
    }

    /// The same of one that may be gone.
    pub(super) fn note_file_of(&mut self, service: ServiceId, id: ConnId, note: &FileNote) {
        let endpoint = self.endpoint_of(service);
        let peer = match (note.peer, note.local) {
            (Some(address), _) => Peer::from(address),
            (None, Some((pid, uid))) => Peer::Local { pid, uid },
            (None, None) => Peer::Unknown,
        };
        let who = Who {
            endpoint: &endpoint,
            connection: Some(id),
            peer: Some(peer),
        };
        self.recorder.file(who, note);
    }

    /// A service may have something to do at a moment.
    pub(super) fn ask_due(&mut self, service: ServiceId) {
        if let Some(at) = self.services[service.0].due() {
            self.tended = self.tended.min(at);
        }
    }

    /// Lets services do what they have to, if the first of these moments has come.
    pub(super) fn tend_services(&mut self) {
        if self.tended > self.now {
            return;
        }
        self.tended = Moment::NEVER;
        for service in 0..self.services.len() {
            let service = ServiceId(service);
            let mut turn = Turn::new(self.now, ConnId::NOBODY, &mut self.outbox);
            self.services[service.0].comes_due(&mut turn);
            self.carry_out();
            self.dial_for(service);
            self.ask_due(service);
        }
    }

    /// When the first of them has had its time.
    pub(super) fn errands_due(&self) -> Option<Moment> {
        self.errands
            .running
            .iter()
            .map(|running| running.until)
            .min()
    }

    /// Ends those that have had it.
    pub(super) fn expire_errands(&mut self) {
        let now = self.now;
        let is_due = |running: &&mut Running| running.until <= now;
        while let Some(running) = self.errands.running.iter_mut().find(is_due) {
            running.until = Moment::NEVER;
            let id = running.id;
            let error: io::Error = io::ErrorKind::TimedOut.into();
            log::warn!(error:%; "a child that works on files took too long, and is killed");
            self.kill_of(Owner::Errand(id), Severity::Force);
        }
    }
}

impl Errands {
    /// Whether something is done for this service.
    pub(super) fn has(&self, service: ServiceId) -> bool {
        let mut running = self.running.iter().map(|running| running.service);
        running.any(|its| its == service) || self.asked.iter().any(|(its, _)| *its == service)
    }

    /// Whose it is.
    fn find(&self, id: u32) -> Option<(ServiceId, u64)> {
        let running = self.running.iter().find(|running| running.id == id)?;
        Some((running.service, running.number))
    }
}
