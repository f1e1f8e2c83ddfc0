//! What `benches/` has for people to run, in small and with what every machine has, so that it cannot rot.

use std::process::Command;

use crate::support::program::{Said, run, skipped};

/// Runs one of them with the binary under test and the words of this line.
fn asked(script: &str, line: &str) -> Said {
    let mut python = Command::new("python3");
    python.args([script, "--onepoll", env!("CARGO_BIN_EXE_onepoll")]);
    python.args(shell_words::split(line).unwrap());
    run(&mut python, "")
}

#[test]
fn the_comparison_with_other_servers_runs() {
    if skipped("python3") {
        return;
    }
    let said = asked(
        "benches/peers/run",
        "--only onepoll,asyncio,socketserver --rounds 1 -d 50ms -c 4 --patience 60",
    );
    let text = &said.exits(0).out;
    for name in ["onepoll", "asyncio", "socketserver"] {
        // In the call that it prints, and once in each mode.
        assert!(text.matches(name).count() >= 3, "{text}");
    }
}

#[test]
fn rooms_on_a_bus_hold_when_the_bus_is_killed() {
    if skipped("python3") || skipped("nats-server") {
        return;
    }
    let said = asked(
        "benches/bus/hold",
        "--servers 2 --buses 1 --clients 6 --kill nats --pause 0.02 --between 0.5 --down 0.05 --patience 60",
    );
    let text = &said.exits(0).out;
    assert!(
        text.contains("every line that was accepted came once, in one order"),
        "{text}"
    );
}

#[test]
fn a_line_to_many_on_a_bus_is_measured() {
    if skipped("python3") || skipped("nats-server") {
        return;
    }
    let said = asked(
        "benches/bus/fanout",
        "--json --members 5 --lines 20 --rounds 1",
    )
    .exits(0)
    .json();
    for kind in ["one", "bus", "two", "nats"] {
        let of = &said[kind];
        assert_eq!(of["members_with_other_counts"], 0, "{said}");
        assert!(of["lines_per_second"].as_f64() > Some(0.0), "{said}");
    }
}

#[cfg(feature = "tls")]
#[test]
fn the_comparison_through_tls_runs() {
    if skipped("python3") {
        return;
    }
    let said = asked("benches/tls/run", "--rounds 1 -d 50ms -c 4 --patience 60");
    let text = &said.exits(0).out;
    let mut names = vec!["onepoll"];
    for (program, with) in [
        ("nginx", ["nginx-only", "nginx+backend"]),
        ("haproxy", ["haproxy-only", "haproxy+backend"]),
    ] {
        let mut lines = said.err.lines();
        if !lines.any(|line| line.starts_with("left out, not installed") && line.contains(program))
        {
            names.extend(with);
        }
    }
    for name in names {
        // In the call that it prints, and once in each mode.
        assert!(text.matches(name).count() >= 3, "{name}: {text}");
    }
    let agreed = "through TLS 1.3, TLS_AES_128_GCM_SHA256 (";
    assert_eq!(text.matches(agreed).count(), 2, "{text}");
}

#[test]
fn the_comparison_with_other_ways_for_files_runs() {
    if skipped("python3") || skipped("cc") {
        return;
    }
    let said = asked(
        "benches/files/peers",
        "--json --rounds 1 --size 2M --files 70 --only 'bare client,fetch,sync=batch' \
         --tables 'download of one,upload of one,download of many,upload of many'",
    );
    let text = &said.exits(0).out;
    for name in ["plain", "bare client", "sync=batch"] {
        // In its table, and as JSON.
        assert!(text.matches(name).count() >= 2, "{name}: {text}");
    }
}

#[test]
fn the_latency_of_an_echo_beside_files_is_measured() {
    if skipped("python3") {
        return;
    }
    let said = asked(
        "benches/files/latency",
        "--rounds 1 --bytes 1M --size 1M --rest 0.3",
    );
    let text = &said.exits(0).out;
    for name in ["rest", "same", "other", "same / other: "] {
        assert!(text.contains(name), "{name}: {text}");
    }
}

#[test]
fn fault_f_hostile_commands_leave_nothing_behind() {
    if skipped("python3") {
        return;
    }
    let said = asked("benches/hostile/run", "--commands 300 --json");
    let text = &said.exits(0).out;
    assert!(text.contains("\"commands\": 300"), "{text}");
    assert!(text.contains("\"is_clean\": true"), "{text}");
    for line in said.err.lines() {
        eprintln!("skipped: {line}");
    }
}
