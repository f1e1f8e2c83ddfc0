use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use onepoll::reactor::{Secure, Session};
use onepoll::wire::{Decode as _, Encode as _, NatsCommands, NatsFrame, NatsHeaders, NatsMessage};
use serde_json::{Value, json};

/// A server of NATS in a script: what it is told, it does, and no more than is asked of it here.
#[derive(Debug, Default)]
pub(crate) struct Nats {
    clients: BTreeMap<usize, Client>,
    pub(crate) streams: HashMap<String, Stream>,
    consumers: Vec<Consumer>,
    /// What it says, and to which of its connections.
    pub(crate) says: Vec<(usize, Vec<u8>)>,
    /// It answers nothing that streams are asked, as while none of a cluster leads.
    pub(crate) has_no_leader: bool,
    /// Which of a cluster leads: each says another time at which a stream was made.
    pub(crate) leader: u64,
    /// Messages that it keeps from now on are not told to whoever published them, nor delivered yet.
    pub(crate) is_silent: bool,
    /// The user that it knows, by a public key; none: it lets everybody in.
    pub(crate) user: Option<String>,
    count: u64,
    /// What begins its sessions of TLS; none: it speaks none.
    pub(crate) secure: Option<Arc<dyn Secure>>,
    /// It does not go on with handshakes.
    pub(crate) is_mute: bool,
    /// What somebody between puts behind what it says first, in plaintext.
    pub(crate) behind: Vec<u8>,
    /// Bytes that it has heard.
    pub(crate) heard: usize,
    /// How often somebody has said who they are.
    pub(crate) logins: usize,
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
    max_age: u64,
    /// What is kept, by its place.
    pub(crate) kept: BTreeMap<u64, Stored>,
    pub(crate) last: u64,
    ids: HashMap<String, u64>,
    created: u64,
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
}

