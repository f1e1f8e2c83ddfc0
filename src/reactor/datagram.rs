use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use super::Reactor;
use super::listener::ServiceId;
use super::os::{Os, Received};
use super::sources::AddressRules;
use super::tally::DatagramTally;
use super::token::{Source, Token};
use crate::config::limits::{DATAGRAM_FAILURES_IN_A_ROW_MAX, EMFILE_RETRY};
use crate::service::{Ask, DatagramTurn, Datagrams, Service};
use crate::turn::Moment;

/// A datagram socket of the reactor, until it [retires](Reactor::retire_datagrams).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DatagramId(pub(super) u32);

/// A datagram service that was added to the reactor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DatagramsId(pub(super) Answerer);

/// Where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answerer {
    /// By itself.
    Own(usize),
    /// It is a half of this service.
    Half(ServiceId),
}

/// A datagram endpoint: its socket, and what answers.
#[derive(Debug, Clone)]
pub struct DatagramOptions {
    /// Its name in the log: the endpoint as the user wrote it.
    pub name: String,
    /// The service that answers.
    pub service: DatagramsId,
    /// This process's own datagram sockets: answering one of them would be talking to oneself.
    pub own: Vec<SocketAddr>,
    /// Which addresses are answered.
    pub addresses: AddressRules,
}

#[derive(Debug)]
pub(super) struct Datagram<S> {
    /// `None` once it is closed.
    pub(super) socket: Option<S>,
    pub(super) options: DatagramOptions,
    /// There may be a datagram: remembered until a receive says otherwise.
    pub(super) ready: bool,
    /// Receives that failed since one did not.
    failures: u32,
    /// Receiving goes on failing: rests until then.
    pub(super) rests_until: Option<Moment>,
    /// Whether its service speaks unasked, and then when that wants to be woken.
    pub(super) has_peers: bool,
    pub(super) wakes_at: Moment,
    pub(super) tally: DatagramTally,
}

impl<O: Os> Reactor<O> {
    /// Answers what comes through `socket` from the next turn on.
    pub fn answer(
        &mut self,
        socket: O::Datagram,
        options: DatagramOptions,
    ) -> io::Result<DatagramId> {
        let unused = self.datagrams.iter().position(|d| d.socket.is_none());
        let place = unused.unwrap_or(self.datagrams.len());
        let n = u32::try_from(place).map_err(|_| io::ErrorKind::QuotaExceeded)?;
        self.os
            .watch_datagram(&socket, Token::of(Source::Datagram(n)))?;
        let half = answerer(&mut self.answerers, &mut self.services, options.service);
        let datagram = Datagram {
            has_peers: half.has_peers(),
            wakes_at: half.wakes_at(),
            socket: Some(socket),
            options,
            ready: true,
            failures: 0,
            rests_until: None,
            tally: DatagramTally::default(),
        };
        match unused {
            Some(place) => {
                self.gone_datagrams.add(&self.datagrams[place].tally);
                self.datagrams[place] = datagram;
            }
            None => self.datagrams.push(datagram),
        }
        Ok(DatagramId(n))
    }

    pub(super) fn dispatch_datagram(&mut self, n: u32) {
        // One that is closed here and not by another process that has it may still have an event.
        if let Some(datagram) = self.datagrams.get_mut(n as usize) {
            datagram.ready = datagram.socket.is_some();
        }
    }

    /// There may be a datagram at a socket that does not rest.
    pub(super) fn has_datagrams(&self) -> bool {
        self.datagrams
            .iter()
            .any(|datagram| datagram.ready && datagram.rests_until.is_none())
    }

    /// When the first rest of a datagram socket ends.
    pub(super) fn datagram_rest_ends(&self) -> Option<Moment> {
        self.datagrams.iter().filter_map(|d| d.rests_until).min()
    }

