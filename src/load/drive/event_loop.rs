//! The loop of every run, and what it drives.
//!
//! It does not know requests, datagrams or lines: traffic says what there is to do, and until when to wait.

use mio::Events;

use crate::load::measure::clock::nanos;
use crate::load::net::poller::Poller;
use crate::load::plan::error::LoadError;
use crate::load::run::Run;
use crate::load::run::report::Report;

/// One read takes at most this much; also what is read at once of a long answer.
pub(super) const READ_BYTES: usize = 256 * 1024;
/// Reads of one connection before the others have their turn, and the clock is read again.
pub(super) const READS_PER_TURN: usize = 16;

/// What the loop drives: requests on connections, datagrams, or the lines of a chat.
pub(super) trait Traffic<'p> {
    /// The run it belongs to.
    fn run(&mut self) -> &mut Run<'p>;
    /// The poll that watches its sockets.
    fn poller(&mut self) -> &mut Poller;
    /// Ends what took longer than the timeout.
    fn expire(&mut self, now: u64);
    /// Dials and sends, as far as there is room for it.
    fn begin(&mut self, now: u64);
    /// Serves sockets that became readable or writable, and those whose budget was spent before.
    fn dispatch(&mut self, events: &Events);
    /// When it has something to do next, even without an event.
    fn next_event(&self, now: u64) -> u64;
    /// Whether nothing is left to be done.
    fn is_over(&self) -> bool;
    /// All that was seen.
    fn report(self, now: u64) -> Report;
}

/// Runs to the end.
pub(super) fn drive<'p, T: Traffic<'p>>(mut traffic: T) -> Result<Report, LoadError> {
    let watch = traffic.run().watch;
    let mut now = watch.nanos();
    let mut woke = now;
    while !traffic.is_over() {
        let spun = traffic.poller().spun;
        traffic.run().advance_phase(now, spun); // warm-up, measuring, the end
        traffic.expire(now); // what took too long
        traffic.begin(now); // connections and requests whose time has come
        let asleep = traffic.run().turned(woke);
        let until = traffic.next_event(asleep);
        traffic.poller().wait(asleep, until)?; // the only place that sleeps
        woke = watch.nanos();
        let events = traffic.poller().take();
        traffic.dispatch(&events); // what became readable or writable
        traffic.poller().give_back(events);
        now = watch.nanos(); // what began before this belongs to the phase before
    }
    Ok(traffic.report(now))
}

/// Timeouts are checked this often at most, and at least.
const CHECKED_EVERY: (u64, u64) = (1_000_000, 50_000_000);

/// When timeouts are checked next: a scan of all connections is not for every turn.
#[derive(Debug, Default)]
pub(super) struct ExpiryCheck {
    pub(super) next: u64,
}

impl ExpiryCheck {
    /// Whether to check now: eight times a timeout.
    pub(super) fn is_due(&mut self, now: u64, run: &Run<'_>) -> bool {
        let is_due = now >= self.next;
        if is_due {
            let (least, most) = CHECKED_EVERY;
            self.next = now + (nanos(run.plan.timeout) / 8).clamp(least, most);
        }
        is_due
    }
}
