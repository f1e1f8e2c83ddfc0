use std::time::Duration;

use onepoll::config::Limits;
use onepoll::reactor::{
    AddressRules, Counters, DatagramOptions, ListenerOptions, Reactor, ServiceId,
};
use onepoll::service::{Datagrams, Service};
use onepoll::turn::Moment;

use crate::gates::{Insiders, gate};
use crate::kernel::{Found, SimOs};
use crate::memory::Memory;
use crate::operator::{Kind, Served};
use crate::overheard::{Heard, Overheard, Temper};
use crate::random::Random;

/// A loop, the world around it, and a look at everything after every turn.
#[derive(Debug)]
pub(crate) struct Play {
    pub(crate) reactor: Reactor<SimOs>,
    pub(crate) os: SimOs,
    /// What services were told, and asked for, since somebody looked.
    pub(crate) heard: Heard,
    /// Connections that services behind gates know of.
    insiders: Insiders,
    /// By listener.
    pub(crate) served: Vec<Served>,
    /// By number: services that were added.
    services: Vec<ServiceId>,
    accepts_per_turn: u32,
    /// Bytes that this thread had allocated before there was a loop.
    memory: Memory,
}

/// Turns that a script may take before it is called endless.
const TURNS_MAX: u32 = 100_000;

impl Play {
    pub(crate) fn new(os: SimOs, limits: Limits, connections_max: usize) -> Play {
        os.net(|net| {
            net.connections_max = connections_max;
            net.logins_max = limits.not_logged_in as usize;
        });
        let memory = Memory::now();
        Play {
            served: Vec::new(),
            services: Vec::new(),
            accepts_per_turn: limits.accepts_per_turn,
            reactor: Reactor::new(os.clone(), limits, connections_max),
            os,
            heard: Heard::default(),
            insiders: Insiders::default(),
            memory,
        }
    }

    /// A world without chance, for directed scripts: nothing goes wrong but what is told to.
    pub(crate) fn directed() -> Play {
        Play::directed_with(Limits::default(), 1000)
    }

    pub(crate) fn directed_with(limits: Limits, connections_max: usize) -> Play {
        let os = SimOs::new(Random::new(0));
        os.net(|net| {
            net.horizon = 0;
            net.bounds.read_bytes = limits.read_per_turn;
        });
        Play::new(os, limits, connections_max)
    }

    /// Opens a listener of a service, and says which.
    pub(crate) fn open(&mut self, service: impl Service + 'static) -> usize {
        self.open_with(service, |_| {})
    }

    pub(crate) fn open_with(
        &mut self,
        service: impl Service + 'static,
        change: impl FnOnce(&mut ListenerOptions),
    ) -> usize {
        let service = self.add(service, Temper::default());
        self.listen(service, change)
    }

    /// Adds a service that is also this.
    pub(crate) fn add(&mut self, service: impl Service + 'static, temper: Temper) -> ServiceId {
        self.add_boxed(Box::new(service), temper)
    }

    fn add_boxed(&mut self, service: Box<dyn Service>, temper: Temper) -> ServiceId {
        let overheard = Overheard::new(service, temper, self.heard.clone());
        self.add_overheard(overheard.shows(self.os.clone()))
    }

    fn add_overheard(&mut self, overheard: Overheard) -> ServiceId {
        let service = self.reactor.add(Box::new(overheard));
        self.services.push(service);
        self.os.net(|net| net.generations.push(0));
        service
    }

    /// The number of a service: its place may be another's later.
    pub(crate) fn number_of(&self, service: ServiceId) -> usize {
        let place = self.services.iter().rposition(|&other| other == service);
        place.expect("it was added here")
    }

    /// Adds a service of this kind.
    pub(crate) fn add_kind(&mut self, kind: &Kind, temper: Temper, random: Random) -> ServiceId {
        let service = (kind.make)();
        match kind.is_gated {
            true => self.add_behind_gate(service, temper, random),
            false => self.add_boxed(service, temper),
        }
    }

    fn add_behind_gate(
        &mut self,
        service: Box<dyn Service>,
        temper: Temper,
        random: Random,
    ) -> ServiceId {
        let inside = Overheard::new(service, temper, Heard::deaf());
        let gate = gate(inside, random, self.insiders.clone(), self.os.clone());
        let gate = Overheard::new(Box::new(gate), Temper::default(), self.heard.clone());
        let os = self.os.clone();
        self.add_overheard(gate.tells(os.clone()).shows(os))
    }

    /// The same, behind a gate.
    pub(crate) fn add_gated(
        &mut self,
        service: impl Service + 'static,
        temper: Temper,
        random: Random,
    ) -> ServiceId {
        self.add_behind_gate(Box::new(service), temper, random)
    }

    /// Opens a listener of a service that was added, and says which.
    pub(crate) fn listen(
        &mut self,
        service: ServiceId,
        change: impl FnOnce(&mut ListenerOptions),
    ) -> usize {
        let mut options = ListenerOptions::to(service);
        change(&mut options);
        let socket = self.os.listener();
        let number = socket.0;
        let of = self.number_of(service);
        self.os.net(|net| {
            net.listeners[number].take_options(&options);
            net.listeners[number].service = of;
        });
        let id = self.reactor.listen(socket, options.clone());
        let id = id.expect("watching a listener does not fail here");
        self.served.push(Served::new(id, options));
        assert_eq!(self.served.len(), number + 1, "listeners are opened here");
        number
    }

