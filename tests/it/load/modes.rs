//! The modes of the load generator beside connections and echoes: datagrams, and connections that
//! say nothing. Every count is exact.

use std::net::{SocketAddr, UdpSocket};
use std::ops::ControlFlow;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Duration;

use onepoll::load::{self, Mode, Model, Plan, Report};

use super::{LOST_AFTER, NONE_AFTER, counted, failed, open, run};
use crate::support::program::bench;
use crate::support::script::datagrams;
use crate::support::{ANY, DEADLINE};

fn plan(endpoint: String, window: usize, count: u64) -> Plan {
    let mut plan = super::plan(endpoint, Mode::Udp { window }, 1, count);
    plan.timeout = LOST_AFTER;
    plan
}

fn fates(report: &Report) -> [u64; 7] {
    let seen = report.datagrams.unwrap();
    [
        seen.sent,
        seen.lost,
        seen.duplicates,
        seen.reordered,
        seen.late,
        seen.wrong,
        seen.refused,
    ]
}

#[test]
fn a_good_datagram_server_loses_nothing() {
    let address = datagrams(ANY, |_, datagram| vec![datagram.to_ascii_uppercase()]);
    for (size, window, model) in [
        (1, 1, Model::Closed),
        (7, 5, Model::Closed),
        (8, 64, Model::Closed),
        (64, 8, open(5_000.0)),
        (65_507, 1, Model::Closed),
    ] {
        let mut plan = plan(format!("udp://{address}"), window, 100);
        (plan.size, plan.model) = (size, model);
        plan.timeout = DEADLINE;
        let report = run(&plan);
        assert_eq!(fates(&report), [100, 0, 0, 0, 0, 0, 0], "{report}");
        assert_eq!(report.requests.asked, 100, "{report}");
        counted(&report, 100, &[]);
    }
}

#[test]
fn lost_doubled_overtaken_and_false_datagrams_are_told_apart_exactly() {
    let mut held = None;
    let address = datagrams(ANY, move |number, datagram| {
        let mut answer = datagram.to_vec();
        match number % 10 {
            0 => vec![],
            1 => vec![answer.clone(), answer],
            2 => {
                held = Some(answer);
                vec![]
            }
            3 => vec![answer, held.take().unwrap()],
            4 => {
                answer[40] ^= 1;
                vec![answer]
            }
            5 => {
                answer.pop();
                vec![answer]
            }
            _ => vec![answer],
        }
    });
    let mut plan = plan(format!("udp://{address}"), 1, 200);
    plan.model = open(4_000.0);
    let report = run(&plan);
    // Of each ten one is dropped and two are falsified, so three are never answered.
    assert_eq!(fates(&report), [200, 60, 20, 20, 0, 40, 0], "{report}");
    assert_eq!(report.requests.asked, 200, "{report}");
    assert_eq!(report.requests.unanswered, 60, "{report}");
    counted(&report, 140, &[("timeout", 60), ("wrong_answer", 40)]);
}

#[test]
fn an_answer_after_its_time_is_late_and_not_an_answer() {
    let mut held = None;
    let address = datagrams(ANY, move |number, datagram| match number {
        0 => {
            held = Some(datagram.to_vec());
            vec![]
        }
        // Later than it may be after the first.
        50 => vec![held.take().unwrap(), datagram.to_vec()],
        _ => vec![datagram.to_vec()],
    });
    let mut plan = plan(format!("udp://{address}"), 1, 60);
    plan.model = open(40.0);
    let report = run(&plan);
    assert_eq!(fates(&report), [60, 1, 0, 0, 1, 0, 0], "{report}");
    assert_eq!(report.requests.answered, 59, "{report}");
}

/// Hears so many datagrams, and when it is told to says each so often; tells when it has.
fn flood(count: usize, times: usize, go: Receiver<()>, done: Sender<()>) -> SocketAddr {
    let socket = UdpSocket::bind(ANY).unwrap();
    let address = socket.local_addr().unwrap();
    thread::spawn(move || {
        let mut datagram = vec![0; 1 << 16];
        let mut heard = || {
            let (n, from) = socket.recv_from(&mut datagram).unwrap();
            (datagram[..n].to_vec(), from)
        };
        let heard: Vec<_> = (0..count).map(|_| heard()).collect();
        go.recv_timeout(DEADLINE).unwrap();
        for (datagram, from) in heard {
            for _ in 0..times {
                assert_eq!(socket.send_to(&datagram, from).unwrap(), datagram.len());
            }
        }
        done.send(()).unwrap();
    });
    address
}

