//! Which ports the kernel gives to clients that ask for none.

use std::fs;
use std::ops::RangeInclusive;

/// What the range is unless the machine says otherwise (ip(7), `ip_local_port_range`).
pub(crate) const CLIENT_PORTS_DEFAULT: RangeInclusive<u16> = 32_768..=60_999;

/// The range on this machine, for IPv6 too; none where `/proc` does not tell.
pub(crate) fn client_ports() -> Option<RangeInclusive<u16>> {
    range(&fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?)
}

fn range(text: &str) -> Option<RangeInclusive<u16>> {
    let mut ports = text.split_ascii_whitespace().map(str::parse);
    Some(ports.next()?.ok()?..=ports.next()?.ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_two_ports() {
        assert_eq!(range("32768\t60999\n"), Some(32_768..=60_999));
        for text in ["", "32768", "32768\t65536", "a b"] {
            assert_eq!(range(text), None, "{text:?}");
        }
    }

    #[test]
    fn this_machine_says_which_ports_its_clients_have() {
        let ports = client_ports().unwrap();
        let client = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        assert!(
            ports.contains(&client.local_addr().unwrap().port()),
            "{ports:?}"
        );
    }
}
