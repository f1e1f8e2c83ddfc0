//! Broadcasts: commands that services run for all their connections together.
//!
//! One begins with the first listener of its service and ends with the last. If it ends before that and is to
//! go on, it is started again after a wait that grows as long as that happens again. Knows no connections: what
//! the command writes is its service's.

use super::Reactor;
use super::attendant::Attendant;
use super::audit::{AuditEvent, Audited, Who};
use super::helper::Owner;
use super::listener::ServiceId;
use super::os::Os;
use super::standing::After;
use crate::config::limits::COMMAND_KILL_GRACE;
use crate::turn::{Broadcast, BroadcastTurn, ChildEvent, Job, Moment, Severity};

/// The commands of services.
#[derive(Debug, Default)]
pub(super) struct Broadcasts {
    all: Vec<Running>,
    /// How many there have been.
    count: u32,
}

/// A broadcast, until its service has gone and its command has ended.
#[derive(Debug)]
struct Running {
    /// No other has had it: the place of a service is used again.
    number: u32,
    service: ServiceId,
    broadcast: Broadcast,
    /// Whether it runs, and when it is started again.
    attendant: Attendant,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Its service is there.
    On,
    /// It has ended, and is not started again.
    Over,
    /// Its service has gone: it was asked to end, and is killed then.
    Ends(Moment),
}

impl Running {
    /// When there is something to do about it.
    fn due(&self) -> Option<Moment> {
        match self.state {
            State::On => self.attendant.due(),
            State::Over => None,
            State::Ends(until) => Some(until),
        }
    }

    fn is_ending(&self) -> bool {
        matches!(self.state, State::Ends(_))
    }
}

impl Broadcasts {
    /// When there is something to do.
    pub(super) fn due(&self) -> Option<Moment> {
        self.all.iter().filter_map(Running::due).min()
    }

    fn get_mut(&mut self, number: u32) -> Option<&mut Running> {
        self.all
            .iter_mut()
            .find(|broadcast| broadcast.number == number)
    }
}

impl<O: Os> Reactor<O> {
    /// A service has a listener: if it has a broadcast, that begins, unless it has begun; and so does its scribe.
    pub(super) fn begin_broadcast(&mut self, service: ServiceId) {
        self.ask_due(service);
        self.begin_scribe(service);
        let Some(broadcast) = self.services[service.0].broadcast() else {
            return;
        };
        let broadcasts = &mut self.broadcasts;
        let is_its = |running: &Running| running.service == service && !running.is_ending();
        if broadcasts.all.iter().any(is_its) {
            return;
        }
        broadcasts.count = broadcasts.count.wrapping_add(1);
        broadcasts.all.push(Running {
            number: broadcasts.count,
            service,
            broadcast,
            attendant: Attendant::new(self.now),
            state: State::On,
        });
    }

    /// A service has no listener and no connection any more, or the server stops.
    pub(super) fn end_broadcast(&mut self, service: ServiceId) {
        let until = self.now.after(COMMAND_KILL_GRACE);
        let mut asked = Vec::new();
        self.broadcasts.all.retain_mut(|running| {
            if running.service != service || running.is_ending() {
                return true;
            }
            let runs = running.state == State::On && running.attendant.due().is_none();
            if runs {
                running.state = State::Ends(until);
                asked.push(running.number);
            }
            runs
        });
        for number in asked {
            self.kill_of(Owner::Broadcast(number), Severity::Ask);
        }
    }

    /// The server stops: nothing is started any more.
    pub(super) fn end_broadcasts(&mut self) {
        let services: Vec<ServiceId> = self
            .broadcasts
            .all
            .iter()
            .map(|broadcast| broadcast.service)
            .collect();
        for service in services {
            self.end_broadcast(service);
        }
    }

    /// Starts those that have waited for it, and kills those that had time to end.
    pub(super) fn tend_broadcasts(&mut self) {
        let now = self.now;
        let is_due = |running: &&mut Running| running.due().is_some_and(|due| due <= now);
        while let Some(running) = self.broadcasts.all.iter_mut().find(is_due) {
            let number = running.number;
            if running.is_ending() {
                running.state = State::Ends(Moment::NEVER);
                self.kill_of(Owner::Broadcast(number), Severity::Force);
            } else {
                self.start_broadcast(number);
            }
        }
    }

    fn start_broadcast(&mut self, number: u32) {
        let id = self.outbox.next_job();
        let Some(running) = self.broadcasts.get_mut(number) else {
            return;
        };
        let service = running.service;
        let job = Job {
            id,
            ..running.broadcast.job.clone()
        };
        let started = self.os.spawn(&job);
        let started =
            started.and_then(|spawned| self.watch_child(Owner::Broadcast(number), spawned));
        let (now, endpoint) = (self.now, self.endpoint_of(service));
        let who = Who {
            endpoint: &endpoint,
            connection: None,
            peer: None,
        };
        let Some(running) = self.broadcasts.get_mut(number) else {
            return;
        };
        match started {
            Ok(slot) => {
                running.attendant.started(now);
                self.recorder.broadcast_started(&endpoint);
                if self.recorder.audits() {
                    self.recorder
                        .note(|| AuditEvent::CommandStarted(who, &job.line));
                    self.children.audit(slot, Audited::new(who, now));
                }
                self.tell_broadcast(service, ChildEvent::Started);
            }
            Err(error) => {
                // Whether it is started again when it ends or not: it has not run.
                running.attendant.failed(now);
                self.recorder.spawn_failed(&error);
                let why = error.to_string();
                self.recorder
                    .note(|| AuditEvent::CommandRefused(who, &job.line, &why));
            }
        }
    }

    /// The command of a broadcast has written, has ended, or was refused by its launcher.
    pub(super) fn broadcast_has_news(&mut self, number: u32, event: ChildEvent<'_>) {
        let now = self.now;
        let Some(running) = self.broadcasts.get_mut(number) else {
            return;
        };
        let (service, is_ending) = (running.service, running.is_ending());
        match &event {
            ChildEvent::Ended(_) | ChildEvent::Failed(_) if is_ending => {
                self.broadcasts
                    .all
                    .retain(|running| running.number != number);
            }
            ChildEvent::Failed(_) => {
                running.attendant.failed(now);
            }
            ChildEvent::Ended(exit) => {
                let wait = running.attendant.failed(now);
                let again = running.broadcast.restarts.then_some(wait);
                if again.is_none() {
                    running.state = State::Over;
                }
                let (exit, endpoint) = (*exit, self.endpoint_of(service));
                self.recorder.broadcast_ended(&endpoint, exit, again);
            }
            _ => {}
        }
        // Once its service has gone, the place may be another's.
        if !is_ending {
            self.tell_broadcast(service, event);
        }
    }

    fn tell_broadcast(&mut self, service: ServiceId, event: ChildEvent<'_>) {
        let mut turn = BroadcastTurn::new(self.now, &mut self.outbox);
        self.services[service.0].heard(&mut turn, event);
        for id in turn.into_ended() {
            self.after_turn(id.slot, After::Turn);
        }
    }

    /// The name of the first listener of a service.
    pub(super) fn endpoint_of(&self, service: ServiceId) -> String {
        let mut listeners = self.listeners.iter();
        let listener = listeners.find(|listener| listener.options.service == service);
        listener.map_or_else(String::new, |listener| listener.options.name.clone())
    }
}
