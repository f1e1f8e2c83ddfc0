//! Remote commands through the real loop: real shells, real pipes, real signals.
//!
//! Nothing here sleeps: a shell that must wait reads a fifo, and a test that waits for a process
//! polls its pidfd. Every wait has a deadline.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use onepoll::config::{Limits, Settle};
use onepoll::reactor::{ListenerOptions, begin_to_listen, bind_unix, listen_tcp};
use onepoll::service::Command;
use onepoll::service::command::{CommandFraming, CommandOutput, Options};
use onepoll::wire::{
    CommandAnswer, CommandAnswers, CommandEnd, CommandHeader, CommandRequest, Decode, Encode,
    JsonHeader, RunCommand, STDIN_CREDIT_BYTES, StdinChunk, StreamedCommand,
};
use rustix::net::getsockname;
use rustix::process::{Pid, Signal, kill_process};

use crate::support::peer::{Peer, dial_unix};
use crate::support::process::{ended, lives};
use crate::support::server::Running;
use crate::support::{ANY, DEADLINE};

/// A server of commands, over TCP and at a path.
struct Server {
    running: Running,
    path: PathBuf,
    /// Told once, when somebody is owed as much as pauses a command's pipe.
    behind: Receiver<()>,
    /// Told once, when a command waits for others.
    waiting: Receiver<()>,
    /// The most that it owed to all connections at the end of a turn.
    owed_max: Arc<AtomicU64>,
    directory: tempfile::TempDir,
}

impl Server {
    fn new(options: Options, limits: Limits) -> Server {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let place = path.clone();
        let (tell_behind, behind) = mpsc::channel();
        let (tell_waiting, waiting) = mpsc::channel();
        let (mut tell_behind, mut tell_waiting) = (Some(tell_behind), Some(tell_waiting));
        let owed_max = Arc::<AtomicU64>::default();
        let owed = Arc::clone(&owed_max);
        let out_pause = limits.out_pause as u64;
        let running = Running::watched(
            limits.clone(),
            move |reactor| {
                let service = reactor.add(Box::new(Command::new(&options, &limits)));
                let socket = listen_tcp(ANY).unwrap();
                let address = getsockname(&socket).unwrap().try_into().unwrap();
                let local = bind_unix(&place, 0o600).unwrap();
                begin_to_listen(&local).unwrap();
                for socket in [socket, local] {
                    reactor
                        .listen(socket, ListenerOptions::to(service))
                        .unwrap();
                }
                address
            },
            move |reactor| {
                let now = reactor.counters();
                owed.fetch_max(now.owed, Ordering::SeqCst);
                if now.owed >= out_pause {
                    tell_behind.take().map(|tell| tell.send(()));
                }
                if now.children_waiting > 0 {
                    tell_waiting.take().map(|tell| tell.send(()));
                }
            },
        );
        Server {
            running,
            path,
            behind,
            waiting,
            owed_max,
            directory,
        }
    }

    fn framed(framing: CommandFraming) -> Server {
        Server::new(options(framing), Limits::default())
    }

    /// Where a command may take so many milliseconds.
    fn timed(framing: CommandFraming, ms: u64) -> Server {
        let options = Options {
            timeout: Some(Duration::from_millis(ms)),
            ..options(framing)
        };
        Server::new(options, Limits::default())
    }

    fn dial(&self) -> Peer {
        self.running.dial()
    }

    fn dial_unix(&self) -> Peer<UnixStream> {
        dial_unix(&self.path)
    }

    /// A fifo that shells can wait at.
    fn fifo(&self) -> Fifo {
        fifo(self.directory.path())
    }
}

fn fifo(directory: &Path) -> Fifo {
    let nth = std::fs::read_dir(directory).unwrap().count();
    let path = directory.join(format!("fifo-{nth}"));
    rustix::fs::mkfifoat(rustix::fs::CWD, &path, 0o600.into()).unwrap();
    Fifo(path)
}

/// The request of C5 that has this run.
fn run(command: StreamedCommand, change: impl FnOnce(&mut RunCommand)) -> Vec<u8> {
    let mut run = RunCommand::new(command);
    change(&mut run);
    let mut out = Vec::new();
    run.encode(&mut out).unwrap();
    out
}

