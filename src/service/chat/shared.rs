//! Rooms that several servers share: what of the chat goes over the bus, and what comes of that.
//!
//! Knows members and rooms. Does not know how a bus is connected to. What a bus brings is looked at as if a member had
//! said it.

use std::borrow::Cow;
use std::fmt::Display;
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::bans::{Ban, Banned, REASON_BYTES_MAX};
use super::bus::{
    Alive, Asked, Claimed, Event, KEPT_BYTES_MAX, Kept, MESSAGE_BYTES_MAX, Pending, Question,
    Reply, Segment, Topic,
};
use super::command::Present;
use super::elsewhere::Elsewhere;
use super::name::Name;
use super::notice::{ALOUD, Deed, IN_PRIVATE, Notice, Words};
use super::operator::Found;
use super::room::RoomKey;
use super::text::{LISTED_MAX, plain, quoted};
use super::unheard::until_each_renaming;
use super::waits::Waits;
use super::{Chat, TOPIC_BYTES_MAX};
use crate::buf::ReadBuf;
use crate::service::{self, Dial, Dialler};
use crate::turn::{ConnId, Fault, Moment, Turn};
use crate::wire::{Encode, neutralise};

/// What people are told when the bus has been away for so long that they hear each other without it.
const ALONE: &str =
    "the bus is away: only people of this server hear you; what you say is kept for the others";

/// The connection to the bus.
impl Dialler for Chat {
    fn dials(&mut self, now: Moment) -> Option<Dial> {
        self.bus.as_mut()?.dials(now)
    }

    fn bus_changes(&mut self, t: &mut Turn<'_>, settings: &Arc<service::Bus>) {
        if let Some(bus) = &mut self.bus {
            bus.change(t, settings);
        }
    }

    fn dialled(&mut self, t: &mut Turn<'_>) {
        if let Some(bus) = &mut self.bus {
            bus.dialled(t);
        }
    }

    fn secured(&mut self, t: &mut Turn<'_>) {
        if let Some(bus) = &mut self.bus {
            bus.secured(t);
        }
    }

    fn dial_failed(&mut self, now: Moment, error: &io::Error) {
        if let Some(bus) = &mut self.bus {
            bus.dial_failed(now, error);
        }
    }

    fn input(&mut self, t: &mut Turn<'_>, input: &mut ReadBuf) -> Result<(), Fault> {
        self.letters.begin();
        // What is told to a big room is not one of 256 small messages.
        while let Some(bus) = &mut self.bus
            && bus.input(t, input)?
        {
            self.do_as_told(t);
            self.letters.charge(input);
        }
        if let Some(bus) = &mut self.bus {
            bus.pump(t);
        }
        self.do_as_told(t);
        Ok(())
    }

    fn wake(&mut self, t: &mut Turn<'_>) {
        if let Some(bus) = &mut self.bus {
            bus.wake(t);
        }
    }

    fn stopping(&mut self, t: &mut Turn<'_>) {
        if let Some(bus) = &mut self.bus {
            bus.end(t);
        }
    }

    fn closed(&mut self, t: &mut Turn<'_>, why: &dyn Display) {
        if let Some(bus) = &mut self.bus {
            bus.lost(t.now, why);
        }
        self.do_as_told(t);
    }
}

impl Chat {
    /// Time has passed.
    pub(super) fn see_to_bus(&mut self, t: &mut Turn<'_>) {
        let Some(bus) = &mut self.bus else {
            return;
        };
        if bus.see_to(t) {
            let rooms = self.rooms.iter().filter(|room| !room.members.is_empty());
            let count = |len: usize| u32::try_from(len).unwrap_or(u32::MAX);
            let rooms = rooms.map(|room| (room.name.to_string(), count(room.members.len())));
            let alive = Alive {
                rooms: rooms.collect(),
                ..Alive::default()
            };
            bus.say_alive(t, alive);
        }
        self.do_as_told(t);
    }

