//! What is to be kept by the bus, until it has come back.

use std::collections::VecDeque;
use std::time::Duration;

use super::setup::MESSAGE_BYTES_MAX;
use super::subjects::Topic;
use crate::turn::{ConnId, Moment};

/// How much may wait to be kept by the bus, in bytes. When it is there, who speaks waits at this; when it is away,
/// what is said beyond it is lost to others.
pub(in super::super) const KEPT_BYTES_MAX: usize = 1024 * 1024;

/// Bans, topics and changes of names have so much room besides: nobody would hear that they were lost.
const ASIDE_BYTES: usize = 64 * 1024;

/// Who waits goes on below this.
const GOES_ON_BYTES: usize = KEPT_BYTES_MAX / 2;

/// Lines of one room go together up to here: one message of it is under way at a time, so that they stay in order.
const TOGETHER_BYTES_MAX: usize = 16 * 1024;

/// How many messages are looked at for one that may go: as many rooms can have one under way.
const LOOKED_AT_MAX: usize = 64;

/// How long the bus has to keep a message, before it is sent again by the same id.
const AGAIN: Duration = Duration::from_secs(3);

/// What is to be kept by the bus, and was not seen to come back, in the order in which it was said.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    pending: VecDeque<Pending>,
    bytes: usize,
    count: u64,
    /// Somebody waits for room.
    is_waited_for: bool,
}

/// A message that is to be kept.
#[derive(Debug)]
pub(in super::super) struct Pending {
    /// Its number, which makes its id.
    pub(super) number: u64,
    pub(in super::super) topic: Topic,
    pub(in super::super) payload: Vec<u8>,
    /// Whose are the pieces of the payload.
    pub(in super::super) segments: Vec<Segment>,
    /// Since when it is under way.
    sent: Option<Moment>,
    /// Those who are on this server have it already: it was said while the bus was away.
    pub(in super::super) is_shown: bool,
}

/// A piece of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Segment {
    /// Who is not told: it is their own.
    pub(in super::super) speaker: Option<ConnId>,
    /// How long it is.
    pub(in super::super) len: usize,
    /// How many were said that are together in it.
    pub(in super::super) pieces: u32,
}

