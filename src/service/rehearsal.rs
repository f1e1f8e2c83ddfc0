//! A service on stage without a network, and with the clock in hand.
//!
//! ```
//! use onepoll::service::{Echo, rehearsal::Stage};
//!
//! let mut stage = Stage::new(Echo);
//! let client = stage.enters();
//! stage.says(client, b"hello");
//! assert_eq!(stage.hears(client), b"hello");
//! ```

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::Ipv4Addr;
use std::time::{Duration, SystemTime};

use super::{Peer, Service};
use crate::buf::ReadBuf;
use crate::turn::{
    BroadcastTurn, CHANNEL_BINDING_BYTES, ChildEvent, Closed, ConnId, Effect, Errand, ErrandEvent,
    Exit, Fate, Fault, FileNote, HandOver, Job, Moment, Outbox, Output, Severity, Turn,
};
use crate::wire::{CommandSignal, Encode as _, Family};

/// Frames in a budget, as the reactor gives by default.
const FRAMES: u32 = 256;

/// A service, its clients, and a clock that moves when it is told to.
#[derive(Debug)]
pub struct Stage<S> {
    /// The service.
    pub service: S,
    now: Moment,
    outbox: Outbox,
    clients: BTreeMap<ConnId, Client>,
    generation: u32,
    figures: Vec<Family>,
    errands: VecDeque<Errand>,
    notes: Vec<FileNote>,
    listener: u16,
}

#[derive(Debug, Default)]
struct Client {
    input: ReadBuf,
    wake: Option<Moment>,
    job: Option<Job>,
    killed: Option<Severity>,
    signals: Vec<CommandSignal>,
    fed: Vec<u8>,
    is_feed_over: bool,
    wanted: Option<HandOver>,
    has_logged_in: bool,
    ended: Ended,
    fault: Option<Fault>,
    heard: Vec<u8>,
}

/// How far a client's input has come to its end.
#[derive(Debug, Default, PartialEq, Eq)]
enum Ended {
    #[default]
    No,
    /// The client ended it; the service was not told yet.
    Said,
    /// The service was told.
    Told,
}

impl<S: Service> Stage<S> {
    /// A stage with no client yet.
    pub fn new(service: S) -> Stage<S> {
        Stage {
            service,
            now: Moment::START.after(Duration::from_secs(1)),
            outbox: Outbox::default(),
            clients: BTreeMap::new(),
            generation: 0,
            figures: Vec::new(),
            errands: VecDeque::new(),
            notes: Vec::new(),
            listener: 0,
        }
    }

    /// What a service is given that asks for the loop's figures; none at first.
    pub fn set_figures(&mut self, figures: Vec<Family>) {
        self.figures = figures;
    }

    /// From now on clients connect through the listener of this number, of which the service has been told.
    pub fn set_listener(&mut self, listener: u16) {
        self.listener = listener;
    }

    /// Somebody connects.
    pub fn enters(&mut self) -> ConnId {
        self.enters_bound(None)
    }

    /// Somebody connects from this address.
    pub fn enters_from(&mut self, ip: Ipv4Addr) -> ConnId {
        self.connects(ip, None)
    }

    /// Somebody connects over TLS, whose connection has this
    /// [binding](Turn::channel_binding), or without.
    pub fn enters_bound(&mut self, binding: Option<[u8; CHANNEL_BINDING_BYTES]>) -> ConnId {
        self.connects(Ipv4Addr::LOCALHOST, binding)
    }

    fn connects(&mut self, ip: Ipv4Addr, binding: Option<[u8; CHANNEL_BINDING_BYTES]>) -> ConnId {
        self.generation += 1;
        let taken: BTreeSet<u32> = self.clients.keys().map(|id| id.slot).collect();
        let slot = (0..)
            .find(|slot| !taken.contains(slot))
            .expect("there are more slots than clients");
        let id = ConnId {
            slot,
            generation: self.generation,
        };
        self.clients.insert(id, Client::default());
        self.outbox.open(id);
        let port = 1024 + (self.generation % 60_000) as u16;
        self.outbox.set_channel_binding(binding);
        self.outbox.set_listener(self.listener);
        self.turn(id, |service, t| service.open(t, &Peer::V4(ip, port)));
        self.outbox.set_channel_binding(None);
        id
    }

