//! The fan-out of the load generator against broadcasters that keep to a script. Every count is exact.

use std::fmt;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use onepoll::load::measure::clock::Stopwatch;
use onepoll::load::{Amount, Mode, Model, Plan, Report};
use onepoll::wire::{Digest, HmacKey, Secret};
use rustix::net::sockopt::set_socket_linger;
use sha2::{Digest as _, Sha256};

use super::{LOST_AFTER, counted, failed, open, run};
use crate::support::ANY;
use crate::support::peer::{Nobody, Peer};
use crate::support::program::{bench, onepoll};
use crate::support::script::pause;
use crate::support::server::Served;

const MEMBERS: usize = 5;
const MS: f64 = 1_000.0;

fn plan(endpoint: impl fmt::Display, lines: u64) -> Plan {
    super::plan(endpoint, in_flight(1), MEMBERS, lines)
}

fn in_flight(depth: usize) -> Mode {
    Mode::Fanout {
        depth,
        hello: Vec::new(),
        any_prefix: false,
    }
}

/// What a member is told of one line.
enum Told {
    /// These bytes.
    Bytes(Vec<u8>),
    /// These, and then no more for good.
    Last(Vec<u8>),
    /// Nothing, and its connection is reset.
    Reset,
}

/// What the member of this number, in the order in which they came, is told of a line: its number,
/// where 0 is the probe, and the line as a chat has it.
type Script = fn(member: usize, number: usize, line: &[u8]) -> Told;

fn good(_: usize, _: usize, line: &[u8]) -> Told {
    Told::Bytes(line.to_vec())
}

/// A chat that keeps to a script.
struct Room {
    address: SocketAddr,
    /// How many lines it received in the last run, the probe among them.
    received: Arc<AtomicU64>,
}

impl fmt::Display for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)
    }
}

impl Room {
    /// A run in which line 1 of the script is the first that is measured. On a busy machine the probe
    /// is repeated, and all lines have other numbers: then it is run again.
    fn run(&self, plan: &Plan) -> Report {
        for _ in 0..10 {
            let report = run(plan);
            if self.received.load(Ordering::SeqCst) == report.deliveries.unwrap().lines + 1 {
                return report;
            }
        }
        panic!("ten times the probe was repeated");
    }
}

/// A chat that tells everybody else what somebody says, as its script has it.
fn broadcaster(script: Script) -> Room {
    guarded(None, script)
}

/// The same, which lets in only who knows the secret, if there is one.
fn guarded(secret: Option<&'static [u8]>, script: Script) -> Room {
    let listener = TcpListener::bind(ANY).unwrap();
    let address = listener.local_addr().unwrap();
    let received = Arc::<AtomicU64>::default();
    let counted = Arc::clone(&received);
    thread::spawn(move || {
        // The speaker comes last; only it says anything.
        let mut members = Vec::new();
        loop {
            let (stream, _) = listener.accept().unwrap();
            stream.set_nodelay(true).unwrap();
            if secret.is_some_and(|secret| !knows(&stream, secret, members.len())) {
                continue;
            }
            if members.len() < MEMBERS {
                members.push(Some(stream));
                continue;
            }
            HELD.set(None);
            let members = std::mem::take(&mut members);
            broadcast(BufReader::new(stream), members, script, &counted);
        }
    });
    Room { address, received }
}

/// Challenges whoever comes, and compares with an HMAC-SHA256 of its own (RFC 2104).
fn knows(mut stream: &TcpStream, secret: &[u8], number: usize) -> bool {
    let challenge = [u8::try_from(number).unwrap(); 32];
    let mut answer = [0; 32];
    // In two parts, so that the first event is not all of it.
    stream.write_all(&challenge[..7]).unwrap();
    stream.write_all(&challenge[7..]).unwrap();
    if stream.read_exact(&mut answer).is_err() {
        return false;
    }
    let pad = |with: u8| {
        let mut block = [with; 64];
        block
            .iter_mut()
            .zip(secret)
            .for_each(|(one, key)| *one ^= key);
        block
    };
    let inner = Sha256::digest([&pad(0x36)[..], &challenge].concat());
    answer[..] == Sha256::digest([&pad(0x5c)[..], &inner].concat())[..]
}

