use std::fmt::Display;
use std::io;

use rustix::io::Errno;

use super::*;
use crate::config::Written;
use crate::reactor::invariants::State;
use crate::service::{Dial, Dialler, Echo, Set};
use crate::turn::{ConnId, Moment};

/// How long the service waits before it dials again.
const AGAIN: Duration = Duration::from_secs(5);

/// Passes what its clients say on to the one whom it dials, and back to the last of them.
#[derive(Debug)]
struct Caller {
    due: Moment,
    link: Option<ConnId>,
    client: Option<ConnId>,
    /// It has more to say when it is asked to end what it dialled.
    has_more: bool,
}

impl Caller {
    fn new() -> Caller {
        Caller {
            due: Moment::START,
            link: None,
            client: None,
            has_more: false,
        }
    }
}

fn address() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 4222))
}

/// Passes on to one connection what came by another.
fn pass_on(t: &mut Turn<'_>, input: &mut ReadBuf, to: Option<ConnId>) {
    match to {
        Some(to) => t.send(to, input.unread()),
        None => t.reply("nobody\n"),
    }
    input.consume(input.len());
}

impl Service for Caller {
    fn open(&mut self, t: &mut Turn<'_>, _: &Peer) {
        self.client = Some(t.id);
    }

    fn input(&mut self, t: &mut Turn<'_>, input: &mut ReadBuf) -> Result<(), Fault> {
        pass_on(t, input, self.link);
        Ok(())
    }

    fn stopping(&mut self, t: &mut Turn<'_>) {
        t.close();
    }

    fn due(&self) -> Option<Moment> {
        Some(self.due)
    }

    fn dialler(&mut self) -> Option<&mut dyn Dialler> {
        Some(self)
    }
}

impl Dialler for Caller {
    fn dials(&mut self, now: Moment) -> Option<Dial> {
        if self.due > now {
            return None;
        }
        self.due = Moment::NEVER;
        Some(Dial {
            name: "nats://bus".into(),
            to: address(),
            within: SECOND,
        })
    }

    fn dialled(&mut self, t: &mut Turn<'_>) {
        self.link = Some(t.id);
        t.reply("HELLO\n");
    }

    fn input(&mut self, t: &mut Turn<'_>, input: &mut ReadBuf) -> Result<(), Fault> {
        pass_on(t, input, self.client);
        Ok(())
    }

    fn stopping(&mut self, t: &mut Turn<'_>) {
        if !self.has_more {
            t.close();
        }
    }

    fn closed(&mut self, t: &mut Turn<'_>, _: &dyn Display) {
        self.link = None;
        self.due = t.now.after(AGAIN);
    }

    fn dial_failed(&mut self, now: Moment, _: &io::Error) {
        self.due = now.after(AGAIN);
    }
}

/// The wires that the loop has dialled so far.
fn dialled(world: &World) -> Vec<usize> {
    let wires = world.reactor.os.wires.iter().enumerate();
    let is_dialled = wires.filter(|(_, wire)| wire.dialled.is_some());
    is_dialled.map(|(n, _)| n).collect()
}

#[test]
fn a_service_dials_and_the_connection_is_one_of_its_own() {
    let mut world = World::new();
    let listener = world.serves(Caller::new());
    world.settles();
    let [bus] = dialled(&world)[..] else {
        panic!("one was dialled");
    };
    assert_eq!(world.os().wires[bus].dialled.unwrap().0, address());
    let looks: Vec<State> = world.reactor.looks().map(|look| look.state).collect();
    assert_eq!(looks, [State::Connecting]);
    let client = world.dials(listener);
    world.says(client, "too early\n");
    assert_eq!(world.hears(client), "nobody\n");
    world.os().decides(bus, Ok(()));
    world.settles();
    assert_eq!(world.hears(bus), "HELLO\n");
    world.says(client, "hi\n");
    assert_eq!(world.hears(bus), "hi\n");
    world.says(bus, "ho\n");
    assert_eq!(world.hears(client), "ho\n");
    // It has no deadline: it may be silent for as long as it likes.
    world.passes(Duration::from_secs(86_400));
    assert!(world.is_open(bus));
    world.os().resets(bus);
    world.settles();
    assert!(!world.is_open(bus));
    world.passes(AGAIN);
    assert_eq!(dialled(&world).len(), 2);
    // The endpoint that it counts for has one name, however often it was dialled.
    let named = |world: &World| {
        world
            .reactor
            .figures()
            .iter()
            .any(|f| format!("{f:?}").contains("nats://bus"))
    };
    assert!(named(&world));
}

