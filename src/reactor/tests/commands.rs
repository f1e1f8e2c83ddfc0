use rustix::io::Errno;

use super::hand::WhenEmpty;
use super::*;
use crate::reactor::child::LEFT_IN_PIPE_BYTES_MAX;
use crate::turn::{ARENA_BYTES_MAX, ChildEvent, Exit, Job, Output, Severity};

/// Runs what it is told to, says what that prints, and asks it to end as it is told to.
#[derive(Debug)]
struct Shell;

impl Service for Shell {
    fn input(&mut self, t: &mut Turn<'_>, input: &mut ReadBuf) -> Result<(), Fault> {
        match input.unread() {
            b"ask" => t.kill(Severity::Ask),
            b"force" => t.kill(Severity::Force),
            line => _ = t.spawn(Job::line(line.to_vec())),
        }
        input.consume(input.len());
        Ok(())
    }

    fn child(&mut self, t: &mut Turn<'_>, event: ChildEvent<'_>) {
        match event {
            ChildEvent::Wrote(Output::Out, bytes) => t.reply(bytes),
            ChildEvent::Ended(_) => t.reply("."),
            _ => {}
        }
    }
}

/// A client whose command runs.
fn runs(limits: Limits) -> (World, usize, usize) {
    let mut world = World::with(limits);
    let listener = world.serves(Shell);
    let wire = world.dials(listener);
    world.says(wire, "run");
    (world, listener, wire)
}

#[test]
fn fault_f3_a_command_that_was_asked_to_end_may_clean_up_until_it_is_forced() {
    let (mut world, _, wire) = runs(Limits::default());
    world.os().commands[0].when_empty = WhenEmpty::Stays;
    let asked = [Severity::Ask, Severity::Ask];
    world.says(wire, "ask");
    // The leader of its group has gone, and another of the group prints still.
    world.os().exits(0, Exit::Signal(15));
    world.settles();
    world.says(wire, "ask");
    world.os().prints(0, b"cleaned");
    world.settles();
    assert_eq!(world.hears(wire), "cleaned");
    assert_eq!(world.os().commands[0].killed, asked);
    assert!(!world.os().commands[0].is_reaped);
    // Who left the group and holds the pipe is not waited for any more.
    world.says(wire, "force");
    assert_eq!(world.hears(wire), ".");
    assert_eq!(world.os().commands[0].killed[2..], [Severity::Force]);
    assert!(world.os().commands[0].is_reaped);
}

#[test]
fn a_command_that_was_asked_to_end_and_has_nothing_more_to_say_has_ended() {
    let (mut world, _, wire) = runs(Limits::default());
    world.says(wire, "ask");
    world.os().exits(0, Exit::Signal(15));
    world.settles();
    assert_eq!(world.hears(wire), ".");
    let killed = &world.os().commands[0].killed;
    assert_eq!(killed[..], [Severity::Ask, Severity::Force]);
}

#[test]
fn fault_f3_who_writes_on_after_the_end_of_a_command_is_heard_for_so_long_only() {
    let limits = Limits {
        read_per_turn: 5000,
        ..Limits::default()
    };
    let (mut world, _, wire) = runs(limits);
    world.os().exits(0, Exit::Code(0));
    world.os().commands[0].when_empty = WhenEmpty::Fills;
    world.settles();
    let heard = world.hears(wire);
    assert!(heard.ends_with("x."));
    let told = LEFT_IN_PIPE_BYTES_MAX..LEFT_IN_PIPE_BYTES_MAX + 5000;
    assert!(told.contains(&(heard.len() - 1)), "{}", heard.len());
}

#[test]
fn a_pipe_that_fails_has_ended() {
    let (mut world, _, wire) = runs(Limits::default());
    world.os().commands[0].when_empty = WhenEmpty::Fails(Errno::IO);
    world.os().prints(0, b"all there was");
    world.settles();
    // Its end is the command's exit all the same.
    assert_eq!(world.hears(wire), "all there was");
    world.os().exits(0, Exit::Code(0));
    world.settles();
    assert_eq!(world.hears(wire), ".");
}

#[test]
fn what_a_command_left_in_its_pipe_does_not_keep_its_place_for_a_client_that_does_not_read() {
    let limits = Limits {
        commands: 1,
        read_per_turn: 500,
        out_pause: 1000,
        ..Limits::default()
    };
    let (mut world, listener, wire) = runs(limits);
    let waits = world.dials(listener);
    world.says(waits, "second");
    world.os().takes(wire, 0);
    world.os().prints(0, &[b'x'; 5000]);
    world.settles();
    assert_eq!(
        world.reactor.counters().owed,
        1000,
        "the rest stays in its pipe"
    );
    assert_eq!(world.os().commands.len(), 1);
    world.os().exits(0, Exit::Code(0));
    world.settles();
    assert_eq!(world.reactor.counters().owed, 5001);
    assert_eq!(world.os().commands[1].line, "second");
}

#[test]
fn fault_a10_commands_that_follow_each_other_are_not_taken_for_one_another() {
    let (mut world, _, wire) = runs(Limits::default());
    world.os().exits(0, Exit::Code(0));
    world.settles();
    world.says(wire, "second");
    let commands = &world.os().commands;
    for (first, second) in commands[0].tokens.iter().zip(commands[1].tokens) {
        assert_ne!(*first, second);
    }
}

#[test]
fn what_commands_print_in_one_turn_is_sent_before_it_fills_memory() {
    const PRINTS: usize = 3 * ARENA_BYTES_MAX / 2;
    let limits = Limits {
        read_per_turn: PRINTS,
        ..Limits::default()
    };
    let (mut world, listener, _) = runs(limits);
    for _ in 0..7 {
        let wire = world.dials(listener);
        world.says(wire, "run");
    }
    for command in 0..8 {
        world.os().prints(command, &vec![b'x'; PRINTS]);
    }
    world.settles();
    assert_eq!(world.os().unwritten_max, PRINTS);
}
