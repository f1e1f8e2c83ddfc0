use super::answer::Answer;
use super::execution::Execution;
use super::streaming::Streaming;
use super::terms::Terms;
use crate::buf::ReadBuf;
use crate::config::Settle;
use crate::config::limits::PROGRESS_GRACE;
use crate::service::Settling;
use crate::service::telnet::Telnet;
use crate::turn::{Moment, Turn};
use crate::wire::{Opening, Request, WireError};

/// What is remembered of one connection.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) phase: Phase,
    /// What it speaks once a request of it was a frame.
    pub(super) streaming: Option<Box<Streaming>>,
    pub(super) telnet: Telnet,
    /// Takes requests, and acknowledgements that are bursts.
    request: Request,
    /// When no further request is served.
    pub(super) last: Last,
}

/// What a connection is in the middle of.
///
/// ```text
///            ┌──────────── answered ────────────┐
///            v                                  │
/// ──open──> Listening ──a request──> Running ───┤
///            ^                                  │ C2: the length was
///            └── acknowledged, or not ── Parked <┘
/// ```
#[derive(Debug)]
pub(super) enum Phase {
    /// For a request.
    Listening,
    /// A command runs or waits to run; input is held.
    Running(Box<Execution>),
    /// An output waits for its acknowledgement: without a deadline it would stay in memory as long as
    /// the client likes.
    Parked(Parked),
}

/// An output that waits for its acknowledgement.
#[derive(Debug)]
pub(super) struct Parked {
    pub(super) output: Vec<u8>,
    pub(super) until: Moment,
    /// Whether an acknowledgement has begun that silence completes: it came in time, whatever the time
    /// is when it is complete.
    pub(super) begun: bool,
}

/// Why the command in progress is the last of its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Last {
    /// It need not be.
    No,
    /// The server is stopping.
    Stopping,
    /// The client ended its input, and the service was told; no acknowledgement can come either.
    Ended,
}

impl Session {
    pub(super) fn new(terms: &Terms) -> Session {
        Session {
            phase: Phase::Listening,
            streaming: None,
            telnet: Telnet::default(),
            request: Request::new(terms.request),
            last: Last::No,
        }
    }

    /// Whether what is unread may be taken for lines. If not, it is a frame, and so is all that follows, or it is
    /// too short to tell, and waits as a line does that is not whole.
    pub(super) fn reads_lines(
        &mut self,
        settling: &mut Settling,
        settle: Settle,
        t: &mut Turn<'_>,
        input: &ReadBuf,
    ) -> bool {
        if !matches!(self.phase, Phase::Listening) {
            return true;
        }
        let unread = input.unread();
        match Opening::of(unread) {
            Opening::Line => true,
            Opening::Frame => {
                t.wake_at(Moment::NEVER);
                settling.forget(t.id);
                self.streaming = Some(Box::default());
                false
            }
            Opening::Unclear if self.last == Last::Ended || settling.has_settled(t.id) => true,
            Opening::Unclear => match settle {
                Settle::Never => unread.contains(&b'\n'),
                Settle::After(wait) if wait.is_zero() => true,
                Settle::After(wait) => {
                    if !unread.is_empty() {
                        t.wake_at(t.now.after(wait));
                    }
                    false
                }
            },
        }
    }

    /// The memory of what it has of outputs, in bytes.
    pub(super) fn buffered(&self) -> usize {
        match &self.phase {
            Phase::Listening => 0,
            Phase::Running(run) => run.collected_capacity(),
            Phase::Parked(parked) => parked.output.capacity(),
        }
    }

    /// Whether the client acknowledged (C2), or `None` for "not yet".
    pub(super) fn acknowledged(
        &mut self,
        terms: &Terms,
        settling: &mut Settling,
        t: &mut Turn<'_>,
        input: &mut ReadBuf,
    ) -> Result<Option<bool>, WireError> {
        loop {
            if let Some(word) = &terms.ack
                && input.unread().starts_with(word)
            {
                input.consume(word.len());
                // Bytes were taken that this decoder may have searched.
                self.request = Request::new(terms.request);
                t.wake_at(Moment::NEVER);
                return Ok(Some(true));
            }
            match self.frame(settling, t, input)? {
                None => return Ok(None),
                // A newline that came late, or a blank line: nothing that was said to the length.
                Some(b"") => {}
                Some(burst) => {
                    return Ok(Some(terms.ack.as_ref().is_none_or(|word| burst == word)));
                }
            }
        }
    }

    /// Answers, and says what the connection does next.
    pub(super) fn answer(&mut self, terms: &Terms, t: &mut Turn<'_>, answer: Answer) {
        t.wake_at(Moment::NEVER);
        match answer.say(terms.framing, t) {
            Some(output) if self.last != Last::Ended => {
                let until = t.now.after(PROGRESS_GRACE);
                self.phase = Phase::Parked(Parked {
                    output,
                    until,
                    begun: false,
                });
                t.wake_at(until);
                t.keeps(self.buffered());
                listen(t);
            }
            _ => self.next(t),
        }
    }

    /// The answer is given: listens again, unless it was the last.
    pub(super) fn next(&mut self, t: &mut Turn<'_>) {
        self.phase = Phase::Listening;
        t.keeps(0);
        match self.last {
            Last::No => listen(t),
            Last::Stopping => t.close_lingering(),
            Last::Ended => t.close(),
        }
    }

    /// The next frame, which may be empty, or `None` for "not yet".
    pub(super) fn frame<'b>(
        &mut self,
        settling: &mut Settling,
        t: &mut Turn<'_>,
        input: &'b mut ReadBuf,
    ) -> Result<Option<&'b [u8]>, WireError> {
        match self.last {
            Last::Ended => input.last(&mut self.request),
            _ => settling.next(t, &mut self.request, input),
        }
    }
}

/// Takes input again, if it was held.
fn listen(t: &mut Turn<'_>) {
    if t.is_held() {
        t.resume();
    }
}
