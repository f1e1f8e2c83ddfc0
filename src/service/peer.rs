use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

/// Who is at the other end, in the few bytes that a connection at rest can afford.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Peer {
    /// IPv4, also when it came over a dual-stack socket.
    V4(Ipv4Addr, u16),
    /// IPv6 with its scope, which a link-local address means nothing without.
    V6(Ipv6Addr, u16, u32),
    /// A process on this machine, as the kernel vouches for it (`SO_PEERCRED`).
    Local {
        /// Its process id when it connected.
        pid: u32,
        /// Its user.
        uid: u32,
    },
    /// The kernel did not say: the peer reset the connection before it was accepted.
    Unknown,
}

impl Peer {
    /// Its address, by which it is judged: an IPv4 address is one, however it came. A process on this machine
    /// has none.
    pub fn ip(&self) -> Option<IpAddr> {
        match *self {
            Peer::V4(ip, _) => Some(ip.into()),
            Peer::V6(ip, ..) => Some(ip.into()),
            Peer::Local { .. } | Peer::Unknown => None,
        }
    }
}

impl From<SocketAddr> for Peer {
    fn from(address: SocketAddr) -> Peer {
        let scope = match address {
            SocketAddr::V6(v6) => v6.scope_id(),
            SocketAddr::V4(_) => 0,
        };
        match address.ip().to_canonical() {
            IpAddr::V4(ip) => Peer::V4(ip, address.port()),
            IpAddr::V6(ip) => Peer::V6(ip, address.port(), scope),
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Peer::V4(ip, port) => write!(f, "{ip}:{port}"),
            Peer::V6(ip, port, scope) => SocketAddrV6::new(ip, port, 0, scope).fmt(f),
            Peer::Local { pid, uid } => write!(f, "pid {pid} (uid {uid})"),
            Peer::Unknown => f.write_str("unknown"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapped_address_is_shown_as_what_it_is() {
        let mapped: SocketAddr = "[::ffff:192.0.2.7]:80".parse().unwrap();
        assert_eq!(Peer::from(mapped).to_string(), "192.0.2.7:80");
        assert!(size_of::<Peer>() <= 24);
    }
}
