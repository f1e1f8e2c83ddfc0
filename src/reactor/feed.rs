//! What commands are fed: bytes on their way into the pipe that is their standard input.
//!
//! Knows one queue for each child and whether its pipe takes more. It never waits for a command that does not
//! read; the service that feeds it limits what is queued.

use super::Reactor;
use super::helper::Owner;
use super::os::Os;
use crate::buf::WriteBuf;
use crate::turn::{ChildEvent, ConnId};

/// The standard input of one child.
#[derive(Debug)]
pub(super) struct Feed<P> {
    end: P,
    queued: WriteBuf,
    /// It may take something: remembered until a write says otherwise.
    ready: bool,
    /// It ends when all that is queued is written.
    is_last: bool,
    /// The poll said that nobody reads it any more.
    is_broken: bool,
    /// It has been full.
    was_full: bool,
    /// More room was asked for.
    is_wide: bool,
}

impl<P> Feed<P> {
    pub(super) fn new(end: P) -> Feed<P> {
        Feed {
            end,
            queued: WriteBuf::default(),
            ready: true,
            is_last: false,
            is_broken: false,
            was_full: false,
            is_wide: false,
        }
    }

    /// The poll has seen it.
    pub(super) fn seen(&mut self, is_broken: bool) {
        self.ready = true;
        self.is_broken |= is_broken;
    }

    /// Whether there is something to be done about it.
    pub(super) fn wants(&self) -> bool {
        self.is_broken || self.ends() || self.ready && !self.queued.is_empty()
    }

    fn ends(&self) -> bool {
        self.is_last && self.queued.is_empty()
    }
}

impl<O: Os> Reactor<O> {
    /// Queues bytes for a connection's command, or drops them if it takes none any more.
    pub(super) fn feed(&mut self, owner: ConnId, bytes: &[u8]) {
        if let Some(feed) = self.feed_of(owner).filter(|feed| !feed.is_last) {
            feed.queued.tail().extend_from_slice(bytes);
        }
    }

    /// Nothing more is queued for it.
    pub(super) fn end_feed(&mut self, owner: ConnId) {
        if let Some(feed) = self.feed_of(owner) {
            feed.is_last = true;
        }
    }

    fn feed_of(&mut self, owner: ConnId) -> Option<&mut Feed<O::Pipe>> {
        let mut running = self.children.running.iter_mut().map(|(_, child)| child);
        let child = running.find(|child| child.owner == Owner::Connection(owner))?;
        child.input.as_mut()
    }

    /// Writes once to the standard input of a child.
    pub(super) fn write_input(&mut self, slot: usize) {
        let child = &mut self.children.running[slot];
        let owner = child.owner;
        let Some(feed) = child.input.as_mut().filter(|feed| feed.wants()) else {
            return;
        };
        let outcome = match &feed.end {
            _ if feed.is_broken || feed.queued.is_empty() => Ok(0),
            end => feed.queued.flush(|bytes| self.os.write_pipe(end, bytes)),
        };
        let is_refused = match &outcome {
            Ok(_) => {
                feed.ready = feed.queued.is_empty();
                feed.is_broken && !feed.ends()
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                feed.ready = false;
                false
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => false,
            // It has closed its standard input, as `head` does: an end, and no error.
            Err(_) => true,
        };
        if !feed.ready && std::mem::replace(&mut feed.was_full, true) && !feed.is_wide {
            // Full once more, so its command reads, and not as fast as there is something. One that never reads
            // gets no more room.
            feed.is_wide = true;
            feed.ready = self.os.widen(&feed.end);
        }
        if is_refused || feed.is_broken || feed.ends() {
            child.input = None;
        }
        let Owner::Connection(owner) = owner else {
            return;
        };
        if let Ok(taken @ 1..) = outcome {
            self.ask_service(owner, |service, turn| {
                service.child(turn, ChildEvent::Took(taken));
            });
        }
        if is_refused {
            self.ask_service(owner, |service, turn| {
                service.child(turn, ChildEvent::InputClosed);
            });
        }
    }
}
