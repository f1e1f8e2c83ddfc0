//! `serve --trace`: the system calls under their names, and the first bytes of what they moved.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};

use super::logs::Logged;
use super::{PATIENCE, onepoll, run};
use crate::support::peer::uninterrupted;
use crate::support::program::{skip, skipped};

/// Starts a server, and says where its endpoints are.
fn start(server: &mut Command, endpoints: usize) -> (Logged, Vec<String>) {
    let server = Logged::of(server);
    let listening = (0..endpoints).map(|_| {
        let line = server.line().unwrap();
        let (_, url) = line.split_once("listening on ").unwrap();
        url.split_once("://").unwrap().1.to_owned()
    });
    let addresses = listening.collect();
    assert_eq!(server.line().unwrap(), "onepoll: ready");
    (server, addresses)
}

/// What follows `ready`, after a session with the endpoints; then the server is asked to stop.
fn traced(args: &[&str], session: impl FnOnce(&[String])) -> Vec<String> {
    let endpoints = args.iter().filter(|arg| arg.contains("://")).count();
    let (server, addresses) = start(onepoll(["serve"]).args(args), endpoints);
    session(&addresses);
    server.kill(Signal::TERM);
    std::iter::from_fn(|| server.line()).collect()
}

/// The lines about a connection without its name, and those about none.
fn of_connection(lines: &[String]) -> Vec<String> {
    let about = lines
        .iter()
        .filter(|line| line.contains("#0 (generation 1): "));
    about
        .map(|line| line.replace("#0 (generation 1): ", "").trim().to_owned())
        .collect()
}

fn ask(mut server: impl Read + Write, request: &[u8], answer: usize) -> Vec<u8> {
    server.write_all(request).unwrap();
    let mut heard = vec![0; answer];
    server.read_exact(&mut heard).unwrap();
    heard
}

