//! What failed, where, and what came of it: each failure is counted in the stage and in the part of the run in which
//! the server's script has it, and nowhere else.

use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use onepoll::load::measure::stages::{ByStage, FailureStages};
use onepoll::load::{Amount, Close, Mode, Report};
use onepoll::wire::{Digest, HmacKey, Secret};

use super::{ECHO, NONE_AFTER, RST, closing, failed, open, plan, run};
use crate::support::peer::Nobody;
use crate::support::program::{bench, finish};
use crate::support::script::{Reply, Request, Scripted, conversations, datagrams, pause, replies};
use crate::support::{ANY, DEADLINE};

/// All that failed did so in these stages, and the sums are those of the kinds.
#[track_caller]
fn staged(report: &Report, expected: FailureStages) {
    let stages = report.failure_stages;
    assert_eq!(stages, expected, "{report}");
    assert_eq!(stages.counted().total(), report.errors.total, "{report}");
    assert_eq!(
        stages.warm_up.total(),
        report.warmup_errors.total,
        "{report}"
    );
}

/// While measuring.
fn measured(measured: ByStage) -> FailureStages {
    FailureStages {
        measured,
        ..FailureStages::default()
    }
}

/// A server that does the same about each message of eight bytes.
fn always(reply: impl Fn(&[u8]) -> Reply + Clone + Send + 'static) -> Scripted {
    replies(Request::Bytes(8), move |_, _, message| reply(message))
}

/// So many requests of eight bytes.
fn ask(server: impl std::fmt::Display, mode: Mode, count: u64) -> Report {
    let mut plan = plan(server, mode, 1, count);
    (plan.size, plan.timeout) = (8, NONE_AFTER);
    run(&plan)
}

#[test]
fn a_failure_is_counted_in_the_stage_in_which_the_server_let_it_happen() {
    let report = ask(Nobody::new(), RST, 5);
    failed(&report, &[("refused", 5)]);
    staged(
        &report,
        measured(ByStage {
            connecting: 5,
            ..ByStage::default()
        }),
    );

    let report = ask(always(|_| Reply::Reset), RST, 5);
    failed(&report, &[("reset", 5)]);
    staged(
        &report,
        measured(ByStage {
            waiting: 5,
            ..ByStage::default()
        }),
    );
    assert_eq!(report.failed_answer, None);

    let report = ask(always(|message| Reply::Last(message[..7].to_vec())), RST, 5);
    failed(&report, &[("short_answer", 5)]);
    staged(
        &report,
        measured(ByStage {
            reading: 5,
            ..ByStage::default()
        }),
    );

    // Nobody reads, so most of it never leaves.
    let server = conversations(|_, mut peer| {
        peer.takes(1);
        pause(DEADLINE);
    });
    let mut plan = plan(server, RST, 2, 2);
    (plan.size, plan.timeout) = (16 << 20, NONE_AFTER);
    let report = run(&plan);
    failed(&report, &[("timeout", 2)]);
    staged(
        &report,
        measured(ByStage {
            sending: 2,
            ..ByStage::default()
        }),
    );

    // It answers, and does not close.
    let report = ask(
        always(|message| Reply::Bytes(message.to_vec())),
        closing(Close::Server, 1),
        2,
    );
    failed(&report, &[("timeout", 2)]);
    staged(
        &report,
        measured(ByStage {
            closing: 2,
            ..ByStage::default()
        }),
    );
}

#[test]
fn a_server_that_never_asks_who_we_are_fails_in_the_handshake() {
    let server = conversations(|_, _peer| pause(DEADLINE));
    let mut plan = plan(server, RST, 3, 3);
    plan.timeout = NONE_AFTER;
    let secret = Secret::new(b"a secret of the two of us".to_vec()).unwrap();
    plan.hmac_key = Some(HmacKey::new(&secret, Digest::Sha256));
    let report = run(&plan);
    failed(&report, &[("timeout", 3)]);
    staged(
        &report,
        measured(ByStage {
            handshake: 3,
            ..ByStage::default()
        }),
    );
}

#[test]
fn a_failure_is_of_the_part_of_the_run_in_which_it_is() {
    // Those that stay are opened before anything is asked.
    let report = ask(Nobody::new(), ECHO, 5);
    let opening = ByStage {
        connecting: report.errors.total,
        ..ByStage::default()
    };
    assert!(report.errors.refused > 0, "{report}");
    staged(
        &report,
        FailureStages {
            opening,
            ..FailureStages::default()
        },
    );
    assert!(
        report
            .to_string()
            .contains("of these before the load began"),
        "{report}"
    );

    // The first of all is reset while the run warms up.
    let server = replies(Request::Bytes(64), |connection, number, message| {
        match (connection, number) {
            (0, 0) => Reply::Reset,
            _ => Reply::After(Duration::from_millis(1), message.to_vec()),
        }
    });
    let mut warm = plan(&server, ECHO, 1, 10);
    warm.warmup = Duration::from_millis(50);
    let report = run(&warm);
    assert_eq!(report.requests.answered, 10, "{report}");
    let warm_up = ByStage {
        waiting: 1,
        ..ByStage::default()
    };
    staged(
        &report,
        FailureStages {
            warm_up,
            ..FailureStages::default()
        },
    );

    // Nobody is answered: what was asked fails when its time is over, after the end.
    let server = replies(Request::Bytes(64), |_, _, message| {
        Reply::After(Duration::from_secs(60), message.to_vec())
    });
    let mut never = plan(&server, ECHO, 3, 1);
    never.amount = Amount::For(Duration::from_millis(20));
    never.timeout = NONE_AFTER;
    let report = run(&never);
    failed(&report, &[("timeout", 3)]);
    let draining = ByStage {
        waiting: 3,
        ..ByStage::default()
    };
    staged(
        &report,
        FailureStages {
            draining,
            ..FailureStages::default()
        },
    );
    let said = "failed     3 waiting for the first byte, 3 of these after the end";
    assert!(report.to_string().contains(said), "{report}");
}

