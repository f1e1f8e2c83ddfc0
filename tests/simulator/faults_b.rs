//! Faults of streams and their buffers (table B), each as a script of its own.

use std::time::Duration;

use onepoll::buf::ReadBuf;
use onepoll::config::Limits;
use onepoll::service::{Echo, Manner, Service};
use onepoll::turn::{Fault, Turn};

use crate::kernel::Found;
use crate::play::Play;
use crate::services::{Crowd, Lines};

const TRANSCRIPT: &[u8] = b"one\ntwo\nhhhh\nthree\n\nfour\nlast";

#[test]
fn fault_b1_one_byte_at_a_time() {
    let mut play = Play::directed();
    let lines = play.open(Lines);
    let link = play.dial(lines);
    for byte in TRANSCRIPT {
        play.say(link, &[*byte]);
        play.pass(Duration::from_millis(10));
    }
    play.shut(link);
    play.run();
    assert_eq!(play.hears(link), Lines::answers(TRANSCRIPT).0);
    assert!(play.is_empty());
}

#[test]
fn fault_b13_two_full_pipes() {
    let mut play = Play::directed();
    let echo = play.open(Echo);
    let link = play.dial_with(echo, 64 << 10, 64 << 10);
    // 100 MB, of which nothing is read until nothing more can be written.
    let (byte, total) = (|at: usize| (at % 251) as u8, 100_000_000);
    let (mut said, mut heard) = (0, 0);
    while heard < total {
        loop {
            let piece: Vec<u8> = (said..total.min(said + (16 << 10))).map(byte).collect();
            let n = play
                .os
                .net(|net| net.client_write(link, &piece))
                .expect("it lives");
            said += n;
            play.run();
            if n == 0 {
                break;
            }
        }
        assert!(
            play.counters().owed <= 320 << 10,
            "it is not read while it does not read"
        );
        for got in play.hears(link) {
            assert_eq!(got, byte(heard));
            heard += 1;
        }
        play.run();
    }
    play.shut(link);
    play.run();
    assert_eq!(play.finds(link), Found::End);
    assert!(play.is_empty());
}

#[test]
fn fault_b14_rst_at_every_byte() {
    for at in 0..=TRANSCRIPT.len() {
        for pause in [false, true] {
            let mut play = Play::directed();
            let (echo, lines, crowd) = (
                play.open(Echo),
                play.open(Lines),
                play.open(Crowd::default()),
            );
            for listener in [echo, lines, crowd] {
                let link = play.dial(listener);
                play.say(link, &TRANSCRIPT[..at]);
                if pause {
                    play.run();
                }
                play.reset(link);
                play.pass(Duration::from_secs(1));
                assert!(
                    play.is_empty(),
                    "listener {listener}, byte {at}: {:?}",
                    play.counters()
                );
            }
        }
    }
}

#[test]
fn fault_b14_rst_at_every_byte_of_the_answer() {
    let all = Lines::answers(TRANSCRIPT).0.len();
    for at in 0..=all {
        let mut play = Play::directed();
        let lines = play.open(Lines);
        let link = play.dial_with(lines, 1000, at.max(1));
        play.say(link, TRANSCRIPT);
        play.pass(Duration::from_millis(100));
        play.reset(link);
        play.pass(Duration::from_secs(1));
        assert!(play.is_empty(), "byte {at}: {:?}", play.counters());
    }
}

#[test]
fn fault_b15_fin_at_every_byte() {
    for at in 0..=TRANSCRIPT.len() {
        for pause in [false, true] {
            let mut play = Play::directed();
            let lines = play.open(Lines);
            let link = play.dial(lines);
            play.say(link, &TRANSCRIPT[..at]);
            if pause {
                play.run();
            }
            play.shut(link);
            play.pass(Duration::from_secs(1));
            assert_eq!(
                play.hears(link),
                Lines::answers(&TRANSCRIPT[..at]).0,
                "byte {at}"
            );
            assert_eq!(play.finds(link), Found::End);
            assert!(play.is_empty());
        }
    }
}

#[test]
fn fault_b16_error_reply_with_unread_input() {
    let mut play = Play::directed();
    let lines = play.open(Lines);
    let link = play.dial(lines);
    play.run();
    // The refusal is in the first bytes, and much more comes behind it, then and later.
    let mut said = b"!\n".to_vec();
    said.resize(400_000, b'x');
    play.say(link, &said);
    play.turn();
    play.say(link, &said[..100_000]);
    play.run();
    play.pass(Duration::from_secs(1));
    play.say(link, b"and more");
    play.run();
    assert_eq!(play.hears(link), b"no\n", "the reason arrives");
    assert_eq!(play.finds(link), Found::End, "and an end, not a reset");
    play.pass(Duration::from_millis(1_001));
    assert!(play.is_empty(), "after 2 s at most");
}

#[test]
fn fault_b16_what_is_discarded_is_bounded() {
    let mut play = Play::directed();
    let lines = play.open(Lines);
    let link = play.dial(lines);
    play.say(link, b"!\n");
    play.run();
    let mut said = 0;
    while let Some(n) = play.os.net(|net| net.client_write(link, &[b'x'; 60_000])) {
        said += n;
        play.run();
        assert!(said <= (1 << 20) + 130_000, "it reads for ever");
    }
    assert!(play.is_empty());
}

