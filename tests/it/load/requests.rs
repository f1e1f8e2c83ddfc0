//! The load generator against servers that behave, lie, hang up, reset, and fall silent: every
//! count is exact, and no run hangs.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::process::Command;
use std::thread;
use std::time::Duration;

use onepoll::load::{self, Amount, Arrivals, Close, Mode, Model, Plan, Report};

const RST: Mode = Mode::Conn {
    close: Close::ClientRst,
};

/// A server on a thread of its own, which dies with the test; `serve` is told the number of each
/// connection.
fn server(serve: impl Fn(usize, TcpStream) + Clone + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let serve = serve.clone();
            thread::spawn(move || serve(number, stream.unwrap()));
        }
    });
    address
}

fn echo(mut stream: impl Read + Write) {
    let mut buf = [0; 4096];
    while let Ok(n @ 1..) = stream.read(&mut buf) {
        if stream.write_all(&buf[..n]).is_err() {
            return;
        }
    }
}

/// Reads one message of 64 bytes.
fn hear(stream: &mut TcpStream) -> Option<[u8; 64]> {
    let mut message = [0; 64];
    stream.read_exact(&mut message).ok()?;
    Some(message)
}

/// Closing with unread input resets the connection.
fn reset(stream: TcpStream) {
    rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
    drop(stream);
}

fn plan(address: SocketAddr, mode: Mode, connections: usize, count: u64) -> Plan {
    let mut plan = Plan::new(address.to_string().parse().unwrap(), mode);
    plan.connections = connections;
    plan.amount = Amount::Count(count);
    plan.warmup = Duration::ZERO;
    plan.timeout = Duration::from_millis(300);
    plan
}

fn run(plan: &Plan) -> Report {
    load::run(plan).unwrap()
}

#[test]
fn every_request_of_a_good_server_is_counted_once() {
    let address = server(|_, stream| echo(stream));
    for mode in [
        RST,
        Mode::Conn {
            close: Close::ClientFin,
        },
        Mode::Echo,
    ] {
        for (connections, count) in [(1, 1), (1, 20), (7, 200), (20, 3)] {
            let report = run(&plan(address, mode, connections, count));
            assert!(!report.has_errors(), "{report}");
            assert_eq!(report.requests.asked, count, "{report}");
            assert_eq!(report.requests.answered, count, "{report}");
            assert_eq!(report.latency_us.count, count);
            assert!(report.rate_per_s > 0.0 && report.latency_us.p50 > 0.0);
            if mode == Mode::Echo {
                assert_eq!(report.connections.held, connections);
            }
        }
    }
}

#[test]
fn messages_of_any_size_and_depth_come_back() {
    let address = server(|_, stream| echo(stream));
    for (size, pipeline) in [
        (1, 1),
        (1, 33),
        (64, 16),
        (4096, 4),
        (300_000, 1),
        (700_000, 3),
    ] {
        let mut plan = plan(address, Mode::Echo, 3, 100);
        (plan.size, plan.pipeline) = (size, pipeline);
        plan.timeout = Duration::from_secs(20);
        let report = run(&plan);
        assert_eq!(
            (report.requests.answered, report.errors.total),
            (100, 0),
            "{report}"
        );
    }
    let mut plan = plan(address, RST, 3, 20);
    plan.size = 300_000;
    plan.timeout = Duration::from_secs(20);
    let report = run(&plan);
    assert_eq!(
        (report.requests.answered, report.errors.total),
        (20, 0),
        "{report}"
    );
}

#[test]
fn a_unix_socket_is_asked_too_even_with_a_short_queue() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("echo.sock");
    let listener = UnixListener::bind(&path).unwrap();
    rustix::net::listen(&listener, 1).unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            thread::spawn(move || echo(stream.unwrap()));
        }
    });
    for mode in [RST, Mode::Echo] {
        let endpoint = format!("echo+unix://{}", path.display()).parse().unwrap();
        let mut plan = Plan::new(endpoint, mode);
        (plan.connections, plan.amount, plan.warmup) = (8, Amount::Count(50), Duration::ZERO);
        let report = run(&plan);
        assert_eq!(
            (report.requests.answered, report.errors.total),
            (50, 0),
            "{report}"
        );
    }
}

#[test]
fn a_server_that_closes_is_awaited() {
    let address = server(|_, mut stream| {
        if let Some(message) = hear(&mut stream) {
            stream.write_all(&message).unwrap();
        }
    });
    let report = run(&plan(
        address,
        Mode::Conn {
            close: Close::Server,
        },
        5,
        50,
    ));
    assert_eq!(
        (report.requests.answered, report.errors.total),
        (50, 0),
        "{report}"
    );
}

