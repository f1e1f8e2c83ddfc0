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
//! - `name: text` is said in the room, `name (private): text` to one alone, and `~ name text` is what `/me text`
//!   does; names have no spaces and begin with a letter or a digit, so none can be taken for another, nor for a
//!   notice, nor for an earlier line, `[2026-11-27 20:31:05] name: text`.
//! - A newcomer is told `* you are guest-1 in lobby (3 here); …` at once.
//! - `* name joined`, `* name left` and `* old is now new` tell the room; who was announced is also
//!   announced to leave, however the connection ends. In a room of more than [`ANNOUNCED_MAX`]
//!   nobody is announced: each coming would be as many letters.
//! - A half-close ends the membership: the room is told, what is owed is still delivered.
//! - A first line that is an HTTP request is a web page's doing, and ends the connection.

mod bans;
mod bus;
mod command;
mod delivery;
mod elsewhere;
mod ignoring;
mod letters;
mod login;
mod member;
mod minutes;
mod name;
mod notice;
mod operator;
mod options;
mod owned;
mod pace;
mod room;
mod shared;
mod stamp;
mod text;
mod unheard;
mod waits;
mod watchers;

use std::collections::{HashMap, HashSet};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use jiff::tz::TimeZone;

use self::bans::Bans;
use self::bus::Bus;
use self::command::{Command, Said};
use self::delivery::decoded;
use self::elsewhere::Elsewhere;
use self::letters::Letters;
use self::member::Member;
use self::minutes::{Minutes, SAID_BYTES_KEPT};
use self::name::Name;
use self::notice::{ALOUD, Deed, Notice, Topic, Words, dropped_lines};
use self::owned::Owned;
use self::room::{RoomKey, Rooms};
use self::unheard::Unheard;
use self::waits::Unsettled;
use self::watchers::Watchers;
use super::{Dialler, Encoding, Manner, OverStreams, Peer, Row, Service, Sessions, Terms};
use crate::buf::ReadBuf;
use crate::config::Transport;
use crate::config::limits::KEPT_PLACES;
use crate::service;
use crate::turn::column::{give_back, is_oversized};
use crate::turn::{Closed, ConnId, Fault, Moment, Turn};
use crate::wire::{Encode, Family, is_http_request};

pub use self::bans::{BANS_MAX, REASON_BYTES_MAX};
pub use self::command::{AWAY_BYTES_MAX, TOPIC_BYTES_MAX};
pub use self::ignoring::IGNORED_MAX;
pub use self::name::NAME_BYTES_MAX;
pub use self::operator::WATCHED_MAX;
pub use self::options::{Options, Slow};
pub use self::owned::{LOGIN_TRIES, NAMES_BYTES_MAX, line_of_name};
pub use self::pace::{LINE_EVERY, LINES_AT_ONCE};
pub use self::room::ROOMS_MAX;
pub use self::text::LISTED_MAX;

/// How many members a room has at most whose comings and goings are announced: beyond, a thousand
/// who come at once would be millions of notices that nobody reads.
pub const ANNOUNCED_MAX: usize = 1024;

/// How many bytes of history weigh as much as a letter.
const HISTORY_BYTES_PER_LETTER: usize = 256;

/// Its row in the table.
pub const ROW: Row = Row {
    name: "chat",
    summary: "names, rooms, private messages",
    usual: Transport::Tcp,
    stream: Some(&OverStreams {
        build: |options: &Options, setting| {
            let chat = Chat::new(options, setting.limits.frame).in_zone(setting.zone.clone());
            Box::new(match setting.bus {
                Some(bus) => chat.on_bus(bus.clone(), options),
                None => chat,
            })
        },
    }),
    datagrams: None,
};

/// Everybody who is here, and where.
#[derive(Debug)]
pub struct Chat {
    line_bytes_max: usize,
    /// Whether a member that says too much too fast is held back.
    flood: bool,
    slow: Slow,
    /// What its members have for themselves, by listener.
    listeners: HashMap<u16, Own>,
    members: Sessions<Member>,
    /// How many of them read GBK.
    in_gbk: usize,
    /// Who is called what, whatever the case.
    names: HashMap<Name, ConnId>,
    /// Which names belong to somebody, and whether there is a file that says so.
    owned: Owned,
    has_tokens: bool,
    bans: Bans,
    /// Connections whose member was removed, and which are to end.
    removed: HashSet<ConnId>,
    rooms: Rooms,
    /// What is kept of what is said.
    minutes: Minutes,
    /// How many have come so far.
    guests: u64,
    /// The lines of one input, on their way to the room together; empty between inputs.
    said: Vec<u8>,
    letters: Letters,
    /// By what other servers share the rooms.
    bus: Option<Box<Bus>>,
    /// What is known of rooms that nobody of this server is in.
    elsewhere: Option<Elsewhere>,
    /// Members with whom the bus is not through.
    unsettled: Unsettled,
    /// Who does not hear whom of other servers.
    unheard: Unheard,
    /// Who hears rooms without being there.
    watchers: Watchers,
    /// The memory of what waits for the bus, and of those, as it was last said.
    bus_bytes: usize,
}

