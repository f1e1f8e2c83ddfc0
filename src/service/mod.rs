//! What bytes mean.
//!
//! A service knows its connections, its [`Turn`] and its frames. It does not know sockets, the poll,
//! the clock, threads or other services. It never waits, and it leaves half a frame where it was.

mod bus;
mod chargen;
pub mod chat;
pub mod command;
mod control;
mod daytime;
mod dialler;
mod discard;
mod echo;
mod encoding;
pub mod file;
mod gate;
pub mod greeting;
mod history;
pub mod ipmsg;
mod manner;
mod metrics;
mod occasion;
mod peer;
pub mod rehearsal;
mod row;
mod secrets;
mod sessions;
mod settling;
mod sharing;
mod sntp;
mod table;
pub mod talk;
mod telnet;
mod time;
mod time868;
mod transcript;
pub mod upper;

pub use bus::{Bus, BusLogin, BusServer};
pub use chat::Chat;
pub use command::{Command, Tail};
pub use control::Control;
pub use dialler::{Dial, Dialler};
pub use discard::Discard;
pub use echo::Echo;
pub use encoding::Encoding;
pub use file::Files;
pub use gate::{ChallengeSource, Gate};
pub use greeting::Greeting;
pub use history::HISTORY_BYTES_MAX;
pub use ipmsg::Ipmsg;
pub use manner::{Backlog, Manner};
pub use metrics::Metrics;
pub use occasion::Occasion;
pub use peer::Peer;
pub use row::{
    Checked, Class, Companion, Half, NoOptions, OverDatagrams, OverStreams, OwnFile, Row, Schema,
    Setting, Several, Takes,
};
pub use secrets::{ProofOf, Secrets};
pub use sessions::Sessions;
pub use settling::Settling;
pub use sharing::{Set, Terms};
pub use table::SERVICES;
pub use talk::Talk;
pub use time::{TIME_GROWTH_BYTES_MAX, Time};
pub use upper::Upper;

use std::fmt::Debug;
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::time::SystemTime;

use crate::buf::ReadBuf;
use crate::turn::{
    Broadcast, BroadcastTurn, ChildEvent, Closed, ConnId, ErrandEvent, Fault, Moment, Turn,
};
use crate::wire::{Encode, Family};