#[test]
fn lies_short_answers_resets_and_floods_are_told_apart_exactly() {
    let address = server(|number, mut stream| {
        let Some(mut message) = hear(&mut stream) else {
            return;
        };
        match number % 5 {
            0 => message[63] ^= 1,
            1 => return stream.write_all(&message[..63]).unwrap(),
            2 => return reset(stream),
            3 => {
                let twice = [message, message].concat();
                stream.write_all(&twice).unwrap();
                _ = stream.read(&mut [0]);
                return;
            }
            _ => {}
        }
        stream.write_all(&message).unwrap();
        _ = stream.read(&mut [0]);
    });
    let open = Model::Open {
        rate: 2_000.0,
        arrivals: Arrivals::Poisson,
    };
    for model in [Model::Closed, open] {
        // One at a time, so that the server numbers the connections as they were asked.
        let mut plan = plan(address, RST, 1, 50);
        plan.model = model;
        let report = run(&plan);
        assert_eq!(report.requests.answered, 10, "{report}");
        assert_eq!(report.requests.unanswered, 40, "{report}");
        assert_eq!(report.errors.wrong_answer, 20, "{report}");
        assert_eq!(report.errors.short_answer, 10, "{report}");
        assert_eq!(report.errors.reset, 10, "{report}");
        assert_eq!(report.errors.total, 40, "{report}");
    }
}

#[test]
fn another_message_of_the_right_length_is_wrong() {
    // Each answer is the message before: right in length and in kind.
    let address = server(|_, mut stream| {
        let Some(mut last) = hear(&mut stream) else {
            return;
        };
        stream.write_all(&last).unwrap();
        while let Some(message) = hear(&mut stream) {
            stream.write_all(&last).unwrap();
            last = message;
        }
    });
    let report = run(&plan(address, Mode::Echo, 2, 10));
    assert_eq!(
        (report.requests.answered, report.errors.wrong_answer),
        (2, 2),
        "{report}"
    );
    assert_eq!(report.connections.held, 0);
}

#[test]
fn fault_b22_a_silent_server_ends_the_run_with_an_error_each() {
    let address = server(|_, mut stream| {
        // Three of ten answers' bytes, then nothing.
        let message = hear(&mut stream).unwrap();
        stream.write_all(&message[..3]).unwrap();
        thread::park();
    });
    let report = run(&plan(address, RST, 5, 10));
    assert_eq!(
        (report.requests.answered, report.errors.timeout),
        (0, 10),
        "{report}"
    );

    let mut timed = plan(address, Mode::Echo, 5, 1);
    timed.amount = Amount::For(Duration::from_millis(50));
    let report = run(&timed);
    assert_eq!(
        (report.requests.answered, report.errors.timeout),
        (0, 5),
        "{report}"
    );
}

#[test]
fn nobody_there_is_refused_and_counted() {
    let address = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let report = run(&plan(address, RST, 4, 20));
    assert_eq!(
        (report.requests.asked, report.errors.refused),
        (20, 20),
        "{report}"
    );
    let report = run(&plan(address, Mode::Echo, 4, 20));
    assert_eq!(
        (report.errors.refused, report.connections.held),
        (4, 0),
        "{report}"
    );
}

#[test]
fn the_warm_up_is_not_counted() {
    let address = server(|_, stream| echo(stream));
    let mut plan = plan(address, Mode::Echo, 2, 20);
    plan.warmup = Duration::from_millis(30);
    let report = run(&plan);
    assert_eq!(
        (report.requests.asked, report.requests.answered),
        (20, 20),
        "{report}"
    );
    plan.amount = Amount::For(Duration::from_millis(50));
    let report = run(&plan);
    assert!((report.elapsed_s - 0.05).abs() < 1e-9, "{report}");
}

#[test]
fn a_source_address_is_dialled_from() {
    let address = server(|_, stream| {
        assert_eq!(stream.peer_addr().unwrap().ip().to_string(), "127.0.0.7");
        echo(stream);
    });
    let mut plan = plan(address, RST, 2, 10);
    plan.sources = vec!["127.0.0.7:0".parse().unwrap()];
    let report = run(&plan);
    assert_eq!(
        (report.requests.answered, report.errors.total),
        (10, 0),
        "{report}"
    );
}

/// Echoes what is asked on each connection; the one numbered `at` does what `fault` does instead.
fn asked_often(at: usize, fault: fn(&mut TcpStream, [u8; 64])) -> SocketAddr {
    server(move |_, mut stream| {
        for number in 0.. {
            let Some(message) = hear(&mut stream) else {
                return;
            };
            if number == at {
                fault(&mut stream, message);
                return;
            }
            stream.write_all(&message).unwrap();
        }
    })
}

