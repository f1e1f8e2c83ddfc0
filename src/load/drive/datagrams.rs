//! Datagrams: each is a request, which is answered, lost, duplicated or reordered.
//!
//! It does not know connections: one socket, a window of requests in flight. A datagram of eight bytes
//! or more begins with its number, so that every answer finds its request; a shorter one cannot be told
//! from the others, and then the oldest request in flight is taken to be meant.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::Duration;

use mio::{Events, Token};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, connect, recv, send,
    socket_with,
};

use crate::load::drive::event_loop::Traffic;
use crate::load::drive::pacer::{self, WindowRoom};
use crate::load::exchange::payload::{Payload, number_of, write_message};
use crate::load::measure::clock::nanos;
use crate::load::measure::failures::FailureKind;
use crate::load::measure::stages::FailureStage;
use crate::load::net::poller::Poller;
use crate::load::net::receive_buffer::{dropped, make_room};
use crate::load::plan::Plan;
use crate::load::plan::error::LoadError;
use crate::load::plan::limits::{DATAGRAM_BYTES_MAX, DATAGRAMS_MAX, NUMBER_BYTES};
use crate::load::plan::mode::Model;
use crate::load::run::failed_answer::FailedAnswer;
use crate::load::run::outcome::DatagramCounts;
use crate::load::run::report::{Held, Report};
use crate::load::run::tally::Phase;
use crate::load::run::{PAUSE, Run, Watcher};

/// How many numbers back an answer is still recognised as a late or a double one, at the least.
const REMEMBERED: usize = 2 * DATAGRAMS_MAX;
/// And at the most: some 130 MB.
const REMEMBERED_MAX: usize = 1 << 22;
/// How many are sent or read before the other has its turn.
const DATAGRAMS_PER_TURN: usize = 64;
/// How often timeouts are checked.
const LOOK: Duration = Duration::from_millis(1);

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum RequestState {
    #[default]
    Unused,
    Waiting,
    Answered,
    Lost,
}

#[derive(Debug, Clone, Copy, Default)]
struct SentRequest {
    number: u64,
    began: u64,
    sent: u64,
    state: RequestState,
}

/// A run with datagrams in progress.
#[derive(Debug)]
pub(crate) struct Udp<'p> {
    run: Run<'p>,
    seen: DatagramCounts,
    payload: Payload,
    socket: OwnedFd,
    poller: Poller,
    outgoing: Box<[u8]>,
    incoming: Box<[u8]>,
    requests: Box<[SentRequest]>,
    /// How many may be waiting.
    window: usize,
    /// The number of the next request, and of the oldest that may be waiting.
    next: u64,
    oldest: u64,
    /// One more than the highest number answered.
    highest: u64,
    waiting: usize,
    /// Whether the socket's buffer was full at the last look.
    is_full: bool,
    /// Whether sending, or reading, spent its budget.
    may_send: bool,
    may_read: bool,
    /// Open model: places in the window.
    room: WindowRoom,
    next_look: u64,
}

impl<'p> Udp<'p> {
    pub(crate) fn new(
        plan: &'p Plan,
        target: SocketAddr,
        watcher: Watcher<'p>,
    ) -> Result<Self, LoadError> {
        let run = Run::new(plan, watcher);
        let (family, any) = match target {
            SocketAddr::V4(_) => (AddressFamily::INET, Ipv4Addr::UNSPECIFIED.into()),
            SocketAddr::V6(_) => (AddressFamily::INET6, Ipv6Addr::UNSPECIFIED.into()),
        };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let io = |errno: Errno| LoadError::Socket {
            endpoint: plan.endpoint.to_string(),
            cause: errno.into(),
        };
        let socket = socket_with(family, SocketType::DGRAM, flags, None).map_err(io)?;
        let source = plan.sources.first().copied();
        bind(&socket, &source.unwrap_or(SocketAddr::new(any, 0))).map_err(io)?;
        connect(&socket, &target).map_err(io)?;
        let buffer = make_room(&socket, at_once(plan), plan.size).map_err(io)?;
        let poller = Poller::new(run.watch, plan.spin, plan.model != Model::Closed)?;
        poller.register(&socket, Token(0))?;
        let remembered = remembered(plan);
        Ok(Self {
            run,
            seen: DatagramCounts {
                numbered: plan.size >= NUMBER_BYTES,
                buffer_bytes: buffer.given,
                buffer_wanted_bytes: buffer.wanted,
                ..DatagramCounts::default()
            },
            payload: Payload::new(plan.size, 1),
            socket,
            poller,
            outgoing: vec![0; plan.size].into_boxed_slice(),
            incoming: vec![0; DATAGRAM_BYTES_MAX + 1].into_boxed_slice(),
            requests: vec![SentRequest::default(); remembered].into_boxed_slice(),
            window: match plan.model {
                Model::Closed => plan.mode.depth(),
                Model::Open { .. } => remembered / 2,
            },
            next: 0,
            oldest: 0,
            highest: 0,
            waiting: 0,
            is_full: false,
            may_send: false,
            may_read: false,
            room: WindowRoom::default(),
            next_look: 0,
        })
    }

