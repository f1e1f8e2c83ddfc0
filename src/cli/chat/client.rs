use std::os::fd::AsFd;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;

use super::backoff::Backoff;
use super::connector::Attempt;
use super::heard::{Heard, is_said, look};
use super::incoming::{LINE_BYTES_MAX, Piece};
use super::outgoing::{KEPT_LINES_MAX, Outgoing};
use super::people::People;
use super::visit::{Aside, Entering, Visit};
use crate::cli::conversation::{Conversation, Typed};
use crate::cli::way::Way;
use crate::cli::{Failure, Outcome, SIGNALLED};
use crate::client::{ClientError, TextStream};
use crate::wire::Secret;

/// How much may wait for the socket.
const QUEUED_BYTES_MAX: usize = 64 * 1024;

/// The longest line that is sent: what our servers take.
const SENT_BYTES_MAX: usize = 64 * 1024;

/// How many lines are shown before what is typed has its turn.
const LINES_PER_TURN: usize = 256;

/// How long a server may take to say goodbye to a person; one who reads a pipe has time.
const GOODBYE: Duration = Duration::from_secs(5);

/// How many connections in a row may end before the server has said anything to one that proves a secret: it may be
/// the wrong one.
const UNHEARD_MAX: u32 = 3;

/// How many lines are repeated that may not have arrived.
const REPEATED_MAX: usize = 10;

/// Somebody in a chat, on one connection after another.
#[derive(Debug)]
pub(super) struct Client {
    way: Arc<Way>,
    conversation: Conversation,
    people: Arc<People>,
    wishes: Wishes,
    link: Link,
    outgoing: Outgoing,
    backoff: Backoff,
    /// Nothing more is said, and the server is to close; a person waits until then.
    leaving: Option<Option<Instant>>,
    /// Some connection was welcome.
    was_welcome: bool,
    /// How many connections in a row have ended unheard.
    unheard: u32,
    /// Why the last attempt failed, which is not said again.
    told: Option<String>,
    /// That lines are kept was said.
    told_of_keeping: bool,
}

/// What somebody wants of a chat.
#[derive(Debug)]
pub(super) struct Wishes {
    /// The token of a name that is theirs.
    pub(super) login: Option<Secret>,
    /// To be called so, and to be there; as it is now, when a connection breaks.
    pub(super) nick: Option<String>,
    pub(super) room: Option<String>,
    pub(super) has_bell: bool,
    /// How long to wait before a lost connection is made anew; none: that is the end.
    pub(super) retry: Option<Duration>,
}

#[derive(Debug)]
enum Link {
    Up(Box<Visit>),
    Dialling(Attempt),
    Down { until: Instant },
}

impl Client {
    pub(super) fn new(
        way: Arc<Way>,
        stream: TextStream,
        conversation: Conversation,
        people: Arc<People>,
        wishes: Wishes,
    ) -> Client {
        let visit = Visit::begin(
            stream,
            wishes.login.as_ref(),
            wishes.nick.as_deref(),
            wishes.room.as_deref(),
            false,
            now(),
        );
        Client {
            way,
            conversation,
            people,
            backoff: Backoff::new(wishes.retry.unwrap_or_default()),
            wishes,
            link: Link::Up(Box::new(visit)),
            outgoing: Outgoing::default(),
            leaving: None,
            was_welcome: false,
            unheard: 0,
            told: None,
            told_of_keeping: false,
        }
    }

    /// Takes part until somebody has had enough.
    pub(super) fn run(mut self) -> Outcome {
        if !self.conversation.is_plain() {
            let text = format!(
                "connected to {}; Tab completes, Ctrl-D leaves",
                self.way.address
            );
            self.conversation.remark(&text)?;
        }
        let outcome = self.take_part();
        let unsaid = self.outgoing.take_kept();
        self.repeat("not sent", &unsaid)?;
        self.conversation.end()?;
        outcome
    }

    fn take_part(&mut self) -> Outcome {
        loop {
            let now = now();
            let may_have_more = match self.hear(now)? {
                Heeded::All => false,
                Heeded::Some => true,
                Heeded::End(end) => {
                    if let Some(code) = self.ended(end, now)? {
                        return Ok(code);
                    }
                    false
                }
            };
            if let Some(code) = self.type_on(now)? {
                return Ok(code);
            }
            // Last, since what was heard and typed may be a reason to send something.
            if let Some(code) = self.go_on(now)? {
                return Ok(code);
            }
            if !may_have_more || !self.conversation.has_room() {
                self.wait(now)?;
            }
        }
    }

