//! Truthfulness: what the load generator says about servers whose latency is known, in both models.
//!
//! It must never report less than what was scripted, less the histogram's 0.1 %. How much more it takes is
//! the machine's affair, and only bounded by what a clock beside the run saw: no latency is longer than
//! the run, and all of them together are no longer than that for each connection, where each has at most
//! one request in flight and it begins when it is sent.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use onepoll::load::measure::clock::Stopwatch;
use onepoll::load::measure::histogram::Summary;
use onepoll::load::run::report::Hidden;
use onepoll::load::{Amount, Arrivals, Mode, Model, Plan, Report};

use super::{ECHO, NONE_AFTER, RST, counted, failed, open, run};
use rustix::net::sockopt::set_socket_linger;
use rustix::process::{Pid, Signal, kill_process};

use crate::support::program::{Group, command};
use crate::support::script::{Reply, Request, Scripted, pause, replies};
use crate::support::{ANY, DEADLINE};

const MS: f64 = 1_000.0;
/// What a histogram of three digits may be off.
const RESOLUTION: f64 = 0.999;

/// When the request of this number, coming so many nanoseconds after the start, is answered.
type Script = fn(number: u64, at: u64) -> u64;

/// An echo of 64 bytes that answers each request when its script says, or a little later.
fn server(script: Script) -> Scripted {
    let (watch, number) = (Stopwatch::start(), Arc::new(AtomicU64::new(0)));
    replies(Request::Bytes(64), move |_, _, message| {
        let number = number.fetch_add(1, Ordering::SeqCst);
        let now = watch.nanos();
        let left = script(number, now).saturating_sub(now);
        Reply::After(Duration::from_nanos(left), message.to_vec())
    })
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

fn arriving(rate: f64, arrivals: Arrivals) -> Model {
    Model::Open { rate, arrivals }
}

fn plan(server: &Scripted, mode: Mode, model: Model, connections: usize, amount: Amount) -> Plan {
    let mut plan = super::plan(server, mode, connections, 1);
    (plan.model, plan.amount) = (model, amount);
    plan
}

/// A run without errors, in which nothing took longer than all of it.
#[track_caller]
fn measured(plan: &Plan) -> Report {
    let watch = Stopwatch::start();
    let report = run(plan);
    let most_us = watch.nanos() as f64 / 1_000.0 / RESOLUTION;
    assert!(!report.has_errors(), "{report}");
    let sum = report.latency_us;
    assert!(sum.max <= most_us, "{most_us} us\n{report}");
    if plan.model == Model::Closed {
        let together = sum.mean * sum.count as f64;
        let most_us = most_us * plan.connections as f64;
        assert!(together <= most_us, "{together} of {most_us} us\n{report}");
    }
    report
}

#[track_caller]
fn at_least(value: f64, least: f64, report: &Report) {
    assert!(
        value >= least * RESOLUTION,
        "{value} is less than {least}\n{report}"
    );
}

#[test]
fn a_constant_latency_is_every_percentile_in_both_models() {
    let server = server(constant);
    for mode in [RST, ECHO] {
        for model in [
            Model::Closed,
            arriving(400.0, Arrivals::Constant),
            arriving(400.0, Arrivals::Uniform),
            arriving(400.0, Arrivals::Poisson),
        ] {
            let report = measured(&plan(&server, mode.clone(), model, 20, Amount::Count(60)));
            counted(&report, 60, &[]);
            assert_eq!(report.requests.asked, 60, "{report}");
            let sum = report.latency_us;
            assert_eq!(sum.count, 60);
            at_least(sum.p50, 10.0 * MS, &report);
            at_least(sum.mean, 10.0 * MS, &report);
            // The server answers whole messages, so all the waiting is for the first byte.
            let (first, last) = (report.phases_us.first_byte, report.phases_us.last_byte);
            assert_eq!(first.count, 60);
            at_least(first.p50, 10.0 * MS, &report);
            assert!(last.p50 < first.p50 / 10.0, "{report}");
            let answered: u64 = report.seconds.iter().map(|second| second.answered).sum();
            assert_eq!(answered, 60, "{:?}", report.seconds);
            // Ten milliseconds are no stall; where the machine has one, it is said.
            let is_one = |hidden: Hidden| hidden.stalled_us >= 50.0 * MS;
            assert!(report.hidden.is_none_or(is_one), "{report}");
        }
    }
}

#[test]
fn one_slow_answer_in_a_hundred_is_seen_where_it_is() {
    for (mode, model) in [
        (RST, Model::Closed),
        (RST, arriving(2_000.0, Arrivals::Constant)),
        (ECHO, arriving(2_000.0, Arrivals::Poisson)),
    ] {
        // A server each, since it counts the requests.
        let plan = plan(
            &server(one_in_a_hundred),
            mode,
            model,
            20,
            Amount::Count(1_000),
        );
        let report = measured(&plan);
        let sum = report.latency_us;
        assert_eq!(sum.count, 1_000);
        at_least(sum.p99_9, 200.0 * MS, &report);
        at_least(sum.max, 200.0 * MS, &report);
        // Ten of them: 1 % of the mean's weight is theirs.
        at_least(sum.mean, 2.0 * MS, &report);
        assert!(sum.p50 < sum.p99_9, "{report}");
    }
}

#[test]
fn the_open_model_shows_a_stall() {
    // 200 a second for 2.2 s, of which those of one second wait until its end.
    let plan = plan(&server(stall), ECHO, open(200.0), 20, Amount::Count(440));
    let report = measured(&plan);
    counted(&report, 440, &[]);
    let sum = report.latency_us;
    assert_eq!(sum.count, 440, "{report}");
    at_least(sum.max, 995.0 * MS, &report);
    // 200 of 440 wait, one 5 ms longer than the other: above p90 are 44, above p99 four.
    at_least(sum.p90, (995.0 - 44.0 * 5.0) * MS, &report);
    at_least(sum.p99, (995.0 - 4.0 * 5.0) * MS, &report);
    assert_eq!(report.hidden, None);
    // Only 20 of them had a connection; that the others waited for one is not the generator's fault.
    assert!(report.generator.lag_us.p90 < sum.p90 / 2.0, "{report}");
    // The first second ends with 0.3 s of silence, and what was asked then is answered later.
    assert!(report.seconds[0].answered <= 150, "{:?}", report.seconds);
    let answered: u64 = report.seconds.iter().map(|second| second.answered).sum();
    assert_eq!(answered, 440, "{:?}", report.seconds);
}

#[test]
fn the_closed_model_says_that_it_hides_a_stall() {
    let time = Amount::For(Duration::from_millis(2_200));
    let plan = plan(&server(stall), ECHO, Model::Closed, 2, time);
    let report = measured(&plan);
    let sum = report.latency_us;
    at_least(sum.max, 990.0 * MS, &report);
    // Two of thousands waited: the percentiles know nothing of it.
    assert!(sum.p99 < sum.max / 2.0, "{report}");
    let hidden = report.hidden.expect("it says so");
    // While the generator itself was away, it saw nothing of the server.
    let away = report.generator.pauses.total_us;
    at_least(hidden.stall_us + away, 990.0 * MS, &report);
    // A busy machine may stall it some more.
    let stalls = hidden.stalls;
    let expected = report.rate_per_s * hidden.stalled_us / 1e6 - 2.0 * stalls as f64;
    let off = (hidden.not_asked as f64 - expected).abs();
    assert!(off <= 2.0, "{report}");
    let hides = match stalls {
        1 => "HIDES a stall of".to_owned(),
        more => format!("HIDES {more} stalls of"),
    };
    assert!(report.to_string().contains(&hides), "{report}");
}

#[test]
fn all_stalls_are_told_together_and_corrected_percentiles_stand_beside_the_raw() {
    // Five of 500 take 20 ms, and nobody is answered meanwhile.
    let script = |number, at| at + if number % 100 == 50 { 20_000_000 } else { 0 };
    let plan = |model| plan(&server(script), ECHO, model, 1, Amount::Count(500));
    let report = measured(&plan(Model::Closed));
    let hidden = report.hidden.expect("it says so");
    // What came while the generator itself was away is no stall of the server.
    let away = report.generator.pauses;
    assert!(hidden.stalls + away.count >= 5, "{report}");
    at_least(hidden.stalled_us + away.total_us, 100.0 * MS, &report);
    assert!(report.to_string().contains(" stalls of "), "{report}");
    // 1 % of the requests: the raw p99 has none of them.
    let corrected = report.corrected.unwrap();
    assert_eq!(report.latency_us.count, 500, "{report}");
    assert_eq!(corrected.interval_us, report.latency_us.p50, "{report}");
    assert!(corrected.latency_us.count > 500, "{report}");
    at_least(corrected.latency_us.p99, 18.0 * MS, &report);
    assert!(
        report.to_string().contains("    corrected  p50 "),
        "{report}"
    );
    // In the open model nothing is hidden, and nothing to be corrected.
    let report = measured(&plan(open(1_000.0)));
    assert_eq!((report.corrected, report.hidden), (None, None), "{report}");
}

#[test]
fn connections_that_are_answered_seldom_have_a_word() {
    // Every other connection is answered after 150 ms, the others at once.
    let server = replies(Request::Bytes(64), |connection, _, message| {
        let wait = if connection % 2 == 1 { 150 } else { 0 };
        Reply::After(Duration::from_millis(wait), message.to_vec())
    });
    let report = measured(&plan(&server, ECHO, Model::Closed, 4, Amount::Count(2_000)));
    let seen = report.per_connection.unwrap();
    assert_eq!(seen.starved, 2, "{report}");
    assert!(2 * seen.least < seen.p90 && seen.most < 2_000, "{report}");
    let said = "2 of 4 connections had less than half as many answers as others";
    assert!(report.to_string().contains(said), "{report}");
    // All are answered alike.
    let report = measured(&plan(&server, ECHO, Model::Closed, 1, Amount::Count(200)));
    let seen = report.per_connection.unwrap();
    assert_eq!(
        (seen.least, seen.most, seen.starved),
        (200, 200, 0),
        "{report}"
    );
}

#[test]
fn a_generator_that_is_stopped_says_so_and_calls_it_no_stall_of_the_server() {
    let (tell, is_told) = mpsc::channel();
    let server = replies(Request::Bytes(64), move |_, number, message| {
        if number == 100 {
            // Whoever waits for it may have gone.
            let _ = tell.send(());
        }
        message.to_vec()
    });
    let line = format!("bench echo {server} -c 1 -d 1500ms --warmup 0s --json");
    let words: Vec<&str> = line.split(' ').collect();
    let group = Group::spawn(
        command(&words)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped()),
    )
    .unwrap();
    let pid = Pid::from_child(&group.0);
    is_told.recv_timeout(DEADLINE).unwrap();
    kill_process(pid, Signal::STOP).unwrap();
    pause(Duration::from_millis(400));
    kill_process(pid, Signal::CONT).unwrap();
    let json = group.said(DEADLINE).exits(0).json();
    let generator = &json["generator"];
    let longest = generator["pauses"]["longest_us"].as_f64().unwrap();
    // It was to wake within 10 ms of being stopped.
    assert!(longest >= 380.0 * MS, "{json}");
    assert_eq!(generator["was_the_limit"], true, "{json}");
    // The server has answered all the time.
    let stall = json["hidden"]["stall_us"].as_f64().unwrap_or(0.0);
    assert!(stall < 380.0 * MS, "{json}");
}

