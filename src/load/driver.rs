//! The loop of the load generator: one thread, one poll, nothing allocated per request.
//!
//! It does not know what a server is for: a message goes out, the same bytes come back.
//!
//! A kept connection is watched once, for good. A connection of `conn` lives for one answer, so it is
//! not watched at first: with many in flight, the answer of the oldest is usually there by the time
//! the others have been sent, and one read takes it. Only who has to wait is shown to the poll.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use mio::event::Event;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::LoadError;
use super::book::{Book, Kind, Phase, nanos};
use super::dial::{self, Dialer, Dialled, Stream};
use super::payload::Payload;
use super::plan::{Close, Mode, Plan, Target};
use super::report::{Generator, Held, Report};
use super::stopwatch::{CpuTime, Stopwatch};

/// One read takes at most this much; also what is read at once of a long answer.
const READ_BYTES: usize = 256 * 1024;
/// How many events one wait reports.
const EVENTS: usize = 1024;
/// A listener's queue is often 128 long, and what does not fit waits a second.
const DIALLING_MAX: usize = 100;
/// Who was refused, or found no port or descriptor, tries again after this long: a run against nobody
/// counts errors, it does not burn a processor.
const REST: Duration = Duration::from_millis(5);
/// Deadlines are looked at this often at most, and at least.
const LOOK: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(50));

/// Where a connection may be.
///
/// ```text
///             +-------------- Resting <- refused, no port …
///             v                  ^
/// Vacant -> Taken(Dialling) -----+
///   ^         |       `-> Taken(Ready)      echo: waits for the others
///   |         v              v
///   |       Taken(Talking) <-'
///   |         |       `-> Taken(Leaving)    conn: the server is to close
///   '---------+--------------'   conn: and again; echo: a failed one is Gone
/// ```
#[derive(Debug)]
enum Seat {
    /// To be dialled as soon as there may be another request.
    Vacant,
    /// To be dialled again later. A request that is only delayed keeps its beginning.
    Resting { began: Option<u64> },
    /// A connection.
    Taken(Guest),
    /// Not replaced.
    Gone,
}

#[derive(Debug)]
struct Guest {
    stream: Stream,
    /// Whether the poll knows it.
    watched: bool,
    stage: Stage,
    /// When dialling began.
    began: u64,
    talk: Talk,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Not known to be connected.
    Dialling,
    /// Connected, and nothing asked yet.
    Ready,
    /// Requests may be in flight.
    Talking,
    /// Answered; the server is to close.
    Leaving,
}

/// What is owed on a connection, in both directions.
#[derive(Debug, Clone, Copy, Default)]
struct Talk {
    /// Requests in flight; their start times are in the seat's ring.
    flight: usize,
    /// Where in the ring the oldest of them is.
    oldest: usize,
    /// Bytes of them that were not yet written, and where in the payload they begin.
    unsent: usize,
    write_at: usize,
    /// Bytes of them that were not yet read, and where in the payload they begin.
    unread: usize,
    read_at: usize,
}

/// What became of reading or writing once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Nothing more can be done now.
    Wait,
    /// One request of `conn` is over and well.
    Done,
    /// The connection failed.
    Failed(Kind, Option<Errno>),
}

/// A run in progress.
#[derive(Debug)]
pub struct Driver<'p> {
    plan: &'p Plan,
    watch: Stopwatch,
    phase: Phase,
    book: Book,
    payload: Payload,
    dialer: Dialer,
    poll: Poll,
    events: Events,
    incoming: Box<[u8]>,
    seats: Box<[Seat]>,
    /// Counts the connections of each seat, so that an event for an earlier one is silence.
    generations: Box<[u32]>,
    /// Start times of what is in flight: a ring of `pipeline` for each seat.
    began: Box<[u64]>,
    /// Seats to dial.
    vacant: VecDeque<usize>,
    /// Seats to dial again, and when; all rest equally long, so the first is due first.
    resting: VecDeque<(u64, usize)>,
    /// Unwatched connections that await an answer, the oldest first.
    young: VecDeque<usize>,
    dialling: usize,
    open: usize,
    open_max: usize,
    /// Requests in flight on all connections.
    outstanding: usize,
    next_look: u64,
    spun: u64,
    cpu: CpuTime,
    cpu_at: u64,
    spun_before: u64,
}

