//! What counts as an answer: every kind of it, right, false, short and doubled, counted exactly.

use std::fmt;
use std::net::SocketAddr;

use onepoll::config::Limits;
use onepoll::load::{Expect, Mode, Plan, Report};
use onepoll::service::Command;
use onepoll::service::command::{CommandFraming, Options};
use onepoll::wire::{CommandHeader, Encode};

use super::{ECHO, NONE_AFTER, RST, counted, plan};
use crate::support::program::bench;
use crate::support::script::{Reply, Request, Scripted, conversations, replies};
use crate::support::server::Running;

/// Answers each line with what `answers` makes of it, given the number of its connection and its own
/// there; hangs up after an empty answer.
fn lines(answers: fn(usize, usize, &str) -> Vec<u8>) -> Scripted {
    replies(Request::Until("\n"), move |connection, number, line| {
        let line = std::str::from_utf8(line).unwrap().trim_end();
        match answers(connection, number, line) {
            answer if answer.is_empty() => Reply::Last(answer),
            answer => Reply::Halves(answer),
        }
    })
}

fn run(at: impl fmt::Display, mode: Mode, text: &str, expect: Expect, count: u64) -> Report {
    super::run(&asking(at, mode, text, expect, count))
}

fn asking(at: impl fmt::Display, mode: Mode, text: &str, expect: Expect, count: u64) -> Plan {
    let mut plan = plan(at, mode, 1, count);
    plan.text = Some(text.into());
    plan.expect = expect;
    plan
}

fn framed(framing: CommandFraming) -> Expect {
    Expect::Framed(framing)
}

#[test]
fn right_answers_of_every_kind_are_counted() {
    let server = lines(|_, _, line| format!("<{line}>\r\n\r\n").into_bytes());
    for mode in [RST, ECHO] {
        for expect in [
            Expect::Exact(b"<GET>\r\n\r\n".to_vec()),
            Expect::Bytes(9),
            Expect::Until(b"\r\n\r\n".to_vec()),
        ] {
            let report = run(&server, mode.clone(), "GET\n", expect, 40);
            counted(&report, 40, &[]);
            assert_eq!(report.latency_us.count, 40);
        }
    }
}

#[test]
fn an_answer_until_the_end_needs_a_byte_and_an_end() {
    // Every third says nothing, and hangs up as the others do.
    let server = lines(|connection, number, _| match (connection % 3, number) {
        (2, _) | (_, 1) => vec![],
        _ => b"some words".to_vec(),
    });
    // The second line is what makes this server hang up.
    let report = run(&server, RST, "a\nb\n", Expect::Eof, 30);
    counted(&report, 20, &[("short_answer", 10)]);
}

#[test]
fn false_answers_are_not_counted_as_right() {
    let server = lines(|connection, _, _| match connection % 4 {
        0 => b"yes\n".to_vec(),
        1 => b"yos\n".to_vec(),
        2 => b"yes\nyes\n".to_vec(),
        _ => vec![],
    });
    let exactly = run(&server, RST, "a\n", Expect::Exact(b"yes\n".to_vec()), 40);
    assert_eq!(exactly.requests.asked, 40, "{exactly}");
    counted(&exactly, 10, &[("short_answer", 10), ("wrong_answer", 20)]);

    let server = lines(|_, _, _| b"yes\nyes\n".to_vec());
    let doubled = run(&server, ECHO, "a\n", Expect::Until(b"\n".into()), 40);
    // Another connection takes the place of each that has said too much.
    counted(&doubled, 0, &[("wrong_answer", 40)]);
}