fn line(line: &str) -> StreamedCommand {
    StreamedCommand::Line(line.as_bytes().to_vec())
}

fn options(framing: CommandFraming) -> Options {
    Options {
        framing,
        ..Options::default()
    }
}

impl<S: Read + Write> Peer<S> {
    /// A line that is the number of a process.
    fn pid(&mut self) -> Pid {
        pid(&self.line())
    }

    /// One answer of C3.
    fn i32(&mut self) -> String {
        let len = i32::from_le_bytes(self.takes(4).try_into().unwrap());
        String::from_utf8(self.takes(len.try_into().unwrap())).unwrap()
    }

    /// All that is said of one command in C5: its standard output, and its end.
    fn streamed(&mut self) -> (Vec<u8>, CommandEnd) {
        let (mut answers, mut unread, mut out) = (CommandAnswers::new(), Vec::new(), Vec::new());
        loop {
            match answers.decode(&unread).unwrap() {
                None => unread.append(&mut self.takes(1)),
                Some((answer, taken)) => {
                    match answer {
                        CommandAnswer::Stdout(bytes) => out.extend_from_slice(bytes),
                        CommandAnswer::End(end) => return (out, end),
                        CommandAnswer::Error(error) => panic!("{error:?}"),
                        _ => {}
                    }
                    unread.drain(..taken);
                }
            }
        }
    }

    /// One answer of C4.
    fn json(&mut self) -> (CommandHeader, Vec<u8>) {
        let mut frame = self.takes(4);
        let len = i32::from_le_bytes(frame[..].try_into().unwrap());
        frame.extend(self.takes(len.try_into().unwrap()));
        let (header, _) = JsonHeader::<CommandHeader>::new()
            .decode(&frame)
            .unwrap()
            .unwrap();
        let output = self.takes(header.data_size.try_into().unwrap());
        assert_eq!(header.md5, onepoll::wire::md5_hex(&output));
        (header, output)
    }
}

/// Where a shell waits: `read go < fifo`.
struct Fifo(PathBuf);

impl Fifo {
    fn path(&self) -> std::path::Display<'_> {
        self.0.display()
    }

    /// Opens the writing end, which waits until a shell reads.
    fn meets_a_reader(&self) -> File {
        let (tell, told) = mpsc::channel();
        let path = self.0.clone();
        thread::spawn(move || {
            let file = OpenOptions::new().write(true).open(path).unwrap();
            let _ = tell.send(file);
        });
        told.recv_timeout(DEADLINE).expect("nobody reads the fifo")
    }

    /// Lets the shell that reads go on.
    fn lets_go(&self) {
        self.meets_a_reader().write_all(b"go\n").unwrap();
    }
}

fn pid(digits: &str) -> Pid {
    Pid::from_raw(digits.trim().parse().unwrap()).unwrap()
}

#[test]
fn c1_streams_while_the_command_runs() {
    let server = Server::framed(CommandFraming::Raw);
    let fifo = server.fifo();
    let mut guest = server.dial();
    guest.says(format!(
        "echo one; echo wrong >&2; read go < {}; echo two\nprintf three",
        fifo.path()
    ));
    guest.hears("one\n");
    fifo.lets_go();
    guest.hears("two\nwrong\nthree");
    guest.ends();
    guest.hears_last("");
}

#[test]
fn c2_acknowledges_between_length_and_output() {
    let server = Server::framed(CommandFraming::Decimal);
    let mut guest = server.dial();
    for _ in 0..3 {
        guest.says("printf abcdefghijkl").hears("12");
        guest.says("recv_ready").hears("abcdefghijkl");
    }
    let server = Server::new(
        Options {
            ack: Some("go".into()),
            settle: Settle::Never,
            ..options(CommandFraming::Decimal)
        },
        Limits::default(),
    );
    let mut guest = server.dial();
    guest
        .says("printf abc\n")
        .hears("3")
        .says("go")
        .hears("abc");
    guest
        .says("printf abc\n")
        .hears("3")
        .says("no\nprintf d\n")
        .hears("1");
    guest.says("go").hears("d");
}

