//! Where log records go: standard error, one line each, and never at the price of the loop.
//!
//! A reader of standard error that has stopped (a full pipe, a terminal on hold) would block a
//! plain write, and with it every connection. So the line is written only when the poll
//! says that it fits, and is dropped and counted otherwise. The descriptor itself stays as it is:
//! its blocking mode belongs to all processes that share it. So a pipe or a terminal is opened anew for
//! us: between the poll and the write others may fill it, and a terminal with little room is
//! writable to a poll and blocks a line.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use env_logger::{Builder, Target};
use log::kv::{Error, Key, Value as KvValue, VisitSource};
use log::{Level, LevelFilter, Record};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{SendFlags, send};
use rustix::stdio::stderr;
use serde_json::Value;

use super::shown;
use super::streams::own;
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

/// How a record looks, once a server logs. Then everything on standard error does: with
/// [`LogFormat::Json`] a program reads it, line by line.
static FORMAT: OnceLock<LogFormat> = OnceLock::new();

/// Which of several processes this is.
static PROCESS: OnceLock<u32> = OnceLock::new();

/// What the counters are logged for: their message is a JSON object. They are asked for by a signal, so
/// they are printed at every level but `off`.
const COUNTERS: &str = "onepoll::counters";

/// Sends log records of `level` and above to standard error, and all that is said there besides. Call it
/// once, and before anything is said.
pub(super) fn begin(level: LevelFilter, format: LogFormat) {
    let _ = FORMAT.set(format);
    if format == LogFormat::Json {
        std::panic::set_hook(Box::new(|panic| {
            announce(Level::Error, &panic.to_string(), None)
        }));
    }
    let counters = match level {
        LevelFilter::Off => LevelFilter::Off,
        level => level.max(LevelFilter::Info),
    };
    Builder::new()
        .filter_level(level)
        .filter_module(COUNTERS, counters)
        .target(Target::Pipe(Box::new(Stderr)))
        .format(move |out, record| out.write_all(line(format, record).as_bytes()))
        .init();
}

/// From now on each line says that it is of this process, one of several.
pub(super) fn of_process(number: u32) {
    let _ = PROCESS.set(number);
}

/// Takes a description of standard error that nobody shares, where there can be one. After the endpoints
/// were opened: it takes a number that one of them may have been promised.
pub(super) fn take_own_stderr() {
    if let Ok(own) = own(stderr()) {
        let _ = OWN.set(own);
    }
}

/// Whether a server logs: then whatever is said is a line among its records, and waits for nobody.
pub(super) fn has_begun() -> bool {
    FORMAT.get().is_some()
}

/// Says something that is no record, and is said at every level: as a line `onepoll: MESSAGE on ENDPOINT`,
/// or as an object.
pub(super) fn announce(level: Level, message: &str, endpoint: Option<&str>) {
    let line = match FORMAT.get() {
        Some(LogFormat::Json) => {
            let mut fields = serde_json::Map::new();
            if let Some(endpoint) = endpoint {
                fields.insert("endpoint".into(), endpoint.into());
            }
            object(level, message, fields)
        }
        Some(LogFormat::Text) | None => {
            let process = PROCESS.get().map(|number| format!("process {number}: "));
            let process = process.unwrap_or_default();
            match endpoint {
                Some(endpoint) => format!("onepoll: {process}{message} on {endpoint}\n"),
                None => format!("onepoll: {process}{}\n", shown(message)),
            }
        }
    };
    let _ = Stderr.write_all(line.as_bytes());
}

/// A record as a line.
fn line(format: LogFormat, record: &Record<'_>) -> String {
    match format {
        LogFormat::Text => {
            let mut line = String::new();
            write_text(&mut line, record);
            line.truncate(line.floor_char_boundary(LINE_BYTES_MAX - 1));
            line.push('\n');
            line
        }
        LogFormat::Json => {
            let message = record.args().to_string();
            if record.target() == COUNTERS
                && let Ok(Value::Object(counters)) = serde_json::from_str(&message)
            {
                return object(record.level(), "counters", counters);
            }
            let mut pairs = Json(serde_json::Map::new());
            let _ = record.key_values().visit(&mut pairs);
            object(record.level(), &message, pairs.0)
        }
    }
}

