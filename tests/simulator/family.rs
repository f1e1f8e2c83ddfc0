use std::collections::VecDeque;
use std::os::fd::OwnedFd;

use onepoll::service::file::perform;
use onepoll::turn::{Errand, Exit, Output};

use crate::kernel::MILLI;
use crate::link::Watch;
use crate::random::Random;

/// A child as the kernel sees it: a process group, and the pipes that its members hold.
#[derive(Debug)]
pub(crate) struct Child {
    /// What it does, and how long after the step before.
    pub(crate) steps: Steps,
    pub(crate) out: Pipe,
    pub(crate) err: Pipe,
    pub(crate) input: Option<Input>,
    pub(crate) exit: Option<Exit>,
    pub(crate) reaped: bool,
    /// It writes for all readers of a service.
    pub(crate) is_broadcast: bool,
    /// The whole group was killed.
    pub(crate) killed: bool,
    pub(crate) watch: Watch,
    /// It works on files, and does so also when the server has stopped.
    pub(crate) has_errand: bool,
    /// What it was sent for, until it has ended.
    pub(crate) errand: Option<Errand>,
}

/// What a child does, and how long after the step before.
pub(crate) type Steps = VecDeque<(u64, Step)>;

/// One thing that a child does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Does what it was sent for, with files; what came of it is what it writes then.
    Perform,
    /// Writes; waits while the pipe is full.
    Say(Output, Vec<u8>),
    /// Closes an output and goes on.
    Shut(Output),
    /// Starts a grandchild that holds both pipes and is not of the group: nothing kills it.
    Escape,
    /// Starts a grandchild that holds both pipes.
    Fork,
    /// Reads so much of its input, or to its end.
    Take(usize),
    /// Writes all that it reads of its input to its output.
    Copy,
    /// Closes its input.
    Deafen,
    /// Ends.
    Exit(i32),
}

/// The pipe of an output.
#[derive(Debug, Default)]
pub(crate) struct Pipe {
    pub(crate) bytes: VecDeque<u8>,
    /// The leader holds it.
    pub(crate) leader: bool,
    /// Another process of its group does.
    pub(crate) group: bool,
    /// A process that left the group does.
    pub(crate) escaped: bool,
    /// The server has closed its end.
    pub(crate) closed: bool,
    pub(crate) watch: Watch,
    /// All that went through it.
    pub(crate) said: Vec<u8>,
}

/// The pipe of an input.
#[derive(Debug, Default)]
pub(crate) struct Input {
    pub(crate) bytes: VecDeque<u8>,
    /// Nobody reads it any more.
    pub(crate) is_deaf: bool,
    /// The server has closed its end.
    pub(crate) is_over: bool,
    /// A write was short: there is an edge when there is room.
    pub(crate) was_full: bool,
    pub(crate) watch: Watch,
}

pub(crate) const PIPE_BYTES_MAX: usize = 64 * 1024;

impl Pipe {
    fn new() -> Pipe {
        Pipe {
            leader: true,
            ..Pipe::default()
        }
    }

    pub(crate) fn is_held(&self) -> bool {
        self.leader || self.group || self.escaped
    }
}

impl Child {
    pub(crate) fn new(steps: Steps, has_input: bool) -> Child {
        Child {
            steps,
            input: has_input.then(Input::default),
            out: Pipe::new(),
            err: Pipe::new(),
            exit: None,
            reaped: false,
            is_broadcast: false,
            killed: false,
            watch: Watch::default(),
            has_errand: false,
            errand: None,
        }
    }

    /// Does what it was sent for, and says what it writes about that.
    pub(crate) fn perform(&self) -> Vec<u8> {
        let errand = self.errand.as_ref().expect("it was sent on one");
        let files: Vec<OwnedFd> = errand
            .files
            .iter()
            .map(|file| file.try_clone().expect("a descriptor"))
            .collect();
        let mut out = Vec::new();
        perform(&errand.order, &files, &mut out).expect("the order is one");
        out
    }

    pub(crate) fn pipe(&mut self, output: Output) -> &mut Pipe {
        match output {
            Output::Out => &mut self.out,
            Output::Err => &mut self.err,
        }
    }
}

/// What a command of this line does: the line decides, so that the client that sends it knows the answer.
pub(crate) fn steps_of(line: &[u8], has_input: bool) -> Steps {
    let number = line
        .iter()
        .fold(7, |sum: u64, &byte| sum.wrapping_mul(31) + u64::from(byte));
    let mut random = Random::new(number);
    let mut steps = Steps::new();
    for _ in 0..random.below(6) {
        if has_input && random.once_in(2) {
            let most = random.size(200_000);
            let step = match random.below(6) {
                0 => Step::Deafen,
                1 | 2 => Step::Take(most),
                _ => Step::Copy,
            };
            steps.push_back((random.pick(&[0, 1, MILLI]), step));
        }
        let output = random.pick(&[Output::Out, Output::Out, Output::Err]);
        let max = if random.once_in(16) { 100_000 } else { 500 };
        let letter = b'a' + random.below(26) as u8;
        let step = match random.below(12) {
            0 => Step::Shut(Output::Err),
            1 => Step::Escape,
            2 => Step::Fork,
            _ => Step::Say(output, vec![letter; random.size(max)]),
        };
        let wait = random.pick(&[0, 1, 1000, MILLI, 50 * MILLI]);
        steps.push_back((wait, step));
    }
    steps.push_back((
        random.pick(&[0, 1, MILLI]),
        Step::Exit(random.below(256) as i32),
    ));
    steps
}

/// What becomes of a command that is left alone.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) out: Vec<u8>,
    pub(crate) err: Vec<u8>,
    pub(crate) code: i32,
}

pub(crate) fn outcome_of(steps: &Steps, mut input: &[u8]) -> Outcome {
    let mut outcome = Outcome::default();
    let mut shut = None;
    for (_, step) in steps {
        match step {
            Step::Say(output, _) if shut == Some(*output) => {}
            Step::Say(Output::Out, bytes) => outcome.out.extend_from_slice(bytes),
            Step::Say(Output::Err, bytes) => outcome.err.extend_from_slice(bytes),
            Step::Shut(output) => shut = Some(*output),
            Step::Exit(code) => outcome.code = *code,
            Step::Take(most) => input = &input[(*most).min(input.len())..],
            Step::Copy => outcome.out.extend_from_slice(std::mem::take(&mut input)),
            Step::Deafen => input = &[],
            Step::Escape | Step::Fork | Step::Perform => {}
        }
    }
    outcome
}
