//! Where connections come from: who is let in by address, and how many of one source.
//!
//! Judged when a connection is accepted, before a byte is read or a slot is taken. Knows addresses and
//! counts; does not know sockets, nor what a service thinks of its peers.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use super::expiring::Expiring;
use super::penalties::Penalties;
use super::refusal::Refusal;
use super::source_key::SourceKey;
use crate::config::limits::{PENALTY_LOGIN_TIMEOUT, PENALTY_WRONG_PROOF, SOURCES_MAX};
use crate::config::{Network, Rate};
use crate::service::Peer;
use crate::turn::{Closed, Moment};

/// Which addresses are served.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AddressRules {
    /// Only these; empty: all.
    pub allow: Vec<Network>,
    /// Not these, whatever is allowed.
    pub deny: Vec<Network>,
}

impl AddressRules {
    /// Whether a peer with this address is served. Where a list is, a peer without an address is not: it
    /// reset its connection before it was accepted, and may have sent something before that.
    pub(super) fn admits(&self, ip: Option<IpAddr>) -> bool {
        let Some(ip) = ip else {
            return self.allow.is_empty() && self.deny.is_empty();
        };
        let is_in = |list: &[Network]| list.iter().any(|network| network.contains(ip));
        !is_in(&self.deny) && (self.allow.is_empty() || is_in(&self.allow))
    }
}

/// Which sources a listener serves, and how much of it one source may have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SourceRules {
    /// By address.
    pub addresses: AddressRules,
    /// Connections of one source at once.
    pub connections_max: Option<u32>,
    /// New connections of one source.
    pub rate: Option<Rate>,
}

/// A source at a listener: each listener counts for itself, and goes on when it is replaced by one with
/// other options. The number is that of its socket.
type Place = (u32, SourceKey);

/// What is remembered of the sources of connections: as little as the rules need, and no longer than they do.
#[derive(Debug)]
pub(super) struct Sources {
    /// Connections now, at listeners that limit them. As many entries as connections, at most.
    connections: HashMap<Place, u32>,
    /// Token buckets that are not full, of listeners that have a rate: each until it is full again.
    buckets: Expiring<Place, ()>,
    /// Of sources that did not log in, at whichever listener.
    penalties: Penalties,
}

impl Default for Sources {
    fn default() -> Sources {
        Sources {
            connections: HashMap::new(),
            buckets: Expiring::new(SOURCES_MAX),
            penalties: Penalties::default(),
        }
    }
}

impl Sources {
    /// Whether one source has as much of a listener as it may; if not, the connection takes its token.
    #[inline]
    pub(super) fn refuses(
        &mut self,
        now: Moment,
        listener: u32,
        rules: &SourceRules,
        peer: &Peer,
    ) -> Option<Refusal> {
        if rules.connections_max.is_none() && rules.rate.is_none() {
            return None;
        }
        self.judge(now, listener, rules, peer)
    }

    fn judge(
        &mut self,
        now: Moment,
        listener: u32,
        rules: &SourceRules,
        peer: &Peer,
    ) -> Option<Refusal> {
        let place = (listener, SourceKey::of(peer)?);
        // Those that come pay for what is forgotten: two for one, so that the table shrinks.
        self.buckets.forget(now, 2);
        let has = self.connections.get(&place).copied().unwrap_or(0);
        match rules {
            _ if rules.connections_max.is_some_and(|max| has >= max) => Some(Refusal::SourceFull),
            _ if !rules.rate.is_none_or(|rate| self.takes(now, place, rate)) => {
                Some(Refusal::SourceTooFast)
            }
            _ => None,
        }
    }

    /// Takes a token of a source's bucket, if there is one.
    ///
    /// A bucket is the moment at which it will be full again (the generic cell rate algorithm of ITU-T I.371:
    /// one number, and nothing to refill): each token puts that off by its share of the time, and less than a
    /// share of room below the whole means that there is no token.
    fn takes(&mut self, now: Moment, place: Place, rate: Rate) -> bool {
        let full = self.buckets.get(now, place).map_or(now, |(full, ())| full);
        let full = full.after(rate.interval());
        let has_token = full.since(now) <= rate.per();
        if has_token {
            self.buckets.set(place, full, ());
        }
        has_token
    }

