//! The blocking clients against small servers, good and bad.

use std::net::{SocketAddr, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use onepoll::client::{ClientError, Exec, ExecFraming, OUTPUT_BYTES_MAX, ServerAddress, ask_time};
use onepoll::reactor::bind_unix;
use onepoll::wire::{CommandHeader, Encode, Prefix, WireError};

use crate::support::peer::{Nobody, uninterrupted};
use crate::support::program::{self, onepoll, run};
use crate::support::script::{Reply, Request, conversations, converse, datagrams, pause, replies};
use crate::support::{ANY, DEADLINE};

fn host(address: SocketAddr) -> ServerAddress {
    address.to_string().parse().unwrap()
}

#[test]
fn time_asks_again_when_a_datagram_is_lost() {
    let address = datagrams(ANY, |number, format| match number {
        0 => vec![],
        _ => vec![[b"at ", format].concat()],
    });
    let answer = ask_time(&host(address), b"%H", DEADLINE).unwrap();
    assert_eq!((answer.bytes.as_slice(), answer.tries), (&b"at %H"[..], 2));
    assert!(answer.elapsed >= Duration::from_millis(250));
}

#[test]
fn fault_e15_a_late_answer_is_not_taken_for_a_later_question() {
    let socket = UdpSocket::bind(ANY).unwrap();
    let address = socket.local_addr().unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    let answering = thread::spawn(move || {
        // The first question is answered only when the second has come, and wrongly.
        let [first, second] = [(); 2].map(|()| {
            let question = uninterrupted(|| socket.recv_from(&mut [0; 64]));
            question.unwrap().1
        });
        socket.send_to(b"late", first).unwrap();
        socket.send_to(b"right", second).unwrap();
    });
    let answer = ask_time(&host(address), b"", DEADLINE).unwrap();
    assert_eq!(answer.bytes, b"right");
    answering.join().unwrap();
}

#[test]
fn an_empty_answer_is_not_silence() {
    let address = datagrams("[::1]:0", |_, _| vec![vec![]]);
    let answer = ask_time(&host(address), b"", DEADLINE).unwrap();
    assert_eq!(answer.bytes, b"");

    let silent = UdpSocket::bind(ANY).unwrap();
    let silent = host(silent.local_addr().unwrap());
    let error = ask_time(&silent, b"", Duration::from_millis(80)).unwrap_err();
    assert!(matches!(error, ClientError::Timeout { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("within 80 ms: asked once"), "{text}");
}

#[test]
fn fault_e4_nobody_there_is_an_error_and_not_silence() {
    let gone = UdpSocket::bind(ANY).unwrap().local_addr().unwrap();
    let error = ask_time(&host(gone), b"", DEADLINE).unwrap_err();
    assert!(matches!(error, ClientError::Connect { .. }), "{error}");
    assert!(error.to_string().contains("nothing listens"), "{error}");
}

#[test]
fn the_time_command_prints_the_answer() {
    let address = datagrams(ANY, |_, format| vec![format.to_vec()]).to_string();
    onepoll(&["time", &address, "%Y %x"]).is(0, "%Y %x\n", "");
    let json = onepoll(&["time", &address, "--json"]).json();
    assert_eq!(
        (&json["schema"], &json["answer"], &json["tries"]),
        (&1.into(), &"".into(), &1.into())
    );
}

#[test]
fn an_address_over_which_time_does_not_ask_is_refused() {
    let address = datagrams(ANY, |_, format| vec![format.to_vec()]).to_string();
    for scheme in ["time", "udp", "time+udp"] {
        let address = format!("{scheme}://{address}");
        onepoll(&["time", &address, "%Y"]).is(0, "%Y\n", "");
    }
    for scheme in ["tcp", "time+tcp"] {
        let address = format!("{scheme}://{address}");
        let refused = onepoll(&["time", &address, "%Y"]);
        refused.exits(2);
        assert!(refused.err.contains("asked over UDP"), "{refused:?}");
    }
    onepoll(&["time", "unix:///x"]).exits(2);
}

/// What is answered to a line, as C3 or C4: `say WORDS`, `fail`, `lie`, `half`, `refuse`, `big`.
fn command(line: &[u8], json: bool) -> Reply {
    let line = std::str::from_utf8(line).unwrap().trim_end_matches('\n');
    let (verb, words) = line.split_once(' ').unwrap_or((line, ""));
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
        let refusal = (verb == "refuse").then_some("busy");
        let mut header = CommandHeader::new(&output, exit, refusal);
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
    match (verb, words) {
        ("big", _) => Reply::Bytes(answer),
        (_, "up") => Reply::Last(answer),
        _ => Reply::Drip(answer),
    }
}

fn command_server(json: bool) -> String {
    replies(Request::Until("\n"), move |_, _, line| command(line, json)).to_string()
}

#[test]
fn exec_passes_output_and_exit_code_on() {
    let address = command_server(true);
    let exec =
        |words: &[&str]| onepoll(&[&["exec", &address, "--framing", "json", "--"], words].concat());
    exec(&["say", "hello", "egg"]).is(0, "hello egg\n", "");
    exec(&["fail with this"]).is(7, "with this\n", "");
    exec(&["refuse"]).is(255, "", &format!("onepoll: {address}: busy\n"));
    exec(&["big"]).is(0, &"x".repeat(300_000), "");
}

#[test]
fn exec_speaks_the_i32_framing() {
    let address = command_server(false);
    let exec = ["exec", &address, "--framing", "i32", "--"];
    onepoll(&[&exec, &["say", "sbzz"][..]].concat()).is(0, "sbzz\n", "");
    onepoll(&[&exec, &["big"][..]].concat()).is(0, &"x".repeat(300_000), "");
}

#[test]
fn exec_reads_commands_from_a_pipe_on_one_connection() {
    let address = command_server(true);
    let commands = "say a\n\nsay b\nfail c";
    let exec = ["exec", &address, "--framing", "json"];
    run(&mut program::command(&exec), commands).is(7, "a\nb\nc\n", "");
}

#[test]
fn fault_b22_exec_says_how_far_an_answer_came() {
    let address = command_server(true);
    let exec = ["exec", &address, "--framing", "json"];
    onepoll(&[&exec[..], &["--timeout", "100ms", "--", "half hang"]].concat())
        .fails(124, "within 100 ms: 4 of 5 bytes of output came");
    onepoll(&[&exec[..], &["--", "half up"]].concat())
        .fails(255, "hung up: 2 of 3 bytes of output came");
}

/// An answer that comes, but a byte at a time: each in time, and all of them too late.
#[test]
fn fault_b22_one_deadline_is_for_the_whole_answer_however_many_reads_it_takes() {
    for (json, framing) in [(false, ExecFraming::I32), (true, ExecFraming::Json)] {
        let address = conversations(move |_, mut client| {
            let line = client.line();
            let Reply::Drip(answer) = command(line.as_bytes(), json) else {
                panic!("it drips");
            };
            for byte in answer {
                if client.may_say([byte]).is_err() {
                    return;
                }
                pause(Duration::from_millis(10));
            }
        });
        let mut exec = Exec::connect(&host(address), framing, DEADLINE).unwrap();
        let words = format!("say {}", "x".repeat(300));
        let error = exec.run(&words, Duration::from_millis(60)).unwrap_err();
        assert!(matches!(error, ClientError::Timeout { .. }), "{error}");
        // Its rest would be taken for the next answer.
        let error = exec.run("say more", DEADLINE).unwrap_err();
        assert!(matches!(error, ClientError::Request(_)), "{error}");
    }
}

/// Three framings announce a length, and one limit holds for all: before any of the output has come.
#[test]
fn an_output_that_is_announced_as_too_long_is_refused_in_each_framing() {
    let too_long = OUTPUT_BYTES_MAX + 1;
    for framing in [ExecFraming::Decimal, ExecFraming::I32, ExecFraming::Json] {
        let address = replies(Request::Until("\n"), move |_, _, _| {
            let mut answer = Vec::new();
            match framing {
                ExecFraming::Decimal => answer.extend_from_slice(too_long.to_string().as_bytes()),
                ExecFraming::I32 => Prefix::new(too_long).unwrap().encode(&mut answer),
                ExecFraming::Json => {
                    let mut header = CommandHeader::new(b"", Some(0), None);
                    header.data_size = u64::try_from(too_long).unwrap();
                    header.encode(&mut answer);
                }
            }
            answer
        });
        let mut exec = Exec::connect(&host(address.address), framing, DEADLINE).unwrap();
        let error = exec.run("say", DEADLINE).unwrap_err();
        let is_refused = matches!(
            error,
            ClientError::Wire {
                cause: WireError::TooLong { what: "output", .. },
                ..
            }
        );
        assert!(is_refused, "{error}");
    }
}

#[test]
fn each_command_has_its_own_deadline_and_none_is_left_of_an_earlier_one() {
    let address = command_server(true).parse().unwrap();
    let mut exec = Exec::connect(&address, ExecFraming::Json, Duration::from_millis(500)).unwrap();
    // Later than the connection had to be made.
    pause(Duration::from_millis(520));
    for _ in 0..2 {
        assert_eq!(exec.run("say on", DEADLINE).unwrap().bytes, b"on\n");
    }
    // No time at all is no time, and not for ever.
    for none in [Duration::ZERO, Duration::from_nanos(1)] {
        let mut exec = Exec::connect(&address, ExecFraming::Json, DEADLINE).unwrap();
        let error = exec.run("say on", none).unwrap_err();
        assert!(matches!(error, ClientError::Timeout { .. }), "{error}");
        let silent = UdpSocket::bind(ANY).unwrap().local_addr().unwrap();
        let error = ask_time(&host(silent), b"", none).unwrap_err();
        assert!(matches!(error, ClientError::Timeout { .. }), "{error}");
        let error = Exec::connect(&address, ExecFraming::Json, none).unwrap_err();
        assert!(matches!(error, ClientError::Timeout { .. }), "{error}");
    }
}

/// A listener whose queue is full: connecting waits, and no longer than it may.
#[test]
fn connecting_to_a_server_that_does_not_accept_has_an_end() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("full.sock");
    let listener = bind_unix(&path, 0o600).unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    let _waits = std::os::unix::net::UnixStream::connect(&path).unwrap();
    let address = ServerAddress::Unix(path);
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        let timeout = Duration::from_millis(30);
        let _ = tell.send(Exec::connect(&address, ExecFraming::Json, timeout));
    });
    let error = told.recv_timeout(DEADLINE).unwrap().unwrap_err();
    assert!(
        error.to_string().contains("does not take connections"),
        "{error}"
    );
}

#[test]
fn exec_refuses_damaged_output_and_a_dead_address() {
    let address = command_server(true);
    let lines = ["--framing", "json", "--"];
    onepoll(&[&["exec", &address], &lines[..], &["lie"]].concat()).fails(255, "MD5");
    // An answer of the other framing: its length is no header's.
    onepoll(&[&["exec", &command_server(false)], &lines[..], &["big"]].concat()).fails(
        255,
        "header of 300000 bytes is longer than the limit of 4096",
    );
    let nobody = Nobody::new();
    onepoll(&["exec", &nobody.to_string(), "--", "say"]).exits(255);
    onepoll(&[&["exec", &address], &lines[..], &["two\nlines"]].concat()).exits(2);
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
        let (stream, _) = listener.accept().unwrap();
        converse(stream, Request::Until("\n"), |_, line| command(line, true));
    });
    let mut exec = program::command(&["exec", "--framing", "json", "--", "say", "mine"]);
    run(exec.env("XDG_RUNTIME_DIR", runtime.path()), "").is(0, "mine\n", "");
}
