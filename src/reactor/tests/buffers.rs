use super::*;
use crate::reactor::eviction::share;
use crate::service::command::{CommandFraming, Options};
use crate::service::{Chat, Command, Echo, Manner, Upper, chat, upper};
use crate::turn::Exit;
use crate::wire::LINE_BYTES_MAX;

/// A world whose buffers have this limit, which others do not come near.
fn with_budget(buffers: usize) -> World {
    World::with(Limits {
        buffers,
        chat_soft: 1 << 30,
        chat_hard: 1 << 30,
        ..Limits::default()
    })
}

fn buffered(world: &World) -> usize {
    usize::try_from(world.reactor.counters().buffered).unwrap()
}

fn evicted(world: &World) -> u64 {
    world.reactor.counters().closed.evicted
}

fn are_open<const N: usize>(world: &World, wires: [usize; N]) -> [bool; N] {
    wires.map(|wire| world.is_open(wire))
}

/// Says a line that never ends, of so many bytes; the upper service waits for its end.
fn begins_a_line(world: &mut World, listener: usize, bytes: usize) -> usize {
    let wire = world.dials(listener);
    world.says(wire, vec![b'x'; bytes]);
    wire
}

fn lines() -> Upper {
    let options = upper::Options {
        once: true,
        settle: crate::config::Settle::Never,
        ..upper::Options::default()
    };
    Upper::new(&options)
}

fn chat() -> Chat {
    Chat::new(&chat::Options::default(), LINE_BYTES_MAX)
}

/// A room in which lines of members who do not read are dropped when they have more than 10,000 bytes.
fn forgetful() -> World {
    let mut world = World::with(Limits {
        chat_soft: 10_000,
        chat_hard: 1 << 20,
        ..Limits::default()
    });
    let options = chat::Options {
        slow: chat::Slow::DropOldest,
        ..chat::Options::default()
    };
    world.serves(Chat::new(&options, 1000));
    world
}

/// The numbers of the lines in what a member heard, and how many it was told that it did not.
fn numbers(heard: &str) -> (Vec<usize>, usize) {
    let (mut numbers, mut dropped) = (Vec::new(), 0);
    for line in heard.lines() {
        if let Some(lines) = line.strip_prefix("* lines dropped, since you did not read them: ") {
            dropped += lines.parse::<usize>().unwrap();
            continue;
        }
        let line = line.strip_prefix("guest-1: line ").expect("a whole line");
        let (number, end) = line.split_once(' ').expect("a whole line");
        assert_eq!(end, "is here", "a whole line");
        numbers.push(number.parse().unwrap());
    }
    (numbers, dropped)
}

#[test]
fn fault_b11_a_member_who_does_not_read_has_whole_lines_and_is_told_how_many_were_dropped() {
    const LINES: usize = 5000;
    // A socket that takes nothing at first, or a byte, or half a line and so many at a time.
    for at_first in [0, 1, 13, 500] {
        for at_a_time in [0, 1, 29, 4096] {
            let mut world = forgetful();
            let (loud, quick, slow) = (world.dials(0), world.dials(0), world.dials(0));
            for wire in [loud, quick, slow] {
                world.hears(wire);
            }
            world.os().takes(slow, at_first);
            let (mut heard, mut all) = (String::new(), String::new());
            let mut most = 0;
            for n in 0..LINES {
                world.says(loud, format!("line {n} is here\n"));
                all.push_str(&world.hears(quick));
                if n % 100 == 99 {
                    world.os().takes(slow, at_a_time);
                    world.settles();
                    heard.push_str(&world.hears(slow));
                }
                most = most.max(buffered(&world));
            }
            assert!(world.is_open(slow), "nobody is disconnected for that");
            world.os().takes(slow, usize::MAX);
            world.settles();
            heard.push_str(&world.hears(slow));
            assert_eq!(numbers(&all), ((0..LINES).collect(), 0));
            let (lines, dropped) = numbers(&heard);
            assert!(
                lines.is_sorted_by(|one, next| one < next),
                "in order, and none twice"
            );
            assert_eq!(lines.len() + dropped, LINES, "{at_first} {at_a_time}");
            assert_eq!(lines.last(), Some(&(LINES - 1)), "the newest are there");
            let counters = world.reactor.counters();
            assert!(dropped > 1000 || at_a_time == 4096, "it was slow");
            assert_eq!(counters.lines_dropped, dropped as u64);
            assert!(most <= 64 << 10, "{most}");
        }
    }
}

