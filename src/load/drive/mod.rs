//! Making a run: which kind of traffic, and the loop of each.
//!
//! - `event_loop`: the loop. `pacer`: when requests of the open model begin.
//! - `requests`: on connections. `roll_call`: which of them are still held. `datagrams`: over UDP. `fanout`: of one sender to many receivers.
//! - `streams`: what traffic over connections has in common. `connections`: all of a run, and their states.
//! - `start_times`: when the requests in flight began. `ledger`: the lines in flight. `heads`: how answers begin.

mod awaited_greeting;
mod connections;
mod datagrams;
mod event_loop;
mod fanout;
mod heads;
mod ledger;
mod pacer;
mod requests;
mod roll_call;
mod start_times;
mod streams;

use std::ops::ControlFlow;

use self::event_loop::drive;
use crate::config::raise_descriptor_limit;
use crate::load::plan::Plan;
use crate::load::plan::error::LoadError;
use crate::load::plan::mode::Mode;
use crate::load::plan::target::TargetAddress;
use crate::load::run::Watcher;
use crate::load::run::outcome::Address;
use crate::load::run::report::Report;

/// Carries out `plan` on this thread; comes back when it is done, at the latest one timeout after
/// its time was over.
pub fn run(plan: &Plan) -> Result<Report, LoadError> {
    run_watched(plan, &mut |_| ControlFlow::Continue(()))
}

/// The same, and says five times a second to `watcher` how far it is. What `watcher` takes is in
/// the latencies, so it must not wait; when it says so, measuring ends, and the report is of what was seen so far.
pub fn run_watched(plan: &Plan, watcher: Watcher<'_>) -> Result<Report, LoadError> {
    plan.check()?;
    raise_descriptor_limit();
    let found = plan.looked_up()?;
    let target = found.address.clone();
    plan.check_sources(&target)?;
    let mut report = match (&plan.mode, target) {
        (_, TargetAddress::Udp(address)) => drive(datagrams::Udp::new(plan, address, watcher)?),
        (
            Mode::Fanout {
                hello, any_prefix, ..
            },
            target,
        ) => drive(fanout::Fanout::new(
            plan,
            (hello, *any_prefix),
            &target,
            watcher,
        )?),
        (_, target) => drive(requests::Driver::new(plan, &target, watcher)?),
    }?;
    report.address = Some(Address::of(&found));
    Ok(report)
}