    /// Sends what is due; whether there is more that can be.
    fn send(&mut self) -> bool {
        for _ in 0..DATAGRAMS_PER_TURN {
            let now = self.run.watch.nanos();
            // A slot is used again only when its request is over.
            let has_room = self.has_room();
            let began = if self.run.schedule.is_some() {
                let room_since = self.room.since(has_room, now);
                pacer::next_due(&mut self.run, now, room_since)
            } else {
                (has_room && self.run.tally.take(self.run.phase, 1) == 1).then_some(now)
            };
            let Some(began) = began else {
                return false;
            };
            self.send_one(began, now);
        }
        true
    }

    fn slot(&self, number: u64) -> usize {
        // The remainder fits whatever it is cast to.
        (number % self.requests.len() as u64) as usize
    }

    fn has_room(&self) -> bool {
        !self.is_full
            && self.waiting < self.window
            && self.next - self.oldest < self.requests.len() as u64
    }

    fn send_one(&mut self, began: u64, now: u64) {
        let number = self.next;
        self.next += 1;
        write_message(&mut self.outgoing, number, &self.payload);
        self.requests[self.slot(number)] = SentRequest {
            number,
            began,
            sent: now,
            state: RequestState::Waiting,
        };
        self.waiting += 1;
        let mut sent = send(&self.socket, &self.outgoing, SendFlags::NOSIGNAL);
        if sent == Err(Errno::CONNREFUSED) {
            // That was the state of an earlier one; it is told once.
            self.seen.refused += 1;
            sent = send(&self.socket, &self.outgoing, SendFlags::NOSIGNAL);
        }
        match sent {
            Ok(_) => self.seen.sent += 1,
            Err(errno) => {
                // It did not leave: not lost on the way, but not answered either.
                self.is_full = errno == Errno::AGAIN;
                self.requests[self.slot(number)].state = RequestState::Unused;
                self.waiting -= 1;
                self.run.lost(errno, FailureStage::Sending, began, now);
            }
        }
    }

    /// Reads what is there; whether there may be more.
    fn receive(&mut self) -> bool {
        for _ in 0..DATAGRAMS_PER_TURN {
            match recv(&self.socket, &mut *self.incoming, RecvFlags::empty()) {
                Ok((n, _)) => self.take_answer(n),
                Err(Errno::CONNREFUSED) => self.seen.refused += 1,
                Err(_) => return false,
            }
        }
        true
    }

    fn take_answer(&mut self, n: usize) {
        let now = self.run.watch.nanos();
        self.run.received_bytes(n);
        let answer = &self.incoming[..n];
        let number = if self.seen.numbered {
            number_of(answer).filter(|number| *number < self.next)
        } else {
            (self.oldest..self.next)
                .find(|number| self.requests[self.slot(*number)].state == RequestState::Waiting)
        };
        let Some(number) = number else {
            return self.wrong(n, now);
        };
        write_message(&mut self.outgoing, number, &self.payload);
        if *answer != *self.outgoing {
            return self.wrong(n, now);
        }
        let request = &mut self.requests[self.slot(number)];
        if request.number != number {
            self.seen.late += 1;
            return;
        }
        match request.state {
            RequestState::Unused => self.wrong(n, now),
            RequestState::Answered => self.seen.duplicates += 1,
            RequestState::Lost => self.seen.late += 1,
            RequestState::Waiting => {
                request.state = RequestState::Answered;
                self.waiting -= 1;
                if number < self.highest {
                    self.seen.reordered += 1;
                }
                self.highest = self.highest.max(number + 1);
                self.run.tally.answered(request.began, now, 1);
            }
        }
    }

