//! Commands as streams (C5): seeds of their own, whose clients send input as it is granted, signal, cancel, ask
//! early, and vanish at any byte of any frame (`partings.rs`); some through tunnels, some behind a gate, some while
//! an operator changes what is served.
//!
//! ```text
//! ONEPOLL_SIM_SEED=n cargo test --test simulator streams::seeds_of_streams     one seed again
//! ```

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use onepoll::config::Settle;
use onepoll::service::Command;
use onepoll::service::command::{CommandFraming, Options};
use onepoll::wire::{
    CommandAnswer, CommandAnswers, CommandEnd, CommandErrorKind, CommandRequest, CommandSignal,
    Decode, Encode, RunCommand, STDIN_CREDIT_BYTES, StdinChunk, StreamedCommand,
};

use crate::campaign::{Begun, campaign};
use crate::coverage::Coverage;
use crate::family::{self, Outcome, outcome_of, steps_of};
use crate::gates::{Answer, Login, Step};
use crate::kernel::{Client, Found, MICRO, MILLI, Net, SECOND};
use crate::operator::{Kind, any_options};
use crate::overheard::Temper;
use crate::partings::{Heard, Leave, SENT, Sent};
use crate::play::Play;
use crate::random::Random;
use crate::sources::Account;

/// A client that has commands run, one after another, and knows what each must do.
#[derive(Debug)]
struct Streamer {
    listener: usize,
    /// Commands that were not asked for.
    script: VecDeque<Ask>,
    /// Commands that were asked for, and have not ended.
    asked: VecDeque<Ask>,
    /// Does not wait for an end before it asks for more.
    is_early: bool,
    write_max: usize,
    rest_max: u64,
    /// How it goes when it does not wait for the end.
    leaves: Option<Leave>,
    /// In which of how many steps it does.
    leaves_in: usize,
    /// Or earlier: in the middle of such a frame, or after one.
    aim: Option<(Sent, bool)>,
    /// How it answers the challenge that comes first, if one does.
    login: Option<Login>,
    is_challenged: bool,
    link: Option<usize>,
    /// What did not fit yet.
    pending: Vec<u8>,
    /// Frames that are pending: what they are, their length, and how much of that is still to be sent.
    frames: VecDeque<(Sent, usize, usize)>,
    /// The last one that was sent whole.
    sent: Sent,
    heard: Heard,
    answers: CommandAnswers,
    unread: Vec<u8>,
    has_shut: bool,
    is_home: bool,
}

/// One command, and how far it is.
#[derive(Debug)]
struct Ask {
    line: Vec<u8>,
    input: Option<Vec<u8>>,
    meddles: bool,
    expected: Outcome,
    granted: u64,
    sent: usize,
    is_over: bool,
    has_started: bool,
    /// A signal was sent, or it was cancelled.
    is_meddled: bool,
    out: usize,
    err: usize,
}

impl Ask {
    fn of(random: &mut Random, number: usize) -> Ask {
        let line = format!("{number} {}", random.next()).into_bytes();
        let input = random.once_in(2).then(|| {
            let max = if random.once_in(8) { 400_000 } else { 2_000 };
            let (len, first) = (random.size(max), random.next() as u8);
            (0..len).map(|at| first.wrapping_add(at as u8)).collect()
        });
        let steps = steps_of(&line, input.is_some());
        Ask {
            expected: outcome_of(&steps, input.as_deref().unwrap_or_default()),
            line,
            input,
            meddles: random.once_in(4),
            granted: STDIN_CREDIT_BYTES,
            sent: 0,
            is_over: false,
            has_started: false,
            is_meddled: false,
            out: 0,
            err: 0,
        }
    }

    fn run(&self) -> Vec<Frame> {
        let mut run = RunCommand::new(StreamedCommand::Line(self.line.clone()));
        run.has_input = self.input.is_some();
        vec![(Sent::Run, encoded(&CommandRequest::Run(Box::new(run))))]
    }

