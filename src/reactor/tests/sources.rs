use super::*;
use crate::config::limits::SOURCES_MAX;
use crate::reactor::{Refused, SourceRules};
use crate::service::{Chat, Echo, Manner, Upper, chat, upper};
use crate::wire::LINE_BYTES_MAX;

fn peer(at: &str) -> Peer {
    at.parse::<SocketAddr>().unwrap().into()
}

fn addresses(allow: &[&str], deny: &[&str]) -> AddressRules {
    let list = |list: &[&str]| list.iter().map(|text| text.parse().unwrap()).collect();
    AddressRules {
        allow: list(allow),
        deny: list(deny),
    }
}

fn guarded(world: &mut World, sources: SourceRules) -> usize {
    world.serves_with(Echo, |listener| listener.sources = sources)
}

/// Whether a connection from there is let in; it stays.
fn admits(world: &mut World, listener: usize, from: &str) -> bool {
    let wire = world.dials_as(listener, peer(from));
    world.is_open(wire)
}

fn refused(world: &World) -> Refused {
    world.reactor.counters().refused
}

#[test]
fn what_is_denied_is_denied_whatever_is_allowed() {
    let inside = "192.0.2.9:1";
    for (allow, deny, outside, expected) in [
        (&[][..], &[][..], "198.51.100.1:1", [true, true]),
        (&["192.0.2.0/24"], &[], "198.51.100.1:1", [true, false]),
        (&[], &["192.0.2.0/24"], "198.51.100.1:1", [false, true]),
        (
            &["192.0.2.0/24"],
            &["192.0.2.9"],
            "192.0.2.8:1",
            [false, true],
        ),
        (
            &["192.0.2.9"],
            &["192.0.2.0/24"],
            "192.0.2.8:1",
            [false, false],
        ),
        (
            &["2001:db8::/32", "192.0.2.9"],
            &[],
            "[2001:db8::1]:1",
            [true, true],
        ),
        (&["::/0"], &[], "[2001:db8::1]:1", [false, true]),
    ] {
        let mut world = World::new();
        let rules = SourceRules {
            addresses: addresses(allow, deny),
            ..SourceRules::default()
        };
        let listener = guarded(&mut world, rules);
        let found = [inside, outside].map(|from| admits(&mut world, listener, from));
        assert_eq!(found, expected, "{allow:?} {deny:?}");
        let count = expected.iter().filter(|is| !**is).count() as u64;
        assert_eq!(refused(&world).denied, count);
        assert_eq!(world.reactor.counters().connections_opened, 2 - count);
    }
}

#[test]
fn a_mapped_address_is_judged_as_the_ipv4_address_that_it_is() {
    for (allow, deny, mapped, plain_v6) in [
        (&["192.0.2.0/24"][..], &[][..], true, false),
        (&[], &["192.0.2.0/24"], false, true),
        (&["::ffff:192.0.2.0/120"], &[], true, false),
        (&[], &["::ffff:192.0.2.7"], false, true),
        (&["::/0"], &[], false, true),
        (&[], &["::/0"], true, false),
    ] {
        let mut world = World::new();
        let rules = SourceRules {
            addresses: addresses(allow, deny),
            ..SourceRules::default()
        };
        let listener = guarded(&mut world, rules);
        // Over a socket that is both families', and over one of its own.
        for from in ["[::ffff:192.0.2.7]:5", "192.0.2.7:5"] {
            assert_eq!(
                admits(&mut world, listener, from),
                mapped,
                "{allow:?} {deny:?}"
            );
        }
        let v6 = admits(&mut world, listener, "[2001:db8::c000:207]:5");
        assert_eq!(v6, plain_v6, "{allow:?} {deny:?}");
    }
    // Nor is the source another one.
    let mut world = World::new();
    let rules = SourceRules {
        connections_max: Some(1),
        ..SourceRules::default()
    };
    let listener = guarded(&mut world, rules);
    assert!(admits(&mut world, listener, "[::ffff:192.0.2.7]:5"));
    assert!(!admits(&mut world, listener, "192.0.2.7:5"));
    assert!(admits(&mut world, listener, "[::ffff:192.0.2.8]:5"));
}

