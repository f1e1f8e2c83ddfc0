//! What the loop tells the code that runs it, between two turns.

use std::fmt;

use zeroize::Zeroizing;

use super::Reactor;
use super::os::Os;
use crate::turn::{ConnId, Exit, HandOver, Moment};

/// What the loop tells, see [`run_with`](Reactor::run_with).
#[derive(Debug)]
pub enum News {
    /// SIGHUP came: the configuration is to be read again.
    Reload,
    /// The helper that was asked for has ended.
    Helper(Helped),
    /// The moment that was asked for with [`alarm_at`](Reactor::alarm_at) has come.
    Alarm,
    /// The server begins to stop.
    Stopping,
    /// The process at the other end of this connection wants this of the sockets: it is answered with
    /// [`hand_over`](Reactor::hand_over), [`release`](Reactor::release) or
    /// [`refuse_hand_over`](Reactor::refuse_hand_over), and its input is held until then.
    HandOver(ConnId, HandOver),
    /// A service asks for the figures of all the processes of which this is [one](Reactor::join), for this connection:
    /// it is answered with [`tell_page`](Reactor::tell_page).
    Figures(ConnId),
    /// SIGUSR1 came to a loop that [waits for others](Reactor::wait_for_others): their counters are to be printed.
    Report,
    /// Something is to be read from what is [watched](Reactor::watch_for) under this number, or it has room again; or
    /// the process of this number has ended.
    Ready(u32),
}

/// How a helper ended, and what it wrote.
pub struct Helped {
    /// Its standard output, which may hold secrets.
    pub out: Zeroizing<Vec<u8>>,
    /// The beginning of its standard error.
    pub err: Vec<u8>,
    /// How it ended.
    pub exit: Exit,
    /// Why the loop ended it, if it did.
    pub cut: Option<Cut>,
}

/// Why a helper was ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// Its time was up.
    TooLate,
    /// It wrote more than it may.
    TooLong,
}

impl fmt::Debug for Helped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Helped")
            .field("exit", &self.exit)
            .field("cut", &self.cut)
            .finish_non_exhaustive()
    }
}

impl<O: Os> Reactor<O> {
    /// Tells this after the turn.
    pub(super) fn tell(&mut self, news: News) {
        self.news.push_back(news);
    }

    /// Asks to be told when this moment has come; a second call replaces the first.
    pub fn alarm_at(&mut self, at: Option<Moment>) {
        self.alarm = at;
    }

    /// The time of the last turn.
    pub fn now(&self) -> Moment {
        self.now
    }

    pub(super) fn ring_alarm(&mut self) {
        if self.alarm.is_some_and(|at| at <= self.now) {
            self.alarm = None;
            self.tell(News::Alarm);
        }
    }
}
