use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use data_encoding::BASE64;
use onepoll::reactor::{Secure, Session};
use onepoll::wire::{Decode as _, Encode as _, NatsCommands, NatsFrame, NatsHeaders, NatsMessage};
use serde_json::{Value, json};

use super::hazards::{Hazard, Hazards};
use crate::random::Random;

/// A server of NATS in a script: what it is told, it does, and no more than is asked of it here. Where `faults` are, it
/// does it as a cluster may on a bad day.
#[derive(Debug)]
pub(crate) struct Nats {
    clients: BTreeMap<usize, Client>,
    pub(crate) streams: HashMap<String, Stream>,
    consumers: Vec<Consumer>,
    /// What it says, and to which of its connections.
    pub(crate) says: Vec<Says>,
    /// It answers nothing that streams are asked, as while none of a cluster leads.
    pub(crate) has_no_leader: bool,
    /// Which of a cluster leads: each says another time at which a stream was made.
    pub(crate) leader: u64,
    /// Messages that it keeps from now on are not told to whoever published them, nor delivered yet.
    pub(crate) is_silent: bool,
    /// How many of the newest messages whoever leads has not applied yet: it does not tell of them until it has.
    pub(crate) behind_by: u64,
    /// The user that it knows, by a public key; none: it lets everybody in.
    pub(crate) user: Option<String>,
    count: u64,
    /// How often something goes wrong, of 256.
    pub(crate) faults: u8,
    random: Random,
    pub(crate) hazards: Hazards,
    /// Messages that were refused for good, by their ids: they stay refused.
    refused: HashSet<String>,
    /// Connections that it ends when it has said what there is to say.
    pub(crate) ends: Vec<usize>,
    /// Where the stream of rooms ended when each server first knew of it, by the server; and whether that is still so.
    begun: HashMap<String, (u64, bool)>,
    /// What they said.
    pub(crate) lost: Vec<Vec<u8>>,
    /// Keys of names that were written, when, and by which server.
    named: Vec<(String, u64, String)>,
    /// What begins its sessions of TLS; none: it speaks none.
    pub(crate) secure: Option<Arc<dyn Secure>>,
    /// It does not say what it is.
    pub(crate) is_slow_to_greet: bool,
    /// It does not go on with handshakes.
    pub(crate) is_mute: bool,
    /// What somebody between puts behind what it says first, in plaintext.
    pub(crate) behind: Vec<u8>,
    /// Bytes that it has heard.
    pub(crate) heard: usize,
    /// How often somebody has said who they are.
    pub(crate) logins: usize,
}

/// Something that is said.
#[derive(Debug)]
pub(crate) struct Says {
    pub(crate) to: usize,
    pub(crate) bytes: Vec<u8>,
    pub(crate) way: Way,
}

/// By which way it comes to the server that says it: what comes by one stays in order, and what comes by another may
/// overtake it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// What is in no record: its first words, and records of a handshake.
    Bare,
    /// Its own words, and what is delivered.
    Straight,
    /// Answers of the stream of rooms.
    Rooms,
    /// Answers of the bucket of names.
    Names,
    /// Answers to requests about streams and consumers.
    Requests,
}

#[derive(Debug)]
struct Client {
    unread: Vec<u8>,
    commands: NatsCommands,
    subscriptions: Vec<(u64, String)>,
    session: Option<Box<dyn Session>>,
    /// Its handshake is over, or there was none.
    is_open: bool,
    /// What it is to sign.
    nonce: String,
}

#[derive(Debug, Default)]
pub(crate) struct Stream {
    subjects: Vec<String>,
    pub(crate) max_age: u64,
    /// What is kept, by its place.
    pub(crate) kept: BTreeMap<u64, Stored>,
    pub(crate) last: u64,
    ids: HashMap<String, u64>,
    created: u64,
    /// Values that outlived their lease.
    expired: u64,
}

#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) subject: String,
    headers: Vec<u8>,
    pub(crate) payload: Vec<u8>,
    at: u64,
}

#[derive(Debug)]
struct Consumer {
    stream: String,
    deliver: String,
    next: u64,
    delivered: u64,
    /// It waits after so many messages until whoever hears it says that it does; 0: never.
    waits_after: u64,
    /// It waits for a message here.
    stalled: Option<String>,
}

