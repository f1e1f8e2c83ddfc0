use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use thiserror::Error;

use super::answers::Answers;
use super::news::{IpmsgMessage, IpmsgNews};
use super::people::{IpmsgPerson, People};
use super::private::is_private;
use super::seen::IPMSG_ACKNOWLEDGEMENTS_MAX;
use super::settings::{IPMSG_EXIT_AGAIN, IpmsgReplyTo, IpmsgSettings};
use super::unacknowledged::{IPMSG_UNACKNOWLEDGED_MAX, Unacknowledged, What};
use crate::wire::{
    Encode, IPMSG_DATAGRAM_BYTES_MAX, IPMSG_VERSION, IpmsgCommand, IpmsgEncoding, IpmsgEntry,
    IpmsgFile, IpmsgPacket, ipmsg_text,
};

/// How many of its own packets a host recognises when they come back to it, as broadcasts do.
const OWN_MAX: usize = 64;

/// Of how many messages a host remembers to whom they went, so that it believes no one else that they were read.
const SENT_MAX: usize = 256;

/// How long an answer may be, however short what it answers.
const ANSWER_BYTES_MIN: usize = 64;

/// How many of a version's characters are kept.
const VERSION_CHARS_MAX: usize = 64;

/// Where it goes, and what it is.
type Datagram = (SocketAddr, Vec<u8>);

/// One host of IPMSG.
#[derive(Debug)]
pub struct IpmsgHost {
    settings: IpmsgSettings,
    /// The number of the last packet.
    number: u32,
    people: People,
    answers: Answers,
    unacknowledged: Vec<Unacknowledged>,
    /// Numbers of entries and exits of ours.
    own: VecDeque<u32>,
    /// Messages that were sent, and to whom.
    sent: VecDeque<(u32, SocketAddr)>,
    /// Where it said that it is there.
    entered: Vec<SocketAddr>,
    /// An exit that is said once more.
    exits: Option<(Duration, Vec<Datagram>)>,
    datagrams: VecDeque<Datagram>,
    news: VecDeque<IpmsgNews>,
    counts: IpmsgCounts,
}

/// What a host was told in vain.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct IpmsgCounts {
    /// Datagrams that are no packets.
    pub malformed: u64,
    /// Datagrams from addresses that are not private.
    pub foreign: u64,
    /// Messages that had come before.
    pub duplicates: u64,
    /// Entries that were not answered, since there were too many.
    pub unanswered: u64,
}

/// Why a message is not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SendError {
    /// It does not fit a datagram that other programs take.
    #[error(
        "it makes a datagram of {len} bytes, and programs take {max}: write less, or offer a file"
    )]
    TooLong {
        /// How many bytes the datagram would have.
        len: usize,
        /// How many it may have.
        max: usize,
    },
    /// Too many have not been acknowledged.
    #[error("{IPMSG_UNACKNOWLEDGED_MAX} messages wait for their acknowledgement already")]
    TooMany,
    /// The address belongs to no private network.
    #[error("{0} is no address of a private network, and IPMSG has no business elsewhere")]
    Foreign(SocketAddr),
}

impl IpmsgHost {
    /// A host with these settings. `clock` is the time in seconds since 1970: packets count upward from it, since
    /// programs take a number that is not above the last one for an old packet.
    pub fn new(settings: IpmsgSettings, clock: u64) -> IpmsgHost {
        let largest = u64::from(u32::MAX) - u64::from(u16::MAX);
        IpmsgHost {
            settings,
            number: u32::try_from(clock.min(largest)).unwrap_or(0),
            people: People::default(),
            answers: Answers::default(),
            unacknowledged: Vec::new(),
            own: VecDeque::new(),
            sent: VecDeque::new(),
            entered: Vec::new(),
            exits: None,
            datagrams: VecDeque::new(),
            news: VecDeque::new(),
            counts: IpmsgCounts::default(),
        }
    }

    /// How it was made.
    pub fn settings(&self) -> &IpmsgSettings {
        &self.settings
    }

    /// The people that were heard, by their addresses.
    pub fn people(&self) -> impl Iterator<Item = (SocketAddr, &IpmsgPerson)> {
        self.people.iter().map(|(at, person)| (*at, person))
    }

    /// The one at this address, if they were heard.
    pub fn person(&self, at: SocketAddr) -> Option<&IpmsgPerson> {
        self.people.get(at)
    }

