use std::net::SocketAddr;

use rustix::io::Errno;

use super::*;
use crate::config::Written;
use crate::config::limits::{
    DATAGRAM_FAILURES_IN_A_ROW_MAX, EMFILE_RETRY, LEAVING, LINGER, LINGER_BYTES_MAX, PROGRESS_GRACE,
};
use crate::reactor::Signal;
use crate::service::command::{CommandFraming, Options};
use crate::service::file::{self, Files};
use crate::service::{Chat, Command, Echo, Occasion, SERVICES, Setting, Time, Upper, chat, upper};
use crate::turn::{Exit, Moment, Severity};
use crate::wire::LINE_BYTES_MAX;

const IDLE: Duration = Duration::from_secs(10);

fn a_chat() -> Chat {
    Chat::new(&chat::Options::default(), LINE_BYTES_MAX)
}

/// A room in which a member may be silent for ten seconds.
fn room() -> (World, usize) {
    let mut world = World::new();
    let room = world.serves_with(a_chat(), |listener| listener.idle = Some(IDLE));
    (world, room)
}

#[track_caller]
fn is_closed_in(world: &mut World, wire: usize, time: Duration) {
    world.passes(time - MS);
    assert!(world.is_open(wire), "closed too early");
    world.passes(MS);
    assert!(!world.is_open(wire), "not closed in time");
}

#[test]
fn what_is_kept_of_an_upload_goes_in_its_time_though_nobody_is_there() {
    let root = tempfile::tempdir().unwrap();
    let mut files = Files::new(&file::Options {
        root: Some(root.path().to_owned()),
        keep_partial: Duration::from_secs(100),
        ..file::Options::default()
    });
    files.prepare(Occasion::Start).unwrap();
    let mut world = World::new();
    let listener = world.serves(files);
    let staged = || {
        let entries = std::fs::read_dir(root.path().join(".onepoll")).unwrap();
        entries.count() - 1
    };
    for reset in [false, true] {
        let wire = world.dials(listener);
        let header = r#"{"onepoll":"upload","file_name":"a","file_size":200000}"#;
        let mut sent = u32::try_from(header.len()).unwrap().to_le_bytes().to_vec();
        sent.extend_from_slice(header.as_bytes());
        sent.extend_from_slice(&[7; 100_000]);
        world.os().says(wire, &sent);
        world.settles();
        if reset {
            world.os().resets(wire);
        } else {
            world.os().ends(wire);
        }
        world.settles();
        world.passes(99 * SECOND);
        assert!(!world.is_open(wire));
        assert_eq!(staged(), 1);
        // It is looked through once a minute.
        world.passes(61 * SECOND);
        assert_eq!(staged(), 0);
    }
}

#[test]
fn silence_begins_anew_with_every_word_and_for_each_connection() {
    let (mut world, room) = room();
    let (first, second) = (world.dials(room), world.dials(room));
    for _ in 0..5 {
        world.passes(IDLE - MS);
        world.says(first, "one\n");
        world.says(second, "two\n");
    }
    world.passes(3 * SECOND);
    world.says(second, "two\n");
    is_closed_in(&mut world, first, 7 * SECOND);
    is_closed_in(&mut world, second, 3 * SECOND);
    world.passes(LINGER);
    assert_eq!(world.reactor.counters().closed.idle, 2);
}

#[test]
fn what_a_peer_hears_does_not_break_its_silence() {
    let (mut world, room) = room();
    let (silent, loud) = (world.dials(room), world.dials(room));
    for n in 0..9 {
        world.passes(SECOND);
        // Its socket is full now and then, and takes everything later.
        world
            .os()
            .takes(silent, if n % 2 == 1 { 0 } else { usize::MAX });
        world.says(loud, "hello\n");
    }
    is_closed_in(&mut world, silent, SECOND);
    assert_eq!(world.hears(silent).matches("hello").count(), 9);
    assert!(world.is_open(loud));
}

