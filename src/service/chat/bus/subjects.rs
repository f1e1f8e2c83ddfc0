use std::fmt::Write as _;

use super::super::name::Name;

/// What several servers call what they share: subjects, streams and keys of NATS, in which whatever people chose is in
/// hexadecimal digits.
#[derive(Debug)]
pub(super) struct Subjects {
    /// Which rooms: the name that their endpoints share, or `_`.
    set: String,
    /// What no other server has.
    pub(super) me: String,
}

/// What is kept in order for all: in which subject of the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) enum Topic {
    /// What a room hears.
    Room(Name),
    /// Who may be here: what the ban is of.
    Ban(String),
}

/// What an answer belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Inbox {
    /// A step of the beginning.
    Setup,
    /// A message that is to be kept.
    Kept,
    /// A claim to a name.
    Claim,
    /// A question to other servers.
    Ask,
    /// Nothing that anybody waits for.
    Nothing,
}

impl Inbox {
    const ALL: [Inbox; 5] = [
        Inbox::Setup,
        Inbox::Kept,
        Inbox::Claim,
        Inbox::Ask,
        Inbox::Nothing,
    ];

    fn word(self) -> &'static str {
        match self {
            Inbox::Setup => "setup",
            Inbox::Kept => "kept",
            Inbox::Claim => "claim",
            Inbox::Ask => "ask",
            Inbox::Nothing => "none",
        }
    }
}

impl Subjects {
    pub(super) fn new(set: Option<&str>, nonce: u64) -> Subjects {
        let set = set.map_or_else(|| "_".to_owned(), |set| hex(&set.to_ascii_lowercase()));
        Subjects {
            set,
            me: format!("{nonce:016x}"),
        }
    }

    /// The stream of what is kept.
    pub(super) fn stream(&self) -> String {
        format!("ONEPOLL_{}", self.set)
    }

    /// The subjects of that.
    pub(super) fn kept(&self) -> [String; 2] {
        [
            format!("onepoll.{}.room.*", self.set),
            format!("onepoll.{}.ban.*", self.set),
        ]
    }

    /// The bucket of names, as a stream.
    pub(super) fn bucket(&self) -> String {
        format!("KV_{}", self.stream())
    }

    /// The subjects of its keys.
    pub(super) fn keys(&self) -> String {
        format!("$KV.{}.*", self.stream())
    }

    /// The key of a name, as a subject.
    pub(super) fn key(&self, name: Name) -> String {
        format!("$KV.{}.{}", self.stream(), name_hex(name))
    }

    /// Where other servers are asked.
    pub(super) fn ask(&self) -> String {
        format!("onepoll.{}.ask", self.set)
    }

    /// Where each says that it is there.
    pub(super) fn alive(&self) -> String {
        format!("onepoll.{}.alive", self.set)
    }

    pub(super) fn topic(&self, topic: &Topic) -> String {
        match topic {
            Topic::Room(name) => format!("onepoll.{}.room.{}", self.set, name_hex(*name)),
            Topic::Ban(whom) => format!("onepoll.{}.ban.{}", self.set, hex(whom)),
        }
    }

    /// What a subject of the stream is about, if it is one of ours.
    pub(super) fn topic_of(&self, subject: &str) -> Option<Topic> {
        let rest = subject.strip_prefix("onepoll.")?.strip_prefix(&self.set)?;
        let (kind, what) = rest.strip_prefix('.')?.split_once('.')?;
        let what = unhex(what)?;
        match kind {
            "room" => Name::parse(&what).map(Topic::Room),
            "ban" => String::from_utf8(what).ok().map(Topic::Ban),
            _ => None,
        }
    }

    /// All subjects to which answers come.
    pub(super) fn inboxes(&self) -> String {
        format!("_INBOX.{}.>", self.me)
    }

    pub(super) fn inbox(&self, inbox: Inbox, number: u64) -> String {
        format!("_INBOX.{}.{}.{number}", self.me, inbox.word())
    }

