use super::*;
use crate::service::{Echo, Gate, ProofOf, Secrets};
use crate::turn::Moment;
use crate::wire::{CHALLENGE_BYTES, Challenge, Digest, HmacKey, Secret};

const LOGIN: Duration = Duration::from_secs(10);

fn secret() -> Secret {
    Secret::new(b"a secret of the tests".to_vec()).unwrap()
}

/// Echo behind a gate, whose challenges count from 1.
fn gate() -> Gate {
    let secrets = Secrets::new(&[secret()], Digest::Sha256, ProofOf::Challenge).unwrap();
    let mut n = 0;
    let challenges = move || {
        n += 1;
        Ok([n; CHALLENGE_BYTES])
    };
    Gate::new(Box::new(Echo), secrets, Box::new(challenges))
}

fn gated(limits: Limits) -> (World, usize) {
    let mut world = World::with(limits);
    let listener = world.serves(gate());
    (world, listener)
}

/// What proves the secret on the connection that was just accepted.
fn proof(world: &mut World, wire: usize) -> Vec<u8> {
    let heard = std::mem::take(&mut world.os().wires[wire].heard);
    let challenge: Challenge = heard.try_into().expect("a challenge, and nothing else");
    let key = HmacKey::new(&secret(), Digest::Sha256);
    key.prove(&challenge).as_ref().to_vec()
}

#[track_caller]
fn logs_in(world: &mut World, listener: usize) -> usize {
    let wire = world.dials(listener);
    let proof = proof(world, wire);
    world.says(wire, [&proof[..], b"hello"].concat());
    assert_eq!(world.hears(wire), "hello");
    wire
}

#[test]
fn fault_d3_the_deadline_counts_from_accept_and_nothing_puts_it_off() {
    let (mut world, listener) = gated(Limits::default());
    let admitted = logs_in(&mut world, listener);
    let (silent, slow) = (world.dials(listener), world.dials(listener));
    let proof = proof(&mut world, slow);
    // A byte every 400 ms, all of them of the right proof: it is not whole in time.
    for byte in &proof[..24] {
        world.passes(400 * MS);
        world.says(slow, [*byte]);
    }
    world.passes(LOGIN - 24 * 400 * MS - MS);
    assert!(world.is_open(silent) && world.is_open(slow));
    world.passes(MS);
    assert!(!world.is_open(silent) && !world.is_open(slow));
    world.passes(SECOND);
    let counters = world.reactor.counters();
    assert_eq!(counters.closed.login_timeout, 2);
    assert_eq!((counters.not_logged_in, counters.connections), (0, 1));
    assert_eq!(world.hears(slow), "", "and nothing was said to it");
    // One that has logged in has no such deadline.
    world.passes(10 * LOGIN);
    world.says(admitted, "still here");
    assert_eq!(world.hears(admitted), "still here");
}

#[test]
fn a_proof_in_the_last_moment_is_in_time() {
    let (mut world, listener) = gated(Limits::default());
    let wire = world.dials(listener);
    let proof = proof(&mut world, wire);
    world.passes(LOGIN - MS);
    world.says(wire, [&proof[..], b"in time"].concat());
    world.passes(LOGIN);
    assert_eq!(world.hears(wire), "in time");
}

#[test]
fn an_idle_timeout_begins_with_the_login() {
    let mut world = World::new();
    let listener = world.serves_with(gate(), |listener| listener.idle = Some(SECOND));
    let silent = world.dials(listener);
    world.passes(2 * SECOND);
    assert!(world.is_open(silent), "its deadline is another");
    let proof = proof(&mut world, silent);
    world.says(silent, &proof);
    world.passes(SECOND - MS);
    assert!(world.is_open(silent));
    world.passes(2 * MS);
    assert!(!world.is_open(silent));
    world.passes(3 * SECOND);
    assert_eq!(world.reactor.counters().closed.idle, 1);
}

