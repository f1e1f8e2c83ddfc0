use std::time::{Duration, Instant};

use super::backoff::Backoff;
use super::heard::Heard;
use super::incoming::Incoming;
use crate::client::{ClientError, TextStream};
use crate::wire::Secret;

/// How long a server may be silent before it counts as one that greets nobody.
const GREETS_WITHIN: Duration = Duration::from_secs(1);

/// How long a server of ours may take to say whether we are in a room.
const ANSWERS_WITHIN: Duration = Duration::from_secs(10);

/// How long to wait until a name is asked for again that a connection of ours may still have which broke.
const NAME_AGAIN: Duration = Duration::from_secs(1);

/// One connection: what was said on it by the server, and what is to be known of it.
#[derive(Debug)]
pub(super) struct Visit {
    pub(super) stream: TextStream,
    pub(super) incoming: Incoming,
    /// The server's greeting is that of one of ours: it knows `/who`, and where lines go.
    pub(super) is_ours: bool,
    /// It answers `/ping`, as far as is known.
    confirms: bool,
    /// The last `/ping`.
    ping: u64,
    /// How many answers to `/who` nobody asked for but us.
    pub(super) hidden_members: u32,
    /// Whether anything came.
    has_spoken: bool,
    /// The last that the server said itself.
    pub(super) last_notice: Option<String>,
    /// Why the server does not want us any more.
    removed: Option<String>,
    /// The name that we have.
    pub(super) me: Option<String>,
    /// The room that a newcomer enters.
    pub(super) first_room: Option<String>,
    pub(super) entering: Entering,
    name: Name,
}

/// Whether what is typed may be said: we are where it is to be heard.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Entering {
    /// Not yet; until then.
    Waits {
        /// The room that was asked for.
        room: Option<String>,
        /// The `/ping` behind that.
        ping: Option<u64>,
        until: Instant,
    },
    Done,
    /// The server does not let us into this room.
    Refused(String),
}

/// The name that was asked for.
#[derive(Debug)]
enum Name {
    /// None, or it is ours, or somebody else's.
    Settled,
    /// Asked for; a connection of ours that broke may still have it.
    Asked {
        name: String,
        backoff: Backoff,
        was_told: bool,
    },
    /// To be asked for again.
    Again {
        name: String,
        backoff: Backoff,
        at: Instant,
    },
}

/// What the person is to be told of a line beside the line, or instead.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Aside {
    /// The line is shown.
    Shown,
    /// The line answers what the person did not ask.
    Hidden,
    /// So is this, which is said instead.
    Remark(String),
    /// The line is hidden, and tells that this ping was answered.
    Answered(u64),
    /// The line is hidden, and tells that none will be.
    NothingConfirmed,
}

impl Visit {
    /// Asks for a name and a room. `is_back`: they were ours on another connection.
    pub(super) fn begin(
        stream: TextStream,
        login: Option<&Secret>,
        name: Option<&str>,
        room: Option<&str>,
        is_back: bool,
        now: Instant,
    ) -> Visit {
        let mut visit = Visit {
            stream,
            incoming: Incoming::default(),
            is_ours: false,
            confirms: false,
            ping: 0,
            hidden_members: 0,
            has_spoken: false,
            last_notice: None,
            removed: None,
            me: None,
            first_room: None,
            entering: Entering::Waits {
                room: room.map(str::to_owned),
                ping: None,
                until: now + GREETS_WITHIN,
            },
            name: Name::Settled,
        };
        if let Some(token) = login {
            visit.say(&[b"/login ", token.bytes()].concat());
        }
        if let Some(name) = name {
            visit.say(format!("/nick {name}").as_bytes());
            if is_back {
                visit.name = Name::Asked {
                    name: name.to_owned(),
                    backoff: Backoff::new(NAME_AGAIN),
                    was_told: false,
                };
            }
        }
        if let Some(room) = room {
            visit.say(format!("/join {room}").as_bytes());
        }
        visit
    }

    /// Queues a line; returns how many bytes are to leave before it. That it failed shows when all was heard that
    /// came before.
    pub(super) fn say(&mut self, line: &[u8]) -> u64 {
        let before = self.stream.sent() + self.stream.queued() as u64;
        let line = [line, b"\n"].concat();
        let _ = self.stream.queue(&line);
        before
    }

    /// Asks to be told when all that was said so far was passed on; none: the server does not know how.
    pub(super) fn ping(&mut self) -> Option<u64> {
        if !self.confirms {
            return None;
        }
        self.ping += 1;
        self.say(format!("/ping {PING}{}", self.ping).as_bytes());
        Some(self.ping)
    }

    /// Whether lines may never be confirmed.
    pub(super) fn confirms(&self) -> bool {
        self.confirms
    }

    /// Whether the server has taken us in: what ends now has been a conversation.
    pub(super) fn is_welcome(&self) -> bool {
        self.is_ours || (self.has_spoken && self.last_notice.is_none()) || self.is_entered()
    }

