//! From what was asked for to what would be bound: names resolved, every result judged.
//!
//! Binds nothing, and waits for nothing but what it is given to ask: the machine at start, a record of it
//! while the loop runs.

use std::collections::HashSet;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::Endpoint;
use super::exposure::{Exposure, Reach, Reached, exposure};
use super::inherited::{Adopted, Inherited};
use super::tls::secure;
use super::unserved::Unserved;
use crate::config::{Address, ConfigError, HostPort, Limits, Lookups};
use crate::reactor::Secure;
use crate::service::Secrets;

/// An endpoint that may be served, and where.
#[derive(Debug)]
pub(super) struct Planned {
    /// The endpoint; if its descriptor was inherited, as it came to be.
    pub(super) endpoint: Endpoint,
    /// The addresses to bind, or that of the inherited socket; none for a Unix socket.
    pub(super) at: Vec<SocketAddr>,
    /// Who can reach it.
    pub(super) exposure: Exposure,
    /// The inherited socket.
    pub(super) socket: Option<OwnedFd>,
    /// What begins the sessions of its connections.
    pub(super) secure: Option<Arc<dyn Secure>>,
    /// The transport and the address as they were asked for.
    /// [Service, transport and address](Endpoint::place) as they were asked for.
    pub(super) place: String,
    /// Whether another server has the inherited socket too, and serves it.
    pub(super) is_handed: bool,
    /// What its connections have to prove.
    pub(super) secrets: Option<Secrets>,
    /// The content of the file that its service reads.
    pub(super) file: Option<Arc<[u8]>>,
}

/// Resolves an endpoint and judges every address it resolves to.
pub(super) fn plan(
    endpoint: &Endpoint,
    inherited: &mut Inherited,
    lookups: &mut Lookups,
    is_root: bool,
) -> Result<Planned, Unserved> {
    let judge = |at: Reached| {
        exposure(endpoint, at, is_root).map_err(|refusal| Unserved::refused(endpoint, refusal))
    };
    let secure = secure(endpoint, lookups)?;
    let (at, exposure) = match &endpoint.address {
        Address::Tcp(name) | Address::Udp(name) => {
            let at = resolve(name, lookups).map_err(|wrong| {
                let problem = format!("`{name}` cannot be resolved: {wrong}");
                Unserved::failed(endpoint, problem)
            })?;
            let widest = widest(&at, |at| judge(Reached::Inet(at)))?;
            let exposure = widest.ok_or_else(|| Unserved::failed(endpoint, "it has no address"))?;
            (at, exposure)
        }
        Address::Unix(_) => (Vec::new(), judge(Reached::Unix)?),
        Address::Fd(which) => {
            // A helper, which has no such descriptor, reads what the endpoint names all the same.
            secrets(endpoint, lookups)?;
            file(endpoint, lookups)?;
            let adopted = inherited.take_next(endpoint, which, is_root)?;
            return Planned::adopted(endpoint, adopted, secure, lookups);
        }
    };
    probe(endpoint)?;
    Ok(Planned {
        endpoint: endpoint.clone(),
        at,
        exposure,
        socket: None,
        secure,
        secrets: secrets(endpoint, lookups)?,
        file: file(endpoint, lookups)?,
        place: endpoint.place(),
        is_handed: false,
    })
}

/// What the service needs besides a socket.
fn probe(endpoint: &Endpoint) -> Result<(), Unserved> {
    let probed = endpoint.probe();
    probed.map_err(|missing| Unserved::failed(endpoint, missing))
}

impl Planned {
    /// An endpoint whose socket another process opened.
    pub(super) fn adopted(
        asked: &Endpoint,
        adopted: Adopted,
        secure: Option<Arc<dyn Secure>>,
        lookups: &mut Lookups,
    ) -> Result<Planned, Unserved> {
        probe(&adopted.endpoint)?;
        Ok(Planned {
            secrets: secrets(&adopted.endpoint, lookups)?,
            file: file(&adopted.endpoint, lookups)?,
            endpoint: adopted.endpoint,
            at: adopted.at.into_iter().collect(),
            exposure: adopted.exposure,
            socket: Some(adopted.socket),
            secure,
            place: asked.place(),
            is_handed: false,
        })
    }
}

/// The secrets of an endpoint that may be served: one that cannot have them must not be.
fn secrets(endpoint: &Endpoint, lookups: &mut Lookups) -> Result<Option<Secrets>, Unserved> {
    endpoint.secrets(lookups).map_err(Unserved::Refused)
}

/// The content of the file that the service of an endpoint reads.
fn file(endpoint: &Endpoint, lookups: &mut Lookups) -> Result<Option<Arc<[u8]>>, Unserved> {
    endpoint.file(lookups).map_err(Unserved::Refused)
}

/// Who can reach an endpoint by whichever of its addresses; none of them may be refused.
fn widest(
    all: &[SocketAddr],
    judge: impl Fn(SocketAddr) -> Result<Exposure, Unserved>,
) -> Result<Option<Exposure>, Unserved> {
    let mut widest = None;
    for at in all {
        let one = judge(*at)?;
        if one.reach == Reach::Open {
            widest = Some(one);
        }
        widest.get_or_insert(one);
    }
    Ok(widest)
}

/// All addresses of a host and port, each once, in the resolver's order.
///
/// An IPv4 address in an IPv6 dress (`::ffff:127.0.0.1`) is that IPv4 address: an IPv6 socket at it
/// would hear nothing but IPv4, and could not be told from one that is in its way.
fn resolve(name: &HostPort, lookups: &mut Lookups) -> io::Result<Vec<SocketAddr>> {
    let mut at = lookups.host(name)?;
    for at in &mut at {
        if let Some(ip) = at
            .ip()
            .to_canonical()
            .is_ipv4()
            .then(|| at.ip().to_canonical())
        {
            *at = SocketAddr::new(ip, at.port());
        }
    }
    let mut seen = HashSet::new();
    at.retain(|at| seen.insert(*at));
    Ok(at)
}