    /// How many packets wait for this address to acknowledge them.
    pub fn unacknowledged(&self, to: SocketAddr) -> usize {
        let all = self.unacknowledged.iter();
        all.filter(|waiting| waiting.to == to).count()
    }

    /// What it was told in vain.
    pub fn counts(&self) -> IpmsgCounts {
        self.counts
    }

    /// Says at these addresses that it is there: an address of everybody, or of one host.
    pub fn enter(&mut self, to: &[SocketAddr]) {
        let bytes = self.entry(IpmsgCommand::ENTRY, None);
        self.own_number(self.number);
        for to in to {
            self.datagrams.push_back((*to, bytes.clone()));
            if !self.entered.contains(to) {
                self.entered.push(*to);
            }
        }
    }

    /// Says that it goes, wherever it said that it is there, and to everybody that it knows: now, and 100 ms later.
    pub fn leave(&mut self, now: Duration) {
        let number = self.next_number();
        self.own_number(number);
        let command = IpmsgCommand::new(IpmsgCommand::EXIT, 0);
        let (nick, fields) = self.settings.me.fields(self.settings.encoding);
        let bytes = self.packet(number, command, &nick, &fields, None);
        let mut to = std::mem::take(&mut self.entered);
        for (at, _) in self.people.iter() {
            if !to.contains(at) {
                to.push(*at);
            }
        }
        let exits: Vec<_> = to.into_iter().map(|to| (to, bytes.clone())).collect();
        self.datagrams.extend(exits.iter().cloned());
        // Nobody would be there to be answered.
        self.unacknowledged.clear();
        self.exits = Some((now + IPMSG_EXIT_AGAIN, exits));
    }

    /// Sends a message with these files, to be acknowledged, and perhaps to be told that it was read. Says its number.
    pub fn send(
        &mut self,
        now: Duration,
        to: SocketAddr,
        text: &str,
        files: &[IpmsgFile],
        is_reading_told: bool,
    ) -> Result<u32, SendError> {
        if !is_private(to.ip()) {
            return Err(SendError::Foreign(to));
        }
        if self.unacknowledged.len() >= IPMSG_UNACKNOWLEDGED_MAX {
            return Err(SendError::TooMany);
        }
        let encoding = self.encoding_of(to);
        let mut options = IpmsgCommand::ACKNOWLEDGE;
        if encoding == IpmsgEncoding::Utf8 {
            options |= IpmsgCommand::UTF8;
        }
        if !files.is_empty() {
            options |= IpmsgCommand::FILES;
        }
        if is_reading_told {
            options |= IpmsgCommand::SECRET | IpmsgCommand::READ_RECEIPT;
        }
        let mut list = Vec::new();
        for file in files {
            file.encode(encoding, &mut list);
        }
        let number = self.next_number();
        let command = IpmsgCommand::new(IpmsgCommand::MESSAGE, options);
        let bytes = self.packet(number, command, &encoding.encode(text), &list, Some(to));
        if bytes.len() > IPMSG_DATAGRAM_BYTES_MAX {
            return Err(SendError::TooLong {
                len: bytes.len(),
                max: IPMSG_DATAGRAM_BYTES_MAX,
            });
        }
        if self.sent.len() == SENT_MAX {
            self.sent.pop_front();
        }
        self.sent.push_back((number, to));
        self.begin(now, number, to, bytes, What::Message);
        Ok(number)
    }

    /// Tells the sender of a message that it was read.
    pub fn read(&mut self, now: Duration, message: &IpmsgMessage) {
        if self.unacknowledged.len() >= IPMSG_UNACKNOWLEDGED_MAX {
            return;
        }
        let number = self.next_number();
        let command = IpmsgCommand::new(IpmsgCommand::READ, IpmsgCommand::READ_RECEIPT);
        let to = message.from;
        let read = message.number.to_string();
        let bytes = self.packet(number, command, read.as_bytes(), b"", Some(to));
        self.begin(now, number, to, bytes, What::Reading(message.number));
    }