    /// The next frame that belongs to it, if there is one now.
    fn next(&mut self, random: &mut Random, is_hasty: bool) -> Option<Frame> {
        if self.meddles && random.once_in(8) {
            self.is_meddled = true;
            return Some(match random.once_in(3) {
                true => (Sent::Cancel, encoded(&CommandRequest::Cancel)),
                false => {
                    let signal = random.pick(&CommandSignal::ALL);
                    (Sent::Signal, encoded(&CommandRequest::Signal(signal)))
                }
            });
        }
        let input = self.input.as_ref().filter(|_| !self.is_over)?;
        if self.sent == input.len() {
            self.is_over = true;
            return Some((Sent::StdinEnd, encoded(&CommandRequest::StdinEnd)));
        }
        let granted = usize::try_from(self.granted).expect("it is limited");
        let most = granted.min(input.len()) - self.sent;
        if most == 0 {
            return None;
        }
        let size = if is_hasty { most } else { random.size(most) };
        let chunk = &input[self.sent..self.sent + size];
        self.sent += chunk.len();
        Some((Sent::Stdin, chunk_of(chunk)))
    }

    /// All that belongs to it at once, where it may all be sent.
    fn whole(&mut self) -> Vec<Frame> {
        let mut all = self.run();
        if let Some(input) = &self.input {
            self.granted = input.len() as u64;
            all.push((Sent::Stdin, chunk_of(input)));
            all.push((Sent::StdinEnd, encoded(&CommandRequest::StdinEnd)));
            (self.sent, self.is_over) = (input.len(), true);
        }
        all
    }

    fn hears(heard: &mut usize, bytes: &[u8], expected: &[u8]) {
        let until = *heard + bytes.len();
        assert_eq!(expected.get(*heard..until), Some(bytes), "from {heard}");
        *heard = until;
    }

    fn ends(&self, end: &CommandEnd, is_stopping: bool) {
        assert!(self.has_started, "an end without a start: {self:?}");
        let told = (end.stdout, end.stderr);
        assert_eq!(told, (self.out as u64, self.err as u64), "all of it");
        assert!(end.stdin <= self.sent as u64, "more than was sent");
        if self.is_meddled || is_stopping {
            return;
        }
        let Outcome { out, err, code } = &self.expected;
        let ran = (end.exit, self.out, self.err);
        assert_eq!(ran, (Some(*code), out.len(), err.len()), "{self:?}");
        assert!(end.why.is_none() && !end.is_cut);
    }
}

/// What a frame is, and its bytes.
type Frame = (Sent, Vec<u8>);

fn chunk_of(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    StdinChunk(bytes).encode(&mut out);
    out
}

fn encoded(request: &CommandRequest<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    request.encode(&mut out);
    out
}

impl Streamer {
    fn of(random: &mut Random, listener: usize, login: Option<Login>) -> Streamer {
        let mut script: VecDeque<Ask> = (0..random.some(5)).map(|n| Ask::of(random, n)).collect();
        let input = |ask: &Ask| ask.input.as_ref().map_or(0, Vec::len);
        let fits = |ask: &Ask| input(ask) as u64 <= STDIN_CREDIT_BYTES;
        // Much input byte by byte takes more turns than there are.
        let least = script.iter().map(input).sum::<usize>() / 4096;
        let aim = random.once_in(2).then(|| {
            let frame = random.pick(&SENT);
            for ask in &mut script {
                ask.meddles |= matches!(frame, Sent::Signal | Sent::Cancel);
            }
            (frame, random.once_in(2))
        });
        Streamer {
            listener,
            is_early: script.iter().all(fits) && random.once_in(2),
            script,
            asked: VecDeque::new(),
            write_max: 1 + random.size(1 << 16).max(least),
            rest_max: random.pick(&[5 * MICRO, 50 * MICRO, MILLI, 20 * MILLI]),
            leaves: random.pick(&[
                None,
                None,
                Some(Leave::Reset),
                Some(Leave::Close),
                Some(Leave::Shut),
            ]),
            leaves_in: random.some(200),
            aim,
            login,
            is_challenged: false,
            link: None,
            pending: Vec::new(),
            frames: VecDeque::new(),
            sent: Sent::Run,
            heard: Heard::Nothing,
            answers: CommandAnswers::new(),
            unread: Vec::new(),
            has_shut: false,
            is_home: false,
        }
    }

