//! Hosts among each other, on a network that loses, doubles and reorders, and in time that only the test keeps.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::wire::{IpmsgCommand, IpmsgEncoding, IpmsgEntry, IpmsgPacket};

const SECOND: Duration = Duration::from_secs(1);

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn me(nick: &str) -> IpmsgEntry {
    IpmsgEntry {
        user: nick.to_lowercase(),
        host: format!("{nick}-pc"),
        nick: nick.to_owned(),
        group: "dev".to_owned(),
        encoding: Some(IpmsgEncoding::Utf8),
    }
}

fn host(nick: &str) -> IpmsgHost {
    IpmsgHost::new(IpmsgSettings::new(me(nick)), 1_764_275_400)
}

fn sent(host: &mut IpmsgHost) -> Vec<(SocketAddr, Vec<u8>)> {
    std::iter::from_fn(|| host.take_datagram()).collect()
}

fn news(host: &mut IpmsgHost) -> Vec<IpmsgNews> {
    std::iter::from_fn(|| host.take_news()).collect()
}

fn texts(host: &mut IpmsgHost) -> Vec<String> {
    let news = news(host).into_iter();
    let texts = news.filter_map(|news| match news {
        IpmsgNews::Message(message) => Some(message.text),
        _ => None,
    });
    texts.collect()
}

/// What it sends in answer to these bytes from there.
fn answers(host: &mut IpmsgHost, from: &str, bytes: &[u8]) -> Vec<(SocketAddr, Vec<u8>)> {
    host.receive(SECOND, at(from), bytes);
    sent(host)
}

const EVA: &str = "127.0.0.1:2425";

#[test]
fn u4_the_tutorials_messages_are_all_shown_though_they_have_one_number() {
    let mut host = host("Adam");
    for text in ["hi", "how are you", "bye"] {
        let bytes = format!("1:111:eva:eva:32:{text}");
        assert_eq!(answers(&mut host, EVA, bytes.as_bytes()), []);
        assert_eq!(texts(&mut host), [text]);
    }
    host.receive(SECOND, at(EVA), b"1:111:eva:eva:32:\xc4\xe3\xba\xc3");
    assert_eq!(texts(&mut host), ["你好"]);
}

#[test]
fn u4_a_message_is_acknowledged_and_shown_once() {
    let mut host = host("Adam");
    for n in 0..3 {
        let answers = answers(&mut host, EVA, b"1:7:eva:eva:288:hi\0");
        let [(to, bytes)] = &answers[..] else {
            panic!("{answers:?}")
        };
        assert_eq!(*to, at(EVA));
        let packet = IpmsgPacket::parse(bytes).unwrap();
        assert_eq!(packet.command, IpmsgCommand(0x21));
        assert_eq!((packet.user, packet.additional), (&b"adam"[..], &b"7"[..]));
        let shown = if n == 0 { vec!["hi"] } else { vec![] };
        assert_eq!(texts(&mut host), shown);
    }
    assert_eq!(host.counts().duplicates, 2);
}

#[test]
fn fault_e13_a_storm_of_one_message_is_shown_once_and_has_few_answers() {
    let mut host = host("Adam");
    let mut given = 0;
    for _ in 0..10_000 {
        given += answers(&mut host, EVA, b"1:7:eva:eva:288:hi\0").len();
    }
    assert_eq!(texts(&mut host), ["hi"]);
    assert_eq!(given, IPMSG_ACKNOWLEDGEMENTS_MAX as usize);
    // Numbers that are all different: what is remembered of them is bounded, the last ones are known.
    for n in 0..10_000 {
        let bytes = format!("1:{n}:eva:eva:288:hi\0");
        answers(&mut host, EVA, bytes.as_bytes());
    }
    assert_eq!(texts(&mut host).len(), 9_999);
    answers(&mut host, EVA, b"1:9999:eva:eva:288:hi\0");
    assert_eq!(texts(&mut host).len(), 0);
}