#[test]
fn each_connection_asks_as_often_as_it_is_told() {
    let (tell, told) = std::sync::mpsc::channel();
    let address = server(move |_, mut stream| {
        let mut heard = 0;
        while let Some(message) = hear(&mut stream) {
            heard += 1;
            stream.write_all(&message).unwrap();
        }
        tell.send(heard).unwrap();
    });
    let open = Model::Open {
        rate: 2_000.0,
        arrivals: Arrivals::Constant,
    };
    for model in [Model::Closed, open] {
        for close in [Close::ClientRst, Close::ClientFin] {
            for (connections, count, each) in [(1, 1, 1), (1, 10, 3), (5, 40, 7), (20, 3, 100)] {
                let mut plan = plan(address, Mode::Conn { close }, connections, count);
                (plan.model, plan.requests_per_connection) = (model, each);
                plan.timeout = Duration::from_secs(5);
                let report = run(&plan);
                assert!(!report.has_errors(), "{report}");
                assert_eq!(
                    (report.requests.asked, report.requests.answered),
                    (count, count),
                    "{report}"
                );
                assert_eq!(report.latency_us.count, count, "{report}");
                assert_eq!(report.phases_us.first_byte.count, count, "{report}");
                assert_eq!(report.requests_per_connection, Some(each));
                let per_s = report.rate_per_s * each as f64;
                assert!((report.requests_per_s - per_s).abs() < 1.0, "{report}");
                for _ in 0..count {
                    assert_eq!(told.recv(), Ok(each));
                }
            }
        }
    }
}

#[test]
fn a_server_that_closes_after_the_last_of_several_answers_is_awaited() {
    let address = asked_often(3, |stream, message| stream.write_all(&message).unwrap());
    let server = Mode::Conn {
        close: Close::Server,
    };
    let mut plan = plan(address, server, 4, 40);
    plan.requests_per_connection = 4;
    let report = run(&plan);
    assert_eq!(
        (report.requests.answered, report.errors.total),
        (40, 0),
        "{report}"
    );
    assert!(report.phases_us.close.max > 0.0, "{report}");
}

#[test]
fn a_connection_that_fails_at_any_of_its_requests_fails_once() {
    type Fault = (fn(&mut TcpStream, [u8; 64]), fn(&Report) -> u64);
    let short = |stream: &mut TcpStream, message: [u8; 64]| {
        stream.write_all(&message[..63]).unwrap();
    };
    let lies = |stream: &mut TcpStream, mut message: [u8; 64]| {
        message[63] ^= 1;
        stream.write_all(&message).unwrap();
        _ = stream.read(&mut [0]);
    };
    let twice = |stream: &mut TcpStream, message: [u8; 64]| {
        stream.write_all(&[message, message].concat()).unwrap();
        _ = stream.read(&mut [0]);
    };
    let resets = |stream: &mut TcpStream, _: [u8; 64]| reset(stream.try_clone().unwrap());
    let silence = |stream: &mut TcpStream, _: [u8; 64]| _ = stream.read(&mut [0]);
    let faults: [Fault; 5] = [
        (short, |report| report.errors.short_answer),
        (lies, |report| report.errors.wrong_answer),
        (twice, |report| report.errors.wrong_answer),
        (resets, |report| report.errors.reset),
        (silence, |report| report.errors.timeout),
    ];
    for (fault, counted) in faults {
        for at in [0, 1, 4] {
            let mut plan = plan(asked_often(at, fault), RST, 3, 9);
            plan.requests_per_connection = 5;
            plan.timeout = Duration::from_millis(100);
            let report = run(&plan);
            assert_eq!(report.requests.asked, 9, "{at} {report}");
            assert_eq!(report.requests.unanswered, 9, "{at} {report}");
            assert_eq!(report.errors.total, 9, "{at} {report}");
            assert_eq!(counted(&report), 9, "{at} {report}");
        }
    }
}

#[test]
fn an_answer_that_ends_its_connection_is_the_only_one() {
    let mut plan = Plan::new("127.0.0.1:9".parse().unwrap(), RST);
    plan.expect = load::Expect::Eof;
    assert_eq!(plan.check(), Ok(()));
    plan.requests_per_connection = 2;
    let said = plan.check().unwrap_err().to_string();
    assert!(said.contains("--requests must be 1, not 2"), "{said}");
    plan.mode = Mode::Echo;
    plan.expect = load::Expect::Echo;
    let said = plan.check().unwrap_err().to_string();
    assert!(said.contains("requests of a connection"), "{said}");
    (plan.mode, plan.requests_per_connection) = (RST, 0);
    assert!(plan.check().is_err());
}