fn broadcast(
    mut speaker: BufReader<TcpStream>,
    mut members: Vec<Option<TcpStream>>,
    script: Script,
    received: &AtomicU64,
) {
    let mut line = b"eva: ".to_vec();
    for number in 0.. {
        received.store(number as u64, Ordering::SeqCst);
        line.truncate(5);
        if speaker.read_until(b'\n', &mut line).unwrap_or(0) == 0 {
            return;
        }
        for (index, member) in members.iter_mut().enumerate() {
            let Some(stream) = member else { continue };
            // Whoever listened may have gone.
            match script(index, number, &line) {
                Told::Bytes(bytes) => drop(stream.write_all(&bytes)),
                Told::Last(bytes) => {
                    drop(stream.write_all(&bytes));
                    *member = None;
                }
                Told::Reset => {
                    set_socket_linger(&*stream, Some(Duration::ZERO)).unwrap();
                    *member = None;
                }
            }
        }
    }
}

/// Lines, expected, delivered, lost, late, duplicates, reordered, wrong, notices, gone.
fn counts(report: &Report) -> [u64; 10] {
    let seen = report.deliveries.unwrap();
    assert_eq!(seen.expected, seen.delivered + seen.lost, "{report}");
    [
        seen.lines,
        seen.expected,
        seen.delivered,
        seen.lost,
        seen.late,
        seen.duplicates,
        seen.reordered,
        seen.wrong,
        seen.notices,
        seen.gone,
    ]
}

#[track_caller]
fn is_flawless(report: &Report, lines: u64, members: u64) {
    let all = lines * members;
    assert_eq!(
        counts(report)[..8],
        [lines, all, all, 0, 0, 0, 0, 0],
        "{report}"
    );
    assert_eq!(report.requests.asked, lines, "{report}");
    assert_eq!(report.requests.answered, lines, "{report}");
    assert_eq!(report.latency_us.count, lines, "{report}");
    let seen = report.deliveries.unwrap();
    assert_eq!((seen.first_us.count, seen.median_us.count), (lines, lines));
    assert!(seen.first_us.max <= report.latency_us.max, "{report}");
    assert_eq!(report.connections.held as u64, members, "{report}");
    assert!(!report.has_errors(), "{report}");
}

#[test]
fn a_good_broadcaster_delivers_everything() {
    let room = broadcaster(good);
    for (size, pipeline, model) in [
        (8, 1, Model::Closed),
        (64, 7, Model::Closed),
        (64, 1, open(2_000.0)),
        (20_000, 16, Model::Closed),
        (8191, 64, open(4_000.0)),
    ] {
        let mut plan = plan(&room, 300);
        (plan.size, plan.mode, plan.model) = (size, in_flight(pipeline), model);
        let report = room.run(&plan);
        is_flawless(&report, 300, MEMBERS as u64);
        // 1500 deliveries of 300 lines.
        let seen = report.deliveries.unwrap();
        let ratio = report.rate_per_s / seen.lines_per_s;
        assert!((ratio - 5.0).abs() < 0.01, "{ratio}\n{report}");
        let rate = 1_500.0 / report.elapsed_s;
        assert!((report.rate_per_s / rate - 1.0).abs() < 0.001, "{report}");
    }
}

#[test]
fn a_warm_up_is_not_measured() {
    let mut plan = plan(broadcaster(good), 50);
    plan.warmup = Duration::from_millis(50);
    let report = run(&plan);
    assert_eq!(report.requests.answered, 50, "{report}");
    assert_eq!(report.latency_us.count, 50, "{report}");
    assert!(report.deliveries.unwrap().lines > 50, "{report}");
}

#[test]
fn it_can_be_told_how_long_instead_of_how_much() {
    let mut plan = plan(broadcaster(good), 1);
    (plan.amount, plan.mode) = (Amount::For(Duration::from_millis(200)), in_flight(4));
    let report = run(&plan);
    assert!(report.elapsed_s >= 0.2, "{report}");
    let (seen, requests) = (report.deliveries.unwrap(), report.requests);
    assert_eq!(seen.lines, requests.answered + requests.late, "{report}");
    assert!(requests.late <= 4 && !report.has_errors(), "{report}");
}

