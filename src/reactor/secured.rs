//! What a connection with a session does where a plain one reads and writes: ciphertext from and to the
//! socket, plaintext to and from its service.

use std::io::{self, IoSlice};

use super::Reactor;
use super::connection::Connection;
use super::listener::listener_of;
use super::os::Os;
use super::recorder::Recorder;
use super::standing::After;
use super::trace::{TraceEvent, Verdict};
use super::transport::RECORDS_PER_TURN;
use crate::buf::ReadBuf;
use crate::turn::{Broken, Closed, Outbox, Taken};

/// How much is sealed before it is written.
pub(super) const SEALED_BYTES_MAX: usize = 64 << 10;

impl<O: Os> Reactor<O> {
    /// The socket's ciphertext fills the read buffer with plaintext, unless there is nothing to read or
    /// the service has not seen all that was: then there is no number.
    pub(super) fn fill_secured(
        &mut self,
        slot: u32,
        input: &mut ReadBuf,
    ) -> io::Result<Option<usize>> {
        let conn = &mut self.conns[slot as usize];
        if conn.unserved || conn.incoming.has_ended() || !conn.incoming.may_have_more() {
            return Ok(None);
        }
        let room = self.limits.read_per_turn;
        self.read_cipher(slot, room)?;
        let conn = &mut self.conns[slot as usize];
        if conn.incoming.has_ended() {
            // Its peer did not say that this is the end: somebody between may have cut it off.
            input.consume(input.len());
            self.outbox.leave(slot, Closed::Cut, false);
            return Ok(Some(0));
        }
        if let Some(secured) = &mut conn.secured {
            secured.has_heard = !self.cipher.is_empty();
        }
        let had = input.len();
        match self.open_cipher(slot, input) {
            Ok(_) => {
                self.outgoing(slot);
                let got = input.len() - had;
                let conn = &mut self.conns[slot as usize];
                if !conn.is_logging_in() && !conn.is_behind() {
                    conn.must = conn.must_besides();
                }
                if got > 0 && had == 0 {
                    // A record has ended, and no frame had begun before it.
                    conn.begins_anew();
                }
                Ok(Some(got))
            }
            Err(broken) => {
                input.consume(input.len());
                self.break_off(slot, &broken);
                Ok(Some(0))
            }
        }
    }

    /// Whether the last read of a connection with a session brought something: a record that comes byte
    /// by byte is no silence.
    pub(super) fn has_heard(&mut self, slot: u32) -> bool {
        let secured = self.conns.get_mut(slot as usize);
        let secured = secured.and_then(|conn| conn.secured.as_mut());
        secured.is_some_and(|secured| std::mem::take(&mut secured.has_heard))
    }

    /// What a session answered by itself waits for the end of the turn, or for room in the socket.
    pub(super) fn outgoing(&mut self, slot: u32) {
        let conn = &self.conns[slot as usize];
        if let Some(secured) = &conn.secured
            && secured.session.wants_write()
            && !conn.full
        {
            self.outbox.mark_dirty(slot);
        }
    }

    /// Reads once, into the shared buffer of ciphertext, unless some of it was left by the last budget.
    pub(super) fn read_cipher(&mut self, slot: u32, room: usize) -> io::Result<()> {
        let conn = &mut self.conns[slot as usize];
        self.cipher.clear();
        if let Some(secured) = &mut conn.secured
            && !secured.left.is_empty()
        {
            self.cipher.push(&std::mem::take(&mut secured.left));
            return Ok(());
        }
        let read = conn.read(&mut self.os, &mut self.cipher, room);
        let id = conn.id(slot);
        self.recorder.trace(|| TraceEvent::ReadCipher {
            id,
            n: self.cipher.len(),
            room,
            verdict: match &read {
                Ok(n) => Verdict::of(*n, conn.incoming),
                Err(error) => Verdict::Failed(error.kind()),
            },
        });
        read.map(drop)
    }

    /// Opens what is in the shared buffer of ciphertext, and appends it to `input`; what is more than the
    /// records of a turn is left for the next.
    pub(super) fn open_cipher(&mut self, slot: u32, input: &mut ReadBuf) -> Result<Opened, Broken> {
        let conn = &mut self.conns[slot as usize];
        let Some(secured) = &mut conn.secured else {
            return Ok(Opened::default());
        };
        let session = &mut *secured.session;
        let (mut cipher, mut records) = (self.cipher.unread(), RECORDS_PER_TURN);
        let mut opened = Opened::default();
        while !cipher.is_empty() && records > 0 && !opened.has_ended {
            let Taken { is_open, has_ended } = session.take(&mut cipher, &mut records)?;
            opened = Opened { is_open, has_ended };
            let holds = session.holds();
            if holds > 0 {
                let given = input.fill(holds, |room| Ok(session.give(room)));
                debug_assert_eq!(given.ok(), Some(holds), "what is held is given");
            }
        }
        session.shrink();
        if opened.has_ended {
            conn.incoming = conn.incoming.after_bye();
        } else if !cipher.is_empty() {
            secured.left = cipher.to_vec();
            conn.incoming = conn.incoming.with_more();
        }
        Ok(opened)
    }