/// What the members who come by one listener have for themselves.
#[derive(Debug, Clone, Copy, Default)]
struct Own {
    encoding: Encoding,
    is_operator: bool,
}

impl Chat {
    /// As `options` say, with lines of at most `line_bytes_max` bytes.
    pub fn new(options: &Options, line_bytes_max: usize) -> Chat {
        Chat {
            line_bytes_max,
            flood: options.flood,
            slow: options.slow,
            listeners: HashMap::new(),
            members: Sessions::default(),
            in_gbk: 0,
            names: HashMap::new(),
            owned: Owned::default(),
            has_tokens: options.names.is_some(),
            bans: Bans::default(),
            removed: HashSet::new(),
            rooms: Rooms::new(options.history),
            minutes: Minutes::new(options),
            guests: 0,
            said: Vec::new(),
            letters: Letters::default(),
            bus: None,
            elsewhere: None,
            unsettled: Unsettled::default(),
            unheard: Unheard::default(),
            watchers: Watchers::default(),
            bus_bytes: 0,
        }
    }

    /// The same, with rooms that all servers of this bus share whose endpoints have the same `rooms`.
    pub fn on_bus(self, bus: Arc<service::Bus>, options: &Options) -> Chat {
        Chat {
            bus: Some(Box::new(Bus::new(
                bus,
                options.rooms.as_deref(),
                options.history,
            ))),
            elsewhere: Some(Elsewhere::new(options.history)),
            ..self
        }
    }

    /// The same, with the time of this zone before earlier lines.
    pub fn in_zone(self, zone: TimeZone) -> Chat {
        Chat {
            minutes: self.minutes.in_zone(zone),
            ..self
        }
    }

    /// Takes lines until there is none, the member has left, or has said enough for now.
    fn listen(&mut self, t: &mut Turn<'_>, input: &mut ReadBuf, ended: bool) -> Result<(), Fault> {
        self.letters.begin();
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
        loop {
            if self.bus.is_some() && !ended && self.is_held_by_bus(t) {
                return Ok(());
            }
            let Some(member) = self.members.get_mut(t.id) else {
                break;
            };
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
                    self.letters.charge(input);
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
        let line = decoded(member.encoding, line);
        let said = Said::parse(&line);
        let speaks = matches!(
            said,
            Said::Aloud(_) | Said::Done(_) | Said::Command(Command::Msg(..))
        );
        if speaks && self.is_impostor(t.id) {
            self.pass_on(t);
            self.lose_name(t, t.id);
        }
        let Some(member) = self.members.get(t.id) else {
            return Ok(());
        };
        match said {
            Said::Nothing => {}
            Said::Aloud(text) if is_spoilt_login(text) => self.reply(
                t,
                &Notice(format_args!(
                    "that is not said to the room: /login is the first word of its line"
                )),
            ),
            Said::Aloud(text) => {
                let (name, link) = (&member.name, ALOUD);
                Words { name, link, text }.encode(&mut self.said);
            }
            Said::Done(text) => Deed(&member.name, text).encode(&mut self.said),
            Said::Command(command) => {
                self.pass_on(t);
                return self.obey(t, command);
            }
        }
        Ok(())
    }

    /// Passes what was said on to the others in the room: once an input, not once a line.
    fn pass_on(&mut self, t: &mut Turn<'_>) {
        if self.said.is_empty() {
            return;
        }
        if self.bus.is_some() {
            let said = std::mem::take(&mut self.said);
            if let Some(member) = self.members.get(t.id) {
                let room = self.rooms[member.room].name;
                if !self.publish(t, room, Some(t.id), &said) {
                    self.tell_not_kept(t);
                }
            }
            self.said = said;
        } else if let Some(member) = self.members.get(t.id) {
            let room = &self.rooms[member.room];
            self.letters += room.members.len();
            let others = room.others(t.id);
            if member.ignored_by == 0 {
                self.send_all(t, others, &self.said[..]);
            } else {
                let speaker = t.id;
                let hear = others.filter(|&id| !self.is_deaf_to(id, speaker));
                self.send_all(t, hear, &self.said[..]);
            }
            let key = member.room;
            self.tell_watchers(t, room.name, Some(t.id), &self.said[..]);
            let said = std::mem::take(&mut self.said);
            self.remember(t, key, &said, t.wall());
            self.write_down(t, key, &said);
            self.said = said;
        }
        self.said.clear();
        self.said.shrink_to(SAID_BYTES_KEPT);
    }

    /// Writes down what was said or told to a room, if that is wanted.
    fn write_down(&mut self, t: &Turn<'_>, key: RoomKey, lines: &[u8]) {
        if self.minutes.writes() {
            let room = self.rooms[key].name;
            self.minutes.write_down(room, lines, t.wall());
        }
    }

    /// Keeps what was said then for those who come later.
    fn remember(&mut self, t: &mut Turn<'_>, key: RoomKey, lines: &[u8], when: SystemTime) {
        if self.minutes.keeps_history() {
            let history = &mut self.rooms[key].history;
            let had = history.capacity();
            self.minutes
                .stamp(lines, when, |stamped| history.keep(stamped));
            t.shares(had, history.capacity());
        }
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
            return self.reply(t, &Notice(format_args!("you are in {} already", room.name)));
        }
        self.stand_up(from, seat);
        if announced {
            self.tell_of_leaving(t, from, name, "");
        }
        self.vanish_if_empty(t, from);
        self.sit_down(t, to);
        let here = self.count_in(to);
        let room = &self.rooms[to];
        self.reply(
            t,
            &Notice(format_args!("you are in {} ({here} here)", room.name)),
        );
        self.tell_topic(t, to);
        self.tell_history(t, to);
    }