#[test]
fn outputs_of_commands_are_counted_and_refusals_are_told_apart() {
    let json = lines(|_, number, line| {
        let mut answer = Vec::new();
        let output = format!("ran {line}\n").into_bytes();
        let refusal = (number == 30).then_some("busy");
        CommandHeader::new(&output, Some(0), refusal).encode(&mut answer);
        answer.extend_from_slice(&output);
        answer
    });
    let report = run(
        &json,
        Mode::Exec,
        "true\n",
        framed(CommandFraming::Json),
        30,
    );
    counted(&report, 30, &[]);
    let report = run(
        &json,
        Mode::Exec,
        "true\n",
        framed(CommandFraming::Json),
        40,
    );
    // Another connection takes the place of the one on which that was said.
    counted(&report, 39, &[("turned_down", 1)]);

    let sized = lines(|_, number, _| match number {
        20 => (-1_i32).to_le_bytes().to_vec(),
        _ => b"\x03\0\0\0abc".to_vec(),
    });
    let report = run(
        &sized,
        Mode::Exec,
        "true\n",
        framed(CommandFraming::I32),
        40,
    );
    counted(&report, 39, &[("wrong_answer", 1)]);
}

/// A server of C2: what it says to each command, as a length and an output, and whether it waits for
/// the acknowledgement in between.
fn c2(answers: fn(usize) -> (&'static str, &'static str, bool)) -> SocketAddr {
    conversations(move |_, mut peer| {
        for number in 0.. {
            let Some(line) = peer.may_hear_line() else {
                return;
            };
            assert_eq!(line, "ls");
            let (length, output, waits) = answers(number);
            if !waits {
                peer.says(format!("{length}{output}"));
                continue;
            }
            peer.says(length);
            // An empty output leaves nothing to tell its acknowledgement from what follows.
            peer.hears(if length == "0" {
                "recv_ready\n"
            } else {
                "recv_ready"
            });
            peer.says(output);
        }
    })
}

#[test]
fn c2_a_length_is_acknowledged_before_its_output() {
    let server = c2(|number| match number % 3 {
        0 => ("5", "hello", true),
        1 => ("0", "", true),
        _ => ("11", "hello again", true),
    });
    let decimal = framed(CommandFraming::Decimal);
    let report = run(server, Mode::Exec, "ls\n", decimal.clone(), 60);
    counted(&report, 60, &[]);
    assert_eq!(report.phases_us.last_byte.count, 60, "{report}");

    type Lie = (
        fn(usize) -> (&'static str, &'static str, bool),
        &'static str,
    );
    let lies: [Lie; 6] = [
        // An output that did not wait, a length that is none, one that is too large, more than was
        // announced, and less.
        (|_| ("3", "abc", false), "wrong_answer"),
        (|_| ("1x", "", true), "wrong_answer"),
        (|_| ("-1", "", true), "wrong_answer"),
        (|_| ("99999999999", "", true), "wrong_answer"),
        (|_| ("3", "abcd", true), "wrong_answer"),
        (|_| ("3", "ab", true), "timeout"),
    ];
    for (lie, kind) in lies {
        let mut plan = asking(c2(lie), Mode::Exec, "ls\n", decimal.clone(), 5);
        if kind == "timeout" {
            plan.timeout = NONE_AFTER;
        }
        counted(&super::run(&plan), 0, &[(kind, 5)]);
    }
    let server = lines(|_, number, _| match number {
        0 => b"7".to_vec(),
        _ => vec![],
    });
    // The second line is what makes this server hang up, before or after it got the acknowledgement.
    let report = run(&server, Mode::Exec, "ls\nls\n", decimal.clone(), 5);
    let ended = report.errors.short_answer + report.errors.reset;
    assert_eq!((ended, report.errors.total), (5, 5), "{report}");

    let mut plan = Plan::new("127.0.0.1:9".parse().unwrap(), Mode::Exec);
    plan.expect = decimal;
    assert_eq!(plan.check(), Ok(()));
    plan.mode = RST;
    assert!(plan.check().is_err());
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
            Expect::Framed(CommandFraming::Decimal),
            "echo hi\n",
        ),
        (
            CommandFraming::Decimal,
            None,
            Expect::Framed(CommandFraming::Decimal),
            "true\n",
        ),
        (
            CommandFraming::Decimal,
            Some("recv_ready"),
            Expect::Framed(CommandFraming::Decimal),
            "echo hi\n",
        ),
        (
            CommandFraming::Decimal,
            Some("recv_ready"),
            Expect::Framed(CommandFraming::Decimal),
            "true\n",
        ),
        (
            CommandFraming::I32,
            None,
            Expect::Framed(CommandFraming::I32),
            "true\n",
        ),
        (
            CommandFraming::Json,
            None,
            Expect::Framed(CommandFraming::Json),
            "echo hi\n",
        ),
    ] {
        let options = Options {
            framing,
            ack: ack.map(str::to_owned),
            ..Options::default()
        };
        let limits = Limits::default();
        let server = Running::serving(move || Box::new(Command::new(&options, &limits)));
        let mut plan = asking(server.place, Mode::Exec, line, expect, 10);
        plan.connections = 2;
        counted(&super::run(&plan), 10, &[]);
    }
}

