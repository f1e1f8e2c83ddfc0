//! Whom a line of datagram talk is for, and whose a datagram is (U3).
//!
//! Knows names and addresses. Does not know sockets or screens.

use std::net::SocketAddr;

use super::contacts::Contacts;
use crate::wire::hangs_up;

/// So many who are in no book are remembered, so that strangers with ever new addresses fill nothing: of more, who
/// said nothing and was told nothing for the longest time is forgotten.
const OTHERS_MAX: usize = 1024;

/// So many of those are named where somebody asks who there is.
const OTHERS_NAMED_MAX: usize = 8;

/// Everybody who can be talked to.
#[derive(Debug)]
pub(super) struct People {
    contacts: Contacts,
    /// In no book: has spoken, or was told something. The last to do so is last.
    others: Vec<SocketAddr>,
    /// Whom a line without a name is for.
    current: Option<SocketAddr>,
    /// Whether anybody may call.
    listens: bool,
}

/// What a line that was typed is about.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Meant<'l> {
    /// This is said to whoever is there.
    Say(SocketAddr, &'l [u8]),
    /// Lines without a name are for whoever is there, from now on.
    TurnTo(SocketAddr),
    /// The contact is left: lines without a name are for nobody.
    Leave(SocketAddr),
    /// Nobody is there any more.
    End,
    /// There is no such name: these there are.
    Unknown(String, Vec<String>),
    /// The contact has this address, which could not be found.
    Nowhere(String, String),
    /// It does not say whom it is for, and these there are.
    ForNobody(Vec<String>),
}

impl People {
    pub(super) fn new(contacts: Contacts, first: Option<SocketAddr>, listens: bool) -> People {
        let mut people = People {
            contacts,
            others: Vec::new(),
            current: first,
            listens,
        };
        if let Some(first) = first {
            people.remember(first);
        }
        people
    }

    /// Somebody has said something: a line without a name answers it. `false`: it is a stranger, and nobody listens.
    pub(super) fn hear(&mut self, from: SocketAddr) -> bool {
        let is_known = self.contacts.name_of(from).is_some() || self.others.contains(&from);
        if !is_known && !self.listens {
            return false;
        }
        self.remember(from);
        self.current = Some(from);
        true
    }

    /// What stands before what somebody says: name, if there is one in the book, and address.
    pub(super) fn label(&self, at: SocketAddr) -> String {
        match self.contacts.name_of(at) {
            Some(name) => format!("[{name} {at}]"),
            None => format!("[{at}]"),
        }
    }

    /// Whom a line without a name is for.
    pub(super) fn current(&self) -> Option<SocketAddr> {
        self.current
    }

    /// The book.
    pub(super) fn contacts(&self) -> &Contacts {
        &self.contacts
    }

    /// What a line means: `NAME: text` says it to somebody, `NAME:` turns to them, `q` leaves the contact and is for
    /// nobody else; any other is for the last who spoke or was spoken to. Where such a word before a colon is no
    /// name, a blank in front says that none was meant.
    pub(super) fn understand<'l>(&mut self, line: &'l [u8]) -> Meant<'l> {
        if hangs_up(line) {
            return self.leave();
        }
        let (line, is_named) = match line.strip_prefix(b" ") {
            Some(rest) if addressed(rest).is_some() => (rest, false),
            _ => (line, true),
        };
        if is_named && let Some((name, text)) = addressed(line) {
            match self.find(name) {
                Found::At(at) => {
                    self.turn_to(at);
                    return match text {
                        Some(text) => Meant::Say(at, text),
                        None => Meant::TurnTo(at),
                    };
                }
                Found::Nowhere(host) => return Meant::Nowhere(name.to_owned(), host),
                Found::Nobody => return Meant::Unknown(name.to_owned(), self.known()),
                Found::NoName => {}
            }
        }
        match self.current {
            Some(at) => {
                self.turn_to(at);
                Meant::Say(at, line)
            }
            None => Meant::ForNobody(self.known()),
        }
    }

    fn leave(&mut self) -> Meant<'static> {
        let is_anybody_else = self.listens || self.contacts.names().next().is_some();
        match self.current.take() {
            Some(at) if is_anybody_else => Meant::Leave(at),
            _ => Meant::End,
        }
    }

    fn find(&self, name: &str) -> Found {
        if let Some(contact) = self.contacts.named(name) {
            return match contact.at {
                Some(at) => Found::At(at),
                None => Found::Nowhere(contact.host.to_string()),
            };
        }
        match name.parse() {
            Ok(at) => Found::At(at),
            // A sentence may have a colon in it.
            Err(_) if name.contains(' ') || self.contacts.names().next().is_none() => Found::NoName,
            Err(_) => Found::Nobody,
        }
    }

    fn turn_to(&mut self, at: SocketAddr) {
        self.remember(at);
        self.current = Some(at);
    }

    fn remember(&mut self, at: SocketAddr) {
        if self.contacts.name_of(at).is_some() {
            return;
        }
        if self.others.last() == Some(&at) {
            return;
        }
        self.others.retain(|other| *other != at);
        if self.others.len() >= OTHERS_MAX {
            self.others.remove(0);
        }
        self.others.push(at);
    }

    /// Whom one may name: those of the book, and the last of those who are not in it.
    fn known(&self) -> Vec<String> {
        let others = self.others.iter().rev().take(OTHERS_NAMED_MAX);
        let names = self.contacts.names().map(str::to_owned);
        names.chain(others.map(SocketAddr::to_string)).collect()
    }
}

/// Whom a word before a colon names.
enum Found {
    At(SocketAddr),
    Nowhere(String),
    Nobody,
    /// It is a part of what is said.
    NoName,
}