#[test]
fn c3_c4_glued_requests_and_a_half_close() {
    let server = Server::framed(CommandFraming::I32);
    let mut guest = server.dial();
    guest
        .says("printf a\n\r\nprintf bb\r\ntrue\nprintf cccc")
        .ends();
    let answers: Vec<String> = (0..4).map(|_| guest.i32()).collect();
    assert_eq!(answers, ["a", "bb", "", "cccc"]);
    guest.hears_last("");

    let server = Server::framed(CommandFraming::Json);
    let mut guest = server.dial_unix();
    guest.says("head -c 300000 /dev/zero\nprintf '\\377'");
    assert_eq!(guest.json().1, vec![0; 300_000]);
    assert_eq!(guest.json().1, b"\xff");
}

#[test]
fn c3_a_half_close_does_not_end_the_command_in_progress() {
    let server = Server::framed(CommandFraming::I32);
    let fifo = server.fifo();
    let mut guest = server.dial();
    guest.says(format!("read go < {}; echo done\necho next", fifo.path()));
    guest.ends();
    fifo.lets_go();
    assert_eq!([guest.i32(), guest.i32()], ["done\n", "next\n"]);
    guest.hears_last("");
}

#[test]
fn fault_f1_endless_output_is_cut_and_its_writer_killed() {
    let server = Server::new(
        Options {
            output: CommandOutput::StderrOrStdout,
            ..options(CommandFraming::I32)
        },
        Limits::default(),
    );
    let mut guest = server.dial();
    guest.says("yes\necho $$ >&2; exec yes >&2\n");
    let cut = "y\n".repeat(1 << 19) + "onepoll: output cut at 1048576 bytes\n";
    assert!(guest.i32() == cut);
    let answer = guest.i32();
    ended(pid(answer.lines().next().unwrap()));
    guest.says("echo on\n");
    assert_eq!(guest.i32(), "on\n");
}

#[test]
fn fault_f1_raw_output_waits_for_its_reader() {
    const BYTES: usize = 64 << 20;
    let server = Server::framed(CommandFraming::Raw);
    let mut guest = server.dial();
    guest.says(format!("head -c {BYTES} /dev/zero; echo wrong >&2"));
    // Nobody reads until the command's pipe is paused; then everything arrives (fault A9).
    server.behind.recv_timeout(DEADLINE).unwrap();
    guest.ends();
    let heard = guest.rest();
    assert_eq!(heard.len(), BYTES + 6);
    assert!(heard.ends_with(b"\0wrong\n"));
    let owed_max = Arc::clone(&server.owed_max);
    server.running.stops();
    let owed_max = owed_max.load(Ordering::SeqCst);
    // One read above the limit, and what was left in the pipe at the exit.
    let limits = Limits::default();
    let bound = (limits.out_pause + 3 * limits.read_per_turn) as u64;
    assert!(owed_max <= bound, "{owed_max} bytes were owed");
}

#[test]
fn fault_f1_whoever_does_not_read_keeps_no_place() {
    let server = Server::new(
        Options {
            timeout: Some(Duration::from_millis(300)),
            ..options(CommandFraming::Raw)
        },
        Limits {
            commands: 1,
            ..Limits::default()
        },
    );
    let mut sleeper = server.dial();
    sleeper.says("yes\n");
    server.behind.recv_timeout(DEADLINE).unwrap();
    // Answered when the first command's time is up, although nobody took what it wrote.
    server.dial().says("echo hi\n").hears("hi\n");
}

#[test]
fn fault_f2_what_ignores_the_request_to_end_is_killed() {
    let server = Server::timed(CommandFraming::Raw, 500);
    let mut guest = server.dial();
    guest.says("trap '' TERM; sleep 1000 & echo $$; echo $!; wait; wait; sleep 1000\n");
    let group = [guest.pid(), guest.pid()];
    assert_eq!(guest.line(), "onepoll: timeout after 500ms");
    group.into_iter().for_each(ended);
    guest.says("echo on\n").hears("on\n");
}

#[test]
fn fault_f2_what_can_clean_up_may() {
    let server = Server::timed(CommandFraming::Raw, 500);
    let mut guest = server.dial();
    guest.says("trap 'echo cleaned up; exit' TERM; while :; do sleep 0.01; done\n");
    let heard = String::from_utf8(guest.ends().rest()).unwrap();
    let lines: Vec<&str> = heard.lines().collect();
    assert_eq!(lines.first(), Some(&"cleaned up"));
    assert_eq!(lines.last(), Some(&"onepoll: timeout after 500ms"));
}