    /// Sets the wall clock, which stands still until it is set again. At first it is the Unix epoch.
    pub fn set_wall(&mut self, wall: SystemTime) {
        self.outbox.set_wall(wall);
    }

    /// A client sends bytes, which come in one piece.
    pub fn says(&mut self, id: ConnId, bytes: &[u8]) {
        self.client(id).input.push(bytes);
        self.offer(id);
    }

    /// Gives the service one budget of input that the caller keeps.
    #[cfg(test)]
    pub(crate) fn offers(&mut self, id: ConnId, input: &mut ReadBuf) {
        self.turn(id, |service, t| {
            service.input(t, input).expect("there is no fault in it");
        });
    }

    /// A client ends its input (a half-close).
    pub fn ends(&mut self, id: ConnId) {
        self.client(id).ended = Ended::Said;
        self.offer(id);
    }

    /// A client is gone: a reset, or the end of a connection that was closed.
    pub fn leaves(&mut self, id: ConnId) {
        self.loses(id, Closed::Gone(std::io::ErrorKind::ConnectionReset));
    }

    /// A client is gone for this reason.
    pub fn loses(&mut self, id: ConnId, why: Closed) {
        self.collect();
        self.clients.remove(&id);
        self.outbox.shut(id.slot);
        let mut turn = Turn::new(self.now, id, &mut self.outbox);
        self.service.closed(&mut turn, &why);
        self.carry_out();
    }

    /// What a client was sent since it was last asked.
    ///
    /// Then the service is told that it has left, if it [asked](Turn::tell_when_sent) for that; what
    /// it says to that is heard the next time.
    pub fn hears(&mut self, id: ConnId) -> Vec<u8> {
        self.collect();
        std::mem::take(&mut self.client(id).heard)
    }

    /// Lets time pass: the service does what is [due](Service::due), and is woken for each connection for which it
    /// asked to be.
    pub fn waits(&mut self, time: Duration) {
        self.now = self.now.after(time);
        if self.service.due().is_some_and(|at| at <= self.now) {
            self.turn(ConnId::NOBODY, |service, t| service.comes_due(t));
        }
        loop {
            let due =
                |(_, client): &(&ConnId, &Client)| client.wake.is_some_and(|at| at <= self.now);
            let Some(id) = self.clients.iter().find(due).map(|(&id, _)| id) else {
                return;
            };
            self.client(id).wake = None;
            self.turn(id, |service, t| service.wake(t));
        }
    }

    /// The server is told to stop.
    pub fn stops(&mut self) {
        let ids: Vec<ConnId> = self.clients.keys().copied().collect();
        for id in ids {
            self.turn(id, |service, t| service.stopping(t));
        }
    }

    /// When the service wants to be woken for this client.
    pub fn wakes_in(&mut self, id: ConnId) -> Option<Duration> {
        let now = self.now;
        self.client(id).wake.map(|at| at.since(now))
    }

    /// Whether the connection ends when what it is owed has left, and whether it lingers then.
    pub fn is_leaving(&self, id: ConnId) -> bool {
        self.outbox.fate(id.slot) != Fate::Open
    }

    /// Whether the service takes no input of this client for now.
    #[cfg(test)]
    pub(crate) fn is_held(&self, id: ConnId) -> bool {
        self.outbox.is_held(id.slot)
    }

    /// The service is told that all this client was owed has left, as after its socket was full.
    #[cfg(test)]
    pub(crate) fn drains(&mut self, id: ConnId) {
        self.turn(id, |service, t| service.drained(t));
    }

    /// Whether the service has [admitted](Turn::admit) this client.
    pub fn has_logged_in(&self, id: ConnId) -> bool {
        self.clients[&id].has_logged_in
    }

    /// What the service refused to go on with.
    pub fn fault(&mut self, id: ConnId) -> Option<Fault> {
        self.client(id).fault.clone()
    }

    /// What nobody has parsed yet.
    pub fn unread(&mut self, id: ConnId) -> Vec<u8> {
        self.client(id).input.unread().to_vec()
    }

    /// The command that the service started for this client.
    pub fn job(&mut self, id: ConnId) -> Option<Job> {
        self.client(id).job.take()
    }

    /// How hard the service ended the command since it was last asked.
    pub fn killed(&mut self, id: ConnId) -> Option<Severity> {
        self.client(id).killed.take()
    }

