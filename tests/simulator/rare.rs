//! Pairs of the table that seeds meet too rarely, each in a script of its own.

use std::sync::Arc;
use std::time::Duration;

use onepoll::buf::ReadBuf;
use onepoll::config::Limits;
use onepoll::reactor::{Signal, State};
use onepoll::service::{Chat, Echo, Peer, Service, Tail, chat, command};
use onepoll::turn::{Fault, Output, Turn};

use crate::coverage::{Coverage, Meeting, Row};
use crate::family::{Step, Steps};
use crate::gates::right_proof;
use crate::impossible::is_directed;
use crate::kernel::{Found, Net, SECOND};
use crate::overheard::Temper;
use crate::play::Play;
use crate::random::Random;
use crate::sealed::StandIn;
use crate::services::{Crowd, Lines, Runs};

/// A script, and the table that it fills.
pub(crate) struct Script {
    pub(crate) play: Play,
    coverage: Coverage,
}

impl Script {
    pub(crate) fn new(limits: Limits) -> Script {
        Script {
            play: Play::directed_with(limits, 1000),
            coverage: Coverage::default(),
        }
    }

    pub(crate) fn turns(&mut self, n: usize) {
        for _ in 0..n {
            self.play.turn();
            self.coverage.look(&self.play);
        }
    }

    /// Time passes while the loop works.
    fn lasts(&mut self, nanos: u64) {
        self.play.os.net(|net| net.now += nanos);
    }

    /// These were met in that state.
    pub(crate) fn met(&self, state: State, meetings: &[Meeting]) {
        for &meeting in meetings {
            let times = self.coverage.times(Row::In(state), meeting);
            assert!(times > 0, "{state:?} x {meeting:?}");
            assert!(
                is_directed(Row::In(state), meeting),
                "{state:?} x {meeting:?}"
            );
        }
    }
}

/// A connection through a tunnel whose handshake is over.
pub(crate) fn tunnel(
    script: &mut Script,
    service: impl Service + 'static,
    down_max: usize,
) -> usize {
    let listener = script.play.open_with(service, |listener| {
        listener.secure = Some(Arc::new(StandIn { body: 1000 }));
    });
    join(script, listener, down_max)
}

fn join(script: &mut Script, listener: usize, down_max: usize) -> usize {
    let link = script.play.dial_with(listener, 1 << 20, down_max);
    while script
        .play
        .reactor
        .looks()
        .all(|look| look.id.slot as usize != link)
        || script
            .play
            .reactor
            .looks()
            .any(|look| look.state == State::Handshaking)
    {
        script.play.hears(link);
        script.turns(1);
    }
    script.turns(2);
    link
}

/// Says all of it, in as many records as that takes.
pub(crate) fn says(script: &mut Script, link: usize, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let said = script.play.os.net(|net| net.client_write(link, bytes));
        bytes = &bytes[said.expect("it is not reset")..];
    }
}

/// Its next record is changed on its way, and the alert for it does not fit into the socket.
fn is_changed(script: &mut Script, link: usize) {
    script.play.os.net(|net| {
        net.next_writes.push_back(0);
        let tunnel = net.links[link].tunnel.as_mut().expect("it has one");
        tunnel.change_next();
    });
    says(script, link, b"more");
}

/// It ends without saying so.
pub(crate) fn is_cut(script: &mut Script, link: usize) {
    script.play.os.net(|net| {
        let tunnel = net.links[link].tunnel.as_mut().expect("it has one");
        tunnel.mischief.is_cut = true;
        net.client_shut(link);
    });
}

#[test]
fn fault_d10_what_was_half_said_when_it_was_cut_off_is_not_served() {
    let mut script = Script::new(Limits::default());
    let link = tunnel(&mut script, Lines, 1 << 20);
    says(&mut script, link, b"whole\nhalf");
    script.turns(2);
    is_cut(&mut script, link);
    script.turns(1);
    script.met(State::InFrame, &[Meeting::Cut]);
    assert_eq!(script.play.hears(link), b">whole\n");
    assert_eq!(script.play.finds(link), Found::End);
    assert_eq!(script.play.counters().closed.cut, 1);
}