    fn go_home(&mut self) -> Option<u64> {
        self.is_home = true;
        None
    }

    /// What it says next, if it has something to say.
    fn say(&mut self, random: &mut Random, is_hasty: bool) {
        if let Some(ask) = self.asked.front_mut().filter(|_| !self.is_early)
            && let Some(frame) = ask.next(random, is_hasty)
        {
            self.sends(vec![frame]);
        } else if (self.asked.is_empty() || self.is_early)
            && let Some(mut ask) = self.script.pop_front()
        {
            let frames = match self.is_early {
                true => ask.whole(),
                false => ask.run(),
            };
            self.sends(frames);
            self.asked.push_back(ask);
        } else if random.once_in(16) {
            // Late, or for a command that runs and has nobody who minds.
            let late = [
                (Sent::Cancel, CommandRequest::Cancel),
                (Sent::StdinEnd, CommandRequest::StdinEnd),
            ];
            if self.asked.is_empty() {
                let (sent, frame) = &late[random.index(2)];
                self.sends(vec![(*sent, encoded(frame))]);
            }
        }
    }

    fn sends(&mut self, frames: Vec<Frame>) {
        for (sent, bytes) in frames {
            self.frames.push_back((sent, bytes.len(), bytes.len()));
            self.pending.extend(bytes);
        }
    }

    /// So many of the pending bytes were written, those of a proof first.
    fn has_written(&mut self, n: usize) {
        let of_frames: usize = self.frames.iter().map(|(_, _, left)| left).sum();
        let mut n = n.saturating_sub(self.pending.len() - of_frames);
        while let Some((sent, _, left)) = self.frames.front_mut() {
            let taken = n.min(*left);
            *left -= taken;
            n -= taken;
            if *left > 0 {
                break;
            }
            self.sent = *sent;
            self.frames.pop_front();
        }
    }

    /// The frame that it sent last, and whether it sent all of it.
    fn stands(&self) -> (Sent, bool) {
        let half = self.frames.front().filter(|(_, len, left)| left < len);
        half.map_or((self.sent, true), |(sent, ..)| (*sent, false))
    }

    /// How much of what is pending it may write, so as not to miss its aim.
    fn may_write(&self) -> usize {
        match (self.frames.front(), self.aim) {
            (Some((sent, len, left)), Some((frame, false))) if *sent == frame && left == len => {
                left - 1
            }
            _ => self.pending.len(),
        }
    }

    /// It goes now.
    fn parts(&self, net: &mut Net, how: Leave) {
        let (sent, is_whole) = self.stands();
        let heard = match self.unread.is_empty() {
            true => self.heard,
            false => Heard::Part,
        };
        net.partings.note(how, sent, is_whole, heard);
    }

    /// Waits for the challenge, and answers it; now and then a request comes right behind.
    fn log_in(&mut self, net: &mut Net, link: usize) -> Option<u64> {
        let login = self.login.as_mut().expect("it is to log in");
        match login.step(net, link) {
            Step::Waits => {}
            Step::Over => {
                assert!(self.is_excused(net, link), "not challenged");
                net.client_close(link);
                return self.go_home();
            }
            Step::Says(proof) => {
                let answer = login.answer();
                self.is_challenged = true;
                self.pending = proof;
                if net.random.once_in(2) && !matches!(answer, Answer::Half(_)) {
                    let is_hasty = net.calm;
                    self.say(&mut net.random, is_hasty);
                }
                if !matches!(answer, Answer::Right(_)) {
                    // Nothing runs, and nothing is said.
                    self.script.clear();
                    self.asked.clear();
                }
            }
        }
        Some(self.rest(net))
    }