#[test]
fn crlf_notices_and_pieces_are_all_the_same() {
    let room = broadcaster(|member, number, line| {
        let text = line.strip_suffix(b"\n").unwrap();
        let mut bytes = match number % 3 {
            0 => b"* somebody came\r\n".to_vec(),
            _ => Vec::new(),
        };
        bytes.extend_from_slice(text);
        bytes.extend_from_slice(b"\r\n* half");
        // Member 0 has none behind its line.
        let notice = bytes.len() - 6;
        match member {
            0 => bytes.truncate(notice),
            _ => bytes.extend_from_slice(b" a notice\r\n"),
        }
        Told::Bytes(bytes)
    });
    let mut plan = plan(&room, 99);
    plan.mode = in_flight(3);
    let report = room.run(&plan);
    is_flawless(&report, 99, 5);
    // Of a hundred lines, a probe among them, 34 follow a notice, for each member, and four members
    // hear one behind each.
    assert_eq!(
        report.deliveries.unwrap().notices,
        5 * 34 + 4 * 100,
        "{report}"
    );
}

#[test]
fn every_tenth_line_that_one_member_does_not_get_is_lost() {
    let room = broadcaster(|member, number, line| {
        if member == 2 && number % 10 == 5 {
            return Told::Bytes(Vec::new());
        }
        Told::Bytes(line.to_vec())
    });
    for (lines, pipeline, model) in [
        (20, 1, Model::Closed),
        (100, 64, Model::Closed),
        (100, 1, open(1_000.0)),
    ] {
        let mut plan = plan(&room, lines);
        (plan.mode, plan.model) = (in_flight(pipeline), model);
        plan.timeout = LOST_AFTER;
        let report = room.run(&plan);
        // Of the lines behind a probe.
        let lost = lines / 10;
        let heard = 5 * lines - lost;
        let fates = [lines, 5 * lines, heard, lost, 0, 0, 0, 0, 0, 0];
        assert_eq!(counts(&report), fates, "{report}");
        counted(&report, lines - lost, &[("timeout", lost)]);
        assert_eq!(report.requests.unanswered, lost, "{report}");
        assert_eq!(report.latency_us.count, lines - lost, "{report}");
        let lacking = report.lacking.as_slice();
        assert_eq!(lacking.len(), 1, "{report}");
        let member = (lacking[0].member, lacking[0].lines, lacking[0].is_gone);
        assert_eq!(member, (3, lost, false), "{report}");
        let own = lacking[0].address.as_ref().unwrap();
        let lines = if lost == 2 { "2 lines" } else { "10 lines" };
        let said = format!("\n  lost by    member 3 ({own}): {lines}\n");
        assert!(report.to_string().contains(&said), "{report}");
    }
}

#[test]
fn doubled_overtaken_and_false_lines_are_told_apart() {
    let room = broadcaster(|member, number, line| {
        let mut bytes = line.to_vec();
        match (member, number % 10) {
            (1, 3) => bytes.extend_from_slice(line),
            // In the number, in the text, in the name.
            (2, 4) => bytes[6] ^= 1,
            (2, 5) => bytes[40] ^= 1,
            (2, 6) => bytes[1] ^= 1,
            // Not the end of it.
            (3, 7) => drop(bytes.drain(30..40)),
            (4, 8) => bytes.clear(),
            _ => {}
        }
        Told::Bytes(bytes)
    });
    let mut plan = plan(&room, 50);
    (plan.mode, plan.timeout) = (in_flight(50), LOST_AFTER);
    let report = room.run(&plan);
    assert_eq!(
        counts(&report),
        [50, 250, 225, 25, 0, 5, 0, 20, 0, 0],
        "{report}"
    );
    failed(
        &report,
        &[("duplicate", 5), ("timeout", 25), ("wrong_answer", 20)],
    );
    assert_eq!(report.requests.answered, 25, "{report}");
}

#[test]
fn who_hears_lines_in_another_order_hears_all_of_them() {
    let room = broadcaster(|member, number, line| {
        if member != 3 {
            return Told::Bytes(line.to_vec());
        }
        HELD.with_borrow_mut(|held| match held.take() {
            _ if number == 0 => Told::Bytes(line.to_vec()),
            None => {
                *held = Some(line.to_vec());
                Told::Bytes(Vec::new())
            }
            Some(before) => Told::Bytes([line, &before].concat()),
        })
    });
    let mut plan = plan(&room, 40);
    plan.mode = in_flight(2);
    let report = room.run(&plan);
    assert_eq!(
        counts(&report),
        [40, 200, 200, 0, 0, 0, 20, 0, 0, 0],
        "{report}"
    );
    assert_eq!(report.requests.answered, 40, "{report}");
    failed(&report, &[("reordered", 20)]);
}