#[test]
fn fault_f2_whoever_is_left_of_the_group_may_clean_up_too() {
    let server = Server::timed(CommandFraming::Raw, 500);
    let mut guest = server.dial();
    // The outer shell ends at once, the inner one when it is done.
    guest.says(
        "sh -c 'trap \"sleep 0.1; echo cleaned up; exit\" TERM; while :; do sleep 0.01; done'; true",
    );
    let heard = String::from_utf8(guest.ends().rest()).unwrap();
    assert!(heard.contains("cleaned up\n"), "{heard}");
    assert!(heard.ends_with("onepoll: timeout after 500ms\n"), "{heard}");
}

#[test]
fn fault_f3_a_grandchild_that_holds_the_pipe_is_not_waited_for_and_ended() {
    let server = Server::framed(CommandFraming::I32);
    let mut guest = server.dial();
    guest.says("sleep 1000 & echo $!\n");
    ended(pid(&guest.i32()));
}

#[test]
fn fault_f4_who_left_the_group_does_not_hold_the_answer() {
    let server = Server::framed(CommandFraming::I32);
    let fifo = server.fifo();
    let mut guest = server.dial();
    guest.says(format!(
        "setsid sh -c 'echo $$ > {0}; exec sleep 1000' & read pid < {0}; echo $pid\n",
        fifo.path()
    ));
    let survivor = pid(&guest.i32());
    // No control group yet: it holds the pipe and lives on, and the answer came all the same.
    assert!(lives(survivor));
    kill_process(survivor, Signal::KILL).unwrap();
    guest.says("echo on\n");
    assert_eq!(guest.i32(), "on\n");
}

#[test]
fn fault_f4_who_left_the_group_and_writes_on_is_not_listened_to() {
    let server = Server::framed(CommandFraming::Raw);
    let fifo = server.fifo();
    let mut guest = server.dial();
    guest.says(format!(
        "setsid sh -c 'echo $$ > {0}; exec yes' & read pid < {0}; echo $pid >&2\n",
        fifo.path()
    ));
    let heard = String::from_utf8(guest.ends().rest()).unwrap();
    // Its pipe is closed, which ends it.
    ended(pid(heard.lines().last().unwrap()));
}

#[test]
fn fault_f7_standard_input_is_at_its_end() {
    let server = Server::framed(CommandFraming::I32);
    let mut guest = server.dial();
    guest.says("cat; readlink /proc/self/fd/0\n");
    assert_eq!(guest.i32(), "/dev/null\n");
}

#[test]
fn fault_f8_who_closes_its_output_early_may_go_on() {
    let server = Server::framed(CommandFraming::Json);
    let fifo = server.fifo();
    let mut guest = server.dial();
    guest.says(format!(
        "echo a; exec >&- 2>&-; read go < {}; exit 3\n",
        fifo.path()
    ));
    fifo.lets_go();
    let (header, output) = guest.json();
    assert_eq!((header.exit, output), (Some(3), b"a\n".to_vec()));
}

#[test]
fn fault_f9_a_reset_kills_the_whole_group() {
    let server = Server::framed(CommandFraming::Raw);
    let mut guest = server.dial();
    guest.says("echo $$; sleep 1000 & echo $!; wait\n");
    let group = [guest.pid(), guest.pid()];
    assert!(group.into_iter().all(lives));
    guest.resets();
    group.into_iter().for_each(ended);
}

#[test]
fn fault_f9_who_leaves_with_output_unread_is_gone() {
    let server = Server::framed(CommandFraming::Raw);
    let mut guest = server.dial();
    guest.says("echo $$; exec yes\n");
    let writer = guest.pid();
    server.behind.recv_timeout(DEADLINE).unwrap();
    drop(guest);
    ended(writer);
}

#[test]
fn fault_f9_a_hang_up_kills_the_whole_group() {
    let server = Server::framed(CommandFraming::Raw);
    let mut guest = server.dial_unix();
    guest.says("echo $$; sleep 1000 & echo $!; wait\n");
    let group = [guest.pid(), guest.pid()];
    drop(guest);
    group.into_iter().for_each(ended);
}

