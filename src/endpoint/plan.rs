//! From what was asked for to what would be bound: names resolved, every result judged.
//!
//! Knows the resolver, which may wait, so this is for the start and not for the loop. Binds
//! nothing. The order for a server: [`plan`] each endpoint, [`check_together`], then bind, so
//! that nothing is half started.

use std::collections::HashSet;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};

use thiserror::Error;

use super::Endpoint;
use super::exposure::{Exposure, Reach, Reached, exposure};
use crate::config::ConfigError;
use crate::config::Limits;
use crate::config::{Address, Host, HostPort, Transport};

/// An endpoint that may be served, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// The endpoint.
    pub endpoint: Endpoint,
    /// The addresses to bind, all of them; none for a Unix socket and an inherited descriptor.
    pub at: Vec<SocketAddr>,
    /// Who can reach it. Absent for an inherited descriptor: whoever adopts it asks it for its
    /// address, and then [`exposure`].
    pub exposure: Option<Exposure>,
}

/// An endpoint cannot be served.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PlanError {
    /// It must not: wrong configuration, exit code 2.
    #[error(transparent)]
    Refused(ConfigError),
    /// Its name is unknown to the resolver, here and now: exit code 1.
    #[error(transparent)]
    Unresolved(ConfigError),
}

/// Resolves an endpoint and judges every address it resolves to.
pub fn plan(endpoint: &Endpoint, is_root: bool) -> Result<Planned, PlanError> {
    let judge = |at: Reached| {
        exposure(endpoint, at, is_root)
            .map_err(|refusal| PlanError::Refused(ConfigError::at(endpoint, refusal.to_string())))
    };
    let (at, exposure) = match &endpoint.address {
        Address::Tcp(name) | Address::Udp(name) => {
            let at = resolve(name).map_err(|wrong| {
                let problem = format!("`{name}` cannot be resolved: {wrong}");
                PlanError::Unresolved(ConfigError::at(endpoint, problem))
            })?;
            let mut widest: Option<Exposure> = None;
            for at in &at {
                let one = judge(Reached::Inet(*at))?;
                if widest.is_none() || one.reach == Reach::Open {
                    widest = Some(one);
                }
            }
            (at, widest)
        }
        Address::Unix(_) => (Vec::new(), Some(judge(Reached::Unix)?)),
        Address::Fd(_) => (Vec::new(), None),
    };
    Ok(Planned {
        endpoint: endpoint.clone(),
        at,
        exposure,
    })
}

/// All addresses of a host and port, each once, in the resolver's order; never none.
pub fn resolve(name: &HostPort) -> io::Result<Vec<SocketAddr>> {
    let mut at: Vec<SocketAddr> = match &name.host {
        Host::Ip(ip) => vec![SocketAddr::new(*ip, name.port)],
        Host::Name(host) => (host.as_str(), name.port).to_socket_addrs()?.collect(),
    };
    let mut seen = HashSet::new();
    at.retain(|at| seen.insert(*at));
    if at.is_empty() {
        Err(io::Error::new(io::ErrorKind::NotFound, "it has no address"))
    } else {
        Ok(at)
    }
}

/// What no endpoint is wrong about alone: two at one place, and limits that do not hold them.
///
/// `nofile` is the descriptor limit that the server would have. Returns how many connections
/// there can be in all.
pub fn check_together(
    planned: &[Planned],
    limits: &Limits,
    nofile: u64,
) -> Result<u32, ConfigError> {
    let mut taken = HashSet::new();
    for planned in planned {
        let twice = |place: String| {
            ConfigError::at(
                &planned.endpoint,
                format!("{place} is asked for twice; each endpoint needs a place of its own"),
            )
        };
        let transport = planned.endpoint.address.transport();
        match transport {
            Transport::Tcp | Transport::Udp => {
                for at in planned.at.iter().filter(|at| at.port() != 0) {
                    if !taken.insert((transport, at.to_string())) {
                        return Err(twice(format!("{transport} {at}")));
                    }
                }
            }
            Transport::Unix | Transport::Fd => {
                let place = planned.endpoint.address.to_string();
                if !taken.insert((transport, place.clone())) {
                    return Err(twice(format!("{transport} {place}")));
                }
            }
        }
    }
    limits.validate()?;
    let listeners = planned.iter().map(|planned| planned.at.len().max(1)).sum();
    let capacity = limits.capacity(nofile, listeners)?;
    for planned in planned {
        if let Some(asked) = planned
            .endpoint
            .common
            .max_connections
            .filter(|n| *n > capacity)
        {
            return Err(ConfigError::at(
                &planned.endpoint,
                format!(
                    "option `max-connections`: {asked} is more than the {capacity} that are allowed in all; raise `ulimit -n` (or `connections` of the limits), or ask for less"
                ),
            ));
        }
    }
    Ok(capacity)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(url: &str) -> Planned {
        let endpoint = url.parse().unwrap_or_else(|wrong| panic!("{wrong}"));
        plan(&endpoint, false).unwrap_or_else(|wrong| panic!("{wrong}"))
    }

    fn together(urls: &[&str]) -> Result<u32, String> {
        let all: Vec<Planned> = urls.iter().copied().map(planned).collect();
        check_together(&all, &Limits::default(), 1024).map_err(|wrong| wrong.to_string())
    }

    #[test]
    fn every_address_of_a_name_is_judged() {
        let local = planned("command://localhost:0?auth=none");
        assert!(!local.at.is_empty());
        assert!(local.at.iter().all(|at| at.ip().is_loopback()));
        assert_eq!(local.exposure.map(|e| e.reach), Some(Reach::Loopback));
    }

    #[test]
    fn a_refusal_names_the_endpoint() {
        let endpoint = "chat://0.0.0.0:9001".parse().unwrap();
        let Err(PlanError::Refused(wrong)) = plan(&endpoint, false) else {
            panic!("a wildcard is not loopback");
        };
        let said = wrong.to_string();
        assert!(
            said.starts_with("endpoint `chat://0.0.0.0:9001`: 0.0.0.0 is not"),
            "{said}"
        );
    }

    #[test]
    fn two_endpoints_cannot_share_a_place() {
        let ok = [
            "echo://127.0.0.1:9",
            "echo+udp://127.0.0.1:9",
            "chat://127.0.0.2:9",
        ];
        assert!(together(&ok).is_ok());
        assert!(together(&["echo://127.0.0.1:0", "chat://127.0.0.1:0"]).is_ok());
        for (one, other) in [
            ("echo://127.0.0.1:9", "chat://127.0.0.1:9"),
            ("time://127.0.0.1:9", "echo+udp://127.0.0.1:9"),
            ("echo+unix:///a", "chat+unix:///a"),
            ("echo+fd://3", "time+fd://3"),
        ] {
            let said = together(&[one, other]).unwrap_err();
            assert!(
                said.contains("asked for twice") && said.contains(other),
                "{said}"
            );
        }
    }

    #[test]
    fn max_connections_must_fit_the_total() {
        let left = 1024 - (64 + 4 * 16 + 1);
        assert_eq!(
            together(&[&format!("echo://127.0.0.1:0?max-connections={left}")]),
            Ok(left)
        );
        let said =
            together(&[&format!("echo://127.0.0.1:0?max-connections={}", left + 1)]).unwrap_err();
        assert!(said.contains(&format!("more than the {left}")), "{said}");
    }
}