#[test]
fn sources_are_dialled_from_in_turn() {
    let (tell, told) = std::sync::mpsc::channel();
    let address = server(move |number, stream| {
        let from = stream.peer_addr().unwrap().ip().to_string();
        tell.send((number, from)).unwrap();
        echo(stream);
    });
    for mode in [RST, Mode::Echo] {
        let mut plan = plan(address, mode, 12, 12);
        let ranges = ["127.0.0.2-127.0.0.3", "127.0.0.40"].map(|range| range.parse().unwrap());
        plan.sources = load::SourceRange::all(&ranges).unwrap();
        let report = run(&plan);
        assert_eq!(
            (report.requests.answered, report.errors.total),
            (12, 0),
            "{report}"
        );
        let mut from: Vec<_> = (0..12).map(|_| told.recv().unwrap()).collect();
        from.sort();
        for (at, (_, from)) in from.iter().enumerate() {
            assert_eq!(from, ["127.0.0.2", "127.0.0.3", "127.0.0.40"][at % 3]);
        }
    }
}

#[test]
fn a_source_of_another_family_is_refused_before_anything_is_dialled() {
    let address = server(|_, stream| echo(stream));
    let mut plan = plan(address, RST, 1, 1);
    plan.sources = vec!["[::1]:0".parse().unwrap()];
    let said = load::run(&plan).unwrap_err().to_string();
    assert!(
        said.starts_with("--source ::1 cannot be used with tcp://"),
        "{said}"
    );
    plan.endpoint = format!("udp://{address}").parse().unwrap();
    plan.mode = Mode::Udp;
    plan.sources = vec!["127.0.0.2:0".parse().unwrap(); 2];
    let said = plan.check().unwrap_err().to_string();
    assert!(said.contains("local addresses of one socket"), "{said}");
}

#[test]
fn the_json_has_the_fields_that_scripts_read() {
    let address = server(|_, stream| echo(stream));
    let output = Command::new(env!("CARGO_BIN_EXE_onepoll"))
        .args([
            "bench",
            "conn",
            &format!("echo://{address}"),
            "-c",
            "2",
            "-n",
            "10",
            "--requests",
            "3",
            "--json",
        ])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let keys = |value: &serde_json::Value| {
        value
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(json["schema"], 3);
    assert_eq!(json["model"], "closed");
    assert_eq!(json["close"], "client-rst");
    assert_eq!(json["requests"]["answered"], 10);
    assert_eq!(json["requests_per_connection"], 3);
    assert_eq!(
        keys(&json),
        "close connections datagrams deliveries digest elapsed_s endpoint errors expect generator hidden interrupted latency_us mode model other_error phases_us \
         pipeline rate_per_s requests requests_per_connection requests_per_s schedule schema seconds server size_bytes spectrum warmup_errors warmup_s"
    );
    assert_eq!(
        keys(&json["latency_us"]),
        "count max mean p50 p90 p99 p99_9"
    );
    assert_eq!(keys(&json["connections"]), "asked held");
    assert_eq!(
        keys(&json["requests"]),
        "answered asked came late unanswered"
    );
    assert_eq!(
        keys(&json["generator"]),
        "busy_share cpu_share lag_us processor_share queued_share turn_us was_the_limit"
    );
    assert_eq!(
        keys(&json["errors"]),
        "duplicate no_descriptor no_port not_admitted other refused reordered reset self_connect short_answer timeout total turned_down wrong_answer"
    );
}

#[test]
fn exit_codes_tell_errors_from_wrong_usage() {
    let nobody = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .to_string();
    let code = |args: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_onepoll"))
            .arg("bench")
            .args(args)
            .output()
            .unwrap()
            .status
            .code()
    };
    assert_eq!(code(&["conn", &nobody, "-n", "1"]), Some(1));
    assert_eq!(code(&["echo", "nonsense"]), Some(2));
    assert_eq!(code(&["echo", &nobody, "--size", "0"]), Some(2));
    for (endpoint, source) in [
        ("unix:///x", "127.0.0.2"),
        (&nobody, "127.0.0.20-127.0.0.2"),
        (&nobody, "127.0.0.2-::1"),
        (&nobody, "127.0.0.0-127.1.0.0"),
        (
            &nobody,
            "127.0.0.0-127.0.127.255,127.0.128.0-127.0.255.255,127.1.0.0",
        ),
    ] {
        assert_eq!(
            code(&["echo", endpoint, "--source", source]),
            Some(2),
            "{source}"
        );
    }
}
