//! Connecting without waiting.

use super::apparatus::{non_blocking, server, stream, will_be_writable};
use super::notebook::{Done, Experiment, Notebook};
use crate::socket::{SO_ERROR, SOL_SOCKET, Socket, SocketError};

pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "connect-ex",
    title: "115 is not a failure, and writable is not a success",
    run,
    python: include_str!("python/connect_ex.py"),
    why: "A connection takes a journey there and back, and a non-blocking socket does not wait for it: \
          connect says EINPROGRESS (115) and goes on by itself. When it is over, however it ended, the \
          socket is writable. How it ended is in SO_ERROR, which forgets when it is asked: 0, or the \
          errno. Asking connect once more says 0 the first time and EISCONN (106) from then on.",
    next: "Connect to an address that does not answer, such as 192.0.2.1, with a timeout: connect_ex \
           says 11 then. `onepoll lab backlog`: a connection that stays in progress on loopback.",
    ours: &[
        ("src/socket/socket.rs", "match sockopt::socket_error(fd)? {"),
        ("src/load/net/dial.rs", "sockopt::socket_error(&self.fd)??;"),
    ],
};

fn run(note: &mut Notebook) -> Done {
    let server = server(note)?;
    let there = note.make("there = server.getsockname()", || server.getsockname())?;
    // Bound and not listening: no other process can take the port, and nothing answers there.
    let silent = stream(note, "silent")?;
    note.make("silent.bind(('127.0.0.1', 0))", || {
        silent.bind(("127.0.0.1", 0))
    })?;
    let nowhere = note.make("nowhere = silent.getsockname()", || silent.getsockname())?;

    note.wrong("it is writable, so it is connected");
    let s = non_blocking_stream(note)?;
    let code = note.step("s.connect_ex(nowhere)", || s.connect_ex(&nowhere))?;
    let writable = note.step("select([], [s], []) finds it writable", || {
        will_be_writable(&s)
    })?;
    let raised = note.step("s.send(b'hello')", || s.send(b"hello")).err();
    let refused = raised.and_then(|raised| raised.errno()) == Some(111);
    note.expect(
        "115, then writable, and refused all the same",
        code == 115 && writable && refused,
    )?;

    note.right("writable, then ask SO_ERROR");
    let s = non_blocking_stream(note)?;
    note.step("s.connect_ex(nowhere)", || s.connect_ex(&nowhere))?;
    will_be_writable(&s)?;
    let code = note.step("s.getsockopt(SOL_SOCKET, SO_ERROR)", || error_of(&s))?;
    note.saw("refused", code);
    note.expect("111: refused", code == 111)?;

    let s = non_blocking_stream(note)?;
    let begun = note.step("s.connect_ex(there)", || s.connect_ex(&there))?;
    will_be_writable(&s)?;
    let code = note.step("s.getsockopt(SOL_SOCKET, SO_ERROR)", || error_of(&s))?;
    let again = note.step("s.connect_ex(there)", || s.connect_ex(&there))?;
    let once_more = note.step("s.connect_ex(there)", || s.connect_ex(&there))?;
    note.saw("codes", vec![begun, again, once_more]);
    note.expect(
        "115, then 0, then 106: connected already",
        (begun, code, again, once_more) == (115, 0, 0, 106),
    )?;

    let s = stream(note, "s")?;
    let code = note.step("s.connect_ex(nowhere)", || s.connect_ex(&nowhere))?;
    note.expect("a blocking connect returns the error itself", code == 111)
}

fn non_blocking_stream(note: &mut Notebook) -> Result<Socket, SocketError> {
    let s = stream(note, "s")?;
    non_blocking(note, "s", &s)?;
    Ok(s)
}

fn error_of(s: &Socket) -> Result<i32, SocketError> {
    s.getsockopt(SOL_SOCKET, SO_ERROR)
}
