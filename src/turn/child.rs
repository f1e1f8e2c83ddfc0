use std::io;

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
