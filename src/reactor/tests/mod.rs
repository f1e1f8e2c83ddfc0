//! What the loop decides, without a kernel and with the clock in hand: deadlines that are renewed, kept
//! and forgiven, and one of several where each is to be treated by itself.
//!
//! The seeded simulator looks for what nobody thought of; here is what somebody did.

mod audit;
mod broadcasts;
mod buffers;
mod changing;
mod commands;
mod deadlines;
#[cfg(feature = "tls")]
mod dialled_tls;
mod dialling;
mod feeding;
mod hand;
mod handing_over;
mod login;
#[cfg(feature = "tls")]
mod sealed;
mod several;
mod sources;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use self::hand::Hand;
use super::{AddressRules, DatagramId, DatagramOptions, ListenerOptions, Reactor};
use crate::buf::ReadBuf;
use crate::config::Limits;
use crate::service::{Datagrams, Peer, Service};
use crate::turn::{Fault, Turn};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const CLIENT: Peer = Peer::V4(Ipv4Addr::LOCALHOST, 40_000);

/// The loop, and the world around it.
struct World {
    reactor: Reactor<Hand>,
}

impl World {
    fn new() -> World {
        World::with(Limits::default())
    }

    fn with(limits: Limits) -> World {
        World {
            reactor: Reactor::new(Hand::default(), limits, usize::MAX),
        }
    }

    /// A service, and the listener through which it is reached.
    fn serves(&mut self, service: impl Service + 'static) -> usize {
        self.serves_with(service, |_| {})
    }

    fn serves_with(
        &mut self,
        service: impl Service + 'static,
        change: impl FnOnce(&mut ListenerOptions),
    ) -> usize {
        let service = self.reactor.add(Box::new(service));
        let mut options = ListenerOptions::to(service);
        change(&mut options);
        let listener = self.reactor.os.listener();
        self.reactor.listen(listener, options).unwrap();
        listener
    }

    /// A datagram service, and its socket.
    fn answers(&mut self, service: impl Datagrams + 'static, own: Vec<SocketAddr>) -> usize {
        self.answers_with(service, |options| options.own = own)
    }

    fn answers_with(
        &mut self,
        service: impl Datagrams + 'static,
        change: impl FnOnce(&mut DatagramOptions),
    ) -> usize {
        let socket = self.reactor.os.socket();
        self.answers_at(socket, service, change);
        socket
    }

    fn answers_at(
        &mut self,
        socket: usize,
        service: impl Datagrams + 'static,
        change: impl FnOnce(&mut DatagramOptions),
    ) -> DatagramId {
        let service = self.reactor.add_datagrams(Box::new(service));
        let mut options = DatagramOptions {
            name: "datagrams".into(),
            service,
            own: Vec::new(),
            addresses: AddressRules::default(),
        };
        change(&mut options);
        self.reactor.answer(socket, options).unwrap()
    }

    fn os(&mut self) -> &mut Hand {
        &mut self.reactor.os
    }

    /// A client connects, and is accepted.
    fn dials(&mut self, listener: usize) -> usize {
        self.dials_as(listener, CLIENT)
    }

    fn dials_as(&mut self, listener: usize, peer: Peer) -> usize {
        let wire = self.os().dials(listener, peer);
        self.settles();
        wire
    }

    fn says(&mut self, wire: usize, bytes: impl AsRef<[u8]>) {
        self.os().says(wire, bytes.as_ref());
        self.settles();
    }

    /// What a client heard since it was last asked.
    fn hears(&mut self, wire: usize) -> String {
        let heard = std::mem::take(&mut self.os().wires[wire].heard);
        String::from_utf8(heard).unwrap()
    }

    fn is_open(&self, wire: usize) -> bool {
        let wire = &self.reactor.os.wires[wire];
        !wire.is_closed && !wire.is_shut
    }

    /// Lets the loop do what there is to do now.
    fn settles(&mut self) {
        self.passes(Duration::ZERO);
    }

    /// Lets time pass.
    fn passes(&mut self, time: Duration) {
        let horizon = self.os().now.after(time);
        self.os().horizon = horizon;
        for _ in 0..100_000 {
            self.reactor.turn().unwrap();
            let rests = !self.reactor.os.has_seen() && !self.reactor.has_work();
            if self.reactor.is_stopped() || rests && self.reactor.os.now >= horizon {
                return;
            }
        }
        panic!(
            "the loop does not come to rest: {:?}",
            self.reactor.counters()
        );
    }
}
