//! A datagram longer than the buffer.

use super::apparatus::{arrived, tcp_pair, udp_pair};
use super::notebook::{Done, Experiment, Notebook};
use crate::socket::MSG_DONTWAIT;

pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "udp-truncation",
    title: "what does not fit into recv's buffer is lost, silently",
    run,
    python: include_str!("python/udp_truncation.py"),
    why: "UDP keeps messages apart: one recv is one datagram, never two, never the end of one. So what does \
          not fit has nowhere to go: Linux throws it away and says nothing (Windows raises WSAEMSGSIZE). TCP \
          would have kept it for the next recv. A buffer of 65536 bytes is larger than any datagram and ends \
          the matter; a buffer one byte longer than the longest valid message tells what is too long.",
    next: "b.recv(5, MSG_TRUNC | MSG_PEEK): the flag MSG_TRUNC asks how long it was. `onepoll lab udp-65507`: \
           the longest there is.",
    ours: &[(
        "src/reactor/mod.rs",
        "datagram_buf: vec![0; DATAGRAM_BYTES_MAX],",
    )],
};

fn run(note: &mut Notebook) -> Done {
    let (a, b) = udp_pair(note, ["a", "b"])?;
    let there = note.make("there = b.getsockname()", || b.getsockname())?;

    note.wrong("a buffer for what one expects");
    note.step("a.sendto(b'hello', there)", || a.sendto(b"hello", &there))?;
    note.step("a.sendto(b'egg', there)", || a.sendto(b"egg", &there))?;
    let first = note.step("b.recv(2)", || b.recv(2))?;
    let second = note.step("b.recv(10)", || b.recv(10))?;
    let third = note.step("b.recv(10, MSG_DONTWAIT)", || b.recv_with(10, MSG_DONTWAIT));
    note.saw("lost_bytes", 8 - first.len() - second.len());
    note.expect(
        "nothing sticks: each recv is one datagram",
        first == b"he" && second == b"egg",
    )?;
    note.expect("and llo is nowhere", third.is_err())?;

    let (c, d) = tcp_pair(note, ["c", "d"])?;
    note.step("c.send(b'hello')", || c.send(b"hello"))?;
    arrived(&d, 5)?;
    note.step("d.recv(2)", || d.recv(2))?;
    let rest = note.step("d.recv(10)", || d.recv(10))?;
    note.expect("a stream keeps the rest", rest == b"llo")?;

    note.right("a buffer that no datagram exceeds");
    note.step("a.sendto(b'hello', there)", || a.sendto(b"hello", &there))?;
    note.step("a.sendto(b'egg', there)", || a.sendto(b"egg", &there))?;
    let first = note.step("b.recv(65536)", || b.recv(65536))?;
    let second = note.step("b.recv(65536)", || b.recv(65536))?;
    note.saw("whole_datagrams", 2);
    note.expect(
        "both are whole, and apart",
        first == b"hello" && second == b"egg",
    )
}
