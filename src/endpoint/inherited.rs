//! Sockets that another process opened: adopted before anything of ours is, then judged by what
//! they turn out to be.
//!
//! A number that nobody passed would else be the number of a socket of ours.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, SocketType, getsockname, sockopt};

use super::activation::Activation;
use super::exposure::{Exposure, Reached, exposure};
use super::handed::Handed;
use super::unserved::Unserved;
use super::{Endpoint, place};
use crate::config::{Address, FdAddress, Transport};
use crate::reactor;

/// What became of each number that an endpoint names, or that has a name which one names.
#[derive(Debug)]
pub(super) struct Inherited {
    adopted: HashMap<i32, Adoption>,
    activation: Activation,
}

#[derive(Debug)]
enum Adoption {
    Here(OwnedFd),
    Missing(io::Error),
    /// By the endpoint that is written so.
    Taken(String),
}

/// An inherited socket that may be served.
#[derive(Debug)]
pub(super) struct Adopted {
    /// As the endpoint came to be: with the address of a datagram socket.
    pub(super) endpoint: Endpoint,
    pub(super) socket: OwnedFd,
    pub(super) exposure: Exposure,
    /// Where it is; nowhere for a Unix socket.
    pub(super) at: Option<SocketAddr>,
}

impl Inherited {
    /// Adopts every descriptor that one of these endpoints names. Called at start, before anything
    /// of our own is open.
    pub(super) fn adopt(endpoints: &[Endpoint], activation: Activation) -> Inherited {
        let mut adopted = HashMap::new();
        for endpoint in endpoints {
            let numbers = match endpoint.address() {
                Address::Fd(FdAddress::Number(number)) => vec![*number],
                Address::Fd(FdAddress::Name(name)) => activation.named(name).unwrap_or_default(),
                _ => continue,
            };
            for number in numbers {
                adopted
                    .entry(number)
                    .or_insert_with(|| match reactor::inherited(number) {
                        Ok(socket) => Adoption::Here(socket),
                        Err(error) => Adoption::Missing(error),
                    });
            }
        }
        Inherited {
            adopted,
            activation,
        }
    }

    /// How many descriptors an endpoint has: several may have the name that it is written with.
    pub(super) fn count(&self, endpoint: &Endpoint) -> usize {
        match endpoint.address() {
            Address::Fd(FdAddress::Name(name)) => self
                .activation
                .named(name)
                .map_or(1, |numbers| numbers.len()),
            _ => 1,
        }
    }

    /// Sockets that were handed over and that no endpoint takes by number or name.
    pub(super) fn others(&self, endpoints: &[Endpoint]) -> Handed {
        self.activation.others(endpoints)
    }

    /// Hands over the descriptor of this endpoint, or the next that has its name.
    pub(super) fn take_next(
        &mut self,
        endpoint: &Endpoint,
        which: &FdAddress,
        is_root: bool,
    ) -> Result<Adopted, Unserved> {
        let number = match which {
            FdAddress::Number(number) => *number,
            FdAddress::Name(name) => {
                let numbers = self
                    .activation
                    .named(name)
                    .map_err(|why| Unserved::failed(endpoint, why))?;
                let is_free =
                    |number: &&i32| !matches!(self.adopted.get(*number), Some(Adoption::Taken(_)));
                // All are taken: by which endpoint, the first tells.
                let next = numbers.iter().find(is_free).or(numbers.first());
                *next.ok_or_else(|| Unserved::failed(endpoint, "no descriptor has that name"))?
            }
        };
        self.take(endpoint, number, is_root)
    }

