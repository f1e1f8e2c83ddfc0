use std::io;

use super::incoming::Incoming;
use super::os::{Os, Readiness};
use super::transport::{RECORD_BYTES_MAX, Secured};
use crate::buf::ReadBuf;
use crate::service::Peer;
use crate::turn::{Closed, ConnId, Outbox};

/// A carry up to this size is copied in front of the next read; a larger one is read into
/// directly, or a frame that comes byte by byte would be copied once per byte.
const CARRY_COPIED_MAX: usize = 4 * 1024;

/// One connection. At rest it owns no buffer: the entry here, its lane in the outbox, and a
/// timer if it has one, are all there is; and its session, unless it is plain.
#[derive(Debug)]
pub(super) struct Connection<S> {
    pub(super) stream: S,
    pub(super) generation: u32,
    pub(super) peer: Peer,
    /// Which listener it came through.
    pub(super) listener: u16,
    pub(super) stage: Stage,
    pub(super) input: Input,
    /// Whether it has a place on the ready queue, which it keeps when it is paused meanwhile.
    pub(super) queued: bool,
    /// What has come and is not a whole frame, while there is something.
    pub(super) carry: Option<Box<ReadBuf>>,
    /// What opens its input and seals its output; none: a plain connection.
    pub(super) secured: Option<Box<Secured>>,
    /// Whether the service has not seen all of the carry: its budget was spent, or it held the input.
    pub(super) unserved: bool,
    pub(super) incoming: Incoming,
    /// Whether a write was short: the socket is full, and an edge will tell when it is not.
    pub(super) full: bool,
    /// What it must do in time, whatever else it does.
    pub(super) must: Must,
}

/// What a connection must do in time. One byte for both, so that a message of a connection that must
/// do nothing costs one look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Must {
    Nothing,
    /// Be made at all: it was dialled, and is answered, or its session is there.
    Connect,
    /// Log in: counted, and with a deadline from when it was accepted, which nothing puts off.
    LogIn,
    /// Take some of what it is owed, which is more than the soft limit.
    CatchUp,
    /// Send the rest of a record of its session, as it would of a frame.
    EndRecord,
}

/// Where a connection stands.
///
/// ```text
/// dial ──> Connecting ── refused, or in vain ──> Dead
///              │
///              v     ┌───────────── reset, failed write, no progress ───────────┐
///                    │                                                          v
/// accept ──> Open ──┴─ close / fault / eof, then all is sent ──┬─ drained ──> Dead ──> reaped
///                                                               v               ^
///                                                           Lingering ──────────┘
///                                              FIN came, enough discarded, or 2 s
/// ```
///
/// One with a session is `Handshaking` before it is `Open`: from the start if it was accepted, and from when its service
/// begins one if it was dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Dialled, and nobody has answered. Its service does not know of it.
    Connecting,
    /// Its session has begun, and its service is told when it is there.
    Handshaking {
        /// How much was read, in bytes.
        heard: u32,
    },
    /// Served. The outbox knows whether it is already leaving, which is: still owed something.
    Open {
        /// Since when a frame or a record has been incomplete, in seconds of the loop's clock, 32
        /// bits of them; 0: none is.
        begun: u32,
    },
    /// Everything was said and writing is shut down; what still comes is discarded, since closing
    /// with unread input sends a reset, and a reset destroys what is still on its way.
    Lingering {
        why: Closed,
        /// How much was discarded, in bytes.
        discarded: u32,
    },
    /// Closed in this turn, freed at its end: no slot is used again within a batch of events.
    Dead { why: Closed },
}

/// The reading half: at the end of a turn it is in exactly one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Input {
    /// For an edge: the last read proved that there is nothing.
    Waiting,
    /// On the ready queue.
    Queued,
    /// Not read, for a reason that has a wake-up.
    Paused(Pause),
    /// The end was read, and the service knows.
    Ended,
}

/// Why a connection is not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pause {
    /// It asks faster than it reads; flushing what it is owed wakes it.
    Owed,
    /// Its service asked; [`resume`](crate::turn::Turn::resume) wakes it.
    Held,
    /// It is leaving, and what it still says is not wanted; it has a deadline on progress.
    Leaving,
}

