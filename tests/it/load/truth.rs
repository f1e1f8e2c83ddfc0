//! Truthfulness: what the load generator says about servers whose latency is known, in both models.
//!
//! A server that is told to wait 10 ms waits a little longer, and measures how much: the generator
//! must never report less than what was scripted, less the histogram's 0.1 %, and no more than what
//! the server itself saw, plus what a busy machine adds.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use onepoll::load::objective::Objective;
use onepoll::load::stopwatch::Stopwatch;
use onepoll::load::{self, Amount, Arrivals, Close, Mode, Model, Plan, Report};

const RST: Mode = Mode::Conn {
    close: Close::ClientRst,
};
const MS: f64 = 1_000.0;
/// What a histogram of three digits may be off.
const RESOLUTION: f64 = 0.999;
/// What waking up may take on a machine that is doing other things, beside what was measured of it.
const NOISE_US: f64 = 40.0 * MS;
/// The most that any of the servers overslept, in nanoseconds.
static OVERSLEPT: AtomicU64 = AtomicU64::new(0);

/// When the request of this number, coming so many nanoseconds after the start, is answered.
type Script = fn(number: u64, at: u64) -> u64;

/// An echo of 64 bytes that answers each request when its script says.
fn server(script: Script) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let watch = Stopwatch::start();
    let number = Arc::new(AtomicU64::new(0));
    thread::spawn(move || {
        for stream in listener.incoming() {
            let number = Arc::clone(&number);
            thread::spawn(move || answer(stream.unwrap(), &number, watch, script));
        }
    });
    address
}

fn answer(mut stream: TcpStream, number: &AtomicU64, watch: Stopwatch, script: Script) {
    let (_keep, never) = mpsc::channel::<()>();
    stream.set_nodelay(true).unwrap();
    let mut message = [0; 64];
    while stream.read_exact(&mut message).is_ok() {
        let number = number.fetch_add(1, Ordering::SeqCst);
        let now = watch.nanos();
        let until = script(number, now);
        if until > now {
            let _ = never.recv_timeout(Duration::from_nanos(until - now));
            let overslept = watch.nanos().saturating_sub(until);
            OVERSLEPT.fetch_max(overslept, Ordering::SeqCst);
        }
        if stream.write_all(&message).is_err() {
            return;
        }
    }
}

fn constant(_: u64, at: u64) -> u64 {
    at + 10_000_000
}

fn one_in_a_hundred(number: u64, at: u64) -> u64 {
    at + if number % 100 == 50 { 200_000_000 } else { 0 }
}

/// From 0.7 s to 1.7 s nobody is answered.
fn stall(_: u64, at: u64) -> u64 {
    if (700_000_000..1_700_000_000).contains(&at) {
        1_700_000_000
    } else {
        at
    }
}

fn open(rate: f64, arrivals: Arrivals) -> Model {
    Model::Open { rate, arrivals }
}

fn run(
    address: SocketAddr,
    mode: Mode,
    model: Model,
    connections: usize,
    amount: Amount,
) -> Report {
    let mut plan = Plan::new(address.to_string().parse().unwrap(), mode);
    plan.model = model;
    plan.connections = connections;
    plan.amount = amount;
    plan.warmup = Duration::ZERO;
    let report = load::run(&plan).unwrap();
    assert!(!report.has_errors(), "{report}");
    report
}

#[track_caller]
fn within(value: f64, least: f64, report: &Report) {
    let overslept = OVERSLEPT.load(Ordering::SeqCst) as f64 / 1_000.0;
    let most = least + NOISE_US + overslept + report.generator.lag_us.max;
    assert!(
        (least * RESOLUTION..most).contains(&value),
        "{value} is not about {least}\n{report}"
    );
}

