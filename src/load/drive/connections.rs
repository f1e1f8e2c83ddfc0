//! All connections of a run: a slot for each, from dialling to the end, and the sums over them.
//!
//! It does not know what goes over a connection: that is the payload of its slot.

use std::collections::VecDeque;

use mio::Token;

use crate::load::drive::awaited_greeting::{AwaitedGreeting, Heard};
use crate::load::measure::clock::nanos;
use crate::load::measure::failures::{Failure, FailureKind};
use crate::load::measure::stages::FailureStage;
use crate::load::net::dial::{BACKOFF, DIALLING_MAX, Dialer, Stream};
use crate::load::net::handshake::Handshake;
use crate::load::net::poller::Poller;
use crate::load::net::secured::{CIPHER_BYTES, Session};
use crate::load::plan::error::LoadError;
use crate::load::plan::mode::{Mode, Model};
use crate::load::plan::target::TargetAddress;
use crate::load::run::Run;

/// One read takes at most this much; also what is read at once of a long answer.
pub(super) const READ_BYTES: usize = 256 * 1024;
/// Timeouts are checked this often at most, and at least.
const CHECKED_EVERY: (u64, u64) = (1_000_000, 50_000_000);

/// One connection.
#[derive(Debug)]
pub(super) struct Connection<T> {
    pub(super) stream: Stream,
    pub(super) stage: ConnectionStage,
    /// When dialling began, or was meant to.
    pub(super) began: u64,
    pub(super) stamps: Stamps,
    /// False while a proof was sent and not yet accepted; a close in this state counts as `NotAdmitted`.
    pub(super) is_admitted: bool,
    /// Whether the poll knows it.
    pub(super) is_watched: bool,
    /// Whether its budget was spent, so that it is read again before anything else happens.
    is_unread: bool,
    pub(super) payload: T,
}

impl<T> Connection<T> {
    /// What its failure is, seen from how far it had come; the first that a session tells of is kept in words.
    pub(super) fn explain(&self, mut failure: Failure, run: &mut Run<'_>) -> Failure {
        if let Some(why) = self.stream.session().and_then(Session::why) {
            run.tally.tls_error.get_or_insert_with(|| why.to_owned());
        }
        if !self.is_admitted
            && matches!(failure.kind, FailureKind::ShortAnswer | FailureKind::Reset)
        {
            failure.kind = FailureKind::NotAdmitted;
        }
        failure
    }
}

/// The times of a connection, in nanoseconds of the run; 0 for what has not happened yet.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Stamps {
    pub(super) dialled: u64,
    pub(super) connected: u64,
    /// The first byte of the oldest answer that is not whole.
    pub(super) first_byte: u64,
    pub(super) last_byte: u64,
}

/// Where a connection may be.
///
/// ```text
/// vacant -> Dialling -> Securing   through TLS: shakes hands, and goes on as the others do
///   ^  ^     |    |`--> Proving    where the server sends a challenge; likewise
///   |  |     |    |`--> Greeted    where the server speaks first, and that is awaited; likewise
///   |  |     |    |`--> Ready      a kept one: waits for the others
///   |  |     |    v        |
///   |  backoff  Active <---'
///   |             |`--> Leaving    `conn`: the server is to close
///   '-------------'--------'       and again; a kept one too, but where members are counted (`hold`, `fanout`)
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ConnectionStage {
    /// Not known to be connected.
    Dialling,
    /// Connected, and its session does not stand yet.
    Securing,
    /// Connected, and not yet known to the server.
    Proving(Handshake),
    /// Connected, and the server has not said all that it says first.
    Greeted(Heard),
    /// Connected, and nothing asked yet.
    Ready,
    /// Requests may be in flight.
    Active,
    /// Answered; the server is to close.
    Leaving,
}

