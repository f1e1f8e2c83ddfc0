use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;

use super::Reactor;
use super::connection::Connection;
use super::os::Os;
use super::refusal::Refusal;
use super::socket::LISTEN_BACKLOG;
use super::sources::SourceRules;
use super::tally::Tally;
use super::token::{GENERATION_MAX, Source, Token};
use super::trace::{ACCEPT, LOOK, Moved, TraceEvent};
use super::transport::Secured;
use crate::config::limits::EMFILE_RETRY;
use crate::service::{Manner, Peer, Terms};
use crate::turn::{ConnId, Moment, Secure};

/// How long a frame of a connection that a service dialled may be besides what limits say, which are about clients.
const DIALLED_FRAME_BYTES: usize = 128 * 1024;

/// A listener of the reactor, until it [retires](Reactor::retire) or is [replaced](Reactor::replace).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListenerId(pub(super) u16);

/// A stream service that was added to the reactor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServiceId(pub(super) usize);

/// What a listener serves, and to which peers.
#[derive(Debug, Clone)]
pub struct ListenerOptions {
    /// Its name in the log: the endpoint as the user wrote it.
    pub name: String,
    /// The service of its connections.
    pub service: ServiceId,
    /// Connections at once through this listener; more are refused.
    pub connections_max: usize,
    /// A connection that is silent for this long is closed.
    pub idle: Option<Duration>,
    /// Only this user may connect (Unix sockets).
    pub only_uid: Option<u32>,
    /// Whether root may, too, where only one user may.
    pub and_root: bool,
    /// Which sources may connect, and how often.
    pub sources: SourceRules,
    /// Begins the sessions of its connections; none: they are plain.
    pub secure: Option<Arc<dyn Secure>>,
    /// Its connections are beside the limit of all: there are descriptors for them in the reserve.
    pub is_beside_limit: bool,
    /// What its connections have for themselves, where others have the same service.
    pub terms: Terms,
}

impl ListenerOptions {
    /// Options for this service, with no limits.
    pub fn to(service: ServiceId) -> ListenerOptions {
        ListenerOptions {
            name: "listener".into(),
            service,
            connections_max: usize::MAX,
            idle: None,
            only_uid: None,
            and_root: false,
            sources: SourceRules::default(),
            secure: None,
            is_beside_limit: false,
            terms: Terms::default(),
        }
    }

    /// Whether this peer is a user who may connect.
    ///
    /// A peer that the kernel does not name may not: a process outside our PID namespace, on a socket
    /// that was mounted into a container, has credentials without a process id, and any user.
    fn admits(&self, peer: &Peer) -> bool {
        match (self.only_uid, peer) {
            (None, _) => true,
            (Some(only), Peer::Local { uid, .. }) => only == *uid || self.and_root && *uid == 0,
            (Some(_), Peer::Unknown) => false,
            // An inherited descriptor that turned out to be TCP, where there are no users.
            (Some(_), Peer::V4(..) | Peer::V6(..)) => true,
        }
    }
}

#[derive(Debug)]
pub(super) struct Listener<L> {
    /// `None` once it is closed, or another listener has it.
    pub(super) socket: Option<L>,
    /// It stands for connections that its service dials, and never had a socket.
    pub(super) is_dialled: bool,
    /// Which socket: its number, which no other has had.
    pub(super) number: u32,
    pub(super) options: ListenerOptions,
    /// Its service's.
    pub(super) manner: Manner,
    /// A connection may be waiting: remembered until `accept`, or a look, says otherwise.
    pub(super) pending: bool,
    /// No descriptors or no memory: rests until then, or until a connection closes.
    rests_until: Option<Moment>,
    pub(super) connections: usize,
    /// Connections that came through its socket before it had it: they count as its own where it is asked
    /// whether one more may come.
    pub(super) older: usize,
    /// The listener that has its socket now, and counts its connections as older.
    pub(super) successor: Option<u16>,
    /// The listener retires, or the server is stopping: closed when its queue is empty, or after so many more connections.
    closes_after: Option<u32>,
    /// Its connections have said as much in this turn as they may: the others wait for the next.
    spent: bool,
    pub(super) tally: Tally,
}