/// What a server says before it ends a connection that has only begun, and what that is.
const AT_FIRST: [(&str, Hazard); 2] = [
    ("Authorization Violation", Hazard::NotAuthorized),
    ("maximum connections exceeded", Hazard::TooManyConnections),
];

impl Nats {
    pub(crate) fn new(random: Random) -> Nats {
        Nats {
            clients: BTreeMap::new(),
            streams: HashMap::new(),
            consumers: Vec::new(),
            says: Vec::new(),
            has_no_leader: false,
            leader: 0,
            is_silent: false,
            behind_by: 0,
            user: None,
            secure: None,
            is_slow_to_greet: false,
            is_mute: false,
            behind: Vec::new(),
            heard: 0,
            logins: 0,
            count: 0,
            faults: 0,
            random,
            hazards: Hazards::default(),
            refused: HashSet::new(),
            ends: Vec::new(),
            begun: HashMap::new(),
            lost: Vec::new(),
            named: Vec::new(),
        }
    }

    /// Whether this goes wrong now; the rarer the greater `rarity` is.
    fn befalls(&mut self, hazard: Hazard, rarity: u64) -> bool {
        let faults = u64::from(self.faults);
        let does = faults > 0 && self.random.below(256 * rarity) < faults;
        if does {
            self.hazards.count(hazard);
        }
        does
    }

    /// Nothing goes wrong any more.
    pub(crate) fn calms(&mut self) {
        self.faults = 0;
        for consumer in &mut self.consumers {
            consumer.waits_after = 0;
        }
    }

    /// The consumer of one of those who hear something is gone, and nobody is told.
    pub(crate) fn forgets_a_consumer(&mut self) {
        if !self.consumers.is_empty() {
            let at = self.random.index(self.consumers.len());
            self.consumers.remove(at);
            self.hazards.count(Hazard::ConsumerGone);
        }
    }

    /// Another one leads, which may not have all that was kept yet.
    pub(crate) fn elects(&mut self, other: bool, behind: u64) {
        self.has_no_leader = false;
        self.leader += u64::from(other);
        self.behind_by = behind;
        let hazard = match (other, behind > 0) {
            (true, true) => Hazard::OtherLeaderBehind,
            (true, false) => Hazard::OtherLeader,
            (false, true) => Hazard::LeaderBehind,
            (false, false) => return,
        };
        self.hazards.count(hazard);
    }

    /// All lines that were kept, each with the place of its message, in order.
    pub(crate) fn order(&self) -> impl Iterator<Item = (u64, &[u8])> {
        let streams = self.streams.values();
        let kept = streams.flat_map(|stream| &stream.kept);
        let rooms = kept.filter(|(_, stored)| stored.subject.starts_with("onepoll._.room."));
        rooms.flat_map(|(place, stored)| {
            let lines = stored.payload.split(|byte| *byte == b'\n');
            lines.map(|line| (*place, line))
        })
    }

    /// Behind which place a server hears what is kept, if it has ever heard anything, by what its guests are called.
    pub(crate) fn begun(&self, tag: &str) -> Option<u64> {
        let found = self
            .begun
            .iter()
            .find(|(server, _)| server.starts_with(tag));
        let (begins, is_over) = *found?.1;
        is_over.then_some(begins)
    }

    /// When a name was written, and by which server.
    pub(crate) fn writers(&self, name: &str) -> impl Iterator<Item = (u64, &str)> {
        let digits: String = name.bytes().map(|byte| format!("{byte:02x}")).collect();
        let ours = move |key: &str| key.ends_with(&format!(".{digits}"));
        let named = self.named.iter().filter(move |(key, ..)| ours(key));
        named.map(|(_, at, server)| (*at, server.as_str()))
    }

    /// A server is told how far the stream of rooms is, or that it hears it from now on.
    fn learn(&mut self, request: &str, reply: Option<&str>, answer: Option<&Value>) {
        let server = reply.and_then(|to| to.strip_prefix("_INBOX.")?.split('.').next());
        let (Some(server), Some(answer)) = (server, answer) else {
            return;
        };
        let begun = self.begun.entry(server.to_owned()).or_default();
        if let Some(last) = answer["state"]["last_seq"].as_u64()
            && !request.contains(".KV_")
            && !begun.1
        {
            // The first answer counts, and one behind it may come from a leader that has less.
            begun.0 = begun.0.max(last);
        }
        begun.1 |= request.starts_with("CONSUMER.CREATE.");
    }