    /// Where the consumer of this number delivers.
    pub(super) fn delivery(&self, epoch: u64) -> String {
        format!("_ONEPOLL.{}.{epoch}", self.me)
    }

    /// What an answer belongs to, and its number.
    pub(super) fn inbox_of(&self, subject: &str) -> Option<(Inbox, u64)> {
        let rest = subject.strip_prefix("_INBOX.")?.strip_prefix(&self.me)?;
        let (word, number) = rest.strip_prefix('.')?.split_once('.')?;
        let inbox = Inbox::ALL.into_iter().find(|inbox| inbox.word() == word)?;
        Some((inbox, number.parse().ok()?))
    }

    /// The id of a message of ours.
    pub(super) fn id(&self, number: u64) -> String {
        format!("{}-{number}", self.me)
    }

    /// The number of a message of ours, by its id.
    pub(super) fn number_of(&self, id: &str) -> Option<u64> {
        id.strip_prefix(&self.me)?.strip_prefix('-')?.parse().ok()
    }
}

/// Whether this is a subject for answers of one kind, and nothing else: whoever has us answer must not have us say to any
/// other subject what they may not say themselves.
pub(super) fn may_answer(kind: &str, subject: &str) -> bool {
    subject.starts_with(kind) && !subject.contains(|c: char| c.is_whitespace() || c.is_control())
}

fn name_hex(name: Name) -> String {
    hex(&name.key().to_string())
}

fn hex(text: &str) -> String {
    let mut digits = String::with_capacity(2 * text.len());
    for byte in text.bytes() {
        write!(digits, "{byte:02x}").expect("memory takes every byte");
    }
    digits
}

fn unhex(digits: &str) -> Option<Vec<u8>> {
    let is_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_hex || !digits.len().is_multiple_of(2) {
        return None;
    }
    let pair = |at| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok();
    (0..digits.len()).step_by(2).map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_chose_is_in_hex_and_comes_back() {
        let subjects = Subjects::new(Some("Lobby"), 0xfeed);
        assert_eq!(subjects.stream(), "ONEPOLL_6c6f626279");
        let room = Topic::Room(Name::parse(b"Den.2").unwrap());
        let subject = subjects.topic(&room);
        assert_eq!(subject, "onepoll.6c6f626279.room.64656e2e32");
        let again = Topic::Room(Name::parse(b"den.2").unwrap());
        assert_eq!(subjects.topic_of(&subject), Some(again));
        let ban = Topic::Ban("192.0.2.0/24".into());
        assert_eq!(subjects.topic_of(&subjects.topic(&ban)), Some(ban));
        for wrong in [
            "onepoll._.room.6162",
            "onepoll.6c6f626279.room.6",
            "onepoll.6c6f626279.room.+1",
            "onepoll.6c6f626279.room.2e2e",
            "onepoll.6c6f626279.room.",
            "onepoll.6c6f626279.ban.ff",
            "onepoll.6c6f626279.x.61",
            "x",
        ] {
            assert_eq!(subjects.topic_of(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn answers_and_ids_are_known_by_their_number() {
        let subjects = Subjects::new(None, 7);
        let other = Subjects::new(None, 8);
        for inbox in Inbox::ALL {
            let subject = subjects.inbox(inbox, 12);
            assert_eq!(subjects.inbox_of(&subject), Some((inbox, 12)));
            assert_eq!(other.inbox_of(&subject), None);
        }
        assert_eq!(subjects.number_of(&subjects.id(3)), Some(3));
        assert_eq!(other.number_of(&subjects.id(3)), None);
    }

    #[test]
    fn nothing_but_answers_goes_where_somebody_else_says() {
        assert!(may_answer("_INBOX.", "_INBOX.a.b"));
        for wrong in [
            "onepoll._.room.6162",
            "_INBOX.a b",
            "_INBOX.a\r\nPUB",
            " _INBOX.a",
            "",
        ] {
            assert!(!may_answer("_INBOX.", wrong), "{wrong}");
        }
    }
}