    /// The `n` bytes that came are no answer.
    #[cold]
    fn wrong(&mut self, n: usize, now: u64) {
        self.seen.wrong += 1;
        let (kind, stage) = (FailureKind::WrongAnswer, FailureStage::Reading);
        self.run.failed(kind, stage, now, now);
        let answer = FailedAnswer {
            kind,
            status: None,
            came: Some((n, self.outgoing.len())),
            bytes: &self.incoming[..n],
            difference: None,
        };
        self.run.tally.tell_failed(answer);
    }
}

impl<'p> Traffic<'p> for Udp<'p> {
    fn parts(&mut self) -> (&mut Run<'p>, &mut Poller) {
        (&mut self.run, &mut self.poller)
    }

    /// Requests without an answer in time are lost; they were sent in order, so the oldest come first.
    fn expire(&mut self, now: u64) {
        if now < self.next_look {
            return;
        }
        self.next_look = now + nanos(LOOK);
        while self.oldest < self.next {
            let request = &mut self.requests[self.slot(self.oldest)];
            if request.state == RequestState::Waiting {
                if now.saturating_sub(request.sent) < nanos(self.run.plan.timeout) {
                    break;
                }
                request.state = RequestState::Lost;
                let (began, sent) = (request.began, request.sent);
                self.waiting -= 1;
                self.seen.lost += 1;
                // It was lost on its way. That nobody knew until now has delayed no other.
                let stage = FailureStage::Waiting;
                self.run.lost(FailureKind::Timeout, stage, began, sent);
            }
            self.oldest += 1;
        }
    }

    fn begin(&mut self, _now: u64) {
        self.may_send = self.send();
    }

    /// Reads whether or not there was an event: an edge comes once, and a turn has its budget.
    fn dispatch(&mut self, _events: &Events) {
        self.may_read = self.receive();
        self.is_full = false;
    }

    fn next_event(&self, now: u64) -> u64 {
        if self.may_send || self.may_read {
            return now;
        }
        let due = pacer::next_event(&self.run, self.has_room());
        let lost = match self.waiting {
            0 => u64::MAX,
            _ => self.requests[self.slot(self.oldest)]
                .sent
                .saturating_add(nanos(self.run.plan.timeout))
                .max(self.next_look),
        };
        let phase = self.run.next_phase();
        // A socket that is full tells by an event when it is not; a refusal may tell nothing.
        phase.min(due).min(lost).max(now).min(now + 100_000_000)
    }

    fn is_over(&self) -> bool {
        self.run.phase == Phase::Draining && self.waiting == 0 && self.run.schedule_is_done()
    }

    fn report(self, now: u64) -> Report {
        let held = Held { asked: 1, held: 1 };
        let seen = DatagramCounts {
            dropped: dropped(&self.socket),
            ..self.seen
        };
        let mut report = self.run.report(now, self.poller.spun, held);
        report.join_datagrams(seen);
        report
    }
}

/// As many as can be waiting for their timeout at once, twice: in the open model a lost one is not to hold
/// back those that come after it.
fn remembered(plan: &Plan) -> usize {
    match plan.model {
        Model::Closed => REMEMBERED,
        Model::Open { rate, .. } => {
            let waiting = (2.0 * rate * plan.timeout.as_secs_f64()) as usize;
            waiting
                .clamp(REMEMBERED, REMEMBERED_MAX)
                .next_power_of_two()
        }
    }
}

