//! Where the audit goes: nowhere, to the log, or to a file, for which a writer is started beside the loop.

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf, absolute};

use anyhow::Context as _;

use super::{Failure, audit_file, logging};
use crate::reactor::{Epoll, Reactor};

/// What stands for the log where a file is named.
const LOG: &str = "log";

/// The audit, before there is a loop.
pub(super) struct Audit {
    out: Option<Box<dyn Write>>,
    has_writer: bool,
}

impl Audit {
    /// Makes sure that what is to be written can be.
    pub(super) fn prepare(to: Option<&str>, epoll: Epoll) -> Result<(Epoll, Audit), Failure> {
        let Some(to) = to else {
            let none = Audit {
                out: None,
                has_writer: false,
            };
            return Ok((epoll, none));
        };
        if to == LOG {
            let out = Some(logging::audit());
            return Ok((
                epoll,
                Audit {
                    out,
                    has_writer: false,
                },
            ));
        }
        let path = file(to)?;
        drop(audit_file::open(&path, audit_file::Kind::Audit)?);
        let arguments = vec![OsString::from("audit-writer"), path.into_os_string()];
        let (epoll, out) = epoll
            .with_writer(arguments)
            .context("cannot make a pipe for the audit")?;
        let audit = Audit {
            out: Some(out),
            has_writer: true,
        };
        Ok((epoll, audit))
    }

    /// From now on it is told what happens.
    pub(super) fn begin(self, reactor: &mut Reactor<Epoll>) {
        if let Some(out) = self.out {
            reactor.audit_to(out);
        }
        if self.has_writer {
            reactor.keep_writer();
        }
    }
}

/// What would be wrong with an audit that goes there, which this user writes, or who starts the server; without
/// making anything.
pub(super) fn check(to: Option<&str>, user: Option<u32>) -> Result<(), Failure> {
    let Some(to) = to.filter(|to| *to != LOG) else {
        return Ok(());
    };
    let path = file(to)?;
    if let Some(user) = user {
        audit_file::check_owner(&path, user)?;
    }
    if path.symlink_metadata().is_ok() {
        drop(audit_file::open(&path, audit_file::Kind::Audit)?);
        return Ok(());
    }
    let directory = path.parent().unwrap_or(Path::new("/"));
    if directory.is_dir() {
        return Ok(());
    }
    let (directory, file) = (directory.display(), path.display());
    Err(anyhow::anyhow!("the audit file {file} cannot be made: {directory} is no directory").into())
}

/// The working directory of the server may change, that of a writer is the server's.
fn file(to: &str) -> Result<PathBuf, Failure> {
    if to.is_empty() {
        return Err(Failure::usage("the audit has no file; name one, or `log`"));
    }
    Ok(absolute(to).context("the audit")?)
}
