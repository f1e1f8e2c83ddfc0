use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;

use crate::config::limits::{
    DATAGRAM_ANSWERS_PER_SECOND_IN_ALL_MAX, DATAGRAM_ANSWERS_PER_SECOND_MAX,
};
use crate::turn::Moment;

/// How many sources are told apart: two that fall on one place share its budget.
const PLACES: usize = 1024;

/// How many answers each source of datagrams got in this second, in a table of fixed size.
///
/// Two servers that answer each other never stop on their own, and one datagram with a forged source is
/// enough to set them talking (CVE-2024-2169); and an attacker who forges a victim's address has us send it our
/// answers. So the answers to one network have a rate, and all answers together have one (faults E5, E8).
///
/// On loopback a client, such as a load generator, has no rate: its port is one of those that the kernel
/// gives to clients. Any other port there may be another server's, and each such address and port has
/// the rate of a network: a single answer that is not given ends the talk.
#[derive(Debug)]
pub(super) struct ReplyLimiter {
    /// Seeded, so that an attacker cannot choose whose budget to use up.
    hasher: RandomState,
    client_ports: RangeInclusive<u16>,
    /// By place: the answers to one source.
    places: Box<[Second]>,
    /// The answers to all sources off loopback.
    in_all: Second,
}

impl ReplyLimiter {
    /// For this machine, whose clients have these ports.
    pub(super) fn new(client_ports: RangeInclusive<u16>) -> ReplyLimiter {
        ReplyLimiter {
            hasher: RandomState::new(),
            client_ports,
            places: vec![Second::default(); PLACES].into(),
            in_all: Second::default(),
        }
    }

    /// Whether one more answer to this source is within its rate; counts it.
    pub(super) fn may_answer(&mut self, now: Moment, from: SocketAddr) -> bool {
        let ip = from.ip().to_canonical();
        if ip.is_loopback() {
            return self.client_ports.contains(&from.port())
                || self
                    .place((ip, from.port()))
                    .counts(now, DATAGRAM_ANSWERS_PER_SECOND_MAX);
        }
        self.place((network(ip), 0))
            .counts(now, DATAGRAM_ANSWERS_PER_SECOND_MAX)
            && self
                .in_all
                .counts(now, DATAGRAM_ANSWERS_PER_SECOND_IN_ALL_MAX)
    }

    fn place(&mut self, source: (IpAddr, u16)) -> &mut Second {
        let hash = self.hasher.hash_one(source);
        &mut self.places[hash as usize % PLACES]
    }
}

/// What one customer of a network operator can have many addresses of: an IPv4 /24, an IPv6 /64.
fn network(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, c, _] = ip.octets();
            Ipv4Addr::new(a, b, c, 0).into()
        }
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64).into(),
    }
}

/// The answers of the last second in which there were any.
#[derive(Debug, Clone, Copy, Default)]
struct Second {
    second: u32,
    answers: u32,
}

