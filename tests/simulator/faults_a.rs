//! Faults of the loop and of `accept` (table A), each as a script of its own.

use std::time::Duration;

use onepoll::buf::ReadBuf;
use onepoll::config::Limits;
use onepoll::reactor::{Readiness, Seen, Signal, Source, Token};
use onepoll::service::{Chat, Discard, Echo, Service, chat};
use onepoll::turn::{ChildEvent, ConnId, Fault, Job, Moment, Output, Turn};
use rustix::io::Errno;

use crate::family::{Step, Steps};
use crate::kernel::{Found, SECOND};
use crate::play::Play;
use crate::services::{Crowd, Lines};

const MILLI: Duration = Duration::from_millis(1);

fn readable() -> Readiness {
    Readiness {
        readable: true,
        ..Readiness::default()
    }
}

/// Descriptors run out with two in the queue; no further edge comes.
fn rests_without_descriptors(error: Errno) {
    let mut play = Play::directed();
    let echo = play.open(Echo);
    play.run();
    let first = play.dial(echo);
    play.run();
    play.os.net(|net| net.next_accepts.push_back(error));
    let queued = [play.dial(echo), play.dial(echo)];
    play.say(queued[1], b"late");
    play.run();
    let accepts = play.counters().accepts_failed;
    assert_eq!(accepts, 1, "it is not asked over and over");
    // Open connections are served meanwhile.
    play.say(first, b"here");
    play.run();
    assert_eq!(play.hears(first), b"here");
    play.pass(99 * MILLI);
    assert_eq!(play.counters().connections, 1, "the listener rests");
    play.pass(2 * MILLI);
    assert_eq!(
        play.counters().connections,
        3,
        "it tries again without a new edge"
    );
    assert_eq!(play.hears(queued[1]), b"late");
    // And at once when a descriptor becomes free.
    play.os.net(|net| net.next_accepts.push_back(error));
    let late = play.dial(echo);
    play.run();
    assert_eq!(play.counters().connections, 3);
    play.shut(first);
    play.run();
    assert_eq!(play.counters().connections, 3, "one went, one came: {late}");
}

#[test]
fn one_connection_is_accepted_without_a_second_try_and_a_crowd_with_one_look() {
    let calls = |play: &Play| play.os.net(|net| (net.total.accepts, net.total.looks));
    let mut play = Play::directed();
    let echo = play.open(Echo);
    play.run();
    let (accepts, looks) = calls(&play);
    for (crowd, tries) in [(1, 1), (2, 3), (5, 6)] {
        let before = calls(&play);
        for _ in 0..crowd {
            play.dial(echo);
        }
        play.run();
        let after = calls(&play);
        assert_eq!(
            (after.0 - before.0, after.1 - before.1),
            (tries, 1),
            "{crowd}"
        );
    }
    assert_eq!(play.counters().connections, 8);
    assert_eq!((accepts, looks), (1, 0), "when the listener opened");
}

#[test]
fn fault_a1_emfile_on_accept() {
    rests_without_descriptors(Errno::MFILE);
}

#[test]
fn fault_a2_enfile_and_no_memory_on_accept() {
    rests_without_descriptors(Errno::NFILE);
    rests_without_descriptors(Errno::NOBUFS);
    rests_without_descriptors(Errno::NOMEM);
}

#[test]
fn fault_a3_an_error_of_one_connection_does_not_stop_the_next() {
    let mut play = Play::directed();
    let echo = play.open(Echo);
    play.run();
    for error in [
        Errno::CONNABORTED,
        Errno::INTR,
        Errno::PROTO,
        Errno::PERM,
        Errno::NETDOWN,
        Errno::HOSTUNREACH,
    ] {
        play.os.net(|net| net.next_accepts.push_back(error));
        let link = play.dial(echo);
        play.say(link, b"next");
        play.run();
        assert_eq!(
            play.hears(link),
            b"next",
            "after {error:?}, with no time in between"
        );
    }
}

