//! The bus: one connection to a server of NATS, by which the rooms of several servers are one.
//!
//! Knows how it is dialled, greeted and kept; in which order messages are kept and come back; whose a name is. Does not
//! know members, nor what a line says: the chat is told by [`Event`]s. What is said on a bus is in PROTOCOL.md.
//!
//! ```text
//! Down ──its time has come──> Dialling ──answered──> Greeting ──INFO──> Settling ──caught up──> Ready
//!  ^                             │                      │                  │  ^                    │
//!  └── refused, closed, in vain ─┴──────────────────────┴──────────────────┘  └─ deliveries end ───┘
//! ```

mod asks;
mod counts;
mod leases;
mod login;
mod outgoing;
mod setup;
mod subjects;

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;

use self::asks::Asks;
use self::counts::{Counts, Now};
use self::leases::{Answer, Claim, Leases, Outcome, Why};
use self::outgoing::Outgoing;
use self::subjects::{Inbox, Subjects};
use super::name::Name;
use crate::buf::ReadBuf;
use crate::config;
use crate::service::Dial;
use crate::turn::{ConnId, Fault, Moment, Turn};
use crate::wire::{
    Escaped, Family, JetStreamAnswer, JetStreamError, JetStreamPosition, NatsCommands, NatsFrame,
    NatsHeaders, NatsMessage,
};

pub(super) use self::asks::{Alive, Asked, Question, Reply};
pub(super) use self::outgoing::{KEPT_BYTES_MAX, Pending, Segment};
pub(super) use self::subjects::Topic;

/// How many bytes a message of a bus has at most: the same for all servers, whatever their limits are.
pub(super) const MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// What a message may have besides: its headers.
const HEADERS_BYTES_MAX: usize = 4 * 1024;

/// So much is shown of what a server complains of.
const SHOWN_BYTES_MAX: usize = 200;

/// How long the bus may be away before those who are here are told that they are alone: a cluster of NATS takes up to nine
/// seconds to elect a leader, and until then it only seems to be away.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long one of its servers has to answer a dial, and each step after that.
const STEP: Duration = Duration::from_secs(3);

/// When another server is dialled: at once after a connection that was good, then doubled up to the second.
const BACKOFF: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(5)];

/// How often there is something to see to.
const TICK: Duration = Duration::from_secs(1);

/// A consumer that says nothing for so long is not there; it does [so often](setup).
const SILENCE: Duration = Duration::from_millis(3500);

/// How long the server may be silent before it is asked, and before it is taken to be gone.
const PING: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(10)];

/// Ours among the numbers of subscriptions; those of consumers are above.
const INBOX: u64 = 1;
const ASKS: u64 = 2;
const ALIVE: u64 = 3;
const DELIVERY: u64 = 16;

/// What the chat is told.
#[derive(Debug)]
pub(super) enum Event {
    /// A message was kept: here it is, in the order that all see.
    Kept(Kept),
    /// A message will never be kept.
    Lost(Pending, String),
    /// A member may be called so now, or not.
    Claimed(ConnId, Name, Claimed),
    /// A member is called so no more: somebody else is.
    NameLost(ConnId, Name),
    /// Another server asks; where the answer goes.
    Asked(Question, String),
    /// Others have answered.
    Answered(Asked),
    /// Those who are here are alone.
    Alone,
    /// They are no more.
    Together,
    /// Who waited for room may go on.
    Room,
}

/// A message that was kept.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) topic: Topic,
    pub(super) payload: Vec<u8>,
    /// What of it is whose, if it is of this server; and whether it was shown already.
    pub(super) own: Option<Pending>,
    /// When, in nanoseconds since 1970.
    pub(super) nanos: u64,
    /// It was kept before this server came.
    pub(super) is_earlier: bool,
}

/// What became of a claim to a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Claimed {
    /// It is the member's. It belongs to the member.
    Taken {
        /// By a token.
        is_owner: bool,
    },
    /// It is somebody else's.
    Refused,
    /// The bus does not say.
    Unknown,
}

