//! What an error says: its cause once, and the way out.

use std::net::UdpSocket;

use super::{onepoll, run};

/// The parts of a sentence between which a cause could be repeated.
fn said_twice(text: &str) -> Option<&str> {
    let parts: Vec<&str> = text.split(": ").flat_map(|part| part.split("; ")).collect();
    let mut later = parts.iter().enumerate();
    later.find_map(|(at, part)| (part.len() > 5 && parts[..at].contains(part)).then_some(*part))
}

#[test]
fn a_cause_is_said_once() {
    let long = format!("unix:///tmp/{}", "x".repeat(120));
    let free = UdpSocket::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let free = free.to_string();
    let elsewhere = "192.0.2.1:0";
    let commands: &[&[&str]] = &[
        &["time", &free],
        &["time", "nohost.invalid:1"],
        &["time", "127.0.0.1"],
        &["exec", "nohost.invalid:1", "--", "ls"],
        &["exec", &free, "--", "ls"],
        &["exec", "/nonexistent/x", "--", "ls"],
        &["exec", &long, "--", "ls"],
        &["bench", "conn", "nohost.invalid:1"],
        &["bench", "udp", "nohost.invalid:1"],
        &["bench", "conn", &long],
        &["bench", "udp", "127.0.0.1:9", "--source", "192.0.2.1"],
        &["bench", "conn", &free, "--baseline", "/nonexistent"],
        &["bench", "conn", &free, "--baseline", "Cargo.toml"],
        &["bench", "conn", &free, "--html", "/nonexistent/x"],
        &["bench", "conn", &free, "--secret-file", "/nonexistent"],
        &["serve", "--config", "/nonexistent"],
        &["serve", "--config", "src"],
        &["serve", "echo://nohost.invalid:1"],
        &["serve", &format!("echo://{elsewhere}?open=true")],
        &["serve", "echo+unix:///nonexistent/x"],
        &["serve", &format!("echo+{long}")],
        &["serve", "echo+fd://99"],
        &["check", "echo+fd://99"],
        &["check", &format!("echo://{elsewhere}?open=true")],
        &["check", "--config", "/nonexistent"],
        &["lab", "stickey"],
    ];
    for args in commands {
        let said = run(onepoll(*args).env_remove("XDG_RUNTIME_DIR"));
        assert!(matches!(said.code, Some(1 | 2 | 255)), "{args:?}: {said:?}");
        assert!(!said.err.is_empty(), "{args:?}");
        assert_eq!(
            said_twice(said.err.trim_end()),
            None,
            "{args:?}: {}",
            said.err
        );
        assert!(
            !said.err.contains("the poll failed"),
            "{args:?}: {}",
            said.err
        );
    }
}

#[test]
fn what_is_not_built_is_not_listed() {
    let said = run(&mut onepoll(["bench", "conn", "zebra://127.0.0.1:1"]));
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(
        said.err.contains("write one of tcp, udp, unix, http,"),
        "{said:?}"
    );
    for unspoken in ["https", "fd"] {
        assert!(!said.err.contains(unspoken), "{said:?}");
    }
}

#[test]
fn a_name_with_several_addresses_is_asked_at_the_one_that_answers() {
    // `localhost` is ::1 first on most machines, and this server is not there.
    let server = super::Server::new(&["echo+udp://127.0.0.1:0"]);
    let address = server.address();
    let port = address.rsplit(':').next().unwrap();
    if UdpSocket::bind(format!("[::1]:{port}")).is_err() {
        return; // somebody else has the port there, or there is no IPv6
    }
    let target = format!("localhost:{port}");
    let args = [
        "bench", "udp", &target, "--count", "10", "--warmup", "0s", "--json",
    ];
    let said = run(&mut onepoll(args));
    assert_eq!(said.code, Some(0), "{said:?}");
    let report: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(report["datagrams"]["refused"], 0, "{report:#}");
    assert_eq!(report["datagrams"]["lost"], 0, "{report:#}");
}
