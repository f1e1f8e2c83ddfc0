//! An event for a connection that is closed, and whose place another one has taken.

use super::apparatus::{EventFlags, PythonEpoll, arrived, connected, server, was_ended};
use super::notebook::{Done, Experiment, Notebook};
use crate::socket::{MSG_DONTWAIT, Socket};

pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "stale-token",
    title: "an event outlives its connection, and hits the connection that has its place now",
    run,
    python: include_str!("python/stale_token.py"),
    why: "poll returns many events at once, each with a token: a place in a table. Handling the first may \
          close the connection of the second and accept another one, which gets the free place; the second \
          event then hits the wrong connection. The kernel cannot help: it reported both before. So a token \
          has a generation, which says which of a place's owners it means; a stale token is ignored.",
    next: "Print tokens in a server of yours when a client is kicked. There is another cure, which we use \
           as well: free places at the end of the turn only, when all events are handled.",
    ours: &[
        (
            "src/reactor/mod.rs",
            "let Some(conn) = self.conns.get_mut(id.slot as usize).filter(|c| c.is(id)) else {",
        ),
        (
            "src/reactor/mod.rs",
            "self.reap(); // the only place a connection is freed",
        ),
    ],
};

fn run(note: &mut Notebook) -> Done {
    note.wrong("a token is a place in the table");
    let carla_lives = kick_and_replace(note, false)?;
    note.saw("newcomer_lives_without_generation", carla_lives);
    note.expect("carla was hung up on, for bert's good-bye", !carla_lives)?;

    note.right("a token is a place and a generation");
    let carla_lives = kick_and_replace(note, true)?;
    note.saw("newcomer_lives_with_generation", carla_lives);
    note.expect("carla stays", carla_lives)
}

/// Anna kicks bert while bert says good-bye; carla comes in, and gets bert's place.
fn kick_and_replace(note: &mut Notebook, generations: bool) -> anyhow::Result<bool> {
    let token = |place: u64, generation: u64| place | generation << 32;
    let (server, ep) = (server(note)?, PythonEpoll::new(note, "ep")?);
    let flags = EventFlags::IN | EventFlags::RDHUP;
    let (anna, annas) = connected(note, &server, ["anna", "annas"])?;
    let (bert, berts) = connected(note, &server, ["bert", "berts"])?;
    for (name, end, place) in [("annas", &annas, 0), ("berts", &berts, 1)] {
        let python = format!("ep.register({name}, EPOLLIN | EPOLLRDHUP)");
        note.make(python, || ep.register(end, token(place, 1), flags))?;
    }
    let mut table: [(u64, Option<Socket>); 2] = note.make("table = [annas, berts]", || {
        [(1, Some(annas)), (1, Some(berts))]
    });

    note.step("anna.send(b'kick bert')", || anna.send(b"kick bert"))?;
    note.step("bert.close()", || bert.close());
    if let [(_, Some(annas)), (_, Some(berts))] = &table {
        arrived(annas, 9)?;
        was_ended(berts)?;
    }
    let seen = ep.poll_patiently()?;
    anyhow::ensure!(seen.0.len() == 2);
    note.step("ep.poll(): two events, for places", || {
        "0 (anna) and 1 (bert)".to_owned()
    });

    note.step("table[1].close(), as anna asked", || table[1].1 = None);
    let (carla, carlas) = connected(note, &server, ["carla", "carlas"])?;
    note.make("ep.register(carlas, EPOLLIN | EPOLLRDHUP)", || {
        ep.register(&carlas, token(1, 2), flags)
    })?;
    note.step("table[1] = carlas", || table[1] = (2, Some(carlas)));

    for (token, flags) in seen.0 {
        let (place, generation) = (token & 1, token >> 32);
        let (current, owner) = &mut table[usize::from(place == 1)];
        if generations && generation != *current {
            note.step("the second event: generation 1, now 2", || {
                "silence".to_owned()
            });
        } else if place == 1 && flags.contains(EventFlags::RDHUP) {
            note.step("the second event, `ended`: table[1].close()", || {
                *owner = None
            });
        }
    }
    let heard = note.step("carla.recv(1, MSG_DONTWAIT)", || {
        carla.recv_with(1, MSG_DONTWAIT)
    });
    Ok(heard.is_err_and(|raised| raised.errno() == Some(11)))
}
