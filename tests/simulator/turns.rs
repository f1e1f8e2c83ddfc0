//! What a service can ask of its turn: to hear when what it said has left, and the time.

use std::time::{Duration, SystemTime};

use onepoll::buf::ReadBuf;
use onepoll::service::{Backlog, Echo, Manner, Service};
use onepoll::turn::{ARENA_BYTES_MAX, Fault, Turn};

use crate::kernel::{Found, WALL};
use crate::play::Play;

/// Says a piece, and the next when it hears that the last one has left; the first one to input.
#[derive(Debug)]
struct Produces {
    piece: usize,
    pieces: usize,
    /// Whether it closes when it has said them all, or asks on.
    closes: bool,
    told: usize,
}

impl Produces {
    fn pieces(pieces: usize, piece: usize) -> Produces {
        Produces {
            piece,
            pieces,
            closes: true,
            told: 0,
        }
    }

    fn produce(&mut self, t: &mut Turn<'_>) {
        if self.pieces == 0 {
            return;
        }
        self.pieces -= 1;
        t.reply(&vec![b'0' + (self.pieces % 10) as u8; self.piece][..]);
        t.tell_when_sent();
        if self.pieces == 0 && self.closes {
            t.close();
        }
    }
}

impl Service for Produces {
    fn input(&mut self, t: &mut Turn<'_>, input: &mut ReadBuf) -> Result<(), Fault> {
        input.consume(input.len());
        self.produce(t);
        Ok(())
    }

    fn drained(&mut self, t: &mut Turn<'_>) {
        assert!(!t.is_leaving(), "there is nothing more to say");
        self.told += 1;
        self.produce(t);
    }
}

#[test]
fn a_producer_hears_when_what_it_said_has_left() {
    // In pieces that leave in the first write, and in pieces that leave in many.
    for (piece, pipe) in [(100, 1 << 20), (5000, 1 << 20), (5000, 999)] {
        let mut play = Play::directed();
        let listener = play.open(Produces::pieces(30, piece));
        let link = play.dial_with(listener, 1000, pipe);
        play.say(link, b"go");
        let mut heard = Vec::new();
        for _ in 0..30 * piece / pipe.min(piece) + 30 {
            play.run();
            heard.extend(play.hears(link));
        }
        let said = (0..30).rev().flat_map(|n| vec![b'0' + n % 10; piece]);
        assert!(heard == said.collect::<Vec<u8>>(), "{piece} {pipe}");
        assert_eq!(play.finds(link), Found::End);
        assert!(play.is_empty());
    }
}

#[test]
fn a_producer_is_told_once_also_when_it_said_nothing() {
    #[derive(Debug, Default)]
    struct Asks(u32);
    impl Service for Asks {
        fn input(&mut self, t: &mut Turn<'_>, input: &mut ReadBuf) -> Result<(), Fault> {
            input.consume(input.len());
            t.tell_when_sent();
            t.tell_when_sent();
            Ok(())
        }
        fn drained(&mut self, t: &mut Turn<'_>) {
            self.0 += 1;
            t.reply(&[self.0 as u8][..]);
        }
    }
    let mut play = Play::directed();
    let listener = play.open(Asks::default());
    let link = play.dial(listener);
    play.say(link, b"?");
    play.run();
    assert_eq!(play.hears(link), [1]);
    play.say(link, b"?");
    play.run();
    assert_eq!(play.hears(link), [2]);
}

#[test]
fn producers_take_turns_so_that_what_they_say_in_one_is_bounded() {
    const PIECE: usize = 64 * 1024;
    /// Says a piece for ever.
    #[derive(Debug)]
    struct Each;
    impl Service for Each {
        fn input(&mut self, t: &mut Turn<'_>, input: &mut ReadBuf) -> Result<(), Fault> {
            input.consume(input.len());
            t.tell_when_sent();
            Ok(())
        }
        fn drained(&mut self, t: &mut Turn<'_>) {
            t.reply(&[b'x'; PIECE][..]);
            t.tell_when_sent();
        }
    }
    let mut play = Play::directed();
    let listener = play.open(Each);
    let links: Vec<usize> = (0..100).map(|_| play.dial(listener)).collect();
    play.run();
    for &link in &links {
        play.say(link, b"go");
    }
    let mut heard = vec![0; links.len()];
    for _ in 0..100 {
        play.turn();
        let owed = play.counters().owed as usize;
        assert!(owed <= ARENA_BYTES_MAX + PIECE, "{owed}");
        for (heard, &link) in heard.iter_mut().zip(&links) {
            *heard += play.hears(link).len();
        }
    }
    let (least, most) = (heard.iter().min(), heard.iter().max());
    assert!(
        least.is_some_and(|&least| least >= 10 * PIECE),
        "each comes to its turn: {least:?}, {most:?}"
    );
    assert!(most <= least.map(|least| least + PIECE).as_ref());
}

/// Says what time it is.
#[derive(Debug)]
struct Clock(bool);

impl Service for Clock {
    fn input(&mut self, t: &mut Turn<'_>, input: &mut ReadBuf) -> Result<(), Fault> {
        input.consume(input.len());
        let wall = t.wall().duration_since(SystemTime::UNIX_EPOCH);
        t.reply(&wall.unwrap_or_default().as_secs().to_be_bytes()[..]);
        Ok(())
    }

    fn manner(&self) -> Manner {
        Manner {
            tells_time: self.0,
            ..Manner::ANSWERS
        }
    }
}

#[test]
fn the_wall_clock_is_read_once_a_turn_for_those_that_tell_the_time() {
    let mut play = Play::directed();
    let listener = play.open(Clock(true));
    let links = [play.dial(listener), play.dial(listener)];
    for later in [0, 7] {
        play.pass(Duration::from_secs(later));
        let (walls, turns) = play.os.net(|net| (net.total.walls, net.turn));
        links.iter().for_each(|&link| play.say(link, b"?"));
        play.run();
        let now = (WALL.as_secs() + later).to_be_bytes();
        assert_eq!(links.map(|link| play.hears(link)), [now, now]);
        let (walls, turns) = play
            .os
            .net(|net| (net.total.walls - walls, net.turn - turns));
        assert!(walls <= turns, "{walls} looks in {turns} turns");
    }
}

#[test]
fn the_wall_clock_is_not_read_for_nothing() {
    let mut play = Play::directed();
    let listeners = [play.open(Echo), play.open(Clock(false))];
    for listener in listeners {
        let link = play.dial(listener);
        play.say(link, b"?");
        play.run();
    }
    assert_eq!(play.os.net(|net| net.total.walls), 0);
}

#[test]
fn a_service_answers_and_is_not_behind_unless_it_says_otherwise() {
    assert_eq!(Echo.manner(), Manner::ANSWERS);
    assert_eq!(Manner::ANSWERS.backlog, Backlog::Pause);
}
