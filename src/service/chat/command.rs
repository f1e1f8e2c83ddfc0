use std::collections::BTreeMap;
use std::fmt;

use super::Chat;
use super::bus::Question;
use super::member::Member;
use super::name::{NAME_BYTES_MAX, Name};
use super::notice::{IN_PRIVATE, Notice, Pong, Words};
use super::operator::{ORDERS, Order};
use super::room::{ROOMS_MAX, Room, Rooms};
use super::text::{LISTED_MAX, list, plain, quoted, room_name};
use crate::turn::{ConnId, Fault, Turn};
use crate::wire::{Encode, trim_ascii_white};

/// How many bytes the topic of a room has at most, and what is said of a member who is away: a line or two of a
/// terminal.
pub const TOPIC_BYTES_MAX: usize = 300;

/// As [`TOPIC_BYTES_MAX`]: there is one for each member.
pub const AWAY_BYTES_MAX: usize = 160;

const HELP: [&str; 15] = [
    "/nick NAME: be called NAME",
    "/login TOKEN: be called by the name that belongs to you, if one does",
    "/me TEXT: tell the room what you do",
    "/join ROOM: go to ROOM, which is made if need be; /part: back to the lobby",
    "/msg NAME TEXT: say TEXT to NAME alone",
    "/away TEXT: tell TEXT to whoever writes to you alone; /away: be back",
    "/ignore NAME: hear no more of NAME, until one of you leaves; /ignore: whom you ignore; /unignore NAME",
    "/topic, /topic TEXT: what the room is about",
    "/who, /who ROOM: who is here, or there",
    "/rooms: which rooms there are",
    "/ping TEXT: answered by TEXT, when all that was said before has been passed on",
    "/quit: leave",
    "/help: this",
    "//TEXT: say TEXT with one slash before it",
    "everything else is said to the room you are in",
];

