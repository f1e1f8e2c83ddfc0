//! `[log] format = "json"`: all of standard error is JSON, an object a line.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::{PATIENCE, onepoll, run};

/// A configuration file, and its directory.
fn configured(text: &str) -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("onepoll.toml");
    fs::write(&path, text).unwrap();
    let path = path.to_str().unwrap().to_owned();
    (dir, path)
}

/// A line of the log, which every line must be.
fn object(line: &str) -> Value {
    let object: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line:?}"));
    for field in ["time", "level", "message"] {
        assert!(object[field].is_string(), "{line}");
    }
    object
}

/// A server whose log is read by a program.
pub(super) struct Logged {
    child: Child,
    lines: Receiver<String>,
}

impl Logged {
    fn new(args: &[&str]) -> Self {
        let mut command = onepoll(["serve"]);
        Self::of(command.args(args))
    }

    pub(super) fn of(command: &mut Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let err = BufReader::new(child.stderr.take().unwrap());
        let (tell, lines) = mpsc::channel();
        thread::spawn(move || err.lines().try_for_each(|line| tell.send(line.unwrap())));
        Self { child, lines }
    }

    /// The next line; `None` at the end.
    pub(super) fn line(&self) -> Option<String> {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("it said nothing for {PATIENCE:?}"),
        }
    }

    /// The next record of this message; those before it are records too.
    fn says(&self, message: &str) -> Value {
        loop {
            let line = self
                .line()
                .unwrap_or_else(|| panic!("it never said {message}"));
            let object = object(&line);
            if object["message"] == message {
                return object;
            }
        }
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(super) fn kill(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Ends it; the rest of its log.
    fn end(mut self) -> Vec<Value> {
        self.kill(Signal::TERM);
        let rest = std::iter::from_fn(|| self.line())
            .map(|line| object(&line))
            .collect();
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
        rest
    }
}

impl Drop for Logged {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const JSON: &str = "[log]\nformat = \"json\"\n";

#[test]
fn all_of_standard_error_is_json_an_object_a_line() {
    let (dir, file) = configured(JSON);
    let socket = dir.path().join("echo.sock");
    let url = format!("echo+unix://{}?max-connections=1", socket.display());
    let server = Logged::new(&["--config", &file, "--trace", &url]);
    let listening = server.says("listening");
    assert_eq!(
        (&listening["level"], &listening["endpoint"]),
        (&"INFO".into(), &url.into())
    );
    assert_eq!(server.says("ready")["level"], "INFO");

    server.kill(Signal::USR1);
    let counters = server.says("counters");
    assert_eq!(counters["level"], "INFO");
    assert_eq!(counters["connections_opened"], 0);
    assert_eq!(counters["refused"]["listener_full"], 0);

    // Warnings, closings and what a turn did are lines as well.
    let first = UnixStream::connect(&socket).unwrap();
    let mut refused = UnixStream::connect(&socket).unwrap();
    refused.read_to_end(&mut Vec::new()).unwrap();
    assert_eq!(server.says("refused a connection")["level"], "WARN");
    drop(first);
    let rest = server.end();
    assert!(
        rest.iter().any(|object| object["message"] == "stopping"),
        "{rest:?}"
    );
}

#[test]
fn counters_are_printed_when_they_are_asked_for_at_every_level() {
    let (_dir, file) = configured("[log]\nformat = \"json\"\nlevel = \"error\"\n");
    let server = Logged::new(&["--config", &file, "echo://127.0.0.1:0"]);
    server.says("ready");
    server.kill(Signal::USR1);
    assert_eq!(server.says("counters")["connections"], 0);
    assert!(server.end().is_empty());
}

#[test]
fn what_keeps_a_server_from_starting_is_json_too() {
    let wrong_limit = format!("{JSON}[limits]\nzebra = 1\n");
    let wrong_table = format!("{JSON}[[endpoint]]\nservice = \"echo\"\n");
    for (text, endpoint, code) in [
        (JSON, "nonsense://x", 2),
        (JSON, "echo://0.0.0.0:0", 2),
        (JSON, "echo://nohost.invalid:1", 1),
        (JSON, "echo+unix:///nonexistent/x", 1),
        (JSON, "echo+fd://99", 1),
        (&wrong_limit, "echo://127.0.0.1:0", 2),
        (&wrong_table, "echo://127.0.0.1:0", 2),
    ] {
        let (_dir, file) = configured(text);
        let said = run(&mut onepoll(["serve", "--config", &file, endpoint]));
        assert_eq!((said.code, said.out.as_str()), (Some(code), ""), "{said:?}");
        let levels: Vec<Value> = said
            .err
            .lines()
            .map(|line| object(line)["level"].clone())
            .collect();
        assert!(
            !levels.is_empty() && levels.iter().all(|level| level == "ERROR"),
            "{said:?}"
        );
    }
}

#[test]
fn a_configuration_without_an_end_is_refused_and_not_read_again() {
    let said = run(&mut onepoll(["serve", "--config", "/dev/zero"]));
    assert_eq!((said.code, said.out.as_str()), (Some(2), ""), "{said:?}");
    assert!(said.err.contains("/dev/zero"), "{said:?}");
}

#[test]
fn what_is_skipped_of_the_default_table_is_a_warning() {
    let (dir, file) = configured(JSON);
    // Its private directory cannot be made, so its command socket is skipped.
    let runtime: &Path = &dir.path().join("missing");
    let mut command = onepoll(["serve", "--config", &file]);
    let server = Logged::of(command.env("XDG_RUNTIME_DIR", runtime));
    let line = server.line().unwrap();
    let skipped = object(&line);
    assert!(
        skipped["message"].as_str().unwrap().contains("skipped"),
        "{line}"
    );
    assert_eq!(skipped["level"], "WARN");
}