#[test]
fn a_producer_does_not_break_the_silence_of_its_reader() {
    let mut world = World::new();
    let row = SERVICES.iter().find(|row| row.name == "chargen").unwrap();
    let limits = Limits::default();
    let setting = Setting {
        limits: &limits,
        zone: &jiff::tz::TimeZone::UTC,
        is_open: false,
        bus: None,
    };
    let service = row
        .stream
        .unwrap()
        .build(&Written::default(), &setting)
        .unwrap();
    let service = world.reactor.add(service);
    let listener = world.reactor.os.listener();
    let options = ListenerOptions {
        idle: Some(IDLE),
        ..ListenerOptions::to(service)
    };
    world.reactor.listen(listener, options).unwrap();
    let wire = world.os().dials(listener, CLIENT);
    world.os().takes(wire, 1000);
    world.settles();
    for _ in 0..9 {
        world.passes(SECOND);
        world.os().takes(wire, 10_000);
    }
    world.passes(SECOND - MS);
    world.os().takes(wire, 10_000);
    world.settles();
    assert!(world.is_open(wire));
    assert!(world.hears(wire).len() > 90_000, "it was served until then");
    world.passes(MS);
    // What it is owed leaves, and no more is produced.
    world.os().takes(wire, 1 << 20);
    world.settles();
    assert!(!world.is_open(wire));
}

#[test]
fn fault_a11_an_event_that_means_nothing_does_not_break_a_silence() {
    let (mut world, room) = room();
    let wire = world.dials(room);
    for _ in 0..9 {
        world.passes(SECOND);
        world.os().stirs(wire);
    }
    is_closed_in(&mut world, wire, SECOND);
}

#[test]
fn fault_a17_what_comes_at_the_last_moment_is_in_time() {
    let mut world = World::new();
    let echo = world.serves_with(Echo, |listener| listener.idle = Some(IDLE));
    let wire = world.dials(echo);
    world.passes(IDLE - MS);
    // The loop was busy meanwhile: it sees both at once, and late.
    world.os().now = world.os().now.after(5 * SECOND);
    world.says(wire, "late?");
    assert_eq!(world.hears(wire), "late?");
    is_closed_in(&mut world, wire, IDLE);
}

#[test]
fn fault_a17_what_comes_with_the_end_of_a_silence_belongs_to_the_burst() {
    let once = upper::Options {
        once: true,
        ..upper::Options::default()
    };
    let mut world = World::new();
    let upper = world.serves(Upper::new(&once));
    let wire = world.dials(upper);
    world.says(wire, "he");
    world.passes(19 * MS);
    // The silence is over, and the rest has come, when the loop looks again.
    world.os().now = world.os().now.after(MS);
    world.says(wire, "llo");
    assert_eq!(world.hears(wire), "");
    world.passes(20 * MS);
    assert_eq!(world.hears(wire), "HELLO");
}

#[test]
fn a_silence_too_short_to_count_ends_a_connection_once_its_bytes_are_answered() {
    let mut world = World::new();
    let idle = Some(Duration::from_nanos(1));
    let echo = world.serves_with(Echo, |listener| listener.idle = idle);
    let wire = world.os().dials(echo, CLIENT);
    world.os().says(wire, b"quick");
    world.settles();
    assert_eq!(world.hears(wire), "quick");
    assert!(world.is_open(wire));
    let turns = world.reactor.counters().turns;
    world.passes(Duration::from_nanos(1));
    assert!(!world.is_open(wire));
    assert!(world.reactor.counters().turns - turns < 10);
}

#[test]
fn each_listener_has_an_idle_timeout_of_its_own() {
    let mut world = World::new();
    let short = world.serves_with(Echo, |listener| listener.idle = Some(SECOND));
    let long = world.serves_with(Echo, |listener| listener.idle = Some(IDLE));
    let none = world.serves(Echo);
    // In an order that is not that of the listeners.
    let wires = [none, long, short].map(|listener| world.dials(listener));
    is_closed_in(&mut world, wires[2], SECOND);
    is_closed_in(&mut world, wires[1], IDLE - SECOND);
    world.passes(1000 * IDLE);
    assert!(world.is_open(wires[0]));
}

