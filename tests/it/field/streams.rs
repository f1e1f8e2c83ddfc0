//! Standard input, output and error as they are inherited: non-blocking, full, closed.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::Stdio;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::ioctl_fionbio;
use rustix::pipe::{PipeFlags, pipe_with};

use super::{Server, finish, onepoll, run};

/// A pipe of which one end is handed on and does not block there.
fn pipe() -> (OwnedFd, OwnedFd) {
    pipe_with(PipeFlags::CLOEXEC).unwrap()
}

/// A command for each subcommand with a result, with servers that answer.
fn results(commands: &str, echo: &str, udp: &str) -> Vec<Vec<String>> {
    let all = format!(
        "--help
--version
exec --help
lab
lab would-block
lab --json would-block
lab --repeat 2 would-block
check echo://127.0.0.1:0
check --json echo://127.0.0.1:0
check --json nonsense://
exec {commands} -- echo hello
time {udp}
time {udp} --json
bench conn {echo} -d 50ms --warmup 0s
bench conn {echo} -d 50ms --warmup 0s --json
bench compare a={echo} b={echo} --mode conn -d 50ms --warmup 0s
serve --json echo://127.0.0.1:0"
    );
    all.lines()
        .map(|line| line.split_whitespace().map(str::to_owned).collect())
        .collect()
}

#[test]
fn a_result_that_cannot_be_written_is_an_error_with_its_cause() {
    let (_commands, commands) = Server::of_commands("");
    let echo = Server::new(&["echo://127.0.0.1:0"]);
    let time = Server::new(&["time://127.0.0.1:0"]);
    for args in results(&commands, &echo.address(), &time.address()) {
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let said = finish(
            onepoll(&args)
                .stdout(full)
                .stderr(Stdio::piped())
                .spawn()
                .unwrap(),
        );
        assert_eq!(said.code, Some(1), "{args:?}: {said:?}");
        let cause = "standard output cannot be written: No space left on device";
        assert_eq!(said.err.matches(cause).count(), 1, "{args:?}: {said:?}");
    }
}

#[test]
fn a_reader_that_has_gone_away_is_not_spoken_of_and_changes_no_exit_code_but_that_of_a_command() {
    let (_commands, commands) = Server::of_commands("");
    let echo = Server::new(&["echo://127.0.0.1:0"]);
    let time = Server::new(&["time://127.0.0.1:0"]);
    let mut all = results(&commands, &echo.address(), &time.address());
    // A server goes on without a reader.
    assert_eq!(all.pop().unwrap()[0], "serve");
    for args in all {
        let (nobody, out) = pipe();
        drop(nobody);
        let said = finish(
            onepoll(&args)
                .stdout(out)
                .stderr(Stdio::piped())
                .spawn()
                .unwrap(),
        );
        let code = match &*args[0] {
            // As a local command would have ended: 128 and SIGPIPE.
            "exec" if args.contains(&"--".to_owned()) => 141,
            _ if args.contains(&"nonsense://".to_owned()) => 2,
            _ => 0,
        };
        assert_eq!(said.code, Some(code), "{args:?}: {said:?}");
        assert!(!said.err.contains("pipe"), "{args:?}: {said:?}");
    }
    let (nobody, out) = pipe();
    drop(nobody);
    let mut failing = onepoll(["exec", &commands, "--", "echo x; exit 7"]);
    let said = finish(failing.stdout(out).stderr(Stdio::piped()).spawn().unwrap());
    assert_eq!((said.code, said.err.as_str()), (Some(141), ""));
}

#[test]
fn commands_stop_when_nobody_reads_their_output_any_more() {
    let (server, commands) = Server::of_commands("");
    let (nobody, out) = pipe();
    drop(nobody);
    let mark = server.path().join("mark");
    let mut lines = tempfile::tempfile().unwrap();
    write!(lines, "echo one; exit 3\ntouch {}\n", mark.display()).unwrap();
    std::io::Seek::rewind(&mut lines).unwrap();
    let mut exec = onepoll(["exec", &commands]);
    let said = finish(
        exec.stdin(lines)
            .stdout(out)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    assert_eq!((said.code, said.err.as_str()), (Some(141), ""));
    assert!(!mark.exists());
}

#[test]
fn an_output_that_does_not_block_is_waited_for() {
    const BYTES: usize = 300_000;
    let (_server, commands) = Server::of_commands("");
    let (from, to) = pipe();
    ioctl_fionbio(&to, true).unwrap();
    let script = format!("yes 123456789 | head -c {BYTES}; exit 5");
    let mut exec = onepoll(["exec", &commands, "--", &script]);
    let child = exec.stdout(to).stderr(Stdio::piped()).spawn().unwrap();
    drop(exec);
    // A writer that does not wait gives up when the pipe is full, and is gone.
    let is_full_or_left = || {
        let mut there = [PollFd::new(&from, PollFlags::IN)];
        poll(&mut there, None).unwrap();
        there[0].revents().contains(PollFlags::HUP)
            || rustix::io::ioctl_fionread(&from).unwrap() >= 65_536
    };
    while !is_full_or_left() {}
    let mut all = Vec::new();
    File::from(from).read_to_end(&mut all).unwrap();
    let said = finish(child);
    assert_eq!((said.code, said.err.as_str()), (Some(5), ""));
    assert_eq!(all.len(), BYTES);
    assert!(all.chunks_exact(10).all(|line| line == b"123456789\n"));
}

#[test]
fn an_input_that_does_not_block_is_waited_for() {
    let (_server, commands) = Server::of_commands("");
    let (from, to) = pipe();
    ioctl_fionbio(&from, true).unwrap();
    let mut exec = onepoll(["exec", &commands]);
    exec.stdin(from)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = exec.spawn().unwrap();
    drop(exec);
    // Its answer shows that it has read all there was, and looks for more.
    let mut lines = File::from(to);
    lines.write_all(b"echo one\n").unwrap();
    let mut answer = [0; 4];
    child
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut answer)
        .unwrap();
    assert_eq!(&answer, b"one\n");
    lines.write_all(b"echo two; exit 4\n").unwrap();
    drop(lines);
    let said = finish(child);
    assert_eq!(
        (said.code, said.out.as_str(), said.err.as_str()),
        (Some(4), "two\n", "")
    );
}

#[test]
fn an_error_output_that_does_not_block_is_waited_for() {
    let (from, to) = pipe();
    ioctl_fionbio(&to, true).unwrap();
    let filled = fill(&to);
    let mut wrong = onepoll(["nonsense"]);
    let child = wrong.stdout(Stdio::null()).stderr(to).spawn().unwrap();
    drop(wrong);
    let mut all = Vec::new();
    File::from(from).read_to_end(&mut all).unwrap();
    assert_eq!(finish(child).code, Some(2));
    let said = String::from_utf8_lossy(&all[filled..]);
    assert!(said.contains("unrecognized subcommand"), "{said}");
}

/// Fills a pipe to its last byte; how many that took.
fn fill(to: &OwnedFd) -> usize {
    let mut filled = 0;
    for piece in [4096, 1] {
        while let Ok(n) = rustix::io::write(to, &vec![b' '; piece]) {
            filled += n;
        }
    }
    filled
}

#[test]
fn help_is_the_same_on_a_pipe_and_without_colours() {
    let said = run(&mut onepoll(["--help"]));
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""));
    assert!(said.out.contains("Usage: onepoll"), "{said:?}");
    assert!(!said.out.contains('\u{1b}'), "{said:?}");
}
