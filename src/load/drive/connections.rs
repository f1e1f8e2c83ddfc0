//! All connections of a run: the state of each slot, the sums over them.

use std::collections::VecDeque;

use mio::Token;

use crate::load::exchange::judge::Judge;
use crate::load::exchange::requests::Requests;
use crate::load::net::dial::Stream;
use crate::load::net::handshake::Handshake;

/// Where a connection may be.
///
/// ```text
///             +-------------- Backoff <- refused, no port …
///             v                  ^
/// Vacant -> Taken(Dialling) -----+
///   ^         |       `-> Taken(Proving)    where the server sends a challenge; goes on as
///   |         |                             the others do
///   |         |`--------> Taken(Ready)      echo: waits for the others
///   |         v              v
///   |       Taken(Active) <-'
///   |         |       `-> Taken(Leaving)    conn: the server is to close
///   '---------+--------------'   conn: and again; echo: a failed one is Gone
/// ```
#[derive(Debug)]
pub(crate) enum Slot {
    /// To be dialled as soon as there may be another request.
    Vacant,
    /// To be dialled again later. A request that is only delayed keeps its beginning.
    Backoff { began: Option<u64> },
    /// A connection.
    Taken(LoadConnection),
    /// Not replaced.
    Gone,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct LoadConnection {
    pub(crate) stream: Stream,
    /// Whether the poll knows it.
    pub(crate) watched: bool,
    pub(crate) stage: ConnectionStage,
    /// When dialling began, or was meant to.
    pub(crate) began: u64,
    pub(crate) stamps: Stamps,
    /// False while a proof was sent and not yet accepted; a close in this state counts as `NotAdmitted`.
    pub(crate) is_admitted: bool,
    /// `conn`: requests that follow the one in flight.
    pub(crate) more: usize,
    pub(crate) requests: Requests,
}

/// The times of a connection, in nanoseconds of the run; 0 for what has not happened yet.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Stamps {
    pub(crate) dialled: u64,
    pub(crate) connected: u64,
    /// The first byte of the oldest answer that is not whole.
    pub(crate) first_byte: u64,
    pub(crate) last_byte: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ConnectionStage {
    /// Not known to be connected.
    Dialling,
    /// Connected, and not yet known to the server.
    Proving(Handshake),
    /// Connected, and nothing asked yet.
    Ready,
    /// Requests may be in flight.
    Active,
    /// Answered; the server is to close.
    Leaving,
}

impl ConnectionStage {
    /// Whether nothing may be asked yet: such a connection counts as being dialled.
    #[inline]
    pub(crate) fn is_arriving(self) -> bool {
        matches!(
            self,
            ConnectionStage::Dialling | ConnectionStage::Proving(_)
        )
    }
}

/// A token carries a slot and its generation.
const _: () = assert!(usize::BITS == 64, "a token must hold two halves of 32 bits");

/// A fixed number of slots; nothing is allocated once they stand.
#[derive(Debug)]
pub(crate) struct Connections {
    slots: Box<[Slot]>,
    /// Counts the connections of each slot, so that an event for an earlier one is silence.
    generations: Box<[u32]>,
    /// Start times of what is in flight: a ring of `depth` for each slot.
    began: Box<[u64]>,
    depth: usize,
    /// Slots to dial.
    pub(crate) vacant: VecDeque<usize>,
    /// Slots to dial again, and when; all rest equally long, so the first is due first.
    backoff: VecDeque<(u64, usize)>,
    /// Open model: kept connections on which a request may begin, once for each.
    pub(crate) free: VecDeque<usize>,
    /// Open model: since when there has been one, or a vacant slot.
    free_since: u64,
    /// Unwatched connections that await an answer, the oldest first.
    pub(crate) unpolled: VecDeque<usize>,
    pub(crate) dialling: usize,
    pub(crate) open: usize,
    pub(crate) open_max: usize,
    /// Requests in flight on all connections.
    pub(crate) outstanding: usize,
}

impl Connections {
    /// `count` vacant slots with rings of `depth`.
    pub(crate) fn new(count: usize, depth: usize) -> Self {
        Self {
            slots: (0..count).map(|_| Slot::Vacant).collect(),
            generations: vec![0; count].into_boxed_slice(),
            began: vec![0; count * depth].into_boxed_slice(),
            depth,
            vacant: (0..count).collect(),
            backoff: VecDeque::with_capacity(count),
            free: VecDeque::with_capacity(count * depth),
            free_since: 0,
            unpolled: VecDeque::with_capacity(count),
            dialling: 0,
            open: 0,
            open_max: 0,
            outstanding: 0,
        }
    }

