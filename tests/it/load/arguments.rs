//! What is typed: numbers with their units, options that a mode heeds and others, and what the result says of the call.

use std::fs;

use serde_json::Value;

use crate::support::program::{bench, onepoll};
use crate::support::script::{Reply, Request, echo, replies};

#[test]
fn numbers_have_units_and_an_error_says_what_would_be_right() {
    let server = echo();
    let json = bench(format!(
        "echo {server} -c 2 -n 0.1k -s 1.5KiB --rate 5k --json"
    ));
    let json = json.exits(0).json();
    assert_eq!(json["requests"]["answered"], 100, "{json}");
    assert_eq!(json["size_bytes"], 1_536, "{json}");
    assert_eq!(json["schedule"]["rate_per_s"], 5_000.0, "{json}");
    for (wrong, why) in [
        (
            "-c ten",
            "'ten' for '--connections <COUNT>': write a whole number, such as 200, 10k or 1.5M",
        ),
        (
            "-c -5",
            "'-5' for '--connections <COUNT>': write a whole number",
        ),
        (
            "-c 0",
            "the number of connections must be between 1 and 1,048,576, not 0",
        ),
        (
            "-c 5M",
            "the number of connections must be between 1 and 1,048,576, not 5,000,000",
        ),
        ("-n 0", "--count must be at least 1, not 0"),
        (
            "-n 1.5",
            "'1.5' for '--count <COUNT>': write a whole number",
        ),
        (
            "--pipeline 1x",
            "'1x' for '--pipeline <DEPTH>': write a whole number",
        ),
        (
            "--rate fast",
            "'fast' for '--rate <RATE>': write how many a second, such as 500, 10k or 1.5M",
        ),
        ("--rate 100M", "at most 10,000,000 a second, not 100000000"),
        (
            "-s 64kB",
            "kB is 1000 or 1024 to the one and the other: write KiB or MiB",
        ),
        ("-s 20M", "must be between 1 and 16,777,216, not 20,971,520"),
        ("-d 5", "`5` is not a duration such as 20ms, 60s"),
        (
            "-d 0",
            "the time to measure (--duration) must be more than 0",
        ),
        (
            "--timeout 0s",
            "the time for a request (--timeout) must be more than 0",
        ),
        (
            "--pid me",
            "'me' for '--pid <PID,…>': write the number of a process",
        ),
        (
            "--rounds x",
            "'x' for '--rounds <COUNT>': write a whole number",
        ),
    ] {
        bench(format!("echo 127.0.0.1:9 {wrong}")).refuses(why);
    }
}

/// What the help of a mode lists, and what it does not.
#[track_caller]
fn lists(mode: &str, flags: &[&str], others: &[&str]) {
    let help = onepoll(&["bench", mode, "--help"]).exits(0).out.clone();
    let is_listed = |flag: &&&str| {
        let flag = format!("--{flag}");
        let mut words = help
            .lines()
            .flat_map(|line| line.trim_start().split(' ').take(2));
        words.any(|word| word.split(['[', '.']).next() == Some(&flag))
    };
    assert_eq!(flags.iter().find(|flag| !is_listed(flag)), None, "{help}");
    assert_eq!(others.iter().find(is_listed), None, "{help}");
}

#[test]
fn the_help_of_a_mode_lists_what_the_mode_heeds() {
    lists(
        "echo",
        &[
            "size",
            "payload",
            "expect",
            "rate",
            "count",
            "find-rate",
            "tls",
        ],
        &["close", "window"],
    );
    lists(
        "hold",
        &[
            "size",
            "payload",
            "expect",
            "connections",
            "duration",
            "pid",
        ],
        &[
            "rate",
            "arrivals",
            "find-rate",
            "count",
            "warmup",
            "baseline",
            "tolerance",
            "pipeline",
        ],
    );
    lists(
        "exec",
        &["command", "exit", "expect", "rate"],
        &["size", "payload"],
    );
    lists(
        "udp",
        &["size", "window", "rate"],
        &["payload", "expect", "tls", "ca", "secret-file", "digest"],
    );
    lists("fanout", &["size", "hello", "tls"], &["payload", "expect"]);
    lists("compare", &["mode", "rate", "window"], &["find-rate"]);
}

