//! The server while it runs: what it serves, as it was configured last, and what it does about news of the loop.

use std::sync::Arc;

use super::learnt::Learnt;
use super::open_socket::OpenSocket;
use super::supervisor::Supervisor;
use crate::cli::{Configuration, Sources};
use crate::reactor::{Epoll, News, Reactor};
use crate::service::Bus;
use crate::turn::ConnId;

/// What is served, and by which arguments.
#[derive(Debug)]
pub(super) struct Serving {
    pub(super) sources: Sources,
    /// How many descriptors this process may have.
    pub(super) nofile: u64,
    pub(super) supervisor: Supervisor,
    pub(super) sockets: Vec<OpenSocket>,
    /// By what servers share their rooms.
    pub(super) bus: Option<Arc<Bus>>,
    /// As it is in force.
    pub(super) configuration: Configuration,
    /// What the files and hosts were that it names.
    pub(super) learnt: Learnt,
    pub(super) reading: Reading,
    /// Whether it is one of several, and has a supervisor of ours.
    pub(super) is_member: bool,
    /// The process that asked for the sockets last, to take this server over.
    pub(super) taker: Option<ConnId>,
}

/// Whether the configuration is being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    Rests,
    /// A helper reads it.
    Reads,
    /// And it may have changed again since: another helper follows.
    ReadsOnceMore,
}

impl Serving {
    /// The server is ready; `is_instead` of another that it took over.
    pub(super) fn begin(&mut self, reactor: &mut Reactor<Epoll>, is_instead: bool) {
        if is_instead {
            self.supervisor.ready_instead(&self.status());
        } else {
            self.supervisor.ready(&self.status());
        }
        self.wind_watchdog(reactor);
    }

    /// Does something about it.
    pub(super) fn hear(&mut self, reactor: &mut Reactor<Epoll>, news: News) {
        match news {
            News::Reload => self.begin_reload(reactor),
            News::Helper(helped) => self.end_reload(reactor, helped),
            News::HandOver(id, wanted) => self.hand_over(reactor, id, wanted),
            News::Alarm => {
                self.supervisor.alive();
                self.wind_watchdog(reactor);
            }
            News::Stopping => self.supervisor.stopping(),
            // Told to one of several processes, and to their supervisor.
            News::Figures(_) | News::Ready(_) | News::Report => {}
        }
    }

    fn wind_watchdog(&self, reactor: &mut Reactor<Epoll>) {
        if let Some(time) = self.supervisor.watchdog() {
            let at = reactor.now().after(time);
            reactor.alarm_at(Some(at));
        }
    }

    /// In a line, for the supervisor.
    pub(super) fn status(&self) -> String {
        let mut served = self
            .sockets
            .iter()
            .filter(|socket| socket.endpoint.is_some());
        match (served.next(), served.count()) {
            (None, _) => "serving nothing".into(),
            (Some(_), 0) => "serving 1 endpoint".into(),
            (Some(_), more) => format!("serving {} endpoints", more + 1),
        }
    }
}
