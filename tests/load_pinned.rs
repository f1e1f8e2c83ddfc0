//! The load generator says when the figures are its own: pinned onto the server's processor it was
//! the limit, beside a server that takes its time it was not.
#![cfg(feature = "cli")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use onepoll::load::{self, Amount, Mode, Plan};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// `onepoll serve`; killed, by its own id, when this is dropped.
struct Server(Child, String);

impl Server {
    fn start() -> Server {
        let mut child = onepoll(&["serve", "echo://127.0.0.1:0"])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = child.stderr.take().unwrap();
        let mut server = Server(child, String::new());
        let mut lines = BufReader::new(stderr).lines();
        for line in &mut lines {
            let line = line.unwrap();
            if let Some((_, at)) = line.split_once("listening on echo://") {
                server.1 = at.trim().to_owned();
            }
            if line.ends_with("ready") {
                break;
            }
        }
        assert!(!server.1.is_empty(), "an address was announced");
        // What it still says must not fill the pipe.
        thread::spawn(move || lines.count());
        server
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn onepoll(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_onepoll"));
    command.args(args).stdin(Stdio::null());
    command.env_remove("ONEPOLL_CONFIG");
    command
}

/// Binds this thread, and whatever it starts from now on, to one processor.
fn pin() {
    let allowed = sched_getaffinity(None).unwrap();
    let mut cpus = (0..CpuSet::MAX_CPU).filter(|&cpu| allowed.is_set(cpu));
    let mut one = CpuSet::new();
    one.set(cpus.next().unwrap());
    sched_setaffinity(None, &one).unwrap();
}

#[test]
fn pinned_onto_the_servers_processor_the_generator_was_the_limit() {
    pin();
    let server = Server::start();
    // Whether one connection or many: the two are never at work at the same time.
    for connections in ["1", "50"] {
        let args = ["bench", "echo", &server.1, "-c", connections, "-d", "500ms"];
        let text = onepoll(&args).output().unwrap();
        assert!(text.status.success(), "{text:?}");
        let text = String::from_utf8(text.stdout).unwrap();
        assert!(text.contains("was the limit"), "{text}");

        let json = onepoll(&args).arg("--json").output().unwrap();
        let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
        let generator = &json["generator"];
        assert_eq!(generator["was_the_limit"], true, "{generator}");
    }
}

#[test]
fn beside_a_server_that_takes_its_time_the_generator_was_not_the_limit() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut message = [0; 64];
        let (_never, timer) = std::sync::mpsc::channel::<()>();
        while stream.read_exact(&mut message).is_ok() {
            let _ = timer.recv_timeout(Duration::from_millis(10));
            let _ = stream.write_all(&message);
        }
    });
    let mut plan = Plan::new(address.to_string().parse().unwrap(), Mode::Echo);
    plan.connections = 1;
    plan.amount = Amount::Count(20);
    let report = load::run(&plan).unwrap();
    assert_eq!(report.requests.answered, 20, "{report}");
    assert!(!report.generator.was_the_limit, "{report}");
    assert!(!report.to_string().contains("was the limit"), "{report}");
}
