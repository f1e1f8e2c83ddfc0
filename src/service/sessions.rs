use crate::turn::ConnId;
use crate::turn::column::{give_back_end, is_oversized};

/// What a service remembers of each of its connections: a column over the reactor's slab, so
/// that one key opens both.
#[derive(Debug)]
pub struct Sessions<T> {
    column: Vec<Option<(u32, T)>>,
    live: usize,
}

impl<T> Default for Sessions<T> {
    fn default() -> Sessions<T> {
        Sessions {
            column: Vec::new(),
            live: 0,
        }
    }
}

impl<T> Sessions<T> {
    /// Remembers `session` for a connection that has none yet.
    pub fn insert(&mut self, id: ConnId, session: T) {
        let slot = id.slot as usize;
        if self.column.len() <= slot {
            self.column.resize_with(slot + 1, || None);
        }
        debug_assert!(
            self.column[slot].is_none(),
            "a slot has one session at a time"
        );
        self.live += 1;
        self.column[slot] = Some((id.generation, session));
    }

    /// The session of this connection, and of no other that had its slot.
    pub fn get(&self, id: ConnId) -> Option<&T> {
        match self.column.get(id.slot as usize)? {
            Some((generation, session)) if *generation == id.generation => Some(session),
            _ => None,
        }
    }

    /// As [`get`](Sessions::get), to change it.
    pub fn get_mut(&mut self, id: ConnId) -> Option<&mut T> {
        match self.column.get_mut(id.slot as usize)? {
            Some((generation, session)) if *generation == id.generation => Some(session),
            _ => None,
        }
    }

    /// Forgets the session, and returns it.
    pub fn remove(&mut self, id: ConnId) -> Option<T> {
        self.get(id)?;
        self.live -= 1;
        let taken = self.column[id.slot as usize].take();
        if is_oversized(self.column.capacity(), self.live) {
            give_back_end(&mut self.column, Option::is_none);
        }
        taken.map(|(_, session)| session)
    }

    /// How many connections have a session.
    pub fn len(&self) -> usize {
        self.live
    }

    /// Whether no connection has one.
    pub fn is_empty(&self) -> bool {
        self.live == 0
    }
}
