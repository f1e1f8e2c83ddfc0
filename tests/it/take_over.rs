//! One server takes the sockets of another over, with the real binary.
//!
//! ```text
//! ONEPOLL_TAKE_OVERS=1000 cargo test --release --test it take_over::fault_h4_under_load -- --nocapture
//! ```

use std::collections::{BTreeSet, VecDeque};
use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use onepoll::client::{ClientError, Released, TakeOver};
use rustix::process::{Pid, Signal, geteuid, kill_process};
use tempfile::TempDir;

use crate::support::DEADLINE;
use crate::support::peer::{dial, dial_unix};
use crate::support::process::lives;
use crate::support::program::{self, Group, Said, run, skip, skipped};
use crate::support::server::Served;

/// A directory with the control socket, and what else servers of one test share.
struct Place(TempDir);

impl Place {
    fn new() -> Place {
        Place(tempfile::tempdir().unwrap())
    }

    fn control(&self) -> PathBuf {
        self.0.path().join("control.sock")
    }

    /// The URL with `DIR` in it.
    fn url(&self, url: &str) -> String {
        url.replace("DIR", self.0.path().to_str().unwrap())
    }

    fn command(&self, endpoints: &[impl AsRef<str>]) -> Command {
        let mut command = program::command(&["serve", "--control"]);
        command.arg(self.control());
        command.args(endpoints.iter().map(|url| self.url(url.as_ref())));
        command
    }

    fn serves(&self, endpoints: &[impl AsRef<str>]) -> Served {
        Served::by(&mut self.command(endpoints)).unwrap()
    }

    fn takes_over(&self, endpoints: &[impl AsRef<str>]) -> Served {
        Served::by(self.command(endpoints).arg("--take-over")).unwrap()
    }

    /// It does not.
    fn fails(&self, endpoints: &[impl AsRef<str>]) -> Said {
        run(self.command(endpoints).arg("--take-over"), "")
    }
}

fn address(endpoint: &str) -> SocketAddr {
    let (_, address) = endpoint.split_once("://").unwrap();
    address.split('?').next().unwrap().parse().unwrap()
}

/// Whether a server answers there as `echo` does.
#[track_caller]
fn echoes(address: SocketAddr) {
    dial(address).says("hello").ends().hears_last("hello");
}

/// What a datagram to there is answered.
fn asks(address: SocketAddr, question: &str) -> String {
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_read_timeout(Some(DEADLINE)).unwrap();
    client.send_to(question.as_bytes(), address).unwrap();
    let mut room = [0; 64];
    let n = client.recv(&mut room).unwrap();
    String::from_utf8(room[..n].to_vec()).unwrap()
}

/// What a poll of the process has, and the process has closed.
fn watched_and_closed(pid: Pid) -> BTreeSet<String> {
    let proc = PathBuf::from(format!("/proc/{}", pid.as_raw_nonzero()));
    let names = |folder: &str| -> BTreeSet<String> {
        let entries = fs::read_dir(proc.join(folder)).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.collect()
    };
    let mut watched = BTreeSet::new();
    for name in names("fd") {
        let info = fs::read_to_string(proc.join("fdinfo").join(name)).unwrap_or_default();
        let lines = info.lines().filter_map(|line| line.strip_prefix("tfd:"));
        watched.extend(lines.map(|line| line.split_whitespace().next().unwrap().to_owned()));
    }
    assert!(!watched.is_empty(), "it has a poll");
    watched.difference(&names("fd")).cloned().collect()
}