/// One object, and the end of its line. Where it would be longer than a line, its longest texts are cut:
/// half an object is none.
fn object(level: Level, message: &str, fields: serde_json::Map<String, Value>) -> String {
    let mut object = fields;
    if let Some(number) = PROCESS.get() {
        object.insert("process".into(), (*number).into());
    }
    object.insert("time".into(), format!("{:.3}", now()).into());
    object.insert("level".into(), level.as_str().into());
    object.insert("message".into(), message.into());
    for value in object.values_mut() {
        if let Value::String(text) = value {
            text.truncate(text.floor_char_boundary(LINE_BYTES_MAX));
        }
    }
    let mut line = Value::Object(object.clone()).to_string();
    while line.len() >= LINE_BYTES_MAX {
        let texts = object.values_mut().filter_map(|value| match value {
            Value::String(text) => Some(text),
            _ => None,
        });
        let Some(longest) = texts
            .max_by_key(|text| text.len())
            .filter(|text| !text.is_empty())
        else {
            break;
        };
        // A byte of text is a byte of JSON or more.
        let excess = line.len() + 1 - LINE_BYTES_MAX;
        let kept = longest.len().saturating_sub(excess.div_ceil(6));
        longest.truncate(longest.floor_char_boundary(kept));
        line = Value::Object(object.clone()).to_string();
    }
    line.push('\n');
    line
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
    if let Some(number) = PROCESS.get() {
        let _ = write!(line, " process={number}");
    }
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
    fn visit_pair(&mut self, key: Key<'kvs>, value: KvValue<'kvs>) -> Result<(), Error> {
        let value = value.to_string();
        let _ = if value.contains(' ') || value.is_empty() {
            write!(self.0, " {key}={:?}", Escaped(value.as_bytes()))
        } else {
            write!(self.0, " {key}={}", Escaped(value.as_bytes()))
        };
        Ok(())
    }
}

struct Json(serde_json::Map<String, Value>);

impl<'kvs> VisitSource<'kvs> for Json {
    fn visit_pair(&mut self, key: Key<'kvs>, value: KvValue<'kvs>) -> Result<(), Error> {
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
    match FORMAT.get() {
        Some(LogFormat::Json) => Box::new(TracedAsObjects),
        Some(LogFormat::Text) | None => Box::new(Stderr),
    }
}

/// Standard error for lines of the audit, which are JSON and wait for nobody either. They were asked for, so
/// they are written at every level.
pub(super) fn audit() -> Box<dyn Write> {
    Box::new(Audit)
}

struct Audit;

impl Write for Audit {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        for line in lines
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
        {
            let text = String::from_utf8_lossy(line);
            let line = match (FORMAT.get(), serde_json::from_str(&text)) {
                (Some(LogFormat::Json), Ok(Value::Object(fields))) => {
                    object(Level::Info, "audit", fields)
                }
                _ => format!("{:.3} {:5} audit {text}\n", now(), Level::Info),
            };
            write_if_it_fits(line.as_bytes());
        }
        Ok(lines.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The text of a turn, an object for each of its lines.
struct TracedAsObjects;

impl Write for TracedAsObjects {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        let lines = text.split(|byte| *byte == b'\n');
        for line in lines.filter(|line| !line.is_empty()) {
            let line = String::from_utf8_lossy(line);
            let line = object(Level::Trace, &line, serde_json::Map::new());
            write_if_it_fits(line.as_bytes());
        }
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
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
        write_now(
            match FORMAT.get() {
                Some(LogFormat::Json) => {
                    let fields = [("dropped".to_owned(), dropped.into())]
                        .into_iter()
                        .collect();
                    object(Level::Warn, "lines were dropped here", fields)
                }
                Some(LogFormat::Text) | None => format!("({dropped} lines were dropped here)\n"),
            }
            .as_bytes(),
        );
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

fn has_room() -> bool {
    let mut fds = [PollFd::from_borrowed_fd(stderr(), PollFlags::OUT)];
    let at_once = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    poll(&mut fds, Some(&at_once)).is_ok() && fds[0].revents().contains(PollFlags::OUT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_a_line_however_much_a_peer_wrote_into_it() {
        for text in ["x", "\u{1b}", "\"", "ä"] {
            let fields = [("peer".to_owned(), text.repeat(20_000).into())];
            let fields = fields.into_iter().collect();
            let line = object(Level::Info, &text.repeat(9_000), fields);
            assert!(line.len() <= LINE_BYTES_MAX, "{}", line.len());
            assert_eq!(line.matches('\n').count(), 1);
            let object: Value = serde_json::from_str(&line).unwrap();
            assert_eq!(object["level"], "INFO");
            assert!(line.len() > LINE_BYTES_MAX / 2, "{}", line.len());
        }
    }
}