/// A token carries a seat and its generation.
const _: () = assert!(usize::BITS == 64, "a token must hold two halves of 32 bits");

impl<'p> Driver<'p> {
    /// Gets everything ready that a run needs, so that it need not allocate later.
    pub fn new(plan: &'p Plan, target: Target) -> Result<Self, LoadError> {
        raise_descriptor_limit();
        let count = plan.connections;
        Ok(Self {
            plan,
            watch: Stopwatch::start(),
            phase: match plan.mode {
                Mode::Echo => Phase::Connecting,
                Mode::Conn { .. } => Phase::WarmUp {
                    until: nanos(plan.warmup),
                },
            },
            book: Book::new(plan.amount),
            payload: Payload::new(plan.size, plan.pipeline),
            dialer: Dialer::new(plan, &target)?,
            poll: Poll::new()?,
            events: Events::with_capacity(EVENTS),
            incoming: vec![0; READ_BYTES].into_boxed_slice(),
            seats: (0..count).map(|_| Seat::Vacant).collect(),
            generations: vec![0; count].into_boxed_slice(),
            began: vec![0; count * plan.pipeline].into_boxed_slice(),
            vacant: (0..count).collect(),
            resting: VecDeque::with_capacity(count),
            young: VecDeque::with_capacity(count),
            dialling: 0,
            open: 0,
            open_max: 0,
            outstanding: 0,
            next_look: 0,
            spun: 0,
            cpu: CpuTime::now(),
            cpu_at: 0,
            spun_before: 0,
        })
    }

    /// Runs to the end.
    pub fn run(mut self) -> Result<Report, LoadError> {
        let mut now = self.watch.nanos();
        while !self.is_over() {
            self.turn_the_page(now); // warm-up, measuring, the end
            self.let_go(now); // who took too long; who has rested
            self.dial(); // who is to be connected
            self.look(); // whether young connections have their answer already
            self.wait(now)?; // the only place that sleeps
            self.attend(); // who became readable, who became writable
            now = self.watch.nanos();
        }
        Ok(self.report(now))
    }

    fn is_over(&self) -> bool {
        match self.phase {
            Phase::Connecting => false,
            // A kept connection that failed is not replaced: without any there is nobody to ask.
            Phase::WarmUp { .. } | Phase::Measured => {
                self.plan.mode == Mode::Echo && self.open == 0
            }
            Phase::Draining => self.outstanding + self.dialling == 0 && self.all_are_seated(),
        }
    }

    /// Whether nobody is to be dialled, now or later.
    fn all_are_seated(&self) -> bool {
        self.vacant.is_empty() && self.resting.is_empty()
    }

    fn turn_the_page(&mut self, now: u64) {
        if self.phase == Phase::Connecting && self.dialling == 0 && self.all_are_seated() {
            self.phase = Phase::WarmUp {
                until: now.saturating_add(nanos(self.plan.warmup)),
            };
            if self.plan.warmup.is_zero() {
                self.begin_measuring(now);
            }
            self.start_everybody();
        }
        match self.phase {
            Phase::WarmUp { until } if now >= until => self.begin_measuring(now),
            Phase::Measured if now >= self.book.until() || self.book.is_spent() => {
                self.phase = Phase::Draining;
            }
            _ => {}
        }
    }

    fn begin_measuring(&mut self, now: u64) {
        self.phase = Phase::Measured;
        self.book.begin(now);
        self.cpu = CpuTime::now();
        self.cpu_at = now;
        self.spun_before = self.spun;
    }

    /// Everybody is connected: the first requests of `echo`.
    fn start_everybody(&mut self) {
        for index in 0..self.seats.len() {
            if let Seat::Taken(guest) = &mut self.seats[index] {
                guest.stage = Stage::Talking;
                let now = self.watch.nanos();
                self.ask(index, self.plan.pipeline, now);
                let step = self.write(index);
                self.settle(index, step);
            }
        }
    }