#[test]
fn fault_b12_the_budget_holds_while_300_members_read_nothing() {
    const MEMBERS: usize = 300;
    // A sixteenth of the budget that there is by default, and of 12 MB.
    let limits = Limits {
        buffers: 16 << 20,
        chat_soft: 64 << 10,
        chat_hard: 1 << 20,
        chat_soft_time: 3600 * SECOND,
        ..Limits::default()
    };
    let (budget, line) = (limits.buffers, format!("{}\n", "x".repeat(3000)));
    let mut world = World::with(limits);
    let room = world.serves(chat());
    let (loud, quick) = (world.dials(room), world.dials(room));
    let silent: Vec<usize> = (0..MEMBERS).map(|_| world.dials(room)).collect();
    for &wire in &silent {
        world.os().takes(wire, 0);
    }
    world.hears(quick);
    let (mut most, mut heard) = (0, 0);
    for _ in 0..250 {
        world.says(loud, &line);
        most = most.max(buffered(&world));
        heard += world.hears(quick).matches('x').count();
    }
    // Without a budget it would have been 225 MB.
    assert!(
        most <= share(budget, 90) && most > share(budget, 80),
        "{most}"
    );
    let gone = silent.iter().filter(|&&wire| !world.is_open(wire)).count();
    assert!(
        gone > MEMBERS / 2 && evicted(&world) == gone as u64,
        "{gone}"
    );
    // Those who read have missed nothing, and no more were closed than it took.
    assert_eq!(heard, 250 * 3000);
    assert!(world.is_open(loud) && world.is_open(quick));
    assert!(buffered(&world) > share(budget, 80));
    // Those who stayed hear all that they were told when they read.
    let stayed = *silent.iter().find(|&&wire| world.is_open(wire)).unwrap();
    world.os().takes(stayed, usize::MAX);
    world.settles();
    assert_eq!(world.hears(stayed).matches('x').count(), 250 * 3000);
}

#[test]
fn fault_b12_a_thousand_members_whose_lines_are_dropped_stay_within_the_budget() {
    const MEMBERS: usize = 1000;
    let mut world = forgetful();
    let (loud, quick) = (world.dials(0), world.dials(0));
    let silent: Vec<usize> = (0..MEMBERS).map(|_| world.dials(0)).collect();
    for &wire in &silent {
        world.os().takes(wire, 0);
    }
    world.hears(quick);
    let (mut most, mut heard) = (0, 0);
    for n in 0..200 {
        world.says(loud, format!("{n} {}\n", "x".repeat(500)));
        most = most.max(buffered(&world));
        heard += world.hears(quick).matches("guest-1: ").count();
    }
    // Each has 10,000 bytes at most, and memory for as much again while it grows.
    assert!(most <= MEMBERS * 22_000, "{most}");
    assert_eq!(heard, 200, "the others hear everything");
    assert!(silent.iter().all(|&wire| world.is_open(wire)));
    assert!(world.reactor.counters().lines_dropped > 100_000);
    assert_eq!(evicted(&world), 0);
}

