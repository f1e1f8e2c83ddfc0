//! The reactor, put together as `onepoll serve` does it.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use onepoll::config::Limits;
use onepoll::reactor::{Door, Epoll, Mailbox, Reactor, listen_tcp, open_udp};
use onepoll::service::Echo;
use rustix::net::getsockname;

use super::server::Addresses;

/// Serves until the process ends.
pub(crate) fn run(tell: impl FnOnce(Addresses)) -> io::Result<()> {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let limits = Limits::default();
    let connections = super::raise_descriptor_limit().saturating_sub(limits.reserve(2));
    let mut reactor = Reactor::new(
        Epoll::new()?.with_signals()?,
        limits,
        usize::try_from(connections).unwrap_or(usize::MAX),
    );
    let listener = listen_tcp(any)?;
    let datagrams = open_udp(any)?;
    let addresses = Addresses {
        stream: SocketAddr::try_from(getsockname(&listener)?)?,
        datagram: SocketAddr::try_from(getsockname(&datagrams)?)?,
    };
    let service = reactor.add(Box::new(Echo));
    let door = Door {
        name: "echo".into(),
        service,
        connections_max: usize::MAX,
        idle: None,
        only_uid: None,
    };
    reactor.listen(listener, door)?;
    let service = reactor.add_datagrams(Box::new(Echo));
    let mailbox = Mailbox {
        name: "echo+udp".into(),
        service,
        own_ports: vec![addresses.datagram.port()],
    };
    reactor.answer(datagrams, mailbox)?;
    tell(addresses);
    reactor.run()
}
