//! `/ignore`: who does not hear whom.

use super::Chat;
use super::bus::Question;
use super::name::Name;
use super::notice::Notice;
use crate::turn::{ConnId, Turn};
use crate::wire::Encode;

/// How many others a member ignores at most: who has more enemies goes to another room.
pub const IGNORED_MAX: usize = 64;

impl Chat {
    /// Whether one member does not want to hear another: nearly nobody is ignored, which costs one look.
    pub(super) fn is_deaf_to(&self, id: ConnId, speaker: ConnId) -> bool {
        let member = self.members.get(id);
        member.is_some_and(|member| member.ignores.contains(&speaker))
    }

    /// The member whose turn it is hears no more of whoever has this name, here or on another server.
    pub(super) fn ignore(&mut self, t: &mut Turn<'_>, text: &[u8]) {
        if self.find(text).is_none()
            && let Some(name) = Name::parse(text)
        {
            if self.unheard.is_deaf(t.id, name) {
                return self.reply(t, &Notice(format_args!("you ignore {name} already")));
            }
            if self.asks(t, Question::Find(name.to_string())) {
                return;
            }
        }
        if let Some(other) = self.other(t, text) {
            self.ignore_here(t, other);
        }
    }

    /// The member whose turn it is hears them again.
    pub(super) fn unignore(&mut self, t: &mut Turn<'_>, text: &[u8]) {
        if let Some(name) = Name::parse(text)
            && self.unheard.remove(t.id, name)
        {
            return self.reply(t, &Notice(format_args!("you hear {name} again")));
        }
        if let Some(other) = self.other(t, text) {
            self.unignore_here(t, other);
        }
    }

    /// A member hears no more of somebody whom another server has found.
    pub(super) fn ignore_elsewhere(&mut self, t: &mut Turn<'_>, id: ConnId, name: Name) {
        let Some(member) = self.members.get(id) else {
            return;
        };
        let here = member.ignores.iter();
        let here = here.filter(|&&other| self.members.get(other).is_some());
        if here.count() + self.unheard.of(id).len() >= IGNORED_MAX {
            return self.send(t, id, &TooMany);
        }
        if !self.unheard.is_deaf(id, name) {
            self.unheard.add(id, name);
        }
        self.send(t, id, &Ignores(name));
    }

    /// The same, of a member of this server, who is not told.
    fn ignore_here(&mut self, t: &mut Turn<'_>, other: ConnId) {
        let (Some(member), Some(name)) = (self.members.get(t.id), self.name_of(other)) else {
            return;
        };
        if member.ignores.contains(&other) {
            return self.reply(t, &Notice(format_args!("you ignore {name} already")));
        }
        let mut all = member.ignores.clone();
        let elsewhere = self.unheard.of(t.id).len();
        if all.len() + elsewhere >= IGNORED_MAX {
            // Some may have left.
            all.retain(|&id| self.members.get(id).is_some());
        }
        if all.len() + elsewhere >= IGNORED_MAX {
            return self.reply(t, &TooMany);
        }
        all.push(other);
        if let Some(member) = self.members.get_mut(t.id) {
            member.ignores = all;
        }
        if let Some(ignored) = self.members.get_mut(other) {
            ignored.ignored_by += 1;
        }
        self.reply(t, &Ignores(name));
    }

    /// The member whose turn it is hears `other` again.
    fn unignore_here(&mut self, t: &mut Turn<'_>, other: ConnId) {
        let (Some(name), Some(member)) = (self.name_of(other), self.members.get_mut(t.id)) else {
            return;
        };
        let before = member.ignores.len();
        member.ignores.retain(|&id| id != other);
        if member.ignores.len() == before {
            return self.reply(t, &Notice(format_args!("you do not ignore {name}")));
        }
        member.ignores.shrink_to_fit();
        self.ignores_no_more(other);
        self.reply(t, &Notice(format_args!("you hear {name} again")));
    }

    /// One member less ignores this one.
    pub(super) fn ignores_no_more(&mut self, other: ConnId) {
        if let Some(ignored) = self.members.get_mut(other) {
            ignored.ignored_by -= 1;
        }
    }
}

/// Says that somebody is not heard any more.
struct Ignores(Name);

impl Encode for Ignores {
    fn encode(&self, out: &mut Vec<u8>) {
        let name = self.0;
        let words =
            format_args!("you ignore {name} until one of you leaves; /unignore {name} ends that");
        Notice(words).encode(out);
    }
}

/// Says that nobody else can be ignored.
struct TooMany;

impl Encode for TooMany {
    fn encode(&self, out: &mut Vec<u8>) {
        let words = format_args!("you ignore {IGNORED_MAX} already, and no more can be ignored");
        Notice(words).encode(out);
    }
}
