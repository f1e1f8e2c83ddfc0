//! The load generator against servers that behave, lie, hang up, reset, and fall silent: every
//! count is exact, and no run hangs.

use std::os::unix::net::UnixListener;
use std::thread;
use std::time::Duration;

use onepoll::load::{Amount, Arrivals, Close, Expect, Mode, Model, Plan, SourceRange};
use serde_json::Value;

use super::{ECHO, NONE_AFTER, RST, closing, counted, failed, open, plan, run};
use crate::support::peer::Nobody;
use crate::support::program::bench;
use crate::support::script::{Reply, Request, Scripted, converse, echo, replies};

const FIN: Mode = closing(Close::ClientFin, 1);

/// A message as the load generator sends it where nothing else was asked for.
const MESSAGE: Request = Request::Bytes(64);

/// One whose only bit is wrong.
fn false_one(message: &[u8]) -> Vec<u8> {
    let mut message = message.to_vec();
    message[63] ^= 1;
    message
}

#[test]
fn every_request_of_a_good_server_is_counted_once() {
    let server = echo();
    for mode in [RST, FIN, ECHO] {
        for (connections, count) in [(1, 1), (1, 20), (7, 200), (20, 3)] {
            let report = run(&plan(&server, mode.clone(), connections, count));
            counted(&report, count, &[]);
            assert_eq!(report.requests.asked, count, "{report}");
            assert_eq!(report.latency_us.count, count);
            assert!(report.rate_per_s > 0.0 && report.latency_us.p50 > 0.0);
            if mode == ECHO {
                assert_eq!(report.connections.held, connections);
            }
        }
    }
}

#[test]
fn the_address_that_was_asked_is_said_with_all_that_the_name_has() {
    let server = echo();
    let port = server.address.port();
    let json = bench(format!("echo localhost:{port} -c 1 -n 1 --json")).json();
    let asked = format!("127.0.0.1:{port}");
    assert_eq!(json["address"]["asked"], asked, "{json}");
    let all = json["address"]["all"].as_array().unwrap();
    assert!(all.contains(&Value::from(asked.as_str())), "{json}");
    let text = bench(format!("echo localhost:{port} -c 1 -n 1"));
    let all: Vec<_> = all.iter().map(|one| one.as_str().unwrap()).collect();
    let said = match all.as_slice() {
        [only] => format!("\n  address    {only}\n"),
        several => format!("\n  address    {asked}, of {}\n", several.join(" and ")),
    };
    assert!(text.out.contains(&said), "{}", text.out);
    // Where it was written as it is, nothing is left to be said.
    let text = bench(format!("echo {server} -c 1 -n 1"));
    assert!(!text.exits(0).out.contains("address"), "{}", text.out);
}

#[test]
fn messages_of_any_size_and_depth_come_back() {
    let server = echo();
    for (size, pipeline) in [
        (1, 1),
        (1, 33),
        (64, 16),
        (4096, 4),
        (300_000, 1),
        (700_000, 3),
    ] {
        let mut plan = plan(&server, ECHO, 3, 100);
        (plan.size, plan.mode) = (size, Mode::Echo { depth: pipeline });
        counted(&run(&plan), 100, &[]);
    }
    let mut plan = plan(&server, RST, 3, 20);
    plan.size = 300_000;
    counted(&run(&plan), 20, &[]);
}

#[test]
fn a_unix_socket_is_asked_too_even_with_a_short_queue() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("echo.sock");
    let listener = UnixListener::bind(&path).unwrap();
    rustix::net::listen(&listener, 1).unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let echo = |_, bytes: &[u8]| Reply::Bytes(bytes.to_vec());
            thread::spawn(move || converse(stream.unwrap(), Request::Any, echo));
        }
    });
    for mode in [RST, ECHO] {
        let plan = plan(format!("unix://{}", path.display()), mode, 8, 50);
        counted(&run(&plan), 50, &[]);
    }
}

#[test]
fn a_server_that_closes_is_awaited() {
    let server = replies(MESSAGE, |_, _, message| Reply::Last(message.to_vec()));
    counted(
        &run(&plan(server, closing(Close::Server, 1), 5, 50)),
        50,
        &[],
    );
}

#[test]
fn lies_short_answers_resets_and_floods_are_told_apart_exactly() {
    let server = replies(MESSAGE, |connection, _, message| match connection % 5 {
        0 => Reply::Bytes(false_one(message)),
        1 => Reply::Last(message[..63].to_vec()),
        2 => Reply::Reset,
        3 => Reply::Bytes(message.repeat(2)),
        _ => Reply::Bytes(message.to_vec()),
    });
    let poisson = Model::Open {
        rate: 2_000.0,
        arrivals: Arrivals::Poisson,
    };
    for model in [Model::Closed, poisson] {
        // One at a time, so that the server numbers the connections as they were asked.
        let mut plan = plan(&server, RST, 1, 50);
        plan.model = model;
        let report = run(&plan);
        let kinds = [("reset", 10), ("short_answer", 10), ("wrong_answer", 20)];
        counted(&report, 10, &kinds);
        assert_eq!(report.requests.unanswered, 40, "{report}");
    }
}

