use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;

/// Where everybody on the links of this machine hears an entry that is sent to this port: the broadcast address of each
/// interface that is up, or of none of them.
pub fn ipmsg_broadcast_addresses(port: u16) -> io::Result<Vec<SocketAddr>> {
    let mut found: Vec<SocketAddr> = Vec::new();
    for interface in getifaddrs()? {
        let wanted = InterfaceFlags::IFF_UP | InterfaceFlags::IFF_BROADCAST;
        if !interface.flags.contains(wanted) {
            continue;
        }
        let broadcast = interface.broadcast.as_ref();
        let broadcast = broadcast.and_then(|address| address.as_sockaddr_in());
        let Some(ip) = broadcast.map(|address| address.ip()) else {
            continue;
        };
        let address = SocketAddr::new(ip.into(), port);
        if ip != Ipv4Addr::UNSPECIFIED && !found.contains(&address) {
            found.push(address);
        }
    }
    Ok(found)
}
