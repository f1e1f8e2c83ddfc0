//! A write to a connection, and the line of a trace that tells of it.

use std::io;

use super::connection::Connection;
use super::listener::{Listener, listener_of};
use super::os::Os;
use super::recorder::Recorder;
use super::trace::TraceEvent;

/// Writes once, as [`Connection::write`] does, and traces it if that was asked for.
#[inline]
pub(super) fn write<O: Os>(
    conn: &mut Connection<O::Stream>,
    slot: u32,
    os: &mut O,
    bytes: &[u8],
    recorder: &mut Recorder,
    listeners: &[Listener<O::Listener>],
) -> io::Result<usize> {
    if recorder.is_tracing() {
        write_traced(conn, slot, os, bytes, recorder, listeners)
    } else {
        conn.write(os, bytes)
    }
}

/// Apart, so that a loop without a tracer pays for one comparison only.
#[cold]
fn write_traced<O: Os>(
    conn: &mut Connection<O::Stream>,
    slot: u32,
    os: &mut O,
    bytes: &[u8],
    recorder: &mut Recorder,
    listeners: &[Listener<O::Listener>],
) -> io::Result<usize> {
    // Nothing is written to a socket that is full.
    let tries = !conn.full && !bytes.is_empty();
    let written = conn.write(os, bytes);
    if tries {
        let n = written.as_ref().copied().unwrap_or(0);
        recorder.trace(|| TraceEvent::Wrote {
            id: conn.id(slot),
            moved: listener_of(listeners, conn).moved(&bytes[..n]),
            of: bytes.len(),
            failed: written.as_ref().err().map(io::Error::kind),
        });
    }
    written
}
