//! TLS with the servers of a bus: which of them are the right ones, and our own certificate. All of it is read before the loop.

use std::sync::Arc;

use crate::config::{BusOptions, Lookups};
use crate::turn::Secure;

/// What begins the sessions with each of its servers, in their order; none: they are plain.
#[cfg(feature = "tls")]
pub(super) fn secure(
    options: &BusOptions,
    lookups: &mut Lookups,
) -> Result<Vec<Option<Arc<dyn Secure>>>, String> {
    use crate::config::ServerAddress;
    use crate::reactor::TlsClient;
    use crate::tls::{ClientTls, Identity, Problem, Remedies, Trust};

    /// What to do about a server that is otherwise than expected.
    const KEYS: Remedies = Remedies {
        plain: "write nats:// if that is right",
        ask: "`cert` and `key` of `[bus]`",
        cert: "`cert`",
    };

    if !options.is_tls() {
        return Ok(vec![None; options.url.len()]);
    }
    let trust = match (&options.ca, &options.fingerprint) {
        (Some(ca), _) if ca == "system" => Trust::System,
        (Some(ca), _) => Trust::Roots(ca.into()),
        (None, Some(text)) => {
            let fingerprint = text
                .parse()
                .map_err(|wrong| format!("`fingerprint`: {wrong}"))?;
            Trust::Certificate(fingerprint)
        }
        // What is checked before has refused it.
        (None, None) => Trust::Nobody,
    };
    let identity = match (&options.cert, &options.key) {
        (Some(cert), Some(key)) => {
            let read = Identity::look_up(cert, key, lookups);
            Some(read.map_err(|Problem { option, what }| format!("`{option}`: {what}"))?)
        }
        _ => None,
    };
    let tls = ClientTls::look_up(trust, identity, KEYS, lookups);
    let tls = tls.map_err(|wrong| format!("`ca`: {wrong}"))?;
    let servers = options.url.iter().map(|url| {
        let server = ServerAddress::Host(url.at.clone());
        let begins = TlsClient::new(tls.clone(), &server)?;
        Ok(Some(Arc::new(begins) as Arc<dyn Secure>))
    });
    servers.collect()
}

/// What begins the sessions with each of its servers: nothing can.
#[cfg(not(feature = "tls"))]
pub(super) fn secure(
    options: &BusOptions,
    _: &mut Lookups,
) -> Result<Vec<Option<Arc<dyn Secure>>>, String> {
    if options.is_tls() {
        return Err("nats+tls: this program was built without TLS".to_owned());
    }
    Ok(vec![None; options.url.len()])
}