impl<S> Connection<S> {
    pub(super) fn new(stream: S, generation: u32, peer: Peer, listener: u16) -> Connection<S> {
        Connection {
            stream,
            generation,
            peer,
            listener,
            stage: Stage::Open { begun: 0 },
            input: Input::Waiting,
            queued: false,
            carry: None,
            secured: None,
            unserved: false,
            // The poll does not watch it yet: what came with the connection is found by reading.
            incoming: Incoming::Perhaps,
            full: false,
            must: Must::Nothing,
        }
    }

    pub(super) fn is(&self, id: ConnId) -> bool {
        self.generation == id.generation
    }

    /// Its id: only the slab knows its slot.
    pub(super) fn id(&self, slot: u32) -> ConnId {
        ConnId {
            slot,
            generation: self.generation,
        }
    }

    pub(super) fn is_dead(&self) -> bool {
        matches!(self.stage, Stage::Dead { .. })
    }

    /// Whether it is owed more than the soft limit.
    pub(super) fn is_behind(&self) -> bool {
        self.must == Must::CatchUp
    }

    /// Whether it has not logged in.
    pub(super) fn is_logging_in(&self) -> bool {
        self.must == Must::LogIn
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self.stage, Stage::Open { .. })
    }

    /// What it must do when it has logged in and is owed little.
    pub(super) fn must_besides(&self) -> Must {
        if self.unopened() > 0 {
            Must::EndRecord
        } else {
            Must::Nothing
        }
    }

    /// Bytes that came of a record of its session that has not ended.
    fn unopened(&self) -> usize {
        let secured = self.secured.as_ref();
        secured.map_or(0, |secured| secured.session.unopened())
    }

    /// Bytes that came of what has begun and not ended: a frame, a record of its session, or both.
    pub(super) fn incomplete(&self) -> usize {
        self.carry.as_ref().map_or(0, |carry| carry.len()) + self.unopened()
    }

    /// What has begun and not ended began only now.
    pub(super) fn begins_anew(&mut self) {
        if let Stage::Open { begun } = &mut self.stage {
            *begun = 0;
        }
    }

    /// Whether its peer has ended its input, and its service could know.
    pub(super) fn has_ended(&self) -> bool {
        match self.incoming {
            // It may have come with what the service was not given yet.
            Incoming::Over => self.input == Input::Ended,
            incoming => incoming.has_ended(),
        }
    }

    /// How many bytes more than it reads at once it may open: the rest of a record.
    pub(super) fn opens_besides(&self) -> usize {
        match self.secured {
            None => 0,
            Some(_) => RECORD_BYTES_MAX,
        }
    }

    /// Whether the last write took some of its session's records.
    pub(super) fn has_moved(&self) -> bool {
        self.secured
            .as_ref()
            .is_some_and(|secured| secured.has_moved)
    }

    /// Whether its service was told of it.
    pub(super) fn is_known(&self) -> bool {
        self.was_made() && self.is_opened()
    }

    /// Whether there was a connection: one that was dialled may never have been answered, or its session may not have
    /// come about.
    pub(super) fn was_made(&self) -> bool {
        self.must != Must::Connect
    }

    fn is_opened(&self) -> bool {
        self.secured.as_ref().is_none_or(|secured| secured.is_open)
    }

    /// Remembers what the poll saw; says whether there is something new to read.
    pub(super) fn learn(&mut self, seen: Readiness) -> bool {
        self.incoming = self.incoming.after_edge(seen);
        self.incoming.may_have_more()
    }

    /// The memory of its input that was not understood yet, in bytes.
    #[inline]
    pub(super) fn carried(&self) -> usize {
        self.carry.as_ref().map_or(0, |carry| carry.capacity())
    }

    /// The memory of all its buffers but those of the outbox, in bytes.
    pub(super) fn buffered(&self) -> usize {
        let secured = self.secured.as_ref().map_or(0, |secured| secured.counted);
        self.carried() + secured
    }

    /// Counts the buffers of its session anew.
    pub(super) fn recount(&mut self, outbox: &mut Outbox) {
        if let Some(secured) = &mut self.secured {
            let (was, is) = secured.recount();
            outbox.resized(was, is);
        }
    }

    /// The buffer to read into: the carry where it is, or everything in front of the shared one.
    pub(super) fn take_input(&mut self, shared: &mut ReadBuf) -> ReadBuf {
        match &mut self.carry {
            Some(carry) if carry.len() > CARRY_COPIED_MAX => std::mem::take(&mut **carry),
            Some(carry) => {
                shared.clear();
                shared.push(carry.unread());
                carry.clear();
                std::mem::take(shared)
            }
            None => {
                shared.clear();
                std::mem::take(shared)
            }
        }
    }

    /// Keeps what is still unread, and gives the shared buffer back.
    pub(super) fn keep_input(&mut self, input: ReadBuf, shared: &mut ReadBuf, was_own: bool) {
        match (was_own, input.is_empty()) {
            (true, true) => self.carry = None,
            (true, false) => *self.carry.get_or_insert_default().as_mut() = input,
            (false, empty) => {
                if empty {
                    self.carry = None;
                } else {
                    self.carry.get_or_insert_default().push(input.unread());
                }
                *shared = input;
            }
        }
    }

    /// Whether the next read goes into the connection's own buffer.
    pub(super) fn reads_into_its_own(&self) -> bool {
        self.carry
            .as_ref()
            .is_some_and(|carry| carry.len() > CARRY_COPIED_MAX)
    }

    /// The socket fills the read buffer, unless there is nothing to read or the service has not seen
    /// all that was: then it is not asked, and there is no number.
    pub(super) fn fill<O: Os<Stream = S>>(
        &mut self,
        os: &mut O,
        into: &mut ReadBuf,
        room: usize,
    ) -> io::Result<Option<usize>> {
        if self.incoming.may_have_more() && !self.unserved {
            self.read(os, into, room).map(Some)
        } else {
            Ok(None)
        }
    }

    /// Reads once, `room` bytes at most, and learns from the answer.
    pub(super) fn read<O: Os<Stream = S>>(
        &mut self,
        os: &mut O,
        into: &mut ReadBuf,
        room: usize,
    ) -> io::Result<usize> {
        match into.fill(room, |room| os.read(&self.stream, room)) {
            Ok(n) => {
                self.incoming = self.incoming.after_read(n, room);
                Ok(n)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.incoming = Incoming::Nothing;
                Ok(0)
            }
            // A signal came in between; the readiness stands.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
            Err(error) => Err(error),
        }
    }

    /// Writes what its service answered with from where it lies in the read buffer; what the socket
    /// does not take is kept in its lane. Says how many bytes it took.
    pub(super) fn write_lent(
        &mut self,
        outbox: &mut Outbox,
        slot: u32,
        input: &mut ReadBuf,
        write: impl FnOnce(&mut Connection<S>, &[u8]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let lent = input.lent();
        if lent.is_empty() {
            return Ok(0);
        }
        outbox.lent(lent.len());
        let written = write(self, lent);
        if let Ok(n) = written
            && n < lent.len()
        {
            outbox.keep(slot, &lent[n..]);
            outbox.mark_dirty(slot);
        }
        input.repay();
        written
    }

    /// Writes once, and remembers if the socket is full.
    pub(super) fn write<O: Os<Stream = S>>(
        &mut self,
        os: &mut O,
        bytes: &[u8],
    ) -> io::Result<usize> {
        if self.full || bytes.is_empty() {
            return Ok(0);
        }
        loop {
            match os.write(&self.stream, bytes) {
                Ok(n) => {
                    self.full = n < bytes.len();
                    return Ok(n);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.full = true;
                    return Ok(0);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;

    use super::*;

    fn connection() -> Connection<()> {
        Connection::new((), 1, Peer::Unknown, 0)
    }

    /// Reads these bytes, and leaves all but the first so many unread.
    fn reads(conn: &mut Connection<()>, shared: &mut ReadBuf, bytes: &[u8], taken: usize) {
        let own = conn.reads_into_its_own();
        let mut input = conn.take_input(shared);
        input.push(bytes);
        input.consume(taken);
        conn.keep_input(input, shared, own);
    }

    #[test]
    fn a_connection_that_was_read_empty_owns_no_buffer() {
        let (mut conn, mut shared) = (connection(), ReadBuf::default());
        for len in [1, CARRY_COPIED_MAX, CARRY_COPIED_MAX + 1, 100_000] {
            reads(&mut conn, &mut shared, &vec![0; len], 0);
            assert_eq!(conn.carry.as_ref().map(|carry| carry.len()), Some(len));
            reads(&mut conn, &mut shared, b"end", len + 3);
            assert!(conn.carry.is_none(), "after {len} bytes");
            reads(&mut conn, &mut shared, &vec![0; len], len);
            assert!(conn.carry.is_none());
        }
    }

    #[test]
    fn fault_b1_a_long_frame_that_comes_byte_by_byte_is_not_copied_with_each() {
        let (mut conn, mut shared) = (connection(), ReadBuf::default());
        let lies = |conn: &Connection<()>| conn.carry.as_ref().unwrap().unread().as_ptr();
        // Once it has read as much as this, its storage need not grow for a while.
        reads(&mut conn, &mut shared, &[0; 50_000], 0);
        reads(&mut conn, &mut shared, &[0; 20_000], 0);
        reads(&mut conn, &mut shared, &[0; 20_000], 30_000);
        reads(&mut conn, &mut shared, &[0], 0);
        let first = lies(&conn);
        for _ in 0..1000 {
            reads(&mut conn, &mut shared, &[0], 0);
            assert_eq!(lies(&conn), first);
        }
    }

    #[test]
    fn half_a_frame_costs_its_own_bytes_and_not_the_buffer_that_it_was_read_into() {
        for half in [1, CARRY_COPIED_MAX] {
            let (mut conn, mut shared) = (connection(), ReadBuf::default());
            for read in [half, 0] {
                let own = conn.reads_into_its_own();
                let mut input = conn.take_input(&mut shared);
                input.fill(1 << 20, |_| Ok(read)).unwrap();
                conn.keep_input(input, &mut shared, own);
            }
            let carry = conn.carry.unwrap();
            assert_eq!(carry.len(), half);
            let capacity = carry.capacity();
            assert!(capacity <= 2 * CARRY_COPIED_MAX, "{half}: {capacity}");
        }
    }

    #[test]
    fn what_a_socket_takes_whole_leaves_nothing_to_keep() {
        let (mut conn, mut outbox, mut input) =
            (connection(), Outbox::default(), ReadBuf::default());
        outbox.open(conn.id(0));
        input.push(b"answer");
        input.lend();
        let taken = conn.write_lent(&mut outbox, 0, &mut input, |_, bytes| Ok(bytes.len()));
        assert_eq!(taken.unwrap(), 6);
        assert!(!outbox.is_dirty(0) && !outbox.owns_for_nothing(0));
    }

    #[test]
    fn connections_share_a_buffer_and_none_of_what_is_in_it() {
        let (mut one, mut other, mut shared) = (connection(), connection(), ReadBuf::default());
        for (a, b) in [(10, 20), (5000, 20), (10, 6000), (7000, 8000)] {
            reads(&mut one, &mut shared, &vec![1; a], 0);
            reads(&mut other, &mut shared, &vec![2; b], 0);
            reads(&mut one, &mut shared, &[1], 0);
            reads(&mut other, &mut shared, &[2], 0);
            for (conn, byte, len) in [(&mut one, 1, a + 1), (&mut other, 2, b + 1)] {
                assert_eq!(conn.carry.as_ref().unwrap().unread(), vec![byte; len]);
                reads(conn, &mut shared, b"", len);
            }
        }
    }

    #[test]
    fn a_connection_at_rest_is_small() {
        assert!(
            size_of::<Connection<OwnedFd>>() <= 64,
            "{}",
            size_of::<Connection<OwnedFd>>()
        );
        assert_eq!(
            size_of::<Option<Connection<OwnedFd>>>(),
            size_of::<Connection<OwnedFd>>()
        );
    }
}
