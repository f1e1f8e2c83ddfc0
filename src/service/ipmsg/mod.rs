//! IPMSG, which Feige speaks as well (U4): a host of the network that says that it is there, acknowledges and shows
//! what is written to it, and offers what is in a directory.
//!
//! The host itself has its own folder, [`ipmsg`](crate::ipmsg). Here is what the server does with what comes: it is
//! logged, as what nobody has verified. One value is behind both halves of the service: datagrams, and the TCP of the
//! same port over which files and directories are fetched.

mod files;
mod offers;
mod options;
mod room;
mod sending;
mod shown;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use self::files::{Phase, Session};
use self::offers::Offers;
use self::room::Bridge;
use self::shown::Shown;
use super::{
    Ask, DatagramTurn, Datagrams, LinkTo, Manner, Occasion, OverDatagrams, OverStreams, Peer, Row,
    Service, Sessions,
};
use crate::buf::ReadBuf;
use crate::config::{Transport, random_bytes};
use crate::ipmsg::{IpmsgHost, IpmsgMessage, IpmsgNews};
use crate::turn::{Closed, ConnId, Fault, Moment, Turn};

pub use self::options::Options;

/// Its row in the table.
pub const ROW: Row = Row {
    name: "ipmsg",
    summary: "IPMSG / Feige: messages and files on a LAN",
    usual: Transport::Udp,
    stream: Some(&OverStreams {
        build: |options: &Options, _| Box::new(Ipmsg::new(options)),
    }),
    datagrams: Some(&OverDatagrams {
        build: |options: &Options, _| Box::new(Ipmsg::new(options)),
    }),
};

/// What asks for a list of the files.
const ASKS_FOR_FILES: &str = "/files";

/// How far beyond the clock the packets of a host may begin to count, in packets: nobody knows the numbers of what they
/// have not received.
const AHEAD_BITS: u32 = 20;

/// How many datagrams are kept that the loop has not taken: it takes all after each turn.
const DATAGRAMS_MAX: usize = 4096;

/// A host of IPMSG in a server (U4).
#[derive(Debug)]
pub struct Ipmsg {
    options: Options,
    /// None until it knows what time it is.
    host: Option<IpmsgHost>,
    /// Its own address.
    at: Option<SocketAddr>,
    offers: Offers,
    sessions: Sessions<Session>,
    bridge: Bridge,
    /// The server stops: nothing more is said to anybody.
    is_going: bool,
    shown: Shown,
    datagrams: VecDeque<(SocketAddr, Vec<u8>)>,
}

impl Ipmsg {
    /// The service of an endpoint with these options; files are served once it is [prepared](Service::prepare).
    pub fn new(options: &Options) -> Ipmsg {
        Ipmsg {
            options: options.clone(),
            host: None,
            at: None,
            offers: Offers::default(),
            sessions: Sessions::default(),
            bridge: Bridge::default(),
            is_going: false,
            shown: Shown::default(),
            datagrams: VecDeque::new(),
        }
    }

    /// The host that it is, from when it first knows the time on: then it says that it is there.
    fn host(&mut self, wall: SystemTime) -> &mut IpmsgHost {
        let (options, at) = (&self.options, self.at);
        self.host.get_or_insert_with(|| {
            let clock = wall.duration_since(UNIX_EPOCH).unwrap_or_default();
            let ahead = random_bytes().map_or(0, u32::from_le_bytes) >> (32 - AHEAD_BITS);
            let settings = options.settings(at);
            let everybody = options.told(at, settings.port);
            let mut host = IpmsgHost::new(settings, clock.as_secs() + u64::from(ahead));
            host.enter(&everybody);
            host
        })
    }

    /// Looks at what the host has to say, and keeps what it sends for the loop.
    fn tend(&mut self, now: Moment) {
        while let Some(news) = self.host.as_mut().and_then(IpmsgHost::take_news) {
            match news {
                IpmsgNews::Message(message) => self.message(now, &message),
                IpmsgNews::Acknowledged { number, to } => self.acknowledged(now, number, to),
                // They are gone, and did not say so.
                IpmsgNews::Unanswered { number, to, .. } => {
                    self.offers.forget(number);
                    self.bridge.left(to);
                }
                IpmsgNews::Left(at, _) => self.bridge.left(at),
                IpmsgNews::Released { number, .. } => self.offers.forget(number),
                IpmsgNews::Entered(_) | IpmsgNews::WasRead { .. } => {}
            }
        }
        let Some(host) = &mut self.host else {
            return;
        };
        while self.datagrams.len() < DATAGRAMS_MAX
            && let Some(datagram) = host.take_datagram()
        {
            self.datagrams.push_back(datagram);
        }
    }

