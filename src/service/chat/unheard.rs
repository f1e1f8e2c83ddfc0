use std::collections::HashMap;

use super::name::Name;
use crate::turn::ConnId;

/// Members of other servers whom members of this one do not hear: by name, which is one person's on all servers.
///
/// A name is followed when its holder is called otherwise, as rooms are told of it. Whoever takes a name that is in
/// here is somebody else than the one who had it, and is heard.
#[derive(Debug, Default)]
pub(super) struct Unheard(HashMap<ConnId, Vec<Name>>);

impl Unheard {
    /// Whether all hear all.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whom a member does not hear.
    pub(super) fn of(&self, id: ConnId) -> &[Name] {
        self.0.get(&id).map_or(&[], |names| names)
    }

    /// Whether a member does not hear whoever has this name.
    pub(super) fn is_deaf(&self, id: ConnId, name: Name) -> bool {
        self.of(id).iter().any(|one| one.key() == name.key())
    }

    /// A member hears no more of whoever has this name.
    pub(super) fn add(&mut self, id: ConnId, name: Name) {
        self.0.entry(id).or_default().push(name);
    }

    /// A member hears them again; whether they were ignored.
    pub(super) fn remove(&mut self, id: ConnId, name: Name) -> bool {
        let was = self.is_deaf(id, name);
        if was {
            self.retain(|member, one| member != id || one.key() != name.key());
        }
        was
    }

    /// A member has left.
    pub(super) fn forget(&mut self, id: ConnId) {
        self.0.remove(&id);
    }

    /// Follows those who are called otherwise now, as these lines say.
    pub(super) fn heed(&mut self, lines: &[u8]) {
        if self.is_empty() {
            return;
        }
        for line in lines.split(|&byte| byte == b'\n') {
            if let Some((old, new)) = renaming(line) {
                self.renamed(old, new);
            }
        }
    }

    fn renamed(&mut self, old: Name, new: Name) {
        let is = |name: &Name, other: Name| name.key() == other.key();
        for names in self.0.values_mut() {
            if old.key() != new.key() {
                names.retain(|name| !is(name, new));
            }
            let same = names.iter_mut().filter(|name| is(name, old));
            same.for_each(|name| *name = new);
        }
        self.retain(|_, _| true);
    }

    fn retain(&mut self, keeps: impl Fn(ConnId, Name) -> bool) {
        self.0.retain(|&id, names| {
            names.retain(|&name| keeps(id, name));
            !names.is_empty()
        });
    }

    /// What of these lines is heard by each member who does not hear all of them.
    pub(super) fn heard(&self, lines: &[u8]) -> HashMap<ConnId, Vec<u8>> {
        if self.is_empty() {
            return HashMap::new();
        }
        let each = || lines.split_inclusive(|&byte| byte == b'\n');
        let authors: Vec<Name> = each().filter_map(author).collect();
        let deaf = self
            .0
            .keys()
            .filter(|id| authors.iter().any(|&name| self.is_deaf(**id, name)));
        deaf.map(|&id| {
            let hears = |line: &&[u8]| !author(line).is_some_and(|name| self.is_deaf(id, name));
            (id, each().filter(hears).flatten().copied().collect())
        })
        .collect()
    }
}

/// Lines, each part of which ends where somebody is called otherwise: behind it, names mean others.
pub(super) fn until_each_renaming(lines: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = lines;
    std::iter::from_fn(move || {
        let mut end = 0;
        for line in rest.split_inclusive(|&byte| byte == b'\n') {
            end += line.len();
            if renaming(line.trim_ascii_end()).is_some() {
                break;
            }
        }
        let (part, behind) = rest.split_at(end);
        rest = behind;
        (!part.is_empty()).then_some(part)
    })
}

/// Who says a line of a room, or does what it tells; nobody says a notice.
fn author(line: &[u8]) -> Option<Name> {
    let end = |of: &[u8], mark: &[u8]| of.windows(mark.len()).position(|at| at == mark);
    if let Some(deed) = line.strip_prefix(b"~ ") {
        return Name::parse(&deed[..end(deed, b" ")?]);
    }
    Name::parse(&line[..end(line, b": ")?])
}

/// Who is called otherwise from now on, and how, if a line says that: no notice that has a member's words begins so.
fn renaming(line: &[u8]) -> Option<(Name, Name)> {
    const LINK: &str = " is now ";
    let (old, new) = std::str::from_utf8(line.strip_prefix(b"* ")?)
        .ok()?
        .split_once(LINK)?;
    Some((Name::parse(old.as_bytes())?, Name::parse(new.as_bytes())?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANN: ConnId = ConnId {
        slot: 1,
        generation: 1,
    };
    const BOB: ConnId = ConnId {
        slot: 2,
        generation: 1,
    };

    fn name(text: &str) -> Name {
        Name::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn lines_and_deeds_are_not_heard_and_notices_are() {
        let mut unheard = Unheard::default();
        let lines = b"eva: hi\n~ Eva waves\n* eva left\nbob: eva: no\n";
        assert!(unheard.heard(lines).is_empty());
        unheard.add(ANN, name("EVA"));
        unheard.add(BOB, name("carl"));
        let heard = unheard.heard(lines);
        assert_eq!(heard.len(), 1, "who hears all of it needs no copy");
        assert_eq!(heard[&ANN], b"* eva left\nbob: eva: no\n");
        assert!(unheard.remove(ANN, name("eva")) && !unheard.remove(ANN, name("eva")));
        unheard.forget(BOB);
        assert!(unheard.is_empty());
    }

    #[test]
    fn a_name_is_followed_and_whoever_takes_it_later_is_heard() {
        let mut unheard = Unheard::default();
        unheard.add(ANN, name("eva"));
        unheard.heed(b"eva: * eva is now bob\n* eva set the topic: eva is now bob\n* eva left\n");
        assert!(unheard.is_deaf(ANN, name("eva")));
        unheard.heed(b"* eva is now Bob\n");
        assert!(unheard.is_deaf(ANN, name("bob")) && !unheard.is_deaf(ANN, name("eva")));
        unheard.heed(b"* Bob is now bob\n");
        assert_eq!(unheard.of(ANN), [name("bob")]);
        unheard.heed(b"* guest-1 is now BOB\n");
        assert!(unheard.is_empty(), "whoever was called so has gone");
    }

    #[test]
    fn lines_are_cut_behind_each_renaming() {
        let cut = |lines: &'static str| {
            let parts = until_each_renaming(lines.as_bytes());
            parts
                .map(|part| String::from_utf8_lossy(part).into_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(cut(""), [""; 0]);
        assert_eq!(cut("a: 1\n* b left\n"), ["a: 1\n* b left\n"]);
        let both = cut("a: 1\n* a is now b\nb: 2\n* b is now c\n");
        assert_eq!(both, ["a: 1\n* a is now b\n", "b: 2\n* b is now c\n"]);
    }
}
