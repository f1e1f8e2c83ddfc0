//! Commands as lines (C1). No mark ends an output.

use std::time::Duration;

use rustix::stdio::stdout;

use super::output::{Output, Unwritable};
use crate::client::{ClientError, RawExec, RawNews};

/// A connection on which lines are run, and where what comes of them goes, as it comes.
#[derive(Debug)]
pub(super) struct RawLines {
    exec: RawExec,
    out: Output,
    timeout: Option<Duration>,
    /// How long nothing more has to come until an output is taken to be over: not at all, unless somebody reads it
    /// before the next line is typed. The order of outputs is the server's, in any case.
    silence: Duration,
}

/// Why no more is run.
#[derive(Debug)]
pub(super) enum RawStop {
    Client(ClientError),
    Output(Unwritable),
}

impl From<ClientError> for RawStop {
    fn from(error: ClientError) -> RawStop {
        RawStop::Client(error)
    }
}

impl From<Unwritable> for RawStop {
    fn from(error: Unwritable) -> RawStop {
        RawStop::Output(error)
    }
}

impl RawLines {
    pub(super) fn new(exec: RawExec, timeout: Option<Duration>, is_raw: bool) -> RawLines {
        RawLines {
            exec,
            out: Output::new(stdout(), is_raw),
            timeout,
            silence: Duration::ZERO,
        }
    }

    /// Waits from now on for the end of each output, as far as it can be guessed.
    pub(super) fn await_outputs(&mut self, silence: Duration) {
        self.silence = silence;
    }

    /// Asks for a line, and shows what comes until it seems to be over.
    pub(super) fn run(&mut self, line: &str) -> Result<(), RawStop> {
        self.exec.ask(line, self.timeout)?;
        self.show_more()
    }

    /// Asks for a line and for nothing more, and shows all that comes.
    pub(super) fn run_last(&mut self, line: &str) -> Result<(), RawStop> {
        self.exec.ask(line, self.timeout)?;
        self.finish()
    }

    /// Shows what comes until it seems to be over.
    pub(super) fn show_more(&mut self) -> Result<(), RawStop> {
        self.show(Some(self.silence))
    }

    /// Asks for nothing more, and shows all that is owed.
    pub(super) fn finish(&mut self) -> Result<(), RawStop> {
        self.exec.end_input();
        self.show(None)?;
        Ok(self.out.finish()?)
    }

    fn show(&mut self, silence: Option<Duration>) -> Result<(), RawStop> {
        while let RawNews::Output(bytes) = self.exec.next(silence)? {
            self.out.give_all(&bytes)?;
        }
        Ok(())
    }
}
