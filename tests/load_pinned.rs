//! The load generator says when the figures are its own: pinned onto the server's processor it was
//! the limit, beside a server that takes its time it was not.
#![cfg(feature = "cli")]

mod support;

use std::time::Duration;

use onepoll::load::{self, Amount, Mode, Plan};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use support::program::bench;
use support::script::{Reply, Request, replies};
use support::server::Served;

/// Binds this thread, and whatever it starts from now on, to one processor.
fn pin() {
    let allowed = sched_getaffinity(None).unwrap();
    let mut cpus = (0..CpuSet::MAX_CPU).filter(|&cpu| allowed.is_set(cpu));
    let mut one = CpuSet::new();
    one.set(cpus.next().unwrap());
    sched_setaffinity(None, &one).unwrap();
}

#[test]
fn pinned_onto_the_servers_processor_the_generator_was_the_limit() {
    pin();
    let server = Served::start("echo://127.0.0.1:0");
    // Whether one connection or many: the two are never at work at the same time.
    for connections in ["1", "50"] {
        let line = format!("echo {} -c {connections} -d 500ms", server.address());
        let said = bench(&line);
        let text = &said.exits(0).out;
        assert!(text.contains("was the limit"), "{text}");

        let json = bench(line + " --json").json();
        let generator = &json["generator"];
        assert_eq!(generator["was_the_limit"], true, "{generator}");
    }
}

#[test]
fn beside_a_server_that_takes_its_time_the_generator_was_not_the_limit() {
    let server = replies(Request::Bytes(64), |_, _, message| {
        Reply::After(Duration::from_millis(10), message.to_vec())
    });
    let mut plan = Plan::new(server.to_string().parse().unwrap(), Mode::Echo { depth: 1 });
    plan.connections = 1;
    plan.amount = Amount::Count(20);
    let report = load::run(&plan).unwrap();
    assert_eq!(report.requests.answered, 20, "{report}");
    // A machine with other work takes the processor away now and then: that is true, and told.
    let generator = &report.generator;
    let is_away = generator.pauses.are_long;
    assert_eq!(generator.was_the_limit, is_away, "{report}");
    let text = report.to_string();
    assert_eq!(text.contains("was the limit"), is_away, "{report}");
    assert_eq!(text.contains("since it was away"), is_away, "{report}");
}
