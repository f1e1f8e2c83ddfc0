//! How the server ends: signals, the drain, and what is left after it.

use super::Reactor;
use super::connection::Stage;
use super::news::News;
use super::os::{Os, Signal};
use crate::turn::{Closed, ConnId, Moment};

/// Whether and how the server is on its way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stopping {
    No,
    /// Another process has the sockets, and connections go on until then.
    Released(Moment),
    /// Listeners close when they have accepted what is in their queues; connections may finish until then.
    Draining(Moment),
    /// At once.
    Now,
}

impl<O: Os> Reactor<O> {
    /// Does what signals and callers ask for.
    pub(super) fn handle_signals(&mut self) {
        let mut signals = Vec::new();
        self.os.signals(&mut signals);
        for signal in signals {
            match signal {
                Signal::Stop if self.is_told_twice() => {}
                Signal::Stop => self.stop(),
                Signal::Reload => {
                    self.recorder.reopen_audit();
                    self.tell(News::Reload);
                }
                Signal::Report if self.company.waits => self.tell(News::Report),
                Signal::Report => self.report(),
            }
        }
    }

    /// One of several processes gets the signal that stops them all, and perhaps word from its supervisor too.
    fn is_told_twice(&self) -> bool {
        self.company.member.is_some() && matches!(self.stopping, Stopping::Draining(_))
    }

    /// Stops: closes the listeners, and gives connections `drain-timeout` to finish. Asked again, stops
    /// at once.
    ///
    /// A connection that is in an accept queue was made in time, and its client may have sent a request:
    /// it is accepted and served, then asked to finish as the others are. Closing the listener would reset
    /// it.
    pub fn stop(&mut self) {
        match self.stopping {
            Stopping::No => self.tell(News::Stopping),
            // The others, which it looks after, were released too.
            Stopping::Released(_) if self.company.waits => self.tell(News::Stopping),
            Stopping::Released(_) => {}
            Stopping::Draining(_) | Stopping::Now => {
                self.stopping = Stopping::Now;
                return;
            }
        }
        self.stopping = Stopping::Draining(self.now.after(self.limits.drain_timeout));
        self.drain_listeners();
        self.end_broadcasts();
        let ids = self.ids();
        log::info!(connections = ids.len(); "stopping");
        self.ask_to_finish(ids);
        self.say_goodbye();
    }

    /// Stops when those who were connected at a take-over have had their time.
    pub(super) fn stop_released(&mut self) {
        if matches!(self.stopping, Stopping::Released(until) if until <= self.now) {
            self.stop();
        }
    }

    /// Asks connections that came in while the server drains to finish, now that they were read once;
    /// those whose turn was put off are asked after it.
    pub(super) fn stop_fresh(&mut self) {
        if matches!(self.stopping, Stopping::No | Stopping::Released(_)) {
            return;
        }
        let mut ids = std::mem::take(&mut self.unasked);
        ids.extend_from_slice(&self.fresh);
        self.ask_to_finish(ids);
    }

    /// Asks these to finish; one whose turn was put off is read before it is asked, and one that is in
    /// its handshake is served first, as one that waits to be accepted is.
    fn ask_to_finish(&mut self, mut ids: Vec<ConnId>) {
        ids.retain(|&id| {
            if self.is_unmade(id) {
                self.close_now(id.slot, Closed::Stopping);
                return false;
            }
            let waits = self.is_put_off(id) || self.is_handshaking(id);
            if !waits {
                self.ask_service(id, |service, turn| service.stopping(turn));
            }
            waits
        });
        self.unasked = ids;
    }

    /// Whether it was dialled, and nobody has answered, or its session is not there.
    fn is_unmade(&self, id: ConnId) -> bool {
        let conn = self.conns.get(id.slot as usize).filter(|c| c.is(id));
        conn.is_some_and(|conn| !conn.was_made() && !conn.is_dead())
    }

    /// Whether its handshake goes on, or is just over and what came with its end is not served yet.
    fn is_handshaking(&self, id: ConnId) -> bool {
        let conn = self.conns.get(id.slot as usize).filter(|c| c.is(id));
        conn.is_some_and(|conn| match conn.stage {
            Stage::Handshaking { .. } => true,
            _ => conn.secured.is_some() && conn.unserved && conn.queued,
        })
    }

    /// Whether there is nothing left to do.
    pub fn is_stopped(&self) -> bool {
        match self.stopping {
            Stopping::No => false,
            Stopping::Released(_) => {
                self.conns.is_empty() && !self.has_listeners() && !self.company.waits
            }
            Stopping::Now => true,
            Stopping::Draining(until) => {
                let is_done = self.conns.is_empty() && !self.has_listeners();
                is_done && !self.has_goodbyes() && !self.company.waits || self.now >= until
            }
        }
    }

    /// Closes and kills what is left: no connection, child or socket outlives the loop.
    pub(super) fn abandon(&mut self) {
        self.kill_all();
        for id in self.ids() {
            self.close_now(id.slot, Closed::Stopping);
        }
        while !self.dead.is_empty() {
            self.reap();
        }
    }

    fn ids(&self) -> Vec<ConnId> {
        let conns = self.conns.iter();
        conns.map(|(slot, conn)| conn.id(slot as u32)).collect()
    }
}