#[test]
fn requests_that_never_found_a_connection_are_counted_and_the_run_ends() {
    // Answers nobody for ever: 2 of 50 are sent, and all of them time out.
    let server = server(|_, at| at + 60_000_000_000);
    for mode in [RST, ECHO] {
        let time = Amount::For(Duration::from_millis(50));
        let mut plan = plan(&server, mode.clone(), open(1_000.0), 2, time);
        plan.timeout = NONE_AFTER;
        let report = run(&plan);
        assert_eq!(report.requests.answered, 0, "{report}");
        assert_eq!(report.requests.asked, 50, "{report}");
        // The others found no connection free: they were never sent, and are not the server's.
        let errors = report.errors;
        assert!(errors.timeout >= 2 && errors.unsent > 0, "{report}");
        assert_eq!(errors.timeout + errors.unsent, errors.total, "{report}");
        assert_eq!(report.requests.unsent, errors.unsent, "{report}");
        assert_eq!(report.requests.unanswered, 50, "{report}");
    }
}

/// An echo that hangs up on each connection after so many messages.
fn dies_after(messages: usize) -> Scripted {
    replies(Request::Bytes(64), move |_, number, message| {
        if number + 1 == messages {
            Reply::Last(message.to_vec())
        } else {
            Reply::Bytes(message.to_vec())
        }
    })
}

