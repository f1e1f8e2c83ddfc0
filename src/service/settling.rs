//! Requests that silence completes.
//!
//! Does not know what a request says, nor what time it is: it asks to be woken, and being woken is
//! the silence. Shared by the services that take a burst.

use crate::buf::ReadBuf;
use crate::config;
use crate::turn::{ConnId, Moment, Turn};
use crate::wire::{Decode, DecodeSettled, WireError};

/// Takes frames from connections whose peers may leave their end unsaid, and waits for silence
/// where they do.
///
/// A service calls [`next`](Settling::next) where it would call [`ReadBuf::next`], and passes its
/// [`wake`](Settling::wake) and [`closed`](Settling::forget) on. At the half-close it takes
/// [`ReadBuf::last`], for which nothing is needed from here.
///
/// A frame cancels the wake that was asked for while it was incomplete. A service that has other
/// reasons to be woken asks for them after it took a frame, and knows which of the two it is
/// waiting for: an answer it is working on, or a request.
///
/// A connection that is not in the very moment between its wake and its next budget costs nothing.
#[derive(Debug)]
pub struct Settling {
    settle: config::Settle,
    /// Connections that were silent long enough and were not offered their bytes since.
    settled: Vec<ConnId>,
}

impl Settling {
    /// Waits as long as `settle` says.
    pub fn new(settle: config::Settle) -> Settling {
        Settling {
            settle,
            settled: Vec::new(),
        }
    }

    /// The next frame of the connection whose turn it is, or `None` for "not yet"; then the service
    /// is woken when nothing more has come for as long as it takes.
    ///
    /// What has settled is whatever was unread at that moment: the loop offers it before it reads
    /// on, and the loop reads before it wakes, so bytes that came in time belong to the burst.
    pub fn next<'b, D: DecodeSettled>(
        &mut self,
        t: &mut Turn<'_>,
        decoder: &mut D,
        input: &'b mut ReadBuf,
    ) -> Result<Option<D::Frame<'b>>, WireError> {
        let wait = match self.settle {
            config::Settle::After(wait) if wait.is_zero() => {
                return input.next(&mut Silent::after(decoder));
            }
            config::Settle::After(wait) => wait,
            config::Settle::Never => return input.next(decoder),
        };
        if let Some(at) = self.settled.iter().position(|&id| id == t.id) {
            let ended_by_share = input.is_budget_spent();
            let mut silent = Silent::after(decoder);
            let frame = input.next(&mut silent);
            if silent.took_all && !ended_by_share {
                self.settled.swap_remove(at);
            }
            return frame;
        }
        // Known before the frame borrows the input.
        let waits = !input.is_empty() && !input.is_budget_spent();
        let frame = input.next(decoder)?;
        if frame.is_some() {
            t.wake_at(Moment::NEVER);
        } else if waits {
            t.wake_at(t.now.after(wait));
        }
        Ok(frame)
    }

    /// Whether nothing more came, and what is unread was not offered again.
    pub(super) fn has_settled(&self, id: ConnId) -> bool {
        self.settled.contains(&id)
    }

    /// Nothing more came: what is unread is offered again, and is a frame now.
    pub fn wake(&mut self, t: &mut Turn<'_>) {
        if !self.settled.contains(&t.id) {
            self.settled.push(t.id);
        }
        t.resume();
    }

    /// The connection is gone.
    pub fn forget(&mut self, id: ConnId) {
        self.settled.retain(|&settled| settled != id);
    }
}

/// A decoder whose bytes have settled.
struct Silent<'d, D> {
    decoder: &'d mut D,
    /// Whether nothing was left.
    took_all: bool,
}

impl<D> Silent<'_, D> {
    fn after(decoder: &mut D) -> Silent<'_, D> {
        Silent {
            decoder,
            took_all: false,
        }
    }
}

