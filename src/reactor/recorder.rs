use std::io;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use log::{Level, debug, info, log_enabled, warn};

use super::audit::{Audit, AuditEvent, Who};
use super::counters::Counters;
use super::histogram::Histogram;
use super::os::Received;
use super::refusal::Refusal;
use super::tally::{DatagramTally, Tally};
use super::trace::{TraceEvent, TracedBytes, Tracer};
use crate::service::Peer;
use crate::turn::{Broken, Closed, ConnId, Exit, Fault, FileFate, FileNote, Moment};

/// Log lines of one kind that one second may bring; the rest are counted and told as one line.
const LINES_PER_SECOND: u32 = 20;

/// What happened, for the log and for the counters: the one place where the loop's events become
/// lines and numbers.
#[derive(Debug, Default)]
pub(super) struct Recorder {
    /// What has no endpoint; see [`Reactor::counters`](super::Reactor::counters) for the sums.
    pub(super) counters: Counters,
    /// How long turns took, in nanoseconds, told apart from a microsecond to a second.
    pub(super) turn_nanos: Histogram<10>,
    /// How many events each wait brought.
    pub(super) wake_up_events: Histogram<0>,
    throttle: Throttle,
    now: Moment,
    /// Writes what happens in each turn, if that was asked for.
    tracer: Option<Box<Tracer>>,
    /// Tells what an operator wants to know of later, if that was asked for.
    audit: Option<Box<Audit>>,
}

impl Recorder {
    /// From now on what happens in each turn is written to `out`.
    pub(super) fn trace_to(&mut self, out: Box<dyn io::Write>, shown: TracedBytes) {
        self.tracer = Some(Box::new(Tracer::new(out, shown)));
    }

    /// From now on the audit goes to `out`.
    pub(super) fn audit_to(
        &mut self,
        out: Box<dyn io::Write>,
        process: Option<u32>,
        now: Moment,
        wall: SystemTime,
    ) {
        let mut audit = Box::new(Audit::new(out).of_process(process));
        audit.begin_turn(now, wall);
        audit.note(&AuditEvent::Start);
        self.audit = Some(audit);
    }

    /// Whether there is an audit.
    #[inline]
    pub(super) fn audits(&self) -> bool {
        self.audit.is_some()
    }

    /// A turn has begun, and the audit says when.
    pub(super) fn begin_audit(&mut self, now: Moment, wall: SystemTime) {
        if let Some(audit) = &mut self.audit {
            audit.begin_turn(now, wall);
        }
    }