impl ConnectionStage {
    /// How far a connection was that failed so before anything could be asked; none behind that.
    pub(super) fn arriving(&self, kind: FailureKind) -> Option<FailureStage> {
        match self {
            Self::Dialling => Some(FailureStage::Connecting),
            Self::Securing | Self::Proving(_) | Self::Greeted(_) => Some(FailureStage::Handshake),
            // The proof had left, and was not accepted.
            _ => (kind == FailureKind::NotAdmitted).then_some(FailureStage::Handshake),
        }
    }

    /// Whether nothing may be asked yet: such a connection counts as being dialled.
    #[inline]
    pub(super) fn is_arriving(&self) -> bool {
        matches!(
            self,
            ConnectionStage::Dialling
                | ConnectionStage::Securing
                | ConnectionStage::Proving(_)
                | ConnectionStage::Greeted(_)
        )
    }
}

/// A token carries a slot and its generation.
const _: () = assert!(usize::BITS == 64, "a token must hold two halves of 32 bits");

/// A slot to dial for; and since when that has been meant to happen, if it is delayed.
type VacantSlot = (usize, Option<u64>);

/// A connection, what came on it, and whether more may be there.
type Read<'c, T> = (&'c mut Connection<T>, &'c [u8], bool);

/// A fixed number of slots; nothing is allocated once they stand.
#[derive(Debug)]
pub(super) struct Connections<T> {
    slots: Box<[Option<Connection<T>>]>,
    /// Counts the connections of each slot, so that an event for an earlier one is silence.
    generations: Box<[u32]>,
    pub(super) dialer: Dialer,
    pub(super) poller: Poller,
    incoming: Box<[u8]>,
    /// So many bytes of it are of the last read.
    last_read: usize,
    /// What is read of sessions, before it is opened.
    cipher: Box<[u8]>,
    /// What the server says first, where that is awaited.
    greeting: Option<AwaitedGreeting>,
    /// Whether connections outlive a request.
    keeps: bool,
    /// Whether the poll watches a connection from the beginning; else its first write tells whether it is
    /// connected.
    pub(super) watches_all: bool,
    vacant: VecDeque<VacantSlot>,
    /// Slots to dial again, and when; all rest equally long, so the first is due first.
    backoff: VecDeque<(u64, VacantSlot)>,
    /// Since when a listener's queue has been full for kept connections.
    full_since: Option<u64>,
    /// Connections whose budget is spent, and that may have more to be read: no edge will come for that.
    unread: Vec<Token>,
    /// When timeouts are checked next: a scan of all connections is not for every turn.
    pub(super) next_check: u64,
    /// How many are on the way, and connected; and how many were connected at most.
    pub(super) dialling: usize,
    pub(super) open: usize,
    pub(super) open_max: usize,
}

impl<T> Connections<T> {
    /// `count` vacant slots.
    pub(super) fn new(
        count: usize,
        run: &Run<'_>,
        target: &TargetAddress,
    ) -> Result<Self, LoadError> {
        let plan = run.plan;
        let keeps = plan.mode.keeps();
        let dialer = Dialer::new(plan, target)?;
        let cipher_bytes = if dialer.secures() { CIPHER_BYTES } else { 0 };
        Ok(Self {
            slots: (0..count).map(|_| None).collect(),
            generations: vec![0; count].into_boxed_slice(),
            poller: Poller::new(run.watch, plan.spin, plan.model != Model::Closed)?,
            incoming: vec![0; READ_BYTES].into_boxed_slice(),
            last_read: 0,
            cipher: vec![0; cipher_bytes].into_boxed_slice(),
            keeps,
            watches_all: keeps
                || plan.hmac_key.is_some()
                || plan.await_greeting.is_some()
                || dialer.secures(),
            greeting: plan.await_greeting.as_ref().and_then(AwaitedGreeting::of),
            dialer,
            vacant: (0..count).map(|index| (index, None)).collect(),
            backoff: VecDeque::with_capacity(count),
            full_since: None,
            unread: Vec::new(),
            next_check: 0,
            dialling: 0,
            open: 0,
            open_max: 0,
        })
    }

    /// How many slots there are.
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// The connection in slot `index`, if there is one.
    #[inline]
    pub(super) fn get(&self, index: usize) -> Option<&Connection<T>> {
        self.slots[index].as_ref()
    }

