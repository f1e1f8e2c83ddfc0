//! The loop of every run, and what it drives.
//!
//! It does not know requests, datagrams or lines: traffic says what there is to do, and until when to wait.

use mio::Events;

use crate::load::net::poller::{EVENTS, Poller};
use crate::load::plan::error::LoadError;
use crate::load::run::Run;
use crate::load::run::report::Report;

/// The longest sleep: a generator that is stopped, or gets no processor, finds out by waking later than it was to.
const HEARTBEAT: u64 = 10_000_000;

/// What the loop drives: requests on connections, datagrams, or the lines of a chat.
pub(super) trait Traffic<'p> {
    /// The run it belongs to, and the poll that watches its sockets.
    fn parts(&mut self) -> (&mut Run<'p>, &mut Poller);
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
    let watch = traffic.parts().0.watch;
    let mut events = Events::with_capacity(EVENTS);
    let mut now = watch.nanos();
    let mut woke = now;
    let mut is_behind = false;
    while !traffic.is_over() {
        let (run, poller) = traffic.parts();
        run.advance_phase(now, poller.spun); // warm-up, measuring, the end
        if !is_behind {
            traffic.expire(now); // what took too long
        }
        traffic.begin(now); // connections and requests whose time has come
        let asleep = traffic.parts().0.turned(woke);
        let until = traffic.next_event(asleep).min(asleep + HEARTBEAT);
        traffic.parts().1.wait(&mut events, asleep, until)?; // the only place that sleeps
        woke = watch.nanos();
        // After a pause there may be answers in time that were not looked at yet.
        let was_away = traffic.parts().0.slept(until, woke);
        is_behind = (is_behind || was_away) && events.iter().count() == EVENTS;
        traffic.dispatch(&events); // what became readable or writable
        now = watch.nanos(); // what began before this belongs to the phase before
    }
    Ok(traffic.report(now))
}
