use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use onepoll::buf::ReadBuf;
use onepoll::service::{Manner, Peer, Secrets, Service, Terms};
use onepoll::turn::{
    Broadcast, BroadcastTurn, ChildEvent, Closed, ConnId, ErrandEvent, Fault, Job, Moment, Turn,
};

use crate::kernel::{MILLI, SimOs, link_of};
use crate::occasions::Occasion;
use crate::random::Random;

/// What services were told, and what they asked for, in order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Heard(Rc<RefCell<Vec<(ConnId, Said)>>>, Deaf);

/// Whether nothing is written down.
type Deaf = bool;

/// One thing that a service was told, or asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Said {
    /// The loop told it of the end of input.
    Eof,
    /// Its timer came.
    Wake,
    /// All that it said has left.
    Drained,
    /// Its command wrote, ended, or could not be started.
    Child,
    /// The server stops.
    Stopping,
    /// It asked to end the connection.
    Closes,
    /// It refused to go on.
    Refuses,
    /// It takes no input for now.
    Holds,
    /// It takes input again.
    Resumes,
    /// The connection has ended, for this reason.
    Closed(Closed),
}

impl Heard {
    /// Writes nothing down: another ear, before a gate, hears the same.
    pub(crate) fn deaf() -> Heard {
        Heard(Rc::default(), true)
    }

    fn note(&self, id: ConnId, said: Said) {
        if !self.1 {
            self.0.borrow_mut().push((id, said));
        }
    }

    /// What was heard since the last time.
    pub(crate) fn take(&self, into: &mut Vec<(ConnId, Said)>) {
        into.append(&mut self.0.borrow_mut());
    }
}

/// What a service does besides, at any time: the loop must allow it in every state.
#[derive(Debug, Clone, Default)]
pub(crate) struct Temper {
    /// Asks to be woken after some inputs, for nothing.
    pub(crate) fidgets: bool,
    /// Ends a connection after some time, up to so many nanoseconds.
    pub(crate) leaves: Option<u64>,
    /// Does not end with the input, but a moment later.
    pub(crate) is_late: bool,
    /// Runs commands that it does not wait for.
    pub(crate) spawns: bool,
    /// What it does when the server stops.
    pub(crate) at_stop: AtStop,
    pub(crate) random: Option<Random>,
}

impl Temper {
    fn has_timers(&self) -> bool {
        self.fidgets || self.is_late || self.leaves.is_some()
    }
}

/// What a service does when the server stops.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum AtStop {
    /// What it does by itself.
    #[default]
    Asks,
    /// Ends the connection, and does not linger.
    Closes,
    /// Goes on.
    Stays,
}

/// A service, and an ear at its door.
#[derive(Debug)]
pub(crate) struct Overheard {
    service: Box<dyn Service>,
    temper: Temper,
    random: Random,
    /// What it has in mind about each connection.
    minds: BTreeMap<ConnId, Mind>,
    heard: Heard,
    /// Where wrong proofs are told, if it is a gate.
    guesses: Option<Guesses>,
    /// Where connections are told that it was told of.
    world: Option<SimOs>,
}

/// Peers of a gate, whose wrong proofs are told to the world.
#[derive(Debug)]
struct Guesses {
    os: SimOs,
    peers: BTreeMap<ConnId, Peer>,
}

/// What it has in mind about a connection.
#[derive(Debug, Clone, Copy)]
struct Mind {
    leaves_at: Moment,
    /// Its command runs.
    runs: bool,
}

impl Overheard {
    pub(crate) fn new(service: Box<dyn Service>, mut temper: Temper, heard: Heard) -> Overheard {
        let random = temper.random.take().unwrap_or_else(|| Random::new(0));
        Overheard {
            service,
            temper,
            random,
            minds: BTreeMap::new(),
            heard,
            guesses: None,
            world: None,
        }
    }

    /// The world is told of connections that its service is told of.
    pub(crate) fn shows(self, os: SimOs) -> Overheard {
        Overheard {
            world: Some(os),
            ..self
        }
    }

