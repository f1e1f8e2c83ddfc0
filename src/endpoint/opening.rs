//! All endpoints together: adopted, planned and bound, or why not.
//!
//! `serve` and `check` both call this, so that one accepts exactly what the other does.

use std::net::SocketAddr;

use rustix::process::geteuid;

use super::Endpoint;
use super::bind::{Bound, bind};
use super::exposure::Exposure;
use super::inherited::Inherited;
use super::plan::{Planned, connections_max, plan};
use super::socket_file::Intent;
use super::unserved::Unserved;
use crate::config::{ConfigError, Limits};

/// What became of the endpoints that were asked for.
#[derive(Debug)]
pub struct Opening {
    /// Each of them, in the order in which it was asked for.
    pub attempts: Vec<Attempt>,
    /// Every socket that was bound. None, if an endpoint or the limits were refused.
    pub bound: Vec<Bound>,
    /// How many connections there can be in all.
    pub connections_max: Result<u32, ConfigError>,
}

/// What became of one endpoint.
#[derive(Debug)]
pub struct Attempt {
    /// As it was asked for.
    pub endpoint: Endpoint,
    /// The addresses that its host has here, or that its inherited socket has.
    pub at: Vec<SocketAddr>,
    /// Addresses of its host that this machine does not have.
    pub absent: Vec<SocketAddr>,
    /// Who can reach it, if it may be served.
    pub exposure: Option<Exposure>,
    /// Why it is not served.
    pub unserved: Option<Unserved>,
}

impl Opening {
    /// Adopts what was inherited, judges every endpoint, and only if none is refused, binds them.
    ///
    /// To be called before anything else is opened: an inherited descriptor that is not there would be
    /// something of ours. `nofile` is the descriptor limit that the server has.
    pub fn of(endpoints: &[Endpoint], limits: &Limits, nofile: u64, intent: Intent) -> Opening {
        let mut inherited = Inherited::adopt(endpoints);
        let is_root = geteuid().is_root();
        let mut plans: Vec<Result<Planned, Unserved>> = endpoints
            .iter()
            .map(|endpoint| plan(endpoint, &mut inherited, is_root))
            .collect();
        let planned: Vec<&Planned> = plans.iter().flatten().collect();
        let connections_max = connections_max(&planned, limits, nofile);
        let is_refused = connections_max.is_err()
            || plans
                .iter()
                .any(|plan| matches!(plan, Err(Unserved::Refused(_))));
        let mut bound = Vec::new();
        let mut attempts = Vec::new();
        for (endpoint, plan) in endpoints.iter().zip(&mut plans) {
            let mut attempt = Attempt {
                endpoint: endpoint.clone(),
                at: Vec::new(),
                absent: Vec::new(),
                exposure: None,
                unserved: None,
            };
            match plan {
                Err(unserved) => attempt.unserved = Some(unserved.clone()),
                Ok(planned) => {
                    attempt.exposure = Some(planned.exposure);
                    if !is_refused {
                        match bind(planned, &bound, intent) {
                            Err(unserved) => attempt.unserved = Some(unserved),
                            Ok(sockets) => {
                                planned.at.retain(|at| !is_among(*at, &sockets.absent));
                                attempt.absent = sockets.absent;
                                bound.extend(sockets.bound);
                            }
                        }
                    }
                    attempt.at.clone_from(&planned.at);
                }
            }
            attempts.push(attempt);
        }
        Opening {
            attempts,
            bound,
            connections_max,
        }
    }
}

impl Attempt {
    /// Which of a host name's addresses are not served, in one line.
    pub fn absence(&self) -> Option<String> {
        let list = |at: &[SocketAddr]| {
            let list: Vec<String> = at.iter().map(SocketAddr::to_string).collect();
            list.join(" and ")
        };
        (!self.absent.is_empty()).then(|| {
            format!(
                "this machine has no {}; served at {}",
                list(&self.absent),
                list(&self.at)
            )
        })
    }
}

/// Whatever the port: the system may have chosen one.
fn is_among(at: SocketAddr, absent: &[SocketAddr]) -> bool {
    absent.iter().any(|absent| absent.ip() == at.ip())
}
