//! A half-close ends input, nothing else.

use super::apparatus::tcp_pair;
use super::notebook::{Done, Experiment, Notebook};
use crate::socket::SHUT_WR;

pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "half-close",
    title: "b'' means that the peer has said everything, not that it is gone",
    run,
    python: include_str!("python/half_close.py"),
    why: "A connection is two streams, and shutdown(SHUT_WR) ends one of them. `printf question | nc` \
          does it: it has asked, and waits. The server's recv returns b'' for the end of what the client \
          says; what the client is owed can still be delivered. A client is gone when its connection was \
          reset, or when a write to it failed.",
    next: "printf hello | nc -N 127.0.0.1 9999, with `onepoll serve` running. `onepoll lab \
           reset-eats-goodbye`: the other way to lose an answer.",
    ours: &[
        ("src/reactor/mod.rs", "conn.input = Input::Ended;"),
        (
            "src/reactor/mod.rs",
            "let outcome = service.eof(turn, input);",
        ),
    ],
};

fn run(note: &mut Notebook) -> Done {
    note.wrong("b'' is taken for a client that is gone");
    let (client, conn) = tcp_pair(note, ["client", "conn"])?;
    note.step("client.send(b'hello')", || client.send(b"hello"))?;
    note.step("client.shutdown(SHUT_WR)", || client.shutdown(SHUT_WR))?;
    let request = note.step("conn.recv(1024)", || conn.recv(1024))?;
    let end = note.step("conn.recv(1024)", || conn.recv(1024))?;
    note.expect(
        "after the request comes b''",
        request == b"hello" && end.is_empty(),
    )?;
    note.step("conn.close()", || conn.close());
    let answer = note.step("client.recv(1024)", || client.recv(1024))?;
    note.saw("answer_when_taken_for_gone", answer.len());
    note.expect(
        "the client waited for an answer that was never sent",
        answer.is_empty(),
    )?;

    note.right("what is owed is delivered, then our side ends too");
    let (client, conn) = tcp_pair(note, ["client", "conn"])?;
    note.step("client.send(b'hello')", || client.send(b"hello"))?;
    note.step("client.shutdown(SHUT_WR)", || client.shutdown(SHUT_WR))?;
    let request = note.step("conn.recv(1024)", || conn.recv(1024))?;
    note.step("conn.recv(1024)", || conn.recv(1024))?;
    let answer = request.to_ascii_uppercase();
    note.step("conn.sendall(b'hello'.upper())", || conn.sendall(&answer))?;
    note.step("conn.close()", || conn.close());
    let answer = note.step("client.recv(1024)", || client.recv(1024))?;
    let end = note.step("client.recv(1024)", || client.recv(1024))?;
    note.saw("answer_when_heard_out", answer.len());
    note.expect(
        "the answer arrived, and after it our end",
        answer == b"HELLO" && end.is_empty(),
    )
}