#[test]
fn a_command_that_ends_otherwise_or_says_something_else_is_no_answer() {
    let running = |framing| {
        let options = Options {
            framing,
            ..Options::default()
        };
        let limits = Limits::default();
        Running::serving(move || Box::new(Command::new(&options, &limits)))
    };
    let server = running(CommandFraming::Json);
    let exits = |line: &str, exit, output: Option<&str>| {
        let expect = Expect::Framed(CommandFraming::Json);
        let mut plan = asking(server.place, Mode::Exec, line, expect, 6);
        (plan.connections, plan.exit) = (2, exit);
        plan.output = output.map(|text| text.as_bytes().to_vec());
        let report = super::run(&plan);
        // Whatever a command says, its connection stays.
        assert_eq!((report.reconnects, report.connections.held), (0, 2));
        report
    };
    let hi = "echo hi\n";
    for (line, exit, output, code, errors) in [
        (hi, 0, None, 0, &[][..]),
        (hi, 0, Some("hi\n"), 0, &[]),
        (hi, 0, Some("ho\n"), 0, &[("wrong_answer", 6)]),
        (hi, 0, Some("hi"), 0, &[("wrong_answer", 6)]),
        (hi, 0, Some("hi\nhi\n"), 0, &[("wrong_answer", 6)]),
        (hi, 3, Some("hi\n"), 0, &[("exited", 6)]),
        ("exit 3\n", 0, None, 3, &[("exited", 6)]),
        ("exit 3\n", 3, Some(""), 3, &[]),
    ] {
        let report = exits(line, exit, output);
        let answered = if errors.is_empty() { 6 } else { 0 };
        counted(&report, answered, errors);
        let codes = report.exit_codes.clone().unwrap();
        assert_eq!(codes.into_iter().collect::<Vec<_>>(), [(code, 6)], "{line}");
        let text = report.to_string();
        assert!(
            text.contains(&format!("  exit codes {code}: 6\n")),
            "{text}"
        );
    }
    // Another framing tells no code, and its output is compared all the same.
    for framing in [CommandFraming::I32, CommandFraming::Decimal] {
        let server = running(framing);
        for (line, output, errors) in [
            (hi, "hi\n", &[][..]),
            (hi, "ho\n", &[("wrong_answer", 6)]),
            ("exit 3\n", "", &[]),
            ("exit 3\n", "x", &[("wrong_answer", 6)]),
        ] {
            let expect = Expect::Framed(framing);
            let mut plan = asking(server.place, Mode::Exec, line, expect, 6);
            plan.output = Some(output.into());
            let report = super::run(&plan);
            let answered = if errors.is_empty() { 6 } else { 0 };
            counted(&report, answered, errors);
            assert_eq!(report.exit_codes, None);
        }
    }
}

