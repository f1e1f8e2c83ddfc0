use std::fmt;

use super::{Closed, ConnId, Errand, FileNote, Job, Moment, Outbox};
use crate::wire::Encode;

/// A command that a service runs for all its connections together, as long as it has a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broadcast {
    /// The command.
    pub job: Job,
    /// Whether it is started again when it ends.
    pub restarts: bool,
}

/// A service's turn when its own command, or an errand of it, has news: that of no connection.
pub struct BroadcastTurn<'a> {
    /// The loop's clock, read once a turn.
    pub now: Moment,
    outbox: &'a mut Outbox,
    ended: Vec<ConnId>,
    visited: Vec<ConnId>,
    errands: Vec<Errand>,
    notes: Vec<(ConnId, FileNote)>,
}

impl<'a> BroadcastTurn<'a> {
    pub(crate) fn new(now: Moment, outbox: &'a mut Outbox) -> BroadcastTurn<'a> {
        BroadcastTurn {
            now,
            outbox,
            ended: Vec::new(),
            visited: Vec::new(),
            errands: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Writes the same to many: it is in memory once, however many they are.
    pub fn send_all<E: Encode + ?Sized>(
        &mut self,
        to: impl IntoIterator<Item = ConnId>,
        frame: &E,
    ) {
        self.outbox.say(to, |out| frame.encode(out));
    }

    /// Ends a connection when what it is owed has left; what it is sending may be lost.
    pub fn close(&mut self, id: ConnId) {
        if self.outbox.has(id) {
            self.outbox.leave(id.slot, Closed::Done, true);
            self.ended.push(id);
        }
    }

    /// Has a connection's own turn follow, in which the service is [woken](crate::service::Service::wake).
    pub fn visit(&mut self, id: ConnId) {
        self.visited.push(id);
    }

    /// Tells the audit and the counters of a file of this connection, which may be gone.
    pub fn note(&mut self, id: ConnId, note: FileNote) {
        self.notes.push((id, note));
    }

    /// What is told of files.
    pub(crate) fn take_notes(&mut self) -> Vec<(ConnId, FileNote)> {
        std::mem::take(&mut self.notes)
    }

    /// Has a child do this for the service.
    pub fn send_on_errand(&mut self, errand: Errand) {
        self.errands.push(errand);
    }

    /// Connections whose turn follows, and what children are to do.
    pub(crate) fn take_asked(&mut self) -> (Vec<ConnId>, Vec<Errand>) {
        (
            std::mem::take(&mut self.visited),
            std::mem::take(&mut self.errands),
        )
    }

    /// Connections that it has ended: how long each is waited for is to be decided.
    pub(crate) fn into_ended(self) -> Vec<ConnId> {
        self.ended
    }
}

impl fmt::Debug for BroadcastTurn<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BroadcastTurn")
            .field("now", &self.now)
            .finish_non_exhaustive()
    }
}
