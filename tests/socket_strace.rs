//! What strace shows of the socket module, in CPython and here: the table in the documentation of
//! `onepoll::socket`, under "What strace shows", measured again.
//!
//! The same script is written twice, in Python and in Rust. Each step is announced by a question for a file
//! that is not there, `/mark/…`, which strace shows too. Skipped where there is no strace or it may not
//! trace, and where there is no `python3`; with `ONEPOLL_TEST_REQUIRE_ALL=1` that is a failure. CPython's
//! column is of one version and is compared with that only.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

mod support;

use std::fs;
use std::process::Command;

use onepoll::socket::*;

use support::program::{run, skip, skipped};

/// The page with the table.
const PAGE: &str = include_str!("../src/socket/mod.rs");
const HEADING: &str = "//! # What strace shows";
/// The version whose calls the table has.
const VERSION: &str = "3.11";
/// Says to the helper test that it was asked for.
const WANTED: &str = "ONEPOLL_TEST_STRACE_SCRIPT";
/// What may concern a socket, and how files are asked for.
const CALLS: &str = "trace=%network,%file,close,dup,dup2,dup3,fcntl,ioctl,poll,ppoll,select,pselect6,\
                     epoll_create1,epoll_ctl,epoll_wait,read,readv,write,writev";
const MARK: &str = "\"/mark/";
/// What is not in the table: preparing the next step.
const ASIDE: &str = "-";
const END: &str = "end";

/// A step and its system calls, as the table writes them without its backticks.
type Row = (String, String);

#[test]
fn ours_is_as_the_table_says() {
    let mut helper = Command::new("strace");
    let binary = std::env::current_exe().unwrap();
    let run = ["--exact", "script", "--ignored", "--test-threads=1"];
    if let Some(seen) = trace(helper.env(WANTED, "1"), binary.to_str().unwrap(), &run) {
        compare(&seen, &table(2));
    }
}

#[test]
fn cpython_is_as_the_table_says() {
    let ask = "import sys; print('%d.%d' % sys.version_info[:2]); print(sys.executable)";
    if skipped("python3") {
        return;
    }
    let said = run(Command::new("python3").args(["-c", ask]), "");
    // Its own path: `python3` may be a script that looks for it.
    let (version, path) = said.exits(0).out.trim_end().split_once('\n').unwrap();
    if version != VERSION {
        // Another version is no failure.
        println!("skipped: the table has the calls of Python {VERSION}, here is {version}");
        return;
    }
    if let Some(seen) = trace(&mut Command::new("strace"), path, &["-I", "-c", PYTHON]) {
        compare(&seen, &table(1));
    }
}

/// One column of the table, 1 or 2.
fn table(column: usize) -> Vec<Row> {
    let (_, section) = PAGE.split_once(HEADING).expect("the section is there");
    let rows = section
        .lines()
        .skip_while(|line| !line.starts_with("//! |"))
        .take_while(|line| line.starts_with("//! |"));
    // The head and the line under it are no rows.
    rows.skip(2)
        .map(|line| {
            let line = line.replace('`', "");
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            (cells[1].to_owned(), cells[1 + column].to_owned())
        })
        .collect()
}

fn compare(seen: &[Row], table: &[Row]) {
    let lines = |rows: &[Row]| {
        let lines: Vec<String> = rows.iter().map(|(a, b)| format!("{a} | {b}")).collect();
        lines.join("\n")
    };
    assert!(
        seen == table,
        "strace shows\n{}\n\nthe table says\n{}",
        lines(seen),
        lines(table)
    );
}

