use std::net::SocketAddr;

use super::*;
use crate::config::limits::{KEPT_BYTES, KEPT_PLACES};
use crate::service::command::{CommandFraming, Options};
use crate::service::{Chat, Command, Echo, Upper, chat, upper};
use crate::turn::{Exit, Severity};
use crate::wire::LINE_BYTES_MAX;

fn shell(limits: &Limits) -> Command {
    let options = Options {
        framing: CommandFraming::I32,
        ..Options::default()
    };
    Command::new(&options, limits)
}

/// Two command services over one loop that runs two commands at a time.
fn shells(queued: u32) -> (World, [usize; 2]) {
    let limits = Limits {
        commands: 2,
        commands_queued: queued,
        ..Limits::default()
    };
    let mut world = World::with(limits.clone());
    let listeners = [(); 2].map(|()| world.serves(shell(&limits)));
    (world, listeners)
}

/// The lines of the commands that were started, in that order.
fn started(world: &World) -> Vec<&str> {
    let commands = world.reactor.os.commands.iter();
    commands.map(|command| command.line.as_str()).collect()
}

/// Clients of both services, each of whom asked for a command that is its own number.
fn clients(world: &mut World, listeners: [usize; 2], count: usize) -> Vec<usize> {
    let asks = |n: usize| {
        let wire = world.dials(listeners[n % 2]);
        world.says(wire, format!("{n}\n"));
        wire
    };
    (0..count).map(asks).collect()
}

fn ends(world: &mut World, command: usize) {
    world.os().prints(command, b"done");
    world.os().exits(command, Exit::Code(0));
    world.settles();
}

#[test]
fn fault_f19_commands_of_several_endpoints_wait_in_one_line() {
    let (mut world, listeners) = shells(64);
    let wires = clients(&mut world, listeners, 6);
    assert_eq!(started(&world), ["0", "1"]);
    assert_eq!(world.reactor.counters().children_waiting, 4);
    // They end in another order than they began.
    for (command, begun) in [(1, 3), (0, 4), (3, 5), (2, 6)] {
        ends(&mut world, command);
        let expected: Vec<String> = (0..begun).map(|n: usize| n.to_string()).collect();
        assert_eq!(started(&world), expected);
        assert_eq!(world.hears(wires[command]), "\x04\0\0\0done");
    }
    assert_eq!(world.reactor.counters().children_waiting, 0);
}

#[test]
fn fault_f9_of_those_who_wait_only_the_one_who_leaves_runs_nothing() {
    for leaver in 2..6 {
        let (mut world, listeners) = shells(64);
        let wires = clients(&mut world, listeners, 6);
        world.os().resets(wires[leaver]);
        world.settles();
        assert_eq!(world.reactor.counters().children_waiting, 3);
        for command in 0..5 {
            ends(&mut world, command);
        }
        let left = (0..6).filter(|&n| n != leaver);
        let expected: Vec<String> = left.map(|n| n.to_string()).collect();
        assert_eq!(started(&world), expected);
    }
}

#[test]
fn fault_f9_only_the_command_of_the_one_who_leaves_is_killed() {
    for leaver in 0..2 {
        let (mut world, listeners) = shells(64);
        let wires = clients(&mut world, listeners, 3);
        world.os().resets(wires[leaver]);
        world.settles();
        let killed = |world: &World, n: usize| world.reactor.os.commands[n].killed.clone();
        assert_eq!(killed(&world, leaver), [Severity::Force]);
        assert_eq!(killed(&world, 1 - leaver), []);
        // Its place is free only when it has ended.
        assert_eq!(started(&world).len(), 2);
        world.os().exits(leaver, Exit::Signal(9));
        world.settles();
        assert_eq!(started(&world), ["0", "1", "2"]);
        // What is left of its group is killed before its number can be another's.
        assert_eq!(killed(&world, leaver), [Severity::Force; 2]);
        assert!(world.os().commands[leaver].is_reaped);
        ends(&mut world, 1 - leaver);
        assert_eq!(world.hears(wires[1 - leaver]), "\x04\0\0\0done");
    }
}

