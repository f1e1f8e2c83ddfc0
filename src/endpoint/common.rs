//! The options that every endpoint has, whatever it serves.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::with;

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

/// How a connection proves who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Auth {
    /// Not at all, and that was asked for.
    None,
}