/// The part before `: `, or before `:` at the end, and the text behind it, if there is one.
fn addressed(line: &[u8]) -> Option<(&str, Option<&[u8]>)> {
    let (name, text) = match line.windows(2).position(|pair| pair == b": ") {
        Some(at) => (&line[..at], Some(&line[at + 2..])),
        None => (line.strip_suffix(b":")?, None),
    };
    let name = std::str::from_utf8(name).ok()?;
    (!name.trim().is_empty()).then_some((name, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn eva() -> SocketAddr {
        at("127.0.0.1:1")
    }

    fn bob() -> SocketAddr {
        at("[::1]:2")
    }

    fn people(listens: bool) -> People {
        let book = Contacts::of(&[("eva", "127.0.0.1:1"), ("bob", "[::1]:2")]);
        People::new(book, None, listens)
    }

    fn names() -> Vec<String> {
        vec!["bob".into(), "eva".into()]
    }

    fn sorted(meant: Meant<'_>) -> Meant<'_> {
        match meant {
            Meant::Unknown(name, mut known) => {
                known.sort();
                Meant::Unknown(name, known)
            }
            Meant::ForNobody(mut known) => {
                known.sort();
                Meant::ForNobody(known)
            }
            meant => meant,
        }
    }

    #[test]
    fn a_name_says_whom_a_line_is_for_and_stays_until_another_is_named_or_speaks() {
        let mut people = people(true);
        assert_eq!(
            people.understand(b"EVA: hello"),
            Meant::Say(eva(), b"hello")
        );
        assert_eq!(people.understand(b"again"), Meant::Say(eva(), b"again"));
        assert_eq!(people.understand(b"bob:"), Meant::TurnTo(bob()));
        assert_eq!(people.understand(b"you?"), Meant::Say(bob(), b"you?"));
        // Who spoke last is answered, also somebody of no book.
        let stranger = at("127.0.0.1:5000");
        assert!(people.hear(eva()) && people.hear(stranger));
        assert_eq!(people.understand(b"hi"), Meant::Say(stranger, b"hi"));
        assert_eq!(people.label(stranger), "[127.0.0.1:5000]");
        assert_eq!(people.label(eva()), "[eva 127.0.0.1:1]");
        assert_eq!(people.label(bob()), "[bob [::1]:2]");
        // An address is a name, too.
        let line = b"[::1]:2: and you";
        assert_eq!(people.understand(line), Meant::Say(bob(), b"and you"));
    }

    #[test]
    fn an_unknown_name_is_answered_by_the_known_ones_and_nothing_is_sent() {
        let mut people = people(false);
        let unknown = || Meant::Unknown("ann".into(), names());
        assert_eq!(sorted(people.understand(b"ann: hello")), unknown());
        assert_eq!(sorted(people.understand(b"ann:")), unknown());
        assert_eq!(
            sorted(people.understand(b"hello")),
            Meant::ForNobody(names())
        );
        people.understand(b"eva:");
        // A blank says that no name was meant; a sentence and a URL are no names anyway.
        for (line, said) in [
            (&b" ann: hello"[..], &b"ann: hello"[..]),
            (b"he said: hello", b"he said: hello"),
            (b"http://example.org", b"http://example.org"),
            (b": x", b": x"),
            (b" two blanks", b" two blanks"),
            (b"\xff: x", b"\xff: x"),
            (b"", b""),
        ] {
            assert_eq!(people.understand(line), Meant::Say(eva(), said));
        }
        // With an empty book no word is a name.
        let mut people = People::new(Contacts::default(), Some(eva()), false);
        assert_eq!(people.understand(b"note: x"), Meant::Say(eva(), b"note: x"));
        assert_eq!(
            people.understand(b"127.0.0.1:7:"),
            Meant::TurnTo(at("127.0.0.1:7"))
        );
    }

    #[test]
    fn q_leaves_a_contact_and_is_said_to_nobody() {
        for q in [b"q", b"Q"] {
            let mut people = people(false);
            people.understand(b"eva: hello");
            assert_eq!(people.understand(q), Meant::Leave(eva()));
            assert_eq!(
                sorted(people.understand(b"hello")),
                Meant::ForNobody(names())
            );
            assert_eq!(people.understand(q), Meant::End);
            // With one alone there is nobody else to turn to.
            let mut people = People::new(Contacts::default(), Some(eva()), false);
            assert_eq!(people.understand(q), Meant::End);
            // Alone means alone.
            people = People::new(Contacts::default(), Some(eva()), true);
            assert_eq!(people.understand(b"q "), Meant::Say(eva(), b"q "));
            assert_eq!(people.understand(q), Meant::Leave(eva()));
        }
    }

    #[test]
    fn a_stranger_is_heard_only_by_one_who_listens_or_has_called() {
        let stranger = at("127.0.0.1:5000");
        let mut calls = people(false);
        assert!(!calls.hear(stranger) && calls.current().is_none());
        assert!(calls.hear(eva()));
        calls.understand(b"127.0.0.1:5000: hello");
        assert!(calls.hear(stranger));
        assert!(people(true).hear(stranger));
    }

    #[test]
    fn strangers_fill_no_more_than_their_places() {
        let mut people = people(true);
        let nth = |n: usize| SocketAddr::from(([127, 0, 0, 1], 1000 + u16::try_from(n).unwrap()));
        for n in 0..3 * OTHERS_MAX {
            people.hear(nth(n));
            // One who goes on speaking is not forgotten.
            people.hear(nth(0));
            assert!(people.others.len() <= OTHERS_MAX);
        }
        assert!(people.others.contains(&nth(0)));
        assert!(!people.others.contains(&nth(1)));
        assert_eq!(people.known().len(), 2 + OTHERS_NAMED_MAX);
    }
}
