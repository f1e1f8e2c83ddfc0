//! IPMSG in the loop (U4), in virtual time: people who write to the service over a network that loses, doubles and
//! delays what they and it say.
//!
//! The people are hosts of the folder `ipmsg`, as the clients are; the service is one, too, with a socket of the
//! simulated kernel.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use onepoll::ipmsg::{
    IPMSG_ACKNOWLEDGEMENTS_MAX, IPMSG_TRIES_MAX, IpmsgHost, IpmsgNews, IpmsgSettings,
};
use onepoll::service::Ipmsg;
use onepoll::service::ipmsg::Options;
use onepoll::wire::{IpmsgCommand, IpmsgEntry, IpmsgPacket};

use crate::play::Play;
use crate::random::Random;

/// How much time passes between two looks at the network.
const STEP: Duration = Duration::from_millis(50);

/// By then every seed is at rest: four tries, and what answers them.
const STEPS_MAX: u32 = 400;

fn seeds() -> u64 {
    let asked = std::env::var("ONEPOLL_SIM_SEEDS").ok();
    asked.and_then(|n| n.parse().ok()).unwrap_or(150)
}

fn place(n: usize) -> SocketAddr {
    (Ipv4Addr::new(127, 0, 0, 10 + n as u8), 2425).into()
}

fn person(n: usize) -> IpmsgHost {
    let entry = IpmsgEntry {
        user: format!("user-{n}"),
        host: format!("pc-{n}"),
        nick: format!("人{n}"),
        group: String::new(),
        encoding: None,
    };
    IpmsgHost::new(IpmsgSettings::new(entry), 1_764_275_400)
}

/// A datagram that will arrive: when, between whom, and what it is. `None` is the service.
struct OnTheWay {
    at: u32,
    from: Option<usize>,
    to: Option<usize>,
    bytes: Vec<u8>,
}

fn one_seed(seed: u64) {
    let mut random = Random::new(seed);
    let (lost, doubled) = (random.below(120) as u8, random.below(120) as u8);
    let people_count = random.some(4);
    let mut people: Vec<IpmsgHost> = (0..people_count).map(person).collect();
    let mut play = Play::directed();
    let socket = play.answer(Ipmsg::new(&Options::default()));
    play.run();
    let mut on_the_way: Vec<OnTheWay> = Vec::new();
    // By person and number: what was sent, acknowledged and given up; how often each came back as acknowledged, and
    // how often its reading was told.
    let mut sent = BTreeMap::new();
    let mut told_reading: BTreeMap<Vec<u8>, u32> = BTreeMap::new();
    let mut acknowledgements: BTreeMap<(usize, Vec<u8>), u32> = BTreeMap::new();
    let mut rests = 0;
    for step in 0.. {
        assert!(step < STEPS_MAX, "seed {seed}: it goes on and on");
        let now = STEP * step;
        for (n, person) in people.iter_mut().enumerate() {
            if step == 0 {
                person.enter(&[place(99)]);
            }
            if step < 40 && random.once_in(8) {
                let is_read = random.once_in(3);
                let text = format!("文 {step}");
                let number = person.send(now, place(99), &text, &[], is_read).unwrap();
                sent.insert((n, number), (false, false, is_read));
            }
            person.wake(now);
            while let Some((_, bytes)) = person.take_datagram() {
                carry(
                    &mut random,
                    &mut on_the_way,
                    step,
                    lost,
                    doubled,
                    OnTheWay {
                        at: step,
                        from: Some(n),
                        to: None,
                        bytes,
                    },
                );
            }
        }
        let (arrived, later) = on_the_way.into_iter().partition(|one| one.at <= step);
        on_the_way = later;
        let arrived: Vec<OnTheWay> = arrived;
        for one in &arrived {
            match (one.from, one.to) {
                (Some(n), _) => play.os.net(|net| net.post(socket, &one.bytes, place(n))),
                (None, Some(n)) => people[n].receive(now, place(99), &one.bytes),
                (None, None) => {}
            }
        }
        play.pass(STEP);
        let said = play
            .os
            .net(|net| std::mem::take(&mut net.datagrams[socket].outbox));
        let mut is_silent = said.is_empty() && arrived.is_empty() && on_the_way.is_empty();
        for (bytes, to) in said {
            let n = (0..people_count).find(|n| place(*n) == to).unwrap();
            let packet = IpmsgPacket::parse(&bytes).unwrap();
            match packet.command.mode() {
                IpmsgCommand::RECEIVED => {
                    *acknowledgements
                        .entry((n, packet.additional.to_vec()))
                        .or_insert(0) += 1;
                }
                IpmsgCommand::READ => *told_reading.entry(bytes.clone()).or_insert(0) += 1,
                IpmsgCommand::ANSWER_TO_ENTRY => {}
                mode => panic!("seed {seed}: it says {mode:#x} unasked"),
            }
            carry(
                &mut random,
                &mut on_the_way,
                step,
                lost,
                doubled,
                OnTheWay {
                    at: step,
                    from: None,
                    to: Some(n),
                    bytes,
                },
            );
        }
        for (n, person) in people.iter_mut().enumerate() {
            while let Some(news) = person.take_news() {
                match news {
                    IpmsgNews::Acknowledged { number, .. } => {
                        let (acknowledged, given_up, _) = sent.get_mut(&(n, number)).unwrap();
                        assert!(!*acknowledged && !*given_up, "seed {seed}");
                        *acknowledged = true;
                    }
                    IpmsgNews::Unanswered { number, tries, .. } => {
                        let (acknowledged, given_up, _) = sent.get_mut(&(n, number)).unwrap();
                        assert!(!*acknowledged && !*given_up, "seed {seed}");
                        assert_eq!(tries, IPMSG_TRIES_MAX);
                        *given_up = true;
                    }
                    IpmsgNews::WasRead { number, .. } => {
                        assert!(sent[&(n, number)].2, "seed {seed}: it was not asked for");
                    }
                    _ => {}
                }
            }
            is_silent &= person.wakes_at().is_none();
        }
        rests = if is_silent { rests + 1 } else { 0 };
        // The service may still have a reading to tell again: a second apart.
        if rests > 25 && step >= 40 {
            break;
        }
    }
    for ((n, number), (acknowledged, given_up, _)) in &sent {
        assert!(acknowledged ^ given_up, "seed {seed}: {n} {number}");
        assert!(
            *acknowledged || lost > 0,
            "seed {seed}: nothing was lost, and it did not come"
        );
    }
    for times in acknowledgements.values() {
        assert!(
            *times <= IPMSG_ACKNOWLEDGEMENTS_MAX,
            "seed {seed}: {times} answers"
        );
    }
    for times in told_reading.values() {
        assert!(*times <= IPMSG_TRIES_MAX, "seed {seed}: told {times} times");
    }
    // At rest: nothing wakes it, whatever time passes.
    let turns = play.counters().turns;
    play.pass(Duration::from_secs(3600));
    assert!(play.counters().turns - turns <= 2, "seed {seed}");
}

