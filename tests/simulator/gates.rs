//! A gate before some services of a seed, and how clients answer it.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use onepoll::buf::ReadBuf;
use onepoll::reactor::{Look, State};
use onepoll::service::{ChallengeSource, Gate, Manner, Peer, ProofOf, Secrets, Service, Terms};
use onepoll::turn::{Broadcast, BroadcastTurn, ChildEvent, Closed, ConnId, Fault, Moment, Turn};
use onepoll::wire::{CHALLENGE_BYTES, Digest, HmacKey, Secret};

use crate::kernel::{Found, MILLI, Net, SimOs, link_of};
use crate::occasions::Occasion;
use crate::random::Random;

/// Secrets that are accepted at once: each change adds one, and takes the oldest away.
const SECRETS: u64 = 2;

fn secret(number: u64) -> Secret {
    let content = format!("the secret of day {number}").into_bytes();
    Secret::new(content).expect("it is long enough")
}

/// What a gate accepts after so many changes.
pub(crate) fn secrets(generation: u64) -> Secrets {
    let all: Vec<Secret> = (generation..generation + SECRETS).map(secret).collect();
    Secrets::new(&all, Digest::Sha256, ProofOf::Challenge).expect("there are some")
}

/// A gate before a service, with challenges from the seed.
pub(crate) fn gate(
    inside: impl Service + 'static,
    mut random: Random,
    insiders: Insiders,
    os: SimOs,
) -> Gate {
    let challenges: ChallengeSource =
        Box::new(move || Ok(std::array::from_fn(|_| random.next() as u8)));
    let inside = Box::new(Within {
        service: Box::new(inside),
        insiders,
        ids: BTreeSet::new(),
        os,
    });
    Gate::new(inside, secrets(0), challenges)
}

/// What proves one of its secrets.
pub(crate) fn right_proof(challenge: &[u8]) -> Vec<u8> {
    let challenge = challenge.try_into().expect("it is whole");
    let key = HmacKey::new(&secret(0), Digest::Sha256);
    key.prove(&challenge).as_ref().to_vec()
}

/// Connections that services behind gates were told of.
#[derive(Debug, Clone, Default)]
pub(crate) struct Insiders {
    ids: Rc<RefCell<BTreeSet<ConnId>>>,
    /// Until when a connection has to log in, as it was first seen.
    dues: Rc<RefCell<BTreeMap<ConnId, Moment>>>,
}

impl Insiders {
    /// I8: no service was told of one that has not logged in; and no byte puts its deadline off (I4).
    pub(crate) fn check(&self, looks: impl Iterator<Item = Look>, now: Moment) {
        let mut dues = self.dues.borrow_mut();
        let mut seen = BTreeSet::new();
        for look in looks.filter(|look| look.state == State::LoggingIn) {
            assert!(
                !self.ids.borrow().contains(&look.id),
                "I8: its service was told of {look:?}"
            );
            seen.insert(look.id);
            let due = *dues.entry(look.id).or_insert(look.due);
            // What came in time is looked at first, a millisecond later.
            let most = due.max(now.after(std::time::Duration::from_nanos(MILLI)));
            assert!(look.due <= most, "I4: put off from {due:?}: {look:?}");
        }
        dues.retain(|id, _| seen.contains(id));
    }
}

/// A service behind a gate: it is told of a connection first that it is there.
#[derive(Debug)]
struct Within {
    service: Box<dyn Service>,
    insiders: Insiders,
    /// Its own.
    ids: BTreeSet<ConnId>,
    os: SimOs,
}

impl Within {
    fn of(&mut self, t: &Turn<'_>) -> &mut dyn Service {
        let is_inside = self.ids.contains(&t.id);
        assert!(is_inside, "I8: {:?} was not let in", t.id);
        &mut *self.service
    }
}

impl Service for Within {
    fn open(&mut self, t: &mut Turn<'_>, peer: &Peer) {
        self.insiders.ids.borrow_mut().insert(t.id);
        self.ids.insert(t.id);
        if let Some(link) = link_of(peer) {
            self.os.net(|net| net.comes_in(link));
        }
        self.of(t).open(t, peer);
    }

    fn input(&mut self, t: &mut Turn<'_>, input: &mut ReadBuf) -> Result<(), Fault> {
        self.of(t).input(t, input)
    }

    fn drained(&mut self, t: &mut Turn<'_>) {
        self.of(t).drained(t);
    }

    fn wake(&mut self, t: &mut Turn<'_>) {
        self.of(t).wake(t);
    }