#[test]
fn fault_f9_who_waits_for_others_and_leaves_runs_nothing() {
    let server = Server::new(
        options(CommandFraming::Raw),
        Limits {
            commands: 1,
            ..Limits::default()
        },
    );
    let fifo = server.fifo();
    let proof = server.directory.path().join("proof");
    let mut first = server.dial();
    first
        .says(format!("echo in; read go < {}\n", fifo.path()))
        .hears("in\n");
    let mut second = server.dial();
    second.says(format!("touch {}\n", proof.display()));
    server.waiting.recv_timeout(DEADLINE).unwrap();
    second.resets();
    fifo.lets_go();
    server.dial().says("echo on\n").hears("on\n");
    assert!(!Path::new(&proof).exists());
}

#[test]
fn fault_f10_how_it_ended_is_told_exactly() {
    let server = Server::framed(CommandFraming::Json);
    let mut guest = server.dial();
    for code in [0, 1, 2, 42, 126, 127, 128, 129, 254, 255] {
        guest.says(format!("exit {code}\n"));
        assert_eq!(guest.json().0.exit, Some(code));
    }
    for signal in [1, 2, 9, 13, 15] {
        guest.says(format!("kill -{signal} $$\n"));
        assert_eq!(guest.json().0.exit, Some(128 + signal));
    }
}

#[test]
fn fault_f10_what_stops_itself_is_killed_at_the_limit() {
    let server = Server::timed(CommandFraming::Json, 200);
    let mut guest = server.dial();
    guest.says("kill -STOP $$\n");
    let (header, output) = guest.json();
    assert_eq!(header.error.as_deref(), Some("timeout after 200ms"));
    assert_eq!(output, b"onepoll: timeout after 200ms\n");
}

#[test]
fn fault_f11_every_command_is_reaped_before_its_answer() {
    const EACH: usize = 100;
    let server = Server::framed(CommandFraming::I32);
    let mut guests = [server.dial(), server.dial(), server.dial()];
    for guest in &mut guests {
        guest.says("echo $$\n".repeat(EACH));
    }
    for guest in &mut guests {
        for _ in 0..EACH {
            let pid = guest.i32();
            let status = std::fs::read_to_string(format!("/proc/{}/status", pid.trim()));
            let ours = format!("PPid:\t{}\n", std::process::id());
            assert!(
                !status.is_ok_and(|status| status.contains(&ours)),
                "{pid} is a zombie"
            );
        }
    }
    let counters = server.running.stops();
    assert_eq!(counters.commands_started, 3 * EACH as u64);
    assert_eq!(counters.commands_reaped, 3 * EACH as u64);
    assert_eq!((counters.children, counters.children_waiting), (0, 0));
}

#[test]
fn fault_f12_too_long_an_argument_is_a_typed_answer() {
    let server = Server::new(
        options(CommandFraming::Json),
        Limits {
            frame: 256 << 10,
            ..Limits::default()
        },
    );
    let mut guest = server.dial();
    guest.says("#".repeat(140_000) + "\necho on\n");
    let (header, output) = guest.json();
    let error = header.error.unwrap();
    assert_eq!(error, "cannot start: Argument list too long (os error 7)");
    assert_eq!(output, format!("onepoll: {error}\n").into_bytes());
    assert_eq!(guest.json().1, b"on\n");
    let counters = server.running.stops();
    assert_eq!(
        (counters.commands_failed, counters.commands_started),
        (1, 1)
    );
}

#[test]
fn fault_f13_a_nul_byte_starts_nothing() {
    let server = Server::framed(CommandFraming::I32);
    let mut guest = server.dial();
    guest.says("echo a\0b\n");
    assert_eq!(guest.i32(), "onepoll: the request contains a NUL byte\n");
    assert_eq!(server.running.stops().commands_started, 0);
}

#[test]
fn fault_f15_little_of_our_environment_is_handed_on() {
    let server = Server::framed(CommandFraming::I32);
    let mut guest = server.dial();
    guest.says("env\n");
    // What the shell itself sets, and what is handed on.
    let known = [
        "PWD",
        "OLDPWD",
        "SHLVL",
        "_",
        "PATH",
        "HOME",
        "LANG",
        "LC_ALL",
        "LC_CTYPE",
        "LOGNAME",
        "TMPDIR",
        "TZ",
        "USER",
        "ONEPOLL_COMMAND",
    ];
    let answer = guest.i32();
    for variable in answer.lines() {
        let (name, _) = variable.split_once('=').unwrap();
        assert!(known.contains(&name), "{variable}");
    }
    assert!(
        std::env::var_os("CARGO").is_some(),
        "cargo gave us something to keep back"
    );
    assert!(answer.contains("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n"));
}

