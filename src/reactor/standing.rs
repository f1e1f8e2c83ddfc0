//! What follows from how things stand with a connection: what its reading half does next, and
//! until when it is waited for.
//!
//! Two functions of plain values, and the only places where either is decided. Knows no sockets,
//! no other connection and no clock; the loop carries out what they say.

use std::time::Duration;

use super::connection::{Connection, Input, Must, Pause, Stage};
use super::listener::{Listener, listener_of};
use crate::config::Limits;
use crate::config::limits::{LEAVING, PROGRESS_BYTES_PER_SECOND_MIN, PROGRESS_GRACE};
use crate::service::Backlog;
use crate::turn::{Fate, Moment, Outbox};

/// How things stand on the other side of a connection: what it is owed, what its service asked
/// for, what its endpoint allows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Standing {
    pub(super) fate: Fate,
    /// Whether its service takes no input for now.
    pub(super) is_held: bool,
    /// Whether it is listened to whatever it is owed, and may be silent.
    pub(super) is_always_heard: bool,
    /// Bytes that were said to it and have not left.
    pub(super) owed: usize,
    pub(super) backlog: Backlog,
    /// How long it may be silent.
    pub(super) idle: Option<Duration>,
}

impl Standing {
    /// How things stand with the connection of this slot.
    #[inline]
    pub(super) fn of<L, S>(
        conn: &Connection<S>,
        slot: u32,
        listeners: &[Listener<L>],
        outbox: &Outbox,
    ) -> Standing {
        let listener = listener_of(listeners, conn);
        let (fate, is_held, owed) = outbox.standing(slot);
        Standing {
            fate,
            is_held,
            is_always_heard: outbox.is_always_heard(slot),
            owed,
            backlog: listener.manner.backlog,
            idle: listener.options.idle,
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.fate == Fate::Open
    }

    /// Whether it is owed so much that it has to catch up in time. Not one that is leaving, which
    /// has a deadline already.
    pub(super) fn is_behind(&self, limits: &Limits) -> bool {
        self.is_open() && self.backlog == Backlog::Disconnect && self.owed > limits.chat_soft
    }

    /// Whether it is owed so much that the oldest lines of that are dropped.
    pub(super) fn loses_lines(&self, limits: &Limits) -> bool {
        self.is_open() && self.backlog == Backlog::DropOldest && self.owed > limits.chat_soft
    }

    /// Whether it is owed more than any member may be.
    pub(super) fn is_too_slow(&self, limits: &Limits) -> bool {
        self.is_open() && self.backlog == Backlog::Disconnect && self.owed > limits.chat_hard
    }
}

/// What the reading half does next.
#[inline]
pub(super) fn next_input<S>(conn: &Connection<S>, standing: &Standing, limits: &Limits) -> Input {
    let more = conn.incoming.may_have_more() || conn.unserved || conn.incoming.has_ended();
    // Paused at one limit, read again at a lower one: or a connection near the limit would be
    // paused and resumed with every write.
    let was_paused = conn.input == Input::Paused(Pause::Owed);
    let owes = (standing.owed >= limits.out_pause
        || was_paused && standing.owed > limits.out_resume)
        && !standing.is_always_heard;
    match () {
        () if conn.input == Input::Ended => Input::Ended,
        () if !standing.is_open() => Input::Paused(Pause::Leaving),
        () if standing.is_held => Input::Paused(Pause::Held),
        () if standing.backlog == Backlog::Pause && owes => Input::Paused(Pause::Owed),
        // No edge will come for what is already there: the queue is the wake-up.
        () if more => Input::Queued,
        () => Input::Waiting,
    }
}

/// Whether less being owed can change what the reading half does, or until when the connection is
/// waited for. If not, nothing is to be decided after a write that left nothing behind, which is
/// nearly every one.
#[inline]
pub(super) fn depends_on_sending<S>(conn: &Connection<S>) -> bool {
    conn.is_behind() || conn.input == Input::Paused(Pause::Owed)
}

/// What has just happened to a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum After {
    /// It was read, and its peer had said something.
    Heard,
    /// Its service had its turn, for whatever else.
    Turn,
    /// Its socket took some of what it is owed.
    Sent,
    /// Its socket took nothing.
    Stalled,
}