#[test]
fn a_server_that_hangs_up_is_asked_on() {
    for (model, amount) in [
        (Model::Closed, Amount::Count(100)),
        (open(500.0), Amount::Count(100)),
        (open(500.0), Amount::For(Duration::from_millis(200))),
    ] {
        let server = dies_after(10);
        let report = run(&plan(&server, ECHO, model, 2, amount));
        let requests = report.requests;
        // What was on its way when a connection ended is lost with it, and counted; nothing else is.
        assert_eq!(requests.asked, 100, "{report}");
        assert_eq!(
            requests.answered + requests.late + requests.unanswered,
            100,
            "{report}"
        );
        assert!(requests.answered >= 80, "{report}");
        let errors = report.errors;
        assert_eq!(errors.short_answer + errors.reset, errors.total, "{report}");
        assert_eq!(requests.unanswered, errors.total, "{report}");
        assert!(!report.died, "{report}");
    }
}

/// An echo that is no more after so many messages: nobody listens, and all connections are reset.
fn gone_after(messages: u64) -> SocketAddr {
    let listener = TcpListener::bind(ANY).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let mut streams: Vec<TcpStream> = Vec::new();
        let mut left = messages;
        let mut message = [0; 64];
        // Two connections, in turn.
        streams.push(listener.accept().unwrap().0);
        streams.push(listener.accept().unwrap().0);
        'all: loop {
            for stream in &mut streams {
                stream.read_exact(&mut message).unwrap();
                if left == 0 {
                    break 'all;
                }
                left -= 1;
                stream.write_all(&message).unwrap();
            }
        }
        drop(listener);
        for stream in &streams {
            set_socket_linger(stream, Some(Duration::ZERO)).unwrap();
        }
    });
    address
}

