//! A room of people (T6).
//!
//! Does not know who keeps up and who does not, nor what any line says: text is passed on with
//! nothing in it that acts on a terminal.
//!
//! What goes over the wire, besides what the row in PROTOCOL.md says:
//!
//! - A line is UTF-8. Sequences that are not, control characters except the tab, and characters that
//!   reorder what stands beside them become U+FFFD; an empty line says nothing and is passed on to
//!   nobody. A last line without its end counts.
//! - `name: text` is said in the room, `name (private): text` to one alone; names have no spaces, so
//!   neither can be taken for the other, nor for a notice. There is no `/me`: its lines could.
//! - A newcomer is told `* you are guest-1 in lobby (3 here); …` at once.
//! - `* name joined`, `* name left` and `* old is now new` tell the room; who was announced is also
//!   announced to leave, however the connection ends. In a room of more than [`ANNOUNCED_MAX`]
//!   nobody is announced: each coming would be as many letters.
//! - A half-close ends the membership: the room is told, what is owed is still delivered.
//! - A first line that is an HTTP request is a web page's doing, and ends the connection.

mod command;
mod member;
mod name;
mod notice;
mod pace;
mod room;

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use self::command::Said;
use self::member::Member;
use self::name::Name;
use self::notice::{ALOUD, Notice, Words};
use self::room::{RoomKey, Rooms};
use super::{Backlog, Checked, Manner, OverStreams, Peer, Row, Service, Sessions};
use crate::buf::ReadBuf;
use crate::config::limits::{CHAT_HISTORY_LINES_MAX, KEPT_PLACES};
use crate::config::{Transport, Trouble, quoted, with};
use crate::turn::column::{give_back, is_oversized};
use crate::turn::{Closed, ConnId, Fault, Turn};
use crate::wire::{Encode, is_http_request};

pub use self::command::LISTED_MAX;
pub use self::name::NAME_BYTES_MAX;
pub use self::pace::{LINE_EVERY, LINES_AT_ONCE};
pub use self::room::ROOMS_MAX;

/// How many members a room has at most whose comings and goings are announced: beyond, a thousand
/// who come at once would be millions of notices that nobody reads.
pub const ANNOUNCED_MAX: usize = 1024;

/// How many letters weigh as much as a frame: a line that tells a thousand members something is
/// not one of 256 small ones, and a few who rename themselves all the time would stop the loop for
/// half a second (fault A7).
const LETTERS_PER_FRAME: usize = 8;

/// How many bytes of history weigh as much as a letter.
const HISTORY_BYTES_PER_LETTER: usize = 256;

/// How much memory is kept for the lines of one input.
const SAID_BYTES_KEPT: usize = 64 * 1024;

/// Its row in the table.
pub const ROW: Row = Row {
    name: "chat",
    summary: "names, rooms, private messages",
    usual: Transport::Tcp,
    stream: Some(&OverStreams {
        build: |options: &Options, setting| Box::new(Chat::new(options, setting.limits.frame)),
    }),
    datagrams: None,
};

/// Everybody who is here, and where.
#[derive(Debug)]
pub struct Chat {
    line_bytes_max: usize,
    /// Whether a member that says too much too fast is held back.
    flood: bool,
    members: Sessions<Member>,
    /// Who is called what, whatever the case.
    names: HashMap<Name, ConnId>,
    rooms: Rooms,
    /// How many have come so far.
    guests: u64,
    /// The lines of one input, on their way to the room together; empty between inputs.
    said: Vec<u8>,
    /// How many letters the lines of this input were for so far; see [`LETTERS_PER_FRAME`].
    letters: usize,
}

/// Options of `chat`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Options {
    /// Endpoints of the same `rooms` share them, with everybody who is there; absent: this endpoint has its own.
    pub rooms: Option<String>,
    /// Whether a member who says too much too fast is held back.
    #[serde(with = "with::on_off")]
    pub flood: bool,
    /// How many earlier lines a newcomer is shown; 0: none.
    pub history: u32,
}

impl Checked for Options {
    fn set(&self) -> Option<&str> {
        self.rooms.as_deref()
    }

    fn check(&self) -> Result<(), Trouble> {
        if let Some(name) = &self.rooms
            && Name::parse(name.as_bytes()).is_none()
        {
            return Err(Trouble::with(
                "rooms",
                format!(
                    "{} is no name: 1 to {NAME_BYTES_MAX} ASCII letters, digits, - _ or ., beginning with a letter or a digit",
                    quoted(name)
                ),
            ));
        }
        if self.history > CHAT_HISTORY_LINES_MAX {
            return Err(Trouble::with(
                "history",
                format!("it is above {CHAT_HISTORY_LINES_MAX} lines, which are kept in memory"),
            ));
        }
        Ok(())
    }
}

