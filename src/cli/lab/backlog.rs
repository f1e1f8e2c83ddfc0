//! Connections that wait to be accepted.

use super::apparatus::{
    A_WHILE, LabClock, non_blocking, server, stream, will_be_writable, writable,
};
use super::notebook::{Done, Experiment, Notebook};
use crate::socket::{AF_INET, Exception, SOCK_STREAM, Socket, SocketError};

pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "backlog",
    title: "a client is connected before the server accepts; when the queue is full it waits a second",
    run,
    python: include_str!("python/backlog.py"),
    why: "The kernel answers a caller by itself and keeps the connection in a queue until accept takes it: \
          connected does not mean that a server has seen you. listen(n) lets n + 1 wait. Beyond that the \
          call is not refused, it is ignored; the client's kernel calls again after a second, then two, \
          then four. A burst of clients and a small backlog look like a network that is slow now and then.",
    next: "`nstat -az TcpExtListenOverflows` before and after. `listen()` in Python asks for 128; the \
           kernel's own limit is in /proc/sys/net/core/somaxconn.",
    ours: &[(
        "src/reactor/socket.rs",
        "pub const LISTEN_BACKLOG: i32 = 4096;",
    )],
};

fn run(note: &mut Notebook) -> Done {
    note.wrong("a queue for one");
    let server = stream(note, "server")?;
    note.make("server.bind(('127.0.0.1', 0))", || {
        server.bind(("127.0.0.1", 0))
    })?;
    note.step("server.listen(0)", || server.listen(0))?;
    let first = dial(note, "first", &server)?;
    let second = dial(note, "second", &server)?;
    let in_time = note.step("the first connects", || will_be_writable(&first))?;
    let too = note.step("the second connects within 20 ms", || {
        writable(&second, A_WHILE)
    })?;
    note.expect(
        "the second is not refused, it is not answered",
        in_time && !too,
    )?;
    let raised = note.step("second.send(b'hello')", || second.send(b"hello"));
    let waits = raised.is_err_and(|raised| raised.exception() == Exception::BlockingIOError);
    let watch = LabClock::start();
    note.step("server.accept()[1], of the first", || {
        server.accept().map(|(_, from)| from)
    })?;
    let at_last = note.step("the second connects", || will_be_writable(&second))?;
    note.saw("the_second_waited_ms", watch.millis());
    note.expect(
        "there is room again, and yet it waits until it calls again",
        waits && at_last,
    )?;

    note.right("a queue for a burst");
    let server = self::server(note)?;
    let mut burst = vec![dial(note, "s", &server)?];
    for _ in 1..100 {
        let s = Socket::new(AF_INET, SOCK_STREAM)?;
        s.setblocking(false)?;
        s.connect_ex(server.getsockname()?)?;
        burst.push(s);
    }
    let connected = burst
        .iter()
        .filter(|s| will_be_writable(s) == Ok(true))
        .count();
    note.step("100 clients connect; accepted: none", || connected);
    note.saw("connected_unaccepted", connected);
    note.expect("all are connected, and may send already", connected == 100)?;
    let sent = note.step("burst[99].send(b'hello')", || burst[99].send(b"hello"))?;
    note.expect("the kernel keeps that, too", sent == 5)
}

/// Begins to connect.
fn dial(note: &mut Notebook, name: &str, server: &Socket) -> Result<Socket, SocketError> {
    let s = stream(note, name)?;
    non_blocking(note, name, &s)?;
    note.make(format!("{name}.connect_ex(server.getsockname())"), || {
        s.connect_ex(server.getsockname()?)
    })?;
    Ok(s)
}