impl<L> Listener<L> {
    pub(super) fn new(
        socket: L,
        number: u32,
        options: ListenerOptions,
        manner: Manner,
    ) -> Listener<L> {
        Listener {
            socket: Some(socket),
            pending: true,
            ..Listener::without_socket(number, options, manner)
        }
    }

    fn without_socket(number: u32, options: ListenerOptions, manner: Manner) -> Listener<L> {
        Listener {
            socket: None,
            is_dialled: false,
            number,
            options,
            manner,
            pending: false,
            rests_until: None,
            connections: 0,
            older: 0,
            successor: None,
            closes_after: None,
            spent: false,
            tally: Tally::default(),
        }
    }

    /// One for connections that its service dials.
    pub(super) fn dialled(number: u32, options: ListenerOptions, manner: Manner) -> Listener<L> {
        Listener {
            is_dialled: true,
            ..Listener::without_socket(number, options, manner)
        }
    }

    /// Accepts what is in the queue of its socket, as much as a queue can hold, and is closed then.
    pub(super) fn drain(&mut self) {
        self.closes_after = Some(LISTEN_BACKLOG.unsigned_abs());
        self.pending = self.socket.is_some();
    }

    /// How many bytes a frame of its connections may have besides what limits say.
    pub(super) fn frame_besides(&self) -> usize {
        if self.is_dialled {
            DIALLED_FRAME_BYTES
        } else {
            0
        }
    }

    /// Bytes that one of its connections read or wrote, for a trace.
    pub(super) fn moved<'a>(&self, bytes: &'a [u8]) -> Moved<'a> {
        Moved {
            bytes,
            is_private: self.manner.is_private,
        }
    }
}

/// The listener that a connection came through.
#[inline]
pub(super) fn listener_of<'a, L, S>(
    listeners: &'a [Listener<L>],
    conn: &Connection<S>,
) -> &'a Listener<L> {
    &listeners[usize::from(conn.listener)]
}

impl<O: Os> Reactor<O> {
    /// Serves the connections that come through `socket` from the next turn on.
    pub fn listen(
        &mut self,
        socket: O::Listener,
        options: ListenerOptions,
    ) -> io::Result<ListenerId> {
        let n = self.place_of_listener()?;
        self.os
            .watch_listener(&socket, Token::of(Source::Listener(u32::from(n))))?;
        let manner = self.tell_terms(n, &options);
        let number = self.number_of_socket();
        let service = options.service;
        self.put_listener(n, Listener::new(socket, number, options, manner));
        self.begin_broadcast(service);
        Ok(ListenerId(n))
    }

    /// A number that no listener's socket has had.
    pub(super) fn number_of_socket(&mut self) -> u32 {
        let number = self.sockets;
        self.sockets = self.sockets.wrapping_add(1);
        number
    }

    /// Tells a service the terms of a listener, and is told how it serves those connections.
    pub(super) fn tell_terms(&mut self, n: u16, options: &ListenerOptions) -> Manner {
        let service = &mut self.services[options.service.0];
        service.listens(n, &options.terms);
        let manner = service.manner_at(n);
        self.tells_time |= manner.tells_time;
        manner
    }

    pub(super) fn dispatch_listener(&mut self, listener: u32) {
        // A socket that another process holds, too (the one that started us may), stays in the poll when
        // we close it: an event of a listener that is closed must not keep the loop awake.
        if let Some(listener) = self.listeners.get_mut(listener as usize) {
            listener.pending = listener.socket.is_some();
            self.may_accept = true;
        }
    }

