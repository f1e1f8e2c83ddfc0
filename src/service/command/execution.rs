use std::mem::take;

use super::answer::{Answer, notice};
use super::encoding::Encoder;
use super::options::CommandOutput;
use super::pace::Pace;
use super::terms::Terms;
use crate::config::format_duration;
use crate::turn::{Exit, Output, Turn};
use crate::wire::TIMEOUT_REASON;

/// One command, from its request to its end.
#[derive(Debug)]
pub(super) struct Execution {
    pace: Pace,
    /// Why we end it, when we do.
    verdict: Verdict,
    /// Standard output that is not streamed.
    out: Vec<u8>,
    err: Vec<u8>,
    encoder: Encoder,
    /// The last byte that was streamed: a notice begins on a line of its own.
    streamed: Option<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// It may say what it likes.
    Fine,
    /// It wrote more than is collected.
    Cut,
    /// It took longer than it may.
    Timeout,
}

impl Execution {
    pub(super) fn new(terms: &Terms) -> Execution {
        Execution {
            pace: Pace::Waiting,
            verdict: Verdict::Fine,
            out: Vec::new(),
            err: Vec::new(),
            encoder: Encoder::new(terms.encoding),
            streamed: None,
        }
    }

    /// Whether it has not begun.
    pub(super) fn waits(&self) -> bool {
        self.pace == Pace::Waiting
    }

    /// The memory of what was collected, in bytes.
    pub(super) fn collected_capacity(&self) -> usize {
        self.out.capacity() + self.err.capacity()
    }

    /// It has begun; its time counts from now.
    pub(super) fn started(&mut self, terms: &Terms, t: &mut Turn<'_>) {
        self.pace.begin(t, t.now.after(terms.timeout));
    }

    /// A moment that was asked for has come.
    pub(super) fn wake(&mut self, t: &mut Turn<'_>) {
        if self.pace.wake(t) && self.verdict == Verdict::Fine {
            self.verdict = Verdict::Timeout;
        }
    }

    /// It wrote this: streamed, or collected as far as it may be.
    pub(super) fn wrote(&mut self, terms: &Terms, t: &mut Turn<'_>, which: Output, bytes: &[u8]) {
        if which == Output::Out && terms.streams() {
            let encoded = self.encoder.encode(bytes);
            self.streamed = encoded.last().copied().or(self.streamed);
            return t.reply(&*encoded);
        }
        // After the limit the rest is dropped: the command is about to be killed for it.
        let room = terms.max_output - self.out.len() - self.err.len();
        let taken = bytes.len().min(room);
        let collected = match which {
            Output::Out => &mut self.out,
            Output::Err => &mut self.err,
        };
        collected.extend_from_slice(&bytes[..taken]);
        if taken < bytes.len() && self.verdict != Verdict::Cut {
            if self.verdict == Verdict::Fine {
                self.verdict = Verdict::Cut;
            }
            self.pace.force(t);
        }
    }

    /// It ended, and everything it wrote was told.
    pub(super) fn ended(&mut self, terms: &Terms, exit: Exit) -> Answer {
        // A signal is told as shells tell it, since the header has one number for both.
        let exit = match exit {
            Exit::Code(code) => code,
            Exit::Signal(signal) => 128 + signal,
        };
        let mut output = self.encoder.finish();
        self.streamed = output.last().copied().or(self.streamed);
        let (mut collected, mut err) = (take(&mut self.out), take(&mut self.err));
        if terms.output == CommandOutput::StderrOrStdout && !err.is_empty() {
            collected = err;
        } else {
            collected.append(&mut err);
        }
        let reason = match self.verdict {
            Verdict::Fine => None,
            Verdict::Cut => Some(format!("output cut at {} bytes", terms.max_output)),
            Verdict::Timeout => Some(format!(
                "{TIMEOUT_REASON}{}",
                format_duration(terms.timeout)
            )),
        };
        // A timeout is a refusal: an output of one line. Only C1 has told some of it already.
        if self.verdict != Verdict::Timeout || terms.streams() {
            output.append(&mut Encoder::whole(terms.encoding, collected));
        }
        if let Some(reason) = &reason {
            let last = output.last().copied().or(self.streamed);
            if last.is_some_and(|byte| byte != b'\n') {
                output.push(b'\n');
            }
            output.append(&mut notice(reason));
        }
        let refused = self.verdict == Verdict::Timeout;
        Answer {
            output,
            exit: Some(exit).filter(|_| !refused),
            error: reason.filter(|_| refused),
            cut: (self.verdict == Verdict::Cut).then_some(terms.max_output),
        }
    }
}
