//! send may take less than it was given.

use super::apparatus::{drain, hear_out, narrow_pair, non_blocking, will_be_writable, writable};
use super::notebook::{Done, Experiment, Notebook};

pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "partial-write",
    title: "send takes what fits and says how much; the rest is the caller's",
    run,
    python: include_str!("python/partial_write.py"),
    why: "Between the two ends are two buffers of the kernel. When they are full, a non-blocking send takes \
          what fits, perhaps nothing, and says so: the number it returns is all that it says. Code that \
          ignores the number loses bytes, silently, and only when the reader is slow. Keep the rest, wait until \
          the socket is writable, go on there; sendall does that for a socket that may wait.",
    next: "Ask a.send for the rest without keeping count: bytes come twice. `onepoll lab slow-reader`: the \
           rest of a thousand messages needs a limit.",
    ours: &[
        ("src/reactor/connection.rs", "self.full = n < bytes.len();"),
        ("src/reactor/mod.rs", "self.outbox.flush(slot, write)"),
    ],
};

fn run(note: &mut Notebook) -> Done {
    let data = vec![b'x'; 1_000_000];

    note.wrong("what send returns is ignored");
    let (a, b) = narrow_pair(note, ["a", "b"], 65536, 65536)?;
    note.step("a.setblocking(False)", || a.setblocking(false))?;
    let taken = note.step("a.send(b'x' * 1000000)", || a.send(&data))?;
    note.step("a.close()", || a.close());
    let (received, _) = hear_out(&b);
    note.step("while some := b.recv(65536): ...", || received);
    note.saw("lost", data.len() - received);
    note.expect(
        "what was not taken was never sent",
        received == taken && taken < data.len(),
    )?;

    note.right("the rest is kept, and sent when there is room");
    let (a, b) = narrow_pair(note, ["a", "b"], 65536, 65536)?;
    non_blocking(note, "a", &a)?;
    let (mut rest, mut received) = (&data[..], 0);
    let mut sends = 0;
    while !rest.is_empty() {
        if will_be_writable(&a)? {
            let taken = a.send(rest)?;
            rest = &rest[taken..];
            sends += 1;
        }
        // The reader reads whenever the writer has to wait.
        while !rest.is_empty() && !writable(&a, std::time::Duration::ZERO)? {
            received += drain(&b)?.len();
        }
    }
    note.step("when writable: rest = rest[a.send(rest):]", || {
        format!("{sends} times")
    });
    note.step("a.close()", || a.close());
    received += hear_out(&b).0;
    note.saw("received", received);
    note.expect(
        "it took several sends, and every byte arrived",
        sends > 1 && received == data.len(),
    )
}
