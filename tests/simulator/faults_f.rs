//! Faults of commands (table F) that the loop itself has to survive, each as a script of its own.

use std::time::Duration;

use onepoll::config::Limits;
use onepoll::turn::Output;

use crate::family::{Step, Steps};
use crate::kernel::{Found, MILLI};
use crate::play::Play;
use crate::services::Runs;

fn say(output: Output, bytes: &[u8]) -> (u64, Step) {
    (0, Step::Say(output, bytes.to_vec()))
}

fn runs(limits: Limits, children: &[&[(u64, Step)]]) -> (Play, usize) {
    let mut play = Play::directed_with(limits, 100);
    let listener = play.open(Runs);
    play.os.net(|net| {
        let steps = children
            .iter()
            .map(|steps| steps.iter().cloned().collect::<Steps>());
        net.next_children.extend(steps);
    });
    (play, listener)
}

#[test]
fn fault_f3_a_grandchild_that_holds_the_pipe_is_not_waited_for() {
    // Whether it stays in the group, and dies with it, or has left it for good.
    for grandchild in [Step::Fork, Step::Escape] {
        let steps = [
            (0, grandchild),
            say(Output::Out, b"hi\n"),
            (0, Step::Exit(3)),
        ];
        let (mut play, listener) = runs(Limits::default(), &[&steps]);
        let link = play.dial(listener);
        play.say(link, b"command\n");
        play.pass(Duration::from_millis(200));
        assert_eq!(play.hears(link), b"hi\n=3\n");
        assert_eq!(play.counters().children, 0);
        play.shut(link);
        play.run();
        assert!(play.is_empty());
    }
}

#[test]
fn fault_f8_a_command_that_closes_its_output_is_not_over() {
    let steps = [
        say(Output::Out, b"early"),
        (0, Step::Shut(Output::Out)),
        (0, Step::Shut(Output::Err)),
        (5 * MILLI, Step::Exit(0)),
    ];
    let (mut play, listener) = runs(Limits::default(), &[&steps]);
    let link = play.dial(listener);
    play.say(link, b"command\n");
    play.run();
    assert_eq!(play.hears(link), b"early");
    play.pass(Duration::from_millis(5));
    assert_eq!(play.hears(link), b"=0\n");
}

#[test]
fn fault_f9_gone_in_the_middle_of_a_command() {
    let steps = [say(Output::Out, b"begun"), (10_000 * MILLI, Step::Exit(0))];
    let (mut play, listener) = runs(Limits::default(), &[&steps, &steps]);
    let (gone, ended) = (play.dial(listener), play.dial(listener));
    play.say(gone, b"command\n");
    play.say(ended, b"command\n");
    play.shut(ended);
    play.run();
    assert_eq!(play.counters().children, 2);
    play.reset(gone);
    play.pass(Duration::from_millis(100));
    assert_eq!(play.counters().children, 1, "killed and reaped");
    play.pass(Duration::from_secs(10));
    assert_eq!(play.hears(ended), b"begun=0\n", "a FIN is not that");
    assert_eq!(play.finds(ended), Found::End);
    assert!(play.is_empty());
}

#[test]
fn fault_f12_a_command_that_cannot_be_started() {
    let (mut play, listener) = runs(Limits::default(), &[]);
    play.os.net(|net| net.faults.spawn = 255);
    let link = play.dial(listener);
    play.say(link, b"command\n");
    play.run();
    assert_eq!(play.hears(link), b"failed\n");
    play.os.net(|net| net.faults.spawn = 0);
    play.say(link, b"command\n");
    play.pass(Duration::from_secs(1));
    assert!(!play.hears(link).starts_with(b"failed"), "the next one is");
}

#[test]
fn fault_f19_more_commands_than_may_run() {
    let limits = Limits {
        commands: 2,
        commands_queued: 3,
        ..Limits::default()
    };
    let steps = [say(Output::Out, b"ran"), (MILLI, Step::Exit(0))];
    let (mut play, listener) = runs(limits, &[&steps[..]; 5]);
    let links: Vec<usize> = (0..9).map(|_| play.dial(listener)).collect();
    links.iter().for_each(|&link| play.say(link, b"command\n"));
    play.run();
    let counters = play.counters();
    assert_eq!((counters.children, counters.children_waiting), (2, 3));
    play.pass(Duration::from_secs(1));
    let mut heard: Vec<Vec<u8>> = links.iter().map(|&link| play.hears(link)).collect();
    heard.sort();
    assert_eq!(heard[..4], vec![b"busy\n".to_vec(); 4]);
    assert_eq!(heard[4..], vec![b"ran=0\n".to_vec(); 5]);
    links.iter().for_each(|&link| play.reset(link));
    play.run();
    assert!(play.is_empty());
}

#[test]
fn a_command_that_says_more_than_its_client_reads_waits_in_its_pipe() {
    let steps = [say(Output::Out, &vec![b'y'; 2_000_000]), (0, Step::Exit(0))];
    let (mut play, listener) = runs(Limits::default(), &[&steps]);
    let link = play.dial_with(listener, 100, 10_000);
    play.say(link, b"command\n");
    play.pass(Duration::from_secs(1));
    assert!(play.counters().owed < 256 * 1024 + 64 * 1024 + 1);
    let mut heard = Vec::new();
    while !heard.ends_with(b"=0\n") {
        play.pass(Duration::from_millis(1));
        heard.extend(play.hears(link));
    }
    assert_eq!(heard.len(), 2_000_003);
}
