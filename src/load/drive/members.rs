//! The connections of a fan-out: a slot for each member, and the last one for the sender.

use crate::load::exchange::line_matcher::LineMatcher;
use crate::load::net::dial::Stream;
use crate::load::net::handshake::Handshake;

/// Where a connection may be; one that failed is not replaced.
///
/// ```text
/// Vacant -> Dialling -> Taken -> Gone
///       `---------`-------------^
/// ```
#[derive(Debug)]
pub(crate) enum MemberSlot {
    /// To be dialled.
    Vacant,
    /// Not known to be connected, or still answering the challenge of the server.
    Dialling {
        stream: Stream,
        since: u64,
        proving: Option<Handshake>,
    },
    /// Connected.
    Taken(MemberConnection),
    /// It failed.
    Gone,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct MemberConnection {
    pub(crate) stream: Stream,
    /// Whether its budget was spent, so that it is read again before anything else happens.
    pub(crate) is_unread: bool,
    /// How many bytes of the hello were sent.
    pub(crate) hello_sent: usize,
    /// The sender's is not used: whether a server sends it its own lines back is left to the server.
    pub(crate) matcher: LineMatcher,
}

/// All slots, and the sums over them.
#[derive(Debug)]
pub(crate) struct Members {
    slots: Box<[MemberSlot]>,
    /// Those from here on are vacant: they are dialled one after the other, the sender last.
    vacant: usize,
    pub(crate) dialling: usize,
    /// Members that are connected.
    pub(crate) members: usize,
}

impl Members {
    /// For so many members and a sender.
    pub(crate) fn new(members: usize) -> Self {
        Self {
            slots: (0..=members).map(|_| MemberSlot::Vacant).collect(),
            vacant: 0,
            dialling: 0,
            members: 0,
        }
    }

    /// The slot of the sender.
    pub(crate) fn sender(&self) -> usize {
        self.slots.len() - 1
    }

    /// The slots of the members.
    pub(crate) fn listeners(&self) -> usize {
        self.slots.len() - 1
    }

    /// All slots.
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// The next slot to dial for.
    pub(crate) fn vacant(&self) -> Option<usize> {
        (self.vacant < self.slots.len()).then_some(self.vacant)
    }

    pub(crate) fn slot(&self, index: usize) -> &MemberSlot {
        &self.slots[index]
    }

    pub(crate) fn slot_mut(&mut self, index: usize) -> &mut MemberSlot {
        &mut self.slots[index]
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, index: usize) -> Option<&mut MemberConnection> {
        match self.slots.get_mut(index) {
            Some(MemberSlot::Taken(conn)) => Some(conn),
            _ => None,
        }
    }

    /// Whether the sender is connected.
    pub(crate) fn has_sender(&self) -> bool {
        matches!(self.slots[self.sender()], MemberSlot::Taken(_))
    }

    /// The vacant slot's connection is on the way.
    pub(crate) fn dial(&mut self, stream: Stream, since: u64) {
        self.slots[self.vacant] = MemberSlot::Dialling {
            stream,
            since,
            proving: None,
        };
        self.vacant += 1;
        self.dialling += 1;
    }

    /// One on the way has arrived, before line `due` is said.
    pub(crate) fn arrive(&mut self, index: usize, due: u64) {
        let MemberSlot::Dialling { stream, .. } =
            std::mem::replace(&mut self.slots[index], MemberSlot::Gone)
        else {
            return;
        };
        self.slots[index] = MemberSlot::Taken(MemberConnection {
            stream,
            is_unread: false,
            hello_sent: 0,
            matcher: LineMatcher::new(due),
        });
        self.dialling -= 1;
        self.members += usize::from(index != self.sender());
    }

    /// Closes a connection and takes it out of the sums; hands out what it has received, if it was a
    /// member. The only place where one ends.
    pub(crate) fn leave(&mut self, index: usize) -> Option<LineMatcher> {
        match std::mem::replace(&mut self.slots[index], MemberSlot::Gone) {
            MemberSlot::Vacant => self.vacant += 1,
            MemberSlot::Dialling { .. } => self.dialling -= 1,
            MemberSlot::Taken(conn) if index != self.sender() => {
                self.members -= 1;
                return Some(conn.matcher);
            }
            MemberSlot::Taken(_) | MemberSlot::Gone => {}
        }
        None
    }
}