    /// Gives the member whose turn it is a seat, and tells the room.
    fn sit_down(&mut self, t: &mut Turn<'_>, key: RoomKey) {
        let Some(member) = self.members.get_mut(t.id) else {
            return;
        };
        let room = &mut self.rooms[key];
        let (name, announced) = (member.name, room.members.len() < ANNOUNCED_MAX);
        (member.room, member.seat, member.announced) = (key, room.members.len(), announced);
        room.members.push(t.id);
        if announced {
            self.tell_room(t, key, Some(t.id), &Notice(format_args!("{name} joined")));
        }
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
        self.tell_room(t, key, None, &Notice(format_args!("{name} left{why}")));
    }

    fn tell_topic(&self, t: &mut Turn<'_>, key: RoomKey) {
        let room = &self.rooms[key];
        if !room.topic.is_empty() {
            self.reply(t, &Topic(room));
        }
    }

    fn tell_history(&mut self, t: &mut Turn<'_>, key: RoomKey) {
        let history = &self.rooms[key].history;
        if history.len() > 0 {
            self.letters += history.bytes() / HISTORY_BYTES_PER_LETTER;
            self.reply(t, &Notice(format_args!("earlier lines: {}", history.len())));
            self.reply(t, history);
        }
    }

    /// Ends the membership of the connection whose turn it is, and tells the room.
    fn leave(&mut self, t: &mut Turn<'_>, why: &str) {
        if let Some(member) = self.forget(t, t.id) {
            if member.announced {
                self.tell_of_leaving(t, member.room, member.name, why);
            }
            self.vanish_if_empty(t, member.room);
        }
    }

    /// Forgets a room that nobody is in.
    fn vanish_if_empty(&mut self, t: &mut Turn<'_>, key: RoomKey) {
        if self.bus.is_some() && key != Rooms::LOBBY && self.rooms[key].members.is_empty() {
            t.shares(self.rooms[key].history.capacity(), 0);
            self.leave_room(key);
            self.share(t);
        }
        let room = &self.rooms[key];
        if self.bus.is_none() && key != Rooms::LOBBY && room.members.is_empty() {
            self.watchers.room_is_gone(room.name);
        }
        let had = self.rooms.vanish_if_empty(key);
        t.shares(had, 0);
    }

    /// Frees the seat and the name.
    fn forget(&mut self, t: &mut Turn<'_>, id: ConnId) -> Option<Member> {
        let member = self.members.remove(id)?;
        self.unsettled.forget(id);
        self.unheard.forget(id);
        self.release_name(t, id, member.name);
        for &other in &member.ignores {
            self.ignores_no_more(other);
        }
        if member.encoding == Encoding::Gbk {
            self.in_gbk -= 1;
        }
        if member.is_operator {
            self.watchers.forget(id);
        }
        self.names.remove(&member.name.key());
        if is_oversized(self.names.capacity(), self.names.len()) {
            self.names.shrink_to(KEPT_PLACES);
        }
        self.stand_up(member.room, member.seat);
        Some(member)
    }
}

impl Chat {
    /// The name of the next guest.
    fn guest(&mut self) -> Name {
        self.guests += 1;
        match &self.bus {
            None => Name::guest(self.guests),
            Some(bus) => Name::guest_of(bus.tag(), self.guests),
        }
    }
}

/// Whether a line has a token in it that its author did not mean to say: nobody else begins one so.
fn is_spoilt_login(text: &[u8]) -> bool {
    let text = text.trim_ascii_start();
    text.len() > 6 && text[..6].eq_ignore_ascii_case(b"/login") && text[6].is_ascii_whitespace()
}

