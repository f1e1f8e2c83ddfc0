use std::collections::VecDeque;
use std::net::SocketAddr;

use super::*;
use crate::buf::ReadBuf;
use crate::config::Written;
use crate::config::limits::{HELPER_BYTES_MAX, HELPER_COMPLAINT_BYTES_MAX};
use crate::reactor::{Cut, Helped, ListenerId, News, ServiceId, Signal, SourceRules};
use crate::service::upper::Options as UpperOptions;
use crate::service::{Chat, Command, Echo, Peer, Set, Terms, Upper, chat};
use crate::turn::{Exit, Fault, Severity, Turn};

/// The nth socket, which listens, and what the reactor calls it.
fn opens(world: &mut World, service: impl Service + 'static) -> (usize, ListenerId) {
    let service = world.reactor.add(Box::new(service));
    let socket = world.os().listener();
    let options = ListenerOptions::to(service);
    let id = world.reactor.listen(socket, options).unwrap();
    world.settles();
    (socket, id)
}

/// The same socket gets another service.
fn becomes(world: &mut World, id: ListenerId, service: impl Service + 'static) -> ListenerId {
    let service = world.reactor.add(Box::new(service));
    changes(world, id, service, |_| {})
}

fn changes(
    world: &mut World,
    id: ListenerId,
    service: ServiceId,
    change: impl FnOnce(&mut ListenerOptions),
) -> ListenerId {
    let mut options = ListenerOptions::to(service);
    change(&mut options);
    let id = world.reactor.replace(id, options).unwrap();
    world.settles();
    id
}

fn upper() -> Upper {
    Upper::new(&UpperOptions::default())
}

fn room() -> Chat {
    Chat::new(&chat::Options::default(), 65_536)
}

#[test]
fn connections_keep_the_service_through_which_they_came() {
    let mut world = World::new();
    let (socket, id) = opens(&mut world, Echo);
    let before = world.dials(socket);
    let id = becomes(&mut world, id, upper());
    let between = world.dials(socket);
    becomes(&mut world, id, Echo);
    let after = world.dials(socket);
    for (wire, expected) in [(before, "a\n"), (between, "A\n"), (after, "a\n")] {
        world.says(wire, "a\n");
        assert_eq!(world.hears(wire), expected);
    }
    assert!(!world.os().listeners[socket].is_closed);
}

#[test]
fn a_connection_that_waits_to_be_accepted_is_served_by_what_comes() {
    let mut world = World::new();
    let (socket, id) = opens(&mut world, Echo);
    let held = world.dials(socket);
    // It comes in the same turn as the change, before it was accepted.
    let waits = world.os().dials(socket, CLIENT);
    becomes(&mut world, id, upper());
    world.says(waits, "a\n");
    world.says(held, "a\n");
    assert_eq!(world.hears(waits), "A\n");
    assert_eq!(world.hears(held), "a\n");
}

#[test]
fn a_listener_that_retires_accepts_its_queue_and_its_connections_go_on() {
    let mut world = World::new();
    let (socket, id) = opens(&mut world, Echo);
    let before = world.dials(socket);
    let waits = world.os().dials(socket, CLIENT);
    world.reactor.retire(id);
    world.settles();
    assert!(world.os().listeners[socket].is_closed);
    world.passes(1000 * SECOND);
    for wire in [before, waits] {
        world.says(wire, "a");
        assert_eq!(world.hears(wire), "a");
        assert!(world.is_open(wire));
    }
}

#[test]
fn a_room_stays_when_its_listener_gets_other_options() {
    let mut world = World::new();
    let (socket, id) = opens(&mut world, room());
    let ann = world.dials(socket);
    world.says(ann, "/nick ann\n");
    let (service, _) = world.reactor.service_of(id);
    changes(&mut world, id, service, |options| {
        options.idle = Some(SECOND);
    });
    let bob = world.dials(socket);
    world.hears(ann);
    world.says(bob, "hello\n");
    assert_eq!(world.hears(ann), "guest-2: hello\n");
    // The deadline is for those that came after it.
    world.passes(2 * SECOND);
    assert!(world.is_open(ann) && !world.is_open(bob));
}

#[test]
fn those_who_came_before_a_change_count_for_the_limit_of_a_listener() {
    let mut world = World::new();
    let (socket, mut id) = opens(&mut world, Echo);
    let (service, _) = world.reactor.service_of(id);
    let mut wires = VecDeque::new();
    for _ in 0..3 {
        wires.push_back(world.dials(socket));
        id = changes(&mut world, id, service, |options| {
            options.connections_max = 3;
        });
    }
    for _ in 0..3 {
        let one_more = world.dials(socket);
        assert!(!world.is_open(one_more));
        let leaves = wires.pop_front().unwrap();
        world.os().ends(leaves);
        world.settles();
        let instead = world.dials(socket);
        assert!(world.is_open(instead));
        wires.push_back(instead);
    }
}

