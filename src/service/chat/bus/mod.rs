//! The bus: one connection to a server of NATS, by which the rooms of several servers are one.
//!
//! Knows in which order messages are kept and come back, and what follows from what comes: each of the nouns below knows
//! its own part. Does not know members, nor what a line says: the chat is told by [`Event`]s. What is said on a bus is in
//! PROTOCOL.md.
//!
//! | | |
//! | --- | --- |
//! | [`Link`], with [`Servers`](servers::Servers), [`Info`](info::Info), [`login`] and [`setup`] | the connection: dialled, greeted, settled, kept |
//! | [`Delivery`] | how far what was kept was seen |
//! | [`Outgoing`] | what is to be kept |
//! | [`Leases`] | whose a name is |
//! | [`Asks`] | what other servers are asked |
//! | [`Presence`] | whether those who are here are told that it is away |

mod asks;
mod counts;
mod delivery;
mod event;
mod info;
mod leases;
mod link;
mod login;
mod outgoing;
mod presence;
mod servers;
mod setup;
mod subjects;

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Display;
use std::io;
use std::sync::Arc;

use self::asks::Asks;
use self::counts::{Counts, Now};
use self::delivery::{Delivered, Delivery};
use self::leases::Leases;
use self::link::{ALIVE, ASKS, INBOX, Link};
use self::outgoing::Outgoing;
use self::presence::Presence;
use self::setup::Step;
use self::subjects::{Inbox, may_answer};
use super::name::Name;
use crate::buf::ReadBuf;
use crate::service::{self, Dial};
use crate::turn::{ConnId, Fault, Moment, Turn};
use crate::wire::{Escaped, Family, JetStreamAnswer, JetStreamError, NatsFrame, NatsMessage};

pub(super) use self::asks::{Alive, Asked, Question, Reply};
pub(super) use self::event::{Claimed, Event, Kept};
pub(super) use self::outgoing::{KEPT_BYTES_MAX, Pending, Segment};
pub(super) use self::setup::MESSAGE_BYTES_MAX;
pub(super) use self::subjects::Topic;

/// So much is shown of what a server complains of.
const SHOWN_BYTES_MAX: usize = 200;

/// The bus, as one server sees it.
#[derive(Debug)]
pub(super) struct Bus {
    settings: Arc<service::Bus>,
    /// The name that the endpoints share, for the counters.
    rooms: String,
    /// How many lines of a room are kept at least.
    history: u32,
    link: Link,
    presence: Presence,
    delivery: Delivery,
    outgoing: Outgoing,
    leases: Leases,
    asks: Asks,
    /// Nobody is here any more, and it ends when everything was kept.
    is_ending: bool,
    events: VecDeque<Event>,
    counts: Counts,
}

impl Bus {
    /// The bus of the rooms of this name, which keeps `history` lines of each at least.
    pub(super) fn new(settings: Arc<service::Bus>, set: Option<&str>, history: u32) -> Bus {
        Bus {
            link: Link::new(settings.clone(), set),
            rooms: set.unwrap_or_default().to_owned(),
            history,
            presence: Presence::New,
            delivery: Delivery::new(),
            outgoing: Outgoing::default(),
            leases: Leases::default(),
            asks: Asks::default(),
            is_ending: false,
            events: VecDeque::new(),
            counts: Counts::default(),
            settings,
        }
    }

    /// Whether those who are here hear each other alone.
    pub(super) fn is_alone(&self) -> bool {
        self.presence == Presence::Alone
    }

    /// What guests of this server have in their names.
    pub(super) fn tag(&self) -> &str {
        &self.link.subjects.me[..6]
    }

    /// The memory of what waits, in bytes.
    pub(super) fn kept_bytes(&self) -> usize {
        self.outgoing.bytes()
    }

    /// What the chat is to know.
    pub(super) fn next_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    // The connection.

    /// Its servers are these from now on, and by this they know us.
    pub(super) fn change(&mut self, t: &mut Turn<'_>, settings: &Arc<service::Bus>) {
        // What ends dials no more, and has something to say by the connection that it has.
        if !self.is_ending {
            self.settings = settings.clone();
            self.link.change(t, settings);
        }
    }

    /// Which server is to be dialled now.
    pub(super) fn dials(&mut self, now: Moment) -> Option<Dial> {
        if self.is_ending {
            return None;
        }
        self.presence.seek(now);
        self.link.dials(now)
    }

    /// It was dialled in vain.
    pub(super) fn dial_failed(&mut self, now: Moment, error: &io::Error) {
        self.counts.failures += 1;
        self.link.dial_failed(now, error);
    }

    /// The server has answered the dial.
    pub(super) fn dialled(&mut self, t: &mut Turn<'_>) {
        self.link.dialled(t);
    }