    /// Answers `datagrams-per-turn` a socket at most. A datagram that cannot be sent is dropped
    /// and counted, not queued: its protocol promises no more (fault E11).
    pub(super) fn serve_datagrams(&mut self) {
        for datagram in &mut self.datagrams {
            datagram.rests_until = datagram.rests_until.filter(|until| *until > self.now);
        }
        if !self.has_datagrams() {
            return;
        }
        let wall = self.os.wall();
        for Datagram {
            socket,
            options,
            ready,
            failures,
            rests_until,
            has_peers,
            wakes_at,
            tally,
        } in &mut self.datagrams
        {
            let Some(socket) = socket else {
                continue;
            };
            let service = answerer(&mut self.answerers, &mut self.services, options.service);
            let mut budget = self.limits.datagrams_per_turn;
            while *ready && rests_until.is_none() && budget > 0 {
                budget -= 1;
                let received = match self.os.receive(socket, &mut self.datagram_buf) {
                    Ok(received) => received,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        *ready = false;
                        break;
                    }
                    // An earlier answer could not be delivered (ICMP); the socket lives.
                    Err(error) => {
                        self.recorder.receive_failed(tally, &options.name, &error);
                        *failures += 1;
                        if *failures >= DATAGRAM_FAILURES_IN_A_ROW_MAX {
                            *failures = 0;
                            *rests_until = Some(self.now.after(EMFILE_RETRY));
                        }
                        continue;
                    }
                };
                *failures = 0;
                let Received { n, from, asked } = received;
                self.recorder
                    .received(tally, &received, &self.datagram_buf[..n]);
                if !options.addresses.admits(Some(from.ip().to_canonical())) {
                    self.recorder.datagram_denied(tally, &options.name, from);
                    continue;
                }
                let answerable = is_answerable(from, &options.own, *has_peers, |port| {
                    service.may_answer_port(port)
                }) && self.reply_limiter.may_answer(self.now, from);
                if !answerable {
                    self.recorder.unanswerable(tally, &options.name, from);
                    continue;
                }
                let mut turn = DatagramTurn::new(self.now, wall, from, &mut self.answer);
                service.datagram(&mut turn, &self.datagram_buf[..n]);
                let answer = turn.into_answer();
                while *has_peers && let Some((to, bytes)) = service.take_datagram() {
                    let asked = asked.filter(|_| to.ip() == from.ip());
                    match self.os.send(socket, &bytes, to, asked) {
                        Ok(()) => self.recorder.spoke(tally, to, &bytes),
                        Err(error) => self.recorder.send_failed(tally, &options.name, to, &error),
                    }
                }
                if *has_peers {
                    *wakes_at = service.wakes_at();
                }
                let Some(answer) = answer else {
                    continue;
                };
                match self.os.send(socket, answer, from, asked) {
                    Ok(()) => self.recorder.answered(tally, &received, answer),
                    Err(error) => self
                        .recorder
                        .send_failed(tally, &options.name, from, &error),
                }
            }
        }
    }
}

impl<O: Os> Reactor<O> {
    /// When the first of the services that speak unasked wants to be woken.
    pub(super) fn datagrams_wake_at(&self) -> Option<Moment> {
        self.datagrams.iter().map(|d| d.wakes_at).min()
    }

    /// Wakes services that speak unasked, sends what they have to say, and does what else they ask; what that makes them
    /// say leaves in this turn, what it makes them ask is done in the next.
    pub(super) fn speak(&mut self) {
        let asked = self.hear_all();
        if !asked.is_empty() {
            self.do_asked(asked);
            let asked = self.hear_all();
            self.do_asked(asked);
        }
    }

    fn hear_all(&mut self) -> Vec<(DatagramsId, Ask)> {
        let mut asked = Vec::new();
        for Datagram {
            socket,
            options,
            has_peers,
            wakes_at,
            tally,
            ..
        } in &mut self.datagrams
        {
            let Some(socket) = socket.as_mut().filter(|_| *has_peers) else {
                continue;
            };
            let service = answerer(&mut self.answerers, &mut self.services, options.service);
            if *wakes_at <= self.now {
                service.woken(self.now, self.os.wall());
            }
            while let Some((to, bytes)) = service.take_datagram() {
                match self.os.send(socket, &bytes, to, None) {
                    Ok(()) => self.recorder.spoke(tally, to, &bytes),
                    Err(error) => self.recorder.send_failed(tally, &options.name, to, &error),
                }
            }
            while let Some(ask) = service.take_ask() {
                asked.push((options.service, ask));
            }
            *wakes_at = service.wakes_at();
        }
        asked
    }

    /// Those that speak unasked have a last word.
    pub(super) fn say_goodbye(&mut self) {
        for datagram in &mut self.datagrams {
            if datagram.has_peers && datagram.socket.is_some() {
                let service = datagram.options.service;
                let service = answerer(&mut self.answerers, &mut self.services, service);
                service.goes(self.now);
            }
        }
        self.speak();
    }

    /// Whether a last word is still to be said.
    pub(super) fn has_goodbyes(&self) -> bool {
        let mut all = self.datagrams.iter();
        all.any(|d| d.socket.is_some() && d.wakes_at != Moment::NEVER)
    }
}