    /// Whether a connection may be waiting at a listener that does not rest.
    pub(super) fn has_pending_accepts(&self) -> bool {
        let may = |l: &Listener<_>| l.pending && l.rests_until.is_none();
        self.may_accept && self.listeners.iter().any(may)
    }

    /// When the first rest ends.
    pub(super) fn rest_ends(&self) -> Option<Moment> {
        if !self.may_accept {
            return None;
        }
        self.listeners.iter().filter_map(|l| l.rests_until).min()
    }

    /// A turn begins: every listener has all its deliveries.
    pub(super) fn begin_deliveries(&mut self) {
        self.outbox.reset_deliveries();
        if std::mem::take(&mut self.any_spent) {
            self.listeners.iter_mut().for_each(|l| l.spent = false);
        }
    }

    /// The deliveries of this turn are used up by what this connection said last. The listeners of its
    /// service are taken to have used them: one line of a big room is thousands, an echo is one.
    #[cold]
    pub(super) fn mark_spent(&mut self, id: ConnId) {
        self.outbox.reset_deliveries();
        if let Some(conn) = self.conns.get(id.slot as usize).filter(|c| c.is(id)) {
            let service = listener_of(&self.listeners, conn).options.service;
            let of_it = |l: &&mut Listener<_>| l.options.service == service;
            self.listeners
                .iter_mut()
                .filter(of_it)
                .for_each(|l| l.spent = true);
            self.any_spent = true;
        }
    }

    /// Whether a connection waits for the next turn, since its listener has spent its deliveries.
    pub(super) fn is_spent(&self, id: ConnId) -> bool {
        let conn = self.conns.get(id.slot as usize).filter(|c| c.is(id));
        conn.is_some_and(|conn| listener_of(&self.listeners, conn).spent)
    }

    /// Whether a connection may still wait for its turn to be read when those of this turn are over,
    /// since its listener has spent its deliveries.
    pub(super) fn is_put_off(&self, id: ConnId) -> bool {
        self.is_spent(id) && self.conns[id.slot as usize].queued
    }

    /// A connection was closed, so a descriptor is free.
    #[inline]
    pub(super) fn end_rests(&mut self) {
        if self.may_accept {
            self.listeners.iter_mut().for_each(|l| l.rests_until = None);
        }
    }

    /// Accepts the connections that wait, `accepts-per-turn` a listener at most.
    #[inline]
    pub(super) fn accept_all(&mut self) {
        if !self.may_accept {
            return;
        }
        for n in 0..self.listeners.len() {
            self.accept_from(n);
            self.close_if_drained(n);
        }
        self.may_accept = self.listeners.iter().any(|l| l.pending);
    }

    fn accept_from(&mut self, n: usize) {
        let now = self.now;
        let rest = &mut self.listeners[n].rests_until;
        *rest = rest.filter(|until| *until > now);
        for nth in 0..self.limits.accepts_per_turn {
            let listener = &mut self.listeners[n];
            let (true, None) = (listener.pending, listener.rests_until) else {
                break;
            };
            let Some(socket) = &listener.socket else {
                break;
            };
            // Most edges tell of one connection. A failed `accept` costs 4 µs, since the kernel makes a
            // socket before it looks at the queue, and this look 0.35. Before every further one it would
            // only cost: where two wait, there are often more.
            if nth == 1 && !self.os.has_pending(socket) {
                listener.pending = false;
                self.recorder.trace(|| TraceEvent::NoneWaits(n, LOOK));
                break;
            }
            match self.os.accept(socket) {
                Ok((stream, peer)) => {
                    if let Some(left) = &mut listener.closes_after {
                        *left -= 1;
                        listener.pending = *left > 0;
                    }
                    self.admit(n, stream, peer);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    listener.pending = false;
                    self.recorder.trace(|| TraceEvent::NoneWaits(n, ACCEPT));
                }
                Err(error) => {
                    let (tally, name) = (&mut listener.tally, &listener.options.name);
                    self.recorder.accept_failed(tally, name, &error);
                    // No second edge tells of those that wait already, so `pending` stays. An
                    // error that concerned one connection only is over; any other may come
                    // again at once, and must not keep the loop spinning.
                    if !concerns_one_connection(&error) {
                        listener.rests_until = Some(self.now.after(EMFILE_RETRY));
                    }
                }
            }
        }
    }

