use std::time::Duration;

use serde::Serialize;

use super::Reactor;
use super::os::Os;
use super::refusal::Refusal;
use crate::turn::{Closed, Moment};

/// What the loop has done since it began, and how much of everything there is now.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// Connections that were let in.
    pub connections_opened: u64,
    /// Connections that have ended.
    pub connections_closed: u64,
    /// Connections now.
    pub connections: u64,
    /// Connections now that have not logged in, where that is asked for.
    pub not_logged_in: u64,
    /// Connections that have logged in.
    pub logged_in: u64,
    /// Connections that were refused, by reason.
    pub refused: Refused,
    /// Connections that ended, by reason.
    pub closed: ClosedBy,
    /// Bytes read from connections.
    pub bytes_in: u64,
    /// Bytes that sockets took.
    pub bytes_out: u64,
    /// Bytes that were owed to connections and were dropped: when they ended, or since they did not read.
    pub bytes_dropped: u64,
    /// Lines that were owed to connections which did not read, and were dropped.
    pub lines_dropped: u64,
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
    /// Datagrams from an address that `allow-from` or `deny-from` excludes.
    pub datagrams_denied: u64,
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
    /// Files that were stored.
    pub files_stored: u64,
    /// Their bytes.
    pub files_stored_bytes: u64,
    /// Files that came, or were to come, and were not stored.
    pub files_refused: u64,
    /// Files that were sent to their end.
    pub files_sent: u64,
    /// Their bytes.
    pub files_sent_bytes: u64,
    /// Files that were asked for and not sent to their end.
    pub files_unsent: u64,
    /// Timers that are set now.
    pub timers: u64,
    /// Sources whose rate of connections is remembered now.
    pub sources: u64,
    /// Sources that have a penalty now, whether it bites or not.
    pub penalties: u64,
    /// Connections on the ready queue now.
    pub ready: u64,
    /// Bytes owed to connections now.
    pub owed: u64,
    /// Memory of all buffers now, in bytes.
    pub buffered: u64,
    /// Log lines that were not written, since there were too many.
    pub lines_suppressed: u64,
    /// Lines of the audit that were passed on.
    pub audit_lines: u64,
    /// Lines of the audit that were not, since there was no room or there were too many.
    pub audit_lines_missing: u64,
    /// TLS handshakes.
    pub tls_handshakes: TlsHandshakes,
}

/// TLS handshakes, by how they ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct TlsHandshakes {
    /// Both sides have agreed.
    pub completed: u64,
    /// They have not, or not in time.
    pub failed: u64,
}

/// Connections refused, by reason.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Refused {
    /// As many were here as the server holds.
    pub full: u64,
    /// As many were here as the endpoint holds.
    pub listener_full: u64,
    /// As many were here as may have not logged in.
    pub logins_full: u64,
    /// Another user, on a Unix socket that is private.
    pub other_user: u64,
    /// An address that `allow-from` or `deny-from` excludes.
    pub denied: u64,
    /// The source has failed to log in too often.
    pub penalised: u64,
    /// As many of one source were here as `max-per-source` allows.
    pub source_full: u64,
    /// The source connected faster than `rate-per-source` allows.
    pub source_too_fast: u64,
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
    pub evicted: u64,
    pub refused: u64,
    pub wrong_proof: u64,
    pub login_timeout: u64,
    pub stopping: u64,
    pub stuck: u64,
    pub cut: u64,
    pub insecure: u64,
}

impl Refused {
    /// Where a connection is counted that was refused for this reason.
    pub(super) fn by(&mut self, refusal: Refusal) -> &mut u64 {
        match refusal {
            Refusal::Full => &mut self.full,
            Refusal::ListenerFull => &mut self.listener_full,
            Refusal::LoginsFull => &mut self.logins_full,
            Refusal::OtherUser => &mut self.other_user,
            Refusal::Denied => &mut self.denied,
            Refusal::Penalised => &mut self.penalised,
            Refusal::SourceFull => &mut self.source_full,
            Refusal::SourceTooFast => &mut self.source_too_fast,
        }
    }

    /// Each reason, by its name, and its count.
    pub(super) fn each(&self) -> [(&'static str, u64); 8] {
        let Refused {
            full,
            listener_full,
            logins_full,
            other_user,
            denied,
            penalised,
            source_full,
            source_too_fast,
        } = self;
        [
            ("full", *full),
            ("listener_full", *listener_full),
            ("logins_full", *logins_full),
            ("other_user", *other_user),
            ("denied", *denied),
            ("penalised", *penalised),
            ("source_full", *source_full),
            ("source_too_fast", *source_too_fast),
        ]
    }

    /// Connections that were refused, for whatever reason.
    pub fn sum(&self) -> u64 {
        self.each().into_iter().map(|(_, count)| count).sum()
    }

    /// Field by field: a debug build, whose loop recounts after each turn, takes long over iterators.
    pub(super) fn add(&mut self, other: &Refused) {
        let Refused {
            full,
            listener_full,
            logins_full,
            other_user,
            denied,
            penalised,
            source_full,
            source_too_fast,
        } = other;
        self.full += full;
        self.listener_full += listener_full;
        self.logins_full += logins_full;
        self.other_user += other_user;
        self.denied += denied;
        self.penalised += penalised;
        self.source_full += source_full;
        self.source_too_fast += source_too_fast;
    }
}

impl ClosedBy {
    /// Where a connection is counted that ended for this reason.
    pub(super) fn by(&mut self, why: Closed) -> &mut u64 {
        match why {
            Closed::Done => &mut self.done,
            Closed::Ended => &mut self.ended,
            Closed::Gone(_) => &mut self.gone,
            Closed::Idle => &mut self.idle,
            Closed::SlowFrame => &mut self.slow_frame,
            Closed::TooSlow => &mut self.too_slow,
            Closed::Evicted => &mut self.evicted,
            Closed::Refused => &mut self.refused,
            Closed::WrongProof => &mut self.wrong_proof,
            Closed::LoginTimeout => &mut self.login_timeout,
            Closed::Stopping => &mut self.stopping,
            Closed::Stuck => &mut self.stuck,
            Closed::Cut => &mut self.cut,
            Closed::Insecure => &mut self.insecure,
        }
    }

