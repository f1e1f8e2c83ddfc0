use super::Moment;

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
    /// Give the service the loop's figures.
    Figures,
    /// Tell what runs the loop that a process wants its sockets.
    HandOver(HandOver),
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

/// A command to run: a line for the shell, with pipes for its output and nothing for its input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// What `/bin/sh -c --` is given.
    pub line: Vec<u8>,
}

/// How hard a command is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// SIGTERM: it may clean up.
    Ask,
    /// SIGKILL.
    Force,
}