#[test]
fn a_client_that_waits_for_its_command_is_not_idle_and_is_afterwards() {
    let options = Options {
        framing: CommandFraming::I32,
        timeout: Some(1000 * SECOND),
        ..Options::default()
    };
    let mut world = World::new();
    let service = Command::new(&options, &Limits::default());
    let listener = world.serves_with(service, |listener| listener.idle = Some(IDLE));
    let wire = world.dials(listener);
    for _ in 0..2 {
        world.passes(IDLE - MS);
        world.says(wire, "ls\n");
        world.passes(100 * SECOND);
        let command = world.os().commands.len() - 1;
        world.os().prints(command, b"on\n");
        world.passes(100 * SECOND);
        assert!(world.is_open(wire));
        world.os().exits(command, Exit::Code(0));
        world.settles();
        assert_eq!(world.hears(wire), "\x03\0\0\0on\n");
    }
    is_closed_in(&mut world, wire, IDLE);
}

/// Counts from a whole second, as a frame's time does.
fn at_a_whole_second() -> World {
    let mut world = World::new();
    world.os().now = Moment::START.after(100 * SECOND);
    world
}

#[test]
fn fault_b10_bytes_do_not_renew_the_time_of_a_frame() {
    let mut world = at_a_whole_second();
    let room = world.serves(a_chat());
    let wire = world.dials(room);
    // A frame that ends is over with its time, and the next has its own.
    world.says(wire, "begun ");
    world.passes(20 * SECOND);
    world.says(wire, "and ended\n");
    world.passes(1000 * SECOND);
    world.says(wire, "x");
    for _ in 0..29 {
        world.passes(SECOND);
        world.says(wire, "x");
    }
    is_closed_in(&mut world, wire, PROGRESS_GRACE - 29 * SECOND);
    world.passes(LINGER);
    assert_eq!(world.reactor.counters().closed.slow_frame, 1);
}

#[test]
fn fault_b10_a_frame_that_comes_fast_enough_has_time_for_all_of_it() {
    let mut world = at_a_whole_second();
    let room = world.serves(a_chat());
    let (wire, other) = (world.dials(room), world.dials(room));
    world.hears(other);
    let kibibyte = "x".repeat(1024);
    for _ in 0..60 {
        world.says(wire, &kibibyte);
        world.passes(SECOND);
    }
    world.says(wire, "\n");
    assert!(world.hears(other).len() > 60 * 1024);
    // One that stops after half of it has what its half has earned.
    world.says(wire, kibibyte.repeat(20));
    is_closed_in(&mut world, wire, PROGRESS_GRACE + 20 * SECOND);
}

#[test]
fn fault_b10_a_frame_that_begins_when_another_has_ended_has_its_own_time() {
    let mut world = at_a_whole_second();
    let room = world.serves(a_chat());
    let (wire, other) = (world.dials(room), world.dials(room));
    world.hears(other);
    // Each read ends in the middle of a line, and no line takes longer than a second.
    world.says(wire, "he");
    for _ in 0..100 {
        world.passes(SECOND);
        world.says(wire, "llo\nhe");
    }
    assert!(world.is_open(wire));
    assert_eq!(world.hears(other).matches("hello").count(), 100);
    is_closed_in(&mut world, wire, PROGRESS_GRACE);
}

