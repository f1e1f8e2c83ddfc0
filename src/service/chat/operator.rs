//! What only members of an endpoint with `operator=true` may do.

use std::fmt;

use super::Chat;
use super::bans::{BANS_MAX, Ban, Banned, REASON_BYTES_MAX};
use super::bus::Question;
use super::name::Name;
use super::notice::Notice;
use super::room::RoomKey;
use super::text::{LISTED_MAX, list, plain, quoted, room_name};
use crate::turn::{ConnId, Turn};
use crate::wire::Encode;

/// How many rooms an operator watches at most beside the one that they are in.
pub const WATCHED_MAX: usize = 16;

/// What an operator asks for. Arguments are as they came, less white space at both ends.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Order<'l> {
    Kick(&'l [u8], &'l [u8]),
    Ban(&'l [u8], &'l [u8]),
    Unban(&'l [u8]),
    Bans,
    Whois(&'l [u8]),
    Watch(&'l [u8]),
    Unwatch(&'l [u8]),
}

/// What `/help` tells an operator besides.
pub(super) const ORDERS: [&str; 6] = [
    "/kick NAME REASON: end the connection of NAME; operators need not give a reason",
    "/ban NAME REASON, /ban ADDRESS REASON: nobody is called NAME, or comes from there (192.0.2.7, 192.0.2.0/24)",
    "/unban NAME, /unban ADDRESS; /bans: which there are",
    "/whois NAME: where NAME comes from",
    "/watch ROOM: hear a room without being in it, as lines #ROOM; /watch: which you hear",
    "/unwatch ROOM: hear it no more",
];

impl Chat {
    /// Does what an operator asks for, or says why not.
    pub(super) fn carry_out(&mut self, t: &mut Turn<'_>, order: Order<'_>) {
        let member = self.members.get(t.id);
        if !member.is_some_and(|member| member.is_operator) {
            return self.reply(
                t,
                &Notice(format_args!(
                    "only an operator may do that, and you are none"
                )),
            );
        }
        match order {
            Order::Kick(name, reason) => self.kick(t, name, reason),
            Order::Ban(whom, reason) => self.ban(t, whom, reason),
            Order::Unban(whom) => {
                let banned = Banned::parse(whom);
                let gone = banned.is_some_and(|whom| self.bans.remove(&whom));
                if let Some(banned) = banned.filter(|_| gone) {
                    self.publish_ban(t, banned, None);
                }
                let words = if gone {
                    "is banned no more"
                } else {
                    "is not banned"
                };
                self.reply(t, &Notice(format_args!("{} {words}", quoted(whom))));
            }
            Order::Bans if self.bans.len() == 0 => {
                self.reply(t, &Notice(format_args!("nobody is banned")));
            }
            Order::Bans => {
                self.letters += self.bans.len().min(LISTED_MAX);
                self.reply(t, &Notice(format_args!("banned: {}", BanList(self))));
            }
            Order::Whois(name) => self.who_is(t, name),
            Order::Watch([]) => self.tell_watched(t),
            Order::Watch(room) => self.watch(t, room),
            Order::Unwatch(room) => self.unwatch(t, room),
        }
    }

    fn who_is(&mut self, t: &mut Turn<'_>, text: &[u8]) {
        if self.find(text).is_none()
            && let Some(name) = Name::parse(text)
            && self.asks(t, Question::Whois(name.to_string()))
        {
            return;
        }
        if let Some(id) = self.other(t, text)
            && let Some(found) = self.found(id)
        {
            self.reply(t, &found);
        }
    }

    /// Where a member is.
    pub(super) fn found(&self, id: ConnId) -> Option<Found> {
        let member = self.members.get(id)?;
        Some(Found {
            name: member.name,
            is_owner: member.is_owner,
            room: self.rooms[member.room].name,
            from: member.peer.to_string(),
        })
    }

    fn kick(&mut self, t: &mut Turn<'_>, name: &[u8], reason: &[u8]) {
        let Some(reason) = self.reason(t, reason) else {
            return;
        };
        let question = self.find(name).is_none().then(|| Question::Kick {
            name: String::from_utf8_lossy(name).into_owned(),
            reason: reason.clone(),
        });
        if question.is_some_and(|question| self.asks(t, question)) {
            return;
        }
        let Some(id) = self.other(t, name) else {
            return;
        };
        let Some(name) = self.name_of(id) else {
            return;
        };
        self.remove(t, id, "were removed", &reason);
        self.reply(t, &Notice(format_args!("{name} was removed")));
    }

    fn ban(&mut self, t: &mut Turn<'_>, whom: &[u8], reason: &[u8]) {
        let Some(reason) = self.reason(t, reason) else {
            return;
        };
        let Some(whom) = Banned::parse(whom) else {
            return self.reply(
                t,
                &Notice(format_args!("/ban NAME REASON, /ban ADDRESS REASON")),
            );
        };
        if matches!(whom, Banned::Name(name) if name.is_guest()) {
            return self.reply(
                t,
                &Notice(format_args!(
                    "a guest comes back by another name: /kick, or /whois and ban the address"
                )),
            );
        }
        let ban = Ban {
            whom,
            reason: reason.clone(),
        };
        if !self.bans.add(ban) {
            return self.reply(
                t,
                &Notice(format_args!(
                    "there are {BANS_MAX} bans already: /unban somebody first"
                )),
            );
        }
        self.publish_ban(t, whom, Some(&reason));
        // Not whoever asks for it, who would be gone by a slip.
        let met = self.ids_of(whom);
        let met: Vec<ConnId> = met.into_iter().filter(|&id| id != t.id).collect();
        for &id in &met {
            self.remove(t, id, "are banned", &reason);
        }
        let met = met.len();
        self.reply(t, &Notice(format_args!("{whom} is banned; removed: {met}")));
    }

    /// Members of whom a ban is.
    pub(super) fn ids_of(&self, whom: Banned) -> Vec<ConnId> {
        match whom {
            Banned::Name(name) => self.names.get(&name.key()).copied().into_iter().collect(),
            Banned::Source(network) => {
                let all = self.names.values().copied();
                let from = |id: &ConnId| {
                    let ip = self.members.get(*id).and_then(|member| member.peer.ip());
                    ip.is_some_and(|ip| network.contains(ip))
                };
                all.filter(from).collect()
            }
        }
    }

    /// The connection of a member ends, the member and the room are told why.
    pub(super) fn remove(&mut self, t: &mut Turn<'_>, id: ConnId, what: &str, reason: &str) {
        let because = Because(reason);
        self.send(t, id, &Notice(format_args!("you {what}{because}")));
        if let Some(member) = self.forget(t, id) {
            if member.announced {
                let (name, room) = (member.name, member.room);
                self.tell_room(
                    t,
                    room,
                    None,
                    &Notice(format_args!(
                        "{name} left (removed by an operator{because})"
                    )),
                );
            }
            self.vanish_if_empty(t, member.room);
        }
        self.removed.insert(id);
        t.visit(id);
    }

    /// A reason as it is kept; if it is too long, the operator is told so.
    fn reason(&self, t: &mut Turn<'_>, text: &[u8]) -> Option<String> {
        let reason = plain(text, REASON_BYTES_MAX);
        if reason.is_none() {
            self.reply(
                t,
                &Notice(format_args!(
                    "a reason has at most {REASON_BYTES_MAX} bytes"
                )),
            );
        }
        reason
    }

    fn watch(&mut self, t: &mut Turn<'_>, text: &[u8]) {
        let Some(name) = room_name(text).and_then(|name| self.room_anywhere(name)) else {
            return self.reply(
                t,
                &Notice(format_args!("there is no room {}", quoted(text))),
            );
        };
        if self.watchers.of(name).contains(&t.id) {
            return self.reply(t, &Notice(format_args!("you watch {name} already")));
        }
        if self.watchers.watched_by(t.id).len() >= WATCHED_MAX {
            return self.reply(
                t,
                &Notice(format_args!(
                    "you watch {WATCHED_MAX} rooms already: /unwatch one of them"
                )),
            );
        }
        self.watchers.add(name, t.id);
        if self.bus.is_some() {
            // Nobody of one server knows when the last one leaves.
            let words = format_args!("you watch {name}; /unwatch {name} ends that");
            return self.reply(t, &Notice(words));
        }
        self.reply(
            t,
            &Notice(format_args!("you watch {name}, until nobody is in it")),
        );
    }

    /// A room that somebody is in, here or on another server.
    fn room_anywhere(&self, name: Name) -> Option<Name> {
        let elsewhere = || self.bus.as_ref().map_or(0, |bus| bus.elsewhere(name));
        match self.rooms.find(name) {
            Some(key) => Some(self.rooms[key].name),
            None => (elsewhere() > 0).then_some(name),
        }
    }

    fn unwatch(&mut self, t: &mut Turn<'_>, text: &[u8]) {
        let found = room_name(text).is_some_and(|name| self.watchers.remove(name, t.id));
        let words = if found {
            "you watch no more"
        } else {
            "you do not watch"
        };
        self.reply(t, &Notice(format_args!("{words} {}", quoted(text))));
    }

    fn tell_watched(&mut self, t: &mut Turn<'_>) {
        let rooms = self.watchers.watched_by(t.id);
        if rooms.is_empty() {
            return self.reply(t, &Notice(format_args!("you watch no room")));
        }
        let names = WatchList(&rooms);
        self.reply(t, &Notice(format_args!("you watch {names}")));
    }

    /// Says to a room, and to who watches it, but to one.
    pub(super) fn tell_room<E: Encode + ?Sized>(
        &mut self,
        t: &mut Turn<'_>,
        key: RoomKey,
        except: Option<ConnId>,
        frame: &E,
    ) {
        let room = &self.rooms[key];
        if self.bus.is_some() {
            let name = room.name;
            let mut lines = Vec::new();
            frame.encode(&mut lines);
            self.publish(t, name, except, &lines);
            return;
        }
        self.letters += room.members.len();
        let members = room.members.iter().copied();
        self.send_all(t, members.filter(move |&id| Some(id) != except), frame);
        self.tell_watchers(t, room.name, except, frame);
        if self.minutes.writes() {
            let mut lines = Vec::new();
            frame.encode(&mut lines);
            self.write_down(t, key, &lines);
        }
    }

    /// Says it to those who hear a room without being in it, each line with the name of the room.
    pub(super) fn tell_watchers<E: Encode + ?Sized>(
        &self,
        t: &mut Turn<'_>,
        room: Name,
        except: Option<ConnId>,
        frame: &E,
    ) {
        let watchers = self.watchers.of(room);
        if watchers.is_empty() {
            return;
        }
        // Who is in the room has heard it already.
        let key = self.rooms.find(room);
        let is_there = |id| {
            let member = self.members.get(id);
            member.is_some_and(|member| Some(member.room) == key)
        };
        let watchers = watchers.iter().copied();
        let watchers = watchers.filter(move |&id| Some(id) != except && !is_there(id));
        self.send_all(t, watchers, &Overheard(&room, frame));
    }
}

/// What `/whois` tells an operator, and nobody else.
pub(super) struct Found {
    pub(super) name: Name,
    pub(super) is_owner: bool,
    pub(super) room: Name,
    pub(super) from: String,
}

impl Encode for Found {
    fn encode(&self, out: &mut Vec<u8>) {
        let Found {
            name, room, from, ..
        } = self;
        let owner = if self.is_owner {
            ", who it belongs to"
        } else {
            ""
        };
        Notice(format_args!("{name}{owner} is in {room}, from {from}")).encode(out);
    }
}

/// Why, if somebody said so.
struct Because<'a>(&'a str);

impl fmt::Display for Because<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            "" => Ok(()),
            reason => write!(f, ": {reason}"),
        }
    }
}

/// Lines of a room, each with its name before it: no name of a person begins so.
struct Overheard<'a, E: ?Sized>(&'a Name, &'a E);

impl<E: Encode + ?Sized> Encode for Overheard<'_, E> {
    fn encode(&self, out: &mut Vec<u8>) {
        let mut lines = Vec::new();
        self.1.encode(&mut lines);
        for line in lines.split_inclusive(|&byte| byte == b'\n') {
            out.push(b'#');
            out.extend_from_slice(self.0.as_bytes());
            out.push(b' ');
            out.extend_from_slice(line);
        }
    }
}

struct BanList<'a>(&'a Chat);

impl fmt::Display for BanList<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        list(f, self.0.bans.iter(), self.0.bans.len())
    }
}

struct WatchList<'a>(&'a [Name]);

impl fmt::Display for WatchList<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        list(f, self.0.iter(), self.0.len())
    }
}
