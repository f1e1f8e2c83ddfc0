use std::net::SocketAddr;

use super::*;
use crate::config::limits::TAKE_OVER_TIMEOUT;
use crate::reactor::{ListenerId, News, Signal, SocketId};
use crate::service::{Chat, Control, Echo, chat};
use crate::turn::{ConnId, HandOver};
use crate::wire::{
    Decode, Encode, SocketDescription, TAKE_OVER_VERSION, TakeOverAnswer, TakeOverMessage,
    TakeOverRequest,
};

/// A server with a room, a datagram socket and a control socket.
struct Old {
    world: World,
    room: usize,
    mailbox: usize,
    control: usize,
    sockets: [SocketId; 3],
}

impl Old {
    fn new() -> Old {
        Old::with(Limits::default())
    }

    fn with(limits: Limits) -> Old {
        let mut world = World::with(limits);
        let (room, room_id) = opens(
            &mut world,
            Chat::new(&chat::Options::default(), 65_536),
            false,
        );
        let mailbox = world.os().socket();
        let mailbox_id = world.answers_at(mailbox, Echo, |_| {});
        let (control, control_id) = opens(&mut world, Control::default(), true);
        world.settles();
        Old {
            world,
            room,
            mailbox,
            control,
            sockets: [
                SocketId::Listener(room_id),
                SocketId::Datagram(mailbox_id),
                SocketId::Listener(control_id),
            ],
        }
    }

    /// A process connects, and asks for the sockets.
    fn asked(&mut self) -> (usize, ConnId) {
        let wire = self.world.dials(self.control);
        let version = TAKE_OVER_VERSION;
        let request = TakeOverRequest::Sockets { version, from: 0 };
        self.world.says(wire, encoded(&request));
        let (id, wanted) = self.wanted().expect("it is told");
        assert_eq!(wanted, HandOver::Sockets { from: 0 });
        (wire, id)
    }

    /// It gets them.
    fn offers(&mut self, id: ConnId) {
        let sockets = vec![
            SocketDescription {
                place: "somewhere".into(),
                file: None,
            };
            3
        ];
        let answer = TakeOverAnswer::Sockets {
            sockets,
            more: false,
        };
        let handed = self.world.reactor.hand_over(id, &answer, &self.sockets);
        handed.unwrap();
        self.world.settles();
    }

    /// It says that it is ready for all of them.
    fn is_ready(&mut self, wire: usize) -> Option<(ConnId, HandOver)> {
        let taken = vec![0, 1, 2];
        let request = TakeOverRequest::Ready { taken };
        self.world.says(wire, encoded(&request));
        self.wanted()
    }

    fn releases(&mut self, id: ConnId, taken: &[SocketId]) -> bool {
        let answer = TakeOverAnswer::Released;
        let released = self.world.reactor.release(id, &answer, taken).is_ok();
        self.world.settles();
        released
    }

    /// The whole of it, for these sockets.
    fn is_taken_over(&mut self, taken: impl Fn([SocketId; 3]) -> Vec<SocketId>) -> usize {
        let (wire, id) = self.asked();
        self.offers(id);
        self.answers(wire);
        assert!(self.is_ready(wire).is_some());
        let taken = taken(self.sockets);
        assert!(self.releases(id, &taken));
        wire
    }

    fn wanted(&mut self) -> Option<(ConnId, HandOver)> {
        let news = std::mem::take(&mut self.world.reactor.news);
        news.into_iter().find_map(|news| match news {
            News::HandOver(id, wanted) => Some((id, wanted)),
            _ => None,
        })
    }

    #[track_caller]
    fn answers(&mut self, wire: usize) -> TakeOverAnswer {
        let heard = std::mem::take(&mut self.world.os().wires[wire].heard);
        let read = TakeOverMessage::default().decode(&heard);
        let (answer, n) = read.unwrap().expect("a whole answer");
        assert_eq!(n, heard.len());
        answer
    }

    fn is_closed(&mut self) -> [bool; 3] {
        let (room, mailbox, control) = (self.room, self.mailbox, self.control);
        let os = self.world.os();
        [
            os.listeners[room].is_closed,
            os.sockets[mailbox].is_closed,
            os.listeners[control].is_closed,
        ]
    }
}