    /// Hands over the descriptor of this endpoint, if it is what the service needs and where the
    /// endpoint may be.
    fn take(
        &mut self,
        endpoint: &Endpoint,
        number: i32,
        is_root: bool,
    ) -> Result<Adopted, Unserved> {
        let taken = Adoption::Taken(endpoint.to_string());
        match self.adopted.insert(number, taken) {
            Some(Adoption::Here(socket)) => {
                judge(endpoint, &format!("descriptor {number}"), socket, is_root)
            }
            Some(Adoption::Taken(rival)) => Err(Unserved::refused(
                endpoint,
                format_args!(
                    "descriptor {number} is that of `{rival}` already; each endpoint needs one of its own"
                ),
            )),
            Some(Adoption::Missing(error)) if error.raw_os_error().is_some() => {
                Err(Unserved::failed(
                    endpoint,
                    format_args!("no descriptor {number} was inherited"),
                ))
            }
            Some(Adoption::Missing(error)) => Err(Unserved::failed(endpoint, error)),
            None => Err(Unserved::failed(
                endpoint,
                format_args!("descriptor {number} was not adopted at start"),
            )),
        }
    }
}

/// Whether a socket that another process opened is what the service needs, and where the endpoint may be.
pub(super) fn judge(
    endpoint: &Endpoint,
    name: &str,
    socket: OwnedFd,
    is_root: bool,
) -> Result<Adopted, Unserved> {
    let is_stream = is_stream(endpoint, &socket)
        .map_err(|wrong| Unserved::failed(endpoint, format_args!("{name} {wrong}")))?;
    // Only a Unix socket has peers whose user the kernel knows: another family that has no address
    // of ours (vsock) must not pass for one, and with it for private.
    let (over, at) = match (sockopt::socket_domain(&socket), local_address(&socket)) {
        (Ok(AddressFamily::UNIX), _) if is_stream => (Transport::Unix, None),
        (Ok(AddressFamily::INET | AddressFamily::INET6), Ok(at)) if is_stream => {
            (Transport::Tcp, Some(at))
        }
        (Ok(AddressFamily::INET | AddressFamily::INET6), Ok(at)) => (Transport::Udp, Some(at)),
        _ => {
            return Err(Unserved::failed(
                endpoint,
                format_args!("{name} is neither a TCP, UDP nor Unix stream socket"),
            ));
        }
    };
    let address = match at {
        Some(at) if !is_stream => Address::Udp(place(at)),
        _ => endpoint.address().clone(),
    };
    // Which options it takes is known only now.
    let found = endpoint.over(over, address).map_err(|trouble| {
        Unserved::refused(
            endpoint,
            format_args!("{name} is a {over} socket; {trouble}"),
        )
    })?;
    let reached = at.map_or(Reached::Unix, Reached::Inet);
    let exposure = exposure(&found, reached, is_root)
        .map_err(|refusal| Unserved::refused(endpoint, refusal))?;
    Ok(Adopted {
        endpoint: found,
        socket,
        exposure,
        at,
    })
}

/// Whether it is a stream socket, and one that this service can be served over; else what it is.
fn is_stream(endpoint: &Endpoint, socket: &OwnedFd) -> Result<bool, String> {
    let row = endpoint.row();
    let name = row.name;
    let kind = sockopt::socket_type(socket).map_err(|errno| match errno {
        rustix::io::Errno::NOTSOCK => "is not a socket".to_owned(),
        errno => format!("cannot be examined: {}", io::Error::from(errno)),
    })?;
    match kind {
        SocketType::STREAM if row.stream.is_none() => {
            Err(format!("is a stream socket, and `{name}` is for datagrams"))
        }
        SocketType::STREAM if !sockopt::socket_acceptconn(socket).unwrap_or(false) => {
            Err("does not listen; the process that opens it calls listen()".into())
        }
        SocketType::STREAM => Ok(true),
        SocketType::DGRAM if row.datagrams.is_none() => Err(format!(
            "is a datagram socket, and `{name}` needs a listening stream socket"
        )),
        SocketType::DGRAM => Ok(false),
        _ => Err("is neither a stream nor a datagram socket".into()),
    }
}

fn local_address(socket: &OwnedFd) -> io::Result<SocketAddr> {
    Ok(SocketAddr::try_from(getsockname(socket)?)?)
}