#[test]
fn fault_f16_only_the_standard_descriptors_are_inherited() {
    let server = Server::framed(CommandFraming::Raw);
    let mut other = server.dial();
    other.says("echo in; sleep 1000\n").hears("in\n");
    // 3 is the directory that ls reads.
    let mut guest = server.dial();
    guest.says("ls /proc/self/fd").ends();
    guest.hears_last("0\n1\n2\n3\n");
    other.resets();
}

#[test]
fn fault_f17_signals_are_as_a_shell_has_them() {
    let server = Server::framed(CommandFraming::I32);
    let mut guest = server.dial();
    guest.says("yes | head -1\n");
    assert_eq!(guest.i32(), "y\n");
    guest.says("grep -E '^Sig(Blk|Ign)' /proc/self/status\n");
    let answer = guest.i32();
    let masks: Vec<u64> = answer
        .lines()
        .map(|line| u64::from_str_radix(line.split_whitespace().nth(1).unwrap(), 16).unwrap())
        .collect();
    assert_eq!(masks[0], 0, "something is blocked: {answer}");
    assert_eq!(masks[1] & 1 << (13 - 1), 0, "SIGPIPE is ignored: {answer}");
}

/// A command can do what the server can: it is never more, also through a program that is set-user-ID,
/// where the server was started with `no_new_privs` (prctl(2)).
#[test]
fn fault_f20_a_command_has_the_privileges_of_the_server_and_no_others() {
    let ours = std::fs::read_to_string("/proc/thread-self/status").unwrap();
    let server = Server::framed(CommandFraming::I32);
    let mut guest = server.dial();
    guest.says("grep -E '^(NoNewPrivs|Cap...|Uid|Gid|Groups|Seccomp):' /proc/self/status\n");
    let theirs = guest.i32();
    assert!(theirs.lines().count() >= 9, "{theirs}");
    for line in theirs.lines() {
        assert!(ours.lines().any(|our| our == line), "{line} is not ours");
    }
}

/// A copy of the server's memory map would take as long as it is large, and the loop with it: the command
/// is started in the server's own memory (`CLONE_VM | CLONE_VFORK`, clone(2)), and nothing else is forked.
#[test]
#[cfg(feature = "cli")]
fn fault_f21_a_command_is_started_without_a_copy_of_the_server() {
    use crate::support::program::{self, skipped};
    use crate::support::server::Served;
    if skipped("strace") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("strace");
    let path = dir.path().join("c.sock");
    let endpoint = format!("command+unix://{}?framing=i32", path.display());
    let confined = dir.path().join("confined.sock");
    let options = "framing=i32&no-new-privs=true";
    let other = format!("command+unix://{}?{options}", confined.display());
    let mut command = std::process::Command::new("strace");
    // Of the server alone: what a shell starts is its own affair.
    command.args([
        "-e",
        "trace=clone,clone3,fork,vfork",
        "-e",
        "signal=none",
        "-o",
    ]);
    command.arg(&log).arg(program::command(&[]).get_program());
    let served = Served::by(command.args(["serve", &endpoint, &other]));
    let served = match served {
        Ok(served) => served,
        Err(said) if said.contains("ptrace") => return program::skip("no process may be traced"),
        Err(said) => panic!("{said}"),
    };
    let mut guest = dial_unix(&path);
    for _ in 0..3 {
        guest.says("echo on\n");
        assert_eq!(guest.i32(), "on\n");
    }
    // A program, with all that C5 asks for besides.
    let program = [&b"sh"[..], b"-c", b"pwd; cat"].map(<[u8]>::to_vec);
    guest.says(run(StreamedCommand::Program(program.to_vec()), |run| {
        run.directory = Some("/".to_owned());
        run.environment = vec!["TERM=dumb".to_owned()];
        run.has_input = true;
    }));
    let mut input = Vec::new();
    StdinChunk(b"fed").encode(&mut input);
    CommandRequest::StdinEnd.encode(&mut input);
    assert_eq!(guest.says(input).streamed().0, b"/\nfed");
    let mut guest = dial_unix(&confined);
    guest.says("echo within\n");
    assert_eq!(guest.i32(), "within\n");
    drop(served);
    let log = std::fs::read_to_string(log).unwrap();
    let calls: Vec<&str> = log.lines().filter(|line| line.contains("= ")).collect();
    let started: Vec<&&str> = calls
        .iter()
        .filter(|call| !call.contains("CLONE_THREAD"))
        .collect();
    // Five commands, one of them by a launcher; the launcher that tried that at start; the keeper.
    assert_eq!(started.len(), 7, "{log}");
    for call in started {
        let shares = call.contains("CLONE_VM") && call.contains("CLONE_VFORK");
        assert!(shares || call.starts_with("vfork("), "{call}");
    }
}