#[test]
fn an_option_that_a_mode_does_not_heed_is_an_error_that_says_why() {
    for (line, why) in [
        (
            "hold 127.0.0.1:9 -n 5",
            "--count has no effect in `bench hold`: it sends no requests while it measures",
        ),
        (
            "hold 127.0.0.1:9 --warmup 1s",
            "--warmup has no effect in `bench hold`: it sends no requests",
        ),
        (
            "exec 127.0.0.1:9 -s 5",
            "--size has no effect in `bench exec`: the message is the command line (--command)",
        ),
        (
            "udp 127.0.0.1:9 --payload x",
            "--payload has no effect in `bench udp`: a message begins with its number",
        ),
        (
            "udp 127.0.0.1:9 --digest md5",
            "--digest has no effect in `bench udp`: a challenge comes on a connection",
        ),
        (
            "compare 127.0.0.1:9 --mode exec,udp --payload x",
            "--payload has no effect in `bench exec` or `bench udp`",
        ),
        (
            "compare 127.0.0.1:9 --mode conn --window 5",
            "--window has no effect in `bench conn`",
        ),
        (
            "hold 127.0.0.1:9 --for 127.0.0.1:9 pipeline=5",
            "`pipeline` has no effect in `bench hold`",
        ),
        (
            "exec 127.0.0.1:9?size=5",
            "`size` has no effect in `bench exec`",
        ),
        (
            "echo 127.0.0.1:9 --requests 5",
            "--requests is no option of `bench echo`, but of `bench conn` and `bench compare`",
        ),
        (
            "hold 127.0.0.1:9 --pipeline 5",
            "--pipeline is no option of `bench hold`, but of `bench echo` and `bench fanout` and `bench compare`",
        ),
    ] {
        bench(line).refuses(why);
    }
}

#[test]
fn the_result_says_how_many_bytes_went_both_ways() {
    // Ten bytes come back for each of four.
    let server = replies(Request::Bytes(4), |_, _, _| {
        Reply::Bytes(b"0123456789".to_vec())
    });
    for mode in ["echo", "conn"] {
        let line = format!("{mode} {server} -c 1 -n 20 -s 4 --expect 10");
        let json = bench(format!("{line} --json")).exits(0).json();
        let bytes = |way: &str| {
            let per_s = json["bytes_per_s"][way].as_f64().unwrap();
            (per_s * json["elapsed_s"].as_f64().unwrap()).round()
        };
        assert_eq!((bytes("sent"), bytes("received")), (80.0, 200.0), "{json}");
        let text = bench(line).exits(0).out.clone();
        let rows = text
            .lines()
            .filter(|line| line.starts_with("  bytes      "));
        assert_eq!(
            rows.filter(|row| row.ends_with("B/s received")).count(),
            1,
            "{text}"
        );
        assert!(text.contains("held       1 of 1 connection\n"), "{text}");
    }
    let json = bench(format!("hold {server} -c 1 -d 10ms --json")).json();
    assert_eq!(json["bytes_per_s"], Value::Null, "{json}");
}

#[test]
fn the_result_says_when_where_and_by_which_command_it_was_made() {
    let server = echo();
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("page.html");
    let html = page.to_str().unwrap();
    let lines = [
        format!("echo old={server} -c 1 -n 1 --payload a&b --html {html} --json"),
        format!("echo old={server} new={server} -c 1 -n 1 --rounds 1 --html {html} --json"),
    ];
    for line in lines {
        let json = bench(line.clone()).exits(0).json();
        let made = &json["made"];
        let quoted = shell_words::join(line.split(' '));
        assert_eq!(
            made["command_line"],
            format!("onepoll bench {quoted}"),
            "{json}"
        );
        assert_eq!(made["version"], env!("CARGO_PKG_VERSION"), "{json}");
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
        assert!(
            made["kernel"].as_str().unwrap().contains(kernel.trim()),
            "{json}"
        );
        let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
        assert_eq!(made["host"], host.trim(), "{json}");
        let text = fs::read_to_string(&page).unwrap();
        for key in ["date", "host", "kernel"] {
            let said = made[key].as_str().unwrap();
            assert!(text.contains(said), "{said}: {text}");
        }
        let shown = quoted.replace('&', "&amp;").replace('\'', "&#39;");
        assert!(text.contains(&shown), "{shown}: {text}");
        // Where the head of the table is not shown, each cell has its name.
        let is_named = text.contains(r#"data-name="old""#) && text.contains(r#"data-name="new""#);
        assert_eq!(is_named, line.contains("new="), "{text}");
    }
}