    /// Somebody connects.
    pub(crate) fn greets(&mut self, client: usize) {
        let nonce = format!("nonce-{client}");
        let mut info = json!({
            "server_id": "S",
            "version": "2.9.10",
            "headers": true,
            "jetstream": true,
            "max_payload": 1 << 20,
            "tls_required": self.secure.is_some(),
        });
        if self.user.is_some() {
            info["nonce"] = nonce.as_str().into();
        }
        let mut said = Vec::new();
        NatsFrame::Info(info.to_string().as_bytes()).encode(&mut said);
        said.extend_from_slice(&self.behind);
        if !self.is_slow_to_greet {
            self.say_bare(client, said);
        }
        let session = self
            .secure
            .as_ref()
            .map(|secure| secure.begin().expect("a session"));
        let new = Client {
            unread: Vec::new(),
            commands: NatsCommands::new(1 << 20),
            subscriptions: Vec::new(),
            is_open: session.is_none(),
            session,
            nonce,
        };
        self.clients.insert(client, new);
    }

    /// A connection is gone, and with it what was delivered there.
    pub(crate) fn loses(&mut self, client: usize) {
        if let Some(client) = self.clients.remove(&client) {
            let has = |subject: &str| client.subscriptions.iter().any(|(_, to)| to == subject);
            self.consumers.retain(|consumer| !has(&consumer.deliver));
        }
    }

    /// Its server is about to go, and says so.
    pub(crate) fn is_lame(&mut self, client: usize) {
        let info = json!({"headers": true, "jetstream": true, "ldm": true});
        self.say(client, &NatsFrame::Info(info.to_string().as_bytes()));
    }

    pub(crate) fn refuses(&mut self, client: usize, why: &str) {
        self.say(client, &NatsFrame::Err(why));
    }

    /// What a client says.
    pub(crate) fn hears(&mut self, client: usize, bytes: &[u8], now: u64) {
        let Some(mut this) = self.clients.remove(&client) else {
            return;
        };
        self.heard += bytes.len();
        match &mut this.session {
            None => this.unread.extend_from_slice(bytes),
            Some(_) if self.is_mute => {}
            Some(session) => {
                this.is_open |= open(&mut **session, bytes, &mut this.unread);
                self.says.push(Says {
                    to: client,
                    bytes: written(&mut **session),
                    way: Way::Bare,
                });
            }
        }
        let unread = std::mem::take(&mut this.unread);
        let mut rest = &unread[..];
        let mut commands = this.commands.clone();
        self.clients.insert(client, this);
        while let Some((frame, taken)) = commands.decode(rest).expect("the bus says what is right")
            && self.clients.contains_key(&client)
        {
            self.takes(client, frame, now);
            rest = &rest[taken..];
        }
        if let Some(this) = self.clients.get_mut(&client) {
            (this.unread, this.commands) = (rest.to_vec(), commands);
        }
    }

    fn takes(&mut self, client: usize, frame: NatsFrame<'_>, now: u64) {
        match frame {
            NatsFrame::Ping => self.say(client, &NatsFrame::Pong),
            NatsFrame::Connect(json) => {
                let said: Value = serde_json::from_slice(json).expect("CONNECT is JSON");
                self.logins += 1;
                assert_eq!(
                    (&said["verbose"], &said["echo"]),
                    (&json!(false), &json!(false))
                );
                let nonce = &self.clients[&client].nonce;
                let user = self.user.as_deref();
                if user.is_some_and(|user| !has_signed(&said, user, nonce)) {
                    self.refuses(client, "Authorization Violation");
                    self.loses(client);
                }
                for (text, hazard) in AT_FIRST {
                    if self.befalls(hazard, 4) {
                        self.refuses(client, text);
                        self.ends.push(client);
                    }
                }
            }
            NatsFrame::Pong => {}
            NatsFrame::Sub { subject, sid, .. } => {
                let this = self.clients.get_mut(&client).expect("it speaks");
                this.subscriptions.push((sid, subject.to_owned()));
            }
            NatsFrame::Unsub { sid, .. } => {
                let this = self.clients.get_mut(&client).expect("it speaks");
                let gone = this
                    .subscriptions
                    .iter()
                    .find(|(its, _)| *its == sid)
                    .cloned();
                this.subscriptions.retain(|(its, _)| *its != sid);
                if let Some((_, subject)) = gone {
                    self.consumers
                        .retain(|consumer| consumer.deliver != subject);
                }
            }
            NatsFrame::Pub(message) => self.published(client, &message, now),
            other => panic!("no client says {other:?}"),
        }
    }

