//! What `onepoll exec` says where, and with which exit code.

use std::io::{Seek, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::process::Stdio;
use std::thread;

use super::{Said, Server, finish, onepoll, run};

fn exec(address: &str, args: &[&str]) -> Said {
    run(onepoll(["exec", address]).args(args))
}

#[test]
fn each_output_is_its_own_and_as_lines_it_is_stdout_then_stderr_and_the_code_is_the_commands() {
    let (_server, address) = Server::of_commands("");
    let line = "echo err >&2; echo out; exit 3";
    for (framing, out, err) in [("stream", "out\n", "err\n"), ("json", "out\nerr\n", "")] {
        let said = exec(&address, &["--framing", framing, "--", line]);
        assert_eq!(
            (said.code, said.out.as_str(), said.err.as_str()),
            (Some(3), out, err)
        );
    }
    let said = exec(&address, &["--", "kill -9 $$"]);
    assert_eq!(
        (said.code, said.out.as_str(), said.err.as_str()),
        (Some(137), "", "")
    );
    // What a command says is its own, whatever it looks like.
    let said = exec(&address, &["--", "echo onepoll: busy; exit 1"]);
    assert_eq!(
        (said.code, said.out.as_str(), said.err.as_str()),
        (Some(1), "onepoll: busy\n", "")
    );
}

#[test]
fn time_that_ran_out_is_124_and_the_message_says_whose() {
    let (_server, address) = Server::of_commands("?timeout=100ms");
    for framing in ["stream", "json"] {
        // The server's is the shorter one, also where exec has told it one of its own.
        for timeout in ["30s", "5m"] {
            let args = ["--framing", framing, "--timeout", timeout, "--", "sleep 60"];
            let said = exec(&address, &args);
            assert_eq!((said.code, said.out.as_str()), (Some(124), ""), "{said:?}");
            assert!(said.err.contains("timeout after 1"), "{said:?}");
            assert!(
                said.err.contains("this is the limit of the server"),
                "{said:?}"
            );
        }
    }
    let (_server, address) = Server::of_commands("");
    for framing in ["stream", "json"] {
        let args = ["--framing", framing, "--timeout", "100ms"];
        let said = exec(&address, &[&args[..], &["--", "sleep 60"]].concat());
        assert_eq!((said.code, said.out.as_str()), (Some(124), ""), "{said:?}");
        assert!(
            said.err.contains("this is the limit of exec itself"),
            "{said:?}"
        );
        assert_eq!(said.err.lines().count(), 1, "{said:?}");
    }
}

#[test]
fn a_cut_output_is_255_and_what_was_cut_off_is_said_beside_it() {
    let (_server, address) = Server::of_commands("?max-output=10");
    let said = exec(&address, &["--framing", "json", "--", "yes"]);
    assert_eq!(
        (said.code, said.out.as_str()),
        (Some(255), "y\ny\ny\ny\ny\n"),
        "{said:?}"
    );
    assert!(said.err.contains("output cut at 10 bytes"), "{said:?}");
}

#[test]
fn a_command_that_cannot_be_started_is_what_a_shell_says_of_it_and_else_255() {
    let (_server, address) = Server::of_commands("");
    for (args, code) in [
        (&["--", "no such program", "x"][..], 127),
        (&["--", "/", "x"], 126),
        (&["--cwd", "/dev/null", "--", "true"], 255),
        (&["--cwd", "/no/such", "--", "true", "x"], 255),
        (&["--env", "LD_PRELOAD=x", "--", "true"], 255),
    ] {
        let said = exec(&address, args);
        assert_eq!((said.code, said.out.as_str()), (Some(code), ""), "{said:?}");
        assert_eq!(said.err.matches("onepoll: ").count(), 1, "{said:?}");
        assert!(said.err.contains("the command was not run"), "{said:?}");
    }
    exec(&address, &["--", "no such", "x"]).fails(127, "there is no program no such there");
    exec(&address, &["--", "/", "x"]).fails(126, "/ is no program there");
    // Which directory, and that it is not the program that is not there.
    for (directory, why) in [
        ("/no/such", "cwd: /no/such: No such file or directory"),
        ("/dev/null", "cwd: /dev/null: Not a directory"),
    ] {
        exec(&address, &["--cwd", directory, "--", "true", "x"]).fails(255, why);
    }
    // A line has 64 KiB.
    let long = "x".repeat(100_000);
    let said = exec(&address, &["--framing", "json", "--", &long]);
    assert_eq!((said.code, said.out.as_str()), (Some(255), ""), "{said:?}");
    assert_eq!(said.err.matches("onepoll: ").count(), 1, "{said:?}");
}

#[test]
fn a_server_that_is_full_is_255_and_says_so() {
    let (_server, address) = Server::of_commands("?max-connections=1");
    // The first connection stays: its answer shows that it is there.
    let mut first = onepoll(["exec", &address]);
    first.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut first = first.spawn().unwrap();
    first
        .stdin
        .as_mut()
        .unwrap()
        .write_all(b"echo here\n")
        .unwrap();
    let mut here = [0; 5];
    std::io::Read::read_exact(first.stdout.as_mut().unwrap(), &mut here).unwrap();
    let said = exec(&address, &["--", "echo", "one", "too", "many"]);
    assert_eq!((said.code, said.out.as_str()), (Some(255), ""), "{said:?}");
    assert!(!said.err.contains("nobody asked for"), "{said:?}");
    assert!(
        said.err.contains("as many connections as it holds"),
        "{said:?}"
    );
    drop(first.stdin.take());
    assert_eq!(finish(first).code, Some(0));
}

#[test]
fn a_connection_that_breaks_is_255() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 5];
        std::io::Read::read_exact(&mut stream, &mut request).unwrap();
        stream.write_all(&100_i32.to_le_bytes()).unwrap();
    });
    let args = ["--framing", "json", "--", "true"];
    let said = exec(path.to_str().unwrap(), &args);
    assert_eq!((said.code, said.out.as_str()), (Some(255), ""), "{said:?}");
    assert!(
        said.err.contains("hung up: 4 bytes of the header came"),
        "{said:?}"
    );
    server.join().unwrap();
}

