//! What `onepoll serve` serves when nothing was asked for.

use std::net::Ipv4Addr;
use std::path::Path;

use super::{Endpoint, ServiceKind};
use crate::config::{Address, Host, HostPort, UnixAddress};

/// The default table: on 127.0.0.1, and commands on a private Unix socket at `command_socket`.
///
/// Of these, what cannot be bound is reported and skipped.
pub fn default_endpoints(command_socket: &Path) -> Vec<Endpoint> {
    let at = |port| HostPort {
        host: Host::Ip(Ipv4Addr::LOCALHOST.into()),
        port,
    };
    let upper = || ServiceKind::Upper(Default::default());
    vec![
        Endpoint::new(ServiceKind::Echo, Address::Tcp(at(9000))),
        Endpoint::new(ServiceKind::Time, Address::Udp(at(9000))),
        Endpoint::new(
            ServiceKind::Chat(Default::default()),
            Address::Tcp(at(9001)),
        ),
        Endpoint::new(upper(), Address::Tcp(at(9999))),
        Endpoint::new(upper(), Address::Udp(at(9999))),
        Endpoint::new(
            ServiceKind::Command(Default::default()),
            Address::Unix(UnixAddress::Path(command_socket.into())),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::{Reached, exposure};

    #[test]
    fn the_default_table_is_the_manuals() {
        let urls: Vec<String> = default_endpoints(Path::new("/run/user/7/onepoll/command.sock"))
            .iter()
            .inspect(|endpoint| assert_eq!(endpoint.validate(), Ok(())))
            .map(Endpoint::to_string)
            .collect();
        assert_eq!(
            urls,
            [
                "echo://127.0.0.1:9000",
                "time://127.0.0.1:9000",
                "chat://127.0.0.1:9001",
                "upper://127.0.0.1:9999",
                "upper+udp://127.0.0.1:9999",
                "command+unix:///run/user/7/onepoll/command.sock",
            ]
        );
    }

    #[test]
    fn the_default_table_is_allowed_for_root_too() {
        for endpoint in default_endpoints(Path::new("/a")) {
            let at = match endpoint.address {
                Address::Unix(_) => Reached::Unix,
                _ => Reached::Inet((Ipv4Addr::LOCALHOST, 1).into()),
            };
            let allowed = exposure(&endpoint, at, true).unwrap();
            assert_eq!(allowed.warning, None);
        }
    }
}
