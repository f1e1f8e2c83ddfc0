//! Other servers, and what this one asks them.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::link::Link;
use super::subjects::Inbox;
use crate::service::chat::name::Name;
use crate::service::chat::text::LISTED_MAX;
use crate::turn::{ConnId, Moment, Turn};

/// How long other servers have to answer.
const ANSWER: Duration = Duration::from_secs(2);

/// A server that has not said for so long that it is there is not.
const GONE: Duration = Duration::from_millis(3500);

/// How many servers are known at most: whoever can publish could make up more.
const SERVERS_MAX: usize = 256;

/// How many rooms of each.
const ROOMS_MAX: usize = super::super::ROOMS_MAX;

/// What one server asks all others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(in super::super) enum Question {
    /// Who is in this room.
    Who(String),
    /// Whether this person is there: then they are told.
    Message {
        /// The name of whoever writes.
        from: String,
        /// The person.
        to: String,
        /// What they are told.
        text: String,
    },
    /// Whether this person is there.
    Find(String),
    /// Where this person is, for an operator.
    Whois(String),
    /// Whether this person is there: then they are there no more.
    Kick {
        /// The person.
        name: String,
        /// Why.
        reason: String,
    },
}

impl Question {
    /// The person whom it is about.
    pub(in super::super) fn person(&self) -> Option<&str> {
        match self {
            Question::Who(_) => None,
            Question::Find(name) | Question::Whois(name) => Some(name),
            Question::Message { to: name, .. } | Question::Kick { name, .. } => Some(name),
        }
    }
}

/// What a server answers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub(in super::super) struct Reply {
    /// The room or the person is there; as they write the name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in super::super) found: Option<String>,
    /// Some of who is in the room.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(in super::super) names: Vec<String>,
    /// How many there are.
    pub(in super::super) count: usize,
    /// What a person says who is away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in super::super) away: Option<String>,
    /// In which room a person is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in super::super) room: Option<String>,
    /// Where a person comes from, which only operators are told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in super::super) from: Option<String>,
    /// The name belongs to the person.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(in super::super) owned: bool,
}

/// What a server says all the time: that it is there, and how many are in its rooms.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub(in super::super) struct Alive {
    pub(in super::super) server: String,
    pub(in super::super) rooms: BTreeMap<String, u32>,
    /// It goes, and says so for the last time.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(in super::super) gone: bool,
}

/// Other servers, and questions that they have not all answered.
#[derive(Debug, Default)]
pub(super) struct Asks {
    servers: HashMap<String, Server>,
    asked: HashMap<u64, Asked>,
    count: u64,
}

#[derive(Debug)]
struct Server {
    heard: Moment,
    rooms: HashMap<Name, u32>,
}

/// A question, and what has come of it.
#[derive(Debug)]
pub(in super::super) struct Asked {
    /// The member who waits for it.
    pub(in super::super) by: ConnId,
    pub(in super::super) question: Question,
    pub(in super::super) replies: Vec<Reply>,
    missing: usize,
    until: Moment,
}

impl Asks {
    /// A server has said that it is there.
    pub(super) fn heard(&mut self, alive: Alive, now: Moment) {
        if alive.gone {
            self.servers.remove(&alive.server);
            return;
        }
        if self.servers.len() >= SERVERS_MAX && !self.servers.contains_key(&alive.server) {
            return;
        }
        let rooms = alive.rooms.into_iter().take(ROOMS_MAX);
        let rooms =
            rooms.filter_map(|(name, count)| Some((Name::parse(name.as_bytes())?.key(), count)));
        let server = Server {
            heard: now,
            rooms: rooms.collect(),
        };
        self.servers.insert(alive.server, server);
    }

    /// How many other servers there are.
    pub(super) fn servers(&self) -> usize {
        self.servers.len()
    }

    /// How many are in a room of other servers.
    pub(super) fn elsewhere(&self, room: Name) -> usize {
        let key = room.key();
        let servers = self.servers.values();
        servers
            .filter_map(|server| server.rooms.get(&key))
            .map(|&count| count as usize)
            .sum()
    }

    /// The rooms of other servers.
    pub(super) fn rooms(&self) -> BTreeMap<String, usize> {
        let mut all = BTreeMap::new();
        for (room, count) in self.servers.values().flat_map(|server| &server.rooms) {
            *all.entry(room.to_string()).or_default() += *count as usize;
        }
        all
    }

    /// Asks all of them for the member whose turn it is. Whether somebody will answer.
    pub(super) fn ask(&mut self, link: &Link, t: &mut Turn<'_>, question: Question) -> bool {
        if !link.is_ready() || self.servers.is_empty() {
            return false;
        }
        let Ok(body) = serde_json::to_vec(&question) else {
            return false;
        };
        let number = self.begin(t.id, question, t.now);
        link.request(t, &link.subjects.ask(), (Inbox::Ask, number), &[], &body);
        true
    }

