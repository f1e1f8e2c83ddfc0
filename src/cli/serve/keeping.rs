//! The keeper of commands: one for a server that runs any.

use std::ffi::OsString;

use anyhow::Context as _;

use crate::config::Policy;
use crate::endpoint::Bound;
use crate::reactor::{Epoll, Reactor};

/// What commands may do at those of these endpoints that run any.
pub(super) fn policies(bound: &[Bound]) -> Vec<Policy> {
    let policy = |bound: &Bound| bound.endpoint.policy();
    bound.iter().filter_map(policy).collect()
}

/// Prepares one, which removes what servers that are no more left in the directories of these policies.
pub(super) fn prepare(epoll: Epoll, policies: &[Policy]) -> anyhow::Result<Epoll> {
    let mut arguments: Vec<OsString> = vec!["keeper".into(), epoll.marks_begin().into()];
    let cgroups = policies
        .iter()
        .filter_map(|policy| policy.confinement.cgroup.as_ref());
    for directory in cgroups {
        let directory = directory.as_os_str();
        if !arguments[2..].iter().any(|known| known == directory) {
            arguments.push(directory.to_owned());
        }
    }
    epoll
        .with_keeper(arguments)
        .context("cannot make a pipe for the keeper of commands")
}

/// Starts it, if it does not run.
pub(super) fn begin(reactor: &mut Reactor<Epoll>) -> anyhow::Result<()> {
    reactor
        .keep_keeper()
        .context("cannot start the keeper of commands")
}