    /// One connection is accepted, or told why it is not.
    fn admit(&mut self, n: usize, stream: O::Stream, peer: Peer) {
        if let Some(refusal) = self.refuses(n, &peer) {
            return self.turn_away(n, stream, &peer, refusal);
        }
        let Listener { options, tally, .. } = &mut self.listeners[n];
        let secured = match options.secure.as_deref().map(Secured::begin).transpose() {
            Ok(secured) => secured,
            Err(error) => {
                self.recorder.accept_failed(tally, &options.name, &error);
                return self.os.close(stream);
            }
        };
        self.enter(n, stream, peer, secured);
    }

    /// Why a connection of this peer is not served, if it is not.
    fn refuses(&mut self, n: usize, peer: &Peer) -> Option<Refusal> {
        let Listener {
            options,
            manner,
            connections,
            older,
            number,
            ..
        } = &self.listeners[n];
        let rules = &options.sources;
        let logins_max = self.limits.not_logged_in as usize;
        let has_to_log_in = manner.is_gated || options.secure.is_some();
        match () {
            () if !options.admits(peer) => Some(Refusal::OtherUser),
            () if !rules.addresses.admits(peer.ip()) => Some(Refusal::Denied),
            // Where nobody is asked for a proof, failing to give one elsewhere says nothing.
            () if manner.is_gated && self.sources.is_penalised(self.now, peer) => {
                Some(Refusal::Penalised)
            }
            () if self.conns.len() >= self.connections_max && !options.is_beside_limit => {
                Some(Refusal::Full)
            }
            () if *connections + *older >= options.connections_max => Some(Refusal::ListenerFull),
            () if has_to_log_in && self.logging_in >= logins_max => Some(Refusal::LoginsFull),
            // Last, since it takes a token of those that the source has.
            () => self.sources.refuses(self.now, *number, rules, peer),
        }
    }

    /// Tells a client why its connection is not served, where it can be told, and closes it.
    fn turn_away(&mut self, n: usize, stream: O::Stream, peer: &Peer, refusal: Refusal) {
        let Listener {
            options,
            manner,
            tally,
            ..
        } = &mut self.listeners[n];
        self.recorder.refused(tally, refusal, &options.name, peer);
        let mut words = Vec::new();
        // A client that begins a session would take words for a record, and one that is asked for a proof for
        // the challenge.
        if refusal.is_told() && options.secure.is_none() && !manner.is_gated {
            self.services[options.service.0].refusal(refusal.words(), &mut words);
        }
        if !words.is_empty() {
            // The reason gets one write, not a buffer.
            let _ = self.os.write(&stream, &words);
        }
        self.os.close(stream);
    }

    /// A connection is there from now on, through this listener.
    pub(super) fn enter(
        &mut self,
        n: usize,
        stream: O::Stream,
        peer: Peer,
        secured: Option<Box<Secured>>,
    ) -> ConnId {
        let has_to_log_in = self.listeners[n].manner.is_gated || secured.is_some();
        let is_secured = secured.is_some();
        let id = self.add_connection(n, stream, peer, secured);
        let name = &self.listeners[n].options.name;
        self.recorder.opened(id, name, &peer);
        if has_to_log_in {
            self.expect_login(id.slot);
        }
        if is_secured {
            self.begin_handshake(id.slot);
            return id;
        }
        // It is read in this turn, unless its service says otherwise: reading before the first look at
        // the poll saves a turn, and often the registration.
        self.outbox
            .set_listener(self.conns[id.slot as usize].listener);
        self.ask_service(id, |service, turn| service.open(turn, &peer));
        id
    }

