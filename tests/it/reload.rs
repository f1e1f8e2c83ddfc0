//! SIGHUP, with the real binary: what `tests/python/test_reload.py` shows at length, as far as a bug that was
//! put in on purpose has to be caught here.

use std::fs;
use std::path::Path;

use rustix::process::{Signal, kill_process};

use crate::support::peer::{Nobody, dial};
use crate::support::program::command;
use crate::support::server::Served;

fn table(service: &str, address: impl std::fmt::Display) -> String {
    format!("[[endpoint]]\nservice = \"{service}\"\naddress = \"{address}\"\n")
}

fn serves(file: &Path) -> Served {
    Served::by(command(&["serve", "--config"]).arg(file)).unwrap()
}

#[test]
fn fault_h3_a_configuration_that_cannot_be_served_takes_no_listener_away() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("onepoll.toml");
    fs::write(&file, table("echo", "127.0.0.1:0")).unwrap();
    let mut server = serves(&file);
    let mut before = dial(server.address());
    before.says("a").hears("a");
    // A port that is taken, and none for the endpoint that is there.
    let taken = Nobody::new();
    fs::write(&file, table("upper", &taken)).unwrap();
    kill_process(server.pid(), Signal::HUP).unwrap();
    let said = server.says("not reloaded");
    assert!(said.contains(&format!("cannot bind {taken}")), "{said}");
    before.says("b").hears("b");
    dial(server.address()).says("c").hears("c");
    // It can be, once the port is free.
    let address = taken.address;
    drop(taken);
    kill_process(server.pid(), Signal::HUP).unwrap();
    server.says("reloaded the configuration opened=1 changed=0 vanished=1");
    dial(address).says("d\n").hears("D\n");
    before.says("e").hears("e");
    drop(before);
    kill_process(server.pid(), Signal::TERM).unwrap();
    assert_eq!(server.exits(), Some(0));
}
