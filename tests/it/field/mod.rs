//! Reports from the field: what failed in use, each mended with its class; the tests bear the promise.

mod answers;
mod exec;
mod exec_stream;
#[cfg(feature = "tls")]
mod exec_tls;
mod logs;
mod messages;
mod streams;
mod trace;
mod trust;

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::support::program::{self, Group, Said};
use crate::support::server::Served;

/// No command here takes this long, also on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(60);

/// The binary, with nothing on standard input.
fn onepoll<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Command {
    let mut command = program::command(&[]);
    command.args(args).stdin(Stdio::null());
    command
}

/// Runs to the end, both outputs collected where nothing else was said of them.
fn run(command: &mut Command) -> Said {
    program::finish(command)
}

/// Waits for the end, but not for ever.
fn finish(child: Child) -> Said {
    Group(child).said(PATIENCE)
}

/// `onepoll serve`, and a directory of its own.
struct Server {
    served: Served,
    dir: TempDir,
}

impl Server {
    /// Begins to serve; in an endpoint, `DIR` is the directory.
    fn new(endpoints: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut command = onepoll(["serve"]);
        for endpoint in endpoints {
            command.arg(endpoint.replace("DIR", dir.path().to_str().unwrap()));
        }
        let served = Served::by(&mut command).unwrap();
        Self { served, dir }
    }

    /// Commands on a Unix socket; the address.
    fn of_commands(options: &str) -> (Self, String) {
        let server = Self::new(&[&format!("command+unix://DIR/c.sock{options}")]);
        let address = server.path().join("c.sock").to_str().unwrap().to_owned();
        (server, address)
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Where its first endpoint listens: the port is the system's choice.
    fn address(&self) -> String {
        self.served.address().to_string()
    }
}