    /// The same, to be changed.
    #[inline]
    pub(super) fn get_mut(&mut self, index: usize) -> Option<&mut Connection<T>> {
        self.slots[index].as_mut()
    }

    /// The slots of those that are open.
    pub(super) fn open_ones(&self) -> impl Iterator<Item = usize> {
        let is_open = |conn: &Connection<T>| !conn.stage.is_arriving();
        let slots = self.slots.iter().enumerate();
        slots.filter_map(move |(index, slot)| slot.as_ref().is_some_and(is_open).then_some(index))
    }

    /// The slot of an event, if its connection is still there; none for the timer.
    #[inline]
    pub(super) fn index(&self, token: Token) -> Option<usize> {
        let (index, generation) = (token.0 & 0xffff_ffff, token.0 >> 32);
        let current = *self.generations.get(index)?;
        (current as usize == generation).then_some(index)
    }

    /// What the poll calls the connection in slot `index`.
    pub(super) fn token(&self, index: usize) -> Token {
        Token((self.generations[index] as usize) << 32 | index)
    }

    /// A number that no two connections share soon.
    pub(super) fn next_number(&self, index: usize) -> usize {
        index.wrapping_add(self.generations[index].wrapping_add(1) as usize)
    }

    /// When there is something to be done next, even without an event: at once, a timeout, a backoff's end.
    pub(super) fn next_event(&self) -> u64 {
        if !self.unread.is_empty() || !self.vacant.is_empty() && self.may_dial() {
            return 0;
        }
        let backoff = self.backoff.front().map_or(u64::MAX, |(until, _)| *until);
        self.next_check.min(backoff)
    }
}

/// Dialling.
impl<T> Connections<T> {
    /// Of kept connections so many are on the way as a listener's queue may be able to take, and none is
    /// dialled while it is full.
    fn may_dial(&self) -> bool {
        !self.keeps || self.dialling < DIALLING_MAX && self.backoff.is_empty()
    }

    /// Takes the next slot to dial for.
    pub(super) fn next_vacant(&mut self) -> Option<VacantSlot> {
        if self.may_dial() {
            self.vacant.pop_front()
        } else {
            None
        }
    }

    /// Nothing more is asked: of the slots to be dialled for, only those are that still owe something.
    pub(super) fn dial_only(&mut self, owes: impl Fn(usize) -> bool) {
        self.vacant.retain(|(index, _)| owes(*index));
        self.backoff.retain(|(_, (index, _))| owes(*index));
        for index in 0..self.slots.len() {
            let is_arriving = self.slots[index]
                .as_ref()
                .is_some_and(|conn| conn.stage.is_arriving());
            if is_arriving && !owes(index) {
                self.leave(index);
            }
        }
    }

    /// Whether no connection is to be dialled, now or later.
    pub(super) fn none_to_dial(&self) -> bool {
        self.vacant.is_empty() && self.backoff.is_empty()
    }

    /// To be dialled again at once.
    pub(super) fn vacate(&mut self, index: usize) {
        self.vacant.push_back((index, None));
    }

    /// To be dialled again after a while; a request that is only delayed began at `began`.
    pub(super) fn back_off(&mut self, index: usize, began: Option<u64>, now: u64) {
        self.backoff
            .push_back((now + nanos(BACKOFF), (index, began)));
    }

    /// Connections whose backoff is over are to be dialled again.
    pub(super) fn end_backoff(&mut self, now: u64) {
        while let Some((until, slot)) = self.backoff.front().copied()
            && until <= now
        {
            self.backoff.pop_front();
            // A request that was delayed goes before those that did not begin.
            if slot.1.is_some() {
                self.vacant.push_front(slot);
            } else {
                self.vacant.push_back(slot);
            }
        }
    }