fn opens(
    world: &mut World,
    service: impl Service + 'static,
    is_beside_limit: bool,
) -> (usize, ListenerId) {
    let service = world.reactor.add(Box::new(service));
    let socket = world.os().listener();
    let options = ListenerOptions {
        is_beside_limit,
        ..ListenerOptions::to(service)
    };
    (socket, world.reactor.listen(socket, options).unwrap())
}

fn encoded(message: &impl Encode) -> Vec<u8> {
    let mut out = Vec::new();
    message.encode(&mut out);
    out
}

#[test]
fn fault_h4_sockets_go_over_and_what_is_here_goes_on_until_the_drain_ends() {
    let mut old = Old::new();
    let ann = old.world.dials(old.room);
    let bob = old.world.dials(old.room);
    let (wire, id) = old.asked();
    old.offers(id);
    let (room, mailbox, control) = (old.room, old.mailbox, old.control);
    let handed = &old.world.os().wires[wire].sockets;
    assert_eq!(*handed, [(true, room), (false, mailbox), (true, control)]);
    assert!(matches!(old.answers(wire), TakeOverAnswer::Sockets { .. }));
    // Until the new one is ready, everything is served here.
    let between = old.world.dials(old.room);
    assert!(old.world.is_open(between));
    assert_eq!(old.is_closed(), [false; 3]);

    let (again, wanted) = old.is_ready(wire).unwrap();
    assert_eq!(
        (again, wanted),
        (
            id,
            HandOver::Ready {
                taken: vec![0, 1, 2]
            }
        )
    );
    let accepts = old.world.os().listeners[room].accepts;
    // This one is the new server's, though it came before we let go.
    let queued = old.world.os().dials(room, CLIENT);
    let sockets = old.sockets;
    assert!(old.releases(id, &sockets));
    assert_eq!(old.answers(wire), TakeOverAnswer::Released);
    assert_eq!(old.is_closed(), [true; 3]);
    assert_eq!(old.world.os().listeners[room].accepts, accepts);
    assert_eq!(old.world.hears(queued), "");

    // Members stay, and talk.
    let drain = Limits::default().drain_timeout;
    old.world.passes(drain - MS);
    for wire in [ann, bob, between] {
        old.world.hears(wire);
    }
    old.world.says(ann, "hello\n");
    assert_eq!(old.world.hears(bob), "guest-1: hello\n");
    assert!(!old.world.reactor.is_stopped());
    old.world.passes(MS);
    assert!(old.world.hears(bob).contains("the server is stopping"));
    assert!(!old.world.is_open(ann));
    for wire in [ann, bob, between, wire] {
        old.world.os().ends(wire);
    }
    old.world.settles();
    assert!(old.world.reactor.is_stopped());
}

#[test]
fn fault_h4_a_server_ends_with_its_last_connection_when_its_sockets_are_anothers() {
    let mut old = Old::new();
    let ann = old.world.dials(old.room);
    let wire = old.is_taken_over(|all| all.to_vec());
    assert!(!old.world.reactor.is_stopped());
    old.world.os().ends(ann);
    old.world.os().ends(wire);
    old.world.settles();
    assert!(old.world.reactor.is_stopped());
}

#[test]
fn fault_h4_no_datagram_is_read_when_its_socket_is_anothers() {
    let mut old = Old::new();
    old.is_taken_over(|all| all.to_vec());
    let mailbox = old.mailbox;
    let receives = old.world.os().sockets[mailbox].receives;
    let asker: SocketAddr = "127.0.0.1:40000".parse().unwrap();
    old.world.os().writes_to(mailbox, Ok(b"a"), asker);
    old.world.settles();
    assert_eq!(old.world.os().sockets[mailbox].receives, receives);
}

#[test]
fn the_queue_of_a_listener_that_nobody_took_is_accepted_and_served() {
    let mut old = Old::new();
    let (wire, id) = old.asked();
    old.offers(id);
    old.is_ready(wire);
    let room = old.room;
    let queued = old.world.os().dials(room, CLIENT);
    let [_, mailbox, control] = old.sockets;
    assert!(old.releases(id, &[mailbox, control]));
    assert_eq!(old.is_closed(), [true; 3]);
    old.world.says(queued, "/who\n");
    assert!(old.world.hears(queued).contains("guest-1"));
    assert!(old.world.is_open(queued));
}

