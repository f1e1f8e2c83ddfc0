use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::files::{Phase, Session};
use super::{Ipmsg, time};
use crate::buf::ReadBuf;
use crate::ipmsg::{IpmsgHost, IpmsgMessage};
use crate::service::{Ask, LinkTo};
use crate::turn::{ConnId, Moment, Turn};
use crate::wire::{IPMSG_PORT, Line};

/// How many people of the network are in the room at once.
const PEOPLE_MAX: usize = 64;

/// How many lines of one person wait for the room.
const LINES_MAX: usize = 256;

/// How many messages may wait for one person's acknowledgement; then the room waits, too.
const UNACKNOWLEDGED_MAX: usize = 4;

/// How long it waits before it looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// How many bytes of lines go into one message.
const MESSAGE_BYTES_MAX: usize = 4096;

/// How long a name in the room may be.
const NAME_BYTES_MAX: usize = 32;

/// What of the room's commands people of the network have. The others are for those whose name is their own choice.
const COMMANDS: [&str; 8] = [
    "/me", "/msg", "/who", "/join", "/quit", "/help", "/away", "/ignore",
];

/// People of the network who are in a room, each by a connection that is theirs.
#[derive(Debug, Default)]
pub(super) struct Bridge {
    links: BTreeMap<SocketAddr, Link>,
    pub(super) asks: VecDeque<Ask>,
}

/// One of them.
#[derive(Debug, Default)]
struct Link {
    /// None until the loop has made it.
    id: Option<ConnId>,
    /// What is to be said in the room.
    lines: VecDeque<String>,
    /// Whether they have gone.
    is_over: bool,
}

impl Bridge {
    fn visit(&mut self, at: SocketAddr) {
        if let Some(id) = self.links.get(&at).and_then(|link| link.id) {
            self.asks.push_back(Ask::Visit(id));
        }
    }

    /// Somebody of the network is gone, and so is the member.
    pub(super) fn left(&mut self, at: SocketAddr) {
        if let Some(link) = self.links.get_mut(&at) {
            link.is_over = true;
            self.visit(at);
        }
    }

    /// The connection of a member is closed.
    pub(super) fn closed(&mut self, at: SocketAddr) {
        self.links.remove(&at);
    }

    /// What somebody says is for the room, of which they become a member by saying it.
    fn say(&mut self, room: &str, message: &IpmsgMessage) -> Result<(), String> {
        let from = message.from;
        let mut lines = Vec::new();
        for line in message.text.lines().filter(|line| !line.trim().is_empty()) {
            let word = line.split_whitespace().next().unwrap_or_default();
            if line.starts_with('/') && !COMMANDS.contains(&word) {
                return Err(format!("{word} is not for people of the network"));
            }
            lines.push(line.to_owned());
        }
        if lines.is_empty() {
            return Ok(());
        }
        if !self.links.contains_key(&from) {
            if self.links.len() >= PEOPLE_MAX {
                return Err(format!(
                    "{PEOPLE_MAX} people of the network are in the room already"
                ));
            }
            let mut link = Link::default();
            link.lines.push_back(format!("/nick {}", name(message)));
            self.links.insert(from, link);
            self.asks.push_back(Ask::Link(LinkTo {
                for_whom: from,
                service: "chat",
                name: room.to_owned(),
            }));
        }
        if let Some(link) = self.links.get_mut(&from) {
            if link.lines.len() + lines.len() > LINES_MAX {
                return Err("too much at once: the room has not heard what came before".to_owned());
            }
            link.lines.extend(lines);
        }
        self.visit(from);
        Ok(())
    }
}

impl Ipmsg {
    /// A message is for the room, if there is one.
    pub(super) fn pass_on(&mut self, now: Moment, message: &IpmsgMessage) {
        let (Some(room), Some(host)) = (&self.options.bridge, &mut self.host) else {
            return;
        };
        if message.is_broadcast || message.is_automatic || message.is_encrypted || self.is_going {
            return;
        }
        if let Err(why) = self.bridge.say(room, message) {
            tell(host, now, message.from, &format!("* {why}"));
        }
    }

    /// The loop has made a connection to the room, or cannot.
    pub(super) fn is_linked(&mut self, now: Moment, at: SocketAddr, made: Result<ConnId, String>) {
        match made {
            Ok(id) => {
                if let Some(session) = self.sessions.get_mut(id) {
                    session.phase = Phase::Room(at, Line::default());
                }
                if let Some(link) = self.bridge.links.get_mut(&at) {
                    link.id = Some(id);
                }
                self.bridge.visit(at);
            }
            Err(why) => {
                log::warn!("nobody of the network comes into the room: {why}");
                self.bridge.closed(at);
                if let Some(host) = &mut self.host {
                    tell(host, now, at, "* the room cannot be reached");
                }
            }
        }
        self.tend(now);
    }