/// Until when a connection is waited for, and since when a frame of it has been incomplete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Deadline {
    /// `NEVER`: for as long as it likes.
    pub(super) due: Moment,
    /// In seconds of the loop's clock, rounded up, 32 bits of them; 0: no frame and no record is incomplete.
    pub(super) begun: u32,
}

/// Until when an open connection is waited for, which was `due` until now.
///
/// Sending must not renew the deadline on silence, nor must the turns of a service that sends more
/// when that has left, or a peer that only reads would never be idle; and a socket that takes nothing
/// must not renew the deadline on progress of one that leaves.
#[inline]
pub(super) fn deadline<S>(
    conn: &Connection<S>,
    standing: &Standing,
    limits: &Limits,
    now: Moment,
    due: Moment,
    after: After,
) -> Deadline {
    let begun = match conn.stage {
        Stage::Open { begun } => begun,
        _ => 0,
    };
    if !standing.is_open() {
        let is_late = after == After::Stalled && due != Moment::NEVER;
        let due = if is_late { due } else { now.after(LEAVING) };
        return Deadline { due, begun };
    }
    let in_record = match conn.must {
        Must::Nothing => false,
        Must::EndRecord => true,
        // It was set when the connection was accepted or dialled: neither bytes nor turns put it off.
        Must::LogIn | Must::Connect => return Deadline { due, begun },
        // Counts from when it fell behind, not from its last sign of life.
        Must::CatchUp => {
            let soft = limits.chat_soft_time;
            let due = if due.is_within(now, soft) {
                due
            } else {
                now.after(soft)
            };
            return Deadline { due, begun };
        }
    };
    if matches!(after, After::Sent | After::Stalled) {
        return Deadline { due, begun };
    }
    if standing.is_held {
        // It is not read, so what has begun cannot end: its time counts from when it is read again.
        return Deadline {
            due: Moment::NEVER,
            begun: 0,
        };
    }
    // While its service is busy with it, or it is owed an answer after the end of its input, a peer
    // has nothing to say: its silence is patience.
    let is_silent_by_right = standing.is_always_heard || conn.input == Input::Ended;
    let idle = standing.idle.filter(|_| !is_silent_by_right);
    if in_record || conn.carry.is_some() && !conn.unserved {
        return if after == After::Turn && begun != 0 {
            Deadline { due, begun }
        } else {
            in_frame(conn, begun, idle, now)
        };
    }
    let due = match idle {
        None => Moment::NEVER,
        // It was waited for, and has said nothing since.
        Some(idle) if after == After::Turn && begun == 0 && due.is_within(now, idle) => due,
        Some(idle) => now.after(idle),
    };
    Deadline { due, begun: 0 }
}

/// Until when a connection is waited for in the middle of a frame or of a record, which began then or now.
///
/// Apart, since nearly every message is whole.
#[cold]
fn in_frame<S>(conn: &Connection<S>, begun: u32, idle: Option<Duration>, now: Moment) -> Deadline {
    // An absolute deadline: bytes that come one by one do not renew it.
    let begun = if begun == 0 {
        (seconds_up(now) as u32).max(1)
    } else {
        begun
    };
    let ends = frame_ends(begun, conn.incomplete(), now);
    Deadline {
        // Silence in the middle of it is silence, too.
        due: idle.map_or(ends, |idle| ends.min(now.after(idle))),
        begun,
    }
}