#[test]
fn fault_f19_a_place_in_the_line_is_free_when_somebody_leaves_it() {
    let (mut world, listeners) = shells(2);
    let wires = clients(&mut world, listeners, 5);
    let busy = "onepoll: busy: as many commands run and wait as may\n";
    assert!(world.hears(wires[4]).ends_with(busy));
    world.os().resets(wires[2]);
    world.settles();
    let late = clients(&mut world, listeners, 2);
    assert_eq!(world.hears(late[0]), "", "it waits");
    assert!(world.hears(late[1]).ends_with(busy));
    assert_eq!(world.reactor.counters().commands_busy, 2);
}

#[test]
fn fault_h1_a_drain_tells_those_who_wait_and_finishes_what_runs() {
    let (mut world, listeners) = shells(64);
    let wires = clients(&mut world, listeners, 4);
    world.os().signal(crate::reactor::Signal::Stop);
    world.settles();
    for &waiting in &wires[2..] {
        assert!(
            world
                .hears(waiting)
                .ends_with("onepoll: the server is stopping\n")
        );
    }
    for command in [1, 0] {
        assert_eq!(world.os().commands[command].killed, []);
        ends(&mut world, command);
        assert_eq!(world.hears(wires[command]), "\x04\0\0\0done");
    }
    assert_eq!(started(&world).len(), 2);
}

#[test]
fn fault_a5_each_listener_has_its_own_number_of_places_and_gets_them_back() {
    let mut world = World::new();
    let places = [2, 1, usize::MAX];
    let listeners =
        places.map(|places| world.serves_with(Echo, |listener| listener.connections_max = places));
    let fill =
        |world: &mut World| listeners.map(|listener| [(); 4].map(|()| world.dials(listener)));
    let open = |world: &World, wires: &[[usize; 4]; 3]| {
        wires.map(|wires| wires.iter().filter(|&&wire| world.is_open(wire)).count())
    };
    let wires = fill(&mut world);
    assert_eq!(open(&world, &wires), [2, 1, 4]);
    assert_eq!(world.reactor.counters().refused.listener_full, 5);
    // One that was refused has taken no place, and one that ends gives its own back, to its listener.
    world.os().ends(wires[0][0]);
    world.settles();
    let again = fill(&mut world);
    assert_eq!(open(&world, &again), [1, 0, 4]);
}

#[test]
fn fault_a20_the_total_is_that_of_all_listeners_together() {
    let mut world = World {
        reactor: Reactor::new(Hand::default(), Limits::default(), 3),
    };
    let listeners = [world.serves(Echo), world.serves(Echo)];
    let wires: Vec<usize> = (0..6).map(|n| world.dials(listeners[n % 2])).collect();
    let open: Vec<bool> = wires.iter().map(|&wire| world.is_open(wire)).collect();
    assert_eq!(open, [true, true, true, false, false, false]);
    world.os().ends(wires[1]);
    world.settles();
    let late = [world.dials(listeners[0]), world.dials(listeners[1])];
    assert_eq!(late.map(|wire| world.is_open(wire)), [true, false]);
    assert_eq!(world.reactor.counters().refused.full, 4);
}

#[test]
fn each_listener_admits_its_own_user() {
    let mut world = World::new();
    let only = [Some(1), Some(2), None];
    let listeners = only.map(|uid| world.serves_with(Echo, |listener| listener.only_uid = uid));
    let admits = |world: &mut World, listener: usize, peer: Peer| {
        let wire = world.dials_as(listener, peer);
        world.is_open(wire)
    };
    for (uid, expected) in [
        (1, [true, false, true]),
        (2, [false, true, true]),
        // Root too is another user.
        (0, [false, false, true]),
    ] {
        let peer = Peer::Local { pid: 7, uid };
        let admitted = listeners.map(|listener| admits(&mut world, listener, peer));
        assert_eq!(admitted, expected, "user {uid}");
    }
    let admitted = listeners.map(|listener| admits(&mut world, listener, Peer::Unknown));
    assert_eq!(admitted, [false, false, true]);
    assert_eq!(world.reactor.counters().refused.other_user, 6);
}

