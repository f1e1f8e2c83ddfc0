//! A place on the ready queue that a connection keeps while it is paused.
//!
//! It was queued, and paused before its turn came. If what it is owed leaves in the middle of the next pass, since
//! others said so much that it cannot wait for the end, the pause ends there, and the connection is read in that
//! pass, at its place. Seeds meet that once in a million.

use onepoll::buf::ReadBuf;
use onepoll::config::Limits;
use onepoll::reactor::State;
use onepoll::service::Service;
use onepoll::turn::{Fault, Turn};

use crate::coverage::Meeting;
use crate::kernel::SimOs;
use crate::rare::{Script, is_cut, says, tunnel};
use crate::services::Lines;

/// More than all buffers may hold.
const MUCH: usize = 95_000;

/// What fills a budget and, in a record of a tunnel, with what belongs to the record.
const BUDGET: usize = 16;
const RECORD: usize = BUDGET - 4;

const SECOND_LINK: usize = 1;

/// Answers each input with more than may wait for the end of a turn.
#[derive(Debug)]
struct Loud;

impl Service for Loud {
    fn input(&mut self, t: &mut Turn<'_>, input: &mut ReadBuf) -> Result<(), Fault> {
        input.consume(input.len());
        t.reply(&[b'x'; MUCH][..]);
        Ok(())
    }
}

/// Answers its first input with more than a connection may be owed, and with as much again when that has left; from
/// then on it is as [`Lines`].
#[derive(Debug)]
struct SaysTwice {
    /// Takes no input until the second answer has left.
    holds: bool,
    /// Its clients may not leave.
    is_jealous: bool,
    /// Its client resets when all has left.
    resets: Option<SimOs>,
    answers: u8,
}

impl SaysTwice {
    fn says(&mut self, t: &mut Turn<'_>) {
        self.answers += 1;
        t.reply(&[b'.'; 100][..]);
        t.tell_when_sent();
    }
}

impl Service for SaysTwice {
    fn input(&mut self, t: &mut Turn<'_>, input: &mut ReadBuf) -> Result<(), Fault> {
        if self.answers > 0 {
            return Lines.input(t, input);
        }
        input.consume(input.len());
        self.says(t);
        Ok(())
    }

    fn drained(&mut self, t: &mut Turn<'_>) {
        if self.answers > 1 {
            if let Some(os) = &self.resets {
                os.net(|net| net.client_reset(SECOND_LINK));
            }
            return t.resume();
        }
        self.says(t);
        if self.holds {
            t.hold();
        }
    }

    fn wake(&mut self, t: &mut Turn<'_>) {
        Lines.wake(t);
    }

    fn eof(&mut self, t: &mut Turn<'_>, rest: &mut ReadBuf) -> Result<(), Fault> {
        match self.is_jealous {
            true => Err(Fault::Refused("it may not leave")),
            false => Lines.eof(t, rest),
        }
    }
}

/// What its client does when it is paused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Does {
    Nothing,
    Says(&'static [u8]),
    Shuts,
    /// The same, which is refused.
    ShutsRefused,
    /// In the middle of the pass.
    Resets,
    /// Ends, and does not say so in its tunnel.
    IsCut,
    /// Sends a record that is changed on its way.
    IsChanged,
}

/// One that is paused in this state with a place on the queue meets what its client does then in the very pass in
/// which others say much.
fn is_read_at_its_place(state: State, does: Does, meetings: &[Meeting]) {
    let mut script = Script::new(Limits {
        read_per_turn: BUDGET,
        out_pause: 50,
        out_resume: 50,
        buffers: 100_000,
        ..Limits::default()
    });
    let loud = script.play.open(Loud);
    let loud = script.play.dial(loud);
    let service = SaysTwice {
        holds: state == State::PausedHeld,
        is_jealous: does == Does::ShutsRefused,
        resets: (does == Does::Resets).then(|| script.play.os.clone()),
        answers: 0,
    };
    let is_secure = matches!(does, Does::IsCut | Does::IsChanged);
    let (link, fills) = match is_secure {
        true => (tunnel(&mut script, service, 1 << 20), RECORD),
        false => {
            let listener = script.play.open(service);
            (script.play.dial(listener), BUDGET)
        }
    };
    assert_eq!(link, SECOND_LINK);
    script.turns(2);
    // Three budgets: there is more after the first and after the second.
    script.play.say(loud, &[b'x'; 3 * BUDGET]);
    says(&mut script, link, &[b'x'; BUDGET][..fills]);
    script.turns(1);
    let looks: Vec<State> = script.play.reactor.looks().map(|look| look.state).collect();
    assert_eq!(looks, [State::Queued, state]);
    match does {
        Does::Nothing | Does::Resets => {}
        Does::Says(bytes) => script.play.say(link, bytes),
        Does::Shuts | Does::ShutsRefused => script.play.shut(link),
        Does::IsCut => is_cut(&mut script, link),
        Does::IsChanged => {
            script.play.os.net(|net| {
                // What others say, and the answer, leave; the alert does not.
                net.next_writes.extend([MUCH, 1000, 0]);
                let tunnel = net.links[link].tunnel.as_mut().expect("it has one");
                tunnel.change_next();
            });
            says(&mut script, link, b"more");
        }
    }
    script.turns(1);
    script.met(state, meetings);
}

#[test]
fn one_that_is_paused_before_its_turn_is_read_at_its_place_if_its_pause_ends_before_that() {
    use Meeting as M;
    for state in [State::PausedOwed, State::PausedHeld] {
        is_read_at_its_place(state, Does::Nothing, &[M::ReadNothing]);
        is_read_at_its_place(state, Does::Says(b"word\n"), &[M::ReadSome]);
        is_read_at_its_place(state, Does::Says(b"h\n"), &[M::Holds]);
        is_read_at_its_place(state, Does::Says(b"!\n"), &[M::Refuses]);
        is_read_at_its_place(state, Does::Shuts, &[M::ReadEnd, M::Eof, M::Ended]);
        is_read_at_its_place(state, Does::ShutsRefused, &[M::Refused]);
        is_read_at_its_place(state, Does::Resets, &[M::ReadFailed]);
        is_read_at_its_place(state, Does::IsCut, &[M::Cut]);
        is_read_at_its_place(state, Does::IsChanged, &[M::Insecure]);
    }
    let held_for_a_moment = Does::Says(b"h\n");
    is_read_at_its_place(State::PausedOwed, held_for_a_moment, &[M::Resumes]);
}