    /// From now on these limits hold.
    pub(crate) fn change_limits(&mut self, limits: Limits, connections_max: usize) {
        self.os.net(|net| {
            net.connections_max = connections_max;
            net.logins_max = limits.not_logged_in as usize;
            net.bound(|bounds| bounds.datagrams = u64::from(limits.datagrams_per_turn));
            net.may_evict |= limits.buffers < Limits::default().buffers;
        });
        self.accepts_per_turn = limits.accepts_per_turn;
        self.bound_accepts();
        self.reactor.change_limits(limits, connections_max);
    }

    /// A turn accepts no more than this at the listeners that there are.
    pub(crate) fn bound_accepts(&mut self) {
        let each = u64::from(self.accepts_per_turn);
        self.os.net(|net| {
            let most = net.listeners.len() as u64 * each;
            net.bound(|bounds| bounds.accepts = most);
        });
    }

    /// Opens a socket of a datagram service, and says which.
    pub(crate) fn answer(&mut self, service: impl Datagrams + 'static) -> usize {
        let name = format!("{service:?}");
        let service = self.reactor.add_datagrams(Box::new(service));
        let socket = self.os.datagram();
        let number = socket.0;
        let options = DatagramOptions {
            name,
            service,
            own: vec![],
            addresses: AddressRules::default(),
        };
        self.reactor
            .answer(socket, options)
            .expect("watching a socket does not fail here");
        number
    }

    /// One turn, and a look at everything after it.
    pub(crate) fn turn(&mut self) {
        self.reactor.turn().expect("the poll does not fail here");
        if !cfg!(debug_assertions) {
            // In debug builds the loop itself looks.
            self.reactor.check().unwrap();
        }
        let now = Moment::from_nanos(self.os.net(|net| net.now));
        self.insiders.check(self.reactor.looks(), now);
        if let Some(broken) = self.os.net(|net| net.broken.take()) {
            panic!("{broken}: {:?} {:?}", self.reactor, self.counters());
        }
    }

    /// Turns until the loop would sleep beyond the horizon.
    pub(crate) fn run(&mut self) {
        for _ in 0..TURNS_MAX {
            self.turn();
            if self.reactor.is_stopped() || self.os.net(|net| net.rests) {
                return;
            }
        }
        panic!(
            "the loop does not come to rest: {:?}",
            self.reactor.counters()
        );
    }

    /// Lets time pass.
    pub(crate) fn pass(&mut self, time: Duration) {
        self.os.net(|net| {
            let nanos = u64::try_from(time.as_nanos()).expect("tests are shorter than that");
            net.horizon = net.now.saturating_add(nanos).min(u64::MAX - 1);
        });
        self.run();
    }

    /// Bytes that the loop and its services have allocated so far, and a little of the world's.
    pub(crate) fn allocated(&self) -> i64 {
        self.memory.grown()
    }

    /// Ends the loop, and says how many bytes it and its services held.
    pub(crate) fn weigh(self) -> i64 {
        let Play {
            reactor, os, heard, ..
        } = self;
        let memory = Memory::now();
        drop(reactor);
        let held = -memory.grown();
        drop((os, heard));
        held
    }

    pub(crate) fn counters(&self) -> Counters {
        self.reactor.counters()
    }
}

/// A directed script's other end: it does what it is told, when it is told.
impl Play {
    /// Connects, with pipes of a mebibyte.
    pub(crate) fn dial(&self, listener: usize) -> usize {
        self.dial_with(listener, 1 << 20, 1 << 20)
    }

    pub(crate) fn dial_with(&self, listener: usize, up_max: usize, down_max: usize) -> usize {
        self.os
            .net(|net| net.connect_with(listener, up_max, down_max))
    }

    /// Writes all of it, which must fit.
    pub(crate) fn say(&self, link: usize, bytes: &[u8]) {
        let n = self.os.net(|net| net.client_write(link, bytes));
        assert_eq!(n, Some(bytes.len()), "all of it fits");
    }

    pub(crate) fn shut(&self, link: usize) {
        self.os.net(|net| net.client_shut(link));
    }

    pub(crate) fn reset(&self, link: usize) {
        self.os.net(|net| net.client_reset(link));
    }

    /// Everything that has come, without waiting for more.
    pub(crate) fn hears(&self, link: usize) -> Vec<u8> {
        let mut all = Vec::new();
        while let Found::Bytes(bytes) = self.os.net(|net| net.client_read(link, 1 << 20)) {
            all.extend(bytes);
        }
        all
    }

    /// What comes after all that has come.
    pub(crate) fn finds(&self, link: usize) -> Found {
        self.os.net(|net| net.client_read(link, 1 << 20))
    }

    /// There is no connection, and nothing is left of those that were.
    pub(crate) fn is_empty(&self) -> bool {
        let counters = self.counters();
        let left = counters.connections + counters.timers + counters.owed + counters.children;
        left == 0 && self.os.net(|net| net.descriptors) == 0
    }
}