#[test]
fn an_address_that_is_not_served_is_told_nothing_and_takes_nothing() {
    let mut world = World {
        reactor: Reactor::new(Hand::default(), Limits::default(), 1),
    };
    let chat = Chat::new(&chat::Options::default(), LINE_BYTES_MAX);
    let room = world.serves_with(chat, |listener| {
        listener.sources.addresses = addresses(&[], &["192.0.2.0/24"]);
        listener.sources.rate = Some("1/d".parse().unwrap());
    });
    let denied = world.os().dials(room, peer("192.0.2.1:1"));
    world.os().says(denied, b"hello\n");
    world.settles();
    assert!(!world.is_open(denied));
    assert_eq!(world.hears(denied), "");
    assert_eq!(world.reactor.counters().bytes_in, 0);
    assert_eq!(world.reactor.counters().sources, 0);
    // The one place is free.
    let member = world.dials_as(room, peer("198.51.100.1:1"));
    assert!(world.is_open(member));
    let late = world.dials_as(room, peer("198.51.100.2:1"));
    assert!(world.hears(late).starts_with("* the server has"));
    // Whether there is room is not told to one that is not served.
    let denied = world.dials_as(room, peer("192.0.2.1:1"));
    assert_eq!(world.hears(denied), "");
    let counts = refused(&world);
    assert_eq!((counts.denied, counts.full), (2, 1));
}

#[test]
fn a_peer_that_the_kernel_does_not_name_is_not_served_where_there_is_a_list() {
    for (allow, deny, expected) in [
        (&[][..], &[][..], true),
        (&["0.0.0.0/0", "::/0"], &[], false),
        (&[], &["192.0.2.1"], false),
    ] {
        let mut world = World::new();
        let listener = world.serves_with(Echo, |listener| {
            listener.sources.addresses = addresses(allow, deny);
        });
        let wire = world.dials_as(listener, Peer::Unknown);
        assert_eq!(world.is_open(wire), expected);
    }
}

#[test]
fn one_source_has_so_many_connections_at_each_listener_and_gets_them_back() {
    let mut world = World::new();
    let rules = SourceRules {
        connections_max: Some(2),
        ..SourceRules::default()
    };
    let listeners = [(); 2].map(|()| guarded(&mut world, rules.clone()));
    let free = world.serves(Echo);
    let sources = ["192.0.2.1:1", "192.0.2.2:1", "[2001:db8::1]:1"];
    let mut wires = Vec::new();
    for listener in listeners {
        for from in sources {
            for expected in [true, true, false, false] {
                let wire = world.dials_as(listener, peer(from));
                assert_eq!(world.is_open(wire), expected, "{from}");
                wires.push(wire);
            }
        }
    }
    // Another address of the same /64 is the same source; another /64 is not.
    assert!(!admits(&mut world, listeners[0], "[2001:db8::ffff:2]:1"));
    assert!(admits(&mut world, listeners[0], "[2001:db8:0:1::1]:1"));
    (0..5).for_each(|_| assert!(admits(&mut world, free, sources[0])));
    assert_eq!(refused(&world).source_full, 13);
    world.os().ends(wires[0]);
    world.settles();
    assert!(admits(&mut world, listeners[0], sources[0]));
    assert!(!admits(&mut world, listeners[0], sources[0]));
    assert!(!admits(&mut world, listeners[1], sources[0]));
}