    /// Does what follows from what the bus has told.
    pub(super) fn do_as_told(&mut self, t: &mut Turn<'_>) {
        while let Some(event) = self.bus.as_mut().and_then(|bus| bus.next_event()) {
            match event {
                Event::Kept(kept) => self.take_kept(t, &kept),
                Event::Lost(lost, why) => self.tell_lost(t, &lost, &why),
                Event::Claimed(id, name, claimed) => self.take_claim(t, id, name, claimed),
                Event::NameLost(id, name) => {
                    if self.name_of(id).is_some_and(|has| has.key() == name.key()) {
                        self.lose_name_to(t, id, "is somebody else's by now");
                    }
                }
                Event::Asked(question, to) => self.answer_other(t, &question, &to),
                Event::Answered(asked) => self.take_answers(t, &asked),
                Event::Alone => self.be_alone(t),
                Event::Together => {
                    self.tell_everybody(t, "the bus is back: other servers hear you again")
                }
                Event::Room => {
                    let waits = |waits: &Waits| matches!(waits, Waits::Room);
                    self.release_all(t, waits);
                }
            }
        }
        self.share(t);
    }

    /// Says how much memory is kept for the bus now.
    pub(super) fn share(&mut self, t: &mut Turn<'_>) {
        let elsewhere = self.elsewhere.as_ref().map_or(0, Elsewhere::bytes);
        let has = elsewhere + self.bus.as_ref().map_or(0, |bus| bus.kept_bytes());
        t.shares(std::mem::replace(&mut self.bus_bytes, has), has);
    }

    // What is said.

    /// What a member says to a room, or a room is told, goes to the bus, if there is one: from there it comes back, for
    /// all servers in one order. The speaker is not told it.
    ///
    /// Says whether all of it is kept, or will be.
    pub(super) fn publish(
        &mut self,
        t: &mut Turn<'_>,
        room: Name,
        speaker: Option<ConnId>,
        lines: &[u8],
    ) -> bool {
        let Some(bus) = &mut self.bus else {
            return true;
        };
        let is_alone = bus.is_alone();
        let mut is_kept = true;
        for piece in pieces(lines) {
            let kept = bus.keep(Topic::Room(room), speaker, piece);
            is_kept &= kept;
            if kept && let Some(id) = speaker.filter(|id| self.members.get(*id).is_some()) {
                self.unsettled.said(id);
            }
        }
        bus.pump(t);
        if is_alone && let Some(key) = self.rooms.find(room) {
            let when = t.wall();
            let segment = Segment {
                speaker,
                len: lines.len(),
                pieces: 1,
            };
            self.show(t, key, lines, &[segment], when);
        }
        self.share(t);
        is_kept
    }

    /// The member whose turn it is said something that is not kept.
    pub(super) fn tell_not_kept(&mut self, t: &mut Turn<'_>) {
        let is_alone = self.bus.as_ref().is_some_and(|bus| bus.is_alone());
        let why = if is_alone {
            format!(
                "people of other servers will not hear that: {KEPT_BYTES_MAX} bytes wait for the bus already"
            )
        } else {
            format!("lost: a line has at most {MESSAGE_BYTES_MAX} bytes on the bus")
        };
        self.reply(t, &Notice(format_args!("{why}")));
    }

    /// A message that was kept came back, or one of another server.
    fn take_kept(&mut self, t: &mut Turn<'_>, kept: &Kept) {
        let when = SystemTime::UNIX_EPOCH + Duration::from_nanos(kept.nanos);
        let room = match &kept.topic {
            Topic::Room(room) => *room,
            // One's own as well: of two that cross each other, the later one holds everywhere.
            Topic::Ban(whom) => {
                return self.take_ban(t, whom, &kept.payload, kept.own.is_some());
            }
        };
        let checked;
        let (lines, segments, is_shown) = match &kept.own {
            Some(own) => (&own.payload[..], &own.segments[..], own.is_shown),
            None => {
                checked = self.checked(room, &kept.payload);
                let all = Segment {
                    speaker: None,
                    len: checked.len(),
                    pieces: 0,
                };
                (&checked[..], &[all][..], false)
            }
        };
        if let Some(own) = &kept.own {
            self.count_kept(t, own);
            let topics = own.payload.split(|&byte| byte == b'\n');
            for topic in topics.filter_map(|line| line.strip_prefix(b"=")) {
                self.take_topic(room, topic);
            }
        }
        if lines.is_empty() {
            return;
        }
        match self.rooms.find(room) {
            Some(key) if kept.is_earlier => return self.remember(t, key, lines, when),
            // Who is not heard may be called otherwise in between.
            Some(key) if kept.own.is_none() => {
                for part in until_each_renaming(lines) {
                    let all = Segment {
                        speaker: None,
                        len: part.len(),
                        pieces: 0,
                    };
                    self.show(t, key, part, &[all], when);
                    self.unheard.heed(part);
                }
                return;
            }
            Some(key) if !is_shown => self.show(t, key, lines, segments, when),
            Some(_) => {}
            None => {
                if let Some(elsewhere) = &mut self.elsewhere {
                    let keep = |stamped: &[u8]| elsewhere.keep(room, stamped);
                    self.minutes.stamp(lines, when, keep);
                }
                if !is_shown && !kept.is_earlier {
                    for (segment, piece) in cut(lines, segments) {
                        self.tell_watchers(t, room, segment.speaker, &shown(piece)[..]);
                    }
                }
            }
        }
        if !kept.is_earlier {
            self.unheard.heed(lines);
        }
    }

