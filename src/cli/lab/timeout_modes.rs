//! The three modes, and what settimeout is made of.

use rustix::fs::{OFlags, fcntl_getfl};

use super::apparatus::{LabClock, server, stream};
use super::notebook::{Done, Experiment, Notebook};
use crate::socket::Exception;

pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "timeout-modes",
    title: "blocking, with a timeout, non-blocking: and what settimeout is made of",
    run,
    python: include_str!("python/timeout_modes.py"),
    why: "There are three modes but only one switch in the kernel, O_NONBLOCK. With a timeout the \
          descriptor does not block at all: poll waits before each call, for as long as is left, and \
          then the call is made; if poll was late, that is TimeoutError, which has no errno because the \
          kernel did not refuse anything. A timeout belongs to one socket object: an accepted one begins \
          in the default mode, whatever the listener's is.",
    next: "settimeout(5) and a peer that sends a byte every 4 seconds: each recv is in time, the message \
           never. A deadline for all of it is yours to keep; sendall does it. `strace -e ppoll,recvfrom \
           onepoll lab timeout-modes`: Linux calls it ppoll.",
    ours: &[
        (
            "src/socket/core.rs",
            "match wait(&*self.fd()?, want, left) {",
        ),
        (
            "src/socket/socket.rs",
            "let non_blocking = timeout != Timeout::Blocking;",
        ),
    ],
};

fn run(note: &mut Notebook) -> Done {
    let server = server(note)?;
    let client = stream(note, "client")?;

    note.wrong("a timeout on the listener is for the sockets that it accepts");
    note.step("server.settimeout(0.05)", || server.settimeout(0.05))?;
    note.make("client.connect(server.getsockname())", || {
        client.connect(server.getsockname()?)
    })?;
    let (conn, _) = note.make("conn, _ = server.accept()", || server.accept())?;
    let inherited = note.step("conn.gettimeout()", || conn.gettimeout());
    note.expect(
        "the accepted socket would wait for ever",
        inherited.is_none(),
    )?;

    note.right("each socket its own mode");
    note.step("conn.settimeout(0)", || conn.settimeout(0.0))?;
    let raised = note.step("conn.recv(1)", || conn.recv(1)).err();
    note.expect(
        "at once: BlockingIOError",
        class(raised) == Some(Exception::BlockingIOError),
    )?;

    note.step("conn.settimeout(0.05)", || conn.settimeout(0.05))?;
    let watch = LabClock::start();
    let raised = note.step("conn.recv(1)", || conn.recv(1)).err();
    let waited = watch.millis();
    note.saw("waited_ms", waited);
    let timed_out = class(raised) == Some(Exception::TimeoutError) && waited >= 50;
    note.expect("after 50 ms: TimeoutError", timed_out)?;
    note.step("conn.getblocking()", || conn.getblocking());
    let flags = fcntl_getfl(&*conn.descriptor()?)?;
    let non_blocking = flags.contains(OFlags::NONBLOCK);
    note.step("fcntl(conn, F_GETFL) & O_NONBLOCK != 0", || non_blocking);
    note.expect(
        "yet the descriptor does not block: it is poll that waits",
        non_blocking,
    )?;

    note.step("conn.settimeout(None)", || conn.settimeout(None))?;
    let late = std::thread::scope(|threads| {
        threads.spawn(|| client.send(b"late"));
        note.step("conn.recv(10)", || conn.recv(10))
    })?;
    note.expect(
        "as long as it takes, and the timeout before lost nothing",
        late == b"late",
    )
}

fn class(raised: Option<crate::socket::SocketError>) -> Option<Exception> {
    raised.map(|raised| raised.exception())
}
