//! The suite in Python: raw bytes to the real binary, with no code of ours on the other side.
//!
//! Each file under `tests/python/` is a process of its own, so that they run beside each other and
//! one that hangs can be ended without the rest. Without `python3` the tests print why and pass,
//! unless `ONEPOLL_TEST_REQUIRE_ALL=1`. By hand: `python3 tests/python/test_streams.py -v`.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// No file may take longer; on an idle machine none takes a tenth of it.
const DEADLINE: Duration = Duration::from_secs(120);

/// The files, one test each.
const FILES: [&str; 7] = [
    "test_chat.py",
    "test_command.py",
    "test_datagrams.py",
    "test_faults.py",
    "test_life.py",
    "test_process.py",
    "test_streams.py",
];

#[test]
fn t6_chat() {
    passes("test_chat.py");
}

#[test]
fn c1_to_c4_commands() {
    passes("test_command.py");
}

#[test]
fn u1_u2_datagrams() {
    passes("test_datagrams.py");
}

#[test]
fn fault_a_b_reactor_and_streams() {
    passes("test_faults.py");
}

#[test]
fn fault_h_start_and_stop() {
    passes("test_life.py");
}

#[test]
fn fault_f15_to_f17_what_a_command_inherits() {
    passes("test_process.py");
}

#[test]
fn t0_to_t4_streams() {
    passes("test_streams.py");
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
    assert_eq!(found, FILES.map(String::from).into());
}

/// Runs one file to its end, or ends it.
fn passes(file: &str) {
    let mut python = Command::new("python3");
    python
        // A group of its own: whatever it starts can be ended with it.
        .process_group(0)
        .args(["-B", file])
        .current_dir(directory())
        .env("ONEPOLL_BIN", env!("CARGO_BIN_EXE_onepoll"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = match python.spawn() {
        Ok(child) => Group(child),
        Err(error) if std::env::var("ONEPOLL_TEST_REQUIRE_ALL").as_deref() == Ok("1") => {
            panic!("python3 cannot be run: {error}");
        }
        Err(error) => {
            // Not `eprintln!`, whose lines the test runner keeps to itself.
            let _ = writeln!(std::io::stderr(), "{file} skipped: python3: {error}");
            return;
        }
    };
    let (tell, told) = mpsc::channel();
    read_to_end(child.0.stdout.take(), tell.clone());
    read_to_end(child.0.stderr.take(), tell);
    // Both streams end when the last process that holds them does.
    let said: Result<Vec<String>, _> = (0..2).map(|_| told.recv_timeout(DEADLINE)).collect();
    let Ok(said) = said else {
        panic!("{file} did not end within {DEADLINE:?}");
    };
    let said = said.concat();
    let status = child.0.wait().unwrap();
    assert!(status.success(), "{file}: {status}\n{said}");
    println!("{said}");
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python")
}

fn read_to_end(stream: Option<impl Read + Send + 'static>, tell: mpsc::Sender<String>) {
    let mut stream = stream.expect("it was asked for as a pipe");
    thread::spawn(move || {
        let mut said = Vec::new();
        let _ = stream.read_to_end(&mut said);
        let _ = tell.send(String::from_utf8_lossy(&said).into_owned());
    });
}

/// A process and those it started; ended when the test is.
struct Group(Child);

impl Drop for Group {
    fn drop(&mut self) {
        if let Ok(Some(_)) = self.0.try_wait() {
            return;
        }
        // It was not waited for yet, so its id, which is its group's, is still its own.
        let group = i32::try_from(self.0.id())
            .ok()
            .and_then(rustix::process::Pid::from_raw);
        if let Some(group) = group {
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
        let _ = self.0.wait();
    }
}
