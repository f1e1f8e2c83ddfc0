//! A message of no bytes.

use super::apparatus::{A_WHILE, arrived, readable, tcp_pair, udp_pair};
use super::notebook::{Done, Experiment, Notebook};

pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "empty-message",
    title: "over TCP an empty send is nothing; over UDP it is a datagram",
    run,
    python: include_str!("python/empty_message.py"),
    why: "A stream is its bytes, and no bytes are no part of it: send(b'') returns 0 and nothing leaves. That \
          leaves b'' free to mean the end of a stream. A datagram has a header, so an empty one is \
          something: it arrives, with its sender's address, and is not an end: a UDP server that stops \
          at b'' can be stopped by any client.",
    next: "`onepoll time 127.0.0.1:9000`, which asks with an empty datagram. A file of no bytes, a command \
           without output: with a length before it, nothing is something over TCP too.",
    ours: &[
        (
            "src/service/mod.rs",
            "fn datagram(&mut self, t: &mut DatagramTurn<'_>, bytes: &[u8]);",
        ),
        ("src/wire/prefixed.rs", "Ok(Some((len, LENGTH_BYTES)))"),
    ],
};

fn run(note: &mut Notebook) -> Done {
    note.wrong("an empty message over TCP, just so");
    let (a, b) = tcp_pair(note, ["a", "b"])?;
    note.step("a.send(b'')", || a.send(b""))?;
    let came = note.step("select([b], [], [], 0.02) finds it readable", || {
        readable(&b, A_WHILE)
    })?;
    note.saw("tcp_empty_arrives", came);
    note.expect("nothing was sent, and nothing arrives", !came)?;

    note.right("over TCP with a length, over UDP as it is");
    note.step("a.send(struct.pack('i', 0))", || a.send(&[0; 4]))?;
    arrived(&b, 4)?;
    let length = note.step("b.recv(4)", || b.recv(4))?;
    note.expect("a message of no bytes has a length", length == [0; 4])?;

    let (c, d) = udp_pair(note, ["c", "d"])?;
    let there = note.make("there = d.getsockname()", || d.getsockname())?;
    note.step("c.sendto(b'', there)", || c.sendto(b"", &there))?;
    note.step("c.sendto(b'next', there)", || c.sendto(b"next", &there))?;
    let (empty, from) = d.recvfrom(1024)?;
    let known = from == Some(c.getsockname()?);
    note.step("d.recvfrom(1024)[0]", || empty.clone());
    let next = note.step("d.recv(1024)", || d.recv(1024))?;
    note.saw("udp_empty_arrives", empty.is_empty() && known);
    note.expect("it arrived, with its sender", empty.is_empty() && known)?;
    note.expect("and was not an end", next == b"next")
}