impl Second {
    /// Counts one more, if it is among the first `max` of its second.
    fn counts(&mut self, now: Moment, max: u32) -> bool {
        if self.second != now.as_secs() {
            *self = Second {
                second: now.as_secs(),
                answers: 0,
            };
        }
        let counts = self.answers < max;
        self.answers += u32::from(counts);
        counts
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::CLIENT_PORTS_DEFAULT;

    const MAX: usize = DATAGRAM_ANSWERS_PER_SECOND_MAX as usize;

    fn limiter() -> ReplyLimiter {
        ReplyLimiter::new(CLIENT_PORTS_DEFAULT)
    }

    fn second(n: u64) -> Moment {
        Moment::START.after(Duration::from_secs(n))
    }

    /// How many of `n` answers to each of these are given.
    fn answered(
        limiter: &mut ReplyLimiter,
        now: Moment,
        sources: impl IntoIterator<Item = SocketAddr>,
        n: usize,
    ) -> usize {
        let of_one = |from| (0..n).filter(|_| limiter.may_answer(now, from)).count();
        sources.into_iter().map(of_one).sum()
    }

    fn at(ip: &str, ports: RangeInclusive<u16>) -> Vec<SocketAddr> {
        let ip: IpAddr = ip.parse().unwrap();
        ports.map(|port| SocketAddr::new(ip, port)).collect()
    }

    #[test]
    fn fault_e8_two_servers_do_not_talk_for_ever() {
        let mut limiter = limiter();
        let other = at("192.0.2.1", 9000..=9000);
        assert_eq!(answered(&mut limiter, second(5), other.clone(), 5000), MAX);
        assert_eq!(answered(&mut limiter, second(5), other.clone(), 5000), 0);
        assert_eq!(answered(&mut limiter, second(6), other, 5000), MAX);
    }

    #[test]
    fn fault_e8_two_servers_on_loopback_do_not_talk_for_ever_either() {
        for ip in ["127.0.0.1", "::1", "::ffff:127.0.0.1"] {
            let other = at(ip, 9000..=9000);
            assert_eq!(answered(&mut limiter(), second(5), other, 5000), MAX);
            let client = at(ip, 40_000..=40_000);
            assert_eq!(answered(&mut limiter(), second(5), client, 5000), 5000);
        }
    }

    #[test]
    fn fault_e5_a_host_has_one_rate_for_all_its_ports_and_neighbours() {
        for ip in ["192.0.2.1", "2001:db8::1"] {
            let ports = at(ip, 40_000..=40_059);
            assert_eq!(answered(&mut limiter(), second(5), ports, 1000), MAX);
        }
        let neighbours = (0..=255).map(|n| (Ipv4Addr::new(192, 0, 2, n), 5000).into());
        assert_eq!(answered(&mut limiter(), second(5), neighbours, 100), MAX);
    }

    #[test]
    fn fault_e5_who_is_not_answered_takes_nothing_from_others() {
        let mut limiter = limiter();
        let loud = at("192.0.2.1", 5000..=5000);
        let in_all = DATAGRAM_ANSWERS_PER_SECOND_IN_ALL_MAX as usize;
        assert_eq!(answered(&mut limiter, second(5), loud, 2 * in_all), MAX);
        // Nor does what stays on this machine.
        let client = at("127.0.0.1", 40_000..=40_000);
        assert_eq!(answered(&mut limiter, second(5), client, in_all), in_all);
        let server = at("127.0.0.1", 9000..=9000);
        assert_eq!(answered(&mut limiter, second(5), server, in_all), MAX);
        assert_eq!(limiter.in_all.answers as usize, MAX);
    }

    #[test]
    fn fault_e8_a_source_that_goes_on_asking_is_answered_in_each_second_anew() {
        let mut limiter = limiter();
        let source = at("192.0.2.1", 9000..=9000);
        // Asking without an answer does not put the next answer off, nor does a second that was skipped.
        for n in [0, 1, 2, 3, 7] {
            let given = answered(&mut limiter, second(n), source.clone(), 10 * MAX);
            assert_eq!(given, MAX, "in second {n}");
        }
        // The end of a second is what counts, not a second since the first answer.
        let late = second(8).after(Duration::from_millis(999));
        assert_eq!(answered(&mut limiter, late, source.clone(), MAX), MAX);
        assert_eq!(answered(&mut limiter, second(9), source, MAX), MAX);
    }

    #[test]
    fn fault_e8_networks_and_servers_of_this_machine_do_not_share_a_rate() {
        let mut limiter = limiter();
        for ip in ["192.0.2.1", "192.0.3.1", "2001:db8::1", "2001:db8:0:1::1"] {
            let source = at(ip, 5000..=5000);
            // Two that fall on one of the places would share it: then the seed is to blame.
            let given = answered(&mut limiter, second(5), source, 50);
            assert_eq!(given, 50, "{ip}");
        }
        for port in [9000, 9001] {
            let server = at("127.0.0.1", port..=port);
            assert_eq!(answered(&mut limiter, second(5), server, 500), 500);
        }
        // However many sources there are, the table is as large as it was.
        let everywhere = (0..100_000_u32).map(|n| (Ipv4Addr::from(n << 8), 5000).into());
        answered(&mut limiter, second(6), everywhere, 1);
        assert_eq!(limiter.places.len(), PLACES);
    }

    #[test]
    fn fault_e5_a_network_is_what_one_customer_can_have() {
        for (ip, expected) in [
            ("192.0.2.77", "192.0.2.0"),
            ("192.0.3.0", "192.0.3.0"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
            ("2001:db8:1:3::1", "2001:db8:1:3::"),
        ] {
            assert_eq!(network(ip.parse().unwrap()).to_string(), expected);
        }
    }

    #[test]
    fn fault_e8_nobody_can_choose_with_whom_a_place_is_shared() {
        // The places of two limiters are not the same, or an attacker could look for a neighbour.
        let (mut one, mut other) = (limiter(), limiter());
        let place = |limiter: &mut ReplyLimiter, n: u32| {
            let first = limiter.places.as_ptr();
            let place: *const Second = limiter.place((Ipv4Addr::from(n << 8).into(), 0));
            (place as usize - first as usize) / size_of::<Second>()
        };
        let same = (0..1000).filter(|&n| place(&mut one, n) == place(&mut other, n));
        // One in a thousand is the same by chance; half of them never.
        assert!(same.count() < 500);
    }

    #[test]
    fn fault_e5_all_sources_together_have_a_rate_too() {
        let mut limiter = limiter();
        let everywhere = (0..=255)
            .flat_map(|a| (0..=9).map(move |b| (Ipv4Addr::new(198, 18 + b, a, 1), 5000).into()));
        let given = answered(&mut limiter, second(5), everywhere, 100);
        assert_eq!(given, DATAGRAM_ANSWERS_PER_SECOND_IN_ALL_MAX as usize);
    }
}