#[test]
#[cfg(feature = "cli")]
fn fault_f16_a_launcher_of_another_program_starts_commands_within_what_is_asked_for() {
    let options = Options {
        limit_files: Some(77),
        no_new_privs: true,
        ..options(CommandFraming::I32)
    };
    let server = Server::new(options, Limits::default());
    let mut guest = server.dial();
    guest.says("ulimit -n; grep NoNewPrivs /proc/self/status; echo $(ls /proc/self/fd)\n");
    assert_eq!(guest.i32(), "77\nNoNewPrivs:\t1\n0 1 2 3\n");
    // Its whole group is killed, as that of one without.
    let fifo = server.fifo();
    guest.says(format!("sleep 1000 & echo $! > {}; wait\n", fifo.path()));
    let mut pid = String::new();
    File::open(&fifo.0)
        .unwrap()
        .read_to_string(&mut pid)
        .unwrap();
    let pid = Pid::from_raw(pid.trim().parse().unwrap()).unwrap();
    guest.resets();
    ended(pid);
    let counters = server.running.stops();
    assert_eq!(
        (counters.commands_started, counters.commands_failed),
        (2, 0)
    );
}

/// A start that stops the loop for long is said, with how long it took.
#[test]
#[cfg(feature = "cli")]
fn fault_f21_a_start_that_takes_long_is_logged() {
    use crate::support::program::{self, skipped};
    use crate::support::server::Served;
    if skipped("strace") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (log, path) = (dir.path().join("strace"), dir.path().join("c.sock"));
    let endpoint = format!("command+unix://{}?framing=i32", path.display());
    let mut command = std::process::Command::new("strace");
    // The kernel takes 50 ms longer for each start than it would.
    let slow = "inject=clone,clone3,vfork:delay_exit=50000";
    command.args(["-e", "trace=clone,clone3,vfork", "-e", "signal=none"]);
    command.args(["-e", slow, "-o"]);
    command.arg(&log).arg(program::command(&[]).get_program());
    command.args(["serve", &endpoint]);
    let served = match Served::by(&mut command) {
        Ok(served) => served,
        Err(said) if said.contains("ptrace") => return program::skip("no process may be traced"),
        Err(said) => panic!("{said}"),
    };
    let mut guest = dial_unix(&path);
    guest.says("echo on\n");
    assert_eq!(guest.i32(), "on\n");
    served.says("starting a command stopped the loop");
}

#[test]
fn fault_f19_of_a_hundred_sixteen_run_and_sixty_four_wait() {
    let server = Server::framed(CommandFraming::Raw);
    let fifo = server.fifo();
    // Open for both, so that neither end waits for the other.
    let mut gate = OpenOptions::new()
        .read(true)
        .write(true)
        .open(&fifo.0)
        .unwrap();
    let (tell, told) = mpsc::channel();
    let guests: Vec<_> = (0..100)
        .map(|_| {
            let mut guest = server.dial();
            guest.says(format!(
                "echo started; read go < {}; echo ran\n",
                fifo.path()
            ));
            let tell = tell.clone();
            thread::spawn(move || {
                let first = guest.line();
                let starts = first == "started";
                tell.send(first).unwrap();
                if starts {
                    assert_eq!(guest.line(), "ran");
                    tell.send("ran".into()).unwrap();
                }
            })
        })
        .collect();
    let hears = |n: usize| -> Vec<String> {
        (0..n)
            .map(|_| told.recv_timeout(DEADLINE).unwrap())
            .collect()
    };
    // Nothing ends before the gate is opened, so these are all that can be heard.
    let mut first = hears(36);
    first.sort();
    let busy = "onepoll: busy: as many commands run and wait as may";
    assert_eq!(first[..20], vec![busy; 20]);
    assert_eq!(first[20..], vec!["started"; 16]);
    // A line for each of the eighty.
    gate.write_all(&[b'\n'; 80]).unwrap();
    let later = hears(80 + 64);
    assert_eq!(later.iter().filter(|said| *said == "ran").count(), 80);
    for guest in guests {
        guest.join().unwrap();
    }
    let counters = server.running.stops();
    assert_eq!((counters.commands_busy, counters.commands_reaped), (20, 80));
}