#[test]
fn fault_e14_a_flood_of_entries_fills_no_more_than_the_table_and_is_hardly_answered() {
    let mut host = host("Adam");
    let mut given = 0;
    for n in 0..5_000_u32 {
        let from = SocketAddr::new(std::net::Ipv4Addr::from(0x0a00_0000 | n).into(), 2425);
        host.receive(
            Duration::from_millis(5_000 + u64::from(n % 900)),
            from,
            b"1:1:u:h:1:n\0g",
        );
        given += sent(&mut host).len();
        news(&mut host);
    }
    assert_eq!(host.people().count(), IPMSG_PEOPLE_MAX);
    assert_eq!(given, 64);
    assert_eq!(host.counts().unanswered, 5_000 - 64);
    // One source alone is answered four times a second.
    let storm = (0..1_000).map(|_| {
        host.receive(9 * SECOND, at(EVA), b"1:1:u:h:1:n\0g");
        sent(&mut host).len()
    });
    assert_eq!(storm.sum::<usize>(), 4);
}

#[test]
fn fault_e14_the_one_that_was_not_heard_for_longest_goes() {
    let mut host = host("Adam");
    let source = |n: u32| SocketAddr::new(std::net::Ipv4Addr::from(0x0a00_0000 | n).into(), 2425);
    for n in 0..1_025_u32 {
        host.receive(Duration::from_millis(n.into()), source(n), b"1:1:u:h:1:n");
        if n == 1_000 {
            // The first is heard again.
            host.receive(Duration::from_millis(1_000), source(0), b"1:2:u:h:32:n");
        }
    }
    assert!(host.person(source(0)).is_some() && host.person(source(1)).is_none());
    let left = news(&mut host)
        .into_iter()
        .filter_map(|news| match news {
            IpmsgNews::Left(at, _) => Some(at),
            _ => None,
        })
        .collect::<Vec<_>>();
    assert_eq!(left, [source(1)]);
}

#[test]
fn fault_e12_bytes_that_are_no_packet_are_counted_and_met_with_silence() {
    let mut host = host("Adam");
    for bytes in [
        &b""[..],
        b"1:2:u:h",
        b"1:x:u:h:288:t",
        b"\xff\xff\xff",
        b"::::::",
    ] {
        assert_eq!(answers(&mut host, EVA, bytes), []);
    }
    assert_eq!(host.counts().malformed, 5);
    // Modes that nobody knows, and those that are not served: no word.
    for mode in [0x00, 0x05, 0x40, 0x50, 0x72, 0xff] {
        let bytes = format!("1:2:u:h:{mode}:t");
        assert_eq!(answers(&mut host, EVA, bytes.as_bytes()), []);
    }
    assert_eq!(news(&mut host).len(), 0);
}

#[test]
fn fault_e12_an_acknowledgement_may_end_in_a_nul_or_not() {
    for end in ["", "\0", "\0more", ":", "\n"] {
        let mut host = host("Adam");
        let number = host.send(SECOND, at(EVA), "hi", &[], false).unwrap();
        sent(&mut host);
        let bytes = format!("1:9:eva:eva:33:{number}{end}");
        host.receive(SECOND, at(EVA), bytes.as_bytes());
        let news = news(&mut host);
        let [IpmsgNews::Acknowledged { number: of, .. }] = news[..] else {
            panic!("{end:?}: {news:?}")
        };
        assert_eq!((of, host.wakes_at()), (number, None));
    }
}

#[test]
fn fault_e15_a_late_answer_to_an_earlier_message_is_none_to_the_current_one() {
    let mut host = host("Adam");
    let first = host.send(SECOND, at(EVA), "one", &[], false).unwrap();
    for n in 1..=IPMSG_TRIES_MAX {
        host.wake(SECOND + n * IPMSG_RETRY_AFTER);
    }
    let second = host.send(9 * SECOND, at(EVA), "two", &[], false).unwrap();
    assert!(second > first);
    let told = |number: u32, from: &str, host: &mut IpmsgHost| {
        host.receive(
            9 * SECOND,
            at(from),
            format!("1:9:e:e:33:{number}").as_bytes(),
        );
        let news = news(host).into_iter();
        news.filter(|news| matches!(news, IpmsgNews::Acknowledged { .. }))
            .count()
    };
    assert_eq!(told(first, EVA, &mut host), 0);
    // Nor one from somebody else.
    assert_eq!(told(second, "127.0.0.9:2425", &mut host), 0);
    // From another port of the right one: iptux answers from its own.
    assert_eq!(told(second, "127.0.0.1:5000", &mut host), 1);
    assert_eq!(told(second, EVA, &mut host), 0);
}

