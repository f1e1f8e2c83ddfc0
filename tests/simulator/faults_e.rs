//! Faults of datagrams (table E) that loopback cannot be brought to show.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use onepoll::config::Limits;
use onepoll::service::Echo;
use rustix::io::Errno;

use crate::play::Play;

fn asker() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 5000))
}

/// What was answered, in order.
fn answers(play: &Play, socket: usize) -> Vec<Vec<u8>> {
    let out = play
        .os
        .net(|net| std::mem::take(&mut net.datagrams[socket].outbox));
    out.into_iter().map(|(bytes, _)| bytes).collect()
}

#[test]
fn fault_e10_what_the_budget_leaves_needs_no_edge() {
    let limits = Limits::default();
    let many = 3 * limits.datagrams_per_turn as usize + 1;
    let mut play = Play::directed_with(limits, 10);
    play.os
        .net(|net| net.bounds.datagrams = u64::from(Limits::default().datagrams_per_turn));
    let socket = play.answer(Echo);
    play.run();
    for n in 0..many {
        play.os
            .net(|net| net.post(socket, n.to_string().as_bytes(), asker()));
    }
    // Nothing more comes: there is no other edge.
    play.run();
    let all: Vec<Vec<u8>> = (0..many).map(|n| n.to_string().into_bytes()).collect();
    assert_eq!(answers(&play, socket), all);
}

#[test]
fn fault_e3_e11_an_answer_that_cannot_be_sent_is_dropped_and_counted() {
    let errors = [
        Errno::AGAIN,
        Errno::MSGSIZE,
        Errno::NOBUFS,
        Errno::PERM,
        Errno::CONNREFUSED,
        Errno::INVAL,
    ];
    let mut play = Play::directed();
    let socket = play.answer(Echo);
    play.os
        .net(|net| net.datagrams[socket].next_sends.extend(errors));
    for n in 0..=errors.len() {
        play.os.net(|net| net.post(socket, &[n as u8], asker()));
    }
    play.pass(Duration::from_secs(1));
    assert_eq!(answers(&play, socket), [[errors.len() as u8]]);
    let counters = play.counters();
    assert_eq!(counters.datagrams_failed, errors.len() as u64);
    assert_eq!((counters.datagrams_out, counters.owed), (1, 0));
}

#[test]
fn fault_e3_a_receive_that_goes_on_failing_does_not_keep_the_loop_awake() {
    let mut play = Play::directed();
    let socket = play.answer(Echo);
    play.run();
    let failing = std::iter::repeat_n(Errno::IO, 1000);
    play.os
        .net(|net| net.datagrams[socket].next_receives.extend(failing));
    play.os.net(|net| net.post(socket, b"asked", asker()));
    let turns = play.counters().turns;
    // 16 failures, then a rest of 100 ms: 1,000 take 62 rests.
    play.pass(Duration::from_secs(3));
    assert!(answers(&play, socket).is_empty());
    assert!(
        play.counters().turns - turns <= 2 * 31,
        "{:?}",
        play.counters()
    );
    play.pass(Duration::from_secs(10));
    assert_eq!(answers(&play, socket), [b"asked"]);
    assert_eq!(play.counters().datagrams_failed, 1000);
}
