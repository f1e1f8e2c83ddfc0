//! Commands as streams, as `onepoll exec` runs them: as local ones.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Command, Stdio};
use std::sync::mpsc;

use onepoll::wire::{CommandHeader, Encode};
use rustix::pipe::fcntl_getpipe_size;
use rustix::process::{Pid, Signal, kill_process};

use super::{PATIENCE, Said, Server, onepoll, run};
use crate::support::process::ended;
use crate::support::program::{Group, skipped};
use crate::support::script::{Reply, Request, replies};

fn exec(address: &str, args: &[&str]) -> Said {
    run(onepoll(["exec", address]).args(args))
}

#[test]
fn every_exit_code_and_signal_comes_back() {
    let (_server, address) = Server::of_commands("");
    for code in 0..=255 {
        exec(&address, &["--", &format!("exit {code}")]).is(code, "", "");
    }
    for signal in [1, 2, 3, 6, 9, 10, 12, 13, 14, 15] {
        let said = exec(&address, &["--", &format!("kill -{signal} $$")]);
        said.is(128 + signal, "", "");
    }
}

#[test]
fn standard_input_goes_through_whole_from_files_and_pipes() {
    let (server, address) = Server::of_commands("");
    let (from, to) = (server.path().join("from"), server.path().join("to"));
    for len in [0, 1, 65_536, 65_537, 20_000_000] {
        let bytes: Vec<u8> = (0..len).map(|at: u32| (at / 251 + at) as u8).collect();
        fs::write(&from, &bytes).unwrap();
        let mut command = onepoll(["exec", &address, "--", "cat"]);
        command.stdin(File::open(&from).unwrap());
        command.stdout(File::create(&to).unwrap());
        command.stderr(Stdio::piped());
        Group::spawn(&mut command)
            .unwrap()
            .said(PATIENCE)
            .is(0, "", "");
        assert!(fs::read(&to).unwrap() == bytes, "{len} bytes of a file");

        let mut command = onepoll(["exec", &address, "--", "cat"]);
        command
            .stdin(Stdio::piped())
            .stdout(File::create(&to).unwrap());
        command.stderr(Stdio::piped());
        let mut group = Group::spawn(&mut command).unwrap();
        group.0.stdin.take().unwrap().write_all(&bytes).unwrap();
        group.said(PATIENCE).is(0, "", "");
        assert!(fs::read(&to).unwrap() == bytes, "{len} bytes of a pipe");
    }
}

/// What a pipe holds that a process has by this number.
fn pipe_of(pid: Pid, number: u32) -> usize {
    let pipe = File::open(format!("/proc/{}/fd/{number}", pid.as_raw_pid())).unwrap();
    fcntl_getpipe_size(&pipe).unwrap()
}

#[test]
fn a_pipe_holds_more_when_much_goes_through_it() {
    let (_server, address) = Server::of_commands("");
    let script = "echo $$; head -c 32M /dev/zero; read go; head -c 32M >&2; echo up; read go";
    let mut command = onepoll(["exec", &address, "--", script]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut group = Group::spawn(command.stderr(Stdio::null())).unwrap();
    let (input, output) = (group.0.stdin.take(), group.0.stdout.take());
    let (mut input, mut output) = (input.unwrap(), BufReader::new(output.unwrap()));
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    let pid = Pid::from_raw(line.trim().parse().unwrap()).unwrap();
    let mut zeros = vec![1; 32 << 20];
    output.read_exact(&mut zeros).unwrap();
    assert_eq!((pipe_of(pid, 0), pipe_of(pid, 1)), (64 << 10, 256 << 10));
    input.write_all(b"go\n").unwrap();
    input.write_all(&zeros).unwrap();
    line.clear();
    output.read_line(&mut line).unwrap();
    assert_eq!((line.as_str(), pipe_of(pid, 0)), ("up\n", 256 << 10));
    input.write_all(b"go\n").unwrap();
    group.said(PATIENCE).is(0, "", "");
}

#[test]
fn input_without_an_end_does_not_keep_a_command_that_does_not_want_it() {
    let (_server, address) = Server::of_commands("");
    for (line, out) in [
        ("true", ""),
        ("head -c 1 | wc -c", "1\n"),
        ("exec <&-; echo closed", "closed\n"),
    ] {
        let mut command = onepoll(["exec", &address, "--", line]);
        run(command.stdin(File::open("/dev/zero").unwrap())).is(0, out, "");
        // With -n nothing of it is read.
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"not for it").unwrap();
        let mut command = onepoll(["exec", &address, "-n", "--", "cat"]);
        run(command.stdin(file)).is(0, "", "");
    }
}

