//! What commands are fed, with the pipe in hand.

use super::*;
use crate::service::Command;
use crate::service::command::Options;
use crate::turn::{Exit, Severity};
use crate::wire::{
    CommandAnswer, CommandAnswers, CommandRequest, CommandSignal, Decode, Encode, RunCommand,
    STDIN_CREDIT_BYTES, StdinChunk, StreamedCommand,
};

const CREDIT: usize = STDIN_CREDIT_BYTES as usize;

/// A client whose command runs, and is fed.
fn runs(limits: Limits) -> (World, usize) {
    let mut world = World::with(limits);
    let listener = world.serves(Command::new(&Options::default(), &Limits::default()));
    let wire = world.dials(listener);
    begins(&mut world, wire);
    (world, wire)
}

fn begins(world: &mut World, wire: usize) {
    let mut run = RunCommand::new(StreamedCommand::Line(b"cat".to_vec()));
    run.has_input = true;
    world.says(wire, encoded(&CommandRequest::Run(Box::new(run))));
}

fn encoded(request: &impl Encode) -> Vec<u8> {
    let mut out = Vec::new();
    request.encode(&mut out);
    out
}

/// What a client heard of its command besides what it wrote, and how much it wrote.
fn hears(world: &mut World, wire: usize) -> (Vec<String>, usize) {
    let bytes = std::mem::take(&mut world.os().wires[wire].heard);
    let (mut answers, mut at) = (CommandAnswers::new(), 0);
    let (mut said, mut wrote) = (Vec::new(), 0);
    while let Some((answer, taken)) = answers.decode(&bytes[at..]).unwrap() {
        match answer {
            CommandAnswer::Part => {}
            CommandAnswer::Stdout(bytes) | CommandAnswer::Stderr(bytes) => wrote += bytes.len(),
            CommandAnswer::End(end) => said.push(format!("{:?} of {}", end.exit, end.stdin)),
            other => said.push(format!("{other:?}")),
        }
        at += taken;
    }
    (said, wrote)
}

fn taken(world: &mut World, command: usize) -> usize {
    let input = world.os().commands[command].input.as_ref().unwrap();
    input.taken.len()
}

#[test]
fn a_pipe_takes_what_it_has_room_for_and_the_rest_when_it_has_more() {
    let (mut world, wire) = runs(Limits::default());
    world.says(wire, encoded(&StdinChunk(&[7; 5000])));
    assert_eq!(taken(&mut world, 0), 0);
    for (reads, expected) in [(1, 1), (999, 1000), (3999, 4999), (10_000, 5000)] {
        world.os().reads(0, reads);
        world.settles();
        assert_eq!(taken(&mut world, 0), expected);
    }
    // There is room left, so no edge comes.
    world.says(wire, encoded(&StdinChunk(&[7; 5000])));
    assert_eq!(taken(&mut world, 0), 10_000);
    world.says(wire, encoded(&CommandRequest::StdinEnd));
    assert_eq!(world.reactor.counters().children, 1);
    world.os().exits(0, Exit::Code(0));
    world.settles();
    let (said, _) = hears(&mut world, wire);
    assert_eq!(said.last().unwrap(), "Some(0) of 10000");
}

#[test]
fn a_command_that_never_reads_blocks_neither_the_loop_nor_its_output() {
    let (mut world, wire) = runs(Limits::default());
    world.says(wire, encoded(&StdinChunk(&vec![7; CREDIT])));
    hears(&mut world, wire);
    world.os().prints(0, &[b'x'; 100_000]);
    world.passes(SECOND);
    assert_eq!(hears(&mut world, wire), (Vec::new(), 100_000));
    // Nothing is to be done, and the loop rests.
    assert!(!world.reactor.has_work());
    world.says(wire, encoded(&CommandRequest::Cancel));
    assert_eq!(world.os().commands[0].killed, [Severity::Ask]);
}

#[test]
fn a_command_that_closes_its_input_is_an_end_however_the_loop_learns_of_it() {
    // By the poll, while nothing is queued; by a write that fails.
    for queued in [0, 1000] {
        let (mut world, wire) = runs(Limits::default());
        if queued > 0 {
            world.says(wire, encoded(&StdinChunk(&vec![7; queued])));
        }
        hears(&mut world, wire);
        world.os().is_deaf(0);
        world.settles();
        assert_eq!(hears(&mut world, wire).0, ["StdinClosed"]);
        world.says(wire, encoded(&StdinChunk(&[7; 1000])));
        world.os().prints(0, b"still here");
        world.settles();
        assert_eq!(hears(&mut world, wire), (Vec::new(), 10));
        world.os().exits(0, Exit::Code(3));
        world.settles();
        assert_eq!(hears(&mut world, wire).0, ["Some(3) of 0"]);
    }
}

#[test]
fn fault_f9_gone_while_its_input_is_full_and_its_output_too() {
    let limits = Limits {
        out_pause: 1000,
        out_resume: 500,
        ..Limits::default()
    };
    let (mut world, wire) = runs(limits);
    world.says(wire, encoded(&StdinChunk(&vec![7; CREDIT])));
    world.os().takes(wire, 0);
    world.os().prints(0, &[b'x'; 100_000]);
    world.settles();
    // It is owed as much as it may be, and is heard all the same.
    assert!(world.reactor.counters().owed >= 1000);
    let signal = CommandRequest::Signal(CommandSignal::Int);
    world.says(wire, encoded(&signal));
    assert_eq!(world.os().commands[0].signals, [CommandSignal::Int]);
    world.os().ends(wire);
    world.settles();
    assert_eq!(world.os().commands[0].killed, [Severity::Force]);
}

#[test]
fn a_signal_that_comes_after_the_end_reaches_nobody() {
    let (mut world, wire) = runs(Limits::default());
    world.os().exits(0, Exit::Code(0));
    let kill = encoded(&CommandRequest::Signal(CommandSignal::Kill));
    world.says(wire, &kill);
    world.says(wire, &kill);
    assert!(world.os().commands[0].is_reaped);
    begins(&mut world, wire);
    assert!(world.os().commands[1].signals.is_empty());
}

#[test]
fn standard_error_waits_in_its_pipe_too() {
    let limits = Limits {
        out_pause: 1000,
        out_resume: 500,
        read_per_turn: 600,
        ..Limits::default()
    };
    let (mut world, wire) = runs(limits);
    world.os().takes(wire, 0);
    world.os().complains(0, &[b'x'; 100_000]);
    world.settles();
    assert!(world.reactor.counters().owed < 2000);
    world.os().takes(wire, usize::MAX);
    world.settles();
    assert_eq!(hears(&mut world, wire).1, 100_000);
}

#[test]
fn a_client_whose_command_runs_may_be_silent() {
    let mut world = World::new();
    let service = Command::new(&Options::default(), &Limits::default());
    let idle = Some(SECOND);
    let listener = world.serves_with(service, |options| options.idle = idle);
    let wire = world.dials(listener);
    begins(&mut world, wire);
    world.passes(100 * SECOND);
    assert!(world.is_open(wire));
    world.os().exits(0, Exit::Code(0));
    world.settles();
    world.passes(SECOND);
    assert!(!world.is_open(wire), "and when it has ended, not");
}