    fn rest(&self, net: &mut Net) -> u64 {
        let rest_max = if net.calm { MILLI } else { self.rest_max };
        net.random.below(rest_max)
    }

    /// Whether the server had a reason to end that it may have.
    fn is_excused(&self, net: &Net, link: usize) -> bool {
        let login = self.login.as_ref();
        let is_outlived = login.is_some_and(|login| login.is_outlived(net, link));
        let link = &net.links[link];
        // Half a frame has 30 s, and half a record.
        let is_slow = (!self.pending.is_empty() || link.tunnel.is_some())
            && net.now.saturating_sub(link.times.accepted) >= 30 * SECOND;
        net.stop_sent
            || net.may_evict
            || link.was_stuck()
            || is_slow
            || link.was_idle()
            || link.has_lingered()
            || link.was_late(login.is_some())
            || is_outlived
            || login.is_some_and(|login| !matches!(login.answer(), Answer::Right(_)))
            || link.excused
            || link.must_refuse
    }

    fn hear(&mut self, bytes: &[u8], is_stopping: bool) {
        self.unread.extend_from_slice(bytes);
        loop {
            let decoded = self.answers.decode(&self.unread);
            let Some((answer, taken)) = decoded.expect("frames") else {
                return;
            };
            self.heard = match answer {
                CommandAnswer::Part => self.heard,
                CommandAnswer::Started { .. } => Heard::Started,
                CommandAnswer::Stdout(_) => Heard::Stdout,
                CommandAnswer::Stderr(_) => Heard::Stderr,
                CommandAnswer::Credit(_) => Heard::Credit,
                CommandAnswer::StdinClosed => Heard::StdinClosed,
                CommandAnswer::End(_) | CommandAnswer::Error(_) => Heard::End,
            };
            let ask = self.asked.front_mut();
            let is_last = matches!(answer, CommandAnswer::End(_) | CommandAnswer::Error(_));
            match (answer, ask) {
                (CommandAnswer::Part, _) => {}
                (CommandAnswer::Started { .. }, Some(ask)) => {
                    assert!(!std::mem::replace(&mut ask.has_started, true), "twice");
                }
                (CommandAnswer::Stdout(bytes), Some(ask)) => {
                    Ask::hears(&mut ask.out, bytes, &ask.expected.out);
                }
                (CommandAnswer::Stderr(bytes), Some(ask)) => {
                    Ask::hears(&mut ask.err, bytes, &ask.expected.err);
                }
                (CommandAnswer::Credit(bytes), Some(ask)) => ask.granted += bytes,
                (CommandAnswer::StdinClosed, Some(_)) => {}
                (CommandAnswer::End(end), Some(ask)) => ask.ends(&end, is_stopping),
                (CommandAnswer::Error(error), Some(ask)) => {
                    let is_right = match error.kind {
                        CommandErrorKind::Cancelled => ask.is_meddled && !ask.has_started,
                        CommandErrorKind::Stopping => is_stopping,
                        _ => false,
                    };
                    assert!(is_right, "{error:?} to {ask:?}");
                }
                (other, None) => panic!("{other:?} of no command"),
            }
            if is_last {
                self.asked.pop_front();
            }
            self.unread.drain(..taken);
        }
    }
}