/// Runs a script under strace; `None`: skipped.
fn trace(strace: &mut Command, program: &str, arguments: &[&str]) -> Option<Vec<Row>> {
    if skipped("strace") {
        return None;
    }
    let probe = run(Command::new("strace").args(["-o", "/dev/null", "true"]), "");
    if probe.code != Some(0) {
        skip(&format!("strace cannot trace here: {}", probe.err));
        return None;
    }
    let directory = tempfile::tempdir().unwrap();
    // A file for each thread: no line is cut in two by another's.
    strace.args(["-ff", "-s", "200", "-e", "signal=none", "-e", CALLS, "-o"]);
    strace.arg(directory.path().join("thread"));
    let said = run(strace.arg(program).args(arguments), "");
    said.exits(0);
    let files = fs::read_dir(directory.path()).unwrap();
    let mut texts = files.map(|file| fs::read_to_string(file.unwrap().path()).unwrap());
    let text = texts.find(|text| text.contains(MARK));
    Some(steps(&text.unwrap_or_else(|| panic!("no marks: {said:?}"))))
}

/// The calls between the marks.
fn steps(text: &str) -> Vec<Row> {
    let mut steps: Vec<(String, Vec<String>)> = Vec::new();
    for line in text.lines() {
        if let Some((_, rest)) = line.split_once(MARK) {
            let (name, _) = rest.split_once('"').unwrap();
            steps.push((name.to_owned(), Vec::new()));
        } else if let (Some((_, calls)), Some(call)) = (steps.last_mut(), call(line)) {
            calls.push(call);
        }
    }
    let last = steps.pop().map(|(name, _)| name);
    assert_eq!(last.as_deref(), Some(END), "it stopped half-way: {text}");
    let in_table = steps.into_iter().filter(|(name, _)| name != ASIDE);
    in_table
        .map(|(name, calls)| {
            if calls.is_empty() {
                (name, "nothing".to_owned())
            } else {
                (name, calls.join(", "))
            }
        })
        .collect()
}

/// `recvfrom(3, …) = -1 EAGAIN (…)` is `recvfrom EAGAIN`, `recvfrom(3, …) = 1` is `recvfrom`.
fn call(line: &str) -> Option<String> {
    let (name, rest) = line.split_once('(')?;
    let (arguments, result) = rest.rsplit_once(" = ")?;
    // Without optimisation the standard library asks before each close whether the descriptor is open.
    if name == "fcntl" && arguments.contains("F_GETFD") {
        return None;
    }
    match result.strip_prefix("-1 ") {
        Some(error) => Some(format!("{name} {}", error.split(' ').next()?)),
        None => Some(name.to_owned()),
    }
}

fn mark(step: &str) {
    assert!(fs::metadata(format!("/mark/{step}")).is_err());
}

/// The same as [`PYTHON`], line for line.
#[test]
#[ignore = "not a test: what runs under strace"]
fn script() {
    if std::env::var_os(WANTED).is_some() {
        ours().unwrap();
    }
}