    /// The signals that the service sent to the command since it was last asked.
    pub fn signals(&mut self, id: ConnId) -> Vec<CommandSignal> {
        std::mem::take(&mut self.client(id).signals)
    }

    /// What the service passed to the command's standard input since it was last asked, and whether that has
    /// ended.
    pub fn fed(&mut self, id: ConnId) -> (Vec<u8>, bool) {
        let client = self.client(id);
        (std::mem::take(&mut client.fed), client.is_feed_over)
    }

    /// The command writes.
    pub fn writes(&mut self, id: ConnId, which: Output, bytes: &[u8]) {
        self.turn(id, |service, t| {
            service.child(t, ChildEvent::Wrote(which, bytes))
        });
    }

    /// The command ends.
    pub fn exits(&mut self, id: ConnId, exit: Exit) {
        self.turn(id, |service, t| service.child(t, ChildEvent::Ended(exit)));
    }

    /// The command cannot run.
    pub fn cannot(&mut self, id: ConnId, event: ChildEvent<'_>) {
        self.turn(id, |service, t| service.child(t, event));
    }

    /// The command of the service itself writes.
    pub fn broadcasts(&mut self, which: Output, bytes: &[u8]) {
        self.broadcast(ChildEvent::Wrote(which, bytes));
    }

    /// The command of the service itself ends.
    pub fn broadcast_ends(&mut self, exit: Exit) {
        self.broadcast(ChildEvent::Ended(exit));
    }

    fn broadcast(&mut self, event: ChildEvent<'_>) {
        let mut turn = BroadcastTurn::new(self.now, &mut self.outbox);
        self.service.heard(&mut turn, event);
        self.carry_out();
    }

    /// What time it is.
    pub fn now(&self) -> Moment {
        self.now
    }

    /// The first errand that the service sent a child on, if it waits to be done.
    pub fn errand(&mut self) -> Option<Errand> {
        self.errands.pop_front()
    }

    /// What the service told of files since it was last asked.
    pub fn notes(&mut self) -> Vec<FileNote> {
        std::mem::take(&mut self.notes)
    }

    /// News of an errand.
    pub fn errand_has(&mut self, number: u64, event: ErrandEvent<'_>) {
        let mut turn = BroadcastTurn::new(self.now, &mut self.outbox);
        self.service.errand(&mut turn, number, event);
        let notes = turn.take_notes();
        self.notes.extend(notes.into_iter().map(|(_, note)| note));
        let (visited, errands) = turn.take_asked();
        self.errands.extend(errands);
        self.carry_out();
        for id in visited {
            if self.clients.contains_key(&id) {
                self.turn(id, |service, t| service.wake(t));
            }
        }
    }

    /// What a client wants of the server's sockets.
    pub fn wanted(&mut self, id: ConnId) -> Option<HandOver> {
        self.client(id).wanted.take()
    }

    /// A client is answered what it wanted, so that its input is no longer held.
    pub fn resumes(&mut self, id: ConnId) {
        self.turn(id, |_, t| t.resume());
    }

    fn client(&mut self, id: ConnId) -> &mut Client {
        self.clients.get_mut(&id).expect("the client is on stage")
    }