/// The bus, as one server sees it.
#[derive(Debug)]
pub(super) struct Bus {
    settings: Arc<config::Bus>,
    subjects: Subjects,
    /// The name that the endpoints share, for the counters.
    rooms: String,
    history: u32,
    decoder: NatsCommands,
    link: Link,
    /// Which of its servers is dialled next.
    server: usize,
    /// How often in a row that has failed.
    failures: u32,
    dice: u64,
    /// Since when it is away; none: it is there.
    away_since: Option<Moment>,
    is_alone: bool,
    /// Nobody is here any more, and it ends when everything was kept.
    is_ending: bool,
    stream: Stream,
    consumer: Consumer,
    /// The steps of the beginning so far, and since when the last waits.
    steps: u64,
    stepped: Moment,
    outgoing: Outgoing,
    /// Somebody waits for room.
    is_waited_for: bool,
    leases: Leases,
    /// Names that are claimed anew.
    reclaims: Vec<(Name, ConnId)>,
    asks: Asks,
    /// The connection is to be closed in its turn.
    is_given_up: bool,
    tick: Moment,
    /// When the server was last heard, and whether it was asked since.
    heard: Moment,
    is_pinged: bool,
    events: VecDeque<Event>,
    counts: Counts,
}

/// The connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Link {
    /// There is none before this moment.
    Down(Moment),
    /// It is dialled.
    Dialling,
    /// The server is to say what it is.
    Greeting(ConnId),
    /// Streams and a consumer are made.
    Settling(ConnId, Step),
    /// What is said is kept, and comes back.
    Ready(ConnId),
}

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Login,
    Stream,
    /// It was there with other options.
    FoundStream,
    Bucket,
    Consumer,
    /// All that was kept meanwhile.
    CatchUp,
}

/// The stream of what is kept.
#[derive(Debug, Default)]
struct Stream {
    created: String,
    /// The place of the newest message that was seen.
    last: u64,
    /// What was kept before this place was kept before this server came.
    begins: u64,
}

/// What delivers it.
#[derive(Debug)]
struct Consumer {
    /// Which: what an earlier one delivers counts no more.
    epoch: u64,
    /// How many messages it has delivered.
    delivered: u64,
    /// It has lost one: what it delivers counts no more, and another one is asked for.
    is_void: bool,
    heard: Moment,
}

/// What a server says of itself, as far as it matters.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Info {
    headers: bool,
    jetstream: bool,
    /// Lame duck mode: it goes soon.
    ldm: bool,
    version: String,
    /// What a user with an nkey signs.
    nonce: Option<String>,
}

impl Bus {
    /// The bus of the rooms of this name, which keeps `history` lines of each at least.
    pub(super) fn new(settings: Arc<config::Bus>, set: Option<&str>, history: u32) -> Bus {
        let nonce = settings.own_number();
        Bus {
            subjects: Subjects::new(set, nonce),
            rooms: set.unwrap_or_default().to_owned(),
            history,
            decoder: NatsCommands::new(MESSAGE_BYTES_MAX + HEADERS_BYTES_MAX),
            link: Link::Down(Moment::START),
            // Not all servers begin at the same one.
            server: nonce as usize % settings.servers.len().max(1),
            failures: 0,
            dice: nonce | 1,
            away_since: Some(Moment::START),
            is_alone: false,
            is_ending: false,
            stream: Stream::default(),
            consumer: Consumer {
                epoch: 0,
                delivered: 0,
                is_void: false,
                heard: Moment::START,
            },
            steps: 0,
            stepped: Moment::START,
            outgoing: Outgoing::default(),
            is_waited_for: false,
            leases: Leases::default(),
            reclaims: Vec::new(),
            is_given_up: false,
            asks: Asks::default(),
            tick: Moment::START,
            heard: Moment::START,
            is_pinged: false,
            events: VecDeque::new(),
            counts: Counts::default(),
            settings,
        }
    }

    fn connection(&self) -> Option<ConnId> {
        match self.link {
            Link::Down(_) | Link::Dialling => None,
            Link::Greeting(id) | Link::Settling(id, _) | Link::Ready(id) => Some(id),
        }
    }

    fn is_ready(&self) -> bool {
        matches!(self.link, Link::Ready(_))
    }

    /// Whether those who are here hear each other alone.
    pub(super) fn is_alone(&self) -> bool {
        self.is_alone
    }

    /// What guests of this server have in their names.
    pub(super) fn tag(&self) -> &str {
        &self.subjects.me[..6]
    }

    /// The memory of what waits, in bytes.
    pub(super) fn kept_bytes(&self) -> usize {
        self.outgoing.bytes()
    }