    /// Dials for slot `index`, which was meant to happen at `began`; whether the connection is on the way,
    /// and not delayed since the queue of the listener is full.
    pub(super) fn dial(
        &mut self,
        index: usize,
        (began, now): (u64, u64),
        payload: T,
        run: &Run<'_>,
    ) -> Result<bool, Failure> {
        let Some(stream) = self.dialer.dial()? else {
            // A kept connection waits as long as others get in.
            let since = if self.keeps {
                *self.full_since.get_or_insert(now)
            } else {
                began
            };
            if now.saturating_sub(since) >= nanos(run.plan.timeout) {
                return Err(FailureKind::Timeout.into());
            }
            self.back_off(index, Some(began), now);
            return Ok(false);
        };
        self.full_since = None;
        self.dialling += 1;
        self.generations[index] = self.generations[index].wrapping_add(1);
        self.slots[index] = Some(Connection {
            stream,
            stage: ConnectionStage::Dialling,
            began,
            stamps: Stamps {
                dialled: now,
                ..Stamps::default()
            },
            is_admitted: true,
            is_watched: false,
            is_unread: false,
            payload,
        });
        if self.watches_all {
            self.watch(index)?;
        }
        Ok(true)
    }

    /// Lets the poll watch a connection.
    pub(super) fn watch(&mut self, index: usize) -> Result<(), Failure> {
        let token = self.token(index);
        let Some(conn) = &mut self.slots[index] else {
            return Ok(());
        };
        conn.is_watched = true;
        Ok(self.poller.register(&conn.stream, token)?)
    }
}

/// From arriving to the end.
impl<T> Connections<T> {
    /// A connection on the way may have arrived: whether it is connected, its session stands if it is to have
    /// one and, where the server sends a challenge, the proof has left. A kept one is then `Ready`.
    pub(super) fn arrive(&mut self, index: usize, run: &mut Run<'_>) -> Result<bool, Failure> {
        let Some(conn) = &mut self.slots[index] else {
            return Ok(false);
        };
        if conn.stage == ConnectionStage::Dialling {
            if !conn.stream.is_connected()? {
                return Ok(false);
            }
            self.dialer.check_peer(&conn.stream)?;
            if self.dialer.secures() {
                self.dialer.secure(&mut conn.stream)?;
                conn.stage = ConnectionStage::Securing;
            }
        }
        if conn.stage == ConnectionStage::Securing {
            if !conn.stream.shake_hands(&mut self.cipher)? {
                return Ok(false);
            }
            if run.tally.tls_session.is_none() {
                run.tally.tls_session = conn.stream.session().and_then(Session::agreed);
            }
        }
        if let Some(hmac_key) = &run.plan.hmac_key
            && !matches!(conn.stage, ConnectionStage::Greeted(_))
        {
            if !matches!(conn.stage, ConnectionStage::Proving(_)) {
                conn.stage = ConnectionStage::Proving(Handshake::new());
            }
            if let ConnectionStage::Proving(handshake) = &mut conn.stage
                && !handshake.go_on(&mut conn.stream, &mut self.cipher, hmac_key)?
            {
                return Ok(false);
            }
            // Whether the server accepts the proof shows in what it does next. Where nothing is asked, a
            // server that refuses and one that tires of us look alike.
            conn.is_admitted = run.plan.mode == Mode::Hold;
        }
        if let Some(greeting) = &self.greeting {
            if !matches!(conn.stage, ConnectionStage::Greeted(_)) {
                conn.stage = ConnectionStage::Greeted(Heard::default());
            }
            if let ConnectionStage::Greeted(heard) = &mut conn.stage
                && !greeting.go_on(heard, &mut conn.stream, &mut self.cipher)?
            {
                return Ok(false);
            }
            // It speaks to us.
            conn.is_admitted = true;
        }
        if self.keeps {
            self.open(index, ConnectionStage::Ready, run);
        }
        Ok(true)
    }