impl Outgoing {
    /// How much waits, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    fn has_room(&self, bytes: usize, most: usize) -> bool {
        self.bytes + bytes <= most
    }

    /// Whether one more message of this size can be kept, of a speaker or of the server itself.
    pub(super) fn takes(&self, bytes: usize, has_speaker: bool) -> bool {
        let most = KEPT_BYTES_MAX + if has_speaker { 0 } else { ASIDE_BYTES };
        bytes <= MESSAGE_BYTES_MAX && self.has_room(bytes, most)
    }

    /// Whether who speaks is to wait until there is room.
    pub(super) fn holds(&mut self) -> bool {
        let holds = !self.has_room(2 * MESSAGE_BYTES_MAX, KEPT_BYTES_MAX);
        self.is_waited_for |= holds;
        holds
    }

    /// Whether those who waited for room may go on now: once.
    pub(super) fn gives_room(&mut self) -> bool {
        self.bytes <= GOES_ON_BYTES && std::mem::take(&mut self.is_waited_for)
    }

    /// One piece more, behind everything else.
    pub(super) fn push(
        &mut self,
        topic: Topic,
        speaker: Option<ConnId>,
        bytes: &[u8],
        is_shown: bool,
    ) {
        self.bytes += bytes.len();
        let segment = Segment {
            speaker,
            len: bytes.len(),
            pieces: 1,
        };
        let fits = |last: &&mut Pending| {
            last.topic == topic
                && last.sent.is_none()
                && last.is_shown == is_shown
                && matches!(topic, Topic::Room(_))
                && last.payload.len() + bytes.len() <= TOGETHER_BYTES_MAX
        };
        if let Some(last) = self.pending.back_mut().filter(fits) {
            last.payload.extend_from_slice(bytes);
            match last.segments.last_mut() {
                Some(before) if before.speaker == speaker => {
                    before.len += bytes.len();
                    before.pieces += 1;
                }
                _ => last.segments.push(segment),
            }
            return;
        }
        self.count += 1;
        self.pending.push_back(Pending {
            number: self.count,
            topic,
            payload: bytes.to_vec(),
            segments: vec![segment],
            sent: None,
            is_shown,
        });
    }

    /// The next message that may go: the first of its topic, if none of that is under way.
    pub(super) fn next(&mut self, now: Moment) -> Option<&Pending> {
        let looked_at = self.pending.len().min(LOOKED_AT_MAX);
        let at = (0..looked_at).find(|&n| {
            let this = &self.pending[n];
            let mut before = self.pending.iter().take(n);
            this.sent.is_none() && before.all(|earlier| earlier.topic != this.topic)
        })?;
        self.pending[at].sent = Some(now);
        self.pending.get(at)
    }

    /// Takes out a message that has come back, or never will.
    pub(super) fn take(&mut self, number: u64) -> Option<Pending> {
        let at = self
            .pending
            .iter()
            .position(|pending| pending.number == number)?;
        let taken = self.pending.remove(at)?;
        self.bytes -= taken.payload.len();
        Some(taken)
    }

    /// Nothing is under way any more: all that has not come back goes again, by the same ids.
    pub(super) fn send_all_again(&mut self) {
        self.pending
            .iter_mut()
            .for_each(|pending| pending.sent = None);
    }

    /// Those that have been under way for too long go again.
    pub(super) fn send_late_again(&mut self, now: Moment) {
        for pending in &mut self.pending {
            pending.sent = pending.sent.filter(|sent| sent.after(AGAIN) > now);
        }
    }

    /// Those that nobody has been shown yet, who are told now.
    pub(super) fn show(&mut self) -> impl Iterator<Item = &Pending> {
        self.pending.iter_mut().filter_map(|pending| {
            (!std::mem::replace(&mut pending.is_shown, true)).then_some(&*pending)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::name::Name;
    use super::*;

    fn room(name: &str) -> Topic {
        Topic::Room(Name::parse(name.as_bytes()).unwrap())
    }

    fn someone(slot: u32) -> Option<ConnId> {
        Some(ConnId {
            slot,
            generation: 1,
        })
    }

    #[test]
    fn one_message_of_a_room_is_under_way_and_what_comes_meanwhile_goes_together() {
        let mut outgoing = Outgoing::default();
        let now = Moment::START;
        let number = |outgoing: &mut Outgoing| outgoing.next(now).map(|next| next.number);
        outgoing.push(room("a"), someone(1), b"1\n", false);
        assert_eq!(number(&mut outgoing), Some(1));
        outgoing.push(room("a"), someone(1), b"2\n", false);
        outgoing.push(room("a"), someone(1), b"3\n", false);
        outgoing.push(room("a"), someone(2), b"4\n", false);
        outgoing.push(room("b"), someone(2), b"5\n", false);
        assert_eq!(number(&mut outgoing), Some(3), "another room need not wait");
        assert_eq!(number(&mut outgoing), None);
        assert_eq!(outgoing.bytes(), 10);
        assert!(outgoing.take(1).is_some() && outgoing.take(1).is_none());
        assert_eq!(number(&mut outgoing), Some(2));
        let taken = outgoing.take(2).unwrap();
        assert_eq!(taken.payload, b"2\n3\n4\n");
        let whose = taken.segments.iter().map(|s| (s.speaker, s.len, s.pieces));
        assert_eq!(
            whose.collect::<Vec<_>>(),
            [(someone(1), 4, 2), (someone(2), 2, 1)]
        );
        outgoing.send_late_again(now.after(AGAIN / 2));
        assert_eq!(number(&mut outgoing), None);
        outgoing.send_late_again(now.after(AGAIN));
        assert_eq!(number(&mut outgoing), Some(3), "by the same number");
        assert!(outgoing.take(3).is_some() && outgoing.is_empty() && outgoing.bytes() == 0);
    }

    #[test]
    fn what_was_shown_is_shown_once_and_not_mixed_with_what_was_not() {
        let mut outgoing = Outgoing::default();
        outgoing.push(room("a"), None, b"1\n", false);
        assert_eq!(outgoing.show().count(), 1);
        assert_eq!(outgoing.show().count(), 0);
        outgoing.push(room("a"), None, b"2\n", true);
        outgoing.push(room("a"), None, b"3\n", false);
        let shown: Vec<u64> = outgoing.show().map(|pending| pending.number).collect();
        assert_eq!(shown, [2]);
        let has_room = |bytes| outgoing.has_room(bytes, KEPT_BYTES_MAX);
        assert!(has_room(KEPT_BYTES_MAX - 6) && !has_room(KEPT_BYTES_MAX - 5));
        assert!(outgoing.takes(MESSAGE_BYTES_MAX, true));
        assert!(!outgoing.takes(MESSAGE_BYTES_MAX + 1, false));
    }

    #[test]
    fn who_waits_for_room_goes_on_when_half_of_it_is_free() {
        let mut outgoing = Outgoing::default();
        let line = vec![b'x'; MESSAGE_BYTES_MAX];
        let mut count = 0_u64;
        while !outgoing.holds() {
            outgoing.push(Topic::Ban(String::new()), None, &line, false);
            count += 1;
        }
        assert_eq!(count as usize, KEPT_BYTES_MAX / MESSAGE_BYTES_MAX - 1);
        let mut went_on = Vec::new();
        for number in 1..=count {
            outgoing.take(number).unwrap();
            went_on.extend(outgoing.gives_room().then_some(outgoing.bytes()));
        }
        assert_eq!(went_on, [GOES_ON_BYTES]);
    }
}