    /// Tells the audit, if there is one; otherwise nothing is even put together.
    #[inline]
    pub(super) fn note<'a>(&mut self, event: impl FnOnce() -> AuditEvent<'a>) {
        if let Some(audit) = &mut self.audit {
            audit.note(&event());
        }
    }

    /// The audit's file may have been renamed.
    pub(super) fn reopen_audit(&mut self) {
        if let Some(audit) = &mut self.audit {
            audit.ask_to_reopen();
        }
    }

    /// The configuration was read again; with what is wrong with it, if something is.
    pub(super) fn reloaded(&mut self, problem: Option<&str>) {
        self.note(|| AuditEvent::Reload(problem));
        self.flush_audit();
    }

    /// Tells the audit that the server is at its end. Says whether everything was passed on.
    pub(super) fn finish_audit(&mut self) -> bool {
        self.audit.as_mut().is_none_or(|audit| audit.finish())
    }

    /// Passes on what the audit has to say. Says whether that was everything.
    pub(super) fn flush_audit(&mut self) -> bool {
        self.audit.as_mut().is_none_or(|audit| audit.flush())
    }

    /// There is no audit from now on.
    pub(super) fn end_audit(&mut self) {
        if let Some(audit) = self.audit.take() {
            (self.counters.audit_lines, self.counters.audit_lines_missing) =
                (audit.passed, audit.missing);
        }
    }

    /// Lines that the audit has passed on, and those that it could not.
    pub(super) fn audit_lines(&self) -> (u64, u64) {
        let audit = self.audit.as_ref();
        audit.map_or((0, 0), |audit| (audit.passed, audit.missing))
    }

    /// Whether there is a tracer.
    #[inline]
    pub(super) fn is_tracing(&self) -> bool {
        self.tracer.is_some()
    }

    /// Tells the tracer, if there is one; otherwise nothing is even put together.
    #[inline]
    pub(super) fn trace<'a, E: Into<Option<TraceEvent<'a>>>>(&mut self, event: impl FnOnce() -> E) {
        if let Some(tracer) = &mut self.tracer
            && let Some(event) = event().into()
        {
            tracer.trace(self.now, &event);
        }
    }

    /// The turn is over.
    #[inline]
    pub(super) fn turn_ends(&mut self) {
        if self.tracer.is_some() || self.audit.is_some() {
            self.tell_turn_ends();
        }
    }

    fn tell_turn_ends(&mut self) {
        if let Some(tracer) = &mut self.tracer {
            tracer.end_turn();
        }
        if let Some(audit) = &mut self.audit {
            audit.flush();
        }
    }

    /// An answer was written from where it lay, in one write that took `written` bytes of `of`.
    pub(super) fn lent(&mut self, tally: &mut Tally, written: &io::Result<usize>, of: usize) {
        match written {
            _ if of == 0 => {}
            Ok(n) => tally.bytes_out += *n as u64,
            Err(_) => self.dropped(of),
        }
    }

    /// A turn has begun, with so many events.
    #[inline]
    pub(super) fn turn(&mut self, now: Moment, events: usize) {
        self.wake_up_events.record(events as u64);
        self.now = now;
        if let Some(suppressed) = self.throttle.begin(now) {
            self.counters.lines_suppressed += u64::from(suppressed);
            warn!(suppressed; "too many log lines; some were left out");
        }
    }

    pub(super) fn slow_turn(&mut self, took: Duration, counters: &Counters) {
        self.counters.turns_slow += 1;
        if self.throttle.allows(Kind::Turn) {
            warn!(
                took_ms = took.as_millis() as u64,
                connections = counters.connections,
                children = counters.children,
                owed = counters.owed;
                "a turn took too long"
            );
        }
    }

    pub(super) fn opened(&mut self, id: ConnId, endpoint: &str, peer: &Peer) {
        self.trace(|| TraceEvent::Accepted(id, endpoint, peer.to_string()));
        if log_enabled!(Level::Debug) {
            debug!(slot = id.slot, generation = id.generation, endpoint, peer:%; "connected");
        }
    }

    /// A service has dialled.
    pub(super) fn dials(&mut self, id: ConnId, name: &str, peer: &Peer) {
        self.trace(|| TraceEvent::Dialled(id, name, peer.to_string()));
        if log_enabled!(Level::Debug) {
            debug!(slot = id.slot, generation = id.generation, to = name, peer:%; "dialling");
        }
    }

    pub(super) fn logged_in(&mut self, tally: &mut Tally, id: ConnId, endpoint: &str, peer: &Peer) {
        tally.logged_in += 1;
        let who = Who {
            endpoint,
            connection: Some(id),
            peer: Some(*peer),
        };
        self.note(|| AuditEvent::Login(who));
        self.trace(|| TraceEvent::LoggedIn(id));
        if log_enabled!(Level::Debug) {
            debug!(slot = id.slot, generation = id.generation, endpoint, peer:%; "logged in");
        }
    }

    pub(super) fn closed(
        &mut self,
        tally: &mut Tally,
        id: ConnId,
        endpoint: &str,
        peer: &Peer,
        why: Closed,
    ) {
        if matches!(
            why,
            Closed::Done | Closed::Ended | Closed::Gone(_) | Closed::Stopping
        ) {
            return self.hung_up(tally, id, endpoint, peer, why);
        }
        self.freed(tally, id, why);
        if let Some(why) = unproved(why) {
            let who = Who {
                endpoint,
                connection: Some(id),
                peer: Some(*peer),
            };
            self.note(|| AuditEvent::Refused(who, why));
        }
        if self.throttle.allows(Kind::Closed) {
            info!(endpoint, peer:%, why:%; "closed");
        }
    }

    /// A connection is no more, and nobody has to be told: it ended as connections do, or its service, which had dialled
    /// it, says why.
    pub(super) fn hung_up(
        &mut self,
        tally: &mut Tally,
        id: ConnId,
        endpoint: &str,
        peer: &Peer,
        why: Closed,
    ) {
        self.freed(tally, id, why);
        if log_enabled!(Level::Debug) {
            debug!(slot = id.slot, generation = id.generation, endpoint, peer:%, why:%; "closed");
        }
    }

    fn freed(&mut self, tally: &mut Tally, id: ConnId, why: Closed) {
        *tally.closed.by(why) += 1;
        self.trace(|| TraceEvent::Freed(id, why));
    }

    pub(super) fn evicted(&mut self, endpoint: &str, peer: &Peer, bytes: usize, buffered: usize) {
        if self.throttle.allows(Kind::Evicted) {
            warn!(
                endpoint, peer:%, bytes = bytes as u64, buffered = buffered as u64;
                "closed a connection, since all buffers together are near their limit"
            );
        }
    }

    pub(super) fn faulted(&mut self, endpoint: &str, peer: &Peer, fault: &Fault) {
        if self.throttle.allows(Kind::Fault) {
            info!(endpoint, peer:%, fault:%; "refused to go on");
        }
    }

    #[cold]
    pub(super) fn speaks_tls(&mut self, endpoint: &str, peer: &Peer) {
        if self.throttle.allows(Kind::Fault) {
            info!(endpoint, peer:%; "a TLS ClientHello came, and this endpoint speaks no TLS (`tls=true`)");
        }
    }

    pub(super) fn broke(&mut self, endpoint: &str, peer: &Peer, broken: &Broken) {
        if self.throttle.allows(Kind::Fault) {
            info!(endpoint, peer:%, fault:% = broken; "broke off a TLS connection");
        }
    }

    pub(super) fn refused(
        &mut self,
        tally: &mut Tally,
        refusal: Refusal,
        endpoint: &str,
        peer: &Peer,
    ) {
        *tally.refused.by(refusal) += 1;
        self.trace(|| TraceEvent::TurnedAway(endpoint, refusal.words()));
        let who = Who {
            endpoint,
            connection: None,
            peer: Some(*peer),
        };
        self.note(|| AuditEvent::Refused(who, refusal.name()));
        if self.throttle.allows(Kind::Refused) {
            warn!(endpoint, peer:%, why = refusal.words(); "refused a connection");
        }
    }

    pub(super) fn penalised(&mut self, endpoint: &str, peer: &Peer, time: Duration) {
        if self.throttle.allows(Kind::Refused) {
            let seconds = time.as_secs();
            warn!(endpoint, peer:%, seconds; "failed to log in too often: its address is not let in");
        }
    }

    pub(super) fn accept_failed(&mut self, tally: &mut Tally, endpoint: &str, error: &io::Error) {
        tally.accepts_failed += 1;
        if self.throttle.allows(Kind::Accept) {
            warn!(endpoint, error:%; "could not accept a connection");
        }
    }

    /// A connection had its turn: so many bytes were read, and so many frames taken.
    #[inline]
    pub(super) fn served(&mut self, tally: &mut Tally, bytes: usize, frames: u32) {
        self.counters.budgets += 1;
        tally.bytes_in += bytes as u64;
        tally.frames += u64::from(frames);
    }

    pub(super) fn dropped(&mut self, bytes: usize) {
        self.counters.bytes_dropped += bytes as u64;
    }

    pub(super) fn stale(&mut self) {
        self.counters.stale += 1;
        self.trace(|| TraceEvent::Stale);
    }

    pub(super) fn received(
        &mut self,
        tally: &mut DatagramTally,
        received: &Received,
        bytes: &[u8],
    ) {
        tally.received += 1;
        let Received { from, asked, .. } = *received;
        self.trace(|| TraceEvent::Received(from, asked.is_some(), bytes));
    }

    pub(super) fn answered(
        &mut self,
        tally: &mut DatagramTally,
        received: &Received,
        answer: &[u8],
    ) {
        tally.sent += 1;
        let Received { from, asked, .. } = *received;
        self.trace(|| TraceEvent::Answered(from, asked.is_some(), answer));
    }

    /// A datagram was sent that answers none, or not to its sender.
    pub(super) fn spoke(&mut self, tally: &mut DatagramTally, to: SocketAddr, bytes: &[u8]) {
        tally.sent += 1;
        self.trace(|| TraceEvent::Answered(to, false, bytes));
    }

    pub(super) fn unanswerable(
        &mut self,
        tally: &mut DatagramTally,
        endpoint: &str,
        from: SocketAddr,
    ) {
        tally.unanswerable += 1;
        if self.throttle.allows(Kind::Datagram) {
            info!(endpoint, from:%; "did not answer a datagram whose source must not be answered");
        }
    }

    pub(super) fn datagram_denied(
        &mut self,
        tally: &mut DatagramTally,
        endpoint: &str,
        from: SocketAddr,
    ) {
        tally.denied += 1;
        if self.throttle.allows(Kind::Datagram) {
            info!(endpoint, from:%; "did not answer a datagram whose address is not served");
        }
    }

    pub(super) fn receive_failed(
        &mut self,
        tally: &mut DatagramTally,
        endpoint: &str,
        error: &io::Error,
    ) {
        tally.failed += 1;
        if self.throttle.allows(Kind::Datagram) {
            info!(endpoint, error:%; "could not receive a datagram");
        }
    }

    pub(super) fn send_failed(
        &mut self,
        tally: &mut DatagramTally,
        endpoint: &str,
        to: SocketAddr,
        error: &io::Error,
    ) {
        tally.failed += 1;
        if self.throttle.allows(Kind::Datagram) {
            info!(endpoint, to:%, error:%; "could not send a datagram");
        }
    }

    pub(super) fn spawned(&mut self, owner: ConnId) {
        self.counters.commands_started += 1;
        debug!(slot = owner.slot, generation = owner.generation; "started a command");
    }

    pub(super) fn broadcast_started(&mut self, endpoint: &str) {
        self.counters.commands_started += 1;
        debug!(endpoint; "started the command of the endpoint");
    }

    pub(super) fn broadcast_ended(&mut self, endpoint: &str, exit: Exit, again: Option<Duration>) {
        if self.throttle.allows(Kind::Command) {
            match again {
                Some(wait) => {
                    warn!(endpoint, exit:%, wait:?; "the command of the endpoint has ended; it is started again");
                }
                None => info!(endpoint, exit:%; "the command of the endpoint has ended"),
            }
        }
    }

    pub(super) fn spawn_failed(&mut self, error: &io::Error) {
        self.counters.commands_failed += 1;
        if self.throttle.allows(Kind::Command) {
            warn!(error:%; "could not start a command");
        }
    }

    /// Something became of a file.
    pub(super) fn file(&mut self, who: Who<'_>, note: &FileNote) {
        let counters = &mut self.counters;
        match note.fate {
            FileFate::Stored => {
                counters.files_stored += 1;
                counters.files_stored_bytes += note.bytes;
            }
            FileFate::Refused => counters.files_refused += 1,
            FileFate::Sent => {
                counters.files_sent += 1;
                counters.files_sent_bytes += note.bytes;
            }
            FileFate::Unsent => counters.files_unsent += 1,
        }
        self.note(|| AuditEvent::File(who, note));
    }

    pub(super) fn busy(&mut self) {
        self.counters.commands_busy += 1;
        if self.throttle.allows(Kind::Command) {
            info!("refused a command: as many run and wait as the limits allow");
        }
    }

    pub(super) fn reaped(&mut self) {
        self.counters.commands_reaped += 1;
    }
}