#[test]
fn a_run_whose_server_is_gone_is_of_the_time_before() {
    for model in [Model::Closed, open(1_000.0)] {
        let time = Amount::For(Duration::from_secs(60));
        let mut plan = super::plan(gone_after(50), ECHO, 2, 1);
        (plan.model, plan.amount) = (model, time);
        let report = run(&plan);
        assert!(report.died, "{report}");
        assert_eq!(report.requests.answered, 50, "{report}");
        // What is refused afterwards lengthens nothing.
        assert!(report.errors.refused > 0, "{report}");
        assert!(report.elapsed_s < 30.0, "{report}");
        let seconds: u64 = report.seconds.iter().map(|second| second.answered).sum();
        assert_eq!(seconds, 50, "{report}");
        let first = report.to_string();
        assert!(first.starts_with("the load DIED after "), "{first}");
        assert!(!report.interrupted, "{report}");
    }
}

#[test]
fn an_overload_holds_its_connections_and_asks_as_much_as_they_carry() {
    // Two connections carry 200 a second of a server that takes 10 ms; a thousand are meant to begin, for ten times as
    // long as a request may take.
    let server = server(constant);
    let time = Amount::For(Duration::from_millis(1_000));
    let mut plan = plan(&server, ECHO, open(1_000.0), 2, time);
    plan.timeout = NONE_AFTER;
    let report = run(&plan);
    let requests = report.requests;
    assert_eq!(requests.asked, 1_000, "{report}");
    // All that was sent was answered, and no connection was given up; the rest never left.
    assert_eq!(requests.unanswered, requests.unsent, "{report}");
    failed(&report, &[("unsent", requests.unsent)]);
    assert_eq!(report.connections.held, 2, "{report}");
    assert!(requests.unsent >= 700, "{report}");
    // They waited for a connection, which the server did not see, and it says how many would do.
    let crowded = report.crowded.unwrap();
    assert!(crowded.enough.unwrap() >= 10, "{report}");
    let phases = report.phases_us;
    at_least(phases.wait.max, 50.0 * MS, &report);
    assert!(phases.first_byte.p50 < phases.wait.max, "{report}");
    assert!(
        report.to_string().contains("all connections were busy (2)"),
        "{report}"
    );
}