    /// Ends what is older than the timeout, and wakes who has rested.
    fn let_go(&mut self, now: u64) {
        while let Some((until, index)) = self.resting.front().copied() {
            if until > now {
                break;
            }
            self.resting.pop_front();
            self.vacant.push_back(index);
        }
        if now < self.next_look {
            return;
        }
        let timeout = nanos(self.plan.timeout);
        self.next_look = now + (timeout / 8).clamp(nanos(LOOK.0), nanos(LOOK.1));
        for index in 0..self.seats.len() {
            let Seat::Taken(guest) = &self.seats[index] else {
                continue;
            };
            let since = match guest.stage {
                Stage::Ready => continue,
                Stage::Talking if guest.talk.flight == 0 => continue,
                Stage::Talking => self.began[index * self.plan.pipeline + guest.talk.oldest],
                Stage::Dialling | Stage::Leaving => guest.began,
            };
            if now.saturating_sub(since) >= timeout {
                self.settle(index, Step::Failed(Kind::Timeout, None));
            }
        }
    }

    fn dial(&mut self) {
        while self.dialling < DIALLING_MAX || self.plan.mode != Mode::Echo {
            let Some(index) = self.vacant.pop_front() else {
                break;
            };
            let now = self.watch.nanos();
            self.dial_one(index, now);
        }
    }

    fn dial_one(&mut self, index: usize, now: u64) {
        let delayed = match &self.seats[index] {
            Seat::Resting { began } => *began,
            _ => None,
        };
        if self.plan.mode != Mode::Echo && delayed.is_none() && self.book.take(self.phase, 1) == 0 {
            self.seats[index] = Seat::Gone;
            return;
        }
        let began = delayed.unwrap_or(now);
        let stream = match self.dialer.dial() {
            Ok(Dialled::Begun(stream)) => stream,
            Ok(Dialled::Later) if now.saturating_sub(began) < nanos(self.plan.timeout) => {
                return self.rest(index, now, Some(began));
            }
            Ok(Dialled::Later) => {
                self.count_failure(Kind::Timeout, None, began, now);
                return self.after_failure(index, Kind::Timeout, now);
            }
            Err(errno) => {
                let kind = dial::kind(errno);
                self.count_failure(kind, Some(errno), began, now);
                return self.after_failure(index, kind, now);
            }
        };
        self.dialling += 1;
        self.generations[index] = self.generations[index].wrapping_add(1);
        let at = self
            .payload
            .start(index.wrapping_add(self.generations[index] as usize));
        self.seats[index] = Seat::Taken(Guest {
            stream,
            watched: false,
            stage: Stage::Dialling,
            began,
            talk: Talk {
                write_at: at,
                read_at: at,
                ..Talk::default()
            },
        });
        if self.plan.mode == Mode::Echo {
            self.show(index);
            return;
        }
        // On loopback the connection is there when `connect` returns, and the write says so.
        self.began[index * self.plan.pipeline] = began;
        let step = self.write_first(index);
        if step == Step::Wait {
            self.young.push_back(index);
        } else {
            self.settle(index, step);
        }
    }

    /// Puts `count` more requests on a connection, as far as there are any left.
    #[inline]
    fn ask(&mut self, index: usize, count: usize, now: u64) {
        let depth = self.plan.pipeline;
        let Seat::Taken(Guest { talk, .. }) = &mut self.seats[index] else {
            return;
        };
        let count = self.book.take(self.phase, count);
        let ring = &mut self.began[index * depth..][..depth];
        let mut at = talk.oldest + talk.flight;
        for _ in 0..count {
            if at >= depth {
                at -= depth;
            }
            ring[at] = now;
            at += 1;
        }
        talk.flight += count;
        talk.unsent += count * self.plan.size;
        talk.unread += count * self.plan.size;
        self.outstanding += count;
    }

