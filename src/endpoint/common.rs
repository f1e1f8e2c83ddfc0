//! The options that every endpoint has, whatever it serves.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::limits::{KEEPALIVE, KEEPALIVE_MAX, SECRETS_MAX, USER_TIMEOUT_MAX};
use crate::config::{Network, Rate, Transport, Trouble, format_duration, with};
use crate::service::{ProofOf, Row};
use crate::wire::Digest;

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
    /// Files with the secrets that a connection has to prove one of; may be repeated, and each is as good.
    /// Absent: it has to prove none.
    pub secret_file: Vec<PathBuf>,
    /// With which digest a secret is proven.
    pub digest: Digest,
    /// What of a connection a proof has to cover.
    pub proof: ProofOf,
    /// How a connection proves who it is; absent: by a secret, if there is one, which `command` over TCP
    /// asks for.
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
            secret_file: Vec::new(),
            digest: Digest::default(),
            proof: ProofOf::default(),
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
            "idle-timeout" | "max-connections" | "max-per-source" | "rate-per-source"
            | "secret-file" | "digest" | "proof" | "auth" | "keepalive" | "user-timeout" | "tls"
            | "cert" | "key" | "client-ca" | "tls-min"
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

    /// Whether a connection has to prove a secret before it is served.
    pub fn asks_for_secret(&self) -> bool {
        !self.secret_file.is_empty()
    }

    /// Whether only clients are served that have something to show: a secret, or a certificate.
    pub fn is_guarded(&self) -> bool {
        self.asks_for_secret() || self.tls && self.client_ca.is_some()
    }

    /// What no single option is wrong about alone.
    pub(super) fn check(&self) -> Result<(), Trouble> {
        self.check_secrets()?;
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

    /// What of the options about secrets contradicts another.
    fn check_secrets(&self) -> Result<(), Trouble> {
        let wrong = |option, problem: String| Err(Trouble::with(option, problem));
        let asks = self.asks_for_secret();
        let named = self.secret_file.len();
        match self.auth {
            Some(Auth::None) if asks => wrong(
                "auth",
                "`none` lets everybody in, and `secret-file` asks for a secret: one of them goes"
                    .into(),
            ),
            Some(Auth::Hmac) if !asks => wrong(
                "auth",
                "`hmac` needs a `secret-file`; `onepoll secret FILE` makes one".into(),
            ),
            _ if !asks && self.digest != Digest::default() => wrong(
                "digest",
                "it says how a secret is proven, and there is no `secret-file`".into(),
            ),
            _ if !asks && self.proof != ProofOf::default() => wrong(
                "proof",
                "it says what a proof covers, and there is no `secret-file`".into(),
            ),
            _ if self.proof == ProofOf::Exporter && !self.tls => wrong(
                "proof",
                "only TLS has an exporter: it means something only with `tls=true`".into(),
            ),
            _ if named > SECRETS_MAX => wrong(
                "secret-file",
                format!(
                    "{named} of them; there may be {SECRETS_MAX}, since all are computed for each login"
                ),
            ),
            _ => Ok(()),
        }
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
    /// By the HMAC of a challenge with the secret of a `secret-file`.
    Hmac,
    /// Not at all, and that was asked for.
    None,
}