#[test]
fn another_message_of_the_right_length_is_wrong() {
    // Each answer is the message before: right in length and in kind.
    let mut last = Vec::new();
    let server = replies(MESSAGE, move |_, number, message| {
        let before = std::mem::replace(&mut last, message.to_vec());
        if number == 0 {
            message.to_vec()
        } else {
            before
        }
    });
    let report = run(&plan(server, ECHO, 2, 10));
    // On each connection the first is right and the second is not; then another takes its place.
    let wrong = report.errors.wrong_answer;
    assert!((4..=5).contains(&wrong), "{report}");
    counted(&report, 10 - wrong, &[("wrong_answer", wrong)]);
}

#[test]
fn fault_b22_a_silent_server_ends_the_run_with_an_error_each() {
    // Three bytes of the answer, then nothing.
    let server = replies(MESSAGE, |_, _, message| message[..3].to_vec());
    let mut some = plan(&server, RST, 5, 10);
    some.timeout = NONE_AFTER;
    counted(&run(&some), 0, &[("timeout", 10)]);

    let mut timed = plan(&server, ECHO, 5, 1);
    (timed.amount, timed.timeout) = (Amount::For(NONE_AFTER / 2), NONE_AFTER);
    counted(&run(&timed), 0, &[("timeout", 5)]);
}

#[test]
fn nobody_there_is_refused_and_counted() {
    let nobody = Nobody::new();
    let report = run(&plan(&nobody, RST, 4, 20));
    assert_eq!(report.requests.asked, 20, "{report}");
    failed(&report, &[("refused", 20)]);
    let report = run(&plan(&nobody, ECHO, 4, 20));
    assert_eq!(report.connections.held, 0, "{report}");
    failed(&report, &[("refused", 4)]);
}

#[test]
fn the_warm_up_is_not_counted() {
    let mut plan = plan(echo(), ECHO, 2, 20);
    plan.warmup = Duration::from_millis(30);
    let report = run(&plan);
    counted(&report, 20, &[]);
    assert_eq!(report.requests.asked, 20, "{report}");
    plan.amount = Amount::For(Duration::from_millis(50));
    let report = run(&plan);
    assert!((report.elapsed_s - 0.05).abs() < 1e-9, "{report}");
}

#[test]
fn a_source_address_is_dialled_from() {
    let server = echo();
    let mut plan = plan(&server, RST, 2, 10);
    plan.sources = vec!["127.0.0.7:0".parse().unwrap()];
    counted(&run(&plan), 10, &[]);
    for entry in server.entries(10) {
        assert_eq!(entry.from.ip().to_string(), "127.0.0.7");
    }
}

#[test]
fn each_connection_asks_as_often_as_it_is_told() {
    let server = replies(MESSAGE, |_, _, message| message.to_vec());
    for model in [Model::Closed, open(2_000.0)] {
        for close in [Close::ClientRst, Close::ClientFin] {
            for (connections, count, each) in [(1, 1, 1), (1, 10, 3), (5, 40, 7), (20, 3, 100)] {
                let mut plan = plan(&server, closing(close, each), connections, count);
                plan.model = model;
                let report = run(&plan);
                counted(&report, count, &[]);
                assert_eq!(report.requests.asked, count, "{report}");
                assert_eq!(report.latency_us.count, count, "{report}");
                assert_eq!(report.phases_us.first_byte.count, count, "{report}");
                assert_eq!(report.requests_per_connection, Some(each));
                let per_s = report.rate_per_s * each as f64;
                assert!((report.requests_per_s - per_s).abs() < 1.0, "{report}");
                for entry in server.entries(count as usize) {
                    assert_eq!(entry.requests, each);
                }
            }
        }
    }
}

/// Echoes each message, and does `fault` about the one numbered `at` of each connection.
fn asked_often(at: usize, fault: fn(&[u8]) -> Reply) -> Scripted {
    replies(MESSAGE, move |_, number, message| {
        if number == at {
            fault(message)
        } else {
            Reply::Bytes(message.to_vec())
        }
    })
}

#[test]
fn a_server_that_closes_after_the_last_of_several_answers_is_awaited() {
    let server = asked_often(3, |message| Reply::Last(message.to_vec()));
    let report = run(&plan(server, closing(Close::Server, 4), 4, 40));
    counted(&report, 40, &[]);
    assert!(report.phases_us.close.max > 0.0, "{report}");
}