    /// Says in the room what is to be said there, and goes on hearing it.
    pub(super) fn visit_room(&mut self, t: &mut Turn<'_>, at: SocketAddr) {
        let Some(link) = self.bridge.links.get_mut(&at) else {
            return t.close();
        };
        for line in link.lines.drain(..) {
            t.reply(&*line);
            t.reply("\n");
        }
        if link.is_over {
            return t.close();
        }
        let is_busy = self.is_busy(at);
        match (is_busy, t.is_held()) {
            (true, _) => t.wake_at(t.now.after(LOOK_AGAIN)),
            (false, true) => {
                t.wake_at(Moment::NEVER);
                t.resume();
            }
            (false, false) => t.wake_at(Moment::NEVER),
        }
    }

    fn is_busy(&self, at: SocketAddr) -> bool {
        let host = self.host.as_ref();
        host.is_some_and(|host| host.unacknowledged(at) >= UNACKNOWLEDGED_MAX)
    }

    /// What the room says is for the one whose connection this is: as many lines in a message as came together.
    pub(super) fn hear_room(&mut self, t: &mut Turn<'_>, input: &mut ReadBuf) {
        let mut text = String::new();
        loop {
            let Some(Session {
                phase: Phase::Room(at, lines),
                ..
            }) = self.sessions.get_mut(t.id)
            else {
                return;
            };
            let at = *at;
            let line = match input.next(lines) {
                Ok(Some(line)) => Some(String::from_utf8_lossy(line).into_owned()),
                Ok(None) => None,
                // The room has no such lines.
                Err(_) => return t.close(),
            };
            let is_full = line
                .as_ref()
                .is_some_and(|line| text.len() + line.len() > MESSAGE_BYTES_MAX);
            if (line.is_none() || is_full)
                && !text.is_empty()
                && !self.is_going
                && let Some(host) = &mut self.host
            {
                tell(host, t.now, at, &text);
                text.clear();
            }
            let Some(line) = line else {
                if self.is_busy(at) && !t.is_held() {
                    t.hold();
                    t.wake_at(t.now.after(LOOK_AGAIN));
                }
                break;
            };
            if !text.is_empty() {
                text.push('\n');
            }
            text.push_str(&line);
        }
        self.tend(t.now);
    }
}

fn tell(host: &mut IpmsgHost, now: Moment, at: SocketAddr, text: &str) {
    let mut end = text.len().min(MESSAGE_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    // Too many wait, and this one is not said: a datagram promises no more.
    let _ = host.send(time(now), at, &text[..end], &[], false);
}

/// What somebody is called in the room: as they say, as far as names there may have it, and by their address, so that
/// nobody takes them for a member who chose that name.
fn name(message: &IpmsgMessage) -> String {
    let from = message.from;
    let address = match from.ip().to_canonical() {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("{:x}", ip.to_bits() as u64),
    };
    let port = match from.port() {
        IPMSG_PORT => String::new(),
        port => format!(".{port}"),
    };
    let behind = format!("-{address}{port}");
    let is_allowed = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let mut name: String = message.sender.nick.chars().filter(is_allowed).collect();
    name.truncate(NAME_BYTES_MAX.saturating_sub(behind.len()));
    if !name.starts_with(|c: char| c.is_ascii_alphanumeric()) || name.starts_with("guest") {
        name = "lan".to_owned();
    }
    name + &behind
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::IpmsgEntry;

    fn named(nick: &str, from: &str) -> String {
        name(&IpmsgMessage {
            from: from.parse().unwrap(),
            number: 1,
            sender: IpmsgEntry {
                user: "u".into(),
                host: "h".into(),
                nick: nick.into(),
                group: String::new(),
                encoding: None,
            },
            text: String::new(),
            files: vec![],
            are_all_files: true,
            is_broadcast: false,
            is_automatic: false,
            is_encrypted: false,
            wants_reading_told: false,
        })
    }

    #[test]
    fn fault_c9_a_name_in_the_room_has_the_address_in_it_and_nothing_that_imitates() {
        for (nick, from, expected) in [
            ("eva", "192.168.1.5:2425", "eva-192.168.1.5"),
            ("伊娃", "192.168.1.5:2425", "lan-192.168.1.5"),
            ("guest-1", "10.0.0.1:2425", "lan-10.0.0.1"),
            ("e v\na:", "10.0.0.1:5000", "eva-10.0.0.1.5000"),
            ("x\u{202e}y", "[fe80::1]:2425", "xy-1"),
            (".-_", "10.0.0.1:2425", "lan-10.0.0.1"),
        ] {
            assert_eq!(named(nick, from), expected);
        }
        let longest = named(&"n".repeat(99), "255.255.255.255:65535");
        assert_eq!(longest.len(), NAME_BYTES_MAX);
    }
}