impl<D: DecodeSettled> Decode for Silent<'_, D> {
    type Frame<'b> = D::Frame<'b>;

    fn decode<'b>(&mut self, unread: &'b [u8]) -> Result<Option<(D::Frame<'b>, usize)>, WireError> {
        let frame = self.decoder.settled(unread)?;
        self.took_all = frame
            .as_ref()
            .is_none_or(|&(_, taken)| taken == unread.len());
        Ok(frame)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::service::Service;
    use crate::service::rehearsal::Stage;
    use crate::turn::Fault;
    use crate::wire::Request;

    const MS: Duration = Duration::from_millis(1);

    /// Answers each request with itself in brackets.
    #[derive(Debug)]
    struct Brackets(Settling, Request);

    impl Brackets {
        fn stage(settle: config::Settle) -> Stage<Brackets> {
            Stage::new(Brackets(Settling::new(settle), Request::default()))
        }
    }

    impl Service for Brackets {
        fn input(&mut self, t: &mut Turn<'_>, input: &mut ReadBuf) -> Result<(), Fault> {
            while let Some(request) = self.0.next(t, &mut self.1, input)? {
                t.reply(&[b"[", request, b"]"].concat()[..]);
            }
            Ok(())
        }

        fn wake(&mut self, t: &mut Turn<'_>) {
            self.0.wake(t);
        }

        fn closed(&mut self, t: &mut Turn<'_>, _why: &crate::turn::Closed) {
            self.0.forget(t.id);
        }
    }

    #[test]
    fn each_byte_begins_the_silence_anew() {
        let mut stage = Brackets::stage(config::Settle::After(20 * MS));
        let client = stage.enters();
        for byte in b"date" {
            stage.says(client, &[*byte]);
            stage.waits(19 * MS);
            assert_eq!(stage.hears(client), b"");
        }
        stage.waits(MS);
        assert_eq!(stage.hears(client), b"[date]");
        assert_eq!(stage.wakes_in(client), None);
    }

    #[test]
    fn what_settled_does_not_settle_what_comes_later() {
        let mut stage = Brackets::stage(config::Settle::After(20 * MS));
        let client = stage.enters();
        stage.says(client, b"one");
        stage.waits(20 * MS);
        stage.says(client, b"two");
        assert_eq!(stage.hears(client), b"[one]");
        assert_eq!(stage.wakes_in(client), Some(20 * MS));
        // The newline came in time: the wake that was asked for is void.
        stage.says(client, b"\n");
        assert_eq!(stage.wakes_in(client), None);
        stage.says(client, b"three");
        assert_eq!(stage.hears(client), b"[two]");
        stage.says(client, b"\nfour");
        stage.waits(20 * MS);
        assert_eq!(stage.hears(client), b"[three][four]");
        assert!(stage.service.0.settled.is_empty());
    }

    #[test]
    fn a_connection_that_ends_between_its_silence_and_its_bytes_is_forgotten_alone() {
        let ids = [1, 2].map(|generation| ConnId {
            slot: generation,
            generation,
        });
        let mut settling = Settling::new(config::Settle::After(20 * MS));
        let mut outbox = crate::turn::Outbox::default();
        for id in ids {
            outbox.open(id);
            settling.wake(&mut Turn::new(Moment::START, id, &mut outbox));
            // Once more is no more.
            settling.wake(&mut Turn::new(Moment::START, id, &mut outbox));
        }
        settling.forget(ids[0]);
        assert_eq!(settling.settled, [ids[1]]);
        let mut input = ReadBuf::default();
        input.push(b"two");
        let mut turn = Turn::new(Moment::START, ids[1], &mut outbox);
        let frame = settling.next(&mut turn, &mut Request::default(), &mut input);
        assert_eq!(frame, Ok(Some(&b"two"[..])));
    }

    #[test]
    fn zero_is_what_one_read_returned_and_never_waits_for_a_newline() {
        let mut stage = Brackets::stage(config::Settle::After(Duration::ZERO));
        let client = stage.enters();
        stage.says(client, b"one\ntw");
        stage.says(client, b"o\n");
        assert_eq!(stage.hears(client), b"[one][tw][o]");
        assert_eq!(stage.wakes_in(client), None);

        let mut stage = Brackets::stage(config::Settle::Never);
        let client = stage.enters();
        stage.says(client, b"one");
        stage.waits(1_000_000 * MS);
        assert_eq!(stage.hears(client), b"");
        stage.says(client, b"\n");
        assert_eq!(stage.hears(client), b"[one]");
    }

    #[test]
    fn fault_a10_a_silence_is_not_inherited_with_the_slot() {
        let mut stage = Brackets::stage(config::Settle::After(20 * MS));
        let first = stage.enters();
        stage.says(first, b"one");
        stage.leaves(first);
        let second = stage.enters();
        assert_eq!(second.slot, first.slot);
        stage.says(second, b"two");
        assert_eq!(stage.hears(second), b"");
    }

    #[test]
    fn fault_b3_a_share_that_ends_in_the_middle_leaves_the_rest_for_the_next_one() {
        let mut stage = Brackets::stage(config::Settle::After(20 * MS));
        let client = stage.enters();
        stage.says(client, &b"a\n".repeat(256));
        stage.says(client, &[&b"a\n".repeat(300)[..], b"b"].concat());
        stage.waits(20 * MS);
        assert_eq!(
            stage.hears(client),
            [&b"[a]".repeat(556)[..], b"[b]"].concat()
        );
    }
}
