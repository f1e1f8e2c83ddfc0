//! The one connection to the bus: how it is dialled, greeted, kept and given up, and what goes by it.
//!
//! Knows servers, and how long each step may take. Does not know what a message says, nor what JetStream is asked for.

use std::borrow::Cow;
use std::fmt::Display;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::info::Info;
use super::login::connect;
use super::servers::Servers;
use super::setup::{Asked, FRAME_BYTES_MAX, Step};
use super::subjects::{Inbox, Subjects};
use crate::buf::ReadBuf;
use crate::service::{self, Dial};
use crate::turn::{ConnId, Fault, Moment, Turn};
use crate::wire::{Encode, Escaped, NatsCommands, NatsFrame, NatsHeaders, NatsMessage};

/// How long a server has to answer a dial, and each step after that.
const STEP: Duration = Duration::from_secs(3);

/// How often there is something to see to.
const TICK: Duration = Duration::from_secs(1);

/// How long the server may be silent before it is asked, and before it is taken to be gone.
const PING: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(10)];

/// The numbers of subscriptions: answers, what other servers ask, that they are there.
pub(super) const INBOX: u64 = 1;
pub(super) const ASKS: u64 = 2;
pub(super) const ALIVE: u64 = 3;
/// Those of consumers are above this.
const DELIVERY: u64 = 16;

/// The connection.
#[derive(Debug)]
pub(super) struct Link {
    settings: Arc<service::Bus>,
    servers: Servers,
    /// How what goes by it is addressed.
    pub(super) subjects: Subjects,
    decoder: NatsCommands,
    state: State,
    /// How many steps JetStream was asked for, and since when the last one of any kind waits.
    steps: u64,
    stepped: Moment,
    tick: Moment,
    /// When the server was last heard, and whether it was asked since.
    heard: Moment,
    is_pinged: bool,
    /// What the server said of itself before its session of TLS began.
    info: Info,
    /// Why we have left it, if it is not for what the connection came to.
    refused: Option<Cow<'static, str>>,
}

/// How far it is.
///
/// ```text
/// Down ──its time has come──> Dialling ──answered──> Greeting ──INFO──> LoggingIn ──PONG──┐
///  ^                                                   └──> Securing ──────^              v
///  │                     Ready <──all was seen── CatchingUp <──the last is answered── Settling
///  │                       └─────────────────────────┴────nothing is delivered───────────^
///  └── any of them: refused, closed, or silent and so GivenUp
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// There is none before this moment.
    Down(Moment),
    /// It is dialled.
    Dialling,
    /// The server is to say what it is.
    Greeting(ConnId),
    /// The session of TLS is to come about, without which nothing goes by it.
    Securing,
    /// It is to say that it knows us.
    LoggingIn(ConnId),
    /// JetStream was asked for this.
    Settling(ConnId, Step),
    /// What was kept meanwhile is delivered.
    CatchingUp(ConnId),
    /// What is said is kept, and comes back.
    Ready(ConnId),
    /// It is closed in its next turn, and nothing goes by it any more.
    GivenUp { was_good: bool },
}

impl Link {
    /// One to the servers of these settings, which begins as soon as it may.
    pub(super) fn new(settings: Arc<service::Bus>, set: Option<&str>) -> Link {
        let nonce = settings.own_number();
        Link {
            servers: Servers::new(settings.clone(), nonce),
            subjects: Subjects::new(set, nonce),
            decoder: NatsCommands::new(FRAME_BYTES_MAX),
            state: State::Down(Moment::START),
            steps: 0,
            stepped: Moment::START,
            tick: Moment::START,
            heard: Moment::START,
            is_pinged: false,
            info: Info::default(),
            refused: None,
            settings,
        }
    }

    /// The connection that something can go by.
    fn id(&self) -> Option<ConnId> {
        match self.state {
            State::Down(_) | State::Dialling | State::Securing | State::GivenUp { .. } => None,
            State::Greeting(id)
            | State::LoggingIn(id)
            | State::Settling(id, _)
            | State::CatchingUp(id)
            | State::Ready(id) => Some(id),
        }
    }

