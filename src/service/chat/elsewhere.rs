use std::collections::HashMap;

use super::super::history::History;
use super::name::Name;
use super::room::ROOMS_MAX;

/// What is known of rooms that nobody of this server is in.
#[derive(Debug)]
pub(super) struct Elsewhere {
    rooms: HashMap<Name, Known>,
    history_lines: u32,
    /// The memory of their histories, in bytes.
    bytes: usize,
}

/// What is known of one.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) history: History,
    pub(super) topic: String,
}

impl Elsewhere {
    /// None yet; of each, so many lines are to be kept.
    pub(super) fn new(history_lines: u32) -> Elsewhere {
        Elsewhere {
            rooms: HashMap::new(),
            history_lines,
            bytes: 0,
        }
    }

    /// The memory of what is kept, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Lines were said in a room, if there is room for it.
    pub(super) fn keep(&mut self, room: Name, lines: &[u8]) {
        let Some(known) = self.of(room) else {
            return;
        };
        let had = known.history.capacity();
        known.history.keep(lines);
        let has = known.history.capacity();
        self.bytes = self.bytes - had + has;
    }

    /// This is what a room is about from now on.
    pub(super) fn set_topic(&mut self, room: Name, topic: String) {
        if let Some(known) = self.of(room) {
            known.topic = topic;
        }
    }

    /// Nobody of this server is in a room any more, of which this is known.
    pub(super) fn put(&mut self, room: Name, history: &mut History, topic: String) {
        let Some(known) = self.of(room) else {
            return;
        };
        let had = known.history.capacity();
        std::mem::swap(&mut known.history, history);
        known.topic = topic;
        let has = known.history.capacity();
        self.bytes = self.bytes - had + has;
    }

    /// Somebody of this server is in it from now on.
    pub(super) fn take(&mut self, room: Name) -> Option<Known> {
        let known = self.rooms.remove(&room.key())?;
        self.bytes -= known.history.capacity();
        Some(known)
    }

    /// Forgets all of them.
    pub(super) fn forget(&mut self) {
        self.rooms.clear();
        self.bytes = 0;
    }

    fn of(&mut self, room: Name) -> Option<&mut Known> {
        if !self.rooms.contains_key(&room.key()) && self.rooms.len() >= ROOMS_MAX {
            return None;
        }
        let lines = self.history_lines;
        Some(self.rooms.entry(room.key()).or_insert_with(|| Known {
            history: History::new(lines),
            topic: String::new(),
        }))
    }
}