    /// A connection was let in.
    pub(super) fn opened(&mut self, listener: u32, rules: &SourceRules, peer: &Peer) {
        if let Some(key) = counted_as(rules, peer) {
            *self.connections.entry((listener, key)).or_default() += 1;
        }
    }

    /// Whether this peer's source is not let in, since it has failed to log in too often.
    #[inline]
    pub(super) fn is_penalised(&self, now: Moment, peer: &Peer) -> bool {
        SourceKey::of(peer).is_some_and(|key| self.penalties.bites(now, key))
    }

    /// A connection ends for this reason. Says for how long its source is not let in, if that begins now.
    pub(super) fn penalise(&mut self, now: Moment, peer: &Peer, why: Closed) -> Option<Duration> {
        let penalty = match why {
            Closed::WrongProof => PENALTY_WRONG_PROOF,
            Closed::LoginTimeout => PENALTY_LOGIN_TIMEOUT,
            _ => return None,
        };
        // All users of this machine are one source: one of them must not lock out the others.
        if peer.ip()?.is_loopback() {
            return None;
        }
        self.penalties.add(now, SourceKey::of(peer)?, penalty)
    }

    /// A connection that was let in has ended.
    pub(super) fn closed(&mut self, listener: u32, rules: &SourceRules, peer: &Peer) {
        if let Some(key) = counted_as(rules, peer)
            && let Some(has) = self.connections.get_mut(&(listener, key))
        {
            *has -= 1;
            if *has == 0 {
                self.connections.remove(&(listener, key));
            }
        }
    }

    /// Forgets what no rule needs any more, so many entries at most.
    #[inline]
    pub(super) fn forget(&mut self, now: Moment, most: u32) {
        if self.count() != (0, 0) {
            self.forget_some(now, most);
        }
    }

    #[cold]
    fn forget_some(&mut self, now: Moment, most: u32) {
        if self.buckets.len() > 0 {
            self.buckets.forget(now, most);
        }
        self.penalties.forget(now, most);
    }

    /// When there will be nothing left to remember but of the connections that are here. Until then,
    /// connections that come pay for what is forgotten.
    #[inline]
    pub(super) fn forgets_at(&self) -> Option<Moment> {
        if self.count() == (0, 0) {
            return None;
        }
        self.buckets.last_end().max(self.penalties.last_end())
    }

    /// Gives back what connections that have gone needed.
    pub(super) fn give_back(&mut self) {
        if self.connections.is_empty() {
            self.connections = HashMap::new();
        }
    }

    /// How many buckets there are, and how many penalties.
    pub(super) fn count(&self) -> (usize, usize) {
        (self.buckets.len(), self.penalties.len())
    }

    /// For the invariants: whether these are the connections that are counted, each at its listener and
    /// with its peer.
    pub(super) fn check<'a>(
        &self,
        now: Moment,
        connections: impl Iterator<Item = (u32, &'a SourceRules, &'a Peer)>,
    ) -> Result<(), String> {
        let mut recount = HashMap::new();
        for (listener, rules, peer) in connections {
            if let Some(key) = counted_as(rules, peer) {
                *recount.entry((listener, key)).or_default() += 1;
            }
        }
        if recount != self.connections {
            let (counted, here) = (&self.connections, &recount);
            return Err(format!(
                "I7: by source {counted:?} are counted, and {here:?} are here"
            ));
        }
        if !self.buckets.is_whole() {
            return Err("I7: the table of buckets does not agree with itself".into());
        }
        if !self.penalties.is_whole(now) {
            return Err("I7: the table of penalties does not agree with itself".into());
        }
        Ok(())
    }
}

/// The source of a connection, where those of one source are counted.
fn counted_as(rules: &SourceRules, peer: &Peer) -> Option<SourceKey> {
    rules.connections_max.and_then(|_| SourceKey::of(peer))
}
