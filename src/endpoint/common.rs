//! The options that every endpoint has, whatever it serves.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::{Transport, Trouble, with};
use crate::service::Row;

/// Options that do not depend on the service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Common {
    /// A connection that says nothing for this long is closed; absent (`off`): never.
    #[serde(with = "with::some_time_or_off")]
    pub idle_timeout: Option<Duration>,
    /// Connections this endpoint takes at once; absent: what the total allows.
    pub max_connections: Option<u32>,
    /// Serve off loopback without a secret.
    pub open: bool,
    /// How a connection proves who it is; absent: not said, which `command` over TCP refuses.
    pub auth: Option<Auth>,
    /// The mode of a Unix socket's file; absent: 0600.
    #[serde(with = "with::mode_or_absent")]
    pub mode: Option<u32>,
    /// Whether a Unix socket serves other users of this machine too.
    pub any_user: bool,
}

impl Common {
    /// Whether an option of this name means anything over this transport; else why not.
    pub(super) fn applies(option: &str, over: Transport, row: &Row) -> Result<(), String> {
        // An inherited descriptor is judged again when its kind is known.
        let has_connections = match over {
            Transport::Tcp | Transport::Unix => true,
            Transport::Udp => false,
            Transport::Fd => row.stream.is_some(),
        };
        match option {
            "idle-timeout" | "max-connections" | "auth" if !has_connections => {
                Err("datagrams have no connection that it could concern".into())
            }
            "open" if over == Transport::Unix => Err(
                "it is about addresses off loopback; a Unix socket has `mode` and `any-user`"
                    .into(),
            ),
            "mode" if over != Transport::Unix => Err(format!(
                "only a Unix socket that we make has a file, and this is {over}"
            )),
            "any-user" if !matches!(over, Transport::Unix | Transport::Fd) => Err(format!(
                "only a Unix socket knows its peer's user, and this is {over}"
            )),
            _ => Ok(()),
        }
    }

    /// What no single option is wrong about alone.
    pub(super) fn check(&self) -> Result<(), Trouble> {
        if self.max_connections == Some(0) {
            return Err(Trouble::with(
                "max-connections",
                "an endpoint that takes 0 connections serves nobody",
            ));
        }
        Ok(())
    }
}

/// How a connection proves who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Auth {
    /// Not at all, and that was asked for.
    None,
}