fn ours() -> Result<(), SocketError> {
    mark("socket(AF_INET, SOCK_STREAM)");
    let server = Socket::new(AF_INET, SOCK_STREAM)?;
    mark("setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)");
    server.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)?;
    mark("getsockopt(SOL_SOCKET, SO_REUSEADDR)");
    server.getsockopt(SOL_SOCKET, SO_REUSEADDR)?;
    mark("bind(address)");
    server.bind(("127.0.0.1", 0))?;
    mark("listen(5)");
    server.listen(5)?;
    mark("getsockname()");
    let address = server.getsockname()?;

    mark(ASIDE);
    let c = Socket::new(AF_INET, SOCK_STREAM)?;
    mark("connect(address), blocking");
    c.connect(address.clone())?;
    mark("getpeername()");
    c.getpeername()?;
    mark("accept(), blocking");
    let (s, _) = server.accept()?;

    mark("settimeout(5.0)");
    server.settimeout(5.0)?;
    mark(ASIDE);
    let d = Socket::new(AF_INET, SOCK_STREAM)?;
    d.settimeout(5.0)?;
    mark("connect(address), timeout");
    d.connect(address.clone())?;
    mark("accept(), timeout");
    let (t, _) = server.accept()?;
    mark(ASIDE);
    server.settimeout(0.01)?;
    mark("accept(), timeout, no client");
    server.accept().unwrap_err();

    mark("setblocking(False)");
    server.setblocking(false)?;
    mark("accept(), non-blocking, no client");
    server.accept().unwrap_err();
    mark(ASIDE);
    let e = Socket::new(AF_INET, SOCK_STREAM)?;
    e.setblocking(false)?;
    mark("connect(address), non-blocking");
    e.connect(address.clone()).unwrap_err();

    mark(ASIDE);
    let deaf = Socket::new(AF_INET, SOCK_STREAM)?;
    deaf.bind(("127.0.0.1", 0))?;
    let nobody = deaf.getsockname()?;
    let f = Socket::new(AF_INET, SOCK_STREAM)?;
    mark("connect_ex(closed port), blocking");
    f.connect_ex(nobody.clone())?;
    mark(ASIDE);
    let f = Socket::new(AF_INET, SOCK_STREAM)?;
    f.settimeout(5.0)?;
    mark("connect_ex(closed port), timeout");
    f.connect_ex(nobody.clone())?;
    mark("connect_ex(closed port), timeout, again");
    f.connect_ex(nobody.clone())?;
    mark(ASIDE);
    let f = Socket::new(AF_INET, SOCK_STREAM)?;
    f.setblocking(false)?;
    mark("connect_ex(closed port), non-blocking");
    f.connect_ex(nobody)?;

    mark("send(data), blocking");
    c.send(b"xyz")?;
    mark("recv(1), blocking");
    s.recv(1)?;
    mark(ASIDE);
    s.settimeout(5.0)?;
    mark("send(data), timeout");
    s.send(b"xyz")?;
    mark("recv(1), timeout");
    s.recv(1)?;
    mark("recv_into(buffer), timeout");
    s.recv_into(&mut [0; 100])?;
    mark(ASIDE);
    s.settimeout(0.01)?;
    mark("recv(1), timeout, nothing comes");
    s.recv(1).unwrap_err();
    mark("settimeout(0)");
    s.settimeout(0.0)?;
    mark("recv(1), non-blocking, nothing came");
    s.recv(1).unwrap_err();
    mark("send(data), non-blocking");
    s.send(b"xyz")?;
    mark("settimeout(None)");
    s.settimeout(None)?;
    mark("sendall(data), blocking");
    s.sendall(b"xyz")?;
    mark(ASIDE);
    s.settimeout(5.0)?;
    mark("sendall(data), timeout");
    s.sendall(b"xyz")?;
    mark("gettimeout(), getblocking(), fileno()");
    assert_eq!((s.gettimeout(), s.getblocking()), (Some(5.0), true));
    assert!(s.fileno() > 2);

    mark("socketpair()");
    let (a, b) = socketpair()?;
    mark(ASIDE);
    a.setblocking(false)?;
    while a.send(&[0; 65536]).is_ok() {}
    mark("send(data), non-blocking, no room");
    a.send(b"x").unwrap_err();
    mark(ASIDE);
    a.settimeout(0.01)?;
    mark("send(data), timeout, no room");
    a.send(b"x").unwrap_err();

    mark(ASIDE);
    let u = Socket::new(AF_INET, SOCK_DGRAM)?;
    u.bind(("127.0.0.1", 0))?;
    let place = u.getsockname()?;
    let v = Socket::new(AF_INET, SOCK_DGRAM)?;
    mark("sendto(data, address), blocking");
    v.sendto(b"xyz", place.clone())?;
    mark("recvfrom(100), blocking");
    u.recvfrom(100)?;
    mark(ASIDE);
    u.settimeout(5.0)?;
    v.settimeout(5.0)?;
    mark("sendto(data, address), timeout");
    v.sendto(b"xyz", place.clone())?;
    mark("recvfrom(100), timeout");
    u.recvfrom(100)?;
    mark(ASIDE);
    u.setblocking(false)?;
    v.setblocking(false)?;
    mark("sendto(data, address), non-blocking");
    v.sendto(b"xyz", place)?;
    mark(ASIDE);
    u.settimeout(5.0)?;
    u.recvfrom_with(100, MSG_PEEK)?; // it has come
    u.setblocking(false)?;
    mark("recvfrom_into(buffer), non-blocking");
    u.recvfrom_into(&mut [0; 100])?;
    mark("recvfrom(100), non-blocking, nothing came");
    u.recvfrom(100).unwrap_err();

    mark("dup(), blocking");
    let g = c.dup()?;
    mark("dup(), timeout");
    let h = d.dup()?;
    mark("detach()");
    let fd = h.detach().unwrap();
    mark("socket(fileno=fd)");
    let h = Socket::from_fd(fd)?;
    mark("shutdown(SHUT_WR)");
    c.shutdown(SHUT_WR)?;
    mark("close()");
    c.close();
    mark("close(), again");
    c.close();

    mark("create_server(address)");
    let open = create_server(("127.0.0.1", 0))?;
    mark(ASIDE);
    let port = open.getsockname()?.port();
    mark("create_connection(address)");
    let i = create_connection(("127.0.0.1", port))?;
    mark("create_connection(address, 5.0)");
    let j = create_connection_with(("127.0.0.1", port), 5.0, None)?;

    mark(ASIDE);
    let (k, l) = socketpair()?;
    mark("makefile('rb')");
    let mut reader = k.makefile("rb")?;
    mark("makefile('wb')");
    let mut writer = l.makefile("wb")?;
    mark("f.write(data)");
    writer.write(b"a line\n")?;
    mark("f.flush()");
    writer.flush()?;
    mark("f.readline()");
    reader.readline()?;
    mark("close(), before its file's");
    k.close();
    mark("f.close(), the last");
    reader.close()?;
    mark("setdefaulttimeout(5.0), getdefaulttimeout()");
    setdefaulttimeout(5.0)?;
    getdefaulttimeout();
    mark("socket(AF_INET, SOCK_STREAM), with a default timeout");
    let m = Socket::new(AF_INET, SOCK_STREAM)?;
    mark(END);
    drop((s, t, e, b, g, h, i, j, m));
    Ok(())
}

