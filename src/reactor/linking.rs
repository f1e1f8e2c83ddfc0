//! What datagram services ask of the loop: that one of their connections gets a turn, or one to another service.
//!
//! A connection between two services has two ends that the loop serves as it serves every other: a pair of sockets that
//! are connected to each other, one accepted for each service. So what holds for connections holds for it.

use super::Reactor;
use super::datagram::{Answerer, DatagramsId, answerer};
use super::listener::ServiceId;
use super::os::Os;
use crate::service::{Ask, LinkTo, Peer};
use crate::turn::ConnId;

impl<O: Os> Reactor<O> {
    /// Does what they have asked.
    pub(super) fn do_asked(&mut self, asked: Vec<(DatagramsId, Ask)>) {
        for (by, ask) in asked {
            match ask {
                Ask::Visit(id) => self.ask_service(id, |service, turn| service.wake(turn)),
                Ask::Link(to) => {
                    let made = match by.0 {
                        Answerer::Half(service) => self.link(service, &to),
                        Answerer::Own(_) => Err("it serves no connections".to_owned()),
                    };
                    let service = answerer(&mut self.answerers, &mut self.services, by);
                    service.linked(self.now, &to, made);
                }
            }
        }
    }

    /// Connects a service to another that endpoints share, through one of them that lets everybody in.
    fn link(&mut self, own: ServiceId, to: &LinkTo) -> Result<ConnId, String> {
        let (service, name) = (to.service, &to.name);
        let there = self.shared(service, name);
        let there = there.ok_or_else(|| format!("no `{service}` has the name `{name}`"))?;
        let peer = Peer::from(to.for_whom);
        let is_open = |n: &usize| {
            let listener = &self.listeners[*n];
            let options = &listener.options;
            listener.socket.is_some()
                && options.service == there
                && options.secure.is_none()
                && options.only_uid.is_none()
                && !listener.manner.is_gated
        };
        let door = (0..self.listeners.len()).find(is_open);
        let door = door.ok_or_else(|| {
            format!("no endpoint of `{service}` with the name `{name}` lets everybody in")
        })?;
        let theirs = &self.listeners[door];
        let is_full = theirs.connections + theirs.older >= theirs.options.connections_max
            || self.conns.len() + 2 > self.connections_max;
        if is_full || !theirs.options.sources.addresses.admits(peer.ip()) {
            return Err("it is full, or not for that address".to_owned());
        }
        let ours = self
            .listeners
            .iter()
            .position(|listener| listener.socket.is_some() && listener.options.service == own);
        let ours = ours.ok_or("it serves no connections")?;
        let (one, other) = self.os.pair().map_err(|error| error.to_string())?;
        self.enter(door, other, peer, None);
        Ok(self.enter(ours, one, Peer::Unknown, None))
    }
}
