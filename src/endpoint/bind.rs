//! Sockets at the addresses of endpoints, bound and not listening yet.
//!
//! Nothing is served before everything is bound: until then connections are refused, so that a server
//! with several endpoints listens on all of them or on none (fault H6).

use std::fmt;
use std::io;
use std::net::{Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use rustix::net::getsockname;
use rustix::process::geteuid;

use super::handed::Handed;
use super::plan::Planned;
use super::socket_file::{Intent, SocketFile, identity};
use super::unserved::Unserved;
use super::{Endpoint, place};
use crate::config::{
    Address, Host, HostPort, Transport, UnixAddress, check_private_dir, is_private_socket,
};
use crate::reactor::{
    Keepalive, Secure, begin_to_listen, bind_abstract, bind_tcp, bind_tcp_beside, open_udp,
    open_udp_beside, share_address,
};
use crate::service::Secrets;

/// What a process says of an endpoint for which its supervisor has no socket.
const NOT_HANDED: &str = "the supervisor has no socket for it";

/// A socket that was bound, and the endpoint as it came to be: with the port that the system chose.
#[derive(Debug)]
pub struct Bound {
    /// The endpoint.
    pub endpoint: Endpoint,
    /// Its socket.
    pub socket: OwnedFd,
    /// Its file, if it is a Unix socket of ours that has one: gone when this is dropped.
    pub file: Option<SocketFile>,
    /// What begins the sessions of its connections; none: they are plain.
    pub secure: Option<Arc<dyn Secure>>,
    /// The transport and the address as they were asked for, by which another server finds the socket when
    /// it takes it over.
    /// [Service, transport and address](Endpoint::place) as they were asked for.
    pub place: String,
    /// What its connections have to prove, if they have to.
    pub secrets: Option<Secrets>,
    /// The content of the file that its service reads.
    pub content: Option<Arc<[u8]>>,
    /// Where the socket is, if that is an address with a port.
    at: Option<SocketAddr>,
    /// Another server has handed it over, and serves it until we are ready.
    is_handed: bool,
    /// Another process opened it and keeps it.
    is_inherited: bool,
}

impl Bound {
    /// From here on it is served: connections may wait to be accepted, and no call on it waits.
    ///
    /// Nothing is done to a socket that another server has too: it is served there, and as it is.
    pub fn begin(&self) -> io::Result<()> {
        if self.is_handed {
            return Ok(());
        }
        fcntl_setfl(&self.socket, fcntl_getfl(&self.socket)? | OFlags::NONBLOCK)?;
        if self.endpoint.address.transport() == Transport::Udp {
            return Ok(());
        }
        if let Some(keepalive) = self.keepalive() {
            keepalive.set(&self.socket)?;
        }
        begin_to_listen(&self.socket)
    }

    /// What is still to be done to a socket that was handed over, when the other server has let go of it.
    pub fn rest(&self) -> io::Result<Option<Rest>> {
        let keepalive = self.keepalive().filter(|_| self.is_handed);
        let rest = keepalive.map(|keepalive| {
            Ok::<_, io::Error>(Rest {
                socket: self.socket.try_clone()?,
                keepalive,
            })
        });
        rest.transpose()
    }

    /// What a TCP listener's connections inherit. Of the stream sockets only TCP's have an address with a
    /// port.
    fn keepalive(&self) -> Option<Keepalive> {
        let is_datagram = self.endpoint.address.transport() == Transport::Udp;
        let common = self.endpoint.common();
        (self.at.is_some() && !is_datagram).then_some(Keepalive {
            idle: common.keepalive,
            user_timeout: common.user_timeout,
        })
    }

    /// Where it is, if it is a datagram socket.
    pub fn datagram_address(&self) -> Option<SocketAddr> {
        let is_datagram = matches!(self.endpoint.address, Address::Udp(_));
        self.at.filter(|_| is_datagram)
    }

    fn of(endpoint: &Endpoint, socket: OwnedFd) -> Bound {
        Bound {
            endpoint: endpoint.clone(),
            socket,
            file: None,
            secure: None,
            place: endpoint.place(),
            secrets: None,
            content: None,
            at: None,
            is_handed: false,
            is_inherited: false,
        }
    }

    /// Sockets beside this one, at its address, so that each of so many processes has one of its own, as far as there can
    /// be any: a Unix socket has none beside it, and one that was inherited is its owner's to share, so it is for all.
    ///
    /// To be called by the user that has bound this one. Sockets there that another server hands over are taken before any
    /// is bound; and if those are another user's, beside whom we can bind none, they have to do.
    pub fn beside(&self, processes: u32, handed: &mut Handed) -> io::Result<Vec<Bound>> {
        let mut all = Vec::new();
        let Some(at) = self.at.filter(|_| !self.is_inherited) else {
            return Ok(all);
        };
        let transport = match self.endpoint.address {
            Address::Udp(_) => Transport::Udp,
            _ => Transport::Tcp,
        };
        while all.len() + 1 < processes as usize {
            let (socket, is_handed) = match handed.inet(transport, at, &self.place) {
                Some((socket, _)) => (socket, true),
                None => {
                    share_address(&self.socket)?;
                    let bind = match transport {
                        Transport::Udp => open_udp_beside,
                        _ => bind_tcp_beside,
                    };
                    match bind(at) {
                        Err(error)
                            if self.is_handed && error.kind() == io::ErrorKind::AddrInUse =>
                        {
                            return Ok(all);
                        }
                        bound => (bound?, false),
                    }
                }
            };
            all.push(Bound {
                place: self.place.clone(),
                secure: self.secure.clone(),
                secrets: self.secrets.clone(),
                content: self.content.clone(),
                at: Some(at),
                is_handed,
                ..Bound::of(&self.endpoint, socket)
            });
        }
        Ok(all)
    }

    /// The same, of a socket that another server has too.
    fn handed(self) -> Bound {
        Bound {
            is_handed: true,
            ..self
        }
    }
}

/// What is still to be done to a socket that was handed over.
#[derive(Debug)]
pub struct Rest {
    socket: OwnedFd,
    keepalive: Keepalive,
}

impl Rest {
    /// Does it.
    pub fn finish(self) -> io::Result<()> {
        self.keepalive.set(&self.socket)
    }
}

/// The sockets of one endpoint.
#[derive(Debug)]
pub(super) struct Sockets {
    pub(super) bound: Vec<Bound>,
    /// Which addresses of a host name this machine does not have.
    pub(super) absent: Vec<SocketAddr>,
}

/// Binds every address of an endpoint; `others` are what is bound already.
pub(super) fn bind(
    planned: &mut Planned,
    others: &[Bound],
    intent: Intent,
    handed: &mut Handed,
) -> Result<Sockets, Unserved> {
    let endpoint = &planned.endpoint;
    let one = |bound: Bound| {
        Ok(Sockets {
            bound: vec![bound],
            absent: Vec::new(),
        })
    };
    if let Some(socket) = planned.socket.take() {
        return one(Bound {
            at: planned.at.first().copied(),
            place: planned.place.clone(),
            is_handed: planned.is_handed,
            is_inherited: true,
            ..Bound::of(endpoint, socket)
        });
    }
    match &endpoint.address {
        Address::Tcp(name) | Address::Udp(name) => {
            addresses(endpoint, name, &planned.at, others, handed)
        }
        Address::Unix(UnixAddress::Path(path)) => {
            let is_rival = |other: &&Bound| {
                let file = other.file.as_ref().and_then(SocketFile::identity);
                file.is_some() && file == identity(path)
            };
            if let Some(rival) = others.iter().find(is_rival) {
                return Err(in_the_way(endpoint, &path.display(), rival));
            }
            let mode = endpoint.common.mode.unwrap_or(0o600);
            if let Some((socket, numbers)) = handed.path(path) {
                let file = SocketFile::handed(path, mode, numbers)
                    .map_err(|error| failed(endpoint, &path.display(), &error))?;
                return one(Bound {
                    file: Some(file),
                    ..Bound::of(endpoint, socket).handed()
                });
            }
            if handed.is_everything() {
                return Err(Unserved::failed(endpoint, NOT_HANDED));
            }
            let is_private = is_private_socket(path);
            let bound = SocketFile::bind(path, mode, is_private, intent);
            let (socket, file) = bound.map_err(|error| {
                let unserved = failed(endpoint, &path.display(), &error);
                match unserved {
                    Unserved::Failed(wrong) if is_private && is_hijacked(path) => {
                        Unserved::NotPrivate(wrong)
                    }
                    unserved => unserved,
                }
            })?;
            one(Bound {
                file: Some(file),
                ..Bound::of(endpoint, socket)
            })
        }
        Address::Unix(at @ UnixAddress::Abstract(name)) => {
            let is_rival = |other: &&Bound| other.endpoint.address == endpoint.address;
            if let Some(rival) = others.iter().find(is_rival) {
                return Err(in_the_way(endpoint, at, rival));
            }
            if let Some(socket) = handed.abstract_name(name.as_bytes()) {
                return one(Bound::of(endpoint, socket).handed());
            }
            if handed.is_everything() {
                return Err(Unserved::failed(endpoint, NOT_HANDED));
            }
            let socket =
                bind_abstract(name.as_bytes()).map_err(|error| failed(endpoint, at, &error))?;
            one(Bound::of(endpoint, socket))
        }
        Address::Fd(number) => Err(Unserved::failed(
            endpoint,
            format_args!("descriptor {number} was not adopted at start"),
        )),
    }
}

/// Binds each of the addresses that a host has. Of a name's, those that this machine does not have
/// are left out; an address that was written must be there.
fn addresses(
    endpoint: &Endpoint,
    name: &HostPort,
    all: &[SocketAddr],
    others: &[Bound],
    handed: &mut Handed,
) -> Result<Sockets, Unserved> {
    // A zone (`fe80::1%eth0`) makes no name: only the resolver reads it, and it is one address.
    let is_name = matches!(&name.host, Host::Name(name) if !name.contains(':'));
    let open = match endpoint.address {
        Address::Udp(_) => open_udp,
        _ => bind_tcp,
    };
    let mut bound: Vec<Bound> = Vec::new();
    let mut absent = Vec::new();
    let mut chosen = 0;
    let mut missing = None;
    for at in all {
        // A name with several addresses and port 0 gets one port for all of them.
        let port = if at.port() == 0 { chosen } else { at.port() };
        let mut at = *at;
        at.set_port(port);
        let taken = handed.inet(endpoint.address.transport(), at, &endpoint.place());
        let is_handed = taken.is_some();
        let opened = match taken {
            Some(taken) => Ok(taken),
            None if handed.is_everything() => Err(Errno::ADDRNOTAVAIL.into()),
            None => open(at).and_then(|socket| local_address(&socket).map(|at| (socket, at))),
        };
        match opened {
            Ok((socket, at)) => {
                chosen = at.port();
                let asked = endpoint.place();
                let endpoint = endpoint.clone().at(match endpoint.address {
                    Address::Udp(_) => Address::Udp(place(at)),
                    _ => Address::Tcp(place(at)),
                });
                bound.push(Bound {
                    at: Some(at),
                    place: asked,
                    is_handed,
                    is_inherited: is_handed && handed.is_activation(),
                    ..Bound::of(&endpoint, socket)
                });
            }
            Err(error) if is_name && is_absent(&error) => {
                absent.push(at);
                missing.get_or_insert((at, error));
            }
            Err(error) => {
                let transport = endpoint.address.transport();
                let rival = others.iter().find(|other| {
                    let theirs = other.endpoint.address.transport();
                    // An inherited stream socket may be a TCP socket.
                    let same = (theirs == Transport::Udp) == (transport == Transport::Udp);
                    same && other.at.is_some_and(|theirs| overlap(theirs, at))
                });
                return Err(match rival {
                    Some(rival) if error.kind() == io::ErrorKind::AddrInUse => {
                        in_the_way(endpoint, &at, rival)
                    }
                    _ => failed(endpoint, &at, &error),
                });
            }
        }
    }
    match missing {
        Some((at, error)) if bound.is_empty() => Err(failed(endpoint, &at, &error)),
        _ => Ok(Sockets { bound, absent }),
    }
}

/// Whether the directory of our private socket is there, and not ours alone.
fn is_hijacked(path: &Path) -> bool {
    let dir = path.parent().unwrap_or(Path::new("/"));
    let checked = check_private_dir(dir, geteuid().as_raw());
    checked.is_err_and(|wrong| wrong.kind() == io::ErrorKind::PermissionDenied)
}

/// Whether the machine has no such address, or none of that family at all.
fn is_absent(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::ADDRNOTAVAIL | Errno::AFNOSUPPORT)
    )
}

