use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::text::{quoted, with};

/// How many bits of an IPv4-mapped IPv6 address (`::ffff:192.0.2.7`, RFC 4291, 2.5.5.2) stand before
/// the IPv4 address.
const MAPPED_PREFIX_BITS: u8 = 96;

/// Addresses that `allow-from` and `deny-from` name: one address, or a range in CIDR notation (RFC 4632).
///
/// An IPv4-mapped address or range is the IPv4 one, as [`Peer`](crate::service::Peer) has IPv4 addresses
/// that came over a dual-stack socket. Names are not looked up: who owns a name would decide who is let in.
///
/// ```
/// use onepoll::config::Network;
///
/// let network: Network = "10.0.0.0/8".parse()?;
/// assert!(network.contains("10.1.2.3".parse().unwrap()));
/// assert!("10.1.2.3/8".parse::<Network>().is_err());
/// # Ok::<(), String>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network(IpNet);

impl Network {
    /// Whether this address is one of them. IPv6 ranges, `::/0` among them, have no IPv4 address.
    pub fn contains(&self, ip: IpAddr) -> bool {
        self.0.contains(&ip)
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Network, String> {
        let wrong = || {
            format!(
                "{} is neither an address nor a network such as 192.0.2.7, 10.0.0.0/8 or 2001:db8::/32 \
                 (names are not looked up)",
                quoted(text)
            )
        };
        let Some((ip, bits)) = text.split_once('/') else {
            let ip: IpAddr = text.parse().map_err(|_| wrong())?;
            return Ok(Network(ip.to_canonical().into()));
        };
        let ip: IpAddr = ip.parse().map_err(|_| wrong())?;
        let most = if ip.is_ipv4() { 32 } else { 128 };
        let bits: u8 = Some(bits)
            .filter(|bits| !bits.is_empty() && bits.bytes().all(|byte| byte.is_ascii_digit()))
            .and_then(|bits| bits.parse().ok())
            .filter(|bits| *bits <= most)
            .ok_or_else(|| {
                format!(
                    "{} does not end in a number of bits from 0 to {most}, such as {ip}/{most}",
                    quoted(text)
                )
            })?;
        let net = IpNet::new(ip, bits).map_err(|_| wrong())?;
        if net.trunc() != net {
            // Half of its readers would take it for the address, and half for the network.
            return Err(format!(
                "{} has bits set after the first {bits}: the network is {}, the address alone {ip}",
                quoted(text),
                net.trunc()
            ));
        }
        unmapped(net).map(Network).ok_or_else(|| {
            format!(
                "{} is more than the mapped IPv4 addresses and less than all of IPv6; write 0.0.0.0/0 for IPv4",
                quoted(text)
            )
        })
    }
}

/// The IPv4 range that a mapped one is; nothing, if it is one only in part.
fn unmapped(net: IpNet) -> Option<IpNet> {
    let IpNet::V6(v6) = net else {
        return Some(net);
    };
    match (v6.addr().to_ipv4_mapped(), v6.prefix_len()) {
        (Some(v4), bits) if bits >= MAPPED_PREFIX_BITS => {
            Some(Ipv4Net::new(v4, bits - MAPPED_PREFIX_BITS).ok()?.into())
        }
        // `::/0` and the like: a range of IPv6, of which nobody thinks as of IPv4.
        (_, bits) if bits <= 64 => Some(net),
        _ if v6.contains(&Ipv4Addr::UNSPECIFIED.to_ipv6_mapped()) => None,
        _ => Some(net),
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.prefix_len() == self.0.max_prefix_len() {
            self.0.addr().fmt(f)
        } else {
            self.0.fmt(f)
        }
    }
}

impl Serialize for Network {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Network, D::Error> {
        with::by_text(d, str::parse)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> Network {
        text.parse().unwrap()
    }

    fn has(network: &str, ip: &str) -> bool {
        net(network).contains(ip.parse().unwrap())
    }

    #[test]
    fn a_range_has_its_first_and_last_address_and_not_their_neighbours() {
        for (network, inside, outside) in [
            (
                "10.0.0.0/8",
                ["10.0.0.0", "10.255.255.255"],
                ["9.255.255.255", "11.0.0.0"],
            ),
            (
                "192.0.2.8/30",
                ["192.0.2.8", "192.0.2.11"],
                ["192.0.2.7", "192.0.2.12"],
            ),
            (
                "192.0.2.7",
                ["192.0.2.7", "192.0.2.7"],
                ["192.0.2.6", "192.0.2.8"],
            ),
            (
                "2001:db8::/33",
                ["2001:db8::", "2001:db8:7fff:ffff:ffff:ffff:ffff:ffff"],
                ["2001:db7:ffff::", "2001:db8:8000::"],
            ),
            ("::1", ["::1", "::1"], ["::", "::2"]),
        ] {
            assert!(inside.iter().all(|ip| has(network, ip)), "{network}");
            assert!(!outside.iter().any(|ip| has(network, ip)), "{network}");
        }
        assert!(has("0.0.0.0/0", "255.255.255.255") && !has("0.0.0.0/0", "::1"));
        assert!(has("::/0", "2001:db8::1") && !has("::/0", "127.0.0.1"));
    }

    #[test]
    fn a_mapped_range_is_the_ipv4_range() {
        for (mapped, plain) in [
            ("::ffff:192.0.2.7", "192.0.2.7"),
            ("::ffff:192.0.2.7/128", "192.0.2.7"),
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
            ("::ffff:0:0/96", "0.0.0.0/0"),
            ("::ffff:c000:200/120", "192.0.2.0/24"),
        ] {
            assert_eq!(net(mapped), net(plain), "{mapped}");
            assert_eq!(net(mapped).to_string(), plain);
        }
        for partly in ["::/80", "::fffe:0:0/95"] {
            let said = partly.parse::<Network>().unwrap_err();
            assert!(said.contains("0.0.0.0/0 for IPv4"), "{said}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_what_would_be_right() {
        for (text, right) in [
            ("localhost", "names are not looked up"),
            ("", "192.0.2.7, 10.0.0.0/8"),
            ("10.0.0", "10.0.0.0/8"),
            ("10.0.0.0/33", "from 0 to 32, such as 10.0.0.0/32"),
            ("10.0.0.0/", "from 0 to 32"),
            ("10.0.0.0/+8", "from 0 to 32"),
            ("10.0.0.0/255.0.0.0", "from 0 to 32"),
            ("::1/129", "from 0 to 128"),
            (
                "10.0.0.1/8",
                "the network is 10.0.0.0/8, the address alone 10.0.0.1",
            ),
            ("fe80::1%eth0", "neither an address nor a network"),
            ("10.0.0.0/8,::1", "from 0 to 32"),
        ] {
            let said = text.parse::<Network>().unwrap_err();
            assert!(said.contains(right), "{said}");
        }
    }

    #[test]
    fn it_is_written_as_it_can_be_read_again() {
        for (text, written) in [
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("192.0.2.7/32", "192.0.2.7"),
            ("2001:DB8::0/32", "2001:db8::/32"),
            ("::1/128", "::1"),
        ] {
            assert_eq!(net(text).to_string(), written);
            assert_eq!(net(written), net(text));
        }
    }
}
