//! The poll that a loop is made on, with the audit of what the loop does.

use std::time::Duration;

use anyhow::Context as _;

use crate::cli::Failure;
use crate::cli::audit::Audit;
use crate::reactor::Epoll;

/// For a process that may be the first of a machine; `of_commands` is the limit on descriptors that commands have.
pub(super) fn open(
    spin: Option<Duration>,
    of_commands: Option<u64>,
    audit: Option<&str>,
) -> Result<(Epoll, Audit), Failure> {
    let epoll = Epoll::new()
        .and_then(|epoll| epoll.spin(spin.unwrap_or_default()).with_signals())
        .and_then(Epoll::as_init)
        .map(|epoll| epoll.descriptors_of_commands(of_commands))
        .context("cannot set up the poll")?;
    Audit::prepare(audit, epoll)
}
