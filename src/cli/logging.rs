//! Where log records go: standard error, one line each, and never at the price of the loop.
//!
//! A reader of standard error that has stopped (a full pipe, a terminal on hold) would block a
//! plain write, and with it everybody who is served. So the line is written only when the poll
//! says that it fits, and is dropped and counted otherwise. The descriptor itself stays as it is:
//! its blocking mode belongs to everybody who shares it. So a pipe or a terminal is opened anew for
//! us: between the poll and the write others may fill it, and a terminal with little room is
//! writable to a poll and blocks a line.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use env_logger::{Builder, Target};
use log::kv::{Error, Key, Value, VisitSource};
use log::{LevelFilter, Record};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, Mode, OFlags, fstat, open};
use rustix::io::Errno;
use rustix::net::{SendFlags, send};
use rustix::stdio::stderr;

use crate::endpoint::LogFormat;
use crate::wire::Escaped;

/// The longest line. A pipe that polls as writable has room for that much (PIPE_BUF, pipe(7)),
/// so one write of it does not block.
const LINE_BYTES_MAX: usize = 4096;

/// Lines that found standard error full, since the last one that did not.
static DROPPED: AtomicU64 = AtomicU64::new(0);

/// Whether the last thing written is a line without its end.
static TORN: AtomicBool = AtomicBool::new(false);

/// Standard error with a description of our own, where there can be one.
static OWN: OnceLock<OwnedFd> = OnceLock::new();

/// Sends log records of `level` and above to standard error. Call it once.
pub(super) fn begin(level: LevelFilter, format: LogFormat) {
    if let Ok(own) = own_stderr() {
        let _ = OWN.set(own);
    }
    let write = match format {
        LogFormat::Text => write_text,
        LogFormat::Json => write_json,
    };
    Builder::new()
        .filter_level(level)
        .target(Target::Pipe(Box::new(Stderr)))
        .format(move |out, record| {
            let mut line = String::new();
            write(&mut line, record);
            let end = line.floor_char_boundary(LINE_BYTES_MAX - 1);
            line.truncate(end);
            line.push('\n');
            out.write_all(line.as_bytes())
        })
        .init();
}

fn write_text(line: &mut String, record: &Record<'_>) {
    let message = record.args().to_string();
    let _ = write!(
        line,
        "{:.3} {:5} {}",
        now(),
        record.level(),
        Escaped(message.as_bytes())
    );
    let mut pairs = Text(line);
    let _ = record.key_values().visit(&mut pairs);
}

fn write_json(line: &mut String, record: &Record<'_>) {
    let mut pairs = Json(serde_json::Map::new());
    pairs
        .0
        .insert("time".into(), format!("{:.3}", now()).into());
    pairs
        .0
        .insert("level".into(), record.level().as_str().into());
    pairs
        .0
        .insert("message".into(), record.args().to_string().into());
    let _ = record.key_values().visit(&mut pairs);
    let _ = write!(line, "{}", serde_json::Value::Object(pairs.0));
}

#[expect(
    clippy::disallowed_methods,
    reason = "a record bears the wall time at which it was written"
)]
fn now() -> jiff::Timestamp {
    jiff::Timestamp::now()
}

/// `key=value`, quoted where it has blanks, escaped where a peer could have put control
/// characters into it.
struct Text<'a>(&'a mut String);

impl<'kvs> VisitSource<'kvs> for Text<'_> {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), Error> {
        let value = value.to_string();
        let _ = if value.contains(' ') || value.is_empty() {
            write!(self.0, " {key}={:?}", Escaped(value.as_bytes()))
        } else {
            write!(self.0, " {key}={}", Escaped(value.as_bytes()))
        };
        Ok(())
    }
}

struct Json(serde_json::Map<String, serde_json::Value>);

impl<'kvs> VisitSource<'kvs> for Json {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), Error> {
        let value = match (value.to_u64(), value.to_i64()) {
            (Some(number), _) => number.into(),
            (_, Some(number)) => number.into(),
            _ => value.to_string().into(),
        };
        self.0.insert(key.to_string(), value);
        Ok(())
    }
}

/// Standard error for text of more than a line, under the same rule: what does not fit is dropped.
pub(super) fn tracer() -> Box<dyn Write> {
    Box::new(Stderr)
}

/// Standard error, when it has room.
struct Stderr;

impl Write for Stderr {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        for piece in line.chunks(LINE_BYTES_MAX) {
            write_if_it_fits(piece);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes a line to standard error if that does not block, and drops it otherwise. A reader that
/// is gone (`EPIPE`) wanted no more.
fn write_if_it_fits(line: &[u8]) {
    if !has_room() {
        DROPPED.fetch_add(1, Ordering::Relaxed);
        return;
    }
    let dropped = DROPPED.swap(0, Ordering::Relaxed);
    if dropped > 0 {
        write_now(format!("({dropped} lines were dropped here)\n").as_bytes());
    }
    if dropped == 0 || has_room() {
        write_now(line);
    }
}

/// Writes what there is room for. A terminal that polls as writable may have room for half a line.
fn write_now(line: &[u8]) {
    let line_end: &[u8] = if TORN.swap(false, Ordering::Relaxed) {
        b"\n"
    } else {
        b""
    };
    let bytes = [line_end, line].concat();
    let written = match OWN.get() {
        Some(own) => rustix::io::write(own, &bytes),
        None => match send(stderr(), &bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Err(Errno::NOTSOCK) => rustix::io::write(stderr(), &bytes),
            sent => sent,
        },
    };
    match written {
        Ok(n) if n == bytes.len() => {}
        Ok(0) | Err(Errno::AGAIN) => {
            TORN.store(!line_end.is_empty(), Ordering::Relaxed);
            DROPPED.fetch_add(1, Ordering::Relaxed);
        }
        Ok(_) => {
            TORN.store(true, Ordering::Relaxed);
            DROPPED.fetch_add(1, Ordering::Relaxed);
        }
        Err(_) => {}
    }
}

/// Opens a pipe or a terminal anew, for a description that does not block and that nobody shares.
/// Not a file: a description of its own would write from the beginning. A socket cannot be opened,
/// and needs no such thing, since a single `send` can be told not to wait.
fn own_stderr() -> io::Result<OwnedFd> {
    let kind = FileType::from_raw_mode(fstat(stderr())?.st_mode);
    if !matches!(kind, FileType::Fifo | FileType::CharacterDevice) {
        return Err(io::ErrorKind::Unsupported.into());
    }
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    Ok(open("/proc/self/fd/2", flags, Mode::empty())?)
}

fn has_room() -> bool {
    let mut fds = [PollFd::from_borrowed_fd(stderr(), PollFlags::OUT)];
    let at_once = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    poll(&mut fds, Some(&at_once)).is_ok() && fds[0].revents().contains(PollFlags::OUT)
}