const PYTHON: &str = r#"
import os
from socket import *

def mark(step):
    assert not os.path.exists('/mark/' + step)

def fails(call, *arguments):
    try:
        call(*arguments)
    except OSError:
        return True
    raise AssertionError('it should have failed')

mark('-')
mark('socket(AF_INET, SOCK_STREAM)')
server = socket(AF_INET, SOCK_STREAM)
mark('setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)')
server.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
mark('getsockopt(SOL_SOCKET, SO_REUSEADDR)')
server.getsockopt(SOL_SOCKET, SO_REUSEADDR)
mark('bind(address)')
server.bind(('127.0.0.1', 0))
mark('listen(5)')
server.listen(5)
mark('getsockname()')
address = server.getsockname()

mark('-')
c = socket(AF_INET, SOCK_STREAM)
mark('connect(address), blocking')
c.connect(address)
mark('getpeername()')
c.getpeername()
mark('accept(), blocking')
s, _ = server.accept()

mark('settimeout(5.0)')
server.settimeout(5.0)
mark('-')
d = socket(AF_INET, SOCK_STREAM)
d.settimeout(5.0)
mark('connect(address), timeout')
d.connect(address)
mark('accept(), timeout')
t, _ = server.accept()
mark('-')
server.settimeout(0.01)
mark('accept(), timeout, no client')
fails(server.accept)

mark('setblocking(False)')
server.setblocking(False)
mark('accept(), non-blocking, no client')
fails(server.accept)
mark('-')
e = socket(AF_INET, SOCK_STREAM)
e.setblocking(False)
mark('connect(address), non-blocking')
fails(e.connect, address)

mark('-')
deaf = socket(AF_INET, SOCK_STREAM)
deaf.bind(('127.0.0.1', 0))
nobody = deaf.getsockname()
f = socket(AF_INET, SOCK_STREAM)
mark('connect_ex(closed port), blocking')
f.connect_ex(nobody)
mark('-')
f = socket(AF_INET, SOCK_STREAM)
f.settimeout(5.0)
mark('connect_ex(closed port), timeout')
f.connect_ex(nobody)
mark('connect_ex(closed port), timeout, again')
f.connect_ex(nobody)
mark('-')
f = socket(AF_INET, SOCK_STREAM)
f.setblocking(False)
mark('connect_ex(closed port), non-blocking')
f.connect_ex(nobody)

