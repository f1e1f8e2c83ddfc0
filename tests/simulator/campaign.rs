//! Seeds: each is a world with its own faults, limits, services and clients.

use std::num::NonZero;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::available_parallelism;

use onepoll::config::Limits;
use onepoll::config::limits::KEPT_BYTES;
use onepoll::reactor::TracedBytes;

use crate::coverage::Coverage;
use crate::kernel::{Client, Due, MICRO, SECOND, SimOs};
use crate::listeners::Listeners;
use crate::operator::{Operator, connections_max};
use crate::play::Play;
use crate::profile::Profile;
use crate::random::Random;
use crate::sources::any_place;
use crate::successor::Successor;

/// Seeds that `cargo test` tries unless told otherwise.
const SEEDS_BY_DEFAULT: u64 = if cfg!(debug_assertions) {
    5_000
} else {
    20_000
};

/// Time within which every client is served or disconnected once nothing goes wrong any more, and somebody looks
/// whether the command of a broadcast, which waits to be started again, has readers.
const PATIENCE: u64 = 120 * SECOND;

/// As much more for each client: where there is one place, the others wait until it has not logged in in time.
const PATIENCE_FOR_EACH: u64 = 11 * SECOND;

/// Turns that it may take then. Before, time is the bound: each turn takes some, and what goes wrong may be
/// thousands of events a second for nothing.
const TURNS_MAX: u64 = 200_000;

#[test]
fn seeds() {
    let Some((count, coverage)) = campaign("campaign::seeds", SEEDS_BY_DEFAULT, run) else {
        return;
    };
    for (occasion, times) in coverage.occasions.each() {
        println!("{times:12} {occasion:?}");
    }
    let verdict = coverage.judge();
    if count >= SEEDS_BY_DEFAULT {
        let missed: Vec<_> = verdict.rarest.iter().filter(|pair| pair.0 == 0).collect();
        assert!(missed.is_empty(), "possible, and never visited: {missed:?}");
        let occasions = coverage.occasions.each();
        let missed: Vec<_> = occasions.filter(|(_, times)| *times == 0).collect();
        assert!(missed.is_empty(), "never: {missed:?}");
    }
}

/// One seed, if the environment names it, or as many as it says, or this many: how many there were, and what was
/// met, which is possible.
pub(crate) fn campaign(
    name: &str,
    by_default: u64,
    run: fn(u64, &mut Coverage) -> u64,
) -> Option<(u64, Coverage)> {
    if let Some(seed) = number("ONEPOLL_SIM_SEED") {
        run(seed, &mut Coverage::default());
        return None;
    }
    let (first, count) = (
        number("ONEPOLL_SIM_FROM").unwrap_or(1),
        number("ONEPOLL_SIM_SEEDS").unwrap_or(by_default),
    );
    #[expect(clippy::disallowed_methods, reason = "for the rate that is printed")]
    let began = std::time::Instant::now();
    let (coverage, turns) = run_all(name, first..first + count, run);
    let seconds = began.elapsed().as_secs_f64();
    println!(
        "{count} seeds from {first}: {:.0} seeds/s, {turns} turns",
        count as f64 / seconds,
    );
    println!("what connections met, by how they stood when the turn began:");
    println!("{coverage}");
    let wrong = coverage.judge().wrong;
    assert_eq!(wrong, [""; 0], "visited, and said to be impossible");
    Some((count, coverage))
}

/// Every seed, on as many threads as there are processors.
fn run_all(name: &str, seeds: Range<u64>, run: fn(u64, &mut Coverage) -> u64) -> (Coverage, u64) {
    let next = AtomicU64::new(seeds.start);
    let some = || {
        let (mut coverage, mut turns) = (Coverage::default(), 0);
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return (coverage, turns);
            }
            match catch_unwind(AssertUnwindSafe(|| run(seed, &mut coverage))) {
                Ok(n) => turns += n,
                Err(panic) => {
                    eprintln!(
                        "seed {seed} fails; again: ONEPOLL_SIM_SEED={seed} cargo test --test simulator {name}"
                    );
                    // The other threads need not go on.
                    next.store(seeds.end, Ordering::Relaxed);
                    resume_unwind(panic);
                }
            }
        }
    };
    let threads = available_parallelism().map_or(1, NonZero::get);
    let mut all = (Coverage::default(), 0);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(some)).collect();
        for thread in threads {
            let (coverage, turns) = thread.join().unwrap_or_else(|panic| resume_unwind(panic));
            all.0.add(&coverage);
            all.1 += turns;
        }
    });
    all
}

/// A number that the environment tells.
fn number(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().expect("a number"))
}

