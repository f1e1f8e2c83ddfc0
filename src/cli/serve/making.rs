//! From a socket that was bound to an endpoint that is served.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use jiff::tz::TimeZone;
use rustix::process::geteuid;

use super::open_socket::OpenSocket;
use crate::cli::Failure;
use crate::config::{Address, Limits};
use crate::endpoint::{Bound, Common, Endpoint};
use crate::reactor::{
    AddressRules, DatagramOptions, DatagramSocket, DatagramsId, Epoll, ListenerOptions, Reactor,
    ServiceId, SocketId, SourceRules,
};
use crate::service::{Bus, Datagrams, Occasion, Service, Setting};

/// What endpoints are made with besides their own options.
#[derive(Debug)]
pub(super) struct Making<'a> {
    pub(super) limits: &'a Limits,
    pub(super) zone: &'a TimeZone,
    /// By what servers share their rooms.
    pub(super) bus: Option<&'a Arc<Bus>>,
    /// This process's own datagram sockets.
    pub(super) own: &'a [SocketAddr],
    /// How many processes serve the same endpoints.
    pub(super) processes: u32,
    /// Why they are made.
    pub(super) occasion: Occasion,
}

/// What serves an endpoint, and is not known to the loop yet.
#[derive(Debug)]
pub(super) enum Made {
    Stream(Box<dyn Service>),
    Datagrams(Box<dyn Datagrams>),
}

impl Making<'_> {
    /// What serves it.
    pub(super) fn make(&self, bound: &Bound) -> Result<Made, Failure> {
        let endpoint = &bound.endpoint;
        let setting = Setting {
            limits: self.limits,
            zone: self.zone,
            is_open: endpoint.common().open,
            bus: self.bus,
        };
        let is_alone = endpoint.set().is_none();
        let at = bound.datagram_address();
        Ok(if is_datagram(endpoint) && is_alone {
            let mut service = endpoint.datagrams(&setting)?;
            if let Some(at) = at {
                service.bound_to(at);
            }
            Made::Datagrams(service)
        } else {
            let mut service = endpoint.service(&setting, bound.secrets.clone())?;
            if let (Some(at), Some(half)) = (at, service.datagrams()) {
                half.bound_to(at);
            }
            service
                .prepare(self.occasion)
                .map_err(|missing| anyhow::anyhow!("endpoint `{endpoint}`: {missing}"))?;
            Made::Stream(service)
        })
    }

    /// Opens the socket that was bound to the service that was asked for.
    pub(super) fn open(
        &self,
        reactor: &mut Reactor<Epoll>,
        bound: Bound,
    ) -> Result<OpenSocket, Failure> {
        bound
            .begin()
            .with_context(|| format!("{}: cannot listen", bound.endpoint))?;
        let made = self.make(&bound)?;
        self.watch(reactor, bound, made)
    }

    /// Has the loop serve a socket that listens already.
    pub(super) fn watch(
        &self,
        reactor: &mut Reactor<Epoll>,
        mut bound: Bound,
        made: Made,
    ) -> Result<OpenSocket, Failure> {
        let (place, file) = (bound.place.clone(), bound.file.take());
        let (endpoint, name) = (bound.endpoint.clone(), bound.endpoint.to_string());
        let answers = match made {
            Made::Datagrams(service) => Ok(reactor.add_datagrams(service)),
            Made::Stream(service) => match endpoint.set().filter(|_| is_datagram(&endpoint)) {
                Some(set) => Ok(reactor.datagrams_of_service(set, service)),
                None => Err(service),
            },
        };
        let socket = match answers {
            Ok(answers) => {
                let options = self.datagrams(&endpoint, answers);
                let socket = DatagramSocket::new(bound.socket)
                    .and_then(|socket| reactor.answer(socket, options))
                    .context(name)?;
                SocketId::Datagram(socket)
            }
            Err(service) => {
                let service = match endpoint.set() {
                    Some(set) => reactor.share(set, service),
                    None => reactor.add(service),
                };
                let options = self.listener(&bound, service);
                SocketId::Listener(reactor.listen(bound.socket, options).context(name)?)
            }
        };
        Ok(OpenSocket {
            place,
            socket,
            file,
            endpoint: Some(endpoint),
        })
    }

    pub(super) fn datagrams(&self, endpoint: &Endpoint, service: DatagramsId) -> DatagramOptions {
        DatagramOptions {
            name: endpoint.to_string(),
            service,
            own: self.own.to_vec(),
            addresses: addresses(endpoint.common()),
        }
    }

    pub(super) fn listener(&self, bound: &Bound, service: ServiceId) -> ListenerOptions {
        let endpoint = &bound.endpoint;
        let common = endpoint.common();
        let is_local = matches!(endpoint.address(), Address::Unix(_) | Address::Fd(_));
        ListenerOptions {
            name: endpoint.to_string(),
            service,
            connections_max: common
                .max_connections
                .map_or(usize::MAX, |max| max.div_ceil(self.processes) as usize),
            idle: common.idle_timeout,
            only_uid: (is_local && !common.any_user).then(|| geteuid().as_raw()),
            and_root: false,
            sources: SourceRules {
                addresses: addresses(common),
                connections_max: common.max_per_source,
                rate: common.rate_per_source,
            },
            secure: bound.secure.clone(),
            is_beside_limit: false,
            terms: endpoint.terms(bound.secrets.clone(), bound.content.clone()),
        }
    }
}

/// Whether its socket is a datagram socket: an inherited one has its address by now.
pub(super) fn is_datagram(endpoint: &Endpoint) -> bool {
    matches!(endpoint.address(), Address::Udp(_))
}

/// The addresses that an endpoint serves.
fn addresses(common: &Common) -> AddressRules {
    AddressRules {
        allow: common.allow_from.clone(),
        deny: common.deny_from.clone(),
    }
}
