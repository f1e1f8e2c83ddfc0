use std::net::{IpAddr, Ipv6Addr};

/// Whether an address is one of a private network, of this link, or of this machine: IPMSG has no business with others.
pub(super) fn is_private(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.is_private() || ip.is_link_local() || ip.is_loopback(),
        IpAddr::V6(ip) => {
            let is_unique_local = ip.segments()[0] & 0xfe00 == 0xfc00;
            let is_link_local = ip.segments()[0] & 0xffc0 == 0xfe80;
            ip == Ipv6Addr::LOCALHOST || is_unique_local || is_link_local
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fault_e5_private_addresses_are_those_of_rfc_1918_3927_and_4193_and_loopback() {
        for ip in [
            "10.0.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.9.9",
            "127.0.0.2",
            "::1",
            "fe80::1",
            "fd00::1",
            "::ffff:10.0.0.1",
        ] {
            assert!(is_private(ip.parse().unwrap()), "{ip}");
        }
        for ip in [
            "8.8.8.8",
            "172.32.0.1",
            "0.0.0.0",
            "224.0.0.1",
            "2001:db8::1",
            "::",
            "ff02::1",
        ] {
            assert!(!is_private(ip.parse().unwrap()), "{ip}");
        }
    }
}
