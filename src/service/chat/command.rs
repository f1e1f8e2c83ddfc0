use std::fmt;

use super::Chat;
use super::name::{NAME_BYTES_MAX, Name};
use super::notice::{IN_PRIVATE, Notice, Pong, Words};
use super::room::{ROOMS_MAX, Room, Rooms};
use crate::turn::Turn;
use crate::wire::{Encode, Escaped, trim_ascii_white};

/// How many names or rooms one list shows: an answer is bounded, whatever it is asked about.
pub const LISTED_MAX: usize = 100;

/// How much of what nobody understands is quoted back.
const QUOTED_BYTES_MAX: usize = 32;

const HELP: [&str; 10] = [
    "/nick NAME: be called NAME",
    "/join ROOM: go to ROOM, which is made if need be; /part: back to the lobby",
    "/msg NAME TEXT: say TEXT to NAME alone",
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
    Rooms,
    Ping(&'l [u8]),
    Help,
    Quit,
    Unknown(&'l [u8]),
}

impl<'l> Said<'l> {
    /// Every line means something.
    pub(super) fn parse(line: &'l [u8]) -> Said<'l> {
        match line {
            [] => Said::Nothing,
            [b'/', said @ ..] if said.first() == Some(&b'/') => Said::Aloud(said),
            [b'/', command @ ..] => Said::Command(Command::parse(command)),
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
            b"who" | b"names" => Command::Who(rest),
            b"rooms" | b"list" => Command::Rooms,
            b"ping" => Command::Ping(rest),
            b"help" => Command::Help,
            b"quit" => Command::Quit,
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

/// `#rust` and `rust` are one room: whoever knows IRC writes the one, whoever does not the other.
fn room_name(text: &[u8]) -> Option<Name> {
    Name::parse(text.strip_prefix(b"#").unwrap_or(text))
}

impl Chat {
    /// Does what the member whose turn it is asks for, or says why not.
    pub(super) fn obey(&mut self, t: &mut Turn<'_>, command: Command<'_>) {
        match command {
            Command::Nick(name) => self.rename(t, name),
            Command::Join(room) => self.join(t, room),
            Command::Part => self.go(t, Rooms::LOBBY),
            Command::Msg(name, text) => self.whisper(t, name, text),
            Command::Who(room) => self.who(t, room),
            Command::Rooms => {
                self.letters += self.rooms.len().min(LISTED_MAX);
                t.reply(&Notice(format_args!("rooms: {}", RoomList(&self.rooms))));
            }
            Command::Ping(text) => t.reply(&Pong(text)),
            Command::Help => HELP
                .iter()
                .for_each(|line| t.reply(&Notice(format_args!("{line}")))),
            Command::Quit => {
                self.leave(t, "");
                t.close_lingering();
            }
            Command::Unknown(word) => t.reply(&Notice(format_args!(
                "unknown command /{}; /help lists the commands, and //TEXT says TEXT with a slash",
                quoted(word)
            ))),
        }
    }

    fn rename(&mut self, t: &mut Turn<'_>, text: &[u8]) {
        let Some(member) = self.members.get_mut(t.id) else {
            return;
        };
        if text.is_empty() {
            return t.reply(&Notice(format_args!("you are {}", member.name)));
        }
        let Some(name) = Name::parse(text) else {
            return t.reply(&NotAName(text));
        };
        let (old, new) = (member.name, name);
        if old == new {
            return t.reply(&Notice(format_args!("you are {new} already")));
        }
        if new.is_guest() && old.key() != new.key() {
            return t.reply(&Notice(format_args!(
                "names that begin with guest- are given by the server"
            )));
        }
        if self.names.get(&new.key()).is_some_and(|&id| id != t.id) {
            return t.reply(&Notice(format_args!("{new} is somebody else's name")));
        }
        self.names.remove(&old.key());
        self.names.insert(new.key(), t.id);
        member.name = new;
        self.letters += self.rooms[member.room].members.len();
        t.reply(&Notice(format_args!("you are now {new}")));
        t.send_all(
            self.rooms[member.room].others(t.id),
            &Notice(format_args!("{old} is now {new}")),
        );
    }

    fn join(&mut self, t: &mut Turn<'_>, text: &[u8]) {
        let Some(name) = room_name(text) else {
            return t.reply(&NotAName(text));
        };
        match self.rooms.find_or_make(name) {
            Some(room) => self.go(t, room),
            None => t.reply(&Notice(format_args!(
                "there are {ROOMS_MAX} rooms already: join one of them"
            ))),
        }
    }

    fn whisper(&mut self, t: &mut Turn<'_>, name: &[u8], text: &[u8]) {
        let Some(member) = self.members.get(t.id) else {
            return;
        };
        if name.is_empty() || text.is_empty() {
            return t.reply(&Notice(format_args!("/msg NAME TEXT")));
        }
        let to = Name::parse(name).and_then(|name| self.names.get(&name.key()).copied());
        match to {
            Some(to) if to == t.id => t.reply(&Notice(format_args!("that is you"))),
            Some(to) => {
                let (name, link) = (&member.name, IN_PRIVATE);
                t.send(to, &Words { name, link, text });
            }
            None => t.reply(&Notice(format_args!("nobody is called {}", quoted(name)))),
        }
    }

    fn who(&mut self, t: &mut Turn<'_>, text: &[u8]) {
        let room = match (text, self.members.get(t.id)) {
            (_, None) => return,
            ([], Some(member)) => Some(member.room),
            (text, _) => room_name(text).and_then(|name| self.rooms.find(name)),
        };
        if let Some(room) = room {
            self.letters += self.rooms[room].members.len().min(LISTED_MAX);
        }
        match room.map(|room| &self.rooms[room]) {
            Some(room) => t.reply(&Notice(format_args!(
                "in {}: {}",
                room.name,
                Roll(self, room)
            ))),
            None => t.reply(&Notice(format_args!("there is no room {}", quoted(text)))),
        }
    }
}

fn quoted(text: &[u8]) -> Escaped<'_> {
    Escaped(&text[..text.len().min(QUOTED_BYTES_MAX)])
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
        let names = room
            .members
            .iter()
            .filter_map(|&id| Some(chat.members.get(id)?.name));
        list(f, names, room.members.len())
    }
}

/// Rooms and how many are in them, commas between them.
struct RoomList<'a>(&'a Rooms);

impl fmt::Display for RoomList<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        list(f, self.0.iter().map(RoomSize), self.0.len())
    }
}

struct RoomSize<'a>(&'a Room);

impl fmt::Display for RoomSize<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.0.name, self.0.members.len())
    }
}

fn list(
    f: &mut fmt::Formatter<'_>,
    items: impl Iterator<Item = impl fmt::Display>,
    len: usize,
) -> fmt::Result {
    for (n, item) in items.take(LISTED_MAX).enumerate() {
        let comma = if n == 0 { "" } else { ", " };
        write!(f, "{comma}{item}")?;
    }
    match len.saturating_sub(LISTED_MAX) {
        0 => Ok(()),
        more => write!(f, " and {more} more"),
    }
}