impl Client for Streamer {
    fn step(&mut self, net: &mut Net) -> Option<u64> {
        let Some(link) = self.link else {
            self.link = net.connect(self.listener, 4096);
            return match self.link {
                Some(_) => Some(net.random.below(self.rest_max)),
                None => self.go_home(),
            };
        };
        if self.login.is_some() && !self.is_challenged {
            return self.log_in(net, link);
        }
        if net.random.once_in(2) && !self.has_shut {
            if self.pending.is_empty() {
                self.say(&mut net.random, net.calm);
            }
            let most = if net.calm {
                1 << 16
            } else {
                net.random.some(self.write_max)
            };
            let most = self.may_write().min(most);
            let n = net.client_write(link, &self.pending[..most]).unwrap_or(0);
            self.has_written(n);
            self.pending.drain(..n);
        }
        self.leaves_in = self.leaves_in.saturating_sub(1);
        let is_there = self.aim == Some(self.stands()) && net.random.once_in(2);
        if (self.leaves_in == 0 || is_there)
            && !self.has_shut
            && let Some(how) = self.leaves.take()
        {
            self.parts(net, how);
            match how {
                Leave::Reset => net.client_reset(link),
                Leave::Close => net.client_close(link),
                Leave::Shut => {
                    net.client_shut(link);
                    self.has_shut = true;
                }
            }
            if how != Leave::Shut {
                return self.go_home();
            }
        }
        let is_done = self.script.is_empty() && self.asked.is_empty() && self.pending.is_empty();
        if is_done && !self.has_shut {
            net.client_shut(link);
            self.has_shut = true;
        }
        let most = net.random.some(1 << 16);
        match net.client_read(link, most) {
            Found::Nothing => {}
            Found::Bytes(_) if net.links[link].must_refuse => {}
            // After its end nothing is promised.
            Found::Bytes(bytes) if !self.has_shut => self.hear(&bytes, net.stop_sent),
            Found::Bytes(_) => {}
            found => {
                assert!(
                    is_done || self.has_shut || self.is_excused(net, link),
                    "{found:?} in the middle of {:?}: {}",
                    self.asked,
                    net.links[link].sketch(),
                );
                net.client_close(link);
                return self.go_home();
            }
        }
        Some(self.rest(net))
    }

    fn is_home(&self) -> bool {
        self.is_home
    }
}

/// Seeds that `cargo test` tries unless told otherwise: enough for all of `partings.rs`.
const STREAMS_BY_DEFAULT: u64 = 4_000;

#[test]
fn seeds_of_streams() {
    let Some((count, coverage)) = campaign("streams::seeds_of_streams", STREAMS_BY_DEFAULT, run)
    else {
        return;
    };
    println!("where clients left:\n{}", coverage.partings);
    if count >= STREAMS_BY_DEFAULT {
        let missed = coverage.partings.missed();
        assert_eq!(missed, [""; 0], "clients never left so");
    }
}

/// One seed, from the first turn to the last client.
fn run(seed: u64, coverage: &mut Coverage) -> u64 {
    // So few that most wait for others.
    let commands_max = 1 + (seed % 3) as u32;
    let mut begun = Begun::with(seed, |limits| limits.commands = commands_max);
    let commands = opens(&mut begun);
    begun.changes();
    let guesses = begun.is_guessed;
    let is_gated = begun.play.os.net(|net| net.listeners[commands].is_gated);
    for _ in 0..begun.random.some(6) {
        let login = is_gated.then(|| Login::of(&mut begun.random, guesses));
        let client = Streamer::of(&mut begun.random, commands, login);
        begun.invite(Box::new(client));
    }
    begun.perform(coverage)
}

/// Opens a listener for commands, with options by chance.
fn opens(begun: &mut Begun) -> usize {
    let Begun {
        play,
        random,
        profile,
        limits,
        ..
    } = begun;
    let options = Options {
        framing: CommandFraming::Stream,
        // Clients here are slower than any settling time, also within the first four bytes.
        settle: Settle::Never,
        ..Options::default()
    };
    let limits = limits.clone();
    let kind = Kind {
        make: Rc::new(move || Box::new(Command::new(&options, &limits))),
        is_gated: random.once_in(3),
        is_tail: false,
    };
    let challenges = Random::new(random.next());
    let service = play.add_kind(&kind, Temper::default(), challenges);
    let mut account = Account::default();
    let listener = play.listen(service, |options| {
        account = any_options(random, *profile, options);
    });
    play.os.net(|net| {
        let queue = &mut net.listeners[listener];
        queue.is_gated = kind.is_gated;
        queue.sources = account;
    });
    play.serves_kind(listener, kind);
    listener
}