/// Output comes while the command runs, which shows in that it waits for us.
#[test]
fn output_comes_as_it_is_written() {
    let (server, address) = Server::of_commands("");
    let fifo = server.path().join("go");
    let line = format!("mkfifo {0}; echo one; cat {0}; exit 4", fifo.display());
    let mut command = onepoll(["exec", &address, "--", &line]);
    let mut group = Group::spawn(command.stdout(Stdio::piped())).unwrap();
    let mut out = BufReader::new(group.0.stdout.take().unwrap());
    let mut first = String::new();
    out.read_line(&mut first).unwrap();
    assert_eq!(first, "one\n");
    let mut go = File::options()
        .write(true)
        .custom_flags(0)
        .open(&fifo)
        .unwrap();
    go.write_all(b"two\n").unwrap();
    drop(go);
    let mut rest = String::new();
    out.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "two\n");
    assert_eq!(group.said(PATIENCE).code, Some(4));
}

/// A command that says who it is, and `exec` with what comes of it.
fn begun(address: &str, line: &str) -> (Group, BufReader<std::process::ChildStdout>, Pid) {
    let mut command = onepoll(["exec", address, "--", &format!("echo $$; {line}")]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut group = Group::spawn(&mut command).unwrap();
    let mut out = BufReader::new(group.0.stdout.take().unwrap());
    let mut first = String::new();
    out.read_line(&mut first).unwrap();
    let pid = Pid::from_raw(first.trim().parse().unwrap()).unwrap();
    (group, out, pid)
}

#[test]
fn a_reader_that_goes_away_ends_the_command_without_a_word() {
    let (_server, address) = Server::of_commands("");
    let (group, out, pid) = begun(&address, "exec yes");
    drop(out);
    let said = group.said(PATIENCE);
    assert_eq!((said.code, said.err.as_str()), (Some(141), ""), "{said:?}");
    ended(pid);
}

#[test]
fn signals_are_passed_on_and_a_second_interrupt_ends_exec() {
    let (_server, address) = Server::of_commands("");
    for (signal, code) in [
        (Signal::INT, 130),
        (Signal::TERM, 143),
        (Signal::HUP, 129),
        (Signal::QUIT, 131),
        (Signal::USR1, 138),
        (Signal::USR2, 140),
    ] {
        let (group, _out, _) = begun(&address, "exec sleep 60");
        kill_process(Pid::from_child(&group.0), signal).unwrap();
        let said = group.said(PATIENCE);
        assert_eq!((said.code, said.err.as_str()), (Some(code), ""), "{said:?}");
    }
    // One that is caught is the command's affair, and how it ends too.
    let line = "trap 'echo caught; exit 5' INT; echo ready; while :; do sleep 0.05; done";
    let (group, mut out, _) = begun(&address, line);
    let mut heard = String::new();
    out.read_line(&mut heard).unwrap();
    kill_process(Pid::from_child(&group.0), Signal::INT).unwrap();
    out.read_line(&mut heard).unwrap();
    assert_eq!(heard, "ready\ncaught\n");
    assert_eq!(group.said(PATIENCE).code, Some(5));

    let line = "trap 'echo no' INT; echo ready; while :; do sleep 0.05; done";
    let (group, mut out, pid) = begun(&address, line);
    heard.clear();
    out.read_line(&mut heard).unwrap();
    kill_process(Pid::from_child(&group.0), Signal::INT).unwrap();
    out.read_line(&mut heard).unwrap();
    assert_eq!(heard, "ready\nno\n");
    kill_process(Pid::from_child(&group.0), Signal::INT).unwrap();
    let said = group.said(PATIENCE);
    assert_eq!(said.code, Some(130), "{said:?}");
    assert!(said.err.contains("interrupted twice"), "{said:?}");
    ended(pid);
}

/// As `nohup` leaves it: what exec was told to ignore is not for the command either.
#[test]
fn what_exec_was_started_to_ignore_is_not_passed_on() {
    let (_server, address) = Server::of_commands("");
    let line = "trap 'echo INT' INT; trap 'echo HUP' HUP; trap 'echo USR1; exit 7' USR1; \
                echo up; while :; do sleep 0.05; done";
    let binary = env!("CARGO_BIN_EXE_onepoll");
    let script = r#"trap '' INT HUP; exec "$0" exec "$1" -n -- "$2""#;
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script, binary, &address, line]);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut group = Group::spawn(command.stderr(Stdio::piped())).unwrap();
    let mut out = BufReader::new(group.0.stdout.take().unwrap());
    let mut heard = String::new();
    out.read_line(&mut heard).unwrap();
    // Twice: a second interrupt would end exec.
    for signal in [Signal::INT, Signal::HUP, Signal::INT, Signal::USR1] {
        kill_process(Pid::from_child(&group.0), signal).unwrap();
    }
    out.read_to_string(&mut heard).unwrap();
    assert_eq!(heard, "up\nUSR1\n");
    assert_eq!(group.said(PATIENCE).code, Some(7));
}

