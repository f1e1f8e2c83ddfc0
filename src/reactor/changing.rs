//! What changes while the loop runs: services that come, listeners and datagram sockets that get other
//! options or retire, limits, and where the bus of services is.
//!
//! Nobody is lost by it. A connection keeps the listener through which it came, with its service and its
//! options, until it ends; only then is the place used again, so that ten thousand changes leave no more
//! behind than one.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use super::Reactor;
use super::datagram::{Answerer, DatagramId, DatagramOptions, DatagramsId, answerer};
use super::epoll::Epoll;
use super::eviction::share;
use super::handing_over::SocketId;
use super::listener::{Listener, ListenerId, ListenerOptions, ServiceId};
use super::os::Os;
use super::standing::After;
use super::token::{Source, Token};
use crate::buf::ReadBuf;
use crate::config::Limits;
use crate::config::limits::BUFFERS_HIGH_PERCENT;
use crate::service::{Bus, DatagramTurn, Datagrams, Service, Set};
use crate::turn::{ConnId, Fault, Moment, Turn};

/// In the place of a service that no listener has any more: nobody calls it.
#[derive(Debug)]
struct Vacant;

impl Service for Vacant {
    fn input(&mut self, _: &mut Turn<'_>, _: &mut ReadBuf) -> Result<(), Fault> {
        Ok(())
    }
}

impl Datagrams for Vacant {
    fn datagram(&mut self, _: &mut DatagramTurn<'_>, _: &[u8]) {}
}

impl<O: Os> Reactor<O> {
    /// Adds a service; [`listen`](Reactor::listen) gives it listeners. It goes with the last of them, and
    /// with the last connection that came through one.
    pub fn add(&mut self, service: Box<dyn Service>) -> ServiceId {
        ServiceId(put(&mut self.services, &mut self.vacant, service))
    }

    /// The value of a set of endpoints: this one, if it has none yet.
    pub fn share(&mut self, set: Set, service: Box<dyn Service>) -> ServiceId {
        let mut known = self.sets.iter();
        if let Some((_, has)) = known.find(|(known, _)| *known == set) {
            return *has;
        }
        let added = self.add(service);
        self.sets.push((set, added));
        added
    }

    /// The value that endpoints of this service share under this name, with whichever options: of several, the
    /// newest.
    pub fn shared(&self, service: &str, name: &str) -> Option<ServiceId> {
        let mut known = self.sets.iter().rev();
        let found = known.find(|(set, _)| set.service == service && set.name == name);
        found.map(|(_, has)| *has)
    }

    /// Adds a datagram service; [`answer`](Reactor::answer) gives it sockets. It goes with the last of them.
    pub fn add_datagrams(&mut self, service: Box<dyn Datagrams>) -> DatagramsId {
        DatagramsId(Answerer::Own(put(
            &mut self.answerers,
            &mut self.vacant_answerers,
            service,
        )))
    }

    /// The datagram half of the value of a set of endpoints: of this one, if it has none yet.
    ///
    /// # Panics
    ///
    /// If the service has no such half.
    pub fn datagrams_of_service(&mut self, set: Set, service: Box<dyn Service>) -> DatagramsId {
        let service = self.share(set, service);
        let half = self.services[service.0].datagrams();
        assert!(half.is_some(), "the service has no half for datagrams");
        DatagramsId(Answerer::Half(service))
    }

    /// The service of a listener, to change it, or to give it to another.
    pub fn service_of(&mut self, listener: ListenerId) -> (ServiceId, &mut dyn Service) {
        let id = self.listeners[usize::from(listener.0)].options.service;
        (id, &mut *self.services[id.0])
    }

    /// The service of a datagram socket, to give it to another.
    pub fn datagrams_of(&self, socket: DatagramId) -> DatagramsId {
        self.datagrams[socket.0 as usize].options.service
    }