#[test]
fn fault_a4_reset_before_accept() {
    let mut play = Play::directed();
    let echo = play.open(Echo);
    let gone = play.dial(echo);
    play.reset(gone);
    play.run();
    assert!(play.is_empty());
    let next = play.dial(echo);
    play.say(next, b"x");
    play.run();
    assert_eq!(play.hears(next), b"x", "the listener lives");
}

#[test]
fn fault_a5_a_flood_over_the_limit_is_closed_at_once() {
    let mut play = Play::directed_with(Limits::default(), 10);
    let echo = play.open(Echo);
    let links: Vec<usize> = (0..2_000).map(|_| play.dial(echo)).collect();
    play.turn();
    assert_eq!(play.os.net(|net| net.descriptors), 10);
    assert_eq!(play.counters().refused.full, 54, "64 accepts a turn");
    play.run();
    assert_eq!(play.counters().refused.full, 1_990);
    links.iter().for_each(|&link| play.reset(link));
    play.run();
    assert!(play.is_empty());
    let next = play.dial(echo);
    play.say(next, b"recovered");
    play.run();
    assert_eq!(play.hears(next), b"recovered");
}

#[test]
fn fault_a7_a_greedy_sender_gets_one_budget_a_turn() {
    let mut play = Play::directed();
    let (discard, echo) = (play.open(Discard), play.open(Echo));
    let greedy = play.dial(discard);
    play.say(greedy, &vec![0; 1 << 20]);
    play.turn();
    let polite = play.dial(echo);
    play.say(polite, b"please");
    // The simulator itself counts budgets: one read a turn of at most 64 KiB.
    play.turn();
    assert_eq!(
        play.hears(polite),
        b"please",
        "served in the very next turn"
    );
    assert_eq!(play.counters().bytes_in, 2 * 65_536 + 6);
    play.run();
    assert_eq!(play.counters().bytes_in, (1 << 20) + 6);
}

#[test]
fn fault_a7_a_room_in_which_everybody_speaks_leaves_other_listeners_their_turn() {
    const MEMBERS: usize = 40;
    let limits = Limits {
        deliveries_per_turn: 100,
        ..Limits::default()
    };
    let mut play = Play::directed_with(limits, 64);
    let room = play.open(Chat::new(&chat::Options::default(), 1 << 16));
    let echo = play.open(Echo);
    let members: Vec<_> = (0..MEMBERS).map(|_| play.dial(room)).collect();
    let stranger = play.dial(echo);
    play.run();
    for &member in &members {
        play.hears(member);
        play.say(member, b"hi\n");
    }
    play.say(stranger, b"please");
    play.turn();
    assert_eq!(play.hears(stranger), b"please", "not behind the whole room");
    // Three lines to 39 others are more than 100 deliveries: the rest comes in later turns.
    assert_eq!(
        play.hears(members[0])
            .iter()
            .filter(|&&b| b == b'\n')
            .count(),
        2
    );
    let turns = play.counters().turns;
    play.run();
    assert!(play.counters().turns - turns >= MEMBERS as u64 / 3 - 1);
    for (n, &member) in members.iter().enumerate().skip(1) {
        let heard = String::from_utf8(play.hears(member)).unwrap();
        let others = (1..=MEMBERS).filter(|guest| *guest != n + 1);
        let right: String = others.map(|guest| format!("guest-{guest}: hi\n")).collect();
        assert_eq!(heard, right);
    }
}

#[test]
fn fault_a7_a_room_that_many_leave_at_once_is_told_over_several_turns() {
    let limits = Limits {
        deliveries_per_turn: 100,
        ..Limits::default()
    };
    let mut play = Play::directed_with(limits, 64);
    let room = play.open(Chat::new(&chat::Options::default(), 1 << 16));
    let members: Vec<_> = (0..40).map(|_| play.dial(room)).collect();
    play.run();
    play.hears(members[0]);
    for &member in &members[1..] {
        play.reset(member);
    }
    play.turn();
    let left = play.counters().connections;
    assert!((30..40).contains(&left), "{left} are here");
    play.run();
    assert_eq!(play.counters().connections, 1);
    let heard = String::from_utf8(play.hears(members[0])).unwrap();
    assert_eq!(heard.matches(" left\n").count(), 39, "{heard}");
}