    /// A datagram came from this address.
    pub fn receive(&mut self, now: Duration, from: SocketAddr, bytes: &[u8]) {
        if !is_private(from.ip()) {
            self.counts.foreign += 1;
            return;
        }
        let Ok(packet) = IpmsgPacket::parse(bytes) else {
            self.counts.malformed += 1;
            return;
        };
        if self.is_own(&packet) {
            return;
        }
        match packet.command.mode() {
            IpmsgCommand::ENTRY => self.entered(now, from, &packet, Some(bytes.len())),
            IpmsgCommand::ANSWER_TO_ENTRY | IpmsgCommand::ABSENCE => {
                self.entered(now, from, &packet, None);
            }
            IpmsgCommand::EXIT => {
                if let Some(person) = self.people.remove(from) {
                    self.news.push_back(IpmsgNews::Left(from, Box::new(person)));
                }
            }
            IpmsgCommand::MESSAGE => self.message(now, from, &packet, bytes.len()),
            IpmsgCommand::RECEIVED => {
                if let Some(number) = self.acknowledged(from, &packet, |what, number, said| {
                    what == What::Message && number == said
                }) {
                    self.news
                        .push_back(IpmsgNews::Acknowledged { number, to: from });
                }
            }
            // Programs do not agree on which of the two numbers that names.
            IpmsgCommand::ANSWER_TO_READ => {
                self.acknowledged(from, &packet, |what, number, said| match what {
                    What::Reading(read) => [number, read].contains(&said),
                    What::Message => false,
                });
            }
            IpmsgCommand::READ => self.was_read(from, &packet, bytes.len()),
            IpmsgCommand::RELEASE_FILES => {
                if let Some(number) = self.sent_to(from, &packet) {
                    self.news
                        .push_back(IpmsgNews::Released { number, by: from });
                }
            }
            _ => {}
        }
    }

    /// When it wants to be woken, if it does.
    pub fn wakes_at(&self) -> Option<Duration> {
        let retries = self.unacknowledged.iter().map(|waiting| waiting.due);
        let exits = self.exits.iter().map(|(due, _)| *due);
        retries.chain(exits).min()
    }

    /// Sends again, or gives up, what is due.
    pub fn wake(&mut self, now: Duration) {
        if let Some((_, exits)) = self.exits.take_if(|(due, _)| *due <= now) {
            self.datagrams.extend(exits);
        }
        let IpmsgSettings {
            retry_after, tries, ..
        } = self.settings;
        let (datagrams, news) = (&mut self.datagrams, &mut self.news);
        self.unacknowledged.retain_mut(|waiting| {
            if waiting.due > now {
                return true;
            }
            if waiting.tries >= tries {
                if waiting.what == What::Message {
                    news.push_back(IpmsgNews::Unanswered {
                        number: waiting.number,
                        to: waiting.to,
                        tries: waiting.tries,
                    });
                }
                return false;
            }
            waiting.tries += 1;
            waiting.due = now + retry_after;
            datagrams.push_back((waiting.to, waiting.bytes.clone()));
            true
        });
    }

    /// The next datagram that is to be sent, and where to.
    pub fn take_datagram(&mut self) -> Option<(SocketAddr, Vec<u8>)> {
        self.datagrams.pop_front()
    }

    /// What has happened next.
    pub fn take_news(&mut self) -> Option<IpmsgNews> {
        self.news.pop_front()
    }

    fn begin(&mut self, now: Duration, number: u32, to: SocketAddr, bytes: Vec<u8>, what: What) {
        self.datagrams.push_back((to, bytes.clone()));
        self.unacknowledged.push(Unacknowledged {
            number,
            to,
            bytes,
            what,
            tries: 1,
            due: now + self.settings.retry_after,
        });
    }

    /// Somebody is there. An entry is answered, which had so many bytes.
    fn entered(
        &mut self,
        now: Duration,
        from: SocketAddr,
        packet: &IpmsgPacket<'_>,
        asked: Option<usize>,
    ) {
        let entry = IpmsgEntry::of(packet);
        let version = version(packet);
        let (person, gone) = self
            .people
            .hear(now, from, || IpmsgPerson::new(entry.clone(), version));
        let is_new = !person.has_entered || person.entry != entry;
        person.has_entered = true;
        person.encoding = entry.encoding.or(person.encoding);
        person.entry = entry;
        let answered = asked
            .filter(|_| Answers::may_give(now, &mut person.answers, &mut self.answers))
            .map(|len| allowance(from, len));
        self.forget(gone);
        if is_new {
            self.news.push_back(IpmsgNews::Entered(from));
        }
        let answer = answered.and_then(|max| {
            let whole = self.entry(IpmsgCommand::ANSWER_TO_ENTRY, Some(from));
            if whole.len() <= max {
                return Some(whole);
            }
            Some(self.short_entry(from)).filter(|short| short.len() <= max)
        });
        self.counts.unanswered += u64::from(asked.is_some() && answer.is_none());
        if let Some(bytes) = answer {
            self.answer(from, bytes);
        }
    }