/// A client of C5, in a world where nothing goes wrong but what is told to.
fn runs(steps: &[(u64, family::Step)], has_input: bool) -> (Play, usize) {
    let mut play = Play::directed();
    let limits = onepoll::config::Limits::default();
    let listener = play.open(Command::new(&Options::default(), &limits));
    play.os
        .net(|net| net.next_children.push_back(steps.iter().cloned().collect()));
    let link = play.dial(listener);
    let mut run = RunCommand::new(StreamedCommand::Line(b"command".to_vec()));
    run.has_input = has_input;
    play.say(link, &encoded(&CommandRequest::Run(Box::new(run))));
    play.run();
    (play, link)
}

#[test]
fn fault_f9_c5_whoever_ends_its_input_is_gone() {
    for has_input in [false, true] {
        let steps = [(10_000 * MILLI, family::Step::Exit(0))];
        let (mut play, link) = runs(&steps, has_input);
        assert_eq!(play.counters().children, 1);
        play.shut(link);
        play.pass(Duration::from_millis(100));
        assert_eq!(play.counters().children, 0, "killed and reaped");
        play.run();
        assert!(play.is_empty());
    }
}

#[test]
fn fault_f3_f8_c5_the_end_is_the_exit_and_nothing_is_lost_before_it() {
    use onepoll::turn::Output;
    let much = vec![b'y'; 200_000];
    let steps = [
        (0, family::Step::Escape),
        (0, family::Step::Shut(Output::Err)),
        (0, family::Step::Say(Output::Out, much.clone())),
        (0, family::Step::Exit(3)),
    ];
    let (mut play, link) = runs(&steps, false);
    play.pass(Duration::from_secs(1));
    let heard = play.hears(link);
    let (mut answers, mut at, mut out, mut exit) = (CommandAnswers::new(), 0, 0, None);
    while let Some((answer, taken)) = answers.decode(&heard[at..]).unwrap() {
        match answer {
            CommandAnswer::Stdout(bytes) => out += bytes.len(),
            CommandAnswer::End(end) => exit = end.exit,
            _ => {}
        }
        at += taken;
    }
    assert_eq!((out, exit), (much.len(), Some(3)));
}

#[test]
fn fault_f10_c5_one_that_is_signalled_with_its_request_never_begins_and_the_next_has_its_own_end() {
    let mut play = Play::directed();
    let limits = onepoll::config::Limits::default();
    let listener = play.open(Command::new(&Options::default(), &limits));
    let steps = [(MILLI, family::Step::Exit(3))];
    play.os.net(|net| net.next_children.push_back(steps.into()));
    let link = play.dial(listener);
    let line = StreamedCommand::Line(b"command".to_vec());
    let run = encoded(&CommandRequest::Run(Box::new(RunCommand::new(line))));
    let signal = encoded(&CommandRequest::Signal(CommandSignal::ALL[0]));
    play.say(link, &[&run[..], &signal, &run].concat());
    play.pass(Duration::from_secs(1));
    assert_eq!(play.os.net(|net| net.children.len()), 1);
    let (heard, mut answers, mut at) = (play.hears(link), CommandAnswers::new(), 0);
    let mut told = Vec::new();
    while let Some((answer, taken)) = answers.decode(&heard[at..]).expect("frames") {
        told.push(match answer {
            CommandAnswer::Error(error) => format!("{:?}", error.kind),
            CommandAnswer::Started { .. } => "started".into(),
            CommandAnswer::End(end) => format!("{:?}", end.exit),
            CommandAnswer::Part => String::new(),
            other => format!("{other:?}"),
        });
        at += taken;
    }
    told.retain(|one| !one.is_empty());
    assert_eq!(told, ["Cancelled", "started", "Some(3)"]);
}
