//! Seeds: each is some servers on a bus, people who speak, and what goes wrong.

use std::num::NonZero;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::available_parallelism;
use std::time::Duration;

use onepoll::config::Limits;
use onepoll::service::chat::{Options, Slow};

use super::hazards::{Hazard, Hazards};
use super::people::{NAMES, People};
use super::{Due, Servers};
use crate::kernel::SECOND;
use crate::random::Random;

/// Seeds that `cargo test` tries unless told otherwise.
const SEEDS_BY_DEFAULT: u64 = if cfg!(debug_assertions) { 12 } else { 400 };

/// In so many seeds everything happens that may.
const SEEDS_FOR_ALL: u64 = 400;

/// After so many that fail no more are tried.
const FAILURES_MAX: u64 = 20;

/// Until every server is on the bus again, and every lease that nobody renews is over, once nothing goes wrong any more.
const CALM: u64 = 40 * SECOND;

/// Until what is said and asked then is answered.
const ANSWERS: u64 = 4 * SECOND;

/// Seeds of a bus on which everything goes wrong that may.
///
/// `ONEPOLL_SIM_SEED=n` runs one again, with `ONEPOLL_SIM_TRACE=1` and `--nocapture` all that was said.
#[test]
fn seeds_of_a_bus() {
    if let Some(seed) = number("ONEPOLL_SIM_SEED") {
        let mut hazards = Hazards::default();
        let owed = run(seed, &mut hazards).unwrap_or_else(|wrong| panic!("{wrong}"));
        println!("{owed} lines had to be heard\n{hazards}");
        return;
    }
    let first = number("ONEPOLL_SIM_FROM").unwrap_or(1);
    let count = number("ONEPOLL_SIM_SEEDS").unwrap_or(SEEDS_BY_DEFAULT);
    let (next, all) = (AtomicU64::new(first), Mutex::new((Hazards::default(), 0)));
    let failed = AtomicU64::new(0);
    let is_over = |seed: u64| seed >= first + count;
    let some = || {
        let (mut hazards, mut owed) = (Hazards::default(), 0);
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if is_over(seed) {
                let mut all = all.lock().expect("nobody panics who has it");
                all.0.add(&hazards);
                all.1 += owed;
                return;
            }
            let outcome = catch_unwind(AssertUnwindSafe(|| run(seed, &mut hazards)));
            let wrong = match outcome {
                Ok(Ok(more)) => {
                    owed += more;
                    continue;
                }
                Ok(Err(wrong)) => wrong,
                Err(_) => "it panicked".into(),
            };
            eprintln!(
                "seed {seed}: {wrong}; again: ONEPOLL_SIM_SEED={seed} cargo test --test simulator bus::seeds"
            );
            if failed.fetch_add(1, Ordering::Relaxed) >= FAILURES_MAX {
                next.store(first + count, Ordering::Relaxed);
            }
        }
    };
    let threads = available_parallelism().map_or(1, NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(some);
        }
    });
    let failed = failed.into_inner();
    assert_eq!(failed, 0, "seeds failed, as was said");
    let (hazards, owed) = all.into_inner().expect("nobody panics who has it");
    println!("{count} seeds from {first}, in which {owed} lines had to be heard:\n{hazards}");
    assert!(owed > 0, "nobody said anything");
    if count >= SEEDS_FOR_ALL {
        assert_eq!(hazards.missing(), [], "never happened");
    }
}

/// A number that the environment tells.
fn number(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().expect("a number"))
}

/// Runs a seed: how many lines had to be heard, or what is wrong.
fn run(seed: u64, hazards: &mut Hazards) -> Result<u64, String> {
    let mut random = Random::new(seed);
    let count = 2 + random.index(2);
    let mut servers = begin(&mut random, count);
    // What was said before a server came to the bus is history there.
    servers.passes(SECOND);
    let faults = match random.once_in(8) {
        true => 0,
        false => random.pick(&[8, 16, 48]),
    };
    set_faults(&mut servers, faults);
    let mut people = People::new(&mut servers, &mut random, count);
    for _ in 0..15 + random.below(25) {
        if faults > 0 {
            disturb(&mut servers, &mut random, count);
        }
        let time = random.below(2 * SECOND);
        servers.passes_with(time, |servers, n| people.step(servers, n, &mut random));
    }
    let outcome = end(&mut servers, &mut people);
    hazards.add(&servers.world.borrow().nats.hazards);
    outcome
}

