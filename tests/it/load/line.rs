//! The line that says how far a run is: on a terminal it is there and then gone, elsewhere it is not.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Stdio};
use std::thread;

use onepoll::load::stopwatch::Stopwatch;
use rustix::fs::{Mode, OFlags, open};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            thread::spawn(move || {
                let mut stream = stream.unwrap();
                let mut buf = [0; 4096];
                while let Ok(n @ 1..) = stream.read(&mut buf) {
                    if stream.write_all(&buf[..n]).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

/// What `bench` writes to a terminal on its standard error, and to a pipe on its standard output.
fn on_a_terminal(args: &[&str]) -> (String, String) {
    let near = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&near).unwrap();
    unlockpt(&near).unwrap();
    let name = ptsname(&near, Vec::new()).unwrap();
    let far = open(
        name.as_c_str(),
        OFlags::RDWR | OFlags::NOCTTY,
        Mode::empty(),
    )
    .unwrap();
    let child = Command::new(env!("CARGO_BIN_EXE_onepoll"))
        .arg("bench")
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::from(far))
        .spawn()
        .unwrap();
    // Reading ends with an error when the last one who holds the far side has gone: the child, since the
    // command that held ours is dropped by now.
    let mut shown = Vec::new();
    let _ = File::from(near).read_to_end(&mut shown);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    (
        String::from_utf8(shown).unwrap(),
        String::from_utf8(output.stdout).unwrap(),
    )
}

#[test]
fn a_terminal_sees_how_far_a_run_is_and_then_the_result_only() {
    let address = echo().to_string();
    let (shown, printed) = on_a_terminal(&["echo", &address, "-d", "700ms", "-c", "2"]);
    let lines: Vec<&str> = shown.split("\r\x1b[K").collect();
    assert!(lines.len() >= 4, "{shown:?}");
    assert!(lines.contains(&"connecting"), "{shown:?}");
    assert!(
        lines
            .iter()
            .any(|line| line.contains("of 1 s") && line.contains("p99")),
        "{shown:?}"
    );
    assert_eq!(lines.last(), Some(&""), "{shown:?}");
    assert!(
        lines.iter().all(|line| line.chars().count() < 80),
        "{shown:?}"
    );
    assert!(
        printed.starts_with("bench echo") && !printed.contains('\x1b'),
        "{printed:?}"
    );
}

#[test]
fn who_wants_it_quiet_and_who_is_no_terminal_is_shown_nothing() {
    let address = echo().to_string();
    let args = ["echo", &address, "-d", "100ms", "-c", "2"];
    let (shown, printed) = on_a_terminal(&[&args[..], &["-q"]].concat());
    assert_eq!(shown, "");
    assert!(printed.contains("rate"), "{printed:?}");
    let output = Command::new(env!("CARGO_BIN_EXE_onepoll"))
        .arg("bench")
        .args(args)
        .output()
        .unwrap();
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{output:?}"
    );
}

#[test]
fn ctrl_c_ends_the_measuring_and_prints_what_was_seen() {
    let address = echo().to_string();
    for args in [
        &["echo", &address, "-d", "60s"][..],
        &["conn", &address, "-d", "60s", "--rate", "100"],
        &["hold", &address, "-d", "60s"],
    ] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_onepoll"))
            .arg("bench")
            .args(args)
            .args(["-c", "2", "--json"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // It listens to signals once it is connected: the server has its two, or a first request.
        wait_until_connected(child.id());
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        let mut printed = String::new();
        let mut stdout = child.stdout.take().unwrap();
        stdout.read_to_string(&mut printed).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(130), "{printed}");
        let json: serde_json::Value = serde_json::from_str(&printed).unwrap();
        assert_eq!(json["interrupted"], true, "{json}");
        assert_eq!(json["errors"]["total"], 0, "{json}");
    }
}

/// Until the process has a socket of TCP; a run of a minute has begun then.
fn wait_until_connected(pid: u32) {
    let deadline = Stopwatch::start();
    let has_socket = || {
        let files = std::fs::read_dir(format!("/proc/{pid}/fd"))
            .into_iter()
            .flatten();
        files.flatten().any(|file| {
            let link = std::fs::read_link(file.path()).unwrap_or_default();
            link.to_string_lossy().starts_with("socket:")
        })
    };
    while !has_socket() {
        assert!(deadline.nanos() < 20_000_000_000, "it does not connect");
        thread::yield_now();
    }
}