    /// Lines of another server, with nothing in them that a member could not have said or a server told.
    fn checked(&mut self, room: Name, payload: &[u8]) -> Vec<u8> {
        let mut lines = Vec::with_capacity(payload.len());
        for line in payload
            .split(|&byte| byte == b'\n')
            .filter(|line| !line.is_empty())
        {
            let line = &line[..line.len().min(self.line_bytes_max)];
            if let Some(topic) = line.strip_prefix(b"=") {
                self.take_topic(room, topic);
            } else if let Some(notice) = line.strip_prefix(b"* ") {
                lines.extend_from_slice(b"* ");
                neutralise(notice, &mut lines);
                lines.push(b'\n');
            } else if let Some(deed) = line.strip_prefix(b"~ ") {
                let end = deed
                    .iter()
                    .position(|&byte| byte == b' ')
                    .unwrap_or(deed.len());
                if let (Some(name), Some(text)) = (Name::parse(&deed[..end]), deed.get(end + 1..)) {
                    Deed(&name, text).encode(&mut lines);
                }
            } else if let Some(end) = line.windows(2).position(|pair| pair == b": ")
                && let Some(name) = Name::parse(&line[..end])
            {
                let (name, link, text) = (&name, ALOUD, &line[end + 2..]);
                Words { name, link, text }.encode(&mut lines);
            }
        }
        lines
    }

    /// What a room is about from now on, wherever somebody is in it.
    fn take_topic(&mut self, room: Name, topic: &[u8]) {
        let Some(topic) = plain(topic, TOPIC_BYTES_MAX) else {
            return;
        };
        if let Some(key) = self.rooms.find(room) {
            self.rooms[key].topic = topic;
        } else if let Some(elsewhere) = &mut self.elsewhere {
            elsewhere.set_topic(room, topic);
        }
    }

    /// Tells other servers what a room is about.
    pub(super) fn publish_topic(&mut self, t: &mut Turn<'_>, room: Name, topic: &str) {
        if let Some(bus) = &mut self.bus {
            bus.keep(Topic::Room(room), None, format!("={topic}\n").as_bytes());
            bus.pump(t);
        }
        self.share(t);
    }

    /// What was known of a room while nobody of this server was in it.
    pub(super) fn learn_room(&mut self, t: &mut Turn<'_>, key: RoomKey) {
        let room = &mut self.rooms[key];
        if let Some(all) = &mut self.elsewhere
            && let Some(known) = all.take(room.name)
        {
            let had = room.history.capacity();
            (room.history, room.topic) = (known.history, known.topic);
            t.shares(had, room.history.capacity());
            self.share(t);
        }
    }

    /// Nobody of this server is in a room any more.
    pub(super) fn leave_room(&mut self, key: RoomKey) {
        let room = &mut self.rooms[key];
        if let Some(elsewhere) = &mut self.elsewhere {
            let topic = std::mem::take(&mut room.topic);
            elsewhere.put(room.name, &mut room.history, topic);
        }
    }