#[test]
fn the_directory_and_the_variables_that_were_asked_for_are_the_commands() {
    let (server, address) = Server::of_commands("?env=CI");
    let there = server.path().canonicalize().unwrap();
    let there = there.to_str().unwrap();
    let flags = [
        "--env",
        "TERM=a b=c",
        "--env",
        "LC_TIME",
        "--env",
        "COLUMNS",
    ];
    let flags = [&flags[..], &["--env", "CI=yes", "--cwd", there]].concat();
    let show = r#"pwd; echo "$TERM|$LC_TIME|${COLUMNS-none}|$CI|${SECRET-none}""#;
    for command in [&["--", show][..], &["--", "sh", "-c", show]] {
        let mut exec = onepoll(["exec", &address]);
        exec.args(&flags).args(command);
        exec.env("LC_TIME", "C")
            .env_remove("COLUMNS")
            .env("SECRET", "x");
        run(&mut exec).is(0, &format!("{there}\na b=c|C|none|yes|none\n"), "");
    }
    for (variable, why) in [
        (
            "LD_PRELOAD=/x",
            "the variable \"LD_PRELOAD\" may not be set",
        ),
        ("PATH", "the variable \"PATH\" may not be set"),
        ("=x", "the variable \"\" may not be set"),
    ] {
        exec(&address, &["--env", variable, "--", "true"]).fails(255, why);
    }
    exec(&address, &["--cwd", "here", "--", "true"]).refuses("--cwd here: an absolute path");
    exec(&address, &["--cwd", "/no/where", "--", "true"])
        .fails(255, "cwd: /no/where: No such file");
}

/// `encoding` is of lines: C5 passes bytes, and the line of a terminal here is UTF-8.
#[test]
fn an_endpoint_of_gbk_takes_streams_as_they_are() {
    let (_server, address) = Server::of_commands("?encoding=gbk");
    exec(&address, &["--", "printf '你好'; test 你 = '你' && exit 3"]).is(3, "你好", "");
    exec(&address, &["--", "printf", "%s", "你好"]).is(0, "你好", "");
    // Bytes of GBK too, which are no UTF-8.
    let mut command = onepoll(["exec", &address, "--", "printf"]);
    command
        .arg(OsStr::from_bytes(b"\xc4\xe3"))
        .stdout(Stdio::piped());
    let out = command.output().unwrap();
    assert_eq!(
        (out.status.code(), &out.stdout[..]),
        (Some(0), &b"\xc4\xe3"[..])
    );
    // A line is in the endpoint's encoding, and so is its output.
    let mut command = onepoll([
        "exec",
        &address,
        "--framing",
        "json",
        "--",
        r"printf '\344\275\240'",
    ]);
    let out = command.stdout(Stdio::piped()).output().unwrap();
    assert_eq!(
        (out.status.code(), &out.stdout[..]),
        (Some(0), &b"\xc4\xe3"[..])
    );
}