mark('send(data), blocking')
c.send(b'xyz')
mark('recv(1), blocking')
s.recv(1)
mark('-')
s.settimeout(5.0)
mark('send(data), timeout')
s.send(b'xyz')
mark('recv(1), timeout')
s.recv(1)
mark('recv_into(buffer), timeout')
s.recv_into(bytearray(100))
mark('-')
s.settimeout(0.01)
mark('recv(1), timeout, nothing comes')
fails(s.recv, 1)
mark('settimeout(0)')
s.settimeout(0)
mark('recv(1), non-blocking, nothing came')
fails(s.recv, 1)
mark('send(data), non-blocking')
s.send(b'xyz')
mark('settimeout(None)')
s.settimeout(None)
mark('sendall(data), blocking')
s.sendall(b'xyz')
mark('-')
s.settimeout(5.0)
mark('sendall(data), timeout')
s.sendall(b'xyz')
mark('gettimeout(), getblocking(), fileno()')
assert (s.gettimeout(), s.getblocking()) == (5.0, True)
assert s.fileno() > 2

mark('socketpair()')
a, b = socketpair()
mark('-')
a.setblocking(False)
try:
    while True:
        a.send(bytes(65536))
except BlockingIOError:
    pass
mark('send(data), non-blocking, no room')
fails(a.send, b'x')
mark('-')
a.settimeout(0.01)
mark('send(data), timeout, no room')
fails(a.send, b'x')

mark('-')
u = socket(AF_INET, SOCK_DGRAM)
u.bind(('127.0.0.1', 0))
place = u.getsockname()
v = socket(AF_INET, SOCK_DGRAM)
mark('sendto(data, address), blocking')
v.sendto(b'xyz', place)
mark('recvfrom(100), blocking')
u.recvfrom(100)
mark('-')
u.settimeout(5.0)
v.settimeout(5.0)
mark('sendto(data, address), timeout')
v.sendto(b'xyz', place)
mark('recvfrom(100), timeout')
u.recvfrom(100)
mark('-')
u.setblocking(False)
v.setblocking(False)
mark('sendto(data, address), non-blocking')
v.sendto(b'xyz', place)
mark('-')
u.settimeout(5.0)
u.recvfrom(100, MSG_PEEK)  # it has come
u.setblocking(False)
mark('recvfrom_into(buffer), non-blocking')
u.recvfrom_into(bytearray(100))
mark('recvfrom(100), non-blocking, nothing came')
fails(u.recvfrom, 100)

mark('dup(), blocking')
g = c.dup()
mark('dup(), timeout')
h = d.dup()
mark('detach()')
fd = h.detach()
mark('socket(fileno=fd)')
h = socket(fileno=fd)
mark('shutdown(SHUT_WR)')
c.shutdown(SHUT_WR)
mark('close()')
c.close()
mark('close(), again')
c.close()

mark('create_server(address)')
opened = create_server(('127.0.0.1', 0))
mark('-')
port = opened.getsockname()[1]
getaddrinfo('127.0.0.1', port)  # the first time, it imports
mark('create_connection(address)')
i = create_connection(('127.0.0.1', port))
mark('create_connection(address, 5.0)')
j = create_connection(('127.0.0.1', port), 5.0)

mark('-')
k, l = socketpair()
mark("makefile('rb')")
reader = k.makefile('rb')
mark("makefile('wb')")
writer = l.makefile('wb')
mark('f.write(data)')
writer.write(b'a line\n')
mark('f.flush()')
writer.flush()
mark('f.readline()')
reader.readline()
mark("close(), before its file's")
k.close()
mark('f.close(), the last')
reader.close()
mark('setdefaulttimeout(5.0), getdefaulttimeout()')
setdefaulttimeout(5.0)
getdefaulttimeout()
mark('socket(AF_INET, SOCK_STREAM), with a default timeout')
m = socket(AF_INET, SOCK_STREAM)
mark('end')
"#;