#[test]
fn records_that_one_turn_does_not_open_are_opened_in_the_next_though_no_edge_tells_of_them() {
    let mut script = Script::new(Limits::default());
    let link = tunnel(&mut script, Lines, 1 << 20);
    let line = [&[b'x'; 599][..], b"\n"].concat();
    // A record for each byte, and all of them come at once.
    for byte in &line {
        says(&mut script, link, &[*byte]);
    }
    script.turns(4);
    assert_eq!(script.play.hears(link), [b">", &line[..]].concat());
}

#[test]
fn fault_d8_a_record_that_was_changed_ends_the_connection_wherever_it_stands() {
    let mut script = Script::new(Limits::default());
    let link = tunnel(&mut script, Lines, 1 << 20);
    is_changed(&mut script, link);
    script.turns(1);
    script.met(State::Waiting, &[Meeting::Insecure]);

    let mut script = Script::new(Limits::default());
    let link = tunnel(&mut script, Lines, 1 << 20);
    says(&mut script, link, b"half");
    script.turns(2);
    is_changed(&mut script, link);
    script.turns(1);
    script.met(State::InFrame, &[Meeting::Insecure]);
    assert_eq!(script.play.hears(link), b"");

    let mut script = Script::new(small_budget());
    let link = tunnel(&mut script, Lines, 1 << 20);
    // More than the budgets of two turns comes before it.
    says(&mut script, link, &[b'x'; 40]);
    is_changed(&mut script, link);
    script.turns(5);
    script.met(State::Queued, &[Meeting::Insecure]);
}

#[test]
fn fault_d8_one_whose_record_was_changed_lingers_so_that_it_hears_of_it() {
    let mut script = Script::new(small_budget());
    let link = tunnel(&mut script, Lines, 1 << 20);
    script.play.os.net(|net| {
        let tunnel = net.links[link].tunnel.as_mut().expect("it has one");
        tunnel.change_next();
    });
    // More than a budget comes behind it.
    says(&mut script, link, &[b'x'; 40]);
    script.turns(10);
    let states: Vec<State> = script.play.reactor.looks().map(|look| look.state).collect();
    assert_eq!(states, [State::Lingering]);
    script.lasts(2 * SECOND);
    script.turns(1);
    script.met(State::Lingering, &[Meeting::Insecure]);
    assert_eq!(script.play.counters().closed.insecure, 1);
}

/// Three members come to a room at the same time: the first is greeted, and hears of the last before that has left.
#[test]
fn one_that_is_told_twice_in_the_turn_in_which_its_handshake_ends_has_all_of_it_then() {
    let mut script = Script::new(Limits::default());
    let room = Chat::new(&chat::Options::default(), Limits::default().frame);
    let room = script.play.open_with(room, |listener| {
        listener.secure = Some(Arc::new(StandIn { body: 1000 }));
    });
    let links = [0; 3].map(|_| script.play.dial(room));
    for _ in 0..5 {
        for link in links {
            script.play.hears(link);
        }
        script.turns(1);
    }
    script.met(State::Handshaking, &[Meeting::Drained]);
}