impl Nats {
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
        self.says.push((client, said));
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
                self.says.push((client, written(&mut **session)));
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
                false => Some(self.answer(request, message.payload)),
            };
            self.reply(message, answer);
            // A new consumer has its answer before what it delivers.
            return self.deliver(now);
        }
        let takes = |stream: &Stream| stream.subjects.iter().any(|s| is_match(s, message.subject));
        if self.streams.values().any(takes) {
            let answer = (!self.has_no_leader).then(|| self.store(message, now));
            if !self.is_silent {
                self.reply(message, answer);
                self.deliver(now);
            }
            return;
        }
        self.pass_on(Some(client), message);
    }

    /// Core NATS: to all who want it, but not back.
    fn pass_on(&mut self, from: Option<usize>, message: &NatsMessage<'_>) {
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
            self.say(client, &NatsFrame::Msg(sid, *message));
        }
    }

    fn reply(&mut self, message: &NatsMessage<'_>, answer: Option<Value>) {
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
        );
    }

    fn answer(&mut self, request: &str, body: &[u8]) -> Value {
        let body: Value = serde_json::from_slice(body).expect("requests are JSON");
        let (verb, name) = request
            .rsplit_once('.')
            .expect("a request names what it is about");
        match verb {
            "STREAM.CREATE" => {
                let subjects = body["subjects"].as_array().expect("it has subjects");
                let text = |value: &Value| value.as_str().expect("text").to_owned();
                self.count += 1;
                let (count, leader) = (self.count, self.leader);
                let stream = self
                    .streams
                    .entry(name.to_owned())
                    .or_insert_with(|| Stream {
                        subjects: subjects.iter().map(text).collect(),
                        max_age: body["max_age"].as_u64().unwrap_or(0),
                        created: count,
                        ..Stream::default()
                    });
                stream.info(leader)
            }
            "STREAM.INFO" => self.streams[name].info(self.leader),
            "STREAM.MSG.DELETE" => {
                let place = body["seq"].as_u64().expect("a place");
                let gone = self
                    .streams
                    .get_mut(name)
                    .and_then(|stream| stream.kept.remove(&place));
                json!({"success": gone.is_some()})
            }
            "CONSUMER.CREATE" => {
                let config = &body["config"];
                let first = config["opt_start_seq"].as_u64().unwrap_or(1);
                let deliver = config["deliver_subject"]
                    .as_str()
                    .expect("it pushes")
                    .to_owned();
                let pending = self.streams[name].kept.range(first..).count();
                let consumer = Consumer {
                    stream: name.to_owned(),
                    deliver,
                    next: first,
                    delivered: 0,
                };
                self.consumers.push(consumer);
                json!({"num_pending": pending})
            }
            other => panic!("{other} is not asked for"),
        }
    }

    fn store(&mut self, message: &NatsMessage<'_>, now: u64) -> Value {
        let matches = |(_, stream): &(&String, &mut Stream)| {
            stream.subjects.iter().any(|s| is_match(s, message.subject))
        };
        let (_, stream) = self.streams.iter_mut().find(matches).expect("it was found");
        stream.forget(now);
        let newest = || {
            let mut kept = stream.kept.iter().rev();
            let found = kept.find(|(_, stored)| stored.subject == message.subject);
            found.map_or(0, |(place, _)| *place)
        };
        if let Some(expected) = message.headers.get("Nats-Expected-Last-Subject-Sequence")
            && expected != newest().to_string()
        {
            return json!({"error": {"code": 400, "err_code": 10071, "description": "wrong last sequence"}});
        }
        let id = message.headers.get("Nats-Msg-Id").map(ToOwned::to_owned);
        if let Some(place) = id.as_ref().and_then(|id| stream.ids.get(id)) {
            return json!({"seq": place, "duplicate": true});
        }
        if stream.max_age > 0 && message.subject.starts_with("$KV.") {
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
    pub(crate) fn deliver(&mut self, now: u64) {
        if self.has_no_leader || self.is_silent {
            return;
        }
        for n in 0..self.consumers.len() {
            loop {
                let consumer = &mut self.consumers[n];
                let stream = &self.streams[&consumer.stream];
                let Some((&place, stored)) = stream.kept.range(consumer.next..).next() else {
                    break;
                };
                consumer.next = place + 1;
                consumer.delivered += 1;
                let pending = stream.kept.range(place + 1..).count();
                let (delivered, name) = (consumer.delivered, &consumer.stream);
                let reply = format!("$JS.ACK.{name}.C.1.{place}.{delivered}.{now}.{pending}");
                let (stored, deliver) = (stored.clone(), consumer.deliver.clone());
                self.deliver_to(
                    &deliver,
                    &stored.subject,
                    &reply,
                    &stored.headers,
                    &stored.payload,
                );
            }
        }
    }

    /// Consumers say that they are there.
    pub(crate) fn beats(&mut self) {
        if self.has_no_leader {
            return;
        }
        for n in 0..self.consumers.len() {
            let Consumer {
                deliver, delivered, ..
            } = &self.consumers[n];
            let (deliver, delivered) = (deliver.clone(), *delivered);
            let headers =
                format!("NATS/1.0 100 Idle Heartbeat\r\nNats-Last-Consumer: {delivered}\r\n\r\n");
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
        let mut bytes = Vec::new();
        frame.encode(&mut bytes);
        match self.clients.get_mut(&client) {
            // What it would say in the middle of a handshake is not said.
            Some(client) if !client.is_open => return,
            Some(Client {
                session: Some(session),
                ..
            }) => {
                assert_eq!(session.seal(&bytes), bytes.len());
                bytes = written(&mut **session);
            }
            _ => {}
        }
        self.says.push((client, bytes));
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
    fn info(&self, leader: u64) -> Value {
        json!({"created": (self.created * 1000 + leader).to_string(), "state": {"last_seq": self.last}})
    }

    /// What is too old is gone.
    fn forget(&mut self, now: u64) {
        let max_age = self.max_age;
        self.kept
            .retain(|_, stored| max_age == 0 || now.saturating_sub(stored.at) < max_age);
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