    /// Each reason, by its name, and its count.
    pub(super) fn each(&self) -> [(&'static str, u64); 14] {
        let ClosedBy {
            done,
            ended,
            gone,
            idle,
            slow_frame,
            too_slow,
            evicted,
            refused,
            wrong_proof,
            login_timeout,
            stopping,
            stuck,
            cut,
            insecure,
        } = self;
        [
            ("done", *done),
            ("ended", *ended),
            ("gone", *gone),
            ("idle", *idle),
            ("slow_frame", *slow_frame),
            ("too_slow", *too_slow),
            ("evicted", *evicted),
            ("refused", *refused),
            ("wrong_proof", *wrong_proof),
            ("login_timeout", *login_timeout),
            ("stopping", *stopping),
            ("stuck", *stuck),
            ("cut", *cut),
            ("insecure", *insecure),
        ]
    }

    /// Field by field, as those that were refused.
    pub(super) fn add(&mut self, other: &ClosedBy) {
        let ClosedBy {
            done,
            ended,
            gone,
            idle,
            slow_frame,
            too_slow,
            evicted,
            refused,
            wrong_proof,
            login_timeout,
            stopping,
            stuck,
            cut,
            insecure,
        } = other;
        self.done += done;
        self.ended += ended;
        self.gone += gone;
        self.idle += idle;
        self.slow_frame += slow_frame;
        self.too_slow += too_slow;
        self.evicted += evicted;
        self.refused += refused;
        self.wrong_proof += wrong_proof;
        self.login_timeout += login_timeout;
        self.stopping += stopping;
        self.stuck += stuck;
        self.cut += cut;
        self.insecure += insecure;
    }

    /// Connections that ended, for whatever reason. Field by field, as above.
    pub(super) fn sum(&self) -> u64 {
        let ClosedBy {
            done,
            ended,
            gone,
            idle,
            slow_frame,
            too_slow,
            evicted,
            refused,
            wrong_proof,
            login_timeout,
            stopping,
            stuck,
            cut,
            insecure,
        } = self;
        done + ended
            + gone
            + idle
            + slow_frame
            + too_slow
            + evicted
            + refused
            + wrong_proof
            + login_timeout
            + stopping
            + stuck
            + cut
            + insecure
    }
}

impl<O: Os> Reactor<O> {
    /// What has been done and what there is, for logs, tests and people.
    pub fn counters(&self) -> Counters {
        let (children, children_waiting) = self.children.count();
        let (audit_lines, audit_lines_missing) = self.recorder.audit_lines();
        let (sources, penalties) = self.sources.count();
        let mut counters = Counters {
            audit_lines,
            audit_lines_missing,
            connections: self.conns.len() as u64,
            not_logged_in: self.logging_in as u64,
            children: children as u64,
            children_waiting: children_waiting as u64,
            timers: (self.deadlines.len() + self.wakes.len()) as u64,
            sources: sources as u64,
            penalties: penalties as u64,
            ready: self.ready.len() as u64,
            buffered: self.outbox.buffered() as u64,
            turns: self.recorder.turn_nanos.count(),
            ..self.recorder.counters.clone()
        };
        self.gone.add_to(&mut counters);
        self.gone_datagrams.add_to(&mut counters);
        for listener in &self.listeners {
            listener.tally.add_to(&mut counters);
        }
        for datagram in &self.datagrams {
            datagram.tally.add_to(&mut counters);
        }
        counters.connections_closed = counters.closed.sum();
        // What was said was sent, is owed, or was dropped: invariant I5, which spares a look at each lane.
        counters.owed = self.outbox.said_in_all() - counters.bytes_out - counters.bytes_dropped;
        counters
    }

    pub(super) fn report(&self) {
        match serde_json::to_string(&self.counters()) {
            Ok(counters) => log::info!(target: "onepoll::counters", "{counters}"),
            Err(error) => log::error!(error:%; "could not print the counters"),
        }
    }

    /// Counts how long a turn took, says so when that was long, and ends the process when the user asked
    /// for that.
    #[inline]
    pub(super) fn watch_turn(&mut self, began: Moment, ended: Moment) {
        let nanos = ended.as_nanos().saturating_sub(began.as_nanos());
        self.recorder.turn_nanos.record(nanos);
        if u128::from(nanos) >= self.limits.turn_warn.as_nanos() {
            self.tell_slow_turn(Duration::from_nanos(nanos));
        }
    }

    #[cold]
    fn tell_slow_turn(&mut self, took: Duration) {
        let counters = self.counters();
        self.recorder.slow_turn(took, &counters);
        if self.limits.turn_abort.is_some_and(|max| took > max) {
            log::error!(took_ms = took.as_millis() as u64; "a turn took longer than the user allows");
            std::process::abort();
        }
    }
}
