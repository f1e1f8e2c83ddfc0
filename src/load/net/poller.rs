//! Waiting for sockets: the only place of a run that sleeps.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

use crate::load::measure::clock::{Stopwatch, nanos};

/// How many events one wait reports.
pub(crate) const EVENTS: usize = 1024;
/// What the poll calls the timer; no slot has this number.
const TIMER: Token = Token(usize::MAX);
/// Sleeping and waking takes about this long: what is due sooner is awaited polling.
const TOO_SHORT: u64 = 20_000;

/// A poll of its own.
#[derive(Debug)]
pub(crate) struct Poller {
    poll: Poll,
    watch: Stopwatch,
    /// The poll's own timeout counts in milliseconds; a schedule needs better.
    timer: Option<OwnedFd>,
    /// How long to poll before sleeping.
    spin: u64,
    /// How long was polled in vain, in all.
    pub(crate) spun: u64,
}

impl Poller {
    /// Watches nothing yet.
    pub(crate) fn new(watch: Stopwatch, spin: Duration, is_precise: bool) -> io::Result<Self> {
        let poll = Poll::new()?;
        let timer = if is_precise {
            let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
            let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
            // Edge-triggered: each expiry is an event, so it need not be read.
            let fd = timer.as_raw_fd();
            poll.registry()
                .register(&mut SourceFd(&fd), TIMER, Interest::READABLE)?;
            Some(timer)
        } else {
            None
        };
        Ok(Self {
            poll,
            timer,
            watch,
            spin: nanos(spin),
            spun: 0,
        })
    }

    /// Watches a socket for everything, for good; what is there already is an event too.
    pub(crate) fn register(&self, socket: &impl AsFd, token: Token) -> io::Result<()> {
        let interest = Interest::READABLE | Interest::WRITABLE | Interest::PRIORITY;
        let fd = socket.as_fd().as_raw_fd();
        self.poll
            .registry()
            .register(&mut SourceFd(&fd), token, interest)
    }

    /// Waits until something happens, at most until `until`.
    pub(crate) fn wait(&mut self, events: &mut Events, now: u64, until: u64) -> io::Result<()> {
        let mut last = now;
        // With nothing to wait for this is one look.
        while self.spin > 0 && last - now < self.spin && last < until {
            self.poll_for(events, Duration::ZERO)?;
            if !events.is_empty() {
                return Ok(());
            }
            let time = self.watch.nanos();
            // Polls in vain were not work.
            self.spun += time - last;
            last = time;
        }
        let left = until.saturating_sub(last);
        match &self.timer {
            Some(_) if (1..TOO_SHORT).contains(&left) => {
                self.poll_for(events, Duration::ZERO)?;
                if events.is_empty() {
                    self.spun += self.watch.nanos() - last;
                }
                Ok(())
            }
            Some(timer) if left > 0 => {
                let time =
                    Timespec::try_from(Duration::from_nanos(left)).map_err(io::Error::other)?;
                let once = Itimerspec {
                    it_interval: Timespec::default(),
                    it_value: time,
                };
                timerfd_settime(timer, TimerfdTimerFlags::empty(), &once)?;
                self.poll_for(events, Duration::from_nanos(left))
            }
            _ => self.poll_for(events, Duration::from_nanos(left)),
        }
    }

    fn poll_for(&mut self, events: &mut Events, time: Duration) -> io::Result<()> {
        match self.poll.poll(events, Some(time)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error),
            _ => Ok(()),
        }
    }
}