#[test]
fn a_request_that_found_no_connection_failed_while_it_waited_for_one() {
    let server = replies(Request::Bytes(64), |_, _, message| {
        Reply::After(Duration::from_secs(60), message.to_vec())
    });
    let mut plan = plan(&server, ECHO, 2, 50);
    (plan.model, plan.timeout) = (open(1_000.0), NONE_AFTER);
    let report = run(&plan);
    let errors = report.errors;
    assert_eq!(errors.unsent + errors.timeout, 50, "{report}");
    let waiting = ByStage {
        queued: errors.unsent,
        waiting: errors.timeout,
        ..ByStage::default()
    };
    assert_eq!(report.failure_stages.counted(), waiting, "{report}");
}

#[test]
fn what_came_of_an_answer_that_failed_is_shown_and_nothing_of_it_acts_on_a_terminal() {
    let said = |reply: fn(&[u8]) -> Reply, mode| ask(always(reply), mode, 2).failed_answer.unwrap();
    for mode in [RST, ECHO] {
        let short = said(|message| Reply::Last(message[..7].to_vec()), mode.clone());
        assert!(
            short.starts_with("ended before it was whole, 7 of 8 bytes came, it begins \""),
            "{short}"
        );
        let wrong = said(|_| Reply::Bytes(b"\x1b[2J\xff56x".to_vec()), mode.clone());
        assert!(
            wrong.starts_with("wrong, \"\\x1b[2J\\xff56x\" came where \""),
            "{wrong}"
        );
        let late = said(|message| Reply::Drip(message[..3].to_vec()), mode);
        assert!(
            late.starts_with("not whole in time, 3 of 8 bytes came, it begins \""),
            "{late}"
        );
    }
    let address = datagrams(ANY, |_, datagram| vec![datagram[..5].to_vec()]);
    let report = ask(format!("udp://{address}"), Mode::Udp { window: 1 }, 2);
    let wrong = report.failed_answer.unwrap();
    assert!(
        wrong.starts_with("wrong, 5 of 8 bytes came, it begins "),
        "{wrong}"
    );
}

#[test]
fn a_refusal_over_http_is_shown_with_its_status_and_how_it_begins() {
    let server = replies(Request::Until("\r\n\r\n"), |_, _, _| {
        b"HTTP/1.1 503 Busy\r\nContent-Length: 2\r\n\r\nno".to_vec()
    });
    for line in ["conn", "echo"] {
        let json = bench(format!("{line} http://{server}/ -c 1 -n 2 --json")).json();
        let shown = "turned down, status 503, it begins \"HTTP/1.1 503 Busy\\r\\nContent-Lengt…\"";
        assert_eq!(json["failed_answer"], shown, "{json}");
        assert_eq!(json["failure_stages"]["measured"]["reading"], 2, "{json}");
        let text = bench(format!("{line} http://{server}/ -c 1 -n 2")).out;
        assert!(
            text.contains(&format!("the first answer that failed: {shown}")),
            "{text}"
        );
    }
}

#[test]
fn beside_resets_under_a_close_by_reset_the_polite_way_is_said() {
    let server = always(|_| Reply::Reset);
    let polite = "`--close client-fin` is the polite way";
    let report = ask(&server, RST, 2);
    assert!(report.to_string().contains(polite), "{report}");
    let report = ask(&server, closing(Close::ClientFin, 1), 2);
    assert!(!report.to_string().contains(polite), "{report}");
}

#[test]
fn a_server_that_has_ended_is_told_from_a_generator_without_descriptors() {
    let watched = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
    let pid = watched.id();
    let watched = Arc::new(Mutex::new(watched));
    // It ends before the first answer.
    let server = replies(Request::Bytes(64), move |_, _, message| {
        let mut watched = watched.lock().unwrap();
        watched.kill().unwrap();
        watched.wait().unwrap();
        message.to_vec()
    });
    let said = bench(format!("echo {server} -c 1 -n 2 --pid {pid}"));
    let ended = "server     a process of --pid has ended";
    assert!(said.out.contains(ended), "{}", said.out);
    let server = conversations(|_, mut peer| drop(peer.rest()));
    // The whole of its limit goes into connections, and this process is alive.
    let own = std::process::id();
    let line = format!("bench hold {server} -c 200 -d 20ms --pid {own}");
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -n 64; exec \"$0\" $1"]);
    limited.args([env!("CARGO_BIN_EXE_onepoll"), &line]);
    let said = finish(&mut limited);
    let none_left = "server     the generator had no descriptors left";
    assert!(said.out.contains(none_left), "{}", said.out);
}