#[test]
fn fault_h4_sockets_of_every_kind_go_over_and_nobody_is_lost() {
    let place = Place::new();
    let name = format!("@onepoll-take-over-{}", std::process::id());
    let mut old = place.serves(&[
        "chat://127.0.0.1:0",
        "echo://127.0.0.1:0",
        "upper+unix://DIR/upper.sock",
        &format!("echo+unix://{name}"),
        "upper+udp://127.0.0.1:0",
        "discard://127.0.0.1:0",
    ]);
    let urls = old.endpoints.clone();
    let [chat, echo, upper, _, datagrams, vanishes] = &urls[..] else {
        panic!("{urls:?}");
    };
    let path = Path::new(upper.split_once("://").unwrap().1);
    let mut ann = dial(address(chat));
    ann.says("/nick ann\n");
    assert!(ann.line().contains("guest-1"));
    let mut bob = dial(address(chat));
    bob.says("/who\n");
    while !bob.line().contains("guest-2") {}
    let mut shouts = dial_unix(path);
    shouts.says("before").hears("BEFORE");

    // Other options, one endpoint less, one more, and one with another service.
    let new = place.takes_over(&[
        &format!("{chat}?history=5"),
        echo,
        &format!("{upper}?mode=0660"),
        &format!("upper+unix://{name}"),
        &datagrams.replace("upper", "echo"),
        "greeting://127.0.0.1:0?greeting=welcome",
    ]);
    assert!(
        old.says("serves from now on")
            .contains(&new.pid().as_raw_nonzero().to_string())
    );
    // Everything is served by the new one.
    echoes(address(echo));
    dial_unix(path).says("a").hears("A");
    assert_eq!(
        fs::metadata(path).unwrap().permissions().mode() & 0o777,
        0o660
    );
    assert_eq!(asks(address(datagrams), "a"), "a");
    let mut greeted = dial(address(new.endpoints.last().unwrap()));
    greeted.hears("welcome");
    let mut cid = dial(address(chat));
    cid.says("/who\n");
    while !cid.line().contains("guest-1") {}
    // What was not asked for again is gone.
    assert!(TcpStream::connect(address(vanishes)).is_err());

    // Members stay with the old one, and talk.
    ann.says("hello\n");
    while bob.line() != "ann: hello" {}
    shouts.says("after").hears("AFTER");
    assert_eq!(watched_and_closed(old.pid()), BTreeSet::new());
    assert!(lives(old.pid()));
    drop((ann, bob, shouts));
    assert_eq!(old.exits(), Some(0));

    // The old one has removed no file.
    dial_unix(path).says("a").hears("A");
    // And so it goes on.
    let mut next = place.takes_over(&[echo, upper]);
    drop((greeted, cid));
    echoes(address(echo));
    dial_unix(path).says("a").hears("A");
    assert_eq!(
        fs::metadata(path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    kill_process(next.pid(), Signal::TERM).unwrap();
    assert_eq!(next.exits(), Some(0));
    assert!(!path.exists() && !place.control().exists());
}

#[test]
fn a_port_that_the_system_chose_is_kept() {
    let place = Place::new();
    let endpoints = [
        "echo://127.0.0.1:0",
        "chat://localhost:0",
        "upper+udp://127.0.0.1:0",
    ];
    let old = place.serves(&endpoints);
    let new = place.takes_over(&endpoints);
    assert_eq!(new.endpoints, old.endpoints);
    echoes(new.address());
}

#[test]
fn more_sockets_than_one_message_holds_go_over() {
    let place = Place::new();
    let name = |n: usize| format!("echo+unix://@onepoll-many-{}-{n}", std::process::id());
    let mut endpoints: Vec<String> = (0..300).map(name).collect();
    endpoints.push("echo://127.0.0.1:0".into());
    let mut old = place.serves(&endpoints);
    let new = place.takes_over(&endpoints);
    assert_eq!(new.endpoints, old.endpoints);
    assert_eq!(old.exits(), Some(0));
    echoes(address(new.endpoints.last().unwrap()));
}

#[test]
fn fault_h5_a_server_that_fails_to_start_changes_nothing() {
    let place = Place::new();
    let mut old = place.serves(&["echo://127.0.0.1:0", "upper+unix://DIR/a.sock"]);
    let echo = old.endpoint.clone();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let rival = format!("chat://{}", taken.local_addr().unwrap());
    let _other = UnixListener::bind(place.0.path().join("b.sock")).unwrap();
    let a = "upper+unix://DIR/a.sock";
    // Configuration that is wrong, refused, and that cannot be bound: the old one is asked or not.
    place.fails(&["ehco://127.0.0.1:0"]).fails(2, "echo");
    place
        .fails(&[&echo, "command://0.0.0.0:0"])
        .fails(2, "no option overrides");
    place
        .fails(&[&echo, a, &rival])
        .fails(1, "stop what listens");
    place
        .fails(&[&*echo, a, "echo+unix://DIR/b.sock"])
        .fails(1, "another server has its socket there");
    let path = place.0.path().join("a.sock");
    dial_unix(&path).says("a").hears("A");
    echoes(address(&echo));
    assert!(lives(old.pid()));
    // It can still be taken over.
    let _new = place.takes_over(&[&*echo, a]);
    assert_eq!(old.exits(), Some(0));
    dial_unix(&path).says("a").hears("A");
}

#[test]
fn fault_h5_a_process_that_dies_between_changes_nothing_and_a_second_one_is_refused() {
    let place = Place::new();
    let mut old = place.serves(&["echo://127.0.0.1:0"]);
    let echo = old.endpoint.clone();
    let (asked, sockets) = TakeOver::ask(&place.control()).unwrap();
    let places: Vec<&str> = sockets.iter().map(|s| &*s.description.place).collect();
    assert_eq!(places, ["echo+tcp://127.0.0.1:0", "control"]);
    place
        .fails(&[&echo])
        .fails(1, "another process is taking this server over");
    echoes(address(&echo));
    drop((asked, sockets));
    old.says("goes on");
    // It has the socket, and says that it is ready for more than there is.
    let (asked, _sockets) = TakeOver::ask(&place.control()).unwrap();
    let refused = asked.ready(vec![0, 1, 2]);
    assert!(
        matches!(&refused, Err(ClientError::Refused { reason, .. }) if reason.contains("no socket 2")),
        "{refused:?}"
    );
    echoes(address(&echo));
    let _new = place.takes_over(&[&echo]);
    assert_eq!(old.exits(), Some(0));
    echoes(address(&echo));
}

#[test]
fn a_reload_waits_for_no_take_over_and_the_supervisor_is_told_of_the_new_process() {
    let place = Place::new();
    let supervisor = UnixDatagram::bind(place.0.path().join("notify.sock")).unwrap();
    supervisor.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut command = place.command(&["echo://127.0.0.1:0"]);
    command.env("NOTIFY_SOCKET", place.0.path().join("notify.sock"));
    let mut old = Served::by(&mut command).unwrap();
    let (asked, sockets) = TakeOver::ask(&place.control()).unwrap();
    // The sockets have numbers, which a reload would change.
    kill_process(old.pid(), Signal::HUP).unwrap();
    old.says("SIGHUP was ignored: another process is taking this server over");
    drop((asked, sockets));
    old.says("goes on");
    let new = place.takes_over(&[&*old.endpoint]);
    let told = format!("MAINPID={}", new.pid().as_raw_nonzero());
    let mut room = [0; 512];
    loop {
        let n = supervisor.recv(&mut room).unwrap();
        let message = std::str::from_utf8(&room[..n]).unwrap();
        // Of a server that goes on elsewhere, nothing stops.
        assert!(!message.contains("STOPPING"), "{message}");
        if message.lines().any(|line| line == told) {
            break;
        }
    }
    assert_eq!(old.exits(), Some(0));
}

#[test]
fn a_server_that_is_killed_before_it_lets_go_is_taken_over_all_the_same() {
    let place = Place::new();
    let mut old = place.serves(&["echo://127.0.0.1:0"]);
    let (asked, sockets) = TakeOver::ask(&place.control()).unwrap();
    kill_process(old.pid(), Signal::KILL).unwrap();
    old.ended();
    // Nobody else has the sockets, and none of those who wait there is lost.
    assert_eq!(asked.ready(vec![0, 1]).unwrap(), Released::ByItsEnd);
    let _waits = dial(old.address());
    assert_eq!(sockets.len(), 2);
}

#[test]
fn without_a_server_there_is_nothing_to_take_over_and_a_stale_socket_is_no_server() {
    let place = Place::new();
    let said = place.fails(&["echo://127.0.0.1:0"]);
    said.fails(1, "no server to take over; start without --take-over");
    let mut killed = place.serves(&["echo://127.0.0.1:0"]);
    kill_process(killed.pid(), Signal::KILL).unwrap();
    killed.ended();
    assert!(place.control().exists());
    let said = place.fails(&["echo://127.0.0.1:0"]);
    said.fails(1, "no server to take over");
    // Fault H10: it needs no repair.
    let running = place.serves(&["echo://127.0.0.1:0"]);
    let said = run(&mut place.command(&["echo://127.0.0.1:0"]), "");
    said.fails(1, "cannot bind the control socket");
    echoes(running.address());
}

#[test]
fn the_control_socket_is_for_the_same_user_only() {
    if !geteuid().is_root() {
        return skip("being another user needs root");
    }
    if skipped("python3") {
        return;
    }
    let place = Place::new();
    let old = place.serves(&["echo://127.0.0.1:0"]);
    let mode = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    let found = fs::metadata(place.control()).unwrap().permissions().mode();
    assert_eq!(found & 0o777, 0o600);
    // Even where the files let others in, neither side trusts another user.
    mode(place.0.path(), 0o755);
    mode(&place.control(), 0o666);
    let script = "import socket, sys\n\
        s = socket.socket(socket.AF_UNIX)\n\
        s.connect(sys.argv[1])\n\
        s.settimeout(20)\n\
        try:\n s.sendall(b'\\x24\\0\\0\\0{\"sockets\":{\"version\":1,\"from\":0}}')\n\
        except BrokenPipeError: pass\n\
        try: print(s.recv(100))\n\
        except ConnectionResetError: print(b'')";
    let mut stranger = Command::new("python3");
    stranger.args(["-c", script]).arg(place.control());
    let said = run(stranger.uid(65_534).current_dir("/"), "");
    said.is(0, "b''\n", "");
    echoes(old.address());
    drop(old);
    // The other way round: a server of somebody else's.
    let script = "import socket, sys\n\
        s = socket.socket(socket.AF_UNIX)\n\
        s.bind(sys.argv[1])\n\
        s.listen()\n\
        print('listens', flush=True)\n\
        s.accept()[0].recv(100)";
    fs::set_permissions(place.0.path(), fs::Permissions::from_mode(0o777)).unwrap();
    fs::remove_file(place.control()).unwrap_or_default();
    let mut theirs = Command::new("python3");
    theirs.args(["-c", script]).arg(place.control());
    theirs.uid(65_534).current_dir("/").stdout(Stdio::piped());
    let mut group = Group::spawn(&mut theirs).unwrap();
    let mut first = [0];
    std::io::Read::read_exact(group.0.stdout.as_mut().unwrap(), &mut first).unwrap();
    let said = place.fails(&["echo://127.0.0.1:0"]);
    said.fails(1, "the server there is user 65534's, not 0's");
}

#[test]
fn fault_h4_under_load_no_connection_is_refused_or_reset() {
    let count = std::env::var("ONEPOLL_TAKE_OVERS").map_or(5, |all| all.parse().unwrap());
    let place = Place::new();
    let mut server = place.serves(&["echo://127.0.0.1:0"]);
    let echo = server.endpoint.clone();
    let line = format!("bench conn {echo} --rate 2000 --duration 1h --json");
    let mut bench = program::command(&line.split(' ').collect::<Vec<_>>());
    bench
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let bench = Group::spawn(&mut bench).unwrap();
    let began = now();
    let mut made = 0;
    let mut old = VecDeque::new();
    while made < count || now() - began < LOAD_MIN {
        let new = place.takes_over(&[&echo]);
        old.push_back(std::mem::replace(&mut server, new));
        made += 1;
        // Each ends with its last connection, which is soon.
        while old.len() > 8 {
            assert_eq!(old.pop_front().unwrap().exits(), Some(0));
        }
    }
    let took = now() - began;
    kill_process(Pid::from_child(&bench.0), Signal::INT).unwrap();
    let report = bench.said(program::RUN_MAX).json();
    for mut old in old {
        assert_eq!(old.exits(), Some(0));
    }
    let answered = report["requests"]["came"].as_u64().unwrap();
    println!(
        "{made} take-overs in {took:.1?} under {} connections a second: {answered} answered, errors {}",
        report["rate_per_s"], report["errors"]
    );
    assert!(answered > 0, "{report}");
    for errors in ["errors", "warmup_errors"] {
        assert_eq!(report[errors]["total"], 0, "{report}");
    }
}

/// So long connections are made, however few take-overs are asked for.
const LOAD_MIN: Duration = Duration::from_secs(2);

#[expect(clippy::disallowed_methods, reason = "how long a load is kept up")]
fn now() -> Instant {
    Instant::now()
}