    /// How many slots there are.
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, index: usize) -> Option<&mut LoadConnection> {
        match &mut self.slots[index] {
            Slot::Taken(conn) => Some(conn),
            _ => None,
        }
    }

    /// What the poll calls the connection in slot `index`.
    pub(crate) fn token(&self, index: usize) -> Token {
        Token((self.generations[index] as usize) << 32 | index)
    }

    /// The slot of an event, if its connection is still there.
    #[inline]
    pub(crate) fn index(&self, token: Token) -> Option<usize> {
        let (index, generation) = (token.0 & 0xffff_ffff, token.0 >> 32);
        (self.generations[index] as usize == generation).then_some(index)
    }

    /// A number that no two connections share soon.
    pub(crate) fn next_number(&self, index: usize) -> usize {
        index.wrapping_add(self.generations[index].wrapping_add(1) as usize)
    }

    /// A connection on the way.
    pub(crate) fn insert(
        &mut self,
        index: usize,
        stream: Stream,
        (began, dialled): (u64, u64),
        more: usize,
        requests: Requests,
    ) {
        self.dialling += 1;
        self.generations[index] = self.generations[index].wrapping_add(1);
        self.slots[index] = Slot::Taken(LoadConnection {
            stream,
            watched: false,
            stage: ConnectionStage::Dialling,
            began,
            stamps: Stamps {
                dialled,
                ..Stamps::default()
            },
            is_admitted: true,
            more,
            requests,
        });
    }

    /// One of those on the way has arrived.
    pub(crate) fn connected(&mut self) {
        self.dialling -= 1;
        self.open += 1;
        self.open_max = self.open_max.max(self.open);
    }

    /// `count` more requests of `size` bytes on a connection, begun at `now`.
    #[inline]
    pub(crate) fn ask(
        &mut self,
        index: usize,
        (count, size): (usize, usize),
        judge: &Judge,
        now: u64,
    ) {
        let Slot::Taken(LoadConnection { requests, .. }) = &mut self.slots[index] else {
            return;
        };
        let ring = &mut self.began[index * self.depth..][..self.depth];
        let mut at = requests.oldest + requests.flight;
        for _ in 0..count {
            if at >= self.depth {
                at -= self.depth;
            }
            ring[at] = now;
            at += 1;
        }
        requests.ask(count, size, judge);
        self.outstanding += count;
    }

    /// The oldest `count` requests are answered: hands out when they began, and how many then.
    #[inline]
    pub(crate) fn answered(
        &mut self,
        index: usize,
        count: usize,
        mut began: impl FnMut(u64, usize),
    ) {
        let Slot::Taken(LoadConnection { requests, .. }) = &mut self.slots[index] else {
            return;
        };
        // What was sent in one write and comes back in one read is counted in one go.
        let ring = &self.began[index * self.depth..][..self.depth];
        let mut left = count;
        while left > 0 {
            let start = ring[requests.oldest];
            let mut run = 0;
            while run < left && ring[requests.oldest] == start {
                run += 1;
                requests.oldest = if requests.oldest + 1 == self.depth {
                    0
                } else {
                    requests.oldest + 1
                };
            }
            left -= run;
            began(start, run);
        }
        self.outstanding -= count;
    }

    /// When the requests in flight on `index` began, the youngest first.
    pub(crate) fn in_flight(&self, index: usize) -> impl Iterator<Item = u64> {
        let ring = &self.began[index * self.depth..][..self.depth];
        let (flight, oldest) = match &self.slots[index] {
            Slot::Taken(conn) => (conn.requests.flight, conn.requests.oldest),
            _ => (0, 0),
        };
        (0..flight)
            .rev()
            .map(move |place| ring[(oldest + place) % ring.len()])
    }