#[test]
fn those_who_came_before_a_change_count_for_the_limit_of_their_source() {
    let mut world = World::new();
    let (socket, mut id) = opens(&mut world, Echo);
    let (service, _) = world.reactor.service_of(id);
    for kept in [true, true, false] {
        id = changes(&mut world, id, service, |options| {
            options.sources = SourceRules {
                connections_max: Some(2),
                ..SourceRules::default()
            };
        });
        let wire = world.dials(socket);
        assert_eq!(world.is_open(wire), kept);
    }
}

#[test]
fn fault_h3_ten_thousand_changes_leave_no_more_behind_than_one() {
    let mut world = World::new();
    let (socket, mut id) = opens(&mut world, Echo);
    let stays = world.dials(socket);
    let asker: SocketAddr = "127.0.0.1:40000".parse().unwrap();
    let mut datagrams = None;
    for n in 0..10_000 {
        id = becomes(&mut world, id, upper());
        let passes = world.dials(socket);
        let (other, vanishes) = opens(&mut world, Echo);
        let visitor = world.dials(other);
        world.reactor.retire(vanishes);
        if let Some(old) = datagrams.take() {
            world.reactor.retire_datagrams(old);
        }
        let mailbox = world.os().socket();
        datagrams = Some(world.answers_at(mailbox, Echo, |_| {}));
        world.os().writes_to(mailbox, Ok(b"a"), asker);
        world.settles();
        assert_eq!(world.os().sockets[mailbox].sent.len(), 1, "{n}");
        world.says(visitor, "a");
        assert_eq!(world.hears(visitor), "a");
        for leaves in [passes, visitor] {
            world.os().ends(leaves);
            world.settles();
        }
        let reactor = &world.reactor;
        // Two of each while one takes the place of the other, and one for a visitor.
        assert!(reactor.listeners.len() <= 4, "{n}: {reactor:?}");
        assert!(reactor.services.len() <= 4, "{n}");
        assert!(reactor.datagrams.len() <= 2, "{n}");
        assert!(reactor.answerers.len() <= 2, "{n}");
    }
    let open = world.reactor.os.listeners.iter().filter(|l| !l.is_closed);
    assert_eq!(open.count(), 1);
    let open = world.reactor.os.sockets.iter().filter(|s| !s.is_closed);
    assert_eq!(open.count(), 1);
    world.says(stays, "a");
    assert_eq!(world.hears(stays), "a");
    // What was counted stays counted, also of endpoints that are gone.
    let counters = world.reactor.counters();
    assert_eq!(counters.connections_opened, 20_001);
    assert_eq!(counters.connections_closed, 20_000);
    assert_eq!((counters.bytes_in, counters.datagrams_in), (10_001, 10_000));
}

#[test]
fn a_datagram_socket_gets_another_service() {
    let mut world = World::new();
    let asker: SocketAddr = "127.0.0.1:40000".parse().unwrap();
    let mailbox = world.os().socket();
    let id = world.answers_at(mailbox, Echo, |_| {});
    let service = world.reactor.add_datagrams(Box::new(upper()));
    let options = DatagramOptions {
        name: "datagrams".into(),
        service,
        own: vec![],
        addresses: Default::default(),
    };
    world.reactor.replace_datagrams(id, options);
    world.os().writes_to(mailbox, Ok(b"a"), asker);
    world.settles();
    assert_eq!(world.os().sockets[mailbox].sent, [(b"A".to_vec(), asker)]);
    assert_eq!(world.reactor.vacant_answerers, [0]);
}

#[test]
fn other_limits_hold_for_those_who_are_here() {
    let mut world = World::new();
    let echo = world.serves(Echo);
    let wire = world.dials(echo);
    world.os().takes(wire, 0);
    world.says(wire, vec![b'a'; 5000]);
    let limits = Limits {
        out_pause: 1000,
        out_resume: 500,
        frame: 1,
        read_per_turn: 1,
        ..Limits::default()
    };
    world.reactor.change_limits(limits, 1);
    world.settles();
    let heard = world.reactor.looks().map(|look| look.state).next();
    assert_eq!(heard, Some(crate::reactor::State::PausedOwed));
    // These two stay.
    let Limits {
        frame,
        read_per_turn,
        ..
    } = Limits::default();
    let now = &world.reactor.limits;
    assert_eq!((now.frame, now.read_per_turn), (frame, read_per_turn));
    let one_more = world.dials(echo);
    assert!(!world.is_open(one_more), "one connection in all");
    world.os().takes(wire, 10_000);
    world.settles();
    assert_eq!(world.hears(wire).len(), 5000);
}