    fn turn(&mut self, id: ConnId, act: impl FnOnce(&mut S, &mut Turn<'_>)) {
        let mut turn = Turn::new(self.now, id, &mut self.outbox);
        act(&mut self.service, &mut turn);
        self.carry_out();
    }

    /// Gives the service what is unread, as the reactor would: one budget after the other.
    fn offer(&mut self, id: ConnId) {
        loop {
            let is_open = self.outbox.fate(id.slot) == Fate::Open;
            let is_held = self.outbox.is_held(id.slot);
            let client = self.clients.get_mut(&id).expect("the client is on stage");
            if !is_open || is_held || client.ended == Ended::Told {
                return;
            }
            client.input.begin_budget(FRAMES);
            let mut turn = Turn::new(self.now, id, &mut self.outbox);
            let mut outcome = Ok(());
            if !client.input.is_empty() {
                outcome = self.service.input(&mut turn, &mut client.input);
            }
            let again = client.input.is_budget_spent() && !client.input.is_empty();
            let open = outcome.is_ok() && !turn.is_held() && !turn.is_leaving();
            if client.ended == Ended::Said && open && !again {
                client.ended = Ended::Told;
                client.input.begin_budget(FRAMES);
                outcome = self.service.eof(&mut turn, &mut client.input);
            }
            let lent = client.input.lent().to_vec();
            client.input.repay();
            if !lent.is_empty() {
                self.outbox.say([id], |out| out.extend_from_slice(&lent));
            }
            if let Err(fault) = outcome {
                self.outbox.leave(id.slot, fault.closes(), true);
                client.fault = Some(fault);
            }
            self.carry_out();
            if !again {
                return;
            }
        }
    }

    fn carry_out(&mut self) {
        while let Some((id, effect)) = self.outbox.next_effect() {
            if let Effect::Note(note) = effect {
                self.notes.push(*note);
                continue;
            }
            let Some(client) = self.clients.get_mut(&id) else {
                continue;
            };
            match effect {
                Effect::Wake(at) => client.wake = Some(at).filter(|&at| at != Moment::NEVER),
                Effect::Resume => self.offer(id),
                Effect::Admit => client.has_logged_in = true,
                Effect::Spawn(job) => client.job = Some(*job),
                Effect::Signal(signal) => client.signals.push(signal),
                Effect::Feed(mut bytes) => client.fed.append(&mut bytes),
                Effect::EndFeed => client.is_feed_over = true,
                Effect::Kill(severity) => client.killed = Some(severity),
                Effect::SendFile(_) => {
                    let error = Some(std::io::ErrorKind::Unsupported.into());
                    self.turn(id, |service, t| service.file_sent(t, 0, error));
                }
                Effect::Note(_) => unreachable!("it is told above"),
                Effect::Errand(errand) => self.errands.push_back(*errand),
                Effect::HandOver(wanted) => client.wanted = Some(wanted),
                Effect::Secure(_) => unreachable!("nobody was dialled"),
                Effect::Figures => {
                    let mut turn = Turn::new(self.now, id, &mut self.outbox);
                    let mut page = Vec::new();
                    self.figures.encode(&mut page);
                    self.service.figures(&mut turn, &page);
                }
            }
        }
    }

    /// Delivers everything that was said, and tells those services that wait for that.
    fn collect(&mut self) {
        for (id, client) in &mut self.clients {
            while self.outbox.owed(id.slot) > 0 {
                let took = self.outbox.flush(id.slot, |bytes| {
                    client.heard.extend_from_slice(bytes);
                    Ok(bytes.len())
                });
                took.expect("a stage takes every byte");
            }
        }
        let mut listed = Vec::new();
        self.outbox.take_dirty(&mut listed);
        self.outbox.trim();
        let sent: Vec<ConnId> = std::iter::from_fn(|| self.outbox.next_sent()).collect();
        for id in sent {
            self.turn(id, |service, t| service.drained(t));
        }
    }
}

/// What somebody has written, which the test reads.
#[cfg(test)]
#[derive(Debug, Default, Clone)]
pub(crate) struct Paper(std::rc::Rc<std::cell::RefCell<Vec<u8>>>);

#[cfg(test)]
impl Paper {
    /// All of it since this was last asked.
    pub(crate) fn take(&self) -> String {
        String::from_utf8(self.0.take()).expect("it is text")
    }
}

#[cfg(test)]
impl std::io::Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.borrow_mut().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts how often what it said has left, and tells the time to input.
    #[derive(Debug)]
    struct Counts(u8);

    impl Service for Counts {
        fn input(&mut self, t: &mut Turn<'_>, input: &mut ReadBuf) -> Result<(), Fault> {
            input.consume(input.len());
            let wall = t.wall().duration_since(SystemTime::UNIX_EPOCH);
            t.reply(&[wall.unwrap_or_default().as_secs() as u8][..]);
            t.tell_when_sent();
            Ok(())
        }

        fn drained(&mut self, t: &mut Turn<'_>) {
            self.0 += 1;
            t.reply(&[self.0][..]);
        }
    }

    #[test]
    fn a_service_hears_what_has_left_and_sees_the_wall_clock() {
        let mut stage = Stage::new(Counts(0));
        let client = stage.enters();
        for (seconds, told) in [(7, 1), (9, 2)] {
            stage.set_wall(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
            stage.says(client, b"?");
            assert_eq!(stage.hears(client), [seconds as u8]);
            assert_eq!(stage.hears(client), [told]);
            assert_eq!(stage.hears(client), b"");
        }
    }
}