/// How many answers may come while nobody reads them: all that are in flight, or in the open model those of a time that is
/// not yet a pause of ours.
fn at_once(plan: &Plan) -> usize {
    match plan.model {
        Model::Closed => plan.mode.depth(),
        Model::Open { rate, .. } => (rate * PAUSE as f64 / 1e9).ceil() as usize,
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::ops::ControlFlow;

    use super::*;
    use crate::load::plan::mode::{Amount, Arrivals, Mode};
    use crate::load::plan::target::Endpoint;

    const OPEN: Model = Model::Open {
        rate: 1.0,
        arrivals: Arrivals::Constant,
    };

    /// A run that warms up until 100 ns, measures for a second, and gives up a datagram after 1,000 ns.
    fn warming_up(model: Model, test: impl FnOnce(&mut Udp<'_>)) {
        let server = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = server.local_addr().unwrap();
        let endpoint: Endpoint = format!("udp://{address}").parse().unwrap();
        let mut plan = Plan::new(endpoint, Mode::Udp { window: 4 });
        (plan.model, plan.amount) = (model, Amount::For(Duration::from_secs(1)));
        plan.warmup = Duration::from_nanos(100);
        plan.timeout = Duration::from_nanos(1_000);
        let mut watcher = |_| ControlFlow::Continue(());
        let mut udp = Udp::new(&plan, address, &mut watcher).unwrap();
        assert_eq!(udp.run.phase, Phase::WarmUp { until: 100 });
        test(&mut udp);
    }

    fn expire(udp: &mut Udp<'_>, now: u64) {
        udp.next_look = 0;
        udp.expire(now);
    }

    /// The server echoes the datagram of this number.
    fn echoed(udp: &mut Udp<'_>, number: u64) {
        let size = udp.outgoing.len();
        write_message(&mut udp.incoming[..size], number, &udp.payload);
        udp.take_answer(size);
    }

    #[test]
    fn a_datagram_is_lost_once_the_whole_timeout_is_over() {
        warming_up(Model::Closed, |udp| {
            udp.run.advance_phase(100, 0);
            udp.send_one(100, 110);
            udp.send_one(100, 111);
            expire(udp, 1_109);
            assert_eq!((udp.seen.lost, udp.waiting), (0, 2));
            expire(udp, 1_110);
            assert_eq!((udp.seen.lost, udp.waiting), (1, 1));
            expire(udp, 1_111);
            assert_eq!((udp.seen.lost, udp.waiting), (2, 0));
            assert_eq!(udp.run.tally.errors.timeout, 2);
        });
    }

    #[test]
    fn a_datagram_of_the_warm_up_that_is_lost_is_no_error_of_the_time_that_is_measured() {
        for model in [Model::Closed, OPEN] {
            warming_up(model, |udp| {
                udp.send_one(0, 0);
                udp.send_one(99, 99);
                expire(udp, 1_000);
                let errors = |udp: &Udp<'_>| {
                    let tally = &udp.run.tally;
                    (tally.warmup_errors.timeout, tally.errors.timeout)
                };
                assert_eq!(
                    (errors(udp), udp.run.tally.requests.unanswered),
                    ((1, 0), 0)
                );
                // Lost while measuring, and asked before.
                udp.run.advance_phase(1_000, 0);
                expire(udp, 1_099);
                assert_eq!(errors(udp), (2, 0), "{model:?}");
                assert_eq!(udp.run.tally.requests.unanswered, 0);
                // What became of datagrams is told of all.
                assert_eq!((udp.seen.sent, udp.seen.lost), (2, 2));
            });
        }
    }

    #[test]
    fn an_answer_to_the_warm_up_counts_as_the_model_has_it_and_once() {
        for model in [Model::Closed, OPEN] {
            warming_up(model, |udp| {
                udp.send_one(0, 0);
                udp.send_one(99, 99);
                echoed(udp, 0);
                assert_eq!(udp.run.tally.requests.came, 0);
                udp.run.advance_phase(100, 0);
                echoed(udp, 1);
                // Once more each: that is no answer, and no error.
                echoed(udp, 1);
                echoed(udp, 0);
                let requests = udp.run.tally.requests;
                assert_eq!((requests.came, requests.answered), (1, 0), "{model:?}");
                assert_eq!(udp.run.tally.latencies.summary().count, 0);
                assert_eq!((udp.seen.duplicates, udp.seen.reordered), (2, 0));
                assert_eq!(udp.run.tally.errors.total, 0);
            });
        }
    }

    #[test]
    fn a_wrong_datagram_is_of_the_phase_in_which_it_comes() {
        warming_up(OPEN, |udp| {
            udp.send_one(0, 0);
            udp.take_answer(3);
            assert_eq!(udp.run.tally.warmup_errors.wrong_answer, 1);
            udp.run.advance_phase(100, 0);
            udp.take_answer(3);
            assert_eq!(udp.run.tally.errors.wrong_answer, 1);
            assert_eq!((udp.seen.wrong, udp.waiting), (2, 1));
        });
    }
}