    /// Waits for something to happen.
    fn wait(&mut self, now: Instant) -> Result<(), Failure> {
        let leaving = self.leaving.flatten();
        let moment = match &self.link {
            Link::Up(visit) => visit.next_moment(),
            Link::Dialling(_) => None,
            Link::Down { until } => Some(*until),
        };
        let moment = [leaving, moment].into_iter().flatten().min();
        let at_most = moment.map(|moment| moment.saturating_duration_since(now));
        let mut flags = PollFlags::empty();
        let socket = match &self.link {
            Link::Up(visit) => {
                flags.set(PollFlags::IN, self.conversation.has_room());
                flags.set(PollFlags::OUT, visit.stream.wants_to_send());
                Some(visit.stream.as_fd())
            }
            Link::Dialling(attempt) => {
                flags = PollFlags::IN;
                Some(attempt.as_fd())
            }
            Link::Down { .. } => None,
        };
        let is_wanted = self.wants_lines();
        let others = socket.map(|socket| (socket, flags));
        self.conversation
            .wait(is_wanted, others.as_slice(), at_most)
    }

    /// Whether more can be typed. What a person types while there is no connection is refused where there is no room
    /// for it: they are to know.
    fn wants_lines(&self) -> bool {
        let is_refused = !self.conversation.is_plain() && !matches!(self.link, Link::Up(_));
        self.leaving.is_none() && (self.outgoing.has_room() || is_refused)
    }

    /// Takes what was typed.
    fn type_on(&mut self, now: Instant) -> Result<Option<ExitCode>, Failure> {
        loop {
            if self.leaving.is_some() || !self.wants_lines() {
                // Signals come all the same.
                return Ok(match self.conversation.next_signal() {
                    Some(Typed::Signal(number)) => Some(interrupted(number)),
                    _ => None,
                });
            }
            match self.conversation.next()? {
                None => return Ok(None),
                Some(Typed::Line(line)) => {
                    self.keep(line, now)?;
                    if !self.outgoing.has_room() {
                        self.say_on(now);
                    }
                }
                Some(Typed::End) => self.leave(now),
                Some(Typed::Signal(number)) => return Ok(Some(interrupted(number))),
                Some(Typed::Failed(why)) => return Err(anyhow::Error::msg(why).into()),
            }
        }
    }

    /// Nothing more is said.
    fn leave(&mut self, now: Instant) {
        self.leaving = Some((!self.conversation.is_plain()).then(|| now + GOODBYE));
    }

    fn keep(&mut self, line: Vec<u8>, now: Instant) -> Result<(), Failure> {
        if line.len() > SENT_BYTES_MAX {
            let text = format!("not sent: a line has at most {SENT_BYTES_MAX} bytes");
            return self.conversation.remark(&text);
        }
        if !self.outgoing.has_room() {
            return self.repeat(
                &format!("{KEPT_LINES_MAX} lines wait already, so this one is not sent"),
                &[line],
            );
        }
        let command = line.split(u8::is_ascii_whitespace).next();
        match command.map(<[u8]>::to_ascii_lowercase).as_deref() {
            Some(b"/quit") => {
                self.leave(now);
                if !matches!(self.link, Link::Up(_)) {
                    return Ok(());
                }
            }
            Some(b"/nick") => {
                if let Link::Up(visit) = &mut self.link {
                    visit.leave_name();
                }
            }
            _ => {}
        }
        self.outgoing.push(line);
        if !matches!(self.link, Link::Up(_)) && !self.told_of_keeping {
            self.told_of_keeping = true;
            let text = format!(
                "kept, as at most {KEPT_LINES_MAX} lines are, until the connection is back"
            );
            self.conversation.remark(&text)?;
        }
        Ok(())
    }

    /// Does what is due: says what was kept, connects again.
    fn go_on(&mut self, now: Instant) -> Result<Option<ExitCode>, Failure> {
        if self.leaving.flatten().is_some_and(|until| until <= now) {
            return Ok(Some(self.code_of_leaving()));
        }
        match &mut self.link {
            Link::Up(visit) => {
                visit.go_on(now);
                if let Entering::Refused(room) = &visit.entering {
                    let why = visit
                        .last_notice
                        .as_deref()
                        .unwrap_or("it does not say why");
                    let text = format!("the server lets nobody into {room}: {why}");
                    return self.shut_out(text);
                }
                self.say_on(now);
            }
            Link::Dialling(attempt) => match attempt.outcome() {
                None => {}
                Some(Ok(stream)) => self.is_back(stream, now)?,
                Some(Err(error)) => return self.failed(&error, now),
            },
            Link::Down { until } => {
                if self.leaving.is_some() && !self.conversation.is_plain() {
                    return Ok(Some(self.code_of_leaving()));
                }
                if *until <= now {
                    let attempt = Attempt::begin(&self.way);
                    self.link = Link::Dialling(attempt.map_err(anyhow::Error::new)?);
                }
            }
        }
        Ok(None)
    }

