//! What Nagle's algorithm holds back, and what it does not.

use super::apparatus::{LabClock, arrived, tcp_pair};
use super::notebook::{Done, Experiment, Notebook};
use crate::socket::{IPPROTO_TCP, MSG_PEEK, SocketError, TCP_NODELAY, TCP_QUICKACK};

pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "nagle",
    title: "Nagle holds back a second small send; sticking is something else",
    run,
    python: include_str!("python/nagle.py"),
    why: "Nagle: while something small is on its way and not acknowledged, the next small send waits. The \
          receiver delays its acknowledgement by 40 ms, in the hope that an answer will carry it: the two \
          wait for each other. TCP_NODELAY ends that, and so does one send for both. Sticking is the \
          reader's side: whatever has come when it reads comes as one, with TCP_NODELAY or without.",
    next: "Send the answer before the wait: it carries the acknowledgement, and the wait is gone. \
           `onepoll lab sticky` for what helps against sticking.",
    ours: &[("src/reactor/socket.rs", "set_tcp_nodelay(&fd, true)?;")],
};

fn run(note: &mut Notebook) -> Done {
    note.wrong("two small sends for one message");
    let (peeked, waited_ms) = two_sends(note, 0, b"head")?;
    note.saw("waited_ms", waited_ms);
    note.expect(
        "the first went at once; the second waits for an acknowledgement",
        peeked == b"head",
    )?;

    note.right("TCP_NODELAY");
    let (peeked, _) = two_sends(note, 1, b"headbody")?;
    note.expect("both went at once", peeked == b"headbody")?;

    note.wrong("TCP_NODELAY is taken for a cure of sticking");
    for nodelay in [0, 1] {
        let (a, b) = tcp_pair(note, ["a", "b"])?;
        let python = format!("a.setsockopt(IPPROTO_TCP, TCP_NODELAY, {nodelay})");
        note.step(python, || a.setsockopt(IPPROTO_TCP, TCP_NODELAY, nodelay))?;
        note.step("a.send(b'sbzz'); a.send(b'sbzz')", || {
            a.send(b"sbzz").and(a.send(b"sbzz"))
        })?;
        arrived(&b, 8)?;
        let got = note.step("b.recv(1024), late", || b.recv(1024))?;
        note.expect(
            "two sends stick when the reader is late",
            got == b"sbzzsbzz",
        )?;
    }
    Ok(())
}

/// What has come right after two sends, and for how long one waits for the rest. A machine that is busy
/// may rest between the two for as long as an acknowledgement takes: then it did not count.
fn two_sends(note: &mut Notebook, nodelay: i32, awaited: &[u8]) -> anyhow::Result<(Vec<u8>, u64)> {
    let mut tries = 1;
    loop {
        let (a, b) = tcp_pair(note, ["a", "b"])?;
        note.make("b.setsockopt(IPPROTO_TCP, TCP_QUICKACK, 0)", || {
            b.setsockopt(IPPROTO_TCP, TCP_QUICKACK, 0)
        })?;
        let python = format!("a.setsockopt(IPPROTO_TCP, TCP_NODELAY, {nodelay})");
        note.step(python, || a.setsockopt(IPPROTO_TCP, TCP_NODELAY, nodelay))?;
        let peeked = note.step(
            "a.send(b'head'); a.send(b'body'); b.recv(1024, MSG_PEEK)",
            || {
                a.send(b"head")?;
                a.send(b"body")?;
                b.recv_with(1024, MSG_PEEK)
            },
        )?;
        let watch = LabClock::start();
        arrived(&b, 8)?;
        if peeked == awaited || tries == 20 {
            let all = note.step(
                "b.recv(8), when all has come",
                || -> Result<_, SocketError> { b.recv(8) },
            )?;
            anyhow::ensure!(all == b"headbody");
            return Ok((peeked, watch.millis()));
        }
        tries += 1;
    }
}
