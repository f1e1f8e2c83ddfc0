//! Whether intervals of the open model hold what they say: simulated runs of servers of which everything is known.
//!
//!     cargo test --release --test it load::coverage -- --ignored --nocapture
//!
//! Nothing here waits, and nothing is sent: requests come when the generator's own schedule says, one server answers them in
//! their order on a clock that is only counted, and the generator's own books and estimators make intervals of what they
//! see. The truth is that of queueing theory.

use std::time::Duration;

use onepoll::bench::study::comparison::{Contender, Contest};
use onepoll::bench::study::statistic::Spread;
use onepoll::load::measure::cpu::CpuTime;
use onepoll::load::measure::histogram::Latencies;
use onepoll::load::run::generator::{Generator, Pauses};
use onepoll::load::run::report::Held;
use onepoll::load::run::schedule::Schedule;
use onepoll::load::run::tally::{Phase, Tally};
use onepoll::load::{Amount, Arrivals, Endpoint, Mode, ModeName, Model, Plan, Report};

/// Requests a second.
const RATE: f64 = 5_000.0;
const ROUND: Duration = Duration::from_secs(1);
const WARM_UP: Duration = Duration::from_millis(200);
/// How often all rounds are simulated.
const RUNS: u64 = 200;

/// How long the server takes for one request.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Service {
    /// Always the same: M/D/1.
    Constant,
    /// Exponentially distributed: M/M/1.
    Exponential,
}

/// A server that is so busy.
#[derive(Debug, Clone, Copy)]
struct Queue {
    service: Service,
    load: f64,
}

impl Queue {
    /// One round as the generator would report it.
    fn round(self, seed: u64) -> Report {
        let mut plan = Plan::new(Endpoint::Unix("/x".into()), Mode::Echo { depth: 1 });
        let arrivals = Arrivals::Poisson;
        plan.model = Model::Open {
            rate: RATE,
            arrivals,
        };
        (plan.amount, plan.warmup, plan.seed) = (Amount::For(ROUND), WARM_UP, seed);
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap();
        let (since, until) = (nanos(WARM_UP), nanos(WARM_UP + ROUND));
        let mut schedule = Schedule::new(arrivals, RATE, seed, 0);
        // What the server takes is none of the generator's chance.
        let mut times = Schedule::new(Arrivals::Poisson, RATE / self.load, !seed, 0);
        let mut tally = Tally::new(&plan);
        let (mut is_measured, mut free) = (false, 0);
        loop {
            let began = schedule.next();
            let takes = match self.service {
                Service::Constant => (1e9 * self.load / RATE) as u64,
                Service::Exponential => {
                    let before = times.next();
                    times.advance();
                    times.next() - before
                }
            };
            free = began.max(free) + takes;
            if free >= since && !is_measured {
                tally.begin(since, None);
                is_measured = true;
            }
            let phase = match began < since {
                true => Phase::WarmUp { until: since },
                false => Phase::Measured,
            };
            if began >= until || !tally.take_due(phase, began) {
                break;
            }
            tally.answered(began, free, 1);
            schedule.advance();
        }
        let held = Held { asked: 1, held: 1 };
        let elapsed = tally.end();
        let none = Latencies::new();
        let idle = Generator::new(CpuTime::default(), 1, 0, &none, &none, Pauses::default());
        Report::new(&plan, tally, held, elapsed, idle)
    }

    /// What each of these seeds saw, together.
    fn rounds(self, seeds: impl Iterator<Item = u64>) -> Contender {
        let reports = seeds.map(|seed| self.round(seed)).collect();
        let mut contest = Contest::of(ModeName::Echo, vec![("it".to_owned(), reports)]);
        contest.contenders.remove(0)
    }

    /// The share of requests that are answered within so many microseconds, in the long run.
    fn within(self, us: f64) -> f64 {
        // In units of one service.
        let (load, time) = (self.load, us * RATE / self.load / 1e6);
        match self.service {
            Service::Exponential => 1.0 - (-(1.0 - load) * time).exp(),
            // Erlang's series for the time in the queue ("The Theory of Probabilities and Telephone Conversations", 1909).
            Service::Constant if time < 1.0 => 0.0,
            Service::Constant => {
                let waited = time - 1.0;
                let terms = (0..=waited as u32).map(|k| {
                    let x = load * (f64::from(k) - waited);
                    let factors: f64 = (1..=k).map(|i| x / f64::from(i)).product();
                    factors * (-x).exp()
                });
                (1.0 - load) * terms.sum::<f64>()
            }
        }
    }