    fn message(&mut self, now: Moment, message: &IpmsgMessage) {
        self.shown.message(now, message);
        let Some(host) = &mut self.host else {
            return;
        };
        if message.wants_reading_told {
            host.read(time(now), message);
        }
        let may_answer = !message.is_broadcast && !message.is_automatic;
        if may_answer && self.offers.is_open() && message.text.trim() == ASKS_FOR_FILES {
            return self.offers.asked(time(now), host, message.from);
        }
        self.pass_on(now, message);
    }

    fn acknowledged(&mut self, now: Moment, number: u32, to: SocketAddr) {
        if let Some(host) = &mut self.host {
            self.offers.acknowledged(time(now), host, number, to);
        }
    }
}

/// The time as hosts have it.
fn time(now: Moment) -> Duration {
    Duration::from_nanos(now.as_nanos())
}

impl Datagrams for Ipmsg {
    fn datagram(&mut self, t: &mut DatagramTurn<'_>, bytes: &[u8]) {
        let from = SocketAddr::new(t.from.ip().to_canonical(), t.from.port());
        let now = t.now;
        self.host(t.wall).receive(time(now), from, bytes);
        self.tend(now);
    }

    fn has_peers(&self) -> bool {
        true
    }

    fn bound_to(&mut self, at: SocketAddr) {
        self.at = Some(at);
    }

    fn wakes_at(&self) -> Moment {
        match &self.host {
            // It has not said yet that it is there.
            None => Moment::START,
            Some(_) if !self.datagrams.is_empty() || !self.bridge.asks.is_empty() => Moment::START,
            Some(host) => {
                let due = host.wakes_at();
                due.map_or(Moment::NEVER, |due| Moment::START.after(due))
            }
        }
    }

    fn woken(&mut self, now: Moment, wall: SystemTime) {
        self.host(wall).wake(time(now));
        self.tend(now);
    }

    fn take_datagram(&mut self) -> Option<(SocketAddr, Vec<u8>)> {
        self.datagrams.pop_front()
    }

    fn take_ask(&mut self) -> Option<Ask> {
        self.bridge.asks.pop_front()
    }

    fn linked(&mut self, now: Moment, to: &LinkTo, made: Result<ConnId, String>) {
        self.is_linked(now, to.for_whom, made);
    }

    fn goes(&mut self, now: Moment) {
        self.is_going = true;
        if let Some(host) = &mut self.host {
            host.leave(time(now));
        }
        self.tend(now);
    }
}

impl Service for Ipmsg {
    fn open(&mut self, t: &mut Turn<'_>, peer: &Peer) {
        self.begin_session(t, peer);
    }

    fn input(&mut self, t: &mut Turn<'_>, input: &mut ReadBuf) -> Result<(), Fault> {
        self.read_request(t, input)
    }

    fn eof(&mut self, t: &mut Turn<'_>, rest: &mut ReadBuf) -> Result<(), Fault> {
        self.end_request(t, rest)
    }

    fn wake(&mut self, t: &mut Turn<'_>) {
        self.check_session(t);
    }

    fn drained(&mut self, t: &mut Turn<'_>) {
        self.send_piece(t);
    }

    fn file_sent(&mut self, t: &mut Turn<'_>, bytes: u64, error: Option<std::io::Error>) {
        self.piece_sent(t, bytes, error);
    }

    fn closed(&mut self, t: &mut Turn<'_>, _why: &Closed) {
        if let Some(session) = self.sessions.remove(t.id)
            && let Phase::Room(at, _) = session.phase
        {
            self.bridge.closed(at);
        }
    }

    fn prepare(&mut self, _occasion: Occasion) -> Result<(), String> {
        if let Some(path) = &self.options.root {
            self.offers.open(path)?;
        }
        Ok(())
    }

    fn datagrams(&mut self) -> Option<&mut dyn Datagrams> {
        Some(self)
    }

    fn manner(&self) -> Manner {
        Manner {
            is_private: true,
            // Its people are not those of a new value.
            is_shared: true,
            ..Manner::ANSWERS
        }
    }
}
