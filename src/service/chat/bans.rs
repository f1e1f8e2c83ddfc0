use std::collections::VecDeque;
use std::fmt;
use std::net::IpAddr;

use super::name::Name;
use crate::config::Network;

/// How many bans there are at most; what is kept of each is a line.
pub const BANS_MAX: usize = 1024;

/// How many bytes of a reason are kept.
pub const REASON_BYTES_MAX: usize = 160;

/// Who may not be here, as long as the rooms last.
#[derive(Debug, Default)]
pub(super) struct Bans {
    all: VecDeque<Ban>,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Ban {
    pub(super) whom: Banned,
    pub(super) reason: String,
}

/// Whom a ban is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Banned {
    /// Nobody may be called that.
    Name(Name),
    /// Nobody may come from there.
    Source(Network),
}

impl Banned {
    /// What an operator wrote: an address, a prefix of addresses, or a name. A name that is an address is one.
    pub(super) fn parse(text: &[u8]) -> Option<Banned> {
        let source = std::str::from_utf8(text).ok()?.parse();
        match source {
            Ok(network) => Some(Banned::Source(network)),
            Err(_) => Name::parse(text).map(Banned::Name),
        }
    }

    /// Whether the two are the same, whatever the case.
    fn is(&self, other: &Banned) -> bool {
        match (self, other) {
            (Banned::Name(one), Banned::Name(other)) => one.key() == other.key(),
            (one, other) => one == other,
        }
    }
}

impl fmt::Display for Banned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Banned::Name(name) => name.fmt(f),
            Banned::Source(network) => network.fmt(f),
        }
    }
}

impl fmt::Display for Ban {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reason[..] {
            "" => self.whom.fmt(f),
            reason => write!(f, "{} ({reason})", self.whom),
        }
    }
}

impl Bans {
    /// One more, or the same with another reason. Says whether there was room.
    pub(super) fn add(&mut self, ban: Ban) -> bool {
        self.remove(&ban.whom);
        let has_room = self.all.len() < BANS_MAX;
        if has_room {
            self.all.push_back(ban);
        }
        has_room
    }

    /// One less. Says whether there was one.
    pub(super) fn remove(&mut self, whom: &Banned) -> bool {
        let before = self.all.len();
        self.all.retain(|ban| !ban.whom.is(whom));
        self.all.len() < before
    }

    /// Whether this very one is there.
    pub(super) fn has(&self, whom: &Banned) -> bool {
        self.all.iter().any(|ban| ban.whom.is(whom))
    }

    /// Why nobody may be called that.
    pub(super) fn of_name(&self, name: Name) -> Option<&Ban> {
        let mut all = self.all.iter();
        all.find(|ban| matches!(ban.whom, Banned::Name(banned) if banned.key() == name.key()))
    }

    /// Why nobody may come from this address.
    pub(super) fn of_source(&self, ip: IpAddr) -> Option<&Ban> {
        let mut all = self.all.iter();
        all.find(|ban| matches!(ban.whom, Banned::Source(network) if network.contains(ip)))
    }

    /// All, the oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Ban> {
        self.all.iter()
    }

    /// How many.
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ban(whom: &str, reason: &str) -> Ban {
        Ban {
            whom: Banned::parse(whom.as_bytes()).unwrap(),
            reason: reason.into(),
        }
    }

    #[test]
    fn names_and_sources_are_banned_until_they_are_not() {
        let mut bans = Bans::default();
        assert!(bans.add(ban("Eva", "rude")) && bans.add(ban("192.0.2.0/24", "")));
        assert!(bans.add(ban("2001:db8::7", "x")));
        let name = |text: &str| bans.of_name(Name::parse(text.as_bytes()).unwrap());
        assert_eq!(name("eVA").unwrap().to_string(), "Eva (rude)");
        assert!(name("ann").is_none());
        let source = |ip: &str| bans.of_source(ip.parse().unwrap()).map(Ban::to_string);
        assert_eq!(source("192.0.2.200").as_deref(), Some("192.0.2.0/24"));
        assert_eq!(source("2001:db8::7").as_deref(), Some("2001:db8::7 (x)"));
        assert_eq!((source("192.0.3.1"), source("2001:db8::8")), (None, None));
        assert!(bans.add(ban("EVA", "again")));
        assert_eq!(
            bans.iter().map(Ban::to_string).collect::<Vec<_>>()[2],
            "EVA (again)"
        );
        assert!(bans.has(&Banned::parse(b"eva").unwrap()));
        assert!(bans.remove(&Banned::parse(b"eva").unwrap()));
        assert!(!bans.has(&Banned::parse(b"eva").unwrap()));
        assert!(!bans.remove(&Banned::parse(b"eva").unwrap()));
        assert_eq!(bans.len(), 2);
        assert_eq!(Banned::parse(b"e a"), None);
        assert_eq!(Banned::parse(b""), None);
    }

    #[test]
    fn bans_are_bounded() {
        let mut bans = Bans::default();
        (0..BANS_MAX).for_each(|n| assert!(bans.add(ban(&format!("n{n}"), ""))));
        assert!(!bans.add(ban("one-more", "")) && bans.len() == BANS_MAX);
        assert!(bans.add(ban("n7", "again")), "it was there");
    }
}