    /// A question is asked; says its number.
    fn begin(&mut self, by: ConnId, question: Question, now: Moment) -> u64 {
        self.count += 1;
        let asked = Asked {
            by,
            question,
            replies: Vec::new(),
            missing: self.servers.len(),
            until: now.after(ANSWER),
        };
        self.asked.insert(self.count, asked);
        self.count
    }

    /// A server answers. The question, if that was all that was waited for.
    pub(super) fn answered(&mut self, number: u64, reply: Reply) -> Option<Asked> {
        let asked = self.asked.get_mut(&number)?;
        let is_last = match asked.question {
            Question::Who(_) => false,
            // There is one of each name.
            Question::Message { .. }
            | Question::Find(_)
            | Question::Whois(_)
            | Question::Kick { .. } => reply.found.is_some(),
        };
        asked.missing = asked.missing.saturating_sub(1);
        if asked.replies.len() < SERVERS_MAX {
            asked.replies.push(reply);
        }
        if asked.missing > 0 && !is_last {
            return None;
        }
        self.asked.remove(&number)
    }

    /// Questions that were waited for long enough; and servers that were.
    pub(super) fn expire(&mut self, now: Moment) -> Vec<Asked> {
        self.servers
            .retain(|_, server| server.heard.after(GONE) > now);
        self.end(|asked| asked.until <= now)
    }

    /// The bus is away: nobody will answer, and nobody is known to be there.
    pub(super) fn give_all_up(&mut self) -> Vec<Asked> {
        self.servers.clear();
        self.end(|_| true)
    }

    fn end(&mut self, which: impl Fn(&Asked) -> bool) -> Vec<Asked> {
        let over = self.asked.extract_if(|_, asked| which(asked));
        over.map(|(_, asked)| asked).collect()
    }
}

impl Reply {
    /// The names that it tells, each of which is one, and may be followed by ` (away)`.
    pub(in super::super) fn listed(&self) -> impl Iterator<Item = String> + '_ {
        self.names.iter().take(LISTED_MAX).filter_map(|text| {
            let (name, away) = match text.strip_suffix(" (away)") {
                Some(name) => (name, " (away)"),
                None => (&**text, ""),
            };
            Some(format!("{}{away}", Name::parse(name.as_bytes())?))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVA: ConnId = ConnId {
        slot: 1,
        generation: 1,
    };

    fn alive(server: &str, lobby: u32) -> Alive {
        Alive {
            server: server.into(),
            rooms: [("Lobby".to_owned(), lobby), ("no name".to_owned(), 9)].into(),
            gone: false,
        }
    }

    #[test]
    fn a_question_waits_for_those_who_are_there_or_for_the_one_who_knows() {
        let (mut asks, now) = (Asks::default(), Moment::START);
        asks.heard(alive("a", 2), now);
        asks.heard(alive("b", 3), now);
        let lobby = Name::parse(b"lobby").unwrap();
        assert_eq!((asks.servers(), asks.elsewhere(lobby)), (2, 5));
        assert_eq!(asks.rooms(), [("lobby".to_owned(), 5)].into());
        let who = asks.begin(EVA, Question::Who("lobby".into()), now);
        assert!(asks.answered(who, Reply::default()).is_none());
        assert_eq!(
            asks.answered(who, Reply::default()).unwrap().replies.len(),
            2
        );
        assert!(asks.answered(who, Reply::default()).is_none(), "it is over");
        let kick = Question::Kick {
            name: "eva".into(),
            reason: String::new(),
        };
        let kick = asks.begin(EVA, kick, now);
        let found = Reply {
            found: Some("Eva".into()),
            ..Reply::default()
        };
        assert!(asks.answered(kick, found).is_some());
        asks.begin(EVA, Question::Who("lobby".into()), now);
        assert_eq!(asks.expire(now).len(), 0);
        assert_eq!(asks.expire(now.after(ANSWER)).len(), 1);
        asks.expire(now.after(GONE));
        assert_eq!(asks.servers(), 0);
        asks.heard(alive("a", 2), now);
        asks.heard(
            Alive {
                gone: true,
                ..alive("a", 0)
            },
            now,
        );
        assert_eq!(asks.servers(), 0);
    }

    #[test]
    fn what_the_bus_brings_is_no_name_unless_it_is_one() {
        let reply = Reply {
            names: vec![
                "eva".into(),
                "bob (away)".into(),
                "* x".into(),
                "e\u{1b}".into(),
            ],
            ..Reply::default()
        };
        assert_eq!(reply.listed().collect::<Vec<_>>(), ["eva", "bob (away)"]);
    }
}
