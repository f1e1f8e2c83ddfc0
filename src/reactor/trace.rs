//! What happens in a turn, as text that a person can follow: the system calls under the names that
//! strace(1) shows, with the first bytes of what they moved, and between them what the loop decided.
//!
//! Does not know why the loop does what it does; the recorder hands it each event, once, and it puts
//! that into words. When tracing is off, the recorder looks at an empty `Option` per event, and nothing
//! is formatted.

use std::fmt::{self, Write as _};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use super::connection::{Input, Pause};
use super::incoming::Incoming;
use super::os::Readiness;
use super::token::Source;
use crate::turn::{Closed, ConnId, Moment, Output, Written};
use crate::wire::Escaped;

/// How many bytes of a read or a write are shown, at most.
const SHOWN_BYTES_MAX: usize = 32;

/// Which bytes a trace shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TracedBytes {
    /// Those of services that do not call them [private](crate::service::Manner::is_private).
    Public,
    /// Those of every service: what commands are asked for, and what they write.
    All,
}

/// Bytes that a system call moved.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moved<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) is_private: bool,
}

/// Something that happened in a turn.
#[derive(Debug)]
pub(super) enum TraceEvent<'a> {
    /// The loop woke.
    Woke { slept: Duration, events: usize },
    /// The poll saw this.
    Saw(Source, Readiness),
    /// A connection was accepted.
    Accepted(ConnId, &'a str, String),
    /// A service has dialled.
    Dialled(ConnId, &'a str, String),
    /// No connection waits at this listener, says this call.
    NoneWaits(usize, &'static str),
    /// A connection was accepted, and closed, for this reason.
    TurnedAway(&'a str, &'static str),
    /// A read, of what there was room for.
    Read {
        id: ConnId,
        moved: Moved<'a>,
        room: usize,
        verdict: Verdict,
    },
    /// A read of a session's records.
    ReadCipher {
        id: ConnId,
        n: usize,
        room: usize,
        verdict: Verdict,
    },
    /// A write of a session's records.
    WroteCipher { id: ConnId, written: Written },
    /// A service had its turn.
    Served {
        id: ConnId,
        frames: u32,
        unread: usize,
        says: usize,
    },
    /// A write: the bytes that the socket took, of those it was offered, or why it failed.
    Wrote {
        id: ConnId,
        moved: Moved<'a>,
        of: usize,
        failed: Option<io::ErrorKind>,
    },
    /// Of a file, so many bytes went from where it lies to the socket, of those that were to go; or why none did.
    SentFile {
        id: ConnId,
        at: u64,
        n: usize,
        of: usize,
        failed: Option<io::ErrorKind>,
    },
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
    /// A datagram came; whether the kernel told at which address of ours.
    Received(SocketAddr, bool, &'a [u8]),
    /// A datagram was answered; whether from an address that was chosen.
    Answered(SocketAddr, bool, &'a [u8]),
    /// A command wrote: a read of its output.
    Heard(ConnId, Output, &'a [u8]),
    /// A connection has logged in.
    LoggedIn(ConnId),
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
    /// The connection is broken.
    Failed(io::ErrorKind),
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
    shown: TracedBytes,
    turn: u64,
    /// This turn's lines.
    text: String,
    /// Whether anything happened but waking.
    worth_telling: bool,
}

impl Tracer {
    pub(super) fn new(out: Box<dyn io::Write>, shown: TracedBytes) -> Tracer {
        Tracer {
            out,
            shown,
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
        let _ = writeln!(self.text, "{}", Told(event, self.shown));
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

/// The system call that takes a connection out of the queue.
pub(super) const ACCEPT: &str = "accept4";
/// That which only looks whether there is one.
pub(super) const LOOK: &str = "ppoll";

impl TraceEvent<'_> {
    /// The system call, as strace shows it; a verb where there is none.
    fn name(&self) -> &'static str {
        match self {
            TraceEvent::Woke { .. } => "epoll_wait",
            TraceEvent::Saw(..) => "saw",
            TraceEvent::Accepted(..) => ACCEPT,
            TraceEvent::Dialled(..) => "connect",
            TraceEvent::NoneWaits(_, call) => call,
            TraceEvent::Read { .. }
            | TraceEvent::ReadCipher { .. }
            | TraceEvent::Received(_, false, _) => "recvfrom",
            TraceEvent::Served { .. } => "serve",
            TraceEvent::Wrote { .. } | TraceEvent::Answered(_, false, _) => "sendto",
            TraceEvent::SentFile { .. } => "sendfile",
            TraceEvent::Received(_, true, _) => "recvmsg",
            TraceEvent::WroteCipher { .. } | TraceEvent::Answered(_, true, _) => "sendmsg",
            TraceEvent::Rests(..) => "rest",
            TraceEvent::Watched(_) => "epoll_ctl",
            TraceEvent::Lingers(_) => "shutdown",
            TraceEvent::Woken(_) | TraceEvent::Expired(_) => "wake",
            TraceEvent::Heard(..) => "read",
            TraceEvent::LoggedIn(_) => "login",
            TraceEvent::TurnedAway(..) | TraceEvent::Freed(..) => "close",
            TraceEvent::Stale => "stale",
        }
    }
}

/// An event in words, with the bytes that may be shown.
struct Told<'e, 'a>(&'e TraceEvent<'a>, TracedBytes);

impl fmt::Display for Told<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Told(event, shown) = *self;
        let name = event.name();
        match event {
            // It ends the line that the turn has begun.
            TraceEvent::Woke { .. } => write!(f, "{name} ")?,
            _ => write!(f, "  {name:9} ")?,
        }
        match event {
            TraceEvent::Woke { slept, events } => {
                write!(f, "slept {slept:.1?} and returned {events}")
            }
            TraceEvent::Saw(source, readiness) => {
                write!(f, "{}: {}", Name(*source), Ready(*readiness))
            }
            TraceEvent::Dialled(id, name, peer) => {
                write!(f, "{}: on its way to {peer}, for {name}", Conn(*id))
            }
            TraceEvent::Accepted(id, endpoint, peer) => write!(
                f,
                "{}: {peer} connected to {endpoint}; not watched yet, so read first",
                Conn(*id)
            ),
            TraceEvent::NoneWaits(listener, call) => {
                let eagain = if *call == ACCEPT { "EAGAIN: " } else { "" };
                write!(f, "listener {listener}: {eagain}no connection waits")
            }
            TraceEvent::TurnedAway(endpoint, why) => {
                write!(f, "a connection to {endpoint} that was accepted: {why}")
            }
            TraceEvent::Read {
                id,
                moved,
                room,
                verdict,
            } => {
                let (id, n, bytes) = (Conn(*id), moved.bytes.len(), Shown(*moved, shown));
                write!(f, "{id}: {n} of {room} bytes{bytes}; {verdict}")
            }
            TraceEvent::ReadCipher {
                id,
                n,
                room,
                verdict,
            } => {
                let id = Conn(*id);
                write!(f, "{id}: {n} of {room} bytes of TLS records; {verdict}")
            }
            TraceEvent::WroteCipher { id, written } => {
                let (id, Written { taken, offered }) = (Conn(*id), *written);
                match taken {
                    n if n == offered => write!(f, "{id}: {n} bytes of TLS records, all"),
                    n => write!(
                        f,
                        "{id}: {n} of {offered} bytes of TLS records; the socket is full, wait for an edge"
                    ),
                }
            }
            TraceEvent::Served {
                id,
                frames,
                unread,
                says,
            } => {
                write!(f, "{}: ", Conn(*id))?;
                match frames {
                    0 => write!(f, "took what there was")?,
                    1 => write!(f, "1 frame")?,
                    n => write!(f, "{n} frames")?,
                }
                write!(f, ", {unread} bytes unread, owed {says} bytes now")
            }
            TraceEvent::Wrote {
                id,
                moved,
                of,
                failed,
            } => {
                let (id, n, bytes) = (Conn(*id), moved.bytes.len(), Shown(*moved, shown));
                match failed {
                    Some(why) => write!(f, "{id}: {why}"),
                    None if n == *of => write!(f, "{id}: {n} bytes, all{bytes}"),
                    None => write!(
                        f,
                        "{id}: {n} of {of} bytes{bytes}; the socket is full, wait for an edge"
                    ),
                }
            }
            TraceEvent::SentFile {
                id,
                at,
                n,
                of,
                failed,
            } => {
                let id = Conn(*id);
                match failed {
                    Some(why) => write!(f, "{id}: {why}"),
                    None if n == of => {
                        write!(f, "{id}: {n} bytes of a file from {at} on, all")
                    }
                    None => write!(f, "{id}: {n} of {of} bytes of a file from {at} on"),
                }
            }
            TraceEvent::Rests(id, input) => write!(f, "{}: {}", Conn(*id), Rest(*input)),
            TraceEvent::Watched(id) => {
                write!(f, "{}: registered, once and for everything", Conn(*id))
            }
            TraceEvent::Lingers(id) => write!(
                f,
                "{}: writing has ended; what still comes is discarded, or a reset would destroy our last \
                 words",
                Conn(*id)
            ),
            TraceEvent::Woken(id) => write!(f, "{}: its service asked to be woken now", Conn(*id)),
            TraceEvent::Expired(id) => write!(f, "{}: its deadline has come", Conn(*id)),
            TraceEvent::Received(from, _, bytes) => {
                let shown = Shown::of_datagram(bytes);
                write!(f, "a datagram of {from}: {} bytes{shown}", bytes.len())
            }
            TraceEvent::Answered(to, _, bytes) => {
                let shown = Shown::of_datagram(bytes);
                write!(f, "an answer to {to}: {} bytes{shown}", bytes.len())
            }
            TraceEvent::Heard(owner, which, bytes) => {
                let which = match which {
                    Output::Out => "standard output",
                    Output::Err => "standard error",
                };
                let is_private = true;
                let shown = Shown(Moved { bytes, is_private }, shown);
                let (owner, n) = (Conn(*owner), bytes.len());
                write!(f, "{which} of the command of {owner}: {n} bytes{shown}")
            }
            TraceEvent::LoggedIn(id) => {
                write!(f, "{}: its proof is right; served from here on", Conn(*id))
            }
            TraceEvent::Freed(id, why) => write!(f, "{}: {why}", Conn(*id)),
            TraceEvent::Stale => {
                f.write_str("an event was about a connection that is gone: ignored")
            }
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::WouldBlock => f.write_str("EAGAIN: nothing is there, wait for an edge"),
            Verdict::Short => f.write_str("short, so the socket is drained"),
            Verdict::More => f.write_str("there may be more"),
            Verdict::End => f.write_str("the end: the peer will send nothing more"),
            Verdict::Failed(why) => why.fmt(f),
        }
    }
}

/// The first of the bytes, unless they are for nobody else.
struct Shown<'a>(Moved<'a>, TracedBytes);

impl Shown<'_> {
    /// No datagram service has anything private.
    fn of_datagram(bytes: &[u8]) -> Shown<'_> {
        let is_private = false;
        Shown(Moved { bytes, is_private }, TracedBytes::Public)
    }
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shown(Moved { bytes, is_private }, shown) = *self;
        match bytes {
            [] => Ok(()),
            _ if is_private && shown == TracedBytes::Public => f.write_str(", not shown"),
            _ => {
                let head = &bytes[..bytes.len().min(SHOWN_BYTES_MAX)];
                let dots = if head.len() < bytes.len() { "…" } else { "" };
                write!(f, " {:?}{dots}", Escaped(head))
            }
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
            Source::ChildIn(id) => write!(f, "standard input of child {}", id.slot),
            Source::Signals => f.write_str("signals"),
            Source::Caller => f.write_str("a caller"),
            Source::Watched(n) => write!(f, "descriptor {n} of the server's own"),
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