#[test]
fn a_constant_latency_is_every_percentile_in_both_models() {
    let address = server(constant);
    for mode in [RST, Mode::Echo] {
        for model in [
            Model::Closed,
            open(400.0, Arrivals::Constant),
            open(400.0, Arrivals::Uniform),
            open(400.0, Arrivals::Poisson),
        ] {
            let report = run(address, mode, model, 20, Amount::Count(60));
            assert_eq!(
                (report.requests.asked, report.requests.answered),
                (60, 60),
                "{report}"
            );
            let sum = report.latency_us;
            assert_eq!(sum.count, 60);
            within(sum.p50, 10.0 * MS, &report);
            within(sum.p99, 10.0 * MS, &report);
            // The server answers whole messages, so all the waiting is for the first byte.
            let first = report.phases_us.first_byte;
            assert_eq!(first.count, 60);
            within(first.p50, 10.0 * MS, &report);
            assert!(report.phases_us.last_byte.p50 < MS, "{report}");
            assert!(report.phases_us.connect.p50 < first.p50, "{report}");
            let answered: u64 = report.seconds.iter().map(|second| second.answered).sum();
            assert_eq!(answered, 60, "{:?}", report.seconds);
            assert_eq!(report.hidden, None);
        }
    }
}

#[test]
fn one_slow_answer_in_a_hundred_is_seen_where_it_is() {
    for (mode, model) in [
        (RST, Model::Closed),
        (RST, open(2_000.0, Arrivals::Constant)),
        (Mode::Echo, open(2_000.0, Arrivals::Poisson)),
    ] {
        // A server each, since it counts the requests.
        let report = run(
            server(one_in_a_hundred),
            mode,
            model,
            20,
            Amount::Count(1_000),
        );
        let sum = report.latency_us;
        assert_eq!(sum.count, 1_000);
        assert!(sum.p50 < NOISE_US, "{report}");
        within(sum.p99_9, 200.0 * MS, &report);
        within(sum.max, 200.0 * MS, &report);
        // Ten of them: 1 % of the mean's weight is theirs.
        within(sum.mean, 2.0 * MS, &report);
    }
}

#[test]
fn the_open_model_shows_a_stall() {
    // 200 a second for 2.2 s, of which those of one second wait until its end.
    let report = run(
        server(stall),
        Mode::Echo,
        open(200.0, Arrivals::Constant),
        20,
        Amount::Count(440),
    );
    let sum = report.latency_us;
    assert_eq!(
        (sum.count, report.requests.answered),
        (440, 440),
        "{report}"
    );
    within(sum.max, 995.0 * MS, &report);
    // 200 of 440 wait, one 5 ms longer than the other: above p90 are 44, above p99 four.
    within(sum.p90, (995.0 - 44.0 * 5.0) * MS, &report);
    within(sum.p99, (995.0 - 4.0 * 5.0) * MS, &report);
    assert_eq!(report.hidden, None);
    // Only 20 of them had a connection; that the others waited for one is not the generator's fault.
    assert!(report.generator.lag_us.p90 < 20.0 * MS, "{report}");
    assert_eq!(report.seconds.len(), 3);
    // The second from 1 s to 2 s begins with 0.7 s of silence, and then answers for two.
    assert!(report.seconds[0].answered <= 150, "{:?}", report.seconds);
    assert!(report.seconds[1].answered >= 240, "{:?}", report.seconds);
}

#[test]
fn the_closed_model_says_that_it_hides_a_stall() {
    let time = Amount::For(Duration::from_millis(2_200));
    let report = run(server(stall), Mode::Echo, Model::Closed, 2, time);
    let sum = report.latency_us;
    // Two of thousands waited: the percentiles know nothing of it.
    assert!(sum.p99 < 50.0 * MS, "{report}");
    within(sum.max, 990.0 * MS, &report);
    let hidden = report.hidden.expect("it says so");
    within(hidden.stall_us, 990.0 * MS, &report);
    let expected = report.rate_per_s * hidden.stall_us / 1e6 - 2.0;
    assert!(
        (hidden.not_asked as f64 - expected).abs() <= 2.0,
        "{report}"
    );
    assert!(report.to_string().contains("HIDES a stall of"), "{report}");
}