#[test]
fn fault_a8_budget_exit_without_rearm() {
    let limits = Limits {
        read_per_turn: 1000,
        ..Limits::default()
    };
    let mut play = Play::directed_with(limits, 10);
    let echo = play.open(Echo);
    let link = play.dial(echo);
    play.run();
    // More than ten budgets in one edge, and then silence.
    let all: Vec<u8> = (0..12_345u32).map(|at| at as u8).collect();
    play.say(link, &all);
    play.run();
    assert_eq!(play.hears(link), all);
    // The same for frames: what is left is in our buffer, and no edge tells of it.
    let lines = play.open(Lines);
    let link = play.dial(lines);
    play.run();
    play.say(link, &b"\n".repeat(900));
    play.run();
    assert_eq!(play.hears(link), b">\n".repeat(900));
}

#[test]
fn fault_a9_backpressure_resume() {
    let mut play = Play::directed();
    let echo = play.open(Echo);
    let link = play.dial_with(echo, 1 << 20, 1000);
    let all: Vec<u8> = (0..1_000_000u32).map(|at| (at % 251) as u8).collect();
    play.run();
    play.say(link, &all);
    play.run();
    let owed = play.counters().owed;
    assert!(
        (256 << 10..320 << 10).contains(&owed),
        "paused: {owed} bytes owed"
    );
    assert_eq!(play.counters().ready, 0, "and not polled for");
    // The client says nothing more: only its reading can set things going again.
    let mut heard = Vec::new();
    while heard.len() < all.len() {
        let before = heard.len();
        heard.extend(play.hears(link));
        play.run();
        assert!(
            heard.len() > before || !play.hears(link).is_empty() || heard.len() == all.len(),
            "stalled at {before}"
        );
    }
    assert!(heard == all);
}

/// Runs a command that waits, so that its owner's slot can change hands before it ends.
#[derive(Debug, Default)]
struct Delegates {
    first: Option<ConnId>,
}

impl Service for Delegates {
    fn input(&mut self, t: &mut Turn<'_>, input: &mut ReadBuf) -> Result<(), Fault> {
        let first = *self.first.get_or_insert(t.id);
        // Also to a member that is gone by then.
        t.send(first, input.unread());
        t.spawn(Job::line(input.unread().to_vec()));
        input.consume(input.len());
        Ok(())
    }

    fn child(&mut self, t: &mut Turn<'_>, event: ChildEvent<'_>) {
        if let ChildEvent::Wrote(_, bytes) = event {
            t.reply(bytes);
        }
    }
}

#[test]
fn fault_a10_stale_token() {
    let mut play = Play::directed();
    let echo = play.open(Echo);
    let first = play.dial(echo);
    play.run();
    let old = Token::of(Source::Connection(ConnId {
        slot: 0,
        generation: 1,
    }));
    play.reset(first);
    play.run();
    assert!(play.is_empty());
    let second = play.dial(echo);
    play.run();
    let before = play.counters();
    // The first one's events, late: of an end, and of an error.
    let mut late = readable();
    (late.read_closed, late.error) = (true, true);
    play.os.net(|net| {
        net.inject.push(Seen {
            token: old,
            readiness: late,
        })
    });
    play.run();
    let after = play.counters();
    assert_eq!(after.stale, before.stale + 1, "counted");
    assert_eq!(after.connections, 1, "and about no other");
    play.say(second, b"still here");
    play.run();
    assert_eq!(play.hears(second), b"still here");
}

