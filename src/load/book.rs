//! What happened, counted.

use serde::Serialize;

use super::histogram::Latencies;
use super::plan::Amount;

/// Why a request or a connection failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Nobody listens there.
    Refused,
    /// The server reset the connection.
    Reset,
    /// The answer was not complete in time.
    Timeout,
    /// No local port was left, or a local address is not ours.
    NoPort,
    /// No file descriptor was left.
    NoDescriptor,
    /// The server hung up before the whole answer.
    ShortAnswer,
    /// A byte was not the one that was sent, or one too many.
    WrongAnswer,
    /// The connection was to itself: nobody listens there (fault B21).
    SelfConnect,
    /// Anything else; the first is kept in words.
    Other,
}

/// Errors by kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Errors {
    /// All of them.
    pub total: u64,
    /// See [`Kind::Refused`].
    pub refused: u64,
    /// See [`Kind::Reset`].
    pub reset: u64,
    /// See [`Kind::Timeout`].
    pub timeout: u64,
    /// See [`Kind::NoPort`].
    pub no_port: u64,
    /// See [`Kind::NoDescriptor`].
    pub no_descriptor: u64,
    /// See [`Kind::ShortAnswer`].
    pub short_answer: u64,
    /// See [`Kind::WrongAnswer`].
    pub wrong_answer: u64,
    /// See [`Kind::SelfConnect`].
    pub self_connect: u64,
    /// See [`Kind::Other`].
    pub other: u64,
}

impl Errors {
    /// Counts one.
    pub fn count(&mut self, kind: Kind) {
        self.total += 1;
        *match kind {
            Kind::Refused => &mut self.refused,
            Kind::Reset => &mut self.reset,
            Kind::Timeout => &mut self.timeout,
            Kind::NoPort => &mut self.no_port,
            Kind::NoDescriptor => &mut self.no_descriptor,
            Kind::ShortAnswer => &mut self.short_answer,
            Kind::WrongAnswer => &mut self.wrong_answer,
            Kind::SelfConnect => &mut self.self_connect,
            Kind::Other => &mut self.other,
        } += 1;
    }

    /// Number and name of each kind that occurred.
    pub fn by_kind(&self) -> impl Iterator<Item = (u64, &'static str)> {
        [
            (self.refused, "refused"),
            (self.reset, "reset"),
            (self.timeout, "timed out"),
            (self.no_port, "without a local port"),
            (self.no_descriptor, "without a descriptor"),
            (self.short_answer, "short answers"),
            (self.wrong_answer, "wrong answers"),
            (self.self_connect, "connected to themselves"),
            (self.other, "other"),
        ]
        .into_iter()
        .filter(|(count, _)| *count > 0)
    }
}

/// How far a run is.
///
/// ```text
/// Connecting -> WarmUp -> Measured -> Draining
/// ```
/// `Mode::Conn` begins with `WarmUp`; a warm-up of nothing ends at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The connections of [`Mode::Echo`](super::Mode::Echo) are being opened; nobody asks yet.
    Connecting,
    /// Asking, and not counting, until then.
    WarmUp {
        /// When measuring begins.
        until: u64,
    },
    /// Asking and counting.
    Measured,
    /// Asking no more; what is owed may still come.
    Draining,
}

/// Decides what counts, and counts it. Times are nanoseconds of the run's stopwatch.
///
/// With [`Amount::For`] an answer counts towards the rate when it *came* while measuring. With
/// [`Amount::Count`] a request counts when it *began* then, so that the sum is exact.
#[derive(Debug)]
pub struct Book {
    amount: Amount,
    /// When measuring began; never, before that.
    since: u64,
    /// When it ended: given by the amount, or by the last request of a count.
    until: u64,
    left: u64,
    /// When the last request ended, well or not.
    last: u64,
    /// Requests begun, of those that count.
    pub asked: u64,
    /// Whole and right answers while measuring.
    pub answers: u64,
    /// Whole and right answers that came after the end.
    pub late: u64,
    /// Requests whose connection failed under them.
    pub unanswered: u64,
    /// Of the answers, early and late.
    pub latencies: Latencies,
    /// What failed, connecting included.
    pub errors: Errors,
    /// What failed during warm-up.
    pub warmup_errors: Errors,
    /// The first error of [`Kind::Other`], in words.
    pub other: Option<String>,
}

impl Book {
    /// Empty.
    pub fn new(amount: Amount) -> Self {
        Self {
            amount,
            since: u64::MAX,
            until: u64::MAX,
            left: match amount {
                // Never spent: at a billion a second it would take centuries.
                Amount::For(_) => u64::MAX,
                Amount::Count(count) => count,
            },
            last: 0,
            asked: 0,
            answers: 0,
            late: 0,
            unanswered: 0,
            latencies: Latencies::new(),
            errors: Errors::default(),
            warmup_errors: Errors::default(),
            other: None,
        }
    }

    /// Measuring begins.
    pub fn begin(&mut self, now: u64) {
        self.since = now;
        if let Amount::For(time) = self.amount {
            self.until = now.saturating_add(nanos(time));
        }
    }

    /// When measuring ends, as far as that is known.
    pub fn until(&self) -> u64 {
        self.until
    }

    /// Takes up to `count` requests out of those that are left; returns how many there were.
    #[inline]
    pub fn take(&mut self, phase: Phase, count: usize) -> usize {
        match phase {
            Phase::WarmUp { .. } => count,
            Phase::Measured => {
                let count = count.min(usize::try_from(self.left).unwrap_or(usize::MAX));
                self.left -= count as u64;
                self.asked += count as u64;
                count
            }
            Phase::Connecting | Phase::Draining => 0,
        }
    }

    /// Whether all that was to be asked has been.
    pub fn is_spent(&self) -> bool {
        self.left == 0
    }

    /// Whole and right answers, `count` of them, to requests that began together.
    #[inline]
    pub fn answered(&mut self, began: u64, now: u64, count: u64) {
        let counts_since = match self.amount {
            Amount::For(_) => now,
            Amount::Count(_) => began,
        };
        if counts_since < self.since {
            return;
        }
        self.last = now;
        if now < self.until {
            self.answers += count;
        } else {
            self.late += count;
        }
        self.latencies.record(now.saturating_sub(began), count);
    }

    /// A request that will not be answered.
    pub fn lost(&mut self, began: u64, now: u64) {
        let counts_since = match self.amount {
            Amount::For(_) => now,
            Amount::Count(_) => began,
        };
        if counts_since >= self.since {
            self.unanswered += 1;
        }
    }

    /// A request or a connection that failed; `began` is when the request did.
    pub fn failed(&mut self, phase: Phase, kind: Kind, began: u64, now: u64) {
        self.last = now;
        let warming = match (phase, self.amount) {
            (Phase::WarmUp { .. }, _) => true,
            (Phase::Connecting, _) | (_, Amount::For(_)) => false,
            (_, Amount::Count(_)) => began < self.since,
        };
        if warming {
            &mut self.warmup_errors
        } else {
            &mut self.errors
        }
        .count(kind);
    }

    /// Measuring is over; returns how many nanoseconds it took.
    pub fn end(&mut self, now: u64) -> u64 {
        let end = match self.amount {
            Amount::For(_) => self.until.min(now),
            Amount::Count(_) => self.last,
        };
        end.saturating_sub(self.since)
    }
}

/// A duration as the stopwatch counts.
pub fn nanos(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
