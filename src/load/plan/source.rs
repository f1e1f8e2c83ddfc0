//! Local addresses to connect from, as they are typed: one after the other, or a range of them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use super::limits::SOURCES_MAX;

/// One address, or all from one to another of its family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceRange {
    first: IpAddr,
    last: IpAddr,
}

/// Why a list of sources is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// Not an address, or not two.
    #[error("{0:?} is no address: write 127.0.0.2, ::2 or a range such as 127.0.0.2-127.0.0.20")]
    Malformed(String),
    /// From one family to the other.
    #[error("{0:?}: a range begins and ends in one family")]
    Families(String),
    /// The last is before the first.
    #[error("{0:?} runs backwards: write the lower address first")]
    Backwards(String),
    /// More than [`SOURCES_MAX`].
    #[error("--source names {0} addresses, and at most {SOURCES_MAX} can be used")]
    TooMany(u128),
}

impl SourceRange {
    /// The addresses of all ranges, in order, for the kernel to choose the ports.
    pub fn all(ranges: &[Self]) -> Result<Vec<SocketAddr>, SourceError> {
        let count = ranges
            .iter()
            .fold(0, |sum: u128, range| sum.saturating_add(range.len()));
        if count > SOURCES_MAX as u128 {
            return Err(SourceError::TooMany(count));
        }
        let all = ranges.iter().flat_map(|range| range.addresses());
        Ok(all.map(|ip| SocketAddr::new(ip, 0)).collect())
    }

    fn len(self) -> u128 {
        (bits(self.last) - bits(self.first)).saturating_add(1)
    }

    fn addresses(self) -> impl Iterator<Item = IpAddr> {
        (bits(self.first)..=bits(self.last)).map(move |bits| match self.first {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::from_bits(bits as u32)),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::from_bits(bits)),
        })
    }
}

fn bits(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => ip.to_bits().into(),
        IpAddr::V6(ip) => ip.to_bits(),
    }
}

impl FromStr for SourceRange {
    type Err = SourceError;

    fn from_str(text: &str) -> Result<Self, SourceError> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let address = |part: &str| {
            let malformed = |_| SourceError::Malformed(text.to_owned());
            part.trim().parse::<IpAddr>().map_err(malformed)
        };
        match (address(first)?, address(last)?) {
            (first, last) if first.is_ipv4() != last.is_ipv4() => {
                Err(SourceError::Families(text.to_owned()))
            }
            (first, last) if first > last => Err(SourceError::Backwards(text.to_owned())),
            (first, last) => Ok(Self { first, last }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(list: &str) -> Result<Vec<String>, SourceError> {
        let ranges: Result<Vec<SourceRange>, _> = list.split(',').map(str::parse).collect();
        let addresses = SourceRange::all(&ranges?)?;
        Ok(addresses.iter().map(|at| at.ip().to_string()).collect())
    }

    #[test]
    fn lists_and_ranges_are_laid_out_in_order() {
        for (list, addresses) in [
            ("127.0.0.2", &["127.0.0.2"][..]),
            (
                "127.0.0.254-127.0.1.1,127.0.0.40",
                &[
                    "127.0.0.254",
                    "127.0.0.255",
                    "127.0.1.0",
                    "127.0.1.1",
                    "127.0.0.40",
                ],
            ),
            ("::1", &["::1"]),
            (
                "fd00::ffff-fd00::1:1",
                &["fd00::ffff", "fd00::1:0", "fd00::1:1"],
            ),
            ("255.255.255.255-255.255.255.255", &["255.255.255.255"]),
        ] {
            assert_eq!(all(list).unwrap(), addresses, "{list}");
        }
        assert_eq!(all("127.1.0.0-127.1.255.255").unwrap().len(), SOURCES_MAX);
    }

    #[test]
    fn what_is_no_range_says_why() {
        for (list, why) in [
            ("", "is no address"),
            ("localhost", "is no address"),
            ("127.0.0.2-", "is no address"),
            ("127.0.0.2-20", "is no address"),
            ("127.0.0.2:80", "is no address"),
            ("127.0.0.2-::1", "one family"),
            ("127.0.0.20-127.0.0.2", "runs backwards"),
            (
                "127.1.0.0-127.2.0.0",
                "names 65537 addresses, and at most 65536",
            ),
            ("127.1.0.0-127.1.255.255,127.0.0.1", "names 65537"),
            (
                "::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff,::1",
                "at most 65536",
            ),
        ] {
            let said = all(list).unwrap_err().to_string();
            assert!(said.contains(why), "{list}: {said}");
        }
    }
}
