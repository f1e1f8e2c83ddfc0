//! The gate before every service of the table, and how long it takes to say no.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use jiff::tz::TimeZone;

use onepoll::config::{Limits, random_bytes};
use onepoll::endpoint::Endpoint;
use onepoll::service::rehearsal::Stage;
use onepoll::service::{Gate, ProofOf, SERVICES, Secrets, Service, Setting, Terms};
use onepoll::turn::{ConnId, Fault};
use onepoll::wire::{Challenge, Digest, HmacKey, Secret};

fn secret() -> Secret {
    Secret::new(b"a secret of the tests".to_vec()).unwrap()
}

/// Each service of connections, a request, and what its answer has in it.
const SERVED: [(&str, &[u8], &[u8]); 14] = [
    ("echo", b"hello", b"hello"),
    ("discard", b"hello", b""),
    ("upper", b"hello", b"HELLO"),
    ("greeting?greeting=welcome", b"", b"welcome"),
    ("chat", b"/who\n", b"* in lobby: guest-"),
    ("command?framing=raw", b"uname\n", b""),
    (
        "file?root=/nowhere",
        b"\x1f\0\0\0{\"file_name\":\"a\",\"file_size\":1}x",
        b"the root was not opened",
    ),
    ("talk", b"hello\n", b"* nobody is here"),
    // A file that was never offered: the connection ends.
    ("ipmsg", b"1:5:eva:eva:96:7:0:0:\0", b""),
    ("time", b"%Y\n", b"1970\n"),
    ("daytime", b"", b"1970"),
    ("time868", b"", &[0x83, 0xaa, 0x7e, 0x80]),
    ("chargen", b"", b"!\"#$"),
    (
        "metrics",
        b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n",
        b"200 OK",
    ),
];

fn stage(name: &str, digest: Digest) -> Stage<Gate> {
    let (service, options) = name.split_once('?').unwrap_or((name, ""));
    let endpoint: Endpoint = format!("{service}+unix:///nowhere?{options}")
        .trim_end_matches('?')
        .parse()
        .unwrap();
    let setting = Setting {
        limits: &Limits::default(),
        zone: &TimeZone::UTC,
        is_open: false,
        bus: None,
    };
    let service = endpoint.service(&setting, None).unwrap();
    let secrets = Secrets::new(&[secret()], digest, ProofOf::Challenge).unwrap();
    let mut stage = Stage::new(Gate::new(service, secrets, Box::new(random_bytes)));
    stage.set_wall(SystemTime::UNIX_EPOCH);
    // A value that endpoints may share asks each listener's terms: this one has none of its own.
    stage.service.listens(0, &Terms::default());
    stage
}

/// A client, and what proves the secret for it.
fn challenged(stage: &mut Stage<Gate>, digest: Digest) -> (ConnId, Vec<u8>) {
    let client = stage.enters();
    let challenge: Challenge = stage.hears(client).try_into().expect("a challenge alone");
    let proof = HmacKey::new(&secret(), digest).prove(&challenge);
    (client, proof.as_ref().to_vec())
}

#[test]
fn fault_d12_every_service_at_every_truncation_of_the_proof() {
    let all: BTreeSet<&str> = SERVICES
        .iter()
        .filter(|row| row.stream.is_some())
        .map(|row| row.name)
        .collect();
    let tried = SERVED.map(|(name, ..)| name.split('?').next().unwrap());
    assert_eq!(BTreeSet::from(tried), all);
    for (name, request, answer) in SERVED {
        for digest in [Digest::Sha256, Digest::Md5] {
            let mut stage = stage(name, digest);
            for cut in 0..digest.bytes() {
                // Half a proof, and then time, the end, or the server's.
                let (client, proof) = challenged(&mut stage, digest);
                stage.says(client, &proof[..cut]);
                stage.waits(Duration::from_secs(5));
                assert_eq!(stage.hears(client), b"", "{name}: {cut}");
                assert_eq!(stage.unread(client), &proof[..cut]);
                stage.ends(client);
                assert!(stage.is_leaving(client));
                assert_eq!(stage.hears(client), b"", "{name}: {cut}");
                assert_eq!(stage.job(client), None);
                stage.leaves(client);
                // A byte that is wrong, and a request behind it.
                let (client, mut proof) = challenged(&mut stage, digest);
                proof[cut] ^= 0x80;
                stage.says(client, &[&proof[..], request].concat());
                assert_eq!(
                    stage.fault(client),
                    Some(Fault::WrongProof),
                    "{name}: {cut}"
                );
                assert_eq!(stage.hears(client), b"", "{name}: {cut}");
                assert_eq!(
                    (stage.job(client), stage.has_logged_in(client)),
                    (None, false)
                );
                stage.leaves(client);
            }
            // The right one, with the request behind it, and cut at every byte.
            for cut in 0..=digest.bytes() + request.len() {
                let (client, proof) = challenged(&mut stage, digest);
                let said = [&proof[..], request].concat();
                stage.says(client, &said[..cut]);
                stage.says(client, &said[cut..]);
                stage.waits(Duration::from_secs(1));
                assert!(stage.has_logged_in(client));
                let mut heard = stage.hears(client);
                heard.extend(stage.hears(client));
                let holds = heard
                    .windows(answer.len().max(1))
                    .any(|part| part == answer);
                assert!(
                    holds || answer.is_empty() && heard.is_empty(),
                    "{name}, cut at {cut}: {:?}",
                    String::from_utf8_lossy(&heard)
                );
                let is_command = name.starts_with("command");
                assert_eq!(stage.job(client).is_some(), is_command, "{name}: {cut}");
                stage.leaves(client);
            }
        }
    }
}

