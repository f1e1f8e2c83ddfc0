use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::heard::Heard;
use crate::cli::conversation::Completions;

/// How many names are remembered.
const NAMES_MAX: usize = 10_000;

/// The commands of a server, with what follows them.
const COMMANDS: &[&str] = &[
    "/away ",
    "/ban ",
    "/bans",
    "/help",
    "/ignore ",
    "/join ",
    "/kick ",
    "/list",
    "/login ",
    "/me ",
    "/msg ",
    "/nick ",
    "/part",
    "/ping ",
    "/quit",
    "/rooms",
    "/topic ",
    "/unban ",
    "/unignore ",
    "/unwatch ",
    "/watch ",
    "/who",
    "/whois ",
];

/// Who is here, as far as it was heard: what a word may become.
#[derive(Debug, Default)]
pub(super) struct People {
    /// Each name as it is written, by itself in small letters.
    names: Mutex<BTreeMap<String, String>>,
}

impl People {
    /// Learns from what was heard.
    pub(super) fn hear(&self, heard: &Heard<'_>) {
        match heard {
            Heard::Said { name, .. } | Heard::Joined(name) => self.add(name),
            Heard::Left(name) => self.remove(name),
            Heard::Renamed(old, new) => {
                self.remove(old);
                self.add(new);
            }
            Heard::Members(names) => {
                let names = names.split(" and ").next().unwrap_or(names);
                names.split(", ").for_each(|name| self.add(name));
            }
            Heard::Welcome { .. } | Heard::NowIn(_) => self.names().clear(),
            _ => {}
        }
    }

    /// What the last word of a line, up to the cursor, may become.
    pub(super) fn complete(&self, line: &str) -> Completions {
        let at = line.rfind(' ').map_or(0, |space| space + 1);
        let word = &line[at..];
        if at == 0 && word.starts_with('/') {
            let words = COMMANDS.iter().filter(|command| command.starts_with(word));
            return Completions {
                at,
                words: words.map(|&command| command.to_owned()).collect(),
            };
        }
        let begin = word.to_ascii_lowercase();
        let names = self.names();
        let names = names
            .range(begin.clone()..)
            .take_while(|(key, _)| key.starts_with(&begin));
        // Who is spoken to stands first.
        let behind = if at == 0 { ": " } else { " " };
        Completions {
            at,
            words: names.map(|(_, name)| format!("{name}{behind}")).collect(),
        }
    }

    fn add(&self, name: &str) {
        let mut names = self.names();
        if !name.is_empty() && names.len() < NAMES_MAX {
            names.insert(name.to_ascii_lowercase(), name.to_owned());
        }
    }

    fn remove(&self, name: &str) {
        self.names().remove(&name.to_ascii_lowercase());
    }

    fn names(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_completed_from_what_was_heard_and_commands_at_the_beginning() {
        let people = People::default();
        let hear = |line: &str| people.hear(&Heard::parse(line.as_bytes()));
        let complete = |line: &str| {
            let Completions { at, words } = people.complete(line);
            (at, words)
        };
        for line in [
            "* in lobby: Eva, bob, evan and 7 more",
            "* ann joined",
            "eve: hi",
            "* bob is now Bo",
            "* evan left (was idle)",
        ] {
            hear(line);
        }
        let words = |words: &[&str]| {
            words
                .iter()
                .map(|&word| word.to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(complete("ev"), (0, words(&["Eva: ", "eve: "])));
        assert_eq!(complete("hi EV"), (3, words(&["Eva ", "eve "])));
        assert_eq!(complete("b"), (0, words(&["Bo: "])));
        assert_eq!(complete("/msg a"), (5, words(&["ann "])));
        assert_eq!(complete("/j"), (0, words(&["/join "])));
        assert_eq!(complete("7"), (0, words(&[])));
        hear("* you are in rust (1 here)");
        assert_eq!(complete("e"), (0, words(&[])));
    }
}
