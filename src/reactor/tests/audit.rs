use serde_json::Value;

use super::*;
use crate::reactor::Signal;
use crate::service::rehearsal::Paper;
use crate::service::{Manner, Sessions};
use crate::turn::{ChildEvent, Closed, Exit, Job};

/// What the audit has said.
#[derive(Debug, Clone, Default)]
struct Said(Paper);

impl Said {
    /// The events since this was last asked.
    fn take(&self) -> Vec<Value> {
        let text = self.0.take();
        let lines = text.lines().filter(|line| !line.is_empty());
        lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// The names of the events, and why.
    fn names(&self) -> Vec<String> {
        let name = |event: Value| match &event["why"] {
            Value::String(why) => format!("{} {why}", event["event"].as_str().unwrap()),
            _ => event["event"].as_str().unwrap().to_owned(),
        };
        self.take().into_iter().map(name).collect()
    }
}

fn audited() -> (World, Said) {
    let mut world = World::new();
    let said = Said::default();
    world.reactor.audit_to(Box::new(said.0.clone()));
    (world, said)
}

/// Lets in whoever says `yes`, and then runs what it is told.
#[derive(Debug, Default)]
struct Door(Sessions<()>);

impl Service for Door {
    fn input(&mut self, t: &mut Turn<'_>, input: &mut ReadBuf) -> Result<(), Fault> {
        let line = input.unread().to_vec();
        input.consume(line.len());
        if self.0.get(t.id).is_some() {
            t.spawn(Job::line(line));
        } else if line == b"yes" {
            self.0.insert(t.id, ());
            t.admit();
        } else {
            return Err(Fault::WrongProof);
        }
        Ok(())
    }

    fn child(&mut self, _t: &mut Turn<'_>, _event: ChildEvent<'_>) {}

    fn closed(&mut self, t: &mut Turn<'_>, _why: &Closed) {
        self.0.remove(t.id);
    }

    fn manner(&self) -> Manner {
        Manner {
            is_gated: true,
            ..Manner::ANSWERS
        }
    }
}

#[test]
fn who_logs_in_is_told_once_and_who_does_not_is_told_with_the_reason() {
    let (mut world, said) = audited();
    let door = world.serves_with(Door::default(), |listener| {
        listener.name = "door://h:1?secret-file=/a".into();
        listener.connections_max = 2;
    });
    let right = world.dials(door);
    let late = world.dials(door);
    assert_eq!(said.names(), ["start"]);
    world.dials(door);
    assert_eq!(said.names(), ["refused listener_full"]);
    world.says(right, "yes");
    let told = said.take();
    assert_eq!(told.len(), 1);
    assert_eq!(
        (&told[0]["event"], &told[0]["endpoint"], &told[0]["peer"]),
        (
            &"login".into(),
            &"door://h:1".into(),
            &"127.0.0.1:40000".into()
        )
    );
    world.passes(20 * SECOND);
    assert!(!world.is_open(late) && world.is_open(right));
    assert_eq!(said.names(), ["refused login_timeout"]);
    let wrong = world.dials(door);
    world.says(wrong, "no");
    world.os().ends(wrong);
    world.passes(20 * SECOND);
    assert_eq!(said.names(), ["refused wrong_proof"]);
    // It leaves in good order, which nobody has to know.
    world.os().ends(right);
    world.settles();
    assert_eq!(said.names(), [""; 0]);
}

#[test]
fn a_command_is_told_when_it_starts_and_when_it_ends_also_without_its_client() {
    let (mut world, said) = audited();
    let door = world.serves(Door::default());
    let client = world.dials(door);
    world.says(client, "yes");
    said.take();
    world.os().wall = 5 * SECOND;
    world.says(client, "make");
    world.os().prints(0, b"12345");
    world.passes(1500 * MS);
    // Its client is gone, and it is killed.
    world.os().resets(client);
    world.settles();
    world.os().exits(0, Exit::Signal(9));
    world.settles();
    let told = said.take();
    assert_eq!(told[0]["event"], "command-started");
    assert_eq!(told[0]["time"], "1970-01-01T00:00:05.000Z");
    assert_eq!(
        (&told[0]["command"], &told[0]["command_bytes"]),
        (&"make".into(), &4.into())
    );
    assert_eq!(told[1]["event"], "command-ended");
    assert_eq!(
        (&told[1]["signal"], &told[1]["output_bytes"]),
        (&9.into(), &5.into())
    );
    assert_eq!(told[1]["ms"], 1500);
    assert_eq!(told[1]["connection"], told[0]["connection"]);
    assert_eq!(told.len(), 2);
}

#[test]
fn a_writer_is_replaced_after_a_wait_that_doubles_until_it_has_run_for_a_while() {
    let (mut world, said) = audited();
    world.reactor.keep_writer();
    world.settles();
    for wait in [100, 200, 400, 800] {
        let writers = world.os().commands.len();
        world.os().exits(writers - 1, Exit::Code(1));
        world.passes(Duration::from_millis(wait) - MS);
        assert_eq!(world.os().commands.len(), writers, "{wait}");
        world.passes(MS);
        assert_eq!(world.os().commands.len(), writers + 1, "{wait}");
    }
    // It is nobody's command.
    assert_eq!(world.reactor.counters().children, 0);
    world.passes(60 * SECOND);
    world.os().exits(4, Exit::Code(1));
    world.passes(100 * MS);
    assert_eq!(world.os().commands.len(), 6);
    assert_eq!(said.names(), ["start"]);
}

#[test]
fn the_end_is_told_last_and_waits_for_the_writer_for_two_seconds_at_most() {
    for is_stuck in [false, true] {
        let (mut world, said) = audited();
        world.reactor.keep_writer();
        world.settles();
        if !is_stuck {
            // It ends as soon as it is looked at.
            world.os().exits(0, Exit::Code(0));
        }
        world.os().signal(Signal::Stop);
        let began = world.os().now;
        world.os().horizon = began.after(100 * SECOND);
        if is_stuck {
            world.reactor.run().unwrap();
            assert_eq!(world.os().now.since(began), 2 * SECOND);
            assert!(
                world.os().commands[0].killed.is_empty(),
                "it may go on alone"
            );
        } else {
            world.reactor.run().unwrap();
            assert!(world.os().now.since(began) <= 2 * SECOND);
        }
        assert_eq!(said.names(), ["start", "stop"]);
    }
}

#[test]
fn a_reload_is_told_and_asks_the_writer_to_open_its_file_again() {
    let (mut world, said) = audited();
    world.settles();
    said.take();
    world.os().signal(Signal::Reload);
    world.settles();
    assert_eq!(said.0.take(), "\n");
    world.reactor.audit_reload(None);
    world.reactor.audit_reload(Some("a.toml, line 1: no"));
    assert_eq!(said.names(), ["reload", "reload-failed a.toml, line 1: no"]);
}