    fn child(&mut self, t: &mut Turn<'_>, event: ChildEvent<'_>) {
        self.of(t).child(t, event);
    }

    fn eof(&mut self, t: &mut Turn<'_>, rest: &mut ReadBuf) -> Result<(), Fault> {
        self.of(t).eof(t, rest)
    }

    fn closed(&mut self, t: &mut Turn<'_>, why: &Closed) {
        self.of(t).closed(t, why);
        self.insiders.ids.borrow_mut().remove(&t.id);
        self.ids.remove(&t.id);
    }

    fn stopping(&mut self, t: &mut Turn<'_>) {
        self.of(t).stopping(t);
    }

    fn broadcast(&self) -> Option<Broadcast> {
        self.service.broadcast()
    }

    fn heard(&mut self, t: &mut BroadcastTurn<'_>, event: ChildEvent<'_>) {
        self.service.heard(t, event);
    }

    fn listens(&mut self, listener: u16, terms: &Terms) {
        self.service.listens(listener, terms);
    }

    fn listens_no_more(&mut self, listener: u16) {
        self.service.listens_no_more(listener);
    }

    fn dropped(&mut self, id: ConnId, lines: u64, out: &mut Vec<u8>) {
        self.service.dropped(id, lines, out);
    }

    fn stands_for(&self, line: &[u8]) -> Option<u64> {
        self.service.stands_for(line)
    }

    fn shared_bytes(&self) -> usize {
        self.service.shared_bytes()
    }

    fn give_back(&mut self) {
        self.service.give_back();
    }

    fn manner(&self) -> Manner {
        self.service.manner()
    }
}

/// How a client answers a challenge.
#[derive(Debug)]
pub(crate) struct Login {
    answer: Answer,
    challenge: Vec<u8>,
    /// The number of the secret that it proves.
    proves: Option<u64>,
}

/// What it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// With the proof of one of the secrets.
    Right(u64),
    /// With that of one that was good before the last change, if there was one.
    Old,
    /// With one in which a byte is wrong.
    Wrong(usize),
    /// With the beginning of one, then with nothing, and waits.
    Half(usize),
}

/// How far a client has come with it.
#[derive(Debug)]
pub(crate) enum Step {
    /// The challenge has not come.
    Waits,
    /// It has come; this is to be said.
    Says(Vec<u8>),
    /// The server has ended instead.
    Over,
}

impl Login {
    pub(crate) fn of(random: &mut Random, guesses: bool) -> Login {
        let answer = match random.below(8) {
            _ if guesses && random.once_in(2) => Answer::Wrong(random.index(32)),
            0 => Answer::Wrong(random.index(32)),
            1 => Answer::Half(random.index(32)),
            2 => Answer::Old,
            _ => Answer::Right(random.below(SECRETS)),
        };
        Login {
            answer,
            challenge: Vec::new(),
            proves: None,
        }
    }

    /// How it answered, as the gate stood then.
    pub(crate) fn answer(&self) -> Answer {
        self.answer
    }

    /// Whether what it proved may have been no good any more when that was looked at.
    pub(crate) fn is_outlived(&self, net: &Net, link: usize) -> bool {
        let generation = net.generations[net.links[link].service];
        !net.links[link].is_inside && self.proves.is_some_and(|number| number < generation)
    }

    /// Reads of the challenge, and not a byte more.
    pub(crate) fn step(&mut self, net: &mut Net, link: usize) -> Step {
        match net.client_read(link, CHALLENGE_BYTES - self.challenge.len()) {
            Found::Nothing => return Step::Waits,
            Found::End | Found::Reset => return Step::Over,
            Found::Bytes(bytes) => self.challenge.extend(bytes),
        }
        let Ok(challenge) = self.challenge[..].try_into() else {
            return Step::Waits;
        };
        let generation = net.generations[net.links[link].service];
        if self.answer == Answer::Old && generation == 0 {
            self.answer = Answer::Right(0);
        }
        let number = match self.answer {
            Answer::Right(which) => generation + which,
            Answer::Old => {
                net.occasions.note(Occasion::OldSecret);
                generation - 1
            }
            Answer::Wrong(_) | Answer::Half(_) => generation,
        };
        self.proves = Some(number);
        let key = HmacKey::new(&secret(number), Digest::Sha256);
        let mut proof = key.prove(&challenge).as_ref().to_vec();
        match self.answer {
            Answer::Right(_) | Answer::Old => {}
            Answer::Wrong(at) => proof[at] ^= 1,
            Answer::Half(len) => proof.truncate(len),
        }
        Step::Says(proof)
    }
}