    /// The first write of `conn`, which also tells whether it is connected.
    fn write_first(&mut self, index: usize) -> Step {
        let Seat::Taken(guest) = &mut self.seats[index] else {
            return Step::Wait;
        };
        let message = self.payload.stretch(guest.talk.write_at, self.plan.size);
        match guest.stream.write(message) {
            Ok(_) if self.dialer.met_itself(&guest.stream) => Step::Failed(Kind::SelfConnect, None),
            Ok(n) => {
                guest.stage = Stage::Talking;
                guest.talk.flight = 1;
                guest.talk.unsent = self.plan.size - n;
                guest.talk.unread = self.plan.size;
                guest.talk.write_at = self.payload.advance(guest.talk.write_at, n);
                self.outstanding += 1;
                self.connected();
                Step::Wait
            }
            Err(Errno::AGAIN) => Step::Wait,
            Err(errno) => Step::Failed(dial::kind(errno), Some(errno)),
        }
    }

    fn connected(&mut self) {
        self.dialling -= 1;
        self.open += 1;
        self.open_max = self.open_max.max(self.open);
    }

    /// Writes what is unsent, in one go.
    #[inline]
    fn write(&mut self, index: usize) -> Step {
        let Seat::Taken(guest) = &mut self.seats[index] else {
            return Step::Wait;
        };
        let talk = &mut guest.talk;
        if talk.unsent == 0 {
            return Step::Wait;
        }
        match guest
            .stream
            .write(self.payload.stretch(talk.write_at, talk.unsent))
        {
            // Less than all means full; being writable again is an event.
            Ok(n) => {
                talk.unsent -= n;
                talk.write_at = self.payload.advance(talk.write_at, n);
                Step::Wait
            }
            Err(Errno::AGAIN) => Step::Wait,
            Err(errno) => Step::Failed(dial::kind(errno), Some(errno)),
        }
    }

    /// Reads until there is no more, and compares; `to_the_end` when a short read proves nothing.
    #[inline]
    fn read(&mut self, index: usize, to_the_end: bool) -> Step {
        loop {
            let Seat::Taken(guest) = &mut self.seats[index] else {
                return Step::Wait;
            };
            let n = match guest.stream.read(&mut self.incoming) {
                Ok(0) if guest.stage == Stage::Leaving => return Step::Done,
                Ok(0) => return Step::Failed(Kind::ShortAnswer, None),
                Ok(n) => n,
                Err(Errno::AGAIN) => return Step::Wait,
                Err(errno) => return Step::Failed(dial::kind(errno), Some(errno)),
            };
            let talk = &mut guest.talk;
            // Unread counts what is unsent too: an answer that overtakes its request is no echo.
            if n > talk.unread - talk.unsent
                || self.incoming[..n] != *self.payload.stretch(talk.read_at, n)
            {
                return Step::Failed(Kind::WrongAnswer, None);
            }
            let size = self.plan.size;
            let owed = talk.flight;
            talk.read_at = self.payload.advance(talk.read_at, n);
            talk.unread -= n;
            talk.flight = talk.unread.div_ceil(size);
            let answered = owed - talk.flight;
            if answered > 0 {
                if let Mode::Conn { close } = self.plan.mode {
                    if close != Close::Server {
                        return Step::Done;
                    }
                    guest.stage = Stage::Leaving;
                    continue;
                }
                let now = self.watch.nanos();
                let depth = self.plan.pipeline;
                // What was sent in one write and comes back in one read is counted in one go.
                let ring = &self.began[index * depth..][..depth];
                let mut left = answered;
                while left > 0 {
                    let began = ring[talk.oldest];
                    let mut run = 0;
                    while run < left && ring[talk.oldest] == began {
                        run += 1;
                        talk.oldest = if talk.oldest + 1 == depth {
                            0
                        } else {
                            talk.oldest + 1
                        };
                    }
                    left -= run;
                    self.book.answered(began, now, run as u64);
                }
                self.outstanding -= answered;
                self.ask(index, answered, now);
                if let Step::Failed(kind, errno) = self.write(index) {
                    return Step::Failed(kind, errno);
                }
            }
            if n < self.incoming.len() && !to_the_end {
                return Step::Wait;
            }
        }
    }

