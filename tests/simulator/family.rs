use std::collections::VecDeque;

use onepoll::outbox::{Exit, Output};

use crate::link::Watch;

/// A child as the kernel sees it: a process group, and the pipes that its members hold.
#[derive(Debug)]
pub(crate) struct Child {
    /// The command line it was started with.
    pub(crate) line: Vec<u8>,
    /// What it does, and how long after the step before.
    pub(crate) steps: VecDeque<(u64, Step)>,
    pub(crate) out: Pipe,
    pub(crate) err: Pipe,
    pub(crate) exit: Option<Exit>,
    pub(crate) reaped: bool,
    /// The whole group was killed.
    pub(crate) killed: bool,
    pub(crate) watch: Watch,
}

/// One thing that a child does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Writes; waits while the pipe is full.
    Say(Output, Vec<u8>),
    /// Closes an output and goes on.
    Shut(Output),
    /// Starts a grandchild that holds both pipes and is not of the group: nobody kills it.
    Escape,
    /// Starts a grandchild that holds both pipes.
    Fork,
    /// Ends.
    Exit(i32),
}

/// The pipe of an output.
#[derive(Debug, Default)]
pub(crate) struct Pipe {
    pub(crate) bytes: VecDeque<u8>,
    /// The leader holds it.
    pub(crate) leader: bool,
    /// Somebody of its group does.
    pub(crate) group: bool,
    /// Somebody does who left the group.
    pub(crate) escaped: bool,
    /// The server has closed its end.
    pub(crate) closed: bool,
    pub(crate) watch: Watch,
    /// All that went through it.
    pub(crate) said: Vec<u8>,
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
    pub(crate) fn new(line: &[u8], steps: VecDeque<(u64, Step)>) -> Child {
        Child {
            line: line.to_vec(),
            steps,
            out: Pipe::new(),
            err: Pipe::new(),
            exit: None,
            reaped: false,
            killed: false,
            watch: Watch::default(),
        }
    }

    pub(crate) fn pipe(&mut self, output: Output) -> &mut Pipe {
        match output {
            Output::Out => &mut self.out,
            Output::Err => &mut self.err,
        }
    }
}
