//! Why edge-triggering needs draining.

use super::apparatus::{A_WHILE, EventFlags, PythonEpoll, arrived, non_blocking, tcp_pair};
use super::notebook::{Done, Experiment, Notebook};

pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "edge-trigger",
    title: "one recv per edge hangs; until it would block does not",
    run,
    python: include_str!("python/edge_trigger.py"),
    why: "An edge tells that something came, not that something is there. A server that leaves \
          bytes behind and goes back to poll waits for an edge that only new bytes bring; if the peer is \
          waiting for an answer, no edge will ever come. So remember that a socket is readable until it has said \
          otherwise: with BlockingIOError, or with a short read. A loop that wants to be fair may stop \
          earlier, but then must put the socket on a list of its own.",
    next: "`onepoll lab short-read`: when the last recv can be saved. `onepoll lab starvation`: why \
           `until it would block` needs a limit.",
    ours: &[
        (
            "src/reactor/incoming.rs",
            "Incoming::Perhaps if n < room => Incoming::Nothing,",
        ),
        (
            "src/reactor/standing.rs",
            "let more = conn.incoming.may_have_more() || conn.unserved || conn.incoming.has_ended();",
        ),
    ],
};

fn run(note: &mut Notebook) -> Done {
    let (a, b) = tcp_pair(note, ["a", "b"])?;
    let ep = PythonEpoll::new(note, "ep")?;
    let edges = EventFlags::IN | EventFlags::ET;
    non_blocking(note, "b", &b)?;
    note.step("ep.register(b, EPOLLIN | EPOLLET)", || {
        ep.register(&b, 1, edges)
    })?;

    note.wrong("one recv for each edge");
    note.step("a.send(b'abcdefgh')", || a.send(b"abcdefgh"))?;
    arrived(&b, 8)?;
    let seen = note.step("ep.poll()", || ep.poll_patiently())?;
    note.expect("an edge came", seen.0 == [(1, EventFlags::IN)])?;
    note.step("b.recv(3)", || b.recv(3))?;
    let seen = note.step("ep.poll(0.02)", || ep.poll(A_WHILE))?;
    note.saw("edges_for_the_rest", seen.0.len());
    note.expect(
        "five bytes are there, and no edge: this server hangs",
        seen.0.is_empty(),
    )?;

    note.right("recv until it would block");
    note.step("a.send(b'ij')", || a.send(b"ij"))?;
    arrived(&b, 7)?;
    note.step("ep.poll()", || ep.poll_patiently())?;
    let mut all = Vec::new();
    while let Ok(some) = note.step("b.recv(3)", || b.recv(3)) {
        all.extend(some);
    }
    note.saw("drained", all.len());
    note.expect(
        "nothing is left behind, also not of before",
        all == b"defghij",
    )
}