#[test]
fn fault_a10_no_slot_is_used_again_within_a_batch() {
    let mut play = Play::directed();
    let echo = play.open(Echo);
    let first = play.dial(echo);
    play.run();
    // In one batch: it is reset, another client connects, and it is told of once more.
    play.reset(first);
    let second = play.dial(echo);
    let token = Token::of(Source::Connection(ConnId {
        slot: 0,
        generation: 1,
    }));
    play.os.net(|net| {
        net.inject.push(Seen {
            token,
            readiness: readable(),
        })
    });
    play.turn();
    // An event about a connection that is dead and not yet freed is about no other, and not stale.
    assert_eq!(
        play.counters().stale,
        0,
        "freed only when the batch was over"
    );
    assert_eq!(play.counters().connections, 1);
    play.say(second, b"mine");
    play.run();
    assert_eq!(play.hears(second), b"mine");
    assert_eq!(play.counters().connections_opened, 2);
}

#[test]
fn fault_a10_what_is_sent_to_a_connection_that_is_gone_reaches_no_other() {
    let mut play = Play::directed();
    let listener = play.open(Delegates::default());
    play.os.net(|net| {
        for (wait, word) in [(1000, &b"one"[..]), (0, b"two")] {
            let said = Step::Say(Output::Out, word.to_vec());
            net.next_children
                .push_back(Steps::from([(wait, said), (0, Step::Exit(0))]));
        }
    });
    let first = play.dial(listener);
    play.say(first, b"one");
    play.run();
    play.reset(first);
    play.run();
    let second = play.dial(listener);
    play.say(second, b"two");
    play.run();
    assert_eq!(
        play.hears(second),
        b"two",
        "what its own command said, and nothing for the first"
    );
}

#[test]
fn fault_a11_spurious() {
    let mut play = Play::directed();
    let echo = play.open(Echo);
    let idle = play.dial(echo);
    play.run();
    let before = play.counters();
    let token = Token::of(Source::Connection(ConnId {
        slot: 0,
        generation: 1,
    }));
    let listens = Token::of(Source::Listener(0));
    for _ in 0..100 {
        play.os.net(|net| {
            let mut all = readable();
            (all.writable, all.urgent) = (true, true);
            net.inject.push(Seen {
                token,
                readiness: all,
            });
            net.inject.push(Seen {
                token: listens,
                readiness: readable(),
            });
        });
        play.run();
    }
    let after = play.counters();
    assert_eq!(
        (after.connections, after.bytes_in, after.accepts_failed),
        (before.connections, 0, 0)
    );
    assert_eq!(after.timers, before.timers);
    play.say(idle, b"x");
    play.run();
    assert_eq!(play.hears(idle), b"x");
}

#[test]
fn fault_a12_hup_storm() {
    let mut play = Play::directed_with(Limits::default(), 10_000);
    let echo = play.open(Echo);
    let links: Vec<usize> = (0..5_000).map(|_| play.dial(echo)).collect();
    play.run();
    assert_eq!(play.counters().connections, 5_000);
    links.iter().for_each(|&link| play.reset(link));
    let turns = play.counters().turns;
    play.run();
    assert!(
        play.is_empty(),
        "each freed, and once: the simulator tells of a second time"
    );
    assert_eq!(play.counters().connections_closed, 5_000);
    assert!(play.counters().turns - turns <= 3, "told once each");
}

#[test]
fn fault_a13_half_close_after_the_request() {
    let mut play = Play::directed();
    let echo = play.open(Echo);
    let link = play.dial_with(echo, 1 << 20, 10_000);
    let all: Vec<u8> = (0..500_000u32).map(|at| (at % 251) as u8).collect();
    play.say(link, &all);
    play.shut(link);
    play.run();
    let mut heard = Vec::new();
    loop {
        play.run();
        match play.finds(link) {
            Found::Bytes(bytes) => heard.extend(bytes),
            Found::Nothing => {}
            end => {
                assert_eq!(end, Found::End, "not a reset");
                break;
            }
        }
    }
    assert!(
        heard == all,
        "not before everything was delivered: {} bytes",
        heard.len()
    );
    assert!(play.is_empty());
}