fn begin(random: &mut Random, count: usize) -> Servers {
    let options = Options {
        history: random.below(4) as u32,
        slow: random.pick(&[Slow::Disconnect, Slow::DropOldest]),
        operator: true,
        ..Options::default()
    };
    let limits = match random.once_in(4) {
        true => Limits {
            out_pause: 512,
            out_resume: 256,
            chat_soft: 512,
            chat_soft_time: Duration::from_millis(500),
            chat_hard: 1024,
            ..Limits::default()
        },
        false => Limits::default(),
    };
    let luck = Random::new(random.next());
    // Each third through TLS.
    let tls = random.once_in(3);
    Servers::of(count, (luck, 0), (options, limits), [tls; 2])
}

fn set_faults(servers: &mut Servers, faults: u8) {
    let mut world = servers.world.borrow_mut();
    (world.faults, world.nats.faults) = (faults, faults);
}

/// Something happens to the bus, or to a server.
fn disturb(servers: &mut Servers, random: &mut Random, count: usize) {
    let server = random.index(count);
    let links = servers.world.borrow().links(server);
    let mut world = servers.world.borrow_mut();
    match random.below(32) {
        0 | 1 => {
            for link in links {
                world.nats.hazards.count(Hazard::Cut);
                world.cut(link);
            }
        }
        2 | 3 => {
            world.happens(Due::Leads(false));
            let wait = random.below(6 * SECOND);
            world.plan(wait, Due::Leads(true));
        }
        4 | 5 => {
            world.happens(Due::Speaks(false));
            let wait = random.below(3 * SECOND);
            world.plan(wait, Due::Speaks(true));
        }
        6 => {
            for link in links {
                world.nats.hazards.count(Hazard::LameDuck);
                world.nats.is_lame(link);
                let wait = random.below(SECOND);
                world.plan(wait, Due::Cut(link));
            }
            world.send_said();
        }
        7 | 8 => {
            let (why, hazard) = random.pick(&[
                ("Slow Consumer Detected", Hazard::SlowConsumer),
                ("Stale Connection", Hazard::StaleConnection),
            ]);
            for link in links {
                world.nats.hazards.count(hazard);
                world.nats.refuses(link, why);
                world.nats.ends.push(link);
            }
            world.send_said();
        }
        9 | 10 => world.nats.forgets_a_consumer(),
        11 => {
            for link in links {
                world.nats.hazards.count(Hazard::HalfOpen);
                world.wires[link].is_mute = true;
            }
        }
        12 => {
            world.nats.hazards.count(Hazard::AwayForLong);
            let until = world.now + random.below(40 * SECOND);
            world.servers[server].away_until = until;
            for link in links {
                world.cut(link);
            }
        }
        13 => {
            drop(world);
            if servers.loops[server].is_some() {
                servers.counts(Hazard::Killed);
                servers.dies(server);
                plan_start(servers, random, server);
            }
        }
        14 => {
            drop(world);
            if servers.loops[server].is_some() {
                servers.counts(Hazard::Stopped);
                servers.stops(server);
                plan_start(servers, random, server);
            }
        }
        15 => {
            drop(world);
            servers.reloads(server);
        }
        16 | 17 => {
            drop(world);
            let listed = random.pick(&[&[1, 2][..], &[2, 3], &[3, 1], &[1], &[2], &[3]]);
            servers.relists(server, listed);
        }
        _ => {}
    }
}

fn plan_start(servers: &mut Servers, random: &mut Random, server: usize) {
    let mut world = servers.world.borrow_mut();
    for wait in [random.below(20 * SECOND), 20 * SECOND] {
        world.plan(wait, Due::Starts(server));
    }
}

/// Nothing goes wrong any more: what must hold then, and of all that was heard.
fn end(servers: &mut Servers, people: &mut People) -> Result<u64, String> {
    set_faults(servers, 0);
    {
        let mut world = servers.world.borrow_mut();
        world.nats.calms();
        world.dials.clear();
        for server in &mut world.servers {
            server.away_until = 0;
        }
        world.happens(Due::Leads(true));
        world.happens(Due::CatchesUp);
        world.happens(Due::Speaks(true));
    }
    people.are_calm = true;
    let mut luck = Random::new(0);
    let mut passes = |servers: &mut Servers, people: &mut People, time: u64| {
        servers.passes_with(time, |servers, n| people.step(servers, n, &mut luck));
        people.listen(servers);
    };
    passes(servers, people, CALM);
    people.say_last_words(servers);
    passes(servers, people, ANSWERS);
    people.judge_last_words()?;
    people.ask_who(servers);
    passes(servers, people, ANSWERS);
    people.judge_names()?;
    for name in NAMES {
        if people.ask_for(servers, name) {
            passes(servers, people, SECOND);
            people.judge_claim(name)?;
        }
    }
    let world = servers.world.borrow();
    let unlisted = (0..servers.loops.len()).find(|server| servers.unlisted(&world, *server));
    if let Some(server) = unlisted {
        return Err(format!(
            "{server} is at a server of the bus that is not listed"
        ));
    }
    people.judge(&world.nats)
}