    fn published(&mut self, client: usize, message: &NatsMessage<'_>, now: u64) {
        if let Some(request) = message.subject.strip_prefix("$JS.API.") {
            let answer = match self.has_no_leader {
                true => None,
                false => Some(self.answer(request, message.payload, now)),
            };
            if !self.befalls(Hazard::AnswerLost, 8) {
                self.learn(request, message.reply, answer.as_ref());
                self.reply(message, answer, Way::Requests);
            }
            // A new consumer has its answer before what it delivers, unless that comes by another way.
            return self.deliver();
        }
        if message.subject.starts_with("$JS.FC.") {
            let waits =
                |consumer: &&mut Consumer| consumer.stalled.as_deref() == Some(message.subject);
            if let Some(consumer) = self.consumers.iter_mut().find(waits) {
                consumer.stalled = None;
                self.hazards.count(Hazard::FlowControl);
            }
            return self.deliver();
        }
        let takes = |stream: &Stream| stream.subjects.iter().any(|s| is_match(s, message.subject));
        if self.streams.values().any(takes) {
            if self.befalls(Hazard::NotPermitted, 24) {
                let text = format!(
                    "Permissions Violation for Publish to \"{}\"",
                    message.subject
                );
                return self.refuses(client, &text);
            }
            let answer = (!self.has_no_leader).then(|| self.store(message, now));
            let is_name = message.subject.starts_with("$KV.");
            let (lost, way) = match is_name {
                true => (Hazard::AnswerLost, Way::Names),
                false => (Hazard::Unacknowledged, Way::Rooms),
            };
            let is_told = !self.is_silent && self.behind_by == 0;
            if is_told && !self.befalls(lost, 8) {
                self.reply(message, answer, way);
            }
            self.deliver();
            return;
        }
        self.pass_on(Some(client), message, Way::Straight);
    }

    /// Core NATS: to all who want it, but not back.
    fn pass_on(&mut self, from: Option<usize>, message: &NatsMessage<'_>, way: Way) {
        let mut to = Vec::new();
        for (&client, this) in self
            .clients
            .iter()
            .filter(|(client, _)| Some(**client) != from)
        {
            let wanted = this
                .subscriptions
                .iter()
                .filter(|(_, s)| is_match(s, message.subject));
            to.extend(wanted.map(|(sid, _)| (client, *sid)));
        }
        for (client, sid) in to {
            self.say_by(client, &NatsFrame::Msg(sid, *message), way);
        }
    }

    fn reply(&mut self, message: &NatsMessage<'_>, answer: Option<Value>, way: Way) {
        let Some(to) = message.reply else {
            return;
        };
        let payload = answer.as_ref().map(Value::to_string).unwrap_or_default();
        let headers = match answer {
            Some(_) => NatsHeaders::default(),
            None => NatsHeaders::read(b"NATS/1.0 503\r\n\r\n").expect("these are headers"),
        };
        self.pass_on(
            None,
            &NatsMessage {
                subject: to,
                reply: None,
                headers,
                payload: payload.as_bytes(),
            },
            way,
        );
    }

