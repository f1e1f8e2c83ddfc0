//! What the chat says, to each member in the encoding of the endpoint that the member came by.

use encoding_rs::GBK;

use super::Chat;
use crate::service::Encoding;
use crate::turn::{ConnId, Turn};
use crate::wire::{Encode, encode_gbk};

impl Chat {
    /// To the member whose turn it is.
    pub(super) fn reply<E: Encode + ?Sized>(&self, t: &mut Turn<'_>, frame: &E) {
        self.send(t, t.id, frame);
    }

    /// To one member.
    pub(super) fn send<E: Encode + ?Sized>(&self, t: &mut Turn<'_>, to: ConnId, frame: &E) {
        match self.encoding_of(to) {
            Encoding::Utf8 => t.send(to, frame),
            Encoding::Gbk => t.send(to, &InGbk(frame)),
        }
    }

    /// To these members: it is in memory once for each encoding.
    pub(super) fn send_all<E: Encode + ?Sized>(
        &self,
        t: &mut Turn<'_>,
        to: impl Iterator<Item = ConnId> + Clone,
        frame: &E,
    ) {
        if self.in_gbk == 0 {
            return t.send_all(to, frame);
        }
        let read = |encoding| {
            let to = to.clone();
            to.filter(move |&id| self.encoding_of(id) == encoding)
        };
        t.send_all(read(Encoding::Utf8), frame);
        t.send_all(read(Encoding::Gbk), &InGbk(frame));
    }

    fn encoding_of(&self, id: ConnId) -> Encoding {
        if self.in_gbk == 0 {
            return Encoding::Utf8;
        }
        let member = self.members.get(id);
        member.map_or(Encoding::Utf8, |member| member.encoding)
    }
}

/// A line of a member in UTF-8. What is not in the encoding of the member, half a character at the end among it,
/// is U+FFFD in the text.
pub(super) fn decoded(encoding: Encoding, line: &[u8]) -> std::borrow::Cow<'_, [u8]> {
    match encoding {
        Encoding::Utf8 => line.into(),
        Encoding::Gbk => match GBK.decode_without_bom_handling(line).0 {
            std::borrow::Cow::Borrowed(text) => text.as_bytes().into(),
            std::borrow::Cow::Owned(text) => text.into_bytes().into(),
        },
    }
}

/// The same in GBK; what that lacks is `?`.
struct InGbk<'e, E: ?Sized>(&'e E);

impl<E: Encode + ?Sized> Encode for InGbk<'_, E> {
    fn encode(&self, out: &mut Vec<u8>) {
        let mut utf8 = Vec::new();
        self.0.encode(&mut utf8);
        for chunk in utf8.utf8_chunks() {
            encode_gbk(chunk.valid(), out);
        }
    }
}