#[test]
fn fault_b12_of_all_buffers_the_largest_go_first_whatever_they_are_for() {
    let mut world = with_budget(1_000_000);
    let (half, echo, room) = (
        world.serves(lines()),
        world.serves(Echo),
        world.serves(chat()),
    );
    // Input that is not a line yet.
    let input = [30_000, 60_000].map(|bytes| begins_a_line(&mut world, half, bytes));
    // Output that nobody reads, of one's own and of others'.
    let talkers = [200_000, 20_000].map(|bytes| {
        let wire = world.dials(echo);
        world.os().takes(wire, 0);
        (0..bytes / 10_000).for_each(|_| world.says(wire, [b'y'; 10_000]));
        wire
    });
    let (loud, deaf) = (world.dials(room), world.dials(room));
    world.os().takes(deaf, 0);
    let say = |world: &mut World, until: &dyn Fn(&World) -> bool| {
        let line = format!("{}\n", "z".repeat(9_999));
        for _ in 0..1000 {
            if until(world) {
                return;
            }
            world.says(loud, &line);
        }
        panic!("the budget is never spent: {}", buffered(world));
    };
    assert_eq!(evicted(&world), 0);
    say(&mut world, &|world| evicted(world) > 0);
    assert_eq!(evicted(&world), 1, "one was enough");
    assert_eq!(
        are_open(&world, [deaf, talkers[0], talkers[1]]),
        [false, true, true]
    );
    assert_eq!(are_open(&world, input), [true, true]);
    assert!(
        buffered(&world) < 500_000,
        "its buffer is gone: {}",
        buffered(&world)
    );
    // The next is the largest of those that are left.
    let deaf = world.dials(room);
    world.os().takes(deaf, 0);
    for _ in 0..9 {
        let wire = world.dials(echo);
        world.os().takes(wire, 0);
        (0..10).for_each(|_| world.says(wire, [b'y'; 10_000]));
    }
    assert!(evicted(&world) >= 2);
    assert_eq!(are_open(&world, [talkers[0], talkers[1]]), [false, true]);
    assert_eq!(are_open(&world, input), [true, true]);
}

#[test]
fn fault_b12_a_crowd_of_lines_that_do_not_end_is_within_the_budget_too() {
    let mut world = with_budget(1_000_000);
    let half = world.serves(lines());
    let before = [10_000; 3].map(|bytes| begins_a_line(&mut world, half, bytes));
    let mut most = 0;
    for _ in 0..100 {
        begins_a_line(&mut world, half, 40_000);
        most = most.max(buffered(&world));
    }
    assert!(most <= 900_000, "{most}");
    assert!(evicted(&world) > 50);
    assert_eq!(are_open(&world, before), [true; 3], "they are small");
    // All in one turn, and each grows where it lies.
    let wires: Vec<usize> = (0..60)
        .map(|_| begins_a_line(&mut world, half, 5_000))
        .collect();
    for &wire in &wires {
        world.os().says(wire, &[b'x'; 50_000]);
    }
    world.settles();
    assert!(buffered(&world) <= 900_000);
    assert!(wires.iter().any(|&wire| world.is_open(wire)));
}

#[test]
fn fault_b12_output_that_is_collected_counts_until_it_is_answered_or_its_client_gone() {
    for framing in [CommandFraming::I32, CommandFraming::Decimal] {
        let mut world = with_budget(1_000_000);
        let options = Options {
            framing,
            ..Options::default()
        };
        let shell = Command::new(&options, &Limits::default());
        let listener = world.serves(shell);
        let wire = world.dials(listener);
        world.says(wire, "ls\n");
        assert_eq!(buffered(&world), 0);
        world.os().prints(0, &[b'x'; 300_000]);
        world.settles();
        assert!(
            (300_000..700_000).contains(&buffered(&world)),
            "{}",
            buffered(&world)
        );
        world.os().exits(0, Exit::Code(0));
        world.settles();
        if framing == CommandFraming::Decimal {
            // It waits for its acknowledgement.
            assert!(buffered(&world) >= 300_000);
            world.says(wire, "True\n");
        }
        assert_eq!(buffered(&world), 0);
        assert!(world.os().wires[wire].heard.len() >= 300_000);
        // And the same when the client goes.
        world.says(wire, "ls\n");
        world.os().prints(1, &[b'x'; 300_000]);
        world.settles();
        assert!(buffered(&world) >= 300_000);
        world.os().resets(wire);
        world.settles();
        assert_eq!(buffered(&world), 0);
    }
}