/// In a process of its own: if the loop blocks, that can be ended.
#[test]
#[cfg(feature = "cli")]
fn c5_a_command_that_does_not_read_its_input_blocks_nobody() {
    use crate::support::peer::dial;
    use crate::support::server::Served;
    let server = Served::start("command://127.0.0.1:0?framing=stream&auth=none");
    let dir = tempfile::tempdir().unwrap();
    let fifo = fifo(dir.path());
    let wait = format!("cat {}; echo done", fifo.path());
    let mut deaf = dial(server.address());
    deaf.says(run(line(&wait), |run| run.has_input = true));
    let mut input = Vec::new();
    StdinChunk(&vec![0; STDIN_CREDIT_BYTES as usize]).encode(&mut input);
    // More than the pipe holds, as soon as it is granted.
    let (mut answers, mut unread) = (CommandAnswers::new(), Vec::new());
    deaf.says(&input);
    let granted = loop {
        match answers.decode(&unread).unwrap() {
            None => unread.append(&mut deaf.takes(1)),
            Some((CommandAnswer::Credit(bytes), _)) => break bytes,
            Some((_, taken)) => _ = unread.drain(..taken),
        }
    };
    for _ in 0..granted / STDIN_CREDIT_BYTES {
        deaf.says(&input);
    }
    for _ in 0..3 {
        let mut quick = dial(server.address());
        quick.says(run(line("echo quick"), |_| {}));
        assert_eq!(quick.streamed().0, b"quick\n");
    }
    fifo.lets_go();
    let (out, end) = deaf.streamed();
    assert_eq!((&out[..], end.exit), (&b"go\ndone\n"[..], Some(0)));
    assert!(end.stdin >= STDIN_CREDIT_BYTES / 16 && end.stdin < granted);
}

#[test]
fn c5_the_end_tells_what_the_command_used() {
    let server = Server::framed(CommandFraming::Stream);
    let mut guest = server.dial();
    let busy = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done";
    guest.says(run(line(busy), |_| {}));
    let (_, end) = guest.streamed();
    let used = end.user.unwrap() + end.system.unwrap();
    assert!(used > Duration::from_millis(1), "{end:?}");
    assert!(end.wall + Duration::from_millis(10) > used, "{end:?}");
    // A shell has some memory, also of its own.
    assert!(end.peak.unwrap() > 100_000, "{end:?}");
}

#[test]
fn stopping_lets_the_command_in_progress_finish_and_starts_no_other() {
    let server = Server::framed(CommandFraming::I32);
    let fifo = server.fifo();
    let mut guest = server.dial();
    guest.says(format!(
        "read go < {}; echo done\necho never\n",
        fifo.path()
    ));
    let mut gate = fifo.meets_a_reader();
    server.running.handle.stop().unwrap();
    gate.write_all(b"go\n").unwrap();
    drop(gate);
    assert_eq!(guest.i32(), "done\n");
    guest.hears_last("");
}

#[test]
fn nothing_outlives_the_server() {
    let server = Server::new(
        options(CommandFraming::Raw),
        Limits {
            drain_timeout: Duration::ZERO,
            ..Limits::default()
        },
    );
    let mut guest = server.dial();
    guest.says("echo $$; sleep 1000 & echo $!; wait\n");
    let group = [guest.pid(), guest.pid()];
    server.running.stops();
    group.into_iter().for_each(ended);
}