/// Whether two sockets at these addresses would be for the same packets: a wildcard has every
/// address of its family, and `[::]`, which is dual-stack, has every address.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let covers = |one: SocketAddr, other: SocketAddr| {
        one.ip().is_unspecified() && (one.is_ipv6() || other.is_ipv4())
    };
    let same_port = one.port() == other.port();
    same_port && (one.ip() == other.ip() || covers(one, other) || covers(other, one))
}

fn in_the_way(endpoint: &Endpoint, at: &dyn fmt::Display, rival: &Bound) -> Unserved {
    let rivals = [endpoint.address(), rival.endpoint.address()];
    let hears_both = rivals.iter().any(|address| match address {
        Address::Tcp(at) | Address::Udp(at) => at.host == Host::Ip(Ipv6Addr::UNSPECIFIED.into()),
        _ => false,
    });
    let hint = if hears_both {
        " ([::] is dual stack: it serves IPv4 too)"
    } else {
        ""
    };
    Unserved::refused(
        endpoint,
        format_args!(
            "cannot bind {at}: `{}` has that place already{hint}; each endpoint needs one of its own",
            rival.endpoint
        ),
    )
}

fn failed(endpoint: &Endpoint, at: &dyn fmt::Display, error: &io::Error) -> Unserved {
    let has_port = matches!(endpoint.address, Address::Tcp(_) | Address::Udp(_));
    let remedy = match error.kind() {
        io::ErrorKind::AddrInUse => "; stop what listens there, or choose another",
        io::ErrorKind::PermissionDenied if has_port => "; ports below 1024 are for root",
        io::ErrorKind::AddrNotAvailable => "; no interface of this machine has it",
        io::ErrorKind::NotFound if !has_port => "; no file can be made in its directory",
        _ => "",
    };
    Unserved::failed(endpoint, format_args!("cannot bind {at}: {error}{remedy}"))
}