    pub(super) fn is_down(&self) -> bool {
        matches!(self.state, State::Down(_))
    }

    pub(super) fn is_ready(&self) -> bool {
        matches!(self.state, State::Ready(_))
    }

    /// Whether the server has let us in: before that, nothing is said but who we are.
    fn is_let_in(&self) -> bool {
        matches!(
            self.state,
            State::Settling(..) | State::CatchingUp(_) | State::Ready(_)
        )
    }

    pub(super) fn is_given_up(&self) -> bool {
        matches!(self.state, State::GivenUp { .. })
    }

    /// Whether its server has done all that was asked of it, so that the next one is likely to as well.
    fn was_good(&self) -> bool {
        match self.state {
            State::CatchingUp(_) | State::Ready(_) => true,
            State::GivenUp { was_good } => was_good,
            _ => false,
        }
    }

    /// The name of its server.
    pub(super) fn name(&self) -> &str {
        self.servers.name()
    }

    /// The servers of the bus are these from now on.
    pub(super) fn change(&mut self, t: &mut Turn<'_>, settings: &Arc<service::Bus>) {
        self.settings = settings.clone();
        self.servers.change(settings.clone());
        if self.is_down() {
            self.state = State::Down(t.now);
        }
        self.leave_if_unlisted(t);
    }

    /// Leaves a server that is none of those of the bus any more, as one that is about to go. Whether it is one. One that
    /// is dialled, or with which a session begins, is left when that has come about.
    fn leave_if_unlisted(&mut self, t: &mut Turn<'_>) -> bool {
        let is_unlisted = !self.servers.is_listed();
        if is_unlisted && self.id().is_some() {
            log::info!(bus = self.name(); "this server is none of those of the bus any more: another one is taken");
            self.give_up(t);
        }
        is_unlisted
    }

    // How it begins.

    /// When there is something to see to.
    pub(super) fn due(&self) -> Moment {
        match self.state {
            State::Down(until) => until,
            State::Dialling | State::Securing | State::GivenUp { .. } => Moment::NEVER,
            _ => self.tick,
        }
    }

    /// Which server is to be dialled now.
    pub(super) fn dials(&mut self, now: Moment) -> Option<Dial> {
        if !matches!(self.state, State::Down(until) if until <= now) {
            return None;
        }
        let server = self.servers.take()?;
        let (name, to) = (server.name.clone(), server.to);
        (self.state, self.refused) = (State::Dialling, None);
        Some(Dial {
            name,
            to,
            within: STEP,
        })
    }

    /// It was dialled in vain.
    pub(super) fn dial_failed(&mut self, now: Moment, error: &io::Error) {
        self.tell_in_vain(error);
        let wait = self.next_after(false);
        self.state = State::Down(now.after(wait));
    }

    fn tell_in_vain(&self, error: &dyn Display) {
        let bus = self.name();
        if self.servers.has_failed() {
            log::debug!(bus, error:%; "cannot connect to the bus");
        } else {
            log::warn!(bus, error:%; "cannot connect to the bus");
        }
    }

    /// The server has answered the dial.
    pub(super) fn dialled(&mut self, t: &mut Turn<'_>) {
        self.decoder = NatsCommands::new(FRAME_BYTES_MAX);
        self.state = State::Greeting(t.id);
        (self.heard, self.is_pinged) = (t.now, false);
        (self.tick, self.stepped) = (t.now.after(TICK), t.now);
        self.leave_if_unlisted(t);
    }