/// Says this to each that comes, and ends.
#[derive(Debug)]
struct Ends(&'static [u8]);

impl Service for Ends {
    fn open(&mut self, t: &mut Turn<'_>, _peer: &Peer) {
        t.reply(self.0);
        t.close_lingering();
    }

    fn input(&mut self, _t: &mut Turn<'_>, input: &mut ReadBuf) -> Result<(), Fault> {
        input.consume(input.len());
        Ok(())
    }
}

#[test]
fn one_whose_handshake_ends_with_its_client_gone_is_told_in_vain() {
    let pairs = [
        // Its end is taken, and answered by a reset, which the shutdown finds.
        (&b""[..], Meeting::ShutdownFailed),
        (b"welcome", Meeting::Gone),
    ];
    for (words, meeting) in pairs {
        let mut script = Script::new(Limits::default());
        let listener = script.play.open_with(Ends(words), |listener| {
            listener.secure = Some(Arc::new(StandIn { body: 1000 }));
        });
        let link = script.play.dial(listener);
        let has_said_all = |script: &Script| {
            let is_open = |net: &mut Net| net.links[link].tunnel.as_ref().map(|t| t.is_open);
            script.play.os.net(is_open) == Some(true)
        };
        while !has_said_all(&script) {
            script.turns(1);
            script.play.hears(link);
        }
        script.play.os.net(|net| net.client_close(link));
        script.turns(1);
        script.met(State::Handshaking, &[meeting]);
        assert!(script.play.is_empty());
    }
}

/// A listener of a service behind a gate.
fn gated(script: &mut Script, service: impl Service + 'static, is_secure: bool) -> usize {
    let random = Random::new(1);
    let service = script.play.add_gated(service, Temper::default(), random);
    script.play.listen(service, |listener| {
        if is_secure {
            listener.secure = Some(Arc::new(StandIn { body: 1000 }));
        }
    })
}

#[test]
fn fault_d8_a_record_that_was_changed_ends_one_that_has_not_logged_in() {
    let mut script = Script::new(Limits::default());
    let lines = gated(&mut script, Lines, true);
    let link = join(&mut script, lines, 1 << 20);
    is_changed(&mut script, link);
    script.turns(1);
    script.met(State::LoggingIn, &[Meeting::Insecure]);
}

#[test]
fn fault_d3_a_login_is_too_late_of_one_whose_challenge_did_not_leave() {
    let mut script = Script::new(Limits::default());
    let lines = gated(&mut script, Lines, false);
    // Half of the challenge fits.
    let link = script.play.dial_with(lines, 1 << 20, 16);
    script.turns(2);
    script.lasts(10 * SECOND);
    script.turns(1);
    script.play.say(link, b"late");
    assert_eq!(script.play.hears(link).len(), 16);
    script.turns(1);
    assert_eq!(script.play.hears(link).len(), 16);
    script.turns(2);
    script.play.shut(link);
    script.turns(2);
    script.met(State::Lingering, &[Meeting::LoginTimeout]);
    assert_eq!(script.play.counters().closed.login_timeout, 1);
}

#[test]
fn fault_d3_a_login_is_too_late_whose_last_bytes_come_with_the_deadline() {
    let mut script = Script::new(small_budget());
    let lines = gated(&mut script, Lines, false);
    let link = script.play.dial(lines);
    script.turns(2);
    let proof = right_proof(&script.play.hears(link));
    // A byte more than a budget.
    script.play.say(link, &proof[..17]);
    script.turns(1);
    script.lasts(10 * SECOND);
    script.turns(1);
    script.met(State::Queued, &[Meeting::LoginTimeout]);
    assert_eq!(script.play.finds(link), Found::End);
}

/// One that lingers, and has sent more than a budget of what is discarded.
fn lingers_on(script: &mut Script) -> usize {
    let lines = script.play.open(Lines);
    let link = script.play.dial(lines);
    script.play.say(link, b"q\n");
    script.play.say(link, &[b'x'; 2000]);
    script.turns(5);
    assert_eq!(script.play.hears(link), b"bye\n");
    link
}

fn small_budget() -> Limits {
    Limits {
        read_per_turn: 16,
        ..Limits::default()
    }
}

#[test]
fn one_that_lingers_with_more_to_discard_meets_its_deadline_and_the_stop() {
    let mut script = Script::new(small_budget());
    lingers_on(&mut script);
    script.play.os.net(|net| net.signal(Signal::Stop));
    script.turns(2);
    script.lasts(2 * SECOND);
    script.turns(1);
    script.met(
        State::LingeringQueued,
        &[Meeting::Stopping, Meeting::Deadline],
    );
    assert!(script.play.is_empty());
}

#[test]
fn one_that_lingers_with_more_to_discard_has_its_command_end() {
    let mut script = Script::new(small_budget());
    let runs = script.play.open(Runs);
    let link = script.play.dial(runs);
    let steps = [
        (SECOND, Step::Say(Output::Out, b"late".to_vec())),
        (0, Step::Exit(0)),
    ];
    script
        .play
        .os
        .net(|net| net.next_children.push_back(Steps::from(steps)));
    script.play.say(link, b"command\n");
    script.turns(5);
    script.play.os.net(|net| net.signal(Signal::Stop));
    script.turns(2);
    script.play.say(link, &[b'x'; 2000]);
    script.turns(2);
    script.lasts(SECOND);
    script.turns(5);
    script.met(State::LingeringQueued, &[Meeting::Resumes]);
    assert_eq!(script.play.hears(link), b"", "its side has ended");
}

#[test]
fn a_frame_was_slow_whose_connection_ends_then() {
    let mut script = Script::new(Limits::default());
    let lines = script.play.open(Lines);
    let link = script.play.dial(lines);
    script.play.say(link, b"half a line");
    script.turns(2);
    script.lasts(31 * SECOND);
    script.turns(2);
    script.play.shut(link);
    script.turns(1);
    script.met(State::Lingering, &[Meeting::SlowFrame]);
}

#[test]
fn a_frame_was_slow_whose_connection_goes_on_sending() {
    let mut script = Script::new(small_budget());
    let lines = script.play.open(Lines);
    let link = script.play.dial(lines);
    script.play.say(link, b"half a line");
    script.turns(2);
    script.lasts(31 * SECOND);
    script.turns(1);
    script.play.say(link, &[b'x'; 20]);
    script.play.shut(link);
    script.turns(3);
    script.met(State::LingeringQueued, &[Meeting::SlowFrame]);
}

#[test]
fn the_client_of_a_frame_is_gone_before_its_answer_comes() {
    let mut script = Script::new(Limits::default());
    let lines = script.play.open(Lines);
    let link = script.play.dial(lines);
    script.play.say(link, b"some");
    script.turns(2);
    script.play.say(link, b" line\nq\n");
    // What is written now is answered by a reset, which the shutdown finds.
    script.play.os.net(|net| net.client_close(link));
    script.turns(1);
    script.met(State::InFrame, &[Meeting::ShutdownFailed]);
    assert!(script.play.is_empty());
}

/// Says more than it may be owed when the last has left, and ends in the next turn.
#[derive(Debug)]
struct EndsAtOnce {
    lingers: bool,
}

impl Service for EndsAtOnce {
    fn input(&mut self, t: &mut Turn<'_>, input: &mut ReadBuf) -> Result<(), Fault> {
        input.consume(input.len());
        t.reply(&b"first"[..]);
        t.tell_when_sent();
        Ok(())
    }

    fn drained(&mut self, t: &mut Turn<'_>) {
        t.reply(&[b'x'; 100][..]);
        t.wake_at(t.now);
    }

    fn wake(&mut self, t: &mut Turn<'_>) {
        match self.lingers {
            true => t.close_lingering(),
            false => t.close(),
        }
    }
}

#[test]
fn one_that_is_owed_too_much_ends_with_the_write_that_takes_all() {
    let limits = Limits {
        out_pause: 50,
        out_resume: 50,
        ..Limits::default()
    };
    for lingers in [false, true] {
        let mut script = Script::new(limits.clone());
        let service = script.play.open(EndsAtOnce { lingers });
        let link = script.play.dial(service);
        script.turns(2);
        script.play.say(link, b"go");
        script.turns(1);
        assert_eq!(script.play.hears(link), b"first");
        if lingers {
            // What is written now is answered by a reset, which the shutdown finds.
            script.play.os.net(|net| net.client_close(link));
            script.turns(1);
            script.met(State::PausedOwed, &[Meeting::ShutdownFailed]);
        } else {
            script.turns(1);
            script.met(State::PausedOwed, &[Meeting::Done]);
            assert_eq!(script.play.hears(link), [b'x'; 100]);
        }
        assert!(script.play.is_empty());
    }
}

/// A member that is owed more than the soft limit, another, and the table so far.
fn one_behind(before: &[u8]) -> (Script, usize, usize) {
    let mut script = Script::new(Limits {
        chat_soft: 100,
        ..Limits::default()
    });
    let crowd = script.play.open(Crowd::default());
    // The first is polite (see `Crowd`).
    let slow = script.play.dial_with(crowd, 1000, 1000);
    let speaker = script.play.dial(crowd);
    script.turns(3);
    script.play.say(slow, before);
    script
        .play
        .say(speaker, &[&[b'x'; 1199][..], b"\n"].concat());
    script.turns(2);
    (script, slow, speaker)
}

#[test]
fn one_that_is_behind_catches_up_and_ends_in_one_turn() {
    let (mut script, slow, _) = one_behind(b"");
    script.play.hears(slow);
    script.play.say(slow, b"Q\n");
    script.turns(1);
    script.met(State::Behind, &[Meeting::Done]);

    let (mut script, slow, _) = one_behind(b"!");
    script.play.hears(slow);
    script.play.shut(slow);
    script.turns(1);
    script.met(State::Behind, &[Meeting::Refused]);
}

#[test]
fn one_that_is_held_is_too_slow_all_the_same() {
    let mut script = Script::new(Limits {
        chat_soft: 100,
        chat_hard: 100,
        ..Limits::default()
    });
    let crowd = script.play.open(Crowd::default());
    let (slow, speaker) = (
        script.play.dial_with(crowd, 1000, 1000),
        script.play.dial(crowd),
    );
    script.turns(3);
    // After a line of this length it is held for a moment.
    script.play.say(slow, b"ab\n");
    script.turns(1);
    script
        .play
        .say(speaker, &[&[b'x'; 1199][..], b"\n"].concat());
    script.turns(1);
    script.met(State::PausedHeld, &[Meeting::TooSlow]);
}

#[test]
fn one_that_is_behind_is_cut_off_or_sends_what_was_changed() {
    for is_changed_too in [false, true] {
        let mut script = Script::new(Limits {
            chat_soft: 100,
            ..Limits::default()
        });
        let crowd = script.play.open_with(Crowd::default(), |listener| {
            listener.secure = Some(Arc::new(StandIn { body: 1000 }));
        });
        let slow = join(&mut script, crowd, 1000);
        let speaker = join(&mut script, crowd, 1 << 20);
        let line = [&[b'x'; 1199][..], b"\n"].concat();
        says(&mut script, speaker, &line);
        script.turns(3);
        if is_changed_too {
            is_changed(&mut script, slow);
            script.turns(1);
            script.met(State::Behind, &[Meeting::Insecure]);
        } else {
            script.play.hears(slow);
            is_cut(&mut script, slow);
            script.turns(1);
            script.met(State::Behind, &[Meeting::Cut]);
        }
    }
}

/// Ends a second after its input has.
#[derive(Debug)]
struct EndsLater;

impl Service for EndsLater {
    fn input(&mut self, _t: &mut Turn<'_>, input: &mut ReadBuf) -> Result<(), Fault> {
        input.consume(input.len());
        Ok(())
    }

    fn eof(&mut self, t: &mut Turn<'_>, _rest: &mut ReadBuf) -> Result<(), Fault> {
        t.wake_at(t.now.after(Duration::from_secs(1)));
        Ok(())
    }

    fn wake(&mut self, t: &mut Turn<'_>) {
        t.close();
    }
}

/// A client that said its end is gone before our side has ended, which takes a second.
fn is_gone_meanwhile(service: impl Service + 'static, first_write: Option<usize>, state: State) {
    let mut script = Script::new(Limits::default());
    let link = tunnel(&mut script, service, 1 << 20);
    script
        .play
        .os
        .net(|net| net.next_writes.extend(first_write));
    script.play.shut(link);
    script.turns(2);
    script.play.os.net(|net| net.client_close(link));
    script.turns(1);
    script.lasts(SECOND);
    // What is written now is answered by a reset, which the shutdown finds.
    script.turns(1);
    script.met(state, &[Meeting::ShutdownFailed]);
    assert!(script.play.is_empty());
}

#[test]
fn one_whose_end_was_said_by_its_session_is_gone_when_our_side_ends() {
    is_gone_meanwhile(EndsLater, None, State::AnswerDue);
    // Its last record does not leave at once.
    is_gone_meanwhile(Lines, Some(0), State::Ended);
}

/// Members that were all disconnected in one turn, of whom one is freed in each of the next.
fn the_dead(limits: Limits) -> (Script, Vec<usize>) {
    let limits = Limits {
        deliveries_per_turn: 1,
        chat_soft: 100,
        chat_hard: 100,
        ..limits
    };
    let mut script = Script::new(limits);
    let crowd = script.play.open_with(Crowd::default(), |listener| {
        listener.idle = Some(Duration::from_secs(1));
    });
    let speaker = script.play.dial(crowd);
    let deaf: Vec<usize> = (0..40)
        .map(|_| script.play.dial_with(crowd, 1000, 1000))
        .collect();
    script.turns(45);
    let line = [&[b'x'; 1200][..], b"\n"].concat();
    script.play.say(speaker, &line);
    script.turns(1);
    assert_eq!(script.play.counters().connections, 40, "one is freed");
    (script, deaf)
}

#[test]
fn what_meets_one_that_waits_to_be_freed_is_ignored() {
    let (mut script, deaf) = the_dead(Limits::default());
    for (k, &link) in deaf.iter().enumerate() {
        script.play.os.net(|net| match k % 6 {
            0 => net.client_urge(link),
            1 => net.client_shut(link),
            2 => net.client_reset(link),
            3 => {
                net.links[link].local = true;
                net.client_read(link, 1 << 20);
                net.client_close(link);
            }
            4 => drop(net.client_write(link, b"late")),
            _ => drop(net.client_read(link, 1 << 20)),
        });
    }
    script.turns(1);
    script.met(
        State::Dead,
        &[
            Meeting::Readable,
            Meeting::Writable,
            Meeting::ReadClosed,
            Meeting::HungUp,
            Meeting::Urgent,
            Meeting::Error,
        ],
    );
    script.lasts(SECOND);
    script.turns(1);
    script.met(State::Dead, &[Meeting::Deadline]);
    script.turns(50);
    let closed = script.play.counters().closed;
    assert_eq!((closed.too_slow, closed.gone), (40, 0));
}

#[test]
fn those_that_wait_to_be_freed_are_freed_when_the_loop_gives_up() {
    let (mut script, _) = the_dead(Limits::default());
    script.play.os.net(|net| {
        net.signal(Signal::Stop);
        net.signal(Signal::Stop);
    });
    script.turns(1);
    script.play.reactor.run().unwrap();
    script.coverage.abandoned(&script.play);
    script.met(State::Dead, &[Meeting::Abandoned]);
    let counters = script.play.counters();
    assert_eq!((counters.connections, counters.closed.too_slow), (0, 40));
}

#[test]
fn a_reader_that_has_ended_its_side_must_keep_up_all_the_same() {
    let mut script = Script::new(Limits {
        chat_soft: 100,
        chat_hard: 100,
        ..Limits::default()
    });
    let options = command::Options::default();
    let tail = script
        .play
        .open(Tail::new("tail", &options, &Limits::default()));
    let lines = [&[b'x'; 1199][..], b"\n"].concat();
    let steps = [
        (SECOND, Step::Say(Output::Out, lines)),
        (3600 * SECOND, Step::Exit(0)),
    ];
    script
        .play
        .os
        .net(|net| net.next_children.push_back(Steps::from(steps)));
    let reader = script.play.dial_with(tail, 1000, 1000);
    script.turns(3);
    script.play.shut(reader);
    script.turns(2);
    assert!(!script.play.os.net(|net| net.links[reader].closed));
    script.lasts(SECOND);
    script.turns(3);
    script.met(State::AnswerDue, &[Meeting::TooSlow]);
    assert!(script.play.os.net(|net| net.links[reader].closed));
}

/// Answers with as many bytes as it is sent, and never ends.
#[derive(Debug)]
struct Owes;

impl Service for Owes {
    fn input(&mut self, t: &mut Turn<'_>, input: &mut ReadBuf) -> Result<(), Fault> {
        t.reply_all(input);
        Ok(())
    }

    fn eof(&mut self, _t: &mut Turn<'_>, _rest: &mut ReadBuf) -> Result<(), Fault> {
        Ok(())
    }
}

/// Answers with as many bytes as it is sent, and ends then.
#[derive(Debug)]
struct AnswersAndEnds;

impl Service for AnswersAndEnds {
    fn input(&mut self, t: &mut Turn<'_>, input: &mut ReadBuf) -> Result<(), Fault> {
        t.reply_all(input);
        t.close_lingering();
        Ok(())
    }
}

/// A client reads nothing, which may have ended its side, and others spend what is left of the budget.
fn is_evicted(service: impl Service + 'static, state: State) {
    let mut script = Script::new(Limits {
        buffers: 10_000,
        ..Limits::default()
    });
    let (listener, echo) = (script.play.open(service), script.play.open(Echo));
    let target = script.play.dial_with(listener, 1 << 20, 100);
    script.play.say(target, &[b'x'; 4000]);
    if state != State::Leaving {
        script.play.shut(target);
    }
    script.turns(5);
    for _ in 0..20 {
        let link = script.play.dial_with(echo, 1 << 20, 100);
        script.play.say(link, &[b'x'; 600]);
        script.turns(2);
    }
    script.met(state, &[Meeting::Evicted]);
    assert!(script.play.os.net(|net| net.links[target].closed));
}

#[test]
fn one_that_is_owed_an_answer_may_have_the_largest_buffer() {
    is_evicted(Owes, State::AnswerDue);
}

#[test]
fn one_whose_last_answer_leaves_may_have_the_largest_buffer() {
    is_evicted(Echo, State::Ended);
    is_evicted(AnswersAndEnds, State::Leaving);
}
