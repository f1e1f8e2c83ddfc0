//! A call that would have to wait.

use super::apparatus::{arrived, tcp_pair, will_be_readable};
use super::notebook::{Done, Experiment, Notebook};
use crate::socket::{Exception, SocketError};

pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "would-block",
    title: "BlockingIOError means not now; asking again at once burns a core",
    run,
    python: include_str!("python/would_block.py"),
    why: "Non-blocking does not mean that a call is fast, it means that it never waits: what cannot be done \
          now is refused with EAGAIN (11), and nothing else has happened. When to ask again, the kernel \
          knows: poll sleeps until there is something, for as many sockets as one likes.",
    next: "Run `time onepoll lab would-block --repeat 1000` and look at user and sys. `onepoll lab \
           edge-trigger`: a poll that tells only once.",
    ours: &[(
        "src/reactor/connection.rs",
        "Err(error) if error.kind() == io::ErrorKind::WouldBlock => {",
    )],
};

fn run(note: &mut Notebook) -> Done {
    let (a, b) = tcp_pair(note, ["a", "b"])?;
    note.step("b.setblocking(False)", || b.setblocking(false))?;

    note.wrong("ask again until something has come");
    let raised = note.step("b.recv(1)", || b.recv(1)).err();
    note.expect(
        "nothing has come: EAGAIN",
        raised.and_then(|raised| raised.errno()) == Some(11),
    )?;
    let refused = (0..1000).filter(|_| would_block(&b.recv(1))).count();
    note.step("the same, a thousand times", || {
        format!("{refused} BlockingIOError")
    });
    note.saw("asked_in_vain", refused);
    note.expect(
        "a thousand system calls, and nothing came of them",
        refused == 1000,
    )?;

    note.right("poll, then ask once");
    note.step("a.send(b'x')", || a.send(b"x"))?;
    note.step("select([b], [], []) finds it readable", || {
        will_be_readable(&b)
    })?;
    let got = note.step("b.recv(1)", || b.recv(1))?;
    note.saw("asked", 1);
    note.expect("one call, one result", got == b"x")?;

    note.step("a.send(b'still there')", || a.send(b"still there"))?;
    arrived(&b, 11)?;
    let got = note.step("b.recv(1024)", || b.recv(1024))?;
    note.expect("no refusal has lost anything", got == b"still there")
}

fn would_block(result: &Result<Vec<u8>, SocketError>) -> bool {
    matches!(result, Err(raised) if raised.exception() == Exception::BlockingIOError)
}
