use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use crate::wire::IpmsgPacket;

/// How many messages of one person are remembered: as many as the original remembers of all.
const REMEMBERED_MAX: usize = 32;

/// How long one is remembered. Every program has given up long before that.
const REMEMBERED_FOR: Duration = Duration::from_secs(60);

/// How often one message is acknowledged: more often than any program sends one, and no more for a storm of the same
/// (fault E13).
pub const IPMSG_ACKNOWLEDGEMENTS_MAX: u32 = 8;

/// What of one person's messages has come already.
///
/// Two are the same if their number and what they say are. The number alone does not do: the tutorials give all their
/// messages the number 111.
#[derive(Debug, Default)]
pub(super) struct Seen(VecDeque<One>);

#[derive(Debug)]
struct One {
    number: u32,
    content: u64,
    at: Duration,
    times: u32,
}

impl Seen {
    /// How often it has come, this time included.
    pub(super) fn count(&mut self, now: Duration, packet: &IpmsgPacket<'_>) -> u32 {
        let is_old = |one: &One| now.saturating_sub(one.at) > REMEMBERED_FOR;
        while self.0.front().is_some_and(is_old) {
            self.0.pop_front();
        }
        let mut content = DefaultHasher::new();
        (packet.user, packet.host, packet.additional, packet.fields).hash(&mut content);
        let (number, content) = (packet.number, content.finish());
        let known = self.0.iter_mut();
        let mut known = known.filter(|one| (one.number, one.content) == (number, content));
        if let Some(one) = known.next() {
            one.times = one.times.saturating_add(1);
            return one.times;
        }
        if self.0.len() == REMEMBERED_MAX {
            self.0.pop_front();
        }
        self.0.push_back(One {
            number,
            content,
            at: now,
            times: 1,
        });
        1
    }
}