#[test]
fn fault_b10_silence_in_the_middle_of_a_frame_is_silence_and_bytes_renew_no_more_than_that() {
    let mut world = at_a_whole_second();
    let room = world.serves_with(a_chat(), |listener| listener.idle = Some(IDLE));
    let (silent, slow) = (world.dials(room), world.dials(room));
    world.says(silent, "half");
    world.says(slow, "half");
    world.passes(IDLE - MS);
    world.says(slow, "x");
    is_closed_in(&mut world, silent, MS);
    world.passes(LINGER);
    assert_eq!(world.reactor.counters().closed.idle, 1);
    world.passes(4 * SECOND);
    for _ in 0..6 {
        world.says(slow, "x");
        world.passes(2 * SECOND);
    }
    is_closed_in(&mut world, slow, 2 * SECOND);
    world.passes(LINGER);
    assert_eq!(world.reactor.counters().closed.slow_frame, 1);
}

/// A connection that is leaving, and owed more than it takes.
fn leaves(world: &mut World) -> usize {
    let echo = world.serves(Echo);
    let wire = world.dials(echo);
    world.os().takes(wire, 0);
    world.says(wire, "farewell");
    world.os().ends(wire);
    world.settles();
    wire
}

#[test]
fn who_leaves_and_takes_a_byte_has_its_time_anew_and_no_other() {
    let mut world = World::new();
    let (wire, other) = (leaves(&mut world), leaves(&mut world));
    world.passes(LEAVING - SECOND);
    world.os().takes(wire, 1);
    world.os().stirs(other);
    is_closed_in(&mut world, other, SECOND);
    is_closed_in(&mut world, wire, LEAVING - SECOND);
    assert_eq!(world.hears(wire), "f");
    assert_eq!(world.reactor.counters().closed.stuck, 2);
    // Taken in time, all of it arrives.
    let wire = leaves(&mut world);
    world.passes(LEAVING - MS);
    world.os().takes(wire, usize::MAX);
    world.settles();
    assert_eq!(world.hears(wire), "farewell");
    assert!(!world.is_open(wire));
}

#[test]
fn fault_b11_who_catches_up_is_forgiven_and_who_falls_behind_again_has_its_time_anew() {
    let mut world = World::with(Limits {
        chat_soft: 100,
        chat_hard: 100_000,
        ..Limits::default()
    });
    let room = world.serves(a_chat());
    let (slow, loud) = (world.dials(room), world.dials(room));
    let soft = Limits::default().chat_soft_time;
    let line = format!("{}\n", "x".repeat(150));
    world.os().takes(slow, 0);
    world.says(loud, &line);
    world.passes(soft - MS);
    world.os().takes(slow, usize::MAX);
    world.passes(10 * soft);
    assert!(world.is_open(slow));
    world.os().takes(slow, 0);
    world.says(loud, &line);
    // More that it is owed does not renew it, nor do a few bytes taken, nor what it says.
    world.passes(soft / 2);
    world.says(loud, &line);
    world.os().takes(slow, 20);
    world.says(slow, "I am here\n");
    is_closed_in(&mut world, slow, soft - soft / 2);
    assert_eq!(world.reactor.counters().closed.too_slow, 1);
    assert!(world.hears(loud).ends_with("(did not keep up)\n"));
}

#[test]
fn fault_b16_what_a_refused_peer_goes_on_saying_does_not_renew_its_farewell() {
    let mut world = World::new();
    let room = world.serves(a_chat());
    let refused = |world: &mut World| {
        let wire = world.dials(room);
        world.says(wire, "GET / HTTP/1.1\n");
        assert!(world.os().wires[wire].is_shut && !world.os().wires[wire].is_closed);
        wire
    };
    let wire = refused(&mut world);
    let closed = |world: &World| world.reactor.os.wires[wire].is_closed;
    for _ in 0..19 {
        world.passes(LINGER / 20);
        world.says(wire, "more");
    }
    world.passes(LINGER / 20 - MS);
    assert!(!closed(&world));
    world.passes(MS);
    assert!(closed(&world));
    // So much is discarded and not more, however little comes at a time.
    let wire = refused(&mut world);
    let piece = "x".repeat(LINGER_BYTES_MAX as usize / 16);
    for _ in 0..15 {
        world.says(wire, &piece);
        assert!(!world.os().wires[wire].is_closed);
    }
    world.says(wire, &piece);
    assert!(world.os().wires[wire].is_closed);
}