    /// Since when a connection owes something: an answer, an end, or to be connected.
    pub(crate) fn waiting_since(&self, index: usize) -> Option<u64> {
        let Slot::Taken(conn) = &self.slots[index] else {
            return None;
        };
        match conn.stage {
            ConnectionStage::Ready => None,
            ConnectionStage::Active if conn.requests.flight == 0 => None,
            ConnectionStage::Active => Some(self.began[index * self.depth + conn.requests.oldest]),
            ConnectionStage::Dialling | ConnectionStage::Proving(_) | ConnectionStage::Leaving => {
                Some(conn.began)
            }
        }
    }

    /// Closes a connection and takes it out of the sums; the only place where one ends.
    pub(crate) fn leave(&mut self, index: usize) {
        let Slot::Taken(conn) = std::mem::replace(&mut self.slots[index], Slot::Gone) else {
            return;
        };
        match conn.stage {
            ConnectionStage::Dialling | ConnectionStage::Proving(_) => self.dialling -= 1,
            ConnectionStage::Ready | ConnectionStage::Active => self.open -= 1,
            // `conn` still awaited the end of its last request.
            ConnectionStage::Leaving => {
                self.open -= 1;
                self.outstanding -= 1;
            }
        }
        self.outstanding -= conn.requests.flight;
        drop(conn.stream);
    }

    /// `count` more requests may begin on a kept connection.
    #[inline]
    pub(crate) fn free(&mut self, index: usize, count: usize, now: u64) {
        if self.free.is_empty() {
            self.free_since = now;
        }
        self.free.extend(std::iter::repeat_n(index, count));
    }

    /// Open model: since when a request has been able to begin, by dialling or on a kept connection; none
    /// while it cannot. Kept connections that failed meanwhile are passed over.
    #[inline]
    pub(crate) fn room_since(&mut self, is_dialled: bool) -> Option<u64> {
        let has_room = if is_dialled {
            !self.vacant.is_empty()
        } else {
            while let Some(index) = self.free.front()
                && !matches!(self.slots[*index], Slot::Taken(_))
            {
                self.free.pop_front();
            }
            !self.free.is_empty()
        };
        has_room.then_some(self.free_since)
    }

    /// Takes the slot on which the next request begins.
    #[inline]
    pub(crate) fn take_room(&mut self, is_dialled: bool) -> Option<usize> {
        if is_dialled {
            self.vacant.pop_front()
        } else {
            self.free.pop_front()
        }
    }

    /// To be dialled again at once.
    pub(crate) fn vacate(&mut self, index: usize, now: u64) {
        if self.vacant.is_empty() {
            self.free_since = now;
        }
        self.slots[index] = Slot::Vacant;
        self.vacant.push_back(index);
    }

    /// Not to be dialled again.
    pub(crate) fn abandon(&mut self, index: usize) {
        self.slots[index] = Slot::Gone;
    }

    /// To be dialled again at `until`; a request that is only delayed began at `began`.
    pub(crate) fn back_off(&mut self, index: usize, until: u64, began: Option<u64>) {
        self.slots[index] = Slot::Backoff { began };
        self.backoff.push_back((until, index));
    }

    /// When the request that was delayed on this slot began.
    pub(crate) fn delayed(&self, index: usize) -> Option<u64> {
        match &self.slots[index] {
            Slot::Backoff { began } => *began,
            _ => None,
        }
    }

    /// Connections whose backoff is over are to be dialled again.
    pub(crate) fn end_backoff(&mut self, now: u64) {
        while let Some((until, index)) = self.backoff.front().copied() {
            if until > now {
                break;
            }
            self.backoff.pop_front();
            // A request that was delayed goes before those that did not begin.
            if self.delayed(index).is_some() {
                self.vacant.push_front(index);
            } else {
                self.vacant.push_back(index);
            }
        }
    }

    /// When the next backoff ends.
    pub(crate) fn next_backoff_end(&self) -> Option<u64> {
        self.backoff.front().map(|(until, _)| *until)
    }

    /// Whether no connection is to be dialled, now or later.
    pub(crate) fn none_to_dial(&self) -> bool {
        self.vacant.is_empty() && self.backoff.is_empty()
    }
}
