//! Files that are sent from where they lie (sendfile(2)): a budget a turn and connection, when nothing else is owed.
//!
//! Knows descriptors and how far they have got. What a file is, and whether more of it follows, its service knows.

use std::collections::VecDeque;
use std::io;

use super::Reactor;
use super::os::Os;
use super::trace::TraceEvent;
use crate::turn::{ConnId, Fate, FilePiece};

/// Pieces that are on their way, and those that have left.
#[derive(Debug, Default)]
pub(super) struct SentFiles {
    going: Vec<Going>,
    gone: VecDeque<(ConnId, u64, Option<io::Error>)>,
}

#[derive(Debug)]
struct Going {
    id: ConnId,
    piece: FilePiece,
    sent: u64,
}

impl SentFiles {
    pub(super) fn is_empty(&self) -> bool {
        self.going.is_empty()
    }

    /// The connection is gone.
    pub(super) fn forget(&mut self, id: ConnId) {
        self.going.retain(|going| going.id != id);
    }
}

impl<O: Os> Reactor<O> {
    /// Sends a piece of a file when what the connection is owed has left.
    pub(super) fn begin_file(&mut self, id: ConnId, piece: FilePiece) {
        let is_plain = self
            .conns
            .get(id.slot as usize)
            .is_some_and(|conn| conn.is(id) && conn.secured.is_none());
        if !is_plain {
            let error = Some(io::ErrorKind::Unsupported.into());
            self.sent_files.gone.push_back((id, 0, error));
            self.outbox.mark_dirty(id.slot);
            return;
        }
        let sent = 0;
        self.sent_files.going.push(Going { id, piece, sent });
        self.outbox.mark_dirty(id.slot);
    }

    /// One budget of the file of this connection, which is owed nothing else.
    #[cold]
    pub(super) fn send_piece(&mut self, slot: u32) {
        let all = &mut self.sent_files.going;
        let Some(n) = all.iter().position(|going| going.id.slot == slot) else {
            return;
        };
        let going = &mut all[n];
        let conn = self.conns.get_mut(slot as usize);
        let Some(conn) = conn.filter(|c| c.is(going.id) && c.is_open() && !c.full) else {
            return;
        };
        if self.outbox.fate(slot) != Fate::Open {
            return;
        }
        let left = usize::try_from(going.piece.bytes - going.sent).unwrap_or(usize::MAX);
        let at = going.piece.at + going.sent;
        let room = left.min(self.limits.read_per_turn);
        let sent = self.os.send_file(&conn.stream, &going.piece.file, at, room);
        self.recorder.trace(|| TraceEvent::SentFile {
            id: going.id,
            at,
            n: sent.as_ref().copied().unwrap_or(0),
            of: room,
            failed: sent.as_ref().err().map(io::Error::kind),
        });
        match sent {
            Ok(0) => self.end_piece(n, None),
            Ok(sent) => {
                going.sent += sent as u64;
                self.outbox.lent(sent);
                let is_over = going.sent == going.piece.bytes;
                self.listeners[usize::from(conn.listener)].tally.bytes_out += sent as u64;
                if is_over {
                    self.end_piece(n, None);
                } else {
                    self.outbox.mark_dirty(slot);
                }
            }
            // An edge will tell when there is room.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => conn.full = true,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                self.outbox.mark_dirty(slot);
            }
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
                ) =>
            {
                self.cannot_send(slot, error.kind());
            }
            Err(error) => self.end_piece(n, Some(error)),
        }
    }

    fn end_piece(&mut self, n: usize, error: Option<io::Error>) {
        let going = self.sent_files.going.swap_remove(n);
        self.sent_files
            .gone
            .push_back((going.id, going.sent, error));
    }

    /// Tells services what has left.
    pub(super) fn tell_files(&mut self) {
        while let Some((id, bytes, error)) = self.sent_files.gone.pop_front() {
            self.ask_service(id, |service, turn| service.file_sent(turn, bytes, error));
        }
    }
}