    /// Those who are in a room and those who watch it hear what was said there, each piece but its speaker.
    fn show(
        &mut self,
        t: &mut Turn<'_>,
        key: RoomKey,
        lines: &[u8],
        segments: &[Segment],
        when: SystemTime,
    ) {
        for (segment, piece) in cut(lines, segments) {
            let piece = &shown(piece)[..];
            self.letters += self.rooms[key].members.len();
            let room = &self.rooms[key];
            let members = room.members.iter().copied();
            let others = members.filter(|&id| Some(id) != segment.speaker);
            let speaker = segment.speaker.filter(|&id| {
                self.members
                    .get(id)
                    .is_some_and(|member| member.ignored_by > 0)
            });
            match speaker {
                None if segment.speaker.is_none() && !self.unheard.is_empty() => {
                    let some = self.unheard.heard(piece);
                    self.send_all(t, others.clone().filter(|id| !some.contains_key(id)), piece);
                    for (id, hears) in &some {
                        if others.clone().any(|other| other == *id) {
                            self.send(t, *id, &hears[..]);
                        }
                    }
                }
                None => self.send_all(t, others, piece),
                Some(speaker) => {
                    let hear = others.filter(|&id| !self.is_deaf_to(id, speaker));
                    self.send_all(t, hear, piece);
                }
            }
            self.tell_watchers(t, room.name, segment.speaker, piece);
            self.write_down(t, key, piece);
            self.remember(t, key, piece, when);
        }
    }

    /// Pieces of a member came back: who waits for that goes on.
    fn count_kept(&mut self, t: &mut Turn<'_>, own: &Pending) {
        for segment in &own.segments {
            self.count_down(t, segment);
        }
    }

    fn count_down(&mut self, t: &mut Turn<'_>, segment: &Segment) {
        let Some(id) = segment.speaker else {
            return;
        };
        if self.unsettled.kept(id, segment.pieces) {
            self.release(t, id);
        }
    }

    fn tell_lost(&mut self, t: &mut Turn<'_>, lost: &Pending, why: &str) {
        for segment in &lost.segments {
            if let Some(speaker) = segment.speaker {
                let notice = format_args!(
                    "lost, and heard by nobody else: the bus does not keep it ({why})"
                );
                self.send(t, speaker, &Notice(notice));
            }
            self.count_down(t, segment);
        }
    }

    fn be_alone(&mut self, t: &mut Turn<'_>) {
        self.tell_everybody(t, ALONE);
        let unshown = self
            .bus
            .as_mut()
            .map(|bus| bus.unshown())
            .unwrap_or_default();
        let when = t.wall();
        for (topic, payload, segments) in unshown {
            if let Topic::Room(room) = topic
                && let Some(key) = self.rooms.find(room)
            {
                self.show(t, key, &payload, &segments, when);
            }
        }
        self.release_all(t, |waits| matches!(waits, Waits::Kept(_) | Waits::Room));
    }

    /// A newcomer is told what the others were.
    pub(super) fn tell_if_alone(&self, t: &mut Turn<'_>) {
        if self.bus.as_ref().is_some_and(|bus| bus.is_alone()) {
            self.reply(t, &Notice(format_args!("{ALONE}")));
        }
    }

    fn tell_everybody(&mut self, t: &mut Turn<'_>, text: &str) {
        let all: Vec<ConnId> = self.names.values().copied().collect();
        self.letters += all.len();
        self.send_all(t, all.into_iter(), &Notice(format_args!("{text}")));
    }

    // Who waits.

    /// A member's input is held until what it waits for is there.
    pub(super) fn wait_for(&mut self, t: &mut Turn<'_>, waits: Waits) {
        if self.members.get(t.id).is_some() {
            self.unsettled.wait(t.id, waits);
            t.hold();
        }
    }

    /// Whether the member whose turn it is is to wait, since there is no room for what it says.
    pub(super) fn is_held_by_bus(&mut self, t: &mut Turn<'_>) -> bool {
        if self.unsettled.waits_of(t.id).is_some() {
            t.hold();
            return true;
        }
        let is_here = self.members.get(t.id).is_some();
        let holds = is_here && self.bus.as_mut().is_some_and(|bus| bus.holds());
        if holds {
            self.wait_for(t, Waits::Room);
        }
        holds
    }

    /// A member waits no more: its input is taken again.
    fn release(&mut self, t: &mut Turn<'_>, id: ConnId) {
        let Some(waits) = self.unsettled.release(id) else {
            return;
        };
        if let Waits::Kept(text) = waits {
            self.send(t, id, &super::notice::Pong(&text));
        }
        t.visit(id);
    }