    fn message(&mut self, now: Duration, from: SocketAddr, packet: &IpmsgPacket<'_>, len: usize) {
        let command = packet.command;
        let is_utf8 = command.has(IpmsgCommand::UTF8);
        let made = || {
            // A message has no nickname: the additional field is its text.
            let nameless = IpmsgPacket {
                additional: b"",
                fields: b"",
                ..*packet
            };
            IpmsgPerson::new(IpmsgEntry::of(&nameless), version(packet))
        };
        let (person, gone) = self.people.hear(now, from, made);
        let (text, encoding) = ipmsg_text(packet.additional, is_utf8);
        if command.has(IpmsgCommand::CAN_UTF8) || is_utf8 {
            person.encoding = Some(IpmsgEncoding::Utf8);
        } else if !packet.additional.is_ascii() {
            person.encoding = Some(encoding);
        }
        let times = person.seen.count(now, packet);
        let sender = person.entry.clone();
        self.forget(gone);
        if command.wants_acknowledgement() && times <= IPMSG_ACKNOWLEDGEMENTS_MAX {
            self.acknowledge(from, packet, IpmsgCommand::RECEIVED, len);
        }
        if times > 1 {
            self.counts.duplicates += 1;
            return;
        }
        let (files, are_all_files) = if command.has(IpmsgCommand::FILES) {
            IpmsgFile::list(packet.fields, is_utf8)
        } else {
            (Vec::new(), true)
        };
        let is_sealed = command.has(IpmsgCommand::SECRET);
        let wants = is_sealed || command.has(IpmsgCommand::READ_RECEIPT);
        self.news
            .push_back(IpmsgNews::Message(Box::new(IpmsgMessage {
                from,
                number: packet.number,
                sender,
                text,
                files,
                are_all_files,
                is_broadcast: command.has(IpmsgCommand::BROADCAST),
                is_automatic: command.has(IpmsgCommand::AUTOMATIC),
                is_encrypted: command.has(IpmsgCommand::ENCRYPTED),
                wants_reading_told: wants && !command.is_unanswerable(),
            })));
    }

    /// What of ours it acknowledges, if anything: a number of ours, and from the address to which it went. An answer
    /// to an earlier message is none to the current one (fault E15).
    fn acknowledged(
        &mut self,
        from: SocketAddr,
        packet: &IpmsgPacket<'_>,
        is_it: impl Fn(What, u32, u32) -> bool,
    ) -> Option<u32> {
        let said = number_in(packet)?;
        // iptux answers from its own port, whatever the port was that we wrote to.
        let place = self.unacknowledged.iter().position(|waiting| {
            waiting.to.ip() == from.ip() && is_it(waiting.what, waiting.number, said)
        })?;
        Some(self.unacknowledged.swap_remove(place).number)
    }

    fn was_read(&mut self, from: SocketAddr, packet: &IpmsgPacket<'_>, len: usize) {
        let Some(read) = self.sent_to(from, packet) else {
            return;
        };
        if packet.command.has(IpmsgCommand::READ_RECEIPT) {
            self.acknowledge(from, packet, IpmsgCommand::ANSWER_TO_READ, len);
        }
        let by = from;
        self.news.push_back(IpmsgNews::WasRead { number: read, by });
    }

    /// Says that this packet, of so many bytes, has come.
    fn acknowledge(&mut self, to: SocketAddr, packet: &IpmsgPacket<'_>, mode: u8, len: usize) {
        let number = self.next_number();
        let command = IpmsgCommand::new(mode, 0);
        let said = packet.number.to_string();
        let mut bytes = self.packet(number, command, said.as_bytes(), b"", Some(to));
        if bytes.len() > allowance(to, len) {
            // By the number it is known, whoever says it.
            let nameless = IpmsgPacket {
                version: IPMSG_VERSION,
                number,
                user: b"",
                host: b"",
                command,
                additional: said.as_bytes(),
                fields: b"",
            };
            bytes.clear();
            nameless.encode(&mut bytes);
        }
        self.answer(to, bytes);
    }

    /// The number that the packet names, if it is one that was sent to this address.
    fn sent_to(&self, from: SocketAddr, packet: &IpmsgPacket<'_>) -> Option<u32> {
        let named = number_in(packet)?;
        let mut sent = self.sent.iter();
        let is_it = |(number, to): &&(u32, SocketAddr)| *number == named && to.ip() == from.ip();
        sent.find(is_it).map(|(number, _)| *number)
    }