/// Loses it, or lets it arrive, once or twice, some time from now.
fn carry(
    random: &mut Random,
    on_the_way: &mut Vec<OnTheWay>,
    step: u32,
    lost: u8,
    doubled: u8,
    one: OnTheWay,
) {
    if random.chance(lost) {
        return;
    }
    for _ in 0..1 + usize::from(random.chance(doubled)) {
        // Later than the next try, now and then: in another order.
        let late = random.size(30) as u32;
        on_the_way.push(OnTheWay {
            at: step + 1 + late,
            bytes: one.bytes.clone(),
            ..one
        });
    }
}

#[test]
fn fault_e13_e15_seeds_of_ipmsg_end_and_acknowledge_what_came() {
    let only = std::env::var("ONEPOLL_SIM_SEED").ok();
    match only.and_then(|seed| seed.parse().ok()) {
        Some(seed) => one_seed(seed),
        None => (0..seeds()).for_each(one_seed),
    }
}

#[test]
fn fault_e9_a_flood_of_messages_takes_no_more_than_its_budget_of_a_turn() {
    let mut play = Play::directed();
    let socket = play.answer(Ipmsg::new(&Options::default()));
    play.run();
    let turns = play.counters().turns;
    for n in 0..6_400 {
        let bytes = format!("1:{n}:u:h:288:flood\0");
        play.os
            .net(|net| net.post(socket, bytes.as_bytes(), place(0)));
    }
    play.os.net(|net| net.bounds.datagrams = 64);
    play.run();
    // 64 in a turn, each acknowledged once: to loopback, up to 1,000 a second to a port that is no client's.
    assert!(play.counters().turns - turns >= 100);
    let said = play
        .os
        .net(|net| std::mem::take(&mut net.datagrams[socket].outbox));
    assert!(said.len() <= 1_000, "{} answers", said.len());
    assert_eq!(
        said.len() as u64 + play.counters().datagrams_unanswerable,
        6_400
    );
}
