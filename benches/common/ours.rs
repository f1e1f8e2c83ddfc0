//! The reactor, put together as `onepoll serve` does it.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use onepoll::config::Limits;
use onepoll::reactor::{
    AddressRules, DatagramOptions, DatagramSocket, Epoll, ListenerOptions, Reactor, listen_tcp,
    open_udp,
};
use onepoll::service::{Chat, Echo, Service, chat};
use rustix::net::getsockname;

use super::addresses::Addresses;

const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Serves until the process ends.
pub(crate) fn run(tell: impl FnOnce(Addresses)) -> io::Result<()> {
    let (mut reactor, addresses) = open(Epoll::new()?.with_signals()?)?;
    tell(addresses);
    reactor.run()
}

/// A chat whose members may say as much as they like.
pub(crate) fn run_chat(tell: impl FnOnce(Addresses)) -> io::Result<()> {
    let limits = Limits::default();
    let chat = Chat::new(&chat::Options::default(), limits.frame);
    let mut reactor = reactor(Epoll::new()?.with_signals()?);
    let stream = listen(&mut reactor, Box::new(chat))?;
    tell(Addresses::tcp(stream));
    reactor.run()
}

/// An echo, and a chat beside.
pub(crate) fn run_echo_and_room(tell: impl FnOnce(Addresses)) -> io::Result<()> {
    let (mut reactor, echo) = open(Epoll::new()?.with_signals()?)?;
    let chat = Chat::new(&chat::Options::default(), Limits::default().frame);
    let room = listen(&mut reactor, Box::new(chat))?;
    tell(echo.and_room(room));
    reactor.run()
}

/// An echo over TCP and over UDP, ready to serve.
pub(crate) fn open(epoll: Epoll) -> io::Result<(Reactor<Epoll>, Addresses)> {
    let mut reactor = reactor(epoll);
    let stream = listen(&mut reactor, Box::new(Echo))?;
    let datagrams = open_udp(ANY)?;
    let datagram = SocketAddr::try_from(getsockname(&datagrams)?)?;
    let service = reactor.add_datagrams(Box::new(Echo));
    let options = DatagramOptions {
        name: "echo+udp".into(),
        service,
        own: vec![datagram],
        addresses: AddressRules::default(),
    };
    reactor.answer(DatagramSocket::new(datagrams)?, options)?;
    let addresses = Addresses::tcp(stream).and_udp(datagram);
    Ok((reactor, addresses))
}

fn reactor(epoll: Epoll) -> Reactor<Epoll> {
    let limits = Limits::default();
    let connections = super::raise_descriptor_limit().saturating_sub(limits.reserve(2));
    Reactor::new(
        epoll,
        limits,
        usize::try_from(connections).unwrap_or(usize::MAX),
    )
}

fn listen(reactor: &mut Reactor<Epoll>, service: Box<dyn Service>) -> io::Result<SocketAddr> {
    let listener = listen_tcp(ANY)?;
    let address = SocketAddr::try_from(getsockname(&listener)?)?;
    let options = ListenerOptions {
        name: "bench".into(),
        ..ListenerOptions::to(reactor.add(service))
    };
    reactor.listen(listener, options)?;
    Ok(address)
}