    /// Gives the socket of a listener other options: connections that come from now on have them, those that
    /// are here keep what they have. Connections in the queue of the socket stay in it.
    ///
    /// If it fails, everything is as it was.
    pub fn replace(
        &mut self,
        listener: ListenerId,
        options: ListenerOptions,
    ) -> io::Result<ListenerId> {
        let old = usize::from(listener.0);
        let is_same = self.listeners[old].options.service == options.service;
        if self.listeners[old].connections == 0 {
            // Nobody has the old options.
            let service = options.service;
            let manner = self.tell_terms(listener.0, &options);
            let before = std::mem::replace(&mut self.listeners[old].options, options);
            self.listeners[old].manner = manner;
            self.begin_broadcast(service);
            if !is_same {
                self.services[before.service.0].listens_no_more(listener.0);
            }
            self.free_unused_service(before.service);
            return Ok(listener);
        }
        let n = match self.place_of_listener() {
            Ok(n) => n,
            Err(error) => return Err(self.unused(options.service, error)),
        };
        let Some(socket) = self.listeners[old].socket.take() else {
            return Ok(listener);
        };
        let token = Token::of(Source::Listener(u32::from(n)));
        if let Err(error) = self.os.rewatch_listener(&socket, token) {
            self.listeners[old].socket = Some(socket);
            return Err(self.unused(options.service, error));
        }
        if is_same {
            // Those that came before and have not logged in may prove what is accepted from now on.
            self.services[options.service.0].listens(listener.0, &options.terms);
        }
        let manner = self.tell_terms(n, &options);
        let before = &mut self.listeners[old];
        let mut new = Listener::new(socket, before.number, options, manner);
        before.pending = false;
        new.older = std::mem::take(&mut before.older) + before.connections;
        for listener in &mut self.listeners {
            if listener.successor == Some(old as u16) {
                listener.successor = Some(n);
            }
        }
        self.listeners[old].successor = Some(n);
        let service = new.options.service;
        self.put_listener(n, new);
        self.begin_broadcast(service);
        Ok(ListenerId(n))
    }

    /// Accepts what is in the queue of a listener, and closes it then. Connections that came through it go
    /// on.
    pub fn retire(&mut self, listener: ListenerId) {
        self.listeners[usize::from(listener.0)].drain();
        self.may_accept = true;
    }

    /// Gives a datagram socket other options: they are for the next datagram.
    pub fn replace_datagrams(&mut self, socket: DatagramId, options: DatagramOptions) {
        let datagram = &mut self.datagrams[socket.0 as usize];
        let before = std::mem::replace(&mut datagram.options, options);
        let half = answerer(
            &mut self.answerers,
            &mut self.services,
            datagram.options.service,
        );
        (datagram.has_peers, datagram.wakes_at) = (half.has_peers(), half.wakes_at());
        self.free_unused_answerer(before.service);
    }

    /// Closes a datagram socket. What is in its buffer is lost, as any datagram may be.
    pub fn retire_datagrams(&mut self, socket: DatagramId) {
        let datagram = &mut self.datagrams[socket.0 as usize];
        let service = datagram.options.service;
        (datagram.ready, datagram.rests_until) = (false, None);
        (datagram.has_peers, datagram.wakes_at) = (false, Moment::NEVER);
        if let Some(socket) = datagram.socket.take() {
            self.os.close_datagram(socket);
            self.free_unused_answerer(service);
        }
    }

    /// Services that share what they have by a bus have it at these servers from now on.
    pub fn change_bus(&mut self, bus: &Arc<Bus>) {
        for service in 0..self.services.len() {
            let Some(dialler) = self.services[service].dialler() else {
                continue;
            };
            let mut turn = Turn::new(self.now, ConnId::NOBODY, &mut self.outbox);
            dialler.bus_changes(&mut turn, bus);
            self.carry_out();
            self.ask_due(ServiceId(service));
        }
    }

    /// From now on these limits hold, for the connections that are here too, and so many connections in all.
    ///
    /// `frame` and `read-per-turn` stay as they are: input that has come is measured by them, and services were
    /// made with them.
    pub fn change_limits(&mut self, limits: Limits, connections_max: usize) {
        self.connections_max = connections_max;
        self.buffers_high = share(limits.buffers, BUFFERS_HIGH_PERCENT);
        self.limits = Limits {
            frame: self.limits.frame,
            read_per_turn: self.limits.read_per_turn,
            ..limits
        };
        let slots: Vec<u32> = self.conns.iter().map(|(slot, _)| slot as u32).collect();
        for slot in slots {
            self.check_backlog(slot, After::Turn);
        }
    }

    /// A service was made for a listener that failed.
    fn unused(&mut self, service: ServiceId, error: io::Error) -> io::Error {
        self.free_unused_service(service);
        error
    }