#[test]
fn fault_e8_each_socket_knows_all_ports_of_ours() {
    let mut world = World::new();
    let own: [SocketAddr; 2] = ["127.0.0.1:9000", "[::]:9001"].map(|at| at.parse().unwrap());
    let sockets = [(); 2].map(|()| world.answers(Echo, own.to_vec()));
    for socket in sockets {
        for (from, is_answered) in [
            ("127.0.0.1:9000", false),
            ("127.0.0.1:9001", false),
            ("[::1]:9001", false),
            ("127.0.0.1:9002", true),
            ("192.0.2.1:9000", true),
            ("192.0.2.1:1023", false),
        ] {
            let from: SocketAddr = from.parse().unwrap();
            world.os().writes_to(socket, Ok(b"?"), from);
            world.settles();
            let sent = std::mem::take(&mut world.os().sockets[socket].sent);
            let expected = if is_answered {
                vec![(b"?".to_vec(), from)]
            } else {
                vec![]
            };
            assert_eq!(sent, expected);
        }
    }
    assert_eq!(world.reactor.counters().datagrams_unanswerable, 2 * 4);
}

#[test]
fn fault_e9_one_socket_that_is_flooded_leaves_the_other_its_budget() {
    let limits = Limits {
        datagrams_per_turn: 4,
        ..Limits::default()
    };
    let mut world = World::with(limits);
    let (flooded, quiet) = (world.answers(Echo, vec![]), world.answers(Echo, vec![]));
    let from: SocketAddr = "127.0.0.1:40000".parse().unwrap();
    for _ in 0..1000 {
        world.os().writes_to(flooded, Ok(b"flood"), from);
    }
    world.os().writes_to(quiet, Ok(b"?"), from);
    world.reactor.turn().unwrap();
    world.reactor.turn().unwrap();
    let os = world.os();
    assert_eq!(os.sockets[quiet].sent.len(), 1);
    assert!(os.sockets[flooded].sent.len() <= 8);
    world.settles();
    assert_eq!(world.os().sockets[flooded].sent.len(), 1000);
}

#[test]
fn fault_a6_a_flood_of_connects_leaves_those_who_are_here_their_turn() {
    let mut world = World::new();
    let listeners = [world.serves(Echo), world.serves(Echo)];
    let here = world.dials(listeners[1]);
    const FLOOD: u64 = 2000;
    for _ in 0..FLOOD {
        world.os().dials(listeners[0], CLIENT);
    }
    let late = world.os().dials(listeners[1], CLIENT);
    world.os().says(late, b"late");
    let budget = u64::from(Limits::default().accepts_per_turn);
    let mut turns = 0;
    while world.reactor.counters().connections_opened < FLOOD + 2 {
        let before = world.reactor.counters().connections_opened;
        world.os().says(here, b"?");
        world.reactor.turn().unwrap();
        let accepted = world.reactor.counters().connections_opened - before;
        // One of them at the other listener, which the flood did not shut out.
        assert!(
            (1..=budget + 1).contains(&accepted),
            "{accepted} in turn {turns}"
        );
        assert_eq!(world.hears(here), "?", "in turn {turns}");
        turns += 1;
        if turns == 2 {
            assert_eq!(world.hears(late), "late");
        }
    }
    assert_eq!(turns, FLOOD.div_ceil(budget));
}

