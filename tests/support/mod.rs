//! What the tests share: servers that run, the other side of a connection, servers that keep to a
//! script, and programs run to their end. Every wait has a deadline.

#![allow(dead_code, reason = "every test program takes what it needs")]

pub(crate) mod peer;
pub(crate) mod process;
pub(crate) mod program;
pub(crate) mod script;
pub(crate) mod server;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

/// Any free port of this machine.
pub(crate) const ANY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Nothing that is awaited takes as long, however busy the machine is.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);
