use std::io;

/// A command to run: a line for the shell, with pipes for its output and nothing for its input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// What `/bin/sh -c` is given.
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

/// Which of a command's two outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// With this code, 0 to 255.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

/// What becomes of a command.
#[derive(Debug)]
pub enum ChildEvent<'a> {
    /// It runs: it may have waited for others to end before.
    Started,
    /// It wrote this.
    Wrote(Output, &'a [u8]),
    /// It ended, and everything it wrote has been told.
    Ended(Exit),
    /// It never ran: as many are running and waiting as the limits allow.
    Busy,
    /// It never ran, for this reason.
    Failed(io::Error),
}
