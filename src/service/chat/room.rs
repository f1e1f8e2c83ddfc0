use std::collections::HashMap;
use std::ops::{Index, IndexMut};

use slab::Slab;

use super::super::history::History;
use super::name::Name;
use crate::turn::ConnId;

/// How many rooms there may be at once: a list of them stays readable, and their histories bounded.
pub const ROOMS_MAX: usize = 1024;

/// The room everybody enters first. It is always there.
const LOBBY: &[u8] = b"lobby";

/// Where people hear each other.
#[derive(Debug)]
pub(super) struct Room {
    /// As the first member wrote it.
    pub(super) name: Name,
    /// In no order. A member knows its seat, so coming and going cost the same however many sit.
    pub(super) members: Vec<ConnId>,
    /// What it is about, if somebody said so.
    pub(super) topic: String,
    pub(super) history: History,
}

impl Room {
    /// Everybody in the room but one.
    pub(super) fn others(&self, one: ConnId) -> impl Iterator<Item = ConnId> + Clone {
        self.members.iter().copied().filter(move |&id| id != one)
    }
}

/// A room among the rooms; void once it has vanished.
pub(super) type RoomKey = usize;

/// All rooms: the lobby, and those somebody is in.
#[derive(Debug)]
pub(super) struct Rooms {
    rooms: Slab<Room>,
    by_name: HashMap<Name, RoomKey>,
    history_lines: u32,
}

impl Rooms {
    /// The lobby's key.
    pub(super) const LOBBY: RoomKey = 0;

    /// The lobby alone; each room is to keep this many lines of history.
    pub(super) fn new(history_lines: u32) -> Rooms {
        let mut rooms = Rooms {
            rooms: Slab::new(),
            by_name: HashMap::new(),
            history_lines,
        };
        let name = Name::parse(LOBBY).expect("the lobby's name is one");
        let key = rooms.find_or_make(name);
        debug_assert_eq!(key, Some(Rooms::LOBBY), "a slab begins at zero");
        rooms
    }

    /// The room of this name, made if need be; `None` if there are too many already.
    pub(super) fn find_or_make(&mut self, name: Name) -> Option<RoomKey> {
        let found = self.find(name);
        if found.is_some() || self.rooms.len() >= ROOMS_MAX {
            return found;
        }
        let key = self.rooms.insert(Room {
            name,
            members: Vec::new(),
            topic: String::new(),
            history: History::new(self.history_lines),
        });
        self.by_name.insert(name.key(), key);
        Some(key)
    }

    /// The room of this name.
    pub(super) fn find(&self, name: Name) -> Option<RoomKey> {
        self.by_name.get(&name.key()).copied()
    }

    /// Forgets a room that nobody is in, unless it is the lobby; says how much memory its history had.
    pub(super) fn vanish_if_empty(&mut self, key: RoomKey) -> usize {
        if key == Rooms::LOBBY || !self[key].members.is_empty() {
            return 0;
        }
        let room = self.rooms.remove(key);
        self.by_name.remove(&room.name.key());
        room.history.capacity()
    }

    /// The memory of all histories, in bytes.
    pub(super) fn history_capacity(&self) -> usize {
        self.iter().map(|room| room.history.capacity()).sum()
    }

    /// Forgets what was said, in every room.
    pub(super) fn forget_histories(&mut self) {
        for (_, room) in &mut self.rooms {
            room.history.clear();
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.rooms.len()
    }

    /// Every room, the lobby first.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Room> {
        self.rooms.iter().map(|(_, room)| room)
    }
}

impl Index<RoomKey> for Rooms {
    type Output = Room;

    fn index(&self, key: RoomKey) -> &Room {
        &self.rooms[key]
    }
}

impl IndexMut<RoomKey> for Rooms {
    fn index_mut(&mut self, key: RoomKey) -> &mut Room {
        &mut self.rooms[key]
    }
}
