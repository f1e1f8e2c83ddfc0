//! No descriptor is left for the next client.

use super::apparatus::{
    A_WHILE, EventFlags, NoDescriptors, PythonEpoll, non_blocking, server, stream, will_be_readable,
};
use super::notebook::{Done, Experiment, Notebook};

pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "emfile",
    title: "accept fails with 24, and the client stays in the queue",
    run,
    python: include_str!("python/emfile.py"),
    why: "accept needs a descriptor for the new connection. Without one it fails, and the client stays where \
          it was: an edge-triggered poll has reported it already and says nothing more, so the client waits for \
          ever; a level-triggered poll reports it at once again, and again. So remember that a client is \
          waiting, stop accepting, and try again when a connection was closed, or a little later.",
    next: "`ulimit -n 20; onepoll check` says what a server may have. Ours raises the soft limit to the hard \
           one at start, and refuses connections before descriptors run out.",
    ours: &[
        (
            "src/reactor/listener.rs",
            "listener.rests_until = Some(self.now.after(EMFILE_RETRY));",
        ),
        (
            "src/reactor/listener.rs",
            "self.listeners.iter_mut().for_each(|l| l.rests_until = None);",
        ),
    ],
};

fn run(note: &mut Notebook) -> Done {
    let server = server(note)?;
    non_blocking(note, "server", &server)?;
    let (edges, levels) = (
        PythonEpoll::new(note, "ep")?,
        PythonEpoll::new(note, "levels")?,
    );
    let edge = EventFlags::IN | EventFlags::ET;
    note.step("ep.register(server, EPOLLIN | EPOLLET)", || {
        edges.register(&server, 1, edge)
    })?;
    note.step("levels.register(server, EPOLLIN)", || {
        levels.register(&server, 1, EventFlags::IN)
    })?;
    let client = stream(note, "client")?;
    note.step("client.connect(server.getsockname())", || {
        client.connect(server.getsockname()?)
    })?;
    will_be_readable(&server)?;

    note.wrong("accept has failed, so back to poll");
    let seen = note.step("ep.poll()", || edges.poll_patiently())?;
    note.expect("a client is waiting", seen.0.len() == 1)?;
    let limit = NoDescriptors::left()?;
    let raised = note
        .step("server.accept()", || server.accept().map(|_| ()))
        .err();
    let too_many = raised.and_then(|raised| raised.errno()) == Some(24);
    note.expect("EMFILE: no descriptor is left", too_many)?;
    let mut wake_ups = 0;
    while wake_ups < 1000 && !levels.poll_patiently()?.0.is_empty() {
        wake_ups += 1;
    }
    note.step("a level-triggered poll, a thousand times", || {
        format!("{wake_ups} wake-ups")
    });
    drop(limit);
    note.step("a descriptor is free again", || ());
    let seen = note.step("ep.poll(0.02)", || edges.poll(A_WHILE))?;
    note.saw("edges_afterwards", seen.0.len());
    note.saw("wake_ups_level", wake_ups);
    note.expect(
        "edges: no more events; levels: the loop never sleeps",
        seen.0.is_empty() && wake_ups == 1000,
    )?;

    note.right("remember the waiting client, try again when there is a descriptor");
    let accepted = note.step("server.accept()[1]", || {
        server.accept().map(|(_, from)| from)
    })?;
    note.saw(
        "accepted_when_tried_again",
        accepted == client.getsockname()?,
    );
    note.expect(
        "it was in the queue all the time",
        accepted == client.getsockname()?,
    )
}
