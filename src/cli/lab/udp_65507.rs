//! The longest datagram.

use super::apparatus::udp_pair;
use super::notebook::{Done, Experiment, Notebook};

pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "udp-65507",
    title: "65507 bytes arrive whole, 65508 are refused with EMSGSIZE",
    run,
    python: include_str!("python/udp_65507.py"),
    why: "An IPv4 packet says its length in 16 bits, so it has at most 65535 bytes, of which 20 are IP's and 8 \
          UDP's: 65507 are left. More is an error that the sender hears, never a cut. On a real network \
          anything above some 1472 bytes travels in fragments, and if one of them is lost, all is.",
    next: "Over IPv6 the header is not counted: 65527. `onepoll lab udp-lost`: that it may be sent does not \
           mean that it arrives.",
    ours: &[
        (
            "src/reactor/mod.rs",
            "datagram_buf: vec![0; DATAGRAM_BYTES_MAX],",
        ),
        (
            "src/reactor/datagram.rs",
            "match self.os.send(socket, answer, from, asked) {",
        ),
    ],
};

fn run(note: &mut Notebook) -> Done {
    let (a, b) = udp_pair(note, ["a", "b"])?;
    let there = note.make("there = b.getsockname()", || b.getsockname())?;
    let long = vec![b'x'; 65_508];

    note.wrong("a message of any length in one datagram");
    let raised = note
        .step("a.sendto(b'x' * 65508, there)", || a.sendto(&long, &there))
        .err();
    let errno = raised.and_then(|raised| raised.errno());
    note.saw("errno_at_65508", errno.unwrap_or(0));
    note.expect("EMSGSIZE: nothing of it was sent", errno == Some(90))?;

    note.right("at most 65507, the rest in the next");
    note.step("a.sendto(b'x' * 65507, there)", || {
        a.sendto(&long[..65_507], &there)
    })?;
    let whole = note.step("b.recv(65536)", || b.recv(65536))?;
    note.saw("longest", whole.len());
    note.expect(
        "the longest there is arrives whole",
        whole == long[..65_507],
    )?;
    note.step("a.sendto(b'x', there)", || {
        a.sendto(&long[65_507..], &there)
    })?;
    let rest = note.step("b.recv(65536)", || b.recv(65536))?;
    note.expect("and the rest in a datagram of its own", rest == b"x")
}
