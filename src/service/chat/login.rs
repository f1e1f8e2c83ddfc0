//! `/login`: names that belong to somebody, and who proves that.

use super::Chat;
use super::name::Name;
use super::notice::Notice;
use super::owned::LOGIN_TRIES;
use crate::turn::{ConnId, Fault, Turn};

impl Chat {
    /// The member whose turn it is has a token, and takes the name that it is of: from whoever has it now, who is
    /// its owner on another connection, or had it before it belonged to anybody. Nothing of the token is said,
    /// kept, or told to anybody.
    pub(super) fn log_in(&mut self, t: &mut Turn<'_>, token: &[u8]) -> Result<(), Fault> {
        if self.owned.is_empty() {
            self.reply(t, &Notice(format_args!("no name belongs to anybody here")));
            return Ok(());
        }
        if token.is_empty() {
            self.reply(t, &Notice(format_args!("/login TOKEN")));
            return Ok(());
        }
        let Some(name) = self.owned.of_token(token) else {
            return self.count_wrong_token(t);
        };
        let holder = self.names.get(&name.key()).copied();
        if let Some(holder) = holder.filter(|&id| id != t.id) {
            self.lose_name(t, holder);
        }
        if self.name_of(t.id) != Some(name) && self.claims(t, name, true) {
            return Ok(());
        }
        if self.name_of(t.id) == Some(name) {
            self.reply(
                t,
                &Notice(format_args!("you are {name}, who it belongs to")),
            );
        } else {
            self.call(t, t.id, name);
        }
        if let Some(member) = self.members.get_mut(t.id) {
            (member.is_owner, member.wrong_tokens) = (true, 0);
        }
        Ok(())
    }

    fn count_wrong_token(&mut self, t: &mut Turn<'_>) -> Result<(), Fault> {
        let Some(member) = self.members.get_mut(t.id) else {
            return Ok(());
        };
        member.wrong_tokens += 1;
        if member.wrong_tokens >= LOGIN_TRIES {
            self.reply(
                t,
                &Notice(format_args!(
                    "that is nobody's token, and you have tried enough"
                )),
            );
            return Err(Fault::Refused("wrong tokens"));
        }
        self.reply(t, &Notice(format_args!("that is nobody's token")));
        Ok(())
    }

    /// A member has the name of somebody else no more, and is told by which name it goes on.
    pub(super) fn lose_name(&mut self, t: &mut Turn<'_>, id: ConnId) {
        self.lose_name_to(t, id, "belongs to somebody, who has a token for it");
    }

    /// The same, for this reason.
    pub(super) fn lose_name_to(&mut self, t: &mut Turn<'_>, id: ConnId, why: &str) {
        let Some(lost) = self.name_of(id) else {
            return;
        };
        let guest = self.guest();
        self.send(t, id, &Notice(format_args!("{lost} {why}")));
        self.call(t, id, guest);
    }

    /// Whether a member goes by a name that belongs to somebody else: it was taken before that was so.
    pub(super) fn is_impostor(&self, id: ConnId) -> bool {
        let member = self.members.get(id);
        member.is_some_and(|member| !member.is_owner && self.owned.has(member.name))
    }

    /// A member is called this from now on, and the room is told.
    pub(super) fn call(&mut self, t: &mut Turn<'_>, id: ConnId, new: Name) {
        let Some(member) = self.members.get_mut(id) else {
            return;
        };
        let (old, room) = (member.name, member.room);
        (member.name, member.is_owner) = (new, false);
        if old.key() != new.key() {
            self.release_name(t, id, old);
        }
        self.names.remove(&old.key());
        self.names.insert(new.key(), id);
        self.send(t, id, &Notice(format_args!("you are now {new}")));
        self.tell_room(
            t,
            room,
            Some(id),
            &Notice(format_args!("{old} is now {new}")),
        );
    }
}