#[test]
fn fault_b12_a_command_that_collects_too_much_is_killed_with_its_connection() {
    let mut world = with_budget(1_000_000);
    let options = Options {
        framing: CommandFraming::I32,
        max_output: Some(10 << 20),
        ..Options::default()
    };
    let listener = world.serves(Command::new(&options, &Limits::default()));
    let [small, large] = [0, 1].map(|n| {
        let wire = world.dials(listener);
        world.says(wire, format!("{n}\n"));
        wire
    });
    world.os().prints(0, &[b'x'; 100_000]);
    world.os().prints(1, &[b'x'; 2_000_000]);
    world.settles();
    assert_eq!(are_open(&world, [small, large]), [true, false]);
    assert!(!world.os().commands[1].killed.is_empty());
    assert!(world.os().commands[0].killed.is_empty());
    assert_eq!(evicted(&world), 1);
}

#[test]
fn what_is_said_in_a_turn_leaves_early_rather_than_being_kept_for_all() {
    // Two rooms that speak in turns: what one is told does not lie in one piece, and each line would move
    // the lines before it into a buffer of each member.
    let mut world = with_budget(4 << 20);
    let rooms = [world.serves(chat()), world.serves(chat())];
    let louds = rooms.map(|room| world.dials(room));
    let members: Vec<usize> = (0..200).map(|n| world.dials(rooms[n % 2])).collect();
    let line = format!("{}\n", "x".repeat(9_999));
    for _ in 0..20 {
        louds
            .iter()
            .for_each(|&loud| world.os().says(loud, line.as_bytes()));
        // Others of both rooms, in the same turn.
        for &member in &members[..20] {
            world.os().says(member, line.as_bytes());
        }
        world.reactor.turn().unwrap();
        assert!(buffered(&world) <= share(4 << 20, 90));
    }
    world.settles();
    assert_eq!(evicted(&world), 0, "all of them read");
    assert_eq!(world.hears(members[199]).matches('x').count() % 9_999, 0);
}

/// Waits for ever for the rest of a proof.
#[derive(Debug)]
struct Waits;

impl Service for Waits {
    fn input(&mut self, _t: &mut Turn<'_>, _input: &mut ReadBuf) -> Result<(), Fault> {
        Ok(())
    }

    fn manner(&self) -> Manner {
        Manner {
            is_gated: true,
            ..Manner::ANSWERS
        }
    }
}

#[test]
fn fault_b12_connections_that_have_not_logged_in_go_before_larger_ones_that_have() {
    let mut world = with_budget(1_000_000);
    let (gate, half) = (world.serves(Waits), world.serves(lines()));
    let known = [50_000; 8].map(|bytes| begins_a_line(&mut world, half, bytes));
    let unknown = [1_000, 4_000, 1_000].map(|bytes| begins_a_line(&mut world, gate, bytes));
    assert_eq!(evicted(&world), 0);
    for _ in 0..100 {
        if evicted(&world) > 0 {
            break;
        }
        begins_a_line(&mut world, half, 5_000);
    }
    // They were not enough, so one of the largest followed.
    assert_eq!(are_open(&world, unknown), [false; 3]);
    let stayed = known.iter().filter(|&&wire| world.is_open(wire)).count();
    assert_eq!((evicted(&world), stayed), (4, 7));
}

/// A room whose newcomers are shown up to so many lines.
fn with_history(lines: u32) -> Chat {
    let options = chat::Options {
        history: lines,
        ..chat::Options::default()
    };
    Chat::new(&options, LINE_BYTES_MAX)
}