/// How the times of two kinds differ, by Welch's test: the difference of their means in standard errors
/// of it. Below 4.5 nothing was found, as in dudect (Reparaz and others, 2017). The slowest tenth is left
/// out: what else the machine did meanwhile.
fn t_of(times: &[Vec<u64>; 2]) -> f64 {
    let mut all: Vec<u64> = times.concat();
    all.sort_unstable();
    let longest = all[all.len() * 9 / 10];
    let moments = times.each_ref().map(|times| {
        let kept = times.iter().filter(|time| **time <= longest);
        let kept: Vec<f64> = kept.map(|time| *time as f64).collect();
        let n = kept.len() as f64;
        let mean = kept.iter().sum::<f64>() / n;
        let variance = kept.iter().map(|time| (time - mean).powi(2)).sum::<f64>() / (n - 1.0);
        (mean, variance / n)
    });
    let [(one, of_one), (other, of_other)] = moments;
    (one - other) / (of_one + of_other).sqrt()
}

/// Times so many refusals of a proof whose first byte is wrong, and of one whose last is, in random order.
#[expect(clippy::disallowed_methods, reason = "a stopwatch")]
fn time_refusals(digest: Digest, samples: usize) -> f64 {
    let (key, challenge) = (HmacKey::new(&secret(), digest), [0x5a; 32]);
    let right = key.prove(&challenge).as_ref().to_vec();
    let kinds = [0, right.len() - 1].map(|wrong| {
        let mut proof = right.clone();
        proof[wrong] ^= 1;
        proof
    });
    let mut times = [const { Vec::new() }; 2];
    // Both kinds lie at the same place when they are judged.
    let mut proof = right.clone();
    let mut state: u64 = 0x9e37_79b9_7f4a_7c15;
    for n in 0..samples + samples / 100 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let kind = usize::from(state & 1 == 1);
        proof.copy_from_slice(&kinds[kind]);
        let began = std::time::Instant::now();
        let is_right = key.verify(&[&challenge], &proof);
        let took = began.elapsed();
        assert!(!is_right);
        // The first warm the caches.
        if n >= samples / 100 {
            times[kind].push(u64::try_from(took.as_nanos()).unwrap());
        }
    }
    t_of(&times)
}

#[test]
fn fault_d14_a_comparison_does_not_stop_at_the_first_difference() {
    // Few samples, so a bound above what chance brings on a busy machine; one that stops has a t of 20 and more.
    for digest in [Digest::Sha256, Digest::Md5] {
        let t = time_refusals(digest, 20_000);
        assert!(t.abs() < 10.0, "{digest}: t = {t:.2}");
    }
}

#[test]
#[ignore = "a million samples, for a machine that has nothing else to do, and a release build"]
fn fault_d14_timing() {
    let samples = std::env::var("ONEPOLL_TIMING_SAMPLES");
    let samples = samples.map_or(1_000_000, |samples| samples.parse().expect("a number"));
    for digest in [Digest::Sha256, Digest::Md5] {
        let t = time_refusals(digest, samples);
        println!(
            "{digest}, first byte wrong against last byte wrong, {samples} samples: t = {t:.2}"
        );
        assert!(t.abs() < 4.5, "{digest}: t = {t:.2}");
    }
}