/// How often a message is sent that nobody answers, and when.
fn tries(settings: IpmsgSettings) -> Vec<Duration> {
    let mut host = IpmsgHost::new(settings, 1);
    let mut now = SECOND;
    let number = host.send(now, at(EVA), "hi", &[], false).unwrap();
    let mut times = vec![];
    // Somebody who never stops would go on for ever.
    for _ in 0..100 {
        times.extend(sent(&mut host).iter().map(|_| now));
        let Some(due) = host.wakes_at() else {
            let news = news(&mut host);
            let [
                IpmsgNews::Unanswered {
                    number: of, tries, ..
                },
            ] = news[..]
            else {
                panic!("{news:?}")
            };
            assert_eq!((of, tries as usize), (number, times.len()));
            return times;
        };
        assert!(due > now);
        now = due;
        host.wake(now);
    }
    panic!("it is sent again and again: {times:?}")
}

#[test]
fn fault_e15_what_nobody_acknowledges_is_sent_four_times_and_given_up() {
    let times = tries(IpmsgSettings::new(me("Adam")));
    assert_eq!(times, [1, 2, 3, 4].map(Duration::from_secs));
    let original = IpmsgSettings {
        retry_after: Duration::from_millis(750),
        tries: 6,
        ..IpmsgSettings::new(me("Adam"))
    };
    assert_eq!(tries(original).len(), 6);
}

#[test]
fn u4_what_goes_to_everybody_or_was_automatic_is_never_answered() {
    let mut host = host("Adam");
    for command in [0x520, 0x2120, 0x100520, 0x102120, 0x720] {
        let bytes = format!("1:{command}:eva:eva:{command}:hi");
        assert_eq!(answers(&mut host, EVA, bytes.as_bytes()), []);
        let news = news(&mut host);
        let [IpmsgNews::Message(message)] = &news[..] else {
            panic!("{news:?}")
        };
        assert!(!message.wants_reading_told);
    }
}

#[test]
fn u4_answers_go_where_the_settings_say() {
    for (reply_to, expected) in [
        (IpmsgReplyTo::Source, &["127.0.0.1:5000"][..]),
        (IpmsgReplyTo::Port, &["127.0.0.1:2425"]),
        (IpmsgReplyTo::Both, &["127.0.0.1:5000", "127.0.0.1:2425"]),
    ] {
        let settings = IpmsgSettings {
            reply_to,
            ..IpmsgSettings::new(me("Adam"))
        };
        let mut host = IpmsgHost::new(settings, 1);
        let answers = answers(&mut host, "127.0.0.1:5000", b"1:7:eva:eva:288:hi");
        let to: Vec<String> = answers.iter().map(|(to, _)| to.to_string()).collect();
        assert_eq!(to, expected);
        host.receive(SECOND, at(EVA), b"1:8:eva:eva:288:hi");
        assert_eq!(sent(&mut host).len(), 1, "the same place twice");
    }
}

