//! What the server has allocated, and what it keeps when its connections have gone.

use std::cell::Cell;
use std::time::Duration;

use onepoll::config::Limits;
use onepoll::config::limits::{KEPT_BYTES, KEPT_PLACES};
use onepoll::service::{Echo, Service};
use onepoll::wire::CHALLENGE_BYTES;

use crate::counting::Tally;
use crate::kernel::Found;
use crate::overheard::Temper;
use crate::play::Play;
use crate::random::Random;
use crate::services::Crowd;

thread_local! {
    static TALLY: Cell<Option<&'static Tally>> = const { Cell::new(None) };
}

/// How much this thread had allocated at some time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Memory(i64);

impl Memory {
    pub(crate) fn now() -> Memory {
        let tally = TALLY.get().unwrap_or_else(|| {
            let tally = Tally::new();
            TALLY.set(Some(tally));
            tally.count_this_thread();
            tally
        });
        Memory(tally.live())
    }

    /// How much more it is now.
    pub(crate) fn grown(self) -> i64 {
        Memory::now().0 - self.0
    }
}

/// What a place costs in the tables that keep some, together.
const PLACE_BYTES_MAX: usize = 64;

/// How many come at once.
const CROWD: usize = 20_000;

/// A crowd comes, does this, and is reset; what is left is what the limits say.
fn given_back(service: impl Service + 'static, does: impl Fn(&mut Play, &[usize])) {
    let limits = Limits {
        accepts_per_turn: CROWD as u32,
        timers_per_turn: CROWD as u32,
        deliveries_per_turn: u32::MAX,
        ..Limits::default()
    };
    let read = limits.read_per_turn;
    let mut play = Play::directed_with(limits, usize::MAX);
    let listener = play.open_with(service, |listener| {
        listener.idle = Some(Duration::from_secs(60));
    });
    play.run();
    let at_first = play.allocated();
    let links: Vec<usize> = (0..CROWD).map(|_| play.dial(listener)).collect();
    play.run();
    does(&mut play, &links);
    links.iter().for_each(|&link| play.reset(link));
    play.run();
    play.run();
    assert!(play.is_empty());
    let kept = play.weigh() - at_first;
    let bound = KEPT_BYTES + read + KEPT_BYTES + KEPT_PLACES * PLACE_BYTES_MAX;
    assert!(
        kept <= bound as i64,
        "kept {kept} bytes, of {bound} at most"
    );
}

#[test]
fn what_a_crowd_needed_in_tables_is_given_back() {
    given_back(Echo, |_, _| {});
}

#[test]
fn what_a_crowd_said_at_once_is_given_back() {
    given_back(Echo, |play, links| {
        for &link in &links[..300] {
            play.say(link, &[b'x'; 4000]);
        }
        play.run();
    });
}

#[test]
fn fault_d19_those_that_have_not_logged_in_hold_little() {
    let mut play = Play::directed();
    let service = play.add_gated(Echo, Temper::default(), Random::new(1));
    let listener = play.listen(service, |_| {});
    play.run();
    let at_first = play.allocated();
    let many = Limits::default().not_logged_in as usize;
    let links: Vec<usize> = (0..many).map(|_| play.dial(listener)).collect();
    play.run();
    for &link in &links {
        assert_eq!(play.hears(link).len(), CHALLENGE_BYTES);
        // All of a proof but its last byte, which stays in memory.
        play.say(link, &[0; CHALLENGE_BYTES - 1]);
    }
    play.run();
    let one_more = play.dial(listener);
    play.run();
    assert_eq!(play.finds(one_more), Found::End);
    assert_eq!(play.counters().not_logged_in, many as u64);
    let held = play.weigh() - at_first;
    assert!(held < 4 << 20, "they hold {held} bytes");
    let each = held / many as i64;
    assert!(each < 1024, "each holds {each} bytes");
}

#[test]
fn fault_b12_what_is_counted_is_what_is_allocated() {
    let limits = Limits {
        buffers: 4 << 20,
        chat_hard: 1 << 20,
        chat_soft_time: Duration::from_secs(3600),
        ..Limits::default()
    };
    let budget = limits.buffers as i64;
    let mut play = Play::directed_with(limits, usize::MAX);
    let room = play.open(Crowd::default());
    let loud = play.dial(room);
    for _ in 0..300 {
        play.dial_with(room, 1, 1);
    }
    play.run();
    let at_first = play.allocated();
    let (line, mut most) = ([&[b'x'; 1000][..], b"\n"].concat(), 0);
    for _ in 0..200 {
        play.say(loud, &line);
        play.run();
        most = most.max(play.allocated() - at_first);
    }
    assert!(play.counters().closed.evicted > 200);
    // Without a budget it would have been 60 MB. What the loop, its tables and the world have besides is little.
    assert!(most > budget / 2, "{most}");
    assert!(most < budget + (1 << 20), "{most}");
}