#[test]
fn fault_d3_those_that_have_not_logged_in_have_a_limit_of_their_own_over_all_listeners() {
    let limits = Limits {
        not_logged_in: 3,
        ..Limits::default()
    };
    let mut world = World::with(limits);
    let listeners = [world.serves(gate()), world.serves(gate())];
    let plain = world.serves(Echo);
    let admitted: Vec<usize> = (0..10)
        .map(|n| logs_in(&mut world, listeners[n % 2]))
        .collect();
    let waiting: Vec<usize> = (0..3).map(|n| world.dials(listeners[n % 2])).collect();
    assert_eq!(world.reactor.counters().not_logged_in, 3);
    for listener in listeners {
        let refused = world.dials(listener);
        assert!(!world.is_open(refused));
        assert_eq!(
            world.hears(refused),
            "",
            "it would be taken for the challenge"
        );
    }
    assert_eq!(world.reactor.counters().refused.logins_full, 2);
    // They take no place from those that need not log in.
    let free = world.dials(plain);
    world.says(free, "free");
    assert_eq!(world.hears(free), "free");
    // Whoever logs in, or goes away, makes room for another.
    let right = proof(&mut world, waiting[0]);
    world.says(waiting[0], &right);
    world.os().resets(waiting[1]);
    world.settles();
    assert_eq!(world.reactor.counters().not_logged_in, 1);
    let mut more = || {
        let wire = world.dials(listeners[0]);
        world.is_open(wire)
    };
    assert_eq!([more(), more(), more()], [true, true, false]);
    for wire in admitted {
        world.says(wire, "still here");
        assert_eq!(world.hears(wire), "still here");
    }
}

#[test]
fn those_that_have_not_logged_in_stay_where_the_limit_on_them_is_lowered() {
    let (mut world, listener) = gated(Limits::default());
    let wires = [0; 3].map(|_| world.dials(listener));
    let narrow = Limits {
        not_logged_in: 1,
        ..Limits::default()
    };
    world.reactor.change_limits(narrow, usize::MAX);
    world.settles();
    assert!(wires.iter().all(|&wire| world.is_open(wire)));
    let one_more = world.dials(listener);
    assert!(!world.is_open(one_more));
    assert_eq!(world.reactor.counters().refused.logins_full, 1);
}

#[test]
fn a_wrong_proof_is_counted_as_one_and_lingers_without_a_word() {
    let (mut world, listener) = gated(Limits::default());
    let wire = world.dials(listener);
    let mut proof = proof(&mut world, wire);
    proof[31] ^= 1;
    proof.extend_from_slice(b"a request");
    world.says(wire, &proof);
    assert!(!world.is_open(wire));
    // Until it has gone it has not logged in.
    assert_eq!(world.reactor.counters().not_logged_in, 1);
    world.os().ends(wire);
    world.settles();
    let counters = world.reactor.counters();
    assert_eq!((counters.closed.wrong_proof, counters.logged_in), (1, 0));
    assert_eq!(counters.not_logged_in, 0);
    assert_eq!(world.hears(wire), "");
}

#[test]
fn fault_d18_secrets_are_replaced_while_the_loop_runs() {
    let mut world = World::new();
    let service = world.reactor.add(Box::new(gate()));
    let socket = world.reactor.os.listener();
    let options = ListenerOptions::to(service);
    world.reactor.listen(socket, options).unwrap();
    let listener = socket;
    let before = logs_in(&mut world, listener);
    let other = Secret::new(b"another secret of the tests".to_vec()).unwrap();
    let other = Secrets::new(&[other], Digest::Sha256, ProofOf::Challenge).unwrap();
    assert!(world.reactor.replace_secrets(service, &other));
    let wire = world.dials(listener);
    let old = proof(&mut world, wire);
    world.says(wire, &old);
    assert!(!world.is_open(wire), "the old one is good no more");
    world.says(before, "still here");
    assert_eq!(world.hears(before), "still here");
    let plain = world.reactor.add(Box::new(Echo));
    assert!(!world.reactor.replace_secrets(plain, &other));
}

#[test]
fn a_drain_does_not_wait_for_those_that_have_not_logged_in() {
    let (mut world, listener) = gated(Limits::default());
    let wire = world.dials(listener);
    world.reactor.stop();
    world.passes(3 * SECOND);
    assert!(!world.is_open(wire) && world.reactor.is_stopped());
    assert!(world.os().now < Moment::START.after(4 * SECOND));
}
