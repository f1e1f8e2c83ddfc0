//! Connections that a service makes to others.

use std::fmt::{Debug, Display};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::Bus;
use crate::buf::ReadBuf;
use crate::turn::{Fault, Moment, Turn};

/// The half of a service that makes connections to others: the loop dials for it, and gives it what comes by them.
///
/// Its turns are as those of a [`Service`](super::Service), and what it says to connections of the other half leaves
/// as what that says. But a connection that was dialled runs no command, sends no file and asks for no figures: the
/// news of such would be nobody's.
pub trait Dialler: Debug {
    /// Where it wants a connection to, now: asked after what was [due](super::Service::comes_due) was done.
    fn dials(&mut self, now: Moment) -> Option<Dial>;

    /// The bus, if it is one that this is connected to, is at these servers from now on: one that is among them stays.
    /// The turn is nobody's.
    fn bus_changes(&mut self, _t: &mut Turn<'_>, _bus: &Arc<Bus>) {}

    /// The connection is there. It has said nothing yet, nor has the other end.
    fn dialled(&mut self, t: &mut Turn<'_>);

    /// The session is there that it [began](Turn::begin_session) on the connection.
    fn secured(&mut self, _t: &mut Turn<'_>) {}

    /// It was refused, or not answered in time; or the session that was begun on it did not come about.
    fn dial_failed(&mut self, now: Moment, error: &io::Error);

    /// Bytes have come. What is left in `input` comes again with more behind it.
    fn input(&mut self, t: &mut Turn<'_>, input: &mut ReadBuf) -> Result<(), Fault>;

    /// The other end will send nothing more; `rest` is what [`input`](Dialler::input) left. By default that is dropped:
    /// the connection ends when what was said on it has left.
    fn eof(&mut self, t: &mut Turn<'_>, rest: &mut ReadBuf) -> Result<(), Fault> {
        rest.consume(rest.len());
        t.close();
        Ok(())
    }

    /// What was said on it has left, as [`Service::drained`](super::Service::drained) has it.
    fn drained(&mut self, _t: &mut Turn<'_>) {}

    /// The moment that was asked for with [`Turn::wake_at`] has come.
    fn wake(&mut self, _t: &mut Turn<'_>) {}

    /// The server is stopping, or nobody is left whom the connection was made for.
    fn stopping(&mut self, t: &mut Turn<'_>) {
        t.close_lingering();
    }

    /// It is gone, and why in words: what is sent to it goes nowhere.
    fn closed(&mut self, t: &mut Turn<'_>, why: &dyn Display);
}

/// Where a service wants a connection to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dial {
    /// Its name in the log and in the counters.
    pub name: String,
    /// Where.
    pub to: SocketAddr,
    /// How long it waits for an answer.
    pub within: Duration,
}
