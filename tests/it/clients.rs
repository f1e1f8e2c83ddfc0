//! The blocking clients against small servers, good and bad.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::process::{Command, Output, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use onepoll::client::{ClientError, ServerAddress, ask_time};
use onepoll::wire::{CommandHeader, Encode};

const PATIENCE: Duration = Duration::from_secs(5);

fn host(address: SocketAddr) -> ServerAddress {
    address.to_string().parse().unwrap()
}

/// A UDP server that sees each datagram with its number.
fn datagrams(
    bind: &str,
    serve: impl Fn(usize, &[u8], &UdpSocket, SocketAddr) + Send + 'static,
) -> SocketAddr {
    let socket = UdpSocket::bind(bind).unwrap();
    let address = socket.local_addr().unwrap();
    thread::spawn(move || {
        let mut buf = [0; 2048];
        for number in 0.. {
            let (n, from) = socket.recv_from(&mut buf).unwrap();
            serve(number, &buf[..n], &socket, from);
        }
    });
    address
}

#[test]
fn time_asks_again_when_a_datagram_is_lost() {
    let address = datagrams("127.0.0.1:0", |number, format, socket, from| {
        if number > 0 {
            socket.send_to(&[b"at ", format].concat(), from).unwrap();
        }
    });
    let answer = ask_time(&host(address), b"%H", PATIENCE).unwrap();
    assert_eq!((answer.bytes.as_slice(), answer.tries), (&b"at %H"[..], 2));
    assert!(answer.elapsed >= Duration::from_millis(250));
}

#[test]
fn fault_e15_a_late_answer_is_not_taken_for_a_later_question() {
    // The first question is answered only when the second has come, and wrongly.
    let first = Mutex::new(None);
    let address = datagrams("127.0.0.1:0", move |_, _, socket, from| {
        if let Some(earlier) = first.lock().unwrap().replace(from) {
            socket.send_to(b"late", earlier).unwrap();
            socket.send_to(b"right", from).unwrap();
        }
    });
    assert_eq!(
        ask_time(&host(address), b"", PATIENCE).unwrap().bytes,
        b"right"
    );
}

#[test]
fn an_empty_answer_is_not_silence() {
    let address = datagrams("[::1]:0", |_, _, socket, from| {
        _ = socket.send_to(b"", from).unwrap()
    });
    assert_eq!(ask_time(&host(address), b"", PATIENCE).unwrap().bytes, b"");

    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let error = ask_time(
        &host(silent.local_addr().unwrap()),
        b"",
        Duration::from_millis(80),
    )
    .unwrap_err();
    assert!(matches!(error, ClientError::Timeout { .. }), "{error}");
    assert!(
        error.to_string().contains("within 80 ms: asked once"),
        "{error}"
    );
}

#[test]
fn fault_e4_nobody_there_is_an_error_and_not_silence() {
    let address = UdpSocket::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let error = ask_time(&host(address), b"", PATIENCE).unwrap_err();
    assert!(matches!(error, ClientError::Connect { .. }), "{error}");
    assert!(error.to_string().contains("nobody listens"), "{error}");
}

fn onepoll(args: &[&str], stdin: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_onepoll"))
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(stdin.as_bytes())
        .unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn the_time_command_prints_the_answer() {
    let address = datagrams("127.0.0.1:0", |_, format, socket, from| {
        _ = socket.send_to(format, from).unwrap()
    });
    let address = address.to_string();
    let output = onepoll(&["time", &address, "%Y %x"], "");
    assert_eq!(
        (output.status.code(), output.stdout.as_slice()),
        (Some(0), &b"%Y %x\n"[..])
    );
    let output = onepoll(&["time", &address, "--json"], "");
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&json["schema"], &json["answer"], &json["tries"]),
        (&1.into(), &"".into(), &1.into())
    );
    assert_eq!(onepoll(&["time", "unix:///x"], "").status.code(), Some(2));
}

/// Answers lines as C3 or C4, byte by byte: `say WORDS`, `fail`, `lie`, `half`, `refuse`, `big`.
fn commands(mut stream: impl Read + Write, json: bool) {
    let mut request = Vec::new();
    let mut byte = [0];
    while let Ok(1) = stream.read(&mut byte) {
        if byte[0] != b'\n' {
            request.push(byte[0]);
            continue;
        }
        let line = String::from_utf8(std::mem::take(&mut request)).unwrap();
        let (verb, words) = line.split_once(' ').unwrap_or((&line, ""));
        let output = match verb {
            "big" => vec![b'x'; 300_000],
            "refuse" => b"onepoll: busy\n".to_vec(),
            _ => format!("{words}\n").into_bytes(),
        };
        let mut answer = Vec::new();
        if json {
            let exit = match verb {
                "fail" => Some(7),
                "refuse" => None,
                _ => Some(0),
            };
            let mut header =
                CommandHeader::new(&output, exit, (verb == "refuse").then_some("busy"));
            if verb == "lie" {
                header.md5 = "0".repeat(32);
            }
            header.encode(&mut answer);
        } else {
            let len = i32::try_from(output.len()).unwrap();
            answer.extend_from_slice(&len.to_le_bytes());
        }
        answer.extend_from_slice(&output);
        if verb == "half" {
            answer.pop();
        }
        if verb == "big" {
            stream.write_all(&answer).unwrap();
        } else {
            for byte in answer {
                stream.write_all(&[byte]).unwrap();
            }
        }
        match words {
            "hang" => thread::park(),
            "up" => return,
            _ => {}
        }
    }
}