    /// The session of TLS that was begun has come about.
    pub(super) fn secured(&mut self, t: &mut Turn<'_>) {
        self.link.secured(t);
    }

    /// The connection is gone.
    pub(super) fn lost(&mut self, now: Moment, why: &dyn Display) {
        if !self.is_ending {
            self.link.tell_gone(why);
        }
        self.counts.failures += 1;
        self.link.lose(now);
        self.be_away(now);
    }

    /// What is said does not come back until it is ready again.
    fn be_away(&mut self, now: Moment) {
        self.presence.end(now);
        self.events.extend(self.leases.give_all_up());
        let answered = self.asks.give_all_up();
        self.events
            .extend(answered.into_iter().map(Event::Answered));
    }

    /// Something was lost on the way, or nothing comes: from where we are, once more.
    fn begin_anew(&mut self, t: &mut Turn<'_>) {
        self.be_away(t.now);
        self.settle(t, Step::Stream);
    }

    fn settle(&mut self, t: &mut Turn<'_>, step: Step) {
        let (subjects, settings) = (&self.link.subjects, &self.settings);
        let asked = match step {
            Step::Stream => setup::stream(subjects, settings, self.history),
            Step::FoundStream => setup::found(&subjects.stream()),
            Step::Bucket => setup::bucket(subjects, settings),
            Step::FoundBucket => setup::found(&subjects.bucket()),
            Step::Consumer => {
                let delivery = self.link.follow(t, self.delivery.renew(t.now));
                setup::consumer(subjects, &delivery, self.delivery.last())
            }
        };
        self.link.settle(t, step, &asked);
    }

    /// A step was answered.
    fn settled(&mut self, t: &mut Turn<'_>, step: Step, message: &NatsMessage<'_>) {
        let is_there =
            |error: &JetStreamError| error.err_code == JetStreamError::STREAM_NAME_IN_USE;
        match (step, JetStreamAnswer::of(message)) {
            (Step::Stream, Err(error)) if is_there(&error) => self.settle(t, Step::FoundStream),
            (Step::Bucket, Err(error)) if is_there(&error) => self.settle(t, Step::FoundBucket),
            (_, Err(error)) => {
                // It is asked again at a tick: a cluster may have no leader for a while.
                let said = shown(&error.description);
                log::debug!(bus = self.link.name(), said:%; "the bus is not ready");
            }
            (Step::Stream | Step::FoundStream, Ok(answer)) => {
                self.delivery.found(answer.created, answer.state.last_seq);
                self.settle(t, Step::Bucket);
            }
            (Step::Bucket | Step::FoundBucket, Ok(answer)) => {
                let lease = (self.settings.lease, answer.config.max_age());
                self.leases.last(self.link.name(), lease);
                self.settle(t, Step::Consumer);
            }
            (Step::Consumer, Ok(answer)) => {
                self.link.catch_up(t.now);
                self.delivery.begin(t.now);
                if answer.num_pending == 0 || self.delivery.is_level() {
                    self.be_ready(t);
                }
            }
        }
    }

    /// All that was kept while it was away was seen. What has not come back was not kept.
    fn be_ready(&mut self, t: &mut Turn<'_>) {
        if !self.link.be_ready(t.now) {
            return;
        }
        self.counts.connections += 1;
        log::info!(bus = self.link.name(); "connected to the bus");
        self.outgoing.send_all_again();
        if self.presence.begin() {
            self.events.push_back(Event::Together);
        }
        self.see_to(t);
    }

    // What comes.

    /// One command of the server. Whether there was one.
    pub(super) fn input(&mut self, t: &mut Turn<'_>, input: &mut ReadBuf) -> Result<bool, Fault> {
        let Some(frame) = self.link.next(t.now, input)? else {
            return Ok(false);
        };
        match frame {
            NatsFrame::Info(json) => self.link.greet(t, json),
            NatsFrame::Ping => t.reply(&NatsFrame::Pong),
            NatsFrame::Pong => {
                if self.link.log_in(t) {
                    self.settle(t, Step::Stream);
                }
            }
            NatsFrame::Err(text) => {
                self.counts.refused(text);
                self.link.complains(t, shown(text));
            }
            NatsFrame::Msg(INBOX, message) => self.take_answer(t, &message),
            NatsFrame::Msg(ASKS, message) => self.take_question(&message),
            NatsFrame::Msg(ALIVE, message) => {
                if let Ok(alive) = serde_json::from_slice(message.payload) {
                    self.asks.heard(alive, t.now);
                }
            }
            NatsFrame::Msg(sid, message) => {
                if Link::followed(sid) == Some(self.delivery.consumer()) {
                    self.take_delivery(t, &message);
                }
            }
            // What only clients say, from a server that is none.
            NatsFrame::Connect(_)
            | NatsFrame::Pub(_)
            | NatsFrame::Sub { .. }
            | NatsFrame::Unsub { .. }
            | NatsFrame::Ok => {}
        }
        Ok(true)
    }