    fn answer(&mut self, request: &str, body: &[u8], now: u64) -> Value {
        let body: Value = serde_json::from_slice(body).expect("requests are JSON");
        let (verb, name) = request
            .rsplit_once('.')
            .expect("a request names what it is about");
        match verb {
            "STREAM.CREATE" => {
                let subjects = body["subjects"].as_array().expect("it has subjects");
                let text = |value: &Value| value.as_str().expect("text").to_owned();
                self.count += 1;
                let (count, leader, behind) = (self.count, self.leader, self.behind_by);
                let max_age = body["max_age"].as_u64().unwrap_or(0);
                let made = self.streams.get(name).map(|stream| stream.max_age);
                let differs = made.is_some_and(|made| made != max_age);
                if differs || made.is_some() && self.befalls(Hazard::NameInUse, 4) {
                    // Another server of ours made it with other options.
                    return json!({"error": {"code": 400, "err_code": 10058, "description": "stream name already in use"}});
                }
                let stream = self
                    .streams
                    .entry(name.to_owned())
                    .or_insert_with(|| Stream {
                        subjects: subjects.iter().map(text).collect(),
                        max_age,
                        created: count,
                        ..Stream::default()
                    });
                stream.info(leader, behind)
            }
            "STREAM.INFO" => self.streams[name].info(self.leader, self.behind_by),
            "STREAM.MSG.DELETE" => {
                let place = body["seq"].as_u64().expect("a place");
                let gone = self
                    .streams
                    .get_mut(name)
                    .and_then(|stream| stream.kept.remove(&place));
                json!({"success": gone.is_some()})
            }
            "STREAM.MSG.GET" => {
                let subject = body["last_by_subj"].as_str().expect("a subject");
                let stream = self.streams.get_mut(name).expect("it was made");
                stream.forget(now);
                match stream.newest(subject) {
                    None => {
                        json!({"error": {"code": 404, "err_code": 10037, "description": "no message found"}})
                    }
                    Some((place, stored)) => {
                        let data = BASE64.encode(&stored.payload);
                        json!({"message": {"subject": subject, "seq": place, "data": data}})
                    }
                }
            }
            "CONSUMER.CREATE" => {
                let config = &body["config"];
                let first = config["opt_start_seq"].as_u64().unwrap_or(1);
                let deliver = config["deliver_subject"]
                    .as_str()
                    .expect("it pushes")
                    .to_owned();
                let again = match first > 1 && self.befalls(Hazard::DeliveredAgain, 2) {
                    true => self.random.some(3) as u64,
                    false => 0,
                };
                let next = first.saturating_sub(again).max(1);
                let last = self.streams[name].last_of(self.behind_by);
                let waits_after = match self.faults {
                    0 => 0,
                    _ => self.random.some(12) as u64,
                };
                let consumer = Consumer {
                    stream: name.to_owned(),
                    deliver,
                    next,
                    delivered: 0,
                    waits_after,
                    stalled: None,
                };
                self.consumers.push(consumer);
                json!({"num_pending": (last + 1).saturating_sub(next)})
            }
            other => panic!("{other} is not asked for"),
        }
    }

    fn store(&mut self, message: &NatsMessage<'_>, now: u64) -> Value {
        let is_name = message.subject.starts_with("$KV.");
        let id = message.headers.get("Nats-Msg-Id").map(ToOwned::to_owned);
        if let Some(id) = &id {
            let kept = self.streams.values().find_map(|stream| stream.ids.get(id));
            if let Some(place) = kept {
                let place = *place;
                self.hazards.count(Hazard::Duplicate);
                return json!({"seq": place, "duplicate": true});
            }
            if self.refused.contains(id) || self.befalls(Hazard::StreamFull, 48) {
                if self.refused.insert(id.clone()) {
                    self.lost.push(message.payload.to_vec());
                }
                return json!({"error": {"code": 400, "err_code": 10077, "description": "maximum messages exceeded"}});
            }
        }
        if self.befalls(Hazard::NoResources, 24) {
            return json!({"error": {"code": 503, "err_code": 10023, "description": "insufficient resources"}});
        }
        let matches = |(_, stream): &(&String, &mut Stream)| {
            stream.subjects.iter().any(|s| is_match(s, message.subject))
        };
        let (_, stream) = self.streams.iter_mut().find(matches).expect("it was found");
        stream.forget(now);
        if std::mem::take(&mut stream.expired) > 0 {
            self.hazards.count(Hazard::LeaseOver);
        }
        let newest = || stream.newest(message.subject).map_or(0, |(place, _)| place);
        if let Some(expected) = message.headers.get("Nats-Expected-Last-Subject-Sequence")
            && expected != newest().to_string()
        {
            self.hazards.count(Hazard::NameContended);
            return json!({"error": {"code": 400, "err_code": 10071, "description": "wrong last sequence"}});
        }
        if is_name {
            let server = String::from_utf8_lossy(message.payload).into_owned();
            let key = message.subject.to_owned();
            self.named.push((key, now, server));
            // One value a key.
            stream
                .kept
                .retain(|_, stored| stored.subject != message.subject);
        }
        stream.last += 1;
        stream.ids.extend(id.map(|id| (id, stream.last)));
        let stored = Stored {
            subject: message.subject.to_owned(),
            headers: message.headers.as_bytes().to_vec(),
            payload: message.payload.to_vec(),
            at: now,
        };
        stream.kept.insert(stream.last, stored);
        json!({"seq": stream.last})
    }

