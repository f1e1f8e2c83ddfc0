//! What a server of NATS says first: what it is.

use serde::Deserialize;

/// What a server says of itself, as far as it matters.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Info {
    headers: bool,
    jetstream: bool,
    /// Lame duck mode: it goes soon.
    #[serde(rename = "ldm")]
    pub(super) is_about_to_go: bool,
    pub(super) version: String,
    tls_required: bool,
    tls_available: bool,
    /// What a user with an nkey signs.
    pub(super) nonce: Option<String>,
}

impl Info {
    /// What is written in its `INFO`; of what is not, nothing.
    pub(super) fn read(json: &[u8]) -> Info {
        serde_json::from_slice(json).unwrap_or_default()
    }

    /// Whether nothing but TLS will do.
    pub(super) fn requires_tls(&self) -> bool {
        self.tls_required
    }

    /// Whether it can begin a session of TLS.
    pub(super) fn speaks_tls(&self) -> bool {
        self.tls_required || self.tls_available
    }

    /// Whether it can keep what is said.
    pub(super) fn has_jetstream(&self) -> bool {
        self.headers && self.jetstream
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_does_not_say_it_does_not_have() {
        let info = Info::read(
            br#"{"headers":true,"jetstream":true,"ldm":true,"version":"2.10.1","x":[]}"#,
        );
        assert!(info.has_jetstream() && info.is_about_to_go && info.version == "2.10.1");
        for (text, tls) in [
            (r#"{"tls_required":true}"#, [true, true]),
            (r#"{"tls_available":true}"#, [false, true]),
            ("{}", [false, false]),
        ] {
            let info = Info::read(text.as_bytes());
            assert_eq!([info.requires_tls(), info.speaks_tls()], tls, "{text}");
        }
        for text in [
            "{}",
            "",
            "[]",
            r#"{"headers":true}"#,
            r#"{"jetstream":true}"#,
        ] {
            let info = Info::read(text.as_bytes());
            assert!(!info.has_jetstream() && !info.is_about_to_go, "{text}");
        }
    }
}
