use std::collections::HashMap;

use super::super::history::History;
use super::name::Name;
use super::room::ROOMS_MAX;

/// What is known of rooms that nobody of this server is in.
#[derive(Debug)]
pub(super) struct Elsewhere {
    rooms: HashMap<Name, Known>,
    history_lines: u32,
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
        }
    }

    /// What is known of a room, if there is room for it.
    pub(super) fn of(&mut self, room: Name) -> Option<&mut Known> {
        if !self.rooms.contains_key(&room.key()) && self.rooms.len() >= ROOMS_MAX {
            return None;
        }
        let lines = self.history_lines;
        Some(self.rooms.entry(room.key()).or_insert_with(|| Known {
            history: History::new(lines),
            topic: String::new(),
        }))
    }

    /// The memory of their histories, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.rooms
            .values()
            .map(|known| known.history.capacity())
            .sum()
    }

    /// Somebody of this server is in it from now on.
    pub(super) fn take(&mut self, room: Name) -> Option<Known> {
        self.rooms.remove(&room.key())
    }

    /// Forgets all of them.
    pub(super) fn forget(&mut self) {
        self.rooms.clear();
    }
}