    fn release_all(&mut self, t: &mut Turn<'_>, which: impl Fn(&Waits) -> bool) {
        for id in self.unsettled.waiting(which) {
            self.release(t, id);
        }
    }

    /// Answers `/ping`, at once or when all that the member has said is kept.
    pub(super) fn pong_when_kept(&mut self, t: &mut Turn<'_>, text: &[u8]) -> bool {
        let is_alone = self.bus.as_ref().is_none_or(|bus| bus.is_alone());
        let waits = !is_alone && self.unsettled.has_unkept(t.id);
        if waits {
            self.wait_for(t, Waits::Kept(text.to_vec()));
        }
        waits
    }

    // Names.

    /// Asks the bus for a name, and says whether that is the answer to the member. A guest's name needs none.
    pub(super) fn claims(&mut self, t: &mut Turn<'_>, name: Name, is_owner: bool) -> bool {
        let Some(bus) = &mut self.bus else {
            return false;
        };
        if bus.claim(t, t.id, name, is_owner) {
            self.wait_for(t, Waits::Claim);
        } else {
            self.reply(
                t,
                &Notice(format_args!(
                    "names cannot be taken while the bus is away: nobody knows whether {name} is somebody's"
                )),
            );
        }
        true
    }

    /// A member is called so no more.
    pub(super) fn release_name(&mut self, t: &mut Turn<'_>, id: ConnId, name: Name) {
        if let Some(bus) = &mut self.bus {
            bus.release(t, id, name);
        }
    }

    fn take_claim(&mut self, t: &mut Turn<'_>, id: ConnId, name: Name, claimed: Claimed) {
        let waits = self.unsettled.waits_of(id);
        let is_here = matches!(waits, Some(Waits::Claim));
        match claimed {
            // Who has left meanwhile, or somebody who came by it here, needs it no more.
            Claimed::Taken { .. } if !is_here => self.release_name(t, id, name),
            Claimed::Taken { is_owner } => {
                let holder = self.names.get(&name.key()).copied();
                if let Some(holder) = holder.filter(|&holder| holder != id) {
                    self.lose_name(t, holder);
                }
                self.call(t, id, name);
                if let Some(member) = self.members.get_mut(id) {
                    member.is_owner = is_owner;
                }
            }
            Claimed::Refused => self.send(
                t,
                id,
                &Notice(format_args!("{name} is somebody else's name")),
            ),
            Claimed::Unknown => self.send(
                t,
                id,
                &Notice(format_args!(
                    "the bus does not say whether {name} is somebody's: try again later"
                )),
            ),
        }
        if is_here {
            self.release(t, id);
        }
    }

    // What other servers are asked.

    /// Asks other servers, while the member waits. Whether there is one.
    pub(super) fn asks(&mut self, t: &mut Turn<'_>, question: Question) -> bool {
        let is_asked = self.bus.as_mut().is_some_and(|bus| bus.ask(t, question));
        if is_asked {
            self.wait_for(t, Waits::Answer);
        }
        is_asked
    }

    fn answer_other(&mut self, t: &mut Turn<'_>, question: &Question, to: &str) {
        let reply = match question {
            Question::Who(room) => self.roll(room),
            Question::Message { from, to, text } => self.deliver(t, from, to, text),
            Question::Find(name) => Reply {
                found: self.found_here(name).map(|found| found.name.to_string()),
                ..Reply::default()
            },
            Question::Whois(name) => {
                self.found_here(name)
                    .map_or_else(Reply::default, |found| Reply {
                        found: Some(found.name.to_string()),
                        room: Some(found.room.to_string()),
                        from: Some(found.from),
                        owned: found.is_owner,
                        ..Reply::default()
                    })
            }
            Question::Kick { name, reason } => self.kick_here(t, name, reason),
        };
        if let Some(bus) = &mut self.bus {
            bus.answer(t, to, &reply);
        }
    }