    /// What came cannot be what its peer meant to send: the alert that says so leaves and nothing else,
    /// then the connection ends. It lingers, or the kernel's reset would destroy the alert.
    pub(super) fn break_off(&mut self, slot: u32, broken: &Broken) {
        let conn = &mut self.conns[slot as usize];
        let listener = listener_of(&self.listeners, conn);
        if !listener.is_dialled {
            let name = &listener.options.name;
            self.recorder.broke(name, &conn.peer, broken);
        }
        self.recorder.dropped(self.outbox.forget(slot));
        let Some(secured) = &mut conn.secured else {
            return;
        };
        secured.sealed = 0;
        if listener.is_dialled {
            // Its service is told, and tells.
            secured.broken = Some(Box::new(broken.clone()));
        }
        let written = flush_session(conn, slot, &mut self.os, &mut self.recorder);
        let is_full = conn
            .secured
            .as_ref()
            .is_some_and(|secured| secured.session.wants_write());
        match written {
            Ok(()) if !is_full => self.linger(slot, Closed::Insecure),
            // A peer that takes nothing will not take the alert.
            _ => self.close_now(slot, Closed::Insecure),
        }
    }

    /// Says that nothing more will follow, once; whether that has left. If not, the connection ends
    /// [when it has](Reactor::part).
    pub(super) fn say_bye(&mut self, slot: u32, why: Closed, linger: bool) -> bool {
        let conn = &mut self.conns[slot as usize];
        let Some(secured) = &mut conn.secured else {
            return true;
        };
        if secured.bye.is_none() {
            secured.bye = Some((why, linger));
            if secured.is_open {
                secured.session.bye();
            }
            // What others say to it from here on would come after the end.
            self.outbox.mark_left(slot);
        }
        let written = flush_session(conn, slot, &mut self.os, &mut self.recorder);
        self.recount(slot);
        if let Err(error) = written {
            // One that was cut off is gone, and that is no news.
            let is_cut = why == Closed::Cut;
            let gone = Closed::Gone(error.kind());
            self.close_now(slot, if is_cut { why } else { gone });
            return false;
        }
        let secured = self.conns[slot as usize].secured.as_ref();
        let Some(secured) = secured.filter(|secured| secured.session.wants_write()) else {
            return true;
        };
        let after = if secured.has_moved {
            After::Sent
        } else {
            After::Stalled
        };
        self.check_backlog(slot, after);
        false
    }

    /// Some of a connection's last words have left.
    pub(super) fn part(&mut self, slot: u32) {
        let conn = &self.conns[slot as usize];
        let bye = conn.secured.as_ref().and_then(|secured| secured.bye);
        if let Some((why, linger)) = bye {
            self.finish(slot, why, linger);
        }
    }
}

/// How far a session has come.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Opened {
    /// Whether the handshake is over.
    pub(super) is_open: bool,
    /// The peer has said that it will send nothing more.
    has_ended: bool,
}

/// A lane of the outbox -> records -> its socket; says how many bytes of the lane have left.
#[cold]
pub(super) fn flush_sealed<O: Os>(
    conn: &mut Connection<O::Stream>,
    slot: u32,
    os: &mut O,
    outbox: &mut Outbox,
    recorder: &mut Recorder,
) -> io::Result<usize> {
    let sent = outbox.flush(slot, |bytes| write_sealed(conn, slot, os, bytes, recorder));
    conn.recount(outbox);
    sent
}

/// Seals what a connection is owed, a stretch at a time, and writes it; says how many bytes of it have
/// left. A byte stays owed until its record has left.
#[cold]
pub(super) fn write_sealed<O: Os>(
    conn: &mut Connection<O::Stream>,
    slot: u32,
    os: &mut O,
    bytes: &[u8],
    recorder: &mut Recorder,
) -> io::Result<usize> {
    let (mut gone, mut has_moved) = (0, false);
    loop {
        flush_session(conn, slot, os, recorder)?;
        let Some(secured) = &mut conn.secured else {
            return Ok(gone);
        };
        has_moved |= secured.has_moved;
        secured.has_moved = has_moved;
        if secured.session.wants_write() {
            return Ok(gone);
        }
        gone += std::mem::take(&mut secured.sealed);
        let owed = &bytes[gone..];
        if owed.is_empty() {
            return Ok(gone);
        }
        let most = owed.len().min(SEALED_BYTES_MAX);
        secured.sealed = secured.session.seal(&owed[..most]);
    }
}

/// Writes the session's records until none is left or the socket is full.
fn flush_session<O: Os>(
    conn: &mut Connection<O::Stream>,
    slot: u32,
    os: &mut O,
    recorder: &mut Recorder,
) -> io::Result<()> {
    let id = conn.id(slot);
    let Some(secured) = &mut conn.secured else {
        return Ok(());
    };
    secured.has_moved = false;
    while !conn.full && secured.session.wants_write() {
        let mut write = |slices: &[IoSlice<'_>]| os.write_vectored(&conn.stream, slices);
        let written = match secured.session.write(&mut write) {
            Ok(written) => written,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                conn.full = true;
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        secured.has_moved |= written.taken > 0;
        conn.full = written.taken < written.offered;
        recorder.trace(|| TraceEvent::WroteCipher { id, written });
    }
    Ok(())
}
