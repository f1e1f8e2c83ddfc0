use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use super::answers::Answers;
use super::seen::Seen;
use crate::wire::{IpmsgEncoding, IpmsgEntry};

/// How many people are remembered; then the one that was not heard for longest goes (fault E14).
pub const IPMSG_PEOPLE_MAX: usize = 1024;

/// Somebody at an address, as they say themselves.
#[derive(Debug)]
pub struct IpmsgPerson {
    /// Their names.
    pub entry: IpmsgEntry,
    /// The version that their program says.
    pub version: String,
    /// What they read, if they have shown it.
    pub encoding: Option<IpmsgEncoding>,
    /// Whether they said that they are there; else they only wrote.
    pub has_entered: bool,
    pub(super) heard: Duration,
    pub(super) seen: Seen,
    pub(super) answers: Answers,
}

impl IpmsgPerson {
    pub(super) fn new(entry: IpmsgEntry, version: String) -> IpmsgPerson {
        IpmsgPerson {
            encoding: entry.encoding,
            entry,
            version,
            has_entered: false,
            heard: Duration::ZERO,
            seen: Seen::default(),
            answers: Answers::default(),
        }
    }

    /// Whether somebody means them by that: by nickname, user, or machine.
    pub fn is_called(&self, name: &str) -> bool {
        let IpmsgEntry {
            user, host, nick, ..
        } = &self.entry;
        [user, host, nick].into_iter().any(|own| own == name)
    }
}

/// The people that were heard, by their addresses.
#[derive(Debug, Default)]
pub(super) struct People(BTreeMap<SocketAddr, IpmsgPerson>);

impl People {
    pub(super) fn iter(&self) -> impl Iterator<Item = (&SocketAddr, &IpmsgPerson)> {
        self.0.iter()
    }

    pub(super) fn get(&self, at: SocketAddr) -> Option<&IpmsgPerson> {
        self.0.get(&at)
    }

    pub(super) fn remove(&mut self, at: SocketAddr) -> Option<IpmsgPerson> {
        self.0.remove(&at)
    }

    /// The one at this address, who was just heard; made, if they were not known, at the expense of the one that was
    /// not heard for longest.
    pub(super) fn hear(
        &mut self,
        now: Duration,
        at: SocketAddr,
        made: impl FnOnce() -> IpmsgPerson,
    ) -> (&mut IpmsgPerson, Option<(SocketAddr, IpmsgPerson)>) {
        let is_full = self.0.len() >= IPMSG_PEOPLE_MAX && !self.0.contains_key(&at);
        let oldest = self.0.iter().min_by_key(|(_, person)| person.heard);
        let oldest = oldest.filter(|_| is_full).map(|(at, _)| *at);
        let gone = oldest.and_then(|at| Some((at, self.0.remove(&at)?)));
        let person = self.0.entry(at).or_insert_with(made);
        person.heard = now;
        (person, gone)
    }
}
