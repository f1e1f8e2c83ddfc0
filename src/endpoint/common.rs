//! The options that every endpoint has, whatever it serves.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::limits::{KEEPALIVE, KEEPALIVE_MAX, USER_TIMEOUT_MAX};
use crate::config::{Network, Rate, Transport, Trouble, format_duration, with};
use crate::service::Row;

/// Options that do not depend on the service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Common {
    /// A connection that says nothing for this long is closed; absent (`off`): never.
    #[serde(with = "with::some_time_or_off")]
    pub idle_timeout: Option<Duration>,
    /// Connections this endpoint takes at once; absent: what the total allows.
    pub max_connections: Option<u32>,
    /// Only these addresses are served; may be repeated. Absent: all are.
    pub allow_from: Vec<Network>,
    /// These addresses are not served, whatever `allow-from` says; may be repeated.
    pub deny_from: Vec<Network>,
    /// Connections one source has at once; absent: any number.
    pub max_per_source: Option<u32>,
    /// New connections of one source; absent: any rate.
    pub rate_per_source: Option<Rate>,
    /// Silence after which TCP probes whether the peer is still there; absent (`off`): never.
    #[serde(with = "with::some_time_or_off")]
    pub keepalive: Option<Duration>,
    /// How long what was sent to a TCP peer may stay without an acknowledgement; absent (`off`):
    /// as long as the kernel has it.
    #[serde(with = "with::some_time_or_off")]
    pub user_timeout: Option<Duration>,
    /// Serve off loopback without a secret.
    pub open: bool,
    /// Whether its connections speak TLS.
    pub tls: bool,
    /// The certificate's file, PEM: the certificate first, then what links it to a root.
    pub cert: Option<String>,
    /// The file of the certificate's key, PEM.
    pub key: Option<String>,
    /// Clients need a certificate that a root in this file, PEM, vouches for; absent: they need none.
    pub client_ca: Option<String>,
    /// The oldest version of TLS that will do; absent: 1.3.
    pub tls_min: Option<TlsMin>,
    /// How a connection proves who it is; absent: not said, which `command` over TCP refuses.
    pub auth: Option<Auth>,
    /// The mode of a Unix socket's file; absent: 0600.
    #[serde(with = "with::mode_or_absent")]
    pub mode: Option<u32>,
    /// Whether a Unix socket serves other users of this machine too.
    pub any_user: bool,
}

impl Default for Common {
    fn default() -> Common {
        Common {
            idle_timeout: None,
            max_connections: None,
            allow_from: Vec::new(),
            deny_from: Vec::new(),
            max_per_source: None,
            rate_per_source: None,
            keepalive: Some(KEEPALIVE),
            user_timeout: None,
            open: false,
            tls: false,
            cert: None,
            key: None,
            client_ca: None,
            tls_min: None,
            auth: None,
            mode: None,
            any_user: false,
        }
    }
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
            "idle-timeout" | "max-connections" | "max-per-source" | "rate-per-source" | "auth"
            | "keepalive" | "user-timeout" | "tls" | "cert" | "key" | "client-ca" | "tls-min"
                if !has_connections =>
            {
                Err("datagrams have no connection that it could concern".into())
            }
            "keepalive" | "user-timeout" if over == Transport::Unix => {
                Err("the kernel tells at once when the peer of a Unix socket is gone".into())
            }
            "allow-from" | "deny-from" | "max-per-source" | "rate-per-source"
                if over == Transport::Unix =>
            {
                Err("it is about addresses, and the peer of a Unix socket has none; `mode` and `any-user` say who may connect".into())
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
        if self.max_per_source == Some(0) {
            return Err(Trouble::with(
                "max-per-source",
                "a source that may have 0 connections has none; `deny-from` names sources that are not served",
            ));
        }
        self.check_tls()?;
        for (option, time, most) in [
            ("keepalive", self.keepalive, KEEPALIVE_MAX),
            ("user-timeout", self.user_timeout, USER_TIMEOUT_MAX),
        ] {
            if let Some(time) = time.filter(|time| *time > most) {
                return Err(Trouble::with(
                    option,
                    format!(
                        "{} is more than the kernel takes, {}; `off` for never",
                        format_duration(time),
                        format_duration(most)
                    ),
                ));
            }
        }
        Ok(())
    }
}

impl Common {
    fn check_tls(&self) -> Result<(), Trouble> {
        if self.tls && !cfg!(feature = "tls") {
            return Err(Trouble::with(
                "tls",
                "this program was built without TLS (cargo's feature `tls`)",
            ));
        }
        let files = [
            ("cert", self.cert.is_some()),
            ("key", self.key.is_some()),
            ("client-ca", self.client_ca.is_some()),
            ("tls-min", self.tls_min.is_some()),
        ];
        if !self.tls {
            return match files.iter().find(|(_, is_given)| *is_given) {
                None => Ok(()),
                Some((option, _)) => Err(Trouble::with(
                    option,
                    "it means something only with `tls=true`",
                )),
            };
        }
        match files[..2].iter().find(|(_, is_given)| !is_given) {
            None => Ok(()),
            Some((option, _)) => Err(Trouble::with(
                "tls",
                format!(
                    "it needs `{option}=FILE` too (`onepoll certificate DIR` makes a `cert` and its `key`)"
                ),
            )),
        }
    }
}

/// The oldest version of TLS that will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum TlsMin {
    /// TLS 1.2, for clients from before 2018.
    #[serde(rename = "1.2")]
    V1_2,
    /// TLS 1.3.
    #[serde(rename = "1.3")]
    V1_3,
}

/// How a connection proves who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Auth {
    /// Not at all, and that was asked for.
    None,
}
