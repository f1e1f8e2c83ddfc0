//! The load generator.

mod answers;
mod arguments;
mod challenge;
mod compare;
mod coverage;
mod failures;
mod fanout;
mod hold;
mod http;
mod line;
mod modes;
mod picture;
mod requests;
#[cfg(feature = "tls")]
mod tls;
mod truth;

use std::fmt;
use std::time::Duration;

use onepoll::config::{ServerUrl, Transport};
use onepoll::load::{self, Amount, Arrivals, Close, Endpoint, Mode, Model, Plan, Report};
use onepoll::service::SERVICES;

use crate::support::DEADLINE;

/// After this long an answer counts as lost where one is, and the others are to come in time.
const LOST_AFTER: Duration = Duration::from_secs(1);
/// The same where no answer comes at all.
const NONE_AFTER: Duration = Duration::from_millis(100);

/// A new connection for each request, reset when its answer has come.
const RST: Mode = closing(Close::ClientRst, 1);
/// A request at a time on each connection.
const ECHO: Mode = Mode::Echo { depth: 1 };

/// So many requests on each connection, which is closed so.
const fn closing(close: Close, requests: usize) -> Mode {
    Mode::Conn { close, requests }
}

/// So many requests, from the first on.
fn plan(endpoint: impl fmt::Display, mode: Mode, connections: usize, count: u64) -> Plan {
    let endpoint = endpoint.to_string();
    let url = ServerUrl::of(&endpoint);
    let service = SERVICES.iter().find(|row| row.name == url.scheme);
    let usual = service.map_or(Transport::Tcp, |row| row.usual);
    let endpoint = Endpoint::at(&url, usual).unwrap();
    let mut plan = Plan::new(endpoint, mode);
    plan.connections = connections;
    plan.amount = Amount::Count(count);
    plan.warmup = Duration::ZERO;
    plan.timeout = DEADLINE;
    plan
}

fn open(rate: f64) -> Model {
    Model::Open {
        rate,
        arrivals: Arrivals::Constant,
    }
}

fn run(plan: &Plan) -> Report {
    load::run(plan).unwrap()
}

/// That so many requests were answered, and that so many things failed, of each kind.
#[track_caller]
fn counted(report: &Report, answered: u64, errors: &[(&str, u64)]) {
    assert_eq!(report.requests.answered, answered, "{report}");
    failed(report, errors);
}

/// That so many things failed, of each kind as the JSON has it, and nothing else did.
#[track_caller]
fn failed(report: &Report, errors: &[(&str, u64)]) {
    let json = serde_json::to_value(report).unwrap();
    let all = json["errors"].as_object().unwrap();
    let counts = all
        .iter()
        .map(|(kind, n)| (kind.as_str(), n.as_u64().unwrap()));
    let seen: Vec<_> = counts
        .filter(|&(kind, n)| kind != "total" && n > 0)
        .collect();
    assert_eq!(seen, errors, "{report}");
    let total: u64 = errors.iter().map(|(_, n)| n).sum();
    assert_eq!(report.errors.total, total, "{report}");
}
