//! A loop that does not run alone: one process of several that serve the same endpoints, or the supervisor of them.
//!
//! Knows descriptors that are not served, and processes of this program that are not commands. What they say to each
//! other, and what follows from it, is for the code that runs the loop: it is told of them as
//! [`News::Ready`](super::News).

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use super::Reactor;
use super::epoll::{Epoll, Process};
use super::os::Os;
use super::stopping::Stopping;
use super::token::{Source, Token};
use crate::turn::{ConnId, Exit, Severity};

/// What is different for such a loop.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Company {
    /// Which of several it is, if it is one; they are counted from 1.
    pub(super) member: Option<u32>,
    /// Others serve, and it does not end before the code that runs it says so.
    pub(super) waits: bool,
}

/// Another process of this program, which is no command: it has standard output and error as this one has them, and a
/// session of its own, so that no key that is typed at a terminal reaches it.
#[derive(Debug)]
pub struct Companion(Process);

impl Companion {
    /// Its number.
    pub fn pid(&self) -> u32 {
        self.0.pid()
    }
}

impl<O: Os> Reactor<O> {
    /// From now on this is one of several loops that serve the same endpoints, so that three things differ. Figures
    /// are asked of the code that runs it, as [`News::Figures`](super::News): they are those of all. A second SIGTERM
    /// does not hurry: a supervisor such as systemd sends one to every process of a service, and so does ours. And
    /// only the code that runs it has the configuration read again.
    ///
    /// `number` says which it is: in the audit, and by the label `process` of its figures.
    pub fn join(&mut self, number: u32) {
        self.company.member = Some(number);
    }

    /// Has files opened again that are written to, since they may have been moved away.
    pub fn reopen_files(&mut self) {
        self.recorder.reopen_audit();
        self.reopen_transcripts();
    }

    /// Prints the counters, as at SIGUSR1.
    pub fn print_counters(&self) {
        self.report();
    }

    /// Whether the loop goes on, also while it stops and has nothing left to serve, since others serve on its behalf.
    pub fn wait_for_others(&mut self, waits: bool) {
        self.company.waits = waits;
    }

    /// Answers a service that asked for figures, with a page of them.
    pub fn tell_page(&mut self, id: ConnId, page: &[u8]) {
        self.ask_service(id, |service, turn| service.figures(turn, page));
    }

    /// Stops at once, as at a second SIGTERM.
    pub fn stop_now(&mut self) {
        self.stopping = Stopping::Now;
    }
}

impl Reactor<Epoll> {
    /// Stops as at SIGTERM, unless it does already: after the next turn, in which what has come by now is served.
    pub fn drain(&mut self) -> io::Result<()> {
        self.os.handle().stop()
    }

    /// Tells of this descriptor as [`News::Ready`](super::News) whenever it becomes readable or writable: of an edge,
    /// so the caller reads until nothing is there. It is closed by its owner, and nothing more is told of it then.
    pub fn watch_for(&mut self, descriptor: &impl AsFd, number: u32) -> io::Result<()> {
        let token = Token::of(Source::Watched(number));
        self.os.watch_own(descriptor, token)
    }

    /// Starts this program once more, with these arguments and with this as its standard input, and tells of its end
    /// under this number.
    pub fn start_companion(
        &mut self,
        arguments: &[OsString],
        input: &OwnedFd,
        number: u32,
    ) -> io::Result<Companion> {
        let process = self.os.spawn_companion(arguments, input)?;
        let token = Token::of(Source::Watched(number));
        if let Err(error) = self.os.watch_process(&process, token) {
            self.os.kill(&process, Severity::Force);
            self.os.reap(process);
            return Err(error);
        }
        Ok(Companion(process))
    }

    /// How it ended, if it has.
    pub fn ended(&mut self, companion: &Companion) -> io::Result<Option<Exit>> {
        self.os.ended(&companion.0)
    }

    /// Waits for its end, with the loop stopped, for so long at most.
    pub fn wait_for_end(&mut self, companion: &Companion, within: Duration) {
        self.os.wait_for_end(&companion.0, within);
    }

    /// Lets go of one that has ended.
    pub fn reap_companion(&mut self, companion: Companion) {
        self.os.reap(companion.0);
    }

    /// Kills it.
    pub fn kill_companion(&mut self, companion: &Companion) {
        self.os.kill(&companion.0, Severity::Force);
    }
}