    /// What the chat is to know.
    pub(super) fn next_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    // The connection: when it is made, how it begins, how it ends.

    /// When there is something to do.
    pub(super) fn due(&self) -> Moment {
        let alone = match self.away_since {
            Some(since) if !self.is_alone => since.after(PATIENCE),
            _ => Moment::NEVER,
        };
        match self.link {
            Link::Down(_) if self.is_ending => Moment::NEVER,
            Link::Down(until) => until.min(alone),
            Link::Dialling => alone,
            _ => self.tick.min(alone),
        }
    }

    /// Which server is to be dialled now.
    pub(super) fn dials(&mut self, now: Moment) -> Option<Dial> {
        if !matches!(self.link, Link::Down(until) if until <= now) || self.is_ending {
            return None;
        }
        let servers = &self.settings.servers;
        let (name, to) = servers.get(self.server % servers.len())?;
        self.link = Link::Dialling;
        Some(Dial {
            name: name.clone(),
            to: *to,
            within: STEP,
        })
    }

    /// It was dialled in vain.
    pub(super) fn dial_failed(&mut self, now: Moment, error: &io::Error) {
        let name = self.name();
        if self.failures == 0 {
            log::warn!(bus = name, error:%; "cannot connect to the bus");
        } else {
            log::debug!(bus = name, error:%; "cannot connect to the bus");
        }
        self.fail(now);
    }

    /// The name of the server that is dialled.
    fn name(&self) -> &str {
        let servers = &self.settings.servers;
        servers
            .get(self.server % servers.len().max(1))
            .map_or("", |(name, _)| name)
    }

    /// Another server, after a while.
    fn fail(&mut self, now: Moment) {
        self.counts.failures += 1;
        self.failures = self.failures.saturating_add(1);
        self.server = self.server.wrapping_add(1);
        let [least, most] = BACKOFF;
        let doubled = least.saturating_mul(1 << self.failures.min(10)).min(most);
        // Between half of it and all of it, or servers that lost a bus together would come back together.
        let wait = doubled / 2 + doubled.mul_f64(0.5 * self.roll());
        self.link = Link::Down(now.after(wait));
    }