    pub(super) fn is_entered(&self) -> bool {
        self.entering == Entering::Done
    }

    /// Asks who is here, without showing the answer.
    pub(super) fn ask_members(&mut self) {
        if self.is_ours {
            self.hidden_members += 1;
            self.say(b"/who");
        }
    }

    /// Learns from a line.
    pub(super) fn hear(&mut self, heard: &Heard<'_>, now: Instant) -> Aside {
        let was_silent = !std::mem::replace(&mut self.has_spoken, true);
        match heard {
            Heard::Said { .. } | Heard::Other => self.last_notice = None,
            Heard::Notice(text) => self.last_notice = Some((*text).to_owned()),
            _ => {}
        }
        match *heard {
            Heard::Removed(why) => self.removed = Some(why.to_owned()),
            Heard::Welcome { name, room } if was_silent => self.welcome(name, room, now),
            // Another kind of server: what is typed is said as it is.
            Heard::Said { .. } | Heard::Other if !self.is_ours => self.entering = Entering::Done,
            Heard::NowCalled(name) => {
                self.me = Some(name.to_owned());
                self.name = Name::Settled;
            }
            Heard::NowIn(_) => self.entering = Entering::Done,
            Heard::Taken(taken) => return self.taken(taken, now),
            Heard::Members(_) if self.hidden_members > 0 => {
                self.hidden_members -= 1;
                return Aside::Hidden;
            }
            Heard::Pong(text) => {
                let ping = text.strip_prefix(PING).and_then(|ping| ping.parse().ok());
                if let Some(ping) = ping {
                    self.answered(ping);
                    return Aside::Answered(ping);
                }
            }
            Heard::Unknown("ping") if self.confirms && self.ping > 0 => {
                self.confirms = false;
                // It says whether we are in the room, too.
                return Aside::NothingConfirmed;
            }
            _ => {}
        }
        Aside::Shown
    }

    fn welcome(&mut self, name: &str, room: &str, now: Instant) {
        self.is_ours = true;
        self.confirms = true;
        self.me = Some(name.to_owned());
        self.first_room = Some(room.to_owned());
        let Entering::Waits { room: asked, .. } = &self.entering else {
            return;
        };
        match asked.clone() {
            None => self.entering = Entering::Done,
            Some(asked) => {
                self.entering = Entering::Waits {
                    room: Some(asked),
                    ping: self.ping(),
                    until: now + ANSWERS_WITHIN,
                };
            }
        }
    }

    fn answered(&mut self, answered: u64) {
        if let Entering::Waits {
            room: Some(room),
            ping: Some(ping),
            ..
        } = &self.entering
            && answered >= *ping
        {
            self.entering = Entering::Refused(room.clone());
        }
    }

    fn taken(&mut self, taken: &str, now: Instant) -> Aside {
        match std::mem::replace(&mut self.name, Name::Settled) {
            Name::Asked {
                name,
                mut backoff,
                was_told,
            } if name.eq_ignore_ascii_case(taken) => {
                let at = now + backoff.next();
                self.name = Name::Again { name, backoff, at };
                if was_told {
                    return Aside::Hidden;
                }
                Aside::Remark(format!(
                    "{taken} is still taken, perhaps by the connection that broke; it is asked for again until it is free"
                ))
            }
            other => {
                self.name = other;
                Aside::Shown
            }
        }
    }

    /// When there is something to be done though nothing came.
    pub(super) fn next_moment(&self) -> Option<Instant> {
        let entering = match &self.entering {
            Entering::Waits { until, .. } => Some(*until),
            _ => None,
        };
        let name = match &self.name {
            Name::Again { at, .. } => Some(*at),
            _ => None,
        };
        [entering, name].into_iter().flatten().min()
    }

    /// Does that.
    pub(super) fn go_on(&mut self, now: Instant) {
        if let Entering::Waits { room, until, .. } = &self.entering
            && *until <= now
        {
            self.entering = match room {
                Some(room) if self.is_ours => Entering::Refused(room.clone()),
                _ => Entering::Done,
            };
        }
        if let Name::Again { name, backoff, at } = &self.name
            && *at <= now
        {
            let (name, backoff) = (name.clone(), *backoff);
            self.say(format!("/nick {name}").as_bytes());
            self.name = Name::Asked {
                name,
                backoff,
                was_told: true,
            };
        }
    }

    /// The person has asked for a name: no other one is asked for any more.
    pub(super) fn leave_name(&mut self) {
        self.name = Name::Settled;
    }

    /// Why the server turned us away, if it did: it has said why, and not taken us in, or not any more.
    pub(super) fn refusal(&self, end: &ClientError) -> Option<&str> {
        if self.removed.is_some() {
            return self.removed.as_deref();
        }
        if self.is_welcome() || !matches!(end, ClientError::HungUp { .. }) {
            return None;
        }
        self.last_notice.as_deref()
    }
}

/// What our pings begin with.
const PING: &str = "onepoll-";