#[test]
fn u4_somebody_is_written_to_in_gbk_until_they_show_that_they_read_utf_8() {
    let mut host = host("Adam");
    let written = |host: &mut IpmsgHost| {
        host.send(SECOND, at(EVA), "你好", &[], false).unwrap();
        let (_, bytes) = sent(host).pop().unwrap();
        let packet = IpmsgPacket::parse(&bytes).unwrap();
        let is_utf8 = packet.command.has(IpmsgCommand::UTF8);
        (is_utf8, packet.additional.to_vec())
    };
    let gbk = (false, b"\xc4\xe3\xba\xc3".to_vec());
    let utf8 = (true, "你好".as_bytes().to_vec());
    assert_eq!(written(&mut host), gbk);
    host.receive(SECOND, at(EVA), b"1:1:eva:eva:1:eva\0dev");
    assert_eq!(written(&mut host), gbk);
    // iptux behind its entry.
    host.receive(SECOND, at(EVA), b"1:2:eva:eva:1:eva\0dev\0icon\0utf-8\0");
    assert_eq!(written(&mut host), utf8);
    // It writes GBK after all; and then flagged UTF-8.
    host.receive(SECOND, at(EVA), b"1:3:eva:eva:32:\xc4\xe3");
    assert_eq!(written(&mut host), gbk);
    host.receive(SECOND, at(EVA), b"1:4:eva:eva:8388640:ok");
    assert_eq!(written(&mut host), utf8);
}

#[test]
fn u4_a_text_that_other_programs_would_cut_is_not_sent() {
    let mut host = host("Adam");
    let error = host.send(SECOND, at(EVA), &"x".repeat(8_192), &[], false);
    assert!(matches!(error, Err(SendError::TooLong { max: 8191, .. })));
    assert_eq!(host.wakes_at(), None);
    for _ in 0..IPMSG_UNACKNOWLEDGED_MAX {
        host.send(SECOND, at(EVA), "hi", &[], false).unwrap();
    }
    let error = host.send(SECOND, at(EVA), "hi", &[], false);
    assert_eq!(error, Err(SendError::TooMany));
}

#[test]
fn fault_e5_strangers_are_neither_answered_nor_written_to() {
    let mut host = host("Adam");
    for from in ["8.8.8.8:2425", "[2001:db8::1]:2425", "224.0.0.1:2425"] {
        assert_eq!(answers(&mut host, from, b"1:1:u:h:1:n"), []);
        assert_eq!(answers(&mut host, from, b"1:1:u:h:288:n"), []);
        let error = host.send(SECOND, at(from), "hi", &[], false);
        assert_eq!(error, Err(SendError::Foreign(at(from))));
    }
    assert_eq!((news(&mut host).len(), host.counts().foreign), (0, 6));
    assert_eq!(host.people().count(), 0);
}

#[test]
fn fault_e5_an_answer_is_no_longer_than_what_it_answers() {
    let long = IpmsgEntry {
        user: "a-user-with-a-long-name".into(),
        host: "and.a.host.of.a.long.name".into(),
        nick: "昵称也很长".repeat(4),
        group: "开发".repeat(10),
        encoding: Some(IpmsgEncoding::Utf8),
    };
    let eva = "10.0.0.7:2425";
    for me in [me("Adam"), long] {
        let mut host = IpmsgHost::new(IpmsgSettings::new(me), 1);
        for (n, asked) in [
            b"1:1:u:h:1:n".to_vec(),
            b"1:2:u:h:288:hi".to_vec(),
            b"1:3:u:h:1:n\0g\0icon\0utf-8".to_vec(),
            [&b"1:4:u:h:1:n\0"[..], &[b'g'; 500]].concat(),
        ]
        .into_iter()
        .enumerate()
        {
            let answers = answers(&mut host, eva, &asked);
            for (_, answer) in &answers {
                assert!(answer.len() <= asked.len().max(64), "{n}");
            }
            // A message is acknowledged whatever the names are.
            assert!(n != 1 || answers.len() == 1);
        }
    }
}

#[test]
fn u4_a_broadcast_of_ours_that_comes_back_is_nobody() {
    let mut host = host("Adam");
    host.enter(&[at("10.0.0.255:2425")]);
    let (_, entry) = sent(&mut host).pop().unwrap();
    host.leave(SECOND);
    let (_, exit) = sent(&mut host).pop().unwrap();
    for bytes in [entry, exit] {
        assert_eq!(answers(&mut host, "10.0.0.3:2425", &bytes), []);
    }
    assert_eq!(news(&mut host).len(), 0);
    // Another program of the same user on the same machine is somebody.
    host.receive(SECOND, at("10.0.0.3:2425"), b"1:5:adam:Adam-pc:1:Adam");
    assert_eq!(news(&mut host).len(), 1);
}

