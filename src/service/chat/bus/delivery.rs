//! What the bus delivers of what it has kept: how far that was seen, and whether something was lost on the way.
//!
//! A stream of JetStream gives each message a place. A consumer delivers them in order, and counts: from a gap in its
//! count on, what it delivers counts no more, and another one begins behind the last place that was seen.

use std::collections::VecDeque;
use std::time::Duration;

use crate::turn::Moment;
use crate::wire::{JetStreamPosition, NatsMessage};

/// A consumer that says nothing for so long is not there; it does [so often](super::setup).
const SILENCE: Duration = Duration::from_millis(3500);

/// How many of the newest messages are known again: as many as a leader can be behind, and more.
const KNOWN_MAX: usize = 4096;

/// How far it is.
#[derive(Debug)]
pub(super) struct Delivery {
    stream: Stream,
    consumer: Consumer,
}

/// What was kept.
#[derive(Debug, Default)]
struct Stream {
    created: String,
    /// The place of the newest message that was seen.
    last: u64,
    /// What has this place, or one before it, was kept before this server came.
    begins: u64,
    /// The place and the time of the newest messages that were seen: no other message has both.
    known: VecDeque<(u64, u64)>,
    /// What has this place, or one before it, may have been seen: the stream was left here to be read again.
    doubtful: u64,
}

/// What delivers it.
#[derive(Debug)]
struct Consumer {
    /// Which: what one before it delivers counts no more.
    number: u64,
    /// How many messages it has delivered.
    delivered: u64,
    /// It has lost one: what it delivers counts no more.
    is_void: bool,
    /// Nothing was behind what it has delivered last.
    is_level: bool,
    heard: Moment,
}

/// What came of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Delivered {
    /// Nothing that matters.
    Nothing,
    /// Something before it was lost.
    Gap,
    /// A message.
    Message {
        /// It was not seen before.
        is_new: bool,
        /// It was kept before this server came.
        is_earlier: bool,
        /// When it was kept, in nanoseconds since 1970.
        nanos: u64,
        /// There are none behind it.
        is_last: bool,
    },
}

impl Delivery {
    /// Nothing was seen, and no consumer was made.
    pub(super) fn new() -> Delivery {
        Delivery {
            stream: Stream::default(),
            consumer: Consumer::new(0, Moment::START),
        }
    }

    /// The stream is there, made at this time, and has messages up to this place.
    pub(super) fn found(&mut self, created: String, last: u64) {
        if self.stream.created.is_empty() {
            self.stream.begins = last;
        } else if self.stream.created != created && last < self.stream.last {
            // It was made anew; or another leader, each of which has a time of its own, has not caught up. So it is
            // read again, less what is known.
            let stream = &mut self.stream;
            stream.doubtful = stream.doubtful.max(stream.last);
            (stream.last, stream.begins) = (last, stream.begins.min(last));
        }
        self.stream.created = created;
    }

    /// Another consumer is made, of this number.
    pub(super) fn renew(&mut self, now: Moment) -> u64 {
        self.consumer = Consumer::new(self.consumer.number + 1, now);
        self.consumer.number
    }

    /// It was made.
    pub(super) fn begin(&mut self, now: Moment) {
        self.consumer.heard = now;
    }

    /// The place of the newest message that was seen, behind which the next consumer begins.
    pub(super) fn last(&self) -> u64 {
        self.stream.last
    }

    /// Which consumer delivers.
    pub(super) fn consumer(&self) -> u64 {
        self.consumer.number
    }

    /// Whether all was delivered: what it delivers may come before the answer that says that it was made.
    pub(super) fn is_level(&self) -> bool {
        self.consumer.is_level
    }

    /// Whether it has said nothing for too long.
    pub(super) fn is_silent(&self, now: Moment) -> bool {
        self.consumer.heard.after(SILENCE) <= now
    }

