//! The tables of services in README.md and PROTOCOL.md, and the table in the code.

use std::collections::BTreeSet;

use onepoll::config::Transport;
use onepoll::service::{Row, SERVICES};

use super::page::{bare, read, rows};

#[test]
fn the_readme_has_every_service_with_its_transports_and_options() {
    let table = rows(&read("README.md"), "| service | over |");
    let names: Vec<String> = table.iter().map(|row| bare(&row[0])).collect();
    let declared: Vec<&str> = SERVICES.iter().map(|row| row.name).collect();
    assert_eq!(names, declared);
    for (written, row) in table.iter().zip(SERVICES) {
        let over: Vec<&str> = row.transports().iter().map(|over| over.name()).collect();
        assert_eq!(written[1], over.join(", "), "{}", row.name);
        let what = &written[2];
        assert!(what.starts_with(row.summary), "{}: {what}", row.name);
        assert_eq!(quoted(&written[3]), keys(row), "{}", row.name);
    }
}

#[test]
fn the_protocol_has_both_halves_of_every_service_and_no_other() {
    let text = read("PROTOCOL.md");
    for (head, is_stream) in [
        ("| id | service | the client sends |", true),
        ("| id | service | datagram |", false),
    ] {
        let table = rows(&text, head);
        let told: BTreeSet<String> = table
            .iter()
            .flat_map(|row| quoted(&row[1]))
            .map(|name| name.split(['+', '?']).next().unwrap_or_default().to_owned())
            .collect();
        let built: BTreeSet<String> = SERVICES
            .iter()
            .filter(|row| {
                if is_stream {
                    row.stream.is_some()
                } else {
                    row.datagrams.is_some()
                }
            })
            .map(|row| row.name.to_owned())
            .collect();
        assert_eq!(told, built, "{head}");
    }
}

/// What stands in backticks in a cell.
fn quoted(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(Into::into).collect()
}

/// The options of a service, whatever it goes over.
fn keys(row: &Row) -> Vec<String> {
    let mut keys: Vec<String> = Vec::new();
    for over in [Transport::Tcp, Transport::Udp] {
        for key in row.keys(over) {
            if !keys.iter().any(|known| known == key) {
                keys.push((*key).to_owned());
            }
        }
    }
    keys
}
