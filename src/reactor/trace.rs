//! What happens in a turn, as text that a person can follow.
//!
//! Does not know why the loop does what it does; the recorder hands it each event, once, and it puts
//! that into words. When tracing is off, the recorder looks at an empty `Option` per event, and nothing
//! is formatted.

use std::fmt::{self, Write as _};
use std::io;
use std::time::Duration;

use super::connection::{Input, Pause};
use super::incoming::Incoming;
use super::os::Readiness;
use super::token::Source;
use crate::turn::{Closed, ConnId, Moment};

/// Something that happened in a turn.
#[derive(Debug)]
pub(super) enum TraceEvent<'a> {
    /// The loop woke.
    Woke { slept: Duration, events: usize },
    /// The poll saw this.
    Saw(Source, Readiness),
    /// A connection was accepted.
    Accepted(ConnId, &'a str, String),
    /// A read, of what there was room for.
    Read {
        id: ConnId,
        n: usize,
        room: usize,
        verdict: Verdict,
    },
    /// A service had its turn.
    Served {
        id: ConnId,
        frames: u32,
        unread: usize,
        says: usize,
    },
    /// A write: the bytes that the socket took, of those it was offered.
    Wrote { id: ConnId, n: usize, of: usize },
    /// What the reading half does until its next budget.
    Rests(ConnId, Input),
    /// The poll watches it from now on.
    Watched(ConnId),
    /// It has shut down writing, and discards what still comes.
    Lingers(ConnId),
    /// A service's timer.
    Woken(ConnId),
    /// The loop's own deadline for a connection.
    Expired(ConnId),
    /// A connection was freed.
    Freed(ConnId, Closed),
    /// An event or an id was about a connection that is gone.
    Stale,
}

/// What a read taught.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// There is nothing.
    WouldBlock,
    /// Less than there was room for: there is nothing more.
    Short,
    /// There may be more.
    More,
    /// The peer will send nothing more.
    End,
}

impl Verdict {
    /// What a read of `n` bytes taught that left the reading half so.
    pub(super) fn of(n: usize, incoming: Incoming) -> Verdict {
        match n {
            0 if incoming.has_ended() => Verdict::End,
            0 => Verdict::WouldBlock,
            _ if incoming.may_have_more() => Verdict::More,
            _ => Verdict::Short,
        }
    }
}

/// Writes a text for each turn in which something happened.
pub(super) struct Tracer {
    out: Box<dyn io::Write>,
    turn: u64,
    /// This turn's lines.
    text: String,
    /// Whether anything happened but waking.
    worth_telling: bool,
}

impl Tracer {
    pub(super) fn new(out: Box<dyn io::Write>) -> Tracer {
        Tracer {
            out,
            turn: 0,
            text: String::new(),
            worth_telling: false,
        }
    }

    pub(super) fn trace(&mut self, now: Moment, event: &TraceEvent<'_>) {
        match event {
            TraceEvent::Woke { .. } => {
                self.end_turn();
                self.turn += 1;
                let at = Duration::from_nanos(now.as_nanos());
                let _ = write!(self.text, "turn {} at {at:.3?}: ", self.turn);
            }
            _ => self.worth_telling = true,
        }
        let _ = writeln!(self.text, "{event}");
    }

    /// Hands the turn's lines on, in one write.
    pub(super) fn end_turn(&mut self) {
        if self.worth_telling {
            // The reader of the text may be gone; the loop goes on.
            let _ = self.out.write_all(self.text.as_bytes());
        }
        self.worth_telling = false;
        self.text.clear();
    }
}

impl fmt::Debug for Tracer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tracer").finish_non_exhaustive()
    }
}

