//! The line that says how far a run is: on a terminal it is there and then gone, elsewhere it is not.

use std::fs::File;
use std::io::Read;
use std::process::Stdio;
use std::sync::mpsc;
use std::thread;

use rustix::fs::{Mode, OFlags, open};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::support::DEADLINE;
use crate::support::program::{Group, Said, bench, command};
use crate::support::script::{conversations, echo};

/// What `bench` writes to a terminal on its standard error, and to a pipe on its standard output. The terminal
/// becomes narrower when it first shows `until`.
fn on_a_terminal(line: &str, until: &'static str) -> Said {
    let near = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&near).unwrap();
    unlockpt(&near).unwrap();
    let name = ptsname(&near, Vec::new()).unwrap();
    tcsetwinsize(&near, wide(WIDE)).unwrap();
    let far = open(name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
    let group = start(line, Stdio::from(far));
    // Reading ends with an error when the last one who holds the far side has gone: the program, since
    // the command that held ours is dropped by now.
    let shown = thread::spawn(move || {
        let (mut shown, mut chunk) = (Vec::new(), [0; 4096]);
        let mut near = File::from(near);
        while let Ok(n @ 1..) = near.read(&mut chunk) {
            shown.extend_from_slice(&chunk[..n]);
            if String::from_utf8_lossy(&shown).contains(until) {
                tcsetwinsize(&near, wide(NARROW)).unwrap();
            }
        }
        String::from_utf8(shown).unwrap()
    });
    let said = group.said(DEADLINE);
    said.exits(0);
    Said {
        err: shown.join().unwrap(),
        ..said
    }
}

/// Columns of the terminal.
const WIDE: u16 = 50;
const NARROW: u16 = 20;

fn wide(columns: u16) -> Winsize {
    Winsize {
        ws_row: 24,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    }
}

fn start(line: &str, stderr: Stdio) -> Group {
    let words: Vec<&str> = line.split(' ').collect();
    let mut bench = command(&["bench"]);
    bench.args(words).stdin(Stdio::null());
    Group::spawn(bench.stdout(Stdio::piped()).stderr(stderr)).unwrap()
}

/// What `bench` prints on a terminal of so many columns.
fn printed(line: &str, columns: u16) -> String {
    let near = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&near).unwrap();
    unlockpt(&near).unwrap();
    let name = ptsname(&near, Vec::new()).unwrap();
    tcsetwinsize(&near, wide(columns)).unwrap();
    let far = open(name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
    let mut bench = command(&["bench"]);
    bench.args(line.split(' ')).stdin(Stdio::null());
    let group = Group::spawn(bench.stdout(Stdio::from(far)).stderr(Stdio::piped())).unwrap();
    drop(bench);
    let shown = thread::spawn(move || {
        let mut shown = Vec::new();
        // It ends with an error when nobody has the far side any more.
        let _ = File::from(near).read_to_end(&mut shown);
        String::from_utf8(shown).unwrap().replace("\r\n", "\n")
    });
    group.said(DEADLINE);
    shown.join().unwrap()
}

#[test]
fn no_row_of_a_table_is_broken_on_a_narrow_terminal() {
    let server = echo();
    let few = "-n 8 -c 1 --max-busy 100";
    for (line, rows) in [
        (
            format!("compare quick={server} slow={server} --mode echo,conn -n 8 -c 1"),
            ["\n  quick\n    rate /s", "\n  slow\n    rate /s"],
        ),
        (
            format!("echo new={server} --against old={server} --rounds 16 {few}"),
            ["\n  errors\n    not ", "\n    chance  "],
        ),
    ] {
        for columns in [40, 60, 80] {
            let text = printed(&line, columns);
            let fits = |line: &str| line.chars().count() <= usize::from(columns);
            assert!(text.lines().all(fits), "{columns}: {text}");
            for row in rows {
                assert!(columns != 40 || text.contains(row), "{row:?}: {text}");
            }
        }
    }
}