/// Why a connection ended that did not prove that it may come in, by the name under which it is counted.
fn unproved(why: Closed) -> Option<&'static str> {
    match why {
        Closed::WrongProof => Some("wrong_proof"),
        Closed::LoginTimeout => Some("login_timeout"),
        Closed::Insecure => Some("insecure"),
        _ => None,
    }
}

/// What a line is about; each kind has its own share.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Turn,
    Evicted,
    Closed,
    Fault,
    Refused,
    Accept,
    Datagram,
    Command,
}

const KINDS: usize = 8;

/// Counts the lines of a second, so that a flood of events is not a flood of lines (fault C13).
#[derive(Debug, Default)]
struct Throttle {
    /// When the next second begins: until then a turn costs one comparison.
    next: Moment,
    lines: [u32; KINDS],
}

impl Throttle {
    /// A turn has begun; says how many lines the last second suppressed.
    #[inline]
    fn begin(&mut self, now: Moment) -> Option<u32> {
        if now < self.next {
            return None;
        }
        self.begin_second(now)
    }

    #[cold]
    fn begin_second(&mut self, now: Moment) -> Option<u32> {
        self.next = Moment::START.after(Duration::from_secs(u64::from(now.as_secs()) + 1));
        let lines = std::mem::take(&mut self.lines);
        let over: u32 = lines
            .iter()
            .map(|&n| n.saturating_sub(LINES_PER_SECOND))
            .sum();
        (over > 0).then_some(over)
    }

    fn allows(&mut self, kind: Kind) -> bool {
        let lines = &mut self.lines[kind as usize];
        *lines = lines.saturating_add(1);
        *lines <= LINES_PER_SECOND
    }
}