    /// One of those on the way has arrived.
    pub(super) fn open(&mut self, index: usize, stage: ConnectionStage, run: &mut Run<'_>) {
        let Some(conn) = &mut self.slots[index] else {
            return;
        };
        conn.stage = stage;
        conn.stamps.connected = run.watch.nanos();
        if self.keeps {
            let took = conn.stamps.connected.saturating_sub(conn.stamps.dialled);
            run.tally.breakdown.connect.record(took, 1);
        }
        self.dialling -= 1;
        self.open += 1;
        self.open_max = self.open_max.max(self.open);
    }

    /// Reads once: what came, no byte at the end, and whether another read may find more; none if nothing is
    /// there now.
    #[inline]
    pub(super) fn read(&mut self, index: usize) -> Result<Option<Read<'_, T>>, Failure> {
        let Some(conn) = &mut self.slots[index] else {
            return Ok(None);
        };
        let read = conn.stream.read(&mut self.incoming, &mut self.cipher)?;
        self.last_read = read.as_ref().map_or(0, |read| read.n);
        Ok(read.map(|read| (conn, &self.incoming[..read.n], read.may_have_more)))
    }

    /// What the last read brought, of whichever connection.
    pub(super) fn last_read(&self) -> &[u8] {
        &self.incoming[..self.last_read]
    }

    /// Its budget is spent: the others come first, and then it again.
    #[cold]
    pub(super) fn read_on(&mut self, index: usize) {
        let token = self.token(index);
        if let Some(conn) = self.get_mut(index)
            && !std::mem::replace(&mut conn.is_unread, true)
        {
            self.unread.push(token);
        }
    }

    /// Takes out those whose budget was spent, to be read on.
    pub(super) fn take_unread(&mut self) -> Vec<usize> {
        if self.unread.is_empty() {
            return Vec::new();
        }
        let unread = std::mem::take(&mut self.unread).into_iter();
        let unread: Vec<usize> = unread.filter_map(|token| self.index(token)).collect();
        for index in &unread {
            if let Some(conn) = self.get_mut(*index) {
                conn.is_unread = false;
            }
        }
        unread
    }

    /// Connections that have owed something for longer than the timeout, if it is time to look: an answer,
    /// an end, or to be connected. When the oldest request on an active one was sent, `waiting_since` says: a
    /// request that waited for its connection has not used up the server's time.
    pub(super) fn overdue(
        &mut self,
        now: u64,
        run: &Run<'_>,
        waiting_since: impl Fn(usize, &T) -> Option<u64>,
    ) -> Vec<usize> {
        if now < self.next_check {
            return Vec::new();
        }
        let timeout = nanos(run.plan.timeout);
        let (least, most) = CHECKED_EVERY;
        // Eight times a timeout.
        self.next_check = now + (timeout / 8).clamp(least, most);
        let is_overdue = |index: &usize| {
            let since = self.slots[*index]
                .as_ref()
                .and_then(|conn| match conn.stage {
                    ConnectionStage::Ready => None,
                    ConnectionStage::Active => waiting_since(*index, &conn.payload),
                    ConnectionStage::Dialling
                    | ConnectionStage::Securing
                    | ConnectionStage::Proving(_)
                    | ConnectionStage::Greeted(_)
                    | ConnectionStage::Leaving => Some(conn.stamps.dialled),
                });
            since.is_some_and(|since| now.saturating_sub(since) >= timeout)
        };
        (0..self.slots.len()).filter(is_overdue).collect()
    }

    /// Takes a connection out of its slot and the sums; the only place where one ends. It closes when
    /// what is returned is dropped.
    pub(super) fn leave(&mut self, index: usize) -> Option<Connection<T>> {
        let conn = self.slots[index].take()?;
        if conn.stage.is_arriving() {
            self.dialling -= 1;
        } else {
            self.open -= 1;
        }
        Some(conn)
    }
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;
    use std::os::unix::net::UnixListener;
    use std::time::Duration;

    use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, bind, listen, socket};

    use super::*;
    use crate::load::plan::Plan;
    use crate::load::plan::target::Endpoint;

    #[test]
    fn kept_connections_wait_for_a_full_queue_as_long_as_others_get_in() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("listener");
        let fd = socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
        bind(&fd, &SocketAddrUnix::new(&path).unwrap()).unwrap();
        // The shortest queue there is.
        listen(&fd, 0).unwrap();
        let listener = UnixListener::from(fd);

        let mut plan = Plan::new(Endpoint::Unix(path.clone()), Mode::Echo { depth: 1 });
        plan.timeout = Duration::from_nanos(100);
        let mut watcher = |_| ControlFlow::Continue(());
        let run = Run::new(&plan, &mut watcher);
        let target = TargetAddress::Unix(path);
        let mut connections = Connections::new(3, &run, &target).unwrap();
        let mut dial = |index, began, now| connections.dial(index, (began, now), (), &run);

        assert_eq!(dial(0, 0, 0), Ok(true));
        assert_eq!((dial(1, 1, 1), dial(1, 1, 90)), (Ok(false), Ok(false)));
        listener.accept().unwrap();
        assert_eq!(dial(1, 1, 100), Ok(true));
        // Its time is over, but not that of the queue, which was not full a moment ago.
        assert_eq!((dial(2, 1, 101), dial(2, 1, 200)), (Ok(false), Ok(false)));
        assert_eq!(dial(2, 1, 201), Err(FailureKind::Timeout.into()));
    }

    #[test]
    fn what_is_owed_is_overdue_once_the_whole_timeout_is_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("listener");
        let _listener = UnixListener::bind(&path).unwrap();
        let mut plan = Plan::new(Endpoint::Unix(path.clone()), Mode::Echo { depth: 1 });
        plan.timeout = Duration::from_nanos(100);
        let mut watcher = |_| ControlFlow::Continue(());
        let run = Run::new(&plan, &mut watcher);
        let mut connections = Connections::new(2, &run, &TargetAddress::Unix(path)).unwrap();
        for index in [0, 1] {
            assert_eq!(connections.dial(index, (7, 7), (), &run), Ok(true));
        }
        let mut overdue = |stage, now, since: [Option<u64>; 2]| {
            for index in [0, 1] {
                connections.get_mut(index).unwrap().stage = stage;
            }
            // Not for every turn: at once.
            connections.next_check = 0;
            connections.overdue(now, &run, |index, ()| since[index])
        };
        let (none, not_one) = ([None, None], Vec::<usize>::new());
        for stage in [ConnectionStage::Dialling, ConnectionStage::Leaving] {
            assert_eq!(overdue(stage, 106, none), not_one);
            assert_eq!(overdue(stage, 107, none), [0, 1]);
        }
        assert_eq!(overdue(ConnectionStage::Ready, 10_000, none), not_one);
        // An active one owes the answer to its oldest request, however long ago it was dialled.
        assert_eq!(overdue(ConnectionStage::Active, 10_000, none), not_one);
        let since = [Some(900), Some(901)];
        assert_eq!(overdue(ConnectionStage::Active, 999, since), not_one);
        assert_eq!(overdue(ConnectionStage::Active, 1_000, since), [0]);
        assert_eq!(overdue(ConnectionStage::Active, 1_001, since), [0, 1]);
    }

    #[test]
    fn slots_whose_backoff_ends_together_are_dialled_in_order_the_delayed_before() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("listener");
        let plan = Plan::new(Endpoint::Unix(path.clone()), Mode::Echo { depth: 1 });
        let mut watcher = |_| ControlFlow::Continue(());
        let run = Run::new(&plan, &mut watcher);
        let mut connections: Connections<()> =
            Connections::new(0, &run, &TargetAddress::Unix(path)).unwrap();
        connections.back_off(3, None, 5);
        connections.back_off(4, None, 5);
        connections.back_off(5, Some(2), 5);
        let until = 5 + nanos(BACKOFF);
        connections.end_backoff(until - 1);
        assert!(connections.vacant.is_empty());
        connections.end_backoff(until);
        assert!(
            connections
                .vacant
                .iter()
                .eq(&[(5, Some(2)), (3, None), (4, None)])
        );
    }
}
