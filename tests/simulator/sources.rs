//! Where simulated clients come from, and a listener's own account of which of them it must let in.
//!
//! It knows the places by number and credits by arithmetic of its own: nothing here asks the code that is
//! judged what a network contains, or when a bucket has a token.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use onepoll::reactor::{AddressRules, SourceRules};
use onepoll::service::{Echo, Peer};

use crate::kernel::{MILLI, SECOND};
use crate::play::Play;
use crate::random::Random;

/// A place, as the kernel names it, and the source that it is.
const PLACES: [(&str, char); 8] = [
    ("127.0.0.1", 'l'),
    ("10.0.0.1", 'a'),
    // What IPv4 looks like over a dual-stack socket: the place before.
    ("::ffff:10.0.0.1", 'a'),
    ("10.0.0.2", 'b'),
    ("2001:db8::1", 'c'),
    // Another address of the same /64.
    ("2001:db8::ffff:0:0:2", 'c'),
    ("2001:db8:0:1::1", 'd'),
    ("::ffff:192.0.2.1", 'e'),
];

/// Lists that a listener may have: what is allowed, what is denied, and which places are served.
type Lists = (&'static [&'static str], &'static [&'static str], [bool; 8]);

#[rustfmt::skip]
const LISTS: [Lists; 5] = [
    (&["10.0.0.0/24"], &[], [false, true, true, true, false, false, false, false]),
    (&[], &["10.0.0.1"], [true, false, false, true, true, true, true, true]),
    (&["::/0", "127.0.0.0/8"], &[], [true, false, false, false, true, true, true, false]),
    (&["0.0.0.0/0", "2001:db8::/64"], &["::ffff:10.0.0.0/127"], [true, false, false, true, true, true, false, true]),
    (&[], &["::ffff:192.0.2.0/120", "2001:db8:0:1::/64"], [true, true, true, true, true, true, false, false]),
];

/// A number of [`PLACES`].
pub(crate) type Place = usize;

/// A place that a client comes from; loopback is the first.
pub(crate) fn any_place(random: &mut Random) -> Place {
    random.index(PLACES.len())
}

/// How the kernel names a peer from there.
pub(crate) fn peer(place: Place, port: u16) -> Peer {
    let ip = PLACES[place].0.parse().expect("an address");
    SocketAddr::new(ip, port).into()
}

/// What a listener must do about the places that connections come from, and what has come so far.
#[derive(Debug, Default)]
pub(crate) struct Account {
    served: Option<[bool; 8]>,
    connections_max: Option<u32>,
    /// So many, in so many nanoseconds.
    rate: Option<(u64, u64)>,
    /// By source: connections that are open.
    open: BTreeMap<char, u32>,
    /// By source: nanoseconds of credit, and when that was so.
    credits: BTreeMap<char, (u64, u64)>,
}

/// Why a connection must not be let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Objection {
    SourceFull,
    SourceTooFast,
}

impl Account {
    /// What some listeners have, and the same as the loop is told it.
    pub(crate) fn some(random: &mut Random) -> (Account, SourceRules) {
        let mut rules = SourceRules::default();
        let mut account = Account::default();
        if random.once_in(2) {
            let (allow, deny, served) = random.pick(&LISTS);
            let list = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
            rules.addresses = AddressRules {
                allow: list(allow),
                deny: list(deny),
            };
            account.served = Some(served);
        }
        if random.once_in(2) {
            account.connections_max = Some(1 + random.below(3) as u32);
            rules.connections_max = account.connections_max;
        }
        if random.once_in(2) {
            let (count, per_ms) = (1 + random.below(4), 1 + random.size(5_000) as u64);
            let rate = format!("{count}/{per_ms}ms");
            rules.rate = Some(rate.parse().unwrap());
            let per = Duration::from_millis(per_ms).as_nanos() as u64;
            account.rate = Some((count, per));
        }
        (account, rules)
    }

    /// Its listener gets other rules, and its connections stay. Says the same as the loop is told it.
    pub(crate) fn change(&mut self, random: &mut Random) -> SourceRules {
        let (other, mut rules) = Account::some(random);
        self.served = other.served;
        // Whether a source's connections are counted at all does not change.
        if self.connections_max.is_some() {
            self.connections_max = Some(1 + random.below(3) as u32);
        }
        rules.connections_max = self.connections_max;
        rules.rate = self.rate.map(|(count, per)| {
            let per_ms = per / MILLI;
            format!("{count}/{per_ms}ms").parse().unwrap()
        });
        rules
    }