#[test]
fn one_that_has_too_many_is_told_so() {
    let mut world = World::new();
    let chat = Chat::new(&chat::Options::default(), LINE_BYTES_MAX);
    let room = world.serves_with(chat, |listener| {
        listener.sources.connections_max = Some(1);
        listener.sources.rate = Some("2/s".parse().unwrap());
    });
    let first = world.dials_as(room, peer("192.0.2.1:1"));
    let second = world.dials_as(room, peer("192.0.2.1:2"));
    assert_eq!(
        world.hears(second),
        "* this address has as many connections as one may have\n"
    );
    world.os().ends(first);
    world.settles();
    let third = world.dials_as(room, peer("192.0.2.1:3"));
    assert!(world.is_open(third), "one that was refused took no token");
    world.os().ends(third);
    world.settles();
    let fourth = world.dials_as(room, peer("192.0.2.1:4"));
    assert_eq!(
        world.hears(fourth),
        "* this address connects more often than one may\n"
    );
    let counts = refused(&world);
    assert_eq!((counts.source_full, counts.source_too_fast), (1, 1));
}

#[test]
fn a_rate_lets_so_many_in_at_once_and_then_one_in_its_share_of_the_time() {
    let mut world = World::new();
    let rules = SourceRules {
        rate: Some("4/s".parse().unwrap()),
        ..SourceRules::default()
    };
    let (one, other) = (
        guarded(&mut world, rules.clone()),
        guarded(&mut world, rules),
    );
    let let_in = |world: &mut World, listener: usize, from: &str| {
        (0..10).filter(|_| admits(world, listener, from)).count()
    };
    world.passes(SECOND);
    let (source, neighbour) = ("192.0.2.1:1", "192.0.2.2:1");
    assert_eq!(let_in(&mut world, one, source), 4);
    // Trying again takes nothing, and others have tokens of their own, as each listener has.
    assert_eq!(let_in(&mut world, one, source), 0);
    assert_eq!(let_in(&mut world, one, neighbour), 4);
    assert_eq!(let_in(&mut world, other, source), 4);
    world.passes(249 * MS);
    assert_eq!(let_in(&mut world, one, source), 0);
    world.passes(MS);
    assert_eq!(let_in(&mut world, one, source), 1);
    world.passes(500 * MS);
    assert_eq!(let_in(&mut world, one, source), 2);
    world.passes(60 * SECOND);
    assert_eq!(
        let_in(&mut world, one, source),
        4,
        "a bucket is never more than full"
    );
}

#[test]
fn buckets_are_forgotten_when_they_are_full_again_also_when_nobody_comes() {
    let mut world = World::new();
    let once = upper::Options {
        once: true,
        ..upper::Options::default()
    };
    let listener = world.serves_with(Upper::new(&once), |listener| {
        listener.sources.rate = Some("2/10s".parse().unwrap());
    });
    for n in 0..1000_u16 {
        let [high, low] = n.to_be_bytes();
        let at = SocketAddr::from(([10, 0, high, low], 1));
        let wire = world.os().dials(listener, at.into());
        world.os().ends(wire);
    }
    world.settles();
    assert_eq!(world.reactor.counters().sources, 1000);
    world.passes(5 * SECOND - MS);
    assert_eq!(world.reactor.counters().sources, 1000);
    // The loop wakes by itself, and a turn forgets no more than its budget of timers.
    world.passes(MS);
    assert_eq!(world.reactor.counters().sources, 1000 - 256);
    (0..3).for_each(|_| world.settles());
    assert_eq!(world.reactor.counters().sources, 0);
    assert_eq!(world.reactor.sources.forgets_at(), None);
}

#[test]
fn connections_that_come_forget_more_buckets_than_they_make() {
    let mut world = World::new();
    let rules = SourceRules {
        rate: Some("1/s".parse().unwrap()),
        ..SourceRules::default()
    };
    let listener = guarded(&mut world, rules);
    // A second of each, and the loop never comes to rest.
    for n in 0..600_u16 {
        let [high, low] = n.to_be_bytes();
        let at = SocketAddr::from(([10, 0, high, low], 1));
        let wire = world.os().dials(listener, at.into());
        world.os().ends(wire);
        world.passes(5 * MS);
    }
    let remembered = world.reactor.counters().sources;
    assert!((180..=220).contains(&remembered), "{remembered}");
}

