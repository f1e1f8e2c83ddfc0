use std::net::IpAddr;

use crate::service::Peer;

/// What counts as one source of connections: an IPv4 address, or an IPv6 /64.
///
/// One IPv6 host has a whole /64 to take addresses from (RFC 4291, 2.5.4; RFC 7421), so an address
/// would count as good as nothing; two hosts that share a /64 share a network, and with it an operator. A
/// peer without an address (a process on this machine, over a Unix socket) is no source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum SourceKey {
    V4(u32),
    /// The first 64 bits.
    V6(u64),
}

impl SourceKey {
    /// The source of this peer.
    pub(super) fn of(peer: &Peer) -> Option<SourceKey> {
        Some(match peer.ip()? {
            IpAddr::V4(ip) => SourceKey::V4(ip.to_bits()),
            IpAddr::V6(ip) => SourceKey::V6((ip.to_bits() >> 64) as u64),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    fn key(at: &str) -> Option<SourceKey> {
        SourceKey::of(&at.parse::<SocketAddr>().unwrap().into())
    }

    #[test]
    fn an_ipv4_address_is_a_source_and_an_ipv6_64() {
        assert_eq!(key("192.0.2.7:1"), key("192.0.2.7:2"));
        assert_ne!(key("192.0.2.7:1"), key("192.0.2.8:1"));
        assert_eq!(key("[2001:db8::1]:1"), key("[2001:db8::ffff:0:0:1]:2"));
        assert_ne!(key("[2001:db8::1]:1"), key("[2001:db8:0:1::1]:1"));
        let local = Peer::Local { pid: 7, uid: 1000 };
        assert_eq!(
            [local, Peer::Unknown].map(|peer| SourceKey::of(&peer)),
            [None; 2]
        );
    }

    #[test]
    fn a_mapped_address_is_the_ipv4_source() {
        assert_eq!(key("[::ffff:192.0.2.7]:1"), key("192.0.2.7:1"));
        assert_ne!(key("[::ffff:192.0.2.7]:1"), key("[::ffff:192.0.2.8]:1"));
    }
}