    /// Whether a connection from there is served; from nowhere, if it was reset or is a Unix socket's.
    pub(crate) fn serves(&self, place: Option<Place>) -> bool {
        self.served
            .is_none_or(|served| place.is_some_and(|place| served[place]))
    }

    /// Why its source may not have it, if so; else it has one more.
    pub(crate) fn counts(&mut self, now: u64, place: Option<Place>) -> Option<Objection> {
        let (_, source) = PLACES[place?];
        let open = self.open.entry(source).or_default();
        if self.connections_max.is_some_and(|max| *open >= max) {
            return Some(Objection::SourceFull);
        }
        if let Some((count, per)) = self.rate {
            let (credit, at) = self.credits.get(&source).copied().unwrap_or((per, now));
            let credit = per.min(credit + (now - at));
            let price = per / count;
            if credit < price {
                return Some(Objection::SourceTooFast);
            }
            self.credits.insert(source, (credit - price, now));
        }
        *open += 1;
        None
    }

    /// One that was counted has ended.
    pub(crate) fn ends(&mut self, place: Place) {
        *self.open.entry(PLACES[place].1).or_default() -= 1;
    }
}

/// Whether connections from there are all of one machine, and no source by itself.
pub(crate) fn is_loopback(place: Place) -> bool {
    PLACES[place].1 == 'l'
}

/// What is held against sources that failed to prove a secret, at whichever listener.
#[derive(Debug, Default)]
pub(crate) struct Debts {
    by_source: BTreeMap<char, Debt>,
}

/// Nanoseconds that run down with the clock.
#[derive(Debug, Clone, Copy, Default)]
struct Debt {
    left: u64,
    at: u64,
    /// It has come to 15 s, and is not run down yet.
    bites: bool,
    /// It did once.
    has_bitten: bool,
}

impl Debt {
    fn run_down(&mut self, now: u64) {
        self.left = self.left.saturating_sub(now - self.at);
        self.at = now;
        self.bites &= self.left > 0;
    }
}

impl Debts {
    /// It has failed again: 5 s more.
    pub(crate) fn fails(&mut self, now: u64, place: Place) {
        let debt = self.by_source.entry(PLACES[place].1).or_default();
        debt.run_down(now);
        debt.left = (debt.left + 5 * SECOND).min(600 * SECOND);
        debt.bites |= debt.left >= 15 * SECOND;
        debt.has_bitten |= debt.bites;
    }

    /// Whether it has failed too often, and whether it had before.
    pub(crate) fn bites(&mut self, now: u64, place: Place) -> (bool, bool) {
        match self.by_source.get_mut(&PLACES[place].1) {
            Some(debt) => {
                debt.run_down(now);
                (debt.bites, debt.has_bitten)
            }
            None => (false, false),
        }
    }

    /// Whether two places are one source.
    pub(crate) fn are_one(one: Place, other: Place) -> bool {
        PLACES[one].1 == PLACES[other].1
    }
}

/// Whether a listener lets in one connection from each place; those that it does stay.
fn lets_in(rules: SourceRules) -> [bool; PLACES.len()] {
    let mut play = Play::directed();
    let listener = play.open_with(Echo, |listener| listener.sources = rules.clone());
    std::array::from_fn(|place| {
        let link = play.dial(listener);
        play.os.net(|net| net.links[link].place = place);
        play.run();
        !play.os.net(|net| net.links[link].closed)
    })
}

#[test]
fn a_mapped_address_is_judged_as_the_ipv4_address_that_it_is() {
    for (allow, deny, served) in LISTS {
        let list = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        let rules = SourceRules {
            addresses: AddressRules {
                allow: list(allow),
                deny: list(deny),
            },
            ..SourceRules::default()
        };
        assert_eq!(lets_in(rules), served, "{allow:?} {deny:?}");
    }
}

#[test]
fn an_ipv6_source_is_a_64_however_many_addresses_it_has() {
    let rules = SourceRules {
        connections_max: Some(1),
        ..SourceRules::default()
    };
    // The first of each source.
    let first = [true, true, false, true, true, false, true, true];
    assert_eq!(lets_in(rules), first);
}
