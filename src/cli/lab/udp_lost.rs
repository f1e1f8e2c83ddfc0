//! Datagrams that are lost on the way.

use super::apparatus::udp_pair;
use super::notebook::{Done, Experiment, Notebook};
use crate::socket::{MSG_DONTWAIT, SO_RCVBUF, SOL_SOCKET};

pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "udp-lost",
    title: "every sendto succeeds, and most datagrams are lost, on loopback too",
    run,
    python: include_str!("python/udp_lost.py"),
    why: "sendto hands a datagram to the network and that is all it promises. A receiver whose queue is full \
          drops what comes, and neither side is told: no cable was needed for that. TCP would have made \
          the sender wait. A program that needs every datagram numbers them, has them acknowledged and sends \
          again what was not; one that needs the latest only (the time, a position) lets the old ones go.",
    next: "`nstat -az UdpRcvbufErrors` counts them. `onepoll time` asks again, with patience, and takes no \
           late answer for a new one.",
    ours: &[
        (
            "src/reactor/datagram.rs",
            "/// and counted, not queued: its protocol promises no more (fault E11).",
        ),
        ("src/client/time.rs", "tries += 1;"),
    ],
};

const DATAGRAMS: usize = 100;

fn run(note: &mut Notebook) -> Done {
    let (a, b) = udp_pair(note, ["a", "b"])?;
    let (here, there) = (a.getsockname()?, b.getsockname()?);
    note.make("here, there = a.getsockname(), b.getsockname()", || ());
    note.step("b.setsockopt(SOL_SOCKET, SO_RCVBUF, 8192)", || {
        b.setsockopt(SOL_SOCKET, SO_RCVBUF, 8192)
    })?;

    note.wrong("a hundred datagrams as fast as they can be sent");
    let sent = (0..DATAGRAMS)
        .filter(|_| a.sendto(&[b'x'; 100], &there).is_ok())
        .count();
    note.step("a.sendto(b'x' * 100, there), 100 times", || {
        format!("{sent} succeed")
    });
    let mut received = 0;
    while b.recv_with(1024, MSG_DONTWAIT).is_ok() {
        received += 1;
    }
    note.step("b.recv(1024, MSG_DONTWAIT), until nothing is left", || {
        format!("{received} datagrams")
    });
    note.saw("lost", sent - received);
    note.expect(
        "the sender knows of no loss",
        sent == DATAGRAMS && received < sent,
    )?;

    note.right("numbered, and acknowledged one by one");
    let mut received = 0;
    for number in 0..DATAGRAMS {
        let numbered = number.to_le_bytes();
        loop {
            a.sendto(&numbered, &there)?;
            // The receiver: what has come is acknowledged, also what came before.
            let came = b.recv(1024)?;
            b.sendto(&came, &here)?;
            if a.recv(1024)? == numbered {
                break;
            }
        }
        received += 1;
    }
    note.step("send, await its acknowledgement, 100 times", || received);
    note.saw("acknowledged", received);
    note.expect("every one arrived", received == DATAGRAMS)
}
