//! Reports from the field: what failed in use, each mended with its class; the tests bear the promise.

mod answers;
mod exec;
mod logs;
mod messages;
mod streams;
mod trust;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// No command here takes this long, also on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(60);

/// The binary, with nothing on standard input.
fn onepoll<S: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_onepoll"));
    command.args(args).stdin(Stdio::null());
    command
}

/// What came of a command.
#[derive(Debug, PartialEq, Eq)]
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

/// Runs to the end, both outputs collected where nothing else was said of them.
fn run(command: &mut Command) -> Said {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    finish(command.spawn().unwrap())
}

/// Waits for the end, but not for ever.
fn finish(child: Child) -> Said {
    let pid = Pid::from_child(&child);
    let (ended, end) = mpsc::channel();
    thread::spawn(move || ended.send(child.wait_with_output().unwrap()));
    let output: Output = end.recv_timeout(PATIENCE).unwrap_or_else(|_| {
        let _ = kill_process(pid, Signal::KILL);
        panic!("it did not end within {PATIENCE:?}")
    });
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    Said {
        code: output.status.code(),
        out: text(&output.stdout),
        err: text(&output.stderr),
    }
}

/// `onepoll serve` in a process of its own; ended when it is dropped.
struct Server {
    child: Child,
    said: Vec<String>,
    _err: BufReader<ChildStderr>,
    dir: TempDir,
}

impl Server {
    /// Begins to serve; in an endpoint, `DIR` is a directory of the server's own.
    fn new(endpoints: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut command = onepoll(["serve"]);
        for endpoint in endpoints {
            command.arg(endpoint.replace("DIR", dir.path().to_str().unwrap()));
        }
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut err = BufReader::new(child.stderr.take().unwrap());
        let mut said = Vec::new();
        while said
            .last()
            .is_none_or(|line: &String| !line.ends_with("ready\n"))
        {
            let mut line = String::new();
            assert!(err.read_line(&mut line).unwrap() > 0, "{said:?}");
            said.push(line);
        }
        Self {
            child,
            said,
            _err: err,
            dir,
        }
    }

    /// Commands on a Unix socket; the address.
    fn of_commands(options: &str) -> (Self, String) {
        let server = Self::new(&[&format!("command+unix://DIR/c.sock{options}")]);
        let address = server.path().join("c.sock").to_str().unwrap().to_owned();
        (server, address)
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Where its first endpoint listens: the port is the system's choice.
    fn address(&self) -> String {
        let line = self
            .said
            .iter()
            .find(|line| line.contains("listening on"))
            .unwrap();
        let (_, address) = line.trim_end().rsplit_once("://").unwrap();
        address.split('?').next().unwrap().to_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