    /// What the consumer delivers: a message, or that it is there.
    pub(super) fn take(&mut self, message: &NatsMessage<'_>, now: Moment) -> Delivered {
        let consumer = &mut self.consumer;
        if consumer.is_void {
            return Delivered::Nothing;
        }
        consumer.heard = now;
        if message.headers.status() == Some(100) {
            let delivered = message.headers.get("Nats-Last-Consumer");
            let delivered = delivered.and_then(|number| number.parse::<u64>().ok());
            return match delivered {
                Some(number) if number > consumer.delivered => consumer.lose(),
                _ => Delivered::Nothing,
            };
        }
        let Some(at) = message.reply.and_then(JetStreamPosition::read) else {
            return Delivered::Nothing;
        };
        if at.consumer != consumer.delivered + 1 {
            return consumer.lose();
        }
        consumer.delivered = at.consumer;
        consumer.is_level = at.pending == 0;
        let is_new = self.stream.sees(at.stream, at.nanos);
        let stream = &self.stream;
        Delivered::Message {
            is_new,
            is_earlier: at.stream <= stream.begins,
            nanos: at.nanos,
            is_last: at.pending == 0,
        }
    }

    /// Where the consumer is told that what it has delivered was taken, if it waits for that.
    pub(super) fn flow_control<'b>(&self, message: &NatsMessage<'b>) -> Option<&'b str> {
        if self.consumer.is_void || message.headers.status() != Some(100) {
            return None;
        }
        let stalled = || message.headers.get("Nats-Consumer-Stalled");
        message.reply.or_else(stalled)
    }
}

impl Stream {
    /// There is a message at this place, kept at this time. Whether it was not seen before.
    fn sees(&mut self, place: u64, nanos: u64) -> bool {
        let is_new = place > self.last;
        self.last = self.last.max(place);
        if !is_new || place <= self.doubtful && self.known.contains(&(place, nanos)) {
            return false;
        }
        if self.known.len() == KNOWN_MAX {
            self.known.pop_front();
        }
        self.known.push_back((place, nanos));
        true
    }
}

impl Consumer {
    fn new(number: u64, now: Moment) -> Consumer {
        Consumer {
            number,
            delivered: 0,
            is_void: false,
            is_level: false,
            heard: now,
        }
    }