/// The datagram service of this id.
pub(super) fn answerer<'a>(
    alone: &'a mut [Box<dyn Datagrams>],
    services: &'a mut [Box<dyn Service>],
    which: DatagramsId,
) -> &'a mut dyn Datagrams {
    match which.0 {
        Answerer::Own(n) => &mut *alone[n],
        Answerer::Half(service) => services[service.0]
            .datagrams()
            .expect("`datagrams_of_service` has seen that there is this half"),
    }
}

/// Whether an answer to this source can do harm: two servers that answer each other never stop
/// (CVE-2024-2169), and no client has port 0, one of ours, an address that means many or none, or a
/// well-known port, unless the service knows better (fault E8).
///
/// A port is ours on all of loopback, whichever of its addresses the datagram has as its source, but in
/// its own family alone: the kernel may give a client on IPv4 the number of a port of ours on IPv6. Where `peers` have
/// the same port, only our own addresses are ours.
fn is_answerable(
    from: SocketAddr,
    own: &[SocketAddr],
    peers: bool,
    may_answer_port: impl FnOnce(u16) -> bool,
) -> bool {
    let port = from.port();
    let ip = from.ip().to_canonical();
    let one = match ip {
        IpAddr::V4(ip) => !ip.is_broadcast() && !ip.is_multicast() && !ip.is_unspecified(),
        IpAddr::V6(ip) => !ip.is_multicast() && !ip.is_unspecified(),
    };
    let is_ours = |own: &SocketAddr| {
        let is_dual_stack = own.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED);
        let is_elsewhere = peers && !own.ip().is_unspecified() && own.ip().to_canonical() != ip;
        own.port() == port && (own.is_ipv4() == ip.is_ipv4() || is_dual_stack) && !is_elsewhere
    };
    one && port != 0
        && (port >= 1024 || may_answer_port(port))
        && !(ip.is_loopback() && own.iter().any(is_ours))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fault_e8_some_sources_are_never_answered() {
        for source in [
            "127.0.0.1:7",
            "192.0.2.1:1023",
            "127.0.0.1:0",
            "255.255.255.255:5000",
            "224.0.0.1:5000",
            "0.0.0.0:5000",
            "[ff02::1]:5000",
            "[::]:5000",
            "127.0.0.1:9004",
            "127.0.0.2:9004",
            "[::ffff:127.0.0.1]:9004",
            "[::1]:9006",
            "127.0.0.1:9000",
            "[::1]:9000",
        ] {
            let source = source.parse().unwrap();
            assert!(!is_answerable(source, &own(), false, |_| false), "{source}");
        }
        for source in [
            "127.0.0.1:1024",
            "192.0.2.1:9000",
            "[::1]:5000",
            "[fe80::1]:5000",
            // Ports of ours, in the other family.
            "127.0.0.1:9006",
            "[::1]:9004",
        ] {
            let source = source.parse().unwrap();
            assert!(is_answerable(source, &own(), false, |_| false), "{source}");
        }
    }

    /// A socket of IPv4, one of IPv6, and one of both.
    fn own() -> [SocketAddr; 3] {
        ["127.0.0.1:9004", "[::1]:9006", "[::]:9000"].map(|at| at.parse().unwrap())
    }

    #[test]
    fn fault_e8_a_service_may_answer_a_well_known_port_and_nothing_else_that_is_forbidden() {
        let own = ["0.0.0.0:123".parse().unwrap()];
        let ntp =
            |source: &str| is_answerable(source.parse().unwrap(), &own, false, |port| port == 123);
        assert!(ntp("192.0.2.1:123") && ntp("192.0.2.1:5000"));
        for source in [
            "192.0.2.1:7",
            "127.0.0.1:123",
            "224.0.1.1:123",
            "0.0.0.0:123",
        ] {
            assert!(!ntp(source), "{source}");
        }
        assert!(!is_answerable(
            "192.0.2.1:0".parse().unwrap(),
            &[],
            false,
            |_| { true }
        ));
    }

    #[test]
    fn fault_e8_among_peers_only_our_own_addresses_are_ours() {
        let own = ["127.0.0.1:2425", "[::1]:2426"].map(|at| at.parse().unwrap());
        let answers = |source: &str, own: &[SocketAddr]| {
            is_answerable(source.parse().unwrap(), own, true, |_| false)
        };
        assert!(answers("127.0.0.2:2425", &own) && answers("127.0.0.1:2426", &own));
        for source in ["127.0.0.1:2425", "[::ffff:127.0.0.1]:2425", "[::1]:2426"] {
            assert!(!answers(source, &own), "{source}");
        }
        // At a wildcard address every address of loopback is ours.
        assert!(!answers(
            "127.0.0.2:2425",
            &["0.0.0.0:2425".parse().unwrap()]
        ));
    }
}
