//! The writer of the audit: this program once more, so that the loop waits for no disk.
//!
//! What the loop tells it goes through a pipe of which the loop keeps both ends: what a writer has not read
//! when it ends is for the next one, which is started after a wait that grows as long as that happens again.

use std::io;
use std::time::Duration;

use super::Reactor;
use super::attendant::Attendant;
use super::helper::Owner;
use super::os::{Os, Woke};
use crate::config::limits::AUDIT_END;
use crate::turn::{Exit, Moment};
use crate::wire::Escaped;

/// While a full pipe is emptied at the end: no event tells of room in it.
const LOOKS_AGAIN: Duration = Duration::from_millis(5);

/// The writer, and when there is to be another.
#[derive(Debug)]
pub(super) struct Writer {
    child: Attendant,
    /// It has read everything, to the end.
    is_done: bool,
}

impl<O: Os> Reactor<O> {
    /// Tells from the next turn on what the audit is about: each event as a line of JSON that goes to `out`,
    /// which must not wait. Lines come in writes of up to 4096 bytes; one that fails is counted, and what it
    /// had is lost.
    pub fn audit_to(&mut self, out: Box<dyn io::Write>) {
        let process = self.company.member;
        self.recorder
            .audit_to(out, process, self.now, self.os.wall());
    }

    /// Keeps a writer that takes what the audit tells, as [`Epoll::with_writer`](super::Epoll::with_writer)
    /// has it.
    pub fn keep_writer(&mut self) {
        self.writer = Some(Box::new(Writer {
            child: Attendant::new(self.now),
            is_done: false,
        }));
    }

    /// Tells the audit that the configuration was read again, with what is wrong with it, if something is.
    pub fn audit_reload(&mut self, problem: Option<&str>) {
        self.recorder.reloaded(problem);
    }

    /// When a writer is to be started.
    pub(super) fn writer_due(&self) -> Option<Moment> {
        let writer = self.writer.as_ref()?;
        writer.child.due().filter(|_| !writer.is_done)
    }

    /// Starts a writer, if it is time.
    pub(super) fn start_writer_if_due(&mut self) {
        if self.writer_due().is_some_and(|at| at <= self.now) {
            self.start_writer();
        }
    }

    fn start_writer(&mut self) {
        let spawned = self.os.spawn_writer();
        let started = spawned.and_then(|spawned| self.watch_child(Owner::Writer, spawned));
        let now = self.now;
        let Some(writer) = &mut self.writer else {
            return;
        };
        match started {
            Ok(_) => writer.child.started(now),
            Err(error) => {
                let wait = writer.child.failed(now);
                log::warn!(error:%, wait:?; "the writer of the audit cannot be started");
            }
        }
    }

    /// The writer complains.
    pub(super) fn writer_wrote(&mut self, bytes: &[u8]) {
        log::warn!(said:% = Escaped(bytes.trim_ascii()); "the writer of the audit complains");
    }

    /// The writer has ended, which it should do only when its input has.
    pub(super) fn writer_ended(&mut self, exit: Exit) {
        let (now, is_last) = (self.now, !self.recorder.audits());
        let Some(writer) = &mut self.writer else {
            return;
        };
        writer.is_done = is_last && exit == Exit::Code(0);
        let wait = writer.child.failed(now);
        if writer.is_done {
            return;
        }
        log::warn!(exit:%, wait:?; "the writer of the audit has ended; another is started");
    }

    /// The server is at its end: what the audit has to say is written, if that does not take too long. A
    /// writer that has not done it by then goes on alone.
    pub(super) fn finish_audit(&mut self) {
        let until = self.now.after(AUDIT_END);
        if let Some(writer) = &mut self.writer {
            writer.child.hurry(self.now);
        }
        let mut is_told = self.recorder.finish_audit();
        while !is_told && self.wait_for_writer(until, LOOKS_AGAIN) {
            is_told = self.recorder.flush_audit();
        }
        // Its input ends: nobody has the other end of the pipe any more.
        self.recorder.end_audit();
        while self.wait_for_writer(until, AUDIT_END) {}
        self.os.end_writer();
    }

    /// Waits for something to happen to the writer, `most` at most; says whether there is anything to wait for.
    fn wait_for_writer(&mut self, until: Moment, most: Duration) -> bool {
        self.start_writer_if_due();
        let now = self.now;
        let Some(writer) = self.writer.as_ref().filter(|writer| !writer.is_done) else {
            return false;
        };
        let starts_at = writer.child.due().unwrap_or(Moment::NEVER);
        let look = until.min(starts_at).min(now.after(most));
        let look = if self.has_child_news() { now } else { look };
        match self.os.wait(&mut self.seen, Some(look)) {
            Ok(Woke { awake, .. }) => self.now = self.now.max(awake),
            // Nothing can be waited for any more.
            Err(_) => return false,
        }
        self.dispatch();
        self.serve_children();
        self.now < until
    }
}