thread_local! {
    /// A line that one member is told later.
    static HELD: std::cell::RefCell<Option<Vec<u8>>> = const { std::cell::RefCell::new(None) };
}

#[test]
fn a1_to_a3_a_room_that_asks_who_is_there_is_measured_too() {
    const SECRET: &[u8] = b"sixteen bytes or more";
    let room = guarded(Some(SECRET), good);
    let mut plan = plan(&room, 20);
    let hmac_key =
        |secret: &[u8]| HmacKey::new(&Secret::new(secret.to_vec()).unwrap(), Digest::Sha256);
    plan.hmac_key = Some(hmac_key(SECRET));
    let report = run(&plan);
    assert_eq!(
        counts(&report),
        [20, 100, 100, 0, 0, 0, 0, 0, 0, 0],
        "{report}"
    );
    assert_eq!(report.phases_us.connect.count, 6, "{report}");
    plan.hmac_key = Some(hmac_key(b"another, and as long"));
    let report = run(&plan);
    assert_eq!(report.connections.held, 0, "{report}");
    // The run is over with its last member; whether the sender is refused before that is chance.
    let refused = report.errors.not_admitted;
    assert!((5..=6).contains(&refused), "{report}");
    failed(&report, &[("not_admitted", refused)]);
}

#[test]
fn a_line_after_its_time_is_late() {
    let room = broadcaster(|member, number, line| {
        HELD.with_borrow_mut(|held| match (member, number) {
            (3, 1) => {
                *held = Some(line.to_vec());
                Told::Bytes(Vec::new())
            }
            (3, 30) => Told::Bytes([&held.take().unwrap(), line].concat()),
            _ => Told::Bytes(line.to_vec()),
        })
    });
    let mut plan = plan(&room, 40);
    // Line 30 comes almost a second and a half after line 1.
    (plan.model, plan.timeout) = (open(20.0), LOST_AFTER);
    let report = room.run(&plan);
    assert_eq!(
        counts(&report),
        [40, 200, 199, 1, 1, 0, 0, 0, 0, 0],
        "{report}"
    );
    assert_eq!(report.requests.answered, 39, "{report}");
}

#[test]
fn a_member_that_goes_is_one_error_and_no_more_is_expected_of_it() {
    for (script, kind) in [
        (
            (|member, number, line| match (member, number) {
                (1, 20) => Told::Reset,
                _ => Told::Bytes(line.to_vec()),
            }) as Script,
            "reset",
        ),
        (
            |member, number, line| match (member, number) {
                (1, 19) => Told::Last(line.to_vec()),
                _ => Told::Bytes(line.to_vec()),
            },
            "short_answer",
        ),
        (
            // Half of line 20, and that is all.
            |member, number, line| match (member, number) {
                (1, 20) => Told::Last(line[..20].to_vec()),
                _ => Told::Bytes(line.to_vec()),
            },
            "short_answer",
        ),
    ] {
        // One line after the other: what member 1 lacks is line 20 alone, or nothing.
        let room = broadcaster(script);
        let report = room.run(&plan(&room, 50));
        let seen = report.deliveries.unwrap();
        assert_eq!((seen.lines, seen.gone), (50, 1), "{report}");
        assert_eq!(seen.expected, seen.delivered + seen.lost, "{report}");
        assert_eq!(report.connections.held, 4, "{report}");
        failed(&report, &[(kind, 1)]);
        // 19 lines to five and 30 to four. Line 20 is said to five, unless the end came first.
        assert_eq!(seen.delivered, 19 * 5 + 31 * 4, "{report}");
        assert_eq!(report.requests.answered + seen.lost, 50, "{report}");
        assert!(seen.lost <= 1, "{report}");
        let lacking: Vec<_> = report.lacking.iter().collect();
        let [gone] = lacking.as_slice() else {
            panic!("{report}");
        };
        assert_eq!(
            (gone.member, gone.lines, gone.is_gone),
            (2, seen.lost, true),
            "{report}"
        );
    }
}

#[test]
fn what_is_slow_to_one_member_is_slow_to_the_last_alone() {
    let address = slow_to_one(Duration::from_millis(50));
    for model in [Model::Closed, open(10.0)] {
        let mut plan = plan(address, 10);
        plan.model = model;
        let report = run(&plan);
        is_flawless(&report, 10, MEMBERS as u64);
        let seen = report.deliveries.unwrap();
        let last_us = report.latency_us.p50;
        assert!(last_us >= 50.0 * MS * 0.999, "{report}");
        assert!(seen.first_us.p50 < last_us, "{report}");
        assert!(seen.median_us.p50 < last_us, "{report}");
    }
}

