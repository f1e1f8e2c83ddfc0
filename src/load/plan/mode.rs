//! What one request is, what makes it begin, and when the run ends.

use std::fmt;
use std::time::Duration;

use clap::ValueEnum;
use clap::builder::PossibleValue;
use serde::{Deserialize, Serialize};

/// What one request is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// Connect, send a message, await the whole of it back, close.
    Conn {
        /// Which side closes, and how.
        close: Close,
        /// How many messages a connection sends, one after the other, before it is closed. What is
        /// counted, timed and limited by the timeout is the connection, with all of them.
        requests: usize,
    },
    /// Send a message on a connection that stays, await the whole of it back.
    Echo {
        /// How many messages each connection has in flight.
        depth: usize,
    },
    /// Send a command line on a connection that stays, await its output.
    Exec,
    /// Connect and say nothing: how many connections are held, and at what price.
    Hold,
    /// A datagram each.
    Udp {
        /// How many are in flight; without a limit in the open model.
        window: usize,
    },
    /// One member of a chat sends, all others receive: a request is a line, which is answered when every
    /// member has it.
    Fanout {
        /// How many lines are in flight: sent, and not yet received by every member; without a limit in
        /// the open model.
        depth: usize,
        /// What every connection sends first, to be let in.
        hello: Vec<u8>,
        /// Whether what the server puts before a line may differ from line to line, as a time does;
        /// else it must be what it was before the first.
        any_prefix: bool,
    },
}

impl Mode {
    /// Its name.
    pub fn name(&self) -> ModeName {
        match self {
            Mode::Conn { .. } => ModeName::Conn,
            Mode::Echo { .. } => ModeName::Echo,
            Mode::Exec => ModeName::Exec,
            Mode::Hold => ModeName::Hold,
            Mode::Udp { .. } => ModeName::Udp,
            Mode::Fanout { .. } => ModeName::Fanout,
        }
    }

    /// Whether connections outlive a request.
    pub fn keeps(&self) -> bool {
        !matches!(self, Mode::Conn { .. })
    }

    /// How many messages, datagrams or lines are in flight at once: on each connection, or in all where
    /// only one socket sends.
    pub fn depth(&self) -> usize {
        match *self {
            Mode::Echo { depth } | Mode::Fanout { depth, .. } => depth,
            Mode::Udp { window } => window,
            Mode::Conn { .. } | Mode::Exec | Mode::Hold => 1,
        }
    }

    /// How many messages what is counted as one request consists of.
    pub fn messages(&self) -> usize {
        match *self {
            Mode::Conn { requests, .. } => requests,
            _ => 1,
        }
    }
}

/// The name of a mode, as it is typed and as reports have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum ModeName {
    /// A connection per request.
    Conn,
    /// Requests on connections that stay open.
    Echo,
    /// Datagrams.
    Udp,
    /// Lines of one sender to many members of a chat.
    Fanout,
    /// Idle connections.
    Hold,
    /// Commands.
    Exec,
}

impl fmt::Display for ModeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        as_typed(self, f)
    }
}

/// What makes a request begin.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Model {
    /// The answer to the request before it: a stalled server gets fewer requests, and the waiting of those
    /// that would have come meanwhile is not seen.
    Closed,
    /// Its time: latency counts from when it was meant to begin, whatever kept it.
    Open {
        /// How many a second.
        rate: f64,
        /// How regularly.
        arrivals: Arrivals,
    },
}

impl Model {
    /// Its name.
    pub fn name(self) -> ModelName {
        match self {
            Model::Closed => ModelName::Closed,
            Model::Open { .. } => ModelName::Open,
        }
    }
}

/// The name of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum ModelName {
    /// Each request waits for the answer before it.
    Closed,
    /// Each request has its time.
    Open,
}

impl fmt::Display for ModelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        as_typed(self, f)
    }
}

/// Which side ends a connection, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Close {
    /// The client resets it: no `TIME_WAIT` anywhere, so ports last. On a Unix socket, which knows no
    /// reset, a plain close.
    ClientRst,
    /// The client closes: its port then waits a minute in `TIME_WAIT`.
    ClientFin,
    /// The server closes after its answer, and the client waits for that.
    Server,
}

impl fmt::Display for Close {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        as_typed(self, f)
    }
}

/// When it is enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Amount {
    /// After this long.
    For(Duration),
    /// After this many requests.
    Count(u64),
}

/// How the gaps between intended beginnings are distributed around their mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Arrivals {
    /// All gaps are equal.
    Constant,
    /// Any gap from nothing to twice the mean is equally likely.
    Uniform,
    /// Exponential gaps: each arrival knows nothing of the others, as users do.
    Poisson,
}

impl fmt::Display for Arrivals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        as_typed(self, f)
    }
}

/// The word for `value` on the command line, which is the one in reports.
fn as_typed(value: &impl ValueEnum, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let word = value.to_possible_value();
    f.pad(word.as_ref().map_or("", PossibleValue::get_name))
}