/// One seed, from the first turn to the last client.
fn run(seed: u64, coverage: &mut Coverage) -> u64 {
    let mut begun = Begun::of(seed);
    let Begun {
        play,
        random,
        profile,
        limits,
        stampede,
        ..
    } = &mut begun;
    let is_stampede = stampede.is_some();
    let listeners = Listeners::open(play, random, *profile, limits, is_stampede);
    begun.changes();
    let more = begun.guessers() + begun.crowd();
    for number in 0..more + begun.profile.clients(&mut begun.random) {
        begun.invite_when(|random| listeners.client(random, number));
    }
    begun.perform(coverage)
}

/// A world that has its faults and limits, and neither services nor clients yet.
pub(crate) struct Begun {
    pub(crate) play: Play,
    pub(crate) random: Random,
    pub(crate) profile: Profile,
    pub(crate) limits: Limits,
    calm_after: u64,
    /// When nothing goes wrong any more, and the last client has come.
    all_there: u64,
    stop: Option<u64>,
    /// Its clients are of one source, and most guess secrets.
    pub(crate) is_guessed: bool,
    /// When most of its clients come at once, each of which begins a session.
    stampede: Option<u64>,
    operator: Option<Operator>,
}

impl Begun {
    fn of(seed: u64) -> Begun {
        Begun::with(seed, |_| {})
    }

    /// The same, with limits that are changed.
    pub(crate) fn with(seed: u64, change: impl FnOnce(&mut Limits)) -> Begun {
        let profile = Profile::of(seed);
        let mut random = Random::new(seed);
        let os = SimOs::new(Random::new(random.next()));
        let mut limits = profile.limits(&mut random);
        change(&mut limits);
        let connections_max = connections_max(&mut random);
        let calm_after = profile.calm_after(&mut random);
        let is_guessed = random.once_in(8);
        let stampede = random.once_in(32).then(|| random.below(calm_after));
        let stops = profile.stops(&mut random, calm_after);
        os.net(|net| {
            net.faults = profile.faults(&mut random);
            net.turn_costs = true;
            net.may_evict = limits.buffers < Limits::default().buffers;
            net.bounds.read_bytes = limits.read_per_turn;
            net.bounds.datagrams = u64::from(limits.datagrams_per_turn);
            if random.once_in(8) {
                // The end of time is near, and nothing differs.
                net.now = u64::MAX - (3_600 + random.below(100)) * SECOND;
            }
            if random.once_in(6) {
                net.descriptors_max = random.some(4);
            }
            net.only_place = is_guessed.then(|| any_place(&mut random));
            net.plan(calm_after, Due::Calm);
            for stop in stops.into_iter().flatten() {
                net.plan(stop, Due::Stop);
            }
        });
        Begun {
            play: Play::new(os, limits.clone(), connections_max),
            random,
            profile,
            limits,
            calm_after,
            all_there: calm_after,
            stop: stops[0],
            is_guessed,
            stampede,
            operator: None,
        }
    }

    /// How many clients there are besides, where secrets are guessed.
    fn guessers(&mut self) -> usize {
        match self.is_guessed {
            true => self.random.some(12),
            false => 0,
        }
    }

    /// How many clients there are besides, where most come at once.
    fn crowd(&mut self) -> usize {
        match self.stampede {
            Some(_) => 8 + self.random.some(16),
            None => 0,
        }
    }

    /// An operator changes what is served, now and then.
    pub(crate) fn changes(&mut self) {
        let random = &mut self.random;
        if random.once_in(2) {
            return;
        }
        let times = random.some(6);
        self.play.os.net(|net| {
            for _ in 0..times {
                net.plan(random.below(self.calm_after), Due::Change);
            }
        });
        let random = Random::new(random.next());
        let mut operator = Operator::new(random, self.profile, self.limits.drain_timeout);
        if self.random.once_in(3) {
            let listener = operator.takes_over(&mut self.play);
            for _ in 0..self.random.some(3) {
                let wait = self.random.below(self.calm_after / 2);
                let successor = Successor {
                    listener,
                    goes_after: self.random.some(400) as u32,
                    link: None,
                    is_home: false,
                };
                self.play.os.invite(Box::new(successor), wait);
            }
        }
        self.operator = Some(operator);
    }

    /// A client comes.
    pub(crate) fn invite(&mut self, client: Box<dyn Client>) {
        self.invite_when(|_| client);
    }

    fn invite_when(&mut self, client: impl FnOnce(&mut Random) -> Box<dyn Client>) {
        let Begun {
            random, profile, ..
        } = self;
        let mut wait = match self.stampede {
            Some(at) if !random.once_in(8) => at + random.below(20 * MICRO),
            _ => profile.comes(random, self.calm_after, self.stop),
        };
        if self.is_guessed && random.once_in(4) {
            // By then a penalty has run down.
            wait += 15 * SECOND + random.below(15 * SECOND);
        }
        self.all_there = self.all_there.max(wait);
        self.play.os.invite(client(random), wait);
    }

