//! One client that does not read, among many that do.

use super::apparatus::{LabClock, drain, hear_out, narrow_pair, non_blocking, readable, tcp_pair};
use super::notebook::{Done, Experiment, Notebook};
use crate::socket::{Exception, Socket};

pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "slow-reader",
    title: "a server that waits for one slow reader makes all others wait",
    run,
    python: include_str!("python/slow_reader.py"),
    why: "A chat sends each line to every member. sendall to a member that does not read waits, and no other \
          member gets anything meanwhile: one slow reader stops the room. So the server waits for none: what a \
          socket does not take is kept in a lane of its own. The lane needs a limit, or a slow reader costs all \
          memory; beyond the limit its connection is closed. That is for lines of other members; a client that \
          asks faster than it reads its answers is not read for a while.",
    next: "With `onepoll serve` running, join its chat with `nc 127.0.0.1 9001`, stop that with Ctrl-Z, and \
           talk in the room from two other terminals.",
    ours: &[
        (
            "src/reactor/patience.rs",
            "if standing.is_too_slow(&self.limits) {",
        ),
        (
            "src/reactor/standing.rs",
            "() if standing.backlog == Backlog::Pause && owes => Input::Paused(Pause::Owed),",
        ),
    ],
};

static LINE: [u8; 65536] = [b'x'; 65536];
/// What a lane may hold.
const LANE_BYTES_MAX: usize = 1 << 20;

fn run(note: &mut Notebook) -> Done {
    note.wrong("sendall, to one after the other");
    let (to_slow, _slow) = narrow_pair(note, ["to_slow", "slow"], 65536, 4096)?;
    let (to_quick, quick) = tcp_pair(note, ["to_quick", "quick"])?;
    note.step("to_slow.settimeout(0.2)", || to_slow.settimeout(0.2))?;
    let watch = LabClock::start();
    let raised = note.step("to_slow.sendall(b'x' * 1000000)", || {
        to_slow.sendall(&vec![b'x'; 1_000_000])
    });
    let early = readable(&quick, std::time::Duration::ZERO)?;
    note.saw("quick_one_waited_ms", watch.millis());
    to_quick.send(b"a line")?;
    let late = raised.is_err_and(|raised| raised.exception() == Exception::TimeoutError);
    note.expect(
        "the quick reader got nothing while the server waited for the slow one",
        late && !early,
    )?;

    note.right("send what fits, keep the rest up to a limit, close beyond it");
    let (to_slow, slow) = narrow_pair(note, ["to_slow", "slow"], 65536, 4096)?;
    let (to_quick, quick) = tcp_pair(note, ["to_quick", "quick"])?;
    non_blocking(note, "to_slow", &to_slow)?;
    let mut lane = Vec::new();
    let (mut lines, mut heard) = (0, 0);
    while lane.len() <= LANE_BYTES_MAX {
        lane.extend_from_slice(&LINE);
        deliver(&to_slow, &mut lane)?;
        to_quick.sendall(&LINE)?;
        lines += 1;
        while heard < lines * LINE.len() {
            heard += drain(&quick)?.len();
        }
    }
    note.step("a line to both, until a lane is over 1 MiB", || lines);
    note.step("to_slow.close(): too slow", || to_slow.close());
    note.saw("lines", lines);
    note.saw("lines_quick_one_heard", heard / LINE.len());
    note.expect(
        "the quick reader had every line at once",
        heard == lines * LINE.len(),
    )?;
    let (left, end) = hear_out(&slow);
    note.step("while some := slow.recv(65536): ...", || left);
    note.expect(
        "the slow reader was disconnected, with what was in its queue",
        left < heard && end.is_none(),
    )
}

/// Sends what the socket takes, and keeps the rest.
fn deliver(to: &Socket, lane: &mut Vec<u8>) -> anyhow::Result<()> {
    match to.send(lane) {
        Ok(taken) => drop(lane.drain(..taken)),
        Err(raised) if raised.exception() == Exception::BlockingIOError => {}
        Err(raised) => return Err(raised.into()),
    }
    Ok(())
}
