//! What a service that tells figures is given: each counter of the loop with its name and its meaning.
//!
//! They are put together when a service asks for them, and at no other time.

use super::Reactor;
use super::histogram::Histogram;
use super::listener::Listener;
use super::os::Os;
use super::tally::{ByEndpoint, DatagramTally, Tally, place};
use crate::turn::ConnId;
use crate::wire::{Encode as _, Family, Kind, Value};

impl<O: Os> Reactor<O> {
    /// Gives a service the figures that it asked for.
    #[cold]
    pub(super) fn tell_figures(&mut self, id: ConnId) {
        let mut page = Vec::new();
        self.figures().encode(&mut page);
        self.tell_page(id, &page);
    }

    /// All of them, by endpoint where something has one.
    pub fn figures(&self) -> Vec<Family> {
        let mut families = vec![build_info()];
        families.extend(streams(by_endpoint(&self.listeners)));
        families.extend(self.datagram_figures());
        families.extend(self.loop_figures());
        for service in &self.services {
            service.add_figures(&mut families);
        }
        if let Some(process) = self.company.member {
            let process = process.to_string();
            for family in &mut families {
                family.label("process", &process);
            }
        }
        families
    }

    fn datagram_figures(&self) -> Vec<Family> {
        let mut endpoints: ByEndpoint<'_, DatagramTally> = ByEndpoint::new();
        for datagram in &self.datagrams {
            let at = endpoints.entry(place(&datagram.options.name));
            at.or_default().add(&datagram.tally);
        }
        let counts = |name, help, count: fn(&DatagramTally) -> u64| {
            let mut family = Family::new(name, Kind::Counter, help);
            for (endpoint, tally) in &endpoints {
                family.push(&[("endpoint", endpoint)], count(tally));
            }
            family
        };
        vec![
            counts(
                "onepoll_datagrams_received_total",
                "Datagrams received.",
                |t| t.received,
            ),
            counts("onepoll_datagrams_sent_total", "Datagrams sent.", |t| {
                t.sent
            }),
            counts(
                "onepoll_datagrams_unanswerable_total",
                "Datagrams that were not answered, since an answer could do harm.",
                |t| t.unanswerable,
            ),
            counts(
                "onepoll_datagrams_denied_total",
                "Datagrams from an address that is not served.",
                |t| t.denied,
            ),
            counts(
                "onepoll_datagrams_failed_total",
                "Datagrams that could not be sent or received.",
                |t| t.failed,
            ),
        ]
    }

    fn loop_figures(&self) -> Vec<Family> {
        let now = self.counters();
        let counter = |name, help, value| Family::new(name, Kind::Counter, help).with(value);
        let gauge = |name, help, value| Family::new(name, Kind::Gauge, help).with(value);
        let mut handshakes = Family::new(
            "onepoll_tls_handshakes_total",
            Kind::Counter,
            "TLS handshakes, by how they ended.",
        );
        handshakes.push(&[("result", "completed")], now.tls_handshakes.completed);
        handshakes.push(&[("result", "failed")], now.tls_handshakes.failed);
        vec![
            handshakes,
            gauge(
                "onepoll_not_logged_in_connections",
                "Connections that have not logged in, where that is asked for.",
                now.not_logged_in,
            ),
            gauge(
                "onepoll_ready_connections",
                "Connections on the ready queue.",
                now.ready,
            ),
            gauge(
                "onepoll_owed_bytes",
                "Bytes owed to connections, which their sockets have not taken.",
                now.owed,
            ),
            gauge(
                "onepoll_buffered_bytes",
                "Memory of all buffers: input that is not understood, output that has not left.",
                now.buffered,
            ),
            counter(
                "onepoll_dropped_bytes_total",
                "Bytes that were owed to connections and were dropped: when they ended, or since they did not read.",
                now.bytes_dropped,
            ),
            counter(
                "onepoll_dropped_lines_total",
                "Lines that were owed to chat members who did not read, and were dropped.",
                now.lines_dropped,
            ),
            gauge("onepoll_timers", "Timers that are set.", now.timers),
            gauge(
                "onepoll_sources",
                "Sources whose rate of connections is remembered.",
                now.sources,
            ),
            gauge(
                "onepoll_penalties",
                "Sources that have a penalty for failing to log in, whether it bites or not.",
                now.penalties,
            ),
            gauge(
                "onepoll_commands_running",
                "Commands that run.",
                now.children,
            ),
            gauge(
                "onepoll_commands_waiting",
                "Commands that wait for others to end.",
                now.children_waiting,
            ),
            counter(
                "onepoll_commands_started_total",
                "Commands that were started.",
                now.commands_started,
            ),
            counter(
                "onepoll_commands_failed_total",
                "Commands that could not be started.",
                now.commands_failed,
            ),
            counter(
                "onepoll_commands_busy_total",
                "Commands that were refused, since too many ran and waited.",
                now.commands_busy,
            ),
            counter(
                "onepoll_commands_ended_total",
                "Commands that have ended.",
                now.commands_reaped,
            ),
            counter(
                "onepoll_files_stored_total",
                "Files that were stored.",
                now.files_stored,
            ),
            counter(
                "onepoll_files_stored_bytes_total",
                "Bytes of files that were stored.",
                now.files_stored_bytes,
            ),
            counter(
                "onepoll_files_refused_total",
                "Files that came, or were to come, and were not stored.",
                now.files_refused,
            ),
            counter(
                "onepoll_files_sent_total",
                "Files that were sent to their end.",
                now.files_sent,
            ),
            counter(
                "onepoll_files_sent_bytes_total",
                "Bytes of files that were sent to their end.",
                now.files_sent_bytes,
            ),
            counter(
                "onepoll_files_unsent_total",
                "Files that were asked for and not sent to their end.",
                now.files_unsent,
            ),
            counter(
                "onepoll_budgets_total",
                "Times it was a connection's turn to be read.",
                now.budgets,
            ),
            counter(
                "onepoll_slow_turns_total",
                "Turns that took as long as turn-warn or longer.",
                now.turns_slow,
            ),
            counter(
                "onepoll_stale_events_total",
                "Events and ids whose connection was gone.",
                now.stale,
            ),
            counter(
                "onepoll_audit_lines_total",
                "Lines of the audit that were passed on.",
                now.audit_lines,
            ),
            counter(
                "onepoll_audit_lines_missing_total",
                "Lines of the audit that were not passed on, since there was no room or there were too many.",
                now.audit_lines_missing,
            ),
            counter(
                "onepoll_log_lines_suppressed_total",
                "Log lines that were not written, since there were too many.",
                now.lines_suppressed,
            ),
            histogram(
                "onepoll_turn_seconds",
                "How long turns of the loop took, without the wait before each.",
                &self.recorder.turn_nanos,
                Value::Nanos,
            ),
            histogram(
                "onepoll_wake_up_events",
                "Events that each wait of the loop brought.",
                &self.recorder.wake_up_events,
                Value::Count,
            ),
        ]
    }
}

