//! `[bus]`: the NATS servers by which several servers share their rooms.
//!
//! Knows how it is written. Resolves no name and reads no file: [`Bus`](crate::service::Bus) is what comes of that.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::address::HostPort;
use super::error::Trouble;
use super::text::{quoted, with};

/// The port of a NATS server.
pub const NATS_PORT: u16 = 4222;

/// How many servers of one bus there may be: a cluster has three or five, and tells nothing of itself that is trusted.
pub const BUS_SERVERS_MAX: usize = 16;

/// How many copies JetStream keeps at most.
const REPLICAS_MAX: u32 = 5;

/// The shortest and the longest lease of a name, in seconds: a third of it has to be longer than a slow answer, and a
/// name that a dead server had is free after all of it.
const LEASE_S: std::ops::RangeInclusive<u64> = 3..=600;

/// `[bus]`, as it is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct BusOptions {
    /// Its servers, of which one is connected to; the next one when that goes away.
    pub url: Vec<BusUrl>,
    /// The user that the servers know.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The file of that user's password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// The file of a token instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
    /// The file of the seed of an nkey instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nkey_file: Option<PathBuf>,
    /// A file of certificates (PEM) that vouch for those of its servers, which have to have the host of their `url` for a name;
    /// `system`: those of this machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// Instead, the SHA-256 of the one certificate that its servers have, whatever its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// Our own certificate (PEM), for servers that ask their clients for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert: Option<String>,
    /// The private key of that (PEM).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// How many copies of what is said JetStream keeps: 3 in a cluster of three lose nothing with one of its servers.
    pub replicas: u32,
    /// How long a name stays taken when its server is dead.
    #[serde(with = "with::some_time")]
    pub lease: Duration,
}

impl Default for BusOptions {
    fn default() -> Self {
        Self {
            url: Vec::new(),
            user: None,
            password_file: None,
            token_file: None,
            nkey_file: None,
            ca: None,
            fingerprint: None,
            cert: None,
            key: None,
            replicas: 1,
            lease: Duration::from_secs(15),
        }
    }
}

impl BusOptions {
    /// The same, with what is decided when a stream is made on the bus as it is now: that stays while a server runs.
    pub fn made_as(&self, now: &BusOptions) -> BusOptions {
        BusOptions {
            replicas: now.replicas,
            lease: now.lease,
            ..self.clone()
        }
    }

    /// What no single key is wrong about alone.
    pub fn check(&self) -> Result<(), Trouble> {
        let wrong = |key: &str, problem: &str| Err(Trouble::of(key, format!("`{key}`: {problem}")));
        if self.url.is_empty() {
            return Err(Trouble::new(
                "`[bus]` names no server; write url = \"nats://127.0.0.1:4222\"",
            ));
        }
        if self.url.len() > BUS_SERVERS_MAX {
            let problem = format!("more than the {BUS_SERVERS_MAX} servers that a bus may have");
            return wrong("url", &problem);
        }
        if self.user.is_some() != self.password_file.is_some() {
            let key = if self.user.is_some() {
                "user"
            } else {
                "password-file"
            };
            return wrong(key, "`user` and `password-file` go together");
        }
        let instead = [
            ("token-file", &self.token_file),
            ("nkey-file", &self.nkey_file),
        ];
        let mut given = instead.iter().filter(|(_, file)| file.is_some());
        if let Some((key, _)) = given.next() {
            if self.user.is_some() {
                return wrong(key, "a user has a password instead");
            }
            if given.next().is_some() {
                return wrong("nkey-file", "instead of `token-file`, not besides");
            }
        }
        if self.nkey_file.is_some() && !cfg!(feature = "tls") {
            return wrong(
                "nkey-file",
                "this program was built without signatures (cargo's feature `tls`)",
            );
        }
        self.check_tls()?;
        if !(1..=REPLICAS_MAX).contains(&self.replicas) {
            return wrong("replicas", "JetStream keeps 1 to 5 copies");
        }
        if !LEASE_S.contains(&self.lease.as_secs()) {
            return wrong("lease", "3s to 10m");
        }
        Ok(())
    }

