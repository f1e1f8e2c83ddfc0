use std::collections::HashMap;

use super::name::Name;
use crate::turn::ConnId;

/// Operators who hear what is said in rooms without being there, by the names of the rooms: with a bus, some of these
/// have members on other servers only.
#[derive(Debug, Default)]
pub(super) struct Watchers(HashMap<Name, Watched>);

#[derive(Debug)]
struct Watched {
    /// As the room is called by those in it.
    name: Name,
    by: Vec<ConnId>,
}

impl Watchers {
    /// Those of this room.
    pub(super) fn of(&self, room: Name) -> &[ConnId] {
        if self.0.is_empty() {
            return &[];
        }
        let watched = self.0.get(&room.key());
        watched.map_or(&[], |watched| &watched.by)
    }

    /// Somebody watches a room from now on, who does not yet.
    pub(super) fn add(&mut self, room: Name, id: ConnId) {
        let new = || Watched {
            name: room,
            by: Vec::new(),
        };
        self.0.entry(room.key()).or_insert_with(new).by.push(id);
    }

    /// Somebody watches a room no more; whether they did.
    pub(super) fn remove(&mut self, room: Name, id: ConnId) -> bool {
        let watches = self.of(room).contains(&id);
        if watches {
            self.retain(|key, by| by != id || key != room.key());
        }
        watches
    }

    /// The rooms that somebody watches, by name.
    pub(super) fn watched_by(&self, id: ConnId) -> Vec<Name> {
        let watched = self.0.values().filter(|watched| watched.by.contains(&id));
        let mut names: Vec<Name> = watched.map(|watched| watched.name).collect();
        names.sort_by(|one, other| one.as_bytes().cmp(other.as_bytes()));
        names
    }

    /// Somebody has left.
    pub(super) fn forget(&mut self, id: ConnId) {
        self.retain(|_, by| by != id);
    }

    /// A room is there no more.
    pub(super) fn room_is_gone(&mut self, room: Name) {
        self.0.remove(&room.key());
    }

    fn retain(&mut self, keeps: impl Fn(Name, ConnId) -> bool) {
        self.0.retain(|key, watched| {
            watched.by.retain(|&by| keeps(*key, by));
            !watched.by.is_empty()
        });
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