#[test]
fn lines_count_for_the_rate_of_the_time_in_which_they_come() {
    let mut plan = plan(slow_to_one(Duration::from_millis(200)), 1);
    (plan.model, plan.amount) = (open(100.0), Amount::For(Duration::from_millis(400)));
    plan.warmup = Duration::from_millis(300);
    let report = run(&plan);
    assert!(!report.has_errors(), "{report}");
    // Those of the warm-up's end come while measuring, and those of the end after it.
    let requests = report.requests;
    assert!(
        requests.came > requests.answered && requests.late > 0,
        "{report}"
    );
    let lines_per_s = report.deliveries.unwrap().lines_per_s;
    assert!(
        (lines_per_s - requests.came as f64 / 0.4).abs() < 0.1,
        "{report}"
    );
}

/// A good broadcaster that tells the first member everything `delay` later.
fn slow_to_one(delay: Duration) -> SocketAddr {
    let (later, lines) = mpsc::channel::<(TcpStream, Vec<u8>, u64)>();
    let watch = Stopwatch::start();
    thread::spawn(move || {
        // Each when it is due, so their delays do not add up.
        while let Ok((mut stream, line, came)) = lines.recv() {
            let waited = Duration::from_nanos(watch.nanos() - came);
            pause(delay.saturating_sub(waited));
            let _ = stream.write_all(&line);
        }
    });
    rooms(move |members, mut speaker| {
        let mut line = Vec::new();
        while speaker.read_until(b'\n', &mut line).unwrap_or(0) > 0 {
            let (first, others) = members.split_first().expect("five of them");
            later
                .send((first.try_clone().unwrap(), line.clone(), watch.nanos()))
                .unwrap();
            for mut member in others {
                let _ = member.write_all(&line);
            }
            line.clear();
        }
    })
}

/// Where members come, and then the one that speaks, again and again.
fn rooms(serve: impl Fn(Vec<TcpStream>, BufReader<TcpStream>) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind(ANY).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        loop {
            let next = || listener.accept().unwrap().0;
            let members = (0..MEMBERS).map(|_| next()).collect();
            serve(members, BufReader::new(next()));
        }
    });
    address
}

#[test]
fn where_nobody_answers_it_ends_at_the_timeout() {
    let silent = broadcaster(|_, _, _| Told::Bytes(Vec::new())).to_string();
    let deaf = broadcaster(|member, _, line| match member {
        0 | 3 => Told::Bytes(Vec::new()),
        _ => Told::Bytes(line.to_vec()),
    })
    .to_string();
    let mut plan = plan(&silent, 20);
    plan.timeout = LOST_AFTER;
    let report = run(&plan);
    failed(&report, &[("timeout", 5)]);
    assert_eq!(counts(&report), [0, 0, 0, 0, 0, 0, 0, 0, 0, 5], "{report}");
    assert_eq!(report.connections.held, 0, "{report}");
    // Some hear: it goes on with them.
    plan.endpoint = deaf.parse().unwrap();
    let report = run(&plan);
    failed(&report, &[("timeout", 2)]);
    assert_eq!(counts(&report)[..4], [20, 60, 60, 0], "{report}");
    // Everybody heard the probe, and that was all.
    let mute = broadcaster(|_, number, line| match number {
        0 => Told::Bytes(line.to_vec()),
        _ => Told::Bytes(Vec::new()),
    });
    plan.endpoint = mute.to_string().parse().unwrap();
    plan.mode = in_flight(20);
    let report = mute.run(&plan);
    assert_eq!(
        counts(&report),
        [20, 100, 0, 100, 0, 0, 0, 0, 0, 0],
        "{report}"
    );
    assert_eq!(report.requests.unanswered, 20, "{report}");
    failed(&report, &[("timeout", 20)]);
    // Nobody is there at all.
    let nobody = Nobody::new();
    plan.endpoint = nobody.to_string().parse().unwrap();
    let report = run(&plan);
    failed(&report, &[("refused", 6)]);
}