/// When a frame must have ended that [began](Deadline::begun) then, and has so many bytes by now.
pub(super) fn frame_ends(begun: u32, bytes: usize, now: Moment) -> Moment {
    // The clock's seconds need more than 32 bits after 136 years; how long ago it was does not. One more
    // than now, since 0 was rounded up.
    let next = seconds_up(now) + 1;
    let age = (next as u32).wrapping_sub(begun);
    let seconds = next - u64::from(age) + bytes as u64 / PROGRESS_BYTES_PER_SECOND_MIN;
    let begun = Moment::START.after(Duration::from_secs(seconds));
    begun.after(PROGRESS_GRACE)
}

fn seconds_up(now: Moment) -> u64 {
    now.as_nanos().div_ceil(1_000_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reactor::incoming::Incoming;
    use crate::service::Peer;
    use crate::turn::Closed;

    const NOW: Moment = Moment::from_nanos(1_000_000_000_000);
    const IDLE: Duration = Duration::from_secs(60);
    const LEAVES: Fate = Fate::Leaving {
        why: Closed::Done,
        linger: false,
    };

    const INPUTS: [Input; 6] = [
        Input::Waiting,
        Input::Queued,
        Input::Paused(Pause::Owed),
        Input::Paused(Pause::Held),
        Input::Paused(Pause::Leaving),
        Input::Ended,
    ];
    const INCOMING: [Incoming; 6] = [
        Incoming::Nothing,
        Incoming::Perhaps,
        Incoming::Beyond,
        Incoming::Last,
        Incoming::End,
        Incoming::Gone,
    ];

    fn idle() -> (Connection<()>, Standing) {
        let mut conn = Connection::new((), 1, Peer::Unknown, 0);
        conn.incoming = Incoming::Nothing;
        let standing = Standing {
            fate: Fate::Open,
            is_held: false,
            is_always_heard: false,
            owed: 0,
            backlog: Backlog::Pause,
            idle: Some(IDLE),
        };
        (conn, standing)
    }

    /// All states of a connection and its lane in which the reading half can be.
    fn for_all(mut see: impl FnMut(&mut Connection<()>, &Standing, &Limits)) -> usize {
        let limits = Limits::default();
        let amounts = [
            0,
            limits.out_resume,
            limits.out_resume + 1,
            limits.out_pause,
            limits.chat_soft + 1,
            limits.chat_hard + 1,
        ];
        let yes_no = [false, true];
        let (mut conn, mut standing) = idle();
        let mut seen = 0;
        for (input, incoming, owed) in product(INPUTS, INCOMING, amounts) {
            (conn.incoming, standing.owed) = (incoming, owed);
            let musts = [Must::Nothing, Must::LogIn, Must::CatchUp, Must::EndRecord];
            for (unserved, has_carry, must) in product(yes_no, yes_no, musts) {
                (conn.unserved, conn.must) = (unserved, must);
                conn.carry = has_carry.then(Box::default);
                for (begun, is_held, idle) in product([0, 990], yes_no, [None, Some(IDLE)]) {
                    conn.stage = Stage::Open { begun };
                    (standing.is_held, standing.idle) = (is_held, idle);
                    for fate in [Fate::Open, LEAVES] {
                        for backlog in [Backlog::Pause, Backlog::Disconnect, Backlog::DropOldest] {
                            (standing.fate, standing.backlog) = (fate, backlog);
                            conn.input = input;
                            see(&mut conn, &standing, &limits);
                            seen += 1;
                        }
                    }
                }
            }
        }
        seen
    }

    fn product<A: Copy, B: Copy, C: Copy>(
        a: impl IntoIterator<Item = A>,
        b: impl IntoIterator<Item = B> + Clone,
        c: impl IntoIterator<Item = C> + Clone,
    ) -> impl Iterator<Item = (A, B, C)> {
        a.into_iter().flat_map(move |a| {
            let c = c.clone();
            let pairs = b.clone().into_iter();
            pairs.flat_map(move |b| c.clone().into_iter().map(move |c| (a, b, c)))
        })
    }

    fn dues() -> [Moment; 4] {
        let in_seconds = |seconds| NOW.after(Duration::from_secs(seconds));
        [Moment::NEVER, NOW, in_seconds(7), in_seconds(100_000)]
    }

    #[test]
    fn what_the_reading_half_does_next_has_a_reason_in_every_state() {
        let seen = for_all(|conn, standing, limits| {
            let next = next_input(conn, standing, limits);
            let more = !matches!(conn.incoming, Incoming::Nothing) || conn.unserved;
            let pauses = standing.backlog == Backlog::Pause;
            let was_paused = conn.input == Input::Paused(Pause::Owed);
            let free = conn.input != Input::Ended && standing.is_open() && !standing.is_held;
            let right = match next {
                Input::Ended => conn.input == Input::Ended,
                Input::Paused(Pause::Leaving) => conn.input != Input::Ended && !standing.is_open(),
                Input::Paused(Pause::Held) => standing.is_open() && standing.is_held,
                Input::Paused(Pause::Owed) => {
                    let limit = if was_paused {
                        limits.out_resume + 1
                    } else {
                        limits.out_pause
                    };
                    free && pauses && standing.owed >= limit
                }
                Input::Queued => free && more && !(pauses && standing.owed >= limits.out_pause),
                Input::Waiting => free && !more && !(pauses && standing.owed >= limits.out_pause),
            };
            assert!(right, "{next:?}: {conn:?} {standing:?}");
        });
        assert_eq!(seen, 6 * 6 * 6 * 16 * 8 * 6, "all of them");
    }

    #[test]
    fn what_was_decided_stays_so_until_something_happens() {
        for_all(|conn, standing, limits| {
            conn.input = next_input(conn, standing, limits);
            assert_eq!(
                next_input(conn, standing, limits),
                conn.input,
                "{conn:?} {standing:?}"
            );
        });
    }

    /// The situations by name: what was due, what happened, and what is due then, in seconds from now.
    #[test]
    fn a_deadline_fits_what_the_connection_is_in_the_middle_of() {
        type Change = fn(&mut Connection<()>, &mut Standing);
        let (idle_s, grace) = (IDLE.as_secs(), PROGRESS_GRACE.as_secs());
        let (leaving, soft) = (
            LEAVING.as_secs(),
            Limits::default().chat_soft_time.as_secs(),
        );
        let quiet: Change = |_, _| {};
        let no_limit: Change = |_, standing| standing.idle = None;
        let held: Change = |_, standing| standing.is_held = true;
        let held_in_record: Change = |conn, standing| {
            (conn.must, standing.is_held) = (Must::EndRecord, true);
            conn.stage = Stage::Open { begun: 990 };
        };
        let ended: Change = |conn, _| conn.input = Input::Ended;
        let begins: Change = |conn, _| conn.carry = Some(Box::default());
        let goes_on: Change = |conn, _| {
            conn.carry = Some(Box::default());
            conn.stage = Stage::Open { begun: 990 };
        };
        let ends: Change = |conn, _| conn.stage = Stage::Open { begun: 990 };
        let unserved: Change = |conn, _| {
            conn.carry = Some(Box::default());
            conn.unserved = true;
        };
        let behind: Change = |conn, _| conn.must = Must::CatchUp;
        let record: Change = |conn, _| conn.must = Must::EndRecord;
        let hasty: Change = |conn, standing| {
            conn.carry = Some(Box::default());
            standing.idle = Some(Duration::from_secs(5));
        };
        let logs_in: Change = |conn, _| {
            conn.must = Must::LogIn;
            conn.carry = Some(Box::default());
        };
        let leaves: Change = |_, standing| standing.fate = LEAVES;
        let never = None;
        let table = [
            (
                "heard: its silence begins anew",
                quiet,
                Some(7),
                After::Heard,
                Some(idle_s),
                0,
            ),
            (
                "its service had its turn: it is as silent as before",
                quiet,
                Some(7),
                After::Turn,
                Some(7),
                0,
            ),
            (
                "its service takes input again: its silence begins",
                quiet,
                never,
                After::Turn,
                Some(idle_s),
                0,
            ),
            (
                "only sent to: it is as silent as before",
                quiet,
                Some(7),
                After::Sent,
                Some(7),
                0,
            ),
            (
                "a full socket says nothing of it",
                quiet,
                Some(7),
                After::Stalled,
                Some(7),
                0,
            ),
            ("no idle timeout", no_limit, never, After::Turn, never, 0),
            (
                "held: its silence is patience",
                held,
                Some(7),
                After::Turn,
                never,
                0,
            ),
            (
                "held in the middle of a record: nobody reads the rest",
                held_in_record,
                Some(7),
                After::Turn,
                never,
                0,
            ),
            (
                "held in the middle of a record, of which the last read brought some",
                held_in_record,
                Some(7),
                After::Heard,
                never,
                0,
            ),
            (
                "an answer is due after its end",
                ended,
                Some(7),
                After::Turn,
                never,
                0,
            ),
            (
                "a frame begins",
                begins,
                Some(7),
                After::Turn,
                Some(grace),
                1000,
            ),
            (
                "a record begins",
                record,
                Some(7),
                After::Heard,
                Some(grace),
                1000,
            ),
            (
                "a frame begins, where silence may be shorter",
                hasty,
                Some(7),
                After::Heard,
                Some(5),
                1000,
            ),
            (
                "a frame's service had its turn",
                goes_on,
                Some(7),
                After::Turn,
                Some(7),
                990,
            ),
            (
                "more of a frame, not its end: fault B10",
                goes_on,
                Some(7),
                After::Heard,
                Some(grace - 10),
                990,
            ),
            (
                "a frame is sent to",
                goes_on,
                Some(7),
                After::Sent,
                Some(7),
                990,
            ),
            ("a frame ends", ends, Some(7), After::Turn, Some(idle_s), 0),
            (
                "bytes that we did not look at are no frame",
                unserved,
                Some(7),
                After::Heard,
                Some(idle_s),
                0,
            ),
            (
                "falls behind",
                behind,
                Some(3600),
                After::Sent,
                Some(soft),
                0,
            ),
            (
                "falls behind, with no deadline",
                behind,
                never,
                After::Stalled,
                Some(soft),
                0,
            ),
            (
                "stays behind, and speaks",
                behind,
                Some(7),
                After::Turn,
                Some(7),
                0,
            ),
            (
                "has not logged in, and speaks: fault D3",
                logs_in,
                Some(7),
                After::Heard,
                Some(7),
                0,
            ),
            (
                "has not logged in, and was sent something",
                logs_in,
                Some(7),
                After::Sent,
                Some(7),
                0,
            ),
            ("leaves", leaves, Some(3600), After::Turn, Some(leaving), 0),
            (
                "leaves, and takes some",
                leaves,
                Some(7),
                After::Sent,
                Some(leaving),
                0,
            ),
            (
                "leaves, and takes nothing",
                leaves,
                Some(7),
                After::Stalled,
                Some(7),
                0,
            ),
            (
                "leaves, with no deadline",
                leaves,
                never,
                After::Stalled,
                Some(leaving),
                0,
            ),
        ];
        let at = |seconds: Option<u64>| {
            seconds.map_or(Moment::NEVER, |s| NOW.after(Duration::from_secs(s)))
        };
        for (what, change, was, after, then, begun) in table {
            let (mut conn, mut standing) = idle();
            change(&mut conn, &mut standing);
            let got = deadline(&conn, &standing, &Limits::default(), NOW, at(was), after);
            assert_eq!(
                got,
                Deadline {
                    due: at(then),
                    begun
                },
                "{what}"
            );
        }
    }

    #[test]
    fn in_every_state_a_deadline_is_set_where_there_must_be_one_and_renewed_only_by_the_peer() {
        for_all(|conn, standing, limits| {
            for (was, after) in dues().into_iter().flat_map(|due| {
                [After::Heard, After::Turn, After::Sent, After::Stalled].map(|after| (due, after))
            }) {
                let then = deadline(conn, standing, limits, NOW, was, after);
                let what = || format!("{was:?} {after:?} {conn:?} {standing:?} {then:?}");
                if standing.is_open() && conn.is_logging_in() {
                    assert_eq!(then.due, was, "{}", what());
                    continue;
                }
                if !standing.is_open() || conn.is_behind() {
                    assert!(then.due < Moment::NEVER, "{}", what());
                } else if matches!(after, After::Sent | After::Stalled) {
                    assert_eq!(then.due, was, "{}", what());
                }
                if after == After::Stalled && was <= NOW.after(limits.chat_soft_time) {
                    assert!(then.due <= was, "{}", what());
                }
                let is_incomplete =
                    conn.must == Must::EndRecord || conn.carry.is_some() && !conn.unserved;
                let in_frame = is_incomplete && !standing.is_held;
                if standing.is_open()
                    && !conn.is_behind()
                    && matches!(after, After::Heard | After::Turn)
                {
                    assert_eq!(then.begun != 0, in_frame, "{}", what());
                }
                let was_idle = conn.stage == Stage::Open { begun: 0 } && was <= NOW.after(IDLE);
                if after == After::Turn && was_idle && standing.is_open() && !in_frame {
                    // A turn of its service puts nothing off that is waited for already.
                    let is_awaited = then.due < Moment::NEVER && !conn.is_behind();
                    assert!(!is_awaited || then.due == was, "{}", what());
                }
            }
        });
    }

    #[test]
    fn what_does_not_depend_on_sending_is_the_same_after_it() {
        let mut skipped = 0;
        for_all(|conn, standing, limits| {
            // As it was settled before the write, with whatever it was owed then.
            conn.input = next_input(conn, standing, limits);
            if depends_on_sending(conn) || !standing.is_open() {
                return;
            }
            let sent = Standing {
                owed: 0,
                ..*standing
            };
            for due in dues() {
                for after in [After::Sent, After::Stalled] {
                    let then = deadline(conn, &sent, limits, NOW, due, after);
                    let Stage::Open { begun } = conn.stage else {
                        unreachable!("all of them are open")
                    };
                    assert_eq!(then, Deadline { due, begun });
                }
            }
            assert_eq!(next_input(conn, &sent, limits), conn.input);
            assert!(!sent.is_behind(limits) && !sent.is_too_slow(limits));
            skipped += 1;
        });
        assert!(skipped > 10_000, "{skipped}");
    }

    #[test]
    fn a_member_may_be_owed_as_much_as_the_limits_say_and_no_more() {
        let limits = Limits::default();
        let (_, mut standing) = idle();
        standing.backlog = Backlog::Disconnect;
        for (owed, is_behind, is_too_slow) in [
            (limits.chat_soft, false, false),
            (limits.chat_soft + 1, true, false),
            (limits.chat_hard, true, false),
            (limits.chat_hard + 1, true, true),
        ] {
            standing.owed = owed;
            let found = (standing.is_behind(&limits), standing.is_too_slow(&limits));
            assert_eq!(found, (is_behind, is_too_slow), "{owed}");
        }
    }

    #[test]
    fn a_frame_has_a_second_more_for_each_kibibyte() {
        let at = |seconds| Moment::START.after(Duration::from_secs(seconds));
        assert_eq!(frame_ends(5, 0, at(5)), at(35));
        assert_eq!(frame_ends(5, 10 * 1024, at(44)), at(45));
        // After 136 years, too, and at the end of time.
        let years = 1 << 32;
        for (begun, now, ends) in [(1, 0, 31), (u32::MAX, 20, 29), (5, 20, 35)] {
            assert_eq!(frame_ends(begun, 0, at(years + now)), at(years + ends));
        }
        assert_eq!(frame_ends(1, usize::MAX, Moment::NEVER), Moment::NEVER);
    }
}