#[test]
fn a_line_that_begins_with_a_dash_is_a_command_and_no_option_of_the_shell() {
    let (_server, address) = Server::of_commands("");
    let said = exec(&address, &["--", "-c id"]);
    assert_eq!((said.code, said.out.as_str()), (Some(127), ""), "{said:?}");
    assert!(said.err.contains("not found"), "{said:?}");
    // `-v` would echo, `-s` read a script from standard input, `-e` change what runs.
    for line in ["-v", "-s", "-e true", "--help", "-"] {
        let said = exec(&address, &["--", line]);
        assert_eq!(said.code, Some(127), "{line}: {said:?}");
    }
}

#[test]
fn standard_input_is_not_read_beside_a_line_and_that_is_said_once() {
    let (_server, address) = Server::of_commands("");
    let note = "standard input was not read";
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(b"echo from the file\n").unwrap();
    file.rewind().unwrap();
    let mut command = onepoll(["exec", &address, "--framing", "json", "--", "cat; echo ran"]);
    let said = run(command.stdin(file.try_clone().unwrap()));
    assert_eq!(
        (said.code, said.out.as_str()),
        (Some(0), "ran\n"),
        "{said:?}"
    );
    assert_eq!(said.err.matches(note).count(), 1, "{said:?}");
    // Not a byte of it: a loop that reads the same file goes on.
    assert_eq!(file.stream_position().unwrap(), 0);
    let mut quiet = onepoll(["-q", "exec", &address, "--framing", "json", "--", "true"]);
    assert_eq!(run(quiet.stdin(file.try_clone().unwrap())).err, "");
    // At its end there is nothing that could be missed.
    file.seek(std::io::SeekFrom::End(0)).unwrap();
    let mut command = onepoll(["exec", &address, "--framing", "json", "--", "true"]);
    assert_eq!(run(command.stdin(file)).err, "");

    let mut command = onepoll(["exec", &address, "--framing", "json", "--", "true"]);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let input = child.stdin.take().unwrap();
    (&input).write_all(b"from the pipe").unwrap();
    let said = finish(child);
    assert_eq!(
        (said.code, said.err.matches(note).count()),
        (Some(0), 1),
        "{said:?}"
    );
    drop(input);
    assert_eq!(exec(&address, &["--framing", "json", "--", "true"]).err, "");

    // Nor is there anything in a pipe whose other end has gone.
    let (input, other) = std::io::pipe().unwrap();
    drop(other);
    let mut command = onepoll(["exec", &address, "--framing", "json", "--", "true"]);
    assert_eq!(run(command.stdin(input)).err, "");
}

#[test]
fn no_time_at_all_is_refused_before_anything_is_asked() {
    exec("/nowhere.sock", &["--timeout", "0s", "--", "true"]).refuses("leaves no time at all");
}

