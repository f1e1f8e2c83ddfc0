//! What `serve --help` says below its own options: from the table, and from the defaults in the code.

use std::fmt::Write as _;

use serde_json::Value;

use crate::config::{Limits, Transport};
use crate::service::{Row, SERVICES};

/// The options that do not depend on the service, and what they do.
const COMMON: [(&str, &str); 20] = [
    (
        "idle-timeout=DURATION",
        "close what says nothing for this long (off)",
    ),
    (
        "max-connections=COUNT",
        "of this endpoint (what the total allows)",
    ),
    (
        "allow-from=NETWORK",
        "serve only this address or CIDR range; may be repeated (all)",
    ),
    (
        "deny-from=NETWORK",
        "never serve this one, whatever is allowed; may be repeated",
    ),
    (
        "max-per-source=COUNT",
        "connections of one IPv4 address or IPv6 /64 at once (any number)",
    ),
    (
        "rate-per-source=RATE",
        "new connections of one, such as 10/s, 100/m or 5/10s (any)",
    ),
    (
        "keepalive=DURATION",
        "probe a TCP peer that was silent for so long (2m), or off",
    ),
    (
        "user-timeout=DURATION",
        "end TCP when nothing is acknowledged for this long (off)",
    ),
    (
        "open=true",
        "serve off loopback without a secret; never command",
    ),
    (
        "tls=true",
        "speak TLS 1.3 on this endpoint; needs `cert` and `key`",
    ),
    (
        "cert=FILE",
        "the certificate and what links it to a root, PEM",
    ),
    ("key=FILE", "its key, PEM"),
    (
        "client-ca=FILE",
        "let in only clients with a certificate of these roots, PEM",
    ),
    ("tls-min=1.2", "allow TLS 1.2 too (1.3)"),
    (
        "secret-file=FILE",
        "serve only clients that prove its secret; may be repeated",
    ),
    (
        "digest=sha256|md5",
        "of the proof (sha256); md5 for clients of old Pythons",
    ),
    (
        "proof=challenge|exporter",
        "exporter: over TLS, a proof must fit its connection",
    ),
    (
        "auth=hmac|none",
        "by a secret, or let everybody on this machine in",
    ),
    ("mode=OCTAL", "of a Unix socket's file (0600)"),
    ("any-user=true", "serve other users over a Unix socket"),
];

const SIGNALS: &str = "\
Signals:
  SIGTERM, SIGINT  stop listening, finish what is owed, end; a second one ends at once
  SIGUSR1          print the counters to standard error";

const EXIT_CODES: &str = "\
Exit codes:
  0  stopped as asked
  1  cannot bind, resolve or adopt what was asked for; nothing was served
  2  wrong usage or configuration; nothing was served";

/// Services, common options, limits, signals and exit codes.
pub(super) fn of_serve() -> String {
    let mut text = String::from("Services (SERVICE://ADDRESS goes over the first transport):\n");
    for row in SERVICES {
        let over: Vec<&str> = row.transports().iter().map(|over| over.name()).collect();
        line(
            &mut text,
            row.name,
            10,
            &format!("{:21}{}", over.join(" "), row.summary),
        );
        for keys in lines(&keys(row)) {
            line(&mut text, "", 10, &format!("  {keys}"));
        }
    }
    text.push_str("\nOptions of every endpoint (ADDRESS?OPTION=VALUE&OPTION=VALUE):\n");
    for (option, what) in COMMON {
        line(&mut text, option, 24, what);
    }
    text.push_str("\nLimits, and their defaults ([limits] in the file of --config):\n");
    for (name, default) in limits() {
        line(&mut text, &name, 24, &default);
    }
    format!("{text}\n{SIGNALS}\n\n{EXIT_CODES}")
}

/// Names with commas between them, as many on a line as fit.
fn lines(names: &[&str]) -> Vec<String> {
    const CHARS_MAX: usize = 84;
    let mut lines: Vec<String> = Vec::new();
    for name in names {
        match lines.last_mut() {
            Some(last) if last.len() + name.len() + 2 <= CHARS_MAX => {
                last.push_str(", ");
                last.push_str(name);
            }
            Some(last) => {
                last.push(',');
                lines.push((*name).to_owned());
            }
            None => lines.push((*name).to_owned()),
        }
    }
    lines
}

fn line(text: &mut String, name: &str, width: usize, what: &str) {
    let _ = writeln!(text, "  {name:width$}{what}");
}

/// The options of a service, whatever it goes over.
fn keys(row: &Row) -> Vec<&'static str> {
    let mut keys = Vec::new();
    for over in Transport::ALL {
        for key in row.keys(over) {
            if !keys.contains(key) {
                keys.push(*key);
            }
        }
    }
    keys
}

/// Each limit and its default, as a file has them.
fn limits() -> Vec<(String, String)> {
    let Ok(Value::Object(limits)) = serde_json::to_value(Limits::default()) else {
        return Vec::new();
    };
    let text = |value: Value| match value {
        Value::Null => "what the descriptor limit leaves".to_owned(),
        Value::String(text) => text,
        other => other.to_string(),
    };
    limits
        .into_iter()
        .map(|(name, value)| (name, text(value)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::keys_of;
    use crate::endpoint::Common;

    #[test]
    fn every_common_option_is_told() {
        let told = COMMON.map(|(option, _)| option.split('=').next().unwrap_or_default());
        assert_eq!(told, *keys_of::<Common>());
    }

    #[test]
    fn every_service_and_every_limit_is_told_in_lines_that_fit() {
        let text = of_serve();
        for row in SERVICES {
            assert!(text.contains(&format!("\n  {} ", row.name)), "{text}");
            let keys: Vec<&str> = Transport::ALL.map(|over| row.keys(over)).concat();
            let told: Vec<&str> = text.split([' ', ',', '\n']).collect();
            for key in keys {
                assert!(told.contains(&key), "{key}");
            }
        }
        for limit in keys_of::<Limits>() {
            assert!(text.contains(&format!("\n  {limit} ")), "{limit}: {text}");
        }
        let widest = text.lines().map(|line| line.chars().count()).max();
        assert!(widest <= Some(100), "{widest:?}");
    }
}