/// Debian's socat says of each descriptor what it is: of a command there are three, however it is started.
#[test]
fn fault_f16_filan_shows_three_descriptors_and_no_other() {
    if skipped("filan") {
        return;
    }
    for options in ["", "?no-new-privs=true"] {
        let (_server, address) = Server::of_commands(options);
        for (flags, input) in [(&["-n"][..], "0 chrdev /dev/null"), (&[], "0 pipe")] {
            let said = exec(&address, &[flags, &["--", "filan", "-s"]].concat());
            let shown: Vec<&str> = said.out.lines().map(str::trim).collect();
            assert_eq!(shown, [input, "1 pipe", "2 pipe"], "{said:?}");
        }
    }
}

#[test]
fn what_is_certain_of_a_command_is_said_when_the_connection_breaks() {
    // The server cannot have had a request that it was only to be sent next.
    let gone = replies(Request::Until("\n"), |_, _, _| Reply::Last(Vec::new()));
    let address = gone.address.to_string();
    let long = format!("echo {}", "x".repeat(2000));
    let said = exec(&address, &["--", &long]);
    said.fails(255, "the command was not run");
    // It has had one that it did not answer.
    let said = exec(&address, &["--", "echo"]);
    said.fails(255, "whether the command was run is unknown");
    let (_server, address) = Server::of_commands("");
    // It kills the server once exec knows that it runs.
    let script = "echo up; read go; kill -9 $PPID; sleep 60";
    let mut command = onepoll(["exec", &address, "--", script]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut exec = Group::spawn(command.stderr(Stdio::piped())).unwrap();
    let mut up = [0; 3];
    exec.0.stdout.as_mut().unwrap().read_exact(&mut up).unwrap();
    let mut input = exec.0.stdin.take().unwrap();
    input.write_all(b"go\n").unwrap();
    let said = exec.said(PATIENCE);
    said.fails(255, "the command was running");
}

/// A server of before C5: each line is a command, and one with a NUL byte is refused.
#[test]
fn a_server_of_lines_runs_what_was_meant_or_nothing() {
    let (tell, told) = mpsc::channel();
    let old = replies(Request::Until("\n"), move |_, _, line| {
        let mut answer = Vec::new();
        if line.contains(&0) {
            let output = b"onepoll: the request contains a NUL byte\n";
            CommandHeader::new(output, None, Some("the request contains a NUL byte"))
                .encode(&mut answer);
            answer.extend_from_slice(output);
        } else {
            tell.send(String::from_utf8(line.to_vec()).unwrap())
                .unwrap();
            CommandHeader::new(b"ran\n", Some(7), None).encode(&mut answer);
            answer.extend_from_slice(b"ran\n");
        }
        answer
    });
    let address = old.address.to_string();
    let long = format!("echo {}", "x".repeat(2000));
    for (args, line) in [
        (&["--", "make -j2 >x"][..], "make -j2 >x\n"),
        (
            &["--", "printf", "it's", "$HOME"],
            "printf 'it'\\''s' '$HOME'\n",
        ),
        (&["--", &long], &format!("{long}\n")),
    ] {
        exec(&address, args).is(7, "ran\n", "");
        assert_eq!(told.try_recv().as_deref(), Ok(line));
    }
    let mut input = tempfile::NamedTempFile::new().unwrap();
    input.write_all(b"touch danger\n").unwrap();
    let mut command = onepoll(["exec", &address, "--", "cat"]);
    let said = run(command.stdin(File::open(input.path()).unwrap()));
    said.fails(255, "-n runs it without: the command was not run");
    for args in [
        &["--cwd", "/tmp", "--", "ls"][..],
        &["--env", "TZ=UTC", "--", "date"],
        &["--", "one\ntouch danger"],
    ] {
        exec(&address, args).fails(255, "the command was not run");
    }
    assert!(told.try_recv().is_err(), "something else was run");
}

#[test]
fn a_terminal_is_refused_with_a_reason() {
    onepoll_says(&["--tty", "--", "top"], "a command has no terminal here");
    onepoll_says(&["--cwd", "tmp", "--", "ls"], "an absolute path");
}

#[track_caller]
fn onepoll_says(args: &[&str], why: &str) {
    exec("/nowhere.sock", args).refuses(why);
}