    /// A number from 0 to 1 that another server does not have.
    fn roll(&mut self) -> f64 {
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        (self.dice >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// The server has answered the dial.
    pub(super) fn dialled(&mut self, t: &Turn<'_>) {
        self.decoder = NatsCommands::new(MESSAGE_BYTES_MAX + HEADERS_BYTES_MAX);
        self.link = Link::Greeting(t.id);
        (self.heard, self.is_pinged) = (t.now, false);
        (self.tick, self.stepped) = (t.now.after(TICK), t.now);
    }

    /// The connection is gone.
    pub(super) fn lost(&mut self, now: Moment, why: &str) {
        let was_good = self.is_ready() || matches!(self.link, Link::Settling(_, Step::CatchUp));
        if !self.is_ending {
            log::warn!(bus = self.name(), why; "the connection to the bus is gone");
        }
        self.fail(now);
        if was_good {
            // The next one at once, but not all together.
            self.failures = 0;
            let wait = BACKOFF[0].mul_f64(self.roll());
            self.link = Link::Down(now.after(wait));
        }
        self.be_away(now);
    }

    fn be_away(&mut self, now: Moment) {
        self.away_since.get_or_insert(now);
        let decided = self.leases.give_all_up(now);
        self.conclude(decided);
        let answered = self.asks.give_all_up();
        self.events
            .extend(answered.into_iter().map(Event::Answered));
    }

    /// One command of the server. Whether there was one.
    pub(super) fn input(&mut self, t: &mut Turn<'_>, input: &mut ReadBuf) -> Result<bool, Fault> {
        (self.heard, self.is_pinged) = (t.now, false);
        let mut decoder = self.decoder.clone();
        let frame = input.next(&mut decoder)?;
        let is_one = frame.is_some();
        if let Some(frame) = frame {
            self.take(t, frame);
        }
        self.decoder = decoder;
        Ok(is_one)
    }

    fn take(&mut self, t: &mut Turn<'_>, frame: NatsFrame<'_>) {
        match frame {
            NatsFrame::Info(json) => self.take_info(t, json),
            NatsFrame::Ping => t.reply(&(NatsFrame::Pong)),
            NatsFrame::Pong => {
                if matches!(self.link, Link::Settling(_, Step::Login)) {
                    self.begin(t);
                }
            }
            NatsFrame::Err(text) => self.take_refusal(text),
            NatsFrame::Msg(sid, message) => self.take_message(t, sid, &message),
            // What only clients say, from a server that is none.
            NatsFrame::Connect(_)
            | NatsFrame::Pub(_)
            | NatsFrame::Sub { .. }
            | NatsFrame::Unsub { .. }
            | NatsFrame::Ok => {}
        }
    }

    fn take_info(&mut self, t: &mut Turn<'_>, json: &[u8]) {
        let info: Info = serde_json::from_slice(json).unwrap_or_default();
        if info.ldm {
            log::info!(bus = self.name(); "the server of the bus is about to go: another one is taken");
            return t.close();
        }
        if !matches!(self.link, Link::Greeting(_)) {
            return;
        }
        if !info.headers || !info.jetstream {
            log::warn!(bus = self.name(), version:% = Escaped(info.version.as_bytes()); "this server has no JetStream, which the rooms of a bus need: start it with -js");
        }
        let connect = match login::connect(&self.settings.login, info.nonce.as_deref()) {
            Ok(connect) => connect,
            Err(why) => {
                log::warn!(bus = self.name(), why; "cannot log in to the bus");
                return t.close();
            }
        };
        t.reply(&(NatsFrame::Connect(connect.to_string().as_bytes())));
        t.reply(&(NatsFrame::Ping));
        self.link = Link::Settling(t.id, Step::Login);
        self.stepped = t.now;
    }

    fn take_refusal(&mut self, text: &str) {
        self.counts.refused(text);
        let said = shown(text);
        log::warn!(bus = self.name(), said:%; "the bus refuses");
    }

    /// Subscribes, and begins with the stream.
    fn begin(&mut self, t: &mut Turn<'_>) {
        for (sid, subject) in [
            (INBOX, self.subjects.inboxes()),
            (ASKS, self.subjects.ask()),
            (ALIVE, self.subjects.alive()),
        ] {
            t.reply(
                &(NatsFrame::Sub {
                    subject: &subject,
                    queue: None,
                    sid,
                }),
            );
        }
        self.step(t, Step::Stream);
    }

    /// Asks for what the next step needs.
    fn step(&mut self, t: &mut Turn<'_>, step: Step) {
        let Some(id) = self.connection() else {
            return;
        };
        let (subjects, settings) = (&self.subjects, &self.settings);
        let asked = match step {
            Step::Login | Step::CatchUp => return,
            Step::Stream => setup::stream(subjects, settings, self.history),
            Step::FoundStream => setup::found_stream(subjects),
            Step::Bucket => setup::bucket(subjects, settings),
            Step::Consumer => {
                let delivery = self.subscribe_anew(t, id);
                setup::consumer(&self.subjects, &delivery, self.stream.last)
            }
        };
        self.link = Link::Settling(id, step);
        self.stepped = t.now;
        self.steps += 1;
        let reply = self.subjects.inbox(Inbox::Setup, self.steps);
        let body = asked.body.to_string();
        self.publish(t, &asked.subject, Some(&reply), &[], body.as_bytes());
    }

    /// Subscribes to what the next consumer delivers, and not to what the last one does; the subject.
    fn subscribe_anew(&mut self, t: &mut Turn<'_>, id: ConnId) -> String {
        let before = self.consumer.epoch;
        if before > 0 {
            let (sid, after) = (DELIVERY + before, None);
            t.send(id, &NatsFrame::Unsub { sid, after });
        }
        let epoch = before + 1;
        self.consumer = Consumer {
            epoch,
            delivered: 0,
            is_void: false,
            heard: t.now,
        };
        let delivery = self.subjects.delivery(epoch);
        t.send(
            id,
            &NatsFrame::Sub {
                subject: &delivery,
                queue: None,
                sid: DELIVERY + epoch,
            },
        );
        delivery
    }

    /// A step was answered.
    fn stepped(&mut self, t: &mut Turn<'_>, message: &NatsMessage<'_>) {
        let Link::Settling(id, step) = self.link else {
            return;
        };
        let answer = JetStreamAnswer::read(message.payload).unwrap_or_default();
        if let Some(error) = answer.error.as_ref().or(no_responder(message).as_ref()) {
            let is_there = error.err_code == JetStreamError::STREAM_NAME_IN_USE;
            match step {
                Step::Stream if is_there => return self.step(t, Step::FoundStream),
                Step::Bucket if is_there => return self.step(t, Step::Consumer),
                _ => {
                    // It is asked again at a tick: a cluster may have no leader for a while.
                    let said = shown(&error.description);
                    return log::debug!(bus = self.name(), said:%; "the bus is not ready");
                }
            }
        }
        match step {
            Step::Login | Step::CatchUp => {}
            Step::Stream | Step::FoundStream => {
                let last = answer.state.last_seq;
                if self.stream.created.is_empty() {
                    self.stream.begins = last;
                } else if self.stream.created != answer.created && last < self.stream.last {
                    // It was made anew. Another time alone is another leader's, each of which has its own; and less in it
                    // alone is a leader that has not caught up.
                    self.stream.last = last;
                }
                self.stream.created = answer.created;
                self.step(t, Step::Bucket);
            }
            Step::Bucket => self.step(t, Step::Consumer),
            Step::Consumer => {
                self.link = Link::Settling(id, Step::CatchUp);
                (self.stepped, self.consumer.heard) = (t.now, t.now);
                if answer.num_pending == 0 {
                    self.be_ready(t);
                }
            }
        }
    }

    /// All that was kept while it was away was seen. What has not come back was not kept.
    fn be_ready(&mut self, t: &mut Turn<'_>) {
        let Link::Settling(id, Step::CatchUp) = self.link else {
            return;
        };
        self.link = Link::Ready(id);
        self.failures = 0;
        self.away_since = None;
        self.counts.connections += 1;
        log::info!(bus = self.name(); "connected to the bus");
        self.outgoing.send_all_again();
        if std::mem::take(&mut self.is_alone) {
            self.events.push_back(Event::Together);
        }
        self.tick = t.now;
        self.see_to(t);
    }

    // What comes.

    fn take_message(&mut self, t: &mut Turn<'_>, sid: u64, message: &NatsMessage<'_>) {
        match sid {
            INBOX => {
                let Some((inbox, number)) = self.subjects.inbox_of(message.subject) else {
                    return;
                };
                match inbox {
                    Inbox::Setup if number == self.steps => self.stepped(t, message),
                    Inbox::Kept => self.answered_kept(number, message),
                    Inbox::Claim => {
                        let outcome = self.leases.answered(number, answer_of(message), t.now);
                        self.conclude(vec![outcome]);
                        self.reclaim(t);
                    }
                    Inbox::Ask => {
                        let reply = serde_json::from_slice(message.payload).unwrap_or_default();
                        let answered = self.asks.answered(number, reply);
                        self.events.extend(answered.map(Event::Answered));
                    }
                    Inbox::Setup | Inbox::Nothing => {}
                }
            }
            ASKS => {
                let question = serde_json::from_slice(message.payload).ok();
                // Whoever can ask must not have us say to any other subject what they may not say themselves.
                let reply = message.reply.filter(|to| may_answer("_INBOX.", to));
                if let (Some(question), Some(reply)) = (question, reply) {
                    self.events
                        .push_back(Event::Asked(question, reply.to_owned()));
                }
            }
            ALIVE => {
                if let Ok(alive) = serde_json::from_slice(message.payload) {
                    self.asks.heard(alive, t.now);
                }
            }
            sid if sid == DELIVERY + self.consumer.epoch => self.take_delivery(t, message),
            _ => {}
        }
    }

    /// What the consumer delivers: a message, or that it is there.
    fn take_delivery(&mut self, t: &mut Turn<'_>, message: &NatsMessage<'_>) {
        if self.consumer.is_void {
            return;
        }
        self.consumer.heard = t.now;
        if message.headers.status() == Some(100) {
            let stalled = message.headers.get("Nats-Consumer-Stalled");
            if let Some(reply) = message
                .reply
                .or(stalled)
                .filter(|to| may_answer("$JS.FC.", to))
            {
                self.publish(t, reply, None, &[], b"");
            }
            let delivered = message.headers.get("Nats-Last-Consumer");
            let delivered = delivered.and_then(|number| number.parse::<u64>().ok());
            if delivered.is_some_and(|number| number > self.consumer.delivered) {
                self.begin_anew(t);
            }
            return;
        }
        let Some(at) = message.reply.and_then(JetStreamPosition::read) else {
            return;
        };
        if at.consumer != self.consumer.delivered + 1 {
            return self.begin_anew(t);
        }
        self.consumer.delivered = at.consumer;
        if at.stream > self.stream.last {
            self.stream.last = at.stream;
            if let Some(topic) = self.subjects.topic_of(message.subject) {
                let id = message.headers.get("Nats-Msg-Id");
                let number = id.and_then(|id| self.subjects.number_of(id));
                let own = number.and_then(|number| self.outgoing.take(number));
                self.counts.kept += 1;
                self.events.push_back(Event::Kept(Kept {
                    topic,
                    payload: message.payload.to_vec(),
                    own,
                    nanos: at.nanos,
                    is_earlier: at.stream <= self.stream.begins,
                }));
            }
            self.give_room();
        }
        if at.pending == 0 {
            self.be_ready(t);
        }
    }

    /// Something was lost on the way: from where we are, once more.
    fn begin_anew(&mut self, t: &mut Turn<'_>) {
        self.consumer.is_void = true;
        self.be_away(t.now);
        self.step(t, Step::Stream);
    }

    fn give_room(&mut self) {
        if self.is_waited_for && self.outgoing.may_go_on() {
            self.is_waited_for = false;
            self.events.push_back(Event::Room);
        }
    }

    /// Whether a message is kept: what matters is that it comes back, so only why it never will.
    fn answered_kept(&mut self, number: u64, message: &NatsMessage<'_>) {
        if no_responder(message).is_some() {
            // Nobody leads the stream just now: a tick sends it again.
            return;
        }
        let Some(error) = JetStreamAnswer::read(message.payload).and_then(|answer| answer.error)
        else {
            return;
        };
        if error.code >= 500 {
            return;
        }
        let why = shown(&error.description);
        log::warn!(bus = self.name(), why:%; "the bus does not keep what was said");
        if let Some(lost) = self.outgoing.take(number) {
            self.counts.lost += 1;
            self.events.push_back(Event::Lost(lost, why));
        }
        self.give_room();
    }

    // What goes.

    fn publish(
        &self,
        t: &mut Turn<'_>,
        subject: &str,
        reply: Option<&str>,
        headers: &[(&str, &str)],
        payload: &[u8],
    ) {
        let Some(id) = self.connection() else {
            return;
        };
        let mut lines = Vec::new();
        if !headers.is_empty() {
            NatsHeaders::write(headers, &mut lines);
        }
        let headers = NatsHeaders::read(&lines).unwrap_or_default();
        t.send(
            id,
            &(NatsFrame::Pub(NatsMessage {
                subject,
                reply,
                headers,
                payload,
            })),
        );
    }

    /// Sends what may go now.
    pub(super) fn pump(&mut self, t: &mut Turn<'_>) {
        if !self.is_ready() {
            return;
        }
        while let Some(pending) = self.outgoing.next(t.now) {
            let (number, payload) = (pending.number, pending.payload.clone());
            let subject = self.subjects.topic(&pending.topic);
            let id = self.subjects.id(number);
            let reply = self.subjects.inbox(Inbox::Kept, number);
            self.publish(t, &subject, Some(&reply), &[("Nats-Msg-Id", &id)], &payload);
        }
        if self.is_ending && self.outgoing.is_empty() {
            self.leave(t);
        }
    }

    /// Something is said, to be kept in order for all. Whether there was room for it.
    pub(super) fn keep(&mut self, topic: Topic, speaker: Option<ConnId>, bytes: &[u8]) -> bool {
        let fits = bytes.len() <= MESSAGE_BYTES_MAX && self.outgoing.has_room(bytes.len());
        if fits {
            self.outgoing.push(topic, speaker, bytes, self.is_alone);
        }
        fits
    }

    /// Whether who speaks is to wait until there is room. Those who wait are told when there is.
    pub(super) fn holds(&mut self) -> bool {
        let holds = !self.is_alone && !self.outgoing.has_room(2 * MESSAGE_BYTES_MAX);
        self.is_waited_for |= holds;
        holds
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
        let why = if is_owner { Why::Own } else { Why::New };
        let is_ready = self.is_ready();
        if is_ready {
            self.ask_for(t, name, holder, why);
        }
        is_ready
    }

    fn ask_for(&mut self, t: &mut Turn<'_>, name: Name, holder: ConnId, why: Why) {
        let expected = self
            .leases
            .expected(name, why)
            .map(|place| place.to_string());
        let number = self.leases.ask(name, holder, why, t.now);
        let headers = expected
            .as_ref()
            .map(|place| [("Nats-Expected-Last-Subject-Sequence", place.as_str())]);
        let headers = headers.as_ref().map_or(&[][..], |one| one);
        let (key, reply) = (
            self.subjects.key(name),
            self.subjects.inbox(Inbox::Claim, number),
        );
        self.publish(t, &key, Some(&reply), headers, self.subjects.me.as_bytes());
    }

    /// A member is called so no more.
    pub(super) fn release(&mut self, t: &mut Turn<'_>, name: Name) {
        if let Some(seq) = self.leases.release(name) {
            let subject = format!("$JS.API.STREAM.MSG.DELETE.{}", self.subjects.bucket());
            let reply = self.subjects.inbox(Inbox::Nothing, 0);
            let body = json!({ "seq": seq, "no_erase": true }).to_string();
            self.publish(t, &subject, Some(&reply), &[], body.as_bytes());
        }
    }

    /// Tells the chat what became of claims.
    fn conclude(&mut self, outcomes: Vec<Outcome>) {
        for outcome in outcomes {
            match outcome {
                Outcome::Nothing => {}
                Outcome::Decided(
                    Claim {
                        name, holder, what, ..
                    },
                    answer,
                ) => {
                    let claimed = match answer {
                        Answer::Taken(_) => Claimed::Taken {
                            is_owner: what == Why::Own,
                        },
                        Answer::Refused => Claimed::Refused,
                        Answer::Unknown => Claimed::Unknown,
                    };
                    self.events.push_back(Event::Claimed(holder, name, claimed));
                }
                Outcome::Lost(name, holder) => self.events.push_back(Event::NameLost(holder, name)),
                Outcome::Reclaim(name, holder) => self.reclaims.push((name, holder)),
            }
        }
    }

    /// Claims anew what was somebody's a moment ago, and may be nobody's.
    fn reclaim(&mut self, t: &mut Turn<'_>) {
        for (name, holder) in std::mem::take(&mut self.reclaims) {
            self.ask_for(t, name, holder, Why::Again);
        }
    }

    /// Asks all other servers; whether somebody will answer.
    pub(super) fn ask(&mut self, t: &mut Turn<'_>, question: Question) -> bool {
        if !self.is_ready() || self.asks.servers() == 0 {
            return false;
        }
        let Ok(body) = serde_json::to_vec(&question) else {
            return false;
        };
        let number = self.asks.ask(t.id, question, t.now);
        let (subject, reply) = (self.subjects.ask(), self.subjects.inbox(Inbox::Ask, number));
        self.publish(t, &subject, Some(&reply), &[], &body);
        true
    }

    /// Answers another server.
    pub(super) fn answer(&mut self, t: &mut Turn<'_>, to: &str, reply: &Reply) {
        if let Ok(body) = serde_json::to_vec(reply) {
            self.publish(t, to, None, &[], &body);
        }
    }

    /// How many are in a room of other servers.
    pub(super) fn elsewhere(&self, room: Name) -> usize {
        self.asks.elsewhere(room)
    }

    /// The rooms of other servers.
    pub(super) fn rooms(&self) -> std::collections::BTreeMap<String, usize> {
        self.asks.rooms()
    }

    /// Says to other servers that this one is there.
    pub(super) fn say_alive(&mut self, t: &mut Turn<'_>, mut alive: Alive) {
        alive.server.clone_from(&self.subjects.me);
        if let Ok(body) = serde_json::to_vec(&alive) {
            self.publish(t, &self.subjects.alive(), None, &[], &body);
        }
    }

    // What time asks for.

    /// Sees to whatever is due. Whether a second has passed since it did last.
    pub(super) fn see_to(&mut self, t: &mut Turn<'_>) -> bool {
        let now = t.now;
        if self
            .away_since
            .is_some_and(|since| since.after(PATIENCE) <= now)
            && !self.is_alone
        {
            self.is_alone = true;
            log::warn!("the bus is away: rooms are those of this server alone");
            self.events.push_back(Event::Alone);
        }
        if self.tick > now {
            return false;
        }
        let Some(id) = self.connection() else {
            return false;
        };
        self.tick = now.after(TICK);
        let decided = self.leases.expire(now);
        self.conclude(decided);
        let over = self.asks.expire(now);
        self.events.extend(over.into_iter().map(Event::Answered));
        let [asks, gives_up] = PING;
        if self.heard.after(gives_up) <= now || self.is_stuck(now) {
            self.close(t, id);
            return false;
        }
        if self.heard.after(asks) <= now && !std::mem::replace(&mut self.is_pinged, true) {
            t.send(id, &(NatsFrame::Ping));
        }
        match self.link {
            // Whatever it waits for, from the beginning.
            Link::Settling(_, step) if step != Step::Login && self.stepped.after(STEP) <= now => {
                self.step(t, Step::Stream);
            }
            Link::Ready(_) if self.consumer.heard.after(SILENCE) <= now => {
                log::info!(bus = self.name(); "the bus delivers nothing: it is asked to begin anew");
                self.be_away(now);
                self.step(t, Step::Stream);
            }
            Link::Ready(_) => {
                self.outgoing.send_late_again(now);
                self.pump(t);
                for (name, holder) in self.leases.due(now, self.settings.lease) {
                    self.ask_for(t, name, holder, Why::Renewal);
                }
            }
            _ => {}
        }
        true
    }

    /// Whether the server has not even greeted in time.
    fn is_stuck(&self, now: Moment) -> bool {
        let greets = matches!(
            self.link,
            Link::Greeting(_) | Link::Settling(_, Step::Login)
        );
        greets && self.stepped.after(STEP) <= now
    }

    /// Gives the connection up, which is not served any more: another one is dialled when it is gone.
    fn close(&mut self, t: &mut Turn<'_>, id: ConnId) {
        t.visit(id);
        self.is_given_up = true;
    }

    /// The turn of the connection that was asked for.
    pub(super) fn wake(&mut self, t: &mut Turn<'_>) {
        if self.is_ending && !self.is_given_up && (!self.is_ready() || self.outgoing.is_empty()) {
            self.leave(t);
        }
        if std::mem::take(&mut self.is_given_up) {
            t.close();
        }
    }

    /// Nobody is here any more: it ends when all that was said is kept.
    pub(super) fn end(&mut self, t: &mut Turn<'_>) {
        self.is_ending = true;
        // Behind what those who are here are still asked for.
        t.visit(t.id);
    }

    fn leave(&mut self, t: &mut Turn<'_>) {
        if let Some(id) = self.connection() {
            let gone = Alive {
                gone: true,
                ..Alive::default()
            };
            self.say_alive(t, gone);
            self.close(t, id);
        }
    }

    /// What was counted.
    pub(super) fn figures(&self, into: &mut Vec<Family>) {
        self.counts.add_to(
            into,
            &self.rooms,
            Now {
                is_up: self.is_ready(),
                servers: self.asks.servers(),
                waiting_bytes: self.outgoing.bytes(),
            },
        );
    }
}

/// Whether this is a subject for answers of one kind, and nothing else.
fn may_answer(kind: &str, subject: &str) -> bool {
    subject.starts_with(kind) && !subject.contains(|c: char| c.is_whitespace() || c.is_control())
}

/// What a server says, for the log and for members: not all of a long text, and nothing that acts on a terminal.
fn shown(text: &str) -> String {
    Escaped(&text.as_bytes()[..text.len().min(SHOWN_BYTES_MAX)]).to_string()
}

/// What is answered where nobody is.
fn no_responder(message: &NatsMessage<'_>) -> Option<JetStreamError> {
    (message.headers.status() == Some(503)).then(|| JetStreamError {
        code: 503,
        err_code: 0,
        description: "nobody answers".to_owned(),
    })
}

/// What an answer says of a claim.
fn answer_of(message: &NatsMessage<'_>) -> Answer {
    match JetStreamAnswer::read(message.payload) {
        _ if no_responder(message).is_some() => Answer::Unknown,
        Some(JetStreamAnswer {
            error: Some(error), ..
        }) if error.err_code == JetStreamError::WRONG_LAST_SEQUENCE => Answer::Refused,
        Some(JetStreamAnswer {
            error: None, seq, ..
        }) if seq > 0 => Answer::Taken(seq),
        _ => Answer::Unknown,
    }
}