impl Chat {
    /// As `options` say, with lines of at most `line_bytes_max` bytes.
    pub fn new(options: &Options, line_bytes_max: usize) -> Chat {
        Chat {
            line_bytes_max,
            flood: options.flood,
            members: Sessions::default(),
            names: HashMap::new(),
            rooms: Rooms::new(options.history),
            guests: 0,
            said: Vec::new(),
            letters: 0,
        }
    }

    /// Takes lines until there is none, the member has left, or has said enough for now.
    fn listen(&mut self, t: &mut Turn<'_>, input: &mut ReadBuf, ended: bool) -> Result<(), Fault> {
        self.letters = 0;
        if let Some(member) = self.members.get_mut(t.id) {
            member.telnet.filter(t, input);
        }
        let outcome = self.take_lines(t, input, ended);
        if let Some(member) = self.members.get_mut(t.id) {
            member.telnet.leave(input);
        }
        outcome
    }

    fn take_lines(
        &mut self,
        t: &mut Turn<'_>,
        input: &mut ReadBuf,
        ended: bool,
    ) -> Result<(), Fault> {
        while let Some(member) = self.members.get_mut(t.id) {
            if self.flood
                && !input.is_empty()
                && !ended
                && let Some(until) = member.pace.held_until(t.now)
            {
                t.hold();
                t.wake_at(until);
                return Ok(());
            }
            let line = if ended {
                input.last(&mut member.lines)
            } else {
                input.next(&mut member.lines)
            };
            match line {
                Ok(Some(line)) => {
                    self.heed(t, line)?;
                    let frames = self.letters / LETTERS_PER_FRAME;
                    self.letters %= LETTERS_PER_FRAME;
                    input.charge(u32::try_from(frames).unwrap_or(u32::MAX));
                }
                Ok(None) => return Ok(()),
                Err(error) => {
                    let limit = self.line_bytes_max;
                    t.reply(&Notice(format_args!("line too long (limit {limit} bytes)")));
                    return Err(error.into());
                }
            }
        }
        // Whoever has quit has nothing more to say.
        input.consume(input.len());
        Ok(())
    }

    /// Understands one line.
    fn heed(&mut self, t: &mut Turn<'_>, line: &[u8]) -> Result<(), Fault> {
        let Some(member) = self.members.get_mut(t.id) else {
            return Ok(());
        };
        if self.flood {
            member.pace.spend(t.now);
        }
        if !member.spoke && is_http_request(line) {
            t.reply(&Notice(format_args!("this is a chat, not a web server")));
            return Err(Fault::Refused("an HTTP request instead of a line"));
        }
        member.spoke = true;
        match Said::parse(line) {
            Said::Nothing => {}
            Said::Aloud(text) => {
                let (name, link) = (&member.name, ALOUD);
                Words { name, link, text }.encode(&mut self.said);
            }
            Said::Command(command) => {
                self.pass_on(t);
                self.obey(t, command);
            }
        }
        Ok(())
    }

    /// Passes what was said on to the others in the room: once an input, not once a line.
    fn pass_on(&mut self, t: &mut Turn<'_>) {
        if self.said.is_empty() {
            return;
        }
        if let Some(member) = self.members.get(t.id) {
            let room = &mut self.rooms[member.room];
            self.letters += room.members.len();
            t.send_all(room.others(t.id), &self.said[..]);
            let had = room.history.capacity();
            room.history.keep(&self.said);
            t.shares(had, room.history.capacity());
        }
        self.said.clear();
        self.said.shrink_to(SAID_BYTES_KEPT);
    }

    /// Takes the member whose turn it is from one room to another.
    fn go(&mut self, t: &mut Turn<'_>, to: RoomKey) {
        let Some(member) = self.members.get(t.id) else {
            return;
        };
        let (name, from, seat, announced) =
            (member.name, member.room, member.seat, member.announced);
        if from == to {
            let room = &self.rooms[to];
            return t.reply(&Notice(format_args!("you are in {} already", room.name)));
        }
        self.stand_up(from, seat);
        if announced {
            self.tell_of_leaving(t, from, name, "");
        }
        self.vanish_if_empty(t, from);
        self.sit_down(t, to);
        let room = &self.rooms[to];
        let here = room.members.len();
        t.reply(&Notice(format_args!(
            "you are in {} ({here} here)",
            room.name
        )));
        self.tell_history(t, to);
    }

    /// Gives the member whose turn it is a seat, and tells the room.
    fn sit_down(&mut self, t: &mut Turn<'_>, key: RoomKey) {
        let Some(member) = self.members.get_mut(t.id) else {
            return;
        };
        let room = &mut self.rooms[key];
        member.announced = room.members.len() < ANNOUNCED_MAX;
        if member.announced {
            self.letters += room.members.len();
            t.send_all(
                room.members.iter().copied(),
                &Notice(format_args!("{} joined", member.name)),
            );
        }
        member.room = key;
        member.seat = room.members.len();
        room.members.push(t.id);
    }

