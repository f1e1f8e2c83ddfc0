//! What a line of a chat is, as PROTOCOL.md has it.

use crate::cli::conversation::Look;

/// What the server or somebody else says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard<'l> {
    /// Somebody says this, to the room or to us alone, or does it: `NAME: TEXT`, `NAME (private): TEXT`, `~ NAME TEXT`.
    Said {
        name: &'l str,
        text: &'l str,
        is_private: bool,
    },
    /// `* you are NAME in ROOM (…`: the first line of a server of ours.
    Welcome { name: &'l str, room: &'l str },
    /// `* you are now NAME`
    NowCalled(&'l str),
    /// `* you are in ROOM (…` or `already`
    NowIn(&'l str),
    /// `* NAME is somebody else's name`
    Taken(&'l str),
    /// `* in ROOM: NAME, NAME and 3 more`
    Members(&'l str),
    /// `* pong TEXT`
    Pong(&'l str),
    /// `* unknown command /WORD; …`
    Unknown(&'l str),
    /// `* NAME joined`
    Joined(&'l str),
    /// `* NAME left`, perhaps with a reason
    Left(&'l str),
    /// `* NAME is now NAME`
    Renamed(&'l str, &'l str),
    /// `[TIME] NAME: TEXT`, `#ROOM NAME: TEXT`: somebody said it before we came, or elsewhere.
    Earlier,
    /// The server ends the connection, and would end the next one: an operator wants that, or there were too many
    /// wrong tokens.
    Removed(&'l str),
    /// Another notice.
    Notice(&'l str),
    /// A line of another kind.
    Other,
}

impl<'l> Heard<'l> {
    /// Every line is something.
    pub(super) fn parse(line: &'l [u8]) -> Heard<'l> {
        let Ok(text) = std::str::from_utf8(line) else {
            // None of ours; it is shown all the same.
            return Heard::Other;
        };
        match (text.strip_prefix("* "), look(line)) {
            (Some(notice), _) => Heard::notice(notice),
            (None, Look::Named { from: 2, to }) => Heard::Said {
                name: &text[2..to],
                text: &text[to..],
                is_private: false,
            },
            (None, Look::Named { .. }) => Heard::Earlier,
            (None, Look::Said(end @ 1..)) => {
                let (name, rest) = text.split_at(end);
                Heard::Said {
                    name,
                    text: rest.split_once(": ").map_or(rest, |(_, text)| text),
                    is_private: rest.starts_with(PRIVATE),
                }
            }
            (None, Look::Said(0) | Look::Notice) => Heard::Other,
        }
    }

    fn notice(notice: &'l str) -> Heard<'l> {
        if let Some(now) = notice.strip_prefix("you are now ") {
            return Heard::NowCalled(now);
        }
        if let Some(rest) = notice.strip_prefix("you are in ") {
            return Heard::NowIn(first_word(rest));
        }
        if let Some((name, rest)) = notice
            .strip_prefix("you are ")
            .and_then(|rest| rest.split_once(" in "))
            .filter(|(name, _)| !name.contains(' '))
        {
            return Heard::Welcome {
                name,
                room: first_word(rest),
            };
        }
        if let Some((_, names)) = notice
            .strip_prefix("in ")
            .and_then(|rest| rest.split_once(": "))
        {
            return Heard::Members(names);
        }
        let removals = [
            "you were removed",
            "you are banned",
            "that is nobody's token, and",
        ];
        if removals.iter().any(|removal| notice.starts_with(removal)) {
            return Heard::Removed(notice);
        }
        if let Some(text) = notice.strip_prefix("pong ") {
            return Heard::Pong(text);
        }
        if let Some(rest) = notice.strip_prefix("unknown command /") {
            return Heard::Unknown(rest.split([';', ' ']).next().unwrap_or(rest));
        }
        let Some((name, rest)) = notice.split_once(' ') else {
            return Heard::Notice(notice);
        };
        match rest {
            "joined" => Heard::Joined(name),
            "left" => Heard::Left(name),
            "is somebody else's name" => Heard::Taken(name),
            _ if rest.starts_with("left (") => Heard::Left(name),
            _ => match rest.strip_prefix("is now ") {
                Some(new) => Heard::Renamed(name, new),
                None => Heard::Notice(notice),
            },
        }
    }
}

fn first_word(text: &str) -> &str {
    text.split(' ').next().unwrap_or(text)
}

/// Between a name and what is said to one alone.
const PRIVATE: &str = " (private): ";

/// How a line looks: who says it, or that the server does.
pub(super) fn look(line: &[u8]) -> Look {
    if line.starts_with(b"* ") {
        return Look::Notice;
    }
    // The time of what was said earlier, in brackets; or the room that an operator watches.
    let position = |mark: u8| line.iter().position(|byte| *byte == mark);
    let end = match line.first() {
        Some(b'[') => position(b']').map(|at| at + 1),
        Some(b'#') => position(b' '),
        _ => None,
    };
    let at = match end {
        Some(end) if line[end..].starts_with(b" ") => end + 1,
        _ => 0,
    };
    let rest = &line[at..];
    match rest.strip_prefix(b"~ ") {
        Some(deed) => match name_end(deed, &[" "]) {
            0 => Look::Said(0),
            end => Look::Named {
                from: at + 2,
                to: at + 2 + end,
            },
        },
        None => match (name_end(rest, &[": ", PRIVATE]), at) {
            (end, 0) => Look::Said(end),
            (0, _) => Look::Said(0),
            (end, at) => Look::Named {
                from: at,
                to: at + end,
            },
        },
    }
}

/// Where the name ends that a text begins with, if one of these follows.
fn name_end(text: &[u8], links: &[&str]) -> usize {
    let is_of_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
    let end = text.iter().position(|byte| !is_of_name(byte)).unwrap_or(0);
    let is_linked = links
        .iter()
        .any(|link| text[end..].starts_with(link.as_bytes()));
    if is_linked { end } else { 0 }
}

/// Whether this name is in a text, as a word of its own.
pub(super) fn is_said(name: &str, text: &str) -> bool {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || "-_.".contains(c)))
        .any(|word| word.trim_end_matches('.').eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_of_a_server_are_understood() {
        let said = |name, text, is_private| Heard::Said {
            name,
            text,
            is_private,
        };
        for (line, heard) in [
            ("eva: hi: there", said("eva", "hi: there", false)),
            ("eva (private): hi", said("eva", "hi", true)),
            (
                "* you are guest-1 in lobby (3 here); /help lists the commands",
                Heard::Welcome {
                    name: "guest-1",
                    room: "lobby",
                },
            ),
            ("* you are now eva", Heard::NowCalled("eva")),
            ("* you are in rust (1 here)", Heard::NowIn("rust")),
            ("* you are in rust already", Heard::NowIn("rust")),
            ("* eva is somebody else's name", Heard::Taken("eva")),
            ("* in lobby: eva, bob", Heard::Members("eva, bob")),
            ("* pong 7", Heard::Pong("7")),
            ("* pongo joined", Heard::Joined("pongo")),
            (
                "* unknown command /ping; /help lists",
                Heard::Unknown("ping"),
            ),
            ("* eva joined", Heard::Joined("eva")),
            ("* eva left", Heard::Left("eva")),
            ("* eva left (was idle)", Heard::Left("eva")),
            ("* eva is now bob", Heard::Renamed("eva", "bob")),
            (
                "* the server is stopping",
                Heard::Notice("the server is stopping"),
            ),
            ("~ eva waves", said("eva", " waves", false)),
            ("#den eva: hi", Heard::Earlier),
            (
                "* you were removed: too loud",
                Heard::Removed("you were removed: too loud"),
            ),
            (
                "* you are banned: noise in here",
                Heard::Removed("you are banned: noise in here"),
            ),
            ("[2026-11-27 20:31:05] eva: hi", Heard::Earlier),
            ("[2026-11-27 20:31:05] ~ eva waves", Heard::Earlier),
            ("hello", Heard::Other),
            ("not a name: hi", Heard::Other),
            (": hi", Heard::Other),
            ("", Heard::Other),
        ] {
            assert_eq!(Heard::parse(line.as_bytes()), heard, "{line}");
        }
        for line in [&b"eva: \xff"[..], b"* \xff", b"\xff: x"] {
            assert_eq!(Heard::parse(line), Heard::Other);
        }
    }

    #[test]
    fn who_says_a_line_is_found_and_nobody_else() {
        let named = |from, to| Look::Named { from, to };
        for (line, expected) in [
            ("eva: hi", Look::Said(3)),
            ("eva (private): hi", Look::Said(3)),
            ("~ eva waves", named(2, 5)),
            ("[2026-11-27 20:31:05] eva: hi", named(22, 25)),
            ("[2026-11-27 20:31:05] ~ eva waves", named(24, 27)),
            ("#den eva: hi", named(5, 8)),
            ("#den ~ eva waves", named(7, 10)),
            ("#den * eva joined", Look::Said(0)),
            ("#den", Look::Said(0)),
            ("[x] no name", Look::Said(0)),
            ("[x]eva: hi", Look::Said(0)),
            ("[x", Look::Said(0)),
            ("~ ", Look::Said(0)),
            ("eva", Look::Said(0)),
            ("", Look::Said(0)),
            ("* eva: hi", Look::Notice),
        ] {
            assert_eq!(look(line.as_bytes()), expected, "{line}");
        }
    }

    #[test]
    fn a_name_is_said_as_a_word_of_its_own() {
        for text in ["hi eva", "Eva, look", "(eva)", "it was eva.", "你好eva你好"] {
            assert!(is_said("eva", text), "{text}");
        }
        for text in ["evaluate", "eva-2", "", "ev a"] {
            assert!(!is_said("eva", text), "{text}");
        }
    }
}