fn build_info() -> Family {
    let mut family = Family::new(
        "onepoll_build_info",
        Kind::Gauge,
        "1, with the version of the server.",
    );
    family.push(&[("version", env!("CARGO_PKG_VERSION"))], 1);
    family
}

/// What is here and what came and went, of endpoints that have connections.
fn by_endpoint<L>(listeners: &[Listener<L>]) -> ByEndpoint<'_, (usize, Tally)> {
    let mut endpoints: ByEndpoint<'_, (usize, Tally)> = ByEndpoint::new();
    for listener in listeners {
        let at = endpoints.entry(place(&listener.options.name));
        let (now, tally) = at.or_default();
        *now += listener.connections;
        tally.add(&listener.tally);
    }
    endpoints
}

fn streams(endpoints: ByEndpoint<'_, (usize, Tally)>) -> Vec<Family> {
    let mut now = Family::new(
        "onepoll_connections",
        Kind::Gauge,
        "Connections that are open.",
    );
    let counter = |name, help| Family::new(name, Kind::Counter, help);
    let mut opened = counter(
        "onepoll_connections_opened_total",
        "Connections that were let in.",
    );
    let mut logged_in = counter(
        "onepoll_logins_total",
        "Connections that have logged in, where that is asked for.",
    );
    let mut closed = counter(
        "onepoll_connections_closed_total",
        "Connections that have ended, by reason.",
    );
    let mut refused = counter(
        "onepoll_connections_refused_total",
        "Connections that were refused, by reason.",
    );
    let mut failed = counter(
        "onepoll_accept_failures_total",
        "Calls of accept that failed, for whatever reason.",
    );
    let mut received = counter(
        "onepoll_received_bytes_total",
        "Bytes read from connections.",
    );
    let mut sent = counter(
        "onepoll_sent_bytes_total",
        "Bytes that the sockets of connections took.",
    );
    let mut frames = counter(
        "onepoll_frames_total",
        "Frames that services took off frames-per-turn; an answer that costs more counts as more.",
    );
    for (endpoint, (connections, tally)) in &endpoints {
        let at = ("endpoint", *endpoint);
        now.push(&[at], *connections as u64);
        opened.push(&[at], tally.opened);
        logged_in.push(&[at], tally.logged_in);
        for (reason, count) in tally.closed.each() {
            closed.push(&[at, ("reason", reason)], count);
        }
        for (reason, count) in tally.refused.each() {
            refused.push(&[at, ("reason", reason)], count);
        }
        failed.push(&[at], tally.accepts_failed);
        received.push(&[at], tally.bytes_in);
        sent.push(&[at], tally.bytes_out);
        frames.push(&[at], tally.frames);
    }
    vec![
        now, opened, logged_in, closed, refused, failed, received, sent, frames,
    ]
}

fn histogram<const U: u32>(
    name: &'static str,
    help: &'static str,
    histogram: &Histogram<U>,
    of: fn(u64) -> Value,
) -> Family {
    let mut family = Family::new(name, Kind::Histogram, help);
    let (count, sum) = (histogram.count(), histogram.sum());
    family.push_histogram(histogram.up_to(), count, sum, of);
    family
}
