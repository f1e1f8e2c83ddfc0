//! What counts as an answer: every kind of it, right, false, short and doubled, counted exactly.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use onepoll::config::Limits;
use onepoll::load::{self, Amount, Close, Expect, Framing, Mode, Plan, Report};
use onepoll::reactor::{Epoll, Handle, ListenerOptions, Reactor, close_on_exec, listen_tcp};
use onepoll::service::command::{CommandFraming, Options};
use onepoll::wire::{CommandHeader, Encode};

const RST: Mode = Mode::Conn {
    close: Close::ClientRst,
};

/// Answers each line with what `answers` makes of it, given how many came before on its connection
/// and the number of that; hangs up after an empty answer.
fn server(answers: fn(usize, usize, &str) -> Vec<u8>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for (connection, stream) in listener.incoming().enumerate() {
            thread::spawn(move || converse(connection, &stream.unwrap(), answers));
        }
    });
    address
}

fn converse(connection: usize, stream: &TcpStream, answers: fn(usize, usize, &str) -> Vec<u8>) {
    // The second part of an answer is not to wait until the first is acknowledged.
    stream.set_nodelay(true).unwrap();
    for (number, line) in BufReader::new(stream).lines().enumerate() {
        let Ok(line) = line else { return };
        let answer = answers(connection, number, &line);
        // In two parts, so that the client meets half answers, and one and a half.
        let (head, tail) = answer.split_at((answer.len() / 2 + 1).min(answer.len()));
        let mut stream = stream;
        if answer.is_empty() || stream.write_all(head).and(stream.write_all(tail)).is_err() {
            return;
        }
    }
}

fn run(address: SocketAddr, mode: Mode, text: &[u8], expect: Expect, count: u64) -> Report {
    let mut plan = Plan::new(address.to_string().parse().unwrap(), mode);
    plan.text = Some(text.to_vec());
    plan.size = text.len();
    plan.expect = expect;
    plan.connections = 1;
    plan.amount = Amount::Count(count);
    plan.warmup = Duration::ZERO;
    plan.timeout = Duration::from_millis(300);
    load::run(&plan).unwrap()
}

#[test]
fn right_answers_of_every_kind_are_counted() {
    let address = server(|_, _, line| format!("<{line}>\r\n\r\n").into_bytes());
    for mode in [RST, Mode::Echo] {
        for expect in [
            Expect::Exact(b"<GET>\r\n\r\n".to_vec()),
            Expect::Bytes(9),
            Expect::Until(b"\r\n\r\n".to_vec()),
        ] {
            let report = run(address, mode, b"GET\n", expect, 40);
            assert_eq!(
                (report.requests.answered, report.errors.total),
                (40, 0),
                "{report}"
            );
            assert_eq!(report.latency_us.count, 40);
        }
    }
}

#[test]
fn an_answer_until_the_end_needs_a_byte_and_an_end() {
    // Every third says nothing, and hangs up as the others do.
    let address = server(|connection, number, _| match (connection % 3, number) {
        (2, _) | (_, 1) => vec![],
        _ => b"some words".to_vec(),
    });
    // The second line is what makes this server hang up.
    let report = run(address, RST, b"a\nb\n", Expect::Eof, 30);
    assert_eq!(report.requests.answered, 20, "{report}");
    assert_eq!(report.errors.short_answer, 10, "{report}");
    assert_eq!(report.errors.total, 10, "{report}");
}

#[test]
fn false_answers_are_not_counted_as_right() {
    let address = server(|connection, _, _| match connection % 4 {
        0 => b"yes\n".to_vec(),
        1 => b"yos\n".to_vec(),
        2 => b"yes\nyes\n".to_vec(),
        _ => vec![],
    });
    let exactly = run(address, RST, b"a\n", Expect::Exact(b"yes\n".to_vec()), 40);
    assert_eq!(exactly.requests.asked, 40, "{exactly}");
    assert_eq!(exactly.requests.answered, 10, "{exactly}");
    assert_eq!(exactly.errors.short_answer, 10, "{exactly}");
    assert_eq!(exactly.errors.wrong_answer, 20, "{exactly}");

    let address = server(|_, _, _| b"yes\nyes\n".to_vec());
    let doubled = run(
        address,
        Mode::Echo,
        b"a\n",
        Expect::Until(b"\n".to_vec()),
        40,
    );
    assert_eq!(doubled.errors.wrong_answer, 1, "{doubled}");
}