    /// Turns until every client has gone home, and nothing is left.
    pub(crate) fn perform(mut self, coverage: &mut Coverage) -> u64 {
        let play = &mut self.play;
        play.bound_accepts();
        if std::env::var_os("ONEPOLL_SIM_TRACE").is_some() {
            let out = Box::new(std::io::stderr());
            play.reactor.trace_to(out, TracedBytes::All);
        }
        let at_first = play.allocated();
        coverage.begin();
        let turns = perform(play, self.all_there, self.operator, coverage);
        play.os.net(|net| {
            coverage.occasions.add(&net.occasions);
            coverage.partings.add(&net.partings);
        });
        come_to_rest(self.play, at_first, &self.limits);
        turns
    }
}

/// When the connections have gone, the loop gives back what they needed.
fn come_to_rest(mut play: Play, at_first: i64, limits: &Limits) {
    while !play.os.net(|net| net.rests) {
        if play.reactor.is_stopped() {
            return;
        }
        play.turn();
    }
    let kept = play.weigh() - at_first;
    // Ciphertext has one of its own.
    let buffers = KEPT_BYTES + 2 * (limits.read_per_turn + KEPT_BYTES);
    let bound = i64::try_from(buffers + TABLES_BYTES_MAX).expect("limits are small here");
    assert!(kept <= bound, "kept {kept} bytes, of {bound} at most");
}

/// What tables of so few connections keep, those of services among them.
const TABLES_BYTES_MAX: usize = 16 << 10;

/// Turns until every client has gone home.
fn perform(
    play: &mut Play,
    all_there: u64,
    mut operator: Option<Operator>,
    coverage: &mut Coverage,
) -> u64 {
    let began = play.os.net(|net| net.now);
    let clients = play.os.0.borrow().clients.len() as u64;
    let patience = PATIENCE + clients * PATIENCE_FOR_EACH;
    let mut deadline = began + all_there + patience;
    let (mut turns, mut calm_turns) = (0, 0);
    loop {
        play.turn();
        turns += 1;
        calm_turns += u64::from(play.os.net(|net| net.calm));
        coverage.look(play);
        if let Some(operator) = &mut operator {
            operator.goes_on(play);
            coverage.remember(play);
        }
        let (rests, now) = play.os.net(|net| (net.rests, net.now));
        let home = play
            .os
            .0
            .borrow()
            .clients
            .iter()
            .all(|client| client.is_home());
        if home && play.os.net(|net| net.calm) {
            // Nobody may have looked while the last broadcast waited to be started again.
            if play.retire_tails() {
                deadline = now + patience;
            }
        }
        if play.reactor.is_stopped()
            || home && (rests || play.os.net(|net| net.calm)) && serves_nobody(play)
        {
            break;
        }
        assert!(
            !rests,
            "the loop sleeps for ever, and a client waits: {:?} {}",
            play.counters(),
            sketch(play)
        );
        assert!(
            now < deadline,
            "not served in time: {:?} {}",
            play.counters(),
            sketch(play)
        );
        assert!(calm_turns < TURNS_MAX, "no end: {:?}", play.counters());
    }
    if play.reactor.is_stopped() {
        play.os.net(|net| net.gives_up = true);
        play.reactor.run().expect("it has stopped");
        coverage.abandoned(play);
    }
    settle_accounts(play);
    turns
}

/// No connection is there, and no command; those of broadcasts do not count as commands.
fn serves_nobody(play: &Play) -> bool {
    let counters = play.counters();
    counters.connections + counters.children + counters.children_waiting == 0
        && play
            .os
            .net(|net| net.children.iter().all(|child| child.reaped))
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
        let mut held = 0;
        for (k, child) in net.children.iter().enumerate() {
            // What a child does with files it does also when the server has stopped.
            let may_outlive = net.gives_up && child.has_errand;
            assert!(child.reaped || may_outlive, "child {k} was left: {child:?}");
            if !child.reaped {
                held += 1 + [&child.out, &child.err]
                    .iter()
                    .filter(|pipe| !pipe.closed)
                    .count();
            }
        }
        assert_eq!(net.descriptors, held, "descriptors");
        let refused = &counters.refused;
        assert_eq!(
            *refused, net.refused,
            "those whom the limits let in, and no other"
        );
        assert!(
            counters.bytes_in <= net.total.read && counters.bytes_out <= net.total.written,
            "I5: {counters:?} {:?}",
            net.total
        );
        assert_eq!(
            counters.connections_opened + refused.sum(),
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