    /// Whether its servers are spoken to through TLS.
    pub fn is_tls(&self) -> bool {
        self.url.iter().any(|url| url.is_tls)
    }

    fn check_tls(&self) -> Result<(), Trouble> {
        let wrong = |key: &str, problem: &str| Err(Trouble::of(key, format!("`{key}`: {problem}")));
        if !self.is_tls() {
            let keys = [
                ("ca", &self.ca),
                ("fingerprint", &self.fingerprint),
                ("cert", &self.cert),
                ("key", &self.key),
            ];
            return match keys.iter().find(|(_, value)| value.is_some()) {
                Some((key, _)) => wrong(
                    key,
                    "it is about servers that speak TLS; write nats+tls://HOST:4222",
                ),
                None => Ok(()),
            };
        }
        if !self.url.iter().all(|url| url.is_tls) {
            return wrong(
                "url",
                "some of the servers speak TLS and some do not, and what goes to one may go to any: write nats+tls:// for all",
            );
        }
        if cfg!(not(feature = "tls")) {
            return wrong("url", "nats+tls: this program was built without TLS");
        }
        match (&self.ca, &self.fingerprint) {
            (None, None) => {
                return wrong(
                    "url",
                    "nats+tls has to know which servers are the right ones: ca = \"FILE\", ca = \"system\" or fingerprint = \"SHA256\"",
                );
            }
            (Some(_), Some(_)) => {
                return wrong(
                    "fingerprint",
                    "`ca` says already which servers are the right ones",
                );
            }
            _ => {}
        }
        if self.cert.is_some() != self.key.is_some() {
            let key = if self.cert.is_some() { "cert" } else { "key" };
            return wrong(
                key,
                "`cert` and `key` go together (`onepoll certificate DIR` makes both)",
            );
        }
        Ok(())
    }
}

/// `nats://HOST[:PORT]`, or `nats+tls://HOST[:PORT]`, which NATS' own clients write `tls://`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BusUrl {
    /// Whether it is spoken to through TLS, or not at all.
    pub is_tls: bool,
    /// Where it is.
    pub at: HostPort,
}

impl TryFrom<String> for BusUrl {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let schemes = [("nats://", false), ("nats+tls://", true), ("tls://", true)];
        let mut found = schemes.iter().filter_map(|(scheme, is_tls)| {
            let rest = text.strip_prefix(scheme)?;
            Some((rest, *is_tls))
        });
        let Some((rest, is_tls)) = found.next() else {
            return Err(format!(
                "{} is no bus; write nats://HOST:4222, or nats+tls://HOST:4222",
                quoted(&text)
            ));
        };
        if rest.contains(['@', '/', '?']) {
            return Err(format!(
                "{} has more than a host and a port; a user, a password and a token are keys of `[bus]`, and in files",
                quoted(&text)
            ));
        }
        let at = HostPort::parse(rest)
            .or_else(|wrong| HostPort::parse(&format!("{rest}:{NATS_PORT}")).map_err(|_| wrong))?;
        if at.port == 0 {
            return Err(format!(
                "{} has port 0, which nobody can dial",
                quoted(&text)
            ));
        }
        Ok(Self { is_tls, at })
    }
}

impl From<BusUrl> for String {
    fn from(url: BusUrl) -> Self {
        url.to_string()
    }
}

