//! What a server is asked beside the load: its certificate, where nobody said which one is right, and where
//! it answered nothing to plain bytes.

use std::time::Duration;

use anyhow::anyhow;

use super::call::Entries;
use crate::bench::study::comparison::Entrant;
use crate::cli::trust::trust_it;
use crate::cli::{Failure, complain};
use crate::client::{ClientError, ask_certificate};
use crate::load::{Endpoint, ModeName, Report};
use crate::tls::{ClientTls, Trust};

/// How long a server may take that did not answer anything else.
const PATIENCE: Duration = Duration::from_secs(1);

/// Stops where nothing is known of a server, and says which certificate it shows: nothing was sent to it.
pub(super) fn check_trust(contests: &[Entries]) -> Result<(), Failure> {
    // The same servers are asked in all modes.
    let entries = contests.iter().take(1).flat_map(|(_, entries)| entries);
    let unknown = entries
        .filter(|entry| entry.plan.tls.as_ref().map(ClientTls::trust) == Some(&Trust::Nobody));
    let problems: Vec<String> = unknown.map(introduce).collect();
    if problems.is_empty() {
        return Ok(());
    }
    Err(Failure::Run(anyhow!(problems.join("\n"))))
}

fn introduce(entry: &Entrant) -> String {
    let address = entry.plan.endpoint.server();
    match ask_certificate(&address, entry.plan.timeout) {
        Ok(fingerprint) => {
            let address = address.to_string();
            let fingerprint = fingerprint.to_string();
            let way_out = trust_it(&fingerprint);
            let seen = ClientError::UnknownServer {
                address,
                fingerprint,
            };
            format!("{seen}{way_out}")
        }
        Err(error) => error.to_string(),
    }
}

/// Says so where a server that answered nothing to plain bytes speaks TLS.
pub(super) fn check_plain(mode: ModeName, entry: &Entrant, reports: &[Report]) {
    let is_silent = |report: &Report| report.requests.came == 0 && report.has_errors();
    let is_stream = !matches!(entry.plan.endpoint, Endpoint::Udp(_));
    let is_plain = is_stream && entry.plan.tls.is_none();
    if !is_plain || reports.is_empty() || !reports.iter().all(is_silent) {
        return;
    }
    let address = entry.plan.endpoint.server();
    if ask_certificate(&address, PATIENCE).is_ok() {
        complain(format_args!(
            "bench {mode} {}: the server speaks TLS: say --tls, with --ca FILE|system or --fingerprint SHA256",
            entry.name
        ));
    }
}
