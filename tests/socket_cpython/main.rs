//! CPython's own tests of its socket module, unmodified, as judge of ours.
//!
//! `python3 tests/python_socket/score.py` does the same and says more.

mod bridge;

use std::process::Command;

/// The score must not fall: every test that `tests/python_socket/expectations.txt` does not excuse, with a
/// reason, passes.
#[test]
fn cpythons_own_tests_pass() {
    let score = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python_socket/score.py");
    let python = Command::new("python3")
        .arg(score)
        .arg("--bridge")
        .arg(std::env::current_exe().unwrap())
        .status();
    let required = std::env::var_os("ONEPOLL_TEST_REQUIRE_ALL").is_some();
    match python.ok().and_then(|status| status.code()) {
        Some(0) => {}
        Some(MISSING) | None if !required => eprintln!("skipped: no python3 with its test files"),
        code => panic!("exit code {code:?}"),
    }
}

/// How `score.py` says that this Python has no test files, or is of another version.
const MISSING: i32 = 77;

#[test]
#[ignore = "not a test: lends our sockets to score.py"]
fn bridge() {
    if let Ok(path) = std::env::var(bridge::PATH_VARIABLE) {
        bridge::serve(&path).unwrap();
    }
}