    /// Frees a seat; the member of the last one sits there then.
    fn stand_up(&mut self, key: RoomKey, seat: usize) {
        let room = &mut self.rooms[key];
        room.members.swap_remove(seat);
        give_back(&mut room.members);
        if let Some(moved) = room
            .members
            .get(seat)
            .and_then(|&id| self.members.get_mut(id))
        {
            moved.seat = seat;
        }
    }

    fn tell_of_leaving(&mut self, t: &mut Turn<'_>, key: RoomKey, name: Name, why: &str) {
        let members = &self.rooms[key].members;
        self.letters += members.len();
        t.send_all(
            members.iter().copied(),
            &Notice(format_args!("{name} left{why}")),
        );
    }

    fn tell_history(&mut self, t: &mut Turn<'_>, key: RoomKey) {
        let history = &self.rooms[key].history;
        if history.len() > 0 {
            self.letters += history.bytes() / HISTORY_BYTES_PER_LETTER;
            t.reply(&Notice(format_args!("earlier lines: {}", history.len())));
            t.reply(history);
        }
    }

    /// Ends the membership of the connection whose turn it is, and tells the room.
    fn leave(&mut self, t: &mut Turn<'_>, why: &str) {
        if let Some(member) = self.forget(t.id) {
            if member.announced {
                self.tell_of_leaving(t, member.room, member.name, why);
            }
            self.vanish_if_empty(t, member.room);
        }
    }

    /// Forgets a room that nobody is in.
    fn vanish_if_empty(&mut self, t: &mut Turn<'_>, key: RoomKey) {
        let had = self.rooms.vanish_if_empty(key);
        t.shares(had, 0);
    }

    /// Frees the seat and the name.
    fn forget(&mut self, id: ConnId) -> Option<Member> {
        let member = self.members.remove(id)?;
        self.names.remove(&member.name.key());
        if is_oversized(self.names.capacity(), self.names.len()) {
            self.names.shrink_to(KEPT_PLACES);
        }
        self.stand_up(member.room, member.seat);
        Some(member)
    }
}

impl Service for Chat {
    fn open(&mut self, t: &mut Turn<'_>, _peer: &Peer) {
        self.guests += 1;
        let name = Name::guest(self.guests);
        self.members
            .insert(t.id, Member::new(name, self.line_bytes_max));
        self.names.insert(name.key(), t.id);
        self.sit_down(t, Rooms::LOBBY);
        let lobby = &self.rooms[Rooms::LOBBY];
        let here = lobby.members.len();
        t.reply(&Notice(format_args!(
            "you are {name} in {} ({here} here); /help lists the commands",
            lobby.name
        )));
        self.tell_history(t, Rooms::LOBBY);
    }

    fn input(&mut self, t: &mut Turn<'_>, input: &mut ReadBuf) -> Result<(), Fault> {
        let outcome = self.listen(t, input, false);
        self.pass_on(t);
        if outcome.is_err() {
            self.leave(t, "");
        }
        outcome
    }

    fn wake(&mut self, t: &mut Turn<'_>) {
        t.resume();
    }

    fn eof(&mut self, t: &mut Turn<'_>, rest: &mut ReadBuf) -> Result<(), Fault> {
        let outcome = self.listen(t, rest, true);
        self.pass_on(t);
        // Who has ended its input is owed what was said so far, and not what others go on to say:
        // in a lively room that would never end.
        self.leave(t, "");
        t.close();
        outcome
    }

    fn closed(&mut self, t: &mut Turn<'_>, why: &Closed) {
        let why = match why {
            Closed::TooSlow | Closed::Evicted => " (did not keep up)",
            Closed::Idle => " (was idle)",
            _ => "",
        };
        self.leave(t, why);
    }

    fn stopping(&mut self, t: &mut Turn<'_>) {
        t.reply(&Notice(format_args!("the server is stopping")));
        // Everybody is told that, so nobody is told who leaves.
        if let Some(member) = self.forget(t.id) {
            self.vanish_if_empty(t, member.room);
        }
        t.close_lingering();
    }

    fn refusal(&self, reason: &str, out: &mut Vec<u8>) {
        Notice(format_args!("{reason}")).encode(out);
    }

    fn shared_bytes(&self) -> usize {
        self.rooms.history_capacity()
    }

    fn give_back(&mut self) {
        self.rooms.forget_histories();
    }

    /// A line that was sent before its connection was reset was sent: the others read it.
    fn manner(&self) -> Manner {
        Manner {
            is_shared: true,
            backlog: Backlog::Disconnect,
            reads_after_reset: true,
            ..Manner::ANSWERS
        }
    }
}

#[cfg(test)]
mod tests;