#[test]
fn outputs_of_commands_are_counted_and_refusals_are_told_apart() {
    let json = server(|_, number, line| {
        let mut answer = Vec::new();
        let output = format!("ran {line}\n").into_bytes();
        let refusal = (number == 30).then_some("busy");
        CommandHeader::new(&output, Some(0), refusal).encode(&mut answer);
        answer.extend_from_slice(&output);
        answer
    });
    let report = run(
        json,
        Mode::Exec,
        b"true\n",
        Expect::Framed(Framing::Json),
        30,
    );
    assert_eq!(
        (report.requests.answered, report.errors.total),
        (30, 0),
        "{report}"
    );
    let report = run(
        json,
        Mode::Exec,
        b"true\n",
        Expect::Framed(Framing::Json),
        40,
    );
    assert_eq!(
        (report.requests.answered, report.errors.turned_down),
        (30, 1),
        "{report}"
    );

    let sized = server(|_, number, _| match number {
        20 => (-1_i32).to_le_bytes().to_vec(),
        _ => b"\x03\0\0\0abc".to_vec(),
    });
    let report = run(
        sized,
        Mode::Exec,
        b"true\n",
        Expect::Framed(Framing::I32),
        40,
    );
    assert_eq!(
        (report.requests.answered, report.errors.wrong_answer),
        (20, 1),
        "{report}"
    );
}