    /// Who of this server is in a room.
    fn roll(&self, room: &str) -> Reply {
        let found = Name::parse(room.as_bytes()).and_then(|name| self.rooms.find(name));
        let Some(room) = found
            .map(|key| &self.rooms[key])
            .filter(|room| !room.members.is_empty())
        else {
            return Reply::default();
        };
        let members = room.members.iter().take(LISTED_MAX);
        let members = members.filter_map(|&id| self.members.get(id));
        Reply {
            found: Some(room.name.to_string()),
            names: members.map(|member| Present(member).to_string()).collect(),
            count: room.members.len(),
            ..Reply::default()
        }
    }

    /// A member of another server writes to one of this.
    fn deliver(&mut self, t: &mut Turn<'_>, from: &str, to: &str, text: &str) -> Reply {
        let of = |text: &str| Name::parse(text.as_bytes());
        let to = of(to).and_then(|name| self.names.get(&name.key()).copied());
        let (Some(from), Some(to)) = (of(from), to) else {
            return Reply::default();
        };
        let text = text.as_bytes();
        let text = &text[..text.len().min(self.line_bytes_max)];
        let (name, link) = (&from, IN_PRIVATE);
        if !self.unheard.is_deaf(to, from) {
            self.send(t, to, &Words { name, link, text });
        }
        let member = self.members.get(to);
        Reply {
            found: member.map(|member| member.name.to_string()),
            away: member.and_then(|member| member.away.as_deref().map(ToOwned::to_owned)),
            ..Reply::default()
        }
    }

    /// A member of this server by name, and where they are.
    fn found_here(&self, name: &str) -> Option<Found> {
        self.found(self.find(name.as_bytes())?)
    }

    fn kick_here(&mut self, t: &mut Turn<'_>, name: &str, reason: &str) -> Reply {
        let name = Name::parse(name.as_bytes());
        let id = name.and_then(|name| self.names.get(&name.key()).copied());
        let Some(id) = id else {
            return Reply::default();
        };
        let found = self.name_of(id).map(|name| name.to_string());
        let reason = plain(reason.as_bytes(), REASON_BYTES_MAX).unwrap_or_default();
        self.remove(t, id, "were removed", &reason);
        Reply {
            found,
            ..Reply::default()
        }
    }

    fn take_answers(&mut self, t: &mut Turn<'_>, asked: &Asked) {
        let id = asked.by;
        let found = asked.replies.iter().find(|reply| reply.found.is_some());
        let named = found.and_then(|reply| Name::parse(reply.found.as_deref()?.as_bytes()));
        // An answer is about whom was asked for.
        let person = asked.question.person();
        let person = person.and_then(|name| Name::parse(name.as_bytes()));
        let named = named.filter(|name| person.is_some_and(|person| person.key() == name.key()));
        match &asked.question {
            Question::Who(room) => self.tell_who(t, id, room, &asked.replies),
            Question::Message { to: name, .. }
            | Question::Find(name)
            | Question::Whois(name)
            | Question::Kick { name, .. }
                if named.is_none() =>
            {
                let name = quoted(name.as_bytes()).to_string();
                self.send(t, id, &Notice(format_args!("nobody is called {name}")));
            }
            Question::Message { .. } => {
                let away = found.and_then(|reply| {
                    plain(reply.away.as_deref()?.as_bytes(), super::AWAY_BYTES_MAX)
                });
                if let (Some(name), Some(away)) = (named, away) {
                    self.send(t, id, &Notice(format_args!("{name} is away: {away}")));
                }
            }
            Question::Find(_) => {
                if let Some(name) = named {
                    self.ignore_elsewhere(t, id, name);
                }
            }
            Question::Whois(_) => {
                let found = found.and_then(|reply| {
                    Some(Found {
                        name: named?,
                        is_owner: reply.owned,
                        room: Name::parse(reply.room.as_deref()?.as_bytes())?,
                        from: plain(reply.from.as_deref()?.as_bytes(), PLACE_BYTES_MAX)?,
                    })
                });
                let member = self.members.get(id);
                let is_operator = member.is_some_and(|member| member.is_operator);
                if let Some(found) = found.filter(|_| is_operator) {
                    self.send(t, id, &found);
                }
            }
            Question::Kick { .. } => {
                if let Some(name) = named {
                    self.send(t, id, &Notice(format_args!("{name} was removed")));
                }
            }
        }
        self.release(t, id);
    }

