use std::fmt;
use std::io::Write;

use super::name::Name;
use super::room::Room;
use crate::wire::{Encode, neutralise};

/// A line of the server's own: `* ` and a sentence.
///
/// Whatever a peer sent that is shown in one comes as a [`Name`] or through
/// [`Escaped`](crate::wire::Escaped).
pub(super) struct Notice<'a>(pub(super) fmt::Arguments<'a>);

impl Encode for Notice<'_> {
    fn encode(&self, out: &mut Vec<u8>) {
        writeln!(out, "* {}", self.0).expect("memory takes every byte");
    }
}

/// The answer to `/ping`: the text that came with it, with nothing in it that acts.
pub(super) struct Pong<'a>(pub(super) &'a [u8]);

impl Encode for Pong<'_> {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"* pong");
        if !self.0.is_empty() {
            out.push(b' ');
            neutralise(self.0, out);
        }
        out.push(b'\n');
    }
}

/// What a room is about.
pub(super) struct Topic<'a>(pub(super) &'a Room);

impl Encode for Topic<'_> {
    fn encode(&self, out: &mut Vec<u8>) {
        let Room { name, topic, .. } = self.0;
        Notice(format_args!("topic of {name}: {topic}")).encode(out);
    }
}

/// How many lines a member was not sent who did not read.
pub(super) struct Dropped(pub(super) u64);

const DROPPED: &str = "lines dropped, since you did not read them: ";

impl Encode for Dropped {
    fn encode(&self, out: &mut Vec<u8>) {
        Notice(format_args!("{DROPPED}{}", self.0)).encode(out);
    }
}

/// How many lines a line says were dropped, if it does: nobody else says a line that begins so.
pub(super) fn dropped_lines(line: &[u8]) -> Option<u64> {
    let rest = line.strip_prefix(b"* ")?.strip_prefix(DROPPED.as_bytes())?;
    std::str::from_utf8(rest).ok()?.trim_end().parse().ok()
}

/// What somebody does, as `/me` says it: no name begins with a tilde, so nobody can say such a line of another.
pub(super) struct Deed<'a>(pub(super) &'a Name, pub(super) &'a [u8]);

impl Encode for Deed<'_> {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"~ ");
        out.extend_from_slice(self.0.as_bytes());
        out.push(b' ');
        neutralise(self.1, out);
        out.push(b'\n');
    }
}

/// A line that somebody said: the name, a colon, and the text with nothing in it that acts.
pub(super) struct Words<'a> {
    pub(super) name: &'a Name,
    /// What stands between the name and the text. No name has a space, so nobody can say a line that
    /// looks as if it were private.
    pub(super) link: &'static [u8],
    pub(super) text: &'a [u8],
}

/// Between the name and what is said in a room.
pub(super) const ALOUD: &[u8] = b": ";

/// Between the name and what is said to one member alone.
pub(super) const IN_PRIVATE: &[u8] = b" (private): ";

impl Encode for Words<'_> {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.name.as_bytes());
        out.extend_from_slice(self.link);
        neutralise(self.text, out);
        out.push(b'\n');
    }
}
