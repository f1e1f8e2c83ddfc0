use std::net::{IpAddr, SocketAddr, ToSocketAddrs};

use crate::config::ServerUrl;
use crate::wire::IPMSG_PORT;

/// To whom a message goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// To whoever has this address.
    Place(SocketAddr),
    /// To whoever says that they are called this.
    Name(String),
}

/// `IP`, `IP:PORT`, `HOST:PORT` or `ipmsg://` before one of them is a place; everything else is a name.
pub(super) fn parse_target(text: &str) -> Result<Target, String> {
    if text.is_empty() {
        return Err("it is empty".to_owned());
    }
    if let Ok(place) = parse_place(text) {
        return Ok(Target::Place(place));
    }
    if text.starts_with("ipmsg://") || text.contains(':') {
        let text = text.strip_prefix("ipmsg://").unwrap_or(text);
        let found = text.to_socket_addrs();
        let mut found = found.map_err(|error| format!("cannot resolve {text}: {error}"))?;
        // Addresses of IPMSG are of IPv4 where there is a choice.
        let all: Vec<SocketAddr> = found.by_ref().collect();
        let best = all.iter().find(|place| place.is_ipv4()).or(all.first());
        return best
            .copied()
            .map(Target::Place)
            .ok_or_else(|| format!("{text} has no address"));
    }
    Ok(Target::Name(text.to_owned()))
}

/// `IP` or `IP:PORT`; without a port it is that of IPMSG.
pub(super) fn parse_place(text: &str) -> Result<SocketAddr, String> {
    let url = ServerUrl::of(text);
    if !matches!(url.scheme, "" | "ipmsg") {
        return Err(format!("{}:// is not what speaks IPMSG", url.scheme));
    }
    let text = text.strip_prefix("ipmsg://").unwrap_or(text);
    let text = text.strip_suffix('/').unwrap_or(text);
    if let Ok(ip) = text.trim_matches(['[', ']']).parse::<IpAddr>() {
        return Ok(SocketAddr::new(ip, IPMSG_PORT));
    }
    let place = text.parse();
    place.map_err(|_| "write an address such as 192.168.1.5 or 192.168.1.5:2425".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_places_and_everything_else_is_a_name() {
        for (text, place) in [
            ("127.0.0.2", "127.0.0.2:2425"),
            ("127.0.0.2:9", "127.0.0.2:9"),
            ("::1", "[::1]:2425"),
            ("[::1]", "[::1]:2425"),
            ("[::1]:9", "[::1]:9"),
            ("ipmsg://10.0.0.1", "10.0.0.1:2425"),
            ("ipmsg://10.0.0.1:7/", "10.0.0.1:7"),
        ] {
            let place = place.parse().unwrap();
            assert_eq!(parse_target(text), Ok(Target::Place(place)), "{text}");
        }
        for name in ["eva", "Eva Müller", "伊娃", "10.0.0"] {
            assert_eq!(parse_target(name), Ok(Target::Name(name.into())));
        }
        assert!(parse_target("").is_err());
        assert!(parse_place("tcp://127.0.0.1").is_err());
    }
}