#[test]
fn a_connection_that_fails_at_any_of_its_requests_fails_once() {
    type Fault = (fn(&[u8]) -> Reply, &'static str);
    let faults: [Fault; 5] = [
        (
            |message| Reply::Last(message[..63].to_vec()),
            "short_answer",
        ),
        (|message| Reply::Bytes(false_one(message)), "wrong_answer"),
        (|message| Reply::Bytes(message.repeat(2)), "wrong_answer"),
        (|_| Reply::Reset, "reset"),
        (|_| Reply::Bytes(Vec::new()), "timeout"),
    ];
    for (fault, kind) in faults {
        for at in [0, 1, 4] {
            let mode = closing(Close::ClientRst, 5);
            let mut plan = plan(asked_often(at, fault), mode, 3, 9);
            if kind == "timeout" {
                plan.timeout = NONE_AFTER;
            }
            let report = run(&plan);
            assert_eq!(report.requests.asked, 9, "{at} {report}");
            assert_eq!(report.requests.unanswered, 9, "{at} {report}");
            failed(&report, &[(kind, 9)]);
        }
    }
}

#[test]
fn an_answer_that_ends_its_connection_is_the_only_one() {
    let mut plan = Plan::new("127.0.0.1:9".parse().unwrap(), RST);
    plan.expect = Expect::Eof;
    assert_eq!(plan.check(), Ok(()));
    plan.mode = closing(Close::ClientRst, 2);
    let said = plan.check().unwrap_err().to_string();
    assert!(said.contains("--requests must be 1, not 2"), "{said}");
    plan.mode = closing(Close::ClientRst, 0);
    plan.expect = Expect::Echo;
    let said = plan.check().unwrap_err().to_string();
    assert!(said.contains("requests of a connection"), "{said}");
}

#[test]
fn sources_are_dialled_from_in_turn() {
    for mode in [RST, ECHO] {
        let server = echo();
        let mut plan = plan(&server, mode, 12, 12);
        let ranges = ["127.0.0.2-127.0.0.3", "127.0.0.40"].map(|range| range.parse().unwrap());
        plan.sources = SourceRange::all(&ranges).unwrap();
        counted(&run(&plan), 12, &[]);
        let sources = ["127.0.0.2", "127.0.0.3", "127.0.0.40"];
        for (entry, source) in server.entries(12).iter().zip(sources.iter().cycle()) {
            assert_eq!(entry.from.ip().to_string(), *source);
        }
    }
}

#[test]
fn a_source_of_another_family_is_refused_before_anything_is_dialled() {
    let server = echo();
    let mut plan = plan(&server, RST, 1, 1);
    plan.sources = vec!["[::1]:0".parse().unwrap()];
    let said = onepoll::load::run(&plan).unwrap_err().to_string();
    let begins = "--source ::1 cannot be used with tcp://";
    assert!(said.starts_with(begins), "{said}");
    plan.endpoint = format!("udp://{server}").parse().unwrap();
    plan.mode = Mode::Udp { window: 1 };
    plan.sources = vec!["127.0.0.2:0".parse().unwrap(); 2];
    let said = plan.check().unwrap_err().to_string();
    assert!(said.contains("local addresses of one socket"), "{said}");
}

#[test]
fn the_json_has_the_fields_that_scripts_read() {
    let said = bench(format!(
        "conn echo://{} -c 2 -n 10 --requests 3 --json",
        echo()
    ));
    let json = said.exits(0).json();
    let keys = |value: &Value| {
        let keys: Vec<&str> = value
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        keys.join(" ")
    };
    assert_eq!(json["schema"], 4);
    assert_eq!(json["model"], "closed");
    assert_eq!(json["close"], "client-rst");
    assert_eq!(json["requests"]["answered"], 10);
    assert_eq!(json["requests_per_connection"], 3);
    assert_eq!(
        keys(&json),
        "address await_greeting bytes_per_s close connections corrected crowded datagrams deliveries died digest elapsed_s endpoint errors exit_codes expect failed_answer failure_stages generator greeting hidden interrupted lacking latency_us made mode model other_error per_connection phases_us \
         pipeline rate_per_s reconnects request requests requests_per_connection requests_per_s roll_call schedule schema seconds server server_unread size_bytes spectrum statuses tls tls_error tls_session warmup_errors warmup_s"
    );
    assert_eq!(
        keys(&json["latency_us"]),
        "count max mean never p50 p90 p99 p99_9"
    );
    assert_eq!(keys(&json["connections"]), "asked held");
    assert_eq!(
        keys(&json["requests"]),
        "answered asked came late unanswered unsent"
    );
    assert_eq!(
        keys(&json["generator"]),
        "busy_share cpu_share lag_us pauses processor_share queued_share turn_us was_the_limit"
    );
    assert_eq!(
        keys(&json["errors"]),
        "cut_off duplicate exited forgotten no_descriptor no_port not_accepted not_admitted other own_buffer refused reordered reset self_connect short_answer timeout tls total turned_down unsent wrong_answer"
    );
}

#[test]
fn exit_codes_tell_errors_from_wrong_usage() {
    let nobody = Nobody::new();
    bench(format!("conn {nobody} -n 1")).exits(1);
    bench("echo nonsense").exits(2);
    bench(format!("echo {nobody} --size 0")).exits(2);
    bench("echo unix:///x --source 127.0.0.2").exits(2);
    for source in [
        "127.0.0.20-127.0.0.2",
        "127.0.0.2-::1",
        "127.0.0.0-127.1.0.0",
        "127.0.0.0-127.0.127.255,127.0.128.0-127.0.255.255,127.1.0.0",
    ] {
        bench(format!("echo {nobody} --source {source}")).exits(2);
    }
}
