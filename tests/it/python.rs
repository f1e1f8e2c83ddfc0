//! The suite in Python: raw bytes to the real binary, with no code of ours on the other side.
//!
//! Each file under `tests/python/` is a process of its own, so that they run beside each other and
//! one that hangs can be ended without the rest. Without `python3` the tests print why and pass,
//! unless `ONEPOLL_TEST_REQUIRE_ALL=1`. By hand: `python3 tests/python/test_streams.py -v`.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::program::{run, skipped};

/// The files, one test each.
const FILES: &[&str] = &[
    "test_audit.py",
    "test_bus.py",
    "test_bus_tls.py",
    "test_chat.py",
    "test_chat_client.py",
    "test_command.py",
    "test_command_stream.py",
    "test_datagrams.py",
    "test_faults.py",
    "test_file_clients.py",
    "test_file_transfers.py",
    "test_files.py",
    "test_ipmsg.py",
    "test_keepalive.py",
    "test_life.py",
    "test_metrics.py",
    "test_policy.py",
    "test_process.py",
    "test_processes.py",
    "test_prompt.py",
    "test_reload.py",
    "test_rooms.py",
    "test_secret.py",
    "test_sources.py",
    "test_streams.py",
    "test_supervisor.py",
    "test_tail.py",
    "test_talk.py",
    "test_tls.py",
    "test_unit.py",
];

#[test]
fn t6_chat() {
    passes("test_chat.py");
}

#[test]
fn t6_a_person_in_a_chat() {
    passes("test_chat_client.py");
}

#[test]
fn t6_fault_d10_d12_d17_a_bus_through_tls() {
    passes("test_bus_tls.py");
}

#[test]
fn t6_rooms_on_a_bus() {
    passes("test_bus.py");
}

#[test]
fn t6_rooms() {
    passes("test_rooms.py");
}

#[test]
fn fault_h3_reload() {
    passes("test_reload.py");
}

#[test]
fn u4_fault_c2_e9_e12_to_e15_ipmsg() {
    passes("test_ipmsg.py");
}

#[test]
fn c1_to_c4_commands() {
    passes("test_command.py");
}

#[test]
fn c5_commands_as_streams() {
    passes("test_command_stream.py");
}

#[test]
fn c5_a_person_at_a_prompt() {
    passes("test_prompt.py");
}

#[test]
fn t5_u3_person_to_person() {
    passes("test_talk.py");
}

#[test]
fn one_command_and_many_readers() {
    passes("test_tail.py");
}

#[test]
fn units_pages_users() {
    passes("test_unit.py");
}

#[test]
fn several_processes() {
    passes("test_processes.py");
}

#[test]
fn supervisors() {
    passes("test_supervisor.py");
}

#[test]
fn u1_u2_u5_to_u8_datagrams() {
    passes("test_datagrams.py");
}

#[test]
fn fault_a_b_reactor_and_streams() {
    passes("test_faults.py");
}

#[test]
fn f1_to_f3_files() {
    passes("test_files.py");
}

#[test]
fn fault_g7_g8_g10_g11_g13_g15_clients_of_files() {
    passes("test_file_clients.py");
}

#[test]
fn fault_g7_g12_h10_files_that_are_cut() {
    passes("test_file_transfers.py");
}

#[test]
fn fault_d7_to_d11_tls() {
    passes("test_tls.py");
}

#[test]
fn fault_h_start_and_stop() {
    passes("test_life.py");
}

#[test]
fn fault_c8_c12_audit() {
    passes("test_audit.py");
}

#[test]
fn t11_metrics() {
    passes("test_metrics.py");
}

#[test]
fn fault_f15_to_f17_what_a_command_inherits() {
    passes("test_process.py");
}

#[test]
fn fault_f4_f5_f6_f14_f20_f22_h9_policies() {
    passes("test_policy.py");
}

#[test]
fn fault_b18_a_peer_that_is_gone() {
    passes("test_keepalive.py");
}

#[test]
fn sources_by_address_and_how_many_of_one() {
    passes("test_sources.py");
}

#[test]
fn t0_to_t4_t7_to_t10_streams() {
    passes("test_streams.py");
}

#[test]
fn a1_to_a3_secrets() {
    passes("test_secret.py");
}

#[test]
fn a_conversation_with_every_default_endpoint() {
    passes("session.py");
}

#[test]
fn every_file_has_its_test() {
    let found: BTreeSet<String> = std::fs::read_dir(directory())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("test_"))
        .collect();
    let listed = FILES.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(found, listed);
}

/// Runs one file to its end, or ends it.
fn passes(file: &str) {
    if skipped("python3") {
        return;
    }
    let mut python = Command::new("python3");
    python.args(["-B", file]).current_dir(directory());
    python.env("ONEPOLL_BIN", env!("CARGO_BIN_EXE_onepoll"));
    let said = run(&mut python, "");
    said.exits(0);
    println!("{}{}", said.out, said.err);
    for line in said
        .err
        .lines()
        .filter(|line| line.starts_with("skipped: "))
    {
        // Not `eprintln!`, whose lines the test runner keeps to itself.
        let _ = writeln!(io::stderr(), "{line}");
    }
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python")
}