fn command_server(json: bool) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for stream in listener.incoming() {
            thread::spawn(move || {
                let stream: TcpStream = stream.unwrap();
                stream.set_nodelay(true).unwrap();
                commands(stream, json);
            });
        }
    });
    address
}

fn outcome(output: &Output) -> (Option<i32>, &str, &str) {
    let text = |bytes| std::str::from_utf8(bytes).unwrap();
    (
        output.status.code(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

#[test]
fn exec_passes_output_and_exit_code_on() {
    let address = command_server(true);
    let output = onepoll(&["exec", &address, "--", "say", "hello", "egg"], "");
    assert_eq!(outcome(&output), (Some(0), "hello egg\n", ""));
    let output = onepoll(&["exec", &address, "--", "fail with this"], "");
    assert_eq!(outcome(&output), (Some(7), "with this\n", ""));
    let output = onepoll(&["exec", &address, "--", "refuse"], "");
    assert_eq!(outcome(&output), (Some(1), "onepoll: busy\n", ""));
    let output = onepoll(&["exec", &address, "--", "big"], "");
    assert_eq!(
        (output.status.code(), output.stdout.len()),
        (Some(0), 300_000)
    );
}

#[test]
fn exec_speaks_the_i32_framing() {
    let address = command_server(false);
    let output = onepoll(
        &["exec", &address, "--framing", "i32", "--", "say", "sbzz"],
        "",
    );
    assert_eq!(outcome(&output), (Some(0), "sbzz\n", ""));
    let output = onepoll(&["exec", &address, "--framing", "i32", "--", "big"], "");
    assert_eq!(
        (output.status.code(), output.stdout.len()),
        (Some(0), 300_000)
    );
}

#[test]
fn exec_reads_commands_from_a_pipe_on_one_connection() {
    let address = command_server(true);
    let output = onepoll(&["exec", &address], "say a\n\nsay b\nfail c");
    assert_eq!(outcome(&output), (Some(7), "a\nb\nc\n", ""));
}

#[test]
fn fault_b22_exec_says_how_far_an_answer_came() {
    let address = command_server(true);
    let output = onepoll(
        &["exec", &address, "--timeout", "100ms", "--", "half hang"],
        "",
    );
    let (code, out, err) = outcome(&output);
    assert_eq!((code, out), (Some(124), ""));
    assert!(
        err.contains("within 100 ms: 4 of 5 bytes of output came"),
        "{err}"
    );
    let output = onepoll(&["exec", &address, "--", "half up"], "");
    let (code, out, err) = outcome(&output);
    assert_eq!((code, out), (Some(255), ""));
    assert!(
        err.contains("hung up: 2 of 3 bytes of output came"),
        "{err}"
    );
}

#[test]
fn exec_refuses_damaged_output_and_a_dead_address() {
    let address = command_server(true);
    let output = onepoll(&["exec", &address, "--", "lie"], "");
    let (code, out, err) = outcome(&output);
    assert_eq!((code, out), (Some(255), ""));
    assert!(err.contains("MD5"), "{err}");
    // An answer of the other framing: its length is no header's.
    let output = onepoll(&["exec", &command_server(false), "--", "big"], "");
    let (code, _, err) = outcome(&output);
    assert_eq!(code, Some(255));
    assert!(
        err.contains("header of 300000 bytes is longer than the limit of 4096"),
        "{err}"
    );
    let dead = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .to_string();
    let output = onepoll(&["exec", &dead, "--", "say"], "");
    assert_eq!(outcome(&output).0, Some(255));
    assert_eq!(
        onepoll(&["exec", &address, "--", "two\nlines"], "")
            .status
            .code(),
        Some(2)
    );
}

#[test]
fn exec_finds_the_private_socket_by_itself() {
    let runtime = tempfile::tempdir().unwrap();
    let (dir, socket) = (runtime.path().join("onepoll"), "command.sock");
    std::fs::create_dir(&dir).unwrap();
    let listener = UnixListener::bind(dir.join(socket)).unwrap();
    for (place, mode) in [(dir.join(socket), 0o600), (dir, 0o700)] {
        std::fs::set_permissions(place, std::fs::Permissions::from_mode(mode)).unwrap();
    }
    thread::spawn(move || {
        for stream in listener.incoming() {
            commands(stream.unwrap(), true);
        }
    });
    let output = Command::new(env!("CARGO_BIN_EXE_onepoll"))
        .env("XDG_RUNTIME_DIR", runtime.path())
        .args(["exec", "--", "say", "mine"])
        .output()
        .unwrap();
    assert_eq!(outcome(&output), (Some(0), "mine\n", ""));
}