    /// An answer goes where the settings say.
    fn answer(&mut self, to: SocketAddr, bytes: Vec<u8>) {
        let port = SocketAddr::new(to.ip(), self.settings.port);
        let (source, port) = match self.settings.reply_to {
            IpmsgReplyTo::Source => (Some(to), None),
            IpmsgReplyTo::Port => (None, Some(port)),
            IpmsgReplyTo::Both => (Some(to), Some(port).filter(|port| *port != to)),
        };
        let places = source.into_iter().chain(port);
        self.datagrams
            .extend(places.map(|place| (place, bytes.clone())));
    }

    fn forget(&mut self, gone: Option<(SocketAddr, IpmsgPerson)>) {
        if let Some((at, person)) = gone {
            self.news.push_back(IpmsgNews::Left(at, Box::new(person)));
        }
    }

    /// An entry or an answer to one, to this address or to everybody.
    fn entry(&mut self, mode: u8, to: Option<SocketAddr>) -> Vec<u8> {
        let encoding = to.map_or(self.settings.encoding, |to| self.encoding_of(to));
        let (nick, fields) = self.settings.me.fields(encoding);
        let number = self.next_number();
        // The flag that says "this is UTF-8" never stands in an entry.
        let options = IpmsgCommand::CAN_UTF8 | IpmsgCommand::FILES;
        self.packet(number, IpmsgCommand::new(mode, options), &nick, &fields, to)
    }

    /// The answer to an entry that is shorter than ours: the nickname alone.
    fn short_entry(&mut self, to: SocketAddr) -> Vec<u8> {
        let number = self.next_number();
        let options = IpmsgCommand::CAN_UTF8 | IpmsgCommand::FILES;
        let command = IpmsgCommand::new(IpmsgCommand::ANSWER_TO_ENTRY, options);
        let nick = self.encoding_of(to).encode(&self.settings.me.nick);
        self.packet(number, command, &nick, b"", Some(to))
    }

    fn packet(
        &self,
        number: u32,
        command: IpmsgCommand,
        additional: &[u8],
        fields: &[u8],
        to: Option<SocketAddr>,
    ) -> Vec<u8> {
        let encoding = to.map_or(self.settings.encoding, |to| self.encoding_of(to));
        let IpmsgEntry { user, host, .. } = &self.settings.me;
        let (user, host) = (encoding.encode(user), encoding.encode(host));
        let packet = IpmsgPacket {
            version: IPMSG_VERSION,
            number,
            user: &user,
            host: &host,
            command,
            additional,
            fields,
        };
        let mut bytes = Vec::new();
        packet.encode(&mut bytes);
        bytes
    }

    /// What the one at this address reads.
    pub fn encoding_of(&self, at: SocketAddr) -> IpmsgEncoding {
        let person = self.people.get(at);
        let shown = person.and_then(|person| person.encoding);
        shown.unwrap_or(self.settings.encoding)
    }

    fn next_number(&mut self) -> u32 {
        self.number = self.number.wrapping_add(1);
        self.number
    }

    fn own_number(&mut self, number: u32) {
        if self.own.len() == OWN_MAX {
            self.own.pop_front();
        }
        self.own.push_back(number);
    }

    /// Whether it is a packet of ours that came back, as what goes to everybody does.
    fn is_own(&self, packet: &IpmsgPacket<'_>) -> bool {
        let IpmsgEntry { user, host, .. } = &self.settings.me;
        let encoding = self.settings.encoding;
        self.own.contains(&packet.number)
            && packet.user == encoding.encode(user)
            && packet.host == encoding.encode(host)
    }
}

/// How many bytes an answer to so many may have: no more than they are, or than the headers of a datagram are worth to
/// somebody who forges its source (fault E5). What stays on this machine reaches nobody else.
fn allowance(from: SocketAddr, len: usize) -> usize {
    if from.ip().to_canonical().is_loopback() {
        return usize::MAX;
    }
    len.max(ANSWER_BYTES_MIN)
}

/// The number that an acknowledgement names: decimal, and perhaps with something behind it.
fn number_in(packet: &IpmsgPacket<'_>) -> Option<u32> {
    let digits = packet.additional.iter().take_while(|b| b.is_ascii_digit());
    let digits: Vec<u8> = digits.copied().collect();
    std::str::from_utf8(&digits).ok()?.parse().ok()
}

fn version(packet: &IpmsgPacket<'_>) -> String {
    let version = String::from_utf8_lossy(packet.version);
    version.chars().take(VERSION_CHARS_MAX).collect()
}