#[test]
fn fault_a1_a_rest_ends_by_itself_or_with_any_connection_that_closes() {
    rests_and_goes_on(|one, other| (one, other));
    rests_and_goes_on(|one, other| (other, one));
}

/// Which of two listeners it is that rests makes no difference.
fn rests_and_goes_on(order: fn(usize, usize) -> (usize, usize)) {
    let mut world = World::new();
    let (one, other) = order(world.serves(Echo), world.serves(Echo));
    let wire = world.dials(other);
    let fails = |world: &mut World| {
        world.os().listeners[one].errors.extend([Errno::MFILE]);
        let waiting = world.dials(one);
        let asked = world.os().listeners[one].accepts;
        world.passes(EMFILE_RETRY - MS);
        assert_eq!(world.os().listeners[one].accepts, asked, "it rests");
        // Others are accepted meanwhile.
        let beside = world.dials(other);
        world.says(beside, "a");
        assert_eq!(world.hears(beside), "a");
        world.says(waiting, "b");
        assert_eq!(world.hears(waiting), "");
        waiting
    };
    let waiting = fails(&mut world);
    world.passes(MS);
    assert_eq!(world.hears(waiting), "b");
    let waiting = fails(&mut world);
    // Of another listener, which did not rest.
    world.os().ends(wire);
    world.settles();
    assert_eq!(world.hears(waiting), "b");
    // A failure after a rest is a rest of its own.
    world.os().listeners[one].errors.extend([Errno::MFILE; 3]);
    let waiting = world.os().dials(one, CLIENT);
    world.os().says(waiting, b"c");
    world.passes(3 * EMFILE_RETRY - MS);
    assert_eq!(world.hears(waiting), "");
    world.passes(MS);
    assert_eq!(world.hears(waiting), "c");
}

#[test]
fn fault_e3_only_failures_in_a_row_make_a_socket_rest_and_it_alone() {
    let asker: SocketAddr = "127.0.0.1:40000".parse().unwrap();
    let mut world = World::with(Limits {
        datagrams_per_turn: 1000,
        ..Limits::default()
    });
    let (one, other) = (world.answers(Echo, vec![]), world.answers(Echo, vec![]));
    let says = |world: &mut World, socket: usize, failures: u32| {
        for _ in 0..failures {
            world.os().writes_to(socket, Err(Errno::CONNREFUSED), asker);
        }
        world.os().writes_to(socket, Ok(b"?"), asker);
    };
    let answers = |world: &mut World, socket: usize| world.os().sockets[socket].sent.len();
    // One that succeeds forgives those before it.
    for _ in 0..3 {
        says(&mut world, one, DATAGRAM_FAILURES_IN_A_ROW_MAX - 1);
    }
    world.settles();
    assert_eq!(answers(&mut world, one), 3);
    says(&mut world, one, DATAGRAM_FAILURES_IN_A_ROW_MAX);
    world.settles();
    says(&mut world, other, 0);
    world.passes(EMFILE_RETRY - MS);
    assert_eq!(
        (answers(&mut world, one), answers(&mut world, other)),
        (3, 1)
    );
    let asked = world.os().sockets[one].receives;
    world.passes(MS);
    assert_eq!(answers(&mut world, one), 4);
    assert_eq!(
        world.os().sockets[one].receives,
        asked + 2,
        "one, and that there is no more"
    );
}