#[test]
fn fault_c13_a_flood_of_refusals_is_not_a_flood_of_lines() {
    const FLOOD: u64 = 2000;
    let mut world = World::new();
    let room = world.serves_with(Echo, |listener| listener.connections_max = 1);
    world.passes(SECOND);
    world.dials(room);
    for _ in 0..FLOOD {
        world.dials(room);
    }
    assert_eq!(world.reactor.counters().refused.listener_full, FLOOD);
    // How many were left out is said when the second is over, and once.
    assert_eq!(world.reactor.counters().lines_suppressed, 0);
    world.passes(SECOND);
    let suppressed = world.reactor.counters().lines_suppressed;
    assert!((FLOOD - 100..FLOOD).contains(&suppressed), "{suppressed}");
    world.passes(10 * SECOND);
    world.dials(room);
    assert_eq!(world.reactor.counters().lines_suppressed, suppressed);
}

/// Cannot read what it is sent.
#[derive(Debug)]
struct Panics;

impl Service for Panics {
    fn input(&mut self, _t: &mut Turn<'_>, input: &mut ReadBuf) -> Result<(), Fault> {
        panic!("{} bytes were too many", input.len());
    }
}

/// Connections share a loop: after a panic nobody can vouch for the others, so it is not caught. In the
/// binary it ends the process where it happens (`panic = "abort"`).
#[test]
fn fault_a23_a_panic_for_one_connection_ends_the_loop() {
    let mut world = World::new();
    let (panics, echo) = (world.serves(Panics), world.serves(Echo));
    let (wire, other) = (world.dials(panics), world.dials(echo));
    world.os().says(wire, b"12345");
    world.os().says(other, b"hello");
    let turn = std::panic::AssertUnwindSafe(|| world.reactor.turn());
    let panic = std::panic::catch_unwind(turn).unwrap_err();
    let said = panic.downcast_ref::<String>().unwrap();
    assert_eq!(said, "5 bytes were too many");
    assert!(include_str!("../../../Cargo.toml").contains("\npanic = \"abort\"\n"));
}

#[test]
fn what_a_crowd_of_connections_needed_is_given_back() {
    let mut world = World::new();
    // Each has a wake and a deadline of its own.
    let once = upper::Options {
        once: true,
        ..upper::Options::default()
    };
    let idle = Some(1000 * SECOND);
    let listener = world.serves_with(Upper::new(&once), |listener| listener.idle = idle);
    let stays = world.dials(listener);
    let crowd: Vec<usize> = (0..4 * KEPT_PLACES)
        .map(|_| world.os().dials(listener, CLIENT))
        .collect();
    world.settles();
    assert!(world.reactor.conns.capacity() > 4 * KEPT_PLACES);
    crowd.iter().for_each(|&wire| world.os().says(wire, b"bye"));
    world.settles();
    assert!(world.reactor.wakes.places() > 4 * KEPT_PLACES);
    crowd.iter().for_each(|&wire| world.os().ends(wire));
    // It is given back when the loop comes to rest.
    world.passes(MS);
    assert_eq!(world.reactor.conns.len(), 1);
    let reactor = &world.reactor;
    for (what, capacity) in [
        ("conns", reactor.conns.capacity()),
        ("ready", reactor.ready.capacity()),
        ("fresh", reactor.fresh.capacity()),
        ("dead", reactor.dead.capacity()),
        ("slots", reactor.slots.capacity()),
        ("seen", reactor.seen.capacity()),
        ("deadlines", reactor.deadlines.places()),
        ("wakes", reactor.wakes.places()),
    ] {
        assert!(capacity <= 2 * KEPT_PLACES, "{what}: {capacity}");
    }
    // Who stayed is served as before.
    world.says(stays, "still here\n");
    assert_eq!(world.hears(stays), "STILL HERE\n");
}

