//! When, where and by which command a result was made.

use std::env;
use std::path::Path;

use jiff::Zoned;
use rustix::system::uname;
use serde::{Deserialize, Serialize};

/// What a reader needs to make it again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    /// When the call began, as RFC 3339 has it, in the time zone of the machine.
    pub date: String,
    /// The command line, as a shell would take it; there is no secret in it.
    pub command_line: String,
    /// The version of onepoll.
    pub version: String,
    /// The name of the machine that the generator ran on.
    pub host: String,
    /// Its kernel: name, release and architecture.
    pub kernel: String,
}

impl Provenance {
    /// Of this process, now.
    #[expect(
        clippy::disallowed_methods,
        reason = "it is shown, and nothing is computed from it"
    )]
    pub fn of_this_call() -> Self {
        let machine = uname();
        let [system, release, architecture] =
            [machine.sysname(), machine.release(), machine.machine()]
                .map(|part| part.to_string_lossy());
        Self {
            date: Zoned::now().strftime("%Y-%m-%dT%H:%M:%S%:z").to_string(),
            command_line: shell_words::join(words(
                env::args_os().map(|word| word.to_string_lossy().into_owned()),
            )),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            host: machine.nodename().to_string_lossy().into_owned(),
            kernel: format!("{system} {release} {architecture}"),
        }
    }

    /// In one sentence.
    pub fn sentence(&self) -> String {
        let Self {
            date,
            command_line,
            version,
            host,
            kernel,
        } = self;
        format!("Made on {date} on {host} ({kernel}) by onepoll {version}: {command_line}")
    }
}

/// The program by its name alone: where it lies says nothing of the run.
fn words(mut all: impl Iterator<Item = String>) -> Vec<String> {
    let program = all.next().unwrap_or_default();
    let name = Path::new(&program).file_name();
    let name = name.map_or(program.clone(), |name| name.to_string_lossy().into_owned());
    [name].into_iter().chain(all).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_can_be_typed_again() {
        let line = [
            "/usr/bin/onepoll",
            "bench",
            "echo",
            "http://h:1/?a=b&c",
            "-n",
            "5",
        ];
        let words = words(line.into_iter().map(str::to_owned));
        assert_eq!(
            shell_words::join(words),
            "onepoll bench echo 'http://h:1/?a=b&c' -n 5"
        );
    }

    #[test]
    fn everything_is_known() {
        let made = Provenance::of_this_call();
        for part in [&made.date, &made.host, &made.kernel, &made.version] {
            assert!(
                !part.is_empty() && made.sentence().contains(part.as_str()),
                "{made:?}"
            );
        }
        assert_eq!(made.date.len(), "2026-11-28T00:40:00+00:00".len());
    }
}