#[test]
fn a_terminal_sees_how_far_a_run_is_and_then_the_result_only() {
    let said = on_a_terminal(&format!("echo {} -d 700ms -c 2", echo()), "p50");
    let shown = said.err;
    let lines: Vec<&str> = shown.split("\r\x1b[K").collect();
    assert!(lines.len() >= 4, "{shown:?}");
    assert!(lines.contains(&"connecting"), "{shown:?}");
    let says_how_far = |line: &&str| line.contains("of 1 s") && line.contains("p50");
    assert!(lines.iter().any(says_how_far), "{shown:?}");
    assert_eq!(lines.last(), Some(&""), "{shown:?}");
    // A line that was as wide as the terminal would wrap, and could not be cleared.
    let fits = |most: u16| move |line: &&str| line.chars().count() < usize::from(most);
    assert!(lines.iter().all(fits(WIDE)), "{shown:?}");
    // By then it was narrower.
    let last = lines[lines.len() - 2];
    assert!(last.contains("of 1 s") && fits(NARROW)(&last), "{shown:?}");
    assert!(said.out.starts_with("bench echo"), "{}", said.out);
    assert!(!said.out.contains('\x1b'), "{}", said.out);
}

#[test]
fn a_pipe_is_shown_nothing_and_neither_is_a_terminal_that_is_to_be_quiet() {
    let line = format!("echo {} -d 100ms -c 2", echo());
    let said = on_a_terminal(&format!("{line} -q"), "anything");
    assert_eq!(said.err, "");
    assert!(said.out.contains("rate"), "{}", said.out);
    let said = bench(line);
    assert_eq!(said.exits(0).err, "");
}

#[test]
fn ctrl_c_ends_the_measuring_and_prints_what_was_seen() {
    let (tell, told) = mpsc::channel();
    let server = conversations(move |_, mut peer| {
        let _ = tell.send(());
        while let Some(message) = peer.may_take(64) {
            if peer.may_say(message).is_err() {
                return;
            }
        }
    });
    for line in [
        "echo {} -d 60s",
        "conn {} -d 60s --rate 100",
        "hold {} -d 60s",
    ] {
        let line = line.replace("{}", &server.to_string()) + " -c 2 --json";
        let group = start(&line, Stdio::piped());
        // It listens to signals before it connects.
        told.recv_timeout(DEADLINE).unwrap();
        kill_process(Pid::from_child(&group.0), Signal::INT).unwrap();
        let said = group.said(DEADLINE);
        let json = said.exits(130).json();
        assert_eq!(json["interrupted"], true, "{json}");
        assert_eq!(json["errors"]["total"], 0, "{json}");
        while told.try_recv().is_ok() {}
    }
    // A search prints what it has tried.
    let line = format!("echo {server} -c 1 -d 60s --find-rate p99<1s --json");
    let group = start(&line, Stdio::piped());
    told.recv_timeout(DEADLINE).unwrap();
    kill_process(Pid::from_child(&group.0), Signal::INT).unwrap();
    let json = group.said(DEADLINE).exits(130).json();
    assert_eq!(json["interrupted"], true, "{json}");
    assert_eq!(json["rate_per_s"], serde_json::Value::Null, "{json}");
    // A comparison prints the rounds that were whole by then.
    let page = tempfile::tempdir().unwrap();
    let html = page.path().join("page.html");
    for (line, is_json) in [
        ("compare a={} b={} --mode echo,conn", true),
        ("echo a={} b={} --rounds 3", false),
    ] {
        while told.try_recv().is_ok() {}
        let line = line.replace("{}", &server.to_string()) + " -c 1 -d 60s";
        let as_json = if is_json { " --json" } else { "" };
        let line = format!("{line}{as_json} --html {}", html.display());
        let group = start(&line, Stdio::piped());
        told.recv_timeout(DEADLINE).unwrap();
        kill_process(Pid::from_child(&group.0), Signal::INT).unwrap();
        let said = group.said(DEADLINE);
        said.exits(130);
        let written = "interrupted: what follows is of the rounds that were whole by then";
        if is_json {
            assert_eq!(said.json()["interrupted"], true, "{}", said.out);
        } else {
            assert!(said.out.starts_with(written), "{}", said.out);
        }
        let html = std::fs::read_to_string(&html).unwrap();
        assert!(html.contains(&written.replacen('i', "I", 1)), "{html}");
    }
    let whole = bench(format!(
        "echo a={server} b={server} --rounds 1 -n 2 -c 1 --json"
    ));
    assert_eq!(whole.exits(0).json()["interrupted"], false);
}