/// What a line means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said<'l> {
    /// An empty line: nothing.
    Nothing,
    /// For the room.
    Aloud(&'l [u8]),
    /// What somebody does, for the room.
    Done(&'l [u8]),
    /// For the server.
    Command(Command<'l>),
}

/// What the server is asked to do. Arguments are as they came, less white space at both ends.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Command<'l> {
    Nick(&'l [u8]),
    Join(&'l [u8]),
    Part,
    Msg(&'l [u8], &'l [u8]),
    Who(&'l [u8]),
    Topic(&'l [u8]),
    Away(&'l [u8]),
    Ignore(&'l [u8]),
    Unignore(&'l [u8]),
    Act,
    Rooms,
    Ping(&'l [u8]),
    Help,
    Quit,
    Login(&'l [u8]),
    Order(Order<'l>),
    Unknown(&'l [u8]),
}

impl<'l> Said<'l> {
    /// Every line means something.
    pub(super) fn parse(line: &'l [u8]) -> Said<'l> {
        match line {
            [] => Said::Nothing,
            [b'/', said @ ..] if said.first() == Some(&b'/') => Said::Aloud(said),
            [b'/', command @ ..] => match first_word(command) {
                (word, text) if word.eq_ignore_ascii_case(b"me") && !text.is_empty() => {
                    Said::Done(text)
                }
                _ => Said::Command(Command::parse(command)),
            },
            said => Said::Aloud(said),
        }
    }
}

impl<'l> Command<'l> {
    fn parse(command: &'l [u8]) -> Command<'l> {
        let (word, rest) = first_word(command);
        match &word.to_ascii_lowercase()[..] {
            b"nick" => Command::Nick(rest),
            b"join" => Command::Join(rest),
            b"part" => Command::Part,
            b"msg" => {
                let (name, text) = first_word(rest);
                Command::Msg(name, text)
            }
            b"me" => Command::Act,
            b"topic" => Command::Topic(rest),
            b"away" => Command::Away(rest),
            b"ignore" => Command::Ignore(rest),
            b"unignore" => Command::Unignore(rest),
            b"who" | b"names" => Command::Who(rest),
            b"rooms" | b"list" => Command::Rooms,
            b"ping" => Command::Ping(rest),
            b"help" => Command::Help,
            b"quit" => Command::Quit,
            b"login" => Command::Login(rest),
            b"kick" | b"ban" => {
                let (whom, reason) = first_word(rest);
                Command::Order(if word.len() == 4 {
                    Order::Kick(whom, reason)
                } else {
                    Order::Ban(whom, reason)
                })
            }
            b"unban" => Command::Order(Order::Unban(rest)),
            b"bans" => Command::Order(Order::Bans),
            b"whois" => Command::Order(Order::Whois(rest)),
            b"watch" => Command::Order(Order::Watch(rest)),
            b"unwatch" => Command::Order(Order::Unwatch(rest)),
            _ => Command::Unknown(word),
        }
    }
}

/// The word `text` begins with, and what comes after the white space behind it.
fn first_word(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text
        .iter()
        .position(u8::is_ascii_whitespace)
        .unwrap_or(text.len());
    (&text[..end], trim_ascii_white(&text[end..]))
}

impl Chat {
    /// Does what the member whose turn it is asks for, or says why not.
    pub(super) fn obey(&mut self, t: &mut Turn<'_>, command: Command<'_>) -> Result<(), Fault> {
        match command {
            Command::Nick(name) => self.rename(t, name),
            Command::Join(room) => self.join(t, room),
            Command::Part => self.go(t, Rooms::LOBBY),
            Command::Msg(name, text) => self.whisper(t, name, text),
            Command::Who(room) => self.who(t, room),
            Command::Act => self.reply(t, &Notice(format_args!("/me TEXT"))),
            Command::Topic(text) => self.topic(t, text),
            Command::Away(text) => self.away(t, text),
            Command::Ignore([]) => self.tell_ignored(t),
            Command::Ignore(name) => self.ignore(t, name),
            Command::Unignore(name) => self.unignore(t, name),
            Command::Rooms => {
                self.letters += self.rooms.len().min(LISTED_MAX);
                match &self.bus {
                    Some(bus) => self.reply(t, &AllRooms(&self.rooms, bus.rooms())),
                    None => self.reply(t, &Notice(format_args!("rooms: {}", RoomList(&self.rooms)))),
                }
            }
            Command::Ping(text) if self.pong_when_kept(t, text) => {}
            Command::Ping(text) => self.reply(t, &Pong(text)),
            Command::Help => {
                let is_operator = self.members.get(t.id).is_some_and(|member| member.is_operator);
                let orders = if is_operator { &ORDERS[..] } else { &[] };
                for line in HELP.iter().chain(orders) {
                    self.reply(t, &Notice(format_args!("{line}")));
                }
            }
            Command::Login(token) => return self.log_in(t, token),
            Command::Order(order) => self.carry_out(t, order),
            Command::Quit => {
                self.leave(t, "");
                t.close_lingering();
            }
            Command::Unknown(word) => self.reply(t, &Notice(format_args!(
                "unknown command /{}; /help lists the commands, and //TEXT says TEXT with a slash",
                quoted(word)
            ))),
        }
        Ok(())
    }

    fn rename(&mut self, t: &mut Turn<'_>, text: &[u8]) {
        let Some(member) = self.members.get(t.id) else {
            return;
        };
        if text.is_empty() {
            return self.reply(t, &Notice(format_args!("you are {}", member.name)));
        }
        let Some(name) = Name::parse(text) else {
            return self.reply(t, &NotAName(text));
        };
        let (old, new) = (member.name, name);
        if old == new {
            return self.reply(t, &Notice(format_args!("you are {new} already")));
        }
        if new.is_guest() && old.key() != new.key() {
            return self.reply(
                t,
                &Notice(format_args!(
                    "names that begin with guest- are given by the server"
                )),
            );
        }
        if self.names.get(&new.key()).is_some_and(|&id| id != t.id) {
            return self.reply(t, &Notice(format_args!("{new} is somebody else's name")));
        }
        let may_recase = member.is_owner && old.key() == new.key();
        if self.owned.has(new) && !may_recase {
            return self.reply(
                t,
                &Notice(format_args!(
                    "{new} belongs to somebody: /login TOKEN takes it"
                )),
            );
        }
        if let Some(ban) = self.bans.of_name(new) {
            return self.reply(t, &Notice(format_args!("nobody may be called that: {ban}")));
        }
        if old.key() != new.key() && self.claims(t, new, false) {
            return;
        }
        self.call(t, t.id, new);
        if let Some(member) = self.members.get_mut(t.id) {
            member.is_owner = may_recase;
        }
    }

    fn join(&mut self, t: &mut Turn<'_>, text: &[u8]) {
        let Some(name) = room_name(text) else {
            return self.reply(t, &NotAName(text));
        };
        match self.rooms.find_or_make(name) {
            Some(room) => {
                self.learn_room(t, room);
                self.go(t, room);
            }
            None => self.reply(
                t,
                &Notice(format_args!(
                    "there are {ROOMS_MAX} rooms already: join one of them"
                )),
            ),
        }
    }

    fn whisper(&mut self, t: &mut Turn<'_>, name: &[u8], text: &[u8]) {
        let Some(member) = self.members.get(t.id) else {
            return;
        };
        if name.is_empty() || text.is_empty() {
            return self.reply(t, &Notice(format_args!("/msg NAME TEXT")));
        }
        let elsewhere = |from: Name| Question::Message {
            from: from.to_string(),
            to: String::from_utf8_lossy(name).into_owned(),
            text: String::from_utf8_lossy(text).into_owned(),
        };
        let question = self.find(name).is_none().then(|| elsewhere(member.name));
        if question.is_some_and(|question| self.asks(t, question)) {
            return;
        }
        let (Some(to), Some(member)) = (self.other(t, name), self.members.get(t.id)) else {
            return;
        };
        let (name, link) = (&member.name, IN_PRIVATE);
        if !self.is_deaf_to(to, t.id) {
            self.send(t, to, &Words { name, link, text });
        }
        if let Some(Member { name, away, .. }) = self.members.get(to)
            && let Some(away) = away
        {
            self.reply(t, &Notice(format_args!("{name} is away: {away}")));
        }
    }

    /// Another member by name; if there is none, the one whose turn it is is told so.
    pub(super) fn other(&self, t: &mut Turn<'_>, name: &[u8]) -> Option<ConnId> {
        match self.find(name) {
            Some(id) if id == t.id => self.reply(t, &Notice(format_args!("that is you"))),
            Some(id) => return Some(id),
            None => self.reply(
                t,
                &Notice(format_args!("nobody is called {}", quoted(name))),
            ),
        }
        None
    }

    /// A member of this server by name.
    pub(super) fn find(&self, name: &[u8]) -> Option<ConnId> {
        let name = Name::parse(name)?;
        self.names.get(&name.key()).copied()
    }

    /// What a member is called.
    pub(super) fn name_of(&self, id: ConnId) -> Option<Name> {
        self.members.get(id).map(|member| member.name)
    }

    fn topic(&mut self, t: &mut Turn<'_>, text: &[u8]) {
        let Some(&Member { name, room, .. }) = self.members.get(t.id) else {
            return;
        };
        let here = &mut self.rooms[room];
        match text {
            [] if here.topic.is_empty() => {
                let name = here.name;
                self.reply(
                    t,
                    &Notice(format_args!(
                        "{name} has no topic; /topic TEXT gives it one"
                    )),
                );
            }
            [] => self.tell_topic(t, room),
            text => match plain(text, TOPIC_BYTES_MAX) {
                Some(text) => {
                    here.topic.clone_from(&text);
                    let room_name = here.name;
                    self.publish_topic(t, room_name, &text);
                    self.tell_room(
                        t,
                        room,
                        None,
                        &Notice(format_args!("{name} set the topic: {text}")),
                    );
                }
                None => self.reply(
                    t,
                    &Notice(format_args!("a topic has at most {TOPIC_BYTES_MAX} bytes")),
                ),
            },
        }
    }

    fn away(&mut self, t: &mut Turn<'_>, text: &[u8]) {
        let text = match text {
            [] => None,
            text => match plain(text, AWAY_BYTES_MAX) {
                Some(text) => Some(text.into_boxed_str()),
                None => {
                    return self.reply(
                        t,
                        &Notice(format_args!("that has at most {AWAY_BYTES_MAX} bytes")),
                    );
                }
            },
        };
        let Some(member) = self.members.get_mut(t.id) else {
            return;
        };
        let was = std::mem::replace(&mut member.away, text).is_some();
        let is = member.away.is_some();
        let words = match (was, is) {
            (_, true) => "you are away; /away when you are back",
            (true, false) => "you are back",
            (false, false) => "/away TEXT: TEXT is told to whoever writes to you alone",
        };
        self.reply(t, &Notice(format_args!("{words}")));
    }

    fn tell_ignored(&mut self, t: &mut Turn<'_>) {
        let Some(member) = self.members.get(t.id) else {
            return;
        };
        let names: Vec<Name> = member
            .ignores
            .iter()
            .filter_map(|&id| self.name_of(id))
            .chain(self.unheard.of(t.id).iter().copied())
            .collect();
        if names.is_empty() {
            return self.reply(t, &Notice(format_args!("you ignore nobody")));
        }
        self.letters += names.len();
        self.reply(t, &Notice(format_args!("you ignore {}", Names(&names))));
    }

    fn who(&mut self, t: &mut Turn<'_>, text: &[u8]) {
        let room = match (text, self.members.get(t.id)) {
            (_, None) => return,
            ([], Some(member)) => Some(member.room),
            (text, _) => room_name(text).and_then(|name| self.rooms.find(name)),
        };
        let question = match room {
            Some(key) => Some(Question::Who(self.rooms[key].name.to_string())),
            None => room_name(text).map(|name| Question::Who(name.to_string())),
        };
        if self.bus.is_some() && question.is_some_and(|question| self.asks(t, question)) {
            return;
        }
        if let Some(room) = room {
            self.letters += self.rooms[room].members.len().min(LISTED_MAX);
        }
        match room.map(|room| &self.rooms[room]) {
            Some(room) => self.reply(
                t,
                &Notice(format_args!("in {}: {}", room.name, Roll(self, room))),
            ),
            None => self.reply(
                t,
                &Notice(format_args!("there is no room {}", quoted(text))),
            ),
        }
    }
}

/// Says what a name is.
struct NotAName<'a>(&'a [u8]);

impl Encode for NotAName<'_> {
    fn encode(&self, out: &mut Vec<u8>) {
        Notice(format_args!(
            "'{}' is no name: 1 to {NAME_BYTES_MAX} ASCII letters, digits, - _ or ., \
             beginning with a letter or a digit",
            quoted(self.0)
        ))
        .encode(out);
    }
}

/// Names, commas between them.
struct Roll<'a>(&'a Chat, &'a Room);

impl fmt::Display for Roll<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Roll(chat, room) = self;
        let members = room.members.iter();
        let members = members.filter_map(|&id| chat.members.get(id).map(Present));
        list(f, members, room.members.len())
    }
}

/// A member among those who are here.
pub(super) struct Present<'a>(pub(super) &'a Member);

impl fmt::Display for Present<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let away = if self.0.away.is_some() { " (away)" } else { "" };
        write!(f, "{}{away}", self.0.name)
    }
}

/// Names, commas between them.
struct Names<'a>(&'a [Name]);

impl fmt::Display for Names<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        list(f, self.0.iter(), self.0.len())
    }
}

/// Rooms and how many are in them, commas between them.
struct RoomList<'a>(&'a Rooms);

impl fmt::Display for RoomList<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        list(f, self.0.iter().map(RoomSize), self.0.len())
    }
}

/// The same, with those of other servers and how many are in them.
struct AllRooms<'a>(&'a Rooms, BTreeMap<String, usize>);

impl Encode for AllRooms<'_> {
    fn encode(&self, out: &mut Vec<u8>) {
        let AllRooms(here, elsewhere) = self;
        let mut elsewhere = elsewhere.clone();
        let mut rooms = Vec::new();
        for room in here.iter() {
            let others = elsewhere.remove(&room.name.key().to_string()).unwrap_or(0);
            rooms.push(format!("{} ({})", room.name, room.members.len() + others));
        }
        rooms.extend(
            elsewhere
                .into_iter()
                .map(|(name, count)| format!("{name} ({count})")),
        );
        let list = ListOf(&rooms);
        Notice(format_args!("rooms: {list}")).encode(out);
    }
}

struct ListOf<'a>(&'a [String]);

impl fmt::Display for ListOf<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        list(f, self.0.iter(), self.0.len())
    }
}

struct RoomSize<'a>(&'a Room);

impl fmt::Display for RoomSize<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.0.name, self.0.members.len())
    }
}
