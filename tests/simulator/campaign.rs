//! Seeds: each is a world with its own faults, limits, services and clients.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

use onepoll::config::Limits;

use crate::coverage::Coverage;
use crate::faults::Faults;
use crate::kernel::{Due, MILLI, SECOND, SimOs};
use crate::listeners::{LISTENERS, Listeners};
use crate::play::Play;
use crate::random::Random;

/// Seeds that `cargo test` tries unless told otherwise.
const SEEDS_BY_DEFAULT: u64 = if cfg!(debug_assertions) {
    5_000
} else {
    20_000
};

/// Time within which every client is served or disconnected once nothing goes wrong any more.
const PATIENCE: u64 = 60 * SECOND;

const TURNS_MAX: u64 = 2_000_000;

thread_local! {
    static TURNS: Cell<u64> = const { Cell::new(0) };
    static COVERAGE: RefCell<Coverage> = RefCell::default();
}

#[test]
fn seeds() {
    let number = |name: &str| {
        std::env::var(name)
            .ok()
            .map(|value| value.parse().expect("a number"))
    };
    if let Some(seed) = number("ONEPOLL_SIM_SEED") {
        return run(seed);
    }
    let (first, count) = (
        number("ONEPOLL_SIM_FROM").unwrap_or(1),
        number("ONEPOLL_SIM_SEEDS").unwrap_or(SEEDS_BY_DEFAULT),
    );
    #[expect(clippy::disallowed_methods, reason = "for the rate that is printed")]
    let began = std::time::Instant::now();
    for seed in first..first + count {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| run(seed))) {
            eprintln!(
                "seed {seed} fails; again: ONEPOLL_SIM_SEED={seed} cargo test --test simulator seeds"
            );
            resume_unwind(panic);
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    println!(
        "{count} seeds from {first}: {:.0} seeds/s, {} turns",
        count as f64 / seconds,
        TURNS.get()
    );
    println!("states and what they met, in every sixteenth seed:");
    COVERAGE.with_borrow(|coverage| println!("{coverage}"));
}

/// One seed, from the first turn to the last client.
fn run(seed: u64) {
    let mut random = Random::new(seed);
    let os = SimOs::new(Random::new(random.next()));
    let limits = limits(&mut random);
    let crowded = random.once_in(4);
    let connections_max = if crowded { random.some(4) } else { 100 };
    // Now and then long enough for a frame that never ends.
    let at_most = if random.once_in(64) { 60 } else { 3 } * SECOND;
    let calm_after = MILLI + random.size(at_most as usize) as u64;
    os.net(|net| {
        net.faults = if random.once_in(8) {
            Faults::default()
        } else {
            Faults::swarm(&mut random)
        };
        net.turn_costs = true;
        net.bounds.accepts = LISTENERS * u64::from(limits.accepts_per_turn);
        net.bounds.read_bytes = limits.read_per_turn;
        net.bounds.datagrams = u64::from(limits.datagrams_per_turn);
        // A command that cannot be started has another answer; see faults_f.rs.
        net.faults.spawn = 0;
        if random.once_in(8) {
            // The end of time is near, and nothing differs.
            net.now = u64::MAX - (3_600 + random.below(100)) * SECOND;
        }
        if random.once_in(6) {
            net.descriptors_max = random.some(4);
        }
        net.plan(calm_after, Due::Calm);
        if random.once_in(6) {
            net.plan(random.below(calm_after), Due::Stop);
            if random.once_in(4) {
                net.plan(random.below(calm_after), Due::Stop);
            }
        }
    });
    let mut play = Play::new(os, limits.clone(), connections_max);
    let listeners = Listeners::open(&mut play, &mut random, &limits);
    for number in 0..random.some(8) {
        let wait = random.size(calm_after as usize) as u64;
        play.os.invite(listeners.client(&mut random, number), wait);
    }
    // To look at the state of every connection costs more than the turn itself.
    let watched = seed.is_multiple_of(16);
    COVERAGE.with_borrow_mut(Coverage::begin);
    perform(&mut play, calm_after, watched);
}