#[test]
fn what_finds_no_room_in_our_own_buffer_is_no_loss_of_the_server() {
    let (tell, go) = mpsc::channel();
    let (done, is_done) = mpsc::channel();
    // All that is in flight has room in the buffer, and this is a hundred times as much.
    let address = flood(64, 100, go, done);
    let mut plan = plan(format!("udp://{address}"), 64, 64);
    (plan.size, plan.timeout) = (1_400, Duration::from_millis(400));
    let mut looks = 0;
    let report = load::run_watched(&plan, &mut |_| {
        looks += 1;
        // At the second look all is on its way; until the server has said everything, nothing is read.
        if looks == 2 {
            tell.send(()).unwrap();
            is_done.recv_timeout(DEADLINE).unwrap();
        }
        ControlFlow::Continue(())
    })
    .unwrap();
    let seen = report.datagrams.unwrap();
    let dropped = seen.dropped.unwrap();
    let answered = report.requests.answered;
    // What the server's book has is what came and what was dropped.
    let came = answered + report.requests.late + seen.duplicates + seen.late;
    assert_eq!(came + dropped, 6_400, "{report}");
    assert!(seen.lost > 0 && dropped > 6_000, "{report}");
    assert!(seen.buffer_bytes >= seen.buffer_wanted_bytes, "{report}");
    failed(&report, &[("own_buffer", seen.lost)]);
    assert!(report.generator.was_the_limit, "{report}");
    let text = report.to_string();
    for said in [
        format!(
            "{} lost, 0 of these by the server or on the way, ",
            seen.lost
        ),
        format!(
            "errors     {}: {} lost in our own receive buffer",
            seen.lost, seen.lost
        ),
        "found no room in our own receive buffer".to_owned(),
    ] {
        assert!(text.contains(&said), "{said}\n{text}");
    }
}

#[test]
fn a_receive_buffer_that_is_too_small_for_the_window_is_said() {
    let address = datagrams(ANY, |_, datagram| vec![datagram.to_vec()]);
    let mut plan = plan(format!("udp://{address}"), 1_024, 1);
    plan.size = 65_507;
    let report = run(&plan);
    counted(&report, 1, &[]);
    let seen = report.datagrams.unwrap();
    assert_eq!(seen.dropped, Some(0), "{report}");
    assert!(seen.buffer_bytes < seen.buffer_wanted_bytes, "{report}");
    let text = report.to_string();
    assert!(text.contains("raise net.core.rmem_max"), "{text}");
    assert!(!text.contains("own receive buffer"), "{text}");
}

#[test]
fn where_nobody_listens_every_datagram_is_lost_and_the_kernel_says_why() {
    let nobody = UdpSocket::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let mut plan = plan(format!("udp://{nobody}"), 20, 20);
    plan.timeout = NONE_AFTER;
    let report = run(&plan);
    counted(&report, 0, &[("timeout", 20)]);
    assert!(report.datagrams.unwrap().refused > 0, "{report}");
}

#[test]
fn a_mode_refuses_what_it_cannot_ask() {
    for (line, why) in [
        (
            "conn udp://127.0.0.1:9",
            "`bench conn` cannot ask udp://127.0.0.1:9",
        ),
        ("udp unix:///x", "`bench udp` cannot ask unix:///x"),
        ("udp 127.0.0.1:9 -s 65508", "the size of a datagram"),
        ("hold 127.0.0.1:9 --rate 5", "sends no requests"),
        ("hold 127.0.0.1:9 --pid 4294967295", "no such process"),
        ("echo 127.0.0.1:9 --rate 0", "the rate must be above 0"),
        ("echo 127.0.0.1:9 --arrivals poisson", "--rate"),
    ] {
        bench(line).refuses(why);
    }
}
