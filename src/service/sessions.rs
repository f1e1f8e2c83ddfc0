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

    /// All of them, in no order that says anything.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.column.iter().flatten().map(|(_, session)| session)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::limits::KEPT_PLACES;

    fn id(slot: u32, generation: u32) -> ConnId {
        ConnId { slot, generation }
    }

    #[test]
    fn places_of_connections_that_have_gone_are_given_back() {
        let many = 16 * u32::try_from(KEPT_PLACES).unwrap();
        let mut sessions = Sessions::default();
        (0..many).for_each(|slot| sessions.insert(id(slot, 1), [0_u64; 8]));
        assert_eq!(sessions.len(), many as usize);
        // One that stays at the front keeps nothing behind it.
        (1..many)
            .rev()
            .for_each(|slot| assert!(sessions.remove(id(slot, 1)).is_some()));
        assert_eq!(sessions.len(), 1);
        assert!(
            sessions.column.capacity() <= 2 * KEPT_PLACES,
            "{}",
            sessions.column.capacity()
        );
        assert!(sessions.get(id(0, 1)).is_some());
    }

    #[test]
    fn a_key_of_another_generation_opens_and_removes_nothing() {
        let mut sessions = Sessions::default();
        sessions.insert(id(3, 7), "mine");
        for other in [id(3, 6), id(3, 8), id(2, 7), id(4, 7)] {
            assert_eq!(sessions.get(other), None);
            assert_eq!(sessions.get_mut(other), None);
            assert_eq!(sessions.remove(other), None);
        }
        assert_eq!(
            (sessions.len(), sessions.remove(id(3, 7))),
            (1, Some("mine"))
        );
        assert!(sessions.is_empty());
    }
}
