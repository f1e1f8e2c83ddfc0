//! Why a short read may stand for BlockingIOError, and when it lies.

use super::apparatus::{
    A_WHILE, EventFlags, PythonEpoll, arrived, non_blocking, tcp_pair, was_ended,
};
use super::notebook::{Done, Experiment, Notebook};
use crate::socket::{SHUT_WR, Socket};

pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "short-read",
    title: "fewer bytes than asked for: nothing is left, unless the peer has ended",
    run,
    python: include_str!("python/short_read.py"),
    why: "recv returns fewer bytes than it was asked for only when the queue is empty, so asking once more \
          just to be refused can be saved: one system call of two for each message. What comes after that \
          moment brings an edge of its own. But an end is no byte: it comes in the same edge as the last \
          bytes, and a short read does not show it. EPOLLRDHUP tells that it is there, and then one reads on.",
    next: "Urgent data (MSG_OOB) makes a short read lie too: recv stops at the mark. Register EPOLLPRI and \
           read on when it comes.",
    ours: &[
        (
            "src/reactor/incoming.rs",
            "_ if seen.read_closed || seen.urgent => Incoming::Beyond,",
        ),
        (
            "src/reactor/incoming.rs",
            "Incoming::Perhaps if n < room => Incoming::Nothing,",
        ),
    ],
};

const EDGES: EventFlags = EventFlags::IN
    .union(EventFlags::RDHUP)
    .union(EventFlags::ET);
const ENDED: EventFlags = EventFlags::IN.union(EventFlags::RDHUP);

fn run(note: &mut Notebook) -> Done {
    note.wrong("a short read is believed although the peer has ended");
    let (ep, a, b) = watched(note)?;
    note.step("a.send(b'bye')", || a.send(b"bye"))?;
    note.step("a.shutdown(SHUT_WR)", || a.shutdown(SHUT_WR))?;
    was_ended(&b)?;
    let seen = note.step("ep.poll()", || ep.poll_patiently())?;
    let short = note.step("b.recv(100)", || b.recv(100))?;
    let none = note.step("ep.poll(0.02)", || ep.poll(A_WHILE))?;
    note.saw("edges_for_the_end", none.0.len());
    let hangs = seen.0 == [(1, ENDED)] && short == b"bye" && none.0.is_empty();
    note.expect("the end is there, and no edge: it is never seen", hangs)?;

    note.right("a short read is believed, but not with EPOLLRDHUP");
    let (ep, a, b) = watched(note)?;
    note.step("a.send(b'hello')", || a.send(b"hello"))?;
    arrived(&b, 5)?;
    note.step("ep.poll()", || ep.poll_patiently())?;
    let short = note.step("b.recv(100)", || b.recv(100))?;
    note.step("a.send(b'bye')", || a.send(b"bye"))?;
    note.step("a.shutdown(SHUT_WR)", || a.shutdown(SHUT_WR))?;
    was_ended(&b)?;
    let seen = note.step("ep.poll()", || ep.poll_patiently())?;
    let anew = short == b"hello" && seen.0 == [(1, ENDED)];
    note.expect(
        "no recv was asked for twice, and the next bytes made an edge",
        anew,
    )?;
    note.step("b.recv(100)", || b.recv(100))?;
    let end = note.step("b.recv(100)", || b.recv(100))?;
    note.saw("end_seen", end.is_empty());
    note.expect("EPOLLRDHUP: read on, and there is the end", end.is_empty())
}

fn watched(note: &mut Notebook) -> anyhow::Result<(PythonEpoll, Socket, Socket)> {
    let (a, b) = tcp_pair(note, ["a", "b"])?;
    non_blocking(note, "b", &b)?;
    let ep = PythonEpoll::new(note, "ep")?;
    note.step("ep.register(b, EPOLLIN | EPOLLRDHUP | EPOLLET)", || {
        ep.register(&b, 1, EDGES)
    })?;
    Ok((ep, a, b))
}