    /// The next command of the server.
    pub(super) fn next<'b>(
        &mut self,
        now: Moment,
        input: &'b mut ReadBuf,
    ) -> Result<Option<NatsFrame<'b>>, Fault> {
        if self.state == State::Securing {
            // Whatever is there was not said by whom we know: the session begins with it, or not at all.
            return Ok(None);
        }
        (self.heard, self.is_pinged) = (now, false);
        Ok(input.next(&mut self.decoder)?)
    }

    /// The server says what it is.
    pub(super) fn greet(&mut self, t: &mut Turn<'_>, json: &[u8]) {
        let info = Info::read(json);
        let bus = self.name();
        if info.is_about_to_go {
            log::info!(bus; "the server of the bus is about to go: another one is taken");
            return t.close();
        }
        if !matches!(self.state, State::Greeting(_)) {
            return;
        }
        let secure = self
            .servers
            .current()
            .and_then(|server| server.secure.as_ref());
        match secure {
            Some(secure) if info.speaks_tls() => {
                t.begin_session(Arc::clone(secure), STEP);
                (self.state, self.info) = (State::Securing, info);
            }
            Some(_) => self.refuse(t, "it speaks no TLS: write nats:// if that is right"),
            None if info.requires_tls() => self.refuse(t, "it requires TLS: write nats+tls://"),
            None => self.introduce(t, &info),
        }
    }

    /// The session has come about.
    pub(super) fn secured(&mut self, t: &mut Turn<'_>) {
        let info = std::mem::take(&mut self.info);
        self.state = State::Greeting(t.id);
        if !self.leave_if_unlisted(t) {
            self.introduce(t, &info);
        }
    }

    /// Says who we are.
    fn introduce(&mut self, t: &mut Turn<'_>, info: &Info) {
        if !info.has_jetstream() {
            log::warn!(bus = self.name(), version:% = Escaped(info.version.as_bytes()); "this server has no JetStream, which the rooms of a bus need: start it with -js");
        }
        match connect(&self.settings.login, info.nonce.as_deref()) {
            Ok(connect) => {
                t.reply(&NatsFrame::Connect(connect.to_string().as_bytes()));
                t.reply(&NatsFrame::Ping);
                (self.state, self.stepped) = (State::LoggingIn(t.id), t.now);
            }
            Err(why) => self.refuse(t, why),
        }
    }

    /// It is not what we need: another one, perhaps.
    fn refuse(&mut self, t: &mut Turn<'_>, why: impl Into<Cow<'static, str>>) {
        self.refused = Some(why.into());
        t.close();
    }

    /// The server complains. Before it has let us in, that is its answer.
    pub(super) fn complains(&mut self, t: &mut Turn<'_>, said: String) {
        match self.state {
            State::LoggingIn(_) => self.refuse(t, format!("it does not let us in: {said}")),
            _ => log::warn!(bus = self.name(), said:%; "the bus refuses"),
        }
    }

    /// The server has answered a `PING`. Whether it has said by that that it knows us: then answers can come.
    pub(super) fn log_in(&mut self, t: &mut Turn<'_>) -> bool {
        let State::LoggingIn(_) = self.state else {
            return false;
        };
        self.subscribe(t, INBOX, &self.subjects.inboxes());
        self.subscribe(t, ASKS, &self.subjects.ask());
        self.subscribe(t, ALIVE, &self.subjects.alive());
        true
    }

    /// Asks JetStream for what this step needs.
    pub(super) fn settle(&mut self, t: &mut Turn<'_>, step: Step, asked: &Asked) {
        let Some(id) = self.id() else {
            return;
        };
        (self.state, self.stepped) = (State::Settling(id, step), t.now);
        self.steps += 1;
        let body = asked.body.to_string();
        self.request(
            t,
            &asked.subject,
            (Inbox::Setup, self.steps),
            &[],
            body.as_bytes(),
        );
    }

    /// The step that an answer of this number is to, if it is the one that is waited for.
    pub(super) fn step(&self, number: u64) -> Option<Step> {
        match self.state {
            State::Settling(_, step) if number == self.steps => Some(step),
            _ => None,
        }
    }

    /// All steps were answered.
    pub(super) fn catch_up(&mut self, now: Moment) {
        if let State::Settling(id, _) = self.state {
            (self.state, self.stepped) = (State::CatchingUp(id), now);
        }
    }

    /// All that was kept while it was away was seen. Whether that was waited for.
    pub(super) fn be_ready(&mut self, now: Moment) -> bool {
        let State::CatchingUp(id) = self.state else {
            return false;
        };
        self.state = State::Ready(id);
        self.servers.hold();
        // There is something to see to at once.
        self.tick = now;
        true
    }

    // How it is kept.

    /// Whether a second has passed since there was something to see to.
    pub(super) fn ticks(&mut self, now: Moment) -> bool {
        let ticks = self.id().is_some() && self.tick <= now;
        if ticks {
            self.tick = now.after(TICK);
        }
        ticks
    }

    /// Asks a server that is silent whether it is there, and gives up one that is not, or has not even greeted in
    /// time. Whether it goes on.
    pub(super) fn check(&mut self, t: &mut Turn<'_>) -> bool {
        let [asks, gives_up] = PING;
        let greets = matches!(self.state, State::Greeting(_) | State::LoggingIn(_));
        if self.heard.after(gives_up) <= t.now || greets && self.is_late(t.now) {
            self.refused = greets.then_some("it did not answer in time".into());
            self.give_up(t);
            return false;
        }
        if self.heard.after(asks) <= t.now && !std::mem::replace(&mut self.is_pinged, true) {
            self.send(t, &NatsFrame::Ping);
        }
        true
    }

    /// Whether JetStream has not answered a step in time, or not delivered: it begins with the first one again.
    pub(super) fn is_stuck(&self, now: Moment) -> bool {
        let settles = matches!(self.state, State::Settling(..) | State::CatchingUp(_));
        settles && self.is_late(now)
    }

    fn is_late(&self, now: Moment) -> bool {
        self.stepped.after(STEP) <= now
    }

    // How it ends.

    /// Nothing more goes by it: another one is dialled when it is gone.
    pub(super) fn give_up(&mut self, t: &mut Turn<'_>) {
        if let Some(id) = self.id() {
            t.visit(id);
            let was_good = self.was_good();
            self.state = State::GivenUp { was_good };
        }
    }

    /// The turn that was asked for.
    pub(super) fn close_if_given_up(&self, t: &mut Turn<'_>) {
        if self.is_given_up() {
            t.close();
        }
    }

    /// Says that it is gone.
    pub(super) fn tell_gone(&self, why: &dyn Display) {
        let why: &dyn Display = match &self.refused {
            Some(refused) => refused,
            None => why,
        };
        let has_begun = !matches!(
            self.state,
            State::Greeting(_) | State::LoggingIn(_) | State::Securing
        );
        if has_begun && self.refused.is_none() {
            log::warn!(bus = self.name(), why:%; "the connection to the bus is gone");
        } else {
            self.tell_in_vain(why);
        }
    }

    /// It is gone.
    pub(super) fn lose(&mut self, now: Moment) {
        let wait = self.next_after(self.was_good());
        self.state = State::Down(now.after(wait));
    }

    /// How long to wait before the next server is dialled, behind one that was good or was not.
    fn next_after(&mut self, was_good: bool) -> Duration {
        // Of one that is not listed any more nothing follows for those that are.
        if was_good || !self.servers.is_listed() {
            self.servers.leave()
        } else {
            self.servers.fail()
        }
    }

    // What goes by it.

    /// Publishes a message, without an answer, if the server has let us in: what is said before that goes outside of
    /// the session of TLS.
    pub(super) fn publish(&self, t: &mut Turn<'_>, subject: &str, payload: &[u8]) {
        let message = NatsMessage {
            subject,
            payload,
            ..NatsMessage::default()
        };
        self.send_message(t, message);
    }

    fn send_message(&self, t: &mut Turn<'_>, message: NatsMessage<'_>) {
        if self.is_let_in() {
            self.send(t, &NatsFrame::Pub(message));
        }
    }

    /// Publishes one that is answered, by this number, likewise.
    pub(super) fn request(
        &self,
        t: &mut Turn<'_>,
        subject: &str,
        (inbox, number): (Inbox, u64),
        headers: &[(&str, &str)],
        payload: &[u8],
    ) {
        let mut lines = Vec::new();
        if !headers.is_empty() {
            NatsHeaders::write(headers, &mut lines);
        }
        let message = NatsMessage {
            subject,
            reply: Some(&self.subjects.inbox(inbox, number)),
            headers: NatsHeaders::read(&lines).unwrap_or_default(),
            payload,
        };
        self.send_message(t, message);
    }

    /// Subscribes to what the consumer of this number delivers, and not to what the one before it does; the subject.
    pub(super) fn follow(&self, t: &mut Turn<'_>, consumer: u64) -> String {
        let before = consumer - 1;
        if before > 0 {
            let (sid, after) = (DELIVERY + before, None);
            self.send(t, &NatsFrame::Unsub { sid, after });
        }
        let subject = self.subjects.delivery(consumer);
        self.subscribe(t, DELIVERY + consumer, &subject);
        subject
    }

    /// The consumer whose deliveries come by a subscription.
    pub(super) fn followed(sid: u64) -> Option<u64> {
        sid.checked_sub(DELIVERY)
    }

    fn subscribe(&self, t: &mut Turn<'_>, sid: u64, subject: &str) {
        let queue = None;
        self.send(
            t,
            &NatsFrame::Sub {
                subject,
                queue,
                sid,
            },
        );
    }

    fn send<E: Encode>(&self, t: &mut Turn<'_>, frame: &E) {
        if let Some(id) = self.id() {
            t.send(id, frame);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::atomic::AtomicU64;

    use serde_json::json;

    use super::*;
    use crate::service::{BusLogin, BusServer};
    use crate::turn::{Effect, Fate, Outbox, Secure, Session};

    const ID: ConnId = ConnId {
        slot: 0,
        generation: 1,
    };
    const INFO: &[u8] = br#"{"headers":true,"jetstream":true}"#;

    /// Servers of these names, each of which is at an address of its own.
    fn settings(
        names: &[&str],
        secure: Option<Arc<dyn Secure>>,
        login: BusLogin,
    ) -> Arc<service::Bus> {
        let one = |name: &&str| BusServer {
            name: format!("nats://{name}"),
            to: SocketAddr::from(([127, 0, 0, name.as_bytes()[0]], 4222)),
            secure: secure.clone(),
        };
        Arc::new(service::Bus {
            servers: names.iter().map(one).collect(),
            login,
            replicas: 1,
            lease: Duration::from_secs(15),
            nonce: AtomicU64::new(1),
        })
    }

    /// A link, its connection, and a clock.
    struct Scene {
        link: Link,
        outbox: Outbox,
        now: Moment,
    }

    impl Scene {
        fn new() -> Scene {
            Scene::with(None)
        }

        fn with(secure: Option<Arc<dyn Secure>>) -> Scene {
            Scene {
                link: Link::new(settings(&["bus"], secure, BusLogin::Nothing), None),
                outbox: Outbox::default(),
                now: Moment::START,
            }
        }

        /// One whose server has answered the dial.
        fn dialled() -> Scene {
            Scene::new().dial()
        }

        fn dial(self) -> Scene {
            let mut scene = self;
            assert!(scene.link.dials(scene.now).is_some());
            scene.outbox.open(ID);
            scene.turn(|link, t| link.dialled(t));
            scene
        }

        fn logged_in() -> Scene {
            let mut scene = Scene::dialled();
            scene.turn(|link, t| link.greet(t, INFO));
            assert!(scene.turn(Link::log_in));
            scene.hears();
            scene
        }

        fn ready() -> Scene {
            let mut scene = Scene::logged_in();
            scene.turn(|link, t| link.settle(t, Step::Consumer, &asked()));
            scene.link.catch_up(scene.now);
            assert!(scene.link.be_ready(scene.now));
            scene.hears();
            scene
        }

        /// Others are listed from now on.
        fn relists(&mut self, names: &[&str], secure: Option<Arc<dyn Secure>>) {
            let login = BusLogin::Token("sesame".to_owned().into());
            let settings = settings(names, secure, login);
            self.turn(|link, t| link.change(t, &settings));
        }

        fn turn<R>(&mut self, act: impl FnOnce(&mut Link, &mut Turn<'_>) -> R) -> R {
            act(
                &mut self.link,
                &mut Turn::new(self.now, ID, &mut self.outbox),
            )
        }

        /// What the server was told.
        fn hears(&mut self) -> String {
            let mut heard = Vec::new();
            let flushed = self.outbox.flush(ID.slot, |bytes| {
                heard.extend_from_slice(bytes);
                Ok(bytes.len())
            });
            flushed.unwrap();
            String::from_utf8(heard).unwrap()
        }

        /// Whether the link has asked for a turn of its connection, in which it closes it.
        fn closes(&mut self) -> bool {
            let is_visited = matches!(self.outbox.next_effect(), Some((ID, Effect::Wake(_))));
            self.turn(|link, t| link.close_if_given_up(t));
            assert_eq!(is_visited, self.outbox.fate(ID.slot) != Fate::Open);
            is_visited
        }
    }

    fn asked() -> Asked {
        Asked {
            subject: "$JS.API.X".into(),
            body: json!({}),
        }
    }

    #[test]
    fn a_server_is_greeted_and_then_subscribed_to_and_nothing_goes_before() {
        let mut scene = Scene::new();
        scene.turn(|link, t| link.publish(t, "x", b""));
        let dial = scene.link.dials(scene.now).unwrap();
        assert_eq!((&*dial.name, dial.within), ("nats://bus", STEP));
        assert_eq!(scene.link.dials(scene.now), None, "it is dialled already");
        let mut scene = Scene::dialled();
        assert!(
            !scene.turn(Link::log_in),
            "a PONG that nobody has asked for"
        );
        scene.turn(|link, t| link.greet(t, INFO));
        let told = scene.hears();
        assert!(
            told.starts_with("CONNECT {") && told.ends_with("}\r\nPING\r\n"),
            "{told}"
        );
        scene.turn(|link, t| link.greet(t, INFO));
        assert_eq!(
            scene.hears(),
            "",
            "a server says again what it is whenever that changes"
        );
        assert!(scene.turn(Link::log_in));
        let subscribed = scene.hears();
        assert_eq!(subscribed.matches("SUB ").count(), 3, "{subscribed}");
    }

    /// Begins no session: who asked for one is looked at.
    #[derive(Debug)]
    struct Never;

    impl Secure for Never {
        fn begin(&self) -> io::Result<Box<dyn Session>> {
            Err(io::ErrorKind::Unsupported.into())
        }

        fn handshake_bytes_max(&self) -> u32 {
            0
        }
    }

    #[test]
    fn nothing_is_said_and_nothing_believed_before_the_session_has_come_about() {
        let mut scene = Scene::with(Some(Arc::new(Never))).dial();
        let info = br#"{"headers":true,"jetstream":true,"tls_required":true}"#;
        scene.turn(|link, t| link.greet(t, info));
        assert!(matches!(
            scene.outbox.next_effect(),
            Some((ID, Effect::Secure(_)))
        ));
        let mut input = ReadBuf::default();
        input.begin_budget(9);
        input.push(b"PING\r\n");
        let next = scene.link.next(scene.now, &mut input).unwrap();
        assert!(next.is_none() && input.len() == 6, "it stays where it is");
        scene.turn(|link, t| link.publish(t, "x", b""));
        assert_eq!(scene.hears(), "");
        assert_eq!(scene.link.due(), Moment::NEVER, "the loop waits for it");
        scene.turn(|link, t| link.secured(t));
        assert!(scene.hears().starts_with("CONNECT {"));
        assert!(scene.turn(Link::log_in));
    }

    #[test]
    fn a_server_that_speaks_tls_and_is_not_to_is_left_and_so_is_one_that_is_to_and_does_not() {
        for (secure, info) in [
            (
                None,
                r#"{"headers":true,"jetstream":true,"tls_required":true}"#,
            ),
            (
                Some(Arc::new(Never) as Arc<dyn Secure>),
                r#"{"headers":true,"jetstream":true}"#,
            ),
        ] {
            let mut scene = Scene::with(secure).dial();
            scene.turn(|link, t| link.greet(t, info.as_bytes()));
            assert_eq!(scene.hears(), "");
            assert_ne!(scene.outbox.fate(ID.slot), Fate::Open);
            assert!(scene.outbox.next_effect().is_none(), "no session begins");
        }
    }

    #[test]
    fn only_the_answer_to_the_last_step_counts() {
        let mut scene = Scene::logged_in();
        scene.turn(|link, t| link.settle(t, Step::Stream, &asked()));
        assert!(scene.hears().contains(".setup.1 2\r\n{}"));
        scene.turn(|link, t| link.settle(t, Step::Bucket, &asked()));
        assert_eq!(scene.link.step(1), None);
        assert_eq!(scene.link.step(2), Some(Step::Bucket));
        assert!(!scene.link.be_ready(scene.now), "there is more to ask for");
        scene.link.catch_up(scene.now);
        assert_eq!(scene.link.step(2), None);
        assert!(!scene.link.is_stuck(scene.now) && scene.link.is_stuck(scene.now.after(STEP)));
        assert!(scene.link.be_ready(scene.now) && !scene.link.be_ready(scene.now));
        assert!(!scene.link.is_stuck(scene.now.after(STEP)));
    }

    #[test]
    fn a_consumer_takes_the_place_of_the_one_before() {
        let mut scene = Scene::ready();
        let first = scene.turn(|link, t| link.follow(t, 1));
        assert_eq!(scene.hears(), format!("SUB {first} 17\r\n"));
        let second = scene.turn(|link, t| link.follow(t, 2));
        assert_eq!(scene.hears(), format!("UNSUB 17\r\nSUB {second} 18\r\n"));
        assert_eq!((Link::followed(18), Link::followed(INBOX)), (Some(2), None));
    }

    #[test]
    fn a_server_that_does_not_greet_is_given_up_after_a_step_and_another_is_dialled_later() {
        let mut scene = Scene::dialled();
        scene.now = scene.now.after(STEP);
        assert!(scene.link.ticks(scene.now) && !scene.link.ticks(scene.now));
        assert!(!scene.turn(Link::check) && scene.closes());
        assert_eq!(scene.link.due(), Moment::NEVER, "until it is gone");
        scene.turn(|link, t| link.publish(t, "x", b""));
        assert_eq!(scene.hears(), "");
        scene.link.lose(scene.now);
        let due = scene.link.due();
        assert!(due > scene.now && scene.link.dials(scene.now).is_none());
        assert!(scene.link.dials(due).is_some());
    }

    #[test]
    fn a_silent_server_is_asked_once_and_given_up_if_it_stays_silent() {
        let mut scene = Scene::ready();
        scene.now = scene.now.after(PING[0]);
        assert!(scene.turn(Link::check) && scene.turn(Link::check));
        assert_eq!(scene.hears(), "PING\r\n");
        let mut input = ReadBuf::default();
        input.begin_budget(1);
        input.push(b"PONG\r\n");
        let now = scene.now;
        assert!(scene.link.next(now, &mut input).unwrap().is_some());
        scene.now = scene.now.after(PING[1]);
        assert!(!scene.turn(Link::check) && scene.closes());
        // It was good until then, so the next one is dialled at once, or nearly.
        scene.link.lose(scene.now);
        assert!(scene.link.due() <= scene.now.after(Duration::from_millis(100)));
    }

    #[test]
    fn a_server_that_is_about_to_go_is_left() {
        let mut scene = Scene::ready();
        scene.turn(|link, t| link.greet(t, br#"{"ldm":true}"#));
        assert_ne!(scene.outbox.fate(ID.slot), Fate::Open);
    }

    #[test]
    fn a_server_that_is_listed_no_more_is_left_and_one_that_is_keeps_its_connection() {
        let mut scene = Scene::ready();
        scene.relists(&["other", "bus"], None);
        assert!(!scene.closes() && scene.link.is_ready());
        scene.relists(&["other", "another"], None);
        assert!(scene.closes());
        scene.link.lose(scene.now);
        assert!(scene.link.due() <= scene.now.after(Duration::from_millis(100)));
        scene.now = scene.link.due();
        let dial = scene.link.dials(scene.now).unwrap();
        assert!(["nats://other", "nats://another"].contains(&&*dial.name));
        // The same server is another one through TLS.
        let mut scene = Scene::ready();
        scene.relists(&["bus"], Some(Arc::new(Never)));
        assert!(scene.closes());
    }

    #[test]
    fn others_are_dialled_at_once_whatever_has_failed() {
        let mut scene = Scene::new();
        let failed = io::Error::from(io::ErrorKind::ConnectionRefused);
        for _ in 0..9 {
            scene.now = scene.link.due();
            assert!(scene.link.dials(scene.now).is_some());
            scene.link.dial_failed(scene.now, &failed);
        }
        scene.relists(&["other"], None);
        assert_eq!(scene.link.due(), scene.now);
        let name = |dial: Option<Dial>| dial.unwrap().name;
        assert_eq!(name(scene.link.dials(scene.now)), "nats://other");
        // One that is being dialled is waited for, and says nothing of those that are listed.
        scene.relists(&["third"], None);
        assert_eq!(scene.link.due(), Moment::NEVER);
        scene.link.dial_failed(scene.now, &failed);
        assert!(!scene.link.servers.has_failed());
        assert!(scene.link.due() <= scene.now.after(Duration::from_millis(100)));
        scene.now = scene.link.due();
        assert_eq!(name(scene.link.dials(scene.now)), "nats://third");
        // Or it has answered.
        scene.relists(&["fourth"], None);
        scene.outbox.open(ID);
        scene.turn(|link, t| link.dialled(t));
        assert!(scene.closes());
        assert_eq!(scene.hears(), "");
    }

    #[test]
    fn by_what_we_are_known_now_only_a_server_learns_that_is_listed_now() {
        for (names, is_told) in [(&["bus", "other"][..], true), (&["other"], false)] {
            let mut scene = Scene::with(Some(Arc::new(Never))).dial();
            let info = br#"{"headers":true,"jetstream":true,"tls_required":true}"#;
            scene.turn(|link, t| link.greet(t, info));
            assert!(scene.outbox.next_effect().is_some(), "a session begins");
            scene.relists(names, Some(Arc::new(Never)));
            scene.turn(|link, t| link.secured(t));
            let told = scene.hears();
            assert_eq!(told.contains("sesame"), is_told, "{told}");
            assert_eq!(scene.closes(), !is_told);
        }
    }

    #[test]
    fn a_server_that_does_not_let_us_in_is_left_and_one_that_has_is_not() {
        let mut scene = Scene::dialled();
        scene.turn(|link, t| link.greet(t, INFO));
        scene.turn(|link, t| link.complains(t, "Authorization Violation".into()));
        assert_ne!(scene.outbox.fate(ID.slot), Fate::Open);
        let why = "it does not let us in: Authorization Violation";
        assert_eq!(scene.link.refused.as_deref(), Some(why));
        scene.link.lose(scene.now);
        assert!(scene.link.servers.has_failed());
        let mut scene = Scene::ready();
        scene.turn(|link, t| link.complains(t, "Permissions Violation".into()));
        assert_eq!(scene.outbox.fate(ID.slot), Fate::Open);
        assert_eq!(scene.link.refused, None);
    }
}