/// How many connections there can be in all, where the limits and what every endpoint asks for fit.
///
/// `nofile` is the descriptor limit that the server would have, or each of its `processes`, whose limits these are then.
pub(super) fn connections_max(
    planned: &[&Planned],
    limits: &Limits,
    nofile: u64,
    processes: u32,
) -> Result<u32, ConfigError> {
    limits.validate()?;
    for planned in planned {
        planned.endpoint.fits(limits)?;
    }
    let listeners = planned.iter().map(|planned| planned.at.len().max(1)).sum();
    let files = planned.iter().map(|planned| planned.endpoint.descriptors());
    let capacity = limits.capacity(nofile, listeners, files.sum())?;
    let of_one = |planned: &Planned| {
        let asked = planned.endpoint.common.max_connections;
        asked.map(|asked| asked.div_ceil(processes.max(1)))
    };
    let too_many = |planned: &&&Planned| of_one(planned) > Some(capacity);
    match planned.iter().find(too_many) {
        None => Ok(capacity),
        Some(planned) => {
            let asked = of_one(planned).unwrap_or_default();
            Err(ConfigError::at(
                &planned.endpoint,
                format!(
                    "option `max-connections`: {asked} is more than the {capacity} that are allowed in all; raise `ulimit -n` (or `connections` of the limits), or ask for less"
                ),
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::activation::Activation;

    fn planned(url: &str) -> Result<Planned, String> {
        let endpoint: Endpoint = url.parse().unwrap_or_else(|wrong| panic!("{wrong}"));
        let mut inherited = Inherited::adopt(&[], Activation::Absent);
        plan(&endpoint, &mut inherited, &mut Lookups::live(), false)
            .map_err(|wrong| wrong.to_string())
    }

    #[test]
    fn every_address_of_a_name_is_judged() {
        let local = planned("command://localhost:0?auth=none").unwrap();
        assert!(!local.at.is_empty());
        assert!(local.at.iter().all(|at| at.ip().is_loopback()));
        assert_eq!(local.exposure.reach, Reach::Loopback);
    }

    #[test]
    fn a_name_is_served_as_the_widest_of_its_addresses_allows() {
        let judge = |url: &str, all: [&str; 3]| {
            let endpoint: Endpoint = url.parse().unwrap();
            let all = all.map(|at| at.parse().unwrap());
            let widest = widest(&all, |at| {
                exposure(&endpoint, Reached::Inet(at), false)
                    .map_err(|refusal| Unserved::refused(&endpoint, refusal))
            });
            widest.map(|exposure| exposure.unwrap().reach)
        };
        let loopback = ["127.0.0.1:1", "[::1]:1", "127.0.0.2:1"];
        assert_eq!(judge("echo://h:1", loopback), Ok(Reach::Loopback));
        // Where the one is that is not loopback makes no difference.
        for at in 0..3 {
            let mut all = loopback;
            all[at] = "192.0.2.1:1";
            assert_eq!(judge("echo://h:1?open=true", all), Ok(Reach::Open));
            assert!(judge("echo://h:1", all).is_err());
            assert!(judge("command://h:1?auth=none&open=true", all).is_err());
        }
    }

    #[test]
    fn a_refusal_names_the_endpoint() {
        let said = planned("chat://0.0.0.0:9001").unwrap_err();
        assert!(
            said.starts_with("endpoint `chat://0.0.0.0:9001`: 0.0.0.0 is not"),
            "{said}"
        );
    }

    #[test]
    fn a_mapped_address_is_bound_as_ipv4() {
        let local = planned("echo://[::ffff:127.0.0.1]:7").unwrap();
        assert_eq!(local.at, ["127.0.0.1:7".parse().unwrap()]);
        let said = planned("echo://[::ffff:0.0.0.0]:7").unwrap_err();
        assert!(said.contains("0.0.0.0 is not a loopback address"), "{said}");
    }

    #[test]
    fn the_output_of_a_command_must_fit_all_buffers() {
        let limits = Limits::default();
        let judge = |url: &str| {
            let planned = planned(url).unwrap();
            connections_max(&[&planned], &limits, 1024, 1).map_err(|wrong| wrong.to_string())
        };
        assert!(judge("command://127.0.0.1:0?auth=none&framing=i32&max-output=256M").is_ok());
        let said = judge("command://127.0.0.1:0?auth=none&framing=i32&max-output=257M");
        let said = said.unwrap_err();
        assert!(
            said.starts_with("endpoint `command://127.0.0.1:0?")
                && said.contains("`max-output`: 257M is above the limit `buffers` of 256M"),
            "{said}"
        );
    }

    #[test]
    fn max_connections_must_fit_the_total() {
        let total = |url: String| {
            let planned = planned(&url).unwrap();
            connections_max(&[&planned], &Limits::default(), 1024, 1)
        };
        let left = 1024 - (64 + 4 * 16 + 1);
        assert_eq!(
            total(format!("echo://127.0.0.1:0?max-connections={left}")),
            Ok(left)
        );
        // A listener for each address that a name has.
        let mut several = planned("echo://127.0.0.1:0").unwrap();
        several.at = vec!["127.0.0.1:1".parse().unwrap(); 5];
        let fewer = connections_max(&[&several, &several], &Limits::default(), 1024, 1);
        assert_eq!(fewer, Ok(left + 1 - 10));
        let wrong = total(format!("echo://127.0.0.1:0?max-connections={}", left + 1));
        let said = wrong.unwrap_err().to_string();
        assert!(said.contains(&format!("more than the {left}")), "{said}");
    }
}
