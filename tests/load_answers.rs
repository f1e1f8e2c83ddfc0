//! What counts as an answer: every kind of it, right, false, short and doubled, counted exactly.
#![cfg(feature = "cli")]

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::thread;
use std::time::Duration;

use onepoll::load::{self, Amount, Close, Expect, Framing, Mode, Plan, Report};
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
    for wrong in [
        &["echo", "--expect", "eof"][..],
        &["udp", "--expect", "5"],
        &["conn", "--expect", "nonsense"],
        &["conn", "--payload", "@/nonexistent"],
        &["conn", "--payload", ""],
        &["conn", "--expect", "until="],
        &["exec", "--command", "a\nb"],
    ] {
        let (code, text) = bench(&[&[wrong[0], &address], &wrong[1..]].concat());
        assert_eq!(code, Some(2), "{wrong:?}: {text}");
    }
}