    /// Consumers deliver what there is.
    pub(crate) fn deliver(&mut self) {
        if self.has_no_leader || self.is_silent {
            return;
        }
        for n in 0..self.consumers.len() {
            while self.deliver_one(n) {}
        }
    }

    /// A consumer delivers the next message. Whether there may be another one.
    fn deliver_one(&mut self, n: usize) -> bool {
        let consumer = &mut self.consumers[n];
        let stream = &self.streams[&consumer.stream];
        let last = stream.last_of(self.behind_by);
        if consumer.stalled.is_some() || consumer.next > last {
            return false;
        }
        let Some((&place, stored)) = stream.kept.range(consumer.next..=last).next() else {
            return false;
        };
        consumer.next = place + 1;
        consumer.delivered += 1;
        let pending = last - place;
        let (delivered, name) = (consumer.delivered, &consumer.stream);
        let at = stored.at;
        let reply = format!("$JS.ACK.{name}.C.1.{place}.{delivered}.{at}.{pending}");
        let (stored, deliver) = (stored.clone(), consumer.deliver.clone());
        if consumer.waits_after > 0 && delivered.is_multiple_of(consumer.waits_after) {
            self.count += 1;
            consumer.stalled = Some(format!("$JS.FC.{name}.C.{}", self.count));
        }
        if !self.befalls(Hazard::DeliveryLost, 48) {
            let Stored {
                subject,
                headers,
                payload,
                ..
            } = &stored;
            self.deliver_to(&deliver, subject, &reply, headers, payload);
        }
        if let Some(stalled) = self.consumers[n].stalled.clone() {
            let headers = b"NATS/1.0 100 FlowControl Request\r\n\r\n";
            self.deliver_to(&deliver, &deliver, &stalled, headers, b"");
        }
        true
    }

    /// Consumers say that they are there.
    pub(crate) fn beats(&mut self) {
        let clients: Vec<usize> = self.clients.keys().copied().collect();
        for client in clients {
            if self.befalls(Hazard::BusPings, 2) {
                self.say(client, &NatsFrame::Ping);
            }
        }
        if self.has_no_leader {
            return;
        }
        for n in 0..self.consumers.len() {
            let Consumer {
                deliver,
                delivered,
                stalled,
                ..
            } = &self.consumers[n];
            let (deliver, delivered) = (deliver.clone(), *delivered);
            let mut headers =
                format!("NATS/1.0 100 Idle Heartbeat\r\nNats-Last-Consumer: {delivered}\r\n");
            if let Some(stalled) = stalled {
                headers += &format!("Nats-Consumer-Stalled: {stalled}\r\n");
                self.hazards.count(Hazard::Stalled);
            }
            headers += "\r\n";
            self.deliver_to(&deliver, &deliver, "", headers.as_bytes(), b"");
        }
    }

    fn deliver_to(&mut self, to: &str, subject: &str, reply: &str, headers: &[u8], payload: &[u8]) {
        let mut wanted = Vec::new();
        for (&client, this) in &self.clients {
            let its = this
                .subscriptions
                .iter()
                .filter(|(_, subject)| subject == to);
            wanted.extend(its.map(|(sid, _)| (client, *sid)));
        }
        for (client, sid) in wanted {
            let message = NatsMessage {
                subject,
                reply: (!reply.is_empty()).then_some(reply),
                headers: NatsHeaders::read(headers).expect("these are headers"),
                payload,
            };
            self.say(client, &NatsFrame::Msg(sid, message));
        }
    }

    fn say(&mut self, client: usize, frame: &NatsFrame<'_>) {
        self.say_by(client, frame, Way::Straight);
    }

    fn say_by(&mut self, to: usize, frame: &NatsFrame<'_>, way: Way) {
        let mut bytes = Vec::new();
        frame.encode(&mut bytes);
        // What it would say in the middle of a handshake is not said.
        if self.clients.get(&to).is_none_or(|client| client.is_open) {
            self.says.push(Says { to, bytes, way });
        }
    }

    fn say_bare(&mut self, to: usize, bytes: Vec<u8>) {
        let way = Way::Bare;
        self.says.push(Says { to, bytes, way });
    }