    /// A place for one listener more.
    pub(super) fn place_of_listener(&self) -> io::Result<u16> {
        let unused = self.listeners.iter().position(|l| !is_used(l));
        u16::try_from(unused.unwrap_or(self.listeners.len()))
            .map_err(|_| io::ErrorKind::QuotaExceeded.into())
    }

    pub(super) fn put_listener(&mut self, n: u16, listener: Listener<O::Listener>) {
        self.may_accept = true;
        match self.listeners.get_mut(usize::from(n)) {
            Some(place) => {
                self.gone.add(&place.tally);
                *place = listener;
            }
            None => self.listeners.push(listener),
        }
    }

    /// Lets go of what a listener had that accepts no more and whose last connection has gone.
    #[inline]
    pub(super) fn free_unused_listener(&mut self, n: usize) {
        if !is_used(&self.listeners[n]) {
            self.free_listener(n);
        }
    }

    #[cold]
    fn free_listener(&mut self, n: usize) {
        let listener = &mut self.listeners[n];
        listener.older = 0;
        let service = listener.options.service;
        self.services[service.0].listens_no_more(n as u16);
        if let Some(successor) = listener.successor.take() {
            // It is the same endpoint, and its counts go on.
            let tally = std::mem::take(&mut listener.tally);
            self.listeners[usize::from(successor)].tally.add(&tally);
        }
        for before in &mut self.listeners {
            if before.successor.map(usize::from) == Some(n) {
                before.successor = None;
            }
        }
        self.free_unused_service(service);
    }

    pub(super) fn free_unused_service(&mut self, service: ServiceId) {
        let of_it = |l: &&Listener<_>| is_used(l) && l.options.service == service;
        let mut used = self.listeners.iter().filter(of_it);
        if used.clone().any(|listener| !listener.is_dialled)
            || self.is_half_used(service)
            || self.errands.has(service)
        {
            return;
        }
        // Endpoints that come from now on get a value of their own, though this one may have something to say first.
        self.sets.retain(|(_, has)| *has != service);
        if used.next().is_some() {
            return self.end_dialled(service);
        }
        self.end_broadcast(service);
        self.end_scribe(service);
        let gone = std::mem::replace(&mut self.services[service.0], Box::new(Vacant));
        self.outbox.resized(gone.shared_bytes(), 0);
        self.vacant.push(service.0);
        let mut used = self.listeners.iter().filter(|l| is_used(l));
        self.tells_time = used.any(|listener| listener.manner.tells_time);
    }

    fn free_unused_answerer(&mut self, service: DatagramsId) {
        let mut used = self.datagrams.iter().filter(|d| d.socket.is_some());
        if used.any(|datagram| datagram.options.service == service) {
            return;
        }
        match service.0 {
            Answerer::Own(place) => {
                self.answerers[place] = Box::new(Vacant);
                self.vacant_answerers.push(place);
            }
            Answerer::Half(service) => self.free_unused_service(service),
        }
    }

    /// Whether a datagram socket has a half of this service.
    fn is_half_used(&self, service: ServiceId) -> bool {
        let half = DatagramsId(Answerer::Half(service));
        let mut used = self.datagrams.iter().filter(|d| d.socket.is_some());
        used.any(|datagram| datagram.options.service == half)
    }
}

impl Reactor<Epoll> {
    /// Another descriptor of this socket; `None`: it is closed.
    pub fn duplicate(&self, socket: SocketId) -> io::Result<Option<OwnedFd>> {
        let fd = match socket {
            SocketId::Listener(id) => {
                let listener = self.listeners.get(usize::from(id.0));
                listener
                    .and_then(|listener| listener.socket.as_ref())
                    .map(AsFd::as_fd)
            }
            SocketId::Datagram(id) => {
                let datagram = self.datagrams.get(id.0 as usize);
                datagram
                    .and_then(|datagram| datagram.socket.as_ref())
                    .map(AsFd::as_fd)
            }
        };
        fd.map(|fd| fd.try_clone_to_owned()).transpose()
    }
}

fn is_used<L>(listener: &Listener<L>) -> bool {
    listener.socket.is_some() || listener.connections > 0
}

/// Puts it where there is a place.
fn put<T>(all: &mut Vec<T>, vacant: &mut Vec<usize>, new: T) -> usize {
    match vacant.pop() {
        Some(place) => {
            all[place] = new;
            place
        }
        None => {
            all.push(new);
            all.len() - 1
        }
    }
}