#[test]
fn u4_an_exit_is_said_twice_wherever_somebody_was_told_of_the_entry() {
    let mut host = host("Adam");
    host.enter(&[at("10.0.0.255:2425")]);
    host.receive(SECOND, at("10.0.0.7:2425"), b"1:1:u:h:3:n");
    sent(&mut host);
    host.leave(SECOND);
    let first = sent(&mut host);
    let to: Vec<String> = first.iter().map(|(to, _)| to.to_string()).collect();
    assert_eq!(to, ["10.0.0.255:2425", "10.0.0.7:2425"]);
    assert_eq!(host.wakes_at(), Some(SECOND + IPMSG_EXIT_AGAIN));
    host.wake(SECOND);
    assert_eq!(sent(&mut host), []);
    host.wake(SECOND + IPMSG_EXIT_AGAIN);
    assert_eq!(sent(&mut host), first);
    assert_eq!(host.wakes_at(), None);
}

#[test]
fn u4_a_reading_is_told_and_its_telling_acknowledged() {
    let (mut adam, mut eva) = (host("Adam"), host("Eva"));
    let (here, there) = (at("127.0.0.1:2425"), at("127.0.0.2:2425"));
    let number = adam.send(SECOND, there, "sealed", &[], true).unwrap();
    let (_, bytes) = sent(&mut adam).pop().unwrap();
    eva.receive(SECOND, here, &bytes);
    let [IpmsgNews::Message(message)] = &news(&mut eva)[..] else {
        panic!()
    };
    assert!(message.wants_reading_told);
    eva.read(SECOND, message);
    for (_, bytes) in sent(&mut eva) {
        adam.receive(SECOND, there, &bytes);
    }
    let told = news(&mut adam);
    assert!(matches!(told[0], IpmsgNews::Acknowledged { number: n, .. } if n == number));
    assert!(matches!(told[1], IpmsgNews::WasRead { number: n, .. } if n == number));
    assert!(eva.wakes_at().is_some());
    for (_, bytes) in sent(&mut adam) {
        eva.receive(SECOND, here, &bytes);
    }
    assert_eq!(eva.wakes_at(), None);
    // Of what was never sent there nobody can say that it was read.
    assert_eq!(
        answers(&mut adam, "127.0.0.2:2425", b"1:9:e:e:1048624:5"),
        []
    );
    assert_eq!(news(&mut adam).len(), 0);
}

/// A network of hosts, by address.
struct Net {
    hosts: BTreeMap<SocketAddr, IpmsgHost>,
    now: Duration,
    /// When it arrives, from where, to where.
    on_the_way: Vec<(Duration, SocketAddr, SocketAddr, Vec<u8>)>,
    random: u64,
    /// Of a thousand.
    lost: u64,
    doubled: u64,
    carried: usize,
}

impl Net {
    fn random(&mut self, below: u64) -> u64 {
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) % below
    }

    fn carry(&mut self) {
        let mut all = Vec::new();
        for (from, host) in &mut self.hosts {
            all.extend(sent(host).into_iter().map(|(to, bytes)| (*from, to, bytes)));
        }
        for (from, to, bytes) in all {
            self.carried += 1;
            let times = if self.random(1000) < self.lost {
                0
            } else {
                1 + usize::from(self.random(1000) < self.doubled)
            };
            for _ in 0..times {
                // Longer than a retry is apart, now and then.
                let late = Duration::from_millis(self.random(1_400));
                self.on_the_way
                    .push((self.now + late, from, to, bytes.clone()));
            }
        }
    }

    /// Whether something was still to happen.
    fn step(&mut self) -> bool {
        self.carry();
        let arrival = self.on_the_way.iter().map(|(at, ..)| *at).min();
        let wakes = self.hosts.values().filter_map(IpmsgHost::wakes_at).min();
        let Some(next) = arrival.into_iter().chain(wakes).min() else {
            return false;
        };
        self.now = self.now.max(next);
        let now = self.now;
        let (arrived, later) = std::mem::take(&mut self.on_the_way)
            .into_iter()
            .partition(|(at, ..)| *at <= now);
        self.on_the_way = later;
        let arrived: Vec<_> = arrived;
        for (_, from, to, bytes) in arrived {
            if let Some(host) = self.hosts.get_mut(&to) {
                host.receive(now, from, &bytes);
            }
        }
        for host in self.hosts.values_mut() {
            host.wake(now);
        }
        true
    }
}