#[test]
fn fault_h5_a_process_that_dies_between_changes_nothing() {
    let mut old = Old::new();
    // Before it said anything more.
    let (wire, id) = old.asked();
    old.offers(id);
    old.world.os().resets(wire);
    old.world.settles();
    assert!(!old.world.reactor.is_open(id));
    // Just after it said that it is ready, before that is answered.
    let (wire, id) = old.asked();
    old.offers(id);
    let taken = vec![0, 1, 2];
    let request = TakeOverRequest::Ready { taken };
    old.world.os().says(wire, &encoded(&request));
    old.world.os().hangs_up(wire);
    old.world.settles();
    old.wanted();
    let sockets = old.sockets;
    assert!(!old.releases(id, &sockets));
    // It is as it was, and can be taken over still.
    assert_eq!(old.is_closed(), [false; 3]);
    assert!(!old.world.reactor.is_stopping());
    let ann = old.world.dials(old.room);
    assert!(old.world.is_open(ann));
    old.is_taken_over(|all| all.to_vec());
}

#[test]
fn fault_h5_a_process_that_is_never_ready_changes_nothing() {
    let mut old = Old::new();
    let (wire, id) = old.asked();
    old.offers(id);
    old.answers(wire);
    old.world.passes(TAKE_OVER_TIMEOUT);
    assert!(matches!(old.answers(wire), TakeOverAnswer::Refused { .. }));
    // Too late.
    assert_eq!(old.is_ready(wire), None);
    let sockets = old.sockets;
    old.world.os().ends(wire);
    old.world.settles();
    assert!(!old.releases(id, &sockets));
    assert_eq!(old.is_closed(), [false; 3]);
    old.is_taken_over(|all| all.to_vec());
}

#[test]
fn a_server_that_stops_lets_go_of_nothing_and_says_so() {
    let mut old = Old::new();
    let (wire, id) = old.asked();
    old.offers(id);
    old.answers(wire);
    old.world.os().signal(Signal::Stop);
    old.world.settles();
    match old.answers(wire) {
        TakeOverAnswer::Refused { reason } => assert!(reason.contains("stopping"), "{reason}"),
        other => panic!("{other:?}"),
    }
    let sockets = old.sockets;
    assert!(!old.releases(id, &sockets));
}

#[test]
fn signals_end_a_server_whose_sockets_are_anothers_as_they_end_every_other() {
    let mut old = Old::new();
    let ann = old.world.dials(old.room);
    old.is_taken_over(|all| all.to_vec());
    old.world.hears(ann);
    old.world.os().signal(Signal::Stop);
    old.world.settles();
    assert!(old.world.hears(ann).contains("the server is stopping"));
    old.world.os().signal(Signal::Stop);
    old.world.settles();
    assert!(old.world.reactor.is_stopped());
}

#[test]
fn a_full_server_can_be_taken_over() {
    let mut old = Old::new();
    old.world.reactor.change_limits(Limits::default(), 1);
    let ann = old.world.dials(old.room);
    let bob = old.world.dials(old.room);
    assert!(old.world.is_open(ann) && !old.world.is_open(bob));
    old.is_taken_over(|all| all.to_vec());
    assert!(old.world.is_open(ann));
}

#[test]
fn an_answer_that_does_not_fit_the_socket_comes_whole_and_its_descriptors_once() {
    let mut old = Old::new();
    let (wire, id) = old.asked();
    old.world.os().takes(wire, 7);
    old.offers(id);
    old.world.os().takes(wire, usize::MAX);
    old.world.settles();
    assert!(matches!(old.answers(wire), TakeOverAnswer::Sockets { .. }));
    assert_eq!(old.world.os().wires[wire].sockets.len(), 3);
}

#[test]
fn descriptors_do_not_overtake_what_was_said_before_and_what_is_closed_is_not_sent() {
    let mut old = Old::new();
    let (wire, id) = old.asked();
    let sockets = old.sockets;
    let answer = TakeOverAnswer::Released;
    let reactor = &mut old.world.reactor;
    reactor.outbox.say([id], |out| out.push(0));
    assert!(reactor.hand_over(id, &answer, &sockets).is_err());
    old.world.settles();
    assert_eq!(old.world.os().wires[wire].heard, [0]);
    let SocketId::Listener(room) = sockets[0] else {
        panic!("the room listens");
    };
    old.world.reactor.retire(room);
    old.world.settles();
    let handed = old.world.reactor.hand_over(id, &answer, &sockets);
    assert_eq!(handed.unwrap_err().kind(), std::io::ErrorKind::NotFound);
    assert!(old.world.os().wires[wire].sockets.is_empty());
}