#[test]
fn fault_a14_half_close_with_no_request() {
    let mut play = Play::directed();
    for listener in [play.open(Echo), play.open(Discard), play.open(Lines)] {
        let link = play.dial(listener);
        play.shut(link);
        let watched = play.dial(listener);
        play.run();
        play.shut(watched);
        play.run();
        assert_eq!(play.finds(link), Found::End);
        assert_eq!(play.finds(watched), Found::End);
        assert!(play.is_empty(), "at once, and nothing spins");
    }
}

#[test]
fn fault_a15_extreme_time() {
    for before_the_end in [1, 35, 100_000] {
        let mut play = Play::directed();
        let (echo, lines) = (
            play.open_with(Echo, |listener| {
                listener.idle = Some(Duration::from_secs(5))
            }),
            play.open(Lines),
        );
        play.os.net(|net| {
            net.now = u64::MAX - before_the_end * SECOND;
            net.horizon = net.now;
        });
        let (link, part) = (play.dial(echo), play.dial(lines));
        play.say(link, b"late");
        play.say(part, b"part of a li");
        play.run();
        assert_eq!(play.hears(link), b"late");
        play.say(part, b"ne\n!\n");
        play.run();
        assert_eq!(play.hears(part), b">part of a line\nno\n");
        let now = Moment::from_nanos(play.os.net(|net| net.now));
        assert!(
            now < Moment::NEVER,
            "nothing waited for a deadline beyond the end"
        );
    }
}

#[test]
fn fault_a18_eintr() {
    let mut play = Play::directed();
    let echo = play.open(Echo);
    let link = play.dial(echo);
    play.os.net(|net| {
        net.faults.read_interrupted = 128;
        net.faults.write_interrupted = 128;
        net.faults.early = 128;
    });
    let all: Vec<u8> = (0..100_000u32).map(|at| (at % 251) as u8).collect();
    play.say(link, &all);
    play.shut(link);
    play.run();
    assert!(play.hears(link) == all);
    assert!(play.is_empty());
}

#[test]
fn fault_a19_signals_during_timeouts() {
    let mut play = Play::directed();
    let lines = play.open_with(Lines, |listener| listener.idle = Some(MILLI));
    let links: Vec<usize> = (0..500).map(|_| play.dial(lines)).collect();
    links.iter().for_each(|&link| play.say(link, b"part"));
    play.run();
    play.os.net(|net| {
        for _ in 0..100 {
            net.signal(Signal::Report);
        }
        net.signal(Signal::Stop);
    });
    play.pass(Duration::from_secs(9));
    assert!(play.reactor.is_stopped());
    assert_eq!(play.counters().connections, 0);
}

#[test]
fn fault_a20_full() {
    let mut play = Play::directed_with(Limits::default(), 3);
    let crowd = play.open(Crowd::default());
    let links = [play.dial(crowd), play.dial(crowd), play.dial(crowd)];
    play.run();
    let turned_away = play.dial(crowd);
    play.run();
    assert_eq!(play.finds(turned_away), Found::End);
    assert_eq!(play.counters().refused.full, 1);
    assert_eq!(play.os.net(|net| net.descriptors), 3);
    play.shut(links[0]);
    play.run();
    let next = play.dial(crowd);
    play.run();
    assert_eq!(play.finds(next), Found::Nothing, "there is room again");
    assert_eq!(play.counters().connections, 3);
}

#[test]
fn fault_a21_twenty_thousand_deadlines_in_one_millisecond() {
    let mut play = Play::directed_with(Limits::default(), 30_000);
    let echo = play.open_with(Echo, |listener| {
        listener.idle = Some(Duration::from_secs(1))
    });
    for _ in 0..20_000 {
        play.dial(echo);
    }
    play.run();
    assert_eq!(play.counters().timers, 20_000);
    play.os.net(|net| net.horizon = SECOND);
    let mut left = 20_000;
    while left > 0 {
        play.turn();
        // A connection that is idle is owed nothing: it is told of the end, and lingers.
        let open = play.os.net(|net| {
            net.links
                .iter()
                .filter(|link| !link.shut && !link.closed)
                .count()
        });
        assert!(left - open <= 256, "{} in one turn", left - open);
        left = open;
    }
    play.pass(Duration::from_secs(3));
    assert!(play.is_empty());
}

