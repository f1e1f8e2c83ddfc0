//! Interest in writing, while there is nothing to write.

use super::apparatus::{A_WHILE, EventFlags, PythonEpoll, drain, narrow_pair, non_blocking};
use super::notebook::{Done, Experiment, Notebook};

pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "busy-writable",
    title: "a socket is nearly always writable: a poll that asks for that never sleeps",
    run,
    python: include_str!("python/busy_writable.py"),
    why: "Readable is news; writable is the normal state. A level-triggered poll that is asked for EPOLLOUT \
          returns at once, again and again, while there is nothing to write: a whole core for nothing, and \
          every answer is right. Ask for it only while something is left to send; or register both once, \
          edge-triggered, and be told when a full socket has room again.",
    next: "`strace -c -e epoll_pwait onepoll lab busy-writable` counts the wake-ups. `onepoll lab \
           partial-write`: what fills a socket.",
    ours: &[
        (
            "src/reactor/epoll.rs",
            "self.register(stream, token, EVERYTHING)",
        ),
        ("src/reactor/mod.rs", "if readiness.writable && conn.full {"),
    ],
};

fn run(note: &mut Notebook) -> Done {
    let (a, b) = narrow_pair(note, ["a", "b"], 65536, 65536)?;
    non_blocking(note, "a", &a)?;

    note.wrong("EPOLLOUT, level-triggered, from the first day on");
    let ep = PythonEpoll::new(note, "ep")?;
    let level = EventFlags::IN | EventFlags::OUT;
    note.step("ep.register(a, EPOLLIN | EPOLLOUT)", || {
        ep.register(&a, 1, level)
    })?;
    note.step("ep.poll()", || ep.poll_patiently())?;
    let mut wake_ups = 0;
    while wake_ups < 1000 && !ep.poll_patiently()?.0.is_empty() {
        wake_ups += 1;
    }
    note.step("ep.poll(), a thousand times", || {
        format!("{wake_ups} wake-ups")
    });
    note.saw("wake_ups_level", wake_ups);
    note.expect(
        "it was woken each time, and there was nothing to do",
        wake_ups == 1000,
    )?;

    note.right("both, edge-triggered, once and for all");
    let ep = PythonEpoll::new(note, "ep")?;
    let edge = level | EventFlags::ET;
    note.step("ep.register(a, EPOLLIN | EPOLLOUT | EPOLLET)", || {
        ep.register(&a, 1, edge)
    })?;
    let first = note.step("ep.poll()", || ep.poll_patiently())?;
    let second = note.step("ep.poll(0.02)", || ep.poll(A_WHILE))?;
    note.saw("wake_ups_edge", first.0.len() + second.0.len());
    note.expect(
        "told once, then it sleeps",
        first.0.len() == 1 && second.0.is_empty(),
    )?;

    let block = vec![b'x'; 65536];
    let mut taken = 0;
    while let Ok(n) = a.send(&block) {
        taken += n;
    }
    note.step("a.send(...) until BlockingIOError", || taken);
    let mut read = 0;
    while read < taken {
        read += drain(&b)?.len();
    }
    note.step("while some := b.recv(65536): ...", || read);
    let seen = note.step("ep.poll()", || ep.poll_patiently())?;
    note.expect(
        "a full socket that has room again: an edge",
        seen.0 == [(1, EventFlags::OUT)],
    )
}
