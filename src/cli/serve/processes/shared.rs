//! The sockets of one endpoint, as a supervisor keeps them for its processes.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use rustix::net::sockopt::socket_type;
use rustix::net::{SocketType, getsockname};

use crate::endpoint::{Bound, Endpoint, SocketFile};
use crate::reactor::{listen_again, rest_from_listening};
use crate::wire::SocketDescription;

/// One for each process, or one for all.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) endpoint: Endpoint,
    place: String,
    sockets: Vec<OwnedFd>,
    /// Where connections come to, if each process has a queue of its own for them.
    queues_at: Option<SocketAddr>,
    /// The file of a Unix socket: gone when this is dropped.
    pub(super) file: Option<SocketFile>,
}

impl Shared {
    /// What was bound, and the others at its address, for so many processes; and all of them, to be listened to.
    pub(super) fn of_bound(
        mut bound: Bound,
        beside: Vec<Bound>,
        processes: u32,
    ) -> io::Result<(Shared, Vec<Bound>)> {
        let file = bound.file.take();
        let (endpoint, place) = (bound.endpoint.clone(), bound.place.clone());
        let mut all = vec![bound];
        all.extend(beside);
        let sockets = all.iter().map(|bound| bound.socket.try_clone());
        let sockets: Vec<OwnedFd> = sockets.collect::<io::Result<_>>()?;
        let has_own = sockets.len() == processes as usize;
        let shared = Shared {
            queues_at: queue_at(&sockets[0]).filter(|_| has_own),
            endpoint,
            place,
            sockets,
            file,
        };
        Ok((shared, all))
    }

    /// The socket of this process, counted from 0.
    pub(super) fn of(&self, process: usize) -> Option<&OwnedFd> {
        self.sockets.get(process % self.sockets.len().max(1))
    }

    /// All of them.
    pub(super) fn sockets(&self) -> &[OwnedFd] {
        &self.sockets
    }

    /// The process is not there for some time: its queue is reset, and new connections go to the others.
    pub(super) fn rest(&self, process: usize) -> io::Result<()> {
        match (self.queues_at, self.of(process)) {
            (Some(_), Some(socket)) => rest_from_listening(socket),
            _ => Ok(()),
        }
    }

    /// It is there again.
    pub(super) fn listen_again(&self, process: usize) -> io::Result<()> {
        match (self.queues_at, self.of(process)) {
            (Some(at), Some(socket)) => listen_again(socket, at),
            _ => Ok(()),
        }
    }

    /// Lets go of them; the file stays.
    pub(super) fn close(&mut self) {
        self.sockets.clear();
    }

    /// It has other options from now on; and the file that a reload has found, if it has one.
    pub(super) fn becomes(&mut self, mut bound: Bound) {
        self.place = bound.place;
        self.endpoint = bound.endpoint;
        let Some(mut file) = bound.file.take() else {
            return;
        };
        if let Err(error) = file.own() {
            log::warn!("{}: {error}", self.endpoint);
        }
        if let Some(mut before) = self.file.replace(file) {
            before.give_up();
        }
    }

    /// Which sockets they are.
    pub(super) fn description(&self) -> SocketDescription {
        SocketDescription {
            place: self.place.clone(),
            file: self.file.as_ref().and_then(SocketFile::numbers),
        }
    }
}

/// Where connections wait in it, if it is a TCP socket.
fn queue_at(socket: &OwnedFd) -> Option<SocketAddr> {
    if socket_type(socket) != Ok(SocketType::STREAM) {
        return None;
    }
    SocketAddr::try_from(getsockname(socket).ok()?).ok()
}