/// One that takes no requests: not a word of the command was run.
#[test]
fn a_command_with_readers_is_told_from_one_that_takes_requests() {
    let (_server, address) = Server::of_commands("?run=echo%20out&tail=true&restart=never");
    let tail = |args: &[&str]| {
        let args = [&["--timeout", "5m"][..], args, &["--", "touch danger"]].concat();
        exec(&address, &args)
    };
    // Its output has come before the request, or comes after it.
    for framing in ["stream", "json", "i32"] {
        let said = tail(&["--framing", framing]);
        assert_eq!((said.code, said.out.as_str()), (Some(255), ""), "{said:?}");
        let tells = [
            "such as a `command` with `tail=true`",
            "endpoint that takes requests",
        ];
        assert!(tells.iter().any(|way| said.err.contains(way)), "{said:?}");
    }
    tail(&["--framing", "raw"]).is(0, "out\n", "");
}

#[test]
fn another_service_is_told_from_a_command_server() {
    let echo = Server::new(&["echo://127.0.0.1:0"]);
    let upper = Server::new(&["upper://127.0.0.1:0"]);
    let greeting = Server::new(&["greeting://127.0.0.1:0?greeting=welcome"]);
    for (server, why) in [(&echo, "as an echo server does"), (&upper, "in capitals")] {
        // `ls` and its newline are three bytes, one less than a length has: no header is that long, but an
        // output may be, and then only the deadline tells.
        for (command, framing, timeout) in [
            ("uname -s", "stream", "5m"),
            ("ls", "stream", "5m"),
            ("uname -s", "json", "5m"),
            ("uname -s", "i32", "5m"),
            ("ls", "json", "5m"),
            ("ls", "i32", "200ms"),
        ] {
            let args = ["--timeout", timeout, "--framing", framing, "--", command];
            let said = exec(&server.address(), &args);
            assert_eq!((said.code, said.out.as_str()), (Some(255), ""), "{said:?}");
            assert!(said.err.contains(why), "{said:?}");
            assert!(said.err.contains("name a `command` endpoint"), "{said:?}");
        }
    }
    // What speaks first has spoken before the request, or after it.
    let said = exec(&greeting.address(), &["--", "uname -s"]);
    assert_eq!((said.code, said.out.as_str()), (Some(255), ""), "{said:?}");
    assert!(said.err.contains("welcome"), "{said:?}");
}

#[test]
fn an_error_of_exec_names_the_way_out() {
    let runtime = tempfile::tempdir().unwrap();
    let private = |args: &[&str]| {
        let mut command = onepoll(["exec"]);
        run(command.args(args).env("XDG_RUNTIME_DIR", runtime.path()))
    };
    let said = private(&["--", "true"]);
    assert_eq!((said.code, said.out.as_str()), (Some(255), ""), "{said:?}");
    assert!(
        said.err.contains("`onepoll serve` starts a server there"),
        "{said:?}"
    );
    let uid = rustix::process::geteuid().as_raw();
    assert!(
        said.err
            .contains(&format!("/tmp/onepoll-{uid}/command.sock")),
        "{said:?}"
    );

    let path = runtime.path().join("other.sock");
    let path = path.to_str().unwrap();
    let said = private(&[path, "--", "true"]);
    let way_out = format!("`onepoll serve command+unix://{path}` starts a server there");
    assert!(said.err.contains(&way_out), "{said:?}");

    let said = private(&["uname"]);
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.err.contains("onepoll exec -- 'uname'"), "{said:?}");
    let said = private(&["uname -s"]);
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.err.contains("onepoll exec -- 'uname -s'"), "{said:?}");

    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let said = private(&[&free.to_string(), "--", "true"]);
    assert_eq!(said.code, Some(255), "{said:?}");
    assert!(
        said.err.contains("no server listens on that port"),
        "{said:?}"
    );
}

#[test]
fn the_help_says_where_standard_error_goes_and_what_is_read() {
    let said = run(&mut onepoll(["exec", "--help"]));
    let words = said.out.split_whitespace().collect::<Vec<_>>().join(" ");
    for promise in [
        "its standard output and its standard error each on our own; standard input goes to it",
        "what it wrote to its standard output and then what it wrote to its standard error, both on standard output",
        "with 124 when its time ran out",
        "with 255",
        "was not run, was running, or that this is unknown",
    ] {
        assert!(words.contains(promise), "{promise}: {}", said.out);
    }
}