#[test]
fn a_trace_names_the_system_calls_and_shows_the_first_32_bytes_escaped() {
    let long = [b"\x1b[2J\xff\n".as_slice(), &[b'x'; 60]].concat();
    let lines = traced(&["--trace", "echo://127.0.0.1:0"], |addresses| {
        let client = TcpStream::connect(&addresses[0]).unwrap();
        assert_eq!(ask(&client, b"first", 5), b"first");
        assert_eq!(ask(&client, &long, 66), long);
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!((&client).read(&mut [0]).unwrap(), 0);
    });
    let of = of_connection(&lines);
    let shown = format!(r#""\x1b[2J\xff\x0a{}"…"#, "x".repeat(26));
    for wanted in [
        "recvfrom  5 of 65536 bytes \"first\"; short, so the socket is drained".to_owned(),
        "sendto    5 bytes, all \"first\"".to_owned(),
        "epoll_ctl registered, once and for everything".to_owned(),
        format!("recvfrom  66 of 65536 bytes {shown}; short, so the socket is drained"),
        format!("sendto    66 bytes, all {shown}"),
        "recvfrom  0 of 65536 bytes; the end: the peer will send nothing more".to_owned(),
        "close     the peer ended its input".to_owned(),
    ] {
        assert!(of.contains(&wanted), "no {wanted:?} in {of:#?}");
    }
    assert!(of[0].starts_with("accept4   127.0.0.1:"), "{of:#?}");
    let first = lines.iter().find(|line| line.starts_with("turn ")).unwrap();
    assert!(first.contains(": epoll_wait slept "), "{first}");
    assert!(
        lines.contains(&"  accept4   listener 0: EAGAIN: no connection waits".to_owned()),
        "{lines:#?}"
    );
}

#[test]
fn a_trace_shows_datagrams() {
    let lines = traced(&["--trace", "echo+udp://127.0.0.1:0"], |addresses| {
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.connect(&addresses[0]).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.send(b"hi").unwrap();
        let answer = uninterrupted(|| client.recv(&mut [0; 10]));
        assert_eq!(answer.unwrap(), 2);
    });
    for (name, of) in [("recvfrom", "a datagram of"), ("sendto", "an answer to")] {
        let line = format!("  {name:9} {of} 127.0.0.1:");
        let found = lines
            .iter()
            .any(|l| l.starts_with(&line) && l.ends_with(": 2 bytes \"hi\""));
        assert!(found, "no {line:?} in {lines:#?}");
    }
}

#[test]
fn a_trace_shows_no_byte_of_commands_unless_it_is_asked_to() {
    // Half a request, which is never a frame, is no more shown than a whole one.
    let session = |addresses: &[String]| {
        let mut client = UnixStream::connect(&addresses[0]).unwrap();
        client
            .write_all(b"echo s3cr\\et; echo s3cr\\et >&2\n")
            .unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert!(answer.contains("s3cret"), "{answer}");
        let mut half = UnixStream::connect(&addresses[0]).unwrap();
        half.write_all(b"s3cret, and no newline").unwrap();
        half.shutdown(Shutdown::Write).unwrap();
        half.read_to_end(&mut Vec::new()).unwrap();
    };
    let dir = tempfile::tempdir().unwrap();
    let url = format!("command+unix://{}", dir.path().join("socket").display());
    for trace in ["--trace", "--trace=calls"] {
        let text = traced(&[trace, &url], session).join("\n");
        assert!(!text.contains("s3cr"), "{text}");
        for call in ["  recvfrom ", "  read ", "  sendto "] {
            let shown = text
                .lines()
                .any(|line| line.starts_with(call) && line.contains(", not shown"));
            assert!(shown, "{call}: {text}");
        }
    }
    let text = traced(&["--trace=bytes", &url], session).join("\n");
    for shown in [
        r#"31 of 65536 bytes "echo s3cr\\et; echo s3cr\\et >&2\x0a""#,
        r#"bytes "s3cret\x0a""#,
    ] {
        assert!(text.contains(shown), "no {shown} in {text}");
    }
    assert!(!text.contains("not shown"), "{text}");
}

#[test]
fn what_a_trace_can_show_is_said() {
    let said = run(&mut onepoll([
        "serve",
        "--trace=frames",
        "echo://127.0.0.1:0",
    ]));
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(
        said.err.contains("[possible values: calls, bytes]"),
        "{said:?}"
    );
}

#[test]
fn the_system_calls_of_a_trace_are_those_that_strace_shows() {
    if skipped("strace") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("calls");
    let calls = "trace=accept4,recvfrom,sendto,epoll_ctl,shutdown,close";
    let mut strace = Command::new("strace");
    strace.args(["-qq", "-e", calls, "-o"]).arg(&file);
    strace.arg(onepoll([""; 0]).get_program());
    let server = Logged::of(strace.args(["serve", "--trace", "echo://127.0.0.1:0"]));
    let Some(line) = server.line().filter(|line| line.contains("listening on ")) else {
        return skip("strace may not trace here");
    };
    assert_eq!(server.line().unwrap(), "onepoll: ready");
    let client = TcpStream::connect(line.split_once("://").unwrap().1).unwrap();
    assert_eq!(ask(&client, b"x", 1), b"x");
    assert_eq!(ask(&client, b"y", 1), b"y");
    // strace itself would let go of the server, and leave it running.
    let pid = server.pid();
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    let ours = Pid::from_raw(children.trim().parse().unwrap()).unwrap();
    kill_process(ours, Signal::TERM).unwrap();
    assert_eq!((&client).read(&mut [0]).unwrap(), 0);
    drop(client);
    let lines: Vec<String> = std::iter::from_fn(|| server.line()).collect();

    let shown = fs::read_to_string(&file).unwrap();
    let shown: Vec<&str> = shown.lines().collect();
    let accepted = shown
        .iter()
        .position(|l| l.starts_with("accept4(") && !l.contains("= -1"));
    let (_, fd) = shown[accepted.unwrap()].rsplit_once("= ").unwrap();
    let theirs = shown[accepted.unwrap()..].iter().filter_map(|line| {
        let (name, arguments) = line.split_once('(')?;
        let about = arguments.split([',', ')']).next() == Some(fd)
            || arguments.contains(&format!("EPOLL_CTL_ADD, {fd},"));
        (about || name == "accept4" && !line.contains("= -1")).then_some(name)
    });
    let theirs: Vec<&str> = theirs.collect();
    let of = of_connection(&lines);
    let ours = of.iter().map(|line| line.split(' ').next().unwrap());
    let ours: Vec<&str> = ours
        .filter(|name| calls["trace=".len()..].split(',').any(|call| call == *name))
        .collect();
    assert_eq!(ours, theirs, "{lines:#?}");
    assert!(
        ours.contains(&"shutdown") && ours.ends_with(&["close"]),
        "{ours:?}"
    );
}