    /// What is said to a client as it is sent; none to one that is gone, if that takes a session.
    pub(crate) fn seals(&mut self, client: usize, bytes: Vec<u8>) -> Option<Vec<u8>> {
        match self.clients.get_mut(&client) {
            None => self.secure.is_none().then_some(bytes),
            Some(Client {
                session: Some(session),
                ..
            }) => {
                assert_eq!(session.seal(&bytes), bytes.len());
                Some(written(&mut **session))
            }
            Some(_) => Some(bytes),
        }
    }
}

/// Opens what came into `plain`; whether the handshake is over. Whoever speaks to a server of TLS says nothing that is
/// none.
fn open(session: &mut dyn Session, mut cipher: &[u8], plain: &mut Vec<u8>) -> bool {
    let (mut is_open, mut records) = (false, u32::MAX);
    while !cipher.is_empty() {
        let taken = session.take(&mut cipher, &mut records);
        let taken = taken.expect("what comes are records of this session");
        is_open |= taken.is_open;
        let had = plain.len();
        plain.resize(had + session.holds(), 0);
        session.give(&mut plain[had..]);
        if taken.has_ended {
            break;
        }
    }
    is_open
}

/// The records that are to be sent.
fn written(session: &mut dyn Session) -> Vec<u8> {
    let mut bytes = Vec::new();
    while session.wants_write() {
        let written = session.write(&mut |slices| {
            slices
                .iter()
                .for_each(|slice| bytes.extend_from_slice(slice));
            Ok(slices.iter().map(|slice| slice.len()).sum())
        });
        written.expect("memory takes all of it");
    }
    bytes
}

impl Stream {
    /// The newest place that whoever leads knows of, which is behind by so many.
    fn last_of(&self, behind: u64) -> u64 {
        match self.max_age_of_a_name() {
            Some(_) => self.last,
            None => self.last.saturating_sub(behind),
        }
    }

    /// The newest message of a subject, and its place.
    fn newest(&self, subject: &str) -> Option<(u64, &Stored)> {
        let mut kept = self.kept.iter().rev();
        let found = kept.find(|(_, stored)| stored.subject == subject);
        found.map(|(place, stored)| (*place, stored))
    }

    fn info(&self, leader: u64, behind: u64) -> Value {
        json!({
            "config": {"max_age": self.max_age},
            "created": (self.created * 1000 + leader).to_string(),
            "state": {"last_seq": self.last_of(behind)},
        })
    }

    /// How long a value is kept, where they are names.
    fn max_age_of_a_name(&self) -> Option<u64> {
        let is_bucket = self
            .subjects
            .iter()
            .any(|subject| subject.starts_with("$KV."));
        is_bucket.then_some(self.max_age)
    }

    /// Names whose lease is over are free. Lines are kept for longer than any script is.
    fn forget(&mut self, now: u64) {
        let Some(max_age) = self.max_age_of_a_name().filter(|max_age| *max_age > 0) else {
            return;
        };
        let before = self.kept.len();
        self.kept
            .retain(|_, stored| now.saturating_sub(stored.at) < max_age);
        self.expired += (before - self.kept.len()) as u64;
    }
}

/// Whether a client has shown that it is this user.
#[cfg(feature = "tls")]
fn has_signed(connect: &Value, user: &str, nonce: &str) -> bool {
    use data_encoding::{BASE32_NOPAD, BASE64URL_NOPAD};
    use ring::signature::{ED25519, UnparsedPublicKey};
    let key = BASE32_NOPAD.decode(user.as_bytes()).expect("a public key");
    let signature = connect["sig"].as_str().unwrap_or_default();
    let signature = BASE64URL_NOPAD
        .decode(signature.as_bytes())
        .unwrap_or_default();
    let key = UnparsedPublicKey::new(&ED25519, &key[1..33]);
    connect["nkey"] == user && key.verify(nonce.as_bytes(), &signature).is_ok()
}

#[cfg(not(feature = "tls"))]
fn has_signed(_: &Value, _: &str, _: &str) -> bool {
    false
}

/// Whether a subject is one of those that a pattern means.
fn is_match(pattern: &str, subject: &str) -> bool {
    let (mut patterns, mut words) = (pattern.split('.'), subject.split('.'));
    loop {
        match (patterns.next(), words.next()) {
            (Some(">"), Some(_)) | (None, None) => return true,
            (Some("*"), Some(_)) => {}
            (Some(pattern), Some(word)) if pattern == word => {}
            _ => return false,
        }
    }
}
