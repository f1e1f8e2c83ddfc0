//! Waiting for sockets: the only place of a run that sleeps.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

use super::book::nanos;
use super::stopwatch::Stopwatch;

/// How many events one wait reports.
const EVENTS: usize = 1024;

/// A poll of its own, and what it reported last.
#[derive(Debug)]
pub(super) struct Lookout {
    poll: Poll,
    events: Events,
    watch: Stopwatch,
    /// How long to poll before sleeping.
    spin: u64,
    /// How long was polled in vain, in all.
    pub(super) spun: u64,
}

impl Lookout {
    /// Watches nobody yet.
    pub(super) fn new(watch: Stopwatch, spin: Duration) -> io::Result<Self> {
        Ok(Self {
            poll: Poll::new()?,
            events: Events::with_capacity(EVENTS),
            watch,
            spin: nanos(spin),
            spun: 0,
        })
    }

    /// Watches a socket for everything, for good; what is there already is an event too.
    pub(super) fn show(&self, socket: &impl AsFd, token: Token) -> io::Result<()> {
        let interest = Interest::READABLE | Interest::WRITABLE | Interest::PRIORITY;
        let fd = socket.as_fd().as_raw_fd();
        self.poll
            .registry()
            .register(&mut SourceFd(&fd), token, interest)
    }

    /// Waits until something happens, at most until `until`.
    pub(super) fn wait(&mut self, now: u64, until: u64) -> io::Result<()> {
        let mut last = now;
        // With nothing to wait for this is one look.
        while self.spin > 0 && last - now < self.spin && last < until {
            self.poll_for(Duration::ZERO)?;
            if !self.events.is_empty() {
                return Ok(());
            }
            let time = self.watch.nanos();
            // Polls in vain were not work.
            self.spun += time - last;
            last = time;
        }
        self.poll_for(Duration::from_nanos(until.saturating_sub(last)))
    }

    fn poll_for(&mut self, time: Duration) -> io::Result<()> {
        match self.poll.poll(&mut self.events, Some(time)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error),
            _ => Ok(()),
        }
    }

    /// Takes out what happened, to be given back.
    pub(super) fn take(&mut self) -> Events {
        std::mem::replace(&mut self.events, Events::with_capacity(0))
    }

    /// Gives the events back, for the next wait.
    pub(super) fn give_back(&mut self, events: Events) {
        self.events = events;
    }
}