    /// The latency that this share of requests has at most, in microseconds.
    fn percentile(self, share: f64) -> f64 {
        let (mut low, mut high) = (0.0, 1.0);
        // No farther than it must be: the series cancels itself out far away.
        while self.within(high) < share {
            high *= 1.5;
        }
        while high - low > 1e-3 {
            let middle = f64::midpoint(low, high);
            match self.within(middle) < share {
                true => low = middle,
                false => high = middle,
            }
        }
        high
    }
}

/// How many of so many runs had the truth in their interval: of the rate, p50 and p99.
fn covered(queue: Queue, runs: u64, rounds: u64, seeds_differ: bool) -> [u64; 3] {
    let truth = [RATE, queue.percentile(0.5), queue.percentile(0.99)];
    let mut covered = [0; 3];
    for run in 0..runs {
        let first = run * rounds;
        let seeds = (0..rounds).map(|round| match seeds_differ {
            true => first + round,
            false => first,
        });
        let figures = queue.rounds(seeds).figures.unwrap();
        let spreads: [Spread; 3] = [
            figures.rate_per_s,
            figures.p50_us.unwrap(),
            figures.p99_us.unwrap(),
        ];
        for ((spread, truth), covered) in spreads.iter().zip(truth).zip(&mut covered) {
            assert!(spread.is_interval, "{spread:?}");
            // What is reported has one decimal, and a histogram three digits.
            let (low, high) = (spread.low * 0.999 - 0.1, spread.high * 1.001 + 0.1);
            *covered += u64::from((low..=high).contains(&truth));
        }
    }
    covered
}

#[test]
fn the_simulated_server_is_the_one_of_the_theory() {
    let constant = |load| Queue {
        service: Service::Constant,
        load,
    };
    let exponential = Queue {
        service: Service::Exponential,
        load: 0.5,
    };
    // M/M/1: exponential with what is left of the server: 5,000 a second of 10,000.
    let half = exponential.percentile(0.5);
    assert!((half - 2f64.ln() / 5_000.0 * 1e6).abs() < 0.01, "{half}");
    // M/D/1: who finds it idle has the service alone; the mean wait is half that of M/M/1 (Pollaczek and Khinchin).
    let service = 100.0;
    assert!((constant(0.5).within(service) - 0.5).abs() < 1e-9);
    let tail = |at: u32| 1.0 - constant(0.5).within(service + f64::from(at) / 10.0);
    let mean: f64 = (0..10_000).map(|at| tail(at) / 10.0).sum();
    assert!((mean - 50.0).abs() < 0.1, "{mean}");
    // And what is simulated is that, as far as 5,000 requests tell.
    for (queue, chance) in [(constant(0.6), 0.1), (exponential, 0.2)] {
        let seen = queue.round(1).latency_us;
        for (seen, share) in [(seen.p50, 0.5), (seen.p99, 0.99)] {
            let truth = queue.percentile(share);
            assert!(
                (seen / truth - 1.0).abs() < chance,
                "{queue:?}: {seen} {truth}"
            );
        }
    }
}

#[test]
fn intervals_of_rounds_with_seeds_of_their_own_hold_the_truth() {
    // Seeds are given, so that the figures are always the same.
    let queue = Queue {
        service: Service::Constant,
        load: 0.6,
    };
    let [rate, p50, p99] = covered(queue, 10, 7, true);
    assert!(rate.min(p50).min(p99) >= 9, "{rate} {p50} {p99} of 10");
    // One schedule again and again is one round: it knows nothing of how far it is from the truth.
    let [rate, ..] = covered(queue, 10, 7, false);
    assert!(rate <= 3, "{rate} of 10");
}

#[test]
#[ignore = "200 runs of each kind, for a release build: a report, and no more than the test above asserts"]
fn report() {
    println!(
        "{RUNS} runs each, {RATE} requests a second in rounds of {ROUND:?}: how many had the truth in their 95 % interval"
    );
    println!("server  load  rounds  seeds        rate   p50   p99");
    for service in [Service::Constant, Service::Exponential] {
        for load in [0.4, 0.6, 0.8, 0.9] {
            for (rounds, seeds_differ) in [(7, false), (7, true), (20, true)] {
                let [rate, p50, p99] = covered(Queue { service, load }, RUNS, rounds, seeds_differ)
                    .map(|covered| 100.0 * covered as f64 / RUNS as f64);
                let server = match service {
                    Service::Constant => "M/D/1",
                    Service::Exponential => "M/M/1",
                };
                let seeds = match seeds_differ {
                    true => "each its own",
                    false => "one for all",
                };
                println!(
                    "{server:6}  {load:4}  {rounds:6}  {seeds:12} {rate:3.0} % {p50:3.0} % {p99:3.0} %"
                );
            }
        }
    }
}