impl fmt::Display for BusUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls { "nats+tls" } else { "nats" };
        write!(f, "{scheme}://{}", self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Result<BusUrl, String> {
        BusUrl::try_from(text.to_owned())
    }

    #[test]
    fn a_bus_is_a_host_and_perhaps_a_port() {
        for (text, meant) in [
            ("nats://127.0.0.1:4222", "nats://127.0.0.1:4222"),
            ("nats://bus.example", "nats://bus.example:4222"),
            ("nats://[::1]:4333", "nats://[::1]:4333"),
            ("nats://[::1]", "nats://[::1]:4222"),
            ("nats+tls://bus.example", "nats+tls://bus.example:4222"),
            ("nats+tls://[::1]:4333", "nats+tls://[::1]:4333"),
            ("tls://bus.example:1", "nats+tls://bus.example:1"),
        ] {
            assert_eq!(url(text).map(|url| url.to_string()), Ok(meant.to_owned()));
        }
        for (text, why) in [
            ("127.0.0.1:4222", "is no bus; write nats://HOST:4222"),
            ("nats+ssl://h:1", "or nats+tls://HOST:4222"),
            ("nats+tls://h:0", "port 0"),
            ("nats://eva:pw@h:1", "more than a host and a port"),
            ("nats://h:1/x", "more than a host and a port"),
            ("nats://h:99999", "not a port"),
            ("nats://h:0", "port 0"),
            ("nats://", "has no host"),
        ] {
            let said = url(text).unwrap_err();
            assert!(said.contains(why), "{text}: {said}");
        }
    }

    #[test]
    fn what_is_said_of_tls_goes_with_servers_that_speak_it() {
        let read = |text: &str| toml::from_str::<BusOptions>(text).unwrap().check();
        let tls = |more: &str| read(&format!("url = [\"nats+tls://h\"]\n{more}"));
        if cfg!(not(feature = "tls")) {
            let said = tls("ca = \"f\"").unwrap_err().problem;
            assert!(said.contains("built without TLS"), "{said}");
            return;
        }
        assert_eq!(tls("ca = \"f\""), Ok(()));
        assert_eq!(tls("ca = \"system\"\ncert = \"c\"\nkey = \"k\""), Ok(()));
        assert_eq!(tls("fingerprint = \"AB\""), Ok(()));
        for (more, why) in [
            ("", "ca = \"FILE\", ca = \"system\" or fingerprint"),
            ("ca = \"f\"\nfingerprint = \"AB\"", "says already which"),
            ("ca = \"f\"\ncert = \"c\"", "`cert` and `key` go together"),
            ("ca = \"f\"\nkey = \"c\"", "`cert` and `key` go together"),
        ] {
            let said = tls(more).unwrap_err().problem;
            assert!(said.contains(why), "{more}: {said}");
        }
        for key in ["ca", "fingerprint", "cert", "key"] {
            let said = read(&format!("url = [\"nats://h\"]\n{key} = \"x\"")).unwrap_err();
            assert!(
                said.problem.contains("write nats+tls://"),
                "{}",
                said.problem
            );
        }
        let mixed = read("url = [\"nats+tls://h\", \"nats://h\"]\nca = \"f\"").unwrap_err();
        assert!(mixed.problem.contains("for all"), "{}", mixed.problem);
    }

    #[test]
    fn what_does_not_go_together_is_said() {
        let good = BusOptions {
            url: vec![url("nats://h").unwrap()],
            ..BusOptions::default()
        };
        assert_eq!(good.check(), Ok(()));
        let said = |options: BusOptions| options.check().unwrap_err().problem;
        for (wrong, why) in [
            (BusOptions::default(), "names no server"),
            (
                BusOptions {
                    replicas: 0,
                    ..good.clone()
                },
                "1 to 5 copies",
            ),
            (
                BusOptions {
                    user: Some("eva".into()),
                    ..good.clone()
                },
                "go together",
            ),
            (
                BusOptions {
                    password_file: Some("/p".into()),
                    ..good.clone()
                },
                "go together",
            ),
            (
                BusOptions {
                    lease: Duration::from_secs(2),
                    ..good.clone()
                },
                "3s to 10m",
            ),
            (
                BusOptions {
                    user: Some("eva".into()),
                    password_file: Some("/p".into()),
                    token_file: Some("/t".into()),
                    ..good.clone()
                },
                "a password instead",
            ),
            (
                BusOptions {
                    token_file: Some("/t".into()),
                    nkey_file: Some("/n".into()),
                    ..good.clone()
                },
                "not besides",
            ),
            (
                BusOptions {
                    user: Some("eva".into()),
                    password_file: Some("/p".into()),
                    nkey_file: Some("/n".into()),
                    ..good.clone()
                },
                "a password instead",
            ),
            (
                BusOptions {
                    url: vec![good.url[0].clone(); BUS_SERVERS_MAX + 1],
                    ..good.clone()
                },
                "more than the 16 servers",
            ),
        ] {
            let said = said(wrong);
            assert!(said.contains(why), "{said}");
        }
    }
}