#[test]
fn requests_that_never_found_a_connection_are_counted_and_the_run_ends() {
    // Answers nobody for ever: 2 of 50 are sent, and all of them time out.
    let address = server(|_, at| at + 60_000_000_000);
    for mode in [RST, Mode::Echo] {
        let mut plan = Plan::new(address.to_string().parse().unwrap(), mode);
        plan.model = open(1_000.0, Arrivals::Constant);
        plan.connections = 2;
        plan.amount = Amount::For(Duration::from_millis(50));
        plan.warmup = Duration::ZERO;
        plan.timeout = Duration::from_millis(100);
        let report = load::run(&plan).unwrap();
        assert_eq!(report.requests.answered, 0, "{report}");
        if mode == RST {
            assert_eq!(report.requests.asked, 50, "{report}");
            assert_eq!(report.errors.timeout, 50, "{report}");
        }
    }
}

/// An echo that hangs up on each connection after so many messages, and then listens no more.
fn dies_after(messages: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().take(2) {
            thread::spawn(move || {
                let mut stream = stream.unwrap();
                stream.set_nodelay(true).unwrap();
                let mut message = [0; 64];
                for _ in 0..messages {
                    if stream.read_exact(&mut message).is_err() {
                        return;
                    }
                    stream.write_all(&message).unwrap();
                }
            });
        }
    });
    address
}

#[test]
fn a_server_that_dies_is_not_as_fast_as_it_was_before() {
    let mut plan = Plan::new(dies_after(100).to_string().parse().unwrap(), Mode::Echo);
    (plan.connections, plan.warmup) = (2, Duration::ZERO);
    plan.amount = Amount::For(Duration::from_millis(500));
    let report = load::run(&plan).unwrap();
    assert_eq!(report.requests.answered, 200, "{report}");
    assert_eq!(report.elapsed_s, 0.5, "{report}");
    assert_eq!(report.rate_per_s, 400.0, "{report}");
}

#[test]
fn whom_nobody_was_left_to_ask_is_not_forgotten() {
    for amount in [Amount::Count(100), Amount::For(Duration::from_millis(200))] {
        let mut plan = Plan::new(dies_after(10).to_string().parse().unwrap(), Mode::Echo);
        (plan.connections, plan.warmup) = (2, Duration::ZERO);
        (plan.amount, plan.model) = (amount, open(500.0, Arrivals::Constant));
        let report = load::run(&plan).unwrap();
        let requests = report.requests;
        assert_eq!((requests.asked, requests.answered), (100, 20), "{report}");
        assert_eq!(requests.unanswered, 80, "{report}");
        // Four of five took for ever.
        let fast: Objective = "p50<60s".parse().unwrap();
        assert!(!fast.holds(fast.metric.of(&report)), "{report}");
        assert!((report.rate_per_s - 100.0).abs() < 1.0, "{report}");
    }
}

#[test]
fn a_server_that_takes_its_time_and_keeps_up_has_the_rate_it_was_asked() {
    let mut plan = Plan::new(
        server(|_, at| at + 200_000_000)
            .to_string()
            .parse()
            .unwrap(),
        Mode::Echo,
    );
    plan.connections = 100;
    plan.model = open(200.0, Arrivals::Constant);
    plan.amount = Amount::For(Duration::from_millis(400));
    plan.warmup = Duration::from_millis(300);
    let report = load::run(&plan).unwrap();
    // Half of those that were asked in this time are answered after it; as many come of those before.
    assert!(report.requests.late >= 30, "{report}");
    assert!((150.0..=250.0).contains(&report.rate_per_s), "{report}");
}

#[test]
fn so_many_requests_take_as_many_gaps() {
    let address = server(|_, at| at);
    for count in [1, 2, 5] {
        let model = open(20.0, Arrivals::Constant);
        let report = run(address, Mode::Echo, model, 2, Amount::Count(count));
        assert!(report.rate_per_s <= 20.01, "{report}");
    }
}