    /// Gives the connection what was typed.
    fn say_on(&mut self, now: Instant) {
        let Link::Up(visit) = &mut self.link else {
            return;
        };
        if visit.is_entered() {
            self.outgoing.give(now, |line| {
                (visit.stream.queued() < QUEUED_BYTES_MAX).then(|| visit.say(line))
            });
            if self.leaving.is_some() && self.outgoing.kept() == 0 {
                visit.stream.end_saying();
            } else if self.outgoing.wants_ping()
                && let Some(ping) = visit.ping()
            {
                self.outgoing.pinged(ping);
            }
            if !visit.confirms() {
                self.outgoing.trust_old(now);
            }
        }
        visit.stream.send();
    }

    /// Shows what has come.
    fn hear(&mut self, now: Instant) -> Result<Heeded, Failure> {
        for _ in 0..LINES_PER_TURN {
            let Link::Up(visit) = &mut self.link else {
                return Ok(Heeded::All);
            };
            if !self.conversation.has_room() {
                return Ok(Heeded::Some);
            }
            let mut piece = visit.incoming.next(visit.stream.unread());
            let mut end = None;
            if piece == Piece::Nothing {
                if visit.stream.receive() {
                    continue;
                }
                end = visit.stream.end();
                if end.is_none() {
                    return Ok(Heeded::All);
                }
                piece = visit.incoming.last(visit.stream.unread());
            }
            match piece {
                Piece::Nothing => {}
                Piece::Dropped(taken) => visit.stream.consume(taken),
                Piece::Line { len, taken, is_cut } => {
                    let line = visit.stream.unread()[..len].to_vec();
                    visit.stream.consume(taken);
                    self.heed(&line, now)?;
                    if is_cut {
                        let text = format!("cut: that line is longer than {LINE_BYTES_MAX} bytes");
                        self.conversation.remark(&text)?;
                    }
                }
            }
            if let Some(end) = end {
                return Ok(Heeded::End(end));
            }
        }
        Ok(Heeded::Some)
    }

    /// Learns from a line, and shows it.
    fn heed(&mut self, line: &[u8], now: Instant) -> Result<(), Failure> {
        let Link::Up(visit) = &mut self.link else {
            return Ok(());
        };
        let heard = Heard::parse(line);
        let was_entered = visit.is_entered();
        let aside = visit.hear(&heard, now);
        self.people.hear(&heard);
        match heard {
            // The name of a token comes with it.
            Heard::NowCalled(name) if self.wishes.login.is_none() => {
                self.wishes.nick = Some(name.to_owned());
            }
            Heard::NowIn(room) => {
                let is_first = visit.first_room.as_deref() == Some(room);
                self.wishes.room = (!is_first).then(|| room.to_owned());
            }
            _ => {}
        }
        let is_elsewhere = matches!(heard, Heard::NowIn(_));
        if (is_elsewhere || (visit.is_entered() && !was_entered)) && !self.conversation.is_plain() {
            visit.ask_members();
        }
        if visit.is_welcome() {
            self.was_welcome = true;
            self.unheard = 0;
        }
        let rings = self.wishes.has_bell && is_for(&heard, visit.me.as_deref());
        if rings {
            self.conversation.ring();
        }
        match aside {
            Aside::Shown => self.conversation.show(line, look(line))?,
            Aside::Hidden => {}
            Aside::Remark(text) => self.conversation.remark(&text)?,
            Aside::Answered(ping) => {
                self.outgoing.answered(ping);
            }
            Aside::NothingConfirmed => self.outgoing.forget_pings(),
        }
        Ok(())
    }

    /// The connection has ended.
    fn ended(&mut self, end: ClientError, now: Instant) -> Result<Option<ExitCode>, Failure> {
        let Link::Up(visit) = &mut self.link else {
            return Ok(None);
        };
        if let Some(why) = visit.refusal(&end) {
            let address = &self.way.address;
            return Err(anyhow::Error::msg(format!("{address} turned us away: {why}")).into());
        }
        let is_goodbye = self.leaving.is_some()
            && visit.is_entered()
            && self.outgoing.kept() == 0
            && matches!(end, ClientError::HungUp { .. });
        if is_goodbye {
            self.outgoing.all_was_said();
            return Ok(Some(ExitCode::SUCCESS));
        }
        let was_welcome = visit.is_welcome();
        let unsure = self.outgoing.broke(visit.stream.sent());
        if was_welcome {
            self.backoff.reset();
        } else {
            self.unheard += 1;
        }
        let is_unheard =
            !was_welcome && self.way.access.key.is_some() && self.unheard >= UNHEARD_MAX;
        let is_over = self.leaving.is_some() && self.outgoing.kept() == 0;
        let is_last = !self.was_welcome || is_unheard || is_over || self.wishes.retry.is_none();
        let unsure: Vec<Vec<u8>> = unsure
            .into_iter()
            .filter(|line| is_said_to_people(line))
            .collect();
        self.repeat("may not have arrived, and is not sent again", &unsure)?;
        if is_last {
            return Err(anyhow::Error::msg(self.explain(&end, was_welcome)).into());
        }
        let wait = self.backoff.next();
        let why = self.explain(&end, was_welcome);
        self.link = Link::Down { until: now + wait };
        self.tell(why)?;
        Ok(None)
    }