    fn lose(&mut self) -> Delivered {
        self.is_void = true;
        Delivered::Gap
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::NatsHeaders;

    const NOW: Moment = Moment::START;

    /// One that has found a stream with messages up to this place, and made its first consumer.
    fn delivery(last: u64) -> Delivery {
        let mut delivery = Delivery::new();
        delivery.found("today".into(), last);
        assert_eq!(delivery.renew(NOW), 1);
        delivery
    }

    fn delivers(delivery: &mut Delivery, stream: u64, consumer: u64, pending: u64) -> Delivered {
        let reply = format!("$JS.ACK.S.C.1.{stream}.{consumer}.5.{pending}");
        let message = NatsMessage {
            reply: Some(&reply),
            ..NatsMessage::default()
        };
        delivery.take(&message, NOW)
    }

    /// What is found in a message of these headers, which says that the consumer is there.
    fn beats(delivery: &mut Delivery, headers: &[u8]) -> (Option<String>, Delivered) {
        let message = NatsMessage {
            headers: NatsHeaders::read(headers).unwrap(),
            ..NatsMessage::default()
        };
        let to = delivery.flow_control(&message).map(ToOwned::to_owned);
        (to, delivery.take(&message, NOW))
    }

    fn message(is_new: bool, is_earlier: bool, is_last: bool) -> Delivered {
        Delivered::Message {
            is_new,
            is_earlier,
            nanos: 5,
            is_last,
        }
    }

    #[test]
    fn what_was_kept_before_we_came_is_earlier_and_what_comes_twice_is_not_new() {
        let mut delivery = delivery(2);
        assert_eq!(delivers(&mut delivery, 1, 1, 2), message(true, true, false));
        assert_eq!(delivers(&mut delivery, 2, 2, 1), message(true, true, false));
        assert_eq!(delivers(&mut delivery, 4, 3, 0), message(true, false, true));
        // Another consumer begins behind that, and JetStream may have begun before it.
        assert_eq!((delivery.last(), delivery.renew(NOW)), (4, 2));
        assert_eq!(
            delivers(&mut delivery, 4, 1, 1),
            message(false, false, false)
        );
        assert_eq!(delivers(&mut delivery, 5, 2, 0), message(true, false, true));
    }

    #[test]
    fn a_gap_voids_all_that_follows_until_there_is_another_consumer() {
        let mut delivery = delivery(0);
        assert_eq!(
            delivers(&mut delivery, 1, 1, 1),
            message(true, false, false)
        );
        assert_eq!(delivers(&mut delivery, 3, 3, 0), Delivered::Gap);
        assert_eq!(delivers(&mut delivery, 2, 2, 0), Delivered::Nothing);
        assert_eq!(delivery.last(), 1);
        delivery.renew(NOW);
        assert_eq!(
            delivers(&mut delivery, 2, 1, 1),
            message(true, false, false)
        );
        // That one was lost shows at the next heartbeat, too, when nothing comes behind it.
        let (_, beat) = beats(
            &mut delivery,
            b"NATS/1.0 100 Idle\r\nNats-Last-Consumer: 1\r\n\r\n",
        );
        assert_eq!(beat, Delivered::Nothing);
        let (_, beat) = beats(
            &mut delivery,
            b"NATS/1.0 100 Idle\r\nNats-Last-Consumer: 2\r\n\r\n",
        );
        assert_eq!(beat, Delivered::Gap);
    }

    #[test]
    fn a_consumer_that_waits_for_us_says_where_it_is_told() {
        let mut delivery = delivery(0);
        let stalled = b"NATS/1.0 100 Idle\r\nNats-Consumer-Stalled: $JS.FC.S.C.x\r\n\r\n";
        let (to, beat) = beats(&mut delivery, stalled);
        assert_eq!(
            (to.as_deref(), beat),
            (Some("$JS.FC.S.C.x"), Delivered::Nothing)
        );
        let (to, _) = beats(&mut delivery, b"NATS/1.0 100 Idle\r\n\r\n");
        assert_eq!(to, None);
        assert_eq!(delivers(&mut delivery, 2, 2, 0), Delivered::Gap);
        let (to, _) = beats(&mut delivery, stalled);
        assert_eq!(to, None, "it is void");
    }

    #[test]
    fn what_another_leader_has_not_caught_up_with_is_known_again_and_what_is_in_its_place_is_not() {
        let mut delivery = delivery(2);
        for place in 1..=4 {
            delivers(&mut delivery, place, place, 4 - place);
        }
        // A leader with a time of its own, which has three of the four.
        delivery.found("tomorrow".into(), 3);
        delivery.renew(NOW);
        assert!(!delivery.is_level());
        assert_eq!(
            delivers(&mut delivery, 4, 1, 0),
            message(false, false, true)
        );
        assert!(delivery.is_level());
        assert_eq!(delivers(&mut delivery, 5, 2, 0), message(true, false, true));
        // It was made anew, and another message is where one was before this server came.
        delivery.found("later".into(), 0);
        delivery.renew(NOW);
        let anew = NatsMessage {
            reply: Some("$JS.ACK.S.C.1.1.1.6.0"),
            ..NatsMessage::default()
        };
        assert_eq!(
            delivery.take(&anew, NOW),
            Delivered::Message {
                is_new: true,
                is_earlier: false,
                nanos: 6,
                is_last: true,
            }
        );
    }

    #[test]
    fn a_stream_that_was_made_anew_is_read_from_its_beginning_and_another_leader_is_not() {
        for (created, last, expected) in [
            ("today", 9, 9),
            // A leader that has not caught up, and one that has its own time.
            ("today", 3, 9),
            ("yesterday", 12, 9),
            ("tomorrow", 3, 3),
        ] {
            let mut delivery = delivery(0);
            delivers(&mut delivery, 9, 1, 0);
            delivery.found(created.into(), last);
            assert_eq!(delivery.last(), expected, "{created} {last}");
        }
    }

    #[test]
    fn a_consumer_is_there_as_long_as_it_says_so() {
        let mut delivery = delivery(0);
        assert!(!delivery.is_silent(NOW));
        assert!(delivery.is_silent(NOW.after(SILENCE)));
        delivery.begin(NOW.after(SILENCE));
        assert!(!delivery.is_silent(NOW.after(SILENCE)));
    }
}