#[test]
fn a_connection_paused_while_it_is_queued_has_one_budget_a_turn() {
    let limits = Limits {
        read_per_turn: 8,
        out_pause: 8,
        out_resume: 4,
        ..Limits::default()
    };
    let mut play = Play::directed_with(limits, 10);
    let lines = play.open(Lines);
    let link = play.dial_with(lines, 4096, 6);
    play.say(link, &b"hh\nab\nhh\ncd\n".repeat(40));
    play.shut(link);
    let mut heard = Vec::new();
    for _ in 0..2_000 {
        play.pass(MILLI);
        heard.extend(play.hears(link));
    }
    assert_eq!(heard, b"held\n>ab\nheld\n>cd\n".repeat(40));
}

#[test]
fn fault_h1_a_drain_serves_what_is_in_the_accept_queue() {
    let limits = Limits {
        accepts_per_turn: 8,
        ..Limits::default()
    };
    let mut play = Play::directed_with(limits, 1000);
    let (echo, lines) = (play.open(Echo), play.open(Lines));
    play.run();
    let links: Vec<usize> = (0..300)
        .map(|n| play.dial(if n % 2 == 0 { echo } else { lines }))
        .collect();
    links.iter().for_each(|&link| play.say(link, b"asked\n"));
    play.os.net(|net| net.signal(Signal::Stop));
    play.run();
    for &link in &links {
        assert!(!play.hears(link).is_empty());
        assert_eq!(
            play.finds(link),
            Found::End,
            "and then the end, not a reset"
        );
    }
    // The listeners are closed.
    play.dial(echo);
    play.run();
    assert_eq!(play.counters().connections_opened, 300);
    links.iter().for_each(|&link| play.shut(link));
    play.run();
    assert!(play.reactor.is_stopped());
}

#[test]
fn fault_h1_a_drain_reads_those_that_its_deliveries_put_off() {
    let limits = Limits {
        deliveries_per_turn: 1,
        ..Limits::default()
    };
    // They are in the queue when the signal comes, or were just accepted.
    for turns in [0, 1] {
        let mut play = Play::directed_with(limits.clone(), 1000);
        let lines = play.open(Lines);
        play.run();
        let links: Vec<usize> = (0..5).map(|_| play.dial(lines)).collect();
        links.iter().for_each(|&link| play.say(link, b"asked\n"));
        (0..turns).for_each(|_| play.turn());
        play.os.net(|net| net.signal(Signal::Stop));
        play.run();
        for &link in &links {
            assert_eq!(play.hears(link), b">asked\n", "{turns}");
            assert_eq!(play.finds(link), Found::End);
            play.shut(link);
        }
        play.run();
        assert!(play.reactor.is_stopped());
    }
}

#[test]
fn fault_h1_connections_that_go_on_coming_do_not_keep_a_listener_open() {
    let mut play = Play::directed_with(Limits::default(), 10_000);
    let echo = play.open(Echo);
    play.run();
    play.os.net(|net| net.signal(Signal::Stop));
    for _ in 0..200 {
        for _ in 0..64 {
            play.dial(echo);
        }
        play.turn();
    }
    assert!(play.counters().connections_opened <= 4096 + 64);
}

#[test]
fn an_event_of_a_closed_listener_wakes_nothing() {
    let mut play = Play::directed();
    let lines = play.open(Lines);
    let link = play.dial_with(lines, 100, 4);
    play.say(link, b"a line\n");
    play.run();
    play.os.net(|net| net.signal(Signal::Stop));
    play.run();
    // Another process holds the listener, and a client connects to it.
    let token = Token::of(Source::Listener(0));
    play.os.net(|net| {
        net.inject.push(Seen {
            token,
            readiness: readable(),
        });
    });
    play.run();
    assert_eq!(
        play.counters().connections,
        1,
        "it rests, and open connections are served"
    );
}