impl Service for Chat {
    fn open(&mut self, t: &mut Turn<'_>, peer: &Peer) {
        if let Some(ban) = peer.ip().and_then(|ip| self.bans.of_source(ip)) {
            t.reply(&Notice(format_args!("you may not be here: {ban}")));
            return t.close_lingering();
        }
        let name = self.guest();
        let own = self.listeners.get(&t.listener()).copied();
        let Own {
            encoding,
            is_operator,
        } = own.unwrap_or_default();
        self.in_gbk += usize::from(encoding == Encoding::Gbk);
        let newcomer = Member {
            encoding,
            is_operator,
            ..Member::new(name, *peer, self.line_bytes_max)
        };
        self.members.insert(t.id, newcomer);
        self.names.insert(name.key(), t.id);
        self.sit_down(t, Rooms::LOBBY);
        let here = self.count_in(Rooms::LOBBY);
        let lobby = &self.rooms[Rooms::LOBBY];
        self.reply(
            t,
            &Notice(format_args!(
                "you are {name} in {} ({here} here); /help lists the commands",
                lobby.name
            )),
        );
        self.tell_if_alone(t);
        self.tell_topic(t, Rooms::LOBBY);
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
        if self.removed.remove(&t.id) {
            return t.close_lingering();
        }
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
        self.removed.remove(&t.id);
        let why = match why {
            Closed::TooSlow | Closed::Evicted => " (did not keep up)",
            Closed::Idle => " (was idle)",
            _ => "",
        };
        self.leave(t, why);
    }

    fn stopping(&mut self, t: &mut Turn<'_>) {
        self.reply(t, &Notice(format_args!("the server is stopping")));
        // Everybody of this server is told that, so nobody here is told who leaves.
        if let Some(member) = self.forget(t, t.id) {
            if self.bus.is_some() && member.announced {
                self.tell_of_leaving(t, member.room, member.name, "");
            }
            self.vanish_if_empty(t, member.room);
        }
        t.close_lingering();
    }

    fn due(&self) -> Option<Moment> {
        self.bus.as_ref().map(|bus| bus.due())
    }

    fn comes_due(&mut self, t: &mut Turn<'_>) {
        self.see_to_bus(t);
    }

    fn dialler(&mut self) -> Option<&mut dyn Dialler> {
        if self.bus.is_some() { Some(self) } else { None }
    }

    fn add_figures(&self, figures: &mut Vec<Family>) {
        if let Some(bus) = &self.bus {
            bus.figures(figures);
        }
    }

    fn listens(&mut self, listener: u16, terms: &Terms) {
        // They were read and checked when the endpoint was.
        let options: Options = terms.options.read().unwrap_or_default();
        let own = Own {
            encoding: options.encoding,
            is_operator: options.operator,
        };
        self.listeners.insert(listener, own);
        // All listeners have the same file, which was read and checked, too.
        let owned = terms.file.as_deref().map(Owned::parse);
        self.owned = owned.and_then(Result::ok).unwrap_or_default();
    }

    fn listens_no_more(&mut self, listener: u16) {
        self.listeners.remove(&listener);
    }

    fn transcript(&self) -> Option<&Path> {
        self.minutes.transcript()
    }

    fn write_transcript_to(&mut self, out: Box<dyn Write>) {
        self.minutes.write_to(out);
    }

    fn reopen_transcript(&mut self) {
        self.minutes.reopen();
    }

    fn dropped(&mut self, _id: ConnId, lines: u64, out: &mut Vec<u8>) {
        notice::Dropped(lines).encode(out);
    }

    fn stands_for(&self, line: &[u8]) -> Option<u64> {
        dropped_lines(line)
    }

    fn refusal(&self, reason: &str, out: &mut Vec<u8>) {
        Notice(format_args!("{reason}")).encode(out);
    }

    fn shared_bytes(&self) -> usize {
        self.rooms.history_capacity() + self.bus_bytes
    }

    fn give_back(&mut self) {
        self.rooms.forget_histories();
        if let Some(elsewhere) = &mut self.elsewhere {
            elsewhere.forget();
        }
        self.bus_bytes = self.bus.as_ref().map_or(0, |bus| bus.kept_bytes());
    }

    /// A line that was sent before its connection was reset was sent: the others read it.
    fn manner(&self) -> Manner {
        Manner {
            is_shared: true,
            backlog: self.slow.backlog(),
            reads_after_reset: true,
            tells_time: self.minutes.tells_time(),
            // Tokens are for nobody else.
            is_private: self.has_tokens,
            ..Manner::ANSWERS
        }
    }
}

#[cfg(test)]
mod tests;