    /// An answer to something that this server has asked for.
    fn take_answer(&mut self, t: &mut Turn<'_>, message: &NatsMessage<'_>) {
        let Some((inbox, number)) = self.link.subjects.inbox_of(message.subject) else {
            return;
        };
        match inbox {
            Inbox::Setup => {
                if let Some(step) = self.link.step(number) {
                    self.settled(t, step, message);
                }
            }
            Inbox::Kept => self.take_refusal(number, message),
            Inbox::Claim => {
                let event = self.leases.take(&self.link, t, number, message);
                self.events.extend(event);
            }
            Inbox::Ask => {
                let reply = serde_json::from_slice(message.payload).unwrap_or_default();
                let answered = self.asks.answered(number, reply);
                self.events.extend(answered.map(Event::Answered));
            }
            Inbox::Nothing => {}
        }
    }

    /// Whether a message is kept: what matters is that it comes back, so only why it never will.
    fn take_refusal(&mut self, number: u64, message: &NatsMessage<'_>) {
        // Of what is no fault of the message nothing follows: a tick sends it again.
        let Some(error) = JetStreamAnswer::of(message)
            .err()
            .filter(JetStreamError::is_final)
        else {
            return;
        };
        let why = shown(&error.description);
        log::warn!(bus = self.link.name(), why:%; "the bus does not keep what was said");
        if let Some(lost) = self.outgoing.take(number) {
            self.counts.lost += 1;
            self.events.push_back(Event::Lost(lost, why));
        }
        self.give_room();
    }

    fn take_question(&mut self, message: &NatsMessage<'_>) {
        let question = serde_json::from_slice(message.payload).ok();
        let reply = message.reply.filter(|to| may_answer("_INBOX.", to));
        if let (Some(question), Some(reply)) = (question, reply) {
            self.events
                .push_back(Event::Asked(question, reply.to_owned()));
        }
    }

    /// What the consumer delivers.
    fn take_delivery(&mut self, t: &mut Turn<'_>, message: &NatsMessage<'_>) {
        let waits = self.delivery.flow_control(message);
        if let Some(to) = waits.filter(|to| may_answer("$JS.FC.", to)) {
            self.link.publish(t, to, b"");
        }
        match self.delivery.take(message, t.now) {
            Delivered::Nothing => {}
            Delivered::Gap => self.begin_anew(t),
            Delivered::Message {
                is_new,
                is_earlier,
                nanos,
                is_last,
            } => {
                if is_new {
                    self.take_kept(message, nanos, is_earlier);
                }
                if is_last {
                    self.be_ready(t);
                }
            }
        }
    }

    fn take_kept(&mut self, message: &NatsMessage<'_>, nanos: u64, is_earlier: bool) {
        let subjects = &self.link.subjects;
        if let Some(topic) = subjects.topic_of(message.subject) {
            let id = message.headers.get("Nats-Msg-Id");
            let number = id.and_then(|id| subjects.number_of(id));
            self.counts.kept += 1;
            self.events.push_back(Event::Kept(Kept {
                topic,
                payload: message.payload.to_vec(),
                own: number.and_then(|number| self.outgoing.take(number)),
                nanos,
                is_earlier,
            }));
        }
        self.give_room();
    }

    fn give_room(&mut self) {
        if self.outgoing.gives_room() {
            self.events.push_back(Event::Room);
        }
    }

    // What goes.

    /// Sends what may go now.
    pub(super) fn pump(&mut self, t: &mut Turn<'_>) {
        if !self.link.is_ready() {
            return;
        }
        while let Some(pending) = self.outgoing.next(t.now) {
            let subjects = &self.link.subjects;
            let (subject, id) = (subjects.topic(&pending.topic), subjects.id(pending.number));
            let (inbox, headers) = ((Inbox::Kept, pending.number), [("Nats-Msg-Id", &*id)]);
            self.link
                .request(t, &subject, inbox, &headers, &pending.payload);
        }
        if self.is_ending && self.outgoing.is_empty() {
            self.leave(t);
        }
    }

    /// Something is said, to be kept in order for all. Whether there was room for it.
    pub(super) fn keep(&mut self, topic: Topic, speaker: Option<ConnId>, bytes: &[u8]) -> bool {
        let takes = self.outgoing.takes(bytes.len(), speaker.is_some());
        if takes {
            let is_shown = self.is_alone();
            self.outgoing.push(topic, speaker, bytes, is_shown);
        }
        takes
    }

    /// Whether who speaks is to wait until there is room. Those who wait are told when there is.
    pub(super) fn holds(&mut self) -> bool {
        !self.is_alone() && self.outgoing.holds()
    }