#[test]
fn however_many_sources_there_are_the_table_is_bounded() {
    let mut sources = crate::reactor::sources::Sources::default();
    let rules = SourceRules {
        rate: Some("2/d".parse().unwrap()),
        ..SourceRules::default()
    };
    let mut takes = |n: u32, now: u64| {
        let from = Peer::V4(Ipv4Addr::from_bits(n), 1);
        let now = crate::turn::Moment::from_nanos(now);
        sources.refuses(now, 0, &rules, &from).is_none()
    };
    // One that has taken all of its tokens is remembered longer than those that took one.
    assert!(takes(0, 0) && takes(0, 0) && !takes(0, 0));
    let many = u32::try_from(SOURCES_MAX).unwrap() + 1000;
    assert!((1..many).all(|n| takes(n, u64::from(n))));
    assert!(!takes(0, u64::from(many)));
    assert_eq!(sources.count(), (SOURCES_MAX, 0));
}

#[test]
fn datagrams_of_addresses_that_are_not_served_are_dropped_and_counted() {
    let mut world = World::new();
    let socket = world.answers_with(Echo, |options| {
        options.addresses = addresses(&["192.0.2.0/24", "2001:db8::/32"], &["192.0.2.9"]);
    });
    for (from, is_answered) in [
        ("192.0.2.1:5000", true),
        ("192.0.2.9:5000", false),
        ("[::ffff:192.0.2.1]:5000", true),
        ("[::ffff:192.0.2.9]:5000", false),
        ("198.51.100.1:5000", false),
        ("[2001:db8::1]:5000", true),
        ("[2001:db9::1]:5000", false),
    ] {
        let from: SocketAddr = from.parse().unwrap();
        world.os().writes_to(socket, Ok(b"?"), from);
        world.settles();
        let sent = std::mem::take(&mut world.os().sockets[socket].sent);
        assert_eq!(sent.len(), usize::from(is_answered), "{from}");
    }
    let counters = world.reactor.counters();
    assert_eq!(counters.datagrams_denied, 4);
    assert_eq!((counters.datagrams_in, counters.datagrams_out), (7, 3));
}

/// Lets in whoever says "yes".
#[derive(Debug)]
struct Doorman;

impl Service for Doorman {
    fn open(&mut self, t: &mut Turn<'_>, _peer: &Peer) {
        t.reply(&b"?"[..]);
    }

    fn input(&mut self, t: &mut Turn<'_>, input: &mut ReadBuf) -> Result<(), Fault> {
        let says_yes = input.unread() == b"yes";
        input.consume(input.len());
        if !says_yes {
            return Err(Fault::WrongProof);
        }
        t.admit();
        Ok(())
    }

    fn manner(&self) -> Manner {
        Manner {
            is_gated: true,
            ..Manner::ANSWERS
        }
    }
}

/// Dials from there, and says so; it is gone at once.
fn answers(world: &mut World, door: usize, from: Peer, answer: &str) -> usize {
    let wire = world.dials_as(door, from);
    if world.is_open(wire) {
        world.says(wire, answer);
        world.os().ends(wire);
        world.settles();
    }
    wire
}

