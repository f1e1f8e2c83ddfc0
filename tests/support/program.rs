//! Programs that are run to their end: ours, and those that some tests need.

use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;

use super::process::ended;

/// No program that a test runs takes longer; on an idle machine none takes a tenth of it.
pub(crate) const RUN_MAX: Duration = Duration::from_secs(120);

/// How a program ended, and what it said.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Said {
    /// Its output as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        let json = serde_json::from_str(&self.out);
        json.unwrap_or_else(|wrong| panic!("{wrong}: {self:?}"))
    }

    /// That it exited with this code.
    #[track_caller]
    pub(crate) fn exits(&self, code: i32) -> &Said {
        assert_eq!(self.code, Some(code), "{}{}", self.out, self.err);
        self
    }

    /// That it exited with this code, and said this.
    #[track_caller]
    pub(crate) fn is(&self, code: i32, out: &str, err: &str) {
        self.exits(code);
        assert_eq!((self.out.as_str(), self.err.as_str()), (out, err));
    }

    /// That it refused what it was asked for as wrong usage, and said why.
    #[track_caller]
    pub(crate) fn refuses(&self, why: &str) {
        self.fails(2, why);
    }

    /// That it exited with this code and without a result, and said why.
    #[track_caller]
    pub(crate) fn fails(&self, code: i32, why: &str) {
        self.exits(code);
        assert_eq!(self.out, "");
        assert!(self.err.contains(why), "{} does not say {why}", self.err);
    }
}

/// Runs `onepoll` with these arguments.
#[cfg(feature = "cli")]
#[track_caller]
pub(crate) fn onepoll(args: &[&str]) -> Said {
    run(&mut command(args), "")
}

/// Runs `onepoll bench` with the words of a line, which stand one space apart.
#[cfg(feature = "cli")]
#[track_caller]
pub(crate) fn bench(line: impl AsRef<str>) -> Said {
    let words: Vec<&str> = line.as_ref().split(' ').collect();
    run(command(&["bench"]).args(words), "")
}

/// `onepoll` with these arguments, and without a configuration of this user's.
#[cfg(feature = "cli")]
pub(crate) fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_onepoll"));
    command.args(args).env_remove("ONEPOLL_CONFIG");
    command
}

/// Runs a program to its end, with this input.
#[track_caller]
pub(crate) fn run(command: &mut Command, input: &str) -> Said {
    if input.is_empty() {
        return finish(command.stdin(Stdio::null()));
    }
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut group = Group::spawn(command.stdin(Stdio::piped())).unwrap();
    let mut stdin = group.0.stdin.take().expect("it was asked for");
    let input = input.to_owned();
    // From a thread of its own: two full pipes would wait for each other.
    thread::spawn(move || {
        // It may end without having read it.
        let _ = stdin.write_all(input.as_bytes());
    });
    group.said(RUN_MAX)
}

/// Runs a program to its end, with the standard input that it was given.
#[track_caller]
pub(crate) fn finish(command: &mut Command) -> Said {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    Group::spawn(command).unwrap().said(RUN_MAX)
}

/// A process and those it started, in a group of their own; killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Group(pub(crate) Child);

impl Group {
    pub(crate) fn spawn(command: &mut Command) -> io::Result<Group> {
        command.process_group(0).spawn().map(Group)
    }

    /// What it says until it has ended, which it must do in time.
    #[track_caller]
    pub(crate) fn said(mut self, within: Duration) -> Said {
        let streams = [hear(self.0.stdout.take()), hear(self.0.stderr.take())];
        // They end when the last process that holds them does.
        let [out, err] = streams.map(|told| match told.recv_timeout(within) {
            Ok(said) => said,
            Err(_) => panic!("it did not end within {within:?}"),
        });
        ended(Pid::from_child(&self.0));
        let code = self.0.wait().unwrap().code();
        Said { code, out, err }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Ok(None) = self.0.try_wait() {
            // It was not waited for yet, so its id, which is its group's if it has one, is still its own.
            let _ = kill_process_group(Pid::from_child(&self.0), Signal::KILL);
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
}

fn hear(stream: Option<impl Read + Send + 'static>) -> mpsc::Receiver<String> {
    let (tell, told): (Sender<String>, _) = mpsc::channel();
    thread::spawn(move || {
        let mut said = Vec::new();
        if let Some(mut stream) = stream {
            let _ = stream.read_to_end(&mut said);
        }
        let _ = tell.send(String::from_utf8_lossy(&said).into_owned());
    });
    told
}

/// Whether a program that a test needs is missing: then that is said, and with
/// `ONEPOLL_TEST_REQUIRE_ALL=1` it is a failure.
pub(crate) fn skipped(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_there = std::env::split_paths(&path).any(|folder| folder.join(program).is_file());
    if !is_there {
        skip(&format!("there is no {program}"));
    }
    !is_there
}

/// Says why something is not tested; where everything is required, that is a failure.
pub(crate) fn skip(why: &str) {
    let is_required = std::env::var("ONEPOLL_TEST_REQUIRE_ALL").is_ok_and(|all| all == "1");
    assert!(!is_required, "{why}");
    // Not `eprintln!`, whose lines the test runner keeps to itself.
    let _ = writeln!(io::stderr(), "skipped: {why}");
}