    /// It is a gate: the world is told of wrong proofs.
    pub(crate) fn tells(self, os: SimOs) -> Overheard {
        let peers = BTreeMap::new();
        Overheard {
            guesses: Some(Guesses { os, peers }),
            ..self
        }
    }

    /// Asks for what it has in mind, after an input.
    fn follows_its_mind(&mut self, t: &mut Turn<'_>) {
        let Some(mind) = self.minds.get_mut(&t.id) else {
            return;
        };
        if self.temper.fidgets && self.random.once_in(4) {
            let wait = self.random.pick(&[0, 1000, MILLI]);
            let at = t.now.after(Duration::from_nanos(wait));
            t.wake_at(at.min(mind.leaves_at));
        }
        if self.temper.spawns && !mind.runs && !t.is_leaving() && self.random.once_in(2) {
            mind.runs = true;
            let line = format!("command {}", self.random.below(1000));
            t.spawn(Job::line(line.into_bytes()));
        }
    }

    /// Gives the service its turn, and notes what it asked for.
    fn turn<T>(
        &mut self,
        t: &mut Turn<'_>,
        ask: impl FnOnce(&mut dyn Service, &mut Turn<'_>) -> T,
    ) -> T {
        let (id, was_held, was_leaving) = (t.id, t.is_held(), t.is_leaving());
        let answer = ask(&mut *self.service, t);
        match (was_held, t.is_held()) {
            (false, true) => self.heard.note(id, Said::Holds),
            (true, false) => self.heard.note(id, Said::Resumes),
            _ => {}
        }
        if !was_leaving && t.is_leaving() {
            self.heard.note(id, Said::Closes);
        }
        answer
    }

    /// The same for a turn that the service may refuse to go on after.
    fn offer(
        &mut self,
        t: &mut Turn<'_>,
        ask: impl FnOnce(&mut dyn Service, &mut Turn<'_>) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let outcome = self.turn(t, ask);
        if outcome.is_err() {
            self.heard.note(t.id, Said::Refuses);
        }
        if let (Some(guesses), Err(Fault::WrongProof)) = (&self.guesses, &outcome)
            && let Some(link) = guesses.peers.get(&t.id).and_then(link_of)
        {
            guesses.os.net(|net| net.fails_to_log_in(link));
        }
        outcome
    }
}

impl Service for Overheard {
    fn open(&mut self, t: &mut Turn<'_>, peer: &Peer) {
        if let (Some(os), Some(link)) = (&self.world, link_of(peer)) {
            os.net(|net| net.is_told(link));
        }
        if let Some(guesses) = &mut self.guesses {
            guesses.peers.insert(t.id, *peer);
        }
        if self.temper.spawns || self.temper.has_timers() {
            let leaves_at = self.temper.leaves.map_or(Moment::NEVER, |most| {
                t.now.after(Duration::from_nanos(self.random.below(most)))
            });
            self.minds.insert(
                t.id,
                Mind {
                    leaves_at,
                    runs: false,
                },
            );
            if self.temper.has_timers() {
                t.wake_at(leaves_at);
            }
        }
        self.turn(t, |service, t| service.open(t, peer));
    }

    fn input(&mut self, t: &mut Turn<'_>, input: &mut ReadBuf) -> Result<(), Fault> {
        let outcome = self.offer(t, |service, t| service.input(t, input));
        self.follows_its_mind(t);
        outcome
    }

    fn drained(&mut self, t: &mut Turn<'_>) {
        self.heard.note(t.id, Said::Drained);
        self.turn(t, |service, t| service.drained(t));
    }

    fn wake(&mut self, t: &mut Turn<'_>) {
        self.heard.note(t.id, Said::Wake);
        let leaves_at = match self.minds.get(&t.id) {
            Some(mind) if self.temper.has_timers() => mind.leaves_at,
            _ => return self.turn(t, |service, t| service.wake(t)),
        };
        if t.now < leaves_at {
            return t.wake_at(leaves_at);
        }
        let lingers = self.random.once_in(2);
        self.turn(t, |_, t| match lingers {
            true => t.close_lingering(),
            false => t.close(),
        });
    }

    fn child(&mut self, t: &mut Turn<'_>, event: ChildEvent<'_>) {
        self.heard.note(t.id, Said::Child);
        if let Some(mind) = self.minds.get_mut(&t.id).filter(|mind| mind.runs) {
            // What it writes is of no interest.
            let goes_on = matches!(event, ChildEvent::Started | ChildEvent::Wrote(..));
            mind.runs = goes_on;
            return;
        }
        self.turn(t, |service, t| service.child(t, event));
    }

    fn eof(&mut self, t: &mut Turn<'_>, rest: &mut ReadBuf) -> Result<(), Fault> {
        self.heard.note(t.id, Said::Eof);
        if let Some(mind) = self.minds.get_mut(&t.id).filter(|_| self.temper.is_late) {
            let wait = Duration::from_nanos(self.random.size(20 * MILLI as usize) as u64);
            mind.leaves_at = t.now.after(wait);
            t.wake_at(mind.leaves_at);
            return Ok(());
        }
        self.offer(t, |service, t| service.eof(t, rest))
    }

    fn closed(&mut self, t: &mut Turn<'_>, why: &Closed) {
        self.heard.note(t.id, Said::Closed(*why));
        self.minds.remove(&t.id);
        if let Some(guesses) = &mut self.guesses {
            guesses.peers.remove(&t.id);
        }
        self.service.closed(t, why);
    }

    fn stopping(&mut self, t: &mut Turn<'_>) {
        self.heard.note(t.id, Said::Stopping);
        match self.temper.at_stop {
            AtStop::Asks => self.turn(t, |service, t| service.stopping(t)),
            AtStop::Closes => self.turn(t, |_, t| t.close()),
            AtStop::Stays => {}
        }
    }

    fn refusal(&self, reason: &str, out: &mut Vec<u8>) {
        self.service.refusal(reason, out);
    }

    fn broadcast(&self) -> Option<Broadcast> {
        self.service.broadcast()
    }

    fn heard(&mut self, t: &mut BroadcastTurn<'_>, event: ChildEvent<'_>) {
        self.service.heard(t, event);
    }

    fn errand(&mut self, t: &mut BroadcastTurn<'_>, number: u64, event: ErrandEvent<'_>) {
        self.service.errand(t, number, event);
    }

    fn file_sent(&mut self, t: &mut Turn<'_>, bytes: u64, error: Option<std::io::Error>) {
        self.turn(t, |service, t| service.file_sent(t, bytes, error));
    }

    fn due(&self) -> Option<Moment> {
        self.service.due()
    }

    fn comes_due(&mut self, t: &mut Turn<'_>) {
        self.service.comes_due(t);
    }

    fn dropped(&mut self, id: ConnId, lines: u64, out: &mut Vec<u8>) {
        if let Some(os) = &self.world {
            os.net(|net| net.occasions.note(Occasion::LinesDropped));
        }
        self.service.dropped(id, lines, out);
    }

    fn stands_for(&self, line: &[u8]) -> Option<u64> {
        self.service.stands_for(line)
    }

    fn transcript(&self) -> Option<&Path> {
        self.service.transcript()
    }

    fn write_transcript_to(&mut self, out: Box<dyn std::io::Write>) {
        self.service.write_transcript_to(out);
    }

    fn reopen_transcript(&mut self) {
        self.service.reopen_transcript();
    }

    fn listens(&mut self, listener: u16, terms: &Terms) {
        self.service.listens(listener, terms);
    }

    fn listens_no_more(&mut self, listener: u16) {
        self.service.listens_no_more(listener);
    }

    fn replace_secrets(&mut self, secrets: &Secrets) -> bool {
        self.service.replace_secrets(secrets)
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

    fn manner_at(&self, listener: u16) -> Manner {
        self.service.manner_at(listener)
    }
}
