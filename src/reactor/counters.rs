use std::time::Duration;

use serde::Serialize;

use super::Reactor;
use super::os::Os;

/// What the loop has done since it began, and how much of everything there is now.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// Connections that were let in.
    pub connections_opened: u64,
    /// Connections that have ended.
    pub connections_closed: u64,
    /// Connections now.
    pub connections: u64,
    /// Connections that were refused, by reason.
    pub refused: Refused,
    /// Connections that ended, by reason.
    pub closed: ClosedBy,
    /// Bytes read from connections.
    pub bytes_in: u64,
    /// Bytes that sockets took.
    pub bytes_out: u64,
    /// Bytes that were owed to connections when they ended.
    pub bytes_dropped: u64,
    /// Budgets given out: times it was a connection's turn to be read.
    pub budgets: u64,
    /// Turns of the loop.
    pub turns: u64,
    /// Turns that took as long as `turn-warn` or longer.
    pub turns_slow: u64,
    /// `accept` calls that failed, for whatever reason.
    pub accepts_failed: u64,
    /// Events and ids whose connection was gone.
    pub stale: u64,
    /// Datagrams received.
    pub datagrams_in: u64,
    /// Datagrams sent.
    pub datagrams_out: u64,
    /// Datagrams that were not answered, since an answer could do harm.
    pub datagrams_unanswerable: u64,
    /// Datagrams that could not be sent or received.
    pub datagrams_failed: u64,
    /// Commands that were started.
    pub commands_started: u64,
    /// Commands that could not be started.
    pub commands_failed: u64,
    /// Commands that were told "busy".
    pub commands_busy: u64,
    /// Commands that ended and were reaped.
    pub commands_reaped: u64,
    /// Commands that run now.
    pub children: u64,
    /// Commands that wait now.
    pub children_waiting: u64,
    /// Timers that are set now.
    pub timers: u64,
    /// Connections on the ready queue now.
    pub ready: u64,
    /// Bytes owed to connections now.
    pub owed: u64,
    /// Log lines that were not written, since there were too many.
    pub lines_suppressed: u64,
}

/// Connections refused, by reason.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Refused {
    /// As many were here as the server holds.
    pub full: u64,
    /// As many were here as the endpoint holds.
    pub listener_full: u64,
    /// Another user, on a Unix socket that is private.
    pub other_user: u64,
}

/// Connections ended, by reason; see [`Closed`](crate::turn::Closed).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[expect(
    missing_docs,
    reason = "the names are those of `Closed`, which says what they mean"
)]
pub struct ClosedBy {
    pub done: u64,
    pub ended: u64,
    pub gone: u64,
    pub idle: u64,
    pub slow_frame: u64,
    pub too_slow: u64,
    pub refused: u64,
    pub stopping: u64,
    pub stuck: u64,
}

impl<O: Os> Reactor<O> {
    /// What has been done and what there is, for logs, tests and people.
    pub fn counters(&self) -> Counters {
        let (children, children_waiting) = self.children.count();
        let (_, owed) = self.outbox.count();
        Counters {
            connections: self.conns.len() as u64,
            children: children as u64,
            children_waiting: children_waiting as u64,
            timers: (self.deadlines.len() + self.wakes.len()) as u64,
            ready: self.ready.len() as u64,
            owed: owed as u64,
            ..self.recorder.counters.clone()
        }
    }

    pub(super) fn report(&self) {
        match serde_json::to_string(&self.counters()) {
            Ok(counters) => log::info!(target: "onepoll::counters", "{counters}"),
            Err(error) => log::error!(error:%; "could not print the counters"),
        }
    }

    /// Says so when a turn took long, and ends the process when the user asked for that.
    pub(super) fn watch_turn(&mut self, took: Duration) {
        if took < self.limits.turn_warn {
            return;
        }
        let counters = self.counters();
        self.recorder.slow_turn(took, &counters);
        if self.limits.turn_abort.is_some_and(|max| took > max) {
            log::error!(took_ms = took.as_millis() as u64; "a turn took longer than the user allows");
            std::process::abort();
        }
    }
}