    /// Who is in a room, here and on the servers that answered.
    fn tell_who(&mut self, t: &mut Turn<'_>, id: ConnId, room: &str, replies: &[Reply]) {
        let here = self.roll(room);
        let all = || std::iter::once(&here).chain(replies);
        let found = all()
            .filter_map(|reply| Name::parse(reply.found.as_deref()?.as_bytes()))
            .next();
        let Some(name) = found else {
            let room = quoted(room.as_bytes()).to_string();
            return self.send(t, id, &Notice(format_args!("there is no room {room}")));
        };
        let names: Vec<String> = all().flat_map(Reply::listed).take(LISTED_MAX).collect();
        let count = all()
            .map(|reply| reply.count)
            .fold(0_usize, usize::saturating_add);
        let more = match count.saturating_sub(names.len()) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let names = names.join(", ");
        self.letters += LISTED_MAX;
        self.send(t, id, &Notice(format_args!("in {name}: {names}{more}")));
    }

    /// How many are in a room, of all servers.
    pub(super) fn count_in(&self, key: RoomKey) -> usize {
        let room = &self.rooms[key];
        let elsewhere = self.bus.as_ref().map_or(0, |bus| bus.elsewhere(room.name));
        room.members.len() + elsewhere
    }

    // Bans.

    /// Tells other servers who may not be here, or may again.
    pub(super) fn publish_ban(&mut self, t: &mut Turn<'_>, whom: Banned, reason: Option<&str>) {
        let Some(bus) = &mut self.bus else {
            return;
        };
        let payload = reason.map_or("-".to_owned(), |reason| format!("+{reason}"));
        let topic = Topic::Ban(whom.to_string().to_ascii_lowercase());
        bus.keep(topic, None, payload.as_bytes());
        bus.pump(t);
        self.share(t);
    }

    /// An operator of another server says who may be here, or one of this, whose ban has come back.
    fn take_ban(&mut self, t: &mut Turn<'_>, whom: &str, payload: &[u8], is_own: bool) {
        let Some(whom) = Banned::parse(whom.as_bytes()) else {
            return;
        };
        let Some(reason) = payload.strip_prefix(b"+") else {
            self.bans.remove(&whom);
            return;
        };
        let reason = plain(reason, REASON_BYTES_MAX).unwrap_or_default();
        let ban = Ban {
            whom,
            reason: reason.clone(),
        };
        // Those whom an own ban met have gone, unless another server undid it meanwhile; and whoever asked for it stays.
        let meets = !is_own || !self.bans.has(&whom);
        if self.bans.add(ban) && meets {
            for id in self.ids_of(whom) {
                self.remove(t, id, "are banned", &reason);
            }
        }
    }
}

/// How long the place may be that another server says somebody comes from: an address with its scope and port.
const PLACE_BYTES_MAX: usize = 80;

/// Lines, each piece with what is known of it.
fn cut<'l>(
    lines: &'l [u8],
    segments: &'l [Segment],
) -> impl Iterator<Item = (&'l Segment, &'l [u8])> {
    let mut rest = lines;
    segments.iter().map(move |segment| {
        let (piece, behind) = rest.split_at(segment.len.min(rest.len()));
        rest = behind;
        (segment, piece)
    })
}

/// What members see of a piece: not what only servers are told.
fn shown(piece: &[u8]) -> Cow<'_, [u8]> {
    let lines = || piece.split_inclusive(|&byte| byte == b'\n');
    if lines().any(|line| line.starts_with(b"=")) {
        let shown = lines().filter(|line| !line.starts_with(b"="));
        return shown.flatten().copied().collect();
    }
    piece.into()
}

/// Lines, as many together as a message may have.
fn pieces(lines: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = lines;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = match rest.len() {
            len if len <= MESSAGE_BYTES_MAX => len,
            _ => {
                let within = &rest[..MESSAGE_BYTES_MAX];
                let last = within.iter().rposition(|&byte| byte == b'\n');
                // A line that is longer by itself is taken whole, and refused as that.
                let whole = || rest.iter().position(|&byte| byte == b'\n');
                last.or_else(whole).map_or(rest.len(), |end| end + 1)
            }
        };
        let (piece, behind) = rest.split_at(end);
        rest = behind;
        Some(piece)
    })
}
