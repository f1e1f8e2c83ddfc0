//! Commands as streams (C5): seeds of their own, whose clients send input as it is granted, signal, cancel, ask
//! early, and vanish at any byte of any frame.
//!
//! ```text
//! ONEPOLL_SIM_SEED=n cargo test --test simulator seeds_of_streams     one seed again
//! ```

use std::collections::VecDeque;
use std::time::Duration;

use onepoll::config::Settle;
use onepoll::service::command::{CommandFraming, Options};
use onepoll::service::{Command, Echo};
use onepoll::wire::{
    CommandAnswer, CommandAnswers, CommandEnd, CommandErrorKind, CommandRequest, CommandSignal,
    Decode, Encode, RunCommand, STDIN_CREDIT_BYTES, StdinChunk, StreamedCommand,
};

use crate::campaign::{Begun, SEEDS_BY_DEFAULT, number};
use crate::coverage::Coverage;
use crate::family::{Outcome, Step, outcome_of, steps_of};
use crate::kernel::{Client, Found, MICRO, MILLI, Net, SECOND};
use crate::play::Play;
use crate::random::Random;

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
    leaves: Leave,
    /// In which of how many steps it does.
    leaves_in: usize,
    link: Option<usize>,
    /// What did not fit yet.
    pending: Vec<u8>,
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

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leave {
    No,
    Reset,
    Close,
    Shut,
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

    fn run(&self) -> Vec<u8> {
        let mut run = RunCommand::new(StreamedCommand::Line(self.line.clone()));
        run.has_input = self.input.is_some();
        encoded(&CommandRequest::Run(Box::new(run)))
    }

    /// The next frame that belongs to it, if there is one now.
    fn next(&mut self, random: &mut Random, is_hasty: bool) -> Option<Vec<u8>> {
        if self.meddles && random.once_in(8) {
            self.is_meddled = true;
            return Some(encoded(&match random.once_in(3) {
                true => CommandRequest::Cancel,
                false => CommandRequest::Signal(random.pick(&CommandSignal::ALL)),
            }));
        }
        let input = self.input.as_ref().filter(|_| !self.is_over)?;
        if self.sent == input.len() {
            self.is_over = true;
            return Some(encoded(&CommandRequest::StdinEnd));
        }
        let granted = usize::try_from(self.granted).expect("it is limited");
        let most = granted.min(input.len()) - self.sent;
        if most == 0 {
            return None;
        }
        let size = if is_hasty { most } else { random.size(most) };
        let chunk = &input[self.sent..self.sent + size];
        self.sent += chunk.len();
        let mut out = Vec::new();
        StdinChunk(chunk).encode(&mut out);
        Some(out)
    }

    /// All that belongs to it at once, where it may all be sent.
    fn whole(&mut self) -> Vec<u8> {
        let mut out = self.run();
        if let Some(input) = &self.input {
            self.granted = input.len() as u64;
            StdinChunk(input).encode(&mut out);
            CommandRequest::StdinEnd.encode(&mut out);
            (self.sent, self.is_over) = (input.len(), true);
        }
        out
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

fn encoded(request: &CommandRequest<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    request.encode(&mut out);
    out
}

impl Streamer {
    fn of(random: &mut Random, listener: usize) -> Streamer {
        let script: VecDeque<Ask> = (0..random.some(5)).map(|n| Ask::of(random, n)).collect();
        let input = |ask: &Ask| ask.input.as_ref().map_or(0, Vec::len);
        let fits = |ask: &Ask| input(ask) as u64 <= STDIN_CREDIT_BYTES;
        // Much input byte by byte takes more turns than there are.
        let least = script.iter().map(input).sum::<usize>() / 4096;
        Streamer {
            listener,
            is_early: script.iter().all(fits) && random.once_in(2),
            script,
            asked: VecDeque::new(),
            write_max: 1 + random.size(1 << 16).max(least),
            rest_max: random.pick(&[5 * MICRO, 50 * MICRO, MILLI, 20 * MILLI]),
            leaves: random.pick(&[
                Leave::No,
                Leave::No,
                Leave::Reset,
                Leave::Close,
                Leave::Shut,
            ]),
            leaves_in: random.some(200),
            link: None,
            pending: Vec::new(),
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
            self.pending = frame;
        } else if (self.asked.is_empty() || self.is_early)
            && let Some(mut ask) = self.script.pop_front()
        {
            self.pending = match self.is_early {
                true => ask.whole(),
                false => ask.run(),
            };
            self.asked.push_back(ask);
        } else if random.once_in(16) {
            // Late, or for a command that runs and has nobody who minds.
            let late = [CommandRequest::Cancel, CommandRequest::StdinEnd];
            if self.asked.is_empty() {
                self.pending = encoded(&late[random.index(2)]);
            }
        }
    }

    fn hear(&mut self, bytes: &[u8], is_stopping: bool) {
        self.unread.extend_from_slice(bytes);
        loop {
            let decoded = self.answers.decode(&self.unread);
            let Some((answer, taken)) = decoded.expect("frames") else {
                return;
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
        if net.random.once_in(2) && !self.has_shut {
            if self.pending.is_empty() {
                self.say(&mut net.random, net.calm);
            }
            let most = if net.calm {
                1 << 16
            } else {
                net.random.some(self.write_max)
            };
            let most = self.pending.len().min(most);
            let n = net.client_write(link, &self.pending[..most]).unwrap_or(0);
            self.pending.drain(..n);
        }
        self.leaves_in = self.leaves_in.saturating_sub(1);
        if self.leaves_in == 0 && self.leaves != Leave::No {
            match self.leaves {
                Leave::Reset => net.client_reset(link),
                Leave::Close => net.client_close(link),
                _ if self.has_shut => {}
                _ => {
                    net.client_shut(link);
                    self.has_shut = true;
                }
            }
            if self.leaves != Leave::Shut {
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
                let times = net.links[link].times;
                let is_stuck = times.closed.saturating_sub(times.written) >= 10 * SECOND;
                // Half a frame has 30 s.
                let is_slow = !self.pending.is_empty()
                    && net.now.saturating_sub(times.accepted) >= 30 * SECOND;
                assert!(
                    is_done
                        || self.has_shut
                        || net.stop_sent
                        || net.may_evict
                        || is_stuck
                        || is_slow
                        || net.links[link].excused
                        || net.links[link].must_refuse,
                    "{found:?} in the middle of {:?}: {}",
                    self.asked,
                    net.links[link].sketch(),
                );
                net.client_close(link);
                return self.go_home();
            }
        }
        let rest_max = if net.calm { MILLI } else { self.rest_max };
        Some(net.random.below(rest_max))
    }

    fn is_home(&self) -> bool {
        self.is_home
    }
}

#[test]
fn seeds_of_streams() {
    if let Some(seed) = number("ONEPOLL_SIM_SEED") {
        return run(seed);
    }
    let first = number("ONEPOLL_SIM_FROM").unwrap_or(1);
    let count = number("ONEPOLL_SIM_SEEDS").unwrap_or(SEEDS_BY_DEFAULT / 5);
    for seed in first..first + count {
        let outcome = std::panic::catch_unwind(|| run(seed));
        if let Err(panic) = outcome {
            eprintln!(
                "seed {seed} fails; again: ONEPOLL_SIM_SEED={seed} cargo test --test simulator seeds_of_streams"
            );
            std::panic::resume_unwind(panic);
        }
    }
}

/// One seed, from the first turn to the last client.
fn run(seed: u64) {
    // So few that most wait for others.
    let commands_max = 1 + (seed % 3) as u32;
    let mut begun = Begun::with(seed, |limits| limits.commands = commands_max);
    let limits = begun.limits.clone();
    let options = Options {
        framing: CommandFraming::Stream,
        // Clients here are slower than any settling time, also within the first four bytes.
        settle: Settle::Never,
        ..Options::default()
    };
    let commands = begun.play.open(Command::new(&options, &limits));
    begun.play.open(Echo);
    let clients = begun.random.some(6);
    for _ in 0..clients {
        let client = Streamer::of(&mut begun.random, commands);
        begun.invite(Box::new(client));
    }
    begun.perform(&mut Coverage::default());
}

/// A client of C5, in a world where nothing goes wrong but what is told to.
fn runs(steps: &[(u64, Step)], has_input: bool) -> (Play, usize) {
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
        let steps = [(10_000 * MILLI, Step::Exit(0))];
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
        (0, Step::Escape),
        (0, Step::Shut(Output::Err)),
        (0, Step::Say(Output::Out, much.clone())),
        (0, Step::Exit(3)),
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