/// What came of a helper.
fn helped(world: &mut World) -> Helped {
    match world.reactor.news.pop_front() {
        Some(News::Helper(helped)) => helped,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_helper_takes_no_place_of_a_command_and_its_output_comes_whole() {
    let mut world = World::with(Limits {
        commands: 1,
        commands_queued: 0,
        ..Limits::default()
    });
    let shell = Command::new(&Default::default(), &Limits::default());
    let shell = world.serves(shell);
    let wire = world.dials(shell);
    world.reactor.help(&["reads".into()], SECOND).unwrap();
    assert!(world.reactor.help(&[], SECOND).is_err(), "one at a time");
    world.says(wire, "a command\n");
    let commands = &world.reactor.os.commands;
    let lines: Vec<&str> = commands.iter().map(|c| c.line.as_str()).collect();
    assert_eq!(lines, ["reads", "a command"]);
    for _ in 0..1000 {
        world.os().prints(0, &[b'x'; 1000]);
        world.settles();
    }
    world.os().exits(0, Exit::Code(7));
    world.settles();
    let helped = helped(&mut world);
    assert_eq!(helped.out.len(), 1_000_000);
    assert_eq!((helped.exit, helped.cut), (Exit::Code(7), None));
    assert!(world.os().commands[0].is_reaped);
    assert!(world.reactor.help(&[], SECOND).is_ok());
}

#[test]
fn a_helper_that_takes_too_long_or_says_too_much_is_killed() {
    let mut world = World::new();
    world.reactor.help(&[], SECOND).unwrap();
    world.passes(SECOND - MS);
    assert_eq!(world.os().commands[0].killed, []);
    world.passes(MS);
    assert_eq!(world.os().commands[0].killed, [Severity::Force]);
    world.os().exits(0, Exit::Signal(9));
    world.settles();
    assert_eq!(helped(&mut world).cut, Some(Cut::TooLate));

    world.reactor.help(&[], 1000 * SECOND).unwrap();
    for _ in 0..=HELPER_BYTES_MAX / (1 << 20) {
        assert_eq!(world.os().commands[1].killed, []);
        world.os().prints(1, &[b'x'; 1 << 20]);
        world.settles();
    }
    assert_eq!(world.os().commands[1].killed, [Severity::Force]);
    world.os().exits(1, Exit::Signal(9));
    world.settles();
    let helped = helped(&mut world);
    assert_eq!(helped.cut, Some(Cut::TooLong));
    assert!(helped.out.len() <= HELPER_BYTES_MAX);
    assert!(helped.err.len() <= HELPER_COMPLAINT_BYTES_MAX);
}

#[test]
fn what_a_helper_wrote_does_not_stay_in_a_buffer_that_others_use() {
    let mut world = World::new();
    world.reactor.help(&[], SECOND).unwrap();
    world.os().prints(0, b"a secret");
    world.settles();
    let shared = &world.reactor.children;
    assert!(!format!("{shared:?}").contains("97, 32, 115, 101"), "a se");
    world.os().exits(0, Exit::Code(0));
    world.settles();
    assert_eq!(helped(&mut world).out.as_slice(), b"a secret");
}

#[test]
fn the_alarm_rings_once_at_its_moment() {
    let mut world = World::new();
    let at = world.reactor.now().after(SECOND);
    world.reactor.alarm_at(Some(at));
    world.passes(SECOND - MS);
    assert!(world.reactor.news.is_empty());
    world.passes(10 * SECOND);
    let news = std::mem::take(&mut world.reactor.news);
    let news: Vec<News> = news.into_iter().collect();
    assert!(matches!(news[..], [News::Alarm]), "{news:?}");
    world.os().signal(Signal::Reload);
    world.os().signal(Signal::Stop);
    world.settles();
    let news = std::mem::take(&mut world.reactor.news);
    let news: Vec<News> = news.into_iter().collect();
    assert!(
        matches!(news[..], [News::Reload, News::Stopping]),
        "{news:?}"
    );
}

/// The set of rooms of this name.
fn rooms(name: &str) -> Set {
    Set {
        service: "chat",
        name: name.into(),
        options: Written::default(),
    }
}

/// Another socket of the same set.
fn shares(world: &mut World, name: &str) -> (usize, ListenerId, ServiceId) {
    let service = world.reactor.share(rooms(name), Box::new(room()));
    let socket = world.os().listener();
    let options = ListenerOptions::to(service);
    let id = world.reactor.listen(socket, options).unwrap();
    world.settles();
    (socket, id, service)
}

#[test]
fn listeners_of_a_set_have_one_value_which_goes_with_the_last_member() {
    let mut world = World::new();
    let (one, first, service) = shares(&mut world, "lobby");
    let (other, second, same) = shares(&mut world, "lobby");
    let (apart, third, another) = shares(&mut world, "den");
    assert!(service == same && service != another);
    assert_eq!(world.reactor.shared("chat", "lobby"), Some(service));
    assert_eq!(world.reactor.shared("talk", "lobby"), None);
    let [ann, bob, eve] = [one, other, apart].map(|socket| world.dials(socket));
    for wire in [ann, bob, eve] {
        world.hears(wire);
    }
    world.says(ann, "hello\n");
    assert_eq!(world.hears(bob), "guest-1: hello\n");
    assert_eq!(world.hears(eve), "");
    // A listener goes, its member stays; another comes, and finds both.
    world.reactor.retire(first);
    world.settles();
    let (more, fourth, found) = shares(&mut world, "lobby");
    assert_eq!(found, service);
    let joe = world.dials(more);
    assert!(world.hears(joe).contains("(3 here)"));
    world.hears(ann);
    world.hears(bob);
    world.says(joe, "hi\n");
    assert_eq!(world.hears(ann), "guest-3: hi\n");
    assert_eq!(world.hears(bob), "guest-3: hi\n");
    for id in [second, third, fourth] {
        world.reactor.retire(id);
    }
    for wire in [ann, bob, joe] {
        assert_eq!(world.reactor.shared("chat", "lobby"), Some(service));
        world.os().ends(wire);
        world.settles();
    }
    assert_eq!(world.reactor.shared("chat", "lobby"), None);
    assert_eq!(world.reactor.shared("chat", "den"), Some(another));
}

/// Says through which listener each connection came, and writes down which there are.
#[derive(Debug, Default)]
struct Counts(std::rc::Rc<std::cell::RefCell<Vec<u16>>>);

impl Service for Counts {
    fn open(&mut self, t: &mut Turn<'_>, _: &Peer) {
        t.reply(&*format!("{}\n", t.listener()));
    }
    fn input(&mut self, _: &mut Turn<'_>, input: &mut ReadBuf) -> Result<(), Fault> {
        input.consume(input.len());
        Ok(())
    }
    fn listens(&mut self, listener: u16, _: &Terms) {
        self.0.borrow_mut().retain(|known| *known != listener);
        self.0.borrow_mut().push(listener);
    }
    fn listens_no_more(&mut self, listener: u16) {
        self.0.borrow_mut().retain(|known| *known != listener);
    }
}

#[test]
fn a_service_knows_the_listeners_that_it_has_and_no_other() {
    let mut world = World::new();
    let known = std::rc::Rc::default();
    let service = world
        .reactor
        .add(Box::new(Counts(std::rc::Rc::clone(&known))));
    let mut wires = Vec::new();
    let mut listeners = Vec::new();
    for n in 0..3 {
        let socket = world.os().listener();
        let id = world
            .reactor
            .listen(socket, ListenerOptions::to(service))
            .unwrap();
        world.settles();
        let wire = world.dials(socket);
        assert_eq!(world.hears(wire), format!("{n}\n"));
        wires.push(wire);
        listeners.push((socket, id));
    }
    assert_eq!(*known.borrow(), [0, 1, 2]);
    // One of them gets other options: it has another number, and the old one for as long as its connection lasts.
    let (socket, id) = listeners[1];
    let replaced = changes(&mut world, id, service, |_| {});
    let wire = world.dials(socket);
    assert_eq!(world.hears(wire), "3\n");
    assert_eq!(*known.borrow(), [0, 2, 1, 3]);
    world.os().ends(wires[1]);
    world.settles();
    assert_eq!(*known.borrow(), [0, 2, 3]);
    // It goes over to another service.
    world.os().ends(wire);
    world.settles();
    becomes(&mut world, replaced, Echo);
    assert_eq!(*known.borrow(), [0, 2]);
    world.reactor.retire(listeners[0].1);
    world.os().ends(wires[0]);
    world.settles();
    assert_eq!(*known.borrow(), [2]);
}
