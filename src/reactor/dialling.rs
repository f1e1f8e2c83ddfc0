//! Connections that services make to others: the loop dials, without waiting, and serves them as it serves those that
//! it accepted.
//!
//! One is an entry of the same slab from the moment it is dialled, with a deadline, and in a stage that no service knows
//! of. Where it goes is an address: a name would have to be resolved, which waits. It has a listener as every
//! connection has, one without a socket, by which it is named, counted and served.

use std::io;

use super::Reactor;
use super::connection::{Must, Stage};
use super::half::{Half, dialler_of};
use super::listener::{Listener, ListenerOptions, ServiceId, listener_of};
use super::os::{Os, Readiness};
use super::standing::After;
use super::stopping::Stopping;
use super::transport::Secured;
use crate::service::{Dial, Dialler, Manner, Peer};
use crate::turn::{Closed, ConnId, Turn};

impl<O: Os> Reactor<O> {
    /// A service may want a connection, now that it has done what was due.
    pub(super) fn dial_for(&mut self, service: ServiceId) {
        let Some(dialler) = self.services[service.0].dialler() else {
            return;
        };
        let Some(dial) = dialler.dials(self.now) else {
            return;
        };
        if let Err(error) = self.dial(service, &dial) {
            log::debug!(to:% = dial.name, error:%; "cannot dial");
            dialler_of(&mut self.services, service).dial_failed(self.now, &error);
        }
    }

    fn dial(&mut self, service: ServiceId, dial: &Dial) -> io::Result<()> {
        if !self.is_serving() {
            return Err(io::Error::other("the server stops"));
        }
        let n = self.place_of_dialled(service, &dial.name)?;
        let stream = self.os.connect(dial.to)?;
        let peer = Peer::from(dial.to);
        let id = self.add_connection(usize::from(n), stream, peer, None);
        self.recorder.dials(id, &dial.name, &peer);
        let conn = &mut self.conns[id.slot as usize];
        (conn.stage, conn.must) = (Stage::Connecting, Must::Connect);
        self.deadlines.set(id.slot, self.now.after(dial.within));
        Ok(())
    }

    /// The listener of what a service dials under this name: the one that it had, so that its counts go on.
    fn place_of_dialled(&mut self, service: ServiceId, name: &str) -> io::Result<u16> {
        let is_its = |l: &Listener<_>| {
            l.is_dialled && l.options.service == service && l.options.name == name
        };
        if let Some(n) = self.listeners.iter().position(is_its) {
            return u16::try_from(n).map_err(io::Error::other);
        }
        let n = self.place_of_listener()?;
        let options = ListenerOptions {
            name: name.to_owned(),
            is_beside_limit: true,
            ..ListenerOptions::to(service)
        };
        let number = self.number_of_socket();
        // What the other end said last is why it went.
        let manner = Manner {
            reads_after_reset: true,
            ..Manner::ANSWERS
        };
        self.put_listener(n, Listener::dialled(number, options, manner));
        Ok(n)
    }

    /// The poll has seen something of a connection that was dialled.
    pub(super) fn dispatch_connecting(&mut self, id: ConnId, readiness: Readiness) {
        let slot = id.slot;
        let conn = &mut self.conns[slot as usize];
        if !(readiness.writable || readiness.error || readiness.hung_up) {
            return;
        }
        match self.os.is_connected(&conn.stream) {
            Ok(false) => {}
            Err(error) => self.close_now(slot, Closed::Gone(error.kind())),
            Ok(true) => {
                (conn.stage, conn.must) = (Stage::Open { begun: 0 }, Must::Nothing);
                conn.learn(readiness);
                self.deadlines.cancel(slot);
                let service = listener_of(&self.listeners, &self.conns[slot as usize])
                    .options
                    .service;
                self.ask_dialler(id, |dialler, turn| dialler.dialled(turn));
                self.ask_due(service);
                self.after_turn(slot, After::Turn);
            }
        }
    }

    /// The session that its service began on a connection is there.
    pub(super) fn tell_secured(&mut self, id: ConnId) {
        let conn = &self.conns[id.slot as usize];
        let service = listener_of(&self.listeners, conn).options.service;
        self.ask_dialler(id, |dialler, turn| dialler.secured(turn));
        self.ask_due(service);
    }

    /// A connection that was dialled was never there, or never had its session: tells its service why.
    pub(super) fn tell_dial_failed(
        &mut self,
        service: ServiceId,
        why: Closed,
        secured: Option<&Secured>,
    ) {
        let error = match (secured, why) {
            (None, Closed::Gone(kind)) => kind.into(),
            (None, why) => io::Error::other(why.to_string()),
            (Some(secured), why) => io::Error::other(secured.why_gone(why)),
        };
        dialler_of(&mut self.services, service).dial_failed(self.now, &error);
        self.ask_due(service);
    }

    /// A service has no listener any more and no connection but those that it dialled: they end, and it goes.
    pub(super) fn end_dialled(&mut self, service: ServiceId) {
        let is_its = |slot: &u32| {
            let conn = &self.conns[*slot as usize];
            self.listeners[usize::from(conn.listener)].options.service == service
        };
        let slots = self.conns.iter().map(|(slot, _)| slot as u32);
        let slots: Vec<u32> = slots.filter(is_its).collect();
        for slot in slots {
            let conn = &self.conns[slot as usize];
            if !conn.was_made() {
                self.close_now(slot, Closed::Done);
            } else {
                // It has something to say first, perhaps.
                self.ask_service(conn.id(slot), |service, turn| service.stopping(turn));
            }
        }
    }

    /// Gives a service its turn for a connection that it dialled, unless that has ended.
    fn ask_dialler(&mut self, id: ConnId, ask: impl FnOnce(&mut dyn Dialler, &mut Turn<'_>)) {
        self.ask_half(id, |half, turn| {
            if let Half::Dialled(dialled) = half {
                ask(dialled.0, turn);
            }
        });
    }

    /// Whether those who are here are served on, by a process that was taken over, too.
    fn is_serving(&self) -> bool {
        matches!(self.stopping, Stopping::No | Stopping::Released(_))
    }
}