#[test]
fn fault_b12_what_rooms_remember_counts_and_is_forgotten_before_anybody_is_closed() {
    let mut world = with_budget(1_000_000);
    let (room, half) = (world.serves(with_history(100)), world.serves(lines()));
    let says = |world: &mut World, wire: usize| {
        let line = format!("{}\n", "x".repeat(999));
        (0..40).for_each(|_| world.says(wire, &line));
    };
    // Each in a room of its own, which goes with it; and one in the lobby, which stays.
    let members = [1, 2, 3].map(|n| {
        let wire = world.dials(room);
        world.says(wire, format!("/join room{n}\n"));
        wire
    });
    let last = world.dials(room);
    members.iter().for_each(|&wire| says(&mut world, wire));
    says(&mut world, last);
    let all = buffered(&world);
    assert!(all >= 4 * 40_000, "{all}");
    world.os().resets(members[0]);
    world.settles();
    let fewer = buffered(&world);
    assert!((3 * 40_000..=all - 40_000).contains(&fewer), "{fewer}");
    // Others come near the limit.
    let before = [40_000; 19].map(|bytes| begins_a_line(&mut world, half, bytes));
    assert_eq!(evicted(&world), 0);
    assert_eq!(are_open(&world, before), [true; 19]);
    assert!(buffered(&world) >= 19 * 40_000);
    let newcomer = world.dials(room);
    assert!(!world.hears(newcomer).contains("earlier lines"));
    // And what comes afterwards is remembered again.
    says(&mut world, last);
    let newcomer = world.dials(room);
    assert!(world.hears(newcomer).contains("earlier lines: 40"));
}

#[test]
fn fault_b12_what_a_room_remembers_is_gone_with_its_service() {
    let mut world = World::new();
    let service = world.reactor.add(Box::new(with_history(100)));
    let socket = world.reactor.os.listener();
    let listener = world.reactor.listen(socket, ListenerOptions::to(service));
    let wire = world.dials(socket);
    world.says(wire, "hello\n");
    assert!(buffered(&world) > 0);
    world.reactor.retire(listener.unwrap());
    world.os().resets(wire);
    world.settles();
    // What was said to nobody meanwhile goes with the next turn.
    world.settles();
    assert_eq!(buffered(&world), 0);
}

#[test]
fn fault_b12_a_command_that_waits_counts_until_it_runs() {
    let mut world = World::with(Limits {
        commands: 1,
        ..Limits::default()
    });
    let shell = world.serves(Command::new(&Options::default(), &Limits::default()));
    let [first, second, third] = [0; 3].map(|_| world.dials(shell));
    world.says(first, "first\n");
    assert_eq!(buffered(&world), 0);
    for (wire, bytes) in [(second, 50_000), (third, 60_000)] {
        world.says(wire, format!("{}\n", "x".repeat(bytes)));
    }
    assert!(buffered(&world) >= 110_000, "{}", buffered(&world));
    world.os().resets(third);
    world.settles();
    let one = buffered(&world);
    assert!((50_000..110_000).contains(&one), "{one}");
    world.os().exits(0, Exit::Code(0));
    world.settles();
    assert_eq!(world.os().commands.len(), 2);
    assert_eq!(buffered(&world), 0);
}

#[test]
fn fault_b12_a_budget_that_changes_holds_from_then_on() {
    let mut world = with_budget(64 << 20);
    let listener = world.serves(lines());
    let wires = [40_000, 50_000, 60_000].map(|bytes| begins_a_line(&mut world, listener, bytes));
    assert_eq!(are_open(&world, wires), [true; 3]);
    let narrow = Limits {
        buffers: 150_000,
        ..world.reactor.limits.clone()
    };
    world.reactor.change_limits(narrow, usize::MAX);
    world.settles();
    assert_eq!(are_open(&world, wires), [true, true, false]);
    let wide = Limits {
        buffers: 64 << 20,
        ..world.reactor.limits.clone()
    };
    world.reactor.change_limits(wide, usize::MAX);
    let more = begins_a_line(&mut world, listener, 60_000);
    assert!(world.is_open(more));
    assert_eq!(evicted(&world), 1);
}