/// Turns until every client has gone home.
fn perform(play: &mut Play, calm_after: u64, watched: bool) {
    let began = play.os.net(|net| net.now);
    let deadline = began + calm_after + PATIENCE;
    let mut turns = 0;
    loop {
        play.turn();
        turns += 1;
        if watched {
            COVERAGE.with_borrow_mut(|coverage| coverage.look(play));
        }
        let (rests, now) = play.os.net(|net| (net.rests, net.now));
        let home = play
            .os
            .0
            .borrow()
            .clients
            .iter()
            .all(|client| client.is_home());
        let counters = play.counters();
        if play.reactor.is_stopped()
            || home
                && counters.connections + counters.children + counters.children_waiting == 0
                && (rests || play.os.net(|net| net.calm))
        {
            break;
        }
        assert!(
            !rests,
            "the loop sleeps for ever, and a client waits: {counters:?} {}",
            sketch(play)
        );
        assert!(
            now < deadline,
            "not served in time: {counters:?} {}",
            sketch(play)
        );
        assert!(turns < TURNS_MAX, "no end: {counters:?}");
    }
    TURNS.set(TURNS.get() + turns);
    if play.reactor.is_stopped() {
        play.reactor.run().expect("it has stopped");
        play.os.net(|net| net.told.clear());
        if watched {
            COVERAGE.with_borrow_mut(|coverage| coverage.look(play));
        }
    }
    settle_accounts(play);
}

fn sketch(play: &Play) -> String {
    play.os.net(|net| {
        let links = net.links.iter().filter(|link| !link.closed);
        links
            .map(|link| link.sketch())
            .collect::<Vec<_>>()
            .join("; ")
    })
}

/// At the end everything is back where it was.
fn settle_accounts(play: &mut Play) {
    let counters = play.counters();
    let idle = (
        counters.connections,
        counters.timers,
        counters.children,
        counters.owed,
    );
    assert_eq!(
        idle,
        (0, 0, 0, 0),
        "connections, timers, children, bytes owed: {counters:?}"
    );
    play.os.net(|net| {
        for (k, link) in net.links.iter().enumerate() {
            assert!(link.closed || !link.accepted, "link {k} leaked: {link:?}");
        }
        for (k, child) in net.children.iter().enumerate() {
            assert!(child.reaped, "child {k} was left: {child:?}");
        }
        assert_eq!(net.descriptors, 0, "descriptors");
        let refused = &counters.refused;
        assert!(
            counters.bytes_in <= net.total.read && counters.bytes_out <= net.total.written,
            "I5: {counters:?} {:?}",
            net.total
        );
        assert_eq!(
            counters.connections_opened + refused.full + refused.listener_full,
            net.links.iter().filter(|link| link.accepted).count() as u64,
        );
        for socket in &net.datagrams {
            // Answers are what was asked, in order, and some may be lost.
            let mut posted = socket.posted.iter();
            for answer in &socket.outbox {
                assert!(answer.1.port() >= 1024, "E8");
                assert!(
                    posted.any(|asked| asked == answer),
                    "an answer to no question"
                );
            }
        }
    });
}

/// Limits that small worlds reach.
fn limits(random: &mut Random) -> Limits {
    let default = Limits::default();
    if random.once_in(4) {
        return default;
    }
    let out_pause = 1 + random.size(1 << 16);
    let read_per_turn = 1 + random.size(1 << 16).max(16 << random.below(5));
    let chat_soft = 1 + random.size(1 << 16);
    Limits {
        accepts_per_turn: 1 + random.below(4) as u32,
        read_per_turn,
        frames_per_turn: 1 + random.size(64) as u32,
        deliveries_per_turn: 1 + random.size(1 << 10) as u32,
        datagrams_per_turn: 1 + random.below(8) as u32,
        timers_per_turn: 1 + random.below(4) as u32,
        out_pause,
        out_resume: 1 + random.index(out_pause),
        chat_soft,
        chat_soft_time: Duration::from_millis(1 + random.below(2000)),
        chat_hard: chat_soft + random.size(1 << 17),
        drain_timeout: Duration::from_millis(random.below(9000)),
        ..default
    }
}