#[test]
fn phases_add_up_to_the_latency() {
    let server = server(constant);
    for mode in [RST, ECHO] {
        for model in [Model::Closed, open(400.0)] {
            let report = measured(&plan(&server, mode.clone(), model, 3, Amount::Count(60)));
            let phases = report.phases_us;
            let mut parts = vec![phases.wait, phases.first_byte, phases.last_byte];
            if mode == RST {
                parts.extend([phases.connect, phases.close]);
            }
            let sum = |of: Summary| of.mean * of.count as f64;
            let parts: f64 = parts.into_iter().map(sum).sum();
            let whole = sum(report.latency_us);
            // Each is rounded, as their sum is.
            assert!(
                (parts / whole - 1.0).abs() < 0.01,
                "{parts} {whole} {report}"
            );
        }
    }
}

#[test]
fn what_a_closed_run_asked_in_its_warm_up_is_in_no_latency() {
    // The first on each of eight connections takes 300 ms, and ends while measuring: an inspector meets a slow one on
    // each, of hundreds that are fast.
    let server = server(|number, at| at + if number < 8 { 300_000_000 } else { 1_000_000 });
    let time = Amount::For(Duration::from_millis(400));
    let mut plan = plan(&server, ECHO, Model::Closed, 8, time);
    plan.warmup = Duration::from_millis(100);
    let report = measured(&plan);
    let (requests, sum) = (report.requests, report.latency_us);
    assert_eq!(requests.came, requests.answered + 8, "{report}");
    assert_eq!(sum.count, requests.asked, "{report}");
    assert_eq!(
        requests.asked,
        requests.answered + requests.late,
        "{report}"
    );
}

#[test]
fn an_answer_counts_for_the_rate_of_the_time_in_which_it_comes() {
    let server = server(|_, at| at + 200_000_000);
    let time = Amount::For(Duration::from_millis(400));
    let mut plan = plan(&server, ECHO, open(200.0), 100, time);
    plan.warmup = Duration::from_millis(300);
    let report = measured(&plan);
    // Half of those that were asked in this time are answered after it, and others come of those before.
    let requests = report.requests;
    assert!(requests.late >= 30, "{report}");
    assert!(requests.came > requests.answered, "{report}");
    assert!(
        (report.rate_per_s - requests.came as f64 / 0.4).abs() < 0.1,
        "{report}"
    );
}

#[test]
fn a_schedule_begins_when_measuring_does() {
    let server = server(|_, at| at);
    for _ in 0..5 {
        let time = Amount::For(Duration::from_millis(20));
        let report = run(&plan(&server, ECHO, open(50_000.0), 2, time));
        assert_eq!(report.requests.asked, 1_000, "{report}");
    }
}

#[test]
fn so_many_requests_take_as_many_gaps() {
    let server = server(|_, at| at);
    for count in [1, 2, 5] {
        let report = measured(&plan(&server, ECHO, open(20.0), 2, Amount::Count(count)));
        assert!(report.rate_per_s <= 20.01, "{report}");
    }
}
