//! `/ignore`: who does not hear whom.

use super::Chat;
use super::notice::Notice;
use crate::turn::{ConnId, Turn};

/// How many others a member ignores at most: who has more enemies goes to another room.
pub const IGNORED_MAX: usize = 64;

impl Chat {
    /// Whether one member does not want to hear another: nearly nobody is ignored, which costs one look.
    pub(super) fn is_deaf_to(&self, id: ConnId, speaker: ConnId) -> bool {
        let member = self.members.get(id);
        member.is_some_and(|member| member.ignores.contains(&speaker))
    }

    /// The member whose turn it is hears no more of `other`, who is not told.
    pub(super) fn ignore(&mut self, t: &mut Turn<'_>, other: ConnId) {
        let (Some(member), Some(name)) = (self.members.get(t.id), self.name_of(other)) else {
            return;
        };
        if member.ignores.contains(&other) {
            return self.reply(t, &Notice(format_args!("you ignore {name} already")));
        }
        let mut ignores = member.ignores.clone();
        if ignores.len() >= IGNORED_MAX {
            // Some may have left.
            ignores.retain(|&id| self.members.get(id).is_some());
        }
        if ignores.len() >= IGNORED_MAX {
            return self.reply(
                t,
                &Notice(format_args!(
                    "you ignore {IGNORED_MAX} already, and no more can be ignored"
                )),
            );
        }
        ignores.push(other);
        if let Some(member) = self.members.get_mut(t.id) {
            member.ignores = ignores;
        }
        if let Some(ignored) = self.members.get_mut(other) {
            ignored.ignored_by += 1;
        }
        self.reply(
            t,
            &Notice(format_args!(
                "you ignore {name} until one of you leaves; /unignore {name} ends that"
            )),
        );
    }

    /// The member whose turn it is hears `other` again.
    pub(super) fn unignore(&mut self, t: &mut Turn<'_>, other: ConnId) {
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