    /// A connection has its entry, its lane and its place among those that the poll will watch; no service knows of it.
    pub(super) fn add_connection(
        &mut self,
        n: usize,
        stream: O::Stream,
        peer: Peer,
        secured: Option<Box<Secured>>,
    ) -> ConnId {
        let listener = u16::try_from(n).expect("`listen` counts listeners in 16 bits");
        let Listener {
            options,
            connections,
            number,
            tally,
            ..
        } = &mut self.listeners[n];
        *connections += 1;
        self.sources.opened(*number, &options.sources, &peer);
        self.generation = if self.generation == GENERATION_MAX {
            1
        } else {
            self.generation + 1
        };
        let entry = self.conns.vacant_entry();
        let slot = u32::try_from(entry.key()).expect("there are fewer descriptors than that");
        let id = ConnId {
            slot,
            generation: self.generation,
        };
        let conn = Connection::new(stream, id.generation, peer, listener);
        entry.insert(Connection { secured, ..conn });
        self.outbox.open(id);
        tally.opened += 1;
        self.fresh.push(id);
        id
    }

    /// From here on only what is in the accept queues comes in, and no more than a queue can hold:
    /// connections that go on coming do not keep a listener open.
    pub(super) fn drain_listeners(&mut self) {
        self.listeners.iter_mut().for_each(Listener::drain);
        self.may_accept = true;
    }

    /// Closes a listener whose queue is another's to accept.
    pub(super) fn let_go(&mut self, id: ListenerId) {
        let listener = &mut self.listeners[usize::from(id.0)];
        if let Some(socket) = listener.socket.take() {
            (listener.pending, listener.rests_until) = (false, None);
            self.os.close_listener(socket);
            self.free_unused_listener(usize::from(id.0));
        }
    }

    /// Closes a listener that drains when nothing is left in its queue.
    fn close_if_drained(&mut self, n: usize) {
        let listener = &mut self.listeners[n];
        if listener.closes_after.is_some()
            && !listener.pending
            && let Some(socket) = listener.socket.take()
        {
            self.os.close_listener(socket);
            listener.rests_until = None;
            self.free_unused_listener(n);
        }
    }

    /// Whether some listener is not closed yet.
    pub(super) fn has_listeners(&self) -> bool {
        self.listeners.iter().any(|l| l.socket.is_some())
    }
}

/// Errors that tell of one connection that is gone, not of the listener (accept(2)): the next one
/// is accepted at once.
fn concerns_one_connection(error: &io::Error) -> bool {
    let Some(errno) = Errno::from_io_error(error) else {
        return false;
    };
    matches!(
        errno,
        Errno::CONNABORTED
            | Errno::INTR
            | Errno::PROTO
            | Errno::PERM
            | Errno::NETDOWN
            | Errno::NOPROTOOPT
            | Errno::HOSTDOWN
            | Errno::NONET
            | Errno::HOSTUNREACH
            | Errno::OPNOTSUPP
            | Errno::NETUNREACH
            | Errno::TIMEDOUT
    )
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn a_private_listener_refuses_a_peer_that_the_kernel_does_not_name() {
        let private = ListenerOptions {
            only_uid: Some(1000),
            ..ListenerOptions::to(ServiceId(0))
        };
        let of = |uid| Peer::Local { pid: 7, uid };
        assert!(private.admits(&of(1000)));
        assert!(!private.admits(&of(0)));
        assert!(!private.admits(&Peer::Unknown));
        let control = ListenerOptions {
            and_root: true,
            ..private.clone()
        };
        assert!(control.admits(&of(1000)) && control.admits(&of(0)));
        assert!(!control.admits(&of(1001)) && !control.admits(&Peer::Unknown));
        assert!(private.admits(&Peer::V4(Ipv4Addr::LOCALHOST, 5000)));
        assert!(ListenerOptions::to(ServiceId(0)).admits(&Peer::Unknown));
    }
}
