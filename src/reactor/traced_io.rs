//! What a connection reads and writes, and the lines of a trace that tell of it.

use std::io;

use super::connection::Connection;
use super::listener::Listener;
use super::os::Os;
use super::recorder::Recorder;
use super::secured::write_sealed;
use super::trace::{TraceEvent, Verdict};
use crate::buf::ReadBuf;
use crate::turn::ConnId;

/// What a trace tells of a read that brought `new` and was given `room`; nothing if there was no read.
pub(super) fn read_event<'a, L, S>(
    conn: &Connection<S>,
    id: ConnId,
    read: &io::Result<Option<usize>>,
    new: &'a [u8],
    room: usize,
    listener: &Listener<L>,
) -> Option<TraceEvent<'a>> {
    let verdict = match read {
        // Of a session's records it is told where they are read.
        Ok(_) if conn.secured.is_some() => return None,
        Ok(None) => return None,
        Ok(Some(_)) => Verdict::of(new.len(), conn.incoming),
        Err(error) => Verdict::Failed(error.kind()),
    };
    Some(TraceEvent::Read {
        id,
        moved: listener.moved(new),
        room,
        verdict,
    })
}

/// What a read brought that put so many bytes at the end of this buffer.
pub(super) fn new_of(input: &ReadBuf, got: usize) -> &[u8] {
    let unread = input.unread();
    &unread[unread.len() - got..]
}

/// Writes once, as [`Connection::write`] does, and traces it if that was asked for.
#[inline]
pub(super) fn write<O: Os>(
    conn: &mut Connection<O::Stream>,
    slot: u32,
    os: &mut O,
    bytes: &[u8],
    recorder: &mut Recorder,
    listener: &Listener<O::Listener>,
) -> io::Result<usize> {
    if conn.secured.is_some() {
        write_sealed(conn, slot, os, bytes, recorder)
    } else {
        write_plain(conn, slot, os, bytes, recorder, listener)
    }
}

/// As [`write`], where there is no session.
#[inline]
pub(super) fn write_plain<O: Os>(
    conn: &mut Connection<O::Stream>,
    slot: u32,
    os: &mut O,
    bytes: &[u8],
    recorder: &mut Recorder,
    listener: &Listener<O::Listener>,
) -> io::Result<usize> {
    if recorder.is_tracing() {
        write_traced(conn, slot, os, bytes, recorder, listener)
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
    listener: &Listener<O::Listener>,
) -> io::Result<usize> {
    // Nothing is written to a socket that is full.
    let tries = !conn.full && !bytes.is_empty();
    let written = conn.write(os, bytes);
    if tries {
        let n = written.as_ref().copied().unwrap_or(0);
        recorder.trace(|| TraceEvent::Wrote {
            id: conn.id(slot),
            moved: listener.moved(&bytes[..n]),
            of: bytes.len(),
            failed: written.as_ref().err().map(io::Error::kind),
        });
    }
    written
}
