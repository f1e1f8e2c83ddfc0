use super::*;
use crate::config::limits::{ATTENDANT_RETRY, ATTENDANT_RETRY_MAX, COMMAND_KILL_GRACE, LEAVING};
use crate::reactor::Signal;
use crate::service::command::{Options, Restart};
use crate::service::{Echo, Tail};
use crate::turn::{Exit, Severity};

fn tail(restart: Restart) -> Tail {
    let options = Options {
        restart,
        ..Options::default()
    };
    Tail::new("watch", &options, &Limits::default())
}

#[test]
fn a_feed_runs_before_anybody_reads_and_all_readers_hear_it() {
    let mut world = World::new();
    let listener = world.serves(tail(Restart::Always));
    world.settles();
    assert_eq!(world.os().commands.len(), 1);
    assert_eq!(world.os().commands[0].line, "watch");
    world.os().prints(0, b"before\n");
    world.settles();
    let readers = [world.dials(listener), world.dials(listener)];
    world.os().prints(0, b"after\n");
    world.settles();
    for reader in readers {
        assert_eq!(world.hears(reader), "before\nafter\n");
    }
    // It is none of those that clients run.
    assert_eq!(world.reactor.children.count(), (0, 0));
}

#[test]
fn a_feed_that_ends_is_started_again_after_a_wait_that_doubles_until_it_runs_long_enough() {
    let mut world = World::new();
    let listener = world.serves(tail(Restart::Always));
    let reader = world.dials(listener);
    let mut wait = ATTENDANT_RETRY;
    for nth in 0..12 {
        assert_eq!(world.os().commands.len(), nth + 1);
        world.os().exits(nth, Exit::Code(1));
        world.settles();
        assert!(world.os().commands[nth].is_reaped);
        world.passes(wait - MS);
        assert_eq!(world.os().commands.len(), nth + 1, "{wait:?}");
        world.passes(MS);
        wait = ATTENDANT_RETRY_MAX.min(wait * 2);
    }
    assert_eq!(wait, ATTENDANT_RETRY_MAX);
    world.passes(ATTENDANT_RETRY_MAX);
    world.os().exits(12, Exit::Code(0));
    world.settles();
    world.passes(ATTENDANT_RETRY);
    assert_eq!(world.os().commands.len(), 14);
    world.os().prints(13, b"still here\n");
    world.settles();
    assert_eq!(world.hears(reader), "still here\n");
}

#[test]
fn a_feed_that_is_not_restarted_ends_its_readers() {
    let mut world = World::new();
    let listener = world.serves(tail(Restart::Never));
    let reader = world.dials(listener);
    world.os().prints(0, b"all\n");
    world.os().exits(0, Exit::Code(0));
    world.passes(ATTENDANT_RETRY_MAX);
    assert_eq!(
        (&*world.hears(reader), world.is_open(reader)),
        ("all\n", false)
    );
    assert_eq!(world.os().commands.len(), 1);
}

#[test]
fn a_reader_who_does_not_read_is_disconnected_and_the_others_go_on() {
    let limits = Limits {
        chat_hard: 10_000,
        ..Limits::default()
    };
    let mut world = World::with(limits);
    let listener = world.serves(tail(Restart::Always));
    let [reads, does_not] = [world.dials(listener), world.dials(listener)];
    world.os().takes(does_not, 0);
    let lines = "x".repeat(99) + "\n";
    for _ in 0..20 {
        world.os().prints(0, lines.repeat(10).as_bytes());
        world.settles();
    }
    assert!(!world.is_open(does_not));
    assert_eq!(world.hears(reads), lines.repeat(200));
}

#[test]
fn a_feed_ends_with_the_last_listener_of_its_service() {
    let mut world = World::new();
    let service = world.reactor.add(Box::new(tail(Restart::Always)));
    let socket = world.os().listener();
    let listener = world.reactor.listen(socket, ListenerOptions::to(service));
    world.settles();
    let echo = world.reactor.add(Box::new(Echo));
    let replaced = world
        .reactor
        .replace(listener.unwrap(), ListenerOptions::to(echo));
    world.settles();
    assert_eq!(world.os().commands[0].killed, [Severity::Ask]);
    // The place of the service is another's by now, whose command it is not.
    let again = world.reactor.add(Box::new(tail(Restart::Always)));
    world
        .reactor
        .replace(replaced.unwrap(), ListenerOptions::to(again))
        .unwrap();
    let reader = world.dials(socket);
    world.os().prints(0, b"old\n");
    world.os().prints(1, b"new\n");
    world.passes(COMMAND_KILL_GRACE);
    assert_eq!(
        world.os().commands[0].killed,
        [Severity::Ask, Severity::Force]
    );
    world.os().exits(0, Exit::Signal(9));
    world.passes(ATTENDANT_RETRY_MAX);
    assert_eq!(world.os().commands.len(), 2);
    assert_eq!(world.hears(reader), "new\n");
}

#[test]
fn a_server_that_stops_asks_its_feeds_to_end_and_starts_none() {
    let mut world = World::new();
    let listener = world.serves(tail(Restart::Always));
    let reader = world.dials(listener);
    world.os().prints(0, b"last words\n");
    world.os().signal(Signal::Stop);
    world.settles();
    assert_eq!(world.os().commands[0].killed[0], Severity::Ask);
    world.os().exits(0, Exit::Signal(15));
    world.passes(ATTENDANT_RETRY_MAX);
    assert_eq!(world.hears(reader), "last words\n");
    assert!(world.reactor.is_stopped());
    assert_eq!(world.os().commands.len(), 1);
}

/// A reader takes three bytes, and no more until the feed is over; its last sign of life was so long ago then.
fn is_over(before: Duration) -> (World, usize) {
    let mut world = World::new();
    let listener = world.serves_with(tail(Restart::Never), |listener| {
        listener.idle = Some(3600 * SECOND);
    });
    let reader = world.dials(listener);
    world.settles();
    world.os().takes(reader, 3);
    world.os().prints(0, b"last words\n");
    world.settles();
    world.passes(before);
    world.os().exits(0, Exit::Code(0));
    world.settles();
    (world, reader)
}

#[test]
fn a_reader_who_takes_nothing_of_what_a_feed_said_last_is_not_waited_for_as_long_as_it_may_be_silent()
 {
    let (mut world, reader) = is_over(Duration::ZERO);
    world.passes(LEAVING - MS);
    assert!(world.is_open(reader));
    world.passes(MS);
    assert!(!world.is_open(reader));
    assert_eq!(world.reactor.counters().closed.stuck, 1);
}

#[test]
fn a_reader_has_time_for_what_a_feed_said_last_also_if_it_has_been_silent_for_long() {
    let (mut world, reader) = is_over(3600 * SECOND - MS);
    world.passes(LEAVING - MS);
    world.os().takes(reader, usize::MAX);
    world.settles();
    assert_eq!(world.hears(reader), "last words\n");
}
