use std::io;
use std::time::Duration;

use thiserror::Error;

/// Which of a command's two outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Exit {
    /// With this code, 0 to 255.
    #[error("{0}")]
    Code(i32),
    /// By this signal.
    #[error("signal {0}")]
    Signal(i32),
}

/// What a command used, as far as it is known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// CPU time in its own code, and in that of the processes that it waited for.
    pub user: Option<Duration>,
    /// The same in the kernel.
    pub system: Option<Duration>,
    /// The most memory that it or one of those had at once, in bytes; at least what this process had when it
    /// started it.
    pub peak: Option<u64>,
    /// Whether a process that outlived it wrote on, and was not listened to any more.
    pub is_cut: bool,
}

/// What becomes of a command.
#[derive(Debug)]
pub enum ChildEvent<'a> {
    /// It runs: it may have waited for others to end before.
    Started,
    /// It wrote this.
    Wrote(Output, &'a [u8]),
    /// Its standard input took so many bytes of what it was [fed](super::Turn::feed).
    Took(usize),
    /// It closed its standard input before that had ended: what it is fed is dropped.
    InputClosed,
    /// It used this; told of a [streamed](super::Job::is_streamed) one, right before its end is.
    Used(Usage),
    /// It ended, and everything it wrote has been told.
    Ended(Exit),
    /// It never ran: as many are running and waiting as the limits allow.
    Busy,
    /// It never ran, for this reason.
    Failed(io::Error),
}