#[test]
fn a_bus_that_does_not_answer_keeps_nobody_waiting() {
    let mut world = World::new();
    let listener = world.serves(Caller::new());
    let echo = world.serves(Echo);
    world.settles();
    let client = world.dials(echo);
    world.says(client, "at once");
    assert_eq!(world.hears(client), "at once");
    let bus = dialled(&world)[0];
    world.passes(SECOND - MS);
    assert!(world.is_open(bus));
    world.passes(MS);
    assert!(!world.is_open(bus), "its time was over");
    // The service was told, and tries again when it wants to.
    assert_eq!(dialled(&world).len(), 1);
    world.passes(AGAIN);
    assert_eq!(dialled(&world).len(), 2);
    let late = world.dials(listener);
    world.says(late, "x");
    assert_eq!(world.hears(late), "nobody\n");
    assert_eq!(world.reactor.counters().tls_handshakes.failed, 0);
}

#[test]
fn a_dial_that_is_refused_now_or_later_is_told_and_forgotten() {
    let mut world = World::new();
    world.os().no_dial = Some(Errno::NETUNREACH);
    world.serves(Caller::new());
    world.settles();
    assert!(dialled(&world).is_empty());
    world.passes(AGAIN);
    let bus = dialled(&world)[0];
    world.os().decides(bus, Err(Errno::CONNREFUSED));
    world.settles();
    assert!(!world.is_open(bus));
    assert_eq!(world.hears(bus), "");
    world.passes(AGAIN);
    let again = dialled(&world)[1];
    // An edge that decides nothing changes nothing.
    world.os().stirs(again);
    world.settles();
    assert!(world.is_open(again));
    world.os().decides(again, Ok(()));
    world.settles();
    assert_eq!(world.hears(again), "HELLO\n");
}

#[test]
fn a_server_that_stops_waits_for_no_answer_and_asks_what_was_answered_to_end() {
    for answered in [false, true] {
        let mut world = World::new();
        world.serves(Caller::new());
        world.settles();
        let bus = dialled(&world)[0];
        if answered {
            world.os().decides(bus, Ok(()));
            world.settles();
        }
        world.os().signal(crate::reactor::Signal::Stop);
        world.settles();
        assert!(world.os().wires[bus].is_closed);
        assert!(world.reactor.is_stopped());
        assert_eq!(dialled(&world).len(), 1);
    }
}

#[test]
fn what_was_dialled_ends_with_the_last_listener_and_the_last_client() {
    let mut world = World::new();
    let service = world.reactor.add(Box::new(Caller::new()));
    let socket = world.reactor.os.listener();
    let id = world
        .reactor
        .listen(socket, ListenerOptions::to(service))
        .unwrap();
    world.settles();
    let bus = dialled(&world)[0];
    world.os().decides(bus, Ok(()));
    world.settles();
    let client = world.dials(socket);
    world.reactor.retire(id);
    world.settles();
    world.says(client, "hi\n");
    assert!(
        world.hears(bus).ends_with("hi\n"),
        "those who are here are served on"
    );
    world.os().ends(client);
    world.settles();
    assert!(!world.is_open(client) && !world.is_open(bus));
    world.passes(Duration::from_secs(60));
    assert_eq!(dialled(&world).len(), 1, "and nobody dials any more");
}

#[test]
fn endpoints_that_come_while_a_value_says_its_last_get_another() {
    let mut world = World::new();
    let set = || Set {
        service: "chat",
        name: "lobby".into(),
        options: Written::default(),
    };
    let caller = |has_more| {
        Box::new(Caller {
            has_more,
            ..Caller::new()
        })
    };
    let service = world.reactor.share(set(), caller(true));
    let socket = world.reactor.os.listener();
    let options = ListenerOptions::to(service);
    let id = world.reactor.listen(socket, options).unwrap();
    world.settles();
    let bus = dialled(&world)[0];
    world.os().decides(bus, Ok(()));
    world.settles();
    assert_eq!(world.reactor.share(set(), caller(false)), service);
    world.reactor.retire(id);
    world.settles();
    assert!(world.is_open(bus), "it has something to say first");
    assert_ne!(world.reactor.share(set(), caller(false)), service);
}