#[test]
fn fault_d15_a_source_that_guesses_is_closed_at_accept_before_it_is_asked() {
    let mut world = World::new();
    let (door, other, free) = (
        world.serves(Doorman),
        world.serves(Doorman),
        world.serves(Echo),
    );
    let (guesses, neighbour) = (peer("192.0.2.1:1"), peer("192.0.2.2:1"));
    let inside = world.dials_as(door, guesses);
    world.says(inside, "yes");
    for _ in 0..3 {
        let wire = answers(&mut world, door, guesses, "no");
        assert_eq!(world.hears(wire), "?");
    }
    let counters = world.reactor.counters();
    assert_eq!((counters.closed.wrong_proof, counters.penalties), (3, 1));
    // From here on it is not asked, whatever it would say, and at whichever endpoint that asks.
    for at in [door, other] {
        let wire = world.dials_as(at, guesses);
        assert!(!world.is_open(wire));
        assert_eq!(world.hears(wire), "");
    }
    assert_eq!(refused(&world).penalised, 2);
    // Others are, and where nobody is asked nobody is refused; who is inside stays.
    let wire = answers(&mut world, door, neighbour, "yes");
    assert_eq!(world.hears(wire), "?");
    assert!(admits(&mut world, free, "192.0.2.1:1"));
    assert!(world.is_open(inside));
    world.passes(15 * SECOND - MS);
    assert!(!admits(&mut world, door, "192.0.2.1:1"));
    world.passes(MS);
    assert!(admits(&mut world, door, "192.0.2.1:1"));
    assert_eq!(world.reactor.counters().penalties, 0, "it is forgotten");
}

#[test]
fn fault_d15_who_is_silent_until_the_deadline_pays_for_it_too() {
    let mut world = World::new();
    let door = world.serves(Doorman);
    let silent = peer("[2001:db8::1]:1");
    let wires = [(); 2].map(|()| world.dials_as(door, silent));
    world.passes(Limits::default().login_timeout);
    assert!(!wires.iter().any(|&wire| world.is_open(wire)));
    let counters = world.reactor.counters();
    assert_eq!((counters.closed.login_timeout, counters.penalties), (2, 1));
    // So do those of its /64.
    assert!(!admits(&mut world, door, "[2001:db8::2]:1"));
    assert!(admits(&mut world, door, "[2001:db8:0:1::1]:1"));
    world.passes(20 * SECOND);
    assert!(admits(&mut world, door, "[2001:db8::2]:1"));
}

#[test]
fn fault_d15_who_makes_the_end_of_its_connection_last_gains_nothing() {
    let mut world = World::new();
    let door = world.serves(Doorman);
    let guesses = peer("192.0.2.1:1");
    for n in 0..3 {
        let wire = world.dials_as(door, guesses);
        if n == 1 {
            // It takes nothing of what it is told.
            world.os().takes(wire, 0);
        }
        world.says(wire, "no");
        if n == 2 {
            world.os().resets(wire);
            world.settles();
        }
    }
    assert_eq!(world.reactor.counters().penalties, 1);
    assert!(!admits(&mut world, door, "192.0.2.1:1"));
}

#[test]
fn fault_d15_loopback_and_unix_sockets_have_no_penalties() {
    let mut world = World::new();
    let door = world.serves(Doorman);
    for from in [
        peer("127.0.0.1:1"),
        peer("127.9.9.9:1"),
        peer("[::1]:1"),
        peer("[::ffff:127.0.0.1]:1"),
        Peer::Local { pid: 7, uid: 1000 },
        Peer::Unknown,
    ] {
        for _ in 0..20 {
            answers(&mut world, door, from, "no");
        }
        let wire = answers(&mut world, door, from, "yes");
        assert_eq!(world.hears(wire), "?", "{from}");
    }
    let counters = world.reactor.counters();
    assert_eq!((counters.penalties, counters.refused.penalised), (0, 0));
    assert_eq!(counters.closed.wrong_proof, 120);
}

#[test]
fn fault_d15_what_ends_for_other_reasons_costs_nothing() {
    let mut world = World::new();
    let door = world.serves(Doorman);
    let from = peer("192.0.2.1:1");
    for n in 0..20 {
        let wire = world.dials_as(door, from);
        match n % 3 {
            0 => world.os().resets(wire),
            1 => world.says(wire, "yes"),
            _ => {
                world.says(wire, "yes");
                world.os().ends(wire);
            }
        }
        world.settles();
    }
    let counters = world.reactor.counters();
    assert_eq!((counters.penalties, counters.refused.penalised), (0, 0));
}
