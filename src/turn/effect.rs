use std::sync::Arc;
use std::time::Duration;

use super::{Errand, FileNote, FilePiece, Moment, Secure};
use crate::config::Confinement;
use crate::wire::CommandSignal;

/// What a service asked of the reactor besides sending bytes.
#[derive(Debug)]
pub(crate) enum Effect {
    /// Wake the service at this moment.
    Wake(Moment),
    /// Offer the unread input again, and read on.
    Resume,
    /// Run a command and tell the service what comes of it.
    Spawn(Box<Job>),
    /// It has logged in.
    Admit,
    /// End its command.
    Kill(Severity),
    /// Send a signal to its command.
    Signal(CommandSignal),
    /// Pass this to the standard input of its command.
    Feed(Vec<u8>),
    /// The standard input of its command ends.
    EndFeed,
    /// Have a child do something for the service.
    Errand(Box<Errand>),
    /// Send this, from where it lies.
    SendFile(FilePiece),
    /// Tell the audit and the counters of a file.
    Note(Box<FileNote>),
    /// Give the service the loop's figures.
    Figures,
    /// Tell what runs the loop that a process wants its sockets.
    HandOver(HandOver),
    /// Begin a session on it.
    Secure(Box<Beginning>),
}

/// A session that is to begin.
#[derive(Debug)]
pub(crate) struct Beginning {
    /// What begins it.
    pub(crate) secure: Arc<dyn Secure>,
    /// How long its handshake may take.
    pub(crate) within: Duration,
}

/// What a process wants that takes this server's sockets over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HandOver {
    /// The sockets, from this one on.
    Sockets {
        /// The number of the first.
        from: u32,
    },
    /// That the server lets go of them.
    Ready {
        /// The numbers of those that the process goes on with.
        taken: Vec<u32>,
    },
}

/// A command to run: a line for the shell or a program, with pipes for its output.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Job {
    /// What `/bin/sh -c --` is given; of a program, what a person would type to have it run.
    pub line: Vec<u8>,
    /// A program and its arguments, which are run instead, without a shell.
    pub program: Option<Vec<Vec<u8>>>,
    /// The directory in which it runs; none: the server's.
    pub directory: Option<Vec<u8>>,
    /// `NAME=VALUE`, beside what commands have of the server's environment and instead of it.
    pub environment: Vec<Vec<u8>>,
    /// Within what it runs; none: as the server does.
    pub confinement: Option<Arc<Confinement>>,
    /// Whether it is [fed](super::Turn::feed); else it has no input.
    pub has_input: bool,
    /// Whether both its outputs wait in their pipes while its connection is owed too much; else only standard
    /// output does, and the other is collected.
    pub is_streamed: bool,
    /// Work of the server's own that is done instead, in a child with no policy and no mark.
    pub errand: Option<Errand>,
    /// Its number among the commands of this process, which it has from when it is
    /// [asked for](super::Turn::spawn); 0 before.
    pub id: u64,
}

impl Job {
    /// A line for the shell, with nothing for its input.
    pub fn line(line: Vec<u8>) -> Job {
        Job {
            line,
            ..Job::default()
        }
    }
}

/// How hard a command is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// SIGTERM: it may clean up.
    Ask,
    /// SIGKILL.
    Force,
}