    /// Could not connect again.
    fn failed(&mut self, error: &ClientError, now: Instant) -> Result<Option<ExitCode>, Failure> {
        let why = self.way.explain(error);
        if self.way.is_final(error) {
            return Err(anyhow::Error::msg(why).into());
        }
        self.link = Link::Down {
            until: now + self.backoff.next(),
        };
        self.tell(why)?;
        Ok(None)
    }

    /// Says why there is no connection, unless that is known.
    fn tell(&mut self, why: String) -> Result<(), Failure> {
        if self.told.as_deref() != Some(&*why) {
            self.conversation
                .remark(&format!("{why}; connecting again"))?;
            self.told = Some(why);
        }
        Ok(())
    }

    fn explain(&self, end: &ClientError, was_welcome: bool) -> String {
        match end {
            ClientError::HungUp { address, .. } if was_welcome => {
                format!("{address} ended the connection")
            }
            ClientError::HungUp { address, .. } => {
                let end = ClientError::HungUp {
                    address: address.clone(),
                    progress: "before it said anything".to_owned(),
                };
                self.way.explain(&end)
            }
            _ => self.way.explain(end),
        }
    }

    /// Connected again.
    fn is_back(&mut self, stream: TextStream, now: Instant) -> Result<(), Failure> {
        let Wishes {
            login, nick, room, ..
        } = &self.wishes;
        let visit = Visit::begin(
            stream,
            login.as_ref(),
            nick.as_deref(),
            room.as_deref(),
            true,
            now,
        );
        self.link = Link::Up(Box::new(visit));
        self.told = None;
        self.told_of_keeping = false;
        self.conversation.remark("connected again")
    }

    /// The room that was asked for is closed to us: nothing is said to people in another one instead.
    fn shut_out(&mut self, text: String) -> Result<Option<ExitCode>, Failure> {
        let unsaid = self.outgoing.take_kept();
        self.repeat("not sent, since it was for that room", &unsaid)?;
        if self.conversation.is_plain() {
            return Err(anyhow::Error::msg(text).into());
        }
        self.wishes.room = None;
        if let Link::Up(visit) = &mut self.link {
            visit.entering = Entering::Done;
        }
        self.conversation.remark(&text)?;
        Ok(None)
    }

    /// Says something of lines that were typed.
    fn repeat(&mut self, what: &str, lines: &[Vec<u8>]) -> Result<(), Failure> {
        for line in lines.iter().take(REPEATED_MAX) {
            let line = String::from_utf8_lossy(line);
            self.conversation.remark(&format!("{what}: {line}"))?;
        }
        match lines.len().saturating_sub(REPEATED_MAX) {
            0 => Ok(()),
            more => self
                .conversation
                .remark(&format!("{what}: {more} more lines")),
        }
    }

    /// A server that does not say goodbye has had its time.
    fn code_of_leaving(&self) -> ExitCode {
        if self.outgoing.kept() == 0 {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }
}

/// How far what came was dealt with.
enum Heeded {
    All,
    Some,
    End(ClientError),
}

fn interrupted(signal: u8) -> ExitCode {
    ExitCode::from(SIGNALLED + signal)
}

/// Whether a line is for people, and not for the server.
fn is_said_to_people(line: &[u8]) -> bool {
    let words = [&b"//"[..], b"/me ", b"/msg "];
    !line.starts_with(b"/") || words.iter().any(|word| line.starts_with(word))
}

/// Whether somebody speaks to us, or of us.
fn is_for(heard: &Heard<'_>, me: Option<&str>) -> bool {
    match heard {
        Heard::Said {
            is_private: true, ..
        } => true,
        Heard::Said { text, .. } => me.is_some_and(|me| is_said(me, text)),
        _ => false,
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a person's client waits by the clock, and has no loop that tells it the time"
)]
fn now() -> Instant {
    Instant::now()
}