#[test]
fn fault_b16_letters_do_not_cut_the_farewell_short() {
    let mut play = Play::directed();
    let crowd = play.open_with(Crowd::default(), |listener| {
        listener.idle = Some(Duration::from_secs(1))
    });
    let leaves = play.dial(crowd);
    play.run();
    play.pass(Duration::from_millis(500));
    let stays = play.dial(crowd);
    play.run();
    // The first is idle and lingers; the other speaks to it.
    play.pass(Duration::from_millis(600));
    play.say(stays, b"are you there?\n");
    play.run();
    assert_eq!(play.counters().connections, 2, "it lingers on");
    assert_eq!(play.finds(leaves), Found::End);
    play.shut(leaves);
    play.run();
    assert_eq!(play.counters().closed.idle, 1);
}

#[test]
fn fault_b17_writing_to_a_peer_that_closed() {
    let mut play = Play::directed();
    let crowd = play.open(Crowd::default());
    let (gone, speaker) = (play.dial(crowd), play.dial(crowd));
    play.run();
    play.os.net(|net| net.links[gone].client_gone = true);
    // The first write is taken and answered by a reset, the second would fail.
    play.say(speaker, b"one\n");
    play.turn();
    play.say(speaker, b"two\n");
    play.run();
    assert_eq!(play.counters().closed.gone, 1);
    assert_eq!(play.counters().connections, 1);
    assert_eq!(play.os.net(|net| net.descriptors), 1, "freed once");
}

#[test]
fn fault_b18_urgent_data_hides_nothing_behind_it() {
    for pause in [false, true] {
        let mut play = Play::directed();
        let echo = play.open(Echo);
        let link = play.dial(echo);
        if pause {
            play.run();
        }
        play.say(link, b"before");
        play.os.net(|net| net.client_urge(link));
        play.say(link, b"behind");
        play.run();
        assert_eq!(play.hears(link), b"beforebehind");
    }
}

#[test]
fn fault_b19_short_writes_and_full_sockets_at_every_write() {
    let mut play = Play::directed();
    let echo = play.open(Echo);
    for most in 0..40 {
        let link = play.dial(echo);
        play.os
            .net(|net| net.next_writes.extend((0..200).map(|k| (most + k) % 7)));
        let all: Vec<u8> = (0..9_000u32)
            .map(|at| (at * most as u32 / 3) as u8)
            .collect();
        for piece in all.chunks(777) {
            play.say(link, piece);
            play.run();
        }
        play.shut(link);
        play.pass(Duration::from_secs(30));
        assert!(play.hears(link) == all);
        play.os.net(|net| net.next_writes.clear());
        assert!(play.is_empty());
    }
}

#[test]
fn fault_b10_a_frame_that_does_not_end() {
    let mut play = Play::directed();
    let lines = play.open(Lines);
    let link = play.dial(lines);
    play.say(link, b"part of a li");
    play.pass(Duration::from_secs(29));
    assert_eq!(play.counters().connections, 1);
    play.pass(Duration::from_secs(5));
    play.shut(link);
    play.run();
    assert_eq!(play.counters().closed.slow_frame, 1);
    assert!(play.is_empty());
}

#[test]
fn fault_b11_who_does_not_keep_up_is_let_go() {
    let limits = Limits {
        chat_soft: 10_000,
        chat_hard: 20_000,
        ..Limits::default()
    };
    let mut play = Play::directed_with(limits, 10);
    let crowd = play.open(Crowd::default());
    let (slow, polite) = (play.dial_with(crowd, 100, 100), play.dial(crowd));
    let speaker = play.dial(crowd);
    play.run();
    for _ in 0..15 {
        play.say(speaker, &[&[b'x'; 999][..], b"\n"].concat());
        play.run();
    }
    play.pass(Duration::from_secs(9));
    assert_eq!(
        play.counters().closed.too_slow,
        0,
        "over the soft limit, for less than 10 s"
    );
    play.pass(Duration::from_secs(2));
    assert_eq!(play.counters().closed.too_slow, 1);
    assert_eq!(
        play.hears(polite).len(),
        15_000 + b"* gone\n".len(),
        "the others hear all"
    );
    let slow_too = play.dial_with(crowd, 100, 100);
    play.run();
    for _ in 0..25 {
        play.say(speaker, &[&[b'x'; 999][..], b"\n"].concat());
        play.run();
        play.hears(polite);
    }
    assert_eq!(
        play.counters().closed.too_slow,
        2,
        "at once over the hard limit"
    );
    assert!(
        play.os
            .net(|net| net.links[slow_too].closed && net.links[slow].closed)
    );
}

/// Owes an answer after the end of its input, and heeds what was said before a reset.
#[derive(Debug)]
struct Ponders;

impl Service for Ponders {
    fn input(&mut self, _t: &mut Turn<'_>, input: &mut ReadBuf) -> Result<(), Fault> {
        input.consume(input.len());
        Ok(())
    }

    fn eof(&mut self, _t: &mut Turn<'_>, _rest: &mut ReadBuf) -> Result<(), Fault> {
        Ok(())
    }

    fn manner(&self) -> Manner {
        Manner {
            reads_after_reset: true,
            ..Manner::ANSWERS
        }
    }
}

#[test]
fn fault_b14_a_reset_after_the_end_of_input_is_heard() {
    let mut play = Play::directed();
    let listener = play.open(Ponders);
    let link = play.dial(listener);
    play.say(link, b"question");
    play.shut(link);
    play.run();
    assert_eq!(play.counters().connections, 1, "an answer is owed");
    play.reset(link);
    play.run();
    assert!(play.is_empty(), "no client is left to answer");
}