proptest! {
    #[test]
    fn fault_e15_what_is_acknowledged_was_shown_once_whatever_the_network_does(
        seed: u64, lost in 0..600_u64, doubled in 0..500_u64,
    ) {
        let places = ["127.0.0.1:2425", "127.0.0.2:2425", "127.0.0.3:2425"].map(at);
        let hosts = places.iter().zip(["Adam", "Eva", "Kain"]).map(|(at, nick)| (*at, host(nick)));
        let mut net = Net {
            hosts: hosts.collect(), now: SECOND, on_the_way: vec![], random: seed, lost, doubled, carried: 0,
        };
        for from in places {
            net.hosts.get_mut(&from).unwrap().enter(&places.map(|at| at).into_iter().filter(|at| *at != from).collect::<Vec<_>>());
        }
        let mut texts = BTreeMap::new();
        for n in 0..12 {
            let from = places[n % 3];
            let to = places[(n + 1 + n / 6) % 3];
            if from == to {
                continue;
            }
            let now = net.now;
            let text = format!("message {n}");
            let number = net.hosts.get_mut(&from).unwrap().send(now, to, &text, &[], n % 4 == 0).unwrap();
            texts.insert((from, number), (to, text));
            net.step();
        }
        let (mut shown, mut acknowledged, mut given_up) = (BTreeMap::new(), vec![], vec![]);
        let mut steps = 0;
        loop {
            let now = net.now;
            for (at, host) in &mut net.hosts {
                for news in news(host) {
                    match news {
                        IpmsgNews::Message(message) => {
                            let of = texts.get(&(message.from, message.number)).cloned();
                            prop_assert_eq!(of, Some((*at, message.text.clone())));
                            *shown.entry((message.from, message.number)).or_insert(0) += 1;
                            if message.wants_reading_told {
                                host.read(now, &message);
                            }
                        }
                        IpmsgNews::Acknowledged { number, .. } => acknowledged.push((*at, number)),
                        IpmsgNews::Unanswered { number, .. } => given_up.push((*at, number)),
                        _ => {}
                    }
                }
            }
            if !net.step() {
                break;
            }
            steps += 1;
            // Everything comes to an end, and soon: nothing is sent for ever, nothing answers answers.
            prop_assert!(steps < 2_000);
        }
        prop_assert!(net.now < 30 * SECOND);
        prop_assert!(net.carried < 400, "{} datagrams", net.carried);
        for times in shown.values() {
            prop_assert_eq!(*times, 1);
        }
        for of in &acknowledged {
            prop_assert!(shown.contains_key(of) && !given_up.contains(of));
        }
        prop_assert_eq!(acknowledged.len() + given_up.len(), texts.len());
        if lost == 0 {
            prop_assert_eq!(shown.len(), texts.len());
        }
    }

    #[test]
    fn fault_e12_no_datagram_is_a_panic_or_answered_by_more_than_one(bytes in prop_oneof![
        prop::collection::vec(any::<u8>(), 0..300),
        "1:[0-9]{1,9}:[a-z]{0,3}:h:[0-9]{1,8}:[^:]{0,40}".prop_map(String::into_bytes),
    ]) {
        let mut host = host("Adam");
        prop_assert!(answers(&mut host, EVA, &bytes).len() <= 1);
    }
}