    /// What follows from a step.
    fn settle(&mut self, index: usize, step: Step) {
        match step {
            Step::Wait => {}
            Step::Done => {
                self.leave(index);
                let now = self.watch.nanos();
                self.book.answered(self.began[index], now, 1);
                self.seats[index] = Seat::Vacant;
                if self.phase == Phase::Draining {
                    self.seats[index] = Seat::Gone;
                } else {
                    self.dial_one(index, now);
                }
            }
            Step::Failed(kind, errno) => {
                let now = self.watch.nanos();
                let Seat::Taken(guest) = &self.seats[index] else {
                    return;
                };
                let mut began = guest.began;
                if self.plan.mode == Mode::Echo {
                    let ring = &self.began[index * self.plan.pipeline..][..self.plan.pipeline];
                    for place in (0..guest.talk.flight).rev() {
                        began = ring[(guest.talk.oldest + place) % ring.len()];
                        self.book.lost(began, now);
                    }
                }
                self.count_failure(kind, errno, began, now);
                self.leave(index);
                self.after_failure(index, kind, now);
            }
        }
    }

    /// Closes a connection and takes it out of the sums; the only place where one ends.
    fn leave(&mut self, index: usize) {
        let Seat::Taken(guest) = std::mem::replace(&mut self.seats[index], Seat::Gone) else {
            return;
        };
        if guest.stage == Stage::Dialling {
            self.dialling -= 1;
        } else {
            self.open -= 1;
        }
        // While leaving, `conn` still awaits the end of its one request.
        self.outstanding -= match (guest.stage, self.plan.mode) {
            (Stage::Dialling, _) => 0,
            (_, Mode::Conn { .. }) => 1,
            (_, Mode::Echo) => guest.talk.flight,
        };
        drop(guest.stream);
    }

    fn count_failure(&mut self, kind: Kind, errno: Option<Errno>, began: u64, now: u64) {
        if kind == Kind::Other && self.book.other.is_none() {
            self.book.other = errno.map(|errno| io::Error::from(errno).to_string());
        }
        if self.plan.mode != Mode::Echo {
            self.book.lost(began, now);
        }
        self.book.failed(self.phase, kind, began, now);
    }

    /// `conn` goes on with the next request; `echo` goes on without this connection.
    fn after_failure(&mut self, index: usize, kind: Kind, now: u64) {
        if self.plan.mode == Mode::Echo || self.phase == Phase::Draining {
            self.seats[index] = Seat::Gone;
            return;
        }
        match kind {
            Kind::Reset | Kind::Timeout | Kind::ShortAnswer | Kind::WrongAnswer => {
                self.seats[index] = Seat::Vacant;
                self.vacant.push_back(index);
            }
            Kind::Refused | Kind::NoPort | Kind::NoDescriptor | Kind::SelfConnect | Kind::Other => {
                self.rest(index, now, None);
            }
        }
    }

    fn rest(&mut self, index: usize, now: u64, began: Option<u64>) {
        self.seats[index] = Seat::Resting { began };
        self.resting.push_back((now + nanos(REST), index));
    }

    /// Shows a connection to the poll; what is there already is an event too.
    fn show(&mut self, index: usize) {
        let Seat::Taken(guest) = &mut self.seats[index] else {
            return;
        };
        let token = Token((self.generations[index] as usize) << 32 | index);
        let interest = Interest::READABLE | Interest::WRITABLE | Interest::PRIORITY;
        let fd = guest.stream.as_fd().as_raw_fd();
        match self
            .poll
            .registry()
            .register(&mut SourceFd(&fd), token, interest)
        {
            Ok(()) => guest.watched = true,
            Err(error) => {
                let errno = Errno::from_io_error(&error);
                self.settle(index, Step::Failed(Kind::Other, errno));
            }
        }
    }

    /// One try for each young connection; who has nothing yet is shown to the poll.
    fn look(&mut self) {
        for _ in 0..self.young.len() {
            let Some(index) = self.young.pop_front() else {
                break;
            };
            let Seat::Taken(guest) = &self.seats[index] else {
                continue;
            };
            if guest.watched {
                continue;
            }
            if guest.stage == Stage::Dialling {
                self.show(index);
                continue;
            }
            match self.read(index, false) {
                Step::Wait => self.show(index),
                step => self.settle(index, step),
            }
        }
    }