/// What bytes on a stream mean. One value serves every connection of its listeners.
pub trait Service: Debug {
    /// A client connected.
    fn open(&mut self, _t: &mut Turn<'_>, _peer: &Peer) {}

    /// Bytes have come, or the service asked to be offered what is unread.
    ///
    /// What is left in `input` comes again with more behind it.
    fn input(&mut self, t: &mut Turn<'_>, input: &mut ReadBuf) -> Result<(), Fault>;

    /// Everything this connection was owed has left; a producer may go on.
    ///
    /// Called after the connection's socket was full, and when the service asked for it with
    /// [`Turn::tell_when_sent`]; never for a connection that is leaving.
    fn drained(&mut self, _t: &mut Turn<'_>) {}

    /// The moment that was asked for with [`Turn::wake_at`] has come.
    fn wake(&mut self, _t: &mut Turn<'_>) {}

    /// News of the command that was started with [`Turn::spawn`].
    fn child(&mut self, _t: &mut Turn<'_>, _event: ChildEvent<'_>) {}

    /// The command that the service runs for all its connections together, if it does. Asked when a listener
    /// of it opens.
    fn broadcast(&self) -> Option<Broadcast> {
        None
    }

    /// The file to which a child appends what the service writes down, if it does. Asked when a listener of it opens.
    fn transcript(&self) -> Option<&Path> {
        None
    }

    /// Where it writes that: whole lines, and none that is empty. It takes what it has room for, and never waits.
    fn write_transcript_to(&mut self, _out: Box<dyn Write>) {}

    /// The file is to be opened again, since another may have its name.
    fn reopen_transcript(&mut self) {}

    /// News of that command.
    fn heard(&mut self, _t: &mut BroadcastTurn<'_>, _event: ChildEvent<'_>) {}

    /// News of an errand that was sent with [`Turn::send_on_errand`], by its number.
    fn errand(&mut self, _t: &mut BroadcastTurn<'_>, _number: u64, _event: ErrandEvent<'_>) {}

    /// When it has something to do, whoever is connected: asked when a listener of it opens, when a connection of it
    /// has closed, and after it did that.
    fn due(&self) -> Option<Moment> {
        None
    }

    /// That moment has come, or another service's. The turn is nobody's: what it says to its connections leaves.
    fn comes_due(&mut self, _t: &mut Turn<'_>) {}

    /// Adds what it has counted to what the loop has.
    fn add_figures(&self, _figures: &mut Vec<Family>) {}

    /// Called once, before it is served: what it needs besides its options, such as a directory, is there from
    /// then on.
    ///
    /// # Errors
    ///
    /// What is missing, in a sentence for people.
    fn prepare(&mut self, _occasion: Occasion) -> Result<(), String> {
        Ok(())
    }

    /// So many bytes of the piece have left that was sent with [`Turn::send_file`]: all of it, or fewer since the
    /// file has no more. Or no more will, for this reason: [`Unsupported`](std::io::ErrorKind::Unsupported) where
    /// the connection takes none from a file, such as one over TLS.
    fn file_sent(&mut self, _t: &mut Turn<'_>, _bytes: u64, _error: Option<std::io::Error>) {}

    /// What was counted, which was asked for with [`Turn::ask_figures`], as
    /// [text](crate::wire::EXPOSITION_TYPE).
    fn figures(&mut self, _t: &mut Turn<'_>, _page: &[u8]) {}

    /// The peer will send nothing more; `rest` is what [`input`](Service::input) left.
    ///
    /// A half-close ends input, nothing else: what is owed is still computed and delivered, so a
    /// service that owes an answer closes later. By default, half a frame is a fault and the
    /// connection ends when what it is owed has left.
    fn eof(&mut self, t: &mut Turn<'_>, rest: &mut ReadBuf) -> Result<(), Fault> {
        t.close();
        match rest.len() {
            0 => Ok(()),
            have => Err(Fault::Wire(crate::wire::WireError::Truncated { have })),
        }
    }

    /// The connection is gone: what is sent to it goes nowhere, what is sent to others is delivered.
    fn closed(&mut self, _t: &mut Turn<'_>, _why: &Closed) {}

    /// The server is stopping. By default the connection ends when what it is owed has left; a
    /// service that is in the middle of something may let it end later.
    fn stopping(&mut self, t: &mut Turn<'_>) {
        t.close_lingering();
    }

    /// Lines that were said to this connection were dropped, which did not read them: appends what it is told of
    /// that, a line in the service's own format. For a [backlog](Backlog::DropOldest) of lines.
    fn dropped(&mut self, _id: ConnId, _lines: u64, _out: &mut Vec<u8>) {}

    /// For how many lines that were dropped a line stands, if it tells of such: it may be dropped itself.
    fn stands_for(&self, _line: &[u8]) -> Option<u64> {
        None
    }

    /// Appends what a client that cannot be served is told, in the service's own format.
    fn refusal(&self, _reason: &str, _out: &mut Vec<u8>) {}

    /// A listener of it opens, or has other terms from now on: they are for the connections that come. Several
    /// endpoints may share a value (see [`Set`]); their listeners differ by a number, which
    /// [`Turn::listener`] says while [`open`](Service::open) runs.
    fn listens(&mut self, _listener: u16, _terms: &Terms) {}

    /// A listener is closed, and the last of its connections has gone: its number may be another's next.
    fn listens_no_more(&mut self, _listener: u16) {}

    /// From now on these are accepted of connections that have not logged in; those that have stay as they
    /// are. Says whether the service asks for any: only a [`Gate`] does.
    fn replace_secrets(&mut self, _secrets: &Secrets) -> bool {
        false
    }

    /// The memory of what it keeps for no connection in particular, in bytes, as it was last
    /// [said](Turn::shares).
    fn shared_bytes(&self) -> usize {
        0
    }

    /// All buffers together are near their limit: gives back what it keeps for no connection in particular
    /// and can do without.
    fn give_back(&mut self) {}

    /// The other half of the service, where one value is both.
    fn datagrams(&mut self) -> Option<&mut dyn Datagrams> {
        None
    }

    /// The half that makes connections to others, if it has one, which it keeps: what comes by those is not for the
    /// methods here.
    fn dialler(&mut self) -> Option<&mut dyn Dialler> {
        None
    }

    /// What the loop has to know of the service besides. It asks once, when a listener opens.
    fn manner(&self) -> Manner {
        Manner::ANSWERS
    }

    /// The same of the connections of one listener, where that differs: by what a [`Gate`] asks for.
    fn manner_at(&self, _listener: u16) -> Manner {
        self.manner()
    }
}

/// What datagrams mean: like a [`Service`] without connections.
pub trait Datagrams: Debug {
    /// One datagram, whole.
    fn datagram(&mut self, t: &mut DatagramTurn<'_>, bytes: &[u8]);

    /// Whether a datagram from this port below 1024 may be answered.
    ///
    /// By default not: programs that ask have a port of their own above, and two servers that answer
    /// each other never stop (CVE-2024-2169, fault E8). A service whose protocol has clients on such a
    /// port says so, if it never answers what is itself an answer. Port 0 is never answered, nor a
    /// port of this process, whatever is said here.
    fn may_answer_port(&self, _port: u16) -> bool {
        false
    }

    /// Whether it talks with others of its own kind, which have its own port as a source: then a datagram from that
    /// port of another address of this machine is answered, and the loop asks it for what it sends unasked and when
    /// it wants to be woken.
    fn has_peers(&self) -> bool {
        false
    }

    /// Where its socket is.
    fn bound_to(&mut self, _at: SocketAddr) {}

    /// When it wants to be [woken](Datagrams::woken).
    fn wakes_at(&self) -> Moment {
        Moment::NEVER
    }

    /// That moment has come.
    fn woken(&mut self, _now: Moment, _wall: SystemTime) {}

    /// The next datagram that it sends to somebody else than the sender of one, or without one. What cannot be sent is
    /// dropped and counted.
    fn take_datagram(&mut self) -> Option<(SocketAddr, Vec<u8>)> {
        None
    }

    /// The next thing that it asks of the loop besides.
    fn take_ask(&mut self) -> Option<Ask> {
        None
    }

    /// What came of a connection that it asked for, which was [opened](Service::open) if it is there.
    fn linked(&mut self, _now: Moment, _to: &LinkTo, _made: Result<ConnId, String>) {}

    /// The server stops: a last word. As long as it wants to be woken, the server waits for it, within its
    /// `drain-timeout`.
    fn goes(&mut self, _now: Moment) {}
}

/// What a datagram service asks of the loop besides sending datagrams.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// That this connection of its other half is [woken](Service::wake).
    Visit(ConnId),
    /// A connection between its other half and another service.
    Link(LinkTo),
}

/// A connection to a service that endpoints [share](Set) under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkTo {
    /// For whom it is: the peer, as the other service sees it.
    pub for_whom: SocketAddr,
    /// The service.
    pub service: &'static str,
    /// The name.
    pub name: String,
}

/// A datagram service's turn: it may answer the sender, also with an empty datagram, which is
/// something else than not answering.
#[derive(Debug)]
pub struct DatagramTurn<'a> {
    /// The loop's clock, read once a turn.
    pub now: Moment,
    /// Wall time, for display.
    pub wall: SystemTime,
    /// The sender of the datagram, to which an answer goes.
    pub from: SocketAddr,
    out: &'a mut Vec<u8>,
    answered: bool,
}

impl<'a> DatagramTurn<'a> {
    pub(crate) fn new(
        now: Moment,
        wall: SystemTime,
        from: SocketAddr,
        out: &'a mut Vec<u8>,
    ) -> DatagramTurn<'a> {
        DatagramTurn {
            now,
            wall,
            from,
            out,
            answered: false,
        }
    }

    /// Answers the sender with one datagram; a second call replaces the first.
    pub fn answer<E: Encode + ?Sized>(&mut self, frame: &E) {
        self.out.clear();
        frame.encode(self.out);
        self.answered = true;
    }

    pub(crate) fn into_answer(self) -> Option<&'a [u8]> {
        self.answered.then_some(self.out)
    }
}
