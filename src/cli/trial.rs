//! Whether what commands are to run within can be had here: a launcher tries all of it, and runs nothing but a shell
//! that does nothing.

use std::io::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Context as _, anyhow};

use super::Configuration;
use super::cgroup::Cgroup;
use crate::config::{Policy, quoted};
use crate::endpoint::Endpoint;
use crate::turn::Order;

/// Tries it for each endpoint that runs commands, as the user who would serve. Says what is wrong: one that would run
/// them within less than was asked for must not be served.
pub(super) fn problems(configuration: &Configuration) -> Vec<String> {
    let problem = |endpoint: &Endpoint| {
        let policy = endpoint.policy()?;
        let error = of(&policy, configuration).err()?;
        let name = endpoint.to_string();
        Some(format!(
            "endpoint {}: its commands cannot run so: {error:#}",
            quoted(&name)
        ))
    };
    configuration.endpoints.iter().filter_map(problem).collect()
}

fn of(policy: &Policy, configuration: &Configuration) -> anyhow::Result<()> {
    if policy.confinement.is_none() && policy.directory.is_none() {
        return Ok(());
    }
    // A shell that does nothing: it may be that nothing can be run within so little. Which of `programs` does nothing,
    // nobody knows.
    let (program, arguments): (&[u8], &[&str]) = if policy.programs.is_empty() {
        (b"/bin/sh", &["/bin/sh", "-c", ":"])
    } else {
        (b"", &[])
    };
    let order = Order {
        server: std::process::id(),
        mark: mark(),
        program: program.to_vec(),
        arguments: arguments
            .iter()
            .map(|word| word.as_bytes().to_vec())
            .collect(),
        environment: Vec::new(),
        directory: policy.directory.clone(),
        confinement: policy.confinement.clone(),
    };
    let mut launcher = Command::new("/proc/self/exe")
        .args(["launch", "--try"])
        .args(given("--user", configuration.user.as_deref()))
        .args(given("--group", configuration.group.as_deref()))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("no launcher can be started")?;
    if let Some(mut stdin) = launcher.stdin.take() {
        stdin.write_all(&serde_json::to_vec(&order)?)?;
    }
    let tried = launcher.wait_with_output()?;
    if let Some(directory) = &policy.confinement.cgroup {
        let removed = Cgroup::of(directory, &order.mark).remove();
        removed.with_context(|| format!("cgroup: {}", directory.display()))?;
    }
    if tried.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&tried.stderr);
    let said = said.trim().trim_start_matches("onepoll: ");
    Err(if said.is_empty() {
        // Such as by a limit that leaves no room for anything.
        anyhow!("a shell that does nothing ended with {}", tried.status)
    } else {
        anyhow!("{said}")
    })
}

fn given(flag: &'static str, value: Option<&str>) -> Option<String> {
    value.map(|value| format!("{flag}={value}"))
}

/// Of a server that is none: the next one takes what it finds of it for left behind.
fn mark() -> String {
    format!("{}-0-try", std::process::id())
}