#[test]
fn what_a_large_read_behind_half_a_line_needed_is_given_back() {
    let limits = Limits {
        read_per_turn: 16 * KEPT_BYTES,
        ..Limits::default()
    };
    let kept = limits.read_per_turn + KEPT_BYTES;
    let mut world = World::with(limits);
    let room = world.serves(Chat::new(&chat::Options::default(), LINE_BYTES_MAX));
    let wire = world.dials(room);
    world.says(wire, "half ");
    world.says(wire, "a line\n");
    // To read as much behind what was there, it grew to twice its size.
    let grown = world.reactor.input.capacity();
    assert!(grown > kept, "{grown}");
    world.os().ends(wire);
    world.settles();
    world.passes(MS);
    assert!(world.reactor.input.capacity() <= kept);
}

#[test]
fn each_listener_has_its_own_way_with_those_who_do_not_read() {
    for echo_first in [true, false] {
        let limits = Limits {
            chat_soft: 1000,
            chat_hard: 2000,
            out_pause: 5000,
            out_resume: 1000,
            ..Limits::default()
        };
        let mut world = World::with(limits);
        let chat = || Chat::new(&chat::Options::default(), LINE_BYTES_MAX);
        let (echo, room) = if echo_first {
            (world.serves(Echo), world.serves(chat()))
        } else {
            let room = world.serves(chat());
            (world.serves(Echo), room)
        };
        let (talker, member, loud) = (world.dials(echo), world.dials(room), world.dials(room));
        for wire in [talker, member] {
            world.os().takes(wire, 0);
        }
        let line = format!("{}\n", "x".repeat(999));
        for _ in 0..10 {
            world.says(talker, &line);
            world.says(loud, &line);
        }
        // The room lets go of its member; echo waits until its client has read.
        assert!(!world.is_open(member) && world.is_open(talker));
        let owed = world.reactor.counters().owed;
        assert!((5000..7000).contains(&owed), "{owed}");
        world.os().takes(talker, usize::MAX);
        world.settles();
        assert_eq!(world.hears(talker).len(), 10 * 1000);
    }
}

#[test]
fn silences_that_end_in_one_turn_complete_a_burst_each() {
    let once = upper::Options {
        once: true,
        ..upper::Options::default()
    };
    let mut world = World::new();
    let listener = world.serves(Upper::new(&once));
    let wires = [(); 3].map(|()| world.dials(listener));
    for wire in wires {
        world.says(wire, "word");
    }
    world.passes(19 * MS);
    assert_eq!(wires.map(|wire| world.hears(wire)), ["", "", ""]);
    world.passes(MS);
    assert_eq!(wires.map(|wire| world.hears(wire)), ["WORD"; 3]);
}

#[test]
fn fault_b17_what_a_member_said_before_it_went_is_heard_though_it_is_written_to_first() {
    for last in ["goodbye\n", "goodbye\nhalf", "goodbye"] {
        let mut world = World::new();
        let room = world.serves(Chat::new(&chat::Options::default(), LINE_BYTES_MAX));
        let (goes, stays) = (world.dials(room), world.dials(room));
        world.hears(stays);
        // Nothing tells of it before the loop writes to it.
        world.os().goes(goes, last.as_bytes());
        world.says(stays, "hello\n");
        let heard = world.hears(stays);
        assert!(
            heard.contains("guest-1: goodbye\n") || !last.contains('\n'),
            "{heard}"
        );
        assert!(heard.contains("guest-1 left"), "{heard}");
        assert!(world.reactor.os.wires[goes].is_closed && world.is_open(stays));
        assert!(world.reactor.counters().bytes_dropped > 0);
    }
}

#[test]
fn fault_b17_a_connection_whose_service_does_not_ask_for_more_ends_with_the_write_that_fails() {
    let mut world = World::new();
    let echo = world.serves(Echo);
    let wire = world.dials(echo);
    world.os().takes(wire, 0);
    world.says(wire, "hello");
    world.os().goes(wire, b"more");
    world.os().takes(wire, usize::MAX);
    world.settles();
    assert!(world.reactor.os.wires[wire].is_closed);
    assert_eq!(world.reactor.counters().bytes_in, 5);
}