    /// What was said since it went away, and was shown to nobody.
    pub(super) fn unshown(&mut self) -> Vec<(Topic, Vec<u8>, Vec<Segment>)> {
        let shown = self.outgoing.show();
        shown
            .map(|pending| {
                (
                    pending.topic.clone(),
                    pending.payload.clone(),
                    pending.segments.clone(),
                )
            })
            .collect()
    }

    /// Claims a name for a member: one that is free, or one that belongs to the member. Whether an answer will come.
    pub(super) fn claim(
        &mut self,
        t: &mut Turn<'_>,
        holder: ConnId,
        name: Name,
        is_owner: bool,
    ) -> bool {
        self.leases.claim(&self.link, t, (name, holder), is_owner)
    }

    /// A member is called so no more.
    pub(super) fn release(&mut self, t: &mut Turn<'_>, holder: ConnId, name: Name) {
        self.leases.release(&self.link, t, (name, holder));
    }

    /// Asks all other servers; whether somebody will answer.
    pub(super) fn ask(&mut self, t: &mut Turn<'_>, question: Question) -> bool {
        self.asks.ask(&self.link, t, question)
    }

    /// Answers another server.
    pub(super) fn answer(&mut self, t: &mut Turn<'_>, to: &str, reply: &Reply) {
        if let Ok(body) = serde_json::to_vec(reply) {
            self.link.publish(t, to, &body);
        }
    }

    /// How many are in a room of other servers.
    pub(super) fn elsewhere(&self, room: Name) -> usize {
        self.asks.elsewhere(room)
    }

    /// The rooms of other servers.
    pub(super) fn rooms(&self) -> BTreeMap<String, usize> {
        self.asks.rooms()
    }

    /// Says to other servers that this one is there.
    pub(super) fn say_alive(&mut self, t: &mut Turn<'_>, mut alive: Alive) {
        alive.server.clone_from(&self.link.subjects.me);
        if let Ok(body) = serde_json::to_vec(&alive) {
            self.link.publish(t, &self.link.subjects.alive(), &body);
        }
    }

    // What time asks for.

    /// When there is something to do.
    pub(super) fn due(&self) -> Moment {
        if self.is_ending && self.link.is_down() {
            return Moment::NEVER;
        }
        self.link.due().min(self.presence.due())
    }

    /// Sees to whatever is due. Whether a second has passed since it did last.
    pub(super) fn see_to(&mut self, t: &mut Turn<'_>) -> bool {
        if self.presence.expire(t.now) {
            log::warn!("the bus is away: rooms are those of this server alone");
            self.events.push_back(Event::Alone);
        }
        if !self.link.ticks(t.now) {
            return false;
        }
        self.events.extend(self.leases.expire(t.now));
        let over = self.asks.expire(t.now);
        self.events.extend(over.into_iter().map(Event::Answered));
        if !self.link.check(t) {
            return false;
        }
        if self.link.is_stuck(t.now) {
            self.settle(t, Step::Stream);
        } else if self.link.is_ready() && self.delivery.is_silent(t.now) {
            log::info!(bus = self.link.name(); "the bus delivers nothing: it is asked to begin anew");
            self.begin_anew(t);
        } else if self.link.is_ready() {
            self.outgoing.send_late_again(t.now);
            self.pump(t);
            self.leases.renew(&self.link, t);
        }
        true
    }

    /// The turn of the connection that was asked for.
    pub(super) fn wake(&mut self, t: &mut Turn<'_>) {
        let waits = self.link.is_ready() && !self.outgoing.is_empty();
        if self.is_ending && !self.link.is_given_up() && !waits {
            self.leave(t);
        }
        self.link.close_if_given_up(t);
    }

    /// Nobody is here any more: it ends when all that was said is kept.
    pub(super) fn end(&mut self, t: &mut Turn<'_>) {
        self.is_ending = true;
        // Behind what those who are here are still asked for.
        t.visit(t.id);
    }

    fn leave(&mut self, t: &mut Turn<'_>) {
        let gone = Alive {
            gone: true,
            ..Alive::default()
        };
        self.say_alive(t, gone);
        self.link.give_up(t);
    }

    /// What was counted.
    pub(super) fn figures(&self, into: &mut Vec<Family>) {
        self.counts.add_to(
            into,
            &self.rooms,
            Now {
                is_up: self.link.is_ready(),
                servers: self.asks.servers(),
                waiting_bytes: self.outgoing.bytes(),
            },
        );
    }
}

/// What a server says, for the log and for members: not all of a long text, and nothing that acts on a terminal.
fn shown(text: &str) -> String {
    Escaped(&text.as_bytes()[..text.len().min(SHOWN_BYTES_MAX)]).to_string()
}