impl fmt::Display for TraceEvent<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TraceEvent::Woke { slept, events: 0 } => {
                write!(f, "slept {slept:.1?}, and nothing was seen")
            }
            TraceEvent::Woke { slept, events } => {
                write!(f, "slept {slept:.1?}, and the poll returned {events}")
            }
            TraceEvent::Saw(source, readiness) => {
                write!(f, "  saw    {}: {}", Name(*source), Ready(*readiness))
            }
            TraceEvent::Accepted(id, endpoint, peer) => {
                write!(
                    f,
                    "  accept {}: {peer} connected to {endpoint}; not watched yet, so read first",
                    Conn(*id)
                )
            }
            TraceEvent::Read {
                id,
                n,
                room,
                verdict,
            } => {
                let learnt = match verdict {
                    Verdict::WouldBlock => "WouldBlock: nothing is there, wait for an edge",
                    Verdict::Short => "short, so the socket is drained",
                    Verdict::More => "there may be more",
                    Verdict::End => "the end: the peer will send nothing more",
                };
                write!(f, "  read   {}: {n} of {room} bytes; {learnt}", Conn(*id))
            }
            TraceEvent::Served {
                id,
                frames,
                unread,
                says,
            } => {
                write!(f, "  serve  {}: ", Conn(*id))?;
                match frames {
                    0 => write!(f, "took what there was")?,
                    1 => write!(f, "1 frame")?,
                    n => write!(f, "{n} frames")?,
                }
                write!(f, ", {unread} bytes unread, owed {says} bytes now")
            }
            TraceEvent::Wrote { id, n, of } if n == of => {
                write!(f, "  write  {}: {n} bytes, all", Conn(*id))
            }
            TraceEvent::Wrote { id, n, of } => {
                write!(
                    f,
                    "  write  {}: {n} of {of} bytes; the socket is full, wait for an edge",
                    Conn(*id)
                )
            }
            TraceEvent::Rests(id, input) => write!(f, "  rest   {}: {}", Conn(*id), Rest(*input)),
            TraceEvent::Watched(id) => write!(
                f,
                "  watch  {}: registered, once and for everything",
                Conn(*id)
            ),
            TraceEvent::Lingers(id) => write!(
                f,
                "  linger {}: writing is shut down; what still comes is discarded, or a reset would \
                 destroy our last words",
                Conn(*id)
            ),
            TraceEvent::Woken(id) => write!(
                f,
                "  wake   {}: its service asked to be woken now",
                Conn(*id)
            ),
            TraceEvent::Expired(id) => write!(f, "  wake   {}: its deadline has come", Conn(*id)),
            TraceEvent::Freed(id, why) => write!(f, "  free   {}: {why}", Conn(*id)),
            TraceEvent::Stale => write!(
                f,
                "  stale  an event was about a connection that is gone: ignored"
            ),
        }
    }
}

struct Conn(ConnId);

impl fmt::Display for Conn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{} (generation {})", self.0.slot, self.0.generation)
    }
}

struct Name(Source);

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Source::Connection(id) => Conn(id).fmt(f),
            Source::Listener(n) => write!(f, "listener {n}"),
            Source::Datagram(n) => write!(f, "datagram socket {n}"),
            Source::ChildOut(id) => write!(f, "standard output of child {}", id.slot),
            Source::ChildErr(id) => write!(f, "standard error of child {}", id.slot),
            Source::ChildExit(id) => write!(f, "exit of child {}", id.slot),
            Source::Signals => f.write_str("signals"),
            Source::Caller => f.write_str("a caller"),
        }
    }
}

struct Ready(Readiness);

impl fmt::Display for Ready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Readiness {
            readable,
            writable,
            read_closed,
            hung_up,
            urgent,
            error,
        } = self.0;
        let words = [
            (readable, "readable"),
            (writable, "writable"),
            (read_closed && !hung_up, "the peer ended its side"),
            (hung_up, "the peer hung up"),
            (urgent, "urgent data"),
            (error, "error"),
        ];
        let mut first = true;
        for (_, word) in words.iter().filter(|(is, _)| *is) {
            write!(f, "{}{word}", if first { "" } else { ", " })?;
            first = false;
        }
        if first {
            f.write_str("nothing in particular")
        } else {
            Ok(())
        }
    }
}

struct Rest(Input);

impl fmt::Display for Rest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Input::Waiting => "waits for an edge",
            Input::Queued => "on the ready queue, since no edge will tell of what is already there",
            Input::Paused(Pause::Owed) => "paused: it is owed too much; sending that wakes it",
            Input::Paused(Pause::Held) => "paused: its service asked; the service wakes it",
            Input::Paused(Pause::Leaving) => "paused: it is leaving; what it is owed goes first",
            Input::Ended => "its input has ended",
        })
    }
}
