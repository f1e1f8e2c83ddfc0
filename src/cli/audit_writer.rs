//! `onepoll audit-writer FILE`: what `serve --audit FILE`, and a chat with a `transcript`, start beside the loop, so
//! that the loop waits for no disk. It appends what comes through standard input, a line each, until that ends; an empty line asks
//! it to open the file again.
//!
//! It ends with its input and no sooner: a supervisor that stops a server signals all of its processes, and
//! the last lines are still to be written.

use std::io::{self, Read};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::Context as _;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};

use super::audit_file::{AuditFile, Kind};
use super::{Outcome, complain};

/// What is read at once: as much as the pipe holds.
const READ_BYTES: usize = 64 << 10;

/// The one that `serve` starts; nobody else has a use for it
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// What it writes is no audit, but what people say
    #[arg(long)]
    transcript: bool,

    /// Where it writes
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// Runs it.
pub(super) fn run(args: Args) -> Outcome {
    for signal in [SIGTERM, SIGINT, SIGHUP, SIGXFSZ] {
        // A handler that does nothing: what ends it is the end of its input.
        signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)))
            .context("cannot set up signals")?;
    }
    let kind = if args.transcript {
        Kind::Transcript
    } else {
        Kind::Audit
    };
    let mut file = AuditFile::open(args.file, kind)?;
    let mut input = io::stdin().lock();
    let mut unread = Vec::new();
    let mut chunk = vec![0; READ_BYTES];
    loop {
        let n = match input.read(&mut chunk) {
            Ok(0) => break,
            Ok(n) => n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(anyhow::Error::new(error).into()),
        };
        unread.extend_from_slice(&chunk[..n]);
        let Some(end) = memchr::memrchr(b'\n', &unread) else {
            continue;
        };
        write(&mut file, &unread[..=end]);
        unread.drain(..=end);
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes lines, and opens the file again where an empty one asks for it.
fn write(file: &mut AuditFile, lines: &[u8]) {
    let mut from = 0;
    let mut line_begins = 0;
    for end in memchr::memchr_iter(b'\n', lines) {
        if end == line_begins {
            append(file, &lines[from..line_begins]);
            from = end + 1;
            if let Err(error) = file.reopen() {
                complain(format_args!(
                    "{error:#}; the {} goes on in the file that was open",
                    file.what()
                ));
            }
        }
        line_begins = end + 1;
    }
    append(file, &lines[from..]);
}

fn append(file: &mut AuditFile, lines: &[u8]) {
    if lines.is_empty() {
        return;
    }
    if let Some(error) = file.append(lines) {
        complain(format_args!(
            "the {} cannot be written: {error}",
            file.what()
        ));
    }
}