/// A server of C2: what it says to each command, as a length and an output, and whether it waits for
/// the acknowledgement in between.
fn c2(answers: fn(usize) -> (&'static str, &'static str, bool)) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            stream.set_nodelay(true).unwrap();
            thread::spawn(move || {
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let mut line = String::new();
                for number in 0.. {
                    line.clear();
                    if reader.read_line(&mut line).unwrap_or(0) == 0 {
                        return;
                    }
                    assert_eq!(line, "ls\n");
                    let (length, output, waits) = answers(number);
                    if !waits {
                        _ = stream.write_all(format!("{length}{output}").as_bytes());
                        continue;
                    }
                    if stream.write_all(length.as_bytes()).is_err() {
                        return;
                    }
                    // An empty output leaves nothing to tell its acknowledgement from what follows.
                    let expected = if length == "0" {
                        "recv_ready\n"
                    } else {
                        "recv_ready"
                    };
                    let mut word = vec![0; expected.len()];
                    if reader.read_exact(&mut word).is_err() {
                        return;
                    }
                    assert_eq!(word, expected.as_bytes());
                    if stream.write_all(output.as_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

#[test]
fn c2_a_length_is_acknowledged_before_its_output() {
    let address = c2(|number| match number % 3 {
        0 => ("5", "hello", true),
        1 => ("0", "", true),
        _ => ("11", "hello again", true),
    });
    let decimal = Expect::Framed(Framing::Decimal);
    let report = run(address, Mode::Exec, b"ls\n", decimal.clone(), 60);
    assert_eq!(
        (report.requests.answered, report.errors.total),
        (60, 0),
        "{report}"
    );
    assert_eq!(report.phases_us.last_byte.count, 60, "{report}");

    type Lie = (
        fn(usize) -> (&'static str, &'static str, bool),
        fn(&Report) -> u64,
    );
    let lies: [Lie; 6] = [
        // An output that did not wait, a length that is none, one that is too large, more than was
        // announced, and less.
        (|_| ("3", "abc", false), |report| report.errors.wrong_answer),
        (|_| ("1x", "", true), |report| report.errors.wrong_answer),
        (|_| ("-1", "", true), |report| report.errors.wrong_answer),
        (
            |_| ("99999999999", "", true),
            |report| report.errors.wrong_answer,
        ),
        (|_| ("3", "abcd", true), |report| report.errors.wrong_answer),
        (|_| ("3", "ab", true), |report| report.errors.timeout),
    ];
    for (number, (lie, counted)) in lies.into_iter().enumerate() {
        let report = run(c2(lie), Mode::Exec, b"ls\n", decimal.clone(), 5);
        assert_eq!(
            (
                report.requests.answered,
                report.errors.total,
                counted(&report)
            ),
            (0, 1, 1),
            "{number} {report}"
        );
    }
    let address = server(|_, number, _| match number {
        0 => b"7".to_vec(),
        _ => vec![],
    });
    // The second line is what makes this server hang up, before or after it got the acknowledgement.
    let report = run(address, Mode::Exec, b"ls\nls\n", decimal.clone(), 5);
    let ended = report.errors.short_answer + report.errors.reset;
    assert_eq!((ended, report.errors.total), (1, 1), "{report}");

    let mut plan = Plan::new("127.0.0.1:9".parse().unwrap(), Mode::Exec);
    plan.expect = decimal;
    assert_eq!(plan.check(), Ok(()));
    plan.pipeline = 2;
    assert!(
        plan.check()
            .unwrap_err()
            .to_string()
            .contains("acknowledge")
    );
    (plan.mode, plan.pipeline) = (RST, 1);
    assert!(plan.check().is_err());
}

/// Our own command server on a thread; it stops when the handle says so.
fn our_server(options: Options) -> (SocketAddr, Handle) {
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        close_on_exec().unwrap();
        let epoll = Epoll::new().unwrap();
        let handle = epoll.handle();
        let limits = Limits::default();
        let mut reactor = Reactor::new(epoll, limits.clone(), 100);
        let service = reactor.add(Box::new(onepoll::service::Command::new(&options, &limits)));
        let socket = listen_tcp("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = rustix::net::getsockname(&socket).unwrap();
        reactor
            .listen(socket, ListenerOptions::to(service))
            .unwrap();
        tell.send((address.try_into().unwrap(), handle)).unwrap();
        while !reactor.is_stopped() {
            reactor.turn().unwrap();
        }
    });
    told.recv().unwrap()
}

#[test]
fn our_own_server_is_asked_in_every_framing() {
    for (framing, ack, expect, line) in [
        (
            CommandFraming::Raw,
            None,
            Expect::Until(b"hi\n".to_vec()),
            "echo hi\n",
        ),
        (CommandFraming::Raw, None, Expect::Bytes(3), "echo hi\n"),
        (
            CommandFraming::Raw,
            None,
            Expect::Exact(b"hi\n".to_vec()),
            "echo hi\n",
        ),
        (
            CommandFraming::Decimal,
            None,
            Expect::Framed(Framing::Decimal),
            "echo hi\n",
        ),
        (
            CommandFraming::Decimal,
            None,
            Expect::Framed(Framing::Decimal),
            "true\n",
        ),
        (
            CommandFraming::Decimal,
            Some("recv_ready"),
            Expect::Framed(Framing::Decimal),
            "echo hi\n",
        ),
        (
            CommandFraming::Decimal,
            Some("recv_ready"),
            Expect::Framed(Framing::Decimal),
            "true\n",
        ),
        (
            CommandFraming::I32,
            None,
            Expect::Framed(Framing::I32),
            "true\n",
        ),
        (
            CommandFraming::Json,
            None,
            Expect::Framed(Framing::Json),
            "echo hi\n",
        ),
    ] {
        let (address, handle) = our_server(Options {
            framing,
            ack: ack.map(str::to_owned),
            ..Options::default()
        });
        let mut plan = Plan::new(address.to_string().parse().unwrap(), Mode::Exec);
        plan.text = Some(line.as_bytes().to_vec());
        plan.size = line.len();
        plan.expect = expect;
        plan.connections = 2;
        plan.amount = Amount::Count(10);
        plan.warmup = Duration::ZERO;
        let report = load::run(&plan);
        handle.stop().unwrap();
        let report = report.unwrap();
        assert_eq!(
            (report.requests.answered, report.errors.total),
            (10, 0),
            "{framing:?} {line} {report}"
        );
    }
}

#[test]
fn answers_are_asked_for_on_the_command_line() {
    let bench = |args: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_onepoll"))
            .arg("bench")
            .args(args)
            .output()
            .unwrap();
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stdout).into_owned()
                + &String::from_utf8_lossy(&output.stderr),
        )
    };
    let address = server(|_, _, line| format!("{line}!\n").into_bytes()).to_string();
    for expect in ["4", r"until=!\n", r"exact=abc!\n"] {
        let size = if expect == "4" { "ab\\n" } else { "abc\\n" };
        let (code, text) = bench(&[
            "echo",
            &address,
            "-n",
            "20",
            "-c",
            "2",
            "--payload",
            size,
            "--expect",
            expect,
        ]);
        assert_eq!(code, Some(0), "{expect}: {text}");
    }
    let raw = [
        "exec",
        &address,
        "-n",
        "5",
        "--framing",
        "raw",
        "--expect",
        r"until=!\n",
    ];
    let (code, text) = bench(&raw);
    assert_eq!(code, Some(0), "{text}");
    let (_, text) = bench(&raw[..6]);
    assert!(text.contains("no end of its own"), "{text}");
    for wrong in [
        &["echo", "--expect", "eof"][..],
        &["udp", "--expect", "5"],
        &["conn", "--expect", "nonsense"],
        &["conn", "--payload", "@/nonexistent"],
        &["conn", "--payload", ""],
        &["conn", "--expect", "until="],
        &["exec", "--command", "a\nb"],
        &["exec", "--framing", "raw"],
        &["exec", "--framing", "raw", "--expect", "echo"],
        &["exec", "--framing", "raw", "--expect", "eof"],
        &["exec", "--framing", "json", "--expect", "5"],
    ] {
        let (code, text) = bench(&[&[wrong[0], &address], &wrong[1..]].concat());
        assert_eq!(code, Some(2), "{wrong:?}: {text}");
    }
}

#[test]
fn whoever_never_stops_talking_does_not_hold_the_run() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            thread::spawn(move || {
                let mut stream = stream.unwrap();
                let noise = vec![b'x'; 1 << 20];
                while stream.write_all(&noise).is_ok() {}
            });
        }
    });
    for expect in [Expect::Eof, Expect::Until(b"\n".to_vec())] {
        let mut plan = Plan::new(address.to_string().parse().unwrap(), RST);
        (plan.connections, plan.expect) = (2, expect);
        plan.amount = Amount::Count(4);
        plan.warmup = Duration::ZERO;
        plan.timeout = Duration::from_millis(200);
        let report = load::run(&plan).unwrap();
        assert_eq!(report.errors.timeout, 4, "{report}");
        assert_eq!(report.errors.total, 4, "{report}");
    }
}