#[test]
fn fault_h1_the_time_of_a_drain_is_one_for_all_and_not_renewed() {
    let mut world = World::new();
    let (echo, room) = (world.serves(Echo), world.serves(a_chat()));
    let stuck: Vec<usize> = [echo, room, echo]
        .map(|listener| {
            let wire = world.dials(listener);
            world.os().takes(wire, 0);
            world.says(wire, "word\n");
            wire
        })
        .to_vec();
    let drain = Limits::default().drain_timeout;
    world.passes(100 * drain);
    world.os().signal(Signal::Stop);
    world.settles();
    assert!(
        world
            .os()
            .listeners
            .iter()
            .all(|listener| listener.is_closed)
    );
    for _ in 0..7 {
        world.passes(drain / 8);
        // Each makes progress, and none is done.
        stuck.iter().for_each(|&wire| world.os().takes(wire, 1));
        // Neither does another signal of another kind.
        world.os().signal(Signal::Reload);
        world.os().signal(Signal::Report);
    }
    world.passes(drain / 8 - MS);
    assert!(!world.reactor.is_stopped());
    world.passes(MS);
    assert!(world.reactor.is_stopped());
}

#[test]
fn fault_h2_a_second_signal_ends_a_drain_at_once_and_a_reload_between_does_not() {
    for between in [
        vec![],
        vec![Signal::Reload],
        vec![Signal::Report, Signal::Reload],
    ] {
        for at_once in [true, false] {
            let mut world = World::new();
            leaves(&mut world);
            world.os().signal(Signal::Stop);
            if !at_once {
                world.settles();
            }
            for signal in &between {
                world.os().signal(*signal);
                if !at_once {
                    world.settles();
                    assert!(!world.reactor.is_stopped());
                }
            }
            world.os().signal(Signal::Stop);
            world.settles();
            assert!(world.reactor.is_stopped());
        }
    }
}

#[test]
fn fault_h1_a_drain_ends_with_its_last_connection() {
    let mut world = World::new();
    let echo = world.serves(Echo);
    let wires = [world.dials(echo), world.dials(echo)];
    world.os().signal(Signal::Stop);
    world.settles();
    for wire in wires {
        assert!(!world.reactor.is_stopped());
        assert!(
            world.os().wires[wire].is_shut,
            "it is told that nothing follows"
        );
        world.os().ends(wire);
        world.settles();
    }
    assert!(world.reactor.is_stopped());
}

#[test]
fn fault_a16_the_wall_clock_is_for_display_and_moves_no_deadline() {
    const TEN_YEARS: Duration = Duration::from_secs(10 * 366 * 86_400);
    let mut world = at_a_whole_second();
    world.os().wall = 3 * TEN_YEARS;
    let room = world.serves_with(a_chat(), |listener| listener.idle = Some(IDLE));
    let patient = world.serves(a_chat());
    let shell = Command::new(&Options::default(), &Limits::default());
    let shell = world.serves(shell);
    let clock = world.answers(Time::new(jiff::tz::TimeZone::UTC, false), vec![]);
    let asks = |world: &mut World| {
        let asker: SocketAddr = "127.0.0.1:40000".parse().unwrap();
        world.os().writes_to(clock, Ok(b"%Y"), asker);
        world.settles();
        world.os().sockets[clock].sent.pop().unwrap().0
    };
    for (years, shown) in [
        (5 * TEN_YEARS, "2020"),
        (TEN_YEARS, "1980"),
        (Duration::ZERO, "1970"),
    ] {
        let (idle, half) = (world.dials(room), world.dials(patient));
        let runs = world.dials(shell);
        world.says(half, "half a line");
        world.says(runs, "sleep 1000\n");
        world.passes(IDLE - MS);
        world.os().wall = years;
        assert_eq!(String::from_utf8(asks(&mut world)).unwrap(), shown);
        is_closed_in(&mut world, idle, MS);
        is_closed_in(&mut world, half, PROGRESS_GRACE - IDLE);
        let command = world.os().commands.len() - 1;
        world.passes(30 * SECOND - MS);
        assert_eq!(world.os().commands[command].killed, []);
        world.passes(MS);
        assert_eq!(world.os().commands[command].killed, [Severity::Ask]);
        world.os().exits(command, Exit::Signal(15));
        world.settles();
    }
}