#[test]
fn answers_are_asked_for_on_the_command_line() {
    let server = lines(|_, _, line| format!("{line}!\n").into_bytes());
    for (payload, expect) in [
        (r"ab\n", "4"),
        (r"abc\n", r"until=!\n"),
        (r"abc\n", r"exact=abc!\n"),
    ] {
        let line = format!("echo {server} -n 20 -c 2 --payload {payload} --expect {expect}");
        bench(line).exits(0);
    }
    let raw = format!("exec {server} -n 5 --framing raw");
    bench(format!(r"{raw} --expect until=!\n")).exits(0);
    bench(raw).refuses("no end of its own");
    bench(format!("exec {server} --expect 5")).refuses(
        "--framing json says where an output ends, so --expect can only be its text: exact=TEXT or exact=@FILE",
    );
    bench(format!("exec {server} --framing i32 --exit 1"))
        .refuses("--exit goes with --framing json");
    for (mode, wrong) in [
        ("echo", "--expect eof"),
        ("udp", "--expect 5"),
        ("conn", "--expect nonsense"),
        ("conn", "--payload @/nonexistent"),
        ("conn", "--payload "),
        ("conn", "--expect until="),
        ("exec", "--command a\nb"),
        ("exec", "--framing raw --expect echo"),
        ("exec", "--framing raw --expect eof"),
        ("exec", "--framing json --expect 5"),
    ] {
        bench(format!("{mode} {server} {wrong}")).exits(2);
    }
}

#[test]
fn whoever_never_stops_talking_does_not_hold_the_run() {
    let server = conversations(|_, mut peer| {
        let noise = vec![b'x'; 1 << 20];
        while peer.may_say(&noise).is_ok() {}
    });
    for expect in [Expect::Eof, Expect::Until(b"\n".to_vec())] {
        let mut plan = plan(server, RST, 2, 4);
        (plan.expect, plan.timeout) = (expect, NONE_AFTER);
        counted(&super::run(&plan), 0, &[("timeout", 4)]);
    }
}

/// A server that speaks first, as one of SMTP does, and then answers each line.
fn mail_server() -> SocketAddr {
    conversations(|_, mut peer| {
        // In two parts: a greeting is no answer, however it comes.
        if peer.may_say("220-mail").is_err() || peer.may_say(".example\r\n").is_err() {
            return;
        }
        while let Some(line) = peer.may_take(b"NOOP\r\n".len()) {
            if peer.may_say([b"250-", line.as_slice()].concat()).is_err() {
                return;
            }
        }
    })
}

#[test]
fn a_greeting_is_awaited_before_anything_is_asked() {
    let server = mail_server();
    let asked = |mode: &str, greeting: &str| {
        let message = r"--payload NOOP\r\n --expect exact=250-NOOP\r\n";
        bench(format!(
            "{mode} {server} -n 12 -c 2 {message} --json --await-greeting {greeting}"
        ))
    };
    for mode in ["conn", "echo"] {
        for greeting in [r"until=\n", "18", r"exact=220-mail.example\r\n"] {
            let json = asked(mode, greeting).exits(0).json();
            assert_eq!(json["requests"]["answered"], 12, "{json}");
            assert_eq!(json["errors"]["total"], 0, "{json}");
            assert_eq!(json["greeting"], serde_json::Value::Null, "{json}");
        }
    }
    // Another one than it was said to be, or one with something behind it, is an error of the connection.
    for greeting in ["exact=221", "17"] {
        let json = asked("conn", greeting).exits(1).json();
        assert_eq!(json["errors"]["wrong_answer"], 12, "{json}");
        assert_eq!(
            json["failure_stages"]["measured"]["handshake"], 12,
            "{json}"
        );
    }
    // Who does not say it is told, where any bytes are an answer and where an echo is compared.
    for expect in ["echo", r"until=\n"] {
        let line = format!(r"echo {server} -n 12 -c 2 --payload NOOP\r\n --expect {expect}");
        let text = bench(line).out;
        let said = r#"the server sends "220-mail"#;
        let option = r"--await-greeting ";
        assert!(text.contains(said) && text.contains(option), "{text}");
    }
    bench(format!("hold {server} --await-greeting 3")).refuses("is no answer");
    bench(format!("echo {server} --await-greeting eof")).refuses("write until=DELIMITER");
    bench(format!("udp {server} --await-greeting 3")).refuses("has no effect in `bench udp`");
}