    fn wait(&mut self, now: u64) -> Result<(), LoadError> {
        let must_go_on = !self.young.is_empty()
            || !self.vacant.is_empty()
                && (self.plan.mode != Mode::Echo || self.dialling < DIALLING_MAX);
        if must_go_on {
            return self.poll_for(Duration::ZERO);
        }
        let spin = nanos(self.plan.spin);
        if spin > 0 {
            let mut last = now;
            while last - now < spin && last < self.next_event(last.max(1) - 1) {
                self.poll_for(Duration::ZERO)?;
                if !self.events.is_empty() {
                    return Ok(());
                }
                let time = self.watch.nanos();
                // Polls in vain were not work.
                self.spun += time - last;
                last = time;
            }
        }
        let until = self.next_event(now);
        self.poll_for(Duration::from_nanos(until.saturating_sub(now)))
    }

    /// When the loop has something to do, even if nobody answers.
    fn next_event(&self, now: u64) -> u64 {
        let page = match self.phase {
            Phase::WarmUp { until } => until,
            Phase::Measured => self.book.until(),
            Phase::Connecting | Phase::Draining => u64::MAX,
        };
        let rested = self.resting.front().map_or(u64::MAX, |(until, _)| *until);
        self.next_look.min(page).min(rested).max(now)
    }

    fn poll_for(&mut self, time: Duration) -> Result<(), LoadError> {
        match self.poll.poll(&mut self.events, Some(time)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error.into()),
            _ => Ok(()),
        }
    }

    fn attend(&mut self) {
        let events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        for event in &events {
            let index = event.token().0 & 0xffff_ffff;
            let generation = event.token().0 >> 32;
            if self.generations[index] as usize == generation {
                let step = self.serve(index, event);
                self.settle(index, step);
            }
        }
        self.events = events;
    }

    #[inline]
    fn serve(&mut self, index: usize, event: &Event) -> Step {
        let Seat::Taken(guest) = &mut self.seats[index] else {
            return Step::Wait;
        };
        if guest.stage == Stage::Dialling {
            match self.plan.mode {
                Mode::Conn { .. } => match self.write_first(index) {
                    Step::Wait => {}
                    step => return step,
                },
                Mode::Echo => match guest.stream.is_connected() {
                    Ok(true) if self.dialer.met_itself(&guest.stream) => {
                        return Step::Failed(Kind::SelfConnect, None);
                    }
                    Ok(true) => {
                        guest.stage = Stage::Ready;
                        self.connected();
                    }
                    Ok(false) => {}
                    Err(errno) => return Step::Failed(dial::kind(errno), Some(errno)),
                },
            }
            let Seat::Taken(guest) = &self.seats[index] else {
                return Step::Wait;
            };
            if guest.stage == Stage::Dialling {
                return Step::Wait;
            }
        }
        if event.is_writable() {
            let step = self.write(index);
            if step != Step::Wait {
                return step;
            }
        }
        if event.is_readable() || event.is_error() || event.is_priority() {
            let to_the_end = event.is_read_closed() || event.is_error() || event.is_priority();
            return self.read(index, to_the_end);
        }
        Step::Wait
    }

    fn report(mut self, now: u64) -> Report {
        let cpu = CpuTime::now().since(self.cpu);
        let wall = now.saturating_sub(self.cpu_at);
        let spun = self.spun - self.spun_before;
        let elapsed = self.book.end(now);
        let held = match self.plan.mode {
            Mode::Echo => self.open,
            Mode::Conn { .. } => self.open_max,
        };
        let held = Held {
            asked: self.plan.connections,
            held,
        };
        Report::new(
            self.plan,
            self.book,
            held,
            elapsed,
            Generator::new(cpu, wall, spun),
        )
    }
}

/// As many descriptors as we may have; what is missing then is counted.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if setrlimit(Resource::Nofile, raised).is_err() {
        log::warn!("the descriptor limit stays at {:?}", limit.current);
    }
}