#[test]
fn a_speaker_that_is_thrown_out_ends_the_run() {
    let address = rooms(|members, mut speaker| {
        let mut line = Vec::new();
        for _ in 0..11 {
            line.clear();
            speaker.read_until(b'\n', &mut line).unwrap();
            for mut member in &members {
                member.write_all(&line).unwrap();
            }
        }
        drop(speaker);
        // Until the run is over, and they go.
        for mut member in members {
            let _ = member.read_to_end(&mut line);
        }
    });
    let mut plan = plan(address, 100);
    plan.timeout = LOST_AFTER;
    let report = run(&plan);
    assert_eq!(report.requests.answered, 10, "{report}");
    let ended = report.errors.short_answer + report.errors.reset;
    assert_eq!(ended, 1, "{report}");
    assert_eq!(report.connections.held, 5, "{report}");
}

#[test]
fn other_broadcasters_want_a_hello_and_put_a_time_before_a_line() {
    let address = rooms(|members, speaker| {
        // The speaker hears itself as well.
        let all = members.into_iter().chain([speaker.into_inner()]);
        let mut peers: Vec<Peer> = all.map(Peer::of).collect();
        for peer in &mut peers {
            peer.hears("SUBSCRIBE room\r\n");
        }
        for number in 10.. {
            let Some(line) = peers[MEMBERS].may_hear_line() else {
                return;
            };
            for peer in &mut peers {
                let _ = peer.may_say(format!("[12:00:{number}] eva: {line}\n"));
            }
        }
    });
    let mut plan = plan(address, 80);
    let mode = |depth, any_prefix| Mode::Fanout {
        depth,
        hello: b"SUBSCRIBE room\r\n".to_vec(),
        any_prefix,
    };
    plan.mode = mode(1, true);
    is_flawless(&run(&plan), 80, 5);
    plan.mode = mode(2, false);
    plan.timeout = LOST_AFTER;
    plan.amount = Amount::Count(2);
    let report = run(&plan);
    assert_eq!(
        counts(&report),
        [2, 10, 0, 10, 0, 0, 0, 10, 0, 0],
        "{report}"
    );
}

#[test]
fn our_own_chat_delivers_everything() {
    let server = Served::start("chat://127.0.0.1:0?flood=off&history=50");
    let mut plan = plan(server.address(), 2_000);
    (plan.connections, plan.mode) = (50, in_flight(32));
    // Twice: the second room begins with what was said in the first.
    for _ in 0..2 {
        let report = run(&plan);
        is_flawless(&report, 2_000, 50);
    }
    plan.amount = Amount::Count(300);
    plan.model = open(1_000.0);
    is_flawless(&run(&plan), 300, 50);
}

#[test]
fn the_command_line_says_what_it_saw_and_whether_it_was_well() {
    let server = Served::start("chat://127.0.0.1:0?flood=off");
    let hello = ["-n", "100", "--hello", r"/nick eva\n"];
    let said = onepoll(&[&["bench", "fanout", &server.endpoint], &hello[..]].concat());
    let text = &said.exits(0).out;
    assert!(text.contains("one sender to 100 members"), "{text}");
    let all = "10,000 of 10,000 delivered, 100 lines sent (warm-up included), 0 lost";
    assert!(text.contains(all), "{text}");
    for name in ["deliveries /s", "to first ", "to median ", "to last "] {
        assert!(text.contains(name), "{name} {text}");
    }

    let drops = broadcaster(|member, number, line| match (member, number) {
        (0, 3) => Told::Bytes(Vec::new()),
        (1, 4) => Told::Bytes([line, line].concat()),
        _ => Told::Bytes(line.to_vec()),
    });
    let said = bench(format!("fanout {drops} -n 9 -c 5 --timeout 200ms --json"));
    let json = said.exits(1).json();
    assert_eq!(json["deliveries"]["lost"], 1, "{json}");
    assert_eq!(json["errors"]["duplicate"], 1, "{json}");

    for (more, why) in [
        ("-s 7", "the size of a line must be between 8"),
        ("--pipeline 65537", "the pipeline's depth"),
        ("--expect eof", "--expect has no effect in `bench fanout`"),
        (
            "--payload 12345678",
            "--payload has no effect in `bench fanout`",
        ),
        (r"--hello \q", "after a backslash"),
    ] {
        bench(format!("fanout 127.0.0.1:9 {more}")).refuses(why);
    }
    bench("fanout udp://127.0.0.1:9").refuses("`bench fanout` cannot ask udp");
}