fn local_address(socket: &OwnedFd) -> io::Result<SocketAddr> {
    Ok(SocketAddr::try_from(getsockname(socket)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_is_in_the_way_of_every_address_of_its_family() {
        let at = |text: &str| text.parse::<SocketAddr>().unwrap();
        for (one, other, expected) in [
            ("127.0.0.1:7", "127.0.0.1:7", true),
            ("127.0.0.1:7", "127.0.0.1:8", false),
            ("127.0.0.1:7", "127.0.0.2:7", false),
            ("0.0.0.0:7", "127.0.0.1:7", true),
            ("0.0.0.0:7", "[::1]:7", false),
            ("[::]:7", "[::1]:7", true),
            ("[::]:7", "127.0.0.1:7", true),
            ("[::]:7", "0.0.0.0:7", true),
            ("[::1]:7", "127.0.0.1:7", false),
        ] {
            assert_eq!(overlap(at(one), at(other)), expected, "{one} {other}");
            assert_eq!(overlap(at(other), at(one)), expected, "{other} {one}");
        }
    }

    fn bind_all(host: &str, all: &[&str]) -> Result<Sockets, String> {
        let endpoint: Endpoint = format!("echo://{host}:0?open=true").parse().unwrap();
        let Address::Tcp(name) = &endpoint.address else {
            panic!("echo goes over TCP");
        };
        let all: Vec<SocketAddr> = all.iter().map(|at| at.parse().unwrap()).collect();
        addresses(&endpoint, name, &all, &[], &mut Handed::default())
            .map_err(|wrong| wrong.to_string())
    }

    #[test]
    fn of_a_name_every_address_that_this_machine_has_is_bound() {
        let sockets = bind_all("name", &["192.0.2.1:0", "127.0.0.1:0", "127.0.0.2:0"]).unwrap();
        assert_eq!(sockets.absent, ["192.0.2.1:0".parse().unwrap()]);
        let ports: Vec<u16> = sockets.bound.iter().map(|b| b.at.unwrap().port()).collect();
        // One port for all of them.
        assert_eq!((ports.len(), ports[0]), (2, ports[1]));
    }

    #[test]
    fn a_name_without_an_address_here_and_an_address_that_was_written_are_errors() {
        for host in ["name", "192.0.2.1"] {
            let said = bind_all(host, &["192.0.2.1:0"]).unwrap_err();
            assert!(
                said.contains("no interface of this machine has it"),
                "{said}"
            );
        }
    }

    #[test]
    fn a_port_that_is_taken_is_an_error_of_a_name_too() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let taken = listener.local_addr().unwrap().to_string();
        let said = bind_all("name", &["127.0.0.2:0", &taken]).unwrap_err();
        assert!(said.contains("stop what listens there"), "{said}");
    }
}
