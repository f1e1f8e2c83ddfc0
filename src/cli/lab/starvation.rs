//! One greedy peer and one polite one.

use super::apparatus::{arrived, non_blocking, tcp_pair};
use super::notebook::{Done, Experiment, Notebook};

pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "starvation",
    title: "reading one socket until it would block can take for ever",
    run,
    python: include_str!("python/starvation.py"),
    why: "Draining ends when the socket is empty, and a peer that sends as fast as we read never lets it be. \
          All others wait for as long as it likes: no error, no load average that tells, just silence. So \
          each connection has a budget a turn, and one that has more to read goes to the end of a list. The \
          list is what makes that safe with edges: no event will come for what is left.",
    next: "`cargo bench --bench polite` measures what polite clients wait beside a greedy one in our server. \
           Take the budget away in src/reactor/mod.rs and run it again.",
    ours: &[
        (
            "src/reactor/mod.rs",
            "let room = self.limits.read_per_turn;",
        ),
        (
            "src/reactor/mod.rs",
            "// Connections queued again during this pass wait for the next turn.",
        ),
    ],
};

/// When to give up.
const READS_MAX: usize = 1000;

fn run(note: &mut Notebook) -> Done {
    note.wrong("until it would block, then the next");
    let reads = reads_before_polite(note, usize::MAX)?;
    note.saw("reads_before_polite_when_draining", reads);
    note.expect(
        "after a thousand reads the polite one still waits",
        reads == READS_MAX,
    )?;

    note.right("one budget each, then the next");
    let reads = reads_before_polite(note, 1)?;
    note.saw("reads_before_polite_with_a_budget", reads);
    note.expect(
        "the polite one is heard after one read of the other",
        reads == 1,
    )
}

/// How often the greedy one is read before the polite one is heard.
fn reads_before_polite(note: &mut Notebook, budget: usize) -> anyhow::Result<usize> {
    let (greedy, from_greedy) = tcp_pair(note, ["greedy", "from_greedy"])?;
    let (polite, from_polite) = tcp_pair(note, ["polite", "from_polite"])?;
    non_blocking(note, "from_greedy", &from_greedy)?;
    note.step("greedy.send(b'x' * 4096)", || greedy.send(&[b'x'; 4096]))?;
    note.step("polite.send(b'?')", || polite.send(b"?"))?;
    arrived(&from_polite, 1)?;

    let mut reads = 0;
    let mut in_this_turn = 0;
    loop {
        arrived(&from_greedy, 4096)?;
        from_greedy.recv(4096)?;
        (reads, in_this_turn) = (reads + 1, in_this_turn + 1);
        // As fast as we read: it is there again before we look again.
        greedy.send(&[b'x'; 4096])?;
        if in_this_turn >= budget {
            break;
        }
        if reads == READS_MAX {
            note.step("from_greedy.recv(4096) until it would block", || {
                format!("still going, {reads} calls")
            });
            return Ok(reads);
        }
    }
    let heard = note.step("one from_greedy.recv(4096); from_polite.recv(10)", || {
        from_polite.recv(10)
    })?;
    anyhow::ensure!(heard == b"?");
    Ok(reads)
}
